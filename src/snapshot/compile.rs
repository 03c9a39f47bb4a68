//! Configuration + zones + database → [`Compiled`]; everything that can fail.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::{Aliases, AllDown, Compiled, Endpoint, Group, GroupKind, NO_GROUP, Pool, RegionWeight, Service, Steering};
use crate::config::{self, Config, Problem, Problems, Span, Target, WhenAllDown};
use crate::geo::{Database, RegionMap};
use crate::health::{TargetId, TargetKey};
use crate::metrics::{Tallies, TallyLabels};
use crate::routing::Family;
use crate::zone::{self, Name, Tree, ZoneRecords, rtype};

/// The most octets of records in all zones together; the tree addresses them by 32 bits.
const MAX_ZONE_OCTETS: usize = 1 << 31;

/// Reads the databases that the configuration names, or the built-in one.
///
/// # Errors
/// When one can't be used; the problem points at where the configuration names it.
pub fn load_database(config: &Config) -> Result<Database, Problem> {
    let geoip = &config.geoip;
    let path = |named: &Option<(PathBuf, Span)>| named.as_ref().map(|(path, _)| path.clone());
    Database::load(path(&geoip.database).as_deref(), path(&geoip.asn_database).as_deref()).map_err(|error| {
        let problem = Problem::new(error.to_string());
        let named = [&geoip.database, &geoip.asn_database].into_iter().flatten();
        match named.into_iter().find(|(path, _)| error.path.as_deref() == Some(path)) {
            Some((_, span)) => problem.at(&config.source, span.clone()),
            None => problem,
        }
    })
}

/// Compiles a configuration. Zone files are read here; tallies of services that stay are carried on.
///
/// # Errors
/// All problems in the zones and between zones and services. Without a database, which is the caller's problem, the
/// zones are checked all the same.
pub fn compile(config: Config, database: Option<Arc<Database>>, tallies: &mut Tallies) -> Result<Compiled, Problems> {
    let zones = load_zones(&config)?;
    let Some(database) = database else { return Err(Problems::default()) };
    let services: Vec<(Name, usize)> =
        config.services.iter().enumerate().map(|(index, service)| (service.name.clone(), index)).collect();
    let tree = Tree::build(&zones, &services);
    drop(zones);

    let mut compiled = Compiled {
        tree,
        database,
        maps: Vec::new(),
        services: Vec::new(),
        pools: Vec::new(),
        groups: Vec::new(),
        endpoints: Vec::new(),
        targets: Vec::new(),
        config,
    };
    add_pools(&mut compiled);
    add_services(&mut compiled, tallies)?;
    Ok(compiled)
}

fn load_zones(config: &Config) -> Result<Vec<ZoneRecords>, Problems> {
    let is_service = |name: &Name| config.services.iter().any(|service| covers(&service.name, name));
    let mut zones = Vec::new();
    let mut problems = Problems::default();
    for zone in &config.zones {
        match zone::load(zone, &config.source, is_service) {
            Ok(records) => zones.push(records),
            Err(found) => problems.0.extend(found.0),
        }
    }
    if problems.0.is_empty() {
        for service in &config.services {
            check_service(config, service, &zones[service.zone], &mut problems);
        }
        let octets: usize = zones.iter().flat_map(|zone| &zone.records).map(record_octets).sum();
        if octets > MAX_ZONE_OCTETS {
            problems.0.push(Problem::new(format!(
                "the zones together have {octets} octets of records, over the limit of {MAX_ZONE_OCTETS}"
            )));
        }
    }
    if problems.0.is_empty() { Ok(zones) } else { Err(problems) }
}

/// A generous bound of what the tree keeps of a record: its owner and all names above it, its fixed part and data.
fn record_octets(record: &zone::Record) -> usize {
    2 * record.owner.len() + 10 + record.rdata.len()
}

/// Whether a service's owner, which may be a wildcard, is or covers a name.
fn covers(owner: &Name, name: &Name) -> bool {
    if owner == name {
        return true;
    }
    match owner.as_slice().strip_prefix(b"\x01*") {
        Some(parent) => {
            let (name, length) = (name.as_slice(), name.len());
            length > parent.len() && name[length - parent.len()..].eq_ignore_ascii_case(parent)
        }
        None => false,
    }
}

/// A service decides the addresses of its name alone, and its zone has to be in charge of that name.
fn check_service(config: &Config, service: &config::Service, zone: &ZoneRecords, problems: &mut Problems) {
    let has_hostnames = service
        .tiers
        .iter()
        .flat_map(|tier| &config.pools[*tier].endpoints)
        .any(|endpoint| matches!(endpoint.target, Target::Hostname(_)));
    for record in &zone.records {
        let owner = &record.owner;
        let at_name = *owner == service.name;
        let message = match record.rtype.to_int() {
            rtype::A | rtype::AAAA | rtype::CNAME if at_name => format!(
                "{} has a static {} record, but the service of that name decides its addresses",
                service.name, record.rtype
            ),
            rtype::NS if *owner != zone.apex && service.name.ends_with(owner) => {
                format!("the service {} lies in the delegated zone {owner}", service.name)
            }
            rtype::DNAME if !at_name && service.name.ends_with(owner) => {
                format!("the service {} lies below the DNAME {owner}", service.name)
            }
            _ if at_name && has_hostnames => format!(
                "{} has a static {} record, but its service answers with CNAME records, beside which nothing may stand",
                service.name, record.rtype
            ),
            _ => continue,
        };
        let hint = "remove the record from the zone, or the service from the configuration";
        problems.0.push(zone.problem(record, message).hint(hint));
    }
}

