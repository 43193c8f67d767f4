//! Adds up what commits counted: off the hot path, and in bites, so that nobody waits for long.

use carillon_domain::id::AccountNo;

use super::{Cell, ENTRY, HOURS, Sums, Tally};
use crate::{Db, DbKind, StoreError};

/// Rows of the log in one bite, and octets: cells may all be different, and other writers of the file wait meanwhile.
const ROWS_MAX: i64 = 512;
const OCTETS_MAX: i64 = 6_000 * ENTRY as i64;
/// Cells of one statement: as one value, because thousands of values cost more than the rows.
pub(super) const CELLS: usize = 1_000;

/// Within `write_db!`: adds what was counted to the sums, in the order of their keys.
macro_rules! add {
    ($db:ident, $tx:ident, $tally:expr) => {{
        let tally: &$crate::usage::Tally = $tally;
        let (days, hours) = (Vec::from_iter(tally.days()), Vec::from_iter(tally.hours()));
        for some in days.chunks($crate::usage::fold::CELLS) {
            sqlx::query($crate::db::built($crate::usage::fold::add_days($db.kind())))
                .bind($crate::usage::fold::days_json(some))
                .execute(&mut *$tx)
                .await?;
        }
        for some in hours.chunks($crate::usage::fold::CELLS) {
            sqlx::query($crate::db::built($crate::usage::fold::add_hours($db.kind())))
                .bind($crate::usage::fold::hours_json(some))
                .execute(&mut *$tx)
                .await?;
        }
    }};
}
pub(super) use add;

/// Takes a bite of the log and adds it to the sums, in one transaction; how many rows of the log it was. Two at once wait for one another,
/// and each row is added once.
pub async fn fold(db: &Db) -> Result<u64, StoreError> {
    let ahead: Vec<(i64, i64)> = read_db!(db, |c| {
        sqlx::query_as("SELECT seq, CAST(LENGTH(counts) AS BIGINT) FROM usage_log ORDER BY seq LIMIT $1")
            .bind(ROWS_MAX)
            .fetch_all(c)
            .await
    })?;
    let mut octets = 0;
    let bite = ahead.iter().take_while(|(_, length)| {
        let first = octets == 0;
        octets += length;
        first || octets <= OCTETS_MAX
    });
    let Some((last, _)) = bite.last() else { return Ok(0) };
    Ok(write_db!(db, |tx| {
        let rows: Vec<(Vec<u8>,)> = sqlx::query_as("DELETE FROM usage_log WHERE seq <= $1 RETURNING counts")
            .bind(*last)
            .fetch_all(&mut *tx)
            .await?;
        let mut tally = Tally::default();
        for (counts,) in &rows {
            tally.add_bytes(counts)?;
        }
        add!(db, tx, &tally);
        rows.len() as u64
    }))
}

/// The rows of a JSON array, each as `value`; and how its third element is an id.
fn rows(kind: DbKind) -> (&'static str, &'static str) {
    match kind {
        DbKind::Sqlite => ("json_each($1)", "unhex(value ->> 2)"),
        DbKind::Postgres => ("json_array_elements(CAST($1 AS JSON)) AS rows(value)", "CAST(value ->> 2 AS UUID)"),
    }
}

pub(super) fn add_days(kind: DbKind) -> String {
    let (rows, batch) = rows(kind);
    format!(
        "INSERT INTO usage_day (account_no, day, batch_id, country, connection_no, state, error_code, speed, messages, parts, captured)
         SELECT CAST(value ->> 0 AS BIGINT), CAST(value ->> 1 AS INTEGER), {batch}, CAST(value ->> 3 AS SMALLINT),
                CAST(value ->> 4 AS INTEGER), CAST(value ->> 5 AS SMALLINT), CAST(value ->> 6 AS SMALLINT), CAST(value ->> 7 AS SMALLINT),
                CAST(value ->> 8 AS BIGINT), CAST(value ->> 9 AS BIGINT), CAST(value ->> 10 AS BIGINT)
         FROM {rows} WHERE TRUE
         ON CONFLICT (account_no, day, batch_id, country, connection_no, state, error_code, speed) DO UPDATE SET
           messages = usage_day.messages + excluded.messages, parts = usage_day.parts + excluded.parts,
           captured = usage_day.captured + excluded.captured"
    )
}

pub(super) fn days_json(days: &[(Cell, Sums)]) -> String {
    let rows = days.iter().map(|(c, s)| {
        let (account, day, batch) = (c.account.0, c.hour.div_euclid(HOURS), c.batch.simple());
        let (country, connection, state, error, speed) = (c.country, c.connection, c.state, c.error, c.speed);
        let (messages, parts, captured) = (s.messages, s.parts, s.captured);
        format!(
            "[{account},{day},\"{batch}\",{country},{connection},{state},{error},{speed},{messages},{parts},{captured}]"
        )
    });
    format!("[{}]", rows.collect::<Vec<_>>().join(","))
}

pub(super) fn add_hours(kind: DbKind) -> String {
    let (rows, _) = rows(kind);
    format!(
        "INSERT INTO usage_hour (account_no, hour, accepted, ended, delivered)
         SELECT CAST(value ->> 0 AS BIGINT), CAST(value ->> 1 AS INTEGER), CAST(value ->> 2 AS BIGINT), CAST(value ->> 3 AS BIGINT),
                CAST(value ->> 4 AS BIGINT)
         FROM {rows} WHERE TRUE
         ON CONFLICT (account_no, hour) DO UPDATE SET accepted = usage_hour.accepted + excluded.accepted,
           ended = usage_hour.ended + excluded.ended, delivered = usage_hour.delivered + excluded.delivered"
    )
}

pub(super) fn hours_json(hours: &[((AccountNo, i32), [i64; 3])]) -> String {
    let rows = hours.iter().map(|((account, hour), [accepted, ended, delivered])| {
        format!("[{},{hour},{accepted},{ended},{delivered}]", account.0)
    });
    format!("[{}]", rows.collect::<Vec<_>>().join(","))
}
