//! The hot path: the two functions every message passes, `commit_intake` and `commit_settle`, and how what is due is read back.
//!
//! Each reads, lets pure code decide (`intake::plan`, `settle::plan`: one decision for both databases), and writes, in one
//! transaction. On SQLite they run on the caller's thread with `rusqlite` behind the file's one gate; on PostgreSQL with
//! `tokio-postgres`, statements sent one behind the other. Nobody else opens a hot transaction.

/// Columns of a `QueuedMessage`, in the order both readers take them.
macro_rules! queued_columns {
    () => {
        "m.id, m.lane, m.flags, m.encoding, m.parts, m.part_states, m.phone, m.phone_tag, m.sender, m.body, m.reference, m.attempts, \
         m.expires_at, m.batch_id, m.state, m.error_code, m.account_no, m.tags, m.media"
    };
}

mod counted;
mod intake;
mod items;
mod matching;
mod parts;
pub(crate) mod postgres;
mod reported;
mod settle;
mod sqlite;

use std::sync::Arc;

use carillon_domain::id::{AccountNo, BatchId, EventId, MessageId};
use carillon_domain::media::Mms;
use carillon_domain::message::{Category, Flags, Lane, Parts, State};
use carillon_domain::money::Money;
use carillon_domain::phone::Country;

use crate::StoreError;
use crate::event::Watched;
use crate::short_link::NewLink;

pub use items::{Attempted, Claim, Outcome, PartResult, Receipt, ReceiptKind, Scope, SettleItem, Settled, SpanKey};

/// A message checked, priced and encoded, as intake hands it to the store.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Its place in the request, for refusals of a partial batch.
    pub index: u32,
    /// Priority class.
    pub lane: Lane,
    /// What it is for.
    pub category: Category,
    /// Its properties.
    pub flags: Flags,
    /// Number of `domain::encoding::Encoding`.
    pub encoding: i16,
    /// SMS segments, the unit of price.
    pub parts: u8,
    /// E.164 digits without +.
    pub phone: u64,
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// Where the number belongs, by which usage is counted.
    pub country: Option<Country>,
    /// What it is from.
    pub sender: Option<Arc<str>>,
    /// Its text; of a batch's shared text, the same `Arc`.
    pub body: Arc<str>,
    /// Whether the row carries the body itself (false: it is the batch's).
    pub own_body: bool,
    /// The one-time code inside the body.
    pub otp_code: Option<Arc<str>>,
    /// Price of one part.
    pub unit_price: Money,
    /// Reference of concatenation, for several parts.
    pub reference: Option<u16>,
    /// When it is to be sent, Unix milliseconds; `None` is at once.
    pub due_at: Option<i64>,
    /// When it is no longer worth sending, Unix milliseconds.
    pub expires_at: i64,
    /// Whatever else it carries; rare, so kept off the common row.
    pub extra: Option<Box<Extra>>,
}

/// The seldom used members of a message.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// The caller's own name for it.
    pub client_ref: Option<String>,
    /// JSON array of the caller's labels.
    pub tags: Option<String>,
    /// Where its events go.
    pub callback_url: Option<String>,
    /// Files that may go with it as an MMS.
    pub mms: Option<Arc<Mms>>,
    /// Price of the whole if it goes so and might go otherwise.
    pub mms_price: Option<Money>,
    /// Short links in its text.
    pub links: Vec<NewLink>,
}

/// The row of a batch.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// Its id, made by the caller.
    pub id: BatchId,
    /// The text its messages share, if they do.
    pub body: Option<Arc<str>>,
    /// The caller's own name for it.
    pub client_ref: Option<String>,
    /// JSON array of labels.
    pub tags: Option<String>,
    /// Whether as many are taken as the money lasts (in order), rather than all or none.
    pub partial: bool,
    /// Recipients refused before they came here: index and code.
    pub refusals: Vec<(u32, &'static str)>,
}

