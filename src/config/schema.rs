//! The tables of a configuration and their keys: what is not listed here is an unknown key.

/// One kind of table.
#[derive(Debug)]
pub(super) struct Kind {
    /// How messages call it.
    pub(super) title: &'static str,
    /// Its own keys.
    own: &'static [&'static str],
    /// Keys that it shares with other kinds.
    shared: &'static [&'static [&'static str]],
}

/// The keys that every probe has beside its own.
const PROBE: &[&str] = &["type", "interval", "timeout", "fall", "rise", "degraded_after", "hold_down", "manual_resume"];

/// The keys of probes that ask no target, and so wait for none.
const LOOK: &[&str] = &["type", "interval", "fall", "rise", "hold_down", "manual_resume"];

/// The keys of probes that speak TLS.
pub(super) const TLS_SETTINGS: &[&str] =
    &["server_name", "verify", "ca_file", "client_certificate", "client_key", "min_days_left"];

/// The keys of HTTP probes, with TLS or without.
const HTTP: &[&str] = &[
    "method",
    "path",
    "port",
    "host",
    "headers",
    "http_version",
    "expect_status",
    "expect_body",
    "expect_body_regex",
    "expect_field",
    "load",
    "source",
];

impl Kind {
    const fn new(title: &'static str, own: &'static [&'static str]) -> Self {
        Self { title, own, shared: &[] }
    }

    const fn probe(title: &'static str, own: &'static [&'static str]) -> Self {
        Self { title, own, shared: &[PROBE] }
    }

    const fn tls_probe(title: &'static str, own: &'static [&'static str]) -> Self {
        Self { title, own, shared: &[TLS_SETTINGS, PROBE] }
    }

    const fn look(title: &'static str, own: &'static [&'static str]) -> Self {
        Self { title, own, shared: &[LOOK] }
    }

    /// Its keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.own.iter().chain(self.shared.iter().copied().flatten()).copied()
    }

    /// Whether it has a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys().any(|own| own == key)
    }
}

/// The file itself.
pub(super) const FILE: Kind = Kind::new(
    "the file",
    &[
        "server", "admin", "log", "geoip", "latency", "safety", "regions", "maps", "probes", "pools", "zones",
        "services",
    ],
);
pub(super) const SERVER: Kind = Kind::new(
    "`[server]`",
    &[
        "listen",
        "workers",
        "background_cpus",
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
);
pub(super) const TCP: Kind =
    Kind::new("`[server.tcp]`", &["connections", "connections_per_client", "idle_timeout", "write_timeout"]);
pub(super) const CLIENT_NETWORK: Kind = Kind::new("`client_network`", &["v4", "v6"]);
pub(super) const COOKIES: Kind = Kind::new("`[server.cookies]`", &["secret_file", "require"]);
pub(super) const RATE_LIMIT: Kind =
    Kind::new("`[server.rate_limit]`", &["responses_per_second", "slip", "table_size", "exempt", "dry_run"]);
pub(super) const CHAOS: Kind = Kind::new("`[server.chaos]`", &["version", "hostname", "id", "allow"]);
pub(super) const EXPLAIN: Kind = Kind::new("`[server.explain]`", &["allow"]);
pub(super) const ENCRYPTED: Kind =
    Kind::new("`[server.encrypted]`", &["certificate", "key", "tls", "https", "quic", "https_path"]);
pub(super) const ADMIN: Kind = Kind::new("`[admin]`", &["listen", "token_file"]);
pub(super) const LOG: Kind = Kind::new("`[log]`", &["format", "level"]);
pub(super) const GEOIP: Kind = Kind::new("`[geoip]`", &["database", "asn_database", "networks"]);
pub(super) const NETWORK: Kind = Kind::new("`[[geoip.networks]]`", &["cidr", "region", "location", "country"]);
pub(super) const LATENCY: Kind = Kind::new("`[latency]`", &["file", "max_age", "min_confidence"]);
pub(super) const SAFETY: Kind = Kind::new(
    "`[safety]`",
    &["max_down_share", "min_healthy_regions", "max_changes_per_minute", "self_suspicion", "restore_max_age"],
);
pub(super) const SELF_SUSPICION: Kind =
    Kind::new("`[safety.self_suspicion]`", &["share", "window", "least", "at_most", "canaries"]);
pub(super) const CANARY: Kind = Kind::new("canaries", &["probe", "address", "hostname"]);
pub(super) const REGION: Kind = Kind::new(
    "regions",
    &["location", "countries", "continents", "subdivisions", "asns", "bias", "capacity", "target"],
);
pub(super) const MAP: Kind = Kind::new("maps", &["fence", "inherits", "default", "rules"]);
pub(super) const RULE: Kind = Kind::new(
    "rules of maps",
    &["networks", "networks_file", "asns", "cities", "subdivisions", "countries", "continents", "regions", "fence"],
);
pub(super) const TCP_PROBE: Kind = Kind::probe("tcp probes", &["port", "send", "expect", "source"]);
pub(super) const DNS_PROBE: Kind =
    Kind::probe("dns probes", &["name", "record", "port", "recursion", "expect_rcode", "expect_answer", "source"]);
pub(super) const ICMP_PROBE: Kind = Kind::probe("icmp probes", &["source"]);
pub(super) const EXEC_PROBE: Kind = Kind::probe("exec probes", &["command", "arguments", "port"]);
pub(super) const FILE_PROBE: Kind = Kind::look("file probes", &["path", "max_silence"]);
pub(super) const HEARTBEAT_PROBE: Kind = Kind::look("heartbeat probes", &["max_silence"]);
pub(super) const HTTP_PROBE: Kind = Kind::probe("http and https probes", HTTP);
pub(super) const HTTPS_PROBE: Kind = Kind::tls_probe("https probes", HTTP);
pub(super) const TLS_PROBE: Kind = Kind::tls_probe("tls probes", &["port", "source"]);
pub(super) const GRPC_PROBE: Kind = Kind::tls_probe("grpc probes", &["port", "host", "service", "tls", "source"]);
/// An HTTP probe's `expect_field`.
pub(super) const EXPECTED_FIELD: Kind = Kind::new("an `expect_field` table", &["path", "is"]);
pub(super) const LOAD: Kind =
    Kind::new("`[probes.*.load]`", &["connections", "utilization", "response_ms", "error_rate", "requests_per_second"]);
pub(super) const POOL: Kind = Kind::new(
    "pools",
    &[
        "probe",
        "health",
        "require",
        "min_healthy",
        "health_weighted",
        "slow_start",
        "load_max_age",
        "drain_time",
        "breaker",
        "endpoints",
    ],
);
pub(super) const INPUT: Kind =
    Kind::new("inputs of `health`", &["probe", "pool", "weight", "must_pass", "monitoring_only"]);
pub(super) const BREAKER: Kind = Kind::new(
    "`[pools.*.breaker]`",
    &["failures", "error_rate", "min_reports", "window", "open_for", "half_open_share", "successes"],
);
pub(super) const ENDPOINT: Kind = Kind::new(
    "endpoints",
    &[
        "region",
        "address",
        "hostname",
        "weight",
        "state",
        "drain_at",
        "capacity",
        "target",
        "probe_address",
        "probe_port",
        "probe_host",
        "probe_path",
    ],
);
pub(super) const ZONE: Kind = Kind::new("zones", &["file", "nameservers", "hostmaster", "ttl", "negative_ttl"]);
pub(super) const SERVICE: Kind = Kind::new(
    "services",
    &[
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
);
/// A service's `https` and `svcb`.
pub(super) const BINDING: Kind =
    Kind::new("`https` and `svcb` tables", &["alpn", "no_default_alpn", "port", "hints", "priority", "target"]);
/// A service's `sticky` where it is a table.
pub(super) const STICKY: Kind = Kind::new("a `sticky` table", &["v4", "v6"]);
pub(super) const PERFORMANCE: Kind = Kind::new("a `performance` table", &["response_time", "errors", "load", "weight"]);
pub(super) const ADAPTIVE: Kind =
    Kind::new("an `adaptive` table", &["choice", "high_load", "uneven", "slow_tail", "hold"]);
/// A service's `ttl` where it is a table.
pub(super) const TTL: Kind = Kind::new("a `ttl` table", &["min", "max"]);

/// The kinds that have a key, to say where a misplaced one belongs. What http probes have is said of them alone, as their title names
/// https probes too.
pub(super) fn having(key: &str) -> Vec<&'static Kind> {
    let is_told = |kind: &&Kind| kind.has(key) && !(kind.title == HTTPS_PROBE.title && HTTP_PROBE.has(key));
    ALL.iter().copied().filter(is_told).collect()
}

/// Every kind.
const ALL: &[&Kind] = &[
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
    &SAFETY,
    &SELF_SUSPICION,
    &CANARY,
    &REGION,
    &MAP,
    &RULE,
    &TCP_PROBE,
    &HTTP_PROBE,
    &HTTPS_PROBE,
    &TLS_PROBE,
    &GRPC_PROBE,
    &EXPECTED_FIELD,
    &DNS_PROBE,
    &ICMP_PROBE,
    &EXEC_PROBE,
    &FILE_PROBE,
    &HEARTBEAT_PROBE,
    &LOAD,
    &POOL,
    &INPUT,
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
            (&SAFETY, &["safety"]),
            (&SELF_SUSPICION, &["safety", "self_suspicion"]),
            (&CANARY, &["safety", "self_suspicion", "canaries", "*"]),
            (&REGION, &["regions", "*"]),
            (&MAP, &["maps", "*"]),
            (&RULE, &["maps", "*", "rules", "*"]),
            (&TCP_PROBE, &["probes", "*"]),
            (&HTTP_PROBE, &["probes", "*"]),
            (&HTTPS_PROBE, &["probes", "*"]),
            (&TLS_PROBE, &["probes", "*"]),
            (&GRPC_PROBE, &["probes", "*"]),
            (&EXPECTED_FIELD, &["probes", "*", "expect_field"]),
            (&DNS_PROBE, &["probes", "*"]),
            (&ICMP_PROBE, &["probes", "*"]),
            (&EXEC_PROBE, &["probes", "*"]),
            (&FILE_PROBE, &["probes", "*"]),
            (&HEARTBEAT_PROBE, &["probes", "*"]),
            (&LOAD, &["probes", "*", "load"]),
            (&POOL, &["pools", "*"]),
            (&INPUT, &["pools", "*", "health", "*"]),
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
            let missing: Vec<_> = kind.keys().filter(|key| !shown.contains(*key)).collect();
            assert!(missing.is_empty(), "{}: {missing:?} of {path:?}", kind.title);
        }
    }
}
