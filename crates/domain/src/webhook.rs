//! When a webhook is tried again, and what the receiver's answer means (Standard Webhooks 1.0.0).

/// Attempts of one delivery: the first and nine retries, over 75 hours.
pub const ATTEMPTS_MAX: u8 = WAITS_S.len() as u8 + 1;

/// Seconds to wait after the first failure, the second, and so on.
const WAITS_S: [u32; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// What `Retry-After` may ask for at most, seconds.
pub const RETRY_AFTER_MAX_S: u32 = 86_400;

/// What a receiver answered to one attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// The HTTP status; `None` without an answer (no connection, too late, an address that is refused).
    pub status: Option<u16>,
    /// Its `Retry-After`, seconds.
    pub retry_after_s: Option<u32>,
}

/// What follows from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// Try again after so many milliseconds.
    Retry {
        /// Of this delivery.
        wait_ms: i64,
        /// Of everything for this receiver, which asked for it (429, 502, 503, 504 with `Retry-After`).
        pause_ms: i64,
    },
    /// The schedule is over.
    GivenUp,
    /// The receiver wants nothing any more (410).
    Gone,
}

/// Judges the answer to attempt number `attempt` (from 1). `jitter` is random in 0..1: it adds up to a tenth, so that what failed together
/// does not come back together.
pub fn judge(answer: Answer, attempt: u8, jitter: f64) -> Verdict {
    let asked = answer.retry_after_s.filter(|_| matches!(answer.status, Some(429 | 502 | 503 | 504)));
    match answer.status {
        Some(200..=299) => return Verdict::Delivered,
        Some(410) => return Verdict::Gone,
        _ => {}
    }
    let Some(wait_s) = WAITS_S.get(usize::from(attempt.max(1)) - 1) else { return Verdict::GivenUp };
    let wait_ms = (f64::from(*wait_s) * 1_000.0 * (1.0 + jitter.clamp(0.0, 1.0) / 10.0)) as i64;
    let pause_ms = i64::from(asked.unwrap_or(0).min(RETRY_AFTER_MAX_S)) * 1_000;
    Verdict::Retry { wait_ms: wait_ms.max(pause_ms), pause_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_mean() {
        let retry = |wait_ms, pause_ms| Verdict::Retry { wait_ms, pause_ms };
        for (status, retry_after_s, attempt, expected) in [
            (Some(200), None, 1, Verdict::Delivered),
            (Some(204), Some(60), 10, Verdict::Delivered),
            (None, None, 1, retry(5_000, 0)),
            (Some(301), None, 1, retry(5_000, 0)),
            (Some(404), None, 2, retry(300_000, 0)),
            (Some(500), Some(60), 1, retry(5_000, 0)),
            (Some(429), Some(60), 1, retry(60_000, 60_000)),
            (Some(503), Some(1), 1, retry(5_000, 1_000)),
            (Some(503), Some(u32::MAX), 3, retry(86_400_000, 86_400_000)),
            (Some(500), None, 9, retry(86_400_000, 0)),
            (Some(500), None, 10, Verdict::GivenUp),
            (Some(429), Some(60), 10, Verdict::GivenUp),
            (Some(410), None, 1, Verdict::Gone),
        ] {
            let answer = Answer { status, retry_after_s };
            assert_eq!(judge(answer, attempt, 0.0), expected, "{status:?} {retry_after_s:?} {attempt}");
        }
        assert_eq!(judge(Answer::default(), 1, 0.5), retry(5_250, 0));
    }

    #[test]
    fn the_whole_schedule_takes_75_hours_and_35_minutes() {
        let wait = |attempt| match judge(Answer::default(), attempt, 0.0) {
            Verdict::Retry { wait_ms, .. } => wait_ms,
            _ => 0,
        };
        let total: i64 = (1..=ATTEMPTS_MAX).map(wait).sum();
        assert_eq!(total, ((75 * 60 + 35) * 60 + 5) * 1_000);
    }
}
