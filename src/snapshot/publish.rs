//! The one place where snapshots are made and published.
//!
//! All writers, a reload, a change of health and the passing of time, go through one lock and each makes the next
//! generation, so that an older state can never replace a newer one. Readers never wait: they load an [`ArcSwap`].

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::drains::Drains;
use super::event::{BreakerChange, Change, Event};
use super::{Compiled, Snapshot, TargetId};
use crate::health::endpoint::{Placed, Rules};
use crate::health::report::Source;
use crate::health::table::Effect;
use crate::health::{Measure, Observation, Pushed, Rejection, Table, TargetKey, Verdict, breaker};
use crate::routing::live::{Drain, Standing, WHOLE};
use crate::routing::{Controller, Flows, Live};
use crate::unix_time::unix_seconds_modulo;

/// Where workers read the current snapshot.
pub type Published = ArcSwap<Snapshot>;

/// Owns what is known of all targets and endpoints and publishes what follows from it.
#[derive(Debug)]
pub struct Publisher {
    published: Arc<Published>,
    known: Mutex<Known>,
}

/// What only the writers see.
#[derive(Debug)]
struct Known {
    table: Table,
    drains: Drains,
    /// What makes the flows of services that are steered by load.
    controller: Controller,
    /// What the published lists were made of, by endpoint.
    standings: Vec<Standing>,
    /// Whether any list that an endpoint is in is laid out by loads.
    reads_load: Vec<bool>,
    /// Whether an endpoint may stand otherwise than in `standings`, by endpoint: something arrived since the tick looked at it,
    /// or time alone moves it.
    is_restless: Vec<bool>,
    /// The latest time that a writer was given.
    now: Instant,
    /// The latest time in seconds since 1970 that a writer was given.
    unix_seconds: u32,
    /// When it was last told that reports from there don't count for that reason.
    told: HashMap<(Source, Rejection), Instant>,
}

/// Of reports that don't count for the same reason one is told in this time.
const REJECTIONS_APART: Duration = Duration::from_secs(1);

impl Publisher {
    /// Publishes the first snapshot, with every verdict unknown.
    pub fn new(compiled: Compiled) -> Self {
        Self::starting_at(compiled, Instant::now(), unix_seconds_modulo())
    }

    /// As [`Self::new`], at a time that is given on both clocks.
    pub fn starting_at(compiled: Compiled, now: Instant, unix_seconds: u32) -> Self {
        let table = Table::default().rebuilt(compiled.targets.iter().cloned(), placed(&compiled));
        let drains = Drains::new(&compiled, None, unix_seconds);
        let standings = standings(&compiled, &table, &drains, now, unix_seconds);
        let reads_load = reads_load(&compiled);
        let mut live = Live::build(&compiled, |endpoint| standings[endpoint as usize], None, now);
        let is_restless = vec![true; standings.len()];
        let mut controller = Controller::default();
        controller.measure(&compiled, &standings, now);
        live.set_flows(controller.flows(&compiled, &live, &standings));
        let first = Snapshot { generation: 1, compiled: Arc::new(compiled), live };
        Self {
            published: Arc::new(ArcSwap::from_pointee(first)),
            known: Mutex::new(Known {
                table,
                drains,
                controller,
                standings,
                reads_load,
                is_restless,
                now,
                unix_seconds,
                told: HashMap::new(),
            }),
        }
    }

