//! What a settle commit reads and writes on PostgreSQL: each table once, columns as arrays.

use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::{Flags, Progress, State};
use carillon_domain::money::Money;
use rustc_hash::FxHashMap;
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use crate::StoreError;
use crate::event::{Transition, Watched};
use crate::hot::settle::{
    self, CarrierRef, OpenUnknown, Parked, Plan, Read, RefKey, Row, Wanted, part_bytes, parts_of,
};
use crate::hot::{Attempted, IdSource, Receipt, ReceiptKind, Scope, SettleItem, Settled, SpanKey, event_id, event_ids};

/// One column of a list as an array.
fn column<'t, T, C>(rows: &'t [T], of: impl Fn(&'t T) -> C) -> Vec<C> {
    rows.iter().map(of).collect()
}

/// All of it, in the transaction the caller opened and commits.
pub(super) async fn run(
    tx: &mut PgConnection,
    items: &[SettleItem],
    spans_done: &[SpanKey],
    ids: &mut IdSource,
    watched: &Watched,
    now: i64,
) -> Result<(Vec<Settled>, Option<String>), StoreError> {
    let (read, transaction) = read(&mut *tx, items).await?;
    let (plan, rows) = settle::plan(items, read, watched, now);
    write(&mut *tx, &plan, &rows).await?;
    write_events(&mut *tx, &plan, ids, now).await?;
    if !spans_done.is_empty() {
        sqlx::query(
            "DELETE FROM due_span d USING UNNEST($1::bigint[], $2::uuid[]) AS s(account_no, first_id)
             WHERE d.account_no = s.account_no AND d.first_id = s.first_id",
        )
        .bind(column(spans_done, |s| s.first.account().as_i64()))
        .bind(column(spans_done, |s| s.first.0))
        .execute(&mut *tx)
        .await?;
    }
    Ok((plan.settled, transaction))
}

async fn read<'a>(tx: &mut PgConnection, items: &'a [SettleItem]) -> Result<(Read<'a>, Option<String>), StoreError> {
    let mut wanted = settle::wanted(items);
    let mut read = Read::default();
    read_refs(&mut *tx, &mut wanted, &mut read).await?;
    read_unknowns(&mut *tx, items, &mut wanted, &mut read).await?;
    read_parked(&mut *tx, &wanted, &mut read).await?;
    read_parked_for(&mut *tx, &wanted, &mut read).await?;
    let ids = wanted.sorted_ids();
    if ids.is_empty() {
        return Ok((read, None));
    }
    // Accounts first and in order, as intake locks them; then the rows.
    let (_, transaction) = super::lock(&mut *tx, ids.iter().map(|id| id.account().as_i64()).collect()).await?;
    let rows = sqlx::query(
        "SELECT m.state, m.flags, m.parts, m.part_states, m.unit_price, m.held, m.captured, m.error_code, m.final_at, m.batch_id, m.attempts,
                m.connection_no, m.carrier_error, m.due_at, m.sent_at, m.id
         FROM UNNEST($1::bigint[], $2::uuid[]) AS k(account_no, id) JOIN message m ON m.account_no = k.account_no AND m.id = k.id",
    )
    .bind(column(ids, |id| id.account().as_i64()))
    .bind(column(ids, |id| id.0))
    .fetch_all(&mut *tx)
    .await?;
    for r in rows {
        read.rows.insert(MessageId(r.try_get(15)?), row_of(&r)?);
    }
    Ok((read, transaction))
}

/// The key at a place that UNNEST … WITH ORDINALITY counted from 1.
fn at<T: Copy>(keys: &[T], ordinal: i64) -> T {
    keys[ordinal as usize - 1]
}

async fn read_refs<'a>(tx: &mut PgConnection, wanted: &mut Wanted<'a>, read: &mut Read<'a>) -> Result<(), StoreError> {
    let keys = &wanted.receipts;
    if keys.is_empty() {
        return Ok(());
    }
    let found: Vec<(i64, Uuid, i16, i16, i64)> = sqlx::query_as(
        "SELECT k.n, c.message_id, c.part, c.attempt, c.phone_tag
         FROM UNNEST($1::integer[], $2::text[]) WITH ORDINALITY AS k(connection_no, carrier_id, n)
         JOIN carrier_ref c ON c.connection_no = k.connection_no AND c.carrier_id = k.carrier_id",
    )
    .bind(column(keys, |k| k.0))
    .bind(column(keys, |k| k.1))
    .fetch_all(tx)
    .await?;
    for (n, id, part, attempt, phone_tag) in found {
        let ((connection, carrier_id), id) = (at(keys, n), MessageId(id));
        wanted.ids.push(id);
        read.add_ref(CarrierRef { connection, carrier_id, id, part: part as u8, attempt: attempt as u8, phone_tag });
    }
    Ok(())
}

