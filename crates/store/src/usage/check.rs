//! Compares usage with the messages it was counted from, and counts it anew from them.

use std::collections::{BTreeMap, BTreeSet};

use carillon_domain::id::{AccountNo, MessageId, compose};
use carillon_domain::message::State;
use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::fold::add;
use super::{Cell, End, HOURS, Sums, Tally};
use crate::{Db, DbKind, StoreError};

const DAY_MS: i64 = 86_400_000;
/// Accounts looked up at a time.
const PAGE: i64 = 500;
/// How often counting anew is tried when others add up meanwhile.
const TRIES: u32 = 5;

/// A count that is not what the messages say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Of which account.
    pub account: AccountNo,
    /// The day (days since 1970) or the hour (hours since 1970), and what is counted there.
    pub cell: String,
    /// Messages, parts and captured (micro-units) as counted; of an hour accepted, ended and delivered.
    pub recorded: [i64; 3],
    /// The same by the messages.
    pub computed: [i64; 3],
}

type MessageRow = (Uuid, Option<Uuid>, i16, Option<i32>, i16, Option<i16>, i32, i64, Option<i64>, Option<i64>);

fn count(tally: &mut Tally, row: MessageRow) {
    let (id, batch, country, connection, state, error, parts, captured, sent_at, final_at) = row;
    let id = MessageId(id);
    tally.accepted(id, batch, country, 1);
    if let Some(final_at) = final_at {
        let state = State::from_number(state).unwrap_or(State::Failed);
        let parts = i64::from(parts.max(1));
        let end = End { batch, country, connection, state, error, parts, captured, sent_at, final_at };
        let (cell, sums) = end.counted(id);
        tally.add(cell, sums);
    }
}

/// Counts the messages an account had accepted between two days, both included.
macro_rules! counted_from_messages {
    ($tx:ident, $account:expr, $days:expr) => {{
        let (from, to): (i32, i32) = $days;
        let mut rows = sqlx::query_as::<_, MessageRow>(
            "SELECT id, batch_id, country, connection_no, state, error_code, parts, captured, sent_at, final_at FROM message
             WHERE account_no = $1 AND id >= $2 AND id < $3",
        )
        .bind($account.as_i64())
        .bind(compose(i64::from(from) * DAY_MS, 0, AccountNo(0)))
        .bind(compose((i64::from(to) + 1) * DAY_MS, 0, AccountNo(0)))
        .fetch(&mut *$tx);
        let mut tally = Tally::default();
        while let Some(row) = rows.try_next().await? {
            count(&mut tally, row);
        }
        tally
    }};
}

/// Cells and hours of one account as the tables and the log have them together.
#[derive(Default)]
struct Recorded {
    days: BTreeMap<Cell, Sums>,
    hours: BTreeMap<(AccountNo, i32), [i64; 3]>,
}

type DayRow = (i32, Uuid, i16, i32, i16, i16, i16, i64, i64, i64);

/// All that is recorded of an account between two days, as the tables and the log have it together.
macro_rules! recorded {
    ($tx:ident, $account:expr, $days:expr) => {{
        let (account, (from, to)): (AccountNo, (i32, i32)) = ($account, $days);
        let mut recorded = Recorded::default();
        let days: Vec<DayRow> = sqlx::query_as(
            "SELECT day, batch_id, country, connection_no, state, error_code, speed, messages, parts, captured FROM usage_day
             WHERE account_no = $1 AND day BETWEEN $2 AND $3",
        )
        .bind(account.as_i64())
        .bind(from)
        .bind(to)
        .fetch_all(&mut *$tx)
        .await?;
        for (day, batch, country, connection, state, error, speed, messages, parts, captured) in days {
            let cell = Cell { account, hour: day * HOURS, batch, country, connection, state, error, speed };
            recorded.days.insert(cell, Sums { messages, parts, captured });
        }
        let hours: Vec<(i32, i64, i64, i64)> = sqlx::query_as(
            "SELECT hour, accepted, ended, delivered FROM usage_hour WHERE account_no = $1 AND hour BETWEEN $2 AND $3",
        )
        .bind(account.as_i64())
        .bind(from.saturating_mul(HOURS))
        .bind(to.saturating_mul(HOURS).saturating_add(HOURS - 1))
        .fetch_all(&mut *$tx)
        .await?;
        recorded.hours.extend(hours.into_iter().map(|(hour, a, e, d)| ((account, hour), [a, e, d])));
        let log: Vec<(Vec<u8>,)> = sqlx::query_as("SELECT counts FROM usage_log").fetch_all(&mut *$tx).await?;
        let mut tally = Tally::default();
        for (counts,) in &log {
            tally.add_bytes(counts)?;
        }
        recorded.add(&tally.only(account, (from, to), true));
        recorded
    }};
}

impl Recorded {
    fn add(&mut self, tally: &Tally) {
        for (cell, sums) in tally.days() {
            *self.days.entry(cell).or_default() += sums;
        }
        for (hour, counts) in tally.hours() {
            let sum = self.hours.entry(hour).or_default();
            for (sum, more) in sum.iter_mut().zip(counts) {
                *sum += more;
            }
        }
    }

