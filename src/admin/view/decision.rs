//! A service's decision → what it was made from, and why.

use ipnet::IpNet;

use super::explain::Evidence;
use super::{
    Client, Endpoint, Fate, Group, GroupEndpoint, OutcomeKind, Part, Place, RankedRegion, ServiceDecision, Tier,
};
use crate::config::{self, Balance, EndpointState, WhenAllDown};
use crate::geo::{Claim, Ranked, Ranker};
use crate::health::Verdict;
use crate::routing::{Candidates, Choice, Decision, Family, Health, Outcome, region_weight};
use crate::snapshot::{self, Service, Steering};

/// A decision and all that it was made from.
pub(super) struct Grounds<'a> {
    evidence: &'a Evidence<'a>,
    service: &'a Service,
    settings: &'a config::Service,
    family: Family,
    decision: &'a Decision<'a>,
    /// The regions in the order in which they are tried; those of a weighted service, which has none, as in the file.
    order: Vec<Ranked>,
}

impl<'a> Grounds<'a> {
    pub(super) fn new(evidence: &'a Evidence<'a>, service: usize, family: Family, decision: &'a Decision<'a>) -> Self {
        let compiled = &evidence.snapshot.compiled;
        let settings = &compiled.config.services[service];
        let service = &compiled.services[service];
        let regions: Vec<usize> = match &service.steering {
            Steering::Proximity { map } => {
                let map = &compiled.maps[*map];
                map.order(map.lookup(evidence.client).0).iter().map(|region| usize::from(*region)).collect()
            }
            Steering::Priority { order } => order.iter().map(|region| usize::from(*region)).collect(),
            Steering::Weighted { regions } => regions.iter().map(|region| usize::from(region.region)).collect(),
        };
        let located = &evidence.located;
        let ranks = Ranker::new(&compiled.config.regions, &regions).rank(&located.location, located.within);
        let order = regions.iter().filter_map(|region| ranks.iter().find(|rank| rank.region == *region).copied());
        Self { order: order.collect(), evidence, service, settings, family, decision }
    }

    /// The whole of it; the service is in this zone.
    pub(super) fn view(&self, zone: String) -> ServiceDecision {
        let (service, settings, decision) = (self.service, self.settings, self.decision);
        let tiers = self.tiers();
        let (answered, pick_reason) = self.picks();
        let (scope, holds_for) = self.scope();
        ServiceDecision {
            service: settings.name.to_string(),
            zone,
            family: self.family_name().to_owned(),
            steering: match &service.steering {
                Steering::Proximity { .. } => "proximity",
                Steering::Priority { .. } => "priority",
                Steering::Weighted { .. } => "weighted",
            }
            .to_owned(),
            balance: match service.balance {
                Balance::Weighted => "weighted",
                Balance::RoundRobin => "round-robin",
                Balance::Random => "random",
            }
            .to_owned(),
            answers: service.answers,
            when_all_down: match &settings.when_all_down {
                WhenAllDown::ServeAll => "serve-all",
                WhenAllDown::LastResort(_) => "last-resort",
                WhenAllDown::NoData => "nodata",
            }
            .to_owned(),
            regions: self.order.iter().map(|ranked| self.region(ranked)).collect(),
            outcome: match (&decision.outcome, self.choice()) {
                (_, Some(choice)) if choice.candidates.health == Health::None => OutcomeKind::FailOpen,
                (Outcome::Endpoints { .. }, _) => OutcomeKind::Endpoints,
                (Outcome::LastResort(_), _) => OutcomeKind::LastResort,
                (Outcome::NoData, _) => OutcomeKind::NoData,
            },
            chosen: self.choice().map(|choice| self.place(choice)),
            reason: self.reason(&tiers),
            answered,
            pick_reason,
            ttl: decision.ttl,
            ttl_reason: self.ttl_reason(&tiers),
            scope,
            holds_for,
            tiers,
        }
    }

    /// The prefix length for which this holds, and for whom that is. Nobody's address has no prefix.
    fn scope(&self) -> (u8, String) {
        let client = self.evidence.client;
        match (self.decision.scope, self.evidence.given) {
            (0, _) => (0, "every client".to_owned()),
            (_, Client::Unknown) => (0, "every client whose location is unknown".to_owned()),
            (scope, _) => {
                let network = IpNet::new(client, scope).map_or(client.into(), |network| network.trunc());
                (scope, network.to_string())
            }
        }
    }

