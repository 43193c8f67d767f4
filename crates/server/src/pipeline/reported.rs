//! What is said of a message by our own id, past the carrier's receipts: by those who read a carrier's delivery log themselves.

use carillon_domain::id::MessageId;
use carillon_store::hot::SettleItem;
use tokio::sync::oneshot;

use super::cancel::ended;
use super::writer::{SettleEntry, Then};
use super::{Pipeline, SubmitError};

impl Pipeline {
    /// A message arrived, or failed for the reason of that number (`ErrorCode`). Whether this changed it, durably: only what a carrier has can be
    /// reported, and only once.
    pub async fn report(&self, id: MessageId, failed: Option<i16>) -> Result<bool, SubmitError> {
        let (reply, settled) = oneshot::channel();
        let item = SettleItem::Reported { id, failed };
        self.settle([SettleEntry { item, then: Then::Ended { job: None, reply: Some(reply) } }]);
        Ok(ended(settled).await?.changed)
    }
}
