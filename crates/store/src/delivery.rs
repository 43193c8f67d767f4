//! What is to be delivered to webhook endpoints, and the log of what was: written by the fan-out (`event::fan_out`), drained queue by queue.

use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountNo, EndpointId, EventId, compose};
use uuid::Uuid;

use crate::hot::{open_text, seal_text};
use crate::{Db, StoreError};

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

/// Rows of one statement: 11 values each, and SQLite takes 32,766.
pub(crate) const AT_ONCE: usize = 500;

/// Writes deliveries within the caller's transaction. One that is there already stays as it is.
macro_rules! put_deliveries {
    ($tx:expr, $deliveries:expr) => {{
        let deliveries: &[$crate::delivery::NewDelivery] = $deliveries;
        for some in deliveries.chunks($crate::delivery::AT_ONCE) {
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

/// Where a delivery stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryState {
    /// To be sent, or sent again.
    Pending = 0,
    /// The receiver has it.
    Delivered = 1,
    /// Given up.
    Failed = 2,
    /// Not sent, as its endpoint was disabled.
    Missed = 3,
}

impl DeliveryState {
    /// All of them.
    pub const ALL: [DeliveryState; 4] =
        [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Failed, DeliveryState::Missed];

    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Failed => "failed",
            DeliveryState::Missed => "missed",
        }
    }

    fn from_number(n: i16) -> DeliveryState {
        DeliveryState::ALL.into_iter().find(|s| *s as i16 == n).unwrap_or(DeliveryState::Failed)
    }
}

/// A delivery as stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Where to; nil for a callback.
    pub endpoint: EndpointId,
    /// Which event.
    pub event: EventId,
    /// What it waits together with.
    pub queue: Uuid,
    /// What happened; `None` if this version does not know the kind.
    pub kind: Option<EventKind>,
    /// To what.
    pub subject: Option<Uuid>,
    /// JSON object of what there is to tell.
    pub detail: Option<String>,
    /// When it happened, Unix milliseconds.
    pub event_at: i64,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts since it was last asked for.
    pub attempts: u8,
    /// When it is tried next, or was to be, Unix milliseconds.
    pub due_at: i64,
    /// JSON array of the last attempts, oldest first.
    pub log: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    endpoint_id: Uuid,
    id: Uuid,
    queue: Uuid,
    kind: i16,
    subject: Option<Uuid>,
    detail: Option<String>,
    event_at: i64,
    state: i16,
    attempts: i16,
    due_at: i64,
    log: Option<Vec<u8>>,
}

const COLUMNS: &str = "endpoint_id, id, queue, kind, subject, detail, event_at, state, attempts, due_at, log";

impl TryFrom<Row> for Delivery {
    type Error = StoreError;
    fn try_from(r: Row) -> Result<Delivery, StoreError> {
        Ok(Delivery {
            endpoint: EndpointId(r.endpoint_id),
            event: EventId(r.id),
            queue: r.queue,
            kind: EventKind::from_number(r.kind),
            subject: r.subject,
            detail: r.detail,
            event_at: r.event_at,
            state: DeliveryState::from_number(r.state),
            attempts: r.attempts.clamp(0, 255) as u8,
            due_at: r.due_at,
            log: r.log.as_deref().map(open_text).transpose()?.map(|text| text.to_string()),
        })
    }
}

/// What waits together, and the earliest time something of it is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queue {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub account: AccountNo,
    /// For which endpoint; nil for callbacks.
    pub endpoint: EndpointId,
    /// Unix milliseconds.
    pub due_at: i64,
}

/// Every queue in which something waits. This is for the one process that delivers: accounts all together.
pub async fn queues(db: &Db) -> Result<Vec<Queue>, StoreError> {
    let rows: Vec<(Uuid, i64, Uuid, i64)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT queue, account_no, endpoint_id, MIN(due_at) FROM webhook_delivery WHERE state = 0 \
             GROUP BY queue, account_no, endpoint_id",
        )
        .fetch_all(c)
        .await
    })?;
    let read = |(id, no, endpoint, due_at)| Queue {
        id,
        account: AccountNo::from_i64(no),
        endpoint: EndpointId(endpoint),
        due_at,
    };
    Ok(rows.into_iter().map(read).collect())
}

