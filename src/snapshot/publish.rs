//! The one place where snapshots are made and published.
//!
//! All writers, a reload, a change of health and the passing of time, go through one lock and each makes the next
//! generation, so that an older state can never replace a newer one. Readers never wait: they load an [`ArcSwap`].
//!
//! A verdict waits for that lock before it reaches the answers, so nobody holds it for long. What is to be read out is cloned,
//! which shares it ([`Chunks`]); what takes long is made of such a clone; and what comes in great numbers is taken in parts,
//! between which those go first who wait; so is what a doubt gives back. It is held while all lists are laid out by a reload of another
//! configuration, by a start that takes up what was stored, and by a word about very many endpoints.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::drains::Drains;
use super::event::{self, BreakerChange, Change, Event};
use super::{Compiled, Snapshot, Steering};
use crate::config::{EndpointState, Pool, Service};
use crate::health::endpoint::{Placed, Rules};
use crate::health::overrides::{Overrides, Said, Subject};
use crate::health::report::Source;
use crate::health::table::Effect;
use crate::health::{
    Chunks, EndpointHealth, Histogram, Measure, Observation, Past, Pushed, Rejection, Settled, SharedHistogram, Table,
    TargetId, TargetKey, Transition, breaker,
};
use crate::routing::live::{Drain, ServiceWord, Standing, WHOLE};
use crate::routing::{Controller, Live};
use crate::unix_time::unix_seconds_modulo;

/// Where workers read the current snapshot.
pub type Published = ArcSwap<Snapshot>;

/// Owns what is known of all targets and endpoints and publishes what follows from it.
#[derive(Debug)]
pub struct Publisher {
    published: Arc<Published>,
    known: Mutex<Known>,
    /// Who has it is the next to have `known`.
    turn: Mutex<()>,
    /// What makes the flows of services that are steered by load, which takes long. Who has it may wait for `known`; the other way
    /// round never.
    controller: Mutex<Controller>,
    /// Signalled where flows may have to follow.
    flows_due: Notify,
    verdict_delays: SharedHistogram,
}

/// What only the writers see. A clone shares most of it.
#[derive(Debug, Clone)]
struct Known {
    table: Table,
    /// What operators say.
    overrides: Arc<Overrides>,
    /// Their words on services.
    service_words: Arc<[ServiceWord]>,
    drains: Arc<Drains>,
    /// What the published lists were made of, by endpoint; of loads, what the tick saw last where any list is laid out by them.
    standings: Chunks<Standing>,
    /// Whether any list that an endpoint is in is laid out by loads.
    reads_load: Arc<[bool]>,
    /// Whether an endpoint may stand otherwise than in `standings`, by endpoint: something arrived since the tick looked at it,
    /// or time alone moves it.
    is_restless: Vec<bool>,
    /// The latest time that a writer was given.
    now: Instant,
    /// The latest time in seconds since 1970 that a writer was given.
    unix_seconds: u32,
    /// When it was last told that reports from there don't count for that reason.
    told: HashMap<(Source, Rejection), Instant>,
    /// Whether somebody broke off in the middle of a change, so that lists may be of something else than what is known.
    is_torn: bool,
    /// Endpoints that the guard ruled otherwise on, of which there are very many where a doubt begins, and that are still to be
    /// settled: by [`Publisher::catch_up`], or by the next tick.
    behind: Vec<u32>,
    /// What there is to say of what endpoints did, until somebody who says it takes it along: at the next tick at the latest.
    unsaid: Vec<Event>,
}

/// Of reports that don't count for the same reason one is told in this time.
const REJECTIONS_APART: Duration = Duration::from_secs(1);
/// So many endpoints, observations and reports together are looked at before those go first who wait: under a millisecond's
/// work.
const ENDPOINTS_AT_ONCE: usize = 1_000;

impl Publisher {
    /// Publishes the first snapshot, with every verdict unknown.
    pub fn new(compiled: Compiled) -> Self {
        Self::starting_at(compiled, Instant::now(), unix_seconds_modulo())
    }

