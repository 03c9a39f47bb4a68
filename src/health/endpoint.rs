//! What is known of each endpoint beside the verdict of its probe: its load, how warm it is, and its breaker.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::breaker::{self, Breaker, State};
use super::chunks::Chunks;
use super::guard::{Claim, Held, Ruling};
use super::overrides::Said;
use super::{Grade, Load, Measure, Rejection, TargetId, Verdict};
use crate::config::{self, HealthInput, PoolHealth, Target};

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
    /// What their inputs mean.
    pub health: PoolHealth,
    /// Healthy endpoints that a region needs to serve.
    pub min_healthy: u16,
    /// Which they are, by index.
    pub endpoints: Range<u32>,
    /// The endpoints of pools whose health depends on this one's.
    pub dependents: Vec<Range<u32>>,
    /// Greater than that of every pool that their health depends on.
    pub rank: u16,
    /// How long before it is found down an endpoint's breaker may open for the same runs; 0 where it doesn't go by the runs of one probe.
    pub breaker_leads_by: Duration,
}

/// Something that says whether an endpoint is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A probe of it.
    Target(TargetId),
    /// Whether any of these groups can serve.
    Groups(Range<u32>),
}

impl Rules {
    /// Of a pool of one endpoint with nothing configured.
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self {
            load_max_age: Duration::from_secs(30),
            health_weighted: true,
            slow_start: None,
            breaker: None,
            health: PoolHealth::default(),
            min_healthy: 1,
            endpoints: 0..1,
            dependents: Vec::new(),
            rank: 0,
            breaker_leads_by: Duration::ZERO,
        }
    }
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
    /// The index of its region.
    pub region_index: u16,
    /// The index of its group. Groups are numbered in the order of their endpoints.
    pub group: u32,
    /// Whether the configuration lets it serve, and it weighs something.
    pub is_enabled: bool,
    /// What says that it is well, in the order of [`Rules::health`].
    pub inputs: Box<[Input]>,
    /// How it is treated.
    pub rules: Arc<Rules>,
}

impl Placed {
    /// The inputs that count, each with how it does; the others are only watched.
    pub fn acting_inputs(&self) -> impl Iterator<Item = (&Input, &HealthInput)> {
        self.inputs.iter().zip(&self.rules.health.inputs).filter(|(_, of)| !of.monitoring_only)
    }
}

/// As `pool/region/address`.
impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.pool, self.region, self.destination)
    }
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
    /// Since when its inputs or its breaker ask for it to be taken away.
    down_since: Option<Instant>,
    ruling: Ruling,
    /// Whether a drain that was planned has begun.
    drains: bool,
    /// What operators say, in place of all inputs and limits.
    operators: Said,
    verdict: Verdict,
    held: Option<Held>,
    since: Option<Instant>,
    history: VecDeque<Change>,
}

/// A change of what counts of an endpoint: of its verdict, or of what holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// When.
    pub at: Instant,
    /// The verdict before.
    pub from: Verdict,
    /// The verdict from then on.
    pub to: Verdict,
    /// Why it serves from then on although it was to be taken away.
    pub held: Option<Held>,
    /// Whether its breaker takes it away with that, as nothing holds it any longer.
    pub is_broken: bool,
    /// Why, but for what holds it.
    pub reason: Arc<str>,
}

impl Change {
    /// Why, for people.
    pub fn why(&self) -> String {
        match self.held {
            Some(held) => format!("{}; held by {}", self.reason, held.name()),
            None => self.reason.to_string(),
        }
    }
}

/// The changes of an endpoint that are remembered, and those of its breaker.
pub const MAX_HISTORY: usize = 16;

/// What the inputs of an endpoint say together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// By [`combine`](super::composite::combine).
    pub verdict: Verdict,
    /// As well.
    pub score: Score,
    /// How soon one of its targets may begin or cease to serve, while its runs speak for that.
    pub soonest_change: Option<Duration>,
    /// How long runs take, in milliseconds, and of when that is.
    pub response: Option<(Instant, f64)>,
}

impl Found {
    /// Of an endpoint without inputs.
    pub const UNPROBED: Self = Self { verdict: Verdict::Up, score: Score::FULL, soonest_change: None, response: None };
}

