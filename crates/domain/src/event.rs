//! What subscribers may be told of: a closed list of kinds, and sets of them.

use crate::message::{State, numbered};

numbered! {
    /// What happened; the `type` of a webhook's payload.
    EventKind: i16 {
        /// A carrier took the message.
        MessageSent = 1 "message.sent",
        /// The handset has it.
        MessageDelivered = 2 "message.delivered",
        /// A carrier took it and it did not arrive.
        MessageUndelivered = 3 "message.undelivered",
        /// No carrier took it.
        MessageFailed = 4 "message.failed",
        /// Its validity ended first.
        MessageExpired = 5 "message.expired",
        /// It was withdrawn.
        MessageCanceled = 6 "message.canceled",
        /// A rule of ours refused it after acceptance.
        MessageRejected = 7 "message.rejected",
        /// A phone wrote to one of the account's numbers.
        MessageReceived = 8 "message.received",
        /// A phone number was verified.
        VerificationApproved = 9 "verification.approved",
        /// A verification ended without the right code.
        VerificationFailed = 10 "verification.failed",
        /// A sender may be used.
        SenderApproved = 11 "sender.approved",
        /// A sender may not be used.
        SenderRejected = 12 "sender.rejected",
        /// A phone number wants no more messages.
        OptOutCreated = 13 "opt_out.created",
        /// It wants them again.
        OptOutRemoved = 14 "opt_out.removed",
        /// A webhook endpoint was disabled, because it kept failing or said it is gone.
        WebhookDisabled = 15 "webhook.disabled",
        /// Asked for, to try an endpoint.
        WebhookTest = 16 "webhook.test",
        /// A campaign began to be sent.
        CampaignStarted = 20 "campaign.started",
        /// A campaign was held up; its `reason` says why.
        CampaignPaused = 21 "campaign.paused",
        /// All messages of a campaign are handed in.
        CampaignFinished = 22 "campaign.finished",
        /// A campaign could not be begun; its `reason` says why.
        CampaignFailed = 23 "campaign.failed",
        /// A person opened a short link of a message.
        LinkClicked = 30 "link.clicked",
    }
}

impl EventKind {
    /// Whether it is a new state of a message that is on its way.
    pub fn is_transition(self) -> bool {
        (EventKind::MessageSent..=EventKind::MessageRejected).contains(&self)
    }

    /// The kind that a message's new state is; none for those it waits in.
    pub fn of_state(state: State) -> Option<EventKind> {
        Some(match state {
            State::Scheduled | State::Queued => return None,
            State::Sent => EventKind::MessageSent,
            State::Delivered => EventKind::MessageDelivered,
            State::Undelivered => EventKind::MessageUndelivered,
            State::Failed => EventKind::MessageFailed,
            State::Expired => EventKind::MessageExpired,
            State::Canceled => EventKind::MessageCanceled,
            State::Rejected => EventKind::MessageRejected,
            State::Received => EventKind::MessageReceived,
        })
    }
}

/// A set of message states, one bit each: whose transitions somebody wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct States(pub u16);

impl States {
    /// Whether it holds one.
    pub fn has(self, state: State) -> bool {
        self.0 & (1 << state as u16) != 0
    }

    /// With those of another set.
    #[must_use]
    pub fn and(self, other: States) -> States {
        States(self.0 | other.0)
    }
}

/// A set of kinds, one bit each: what an endpoint wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kinds(u64);

impl Kinds {
    /// None.
    pub const NONE: Kinds = Kinds(0);
    /// All there are and all that are to come.
    pub const ALL: Kinds = Kinds(u64::MAX);

    /// With one more.
    #[must_use]
    pub fn with(self, kind: EventKind) -> Kinds {
        Kinds(self.0 | 1 << kind as u16)
    }

    /// Whether it holds one.
    pub fn has(self, kind: EventKind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }

    /// The message states whose transitions are among them.
    pub fn states(self) -> States {
        let wanted = |state: &&State| EventKind::of_state(**state).is_some_and(|kind| self.has(kind));
        States(State::ALL.iter().filter(wanted).fold(0, |bits, state| bits | 1 << *state as u16))
    }

    /// Its members; `None` of [`Kinds::ALL`].
    pub fn names(self) -> Option<Vec<&'static str>> {
        let has = |kind: &&EventKind| self.has(**kind);
        (self != Kinds::ALL).then(|| EventKind::ALL.iter().filter(has).map(|kind| kind.as_str()).collect())
    }

    /// As stored: the names with spaces between; nothing means all.
    pub fn to_text(self) -> String {
        self.names().unwrap_or_default().join(" ")
    }

    /// What `to_text` wrote. A name that this version does not know gives nothing; the others stay.
    pub fn from_text(text: &str) -> Kinds {
        if text.is_empty() {
            return Kinds::ALL;
        }
        text.split(' ').filter_map(EventKind::from_name).fold(Kinds::NONE, Kinds::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_kinds_and_the_states_behind_them() {
        let two = Kinds::NONE.with(EventKind::MessageSent).with(EventKind::OptOutCreated);
        let states = [State::Queued, State::Sent, State::Delivered, State::Rejected];
        for (kinds, text, expected) in [
            (Kinds::ALL, "", [false, true, true, true]),
            (two, "message.sent opt_out.created", [false, true, false, false]),
            (Kinds::NONE.with(EventKind::MessageRejected), "message.rejected", [false, false, false, true]),
        ] {
            assert_eq!((kinds.to_text().as_str(), Kinds::from_text(text)), (text, kinds));
            assert_eq!(states.map(|state| kinds.states().has(state)), expected, "{text}");
        }
        assert_eq!(Kinds::from_text("message.sent of.tomorrow"), Kinds::NONE.with(EventKind::MessageSent));
        for kind in EventKind::ALL {
            assert!((*kind as i16) < 64, "a bit for each");
            assert_eq!(EventKind::from_name(kind.as_str()), Some(*kind));
        }
    }
}
