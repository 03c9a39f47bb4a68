//! What a decision was made from, and why, for people.
//!
//! A decision keeps no record of its grounds: they are found again from what it read. That allocates nothing either, so
//! that a query can be answered with them.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use ipnet::IpNet;

use super::balance::adaptive::{Controller, Event};
use super::{Candidates, Choice, Decision, Family, Health, Method, Outcome, RoomLoad, Way, region_weight};
use crate::config::AnswerOrder;
use crate::geo::latency::ClientTimes;
use crate::geo::{Located, Measure, Order, Ranked, Ruling, Standpoint};
use crate::health::overrides::Said;
use crate::snapshot::{AllDown, OrderedBy, RegionWeight, Service, Snapshot, Steering};

/// A decision and all that it was made from.
#[derive(Debug)]
pub struct Grounds<'a> {
    snapshot: &'a Snapshot,
    service: &'a Service,
    client: IpAddr,
    standpoint: Standpoint<'a>,
    family: Family,
    decision: &'a Decision<'a>,
    unix_seconds: u32,
    /// The regions that the client may be sent to.
    order: Order<'a>,
    /// What they weigh, where they are drawn.
    drawn: &'a [RegionWeight],
    /// What all groups weigh together among which the chosen one was drawn.
    drawn_weight: u64,
}

/// A group that can serve a service.
#[derive(Debug)]
pub struct Considered<'a> {
    /// Index into [`Compiled::groups`](crate::snapshot::Compiled::groups).
    pub group: u32,
    /// Its region.
    pub region: u16,
    /// Its candidates of the asked family.
    pub candidates: &'a Candidates,
    /// What it weighs, where regions are drawn.
    pub weight: Option<u64>,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It serves.
    Chosen,
    /// Too little of it is healthy.
    PassedOver,
    /// It was not needed, or not drawn.
    Standby,
    /// It has nothing to serve this question with.
    Empty,
}

impl Considered<'_> {
    /// How many of its endpoints may serve this question and are healthy.
    pub fn healthy(&self) -> usize {
        if self.candidates.health == Health::None { 0 } else { self.candidates.list.len() }
    }
}

impl<'a> Grounds<'a> {
    /// The grounds of a decision that [`decide`](super::decide()) made of the same for this client, who is located there, at this
    /// second since 1970.
    pub fn new(
        snapshot: &'a Snapshot,
        service: &'a Service,
        client: IpAddr,
        located: &'a Located<'a>,
        family: Family,
        decision: &'a Decision<'a>,
        unix_seconds: u32,
    ) -> Self {
        let compiled = &snapshot.compiled;
        let map = &compiled.maps[service.steering.map()];
        let order = map.order(map.lookup(client).0);
        let drawn: &[RegionWeight] = match &service.steering {
            Steering::Ordered { .. } | Steering::Load(_) => &[],
            Steering::Weighted { regions, .. } => regions,
        };
        let ruling = service.rules.and_then(|rules| compiled.geo_maps[rules].ruling(client, &located.location));
        let times = match (&service.steering, &compiled.latency) {
            (Steering::Ordered { by: OrderedBy::Latency, map }, Some(latency)) => {
                latency.of_located(client, located, compiled.maps[*map].members())
            }
            _ => ClientTimes::default(),
        };
        let standpoint = Standpoint { location: &located.location, within: located.within, ruling, times };
        let mut grounds = Self {
            snapshot,
            service,
            client,
            standpoint,
            family,
            decision,
            unix_seconds,
            order,
            drawn,
            drawn_weight: 0,
        };
        if let Some(choice) = grounds.choice() {
            let drawn_from = grounds.groups(choice.tier).filter(|group| grounds.is_drawn_from(choice, group));
            grounds.drawn_weight = drawn_from.filter_map(|group| group.weight).sum();
        }
        grounds
    }

