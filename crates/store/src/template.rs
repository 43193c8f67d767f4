//! Texts that are kept to be sent again.

use std::sync::Arc;

use carillon_domain::id::{AccountNo, TemplateId};
use uuid::Uuid;

use crate::db::{delete_one, newest, one};
use crate::hot::{open_text, seal_text};
use crate::{Db, StoreError};

/// A text with a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    /// Its id; also names the account.
    pub id: TemplateId,
    /// What people call it, one template's alone.
    pub name: String,
    /// The text with its places.
    pub text: Arc<str>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub changed_at: i64,
}

type Row = (Uuid, String, Vec<u8>, i64, i64);
const COLUMNS: &str = "id, name, text, created_at, changed_at";

fn read((id, name, text, created_at, changed_at): Row) -> Result<Template, StoreError> {
    Ok(Template { id: TemplateId(id), name, text: open_text(&text)?, created_at, changed_at })
}

fn named(e: StoreError) -> StoreError {
    match e {
        StoreError::Taken(_) => StoreError::Taken("template name"),
        other => other,
    }
}

/// Stores a new one; `Taken` if another has its name, `Taken("templates")` if the account has `most` of them.
pub async fn create(db: &Db, t: &Template, most: u32) -> Result<(), StoreError> {
    let account = t.id.account();
    write_db!(db, |tx| {
        let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM template WHERE account_no = $1")
            .bind(account.as_i64())
            .fetch_one(&mut *tx)
            .await?;
        if count >= i64::from(most) {
            return Err(StoreError::Taken("templates"));
        }
        sqlx::query(
            "INSERT INTO template (account_no, id, name, text, created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(account.as_i64())
        .bind(t.id.0)
        .bind(&t.name)
        .bind(seal_text(&t.text))
        .bind(t.created_at)
        .bind(t.changed_at)
        .execute(&mut *tx)
        .await
        .map_err(|e| named(e.into()))?;
    });
    Ok(())
}

/// Writes name and text; `NotFound` if it is not there, `Taken` if another has the name.
pub async fn change(db: &Db, t: &Template) -> Result<(), StoreError> {
    let changed = write_db!(db, |tx| {
        sqlx::query("UPDATE template SET name = $3, text = $4, changed_at = $5 WHERE account_no = $1 AND id = $2")
            .bind(t.id.account().as_i64())
            .bind(t.id.0)
            .bind(&t.name)
            .bind(seal_text(&t.text))
            .bind(t.changed_at)
            .execute(&mut *tx)
            .await
            .map_err(|e| named(e.into()))?
            .rows_affected()
    });
    if changed == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}

/// Takes one away; `NotFound` if it is not there.
pub async fn delete(db: &Db, account: AccountNo, id: TemplateId) -> Result<(), StoreError> {
    delete_one(db, "DELETE FROM template WHERE account_no = $1 AND id = $2", account, id.0).await
}

/// One template of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: TemplateId) -> Result<Template, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM template WHERE account_no = $1 AND id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    read(row)
}

/// Up to `limit` templates before an id, newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    before: Option<TemplateId>,
    limit: u32,
) -> Result<Vec<Template>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM template WHERE account_no = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    let rows: Vec<Row> = newest(db, text, account, before.map(|id| id.0), limit).await?;
    rows.into_iter().map(read).collect()
}
