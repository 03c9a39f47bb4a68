//! The choice of the region: one file per strategy.

mod load;
mod ordered;
#[cfg(test)]
mod tests;
pub(super) mod waterfall;
mod weighted;

use std::net::IpAddr;

pub use weighted::region_weight;

use super::decide::Choice;
use super::{Draw, Family};
use crate::snapshot::{Service, Snapshot, Steering};

/// Where steering leads.
#[derive(Debug)]
pub(super) struct Steered<'s> {
    /// The best group that has candidates: healthy if there is any.
    pub(super) found: Option<Choice<'s>>,
    /// A group that would serve in full health was passed over.
    pub(super) failover_active: bool,
    /// The prefix length of the client's address for which this holds.
    pub(super) scope: u8,
}

/// Finds the group that serves a client.
pub(super) fn steer<'s>(
    snapshot: &'s Snapshot,
    service: &'s Service,
    client: IpAddr,
    family: Family,
    draw: &mut Draw<'_>,
) -> Steered<'s> {
    let map = &snapshot.compiled.maps[service.steering.map()];
    let (order, scope) = map.lookup(client);
    let order = map.order(order);
    match &service.steering {
        Steering::Ordered { .. } => ordered::steer(snapshot, service, order.regions, scope, family),
        Steering::Weighted { regions, .. } => {
            weighted::steer(snapshot, service, regions, order, scope, client, family, draw)
        }
        Steering::Load(load) => load::steer(snapshot, service, load, client, family, draw),
    }
}

/// Counts a question, where steering goes by how many there are.
pub(super) fn count(snapshot: &Snapshot, service: &Service, client: IpAddr, family: Family, draw: &Draw<'_>) {
    if let Steering::Load(load) = &service.steering {
        let (order, _) = snapshot.compiled.maps[load.map].lookup(client);
        load::count(load, load.class(order, family), draw);
    }
}
