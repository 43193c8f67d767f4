//! The sections as the program reads them. Meanings and defaults stand in `config.default.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use carillon_domain::money::Money;
use secrecy::SecretString;
use serde::Deserialize;

use super::connection::Connection;
use crate::access::address::{ForwardedBy, Network};

/// Settings in force.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each section is described by its type")]
pub struct Config {
    pub server: Server,
    pub data: Data,
    pub database: Database,
    pub vault: Vault,
    pub open_mode: OpenMode,
    pub prices: Prices,
    pub accounts: Accounts,
    pub otp: Otp,
    pub senders: Senders,
    pub verification: carillon_domain::verification::Rules,
    pub media: Media,
    pub imports: Imports,
    pub retention: Retention,
    pub auth: Auth,
    pub limits: Limits,
    pub pipeline: Pipeline,
    pub throughput: Throughput,
    pub webhooks: Webhooks,
    pub email: Email,
    pub sandbox: Sandbox,
    pub smpp_server: SmppServer,
    pub inbound: Inbound,
    pub faces: Faces,
    pub log: Log,
    /// Carriers, in the order they are tried.
    #[serde(rename = "connection")]
    pub connections: Vec<Connection>,
}

macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fattr:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(missing_docs, reason = "each setting is described where its default stands, in config.default.toml")]
        pub struct $name { $($(#[$fattr])* pub $field: $type,)* }
    )*};
}

sections! {
    /// Where and how it listens.
    Server {
        listen: SocketAddr, body_max: usize, batch_body_max: usize, header_timeout_s: u32, body_timeout_s: u32, connections_max: usize,
        trusted_proxies: Vec<Network>, client_address_header: ForwardedBy, shutdown_s: u64, public_url: String,
    }
    /// How often who may ask.
    Limits {
        burst_s: u32, address: u32, sign_in_per_min: u32, account_regular: u32, account_premium: u32, account_vip: u32, key_regular: u32,
        key_premium: u32, key_vip: u32, verification_regular: u32, verification_premium: u32, verification_vip: u32, exempt: Vec<Network>,
        memory_max: usize,
    }
    /// Files of its own.
    Data { folder: PathBuf, }
    /// Where rows are kept.
    Database { #[serde(deserialize_with = "super::connection::secret")] url: SecretString, }
    /// What stored secrets are locked up with.
    Vault { #[serde(deserialize_with = "super::connection::secret")] master_key: SecretString, }
    /// Accounts named by `client_id`, without authentication.
    OpenMode { enabled: bool, starting_balance_cents: u32, lenient: bool, }
    /// Prices where no list says otherwise.
    Prices { currency: String, per_part_cents: u32, express_surcharge_cents: u32, per_mms_cents: u32, own_carrier_fee_micros: u32, }
    /// How accounts begin.
    Accounts { first_balance_cents: u32, registration_balance_cents: u32, registration: bool, private_carriers: bool, }
    /// One-time codes.
    Otp { length: u8, alphabet: String, deadline_ms: u64, }
    /// How long what is done with is kept.
    Retention { verification_days: u16, }
    /// Files that messages carry.
    Media {
        file_max: usize, account_max: u64, retention_days: u16, store: MediaPlace, s3_endpoint: String, s3_bucket: String, s3_prefix: String,
        s3_region: String, s3_access_key_id: String,
        #[serde(deserialize_with = "super::connection::secret")]
        s3_secret_access_key: SecretString,
    }
    /// Tables of contacts.
    Imports { file_max: u64, keep_days: u16, }
    /// What messages may be from.
    Senders { required: bool, }
    /// Tokens, passwords and what is remembered of them.
    Auth {
        access_token_s: u32, refresh_token_s: u32, lockout_after: u32, lockout_first_s: u32, lockout_max_s: u32, cache_ms: u64,
        argon2_memory_kib: u32, argon2_passes: u32, argon2_concurrent: u16,
    }
    /// From acceptance to settlement.
    Pipeline {
        intake_waiting_max: usize, commit_max: usize, queue_window: usize, memory_max: usize, retry_first_ms: u64, retry_factor: u32,
        retry_max_ms: u64, retries_max: u16, idempotency_days: u16,
    }
    /// Parts a second of an account by its tier.
    Throughput { regular: u32, premium: u32, vip: u32, }
    /// What is told to customers' servers.
    Webhooks { allow_http: bool, allow_private: bool, per_endpoint: u16, in_flight_max: u16, timeout_ms: u64, keep_days: u16, }
    /// Mail to people.
    Email {
        smtp_host: String, smtp_port: u16, tls: MailTls, ca_file: PathBuf, user: String,
        #[serde(deserialize_with = "super::connection::secret")]
        password: SecretString,
        from: String, link_url: String, verification_hours: u16, reset_minutes: u16,
    }
    /// Messages from phones.
    Inbound { parts_wait_s: u32, answers_per_hour: u32, confirm_hours: u16, }
    /// The carrier that sends nothing.
    Sandbox { accept_delay_ms: u64, receipt_delay_ms: u64, rate: u32, }
    /// Where customers bind by SMPP.
    SmppServer {
        listen: String, tls_listen: String, tls_certificate: PathBuf, tls_key: PathBuf, system_id: String, connections_max: usize,
        bind_timeout_s: u64, enquire_link_s: u64, response_timeout_s: u64, inactivity_s: u64, binds_max: u16, window_max: u16, rate_max: u32,
        keep_days: u16,
    }
    /// Other documents' endpoints over the same functions.
    Faces {
        merchant: bool, payments: Gateway, course_sms: bool,
        #[serde(deserialize_with = "super::connection::secret")]
        delivery_webhook_secret: SecretString,
    }
    /// What is written down.
    Log { level: String, format: LogFormat, }
}

/// Where the octets of media lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaPlace {
    /// In the data folder.
    Disk,
    /// In a bucket.
    S3,
}

/// How the line to the mail server is guarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Not at all.
    None,
    /// TLS begins after a word in clear; without it nothing is sent.
    Starttls,
    /// TLS from the first octet.
    Tls,
}

