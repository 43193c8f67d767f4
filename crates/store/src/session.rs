//! Signed-in sessions: each has one refresh token at a time, known by its hash only.

use carillon_domain::id::{AccountNo, SessionId, UserId};
use uuid::Uuid;

use crate::{Db, StoreError};

/// One sign-in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id; access tokens carry it.
    pub id: SessionId,
    /// Who signed in.
    pub user: UserId,
    /// Into which account.
    pub account: AccountNo,
    /// SHA-256 of the current refresh token.
    pub refresh_hash: Vec<u8>,
    /// Where from.
    pub address: String,
    /// With what (`User-Agent`).
    pub agent: String,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Last refresh, Unix milliseconds.
    pub used_at: i64,
    /// When it ends unless refreshed, Unix milliseconds.
    pub expires_at: i64,
    /// When it was ended early.
    pub revoked_at: Option<i64>,
}

type Row = (Uuid, Uuid, i64, Vec<u8>, String, String, i64, i64, i64, Option<i64>);
const COLUMNS: &str =
    "id, user_id, account_no, refresh_hash, address, agent, created_at, used_at, expires_at, revoked_at";

fn read((id, user, no, refresh_hash, address, agent, created_at, used_at, expires_at, revoked_at): Row) -> Session {
    Session {
        id: SessionId(id),
        user: UserId(user),
        account: AccountNo::from_i64(no),
        refresh_hash,
        address,
        agent,
        created_at,
        used_at,
        expires_at,
        revoked_at,
    }
}

/// Stores a new session.
pub async fn create(db: &Db, s: &Session) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO session (id, user_id, account_no, refresh_hash, address, agent, created_at, used_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(s.id.0)
        .bind(s.user.0)
        .bind(s.account.as_i64())
        .bind(&s.refresh_hash)
        .bind(&s.address)
        .bind(&s.agent)
        .bind(s.created_at)
        .bind(s.used_at)
        .bind(s.expires_at)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// The session of that id, ended or not.
pub async fn by_id(db: &Db, id: SessionId) -> Result<Option<Session>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM session WHERE id = $1");
    let row = read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(id.0).fetch_optional(c).await)?;
    Ok(row.map(read))
}

/// The live sessions of a person in an account, newest first.
pub async fn list(db: &Db, account: AccountNo, user: UserId, now: i64) -> Result<Vec<Session>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM session WHERE user_id = $1 AND account_no = $2 AND revoked_at IS NULL AND expires_at > $3 ORDER BY id DESC LIMIT 200"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text)).bind(user.0).bind(account.as_i64()).bind(now).fetch_all(c).await
    })?;
    Ok(rows.into_iter().map(read).collect())
}

/// Ends a session of that person in that account; `NotFound` if it is not theirs or has ended.
pub async fn revoke(db: &Db, account: AccountNo, user: UserId, id: SessionId, now: i64) -> Result<(), StoreError> {
    let ended = write_db!(db, |tx| {
        sqlx::query("UPDATE session SET revoked_at = $4 WHERE id = $1 AND user_id = $2 AND account_no = $3 AND revoked_at IS NULL")
            .bind(id.0)
            .bind(user.0)
            .bind(account.as_i64())
            .bind(now)
            .execute(&mut *tx)
            .await?
            .rows_affected()
    });
    if ended == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}

/// What became of a refresh.
#[derive(Clone, Debug)]
pub enum Rotation {
    /// The new hash is in place.
    Done(Session),
    /// The token had been used before: somebody has a copy. The session is ended.
    Reused(SessionId),
    /// The session is unknown, has ended or was revoked.
    Gone,
}

/// Replaces the refresh hash if it is still `old`, in one guarded UPDATE; a stale one ends the session (RFC 9700 §4.14).
pub async fn rotate(
    db: &Db,
    id: SessionId,
    old: &[u8],
    new: &[u8],
    now: i64,
    expires_at: i64,
) -> Result<Rotation, StoreError> {
    let text = format!(
        "UPDATE session SET refresh_hash = $3, used_at = $4, expires_at = $5 \
         WHERE id = $1 AND refresh_hash = $2 AND revoked_at IS NULL AND expires_at > $4 RETURNING {COLUMNS}"
    );
    let rotation = write_db!(db, |tx| {
        let row: Option<Row> = sqlx::query_as(crate::db::built(text))
            .bind(id.0)
            .bind(old)
            .bind(new)
            .bind(now)
            .bind(expires_at)
            .fetch_optional(&mut *tx)
            .await?;
        match row {
            Some(row) => Rotation::Done(read(row)),
            None => {
                let ended = sqlx::query(
                    "UPDATE session SET revoked_at = $3 WHERE id = $1 AND refresh_hash <> $2 AND revoked_at IS NULL",
                )
                .bind(id.0)
                .bind(old)
                .bind(now)
                .execute(&mut *tx)
                .await?
                .rows_affected();
                if ended == 0 { Rotation::Gone } else { Rotation::Reused(id) }
            }
        }
    });
    Ok(rotation)
}
