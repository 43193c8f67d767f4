//! What a settle commit reads and writes in the embedded file.

use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::{Flags, Progress, State};
use carillon_domain::money::Money;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, ToSql, params};
use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::{insert_due, message_id, uuid_of};
use crate::StoreError;
use crate::event::{Transition, Watched};
use crate::hot::settle::{self, CarrierRef, OpenUnknown, Parked, Plan, Read, Row, part_bytes, parts_of};
use crate::hot::{Attempted, IdSource, Receipt, ReceiptKind, Scope, SettleItem, Settled, SpanKey, event_id, event_ids};
use crate::usage::Tally;

/// All of it, in the transaction the caller opened and commits.
pub(super) fn run(
    tx: &Connection,
    items: &[SettleItem],
    spans_done: &[SpanKey],
    ids: &mut IdSource,
    watched: &Watched,
    tally: &mut Tally,
    now: i64,
) -> Result<Vec<Settled>, StoreError> {
    let (plan, rows) = settle::plan(items, read(tx, items)?, watched, now);
    tally.settled(&rows);
    write(tx, &plan, &rows)?;
    write_events(tx, &plan, ids, now)?;
    for span in spans_done {
        tx.prepare_cached("DELETE FROM due_span WHERE account_no = ?1 AND first_id = ?2")?
            .execute(params![span.first.account().as_i64(), span.first.0.as_bytes()])?;
    }
    Ok(plan.settled)
}

const ROW: &str =
    "SELECT state, flags, parts, part_states, unit_price, held, captured, error_code, final_at, batch_id, attempts,
                          connection_no, carrier_error, due_at, sent_at, mms_price, country FROM message WHERE account_no = ?1 AND id = ?2";

fn read_row(r: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let state = State::from_number(r.get(0)?).unwrap_or(State::Failed);
    let error: Option<i16> = r.get(7)?;
    let final_at: Option<i64> = r.get(8)?;
    let in_doubt = error == Some(ErrorCode::OutcomeUnknown.number());
    let bytes = r.get_ref(3)?.as_blob_or_null().ok().flatten();
    let (held, captured) = (Money(r.get(5)?), Money(r.get(6)?));
    let progress = Progress {
        state,
        flags: Flags(r.get(1)?),
        parts: parts_of(r.get(2)?, bytes, state, in_doubt, final_at.is_some()),
        unit_price: Money(r.get(4)?),
        mms_price: r.get::<_, Option<i64>>(15)?.map(Money),
        held,
        captured,
        closed: final_at.is_some(),
        error,
    };
    Ok(Row {
        progress,
        batch: r.get::<_, Option<[u8; 16]>>(9)?.map(Uuid::from_bytes),
        attempts: r.get(10)?,
        connection: r.get(11)?,
        carrier_error: r.get(12)?,
        due_at: r.get(13)?,
        sent_at: r.get(14)?,
        final_at,
        country: r.get(16)?,
        before: (state, held, captured),
        counted: None,
        dirty: false,
    })
}

fn read<'a>(tx: &Connection, items: &'a [SettleItem]) -> Result<Read<'a>, StoreError> {
    let mut wanted = settle::wanted(items);
    let mut read = Read::default();
    let mut reference = tx.prepare_cached(
        "SELECT message_id, part, attempt, phone_tag FROM carrier_ref WHERE connection_no = ?1 AND carrier_id = ?2",
    )?;
    for &(connection, carrier_id) in &wanted.receipts {
        let mut rows = reference.query(params![connection, carrier_id])?;
        while let Some(r) = rows.next()? {
            let id = message_id(r, 0)?;
            read.add_ref(CarrierRef {
                connection,
                carrier_id,
                id,
                part: r.get(1)?,
                attempt: r.get(2)?,
                phone_tag: r.get(3)?,
            });
            wanted.ids.push(id);
        }
    }
    for (connection, phone_tag) in wanted.unmatched(items, &read) {
        for unknown in read_unknowns(tx, connection, phone_tag)? {
            wanted.ids.push(unknown.attempt.id);
            read.add_unknown(unknown);
        }
    }
    if tx.prepare_cached("SELECT EXISTS (SELECT 1 FROM parked_receipt)")?.query_row([], |r| r.get(0))? {
        for key in wanted.accepted.keys() {
            let waiting = read_parked(tx, key.0, "carrier_id", &key.1)?;
            if !waiting.is_empty() {
                read.parked.insert(*key, waiting);
            }
        }
        for (connection, phone_tag) in &wanted.silent {
            let waiting = read_parked(tx, *connection, "phone_tag", phone_tag)?;
            read.parked_for.insert((*connection, *phone_tag), waiting);
        }
    }
    let mut message = tx.prepare_cached(ROW)?;
    let ids = wanted.sorted_ids();
    read.rows.reserve(ids.len());
    for id in ids {
        if let Some(row) = message.query_row(params![id.account().as_i64(), id.0.as_bytes()], read_row).optional()? {
            read.rows.insert(*id, row.with_count(*id));
        }
    }
    Ok(read)
}