    /// As [`Self::new`], at a time that is given on both clocks.
    pub fn starting_at(compiled: Compiled, now: Instant, unix_seconds: u32) -> Self {
        let table = Table::default()
            .rebuilt(compiled.targets.iter().cloned(), placed(&compiled))
            .guarded(&compiled.config.safety, &compiled.canaries);
        let drains = Drains::new(&compiled, None, unix_seconds);
        let mut known = Known::new(&compiled, table, Arc::default(), drains, (now, unix_seconds));
        // Nothing was otherwise before.
        known.unsaid.clear();
        let mut live = Live::build(&compiled, |endpoint| known.standing(endpoint), None, now);
        let mut controller = Controller::default();
        controller.measure(&compiled, &|endpoint| known.standing(endpoint), now);
        live.set_flows(controller.flows(&compiled, &live, &|endpoint| known.standing(endpoint)));
        let first = Snapshot { generation: 1, compiled: Arc::new(compiled), live };
        Self {
            published: Arc::new(ArcSwap::from_pointee(first)),
            known: Mutex::new(known),
            turn: Mutex::new(()),
            controller: Mutex::new(controller),
            flows_due: Notify::new(),
            verdict_delays: SharedHistogram::default(),
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

    /// What is known of all targets and endpoints now.
    pub fn health(&self) -> Table {
        self.known().table.clone()
    }

    /// The current snapshot and what is known of its targets and endpoints.
    pub fn current_with_health(&self) -> (Arc<Snapshot>, Table) {
        let known = self.known();
        (self.current(), known.table.clone())
    }

    fn current_with_standings(&self) -> (Arc<Snapshot>, Chunks<Standing>) {
        let known = self.known();
        (self.current(), known.standings.clone())
    }

    /// A lock that is given back goes to who asks first, be it the same again. So who takes one part of many asks for its turn
    /// first, which who waits for the lock already has.
    fn known(&self) -> MutexGuard<'_, Known> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.known.lock().unwrap_or_else(|torn| {
            self.known.clear_poison();
            let mut known = torn.into_inner();
            known.is_torn = true;
            known
        })
    }

    fn controller(&self) -> MutexGuard<'_, Controller> {
        self.controller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the configuration, carrying over what is known of every target and endpoint that stays, where round robin stands,
    /// and the demand by which services are steered by load.
    pub fn replace(&self, compiled: Compiled) -> Arc<Snapshot> {
        // Nobody makes flows for the old one any more.
        let mut controller = self.controller();
        let compiled = Arc::new(compiled);
        let current = self.current();
        controller.follow(&current.compiled, &compiled);
        let flows = is_steered_by_load(&compiled).then(|| {
            let known = self.known().clone();
            let (known, live) = known.replaced(&self.current(), &compiled);
            controller.flows(&compiled, &live, &|endpoint| known.standing(endpoint))
        });
        compiled.continue_rotations(&current.compiled);
        drop(current);
        let mut known = self.known();
        let (next, mut live) = known.replaced(&self.current(), &compiled);
        *known = next;
        live.set_flows(flows.unwrap_or_default());
        self.flows_due.notify_one();
        self.store(compiled, live)
    }

    /// Takes in observations of which the first was made at `now`, publishes what follows from them, once for those that come to no
    /// more than 1,000 endpoints, and returns what there is to say. An observation of a target that is gone is dropped.
    pub fn observe(
        &self,
        observations: impl IntoIterator<Item = (Arc<TargetKey>, Observation)>,
        now: Instant,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let mut observations = observations.into_iter().peekable();
        while observations.peek().is_some() {
            let mut known = self.known();
            known.now = known.now.max(now);
            let current = self.current();
            let (mut touched, mut turned, mut looked_at) = (Vec::new(), Vec::new(), 0);
            while looked_at < ENDPOINTS_AT_ONCE
                && let Some((key, observation)) = observations.next()
            {
                looked_at += 1;
                let Some(effect) = known.table.observe(&key, observation, now) else { continue };
                looked_at += effect.touched.len();
                if let Some((target, transition)) = effect.transition {
                    let decided_by = known.table.get(target).and_then(|target| target.decided_by.as_deref());
                    let reason = decided_by.unwrap_or_default().to_owned();
                    let endpoints = places(&current.compiled, &effect.touched);
                    events.push(Event::Verdict(Change { transition, target: key.to_string(), endpoints, reason }));
                    turned.push((target, transition));
                }
                events.extend(known.tell(&effect, &key));
                touched.extend(effect.touched);
            }
            if !turned.is_empty() {
                events.extend(known.doubt(&mut touched, now));
            }
            if self.publish_what_is_urgent(&mut known, &current, &touched, &turned) {
                turned.iter().for_each(|_| self.verdict_delays.record(now.elapsed()));
            }
            events.append(&mut known.unsaid);
        }
        events
    }

    /// Settles and publishes a part of what [`Self::observe`] left, as it was too much to do at once while other observations wait.
    /// Returns whether anything is left, and what there is to say. To be called after it until nothing is; what is left all the same is
    /// the next tick's.
    pub fn catch_up(&self) -> (bool, Vec<Event>) {
        let mut known = self.known();
        let behind = std::mem::take(&mut known.behind);
        if behind.is_empty() {
            return (false, Vec::new());
        }
        let part = known.take_at_once(behind);
        self.publish_what_is_urgent(&mut known, &self.current(), &part, &[]);
        (!known.behind.is_empty(), std::mem::take(&mut known.unsaid))
    }

    /// How long it took from the observations that made verdicts change to the publication of what followed. The first query that a
    /// worker reads after that is answered by it.
    pub fn verdict_delays(&self) -> Histogram {
        self.verdict_delays.read()
    }

    /// Takes in reports that were pushed by `now`, publishes what follows from them, and returns what became of each and
    /// what there is to say.
    pub fn push(
        &self,
        reports: &[Result<Pushed, Rejection>],
        now: Instant,
    ) -> (Vec<Result<(), Rejection>>, Vec<Event>) {
        let (mut outcomes, mut events) = (Vec::new(), Vec::new());
        let mut reports = reports.iter().peekable();
        while reports.peek().is_some() {
            let mut known = self.known();
            known.now = known.now.max(now);
            let (mut effect, mut looked_at) = (Effect::default(), 0);
            while looked_at < ENDPOINTS_AT_ONCE
                && let Some(report) = reports.next()
            {
                let touched = effect.touched.len();
                outcomes.push(known.table.push(report, now, &mut effect));
                looked_at += 1 + effect.touched.len() - touched;
            }
            events.extend(known.tell(&effect, &"the admin interface"));
            self.publish_what_is_urgent(&mut known, &self.current(), &effect.touched, &[]);
            events.append(&mut known.unsaid);
        }
        (outcomes, events)
    }

    /// Does what time alone does: endpoints warm up, open breakers are tried, reports grow too old, and drains begin and end.
    /// Publishes the lists in which that changes anything, and those in which only loads have changed since. To be called once per
    /// second, with the time in seconds since 1970 too, and followed by [`Self::follow_demand`].
    pub fn tick(&self, now: Instant, unix_seconds: u32) -> Vec<Event> {
        let mut events = Vec::new();
        let mut changed = Vec::new();
        let mut next = 0;
        let (mut is_torn, mut ends_drain) = (false, false);
        let begun = self.current();
        let _tear = Tear(self);
        loop {
            let mut known = self.known();
            if !is_same_configuration(&self.current().compiled, &begun.compiled) {
                // All its lists were just laid out.
                return events;
            }
            known.now = known.now.max(now);
            let before = std::mem::replace(&mut known.unix_seconds, unix_seconds);
            ends_drain |= known.has_ended_drain_of_service(&begun.compiled, before);
            if next == 0 {
                is_torn = std::mem::take(&mut known.is_torn);
                if is_torn {
                    known.is_restless.fill(true);
                }
                let (doubt, ruled) = known.table.look_after(now);
                events.extend(doubt.map(Event::Doubt));
                let ruled = known.take_at_once(ruled);
                self.publish_what_is_urgent(&mut known, &self.current(), &ruled, &[]);
            }
            events.append(&mut known.unsaid);
            let restless: Vec<u32> = known.restless_from(next).take(ENDPOINTS_AT_ONCE).collect();
            let Some(last) = restless.last() else { break };
            next = last + 1;
            let changes = known.table.advance(&restless, now);
            events.extend(changes.into_iter().filter_map(|change| breaker_event(&known.table, change)));
            changed.extend(known.look_again(&begun.compiled, &restless));
            if is_torn {
                changed.extend(restless);
            }
            events.append(&mut known.unsaid);
        }
        self.flows_due.notify_one();
        let (current, standings) = self.current_with_standings();
        let is_same = |snapshot: &Snapshot| is_same_configuration(&snapshot.compiled, &begun.compiled);
        // Some depend on others, which are looked at in another part.
        changed.sort_unstable();
        changed.dedup();
        let is_due = current.live.is_due(now);
        if !is_same(&current) || changed.is_empty() && !is_due && !ends_drain {
            return events;
        }
        let live = current.live.updated(&current.compiled, |endpoint| at(&standings, endpoint), &changed, now);
        let known = self.known();
        let latest = self.current();
        if is_same(&latest) {
            let mut live = live.beside(&current.live, &latest.live);
            // Lists of services follow what adaptive balances choose, too.
            let changed = Some(&*changed).filter(|_| !is_due && !ends_drain);
            known.obey_on_services(&latest.compiled, &mut live, changed);
            self.store(Arc::clone(&latest.compiled), live);
        }
        events
    }

    /// Measures demand and makes anew where clients go by load, and publishes that if it moves enough of them. What takes long of
    /// it is done beside the publications of health: until it is done, clients who were to go to a region that died go to
    /// the next that lives. To be called at [`Self::flows_due`].
    pub fn follow_demand(&self, now: Instant) {
        let compiled = Arc::clone(&self.current().compiled);
        if !is_steered_by_load(&compiled) {
            // What was measured is forgotten.
            self.controller().measure(&compiled, &|_| Standing::UNPROBED, now);
            return;
        }
        let mut controller = self.controller();
        let (current, standings) = self.current_with_standings();
        let standing = |endpoint| at(&standings, endpoint);
        controller.measure(&current.compiled, &standing, now);
        let flows = controller.flows(&current.compiled, &current.live, &standing);
        if flows.is_like(current.live.flows()) {
            return;
        }
        let _known = self.known();
        // Of the same configuration, as whoever replaces that waits for the controller.
        let latest = self.current();
        let mut live = latest.live.clone();
        live.set_flows(flows);
        self.store(Arc::clone(&latest.compiled), live);
    }

    /// Waits until [`Self::follow_demand`] is to be called: health or the configuration changed, or a tick passed.
    pub async fn flows_due(&self) {
        self.flows_due.notified().await;
    }

    /// Publishes what has changed of these endpoints, of whose targets these turned, but for loads that lists are laid out by, which
    /// wait for the next tick. Returns whether there was anything.
    fn publish_what_is_urgent(
        &self,
        known: &mut Known,
        current: &Snapshot,
        touched: &[u32],
        turned: &[(TargetId, Transition)],
    ) -> bool {
        let compiled = &current.compiled;
        let mut urgent = vec![];
        for endpoint in known.settle(touched, turned) {
            let index = endpoint as usize;
            let new = known.standing_now(compiled, endpoint);
            let Some(old) = known.standings.get(index) else { continue };
            let is_urgent = differ(&new, old);
            let reads_load = known.reads_load[index];
            known.is_restless[index] = reads_load || known.moves(endpoint, &new);
            if (is_urgent || !reads_load) && new != *old {
                known.standings.set(index, new);
            }
            if is_urgent {
                urgent.push(endpoint);
            }
        }
        if !urgent.is_empty() {
            urgent.sort_unstable();
            let mut live = current.live.updated(compiled, |endpoint| known.standing(endpoint), &urgent, known.now);
            known.obey_on_services(compiled, &mut live, Some(&urgent));
            self.store(Arc::clone(compiled), live);
            self.flows_due.notify_one();
        }
        !urgent.is_empty()
    }

    /// How many targets there are, and of how many of them nothing is known yet.
    pub fn targets(&self) -> (usize, usize) {
        let known = self.known();
        (known.table.targets().len(), known.table.unknown())
    }

    /// What operators say now.
    pub fn overrides(&self) -> Arc<Overrides> {
        Arc::clone(&self.known().overrides)
    }

    /// Lets what operators say count from `now` on, in place of what they said before, and publishes what follows. One at a time is
    /// to call this.
    pub fn obey(&self, overrides: &Arc<Overrides>, now: Instant) {
        loop {
            // Found out before anyone has to wait for it.
            let (begun, table) = self.current_with_health();
            let said = table.said_otherwise(overrides);
            let service_words = service_words(&begun.compiled, overrides);
            let mut known = self.known();
            known.overrides = Arc::clone(overrides);
            let current = self.current();
            if !is_same_configuration(&current.compiled, &begun.compiled) {
                continue;
            }
            known.now = known.now.max(now);
            let now = known.now;
            let touched = known.table.obey(&said, now);
            let concerns_services = known.service_words != service_words;
            known.service_words = service_words;
            self.publish_what_is_urgent(&mut known, &current, &touched, &[]);
            if concerns_services {
                let current = self.current();
                let mut live = current.live.clone();
                // Of endpoints nothing changed since; those services are laid out of which something else is said.
                known.obey_on_services(&current.compiled, &mut live, Some(&[]));
                self.store(Arc::clone(&current.compiled), live);
            }
            return;
        }
    }

    /// Goes on with what was so before the server started, as far as nothing was observed yet, and returns of how many targets.
    pub fn restore(&self, past: impl FnOnce(&Table) -> Past, now: Instant) -> usize {
        let mut known = self.known();
        known.now = known.now.max(now);
        let past = past(&known.table);
        let restored = known.table.restore(&past, now);
        let unsaid = known.unsaid.len();
        let current = self.current();
        let all: Vec<u32> = (0..current.compiled.endpoints.len() as u32).collect();
        self.publish_what_is_urgent(&mut known, &current, &all, &[]);
        // That they are as before is no news.
        known.unsaid.truncate(unsaid);
        restored
    }

    /// Lets what is held down of a subject come up as soon as its probes say so, and publishes what follows. Returns how many targets
    /// those are, and what there is to say.
    pub fn resume(&self, subject: &Subject, now: Instant) -> (usize, Vec<Event>) {
        let mut known = self.known();
        known.now = known.now.max(now);
        let current = self.current();
        let resumed = known.table.resume(&current.compiled.endpoints_under(subject), now);
        let (mut touched, mut turned) = (Vec::new(), Vec::new());
        let mut events = Vec::new();
        for (id, transition) in &resumed {
            let of_target = known.table.endpoints().of_target(*id);
            touched.extend(of_target);
            if let (Some(transition), Some(target)) = (transition, known.table.get(*id)) {
                turned.push((*id, *transition));
                events.push(Event::Verdict(Change {
                    transition: *transition,
                    target: target.key.to_string(),
                    endpoints: places(&current.compiled, of_target),
                    reason: target.decided_by.as_deref().unwrap_or_default().to_owned(),
                }));
            }
        }
        if !turned.is_empty() {
            events.extend(known.doubt(&mut touched, now));
        }
        self.publish_what_is_urgent(&mut known, &current, &touched, &turned);
        events.append(&mut known.unsaid);
        (resumed.len(), events)
    }

    /// Publishes the next generation. What is known is locked meanwhile, so that there is one writer.
    fn store(&self, compiled: Arc<Compiled>, live: Live) -> Arc<Snapshot> {
        let next = Arc::new(Snapshot { generation: self.published.load().generation + 1, compiled, live });
        self.published.store(Arc::clone(&next));
        next
    }
}