/// What a request wants of the store.
#[derive(Clone, Debug)]
pub enum Step {
    /// One message; or several that stand alone and came together (by SMPP), of which as many are taken, in order, as the money lasts.
    Message,
    /// A batch in one go.
    Batch(NewBatch),
    /// A large batch, first transaction: its row as `loading` and its whole hold.
    Open(NewBatch, Totals),
    /// Some of its messages, whose hold is taken.
    Chunk(BatchId),
    /// Its last transaction: it counts as accepted from here.
    Seal(BatchId),
    /// It cannot be completed: all of it is erased and its hold returned, unless it is sealed.
    Discard(BatchId),
    /// Some of a campaign's messages, under the batch of its run, with their own hold: all or none.
    Run(RunStep),
}

/// Where a campaign's run is before and after some of its messages. They are taken only if it is there, and the campaign runs: so none of them is
/// missed and none is stored twice, whatever ends in between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunStep {
    /// The run, by its batch.
    pub run: BatchId,
    /// Its cursor as the messages were read.
    pub from: i64,
    /// Its cursor with them.
    pub to: i64,
    /// Recipients in between that get no message: their tags, and why.
    pub skipped: Vec<(i64, &'static str)>,
}

impl Step {
    /// The batch its messages belong to.
    pub(crate) fn batch(&self) -> Option<uuid::Uuid> {
        match self {
            Step::Message | Step::Seal(_) | Step::Discard(_) => None,
            Step::Batch(batch) | Step::Open(batch, _) => Some(batch.id.0),
            Step::Chunk(id) => Some(id.0),
            Step::Run(step) => Some(step.run.0),
        }
    }
}

/// What a large batch holds in all.
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// Messages.
    pub messages: u32,
    /// Parts.
    pub parts: u64,
    /// Money.
    pub held: Money,
}

/// An Idempotency-Key as the store knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdempotencyKey {
    /// Hash of method, path and key.
    pub key: [u8; 16],
    /// Hash of the body.
    pub fingerprint: [u8; 16],
}

/// One request of the moment; many make one transaction.
#[derive(Clone, Debug)]
pub struct IntakeRequest {
    /// Who pays.
    pub account: AccountNo,
    /// So that a repeated request is one.
    pub key: Option<IdempotencyKey>,
    /// What is wanted.
    pub step: Step,
    /// Its messages, all of one lane, and either all or none with a time of their own.
    pub messages: Vec<NewMessage>,
}

/// What the store decided about a request. Only `Accepted` changed anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Durable. The messages have the ids `first.nth(0..count)`, in order; of a partial batch, or of messages that stand alone, the first `count` were taken.
    Accepted {
        /// Of the first message (of nothing, if `count` is 0).
        first: MessageId,
        /// How many.
        count: u32,
        /// The span they belong to; `None` if they have times of their own.
        span: Option<SpanKey>,
        /// Index and code of the recipients that were not taken, all reasons together.
        refusals: Vec<(u32, &'static str)>,
    },
    /// The key was used by the same request before: this is its resource.
    Replayed {
        /// Id of the message or batch.
        resource: uuid::Uuid,
    },
    /// The key was used by another request.
    KeyReused,
    /// The money does not last.
    Short {
        /// What it would have held.
        needed: Money,
        /// What there is.
        available: Money,
    },
    /// The account has no balance row: it does not exist.
    NoAccount,
    /// The campaign's run is not where its messages begin, or it does not run.
    Stale,
}

/// A message as dispatch needs it, new or read back.
#[derive(Clone, Debug)]
pub struct QueuedMessage {
    /// Its id.
    pub id: MessageId,
    /// Priority class.
    pub lane: Lane,
    /// Its properties.
    pub flags: Flags,
    /// Number of `domain::encoding::Encoding`.
    pub encoding: i16,
    /// Where each part stands (all pending, but for a multipart message tried before).
    pub parts: Parts,
    /// E.164 digits without +.
    pub phone: u64,
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// What it is from.
    pub sender: Option<Arc<str>>,
    /// Its text.
    pub body: Arc<str>,
    /// Reference of concatenation.
    pub reference: Option<u16>,
    /// Attempts made so far.
    pub attempts: u8,
    /// When it is no longer worth sending, Unix milliseconds.
    pub expires_at: i64,
    /// JSON array of its labels, or of its batch's.
    pub tags: Option<Arc<str>>,
    /// Connections that refused it, or took it and reported a failure.
    pub refused_by: Vec<i32>,
    /// Why it was not delivered when it was last tried: the number of an `ErrorCode`.
    pub error: Option<i16>,
    /// Files that may go with it as an MMS.
    pub mms: Option<Arc<Mms>>,
}

