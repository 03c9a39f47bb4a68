//! The calendar's clock, and dates as seconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

use toml::value::{Datetime, Offset};

/// Seconds since 1970; 0 on a system whose clock is before that.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// As [`unix_seconds`], modulo 2^32, which is what snapshots and cookies count in.
pub(crate) fn unix_seconds_modulo() -> u32 {
    unix_seconds() as u32
}

/// A date and a time with an offset (RFC 3339), in seconds since 1970; nothing where one of the three is missing.
pub(crate) fn of_datetime(written: &Datetime) -> Option<i64> {
    let (date, time) = (written.date?, written.time?);
    let offset_minutes = match written.offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let seconds = i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or(0));
    let days = days_since_1970(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    Some(days * 86_400 + seconds - offset_minutes * 60)
}

/// Of the Gregorian calendar, in which years are taken to begin in March, so that leap days end them.
pub(crate) fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    /// From the 1st of March of the year 0.
    const DAYS_BEFORE_1970: i64 = 719_468;
    let (year, month_from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // From March on months have 31, 30, 31, 30 and 31 days, again and again.
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    365 * year + leap_days + day_of_year - DAYS_BEFORE_1970
}
