//! A MaxMind database, read whole, walked once and let go.
//!
//! What is kept is the list of distinct locations and a table from addresses to their indices. The file is never mapped:
//! whoever truncated it would end the process with a SIGBUS.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use maxminddb::{MaxMindDbError, Reader};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::address_table::{AddressTable, AddressTableBuilder};
use super::intern::Interner;
use super::tree::{Leaf, SearchTree};
use super::{Continent, Coordinates, CountryCode, Location, Subdivision};
use crate::regular_file;

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 2 << 30;
/// The most networks in one database.
pub const MAX_NETWORKS: usize = 16_000_000;
/// The most distinct locations in one database.
pub const MAX_LOCATIONS: usize = 4_000_000;

/// The countries' networks, made by geoip/build.sh.
static BUILTIN: &[u8] = include_bytes!("../../geoip/country.mmdb");

/// Where clients are: a database of locations, and perhaps one of autonomous systems.
#[derive(Debug, Clone)]
pub struct Database {
    locations: Layer,
    systems: Option<Layer>,
}

/// One file, walked.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// Indices into `locations`.
    pub(super) table: AddressTable,
    /// Distinct; the first is the unknown one.
    pub(super) locations: Vec<Location>,
    networks: usize,
    build_epoch: u64,
    database_type: String,
}

impl Database {
    /// Reads a database of locations (GeoIP2 or GeoLite2 City, Country or Enterprise, or any of that shape; without one
    /// the built-in database of countries), and one of autonomous systems (GeoLite2 ASN, GeoIP2 ISP), whose numbers then
    /// count in place of the first one's.
    ///
    /// # Errors
    /// When a file can't be read, is larger than [`MAX_FILE_BYTES`], is broken anywhere that a client's location may
    /// come from, exceeds [`MAX_NETWORKS`] or [`MAX_LOCATIONS`], or holds nothing of what it is given for.
    pub fn load(path: Option<&Path>, asn_path: Option<&Path>) -> Result<Self, LoadError> {
        let locations = match path {
            Some(path) => read(path).and_then(|bytes| Self::from_bytes(&bytes)),
            None => Self::from_bytes(BUILTIN),
        };
        let locations = locations.map_err(|error| LoadError { path: path.map(Path::to_owned), error })?;
        let Some(asn_path) = asn_path else { return Ok(locations) };
        let both = read(asn_path).and_then(|bytes| locations.with_systems(&bytes));
        both.map_err(|error| LoadError { path: Some(asn_path.to_owned()), error })
    }

    /// Walks a database of locations that is in memory.
    ///
    /// # Errors
    /// As [`Database::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Ok(Self { locations: Layer::of_locations(bytes)?, systems: None })
    }

    /// Lays a database of autonomous systems over this one.
    ///
    /// # Errors
    /// As [`Database::load`].
    pub fn with_systems(self, bytes: &[u8]) -> Result<Self, Error> {
        Ok(Self { systems: Some(Layer::of_systems(bytes)?), ..self })
    }

    /// What is known of an address, and the length of the shortest prefix around it for which just that is known.
    pub fn lookup(&self, address: IpAddr) -> (Location, u8) {
        let (mut location, mut length) = self.locations.lookup(address);
        if let Some(systems) = &self.systems {
            let (system, system_length) = systems.lookup(address);
            (location.asn, location.organisation) = (system.asn, system.organisation);
            length = length.max(system_length);
        }
        (location, length)
    }

    /// When the database of locations was built, in seconds since 1970.
    pub fn build_epoch(&self) -> u64 {
        self.locations.build_epoch
    }

    /// What the database of locations calls itself, such as `GeoLite2-City`.
    pub fn database_type(&self) -> &str {
        &self.locations.database_type
    }

    /// How many networks the database of locations has.
    pub fn networks(&self) -> usize {
        self.locations.networks
    }

    /// The database of locations.
    pub(super) fn locations(&self) -> &Layer {
        &self.locations
    }

    /// The database of autonomous systems.
    pub(super) fn systems(&self) -> Option<&Layer> {
        self.systems.as_ref()
    }
}

