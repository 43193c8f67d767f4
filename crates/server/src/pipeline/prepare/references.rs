//! The references that tie the parts of a long message together (TS 23.040 §9.2.3.24.8): 16 bits, to be different for
//! messages that may be on their way to one handset at a time.

use std::sync::atomic::{AtomicU16, Ordering};

/// Counters are shared by numbers whose tags agree in so many low bits.
const SLOTS: usize = 1 << 16;

/// A counter for each of 65,536 groups of destinations: a reference comes back to a destination after 65,536 long messages
/// to its group, and restarts do not begin where the last run did.
pub struct References(Box<[AtomicU16]>);

impl std::fmt::Debug for References {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("References(..)")
    }
}

impl References {
    /// Counters that begin where `start` says, one call each.
    pub fn new(mut start: impl FnMut() -> u16) -> References {
        References((0..SLOTS).map(|_| AtomicU16::new(start())).collect())
    }

    /// The next reference for a destination of this `phone_tag`.
    pub fn next(&self, phone_tag: i64) -> u16 {
        self.0[phone_tag as usize % SLOTS].fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_sees_each_reference_once_in_65536() {
        let references = References::new(|| 65_535);
        let rows = [(7, 65_535), (7, 0), (8, 65_535), (7 + (1 << 16), 1), (-1, 65_535)];
        for (tag, expected) in rows {
            assert_eq!(references.next(tag), expected, "{tag}");
        }
    }
}
