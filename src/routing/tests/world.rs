//! Small random worlds: a database, regions, rules and endpoints, and a service for each way of steering.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use proptest::prelude::*;

use crate::config::Config;
use crate::dns::CookieSecrets;
use crate::geo::build::build;
use crate::geo::latency::{LatencyKey, LatencyTable, Measurement, Rules};
use crate::geo::{CountryCode, Database};
use crate::health::Verdict;
use crate::routing::live::Standing;
use crate::routing::{Family, Live};
use crate::snapshot::{Carried, Geography, Snapshot, compile, load_geo_maps};

pub(super) const REGIONS: usize = 4;
pub(super) const POOLS: usize = 2;
/// Of the database, of the operator and of rules.
pub(super) const NETWORKS: [&str; 7] =
    ["0.0.0.0/2", "10.0.0.0/9", "10.0.0.0/16", "10.1.0.0/16", "10.1.128.0/17", "10.1.128.64/26", "192.0.2.0/24"];
/// A database without a row is refused, so it has this one.
pub(super) const LAST_ROW: (&str, usize) = ("255.255.255.255/32", 0);
pub(super) const COUNTRIES: [&str; 3] = ["DE", "US", "JP"];
/// Latitudes and longitudes. No country is as far from two of them.
pub(super) const PLACES: [[f64; 2]; 5] = [[50.0, 8.0], [39.0, -77.0], [35.0, 139.0], [-33.0, 151.0], [-23.0, -46.0]];
pub(super) const TTL_SECONDS: [u32; 2] = [15, 30];

/// Clients of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Matcher {
    /// Of [`NETWORKS`].
    Network(usize),
    /// Of [`COUNTRIES`].
    Country(usize),
    Default,
}

/// Where the operator says that drawn regions stick, endpoints do as well.
const STICKY_BITS: u8 = 13;

/// What there is at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Disabled,
    /// Its weight is 0.
    Drained,
    Down,
    Up,
}

/// By what the regions of a service are ordered, or drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Proximity,
    Geo,
    Priority,
    Latency,
    /// Clients of these prefixes keep their region; without one each answer is drawn by itself.
    Weighted(Option<u8>),
}

/// One of the services.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) steering: &'static str,
    pub(super) by: By,
    pub(super) has_map: bool,
}

const fn plan(steering: &'static str, by: By, has_map: bool) -> Plan {
    Plan { steering, by, has_map }
}

/// One after the other. What is steered by load goes as by proximity until there is load.
pub(super) const PLANS: [Plan; 11] = [
    plan("proximity", By::Proximity, true),
    plan("proximity", By::Proximity, false),
    plan("geo", By::Geo, true),
    plan("priority", By::Priority, true),
    plan("latency", By::Latency, true),
    plan("latency", By::Latency, false),
    plan("load", By::Proximity, true),
    plan("weighted", By::Weighted(Some(24)), true),
    plan("weighted", By::Weighted(Some(24)), false),
    plan("weighted", By::Weighted(Some(STICKY_BITS)), true),
    plan("weighted", By::Weighted(None), true),
];

/// What is answered where nothing is healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AllDown {
    ServeAll,
    NoData,
    /// There is an IPv4 address.
    LastResort,
}

/// A region.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) place: [f64; 2],
    pub(super) bias: i8,
    /// Of [`COUNTRIES`].
    pub(super) claims: Option<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    /// The country of each network, where it has one.
    pub(super) countries: Vec<Option<usize>>,
    /// The region in which the operator puts a network.
    pub(super) placed: BTreeMap<usize, usize>,
    pub(super) regions: Vec<Site>,
    /// For each matcher of the map the regions, and whether there is a fence.
    pub(super) rules: BTreeMap<Matcher, (Vec<usize>, bool)>,
    /// By pool, region and family.
    pub(super) endpoints: Vec<Vec<[Vec<Kind>; 2]>>,
    /// By pool.
    pub(super) min_healthy: Vec<usize>,
    /// Milliseconds to the first so many regions, by country.
    pub(super) times: Vec<Vec<u32>>,
    /// The operator's order.
    pub(super) priority: Vec<usize>,
    pub(super) answers: usize,
    /// The prefix of clients that keep their endpoints, where regions are ordered.
    pub(super) sticky: Option<u8>,
    pub(super) when_all_down: AllDown,
}

/// The address of an endpoint.
pub(super) fn address(pool: usize, region: usize, family: Family, index: usize) -> IpAddr {
    let number = (pool * 100 + region * 10 + index) as u32;
    match family {
        Family::V4 => Ipv4Addr::from_bits(0xc000_0200 + number).into(),
        Family::V6 => Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(number)).into(),
    }
}

pub(super) fn network(index: usize) -> Ipv4Net {
    NETWORKS[index].parse().unwrap()
}

impl World {
    /// The regions in which the services have endpoints, healthy or not.
    pub(super) fn members(&self) -> Vec<usize> {
        let has_any =
            |region: &usize| self.endpoints.iter().any(|pool| pool[*region].iter().any(|list| !list.is_empty()));
        (0..REGIONS).filter(has_any).collect()
    }

