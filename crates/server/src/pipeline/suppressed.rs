//! Who must not be written to, in memory: what every message is asked about at acceptance and again when a link takes it.
//!
//! A million entries are about 20 MB: each is eight octets of a set, 58 bits that name (list, number, sender) and six that say what is held
//! back (`domain::suppression::Blocks`). Two different names meet in 58 bits about once in 10^11 questions with a million entries.

use std::hash::{Hash, Hasher};

use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::{AccountNo, SuppressionId};
use carillon_domain::message::Flags;
use carillon_domain::suppression::Blocks;
use carillon_store::hot::NewMessage;
use carillon_store::suppression::{self, Change, Held, NewSuppression, Told};
use carillon_store::{Db, StoreError};
use parking_lot::RwLock;
use rustc_hash::{FxHashSet, FxHasher};
use uuid::Uuid;

use super::consents::Consents;

/// Rows read at a time.
const PAGE: u32 = 5_000;
/// In place of a sender: messages that name none, which may come from any.
const UNNAMED: &str = "\0";

/// A name and what is held back; equal to another of the same name.
#[derive(Clone, Copy, Debug)]
struct Slot(u64);

impl Slot {
    fn new(account: AccountNo, phone_tag: i64, sender: &str, blocks: Blocks) -> Slot {
        let mut hasher = FxHasher::default();
        (account.0, sender).hash(&mut hasher);
        // The tag is a keyed hash already: every bit of it is as good as random.
        let name = (phone_tag as u64) ^ hasher.finish().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Slot(name << Blocks::BITS | u64::from(blocks.bits()))
    }

    fn name(self) -> u64 {
        self.0 >> Blocks::BITS
    }

    fn blocks(self) -> Blocks {
        Blocks::from_bits(self.0 as u8)
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Slot) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Slot {}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

/// Why a message is held back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// Its number is on a list.
    Suppressed,
    /// Its number has not agreed, and the account's messages of its category need that.
    NoConsent,
}

impl Hold {
    /// Its word in answers and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Hold::Suppressed => ErrorCode::Suppressed.name(),
            Hold::NoConsent => ErrorCode::NoConsent.name(),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Suppressed {
    slots: RwLock<FxHashSet<Slot>>,
    consents: Consents,
}

impl Suppressed {
    /// Whether a message is held back: by its account's list, or by the platform's.
    pub fn holds(&self, account: AccountNo, phone_tag: i64, sender: Option<&str>, flags: Flags) -> bool {
        let slots = self.slots.read();
        if slots.is_empty() {
            return false;
        }
        let says = |account, sender| {
            let slot = slots.get(&Slot::new(account, phone_tag, sender, Blocks::NONE));
            slot.is_some_and(|slot| slot.blocks().holds(flags))
        };
        says(account, "") || says(AccountNo::PLATFORM, "") || says(account, sender.unwrap_or(UNNAMED))
    }

    /// Whether a message is held back by a list, or for want of consent.
    pub fn hold(&self, account: AccountNo, phone_tag: i64, sender: Option<&str>, flags: Flags) -> Option<Hold> {
        if self.holds(account, phone_tag, sender, flags) {
            return Some(Hold::Suppressed);
        }
        self.consents.lacks(account, phone_tag, flags).then_some(Hold::NoConsent)
    }

    /// Whether a message that is about to be accepted is.
    pub fn hold_new(&self, account: AccountNo, m: &NewMessage) -> Option<Hold> {
        self.hold(account, m.phone_tag, m.sender.as_deref(), m.flags)
    }

    /// Who agreed.
    pub fn consents(&self) -> &Consents {
        &self.consents
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.slots.read().len()
    }

    /// Whether nobody is on any list.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Opens entries of a list and makes them count at once. For each its id, and whether it is new.
    pub async fn open(
        &self,
        db: &Db,
        account: AccountNo,
        entries: &[NewSuppression],
        now: i64,
        told: Option<Told<'_>>,
    ) -> Result<Vec<(SuppressionId, bool)>, StoreError> {
        let added = suppression::add(db, account, entries, now, told).await?;
        let held = |e: &NewSuppression| Held {
            account,
            phone_tag: e.phone_tag,
            sender: e.scope.sender.clone().unwrap_or_default(),
            blocks: Blocks::of(e.reason, e.scope.category),
        };
        self.opened(&entries.iter().map(held).collect::<Vec<_>>());
        Ok(added)
    }

    /// Takes in entries that were opened.
    pub fn opened<'a>(&self, entries: impl IntoIterator<Item = &'a Held>) {
        let mut slots = self.slots.write();
        let mut add = |held: &Held, sender: &str| {
            let new = Slot::new(held.account, held.phone_tag, sender, held.blocks);
            let old = slots.get(&new).map_or(Blocks::NONE, |slot| slot.blocks());
            slots.replace(Slot(new.0 | u64::from(old.bits())));
        };
        for held in entries {
            add(held, &held.sender);
            if !held.sender.is_empty() {
                add(held, UNNAMED);
            }
        }
    }

