//! One `[[connection]]`. Meanings and defaults are listed at the foot of `config.default.toml`; a test holds the two together.

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

/// One configured instance of a provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// Shown with messages; the operator's.
    pub name: String,
    /// What it speaks.
    pub kind: Kind,
    /// Of the carrier.
    #[serde(default)]
    pub host: String,
    /// Of the carrier.
    #[serde(default = "port")]
    pub port: u16,
    /// TLS round SMPP.
    #[serde(default)]
    pub tls: bool,
    /// SMPP user.
    #[serde(default)]
    pub system_id: String,
    /// SMPP password.
    #[serde(default, deserialize_with = "secret")]
    pub password: SecretString,
    /// SMPP system type.
    #[serde(default)]
    pub system_type: String,
    /// How it binds.
    #[serde(default)]
    pub bind: Bind,
    /// Sessions side by side.
    #[serde(default = "one")]
    pub binds: u32,
    /// Unanswered submits a session.
    #[serde(default = "fifty")]
    pub window: u32,
    /// Submits unanswered or answered and not yet durable; see `in_doubt`.
    #[serde(default)]
    pub in_doubt: u32,
    /// Parts a second over all sessions; 0 = no limit.
    #[serde(default)]
    pub rate: u32,
    /// What data_coding 0 means.
    #[serde(default)]
    pub alphabet: Alphabet,
    /// The data_coding of UCS-2.
    #[serde(default = "eight")]
    pub data_coding_ucs2: u8,
    /// How long messages are cut.
    #[serde(default)]
    pub concat: Concat,
    /// How ids in answers are written.
    #[serde(default)]
    pub message_id: IdBase,
    /// How ids in receipts are written.
    #[serde(default)]
    pub receipt_id: IdBase,
    /// Type of number of the sender; -1 = by its form.
    #[serde(default = "minus_one")]
    pub source_ton: i8,
    /// Numbering plan of the sender; -1 = by its form.
    #[serde(default = "minus_one")]
    pub source_npi: i8,
    /// Type of number of the recipient.
    #[serde(default = "one_u8")]
    pub dest_ton: u8,
    /// Numbering plan of the recipient.
    #[serde(default = "one_u8")]
    pub dest_npi: u8,
    /// Seconds of silence before the link is tried.
    #[serde(default = "thirty")]
    pub enquire_link_s: u32,
    /// After this the outcome of a submit is unknown.
    #[serde(default = "ten_thousand")]
    pub response_timeout_ms: u64,
    /// Whether receipts come.
    #[serde(default = "yes")]
    pub receipts: bool,
    /// Hours after its validity that a message waits for its receipt.
    #[serde(default = "three_days")]
    pub receipt_wait_h: u32,
    /// What to do when an outcome stays unknown.
    #[serde(default)]
    pub unknown: UnknownPolicy,
    /// And when, seconds after the submit.
    #[serde(default = "sixty")]
    pub unknown_wait_s: u32,
    /// Submits of one message, retries included.
    #[serde(default = "seven")]
    pub attempts_max: u16,
}

macro_rules! defaults {
    ($($name:ident: $type:ty = $value:literal;)*) => { $(fn $name() -> $type { $value })* };
}
defaults! {
    port: u16 = 2775; one: u32 = 1; fifty: u32 = 50; eight: u8 = 8; minus_one: i8 = -1; one_u8: u8 = 1; thirty: u32 = 30;
    ten_thousand: u64 = 10_000; yes: bool = true; three_days: u32 = 72; sixty: u32 = 60; seven: u16 = 7;
}

/// A text that must not be printed.
pub(super) fn secret<'de, D: Deserializer<'de>>(d: D) -> Result<SecretString, D::Error> {
    String::deserialize(d).map(SecretString::from)
}

impl Connection {
    /// The most submits of all sessions that may be unanswered, or answered and not yet durable: the setting, or four windows of each.
    pub fn in_doubt(&self) -> u32 {
        if self.in_doubt == 0 { self.window.saturating_mul(4).saturating_mul(self.binds) } else { self.in_doubt }
    }
}

macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant,)* }
    )*};
}
choices! {
    /// What a connection speaks.
    Kind {
        /// SMPP 3.4 to a carrier.
        Smpp,
        /// Nothing leaves this process.
        #[default]
        Sandbox,
    }
    /// How SMPP sessions are bound.
    Bind {
        /// One session both ways.
        #[default]
        Transceiver,
        /// Two sessions, one for each way.
        TransmitterReceiver,
    }
    /// What data_coding 0 means to a carrier.
    Alphabet {
        /// GSM-7, one septet an octet.
        #[default]
        Gsm7,
        /// GSM-7, packed.
        Gsm7Packed,
        /// ISO 8859-1.
        Latin1,
        /// ASCII.
        Ascii,
    }
    /// How long messages are cut.
    Concat {
        /// A header in the text (UDH, 16-bit reference).
        #[default]
        Udh,
        /// sar_* parameters.
        Sar,
        /// Whole, in message_payload.
        Payload,
    }
    /// How a carrier writes its message ids.
    IdBase {
        /// Compared as they are.
        #[default]
        Text,
        /// A hexadecimal number.
        Hex,
        /// A decimal number.
        Decimal,
    }
    /// What to do when the outcome of a submit stays unknown.
    UnknownPolicy {
        /// Submit again: it may arrive twice.
        #[default]
        Resend,
        /// Fail it: it may have arrived.
        GiveUp,
    }
}
