//! The state of every probed target, by a dense index.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::breaker;
use super::chunks::Chunks;
use super::endpoint::{EndpointHealth, Endpoints, Input, Placed, Score};
use super::report::{self, Age, Pushed, Rejection, ReportCounts};
use super::settle::Settling;
use super::{Grade, Histogram, Hold, Load, Machine, Observation, TargetKey, Transition, Verdict};
use crate::config::{Check, Target};

/// A target's index in one [`Table`]; the next generation's table may give the same target another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u32);

impl TargetId {
    /// As an index into what is kept per target.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What is known of one target. Its size is bounded, however long it is observed.
#[derive(Debug, Clone)]
pub struct TargetHealth {
    /// What is probed.
    pub key: Arc<TargetKey>,
    /// The verdict, and how near it is to a change.
    pub machine: Machine,
    /// The latest observation and when it was made.
    pub last: Option<(Instant, Observation)>,
    /// What was observed since the target was first configured.
    pub counts: Counts,
    /// How long the runs took, those that failed included.
    pub durations: Histogram,
    /// How well the runs went of late.
    pub score: Score,
    /// What decided its verdict, for people; nothing where that is unknown, or from before the start.
    pub decided_by: Option<Arc<str>>,
    /// How long runs take that succeed, in milliseconds, and of when that is: each moves it by an eighth of the way.
    pub response: Option<(Instant, f64)>,
}

impl TargetHealth {
    fn new(key: Arc<TargetKey>) -> Self {
        Self {
            key,
            machine: Machine::default(),
            last: None,
            counts: Counts::default(),
            durations: Histogram::default(),
            score: Score::FULL,
            decided_by: None,
            response: None,
        }
    }

    /// The same check with another timing, which goes on as this one, or beside it.
    fn with_other_timing(&self, key: Arc<TargetKey>, goes_on: bool) -> Self {
        let mut other = Self { key, machine: self.machine.with_other_timing(), ..self.clone() };
        if !goes_on {
            // Nothing counts twice, and only this one is known to have turned down of late.
            (other.counts, other.durations) = Default::default();
            other.machine.doubt(false);
        }
        other
    }

    /// Takes note of a change of verdict, and what decided it.
    fn turned(&mut self, transition: Transition, decided_by: String) {
        self.counts.transitions += 1;
        self.decided_by = Some(decided_by.into());
        if transition.from == Verdict::Down || transition.from == Verdict::Unknown {
            self.score = Score::of(transition.to);
        }
    }

    /// Takes a success in.
    fn succeeded(&mut self, took: Duration, now: Instant) {
        let took_ms = took.as_secs_f64() * 1e3;
        let response_ms = self.response.map_or(took_ms, |(_, before)| before + (took_ms - before) / 8.0);
        self.response = Some((now, response_ms));
    }

    /// How soon it may begin or cease to serve, while its runs speak for that.
    pub fn soonest_change(&self, now: Instant) -> Option<Duration> {
        self.machine.soonest_change(&self.key.timing, now)
    }
}

/// Observations by outcome, and changes of verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs that found what was expected.
    pub successes: u64,
    /// Those of them that were poor.
    pub poor: u64,
    /// Runs that did not.
    pub failures: u64,
    /// Runs that say nothing about the target, as this machine could not make them.
    pub local_problems: u64,
    /// Changes of verdict, the first one from unknown included.
    pub transitions: u64,
}

/// What an observation changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effect {
    /// The endpoints of which something else is known now, by index.
    pub touched: Vec<u32>,
    /// The change of a verdict.
    pub transition: Option<(TargetId, Transition)>,
    /// Changes of breakers, by the index of their endpoint.
    pub breakers: Vec<(u32, breaker::Transition)>,
    /// Reports that came with it and don't count.
    pub rejected: Vec<(report::Source, Rejection)>,
}

/// All targets and endpoints of one generation of the configuration.
///
/// Its size is the number of distinct targets and of endpoints configured. An observation is taken by key, not by index, so one that was
/// under way during a reload counts for its own target or for none. A clone shares what it can: it costs little, and so
/// does what is written after it.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub(super) targets: Chunks<TargetHealth>,
    /// Shared by clones, as it never changes.
    ids: Arc<HashMap<Arc<TargetKey>, TargetId>>,
    pub(super) endpoints: Endpoints,
    reports: ReportCounts,
    pub(super) settling: Settling,
}

