//! How services choose among regions, and the maps that they share for it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use super::{OrderedBy, RegionWeight, Steering};
use crate::config::{self, Config, Problem, Source};
use crate::geo::{Database, GeoMap, LatencyTable, Measure, RegionMap, TooManyOrders};

/// Steering maps of one's own; beyond that, services of further sets of regions share one of all regions. A map of a large
/// database takes megabytes.
pub(super) const MAX_OWN_MAPS: usize = 15;
/// Steering maps in all.
pub(super) const MAX_MAPS: usize = 256;

/// What makes a steering map.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    measure: Measure,
    /// Indices of regions, in the order that decides where nothing else does.
    members: Vec<usize>,
    /// Index of the rules.
    rules: Option<usize>,
}

/// What steering maps are made of beside their keys. It is the same only where it is the same in memory.
#[derive(Debug)]
struct Inputs {
    source: Weak<Source>,
    database: Weak<Database>,
    geo_maps: Weak<[GeoMap]>,
    /// Of maps by latency alone.
    latency: Option<Weak<LatencyTable>>,
}

impl PartialEq for Inputs {
    fn eq(&self, other: &Self) -> bool {
        let same_latency = match (&self.latency, &other.latency) {
            (Some(latency), Some(other)) => latency.ptr_eq(other),
            (None, None) => true,
            _ => false,
        };
        same_latency
            && self.source.ptr_eq(&other.source)
            && self.database.ptr_eq(&other.database)
            && self.geo_maps.ptr_eq(&other.geo_maps)
    }
}

/// The maps that were made, so that none is made anew while one of the same serves.
#[derive(Debug, Default)]
pub(super) struct MadeMaps(HashMap<Key, (Inputs, Weak<RegionMap>)>);

/// Makes each steering map once.
pub(super) struct Maps<'a> {
    config: &'a Config,
    database: &'a Arc<Database>,
    geo_maps: &'a Arc<[GeoMap]>,
    latency: Option<&'a Arc<LatencyTable>>,
    known: HashMap<Key, usize>,
    maps: Vec<Arc<RegionMap>>,
    made: &'a mut MadeMaps,
    /// How many of them tell clients apart, and so take memory.
    large: usize,
}

impl<'a> Maps<'a> {
    pub(super) fn new(
        config: &'a Config,
        database: &'a Arc<Database>,
        geo_maps: &'a Arc<[GeoMap]>,
        latency: Option<&'a Arc<LatencyTable>>,
        made: &'a mut MadeMaps,
    ) -> Self {
        made.0.retain(|_, (_, map)| map.strong_count() > 0);
        Self { config, database, geo_maps, latency, known: HashMap::new(), maps: Vec::new(), made, large: 0 }
    }

    /// The maps that were asked for.
    pub(super) fn finish(self) -> Vec<Arc<RegionMap>> {
        self.maps
    }

    /// How a service is steered.
    ///
    /// # Errors
    /// When a map would be too large, or one too many; and where the rules leave no client any region of the service.
    pub(super) fn steering(&mut self, service: &config::Service) -> Result<Steering, Problem> {
        let members = match &service.steering {
            config::Steering::Priority(order) => order.clone(),
            _ => members(self.config, service),
        };
        let map = self.map(service, &members)?;
        if let Some(by) = ordered_by(service) {
            return Ok(Steering::Ordered { by, map });
        }
        let weight = |region: u16, weight: Option<u32>| RegionWeight { region, weight };
        let regions = match &service.steering {
            config::Steering::Weighted(Some(weights)) => {
                weights.iter().map(|(region, number)| weight(*region as u16, Some(*number))).collect()
            }
            _ => members.iter().map(|region| weight(*region as u16, None)).collect(),
        };
        Ok(Steering::Weighted { map, regions })
    }

    /// The index of the map of a service that is steered by load.
    ///
    /// # Errors
    /// As of [`Self::steering`].
    pub(super) fn load(&mut self, service: &config::Service) -> Result<usize, Problem> {
        self.map(service, &members(self.config, service))
    }

