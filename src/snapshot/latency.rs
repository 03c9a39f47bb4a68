//! The file of measured round trips.

use crate::config::{Config, Problem, Problems};
use crate::geo::latency::{FileError, Measurement, RegionNames, read_file};

/// Reads the file of measurements that the configuration names, if it does, at `now`, in seconds since 1970.
///
/// # Errors
/// The file can't be read or is too large; and lines of it that are no measurements, the first few by number.
pub fn load_measurements(config: &Config, now: u64) -> Result<Vec<Measurement>, Problems> {
    let Some((path, span)) = config.latency.as_ref().and_then(|latency| latency.file.as_ref()) else {
        return Ok(Vec::new());
    };
    let problem = |message: String| Problem::new(message).at(&config.source, span.clone());
    let shown = path.display();
    read_file(path, &RegionNames::new(&config.regions), now).map_err(|error| match error {
        FileError::Lines(lines) => {
            let more = lines.count() - lines.shown().len();
            let named = lines.shown().iter().map(|(line, message)| problem(format!("{shown}:{line}: {message}")));
            let more = (more > 0).then(|| problem(format!("{shown}: and {more} more bad lines")));
            Problems(named.chain(more).collect())
        }
        error => problem(format!("{shown} {error}")).into(),
    })
}