/// Up to `limit` pending deliveries of a queue, those due first first, oldest first among equals; due or not.
pub async fn next(db: &Db, queue: Uuid, limit: u32) -> Result<Vec<Delivery>, StoreError> {
    let text =
        format!("SELECT {COLUMNS} FROM webhook_delivery WHERE queue = $1 AND state = 0 ORDER BY due_at, id LIMIT $2");
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text)).bind(queue).bind(i64::from(limit)).fetch_all(c).await
    })?;
    rows.into_iter().map(Delivery::try_from).collect()
}

/// What became of one attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempted {
    /// Where to.
    pub endpoint: EndpointId,
    /// Which event.
    pub event: EventId,
    /// Where the delivery stands now.
    pub state: DeliveryState,
    /// Attempts since it was last asked for.
    pub attempts: u8,
    /// When it is tried again, Unix milliseconds.
    pub due_at: i64,
    /// JSON array of the last attempts.
    pub log: String,
}

/// Records what became of attempts, and when endpoints took something (endpoint, Unix milliseconds), in one transaction.
pub async fn record(db: &Db, all: &[Attempted], accepted: &[(EndpointId, i64)]) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        for some in all.chunks(AT_ONCE) {
            let mut query = sqlx::QueryBuilder::new(
                "UPDATE webhook_delivery SET state = v.column4, attempts = v.column5, due_at = v.column6, log = v.column7 FROM (",
            );
            query.push_values(some, |mut row, a| {
                row.push_bind(a.event.account().as_i64())
                    .push_bind(a.endpoint.0)
                    .push_bind(a.event.0)
                    .push_bind(a.state as i16)
                    .push_bind(i16::from(a.attempts))
                    .push_bind(a.due_at)
                    .push_bind(seal_text(&a.log));
            });
            query.push(
                ") AS v WHERE webhook_delivery.account_no = v.column1 AND webhook_delivery.endpoint_id = v.column2 \
                 AND webhook_delivery.id = v.column3",
            );
            query.build().execute(&mut *tx).await?;
        }
        for (endpoint, at) in accepted {
            sqlx::query("UPDATE webhook_endpoint SET accepted_at = $3 WHERE account_no = $1 AND id = $2")
                .bind(endpoint.account().as_i64())
                .bind(endpoint.0)
                .bind(at)
                .execute(&mut *tx)
                .await?;
        }
    });
    Ok(())
}

/// Stores one delivery together with what became of it: a test.
pub async fn put(db: &Db, new: &NewDelivery, done: &Attempted) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        put_deliveries!(tx, std::slice::from_ref(new));
    });
    record(db, std::slice::from_ref(done), &[]).await
}

/// Up to `limit` deliveries of an account to an endpoint (nil: its callbacks) older than an event, newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    endpoint: EndpointId,
    state: Option<DeliveryState>,
    before: Option<EventId>,
    limit: u32,
) -> Result<Vec<Delivery>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM webhook_delivery WHERE account_no = $1 AND endpoint_id = $2 AND id < $3 \
         AND ($4 IS NULL OR state = $4) ORDER BY id DESC LIMIT $5"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(endpoint.0)
            .bind(before.map_or(Uuid::max(), |id| id.0))
            .bind(state.map(|s| s as i16))
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    rows.into_iter().map(Delivery::try_from).collect()
}

/// Has one delivery sent again, whatever became of it; `NotFound` if it is not the account's.
pub async fn again(
    db: &Db,
    account: AccountNo,
    endpoint: EndpointId,
    event: EventId,
    now: i64,
) -> Result<Delivery, StoreError> {
    let text = format!(
        "UPDATE webhook_delivery SET state = 0, attempts = 0, due_at = $4 \
         WHERE account_no = $1 AND endpoint_id = $2 AND id = $3 RETURNING {COLUMNS}"
    );
    let row: Row = write_db!(db, |tx| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(endpoint.0)
            .bind(event.0)
            .bind(now)
            .fetch_one(&mut *tx)
            .await?
    });
    row.try_into()
}

