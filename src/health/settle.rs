//! From what inputs say to what counts: composite health, the limits on what is taken away, and self-suspicion.
//!
//! ```text
//! machines of targets ─┐
//! health of pools ─────┴─combine─▶ found ──guard──▶ ruled ──operator's word──▶ verdict ──▶ lists, history
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::composite::{Said, combine};
use super::endpoint::{Change, EndpointHealth, Endpoints, Found, Input, Placed, Rules, Score};
use super::guard::{Claim, Guard, Held, Ruling};
use super::overrides::{self, Overrides};
use super::suspicion::{Doubt, Sight, Suspicion};
use super::{Chunks, Hold, Observation, Table, TargetHealth, TargetId, Transition, Verdict};
use crate::config::health::MAX_INPUTS;
use crate::config::{HealthInput, Safety};

/// What is remembered for that beside targets and endpoints.
#[derive(Debug, Clone)]
pub(super) struct Settling {
    pub(super) safety: Arc<Safety>,
    pub(super) guard: Guard,
    pub(super) suspicion: Suspicion,
    canaries: Arc<[TargetId]>,
    /// Whether each group can serve.
    serving: Arc<[bool]>,
    /// Pools of which the guard holds any endpoint, by their first endpoint.
    holding: BTreeSet<u32>,
    /// Memory for what the guard is asked, which is much where a pool is large, and is needed often.
    claims: Vec<(Claim, Ruling)>,
    /// Targets for endpoints, those of them that have a verdict, and those that are down.
    targets: usize,
    judged: usize,
    down: usize,
    /// When these targets were first looked after.
    began: Option<Instant>,
}

impl Default for Settling {
    fn default() -> Self {
        Self {
            safety: Arc::new(Safety::DEFAULT),
            guard: Guard::default(),
            suspicion: Suspicion::default(),
            canaries: Arc::default(),
            serving: Arc::default(),
            holding: BTreeSet::new(),
            claims: Vec::new(),
            targets: 0,
            judged: 0,
            down: 0,
            began: None,
        }
    }
}

impl Settling {
    /// For another generation with these targets, of which `id` tells which one a target is now. The guard is to be asked about all
    /// pools then.
    pub(super) fn rebuilt(
        &self,
        targets: &Chunks<TargetHealth>,
        id: impl Fn(TargetId) -> Option<TargetId>,
        endpoints: &Endpoints,
    ) -> Self {
        let acting = |index: &u32| !endpoints.of_target(TargetId(*index)).is_empty();
        let count = |is: fn(Verdict) -> bool| {
            let targets = (0..).zip(targets.iter()).filter(|(index, _)| acting(index));
            targets.filter(|(_, target)| is(target.machine.verdict())).count()
        };
        Self {
            safety: Arc::clone(&self.safety),
            guard: self.guard.clone(),
            suspicion: self.suspicion.renumbered(|target| id(target).filter(|target| acting(&target.0))),
            canaries: self.canaries.iter().filter_map(|canary| id(*canary)).collect(),
            serving: (0..endpoints.groups() as u32).map(|group| endpoints.can_serve(group)).collect(),
            holding: BTreeSet::new(),
            claims: Vec::new(),
            targets: count(|_| true),
            judged: count(|verdict| verdict != Verdict::Unknown),
            down: count(|verdict| verdict == Verdict::Down),
            began: None,
        }
    }

    /// Takes note of a target's change.
    pub(super) fn turned(&mut self, target: TargetId, transition: Transition, now: Instant) {
        self.judged += usize::from(transition.from == Verdict::Unknown);
        self.down += usize::from(transition.to == Verdict::Down);
        self.down = self.down.saturating_sub(usize::from(transition.from == Verdict::Down));
        match transition.to {
            Verdict::Down => self.suspicion.fell(target, now),
            _ => self.suspicion.rose(target),
        }
    }

    /// Whether the prober suspects itself.
    pub(super) fn is_unsure(&self) -> bool {
        self.suspicion.since().is_some()
    }