    /// The group that serves.
    pub fn choice(&self) -> Option<Choice<'a>> {
        match &self.decision.outcome {
            Outcome::Endpoints { choice, .. } => Some(*choice),
            Outcome::LastResort(_) | Outcome::NoData => None,
        }
    }

    /// What operators say of the service, beside what they say of its endpoints.
    pub fn said(&self) -> Said {
        self.snapshot.live.said_of(self.service.index)
    }

    /// The address family that is wanted.
    pub fn family_name(&self) -> &'static str {
        self.family.name()
    }

    /// The one that isn't.
    pub(super) fn other_family_name(&self) -> &'static str {
        self.family.other().name()
    }

    /// How the service is steered, as the configuration has it.
    pub(super) fn steering_name(&self) -> &'static str {
        self.service.steering.name()
    }

    /// By what regions with the same claim are ordered.
    pub(super) fn measure(&self) -> Measure {
        self.service.steering.measure()
    }

    /// Whether a fence keeps the client out of a region.
    pub(super) fn is_fenced(&self) -> bool {
        self.order.fenced
    }

    pub(super) fn region_name(&self, region: usize) -> &'a str {
        &self.snapshot.compiled.config.regions[region].name
    }

    /// The regions in which the service has endpoints, but to which a fence does not let the client go; each once.
    pub(super) fn regions_outside(&self) -> impl Iterator<Item = &'a str> {
        let compiled = &self.snapshot.compiled;
        let has_endpoints = |region: u16| {
            let mut pools = self.service.tiers.iter().map(|tier| &compiled.pools[tier.pool]);
            pools.any(|pool| pool.group(region).is_some())
        };
        let all = 0..compiled.config.regions.len();
        all.filter(move |region| {
            let region = *region as u16;
            self.order.fenced && !self.order.regions.contains(&region) && has_endpoints(region)
        })
        .map(|region| self.region_name(region))
    }

    /// The name of the pool of a group, but for the service's own.
    pub(super) fn failover_pool_name(&self, group: u32) -> Option<&'a str> {
        let pool = self.snapshot.compiled.groups[group as usize].pool;
        let is_own = self.service.tiers.first().is_some_and(|tier| tier.pool == pool);
        (!is_own).then(|| self.snapshot.compiled.config.pools[pool].name.as_str())
    }

    /// Whether regions are tried in an order, not drawn.
    pub fn is_ordered(&self) -> bool {
        self.drawn.is_empty()
    }

    /// The rule for the client, where the service has a map.
    pub fn ruling(&self) -> Option<Ruling<'a>> {
        self.standpoint.ruling
    }

    /// Where the client's class goes, where it is steered by load.
    pub fn way(&self) -> Option<Way<'a>> {
        let Steering::Load(load) = &self.service.steering else { return None };
        let (order, _) = self.snapshot.compiled.maps[load.map].lookup(self.client);
        Some(self.snapshot.live.flows().way(load.index, load.class(order, self.family)))
    }

    /// What part of the client's class goes to a region of a tier, in percent, where it is steered by load.
    pub fn load_percent(&self, tier: usize, region: u16) -> Option<f64> {
        let mut before = 0.0;
        let mut percent = 0.0;
        for step in self.way()?.steps {
            let end = f64::from(step.end) + 1.0;
            if (usize::from(step.tier), step.region) == (tier, region) {
                percent = (end - before) * 100.0 / (f64::from(u32::MAX) + 1.0);
            }
            before = end;
        }
        Some(percent)
    }

    /// What a region can bear and what comes to it, where it has a capacity and the service is steered by load.
    pub fn region_load(&self, region: u16) -> Option<&'a RoomLoad> {
        self.snapshot.live.flows().region(region).filter(|_| matches!(self.service.steering, Steering::Load(_)))
    }

    /// Whether a region is among those that are claimed, where these are drawn from first.
    fn is_claimed(&self, region: u16) -> bool {
        self.order.regions.iter().take(self.order.claimed).any(|claimed| *claimed == region)
    }

    /// Whether the group was drawn from with the chosen one, which is of the same tier.
    fn is_drawn_from(&self, choice: Choice<'_>, group: &Considered<'_>) -> bool {
        let chosen = self.snapshot.compiled.groups[choice.group as usize].region;
        matches!(group.fate, Fate::Chosen | Fate::Standby) && self.is_claimed(group.region) == self.is_claimed(chosen)
    }

    /// The regions, each with what it weighs where they are drawn.
    fn regions(&self) -> impl Iterator<Item = (u16, Option<&'a RegionWeight>)> + use<'a> {
        let drawn = self.drawn;
        self.order.regions.iter().map(move |region| (*region, drawn.iter().find(|drawn| drawn.region == *region)))
    }

    /// How the regions stand to the client, in the order in which they are tried; where they are drawn, those that are claimed first,
    /// else as in the file.
    pub fn ranked(&self) -> impl Iterator<Item = Ranked<'a>> {
        self.regions().filter_map(|(region, _)| self.rank(region))
    }

    fn rank(&self, region: u16) -> Option<Ranked<'a>> {
        let regions = &self.snapshot.compiled.config.regions;
        Ranked::of(regions, usize::from(region), self.service.steering.measure(), &self.standpoint)
    }

    /// What the operator says that a region weighs.
    pub fn configured_weight(&self, region: usize) -> Option<u32> {
        self.drawn.iter().find(|drawn| usize::from(drawn.region) == region)?.weight
    }

    /// The groups of a tier, in the order of the regions.
    pub fn groups(&self, tier: usize) -> impl Iterator<Item = Considered<'a>> {
        let choice = self.choice();
        let mut is_ahead = choice.is_none_or(|choice| tier <= choice.tier);
        // Where a region that is claimed can serve, the others of its tier are not looked at.
        let ends_with_claimed = choice.is_some_and(|choice| {
            let region = self.snapshot.compiled.groups[choice.group as usize].region;
            choice.tier == tier && choice.candidates.health == Health::Enough && self.is_claimed(region)
        });
        let anyone_serves_both = self.anyone_serves_both();
        self.regions().filter_map(move |(region, drawn)| {
            let found = self.service.choice(self.snapshot, tier, region, self.family)?;
            let Choice { group, candidates, .. } = found;
            let weight = drawn.map(|drawn| region_weight(self.snapshot, self.service, drawn, found));
            let serves_as_well = |choice: Choice<'_>| {
                let least = choice.candidates.fitness();
                candidates.fitness() >= if anyone_serves_both { least } else { (least.0, false) }
            };
            let is_chosen = choice.is_some_and(|choice| choice.group == group);
            // Where regions are drawn all of a tier are looked at, else those up to the chosen one.
            is_ahead &= (!is_chosen || weight.is_some()) && (!ends_with_claimed || self.is_claimed(region));
            let fate = match choice {
                _ if is_chosen => Fate::Chosen,
                _ if candidates.list.is_empty() || weight == Some(0) => Fate::Empty,
                Some(choice) if !is_ahead || serves_as_well(choice) => Fate::Standby,
                _ => Fate::PassedOver,
            };
            Some(Considered { group, region, candidates, weight, fate })
        })
    }

    /// Whether the client could be sent to a group that serves both families: to it those yield of which one is down.
    fn anyone_serves_both(&self) -> bool {
        (0..self.service.tiers.len()).any(|tier| {
            self.regions().any(|(region, drawn)| {
                let found = self.service.choice(self.snapshot, tier, region, self.family);
                found.filter(|found| found.candidates.serves_both()).is_some_and(|found| {
                    drawn.is_none_or(|drawn| region_weight(self.snapshot, self.service, drawn, found) > 0)
                })
            })
        })
    }

    pub(super) fn all_groups(&self) -> impl Iterator<Item = Considered<'a>> {
        (0..self.service.tiers.len()).flat_map(|tier| self.groups(tier))
    }

    /// The chance that a group of this tier is drawn, in percent; nothing where it is not drawn from.
    pub fn share_percent(&self, tier: usize, group: &Considered<'_>) -> Option<f64> {
        let choice = self.choice().filter(|choice| choice.tier == tier)?;
        let weight = group.weight.filter(|_| self.is_drawn_from(choice, group))?;
        Some(100.0 * weight as f64 / self.drawn_weight.max(1) as f64)
    }

    /// For whom the decision holds.
    pub fn holds_for(&self) -> HoldsFor {
        HoldsFor { client: self.client, scope: self.decision.scope }
    }

    /// Why this group, or none.
    pub fn reason(&self) -> Reason<'_> {
        Reason(self)
    }

    /// Why the answer lives as long as it does.
    pub fn ttl_reason(&self) -> TtlReason<'_> {
        TtlReason(self)
    }

    /// How what is answered was picked; nothing where no data is answered.
    pub fn pick_reason(&self) -> PickReason<'_> {
        PickReason(self)
    }

    /// What the adaptive balance chose for the group that serves, and why; nothing for other balances.
    pub fn adaptive(&self) -> Option<&'a Controller> {
        self.snapshot.live.adaptive(self.choice()?.layout)
    }
}

