//! What an account is: its standing, its tier and the settings that decide how its messages are taken.

use serde::{Deserialize, Serialize};

use crate::consent::Needed;
use crate::money::Money;
use crate::quiet::QuietHours;
use crate::verification::OwnRules;

/// Whether an account may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(i16)]
pub enum Status {
    /// It may.
    Active = 0,
    /// Stopped by an operator for now: it can read, not send.
    Suspended = 1,
    /// Ended: its keys and sessions are refused.
    Closed = 2,
}

/// What an account paid for in speed; weights of the fair share are 8 : 3 : 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(i16)]
pub enum Tier {
    /// The default.
    Regular = 0,
    /// Three shares.
    Premium = 1,
    /// Eight shares.
    Vip = 2,
}

impl Tier {
    /// Its weight in deficit round robin, in parts a turn.
    pub fn weight(self) -> u32 {
        match self {
            Tier::Regular => 1,
            Tier::Premium => 3,
            Tier::Vip => 8,
        }
    }

    /// From its column; an unknown number is read as the least.
    pub fn from_i16(n: i16) -> Tier {
        match n {
            2 => Tier::Vip,
            1 => Tier::Premium,
            _ => Tier::Regular,
        }
    }
}

impl Status {
    /// From its column; an unknown number is read as the strictest.
    pub fn from_i16(n: i16) -> Status {
        match n {
            0 => Status::Active,
            1 => Status::Suspended,
            _ => Status::Closed,
        }
    }
}

/// When an OTP message counts as a success.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtpSuccess {
    /// The carrier took it.
    #[default]
    Carrier,
    /// The handset confirmed it.
    Handset,
}

/// Limits an operator gave an account in the place of its tier's, requests a second; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnLimits {
    /// All requests, of the account and of each of its keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<u32>,
    /// Verifications begun, sent again and checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifications_per_s: Option<u32>,
}

/// What becomes of files that no carrier takes with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MmsFallback {
    /// The text gets a link to each.
    #[default]
    Link,
    /// The message is refused.
    Refuse,
}

/// How far a person's STOP reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopScope {
    /// Every message of the account.
    #[default]
    Account,
    /// Messages from the number it was written to, and those that name no sender.
    Sender,
}

/// Settings of an account, stored as JSON; a missing member has its default.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// ISO 3166 two-letter code that completes national numbers.
    pub default_country: Option<String>,
    /// Check numbers by their E.164 shape only instead of libphonenumber's metadata.
    pub lenient: bool,
    /// Whether the answer to an OTP request shows the code.
    pub otp_return_code: bool,
    /// What an OTP's 200 promises.
    pub otp_success: OtpSuccess,
    /// Replace characters outside GSM-7 when that makes the whole text GSM-7.
    pub transliterate: bool,
    /// The most parts one message may have, 1 to 255.
    pub parts_max: u8,
    /// Sender used when a message names none.
    pub default_sender: Option<String>,
    /// How long an undelivered message is tried, seconds.
    pub validity_s: u32,
    /// Rules of its own for verifications.
    pub verification: OwnRules,
    /// Limits of its own, by the operator.
    pub limits: OwnLimits,
    /// What the platform takes for a part, or an MMS, by a carrier of the account's own, by the operator; `None` is the platform's fee.
    #[serde(with = "decimal")]
    pub own_carrier_fee: Option<Money>,
    /// What becomes of files that no carrier takes.
    pub mms_fallback: MmsFallback,
    /// How far a STOP reaches.
    pub stop_scope: StopScope,
    /// What promotional messages need: that nobody refused, a recorded agreement, or a confirmed one.
    pub promotional_consent: Needed,
    /// What confirms a STOP, instead of the standard text.
    pub opt_out_text: Option<String>,
    /// What confirms a START.
    pub opt_in_text: Option<String>,
    /// What answers HELP.
    pub help_text: Option<String>,
    /// When promotional messages may go.
    pub quiet_hours: QuietHours,
    /// Whether a request may say that they go all the same.
    pub quiet_hours_ignorable: bool,
    /// The domain that short links begin with, instead of the server's.
    pub link_domain: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            default_country: None,
            lenient: false,
            otp_return_code: true,
            otp_success: OtpSuccess::Carrier,
            transliterate: false,
            parts_max: 10,
            default_sender: None,
            validity_s: 48 * 3600,
            verification: OwnRules::default(),
            limits: OwnLimits::default(),
            own_carrier_fee: None,
            mms_fallback: MmsFallback::Link,
            stop_scope: StopScope::Account,
            promotional_consent: Needed::OptOut,
            opt_out_text: None,
            opt_in_text: None,
            help_text: None,
            quiet_hours: QuietHours::Country,
            quiet_hours_ignorable: false,
            link_domain: None,
        }
    }
}

/// Money that may be missing, as a decimal string.
mod decimal {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::money::Money;

    pub(super) fn serialize<S: Serializer>(money: &Option<Money>, s: S) -> Result<S::Ok, S::Error> {
        money.map(|m| m.to_string()).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Money>, D::Error> {
        let text: Option<String> = Option::deserialize(d)?;
        let read =
            |text: String| Money::parse(&text).ok_or_else(|| serde::de::Error::custom("a decimal such as 0.001"));
        text.map(read).transpose()
    }
}