/// Who takes merchants' payments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gateway {
    /// Nobody.
    None,
    /// One that takes no money: it confirms at once what is not said to be declined.
    Sandbox,
}

impl Gateway {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Gateway::None => "none",
            Gateway::Sandbox => "sandbox",
        }
    }

    /// Its stored number.
    pub fn number(self) -> i16 {
        match self {
            Gateway::None => 0,
            Gateway::Sandbox => 1,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Prices {
    /// Of one part.
    pub fn per_part(&self) -> Money {
        Money::from_cents(self.per_part_cents.into())
    }

    /// Of a whole MMS.
    pub fn per_mms(&self) -> Money {
        Money::from_cents(self.per_mms_cents.into())
    }

    /// The platform's fee for a part by a carrier of the account's own.
    pub fn own_carrier_fee(&self) -> Money {
        Money(self.own_carrier_fee_micros.into())
    }

    /// Added to each express part.
    pub fn express_surcharge(&self) -> Money {
        Money::from_cents(self.express_surcharge_cents.into())
    }
}

impl Media {
    /// Whether all is there that a bucket needs, if one is wanted.
    fn bucket_is_named(&self) -> bool {
        use secrecy::ExposeSecret;
        // What needs no escapes in an address: signatures cover it as it stands.
        let plain = |text: &str, more: &str| {
            text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c) || more.contains(c))
        };
        let keys = [&self.s3_bucket, &self.s3_region, &self.s3_access_key_id].iter().all(|text| !text.is_empty());
        self.store == MediaPlace::Disk
            || (keys
                && !self.s3_secret_access_key.expose_secret().is_empty()
                && !self.s3_endpoint.is_empty()
                && is_address(self.s3_endpoint.trim_end_matches('/'))
                && plain(&self.s3_bucket, "")
                && plain(&self.s3_prefix, "/"))
    }
}

impl Email {
    /// Whether mail is sent at all.
    pub fn is_on(&self) -> bool {
        !self.smtp_host.is_empty()
    }
}

impl Config {
    /// Where the links in mails begin.
    pub fn link_base(&self) -> &str {
        let own = &self.email.link_url;
        if own.is_empty() { &self.server.public_url } else { own }
    }

    /// The URL of the database: the setting, or SQLite in the data folder.
    pub fn database_url(&self) -> String {
        use secrecy::ExposeSecret;
        match self.database.url.expose_secret() {
            "" => format!("sqlite:{}", self.data.folder.join("carillon.db").display()),
            url => url.to_owned(),
        }
    }
}

