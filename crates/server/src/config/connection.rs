//! One `[[connection]]`. Meanings and defaults are listed at the foot of `config.default.toml`; a test holds the two together.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use carillon_domain::media::Carries;
use carillon_providers::{Credentials, Provider};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};

/// One configured instance of a provider. As JSON it is its settings: without name and kind, and without secrets.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// Shown with messages; the operator's.
    #[serde(skip_serializing)]
    pub name: String,
    /// What it speaks.
    #[serde(skip_serializing)]
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
    #[serde(default, deserialize_with = "secret", skip_serializing)]
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
    /// Whether its carrier takes pictures and the like with a message.
    #[serde(default)]
    pub mms: bool,
    /// What an HTTP provider wants to be told, by name (docs/PROVIDERS.md).
    #[serde(default, deserialize_with = "credentials", skip_serializing)]
    pub provider: Credentials,
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

fn credentials<'de, D: Deserializer<'de>>(d: D) -> Result<Credentials, D::Error> {
    Ok(BTreeMap::<String, String>::deserialize(d)?.into_iter().collect())
}

impl Connection {
    /// Differs when anything of it does, secrets included; the same within one process only.
    pub fn fingerprint(&self) -> u64 {
        use secrecy::ExposeSecret;
        let mut hasher = std::hash::DefaultHasher::new();
        // What is not secret prints itself.
        (format!("{self:?}"), self.password.expose_secret()).hash(&mut hasher);
        self.provider.iter().for_each(|setting| setting.hash(&mut hasher));
        hasher.finish()
    }

    /// What types cannot say: the setting, and the rule it breaks.
    pub fn mistakes(&self) -> Vec<(String, String)> {
        let name = self.name.as_bytes();
        let rules = [
            (
                "name",
                (1..=40).contains(&name.len()) && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b)),
                "`name` is 1 to 40 of a-z, 0-9, - _ .",
            ),
            ("host", self.kind != Kind::Smpp || !self.host.is_empty(), "`host` is needed"),
            ("host", self.host.len() <= 255, "`host` is at most 255 characters"),
            ("port", self.port > 0, "`port` is 1 to 65535"),
            ("system_id", self.kind != Kind::Smpp || !self.system_id.is_empty(), "`system_id` is needed"),
            (
                "system_id",
                self.system_id.len() <= 15 && self.system_id.is_ascii(),
                "`system_id` is at most 15 ASCII characters (SMPP 3.4 §5.2.1)",
            ),
            ("password", self.password.expose_secret().len() <= 64, "`password` is at most 64 characters"),
            (
                "system_type",
                self.system_type.len() <= 12 && self.system_type.is_ascii(),
                "`system_type` is at most 12 ASCII characters (SMPP 3.4 §5.2.3)",
            ),
            ("window", (1..=10_000).contains(&self.window), "`window` is 1 to 10000"),
            ("in_doubt", self.in_doubt == 0 || self.in_doubt >= self.window, "`in_doubt` is 0 or at least `window`"),
            ("binds", (1..=64).contains(&self.binds), "`binds` is 1 to 64"),
            ("source_ton", (-1..=7).contains(&self.source_ton), "`source_ton` is -1 to 7"),
            ("source_npi", (-1..=18).contains(&self.source_npi), "`source_npi` is -1 to 18"),
            ("dest_ton", self.dest_ton <= 7, "`dest_ton` is 0 to 7"),
            ("dest_npi", self.dest_npi <= 18, "`dest_npi` is 0 to 18"),
            ("enquire_link_s", (1..=600).contains(&self.enquire_link_s), "`enquire_link_s` is 1 to 600"),
            (
                "response_timeout_ms",
                (100..=600_000).contains(&self.response_timeout_ms),
                "`response_timeout_ms` is 100 to 600000",
            ),
            ("attempts_max", self.attempts_max >= 1, "`attempts_max` is at least 1"),
            (
                "mms",
                !self.mms || self.can_carry().files > 0,
                "`mms` is for providers that take files; `http` does with {media} in its request",
            ),
        ];
        let broken = rules.into_iter().filter(|(_, fine, _)| !fine);
        broken.map(|(setting, _, rule)| (setting.to_owned(), rule.to_owned())).chain(self.provider_mistakes()).collect()
    }

    fn provider_mistakes(&self) -> Vec<(String, String)> {
        let mistakes = match self.kind {
            Kind::Http(provider) => provider.check(&self.provider),
            Kind::Smpp | Kind::Sandbox => Vec::new(),
        };
        if !matches!(self.kind, Kind::Http(_)) && self.provider.iter().next().is_some() {
            return vec![("provider".into(), "`provider` is for HTTP providers".into())];
        }
        let named = |m: carillon_providers::Mistake| {
            (format!("provider/{}", m.field), format!("`provider.{}`: {}", m.field, m.message))
        };
        mistakes.into_iter().map(named).collect()
    }

    fn can_carry(&self) -> Carries {
        match self.kind {
            Kind::Http(provider) => provider.carries(&self.provider),
            Kind::Smpp | Kind::Sandbox => Carries::NOTHING,
        }
    }

    /// What files go with a message as they are.
    pub fn carries(&self) -> Carries {
        if self.mms { self.can_carry() } else { Carries::NOTHING }
    }

    /// The most submits of all sessions that may be unanswered, or answered and not yet durable: the setting, or four windows of each.
    pub fn in_doubt(&self) -> u32 {
        if self.in_doubt == 0 { self.window.saturating_mul(4).saturating_mul(self.binds) } else { self.in_doubt }
    }
}

macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant,)* }
    )*};
}
choices! {
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

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// SMPP 3.4 to a carrier.
    Smpp,
    /// Nothing leaves this process.
    #[default]
    Sandbox,
    /// Requests over HTTP, as this provider wants them.
    Http(Provider),
}

impl Kind {
    /// Its name in settings and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Smpp => "smpp",
            Kind::Sandbox => "sandbox",
            Kind::Http(provider) => provider.name(),
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Kind, D::Error> {
        let name = String::deserialize(d)?;
        let http = Provider::ALL.iter().map(|provider| Kind::Http(*provider));
        let all: Vec<Kind> = [Kind::Smpp, Kind::Sandbox].into_iter().chain(http).collect();
        all.iter().find(|kind| kind.name() == name).copied().ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|kind| kind.name()).collect();
            serde::de::Error::custom(format!("`kind` is one of {}", names.join(", ")))
        })
    }
}
