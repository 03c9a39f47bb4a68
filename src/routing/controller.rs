//! Measures what clients ask for, and makes of it where they go.
//!
//! Classes of clients ask as they do wherever they are sent, so nothing here goes round in a circle: demand is measured, the
//! [waterfall](super::steering::waterfall) divides it, and the same demand is always divided in the same way. What is more than
//! chance is followed within a second, so that no region is past its target for longer. What a fall leaves is held for a while,
//! where there is room, so that clients that moved stay moved while demand goes up and down. Only where capacities are in what
//! endpoints report, the load of an answer is learnt from what came back, and slowly.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Family;
use super::flows::{Flow, Flows, HomeLoad, RoomLoad, ServiceFlows, Step};
use super::live::{Candidates, Drain, Health, Live, Standing, WHOLE};
use super::steering::waterfall::{Class, Division, Room, Site, Stop, divide};
use crate::config::{Capacity, CapacityUnit, EndpointState};
use crate::metrics::{Demand, Tally};
use crate::snapshot::{Compiled, LoadSteering, Service, Steering};

/// In which what is no more than chance is followed by 63 %.
const SMOOTHING: Duration = Duration::from_secs(5);
/// In which demand that fell is held no more by 63 %.
const HOLD: Duration = Duration::from_secs(10);
/// A change by this many times what random arrivals spread by, the root of their number, is believed as a whole, a smaller one in
/// part. So where demand rises, it is known but for at most half of that spread.
const SURE_CHANGE: f64 = 2.0;
/// In which the load of an answer follows what is reported.
const REPORTED_SMOOTHING: Duration = Duration::from_secs(60);
/// Measuring sooner than this after the last time would say little.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);
/// Fewer answers per second from a region don't tell what an answer means there.
const LEAST_ANSWERS: f64 = 1.0;
/// Parts of a class that are less than this are nobody.
const LEAST_SHARE: f64 = 1e-6;

/// Makes flows. One exists for all snapshots, as it remembers what came so far.
#[derive(Debug, Default)]
pub(crate) struct Controller {
    measured: Option<Instant>,
    /// By the address of what is counted in.
    demand: HashMap<usize, (Arc<Demand>, Rates)>,
    answers: HashMap<usize, (Arc<Tally>, Rates)>,
    /// By the name of a region, what it reports for one answer per second.
    reported: BTreeMap<String, f64>,
}

/// Events per second of several kinds.
#[derive(Debug, Default)]
struct Rates {
    counts: Vec<u32>,
    /// Smoothed, by kind. Empty until counts were read twice.
    smoothed: Vec<f64>,
    /// By what kinds have in common: changes are told from chance in sums, as few of one kind say little.
    levels: HashMap<u16, Level>,
    /// By kind.
    expected: Vec<Level>,
}

/// What to reckon with, in events per second.
#[derive(Debug, Default, Clone, Copy)]
struct Level {
    now: f64,
    /// What came lately beyond that.
    held: f64,
}

impl Level {
    fn add(&mut self, other: Self) {
        self.now += other.now;
        self.held += other.held;
    }

    fn part(self, part: f64) -> Self {
        Self { now: self.now * part, held: self.held * part }
    }

    /// Follows a rate that was measured over so many seconds.
    fn follow(&mut self, rate: f64, seconds: f64) {
        let before = *self;
        let spread = (rate.max(before.now) * seconds).max(1.0).sqrt() / seconds;
        let sure = ((rate - before.now).abs() / (spread * SURE_CHANGE)).min(1.0);
        self.now += (rate - before.now) * sure.max(weight(seconds, SMOOTHING));
        let fell = (before.now + before.held - self.now).max(0.0);
        self.held = fell * (1.0 - weight(seconds, HOLD));
    }
}

