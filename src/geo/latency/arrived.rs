//! Measurements that came one after the other: the newest of each.

use std::collections::HashMap;

use super::{LatencyKey, MAX_MEASUREMENTS, Measurement, RegionNames, Rules};
use crate::config::Region;

/// At most [`MAX_MEASUREMENTS`] measurements, the newest for each region and network, AS number or country. They are kept
/// by the names of their regions, so that they stay what they are whatever becomes of the order of the regions.
#[derive(Debug, Default)]
pub struct Arrived {
    /// The names of regions, by the measurements' index.
    names: Vec<String>,
    newest: HashMap<(LatencyKey, u16), Measurement>,
}

/// What became of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Accepted,
    /// It doesn't count: it is too old, not certain enough, or older than what is known.
    Ignored,
}

impl Arrived {
    /// Forgets what is too old at `now`, in seconds since 1970, and what is of regions that there no longer are. From now on
    /// measurements have indices into these regions.
    pub fn prepare(&mut self, regions: &[Region], rules: Rules, now: u64) {
        self.newest.retain(|_, measurement| now <= rules.last_second(measurement.measured));
        if !self.names.iter().eq(regions.iter().map(|region| &region.name)) {
            self.newest = self.measurements(regions).map(|kept| ((kept.key, kept.region), kept)).collect();
            self.names = regions.iter().map(|region| region.name.clone()).collect();
        }
    }

    /// Takes a measurement in, whose region is an index into those of [`Self::prepare`]; of two of the same time the later
    /// to come.
    ///
    /// # Errors
    /// When there are too many.
    pub fn take(&mut self, measurement: Measurement, rules: Rules, now: u64) -> Result<Outcome, String> {
        if !rules.counts(&measurement, now) {
            return Ok(Outcome::Ignored);
        }
        let key = (measurement.key, measurement.region);
        let is_full = self.newest.len() >= MAX_MEASUREMENTS;
        match self.newest.get_mut(&key) {
            Some(known) if known.measured > measurement.measured => Ok(Outcome::Ignored),
            Some(known) => {
                *known = measurement;
                Ok(Outcome::Accepted)
            }
            None if is_full => Err(format!("there are {MAX_MEASUREMENTS} measurements already, and no more are kept")),
            None => {
                self.newest.insert(key, measurement);
                Ok(Outcome::Accepted)
            }
        }
    }

    /// All of them, in no order, with indices into these regions.
    pub fn measurements(&self, regions: &[Region]) -> impl Iterator<Item = Measurement> {
        let names = RegionNames::new(regions);
        let indices: Vec<Option<u16>> = self.names.iter().map(|name| names.find(name)).collect();
        self.newest.values().filter_map(move |measurement| {
            Some(Measurement { region: (*indices.get(usize::from(measurement.region))?)?, ..*measurement })
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::time::Duration;

    use super::super::super::rank::tests::region;
    use super::super::measurement::tests::{NOW, measurement};
    use super::{Arrived, Outcome, Region, Rules};

    const RULES: Rules = Rules { max_age: Duration::from_secs(100), min_confidence: 0.5 };

    fn regions(names: &[&str]) -> Vec<Region> {
        names.iter().map(|name| region(name, 0.0, 0.0)).collect()
    }

    /// What is kept: key, region and microseconds.
    fn shown(arrived: &Arrived, regions: &[Region]) -> Vec<String> {
        let kept = arrived.measurements(regions);
        let mut shown: Vec<String> = kept
            .map(|one| format!("{} {} {}", one.key, regions[usize::from(one.region)].name, one.microseconds))
            .collect();
        shown.sort();
        shown
    }

    #[test]
    fn the_newest_that_counts_wins() {
        let regions = regions(&["us", "eu", "sg"]);
        let mut arrived = Arrived::default();
        arrived.prepare(&regions, RULES, NOW);
        for (line, expected) in [
            (",1,,us,10,1699999950", Outcome::Accepted),
            (",1,,us,9,1699999949", Outcome::Ignored),
            (",1,,us,11,1699999950", Outcome::Accepted),
            // One that doesn't count hides none that does.
            (",1,,us,12,1699999999,0.4", Outcome::Ignored),
            (",1,,eu,13,1699999899", Outcome::Ignored),
            (",1,,eu,14,1699999900", Outcome::Accepted),
        ] {
            assert_eq!(arrived.take(measurement(line).unwrap(), RULES, NOW), Ok(expected), "{line}");
        }
        assert_eq!(shown(&arrived, &regions), ["AS1 eu 14000", "AS1 us 11000"]);
        arrived.prepare(&regions, RULES, NOW + 1);
        assert_eq!(shown(&arrived, &regions), ["AS1 us 11000"]);
    }

    #[test]
    fn regions_may_move_come_and_go() {
        let (old, new) = (regions(&["us", "eu", "sg"]), regions(&["sg", "au", "us"]));
        let mut arrived = Arrived::default();
        arrived.prepare(&old, RULES, NOW);
        for line in [",1,,us,1,1700000000", ",1,,eu,2,1700000000", ",1,,sg,3,1700000000"] {
            arrived.take(measurement(line).unwrap(), RULES, NOW).unwrap();
        }
        assert_eq!(shown(&arrived, &new), ["AS1 sg 3000", "AS1 us 1000"]);
        assert_eq!(shown(&arrived, &old).len(), 3, "looking forgets nothing");
        arrived.prepare(&new, RULES, NOW);
        assert_eq!(shown(&arrived, &new), ["AS1 sg 3000", "AS1 us 1000"]);
        assert_eq!(shown(&arrived, &old), ["AS1 sg 3000", "AS1 us 1000"]);
    }
}