    /// Where workers read.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// The current snapshot.
    pub fn current(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// What is known of all targets and endpoints. Hold it only to read it out: observations wait meanwhile, queries
    /// don't.
    pub fn health(&self) -> impl Deref<Target = Table> {
        Reading(self.known())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the configuration, carrying over what is known of every target and endpoint that stays.
    pub fn replace(&self, compiled: Compiled) -> Arc<Snapshot> {
        let mut known = self.known();
        known.table = known.table.rebuilt(compiled.targets.iter().cloned(), placed(&compiled));
        known.reads_load = reads_load(&compiled);
        let current = self.current();
        known.drains = Drains::new(&compiled, Some((&current.compiled, &known.drains)), known.unix_seconds);
        known.standings = standings(&compiled, &known.table, &known.drains, known.now, known.unix_seconds);
        known.is_restless = vec![true; known.standings.len()];
        known.controller.follow(&current.compiled, &compiled);
        let before = Some((current.compiled.as_ref(), &current.live));
        let live = Live::build(&compiled, |endpoint| known.standings[endpoint as usize], before, known.now);
        self.store(&known, Arc::new(compiled), live)
    }

    /// Takes in observations made by `now`, publishes once what follows from all of them, and returns what there is to
    /// say. An observation of a target that is gone is dropped.
    pub fn observe(
        &self,
        observations: impl IntoIterator<Item = (Arc<TargetKey>, Observation)>,
        now: Instant,
    ) -> Vec<Event> {
        let mut known = self.known();
        known.now = known.now.max(now);
        let current = self.current();
        let mut events = Vec::new();
        let mut touched = Vec::new();
        for (key, observation) in observations {
            let reason = observation.to_string();
            let Some(effect) = known.table.observe(&key, observation, now) else { continue };
            if let Some((target, transition)) = effect.transition {
                let endpoints = endpoints_of(&current.compiled, target);
                events.push(Event::Verdict(Change { transition, target: key.to_string(), endpoints, reason }));
            }
            events.extend(known.tell(&effect, &key));
            touched.extend(effect.touched);
        }
        self.publish_what_is_urgent(&mut known, &current, &touched);
        events
    }

    /// Takes in reports that were pushed by `now`, publishes what follows from them, and returns what became of each and
    /// what there is to say.
    pub fn push(
        &self,
        reports: &[Result<Pushed, Rejection>],
        now: Instant,
    ) -> (Vec<Result<(), Rejection>>, Vec<Event>) {
        let mut known = self.known();
        known.now = known.now.max(now);
        let (effect, outcomes) = known.table.push(reports, now);
        let events = known.tell(&effect, &"the admin interface");
        self.publish_what_is_urgent(&mut known, &self.current(), &effect.touched);
        (outcomes, events)
    }

    /// Does what time alone does: endpoints warm up, open breakers are tried, reports grow too old, drains begin and end, and
    /// demand is measured. Publishes the lists in which that changes anything, and those in which only loads have changed
    /// since, and where clients go by load, if that moves enough of them. To be called once per second, with the time in
    /// seconds since 1970 too.
    pub fn tick(&self, now: Instant, unix_seconds: u32) -> Vec<Event> {
        let mut known = self.known();
        known.now = known.now.max(now);
        known.unix_seconds = unix_seconds;
        let current = self.current();
        let restless: Vec<u32> = (0..).zip(&known.is_restless).filter_map(|(index, it)| it.then_some(index)).collect();
        let changes = known.table.advance(&restless, now);
        let events = changes.into_iter().filter_map(|change| breaker_event(&known.table, change)).collect();
        let changed = known.look_again(&current.compiled, &restless);
        let Known { controller, standings, .. } = &mut *known;
        controller.measure(&current.compiled, standings, now);
        if !changed.is_empty() || current.live.is_due(now) {
            self.update(&known, &current, |endpoint| changed.binary_search(&endpoint).is_ok());
        } else {
            let flows = known.controller.flows(&current.compiled, &current.live, &known.standings);
            if !flows.is_like(current.live.flows()) {
                self.store_with(flows, Arc::clone(&current.compiled), current.live.clone());
            }
        }
        events
    }

    /// Publishes what has changed of these endpoints but for their loads alone, which wait for the next tick.
    fn publish_what_is_urgent(&self, known: &mut Known, current: &Snapshot, touched: &[u32]) {
        let mut urgent = vec![];
        for &endpoint in touched {
            let new = standing(&current.compiled, &known.table, &known.drains, endpoint, known.now, known.unix_seconds);
            let Some(old) = known.standings.get_mut(endpoint as usize) else { continue };
            known.is_restless[endpoint as usize] = true;
            if differ(&new, old) {
                *old = new;
                urgent.push(endpoint);
            }
        }
        if !urgent.is_empty() {
            urgent.sort_unstable();
            self.update(known, current, |endpoint| urgent.binary_search(&endpoint).is_ok());
        }
    }

    /// Publishes the lists of groups of which `has_changed` says that an endpoint has.
    fn update(&self, known: &Known, current: &Snapshot, has_changed: impl Fn(u32) -> bool) {
        let compiled = &current.compiled;
        let live =
            current.live.updated(compiled, |endpoint| known.standings[endpoint as usize], has_changed, known.now);
        self.store(known, Arc::clone(compiled), live);
    }

    /// Publishes the next generation, with the flows that follow from the demand as it is known.
    fn store(&self, known: &Known, compiled: Arc<Compiled>, live: Live) -> Arc<Snapshot> {
        let flows = known.controller.flows(&compiled, &live, &known.standings);
        self.store_with(flows, compiled, live)
    }

    /// Publishes the next generation. What is known is locked meanwhile, so that there is one writer.
    fn store_with(&self, flows: Flows, compiled: Arc<Compiled>, mut live: Live) -> Arc<Snapshot> {
        live.set_flows(flows);
        let next = Arc::new(Snapshot { generation: self.published.load().generation + 1, compiled, live });
        self.published.store(Arc::clone(&next));
        next
    }
}

impl Known {
    /// Brings the standings of these endpoints up to date, and returns those in which something changed that lists are made of.
    fn look_again(&mut self, compiled: &Compiled, endpoints: &[u32]) -> Vec<u32> {
        let mut changed = Vec::new();
        for &endpoint in endpoints {
            let index = endpoint as usize;
            let new = standing(compiled, &self.table, &self.drains, endpoint, self.now, self.unix_seconds);
            let old = std::mem::replace(&mut self.standings[index], new);
            let reads_load = self.reads_load[index];
            if differ(&new, &old) || reads_load && new.load != old.load {
                changed.push(endpoint);
            }
            self.is_restless[index] = moves(&new, reads_load);
        }
        changed
    }

    /// What is to be said of an effect beside verdicts; `from` is who or what the reports came from.
    fn tell(&mut self, effect: &Effect, from: &dyn Display) -> Vec<Event> {
        let mut events: Vec<Event> =
            effect.breakers.iter().filter_map(|change| breaker_event(&self.table, *change)).collect();
        for &(source, rejection) in &effect.rejected {
            let told = self.told.get(&(source, rejection));
            if told.is_none_or(|told| self.now.saturating_duration_since(*told) >= REJECTIONS_APART) {
                self.told.insert((source, rejection), self.now);
                events.push(Event::Rejected { source, rejection, from: from.to_string() });
            }
        }
        events
    }
}

/// The table, while its lock is held.
struct Reading<'a>(MutexGuard<'a, Known>);

impl Deref for Reading<'_> {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.0.table
    }
}