    /// The prefix of clients that keep their endpoints.
    pub(super) fn sticky(&self, plan: Plan) -> Option<u8> {
        match plan.by {
            By::Weighted(prefix) => prefix.filter(|prefix| *prefix == STICKY_BITS),
            _ => self.sticky,
        }
    }

    /// Nothing where the configuration is refused, as where no client could ever be served.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        let config = Config::parse(&self.config(), Path::new("m.toml")).ok()?;
        let geo_maps = load_geo_maps(&config).unwrap();
        let rows = NETWORKS.iter().zip(&self.countries).filter_map(|(network, country)| Some((*network, (*country)?)));
        let rows = rows.chain([LAST_ROW]).map(|(network, country)| format!("{network},{}\n", COUNTRIES[country]));
        let csv = format!("network,country\n{}", rows.collect::<String>());
        let database = Arc::new(Database::from_bytes(&build(csv.as_bytes(), 0).unwrap()).unwrap());
        let geography = Some(Geography { database, geo_maps, latency: Some(Arc::new(self.latency())) });
        let cookies = Some(CookieSecrets::one([0; 16]));
        let compiled = compile(config, geography, cookies, None, &mut Carried::new(1), None).ok()?;
        let standing = |endpoint: u32| {
            let address = compiled.endpoints[endpoint as usize].address().unwrap();
            let verdict = if self.kind(address) == Some(Kind::Down) { Verdict::Down } else { Verdict::Up };
            Standing { verdict, ..Standing::UNPROBED }
        };
        let live = Live::build(&compiled, standing, None, Instant::now());
        Some(Snapshot { generation: 1, compiled: Arc::new(compiled), live })
    }

    /// All endpoints: pool, region, family, place in the list, kind.
    fn all_endpoints(&self) -> impl Iterator<Item = (usize, usize, Family, usize, Kind)> {
        self.endpoints.iter().enumerate().flat_map(|(pool, regions)| {
            regions.iter().enumerate().flat_map(move |(region, lists)| {
                [Family::V4, Family::V6].into_iter().zip(lists).flat_map(move |(family, list)| {
                    list.iter().enumerate().map(move |(index, kind)| (pool, region, family, index, *kind))
                })
            })
        })
    }

    fn kind(&self, wanted: IpAddr) -> Option<Kind> {
        let mut all = self.all_endpoints();
        all.find_map(|(pool, region, family, index, kind)| {
            (address(pool, region, family, index) == wanted).then_some(kind)
        })
    }

    fn config(&self) -> String {
        let names = |regions: &[usize]| regions.iter().map(|region| format!("r{region}")).collect::<Vec<_>>();
        let mut text =
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[zones.\"a.example\"]\nnameservers = [\"ns.example\"]\n[latency]\n"
                .to_owned();
        for (network, region) in &self.placed {
            writeln!(text, "[[geoip.networks]]\ncidr = \"{}\"\nregion = \"r{region}\"", NETWORKS[*network]).unwrap();
        }
        for (region, Site { place, bias, claims }) in self.regions.iter().enumerate() {
            writeln!(text, "[regions.r{region}]\nlocation = {place:?}\nbias = {bias}\ncapacity = 100").unwrap();
            if let Some(country) = claims {
                writeln!(text, "countries = [\"{}\"]", COUNTRIES[*country]).unwrap();
            }
        }
        for (pool, min_healthy) in self.min_healthy.iter().enumerate() {
            writeln!(text, "[pools.p{pool}]\nmin_healthy = {min_healthy}\nendpoints = [").unwrap();
            for (_, region, family, index, kind) in self.all_endpoints().filter(|endpoint| endpoint.0 == pool) {
                let address = address(pool, region, family, index);
                let state = if kind == Kind::Disabled { "disabled" } else { "enabled" };
                let weight = u8::from(kind != Kind::Drained);
                writeln!(
                    text,
                    "{{ region = \"r{region}\", address = \"{address}\", state = \"{state}\", weight = {weight} }},"
                )
                .unwrap();
            }
            text += "]\n";
        }
        text += "[maps.m]\nrules = [\n";
        let (defaults, rules): (Vec<_>, Vec<_>) =
            self.rules.iter().partition(|(matcher, _)| **matcher == Matcher::Default);
        for (matcher, (regions, fence)) in rules {
            let matcher = match matcher {
                Matcher::Network(index) => format!("networks = [\"{}\"]", NETWORKS[*index]),
                Matcher::Country(index) => format!("countries = [\"{}\"]", COUNTRIES[*index]),
                Matcher::Default => continue,
            };
            writeln!(text, "{{ {matcher}, regions = {:?}, fence = {fence} }},", names(regions)).unwrap();
        }
        text += "]\n";
        for (_, (regions, fence)) in defaults {
            writeln!(text, "default = {:?}\nfence = {fence}", names(regions)).unwrap();
        }
        for (index, Plan { steering, by, has_map }) in PLANS.iter().enumerate() {
            writeln!(
                text,
                "[services.\"s{index}.a.example\"]\npool = \"p0\"\nfailover = [\"p1\"]\nsteering = \"{steering}\""
            )
            .unwrap();
            writeln!(text, "answers = {}\nttl = {{ min = \"15s\", max = \"30s\" }}", self.answers).unwrap();
            if *has_map {
                text += "map = \"m\"\n";
            }
            if *by == By::Priority && !self.priority.is_empty() {
                writeln!(text, "region_order = {:?}", names(&self.priority)).unwrap();
            }
            match (by, self.sticky(PLANS[index])) {
                (By::Weighted(None), _) => text += "sticky = false\n",
                (_, Some(prefix)) => writeln!(text, "sticky = {{ v4 = {prefix} }}").unwrap(),
                (_, None) => {}
            }
            text += match self.when_all_down {
                AllDown::ServeAll => "when_all_down = \"serve-all\"\n",
                AllDown::NoData => "when_all_down = \"nodata\"\n",
                AllDown::LastResort => "when_all_down = \"last-resort\"\nlast_resort = [\"203.0.113.1\"]\n",
            };
        }
        text
    }

    fn latency(&self) -> LatencyTable {
        let times = self.times.iter().zip(COUNTRIES).flat_map(|(times, country)| {
            let key = LatencyKey::Country(country.parse::<CountryCode>().unwrap());
            (0..).zip(times).map(move |(region, milliseconds)| Measurement {
                key,
                region,
                microseconds: milliseconds * 1000,
                measured: 0,
                confidence: 1.0,
            })
        });
        LatencyTable::new(times, Rules { max_age: Duration::from_secs(1), min_confidence: 0.0 }, 0)
    }
}

