//! `[geoip]` and `[[geoip.networks]]`

use std::collections::HashSet;
use std::path::PathBuf;

use super::region::coordinates;
use crate::config::reader::{Names, Table, Value};
use crate::config::{GeoIp, Network, Place, Span, schema};

pub(super) fn geoip(file: &Table<'_>, regions: &Names<'_>) -> GeoIp {
    let default = GeoIp { database: None, asn_database: None, networks: Vec::new() };
    file.or("geoip", default, |value| {
        let table = value.table(&schema::GEOIP)?;
        Some(GeoIp {
            database: table.optional("database", database),
            asn_database: table.optional("asn_database", database),
            networks: table.or("networks", Vec::new(), |value| networks(value, regions)),
        })
    })
}

fn database(value: Value<'_>) -> Option<(PathBuf, Span)> {
    Some((value.path()?, value.span()))
}

fn networks(value: Value<'_>, regions: &Names<'_>) -> Option<Vec<Network>> {
    const EXAMPLE: &str = "[{ cidr = \"10.20.0.0/16\", country = \"DE\" }]";
    let mut seen = HashSet::new();
    let networks = value.elements("a list of networks", EXAMPLE)?.map(|element| {
        let table = element.table(&schema::NETWORK)?;
        let cidr = table.required("cidr", "cidr = \"10.20.0.0/16\"", |value| {
            let cidr = value.network()?;
            if !seen.insert(cidr) {
                return value.reject(format!("the network {cidr} is given twice"), "keep one of them");
            }
            Some(cidr)
        });
        let place = place(&table, regions);
        Some(Network { cidr: cidr?, place: place? })
    });
    Some(networks.flatten().collect())
}

/// Exactly one of `region`, `location` and `country`.
fn place(table: &Table<'_>, regions: &Names<'_>) -> Option<Place> {
    let keys = ["region", "location", "country"].into_iter().filter_map(|key| table.entry(key));
    let mut keys: Vec<_> = keys.collect();
    keys.sort_by_key(|entry| entry.span.start);
    let Some((first, others)) = keys.split_first() else {
        return table.value().reject(
            "missing one of `region`, `location` and `country`",
            "say where clients in this network are, for example `country = \"DE\"`",
        );
    };
    for other in others {
        table.report().add(
            other.span.clone(),
            format!("`{}` beside `{}`", other.name, first.name),
            "a network has exactly one of `region`, `location` and `country`",
        );
    }
    match first.name {
        "region" => regions.resolve(first.value).map(Place::Region),
        "location" => coordinates(first.value).map(Place::Location),
        _ => first.value.parsed("\"DE\"").map(Place::Country),
    }
}
