//! Who is in a drip: each number once, with the step that comes next, or with why they left. Who left stays out whatever was decided over them
//! before.

use carillon_domain::campaign::Words;
use carillon_domain::drip::{ExitReason, State};
use carillon_domain::id::{AccountNo, DripId};
use carillon_domain::segment::Filter;
use uuid::Uuid;

use crate::campaign::sealed;
use crate::db::{built, places};
use crate::hot::{open_phone, seal_phone};
use crate::{Db, StoreError};

/// Rows of one statement: SQLite takes some 32,000 values in one.
const ROWS: usize = 1_000;

/// Somebody who is to enter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewEnrollment {
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// E.164 digits without +.
    pub phone: u64,
    /// Words of their own for the places of the texts.
    pub words: Words,
    /// Whether they enter as a contact, and leave with it.
    pub by_contact: bool,
}

/// Lets people enter, to whom the first step is due at `first_at`. Each number enters once; with `again` also who has left. Each of `people` is
/// another number. How many entered; `None`: nobody can enter the drip in its state.
pub async fn enroll(
    db: &Db,
    account: AccountNo,
    drip: DripId,
    people: &[NewEnrollment],
    first_at: i64,
    again: bool,
    now: i64,
) -> Result<Option<u64>, StoreError> {
    let conflict = if again {
        " ON CONFLICT (account_no, drip_id, phone_tag) DO UPDATE SET phone = excluded.phone, words = excluded.words, \
         by_contact = excluded.by_contact, step = 0, next_at = excluded.next_at, reason = NULL, entered_at = excluded.entered_at, \
         ended_at = NULL WHERE drip_enrollment.reason IS NOT NULL AND drip_enrollment.wave IS NULL"
    } else {
        " ON CONFLICT (account_no, drip_id, phone_tag) DO NOTHING"
    };
    Ok(write_db!(db, |tx| {
        // Nobody ends it meanwhile.
        let open = sqlx::query(
            "UPDATE drip SET changed_at = changed_at WHERE account_no = $1 AND id = $2 AND state IN ($3, $4)",
        )
        .bind(account.as_i64())
        .bind(drip.0)
        .bind(State::Active.number())
        .bind(State::Paused.number())
        .execute(&mut *tx)
        .await?;
        if open.rows_affected() == 0 {
            return Ok(None);
        }
        let mut entered = 0;
        for rows in people.chunks(ROWS) {
            let mut query = sqlx::QueryBuilder::new(
                "INSERT INTO drip_enrollment (account_no, drip_id, phone_tag, phone, words, by_contact, step, next_at, entered_at) ",
            );
            query.push_values(rows, |mut row, p| {
                let words = (!p.words.is_empty()).then(|| sealed(&p.words));
                row.push_bind(account.as_i64()).push_bind(drip.0).push_bind(p.phone_tag);
                row.push_bind(seal_phone(p.phone).to_vec()).push_bind(words).push_bind(i16::from(p.by_contact));
                row.push_bind(0).push_bind(first_at).push_bind(now);
            });
            query.push(conflict);
            entered += query.build().execute(&mut *tx).await?.rows_affected();
        }
        Some(entered)
    }))
}

/// Lets up to `limit` contacts enter that a filter finds and that never were in it; or notes them as passed over. How many there were.
pub async fn enroll_contacts(
    db: &Db,
    drip: DripId,
    filter: &Filter,
    passed_over: bool,
    first_at: i64,
    limit: u32,
    now: i64,
) -> Result<u64, StoreError> {
    let (condition, values) = crate::segment::condition(filter, db.kind(), 4);
    let text = format!(
        "SELECT contact.phone_tag, contact.phone FROM contact WHERE contact.account_no = $1 AND {condition} AND NOT EXISTS \
         (SELECT 1 FROM drip_enrollment e WHERE e.account_no = contact.account_no AND e.drip_id = $2 AND e.phone_tag = contact.phone_tag) \
         LIMIT $3"
    );
    // Beside the writers: it may take all contacts to find them.
    let found: Vec<(i64, Vec<u8>)> = read_db!(db, |c| {
        let query = sqlx::query_as(built(text)).bind(drip.account().as_i64()).bind(drip.0).bind(i64::from(limit));
        bind_all!(query, values).fetch_all(c).await
    })?;
    if found.is_empty() {
        return Ok(0);
    }
    write_db!(db, |tx| {
        for rows in found.chunks(ROWS) {
            let mut query = sqlx::QueryBuilder::new(
                "INSERT INTO drip_enrollment (account_no, drip_id, phone_tag, phone, by_contact, step, next_at, reason, entered_at, ended_at) ",
            );
            query.push_values(rows, |mut row, (phone_tag, phone)| {
                row.push_bind(drip.account().as_i64()).push_bind(drip.0).push_bind(*phone_tag).push_bind(phone.clone());
                row.push_bind(1i16).push_bind(0).push_bind(first_at);
                row.push_bind(passed_over.then(|| ExitReason::PassedOver.number()));
                row.push_bind(now).push_bind(passed_over.then_some(now));
            });
            query.push(" ON CONFLICT (account_no, drip_id, phone_tag) DO NOTHING").build().execute(&mut *tx).await?;
        }
    });
    Ok(found.len() as u64)
}