impl NewMessage {
    /// As it enters memory after its commit.
    pub fn queued(&self, id: MessageId) -> QueuedMessage {
        QueuedMessage {
            id,
            lane: self.lane,
            flags: self.flags,
            encoding: self.encoding,
            parts: Parts::pending(self.parts),
            phone: self.phone,
            phone_tag: self.phone_tag,
            sender: self.sender.clone(),
            body: self.body.clone(),
            reference: self.reference,
            attempts: 0,
            expires_at: self.expires_at,
            tags: self.extra.as_ref().and_then(|e| e.tags.as_deref()).map(Arc::from),
            refused_by: Vec::new(),
            error: None,
            mms: self.extra.as_ref().and_then(|e| e.mms.clone()),
        }
    }

    /// The most it can cost: what is held for it.
    pub fn held(&self) -> Money {
        let text = self.unit_price * i64::from(self.parts.max(1));
        self.mms_price().map_or(text, |mms| text.max(mms))
    }

    /// What the whole costs if it goes as an MMS and might go otherwise.
    pub fn mms_price(&self) -> Option<Money> {
        self.extra.as_ref().and_then(|e| e.mms_price)
    }

    /// Its files as the row has them.
    pub(crate) fn media_json(&self) -> Option<String> {
        let mms = self.extra.as_ref()?.mms.as_deref()?;
        Some(serde_json::to_string(mms).expect("texts and names are JSON"))
    }

    pub(crate) fn country_number(&self) -> i16 {
        self.country.map_or(0, Country::number)
    }

    pub(crate) fn state(&self) -> State {
        if self.due_at.is_some() { State::Scheduled } else { State::Queued }
    }
}

/// A span of consecutive messages waiting in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DueSpan {
    /// Which.
    pub key: SpanKey,
    /// Their lane.
    pub lane: Lane,
    /// How many ids it spans, from the first.
    pub count: u32,
}

/// Where ids come from: a counter no other writer of the same millisecond shares (random start below 2^41), and a time that never goes back.
#[derive(Clone, Debug)]
pub struct IdSource {
    counter: u64,
    last_millis: i64,
}

impl IdSource {
    /// Starts at a random number.
    pub fn new(random_start: u64) -> IdSource {
        IdSource { counter: random_start & ((1 << 41) - 1), last_millis: 0 }
    }

    fn millis(&mut self, now: i64) -> i64 {
        self.last_millis = self.last_millis.max(now);
        self.last_millis
    }

    fn take(&mut self, count: u32) -> u64 {
        let first = self.counter;
        self.counter += u64::from(count);
        first
    }
}

/// The writer of the hot path: one per process.
pub enum Hot {
    /// On the embedded file.
    Sqlite(sqlite::Writer),
    /// On the scaled-out database.
    Postgres(Box<postgres::Writer>),
}

impl Hot {
    /// Opens the writer beside the handle the rest of the program uses.
    pub async fn open(db: &crate::Db, random_start: u64) -> Result<Hot, StoreError> {
        let ids = IdSource::new(random_start);
        Ok(match db {
            crate::Db::Sqlite(s) => Hot::Sqlite(sqlite::Writer::open(s, ids)?),
            crate::Db::Postgres(p) => Hot::Postgres(Box::new(postgres::Writer::open(p, ids).await?)),
        })
    }

    /// Whose transitions it records besides those of messages that ask for it themselves; may be changed at any time.
    pub fn watched(&self) -> Watched {
        match self {
            Hot::Sqlite(w) => w.watched.clone(),
            Hot::Postgres(w) => w.watched.clone(),
        }
    }

