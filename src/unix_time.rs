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

/// As `2026-11-21T12:00:00Z` (RFC 3339).
pub(crate) fn shown(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Year, month and day of the Gregorian calendar, so many days after the 1st of January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    /// From the 1st of March of the year 0, in which years begin here, so that leap days end them.
    const DAYS_BEFORE_1970: u64 = 719_468;
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = days + DAYS_BEFORE_1970;
    let (fourth_century, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    // Without the leap days that went before.
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (400 * fourth_century + year + u64::from(month <= 2), month, day_of_month)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn dates_are_shown_as_they_are_read() {
        assert_eq!(shown(0), "1970-01-01T00:00:00Z");
        assert_eq!(shown(1_795_262_400 + 43_199), "2026-11-21T23:59:59Z");
        // Each day of 400 years and more, at another second.
        for day in 0..150_000 {
            let seconds = day * 86_400 + day * 7 % 86_400;
            let text = shown(seconds);
            assert_eq!(of_datetime(&text.parse().unwrap()), Some(seconds as i64), "{text}");
        }
    }
}
