//! The hot path on PostgreSQL. Statements are sent one behind the other: a commit waits for the server two to four times, whatever it holds, and
//! once if it is of plain messages only (`plain`). Many messages go by COPY, the rest mostly as one statement, columns as arrays.

mod intake;
mod place;
mod plain;
mod read;
mod session;
mod settle;
#[cfg(test)]
mod silence;
pub(crate) mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::money::Money;
use sqlx::postgres::PgPool;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use self::session::{Answer, Backend, Door, Param, Session, Writes, did_not_fit, params, refused};
use self::settle::Stored;
use super::{IdSource, IntakeRequest, SettleItem, Settled, SpanKey, Verdict, oldest_of};
use crate::StoreError;
use crate::event::Watched;
use crate::usage::Tally;

pub(crate) use read::Reader;

/// How long the server may be silent. Longer than it waits for a lock, or for a slow disk.
const PATIENCE: Duration = Duration::from_secs(15);

/// Every statement here finds rows by their keys, and in their order. Plans made while the tables were small would scan, hash and sort them for
/// ever after.
const PLANS: [(&str, &str); 7] = [
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_sort", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// The one writer of the hot path in this process, on a connection of its own.
pub struct Writer {
    door: Door,
    patience: Duration,
    /// `None` until it is needed, and after it was lost.
    session: Option<Session>,
    /// Of the session before, if it was lost: it may still hold locks.
    lost: Option<Backend>,
    ids: IdSource,
    refused: plain::Refused,
    pub(super) watched: Watched,
    /// The session's row of `hot_round`, random like its ids, and the last number written there.
    row: i64,
    rounds: i64,
}

type Done = (Vec<Settled>, Vec<Verdict>);

/// A transaction all of which was sent, COMMIT included.
struct Sent<'p> {
    answers: Vec<Answer<'p>>,
    trace: Trace,
    done: Done,
}

/// By what the server tells later whether a transaction happened. Not by its number: one that a crash took back is given again.
enum Trace {
    /// What it wrote to `hot_round`.
    Round { writer: i64, number: i64 },
    /// A message it stored.
    Message(MessageId),
}

impl Writer {
    pub(super) async fn open(pool: &PgPool, ids: IdSource) -> Result<Writer, StoreError> {
        let door = Door::new(&pool.connect_options().as_ref().clone().options(PLANS), PATIENCE)?;
        // A connection belongs to the runtime it is made in: the writer makes its own. This one only shows that it can.
        door.open(None).await?;
        Ok(Writer {
            row: ids.clone().take(1) as i64,
            rounds: 0,
            door,
            patience: PATIENCE,
            session: None,
            lost: None,
            ids,
            refused: plain::Refused::default(),
            watched: Watched::default(),
        })
    }