impl EndpointHealth {
    fn new(placed: Placed) -> Self {
        let breaker = placed.rules.breaker.map(|_| Box::default());
        let verdict = if placed.inputs.is_empty() { Verdict::Up } else { Verdict::Unknown };
        Self {
            placed,
            said: [None; Measure::ALL.len()],
            warming_since: None,
            breaker,
            down_since: None,
            ruling: Ruling::Serves,
            drains: false,
            operators: Said::default(),
            verdict,
            held: None,
            since: None,
            history: VecDeque::new(),
        }
    }

    /// What counts of it: the operator's word, else what its inputs say, as far as the limits let that be acted on.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Since when that is so; nothing while nothing is known.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Why it serves although its inputs or its breaker ask for it to be taken away.
    pub fn held(&self) -> Option<Held> {
        self.held
    }

    /// The latest changes, oldest first, at most [`MAX_HISTORY`].
    pub fn history(&self) -> impl Iterator<Item = &Change> {
        self.history.iter()
    }

    /// What operators say of it.
    pub fn operators(&self) -> &Said {
        &self.operators
    }

    /// What an operator says in place of its inputs: whether it is up.
    pub fn word(&self) -> Option<bool> {
        self.operators.verdict.map(Verdict::serves)
    }

    /// Lets what operators say count. It shows once it is settled.
    pub(super) fn obey(&mut self, operators: Said) {
        self.operators = operators;
    }

    /// Whether configuration and operators let it serve.
    pub(super) fn is_enabled(&self) -> bool {
        let is_drained = self.drains || self.operators.drains_since.is_some();
        self.placed.is_enabled && !self.operators.is_disabled && !is_drained
    }

    /// Whether its breaker keeps it from serving.
    pub fn is_broken(&self) -> bool {
        self.heeds_breaker() && self.breaker().is_some_and(|breaker| breaker.state() == State::Open)
    }

    /// How long it is until its breaker tries it, where that keeps it from serving.
    pub fn tried_in(&self, now: Instant) -> Option<Duration> {
        let breaker = self.breaker().filter(|_| self.heeds_breaker())?;
        breaker.tried_in(self.placed.rules.breaker.as_ref()?, now)
    }

    /// Whether its breaker has a say: neither an operator's word nor what holds it is to be undone by the same probes.
    fn heeds_breaker(&self) -> bool {
        self.word() != Some(true) && self.held().is_none()
    }

    /// Whether it has a group of healthy endpoints to be counted in.
    fn is_healthy(&self) -> bool {
        self.is_enabled() && self.verdict.serves() && !self.is_broken()
    }

    /// What the guard has to know.
    pub(super) fn claim(&self) -> (Claim, Ruling) {
        let is_subject = self.is_enabled() && self.word().is_none();
        let claim = Claim { region: self.placed.region_index, is_subject, down_since: self.down_since };
        (claim, self.ruling)
    }

    /// Whether it is to be taken away, given what its inputs say. While its breaker tries it, it goes on being so: it is nearly
    /// away, and to fail again is no other taking.
    pub(super) fn is_to_go(&self, found: Verdict) -> bool {
        found == Verdict::Down || self.is_tripped()
    }

    /// Whether it is taken away though its inputs say that it serves.
    pub(super) fn is_taken_by_breaker(&self, found: Verdict) -> bool {
        found != Verdict::Down && matches!(self.ruling, Ruling::Taken(_))
    }

    /// Whether it has a breaker that isn't closed.
    pub fn is_tripped(&self) -> bool {
        self.breaker().is_some_and(|breaker| breaker.state() != State::Closed)
    }

    /// Takes note of when it began to be to go; nothing where it no longer is.
    pub(super) fn find(&mut self, down_since: Option<Instant>) {
        self.down_since = down_since;
    }

    /// Takes note of whether a drain that was planned has begun.
    pub(super) fn drain(&mut self, drains: bool) {
        self.drains = drains;
    }

    /// Whether a drain that was planned has begun.
    pub(super) fn drains(&self) -> bool {
        self.drains
    }

    pub(super) fn rule(&mut self, ruling: Ruling) {
        self.ruling = ruling;
    }

