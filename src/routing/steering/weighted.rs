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

/// Draws a region of the first tier in which any weighs something and has enough healthy endpoints of each family that it has; else
/// of the first in which any has enough of the asked one, or some; else of the first that could serve if health were not asked.
/// In each tier it draws among the regions that are claimed, and only where none of them can serve among the others that the client
/// may be sent to.
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
    let mut failover_active = false;
    let (claimed, others) = order.regions.split_at(order.claimed);
    for least in [Candidates::FITTEST, (Health::Enough, false), (Health::Few, false), (Health::None, false)] {
        for (tier, part) in (0..service.tiers.len()).flat_map(|tier| [(tier, claimed), (tier, others)]) {
            let groups = || {
                among(regions, part).filter_map(|region| {
                    let choice = service.choice(snapshot, tier, region.region, family)?;
                    let weight = region_weight(snapshot, service, region, choice);
                    (weight > 0).then_some((choice, weight))
                })
            };
            let serves =
                |choice: &Choice<'_>| !choice.candidates.list.is_empty() && choice.candidates.fitness() >= least;
            let (mut all, mut serving, mut count) = (0, 0, 0);
            for (choice, weight) in groups() {
                all += weight;
                if serves(&choice) {
                    serving += weight;
                    count += 1;
                } else {
                    // One without endpoints that may be answered would not serve in full health either.
                    failover_active |= !choice.candidates.list.is_empty();
                }
            }
            if count == 0 {
                continue;
            }
            let Some(sticky) = service.region_sticky else {
                let found = at(groups().filter(|(choice, _)| serves(choice)), draw.below(serving));
                return Steered { found, failover_active, scope };
            };
            let key = sticky.key(client) ^ SALT;
            let own = (0..MOST_DRAWS).find_map(|again| {
                at(groups(), place(mix(key.wrapping_add(again)), all)).filter(|choice| serves(choice))
            });
            let found = own.or_else(|| {
                at(groups().filter(|(choice, _)| serves(choice)), place(mix(key.wrapping_add(MOST_DRAWS)), serving))
            });
            let scope = if count == 1 { scope } else { scope.max(sticky.prefix(client)) };
            return Steered { found, failover_active, scope };
        }
    }
    Steered { found: None, failover_active, scope }
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
