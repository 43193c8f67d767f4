//! What requests read and write on PostgreSQL.

use std::collections::BTreeMap;
use std::pin::Pin;

use bytes::{BufMut as _, Bytes, BytesMut};
use carillon_domain::campaign::State::Running;
use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::money::Money;
use futures_util::SinkExt as _;
use tokio_postgres::types::ToSql;
use tokio_postgres::{CopyInSink, Error};
use uuid::Uuid;

use super::insert_due;
use super::session::{Answer, Param, Session, Writes, params, sent};
use crate::StoreError;
use crate::hot::intake::{Plan, Read, refusals_json};
use crate::hot::{IntakeRequest, NewMessage, Step, Verdict, day_of, seal_phone, seal_text};

/// The keys of requests that were used before, if any request has one.
pub(super) async fn ask_keys<'a>(
    session: &mut Session,
    requests: &'a [IntakeRequest],
    now: i64,
) -> Result<Option<Answer<'a>>, Error> {
    let keyed = requests.iter().filter_map(|r| Some((r.account.as_i64(), &r.key.as_ref()?.key[..])));
    let (accounts, keys): (Vec<i64>, Vec<&[u8]>) = keyed.unzip();
    if keys.is_empty() {
        return Ok(None);
    }
    session.ask(KEYS, params![accounts, keys, day_of(now), day_of(now) - 1]).await.map(Some)
}

pub(super) const KEYS: &str = "SELECT i.account_no, i.key_hash, i.fingerprint, i.resource
     FROM UNNEST($1::bigint[], $2::bytea[]) AS k(account_no, key_hash)
     JOIN idempotency i ON i.account_no = k.account_no AND i.key_hash = k.key_hash AND i.day IN ($3, $4)";

/// Where the runs of campaigns are, if any request is of one. Whoever would pause one of them waits for this commit.
pub(super) async fn ask_runs<'a>(
    session: &mut Session,
    requests: &'a [IntakeRequest],
) -> Result<Option<Answer<'a>>, Error> {
    let runs = requests.iter().filter_map(|r| match &r.step {
        Step::Run(step) => Some((r.account.as_i64(), step.run.0)),
        _ => None,
    });
    let (accounts, runs): (Vec<i64>, Vec<Uuid>) = runs.unzip();
    if runs.is_empty() {
        return Ok(None);
    }
    session.ask(RUNS, params![accounts, runs, Running.number()]).await.map(Some)
}

pub(super) const RUNS: &str = "SELECT r.account_no, r.id, r.cursor
     FROM UNNEST($1::bigint[], $2::uuid[]) AS k(account_no, id)
     JOIN campaign_run r ON r.account_no = k.account_no AND r.id = k.id
     JOIN campaign c ON c.account_no = r.account_no AND c.id = r.campaign_id
     WHERE r.place IS NULL AND r.ended_at IS NULL AND c.state = $3
     FOR SHARE OF c";

/// What requests are decided by.
pub(super) async fn take_keys(
    keys: Option<Answer<'_>>,
    runs: Option<Answer<'_>>,
    balances: BTreeMap<AccountNo, Money>,
) -> Result<Read, StoreError> {
    let mut read = Read { available: balances.into_iter().collect(), ..Read::default() };
    let keys = match keys {
        Some(keys) => keys.await?,
        None => Vec::new(),
    };
    if let Some(runs) = runs {
        for row in runs.await? {
            let account = AccountNo::from_i64(row.try_get(0)?);
            read.runs.insert((account, row.try_get(1)?), row.try_get(2)?);
        }
    }
    for row in keys {
        let sixteen = |column| {
            let bytes: &[u8] = row.try_get(column)?;
            <[u8; 16]>::try_from(bytes).map_err(|_| StoreError::Broken("a hash of another size".into()))
        };
        let account = AccountNo::from_i64(row.try_get(0)?);
        read.keys.insert((account, sixteen(1)?), (sixteen(2)?, row.try_get(3)?));
    }
    Ok(read)
}

/// Binary, because a row is a third of the work for the server that it is in arrays (measured).
pub(super) const COPY: &str =
    "COPY message (account_no, id, batch_id, state, lane, category, flags, encoding, parts, phone, phone_tag, sender, body, otp_code,
                   unit_price, held, captured, attempts, reference, due_at, expires_at, client_ref, tags, callback_url,
                   media, mms_price, country)
     FROM STDIN (FORMAT binary)";
