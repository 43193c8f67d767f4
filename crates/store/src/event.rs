//! The durable outbox: what subscribers are to be told of, written by the transaction that made it so, read and fanned out by one consumer.
//!
//! Two things are written. Settle records, per commit and account, the transitions of messages that somebody wants to be told of (`Watched`
//! says whose). Anything else that happens is a row by itself: `put_event!` inside a transaction of the store, `publish` in one of its own.

use std::sync::{Arc, PoisonError, RwLock};

use carillon_domain::event::{EventKind, States};
use carillon_domain::id::{AccountNo, EventId, MessageId};
use carillon_domain::message::State;
use rustc_hash::FxHashMap;
use uuid::Uuid;

use crate::delivery::{NewDelivery, put_deliveries};
use crate::{Db, StoreError};

/// Per account, the states some subscriber of it wants to be told of.
pub type WatchedStates = FxHashMap<AccountNo, States>;

/// The hot path's view of who subscribes: a settle commit records the transitions of these accounts. Cheap to clone; all clones see a change.
#[derive(Clone, Debug, Default)]
pub struct Watched(Arc<RwLock<Arc<WatchedStates>>>);

impl Watched {
    /// Replaces them all.
    pub fn set(&self, states: WatchedStates) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(states);
    }

    /// As they are now.
    pub fn states(&self) -> Arc<WatchedStates> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A message's new state, for the outbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transition {
    /// Which message.
    pub message: MessageId,
    /// Its new state.
    pub state: State,
    /// Whether the message asks for it itself (`Flags::EVENTS`), be it that its account subscribes or not.
    pub own: bool,
}

impl Transition {
    const LEN: usize = 18;

    pub(crate) fn bytes(all: &[Transition]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(all.len() * Transition::LEN);
        for t in all {
            bytes.extend_from_slice(t.message.0.as_bytes());
            bytes.push(t.state as u8);
            bytes.push(u8::from(t.own));
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Transition> {
        let (id, [state, own]) = bytes.split_at_checked(16)? else { return None };
        Some(Transition {
            message: MessageId(Uuid::from_slice(id).ok()?),
            state: State::from_number(i16::from(*state))?,
            own: *own != 0,
        })
    }
}

/// An event of a kind that is no transition of a message, as it enters the outbox. Neither it nor what comes of it copies a number or a
/// text: `subject` names the row that has them.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its id, which also names the account.
    pub id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// Id of what it is about.
    pub subject: Option<Uuid>,
    /// JSON object of what there is to tell.
    pub detail: Option<String>,
    /// When, Unix milliseconds.
    pub at: i64,
}

/// Writes a `NewEvent` within the caller's transaction (`write_db!`). Wake the consumer after the commit.
macro_rules! put_event {
    ($tx:expr, $event:expr) => {{
        let event: &$crate::event::NewEvent = $event;
        sqlx::query(
            "INSERT INTO event (account_no, id, kind, transitions, taken, subject, detail, created_at) \
             VALUES ($1, $2, $3, $4, 0, $5, $6, $7)",
        )
        .bind(event.id.account().as_i64())
        .bind(event.id.0)
        .bind(event.kind.number())
        .bind(Vec::<u8>::new())
        .bind(event.subject)
        .bind(event.detail.as_deref())
        .bind(event.at)
        .execute(&mut *$tx)
        .await?;
    }};
}

pub(crate) use put_event;

/// Writes events in a transaction of their own.
pub async fn publish(db: &Db, events: &[NewEvent]) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        for event in events {
            put_event!(tx, event);
        }
    });
    Ok(())
}

/// What an outbox row holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Transitions of messages, in order.
    Transitions(Vec<Transition>),
    /// Something else, once.
    Other {
        /// What happened.
        kind: EventKind,
        /// Id of what it is about.
        subject: Option<Uuid>,
        /// JSON object of what there is to tell.
        detail: Option<String>,
    },
    /// Of a kind this version does not know.
    Unknown,
}

