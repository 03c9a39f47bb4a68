//! `geoip build`: networks as CSV → a database in MaxMind's format, of the shape of GeoIP2 City.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, BufRead};
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use mmdb_writer::{Value, Writer};

use super::address_table::Fold;
use super::csv::{BadLines, Format};
use super::{Continent, Coordinates, CountryCode, Location, Subdivision};

/// What the first line may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Network,
    Continent,
    Country,
    Subdivision,
    City,
    Latitude,
    Longitude,
    Asn,
}

impl Column {
    const ALL: [Self; 8] = [
        Self::Network,
        Self::Continent,
        Self::Country,
        Self::Subdivision,
        Self::City,
        Self::Latitude,
        Self::Longitude,
        Self::Asn,
    ];

    fn name(self) -> &'static str {
        FORMAT.columns[self as usize]
    }
}

/// In the order of [`Column::ALL`].
const FORMAT: Format = Format {
    columns: &["network", "continent", "country", "subdivision", "city", "latitude", "longitude", "asn"],
    required: &["network"],
    max_lines: 16_000_000,
};

/// Makes a database of a CSV. Its first line names the columns: `network` (`192.0.2.0/24`, one address, or the range
/// `192.0.2.0-192.0.2.99`) and any of `continent`, `country`, `subdivision` (`US-CA`, or `CA` beside a country), `city`,
/// `latitude`, `longitude` and `asn`. Continent and coordinates come from the country where they are left out. The longest
/// prefix wins. The same input and `epoch` (seconds since 1970) make the same bytes.
///
/// # Errors
/// With every bad line, or when the input can't be read or is too large.
pub fn build(csv: impl BufRead, epoch: u64) -> Result<Vec<u8>, BuildError> {
    let mut problems = BadLines::default();
    let mut table = parse(csv, &mut problems)?;
    // Shorter prefixes first, as the writer lets the later one win; equal ones side by side.
    table.networks.sort_by_key(|network| (network.cidr.prefix_len(), network.cidr, network.line));
    for pair in table.networks.windows(2) {
        if let [first, second] = pair
            && first.cidr == second.cidr
        {
            problems.add(second.line, format!("{} is on line {} already", second.cidr, first.line));
        }
    }
    if problems.count() > 0 {
        return Err(BuildError::Lines(problems));
    }

    let mut writer = Writer::builder("Meridian-City")
        .description(&[("en", "Networks and their locations, built by meridian geoip build")])
        .build_epoch(UNIX_EPOCH + Duration::from_secs(epoch))
        .build();
    for network in table.networks {
        let record = table.records.get(network.record).cloned().unwrap_or_else(|| Value::Map(BTreeMap::new()));
        writer.insert_value(network.cidr, record).map_err(BuildError::Writer)?;
    }
    writer.to_bytes().map_err(BuildError::Writer)
}

/// What a CSV says.
#[derive(Debug, Default)]
struct Table {
    networks: Vec<NetworkLine>,
    /// Distinct.
    records: Vec<Value>,
}

#[derive(Debug, Clone, Copy)]
struct NetworkLine {
    cidr: IpNet,
    /// Index into the records.
    record: usize,
    /// Counted from 1.
    line: usize,
}

fn parse(csv: impl BufRead, problems: &mut BadLines) -> Result<Table, BuildError> {
    let mut table = Table::default();
    let mut known: HashMap<Value, usize> = HashMap::new();
    let read = FORMAT.read(csv, problems, |line, fields| {
        let (networks, location) = row(fields)?;
        let next = table.records.len();
        let record = *known.entry(record(&location)).or_insert_with_key(|record| {
            table.records.push(record.clone());
            next
        });
        table.networks.extend(networks.into_iter().map(|cidr| NetworkLine { cidr, record, line }));
        Ok(())
    });
    read.map_err(BuildError::Unreadable)?;
    Ok(table)
}