    /// Targets for endpoints that have no verdict.
    pub(super) fn unknown(&self) -> usize {
        self.targets.saturating_sub(self.judged)
    }

    /// Takes note of a target that has a verdict from before the start.
    pub(super) fn restored(&mut self, verdict: Verdict) {
        self.judged += 1;
        self.down += usize::from(verdict == Verdict::Down);
    }
}

/// What became of endpoints when they were settled.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settled {
    /// All that were looked at, by index: each once, in order.
    pub looked_at: Vec<u32>,
    /// What changed of them, in the order in which it did.
    pub turns: Vec<(u32, Change)>,
}

/// What an input of an endpoint says.
#[derive(Debug, Clone, Copy)]
pub struct SaidBy<'t> {
    /// What is probed; nothing where it is a pool.
    pub target: Option<&'t TargetHealth>,
    pool: &'t str,
    /// Its verdict.
    pub verdict: Verdict,
    /// How it counts.
    pub of: &'t HealthInput,
}

impl SaidBy<'_> {
    /// What keeps it down though its runs may say otherwise.
    pub fn hold(&self, now: Instant) -> Hold {
        self.target.map_or(Hold::None, |target| target.machine.hold(&target.key.timing, now))
    }
}

/// What is probed, or `pool NAME`.
impl fmt::Display for SaidBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target {
            Some(target) => write!(f, "{}", target.key),
            None => write!(f, "pool {}", self.pool),
        }
    }
}

impl Table {
    /// Under these limits from now on, with these canaries.
    #[must_use]
    pub fn guarded(mut self, safety: &Safety, canaries: &[TargetId]) -> Self {
        if *self.settling.safety != *safety {
            self.settling.safety = Arc::new(safety.clone());
        }
        self.settling.canaries = canaries.into();
        self
    }

    /// Since when the prober suspects itself.
    pub fn unsure_since(&self) -> Option<Instant> {
        self.settling.suspicion.since()
    }

    /// When that began which makes the prober suspect itself, while it does.
    fn unsure_from(&self) -> Option<Instant> {
        let window = self.settling.safety.self_suspicion.window;
        self.unsure_since().map(|since| since.checked_sub(window).unwrap_or(since))
    }

    /// What the inputs of an endpoint say together.
    pub fn found(&self, endpoint: &EndpointHealth, now: Instant) -> Found {
        let health = &endpoint.placed.rules.health;
        let mut said =
            [Said { verdict: Verdict::Unknown, score: Score::FULL, weight: 0, must_pass: false }; MAX_INPUTS];
        let mut found = Found::UNPROBED;
        let mut count = 0;
        for (SaidBy { target, verdict, of, .. }, said) in self.acting_inputs_of(endpoint).zip(&mut said) {
            count += 1;
            if let Some(target) = target {
                let soonest = [found.soonest_change, target.soonest_change(now)].into_iter().flatten().min();
                found = Found { soonest_change: soonest, response: found.response.or(target.response), ..found };
            }
            let score = target.map_or(Score::FULL, |target| target.score);
            *said = Said { verdict, score, weight: of.weight, must_pass: of.must_pass };
        }
        if count == 0 {
            return found;
        }
        let (verdict, score) = combine(health.required, &mut said[..count]);
        Found { verdict, score, ..found }
    }

    /// What keeps an endpoint down though its inputs may soon say otherwise: the first hold that has to end. Nothing where it isn't
    /// found down, or an operator's word counts in place of that.
    pub fn hold(&self, endpoint: &EndpointHealth, now: Instant) -> Hold {
        if endpoint.word().is_some() || self.found(endpoint, now).verdict != Verdict::Down {
            return Hold::None;
        }
        // Whether it would serve if all did that nothing holds for longer.
        let would_serve = |end: &Hold| {
            let said = self.acting_inputs_of(endpoint).map(|said| {
                let verdict = if said.hold(now) <= *end { Verdict::Up } else { said.verdict };
                Said { verdict, score: Score::FULL, weight: said.of.weight, must_pass: said.of.must_pass }
            });
            combine(endpoint.placed.rules.health.required, &mut said.collect::<Vec<_>>()).0.serves()
        };
        let mut holds: Vec<Hold> = self.acting_inputs_of(endpoint).map(|said| said.hold(now)).collect();
        holds.sort_unstable();
        holds.into_iter().find(would_serve).unwrap_or(Hold::None)
    }

