//! Tables of contacts that were uploaded: how far each is taken in, and what is wrong with its rows. `take` writes the next rows of one.

mod take;

use carillon_domain::charset::Charset;
use carillon_domain::id::{AccountNo, ContactImportId};
use uuid::Uuid;

use crate::db::{newest, one};
use crate::hot::open_text;
use crate::{Db, StoreError};

pub use take::{Chunk, Item, Taken, take};

/// Where an import stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// The file is here; nobody said yet how it is meant.
    Uploaded = 0,
    /// Its rows are being taken.
    Running = 1,
    /// All of it was read.
    Finished = 2,
    /// Somebody ended it; what was taken stays.
    Canceled = 3,
    /// It could not be read to its end; what was taken stays.
    Failed = 4,
}

impl Status {
    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Uploaded => "uploaded",
            Status::Running => "running",
            Status::Finished => "finished",
            Status::Canceled => "canceled",
            Status::Failed => "failed",
        }
    }

    fn from_i16(n: i16) -> Status {
        match n {
            0 => Status::Uploaded,
            1 => Status::Running,
            2 => Status::Finished,
            3 => Status::Canceled,
            _ => Status::Failed,
        }
    }
}

/// How many rows became what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Rows read.
    pub read: i64,
    /// Contacts made.
    pub created: i64,
    /// Contacts changed.
    pub updated: i64,
    /// Contacts that were there and stayed as they are.
    pub kept: i64,
    /// Rows whose number stands in a row before.
    pub repeated: i64,
    /// Rows that are wrong.
    pub bad: i64,
}

/// An import.
#[derive(Clone, PartialEq, Debug)]
pub struct Import {
    /// Its id; also says whose it is and when it was uploaded.
    pub id: ContactImportId,
    /// Where it stands.
    pub status: Status,
    /// Octets of the file.
    pub octets: i64,
    /// In what it is written.
    pub charset: Charset,
    /// What stands between two cells.
    pub delimiter: u8,
    /// How it is taken (`domain::contact_import::Plan` as JSON), once started.
    pub plan: Option<String>,
    /// What became of its rows so far.
    pub counts: Counts,
    /// About how many octets were read.
    pub read_to: i64,
    /// Why it could not be read to its end.
    pub failure: Option<String>,
    /// Unix milliseconds.
    pub started_at: Option<i64>,
    /// Unix milliseconds.
    pub ended_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    status: i16,
    octets: i64,
    charset: i16,
    delimiter: i16,
    plan: Option<String>,
    read: i64,
    read_to: i64,
    created: i64,
    updated: i64,
    kept: i64,
    repeated: i64,
    bad: i64,
    failure: Option<String>,
    started_at: Option<i64>,
    ended_at: Option<i64>,
}

const COLUMNS: &str = "id, status, octets, charset, delimiter, plan, read, read_to, created, updated, kept, repeated, bad, failure, \
     started_at, ended_at";

impl TryFrom<Row> for Import {
    type Error = StoreError;
    fn try_from(r: Row) -> Result<Import, StoreError> {
        let broken = |what: &str| StoreError::Broken(format!("import {}: {what}", ContactImportId(r.id)));
        Ok(Import {
            id: ContactImportId(r.id),
            status: Status::from_i16(r.status),
            octets: r.octets,
            charset: Charset::from_number(r.charset).ok_or_else(|| broken("an unknown charset"))?,
            delimiter: u8::try_from(r.delimiter).map_err(|_| broken("a strange delimiter"))?,
            plan: r.plan,
            counts: Counts {
                read: r.read,
                created: r.created,
                updated: r.updated,
                kept: r.kept,
                repeated: r.repeated,
                bad: r.bad,
            },
            read_to: r.read_to,
            failure: r.failure,
            started_at: r.started_at,
            ended_at: r.ended_at,
        })
    }
}

