//! `[services.*]`

use std::collections::{BTreeMap, BTreeSet};

use super::balance::{Stickiness, balance};
use super::binding::binding;
use super::map;
use super::zone::ZoneNames;
use crate::config::reader::{Entry, Names, Report, Table, Value};
use crate::config::{
    AnswerOrder, CapacityUnit, MAX_ANSWERS, MAX_REGIONS, MAX_WEIGHT, Map, Pool, Service, Span, Steering, Ttl,
    WhenAllDown, schema,
};
use crate::zone::Name;

const DEFAULT_TTL_SECS: u32 = 30;
/// Pools to fall back to.
const MAX_FAILOVER: usize = 64;
const NOT_THIS_STEERING: &str = "has no meaning with this `steering`";

/// What services refer to.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) regions: &'a Names<'a>,
    pub(super) maps: map::Context<'a>,
    pub(super) pool_names: &'a Names<'a>,
    /// By index; absent where it can't be read.
    pub(super) pools: &'a [Option<Pool>],
    pub(super) zones: &'a ZoneNames,
    /// Whether there is `[latency]`.
    pub(super) has_latency: bool,
    pub(super) report: &'a Report,
}

impl Context<'_> {
    fn pool(&self, index: usize) -> Option<&Pool> {
        self.pools.get(index)?.as_ref()
    }

    /// The regions that these pools use, in file order; absent where a pool can't be read.
    fn regions_of(&self, tiers: &[usize]) -> Option<BTreeSet<usize>> {
        let pools: Option<Vec<&Pool>> = tiers.iter().map(|&tier| self.pool(tier)).collect();
        Some(pools?.into_iter().flat_map(|pool| &pool.endpoints).map(|endpoint| endpoint.region).collect())
    }
}

/// Reads one service; `name` is what its key reads as. A map that stands in it becomes one more of `maps`.
pub(super) fn service(
    entry: &Entry<'_>,
    name: Option<&Name>,
    context: &Context<'_>,
    maps: &mut Vec<Option<Map>>,
) -> Option<Service> {
    if !entry.unquoted_names(&schema::SERVICE).is_empty() {
        return None;
    }
    let table = entry.value.table(&schema::SERVICE)?;
    let zone = name.and_then(|name| context.zones.zone_of(entry, name, context.report));
    let is_apex = zone.is_some_and(|zone| context.zones.apex(zone) == name);
    let tiers = tiers(&table, is_apex, context);
    let used_regions = tiers.as_ref().and_then(|tiers| context.regions_of(tiers));
    let steering = steering(&table, used_regions.as_ref(), context);
    let stickiness = Stickiness::of(&table);
    let (balance, sticky) = balance(&table, stickiness);
    let map = map::of_service(&table, entry.name, context.maps, maps);
    let answers = table.or("answers", 1, |value| value.integer(1..=MAX_ANSWERS as u8));
    let answer_order = table.or("answer_order", AnswerOrder::Shuffled, |value| {
        value.choice(&[("shuffled", AnswerOrder::Shuffled), ("fixed", AnswerOrder::Fixed)])
    });
    let ttl = table.or("ttl", ttl_up_to(DEFAULT_TTL_SECS), ttl);
    let when_all_down = when_all_down(&table);
    let first_pool = tiers.as_ref().and_then(|tiers| context.pool(*tiers.first()?));
    let is_alias = first_pool.is_some_and(Pool::has_hostnames);
    let [https, svcb] = ["https", "svcb"].map(|key| binding(&table, key, is_alias));
    Some(Service {
        name: name?.clone(),
        zone: zone?,
        tiers: tiers?,
        steering: steering?,
        map,
        balance,
        sticky,
        region_sticky: stickiness.of_regions(),
        answers,
        answer_order,
        ttl,
        when_all_down: when_all_down?,
        https,
        svcb,
        span: entry.span.clone(),
    })
}

