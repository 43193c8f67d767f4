//! Money that came from outside or by hand, the balance it changes, and the proof that all of it adds up (C2).

use carillon_domain::id::{AccountNo, EntryId};
use carillon_domain::money::Money;
use uuid::Uuid;

use crate::{Db, StoreError};

/// Why money moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(i16)]
pub enum EntryKind {
    /// Paid in.
    TopUp = 0,
    /// Corrected by an operator, either way.
    Adjustment = 1,
    /// Paid back.
    Refund = 2,
}

impl EntryKind {
    fn from_i16(n: i16) -> EntryKind {
        match n {
            0 => EntryKind::TopUp,
            2 => EntryKind::Refund,
            _ => EntryKind::Adjustment,
        }
    }
}

/// One movement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its id.
    pub id: EntryId,
    /// Why.
    pub kind: EntryKind,
    /// Positive: to the account.
    pub amount: Money,
    /// For people.
    pub note: String,
    /// Who did it.
    pub actor: String,
    /// Unix milliseconds.
    pub created_at: i64,
}

pub(crate) type EntryRow = (Uuid, i16, i64, String, String, i64);

impl From<EntryRow> for Entry {
    fn from((id, kind, amount, note, actor, created_at): EntryRow) -> Entry {
        Entry { id: EntryId(id), kind: EntryKind::from_i16(kind), amount: Money(amount), note, actor, created_at }
    }
}

/// What an account has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Balance {
    /// Free to spend; never below zero.
    pub available: Money,
    /// Reserved by open messages.
    pub held: Money,
    /// Captured so far.
    pub spent: Money,
}

impl From<(i64, i64, i64)> for Balance {
    fn from((available, held, spent): (i64, i64, i64)) -> Balance {
        Balance { available: Money(available), held: Money(held), spent: Money(spent) }
    }
}

