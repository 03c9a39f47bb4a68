//! A service's decision → what it was made from, and why.

use super::explain::Evidence;
use super::{
    AdaptiveChange, Beside, Client, Endpoint, Fate, FilterStage, Group, GroupEndpoint, Latency, NotedRegion,
    OutcomeKind, Part, Place, RankedRegion, ServiceDecision, Tier,
};
use crate::config::{self, EndpointState};
use crate::geo::Ranked;
use crate::geo::latency::{self, RoundTrip};
use crate::health::EndpointHealth;
use crate::routing::balance::adaptive::{Controller, Event};
use crate::routing::{
    self, Both, Choice, Considered, Decision, Family, Filtered, Grounds, Health, Noted, Outcome, balance,
};
use crate::snapshot::{self, Service};

/// What an explanation shows of a decision.
pub(super) struct Shown<'a> {
    evidence: &'a Evidence<'a>,
    service: &'a Service,
    settings: &'a config::Service,
    family: Family,
    decision: &'a Decision<'a>,
    grounds: Grounds<'a>,
}

/// The decision of the family that leads, with what the other one gives beside it; the service is in this zone.
pub(super) fn view_both(evidence: &Evidence<'_>, service: usize, both: &Both<'_>, zone: String) -> ServiceDecision {
    let (leading, other) = (both.leading, both.leading.other());
    let (led, beside) = (&both.families[leading.index()], &both.families[other.index()]);
    let own = both.elsewhere.as_ref().unwrap_or(beside);
    let shown = |family, decision| Shown::new(evidence, service, family, decision);
    let mut view = shown(leading, led).view(zone);
    let (answered, reason) = match (&beside.outcome, shown(other, own).grounds.choice()) {
        (Outcome::NoData, Some(elsewhere)) => {
            let region = shown(other, own).place(elsewhere).region;
            (Vec::new(), format!("it would lead to {region}, and hints are of one region"))
        }
        (Outcome::NoData, None) => (Vec::new(), shown(other, own).grounds.reason().to_string()),
        _ => (shown(other, beside).answered(), shown(other, beside).grounds.pick_reason().to_string()),
    };
    let groups = view.tiers.iter_mut().flat_map(|tier| &mut tier.groups).filter(|group| group.fate == Fate::Chosen);
    for endpoint in groups.flat_map(|group| &mut group.endpoints) {
        endpoint.answered |= answered.contains(&endpoint.endpoint.endpoint);
    }
    view.beside = Some(Beside { family: other.name().to_owned(), answered, reason });
    if both.ttl < led.ttl {
        let shortest = if beside.ttl == both.ttl { beside } else { own };
        view.ttl_reason = format!("as for {}: {}", other.name(), shown(other, shortest).grounds.ttl_reason());
    }
    let whole = Decision { outcome: Outcome::NoData, ttl: both.ttl, scope: both.scope };
    (view.scope, view.holds_for) = shown(leading, &whole).scope();
    view.ttl = both.ttl;
    view
}

impl<'a> Shown<'a> {
    pub(super) fn new(evidence: &'a Evidence<'a>, service: usize, family: Family, decision: &'a Decision<'a>) -> Self {
        let Evidence { snapshot, client, located, unix_seconds, .. } = evidence;
        let settings = &snapshot.compiled.config.services[service];
        let service = &snapshot.compiled.services[service];
        let grounds = Grounds::new(snapshot, service, *client, located, family, decision, *unix_seconds);
        Self { evidence, service, settings, family, decision, grounds }
    }