    fn choice(&self) -> Option<Choice<'a>> {
        match &self.decision.outcome {
            Outcome::Endpoints { choice, .. } => Some(*choice),
            Outcome::LastResort(_) | Outcome::NoData => None,
        }
    }

    fn family_name(&self) -> &'static str {
        match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    fn place(&self, choice: Choice<'_>) -> Place {
        let compiled = &self.evidence.snapshot.compiled;
        let group = &compiled.groups[choice.group as usize];
        Place {
            pool: compiled.config.pools[group.pool].name.clone(),
            region: compiled.config.regions[usize::from(group.region)].name.clone(),
        }
    }

    fn region(&self, ranked: &Ranked) -> RankedRegion {
        let region = &self.evidence.snapshot.compiled.config.regions[ranked.region];
        let by_proximity = matches!(self.service.steering, Steering::Proximity { .. });
        RankedRegion {
            region: region.name.clone(),
            distance_km: ranked.distance_km,
            biased_km: ranked.biased_km.filter(|_| by_proximity && region.bias != 0),
            claim: ranked.claim.filter(|_| by_proximity).map(claim_text),
            weight: match &self.service.steering {
                Steering::Weighted { regions } => regions
                    .iter()
                    .find(|drawn| usize::from(drawn.region) == ranked.region)
                    .and_then(|drawn| drawn.weight),
                _ => None,
            },
        }
    }

    /// What a region weighs where regions are drawn.
    fn drawn_weight(&self, region: usize, candidates: &Candidates) -> Option<u64> {
        let Steering::Weighted { regions } = &self.service.steering else { return None };
        let drawn = regions.iter().find(|drawn| usize::from(drawn.region) == region)?;
        Some(region_weight(drawn, candidates))
    }

    fn tiers(&self) -> Vec<Tier> {
        let compiled = &self.evidence.snapshot.compiled;
        let mut tiers = Vec::new();
        for (tier, pool) in self.service.tiers.iter().enumerate() {
            let mut groups = Vec::new();
            // The weights of the groups that are drawn from.
            let mut weights = Vec::new();
            let mut chosen_is_ahead = true;
            for ranked in &self.order {
                let Some(id) = compiled.pools[*pool].group(ranked.region as u16) else { continue };
                let candidates = self.evidence.snapshot.live.candidates(id, self.family);
                let weight = self.drawn_weight(ranked.region, candidates);
                let is_chosen = self.choice().is_some_and(|choice| choice.group == id);
                chosen_is_ahead &= !is_chosen;
                let is_empty = candidates.list.is_empty() || weight == Some(0);
                let fate = match self.choice() {
                    _ if is_chosen => Fate::Chosen,
                    _ if is_empty => Fate::Empty,
                    Some(choice) => {
                        // Where regions are drawn all of a tier are looked at, else those up to the chosen one.
                        let looked_at =
                            tier < choice.tier || tier == choice.tier && (weight.is_some() || chosen_is_ahead);
                        let is_less = candidates.health < choice.candidates.health;
                        if looked_at && is_less { Fate::PassedOver } else { Fate::Standby }
                    }
                    None => Fate::PassedOver,
                };
                let is_drawn_from = self.choice().is_some_and(|choice| choice.tier == tier)
                    && matches!(fate, Fate::Chosen | Fate::Standby);
                weights.push(weight.filter(|_| is_drawn_from));
                groups.push(self.group(id, candidates, fate));
            }
            let total: u64 = weights.iter().flatten().sum();
            for (group, weight) in groups.iter_mut().zip(weights) {
                group.share_percent = weight.map(|weight| percent(weight, total));
            }
            let pool = &compiled.pools[*pool];
            let name = compiled.config.pools[self.service.tiers[tier]].name.clone();
            tiers.push(Tier { pool: name, min_healthy: pool.min_healthy, groups });
        }
        tiers
    }

    fn group(&self, id: u32, candidates: &Candidates, fate: Fate) -> Group {
        let compiled = &self.evidence.snapshot.compiled;
        let group = &compiled.groups[id as usize];
        let picked: &[u32] = match &self.decision.outcome {
            Outcome::Endpoints { picks, .. } if fate == Fate::Chosen => picks.as_slice(),
            _ => &[],
        };
        let endpoints: Vec<GroupEndpoint> = group
            .endpoints
            .clone()
            .map(|index| {
                let endpoint = &compiled.endpoints[index as usize];
                let place = candidates.list.iter().position(|candidate| candidate.endpoint == index);
                let place = place.filter(|_| fate == Fate::Chosen);
                GroupEndpoint {
                    endpoint: Endpoint::new(endpoint, self.evidence.health, self.evidence.now),
                    part: self.part(endpoint),
                    share_percent: place.map(|place| self.share_percent(candidates, place)),
                    answered: place.is_some_and(|place| picked.contains(&(place as u32))),
                }
            })
            .collect();
        let count = |part| endpoints.iter().filter(|endpoint| endpoint.part == part).count();
        let healthy = count(Part::Candidate);
        Group {
            region: compiled.config.regions[usize::from(group.region)].name.clone(),
            fate,
            healthy,
            allowed: healthy + count(Part::Down),
            share_percent: None,
            endpoints,
        }
    }

    fn part(&self, endpoint: &snapshot::Endpoint) -> Part {
        let verdict = endpoint.target.and_then(|target| self.evidence.health.get(target));
        match endpoint.state {
            _ if endpoint.address().is_some_and(|address| Family::of(address) != self.family) => Part::OtherFamily,
            EndpointState::Disabled => Part::Disabled,
            EndpointState::Draining => Part::Draining,
            EndpointState::Enabled if endpoint.weight == 0 => Part::WeightZero,
            EndpointState::Enabled if verdict.is_some_and(|target| target.machine.verdict() == Verdict::Down) => {
                Part::Down
            }
            EndpointState::Enabled => Part::Candidate,
        }
    }

    /// The chance of a candidate to be the first in the answer.
    fn share_percent(&self, candidates: &Candidates, place: usize) -> f64 {
        match self.service.balance {
            Balance::Weighted => percent(candidates.weight(place), candidates.total_weight()),
            Balance::RoundRobin | Balance::Random => percent(1, candidates.list.len() as u64),
        }
    }

    /// What is answered, and how that was picked.
    fn picks(&self) -> (Vec<String>, String) {
        match &self.decision.outcome {
            Outcome::Endpoints { choice, picks } => {
                let list = &choice.candidates.list;
                let endpoints = &self.evidence.snapshot.compiled.endpoints;
                let name = |pick: &u32| endpoints[list[*pick as usize].endpoint as usize].destination.to_string();
                let reason = match self.service.balance {
                    _ if list.len() == 1 => "there is no other to pick",
                    Balance::Weighted => "drawn at random by weight; this is one draw, and the next may differ",
                    Balance::RoundRobin => "in turn; each answer begins one further than the last",
                    Balance::Random => {
                        "drawn at random, each with the same chance; this is one draw, and the next may differ"
                    }
                };
                (picks.as_slice().iter().map(name).collect(), reason.to_owned())
            }
            Outcome::LastResort(addresses) => {
                let answered = addresses.iter().take(usize::from(self.service.answers));
                (answered.map(ToString::to_string).collect(), "in the order of last_resort".to_owned())
            }
            Outcome::NoData => (Vec::new(), String::new()),
        }
    }

    /// Why this group, or none.
    fn reason(&self, tiers: &[Tier]) -> String {
        let family = self.family_name();
        let mut reason = match &self.decision.outcome {
            Outcome::Endpoints { choice, .. } => self.choice_reason(*choice, tiers),
            Outcome::LastResort(_) => {
                "nothing is healthy, so the addresses of last_resort are answered (when_all_down = \"last-resort\")"
                    .to_owned()
            }
            Outcome::NoData if !self.service.has_family[self.family.index()] => {
                return format!("the service has no {family} endpoint at all: no data, whatever happens");
            }
            Outcome::NoData if tiers.iter().flat_map(|tier| &tier.groups).all(|group| group.fate == Fate::Empty) => {
                return format!(
                    "no {family} endpoint may serve, as all are disabled, draining or of weight 0, or their regions are"
                );
            }
            Outcome::NoData => match &self.settings.when_all_down {
                WhenAllDown::LastResort(_) => format!("nothing is healthy, and last_resort has no {family} address"),
                WhenAllDown::NoData | WhenAllDown::ServeAll => {
                    "nothing is healthy, and the operator wants silence then (when_all_down = \"nodata\")".to_owned()
                }
            },
        };
        let passed_over: Vec<String> = tiers
            .iter()
            .flat_map(|tier| tier.groups.iter().map(move |group| (tier, group)))
            .filter(|(_, group)| group.fate == Fate::PassedOver)
            .map(|(tier, group)| {
                let Group { region, healthy, allowed, .. } = group;
                let wanted =
                    if tier.min_healthy > 1 { format!(", {} wanted", tier.min_healthy) } else { String::new() };
                format!("{}/{region} ({healthy} of {allowed} healthy{wanted})", tier.pool)
            })
            .collect();
        if !passed_over.is_empty() {
            reason += &format!("; passed over: {}", passed_over.join(", "));
        }
        reason
    }

    fn choice_reason(&self, choice: Choice<'_>, tiers: &[Tier]) -> String {
        let Place { pool, region } = self.place(choice);
        let tier = choice.tier;
        let is_first =
            tiers.first().and_then(|tier| tier.groups.first()).is_some_and(|group| group.fate == Fate::Chosen);
        let index = self.evidence.snapshot.compiled.groups[choice.group as usize].region;
        let ranked = self.order.iter().find(|ranked| ranked.region == usize::from(index));
        let how_ordered = match &self.service.steering {
            Steering::Weighted { .. } => "drawn by weight among the regions".to_owned(),
            Steering::Priority { .. } => "the first region in the service's order".to_owned(),
            Steering::Proximity { .. } => match ranked.map(|ranked| (ranked.claim, ranked.distance_km)) {
                Some((Some(claim), _)) => format!("the region that claims the client by {}", claim_text(claim)),
                Some((None, Some(distance_km))) => format!("the nearest region ({distance_km:.0} km)"),
                _ => "the first region in the file's order (the client's location is unknown)".to_owned(),
            },
        };
        let what_health = match choice.candidates.health {
            Health::Enough if is_first => "",
            Health::Enough => " with enough healthy endpoints",
            Health::Few => " with any healthy endpoint, as none has as many as wanted",
            Health::None => {
                " with endpoints at all: nothing is healthy, so all are answered as though they were (when_all_down = \"serve-all\", failing open)"
            }
        };
        let which_pool = if tier == 0 { String::new() } else { format!(" of the failover pool {pool}") };
        format!("{region} is {how_ordered}{which_pool}{what_health}")
    }

    /// Why the answer lives as long as it does.
    fn ttl_reason(&self, tiers: &[Tier]) -> String {
        let ttl = self.service.ttl;
        let failover_active = tiers.iter().flat_map(|tier| &tier.groups).any(|group| group.fate == Fate::PassedOver);
        match self.choice() {
            _ if matches!(self.decision.outcome, Outcome::NoData) => {
                "the zone's SOA says how long the absence is kept".to_owned()
            }
            _ if ttl.min == ttl.max => "the service's only one".to_owned(),
            None => "the service's minimum, as nothing is healthy".to_owned(),
            Some(choice) => match choice.candidates.health {
                Health::None => "the service's minimum, as nothing is healthy".to_owned(),
                Health::Few => "the service's minimum, as fewer endpoints are healthy than wanted".to_owned(),
                Health::Enough if failover_active => "the service's minimum, as a region was passed over".to_owned(),
                Health::Enough if choice.candidates.flip_seconds < ttl.max => {
                    format!("shorter, as a verdict may change in {} s", choice.candidates.flip_seconds)
                }
                Health::Enough => "the service's maximum, as no verdict here is near a change".to_owned(),
            },
        }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn claim_text(claim: Claim) -> String {
    match claim {
        Claim::Network => "[[geoip.networks]]".to_owned(),
        Claim::Asn(number) => format!("AS{number}"),
        Claim::Subdivision(code) => format!("subdivision {code}"),
        Claim::Country(code) => format!("country {code}"),
        Claim::Continent(code) => format!("continent {code}"),
    }
}