/// Why an entry was refused.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// It would take more than there is.
    #[error("the available balance is {available}")]
    Insufficient {
        /// What there is.
        available: Money,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for EntryError {
    fn from(e: sqlx::Error) -> Self {
        EntryError::Store(e.into())
    }
}

/// Writes an entry within the caller's transaction and changes the available balance with it: the balance then. `None`, and nothing is written, if it
/// would fall below zero or there is no such account.
macro_rules! put_entry {
    ($tx:expr, $account:expr, $entry:expr) => {{
        let entry: &$crate::ledger::Entry = $entry;
        let changed = sqlx::query_as::<_, (i64, i64, i64)>(
            "UPDATE balance SET available = available + $2 WHERE account_no = $1 AND available + $2 >= 0 RETURNING available, held, spent",
        )
        .bind($account.as_i64())
        .bind(entry.amount.0)
        .fetch_optional(&mut *$tx)
        .await?;
        if changed.is_some() {
            sqlx::query(
                "INSERT INTO ledger_entry (account_no, id, kind, amount, note, actor, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind($account.as_i64())
            .bind(entry.id.0)
            .bind(entry.kind as i16)
            .bind(entry.amount.0)
            .bind(&entry.note)
            .bind(&entry.actor)
            .bind(entry.created_at)
            .execute(&mut *$tx)
            .await?;
        }
        changed.map($crate::ledger::Balance::from)
    }};
}

pub(crate) use put_entry;

/// Adds an entry and changes the available balance with it, in one transaction; refuses to take it below zero.
pub async fn add(db: &Db, account: AccountNo, entry: &Entry) -> Result<Balance, EntryError> {
    write_db!(db, |tx| {
        let Some(balance) = put_entry!(tx, account, entry) else {
            let there = sqlx::query_as::<_, (i64,)>("SELECT available FROM balance WHERE account_no = $1")
                .bind(account.as_i64());
            let (available,) = there.fetch_optional(&mut *tx).await?.ok_or(StoreError::NotFound)?;
            return Err(EntryError::Insufficient { available: Money(available) });
        };
        Ok(balance)
    })
}

/// What the account has now.
pub async fn balance(db: &Db, account: AccountNo) -> Result<Balance, StoreError> {
    let sums = read_db!(db, |c| {
        sqlx::query_as::<_, (i64, i64, i64)>("SELECT available, held, spent FROM balance WHERE account_no = $1")
            .bind(account.as_i64())
            .fetch_one(c)
            .await
    })?;
    Ok(sums.into())
}

/// Up to `limit` entries older than one (all, if `None`), newest first.
pub async fn list(db: &Db, account: AccountNo, before: Option<EntryId>, limit: u32) -> Result<Vec<Entry>, StoreError> {
    let rows = read_db!(db, |c| {
        sqlx::query_as::<_, EntryRow>(
            "SELECT id, kind, amount, note, actor, created_at FROM ledger_entry WHERE account_no = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        )
        .bind(account.as_i64())
        .bind(before.map_or(Uuid::max(), |id| id.0))
        .bind(i64::from(limit))
        .fetch_all(c)
        .await
    })?;
    Ok(rows.into_iter().map(Entry::from).collect())
}

/// Two sums that should be the same and are not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Whose.
    pub account: AccountNo,
    /// Of one batch, or of the account as a whole.
    pub batch: Option<Uuid>,
    /// Which sums.
    pub what: &'static str,
    /// What the balance or the batch says.
    pub recorded: i64,
    /// What the entries or the messages add up to.
    pub computed: i64,
}

/// Checks every account in turn and hands on each difference: available + held + spent are the entries, held and spent are the
/// messages', and every accepted batch's totals are its messages'. Each account is read in single statements, hence from one
/// snapshot, so that it may run beside a working server. Returns how many accounts were checked.
pub async fn verify(db: &Db, mut found: impl FnMut(Difference)) -> Result<u64, StoreError> {
    let (mut after, mut checked) = (-1, 0);
    loop {
        let page = accounts(db, after).await?;
        let Some(last) = page.last() else { return Ok(checked) };
        after = last.as_i64();
        for account in page {
            verify_account(db, account, &mut found).await?;
            checked += 1;
        }
    }
}

/// Accounts that have a balance, some at a time in order: those behind a number.
pub(crate) async fn accounts(db: &Db, after: i64) -> Result<Vec<AccountNo>, StoreError> {
    const PAGE: i64 = 500;
    let page: Vec<(i64,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT account_no FROM balance WHERE account_no > $1 ORDER BY account_no LIMIT $2")
            .bind(after)
            .bind(PAGE)
            .fetch_all(c)
            .await
    })?;
    Ok(page.into_iter().map(|(no,)| AccountNo::from_i64(no)).collect())
}

/// A batch still loading holds money for messages that are not stored yet: its hold less theirs counts as held.
const ACCOUNT_SUMS: &str = "
SELECT b.available + b.held + b.spent, b.held, b.spent,
  (SELECT CAST(COALESCE(SUM(e.amount), 0) AS BIGINT) FROM ledger_entry e WHERE e.account_no = b.account_no),
  (SELECT CAST(COALESCE(SUM(m.held), 0) AS BIGINT) FROM message m WHERE m.account_no = b.account_no)
    + (SELECT CAST(COALESCE(SUM(l.held - (SELECT COALESCE(SUM(m.held), 0) FROM message m
                                          WHERE m.account_no = l.account_no AND m.batch_id = l.id)), 0) AS BIGINT)
       FROM batch l WHERE l.account_no = b.account_no AND l.state = 0),
  (SELECT CAST(COALESCE(SUM(m.captured), 0) AS BIGINT) FROM message m WHERE m.account_no = b.account_no)
FROM balance b WHERE b.account_no = $1";

const BATCH_SUMS: &str = "
SELECT b.id, CAST(b.total AS BIGINT), COALESCE(m.total, 0), b.parts, COALESCE(m.parts, 0), b.held, COALESCE(m.held, 0),
       b.captured, COALESCE(m.captured, 0), CAST(b.queued AS BIGINT), COALESCE(m.queued, 0), CAST(b.sent AS BIGINT), COALESCE(m.sent, 0),
       CAST(b.delivered AS BIGINT), COALESCE(m.delivered, 0), CAST(b.failed AS BIGINT)
FROM batch b LEFT JOIN (
  SELECT batch_id, COUNT(*) AS total, CAST(SUM(parts) AS BIGINT) AS parts, CAST(SUM(held) AS BIGINT) AS held,
         CAST(SUM(captured) AS BIGINT) AS captured, COUNT(CASE WHEN state IN (0, 1) THEN 1 END) AS queued,
         COUNT(CASE WHEN state = 2 THEN 1 END) AS sent, COUNT(CASE WHEN state = 3 THEN 1 END) AS delivered
  FROM message WHERE account_no = $1 AND batch_id IS NOT NULL GROUP BY batch_id) m ON m.batch_id = b.id
WHERE b.account_no = $1 AND b.state = 1
  AND (b.total <> COALESCE(m.total, 0) OR b.parts <> COALESCE(m.parts, 0) OR b.held <> COALESCE(m.held, 0)
       OR b.captured <> COALESCE(m.captured, 0) OR b.queued <> COALESCE(m.queued, 0) OR b.sent <> COALESCE(m.sent, 0)
       OR b.delivered <> COALESCE(m.delivered, 0) OR b.total <> b.queued + b.sent + b.delivered + b.failed)";

/// A batch and pairs of a recorded and a computed sum; at last what it says failed.
type BatchSums = (Uuid, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64);

async fn verify_account(db: &Db, account: AccountNo, found: &mut impl FnMut(Difference)) -> Result<(), StoreError> {
    let (all, held, spent, entries, open, captured) = read_db!(db, |c| {
        sqlx::query_as::<_, (i64, i64, i64, i64, i64, i64)>(ACCOUNT_SUMS).bind(account.as_i64()).fetch_one(c).await
    })?;
    let mut compare = |batch, what, recorded, computed| {
        if recorded != computed {
            found(Difference { account, batch, what, recorded, computed });
        }
    };
    compare(None, "available + held + spent against the entries", all, entries);
    compare(None, "held against the open messages", held, open);
    compare(None, "spent against the captured of the messages", spent, captured);
    let batches: Vec<BatchSums> =
        read_db!(db, |c| sqlx::query_as(BATCH_SUMS).bind(account.as_i64()).fetch_all(c).await)?;
    for (
        id,
        total,
        all,
        parts,
        all_parts,
        held,
        all_held,
        captured,
        all_captured,
        queued,
        all_queued,
        sent,
        all_sent,
        delivered,
        all_delivered,
        failed,
    ) in batches
    {
        compare(Some(id), "total against its messages", total, all);
        compare(Some(id), "parts against its messages", parts, all_parts);
        compare(Some(id), "held against its messages", held, all_held);
        compare(Some(id), "captured against its messages", captured, all_captured);
        compare(Some(id), "queued against its messages", queued, all_queued);
        compare(Some(id), "sent against its messages", sent, all_sent);
        compare(Some(id), "delivered against its messages", delivered, all_delivered);
        compare(Some(id), "failed against its messages", failed, all - all_queued - all_sent - all_delivered);
    }
    Ok(())
}