    /// Replaces what is known of one number by all that its list says of it, ended entries too.
    fn replace(&self, account: AccountNo, phone_tag: i64, all: &[Held]) {
        let mut slots = self.slots.write();
        for sender in all.iter().map(|held| held.sender.as_str()).chain([UNNAMED]) {
            slots.remove(&Slot::new(account, phone_tag, sender, Blocks::NONE));
        }
        drop(slots);
        self.opened(all.iter().filter(|held| held.blocks != Blocks::NONE));
    }

    /// Reads again what a list says of a number: an entry of it ended.
    pub async fn reread(&self, db: &Db, account: AccountNo, phone_tag: i64) -> Result<(), StoreError> {
        let all = suppression::of_number(db, account, phone_tag).await?;
        self.replace(account, phone_tag, &all);
        Ok(())
    }

    /// Reads all open entries. At start.
    pub async fn load(&self, db: &Db) -> Result<(), StoreError> {
        let mut after = (AccountNo::PLATFORM, SuppressionId(Uuid::nil()));
        loop {
            let (entries, next) = suppression::open_after(db, after, PAGE).await?;
            self.opened(&entries);
            match next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }

    /// Takes in what this or another process changed since `since`, Unix milliseconds.
    pub async fn follow(&self, db: &Db, since: i64) -> Result<(), StoreError> {
        let mut after: Change = (since, AccountNo::PLATFORM, SuppressionId(Uuid::nil()));
        loop {
            let (changed, last) = suppression::changed_after(db, after, PAGE).await?;
            let (ended, opened): (Vec<_>, Vec<_>) = changed.into_iter().partition(|held| held.blocks == Blocks::NONE);
            self.opened(&opened);
            for held in ended {
                self.reread(db, held.account, held.phone_tag).await?;
            }
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
    use carillon_domain::suppression::Reason;

    fn held(account: u32, phone_tag: i64, sender: &str, blocks: Blocks) -> Held {
        Held { account: AccountNo(account), phone_tag, sender: sender.into(), blocks }
    }

    #[test]
    fn who_is_held_back() {
        let list = Suppressed::default();
        let stop = Blocks::of(Reason::OptOut, None);
        let blocked = Blocks::of(Reason::Blocked, None);
        list.opened(&[held(1, 10, "", stop), held(1, 20, "Shop", stop), held(0, 30, "", blocked)]);
        let text = Flags::default();
        // account, number, sender -> held back
        let rows = [
            (1, 10, Some("Shop"), true),
            (1, 10, None, true),
            (2, 10, Some("Shop"), false),
            (1, 20, Some("Shop"), true),
            (1, 20, Some("Other"), false),
            (1, 20, None, true),
            (2, 20, Some("Shop"), false),
            (1, 30, None, true),
            (2, 30, Some("Any"), true),
            (1, 40, None, false),
        ];
        for (account, tag, sender, expected) in rows {
            assert_eq!(list.holds(AccountNo(account), tag, sender, text), expected, "{account} {tag} {sender:?}");
        }
        assert!(!list.holds(AccountNo(1), 10, None, Flags::OTP), "a one-time code passes an opt-out");
        list.replace(AccountNo(1), 20, &[held(1, 20, "Shop", Blocks::NONE), held(1, 20, "", stop)]);
        assert!(list.holds(AccountNo(1), 20, Some("Other"), text), "now every sender is held back");
        list.replace(AccountNo(1), 20, &[held(1, 20, "Shop", Blocks::NONE), held(1, 20, "", Blocks::NONE)]);
        assert!(!list.holds(AccountNo(1), 20, Some("Shop"), text) && !list.holds(AccountNo(1), 20, None, text));
        assert_eq!(list.len(), 2, "nothing is left of what ended");
    }

    #[test]
    fn a_million_entries_stay_small() {
        let list = Suppressed::default();
        let tag = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) as i64;
        (0..1_000_000u64).for_each(|i| list.opened([&held(1, tag(i), "", Blocks::of(Reason::OptOut, None))]));
        assert_eq!(list.len(), 1_000_000, "no two names met");
        // One octet of control beside each slot, at most 7 of 8 slots in use.
        let octets = list.slots.read().capacity() / 7 * 8 * (size_of::<Slot>() + 1);
        assert!(octets < 30_000_000, "{octets}");
        assert!((0..1_000).all(|i| list.holds(AccountNo(1), tag(i), None, Flags::default())));
        assert!((1_000_000..1_100_000).all(|i| !list.holds(AccountNo(1), tag(i), None, Flags::default())));
    }
}
