//! Reports of load and of results: where they come from, and why some don't count.

use std::fmt;
use std::time::Duration;

use super::Load;

/// How far ahead of this clock a report's time may be, and still counts as of now.
pub const MAX_AHEAD: Duration = Duration::from_secs(5);

/// A report as it is pushed, of an endpoint by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pushed {
    /// The pool's name.
    pub pool: String,
    /// The endpoint's address or hostname, as [`Target`](crate::config::Target) is shown.
    pub endpoint: String,
    /// The region's name; without it every region in which the pool has the endpoint.
    pub region: Option<String>,
    /// How old it is.
    pub age: Age,
    /// How busy the endpoint is.
    pub load: Load,
    /// Requests to it that went well since the report before.
    pub successes: u32,
    /// And those that failed.
    pub failures: u32,
}

/// How old a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It is of so long ago.
    Past(Duration),
    /// It claims to be of the future, beyond [`MAX_AHEAD`].
    Future,
}

impl Default for Age {
    fn default() -> Self {
        Self::Past(Duration::ZERO)
    }
}

impl Age {
    /// Of what was measured at `time`, seen at `now`; both in seconds since 1970.
    ///
    /// # Errors
    /// Where `time` is no number, or before 1970.
    pub fn between(time: f64, now: f64) -> Result<Self, Rejection> {
        if !time.is_finite() {
            return Err(Rejection::NotFinite);
        }
        if time < 0.0 {
            return Err(Rejection::Negative);
        }
        if time > now + MAX_AHEAD.as_secs_f64() {
            return Ok(Self::Future);
        }
        Ok(Self::Past(Duration::try_from_secs_f64((now - time).max(0.0)).unwrap_or(Duration::MAX)))
    }
}

/// Where a report came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The header of an answer to a probe.
    Header,
    /// The body of an answer to a probe.
    Body,
    /// The admin interface.
    Pushed,
}

impl Source {
    /// Each, by its index.
    pub const ALL: [Self; 3] = [Self::Header, Self::Body, Self::Pushed];

    /// As metrics and logs call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Body => "body",
            Self::Pushed => "api",
        }
    }
}

/// Why a report does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// It can't be read.
    Malformed,
    /// It is in a form that is not read here.
    Unsupported,
    /// It says nothing.
    Empty,
    /// A value is no number, or infinite.
    NotFinite,
    /// A value is below 0.
    Negative,
    /// A value is beyond all bounds.
    Absurd,
    /// It is of the future.
    Future,
    /// It is older than what counts.
    TooOld,
    /// All that it says is known from later.
    Outdated,
    /// No pool has that name.
    UnknownPool,
    /// The pool has no such endpoint there.
    UnknownEndpoint,
}

impl Rejection {
    /// Each, by its index.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::Unsupported,
        Self::Empty,
        Self::NotFinite,
        Self::Negative,
        Self::Absurd,
        Self::Future,
        Self::TooOld,
        Self::Outdated,
        Self::UnknownPool,
        Self::UnknownEndpoint,
    ];

    /// As metrics and the admin interface call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::Empty => "empty",
            Self::NotFinite => "not-finite",
            Self::Negative => "negative",
            Self::Absurd => "absurd",
            Self::Future => "future",
            Self::TooOld => "too-old",
            Self::Outdated => "outdated",
            Self::UnknownPool => "unknown-pool",
            Self::UnknownEndpoint => "unknown-endpoint",
        }
    }
}

/// For people.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it can't be read",
            Self::Unsupported => "its form is not read here; the text and JSON forms are",
            Self::Empty => "it says nothing that counts here",
            Self::NotFinite => "a value is not a finite number",
            Self::Negative => "a value is below 0",
            Self::Absurd => "a value is beyond what can be",
            Self::Future => "its time is more than 5 s ahead of this server's clock",
            Self::TooOld => "it is older than the pool's load_max_age",
            Self::Outdated => "a later report said all of it",
            Self::UnknownPool => "there is no such pool",
            Self::UnknownEndpoint => "the pool has no such endpoint there",
        })
    }
}

/// Reports by source and by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReportCounts([[u64; Rejection::ALL.len() + 1]; Source::ALL.len()]);

impl ReportCounts {
    /// Counts one.
    pub fn add(&mut self, source: Source, outcome: Result<(), Rejection>) {
        self.0[source as usize][place(outcome)] += 1;
    }

    /// How many there were.
    pub fn get(&self, source: Source, outcome: Result<(), Rejection>) -> u64 {
        self.0[source as usize][place(outcome)]
    }
}

/// Accepted ones come first.
fn place(outcome: Result<(), Rejection>) -> usize {
    outcome.map_or_else(|rejection| rejection as usize + 1, |()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let past = |seconds| Ok(Age::Past(Duration::from_secs_f64(seconds)));
        for (time, expected) in [
            (1000.0, past(0.0)),
            (990.5, past(9.5)),
            // A clock that is ahead a little.
            (1005.0, past(0.0)),
            (1005.1, Ok(Age::Future)),
            (1e300, Ok(Age::Future)),
            (0.0, past(1000.0)),
            (-1.0, Err(Rejection::Negative)),
            (f64::NAN, Err(Rejection::NotFinite)),
            (f64::INFINITY, Err(Rejection::NotFinite)),
        ] {
            assert_eq!(Age::between(time, 1000.0), expected, "{time}");
        }
    }

    #[test]
    fn every_source_and_outcome_has_a_count_of_its_own() {
        let outcomes = || std::iter::once(Ok(())).chain(Rejection::ALL.map(Err));
        let mut counts = ReportCounts::default();
        for source in Source::ALL {
            for outcome in outcomes() {
                assert_eq!(counts.get(source, outcome), 0, "{source:?} {outcome:?}");
                counts.add(source, outcome);
                assert_eq!(counts.get(source, outcome), 1, "{source:?} {outcome:?}");
            }
        }
    }

    #[test]
    fn indices_are_those_of_the_lists() {
        assert!(Source::ALL.iter().enumerate().all(|(index, source)| *source as usize == index));
        assert!(Rejection::ALL.iter().enumerate().all(|(index, rejection)| *rejection as usize == index));
    }
}
