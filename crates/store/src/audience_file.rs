//! Uploaded files of people to write to: their rows, read and checked once, and who of them is no number.

use std::sync::Arc;

use carillon_domain::campaign::Words;
use carillon_domain::id::{AccountNo, AudienceFileId};
use uuid::Uuid;

use crate::campaign::{opened, sealed};
use crate::db::{built, delete_one, newest, one};
use crate::hot::{open_phone, open_text, seal_phone, seal_text};
use crate::{Db, StoreError};

/// A file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AudienceFile {
    /// Its id; also names the account.
    pub id: AudienceFileId,
    /// What people call it.
    pub name: String,
    /// Names of its variables.
    pub columns: Vec<String>,
    /// Rows in it.
    pub rows: u32,
    /// Rows without a number that can be.
    pub bad: u32,
    /// Unix milliseconds.
    pub created_at: i64,
}

/// A row of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileRow {
    /// Its line in the file, from 1.
    pub line: u32,
    /// E.164 digits without +; or what was written, and why it is no number.
    pub to: Result<u64, (Arc<str>, String)>,
    /// Words by the names of the columns.
    pub words: Words,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    columns: String,
    row_count: i32,
    bad: i32,
    created_at: i64,
}

const COLUMNS: &str = "id, name, columns, row_count, bad, created_at";

impl TryFrom<Row> for AudienceFile {
    type Error = StoreError;
    fn try_from(r: Row) -> Result<AudienceFile, StoreError> {
        let columns = serde_json::from_str(&r.columns)
            .map_err(|e| StoreError::Broken(format!("columns of audience file {}: {e}", r.id)))?;
        Ok(AudienceFile {
            id: AudienceFileId(r.id),
            name: r.name,
            columns,
            rows: r.row_count.max(0) as u32,
            bad: r.bad.max(0) as u32,
            created_at: r.created_at,
        })
    }
}

/// Begins a file: it is nobody's until it is complete.
pub async fn begin(db: &Db, file: &AudienceFile) -> Result<(), StoreError> {
    let columns = serde_json::to_string(&file.columns).expect("texts are JSON");
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO audience_file (account_no, id, name, ready, columns, row_count, bad, created_at) VALUES ($1, $2, $3, 0, $4, 0, 0, $5)",
        )
        .bind(file.id.account().as_i64())
        .bind(file.id.0)
        .bind(&file.name)
        .bind(columns)
        .bind(file.created_at)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// Rows of one transaction: other writers wait that long.
pub const ROWS: usize = 1_000;

/// Writes some of its rows, at most [`ROWS`].
pub async fn write(db: &Db, account: AccountNo, id: AudienceFileId, rows: &[FileRow]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    write_db!(db, |tx| {
        let mut query =
            sqlx::QueryBuilder::new("INSERT INTO audience_row (account_no, file_id, line, phone, given, code, words) ");
        query.push_values(rows, |mut row, r| {
            let (phone, given, code) = match &r.to {
                Ok(digits) => (Some(seal_phone(*digits).to_vec()), None, None),
                Err((given, code)) => (None, Some(seal_text(given)), Some(code.clone())),
            };
            let words = (!r.words.is_empty()).then(|| sealed(&r.words));
            row.push_bind(account.as_i64()).push_bind(id.0).push_bind(r.line as i32);
            row.push_bind(phone).push_bind(given).push_bind(code).push_bind(words);
        });
        query.build().execute(&mut *tx).await?;
    });
    Ok(())
}

/// It is complete, with so many rows.
pub async fn complete(db: &Db, account: AccountNo, id: AudienceFileId, rows: u32, bad: u32) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query("UPDATE audience_file SET ready = 1, row_count = $3, bad = $4 WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(id.0)
            .bind(rows as i32)
            .bind(bad as i32)
            .execute(&mut *tx)
            .await?;
    });
    Ok(())
}

/// One file of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: AudienceFileId) -> Result<AudienceFile, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM audience_file WHERE account_no = $1 AND id = $2 AND ready = 1");
    let row: Row = one(db, text, account, id.0).await?;
    row.try_into()
}

/// Up to `limit` files before an id, newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    before: Option<AudienceFileId>,
    limit: u32,
) -> Result<Vec<AudienceFile>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM audience_file WHERE account_no = $1 AND id < $2 AND ready = 1 ORDER BY id DESC LIMIT $3"
    );
    let rows: Vec<Row> = newest(db, text, account, before.map(|id| id.0), limit).await?;
    rows.into_iter().map(AudienceFile::try_from).collect()
}

/// Up to `limit` rows behind a line, in order; `bad`: only those that are no number.
pub async fn rows(
    db: &Db,
    account: AccountNo,
    id: AudienceFileId,
    bad: bool,
    after: u32,
    limit: u32,
) -> Result<Vec<FileRow>, StoreError> {
    type Row = (i32, Option<Vec<u8>>, Option<Vec<u8>>, Option<String>, Option<Vec<u8>>);
    let only = if bad { "AND code IS NOT NULL" } else { "" };
    let text = format!(
        "SELECT line, phone, given, code, words FROM audience_row WHERE account_no = $1 AND file_id = $2 AND line > $3 {only} \
         ORDER BY line LIMIT $4"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(built(text))
            .bind(account.as_i64())
            .bind(id.0)
            .bind(after as i32)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    rows.into_iter()
        .map(|(line, phone, given, code, words)| {
            let to = match phone {
                Some(phone) => Ok(open_phone(&phone)?),
                None => {
                    let given = given.as_deref().map_or_else(|| Ok(Arc::from("")), open_text)?;
                    Err((given, code.unwrap_or_default()))
                }
            };
            let words = words.map_or(Ok(Words::new()), |sealed| opened("words of an audience file", &sealed))?;
            Ok(FileRow { line: line.max(0) as u32, to, words })
        })
        .collect()
}

/// Takes a file away; `NotFound` if it is not there. Its rows go with [`forget`], page by page.
pub async fn delete(db: &Db, account: AccountNo, id: AudienceFileId) -> Result<(), StoreError> {
    delete_one(db, "DELETE FROM audience_file WHERE account_no = $1 AND id = $2", account, id.0).await
}

/// Takes up to `limit` rows of a file away; how many there were.
pub async fn forget(db: &Db, account: AccountNo, id: AudienceFileId, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "DELETE FROM audience_row WHERE account_no = $1 AND file_id = $2 AND line IN \
             (SELECT line FROM audience_row WHERE account_no = $1 AND file_id = $2 LIMIT $3)",
        )
        .bind(account.as_i64())
        .bind(id.0)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}

/// The oldest file that was begun before an instant; `unready`: among those that were never completed. Of whatever account.
pub async fn begun_before(
    db: &Db,
    before: i64,
    unready: bool,
) -> Result<Option<(AccountNo, AudienceFileId)>, StoreError> {
    let only = if unready { "AND ready = 0" } else { "" };
    let text =
        format!("SELECT account_no, id FROM audience_file WHERE created_at < $1 {only} ORDER BY created_at LIMIT 1");
    let row: Option<(i64, Uuid)> = read_db!(db, |c| sqlx::query_as(built(text)).bind(before).fetch_optional(c).await)?;
    Ok(row.map(|(account, id)| (AccountNo::from_i64(account), AudienceFileId(id))))
}