const COLUMNS: i16 = 27;

/// Rows of one COPY. The server keeps up to 1,000 rows of one in slots, and finds each slot again among all others (PostgreSQL 15: a sixth of its
/// work for 1,000 rows).
const ROWS_MAX: usize = 250;

/// Sends the messages that were taken, in COPYs of `ROWS_MAX`. `opening` is on its way already; what goes into each of the others is made while the
/// server is busy with the one before. Nothing is read while data is made, so much of it leaves in pieces.
pub(super) async fn copy(
    writes: &mut Writes<'_, '_>,
    mut opening: Opening,
    requests: &[IntakeRequest],
    plan: &Plan<'_>,
) -> Result<(), Error> {
    const PIECE: usize = 64 * 1024;
    let mut messages = taken(requests, plan).peekable();
    loop {
        let mut data = BytesMut::with_capacity(PIECE + 4096);
        data.put_slice(HEADER);
        let mut sink = None;
        for (id, batch, message) in messages.by_ref().take(ROWS_MAX) {
            put_message(&mut data, id, batch, message);
            if data.len() >= PIECE {
                let sink = open(&mut sink, &mut opening).await?;
                sink.feed(data.split().freeze()).await?;
                data.reserve(PIECE + 4096);
            }
        }
        open(&mut sink, &mut opening).await?;
        let sink = sink.expect("it was opened just now");
        writes.sent.push(end(sink, data).await?);
        if messages.peek().is_none() {
            return Ok(());
        }
        opening = writes.session.copy(COPY).await?;
    }
}

/// A COPY that was asked for.
type Opening = Answer<'static, CopyInSink<Bytes>>;
type Sink = Pin<Box<CopyInSink<Bytes>>>;

/// Waits until it is open, once.
async fn open<'s>(sink: &'s mut Option<Sink>, opening: &mut Opening) -> Result<&'s mut Sink, Error> {
    if sink.is_none() {
        *sink = Some(Box::pin(opening.await?));
    }
    Ok(sink.as_mut().expect("it is open"))
}

/// Signature, flags and length of the extension: nothing of either.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

async fn end(mut sink: Sink, mut data: BytesMut) -> Result<Answer<'static>, Error> {
    data.put_i16(-1);
    // Until the last piece has left, the end would have no room, and all that is asked later would wait behind it.
    sink.send(data.freeze()).await?;
    Ok(sent(async move { sink.as_mut().finish().await.map(|_| Vec::new()) }).await)
}

pub(super) fn taken<'r>(
    requests: &'r [IntakeRequest],
    plan: &Plan<'_>,
) -> impl Iterator<Item = (MessageId, Option<Uuid>, &'r NewMessage)> {
    requests.iter().zip(&plan.verdicts).flat_map(|(request, verdict)| {
        let (first, count) = match verdict {
            Verdict::Accepted { first, count, .. } => (*first, *count),
            _ => (MessageId(Uuid::nil()), 0),
        };
        let batch = request.step.batch();
        let messages = request.messages.iter().take(count as usize).enumerate();
        messages.map(move |(place, message)| (first.nth(place as u32), batch, message))
    })
}

/// A row as COPY takes it: the number of columns, then each with its length before it.
fn put_message(data: &mut BytesMut, id: MessageId, batch: Option<Uuid>, m: &NewMessage) {
    let mut row = Row(data);
    row.0.put_i16(COLUMNS);
    row.int8(id.account().as_i64());
    row.bytes(id.0.as_bytes());
    row.maybe(batch.as_ref().map(Uuid::as_bytes), |row, id| row.bytes(id));
    row.int2(m.state().number());
    row.int2(m.lane.number());
    row.int2(m.category.number());
    row.int4(m.flags.0);
    row.int2(m.encoding);
    row.int4(i32::from(m.parts));
    row.bytes(&seal_phone(m.phone));
    row.int8(m.phone_tag);
    row.maybe(m.sender.as_deref(), Row::text);
    row.maybe(m.own_body.then(|| seal_text(&m.body)), |row, body| row.bytes(&body));
    row.maybe(m.otp_code.as_deref().map(seal_text), |row, code| row.bytes(&code));
    row.int8(m.unit_price.0);
    row.int8(m.held().0);
    row.int8(0);
    row.int2(0);
    row.maybe(m.reference.map(i32::from), Row::int4);
    row.maybe(m.due_at, Row::int8);
    row.int8(m.expires_at);
    let extra = m.extra.as_deref();
    row.maybe(extra.and_then(|e| e.client_ref.as_deref()), Row::text);
    row.maybe(extra.and_then(|e| e.tags.as_deref()), Row::text);
    row.maybe(extra.and_then(|e| e.callback_url.as_deref()), Row::text);
    row.maybe(m.media_json().as_deref(), Row::text);
    row.maybe(m.mms_price().map(|price| price.0), Row::int8);
    row.int2(m.country_number());
}

