//! Tiers × regions in the client's order → the candidates that serve, and from them the endpoints of one answer.

use std::net::IpAddr;

use super::balance::{Draw, Picks};
use super::live::{Candidates, Health};
use super::{Family, steering};
use crate::config::AnswerOrder;
use crate::snapshot::{AllDown, Service, Snapshot};

/// What was decided for one client.
#[derive(Debug)]
pub struct Decision<'s> {
    /// What is answered.
    pub outcome: Outcome<'s>,
    /// Seconds that the answer lives; for one without data, at most these.
    pub ttl: u32,
    /// The prefix length, in bits of the client's own address family, for which all of this holds.
    pub scope: u8,
}

/// What a decision answers with.
#[derive(Debug)]
pub enum Outcome<'s> {
    /// Endpoints of one pool in one region.
    Endpoints {
        /// Where they are.
        choice: Choice<'s>,
        /// Which of them, as indices into the candidates' list.
        picks: Picks,
    },
    /// The service's addresses of last resort for this family; at least one.
    LastResort(&'s [IpAddr]),
    /// Nothing: the service has no such type, or its operator wants silence when all is down.
    NoData,
}

impl Outcome<'_> {
    /// Hands the octets of each address that is answered to `each`, in order, until one fails. Hostnames have none.
    ///
    /// # Errors
    /// That of `each`.
    pub fn try_for_each_address<E>(
        &self,
        family: Family,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let octets = match family {
            Family::V4 => 4,
            Family::V6 => 16,
        };
        match self {
            Self::Endpoints { choice, picks } => picks
                .as_slice()
                .iter()
                .try_for_each(|pick| each(&choice.candidates.list[*pick as usize].address[..octets])),
            Self::LastResort(addresses) => addresses.iter().try_for_each(|address| match address {
                IpAddr::V4(address) => each(&address.octets()),
                IpAddr::V6(address) => each(&address.octets()),
            }),
            Self::NoData => Ok(()),
        }
    }
}

/// The group that serves.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'s> {
    /// 0 is the service's own pool, the others are its failover pools.
    pub tier: usize,
    /// Index into the compiled groups.
    pub group: u32,
    /// Index into the compiled layouts.
    pub layout: u32,
    /// Its candidates of the asked family.
    pub candidates: &'s Candidates,
}

/// Decides for one client.
pub fn decide<'s>(
    snapshot: &'s Snapshot,
    service: &'s Service,
    client: IpAddr,
    family: Family,
    draw: &mut Draw<'_>,
) -> Decision<'s> {
    let steered = steering::steer(snapshot, service, client, family, draw);
    // Without a fence nothing healthy anywhere is so for everyone, and a negative answer is never scoped: it would make
    // resolvers keep one for every subnet (RFC 7871 section 7.4). Behind a fence it is of these clients alone, however their
    // regions are drawn.
    let unserved_scope = || {
        let map = &snapshot.compiled.maps[service.steering.map()];
        let is_fenced = service.has_family[family.index()] && map.is_fenced();
        if is_fenced { map.lookup(client).1 } else { 0 }
    };
    let found = match steered.found {
        Some(choice) if choice.candidates.health > Health::None => Some(choice),
        found => match &service.when_all_down {
            AllDown::ServeAll => found,
            AllDown::NoData => None,
            AllDown::LastResort(families) => {
                let addresses = &families[family.index()];
                if !addresses.is_empty() && service.has_family[family.index()] {
                    let outcome = Outcome::LastResort(addresses);
                    return Decision { outcome, ttl: service.ttl.min, scope: unserved_scope() };
                }
                None
            }
        },
    };
    let Some(choice) = found else {
        // One that health makes must not outlive it.
        let ttl = if service.has_family[family.index()] { service.ttl.min } else { u32::MAX };
        return Decision { outcome: Outcome::NoData, ttl, scope: unserved_scope() };
    };
    serve(snapshot, service, (choice, steered.failover_active, steered.scope), client, family, draw)
}

/// The answer of the group that serves: its endpoints, their TTL, which is short where another was to serve, and their scope, which
/// is that of the choice of the group at least.
pub(super) fn serve<'s>(
    snapshot: &'s Snapshot,
    service: &'s Service,
    (choice, failover_active, scope): (Choice<'s>, bool, u8),
    client: IpAddr,
    family: Family,
    draw: &mut Draw<'_>,
) -> Decision<'s> {
    let candidates = choice.candidates;
    let ttl = if failover_active || candidates.health != Health::Enough || candidates.settles {
        service.ttl.min
    } else {
        // By then what caches keep leads elsewhere.
        let until_drain = candidates.drains_at.saturating_sub(draw.unix_seconds);
        candidates.flip_seconds.min(until_drain).clamp(service.ttl.min, service.ttl.max)
    };
    let rotation = &service.rotations[service.rotation(snapshot, choice, family)];
    let mut picks = draw.pick(candidates, usize::from(service.answers), rotation, client);
    if service.answer_order == AnswerOrder::Fixed {
        picks.sort();
    }
    let scope = match candidates.method.sticky() {
        Some(sticky) if is_matter_of_choice(candidates, usize::from(service.answers), service.answer_order) => {
            scope.max(sticky.prefix(client))
        }
        _ => scope,
    };
    Decision { outcome: Outcome::Endpoints { choice, picks }, ttl, scope }
}

