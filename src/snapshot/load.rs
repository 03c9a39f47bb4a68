//! Classes of clients, for services that are steered by load.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::Compiled;
use crate::config::{self, CapacityUnit};
use crate::geo::RegionMap;
use crate::metrics::{Demand, Tallies};
use crate::routing::{Family, Sticky};

/// The most classes of one service. Where clients have more orders, those with the same first region are one.
const MAX_CLASSES: usize = 16_384;

/// What steers a service by load.
#[derive(Debug)]
pub struct LoadSteering {
    /// Index into [`Compiled::maps`].
    pub map: usize,
    /// The place of the service among those that are steered by load.
    pub index: u32,
    /// What capacities are numbers of.
    pub unit: CapacityUnit,
    /// Within which prefix clients are one.
    pub sticky: Sticky,
    /// For each class an order of the map that its clients have.
    pub orders: Box<[u32]>,
    /// How often its classes ask, by [`Self::class`].
    pub demand: Arc<Demand>,
    class_of_order: Box<[u32]>,
}

impl LoadSteering {
    /// Puts the orders of a map into classes, by where they lead in the pools of the service.
    pub(super) fn new(
        compiled: &Compiled,
        (service, index): (&config::Service, u32),
        unit: CapacityUnit,
        (map, orders): (usize, &RegionMap),
        tallies: &mut Tallies,
    ) -> Self {
        let ways = |order: u32| -> Vec<u32> {
            let regions = orders.order(order).regions;
            let groups = service.tiers.iter().flat_map(|tier| {
                regions.iter().filter_map(|region| compiled.pools[*tier].group(*region)).collect::<Vec<u32>>()
            });
            groups.collect()
        };
        let classes = |most: usize| {
            let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
            let mut first_orders = Vec::new();
            let class_of_order = (0..orders.order_count()).map(|order| {
                let mut way = ways(order);
                way.truncate(most);
                *known.entry(way).or_insert_with(|| {
                    first_orders.push(order);
                    first_orders.len() as u32 - 1
                })
            });
            let class_of_order: Box<[u32]> = class_of_order.collect();
            (class_of_order, first_orders)
        };
        let (class_of_order, first_orders) = Some(classes(usize::MAX))
            .filter(|(_, first_orders)| first_orders.len() <= MAX_CLASSES)
            .unwrap_or_else(|| classes(1));
        // Counting goes on over a reload that leaves the classes what they are.
        let mut identity = DefaultHasher::new();
        class_of_order.hash(&mut identity);
        for order in &first_orders {
            for group in ways(*order) {
                let group = &compiled.groups[group as usize];
                let region = &compiled.config.regions[usize::from(group.region)].name;
                (&compiled.config.pools[group.pool].name, region).hash(&mut identity);
            }
        }
        let demand = tallies.demand(&service.name.to_string(), identity.finish(), first_orders.len() * 2);
        let sticky = service.region_sticky.unwrap_or(Sticky::DEFAULT);
        Self { map, index, unit, sticky, orders: first_orders.into(), demand, class_of_order }
    }

    /// The class of clients with this order of the map who ask for this family: twice the index into [`Self::orders`], and
    /// one more for IPv6.
    pub fn class(&self, order: u32, family: Family) -> usize {
        let class = self.class_of_order.get(order as usize).copied().unwrap_or(0);
        class as usize * 2 + family.index()
    }
}
