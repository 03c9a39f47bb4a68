//! A steering map: every client → the order in which its regions are tried, and the prefix for which that holds.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;

use super::address_table::{AddressTable, AddressTableBuilder, Fold};
use super::intern::Interner;
use super::locate::place;
use super::network_table::NetworkTable;
use super::rank::{Measure, Ranker, Standpoint};
use super::table::zip;
use super::{Database, GeoMap, LatencyTable, Location};
use crate::config::{Network, Region};

/// The most memory for the orders of one map, in bytes.
const MAX_ORDERS_BYTES: usize = 256 << 20;

/// For each client the order of its regions. All that decides it (networks, database, rules, claims, measure) is merged
/// into one table of orders, so the prefix of an answer is as wide as it can be.
#[derive(Debug, Clone)]
pub struct RegionMap {
    /// Indices of orders; absent where every client has the first.
    table: Option<AddressTable>,
    orders: Orders,
    is_fenced: bool,
    members: Box<[u16]>,
}

/// The order of regions for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order<'a> {
    /// The regions that may serve it, as indices, the first to try first. Where a fence leaves none, it gets no data on
    /// purpose.
    pub regions: &'a [u16],
    /// How many of the first ones are claimed. With [`Measure::Drawn`] only, and 0 else: it would tell orders apart that
    /// are the same.
    pub claimed: usize,
    /// Whether a fence leaves out any region of the map.
    pub fenced: bool,
}

impl RegionMap {
    /// The map over `members`, indices into `regions` in the order that decides where nothing else does. The operator's
    /// networks go ahead of the database, the longest prefix first; `Ranker` makes the orders by the measure, and by the
    /// rules where there are some.
    ///
    /// # Errors
    /// When the distinct orders take more than 256 MiB.
    pub fn compile(
        database: &Database,
        networks: &[Network],
        regions: &[Region],
        members: &[usize],
        measure: Measure,
        rules: Option<&GeoMap>,
        latency: Option<&LatencyTable>,
    ) -> Result<Self, TooManyOrders> {
        let latency = latency.filter(|_| measure == Measure::Latency);
        let mut compiler = Compiler::new(database, networks, regions, members, measure, rules, latency);
        let table = if rules.is_none() && matches!(measure, Measure::Fixed | Measure::Drawn) {
            compiler.order(Inputs::default());
            None
        } else {
            Some(compiler.table(database))
        };
        if compiler.too_many {
            return Err(TooManyOrders { regions: members.len() });
        }
        let Compiler { mut orders, members, .. } = compiler;
        orders.regions.shrink_to_fit();
        orders.entries.shrink_to_fit();
        Ok(Self {
            table: table.filter(|_| orders.entries.len() > 1),
            members: members.into(),
            is_fenced: orders.entries.iter().any(|entry| usize::from(entry.length) < orders.members),
            orders,
        })
    }

    /// The index of a client's order, and the length of the shortest prefix around it in which every client has it.
    pub fn lookup(&self, client: IpAddr) -> (u32, u8) {
        self.table.as_ref().map_or((0, 0), |table| table.lookup(client))
    }

    /// How many orders there are: their indices are below that.
    pub fn order_count(&self) -> u32 {
        self.orders.entries.len() as u32
    }

    /// The order with this index.
    pub fn order(&self, index: u32) -> Order<'_> {
        self.orders.get(index)
    }

    /// All regions of the map, as indices.
    pub fn members(&self) -> &[u16] {
        &self.members
    }

    /// Whether any client's order leaves out a region of the map.
    pub fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    /// Whether every client has the same order, so that the map takes hardly any memory.
    pub fn is_same_for_everyone(&self) -> bool {
        self.table.is_none()
    }

    /// Whether any client's order has one of these regions.
    pub fn leads_to(&self, regions: &[usize]) -> bool {
        self.orders.regions.iter().any(|region| regions.contains(&usize::from(*region)))
    }
}

/// The distinct orders, one behind the other.
#[derive(Debug, Clone)]
struct Orders {
    regions: Vec<u16>,
    entries: Vec<Entry>,
    /// How many regions the map has.
    members: usize,
}

/// Where an order is.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    length: u16,
    claimed: u16,
}

impl Orders {
    fn get(&self, index: u32) -> Order<'_> {
        let Some(entry) = self.entries.get(index as usize) else {
            return Order { regions: &[], claimed: 0, fenced: false };
        };
        let start = entry.start as usize;
        Order {
            regions: self.regions.get(start..start + usize::from(entry.length)).unwrap_or_default(),
            claimed: entry.claimed.into(),
            fenced: usize::from(entry.length) < self.members,
        }
    }

    fn bytes(&self) -> usize {
        self.regions.len() * size_of::<u16>() + self.entries.len() * size_of::<Entry>()
    }
}

