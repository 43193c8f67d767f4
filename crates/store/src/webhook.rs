//! Webhook endpoints: where an account's events go.

use carillon_domain::event::Kinds;
use carillon_domain::id::{AccountNo, EndpointId};
use uuid::Uuid;

use crate::db::one;
use crate::email::{NewEmail, put_email};
use crate::event::{NewEvent, WatchedStates, put_event};
use crate::{Db, StoreError};

/// Whether an endpoint is sent to, and why not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndpointStatus {
    /// It is.
    Enabled = 0,
    /// Its owner switched it off.
    Disabled = 1,
    /// It failed for the whole schedule of retries.
    Failing = 2,
    /// It answered 410.
    Gone = 3,
}

impl EndpointStatus {
    fn from_number(n: i16) -> EndpointStatus {
        match n {
            0 => EndpointStatus::Enabled,
            2 => EndpointStatus::Failing,
            3 => EndpointStatus::Gone,
            _ => EndpointStatus::Disabled,
        }
    }

    /// Whether events are kept for it: not if its owner switched it off.
    pub fn collects(self) -> bool {
        self != EndpointStatus::Disabled
    }
}

/// Where events of an account go. The one with the id 0 has no address: it holds the secret that signs the account's callbacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose it is.
    pub account: AccountNo,
    /// Where events go.
    pub url: String,
    /// What people call it.
    pub description: String,
    /// Which events it wants.
    pub kinds: Kinds,
    /// Whether it is sent to.
    pub status: EndpointStatus,
    /// Since when, Unix milliseconds.
    pub status_at: i64,
    /// Signs what is sent; under seal.
    pub secret: Vec<u8>,
    /// The one before, which signs as well until then (Unix milliseconds).
    pub previous: Option<(Vec<u8>, i64)>,
    /// About when it last took an event, Unix milliseconds.
    pub accepted_at: Option<i64>,
    /// Unix milliseconds.
    pub created_at: i64,
}

impl Endpoint {
    /// Whether it is sent to.
    pub fn is_enabled(&self) -> bool {
        self.status == EndpointStatus::Enabled
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    account_no: i64,
    url: String,
    description: String,
    kinds: String,
    status: i16,
    status_at: i64,
    secret: Vec<u8>,
    previous_secret: Option<Vec<u8>>,
    previous_until: Option<i64>,
    accepted_at: Option<i64>,
    created_at: i64,
}

const COLUMNS: &str = "id, account_no, url, description, kinds, status, status_at, secret, previous_secret, previous_until, accepted_at, created_at";

impl From<Row> for Endpoint {
    fn from(r: Row) -> Endpoint {
        Endpoint {
            id: EndpointId(r.id),
            account: AccountNo::from_i64(r.account_no),
            url: r.url,
            description: r.description,
            kinds: Kinds::from_text(&r.kinds),
            status: EndpointStatus::from_number(r.status),
            status_at: r.status_at,
            secret: r.secret,
            previous: r.previous_secret.zip(r.previous_until),
            accepted_at: r.accepted_at,
            created_at: r.created_at,
        }
    }
}

/// Every endpoint of every account, those of callbacks too: what the consumer of the outbox holds in memory.
pub async fn all(db: &Db) -> Result<Vec<Endpoint>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM webhook_endpoint");
    let rows: Vec<Row> = read_db!(db, |c| sqlx::query_as(crate::db::built(text)).fetch_all(c).await)?;
    Ok(rows.into_iter().map(Endpoint::from).collect())
}

/// The states of messages that these endpoints want to be told of, per account: for `event::Watched`.
pub fn watched(endpoints: &[Endpoint]) -> WatchedStates {
    let mut watched = WatchedStates::default();
    for endpoint in endpoints.iter().filter(|e| e.status.collects() && !e.id.0.is_nil()) {
        let states = watched.entry(endpoint.account).or_default();
        *states = states.and(endpoint.kinds.states());
    }
    watched
}

