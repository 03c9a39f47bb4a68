//! A TOML tree → [`Config`]: types, bounds, references and what keys say together.

mod balance;
mod binding;
mod capacity;
mod geoip;
mod health;
mod latency;
mod map;
mod matcher;
mod pool;
mod probe;
mod region;
mod safety;
mod server;
mod service;
mod zone;

use std::sync::Arc;

use matcher::Given;
use zone::{ZoneNames, distinct_names};

use super::names::parse_owner;
use super::reader::{Entry, Names, Report, Table, Value};
use super::{Config, MAX_REGIONS, Safety, schema};
use crate::zone::Served;

/// Reads a whole file. What can't be read is noted in the report, and then what comes back must not be used.
pub(super) fn config(root: Value<'_>, report: &Report) -> Option<Config> {
    let file = root.table(&schema::FILE)?;
    let region_entries = named_tables(&file, "regions", "{ us-east = { location = [39.04, -77.49] } }");
    let probe_entries = named_tables(&file, "probes", "{ web = { type = \"http\" } }");
    let pool_entries = named_tables(&file, "pools", "{ web = { endpoints = [] } }");
    let zone_entries = named_tables(&file, "zones", "{ \"example.com\" = { file = \"example.com.zone\" } }");
    let service_entries = named_tables(&file, "services", "{ \"www.example.com\" = { pool = \"web\" } }");

    let map_entries = named_tables(&file, "maps", "{ world = { default = [\"us-east\"] } }");

    let region_names = Names::new("region", &region_entries, report);
    let map_names = Names::new("map", &map_entries, report);
    let probe_names = Names::new("probe", &probe_entries, report);
    let pool_names = Names::new("pool", &pool_entries, report);
    if let Some(entry) = region_entries.get(MAX_REGIONS) {
        let message = format!("{} regions are too many", region_entries.len());
        report.add(entry.span.clone(), message, format!("keep at most {MAX_REGIONS}"));
    }

    let server = server::server(&file, report);
    let admin = file.entry("admin").map(|entry| server::admin(entry.value));
    let log = server::log(&file);
    let geoip = geoip::geoip(&file, &region_names);
    let latency = file.entry("latency").map(|entry| latency::latency(entry.value));
    let mut claimed = Given::default();
    let regions: Vec<_> = region_entries
        .iter()
        .enumerate()
        .map(|(index, entry)| region::region(entry, index, &region_names, &mut claimed))
        .collect();
    let maps_context = map::Context { regions: &region_names, maps: &map_names };
    let mut maps = map::maps(&map_entries, maps_context, report);
    let probes: Vec<_> = probe_entries.iter().map(probe::probe).collect();
    let health_context = health::Context { probes: &probe_names, read: &probes, pools: &pool_names };
    let pools = pool::pools(&pool_entries, &region_names, health_context);
    let safety = file.or("safety", Safety::DEFAULT, |value| safety::safety(value, health_context));
    let zone_names = ZoneNames::new(&zone_entries, report);
    let service_names = distinct_names("service", &schema::SERVICE, &service_entries, parse_owner, report);
    let served = Served::new(zone_names.iter(), service_names.iter().flatten());
    let zones: Vec<_> =
        zone_entries.iter().enumerate().map(|(index, entry)| zone::zone(entry, index, &zone_names, &served)).collect();
    let context = service::Context {
        regions: &region_names,
        maps: maps_context,
        pool_names: &pool_names,
        pools: &pools,
        zones: &zone_names,
        has_latency: latency.is_some(),
        report,
    };
    let services: Vec<_> = service_entries
        .iter()
        .zip(&service_names)
        .map(|(entry, name)| service::service(entry, name.as_ref(), &context, &mut maps))
        .collect();

    let regions: Vec<_> = regions.into_iter().flatten().collect();
    let pools: Vec<_> = pools.into_iter().flatten().collect();
    let services: Vec<_> = services.into_iter().flatten().collect();
    // Only where nothing is left out, indices are what the names said.
    let is_whole = (regions.len(), pools.len()) == (region_entries.len(), pool_entries.len());
    if is_whole {
        health::check_loops(&pools, &pool_entries, report);
        capacity::check(&services, &pools, &regions, report);
    }

    // What is left out here was noted, so where the configuration is used, indices are what the names said.
    Some(Config {
        source: Arc::clone(report.source()),
        server: server?,
        admin: match admin {
            Some(admin) => Some(admin?),
            None => None,
        },
        log,
        geoip,
        latency: match latency {
            Some(latency) => Some(latency?),
            None => None,
        },
        safety,
        regions,
        maps: maps.into_iter().flatten().collect(),
        probes: probes.into_iter().flatten().map(Arc::new).collect(),
        pools,
        zones: zones.into_iter().flatten().collect(),
        services,
    })
}

/// The entries of a table of named tables.
fn named_tables<'a>(file: &Table<'a>, key: &str, example: &str) -> Vec<Entry<'a>> {
    file.or(key, Vec::new(), |value| value.entries("a table of tables", example))
}
