//! The one catalogue of why a message failed: for the API, the console, the documentation and the store. It knows nothing
//! of HTTP. `docs/ERROR_CODES.md` is rendered from it.

mod catalogue;
mod sandbox;
mod smpp;

pub use catalogue::{CATALOGUE, Entry, Retried, markdown};
pub use sandbox::{SANDBOX_BASE, Sandbox, by_sandbox_number};
pub use smpp::{ReceiptState, SendError, SendErrorKind, from_smpp_stat, from_smpp_status};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a message failed. The discriminant is the stable number that is stored; it is never given another meaning.
/// 1xx the recipient, 2xx blocked, 3xx what was sent, 4xx the carrier, 5xx time, 6xx not known for sure, 7xx this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the catalogue explains each")]
#[repr(i16)]
pub enum ErrorCode {
    InvalidNumber = 101,
    UnknownSubscriber = 102,
    AbsentSubscriber = 103,
    HandsetBusy = 104,
    HandsetFull = 105,
    Undeliverable = 106,
    NotMobile = 107,
    BlockedByCarrier = 201,
    BlockedByRecipient = 202,
    ContentFiltered = 203,
    Suppressed = 204,
    NoConsent = 205,
    SenderRejected = 301,
    MessageInvalid = 302,
    MessageTooLong = 303,
    TemplateUnknown = 304,
    Unsupported = 305,
    CarrierRejected = 401,
    CarrierCongested = 402,
    CarrierUnavailable = 403,
    CarrierError = 404,
    CarrierCredentials = 405,
    NoRoute = 406,
    CarrierAccount = 407,
    Expired = 501,
    Canceled = 502,
    OtpDeadline = 503,
    QuietHours = 504,
    OutcomeUnknown = 601,
    OtpOutcomeUnknown = 602,
    ReceiptUnknown = 603,
    PartiallyDelivered = 604,
    AccountSuspended = 701,
    Internal = 702,
}

impl ErrorCode {
    /// The number that is stored.
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// The code of a stored number.
    pub fn from_number(number: i16) -> Option<Self> {
        CATALOGUE.iter().map(|entry| entry.code).find(|code| code.number() == number)
    }

    /// The name in the API, in snake_case.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// What the catalogue says of it.
    pub fn entry(self) -> &'static Entry {
        CATALOGUE.iter().find(|entry| entry.code == self).expect("every code has an entry: a test counts them")
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No code has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no error code has this name")]
pub struct UnknownErrorCode;

impl FromStr for ErrorCode {
    type Err = UnknownErrorCode;
    fn from_str(name: &str) -> Result<Self, UnknownErrorCode> {
        CATALOGUE.iter().find(|entry| entry.name == name).map(|entry| entry.code).ok_or(UnknownErrorCode)
    }
}

#[cfg(test)]
mod tests;