    /// The whole of it; the service is in this zone.
    pub(super) fn view(&self, zone: String) -> ServiceDecision {
        let (service, settings, decision) = (self.service, self.settings, self.decision);
        let tiers = self.tiers();
        let (scope, holds_for) = self.scope();
        ServiceDecision {
            service: settings.name.to_string(),
            zone,
            family: self.grounds.family_name().to_owned(),
            steering: service.steering.name().to_owned(),
            balance: service.balance.name().to_owned(),
            answers: service.answers,
            when_all_down: service.when_all_down.name().to_owned(),
            overrides: self.grounds.said().words().collect(),
            regions: self.grounds.ranked().map(|ranked| self.region(&ranked)).collect(),
            filter: self.grounds.filter().map(filter_stage).collect(),
            outcome: match (&decision.outcome, self.grounds.choice()) {
                (_, Some(choice)) if choice.candidates.health == Health::None => OutcomeKind::FailOpen,
                (Outcome::Endpoints { .. }, _) => OutcomeKind::Endpoints,
                (Outcome::LastResort(_), _) => OutcomeKind::LastResort,
                (Outcome::NoData, _) => OutcomeKind::NoData,
            },
            chosen: self.grounds.choice().map(|choice| self.place(choice)),
            reason: self.reason(&tiers),
            answered: self.answered(),
            pick_reason: self.grounds.pick_reason().to_string(),
            beside: None,
            timeline: self.timeline(),
            ttl: decision.ttl,
            ttl_reason: self.grounds.ttl_reason().to_string(),
            scope,
            holds_for,
            tiers,
        }
    }

