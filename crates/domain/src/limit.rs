//! How much of something may happen: the generic cell rate algorithm (ITU-T I.371), time in and decision out.
//!
//! What is remembered of a limited thing is one number: the instant at which all it used will be regained. A count `n` per window `w`
//! lets `n` pass at once and one more each `w / n`; so in any span of time `t` at most `n + n·t/w` pass, and never is one refused
//! while fewer did. Instants and windows have any one unit, which the caller chooses and keeps to.

/// A limit: so many in a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    count: u32,
    /// What one costs. Rounded up, so that the rate is never above what was asked for.
    interval: u64,
}

/// What was decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It may pass.
    Pass {
        /// To be remembered instead of what was.
        spent_until: u64,
        /// How many more could pass at this very instant.
        remaining: u32,
    },
    /// It may not; what is remembered stays.
    Refuse {
        /// How long until one may.
        wait: u64,
    },
}

impl Limit {
    /// `count` in each `window`; `None` (no limit) if either is 0.
    pub fn new(count: u32, window: u64) -> Option<Limit> {
        (count > 0 && window > 0).then(|| Limit { count, interval: window.div_ceil(u64::from(count)).max(1) })
    }

    /// How many may pass at once.
    pub fn count(self) -> u32 {
        self.count
    }

    /// How long until all is regained after all was used: the window asked for, rounded up to whole intervals.
    pub fn window(self) -> u64 {
        self.interval.saturating_mul(u64::from(self.count))
    }

    /// Decides about one at `now`, given what was remembered (0 of something new).
    pub fn decide(self, spent_until: u64, now: u64) -> Decision {
        let next = spent_until.max(now).saturating_add(self.interval);
        let used = next - now;
        match self.window().checked_sub(used) {
            Some(left) => Decision::Pass { spent_until: next, remaining: (left / self.interval) as u32 },
            None => Decision::Refuse { wait: used - self.window() },
        }
    }

    /// What is to be remembered when one that passed did not happen after all.
    pub fn give_back(self, spent_until: u64) -> u64 {
        spent_until.saturating_sub(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_in_nine() {
        let limit = Limit::new(3, 9).unwrap();
        let mut spent = 0;
        // At which instant, and what is answered: how many remain, or how long to wait.
        let rows = [
            (100, Ok(2)),
            (100, Ok(1)),
            (100, Ok(0)),
            (100, Err(3)),
            (102, Err(1)),
            (103, Ok(0)),
            (103, Err(3)),
            (109, Ok(1)),
            (1_000, Ok(2)),
        ];
        for (now, expected) in rows {
            let got = match limit.decide(spent, now) {
                Decision::Pass { spent_until, remaining } => {
                    spent = spent_until;
                    Ok(remaining)
                }
                Decision::Refuse { wait } => Err(wait),
            };
            assert_eq!(got, expected, "at {now}");
        }
        assert_eq!((Limit::new(0, 9), Limit::new(3, 0)), (None, None));
        assert_eq!(Limit::new(7, 10).unwrap().window(), 14, "rounded up: never faster than asked");
        assert!(matches!(limit.decide(u64::MAX, 5), Decision::Refuse { .. }));
    }

    proptest! {
        /// Against a plain count of what passed: never more than the bound of any span, and none refused below it.
        #[test]
        fn never_more_and_never_less(count in 1u32..50, window in 1u64..5_000, steps in prop::collection::vec(0u64..400, 1..300)) {
            let limit = Limit::new(count, window).unwrap();
            let interval = limit.window() / u64::from(count);
            let (mut now, mut spent) = (10_000, 0);
            let mut passed: Vec<u64> = Vec::new();
            for step in steps {
                now += step;
                // The most that spans ending now could still take, over every span that begins with one that passed.
                let room = |from: u64, n: u64| n <= (u64::from(count) - 1) + (now - from) / interval;
                let full = passed.iter().enumerate().any(|(i, from)| !room(*from, (passed.len() - i) as u64));
                match limit.decide(spent, now) {
                    Decision::Pass { spent_until, remaining } => {
                        prop_assert!(!full);
                        prop_assert!(remaining < count);
                        prop_assert_eq!(limit.give_back(spent_until), spent.max(now));
                        spent = spent_until;
                        passed.push(now);
                    }
                    Decision::Refuse { wait } => {
                        prop_assert!(full);
                        let early = matches!(limit.decide(spent, now + wait - 1), Decision::Pass { .. });
                        prop_assert!(!early);
                        let passes = matches!(limit.decide(spent, now + wait), Decision::Pass { .. });
                        prop_assert!(passes);
                    }
                }
            }
        }
    }
}
