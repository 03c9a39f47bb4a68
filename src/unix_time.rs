//! The calendar's clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970; 0 on a system whose clock is before that.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// As [`unix_seconds`], modulo 2^32, which is what snapshots and cookies count in.
pub(crate) fn unix_seconds_modulo() -> u32 {
    unix_seconds() as u32
}
