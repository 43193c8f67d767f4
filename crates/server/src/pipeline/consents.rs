//! Who agreed to promotional messages, in memory, and which accounts need that: asked of promotional messages alone, beside the suppression
//! list. A million numbers that agreed are about 35 MB.

use std::hash::{Hash, Hasher};

use carillon_domain::consent::{Needed, Status};
use carillon_domain::id::AccountNo;
use carillon_domain::message::{Category, Flags};
use carillon_store::consent::{self, Change, Place, State};
use carillon_store::{Db, StoreError};
use parking_lot::RwLock;
use rustc_hash::{FxHashMap, FxHasher};

/// Rows read at a time.
const PAGE: u32 = 5_000;

/// What is known of a number, one bit each.
const AGREED: u8 = 1;
const CONFIRMED: u8 = 2;
/// They were asked whether they agree to promotional, or transactional, messages.
const ASKED: [u8; 2] = [4, 8];

/// See the module.
#[derive(Debug, Default)]
pub struct Consents {
    /// Accounts whose promotional messages need more than that nobody refused.
    needed: RwLock<FxHashMap<AccountNo, Needed>>,
    /// By account and number; two different ones meet about never.
    known: RwLock<FxHashMap<u64, u8>>,
}

fn name(account: AccountNo, phone_tag: i64) -> u64 {
    let mut hasher = FxHasher::default();
    account.0.hash(&mut hasher);
    // The tag is a keyed hash already: every bit of it is as good as random.
    (phone_tag as u64) ^ hasher.finish().wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Consents {
    /// What an account's promotional messages need from now on.
    pub fn need(&self, account: AccountNo, needed: Needed) {
        let known = self.needed.read().get(&account).copied().unwrap_or_default();
        if known != needed {
            self.needed.write().insert(account, needed);
        }
    }

    fn of(&self, account: AccountNo, phone_tag: i64) -> u8 {
        self.known.read().get(&name(account, phone_tag)).copied().unwrap_or(0)
    }

    /// Whether a number agreed to an account's promotional messages.
    pub fn agreed(&self, account: AccountNo, phone_tag: i64) -> bool {
        self.of(account, phone_tag) & (AGREED | CONFIRMED) != 0
    }

    /// Whether a number was asked whether it agrees; perhaps too long ago.
    pub fn asked(&self, account: AccountNo, phone_tag: i64) -> bool {
        self.of(account, phone_tag) & (ASKED[0] | ASKED[1]) != 0
    }

    /// Whether a message lacks the consent that its account's need.
    pub fn lacks(&self, account: AccountNo, phone_tag: i64, flags: Flags) -> bool {
        if flags.category() != Category::Promotional {
            return false;
        }
        let needed = self.needed.read().get(&account).copied().unwrap_or_default();
        let status = |bits: u8| match bits {
            _ if bits & CONFIRMED != 0 => Some(Status::Confirmed),
            _ if bits & AGREED != 0 => Some(Status::OptedIn),
            _ => None,
        };
        needed != Needed::OptOut && !needed.met_by(status(self.of(account, phone_tag)))
    }

    /// Takes in what states have become.
    pub fn set(&self, states: &[State]) {
        let mut known = self.known.write();
        for state in states {
            let promotional = state.category == Category::Promotional;
            let asked = ASKED[usize::from(!promotional)];
            let key = name(state.account, state.phone_tag);
            let before = known.get(&key).copied().unwrap_or(0);
            let mut bits = before & !asked | if state.asked_until.is_some() { asked } else { 0 };
            if promotional {
                bits &= !(AGREED | CONFIRMED);
                bits |= match state.status {
                    Status::Confirmed => CONFIRMED,
                    Status::OptedIn => AGREED,
                    Status::OptedOut | Status::Pending => 0,
                };
            }
            if bits == 0 {
                known.remove(&key)
            } else {
                known.insert(key, bits)
            };
        }
    }

    /// Reads all states. At start.
    pub async fn load(&self, db: &Db) -> Result<(), StoreError> {
        let mut after: Place = (AccountNo::PLATFORM, i64::MIN, i16::MIN);
        loop {
            let (states, next) = consent::states_after(db, after, PAGE).await?;
            self.set(&states);
            match next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }

    /// Takes in what this or another process changed since `since`, Unix milliseconds.
    pub async fn follow(&self, db: &Db, since: i64) -> Result<(), StoreError> {
        let mut after: Change = (since, AccountNo::PLATFORM, i64::MIN);
        loop {
            let (states, last) = consent::changed_after(db, after, PAGE).await?;
            self.set(&states);
            match last {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::consent::Source;

    #[test]
    fn who_may_be_written_to() {
        let consents = Consents::default();
        let a = AccountNo(1);
        let state = |phone_tag, category, status, asked_until| State {
            account: a,
            phone_tag,
            category,
            status,
            source: Source::Api,
            since: 0,
            asked_until,
        };
        consents.set(&[
            state(1, Category::Promotional, Status::Confirmed, None),
            state(2, Category::Promotional, Status::OptedIn, Some(5)),
            state(3, Category::Transactional, Status::OptedIn, Some(5)),
            state(4, Category::Promotional, Status::Pending, Some(5)),
        ]);
        // what is needed -> whether each of five numbers lacks it
        for (needed, expected) in [
            (Needed::OptOut, [false; 5]),
            (Needed::OptIn, [false, false, true, true, true]),
            (Needed::DoubleOptIn, [false, true, true, true, true]),
        ] {
            consents.need(a, needed);
            assert_eq!([1, 2, 3, 4, 5].map(|tag| consents.lacks(a, tag, Flags::PROMOTIONAL)), expected, "{needed:?}");
            assert!(!consents.lacks(a, 5, Flags::default()) && !consents.lacks(a, 5, Flags::OTP));
            assert!(!consents.lacks(AccountNo(2), 5, Flags::PROMOTIONAL), "another account needs nothing");
        }
        assert_eq!([1, 2, 3, 4, 5].map(|tag| consents.asked(a, tag)), [false, true, true, true, false]);
        consents.set(&[
            state(2, Category::Promotional, Status::OptedOut, None),
            state(3, Category::Transactional, Status::OptedIn, None),
        ]);
        assert!(consents.lacks(a, 2, Flags::PROMOTIONAL) && !consents.agreed(a, 2) && !consents.asked(a, 3));
        assert_eq!(consents.known.read().len(), 2, "nothing is left of what ended");
    }
}
