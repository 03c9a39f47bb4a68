//! Regions drawn by weight, among those that can serve.
//!
//! A client keeps its region while weights stand: it draws by its prefix, among all regions that weigh something, and again
//! where that one can't serve. So when one dies, only its clients move, to the others by their weights, and they come back
//! with it. Without `sticky` each answer is drawn for itself, among those that can serve.

use std::net::IpAddr;

use super::Steered;
use crate::geo::Order;
use crate::routing::decide::Choice;
use crate::routing::live::{Candidates, Health};
use crate::routing::sticky::{mix, place};
use crate::routing::{Draw, Family};
use crate::snapshot::{RegionWeight, Service, Snapshot};

/// Makes a client's place among regions another than among endpoints. The same in every version.
const SALT: u64 = 0x7265_6769_6f6e;
/// How often a client draws among all regions; then it draws among those that can serve. More than half of all weight has to be
/// dead for that to come up once in 65,536 times.
const MOST_DRAWS: u64 = 16;

/// So many regions are remembered while a line is walked.
const FEW: usize = 8;

/// Draws a region of the first tier in which any weighs something and has enough healthy endpoints of the asked family; else of the
/// first in which any has some; else of the first that could serve if health were not asked. In each tier it draws among the
/// regions that are claimed, and only where none of them can serve among the others that the client may be sent to. One whose
/// other family is down yields to those that serve both, wherever they are, so that A and AAAA lead to the same region.
#[allow(clippy::too_many_arguments, reason = "what a decision is made of")]
pub(super) fn steer<'s>(
    snapshot: &'s Snapshot,
    service: &'s Service,
    regions: &[RegionWeight],
    order: Order<'_>,
    scope: u8,
    client: IpAddr,
    family: Family,
    draw: &mut Draw<'_>,
) -> Steered<'s> {
    let (claimed, others) = order.regions.split_at(order.claimed);
    // The usual case, which is to be quick: the regions that come first are all in full health.
    let first =
        Line { snapshot, service, regions, part: if claimed.is_empty() { others } else { claimed }, tier: 0, family };
    match first.draw_if_whole(client, draw) {
        Some((found, count)) => {
            let scope = match service.region_sticky {
                Some(sticky) if count > 1 => scope.max(sticky.prefix(client)),
                _ => scope,
            };
            Steered { found, failover_active: false, scope }
        }
        None => steer_around(snapshot, service, regions, (claimed, others), scope, client, family, draw),
    }
}

/// As [`steer`], whatever the regions' health is.
#[cold]
#[inline(never)]
#[allow(clippy::too_many_arguments, reason = "what a decision is made of")]
fn steer_around<'s>(
    snapshot: &'s Snapshot,
    service: &'s Service,
    regions: &[RegionWeight],
    (claimed, others): (&[u16], &[u16]),
    scope: u8,
    client: IpAddr,
    family: Family,
    draw: &mut Draw<'_>,
) -> Steered<'s> {
    let lines = || {
        let parts = (0..service.tiers.len()).flat_map(move |tier| [(tier, claimed), (tier, others)]);
        parts.map(|(tier, part)| Line { snapshot, service, regions, part, tier, family })
    };
    let mut failover_active = false;
    for least in [Health::Enough, Health::Few, Health::None] {
        for line in lines() {
            let serves = |candidates: &Candidates| !candidates.list.is_empty() && candidates.health >= least;
            let tally = line.tally(serves);
            // One without endpoints that may be answered would not serve in full health either.
            failover_active |= tally.is_any_impaired;
            if tally.serving == 0 {
                continue;
            }
            let mut found = line.draw(serves, &tally, client, draw);
            let mut places = tally.serving;
            if least == Health::Enough
                && tally.fittest < tally.serving
                && let Some(both) = lines().find(|line| line.tally(Candidates::serves_both).serving > 0)
            {
                let tally_of_both = both.tally(Candidates::serves_both);
                let is_same_line = (both.tier, both.part) == (line.tier, line.part);
                places = tally.fittest + if is_same_line { 0 } else { tally_of_both.serving };
                if found.is_some_and(|choice| !choice.candidates.other_family_serves) {
                    found = both.draw(Candidates::serves_both, &tally_of_both, client, draw);
                }
            }
            let scope = match service.region_sticky {
                Some(sticky) if places > 1 => scope.max(sticky.prefix(client)),
                _ => scope,
            };
            return Steered { found, failover_active, scope };
        }
    }
    Steered { found: None, failover_active, scope }
}

/// The regions of a tier that stand in one part of the client's order, one after the other, each as long as it weighs.
struct Line<'a, 's> {
    snapshot: &'s Snapshot,
    service: &'s Service,
    regions: &'a [RegionWeight],
    part: &'a [u16],
    tier: usize,
    family: Family,
}