/// All that an order depends on, as numbers that clients next to each other share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Inputs {
    /// Index of the location.
    location: u32,
    /// Index of the autonomous system laid over it.
    system: u32,
    /// Number of the operator's network.
    network: u32,
    /// Number of the network that a rule is for.
    ruled: u32,
    /// Number of the network that was measured.
    measured: u32,
}

/// Makes the orders, each once.
struct Compiler<'a> {
    ranker: Ranker<'a>,
    regions: &'a [Region],
    networks: &'a [Network],
    rules: Option<&'a GeoMap>,
    latency: Option<&'a LatencyTable>,
    /// The regions of the map.
    members: Vec<u16>,
    /// The networks that were measured, as indices into the table, by their numbers less one.
    measured: Vec<u32>,
    locations: &'a [Location],
    /// The autonomous systems laid over the locations, if any counts.
    systems: Option<&'a [Location]>,
    /// For each of them, whether it does: a region claims it, a rule is for it, or it was measured.
    counts: Vec<bool>,
    /// Whether only the first so many regions are told from the others, not their order.
    tells_claimed: bool,
    /// The orders known so far: by location where nothing else counts, and by all else.
    by_location: Vec<Option<u32>>,
    by_inputs: HashMap<Inputs, u32>,
    orders: Orders,
    interner: Interner,
    too_many: bool,
}

impl<'a> Compiler<'a> {
    fn new(
        database: &'a Database,
        networks: &'a [Network],
        regions: &'a [Region],
        members: &[usize],
        measure: Measure,
        rules: Option<&'a GeoMap>,
        latency: Option<&'a LatencyTable>,
    ) -> Self {
        let locations = &database.locations().locations;
        let tells_claimed = measure == Measure::Drawn;
        let by_claims = matches!(measure, Measure::Proximity | Measure::Latency | Measure::Listed);
        let member_regions: Vec<u16> = members.iter().filter_map(|member| u16::try_from(*member).ok()).collect();
        let claims: HashSet<u32> = members
            .iter()
            .filter_map(|&member| regions.get(member))
            .filter(|_| by_claims)
            .flat_map(|region| &region.asns)
            .copied()
            .collect();
        let any_counts = !claims.is_empty()
            || rules.is_some_and(GeoMap::names_systems)
            || latency.is_some_and(|latency| latency.has_systems(&member_regions));
        let systems = database.systems().filter(|_| any_counts).map(|systems| systems.locations.as_slice());
        let counts = |system: &Location| {
            system.asn.is_some_and(|asn| {
                claims.contains(&asn)
                    || rules.is_some_and(|rules| rules.names_system(asn))
                    || latency.is_some_and(|latency| latency.has_system(asn, &member_regions))
            })
        };
        Self {
            ranker: Ranker::new(regions, members, measure),
            regions,
            networks,
            rules,
            latency,
            measured: Vec::new(),
            locations,
            systems,
            counts: systems.unwrap_or_default().iter().map(counts).collect(),
            tells_claimed,
            by_location: vec![None; locations.len()],
            by_inputs: HashMap::new(),
            orders: Orders { regions: Vec::new(), entries: Vec::new(), members: members.len() },
            members: member_regions,
            interner: Interner::default(),
            too_many: false,
        }
    }

    /// The order of every address.
    fn table(&mut self, database: &Database) -> AddressTable {
        let locations = &database.locations().table;
        let (no_systems, no_rules) = (AddressTableBuilder::default().finish_with_folds(), NetworkTable::default());
        let systems = database.systems().filter(|_| self.systems.is_some()).map_or(&no_systems, |layer| &layer.table);
        let networks = NetworkTable::new(self.networks.iter().map(|network| network.cidr));
        let rules = self.rules.map_or(&no_rules, GeoMap::numbers);
        let measured: Vec<_> = self.latency.iter().flat_map(|latency| latency.networks_of(&self.members)).collect();
        let (measured, indices): (Vec<_>, Vec<u32>) = measured.into_iter().unzip();
        let measured = NetworkTable::new(measured.into_iter());
        self.measured = indices;

        let mut table = AddressTableBuilder::default();
        let known = zip(locations.ipv4_runs(), systems.ipv4_runs());
        let listed = zip(zip(networks.ipv4.runs(), rules.ipv4.runs()), measured.ipv4.runs());
        for (start, ((location, system), ((network, ruled), measured))) in zip(known, listed) {
            table.ipv4.push(start, self.order(Inputs { location, system, network, ruled, measured }));
        }
        let known = zip(locations.ipv6_runs(), systems.ipv6_runs());
        let listed = zip(zip(networks.ipv6.runs(), rules.ipv6.runs()), measured.ipv6.runs());
        for (start, ((location, system), ((network, ruled), measured))) in zip(known, listed) {
            let order = match Fold::from_value(location) {
                // Only a network as long as the fold's own prefix goes ahead of it; then nothing else is known.
                Some(fold) => match (networks.inside(fold, network), rules.inside(fold, ruled)) {
                    (0, 0) => location,
                    (network, ruled) => self.order(Inputs { network, ruled, ..Inputs::default() }),
                },
                None => self.order(Inputs { location, system, network, ruled, measured }),
            };
            table.ipv6.push(start, order);
        }
        table.finish()
    }