pub(super) fn world() -> impl Strategy<Value = World> {
    let regions = || prop::sample::subsequence((0..REGIONS).collect::<Vec<_>>(), 0..=REGIONS).prop_shuffle();
    let matcher = prop_oneof![
        3 => (0..NETWORKS.len()).prop_map(Matcher::Network),
        2 => (0..COUNTRIES.len()).prop_map(Matcher::Country),
        1 => Just(Matcher::Default),
    ];
    let rules = prop::collection::btree_map(matcher, (regions(), any::<bool>()), 1..5);
    let country = prop::option::weighted(0.8, 0..COUNTRIES.len());
    let countries = prop::collection::vec(country, NETWORKS.len());
    let placed = prop::collection::btree_map(0..NETWORKS.len(), 0..REGIONS, 0..3);
    let bias = prop_oneof![Just(0), -60..60_i8];
    let site = (prop::sample::select(&PLACES[..]), bias, prop::option::weighted(0.3, 0..COUNTRIES.len()));
    let site = site.prop_map(|(place, bias, claims)| Site { place, bias, claims });
    let kind =
        prop_oneof![1 => Just(Kind::Disabled), 1 => Just(Kind::Drained), 6 => Just(Kind::Down), 6 => Just(Kind::Up)];
    // Often a list is alike, so that whole regions are dead, or alive.
    let list = prop_oneof![
        2 => Just(Vec::new()),
        2 => prop::collection::vec(Just(Kind::Down), 1..3),
        2 => prop::collection::vec(Just(Kind::Up), 1..3),
        1 => prop::collection::vec(kind, 1..4),
    ];
    let pool = prop::collection::vec([list.clone(), list], REGIONS);
    let endpoints = prop::collection::vec(pool, POOLS).prop_filter("each pool has an endpoint", |pools| {
        pools.iter().all(|pool| pool.iter().flatten().any(|list| !list.is_empty()))
    });
    let times = prop_oneof![
        1 => Just(Vec::new()),
        1 => prop::collection::vec(1..4_u32, 1),
        3 => prop::collection::vec(1..4_u32, REGIONS),
    ];
    let service = (
        prop::collection::vec(times, COUNTRIES.len()),
        regions(),
        prop::sample::select(&[1, 2, 16][..]),
        prop::sample::select(&[None, Some(20), Some(28)][..]),
        prop::sample::select(&[AllDown::ServeAll, AllDown::NoData, AllDown::LastResort][..]),
    );
    let geography = (countries, placed, prop::collection::vec(site, REGIONS), rules);
    (geography, endpoints, prop::collection::vec(1..3_usize, POOLS), service).prop_map(
        |((countries, placed, regions, rules), endpoints, mut min_healthy, service)| {
            let (times, priority, answers, sticky, when_all_down) = service;
            // As many as a region may be asked to have.
            for (pool, least) in endpoints.iter().zip(&mut min_healthy) {
                let most = pool.iter().flatten().map(Vec::len).max();
                *least = (*least).min(most.unwrap_or(1));
            }
            let mut world = World {
                countries,
                placed,
                regions,
                rules,
                endpoints,
                min_healthy,
                times,
                priority,
                answers,
                sticky,
                when_all_down,
            };
            let members = world.members();
            world.priority.retain(|region| members.contains(region));
            world
        },
    )
}
