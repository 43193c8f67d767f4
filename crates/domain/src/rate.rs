//! How fast parts may go (B3): exactly so many in any sliding second, spread over it.
//!
//! Two bounds: a log of the last second refuses what would be one too many, and a bucket a twentieth of the rate deep spreads the rest; what
//! a late waker lost is made up from the bucket, so that a backlog gets nearly all of the rate.

use std::collections::VecDeque;

/// A second as the sender counts it, milliseconds: the wire may bring two parts closer together than they were sent. With 10 to spare a busy
/// machine's carrier saw 204 where 200 may go (`bench rate`); more than these 15 would cost too much of the rate.
const SECOND_MS: u64 = 1_015;

/// Parts a second; time is the caller's, in milliseconds since any fixed moment.
#[derive(Debug, Clone)]
pub struct Rate {
    /// 0 is no limit.
    limit: u64,
    /// How many may go at once after a pause.
    burst: u64,
    /// What any second may see; no bound where the bucket alone decides.
    in_a_second: u64,
    /// When parts went, and how many at once.
    log: VecDeque<(u64, u64)>,
    /// Sum of the log.
    sent: u64,
    /// When the bucket would be full, in thousandths of a millisecond (theoretical arrival time, GCRA).
    full_at_us: u64,
}

impl Rate {
    /// Of `limit` parts a second; 0 is no limit.
    pub fn new(limit: u32) -> Rate {
        let limit = u64::from(limit);
        Rate { limit, burst: 1 + limit / 20, in_a_second: limit, log: VecDeque::new(), sent: 0, full_at_us: 0 }
    }

    /// As `new`, for those who come to us: a second's worth may come at once, and the limit holds on average.
    pub fn forgiving(limit: u32) -> Rate {
        Rate { burst: u64::from(limit), in_a_second: u64::MAX, ..Rate::new(limit) }
    }

    /// How many parts a second.
    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    fn interval_us(&self) -> u64 {
        1_000_000 / self.limit
    }

    /// How many parts may go now.
    pub fn available(&mut self, now_ms: u64) -> u64 {
        if self.limit == 0 {
            return u64::MAX;
        }
        while self.log.front().is_some_and(|(at, _)| at + SECOND_MS <= now_ms) {
            self.sent -= self.log.pop_front().map_or(0, |(_, parts)| parts);
        }
        let used = self.full_at_us.saturating_sub(now_ms * 1_000).div_ceil(self.interval_us());
        self.in_a_second.saturating_sub(self.sent).min(self.burst.saturating_sub(used))
    }

    /// How many of those are kept for one-time codes: an eighth of what may go at once, if that is more than one part. Whatever else goes uses up
    /// a rate in clumps, up to a burst at once; without this a code would wait for the next clump.
    pub fn kept(&self) -> u64 {
        if self.burst > 1 { (self.burst / 8).max(1) } else { 0 }
    }

    /// Takes parts; what goes beyond the available is waited for by those that follow (a message's parts go together).
    pub fn take(&mut self, now_ms: u64, parts: u64) {
        if self.limit == 0 || parts == 0 {
            return;
        }
        self.full_at_us = self.full_at_us.max(now_ms * 1_000) + parts * self.interval_us();
        self.sent += parts;
        match self.log.back_mut() {
            Some((at, count)) if *at == now_ms => *count += parts,
            _ => self.log.push_back((now_ms, parts)),
        }
    }