/// Has everything laid out anew by the next tick where this one breaks off, whose findings are lost then.
struct Tear<'p>(&'p Publisher);

impl Drop for Tear<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.known().is_torn = true;
        }
    }
}

impl Known {
    fn new(
        compiled: &Compiled,
        mut table: Table,
        overrides: Arc<Overrides>,
        drains: Drains,
        (now, unix_seconds): (Instant, u32),
    ) -> Self {
        let said = table.said_otherwise(&overrides);
        table.obey(&said, now);
        table.rule_on_all(now);
        let mut known = Self {
            table,
            service_words: service_words(compiled, &overrides),
            overrides,
            drains: Arc::new(drains),
            standings: Chunks::default(),
            reads_load: reads_load(compiled),
            is_restless: vec![true; compiled.endpoints.len()],
            now,
            unix_seconds,
            told: HashMap::new(),
            is_torn: false,
            behind: Vec::new(),
            unsaid: Vec::new(),
        };
        let endpoints: Vec<u32> = (0..compiled.endpoints.len() as u32).collect();
        known.settle(&endpoints, &[]);
        known.standings = endpoints.into_iter().map(|endpoint| known.standing_now(compiled, endpoint)).collect();
        known
    }

    /// What is known of the endpoints of another configuration, and its lists without flows.
    fn replaced(&self, current: &Snapshot, compiled: &Compiled) -> (Self, Live) {
        if is_same_configuration(&current.compiled, compiled) {
            return (self.clone(), current.live.clone());
        }
        let table = self
            .table
            .rebuilt(compiled.targets.iter().cloned(), placed(compiled))
            .guarded(&compiled.config.safety, &compiled.canaries);
        let drains = Drains::new(compiled, Some((&current.compiled, &self.drains)), self.unix_seconds);
        let told = self.told.clone();
        let (overrides, now) = (Arc::clone(&self.overrides), (self.now, self.unix_seconds));
        let mut known = Self { told, ..Self::new(compiled, table, overrides, drains, now) };
        known.unsaid.splice(..0, self.unsaid.iter().cloned());
        let before = Some((current.compiled.as_ref(), &current.live));
        let mut live = Live::build(compiled, |endpoint| known.standing(endpoint), before, known.now);
        known.obey_on_services(compiled, &mut live, None);
        (known, live)
    }

