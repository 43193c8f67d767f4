//! What links in mails prove: that whoever has one reads that person's mail. Known by their hashes only, each good once.

use carillon_domain::id::{SessionId, UserId};
use uuid::Uuid;

use crate::email::{NewEmail, put_email};
use crate::user::{self, User};
use crate::{Db, StoreError};

/// What a token is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Shows that the address is theirs.
    Verification = 0,
    /// Lets them choose a new password.
    PasswordReset = 1,
}

/// A token to be remembered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewToken {
    /// SHA-256 of it.
    pub hash: [u8; 32],
    /// Whose.
    pub user: UserId,
    /// What it is good for.
    pub purpose: Purpose,
    /// Until when, Unix milliseconds.
    pub expires_at: i64,
}

/// Writes a `NewToken` within the caller's transaction (`write_db!`).
macro_rules! put_token {
    ($tx:expr, $token:expr) => {{
        let token: &$crate::email_token::NewToken = $token;
        sqlx::query("INSERT INTO email_token (hash, user_id, purpose, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(&token.hash[..])
            .bind(token.user.0)
            .bind(token.purpose as i16)
            .bind(token.expires_at)
            .execute(&mut *$tx)
            .await?;
    }};
}
pub(crate) use put_token;

/// Remembers a token and has the mail sent that holds it, unless the person has `live_max` live ones for that purpose: nobody's mailbox is
/// to be filled by a stranger. Whether it did.
pub async fn issue(db: &Db, token: &NewToken, email: &NewEmail, live_max: i64, now: i64) -> Result<bool, StoreError> {
    Ok(write_db!(db, |tx| {
        // A write, so that on PostgreSQL two at once count one after the other.
        sqlx::query("UPDATE app_user SET failures = failures WHERE id = $1")
            .bind(token.user.0)
            .execute(&mut *tx)
            .await?;
        let (live,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM email_token WHERE user_id = $1 AND purpose = $2 AND expires_at > $3")
                .bind(token.user.0)
                .bind(token.purpose as i16)
                .bind(now)
                .fetch_one(&mut *tx)
                .await?;
        if live < live_max {
            put_token!(tx, token);
            put_email!(tx, email);
        }
        live < live_max
    }))
}

/// Whose token that is, if it is live and good for that.
pub async fn owner(db: &Db, hash: &[u8; 32], purpose: Purpose, now: i64) -> Result<Option<User>, StoreError> {
    let row: Option<(Uuid,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT user_id FROM email_token WHERE hash = $1 AND purpose = $2 AND expires_at > $3")
            .bind(&hash[..])
            .bind(purpose as i16)
            .bind(now)
            .fetch_optional(c)
            .await
    })?;
    match row {
        Some((id,)) => user::by_id(db, UserId(id)).await.map(Some),
        None => Ok(None),
    }
}

/// Uses a live token up; evaluates to its person's UUID, if there is one.
macro_rules! take {
    ($tx:expr, $hash:expr, $purpose:expr, $now:expr) => {{
        let row: Option<(Uuid,)> = sqlx::query_as(
            "DELETE FROM email_token WHERE hash = $1 AND purpose = $2 AND expires_at > $3 RETURNING user_id",
        )
        .bind(&$hash[..])
        .bind($purpose as i16)
        .bind($now)
        .fetch_optional(&mut *$tx)
        .await?;
        row.map(|(id,)| id)
    }};
}

/// Uses a token to note that its person's address is proved, and has them welcomed if it was not before. `NotFound` if it is not live (any
/// more).
pub async fn verify(db: &Db, hash: &[u8; 32], welcome: Option<&NewEmail>, now: i64) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        let Some(user) = take!(tx, hash, Purpose::Verification, now) else { return Err(StoreError::NotFound) };
        let fresh = sqlx::query("UPDATE app_user SET verified_at = $2 WHERE id = $1 AND verified_at IS NULL")
            .bind(user)
            .bind(now)
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if let Some(welcome) = welcome.filter(|_| fresh > 0) {
            put_email!(tx, welcome);
        }
    });
    Ok(())
}

/// Uses a token to give its person a new password (a PHC string). Every session of theirs ends, a lock is lifted, other links to do the same
/// are worth nothing, and as they read their mail, their address is proved. The sessions that ended; `NotFound` if the token is not live
/// (any more).
pub async fn reset_password(
    db: &Db,
    hash: &[u8; 32],
    password_hash: &str,
    now: i64,
) -> Result<Vec<SessionId>, StoreError> {
    let ended: Vec<(Uuid,)> = write_db!(db, |tx| {
        let Some(user) = take!(tx, hash, Purpose::PasswordReset, now) else { return Err(StoreError::NotFound) };
        sqlx::query(
            "UPDATE app_user SET password_hash = $2, failures = 0, locked_until = NULL, verified_at = COALESCE(verified_at, $3) \
             WHERE id = $1",
        )
        .bind(user)
        .bind(password_hash)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM email_token WHERE user_id = $1 AND purpose = $2")
            .bind(user)
            .bind(Purpose::PasswordReset as i16)
            .execute(&mut *tx)
            .await?;
        sqlx::query_as("UPDATE session SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL RETURNING id")
            .bind(user)
            .bind(now)
            .fetch_all(&mut *tx)
            .await?
    });
    Ok(ended.into_iter().map(|(id,)| SessionId(id)).collect())
}

/// Takes up to `limit` tokens away whose time is up.
pub async fn forget(db: &Db, now: i64, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "DELETE FROM email_token WHERE hash IN (SELECT hash FROM email_token WHERE expires_at <= $1 LIMIT $2)",
        )
        .bind(now)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}