struct Row<'d>(&'d mut BytesMut);

impl Row<'_> {
    fn int2(&mut self, n: i16) {
        self.0.put_i32(2);
        self.0.put_i16(n);
    }

    fn int4(&mut self, n: i32) {
        self.0.put_i32(4);
        self.0.put_i32(n);
    }

    fn int8(&mut self, n: i64) {
        self.0.put_i32(8);
        self.0.put_i64(n);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.put_i32(bytes.len() as i32);
        self.0.put_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn maybe<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => put(self, value),
            None => self.0.put_i32(-1),
        }
    }
}

/// The same rows by a statement, for a few: their number is its last value. What is rare and none of them has is left out, the same columns
/// together, so that there are few such statements: the server keeps each prepared.
pub(super) fn insert<'r>(messages: &[(MessageId, Option<Uuid>, &'r NewMessage)]) -> (String, Vec<Param<'r>>) {
    let mut columns = Columns::default();
    let all = |of: fn(&NewMessage) -> i16| messages.iter().map(|(.., m)| of(m)).collect::<Vec<_>>();
    columns.of("account_no", "bigint", messages.iter().map(|(id, ..)| id.account().as_i64()).collect::<Vec<_>>());
    columns.of("id", "uuid", messages.iter().map(|(id, ..)| id.0).collect::<Vec<_>>());
    columns.of("state", "smallint", all(|m| m.state().number()));
    columns.of("lane", "smallint", all(|m| m.lane.number()));
    columns.of("category", "smallint", all(|m| m.category.number()));
    columns.of("flags", "integer", messages.iter().map(|(.., m)| m.flags.0).collect::<Vec<_>>());
    columns.of("encoding", "smallint", all(|m| m.encoding));
    columns.of("parts", "integer", messages.iter().map(|(.., m)| i32::from(m.parts)).collect::<Vec<_>>());
    columns.of("phone", "bytea", messages.iter().map(|(.., m)| seal_phone(m.phone).to_vec()).collect::<Vec<_>>());
    columns.of("phone_tag", "bigint", messages.iter().map(|(.., m)| m.phone_tag).collect::<Vec<_>>());
    columns.of("unit_price", "bigint", messages.iter().map(|(.., m)| m.unit_price.0).collect::<Vec<_>>());
    columns.of("held", "bigint", messages.iter().map(|(.., m)| m.held().0).collect::<Vec<_>>());
    columns.of("expires_at", "bigint", messages.iter().map(|(.., m)| m.expires_at).collect::<Vec<_>>());
    columns.of("country", "smallint", all(NewMessage::country_number));
    columns.of("sender", "text", messages.iter().map(|(.., m)| m.sender.as_deref()).collect::<Vec<_>>());
    let body = |m: &NewMessage| m.own_body.then(|| seal_text(&m.body));
    columns.of("body", "bytea", messages.iter().map(|(.., m)| body(m)).collect::<Vec<_>>());
    columns.maybe("batch_id", "uuid", messages.iter().map(|(_, batch, _)| *batch));
    columns.maybe("otp_code", "bytea", messages.iter().map(|(.., m)| m.otp_code.as_deref().map(seal_text)));
    columns.maybe("reference", "integer", messages.iter().map(|(.., m)| m.reference.map(i32::from)));
    if messages.iter().any(|(.., m)| m.extra.is_some()) {
        let extra = || messages.iter().map(|(.., m)| m.extra.as_deref());
        columns.of("client_ref", "text", extra().map(|e| e?.client_ref.as_deref()).collect::<Vec<_>>());
        columns.of("tags", "text", extra().map(|e| e?.tags.as_deref()).collect::<Vec<_>>());
        columns.of("callback_url", "text", extra().map(|e| e?.callback_url.as_deref()).collect::<Vec<_>>());
        columns.of("media", "text", messages.iter().map(|(.., m)| m.media_json()).collect::<Vec<_>>());
        let price = |m: &NewMessage| m.mms_price().map(|price| price.0);
        columns.of("mms_price", "bigint", messages.iter().map(|(.., m)| price(m)).collect::<Vec<_>>());
    }
    let Columns { names, values, mut params } = columns;
    params.push(Box::new(messages.len() as i32));
    let count = params.len();
    // Not UNNEST: it would put each column by itself in a store of its own first, half as much work again (measured).
    let sql = format!(
        "INSERT INTO message (captured, attempts{names}) SELECT 0, 0{values} FROM generate_series(1, ${count}::integer) AS n"
    );
    (sql, params)
}

