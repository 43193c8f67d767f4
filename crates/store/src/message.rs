//! Messages as they are read: one, or a page of a list. Nothing here changes one; that is `hot`'s.

use std::sync::Arc;

use carillon_domain::id::{AccountNo, BatchId, MessageId};
use carillon_domain::media::Mms;
use carillon_domain::message::{Category, Flags, Lane, State};
use carillon_domain::money::Money;
use uuid::Uuid;

use crate::db::one;
use crate::hot::{IdempotencyKey, open_media, open_phone, open_text};
use crate::{Db, StoreError};

/// A message, whole.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id; also says when it was accepted.
    pub id: MessageId,
    /// The request with many recipients it came with.
    pub batch: Option<BatchId>,
    /// Where it stands.
    pub state: State,
    /// Priority class.
    pub lane: Lane,
    /// What it is for.
    pub category: Category,
    /// Its properties.
    pub flags: Flags,
    /// Number of `domain::encoding::Encoding`.
    pub encoding: i16,
    /// SMS segments.
    pub parts: u8,
    /// States of the parts by number of `PartState`; `None` for one part, or when all stand as the message does.
    pub part_states: Option<Vec<u8>>,
    /// E.164 digits without +.
    pub phone: u64,
    /// What it is from.
    pub sender: Option<String>,
    /// Its text (or base64, with `Flags::BINARY`); empty with `Flags::SECRET`.
    pub body: Arc<str>,
    /// The one-time code inside it.
    pub otp_code: Option<Arc<str>>,
    /// Price of one part.
    pub unit_price: Money,
    /// Files that may go with it as an MMS.
    pub mms: Option<Arc<Mms>>,
    /// Price of the whole if it goes so and might go otherwise.
    pub mms_price: Option<Money>,
    /// Still reserved for it.
    pub held: Money,
    /// Paid for it.
    pub captured: Money,
    /// Submits so far.
    pub attempts: i16,
    /// Name of the connection that has it, or had it last.
    pub connection: Option<String>,
    /// Number of an `ErrorCode`.
    pub error: Option<i16>,
    /// What the carrier called it.
    pub carrier_error: Option<String>,
    /// When it is to be sent, or tried again, Unix milliseconds.
    pub due_at: Option<i64>,
    /// When it is no longer worth sending, Unix milliseconds.
    pub expires_at: i64,
    /// When a carrier took it, Unix milliseconds.
    pub sent_at: Option<i64>,
    /// When it reached its final state, Unix milliseconds.
    pub final_at: Option<i64>,
    /// The caller's own name for it.
    pub client_ref: Option<String>,
    /// JSON array of labels.
    pub tags: Option<String>,
    /// Where its events go.
    pub callback_url: Option<String>,
}

impl Message {
    /// The most it can cost.
    pub fn price(&self) -> Money {
        let text = self.unit_price * i64::from(self.parts);
        self.mms_price.map_or(text, |mms| text.max(mms))
    }

    /// Whether it went as an MMS.
    pub fn went_as_mms(&self) -> bool {
        self.flags.has(Flags::MMS) || (self.sent_at.is_some() && self.mms.as_ref().is_some_and(|mms| !mms.links))
    }
}

/// One unusual event of a message: a retry, a failover, an unknown or late outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// Which submit, from 1.
    pub attempt: i16,
    /// Index of the part.
    pub part: i16,
    /// Name of the connection.
    pub connection: Option<String>,
    /// 0 retry, 1 failover, 2 unknown, 3 failed, 4 late.
    pub result: i16,
    /// Number of an `ErrorCode`.
    pub error: Option<i16>,
    /// What the carrier called it.
    pub carrier_error: Option<String>,
    /// Unix milliseconds.
    pub at: i64,
}

/// Which messages of an account; all conditions hold together.
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    /// Where they stand.
    pub state: Option<State>,
    /// `phone_tag` of the number.
    pub phone_tag: Option<i64>,
    /// Priority class.
    pub lane: Option<Lane>,
    /// Their batch.
    pub batch: Option<BatchId>,
    /// The caller's own name.
    pub client_ref: Option<&'a str>,
    /// One of the labels.
    pub tag: Option<&'a str>,
    /// Accepted at this time or later, Unix milliseconds.
    pub since: Option<i64>,
    /// Accepted before this time, Unix milliseconds.
    pub until: Option<i64>,
}

impl Filter<'_> {
    /// Whether rows are passed over: what the key alone answers costs nothing.
    fn selects(&self) -> bool {
        self.state.is_some()
            || self.phone_tag.is_some()
            || self.lane.is_some()
            || self.batch.is_some()
            || self.client_ref.is_some()
            || self.tag.is_some()
    }
}

