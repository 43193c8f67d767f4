//! Another text for a message that no carrier has had yet: out of the queue, one transaction, and into it again.

use carillon_store::hot::NewMessage;
use carillon_store::message::Message;
use carillon_store::replacement::{self, ReplaceError};
use carillon_store::{Db, StoreError};

use super::Pipeline;
use super::cancel::FEED_MAX_MS;
use super::memory::Decided;

/// What a replacement did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplaceOutcome {
    /// It is durable: this is what will be sent.
    Replaced,
    /// A carrier has it or had it, it has ended, or it changed meanwhile. Nothing changed.
    TooLate,
    /// The balance does not cover it. Nothing changed.
    Short,
}

impl Pipeline {
    /// Messages were given another time from that one on (Unix milliseconds): what is due then is read again.
    pub fn due_from(&self, earliest: i64) {
        self.0.due.lock().new_row(earliest);
        self.0.hungry.notify_one();
    }

    /// Puts a message in the place of another, as which it was prepared: same account, recipient, sender and lane.
    ///
    /// # Errors
    /// When the database cannot take it; nothing changed then.
    pub async fn replace(&self, db: &Db, before: &Message, new: &NewMessage) -> Result<ReplaceOutcome, StoreError> {
        if !self.0.memory.lock().begin_replacing(before.id) {
            return Ok(ReplaceOutcome::TooLate);
        }
        let done = replacement::replace(db, before, new).await;
        let (decided, outcome) = match done {
            Ok(()) => (Decided::Replaced(new.into()), Ok(ReplaceOutcome::Replaced)),
            Err(ReplaceError::Short) => (Decided::Kept, Ok(ReplaceOutcome::Short)),
            Err(ReplaceError::Changed { waits }) => {
                (if waits { Decided::Kept } else { Decided::Gone }, Ok(ReplaceOutcome::TooLate))
            }
            Err(ReplaceError::Store(error)) => (Decided::Kept, Err(error)),
        };
        let until = self.now() + FEED_MAX_MS;
        let hungry = self.0.memory.lock().end_replacing(before.id, decided, until);
        if let (Ok(ReplaceOutcome::Replaced), Some(due_at)) = (&outcome, new.due_at) {
            self.0.due.lock().new_row(due_at);
        }
        if hungry {
            self.0.hungry.notify_one();
        }
        self.wake_links();
        outcome
    }
}
