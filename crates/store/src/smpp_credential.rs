//! What customers bind with by SMPP: found by their system_id, the password stored as a hash.

use carillon_domain::id::{AccountNo, SmppCredentialId};
use carillon_domain::smpp::{CREDENTIAL_NO_MAX, CredentialSettings};
use uuid::Uuid;

use crate::db::{newest, one};
use crate::{Db, StoreError};

/// One credential, without its password.
#[derive(Clone, Debug)]
pub struct SmppCredential {
    /// The id of its row.
    pub id: SmppCredentialId,
    /// Whose it is.
    pub account: AccountNo,
    /// Its number within the account, never given twice.
    pub no: u16,
    /// What people call it.
    pub name: String,
    /// The name it binds with.
    pub system_id: String,
    /// Argon2id, PHC string.
    pub password_hash: String,
    /// Its bounds and ways.
    pub settings: CredentialSettings,
    /// Whether it may bind.
    pub enabled: bool,
    /// Unix milliseconds.
    pub created_at: i64,
    /// About when it was last bound, Unix milliseconds.
    pub bound_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    account_no: i64,
    id: Uuid,
    no: i16,
    name: String,
    system_id: String,
    password_hash: String,
    settings: String,
    enabled: bool,
    created_at: i64,
    bound_at: Option<i64>,
}

const COLUMNS: &str = "account_no, id, no, name, system_id, password_hash, settings, enabled, created_at, bound_at";

impl TryFrom<Row> for SmppCredential {
    type Error = StoreError;
    fn try_from(r: Row) -> Result<SmppCredential, StoreError> {
        let settings = serde_json::from_str(&r.settings)
            .map_err(|e| StoreError::Broken(format!("settings of the SMPP credential {}: {e}", r.system_id)))?;
        Ok(SmppCredential {
            id: SmppCredentialId(r.id),
            account: AccountNo::from_i64(r.account_no),
            no: r.no as u16,
            name: r.name,
            system_id: r.system_id,
            password_hash: r.password_hash,
            settings,
            enabled: r.enabled,
            created_at: r.created_at,
            bound_at: r.bound_at,
        })
    }
}

fn settings_text(settings: &CredentialSettings) -> String {
    serde_json::to_string(settings).expect("settings are plain data")
}

/// Stores a new credential and gives it its number, which `credential.no` does not say yet. `Taken` when its system_id is in use, or
/// the account has used up its numbers.
pub async fn create(db: &Db, credential: &SmppCredential) -> Result<SmppCredential, StoreError> {
    let row: Row = write_db!(db, |tx| {
        let last: Option<i64> =
            sqlx::query_scalar("SELECT CAST(MAX(no) AS BIGINT) FROM smpp_credential WHERE account_no = $1")
                .bind(credential.account.as_i64())
                .fetch_one(&mut *tx)
                .await?;
        let no = last.unwrap_or(0) + 1;
        if no > i64::from(CREDENTIAL_NO_MAX) {
            return Err(StoreError::Taken("every number of an SMPP credential"));
        }
        let text = format!(
            "INSERT INTO smpp_credential (account_no, id, no, name, system_id, password_hash, settings, enabled, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING {COLUMNS}"
        );
        sqlx::query_as(crate::db::built(text))
            .bind(credential.account.as_i64())
            .bind(credential.id.0)
            .bind(no as i16)
            .bind(&credential.name)
            .bind(&credential.system_id)
            .bind(&credential.password_hash)
            .bind(settings_text(&credential.settings))
            .bind(credential.enabled)
            .bind(credential.created_at)
            .fetch_one(&mut *tx)
            .await?
    });
    row.try_into()
}

/// The credential of that name, if it was not deleted. Who binds is not known yet, so this one look-up is not scoped to an account.
pub async fn by_system_id(db: &Db, system_id: &str) -> Result<Option<SmppCredential>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM smpp_credential WHERE system_id = $1 AND deleted_at IS NULL");
    let row: Option<Row> =
        read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(system_id).fetch_optional(c).await)?;
    row.map(SmppCredential::try_from).transpose()
}

/// One credential of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: SmppCredentialId) -> Result<SmppCredential, StoreError> {
    let text =
        format!("SELECT {COLUMNS} FROM smpp_credential WHERE account_no = $1 AND id = $2 AND deleted_at IS NULL");
    let row: Row = one(db, text, account, id.0).await?;
    row.try_into()
}

/// Up to `limit` credentials of an account older than one (all, if `None`), newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    before: Option<SmppCredentialId>,
    limit: u32,
) -> Result<Vec<SmppCredential>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM smpp_credential WHERE account_no = $1 AND id < $2 AND deleted_at IS NULL ORDER BY id DESC LIMIT $3"
    );
    let rows: Vec<Row> = newest(db, text, account, before.map(|id| id.0), limit).await?;
    rows.into_iter().map(SmppCredential::try_from).collect()
}

/// What may change of a credential; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What people call it.
    pub name: Option<String>,
    /// Argon2id, PHC string.
    pub password_hash: Option<String>,
    /// Its bounds and ways, whole.
    pub settings: Option<CredentialSettings>,
    /// Whether it may bind.
    pub enabled: Option<bool>,
}

/// Changes a credential of that account.
pub async fn change(
    db: &Db,
    account: AccountNo,
    id: SmppCredentialId,
    change: &Change,
) -> Result<SmppCredential, StoreError> {
    let text = format!(
        "UPDATE smpp_credential SET name = COALESCE($3, name), password_hash = COALESCE($4, password_hash), \
         settings = COALESCE($5, settings), enabled = COALESCE($6, enabled) \
         WHERE account_no = $1 AND id = $2 AND deleted_at IS NULL RETURNING {COLUMNS}"
    );
    let row: Row = write_db!(db, |tx| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(id.0)
            .bind(&change.name)
            .bind(&change.password_hash)
            .bind(change.settings.as_ref().map(settings_text))
            .bind(change.enabled)
            .fetch_one(&mut *tx)
            .await?
    });
    row.try_into()
}

/// Ends a credential of that account. Its row stays, so that its number and its name are not given again; what waited for it goes.
pub async fn delete(db: &Db, account: AccountNo, id: SmppCredentialId, now: i64) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        let no: i16 = sqlx::query_scalar(
            "UPDATE smpp_credential SET deleted_at = $3, enabled = FALSE WHERE account_no = $1 AND id = $2 AND deleted_at IS NULL
             RETURNING no",
        )
        .bind(account.as_i64())
        .bind(id.0)
        .bind(now)
        .fetch_one(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM smpp_delivery WHERE account_no = $1 AND credential = $2")
            .bind(account.as_i64())
            .bind(no)
            .execute(&mut *tx)
            .await?;
    });
    Ok(())
}

/// Notes that a credential was bound; the caller sees to it that this happens at most once a minute.
pub async fn touch(db: &Db, account: AccountNo, id: SmppCredentialId, now: i64) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query("UPDATE smpp_credential SET bound_at = $3 WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(id.0)
            .bind(now)
            .execute(&mut *tx)
            .await?;
    });
    Ok(())
}
