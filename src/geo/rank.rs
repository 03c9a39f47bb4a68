//! The order of regions for one client.

use std::cmp::Reverse;
use std::fmt;

use super::coordinates::UnitVector;
use super::latency::{ClientTimes, RoundTrip};
use super::{Continent, CountryCode, Location, Rule, Ruling, Subdivision};
use crate::config::Region;

/// By what regions are ordered that have the same claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// By distance with bias, then as they are given.
    Proximity,
    /// By round trip, measured or estimated; by proximity where that is the same, or too little is known.
    Latency,
    /// In the order of the client's rule; those that it doesn't list follow by proximity.
    Listed,
    /// As they are given, which the operator says; only a rule claims ahead of that.
    Fixed,
    /// Not at all, as one of those with a claim is drawn; only a rule claims.
    Drawn,
}

/// Why a region claims a client; the later ones are more specific and win.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Claim<'a> {
    /// By its continent.
    Continent(Continent),
    /// By its country.
    Country(CountryCode),
    /// By its subdivision.
    Subdivision(Subdivision),
    /// By its autonomous system.
    Asn(u32),
    /// The operator's networks say that the client is in this region.
    Network,
    /// The service's map lists it for the client.
    Rule(Ruling<'a>),
}

impl Claim<'_> {
    /// How specific it is.
    fn level(self) -> u8 {
        match self {
            Self::Continent(_) => 1,
            Self::Country(_) => 2,
            Self::Subdivision(_) => 3,
            Self::Asn(_) => 4,
            Self::Network => 5,
            Self::Rule(_) => 6,
        }
    }
}

impl fmt::Display for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(ruling) => ruling.fmt(f),
            Self::Network => f.write_str("[[geoip.networks]]"),
            Self::Asn(number) => write!(f, "AS{number}"),
            Self::Subdivision(code) => write!(f, "subdivision {code}"),
            Self::Country(code) => write!(f, "country {code}"),
            Self::Continent(code) => write!(f, "continent {code}"),
        }
    }
}

/// One region in a client's order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked<'a> {
    /// Index into the regions.
    pub region: usize,
    /// What claims the client for it.
    pub claim: Option<Claim<'a>>,
    /// How far away it is; nothing where the client's coordinates are unknown.
    pub distance_km: Option<f64>,
    /// The distance that counts, with the region's bias; nothing where no distance does.
    pub biased_km: Option<f64>,
    /// The round trip, where that counts and is known.
    pub round_trip: Option<RoundTrip>,
}

/// What is known of a client.
#[derive(Debug, Clone, Copy)]
pub struct Standpoint<'a> {
    /// Its location.
    pub location: &'a Location,
    /// The region in which the operator's networks put it, as an index.
    pub within: Option<usize>,
    /// The rule for it, where the service has a map.
    pub ruling: Option<Ruling<'a>>,
    /// Its round trips, as far as they are known.
    pub times: ClientTimes<'a>,
}

/// Orders some of the regions for one client after the other.
#[derive(Debug)]
pub(super) struct Ranker<'a> {
    measure: Measure,
    members: Vec<Member<'a>>,
}

#[derive(Debug)]
struct Member<'a> {
    index: usize,
    region: &'a Region,
    direction: UnitVector,
    /// What its bias makes of a kilometre.
    factor: f64,
}

impl<'a> Ranked<'a> {
    /// How a region, an index into `regions`, stands to a client.
    pub fn of(regions: &[Region], region: usize, measure: Measure, client: &Standpoint<'a>) -> Option<Self> {
        let direction = client.location.coordinates.map(UnitVector::from);
        Some(Member::new(regions, region)?.rank(measure, client, direction))
    }
}

impl<'a> Member<'a> {
    fn new(regions: &'a [Region], index: usize) -> Option<Self> {
        let region = regions.get(index)?;
        let bias = f64::from(region.bias) / 100.0;
        let factor = if bias < 0.0 { 1.0 / (1.0 + bias) } else { 1.0 - bias };
        Some(Self { index, region, direction: region.location.into(), factor })
    }

    /// `direction` is where the client is.
    fn rank<'c>(&self, measure: Measure, client: &Standpoint<'c>, direction: Option<UnitVector>) -> Ranked<'c> {
        let ruling = client.ruling.filter(|ruling| ruling.rule.regions.contains(&self.index));
        let distance_km = direction.map(|direction| direction.distance_km(self.direction));
        let ranked = Ranked {
            region: self.index,
            claim: ruling.map(Claim::Rule),
            distance_km,
            biased_km: None,
            round_trip: None,
        };
        let biased_km = distance_km.map(|distance_km| distance_km * self.factor);
        match measure {
            Measure::Fixed | Measure::Drawn => ranked,
            Measure::Proximity | Measure::Latency | Measure::Listed => Ranked {
                claim: ranked
                    .claim
                    .or_else(|| (client.within == Some(self.index)).then_some(Claim::Network))
                    .or_else(|| claim(self.region, client.location)),
                biased_km,
                round_trip: client.times.round_trip(self.index, biased_km),
                ..ranked
            },
        }
    }
}