/// Rows found, newest first.
#[derive(Clone, Debug)]
pub struct Found {
    /// At most as many as asked for.
    pub rows: Vec<Message>,
    /// Where to go on, if the search ended before the list did: the last row looked at, shown or not.
    pub next: Option<MessageId>,
}

/// Rows one request looks at before it answers with what it has.
pub const SCAN_MAX: u32 = 10_000;

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    batch_id: Option<Uuid>,
    state: i16,
    lane: i16,
    category: i16,
    flags: i32,
    encoding: i16,
    parts: i32,
    part_states: Option<Vec<u8>>,
    phone: Vec<u8>,
    sender: Option<String>,
    body: Option<Vec<u8>>,
    otp_code: Option<Vec<u8>>,
    unit_price: i64,
    media: Option<String>,
    mms_price: Option<i64>,
    held: i64,
    captured: i64,
    attempts: i16,
    connection: Option<String>,
    error_code: Option<i16>,
    carrier_error: Option<String>,
    due_at: Option<i64>,
    expires_at: i64,
    sent_at: Option<i64>,
    final_at: Option<i64>,
    client_ref: Option<String>,
    tags: Option<String>,
    callback_url: Option<String>,
}

const SELECT: &str = "SELECT m.id, m.batch_id, m.state, m.lane, m.category, m.flags, m.encoding, m.parts, m.part_states, m.phone, \
    m.sender, COALESCE(m.body, b.body) AS body, m.otp_code, m.unit_price, m.media, m.mms_price, m.held, m.captured, m.attempts, c.name AS connection, \
    m.error_code, m.carrier_error, m.due_at, m.expires_at, m.sent_at, m.final_at, m.client_ref, m.tags, m.callback_url \
    FROM message m LEFT JOIN batch b ON b.account_no = m.account_no AND b.id = m.batch_id \
    LEFT JOIN connection c ON c.no = m.connection_no";

impl TryFrom<Row> for Message {
    type Error = StoreError;
    fn try_from(r: Row) -> Result<Message, StoreError> {
        let unknown = |column: &str| StoreError::Broken(format!("message {}: an unknown {column}", r.id));
        let secret = Flags(r.flags).has(Flags::SECRET);
        Ok(Message {
            id: MessageId(r.id),
            batch: r.batch_id.map(BatchId),
            state: State::from_number(r.state).ok_or_else(|| unknown("state"))?,
            lane: Lane::from_number(r.lane).ok_or_else(|| unknown("lane"))?,
            category: Category::from_number(r.category).ok_or_else(|| unknown("category"))?,
            flags: Flags(r.flags),
            encoding: r.encoding,
            parts: u8::try_from(r.parts).map_err(|_| unknown("number of parts"))?,
            phone: open_phone(&r.phone)?,
            body: r.body.as_deref().filter(|_| !secret).map_or_else(|| Ok(Arc::from("")), open_text)?,
            otp_code: r.otp_code.as_deref().filter(|_| !secret).map(open_text).transpose()?,
            part_states: r.part_states,
            sender: r.sender,
            unit_price: Money(r.unit_price),
            mms: r.media.as_deref().map(open_media).transpose()?,
            mms_price: r.mms_price.map(Money),
            held: Money(r.held),
            captured: Money(r.captured),
            attempts: r.attempts,
            connection: r.connection,
            error: r.error_code,
            carrier_error: r.carrier_error,
            due_at: r.due_at,
            expires_at: r.expires_at,
            sent_at: r.sent_at,
            final_at: r.final_at,
            client_ref: r.client_ref,
            tags: r.tags,
            callback_url: r.callback_url,
        })
    }
}

/// The message of that id, if it is the account's. Those of a batch still being loaded are nobody's yet.
pub async fn by_id(db: &Db, account: AccountNo, id: MessageId) -> Result<Message, StoreError> {
    let text = format!("{SELECT} WHERE m.account_no = $1 AND m.id = $2 AND COALESCE(b.state, 1) = 1");
    let row: Row = one(db, text, account, id.0).await?;
    row.try_into()
}

/// Those of these messages that are the account's, in any order.
pub async fn by_ids(db: &Db, account: AccountNo, ids: &[MessageId]) -> Result<Vec<Message>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = read_db!(db, |c| {
        let mut query = sqlx::QueryBuilder::new(format!("{SELECT} WHERE m.account_no = "));
        query.push_bind(account.as_i64()).push(" AND m.id IN (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(id.0);
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await
    })?;
    rows.into_iter().map(Message::try_from).collect()
}

