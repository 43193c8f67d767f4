//! Another text for a message that waits: its row, its hold and its time in one transaction, or nothing.

use carillon_domain::message::State;

use crate::hot::{NewMessage, seal_text};
use crate::message::Message;
use crate::{Db, StoreError};

/// Why a message was not replaced. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// The balance does not cover what the new text costs more.
    #[error("the balance does not cover it")]
    Short,
    /// It is not as it was read, or was handed to a carrier before.
    #[error("it has changed")]
    Changed {
        /// Whether it waits still.
        waits: bool,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ReplaceError {
    fn from(e: sqlx::Error) -> Self {
        ReplaceError::Store(e.into())
    }
}

/// Puts `new` in the place of a message as it was read: everything but its recipient, its sender and its lane, which are the same. One that has
/// a time of its own keeps having one, one that has none gets none. The caller keeps the message from being sent meanwhile.
pub async fn replace(db: &Db, before: &Message, new: &NewMessage) -> Result<(), ReplaceError> {
    let (account, id) = (before.id.account().as_i64(), before.id.0);
    let open = [State::Scheduled.number(), State::Queued.number()];
    let more = new.held() - before.held;
    write_db!(db, |tx| {
        let changed = sqlx::query(
            "UPDATE message SET flags = $3, encoding = $4, parts = $5, part_states = NULL, body = $6, unit_price = $7, held = $8, \
             reference = $9, due_at = $10, expires_at = $11 WHERE account_no = $1 AND id = $2 AND state IN ($12, $13) AND attempts = 0 \
             AND batch_id IS NULL AND held = $14 AND captured = 0 AND COALESCE(due_at, -1) = $15",
        )
        .bind(account)
        .bind(id)
        .bind(new.flags.0)
        .bind(new.encoding)
        .bind(i32::from(new.parts))
        .bind(seal_text(&new.body))
        .bind(new.unit_price.0)
        .bind(new.held().0)
        .bind(new.reference.map(i32::from))
        .bind(new.due_at)
        .bind(new.expires_at)
        .bind(open[0])
        .bind(open[1])
        .bind(before.held.0)
        .bind(before.due_at.unwrap_or(-1))
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if changed == 0 {
            let state: Option<(i16,)> = sqlx::query_as("SELECT state FROM message WHERE account_no = $1 AND id = $2")
                .bind(account)
                .bind(id)
                .fetch_optional(&mut *tx)
                .await?;
            return Err(ReplaceError::Changed { waits: state.is_some_and(|(state,)| open.contains(&state)) });
        }
        // The message first, then the money, as the hot path does when it settles.
        let paid = sqlx::query(
            "UPDATE balance SET available = available - $2, held = held + $2 WHERE account_no = $1 AND available - $2 >= 0",
        )
        .bind(account)
        .bind(more.0)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if paid == 0 {
            return Err(ReplaceError::Short);
        }
        if let (Some(was), Some(is)) = (before.due_at, new.due_at)
            && was != is
        {
            let text = "UPDATE due_at SET due_at = $4 WHERE due_at = $3 AND account_no = $1 AND message_id = $2";
            sqlx::query(text).bind(account).bind(id).bind(was).bind(is).execute(&mut *tx).await?;
        }
    });
    Ok(())
}
