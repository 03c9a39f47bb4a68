//! Regions in a known order: the first that can serve does.

use super::Steered;
use crate::routing::Family;
use crate::routing::decide::Choice;
use crate::routing::live::Candidates;
use crate::snapshot::{Service, Snapshot};

/// Goes through the tiers, and in each through the regions in order.
///
/// The first group with enough healthy endpoints of each family that it has serves, so that A and AAAA lead to the same
/// region; else the first with enough of the asked one; else the first with any; else the first that could serve if health
/// were not asked.
pub(super) fn steer<'s>(
    snapshot: &'s Snapshot,
    service: &'s Service,
    order: &[u16],
    scope: u8,
    family: Family,
) -> Steered<'s> {
    let mut best: Option<Choice<'s>> = None;
    for tier in 0..service.tiers.len() {
        for region in order {
            let Some(choice) = service.choice(snapshot, tier, *region, family) else { continue };
            if choice.candidates.list.is_empty() {
                continue;
            }
            if best.is_some_and(|best| !is_better(choice.candidates, best.candidates)) {
                continue;
            }
            let passed_over = best.is_some();
            best = Some(choice);
            if choice.candidates.fitness() == Candidates::FITTEST {
                return Steered { found: best, failover_active: passed_over, scope };
            }
        }
    }
    Steered { found: best, failover_active: true, scope }
}

/// Whether a region further down the order serves better.
fn is_better(candidates: &Candidates, best: &Candidates) -> bool {
    candidates.health > best.health || candidates.serves_both() && !best.other_family_serves
}