/// What types cannot say; one line a mistake.
pub(super) fn check(c: &Config) -> Vec<String> {
    use secrecy::ExposeSecret;
    let url = c.database.url.expose_secret();
    let alphabet: std::collections::BTreeSet<char> = c.otp.alphabet.chars().collect();
    let mut names = std::collections::HashSet::new();
    let rules = [
        (
            ["", "sqlite:", "postgres://", "postgresql://"]
                .iter()
                .any(|p| if p.is_empty() { url.is_empty() } else { url.starts_with(p) }),
            "`database.url` begins with sqlite: or postgres://",
        ),
        (
            is_address(&c.server.public_url),
            "`server.public_url` is empty, or https:// (or http://) and a host, without a path",
        ),
        (c.server.body_max >= 1_024, "`server.body_max` is at least 1024"),
        (
            c.server.header_timeout_s >= 1 && c.server.body_timeout_s >= 1 && c.server.connections_max >= 1,
            "`server.header_timeout_s`, `body_timeout_s` and `connections_max` are at least 1",
        ),
        ((1..=3_600).contains(&c.limits.burst_s), "`limits.burst_s` is 1 to 3600"),
        (c.limits.memory_max >= 1_000, "`limits.memory_max` is at least 1000"),
        (c.server.batch_body_max >= c.server.body_max, "`server.batch_body_max` is at least `server.body_max`"),
        (
            c.prices.currency.len() == 3 && c.prices.currency.bytes().all(|b| b.is_ascii_uppercase()),
            "`prices.currency` is three capital letters",
        ),
        (
            c.imports.file_max >= 1_024 && c.imports.keep_days >= 1,
            "`imports.file_max` is at least 1024, `imports.keep_days` at least 1",
        ),
        (c.media.retention_days >= 1, "`media.retention_days` is at least 1"),
        (
            c.retention.verification_days > c.pipeline.idempotency_days,
            "`retention.verification_days` is more than `pipeline.idempotency_days`",
        ),
        (
            c.media.bucket_is_named(),
            "`media.store = \"s3\"` needs `media.s3_endpoint` (https:// or http:// and a host), `s3_bucket`, `s3_region`, `s3_access_key_id` and `s3_secret_access_key`; bucket and prefix are of a-z, 0-9, - . and _, the prefix of / too",
        ),
        ((4..=12).contains(&c.otp.length), "`otp.length` is 4 to 12"),
        (
            alphabet.len() >= 8
                && alphabet.len() == c.otp.alphabet.chars().count()
                && c.otp.alphabet.bytes().all(|b| b.is_ascii_alphanumeric()),
            "`otp.alphabet` is at least 8 different letters and digits of ASCII",
        ),
        ((100..=60_000).contains(&c.otp.deadline_ms), "`otp.deadline_ms` is 100 to 60000"),
        ((60..=86_400).contains(&c.auth.access_token_s), "`auth.access_token_s` is 60 to 86400"),
        (c.auth.refresh_token_s > c.auth.access_token_s, "`auth.refresh_token_s` is more than `auth.access_token_s`"),
        (c.auth.lockout_after >= 1, "`auth.lockout_after` is at least 1"),
        (
            c.auth.lockout_first_s >= 1 && c.auth.lockout_max_s >= c.auth.lockout_first_s,
            "`auth.lockout_max_s` is at least `auth.lockout_first_s`, which is at least 1",
        ),
        ((64..=1_048_576).contains(&c.auth.argon2_memory_kib), "`auth.argon2_memory_kib` is 64 to 1048576"),
        ((1..=100).contains(&c.auth.argon2_passes), "`auth.argon2_passes` is 1 to 100"),
        ((1..=64).contains(&c.auth.argon2_concurrent), "`auth.argon2_concurrent` is 1 to 64"),
        (
            c.pipeline.intake_waiting_max >= 1 && c.pipeline.commit_max >= 1 && c.pipeline.queue_window >= 1,
            "`pipeline.intake_waiting_max`, `commit_max` and `queue_window` are at least 1",
        ),
        (c.pipeline.memory_max >= c.pipeline.queue_window, "`pipeline.memory_max` is at least `pipeline.queue_window`"),
        (
            c.pipeline.retry_first_ms >= 1
                && c.pipeline.retry_factor >= 1
                && c.pipeline.retry_max_ms >= c.pipeline.retry_first_ms,
            "`pipeline.retry_*`: the first wait is at least 1 ms, the factor at least 1, the longest wait at least the first",
        ),
        ((2..=30).contains(&c.pipeline.idempotency_days), "`pipeline.idempotency_days` is 2 to 30"),
        ((1..=1_000).contains(&c.webhooks.per_endpoint), "`webhooks.per_endpoint` is 1 to 1000"),
        (
            c.webhooks.in_flight_max >= c.webhooks.per_endpoint && c.webhooks.in_flight_max <= 10_000,
            "`webhooks.in_flight_max` is at least `webhooks.per_endpoint`, at most 10000",
        ),
        ((100..=60_000).contains(&c.webhooks.timeout_ms), "`webhooks.timeout_ms` is 100 to 60000"),
        ((4..=365).contains(&c.webhooks.keep_days), "`webhooks.keep_days` is 4 to 365: longer than an event is tried"),
        (
            !c.email.is_on() || c.email.from.parse::<lettre::message::Mailbox>().is_ok(),
            "`email.from` is an address, perhaps with a name, such as Carillon <no-reply@example.com>",
        ),
        (
            !c.email.is_on() || (is_address(c.link_base()) && !c.link_base().is_empty()),
            "`email.link_url`, or `server.public_url`, is https:// (or http://) and a host, without a path: links in mails begin with it",
        ),
        (
            c.email.tls != MailTls::None || c.email.user.is_empty(),
            "`email.user` needs `email.tls`: the password would be read by anybody on the way",
        ),
        (
            (1..=720).contains(&c.email.verification_hours) && (5..=1_440).contains(&c.email.reset_minutes),
            "`email.verification_hours` is 1 to 720, `email.reset_minutes` is 5 to 1440",
        ),
        (
            tracing_subscriber::EnvFilter::try_new(&c.log.level).is_ok(),
            "`log.level` is error, warn, info, debug, trace or a filter of these",
        ),
        (
            [&c.smpp_server.listen, &c.smpp_server.tls_listen]
                .iter()
                .all(|a| a.is_empty() || a.parse::<SocketAddr>().is_ok()),
            "`smpp_server.listen` and `smpp_server.tls_listen` are empty or an address with a port, such as 127.0.0.1:2775",
        ),
        (
            c.smpp_server.tls_listen.is_empty()
                || [&c.smpp_server.tls_certificate, &c.smpp_server.tls_key].iter().all(|p| !p.as_os_str().is_empty()),
            "`smpp_server.tls_listen` needs `smpp_server.tls_certificate` and `smpp_server.tls_key`",
        ),
        (
            (1..=15).contains(&c.smpp_server.system_id.len())
                && c.smpp_server.system_id.bytes().all(|b| b.is_ascii_graphic()),
            "`smpp_server.system_id` is 1 to 15 letters, digits and signs of ASCII",
        ),
        (
            [c.smpp_server.bind_timeout_s, c.smpp_server.enquire_link_s, c.smpp_server.response_timeout_s]
                .iter()
                .all(|s| (1..=3_600).contains(s)),
            "`smpp_server.bind_timeout_s`, `enquire_link_s` and `response_timeout_s` are 1 to 3600",
        ),
        (
            c.smpp_server.connections_max >= 1
                && c.smpp_server.binds_max >= 1
                && (1..=10_000).contains(&c.smpp_server.window_max),
            "`smpp_server.connections_max` and `binds_max` are at least 1, `window_max` is 1 to 10000",
        ),
        ((1..=720).contains(&c.inbound.confirm_hours), "`inbound.confirm_hours` is 1 to 720"),
        (c.smpp_server.keep_days >= 1, "`smpp_server.keep_days` is at least 1"),
        (!c.connections.is_empty(), "there is at least one [[connection]]"),
        (c.connections.iter().all(|k| names.insert(k.name.as_str())), "each connection has a name of its own"),
    ];
    let mut mistakes: Vec<String> =
        rules.into_iter().filter(|(fine, _)| !fine).map(|(_, rule)| rule.to_owned()).collect();
    let verification = c.verification.mistakes();
    mistakes.extend(verification.into_iter().map(|(field, may)| format!("`verification.{field}` is {may}")));
    for k in &c.connections {
        mistakes.extend(k.mistakes().into_iter().map(|(_, rule)| format!("connection `{}`: {rule}", k.name)));
    }
    mistakes
}

fn is_address(url: &str) -> bool {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    url.is_empty() || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', ' ', '@']))
}