    /// Stores messages, takes holds and records keys for all requests of the moment, in one transaction; a verdict for each, in order.
    /// An error means nothing was changed. Call it off the async threads (it may block on SQLite).
    pub async fn commit_intake(&mut self, requests: &[IntakeRequest], now: i64) -> Result<Vec<Verdict>, StoreError> {
        match self {
            Hot::Sqlite(w) => Ok(w.commit(&[], &[], requests, now).await?.1),
            Hot::Postgres(w) => Ok(w.commit(&[], &[], requests, now).await?.1),
        }
    }

    /// Records what became of messages, moves the money that follows, in one transaction; a result for each item, in order.
    /// `spans_done` are spans nothing of which is queued any more.
    pub async fn commit_settle(
        &mut self,
        items: &[SettleItem],
        spans_done: &[SpanKey],
        now: i64,
    ) -> Result<Vec<Settled>, StoreError> {
        match self {
            Hot::Sqlite(w) => Ok(w.commit(items, spans_done, &[], now).await?.0),
            Hot::Postgres(w) => Ok(w.commit(items, spans_done, &[], now).await?.0),
        }
    }

    /// Both at once, in one transaction: its sync and its questions cost more than the rows (measured), and both touch the same pages.
    /// Outcomes come first: what they release, requests may hold. An error means nothing was changed. On PostgreSQL two writers, one for
    /// each, are faster: there a round takes long, whatever it holds.
    pub async fn commit(
        &mut self,
        items: &[SettleItem],
        spans_done: &[SpanKey],
        requests: &[IntakeRequest],
        now: i64,
    ) -> Result<(Vec<Settled>, Vec<Verdict>), StoreError> {
        match self {
            Hot::Sqlite(w) => w.commit(items, spans_done, requests, now).await,
            Hot::Postgres(w) => w.commit(items, spans_done, requests, now).await,
        }
    }

    /// Keeps an outcome that cannot be written, and what was said of it, where an operator finds it (`set_aside::list`).
    pub async fn set_aside(&mut self, item: &SettleItem, error: &str, now: i64) -> Result<(), StoreError> {
        match self {
            Hot::Sqlite(w) => w.set_aside(item, error, now).await,
            Hot::Postgres(w) => w.set_aside(item, error, now).await,
        }
    }

    /// Erases batches that were being loaded when the program ended, and returns their holds. At start only.
    pub async fn discard_loading(&mut self) -> Result<u64, StoreError> {
        match self {
            Hot::Sqlite(w) => w.discard_loading().await,
            Hot::Postgres(w) => w.discard_loading().await,
        }
    }
}

/// Reads what is due back into memory; has a connection of its own, so that it never waits for the writer.
pub enum HotReader {
    /// On the embedded file.
    Sqlite(sqlite::Reader),
    /// On the scaled-out database.
    Postgres(postgres::Reader),
}

impl HotReader {
    /// Opens it.
    pub async fn open(db: &crate::Db) -> Result<HotReader, StoreError> {
        Ok(match db {
            crate::Db::Sqlite(s) => HotReader::Sqlite(sqlite::Reader::open(s)?),
            crate::Db::Postgres(p) => HotReader::Postgres(postgres::Reader::open(p)),
        })
    }

    /// Every span there is, oldest first. At start.
    pub async fn spans(&mut self) -> Result<Vec<DueSpan>, StoreError> {
        match self {
            HotReader::Sqlite(r) => r.spans(),
            HotReader::Postgres(r) => r.spans().await,
        }
    }

    /// The messages still queued among places `from..to` of a span, in order.
    pub async fn span_messages(&mut self, span: SpanKey, from: u32, to: u32) -> Result<Vec<QueuedMessage>, StoreError> {
        match self {
            HotReader::Sqlite(r) => r.span_messages(span, from, to),
            HotReader::Postgres(r) => r.span_messages(span, from, to).await,
        }
    }

