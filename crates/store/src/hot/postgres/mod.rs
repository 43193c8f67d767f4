//! The hot path on PostgreSQL: `sqlx`, one statement per table and commit, columns as arrays through UNNEST.

mod read;
mod settle;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::money::Money;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};
use sqlx::{Connection, Postgres, Transaction};
use tokio::time::Instant;
use uuid::Uuid;

use super::intake::{self, refusals_json};
use super::{
    IdSource, IntakeRequest, NewMessage, SettleItem, Settled, SpanKey, Verdict, day_of, oldest_of, seal_phone,
    seal_text,
};
use crate::StoreError;
use crate::event::Watched;

pub(crate) use read::Reader;

/// The one writer of the hot path in this process, on a connection of its own.
pub struct Writer {
    options: Arc<PgConnectOptions>,
    /// `None` until it is needed, and after it was lost.
    connection: Option<PgConnection>,
    ids: IdSource,
    pub(super) watched: Watched,
}

type Conn<'a> = &'a mut PgConnection;

/// Why a transaction has no answer.
enum Failed<T> {
    /// It did not happen.
    Undone(StoreError),
    /// Its commit was not answered: whether it happened is to be asked by its number.
    InDoubt { transaction: String, answer: T, error: StoreError },
}

impl<T, E: Into<StoreError>> From<E> for Failed<T> {
    fn from(error: E) -> Failed<T> {
        Failed::Undone(error.into())
    }
}