/// A row of the outbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Of its first transition, or of the one event; the n-th transition is `id.nth(n)`.
    pub id: EventId,
    /// How many transitions are fanned out already.
    pub taken: u32,
    /// What is to be told.
    pub content: Content,
    /// When it happened, Unix milliseconds.
    pub at: i64,
}

/// Up to `limit` rows of the outbox from an account on, in order of account and time.
pub async fn waiting(db: &Db, from: AccountNo, limit: u32) -> Result<Vec<Outgoing>, StoreError> {
    type Row = (Uuid, i16, Vec<u8>, i32, Option<Uuid>, Option<String>, i64);
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT id, kind, transitions, taken, subject, detail, created_at FROM event WHERE account_no >= $1 \
             ORDER BY account_no, id LIMIT $2",
        )
        .bind(from.as_i64())
        .bind(i64::from(limit))
        .fetch_all(c)
        .await
    })?;
    let read = |(id, kind, transitions, taken, subject, detail, at): Row| {
        let content = match EventKind::from_number(kind) {
            Some(kind) => Content::Other { kind, subject, detail },
            None if kind == 0 => {
                Content::Transitions(transitions.chunks(Transition::LEN).filter_map(Transition::read).collect())
            }
            None => Content::Unknown,
        };
        Outgoing { id: EventId(id), taken: taken.max(0) as u32, content, at }
    };
    Ok(rows.into_iter().map(read).collect())
}

/// Whom a message asks to be told besides its account's endpoints (`Transition::own`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wish {
    /// An address of its own.
    pub callback_url: Option<String>,
}

/// The wishes of messages of one account.
pub async fn wishes(
    db: &Db,
    account: AccountNo,
    messages: &[MessageId],
) -> Result<FxHashMap<MessageId, Wish>, StoreError> {
    if messages.is_empty() {
        return Ok(FxHashMap::default());
    }
    let rows: Vec<(Uuid, Option<String>)> = read_db!(db, |c| {
        let mut query = sqlx::QueryBuilder::new("SELECT id, callback_url FROM message WHERE account_no = ");
        query.push_bind(account.as_i64()).push(" AND id IN (");
        let mut list = query.separated(", ");
        for id in messages {
            list.push_bind(id.0);
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await
    })?;
    Ok(rows.into_iter().map(|(id, callback_url)| (MessageId(id), Wish { callback_url })).collect())
}

/// One row of the outbox (or some of its transitions), and what becomes of it. Whoever else is to be told of events adds a list here, and writes
/// it in `fan_out`.
#[derive(Clone, Debug)]
pub struct FanOut {
    /// Which row.
    pub event: EventId,
    /// How many of its transitions were fanned out before.
    pub taken: u32,
    /// How many are after this; `None` if it is done with and goes.
    pub up_to: Option<u32>,
    /// What goes to webhook endpoints and callbacks.
    pub deliveries: Vec<NewDelivery>,
}

/// Replaces rows of the outbox by what subscribers get, in one transaction: all of it or nothing. A row that somebody else took meanwhile is
/// passed over; how many were not.
pub async fn fan_out(db: &Db, steps: &[FanOut]) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        let mut taken = 0;
        for step in steps {
            let mine = match step.up_to {
                None => sqlx::query("DELETE FROM event WHERE account_no = $1 AND id = $2 AND taken = $3"),
                Some(_) => sqlx::query("UPDATE event SET taken = $4 WHERE account_no = $1 AND id = $2 AND taken = $3"),
            };
            let mut mine = mine.bind(step.event.account().as_i64()).bind(step.event.0).bind(step.taken as i32);
            if let Some(up_to) = step.up_to {
                mine = mine.bind(up_to as i32);
            }
            if mine.execute(&mut *tx).await?.rows_affected() == 0 {
                continue;
            }
            taken += 1;
            put_deliveries!(tx, &step.deliveries);
        }
        taken
    }))
}
