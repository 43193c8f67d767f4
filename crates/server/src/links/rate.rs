//! How fast a connection may send: parts in any sliding second (B3).
//!
//! A bucket one part deep would lose the time its waker is late; one of a hundredth of the rate, refilled at the rest of it, keeps
//! the promise all the same: what a burst and a second's refill make together is never more than the rate.

use std::time::Duration;

/// Time is the caller's, since any fixed moment.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Nanoseconds a part costs; 0 is no limit.
    interval_ns: u64,
    burst: u64,
    /// When the bucket would be full (theoretical arrival time, GCRA).
    full_at_ns: u64,
}

impl Bucket {
    /// Of `rate` parts a second; 0 is no limit.
    pub(crate) fn new(rate: u32) -> Bucket {
        let rate = u64::from(rate);
        let burst = 1 + rate / 100;
        let interval_ns = if rate == 0 { 0 } else { 1_000_000_000u64.div_ceil(rate - (burst - 1)) };
        Bucket { interval_ns, burst, full_at_ns: 0 }
    }

    /// As `new`, for those who come to us: a whole second's worth may come at once.
    pub(crate) fn forgiving(rate: u32) -> Bucket {
        let interval_ns = if rate == 0 { 0 } else { 1_000_000_000u64.div_ceil(rate.into()) };
        Bucket { interval_ns, burst: rate.into(), full_at_ns: 0 }
    }

    /// How many parts may go now.
    pub(crate) fn available(&self, now: Duration) -> u64 {
        if self.interval_ns == 0 {
            return u64::MAX;
        }
        let now = now.as_nanos() as u64;
        let used = self.full_at_ns.saturating_sub(now).div_ceil(self.interval_ns);
        self.burst.saturating_sub(used)
    }

    /// Takes parts; what goes beyond the available is waited for by those that follow (a message's parts go together).
    pub(crate) fn take(&mut self, now: Duration, parts: u64) {
        let now = now.as_nanos() as u64;
        self.full_at_ns = self.full_at_ns.max(now) + parts * self.interval_ns;
    }

    /// How long until a part may go.
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        let now = now.as_nanos() as u64;
        let free_at = self.full_at_ns.saturating_sub((self.burst - 1) * self.interval_ns);
        Duration::from_nanos(free_at.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sliding_second_sees_more_than_the_rate_and_a_backlog_nearly_all_of_it() {
        for (rate, poll_us) in [(1u64, 997), (10, 1_003), (50, 1_000), (100, 1_370), (1_000, 1_100), (5_000, 2_000)] {
            let mut bucket = Bucket::new(rate as u32);
            let mut sent: Vec<u64> = Vec::new();
            for step in 0..(20_000_000 / poll_us) {
                let at = Duration::from_micros(step * poll_us);
                for _ in 0..bucket.available(at) {
                    bucket.take(at, 1);
                    sent.push(at.as_micros() as u64);
                }
            }
            let most = sent.iter().enumerate().map(|(i, t)| sent[i..].partition_point(|u| *u < t + 1_000_000)).max();
            assert!(most <= Some(rate as usize), "rate {rate}: {most:?} in a second");
            assert!(sent.len() as f64 >= 20.0 * rate as f64 * 0.95, "rate {rate}: {} in 20 s", sent.len());
        }
        assert_eq!(Bucket::new(0).available(Duration::ZERO), u64::MAX);
        let mut bucket = Bucket::new(10);
        bucket.take(Duration::ZERO, 3);
        assert_eq!(
            (bucket.available(Duration::from_millis(299)), bucket.wait(Duration::ZERO)),
            (0, Duration::from_millis(300))
        );
        assert_eq!(bucket.available(Duration::from_millis(300)), 1);
    }
}