    async fn session(&mut self) -> Result<Session, StoreError> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let opened = timeout(self.patience, self.door.open(self.lost.as_ref())).await;
        let mut session = opened.map_err(|_| silent())??;
        self.lost = None;
        // A row for each session: what comes after a crash must not be taken for what was lost in it.
        self.row += 1 << 41;
        timeout(self.patience, session.prepare(&READS)).await.map_err(|_| silent())??;
        Ok(session)
    }

    /// Everything of a moment in one transaction: outcomes first, then requests.
    pub(super) async fn commit(
        &mut self,
        items: &[SettleItem],
        spans_done: &[SpanKey],
        requests: &[IntakeRequest],
        now: i64,
    ) -> Result<Done, StoreError> {
        let plain = items.is_empty() && spans_done.is_empty() && plain::fits(requests, &self.refused, now);
        if plain && let Some(done) = self.commit_plain(requests, now).await? {
            return Ok(done);
        }
        let mut stored = Stored::No;
        let unused = self.ids.clone();
        let done = loop {
            match self.round(items, spans_done, requests, stored, now).await? {
                Ok(done) => break done,
                Err((session, error)) => {
                    let again = stored == Stored::No && settle::was_stored(&error);
                    let undone = self.undone(session, error.into()).await;
                    if !again {
                        return Err(undone);
                    }
                    stored = Stored::Perhaps;
                    self.ids = unused.clone();
                }
            }
        };
        if plain {
            self.refused.note(requests, &done.1, now);
        }
        Ok(done)
    }

    /// Sends everything and waits, as `finish` does. What a failure kept from being prepared is prepared and all sent again: that tells why it fails.
    async fn round(
        &mut self,
        items: &[SettleItem],
        spans_done: &[SpanKey],
        requests: &[IntakeRequest],
        stored: Stored,
        now: i64,
    ) -> Result<Result<Done, (Session, Error)>, StoreError> {
        let patience = self.patience;
        loop {
            let mut session = self.session().await?;
            let round = send(&mut session, items, spans_done, requests, stored, self, now);
            let sent = timeout(patience, round).await;
            if matches!(sent, Ok(Err(_))) && matches!(timeout(patience, session.prepare_missing()).await, Ok(Ok(true)))
            {
                self.session = Some(session);
                continue;
            }
            return self.finish(session, sent).await;
        }
    }

    /// Requests as a plain round. `None` if they do not fit, and nothing happened.
    async fn commit_plain(&mut self, requests: &[IntakeRequest], now: i64) -> Result<Option<Done>, StoreError> {
        let mut session = self.session().await?;
        let unused = self.ids.clone();
        let sent = timeout(self.patience, plain::send(&mut session, requests, &mut self.ids, now)).await;
        match self.finish(session, sent).await? {
            Ok(done) => Ok(Some(done)),
            Err((session, error)) if did_not_fit(&error) => {
                self.session = Some(session);
                self.ids = unused;
                Ok(None)
            }
            Err((session, error)) => Err(self.undone(session, error.into()).await),
        }
    }

    /// Waits for what the server says to a transaction. The inner error is what it refused, nothing of which happened.
    async fn finish(
        &mut self,
        session: Session,
        sent: Result<Result<Sent<'_>, StoreError>, Elapsed>,
    ) -> Result<Result<Done, (Session, Error)>, StoreError> {
        let sent = match sent {
            Ok(Ok(sent)) => sent,
            Ok(Err(error)) => return Err(self.undone(session, error).await),
            Err(_) => {
                self.lost = Some(session.backend);
                return Err(silent());
            }
        };
        let answered = timeout(self.patience, async {
            for answer in sent.answers {
                answer.await?;
            }
            Ok::<(), Error>(())
        });
        let error = match answered.await {
            Ok(Ok(())) => {
                self.session = Some(session);
                return Ok(Ok(sent.done));
            }
            Ok(Err(error)) if refused(&error) => return Ok(Err((session, error))),
            Ok(Err(error)) => error.into(),
            Err(_) => silent(),
        };
        // A commit whose answer was lost is asked about before anyone is answered.
        self.lost = Some(session.backend.clone());
        if self.happened(&sent.trace, &session.backend).await? { Ok(Ok(sent.done)) } else { Err(error) }
    }

    /// Nothing happened. The session is kept, if it still answers.
    async fn undone(&mut self, mut session: Session, error: StoreError) -> StoreError {
        let rolled_back = timeout(self.patience, async { session.ask("ROLLBACK", Vec::new()).await?.await }).await;
        match rolled_back {
            Ok(Ok(_)) => self.session = Some(session),
            _ => self.lost = Some(session.backend),
        }
        error
    }

    /// Whether a transaction was committed, as soon as the server knows: it may not have noticed the loss of the connection yet.
    async fn happened(&mut self, trace: &Trace, lost: &Backend) -> Result<bool, StoreError> {
        let asked_at = Instant::now();
        loop {
            let known = self.known(trace, lost).await;
            if let Ok(Some(happened)) = known {
                return Ok(happened);
            }
            if asked_at.elapsed() > 4 * self.patience {
                return Err(StoreError::Unavailable("whether a transaction happened is not known".into()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Whether a transaction was committed; `None` while the session that sent it goes on. Asked in this order: a statement sees what was there
    /// when it began.
    async fn known(&mut self, trace: &Trace, by: &Backend) -> Result<Option<bool>, StoreError> {
        let sql = "SELECT FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2";
        if !self.ask(sql, params![by.number, by.began.as_str()]).await?.is_empty() {
            return Ok(None);
        }
        self.is_there(trace).await.map(Some)
    }

    async fn is_there(&mut self, trace: &Trace) -> Result<bool, StoreError> {
        let found = match *trace {
            Trace::Round { writer, number } => {
                self.ask("SELECT FROM hot_round WHERE writer = $1 AND round = $2", params![writer, number]).await?
            }
            Trace::Message(id) => {
                let sql = "SELECT FROM message WHERE account_no = $1 AND id = $2";
                self.ask(sql, params![id.account().as_i64(), id.0]).await?
            }
        };
        Ok(!found.is_empty())
    }

    /// Asks by itself, and waits.
    async fn ask(&mut self, sql: &str, params: Vec<Param<'_>>) -> Result<Vec<Row>, StoreError> {
        let mut session = self.session().await?;
        match timeout(self.patience, async { session.ask(sql, params).await?.await }).await {
            Ok(Ok(rows)) => {
                self.session = Some(session);
                Ok(rows)
            }
            Ok(Err(error)) => Err(self.undone(session, error.into()).await),
            Err(_) => {
                self.lost = Some(session.backend);
                Err(silent())
            }
        }
    }

    pub(super) async fn set_aside(&mut self, item: &SettleItem, error: &str, now: i64) -> Result<(), StoreError> {
        let (message, text) = item.told();
        let sql = "INSERT INTO set_aside (message_id, item, error, at) VALUES ($1, $2, $3, $4)";
        self.ask(sql, params![message, text, error, now]).await.map(drop)
    }

    pub(super) async fn discard_loading(&mut self) -> Result<u64, StoreError> {
        let mut session = self.session().await?;
        session.rows("BEGIN", Vec::new()).await?;
        // Of writers that ended with their process.
        session.rows("DELETE FROM hot_round", Vec::new()).await?;
        let sql = "SELECT account_no, id FROM batch WHERE state = 0 ORDER BY account_no, id FOR UPDATE";
        let loading = session.rows(sql, Vec::new()).await?;
        let mut tally = Tally::default();
        for batch in &loading {
            discard(&mut session, batch.try_get(0)?, batch.try_get(1)?, &mut tally).await?;
        }
        if let Some(counts) = tally.bytes() {
            session.rows(LOG_USAGE, params![counts]).await?;
        }
        session.rows("COMMIT", Vec::new()).await?;
        // It ends here: a connection belongs to the runtime it was made in. This was the start's; the writer commits in one of its own.
        Ok(loading.len() as u64)
    }
}

fn silent() -> StoreError {
    StoreError::Unavailable("PostgreSQL does not answer".into())
}

/// Erases a batch that is still loading and returns its hold. It asks as it goes: nothing else may be on its way.
async fn discard(session: &mut Session, account: i64, batch: Uuid, tally: &mut Tally) -> Result<(), Error> {
    let sql = "SELECT held FROM batch WHERE account_no = $1 AND id = $2 AND state = 0 FOR UPDATE";
    let loading = session.rows(sql, params![account, batch]).await?;
    let Some(held) = loading.first().map(|row| row.try_get::<_, i64>(0)).transpose()? else { return Ok(()) };
    let oldest = oldest_of(batch);
    let sql = "SELECT id, country FROM message WHERE account_no = $1 AND id >= $2 AND batch_id = $3";
    for stored in session.rows(sql, params![account, oldest, batch]).await? {
        tally.accepted(MessageId(stored.try_get(0)?), Some(batch), stored.try_get(1)?, -1);
    }
    for sql in [
        "DELETE FROM due_at WHERE account_no = $1 AND message_id IN
         (SELECT id FROM message WHERE account_no = $1 AND id >= $2 AND batch_id = $3)",
        "DELETE FROM message WHERE account_no = $1 AND id >= $2 AND batch_id = $3",
    ] {
        session.rows(sql, params![account, oldest, batch]).await?;
    }
    let sql = "DELETE FROM short_link WHERE account_no = $1 AND batch_id = $2";
    session.rows(sql, params![account, batch]).await?;
    // A span may hold other messages of its commit as well: only what is empty now goes.
    let sql = "SELECT first_id, count FROM due_span WHERE account_no = $1 AND first_id >= $2";
    for span in session.rows(sql, params![account, oldest]).await? {
        let (first, count): (Uuid, i32) = (span.try_get(0)?, span.try_get(1)?);
        let last = MessageId(first).nth(count.max(1) as u32 - 1).0;
        let sql = "DELETE FROM due_span WHERE account_no = $1 AND first_id = $2
                   AND NOT EXISTS (SELECT 1 FROM message WHERE account_no = $1 AND id BETWEEN $2 AND $3)";
        session.rows(sql, params![account, first, last]).await?;
    }
    for sql in [
        "DELETE FROM idempotency WHERE account_no = $1 AND resource = $2",
        "DELETE FROM batch WHERE account_no = $1 AND id = $2",
    ] {
        session.rows(sql, params![account, batch]).await?;
    }
    let sql = "UPDATE balance SET available = available + $2, held = held - $2 WHERE account_no = $1";
    session.rows(sql, params![account, held]).await?;
    Ok(())
}

/// Reads, decides and writes, up to and including COMMIT. What fails or is given up before that did not happen.
async fn send<'a>(
    session: &mut Session,
    items: &'a [SettleItem],
    spans_done: &'a [SpanKey],
    requests: &'a [IntakeRequest],
    stored: Stored,
    writer: &mut Writer,
    now: i64,
) -> Result<Sent<'a>, StoreError> {
    let ids = &mut writer.ids;
    let begun = session.ask("BEGIN", Vec::new()).await?;
    let (mut wanted, mut read, mut places) = settle::read_open(session, items).await?;
    // Everybody locks in one order, so that nobody waits for one another: messages, balances, batches, each in the order of their keys. Requests
    // lock balances only, and know them from then on; outcomes lock them last, so that the two hardly meet.
    let rows = settle::ask_rows(session, wanted.sorted_ids()).await?;
    let accounts: BTreeSet<i64> = requests.iter().map(|r| r.account.as_i64()).collect();
    let locks = match accounts.is_empty() {
        true => None,
        false => Some(session.ask(LOCK, params![accounts.into_iter().collect::<Vec<_>>()]).await?),
    };
    let keys = intake::ask_keys(session, requests, now).await?;
    let runs = intake::ask_runs(session, requests).await?;
    // Opened before it is known whether anything is taken: to open it later would be one more wait.
    let copy = match requests.iter().all(|r| r.messages.is_empty()) {
        true => None,
        false => Some(session.copy(intake::COPY).await?),
    };
    begun.await?;
    settle::take_rows(rows, &mut read, &mut places).await?;
    let mut balances = match locks {
        Some(locks) => locked(&locks.await?)?,
        None => BTreeMap::new(),
    };
    let (settled, rows) = super::settle::plan(items, read, &writer.watched, now);
    for (account, (_, released)) in &settled.money {
        if let Some(available) = balances.get_mut(account) {
            *available += *released;
        }
    }
    let taken = super::intake::plan(requests, &intake::take_keys(keys, runs, balances).await?, ids, now);

    let mut tally = Tally::default();
    tally.settled(&rows);
    for (id, batch, message) in intake::taken(requests, &taken) {
        tally.accepted(id, batch, message.country_number(), 1);
    }
    let mut writes = Writes::new(session);
    if let Some(copy) = copy {
        intake::copy(&mut writes, copy, requests, &taken).await?;
    }
    // Joined first, carried out last: others wait for balances.
    join_money(&mut writes, &settled.money, &taken.holds);
    writer.rounds += 1;
    let trace = Trace::Round { writer: writer.row, number: writer.rounds };
    writes.join(ROUND, params![writer.row, writer.rounds]);
    // A row that nobody else locks: what two writers count never meets.
    if let Some(counts) = tally.bytes() {
        writes.join(LOG_USAGE, params![counts]);
    }
    settle::write(&mut writes, &settled, &rows, &places, spans_done, stored).await?;
    settle::write_events(&mut writes, &settled, ids, now).await?;
    intake::join(&mut writes, &taken, now);
    writes.put_joined().await?;
    settle::write_batches(&mut writes, &settled).await?;
    intake::write(&mut writes, requests, &taken, now).await?;
    if !taken.discarded.is_empty() {
        for answer in std::mem::take(&mut writes.sent) {
            answer.await?;
        }
        let mut tally = Tally::default();
        for (account, batch) in &taken.discarded {
            discard(writes.session, account.as_i64(), *batch, &mut tally).await?;
        }
        if let Some(counts) = tally.bytes() {
            writes.put(LOG_USAGE, params![counts]).await?;
        }
    }
    writes.put("COMMIT", Vec::new()).await?;
    Ok(Sent { answers: writes.sent, trace, done: (settled.settled, taken.verdicts) })
}

/// What is asked while rows may be on their way: to prepare it then would wait behind rows that nobody takes.
const READS: [&str; 9] = [
    settle::REFS,
    settle::PARKED,
    settle::PARKED_FOR,
    settle::UNKNOWNS,
    settle::ROWS,
    intake::KEYS,
    intake::RUNS,
    intake::COPY,
    LOCK,
];

/// What the commit counted, in one row.
const LOG_USAGE: &str = "INSERT INTO usage_log (counts) VALUES ($1)";

/// What tells this round from the one before.
const ROUND: &str =
    "INSERT INTO hot_round (writer, round) VALUES ($1, $2) ON CONFLICT (writer) DO UPDATE SET round = excluded.round";

/// Their available money.
const LOCK: &str =
    "SELECT account_no, available FROM balance WHERE account_no = ANY($1::bigint[]) ORDER BY account_no FOR UPDATE";

fn locked(rows: &[Row]) -> Result<BTreeMap<AccountNo, Money>, Error> {
    rows.iter().map(|row| Ok((AccountNo::from_i64(row.try_get(0)?), Money(row.try_get(1)?)))).collect()
}

/// What the commit does to each balance: once, though outcomes and requests both do.
fn join_money(
    writes: &mut Writes<'_, '_>,
    settled: &BTreeMap<AccountNo, (Money, Money)>,
    holds: &BTreeMap<AccountNo, Money>,
) {
    let mut moves: BTreeMap<i64, [i64; 3]> = BTreeMap::new();
    for (account, (captured, released)) in settled {
        moves.insert(account.as_i64(), [released.0, -captured.0 - released.0, captured.0]);
    }
    for (account, hold) in holds {
        let [available, held, _] = moves.entry(account.as_i64()).or_default();
        *available -= hold.0;
        *held += hold.0;
    }
    if moves.is_empty() {
        return;
    }
    let column = |n: usize| moves.values().map(|m| m[n]).collect::<Vec<i64>>();
    let sql = "UPDATE balance b SET available = b.available + k.available, held = b.held + k.held, spent = b.spent + k.spent
               FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS k(account_no, available, held, spent)
               WHERE b.account_no = k.account_no";
    writes.join(sql, params![moves.keys().copied().collect::<Vec<i64>>(), column(0), column(1), column(2)]);
}

async fn insert_due(writes: &mut Writes<'_, '_>, due: &[(i64, MessageId)]) -> Result<(), Error> {
    if due.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO due_at (due_at, account_no, message_id) SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::uuid[])";
    let accounts = due.iter().map(|(_, id)| id.account().as_i64()).collect::<Vec<_>>();
    let ids = due.iter().map(|(_, id)| id.0).collect::<Vec<_>>();
    writes.put(sql, params![due.iter().map(|(at, _)| *at).collect::<Vec<_>>(), accounts, ids]).await
}