/// What the lists are made of.
fn standings(compiled: &Compiled, table: &Table, drains: &Drains, now: Instant, unix_seconds: u32) -> Vec<Standing> {
    let of = |(endpoint, _)| standing(compiled, table, drains, endpoint, now, unix_seconds);
    (0..).zip(&compiled.endpoints).map(of).collect()
}

/// Whether two standings differ in more than load.
fn differ(new: &Standing, old: &Standing) -> bool {
    *new != Standing { load: new.load, ..*old }
}

/// Whether time alone may change a standing: an open breaker will be tried, a drain begins or ends, and what is said of load
/// grows too old. How long probes take does not count where no list reads it.
fn moves(standing: &Standing, reads_load: bool) -> bool {
    standing.settles
        || standing.share == 0
        || matches!(standing.drain, Drain::Planned(_) | Drain::UnderWay)
        || standing.load.values().any(|(measure, _)| reads_load || measure != Measure::ResponseMs)
}

/// Whether any list that an endpoint is in is laid out by loads, by endpoint.
fn reads_load(compiled: &Compiled) -> Vec<bool> {
    let mut reads_load = vec![false; compiled.endpoints.len()];
    for layout in compiled.layouts.iter().filter(|layout| layout.balance.reads_load()) {
        let endpoints = &compiled.groups[layout.group as usize].endpoints;
        reads_load[endpoints.start as usize..endpoints.end as usize].fill(true);
    }
    reads_load
}