    /// When its inputs or its breaker began to ask for it to be taken away, and when that was done, if it was.
    pub fn taken(&self) -> Option<(Instant, Instant)> {
        match self.ruling {
            Ruling::Taken(then) => self.down_since.map(|down_since| (down_since, then)),
            Ruling::Serves | Ruling::Held(_) => None,
        }
    }

    /// What is to count, given what its inputs say, and what holds it.
    pub(super) fn due(&self, found: Verdict) -> (Verdict, Option<Held>) {
        match (self.operators.verdict, found, self.ruling) {
            (Some(said), ..) => (said, None),
            (None, Verdict::Down, Ruling::Held(held)) => (Verdict::Degraded, Some(held)),
            // Its breaker's doing, which is passed by.
            (None, found, Ruling::Held(held)) => (found, Some(held)),
            (None, found, _) => (found, None),
        }
    }

    /// Lets this count from `now` on, and returns the change. While the prober is unsure, `unsure_from` is when that began which made it
    /// so, where this may follow from what others were taken away for.
    pub(super) fn turn(
        &mut self,
        (to, held): (Verdict, Option<Held>),
        is_broken: bool,
        reason: Arc<str>,
        unsure_from: Option<Instant>,
        now: Instant,
    ) -> Change {
        let is_mistake =
            held == Some(Held::Unsure) || unsure_from.is_some_and(|from| self.since.is_some_and(|since| since >= from));
        let from = std::mem::replace(&mut self.verdict, to);
        self.held = held;
        if from != to {
            self.since = Some(now);
        }
        if from.serves() != to.serves() {
            // What was taken away by mistake is warm.
            self.warming_since = (from == Verdict::Down && !is_mistake).then_some(now);
        }
        if self.history.len() == MAX_HISTORY {
            self.history.pop_front();
        }
        let change = Change { at: now, from, to, held, is_broken, reason };
        self.history.push_back(change.clone());
        change
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
        Self { placed, breaker, ..self.clone() }
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
        // One whose breaker is passed by serves as before.
        if transition.to == State::Closed && self.heeds_breaker() {
            self.warming_since = Some(now);
        }
        Some(transition)
    }