impl Writer {
    pub(super) async fn open(pool: &PgPool, ids: IdSource) -> Result<Writer, StoreError> {
        // Every statement here finds rows by their keys. Plans made while the tables were small would scan and hash them for ever after.
        let plans = [
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("jit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
        ];
        let options = Arc::new(pool.connect_options().as_ref().clone().options(plans));
        let mut writer = Writer { options, connection: None, ids, watched: Watched::default() };
        writer.connected().await?;
        Ok(writer)
    }

    async fn connected(&mut self) -> Result<(), StoreError> {
        if self.connection.is_none() {
            self.connection = Some(PgConnection::connect_with(&self.options).await?);
        }
        Ok(())
    }

    pub(super) async fn commit_intake(
        &mut self,
        requests: &[IntakeRequest],
        now: i64,
    ) -> Result<Vec<Verdict>, StoreError> {
        self.connected().await?;
        let connection = self.connection.as_mut().expect("just connected");
        let done = intake_tx(connection, requests, &mut self.ids, now).await;
        self.resolve(done).await
    }

    pub(super) async fn commit_settle(
        &mut self,
        items: &[SettleItem],
        spans_done: &[SpanKey],
        now: i64,
    ) -> Result<Vec<Settled>, StoreError> {
        self.connected().await?;
        let connection = self.connection.as_mut().expect("just connected");
        let done = settle_tx(connection, items, spans_done, &mut self.ids, &self.watched, now).await;
        self.resolve(done).await
    }

    /// A commit whose answer was lost is asked about before anyone is answered.
    async fn resolve<T>(&mut self, done: Result<T, Failed<T>>) -> Result<T, StoreError> {
        match done {
            Ok(answer) => Ok(answer),
            Err(Failed::Undone(error)) => {
                if matches!(error, StoreError::Unavailable(_)) {
                    self.connection = None;
                }
                Err(error)
            }
            Err(Failed::InDoubt { transaction, answer, error }) => {
                self.connection = None;
                if self.happened(&transaction).await? { Ok(answer) } else { Err(error) }
            }
        }
    }

    /// Whether a transaction was committed, as soon as the server knows: it may not have noticed the loss of the connection yet.
    async fn happened(&mut self, transaction: &str) -> Result<bool, StoreError> {
        const PATIENCE: Duration = Duration::from_secs(60);
        let asked_at = Instant::now();
        loop {
            let status = self.status(transaction).await;
            if let Ok(known @ ("committed" | "aborted")) = status.as_deref() {
                return Ok(known == "committed");
            }
            if asked_at.elapsed() > PATIENCE {
                return Err(StoreError::Unavailable(format!(
                    "whether transaction {transaction} happened is not known"
                )));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn status(&mut self, transaction: &str) -> Result<String, StoreError> {
        self.connected().await?;
        let connection = self.connection.as_mut().expect("just connected");
        let asked = sqlx::query_scalar("SELECT COALESCE(pg_xact_status($1::text::xid8), '')")
            .bind(transaction)
            .fetch_one(connection)
            .await;
        if asked.is_err() {
            self.connection = None;
        }
        Ok(asked?)
    }

    pub(super) async fn discard_loading(&mut self) -> Result<u64, StoreError> {
        self.connected().await?;
        let mut tx = self.connection.as_mut().expect("just connected").begin().await?;
        let loading: Vec<(i64, Uuid, i64)> =
            sqlx::query_as("SELECT account_no, id, held FROM batch WHERE state = 0 ORDER BY account_no, id FOR UPDATE")
                .fetch_all(&mut *tx)
                .await?;
        for (account, batch, held) in &loading {
            discard(&mut tx, *account, *batch, *held).await?;
        }
        tx.commit().await?;
        // A connection belongs to the runtime it was made in. This was the start's; the writer commits in one of its own.
        self.connection = None;
        Ok(loading.len() as u64)
    }
}

/// Erases one batch and returns its hold.
async fn discard(tx: Conn<'_>, account: i64, batch: Uuid, held: i64) -> Result<(), StoreError> {
    let oldest = oldest_of(batch);
    for sql in [
        "DELETE FROM due_at WHERE account_no = $1 AND message_id IN
         (SELECT id FROM message WHERE account_no = $1 AND id >= $2 AND batch_id = $3)",
        "DELETE FROM message WHERE account_no = $1 AND id >= $2 AND batch_id = $3",
    ] {
        sqlx::query(sql).bind(account).bind(oldest).bind(batch).execute(&mut *tx).await?;
    }
    // A span may hold other messages of its commit as well: only what is empty now goes.
    let spans: Vec<(Uuid, i32)> =
        sqlx::query_as("SELECT first_id, count FROM due_span WHERE account_no = $1 AND first_id >= $2")
            .bind(account)
            .bind(oldest)
            .fetch_all(&mut *tx)
            .await?;
    for (first, count) in spans {
        let last = MessageId(first).nth(count.max(1) as u32 - 1).0;
        let sql = "DELETE FROM due_span WHERE account_no = $1 AND first_id = $2
                   AND NOT EXISTS (SELECT 1 FROM message WHERE account_no = $1 AND id BETWEEN $2 AND $3)";
        sqlx::query(sql).bind(account).bind(first).bind(last).execute(&mut *tx).await?;
    }
    for sql in [
        "DELETE FROM idempotency WHERE account_no = $1 AND resource = $2",
        "DELETE FROM batch WHERE account_no = $1 AND id = $2",
    ] {
        sqlx::query(sql).bind(account).bind(batch).execute(&mut *tx).await?;
    }
    let sql = "UPDATE balance SET available = available + $2, held = held - $2 WHERE account_no = $1";
    sqlx::query(sql).bind(account).bind(held).execute(&mut *tx).await?;
    Ok(())
}

async fn intake_tx(
    connection: Conn<'_>,
    requests: &[IntakeRequest],
    ids: &mut IdSource,
    now: i64,
) -> Result<Vec<Verdict>, Failed<Vec<Verdict>>> {
    let mut tx = connection.begin().await?;
    let (read, transaction) = read_intake(&mut tx, requests, now).await?;
    let plan = intake::plan(requests, &read, ids, now);
    write_intake(&mut tx, requests, &plan, now).await?;
    commit(tx, transaction, plan.verdicts).await
}

async fn settle_tx(
    connection: Conn<'_>,
    items: &[SettleItem],
    spans_done: &[SpanKey],
    ids: &mut IdSource,
    watched: &Watched,
    now: i64,
) -> Result<Vec<Settled>, Failed<Vec<Settled>>> {
    let mut tx = connection.begin().await?;
    let (settled, transaction) = settle::run(&mut tx, items, spans_done, ids, watched, now).await?;
    commit(tx, transaction, settled).await
}

/// Without a number nothing was locked, and what little was written may be written again.
async fn commit<T>(tx: Transaction<'_, Postgres>, transaction: Option<String>, answer: T) -> Result<T, Failed<T>> {
    match (tx.commit().await, transaction) {
        (Ok(()), _) => Ok(answer),
        (Err(error), Some(transaction)) => Err(Failed::InDoubt { transaction, answer, error: error.into() }),
        (Err(error), None) => Err(error.into()),
    }
}

/// Locks accounts in order. Their available money, and the number of the transaction, by which the server tells later whether it
/// happened: together, because each question costs a journey.
async fn lock(tx: Conn<'_>, accounts: BTreeSet<i64>) -> Result<(Vec<(i64, i64)>, Option<String>), StoreError> {
    let rows: Vec<(i64, i64, String)> = sqlx::query_as(
        "SELECT account_no, available, pg_current_xact_id()::text FROM balance WHERE account_no = ANY($1) ORDER BY account_no FOR UPDATE",
    )
    .bind(accounts.into_iter().collect::<Vec<_>>())
    .fetch_all(tx)
    .await?;
    let transaction = rows.first().map(|r| r.2.clone());
    Ok((rows.into_iter().map(|(no, available, _)| (no, available)).collect(), transaction))
}

async fn read_intake(
    tx: Conn<'_>,
    requests: &[IntakeRequest],
    now: i64,
) -> Result<(intake::Read, Option<String>), StoreError> {
    let (balances, transaction) = lock(&mut *tx, requests.iter().map(|r| r.account.as_i64()).collect()).await?;
    let available = balances.into_iter().map(|(no, available)| (AccountNo::from_i64(no), Money(available))).collect();
    let mut read = intake::Read { available, ..intake::Read::default() };
    let keyed: Vec<_> = requests.iter().filter_map(|r| r.key.map(|k| (r.account.as_i64(), k.key.to_vec()))).collect();
    if !keyed.is_empty() {
        let (accounts, keys): (Vec<i64>, Vec<Vec<u8>>) = keyed.into_iter().unzip();
        let used: Vec<(i64, Vec<u8>, Vec<u8>, Uuid)> = sqlx::query_as(
            "SELECT i.account_no, i.key_hash, i.fingerprint, i.resource
             FROM UNNEST($1::bigint[], $2::bytea[]) AS k(account_no, key_hash)
             JOIN idempotency i ON i.account_no = k.account_no AND i.key_hash = k.key_hash AND i.day IN ($3, $4)",
        )
        .bind(&accounts)
        .bind(&keys)
        .bind(day_of(now))
        .bind(day_of(now) - 1)
        .fetch_all(&mut *tx)
        .await?;
        for (account, key, fingerprint, resource) in used {
            let sixteen = |bytes: Vec<u8>| {
                <[u8; 16]>::try_from(bytes).map_err(|_| StoreError::Broken("a hash of another size".into()))
            };
            read.keys.insert((AccountNo::from_i64(account), sixteen(key)?), (sixteen(fingerprint)?, resource));
        }
    }
    Ok((read, transaction))
}

/// The columns of new messages.
#[derive(Default)]
struct MessageColumns {
    account: Vec<i64>,
    id: Vec<Uuid>,
    batch: Vec<Option<Uuid>>,
    state: Vec<i16>,
    lane: Vec<i16>,
    category: Vec<i16>,
    flags: Vec<i32>,
    encoding: Vec<i16>,
    parts: Vec<i32>,
    phone: Vec<Vec<u8>>,
    phone_tag: Vec<i64>,
    sender: Vec<Option<String>>,
    body: Vec<Option<Vec<u8>>>,
    otp_code: Vec<Option<Vec<u8>>>,
    unit_price: Vec<i64>,
    held: Vec<i64>,
    reference: Vec<Option<i32>>,
    due_at: Vec<Option<i64>>,
    expires_at: Vec<i64>,
    client_ref: Vec<Option<String>>,
    tags: Vec<Option<String>>,
    callback_url: Vec<Option<String>>,
}

impl MessageColumns {
    fn push(&mut self, id: MessageId, batch: Option<Uuid>, m: &NewMessage) {
        let extra = m.extra.as_deref();
        self.account.push(id.account().as_i64());
        self.id.push(id.0);
        self.batch.push(batch);
        self.state.push(m.state().number());
        self.lane.push(m.lane.number());
        self.category.push(m.category.number());
        self.flags.push(m.flags.0);
        self.encoding.push(m.encoding);
        self.parts.push(i32::from(m.parts));
        self.phone.push(seal_phone(m.phone).to_vec());
        self.phone_tag.push(m.phone_tag);
        self.sender.push(m.sender.as_deref().map(str::to_owned));
        self.body.push(m.own_body.then(|| seal_text(&m.body)));
        self.otp_code.push(m.otp_code.as_deref().map(seal_text));
        self.unit_price.push(m.unit_price.0);
        self.held.push(m.held().0);
        self.reference.push(m.reference.map(i32::from));
        self.due_at.push(m.due_at);
        self.expires_at.push(m.expires_at);
        self.client_ref.push(extra.and_then(|e| e.client_ref.clone()));
        self.tags.push(extra.and_then(|e| e.tags.clone()));
        self.callback_url.push(extra.and_then(|e| e.callback_url.clone()));
    }

    async fn insert(self, tx: Conn<'_>) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO message (account_no, id, batch_id, state, lane, category, flags, encoding, parts, phone, phone_tag, sender, body,
                                  otp_code, unit_price, held, captured, attempts, reference, due_at, expires_at, client_ref, tags, callback_url)
             SELECT account_no, id, batch_id, state, lane, category, flags, encoding, parts, phone, phone_tag, sender, body,
                    otp_code, unit_price, held, 0, 0, reference, due_at, expires_at, client_ref, tags, callback_url
             FROM UNNEST($1::bigint[], $2::uuid[], $3::uuid[], $4::smallint[], $5::smallint[], $6::smallint[], $7::integer[], $8::smallint[],
                         $9::integer[], $10::bytea[], $11::bigint[], $12::text[], $13::bytea[], $14::bytea[], $15::bigint[], $16::bigint[],
                         $17::integer[], $18::bigint[], $19::bigint[], $20::text[], $21::text[], $22::text[])
               AS m(account_no, id, batch_id, state, lane, category, flags, encoding, parts, phone, phone_tag, sender, body,
                    otp_code, unit_price, held, reference, due_at, expires_at, client_ref, tags, callback_url)",
        )
        .bind(self.account)
        .bind(self.id)
        .bind(self.batch)
        .bind(self.state)
        .bind(self.lane)
        .bind(self.category)
        .bind(self.flags)
        .bind(self.encoding)
        .bind(self.parts)
        .bind(self.phone)
        .bind(self.phone_tag)
        .bind(self.sender)
        .bind(self.body)
        .bind(self.otp_code)
        .bind(self.unit_price)
        .bind(self.held)
        .bind(self.reference)
        .bind(self.due_at)
        .bind(self.expires_at)
        .bind(self.client_ref)
        .bind(self.tags)
        .bind(self.callback_url)
        .execute(tx)
        .await?;
        Ok(())
    }
}

async fn write_intake(
    tx: Conn<'_>,
    requests: &[IntakeRequest],
    plan: &intake::Plan<'_>,
    now: i64,
) -> Result<(), StoreError> {
    let mut columns = MessageColumns::default();
    let mut due = Vec::new();
    for (request, verdict) in requests.iter().zip(&plan.verdicts) {
        let Verdict::Accepted { first, count, .. } = verdict else { continue };
        let batch = request.step.batch();
        for (place, message) in request.messages.iter().take(*count as usize).enumerate() {
            let id = first.nth(place as u32);
            columns.push(id, batch, message);
            due.extend(message.due_at.map(|at| (at, id)));
        }
    }
    if !columns.id.is_empty() {
        columns.insert(&mut *tx).await?;
    }
    insert_due(&mut *tx, &due).await?;
    if !plan.holds.is_empty() {
        let (accounts, holds): (Vec<i64>, Vec<i64>) = plan.holds.iter().map(|(a, h)| (a.as_i64(), h.0)).unzip();
        sqlx::query(
            "UPDATE balance b SET available = b.available - h.amount, held = b.held + h.amount
             FROM UNNEST($1::bigint[], $2::bigint[]) AS h(account_no, amount) WHERE b.account_no = h.account_no",
        )
        .bind(accounts)
        .bind(holds)
        .execute(&mut *tx)
        .await?;
    }
    if !plan.spans.is_empty() {
        let s = &plan.spans;
        sqlx::query(
            "INSERT INTO due_span (account_no, first_id, lane, count)
             SELECT * FROM UNNEST($1::bigint[], $2::uuid[], $3::smallint[], $4::integer[])",
        )
        .bind(s.iter().map(|s| s.key.first.account().as_i64()).collect::<Vec<_>>())
        .bind(s.iter().map(|s| s.key.first.0).collect::<Vec<_>>())
        .bind(s.iter().map(|s| s.lane.number()).collect::<Vec<_>>())
        .bind(s.iter().map(|s| s.count as i32).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    }
    if !plan.keys.is_empty() {
        let k = &plan.keys;
        sqlx::query(
            "INSERT INTO idempotency (day, account_no, key_hash, fingerprint, resource, kind)
             SELECT $1, k.* FROM UNNEST($2::bigint[], $3::bytea[], $4::bytea[], $5::uuid[], $6::smallint[]) AS k",
        )
        .bind(day_of(now))
        .bind(k.iter().map(|k| k.account.as_i64()).collect::<Vec<_>>())
        .bind(k.iter().map(|k| k.key.key.to_vec()).collect::<Vec<_>>())
        .bind(k.iter().map(|k| k.key.fingerprint.to_vec()).collect::<Vec<_>>())
        .bind(k.iter().map(|k| k.resource).collect::<Vec<_>>())
        .bind(k.iter().map(|k| k.kind).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    }
    for b in &plan.batches {
        sqlx::query(
            "INSERT INTO batch (account_no, id, state, body, total, queued, sent, delivered, failed, parts, held, captured, client_ref, tags, refusals, created_at)
             VALUES ($1, $2, $3, $4, $5, $5, 0, 0, 0, $6, $7, 0, $8, $9, $10, $11)",
        )
        .bind(b.account.as_i64())
        .bind(b.batch.id.0)
        .bind(i16::from(b.accepted))
        .bind(b.batch.body.as_deref().map(seal_text))
        .bind(b.totals.messages as i32)
        .bind(b.totals.parts as i64)
        .bind(b.totals.held.0)
        .bind(&b.batch.client_ref)
        .bind(&b.batch.tags)
        .bind(refusals_json(&b.refusals))
        .bind(now)
        .execute(&mut *tx)
        .await?;
    }
    for (account, id) in &plan.sealed {
        sqlx::query("UPDATE batch SET state = 1 WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(id)
            .execute(&mut *tx)
            .await?;
    }
    for (account, id) in &plan.discarded {
        let held: Option<(i64,)> =
            sqlx::query_as("SELECT held FROM batch WHERE account_no = $1 AND id = $2 AND state = 0 FOR UPDATE")
                .bind(account.as_i64())
                .bind(id)
                .fetch_optional(&mut *tx)
                .await?;
        if let Some((held,)) = held {
            discard(tx, account.as_i64(), *id, held).await?;
        }
    }
    Ok(())
}

async fn insert_due(tx: Conn<'_>, due: &[(i64, MessageId)]) -> Result<(), StoreError> {
    if due.is_empty() {
        return Ok(());
    }
    sqlx::query("INSERT INTO due_at (due_at, account_no, message_id) SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::uuid[])")
        .bind(due.iter().map(|(at, _)| *at).collect::<Vec<_>>())
        .bind(due.iter().map(|(_, id)| id.account().as_i64()).collect::<Vec<_>>())
        .bind(due.iter().map(|(_, id)| id.0).collect::<Vec<_>>())
        .execute(tx)
        .await?;
    Ok(())
}
