//! Withdrawing what no carrier has yet: one message, or as many of a batch as can be.

use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::MessageId;
use carillon_domain::message::State;
use carillon_store::hot::{SettleItem, Settled};
use tokio::sync::oneshot;

use super::memory::Whereabouts;
use super::queue::Job;
use super::writer::{SettleEntry, Then};
use super::{CancelOutcome, Pipeline, SubmitError};

/// How long a feed that read a message before its cancel may still bring it in, milliseconds.
pub(super) const FEED_MAX_MS: u64 = 60_000;

impl Pipeline {
    /// Withdraws a message that no carrier has.
    pub async fn cancel(&self, id: MessageId) -> Result<CancelOutcome, SubmitError> {
        let until = self.now() + FEED_MAX_MS;
        let job = match self.0.memory.lock().withdraw(id, until) {
            Whereabouts::InFlight => return Ok(CancelOutcome::TooLate),
            Whereabouts::Taken(job) => Some(job),
            Whereabouts::Elsewhere => None,
        };
        let (entry, settled) = canceled(id, job);
        self.settle([entry]);
        Ok(match ended(settled).await? {
            Settled { id: None, .. } => CancelOutcome::Unknown,
            settled if became_canceled(&settled) => CancelOutcome::Canceled,
            _ => CancelOutcome::TooLate,
        })
    }

    /// Withdraws those of many messages that no carrier has; how many.
    pub async fn cancel_all(&self, ids: Vec<MessageId>) -> Result<u32, SubmitError> {
        let until = self.now() + FEED_MAX_MS;
        let withdrawn = self.0.memory.lock().withdraw_all(&ids, until);
        let (entries, waiting): (Vec<_>, Vec<_>) = withdrawn.into_iter().map(|(id, job)| canceled(id, job)).unzip();
        self.settle(entries);
        let mut count = 0;
        for settled in waiting {
            count += u32::from(became_canceled(&ended(settled).await?));
        }
        Ok(count)
    }
}

fn canceled(id: MessageId, job: Option<Box<Job>>) -> (SettleEntry, oneshot::Receiver<Settled>) {
    let (reply, settled) = oneshot::channel();
    let item = SettleItem::End { id, state: State::Canceled, error: ErrorCode::Canceled.number(), unknown_too: false };
    (SettleEntry { item, then: Then::Ended { job, reply: Some(reply) } }, settled)
}

pub(super) async fn ended(settled: oneshot::Receiver<Settled>) -> Result<Settled, SubmitError> {
    settled.await.map_err(|_| SubmitError::Unavailable("the server is stopping".into()))
}

fn became_canceled(settled: &Settled) -> bool {
    settled.changed && settled.states.is_some_and(|(_, after)| after == State::Canceled)
}