    /// The index of the order for a client in this network, or else with this location and autonomous system.
    fn order(&mut self, mut inputs: Inputs) -> u32 {
        if inputs.network > 0 {
            (inputs.location, inputs.system) = (0, 0);
        } else if !self.counts.get(inputs.system as usize).is_some_and(|&counts| counts) {
            inputs.system = 0;
        }
        let Inputs { location, system, network, ruled, measured } = inputs;
        let is_by_location = (system, network, ruled, measured) == (0, 0, 0, 0);
        let known =
            if is_by_location { self.by_location[location as usize] } else { self.by_inputs.get(&inputs).copied() };
        if let Some(known) = known {
            return known;
        }
        let order = self.make(inputs);
        if is_by_location {
            self.by_location[location as usize] = Some(order);
        } else {
            self.by_inputs.insert(inputs, order);
        }
        order
    }

    fn make(&mut self, Inputs { location, system, network, ruled, measured }: Inputs) -> u32 {
        let listed = (network as usize).checked_sub(1).and_then(|index| self.networks.get(index));
        let (location, within) = match listed {
            Some(network) => {
                let (location, within) = place(network.place, self.regions);
                (Cow::Owned(location), within)
            }
            None => (self.located(location, system), None),
        };
        let ruling = self.rules.and_then(|rules| rules.ruling_in(ruled, &location));
        let measured = (measured as usize).checked_sub(1).and_then(|index| self.measured.get(index).copied());
        let times = self.latency.map(|latency| latency.of_client(measured, &location, &self.members));
        self.intern(&Standpoint { location: &location, within, ruling, times: times.unwrap_or_default() })
    }

    /// A location; where there is a database of autonomous systems, its numbers alone count.
    fn located(&self, location: u32, system: u32) -> Cow<'a, Location> {
        let location = &self.locations[location as usize];
        let asn = self.systems.map(|systems| systems.get(system as usize).and_then(|system| system.asn));
        match asn {
            Some(asn) if asn != location.asn => Cow::Owned(Location { asn, ..location.clone() }),
            _ => Cow::Borrowed(location),
        }
    }

    fn intern(&mut self, client: &Standpoint<'_>) -> u32 {
        let ranked = self.ranker.rank(client);
        let claimed = if self.tells_claimed { ranked.partition_point(|ranked| ranked.claim.is_some()) } else { 0 };
        let order: Vec<u16> = ranked.into_iter().filter_map(|ranked| u16::try_from(ranked.region).ok()).collect();
        let count = self.orders.entries.len() as u32;
        let is_at = |index| {
            let known = self.orders.get(index);
            (known.regions, known.claimed) == (order.as_slice(), claimed)
        };
        let index = self.interner.intern(&(order.as_slice(), claimed), is_at, || count);
        if index == count {
            if self.orders.bytes() + order.len() * size_of::<u16>() > MAX_ORDERS_BYTES {
                self.too_many = true;
                return 0;
            }
            self.orders.entries.push(Entry {
                start: self.orders.regions.len() as u32,
                length: order.len() as u16,
                claimed: claimed as u16,
            });
            self.orders.regions.extend(order);
        }
        index
    }
}

/// A map would need more memory for its orders than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyOrders {
    /// How many regions are ordered.
    pub regions: usize,
}

impl fmt::Display for TooManyOrders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the orders of {} regions for the database's locations need more than 256 MiB: \
             use fewer regions in one service, or a database of countries",
            self.regions
        )
    }
}

impl std::error::Error for TooManyOrders {}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
mod tests {
    use std::fmt::Write;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use ipnet::IpNet;
    use proptest::prelude::*;

    use super::super::address_table::Fold;
    use super::super::build::build;
    use super::super::latency::{ClientTimes, LatencyKey, LatencyTable, Measurement, Rules};
    use super::super::rank::tests::region;
    use super::super::rank::{Measure, Ranked, Standpoint};
    use super::super::{Coordinates, Database, GeoMap, Location, Matcher, Rule};
    use super::{Network, Region, RegionMap};
    use crate::config::Place;

    fn address(number: u128, is_ipv6: bool) -> IpAddr {
        if is_ipv6 { Ipv6Addr::from_bits(number).into() } else { Ipv4Addr::from_bits(number as u32).into() }
    }

    /// First and last address.
    fn bounds(cidr: &IpNet) -> (u128, u128) {
        match cidr {
            IpNet::V4(cidr) => (cidr.network().to_bits().into(), cidr.broadcast().to_bits().into()),
            IpNet::V6(cidr) => (cidr.network().to_bits(), cidr.broadcast().to_bits()),
        }
    }

    fn longest<T>(entries: &[(IpNet, T)], client: IpAddr) -> Option<&(IpNet, T)> {
        let holding = entries.iter().filter(|(cidr, _)| cidr.contains(&client));
        holding.max_by_key(|(cidr, _)| cidr.prefix_len())
    }