/// Up to `limit` messages to a number (its keyed hash) from an own number (digits) that can be answered, before an id, newest first.
pub async fn of_conversation(
    db: &Db,
    account: AccountNo,
    peer_tag: i64,
    number: &str,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Message>, StoreError> {
    // As the index's condition stands: the number is Flags::TWO_WAY.
    let text = format!(
        "{SELECT} WHERE m.account_no = $1 AND m.phone_tag = $2 AND m.id < $3 AND (m.flags & 8192) <> 0 \
         AND REPLACE(m.sender, '+', '') = $4 AND COALESCE(b.state, 1) = 1 ORDER BY m.id DESC LIMIT $5"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(peer_tag)
            .bind(before.unwrap_or(Uuid::max()))
            .bind(number)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    rows.into_iter().map(Message::try_from).collect()
}

/// The resource that the same request with this key made, today or yesterday; for a repetition that would not be accepted any more.
pub async fn by_key(db: &Db, account: AccountNo, key: IdempotencyKey, now: i64) -> Result<Option<Uuid>, StoreError> {
    let row: Option<(Uuid,)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT resource FROM idempotency WHERE day IN ($1, $1 - 1) AND account_no = $2 AND key_hash = $3 AND fingerprint = $4",
        )
        .bind((now / 86_400_000) as i32)
        .bind(account.as_i64())
        .bind(key.key.to_vec())
        .bind(key.fingerprint.to_vec())
        .fetch_optional(c)
        .await
    })?;
    Ok(row.map(|(resource,)| resource))
}

/// Unusual events of a message, in order of time.
pub async fn attempts(db: &Db, account: AccountNo, id: MessageId) -> Result<Vec<Attempt>, StoreError> {
    type Row = (i16, i16, Option<String>, i16, Option<i16>, Option<String>, i64);
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT a.attempt, a.part, c.name, a.result, a.error_code, a.carrier_error, a.at FROM attempt a \
             LEFT JOIN connection c ON c.no = a.connection_no WHERE a.account_no = $1 AND a.message_id = $2 \
             ORDER BY a.at, a.attempt, a.part",
        )
        .bind(account.as_i64())
        .bind(id.0)
        .fetch_all(c)
        .await
    })?;
    let read = |(attempt, part, connection, result, error, carrier_error, at)| Attempt {
        attempt,
        part,
        connection,
        result,
        error,
        carrier_error,
        at,
    };
    Ok(rows.into_iter().map(read).collect())
}

/// Up to `limit` of an account's messages before an id, newest first. A search that selects looks at [`SCAN_MAX`] rows at most:
/// it may find fewer than `limit` and still have somewhere to go on.
pub async fn list(
    db: &Db,
    account: AccountNo,
    filter: &Filter<'_>,
    before: Option<MessageId>,
    limit: u32,
) -> Result<Found, StoreError> {
    let edge = |time: i64| MessageId::new(time, 0, AccountNo::PLATFORM);
    let top = before.into_iter().chain(filter.until.map(edge)).min().unwrap_or(MessageId(Uuid::max()));
    let bottom = filter.since.map_or(MessageId(Uuid::nil()), edge);
    let last = if filter.selects() { scan_end(db, account, top, bottom).await? } else { None };
    let text = format!(
        "{SELECT} WHERE m.account_no = $1 AND m.id < $2 AND m.id >= $3 AND COALESCE(b.state, 1) = 1 \
         AND ($4 IS NULL OR m.state = $4) AND ($5 IS NULL OR m.phone_tag = $5) AND ($6 IS NULL OR m.lane = $6) \
         AND ($7 IS NULL OR m.batch_id = $7) AND ($8 IS NULL OR m.client_ref = $8) \
         AND ($9 IS NULL OR REPLACE(m.tags, $9, '') <> m.tags) ORDER BY m.id DESC LIMIT $10"
    );
    // A label stands in its column as JSON text, quotes included.
    let tag = filter.tag.map(|tag| serde_json::to_string(tag).expect("text is JSON"));
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(top.0)
            .bind(last.unwrap_or(bottom).0)
            .bind(filter.state.map(State::number))
            .bind(filter.phone_tag)
            .bind(filter.lane.map(Lane::number))
            .bind(filter.batch.map(|b| b.0))
            .bind(filter.client_ref)
            .bind(tag)
            .bind(i64::from(limit) + 1)
            .fetch_all(c)
            .await
    })?;
    let full = rows.len() > limit as usize;
    let rows = rows.into_iter().take(limit as usize).map(Message::try_from).collect::<Result<Vec<_>, _>>()?;
    let next = if full { rows.last().map(|last| last.id) } else { last };
    Ok(Found { rows, next })
}