fn add_pools(compiled: &mut Compiled) {
    let mut ids: HashMap<TargetKey, TargetId> = HashMap::new();
    for (pool_index, pool) in compiled.config.pools.iter().enumerate() {
        let first_group = compiled.groups.len() as u32;
        let mut group_of_region = vec![NO_GROUP; compiled.config.regions.len()];
        let mut by_region: Vec<Vec<&config::Endpoint>> = vec![Vec::new(); compiled.config.regions.len()];
        for endpoint in &pool.endpoints {
            by_region[endpoint.region].push(endpoint);
        }
        for (region, endpoints) in by_region.iter().enumerate().filter(|(_, endpoints)| !endpoints.is_empty()) {
            group_of_region[region] = compiled.groups.len() as u32;
            let first_endpoint = compiled.endpoints.len() as u32;
            let mut kind = GroupKind::Addresses;
            for endpoint in endpoints {
                if matches!(endpoint.target, Target::Hostname(_)) {
                    kind = GroupKind::Hostnames;
                }
                let target = pool.probe.map(|probe| {
                    let probe = &compiled.config.probes[probe];
                    let key =
                        TargetKey { check: probe.check.clone(), timing: probe.timing, target: endpoint.target.clone() };
                    *ids.entry(key).or_insert_with_key(|key| {
                        compiled.targets.push(key.clone());
                        TargetId(compiled.targets.len() as u32 - 1)
                    })
                });
                compiled.endpoints.push(Endpoint {
                    destination: endpoint.target.clone(),
                    weight: endpoint.weight,
                    state: endpoint.state,
                    target,
                });
            }
            let endpoints = first_endpoint..compiled.endpoints.len() as u32;
            compiled.groups.push(Group { pool: pool_index, region: region as u16, kind, endpoints });
        }
        compiled.pools.push(Pool {
            min_healthy: pool.min_healthy,
            groups: first_group..compiled.groups.len() as u32,
            group_of_region: group_of_region.into(),
        });
    }
}

fn add_services(compiled: &mut Compiled, tallies: &mut Tallies) -> Result<(), Problem> {
    let mut maps: HashMap<Vec<usize>, usize> = HashMap::new();
    for service in &compiled.config.services {
        let config = &compiled.config;
        let endpoints = || service.tiers.iter().flat_map(|tier| &config.pools[*tier].endpoints);
        let hostnames = endpoints().filter(|endpoint| matches!(endpoint.target, Target::Hostname(_))).count();
        let aliases = match hostnames {
            0 => Aliases::Never,
            all if all == endpoints().count() => Aliases::Always,
            _ => Aliases::Mixed,
        };
        let has_family = [Family::V4, Family::V6].map(|family| {
            endpoints().any(|endpoint| match endpoint.target {
                Target::Address(address) => Family::of(address) == family,
                Target::Hostname(_) => true,
            })
        });
        let mut members: Vec<usize> = endpoints().map(|endpoint| endpoint.region).collect();
        members.sort_unstable();
        members.dedup();
        let steering = match &service.steering {
            config::Steering::Proximity => {
                let database = &compiled.database;
                let map = match maps.get(&members) {
                    Some(map) => *map,
                    None => {
                        let map = RegionMap::proximity(database, &config.geoip.networks, &config.regions, &members)
                            .map_err(|error| {
                                Problem::new(error.to_string()).at(&config.source, service.span.clone())
                            })?;
                        compiled.maps.push(map);
                        maps.insert(members, compiled.maps.len() - 1);
                        compiled.maps.len() - 1
                    }
                };
                Steering::Proximity { map }
            }
            config::Steering::Priority(order) => {
                Steering::Priority { order: order.iter().map(|region| *region as u16).collect() }
            }
            config::Steering::Weighted(weights) => Steering::Weighted {
                regions: match weights {
                    Some(weights) => weights
                        .iter()
                        .map(|(region, weight)| RegionWeight { region: *region as u16, weight: Some(*weight) })
                        .collect(),
                    None => {
                        members.iter().map(|region| RegionWeight { region: *region as u16, weight: None }).collect()
                    }
                },
            },
        };
        let when_all_down = match &service.when_all_down {
            WhenAllDown::ServeAll => AllDown::ServeAll,
            WhenAllDown::NoData => AllDown::NoData,
            WhenAllDown::LastResort(addresses) => AllDown::LastResort(
                [Family::V4, Family::V6]
                    .map(|family| addresses.iter().copied().filter(|address| Family::of(*address) == family).collect()),
            ),
        };
        let mut tier_starts = Vec::new();
        let mut service_tallies = Vec::new();
        for tier in &service.tiers {
            tier_starts.push(service_tallies.len());
            for group in compiled.pools[*tier].groups.clone() {
                let region = &config.regions[usize::from(compiled.groups[group as usize].region)];
                service_tallies.push(tallies.get(TallyLabels {
                    service: service.name.to_string(),
                    pool: config.pools[*tier].name.clone(),
                    region: region.name.clone(),
                }));
            }
        }
        let all_down_tally = tallies.all_down(&service.name.to_string());
        compiled.services.push(Service {
            tiers: service.tiers.clone().into(),
            steering,
            balance: service.balance,
            answers: service.answers,
            ttl: service.ttl,
            when_all_down,
            has_family,
            aliases,
            rotations: (0..service_tallies.len() * 2).map(|_| AtomicU32::new(0)).collect(),
            tallies: service_tallies.into(),
            all_down_tally,
            tier_starts: tier_starts.into(),
        });
    }
    Ok(())
}