    /// The rules of one map, each with what it matches.
    type MapRules = Vec<(Rule, Vec<Matcher>)>;

    /// One case: rows of the databases (network, location), the operator's networks, the regions, and how a service is
    /// steered among them.
    #[derive(Debug)]
    struct World {
        rows: Vec<(IpNet, Location)>,
        /// Rows of a database of autonomous systems; without any there is none.
        systems: Vec<(IpNet, u32)>,
        networks: Vec<(IpNet, Place)>,
        regions: Vec<Region>,
        members: Vec<usize>,
        measure: Measure,
        /// No two for the same.
        measured: Vec<Measurement>,
        /// Those of a map, and those that it inherits.
        rules: Option<[MapRules; 2]>,
    }

    impl World {
        /// The order that a client must get, and how many of its regions are to be told from the others, by searching the
        /// lists. A client inside a fold gets what is in the fold's own list, where no network is as long as the fold.
        fn naive(&self, client: IpAddr) -> Result<(Vec<u16>, usize), Fold> {
            let fold = match client {
                IpAddr::V4(_) => None,
                IpAddr::V6(inside) => Fold::of(inside.to_bits()),
            };
            let counts = |cidr: &IpNet| fold.is_none_or(|fold| cidr.prefix_len() >= fold.network().1);
            let network = longest(&self.networks, client).filter(|(cidr, _)| counts(cidr));
            let ruled = self.ruled_network(client).filter(|(cidr, _)| counts(cidr));
            let (location, within) = match (network, fold) {
                (None, Some(fold)) if ruled.is_none() => return Err(fold),
                (None, Some(_)) => (Location::default(), None),
                (Some((_, Place::Region(index))), _) => (Location::at(self.regions[*index].location), Some(*index)),
                (Some((_, Place::Location(point))), _) => (Location::at(*point), None),
                (Some((_, Place::Country(code))), _) => (Location::of_country(*code), None),
                (None, None) => {
                    let mut location = longest(&self.rows, client).map(|row| row.1.clone()).unwrap_or_default();
                    if !self.systems.is_empty() {
                        location.asn = longest(&self.systems, client).map(|row| row.1);
                    }
                    (location, None)
                }
            };
            let rule = ruled.map(|(_, rule)| rule).or_else(|| self.rule(&location));
            let network = if fold.is_none() { self.measured_network(client) } else { None };
            Ok(self.order(&location, within, rule, network))
        }

        /// All matchers with their rules, those that win first.
        fn matchers(&self) -> impl Iterator<Item = (&Matcher, &Rule)> {
            let rules = self.rules.iter().flatten().flatten();
            rules.flat_map(|(rule, matchers)| matchers.iter().map(move |matcher| (matcher, rule)))
        }

        fn ruled_network(&self, client: IpAddr) -> Option<(IpNet, &Rule)> {
            let networks = self.matchers().filter_map(|(matcher, rule)| match matcher {
                Matcher::Network(cidr) if cidr.contains(&client) => Some((*cidr, rule)),
                _ => None,
            });
            // Of equal ones the first.
            networks.reduce(|best, next| if next.0.prefix_len() > best.0.prefix_len() { next } else { best })
        }

        fn rule(&self, location: &Location) -> Option<&Rule> {
            let subdivision = location.subdivisions[0].map(|code| code.to_string());
            let city = |within: Option<String>| {
                format!("{}/{}", within.unwrap_or_default(), location.city.as_deref()?).parse().ok()
            };
            let country = location.country.map(|code| code.to_string());
            let wanted = [
                location.asn.map(Matcher::Asn),
                city(subdivision.clone()).map(Matcher::City),
                city(country).map(Matcher::City),
                location.subdivisions[0].map(Matcher::Subdivision),
                location.country.map(Matcher::Country),
                location.continent.map(Matcher::Continent),
                Some(Matcher::Default),
            ];
            wanted.iter().flatten().find_map(|wanted| Some(self.matchers().find(|(matcher, _)| *matcher == wanted)?.1))
        }

        /// The longest network around a client that was measured to any member.
        fn measured_network(&self, client: IpAddr) -> Option<IpNet> {
            let of_members = self.measured.iter().filter(|one| self.members.contains(&usize::from(one.region)));
            let networks = of_members.filter_map(|one| match one.key {
                LatencyKey::Network(cidr) => Some((cidr, ())),
                LatencyKey::Asn(_) | LatencyKey::Country(_) => None,
            });
            longest(&networks.collect::<Vec<_>>(), client).map(|(cidr, ())| *cidr)
        }

        /// The round trip to a region, in milliseconds, by searching what was measured.
        fn time(&self, network: Option<IpNet>, location: &Location, region: usize) -> Option<f64> {
            let network = network.map(LatencyKey::Network);
            let system = location.asn.map(LatencyKey::Asn);
            let country = location.country.map(LatencyKey::Country);
            let of = |key| self.measured.iter().find(|one| one.key == key && usize::from(one.region) == region);
            let found = [network, system, country].into_iter().flatten().find_map(of)?;
            Some(f64::from(found.microseconds) / 1000.0)
        }