    fn compare(&self, messages: &Tally, found: &mut impl FnMut(Difference)) {
        let (days, hours) = (messages.days(), messages.hours());
        for cell in self.days.keys().chain(days.keys()).collect::<BTreeSet<_>>() {
            let of = |all: &BTreeMap<Cell, Sums>| all.get(cell).map_or([0; 3], |s| [s.messages, s.parts, s.captured]);
            let (recorded, computed) = (of(&self.days), of(&days));
            if recorded != computed {
                let Cell { account, hour, batch, country, connection, state, error, speed } = *cell;
                let day = hour.div_euclid(HOURS);
                let cell = format!(
                    "day {day}, batch {batch}, country {country}, connection {connection}, state {state}, error {error}, speed {speed}"
                );
                found(Difference { account, cell, recorded, computed });
            }
        }
        for key in self.hours.keys().chain(hours.keys()).collect::<BTreeSet<_>>() {
            let of = |all: &BTreeMap<_, [i64; 3]>| all.get(key).copied().unwrap_or_default();
            let (recorded, computed) = (of(&self.hours), of(&hours));
            if recorded != computed {
                found(Difference { account: key.0, cell: format!("hour {}", key.1), recorded, computed });
            }
        }
    }
}

impl Tally {
    /// What is of an account and accepted between two days, or all the rest.
    fn only(&self, account: AccountNo, (from, to): (i32, i32), wanted: bool) -> Tally {
        let inside = |cell: &Cell| cell.account == account && (from..=to).contains(&cell.hour.div_euclid(HOURS));
        Tally(self.0.iter().filter(|(cell, _)| inside(cell) == wanted).map(|(cell, sums)| (*cell, *sums)).collect())
    }
}

/// The accounts there are, a page at a time, in order.
async fn accounts(db: &Db, after: i64) -> Result<Vec<AccountNo>, StoreError> {
    let page: Vec<(i64,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT account_no FROM balance WHERE account_no > $1 ORDER BY account_no LIMIT $2")
            .bind(after)
            .bind(PAGE)
            .fetch_all(c)
            .await
    })?;
    Ok(page.into_iter().map(|(no,)| AccountNo::from_i64(no)).collect())
}

const SNAPSHOT: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";

/// Compares what was counted of the messages accepted between two days (days since 1970, both included) with the messages, and hands on each
/// difference. Each account is read from one snapshot, so that it may run beside a working server. Returns how many accounts were checked.
pub async fn verify(db: &Db, days: (i32, i32), mut found: impl FnMut(Difference)) -> Result<u64, StoreError> {
    let (mut after, mut checked) = (-1, 0);
    loop {
        let page = accounts(db, after).await?;
        let Some(last) = page.last() else { return Ok(checked) };
        after = last.as_i64();
        for account in page {
            let (recorded, messages) = match db {
                Db::Sqlite(s) => {
                    let mut transaction = s.readers.begin().await?;
                    let tx = &mut *transaction;
                    (recorded!(tx, account, days), counted_from_messages!(tx, account, days))
                }
                Db::Postgres(p) => {
                    let mut transaction = p.begin().await?;
                    let tx = &mut *transaction;
                    sqlx::query(SNAPSHOT).execute(&mut *tx).await?;
                    (recorded!(tx, account, days), counted_from_messages!(tx, account, days))
                }
            };
            recorded.compare(&messages, &mut found);
            checked += 1;
        }
    }
}

/// Counts the messages accepted between two days (days since 1970, both included) anew: after an upgrade from a version that did not count.
/// It may run beside a working server. Not for days whose messages were erased: what was counted of them would be gone. Returns how
/// many accounts were counted.
pub async fn rebuild(db: &Db, days: (i32, i32)) -> Result<u64, StoreError> {
    let (mut after, mut counted) = (-1, 0);
    loop {
        let page = accounts(db, after).await?;
        let Some(last) = page.last() else { return Ok(counted) };
        after = last.as_i64();
        for account in page {
            let mut tries = 1;
            while let Err(error) = rebuild_account(db, account, days).await {
                // On PostgreSQL one of two that take the same rows of the log is refused.
                if tries == TRIES || db.kind() == DbKind::Sqlite {
                    return Err(error);
                }
                tries += 1;
            }
            counted += 1;
        }
    }
}

/// From one snapshot: what the log says of these days is in the messages already, what comes later is not in the snapshot.
async fn rebuild_account(db: &Db, account: AccountNo, days: (i32, i32)) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        if db.kind() == DbKind::Postgres {
            sqlx::query(SNAPSHOT).execute(&mut *tx).await?;
        }
        let log: Vec<(Vec<u8>,)> = sqlx::query_as("DELETE FROM usage_log RETURNING counts").fetch_all(&mut *tx).await?;
        let mut tally = Tally::default();
        for (counts,) in &log {
            tally.add_bytes(counts)?;
        }
        let rest = tally.only(account, days, false);
        add!(db, tx, &rest);
        sqlx::query("DELETE FROM usage_day WHERE account_no = $1 AND day BETWEEN $2 AND $3")
            .bind(account.as_i64())
            .bind(days.0)
            .bind(days.1)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM usage_hour WHERE account_no = $1 AND hour BETWEEN $2 AND $3")
            .bind(account.as_i64())
            .bind(days.0.saturating_mul(HOURS))
            .bind(days.1.saturating_mul(HOURS).saturating_add(HOURS - 1))
            .execute(&mut *tx)
            .await?;
        let messages = counted_from_messages!(tx, account, days);
        add!(db, tx, &messages);
    });
    Ok(())
}