    /// Whether a group has as many healthy endpoints as its pool asks for.
    fn can_serve(&self, group: u32) -> bool {
        self.settling.serving.get(group as usize).is_none_or(|serves| *serves)
    }

    /// Counts again whether a group can serve; returns whether that is otherwise now.
    fn count_again(&mut self, group: u32) -> bool {
        let serves = self.endpoints.can_serve(group);
        let changes = self.can_serve(group) != serves;
        if changes && let Some(old) = Arc::make_mut(&mut self.settling.serving).get_mut(group as usize) {
            *old = serves;
        }
        changes
    }

    /// Lets what the inputs of these endpoints say count, as far as the limits allow, and what follows from that for others: those of
    /// their pools, and of pools whose health depends on theirs.
    pub fn settle(&mut self, touched: &[u32], now: Instant) -> Settled {
        let mut looked_at = BTreeSet::new();
        let mut turns = Vec::new();
        let mut waiting: BTreeSet<u32> = touched.iter().copied().collect();
        let rank = |endpoints: &Endpoints, index| endpoints.get(index).map_or(0, |known| known.placed.rules.rank);
        // Those go first on whom others may depend, so that each is settled once, by what holds in the end.
        while let Some(lowest) = waiting.iter().map(|index| rank(&self.endpoints, *index)).min() {
            let (mut these, others) = waiting.into_iter().partition(|index| rank(&self.endpoints, *index) == lowest);
            waiting = others;
            turns.extend(self.settle_alike(&mut these, &mut waiting, now));
            looked_at.append(&mut these);
        }
        Settled { looked_at: looked_at.into_iter().collect(), turns }
    }

    /// The same for endpoints of one rank. Adds those to them whom the guard rules otherwise on now, and those to `dependents` whose
    /// health depends on what changed. Returns what did.
    fn settle_alike(
        &mut self,
        these: &mut BTreeSet<u32>,
        dependents: &mut BTreeSet<u32>,
        now: Instant,
    ) -> Vec<(u32, Change)> {
        for (rules, found) in self.find_again(these.iter().copied(), now).into_values() {
            // What falls while the prober is unsure falls with many others, and is held whatever they do.
            let ruled = if self.settling.is_unsure() {
                self.rule(&rules, found, now)
            } else {
                self.rule(&rules, rules.endpoints.clone(), now)
            };
            these.extend(ruled);
        }
        let (mut groups, mut turns) = (BTreeMap::new(), Vec::new());
        for &index in &*these {
            let Some(known) = self.endpoints.get(index) else { continue };
            groups.insert(known.placed.group, Arc::clone(&known.placed.rules));
            let found = self.found(known, now).verdict;
            let due = known.due(found);
            if due != (known.verdict(), known.held()) {
                let is_broken = known.held().is_some() && known.is_taken_by_breaker(found);
                let reason = self.reason(known, found, due.1.is_some(), is_broken);
                let began = self.began(known, found, now);
                let depends_on_others =
                    known.placed.acting_inputs().any(|(input, _)| matches!(input, Input::Groups(_)));
                let unsure_from = self.unsure_from().filter(|_| depends_on_others);
                let known = self.endpoints.get_mut(index);
                turns.extend(known.map(|known| (index, known.turn(due, is_broken, reason, unsure_from, began))));
            }
        }
        for (group, rules) in groups {
            if self.count_again(group) {
                dependents.extend(rules.dependents.iter().cloned().flatten());
            }
        }
        turns
    }