async fn read_unknowns<'a>(
    tx: &mut PgConnection,
    items: &[SettleItem],
    wanted: &mut Wanted<'a>,
    read: &mut Read<'a>,
) -> Result<(), StoreError> {
    let destinations = wanted.unmatched(items, read);
    if destinations.is_empty() {
        return Ok(());
    }
    let found: Vec<(i64, Uuid, i16, i16, Option<String>, i64)> = sqlx::query_as(
        "SELECT k.n, u.message_id, u.part, u.attempt, u.sender, u.submitted_at
         FROM UNNEST($1::integer[], $2::bigint[]) WITH ORDINALITY AS k(connection_no, phone_tag, n)
         JOIN unknown_attempt u ON u.connection_no = k.connection_no AND u.phone_tag = k.phone_tag",
    )
    .bind(column(&destinations, |d| d.0))
    .bind(column(&destinations, |d| d.1))
    .fetch_all(tx)
    .await?;
    for (n, id, part, attempt, sender, submitted_at) in found {
        let ((connection, phone_tag), id) = (at(&destinations, n), MessageId(id));
        let attempt = Attempted { connection, phone_tag, id, part: part as u8, attempt: attempt as u8 };
        wanted.ids.push(id);
        read.add_unknown(OpenUnknown { attempt, sender, submitted_at });
    }
    Ok(())
}

async fn read_parked<'a>(tx: &mut PgConnection, wanted: &Wanted<'a>, read: &mut Read<'a>) -> Result<(), StoreError> {
    let keys: Vec<RefKey<'a>> = wanted.accepted.keys().copied().collect();
    if keys.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(
        "SELECT p.connection_no, p.carrier_id, p.seq, p.phone_tag, p.kind, p.error_code, p.carrier_error, p.received_at, k.n, p.whole
         FROM UNNEST($1::integer[], $2::text[]) WITH ORDINALITY AS k(connection_no, carrier_id, n)
         JOIN parked_receipt p ON p.connection_no = k.connection_no AND p.carrier_id = k.carrier_id ORDER BY p.seq",
    )
    .bind(column(&keys, |k| k.0))
    .bind(column(&keys, |k| k.1))
    .fetch_all(tx)
    .await?;
    for r in rows {
        read.parked.entry(at(&keys, r.try_get(8)?)).or_default().push(parked_of(&r)?);
    }
    Ok(())
}

async fn read_parked_for(tx: &mut PgConnection, wanted: &Wanted<'_>, read: &mut Read<'_>) -> Result<(), StoreError> {
    let silent = &wanted.silent;
    if silent.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(
        "SELECT p.connection_no, p.carrier_id, p.seq, p.phone_tag, p.kind, p.error_code, p.carrier_error, p.received_at, k.n, p.whole
         FROM UNNEST($1::integer[], $2::bigint[]) WITH ORDINALITY AS k(connection_no, phone_tag, n)
         JOIN parked_receipt p ON p.connection_no = k.connection_no AND p.phone_tag = k.phone_tag ORDER BY p.seq",
    )
    .bind(column(silent, |k| k.0))
    .bind(column(silent, |k| k.1))
    .fetch_all(tx)
    .await?;
    for r in rows {
        read.parked_for.entry(at(silent, r.try_get(8)?)).or_default().push(parked_of(&r)?);
    }
    Ok(())
}