/// What is on a line.
struct Tally {
    weight: u64,
    serving_weight: u64,
    /// How many regions serve.
    serving: usize,
    /// How many of these have no family that is down.
    fittest: usize,
    /// Whether health keeps a region from serving, or from serving one of its families.
    is_any_impaired: bool,
}

impl<'s> Line<'_, 's> {
    /// The groups that weigh something.
    fn groups(&self) -> impl Iterator<Item = (Choice<'s>, u64)> {
        among(self.regions, self.part).filter_map(|region| {
            let choice = self.service.choice(self.snapshot, self.tier, region.region, self.family)?;
            let weight = region_weight(self.snapshot, self.service, region, choice);
            (weight > 0).then_some((choice, weight))
        })
    }

    /// Draws one, if all are in full health; with how many there are.
    fn draw_if_whole(&self, client: IpAddr, draw: &mut Draw<'_>) -> Option<(Option<Choice<'s>>, usize)> {
        let (mut all, mut count, mut is_whole) = (0, 0, true);
        // Where each of the first few begins, so that the line is mostly walked but once.
        let mut few = [None; FEW];
        for (choice, weight) in self.groups() {
            if let Some(begins) = few.get_mut(count) {
                *begins = Some((all, choice));
            }
            all += weight;
            count += 1;
            let candidates = choice.candidates;
            is_whole &= candidates.fitness() == Candidates::FITTEST && !candidates.list.is_empty();
        }
        if !is_whole || count == 0 {
            return None;
        }
        let drawn = match self.service.region_sticky {
            Some(sticky) => place(mix(sticky.key(client) ^ SALT), all),
            None => draw.below(all),
        };
        let found = if count <= FEW {
            few[..count].iter().rev().flatten().find(|(begins, _)| *begins <= drawn).map(|(_, choice)| *choice)
        } else {
            at(self.groups(), drawn)
        };
        Some((found, count))
    }

    fn tally(&self, serves: impl Fn(&Candidates) -> bool) -> Tally {
        let mut tally = Tally { weight: 0, serving_weight: 0, serving: 0, fittest: 0, is_any_impaired: false };
        for (Choice { candidates, .. }, weight) in self.groups() {
            let is_fittest = candidates.fitness() == Candidates::FITTEST;
            tally.weight += weight;
            tally.is_any_impaired |= !is_fittest && !candidates.list.is_empty();
            if serves(candidates) {
                tally.serving_weight += weight;
                tally.serving += 1;
                tally.fittest += usize::from(is_fittest);
            }
        }
        tally
    }

    /// Draws one that serves. A client that keeps its region draws among all, and again where that one doesn't.
    fn draw(
        &self,
        serves: impl Fn(&Candidates) -> bool,
        tally: &Tally,
        client: IpAddr,
        draw: &mut Draw<'_>,
    ) -> Option<Choice<'s>> {
        let serving = || self.groups().filter(|(choice, _)| serves(choice.candidates));
        let Some(sticky) = self.service.region_sticky else { return at(serving(), draw.below(tally.serving_weight)) };
        let key = sticky.key(client) ^ SALT;
        let own = (0..MOST_DRAWS).find_map(|again| {
            at(self.groups(), place(mix(key.wrapping_add(again)), tally.weight))
                .filter(|choice| serves(choice.candidates))
        });
        own.or_else(|| at(serving(), place(mix(key.wrapping_add(MOST_DRAWS)), tally.serving_weight)))
    }
}

/// The group at a place on the line of weights.
fn at<'s>(groups: impl Iterator<Item = (Choice<'s>, u64)>, mut place: u64) -> Option<Choice<'s>> {
    for (choice, weight) in groups {
        if place < weight {
            return Some(choice);
        }
        place -= weight;
    }
    None
}

/// The regions of a part, in which they come in the order of their indices as here.
fn among<'a>(regions: &'a [RegionWeight], part: &'a [u16]) -> impl Iterator<Item = &'a RegionWeight> {
    let mut part = part.iter().peekable();
    regions.iter().filter(move |region| {
        while part.next_if(|listed| **listed < region.region).is_some() {}
        part.next_if(|listed| **listed == region.region).is_some()
    })
}

/// What a region weighs in a tier: what the operator says; else what its endpoints weigh together, of whatever family and health
/// where clients keep their regions, and else what its candidates do.
pub fn region_weight(snapshot: &Snapshot, service: &Service, region: &RegionWeight, choice: Choice<'_>) -> u64 {
    match (region.weight, service.region_sticky) {
        (Some(weight), _) => u64::from(weight),
        (None, Some(_)) => snapshot.compiled.groups[choice.group as usize].weight,
        (None, None) => choice.candidates.weight_together,
    }
}