    /// When it began that an endpoint's inputs say what they do. Its first verdict is as old as those of its targets, which may be
    /// from before a restart; every later one begins now.
    fn began(&self, endpoint: &EndpointHealth, found: Verdict, now: Instant) -> Instant {
        if endpoint.verdict() != Verdict::Unknown {
            return now;
        }
        let acting = self.acting_inputs_of(endpoint).filter(|said| said.verdict == found);
        acting.filter_map(|said| said.target?.machine.since()).max().unwrap_or(now)
    }

    /// Takes note where the inputs of these endpoints say otherwise than before whether they are down. Returns those endpoints with the
    /// rules of their pools, which the guard is to be asked about, by the first endpoint of the pool.
    fn find_again(
        &mut self,
        endpoints: impl IntoIterator<Item = u32>,
        now: Instant,
    ) -> BTreeMap<u32, (Arc<Rules>, Vec<u32>)> {
        let mut pools = BTreeMap::new();
        for index in endpoints {
            let Some(known) = self.endpoints.get(index) else { continue };
            let found = self.found(known, now).verdict;
            let is_to_go = known.is_to_go(found);
            let (claim, _) = known.claim();
            if is_to_go != claim.down_since.is_some() {
                let began = self.began(known, found, now);
                let rules = &known.placed.rules;
                let (_, found) = pools.entry(rules.endpoints.start).or_insert_with(|| (Arc::clone(rules), Vec::new()));
                found.push(index);
                if let Some(known) = self.endpoints.get_mut(index) {
                    known.find(is_to_go.then_some(began));
                }
            }
        }
        pools
    }

    /// The endpoints of which operators say something else than is known here, and what they say, which takes a while to find out
    /// where there are many.
    pub fn said_otherwise(&self, overrides: &Overrides) -> Vec<(u32, overrides::Said)> {
        let words = overrides.words();
        let said = |(index, known): (u32, &EndpointHealth)| {
            let Placed { pool, region, destination, .. } = &known.placed;
            let said = words.of_endpoint(pool, region, &destination.to_string());
            (said != *known.operators()).then_some((index, said))
        };
        (0..).zip(self.endpoints.all().iter()).filter_map(said).collect()
    }

    /// Lets what operators say of these endpoints count, and asks the guard about their pools. Returns the endpoints that are to be
    /// settled.
    pub fn obey(&mut self, said: &[(u32, overrides::Said)], now: Instant) -> Vec<u32> {
        for (index, said) in said {
            let Some(known) = self.endpoints.get_mut(*index) else { continue };
            known.obey(*said);
        }
        self.rule_on_pools_of(said.iter().map(|(index, _)| *index).collect(), now)
    }

    /// Takes note of whether drains that were planned have begun, of these endpoints, and asks the guard about the pools of those of
    /// which that is otherwise now. Returns the endpoints that are to be settled.
    pub fn drain(&mut self, drains: impl IntoIterator<Item = (u32, bool)>, now: Instant) -> Vec<u32> {
        let mut changed = vec![];
        for (index, drains) in drains {
            if self.endpoints.get(index).is_some_and(|known| known.drains() != drains)
                && let Some(known) = self.endpoints.get_mut(index)
            {
                known.drain(drains);
                changed.push(index);
            }
        }
        self.rule_on_pools_of(changed, now)
    }

    /// Asks the guard about all pools, as its limits, or what is subject to them, are others. All endpoints are to be settled then.
    pub fn rule_on_all(&mut self, now: Instant) {
        let all: Vec<u32> = (0..self.endpoints.all().len() as u32).collect();
        // No change is to be spent on what is no longer down, as it is asked otherwise now.
        self.find_again(all.iter().copied(), now);
        self.rule_on_pools_of(all, now);
    }

    /// Asks the guard about the pools of these endpoints; returns them and those that it rules otherwise on now.
    fn rule_on_pools_of(&mut self, mut endpoints: Vec<u32>, now: Instant) -> Vec<u32> {
        let known = endpoints.iter().filter_map(|index| self.endpoints.get(*index));
        let pools: BTreeSet<u32> = known.map(|known| known.placed.rules.endpoints.start).collect();
        endpoints.extend(self.rule_on(pools, now));
        endpoints
    }