    /// What lists are made of.
    fn standing(&self, endpoint: u32) -> Standing {
        at(&self.standings, endpoint)
    }

    /// The restless endpoints from an index on.
    fn restless_from(&self, first: u32) -> impl Iterator<Item = u32> {
        let is_restless = self.is_restless.get(first as usize..).unwrap_or_default();
        (first..).zip(is_restless).filter_map(|(endpoint, is_restless)| is_restless.then_some(endpoint))
    }

    /// Judges whether the prober suspects itself, as targets of these endpoints turned. Adds those that are to be settled beside them,
    /// and returns what there is to say.
    fn doubt(&mut self, touched: &mut Vec<u32>, now: Instant) -> Option<Event> {
        let (doubt, ruled) = self.table.doubt(touched, now);
        touched.extend(self.take_at_once(ruled));
        doubt.map(Event::Doubt)
    }

    /// As many of these endpoints as are settled at once; the others are left for later.
    fn take_at_once(&mut self, mut endpoints: Vec<u32>) -> Vec<u32> {
        let later = endpoints.split_off(endpoints.len().min(ENDPOINTS_AT_ONCE));
        for index in &later {
            if let Some(is_restless) = self.is_restless.get_mut(*index as usize) {
                *is_restless = true;
            }
        }
        self.behind.extend(later);
        endpoints
    }

