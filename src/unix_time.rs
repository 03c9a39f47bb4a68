//! The calendar's clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, modulo 2^32; 0 on a system whose clock is before that.
pub(crate) fn unix_seconds() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as u32
}
