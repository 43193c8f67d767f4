//! Another text for a message that waits: its row, its hold and its time in one transaction, or nothing. And another time for those of a
//! batch.

use std::collections::BTreeMap;

use carillon_domain::id::{AccountNo, BatchId, MessageId};
use carillon_domain::message::{Flags, State};
use uuid::Uuid;

use crate::hot::{NewMessage, open_phone, seal_text};
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

/// A message of a batch that waits for its time and was never tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scheduled {
    /// Which.
    pub id: MessageId,
    /// Unix milliseconds.
    pub due_at: i64,
    /// E.164 digits without +.
    pub phone: u64,
    /// Its properties.
    pub flags: Flags,
}

/// Up to `limit` of them behind one, in the order they were accepted.
pub async fn scheduled_of_batch(
    db: &Db,
    account: AccountNo,
    batch: BatchId,
    after: Option<MessageId>,
    limit: u32,
) -> Result<Vec<Scheduled>, StoreError> {
    let bottom = after.map_or_else(|| crate::hot::oldest_of(batch.0), |id| id.0);
    let rows: Vec<(Uuid, i64, Vec<u8>, i32)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT id, due_at, phone, flags FROM message WHERE account_no = $1 AND id > $2 AND batch_id = $3 AND state = $4 \
             AND attempts = 0 AND due_at IS NOT NULL ORDER BY id LIMIT $5",
        )
        .bind(account.as_i64())
        .bind(bottom)
        .bind(batch.0)
        .bind(State::Scheduled.number())
        .bind(i64::from(limit))
        .fetch_all(c)
        .await
    })?;
    let read = |(id, due_at, phone, flags): (Uuid, i64, Vec<u8>, i32)| {
        Ok(Scheduled { id: MessageId(id), due_at, phone: open_phone(&phone)?, flags: Flags(flags) })
    };
    rows.into_iter().map(read).collect()
}

/// Another time for a scheduled message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// Which.
    pub id: MessageId,
    /// When it is due, Unix milliseconds.
    pub from: i64,
    /// When it is to be due.
    pub to: i64,
}

/// `IN` and a list of ids.
macro_rules! among {
    ($query:expr, $ids:expr) => {
        $query.push(" IN (");
        let mut list = $query.separated(", ");
        for id in $ids {
            list.push_bind(*id);
        }
        $query.push(")");
    };
}

/// Moves scheduled messages of an account, their ends with them, in one transaction; how many. One that is not due at `from` any more, or does not
/// wait for its time, stays as it is.
pub async fn reschedule(db: &Db, account: AccountNo, moves: &[Move]) -> Result<u64, StoreError> {
    let mut alike: BTreeMap<(i64, i64), Vec<Uuid>> = BTreeMap::new();
    for m in moves {
        alike.entry((m.from, m.to)).or_default().push(m.id.0);
    }
    if alike.is_empty() {
        return Ok(0);
    }
    let account = account.as_i64();
    Ok(write_db!(db, |tx| {
        let mut moved = 0;
        for ((from, to), ids) in &alike {
            // The messages first, as the hot path does when it settles: whoever does waits here.
            let mut text = sqlx::QueryBuilder::new("UPDATE message SET due_at = ");
            text.push_bind(*to).push(", expires_at = expires_at + ").push_bind(to - from);
            text.push(" WHERE account_no = ").push_bind(account);
            text.push(" AND state = ").push_bind(State::Scheduled.number());
            text.push(" AND attempts = 0 AND due_at = ").push_bind(*from).push(" AND id");
            among!(text, ids);
            let changed: Vec<(Uuid,)> = text.push(" RETURNING id").build_query_as().fetch_all(&mut *tx).await?;
            if changed.is_empty() {
                continue;
            }
            let mut due = sqlx::QueryBuilder::new("UPDATE due_at SET due_at = ");
            due.push_bind(*to).push(" WHERE due_at = ").push_bind(*from).push(" AND account_no = ").push_bind(account);
            due.push(" AND message_id");
            among!(due, changed.iter().map(|(id,)| id));
            due.build().execute(&mut *tx).await?;
            moved += changed.len() as u64;
        }
        moved
    }))
}
