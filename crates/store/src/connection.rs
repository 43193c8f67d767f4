//! Connections to carriers. Each has a number for ever, which is what rows of messages carry; those of the configuration file have little else here.

use carillon_domain::id::{AccountNo, ConnectionId, compose};
use carillon_domain::route::ConnectionNo;
use uuid::Uuid;

use crate::db::{newest, one};
use crate::{Db, StoreError};

/// One connection that is not deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connection {
    /// What messages carry.
    pub no: ConnectionNo,
    /// What the API shows.
    pub id: ConnectionId,
    /// Whose; `AccountNo::PLATFORM` for everybody's.
    pub account: AccountNo,
    /// What people call it; one of its kind in its account.
    pub name: String,
    /// What it speaks, as the configuration writes it; empty if the configuration file says it.
    pub kind: String,
    /// JSON of what was given, secrets excepted; `None` if it stands in the configuration file.
    pub settings: Option<String>,
    /// The secret ones, sealed.
    pub secrets: Option<Vec<u8>>,
    /// Whether it is to be used.
    pub enabled: bool,
    /// Unix milliseconds; 0 if it stands in the configuration file.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
}

/// A connection to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewConnection<'a> {
    /// Its id; secrets are sealed for it.
    pub id: ConnectionId,
    /// Whose.
    pub account: AccountNo,
    /// What people call it.
    pub name: &'a str,
    /// What it speaks.
    pub kind: &'a str,
    /// JSON, secrets excepted.
    pub settings: &'a str,
    /// Sealed.
    pub secrets: Option<&'a [u8]>,
    /// Whether it is to be used.
    pub enabled: bool,
    /// Unix milliseconds.
    pub now: i64,
    /// The most an account may have.
    pub most: u32,
}

/// What to change; `None` stays.
#[derive(Clone, Copy, Default, Debug)]
pub struct Change<'a> {
    /// What people call it.
    pub name: Option<&'a str>,
    /// All settings, JSON, and all secrets, sealed.
    pub settings: Option<(&'a str, Option<&'a [u8]>)>,
    /// Whether it is to be used.
    pub enabled: Option<bool>,
}

type Row = (i32, Uuid, i64, String, String, Option<String>, Option<Vec<u8>>, bool, i64, i64);
const COLUMNS: &str =
    "CAST(no AS INTEGER), id, account_no, name, kind, settings, secrets, enabled, created_at, updated_at";

fn read((no, id, account, name, kind, settings, secrets, enabled, created_at, updated_at): Row) -> Connection {
    let (id, account) = (ConnectionId(id), AccountNo::from_i64(account));
    Connection { no, id, account, name, kind, settings, secrets, enabled, created_at, updated_at }
}

/// The number of the connection of that name in the configuration file; given out if it is new.
pub async fn number(db: &Db, name: &str) -> Result<ConnectionNo, StoreError> {
    const FIND: &str = "SELECT CAST(no AS INTEGER) FROM connection \
        WHERE account_no = 0 AND name = $1 AND settings IS NULL AND deleted_at IS NULL";
    let found: Option<(i32,)> = read_db!(db, |c| sqlx::query_as(FIND).bind(name).fetch_optional(c).await)?;
    if let Some((no,)) = found {
        return Ok(no);
    }
    let no = write_db!(db, |tx| {
        routing_changed!(tx);
        let found: Option<(i32,)> = sqlx::query_as(FIND).bind(name).fetch_optional(&mut *tx).await?;
        match found {
            Some((no,)) => no,
            None => {
                let (no,): (i32,) = sqlx::query_as(NEXT).fetch_one(&mut *tx).await?;
                let id = id_of_file(no).0;
                sqlx::query(
                    "INSERT INTO connection (no, id, account_no, name, kind, enabled, created_at, updated_at) \
                     VALUES ($1, $2, 0, $3, '', $4, 0, 0)",
                )
                .bind(no)
                .bind(id)
                .bind(name)
                .bind(true)
                .execute(&mut *tx)
                .await?;
                no
            }
        }
    });
    Ok(no)
}

/// The id of a connection of the configuration file: the same on every node.
pub fn id_of_file(no: ConnectionNo) -> ConnectionId {
    ConnectionId(compose(0, u64::from(no.unsigned_abs()), AccountNo::PLATFORM))
}

/// Deleted ones keep their rows, so a number never comes back.
const NEXT: &str = "SELECT CAST(COALESCE(MAX(no), 0) + 1 AS INTEGER) FROM connection";