/// Columns of a statement, each an array by the place `n`.
#[derive(Default)]
struct Columns<'r> {
    names: String,
    values: String,
    params: Vec<Param<'r>>,
}

impl<'r> Columns<'r> {
    fn of<T: ToSql + Sync + Send + 'r>(&mut self, name: &str, kind: &str, values: Vec<T>) {
        self.params.push(Box::new(values));
        self.names += &format!(", {name}");
        self.values += &format!(", (${}::{kind}[])[n]", self.params.len());
    }

    /// One that is left out if it has no value.
    fn maybe<T: ToSql + Sync + Send + 'r>(&mut self, name: &str, kind: &str, values: impl Iterator<Item = Option<T>>) {
        let values: Vec<Option<T>> = values.collect();
        if values.iter().any(Option::is_some) {
            self.of(name, kind, values);
        }
    }
}

/// What most commits have besides messages and money.
pub(super) fn join(writes: &mut Writes<'_, '_>, plan: &Plan<'_>, now: i64) {
    if !plan.spans.is_empty() {
        let s = &plan.spans;
        let sql = "INSERT INTO due_span (account_no, first_id, lane, count)
                   SELECT * FROM UNNEST($1::bigint[], $2::uuid[], $3::smallint[], $4::integer[])";
        let accounts = s.iter().map(|s| s.key.first.account().as_i64()).collect::<Vec<_>>();
        let firsts = s.iter().map(|s| s.key.first.0).collect::<Vec<_>>();
        let lanes = s.iter().map(|s| s.lane.number()).collect::<Vec<_>>();
        let counts = s.iter().map(|s| s.count as i32).collect::<Vec<_>>();
        writes.join(sql, params![accounts, firsts, lanes, counts]);
    }
    if !plan.keys.is_empty() {
        let k = &plan.keys;
        let sql = "INSERT INTO idempotency (day, account_no, key_hash, fingerprint, resource, kind)
                   SELECT $1::integer, k.* FROM UNNEST($2::bigint[], $3::bytea[], $4::bytea[], $5::uuid[], $6::smallint[]) AS k";
        let accounts = k.iter().map(|k| k.account.as_i64()).collect::<Vec<_>>();
        let keys = k.iter().map(|k| k.key.key.to_vec()).collect::<Vec<_>>();
        let fingerprints = k.iter().map(|k| k.key.fingerprint.to_vec()).collect::<Vec<_>>();
        let resources = k.iter().map(|k| k.resource).collect::<Vec<_>>();
        let kinds = k.iter().map(|k| k.kind).collect::<Vec<_>>();
        writes.join(sql, params![day_of(now), accounts, keys, fingerprints, resources, kinds]);
    }
}

/// What follows from the messages besides.
pub(super) async fn write<'p>(
    writes: &mut Writes<'_, 'p>,
    requests: &'p [IntakeRequest],
    plan: &Plan<'p>,
    now: i64,
) -> Result<(), Error> {
    let due: Vec<_> = taken(requests, plan).filter_map(|(id, _, m)| Some((m.due_at?, id))).collect();
    insert_due(writes, &due).await?;
    insert_links(writes, requests, plan).await?;
    write_batches(writes, plan, now).await
}