impl Table {
    /// A table of these targets, equal ones once, in the order of their first appearance, and of these endpoints. What
    /// this table knows of them is carried over. A target whose timing alone changed keeps its verdict, as that was
    /// observed by the same check.
    #[must_use]
    pub fn rebuilt(
        &self,
        keys: impl IntoIterator<Item = TargetKey>,
        endpoints: impl IntoIterator<Item = Placed>,
    ) -> Self {
        let by_check: HashMap<(&Check, &Target), &TargetHealth> =
            self.targets.iter().rev().map(|known| ((&*known.key.check, &known.key.target), known)).collect();
        let endpoints = self.endpoints.rebuilt(endpoints);
        let (mut keys_by_id, mut ids) = (Vec::new(), HashMap::new());
        for key in keys {
            if ids.contains_key(&key) {
                continue;
            }
            let Ok(index) = u32::try_from(keys_by_id.len()) else { break };
            let key = self.find(&key).map_or_else(|| Arc::new(key), |same| Arc::clone(&same.key));
            ids.insert(Arc::clone(&key), TargetId(index));
            keys_by_id.push(key);
        }
        // Which target goes on as one whose timing is no longer configured.
        let mut heirs = HashMap::new();
        let target =
            |(id, key): (u32, Arc<TargetKey>)| match (self.find(&key), by_check.get(&(&*key.check, &key.target))) {
                (Some(same), _) => same.clone(),
                (None, Some(&similar)) => {
                    let old = &similar.key;
                    let goes_on =
                        !ids.contains_key(old) && *heirs.entry(Arc::clone(old)).or_insert(TargetId(id)) == TargetId(id);
                    similar.with_other_timing(key, goes_on)
                }
                (None, None) => TargetHealth::new(key),
            };
        let targets: Chunks<TargetHealth> = (0..).zip(keys_by_id).map(target).collect();
        let id = |old: TargetId| {
            let key = &self.get(old)?.key;
            ids.get(key).or_else(|| heirs.get(key)).copied()
        };
        let settling = self.settling.rebuilt(&targets, id, &endpoints);
        Self { targets, ids: Arc::new(ids), endpoints, reports: self.reports, settling }
    }

    /// The index of a target.
    pub fn id(&self, key: &TargetKey) -> Option<TargetId> {
        self.ids.get(key).copied()
    }

    /// One target.
    pub fn get(&self, id: TargetId) -> Option<&TargetHealth> {
        self.targets.get(id.index())
    }

    /// All targets, in the order of their [`TargetId`]s.
    pub fn targets(&self) -> &Chunks<TargetHealth> {
        &self.targets
    }

    /// How many targets of endpoints nothing is known of yet.
    pub fn unknown(&self) -> usize {
        self.settling.unknown()
    }

    /// What is probed.
    pub fn keys(&self) -> impl Iterator<Item = Arc<TargetKey>> {
        self.targets.iter().map(|target| Arc::clone(&target.key))
    }

    /// All endpoints.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The targets of an endpoint, in the order of its pool's probes.
    pub fn targets_of(&self, endpoint: &EndpointHealth) -> impl Iterator<Item = &TargetHealth> {
        endpoint.placed.inputs.iter().filter_map(|input| match input {
            Input::Target(target) => self.get(*target),
            Input::Groups(_) => None,
        })
    }

    /// How many reports there were.
    pub fn reports(&self) -> &ReportCounts {
        &self.reports
    }

