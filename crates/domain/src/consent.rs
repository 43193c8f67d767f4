//! Whether a person agreed to be written to: what is recorded of it, and what the records come to.
//!
//! Records are only ever appended, each with where it came from and what proves it (GDPR Art. 7(1); 47 CFR 64.1200(a)(10)); the state of a
//! number for a category of messages is what its records come to, one after another.

use serde::{Deserialize, Serialize};

use crate::contact::{Refusal, line};
use crate::message::{Category, numbered};

/// Categories that people agree to and refuse; one-time codes are asked for by who holds the handset.
pub const CATEGORIES: [Category; 2] = [Category::Transactional, Category::Promotional];
/// Characters of what a record says of itself, but for the text the person read.
pub const DETAIL_MAX: usize = 500;
/// Characters of the text the person read.
pub const TEXT_MAX: usize = 4_000;

numbered! {
    /// Where a person stands.
    Status: i16 {
        /// They refused.
        OptedOut = 0 "opted_out",
        /// They were asked and have not answered.
        Pending = 1 "pending",
        /// They agreed, as somebody recorded.
        OptedIn = 2 "opted_in",
        /// They agreed, and said so once more from the number itself.
        Confirmed = 3 "confirmed",
    }
}

numbered! {
    /// Where a record comes from.
    Source: i16 {
        /// A form that the person filled in.
        Form = 0 "form",
        /// A word such as STOP or START that they wrote.
        Keyword = 1 "keyword",
        /// A list that was imported.
        Import = 2 "import",
        /// A program or a person of the account.
        Api = 3 "api",
        /// Paper.
        Paper = 4 "paper",
        /// A telephone call with a machine.
        Ivr = 5 "ivr",
        /// The page where people choose for themselves.
        Page = 6 "preference_page",
        /// An answer to the question whether they agree.
        DoubleOptIn = 7 "double_opt_in",
    }
}

impl Source {
    /// Whether the person themselves did it, before our eyes.
    pub fn is_the_person(self) -> bool {
        matches!(self, Source::Keyword | Source::Page | Source::DoubleOptIn)
    }
}

impl Status {
    /// What a record comes to after what was there: what a person refused themselves nobody else can lift, and an agreement that was
    /// confirmed stays so until it is taken back.
    pub fn after(self, before: Option<(Status, Source)>, by: Source) -> Status {
        match (before, self) {
            (Some((Status::OptedOut, source)), new)
                if source.is_the_person() && new != Status::OptedOut && !by.is_the_person() =>
            {
                Status::OptedOut
            }
            (Some((old @ (Status::OptedIn | Status::Confirmed), _)), Status::Pending) => old,
            (Some((Status::Confirmed, _)), Status::OptedIn) => Status::Confirmed,
            (_, new) => new,
        }
    }
}

/// What an account's promotional messages need.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Needed {
    /// That nobody refused.
    #[default]
    OptOut,
    /// A recorded agreement.
    OptIn,
    /// One that was confirmed from the number itself.
    DoubleOptIn,
}

impl Needed {
    /// Whether a state is enough. Who refused is on the suppression list, which is asked before.
    pub fn met_by(self, status: Option<Status>) -> bool {
        match self {
            Needed::OptOut => true,
            Needed::OptIn => matches!(status, Some(Status::OptedIn | Status::Confirmed)),
            Needed::DoubleOptIn => status == Some(Status::Confirmed),
        }
    }
}

/// What a record says beside who, what and when.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Detail {
    /// The account's name for the wording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_version: Option<String>,
    /// The wording that the person read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// In which language, such as `de`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Where the form stood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_url: Option<String>,
    /// From which address it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// With which program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Where the proof lies, in the account's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// What the person wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyword: Option<String>,
    /// Who recorded it: a key, a person, an import.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

impl Detail {
    /// The first member that is too long, empty or not one line, and why.
    pub fn check(&self) -> Result<(), (&'static str, Refusal)> {
        let lines = [
            ("text_version", &self.text_version),
            ("language", &self.language),
            ("source_url", &self.source_url),
            ("ip", &self.ip),
            ("user_agent", &self.user_agent),
            ("proof", &self.proof),
        ];
        for (name, value) in lines {
            value.as_deref().map_or(Ok(()), |value| line(value, DETAIL_MAX)).map_err(|why| (name, why))?;
        }
        match &self.text {
            Some(text) if text.trim().is_empty() => Err(("text", Refusal::Empty)),
            Some(text) if text.chars().count() > TEXT_MAX => Err(("text", Refusal::Long(TEXT_MAX))),
            Some(text) if text.contains('\0') => Err(("text", Refusal::Control)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_records_come_to() {
        use Source::{Api, DoubleOptIn, Import, Keyword, Page};
        use Status::{Confirmed, OptedIn, OptedOut, Pending};
        // before, the new record -> the state
        let rows = [
            (None, (OptedIn, Api), OptedIn),
            (None, (Pending, DoubleOptIn), Pending),
            (Some((Pending, DoubleOptIn)), (Confirmed, DoubleOptIn), Confirmed),
            (Some((Pending, DoubleOptIn)), (OptedOut, Keyword), OptedOut),
            (Some((OptedIn, Api)), (Pending, DoubleOptIn), OptedIn),
            (Some((Confirmed, DoubleOptIn)), (OptedIn, Import), Confirmed),
            (Some((Confirmed, DoubleOptIn)), (OptedOut, Api), OptedOut),
            (Some((OptedOut, Keyword)), (OptedIn, Import), OptedOut),
            (Some((OptedOut, Page)), (OptedIn, Api), OptedOut),
            (Some((OptedOut, Keyword)), (OptedIn, Keyword), OptedIn),
            (Some((OptedOut, Keyword)), (OptedIn, Page), OptedIn),
            (Some((OptedOut, Api)), (OptedIn, Api), OptedIn),
        ];
        for (before, (new, by), expected) in rows {
            assert_eq!(new.after(before, by), expected, "{before:?} then {new:?} by {by:?}");
        }
    }

    #[test]
    fn what_is_enough() {
        let states =
            [None, Some(Status::OptedOut), Some(Status::Pending), Some(Status::OptedIn), Some(Status::Confirmed)];
        assert_eq!(states.map(|s| Needed::OptOut.met_by(s)), [true; 5]);
        assert_eq!(states.map(|s| Needed::OptIn.met_by(s)), [false, false, false, true, true]);
        assert_eq!(states.map(|s| Needed::DoubleOptIn.met_by(s)), [false, false, false, false, true]);
    }

    #[test]
    fn details_that_are_refused() {
        let some = |text: &str| Some(text.to_owned());
        let rows = [
            (Detail { ip: some("203.0.113.7"), text: some("I agree.\nReally."), ..Detail::default() }, Ok(())),
            (Detail { text_version: some(" "), ..Detail::default() }, Err(("text_version", Refusal::Empty))),
            (Detail { proof: some("a\nb"), ..Detail::default() }, Err(("proof", Refusal::Control))),
            (
                Detail { user_agent: some(&"x".repeat(501)), ..Detail::default() },
                Err(("user_agent", Refusal::Long(500))),
            ),
            (Detail { text: some(&"x".repeat(4_001)), ..Detail::default() }, Err(("text", Refusal::Long(4_000)))),
        ];
        for (detail, expected) in rows {
            assert_eq!(detail.check(), expected, "{detail:?}");
        }
    }
}