        fn order(
            &self,
            location: &Location,
            within: Option<usize>,
            rule: Option<&Rule>,
            network: Option<IpNet>,
        ) -> (Vec<u16>, usize) {
            let listed = |region: usize| rule.and_then(|rule| rule.regions.iter().position(|listed| *listed == region));
            let is_open = rule.is_none_or(|rule| !rule.fence && !rule.regions.is_empty());
            let mut order: Vec<usize> = self.members.clone();
            order.retain(|region| is_open || listed(*region).is_some());
            // From the least important to the most, as sorting is stable.
            if matches!(self.measure, Measure::Proximity | Measure::Latency | Measure::Listed) {
                let client = Standpoint { location, within, ruling: None, times: ClientTimes::default() };
                let km = |region: usize| Ranked::of(&self.regions, region, self.measure, &client).unwrap().biased_km;
                order.sort_by(|a, b| km(*a).partial_cmp(&km(*b)).unwrap());
                let time = |region: usize| self.time(network, location, region);
                if self.measure == Measure::Latency
                    && self.members.iter().filter_map(|member| time(*member)).count() > 1
                {
                    let expected = |region: usize| {
                        time(region).or_else(|| km(region).map(|km| 5.0 + km / 60.0)).unwrap_or(f64::MAX)
                    };
                    order.sort_by(|a, b| expected(*a).total_cmp(&expected(*b)));
                }
                let claims: [&dyn Fn(&Region) -> bool; 3] = [
                    &|region| location.country.is_some_and(|code| region.countries.contains(&code)),
                    &|region| location.asn.is_some_and(|asn| region.asns.contains(&asn)),
                    &|region| within.is_some_and(|within| std::ptr::eq(&self.regions[within], region)),
                ];
                for claims in claims {
                    order.sort_by_key(|region| !claims(&self.regions[*region]) || listed(*region).is_some());
                }
            }
            if self.measure == Measure::Listed {
                order.sort_by_key(|region| listed(*region).unwrap_or(usize::MAX));
            }
            order.sort_by_key(|region| listed(*region).is_none());
            let claimed = order.iter().filter(|region| self.measure == Measure::Drawn && listed(**region).is_some());
            let claimed = claimed.count();
            (order.into_iter().map(|region| region as u16).collect(), claimed)
        }

        fn map(&self) -> RegionMap {
            let mut csv = "network,country,subdivision,city,latitude,longitude,asn\n".to_owned();
            for (cidr, location) in &self.rows {
                let country = location.country.map(|code| code.to_string()).unwrap_or_default();
                let subdivision = location.subdivisions[0].map(|code| code.to_string()).unwrap_or_default();
                let city = location.city.as_deref().unwrap_or_default();
                let point = location
                    .coordinates
                    .map_or(",".to_owned(), |point| format!("{},{}", point.latitude, point.longitude));
                let asn = location.asn.map(|asn| asn.to_string()).unwrap_or_default();
                writeln!(csv, "{cidr},{country},{subdivision},{city},{point},{asn}").unwrap();
            }
            let mut database = Database::from_bytes(&build(csv.as_bytes(), 0).unwrap()).unwrap();
            if !self.systems.is_empty() {
                let rows = self.systems.iter().map(|(cidr, asn)| format!("{cidr},{asn}\n"));
                let csv = format!("network,asn\n{}", rows.collect::<String>());
                database = database.with_systems(&build(csv.as_bytes(), 0).unwrap()).unwrap();
            }
            let networks: Vec<Network> = self.networks.iter().map(|&(cidr, place)| Network { cidr, place }).collect();
            let rules = self.rules.as_ref().map(|rules| GeoMap::new(rules.iter().flatten().cloned()));
            let counting = Rules { max_age: Duration::from_secs(1), min_confidence: 0.0 };
            let latency = LatencyTable::new(self.measured.iter().copied(), counting, 0);
            let (regions, members, rules) = (&self.regions, &self.members, rules.as_ref());
            RegionMap::compile(&database, &networks, regions, members, self.measure, rules, Some(&latency)).unwrap()
        }

