//! Where round robin stands, over a reload.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Compiled;
use crate::zone::Name;

impl Compiled {
    /// Lets round robin go on from where it stands in another configuration, for the regions of the pools of services that stay.
    pub(super) fn continue_rotations(&self, before: &Self) {
        let earlier: HashMap<_, &[AtomicU32]> = rotations(before).collect();
        for (place, rotations) in rotations(self) {
            for (rotation, earlier) in rotations.iter().zip(earlier.get(&place).copied().unwrap_or_default()) {
                rotation.store(earlier.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }
}

/// Those of both families, by the names of the service, the pool and the region.
fn rotations(compiled: &Compiled) -> impl Iterator<Item = ((&Name, &str, &str), &[AtomicU32])> {
    let config = &compiled.config;
    config.services.iter().zip(&compiled.services).flat_map(move |(named, service)| {
        let groups = service.tiers.iter().flat_map(|tier| compiled.pools[tier.pool].groups.clone());
        groups.zip(service.rotations.chunks(2)).map(move |(group, rotations)| {
            let group = &compiled.groups[group as usize];
            let (pool, region) = (&config.pools[group.pool].name, &config.regions[usize::from(group.region)].name);
            ((&named.name, pool.as_str(), region.as_str()), rotations)
        })
    })
}
