//! What is known of each endpoint beside the verdict of its probe: its load, how warm it is, and its breaker.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::breaker::{self, Breaker, State};
use super::chunks::Chunks;
use super::{Grade, Load, Measure, Rejection, TargetHealth, TargetId, Transition, Verdict};
use crate::config::{self, Target};

/// The shares that are told apart while an endpoint warms up or is poorly: 1 to so many of them.
pub const STEPS: u32 = 16;
/// The part of its weight with which an endpoint begins to warm up, as 1 of so many.
const COLD: u128 = 10;

/// How the endpoints of a pool are treated.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The age after which what is said of load no longer counts.
    pub load_max_age: Duration,
    /// Whether an endpoint whose probes fail now and then gets less.
    pub health_weighted: bool,
    /// How long one that comes up takes to its whole weight.
    pub slow_start: Option<Duration>,
    /// When its breaker opens and closes; without it there is none.
    pub breaker: Option<config::Breaker>,
}

/// An endpoint's identity, which lasts over reloads, and what belongs to it.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The pool's name.
    pub pool: Arc<str>,
    /// The region's name.
    pub region: Arc<str>,
    /// Where clients are sent.
    pub destination: Target,
    /// What is probed.
    pub target: Option<TargetId>,
    /// How it is treated.
    pub rules: Arc<Rules>,
}

/// What is known of one endpoint. Its size is fixed, however much is reported.
#[derive(Debug, Clone)]
pub struct EndpointHealth {
    /// What it is.
    pub placed: Placed,
    /// What was said of its load, by [`Measure`]'s index, and of when that is.
    said: [Option<(f64, Instant)>; Measure::ALL.len()],
    /// Since when it warms up; nothing where it is warm, down or new.
    warming_since: Option<Instant>,
    breaker: Option<Box<Breaker>>,
}

impl EndpointHealth {
    fn new(placed: Placed) -> Self {
        let breaker = placed.rules.breaker.map(|_| Box::default());
        Self { placed, said: [None; Measure::ALL.len()], warming_since: None, breaker }
    }

    /// The same endpoint under what may be other rules.
    fn carried(&self, placed: Placed) -> Self {
        let (old, new) = (&self.placed.rules.breaker, &placed.rules.breaker);
        let breaker = match (&self.breaker, new) {
            (_, None) => None,
            (Some(breaker), _) if old == new => Some(breaker.clone()),
            (Some(breaker), _) => Some(Box::new(breaker.with_other_rules())),
            (None, Some(_)) => Some(Box::default()),
        };
        Self { placed, breaker, ..*self }
    }

    /// Its breaker, where its pool has them.
    pub fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_deref()
    }

    /// What time alone changes.
    pub fn advance(&mut self, now: Instant) -> Option<breaker::Transition> {
        self.breaker.as_mut()?.advance(self.placed.rules.breaker.as_ref()?, now)
    }

    /// Takes results made by `now`, at which [`Self::advance`] has been called.
    pub fn record(&mut self, successes: u32, failures: u32, now: Instant) -> Option<breaker::Transition> {
        let rules = self.placed.rules.breaker.as_ref()?;
        let transition = self.breaker.as_mut()?.record(rules, successes, failures, now)?;
        self.warming_since = (transition.to == State::Closed).then_some(now);
        Some(transition)
    }

    /// Takes note that it came up from down, or went down.
    pub(super) fn turned(&mut self, transition: Transition, now: Instant) {
        if transition.from.serves() != transition.to.serves() {
            self.warming_since = (transition.from == Verdict::Down).then_some(now);
        }
    }

    /// Takes a report of what was so at `measured`.
    ///
    /// # Errors
    /// Where it does not count; then nothing of it does.
    pub fn take(&mut self, load: &Load, measured: Instant, now: Instant) -> Result<(), Rejection> {
        for (measure, value) in load.values() {
            measure.check(value)?;
        }
        if now.saturating_duration_since(measured) > self.placed.rules.load_max_age {
            return Err(Rejection::TooOld);
        }
        let mut told = 0;
        let mut taken = 0;
        for (measure, value) in load.values() {
            told += 1;
            let said = &mut self.said[measure as usize];
            if said.is_none_or(|(_, before)| before <= measured) {
                *said = Some((value, measured));
                taken += 1;
            }
        }
        if told > 0 && taken == 0 { Err(Rejection::Outdated) } else { Ok(()) }
    }

    /// What is known of its load at `now`. Where nobody says how long requests take, it is what its probes take.
    pub fn load(&self, target: Option<&TargetHealth>, now: Instant) -> Load {
        let fresh = |of: Instant| now.saturating_duration_since(of) <= self.placed.rules.load_max_age;
        Load::from_values(|measure| {
            let said = self.said[measure as usize].filter(|(_, measured)| fresh(*measured)).map(|(value, _)| value);
            said.or_else(|| {
                let (of, response_ms) = target.filter(|_| measure == Measure::ResponseMs)?.response?;
                fresh(of).then_some(response_ms)
            })
        })
    }

    /// The age of the newest thing that was said of its load.
    pub fn load_age(&self, now: Instant) -> Option<Duration> {
        let newest = self.said.iter().flatten().map(|(_, measured)| *measured).max()?;
        Some(now.saturating_duration_since(newest))
    }

    /// How warm it is, 1 to [`STEPS`].
    pub fn warmth(&self, now: Instant) -> u32 {
        match (self.placed.rules.slow_start, self.warming_since) {
            (Some(time), Some(since)) => warmth(time, now.saturating_duration_since(since)),
            _ => STEPS,
        }
    }

    /// Whether its share is about to change by itself: it warms up, or its breaker is half-open.
    pub fn settles(&self, now: Instant) -> bool {
        let is_tried = self.breaker().is_some_and(|breaker| breaker.state() == State::HalfOpen);
        is_tried || self.warmth(now) < STEPS
    }

    /// The part of its weight that counts, as a fraction of `whole`: 0 only while its breaker is open. While its probe says
    /// that it is down, which is worse than any score, the score does not count.
    pub fn share(&self, target: Option<&TargetHealth>, now: Instant, whole: u32) -> u32 {
        let scored = target.filter(|it| self.placed.rules.health_weighted && it.machine.verdict().serves());
        let health = scored.map_or(STEPS, |target| target.score.steps());
        let steps = u64::from(self.warmth(now)) * u64::from(health);
        let share = u64::from(whole) * steps / u64::from(STEPS * STEPS);
        let share = match self.breaker().map(Breaker::state) {
            None | Some(State::Closed) => share,
            Some(State::Open) => return 0,
            Some(State::HalfOpen) => {
                let part = self.placed.rules.breaker.as_ref().map_or(1.0, |rules| rules.half_open_share);
                (share as f64 * part).round() as u64
            }
        };
        u32::try_from(share.max(1)).unwrap_or(u32::MAX)
    }
}

