//! The clock that answers are timed by.

use std::time::Instant;

use crate::dns::Now;
use crate::unix_time::unix_seconds_modulo;

/// One clock for all workers, as what they share counts in its time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    /// Begins to count.
    pub(super) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// The time.
    pub(super) fn now(self) -> Now {
        // A system's clock before 1970 makes cookies that others may refuse, and nothing worse.
        Now { unix_seconds: unix_seconds_modulo(), monotonic_us: self.started.elapsed().as_micros() as u64 }
    }
}