    /// Lets what is known of these endpoints count, of whose targets these turned, and whether their drains have begun; and keeps what
    /// there is to say of that. Returns all that were looked at.
    fn settle(&mut self, endpoints: &[u32], turned: &[(TargetId, Transition)]) -> Vec<u32> {
        let has_begun = |index| matches!(self.drains.of(index, self.unix_seconds), Drain::UnderWay | Drain::Over);
        let mut touched = self.table.drain(endpoints.iter().map(|index| (*index, has_begun(*index))), self.now);
        touched.extend(endpoints);
        let Settled { looked_at, turns } = self.table.settle(&touched, self.now);
        self.unsaid.extend(event::of_endpoints(&self.table, turns, turned));
        looked_at
    }

    /// Brings the standings of these endpoints up to date, and returns those in which something changed that lists are made of.
    fn look_again(&mut self, compiled: &Compiled, endpoints: &[u32]) -> Vec<u32> {
        let mut changed = Vec::new();
        for endpoint in self.settle(endpoints, &[]) {
            let index = endpoint as usize;
            let (new, old) = (self.standing_now(compiled, endpoint), self.standing(endpoint));
            let reads_load = self.reads_load[index];
            if new != old {
                self.standings.set(index, new);
            }
            if differ(&new, &old) || reads_load && new.load != old.load {
                changed.push(endpoint);
            }
            self.is_restless[index] = self.moves(endpoint, &new);
        }
        changed
    }

    /// Whether time alone may change a standing: a breaker will be tried, a drain begins or ends, and what is said of load grows too
    /// old. How long probes take does not count where no list reads it.
    fn moves(&self, endpoint: u32, standing: &Standing) -> bool {
        let reads_load = self.reads_load[endpoint as usize];
        standing.settles
            || self.table.endpoints().get(endpoint).is_some_and(EndpointHealth::is_tripped)
            || self.drains.moves(endpoint, self.unix_seconds)
            || matches!(standing.drain, Drain::Planned(_) | Drain::UnderWay)
            || standing.load.values().any(|(measure, _)| reads_load || measure != Measure::ResponseMs)
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

    /// What is known of an endpoint.
    fn standing_now(&self, compiled: &Compiled, index: u32) -> Standing {
        let Some(known) = self.table.endpoints().get(index) else { return Standing::UNPROBED };
        let found = self.table.found(known, self.now);
        // An operator's word, and what is held, wait for no run.
        let flip = found.soonest_change.filter(|_| known.word().is_none() && known.held().is_none());
        let standing = Standing {
            verdict: known.verdict(),
            flip_seconds: flip.map(|left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX)),
            share: known.share(&found, self.now, WHOLE),
            load: known.load(&found, self.now).rounded(),
            drain: self.drains.of(index, self.unix_seconds),
            settles: known.settles(self.now),
            is_said: known.word().is_some(),
        };
        let drain_seconds = compiled.endpoints.get(index as usize).map_or(0, |endpoint| endpoint.drain_seconds);
        standing.under(known.operators(), drain_seconds, self.unix_seconds)
    }

    /// Whether a drain that a word on a service began is over now and wasn't in that second, or the other way round.
    fn has_ended_drain_of_service(&self, compiled: &Compiled, before: u32) -> bool {
        self.service_words.iter().any(|ServiceWord { service, said }| {
            let pools = compiled.services[*service].tiers.iter().map(|tier| tier.pool);
            let drain_seconds = pools.filter_map(|pool| {
                compiled.endpoints.get(compiled.endpoints_of(pool).start as usize).map(|first| first.drain_seconds)
            });
            let mut ends = drain_seconds.filter_map(|drain_seconds| said.drain_ends(drain_seconds));
            ends.any(|ends| (ends <= before.into()) != (ends <= self.unix_seconds.into()))
        })
    }

    /// Lays out the lists of services that a word is on, where that is another, or these endpoints, or any, changed.
    fn obey_on_services(&self, compiled: &Compiled, live: &mut Live, changed: Option<&[u32]>) {
        let now = (self.now, self.unix_seconds);
        live.obey(compiled, &self.service_words, |endpoint| self.standing(endpoint), changed, now);
    }
}

/// The words on services.
fn service_words(compiled: &Compiled, overrides: &Overrides) -> Arc<[ServiceWord]> {
    let words = overrides.words();
    if !words.is_any_on_services() {
        return Arc::default();
    }
    let services = compiled.config.services.iter().enumerate();
    let word = |(service, of): (usize, &Service)| {
        let word = words.of_service(&of.name.to_string())?;
        Some(ServiceWord { service, said: Said::from(word) })
    };
    services.filter_map(word).collect()
}

fn at(standings: &Chunks<Standing>, endpoint: u32) -> Standing {
    standings.get(endpoint as usize).copied().unwrap_or(Standing::UNPROBED)
}

/// Whether two differ in geography alone, so that targets, endpoints and layouts are the same: they are of the same reading.
fn is_same_configuration(a: &Compiled, b: &Compiled) -> bool {
    Arc::ptr_eq(&a.config.source, &b.config.source)
}

fn is_steered_by_load(compiled: &Compiled) -> bool {
    compiled.services.iter().any(|service| matches!(service.steering, Steering::Load(_)))
}

/// Whether two standings differ in more than load.
fn differ(new: &Standing, old: &Standing) -> bool {
    *new != Standing { load: new.load, ..*old }
}

/// Whether any list that an endpoint is in is laid out by loads, by endpoint.
fn reads_load(compiled: &Compiled) -> Arc<[bool]> {
    let mut reads_load = vec![false; compiled.endpoints.len()];
    for layout in compiled.layouts.iter().filter(|layout| layout.balance.reads_load()) {
        let endpoints = &compiled.groups[layout.group as usize].endpoints;
        reads_load[endpoints.start as usize..endpoints.end as usize].fill(true);
    }
    reads_load.into()
}

