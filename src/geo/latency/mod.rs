//! Round trips between clients and regions as they were measured, and the table of those that count now.
//!
//! | file | holds |
//! |---|---|
//! | `measurement` | one measurement: how it is written, and what is no measurement |
//! | `file` | a CSV of them |
//! | `arrived` | those that came one after the other: the newest of each |
//! | `table` | those that count at one time, for the steering maps |

mod arrived;
mod file;
mod measurement;
mod table;

pub use arrived::{Arrived, Outcome};
pub use file::{FileError, MAX_FILE_BYTES, read_file};
pub use measurement::{COLUMNS, LatencyKey, Measurement, RegionNames, Rules, Written};
pub use table::{ClientTimes, LatencyTable, RoundTrip, Source, estimate_ms};

/// The most measurements of a file, and again of those that came one after the other.
pub const MAX_MEASUREMENTS: usize = 1_000_000;