/// Of which drips somebody leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leave {
    /// This one.
    One(DripId),
    /// Those that are left by writing.
    OnReply,
    /// All of the account.
    All,
}

/// Has people leave who are in; those who entered after `until` (Unix milliseconds) stay. How many left, each once for each drip.
pub async fn leave(
    db: &Db,
    account: AccountNo,
    which: Leave,
    tags: &[i64],
    reason: ExitReason,
    until: i64,
    now: i64,
) -> Result<u64, StoreError> {
    if tags.is_empty() {
        return Ok(0);
    }
    let (drips, one) = match which {
        Leave::One(id) => ("drip_id = $5", id.0),
        Leave::OnReply => {
            ("$5 = $5 AND drip_id IN (SELECT d.id FROM drip d WHERE d.account_no = $1 AND d.on_reply = 1)", Uuid::nil())
        }
        Leave::All => ("$5 = $5", Uuid::nil()),
    };
    Ok(write_db!(db, |tx| {
        let mut left = 0;
        for tags in tags.chunks(ROWS) {
            let text = format!(
                "UPDATE drip_enrollment SET reason = $2, ended_at = $3, words = NULL WHERE account_no = $1 AND reason IS NULL \
                 AND entered_at <= $4 AND {drips} AND phone_tag IN ({})",
                places(6, tags.len())
            );
            let mut query =
                sqlx::query(built(text)).bind(account.as_i64()).bind(reason.number()).bind(now).bind(until).bind(one);
            for tag in tags {
                query = query.bind(*tag);
            }
            left += query.execute(&mut *tx).await?.rows_affected();
        }
        left
    }))
}

/// Whether somebody is in a drip of an account, within the caller's transaction.
macro_rules! is_in_drip {
    ($tx:expr, $account:expr, $phone_tag:expr) => {{
        let found: Option<(i32,)> = sqlx::query_as(
            "SELECT 1 FROM drip_enrollment WHERE account_no = $1 AND phone_tag = $2 AND reason IS NULL LIMIT 1",
        )
        .bind($account.as_i64())
        .bind($phone_tag)
        .fetch_optional(&mut *$tx)
        .await?;
        found.is_some()
    }};
}

pub(crate) use is_in_drip;

/// Has up to `limit` people leave, whoever they are; how many there were. Those of a wave under way wait for its end.
pub async fn empty(db: &Db, account: AccountNo, drip: DripId, now: i64, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "UPDATE drip_enrollment SET reason = $3, ended_at = $4, words = NULL WHERE account_no = $1 AND drip_id = $2 AND reason IS NULL \
             AND phone_tag IN (SELECT phone_tag FROM drip_enrollment WHERE account_no = $1 AND drip_id = $2 AND reason IS NULL \
             AND wave IS NULL LIMIT $5)",
        )
        .bind(account.as_i64())
        .bind(drip.0)
        .bind(ExitReason::Archived.number())
        .bind(now)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}

/// Takes up to `limit` rows of a drip away; how many there were.
pub async fn delete(db: &Db, account: AccountNo, drip: DripId, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "DELETE FROM drip_enrollment WHERE account_no = $1 AND drip_id = $2 AND phone_tag IN \
             (SELECT phone_tag FROM drip_enrollment WHERE account_no = $1 AND drip_id = $2 LIMIT $3)",
        )
        .bind(account.as_i64())
        .bind(drip.0)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}

