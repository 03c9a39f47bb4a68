//! The operator's rules of geography: which regions the clients of a network or a place are sent to.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

use super::network_table::NetworkTable;
use super::{Continent, CountryCode, Location, Subdivision};

/// Whom a rule is for. The earlier kinds are more specific and win; of networks the longest wins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Matcher {
    /// The clients in a network.
    Network(IpNet),
    /// Those of an autonomous system.
    Asn(u32),
    /// Those in a city.
    City(City),
    /// Those in a subdivision.
    Subdivision(Subdivision),
    /// Those in a country.
    Country(CountryCode),
    /// Those on a continent.
    Continent(Continent),
    /// All.
    Default,
}

/// A city as operators write it: `DE/Berlin` or `US-CA/San Francisco`. Equal without regard to case.
#[derive(Debug, Clone)]
pub struct City {
    within: CityWithin,
    /// In English, as in the database.
    name: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum CityWithin {
    Country(CountryCode),
    Subdivision(Subdivision),
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The map that it stands in, for people.
    pub map: Arc<str>,
    /// Regions, as indices, the first to try first; none where clients get no data on purpose.
    pub regions: Vec<usize>,
    /// Whether clients never leave these regions.
    pub fence: bool,
}

/// The rule for a client, and why that one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ruling<'a> {
    /// What it says.
    pub rule: &'a Rule,
    /// By what the client is known.
    pub matcher: &'a Matcher,
}

/// The rules of one `[maps.NAME]` and of those that it inherits from, one for each matcher.
#[derive(Debug, Clone, Default)]
pub struct GeoMap {
    rules: Vec<Rule>,
    /// All but the networks; indices of rules.
    places: HashMap<Matcher, u32>,
    networks: Vec<(Matcher, u32)>,
    numbers: NetworkTable,
}

impl GeoMap {
    /// Makes a map of rules, each with what it matches. Of two rules for an equal matcher the first one counts.
    pub fn new(rules: impl IntoIterator<Item = (Rule, Vec<Matcher>)>) -> Self {
        let mut map = Self::default();
        let mut networks: HashSet<IpNet> = HashSet::new();
        for (rule, matchers) in rules {
            let index = map.rules.len() as u32;
            map.rules.push(rule);
            for matcher in matchers {
                match matcher {
                    Matcher::Network(cidr) if networks.insert(cidr) => {
                        map.networks.push((matcher, index));
                    }
                    Matcher::Network(_) => {}
                    _ => {
                        map.places.entry(matcher).or_insert(index);
                    }
                }
            }
        }
        map.networks.shrink_to_fit();
        map.numbers = NetworkTable::new(map.networks.iter().filter_map(|(matcher, _)| match matcher {
            Matcher::Network(cidr) => Some(*cidr),
            _ => None,
        }));
        map
    }

    /// The numbers of the networks by address.
    pub(super) fn numbers(&self) -> &NetworkTable {
        &self.numbers
    }

    /// Whether a rule is for this autonomous system.
    pub(super) fn names_system(&self, asn: u32) -> bool {
        self.places.contains_key(&Matcher::Asn(asn))
    }

    /// Whether a rule is for any autonomous system.
    pub(super) fn names_systems(&self) -> bool {
        self.places.keys().any(|matcher| matches!(matcher, Matcher::Asn(_)))
    }

    /// The rule for a client with this location.
    pub fn ruling(&self, client: IpAddr, location: &Location) -> Option<Ruling<'_>> {
        self.ruling_in(self.numbers.find(client), location)
    }

    /// The rule for the clients with this location in the network with this number.
    pub(super) fn ruling_in(&self, network: u32, location: &Location) -> Option<Ruling<'_>> {
        if let Some((matcher, rule)) = (network as usize).checked_sub(1).and_then(|index| self.networks.get(index)) {
            return Some(Ruling { rule: self.rules.get(*rule as usize)?, matcher });
        }
        let Location { asn, country, subdivisions, continent, city, .. } = location;
        // The smaller subdivision comes last.
        let subdivisions = || subdivisions.iter().rev().flatten().copied();
        let city = |within| city.as_ref().map(|name| Matcher::City(City { within, name: Arc::clone(name) }));
        let find = |matcher: Matcher| {
            let (matcher, rule) = self.places.get_key_value(&matcher)?;
            Some(Ruling { rule: self.rules.get(*rule as usize)?, matcher })
        };
        asn.and_then(|asn| find(Matcher::Asn(asn)))
            .or_else(|| subdivisions().filter_map(|code| city(CityWithin::Subdivision(code))).find_map(find))
            .or_else(|| country.and_then(|code| city(CityWithin::Country(code))).and_then(find))
            .or_else(|| subdivisions().map(Matcher::Subdivision).find_map(find))
            .or_else(|| country.map(Matcher::Country).and_then(find))
            .or_else(|| continent.map(Matcher::Continent).and_then(find))
            .or_else(|| find(Matcher::Default))
    }
}

impl Rule {
    /// Whether only the regions of the rule may serve.
    pub fn is_closed(&self) -> bool {
        self.fence || self.regions.is_empty()
    }
}

impl City {
    fn folded(&self) -> impl Iterator<Item = char> {
        self.name.chars().flat_map(char::to_lowercase)
    }
}

impl PartialEq for City {
    fn eq(&self, other: &Self) -> bool {
        self.within == other.within && self.folded().eq(other.folded())
    }
}

impl Eq for City {}

impl Hash for City {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.within.hash(state);
        self.folded().for_each(|character| character.hash(state));
    }
}

impl FromStr for City {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "a city is a country or subdivision, a slash and its English name, such as \"US-CA/San Francisco\"";
        let (within, name) = text.split_once('/').ok_or(EXPECTED)?;
        let within = if let Some(country) = CountryCode::new(within) {
            CityWithin::Country(country)
        } else {
            CityWithin::Subdivision(Subdivision::new(within).ok_or(EXPECTED)?)
        };
        if name.is_empty() || name.trim() != name {
            return Err(EXPECTED);
        }
        Ok(Self { within, name: name.into() })
    }
}

impl fmt::Display for City {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.within {
            CityWithin::Country(code) => write!(f, "{code}/{}", self.name),
            CityWithin::Subdivision(code) => write!(f, "{code}/{}", self.name),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(cidr) => write!(f, "network {cidr}"),
            Self::Asn(number) => write!(f, "AS{number}"),
            Self::City(city) => write!(f, "city {city}"),
            Self::Subdivision(code) => write!(f, "subdivision {code}"),
            Self::Country(code) => write!(f, "country {code}"),
            Self::Continent(code) => write!(f, "continent {code}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Such as `map world, country DE`.
impl fmt::Display for Ruling<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "map {}, {}", self.rule.map, self.matcher)
    }
}