/// Shows for whom a decision holds.
#[derive(Debug, Clone, Copy)]
pub struct HoldsFor {
    client: IpAddr,
    scope: u8,
}

impl Display for HoldsFor {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.scope == 0 {
            return f.write_str("every client");
        }
        // A scope is never longer than the address.
        IpNet::new(self.client, self.scope).map_or(self.client.into(), |network| network.trunc()).fmt(f)
    }
}

/// Shows why a group serves, or none.
#[derive(Debug)]
pub struct Reason<'a>(&'a Grounds<'a>);

impl Display for Reason<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(grounds) = self;
        let family = grounds.family_name();
        if let Some(ruling) = grounds.ruling().filter(|_| grounds.order.fenced) {
            match grounds.order.regions {
                [] if ruling.rule.regions.is_empty() => {
                    return write!(f, "no data for these clients, on purpose: no region is listed by {ruling}");
                }
                [] => return write!(f, "no data, as the service has no endpoint inside the fence of {ruling}"),
                _ => write!(f, "inside the fence of {ruling}, ")?,
            }
        }
        match (&grounds.decision.outcome, &grounds.service.when_all_down) {
            (Outcome::Endpoints { choice, .. }, _) => write_choice_reason(f, grounds, *choice),
            (Outcome::LastResort(_), _) => f.write_str(
                "nothing is healthy, so the addresses of last_resort are answered (when_all_down is last-resort)",
            ),
            (Outcome::NoData, _) if !grounds.service.has_family[grounds.family.index()] => {
                write!(f, "the service has no {family} endpoint at all: no data, whatever happens")
            }
            (Outcome::NoData, _) if grounds.all_groups().all(|group| group.fate == Fate::Empty) => write!(
                f,
                "no {family} endpoint may serve, as all are disabled, draining or of weight 0, or their regions are"
            ),
            (Outcome::NoData, AllDown::LastResort(_)) => {
                write!(f, "nothing is healthy, and last_resort has no {family} address")
            }
            (Outcome::NoData, AllDown::NoData | AllDown::ServeAll) => {
                f.write_str("nothing is healthy, and the operator wants silence then (when_all_down is nodata)")
            }
        }
    }
}

