//! Configuration + zones + database → [`Compiled`]; everything that can fail.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::steering::{MadeMaps, Maps};
use super::zones::load_zones;
use super::{
    AllDown, Binding, Compiled, Endpoint, Group, GroupKind, Layout, LoadSteering, NO_GROUP, Outdated, Pool, Service,
    Steering, Tier,
    winners::{self, Tables},
};
use crate::config::{self, Check, Config, EndpointState, InputOf, Problem, Problems, Span, Target, WhenAllDown};
use crate::dns::{CookieSecrets, MAX_SECRETS, RateLimiter};
use crate::geo::{Database, GeoMap, LatencyTable};
use crate::health::{Input, TargetId, TargetKey};
use crate::metrics::{Tallies, TallyLabels};
use crate::routing::Family;
use crate::routing::balance::rendezvous;
use crate::secret_file;
use crate::zone::{Name, Tree};

/// What is read of a file of secrets, in bytes.
const MAX_SECRET_FILE_BYTES: u64 = 64 << 10;

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

/// All that says where clients are and where they may be sent.
#[derive(Debug, Clone)]
pub struct Geography {
    /// Locations.
    pub database: Arc<Database>,
    /// Rules, in the order of [`Config::maps`].
    pub geo_maps: Arc<[GeoMap]>,
    /// Round trips, where the configuration has `[latency]`.
    pub latency: Option<Arc<LatencyTable>>,
}

/// What one configuration leaves to the next.
#[derive(Debug)]
pub struct Carried {
    tallies: Tallies,
    tables: Tables,
    maps: MadeMaps,
}

impl Carried {
    /// Nothing is left, and each of this many workers has a column in tallies.
    pub fn new(workers: usize) -> Self {
        Self { tallies: Tallies::new(workers), tables: Tables::default(), maps: MadeMaps::default() }
    }

    /// Forgets tallies that no service counts in any more.
    pub fn forget_unused(&mut self) {
        self.tallies.forget_unused();
    }
}

/// Reads the secrets of cookies from the file that the configuration names, if it does.
///
/// # Errors
/// Where the file holds no secrets. The problem points at where the configuration names it, as a line of the file is
/// not for logs.
pub fn load_cookie_secrets(config: &Config) -> Result<Option<CookieSecrets>, Problem> {
    let Some((path, span)) = &config.server.cookies.secret_file else { return Ok(None) };
    let problem = |message: String| Problem::new(message).at(&config.source, span.clone());
    let mut text = String::new();
    secret_file::open(path)
        .and_then(|file| Ok(file.take(MAX_SECRET_FILE_BYTES).read_to_string(&mut text)?))
        .map_err(|error| problem(format!("can't use {}: {error}", path.display())))?;
    CookieSecrets::parse(&text).map(Some).map_err(|error| {
        problem(format!("{}: {error}", path.display()))
            .hint(format!("keep 1 to {MAX_SECRETS} lines of 32 hexadecimal digits; `openssl rand -hex 16` makes one"))
    })
}

/// Compiles a configuration. Zone files are read here; what is carried over from the one before goes on.
///
/// With `serving`, the tree that serves now, a zone whose file is broken is no error: it keeps the records that it has
/// there. One that isn't there is left out; its services are those of the zone above it. A service for which what is kept
/// has no room is left out, too.
///
/// # Errors
/// All problems in the zones and between zones and services; with `serving` only those of zones without a file, and
/// where a broken zone would end what is served: all zones, a service, or the addresses of a name server. Without geography or secrets,
/// which is the caller's problem, the zones are checked all the same.
pub fn compile(
    mut config: Config,
    geography: Option<Geography>,
    cookies: Option<CookieSecrets>,
    rate_limiter: Option<Arc<RateLimiter>>,
    carried: &mut Carried,
    serving: Option<&Tree>,
) -> Result<Compiled, Problems> {
    let (zones, outdated) = load_zones(&mut config, serving)?;
    let (Some(geography), Some(cookies)) = (geography, cookies) else { return Err(Problems::default()) };
    let services: Vec<(Name, usize)> =
        config.services.iter().enumerate().map(|(index, service)| (service.name.clone(), index)).collect();
    let tree = Tree::build(&zones, &services)?;
    drop(zones);

    Ok(assemble(config, Arc::new(tree), outdated, geography, cookies, rate_limiter, carried)?)
}