/// Stores a file's row. False if the account has so many already that wait to be started.
pub async fn create(db: &Db, account: AccountNo, import: &Import, waiting_max: i64) -> Result<bool, StoreError> {
    Ok(write_db!(db, |tx| {
        let (waiting,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM contact_import WHERE account_no = $1 AND status IN (0, 1)")
                .bind(account.as_i64())
                .fetch_one(&mut *tx)
                .await?;
        if waiting < waiting_max {
            sqlx::query(
                "INSERT INTO contact_import (account_no, id, status, octets, charset, delimiter, read, read_to, created, updated, kept, \
                 repeated, bad, created_at) VALUES ($1, $2, 0, $3, $4, $5, 0, 0, 0, 0, 0, 0, 0, $6)",
            )
            .bind(account.as_i64())
            .bind(import.id.0)
            .bind(import.octets)
            .bind(import.charset.number())
            .bind(i16::from(import.delimiter))
            .bind(import.id.millis())
            .execute(&mut *tx)
            .await?;
        }
        waiting < waiting_max
    }))
}

/// One import of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: ContactImportId) -> Result<Import, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM contact_import WHERE account_no = $1 AND id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    row.try_into()
}

/// Up to `limit` imports of an account before an id, newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    before: Option<ContactImportId>,
    limit: u32,
) -> Result<Vec<Import>, StoreError> {
    let text =
        format!("SELECT {COLUMNS} FROM contact_import WHERE account_no = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    let rows: Vec<Row> = newest(db, text, account, before.map(|id| id.0), limit).await?;
    rows.into_iter().map(Import::try_from).collect()
}

/// Imports of all accounts whose rows are being taken, the first started first.
pub async fn running(db: &Db, limit: u32) -> Result<Vec<ContactImportId>, StoreError> {
    let rows: Vec<(Uuid,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT id FROM contact_import WHERE status = 1 ORDER BY started_at, id LIMIT $1")
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    Ok(rows.into_iter().map(|(id,)| ContactImportId(id)).collect())
}

/// Begins an import that was uploaded, by a plan (JSON). False if it stands elsewhere; `NotFound` if it is not there.
pub async fn start(db: &Db, account: AccountNo, id: ContactImportId, plan: &str, now: i64) -> Result<bool, StoreError> {
    change(
        db,
        account,
        id,
        "UPDATE contact_import SET status = 1, plan = $3, started_at = $4 WHERE account_no = $1 AND id = $2 AND status = 0",
        Some(plan),
        now,
    )
    .await
}

/// Ends an import that was not read to its end; what was taken stays. False if it has ended; `NotFound` if it is not there.
pub async fn cancel(db: &Db, account: AccountNo, id: ContactImportId, now: i64) -> Result<bool, StoreError> {
    change(
        db,
        account,
        id,
        "UPDATE contact_import SET status = 3, failure = $3, ended_at = $4 WHERE account_no = $1 AND id = $2 AND status IN (0, 1)",
        None,
        now,
    )
    .await
}

/// An import that runs has come to its end; or, with why, to where it cannot be read on.
pub async fn finish(
    db: &Db,
    account: AccountNo,
    id: ContactImportId,
    failure: Option<&str>,
    now: i64,
) -> Result<bool, StoreError> {
    change(
        db,
        account,
        id,
        "UPDATE contact_import SET status = CASE WHEN $3 IS NULL THEN 2 ELSE 4 END, failure = $3, ended_at = $4, \
         read_to = CASE WHEN $3 IS NULL THEN octets ELSE read_to END WHERE account_no = $1 AND id = $2 AND status = 1",
        failure,
        now,
    )
    .await
}

async fn change(
    db: &Db,
    account: AccountNo,
    id: ContactImportId,
    text: &'static str,
    value: Option<&str>,
    now: i64,
) -> Result<bool, StoreError> {
    Ok(write_db!(db, |tx| {
        let changed = sqlx::query(text)
            .bind(account.as_i64())
            .bind(id.0)
            .bind(value)
            .bind(now)
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if changed == 0 {
            let found: Option<(i64,)> =
                sqlx::query_as("SELECT octets FROM contact_import WHERE account_no = $1 AND id = $2")
                    .bind(account.as_i64())
                    .bind(id.0)
                    .fetch_optional(&mut *tx)
                    .await?;
            found.ok_or(StoreError::NotFound)?;
        }
        changed == 1
    }))
}

/// Something wrong with a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadCell {
    /// Which row, from 1, without the heading.
    pub row: i64,
    /// Of several mistakes in a row, from 0.
    pub place: i16,
    /// Where the row begins in the file, from 1.
    pub line: i64,
    /// The column's heading.
    pub heading: String,
    /// What stands there, cut if it is long.
    pub value: String,
    /// The code for programs.
    pub code: String,
    /// What is wrong.
    pub detail: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

/// Up to `limit` mistakes of an import after a place (row, and which of its mistakes), in order.
pub async fn errors(
    db: &Db,
    account: AccountNo,
    id: ContactImportId,
    after: (i64, i16),
    limit: u32,
) -> Result<Vec<BadCell>, StoreError> {
    type ErrorRow = (i64, i16, i64, String, Vec<u8>, String, String, Option<Vec<u8>>);
    let rows: Vec<ErrorRow> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT row_no, place, line, heading, value, code, detail, suggestion FROM contact_import_error \
             WHERE account_no = $1 AND import_id = $2 AND (row_no, place) > ($3, $4) ORDER BY row_no, place LIMIT $5",
        )
        .bind(account.as_i64())
        .bind(id.0)
        .bind(after.0)
        .bind(after.1)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await
    })?;
    let cell = |(row, place, line, heading, value, code, detail, suggestion): ErrorRow| {
        let suggestion = suggestion.as_deref().map(open_text).transpose()?.map(|text| text.to_string());
        let value = open_text(&value)?.to_string();
        Ok(BadCell { row, place, line, heading, value, code, detail, suggestion })
    };
    rows.into_iter().map(cell).collect()
}