/// One line's networks and location.
fn row(fields: &[String]) -> Result<(Vec<IpNet>, Location), String> {
    let mut networks = Vec::new();
    let mut location = Location::default();
    let (mut subdivision, mut latitude, mut longitude) = (None, None, None);
    for (column, field) in Column::ALL.into_iter().zip(fields).filter(|(_, field)| !field.is_empty()) {
        let wrong = |expected: &str| format!("{} {field:?} is not {expected}", column.name());
        let degrees = || field.parse::<f64>().map_err(|_| wrong("a number of degrees"));
        match column {
            Column::Network => networks = parse_networks(field)?,
            Column::Continent => {
                location.continent = Some(Continent::new(field).ok_or_else(|| wrong("one of AF AN AS EU NA OC SA"))?);
            }
            Column::Country => {
                location.country = Some(CountryCode::new(field).ok_or_else(|| wrong("two letters such as DE"))?);
            }
            Column::Subdivision => subdivision = Some(field),
            Column::City => location.city = Some(field.as_str().into()),
            Column::Latitude => latitude = Some(degrees()?),
            Column::Longitude => longitude = Some(degrees()?),
            Column::Asn => {
                let digits = field.strip_prefix("AS").unwrap_or(field);
                location.asn = Some(digits.parse().map_err(|_| wrong("a number up to 4294967295"))?);
            }
        }
    }
    if let Some(code) = subdivision {
        let found = Subdivision::new(code).or_else(|| Subdivision::within(location.country?, code));
        let found = found.filter(|found| location.country.is_none_or(|country| country == found.country));
        let found =
            found.ok_or_else(|| format!("subdivision {code:?} is not one such as US-CA of the line's country"))?;
        location.country = Some(found.country);
        location.subdivisions[0] = Some(found);
    }
    location.coordinates = match (latitude, longitude) {
        (None, None) => None,
        (Some(latitude), Some(longitude)) => Some(
            Coordinates::new(latitude, longitude)
                .ok_or("latitude is from -90 to 90 and longitude from -180 to 180 degrees")?,
        ),
        _ => return Err("latitude and longitude go together".to_owned()),
    };
    if networks.is_empty() {
        return Err("no network".to_owned());
    }
    Ok((networks, location.completed()))
}

/// The prefixes of `192.0.2.0/24`, `192.0.2.1` or `192.0.2.0-192.0.2.99`.
fn parse_networks(text: &str) -> Result<Vec<IpNet>, String> {
    let wrong = || format!("network {text:?} is not one such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.0-192.0.2.99");
    let networks = if let Some((first, last)) = text.split_once('-') {
        let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| wrong());
        match (address(first)?, address(last)?) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect()
            }
            _ => return Err(wrong()),
        }
    } else if let Ok(address) = text.parse::<IpAddr>() {
        vec![IpNet::from(address)]
    } else {
        let network: IpNet = text.parse().map_err(|_| wrong())?;
        if network.trunc() != network {
            return Err(format!("network {text:?} has bits after its prefix: write {}", network.trunc()));
        }
        vec![network]
    };
    for network in &networks {
        if let IpNet::V6(network) = network
            && let Some(fold) = Fold::of(network.network().to_bits())
            && network.prefix_len() >= fold.network().1
        {
            return Err(format!("network {text:?} stands for IPv4 addresses: give those"));
        }
        if let IpNet::V6(network) = network
            && network.network().to_bits() >> 32 == 0
        {
            return Err(format!(
                "network {text:?} reaches into ::/96, where the file keeps IPv4 addresses: leave that out"
            ));
        }
    }
    Ok(networks)
}

/// A location as a record of GeoIP2 City.
fn record(location: &Location) -> Value {
    let mut record: BTreeMap<String, Value> = BTreeMap::new();
    let mut put = |key: &str, value: Value| {
        record.insert(key.to_owned(), value);
    };
    if let Some(continent) = location.continent {
        put("continent", Value::map([("code", continent.as_str())]));
    }
    if let Some(country) = location.country {
        put("country", Value::map([("iso_code", country.as_str())]));
    }
    if let [Some(subdivision), _] = location.subdivisions {
        put("subdivisions", Value::array([Value::map([("iso_code", subdivision.code())])]));
    }
    if let Some(city) = &location.city {
        put("city", Value::map([("names", Value::map([("en", &**city)]))]));
    }
    if let Some(coordinates) = location.coordinates {
        let degrees = [("latitude", coordinates.latitude), ("longitude", coordinates.longitude)];
        put("location", Value::map(degrees));
    }
    if let Some(asn) = location.asn {
        put("autonomous_system_number", Value::U32(asn));
    }
    Value::Map(record)
}