/// Forgets the numbers of up to `limit` people of all accounts who left before an instant; their keyed hashes stay, so that they do not enter
/// again. How many there were.
pub async fn forget(db: &Db, before: i64, limit: u32) -> Result<u64, StoreError> {
    let rows: Vec<(i64, Uuid, i64)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT account_no, drip_id, phone_tag FROM drip_enrollment WHERE ended_at IS NOT NULL AND ended_at < $1 AND phone IS NOT NULL \
             AND wave IS NULL LIMIT $2",
        )
        .bind(before)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await
    })?;
    if rows.is_empty() {
        return Ok(0);
    }
    write_db!(db, |tx| {
        for (account, drip, tag) in &rows {
            // They may have entered again meanwhile.
            sqlx::query(
                "UPDATE drip_enrollment SET phone = NULL WHERE account_no = $1 AND drip_id = $2 AND phone_tag = $3 AND ended_at < $4",
            )
            .bind(account)
            .bind(drip)
            .bind(tag)
            .bind(before)
            .execute(&mut *tx)
            .await?;
        }
    });
    Ok(rows.len() as u64)
}

/// Somebody in a drip, or who was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Enrollment {
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// E.164 digits without +; `None`: forgotten.
    pub phone: Option<u64>,
    /// The next step, from 0; of who left, the one that would have been.
    pub step: u32,
    /// When that is due, Unix milliseconds.
    pub next_at: i64,
    /// Why they are not in it any more.
    pub reason: Option<ExitReason>,
    /// Unix milliseconds.
    pub entered_at: i64,
    /// Unix milliseconds.
    pub ended_at: Option<i64>,
}

type Row = (i64, Option<Vec<u8>>, i32, i64, Option<i16>, i64, Option<i64>);

fn read((phone_tag, phone, step, next_at, reason, entered_at, ended_at): Row) -> Result<Enrollment, StoreError> {
    let known = |n: i16| ExitReason::from_number(n).ok_or_else(|| StoreError::Broken(format!("exit reason {n}")));
    Ok(Enrollment {
        phone_tag,
        phone: phone.map(|sealed| open_phone(&sealed)).transpose()?,
        step: step.max(0) as u32,
        next_at,
        reason: reason.map(known).transpose()?,
        entered_at,
        ended_at,
    })
}

/// Which people of a drip.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Which {
    /// Those who are in, or those who left.
    pub inside: Option<bool>,
    /// Those who left for this.
    pub reason: Option<ExitReason>,
    /// The one with this number (its keyed hash).
    pub phone_tag: Option<i64>,
}

/// Up to `limit` people of a drip behind a tag, in the order of tags.
pub async fn list(
    db: &Db,
    account: AccountNo,
    drip: DripId,
    which: Which,
    after: i64,
    limit: u32,
) -> Result<Vec<Enrollment>, StoreError> {
    let inside = match which.inside {
        None => "",
        Some(true) => "AND reason IS NULL",
        Some(false) => "AND reason IS NOT NULL",
    };
    let text = format!(
        "SELECT phone_tag, phone, step, next_at, reason, entered_at, ended_at FROM drip_enrollment WHERE account_no = $1 AND drip_id = $2 \
         AND phone_tag > $3 AND ($4 IS NULL OR reason = $4) AND ($5 IS NULL OR phone_tag = $5) {inside} ORDER BY phone_tag LIMIT $6"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(built(text))
            .bind(account.as_i64())
            .bind(drip.0)
            .bind(after)
            .bind(which.reason.map(ExitReason::number))
            .bind(which.phone_tag)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    rows.into_iter().map(read).collect()
}

/// How many people of a drip wait for each step, or have left for each reason (then the step says nothing).
pub async fn counts(
    db: &Db,
    account: AccountNo,
    drip: DripId,
) -> Result<Vec<(u32, Option<ExitReason>, i64)>, StoreError> {
    let rows: Vec<(i32, Option<i16>, i64)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT CAST(CASE WHEN reason IS NULL THEN step ELSE 0 END AS INTEGER) AS at, reason, COUNT(*) FROM drip_enrollment \
             WHERE account_no = $1 AND drip_id = $2 GROUP BY CASE WHEN reason IS NULL THEN step ELSE 0 END, reason",
        )
        .bind(account.as_i64())
        .bind(drip.0)
        .fetch_all(c)
        .await
    })?;
    let read = |(step, reason, count): (i32, Option<i16>, i64)| {
        (step.max(0) as u32, reason.and_then(ExitReason::from_number), count)
    };
    Ok(rows.into_iter().map(read).collect())
}

/// Words as a text names them; a short way for those who read rows.
pub(crate) fn words_of(sealed: Option<Vec<u8>>) -> Result<Words, StoreError> {
    sealed.map_or(Ok(Words::new()), |sealed| crate::campaign::opened("words of somebody in a drip", &sealed))
}
