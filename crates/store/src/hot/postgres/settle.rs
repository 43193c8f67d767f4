//! What outcomes read and write on PostgreSQL: each table once, columns as arrays.

use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::{Flags, Progress, State};
use carillon_domain::money::Money;
use rustc_hash::FxHashMap;
use tokio_postgres::Error;

use super::insert_due;
use super::place::Place;
use super::session::{Answer, Session, Writes, params};
use crate::event::Transition;
use crate::hot::settle::{
    self, CarrierRef, OpenUnknown, Parked, Plan, Read, RefKey, Row, Wanted, part_bytes, parts_of,
};
use crate::hot::{Attempted, IdSource, Receipt, ReceiptKind, Scope, SettleItem, SpanKey, event_id, event_ids};

/// Where rows lie that this transaction has read: a change that knows the place need not look for it. A row stays there while it is locked, and
/// what nobody locked is known again by its key.
#[derive(Default)]
pub(super) struct Places<'a> {
    rows: FxHashMap<MessageId, Place>,
    refs: FxHashMap<(i32, &'a str, MessageId, u8), Place>,
}

/// Whether some of a round's references may be stored already, when the same answer came twice. To ask each costs as much again as to put it, so
/// that a round asks none; where one is, it fails and is sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stored {
    No,
    Perhaps,
}

/// Whether a round failed because one of its references is stored.
pub(super) fn was_stored(error: &Error) -> bool {
    error.as_db_error().is_some_and(|e| e.constraint() == Some("carrier_ref_pkey"))
}

/// One column of a list as an array.
fn column<'t, T, C>(rows: &'t [T], of: impl Fn(&'t T) -> C) -> Vec<C> {
    rows.iter().map(of).collect()
}

/// What is open about the items: references, receipts that wait, attempts in doubt. With it come the messages they are about.
pub(super) async fn read_open<'a>(
    session: &mut Session,
    items: &'a [SettleItem],
) -> Result<(Wanted<'a>, Read<'a>, Places<'a>), Error> {
    let mut wanted = settle::wanted(items);
    let mut read = Read::default();
    let mut places = Places::default();
    let receipts = std::mem::take(&mut wanted.receipts);
    let accepted: Vec<RefKey<'a>> = wanted.accepted.keys().copied().collect();
    let silent = std::mem::take(&mut wanted.silent);
    let refs = ask_by_id(session, REFS, &receipts).await?;
    let parked = ask_by_id(session, PARKED, &accepted).await?;
    let parked_for = ask_by_destination(session, PARKED_FOR, &silent).await?;
    if let Some(refs) = refs {
        for r in refs.await? {
            let ((connection, carrier_id), id) = (at(&receipts, r.try_get(0)?), MessageId(r.try_get(1)?));
            let (part, attempt): (i16, i16) = (r.try_get(2)?, r.try_get(3)?);
            wanted.ids.push(id);
            let (part, attempt, phone_tag) = (part as u8, attempt as u8, r.try_get(4)?);
            places.refs.insert((connection, carrier_id, id, part), r.try_get(5)?);
            read.add_ref(CarrierRef { connection, carrier_id, id, part, attempt, phone_tag });
        }
    }
    let destinations = wanted.unmatched(items, &read);
    let unknowns = ask_by_destination(session, UNKNOWNS, &destinations).await?;
    if let Some(parked) = parked {
        for r in parked.await? {
            read.parked.entry(at(&accepted, r.try_get(8)?)).or_default().push(parked_of(&r)?);
        }
    }
    if let Some(parked_for) = parked_for {
        for r in parked_for.await? {
            read.parked_for.entry(at(&silent, r.try_get(8)?)).or_default().push(parked_of(&r)?);
        }
    }
    if let Some(unknowns) = unknowns {
        for r in unknowns.await? {
            let ((connection, phone_tag), id) = (at(&destinations, r.try_get(0)?), MessageId(r.try_get(1)?));
            let (part, attempt): (i16, i16) = (r.try_get(2)?, r.try_get(3)?);
            let attempt = Attempted { connection, phone_tag, id, part: part as u8, attempt: attempt as u8 };
            wanted.ids.push(id);
            read.add_unknown(OpenUnknown { attempt, sender: r.try_get(4)?, submitted_at: r.try_get(5)? });
        }
    }
    Ok((wanted, read, places))
}

