//! Consent: records that are only appended, and what they come to for each number and category.

use std::collections::HashMap;

use carillon_domain::consent::{Detail, Source, Status};
use carillon_domain::id::{AccountNo, ConsentId, GroupId};
use carillon_domain::message::Category;
use uuid::Uuid;

use crate::hot::{open_phone, open_text};
use crate::{Db, StoreError};

/// A record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Consent {
    /// Its id; also says when it was written down.
    pub id: ConsentId,
    /// E.164 digits without +.
    pub phone: u64,
    /// Of which messages.
    pub category: Category,
    /// What it says.
    pub status: Status,
    /// Where it comes from.
    pub source: Source,
    /// When the person said so, Unix milliseconds.
    pub captured_at: i64,
    /// What it says besides.
    pub detail: Detail,
    /// The inbound message or the import it came with.
    pub origin: Option<Uuid>,
    /// The record before it, of the same number and category.
    pub previous: Option<ConsentId>,
}

/// A record to be appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewConsent {
    /// Its id, made by the caller: the same one again is the same record.
    pub id: ConsentId,
    /// E.164 digits without +.
    pub phone: u64,
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// Of which messages.
    pub category: Category,
    /// What it says.
    pub status: Status,
    /// Where it comes from.
    pub source: Source,
    /// When the person said so, Unix milliseconds.
    pub captured_at: i64,
    /// What it says besides.
    pub detail: Detail,
    /// The inbound message or the import it came with.
    pub origin: Option<Uuid>,
}

/// What the records of a number come to for a category.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// Whose.
    pub account: AccountNo,
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// Of which messages.
    pub category: Category,
    /// Where they stand.
    pub status: Status,
    /// Where the record comes from that decided.
    pub source: Source,
    /// Since when, Unix milliseconds.
    pub since: i64,
    /// Until when the answer to a question is waited for, Unix milliseconds; `None` if none is.
    pub asked_until: Option<i64>,
}

type StateRow = (i64, i64, i16, i16, i16, i64, Option<i64>);
const STATE: &str = "account_no, phone_tag, category, status, source, since, asked_until";

fn state((account, phone_tag, category, status, source, since, asked_until): StateRow) -> State {
    State {
        account: AccountNo::from_i64(account),
        phone_tag,
        // What this version does not know agrees to nothing.
        category: Category::from_number(category).unwrap_or(Category::Otp),
        status: Status::from_number(status).unwrap_or(Status::OptedOut),
        source: Source::from_number(source).unwrap_or(Source::Api),
        since,
        asked_until,
    }
}

/// What was known of a number and category before.
#[derive(Clone, Copy, Default)]
pub(crate) struct Before {
    pub(crate) stood: Option<(Status, Source, i64)>,
    pub(crate) latest: Option<Uuid>,
    pub(crate) asked_until: Option<i64>,
}

pub(crate) type Known = HashMap<(i64, i16), Before>;
pub(crate) type KnownRow = (i64, i16, i16, i16, i64, Option<Uuid>, Option<i64>);

pub(crate) fn known(
    (phone_tag, category, status, source, since, latest, asked_until): KnownRow,
) -> ((i64, i16), Before) {
    let status = Status::from_number(status).unwrap_or(Status::OptedOut);
    let source = Source::from_number(source).unwrap_or(Source::Api);
    ((phone_tag, category), Before { stood: Some((status, source, since)), latest, asked_until })
}

/// What is to be written of some records: each with the one before it, and the states they come to.
pub(crate) fn reckon(
    account: AccountNo,
    records: &[NewConsent],
    mut known: Known,
    now: i64,
) -> (Vec<(&NewConsent, Option<Uuid>)>, Vec<(State, Uuid)>) {
    let mut touched: HashMap<(i64, i16), (State, Uuid)> = HashMap::new();
    let mut rows = Vec::with_capacity(records.len());
    for record in records {
        let key = (record.phone_tag, record.category.number());
        let before = known.entry(key).or_default();
        rows.push((record, before.latest.filter(|id| *id != record.id.0)));
        let status = record.status.after(before.stood.map(|(status, source, _)| (status, source)), record.source);
        let same = before.stood.filter(|(old, _, _)| *old == status);
        // What did not decide leaves the state's source and date as they are.
        let (source, since) = same.map_or((record.source, now), |(_, source, since)| (source, since));
        let answered = record.source.is_the_person() && record.status != Status::Pending;
        let asked_until = before.asked_until.filter(|_| !answered);
        *before = Before { stood: Some((status, source, since)), latest: Some(record.id.0), asked_until };
        let state = State { account, phone_tag: key.0, category: record.category, status, source, since, asked_until };
        touched.insert(key, (state, record.id.0));
    }
    (rows, touched.into_values().collect())
}

