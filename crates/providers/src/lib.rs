//! HTTP carriers as pure mapping: a message becomes a request, an answer an outcome, a callback receipts and inbound messages. No
//! I/O, no clock, no randomness. A provider is one file with its cases at its foot, and one line in the list below.
//!
//! ```text
//! Outbound, Credentials ─> request()  ─> Request       (the link sends it)
//! Response              ─> response() ─> Accepted or SendError
//! Callback              ─> heard()    ─> Heard { receipts, inbound }
//! ```

mod field;
mod http;
mod msg91;
pub mod sigv4;
mod sns;
mod template;
#[cfg(test)]
mod testing;
mod twilio;
mod vonage;
mod vonage_messages;
mod vonage_sms;
mod wire;

pub use field::{Credentials, Field, Kind, Mistake};

use std::fmt;

use carillon_domain::encoding::Encoding;
use carillon_domain::error_code::{ReceiptState, SendError};
use carillon_domain::media::{Carries, MessageFile};
use carillon_domain::message::Category;
use carillon_domain::phone::Phone;

macro_rules! providers {
    ($($(#[$doc:meta])* $variant:ident $module:ident $title:literal,)*) => {
        /// A kind of HTTP carrier.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Provider { $($(#[$doc])* $variant,)* }

        impl Provider {
            /// All of them.
            pub const ALL: &'static [Provider] = &[$(Provider::$variant,)*];

            /// Its name in the API and in the store.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($module),)* }
            }

            /// Its name for people.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What the settings form asks.
            pub const fn fields(self) -> &'static [Field] {
                match self { $(Self::$variant => $module::FIELDS,)* }
            }

            /// The request that submits a message, or why this provider cannot carry it: then nothing was sent.
            pub fn request(self, message: &Outbound<'_>, credentials: &Credentials) -> Result<Request, SendError> {
                match self { $(Self::$variant => $module::request(message, credentials),)* }
            }

            /// What the answer says. One that cannot be read after success was promised is an unknown outcome.
            pub fn response(self, answer: &Response<'_>, credentials: &Credentials) -> Result<Accepted, SendError> {
                match self { $(Self::$variant => $module::response(answer, credentials),)* }
            }

            /// What a callback says, once its signature (where the provider signs) has been found good.
            pub fn heard(self, callback: &Callback<'_>, credentials: &Credentials) -> Result<Heard, CallbackError> {
                match self { $(Self::$variant => $module::heard(callback, credentials),)* }
            }
        }
    };
}

providers! {
    /// Twilio's Programmable Messaging.
    Twilio twilio "Twilio",
    /// Vonage (Nexmo), SMS API.
    VonageSms vonage_sms "Vonage SMS API",
    /// Vonage, Messages API: SMS and MMS.
    VonageMessages vonage_messages "Vonage Messages API",
    /// MSG91: flows and one-time codes from registered templates.
    Msg91 msg91 "MSG91",
    /// Amazon Simple Notification Service.
    Sns sns "AWS SNS",
    /// Any carrier with an HTTP API, described by settings.
    Http http "Generic HTTP",
}

impl Provider {
    /// The provider of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|provider| provider.name() == name)
    }

    /// What files it takes with a message, as an MMS.
    pub fn carries(self, credentials: &Credentials) -> Carries {
        match self {
            Provider::Twilio => twilio::CARRIES,
            Provider::VonageMessages => vonage_messages::CARRIES,
            Provider::Http => http::carries(credentials),
            Provider::VonageSms | Provider::Msg91 | Provider::Sns => Carries::NOTHING,
        }
    }

    /// What is wrong with settings: missing, unknown or malformed ones. Empty when all is well.
    pub fn check(self, credentials: &Credentials) -> Vec<Mistake> {
        field::check(self.fields(), credentials)
    }
}

/// What a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// Text; empty is allowed beside media.
    Text(&'a str),
    /// Octets of an 8-bit message.
    Binary(&'a [u8]),
}

/// A message on its way out, whole: these carriers split it themselves.
#[derive(Clone, Copy)]
pub struct Outbound<'a> {
    /// Our id, given to the carrier as its client's reference.
    pub id: &'a str,
    /// To whom.
    pub to: Phone,
    /// The sender: name, number or short code; the carrier's default if none.
    pub from: Option<&'a str>,
    /// What it says.
    pub content: Content<'a>,
    /// How it was planned and priced.
    pub encoding: Encoding,
    /// Parts it was priced at.
    pub parts: u8,
    /// Shown at once, not stored (class 0).
    pub flash: bool,
    /// Seconds it is still of use.
    pub validity_s: u32,
    /// Pictures and the like that the carrier is to fetch: no more and no others than the provider `carries`.
    pub media: &'a [MessageFile],
    /// What it is for.
    pub category: Category,
    /// Where receipts shall go, if the carrier takes an address with each message.
    pub callback_url: Option<&'a str>,
    /// Now, Unix milliseconds; signatures need it.
    pub now_ms: i64,
}

/// How a request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
}

/// A request to be sent. It holds secrets: its `Debug` shows none.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Absolute.
    pub url: String,
    /// Names in lower case, values without control characters.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.url.split('?').next().unwrap_or_default();
        write!(f, "Request({:?} {place}, {} octets)", self.method, self.body.len())
    }
}

/// An answer.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The body, as much of it as the link reads.
    pub body: &'a [u8],
}

/// What the carrier took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The whole message under one id: a receipt of this id is of every part.
    Message(String),
    /// Part by part, in order: an id each, or why that part was refused.
    Parts(Vec<Result<String, SendError>>),
}

/// A request that came to our callback address.
#[derive(Debug, Clone, Copy)]
pub struct Callback<'a> {
    /// The whole address as the provider knows it, with scheme, host and query: signatures cover it.
    pub url: &'a str,
    /// Header names in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Callback<'a> {
    /// The first header of a name given in lower case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }
}

/// What a callback said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heard {
    /// Delivery reports.
    pub receipts: Vec<Receipt>,
    /// Messages from phones.
    pub inbound: Vec<Inbound>,
}

/// A delivery report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The carrier's id, as [`Accepted`] had it.
    pub id: String,
    /// The destination, where the report names it.
    pub to: Option<Phone>,
    /// What it says.
    pub state: ReceiptState,
    /// In the carrier's own words, for the history.
    pub carrier: String,
}

/// A message from a phone, or one part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The carrier's id: the same message may be told more than once.
    pub id: String,
    /// Who wrote: digits, or a name.
    pub from: String,
    /// The number of ours that was written to.
    pub to: String,
    /// What it says.
    pub text: String,
    /// Which part it is, if the provider does not join parts.
    pub part: Option<InboundPart>,
    /// Pictures and videos: address at the carrier and content type.
    pub media: Vec<(String, String)>,
}

/// The place of a part in a long inbound message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboundPart {
    /// The same for all parts of one message.
    pub reference: u16,
    /// How many there are.
    pub total: u8,
    /// Which this is, from 1.
    pub index: u8,
}

/// Why a callback is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// This provider signs, and there is no signature, or no secret to check it with.
    #[error("the callback is not signed")]
    Unsigned,
    /// The signature does not fit.
    #[error("the callback's signature is wrong")]
    Forged,
    /// It cannot be read.
    #[error("the callback cannot be read: {0}")]
    Malformed(&'static str),
}
