//! Drips: sequences of texts that each person gets step by step, from the day they enter. Here is what is decided: states, who gets a step, who
//! is passed over, who leaves, and what comes next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::campaign::Content;
use crate::id::SegmentId;
use crate::message::numbered;

/// Steps of one drip.
pub const STEPS_MAX: usize = 20;
/// The longest delay before a step, seconds.
pub const DELAY_MAX_S: u32 = 366 * 86_400;

numbered! {
    /// Where a drip stands.
    State: i16 {
        /// Being written; nobody is in it.
        Draft = 0 "draft",
        /// Its steps go out when they are due.
        Active = 1 "active",
        /// Nothing of it goes out; people may enter and leave.
        Paused = 2 "paused",
        /// Ended for good.
        Archived = 3 "archived",
    }
}

/// What can be done to a drip.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Another name, other steps.
    Edit,
    /// It begins, or goes on.
    Activate,
    /// It is held up.
    Pause,
    /// People enter it by request, or are taken out.
    Enroll,
    /// It ends.
    Archive,
    /// It goes, with all that is known of who was in it.
    Delete,
}

impl Action {
    /// All of them.
    pub const ALL: [Action; 6] =
        [Action::Edit, Action::Activate, Action::Pause, Action::Enroll, Action::Archive, Action::Delete];
}

impl State {
    /// The state after an action; `None` if it is not for this state.
    pub fn after(self, action: Action) -> Option<State> {
        use State::{Active, Archived, Draft, Paused};
        Some(match (self, action) {
            (Draft | Paused, Action::Edit) => self,
            (Draft | Paused, Action::Activate) => Active,
            (Active, Action::Pause) => Paused,
            (Active | Paused, Action::Enroll) => self,
            (Draft | Active | Paused, Action::Archive) => Archived,
            (Draft | Archived, Action::Delete) => self,
            _ => return None,
        })
    }
}

numbered! {
    /// Why somebody is not in a drip any more.
    ExitReason: i16 {
        /// They had all steps.
        Finished = 1 "finished",
        /// They wrote.
        Replied = 2 "replied",
        /// They wrote STOP.
        Stopped = 3 "stopped",
        /// They did what the drip is for.
        Goal = 4 "goal",
        /// Their number is on a list of those who must not be written to.
        Suppressed = 5 "suppressed",
        /// They have not agreed to messages of this category.
        NoConsent = 6 "no_consent",
        /// Somebody took them out.
        Removed = 7 "removed",
        /// They entered as a contact, which is not there any more.
        ContactGone = 8 "contact_gone",
        /// The drip ended.
        Archived = 9 "archived",
        /// They were there before the drip, and never entered.
        PassedOver = 10 "passed_over",
    }
}

numbered! {
    /// Why nothing of an active drip goes out, or nobody enters by themselves. It goes on by itself once that is over.
    HeldUp: i16 {
        /// The balance does not cover the next message.
        InsufficientCredit = 1 "insufficient_credit",
        /// The account may not send.
        AccountSuspended = 2 "account_suspended",
        /// What a step sends is not taken any more: its sender was withdrawn, perhaps.
        ContentRefused = 3 "content_refused",
        /// The condition of a step names something that is not there any more.
        ConditionOutdated = 4 "condition_outdated",
        /// The segment that people enter by is not there, or names something that is not.
        EntryOutdated = 5 "entry_outdated",
    }
}

/// One text, and when it goes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// After the step before, or after entry if it is the first; seconds.
    pub delay_s: u32,
    /// The text with its places.
    pub text: String,
    /// What it is from, instead of the drip's.
    #[serde(default)]
    pub from: Option<String>,
    /// A filter over contacts (`segment`): whom it does not find is passed over.
    #[serde(default)]
    pub condition: Option<Value>,
}

/// Who enters by themselves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// Contacts with a label.
    Tag(String),
    /// Contacts that a saved filter finds.
    Segment(SegmentId),
}