    /// Asks the guard about these pools, given by their first endpoints; returns the endpoints that it rules otherwise on now.
    fn rule_on(&mut self, pools: BTreeSet<u32>, now: Instant) -> Vec<u32> {
        let mut changed = vec![];
        for first in self.longest_held_first(pools) {
            let Some(rules) = self.endpoints.get(first).map(|known| Arc::clone(&known.placed.rules)) else { continue };
            changed.extend(self.rule(&rules, rules.endpoints.clone(), now));
        }
        changed
    }

    /// Asks the guard about all endpoints of a pool, or some while the prober is unsure, when its ruling on one depends on no other.
    /// Returns those that it rules otherwise on now.
    fn rule(
        &mut self,
        rules: &Rules,
        endpoints: impl IntoIterator<Item = u32, IntoIter: Clone>,
        now: Instant,
    ) -> Vec<u32> {
        let unsure_from = self.unsure_from();
        let endpoints = endpoints.into_iter();
        let mut claims = std::mem::take(&mut self.settling.claims);
        claims.extend(endpoints.clone().filter_map(|index| self.endpoints.get(index)).map(EndpointHealth::claim));
        self.settling.guard.settle(&self.settling.safety, unsure_from, &mut claims, rules.min_healthy, now);
        let mut changed = vec![];
        let mut holds = false;
        for (index, (_, ruling)) in endpoints.zip(claims.iter().copied()) {
            holds |= matches!(ruling, Ruling::Held(_));
            if self.endpoints.get(index).is_some_and(|known| known.claim().1 != ruling) {
                changed.push(index);
                if let Some(known) = self.endpoints.get_mut(index) {
                    known.rule(ruling);
                }
            }
        }
        // A clone of the table is not to copy it.
        claims.clear();
        self.settling.claims = claims;
        if holds {
            self.settling.holding.insert(rules.endpoints.start);
        } else if unsure_from.is_none() {
            // All were asked about.
            self.settling.holding.remove(&rules.endpoints.start);
        }
        changed
    }

    /// What each input of an endpoint says, in the order of its pool's `health`.
    pub fn inputs_of<'t>(&'t self, endpoint: &'t EndpointHealth) -> impl Iterator<Item = SaidBy<'t>> {
        let inputs = endpoint.placed.inputs.iter().zip(&endpoint.placed.rules.health.inputs);
        inputs.map(|(input, of)| self.said_by(input, of))
    }

    /// The same of those inputs that count.
    pub fn acting_inputs_of<'t>(&'t self, endpoint: &'t EndpointHealth) -> impl Iterator<Item = SaidBy<'t>> {
        endpoint.placed.acting_inputs().map(|(input, of)| self.said_by(input, of))
    }

    fn said_by<'t>(&'t self, input: &Input, of: &'t HealthInput) -> SaidBy<'t> {
        match input {
            Input::Target(target) => {
                let target = self.get(*target);
                let verdict = target.map_or(Verdict::Unknown, |target| target.machine.verdict());
                SaidBy { target, pool: "", verdict, of }
            }
            Input::Groups(groups) => {
                let first = self.endpoints.get(self.endpoints.of_group(groups.start).start);
                let serves = groups.clone().any(|group| self.can_serve(group));
                let verdict = if serves { Verdict::Up } else { Verdict::Down };
                SaidBy { target: None, pool: first.map_or("", |known| &known.placed.pool), verdict, of }
            }
        }
    }

    /// The first input of an endpoint that says what they say together.
    pub fn decisive_input_of<'t>(&'t self, endpoint: &'t EndpointHealth, found: Verdict) -> Option<SaidBy<'t>> {
        self.acting_inputs_of(endpoint).find(|said| said.verdict == found)
    }