impl Rates {
    /// Takes in what was counted so far, by kind; `common` tells what a kind has in common with others.
    fn measure(&mut self, counts: Vec<u32>, passed: Option<Duration>, common: impl Fn(usize) -> u16) {
        let before = std::mem::replace(&mut self.counts, counts);
        let Some(seconds) = passed.map(|passed| passed.as_secs_f64()).filter(|_| before.len() == self.counts.len())
        else {
            return;
        };
        let now = self.counts.iter().zip(&before).map(|(new, old)| f64::from(new.wrapping_sub(*old)) / seconds);
        let now: Vec<f64> = now.collect();
        let smoothing = weight(seconds, SMOOTHING);
        if self.smoothed.len() == now.len() {
            self.smoothed.iter_mut().zip(&now).for_each(|(rate, now)| *rate += (now - *rate) * smoothing);
        } else {
            self.smoothed.clone_from(&now);
        }
        let mut sums: HashMap<u16, (f64, f64)> = HashMap::new();
        for (kind, (now, smoothed)) in now.iter().zip(&self.smoothed).enumerate() {
            let sum = sums.entry(common(kind)).or_default();
            *sum = (sum.0 + now, sum.1 + smoothed);
        }
        for (common, (now, _)) in &sums {
            self.levels.entry(*common).or_insert(Level { now: *now, held: 0.0 }).follow(*now, seconds);
        }
        let expected = self.smoothed.iter().enumerate().map(|(kind, smoothed)| {
            let common = common(kind);
            let (Some(level), Some((_, sum))) = (self.levels.get(&common), sums.get(&common)) else {
                return Level::default();
            };
            level.part(if *sum > 0.0 { smoothed / sum } else { 0.0 })
        });
        self.expected = expected.collect();
    }

    fn expected(&self, kind: usize) -> Level {
        self.expected.get(kind).copied().unwrap_or_default()
    }
}

/// How much the newest measurement counts for.
fn weight(seconds: f64, smoothing: Duration) -> f64 {
    1.0 - (-seconds / smoothing.as_secs_f64()).exp()
}

impl Controller {
    /// Goes on with what clients ask of a service over a reload that puts them into other classes. These are counted from now
    /// on; until that says something, those with the same way as before ask as they did, and what came from others is
    /// shared alike by those with the same home.
    pub(crate) fn follow(&mut self, before: &Compiled, compiled: &Compiled) {
        for (index, service, load) in loads(compiled) {
            let key = Arc::as_ptr(&load.demand) as usize;
            let name = &compiled.config.services[index].name;
            let same = loads(before).find(|(index, ..)| before.config.services[*index].name == *name);
            let Some((_, old_service, old)) = same.filter(|_| !self.demand.contains_key(&key)) else { continue };
            let Some((_, rates)) = self.demand.get(&(Arc::as_ptr(&old.demand) as usize)) else { continue };
            let mut came: HashMap<_, Level> = HashMap::new();
            for class in 0..old.orders.len() * 2 {
                came.entry(way(before, old_service, old, class)).or_default().add(rates.expected(class));
            }
            let ways: Vec<_> = (0..load.orders.len() * 2).map(|class| way(compiled, service, load, class)).collect();
            let mut expected: Vec<Level> = ways.iter().map(|way| came.remove(way).unwrap_or_default()).collect();
            let mut by_home: HashMap<_, Vec<usize>> = HashMap::new();
            for (class, (family, places)) in ways.iter().enumerate() {
                by_home.entry((*family, places.first())).or_default().push(class);
            }
            for ((family, places), level) in &came {
                let sharing = by_home.get(&(*family, places.first())).map_or(&[][..], Vec::as_slice);
                sharing.iter().for_each(|class| expected[*class].add(level.part(1.0 / sharing.len() as f64)));
            }
            let mut levels: HashMap<u16, Level> = HashMap::new();
            for (class, level) in expected.iter().enumerate() {
                levels.entry(first_region(compiled, load, class).unwrap_or(u16::MAX)).or_default().add(*level);
            }
            let carried = Rates { levels, expected, ..Rates::default() };
            self.demand.insert(key, (Arc::clone(&load.demand), carried));
        }
    }