impl<'a> Ranker<'a> {
    /// For these regions, as indices into `regions`, in the order that decides where nothing else does.
    pub(super) fn new(regions: &'a [Region], members: &[usize], measure: Measure) -> Self {
        Self { measure, members: members.iter().filter_map(|index| Member::new(regions, *index)).collect() }
    }

    /// The regions that may serve a client, the first to try first: claims first, the more specific before the less; then
    /// by the measure; then as they are given. A rule with a fence leaves out the regions that it doesn't list.
    pub(super) fn rank<'c>(&self, client: &Standpoint<'c>) -> Vec<Ranked<'c>> {
        let direction = client.location.coordinates.map(UnitVector::from);
        let rule = client.ruling.map(|ruling| ruling.rule);
        let is_closed = rule.is_some_and(Rule::is_closed);
        let members = self.members.iter().map(|member| member.rank(self.measure, client, direction));
        let mut order: Vec<Ranked<'c>> =
            members.filter(|ranked| !is_closed || matches!(ranked.claim, Some(Claim::Rule(_)))).collect();
        // Stable, so what is equal stays as it is given.
        order.sort_by(|a, b| {
            let level = |ranked: &Ranked<'_>| Reverse(ranked.claim.map_or(0, Claim::level));
            let place = |ranked: &Ranked<'_>| match self.measure {
                Measure::Listed => rule?.regions.iter().position(|region| *region == ranked.region),
                _ => None,
            };
            let distance = |ranked: &Ranked<'_>| ranked.biased_km.unwrap_or(0.0);
            // What can't even be estimated is last.
            let time = |ranked: &Ranked<'_>| ranked.round_trip.map_or(f64::INFINITY, |known| known.milliseconds);
            level(a)
                .cmp(&level(b))
                .then_with(|| place(a).cmp(&place(b)))
                .then(time(a).total_cmp(&time(b)))
                .then(distance(a).total_cmp(&distance(b)))
        });
        order
    }
}

