//! The merchants' words for what stands in ours: the one place where states and kinds are translated.

use carillon_domain::campaign::State as CampaignState;
use carillon_domain::message::State as MessageState;
use carillon_domain::money::Money;
use carillon_store::batch::Batch;
use carillon_store::ledger::EntryKind;

/// Of a campaign: one that has not handed in its last message is still `Scheduled`.
pub(super) fn of_campaign(state: CampaignState) -> &'static str {
    match state {
        CampaignState::Draft | CampaignState::Scheduled | CampaignState::Running | CampaignState::Paused => "Scheduled",
        CampaignState::Finished => "Sent",
        CampaignState::Canceled | CampaignState::Failed => "Failed",
    }
}

/// Of a recipient.
pub(super) fn of_message(state: MessageState) -> &'static str {
    match state {
        MessageState::Scheduled | MessageState::Queued => "Pending",
        MessageState::Sent | MessageState::Delivered | MessageState::Received => "Sent",
        MessageState::Undelivered
        | MessageState::Failed
        | MessageState::Expired
        | MessageState::Canceled
        | MessageState::Rejected => "Failed",
    }
}

/// Of a text without a campaign: `Pending` until a carrier has it of everybody, `Failed` if it reached nobody.
pub(super) fn of_batch(b: &Batch) -> &'static str {
    match b.queued {
        0 if b.total > 0 && b.failed == b.total => "Failed",
        0 if b.total > 0 => "Sent",
        _ => "Pending",
    }
}

/// Of a movement of money: what is taken goes back to the merchant.
pub(super) fn of_entry(kind: EntryKind, amount: Money) -> &'static str {
    match kind {
        EntryKind::TopUp => "Credit Purchase",
        EntryKind::Refund => "Refund",
        EntryKind::Adjustment if amount < Money::ZERO => "Refund",
        EntryKind::Adjustment => "Credit Purchase",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::id::{AccountNo, BatchId};

    fn batch((total, queued, sent, delivered, failed): (i32, i32, i32, i32, i32)) -> Batch {
        Batch {
            id: BatchId::new(0, 0, AccountNo(1)),
            accepted: true,
            body: None,
            total,
            queued,
            sent,
            delivered,
            failed,
            parts: 0,
            held: Money::ZERO,
            captured: Money::ZERO,
            client_ref: None,
            tags: None,
            refusals: Vec::new(),
        }
    }

    #[test]
    fn every_state_has_a_word_of_the_document() {
        let campaigns: Vec<_> = CampaignState::ALL.iter().map(|s| (s.as_str(), of_campaign(*s))).collect();
        assert_eq!(
            campaigns,
            [
                ("draft", "Scheduled"),
                ("scheduled", "Scheduled"),
                ("running", "Scheduled"),
                ("paused", "Scheduled"),
                ("finished", "Sent"),
                ("canceled", "Failed"),
                ("failed", "Failed")
            ]
        );
        let of =
            |word| MessageState::ALL.iter().filter(|s| of_message(**s) == word).map(|s| s.as_str()).collect::<Vec<_>>();
        assert_eq!(of("Pending"), ["scheduled", "queued"]);
        assert_eq!(of("Sent"), ["sent", "delivered", "received"]);
        assert_eq!(of("Failed"), ["undelivered", "failed", "expired", "canceled", "rejected"]);
        // total, queued, sent, delivered, failed -> status
        let batches = [
            ((2, 2, 0, 0, 0), "Pending"),
            ((2, 1, 0, 0, 1), "Pending"),
            ((2, 0, 1, 1, 0), "Sent"),
            ((2, 0, 0, 1, 1), "Sent"),
            ((2, 0, 0, 0, 2), "Failed"),
            ((0, 0, 0, 0, 0), "Pending"),
        ];
        for (counts, expected) in batches {
            assert_eq!(of_batch(&batch(counts)), expected, "{counts:?}");
        }
        let one = Money::from_cents(100);
        let kinds = [
            (EntryKind::TopUp, one),
            (EntryKind::Refund, one),
            (EntryKind::Adjustment, one),
            (EntryKind::Adjustment, Money::ZERO - one),
        ];
        assert_eq!(
            kinds.map(|(kind, amount)| of_entry(kind, amount)),
            ["Credit Purchase", "Refund", "Credit Purchase", "Refund"]
        );
    }
}