/// From a tenth to the whole in a straight line, in whole [`STEPS`]; the first of them is the least.
fn warmth(time: Duration, passed: Duration) -> u32 {
    let (time, passed) = (time.as_nanos().max(1), passed.as_nanos());
    let steps = u128::from(STEPS) * (time + (COLD - 1) * passed.min(time)) / (COLD * time);
    u32::try_from(steps).unwrap_or(STEPS)
}

/// How well a target's probes went of late, 0..=1: each result moves it by an eighth of the way to 1, to a half where it was
/// poor, or to 0.
///
/// A target that comes up starts where its verdict says: whether it is well was decided by `rise`, and what it gets while it warms
/// up is `slow_start`'s to say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score(f64);

impl Score {
    /// Of a target that only succeeded, or of which nothing is known.
    pub const FULL: Self = Self(1.0);

    /// This score, 0..=1; anything else counts as the nearest.
    pub fn new(value: f64) -> Self {
        Self(if value.is_nan() { 1.0 } else { value.clamp(0.0, 1.0) })
    }

    /// Of a target with a verdict that just began.
    pub fn of(verdict: Verdict) -> Self {
        Self(match verdict {
            Verdict::Unknown | Verdict::Up => 1.0,
            Verdict::Degraded => 0.5,
            Verdict::Down => 0.0,
        })
    }

    /// After another result.
    #[must_use]
    pub fn after(self, grade: Grade) -> Self {
        let said = match grade {
            Grade::Good => 1.0,
            Grade::Poor => 0.5,
            Grade::Failed => 0.0,
        };
        Self(self.0 + (said - self.0) / 8.0)
    }

    /// The score.
    pub fn value(self) -> f64 {
        self.0
    }

    /// The nearest number of [`STEPS`], at least 1.
    pub fn steps(self) -> u32 {
        ((self.0 * f64::from(STEPS)).round() as u32).clamp(1, STEPS)
    }
}

/// The endpoints of one generation of the configuration, by their index in it.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    all: Chunks<EndpointHealth>,
    index: Arc<Index>,
}

/// Where endpoints are found; shared by copies, as it never changes.
#[derive(Debug, Default)]
struct Index {
    /// Indices by pool and by destination as it is written.
    by_name: HashMap<Arc<str>, HashMap<String, Vec<u32>>>,
    /// Indices by target.
    by_target: Vec<Vec<u32>>,
}

impl Endpoints {
    /// Of these endpoints, with what is known here of those that stay.
    #[must_use]
    pub fn rebuilt(&self, endpoints: impl IntoIterator<Item = Placed>) -> Self {
        let mut all = Vec::new();
        let Index { mut by_name, mut by_target } = Index::default();
        for (index, placed) in (0..).zip(endpoints) {
            let name = placed.destination.to_string();
            let known = self.find(&placed.pool, &name, Some(&placed.region)).next().and_then(|known| self.get(known));
            if let Some(target) = placed.target {
                by_target.resize(by_target.len().max(target.index() + 1), Vec::new());
                by_target[target.index()].push(index);
            }
            by_name.entry(Arc::clone(&placed.pool)).or_default().entry(name).or_default().push(index);
            all.push(match known {
                Some(known) => known.carried(placed),
                None => EndpointHealth::new(placed),
            });
        }
        Self { all: all.into_iter().collect(), index: Arc::new(Index { by_name, by_target }) }
    }

    /// All, by index.
    pub fn all(&self) -> &Chunks<EndpointHealth> {
        &self.all
    }

    /// One.
    pub fn get(&self, index: u32) -> Option<&EndpointHealth> {
        self.all.get(index as usize)
    }

    /// One, to be written.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut EndpointHealth> {
        self.all.get_mut(index as usize)
    }

    /// Those that a target is probed for.
    pub fn of_target(&self, target: TargetId) -> &[u32] {
        self.index.by_target.get(target.index()).map_or(&[], Vec::as_slice)
    }

    /// Whether there is such a pool.
    pub fn has_pool(&self, pool: &str) -> bool {
        self.index.by_name.contains_key(pool)
    }

    /// Those of a pool with a destination, in one region or in all.
    pub fn find<'a>(
        &'a self,
        pool: &str,
        destination: &str,
        region: Option<&'a str>,
    ) -> impl Iterator<Item = u32> + 'a {
        let found = self.index.by_name.get(pool).and_then(|destinations| destinations.get(destination));
        let is_there = move |index: &u32| {
            region.is_none_or(|region| self.get(*index).is_some_and(|known| &*known.placed.region == region))
        };
        found.into_iter().flatten().copied().filter(is_there)
    }
}
