//! The hot path on the embedded file: `rusqlite`, prepared statements, one row at a time (measured cheaper than anything wider).
//! Parameters are written `?1` here: to SQLite `$1` is a name, bound in order of first appearance (sqlx sorts that out, rusqlite does not).

mod read;
mod settle;

use std::path::Path;
use std::sync::Arc;

use carillon_domain::campaign::State::Running;
use carillon_domain::id::MessageId;
use carillon_domain::money::Money;
use rusqlite::{CachedStatement, Connection, OpenFlags, OptionalExtension, Row as SqlRow, TransactionBehavior, params};
use uuid::Uuid;

use super::intake::{self, refusals_json};
use super::{
    IdSource, IntakeRequest, NewMessage, SettleItem, Settled, SpanKey, Step, Verdict, day_of, oldest_of, seal_phone,
    seal_text,
};
use crate::event::Watched;
use crate::usage::Tally;
use crate::{Sqlite, StoreError};

pub(crate) use read::Reader;

/// The one writer of the hot path.
pub struct Writer {
    connection: Connection,
    gate: Arc<tokio::sync::Mutex<()>>,
    ids: IdSource,
    pub(super) watched: Watched,
}

fn open(path: &Path, write: bool) -> Result<Connection, StoreError> {
    let access = if write { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    if write {
        // The file is in WAL mode already; a checkpoint never runs inside a commit but on the checkpointer's thread.
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;")?;
    }
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn uuid_of(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Uuid> {
    Ok(Uuid::from_bytes(row.get::<_, [u8; 16]>(column)?))
}

fn message_id(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<MessageId> {
    uuid_of(row, column).map(MessageId)
}

impl Writer {
    pub(super) fn open(file: &Sqlite, ids: IdSource) -> Result<Writer, StoreError> {
        Ok(Writer { connection: open(&file.path, true)?, gate: file.gate.clone(), ids, watched: Watched::default() })
    }

    pub(super) async fn commit(
        &mut self,
        items: &[SettleItem],
        spans_done: &[SpanKey],
        requests: &[IntakeRequest],
        now: i64,
    ) -> Result<(Vec<Settled>, Vec<Verdict>), StoreError> {
        let _gate = self.gate.lock().await;
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut tally = Tally::default();
        let settled = if items.is_empty() && spans_done.is_empty() {
            Vec::new()
        } else {
            settle::run(&tx, items, spans_done, &mut self.ids, &self.watched, &mut tally, now)?
        };
        let verdicts = if requests.is_empty() {
            Vec::new()
        } else {
            let read = read_intake(&tx, requests, now)?;
            let plan = intake::plan(requests, &read, &mut self.ids, now);
            write_intake(&tx, requests, &plan, &mut tally, now)?;
            plan.verdicts
        };
        log_usage(&tx, &tally)?;
        tx.commit()?;
        Ok((settled, verdicts))
    }

    pub(super) async fn set_aside(&mut self, item: &SettleItem, error: &str, now: i64) -> Result<(), StoreError> {
        let _gate = self.gate.lock().await;
        let (message, text) = item.told();
        self.connection.execute(
            "INSERT INTO set_aside (message_id, item, error, at) VALUES (?1, ?2, ?3, ?4)",
            params![message.map(Uuid::into_bytes), text, error, now],
        )?;
        Ok(())
    }

    pub(super) async fn discard_loading(&mut self) -> Result<u64, StoreError> {
        let _gate = self.gate.lock().await;
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let loading: Vec<(i64, Uuid, i64)> = tx
            .prepare("SELECT account_no, id, held FROM batch WHERE state = 0")?
            .query_map([], |r| Ok((r.get(0)?, uuid_of(r, 1)?, r.get(2)?)))?
            .collect::<Result<_, _>>()?;
        let mut tally = Tally::default();
        for (account, batch, held) in &loading {
            discard(&tx, *account, *batch, *held, &mut tally)?;
        }
        log_usage(&tx, &tally)?;
        tx.commit()?;
        Ok(loading.len() as u64)
    }
}

/// What the commit counted, in one row.
fn log_usage(tx: &Connection, tally: &Tally) -> Result<(), StoreError> {
    if let Some(counts) = tally.bytes() {
        tx.prepare_cached("INSERT INTO usage_log (counts) VALUES (?1)")?.execute([counts])?;
    }
    Ok(())
}

/// Erases one batch and returns its hold.
fn discard(tx: &Connection, account: i64, batch: Uuid, held: i64, tally: &mut Tally) -> Result<(), StoreError> {
    let (oldest, batch) = (oldest_of(batch), batch.as_bytes());
    let mut stored =
        tx.prepare("SELECT id, country FROM message WHERE account_no = ?1 AND id >= ?2 AND batch_id = ?3")?;
    let mut rows = stored.query(params![account, oldest.as_bytes(), batch])?;
    while let Some(r) = rows.next()? {
        tally.accepted(message_id(r, 0)?, Some(Uuid::from_bytes(*batch)), r.get(1)?, -1);
    }
    tx.execute(
        "DELETE FROM due_at WHERE account_no = ?1 AND message_id IN
         (SELECT id FROM message WHERE account_no = ?1 AND id >= ?2 AND batch_id = ?3)",
        params![account, oldest.as_bytes(), batch],
    )?;
    tx.execute("DELETE FROM short_link WHERE account_no = ?1 AND batch_id = ?2", params![account, batch])?;
    tx.execute(
        "DELETE FROM message WHERE account_no = ?1 AND id >= ?2 AND batch_id = ?3",
        params![account, oldest.as_bytes(), batch],
    )?;
    // A span may hold other messages of its commit as well: only what is empty now goes.
    let spans: Vec<(MessageId, u32)> = tx
        .prepare("SELECT first_id, count FROM due_span WHERE account_no = ?1 AND first_id >= ?2")?
        .query_map(params![account, oldest.as_bytes()], |r| Ok((message_id(r, 0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut empty = tx.prepare(
        "DELETE FROM due_span WHERE account_no = ?1 AND first_id = ?2
         AND NOT EXISTS (SELECT 1 FROM message WHERE account_no = ?1 AND id BETWEEN ?2 AND ?3)",
    )?;
    for (first, count) in spans {
        empty.execute(params![account, first.0.as_bytes(), first.nth(count.saturating_sub(1)).0.as_bytes()])?;
    }
    tx.execute("DELETE FROM idempotency WHERE account_no = ?1 AND resource = ?2", params![account, batch])?;
    tx.execute("DELETE FROM batch WHERE account_no = ?1 AND id = ?2", params![account, batch])?;
    tx.execute(
        "UPDATE balance SET available = available + ?2, held = held - ?2 WHERE account_no = ?1",
        params![account, held],
    )?;
    Ok(())
}

fn read_intake(tx: &Connection, requests: &[IntakeRequest], now: i64) -> Result<intake::Read, StoreError> {
    let mut read = intake::Read::default();
    let mut balance = tx.prepare_cached("SELECT available FROM balance WHERE account_no = ?1")?;
    let mut key = tx.prepare_cached(
        "SELECT fingerprint, resource FROM idempotency WHERE day IN (?1, ?2) AND account_no = ?3 AND key_hash = ?4",
    )?;
    let day = day_of(now);
    for request in requests {
        if let std::collections::hash_map::Entry::Vacant(slot) = read.available.entry(request.account)
            && let Some(available) = balance.query_row([request.account.as_i64()], |r| r.get(0)).optional()?
        {
            slot.insert(Money(available));
        }
        if let Some(k) = request.key {
            let used = key
                .query_row(params![day, day - 1, request.account.as_i64(), k.key], |r| Ok((r.get(0)?, uuid_of(r, 1)?)))
                .optional()?;
            if let Some(used) = used {
                read.keys.insert((request.account, k.key), used);
            }
        }
        if let Step::Run(step) = &request.step {
            let cursor = tx
                .prepare_cached(
                    "SELECT r.cursor FROM campaign_run r JOIN campaign c ON c.account_no = r.account_no AND c.id = r.campaign_id
                     WHERE r.account_no = ?1 AND r.id = ?2 AND r.place IS NULL AND r.ended_at IS NULL AND c.state = ?3",
                )?
                .query_row(params![request.account.as_i64(), step.run.0.as_bytes(), Running.number()], |r| r.get(0))
                .optional()?;
            if let Some(cursor) = cursor {
                read.runs.insert((request.account, step.run.0), cursor);
            }
        }
    }
    Ok(read)
}

fn write_intake(
    tx: &Connection,
    requests: &[IntakeRequest],
    plan: &intake::Plan<'_>,
    tally: &mut Tally,
    now: i64,
) -> Result<(), StoreError> {
    let mut plain = tx.prepare_cached(INSERT_PLAIN)?;
    for (request, verdict) in requests.iter().zip(&plan.verdicts) {
        let Verdict::Accepted { first, count, .. } = verdict else { continue };
        let batch = request.step.batch();
        for (place, message) in request.messages.iter().take(*count as usize).enumerate() {
            let id = first.nth(place as u32);
            insert_message(tx, &mut plain, id, batch, message)?;
            tally.accepted(id, batch, message.country_number(), 1);
        }
    }
    let mut hold =
        tx.prepare_cached("UPDATE balance SET available = available - ?2, held = held + ?2 WHERE account_no = ?1")?;
    for (account, held) in &plan.holds {
        hold.execute(params![account.as_i64(), held.0])?;
    }
    let mut span =
        tx.prepare_cached("INSERT INTO due_span (account_no, first_id, lane, count) VALUES (?1, ?2, ?3, ?4)")?;
    for s in &plan.spans {
        span.execute(params![s.key.first.account().as_i64(), s.key.first.0.as_bytes(), s.lane.number(), s.count])?;
    }
    for k in &plan.keys {
        tx.prepare_cached("INSERT INTO idempotency (day, account_no, key_hash, fingerprint, resource, kind) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![day_of(now), k.account.as_i64(), k.key.key, k.key.fingerprint, k.resource.as_bytes(), k.kind])?;
    }
    for b in &plan.batches {
        tx.prepare_cached(
            "INSERT INTO batch (account_no, id, state, body, total, queued, sent, delivered, failed, parts, held, captured, client_ref, tags, refusals, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0, 0, 0, ?6, ?7, 0, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            b.account.as_i64(),
            b.batch.id.0.as_bytes(),
            i16::from(b.accepted),
            b.batch.body.as_deref().map(seal_text),
            b.totals.messages,
            b.totals.parts as i64,
            b.totals.held.0,
            b.batch.client_ref,
            b.batch.tags,
            refusals_json(&b.refusals),
            now,
        ])?;
    }
    for run in &plan.runs {
        move_run(tx, run)?;
    }
    for (account, id) in &plan.sealed {
        tx.prepare_cached("UPDATE batch SET state = 1 WHERE account_no = ?1 AND id = ?2")?
            .execute(params![account.as_i64(), id.as_bytes()])?;
    }
    for (account, id) in &plan.discarded {
        let held: Option<i64> = tx
            .query_row(
                "SELECT held FROM batch WHERE account_no = ?1 AND id = ?2 AND state = 0",
                params![account.as_i64(), id.as_bytes()],
                |r| r.get(0),
            )
            .optional()?;
        if let Some(held) = held {
            discard(tx, account.as_i64(), *id, held, tally)?;
        }
    }
    Ok(())
}

/// Adds what was stored to the totals of a run's batch, and moves its cursor.
fn move_run(tx: &Connection, run: &intake::RunMove<'_>) -> Result<(), StoreError> {
    let (account, id) = (run.account.as_i64(), run.step.run.0.as_bytes());
    tx.prepare_cached(
        "UPDATE batch SET total = total + ?3, queued = queued + ?3, parts = parts + ?4, held = held + ?5 WHERE account_no = ?1 AND id = ?2",
    )?
    .execute(params![account, id, run.totals.messages, run.totals.parts as i64, run.totals.held.0])?;
    tx.prepare_cached(
        "UPDATE campaign_run SET cursor = ?3, skipped = skipped + ?4, deferred = deferred + ?5 WHERE account_no = ?1 AND id = ?2",
    )?
    .execute(params![account, id, run.step.to, run.step.skipped.len() as i64, run.deferred])?;
    let mut skip = tx.prepare_cached(
        "UPDATE campaign_recipient SET code = ?4 WHERE account_no = ?1 AND run_id = ?2 AND phone_tag = ?3",
    )?;
    for (tag, code) in &run.step.skipped {
        skip.execute(params![account, id, tag, code])?;
    }
    Ok(())
}

/// Most messages have none of the rare columns: fewer values to bind.
const INSERT_PLAIN: &str =
    "INSERT INTO message (account_no, id, batch_id, state, lane, category, flags, encoding, parts, phone, phone_tag, sender, body,
                          unit_price, held, captured, attempts, expires_at, country)
     VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0, 0, ?15, ?16)";

fn insert_message(
    tx: &Connection,
    plain: &mut CachedStatement<'_>,
    id: MessageId,
    batch: Option<Uuid>,
    m: &NewMessage,
) -> Result<(), StoreError> {
    let account = id.account().as_i64();
    let body = m.own_body.then(|| seal_text(&m.body));
    let batch = batch.map(Uuid::into_bytes);
    if m.extra.is_none() && m.due_at.is_none() && m.otp_code.is_none() && m.reference.is_none() {
        plain.execute(params![
            account,
            id.0.as_bytes(),
            batch,
            m.lane.number(),
            m.category.number(),
            m.flags.0,
            m.encoding,
            m.parts,
            seal_phone(m.phone),
            m.phone_tag,
            m.sender.as_deref(),
            body,
            m.unit_price.0,
            m.held().0,
            m.expires_at,
            m.country_number(),
        ])?;
        return Ok(());
    }
    let extra = m.extra.as_deref();
    tx.prepare_cached(
        "INSERT INTO message (account_no, id, batch_id, state, lane, category, flags, encoding, parts, phone, phone_tag, sender, body,
                              unit_price, held, captured, attempts, expires_at, otp_code, reference, due_at, client_ref, tags, callback_url,
                              media, mms_price, country)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, 0, 0, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)",
    )?
    .execute(params![
        account, id.0.as_bytes(), batch, m.state().number(), m.lane.number(), m.category.number(), m.flags.0, m.encoding, m.parts,
        seal_phone(m.phone), m.phone_tag, m.sender.as_deref(), body, m.unit_price.0, m.held().0, m.expires_at,
        m.otp_code.as_deref().map(seal_text), m.reference.map(i32::from), m.due_at,
        extra.and_then(|e| e.client_ref.as_deref()), extra.and_then(|e| e.tags.as_deref()), extra.and_then(|e| e.callback_url.as_deref()),
        m.media_json(), m.mms_price().map(|price| price.0), m.country_number(),
    ])?;
    if let Some(due_at) = m.due_at {
        insert_due(tx, due_at, id)?;
    }
    for link in extra.map_or(&[][..], |e| &e.links) {
        tx.prepare_cached(
            "INSERT INTO short_link (account_no, id, code, message_id, batch_id, phone_tag, target, expires_at, humans, bots, previews)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, 0)",
        )?
        .execute(params![
            account,
            link.id.0.as_bytes(),
            link.code.number(),
            id.0.as_bytes(),
            batch,
            m.phone_tag,
            seal_text(&link.target),
            link.expires_at,
        ])?;
    }
    Ok(())
}

fn insert_due(tx: &Connection, due_at: i64, id: MessageId) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO due_at (due_at, account_no, message_id) VALUES (?1, ?2, ?3)")?.execute(params![
        due_at,
        id.account().as_i64(),
        id.0.as_bytes()
    ])?;
    Ok(())
}
