//! Regions drawn at random by weight, among those that can serve.

use super::Steered;
use crate::routing::live::{Candidates, Health};
use crate::routing::{Draw, Family};
use crate::snapshot::{RegionWeight, Service, Snapshot};

/// Draws a region of the first tier in which any weighs something and has enough healthy endpoints; else of the first
/// in which any has some; else of the first that could serve if health were not asked.
pub(super) fn steer<'s>(
    snapshot: &'s Snapshot,
    service: &'s Service,
    regions: &[RegionWeight],
    family: Family,
    draw: &mut Draw<'_>,
) -> Steered<'s> {
    let mut failover_active = false;
    for least in [Health::Enough, Health::Few, Health::None] {
        for tier in 0..service.tiers.len() {
            let groups = || {
                regions.iter().filter_map(|region| {
                    let choice = service.choice(snapshot, tier, region.region, family)?;
                    let weight = region_weight(region, choice.candidates);
                    (weight > 0).then_some((choice, weight))
                })
            };
            let mut total = 0;
            for (choice, weight) in groups() {
                if choice.candidates.health >= least {
                    total += weight;
                } else {
                    failover_active = true;
                }
            }
            if total == 0 {
                continue;
            }
            let mut left = draw.below(total);
            for (choice, weight) in groups().filter(|(choice, _)| choice.candidates.health >= least) {
                if left < weight {
                    return Steered { found: Some(choice), failover_active, scope: 0 };
                }
                left -= weight;
            }
        }
    }
    Steered { found: None, failover_active, scope: 0 }
}

/// What a region weighs: what the operator says, else what its candidates weigh together; 0 without candidates.
pub fn region_weight(region: &RegionWeight, candidates: &Candidates) -> u64 {
    match region.weight {
        Some(_) if candidates.list.is_empty() => 0,
        Some(weight) => u64::from(weight),
        None => candidates.weight_together,
    }
}
