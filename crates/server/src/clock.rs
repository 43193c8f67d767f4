//! The one place that reads time. Everything else is handed instants, so that tests and simulations choose them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where time comes from; cheap to clone.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's; the instant is what `monotonic` counts from.
    System(Instant),
    /// Stands still until told otherwise.
    Manual(Arc<ManualClock>),
}

/// A clock that tests move by hand.
#[derive(Debug)]
pub struct ManualClock {
    wall_ms: AtomicI64,
    monotonic_us: AtomicU64,
}

impl Clock {
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads time")]
    pub fn system() -> Clock {
        Clock::System(Instant::now())
    }

    /// A clock that stands at `wall_ms` (Unix milliseconds).
    pub fn manual(wall_ms: i64) -> Clock {
        Clock::Manual(Arc::new(ManualClock { wall_ms: AtomicI64::new(wall_ms), monotonic_us: AtomicU64::new(0) }))
    }

    /// Wall time, Unix milliseconds UTC. May step; for what is stored and shown.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads time")]
    pub fn now_ms(&self) -> i64 {
        match self {
            Clock::System(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Clock::Manual(manual) => manual.wall_ms.load(Ordering::Relaxed),
        }
    }

    /// Time since this clock was made; never steps. For deadlines, rates and waiting.
    pub fn monotonic(&self) -> Duration {
        match self {
            Clock::System(start) => start.elapsed(),
            Clock::Manual(manual) => Duration::from_micros(manual.monotonic_us.load(Ordering::Relaxed)),
        }
    }

    /// Blocks this thread for so long, where it has nothing else to do; a manual clock moves on instead.
    pub fn block(&self, pause: Duration) {
        match self {
            #[expect(clippy::disallowed_methods, reason = "for threads of our own, not the runtime's")]
            Clock::System(_) => std::thread::sleep(pause),
            Clock::Manual(_) => self.advance(pause),
        }
    }

    /// Moves a manual clock on, both readings. A system clock is not moved by us.
    pub fn advance(&self, by: Duration) {
        if let Clock::Manual(manual) = self {
            manual.wall_ms.fetch_add(by.as_millis() as i64, Ordering::Relaxed);
            manual.monotonic_us.fetch_add(by.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// Steps a manual clock's wall reading only, as an operator or NTP does.
    pub fn step_wall(&self, by_ms: i64) {
        if let Clock::Manual(manual) = self {
            manual.wall_ms.fetch_add(by_ms, Ordering::Relaxed);
        }
    }
}

/// Unix milliseconds as RFC 3339 in UTC with milliseconds, the way instants are shown.
pub fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |t| format!("{t:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_as_they_are_shown() {
        for (ms, text) in [(0, "1970-01-01T00:00:00.000Z"), (1_795_250_723_045, "2026-11-21T08:45:23.045Z")] {
            assert_eq!(rfc3339(ms), text);
        }
        let clock = Clock::manual(1_000);
        clock.advance(Duration::from_millis(500));
        clock.step_wall(-2_000);
        assert_eq!((clock.now_ms(), clock.monotonic()), (-500, Duration::from_millis(500)));
    }
}