fn read_unknowns(tx: &Connection, connection: i32, phone_tag: i64) -> Result<Vec<OpenUnknown>, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT message_id, part, attempt, sender, submitted_at FROM unknown_attempt WHERE connection_no = ?1 AND phone_tag = ?2",
    )?;
    let rows = statement.query_map(params![connection, phone_tag], |r| {
        let attempt = Attempted { connection, phone_tag, id: message_id(r, 0)?, part: r.get(1)?, attempt: r.get(2)? };
        Ok(OpenUnknown { attempt, sender: r.get(3)?, submitted_at: r.get(4)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const PARKED: &str =
    "SELECT seq, carrier_id, phone_tag, kind, error_code, carrier_error, received_at, whole FROM parked_receipt";

fn read_parked(tx: &Connection, connection: i32, by: &str, value: &dyn ToSql) -> Result<Vec<Parked>, StoreError> {
    let mut statement = tx.prepare_cached(&format!("{PARKED} WHERE connection_no = ?1 AND {by} = ?2 ORDER BY seq"))?;
    let rows = statement.query_map(params![connection, value], |r| {
        let tag: i64 = r.get(2)?;
        let error: Option<i16> = r.get(4)?;
        let kind = if r.get::<_, i16>(3)? == 1 {
            ReceiptKind::Delivered
        } else {
            ReceiptKind::Failed { error: error.unwrap_or(0) }
        };
        let receipt = Receipt {
            connection,
            carrier_id: r.get(1)?,
            phone_tag: (tag != 0).then_some(tag),
            sender: None,
            kind,
            // It came too soon to be routed anew.
            reroute: false,
            scope: if r.get(7)? { Scope::Message } else { Scope::Part },
            carrier_error: r.get(5)?,
            at: r.get(6)?,
        };
        Ok(Parked { seq: uuid_of(r, 0)?, receipt })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn write(tx: &Connection, plan: &Plan<'_>, rows: &FxHashMap<MessageId, Row>) -> Result<(), StoreError> {
    let mut update = tx.prepare_cached(
        "UPDATE message SET state = ?3, held = ?4, captured = ?5, attempts = ?6, connection_no = ?7, error_code = ?8, carrier_error = ?9,
                            due_at = ?10, sent_at = ?11, final_at = ?12, part_states = ?13 WHERE account_no = ?1 AND id = ?2",
    )?;
    // In key order: neighbours share pages.
    let mut dirty: Vec<_> = rows.iter().filter(|(_, r)| r.dirty).collect();
    dirty.sort_unstable_by_key(|(id, _)| (id.account(), **id));
    for (id, r) in dirty {
        let p = &r.progress;
        update.execute(params![
            id.account().as_i64(),
            id.0.as_bytes(),
            p.state.number(),
            p.held.0,
            p.captured.0,
            r.attempts,
            r.connection,
            p.error,
            r.carrier_error,
            r.due_at,
            r.sent_at,
            r.final_at,
            part_bytes(p.parts.as_slice()),
        ])?;
    }
    let mut insert = tx.prepare_cached(
        "INSERT INTO carrier_ref (connection_no, carrier_id, message_id, part, attempt, phone_tag) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO NOTHING",
    )?;
    for c in plan.refs_new.iter().flatten() {
        insert.execute(params![c.connection, c.carrier_id, c.id.0.as_bytes(), c.part, c.attempt, c.phone_tag])?;
    }
    let mut delete = tx.prepare_cached(
        "DELETE FROM carrier_ref WHERE connection_no = ?1 AND carrier_id = ?2 AND message_id = ?3 AND part = ?4",
    )?;
    for c in &plan.refs_gone {
        delete.execute(params![c.connection, c.carrier_id, c.id.0.as_bytes(), c.part])?;
    }
    for (due_at, id) in &plan.due_gone {
        tx.prepare_cached("DELETE FROM due_at WHERE due_at = ?1 AND account_no = ?2 AND message_id = ?3")?
            .execute(params![due_at, id.account().as_i64(), id.0.as_bytes()])?;
    }
    for (due_at, id) in &plan.due_new {
        insert_due(tx, *due_at, *id)?;
    }
    let mut money = tx.prepare_cached(
        "UPDATE balance SET available = available + ?3, held = held - ?2 - ?3, spent = spent + ?2 WHERE account_no = ?1",
    )?;
    for (account, (captured, released)) in &plan.money {
        money.execute(params![account.as_i64(), captured.0, released.0])?;
    }
    for ((account, batch), d) in &plan.batches {
        tx.prepare_cached(
            "UPDATE batch SET queued = queued + ?3, sent = sent + ?4, delivered = delivered + ?5, failed = failed + ?6,
                              held = held + ?7, captured = captured + ?8 WHERE account_no = ?1 AND id = ?2",
        )?
        .execute(params![account.as_i64(), batch.as_bytes(), d[0], d[1], d[2], d[3], d[4], d[5]])?;
    }
    write_unusual(tx, plan)
}

fn write_unusual(tx: &Connection, plan: &Plan<'_>) -> Result<(), StoreError> {
    for (id, flags) in &plan.flags_new {
        tx.prepare_cached("UPDATE message SET flags = ?3 WHERE account_no = ?1 AND id = ?2")?.execute(params![
            id.account().as_i64(),
            id.0.as_bytes(),
            flags.0
        ])?;
    }
    for a in &plan.attempts {
        tx.prepare_cached(
            "INSERT INTO attempt (account_no, message_id, attempt, part, connection_no, result, error_code, carrier_error, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            a.id.account().as_i64(), a.id.0.as_bytes(), a.attempt, a.part, a.connection, a.result as i16, a.error, a.carrier_error, a.at,
        ])?;
    }
    for c in &plan.claims_new {
        let a = &c.attempt;
        tx.prepare_cached(
            "INSERT INTO claim (connection_no, message_id, part, attempt, phone_tag, sender, submitted_at, decide_at, mms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            a.connection,
            a.id.0.as_bytes(),
            a.part,
            a.attempt,
            a.phone_tag,
            c.sender.as_deref(),
            c.submitted_at,
            c.decide_at,
            c.mms
        ])?;
    }
    for a in &plan.claims_gone {
        tx.prepare_cached(
            "DELETE FROM claim WHERE connection_no = ?1 AND message_id = ?2 AND part = ?3 AND attempt = ?4",
        )?
        .execute(params![a.connection, a.id.0.as_bytes(), a.part, a.attempt])?;
    }
    for (u, decide_at) in &plan.unknown_new {
        let a = &u.attempt;
        tx.prepare_cached(
            "INSERT INTO unknown_attempt (connection_no, phone_tag, message_id, part, attempt, sender, submitted_at, decide_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?
        .execute(params![a.connection, a.phone_tag, a.id.0.as_bytes(), a.part, a.attempt, u.sender, u.submitted_at, decide_at])?;
    }
    const WHICH: &str =
        "WHERE connection_no = ?1 AND phone_tag = ?2 AND message_id = ?3 AND part = ?4 AND attempt = ?5";
    for (list, head) in [
        (&plan.unknown_decided, "UPDATE unknown_attempt SET decide_at = NULL"),
        (&plan.unknown_gone, "DELETE FROM unknown_attempt"),
    ] {
        for a in list {
            tx.prepare_cached(&format!("{head} {WHICH}"))?.execute(params![
                a.connection,
                a.phone_tag,
                a.id.0.as_bytes(),
                a.part,
                a.attempt
            ])?;
        }
    }
    Ok(())
}

/// The outbox and the parking.
fn write_events(tx: &Connection, plan: &Plan<'_>, ids: &mut IdSource, now: i64) -> Result<(), StoreError> {
    for (account, transitions) in &plan.events {
        let first = event_ids(ids, now, *account, transitions.len());
        tx.prepare_cached(
            "INSERT INTO event (account_no, id, kind, transitions, taken, created_at) VALUES (?1, ?2, 0, ?3, 0, ?4)",
        )?
        .execute(params![account.as_i64(), first.0.as_bytes(), Transition::bytes(transitions), now])?;
    }
    for (id, end, credential) in &plan.smpp {
        let account = id.account();
        tx.prepare_cached(crate::smpp_delivery::INSERT_RECEIPT)?.execute(params![
            account.as_i64(),
            credential,
            event_id(ids, now, account).0.as_bytes(),
            id.0.as_bytes(),
            end.number(),
        ])?;
    }
    for r in &plan.parked_new {
        let (kind, error) = match r.kind {
            ReceiptKind::Failed { error } => (2i16, Some(error)),
            _ => (1, None),
        };
        tx.prepare_cached(
            "INSERT INTO parked_receipt (connection_no, carrier_id, seq, phone_tag, kind, error_code, carrier_error, received_at, whole)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            r.connection, r.carrier_id, event_id(ids, now, AccountNo::PLATFORM).0.as_bytes(), r.phone_tag.unwrap_or(0), kind, error,
            r.carrier_error, r.at, r.scope == Scope::Message,
        ])?;
    }
    for (connection, carrier_id, seq) in &plan.parked_gone {
        tx.prepare_cached("DELETE FROM parked_receipt WHERE connection_no = ?1 AND carrier_id = ?2 AND seq = ?3")?
            .execute(params![connection, carrier_id, seq.as_bytes()])?;
    }
    Ok(())
}