pub(super) const REFS: &str = "SELECT k.n, c.message_id, c.part, c.attempt, c.phone_tag, c.ctid
     FROM UNNEST($1::integer[], $2::text[]) WITH ORDINALITY AS k(connection_no, carrier_id, n)
     JOIN carrier_ref c ON c.connection_no = k.connection_no AND c.carrier_id = k.carrier_id";

pub(super) const UNKNOWNS: &str = "SELECT k.n, u.message_id, u.part, u.attempt, u.sender, u.submitted_at
     FROM UNNEST($1::integer[], $2::bigint[]) WITH ORDINALITY AS k(connection_no, phone_tag, n)
     JOIN unknown_attempt u ON u.connection_no = k.connection_no AND u.phone_tag = k.phone_tag";

pub(super) const PARKED: &str = "SELECT p.connection_no, p.carrier_id, p.seq, p.phone_tag, p.kind, p.error_code, p.carrier_error, p.received_at, k.n, p.whole
     FROM UNNEST($1::integer[], $2::text[]) WITH ORDINALITY AS k(connection_no, carrier_id, n)
     JOIN parked_receipt p ON p.connection_no = k.connection_no AND p.carrier_id = k.carrier_id ORDER BY p.seq";

pub(super) const PARKED_FOR: &str = "SELECT p.connection_no, p.carrier_id, p.seq, p.phone_tag, p.kind, p.error_code, p.carrier_error, p.received_at, k.n, p.whole
     FROM UNNEST($1::integer[], $2::bigint[]) WITH ORDINALITY AS k(connection_no, phone_tag, n)
     JOIN parked_receipt p ON p.connection_no = k.connection_no AND p.phone_tag = k.phone_tag ORDER BY p.seq";

async fn ask_by_id<'a>(
    session: &mut Session,
    sql: &'static str,
    keys: &[RefKey<'a>],
) -> Result<Option<Answer<'a>>, Error> {
    if keys.is_empty() {
        return Ok(None);
    }
    let (connections, ids): (Vec<i32>, Vec<&'a str>) = keys.iter().copied().unzip();
    session.ask(sql, params![connections, ids]).await.map(Some)
}

async fn ask_by_destination<'a>(
    session: &mut Session,
    sql: &'static str,
    keys: &[(i32, i64)],
) -> Result<Option<Answer<'a>>, Error> {
    if keys.is_empty() {
        return Ok(None);
    }
    let (connections, tags): (Vec<i32>, Vec<i64>) = keys.iter().copied().unzip();
    session.ask(sql, params![connections, tags]).await.map(Some)
}

/// The key at a place that UNNEST … WITH ORDINALITY counted from 1.
fn at<T: Copy>(keys: &[T], ordinal: i64) -> T {
    keys[ordinal as usize - 1]
}

/// The rows of messages, locked in the order of their ids.
pub(super) async fn ask_rows<'a>(session: &mut Session, ids: &[MessageId]) -> Result<Option<Answer<'a>>, Error> {
    if ids.is_empty() {
        return Ok(None);
    }
    let accounts = column(ids, |id| id.account().as_i64());
    session.ask(ROWS, params![accounts, column(ids, |id| id.0)]).await.map(Some)
}

