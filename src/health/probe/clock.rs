//! The time by which certificates are judged, though the calendar's clock may jump.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::unix_time::unix_seconds;

/// Clocks are corrected by less than this all the time.
const MIN_JUMP_SECS: u64 = 60;
/// A jump that nobody took back in this time is believed.
const DOUBT: Duration = Duration::from_secs(86_400);

static COURSE: LazyLock<Mutex<Course>> = LazyLock::new(|| Mutex::new(Course::new(unix_seconds(), Instant::now())));

/// The seconds since 1970 if the clock, which says so many, had not jumped in the last day.
pub(super) fn steady(unix_seconds: u64) -> u64 {
    COURSE.lock().unwrap_or_else(PoisonError::into_inner).steady(unix_seconds, Instant::now())
}

/// The calendar's clock for as long as it goes with the machine's other one, which can't be set.
#[derive(Debug)]
struct Course {
    unix_seconds: u64,
    at: Instant,
    /// When they were first found to differ.
    jumped: Option<Instant>,
}

impl Course {
    fn new(unix_seconds: u64, at: Instant) -> Self {
        Self { unix_seconds, at, jumped: None }
    }

    /// As [`steady`] at `now`.
    fn steady(&mut self, unix_seconds: u64, now: Instant) -> u64 {
        let expected = self.unix_seconds.saturating_add(now.saturating_duration_since(self.at).as_secs());
        let is_believed = self.jumped.is_some_and(|jumped| now.saturating_duration_since(jumped) >= DOUBT);
        if is_believed || expected.abs_diff(unix_seconds) < MIN_JUMP_SECS {
            *self = Self::new(unix_seconds, now);
            return unix_seconds;
        }
        if self.jumped.is_none() {
            self.jumped = Some(now);
            warn!(
                seconds = expected.abs_diff(unix_seconds),
                "the calendar's clock jumped; for a day, what probes find valid by the time of before counts as valid: correct the clock \
                 if it is wrong"
            );
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_doubted_for_a_day_and_corrections_are_not() {
        const START: u64 = 1_800_000_000;
        const YEAR: u64 = 365 * 86_400;
        let began = Instant::now();
        let mut course = Course::new(START, began);
        // Each row: seconds that went by, what the clock says then and what it would say without a jump, from START on.
        for (elapsed, says, steady) in [
            (0, 0, 0),
            (3_600, 3_650, 3_650),
            // A correction each hour.
            (7_200, 7_300, 7_300),
            // The time since then, not since the start.
            (7_300, YEAR, 7_400),
            (9_300, YEAR + 2_000, 9_400),
            // Set right.
            (9_400, 9_490, 9_490),
            // By the least that is a jump.
            (9_500, 9_650, 9_590),
            (9_500 + 86_399, YEAR + 86_399, 9_590 + 86_399),
            (9_500 + 86_400, YEAR + 86_400, YEAR + 86_400),
            // Back again is a jump too.
            (9_500 + 86_500, 0, YEAR + 86_500),
        ] {
            let found = course.steady(START + says, began + Duration::from_secs(elapsed));
            assert_eq!(found - START, steady, "after {elapsed} s");
        }
    }
}