    /// Counts what came since the last time, if that is not just now. `standing` tells of an endpoint, by its index. Counters
    /// that no service has any more are forgotten.
    pub(crate) fn measure(&mut self, compiled: &Compiled, standing: &impl Fn(u32) -> Standing, now: Instant) {
        let passed = self.measured.map(|measured| now.saturating_duration_since(measured));
        if loads(compiled).next().is_none() {
            *self = Self { reported: std::mem::take(&mut self.reported), ..Self::default() };
            return;
        }
        if passed.is_some_and(|passed| passed < LEAST_INTERVAL) {
            return;
        }
        self.measured = Some(now);
        let mut demand = std::mem::take(&mut self.demand);
        for (_, _, load) in loads(compiled) {
            let key = Arc::as_ptr(&load.demand) as usize;
            let (counter, mut rates) = demand.remove(&key).unwrap_or((Arc::clone(&load.demand), Rates::default()));
            let first_region = |class: usize| first_region(compiled, load, class).unwrap_or(u16::MAX);
            rates.measure(counter.sums(), passed, first_region);
            self.demand.insert(key, (counter, rates));
        }
        let mut answers = std::mem::take(&mut self.answers);
        for tally in compiled.services.iter().flat_map(|service| &service.tallies) {
            let key = Arc::as_ptr(tally) as usize;
            let (counter, mut rates) = answers.remove(&key).unwrap_or((Arc::clone(tally), Rates::default()));
            rates.measure(vec![counter.sum() as u32], passed, |_| 0);
            self.answers.insert(key, (counter, rates));
        }
        if let Some(passed) = passed {
            self.learn_reported(compiled, standing, weight(passed.as_secs_f64(), REPORTED_SMOOTHING));
        }
    }

    /// Learns what an answer per second means in each region, in requests per second.
    fn learn_reported(&mut self, compiled: &Compiled, standing: &impl Fn(u32) -> Standing, weight: f64) {
        let mut regions: BTreeMap<u16, (f64, f64)> = BTreeMap::new();
        let answered_by = self.answered(compiled, |_| true, |rates| rates.smoothed.first().copied().unwrap_or(0.0));
        for (group, by_group) in compiled.groups.iter().zip(answered_by) {
            let healthy = group.endpoints.clone().map(standing).filter(Standing::is_healthy);
            let (mut reporting, mut all, mut sum) = (0.0, 0.0, 0.0);
            for standing in healthy {
                all += 1.0;
                if let Some(requests) = standing.load.requests_per_second {
                    reporting += 1.0;
                    sum += requests;
                }
            }
            if reporting > 0.0 {
                let (reported, answered) = regions.entry(group.region).or_default();
                // Those that say nothing do as much as the others.
                *reported += sum * all / reporting;
                *answered += by_group;
            }
        }
        for (region, (reported, answered)) in regions {
            if answered < LEAST_ANSWERS {
                continue;
            }
            let name = &compiled.config.regions[usize::from(region)].name;
            let now = reported / answered;
            match self.reported.get_mut(name) {
                Some(known) => *known += (now - *known) * weight,
                None => drop(self.reported.insert(name.clone(), now)),
            }
        }
    }

    /// Answers per second from each group, by services of some kind.
    fn answered(
        &self,
        compiled: &Compiled,
        is_counted: impl Fn(&Service) -> bool,
        per_second: impl Fn(&Rates) -> f64,
    ) -> Vec<f64> {
        let mut answered = vec![0.0; compiled.groups.len()];
        for service in compiled.services.iter().filter(|service| is_counted(service)) {
            let groups = service.tiers.iter().flat_map(|tier| compiled.pools[tier.pool].groups.clone());
            for (group, tally) in groups.zip(&service.tallies) {
                let rates = self.answers.get(&(Arc::as_ptr(tally) as usize));
                answered[group as usize] += rates.map_or(0.0, |(_, rates)| per_second(rates));
            }
        }
        answered
    }