    /// Messages with a time of their own between the two (Unix milliseconds, exclusive and inclusive), soonest first, at most `limit`,
    /// with that time. `after` continues behind a row of the same time.
    pub async fn due_messages(
        &mut self,
        after: (i64, AccountNo, MessageId),
        until: i64,
        limit: u32,
    ) -> Result<Vec<(i64, QueuedMessage)>, StoreError> {
        match self {
            HotReader::Sqlite(r) => r.due_messages(after, until, limit),
            HotReader::Postgres(r) => r.due_messages(after, until, limit).await,
        }
    }

    /// Parts that were about to be handed over when the program ended, on connections that are to get nothing twice. At start.
    pub async fn claims(&mut self) -> Result<Vec<Claim>, StoreError> {
        match self {
            HotReader::Sqlite(r) => r.claims(),
            HotReader::Postgres(r) => r.claims().await,
        }
    }

    /// Attempts of unknown outcome whose time to decide has come.
    pub async fn undecided(&mut self, until: i64, limit: u32) -> Result<Vec<Attempted>, StoreError> {
        match self {
            HotReader::Sqlite(r) => r.undecided(until, limit),
            HotReader::Postgres(r) => r.undecided(until, limit).await,
        }
    }
}

/// A text under seal: scheme 0 is plain.
pub(crate) fn seal_text(text: &str) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(text.len() + 1);
    sealed.push(0);
    sealed.extend_from_slice(text.as_bytes());
    sealed
}

/// Reads what `seal_text` wrote.
pub(crate) fn open_text(sealed: &[u8]) -> Result<Arc<str>, StoreError> {
    match sealed.split_first() {
        Some((0, text)) => {
            std::str::from_utf8(text).map(Arc::from).map_err(|e| StoreError::Broken(format!("sealed text: {e}")))
        }
        _ => Err(StoreError::Broken("sealed text of an unknown scheme: written by a newer version?".into())),
    }
}

/// What messages of a batch take from it where they have none of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedByBatch {
    pub(crate) body: Option<Arc<str>>,
    pub(crate) tags: Option<Arc<str>>,
}

impl SharedByBatch {
    pub(crate) fn new(sealed: Option<&[u8]>, tags: Option<String>) -> Result<SharedByBatch, StoreError> {
        Ok(SharedByBatch { body: sealed.map(open_text).transpose()?, tags: tags.map(Arc::from) })
    }
}

/// Reads the files of a message.
pub(crate) fn open_media(json: &str) -> Result<Arc<Mms>, StoreError> {
    serde_json::from_str(json).map(Arc::new).map_err(|e| StoreError::Broken(format!("files of a message: {e}")))
}

/// A number under seal: scheme 0 and eight octets, big-endian.
pub(crate) fn seal_phone(digits: u64) -> [u8; 9] {
    let mut sealed = [0; 9];
    sealed[1..].copy_from_slice(&digits.to_be_bytes());
    sealed
}

/// Reads what `seal_phone` wrote.
pub(crate) fn open_phone(sealed: &[u8]) -> Result<u64, StoreError> {
    match sealed {
        [0, digits @ ..] if digits.len() == 8 => Ok(u64::from_be_bytes(digits.try_into().expect("eight octets"))),
        _ => Err(StoreError::Broken("sealed number of an unknown scheme: written by a newer version?".into())),
    }
}

/// Days since 1970 of an instant; idempotency rows are kept by day.
pub(crate) fn day_of(millis: i64) -> i32 {
    (millis / 86_400_000) as i32
}

/// Below every id of a loading batch's messages. They are younger than the batch's own id, but for a clock that was set back meanwhile.
pub(crate) fn oldest_of(batch: uuid::Uuid) -> uuid::Uuid {
    const CLOCK_STEP: i64 = 3_600_000;
    MessageId::new(BatchId(batch).millis() - CLOCK_STEP, 0, AccountNo(0)).0
}

pub(crate) fn event_id(ids: &mut IdSource, now: i64, account: AccountNo) -> EventId {
    event_ids(ids, now, account, 1)
}

/// The first of so many consecutive ids.
pub(crate) fn event_ids(ids: &mut IdSource, now: i64, account: AccountNo, count: usize) -> EventId {
    EventId::new(ids.millis(now), ids.take(count as u32), account)
}
