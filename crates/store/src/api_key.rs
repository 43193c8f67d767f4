//! API keys: stored as a hash, found by their clear part.

use carillon_domain::id::{AccountNo, ApiKeyId};
use carillon_domain::permission::Scopes;
use uuid::Uuid;

use crate::db::{newest, one};
use crate::{Db, StoreError};

/// One key, without its secret.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// The id of its row.
    pub id: ApiKeyId,
    /// Whose it is.
    pub account: AccountNo,
    /// The clear part of the key.
    pub key_id: String,
    /// SHA-256 of the whole key.
    pub secret_hash: Vec<u8>,
    /// The last four characters.
    pub hint: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds; `None` = never.
    pub expires_at: Option<i64>,
    /// Unix milliseconds.
    pub revoked_at: Option<i64>,
    /// About when it was last used, Unix milliseconds.
    pub used_at: Option<i64>,
}

type Row = (Uuid, i64, String, Vec<u8>, String, String, String, i64, Option<i64>, Option<i64>, Option<i64>);
const COLUMNS: &str =
    "id, account_no, key_id, secret_hash, hint, name, scopes, created_at, expires_at, revoked_at, used_at";

fn read((id, no, key_id, secret_hash, hint, name, scopes, created_at, expires_at, revoked_at, used_at): Row) -> ApiKey {
    // A scope this version does not know gives nothing; the others stay.
    let scopes = scopes.split_whitespace().filter_map(|word| word.parse().ok()).fold(Scopes::NONE, Scopes::with);
    let (id, account) = (ApiKeyId(id), AccountNo::from_i64(no));
    ApiKey { id, account, key_id, secret_hash, hint, name, scopes, created_at, expires_at, revoked_at, used_at }
}

/// Stores a new key.
pub async fn create(db: &Db, key: &ApiKey) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO api_key (id, account_no, key_id, secret_hash, hint, name, scopes, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(key.id.0)
        .bind(key.account.as_i64())
        .bind(&key.key_id)
        .bind(&key.secret_hash)
        .bind(&key.hint)
        .bind(&key.name)
        .bind(key.scopes.to_text())
        .bind(key.created_at)
        .bind(key.expires_at)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// The key with that clear part, revoked or not. The caller is not known yet, so this one look-up is not scoped to an account.
pub async fn by_key_id(db: &Db, key_id: &str) -> Result<Option<ApiKey>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM api_key WHERE key_id = $1");
    let row = read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(key_id).fetch_optional(c).await)?;
    Ok(row.map(read))
}

/// One key of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: ApiKeyId) -> Result<ApiKey, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM api_key WHERE account_no = $1 AND id = $2");
    let row = one(db, text, account, id.0).await?;
    Ok(read(row))
}

/// Up to `limit` keys of an account older than one (all, if `None`), newest first; revoked ones too.
pub async fn list(
    db: &Db,
    account: AccountNo,
    before: Option<ApiKeyId>,
    limit: u32,
) -> Result<Vec<ApiKey>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM api_key WHERE account_no = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    let rows: Vec<Row> = newest(db, text, account, before.map(|id| id.0), limit).await?;
    Ok(rows.into_iter().map(read).collect())
}

/// Ends a key of that account; `NotFound` if it is not theirs. Ending it twice keeps the first time.
pub async fn revoke(db: &Db, account: AccountNo, id: ApiKeyId, now: i64) -> Result<ApiKey, StoreError> {
    let text = format!(
        "UPDATE api_key SET revoked_at = COALESCE(revoked_at, $3) WHERE account_no = $1 AND id = $2 RETURNING {COLUMNS}"
    );
    let row: Row = write_db!(db, |tx| {
        sqlx::query_as(crate::db::built(text)).bind(account.as_i64()).bind(id.0).bind(now).fetch_one(&mut *tx).await?
    });
    Ok(read(row))
}

/// Notes that a key was used; the caller sees to it that this happens at most once a minute.
pub async fn touch(db: &Db, account: AccountNo, id: ApiKeyId, now: i64) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query("UPDATE api_key SET used_at = $3 WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(id.0)
            .bind(now)
            .execute(&mut *tx)
            .await?;
    });
    Ok(())
}