    /// Takes an observation; nothing where the target is no longer one of this table's.
    pub fn observe(&mut self, key: &TargetKey, observation: Observation, now: Instant) -> Option<Effect> {
        let id = self.id(key)?;
        let target = self.targets.get_mut(id.index())?;
        let timing = &target.key.timing;
        let grade = match &observation.outcome {
            Err(failure) if failure.is_local() => None,
            Err(_) => Some(Grade::Failed),
            Ok(()) if observation.details.poor.is_some() => Some(Grade::Poor),
            Ok(()) if timing.degraded_after.is_some_and(|most| observation.took > most) => Some(Grade::Poor),
            Ok(()) => Some(Grade::Good),
        };
        let result = grade.map(|grade| grade != Grade::Failed);
        let transition = grade.and_then(|grade| target.machine.observe(timing, grade, now));
        match grade {
            None => target.counts.local_problems += 1,
            Some(grade) => {
                match grade {
                    Grade::Failed => target.counts.failures += 1,
                    Grade::Good | Grade::Poor => target.counts.successes += 1,
                }
                target.counts.poor += u64::from(grade == Grade::Poor);
                if target.key.check.measures_time() {
                    target.durations.record(observation.took);
                }
                target.score = target.score.after(grade);
                if grade != Grade::Failed && target.key.check.measures_time() {
                    target.succeeded(observation.took, now);
                }
            }
        }
        if let Some(transition) = transition {
            target.turned(transition, observation.to_string());
            if !self.endpoints.of_target(id).is_empty() {
                self.settling.turned(id, transition, now);
                target.machine.doubt(self.settling.is_unsure());
            }
        }
        let mut effect = Effect { transition: transition.map(|transition| (id, transition)), ..Effect::default() };
        effect.touched = self.endpoints.of_target(id).to_vec();
        for &index in &effect.touched {
            // Most have nothing that this changes, and are not to be copied for it.
            let Some(known) = self.endpoints.get(index).filter(|known| known.breaker().is_some()) else { continue };
            // Of several inputs it is what they say together that counts; and nothing does that the prober doubts.
            let is_alone = known.placed.acting_inputs().count() == 1;
            let result = result.map(|success| if is_alone { success } else { self.found(known, now).verdict.serves() });
            let result = result.filter(|_| self.unsure_since().is_none());
            let Some(endpoint) = self.endpoints.get_mut(index) else { continue };
            effect.breakers.extend(endpoint.advance(now).map(|change| (index, change)));
            if let Some(success) = result {
                let change = endpoint.record(u32::from(success), u32::from(!success), now);
                effect.breakers.extend(change.map(|change| (index, change)));
            }
        }
        for (source, said) in &observation.details.reports {
            // What one of them rejects may be news of another.
            let outcome = said.and_then(|load| {
                effect.touched.iter().fold(Ok(()), |outcome, index| match self.endpoints.get_mut(*index) {
                    Some(endpoint) => outcome.and(endpoint.take(&load, now, now)),
                    None => outcome,
                })
            });
            self.reports.add(*source, outcome);
            effect.rejected.extend(outcome.err().map(|rejection| (*source, rejection)));
        }
        if let Some(target) = self.targets.get_mut(id.index()) {
            target.last = Some((now, observation));
        }
        Some(effect)
    }

    /// Takes a report that was pushed by `now`, adding to what others changed.
    ///
    /// # Errors
    /// Where it does not count.
    pub fn push(
        &mut self,
        pushed: &Result<Pushed, Rejection>,
        now: Instant,
        effect: &mut Effect,
    ) -> Result<(), Rejection> {
        let outcome =
            pushed.as_ref().map_err(|rejection| *rejection).and_then(|pushed| self.take_pushed(pushed, now, effect));
        self.reports.add(report::Source::Pushed, outcome);
        effect.rejected.extend(outcome.err().map(|rejection| (report::Source::Pushed, rejection)));
        outcome
    }

    fn take_pushed(&mut self, pushed: &Pushed, now: Instant, effect: &mut Effect) -> Result<(), Rejection> {
        if !self.endpoints.has_pool(&pushed.pool) {
            return Err(Rejection::UnknownPool);
        }
        let found: Vec<u32> = self.endpoints.find(&pushed.pool, &pushed.endpoint, pushed.region.as_deref()).collect();
        if found.is_empty() {
            return Err(Rejection::UnknownEndpoint);
        }
        let Pushed { age, load, successes, failures, .. } = pushed;
        if *load == Load::default() && *successes == 0 && *failures == 0 {
            return Err(Rejection::Empty);
        }
        let Age::Past(age) = age else { return Err(Rejection::Future) };
        let measured = now.checked_sub(*age).ok_or(Rejection::TooOld)?;
        let has_results = *successes > 0 || *failures > 0;
        let mut outcome = Err(Rejection::UnknownEndpoint);
        for index in found {
            let Some(endpoint) = self.endpoints.get_mut(index) else { continue };
            match endpoint.take(load, measured, now) {
                // Of its load something later is known, but of each request it is told once.
                Err(Rejection::Outdated) if has_results => {}
                Err(rejection) => {
                    outcome = outcome.or(Err(rejection));
                    continue;
                }
                Ok(()) => {}
            }
            outcome = Ok(());
            effect.touched.push(index);
            effect.breakers.extend(endpoint.advance(now).map(|change| (index, change)));
            if has_results {
                effect.breakers.extend(endpoint.record(*successes, *failures, now).map(|change| (index, change)));
            }
        }
        outcome
    }