/// Which deliveries of an endpoint, by the time of their event (Unix milliseconds, `from` included, `to` not).
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The first.
    pub from: i64,
    /// Behind the last.
    pub to: i64,
    /// Only what did not arrive; otherwise what did as well.
    pub only_failed: bool,
}

/// Has deliveries of an endpoint sent again: those of a range after an event (all, if `None`), in bites of `limit`. How many, and where to go on.
pub async fn replay(
    db: &Db,
    account: AccountNo,
    endpoint: EndpointId,
    range: Range,
    after: Option<EventId>,
    limit: u32,
    now: i64,
) -> Result<(u64, Option<EventId>), StoreError> {
    let first = after.map_or_else(|| compose(range.from, 0, AccountNo::PLATFORM), |id| id.0);
    let behind = compose(range.to, 0, AccountNo::PLATFORM);
    let which = if range.only_failed { "state >= 2" } else { "state >= 1" };
    let text = format!(
        "SELECT id FROM webhook_delivery WHERE account_no = $1 AND endpoint_id = $2 AND id > $3 AND id < $4 AND {which} \
         ORDER BY id LIMIT $5"
    );
    let ids: Vec<(Uuid,)> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(endpoint.0)
            .bind(first)
            .bind(behind)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    let Some((last,)) = ids.last().copied() else { return Ok((0, None)) };
    let text = format!(
        "UPDATE webhook_delivery SET state = 0, attempts = 0, due_at = $5 \
         WHERE account_no = $1 AND endpoint_id = $2 AND id > $3 AND id <= $4 AND {which}"
    );
    let changed = write_db!(db, |tx| {
        sqlx::query(crate::db::built(text))
            .bind(account.as_i64())
            .bind(endpoint.0)
            .bind(first)
            .bind(last)
            .bind(now)
            .execute(&mut *tx)
            .await?
            .rows_affected()
    });
    Ok((changed, (ids.len() == limit as usize).then_some(EventId(last))))
}

/// Within the caller's transaction: what waits for an endpoint is not sent any more, and kept for a replay.
macro_rules! put_aside {
    ($tx:expr, $account:expr, $endpoint:expr) => {
        sqlx::query("UPDATE webhook_delivery SET state = 3 WHERE account_no = $1 AND endpoint_id = $2 AND state = 0")
            .bind($account.as_i64())
            .bind($endpoint.0)
            .execute(&mut *$tx)
            .await?
    };
}
pub(crate) use put_aside;

/// Keeps what waits for an endpoint for a replay, and sends nothing of it.
pub async fn shelve(db: &Db, account: AccountNo, endpoint: EndpointId) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        put_aside!(tx, account, endpoint);
    });
    Ok(())
}

/// The next account and endpoint behind one that have deliveries, in order: for the sweep.
pub async fn endpoint_after(
    db: &Db,
    account: AccountNo,
    endpoint: EndpointId,
) -> Result<Option<(AccountNo, EndpointId)>, StoreError> {
    let row: Option<(i64, Uuid)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT account_no, endpoint_id FROM webhook_delivery WHERE (account_no, endpoint_id) > ($1, $2) \
             ORDER BY account_no, endpoint_id LIMIT 1",
        )
        .bind(account.as_i64())
        .bind(endpoint.0)
        .fetch_optional(c)
        .await
    })?;
    Ok(row.map(|(no, id)| (AccountNo::from_i64(no), EndpointId(id))))
}

/// Takes up to `limit` finished deliveries of an endpoint away whose event is older than an instant (Unix milliseconds).
pub async fn forget(
    db: &Db,
    account: AccountNo,
    endpoint: EndpointId,
    before: i64,
    limit: u32,
) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "DELETE FROM webhook_delivery WHERE account_no = $1 AND endpoint_id = $2 AND id IN
             (SELECT id FROM webhook_delivery WHERE account_no = $1 AND endpoint_id = $2 AND id < $3 AND state <> 0 LIMIT $4)",
        )
        .bind(account.as_i64())
        .bind(endpoint.0)
        .bind(compose(before, 0, AccountNo::PLATFORM))
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}