fn write_choice_reason(f: &mut Formatter<'_>, grounds: &Grounds<'_>, choice: Choice<'_>) -> fmt::Result {
    let compiled = &grounds.snapshot.compiled;
    let group = &compiled.groups[choice.group as usize];
    write!(f, "{} is ", compiled.config.regions[usize::from(group.region)].name)?;
    let ranked = grounds.rank(group.region);
    // A fence's is on all that is left, and told of already.
    let claim = ranked.and_then(|ranked| ranked.claim).filter(|_| !grounds.is_fenced());
    let round_trip = ranked.and_then(|ranked| ranked.round_trip);
    let distance_km = ranked.and_then(|ranked| ranked.distance_km);
    match (&grounds.service.steering, claim, round_trip, distance_km) {
        (Steering::Weighted { .. }, Some(claim), ..) => {
            write!(f, "drawn by weight among the regions that claim the client by {claim}")?;
        }
        (Steering::Weighted { .. }, ..) => f.write_str("drawn by weight among the regions")?,
        (Steering::Load(_), ..) if write_load_reason(f, grounds, choice, group.region)? => {
            return write_region_load(f, grounds, group.region);
        }
        (Steering::Ordered { .. } | Steering::Load(_), Some(claim), ..) => {
            write!(f, "the region that claims the client by {claim}")?;
        }
        (Steering::Ordered { by: OrderedBy::Priority, .. }, ..) => {
            f.write_str("the first region in the service's order")?;
        }
        (Steering::Ordered { by: OrderedBy::Geo, .. }, None, ..) if grounds.is_fenced() => {
            f.write_str("the first region that it lists")?;
        }
        (Steering::Ordered { .. } | Steering::Load(_), None, Some(round_trip), _) => {
            write!(f, "the region with the shortest round trip ({round_trip})")?;
        }
        (Steering::Ordered { .. } | Steering::Load(_), None, None, Some(distance_km)) => {
            write!(f, "the nearest region ({distance_km:.0} km)")?;
        }
        (Steering::Ordered { .. } | Steering::Load(_), None, None, None) => {
            f.write_str("the first region in the file's order (the client's location is unknown)")?;
        }
    }
    if choice.tier > 0 {
        write!(f, " of the failover pool {}", compiled.config.pools[group.pool].name)?;
    }
    // What claims the client is no matter of health.
    let joint = if claim.is_some() { ", with" } else { " with" };
    match choice.candidates.health {
        Health::Enough if grounds.all_groups().next().is_some_and(|first| first.fate == Fate::Chosen) => {}
        Health::Enough => write!(f, "{joint} enough healthy endpoints")?,
        Health::Few => write!(f, "{joint} any healthy endpoint, as none has as many as wanted")?,
        Health::None => write!(
            f,
            "{joint} endpoints at all: nothing is healthy, so all are answered as though they were \
             (when_all_down is serve-all, failing open)",
        )?,
    }
    match (&grounds.service.steering, grounds.service.region_sticky) {
        (Steering::Weighted { .. }, Some(sticky)) if grounds.decision.scope > 0 => {
            write!(f, ", once for all of the client's /{}", sticky.prefix(grounds.client))
        }
        _ => Ok(()),
    }
}