async fn insert_links<'p>(
    writes: &mut Writes<'_, 'p>,
    requests: &'p [IntakeRequest],
    plan: &Plan<'p>,
) -> Result<(), Error> {
    let links: Vec<_> = taken(requests, plan)
        .flat_map(|(id, batch, m)| {
            m.extra.iter().flat_map(|e| &e.links).map(move |link| (id, batch, m.phone_tag, link))
        })
        .collect();
    if links.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO short_link (account_no, id, code, message_id, batch_id, phone_tag, target, expires_at, humans, bots, previews)
               SELECT l.*, 0, 0, 0
               FROM UNNEST($1::bigint[], $2::uuid[], $3::bigint[], $4::uuid[], $5::uuid[], $6::bigint[], $7::bytea[], $8::bigint[]) AS l";
    let accounts = links.iter().map(|(id, ..)| id.account().as_i64()).collect::<Vec<_>>();
    let ids = links.iter().map(|(.., link)| link.id.0).collect::<Vec<_>>();
    let codes = links.iter().map(|(.., link)| link.code.number()).collect::<Vec<_>>();
    let messages = links.iter().map(|(id, ..)| id.0).collect::<Vec<_>>();
    let batches = links.iter().map(|(_, batch, ..)| *batch).collect::<Vec<Option<Uuid>>>();
    let tags = links.iter().map(|(_, _, tag, _)| *tag).collect::<Vec<_>>();
    let targets = links.iter().map(|(.., link)| seal_text(&link.target)).collect::<Vec<_>>();
    let ends = links.iter().map(|(.., link)| link.expires_at).collect::<Vec<_>>();
    writes.put(sql, params![accounts, ids, codes, messages, batches, tags, targets, ends]).await
}

pub(super) const INSERT_BATCH: &str =
    "INSERT INTO batch (account_no, id, state, body, total, queued, sent, delivered, failed, parts, held, captured, client_ref, tags,
                        refusals, created_at)
     VALUES ($1, $2, $3, $4, $5, $5, 0, 0, 0, $6, $7, 0, $8, $9, $10, $11)";

async fn write_batches<'p>(writes: &mut Writes<'_, 'p>, plan: &Plan<'p>, now: i64) -> Result<(), Error> {
    for b in &plan.batches {
        let key = params![b.account.as_i64(), b.batch.id.0, i16::from(b.accepted)];
        let totals = params![
            b.batch.body.as_deref().map(seal_text),
            b.totals.messages as i32,
            b.totals.parts as i32,
            b.totals.held.0
        ];
        let rest = params![b.batch.client_ref.as_deref(), b.batch.tags.as_deref(), refusals_json(&b.refusals), now];
        writes.put(INSERT_BATCH, key.into_iter().chain(totals).chain(rest).collect()).await?;
    }
    for run in &plan.runs {
        let id = run.step.run.0;
        let sql = "UPDATE batch SET total = total + $3, queued = queued + $3, parts = parts + $4, held = held + $5
                   WHERE account_no = $1 AND id = $2";
        let totals = params![run.totals.messages as i32, run.totals.parts as i32, run.totals.held.0];
        writes.put(sql, params![run.account.as_i64(), id].into_iter().chain(totals).collect()).await?;
        let sql = "UPDATE campaign_run SET cursor = $3, skipped = skipped + $4, deferred = deferred + $5
                   WHERE account_no = $1 AND id = $2";
        let counts = params![run.step.to, run.step.skipped.len() as i32, run.deferred as i32];
        writes.put(sql, params![run.account.as_i64(), id].into_iter().chain(counts).collect()).await?;
        if !run.step.skipped.is_empty() {
            let sql =
                "UPDATE campaign_recipient p SET code = k.code FROM UNNEST($3::bigint[], $4::text[]) AS k(tag, code)
                       WHERE p.account_no = $1 AND p.run_id = $2 AND p.phone_tag = k.tag";
            let (tags, codes): (Vec<i64>, Vec<&str>) = run.step.skipped.iter().copied().unzip();
            writes.put(sql, params![run.account.as_i64(), id, tags, codes]).await?;
        }
    }
    for (account, id) in &plan.sealed {
        let sql = "UPDATE batch SET state = 1 WHERE account_no = $1 AND id = $2";
        writes.put(sql, params![account.as_i64(), *id]).await?;
    }
    Ok(())
}