/// Within `write_db!`: writes down what is wrong.
macro_rules! put_errors {
    ($tx:ident, $account:expr, $id:expr, $errors:expr) => {
        for chunk in $errors.chunks(2_000) {
            let mut insert = sqlx::QueryBuilder::new(
                "INSERT INTO contact_import_error (account_no, import_id, row_no, place, line, heading, value, code, detail, suggestion) ",
            );
            insert.push_values(chunk, |mut row, e: &$crate::contact_import::BadCell| {
                row.push_bind($account.as_i64())
                    .push_bind($id.0)
                    .push_bind(e.row)
                    .push_bind(e.place)
                    .push_bind(e.line)
                    .push_bind(e.heading.clone())
                    .push_bind(seal_text(&e.value))
                    .push_bind(e.code.clone())
                    .push_bind(e.detail.clone())
                    .push_bind(e.suggestion.as_deref().map(seal_text));
            });
            insert.build().execute(&mut *$tx).await?;
        }
    };
}
use put_errors;

/// The oldest import that was uploaded before an instant (Unix milliseconds), of any account, after one.
pub async fn older(
    db: &Db,
    after: (AccountNo, ContactImportId),
    before: i64,
) -> Result<Option<ContactImportId>, StoreError> {
    let row: Option<(Uuid,)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT id FROM contact_import WHERE (account_no, id) > ($1, $2) AND created_at < $3 ORDER BY account_no, id LIMIT 1",
        )
        .bind(after.0.as_i64())
        .bind(after.1.0)
        .bind(before)
        .fetch_optional(c)
        .await
    })?;
    Ok(row.map(|(id,)| ContactImportId(id)))
}

/// Takes up to `limit` mistakes of an import away, and then the import itself; how many rows went.
pub async fn forget(db: &Db, account: AccountNo, id: ContactImportId, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        let gone = sqlx::query(
            "DELETE FROM contact_import_error WHERE account_no = $1 AND import_id = $2 AND (row_no, place) IN \
             (SELECT row_no, place FROM contact_import_error WHERE account_no = $1 AND import_id = $2 LIMIT $3)",
        )
        .bind(account.as_i64())
        .bind(id.0)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if gone > 0 {
            gone
        } else {
            sqlx::query("DELETE FROM contact_import WHERE account_no = $1 AND id = $2")
                .bind(account.as_i64())
                .bind(id.0)
                .execute(&mut *tx)
                .await?
                .rows_affected()
        }
    }))
}