/// Writes why load leads there; false where it is as it would be without.
fn write_load_reason(
    f: &mut Formatter<'_>,
    grounds: &Grounds<'_>,
    choice: Choice<'_>,
    region: u16,
) -> Result<bool, fmt::Error> {
    let Some(way) = grounds.way() else { return Ok(false) };
    let Some(place) = way.steps.iter().position(|step| (usize::from(step.tier), step.region) == (choice.tier, region))
    else {
        return Ok(false);
    };
    let percent = grounds.load_percent(choice.tier, region).unwrap_or(0.0);
    match (way.is_displaced, place) {
        (true, _) => write!(
            f,
            "where {percent:.1} % of these clients go: those of a region that can't serve are spread over the others by room"
        )?,
        (false, 0) if way.steps.len() == 1 => return Ok(false),
        (false, 0) => {
            write!(f, "the first region in the client's order, which has room for {percent:.1} % of its clients")?;
        }
        (false, _) => {
            write!(f, "the next region with room, for {percent:.1} % of these clients, as those before it are full")?;
        }
    }
    Ok(true)
}

/// Writes what comes to a region and what it bears, where it has a capacity.
fn write_region_load(f: &mut Formatter<'_>, grounds: &Grounds<'_>, region: u16) -> fmt::Result {
    let Some(RoomLoad { load, target, capacity, .. }) = grounds.region_load(region) else { return Ok(()) };
    let state = if load > capacity {
        ", past it"
    } else if *load > target * 1.001 {
        ", past the target"
    } else {
        ""
    };
    write!(f, "; its load is {load:.1}/s, its target {target:.1}/s, its capacity {capacity:.1}/s{state}")
}