    /// Makes the flows of all services that are steered by load.
    pub(crate) fn flows(&self, compiled: &Compiled, live: &Live, standing: &impl Fn(u32) -> Standing) -> Flows {
        if loads(compiled).next().is_none() {
            return Flows::default();
        }
        let (rooms, sites, mut shown) = self.rooms(compiled, standing);
        let mut classes: Vec<Class> = Vec::new();
        let mut known: HashMap<(Vec<Stop>, bool), usize> = HashMap::new();
        // For each service the class that each of its own is a part of.
        let mut merged: Vec<Vec<usize>> = Vec::new();
        for (_, service, load) in loads(compiled) {
            let own = (0..load.orders.len() * 2).map(|class| {
                let (stops, is_home) = stops(compiled, live, service, load, load.orders[class / 2], family(class));
                let index = *known.entry((stops, is_home)).or_insert_with_key(|(stops, is_home)| {
                    classes.push(Class { demand: 0.0, held: 0.0, stops: stops.clone(), is_home: *is_home });
                    classes.len() - 1
                });
                let Level { now, held } = self.demand_of(load, class);
                classes[index].demand += now;
                classes[index].held += held;
                index
            });
            merged.push(own.collect());
        }
        let Division { shares, loads: room_loads, excess } = divide(&rooms, &sites, &classes);
        shown.iter_mut().zip(room_loads).for_each(|(room, load)| room.load = load);

        let mut flows = Flows { rooms: shown, excess, ..Flows::default() };
        for ((index, _, load), own) in loads(compiled).zip(&merged) {
            let mut service = ServiceFlows::default();
            let mut homes: BTreeMap<u16, (f64, f64)> = BTreeMap::new();
            for (class, merged) in own.iter().enumerate() {
                let Class { stops, is_home, .. } = &classes[*merged];
                let first = service.steps.len() as u32;
                add_steps(&mut service.steps, compiled, stops, &shares[*merged]);
                let count = service.steps.len() as u32 - first;
                service.flows.push(Flow { first, count, is_displaced: !is_home && count > 0 });
                let demand = self.demand_of(load, class).now;
                if let Some(region) = first_region(compiled, load, class) {
                    let (all, kept) = homes.entry(region).or_default();
                    *all += demand;
                    *kept += if *is_home { demand * shares[*merged].first().unwrap_or(&0.0) } else { 0.0 };
                }
            }
            flows.services.push(service);
            flows.homes.extend(homes.into_iter().map(|(region, (demand, kept))| {
                let overflow = if demand > 0.0 { 1.0 - kept / demand } else { 0.0 };
                HomeLoad { service: index, region, demand, overflow }
            }));
        }
        flows
    }

    fn demand_of(&self, load: &LoadSteering, class: usize) -> Level {
        let known = self.demand.get(&(Arc::as_ptr(&load.demand) as usize));
        known.map_or(Level::default(), |(_, rates)| rates.expected(class))
    }

