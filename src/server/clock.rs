//! The clock that answers are timed by.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::dns::Now;

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
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { unix_seconds: since_1970.as_secs() as u32, monotonic_us: self.started.elapsed().as_micros() as u64 }
    }
}
