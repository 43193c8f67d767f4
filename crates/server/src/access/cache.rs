//! A small map that believes its entries for a while.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

/// More entries than this are not kept: the map begins anew, and the database answers meanwhile.
const ENTRIES_MAX: usize = 200_000;

struct Entry<V> {
    value: V,
    /// When it was read, milliseconds of the monotonic clock.
    read_at: AtomicU64,
}

/// Values by key, read again after a time.
pub(crate) struct Cache<K, V> {
    map: RwLock<FxHashMap<K, Entry<V>>>,
    life_ms: u64,
    /// Counts removals, so that a value read before a removal is not put in after it.
    removals: AtomicU64,
}

/// Proof of when a read began.
#[derive(Clone, Copy)]
pub(crate) struct Ticket(u64);

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new(life_ms: u64) -> Self {
        Cache { map: RwLock::default(), life_ms, removals: AtomicU64::new(0) }
    }

    /// The value, unless it is unknown or old. Of many who meet an old one, one is told to read it again, the others take it once more.
    pub(crate) fn get(&self, key: &K, now: Duration) -> Option<V> {
        let map = self.map.read();
        let entry = map.get(key)?;
        let (now, read_at) = (now.as_millis() as u64, entry.read_at.load(Ordering::Relaxed));
        let old = now.saturating_sub(read_at) >= self.life_ms;
        if old && entry.read_at.compare_exchange(read_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return None;
        }
        Some(entry.value.clone())
    }

    /// To be taken before the database is read.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.removals.load(Ordering::Acquire))
    }

    /// Keeps a value read since the ticket was taken, unless anything was removed meanwhile.
    pub(crate) fn put(&self, key: K, value: V, now: Duration, ticket: Ticket) {
        let mut map = self.map.write();
        if self.removals.load(Ordering::Acquire) != ticket.0 {
            return;
        }
        if map.len() >= ENTRIES_MAX {
            map.clear();
        }
        map.insert(key, Entry { value, read_at: AtomicU64::new(now.as_millis() as u64) });
    }

    pub(crate) fn clear(&self) {
        let mut map = self.map.write();
        self.removals.fetch_add(1, Ordering::Release);
        map.clear();
    }

    pub(crate) fn remove(&self, key: &K) {
        let mut map = self.map.write();
        self.removals.fetch_add(1, Ordering::Release);
        map.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_believed_for_a_while_and_never_after_a_removal() {
        let (cache, at) = (Cache::new(1_000), Duration::from_millis);
        cache.put("a", 1, at(0), cache.ticket());
        assert_eq!(cache.get(&"a", at(999)), Some(1));
        assert_eq!((cache.get(&"a", at(1_000)), cache.get(&"a", at(1_001))), (None, Some(1)), "one reads again");
        let early = cache.ticket();
        cache.remove(&"a");
        cache.put("a", 2, at(1_002), early);
        assert_eq!(cache.get(&"a", at(1_003)), None);
    }
}