/// Records, or states, of one statement: below both databases' limits of bound values.
pub(crate) const CHUNK: usize = 2_000;

/// Within `write_db!`: appends records; gives the states they come to. On PostgreSQL the rows of states stay locked until the end.
macro_rules! append_consents {
    ($tx:ident, $account:expr, $records:expr, $now:expr) => {{
        let (account, records, now): (AccountNo, &[$crate::consent::NewConsent], i64) = ($account, $records, $now);
        let mut known = $crate::consent::Known::new();
        for chunk in records.chunks($crate::consent::CHUNK) {
            let mut query =
                sqlx::QueryBuilder::new("UPDATE consent_state SET changed_at = changed_at WHERE account_no = ");
            query.push_bind(account.as_i64()).push(" AND phone_tag IN (");
            let mut tags = query.separated(", ");
            for record in chunk {
                tags.push_bind(record.phone_tag);
            }
            query.push(") RETURNING phone_tag, category, status, source, since, latest_id, asked_until");
            let rows: Vec<$crate::consent::KnownRow> = query.build_query_as().fetch_all(&mut *$tx).await?;
            known.extend(rows.into_iter().map($crate::consent::known));
        }
        let (rows, states) = $crate::consent::reckon(account, records, known, now);
        for chunk in rows.chunks($crate::consent::CHUNK) {
            let mut insert = sqlx::QueryBuilder::new(
                "INSERT INTO consent (account_no, id, phone, phone_tag, category, status, source, captured_at, detail, origin, previous_id) ",
            );
            insert.push_values(chunk, |mut row, (c, previous)| {
                let detail = serde_json::to_string(&c.detail).expect("texts are JSON");
                row.push_bind(account.as_i64())
                    .push_bind(c.id.0)
                    .push_bind($crate::hot::seal_phone(c.phone).to_vec())
                    .push_bind(c.phone_tag)
                    .push_bind(c.category.number())
                    .push_bind(c.status.number())
                    .push_bind(c.source.number())
                    .push_bind(c.captured_at)
                    .push_bind($crate::hot::seal_text(&detail))
                    .push_bind(c.origin)
                    .push_bind(*previous);
            });
            insert.push(" ON CONFLICT (account_no, id) DO NOTHING");
            insert.build().execute(&mut *$tx).await?;
        }
        for chunk in states.chunks($crate::consent::CHUNK) {
            let mut upsert = sqlx::QueryBuilder::new(
                "INSERT INTO consent_state (account_no, phone_tag, category, status, source, since, latest_id, asked_until, asked_count, changed_at) ",
            );
            upsert.push_values(chunk, |mut row, (s, latest)| {
                row.push_bind(account.as_i64())
                    .push_bind(s.phone_tag)
                    .push_bind(s.category.number())
                    .push_bind(s.status.number())
                    .push_bind(s.source.number())
                    .push_bind(s.since)
                    .push_bind(*latest)
                    .push_bind(s.asked_until)
                    .push_bind(0i32)
                    .push_bind(now);
            });
            upsert.push(
                " ON CONFLICT (account_no, phone_tag, category) DO UPDATE SET status = excluded.status, source = excluded.source, \
                 since = excluded.since, latest_id = excluded.latest_id, asked_until = excluded.asked_until, changed_at = excluded.changed_at",
            );
            upsert.build().execute(&mut *$tx).await?;
        }
        states.into_iter().map(|(state, _)| state).collect::<Vec<$crate::consent::State>>()
    }};
}
pub(crate) use append_consents;

/// Appends records of an account in one transaction; the states they come to.
pub async fn append(db: &Db, account: AccountNo, records: &[NewConsent], now: i64) -> Result<Vec<State>, StoreError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    Ok(write_db!(db, |tx| { append_consents!(tx, account, records, now) }))
}

/// Which records; all conditions hold together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Of this number (its keyed hash).
    pub phone_tag: Option<i64>,
    /// Of this category.
    pub category: Option<Category>,
}

type Row = (Uuid, Vec<u8>, i16, i16, i16, i64, Vec<u8>, Option<Uuid>, Option<Uuid>);
const COLUMNS: &str = "id, phone, category, status, source, captured_at, detail, origin, previous_id";

