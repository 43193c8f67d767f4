//! How usage is counted: delivery times in classes, so that counts can be added up and percentiles still be read from them.

use crate::message::State;
use crate::money::Money;

/// Classes of delivery time.
pub const SPEEDS: usize = 32;

/// The class of a delivery that took so many milliseconds: class n holds what took at least 2^n and less than 2^(n + 1). What took no time
/// counts as one millisecond, what took longer than the last class begins (24 days) stands in it.
pub fn speed(took_ms: i64) -> i16 {
    (took_ms.max(1).ilog2() as i16).min(SPEEDS as i16 - 1)
}

/// Counts of deliveries by class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Speeds(pub [i64; SPEEDS]);

impl Speeds {
    /// Counts more of a class; numbers outside the classes are counted nowhere.
    pub fn add(&mut self, speed: i16, count: i64) {
        if let Some(slot) = usize::try_from(speed).ok().and_then(|n| self.0.get_mut(n)) {
            *slot += count;
        }
    }

    /// The time, in milliseconds, within which so many percent were delivered; `None` of nothing. Within a class they count as spread
    /// evenly: the answer lies in the same class as the true one, hence is less than twice as long and more than half.
    pub fn percentile(&self, percent: i64) -> Option<i64> {
        let total: i64 = self.0.iter().sum();
        if total <= 0 {
            return None;
        }
        // The rank, from 1, of the delivery asked for.
        let rank = (total * percent.clamp(0, 100)).div_euclid(100).max(1);
        let mut below = 0;
        for (n, count) in self.0.iter().enumerate() {
            if rank <= below + count {
                let width = 1i64 << n;
                return Some(width + (i128::from(width) * i128::from(rank - below) / i128::from(*count)) as i64 - 1);
            }
            below += count;
        }
        None
    }
}

/// Sums of messages: how many were accepted, what became of those that have ended, and what they cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Accepted.
    pub accepted: i64,
    /// The handset has them.
    pub delivered: i64,
    /// A carrier has them, and no receipt came or none was to be had.
    pub sent: i64,
    /// A carrier took them and they did not arrive.
    pub undelivered: i64,
    /// No carrier took them.
    pub failed: i64,
    /// Their validity ended first.
    pub expired: i64,
    /// Withdrawn by their sender.
    pub canceled: i64,
    /// Refused by a rule after acceptance.
    pub rejected: i64,
    /// Parts of all that have ended.
    pub parts: i64,
    /// What they cost.
    pub cost: Money,
    /// Delivery times, from the carrier's acceptance to its receipt.
    pub speeds: Speeds,
}

impl Totals {
    /// Counts messages that have come to an end: its `State::number`, the class of delivery time, parts and cost in micro-units.
    pub fn end(&mut self, state: i16, speed: i16, messages: i64, parts: i64, captured: i64) {
        let count = match State::from_number(state) {
            Some(State::Delivered) => &mut self.delivered,
            Some(State::Sent) => &mut self.sent,
            Some(State::Undelivered) => &mut self.undelivered,
            Some(State::Expired) => &mut self.expired,
            Some(State::Canceled) => &mut self.canceled,
            Some(State::Rejected) => &mut self.rejected,
            _ => &mut self.failed,
        };
        *count += messages;
        self.parts += parts;
        self.cost += Money(captured);
        self.speeds.add(speed, messages);
    }

    /// Adds others.
    pub fn add(&mut self, more: &Totals) {
        self.accepted += more.accepted;
        self.delivered += more.delivered;
        self.sent += more.sent;
        self.undelivered += more.undelivered;
        self.failed += more.failed;
        self.expired += more.expired;
        self.canceled += more.canceled;
        self.rejected += more.rejected;
        self.parts += more.parts;
        self.cost += more.cost;
        for (sum, more) in self.speeds.0.iter_mut().zip(more.speeds.0) {
            *sum += more;
        }
    }

    /// All that have ended.
    pub fn ended(&self) -> i64 {
        self.handed_over() + self.failed + self.expired + self.canceled + self.rejected
    }

    /// All that a carrier took.
    pub fn handed_over(&self) -> i64 {
        self.delivered + self.sent + self.undelivered
    }

    /// Delivered messages of a thousand that have ended and were not withdrawn; `None` if there are none.
    pub fn delivered_permille(&self) -> Option<i64> {
        let tried = self.ended() - self.canceled;
        (tried > 0).then(|| (self.delivered * 1000 + tried / 2).div_euclid(tried))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_and_their_classes() {
        let rows = [
            (-5, 0),
            (0, 0),
            (1, 0),
            (2, 1),
            (3, 1),
            (4, 2),
            (1_000, 9),
            (1_024, 10),
            (86_400_000, 26),
            (i64::MAX, 31),
        ];
        for (ms, class) in rows {
            assert_eq!(speed(ms), class, "{ms} ms");
        }
    }

    #[test]
    fn percentiles_of_known_counts() {
        assert_eq!(Speeds::default().percentile(50), None);
        let mut speeds = Speeds::default();
        speeds.add(10, 100); // a hundred between 1,024 and 2,047 ms
        assert_eq!([1, 50, 99, 100].map(|p| speeds.percentile(p)), [Some(1033), Some(1535), Some(2036), Some(2047)]);
        speeds.add(16, 1);
        assert_eq!(speeds.percentile(99), Some(2036));
        assert_eq!(speeds.percentile(100), Some(131_071));
        speeds.add(-1, 7);
        speeds.add(99, 7);
        assert_eq!(speeds.0.iter().sum::<i64>(), 101, "what has no class is not counted");
    }

    proptest! {
        #[test]
        fn a_percentile_is_in_the_class_of_the_true_one(
            mut times in prop::collection::vec(1i64..1_000_000_000, 1..200), percent in 1i64..=100
        ) {
            let mut speeds = Speeds::default();
            for ms in &times {
                speeds.add(speed(*ms), 1);
            }
            times.sort_unstable();
            let rank = (times.len() as i64 * percent / 100).max(1);
            let told = speeds.percentile(percent).unwrap();
            prop_assert_eq!(speed(told), speed(times[rank as usize - 1]));
        }
    }
}
