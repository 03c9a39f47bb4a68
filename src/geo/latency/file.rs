//! A CSV of measurements.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::Path;

use super::super::csv::{BadLines, Format};
use super::{COLUMNS, LatencyKey, MAX_MEASUREMENTS, Measurement, RegionNames};
use crate::regular_file;

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

const FORMAT: Format = Format {
    columns: &COLUMNS,
    required: &["region", "ms", "measured"],
    // And the header.
    max_lines: MAX_MEASUREMENTS + 1,
};

/// Why a file of measurements can't be used.
#[derive(Debug)]
pub enum FileError {
    /// It can't be read.
    Unreadable(io::Error),
    /// It is larger than [`MAX_FILE_BYTES`].
    TooLarge,
    /// Lines of it are wrong.
    Lines(BadLines),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "can't be read: {error}"),
            Self::TooLarge => write!(f, "is larger than {} MiB", MAX_FILE_BYTES >> 20),
            Self::Lines(lines) => write!(f, "has bad lines: {}{lines}", lines.count()),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(error) => Some(error),
            Self::TooLarge | Self::Lines(_) => None,
        }
    }
}

/// Reads a file of at most [`MAX_FILE_BYTES`] at `now`, in seconds since 1970. Its first line names the columns, as
/// [`COLUMNS`] has them; each of the others is a measurement.
///
/// # Errors
/// With every bad line; a region measured twice for one network, AS number or country is one.
pub fn read_file(path: &Path, regions: &RegionNames<'_>, now: u64) -> Result<Vec<Measurement>, FileError> {
    let csv = regular_file::read(path, MAX_FILE_BYTES).map_err(FileError::Unreadable)?.ok_or(FileError::TooLarge)?;
    parse(&csv[..], regions, now)
}

fn parse(csv: impl io::BufRead, regions: &RegionNames<'_>, now: u64) -> Result<Vec<Measurement>, FileError> {
    let mut bad_lines = BadLines::default();
    let mut measurements = Vec::new();
    let mut seen: HashSet<(LatencyKey, u16)> = HashSet::new();
    let read = FORMAT.read(csv, &mut bad_lines, |_, fields| {
        let written = fields.try_into().map_err(|_| "a field is missing")?;
        let measurement = Measurement::read(written, regions, now)?;
        if !seen.insert((measurement.key, measurement.region)) {
            return Err(format!("{} has this region on a line before", measurement.key));
        }
        measurements.push(measurement);
        Ok(())
    });
    read.map_err(FileError::Unreadable)?;
    if bad_lines.count() > 0 { Err(FileError::Lines(bad_lines)) } else { Ok(measurements) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::super::super::rank::tests::region;
    use super::super::measurement::tests::NOW;
    use super::{FileError, Measurement, RegionNames, parse};

    fn read(csv: &str) -> Result<Vec<Measurement>, FileError> {
        let regions = ["us", "eu"].map(|name| region(name, 0.0, 0.0));
        parse(csv.as_bytes(), &RegionNames::new(&regions), NOW)
    }

    #[test]
    fn columns_come_in_any_order() {
        let csv = "Measured,region,ms,network,country\n\
            1700000000,us,10,192.0.2.0/24,\n\
            \n\
            1700000000,eu,20,192.0.2.0/24,\n\
            2023-11-14T22:13:20Z,eu,30,,DE\n";
        let shown: Vec<String> = read(csv).unwrap().iter().map(|one| format!("{} {}", one.key, one.region)).collect();
        assert_eq!(shown, ["192.0.2.0/24 0", "192.0.2.0/24 1", "country DE 1"]);
        assert!(read("network,region,ms,measured\n").unwrap().is_empty(), "nothing was measured yet");
    }

    #[test]
    fn every_bad_line_is_named() {
        let csv = "network,asn,country,region,ms,measured,confidence\n\
            192.0.2.0/24,,,us,10,1700000000,\n\
            192.0.2.0/24,,,us,11,1700000001,\n\
            192.0.2.0/24,,,xx,10,1700000000,\n\
            ,1,,us,NaN,1700000000,\n\
            ,1,,us,10,1700009999,\n\
            ,1,,us\n\
            ,1,,us,10,1700000000,\n";
        let error = read(csv).unwrap_err().to_string();
        for (line, expected) in [
            (3, "192.0.2.0/24 has this region on a line before"),
            (4, "unknown region \"xx\""),
            (5, "ms \"NaN\""),
            (6, "9999 s in the future"),
            (7, "4 fields for 7 columns"),
        ] {
            let shown = error.lines().find(|shown| shown.starts_with(&format!("  line {line}: ")));
            assert!(shown.is_some_and(|shown| shown.contains(expected)), "line {line}, {expected}: {error}");
        }
        assert!(error.starts_with("has bad lines: 5\n"), "{error}");
        for (csv, expected) in [
            ("", "empty: the first line names the columns, such as network,asn,country,region,ms,measured,confidence"),
            ("network,region,ms\n", "no column \"measured\""),
            ("network,region,ms,when\n", "unknown column \"when\""),
        ] {
            let error = read(csv).unwrap_err().to_string();
            assert!(error.contains(expected), "{csv:?}: {error}");
        }
    }

    #[test]
    fn only_the_first_bad_lines_are_shown() {
        let csv = format!("asn,region,ms,measured\n{}", "0,us,1,0\n".repeat(50));
        let error = read(&csv).unwrap_err().to_string();
        assert!(error.ends_with("and 30 more"), "{error}");
    }
}