/// `pool`, then `failover`; all have addresses, or all have hostnames.
fn tiers(table: &Table<'_>, is_apex: bool, context: &Context<'_>) -> Option<Vec<usize>> {
    let mut first_read: Option<&Pool> = None;
    let mut resolve = |value: Value<'_>| {
        let index = context.pool_names.resolve(value)?;
        let Some(pool) = context.pool(index) else { return Some(index) };
        if is_apex && pool.has_hostnames() {
            return value.reject(
                "this pool has hostnames, which are answered as CNAME, but the service is the apex of a zone",
                "use a pool of addresses, or a name below the apex: no CNAME can stand beside SOA and NS (RFC 2181 \
                 section 10.1)",
            );
        }
        let first = *first_read.get_or_insert(pool);
        if pool.has_hostnames() != first.has_hostnames() {
            let kind = |pool: &Pool| if pool.has_hostnames() { "hostnames" } else { "addresses" };
            return value.reject(
                format!("this pool has {}, but pool `{}` before it has {}", kind(pool), first.name, kind(first)),
                format!(
                    "name a pool of {}: resolvers follow an alias for every type while they keep it (RFC 1034 section \
                     3.6.2)",
                    kind(first)
                ),
            );
        }
        Some(index)
    };
    let first = table.required("pool", "pool = \"web\"", &mut resolve);
    let failover = table.or("failover", Some(Vec::new()), |value| {
        Some(value.distinct_list("a list of pools", "[\"web-dr\"]", MAX_FAILOVER, |element| {
            let pool = resolve(element)?;
            if first == Some(pool) {
                return element.reject("this is already the service's `pool`", "name the pools to try after it");
            }
            Some(pool)
        }))
    });
    let mut tiers = vec![first?];
    tiers.extend(failover?);
    Some(tiers)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum SteeringKind {
    Proximity,
    Latency,
    Geo,
    Priority,
    Weighted,
    Load,
}

fn steering(table: &Table<'_>, used: Option<&BTreeSet<usize>>, context: &Context<'_>) -> Option<Steering> {
    let kind = table.or("steering", Some(SteeringKind::Proximity), |value| {
        let kind = value.choice(&[
            ("proximity", SteeringKind::Proximity),
            ("latency", SteeringKind::Latency),
            ("geo", SteeringKind::Geo),
            ("priority", SteeringKind::Priority),
            ("weighted", SteeringKind::Weighted),
            ("load", SteeringKind::Load),
        ]);
        if kind == Some(SteeringKind::Latency) && !context.has_latency {
            return value.reject(
                "there is no `[latency]` table, so no round trip would be known",
                "add `[latency]`, with a `file` of measurements or fed by POST /api/v1/latency",
            );
        }
        Some(kind)
    })?;
    if kind != SteeringKind::Priority {
        table.refuse(&["region_order"], NOT_THIS_STEERING, "add `steering = \"priority\"`, or leave it out");
    }
    if kind != SteeringKind::Weighted {
        table.refuse(&["region_weights"], NOT_THIS_STEERING, "add `steering = \"weighted\"`, or leave it out");
    }
    if kind != SteeringKind::Load {
        table.refuse(&["capacity_unit"], NOT_THIS_STEERING, "add `steering = \"load\"`, or leave it out");
    }
    match kind {
        SteeringKind::Load => Some(Steering::Load(table.or("capacity_unit", CapacityUnit::Queries, |value| {
            value.choice(&[("queries", CapacityUnit::Queries), ("reported", CapacityUnit::Reported)])
        }))),
        SteeringKind::Proximity => Some(Steering::Proximity),
        SteeringKind::Latency => Some(Steering::Latency),
        SteeringKind::Geo => match (table.entry("map"), table.entry("steering")) {
            (None, Some(entry)) => entry.value.reject(
                "this `steering` needs a `map`",
                "add `map = \"world\"`, with its rules in `[maps.world]`, or `map = { rules = [...] }`",
            ),
            _ => Some(Steering::Geo),
        },
        SteeringKind::Priority => {
            let mut order = table.or("region_order", Some(Vec::new()), |value| {
                Some(value.distinct_list("a list of regions", "[\"us-east\"]", MAX_REGIONS, |element| {
                    let region = context.regions.resolve(element)?;
                    check_used(region, used, element.span(), context.report);
                    Some(region)
                }))
            })?;
            let rest: Vec<usize> = used?.iter().copied().filter(|region| !order.contains(region)).collect();
            order.extend(rest);
            Some(Steering::Priority(order))
        }
        SteeringKind::Weighted => match table.entry("region_weights") {
            None => Some(Steering::Weighted(None)),
            Some(entry) => region_weights(entry.value, used, context).map(|weights| Steering::Weighted(Some(weights))),
        },
    }
}

