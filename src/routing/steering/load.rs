//! The nearest region that has room: most clients go to the first of their order, and what that can't bear to the next ones.

use std::net::IpAddr;

use super::{Steered, ordered};
use crate::routing::live::{Candidates, Health};
use crate::routing::sticky::mix;
use crate::routing::{Draw, Family};
use crate::snapshot::{LoadSteering, Service, Snapshot};

/// Makes a client's place among regions another than among endpoints. The same in every version.
const SALT: u64 = 0x6c6f_6164;

/// Finds a client's place on the line of its class, and the region whose part that is; where it can't serve, as by
/// proximity.
pub(super) fn steer<'s>(
    snapshot: &'s Snapshot,
    service: &'s Service,
    load: &LoadSteering,
    client: IpAddr,
    family: Family,
    draw: &mut Draw<'_>,
) -> Steered<'s> {
    let map = &snapshot.compiled.maps[load.map];
    let (index, scope) = map.lookup(client);
    let class = load.class(index, family);
    let order = map.order(index);
    count(load, class, draw);
    let way = snapshot.live.flows().way(load.index, class);
    // Where all of the class goes one way, all clients of the map's prefix do.
    let scope = if way.steps.len() > 1 { scope.max(load.sticky.prefix(client)) } else { scope };
    let place = place(load, client);
    // Where clients of several orders are one class, not all of them may go wherever it goes.
    let is_inside = |region: u16| !order.fenced || order.regions.contains(&region);
    let step = way.steps.iter().find(|step| place <= step.end).filter(|step| is_inside(step.region));
    let choice = step.and_then(|step| service.choice(snapshot, step.tier.into(), step.region, family));
    let choice = choice.filter(|choice| choice.candidates.health == Health::Enough);
    if choice.is_some_and(|choice| choice.candidates.fitness() == Candidates::FITTEST) {
        return Steered { found: choice, failover_active: way.is_displaced, scope };
    }
    // Where flows have yet to follow health.
    let nearest = ordered::steer(snapshot, service, order.regions, scope, family);
    let does_yield = nearest.found.is_some_and(|nearest| nearest.candidates.serves_both());
    if choice.is_none() || does_yield { nearest } else { Steered { found: choice, failover_active: true, scope } }
}

/// Counts a question of a class, unless it only shows what would be.
pub(super) fn count(load: &LoadSteering, class: usize, draw: &Draw<'_>) {
    if draw.advance {
        load.demand.add(draw.worker, class);
    }
}

/// A client's place on the line: the same for all of its prefix, for A and AAAA, and in every version.
pub(crate) fn place(load: &LoadSteering, client: IpAddr) -> u32 {
    (mix(load.sticky.key(client) ^ SALT) >> 32) as u32
}