    /// Why an endpoint, of which this is found, is to have the verdict that it is to have, and to be held, or to be taken away by its
    /// breaker.
    fn reason(&self, endpoint: &EndpointHealth, found: Verdict, is_held: bool, is_broken: bool) -> Arc<str> {
        if endpoint.word().is_some() {
            return "an operator says so".into();
        }
        let is_for_breaker = is_broken || is_held && found != Verdict::Down;
        match (endpoint.breaker().filter(|_| is_for_breaker), self.decisive_input_of(endpoint, found)) {
            (Some(breaker), _) => format!("its breaker is {}", breaker.state().name()).into(),
            (None, Some(SaidBy { target: Some(target), verdict, .. })) => match &target.decided_by {
                // Shared, as this is many thousands at once at worst.
                Some(decided_by) => Arc::clone(decided_by),
                None if verdict == Verdict::Unknown => "nothing is known of it yet".into(),
                None => "as before the restart".into(),
            },
            (None, Some(said)) => {
                format!("{said} {} serve", if found == Verdict::Down { "can't" } else { "can" }).into()
            }
            (None, None) => "it depends on nothing".into(),
        }
    }

    /// Judges whether the prober suspects itself. On a change of mind it asks the guard again, knowing what is new of the endpoints that
    /// were touched: none is taken away that just came up. Returns the change of mind, and the endpoints that are to be settled beside
    /// those. To be called after every change of a verdict.
    pub fn doubt(&mut self, touched: &[u32], now: Instant) -> (Option<Doubt>, Vec<u32>) {
        let doubt = self.judge(now);
        let changed = if doubt.is_some() { self.reconsider(doubt, touched, now) } else { Vec::new() };
        (doubt, changed)
    }

    /// The same as time passes, which may make room for what is held.
    pub fn look_after(&mut self, now: Instant) -> (Option<Doubt>, Vec<u32>) {
        let doubt = self.judge(now);
        (doubt, self.reconsider(doubt, &[], now))
    }

    fn judge(&mut self, now: Instant) -> Option<Doubt> {
        let safety = Arc::clone(&self.settling.safety);
        let began = *self.settling.began.get_or_insert(now);
        // What turned down before the window counts in no region either.
        self.settling.suspicion.forget(&safety.self_suspicion, now);
        let sight = self.sight(began, now);
        let doubt = self.settling.suspicion.judge(&safety.self_suspicion, sight, now);
        match doubt {
            Some(Doubt::Begins { .. }) => self.doubt_what_fell(),
            Some(Doubt::Ends(_)) => {
                let fallen = self.settling.suspicion.forget_all();
                self.doubt_targets(&fallen, false);
            }
            None => {}
        }
        doubt
    }

    /// Lets nothing hold those down that fell, while the prober suspects itself.
    pub(super) fn doubt_what_fell(&mut self) {
        let fallen: Vec<TargetId> = self.settling.suspicion.fallen().collect();
        self.doubt_targets(&fallen, self.settling.is_unsure());
    }

    fn doubt_targets(&mut self, targets: &[TargetId], are_doubted: bool) {
        for id in targets {
            if let Some(target) = self.targets.get_mut(id.index()) {
                target.machine.doubt(are_doubted);
            }
        }
    }

    /// Asks the guard again about the pools of which it holds something, and about all where a doubt begins.
    fn reconsider(&mut self, doubt: Option<Doubt>, touched: &[u32], now: Instant) -> Vec<u32> {
        // When it ends, those are concerned that are held.
        let mut pools = self.settling.holding.clone();
        let mut changed = vec![];
        if let Some(Doubt::Begins { .. }) = doubt {
            changed = self.doubt_breakers(now);
            // What was taken away of late is given back also where nothing else fell, as by a first result.
            let mut first = 0;
            while let Some(known) = self.endpoints.get(first) {
                pools.insert(first);
                first = known.placed.rules.endpoints.end.max(first + 1);
            }
        }
        pools.extend(self.find_again(touched.iter().chain(&changed).copied(), now).into_keys());
        changed.extend(self.rule_on(pools, now));
        changed
    }

