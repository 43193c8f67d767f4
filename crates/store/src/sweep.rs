//! What jobs sweep up behind the hot path: receipts that never came, receipts that never found their message, keys of past days.
//! Each function takes a bounded bite, so that the writers' gate is never held for long; a job bites until nothing is left.

use carillon_domain::id::{AccountNo, MessageId, compose};
use uuid::Uuid;

use crate::{Db, StoreError};

/// A carrier's id that still waits for its receipt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitingRef {
    /// Number of the connection.
    pub connection: i32,
    /// The carrier's id.
    pub carrier_id: String,
    /// Of which message.
    pub message: MessageId,
    /// Of which part.
    pub part: u8,
    /// When its message was no longer worth sending, Unix milliseconds; `None` if the message has ended or is gone.
    pub expires_at: Option<i64>,
}

impl WaitingRef {
    /// Whether no receipt is waited for any more at `now`, with the connection's `receipt_wait` in milliseconds. If the message
    /// is still open (`expires_at` is some), `SettleItem::Close` comes first, then `delete_refs`.
    pub fn is_over(&self, now: i64, wait: i64) -> bool {
        self.expires_at.is_none_or(|at| at.saturating_add(wait) <= now)
    }
}

/// Up to `limit` references behind `after` (in order of connection, carrier's id, message and part) whose messages were accepted
/// before an instant (Unix milliseconds).
pub async fn waiting_refs(
    db: &Db,
    after: Option<&WaitingRef>,
    accepted_before: i64,
    limit: u32,
) -> Result<Vec<WaitingRef>, StoreError> {
    let first = WaitingRef {
        connection: i32::MIN,
        carrier_id: String::new(),
        message: MessageId(Uuid::nil()),
        part: 0,
        expires_at: None,
    };
    let after = after.unwrap_or(&first);
    let rows: Vec<(i32, String, Uuid, i16)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT connection_no, carrier_id, message_id, part FROM carrier_ref
             WHERE (connection_no, carrier_id, message_id, part) > ($1, $2, $3, $4) AND message_id < $5
             ORDER BY connection_no, carrier_id, message_id, part LIMIT $6",
        )
        .bind(after.connection)
        .bind(&after.carrier_id)
        .bind(after.message.0)
        .bind(i16::from(after.part))
        .bind(compose(accepted_before, 0, AccountNo(0)))
        .bind(i64::from(limit))
        .fetch_all(c)
        .await
    })?;
    let mut waiting = Vec::with_capacity(rows.len());
    for (connection, carrier_id, message, part) in rows {
        let message = MessageId(message);
        let open: Option<(i64,)> = read_db!(db, |c| {
            sqlx::query_as("SELECT expires_at FROM message WHERE account_no = $1 AND id = $2 AND final_at IS NULL")
                .bind(message.account().as_i64())
                .bind(message.0)
                .fetch_optional(c)
                .await
        })?;
        waiting.push(WaitingRef {
            connection,
            carrier_id,
            message,
            part: part as u8,
            expires_at: open.map(|(at,)| at),
        });
    }
    Ok(waiting)
}

/// Takes references away in one transaction; how many were there.
pub async fn delete_refs(db: &Db, references: &[WaitingRef]) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        let mut gone = 0;
        for r in references {
            gone += sqlx::query(
                "DELETE FROM carrier_ref WHERE connection_no = $1 AND carrier_id = $2 AND message_id = $3 AND part = $4",
            )
            .bind(r.connection)
            .bind(&r.carrier_id)
            .bind(r.message.0)
            .bind(i16::from(r.part))
            .execute(&mut *tx)
            .await?
            .rows_affected();
        }
        gone
    }))
}

/// Takes up to `limit` attempts of unknown outcome away that are decided and were submitted before an instant (Unix
/// milliseconds): no receipt will ask for them any more.
pub async fn delete_decided(db: &Db, submitted_before: i64, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "DELETE FROM unknown_attempt WHERE (connection_no, phone_tag, message_id, part, attempt) IN
             (SELECT connection_no, phone_tag, message_id, part, attempt FROM unknown_attempt
              WHERE decide_at IS NULL AND submitted_at < $1 LIMIT $2)",
        )
        .bind(submitted_before)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}

/// Takes up to `limit` parked receipts away that came before an instant (Unix milliseconds): nobody's.
pub async fn delete_parked(db: &Db, received_before: i64, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "DELETE FROM parked_receipt WHERE (connection_no, carrier_id, seq) IN
             (SELECT connection_no, carrier_id, seq FROM parked_receipt WHERE received_at < $1 LIMIT $2)",
        )
        .bind(received_before)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}

/// Takes up to `limit` Idempotency-Keys away that were used before a day (days since 1970).
pub async fn delete_keys(db: &Db, before_day: i32, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "DELETE FROM idempotency WHERE (day, account_no, key_hash) IN
             (SELECT day, account_no, key_hash FROM idempotency WHERE day < $1 LIMIT $2)",
        )
        .bind(before_day)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}
