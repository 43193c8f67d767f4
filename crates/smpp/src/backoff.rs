//! How long to wait before connecting again: doubling, with jitter, so that many clients of a carrier that returns do not come at once.

use std::time::Duration;

/// Grows with each failure in a row.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Default for Backoff {
    /// 1 s to 60 s.
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(60))
    }
}

impl Backoff {
    /// Waits about `first` after the first failure and at most `max` after many.
    #[must_use]
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first.min(max) }
    }

    /// The wait after one more failure. `random` is any 32 random bits: the wait lies between half and the whole of the current step.
    pub fn after_failure(&mut self, random: u32) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.max);
        let half = step / 2;
        let nanos = u128::from(random) * half.as_nanos() / u128::from(u32::MAX);
        half + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// A session has held: begin anew after the next failure. Call it once a session has lived for a while, not at its bind, or a carrier that
    /// binds and drops is hammered.
    pub fn reset(&mut self) {
        self.next = self.first.min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_doubles_to_the_maximum_and_jitter_takes_up_to_half() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let table = [(u32::MAX, 1000), (0, 1000), (u32::MAX, 4000), (0, 2500), (u32::MAX, 5000)];
        for (random, millis) in table {
            assert_eq!(backoff.after_failure(random), Duration::from_millis(millis), "{random}");
        }
        backoff.reset();
        assert_eq!(backoff.after_failure(0), Duration::from_millis(500));
    }
}