/// For each pool a number that is greater than that of every pool that its health depends on.
fn ranks(pools: &[Pool]) -> Vec<u16> {
    let mut ranks = vec![0_u16; pools.len()];
    loop {
        let before = ranks.clone();
        for (index, pool) in pools.iter().enumerate() {
            ranks[index] = pool.health.pools().map(|input| ranks[input].saturating_add(1)).max().unwrap_or(0);
        }
        // There are no loops, so this ends.
        if ranks == before {
            return ranks;
        }
    }
}

/// The endpoints with their identity and the rules of their pool, by index.
fn placed(compiled: &Compiled) -> impl Iterator<Item = Placed> {
    let config = &compiled.config;
    let mut dependents = vec![Vec::new(); config.pools.len()];
    for (other, pool) in config.pools.iter().enumerate() {
        let inputs: BTreeSet<usize> = pool.health.pools().collect();
        inputs.into_iter().for_each(|input| dependents[input].push(compiled.endpoints_of(other)));
    }
    let ranks = ranks(&config.pools);
    let pools = config.pools.iter().enumerate().map(|(index, pool)| {
        let intervals = pool.health.probes().map(|probe| config.probes[probe].timing.interval * 3);
        let by_probe = intervals.max().unwrap_or_default();
        let leads_by = pool.breaker.and(pool.health.only_probe()).map(|probe| {
            let timing = &config.probes[probe].timing;
            timing.interval * u32::from(timing.fall)
        });
        let rules = Rules {
            load_max_age: pool.load_max_age.unwrap_or(by_probe.max(Pool::LOAD_MAX_AGE)),
            health_weighted: pool.health_weighted,
            slow_start: pool.slow_start,
            breaker: pool.breaker,
            health: pool.health.clone(),
            min_healthy: pool.min_healthy,
            endpoints: compiled.endpoints_of(index),
            dependents: std::mem::take(&mut dependents[index]),
            rank: ranks[index],
            breaker_leads_by: leads_by.unwrap_or_default(),
        };
        (Arc::<str>::from(pool.name.as_str()), Arc::new(rules))
    });
    let pools: Vec<_> = pools.collect();
    let regions: Vec<Arc<str>> = config.regions.iter().map(|region| Arc::from(region.name.as_str())).collect();
    (0..).zip(&compiled.groups).flat_map(move |(index, group)| {
        let (pool, rules) = pools[group.pool].clone();
        let region = Arc::clone(&regions[usize::from(group.region)]);
        let endpoints = &compiled.endpoints[group.endpoints.start as usize..group.endpoints.end as usize];
        endpoints.iter().map(move |endpoint| Placed {
            pool: Arc::clone(&pool),
            region: Arc::clone(&region),
            destination: endpoint.destination.clone(),
            region_index: group.region,
            group: index,
            is_enabled: endpoint.state == EndpointState::Enabled && endpoint.weight > 0,
            inputs: endpoint.inputs.clone(),
            rules: Arc::clone(&rules),
        })
    })
}

fn breaker_event(table: &Table, (endpoint, transition): (u32, breaker::Transition)) -> Option<Event> {
    let placed = &table.endpoints().get(endpoint)?.placed;
    Some(Event::Breaker(BreakerChange { transition, endpoint: placed.to_string() }))
}