/// Reads a whole file of at most [`MAX_FILE_BYTES`].
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    regular_file::read(path, MAX_FILE_BYTES).map_err(Error::Unreadable)?.ok_or(Error::TooLarge("2 GiB"))
}

impl Layer {
    fn of_locations(bytes: &[u8]) -> Result<Self, Error> {
        let layer = Self::walk(bytes, |record| record.location())?;
        let placed = |location: &Location| location.continent.is_some() || location.coordinates.is_some();
        if layer.locations.iter().any(placed) {
            Ok(layer)
        } else {
            Err(Error::NoLocations { database_type: layer.database_type })
        }
    }

    fn of_systems(bytes: &[u8]) -> Result<Self, Error> {
        let layer = Self::walk(bytes, |record| record.system())?;
        if layer.locations.iter().any(|location| location.asn.is_some()) {
            Ok(layer)
        } else {
            Err(Error::NoSystems { database_type: layer.database_type })
        }
    }

    fn lookup(&self, address: IpAddr) -> (Location, u8) {
        let (index, length) = self.table.lookup(address);
        (self.locations.get(index as usize).cloned().unwrap_or_default(), length)
    }

    /// Every record of the tree is decoded, each once, so that a broken one shows now and not at a query.
    fn walk(bytes: &[u8], location_of: impl Fn(Record<'_>) -> Location) -> Result<Self, Error> {
        let reader = Reader::from_source(bytes)?;
        let metadata = reader.metadata();
        let tree_bytes = u64::from(metadata.node_count) * u64::from(metadata.record_size / 4);
        let tree = SearchTree {
            nodes: usize::try_from(tree_bytes).ok().and_then(|length| bytes.get(..length)).unwrap_or_default(),
            node_count: metadata.node_count,
            record_bits: metadata.record_size,
            ipv6: metadata.ip_version == 6,
        };
        let mut locations = vec![Location::default()];
        let mut interner = Interner::default();
        interner.intern(&Location::default(), |_| true, || 0);
        let mut known: HashMap<u32, u32> = HashMap::new();
        let mut last = (None, 0);
        let mut index_of = |record: Option<u32>, address: IpAddr| -> Result<u32, Error> {
            let Some(offset) = record else { return Ok(0) };
            // Neighbours often share a record.
            if last.0 == record {
                return Ok(last.1);
            }
            let index = if let Some(&index) = known.get(&offset) {
                index
            } else {
                let record = reader.lookup(address)?.decode::<Record<'_>>()?.unwrap_or_default();
                let location = location_of(record);
                let count = locations.len() as u32;
                let index = interner.intern(&location, |index| locations[index as usize] == location, || count);
                if index == count {
                    if locations.len() >= MAX_LOCATIONS {
                        return Err(Error::TooLarge("4 million locations"));
                    }
                    locations.push(location);
                }
                known.insert(offset, index);
                index
            };
            last = (record, index);
            Ok(index)
        };

        let mut table = AddressTableBuilder::default();
        let mut networks = 0;
        for leaf in tree.leaves() {
            let record = match leaf.map_err(|reason| Error::Broken(reason.to_owned()))? {
                Leaf::Ipv4(start, record) => {
                    table.ipv4.push(start, index_of(record, IpAddr::V4(start.into()))?);
                    record
                }
                Leaf::Ipv6(start, record) => {
                    let index = index_of(record, IpAddr::V6(start.into()))?;
                    table.ipv6.push(start, index);
                    // A leaf of :: holds ::/96, where the IPv4 addresses are.
                    if start == 0 {
                        table.ipv4.push(0, index);
                    }
                    record
                }
            };
            networks += usize::from(record.is_some());
            if networks > MAX_NETWORKS {
                return Err(Error::TooLarge("16 million networks"));
            }
        }
        locations.shrink_to_fit();
        Ok(Self {
            table: table.finish_with_folds(),
            locations,
            networks,
            build_epoch: metadata.build_epoch,
            database_type: metadata.database_type.clone(),
        })
    }
}

/// What is read of a record: the shape of GeoIP2, and its fields at the top level as some databases have them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Record<'a> {
    #[serde(borrow)]
    continent: Named<'a>,
    country: Named<'a>,
    /// Where the network is registered, for want of the country where it is used.
    registered_country: Named<'a>,
    subdivisions: Vec<Named<'a>>,
    city: Named<'a>,
    location: Point,
    traits: System<'a>,
    continent_code: Option<&'a str>,
    country_code: Option<&'a str>,
    latitude: Option<Degrees>,
    longitude: Option<Degrees>,
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<&'a str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Point {
    latitude: Option<Degrees>,
    longitude: Option<Degrees>,
}

