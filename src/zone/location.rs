//! LOC data: a place on the earth (RFC 1876).

use domain::base::scan::Scanner;

use super::scan::{EntryScanner, ScanError};

/// The length of the data.
pub(super) const OCTETS: usize = 16;

/// Where latitude 0 and longitude 0 are, in thousandths of a second of arc (RFC 1876 section 2).
const EQUATOR: u32 = 1 << 31;
/// The altitude of the reference spheroid in centimetres above the lowest that can be written.
const SPHEROID_CM: u64 = 10_000_000;
/// The largest size or precision in centimetres: 9 × 10^9.
const MAX_SIZE_CM: u64 = 9_000_000_000;

/// Reads `latitude N|S longitude E|W altitude [size [horizontal precision [vertical precision]]]`, where latitude and
/// longitude are degrees, minutes and seconds, of which the last may be missing.
pub(super) fn scan(scanner: &mut EntryScanner<'_>) -> Result<[u8; OCTETS], ScanError> {
    let latitude = angle(scanner, 90, "N", "S")?;
    let longitude = angle(scanner, 180, "E", "W")?;
    let altitude = scanner.scan_ascii_str(altitude)?;
    // RFC 1876 section 3: 1 m, 10 km and 10 m.
    let mut sizes = [0x12, 0x16, 0x13];
    for size in &mut sizes {
        if scanner.continues() {
            *size = scanner.scan_ascii_str(size_of)?;
        }
    }
    let mut octets = [0; OCTETS];
    octets[1..4].copy_from_slice(&sizes);
    octets[4..8].copy_from_slice(&latitude.to_be_bytes());
    octets[8..12].copy_from_slice(&longitude.to_be_bytes());
    octets[12..].copy_from_slice(&altitude.to_be_bytes());
    Ok(octets)
}

/// Degrees, minutes and seconds up to the word for the direction.
fn angle(scanner: &mut EntryScanner<'_>, most: u64, positive: &str, negative: &str) -> Result<u32, ScanError> {
    const DEGREE: u64 = 3_600_000;
    let is_direction = |word: &str| [positive, negative].iter().any(|direction| direction.eq_ignore_ascii_case(word));
    // The degrees, the minutes and the seconds in thousandths, each with its unit and how many fit.
    let parts = [("degrees", DEGREE, most + 1, 0), ("minutes", 60_000, 60, 0), ("seconds", 1, 60_000, 3)];
    let mut thousandths = 0;
    for (index, (what, unit, below, places)) in parts.into_iter().enumerate() {
        if index > 0 && scanner.peek().is_some_and(is_direction) {
            break;
        }
        thousandths += unit
            * scanner.scan_ascii_str(|word| {
                let number = decimal(word, places).filter(|number| *number < below);
                number.ok_or_else(|| ScanError::new(format!("`{word}` is not a number of {what}")))
            })?;
    }
    if thousandths > most * DEGREE {
        return Err(ScanError::new(format!("this is more than {most} degrees")));
    }
    let is_positive = scanner.scan_ascii_str(|word| match word {
        _ if word.eq_ignore_ascii_case(positive) => Ok(true),
        _ if word.eq_ignore_ascii_case(negative) => Ok(false),
        _ => Err(ScanError::new(format!("`{word}` is neither {positive} nor {negative}"))),
    })?;
    // At most 648,000,000.
    let thousandths = thousandths as u32;
    Ok(if is_positive { EQUATOR + thousandths } else { EQUATOR - thousandths })
}

/// Metres above the spheroid or, with a minus, below it.
fn altitude(word: &str) -> Result<u32, ScanError> {
    let centimetres = match word.strip_prefix('-') {
        Some(depth) => metres(depth).and_then(|depth| SPHEROID_CM.checked_sub(depth)),
        None => metres(word).map(|height| SPHEROID_CM + height),
    };
    let fitting = centimetres.and_then(|centimetres| u32::try_from(centimetres).ok());
    fitting.ok_or_else(|| ScanError::new(format!("`{word}` is not an altitude from -100000.00m to 42849672.95m")))
}

/// Metres as a digit and a power of ten, in centimetres; what is finer is cut off.
fn size_of(word: &str) -> Result<u8, ScanError> {
    let Some(mut digit) = metres(word).filter(|centimetres| *centimetres <= MAX_SIZE_CM) else {
        return Err(ScanError::new(format!("`{word}` is not a size from 0m to 90000000.00m")));
    };
    let mut exponent = 0;
    while digit > 9 {
        digit /= 10;
        exponent += 1;
    }
    Ok((digit as u8) << 4 | exponent)
}

/// Centimetres.
fn metres(word: &str) -> Option<u64> {
    decimal(word.strip_suffix(['m', 'M']).unwrap_or(word), 2)
}

/// A decimal number with at most so many places, times ten to their power.
fn decimal(word: &str, places: usize) -> Option<u64> {
    let (whole, fraction) = word.split_once('.').unwrap_or((word, ""));
    let are_digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    if whole.is_empty() || whole.len() > 12 || fraction.len() > places || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    format!("{whole}{fraction:0<places$}").parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn sizes_are_a_digit_and_a_power_of_ten() {
        let cases = [
            ("0", Some(0x00)),
            ("0.01m", Some(0x10)),
            ("0.09", Some(0x90)),
            ("1m", Some(0x12)),
            ("1.5m", Some(0x12)),
            ("10m", Some(0x13)),
            ("10000m", Some(0x16)),
            ("90000000.00m", Some(0x99)),
            ("90000000.01m", None),
            ("1.234", None),
            ("-1m", None),
            ("m", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(size_of(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn altitudes_are_above_what_can_be_lowest() {
        let cases = [
            ("0", Some(10_000_000)),
            ("-0.01m", Some(9_999_999)),
            ("-100000.00m", Some(0)),
            ("-100000.01m", None),
            ("42849672.95m", Some(u32::MAX)),
            ("42849672.96m", None),
        ];
        for (text, expected) in cases {
            assert_eq!(altitude(text).ok(), expected, "{text}");
        }
    }
}
