//! What jobs do behind verifications: end those whose time is over, erase what a crash left, forget what is regained and what
//! is old. Bounded bites, as in `crate::sweep`.

use carillon_domain::id::{AccountNo, VerificationId, compose};
use carillon_domain::verification::State;
use uuid::Uuid;

use super::Ended;
use crate::event::put_event;
use crate::hot::seal_text;
use crate::{Db, StoreError};

/// Ends up to `limit` verifications whose time is over; how many.
pub async fn expire(db: &Db, now: i64, limit: u32, ended: Ended<'_>) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        let over: Vec<(i64, Uuid)> = sqlx::query_as(
            "UPDATE verification SET state = $1, ended_at = expires_at WHERE ended_at IS NULL AND (account_no, id) IN \
             (SELECT account_no, id FROM verification WHERE ended_at IS NULL AND expires_at <= $2 LIMIT $3) \
             RETURNING account_no, id",
        )
        .bind(State::Expired.number())
        .bind(now)
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
        for (account, id) in &over {
            put_event!(tx, &ended(AccountNo::from_i64(*account), VerificationId(*id), State::Expired));
        }
        over.len() as u64
    }))
}

/// How far a message's id may lie from the time its code was asked for, milliseconds: clocks step, and the queue may be long.
const NEAR_MS: i64 = 120_000;

/// Erases the bodies of up to `limit` codes that went on their way before an instant and were not reported on, because the program ended
/// meanwhile; how many verifications were concerned.
pub async fn erase_left(db: &Db, before: i64, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        let left: Vec<(i64, Uuid, i64)> = sqlx::query_as(
            "SELECT account_no, id, sending_since FROM verification WHERE sending_since IS NOT NULL AND sending_since < $1 LIMIT $2",
        )
        .bind(before)
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
        for (account, id, since) in &left {
            sqlx::query(
                "UPDATE message SET body = $4, otp_code = NULL WHERE account_no = $1 AND id >= $2 AND id < $3 \
                 AND (flags & 32) <> 0 AND (sent_at IS NOT NULL OR final_at IS NOT NULL)",
            )
            .bind(account)
            .bind(compose(since - NEAR_MS, 0, AccountNo::PLATFORM))
            .bind(compose(since + NEAR_MS, 0, AccountNo::PLATFORM))
            .bind(seal_text(""))
            .execute(&mut *tx)
            .await?;
            sqlx::query("UPDATE verification SET sending_since = NULL WHERE account_no = $1 AND id = $2")
                .bind(account)
                .bind(id)
                .execute(&mut *tx)
                .await?;
        }
        left.len() as u64
    }))
}

/// Takes up to `limit` caps away that have regained everything.
pub async fn delete_caps(db: &Db, now: i64, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "DELETE FROM verification_cap WHERE (account_no, cap, key) IN \
             (SELECT account_no, cap, key FROM verification_cap WHERE spent_until <= $1 LIMIT $2) AND spent_until <= $1",
        )
        .bind(now)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}

/// Takes up to `limit` verifications of one account away that have ended and were begun before an instant (Unix milliseconds); how many. With
/// them go the number and the hash of the code.
pub async fn forget(db: &Db, account: AccountNo, before: i64, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "DELETE FROM verification WHERE account_no = $1 AND id IN \
             (SELECT id FROM verification WHERE account_no = $1 AND id < $2 AND ended_at IS NOT NULL ORDER BY id LIMIT $3)",
        )
        .bind(account.as_i64())
        .bind(compose(before, 0, AccountNo::PLATFORM))
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}

/// The next account behind one that has verifications: for the sweep.
pub async fn account_after(db: &Db, account: AccountNo) -> Result<Option<AccountNo>, StoreError> {
    let row: Option<(i64,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT account_no FROM verification WHERE account_no > $1 ORDER BY account_no LIMIT 1")
            .bind(account.as_i64())
            .fetch_optional(c)
            .await
    })?;
    Ok(row.map(|(no,)| AccountNo::from_i64(no)))
}
