//! Durations as operators write them.

use std::time::Duration;

/// The units, from the largest, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads whole numbers with units from the largest to the smallest, each unit at most once: `250ms`, `5s`, `1m30s`.
/// The largest is some 500 million years.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total_ms = 0_u64;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at_checked(letters)?;
        // The iterator is never rewound, so a unit that repeats or rises isn't found.
        let (_, unit_ms) = units.find(|(name, _)| *name == unit)?;
        total_ms = total_ms.checked_add(number.parse::<u64>().ok()?.checked_mul(*unit_ms)?)?;
        if tail.is_empty() {
            return Some(Duration::from_millis(total_ms));
        }
        rest = tail;
    }
}

/// The duration as [`parse_duration`] reads it. What is under a millisecond is left out.
pub(crate) fn show_duration(duration: Duration) -> String {
    let mut rest_ms = duration.as_millis();
    let mut shown = String::new();
    for (name, unit_ms) in UNITS {
        let count = rest_ms / u128::from(unit_ms);
        rest_ms %= u128::from(unit_ms);
        if count > 0 {
            shown.push_str(&format!("{count}{name}"));
        }
    }
    if shown.is_empty() { "0s".to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::{parse_duration, show_duration};

    #[test]
    fn reads_durations() {
        for (text, expected_ms) in [
            ("250ms", Some(250)),
            ("0s", Some(0)),
            ("5s", Some(5_000)),
            ("1m30s", Some(90_000)),
            ("90s", Some(90_000)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("1d2h3m4s5ms", Some(93_784_005)),
            ("", None),
            ("5", None),
            ("s", None),
            ("5 s", None),
            ("-5s", None),
            ("1.5s", None),
            ("5sec", None),
            ("5S", None),
            ("30s1m", None),
            ("1s1s", None),
            ("1s2", None),
            ("5é", None),
            ("99999999999999999999s", None),
            ("18446744073709551615s", None),
        ] {
            assert_eq!(parse_duration(text).map(|duration| duration.as_millis()), expected_ms, "{text}");
        }
    }

    #[test]
    fn shows_what_it_reads() {
        for text in ["0s", "250ms", "5s", "1m30s", "1h", "1d2h3m4s5ms"] {
            assert_eq!(parse_duration(text).map(show_duration).as_deref(), Some(text));
        }
    }
}
