//! Round trips that come through the admin interface, and when steering maps are made anew for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::config::Region;
use crate::geo::latency::{Arrived, Measurement, Outcome, RegionNames, Rules, Written};

/// How many rejected rows of one request are named.
const MAX_SHOWN: usize = 20;
/// What is shown of one problem, in characters.
const MAX_PROBLEM_LENGTH: usize = 200;
/// The least time between two makings of the maps: what arrives meanwhile is taken together.
const ARRIVAL_PAUSE: Duration = Duration::from_secs(10);
/// The same where measurements have only become too old.
const EXPIRY_PAUSE: Duration = Duration::from_secs(60);
/// How often the system's time is looked at, as it may be set meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// What has arrived since the process began. It outlives reloads.
#[derive(Debug, Default)]
pub struct Measurements {
    arrived: Mutex<Arrived>,
    /// Grows whenever something was accepted.
    revision: AtomicU64,
    /// Signalled then.
    news: Notify,
    accepted: AtomicU64,
    ignored: AtomicU64,
    rejected: AtomicU64,
}

/// How many measurements came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// They were taken.
    pub accepted: u64,
    /// They were too old, not certain enough, or older than what is known.
    pub ignored: u64,
    /// They were no measurements.
    pub rejected: u64,
}

/// What became of the measurements of one request.
#[derive(Debug, Default)]
pub struct Taken {
    /// How many.
    pub counts: Counts,
    /// The first 20 that were rejected: which, counted from 0, and why.
    pub problems: Vec<(usize, String)>,
}

impl Measurements {
    /// Takes in what is good at `now`, in seconds since 1970; `rows` are measurements as written, or what is wrong with them.
    pub fn take(
        &self,
        rows: impl IntoIterator<Item = Result<Written, String>>,
        regions: &[Region],
        rules: Rules,
        now: u64,
    ) -> Taken {
        let names = RegionNames::new(regions);
        let mut taken = Taken::default();
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.prepare(regions, rules, now);
        for (row, written) in rows.into_iter().enumerate() {
            let measurement = written.and_then(|written| Measurement::read(&written, &names, now));
            match measurement.and_then(|measurement| arrived.take(measurement, rules, now)) {
                Ok(Outcome::Accepted) => taken.counts.accepted += 1,
                Ok(Outcome::Ignored) => taken.counts.ignored += 1,
                Err(problem) => {
                    taken.counts.rejected += 1;
                    if taken.problems.len() < MAX_SHOWN {
                        taken.problems.push((row, problem.chars().take(MAX_PROBLEM_LENGTH).collect()));
                    }
                }
            }
        }
        drop(arrived);
        let Counts { accepted, ignored, rejected } = taken.counts;
        self.accepted.fetch_add(accepted, Ordering::Relaxed);
        self.ignored.fetch_add(ignored, Ordering::Relaxed);
        self.rejected.fetch_add(rejected, Ordering::Relaxed);
        if accepted > 0 {
            self.revision.fetch_add(1, Ordering::AcqRel);
            self.news.notify_one();
        }
        taken
    }

    /// How many came to what since the process began.
    pub fn counts(&self) -> Counts {
        let [accepted, ignored, rejected] =
            [&self.accepted, &self.ignored, &self.rejected].map(|count| count.load(Ordering::Relaxed));
        Counts { accepted, ignored, rejected }
    }

    /// What there is, with indices into these regions; and a number that changes with it.
    pub(crate) fn read(&self, regions: &[Region]) -> (u64, Vec<Measurement>) {
        // Ahead of the rest: what arrives meanwhile is looked at again.
        let revision = self.revision();
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        (revision, arrived.measurements(regions).collect())
    }

    fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }
}

/// Says when steering maps are to be made anew: measurements arrived, or became too old.
#[derive(Debug)]
pub(crate) struct Due<Clock> {
    measurements: Arc<Measurements>,
    /// The system's time in seconds since 1970.
    clock: Clock,
    /// The revision that the maps were last made from, well or not.
    made_from: u64,
    /// When the first measurement among them becomes too old, in seconds since 1970.
    expires: Option<u64>,
    /// When it last was said that they are to be made.
    said: Option<Instant>,
}

impl<Clock: Fn() -> u64> Due<Clock> {
    pub(crate) fn new(measurements: Arc<Measurements>, clock: Clock) -> Self {
        Self { measurements, clock, made_from: 0, expires: None, said: None }
    }

    /// The maps were last made from this revision, and measurements in them become too old at this time.
    pub(crate) fn follow(&mut self, made_from: u64, expires: Option<u64>) {
        (self.made_from, self.expires) = (made_from, expires);
    }