    /// Pools, given by their first endpoints, in the order in which what waits in them for room among the changes per minute went down:
    /// who did first is first, and what waits in the same pool comes with it.
    fn longest_held_first(&self, pools: BTreeSet<u32>) -> Vec<u32> {
        let held_since = |first: &u32| {
            let rules = &self.endpoints.get(*first)?.placed.rules;
            let claims = rules.endpoints.clone().filter_map(|index| Some(self.endpoints.get(index)?.claim()));
            let waits = |ruling| matches!(ruling, Ruling::Held(Held::ChangesPerMinute | Held::Unsure));
            claims.filter(|(_, ruling)| waits(*ruling)).filter_map(|(claim, _)| claim.down_since).min()
        };
        let mut pools: Vec<u32> = pools.into_iter().collect();
        if self.settling.safety.max_changes_per_minute.is_some() {
            pools.sort_by_cached_key(|first| held_since(first).map_or((true, None), |since| (false, Some(since))));
        }
        pools
    }

    /// Lets all breakers forget what they counted of late, as that is doubted. Returns the endpoints of those that are closed by that.
    fn doubt_breakers(&mut self, now: Instant) -> Vec<u32> {
        let Some(from) = self.unsure_from() else { return Vec::new() };
        let all = (0..).zip(self.endpoints.all().iter());
        let mut closed: Vec<u32> = all.filter(|(_, known)| known.breaker().is_some()).map(|(index, _)| index).collect();
        closed.retain(|index| self.endpoints.get_mut(*index).is_some_and(|known| known.doubt_breaker(from, now)));
        closed
    }

    /// What there is to judge by, by whom these targets were first looked after at `began`.
    fn sight(&self, began: Instant, now: Instant) -> Sight {
        let Settling { suspicion, safety, canaries, targets, judged, down, .. } = &self.settling;
        let window = safety.self_suspicion.window;
        // The first results to come may not be like the others: refusals come sooner than answers.
        let is_new = now.saturating_duration_since(began) <= window;
        let targets = if is_new { *targets } else { *judged };
        let last = |canary: &TargetId| self.get(*canary).and_then(|target| target.last.as_ref());
        let answers = |(then, last): &(Instant, Observation)| {
            last.outcome.is_ok() && now.saturating_duration_since(*then) <= window
        };
        // One that never says anything is not waited for.
        let is_asked = !is_new || canaries.iter().all(|canary| last(canary).is_some());
        let canary_answers = match canaries.iter().filter_map(last).any(answers) {
            false if !is_asked => None,
            answers => Some(answers),
        };
        // Which takes a while, and is only asked where it decides.
        let is_everywhere = suspicion.since().is_none()
            && canary_answers == Some(false)
            && suspicion.is_too_much(&safety.self_suspicion, targets, *down)
            && self.is_everywhere(suspicion, is_new);
        Sight { targets, down: *down, is_everywhere, canary_answers }
    }

    /// Whether what turned down of late is in more than one region, or in the only one in which any target was up; what has no result
    /// may be while it is new.
    fn is_everywhere(&self, suspicion: &Suspicion, is_new: bool) -> bool {
        let regions_of = |target: TargetId| {
            let endpoints = self.endpoints.of_target(target).iter();
            endpoints.filter_map(|index| Some(self.endpoints.get(*index)?.placed.region_index))
        };
        let mut regions = suspicion.fallen().flat_map(regions_of);
        let Some(first) = regions.next() else { return false };
        regions.any(|region| region != first) || {
            let is_up = |target: &TargetHealth| match target.machine.verdict() {
                Verdict::Up | Verdict::Degraded => true,
                Verdict::Unknown => is_new,
                Verdict::Down => false,
            };
            let up = (0..).zip(self.targets.iter()).filter(|(_, target)| is_up(target));
            !up.flat_map(|(index, _)| regions_of(TargetId(index))).any(|region| region != first)
        }
    }
}
