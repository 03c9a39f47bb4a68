//! The tables of a configuration and their keys: what is not listed here is an unknown key.

/// One kind of table.
#[derive(Debug)]
pub(super) struct Kind {
    /// How messages call it.
    pub(super) title: &'static str,
    /// Its keys.
    pub(super) keys: &'static [&'static str],
}

/// The file itself.
pub(super) const FILE: Kind = Kind {
    title: "the file",
    keys: &["server", "admin", "log", "geoip", "latency", "regions", "maps", "probes", "pools", "zones", "services"],
};
pub(super) const SERVER: Kind = Kind {
    title: "`[server]`",
    keys: &[
        "listen",
        "workers",
        "nsid",
        "state_dir",
        "user",
        "group",
        "edns_udp_size",
        "minimal_responses",
        "client_network",
        "tcp",
        "cookies",
        "rate_limit",
        "chaos",
        "explain",
        "encrypted",
    ],
};
pub(super) const TCP: Kind =
    Kind { title: "`[server.tcp]`", keys: &["connections", "connections_per_client", "idle_timeout", "write_timeout"] };
pub(super) const CLIENT_NETWORK: Kind = Kind { title: "`client_network`", keys: &["v4", "v6"] };
pub(super) const COOKIES: Kind = Kind { title: "`[server.cookies]`", keys: &["secret_file", "require"] };
pub(super) const RATE_LIMIT: Kind =
    Kind { title: "`[server.rate_limit]`", keys: &["responses_per_second", "slip", "table_size", "exempt", "dry_run"] };
pub(super) const CHAOS: Kind = Kind { title: "`[server.chaos]`", keys: &["version", "hostname", "id", "allow"] };
pub(super) const EXPLAIN: Kind = Kind { title: "`[server.explain]`", keys: &["allow"] };
pub(super) const ENCRYPTED: Kind =
    Kind { title: "`[server.encrypted]`", keys: &["certificate", "key", "tls", "https", "quic", "https_path"] };
pub(super) const ADMIN: Kind = Kind { title: "`[admin]`", keys: &["listen", "token_file"] };
pub(super) const LOG: Kind = Kind { title: "`[log]`", keys: &["format", "level"] };
pub(super) const GEOIP: Kind = Kind { title: "`[geoip]`", keys: &["database", "asn_database", "networks"] };
pub(super) const NETWORK: Kind =
    Kind { title: "`[[geoip.networks]]`", keys: &["cidr", "region", "location", "country"] };
pub(super) const LATENCY: Kind = Kind { title: "`[latency]`", keys: &["file", "max_age", "min_confidence"] };
pub(super) const REGION: Kind = Kind {
    title: "regions",
    keys: &["location", "countries", "continents", "subdivisions", "asns", "bias", "capacity", "target"],
};
pub(super) const MAP: Kind = Kind { title: "maps", keys: &["fence", "inherits", "default", "rules"] };
pub(super) const RULE: Kind = Kind {
    title: "rules of maps",
    keys: &[
        "networks",
        "networks_file",
        "asns",
        "cities",
        "subdivisions",
        "countries",
        "continents",
        "regions",
        "fence",
    ],
};
/// The keys that every probe has.
pub(super) const TCP_PROBE: Kind = Kind {
    title: "tcp probes",
    keys: &["type", "port", "interval", "timeout", "fall", "rise", "degraded_after", "hold_down", "manual_resume"],
};
pub(super) const HTTP_PROBE: Kind = Kind {
    title: "http and https probes",
    keys: &[
        "type",
        "method",
        "path",
        "port",
        "host",
        "headers",
        "expect_status",
        "expect_body",
        "load",
        "interval",
        "timeout",
        "fall",
        "rise",
        "degraded_after",
        "hold_down",
        "manual_resume",
    ],
};
pub(super) const HTTPS_PROBE: Kind = Kind {
    title: "https probes",
    keys: &[
        "type",
        "method",
        "path",
        "port",
        "host",
        "headers",
        "expect_status",
        "expect_body",
        "load",
        "ca_file",
        "interval",
        "timeout",
        "fall",
        "rise",
        "degraded_after",
        "hold_down",
        "manual_resume",
    ],
};
pub(super) const LOAD: Kind = Kind {
    title: "`[probes.*.load]`",
    keys: &["connections", "utilization", "response_ms", "error_rate", "requests_per_second"],
};
pub(super) const POOL: Kind = Kind {
    title: "pools",
    keys: &[
        "probe",
        "min_healthy",
        "health_weighted",
        "slow_start",
        "load_max_age",
        "drain_time",
        "breaker",
        "endpoints",
    ],
};
pub(super) const BREAKER: Kind = Kind {
    title: "`[pools.*.breaker]`",
    keys: &["failures", "error_rate", "min_reports", "window", "open_for", "half_open_share", "successes"],
};
pub(super) const ENDPOINT: Kind = Kind {
    title: "endpoints",
    keys: &["region", "address", "hostname", "weight", "state", "drain_at", "capacity", "target"],
};
pub(super) const ZONE: Kind =
    Kind { title: "zones", keys: &["file", "nameservers", "hostmaster", "ttl", "negative_ttl"] };