        /// Where something may begin or end.
        fn edges(&self, is_ipv6: bool) -> Vec<u128> {
            let own = self.rows.iter().map(|row| &row.0).chain(self.networks.iter().map(|network| &network.0));
            let measured = self.measured.iter().filter_map(|one| match &one.key {
                LatencyKey::Network(cidr) => Some(cidr),
                LatencyKey::Asn(_) | LatencyKey::Country(_) => None,
            });
            let ruled = self.matchers().filter_map(|(matcher, _)| match matcher {
                Matcher::Network(cidr) => Some(cidr),
                _ => None,
            });
            let own = own
                .chain(self.systems.iter().map(|row| &row.0))
                .chain(ruled)
                .chain(measured)
                .filter(|cidr| matches!(cidr, IpNet::V6(_)) == is_ipv6)
                .map(bounds);
            let folds = Fold::ALL.into_iter().filter(|_| is_ipv6).map(|fold| {
                let (first, length) = fold.network();
                (first, first | u128::MAX >> length)
            });
            let last = if is_ipv6 { u128::MAX } else { u32::MAX.into() };
            own.chain(folds)
                .flat_map(|(first, end)| [first, end, (end + u128::from(end < last))])
                .chain([0, last])
                .collect()
        }

        fn check(&self, random: &[u128]) -> Result<(), TestCaseError> {
            let map = self.map();
            for is_ipv6 in [false, true] {
                let bits: u32 = if is_ipv6 { 128 } else { 32 };
                let edges = self.edges(is_ipv6);
                for &number in edges.iter().chain(random) {
                    let number = number & u128::MAX >> (128 - bits);
                    let client = address(number, is_ipv6);
                    let Ok(expected) = self.naive(client) else { continue };
                    let (index, length) = map.lookup(client);
                    let order = map.order(index);
                    prop_assert_eq!((order.regions, order.claimed), (&*expected.0, expected.1), "{}", client);
                    prop_assert_eq!(order.fenced, expected.0.len() < self.members.len(), "{}", client);
                    prop_assert!(map.is_fenced() || !order.fenced);
                    if map.is_same_for_everyone() {
                        // Those inside the folds, too.
                        prop_assert_eq!((index, length), (0, 0));
                        continue;
                    }
                    // The clients that differ from it inside a prefix of this length: what changes, changes at an edge.
                    let is_uniform = |length: u8| {
                        let host_bits = u128::MAX.checked_shr(128 - bits + u32::from(length)).unwrap_or(0);
                        let (first, last) = (number & !host_bits, number | host_bits);
                        let inside =
                            edges.iter().copied().filter(|edge| (first..=last).contains(edge)).chain([first, last]);
                        inside
                            .map(|edge| self.naive(address(edge, is_ipv6)))
                            .all(|order| order.as_ref() == Ok(&expected))
                    };
                    prop_assert!(is_uniform(length), "{}/{} is too wide", client, length);
                    prop_assert!(length == 0 || !is_uniform(length - 1), "{}/{} is too narrow", client, length);
                }
            }
            Ok(())
        }
    }

    /// Networks that lie in, beside and around each other.
    fn cidr() -> impl Strategy<Value = IpNet> {
        let ipv4 = (any::<u32>(), 0..=32_u8).prop_map(|(random, length)| {
            IpNet::new(Ipv4Addr::from_bits(random & 0xc3ff_00ff | 0x0a00_0000).into(), length).unwrap().trunc()
        });
        let top = prop::sample::select(vec![0x2001_u128, 0x2002, 0x2003, 0x2a00, 0x2a01, 0xfd00]);
        let ipv6 = (top, any::<u128>(), 8..=128_u8).prop_map(|(top, random, length)| {
            IpNet::new(Ipv6Addr::from_bits(top << 112 | random & 0x0db8_0000_0003 << 64 | random & 0xff).into(), length)
                .unwrap()
                .trunc()
        });
        prop_oneof![ipv4, ipv6]
    }

    fn coordinates() -> impl Strategy<Value = Coordinates> {
        (-8..=8_i8, -17..=17_i8).prop_filter_map("known", |(north, east)| {
            let point = Coordinates::new(f64::from(north) * 10.0, f64::from(east) * 10.0)?;
            (north != 0 || east != 0).then_some(point)
        })
    }

    const COUNTRIES: [&str; 4] = ["DE", "US", "JP", "BR"];

    /// Country, subdivision and city, as far as they are known.
    const PLACES: [[&str; 3]; 9] = [
        ["", "", ""],
        ["DE", "", ""],
        ["DE", "", "Berlin"],
        ["DE", "DE-BE", "Berlin"],
        ["US", "US-CA", ""],
        ["US", "US-CA", "San José"],
        ["US", "US-NY", "San José"],
        ["JP", "", ""],
        ["BR", "", ""],
    ];

    fn location([country, subdivision, city]: [&str; 3]) -> Location {
        let subdivisions = [subdivision.parse().ok(), None];
        let city = Some(city.into()).filter(|_| !city.is_empty());
        Location { country: country.parse().ok(), subdivisions, city, ..Location::default() }
    }

    fn matcher() -> impl Strategy<Value = Matcher> {
        const CITIES: [&str; 4] = ["DE/BERLIN", "DE-BE/berlin", "US-CA/san josÉ", "US/San José"];
        prop_oneof![
            cidr().prop_map(Matcher::Network),
            (1..4_u32).prop_map(Matcher::Asn),
            prop::sample::select(&CITIES[..]).prop_map(|city| Matcher::City(city.parse().unwrap())),
            prop::sample::select(&["DE-BE", "US-CA"][..]).prop_map(|code| Matcher::Subdivision(code.parse().unwrap())),
            prop::sample::select(&COUNTRIES[..]).prop_map(|code| Matcher::Country(code.parse().unwrap())),
            prop::sample::select(&["EU", "NA"][..]).prop_map(|code| Matcher::Continent(code.parse().unwrap())),
            Just(Matcher::Default),
        ]
    }

