//! What a decision was made from, and why, for people.
//!
//! A decision keeps no record of its grounds: they are found again from what it read. That allocates nothing either, so
//! that a query can be answered with them.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use ipnet::IpNet;

use super::balance::adaptive::{Controller, Event};
use super::{Candidates, Choice, Decision, Family, Health, Method, Outcome, region_weight};
use crate::config::{AnswerOrder, EndpointState};
use crate::geo::{Located, Ranked};
use crate::snapshot::{AllDown, RegionWeight, Service, Snapshot, Steering};

/// A decision and all that it was made from.
#[derive(Debug)]
pub struct Grounds<'a> {
    snapshot: &'a Snapshot,
    service: &'a Service,
    client: IpAddr,
    located: &'a Located<'a>,
    family: Family,
    decision: &'a Decision<'a>,
    /// The regions in the order in which they are tried.
    order: &'a [u16],
    /// Or, where they have none, those that are drawn from.
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
    /// The grounds of a decision that [`decide`](super::decide()) made of the same for this client, who is located there.
    pub fn new(
        snapshot: &'a Snapshot,
        service: &'a Service,
        client: IpAddr,
        located: &'a Located<'a>,
        family: Family,
        decision: &'a Decision<'a>,
    ) -> Self {
        let (order, drawn): (&[u16], &[RegionWeight]) = match &service.steering {
            Steering::Proximity { map } => {
                let map = &snapshot.compiled.maps[*map];
                (map.order(map.lookup(client).0), &[])
            }
            Steering::Priority { order } => (order, &[]),
            Steering::Weighted { regions } => (&[], regions),
        };
        let mut grounds = Self { snapshot, service, client, located, family, decision, order, drawn, drawn_weight: 0 };
        if let Some(choice) = grounds.choice() {
            let drawn_from =
                grounds.groups(choice.tier).filter(|group| matches!(group.fate, Fate::Chosen | Fate::Standby));
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

    /// The address family that is wanted.
    pub fn family_name(&self) -> &'static str {
        match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// Whether regions are tried in an order, not drawn.
    pub fn is_ordered(&self) -> bool {
        self.drawn.is_empty()
    }

    /// How many regions there are to try or to draw from.
    pub fn region_count(&self) -> usize {
        self.order.len() + self.drawn.len()
    }

    /// The regions, each with what it weighs where they are drawn.
    fn regions(&self) -> impl Iterator<Item = (u16, Option<&'a RegionWeight>)> + use<'a> {
        let ordered = self.order.iter().map(|region| (*region, None));
        ordered.chain(self.drawn.iter().map(|drawn| (drawn.region, Some(drawn))))
    }

    /// How the regions stand to the client, in the order in which they are tried; where they are drawn, as in the file.
    pub fn ranked(&self) -> impl Iterator<Item = Ranked> {
        self.regions().filter_map(|(region, _)| self.rank(region))
    }

    fn rank(&self, region: u16) -> Option<Ranked> {
        let Located { location, within, .. } = self.located;
        let ranked = Ranked::of(&self.snapshot.compiled.config.regions, usize::from(region), location, *within)?;
        Some(match self.service.steering {
            Steering::Proximity { .. } => ranked,
            Steering::Priority { .. } | Steering::Weighted { .. } => Ranked { claim: None, biased_km: None, ..ranked },
        })
    }

    /// What the operator says that a region weighs.
    pub fn configured_weight(&self, region: usize) -> Option<u32> {
        self.drawn.iter().find(|drawn| usize::from(drawn.region) == region)?.weight
    }

    /// The groups of a tier, in the order of the regions.
    pub fn groups(&self, tier: usize) -> impl Iterator<Item = Considered<'a>> {
        let choice = self.choice();
        let mut is_ahead = choice.is_none_or(|choice| tier <= choice.tier);
        self.regions().filter_map(move |(region, drawn)| {
            let Choice { group, candidates, .. } = self.service.choice(self.snapshot, tier, region, self.family)?;
            let weight = drawn.map(|drawn| region_weight(drawn, candidates));
            let is_chosen = choice.is_some_and(|choice| choice.group == group);
            // Where regions are drawn all of a tier are looked at, else those up to the chosen one.
            is_ahead &= !is_chosen || weight.is_some();
            let fate = match choice {
                _ if is_chosen => Fate::Chosen,
                _ if candidates.list.is_empty() || weight == Some(0) => Fate::Empty,
                Some(choice) if !is_ahead || candidates.fitness() >= choice.candidates.fitness() => Fate::Standby,
                _ => Fate::PassedOver,
            };
            Some(Considered { group, region, candidates, weight, fate })
        })
    }

    fn all_groups(&self) -> impl Iterator<Item = Considered<'a>> {
        (0..self.service.tiers.len()).flat_map(|tier| self.groups(tier))
    }

    /// How many of a group's endpoints may serve this question, healthy or not.
    pub fn allowed(&self, group: u32) -> usize {
        let compiled = &self.snapshot.compiled;
        let endpoints = compiled.groups[group as usize].endpoints.clone();
        let endpoints = endpoints.map(|index| &compiled.endpoints[index as usize]);
        let may_serve = endpoints.filter(|endpoint| {
            endpoint.state == EndpointState::Enabled
                && endpoint.weight > 0
                && endpoint.address().is_none_or(|address| Family::of(address) == self.family)
        });
        may_serve.count()
    }

    /// The chance that a group of this tier is drawn, in percent; nothing where it is not drawn from.
    pub fn share_percent(&self, tier: usize, group: &Considered<'_>) -> Option<f64> {
        let is_drawn_from = self.choice().is_some_and(|choice| choice.tier == tier)
            && matches!(group.fate, Fate::Chosen | Fate::Standby);
        let weight = group.weight.filter(|_| is_drawn_from)?;
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
    match (&grounds.service.steering, grounds.rank(group.region).map(|ranked| (ranked.claim, ranked.distance_km))) {
        (Steering::Weighted { .. }, _) => f.write_str("drawn by weight among the regions")?,
        (Steering::Priority { .. }, _) => f.write_str("the first region in the service's order")?,
        (Steering::Proximity { .. }, Some((Some(claim), _))) => {
            write!(f, "the region that claims the client by {claim}")?;
        }
        (Steering::Proximity { .. }, Some((None, Some(distance_km)))) => {
            write!(f, "the nearest region ({distance_km:.0} km)")?;
        }
        (Steering::Proximity { .. }, _) => {
            f.write_str("the first region in the file's order (the client's location is unknown)")?;
        }
    }
    if choice.tier > 0 {
        write!(f, " of the failover pool {}", compiled.config.pools[group.pool].name)?;
    }
    match choice.candidates.health {
        Health::Enough if grounds.all_groups().next().is_some_and(|first| first.fate == Fate::Chosen) => Ok(()),
        Health::Enough => f.write_str(" with enough healthy endpoints"),
        Health::Few => f.write_str(" with any healthy endpoint, as none has as many as wanted"),
        Health::None => f.write_str(
            " with endpoints at all: nothing is healthy, so all are answered as though they were \
             (when_all_down is serve-all, failing open)",
        ),
    }
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
                write!(f, "by a hash of the client's /{prefix}, which gets the same as long as no weight changes")?;
            }
            Method::Hashed(_) => write!(
                f,
                "by consistent hash of the client's /{prefix}, which gets the same as long as that serves and its weight stays"
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
            Outcome::NoData => return f.write_str("the zone's SOA says how long the absence is kept"),
            _ if ttl.min == ttl.max => return f.write_str("the service's only one"),
            Outcome::LastResort(_) => return f.write_str("the service's minimum, as nothing is healthy"),
            Outcome::Endpoints { choice, .. } => choice,
        };
        match choice.candidates.health {
            Health::None => f.write_str("the service's minimum, as nothing is healthy"),
            Health::Few => f.write_str("the service's minimum, as fewer endpoints are healthy than wanted"),
            Health::Enough if grounds.all_groups().any(|group| group.fate == Fate::PassedOver) => {
                f.write_str("the service's minimum, as a region was passed over")
            }
            Health::Enough if choice.candidates.flip_seconds < ttl.max => {
                write!(f, "shorter, as a verdict may change in {} s", choice.candidates.flip_seconds)
            }
            Health::Enough => f.write_str("the service's maximum, as no verdict here is near a change"),
        }
    }
}
