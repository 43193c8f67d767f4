//! Batches as they are read: their totals, which settle keeps, and the recipients that were not taken.

use std::sync::Arc;

use carillon_domain::id::{AccountNo, BatchId};
use carillon_domain::money::Money;
use uuid::Uuid;

use crate::db::one;
use crate::hot::open_text;
use crate::{Db, StoreError};

/// One request with many recipients.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its id; also says when it was made.
    pub id: BatchId,
    /// Whether all of it is stored; until then it may still vanish.
    pub accepted: bool,
    /// The text its messages share, if they do.
    pub body: Option<Arc<str>>,
    /// Messages accepted.
    pub total: i32,
    /// Not yet with a carrier.
    pub queued: i32,
    /// With a carrier.
    pub sent: i32,
    /// With the handset.
    pub delivered: i32,
    /// Ended otherwise.
    pub failed: i32,
    /// Parts of all its messages.
    pub parts: i32,
    /// Still reserved.
    pub held: Money,
    /// Paid.
    pub captured: Money,
    /// The caller's own name for it.
    pub client_ref: Option<String>,
    /// JSON array of labels.
    pub tags: Option<String>,
    /// Recipients that were not taken: index in the request, and code.
    pub refusals: Vec<(u32, String)>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    state: i16,
    body: Option<Vec<u8>>,
    total: i32,
    queued: i32,
    sent: i32,
    delivered: i32,
    failed: i32,
    parts: i32,
    held: i64,
    captured: i64,
    client_ref: Option<String>,
    tags: Option<String>,
    refusals: Option<String>,
}

const COLUMNS: &str =
    "id, state, body, total, queued, sent, delivered, failed, parts, held, captured, client_ref, tags";

impl TryFrom<Row> for Batch {
    type Error = StoreError;
    fn try_from(r: Row) -> Result<Batch, StoreError> {
        let refusals = r.refusals.as_deref().map(serde_json::from_str).transpose();
        Ok(Batch {
            id: BatchId(r.id),
            accepted: r.state == 1,
            body: r.body.as_deref().map(open_text).transpose()?,
            total: r.total,
            queued: r.queued,
            sent: r.sent,
            delivered: r.delivered,
            failed: r.failed,
            parts: r.parts,
            held: Money(r.held),
            captured: Money(r.captured),
            client_ref: r.client_ref,
            tags: r.tags,
            refusals: refusals
                .map_err(|e| StoreError::Broken(format!("refusals of batch {}: {e}", r.id)))?
                .unwrap_or_default(),
        })
    }
}

/// The batch of that id, if it is the account's.
pub async fn by_id(db: &Db, account: AccountNo, id: BatchId) -> Result<Batch, StoreError> {
    let text = format!("SELECT {COLUMNS}, refusals FROM batch WHERE account_no = $1 AND id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    row.try_into()
}

/// Up to `limit` of an account's batches before an id, newest first; without their refusals, which may be many.
pub async fn list(db: &Db, account: AccountNo, before: Option<BatchId>, limit: u32) -> Result<Vec<Batch>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS}, NULL AS refusals FROM batch WHERE account_no = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
    );
    let rows: Vec<Row> = read_db!(db, |c| sqlx::query_as(crate::db::built(text))
        .bind(account.as_i64())
        .bind(before.map_or(Uuid::max(), |id| id.0))
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
    rows.into_iter().map(Batch::try_from).collect()
}

/// Up to `limit` accepted batches of an account behind the newest `offset`, newest first; without their refusals.
pub async fn page(db: &Db, account: AccountNo, offset: u32, limit: u32) -> Result<Vec<Batch>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS}, NULL AS refusals FROM batch WHERE account_no = $1 AND state = 1 ORDER BY id DESC LIMIT $2 OFFSET $3"
    );
    let rows: Vec<Row> = read_db!(db, |c| sqlx::query_as(crate::db::built(text))
        .bind(account.as_i64())
        .bind(i64::from(limit))
        .bind(i64::from(offset))
        .fetch_all(c)
        .await)?;
    rows.into_iter().map(Batch::try_from).collect()
}