fn read(
    (id, phone, category, status, source, captured_at, detail, origin, previous): Row,
) -> Result<Consent, StoreError> {
    let broken = |what: &str| StoreError::Broken(format!("consent {}: {what}", ConsentId(id)));
    Ok(Consent {
        id: ConsentId(id),
        phone: open_phone(&phone)?,
        category: Category::from_number(category).ok_or_else(|| broken("an unknown category"))?,
        status: Status::from_number(status).ok_or_else(|| broken("an unknown status"))?,
        source: Source::from_number(source).ok_or_else(|| broken("an unknown source"))?,
        captured_at,
        detail: serde_json::from_str(&open_text(&detail)?).map_err(|e| broken(&e.to_string()))?,
        origin,
        previous: previous.map(ConsentId),
    })
}

/// Up to `limit` records of an account before an id, newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    filter: Filter,
    before: Option<ConsentId>,
    limit: u32,
) -> Result<Vec<Consent>, StoreError> {
    // Of one number by its index.
    let one = if filter.phone_tag.is_some() { "phone_tag = $3" } else { "$3 IS NULL" };
    let text = format!(
        "SELECT {COLUMNS} FROM consent WHERE account_no = $1 AND id < $2 AND {one} AND ($4 IS NULL OR category = $4) \
         ORDER BY id DESC LIMIT $5"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(before.map_or(Uuid::max(), |id| id.0))
            .bind(filter.phone_tag)
            .bind(filter.category.map(Category::number))
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    rows.into_iter().map(read).collect()
}

/// What the records of some numbers come to, in no order; numbers without any are left out. At most a page of numbers.
pub async fn states(db: &Db, account: AccountNo, phone_tags: &[i64]) -> Result<Vec<State>, StoreError> {
    if phone_tags.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<StateRow> = read_db!(db, |c| {
        let mut query = sqlx::QueryBuilder::new(format!("SELECT {STATE} FROM consent_state WHERE account_no = "));
        query.push_bind(account.as_i64()).push(" AND phone_tag IN (");
        let mut tags = query.separated(", ");
        for tag in phone_tags {
            tags.push_bind(*tag);
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await
    })?;
    Ok(rows.into_iter().map(state).collect())
}

/// How many contacts of a group stand where for a category; who is not in it has no record.
pub async fn of_group(
    db: &Db,
    account: AccountNo,
    group: GroupId,
    category: Category,
) -> Result<Vec<(Status, i64)>, StoreError> {
    let rows: Vec<(i16, i64)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT s.status, count(*) FROM contact_group_member m JOIN contact p ON p.account_no = m.account_no AND p.id = m.contact_id \
             JOIN consent_state s ON s.account_no = p.account_no AND s.phone_tag = p.phone_tag \
             WHERE m.account_no = $1 AND m.group_id = $2 AND s.category = $3 GROUP BY s.status",
        )
        .bind(account.as_i64())
        .bind(group.0)
        .bind(category.number())
        .fetch_all(c)
        .await
    })?;
    Ok(rows.into_iter().map(|(n, count)| (Status::from_number(n).unwrap_or(Status::OptedOut), count)).collect())
}

/// A place in the order of states.
pub type Place = (AccountNo, i64, i16);

/// States after a place, at most `limit`, and where to go on. At start.
pub async fn states_after(db: &Db, after: Place, limit: u32) -> Result<(Vec<State>, Option<Place>), StoreError> {
    let text = format!(
        "SELECT {STATE} FROM consent_state WHERE (account_no, phone_tag, category) > ($1, $2, $3) \
         ORDER BY account_no, phone_tag, category LIMIT $4"
    );
    let rows: Vec<StateRow> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(after.0.as_i64())
            .bind(after.1)
            .bind(after.2)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    let next = rows.last().map(|r| (AccountNo::from_i64(r.0), r.1, r.2));
    Ok((rows.into_iter().map(state).collect(), next))
}

/// A place in the order of changes: when, whose and which number.
pub type Change = (i64, AccountNo, i64);

/// What changed after a place, oldest first, at most `limit` (and of the last number all), and the last place.
pub async fn changed_after(db: &Db, after: Change, limit: u32) -> Result<(Vec<State>, Option<Change>), StoreError> {
    let text = format!(
        "SELECT {STATE}, changed_at FROM consent_state WHERE changed_at >= $1 AND (changed_at, account_no, phone_tag) > ($1, $2, $3) \
         ORDER BY changed_at, account_no, phone_tag LIMIT $4"
    );
    type ChangeRow = (i64, i64, i16, i16, i16, i64, Option<i64>, i64);
    let mut rows: Vec<ChangeRow> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(after.0)
            .bind(after.1.as_i64())
            .bind(after.2)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    let place = |r: &ChangeRow| (r.7, AccountNo::from_i64(r.0), r.1);
    // A number whose categories do not all stand in this page comes whole with the next.
    if rows.len() == limit as usize
        && let Some(last) = rows.last().map(place)
        && rows.first().map(place) != Some(last)
    {
        rows.retain(|r| place(r) != last);
    }
    let last = rows.last().map(place);
    Ok((rows.into_iter().map(|(a, t, c, s, f, n, u, _)| state((a, t, c, s, f, n, u))).collect(), last))
}