/// Puts a configuration, the tree of its zones, a database and secrets together.
///
/// # Errors
/// When a steering map would be too large.
pub fn assemble(
    config: Config,
    tree: Arc<Tree>,
    outdated: Outdated,
    Geography { database, geo_maps, latency }: Geography,
    cookies: CookieSecrets,
    rate_limiter: Option<Arc<RateLimiter>>,
    carried: &mut Carried,
) -> Result<Compiled, Problem> {
    let mut compiled = Compiled {
        cookies,
        rate_limiter,
        tree,
        database,
        geo_maps,
        latency,
        maps: Vec::new(),
        services: Vec::new(),
        pools: Vec::new(),
        groups: Vec::new(),
        endpoints: Vec::new(),
        layouts: Vec::new(),
        targets: Vec::new(),
        canaries: Vec::new(),
        outdated,
        config,
    };
    add_pools(&mut compiled);
    add_services(&mut compiled, carried)?;
    winners::add(&mut compiled, &mut carried.tables);
    Ok(compiled)
}

fn add_pools(compiled: &mut Compiled) {
    let mut targets = Targets::default();
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
                let inputs = pool.health.inputs.iter().map(|input| match input.of {
                    InputOf::Probe(probe) => {
                        Input::Target(targets.add_endpoint(&compiled.config.probes[probe], probe, endpoint))
                    }
                    // Where its groups are is known once all pools have theirs.
                    InputOf::Pool(_) => Input::Groups(0..0),
                });
                let inputs = inputs.collect();
                compiled.endpoints.push(Endpoint {
                    destination: endpoint.target.clone(),
                    identity: rendezvous::identity(&endpoint.target),
                    weight: endpoint.weight,
                    state: endpoint.state,
                    drain_at: endpoint.drain_at,
                    drain_seconds: pool.drain_time.as_secs() as u32,
                    capacity: endpoint.capacity,
                    inputs,
                });
            }
            let endpoints = first_endpoint..compiled.endpoints.len() as u32;
            let own = &compiled.endpoints[first_endpoint as usize..];
            let enabled = own.iter().filter(|endpoint| endpoint.state != EndpointState::Disabled);
            let weight = enabled.map(|endpoint| u64::from(endpoint.weight)).sum();
            compiled.groups.push(Group { pool: pool_index, region: region as u16, kind, endpoints, weight });
        }
        compiled.pools.push(Pool {
            min_healthy: pool.min_healthy,
            groups: first_group..compiled.groups.len() as u32,
            group_of_region: group_of_region.into(),
        });
    }
    for canary in &compiled.config.safety.self_suspicion.canaries {
        let probe = &compiled.config.probes[canary.probe];
        let key = TargetKey { check: Arc::clone(&probe.check), timing: probe.timing, target: canary.target.clone() };
        compiled.canaries.push(targets.add(key));
    }
    compiled.targets = targets.keys;
    for group in &compiled.groups {
        let health = &compiled.config.pools[group.pool].health;
        for endpoint in &mut compiled.endpoints[group.endpoints.start as usize..group.endpoints.end as usize] {
            for (input, of) in endpoint.inputs.iter_mut().zip(&health.inputs) {
                if let InputOf::Pool(pool) = of.of {
                    let pool = &compiled.pools[pool];
                    let in_region = pool.group(group.region).map(|group| group..group + 1);
                    *input = Input::Groups(in_region.unwrap_or_else(|| pool.groups.clone()));
                }
            }
        }
    }
}

/// What is probed, each once.
#[derive(Debug, Default)]
struct Targets {
    keys: Vec<TargetKey>,
    ids: HashMap<TargetKey, TargetId>,
    /// Checks that differ by what endpoints have of their own, by the probe: endpoints by the thousand share one.
    own_checks: HashMap<(usize, config::ProbedAs), Arc<Check>>,
}

impl Targets {
    /// What a probe does at an endpoint, whose index among the probes is given too.
    fn add_endpoint(&mut self, probe: &config::Probe, index: usize, endpoint: &config::Endpoint) -> TargetId {
        let address = endpoint.probe.address;
        let mut own = config::ProbedAs { address: None, ..endpoint.probe.clone() };
        // Where it goes is another address, but what it asks for is the same.
        if let Target::Hostname(name) = &endpoint.target
            && address.is_some()
            && probe.check.host().is_none()
        {
            own.host.get_or_insert_with(|| name.to_string());
        }
        let check = if own == config::ProbedAs::default() {
            Arc::clone(&probe.check)
        } else {
            let other = |(_, own): &(usize, config::ProbedAs)| Arc::new(probe.check.with(own));
            Arc::clone(self.own_checks.entry((index, own)).or_insert_with_key(other))
        };
        let target = address.map_or_else(|| endpoint.target.clone(), Target::Address);
        self.add(TargetKey { check, timing: probe.timing, target })
    }

    fn add(&mut self, key: TargetKey) -> TargetId {
        *self.ids.entry(key).or_insert_with_key(|key| {
            self.keys.push(key.clone());
            TargetId(self.keys.len() as u32 - 1)
        })
    }
}