fn parked_of(r: &PgRow) -> Result<Parked, StoreError> {
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

fn row_of(r: &PgRow) -> Result<Row, StoreError> {
    let state = State::from_number(r.try_get(0)?).unwrap_or(State::Failed);
    let (error, final_at): (Option<i16>, Option<i64>) = (r.try_get(7)?, r.try_get(8)?);
    let bytes: Option<Vec<u8>> = r.try_get(3)?;
    let (held, captured) = (Money(r.try_get(5)?), Money(r.try_get(6)?));
    let in_doubt = error == Some(ErrorCode::OutcomeUnknown.number());
    let progress = Progress {
        state,
        flags: Flags(r.try_get(1)?),
        parts: parts_of(r.try_get(2)?, bytes.as_deref(), state, in_doubt, final_at.is_some()),
        unit_price: Money(r.try_get(4)?),
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
        before: (state, held, captured),
        dirty: false,
    })
}

/// Messages, references, money and totals.
async fn write(tx: &mut PgConnection, plan: &Plan<'_>, rows: &FxHashMap<MessageId, Row>) -> Result<(), StoreError> {
    let dirty: Vec<(&MessageId, &Row)> = rows.iter().filter(|(_, r)| r.dirty).collect();
    if !dirty.is_empty() {
        sqlx::query(
            "UPDATE message m SET state = k.state, held = k.held, captured = k.captured, attempts = k.attempts,
                    connection_no = k.connection_no, error_code = k.error_code, carrier_error = k.carrier_error, due_at = k.due_at,
                    sent_at = k.sent_at, final_at = k.final_at, part_states = k.part_states
             FROM UNNEST($1::bigint[], $2::uuid[], $3::smallint[], $4::bigint[], $5::bigint[], $6::smallint[], $7::integer[], $8::smallint[],
                         $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bytea[])
               AS k(account_no, id, state, held, captured, attempts, connection_no, error_code, carrier_error, due_at, sent_at, final_at, part_states)
             WHERE m.account_no = k.account_no AND m.id = k.id",
        )
        .bind(column(&dirty, |(id, _)| id.account().as_i64()))
        .bind(column(&dirty, |(id, _)| id.0))
        .bind(column(&dirty, |(_, r)| r.progress.state.number()))
        .bind(column(&dirty, |(_, r)| r.progress.held.0))
        .bind(column(&dirty, |(_, r)| r.progress.captured.0))
        .bind(column(&dirty, |(_, r)| r.attempts))
        .bind(column(&dirty, |(_, r)| r.connection))
        .bind(column(&dirty, |(_, r)| r.progress.error))
        .bind(column(&dirty, |(_, r)| r.carrier_error.as_deref()))
        .bind(column(&dirty, |(_, r)| r.due_at))
        .bind(column(&dirty, |(_, r)| r.sent_at))
        .bind(column(&dirty, |(_, r)| r.final_at))
        .bind(column(&dirty, |(_, r)| part_bytes(r.progress.parts.as_slice())))
        .execute(&mut *tx)
        .await?;
    }
    write_refs(tx, plan).await?;
    if !plan.due_gone.is_empty() {
        sqlx::query(
            "DELETE FROM due_at d USING UNNEST($1::bigint[], $2::bigint[], $3::uuid[]) AS k(due_at, account_no, message_id)
             WHERE d.due_at = k.due_at AND d.account_no = k.account_no AND d.message_id = k.message_id",
        )
        .bind(column(&plan.due_gone, |(at, _)| *at))
        .bind(column(&plan.due_gone, |(_, id)| id.account().as_i64()))
        .bind(column(&plan.due_gone, |(_, id)| id.0))
        .execute(&mut *tx)
        .await?;
    }
    super::insert_due(&mut *tx, &plan.due_new).await?;
    let money: Vec<_> = plan.money.iter().collect();
    if !money.is_empty() {
        sqlx::query(
            "UPDATE balance b SET available = b.available + k.released, held = b.held - k.captured - k.released, spent = b.spent + k.captured
             FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[]) AS k(account_no, captured, released) WHERE b.account_no = k.account_no",
        )
        .bind(column(&money, |(a, _)| a.as_i64()))
        .bind(column(&money, |(_, m)| m.0.0))
        .bind(column(&money, |(_, m)| m.1.0))
        .execute(&mut *tx)
        .await?;
    }
    for ((account, batch), d) in &plan.batches {
        sqlx::query(
            "UPDATE batch SET queued = queued + $3, sent = sent + $4, delivered = delivered + $5, failed = failed + $6,
                              held = held + $7, captured = captured + $8 WHERE account_no = $1 AND id = $2",
        )
        .bind(account.as_i64())
        .bind(batch)
        .bind(d[0] as i32)
        .bind(d[1] as i32)
        .bind(d[2] as i32)
        .bind(d[3] as i32)
        .bind(d[4])
        .bind(d[5])
        .execute(&mut *tx)
        .await?;
    }
    write_unusual(tx, plan).await
}