/// What is known of an endpoint.
fn standing(
    compiled: &Compiled,
    table: &Table,
    drains: &Drains,
    index: u32,
    now: Instant,
    unix_seconds: u32,
) -> Standing {
    let endpoint = &compiled.endpoints[index as usize];
    let Some(known) = table.endpoints().get(index) else { return Standing::UNPROBED };
    let target = table.target_of(known);
    let (verdict, flip) = match target {
        Some(target) => (target.machine.verdict(), target.soonest_change(now)),
        None if endpoint.target.is_some() => (Verdict::Unknown, None),
        None => (Verdict::Up, None),
    };
    Standing {
        verdict,
        flip_seconds: flip.map(|left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX)),
        share: known.share(target, now, WHOLE),
        load: known.load(target, now).rounded(),
        drain: drains.of(index, unix_seconds),
        settles: known.settles(now),
    }
}

/// The endpoints with their identity and the rules of their pool, by index.
fn placed(compiled: &Compiled) -> impl Iterator<Item = Placed> {
    let config = &compiled.config;
    let pools = config.pools.iter().map(|pool| {
        let by_probe = pool.probe.map_or(Duration::ZERO, |probe| config.probes[probe].timing.interval * 3);
        let rules = Rules {
            load_max_age: pool.load_max_age.unwrap_or(by_probe.max(crate::config::Pool::LOAD_MAX_AGE)),
            health_weighted: pool.health_weighted,
            slow_start: pool.slow_start,
            breaker: pool.breaker,
        };
        (Arc::<str>::from(pool.name.as_str()), Arc::new(rules))
    });
    let pools: Vec<_> = pools.collect();
    let regions: Vec<Arc<str>> = config.regions.iter().map(|region| Arc::from(region.name.as_str())).collect();
    compiled.groups.iter().flat_map(move |group| {
        let (pool, rules) = pools[group.pool].clone();
        let region = Arc::clone(&regions[usize::from(group.region)]);
        let endpoints = &compiled.endpoints[group.endpoints.start as usize..group.endpoints.end as usize];
        endpoints.iter().map(move |endpoint| Placed {
            pool: Arc::clone(&pool),
            region: Arc::clone(&region),
            destination: endpoint.destination.clone(),
            target: endpoint.target,
            rules: Arc::clone(&rules),
        })
    })
}

fn breaker_event(table: &Table, (endpoint, transition): (u32, breaker::Transition)) -> Option<Event> {
    let placed = &table.endpoints().get(endpoint)?.placed;
    Some(Event::Breaker(BreakerChange {
        transition,
        endpoint: format!("{}/{}/{}", placed.pool, placed.region, placed.destination),
    }))
}