    /// What time alone changes of these endpoints: breakers that were open for long enough.
    pub fn advance(&mut self, endpoints: &[u32], now: Instant) -> Vec<(u32, breaker::Transition)> {
        let advance = |index: &u32| {
            let is_open = self.endpoints.get(*index)?.breaker()?.state() == breaker::State::Open;
            Some((*index, self.endpoints.get_mut(*index).filter(|_| is_open)?.advance(now)?))
        };
        endpoints.iter().filter_map(advance).collect()
    }

    /// Lets the targets of these endpoints that are held down, or will be after a doubt, come up as soon as their runs say so. Returns
    /// these targets, and the changes of those whose runs said so already.
    pub fn resume(&mut self, endpoints: &[u32], now: Instant) -> Vec<(TargetId, Option<Transition>)> {
        let inputs = endpoints.iter().filter_map(|index| self.endpoints.get(*index)).flat_map(|it| &it.placed.inputs);
        let targets: BTreeSet<TargetId> = inputs
            .filter_map(|input| match input {
                Input::Target(target) => Some(*target),
                Input::Groups(_) => None,
            })
            .collect();
        let mut resumed = Vec::new();
        for id in targets {
            let is_held = |target: &TargetHealth| target.machine.hold_undoubted(&target.key.timing, now) != Hold::None;
            if !self.get(id).is_some_and(is_held) {
                continue;
            }
            let Some(target) = self.targets.get_mut(id.index()) else { continue };
            let transition = target.machine.resume(&target.key.timing, now);
            if let Some(transition) = transition {
                target.turned(transition, "an operator resumes it".to_owned());
                if !self.endpoints.of_target(id).is_empty() {
                    self.settling.turned(id, transition, now);
                }
            }
            resumed.push((id, transition));
        }
        resumed
    }