/// One by one, as they are given: so they are found by their keys and locked in that order, whatever the server thinks of the table.
pub(super) const ROWS: &str = "SELECT m.*
     FROM UNNEST($1::bigint[], $2::uuid[]) AS k(account_no, id) CROSS JOIN LATERAL
     (SELECT m.state, m.flags, m.parts, m.part_states, m.unit_price, m.held, m.captured, m.error_code, m.final_at, m.batch_id, m.attempts,
             m.connection_no, m.carrier_error, m.due_at, m.sent_at, m.id, m.mms_price, m.country, m.ctid
      FROM message m WHERE m.account_no = k.account_no AND m.id = k.id OFFSET 0 FOR UPDATE) AS m";

/// Takes what `ask_rows` asked for.
pub(super) async fn take_rows(
    rows: Option<Answer<'_>>,
    read: &mut Read<'_>,
    places: &mut Places<'_>,
) -> Result<(), Error> {
    let Some(rows) = rows else { return Ok(()) };
    for r in rows.await? {
        let id = MessageId(r.try_get(15)?);
        places.rows.insert(id, r.try_get(18)?);
        read.rows.insert(id, row_of(&r)?.with_count(id));
    }
    Ok(())
}

fn parked_of(r: &tokio_postgres::Row) -> Result<Parked, Error> {
    let (tag, kind, error): (i64, i16, Option<i16>) = (r.try_get(3)?, r.try_get(4)?, r.try_get(5)?);
    let kind = if kind == 1 { ReceiptKind::Delivered } else { ReceiptKind::Failed { error: error.unwrap_or(0) } };
    let receipt = Receipt {
        connection: r.try_get(0)?,
        carrier_id: r.try_get(1)?,
        phone_tag: (tag != 0).then_some(tag),
        sender: None,
        kind,
        // It came too soon to be routed anew.
        reroute: false,
        scope: if r.try_get(9)? { Scope::Message } else { Scope::Part },
        carrier_error: r.try_get(6)?,
        at: r.try_get(7)?,
    };
    Ok(Parked { seq: r.try_get(2)?, receipt })
}

fn row_of(r: &tokio_postgres::Row) -> Result<Row, Error> {
    let state = State::from_number(r.try_get(0)?).unwrap_or(State::Failed);
    let (error, final_at): (Option<i16>, Option<i64>) = (r.try_get(7)?, r.try_get(8)?);
    let bytes: Option<&[u8]> = r.try_get(3)?;
    let (held, captured) = (Money(r.try_get(5)?), Money(r.try_get(6)?));
    let in_doubt = error == Some(ErrorCode::OutcomeUnknown.number());
    let progress = Progress {
        state,
        flags: Flags(r.try_get(1)?),
        parts: parts_of(r.try_get(2)?, bytes, state, in_doubt, final_at.is_some()),
        unit_price: Money(r.try_get(4)?),
        mms_price: r.try_get::<_, Option<i64>>(16)?.map(Money),
        held,
        captured,
        closed: final_at.is_some(),
        error,
    };
    Ok(Row {
        progress,
        batch: r.try_get(9)?,
        attempts: r.try_get(10)?,
        connection: r.try_get(11)?,
        carrier_error: r.try_get(12)?,
        due_at: r.try_get(13)?,
        sent_at: r.try_get(14)?,
        final_at,
        country: r.try_get(17)?,
        before: (state, held, captured),
        counted: None,
        dirty: false,
    })
}

