//! Whether, when and where a refused submit is tried again (B4). Only errors that can pass are; the rest fails at once.

use crate::error_code::SendErrorKind;

/// How often and how long apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// Before the first retry, milliseconds.
    pub first_ms: u64,
    /// Each wait is so many times the one before.
    pub factor: u32,
    /// No wait is longer, milliseconds.
    pub max_ms: u64,
    /// Retries of one message at most, on top of each error's own limit.
    pub retries_max: u16,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Submit again on the same connection at that time (Unix milliseconds).
    RetryAt(i64),
    /// Go on to the next connection.
    FailOver,
    /// Nothing more can be done.
    Fail,
}

impl RetryPolicy {
    /// The wait before retry `n` (from 1), with up to a quarter of jitter: `random` is any 32 random bits.
    pub fn wait_ms(&self, n: u32, random: u32) -> u64 {
        let factor = u64::from(self.factor).saturating_pow(n.saturating_sub(1));
        let wait = self.first_ms.saturating_mul(factor).min(self.max_ms);
        wait - (wait / 4) * u64::from(random >> 16) / 65_536
    }

    /// Decides about a submit that failed in a way that says something about the message (not a throttle, a lost link or an unknown
    /// outcome, which are the connection's affair). `attempts` counts this one; `another` says whether a connection is left to go to.
    pub fn next(
        &self,
        kind: SendErrorKind,
        attempts: u16,
        now: i64,
        expires_at: i64,
        another: bool,
        random: u32,
    ) -> Next {
        let elsewhere = if another { Next::FailOver } else { Next::Fail };
        let tries = match kind {
            SendErrorKind::Permanent => return Next::Fail,
            SendErrorKind::FailOver => return elsewhere,
            SendErrorKind::Temporary { tries } => u16::from(tries),
            SendErrorKind::Throttled | SendErrorKind::ConnectionFatal | SendErrorKind::Unknown => u16::MAX,
        };
        if attempts > tries.min(self.retries_max) {
            return elsewhere;
        }
        let at = now + self.wait_ms(u32::from(attempts), random) as i64;
        if at < expires_at { Next::RetryAt(at) } else { elsewhere }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_again_and_when() {
        use SendErrorKind::*;
        let policy = RetryPolicy { first_ms: 1_000, factor: 3, max_ms: 20_000, retries_max: 4 };
        let rows = [
            (Permanent, 1, true, Next::Fail),
            (FailOver, 1, true, Next::FailOver),
            (FailOver, 1, false, Next::Fail),
            (Temporary { tries: 3 }, 1, true, Next::RetryAt(1_000)),
            (Temporary { tries: 3 }, 2, true, Next::RetryAt(3_000)),
            (Temporary { tries: 3 }, 3, false, Next::RetryAt(9_000)),
            (Temporary { tries: 3 }, 4, true, Next::FailOver),
            (Temporary { tries: 3 }, 4, false, Next::Fail),
            (Temporary { tries: 9 }, 4, false, Next::RetryAt(20_000)),
            (Temporary { tries: 9 }, 5, false, Next::Fail),
        ];
        for (kind, attempts, another, next) in rows {
            assert_eq!(policy.next(kind, attempts, 0, 100_000, another, 0), next, "{kind:?} {attempts} {another}");
        }
        assert_eq!(policy.next(Temporary { tries: 3 }, 1, 0, 900, false, 0), Next::Fail);
        assert_eq!(policy.wait_ms(1, u32::MAX), 751);
    }
}
