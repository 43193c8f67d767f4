//! Latencies in buckets that grow with the value: fixed memory, at most 1.6% of error, mergeable.

use std::time::Duration;

/// Buckets for each doubling of the value; its inverse is the error.
const SUB_BUCKETS: u64 = 64;
/// 64-bit values: the first 64 have a bucket each, then 64 buckets for each of the remaining doublings.
const BUCKETS: usize = (SUB_BUCKETS * (1 + 64 - SUB_BUCKETS.ilog2() as u64)) as usize;

/// Counts of durations, in microseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: vec![0; BUCKETS], count: 0, max_us: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(us)] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Adds all that another histogram counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest duration counted; zero when there was none.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max_us)
    }

    /// The duration that `per_mille` of 1,000 did not exceed, rounded up to its bucket's end.
    pub fn quantile(&self, per_mille: u64) -> Duration {
        let rank = (self.count * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(upper_bound(index).min(self.max_us));
            }
        }
        self.max()
    }
}

fn bucket(value: u64) -> usize {
    if value < SUB_BUCKETS {
        return value as usize;
    }
    // Keep the leading seven bits: 64..=127 after the shift.
    let shift = u64::from(value.ilog2() - SUB_BUCKETS.ilog2());
    (SUB_BUCKETS * shift + (value >> shift)) as usize
}

fn upper_bound(index: usize) -> u64 {
    let index = index as u64;
    if index < SUB_BUCKETS {
        return index;
    }
    let shift = index / SUB_BUCKETS - 1;
    // In 128 bits: the last bucket ends at the largest 64-bit value.
    let next = u128::from(index - SUB_BUCKETS * shift + 1) << shift;
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_of_one_to_a_thousand_milliseconds() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|ms| histogram.record(Duration::from_millis(ms)));
        for (per_mille, ms) in [(0, 1), (1, 1), (500, 500), (950, 950), (990, 990), (999, 999), (1000, 1000)] {
            let (found, exact) = (histogram.quantile(per_mille), Duration::from_millis(ms));
            assert!(found >= exact && found <= exact + exact / 60, "{per_mille}: {found:?}, not {exact:?}");
        }
        assert_eq!((histogram.count(), histogram.max()), (1000, Duration::from_secs(1)));
    }

    #[test]
    fn of_nothing_all_is_zero() {
        let histogram = Histogram::default();
        assert_eq!((histogram.count(), histogram.max(), histogram.quantile(990)), (0, Duration::ZERO, Duration::ZERO));
    }

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket_within_the_error(value in any::<u64>()) {
            let index = bucket(value);
            prop_assert!(index < BUCKETS);
            prop_assert!(upper_bound(index) >= value);
            prop_assert!(upper_bound(index) - value <= value / SUB_BUCKETS);
            prop_assert!(index == 0 || upper_bound(index - 1) < value);
        }
    }
}
