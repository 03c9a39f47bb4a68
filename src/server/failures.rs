//! A socket's errors that may repeat without end: they cost neither a core nor the log.

use std::io;
use std::time::{Duration, Instant};

/// Between two lines in the log about the same socket.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// The pause after the second failure in a row; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause: recovery is noticed at least this soon.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The failures of one call on one socket.
#[derive(Debug, Default)]
pub(super) struct Failures {
    in_a_row: u32,
    logged_at: Option<Instant>,
    unlogged: u64,
}

impl Failures {
    /// The call succeeded.
    pub(super) fn clear(&mut self) {
        self.in_a_row = 0;
    }

    /// The call failed at `now`. Logs it unless that was done lately, and returns how long to wait before the next
    /// try: nothing after a single failure.
    pub(super) fn record(&mut self, what: &str, error: &io::Error, now: Instant) -> Duration {
        match self.logged_at {
            Some(at) if now.duration_since(at) < LOG_INTERVAL => self.unlogged += 1,
            _ => {
                tracing::warn!(%error, unlogged = self.unlogged, "{what} failed; trying again");
                self.logged_at = Some(now);
                self.unlogged = 0;
            }
        }
        let pause = match self.in_a_row {
            0 => Duration::ZERO,
            repeated => FIRST_PAUSE.saturating_mul(1 << (repeated - 1).min(16)).min(LONGEST_PAUSE),
        };
        self.in_a_row = self.in_a_row.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_the_log_is_spared() {
        let mut failures = Failures::default();
        let error = io::Error::from(io::ErrorKind::OutOfMemory);
        let start = Instant::now();
        let pauses: Vec<u128> = (0..10).map(|_| failures.record("a test", &error, start).as_millis()).collect();
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 64, 100, 100]);
        assert_eq!(failures.unlogged, 9);
        for _ in 0..100 {
            assert_eq!(failures.record("a test", &error, start), LONGEST_PAUSE);
        }
        failures.clear();
        assert_eq!(failures.record("a test", &error, start + LOG_INTERVAL), Duration::ZERO);
        assert_eq!((failures.logged_at, failures.unlogged), (Some(start + LOG_INTERVAL), 0));
    }
}
