//! Guesses at passwords: counted by address and by system_id, locked with a delay that doubles (SMPP passwords have eight characters).

use std::net::IpAddr;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::config;

/// More than this are not remembered: those that lock nobody go first.
const REMEMBERED_MAX: usize = 20_000;
/// A system_id is locked after so many times the failures that lock an address: whoever knows the name alone must not lock its
/// owner out from a single address.
const NAME_FACTOR: u32 = 4;

/// Who tries: an address, or of IPv6 the /64 it lies in, which one party has whole; or a name, from anywhere.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Who {
    Address(IpAddr),
    Name(Box<str>),
}

impl Who {
    pub(super) fn address(address: IpAddr) -> Who {
        Who::Address(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
            v4 => v4,
        })
    }

    pub(super) fn name(name: &str) -> Who {
        Who::Name(name.into())
    }
}

#[derive(Default)]
struct Tally {
    failures: u32,
    locked_until: i64,
    last: i64,
}

/// Failures that may still lock somebody.
#[derive(Default)]
pub(super) struct Attempts(Mutex<FxHashMap<Who, Tally>>);

impl Attempts {
    /// Whether attempts of this party are refused unseen at `now` (Unix milliseconds).
    pub(super) fn locked(&self, who: &Who, now: i64) -> bool {
        self.0.lock().get(who).is_some_and(|tally| tally.locked_until > now)
    }

    /// Counts a failure, and locks after too many of them.
    pub(super) fn failed(&self, who: Who, now: i64, rule: &config::Auth) {
        let mut all = self.0.lock();
        if all.len() >= REMEMBERED_MAX {
            all.retain(|_, tally| tally.locked_until > now);
            if all.len() >= REMEMBERED_MAX {
                all.clear();
            }
        }
        let after = if matches!(who, Who::Name(_)) { rule.lockout_after * NAME_FACTOR } else { rule.lockout_after };
        let longest = i64::from(rule.lockout_max_s) * 1_000;
        let tally = all.entry(who).or_default();
        if now - tally.last > 2 * longest {
            tally.failures = 0;
        }
        tally.failures += 1;
        tally.last = now;
        if let Some(beyond) = tally.failures.checked_sub(after) {
            let lock = (i64::from(rule.lockout_first_s) * 1_000) << beyond.min(20);
            tally.locked_until = now + lock.min(longest);
            metrics::counter!("carillon_smpp_lockouts_total").increment(1);
        }
    }

    /// Forgets the failures of somebody who knew the password.
    pub(super) fn succeeded(&self, who: &Who) {
        self.0.lock().remove(who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_double_and_end_and_names_take_more_failures() {
        let rule = &config::defaults().auth;
        assert_eq!((rule.lockout_after, rule.lockout_first_s, rule.lockout_max_s), (5, 30, 3_600));
        let address = Who::address("192.0.2.7".parse().unwrap());
        let attempts = Attempts::default();
        for _ in 0..4 {
            attempts.failed(address.clone(), 0, rule);
        }
        assert!(!attempts.locked(&address, 0));
        // The fifth locks for 30 s, each further one for twice as long, an hour at most.
        for (now, seconds) in [(0, 30), (30_000, 60), (90_000, 120), (210_000, 240)] {
            attempts.failed(address.clone(), now, rule);
            assert!(attempts.locked(&address, now + seconds * 1_000 - 1), "{seconds}");
            assert!(!attempts.locked(&address, now + seconds * 1_000), "{seconds}");
        }
        for _ in 0..20 {
            attempts.failed(address.clone(), 1_000_000, rule);
        }
        assert!(!attempts.locked(&address, 1_000_000 + 3_600_000));
        attempts.succeeded(&address);
        attempts.failed(address.clone(), 1_000_000, rule);
        assert!(!attempts.locked(&address, 1_000_000));
        let name = Who::name("customer");
        for _ in 0..19 {
            attempts.failed(name.clone(), 0, rule);
        }
        assert!(!attempts.locked(&name, 0));
        attempts.failed(name.clone(), 0, rule);
        assert!(attempts.locked(&name, 0));
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let same = |a: &str, b: &str| Who::address(a.parse().unwrap()) == Who::address(b.parse().unwrap());
        for (a, b, expected) in [
            ("192.0.2.7", "::ffff:192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(same(a, b), expected, "{a} {b}");
        }
    }
}