/// A number of either width.
#[derive(Debug, Clone, Copy)]
struct Degrees(f64);

impl<'de> Deserialize<'de> for Degrees {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DegreesVisitor;

        impl Visitor<'_> for DegreesVisitor {
            type Value = Degrees;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of degrees")
            }

            fn visit_f64<E>(self, degrees: f64) -> Result<Self::Value, E> {
                Ok(Degrees(degrees))
            }

            fn visit_f32<E>(self, degrees: f32) -> Result<Self::Value, E> {
                Ok(Degrees(degrees.into()))
            }
        }

        deserializer.deserialize_any(DegreesVisitor)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct System<'a> {
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<&'a str>,
}

/// A map with a code and names, or just a text that is either.
#[derive(Debug, Default)]
struct Named<'a> {
    code: Option<&'a str>,
    name: Option<&'a str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names<'a> {
    en: Option<&'a str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Named<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamedVisitor;

        impl<'de> Visitor<'de> for NamedVisitor {
            type Value = Named<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a map with a code or names")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Named { code: Some(text), name: Some(text) })
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut named = Named::default();
                while let Some(key) = map.next_key::<&str>()? {
                    match key {
                        "code" | "iso_code" => named.code = Some(map.next_value()?),
                        "names" => named.name = map.next_value::<Names<'de>>()?.en,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(named)
            }
        }

        deserializer.deserialize_any(NamedVisitor)
    }
}

impl Record<'_> {
    fn location(&self) -> Location {
        let code = [self.country.code, self.country_code, self.registered_country.code].into_iter().flatten();
        let country = code.filter_map(CountryCode::new).next();
        let mut subdivisions =
            self.subdivisions.iter().filter_map(|named| Subdivision::within(country?, named.code?)).fuse();
        let latitude = self.location.latitude.or(self.latitude);
        let longitude = self.location.longitude.or(self.longitude);
        let system = self.system();
        Location {
            continent: self.continent.code.or(self.continent_code).and_then(Continent::new),
            country,
            subdivisions: [subdivisions.next(), subdivisions.next()],
            city: self.city.name.map(Into::into),
            coordinates: latitude
                .zip(longitude)
                .and_then(|(latitude, longitude)| Coordinates::new(latitude.0, longitude.0)),
            ..system
        }
        .completed()
    }

    fn system(&self) -> Location {
        Location {
            asn: self.autonomous_system_number.or(self.traits.autonomous_system_number),
            organisation: self
                .autonomous_system_organization
                .or(self.traits.autonomous_system_organization)
                .map(Into::into),
            ..Location::default()
        }
    }
}

