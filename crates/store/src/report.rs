//! Saved reports of accounts, and when they are mailed.

use carillon_domain::id::{AccountNo, ReportId};
use carillon_domain::report::Definition;
use uuid::Uuid;

use crate::email::{NewEmail, put_email};
use crate::{Db, StoreError};

/// A saved report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Its id.
    pub id: ReportId,
    /// What people call it.
    pub name: String,
    /// What it asks.
    pub definition: Definition,
    /// When it is mailed next, Unix milliseconds.
    pub next_at: Option<i64>,
    /// When it was mailed last, Unix milliseconds.
    pub sent_at: Option<i64>,
    /// Unix milliseconds.
    pub created_at: i64,
}

type Row = (Uuid, String, String, Option<i64>, Option<i64>, i64);
const COLUMNS: &str = "id, name, definition, next_at, sent_at, created_at";

fn read((id, name, definition, next_at, sent_at, created_at): Row) -> Result<Report, StoreError> {
    let definition = serde_json::from_str(&definition)
        .map_err(|e| StoreError::Broken(format!("the definition of report {id}: {e}")))?;
    Ok(Report { id: ReportId(id), name, definition, next_at, sent_at, created_at })
}

fn json(definition: &Definition) -> String {
    serde_json::to_string(definition).expect("a definition is plain data")
}

/// Saves a new report, unless the account has `max` already: then `false`.
pub async fn create(db: &Db, r: &Report, max: i64) -> Result<bool, StoreError> {
    let account = r.id.account().as_i64();
    let made = write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO report (account_no, id, name, definition, next_at, sent_at, created_at, changed_at)
             SELECT $1, $2, $3, $4, $5, NULL, $6, $6 WHERE (SELECT COUNT(*) FROM report WHERE account_no = $1) < $7",
        )
        .bind(account)
        .bind(r.id.0)
        .bind(&r.name)
        .bind(json(&r.definition))
        .bind(r.next_at)
        .bind(r.created_at)
        .bind(max)
        .execute(&mut *tx)
        .await?
        .rows_affected()
    });
    Ok(made == 1)
}

/// Gives a report another name, definition and time.
pub async fn replace(
    db: &Db,
    account: AccountNo,
    id: ReportId,
    name: &str,
    definition: &Definition,
    next_at: Option<i64>,
    now: i64,
) -> Result<(), StoreError> {
    let changed = write_db!(db, |tx| {
        sqlx::query(
            "UPDATE report SET name = $3, definition = $4, next_at = $5, changed_at = $6 WHERE account_no = $1 AND id = $2",
        )
        .bind(account.as_i64())
        .bind(id.0)
        .bind(name)
        .bind(json(definition))
        .bind(next_at)
        .bind(now)
        .execute(&mut *tx)
        .await?
        .rows_affected()
    });
    if changed == 1 { Ok(()) } else { Err(StoreError::NotFound) }
}

/// Takes a report away.
pub async fn delete(db: &Db, account: AccountNo, id: ReportId) -> Result<(), StoreError> {
    let gone = write_db!(db, |tx| {
        sqlx::query("DELETE FROM report WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(id.0)
            .execute(&mut *tx)
            .await?
            .rows_affected()
    });
    if gone == 1 { Ok(()) } else { Err(StoreError::NotFound) }
}

/// One report of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: ReportId) -> Result<Report, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM report WHERE account_no = $1 AND id = $2");
    let row: Row =
        read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(account.as_i64()).bind(id.0).fetch_one(c).await)?;
    read(row)
}

/// Up to `limit` reports of an account before an id, newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    before: Option<ReportId>,
    limit: u32,
) -> Result<Vec<Report>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM report WHERE account_no = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(before.map_or(Uuid::max(), |id| id.0))
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    rows.into_iter().map(read).collect()
}

/// Up to `limit` reports that are to be mailed by now (Unix milliseconds), those due first first; for the one process that mails: accounts all
/// together. What cannot be read is left out.
pub async fn due(db: &Db, now: i64, limit: u32) -> Result<Vec<Report>, StoreError> {
    let text =
        format!("SELECT {COLUMNS} FROM report WHERE next_at IS NOT NULL AND next_at <= $1 ORDER BY next_at LIMIT $2");
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text)).bind(now).bind(i64::from(limit)).fetch_all(c).await
    })?;
    Ok(rows.into_iter().filter_map(|row| read(row).ok()).collect())
}

/// Has the mails of a report sent and moves it to its next time, in one transaction: after a crash either both happened or neither. `false`, and
/// nothing happened, if it is not due any more as it was read: deleted, mailed by another, or changed, which gives it a time to come. Wake
/// the sender after it.
pub async fn mailed(
    db: &Db,
    report: &Report,
    next_at: Option<i64>,
    mails: &[NewEmail],
    now: i64,
) -> Result<bool, StoreError> {
    Ok(write_db!(db, |tx| {
        let moved = sqlx::query(
            "UPDATE report SET next_at = $4, sent_at = $5 WHERE account_no = $1 AND id = $2 AND next_at = $3",
        )
        .bind(report.id.account().as_i64())
        .bind(report.id.0)
        .bind(report.next_at)
        .bind(next_at)
        .bind(now)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if moved == 1 {
            for mail in mails {
                put_email!(tx, mail);
            }
        }
        moved == 1
    }))
}