    /// When so many parts may go, no more than a burst. With those kept, when one may that is no code.
    pub fn free_at(&mut self, now_ms: u64, parts: u64) -> u64 {
        if self.available(now_ms) >= parts {
            return now_ms;
        }
        let bucket =
            self.full_at_us.saturating_sub(self.burst.saturating_sub(parts) * self.interval_us()).div_ceil(1_000);
        // The log frees a part when enough of its oldest are a second old.
        let mut excess = (self.sent + parts).saturating_sub(self.in_a_second);
        let mut window = now_ms;
        for (at, parts) in &self.log {
            if excess == 0 {
                break;
            }
            window = at + SECOND_MS;
            excess = excess.saturating_sub(*parts);
        }
        bucket.max(window).max(now_ms + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What went when, if every chance is used that comes `late_ms` or less after it could be.
    fn run(limit: u32, seconds: u64, mut late_ms: impl FnMut() -> u64) -> Vec<u64> {
        let (mut rate, mut now, mut sent) = (Rate::new(limit), 0, Vec::new());
        while now < seconds * 1_000 {
            for _ in 0..rate.available(now) {
                rate.take(now, 1);
                sent.push(now);
            }
            now = rate.free_at(now, 1) + late_ms();
        }
        sent
    }

    fn most_in_a_second(sent: &[u64]) -> usize {
        let within = |(i, t): (usize, &u64)| sent[i..].partition_point(|u| *u < t + 1_000);
        sent.iter().enumerate().map(within).max().unwrap_or(0)
    }

    #[test]
    fn no_second_sees_more_than_the_limit_and_a_backlog_gets_nearly_all_of_it() {
        for limit in [1, 3, 10, 50, 100, 999, 5_000] {
            let mut n = 0u64;
            let sent = run(limit, 60, || {
                n += 1;
                n * 7 % 5
            });
            assert!(most_in_a_second(&sent) <= limit as usize, "{limit}");
            assert!(sent.len() as f64 >= 60.0 * f64::from(limit) * 0.98, "{limit}: {} in 60 s", sent.len());
        }
        assert_eq!(Rate::new(0).available(0), u64::MAX);
    }

    #[test]
    fn long_messages_are_paid_for_by_those_that_follow() {
        let mut rate = Rate::new(10);
        rate.take(0, 3);
        assert_eq!((rate.available(299), rate.free_at(0, 1)), (0, 300));
        assert_eq!(rate.available(300), 1);
        rate.take(300, 12);
        assert!(rate.free_at(300, 1) >= 1_310, "fifteen went: nothing more within the second");
    }

    #[test]
    fn an_eighth_of_a_burst_is_kept_for_codes() {
        for (limit, kept) in [(0, 0), (1, 0), (19, 0), (20, 1), (200, 1), (400, 2), (1_000, 6), (10_000, 62)] {
            assert_eq!(Rate::new(limit).kept(), kept, "{limit}");
        }
        let mut rate = Rate::new(400);
        rate.take(0, 19);
        assert_eq!(
            (rate.available(0), rate.free_at(0, 2), rate.free_at(0, 3)),
            (2, 0, 3),
            "two for codes, a third at 2.5 ms"
        );
    }

    proptest! {
        #[test]
        fn whatever_else_goes_and_when_codes_find_what_is_kept(limit in 20u32..3_000, waits in prop::collection::vec(0u64..90, 1..400)) {
            let (mut rate, mut now) = (Rate::new(limit), 0);
            for wait in waits {
                now += wait;
                let others = rate.available(now).saturating_sub(rate.kept());
                rate.take(now, others);
                prop_assert!(rate.available(now) >= rate.kept());
                let next = rate.free_at(now, rate.kept() + 1);
                let mut later = rate.clone();
                prop_assert!(later.available(next - 1) <= rate.kept() && later.available(next) > rate.kept(), "{} ms", next - now);
            }
        }

        #[test]
        fn whatever_the_moments_the_limit_holds(limit in 1u32..400, waits in prop::collection::vec(0u64..90, 1..400)) {
            let (mut rate, mut now, mut sent) = (Rate::new(limit), 0, Vec::new());
            for wait in waits {
                now += wait;
                let parts = rate.available(now);
                rate.take(now, parts);
                sent.extend(std::iter::repeat_n(now, parts as usize));
            }
            prop_assert!(most_in_a_second(&sent) <= limit as usize);
        }
    }
}