/// Why a database can't be used.
#[derive(Debug)]
pub enum Error {
    /// The file can't be read.
    Unreadable(io::Error),
    /// It exceeds a bound, which is named.
    TooLarge(&'static str),
    /// It is no MaxMind database, or a broken one.
    Broken(String),
    /// No record of it says where a client is.
    NoLocations {
        /// What it calls itself.
        database_type: String,
    },
    /// No record of it names an autonomous system.
    NoSystems {
        /// What it calls itself.
        database_type: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "can't be read: {error}"),
            Self::TooLarge(bound) => write!(f, "exceeds {bound}, more than this server takes: use a smaller database"),
            Self::Broken(reason) => write!(
                f,
                "is not a usable MaxMind database ({reason}): download it again, or build it with `meridian geoip build`"
            ),
            Self::NoLocations { database_type } => write!(
                f,
                "is of type {database_type:?} and says of no network where it is: give a database of cities or countries, \
                 and one of autonomous systems as `asn_database`"
            ),
            Self::NoSystems { database_type } => write!(
                f,
                "is of type {database_type:?} and names no autonomous system: give one such as GeoLite2-ASN.mmdb"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}

impl From<MaxMindDbError> for Error {
    fn from(error: MaxMindDbError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// An [`Error`] and the file that it is about.
#[derive(Debug)]
pub struct LoadError {
    /// The file; none for the built-in database.
    pub path: Option<PathBuf>,
    /// What is wrong with it.
    pub error: Error,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}: {}", path.display(), self.error),
            None => write!(f, "the built-in database: {}", self.error),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use mmdb_writer::{IpVersion, Value, Writer};

    use super::super::build::build;
    use super::{Database, Error, Location};

    /// A database of these networks and records.
    fn database(version: IpVersion, networks: &[(&str, Value)]) -> Vec<u8> {
        let mut writer = Writer::builder("Test-City").ip_version(version).description(&[("en", "test")]).build();
        for (network, record) in networks {
            writer.insert_value(network.parse::<ipnet::IpNet>().unwrap(), record.clone()).unwrap();
        }
        writer.to_bytes().unwrap()
    }

    fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
        Value::map(entries)
    }

    fn country(code: &str) -> Value {
        Value::map([("country", Value::map([("iso_code", code)]))])
    }

    fn lookup(database: &Database, address: &str) -> (Location, u8) {
        database.lookup(address.parse().unwrap())
    }

    /// A location as `continent country subdivisions city latitude longitude asn organisation`, `-` for what is unknown.
    fn summary(location: &Location) -> String {
        fn show<T: ToString>(value: Option<T>) -> String {
            value.map_or_else(|| "-".to_owned(), |value| value.to_string())
        }
        let subdivisions: Vec<String> = location.subdivisions.iter().flatten().map(ToString::to_string).collect();
        [
            show(location.continent),
            show(location.country),
            show((!subdivisions.is_empty()).then(|| subdivisions.join("+"))),
            show(location.city.as_deref()),
            show(location.coordinates.map(|point| format!("{:.1} {:.1}", point.latitude, point.longitude))),
            show(location.asn),
            show(location.organisation.as_deref()),
        ]
        .join(" ")
    }

    #[test]
    fn records_of_every_shape() {
        let code = |key: &str, code: &str| Value::map([(key, code)]);
        let point = |latitude: f64, longitude: f64| Value::map([("latitude", latitude), ("longitude", longitude)]);
        for (record, expected) in [
            (
                map([
                    ("continent", code("code", "NA")),
                    ("country", code("iso_code", "US")),
                    ("subdivisions", Value::array([code("iso_code", "CA"), code("iso_code", "037")])),
                    ("city", map([("names", map([("de", "x".into()), ("en", "Los Angeles".into())]))])),
                    ("location", point(34.05, -118.24)),
                    ("traits", map([("autonomous_system_number", Value::U32(64_500)), ("is_anycast", true.into())])),
                ]),
                "NA US US-CA+US-037 Los Angeles 34.0 -118.2 64500 -",
            ),
            (country("de"), "EU DE - - 52.5 13.4 - -"),
            (map([("registered_country", code("iso_code", "DE"))]), "EU DE - - 52.5 13.4 - -"),
            (
                map([("registered_country", code("iso_code", "US")), ("country", code("iso_code", "DE"))]),
                "EU DE - - 52.5 13.4 - -",
            ),
            // Coordinates that are none.
            (map([("country", code("iso_code", "DE")), ("location", point(0.0, 0.0))]), "EU DE - - 52.5 13.4 - -"),
            (map([("continent", code("code", "AS")), ("location", point(0.0, 0.0))]), "AS - - - - - -"),
            (map([("continent", code("code", "AS")), ("location", point(f64::NAN, 1.0))]), "AS - - - - - -"),
            (map([("continent", code("code", "AS")), ("location", point(1.0, 181.0))]), "AS - - - - - -"),
            (
                map([("location", map([("latitude", Value::Float(1.5)), ("longitude", Value::Float(2.5))]))]),
                "- - - - 1.5 2.5 - -",
            ),
            // Codes that are none.
            (map([("continent", code("code", "XX")), ("country", code("iso_code", "?1"))]), "- - - - - - -"),
            (map([("subdivisions", Value::array([code("iso_code", "CA")]))]), "- - - - - - -"),
            // Flat shapes.
            (
                map([
                    ("country_code", "FR".into()),
                    ("continent_code", "EU".into()),
                    ("latitude", 48.9.into()),
                    ("longitude", 2.4.into()),
                    ("autonomous_system_number", Value::U32(64_501)),
                    ("autonomous_system_organization", "Example".into()),
                ]),
                "EU FR - - 48.9 2.4 64501 Example",
            ),
            (map([("country", "FR".into()), ("city", "Paris".into())]), "EU FR - Paris 48.9 2.3 - -"),
        ] {
            let bytes = database(IpVersion::V6, &[("192.0.2.0/24", record), ("198.51.100.0/24", country("DE"))]);
            let database = Database::from_bytes(&bytes).unwrap();
            assert_eq!(summary(&lookup(&database, "192.0.2.7").0), expected);
            assert!(lookup(&database, "203.0.113.1").0.is_unknown());
        }
    }

    #[test]
    fn networks_of_both_families() {
        let networks =
            [("192.0.2.0/24", country("DE")), ("192.0.2.128/25", country("FR")), ("2001:db8::/32", country("JP"))];
        let ipv6 = Database::from_bytes(&database(IpVersion::V6, &networks)).unwrap();
        let ipv4 = Database::from_bytes(&database(IpVersion::V4, &networks[..2])).unwrap();
        for (address, country, length, in_ipv4) in [
            ("192.0.2.1", "DE", 25, true),
            ("192.0.2.200", "FR", 25, true),
            ("192.0.3.0", "-", 24, true),
            ("::ffff:192.0.2.1", "DE", 96 + 25, true),
            ("2002:c000:2ff::", "FR", 16 + 25, true),
            ("2001:db8::1", "JP", 32, false),
            ("2001:db9::", "-", 32, false),
        ] {
            for database in if in_ipv4 { vec![&ipv6, &ipv4] } else { vec![&ipv6] } {
                let (location, found_length) = lookup(database, address);
                let found = location.country.map_or_else(|| "-".to_owned(), |code| code.to_string());
                assert_eq!((found.as_str(), found_length), (country, length), "{address}");
            }
        }
        assert_eq!((ipv6.networks(), ipv6.database_type()), (3, "Test-City"));
    }

    #[test]
    fn a_network_above_all_of_ipv4_holds_it() {
        let database = Database::from_bytes(&database(IpVersion::V6, &[("::/8", country("DE"))])).unwrap();
        assert_eq!(summary(&lookup(&database, "192.0.2.1").0), "EU DE - - 52.5 13.4 - -");
        assert_eq!(lookup(&database, "192.0.2.1").1, 0);
        assert!(lookup(&database, "4000::").0.is_unknown());
    }

    #[test]
    fn autonomous_systems_lie_over_the_locations() {
        let system = |number: u32| {
            Value::map([
                ("autonomous_system_number", Value::U32(number)),
                ("autonomous_system_organization", "Example".into()),
            ])
        };
        let Value::Map(mut own) = country("FR") else { unreachable!() };
        own.insert("autonomous_system_number".to_owned(), Value::U32(1));
        let locations =
            database(IpVersion::V6, &[("192.0.2.0/25", country("DE")), ("192.0.2.128/25", Value::Map(own))]);
        let systems = database(IpVersion::V6, &[("192.0.2.0/26", system(64_500)), ("198.51.100.0/24", system(64_501))]);
        let database = Database::from_bytes(&locations).unwrap();
        assert_eq!(lookup(&database, "192.0.2.200").0.asn, Some(1));
        let database = database.with_systems(&systems).unwrap();
        for (address, expected, length) in [
            ("192.0.2.1", "EU DE - - 52.5 13.4 64500 Example", 26),
            ("192.0.2.100", "EU DE - - 52.5 13.4 - -", 26),
            ("192.0.2.200", "EU FR - - 48.9 2.3 - -", 25),
            ("198.51.100.1", "- - - - - 64501 Example", 24),
        ] {
            let (location, found_length) = lookup(&database, address);
            assert_eq!((summary(&location).as_str(), found_length), (expected, length), "{address}");
        }
    }

    #[test]
    fn a_database_of_the_wrong_kind_is_refused() {
        let system = Value::map([("autonomous_system_number", Value::U32(64_500))]);
        let systems = database(IpVersion::V6, &[("192.0.2.0/24", system)]);
        let locations = database(IpVersion::V6, &[("192.0.2.0/24", country("DE"))]);
        assert!(matches!(Database::from_bytes(&systems), Err(Error::NoLocations { .. })));
        let database = Database::from_bytes(&locations).unwrap();
        assert!(matches!(database.with_systems(&locations), Err(Error::NoSystems { .. })));
        let missing = Database::load(Some("/nonexistent/city.mmdb".as_ref()), None).unwrap_err();
        assert!(matches!(missing.error, Error::Unreadable(_)));
        assert!(missing.to_string().starts_with("/nonexistent/city.mmdb: can't be read: "), "{missing}");
    }

    /// A small database with every kind of field.
    fn whole() -> Vec<u8> {
        let csv = "network,country,subdivision,city,latitude,longitude,asn\n\
            192.0.2.0/24,DE,BE,Berlin,52.5,13.4,64500\n\
            198.51.100.0-198.51.100.77,US,CA,Los Angeles,34.05,-118.24,64501\n\
            2001:db8::/32,JP,13,Tokyo,35.7,139.7,\n";
        build(csv.as_bytes(), 1_700_000_000).unwrap()
    }

    #[test]
    fn every_truncation_is_refused() {
        let whole = whole();
        assert!(Database::from_bytes(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(Database::from_bytes(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
        }
    }

    #[test]
    fn flipped_bytes_are_an_error_or_some_location() {
        let whole = whole();
        let mut random = fastrand::Rng::with_seed(1);
        let mut refused = 0;
        for _ in 0..4_000 {
            let mut broken = whole.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..broken.len());
                broken[at] = random.u8(..);
            }
            match Database::from_bytes(&broken) {
                Ok(database) => {
                    for address in ["192.0.2.1", "198.51.100.77", "2001:db8::1", "::", "255.255.255.255"] {
                        lookup(&database, address);
                    }
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 400, "{refused}");
    }

    #[test]
    fn the_builtin_database_knows_the_countries() {
        let database = Database::load(None, None).unwrap();
        assert!(database.networks() > 500_000, "{}", database.networks());
        for (address, expected) in [
            ("8.8.8.8", "NA US - - 40.7 -74.0 - -"),
            ("193.0.6.139", "EU NL - - 52.4 4.9 - -"),
            ("2001:200::1", "AS JP - - 35.6 139.7 - -"),
            ("::ffff:1.1.1.1", "OC AU - - -33.9 151.2 - -"),
            ("10.0.0.1", "- - - - - - -"),
            ("127.0.0.1", "- - - - - - -"),
        ] {
            assert_eq!(summary(&lookup(&database, address).0), expected, "{address}");
        }
    }
}