    /// What there is room in, and for each group and family (twice the group, and one more for IPv6) what it takes from.
    fn rooms(&self, compiled: &Compiled, standing: &impl Fn(u32) -> Standing) -> (Vec<Room>, Vec<Site>, Vec<RoomLoad>) {
        let (mut rooms, mut shown) = (Vec::new(), Vec::new());
        let mut sites = vec![Site { rooms: [None; 2] }; compiled.groups.len() * 2];
        let mut units: BTreeMap<u16, CapacityUnit> = BTreeMap::new();
        let mut is_used = vec![false; compiled.groups.len()];
        for (_, service, load) in loads(compiled) {
            for group in service.tiers.iter().flat_map(|tier| compiled.pools[tier.pool].groups.clone()) {
                is_used[group as usize] = true;
                units.insert(compiled.groups[group as usize].region, load.unit);
            }
        }
        let is_foreign = |service: &Service| !matches!(service.steering, Steering::Load(_));
        let foreign = self.answered(compiled, is_foreign, |rates| rates.expected(0).now);
        let mut groups: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (index, group) in compiled.groups.iter().enumerate() {
            groups.entry(group.region).or_default().push(index);
        }
        let mut add = |region: u16, endpoints, Capacity { most, target }: Capacity, taken: f64| {
            rooms.push(Room { target, capacity: most, taken });
            shown.push(RoomLoad { region, endpoints, load: taken, target, capacity: most });
            Some(rooms.len() as u32 - 1)
        };
        for (region, unit) in units {
            let settings = &compiled.config.regions[usize::from(region)];
            // One of which it isn't known what an answer means bears all, until it is.
            let per_answer = match unit {
                CapacityUnit::Queries => 1.0,
                CapacityUnit::Reported => match self.reported.get(&settings.name) {
                    Some(per_answer) if *per_answer > 0.0 => *per_answer,
                    _ => continue,
                },
            };
            let in_answers =
                |Capacity { most, target }| Capacity { most: most / per_answer, target: target / per_answer };
            let groups = &groups[&region];
            let whole = settings.capacity.and_then(|capacity| {
                add(region, None, in_answers(capacity), groups.iter().map(|group| foreign[*group]).sum())
            });
            for group in groups.iter().copied().filter(|group| is_used[*group]) {
                let capacities = [Family::V4, Family::V6].map(|family| bearing(compiled, standing, group, family));
                let total: f64 = capacities.iter().flatten().map(|capacity| capacity.most).sum();
                for (family, capacity) in [Family::V4, Family::V6].into_iter().zip(capacities) {
                    let own = capacity.and_then(|capacity| {
                        let taken = if total > 0.0 { foreign[group] * capacity.most / total } else { 0.0 };
                        add(region, Some((group as u32, family)), in_answers(capacity), taken)
                    });
                    sites[group * 2 + family.index()] = Site { rooms: [whole, own] };
                }
            }
        }
        (rooms, sites, shown)
    }
}

/// The services that are steered by load, with their indices.
pub(crate) fn loads(compiled: &Compiled) -> impl Iterator<Item = (usize, &Service, &LoadSteering)> {
    compiled.services.iter().enumerate().filter_map(|(index, service)| match &service.steering {
        Steering::Load(load) => Some((index, service, &**load)),
        _ => None,
    })
}

/// The region to which a class belongs: the first of its order in which the service has endpoints in the first tier that
/// it can be sent to at all.
fn first_region(compiled: &Compiled, load: &LoadSteering, class: usize) -> Option<u16> {
    load.homes[class / 2].map(|group| compiled.groups[group as usize].region)
}

/// What tells a class from others in every configuration: the family that it asks for, and the names of the pools and regions
/// where it may go, the first one its home.
fn way<'c>(
    compiled: &'c Compiled,
    service: &Service,
    load: &LoadSteering,
    class: usize,
) -> (Family, Vec<(&'c str, &'c str)>) {
    let regions = compiled.maps[load.map].order(load.orders[class / 2]).regions;
    let places = service.tiers.iter().flat_map(|tier| {
        let in_tier = regions.iter().filter(|region| compiled.pools[tier.pool].group(**region).is_some());
        in_tier.map(|region| {
            let config = &compiled.config;
            (config.pools[tier.pool].name.as_str(), config.regions[usize::from(*region)].name.as_str())
        })
    });
    (family(class), places.collect())
}

/// What a class asks for.
fn family(class: usize) -> Family {
    if class.is_multiple_of(2) { Family::V4 } else { Family::V6 }
}

/// What the healthy endpoints of a group and family can bear together, if they have capacities. What drains is to be left, so it
/// bears nothing.
fn bearing(compiled: &Compiled, standing: &impl Fn(u32) -> Standing, group: usize, family: Family) -> Option<Capacity> {
    let mut sum: Option<Capacity> = None;
    for index in compiled.groups[group].endpoints.clone() {
        let endpoint = &compiled.endpoints[index as usize];
        let of_family = endpoint.address().is_none_or(|address| Family::of(address) == family);
        let Some(capacity) = endpoint.capacity.filter(|_| of_family) else { continue };
        let sum = sum.get_or_insert(Capacity { most: 0.0, target: 0.0 });
        let standing = standing(index);
        let stays = matches!(standing.drain, Drain::None | Drain::Planned(_));
        if standing.is_healthy() && stays && endpoint.state != EndpointState::Disabled && endpoint.weight > 0 {
            // One that warms up bears less.
            let share = f64::from(standing.share) / f64::from(WHOLE);
            sum.most += capacity.most * share;
            sum.target += capacity.target * share;
        }
    }
    sum
}