/// Why no database was made.
#[derive(Debug)]
pub enum BuildError {
    /// The CSV can't be read.
    Unreadable(io::Error),
    /// Lines of it are wrong.
    Lines(BadLines),
    /// It doesn't fit into a database.
    Writer(mmdb_writer::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "can't be read: {error}"),
            Self::Lines(problems) => {
                let plural = if problems.count() == 1 { "" } else { "s" };
                write!(f, "{} bad line{plural}; nothing was written{problems}", problems.count())
            }
            Self::Writer(error) => write!(f, "doesn't fit into a database: {error}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(error) => Some(error),
            Self::Lines(_) => None,
            Self::Writer(error) => Some(error),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::fmt::Write;
    use std::net::IpAddr;

    use super::super::Database;
    use super::build;

    #[test]
    fn what_is_written_is_read_again() {
        let csv = "\u{feff}Network , country,subdivision,city,latitude,longitude,asn,continent\r\n\
            192.0.2.0/24,DE,BE,\"Berlin, \"\"Mitte\"\"\",52.52,13.4,AS64500,\r\n\
            192.0.2.64/26,DE,,,,,,\r\n\
            \r\n\
            198.51.100.5-198.51.100.9,,US-CA,,,,,\r\n\
            203.0.113.7,,,,,,,EU\r\n\
            2001:db8::-2001:db8:2:ffff:ffff:ffff:ffff:ffff,JP,,,,,,\r\n";
        let bytes = build(csv.as_bytes(), 1_700_000_000).unwrap();
        assert_eq!(bytes, build(csv.as_bytes(), 1_700_000_000).unwrap(), "the same input makes the same bytes");
        maxminddb::Reader::from_source(bytes.as_slice()).unwrap().verify().unwrap();
        let database = Database::from_bytes(&bytes).unwrap();
        assert_eq!(database.build_epoch(), 1_700_000_000);
        for (address, expected) in [
            ("192.0.2.1", "EU DE DE-BE 52.52 64500 Berlin, \"Mitte\""),
            ("192.0.2.64", "EU DE - 52.5 - -"),
            ("192.0.2.128", "EU DE DE-BE 52.52 64500 Berlin, \"Mitte\""),
            ("198.51.100.4", "- - - - - -"),
            ("198.51.100.5", "NA US US-CA 40.71 - -"),
            ("198.51.100.9", "NA US US-CA 40.71 - -"),
            ("198.51.100.10", "- - - - - -"),
            ("203.0.113.7", "EU - - - - -"),
            ("2001:db8:2:ffff::", "AS JP - 35.65 - -"),
            ("2001:db8:3::", "- - - - - -"),
        ] {
            fn show<T: ToString>(value: Option<T>) -> String {
                value.map_or_else(|| "-".to_owned(), |value| value.to_string())
            }
            let (location, _) = database.lookup(address.parse::<IpAddr>().unwrap());
            let found = [
                show(location.continent),
                show(location.country),
                show(location.subdivisions[0]),
                show(location.coordinates.map(|point| point.latitude)),
                show(location.asn),
                show(location.city),
            ];
            assert_eq!(found.join(" "), expected, "{address}");
        }
    }

    #[test]
    fn every_bad_line_is_named() {
        let lines = [
            ("192.0.2.0/24,DEU,,,", "country \"DEU\""),
            ("192.0.2.1/24,DE,,,", "write 192.0.2.0/24"),
            ("192.0.2.9-192.0.2.1,DE,,,", "is not one such as"),
            ("192.0.2.9-2001:db8::,DE,,,", "is not one such as"),
            ("elsewhere,DE,,,", "is not one such as"),
            (",DE,,,", "no network"),
            ("192.0.2.0/24,DE", "2 fields for 5 columns"),
            ("192.0.2.0/24,DE,1,,", "go together"),
            ("192.0.2.0/24,DE,91,0,", "from -90 to 90"),
            ("192.0.2.0/24,DE,NaN,0,", "from -90 to 90"),
            ("192.0.2.0/24,DE,north,0,", "number of degrees"),
            ("192.0.2.0/24,DE,,,US-CA", "of the line's country"),
            ("192.0.2.0/24,DE,,,\"BE", "not closed"),
            ("192.0.2.0/24,DE,,,\"BE\"x", "after a closing quote"),
            ("2002:c000:200::/40,DE,,,", "stands for IPv4"),
            ("::/96,DE,,,", "::/96"),
            ("198.51.100.0/24,DE,,,", ""),
            ("198.51.100.0-198.51.100.255,US,,,", "is on line 18 already"),
        ];
        let mut csv = "network,country,latitude,longitude,subdivision\n".to_owned();
        lines.iter().for_each(|(line, _)| writeln!(csv, "{line}").unwrap());
        let error = build(csv.as_bytes(), 0).unwrap_err().to_string();
        for (number, (_, expected)) in (2..).zip(lines).filter(|(_, (_, expected))| !expected.is_empty()) {
            let shown = error.lines().find(|shown| shown.starts_with(&format!("  line {number}: ")));
            assert!(shown.is_some_and(|shown| shown.contains(expected)), "line {number}, {expected}: {error}");
        }
        assert!(error.starts_with("17 bad lines"), "{error}");
    }

    #[test]
    fn bad_headers_end_it() {
        for (csv, expected) in [
            ("", "line 1: empty"),
            ("country\nDE\n", "line 1: no column \"network\""),
            ("network,land\n", "line 1: unknown column \"land\""),
            ("network,city,City\n", "line 1: column \"City\" twice"),
            ("network,country\n\u{0}\n", "line 2: 1 fields for 2 columns"),
        ] {
            let error = build(csv.as_bytes(), 0).unwrap_err().to_string();
            assert!(error.contains(expected), "{csv:?}: {error}");
        }
    }

    #[test]
    fn only_the_first_bad_lines_are_shown() {
        let csv = format!("network\n{}", "x\n".repeat(50));
        let error = build(csv.as_bytes(), 0).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1 + 20 + 1, "{error}");
        assert!(error.ends_with("and 30 more"), "{error}");
    }
}