    /// Regions are up to five, of which there may be fewer.
    fn rules() -> impl Strategy<Value = MapRules> {
        let regions = prop::sample::subsequence(vec![0, 1, 2, 3, 4], 0..4).prop_shuffle();
        let rule = (prop::collection::vec(matcher(), 1..4), regions, prop::bool::weighted(0.3));
        prop::collection::vec(rule, 0..6).prop_map(|rules| {
            let rules = rules.into_iter();
            rules.map(|(matchers, regions, fence)| (Rule { map: "test".into(), regions, fence }, matchers)).collect()
        })
    }

    fn measure() -> impl Strategy<Value = Measure> {
        let measures = [Measure::Proximity, Measure::Latency, Measure::Listed, Measure::Fixed, Measure::Drawn];
        prop::sample::select(measures.to_vec())
    }

    /// What `geoip build` refuses has no address outside of a fold.
    fn is_row(cidr: &IpNet) -> bool {
        match cidr {
            IpNet::V4(_) => true,
            IpNet::V6(cidr) => {
                Fold::of(cidr.network().to_bits()).is_none_or(|fold| cidr.prefix_len() < fold.network().1)
            }
        }
    }

    fn world() -> impl Strategy<Value = World> {
        let row =
            (cidr(), prop::sample::select(&PLACES[..]), prop::option::of(coordinates()), prop::option::of(1..3_u32));
        let rows = prop::collection::vec(row, 1..12);
        let systems = prop_oneof![Just(Vec::new()), prop::collection::vec((cidr(), 1..4_u32), 1..6)];
        let place = prop_oneof![
            (0..3_usize).prop_map(Place::Region),
            coordinates().prop_map(Place::Location),
            prop::sample::select(&COUNTRIES[..]).prop_map(|code| Place::Country(code.parse().unwrap())),
        ];
        let networks = prop::collection::vec((cidr(), place), 0..6);
        let regions = prop::collection::vec((coordinates(), 0..4_usize, 0..3_u32, -99..=99_i8), 3..5);
        let members = prop::sample::subsequence(vec![0, 1, 2, 3], 1..=4).prop_shuffle();
        let key = prop_oneof![
            cidr().prop_map(LatencyKey::Network),
            (1..4_u32).prop_map(LatencyKey::Asn),
            prop::sample::select(&COUNTRIES[..]).prop_map(|code| LatencyKey::Country(code.parse().unwrap())),
        ];
        // Times that are often equal, or near the estimates.
        let measured = prop::collection::vec((key, 0..4_u16, 1..5_u32), 0..12);
        let steering = (members, (measure(), measured), prop::option::weighted(0.8, (rules(), rules())));
        (rows, systems, networks, regions, steering).prop_map(|(rows, mut systems, mut networks, regions, steering)| {
            let (mut members, (measure, measured), rules) = steering;
            let mut measured: Vec<Measurement> = measured
                .into_iter()
                .filter(|(key, ..)| !matches!(key, LatencyKey::Network(cidr) if !is_row(cidr)))
                .map(|(key, region, time)| Measurement {
                    key,
                    region,
                    microseconds: time * 40_000,
                    measured: 0,
                    confidence: 1.0,
                })
                .collect();
            measured.sort_by_key(|one| (one.key, one.region));
            measured.dedup_by_key(|one| (one.key, one.region));
            members.retain(|member| *member < regions.len());
            networks.sort_by_key(|network| network.0);
            networks.dedup_by_key(|network| network.0);
            systems.retain(|row| is_row(&row.0));
            systems.sort_by_key(|row| row.0);
            systems.dedup_by_key(|row| row.0);
            let mut rows: Vec<(IpNet, Location)> = rows
                .into_iter()
                .filter(|row| is_row(&row.0))
                .map(|(cidr, place, coordinates, asn)| {
                    (cidr, Location { coordinates, asn, ..location(place) }.completed())
                })
                .collect();
            // Some location, as a database without one is refused.
            rows.push(("255.255.255.255/32".parse().unwrap(), Location::of_country("DE".parse().unwrap())));
            rows.sort_by_key(|row| row.0);
            rows.dedup_by_key(|row| row.0);
            let regions = regions
                .into_iter()
                .map(|(point, country, asn, bias)| {
                    let mut region = region("", point.latitude, point.longitude);
                    region.countries = COUNTRIES
                        .get(country)
                        .filter(|_| asn == 2)
                        .map(|code| code.parse().unwrap())
                        .into_iter()
                        .collect();
                    region.asns = Some(asn).filter(|&asn| asn == 1).into_iter().collect();
                    region.bias = bias;
                    region
                })
                .collect();
            let rules = rules.map(|(own, inherited)| [own, inherited]);
            World { rows, systems, networks, regions, members, measure, measured, rules }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn orders_fences_and_prefixes_are_as_by_searching(world in world(), random in prop::collection::vec(any::<u128>(), 10)) {
            world.check(&random)?;
        }
    }

    /// Ashburn, Frankfurt and Sydney, of which Frankfurt claims AS 64500 and Sydney Japan.
    fn regions() -> Vec<Region> {
        let mut regions = vec![region("us", 39.0, -77.5), region("eu", 50.1, 8.7), region("au", -33.9, 151.2)];
        regions[1].asns = vec![64_500];
        regions[2].countries = vec!["JP".parse().unwrap()];
        regions
    }

    fn proximity(database: &Database, networks: &[Network], members: &[usize]) -> RegionMap {
        RegionMap::compile(database, networks, &regions(), members, Measure::Proximity, None, None).unwrap()
    }

    fn order(map: &RegionMap, client: &str) -> (Vec<u16>, u8) {
        let (index, length) = map.lookup(client.parse().unwrap());
        (map.order(index).regions.to_vec(), length)
    }

    #[test]
    fn networks_go_ahead_of_the_database() {
        let csv = "network,country\n192.0.2.0/24,US\n198.51.100.0/24,JP\n";
        let database = Database::from_bytes(&build(csv.as_bytes(), 0).unwrap()).unwrap();
        let networks = [
            ("192.0.2.64/26", Place::Region(2)),
            ("192.0.2.64/28", Place::Country("DE".parse().unwrap())),
            ("2002:c000:0240::/48", Place::Region(0)),
            ("64:ff9b::/96", Place::Region(2)),
            ("::/0", Place::Region(1)),
        ]
        .map(|(cidr, place)| Network { cidr: cidr.parse().unwrap(), place });
        let map = proximity(&database, &networks, &[0, 1, 2]);
        for (client, expected, length) in [
            ("192.0.2.1", [0, 1, 2], 26),
            ("192.0.2.100", [2, 0, 1], 27),
            ("192.0.2.70", [1, 0, 2], 28),
            ("198.51.100.1", [2, 1, 0], 24),
            ("10.0.0.1", [0, 1, 2], 1),
            ("::ffff:192.0.2.100", [2, 0, 1], 96 + 27),
            ("2002:c000:0241::", [1, 0, 2], 48),
            ("2002:c000:0240::", [0, 1, 2], 48),
            ("64:ff9b::192.0.2.1", [2, 0, 1], 96),
            // ::/0 is not as long as what surrounds an IPv4 address.
            ("2002:c633:6401::", [2, 1, 0], 16 + 24),
            ("2a00::", [1, 0, 2], 5),
        ] {
            assert_eq!(order(&map, client), (expected.to_vec(), length), "{client}");
        }
    }

    #[test]
    fn claims_of_autonomous_systems_divide_what_they_claim_only() {
        let csv = "network,country,asn\n192.0.2.0/24,US,64500\n198.51.100.0/24,JP,\n";
        let locations = build(csv.as_bytes(), 0).unwrap();
        let csv = "network,asn\n192.0.2.0/26,64500\n192.0.2.64/26,64501\n198.51.100.0/25,64500\n";
        let systems = build(csv.as_bytes(), 0).unwrap();
        let own = Database::from_bytes(&locations).unwrap();
        let map = proximity(&own, &[], &[0, 1, 2]);
        assert_eq!(order(&map, "192.0.2.100"), (vec![1, 0, 2], 24));
        let laid_over = own.with_systems(&systems).unwrap();
        let map = proximity(&laid_over, &[], &[0, 1, 2]);
        for (client, expected, length) in [
            ("192.0.2.1", [1, 0, 2], 26),
            // As though nothing were known: the database's own number no longer counts.
            ("192.0.2.100", [0, 1, 2], 26),
            ("198.51.100.1", [1, 2, 0], 25),
            ("198.51.100.200", [2, 1, 0], 25),
        ] {
            assert_eq!(order(&map, client), (expected.to_vec(), length), "{client}");
        }
        // Without the region that claims it, the system divides nothing.
        let map = proximity(&laid_over, &[], &[0, 2]);
        assert_eq!(order(&map, "198.51.100.1"), (vec![2, 0], 24));
    }

    #[test]
    fn one_region_or_none_is_the_same_for_everyone() {
        let database =
            Database::from_bytes(&build("network,country\n192.0.2.0/24,US\n".as_bytes(), 0).unwrap()).unwrap();
        let one = proximity(&database, &[], &[1]);
        assert_eq!(order(&one, "192.0.2.1"), (vec![1], 0));
        let none = proximity(&database, &[], &[]);
        assert_eq!(order(&none, "192.0.2.1"), (vec![], 0));
    }
}
