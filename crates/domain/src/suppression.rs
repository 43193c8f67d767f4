//! Who must not be written to, and by which messages: the rules of the suppression list in one function.
//!
//! ```text
//! reason      transactional  promotional  otp   answers to STOP, HELP
//! opt_out     blocked        blocked      -     pass
//! complaint   blocked        blocked      -     blocked
//! bounced     blocked        blocked      -     blocked
//! dnd         -              blocked      -     blocked if promotional
//! blocked     blocked        blocked      blocked   blocked
//! ```
//! An entry that names a category blocks that one and no other. A one-time code is asked for by who holds the handset, so it passes all but
//! `blocked`. Stating a sender narrows an entry to messages from it, and to those that name no sender: they may come from it.

use crate::message::{Category, Flags, numbered};

numbered! {
    /// Why a number is on the list.
    Reason: i16 {
        /// Its owner asked for it.
        OptOut = 0 "opt_out",
        /// A register of people who want no advertising has it.
        Dnd = 1 "dnd",
        /// Somebody decided that it is not to be written to at all.
        Blocked = 2 "blocked",
        /// Messages to it do not arrive.
        Bounced = 3 "bounced",
        /// Its owner complained.
        Complaint = 4 "complaint",
    }
}

numbered! {
    /// How an entry came to be, or to its end.
    Source: i16 {
        /// The person wrote a word such as STOP or START.
        Keyword = 0 "keyword",
        /// A program or a person of the account.
        Api = 1 "api",
        /// A list that was imported.
        Import = 2 "import",
        /// An operator of the platform.
        Operator = 3 "operator",
        /// The person, on the page where they choose for themselves.
        Page = 4 "preference_page",
    }
}

/// Which messages an entry holds back.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Scope {
    /// Those from this sender alone, or from none that is named.
    pub sender: Option<String>,
    /// Those of this category alone, instead of what the reason binds.
    pub category: Option<Category>,
}

impl Scope {
    /// Its name in the API; `platform` entries belong to no account.
    pub fn as_str(&self, platform: bool) -> &'static str {
        match (platform, &self.sender, self.category) {
            (true, ..) => "platform",
            (false, Some(_), _) => "sender",
            (false, None, Some(_)) => "category",
            (false, None, None) => "account",
        }
    }
}

/// What entries hold back, as six bits: three categories for every message, and for all but answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Blocks(u8);

const ALL: u8 = 0b111;

impl Blocks {
    /// Nothing.
    pub const NONE: Blocks = Blocks(0);
    /// How many low bits it needs.
    pub const BITS: u32 = 6;

    /// What one entry holds back.
    pub fn of(reason: Reason, category: Option<Category>) -> Blocks {
        let bit = |c: Category| 1u8 << c.number();
        let bound = match (category, reason) {
            (Some(one), _) => bit(one),
            (None, Reason::Blocked) => ALL,
            (None, Reason::Dnd) => bit(Category::Promotional),
            (None, Reason::OptOut | Reason::Complaint | Reason::Bounced) => ALL & !bit(Category::Otp),
        };
        if reason == Reason::OptOut { Blocks(bound << 3) } else { Blocks(bound) }
    }

    /// What both hold back.
    #[must_use]
    pub fn and(self, other: Blocks) -> Blocks {
        Blocks(self.0 | other.0)
    }

    /// Whether a message of these flags is held back.
    pub fn holds(self, flags: Flags) -> bool {
        let bit = 1u8 << flags.category().number();
        self.0 & bit != 0 || (self.0 >> 3 & bit != 0 && !flags.has(Flags::ANSWER))
    }

    /// As its bits.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// From its bits; others are dropped.
    pub fn from_bits(bits: u8) -> Blocks {
        Blocks(bits & ((1 << Blocks::BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_messages_each_entry_holds_back() {
        use Category::*;
        use Reason::*;
        let of = |category| {
            Flags::default().with(Flags::OTP, category == Otp).with(Flags::PROMOTIONAL, category == Promotional)
        };
        // reason, category it names -> transactional, promotional, otp, an answer, a promotional answer
        let rows = [
            (OptOut, None, [true, true, false, false, false]),
            (OptOut, Some(Promotional), [false, true, false, false, false]),
            (OptOut, Some(Otp), [false, false, true, false, false]),
            (Complaint, None, [true, true, false, true, true]),
            (Bounced, None, [true, true, false, true, true]),
            (Dnd, None, [false, true, false, false, true]),
            (Dnd, Some(Transactional), [true, false, false, true, false]),
            (Blocked, None, [true, true, true, true, true]),
            (Blocked, Some(Promotional), [false, true, false, false, true]),
        ];
        for (reason, category, expected) in rows {
            let blocks = Blocks::of(reason, category);
            let answer = |category| of(category).with(Flags::ANSWER, true);
            let messages = [of(Transactional), of(Promotional), of(Otp), answer(Transactional), answer(Promotional)];
            assert_eq!(messages.map(|flags| blocks.holds(flags)), expected, "{reason:?} {category:?}");
            assert_eq!(Blocks::from_bits(blocks.bits()), blocks);
        }
        let both = Blocks::of(OptOut, None).and(Blocks::of(Blocked, Some(Otp)));
        assert!(
            both.holds(of(Otp))
                && both.holds(of(Transactional))
                && !both.holds(of(Transactional).with(Flags::ANSWER, true))
        );
        assert!(!Blocks::NONE.holds(of(Promotional)));
    }

    #[test]
    fn what_a_scope_is_called() {
        let sender = Scope { sender: Some("Shop".into()), category: None };
        let category = Scope { sender: None, category: Some(Category::Promotional) };
        assert_eq!([Scope::default().as_str(false), Scope::default().as_str(true)], ["account", "platform"]);
        assert_eq!([sender.as_str(false), category.as_str(false)], ["sender", "category"]);
    }
}
