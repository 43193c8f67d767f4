//! Sources: where recipients can be read from. Only where and how is kept here; what is in them never is. How a database is read:
//! `postgres`, `mysql`.

pub mod mysql;
pub mod postgres;

use std::time::Duration;

use carillon_domain::id::{AccountNo, SourceId};
use uuid::Uuid;

use crate::db::{delete_one, newest, one};
use crate::{Db, StoreError};

/// A row as it came: columns and their values.
pub type Row = serde_json::Map<String, serde_json::Value>;

/// How the other side is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tls {
    /// TLS, and a certificate of the host's name.
    Verify,
    /// TLS, whoever it is.
    Require,
    /// In the clear.
    Off,
}

/// Who asks, what is asked, and how much may come.
#[derive(Clone)]
pub struct Question<'a> {
    /// The host's name, for its certificate.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: &'a str,
    /// The role.
    pub user: &'a str,
    /// Its password.
    pub password: Option<&'a [u8]>,
    /// How it is spoken to.
    pub tls: Tls,
    /// A certificate to believe besides the well-known ones, PEM.
    pub authority: Option<&'a str>,
    /// A SELECT, with `$1` … (MySQL: `?`) for its parameters.
    pub query: &'a str,
    /// Values of the parameters, as texts.
    pub parameters: &'a [Option<String>],
    /// More rows are refused.
    pub rows_max: usize,
    /// Rows that are read; `rows_max` if more.
    pub rows: usize,
    /// More octets are refused.
    pub octets_max: usize,
    /// More time is refused.
    pub time: Duration,
}

/// Why nothing was read. The text may be shown to whose source it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unread {
    /// The database refused.
    #[error("the database says: {0}")]
    Refused(String),
    /// The connection could not be made, or ended.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// Too many rows.
    #[error("the query has more than {0} rows: ask for fewer by WHERE, or LIMIT")]
    Rows(usize),
    /// Too much in all.
    #[error("the answer is longer than {0} octets: ask for fewer rows or columns")]
    Octets(usize),
    /// Too slow.
    #[error("no answer within {0} seconds: an index may help, or fewer rows")]
    Time(u64),
}

impl Question<'_> {
    /// The whole statement, of which the query is a part: so it is one, and it reads.
    fn whole(&self, select: &str) -> String {
        let query = self.query.trim_end().trim_end_matches(';');
        let limit = self.rows.min(self.rows_max + 1);
        // The line ends a comment that the query may end with.
        format!("{select} FROM (\n{query}\n) source LIMIT {limit}")
    }

    fn check_parameters(&self, expected: usize) -> Result<(), Unread> {
        let given = self.parameters.len();
        if expected == given {
            return Ok(());
        }
        Err(Unread::Refused(format!("the query has {expected} parameters, and {given} are given")))
    }

    /// Whether there may be one more row than so many, and so many octets.
    fn check_size(&self, rows: usize, octets: usize) -> Result<(), Unread> {
        match () {
            () if rows >= self.rows_max => Err(Unread::Rows(self.rows_max)),
            () if octets > self.octets_max => Err(Unread::Octets(self.octets_max)),
            () => Ok(()),
        }
    }
}

/// A source of an account.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// Its id; also names the account.
    pub id: SourceId,
    /// What it is called.
    pub name: String,
    /// JSON: where it is, what is asked of it, which column is what.
    pub settings: String,
    /// Sealed: what it asks of who reads it.
    pub secret: Option<Vec<u8>>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub changed_at: i64,
}

type Stored = (Uuid, String, String, Option<Vec<u8>>, i64, i64);
const COLUMNS: &str = "id, name, settings, secret, created_at, changed_at";

fn read((id, name, settings, secret, created_at, changed_at): Stored) -> Source {
    Source { id: SourceId(id), name, settings, secret, created_at, changed_at }
}

/// Saves a source, over what it was.
pub async fn put(db: &Db, account: AccountNo, s: &Source) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO source (account_no, id, name, settings, secret, created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (account_no, id) DO UPDATE SET name = excluded.name, settings = excluded.settings, \
             secret = excluded.secret, changed_at = excluded.changed_at",
        )
        .bind(account.as_i64())
        .bind(s.id.0)
        .bind(&s.name)
        .bind(&s.settings)
        .bind(s.secret.as_deref())
        .bind(s.created_at)
        .bind(s.changed_at)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// Takes a source away, and the secret with it.
pub async fn delete(db: &Db, account: AccountNo, id: SourceId) -> Result<(), StoreError> {
    delete_one(db, "DELETE FROM source WHERE account_no = $1 AND id = $2", account, id.0).await
}

/// One source of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: SourceId) -> Result<Source, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM source WHERE account_no = $1 AND id = $2");
    let row: Stored = one(db, text, account, id.0).await?;
    Ok(read(row))
}

/// The newest source of that name, if there is one.
pub async fn by_name(db: &Db, account: AccountNo, name: &str) -> Result<Option<Source>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM source WHERE account_no = $1 AND name = $2 ORDER BY id DESC LIMIT 1");
    let row: Option<Stored> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text)).bind(account.as_i64()).bind(name).fetch_optional(c).await
    })?;
    Ok(row.map(read))
}

/// Up to `limit` of an account's sources before an id, newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    before: Option<SourceId>,
    limit: u32,
) -> Result<Vec<Source>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM source WHERE account_no = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    let rows: Vec<Stored> = newest(db, text, account, before.map(|id| id.0), limit).await?;
    Ok(rows.into_iter().map(read).collect())
}