fn region_weights(
    value: Value<'_>,
    used: Option<&BTreeSet<usize>>,
    context: &Context<'_>,
) -> Option<Vec<(usize, u32)>> {
    let entries = value.entries("a table of weights by region", "{ us-east = 3, eu-central = 1 }")?;
    let weights = entries.iter().map(|entry| {
        let region = context.regions.find(entry.name, entry.span.clone(), context.report);
        if let Some(region) = region {
            check_used(region, used, entry.span.clone(), context.report);
        }
        let weight = entry.value.integer(0..=MAX_WEIGHT);
        Some((region?, weight?))
    });
    let weights = weights.collect::<Vec<_>>().into_iter().collect::<Option<BTreeMap<usize, u32>>>()?;
    if weights.values().all(|&weight| weight == 0) {
        return value.reject("every region weighs 0, so none could be chosen", "give at least one region a weight");
    }
    Some(used?.iter().map(|region| (*region, weights.get(region).copied().unwrap_or(0))).collect())
}

/// Notes a region that none of the service's pools has an endpoint in.
fn check_used(region: usize, used: Option<&BTreeSet<usize>>, span: Span, report: &Report) {
    if used.is_some_and(|used| !used.contains(&region)) {
        let message = "none of this service's pools has an endpoint in this region";
        report.add(span, message, "leave it out, or add an endpoint there");
    }
}

/// A duration, or a table of `min` and `max`.
fn ttl(value: Value<'_>) -> Option<Ttl> {
    if !value.is_table() {
        return value.ttl().map(ttl_up_to);
    }
    let table = value.table(&schema::TTL)?;
    let max = table.required("max", "max = \"30s\"", |value| value.ttl())?;
    let min = table.optional("min", |value| {
        let min = value.ttl()?;
        if min > max {
            return value.reject("`min` is greater than `max`", "exchange the two");
        }
        Some(min)
    });
    Some(min.map_or_else(|| ttl_up_to(max), |min| Ttl { min, max }))
}

/// The TTLs where only the greatest is given.
fn ttl_up_to(max: u32) -> Ttl {
    Ttl { min: (max / 2).max(1).min(max), max }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum DownKind {
    ServeAll,
    LastResort,
    NoData,
}

fn when_all_down(table: &Table<'_>) -> Option<WhenAllDown> {
    const EXAMPLE: &str = "[\"203.0.113.80\"]";
    let kind = table.or("when_all_down", Some(DownKind::ServeAll), |value| {
        Some(value.choice(&[
            ("serve-all", DownKind::ServeAll),
            ("last-resort", DownKind::LastResort),
            ("nodata", DownKind::NoData),
        ]))
    });
    let read = |value: Value<'_>| {
        value.distinct_list("a list of addresses", EXAMPLE, MAX_ANSWERS, |element| element.address())
    };
    if kind == Some(DownKind::LastResort) {
        let example = format!("last_resort = {EXAMPLE}");
        return table.required("last_resort", &example, read).map(WhenAllDown::LastResort);
    }
    table.optional("last_resort", read);
    let otherwise = if kind? == DownKind::NoData { WhenAllDown::NoData } else { WhenAllDown::ServeAll };
    let hint = "add `when_all_down = \"last-resort\"`, or leave it out";
    table.refuse(&["last_resort"], "is never answered with this `when_all_down`", hint);
    Some(otherwise)
}