async fn write_refs(tx: &mut PgConnection, plan: &Plan<'_>) -> Result<(), StoreError> {
    let new: Vec<CarrierRef<'_>> = plan.refs_new.iter().flatten().copied().collect();
    if !new.is_empty() {
        sqlx::query(
            "INSERT INTO carrier_ref (connection_no, carrier_id, message_id, part, attempt, phone_tag)
             SELECT * FROM UNNEST($1::integer[], $2::text[], $3::uuid[], $4::smallint[], $5::smallint[], $6::bigint[])
             ON CONFLICT DO NOTHING",
        )
        .bind(column(&new, |c| c.connection))
        .bind(column(&new, |c| c.carrier_id))
        .bind(column(&new, |c| c.id.0))
        .bind(column(&new, |c| i16::from(c.part)))
        .bind(column(&new, |c| i16::from(c.attempt)))
        .bind(column(&new, |c| c.phone_tag))
        .execute(&mut *tx)
        .await?;
    }
    let gone = &plan.refs_gone;
    if !gone.is_empty() {
        sqlx::query(
            "DELETE FROM carrier_ref c USING UNNEST($1::integer[], $2::text[], $3::uuid[], $4::smallint[]) AS k(connection_no, carrier_id, message_id, part)
             WHERE c.connection_no = k.connection_no AND c.carrier_id = k.carrier_id AND c.message_id = k.message_id AND c.part = k.part",
        )
        .bind(column(gone, |c| c.connection))
        .bind(column(gone, |c| c.carrier_id))
        .bind(column(gone, |c| c.id.0))
        .bind(column(gone, |c| i16::from(c.part)))
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

async fn write_unusual(tx: &mut PgConnection, plan: &Plan<'_>) -> Result<(), StoreError> {
    for a in &plan.attempts {
        sqlx::query(
            "INSERT INTO attempt (account_no, message_id, attempt, part, connection_no, result, error_code, carrier_error, at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        )
        .bind(a.id.account().as_i64())
        .bind(a.id.0)
        .bind(i16::from(a.attempt))
        .bind(i16::from(a.part))
        .bind(a.connection)
        .bind(a.result as i16)
        .bind(a.error)
        .bind(&a.carrier_error)
        .bind(a.at)
        .execute(&mut *tx)
        .await?;
    }
    if !plan.claims_new.is_empty() {
        let all = &plan.claims_new;
        sqlx::query(
            "INSERT INTO claim (connection_no, message_id, part, attempt, phone_tag, sender, submitted_at, decide_at)
             SELECT * FROM UNNEST($1::int[], $2::uuid[], $3::smallint[], $4::smallint[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[])
             ON CONFLICT DO NOTHING",
        )
        .bind(all.iter().map(|c| c.attempt.connection).collect::<Vec<_>>())
        .bind(all.iter().map(|c| c.attempt.id.0).collect::<Vec<_>>())
        .bind(all.iter().map(|c| i16::from(c.attempt.part)).collect::<Vec<_>>())
        .bind(all.iter().map(|c| i16::from(c.attempt.attempt)).collect::<Vec<_>>())
        .bind(all.iter().map(|c| c.attempt.phone_tag).collect::<Vec<_>>())
        .bind(all.iter().map(|c| c.sender.as_deref().map(str::to_owned)).collect::<Vec<_>>())
        .bind(all.iter().map(|c| c.submitted_at).collect::<Vec<_>>())
        .bind(all.iter().map(|c| c.decide_at).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    }
    if !plan.claims_gone.is_empty() {
        let gone = &plan.claims_gone;
        sqlx::query(
            "DELETE FROM claim WHERE (connection_no, message_id, part, attempt) IN
             (SELECT * FROM UNNEST($1::int[], $2::uuid[], $3::smallint[], $4::smallint[]))",
        )
        .bind(gone.iter().map(|a| a.connection).collect::<Vec<_>>())
        .bind(gone.iter().map(|a| a.id.0).collect::<Vec<_>>())
        .bind(gone.iter().map(|a| i16::from(a.part)).collect::<Vec<_>>())
        .bind(gone.iter().map(|a| i16::from(a.attempt)).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    }
    for (u, decide_at) in &plan.unknown_new {
        let a = &u.attempt;
        sqlx::query(
            "INSERT INTO unknown_attempt (connection_no, phone_tag, message_id, part, attempt, sender, submitted_at, decide_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        )
        .bind(a.connection)
        .bind(a.phone_tag)
        .bind(a.id.0)
        .bind(i16::from(a.part))
        .bind(i16::from(a.attempt))
        .bind(&u.sender)
        .bind(u.submitted_at)
        .bind(decide_at)
        .execute(&mut *tx)
        .await?;
    }
    for a in &plan.unknown_decided {
        let sql = "UPDATE unknown_attempt SET decide_at = NULL
                   WHERE connection_no = $1 AND phone_tag = $2 AND message_id = $3 AND part = $4 AND attempt = $5";
        on_attempt(&mut *tx, sql, a).await?;
    }
    for a in &plan.unknown_gone {
        let sql = "DELETE FROM unknown_attempt
                   WHERE connection_no = $1 AND phone_tag = $2 AND message_id = $3 AND part = $4 AND attempt = $5";
        on_attempt(&mut *tx, sql, a).await?;
    }
    Ok(())
}

async fn on_attempt(tx: &mut PgConnection, sql: &'static str, a: &Attempted) -> Result<(), StoreError> {
    sqlx::query(sql)
        .bind(a.connection)
        .bind(a.phone_tag)
        .bind(a.id.0)
        .bind(i16::from(a.part))
        .bind(i16::from(a.attempt))
        .execute(tx)
        .await?;
    Ok(())
}

/// The outbox and the parking.
async fn write_events(tx: &mut PgConnection, plan: &Plan<'_>, ids: &mut IdSource, now: i64) -> Result<(), StoreError> {
    for (account, transitions) in &plan.events {
        sqlx::query(
            "INSERT INTO event (account_no, id, kind, transitions, taken, created_at) VALUES ($1, $2, 0, $3, 0, $4)",
        )
        .bind(account.as_i64())
        .bind(event_ids(ids, now, *account, transitions.len()).0)
        .bind(Transition::bytes(transitions))
        .bind(now)
        .execute(&mut *tx)
        .await?;
    }
    if !plan.smpp.is_empty() {
        sqlx::query(
            "INSERT INTO smpp_delivery (account_no, credential, seq, kind, subject, state)
             SELECT account_no, credential, seq, 0, subject, state
             FROM UNNEST($1::bigint[], $2::smallint[], $3::uuid[], $4::uuid[], $5::smallint[]) AS k(account_no, credential, seq, subject, state)",
        )
        .bind(column(&plan.smpp, |(id, _, _)| id.account().as_i64()))
        .bind(column(&plan.smpp, |(_, _, credential)| *credential as i16))
        .bind(plan.smpp.iter().map(|(id, _, _)| event_id(ids, now, id.account()).0).collect::<Vec<_>>())
        .bind(column(&plan.smpp, |(id, _, _)| id.0))
        .bind(column(&plan.smpp, |(_, end, _)| end.number()))
        .execute(&mut *tx)
        .await?;
    }
    for r in &plan.parked_new {
        let (kind, error) = match r.kind {
            ReceiptKind::Failed { error } => (2i16, Some(error)),
            _ => (1, None),
        };
        sqlx::query(
            "INSERT INTO parked_receipt (connection_no, carrier_id, seq, phone_tag, kind, error_code, carrier_error, received_at, whole)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(r.connection)
        .bind(&r.carrier_id)
        .bind(event_id(ids, now, AccountNo::PLATFORM).0)
        .bind(r.phone_tag.unwrap_or(0))
        .bind(kind)
        .bind(error)
        .bind(&r.carrier_error)
        .bind(r.at)
        .bind(r.scope == Scope::Message)
        .execute(&mut *tx)
        .await?;
    }
    for (connection, carrier_id, seq) in &plan.parked_gone {
        sqlx::query("DELETE FROM parked_receipt WHERE connection_no = $1 AND carrier_id = $2 AND seq = $3")
            .bind(connection)
            .bind(carrier_id)
            .bind(seq)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}