/// The most specific claim of a region on a client.
fn claim<'c>(region: &Region, location: &Location) -> Option<Claim<'c>> {
    let asn = location.asn.filter(|asn| region.asns.contains(asn)).map(Claim::Asn);
    let subdivision = || location.subdivisions.into_iter().flatten().find(|code| region.subdivisions.contains(code));
    let country = || location.country.filter(|code| region.countries.contains(code)).map(Claim::Country);
    let continent = || location.continent.filter(|code| region.continents.contains(code)).map(Claim::Continent);
    asn.or_else(|| subdivision().map(Claim::Subdivision)).or_else(country).or_else(continent)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
pub(super) mod tests {
    use super::super::{Coordinates, Matcher};
    use super::{Claim, ClientTimes, Location, Measure, Ranked, Ranker, Rule, Ruling, Standpoint};
    use crate::config::Region;

    /// A region without claims.
    pub(crate) fn region(name: &str, latitude: f64, longitude: f64) -> Region {
        Region {
            name: name.to_owned(),
            location: Coordinates { latitude, longitude },
            countries: Vec::new(),
            continents: Vec::new(),
            subdivisions: Vec::new(),
            asns: Vec::new(),
            bias: 0,
            capacity: None,
        }
    }

    /// Ashburn, Frankfurt, Singapore, Sydney.
    fn regions() -> Vec<Region> {
        vec![
            region("us", 39.04, -77.49),
            region("eu", 50.11, 8.68),
            region("sg", 1.35, 103.82),
            region("au", -33.87, 151.21),
        ]
    }

    fn order(regions: &[Region], location: &Location, within: Option<usize>) -> String {
        let members: Vec<usize> = (0..regions.len()).collect();
        let client = Standpoint { location, within, ruling: None, times: ClientTimes::default() };
        let names = Ranker::new(regions, &members, Measure::Proximity).rank(&client);
        names.iter().map(|ranked| regions[ranked.region].name.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn at(latitude: f64, longitude: f64) -> Location {
        Location::at(Coordinates { latitude, longitude })
    }

    #[test]
    fn by_distance_with_bias() {
        let regions = regions();
        assert_eq!(order(&regions, &at(52.5, 13.4), None), "eu us sg au");
        assert_eq!(order(&regions, &at(35.7, 139.7), None), "sg au eu us");
        assert_eq!(order(&regions, &Location::default(), None), "us eu sg au");
        // Reykjavik: Frankfurt at 2,400 km, Ashburn at 4,560 km.
        let reykjavik = at(64.1, -21.9);
        for (us_bias, eu_bias, expected) in [
            (0, 0, "eu us sg au"),
            (45, 0, "eu us sg au"),
            (50, 0, "us eu sg au"),
            (0, -45, "eu us sg au"),
            (0, -50, "us eu sg au"),
            (99, 99, "eu us sg au"),
            (0, -99, "us sg au eu"),
        ] {
            let mut regions = regions.clone();
            (regions[0].bias, regions[1].bias) = (us_bias, eu_bias);
            assert_eq!(order(&regions, &reykjavik, None), expected, "{us_bias} {eu_bias}");
        }
    }

    #[test]
    fn the_more_specific_claim_wins() {
        let mut regions = regions();
        regions[0].asns = vec![64_500];
        regions[1].subdivisions = vec!["AU-NSW".parse().unwrap()];
        regions[2].countries = vec!["AU".parse().unwrap(), "NZ".parse().unwrap()];
        regions[3].continents = vec!["EU".parse().unwrap(), "OC".parse().unwrap()];
        let mut client = Location { country: "AU".parse().ok(), ..Location::default() }.completed();
        assert_eq!(order(&regions, &client, None), "sg au us eu");
        client.subdivisions[1] = "AU-NSW".parse().ok();
        assert_eq!(order(&regions, &client, None), "eu sg au us");
        client.asn = Some(64_500);
        assert_eq!(order(&regions, &client, None), "us eu sg au");
        assert_eq!(order(&regions, &client, Some(3)), "au us eu sg");
        // A claim counts without coordinates.
        let unplaced = Location { continent: "EU".parse().ok(), ..Location::default() };
        assert_eq!(order(&regions, &unplaced, None), "au us eu sg");
    }

    /// As Route 53 has it: `1 - bias / 100` times the distance above 0, the distance by `1 + bias / 100` below.
    #[test]
    fn bias_is_exact() {
        let berlin = at(52.5, 13.4);
        let client = Standpoint { location: &berlin, within: None, ruling: None, times: ClientTimes::default() };
        for (bias, factor) in [
            (0, 1.0),
            (1, 0.99),
            (25, 0.75),
            (50, 0.5),
            (99, 0.01),
            (-1, 1.0 / 0.99),
            (-20, 1.25),
            (-50, 2.0),
            (-99, 100.0),
        ] {
            let regions = [Region { bias, ..region("eu", 50.11, 8.68) }];
            let ranked = Ranked::of(&regions, 0, Measure::Proximity, &client).unwrap();
            let counted = ranked.biased_km.unwrap() / ranked.distance_km.unwrap();
            assert!((counted / factor - 1.0).abs() < 1e-12, "{bias}: {counted}");
        }
    }

    #[test]
    fn a_rule_goes_first_and_a_fence_ends_the_order() {
        let mut regions = regions();
        regions[2].countries = vec!["DE".parse().unwrap()];
        let germany = Location::of_country("DE".parse().unwrap());
        let order = |measure: Measure, members: &[usize], listed: &[usize], fence: bool| {
            let rule = Rule { map: "m".into(), regions: listed.to_vec(), fence };
            let ruling = Some(Ruling { rule: &rule, matcher: &Matcher::Default });
            let ranked = Ranker::new(&regions, members, measure).rank(&Standpoint {
                location: &germany,
                within: Some(3),
                ruling,
                times: ClientTimes::default(),
            });
            ranked.iter().map(|ranked| ranked.region).collect::<Vec<_>>()
        };
        for (measure, members, listed, fence, expected) in [
            // Nearer first; then the region of the operator's network, then the one that claims the country.
            (Measure::Proximity, [0, 1, 2, 3], &[0, 1][..], false, &[1, 0, 3, 2][..]),
            (Measure::Proximity, [0, 1, 2, 3], &[0, 1], true, &[1, 0]),
            (Measure::Listed, [0, 1, 2, 3], &[0, 1], false, &[0, 1, 3, 2]),
            (Measure::Listed, [0, 1, 2, 3], &[2, 9, 0], true, &[2, 0]),
            (Measure::Fixed, [3, 1, 0, 2], &[2, 0], false, &[0, 2, 3, 1]),
            (Measure::Fixed, [3, 1, 0, 2], &[2, 0], true, &[0, 2]),
            (Measure::Drawn, [0, 1, 2, 3], &[2, 1], false, &[1, 2, 0, 3]),
            (Measure::Listed, [0, 1, 2, 3], &[], false, &[]),
            (Measure::Proximity, [0, 1, 2, 3], &[9], true, &[]),
            (Measure::Listed, [0, 1, 2, 3], &[9], false, &[3, 2, 1, 0]),
        ] {
            assert_eq!(order(measure, &members, listed, fence), expected, "{measure:?} {listed:?} {fence}");
        }
    }

    #[test]
    fn says_why() {
        let mut regions = regions();
        regions[2].countries = vec!["DE".parse().unwrap()];
        regions[1].bias = 50;
        let germany = Location::of_country("DE".parse().unwrap());
        let client = Standpoint { location: &germany, within: None, ruling: None, times: ClientTimes::default() };
        let order = Ranker::new(&regions, &[1, 2], Measure::Proximity).rank(&client);
        assert_eq!((order[0].region, order[0].claim), (2, Some(Claim::Country("DE".parse().unwrap()))));
        assert_eq!((order[1].region, order[1].claim), (1, None));
        let (distance_km, biased_km) = (order[1].distance_km.unwrap(), order[1].biased_km.unwrap());
        assert!((distance_km - 424.0).abs() < 10.0, "{distance_km}");
        assert!((biased_km - distance_km / 2.0).abs() < 1e-6);
    }
}
