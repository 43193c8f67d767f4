//! Webhook endpoints, and what is to be delivered to them.

use carillon_domain::event::{EventKind, Kinds};
use carillon_domain::id::{AccountNo, EndpointId, EventId};
use uuid::Uuid;

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

/// Disables an endpoint that was enabled, with the event that tells its account. What waits for it is kept for a replay. False if it was not
/// enabled (any more).
pub async fn disable(
    db: &Db,
    account: AccountNo,
    id: EndpointId,
    status: EndpointStatus,
    event: &NewEvent,
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
            sqlx::query(
                "UPDATE webhook_delivery SET state = 3 WHERE account_no = $1 AND endpoint_id = $2 AND state = 0",
            )
            .bind(account.as_i64())
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
        }
        changed > 0
    }))
}

/// One event for one endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewDelivery {
    /// Where to; nil for a callback.
    pub endpoint: EndpointId,
    /// Which event, the same for all endpoints.
    pub event: EventId,
    /// What it waits together with.
    pub queue: Uuid,
    /// What happened.
    pub kind: EventKind,
    /// To what.
    pub subject: Option<Uuid>,
    /// JSON object of what there is to tell, where the subject does not tell it.
    pub detail: Option<String>,
    /// When, Unix milliseconds.
    pub event_at: i64,
    /// Whether its endpoint is disabled: kept for a replay, not sent.
    pub missed: bool,
}

/// Rows of one statement: 12 values each, and SQLite takes 32,766.
pub(crate) const DELIVERIES_AT_ONCE: usize = 500;

/// Writes deliveries within the caller's transaction. One that is there already stays as it is.
macro_rules! put_deliveries {
    ($tx:expr, $deliveries:expr) => {{
        let deliveries: &[$crate::webhook::NewDelivery] = $deliveries;
        for some in deliveries.chunks($crate::webhook::DELIVERIES_AT_ONCE) {
            let mut query = sqlx::QueryBuilder::new(
                "INSERT INTO webhook_delivery (account_no, endpoint_id, id, queue, kind, subject, detail, event_at, state, attempts, due_at) ",
            );
            query.push_values(some, |mut row, d| {
                row.push_bind(d.event.account().as_i64())
                    .push_bind(d.endpoint.0)
                    .push_bind(d.event.0)
                    .push_bind(d.queue)
                    .push_bind(d.kind.number())
                    .push_bind(d.subject)
                    .push_bind(d.detail.as_deref())
                    .push_bind(d.event_at)
                    .push_bind(if d.missed { 3i16 } else { 0 })
                    .push_bind(0i16)
                    .push_bind(d.event_at);
            });
            query.push(" ON CONFLICT DO NOTHING");
            query.build().execute(&mut *$tx).await?;
        }
    }};
}
pub(crate) use put_deliveries;