fn endpoints_of(compiled: &Compiled, target: TargetId) -> Vec<String> {
    let config = &compiled.config;
    let concerned = compiled.groups.iter().filter(|group| {
        group.endpoints.clone().any(|endpoint| compiled.endpoints[endpoint as usize].target == Some(target))
    });
    concerned
        .map(|group| format!("{}/{}", config.pools[group.pool].name, config.regions[usize::from(group.region)].name))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::*;
    use crate::health::{Details, Failure};
    use crate::reload::{Loader, Origin};
    use crate::routing::{Draw, Family, Outcome, decide};

    const CONFIGURATION: &str = r#"
[server]
listen = ["127.0.0.1:0"]
[regions.near]
location = [50, 8]
[regions.far]
location = [40, -77]
[probes.tcp]
type = "tcp"
port = 80
interval = "4s"
timeout = "1s"
fall = 3
rise = 2
[pools.web]
probe = "tcp"
endpoints = [{ region = "near", address = "192.0.2.1" }, { region = "far", address = "192.0.2.2" }]
[zones."example.com"]
nameservers = ["ns.example.net"]
[services."www.example.com"]
pool = "web"
ttl = { min = "5s", max = "60s" }
"#;

    fn compiled(configuration: &str) -> Compiled {
        Loader::new(Origin::Embedded(configuration.to_owned())).load().unwrap().compiled
    }

    /// Reports a result of the target at `address` and returns the changes of verdict.
    fn observe(publisher: &Publisher, address: [u8; 4], success: bool) -> Vec<Event> {
        let wanted = crate::config::Target::Address(IpAddr::from(address));
        let key = publisher.health().keys().find(|key| key.target == wanted).unwrap();
        let outcome = if success { Ok(()) } else { Err(Failure::Refused) };
        let observation =
            Observation { took: Duration::from_millis(1), address: None, outcome, details: Details::default() };
        publisher.observe([(key, observation)], Instant::now())
    }

    /// The address and the TTL that a client of unknown location gets.
    fn answer(publisher: &Publisher) -> (IpAddr, u32) {
        let snapshot = publisher.current();
        let mut rng = fastrand::Rng::with_seed(1);
        let mut draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds: 0 };
        let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));
        let decision = decide(&snapshot, &snapshot.compiled.services[0], client, Family::V4, &mut draw);
        let Outcome::Endpoints { choice, picks } = decision.outcome else { panic!("an endpoint serves") };
        let endpoint = choice.candidates.list[picks.as_slice()[0] as usize].endpoint as usize;
        (snapshot.compiled.endpoints[endpoint].address().unwrap(), decision.ttl)
    }

    #[test]
    fn the_ttl_follows_how_near_the_verdict_is_to_a_change() {
        let publisher = Publisher::new(compiled(CONFIGURATION));
        let (near, far) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        // Unknown: the next result decides, at most an interval away, which is below the minimum.
        assert_eq!(answer(&publisher), (near.into(), 5));
        assert_eq!(observe(&publisher, near, true).len(), 1);
        assert_eq!(observe(&publisher, far, true).len(), 1);
        for (success, changes, address, ttl) in [
            (true, 0, near, 60),
            // Two more failures and it is down, in 8 s at the earliest.
            (false, 0, near, 8),
            (false, 0, near, 5),
            (true, 0, near, 60),
            (false, 0, near, 8),
            (false, 0, near, 5),
            (false, 1, far, 5),
            (true, 0, far, 5),
            (true, 1, near, 60),
        ] {
            assert_eq!(observe(&publisher, near, success).len(), changes);
            assert_eq!(answer(&publisher), (address.into(), ttl));
        }
    }

    #[test]
    fn only_what_matters_is_published_and_generations_grow() {
        let publisher = Publisher::new(compiled(CONFIGURATION));
        let near = [192, 0, 2, 1];
        let mut generations = vec![publisher.current().generation];
        for success in [true, true, true, false, true] {
            observe(&publisher, near, success);
            generations.push(publisher.current().generation);
        }
        assert_eq!(generations, [1, 2, 2, 2, 3, 4]);
        assert_eq!(publisher.replace(compiled(CONFIGURATION)).generation, 5);
    }

    #[test]
    fn a_reload_keeps_verdicts_though_targets_move() {
        let publisher = Publisher::new(compiled(CONFIGURATION));
        let (near, far) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        observe(&publisher, far, true);
        let Event::Verdict(change) = observe(&publisher, near, false).remove(0) else { panic!("a verdict changed") };
        assert_eq!((change.transition.to, change.endpoints), (Verdict::Down, vec!["web/near".to_owned()]));
        assert_eq!(answer(&publisher).0, IpAddr::from(far));
        // A new pool ahead of the old one takes the first indices of targets.
        let first =
            "[pools.first]\nprobe = \"tcp\"\nendpoints = [{ region = \"far\", address = \"192.0.2.7\" }]\n[pools.web]";
        publisher.replace(compiled(&CONFIGURATION.replace("[pools.web]", first)));
        assert_eq!(answer(&publisher).0, IpAddr::from(far), "near is still down");
        observe(&publisher, near, true);
        observe(&publisher, near, true);
        assert_eq!(answer(&publisher).0, IpAddr::from(near));
        publisher.replace(compiled(&CONFIGURATION.replace("192.0.2.1", "192.0.2.9")));
        assert!(publisher.observe([], Instant::now()).is_empty());
        assert_eq!(answer(&publisher).0, IpAddr::from([192, 0, 2, 9]), "a new target is unknown, and serves");
    }
}
