//! Classes of clients, for services that are steered by load.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::Compiled;
use crate::config::{self, CapacityUnit};
use crate::geo::RegionMap;
use crate::metrics::{Demand, Tallies};
use crate::routing::{Family, Sticky};

/// The most classes of one service. Where clients have more orders, those with the same first region who may go to the same
/// regions are one: of those there are fewer, as a fence is of a rule, and a map has at most 10,000.
const MAX_CLASSES: usize = 16_384;
/// The most places of all classes of a service together, likewise: what takes time each second.
const MAX_STOPS: usize = 1 << 18;

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
    /// For each order the group where its clients belong, the first that they may be sent to; none behind an empty fence.
    pub homes: Box<[Option<u32>]>,
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
        let (class_of_order, first_orders) = classes(orders.order_count(), MAX_CLASSES, ways);
        // Counting goes on over a reload that leaves the classes what they are.
        let mut identity = DefaultHasher::new();
        class_of_order.hash(&mut identity);
        let mut homes = Vec::with_capacity(first_orders.len());
        for order in &first_orders {
            let way = ways(*order);
            homes.push(way.first().copied());
            for group in way {
                let group = &compiled.groups[group as usize];
                let region = &compiled.config.regions[usize::from(group.region)].name;
                (&compiled.config.pools[group.pool].name, region).hash(&mut identity);
            }
        }
        let demand = tallies.demand(&service.name.to_string(), identity.finish(), first_orders.len() * 2);
        let sticky = service.region_sticky.unwrap_or(Sticky::DEFAULT);
        Self { map, index, unit, sticky, orders: first_orders.into(), homes: homes.into(), demand, class_of_order }
    }

    /// The class of clients with this order of the map who ask for this family: twice the index into [`Self::orders`], and
    /// one more for IPv6.
    pub fn class(&self, order: u32, family: Family) -> usize {
        let class = self.class_of_order.get(order as usize).copied().unwrap_or(0);
        class as usize * 2 + family.index()
    }
}

/// The class of each order, and the first order of each class. Those with equal ways are one; where that makes more classes than
/// `most`, those with the same first group and the same others in any order.
fn classes(orders: u32, most: usize, ways: impl Fn(u32) -> Vec<u32>) -> (Box<[u32]>, Vec<u32>) {
    let folded = |order| {
        let mut way = ways(order);
        // Nobody is led over a fence.
        if let [_, others @ ..] = &mut way[..] {
            others.sort_unstable();
        }
        way
    };
    classes_by(orders, most, &ways).or_else(|| classes_by(orders, usize::MAX, folded)).unwrap_or_default()
}

/// As [`classes`], those with equal keys being one; nothing where these, or their places, are too many for `most`.
fn classes_by(orders: u32, most: usize, key: impl Fn(u32) -> Vec<u32>) -> Option<(Box<[u32]>, Vec<u32>)> {
    let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
    let mut first_orders = Vec::new();
    let mut stops = 0;
    let class_of_order = (0..orders).map(|order| {
        let class = *known.entry(key(order)).or_insert_with_key(|way| {
            stops += way.len();
            first_orders.push(order);
            first_orders.len() as u32 - 1
        });
        (first_orders.len() <= most && (stops <= MAX_STOPS || most == usize::MAX)).then_some(class)
    });
    let class_of_order = class_of_order.collect::<Option<Box<[u32]>>>()?;
    Some((class_of_order, first_orders))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_classes_are_folded_but_not_over_fences() {
        let ways = [vec![1, 2, 3], vec![1, 3, 2], vec![1, 2], vec![2, 1, 3], vec![1, 2, 3], vec![], vec![1]];
        let classes = |most| {
            let (class_of_order, first_orders) = classes(ways.len() as u32, most, |order| ways[order as usize].clone());
            (class_of_order.to_vec(), first_orders)
        };
        assert_eq!(classes(6), (vec![0, 1, 2, 3, 0, 4, 5], vec![0, 1, 2, 3, 5, 6]));
        assert_eq!(
            classes(5),
            (vec![0, 0, 1, 2, 0, 3, 4], vec![0, 2, 3, 5, 6]),
            "the order of those after the first is lost"
        );
    }
}
