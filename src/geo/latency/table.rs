//! The measurements that count at one time, for the steering maps.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use ipnet::IpNet;

use super::super::address_table::Fold;
use super::super::{CountryCode, Located, Location, Origin};
use super::{LatencyKey, Measurement, Rules};
use crate::config::Network;

/// What an access network and the machines on the way take, in milliseconds.
const ESTIMATE_BASE_MS: f64 = 5.0;
/// The distance that a round trip covers in a millisecond. Light in fibre covers some 200 km in a millisecond, so 100 km
/// there and back; and cables are longer than the great circle, by two thirds here.
const ESTIMATE_KM_PER_MS: f64 = 60.0;

/// The round trip that is to be expected over a distance, in milliseconds.
pub fn estimate_ms(distance_km: f64) -> f64 {
    ESTIMATE_BASE_MS + distance_km / ESTIMATE_KM_PER_MS
}

/// What counts of a file and of what arrived, at one time.
#[derive(Debug, Clone, Default)]
pub struct LatencyTable {
    /// Ascending.
    networks: Vec<Row<IpNet>>,
    systems: Vec<Row<u32>>,
    countries: Vec<Row<CountryCode>>,
    /// Of one row after the other, by region.
    times: Vec<Time>,
    /// When the first of them no longer counts, in seconds since 1970.
    expires: Option<u64>,
}

/// The regions' times for one key.
#[derive(Debug, Clone)]
struct Row<K> {
    key: K,
    /// Among all times.
    times: Range<u32>,
}

/// One region's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time {
    region: u16,
    microseconds: u32,
    measured: u64,
}

/// What is known of the round trip between a client and a region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoundTrip {
    /// How long it takes.
    pub milliseconds: f64,
    /// How that is known.
    pub source: Source,
}

/// How a round trip is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// It was measured.
    Measured {
        /// For these clients.
        of: LatencyKey,
        /// When, in seconds since 1970.
        measured: u64,
    },
    /// From the distance.
    Estimated,
}

impl fmt::Display for RoundTrip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Source::Measured { of, .. } => write!(f, "{} ms measured for {of}", self.milliseconds),
            Source::Estimated => write!(f, "{:.0} ms estimated from the distance", self.milliseconds),
        }
    }
}

impl LatencyTable {
    /// What counts at `now`, in seconds since 1970; of two for the same the newer one, or else the later.
    pub fn new(measurements: impl IntoIterator<Item = Measurement>, rules: Rules, now: u64) -> Self {
        let mut counting: Vec<Measurement> =
            measurements.into_iter().filter(|measurement| rules.counts(measurement, now)).collect();
        // Stable, so that of equal ones the later stays the last.
        counting.sort_by_key(|one| (one.key, one.region, one.measured));
        let mut table = Self::default();
        for (at, one) in counting.iter().enumerate() {
            let is_newest = counting.get(at + 1).is_none_or(|next| (next.key, next.region) != (one.key, one.region));
            if is_newest {
                table.push(one);
                let last_second = rules.last_second(one.measured);
                table.expires = Some(table.expires.map_or(last_second + 1, |expires| expires.min(last_second + 1)));
            }
        }
        table
    }

    fn push(&mut self, one: &Measurement) {
        fn add<K: PartialEq>(rows: &mut Vec<Row<K>>, key: K, at: u32) {
            match rows.last_mut() {
                Some(row) if row.key == key => row.times.end = at + 1,
                _ => rows.push(Row { key, times: at..at + 1 }),
            }
        }
        let at = self.times.len() as u32;
        match one.key {
            LatencyKey::Network(network) => add(&mut self.networks, network, at),
            LatencyKey::Asn(number) => add(&mut self.systems, number, at),
            LatencyKey::Country(code) => add(&mut self.countries, code, at),
        }
        self.times.push(Time { region: one.region, microseconds: one.microseconds, measured: one.measured });
    }

    /// When the first measurement no longer counts, in seconds since 1970; nothing where there is none.
    pub fn expires(&self) -> Option<u64> {
        self.expires
    }

    /// How many networks, autonomous systems and countries have a time.
    pub fn counts(&self) -> [usize; 3] {
        [self.networks.len(), self.systems.len(), self.countries.len()]
    }

    /// Every time: the region's index, and when it was measured, in seconds since 1970.
    pub fn measured(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.times.iter().map(|time| (time.region, time.measured))
    }