/// Whether picks can differ: which, or in which order.
fn is_matter_of_choice(candidates: &Candidates, answers: usize, order: AnswerOrder) -> bool {
    let count = candidates.list.len();
    count > answers || count > 1 && order == AnswerOrder::Shuffled
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

    use std::collections::BTreeMap;
    use std::fmt::Write;
    use std::net::Ipv4Addr;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;
    use crate::dns::CookieSecrets;
    use crate::geo::Database;
    use crate::geo::build::build;
    use crate::health::Verdict;
    use crate::routing::Live;
    use crate::routing::live::Standing;
    use crate::snapshot::{Carried, Geography, compile, load_geo_maps};

    const REGIONS: usize = 3;
    /// Of the database, with what rules may name beside their countries.
    const NETWORKS: [&str; 7] =
        ["0.0.0.0/2", "10.0.0.0/9", "10.0.0.0/16", "10.1.0.0/16", "10.1.128.0/17", "10.1.128.64/26", "192.0.2.0/24"];
    const COUNTRIES: [&str; 3] = ["DE", "US", "JP"];

    /// One service and its surroundings. Each region has at most one endpoint in each of two pools.
    #[derive(Debug)]
    struct World {
        /// The country of each network.
        countries: Vec<usize>,
        /// For each matcher of the map the regions, and whether there is a fence.
        rules: BTreeMap<String, (Vec<usize>, bool)>,
        /// For each pool and region: none, disabled, down or up, and whether its address is IPv6.
        endpoints: Vec<Vec<(u8, bool)>>,
        steering: &'static str,
        when_all_down: &'static str,
    }

    impl World {
        /// Nothing where no client could ever be served, which is refused.
        fn snapshot(&self) -> Option<Snapshot> {
            let mut text =
                "[server]\nlisten = [\"127.0.0.1:0\"]\n[zones.\"a.example\"]\nnameservers = [\"ns.example\"]\n"
                    .to_owned();
            for (region, location) in ["[50, 8]", "[39, -77]", "[35, 139]"].iter().enumerate() {
                writeln!(text, "[regions.r{region}]\nlocation = {location}\ncapacity = 100").unwrap();
            }
            let mut verdicts = Vec::new();
            for (pool, endpoints) in self.endpoints.iter().enumerate() {
                writeln!(text, "[pools.p{pool}]\nendpoints = [").unwrap();
                for (region, (kind, is_ipv6)) in endpoints.iter().enumerate().filter(|(_, (kind, _))| *kind > 0) {
                    let address =
                        if *is_ipv6 { format!("2001:db8::{pool}{region}") } else { format!("192.0.2.1{pool}{region}") };
                    let state = if *kind == 1 { "disabled" } else { "enabled" };
                    writeln!(text, "{{ region = \"r{region}\", address = \"{address}\", state = \"{state}\" }},")
                        .unwrap();
                    verdicts.push(if *kind == 2 { Verdict::Down } else { Verdict::Up });
                }
                text += "]\n";
            }
            text += "[maps.m]\nrules = [\n";
            for (matcher, (regions, fence)) in &self.rules {
                let regions: Vec<String> = regions.iter().map(|region| format!("r{region}")).collect();
                writeln!(text, "{{ {matcher}, regions = {regions:?}, fence = {fence} }},").unwrap();
            }
            write!(
                text,
                "]\n[services.\"www.a.example\"]\npool = \"p0\"\nfailover = [\"p1\"]\nmap = \"m\"\n{}\n{}\n",
                self.steering, self.when_all_down
            )
            .unwrap();
            let rows = NETWORKS.iter().zip(&self.countries).filter(|(_, country)| **country < COUNTRIES.len());
            let rows: String = rows.map(|(network, country)| format!("{network},{}\n", COUNTRIES[*country])).collect();
            let csv = format!("network,country\n{rows}255.255.255.255/32,DE\n");

            let config = Config::parse(&text, Path::new("m.toml")).unwrap_or_else(|problems| panic!("{problems}"));
            let geo_maps = load_geo_maps(&config).unwrap();
            let database = Arc::new(Database::from_bytes(&build(csv.as_bytes(), 0).unwrap()).unwrap());
            let geography = Some(Geography { database, geo_maps, latency: None });
            let cookies = Some(CookieSecrets::one([0; 16]));
            let compiled = compile(config, geography, cookies, None, &mut Carried::new(1), None).ok()?;
            let standing = |endpoint: u32| Standing { verdict: verdicts[endpoint as usize], ..Standing::UNPROBED };
            let live = Live::build(&compiled, standing, None, Instant::now());
            Some(Snapshot { generation: 1, compiled: Arc::new(compiled), live })
        }
    }

    /// What a client gets (an endpoint's index, or what there is instead, and the TTL), and the scope.
    fn decided(snapshot: &Snapshot, client: u32, family: Family) -> ((Option<u32>, bool, u32), u8) {
        let service = &snapshot.compiled.services[0];
        let mut rng = fastrand::Rng::with_seed(1);
        let mut draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds: 0 };
        let client = IpAddr::V4(Ipv4Addr::from_bits(client));
        let Decision { outcome, ttl, scope } = decide(snapshot, service, client, family, &mut draw);
        let endpoint = match &outcome {
            Outcome::Endpoints { choice, picks } => Some(choice.candidates.list[picks.as_slice()[0] as usize].endpoint),
            Outcome::LastResort(_) | Outcome::NoData => None,
        };
        ((endpoint, matches!(outcome, Outcome::LastResort(_)), ttl), scope)
    }

    fn world() -> impl Strategy<Value = World> {
        let regions = prop::sample::subsequence((0..REGIONS).collect::<Vec<_>>(), 0..=REGIONS).prop_shuffle();
        let matcher = prop_oneof![
            prop::sample::select(&NETWORKS[..]).prop_map(|network| format!("networks = [\"{network}\"]")),
            prop::sample::select(&COUNTRIES[..]).prop_map(|country| format!("countries = [\"{country}\"]")),
        ];
        let rules = prop::collection::btree_map(matcher, (regions, any::<bool>()), 1..5);
        let countries = prop::collection::vec(0..=COUNTRIES.len(), NETWORKS.len());
        let endpoints = prop::collection::vec(prop::collection::vec((0..4_u8, prop::bool::weighted(0.2)), REGIONS), 2)
            .prop_filter("each pool has an endpoint", |pools| {
                pools.iter().all(|pool| pool.iter().any(|(kind, _)| *kind > 0))
            });
        let steering = prop::sample::select(
            &[
                "steering = \"proximity\"",
                "steering = \"geo\"",
                "steering = \"priority\"",
                "steering = \"weighted\"",
                "steering = \"weighted\"\nsticky = { v4 = 13 }",
                "steering = \"weighted\"\nsticky = false",
                "steering = \"load\"",
            ][..],
        );
        let when_all_down = prop::sample::select(
            &[
                "when_all_down = \"serve-all\"",
                "when_all_down = \"nodata\"",
                "when_all_down = \"last-resort\"\nlast_resort = [\"203.0.113.1\"]",
            ][..],
        );
        (countries, rules, endpoints, steering, when_all_down).prop_map(
            |(countries, rules, endpoints, steering, when_all_down)| World {
                countries,
                rules,
                endpoints,
                steering,
                when_all_down,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_client_in_the_scope_gets_anything_else(world in world()) {
            let Some(snapshot) = world.snapshot() else { return Ok(()) };
            let bounds = NETWORKS.map(|network| {
                let network: ipnet::Ipv4Net = network.parse().unwrap();
                (network.network().to_bits(), network.broadcast().to_bits())
            });
            let mut edges: Vec<u32> =
                bounds.iter().flat_map(|(first, last)| [first.wrapping_sub(1), *first, *last, last.wrapping_add(1)]).collect();
            edges.sort_unstable();
            let compiled = &snapshot.compiled;
            for family in [Family::V4, Family::V6] {
                let all: Vec<_> = edges.iter().map(|client| (*client, decided(&snapshot, *client, family))).collect();
                for (client, (got, scope)) in &all {
                    let host_bits = u32::MAX.checked_shr(u32::from(*scope)).unwrap_or(0);
                    for (other, (gets, _)) in all.iter().filter(|(other, _)| (other ^ client) & !host_bits == 0) {
                        prop_assert_eq!(got, gets, "{:x}/{} and {:x}", client, scope, other);
                    }
                    // And nobody is led over a fence.
                    let address = IpAddr::V4(Ipv4Addr::from_bits(*client));
                    let location = compiled.database.lookup(address).0;
                    let rule = compiled.geo_maps[0].ruling(address, &location).map(|ruling| ruling.rule);
                    if let (Some(endpoint), Some(rule)) = (got.0, rule.filter(|rule| rule.is_closed())) {
                        let group = compiled.groups.iter().find(|group| group.endpoints.contains(&endpoint)).unwrap();
                        prop_assert!(rule.regions.contains(&usize::from(group.region)), "{:x} in {:?}", client, rule);
                    }
                }
            }
        }
    }
}
