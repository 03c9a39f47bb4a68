//! Where one client is and how that is known, for people.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::address_table::Fold;
use super::{Database, Location};
use crate::config::{Network, Place, Region};

/// Where a client is.
#[derive(Debug, Clone, PartialEq)]
pub struct Located<'a> {
    /// How that is known.
    pub origin: Origin<'a>,
    /// What is known.
    pub location: Location,
    /// The region in which the operator's networks put the client, as an index.
    pub within: Option<usize>,
    /// The network of the client for which just this is known.
    pub network: IpNet,
}

/// How a client's location is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Origin<'a> {
    /// By one of `[[geoip.networks]]`.
    Network(&'a Network),
    /// By the database.
    Database,
    /// Not at all.
    Unknown,
}

/// Where a client is, by the same rules as [`super::RegionMap::compile`].
pub fn locate<'a>(database: &Database, networks: &'a [Network], regions: &[Region], client: IpAddr) -> Located<'a> {
    if let Some(network) = network_of(networks, client) {
        let (location, within) = place(network.place, regions);
        return Located { origin: Origin::Network(network), location, within, network: network.cidr };
    }
    let (location, length) = database.lookup(client);
    let origin = if location.is_unknown() { Origin::Unknown } else { Origin::Database };
    // A prefix is never longer than the address.
    let network = IpNet::new(client, length).map_or_else(|_| client.into(), |network| network.trunc());
    Located { origin, location, within: None, network }
}

/// The operator's network that a client is in. Of an IPv4 client inside IPv6 it may name either address, but a prefix
/// shorter than what surrounds the IPv4 address says nothing of it.
fn network_of(networks: &[Network], client: IpAddr) -> Option<&Network> {
    let longest = |address: IpAddr, at_least: u8| {
        let holding = networks.iter().filter(|network| network.cidr.contains(&address));
        holding.filter(|network| network.cidr.prefix_len() >= at_least).max_by_key(|network| network.cidr.prefix_len())
    };
    let IpAddr::V6(address) = client else { return longest(client, 0) };
    let Some(fold) = Fold::of(address.to_bits()) else { return longest(client, 0) };
    let (inner, _) = fold.client(address.to_bits());
    longest(client, fold.network().1).or_else(|| longest(Ipv4Addr::from_bits(inner).into(), 0))
}

/// What one of the operator's networks says: a location, and the region that comes first.
pub(super) fn place(place: Place, regions: &[Region]) -> (Location, Option<usize>) {
    match place {
        Place::Region(index) => {
            (regions.get(index).map(|region| Location::at(region.location)).unwrap_or_default(), Some(index))
        }
        Place::Location(coordinates) => (Location::at(coordinates), None),
        Place::Country(country) => (Location::of_country(country), None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::super::build::build;
    use super::super::rank::tests::region;
    use super::{Database, Network, Origin, Place, locate};

    #[test]
    fn says_how_a_location_is_known() {
        let csv = "network,country\n192.0.2.0/24,US\n2001:db8::/32,JP\n";
        let database = Database::from_bytes(&build(csv.as_bytes(), 0).unwrap()).unwrap();
        let regions = [region("eu", 50.1, 8.7)];
        let networks = [
            ("10.0.0.0/8", Place::Region(0)),
            ("10.1.0.0/16", Place::Country("FR".parse().unwrap())),
            ("2002:a00::/24", Place::Country("BR".parse().unwrap())),
            ("::/0", Place::Country("IN".parse().unwrap())),
        ]
        .map(|(cidr, place)| Network { cidr: cidr.parse().unwrap(), place });
        for (client, origin, country, within, network) in [
            ("10.2.3.4", "network", None, Some(0), "10.0.0.0/8"),
            ("10.1.3.4", "network", Some("FR"), None, "10.1.0.0/16"),
            ("::ffff:10.1.3.4", "network", Some("FR"), None, "10.1.0.0/16"),
            ("2002:a00:1::", "network", Some("BR"), None, "2002:a00::/24"),
            ("192.0.2.1", "database", Some("US"), None, "192.0.2.0/24"),
            ("64:ff9b::192.0.2.1", "database", Some("US"), None, "64:ff9b::c000:200/120"),
            ("192.0.3.1", "unknown", None, None, "192.0.3.0/24"),
            ("2001:db8::1", "network", Some("IN"), None, "::/0"),
        ] {
            let located = locate(&database, &networks, &regions, client.parse().unwrap());
            let found = match located.origin {
                Origin::Network(_) => "network",
                Origin::Database => "database",
                Origin::Unknown => "unknown",
            };
            assert_eq!(found, origin, "{client}");
            assert_eq!(located.location.country.map(|code| code.to_string()).as_deref(), country, "{client}");
            assert_eq!((located.within, located.network.to_string().as_str()), (within, network), "{client}");
        }
    }
}
