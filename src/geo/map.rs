//! A steering map: every client → the order in which its regions are tried, and the prefix for which that holds.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::address_table::{AddressTable, AddressTableBuilder, Fold};
use super::intern::Interner;
use super::locate::place;
use super::table::{cover, zip};
use super::{Database, Location, Ranker};
use crate::config::{Network, Region};

/// The most memory for the orders of one map, in bytes.
const MAX_ORDERS_BYTES: usize = 256 << 20;

/// For each client the order of its regions. All that decides it (networks, database, claims, distance) is merged into
/// one table of orders, so the prefix of an answer is as wide as it can be.
#[derive(Debug, Clone)]
pub struct RegionMap {
    /// Indices of orders.
    table: AddressTable,
    orders: Orders,
}

impl RegionMap {
    /// The map of a service that is steered by proximity over `members`, indices into `regions` in file order. The
    /// operator's networks go ahead of the database, the longest prefix first; [`Ranker::rank`] makes the orders.
    ///
    /// # Errors
    /// When the distinct orders take more than 256 MiB.
    pub fn proximity(
        database: &Database,
        networks: &[Network],
        regions: &[Region],
        members: &[usize],
    ) -> Result<Self, TooManyOrders> {
        let mut compiler = Compiler::new(database, networks, regions, members);
        let locations = &database.locations().table;
        let no_systems = AddressTableBuilder::default().finish_with_folds();
        let systems = match database.systems() {
            Some(systems) if compiler.claims_systems => &systems.table,
            _ => &no_systems,
        };
        // Networks are numbered from 1 here, as 0 is none.
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for (network, number) in networks.iter().zip(1..) {
            match network.cidr {
                IpNet::V4(cidr) => ipv4.push((cidr.network().to_bits(), cidr.broadcast().to_bits(), number)),
                IpNet::V6(cidr) => ipv6.push((cidr.network().to_bits(), cidr.broadcast().to_bits(), number)),
            }
        }

        let mut table = AddressTableBuilder::default();
        let known = zip(locations.ipv4_runs(), systems.ipv4_runs());
        for (start, ((location, system), network)) in zip(known, cover(ipv4).runs()) {
            table.ipv4.push(start, compiler.order(location, system, network));
        }
        let known = zip(locations.ipv6_runs(), systems.ipv6_runs());
        for (start, ((location, system), network)) in zip(known, cover(ipv6).runs()) {
            let order = match Fold::from_value(location) {
                // Only a network as long as the fold's own prefix goes ahead of it.
                Some(fold) if compiler.prefix_length(network) < Some(fold.network().1) => location,
                Some(_) => compiler.order(0, 0, network),
                None => compiler.order(location, system, network),
            };
            table.ipv6.push(start, order);
        }
        if compiler.too_many {
            return Err(TooManyOrders { regions: members.len() });
        }
        compiler.orders.regions.shrink_to_fit();
        Ok(Self { table: table.finish(), orders: compiler.orders })
    }

    /// The index of a client's order, and the length of the shortest prefix around it in which every client has it.
    pub fn lookup(&self, client: IpAddr) -> (u32, u8) {
        self.table.lookup(client)
    }

    /// The order with this index: every member, as indices into the regions, the first to try first.
    pub fn order(&self, index: u32) -> &[u16] {
        self.orders.get(index)
    }
}

/// The distinct orders, one behind the other.
#[derive(Debug, Clone)]
struct Orders {
    regions: Vec<u16>,
    /// How many there are.
    count: u32,
    /// The length of each.
    members: usize,
}

impl Orders {
    fn get(&self, index: u32) -> &[u16] {
        let start = index as usize * self.members;
        self.regions.get(start..start + self.members).unwrap_or_default()
    }
}

/// Makes the orders, each once.
struct Compiler<'a> {
    ranker: Ranker<'a>,
    regions: &'a [Region],
    networks: &'a [Network],
    locations: &'a [Location],
    /// The autonomous systems laid over the locations, if the regions claim any.
    systems: Option<&'a [Location]>,
    /// For each of them, whether a region claims it.
    claimed: Vec<bool>,
    claims_systems: bool,
    /// The orders known so far: by location where no autonomous system counts, by both, and by network.
    by_location: Vec<Option<u32>>,
    by_system: HashMap<(u32, u32), u32>,
    by_network: Vec<Option<u32>>,
    orders: Orders,
    interner: Interner,
    too_many: bool,
}

impl<'a> Compiler<'a> {
    fn new(database: &'a Database, networks: &'a [Network], regions: &'a [Region], members: &[usize]) -> Self {
        let locations = &database.locations().locations;
        let claims: Vec<u32> =
            members.iter().filter_map(|&member| regions.get(member)).flat_map(|region| &region.asns).copied().collect();
        let claims_systems = !claims.is_empty();
        let systems = database.systems().filter(|_| claims_systems).map(|systems| systems.locations.as_slice());
        let is_claimed = |system: &Location| system.asn.is_some_and(|asn| claims.contains(&asn));
        Self {
            ranker: Ranker::new(regions, members),
            regions,
            networks,
            locations,
            systems,
            claimed: systems.unwrap_or_default().iter().map(is_claimed).collect(),
            claims_systems,
            by_location: vec![None; locations.len()],
            by_system: HashMap::new(),
            by_network: vec![None; networks.len()],
            orders: Orders { regions: Vec::new(), count: 0, members: members.len() },
            interner: Interner::default(),
            too_many: false,
        }
    }

    /// The prefix length of a network by its number.
    fn prefix_length(&self, network: u32) -> Option<u8> {
        let network = self.networks.get((network as usize).checked_sub(1)?)?;
        Some(network.cidr.prefix_len())
    }

    /// The index of the order for a client in this network, or else with this location and autonomous system.
    fn order(&mut self, location: u32, system: u32, network: u32) -> u32 {
        if let Some(network) = (network as usize).checked_sub(1) {
            if let Some(known) = self.by_network[network] {
                return known;
            }
            let (location, within) = place(self.networks[network].place, self.regions);
            let order = self.intern(&location, within);
            self.by_network[network] = Some(order);
            return order;
        }
        if !self.claimed.get(system as usize).is_some_and(|&claimed| claimed) {
            if let Some(known) = self.by_location[location as usize] {
                return known;
            }
            let order = self.order_with(location, None);
            self.by_location[location as usize] = Some(order);
            return order;
        }
        if let Some(&known) = self.by_system.get(&(location, system)) {
            return known;
        }
        let order = self.order_with(location, self.systems.and_then(|systems| systems[system as usize].asn));
        self.by_system.insert((location, system), order);
        order
    }

    /// The order for a location; where there is a database of autonomous systems, its numbers alone count.
    fn order_with(&mut self, location: u32, asn: Option<u32>) -> u32 {
        let location = &self.locations[location as usize];
        let location = if self.systems.is_none() || location.asn == asn {
            Cow::Borrowed(location)
        } else {
            Cow::Owned(Location { asn, ..location.clone() })
        };
        self.intern(&location, None)
    }

    fn intern(&mut self, location: &Location, within: Option<usize>) -> u32 {
        let order: Vec<u16> = self
            .ranker
            .rank(location, within)
            .into_iter()
            .filter_map(|ranked| u16::try_from(ranked.region).ok())
            .collect();
        let count = self.orders.count;
        let index = self.interner.intern(order.as_slice(), |index| self.orders.get(index) == order, || count);
        if index == count {
            if (self.orders.regions.len() + order.len()) * size_of::<u16>() > MAX_ORDERS_BYTES {
                self.too_many = true;
                return 0;
            }
            self.orders.regions.extend(order);
            self.orders.count += 1;
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
