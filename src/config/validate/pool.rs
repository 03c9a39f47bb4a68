//! `[pools.*]`

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use super::capacity::capacity;
use super::health;
use super::probe::{host, request_path};
use crate::config::reader::{Entry, Names, Table, Value};
use crate::config::{
    Breaker, Check, Endpoint, EndpointState, MAX_ENDPOINTS, MAX_WEIGHT, Pool, Probe, ProbedAs, Target, schema,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// How long a sticky balance keeps its clients on an endpoint that drains, where the pool doesn't say.
const DRAIN_TIME: Duration = Duration::from_secs(600);
const MAX_DRAIN_TIME: Duration = Duration::from_secs(7 * 86_400);
const EXAMPLE: &str = "[{ region = \"us-east\", address = \"192.0.2.1\" }]";

pub(super) fn pools(entries: &[Entry<'_>], regions: &Names<'_>, health: health::Context<'_>) -> Vec<Option<Pool>> {
    let mut room = MAX_ENDPOINTS;
    entries.iter().map(|entry| pool(entry, regions, health, &mut room)).collect()
}

/// Reads one pool; its endpoints take from the `room` for all.
fn pool(entry: &Entry<'_>, regions: &Names<'_>, health: health::Context<'_>, room: &mut usize) -> Option<Pool> {
    let table = entry.value.table(&schema::POOL)?;
    let probes = health.read;
    let health = health::health(&table, health);
    let probed_by: ProbedBy<'_> =
        health.as_ref().map(|health| health.probes().map(|probe| probes.get(probe)?.as_ref()).collect());
    let min_healthy = table.or("min_healthy", 1, |value| value.integer(1..=u16::MAX));
    let endpoints = table.required("endpoints", &format!("endpoints = {EXAMPLE}"), |value| {
        let count = value.elements("a list of endpoints", EXAMPLE)?.len();
        let Some(left) = room.checked_sub(count) else {
            return value.reject(
                format!("with the {count} endpoints of this pool there are more than {MAX_ENDPOINTS}"),
                "a hostname, or a balancer's address, may stand for many",
            );
        };
        *room = left;
        endpoints(value, regions, &probed_by)
    })?;

    let most = most_in_one_region(&endpoints);
    if usize::from(min_healthy) > most
        && let Some(entry) = table.entry("min_healthy")
    {
        entry.value.reject::<()>(
            format!("no region has {min_healthy} endpoints of one family, so none could ever serve"),
            format!("write at most {most}"),
        );
    }
    check_capacities(&table, &endpoints, regions);
    Some(Pool {
        name: entry.name.to_owned(),
        health: health?,
        min_healthy,
        health_weighted: table.or("health_weighted", true, Value::boolean),
        slow_start: table.optional("slow_start", |value| value.duration(SECOND..=DAY)),
        load_max_age: table.optional("load_max_age", |value| value.duration(SECOND..=DAY)),
        drain_time: table.or("drain_time", DRAIN_TIME, |value| value.duration(Duration::ZERO..=MAX_DRAIN_TIME)),
        breaker: table.optional("breaker", breaker),
        endpoints,
    })
}

fn breaker(value: Value<'_>) -> Option<Breaker> {
    let table = value.table(&schema::BREAKER)?;
    let count = |key, default, most| table.or(key, default, |value| value.integer(1..=most));
    let part = |key, default, least: f64| {
        let expected = format!("a part of 1, from {least} to 1");
        table.or(key, default, |value| value.number(&expected, least..=1.0, "0.5"))
    };
    let time = |key, default| table.or(key, default, |value| value.duration(SECOND..=HOUR));
    let default = Breaker::DEFAULT;
    Some(Breaker {
        failures: count("failures", default.failures, 1_000),
        error_rate: part("error_rate", default.error_rate, 0.01),
        min_reports: count("min_reports", default.min_reports, 1_000_000),
        window: time("window", default.window),
        open_for: time("open_for", default.open_for),
        half_open_share: part("half_open_share", default.half_open_share, 0.001),
        successes: count("successes", default.successes, 1_000),
    })
}

/// What probes the endpoints of a pool. Nothing where it can't be read, which is noted already, be it all or one of them.
type ProbedBy<'a> = Option<Vec<Option<&'a Probe>>>;

/// How an endpoint is probed in its own way.
fn probed_as(table: &Table<'_>, by: &ProbedBy<'_>) -> ProbedAs {
    let read = ProbedAs {
        address: table.optional("probe_address", Value::address),
        port: table.optional("probe_port", |value| value.integer(1..=u16::MAX)),
        host: table.optional("probe_host", host),
        path: table.optional("probe_path", request_path),
    };
    let Some(probes) = by else { return read };
    for (key, what, takes) in [
        ("probe_address", "address", None),
        ("probe_port", "port", Some(Check::takes_port as fn(&Check) -> bool)),
        ("probe_host", "host", Some(Check::takes_host)),
        ("probe_path", "request", Some(Check::takes_path)),
    ] {
        let Some(entry) = table.entry(key) else { continue };
        let takes_it = |probe: &Option<&Probe>| probe.zip(takes).is_none_or(|(probe, takes)| takes(&probe.check));
        if probes.is_empty() {
            let message = format!("`{key}` in a pool without a probe");
            entry.value.reject::<()>(message, "give the pool a `probe`, or leave this out");
        } else if !probes.iter().any(takes_it)
            && let Some(Some(Probe { name, .. })) = probes.first()
        {
            entry.value.reject::<()>(format!("the probe `{name}` is of a type without a {what}"), "leave this out");
        }
    }
    read
}

fn endpoints(value: Value<'_>, regions: &Names<'_>, probed_by: &ProbedBy<'_>) -> Option<Vec<Endpoint>> {
    let mut seen = HashSet::new();
    let mut pool_has_hostnames = None;
    value.list("a list of endpoints", EXAMPLE, MAX_ENDPOINTS, |element| {
        let table = element.table(&schema::ENDPOINT)?;
        let region = table.required("region", "region = \"us-east\"", |value| regions.resolve(value));
        let target = target(&table);
        let weight = table.or("weight", 1, |value| value.integer(0..=MAX_WEIGHT));
        let state = table.or("state", EndpointState::Enabled, |value| {
            value.choice(&[
                ("enabled", EndpointState::Enabled),
                ("draining", EndpointState::Draining),
                ("disabled", EndpointState::Disabled),
            ])
        });
        let drain_at = table.optional("drain_at", |value| {
            let drain_at = value.instant()?;
            if state != EndpointState::Enabled {
                return value.reject(
                    "`drain_at` is for an endpoint that is enabled until then",
                    "leave out `drain_at`, or `state`",
                );
            }
            Some(drain_at)
        });
        let capacity = capacity(&table);
        let probe = probed_as(&table, probed_by);
        let (region, target) = (region?, target?);
        let mut sources = probed_by.iter().flatten().flatten().filter_map(|probe| probe.check.source());
        if let Some(asked) = probe.address.or(target.address())
            && let Some(source) = sources.find(|source| source.is_ipv4() != asked.is_ipv4())
        {
            return element.reject(
                format!("{asked} can't be probed from the probe's `source`, {source}, which is of the other family"),
                "give the endpoints of this family a pool and a probe of their own",
            );
        }
        let is_hostname = matches!(target, Target::Hostname(_));
        if *pool_has_hostnames.get_or_insert(is_hostname) != is_hostname {
            let message = if is_hostname {
                "a hostname in a pool that begins with an address"
            } else {
                "an address in a pool that begins with a hostname"
            };
            return element.reject(
                message,
                "keep the two in different pools, used by different services: resolvers follow an alias for every type \
                 while they keep it (RFC 1034 section 3.6.2)",
            );
        }
        if !seen.insert((region, target.clone())) {
            return element.reject(
                format!("this endpoint is given twice in region `{}`", regions.name(region)),
                "keep one of them, with the `weight` that it should have",
            );
        }
        Some(Endpoint { region, target, weight, state, drain_at, capacity, probe })
    })
}

/// Notes an endpoint without a capacity beside others of its region that have one: what they bear together would be unknown.
fn check_capacities(table: &Table<'_>, endpoints: &[Endpoint], regions: &Names<'_>) {
    let has_any: HashSet<usize> =
        endpoints.iter().filter(|endpoint| endpoint.capacity.is_some()).map(|endpoint| endpoint.region).collect();
    let lacking =
        endpoints.iter().position(|endpoint| endpoint.capacity.is_none() && has_any.contains(&endpoint.region));
    let values = table.entry("endpoints").and_then(|entry| entry.value.elements("a list of endpoints", EXAMPLE));
    if let Some((index, value)) = lacking.and_then(|index| Some((index, values?.nth(index)?))) {
        value.reject::<()>(
            format!(
                "no `capacity`, but another endpoint of region `{}` has one",
                regions.name(endpoints[index].region)
            ),
            "give all of them one, or none: a region can have a `capacity` of its own",
        );
    }
}

/// Exactly one of `address` and `hostname`.
pub(super) fn target(table: &Table<'_>) -> Option<Target> {
    match (table.entry("address"), table.entry("hostname")) {
        (Some(address), None) => address.value.address().map(Target::Address),
        (None, Some(hostname)) => {
            if hostname.value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok()) {
                return hostname
                    .value
                    .reject("an address where a hostname is expected", "use the key `address` for it");
            }
            hostname.value.domain_name().map(Target::Hostname)
        }
        (Some(_), Some(_)) => {
            table.value().reject("`address` beside `hostname`", "an endpoint has exactly one of the two")
        }
        (None, None) => table.value().reject("missing `address`", "add `address = \"192.0.2.1\"`, or a `hostname`"),
    }
}

/// The most endpoints that one region has of one family.
fn most_in_one_region(endpoints: &[Endpoint]) -> usize {
    let mut counts: HashMap<_, usize> = HashMap::new();
    for endpoint in endpoints {
        let is_ipv6 = matches!(endpoint.target, Target::Address(IpAddr::V6(_)));
        *counts.entry((endpoint.region, is_ipv6)).or_default() += 1;
    }
    counts.into_values().max().unwrap_or(0)
}