/// The pools and regions of these endpoints, which are in the order of their indices.
fn places(compiled: &Compiled, endpoints: &[u32]) -> Vec<String> {
    let config = &compiled.config;
    let mut groups: Vec<usize> = endpoints
        .iter()
        .map(|endpoint| compiled.groups.partition_point(|group| group.endpoints.end <= *endpoint))
        .collect();
    groups.dedup();
    let groups = groups.into_iter().filter_map(|group| compiled.groups.get(group));
    groups
        .map(|group| format!("{}/{}", config.pools[group.pool].name, config.regions[usize::from(group.region)].name))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::health::overrides::{Override, Word};
    use crate::health::{Details, Failure, Verdict};
    use crate::reload::{Loader, Origin};
    use crate::routing::{Draw, Family, Health, Outcome, decide};

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
    fn what_verdicts_take_to_the_answers_is_counted() {
        let publisher = Publisher::new(compiled(CONFIGURATION));
        let count = || publisher.verdict_delays().counts.iter().sum::<u64>();
        let near = [192, 0, 2, 1];
        let counts = [true, true, false, false].map(|success| {
            observe(&publisher, near, success);
            count()
        });
        assert_eq!(counts, [1, 1, 1, 1], "the first result decides, and two failures do not");
        let wanted = crate::config::Target::Address(IpAddr::from(near));
        let key = publisher.health().keys().find(|key| key.target == wanted).unwrap();
        let outcome = Err(Failure::Refused);
        let observation = Observation { took: Duration::ZERO, address: None, outcome, details: Details::default() };
        let before = publisher.verdict_delays().sum;
        publisher.observe([(key, observation)], Instant::now().checked_sub(Duration::from_secs(7)).unwrap());
        assert_eq!(count(), 2);
        assert!(publisher.verdict_delays().sum - before >= Duration::from_secs(7), "since it was made");
    }

    #[test]
    fn a_verdict_does_not_wait_for_flows() {
        let by_load = format!("{CONFIGURATION}steering = \"load\"\n")
            .replace("location = [50, 8]", "location = [50, 8]\ncapacity = 100")
            .replace("location = [40, -77]", "location = [40, -77]\ncapacity = 100");
        let publisher = Publisher::new(compiled(&by_load));
        let (near, far) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let flows = || {
            let snapshot = publisher.current();
            let Steering::Load(load) = &snapshot.compiled.services[0].steering else { panic!("steered by load") };
            let (order, _) = snapshot.compiled.maps[load.map].lookup(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99)));
            let way = snapshot.live.flows().way(load.index, load.class(order, Family::V4));
            way.steps.iter().map(|step| step.region).collect::<Vec<u16>>()
        };
        assert_eq!((answer(&publisher).0, flows()), (near.into(), vec![0]));
        // Somebody finds out where clients go meanwhile.
        let busy = publisher.controller();
        assert_eq!(observe(&publisher, near, false).len(), 1);
        publisher.tick(Instant::now(), 0);
        assert_eq!((answer(&publisher).0, flows()), (far.into(), vec![0]), "what died is passed over");
        assert_eq!(observe(&publisher, far, true).len(), 1);
        drop(busy);
        publisher.follow_demand(Instant::now());
        assert_eq!((answer(&publisher).0, flows()), (far.into(), vec![1]));
    }

    /// Endpoints of a pool whose breakers open at once, where connections count.
    fn many(count: u32) -> String {
        let endpoint =
            |host: u32| format!("{{ region = \"near\", address = \"{}\" }}", Ipv4Addr::from_bits(10 << 24 | host));
        let endpoints: Vec<String> = (0..count).map(endpoint).collect();
        CONFIGURATION.replace("ttl = {", "balance = \"least-connections\"\nttl = {").replace(
            "endpoints = [{ region = \"near\", address = \"192.0.2.1\" }",
            &format!("breaker = {{ failures = 1 }}\nendpoints = [{}", endpoints.join(",")),
        )
    }

    #[test]
    fn what_comes_in_great_numbers_is_taken_in_parts() {
        let publisher = Publisher::new(compiled(&many(2_500)));
        let generations = |work: &dyn Fn() -> usize| {
            let before = publisher.current().generation;
            (work(), publisher.current().generation - before)
        };
        let keys: Vec<_> = publisher.health().keys().collect();
        assert_eq!(keys.len(), 2_501);
        let observed = generations(&|| {
            let observation = |key: &Arc<TargetKey>| {
                let took = Duration::from_millis(1);
                (Arc::clone(key), Observation { took, address: None, outcome: Ok(()), details: Details::default() })
            };
            publisher.observe(keys.iter().map(observation), Instant::now()).len()
        });
        // Each observation and its endpoint are two of a thousand.
        assert_eq!(observed, (2_501, 6));
        let pushed = generations(&|| {
            let report = |host: u32| {
                let endpoint = Ipv4Addr::from_bits(10 << 24 | host).to_string();
                Ok(Pushed { pool: "web".to_owned(), endpoint, failures: 1, ..Pushed::default() })
            };
            let reports: Vec<_> = (0..2_500).map(report).collect();
            let (outcomes, events) = publisher.push(&reports, Instant::now());
            assert!(outcomes.len() == 2_500 && outcomes.iter().all(Result::is_ok));
            events.len()
        });
        assert_eq!(pushed, (2_500, 5));
        // All breakers are tried: one publication for all, though they are looked at in parts.
        let later = Instant::now() + Duration::from_secs(3600);
        assert_eq!(generations(&|| publisher.tick(later, 0).len()), (2_500, 1));
    }

    #[test]
    fn what_a_doubt_gives_back_in_great_numbers_is_given_back_in_parts() {
        let text = many(2_500).replace("breaker = { failures = 1 }\n", "").replace("fall = 3", "fall = 1");
        for is_for_the_tick in [false, true] {
            let publisher = Publisher::new(compiled(&text));
            let keys: Vec<_> = publisher.health().keys().collect();
            let observe = |outcome: Result<(), Failure>| {
                let observation = |key: &Arc<TargetKey>| {
                    let (took, outcome) = (Duration::from_millis(1), outcome.clone());
                    (Arc::clone(key), Observation { took, address: None, outcome, details: Details::default() })
                };
                // The last is in the other region.
                publisher.observe(keys.iter().rev().map(observation), Instant::now())
            };
            observe(Ok(()));
            let events = observe(Err(Failure::Refused));
            assert!(events.iter().any(|event| matches!(event, Event::Doubt(_))));
            let down = || {
                let health = publisher.health();
                health.endpoints().all().iter().filter(|known| known.verdict() == Verdict::Down).count()
            };
            let left = down();
            assert!((1..=1_000).contains(&left), "{left}");
            if is_for_the_tick {
                publisher.tick(Instant::now(), 0);
            } else {
                let (is_left, events) = publisher.catch_up();
                assert!(!is_left && !events.is_empty());
                assert_eq!(publisher.catch_up(), (false, Vec::new()));
            }
            assert_eq!(down(), 0);
            let current = publisher.current();
            assert_eq!(current.live.candidates(0, Family::V4).list.len(), 2_500);
        }
    }

    #[test]
    fn who_asks_for_what_is_known_again_comes_after_those_who_wait() {
        let publisher = Publisher::new(compiled(CONFIGURATION));
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let one_part = publisher.known();
            scope.spawn(|| {
                let _other = publisher.known();
                order.lock().unwrap().push("other");
            });
            let deadline = Instant::now() + Duration::from_secs(10);
            while publisher.turn.try_lock().is_ok() {
                assert!(Instant::now() < deadline, "nobody waits");
                std::thread::yield_now();
            }
            drop(one_part);
            let _next_part = publisher.known();
            order.lock().unwrap().push("next part");
        });
        assert_eq!(order.into_inner().unwrap(), ["other", "next part"]);
    }

    #[test]
    fn a_word_on_a_service_lays_out_its_lists_alone() {
        let text = format!("{CONFIGURATION}[services.\"other.example.com\"]\npool = \"web\"\n");
        let publisher = Publisher::new(compiled(&text));
        let say = |words: &[&str]| {
            let mut overrides = Overrides::default();
            for name in words {
                let (reason, author) = ("because".to_owned(), "me".to_owned());
                let subject = Subject::Service((*name).to_owned());
                let said = Override { subject, word: Word::Down, reason, author, since: 0, expires: None };
                overrides.set(said).unwrap();
            }
            publisher.obey(&Arc::new(overrides), Instant::now());
            publisher.current()
        };
        let list = |snapshot: &Snapshot, service: usize| {
            let of = &snapshot.compiled.services[service];
            std::ptr::from_ref(snapshot.live.candidates_of(of, 0, of.tiers[0].first_layout, Family::V4))
        };
        let one = say(&["www.example.com"]);
        let both = say(&["www.example.com", "other.example.com"]);
        assert_eq!([0, 1].map(|service| list(&one, service) == list(&both, service)), [true, false]);
        let other = say(&["other.example.com"]);
        assert_eq!([0, 1].map(|service| list(&both, service) == list(&other, service)), [false, true]);
    }

    #[test]
    fn what_broke_off_in_the_middle_is_put_right_by_the_next_tick() {
        let publisher = Publisher::new(compiled(&CONFIGURATION.replace("fall = 3", "fall = 1")));
        let (near, far) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        observe(&publisher, near, true);
        observe(&publisher, far, true);
        let wanted = crate::config::Target::Address(IpAddr::from(near));
        let key = publisher.health().keys().find(|key| key.target == wanted).unwrap();
        let observation = Observation {
            took: Duration::from_millis(1),
            address: None,
            outcome: Err(Failure::Refused),
            details: Details::default(),
        };
        let mut given = Some((key, observation));
        let breaks_off = std::iter::from_fn(|| Some(given.take().expect("a defect")));
        let observing = std::panic::AssertUnwindSafe(|| publisher.observe(breaks_off, Instant::now()));
        std::panic::catch_unwind(observing).unwrap_err();
        assert_eq!(answer(&publisher).0, IpAddr::from(near), "what was found was not published");
        publisher.tick(Instant::now(), 0);
        assert_eq!(answer(&publisher).0, IpAddr::from(far));
        let generation = publisher.current().generation;
        publisher.tick(Instant::now(), 0);
        assert_eq!(publisher.current().generation, generation, "once");
        observe(&publisher, near, true);
        observe(&publisher, near, true);
        assert_eq!(answer(&publisher).0, IpAddr::from(near), "it goes on");
    }

    #[test]
    fn what_a_tick_changes_of_other_pools_is_laid_out_too() {
        // Those whose breakers are open are looked at in parts, and what depends on them comes after all of them.
        let text = many(2_500).replace("{ region = \"far\", address = \"192.0.2.2\" }", "")
            + "[pools.front]\nhealth = [{ pool = \"web\" }]\n\
               endpoints = [{ region = \"near\", address = \"192.0.2.7\" }]\n\
               [services.\"front.example.com\"]\npool = \"front\"\nwhen_all_down = \"nodata\"\n";
        let publisher = Publisher::new(compiled(&text));
        let reports: Vec<_> = (0..2_500)
            .map(|host: u32| {
                let endpoint = Ipv4Addr::from_bits(10 << 24 | host).to_string();
                Ok(Pushed { pool: "web".to_owned(), endpoint, failures: 1, ..Pushed::default() })
            })
            .collect();
        publisher.push(&reports, Instant::now());
        let front = || {
            let snapshot = publisher.current();
            let index =
                snapshot.compiled.config.services.iter().position(|it| it.name.to_string().starts_with("front"));
            let service = &snapshot.compiled.services[index.unwrap()];
            snapshot.live.candidates(service.tiers[0].first_layout, Family::V4).health == Health::Enough
        };
        assert!(!front(), "all breakers are open");
        publisher.tick(Instant::now() + Duration::from_secs(3600), 0);
        assert!(front(), "they are tried");
    }

    #[test]
    fn lists_that_others_published_meanwhile_stay() {
        let publisher = Publisher::new(compiled(&CONFIGURATION.replace("fall = 3", "fall = 1")));
        let (near, far) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let before = publisher.current();
        let health = |live: &Live| [0, 1].map(|layout| live.candidates(layout, Family::V4).health == Health::Enough);
        assert_eq!(health(&before.live), [true, true]);
        // Far is laid out while near dies.
        let dead = Standing { share: 0, ..Standing::UNPROBED };
        let own = before.live.updated(&before.compiled, |_| dead, &[1], Instant::now());
        assert_eq!(health(&own), [true, false]);
        observe(&publisher, near, false);
        let latest = publisher.current();
        assert_eq!(health(&latest.live), [false, true]);
        assert_eq!(health(&own.clone().beside(&before.live, &latest.live)), [false, false]);
        // What others published of the same list is newer.
        observe(&publisher, far, true);
        assert_eq!(health(&own.beside(&before.live, &publisher.current().live)), [false, true]);
    }

    #[test]
    fn round_robin_goes_on_over_a_reload() {
        let configuration = CONFIGURATION.replace("far\", address = \"192.0.2.2", "near\", address = \"192.0.2.2")
            + "balance = \"round-robin\"\n[services.\"a.example.com\"]\npool = \"web\"\n";
        let publisher = Publisher::new(compiled(&configuration));
        let stands = |of: &str| {
            let snapshot = publisher.current();
            let mut services = snapshot.compiled.config.services.iter();
            let index = services.position(|service| service.name.to_string().trim_end_matches('.') == of);
            let rotations = &snapshot.compiled.services[index.unwrap()].rotations;
            rotations.iter().map(|rotation| rotation.load(Ordering::Relaxed)).collect::<Vec<u32>>()
        };
        let before = publisher.current();
        let rotations = &before.compiled.services[0].rotations;
        [7, 9].into_iter().zip(rotations).for_each(|(stands, it)| it.store(stands, Ordering::Relaxed));
        // The pool gets a region ahead of the one that it has, and another service comes first.
        let changed = configuration
            .replace("endpoints = [", "endpoints = [{ region = \"ahead\", address = \"192.0.2.9\" },")
            .replace("[regions.near]", "[regions.ahead]\nlocation = [0, 0]\n[regions.near]")
            .replace("[services.\"www.", "[services.\"0.example.com\"]\npool = \"web\"\n[services.\"www.");
        publisher.replace(compiled(&changed));
        assert_eq!(stands("www.example.com"), [0, 0, 7, 9]);
        assert_eq!(stands("0.example.com"), [0; 4]);
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