    fn times(&self, range: &Range<u32>) -> &[Time] {
        self.times.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    fn has_any(&self, range: &Range<u32>, members: &[u16]) -> bool {
        self.times(range).iter().any(|time| members.contains(&time.region))
    }

    /// The networks that have a time of any of these regions, each with its index.
    pub(in super::super) fn networks_of(&self, members: &[u16]) -> impl Iterator<Item = (IpNet, u32)> {
        let rows = self.networks.iter().zip(0..);
        rows.filter(|(row, _)| self.has_any(&row.times, members)).map(|(row, index)| (row.key, index))
    }

    /// Whether any autonomous system has a time of any of these regions.
    pub(in super::super) fn has_systems(&self, members: &[u16]) -> bool {
        self.systems.iter().any(|row| self.has_any(&row.times, members))
    }

    /// Whether an autonomous system has a time of any of these regions.
    pub(in super::super) fn has_system(&self, number: u32, members: &[u16]) -> bool {
        let row = find(&self.systems, &number);
        row.is_some_and(|row| self.has_any(&row.times, members))
    }

    /// The index of the longest network around an address that has a time of any of these regions; of an IPv4 client inside
    /// IPv6, around its IPv4 address.
    pub(in super::super) fn network_of(&self, address: IpAddr, members: &[u16]) -> Option<u32> {
        let address = match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(outer) => Fold::of(outer.to_bits())
                .map_or(address, |fold| Ipv4Addr::from_bits(fold.client(outer.to_bits()).0).into()),
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (0..=bits).rev().find_map(|length| {
            let network = IpNet::new(address, length).ok()?.trunc();
            let index = self.networks.binary_search_by_key(&network, |row| row.key).ok()?;
            self.has_any(&self.networks.get(index)?.times, members).then_some(index as u32)
        })
    }

    /// What is known of a located client's round trips to some regions.
    pub fn of_located<'a>(&'a self, client: IpAddr, located: &Located<'_>, members: &[u16]) -> ClientTimes<'a> {
        // Where one of the operator's networks is around the IPv6 address of an IPv4 client, nothing else is known of it.
        let is_outer = match located.origin {
            Origin::Network(Network { cidr: IpNet::V6(_), .. }) => Fold::of(as_ipv6(client)).is_some(),
            _ => false,
        };
        let network = if is_outer { None } else { self.network_of(client, members) };
        self.of_client(network, &located.location, members)
    }

    /// What is known of a client's round trips to some regions: the client is in this network, as [`Self::network_of`]
    /// or [`Self::networks_of`] number them, and there.
    pub(in super::super) fn of_client(
        &self,
        network: Option<u32>,
        location: &Location,
        members: &[u16],
    ) -> ClientTimes<'_> {
        let network = network.and_then(|index| self.networks.get(index as usize));
        let system = location.asn.and_then(|number| find(&self.systems, &number));
        let country = location.country.and_then(|code| find(&self.countries, &code));
        let levels = [
            network.map(|row| (LatencyKey::Network(row.key), self.times(&row.times))),
            system.map(|row| (LatencyKey::Asn(row.key), self.times(&row.times))),
            country.map(|row| (LatencyKey::Country(row.key), self.times(&row.times))),
        ];
        let times = ClientTimes { levels };
        let measured = members.iter().filter(|region| times.get(**region).is_some());
        if measured.take(2).count() < 2 { ClientTimes::default() } else { times }
    }
}

fn as_ipv6(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn find<'a, K: Ord>(rows: &'a [Row<K>], key: &K) -> Option<&'a Row<K>> {
    rows.get(rows.binary_search_by(|row| row.key.cmp(key)).ok()?)
}