/// Stores a new one. `Taken("connection name")` and `Taken("connections")` (it would be more than `most`) are refusals.
pub async fn create(db: &Db, new: &NewConnection<'_>) -> Result<Connection, StoreError> {
    let row: Row = write_db!(db, |tx| {
        routing_changed!(tx);
        let (count,): (i64,) = sqlx::query_as(
            "SELECT COUNT(*) FROM connection WHERE account_no = $1 AND settings IS NOT NULL AND deleted_at IS NULL",
        )
        .bind(new.account.as_i64())
        .fetch_one(&mut *tx)
        .await?;
        if count >= i64::from(new.most) {
            return Err(StoreError::Taken("connections"));
        }
        let (no,): (i32,) = sqlx::query_as(NEXT).fetch_one(&mut *tx).await?;
        let text = format!(
            "INSERT INTO connection (no, id, account_no, name, kind, settings, secrets, enabled, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) RETURNING {COLUMNS}"
        );
        sqlx::query_as(crate::db::built(text))
            .bind(no)
            .bind(new.id.0)
            .bind(new.account.as_i64())
            .bind(new.name)
            .bind(new.kind)
            .bind(new.settings)
            .bind(new.secrets)
            .bind(new.enabled)
            .bind(new.now)
            .fetch_one(&mut *tx)
            .await
            .map_err(name_taken)?
    });
    Ok(read(row))
}

fn name_taken(e: sqlx::Error) -> StoreError {
    match e.into() {
        StoreError::Taken(_) => StoreError::Taken("connection name"),
        other => other,
    }
}

/// One of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: ConnectionId) -> Result<Connection, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM connection WHERE account_no = $1 AND id = $2 AND deleted_at IS NULL");
    let row = one(db, text, account, id.0).await?;
    Ok(read(row))
}

/// Up to `limit` of an account older than one (all, if `None`), newest first; those of the configuration file last.
pub async fn list(
    db: &Db,
    account: AccountNo,
    before: Option<ConnectionId>,
    limit: u32,
) -> Result<Vec<Connection>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM connection WHERE account_no = $1 AND id < $2 AND deleted_at IS NULL ORDER BY id DESC LIMIT $3"
    );
    let rows: Vec<Row> = newest(db, text, account, before.map(|id| id.0), limit).await?;
    Ok(rows.into_iter().map(read).collect())
}

/// Every account's, by number: what is to be run. Those of the configuration file are among them.
pub async fn all(db: &Db) -> Result<Vec<Connection>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM connection WHERE deleted_at IS NULL ORDER BY no");
    let rows: Vec<Row> = read_db!(db, |c| sqlx::query_as(crate::db::built(text)).fetch_all(c).await)?;
    Ok(rows.into_iter().map(read).collect())
}

/// Changes one of an account. `NotFound` also for those of the configuration file; `Taken("connection name")`.
pub async fn change(
    db: &Db,
    account: AccountNo,
    id: ConnectionId,
    change: &Change<'_>,
    now: i64,
) -> Result<Connection, StoreError> {
    let text = format!(
        "UPDATE connection SET name = COALESCE($3, name), settings = COALESCE($4, settings), \
         secrets = CASE WHEN $4 IS NULL THEN secrets ELSE $5 END, enabled = COALESCE($6, enabled), updated_at = $7 \
         WHERE account_no = $1 AND id = $2 AND settings IS NOT NULL AND deleted_at IS NULL RETURNING {COLUMNS}"
    );
    let row: Row = write_db!(db, |tx| {
        routing_changed!(tx);
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(id.0)
            .bind(change.name)
            .bind(change.settings.map(|(text, _)| text))
            .bind(change.settings.and_then(|(_, secrets)| secrets))
            .bind(change.enabled)
            .bind(now)
            .fetch_one(&mut *tx)
            .await
            .map_err(name_taken)?
    });
    Ok(read(row))
}

/// Deletes one of an account with its secrets and rates; its number and name stay, for the history of messages. `NotFound` also for those
/// of the configuration file.
pub async fn delete(db: &Db, account: AccountNo, id: ConnectionId, now: i64) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        routing_changed!(tx);
        let (no,): (i32,) = sqlx::query_as(
            "UPDATE connection SET deleted_at = $3, updated_at = $3, secrets = NULL \
             WHERE account_no = $1 AND id = $2 AND settings IS NOT NULL AND deleted_at IS NULL RETURNING CAST(no AS INTEGER)",
        )
        .bind(account.as_i64())
        .bind(id.0)
        .bind(now)
        .fetch_one(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM carrier_rate WHERE connection_no = $1").bind(no).execute(&mut *tx).await?;
    });
    Ok(())
}