/// Stores a new endpoint.
pub async fn create(db: &Db, e: &Endpoint) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO webhook_endpoint (id, account_no, url, description, kinds, status, status_at, secret, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(e.id.0)
        .bind(e.account.as_i64())
        .bind(&e.url)
        .bind(&e.description)
        .bind(e.kinds.to_text())
        .bind(e.status as i16)
        .bind(e.status_at)
        .bind(&e.secret)
        .bind(e.created_at)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// Disables an endpoint that was enabled, with the event and the mails that tell its account. What waits for it is kept for a replay. False if it was not
/// enabled (any more).
pub async fn disable(
    db: &Db,
    account: AccountNo,
    id: EndpointId,
    status: EndpointStatus,
    event: &NewEvent,
    mails: &[NewEmail],
) -> Result<bool, StoreError> {
    Ok(write_db!(db, |tx| {
        let changed = sqlx::query(
            "UPDATE webhook_endpoint SET status = $3, status_at = $4 WHERE account_no = $1 AND id = $2 AND status = 0",
        )
        .bind(account.as_i64())
        .bind(id.0)
        .bind(status as i16)
        .bind(event.at)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if changed > 0 {
            put_event!(tx, event);
            for mail in mails {
                put_email!(tx, mail);
            }
            crate::delivery::put_aside!(tx, account, id);
        }
        changed > 0
    }))
}

/// One endpoint of an account; nobody's callbacks.
pub async fn by_id(db: &Db, account: AccountNo, id: EndpointId) -> Result<Endpoint, StoreError> {
    if id.0.is_nil() {
        return Err(StoreError::NotFound);
    }
    let text = format!("SELECT {COLUMNS} FROM webhook_endpoint WHERE account_no = $1 AND id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    Ok(row.into())
}

/// Up to `limit` endpoints of an account older than one (all, if `None`), newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    before: Option<EndpointId>,
    limit: u32,
) -> Result<Vec<Endpoint>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM webhook_endpoint WHERE account_no = $1 AND id < $2 AND id > $3 ORDER BY id DESC LIMIT $4"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(before.map_or(Uuid::max(), |id| id.0))
            .bind(Uuid::nil())
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    Ok(rows.into_iter().map(Endpoint::from).collect())
}

/// What to change of an endpoint; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Where events go.
    pub url: Option<String>,
    /// What people call it.
    pub description: Option<String>,
    /// Which events it wants.
    pub kinds: Option<Kinds>,
    /// Whether it is sent to. What waits for one that is disabled is kept for a replay.
    pub status: Option<EndpointStatus>,
}

/// Changes an endpoint.
pub async fn change(
    db: &Db,
    account: AccountNo,
    id: EndpointId,
    change: &Change,
    now: i64,
) -> Result<Endpoint, StoreError> {
    let text = format!(
        "UPDATE webhook_endpoint SET url = COALESCE($3, url), description = COALESCE($4, description), kinds = COALESCE($5, kinds), \
         status_at = CASE WHEN COALESCE($6, status) = status THEN status_at ELSE $7 END, status = COALESCE($6, status) \
         WHERE account_no = $1 AND id = $2 RETURNING {COLUMNS}"
    );
    let row: Row = write_db!(db, |tx| {
        let row: Row = sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(id.0)
            .bind(change.url.as_deref())
            .bind(change.description.as_deref())
            .bind(change.kinds.map(Kinds::to_text))
            .bind(change.status.map(|status| status as i16))
            .bind(now)
            .fetch_one(&mut *tx)
            .await?;
        if row.status != 0 {
            crate::delivery::put_aside!(tx, account, id);
        }
        row
    });
    Ok(row.into())
}

/// Takes an endpoint away; its log goes with `delivery::forget`.
pub async fn delete(db: &Db, account: AccountNo, id: EndpointId) -> Result<(), StoreError> {
    let gone = write_db!(db, |tx| {
        let gone = sqlx::query("DELETE FROM webhook_endpoint WHERE account_no = $1 AND id = $2 AND id <> $3")
            .bind(account.as_i64())
            .bind(id.0)
            .bind(Uuid::nil())
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if gone > 0 {
            crate::delivery::put_aside!(tx, account, id);
        }
        gone
    });
    if gone == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}

/// Puts a new secret (under seal) in the place of the old one, which signs as well until an instant (Unix milliseconds).
pub async fn rotate(
    db: &Db,
    account: AccountNo,
    id: EndpointId,
    secret: &[u8],
    until: i64,
) -> Result<Endpoint, StoreError> {
    let text = format!(
        "UPDATE webhook_endpoint SET previous_secret = secret, previous_until = $4, secret = $3 \
         WHERE account_no = $1 AND id = $2 RETURNING {COLUMNS}"
    );
    let row: Row = write_db!(db, |tx| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(id.0)
            .bind(secret)
            .bind(until)
            .fetch_one(&mut *tx)
            .await?
    });
    Ok(row.into())
}
