//! Sources: recipients read out of an account's own database, or from a program of its own, at the moment they are needed. Nothing that was read
//! is kept.
//!
//! Where a source is, its account says; so it is gone to as webhooks are, through the one guard (`notify::guard`), and never answered with more
//! than words about what went wrong.

mod http;
mod people;

use std::collections::BTreeMap;
use std::time::Duration;

use carillon_domain::id::SourceId;
use carillon_store::source::{self, Question, Row, Source, Unread, mysql, postgres};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::app::App;

pub use people::Person;

/// Rows of one source.
pub const ROWS_MAX: usize = 100_000;
/// Octets of what a source answers.
const OCTETS_MAX: usize = 16 << 20;
/// The longest a source is waited for, seconds.
pub const TIMEOUT_MAX: u32 = 60;
/// Sources that are read at once: each may take `OCTETS_MAX` of memory, a few times over.
static READERS: Semaphore = Semaphore::const_new(8);

/// Where a source is, what is asked of it, and which column is what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// A PostgreSQL.
    pub postgres: Option<Database>,
    /// A MySQL or MariaDB.
    pub mysql: Option<Database>,
    /// A program that answers with JSON.
    pub http: Option<Http>,
    /// Which column is what.
    pub columns: Columns,
    /// How long it is waited for, seconds.
    pub timeout_s: u32,
    /// More rows are refused.
    pub rows_max: usize,
}

/// A database and what is asked of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = SourceDatabase)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Its host, on the public internet.
    #[schema(example = "db.example.com")]
    pub host: String,
    /// 5432 or 3306 if not given.
    #[schema(example = 5432)]
    pub port: Option<u16>,
    /// The database.
    #[schema(example = "school")]
    pub database: String,
    /// The role; give it no right but to read.
    #[schema(example = "carillon_reader")]
    pub user: String,
    /// `verify` (if not given), `require` or `off`.
    #[serde(default)]
    pub tls: Tls,
    /// A certificate to believe besides the well-known ones, PEM.
    pub ca: Option<String>,
    /// One SELECT, with `$1` … for its parameters; of MySQL with `?`.
    #[schema(example = "select phone, first_name from participants where course = $1")]
    pub query: String,
    /// Values of the parameters, as texts; null is NULL.
    #[serde(default)]
    #[schema(example = json!(["course_123"]))]
    pub parameters: Vec<Option<String>>,
}

/// How a database is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = SourceTls)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// TLS, and a certificate of the host's name.
    #[default]
    Verify,
    /// TLS, whoever answers.
    Require,
    /// In the clear.
    Off,
}

/// A program that answers GET with JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = SourceHttp)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Its address, https.
    #[schema(example = "https://crm.example.com/leads.json")]
    pub url: String,
    /// JSON pointer to the array of rows in the answer; the answer itself if not given.
    #[serde(default)]
    #[schema(example = "/data")]
    pub rows_at: String,
}

/// Which column is what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = SourceColumns)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// The phone number: + and country code; or national, with the account's `default_country`.
    #[schema(example = "phone")]
    pub phone: String,
    /// What `{{name}}` reads.
    #[schema(example = "first_name")]
    pub name: Option<String>,
    /// Other words of texts, and the column of each.
    #[serde(default)]
    #[schema(example = json!({"city": "town"}))]
    pub attributes: BTreeMap<String, String>,
}

/// Why a source could not be read, in words for whose it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// As many are read as may be.
    #[error("too many sources are read at this moment; try again")]
    Busy,
    /// The address may not be gone to, or leads nowhere.
    #[error("the address cannot be gone to: {0}")]
    Address(String),
    /// The stored secret or settings cannot be read.
    #[error("the stored secret cannot be opened: set it again")]
    Sealed,
    /// A database.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// A program.
    #[error("{0}")]
    Http(String),
    /// A column that is not there.
    #[error("there is no column `{column}`; there are: {there}")]
    Column {
        /// The one that was named.
        column: String,
        /// Those there are.
        there: String,
    },
    /// A row that cannot be read.
    #[error("row {row}: {why}")]
    Row {
        /// From 1.
        row: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// What a secret is sealed for.
pub fn context(id: SourceId) -> Vec<u8> {
    [b"source secret ".as_slice(), id.0.as_bytes()].concat()
}

/// Everybody a source has; or the first `few`, to look at.
pub async fn read(app: &App, source: &Source, few: Option<usize>) -> Result<Vec<Person>, Failure> {
    let settings: Settings = serde_json::from_str(&source.settings).map_err(|_| Failure::Sealed)?;
    let opened = source.secret.as_deref().map(|sealed| app.vault.open(sealed, &context(source.id)));
    let secret = opened.transpose().map_err(|_| Failure::Sealed)?;
    let _reader = READERS.try_acquire().map_err(|_| Failure::Busy)?;
    let rows = match settings {
        Settings { postgres: Some(ref of), .. } => database(app, &settings, of, 5432, secret.as_deref(), few).await?,
        Settings { mysql: Some(ref of), .. } => database(app, &settings, of, 3306, secret.as_deref(), few).await?,
        Settings { http: Some(ref of), .. } => http::rows(app, &settings, of, secret.as_deref()).await?,
        _ => return Err(Failure::Sealed),
    };
    let mut people = people::of_rows(&rows, &settings.columns)?;
    people.truncate(few.unwrap_or(usize::MAX));
    Ok(people)
}

async fn database(
    app: &App,
    settings: &Settings,
    of: &Database,
    usual_port: u16,
    password: Option<&[u8]>,
    few: Option<usize>,
) -> Result<Vec<Row>, Failure> {
    let time = Duration::from_secs(settings.timeout_s.into());
    let port = of.port.unwrap_or(usual_port);
    let resolving = app.notify.outbound.guard().resolve(&of.host, port);
    let addresses = tokio::time::timeout(time, resolving).await.map_err(|_| Unread::Time(time.as_secs()))?;
    let addresses = addresses.map_err(|e| Failure::Address(e.to_string()))?;
    // Without one a driver might look for itself.
    if addresses.is_empty() {
        return Err(Failure::Address("the name leads nowhere".into()));
    }
    let question = Question {
        host: &of.host,
        port,
        database: &of.database,
        user: &of.user,
        password,
        tls: match of.tls {
            Tls::Verify => source::Tls::Verify,
            Tls::Require => source::Tls::Require,
            Tls::Off => source::Tls::Off,
        },
        authority: of.ca.as_deref(),
        query: &of.query,
        parameters: &of.parameters,
        rows_max: settings.rows_max,
        rows: few.unwrap_or(usize::MAX),
        octets_max: OCTETS_MAX,
        time,
    };
    if settings.postgres.is_none() {
        let addresses: Vec<_> = addresses.iter().map(|address| address.ip()).collect();
        return Ok(mysql::rows(&addresses, &question).await?);
    }
    let stream = tokio::time::timeout(time, TcpStream::connect(&addresses[..])).await;
    let stream = stream.map_err(|_| Unread::Time(time.as_secs()))?;
    let stream = stream.map_err(|e| Unread::Connection(e.to_string()))?;
    Ok(postgres::rows(stream, &question).await?)
}