    /// Waits until they are to be made anew. A wait that is given up forgets nothing.
    pub(crate) async fn wait(&mut self) {
        loop {
            let has_arrived = self.measurements.revision() != self.made_from;
            let left = self.expires.map(|expires| expires.saturating_sub((self.clock)()));
            let pause = match left {
                _ if has_arrived => Some(ARRIVAL_PAUSE),
                Some(0) => Some(EXPIRY_PAUSE),
                _ => None,
            };
            let wait = match pause {
                Some(pause) => self.said.map_or(Duration::ZERO, |said| pause.saturating_sub(said.elapsed())),
                None => left.map_or(LOOK_INTERVAL, |left| LOOK_INTERVAL.min(Duration::from_secs(left))),
            };
            if pause.is_some() && wait.is_zero() {
                self.said = Some(Instant::now());
                return;
            }
            // Looks after a signal and after the wait alike.
            let _ = timeout(wait, self.measurements.news.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::path::Path;

    use super::*;
    use crate::config::Config;

    const NOW: u64 = 1_700_000_000;
    const RULES: Rules = Rules { max_age: Duration::from_secs(3600), min_confidence: 0.5 };

    fn regions() -> Vec<Region> {
        let text = "server.listen = [\"127.0.0.1:53\"]\nzones.\"a.example\".nameservers = [\"ns.example\"]\n\
                    regions.us.location = [39, -77]\nregions.eu.location = [50, 8]\n";
        Config::parse(text, Path::new("m.toml")).unwrap().regions
    }

    fn row(region: &str, milliseconds: &str) -> Result<Written, String> {
        Ok(["", "64500", "", region, milliseconds, "1700000000", ""].map(str::to_owned))
    }

    #[test]
    fn what_is_good_is_taken_and_what_is_bad_is_named() {
        let (measurements, regions) = (Measurements::default(), regions());
        let long = Err("x".repeat(10_000));
        let rows = [row("us", "10"), row("xx", "10"), row("eu", "NaN"), long, row("eu", "20")];
        let taken = measurements.take(rows, &regions, RULES, NOW);
        assert_eq!(taken.counts, Counts { accepted: 2, ignored: 0, rejected: 3 });
        let rows: Vec<usize> = taken.problems.iter().map(|(row, _)| *row).collect();
        assert_eq!(rows, [1, 2, 3]);
        assert_eq!(taken.problems[2].1.len(), MAX_PROBLEM_LENGTH);
        let taken = measurements.take((0..50).map(|_| row("xx", "1")), &regions, RULES, NOW);
        assert_eq!((taken.counts.rejected, taken.problems.len()), (50, MAX_SHOWN));
        assert_eq!(measurements.counts(), Counts { accepted: 2, ignored: 0, rejected: 53 });
        assert_eq!(measurements.read(&regions).1.len(), 2);
        assert_eq!(measurements.read(&regions[..1]).1.len(), 1);
    }

    /// When the maps are said to be made, in seconds from the beginning.
    async fn said(due: &mut Due<impl Fn() -> u64>, began: Instant, seconds: u64) -> Option<f64> {
        let patience = Duration::from_secs(seconds).saturating_sub(began.elapsed());
        timeout(patience, due.wait()).await.ok().map(|()| began.elapsed().as_secs_f64())
    }

    #[tokio::test(start_paused = true)]
    async fn what_arrives_is_taken_together() {
        let (measurements, regions) = (Arc::new(Measurements::default()), regions());
        let began = Instant::now();
        let mut due = Due::new(Arc::clone(&measurements), move || NOW + began.elapsed().as_secs());
        assert_eq!(said(&mut due, began, 100).await, None, "nothing arrived");
        measurements.take([row("us", "1")], &regions, RULES, NOW);
        assert_eq!(said(&mut due, began, 200).await, Some(100.0), "the first at once");
        due.follow(measurements.read(&regions).0, None);
        for milliseconds in ["2", "3"] {
            measurements.take([row("us", milliseconds)], &regions, RULES, NOW);
        }
        // Given up and begun again.
        assert_eq!(said(&mut due, began, 105).await, None);
        assert_eq!(said(&mut due, began, 200).await, Some(110.0));
        due.follow(measurements.read(&regions).0, None);
        measurements.take([row("xx", "1")], &regions, RULES, NOW);
        assert_eq!(said(&mut due, began, 200).await, None, "nothing was accepted");
    }

    #[tokio::test(start_paused = true)]
    async fn maps_are_made_when_something_is_too_old() {
        let began = Instant::now();
        let mut due = Due::new(Arc::default(), move || NOW + began.elapsed().as_secs());
        due.follow(0, Some(NOW + 130));
        assert_eq!(said(&mut due, began, 1000).await, Some(130.0));
        // The next ones at most once a minute.
        due.follow(0, Some(NOW + 140));
        assert_eq!(said(&mut due, began, 1000).await, Some(190.0));
        due.follow(0, None);
        assert_eq!(said(&mut due, began, 1000).await, None);
    }
}