/// The last row a search looks at, if there are so many.
async fn scan_end(
    db: &Db,
    account: AccountNo,
    top: MessageId,
    bottom: MessageId,
) -> Result<Option<MessageId>, StoreError> {
    let row: Option<(Uuid,)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT id FROM message WHERE account_no = $1 AND id < $2 AND id >= $3 ORDER BY id DESC LIMIT 1 OFFSET $4",
        )
        .bind(account.as_i64())
        .bind(top.0)
        .bind(bottom.0)
        .bind(i64::from(SCAN_MAX) - 1)
        .fetch_optional(c)
        .await
    })?;
    Ok(row.map(|(id,)| MessageId(id)))
}

/// Up to `limit` of a batch's messages behind one, in the order they were accepted; a search as [`list`]'s.
pub async fn of_batch(
    db: &Db,
    account: AccountNo,
    batch: BatchId,
    after: Option<MessageId>,
    limit: u32,
) -> Result<Found, StoreError> {
    let bottom = after.unwrap_or(MessageId::new(batch.millis(), 0, AccountNo::PLATFORM));
    let last = scan_end_up(db, account, bottom).await?;
    let text = format!(
        "{SELECT} WHERE m.account_no = $1 AND m.id > $2 AND m.id <= $3 AND m.batch_id = $4 AND b.state = 1 ORDER BY m.id LIMIT $5"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(bottom.0)
            .bind(last.map_or(Uuid::max(), |id| id.0))
            .bind(batch.0)
            .bind(i64::from(limit) + 1)
            .fetch_all(c)
            .await
    })?;
    let full = rows.len() > limit as usize;
    let rows = rows.into_iter().take(limit as usize).map(Message::try_from).collect::<Result<Vec<_>, _>>()?;
    let next = if full { rows.last().map(|last| last.id) } else { last };
    Ok(Found { rows, next })
}

/// Of a search upwards: the last row it looks at, if there are so many.
async fn scan_end_up(db: &Db, account: AccountNo, bottom: MessageId) -> Result<Option<MessageId>, StoreError> {
    let row: Option<(Uuid,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT id FROM message WHERE account_no = $1 AND id > $2 ORDER BY id LIMIT 1 OFFSET $3")
            .bind(account.as_i64())
            .bind(bottom.0)
            .bind(i64::from(SCAN_MAX) - 1)
            .fetch_optional(c)
            .await
    })?;
    Ok(row.map(|(id,)| MessageId(id)))
}

/// Messages of a batch that wait.
#[derive(Clone, Debug)]
pub struct OpenOfBatch {
    /// Scheduled or queued.
    pub open: Vec<MessageId>,
    /// Where to go on, if there may be more.
    pub next: Option<MessageId>,
}

/// Up to `limit` messages of a batch that no carrier has, behind one.
pub async fn open_of_batch(
    db: &Db,
    account: AccountNo,
    batch: BatchId,
    after: Option<MessageId>,
    limit: u32,
) -> Result<OpenOfBatch, StoreError> {
    let bottom = after.map_or_else(|| crate::hot::oldest_of(batch.0), |id| id.0);
    let rows: Vec<(Uuid,)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT id FROM message WHERE account_no = $1 AND id > $2 AND batch_id = $3 AND state IN ($4, $5) ORDER BY id LIMIT $6",
        )
        .bind(account.as_i64())
        .bind(bottom)
        .bind(batch.0)
        .bind(State::Scheduled.number())
        .bind(State::Queued.number())
        .bind(i64::from(limit))
        .fetch_all(c)
        .await
    })?;
    let open: Vec<MessageId> = rows.into_iter().map(|(id,)| MessageId(id)).collect();
    let next = open.last().copied().filter(|_| open.len() == limit as usize);
    Ok(OpenOfBatch { open, next })
}

/// How long after its id the messages of a batch may come, milliseconds: they are stored in chunks, each offered for a minute.
const LOADING_MAX_MS: i64 = 3_600_000;

/// The message of a batch to a number (its keyed hash), and where it stands.
pub async fn of_batch_to(
    db: &Db,
    account: AccountNo,
    batch: BatchId,
    phone_tag: i64,
) -> Result<(MessageId, State), StoreError> {
    let top = MessageId::new(batch.millis() + LOADING_MAX_MS, 0, account);
    let (id, state): (Uuid, i16) = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT id, state FROM message WHERE account_no = $1 AND id > $2 AND id < $3 AND batch_id = $4 AND phone_tag = $5 LIMIT 1",
        )
        .bind(account.as_i64())
        .bind(crate::hot::oldest_of(batch.0))
        .bind(top.0)
        .bind(batch.0)
        .bind(phone_tag)
        .fetch_one(c)
        .await
    })?;
    let state = State::from_number(state).ok_or_else(|| StoreError::Broken(format!("state {state} of {id}")))?;
    Ok((MessageId(id), state))
}
