//! Campaigns: their states and what moves them, what they send, and to whom.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ab_test::AbTest;
use crate::id::{AudienceFileId, ContactId, GroupId, SegmentId, SourceId};
use crate::message::numbered;
use crate::quiet::Window;

numbered! {
    /// Where a campaign stands.
    State: i16 {
        /// Being written.
        Draft = 0 "draft",
        /// Starts by itself at its time.
        Scheduled = 1 "scheduled",
        /// Being sent.
        Running = 2 "running",
        /// Held up: by somebody, or for a `Reason`.
        Paused = 3 "paused",
        /// All is handed in.
        Finished = 4 "finished",
        /// Ended by somebody.
        Canceled = 5 "canceled",
        /// It could not be begun.
        Failed = 6 "failed",
    }
}

numbered! {
    /// Why it is paused, or failed.
    Reason: i16 {
        /// Somebody asked for it.
        Asked = 1 "asked",
        /// The balance does not cover the next message; it goes on by itself once it does.
        InsufficientCredit = 2 "insufficient_credit",
        /// The account may not send.
        AccountSuspended = 3 "account_suspended",
        /// What it sends is not taken any more: its sender was withdrawn, perhaps.
        ContentRefused = 4 "content_refused",
        /// Its time was more than a day ago when this program came to it.
        TooLate = 5 "too_late",
        /// There is nobody in its audience.
        AudienceEmpty = 6 "audience_empty",
        /// A group, segment, source, contact or file of its audience is not there any more.
        AudienceGone = 7 "audience_gone",
        /// There are more people in its audience than a campaign may have.
        AudienceTooLarge = 8 "audience_too_large",
        /// A source of its audience could not be read.
        SourceFailed = 9 "source_failed",
        /// Its A/B test has no clear winner; somebody is to choose.
        Undecided = 10 "undecided",
    }
}

/// What can be done to a campaign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Another name, pace; of one that was not begun, other contents too.
    Edit,
    /// A time is set, or another one.
    Schedule,
    /// It begins: now by request, or because its time came.
    Launch,
    /// It is held up.
    Pause,
    /// It goes on.
    Resume,
    /// It ends before its end.
    Cancel,
    /// All is handed in, and there is no next time.
    Finish,
    /// All is handed in, and it waits for its next time.
    Repeat,
    /// It cannot be begun.
    Fail,
    /// It goes, with all that is known of it.
    Delete,
}

impl Action {
    /// All of them.
    pub const ALL: [Action; 10] = [
        Action::Edit,
        Action::Schedule,
        Action::Launch,
        Action::Pause,
        Action::Resume,
        Action::Cancel,
        Action::Finish,
        Action::Repeat,
        Action::Fail,
        Action::Delete,
    ];
}

impl State {
    /// The state after an action; `None` if it is not for this state.
    pub fn after(self, action: Action) -> Option<State> {
        use State::{Canceled, Draft, Failed, Finished, Paused, Running, Scheduled};
        Some(match (self, action) {
            (Draft | Scheduled | Paused, Action::Edit) => self,
            (Draft | Scheduled, Action::Schedule) => Scheduled,
            (Draft | Scheduled, Action::Launch) => Running,
            (Running, Action::Pause) => Paused,
            (Paused, Action::Resume) => Running,
            (Draft | Scheduled | Running | Paused, Action::Cancel) => Canceled,
            (Running, Action::Finish) => Finished,
            (Running, Action::Repeat) => Scheduled,
            (Scheduled | Running, Action::Fail) => Failed,
            (Draft | Canceled | Failed, Action::Delete) => self,
            _ => return None,
        })
    }

    /// Whether it is over for good.
    pub fn ended(self) -> bool {
        matches!(self, State::Finished | State::Canceled | State::Failed)
    }

    /// Whether contents and audience can be changed: nothing was begun with them.
    pub fn unbegun(self) -> bool {
        matches!(self, State::Draft | State::Scheduled)
    }
}

/// What a campaign sends, as it was written; judged anew by the pipeline whenever messages are made of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Content {
    /// The text with its places.
    pub text: Option<String>,
    /// What it is from.
    pub from: Option<String>,
    /// `promotional` if not said.
    pub category: Option<String>,
    /// Shown at once and not kept.
    pub flash: bool,
    /// A language whose GSM-7 tables may be used.
    pub language: Option<String>,
    /// Instead of the account's setting.
    pub transliterate: Option<bool>,
    /// How long each message is tried, seconds.
    pub validity_s: Option<i64>,
    /// Hours of each recipient in which alone it may go.
    pub send_window: Option<Window>,
    /// Short links take the places of the text's web addresses.
    pub shorten_links: bool,
    /// Labels of each message.
    pub tags: Vec<String>,
    /// Where each message's events go.
    pub callback_url: Option<String>,
    /// Several of these are tried on a part of the audience first.
    pub ab_test: Option<AbTest>,
}

/// Words of one person, by name.
pub type Words = BTreeMap<String, String>;

/// One or many people of an audience.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A number as it was written, and words of its own.
    Phone(String, Words),
    /// A contact.
    Contact(ContactId),
    /// All contacts of a group.
    Group(GroupId),
    /// All contacts that a saved filter finds.
    Segment(SegmentId),
    /// All contacts with a label.
    Tag(String),
    /// All rows of an account's own database or program, read when the campaign begins.
    Source(SourceId),
    /// All rows of an uploaded file.
    File(AudienceFileId),
    /// All contacts there are.
    Everybody,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A row for each state; a column for each action, in the order of `Action::ALL`; `.` is refused, `=` stays.
    #[test]
    fn what_can_be_done_when() {
        let rows = [
            (State::Draft, "= scheduled running . . canceled . . . ="),
            (State::Scheduled, "= scheduled running . . canceled . . failed ."),
            (State::Running, ". . . paused . canceled finished scheduled failed ."),
            (State::Paused, "= . . . running canceled . . . ."),
            (State::Finished, ". . . . . . . . . ."),
            (State::Canceled, ". . . . . . . . . ="),
            (State::Failed, ". . . . . . . . . ="),
        ];
        for (state, expected) in rows {
            let found = Action::ALL.map(|action| match state.after(action) {
                None => ".",
                Some(after) if after == state && matches!(action, Action::Edit | Action::Delete) => "=",
                Some(after) => after.as_str(),
            });
            assert_eq!(found.join(" "), expected, "{state:?}");
        }
    }

    proptest! {
        #[test]
        fn what_has_ended_stays_so(steps in proptest::collection::vec(0..Action::ALL.len(), 0..40)) {
            let mut state = State::Draft;
            let mut launched = false;
            for step in steps {
                let action = Action::ALL[step];
                let Some(after) = state.after(action) else { continue };
                launched |= action == Action::Launch;
                prop_assert!(!state.ended() || after == state, "{:?} by {:?}", state, action);
                prop_assert!(launched || !matches!(after, State::Running | State::Paused | State::Finished));
                state = after;
            }
        }
    }
}