    /// The prefix length for which this holds, and for whom that is. Nobody's address has no prefix.
    fn scope(&self) -> (u8, String) {
        match (self.decision.scope, self.evidence.given) {
            (1.., Client::Unknown) => (0, "every client whose location is unknown".to_owned()),
            (scope, _) => (scope, self.grounds.holds_for().to_string()),
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

    fn region(&self, ranked: &Ranked<'_>) -> RankedRegion {
        let region = &self.evidence.snapshot.compiled.config.regions[ranked.region];
        RankedRegion {
            region: region.name.clone(),
            distance_km: ranked.distance_km,
            biased_km: ranked.biased_km.filter(|_| region.bias != 0),
            latency: ranked.round_trip.map(|round_trip| self.latency(round_trip)),
            claim: ranked.claim.map(|claim| claim.to_string()),
            weight: self.grounds.configured_weight(ranked.region),
        }
    }

    fn latency(&self, round_trip: RoundTrip) -> Latency {
        let (measured_for, age_seconds) = match round_trip.source {
            latency::Source::Measured { of, measured } => {
                (Some(of.to_string()), Some(u64::from(self.evidence.unix_seconds).saturating_sub(measured)))
            }
            latency::Source::Estimated => (None, None),
        };
        Latency { ms: round_trip.milliseconds, measured_for, age_seconds }
    }

    fn tiers(&self) -> Vec<Tier> {
        let compiled = &self.evidence.snapshot.compiled;
        let tiers = self.service.tiers.iter().enumerate().map(|(tier, snapshot::Tier { pool, .. })| Tier {
            pool: compiled.config.pools[*pool].name.clone(),
            min_healthy: compiled.pools[*pool].min_healthy,
            groups: self.grounds.groups(tier).map(|considered| self.group(tier, &considered)).collect(),
        });
        tiers.collect()
    }

    fn group(&self, tier: usize, considered: &Considered<'_>) -> Group {
        let compiled = &self.evidence.snapshot.compiled;
        let Considered { group, region, candidates, fate, .. } = considered;
        let is_chosen = *fate == routing::Fate::Chosen;
        let picked: &[u32] = match &self.decision.outcome {
            Outcome::Endpoints { picks, .. } if is_chosen => picks.as_slice(),
            _ => &[],
        };
        let chances = if is_chosen { balance::chances(candidates) } else { Vec::new() };
        let endpoints: Vec<GroupEndpoint> = compiled.groups[*group as usize]
            .endpoints
            .clone()
            .map(|index| {
                let place = candidates.list.iter().position(|candidate| candidate.endpoint == index);
                let place = place.filter(|_| is_chosen);
                GroupEndpoint {
                    endpoint: Endpoint::new(
                        index,
                        self.evidence.snapshot,
                        self.evidence.health,
                        (self.evidence.now, self.evidence.unix_seconds),
                    ),
                    part: self.part(index),
                    share_percent: place.map(|place| 100.0 * chances[place]),
                    answered: place.is_some_and(|place| picked.contains(&(place as u32))),
                }
            })
            .collect();
        Group {
            region: compiled.config.regions[usize::from(*region)].name.clone(),
            fate: match fate {
                routing::Fate::Chosen => Fate::Chosen,
                routing::Fate::PassedOver => Fate::PassedOver,
                routing::Fate::Standby => Fate::Standby,
                routing::Fate::Empty => Fate::Empty,
            },
            fate_reason: self.grounds.fate_note(considered).to_string(),
            healthy: considered.healthy(),
            allowed: candidates.allowed as usize,
            share_percent: self.grounds.share_percent(tier, considered),
            endpoints,
        }
    }

    fn part(&self, index: u32) -> Part {
        let endpoint = &self.evidence.snapshot.compiled.endpoints[index as usize];
        let known = self.evidence.health.endpoints().get(index);
        let said = known.map(|known| *known.operators()).unwrap_or_default().and(self.grounds.said());
        let state = endpoint.state_under(&said, self.evidence.unix_seconds);
        let verdict = said.verdict.or(known.map(EndpointHealth::verdict));
        // A word goes before it.
        let is_broken = said.verdict.is_none() && known.is_some_and(EndpointHealth::is_broken);
        match state {
            _ if endpoint.address().is_some_and(|address| Family::of(address) != self.family) => Part::OtherFamily,
            EndpointState::Disabled => Part::Disabled,
            EndpointState::Draining => Part::Draining,
            EndpointState::Enabled if endpoint.weight == 0 => Part::WeightZero,
            EndpointState::Enabled if verdict.is_some_and(|verdict| !verdict.serves()) => Part::Down,
            EndpointState::Enabled if is_broken => Part::BreakerOpen,
            EndpointState::Enabled => Part::Candidate,
        }
    }

    /// What an adaptive balance chose, the latest last.
    fn timeline(&self) -> Vec<AdaptiveChange> {
        let events = self.grounds.adaptive().map_or(&[][..], Controller::timeline).iter();
        let change = |event: &Event| AdaptiveChange {
            seconds_ago: self.evidence.now.saturating_duration_since(event.at).as_secs(),
            balance: event.choice.balance().name().to_owned(),
            reason: event.why.to_string(),
        };
        events.map(change).collect()
    }

    /// What is answered.
    fn answered(&self) -> Vec<String> {
        match &self.decision.outcome {
            Outcome::Endpoints { choice, picks } => {
                let list = &choice.candidates.list;
                let endpoints = &self.evidence.snapshot.compiled.endpoints;
                let name = |pick: &u32| endpoints[list[*pick as usize].endpoint as usize].destination.to_string();
                picks.as_slice().iter().map(name).collect()
            }
            Outcome::LastResort(addresses) => addresses.iter().map(ToString::to_string).collect(),
            Outcome::NoData => Vec::new(),
        }
    }

    /// Why this group, or none, and which ones had too little health.
    fn reason(&self, tiers: &[Tier]) -> String {
        let mut reason = self.grounds.reason().to_string();
        let passed_over: Vec<String> = tiers
            .iter()
            .flat_map(|tier| tier.groups.iter().map(move |group| (tier, group)))
            .filter(|(_, group)| group.fate == Fate::PassedOver)
            .map(|(tier, group)| {
                let Group { region, healthy, allowed, .. } = group;
                let wanted =
                    if tier.min_healthy > 1 { format!(", {} wanted", tier.min_healthy) } else { String::new() };
                // What there is beyond its own health to hold it back.
                let why = group.fate_reason.strip_prefix("passed over").unwrap_or_default();
                format!("{}/{region} ({healthy} of {allowed} healthy{wanted}{why})", tier.pool)
            })
            .collect();
        if !passed_over.is_empty() {
            reason += &format!("; passed over: {}", passed_over.join(", "));
        }
        reason
    }
}

fn filter_stage(filtered: Filtered<'_>) -> FilterStage {
    let regions = filtered.regions().map(|Noted { region, note }| NotedRegion {
        region: region.to_owned(),
        note: note.to_string().trim_start().to_owned(),
    });
    FilterStage {
        stage: filtered.stage.name().to_owned(),
        rule: filtered.rule().to_string(),
        regions: regions.collect(),
        left_out: filtered.left_out().map(str::to_owned).collect(),
        line: filtered.to_string(),
    }
}