/// One client's round trips; none at all where fewer than two of the regions have one, as there is nothing to compare
/// with then.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientTimes<'a> {
    /// The most specific first.
    levels: [Option<(LatencyKey, &'a [Time])>; 3],
}

impl ClientTimes<'_> {
    /// What is known of a region that is so far away, its bias included.
    pub(in super::super) fn round_trip(&self, region: usize, biased_km: Option<f64>) -> Option<RoundTrip> {
        let region = u16::try_from(region).ok()?;
        if self.levels.iter().all(Option::is_none) {
            return None;
        }
        self.get(region)
            .or_else(|| biased_km.map(|km| RoundTrip { milliseconds: estimate_ms(km), source: Source::Estimated }))
    }

    /// What was measured to a region, of the most specific.
    fn get(&self, region: u16) -> Option<RoundTrip> {
        self.levels.iter().flatten().find_map(|(of, times)| {
            let time = times.get(times.binary_search_by_key(&region, |time| time.region).ok()?)?;
            let source = Source::Measured { of: *of, measured: time.measured };
            Some(RoundTrip { milliseconds: f64::from(time.microseconds) / 1000.0, source })
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::time::Duration;

    use super::super::measurement::tests::{NOW, measurement};
    use super::{LatencyTable, Location, RoundTrip, Rules, Source, estimate_ms};

    const RULES: Rules = Rules { max_age: Duration::from_secs(1000), min_confidence: 0.5 };

    /// Of regions 0, 1 and 2.
    fn table(lines: &[&str]) -> LatencyTable {
        LatencyTable::new(lines.iter().map(|line| measurement(line).unwrap()), RULES, NOW)
    }

    fn in_germany(asn: Option<u32>) -> Location {
        Location { asn, ..Location::of_country("DE".parse().unwrap()) }
    }

    /// The round trips of a client to these regions, all 600 km away, as far as there are any.
    fn shown(table: &LatencyTable, client: &str, location: &Location, members: &[u16]) -> String {
        let network = table.network_of(client.parse().unwrap(), members);
        let times = table.of_client(network, location, members);
        let shown = members.iter().map(|region| match times.round_trip(usize::from(*region), Some(600.0)) {
            None => "-".to_owned(),
            Some(RoundTrip { milliseconds, source: Source::Measured { of, .. } }) => format!("{milliseconds} by {of}"),
            Some(RoundTrip { milliseconds, source: Source::Estimated }) => format!("{milliseconds} or so"),
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn each_region_has_the_time_of_the_most_specific() {
        let table = table(&[
            "203.0.113.0/24,,,us,1,1700000000",
            "203.0.0.0/16,,,us,2,1700000000",
            "203.0.0.0/16,,,eu,3,1700000000",
            ",64500,,us,4,1700000000",
            ",64500,,eu,5,1700000000",
            ",,DE,us,6,1700000000",
            ",,DE,eu,7,1700000000",
            ",,DE,sg,8,1700000000",
        ]);
        let (plain, system) = (in_germany(None), in_germany(Some(64_500)));
        for (client, location, members, expected) in [
            // The longest network alone counts among the networks.
            ("203.0.113.9", &system, &[0, 1, 2][..], "1 by 203.0.113.0/24, 5 by AS64500, 8 by country DE"),
            ("203.0.112.9", &system, &[0, 1, 2], "2 by 203.0.0.0/16, 3 by 203.0.0.0/16, 8 by country DE"),
            ("198.51.100.1", &system, &[0, 1, 2], "4 by AS64500, 5 by AS64500, 8 by country DE"),
            ("198.51.100.1", &plain, &[0, 1, 2], "6 by country DE, 7 by country DE, 8 by country DE"),
            // It says nothing of these regions, so the shorter one does.
            ("203.0.113.9", &plain, &[1, 2], "3 by 203.0.0.0/16, 8 by country DE"),
            ("203.0.113.9", &Location::default(), &[0, 1], "-, -"),
            ("203.0.112.9", &Location::default(), &[0, 1, 2], "2 by 203.0.0.0/16, 3 by 203.0.0.0/16, 15 or so"),
            ("203.0.112.9", &Location::default(), &[0, 2], "-, -"),
            ("2001:db8::", &plain, &[2, 0], "8 by country DE, 6 by country DE"),
        ] {
            assert_eq!(shown(&table, client, location, members), expected, "{client} {members:?}");
        }
    }

    #[test]
    fn what_is_old_or_uncertain_is_not_there() {
        let lines = [
            ",,DE,us,6,1699999000,0.5",
            ",,DE,eu,7,1699999500",
            "203.0.113.0/24,,,us,1,1699998999",
            "203.0.113.0/24,,,eu,1,1700000000,0.4",
        ];
        let table = table(&lines);
        let expected = "6 by country DE, 7 by country DE";
        assert_eq!(shown(&table, "203.0.113.9", &in_germany(None), &[0, 1]), expected);
        assert_eq!((table.counts(), table.expires()), ([0, 0, 1], Some(NOW + 1)));
        let later = LatencyTable::new(lines.iter().map(|line| measurement(line).unwrap()), RULES, NOW + 1);
        assert_eq!(shown(&later, "203.0.113.9", &in_germany(None), &[0, 1]), "-, -", "one alone says nothing");
        assert_eq!(later.expires(), Some(NOW + 501));
        assert_eq!(LatencyTable::default().expires(), None);
    }

    #[test]
    fn of_two_for_the_same_the_newer_that_counts_wins() {
        let table = table(&[
            ",,DE,us,1,1700000000,0.1",
            ",,DE,us,2,1699999999",
            ",,DE,us,3,1699999998",
            ",,DE,eu,4,1699999998",
            ",,DE,eu,5,1699999998",
        ]);
        let expected = "2 by country DE, 5 by country DE";
        assert_eq!(shown(&table, "192.0.2.1", &in_germany(None), &[0, 1]), expected);
    }

    #[test]
    fn estimates_grow_with_the_distance() {
        assert_eq!((estimate_ms(0.0), estimate_ms(6_000.0)), (5.0, 105.0));
        let table = table(&[",,DE,us,1,1700000000", ",,DE,eu,2,1700000000"]);
        let times = table.of_client(None, &in_germany(None), &[0, 1, 2]);
        assert_eq!(times.round_trip(2, None), None, "the distance is unknown");
    }
}