    /// Lets its breaker forget what it counted, as what began at `from` is doubted, unless it opened, or is to be taken away, for what
    /// was so before. Returns whether that closes it; then the guard is to be asked about it again.
    pub(super) fn doubt_breaker(&mut self, from: Instant, now: Instant) -> bool {
        let opened_from = from.checked_sub(self.placed.rules.breaker_leads_by).unwrap_or(from);
        // Found down before that, it is taken away for more than its breaker.
        let was_down = self.verdict == Verdict::Down && self.since.is_some_and(|since| since < from);
        let is_doubted = self.down_since.is_none_or(|since| since >= if was_down { from } else { opened_from });
        let is_closed = self.breaker.as_mut().filter(|_| is_doubted).and_then(|breaker| breaker.forget(now)).is_some();
        if is_closed {
            self.ruling = Ruling::Serves;
        }
        is_closed
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
    pub fn load(&self, found: &Found, now: Instant) -> Load {
        let fresh = |of: Instant| now.saturating_duration_since(of) <= self.placed.rules.load_max_age;
        Load::from_values(|measure| {
            let said = self.said[measure as usize].filter(|(_, measured)| fresh(*measured)).map(|(value, _)| value);
            said.or_else(|| {
                let (of, response_ms) = found.response.filter(|_| measure == Measure::ResponseMs)?;
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
        self.heeds_breaker() && is_tried || self.warmth(now) < STEPS
    }

    /// Whether its score is part of its share.
    pub fn is_scored(&self) -> bool {
        // While the prober is unsure, nothing that it finds counts; nor does it beside an operator's word.
        let is_doubted = self.word().is_some() || self.held() == Some(Held::Unsure);
        self.placed.rules.health_weighted && self.verdict.serves() && !is_doubted
    }

    /// The part of its weight that counts, as a fraction of `whole`: 0 only while its breaker keeps it from serving. While its probe
    /// says that it is down, which is worse than any score, the score does not count.
    pub fn share(&self, found: &Found, now: Instant, whole: u32) -> u32 {
        let health = if self.is_scored() { found.score.steps() } else { STEPS };
        let steps = u64::from(self.warmth(now)) * u64::from(health);
        let share = u64::from(whole) * steps / u64::from(STEPS * STEPS);
        let share = match self.breaker().map(Breaker::state).filter(|_| self.heeds_breaker()) {
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
    /// Where each group ends.
    group_ends: Vec<u32>,
}

impl Endpoints {
    /// Of these endpoints, with what is known here of those that stay.
    #[must_use]
    pub fn rebuilt(&self, endpoints: impl IntoIterator<Item = Placed>) -> Self {
        let mut all = Vec::new();
        let Index { mut by_name, mut by_target, mut group_ends } = Index::default();
        for (index, placed) in (0..).zip(endpoints) {
            let name = placed.destination.to_string();
            let known = self.find(&placed.pool, &name, Some(&placed.region)).next().and_then(|known| self.get(known));
            for (input, _) in placed.acting_inputs() {
                let Input::Target(target) = input else { continue };
                by_target.resize(by_target.len().max(target.index() + 1), Vec::new());
                // Several of its probes may be the same.
                if by_target[target.index()].last() != Some(&index) {
                    by_target[target.index()].push(index);
                }
            }
            group_ends.resize(placed.group as usize + 1, index + 1);
            group_ends[placed.group as usize] = index + 1;
            by_name.entry(Arc::clone(&placed.pool)).or_default().entry(name).or_default().push(index);
            all.push(match known {
                Some(known) => known.carried(placed),
                None => EndpointHealth::new(placed),
            });
        }
        Self { all: all.into_iter().collect(), index: Arc::new(Index { by_name, by_target, group_ends }) }
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

    /// Whether a group has as many healthy endpoints as its pool asks for.
    pub(super) fn can_serve(&self, group: u32) -> bool {
        let endpoints = self.of_group(group);
        let Some(first) = self.get(endpoints.start) else { return false };
        let needed = usize::from(first.placed.rules.min_healthy.max(1));
        let healthy = endpoints.filter(|index| self.get(*index).is_some_and(EndpointHealth::is_healthy));
        healthy.take(needed).count() == needed
    }

    /// Those for which a target counts.
    pub fn of_target(&self, target: TargetId) -> &[u32] {
        self.index.by_target.get(target.index()).map_or(&[], Vec::as_slice)
    }

    /// How many groups there are.
    pub(super) fn groups(&self) -> usize {
        self.index.group_ends.len()
    }

    /// Those of a group.
    pub(super) fn of_group(&self, group: u32) -> Range<u32> {
        let end = |group: usize| self.index.group_ends.get(group).copied().unwrap_or(0);
        let first = group.checked_sub(1).map_or(0, |before| end(before as usize));
        first..end(group as usize)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn a_score_that_is_not_down_is_never_less_than_a_step() {
        let steps = |failures| (0..failures).fold(Score::FULL, |score, _| score.after(Grade::Failed)).steps();
        assert_eq!([0, 1, 21, 100].map(steps), [16, 14, 1, 1]);
    }

    #[test]
    fn a_half_open_breaker_lets_something_through() {
        let breaker = config::Breaker { half_open_share: 0.001, ..config::Breaker::DEFAULT };
        let rules = Rules { breaker: Some(breaker), ..Rules::plain() };
        let mut endpoint = EndpointHealth::new(Placed {
            pool: "web".into(),
            region: "here".into(),
            destination: Target::Address([192, 0, 2, 1].into()),
            region_index: 0,
            group: 0,
            is_enabled: true,
            inputs: Box::default(),
            rules: rules.into(),
        });
        let now = Instant::now();
        endpoint.record(0, breaker.failures, now).unwrap();
        assert_eq!(endpoint.share(&Found::UNPROBED, now, 100), 0);
        let later = now + breaker.open_for;
        endpoint.advance(later).unwrap();
        assert_eq!(
            (endpoint.share(&Found::UNPROBED, later, 100), endpoint.share(&Found::UNPROBED, later, 10_000)),
            (1, 10)
        );
    }
}