/// Where a class may go, and whether the first of that is its home.
fn stops(
    compiled: &Compiled,
    live: &Live,
    service: &Service,
    load: &LoadSteering,
    order: u32,
    family: Family,
) -> (Vec<Stop>, bool) {
    let mut found: Vec<(Stop, &Candidates)> = Vec::new();
    let mut homes: Vec<(u16, u32)> = Vec::new();
    for (tier, regions) in (0..).zip(service.tiers.iter().map(|_| compiled.maps[load.map].order(order).regions)) {
        for region in regions {
            let Some((group, candidates)) = candidates(compiled, live, service, tier, *region, family) else {
                continue;
            };
            if !may_serve(compiled, group, family) {
                continue;
            }
            if homes.last().is_none_or(|(home_tier, _)| *home_tier != tier) {
                homes.push((tier, group));
            }
            if !candidates.list.is_empty() {
                found.push((Stop { site: group * 2 + family.index() as u32, tier }, candidates));
            }
        }
    }
    // As without load: one whose other family is down yields where any serves both, and its own clients go to none but such.
    let nearest =
        found.iter().map(|(_, candidates)| *candidates).find(|candidates| candidates.health == Health::Enough);
    let does_serve: fn(&Candidates) -> bool = match nearest {
        _ if !found.iter().any(|(_, candidates)| candidates.serves_both()) => |it| it.health == Health::Enough,
        Some(nearest) if !nearest.other_family_serves => Candidates::serves_both,
        _ => |it| it.fitness() == Candidates::FITTEST,
    };
    let stops: Vec<Stop> =
        found.iter().filter(|(_, candidates)| does_serve(candidates)).map(|(stop, _)| *stop).collect();
    let is_home = stops.first().is_some_and(|first| {
        homes.iter().any(|(tier, group)| *tier == first.tier && group * 2 + family.index() as u32 == first.site)
    });
    (stops, is_home)
}

/// The group that a tier has in a region, and its candidates.
fn candidates<'l>(
    compiled: &Compiled,
    live: &'l Live,
    service: &Service,
    tier: u16,
    region: u16,
    family: Family,
) -> Option<(u32, &'l Candidates)> {
    let place = usize::from(tier);
    let tier = &service.tiers[place];
    let pool = &compiled.pools[tier.pool];
    let group = pool.group(region)?;
    Some((group, live.candidates_of(service, place, tier.first_layout + (group - pool.groups.start), family)))
}

/// Whether a group has an endpoint of this family that isn't disabled.
fn may_serve(compiled: &Compiled, group: u32, family: Family) -> bool {
    let endpoints = compiled.groups[group as usize].endpoints.clone();
    endpoints.map(|index| &compiled.endpoints[index as usize]).any(|endpoint| {
        endpoint.state != EndpointState::Disabled
            && endpoint.address().is_none_or(|address| Family::of(address) == family)
    })
}

/// Puts the shares of a class on a line.
fn add_steps(steps: &mut Vec<Step>, compiled: &Compiled, stops: &[Stop], shares: &[f64]) {
    let first = steps.len();
    let mut sum = 0.0;
    for (stop, share) in stops.iter().zip(shares).filter(|(_, share)| **share > LEAST_SHARE) {
        sum += share;
        let region = compiled.groups[stop.site as usize / 2].region;
        steps.push(Step { end: (sum * f64::from(u32::MAX)) as u32, tier: stop.tier, region });
    }
    if let Some(last) = steps[first..].last_mut() {
        last.end = u32::MAX;
    }
}
