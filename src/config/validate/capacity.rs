//! `capacity` and `target`, and what services that are steered by load make of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::reader::{Report, Table, Value};
use crate::config::{Capacity, CapacityUnit, MAX_CAPACITY, Pool, Region, Service, Steering};

/// The part of a capacity that is the target where none is given.
const DEFAULT_TARGET: f64 = 0.8;

/// `capacity` and `target` of a region or an endpoint.
pub(super) fn capacity(table: &Table<'_>) -> Option<Capacity> {
    let read = |value: Value<'_>| {
        let expected = "a number per second above 0 and up to 1000000000";
        value.number(expected, f64::MIN_POSITIVE..=MAX_CAPACITY, "1000")
    };
    let target = table.optional("target", read);
    if table.entry("capacity").is_none() {
        table.refuse(&["target"], "without `capacity`", "add `capacity`, of which this is the part to stay under");
        return None;
    }
    let most = table.optional("capacity", read)?;
    if target.is_some_and(|target| target > most)
        && let Some(entry) = table.entry("target")
    {
        return entry
            .value
            .reject("`target` is greater than `capacity`", "exchange the two, or leave `target` out: it is 80 % then");
    }
    Some(Capacity { most, target: target.unwrap_or(most * DEFAULT_TARGET) })
}

/// Notes services by load that nothing bounds, and those that count in other units than one with which they share a region.
pub(super) fn check(services: &[Service], pools: &[Pool], regions: &[Region], report: &Report) {
    let mut units: BTreeMap<usize, (CapacityUnit, &Service)> = BTreeMap::new();
    for service in services {
        let Steering::Load(unit) = service.steering else { continue };
        let endpoints = || service.tiers.iter().filter_map(|tier| pools.get(*tier)).flat_map(|pool| &pool.endpoints);
        let used: BTreeSet<usize> = endpoints().map(|endpoint| endpoint.region).collect();
        let in_region = |region: &usize| regions.get(*region).is_some_and(|region| region.capacity.is_some());
        if !used.iter().any(in_region) && endpoints().all(|endpoint| endpoint.capacity.is_none()) {
            let message = "steered by load, but no region or endpoint of it has a `capacity`";
            let hint = "add for example `capacity = 1000` to its regions, or leave out `steering = \"load\"`";
            report.add(service.span.clone(), message, hint);
        }
        for region in used {
            let (other_unit, other) = *units.entry(region).or_insert((unit, service));
            if other_unit != unit {
                let name = regions.get(region).map_or("", |region| region.name.as_str());
                let message = format!(
                    "capacities are in {} here, but in {} for {}, which has endpoints in region `{name}`, too",
                    unit.name(),
                    other_unit.name(),
                    other.name
                );
                report.add(service.span.clone(), message, "give both the same `capacity_unit`");
                break;
            }
        }
    }
}