/// Shows how what is answered was picked.
#[derive(Debug)]
pub struct PickReason<'a>(&'a Grounds<'a>);

impl Display for PickReason<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(grounds) = self;
        let choice = match &grounds.decision.outcome {
            Outcome::NoData => return Ok(()),
            Outcome::LastResort(_) => return f.write_str("in the order of last_resort"),
            Outcome::Endpoints { choice, .. } => choice,
        };
        if choice.candidates.list.len() == 1 {
            return f.write_str("there is no other to pick");
        }
        if let Some(controller) = grounds.adaptive() {
            let Event { choice, why, .. } = controller.latest();
            write!(f, "by {}, as {why}; ", choice.balance().name())?;
        }
        let prefix = choice.candidates.method.sticky().map_or(0, |sticky| sticky.prefix(grounds.client));
        match choice.candidates.method {
            Method::Weighted => f.write_str("drawn at random by weight; this is one draw, and the next may differ")?,
            Method::RoundRobin => f.write_str("in turn; each answer begins one further than the last")?,
            Method::Random => {
                f.write_str("drawn at random, each with the same chance; this is one draw, and the next may differ")?;
            }
            Method::PowerOfTwo => {
                f.write_str(
                    "the less busy of two drawn at random by weight; this is one draw, and the next may differ",
                )?;
            }
            Method::IpHash(_) => {
                write!(
                    f,
                    "by a hash of the client's /{prefix}, which keeps its endpoint until a weight or a verdict changes"
                )?;
            }
            Method::Hashed(_) => write!(
                f,
                "by consistent hash of the client's /{prefix}, which keeps its endpoint as long as that serves and its weight stays"
            )?,
        }
        if grounds.service.answer_order == AnswerOrder::Fixed && grounds.service.answers > 1 {
            f.write_str("; in the order of the file")?;
        }
        Ok(())
    }
}

/// Shows why an answer lives as long as it does.
#[derive(Debug)]
pub struct TtlReason<'a>(&'a Grounds<'a>);

impl Display for TtlReason<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(grounds) = self;
        let ttl = grounds.service.ttl;
        let choice = match &grounds.decision.outcome {
            Outcome::NoData => {
                f.write_str("the zone's SOA says how long the absence is kept")?;
                return match self.0.decision.ttl {
                    u32::MAX => Ok(()),
                    most_seconds => write!(f, ", but {most_seconds} s at most (the service's minimum)"),
                };
            }
            _ if ttl.min == ttl.max => return f.write_str("the service's only TTL"),
            Outcome::LastResort(_) => return f.write_str("the service's minimum, as nothing is healthy"),
            Outcome::Endpoints { choice, .. } => choice,
        };
        let until_drain = choice.candidates.drains_at.saturating_sub(grounds.unix_seconds);
        match choice.candidates.health {
            Health::None => f.write_str("the service's minimum, as nothing is healthy"),
            Health::Few => f.write_str("the service's minimum, as fewer endpoints are healthy than wanted"),
            Health::Enough if grounds.all_groups().any(|group| group.fate == Fate::PassedOver) => {
                f.write_str("the service's minimum, as a region was passed over")
            }
            Health::Enough if choice.candidates.fitness() < Candidates::FITTEST => {
                let family = grounds.other_family_name();
                write!(f, "the service's minimum, as the {family} endpoints here are not healthy enough")
            }
            Health::Enough if choice.candidates.settles => {
                f.write_str("the service's minimum, as an endpoint warms up or is tried by its circuit breaker")
            }
            Health::Enough if until_drain < ttl.max.min(choice.candidates.flip_seconds) => {
                write!(f, "shorter, as an endpoint begins to drain in {until_drain} s")
            }
            Health::Enough if choice.candidates.flip_seconds < ttl.max => {
                write!(f, "shorter, as a verdict may change in {} s", choice.candidates.flip_seconds)
            }
            Health::Enough => f.write_str("the service's maximum, as no verdict here is near a change"),
        }
    }
}