/// Why a person is not asked whether they agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotAsked {
    /// They refused.
    OptedOut,
    /// They agreed and confirmed it.
    Confirmed,
    /// They were asked; until when the answer is waited for, Unix milliseconds.
    Waiting(i64),
    /// They were asked as often as they may be.
    TooOften,
}

/// How often a person may be asked.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How often at most,
    pub times: i32,
    /// within so many milliseconds of the last time.
    pub within: i64,
}

/// Notes that a number is about to be asked, so that nobody asks it twice; the answer counts until an instant (Unix milliseconds).
pub async fn ask(
    db: &Db,
    account: AccountNo,
    phone_tag: i64,
    category: Category,
    until: i64,
    patience: Patience,
    now: i64,
) -> Result<Result<(), NotAsked>, StoreError> {
    type Asked = (i16, Option<i64>, Option<i64>, i32);
    write_db!(db, |tx| {
        let before: Option<Asked> = sqlx::query_as(
            "UPDATE consent_state SET changed_at = changed_at WHERE account_no = $1 AND phone_tag = $2 AND category = $3 \
             RETURNING status, asked_at, asked_until, CAST(asked_count AS INTEGER)",
        )
        .bind(account.as_i64())
        .bind(phone_tag)
        .bind(category.number())
        .fetch_optional(&mut *tx)
        .await?;
        let (status, asked_at, asked_until, count) = before.unwrap_or((Status::Pending.number(), None, None, 0));
        let count = if asked_at.is_some_and(|at| at > now - patience.within) { count } else { 0 };
        match (Status::from_number(status), asked_until) {
            (Some(Status::OptedOut) | None, _) => return Ok(Err(NotAsked::OptedOut)),
            (Some(Status::Confirmed), _) => return Ok(Err(NotAsked::Confirmed)),
            (_, Some(until)) if until > now => return Ok(Err(NotAsked::Waiting(until))),
            _ if count >= patience.times => return Ok(Err(NotAsked::TooOften)),
            _ => {}
        }
        sqlx::query(
            "INSERT INTO consent_state (account_no, phone_tag, category, status, source, since, asked_at, asked_until, asked_count, changed_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $6) ON CONFLICT (account_no, phone_tag, category) DO UPDATE SET \
             asked_at = excluded.asked_at, asked_until = excluded.asked_until, asked_count = excluded.asked_count, changed_at = excluded.changed_at",
        )
        .bind(account.as_i64())
        .bind(phone_tag)
        .bind(category.number())
        .bind(Status::Pending.number())
        .bind(Source::DoubleOptIn.number())
        .bind(now)
        .bind(until)
        .bind(count + 1)
        .execute(&mut *tx)
        .await?;
    });
    Ok(Ok(()))
}

/// The question was not sent after all.
pub async fn not_asked(
    db: &Db,
    account: AccountNo,
    phone_tag: i64,
    category: Category,
    now: i64,
) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        for text in [
            "UPDATE consent_state SET asked_until = NULL, asked_count = asked_count - 1, changed_at = $4 \
             WHERE account_no = $1 AND phone_tag = $2 AND category = $3 AND asked_until IS NOT NULL",
            "DELETE FROM consent_state WHERE account_no = $1 AND phone_tag = $2 AND category = $3 AND latest_id IS NULL AND changed_at <= $4",
        ] {
            sqlx::query(text)
                .bind(account.as_i64())
                .bind(phone_tag)
                .bind(category.number())
                .bind(now)
                .execute(&mut *tx)
                .await?;
        }
    });
    Ok(())
}

/// Ends the wait for up to `limit` answers whose time is over; how many.
pub async fn stop_waiting(db: &Db, now: i64, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "UPDATE consent_state SET asked_until = NULL, changed_at = $1 WHERE asked_until IS NOT NULL AND (account_no, phone_tag, category) IN \
             (SELECT account_no, phone_tag, category FROM consent_state WHERE asked_until <= $1 LIMIT $2)",
        )
        .bind(now)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}