/// Messages and references; the spans that are done.
pub(super) async fn write<'p>(
    writes: &mut Writes<'_, 'p>,
    plan: &Plan<'p>,
    rows: &FxHashMap<MessageId, Row>,
    places: &Places<'_>,
    spans_done: &'p [SpanKey],
    stored: Stored,
) -> Result<(), Error> {
    join_rows(writes, rows, places);
    join_refs(writes, plan, places, stored);
    if !plan.due_gone.is_empty() {
        let gone = &plan.due_gone;
        let sql = "DELETE FROM due_at d USING UNNEST($1::bigint[], $2::bigint[], $3::uuid[]) AS k(due_at, account_no, message_id)
                   WHERE d.due_at = k.due_at AND d.account_no = k.account_no AND d.message_id = k.message_id";
        let accounts = column(gone, |(_, id)| id.account().as_i64());
        writes.put(sql, params![column(gone, |(at, _)| *at), accounts, column(gone, |(_, id)| id.0)]).await?;
    }
    insert_due(writes, &plan.due_new).await?;
    if !spans_done.is_empty() {
        let sql = "DELETE FROM due_span d USING UNNEST($1::bigint[], $2::uuid[]) AS s(account_no, first_id)
                   WHERE d.account_no = s.account_no AND d.first_id = s.first_id";
        let accounts = column(spans_done, |s| s.first.account().as_i64());
        writes.join(sql, params![accounts, column(spans_done, |s| s.first.0)]);
    }
    write_unusual(writes, plan).await
}

/// Totals of batches.
pub(super) async fn write_batches(writes: &mut Writes<'_, '_>, plan: &Plan<'_>) -> Result<(), Error> {
    for ((account, batch), d) in &plan.batches {
        let sql =
            "UPDATE batch SET queued = queued + $3, sent = sent + $4, delivered = delivered + $5, failed = failed + $6,
                                    held = held + $7, captured = captured + $8 WHERE account_no = $1 AND id = $2";
        let [queued, sent, delivered, failed, held, captured] = *d;
        let counts = params![account.as_i64(), *batch, queued as i32, sent as i32, delivered as i32, failed as i32];
        writes.put(sql, counts.into_iter().chain(params![held, captured]).collect()).await?;
    }
    Ok(())
}

fn join_rows(writes: &mut Writes<'_, '_>, rows: &FxHashMap<MessageId, Row>, places: &Places<'_>) {
    let mut dirty: Vec<(&MessageId, &Row)> = rows.iter().filter(|(_, r)| r.dirty).collect();
    if dirty.is_empty() {
        return;
    }
    // As they lie: neighbours share pages.
    dirty.sort_unstable_by_key(|(id, _)| (id.account(), **id));
    let sql = "UPDATE message m SET state = k.state, held = k.held, captured = k.captured, attempts = k.attempts,
                      connection_no = k.connection_no, error_code = k.error_code, carrier_error = k.carrier_error, due_at = k.due_at,
                      sent_at = k.sent_at, final_at = k.final_at, part_states = k.part_states
               FROM UNNEST($1::tid[], $2::uuid[], $3::smallint[], $4::bigint[], $5::bigint[], $6::smallint[], $7::integer[], $8::smallint[],
                           $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bytea[])
                 AS k(place, id, state, held, captured, attempts, connection_no, error_code, carrier_error, due_at, sent_at, final_at, part_states)
               WHERE m.ctid = k.place AND m.id = k.id";
    let values = params![
        column(&dirty, |(id, _)| places.rows[id]),
        column(&dirty, |(id, _)| id.0),
        column(&dirty, |(_, r)| r.progress.state.number()),
        column(&dirty, |(_, r)| r.progress.held.0),
        column(&dirty, |(_, r)| r.progress.captured.0),
        column(&dirty, |(_, r)| r.attempts),
        column(&dirty, |(_, r)| r.connection),
        column(&dirty, |(_, r)| r.progress.error),
        column(&dirty, |(_, r)| r.carrier_error.clone()),
        column(&dirty, |(_, r)| r.due_at),
        column(&dirty, |(_, r)| r.sent_at),
        column(&dirty, |(_, r)| r.final_at),
        column(&dirty, |(_, r)| part_bytes(r.progress.parts.as_slice())),
    ];
    writes.join(sql, values);
}

const INSERT_REFS: &str = "INSERT INTO carrier_ref (connection_no, carrier_id, message_id, part, attempt, phone_tag)
     SELECT * FROM UNNEST($1::integer[], $2::text[], $3::uuid[], $4::smallint[], $5::smallint[], $6::bigint[])";