    fn find(&self, key: &TargetKey) -> Option<&TargetHealth> {
        self.id(key).and_then(|id| self.get(id))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use super::super::endpoint::Rules;
    use super::super::{Details, Failure, Found, Verdict};
    use super::*;
    use crate::config::{PoolHealth, TcpCheck, Timing};

    fn key(port: u16, fall: u8) -> TargetKey {
        TargetKey {
            check: Check::Tcp(TcpCheck::accepted(port)).into(),
            timing: Timing {
                interval: Duration::from_secs(5),
                timeout: Duration::from_secs(1),
                fall,
                ..Timing::DEFAULT
            },
            target: Target::Address([192, 0, 2, 1].into()),
        }
    }

    fn observation(outcome: Result<(), Failure>) -> Observation {
        Observation { took: Duration::from_millis(3), address: None, outcome, details: Details::default() }
    }

    fn observe(table: &mut Table, key: &TargetKey, outcome: Result<(), Failure>) -> Effect {
        table.observe(key, observation(outcome), Instant::now()).unwrap()
    }

    #[test]
    fn equal_keys_are_one_target() {
        let table = Table::default().rebuilt([key(1, 3), key(2, 3), key(1, 3)], []);
        assert_eq!(table.targets().len(), 2);
        assert_eq!(table.id(&key(1, 3)), Some(TargetId(0)));
        assert_eq!(table.id(&key(2, 3)), Some(TargetId(1)));
        assert_eq!(table.id(&key(3, 3)), None);
    }

    #[test]
    fn observations_are_counted_and_decide_verdicts() {
        let key = key(1, 2);
        let mut table = Table::default().rebuilt([key.clone()], []);
        let mut said = Vec::new();
        for outcome in [Ok(()), Ok(()), Err(Failure::Refused), Ok(()), Err(Failure::Refused), Err(Failure::Refused)] {
            said.push(observe(&mut table, &key, outcome).transition.map(|(_, transition)| transition.to));
        }
        assert_eq!(said, [Some(Verdict::Up), None, None, None, None, Some(Verdict::Down)]);
        let target = table.get(TargetId(0)).unwrap();
        assert_eq!(target.counts, Counts { successes: 3, poor: 0, failures: 3, local_problems: 0, transitions: 2 });
        assert_eq!(target.last.as_ref().unwrap().1, observation(Err(Failure::Refused)));
    }

    #[test]
    fn a_local_problem_is_counted_and_shown_but_is_no_evidence() {
        let key = key(1, 1);
        let mut table = Table::default().rebuilt([key.clone()], []);
        observe(&mut table, &key, Ok(()));
        let local = Failure::Local("too many open files".into());
        let effect = observe(&mut table, &key, Err(local.clone()));
        assert_eq!(effect.transition, None);
        let target = table.get(TargetId(0)).unwrap();
        assert_eq!(target.machine.verdict(), Verdict::Up);
        assert_eq!(target.counts.local_problems, 1);
        assert_eq!(target.durations.counts.iter().sum::<u64>(), 1);
        assert_eq!(target.last.as_ref().unwrap().1.outcome, Err(local));
    }

    #[test]
    fn the_soonest_change_is_the_interval_times_the_checks_left() {
        let key = key(1, 3);
        let mut table = Table::default().rebuilt([key.clone()], []);
        observe(&mut table, &key, Ok(()));
        assert_eq!(table.get(TargetId(0)).unwrap().soonest_change(Instant::now()), None);
        observe(&mut table, &key, Err(Failure::Refused));
        assert_eq!(table.get(TargetId(0)).unwrap().soonest_change(Instant::now()), Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_reload_keeps_what_is_known_by_key() {
        let mut old = Table::default().rebuilt([key(1, 3), key(2, 3)], []);
        observe(&mut old, &key(2, 3), Err(Failure::Refused));
        let mut new = old.rebuilt([key(3, 3), key(2, 3)], []);
        assert_eq!(new.id(&key(2, 3)), Some(TargetId(1)));
        let carried = new.get(TargetId(1)).unwrap();
        assert_eq!((carried.machine.verdict(), carried.counts.failures), (Verdict::Down, 1));
        assert_eq!(new.get(TargetId(0)).unwrap().machine.verdict(), Verdict::Unknown);
        assert_eq!(new.observe(&key(1, 3), observation(Ok(())), Instant::now()), None, "no longer a target");
    }

    #[test]
    fn a_target_of_other_timing_keeps_its_verdict_but_not_its_streak() {
        let mut old = Table::default().rebuilt([key(1, 3)], []);
        observe(&mut old, &key(1, 3), Ok(()));
        observe(&mut old, &key(1, 3), Err(Failure::Refused));
        let new = old.rebuilt([key(1, 2)], []);
        let carried = new.get(TargetId(0)).unwrap();
        assert_eq!(*carried.key, key(1, 2));
        assert_eq!((carried.machine.verdict(), carried.soonest_change(Instant::now())), (Verdict::Up, None));
    }

    #[test]
    fn of_targets_that_differ_in_timing_one_goes_on_with_what_was_counted() {
        let mut old = Table::default().rebuilt([key(1, 3)], []);
        observe(&mut old, &key(1, 3), Err(Failure::Refused));
        old.targets.get_mut(0).unwrap().machine.doubt(true);
        let failures = |keys: &[TargetKey]| -> Vec<(u64, u64, bool)> {
            let new = old.rebuilt(keys.iter().cloned(), []);
            assert!(new.targets().iter().all(|target| target.machine.verdict() == Verdict::Down));
            let manual = Timing { manual_resume: true, ..Timing::DEFAULT };
            let known = |target: &TargetHealth| {
                let is_doubted = target.machine.hold(&manual, Instant::now()) == Hold::None;
                (target.counts.failures, target.durations.counts.iter().sum(), is_doubted)
            };
            new.targets().iter().map(known).collect()
        };
        let (all, none) = ((1, 1, true), (0, 0, false));
        assert_eq!(failures(&[key(1, 2), key(1, 3), key(1, 4)]), [none, all, none], "the old one is still there");
        assert_eq!(failures(&[key(1, 2), key(1, 4)]), [all, none]);
    }

    /// 192.0.2.1 in this pool and region.
    fn placed(pool: &str, region: &str) -> Placed {
        Placed {
            pool: pool.into(),
            region: region.into(),
            destination: Target::Address([192, 0, 2, 1].into()),
            region_index: 0,
            group: 0,
            is_enabled: true,
            inputs: [Input::Target(TargetId(0))].into(),
            rules: Rules { health: PoolHealth::of_probe(0), ..Rules::plain() }.into(),
        }
    }

    fn connections(table: &Table, endpoint: u32) -> Option<f64> {
        table.endpoints().get(endpoint).unwrap().load(&Found::UNPROBED, Instant::now()).connections
    }

    #[test]
    fn what_a_probe_is_told_of_load_counts_for_all_that_share_its_target() {
        let key = key(1, 3);
        let mut table = Table::default().rebuilt([key.clone()], [placed("web", "here"), placed("api", "here")]);
        let load = Load { connections: Some(7.0), ..Load::default() };
        let reports = vec![(report::Source::Header, Ok(load))];
        let effect = table
            .observe(
                &key,
                Observation { details: Details { reports, ..Details::default() }, ..observation(Ok(())) },
                Instant::now(),
            )
            .unwrap();
        assert_eq!(effect.touched, [0, 1]);
        assert_eq!([0, 1].map(|endpoint| connections(&table, endpoint)), [Some(7.0); 2]);
    }

    #[test]
    fn what_one_endpoint_rejects_counts_for_others_that_share_its_target() {
        let key = key(1, 3);
        let mut table = Table::default().rebuilt([key.clone()], [placed("web", "here"), placed("api", "here")]);
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let load = |connections| Load { connections: Some(connections), ..Load::default() };
        let report = Pushed { pool: "web".into(), endpoint: "192.0.2.1".into(), load: load(9.0), ..Pushed::default() };
        table.push(&Ok(report), later, &mut Effect::default()).unwrap();
        let reports = vec![(report::Source::Header, Ok(load(7.0)))];
        let details = Details { reports, ..Details::default() };
        let effect = table.observe(&key, Observation { details, ..observation(Ok(())) }, now).unwrap();
        assert_eq!([0, 1].map(|endpoint| connections(&table, endpoint)), [Some(9.0), Some(7.0)]);
        assert_eq!(effect.rejected, [(report::Source::Header, Rejection::Outdated)]);
    }

    #[test]
    fn a_target_that_is_several_inputs_of_an_endpoint_counts_once_for_its_breaker() {
        let key = key(1, 1);
        let health = PoolHealth { inputs: vec![PoolHealth::of_probe(0).inputs[0].clone(); 2], required: 1 };
        let breaker = Some(crate::config::Breaker { failures: 2, ..crate::config::Breaker::DEFAULT });
        let rules = Rules { health, breaker, ..Rules::plain() }.into();
        let inputs = [Input::Target(TargetId(0)), Input::Target(TargetId(0))].into();
        let mut table = Table::default().rebuilt([key.clone()], [Placed { inputs, rules, ..placed("web", "here") }]);
        let opened = [0, 1].map(|_| observe(&mut table, &key, Err(Failure::Refused)).breakers.len());
        assert_eq!(opened, [0, 1]);
    }

    #[test]
    fn a_reload_tells_endpoints_of_one_address_apart_by_region() {
        let mut old = Table::default().rebuilt([key(1, 3)], [placed("web", "here"), placed("web", "there")]);
        let load = Load { connections: Some(7.0), ..Load::default() };
        let region = Some("there".to_owned());
        let report = Pushed { pool: "web".into(), endpoint: "192.0.2.1".into(), region, load, ..Pushed::default() };
        old.push(&Ok(report), Instant::now(), &mut Effect::default()).unwrap();
        let new = old.rebuilt([key(1, 3)], [placed("web", "there"), placed("web", "here")]);
        assert_eq!([0, 1].map(|endpoint| connections(&new, endpoint)), [Some(7.0), None]);
    }

    #[test]
    fn a_response_time_follows_the_newest_by_an_eighth() {
        let key = key(1, 3);
        let mut table = Table::default().rebuilt([key.clone()], []);
        for took_ms in [8, 16] {
            let took = Duration::from_millis(took_ms);
            table.observe(&key, Observation { took, ..observation(Ok(())) }, Instant::now()).unwrap();
        }
        assert_eq!(table.get(TargetId(0)).unwrap().response.unwrap().1, 9.0);
    }

    #[test]
    fn durations_fall_into_the_bucket_that_bounds_them() {
        let mut histogram = Histogram::default();
        for milliseconds in [0, 1, 2, 10, 11, 10_000, 10_001] {
            histogram.record(Duration::from_millis(milliseconds));
        }
        assert_eq!(histogram.counts, [2, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(histogram.sum, Duration::from_millis(20_025));
    }
}