    /// A map that was made.
    pub(super) fn get(&self, map: usize) -> &RegionMap {
        &self.maps[map]
    }

    /// The index of a service's map.
    fn map(&mut self, service: &config::Service, members: &[usize]) -> Result<usize, Problem> {
        let problem = |message: String| Problem::new(message).at(&self.config.source, service.span.clone());
        let own = Key { measure: measure(service), members: members.to_vec(), rules: service.map };
        // Regions in which a service has nothing are passed over, so the map of all of them serves any service; one of its
        // own tells less apart, and so lets caches share more. Whether enough was measured is a matter of a service's own
        // regions.
        let is_own = matches!(own.measure, Measure::Fixed | Measure::Latency)
            || self.large < MAX_OWN_MAPS
            || self.known.contains_key(&own);
        let key = if is_own { own } else { Key { members: self.all_members(service), ..own } };
        let index = match self.known.get(&key) {
            Some(known) => *known,
            None => {
                let map = self.made_or_new(&key).map_err(|error| problem(error.to_string()))?;
                self.large += usize::from(!map.is_same_for_everyone());
                if self.large > MAX_MAPS {
                    return Err(problem(format!("more than {MAX_MAPS} steering maps are needed"))
                        .hint("let services have the same `map` and `region_order`, and pools in the same regions"));
                }
                self.maps.push(map);
                self.known.insert(key, self.maps.len() - 1);
                self.maps.len() - 1
            }
        };
        if !self.maps[index].leads_to(members) {
            return Err(problem(
                "no rule of this service's map leads to a region in which it has an endpoint".to_owned(),
            )
            .hint("add a rule with one of its regions, or leave out `fence`"));
        }
        Ok(index)
    }

    /// The map of a key: the one that was made of the same, if it still serves.
    fn made_or_new(&mut self, key: &Key) -> Result<Arc<RegionMap>, TooManyOrders> {
        let latency = self.latency.filter(|_| key.measure == Measure::Latency);
        let inputs = Inputs {
            source: Arc::downgrade(&self.config.source),
            database: Arc::downgrade(self.database),
            geo_maps: Arc::downgrade(self.geo_maps),
            latency: latency.map(Arc::downgrade),
        };
        let made = self.made.0.get(key).filter(|(of, _)| *of == inputs);
        if let Some(map) = made.and_then(|(_, map)| map.upgrade()) {
            return Ok(map);
        }
        let rules = key.rules.and_then(|rules| self.geo_maps.get(rules));
        let (networks, regions) = (&self.config.geoip.networks, &self.config.regions);
        let latency = latency.map(Arc::as_ref);
        let map = RegionMap::compile(self.database, networks, regions, &key.members, key.measure, rules, latency)?;
        let map = Arc::new(map);
        self.made.0.insert(key.clone(), (inputs, Arc::downgrade(&map)));
        Ok(map)
    }

    /// The regions of all services that are steered by the same.
    fn all_members(&self, service: &config::Service) -> Vec<usize> {
        let is_alike = |other: &&config::Service| (measure(other), other.map) == (measure(service), service.map);
        let alike = self.config.services.iter().filter(is_alike);
        let regions: BTreeSet<usize> = alike.flat_map(|other| members(self.config, other)).collect();
        regions.into_iter().collect()
    }
}

fn ordered_by(service: &config::Service) -> Option<OrderedBy> {
    match &service.steering {
        config::Steering::Proximity => Some(OrderedBy::Proximity),
        config::Steering::Latency => Some(OrderedBy::Latency),
        config::Steering::Geo => Some(OrderedBy::Geo),
        config::Steering::Priority(_) => Some(OrderedBy::Priority),
        config::Steering::Weighted(_) | config::Steering::Load(_) => None,
    }
}

