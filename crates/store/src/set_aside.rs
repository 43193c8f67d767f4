//! Outcomes that could not be written, for the operator to look into. The hot path puts them here (`Hot::set_aside`).

use carillon_domain::id::MessageId;
use uuid::Uuid;

use crate::{Db, StoreError};

/// One outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetAside {
    /// Its number, counting up.
    pub no: i64,
    /// Of which message, if it names one.
    pub message: Option<MessageId>,
    /// What was to be written, for people.
    pub item: String,
    /// What the database said.
    pub error: String,
    /// When, Unix milliseconds.
    pub at: i64,
}

/// Up to `limit` of them behind `after` (0 is before the first), in order. Of all accounts: for operators only.
pub async fn list(db: &Db, after: i64, limit: u32) -> Result<Vec<SetAside>, StoreError> {
    let rows: Vec<(i64, Option<Uuid>, String, String, i64)> = read_db!(db, |c| {
        sqlx::query_as("SELECT no, message_id, item, error, at FROM set_aside WHERE no > $1 ORDER BY no LIMIT $2")
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    let row = |(no, message, item, error, at): (i64, Option<Uuid>, String, String, i64)| SetAside {
        no,
        message: message.map(MessageId),
        item,
        error,
        at,
    };
    Ok(rows.into_iter().map(row).collect())
}