fn join_refs<'p>(writes: &mut Writes<'_, 'p>, plan: &Plan<'p>, places: &Places<'_>, stored: Stored) {
    let new: Vec<CarrierRef<'p>> = plan.refs_new.iter().flatten().copied().collect();
    if !new.is_empty() {
        let sql = match stored {
            Stored::No => INSERT_REFS.to_owned(),
            Stored::Perhaps => format!("{INSERT_REFS} ON CONFLICT DO NOTHING"),
        };
        let values = params![
            column(&new, |c| c.connection),
            new.iter().map(|c| c.carrier_id).collect::<Vec<&'p str>>(),
            column(&new, |c| c.id.0),
            column(&new, |c| i16::from(c.part)),
            column(&new, |c| i16::from(c.attempt)),
            column(&new, |c| c.phone_tag),
        ];
        writes.join(&sql, values);
    }
    let gone = &plan.refs_gone;
    if !gone.is_empty() {
        let sql = "DELETE FROM carrier_ref c USING UNNEST($1::tid[], $2::uuid[], $3::smallint[]) AS k(place, message_id, part)
                   WHERE c.ctid = k.place AND c.message_id = k.message_id AND c.part = k.part";
        let values = params![
            column(gone, |c| places.refs[&(c.connection, c.carrier_id, c.id, c.part)]),
            column(gone, |c| c.id.0),
            column(gone, |c| i16::from(c.part)),
        ];
        writes.join(sql, values);
    }
}