fn measure(service: &config::Service) -> Measure {
    match (ordered_by(service), &service.steering) {
        (Some(by), _) => by.measure(),
        (None, config::Steering::Load(_)) => Measure::Proximity,
        (None, _) => Measure::Drawn,
    }
}

/// The regions in which a service has endpoints, in file order.
fn members(config: &Config, service: &config::Service) -> Vec<usize> {
    let endpoints = service.tiers.iter().flat_map(|tier| &config.pools[*tier].endpoints);
    let regions: BTreeSet<usize> = endpoints.map(|endpoint| endpoint.region).collect();
    regions.into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use crate::reload::{Loader, Origin};
    use crate::snapshot::{Compiled, Steering};

    const START: &str = r#"
[server]
listen = ["127.0.0.1:0"]
[zones."a.example"]
nameservers = ["ns.example"]
[regions.a]
location = [0, 0]
[regions.b]
location = [0, 0]
[regions.c]
location = [0, 0]
[maps.m]
fence = true
default = ["a"]
rules = [{ countries = ["DE"], regions = [] }]
[pools.ab]
endpoints = [{ region = "a", address = "192.0.2.1" }, { region = "b", address = "192.0.2.2" }]
[pools.bc]
endpoints = [{ region = "b", address = "192.0.2.2" }, { region = "c", address = "192.0.2.3" }]
"#;

    /// Compiles services of these pools, each with further keys.
    fn compiled(services: &[(&str, &str)]) -> Result<Compiled, String> {
        let mut text = START.to_owned();
        for (index, (pool, keys)) in services.iter().enumerate() {
            text += &format!("[services.\"s{index}.a.example\"]\npool = \"{pool}\"\n{keys}\n");
        }
        let prepared = Loader::new(Origin::Embedded(text)).load().map_err(|problems| problems.0[0].to_string())?;
        Ok(prepared.compiled)
    }

    #[test]
    fn services_that_are_steered_by_the_same_share_a_map() {
        let services = [
            ("ab", ""),
            ("ab", "answers = 2"),
            ("bc", ""),
            ("ab", "map = \"m\""),
            ("ab", "steering = \"geo\"\nmap = \"m\""),
            ("ab", "steering = \"geo\"\nmap = \"m\"\nttl = \"1s\""),
            ("ab", "map = { fence = true, default = [\"a\"], rules = [{ countries = [\"DE\"], regions = [] }] }"),
            ("ab", "steering = \"priority\""),
            ("ab", "steering = \"priority\"\nregion_order = [\"b\"]"),
            ("ab", "steering = \"weighted\""),
            ("ab", "steering = \"weighted\"\nmap = \"m\""),
        ];
        let compiled = compiled(&services).unwrap();
        let maps: Vec<usize> = compiled.services.iter().map(|service| service.steering.map()).collect();
        assert_eq!(maps, [0, 0, 1, 2, 3, 3, 4, 5, 6, 7, 8]);
        let one_order: Vec<bool> = compiled.maps.iter().map(|map| map.is_same_for_everyone()).collect();
        // All regions are in one place, but a rule tells Germany from the rest.
        assert_eq!(one_order, [true, true, false, false, false, true, true, true, false]);
        let fenced: Vec<bool> = compiled.maps.iter().map(|map| map.is_fenced()).collect();
        assert_eq!(fenced, [false, false, true, true, true, false, false, false, true]);
        assert!(matches!(compiled.services[10].steering, Steering::Weighted { .. }));
    }

    #[test]
    fn a_service_that_no_client_could_reach_is_refused() {
        let expected = "no rule of this service's map leads to a region in which it has an endpoint; add a rule with one of \
                        its regions, or leave out `fence`";
        for keys in ["steering = \"geo\"\nmap = \"m\"", "map = \"m\"", "steering = \"weighted\"\nmap = \"m\""] {
            let error = compiled(&[("ab", keys), ("bc", keys)]).unwrap_err();
            assert!(error.starts_with("demo.toml:") && error.ends_with(expected), "{error}");
        }
    }
}