/// What a drip sends.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sequence {
    /// What all steps share; without a text.
    pub content: Content,
    /// In order.
    pub steps: Vec<Step>,
    /// A label of contacts who did what the drip is for.
    pub goal_tag: Option<String>,
}

impl Sequence {
    /// What a step sends.
    pub fn content_of(&self, step: &Step) -> Content {
        let from = step.from.clone().or_else(|| self.content.from.clone());
        Content { text: Some(step.text.clone()), from, ..self.content.clone() }
    }
}

/// Where somebody in a drip stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The next step, from 0.
    pub step: usize,
    /// When it is due, Unix milliseconds.
    pub due_at: i64,
}

impl Position {
    /// Of who waits for a step from now on; `None` if there is no such step.
    pub fn before(step: usize, steps: &[Step], now: i64) -> Option<Position> {
        let due_at = now.saturating_add(i64::from(steps.get(step)?.delay_s) * 1_000);
        Some(Position { step, due_at })
    }
}

/// What is known of somebody whose step is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// They have left meanwhile.
    pub left: bool,
    /// They did what the drip is for.
    pub goal: bool,
    /// They entered as a contact, which is gone.
    pub gone: bool,
    /// The step's condition finds them, or there is none.
    pub fits: bool,
}

/// Why somebody who left meanwhile gets no message.
const LEFT: &str = "left";
/// Why somebody whom the step's condition does not find gets none.
const CONDITION: &str = "condition_not_met";
/// Why somebody gets none now, and the same later.
pub const CREDIT: &str = "insufficient_credit";

/// What is to be done with somebody whose step is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// They get the step.
    Send,
    /// They get the one after it, in its time.
    Skip,
    /// They leave.
    Exit(ExitReason),
    /// They have left.
    Left,
}

impl Next {
    /// Why there is no message, as it is written beside the messages of the others; `None` if there is one.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Next::Send => None,
            Next::Skip => Some(CONDITION),
            Next::Exit(reason) => Some(reason.as_str()),
            Next::Left => Some(LEFT),
        }
    }
}

/// Decides over somebody whose step is due. Steps may be fewer by now than when they came to it.
pub fn next(step: usize, steps: &[Step], facts: Facts) -> Next {
    match facts {
        Facts { left: true, .. } => Next::Left,
        Facts { goal: true, .. } => Next::Exit(ExitReason::Goal),
        Facts { gone: true, .. } => Next::Exit(ExitReason::ContactGone),
        _ if step >= steps.len() => Next::Exit(ExitReason::Finished),
        Facts { fits: false, .. } => Next::Skip,
        _ => Next::Send,
    }
}

/// Where the people of a wave go once it is handed in. Who is in none of the lists goes `on`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Moves {
    /// Who leaves, by why.
    pub exits: BTreeMap<ExitReason, Vec<i64>>,
    /// Who comes to the same step once more: the money did not last for them.
    pub again: Vec<i64>,
    /// Who got no message and goes on all the same, in numbers.
    pub skipped: BTreeMap<String, i64>,
    /// Where the others stand from now on; `None`: they had the last step.
    pub on: Option<Position>,
}

impl Moves {
    /// Of people by their tags, and why each got no message (`None`: got one), at a step.
    pub fn of<'c>(
        people: impl IntoIterator<Item = (i64, Option<&'c str>)>,
        step: usize,
        steps: &[Step],
        now: i64,
    ) -> Moves {
        let mut moves = Moves { on: Position::before(step + 1, steps, now), ..Moves::default() };
        for (tag, code) in people {
            match code {
                None | Some(LEFT) => {}
                Some(CREDIT) => moves.again.push(tag),
                Some(code) => match ExitReason::from_name(code) {
                    Some(reason) => moves.exits.entry(reason).or_default().push(tag),
                    None => *moves.skipped.entry(code.to_owned()).or_default() += 1,
                },
            }
        }
        moves
    }
}

#[cfg(test)]
mod tests;