fn add_services(compiled: &mut Compiled, Carried { tallies, maps: made, .. }: &mut Carried) -> Result<(), Problem> {
    let mut maps = Maps::new(&compiled.config, &compiled.database, &compiled.geo_maps, compiled.latency.as_ref(), made);
    // By pool: the first layout of each way in which services pick from it.
    let mut first_layouts: HashMap<usize, Vec<u32>> = HashMap::new();
    let mut load_services = 0;
    for service in &compiled.config.services {
        let config = &compiled.config;
        let endpoints = || service.tiers.iter().flat_map(|tier| &config.pools[*tier].endpoints);
        let is_alias = service.tiers.iter().any(|tier| config.pools[*tier].has_hostnames());
        let has_family = [Family::V4, Family::V6].map(|family| {
            endpoints().any(|endpoint| match endpoint.target {
                Target::Address(address) => Family::of(address) == family,
                Target::Hostname(_) => true,
            })
        });
        let steering = match &service.steering {
            config::Steering::Load(unit) => {
                let index = load_services;
                load_services += 1;
                let map = maps.load(service)?;
                Steering::Load(Box::new(LoadSteering::new(
                    compiled,
                    (service, index),
                    *unit,
                    (map, maps.get(map)),
                    tallies,
                )))
            }
            _ => maps.steering(service)?,
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
        let tiers = service.tiers.iter().map(|pool| {
            let layouts = &mut compiled.layouts;
            let firsts = first_layouts.entry(*pool).or_default();
            let same = firsts.iter().copied().find(|first| {
                let Layout { balance, sticky, .. } = &layouts[*first as usize];
                (*balance, *sticky) == (service.balance, service.sticky)
            });
            let first_layout = same.unwrap_or_else(|| {
                let first = layouts.len() as u32;
                firsts.push(first);
                layouts.extend(compiled.pools[*pool].groups.clone().map(|group| Layout {
                    group,
                    balance: service.balance,
                    sticky: service.sticky,
                    winners: [None, None],
                }));
                first
            });
            Tier { pool: *pool, first_layout }
        });
        compiled.services.push(Service {
            index: compiled.services.len(),
            tiers: tiers.collect(),
            steering,
            rules: service.map,
            balance: service.balance,
            sticky: service.sticky,
            region_sticky: service.region_sticky,
            answers: service.answers,
            answer_order: service.answer_order,
            ttl: service.ttl,
            when_all_down,
            https: service.https.as_ref().map(Binding::new),
            svcb: service.svcb.as_ref().map(Binding::new),
            has_family,
            is_alias,
            rotations: (0..service_tallies.len() * 2).map(|_| AtomicU32::new(0)).collect(),
            tallies: service_tallies.into(),
            all_down_tally,
            tier_starts: tier_starts.into(),
        });
    }
    compiled.maps = maps.finish();
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

    use std::net::{IpAddr, Ipv4Addr};

    use crate::reload::{Loader, Origin};
    use crate::routing::{Draw, Family, Outcome, decide};
    use crate::snapshot::Publisher;
    use crate::snapshot::steering::MAX_OWN_MAPS;

    /// Services of many sets of regions: 192.0.2.N is in region N, N degrees east on the equator.
    #[test]
    fn more_sets_of_regions_than_maps_are_steered_all_the_same() {
        const REGIONS: usize = 24;
        let mut text =
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[zones.\"example.com\"]\nnameservers = [\"ns.example.net\"]\n\
                        [[geoip.networks]]\ncidr = \"198.18.0.0/15\"\nlocation = [0, 0]\n"
                .to_owned();
        for region in 1..=REGIONS {
            text += &format!("[regions.r{region}]\nlocation = [0, {region}]\n");
        }
        for service in 1..REGIONS {
            let endpoint = |region: usize| format!("{{ region = \"r{region}\", address = \"192.0.2.{region}\" }}");
            text += &format!("[pools.p{service}]\nendpoints = [{}, {}]\n", endpoint(service + 1), endpoint(service));
            text += &format!("[services.\"s{service}.example.com\"]\npool = \"p{service}\"\n");
        }
        let publisher = Publisher::new(Loader::new(Origin::Embedded(text)).load().unwrap().compiled);
        let snapshot = publisher.current();
        assert_eq!(snapshot.compiled.maps.len(), MAX_OWN_MAPS + 1);
        for (index, service) in snapshot.compiled.services.iter().enumerate() {
            let mut rng = fastrand::Rng::with_seed(1);
            let mut draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds: 0 };
            let client = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
            let decision = decide(&snapshot, service, client, Family::V4, &mut draw);
            let Outcome::Endpoints { choice, picks } = decision.outcome else { panic!("an endpoint serves") };
            let address = choice.candidates.list[picks.as_slice()[0] as usize].address;
            assert_eq!(address[..4], [192, 0, 2, index as u8 + 1], "the nearer of the two");
        }
    }
}
