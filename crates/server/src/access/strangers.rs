//! Failures to sign in with addresses nobody has: counted like those of people, so that a lock tells nothing.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// More addresses than this are not remembered: the list begins anew.
const ADDRESSES_MAX: usize = 10_000;

/// Attempts by address.
#[derive(Debug, Default)]
pub struct Strangers(Mutex<FxHashMap<Box<str>, (i64, Option<i64>)>>);

impl Strangers {
    /// Counts one and returns until when (Unix milliseconds) the address was locked already, if it was; `rule` says what so many
    /// failures lock.
    pub fn attempt(&self, address: &str, now: i64, rule: impl Fn(i64) -> Option<i64>) -> Option<i64> {
        let mut addresses = self.0.lock();
        if addresses.len() >= ADDRESSES_MAX {
            addresses.clear();
        }
        let short: String = address.chars().take(254).collect();
        let (failures, locked) = addresses.entry(short.into()).or_default();
        if let Some(until) = locked.filter(|until| *until > now) {
            return Some(until);
        }
        *failures += 1;
        *locked = rule(*failures);
        None
    }
}