async fn write_unusual<'p>(writes: &mut Writes<'_, 'p>, plan: &Plan<'p>) -> Result<(), Error> {
    for (id, flags) in &plan.flags_new {
        let sql = "UPDATE message SET flags = $3 WHERE account_no = $1 AND id = $2";
        writes.put(sql, params![id.account().as_i64(), id.0, flags.0]).await?;
    }
    for a in &plan.attempts {
        let sql = "INSERT INTO attempt (account_no, message_id, attempt, part, connection_no, result, error_code, carrier_error, at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
        let key = params![a.id.account().as_i64(), a.id.0, i16::from(a.attempt), i16::from(a.part), a.connection];
        let rest = params![a.result as i16, a.error, a.carrier_error.clone(), a.at];
        writes.put(sql, key.into_iter().chain(rest).collect()).await?;
    }
    if !plan.claims_new.is_empty() {
        let new = &plan.claims_new;
        let sql = "INSERT INTO claim (connection_no, message_id, part, attempt, phone_tag, sender, submitted_at, decide_at, mms)
                   SELECT * FROM UNNEST($1::integer[], $2::uuid[], $3::smallint[], $4::smallint[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[],
                                        $9::boolean[])
                   ON CONFLICT DO NOTHING";
        let values = params![
            column(new, |c| c.attempt.connection),
            column(new, |c| c.attempt.id.0),
            column(new, |c| i16::from(c.attempt.part)),
            column(new, |c| i16::from(c.attempt.attempt)),
            column(new, |c| c.attempt.phone_tag),
            column(new, |c| c.sender.as_deref().map(str::to_owned)),
            column(new, |c| c.submitted_at),
            column(new, |c| c.decide_at),
            column(new, |c| c.mms),
        ];
        writes.put(sql, values).await?;
    }
    if !plan.claims_gone.is_empty() {
        let gone = &plan.claims_gone;
        let sql = "DELETE FROM claim c USING UNNEST($1::integer[], $2::uuid[], $3::smallint[], $4::smallint[]) AS k(connection_no, message_id, part, attempt)
                   WHERE c.connection_no = k.connection_no AND c.message_id = k.message_id AND c.part = k.part AND c.attempt = k.attempt";
        let values = params![
            column(gone, |a| a.connection),
            column(gone, |a| a.id.0),
            column(gone, |a| i16::from(a.part)),
            column(gone, |a| i16::from(a.attempt)),
        ];
        writes.put(sql, values).await?;
    }
    for (u, decide_at) in &plan.unknown_new {
        let a = &u.attempt;
        let sql = "INSERT INTO unknown_attempt (connection_no, phone_tag, message_id, part, attempt, sender, submitted_at, decide_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
        let key = params![a.connection, a.phone_tag, a.id.0, i16::from(a.part), i16::from(a.attempt)];
        let rest = params![u.sender.clone(), u.submitted_at, *decide_at];
        writes.put(sql, key.into_iter().chain(rest).collect()).await?;
    }
    for a in &plan.unknown_decided {
        let sql = "UPDATE unknown_attempt SET decide_at = NULL
                   WHERE connection_no = $1 AND phone_tag = $2 AND message_id = $3 AND part = $4 AND attempt = $5";
        on_attempt(writes, sql, a).await?;
    }
    for a in &plan.unknown_gone {
        let sql = "DELETE FROM unknown_attempt
                   WHERE connection_no = $1 AND phone_tag = $2 AND message_id = $3 AND part = $4 AND attempt = $5";
        on_attempt(writes, sql, a).await?;
    }
    Ok(())
}

async fn on_attempt(writes: &mut Writes<'_, '_>, sql: &'static str, a: &Attempted) -> Result<(), Error> {
    let key = params![a.connection, a.phone_tag, a.id.0, i16::from(a.part), i16::from(a.attempt)];
    writes.put(sql, key).await
}

/// The outbox and the parking.
pub(super) async fn write_events<'p>(
    writes: &mut Writes<'_, 'p>,
    plan: &Plan<'p>,
    ids: &mut IdSource,
    now: i64,
) -> Result<(), Error> {
    for (account, transitions) in &plan.events {
        let sql =
            "INSERT INTO event (account_no, id, kind, transitions, taken, created_at) VALUES ($1, $2, 0, $3, 0, $4)";
        let id = event_ids(ids, now, *account, transitions.len()).0;
        writes.put(sql, params![account.as_i64(), id, Transition::bytes(transitions), now]).await?;
    }
    if !plan.smpp.is_empty() {
        let sql = "INSERT INTO smpp_delivery (account_no, credential, seq, kind, subject, state)
                   SELECT account_no, credential, seq, 0, subject, state
                   FROM UNNEST($1::bigint[], $2::smallint[], $3::uuid[], $4::uuid[], $5::smallint[]) AS k(account_no, credential, seq, subject, state)";
        let values = params![
            column(&plan.smpp, |(id, _, _)| id.account().as_i64()),
            column(&plan.smpp, |(_, _, credential)| *credential as i16),
            plan.smpp.iter().map(|(id, _, _)| event_id(ids, now, id.account()).0).collect::<Vec<_>>(),
            column(&plan.smpp, |(id, _, _)| id.0),
            column(&plan.smpp, |(_, end, _)| end.number()),
        ];
        writes.put(sql, values).await?;
    }
    for r in plan.parked_new.iter().copied() {
        let (kind, error) = match r.kind {
            ReceiptKind::Failed { error } => (2i16, Some(error)),
            _ => (1, None),
        };
        let sql = "INSERT INTO parked_receipt (connection_no, carrier_id, seq, phone_tag, kind, error_code, carrier_error, received_at, whole)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let seq = event_id(ids, now, AccountNo::PLATFORM).0;
        let key = params![r.connection, r.carrier_id.as_str(), seq, r.phone_tag.unwrap_or(0)];
        let rest = params![kind, error, r.carrier_error.as_deref(), r.at, r.scope == Scope::Message];
        writes.put(sql, key.into_iter().chain(rest).collect()).await?;
    }
    for (connection, carrier_id, seq) in &plan.parked_gone {
        let sql = "DELETE FROM parked_receipt WHERE connection_no = $1 AND carrier_id = $2 AND seq = $3";
        writes.put(sql, params![*connection, carrier_id.clone(), *seq]).await?;
    }
    Ok(())
}
