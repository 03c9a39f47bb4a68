//! Regions in a known order, by proximity or by priority: the first that can serve does.

use super::Steered;
use crate::routing::Family;
use crate::routing::decide::Choice;
use crate::routing::live::Health;
use crate::snapshot::{Service, Snapshot};

/// Goes through the tiers, and in each through the regions in order.
///
/// The first group with enough healthy endpoints serves; else the first with any; else the first that could serve if
/// health were not asked.
pub(super) fn steer<'s>(
    snapshot: &'s Snapshot,
    service: &'s Service,
    order: &[u16],
    scope: u8,
    family: Family,
) -> Steered<'s> {
    let mut best: Option<Choice<'s>> = None;
    let mut passed_over = false;
    for (tier, pool) in service.tiers.iter().enumerate() {
        for region in order {
            let Some(group) = snapshot.compiled.pools[*pool].group(*region) else { continue };
            let candidates = snapshot.live.candidates(group, family);
            if candidates.list.is_empty() {
                continue;
            }
            if best.is_none_or(|best| candidates.health > best.candidates.health) {
                passed_over = best.is_some();
                best = Some(Choice { tier, group, candidates });
            }
            if candidates.health == Health::Enough {
                return Steered { found: best, failover_active: passed_over, scope };
            }
        }
    }
    Steered { found: best, failover_active: true, scope }
}