pub(super) const SERVICE: Kind = Kind {
    title: "services",
    keys: &[
        "pool",
        "failover",
        "steering",
        "map",
        "region_order",
        "region_weights",
        "capacity_unit",
        "balance",
        "sticky",
        "performance",
        "adaptive",
        "answers",
        "answer_order",
        "ttl",
        "when_all_down",
        "last_resort",
        "https",
        "svcb",
    ],
};
/// A service's `https` and `svcb`.
pub(super) const BINDING: Kind = Kind {
    title: "`https` and `svcb` tables",
    keys: &["alpn", "no_default_alpn", "port", "hints", "priority", "target"],
};
/// A service's `sticky` where it is a table.
pub(super) const STICKY: Kind = Kind { title: "a `sticky` table", keys: &["v4", "v6"] };
pub(super) const PERFORMANCE: Kind =
    Kind { title: "a `performance` table", keys: &["response_time", "errors", "load", "weight"] };
pub(super) const ADAPTIVE: Kind =
    Kind { title: "an `adaptive` table", keys: &["choice", "high_load", "uneven", "slow_tail", "hold"] };
/// A service's `ttl` where it is a table.
pub(super) const TTL: Kind = Kind { title: "a `ttl` table", keys: &["min", "max"] };

/// Every kind, to say where a misplaced key belongs.
pub(super) const ALL: &[&Kind] = &[
    &FILE,
    &SERVER,
    &CLIENT_NETWORK,
    &TCP,
    &COOKIES,
    &RATE_LIMIT,
    &CHAOS,
    &EXPLAIN,
    &ENCRYPTED,
    &ADMIN,
    &LOG,
    &GEOIP,
    &NETWORK,
    &LATENCY,
    &REGION,
    &MAP,
    &RULE,
    &TCP_PROBE,
    &HTTP_PROBE,
    &HTTPS_PROBE,
    &LOAD,
    &POOL,
    &BREAKER,
    &ENDPOINT,
    &ZONE,
    &SERVICE,
    &BINDING,
    &STICKY,
    &PERFORMANCE,
    &ADAPTIVE,
    &TTL,
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use std::collections::BTreeSet;

    use toml::de::{DeTable, DeValue};

    use super::*;

    /// The keys of all tables at a path; `*` stands for any key or element.
    fn keys_at<'a>(value: &'a DeValue<'_>, path: &[&str], keys: &mut BTreeSet<&'a str>) {
        let Some((step, rest)) = path.split_first() else {
            if let DeValue::Table(table) = value {
                keys.extend(table.keys().map(|key| &**key.get_ref()));
            }
            return;
        };
        match value {
            DeValue::Table(table) => {
                let inner = table.iter().filter(|(key, _)| *step == "*" || key.get_ref() == step);
                inner.for_each(|(_, value)| keys_at(value.get_ref(), rest, keys));
            }
            DeValue::Array(array) if *step == "*" => {
                array.iter().for_each(|value| keys_at(value.get_ref(), rest, keys));
            }
            _ => {}
        }
    }

    #[test]
    fn the_full_example_shows_every_key() {
        let root = DeValue::Table(DeTable::parse(include_str!("../../config/full.toml")).unwrap().into_inner());
        let tables: &[(&Kind, &[&str])] = &[
            (&FILE, &[]),
            (&SERVER, &["server"]),
            (&CLIENT_NETWORK, &["server", "client_network"]),
            (&TCP, &["server", "tcp"]),
            (&COOKIES, &["server", "cookies"]),
            (&RATE_LIMIT, &["server", "rate_limit"]),
            (&CHAOS, &["server", "chaos"]),
            (&EXPLAIN, &["server", "explain"]),
            (&ENCRYPTED, &["server", "encrypted"]),
            (&ADMIN, &["admin"]),
            (&LOG, &["log"]),
            (&GEOIP, &["geoip"]),
            (&NETWORK, &["geoip", "networks", "*"]),
            (&LATENCY, &["latency"]),
            (&REGION, &["regions", "*"]),
            (&MAP, &["maps", "*"]),
            (&RULE, &["maps", "*", "rules", "*"]),
            (&TCP_PROBE, &["probes", "*"]),
            (&HTTP_PROBE, &["probes", "*"]),
            (&HTTPS_PROBE, &["probes", "*"]),
            (&LOAD, &["probes", "*", "load"]),
            (&POOL, &["pools", "*"]),
            (&BREAKER, &["pools", "*", "breaker"]),
            (&ENDPOINT, &["pools", "*", "endpoints", "*"]),
            (&ZONE, &["zones", "*"]),
            (&SERVICE, &["services", "*"]),
            (&BINDING, &["services", "*", "https"]),
            (&STICKY, &["services", "*", "sticky"]),
            (&PERFORMANCE, &["services", "*", "performance"]),
            (&ADAPTIVE, &["services", "*", "adaptive"]),
            (&TTL, &["services", "*", "ttl"]),
        ];
        assert_eq!(tables.len(), ALL.len());
        for (kind, path) in tables {
            let mut shown = BTreeSet::new();
            keys_at(&root, path, &mut shown);
            let missing: Vec<_> = kind.keys.iter().filter(|key| !shown.contains(**key)).collect();
            assert!(missing.is_empty(), "{}: {missing:?} of {path:?}", kind.title);
        }
    }
}
