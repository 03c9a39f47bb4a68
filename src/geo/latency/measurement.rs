//! One measurement: how it is written, and what is no measurement.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use toml::value::Datetime;

use super::super::CountryCode;
use super::super::address_table::Fold;
use crate::config::Region;
use crate::unix_time;

/// What a measurement has, in the order of [`Written`].
pub const COLUMNS: [&str; 7] = ["network", "asn", "country", "region", "ms", "measured", "confidence"];
/// The longest round trip, in milliseconds: beyond it something else was measured.
const MAX_MILLISECONDS: f64 = 60_000.0;
/// How far in the future a measurement may lie, in seconds, as clocks differ.
const MAX_AHEAD_SECONDS: u64 = 300;
/// The last second of the year 9999.
const MAX_UNIX_SECONDS: f64 = 253_402_300_799.0;

/// Whose round trips were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LatencyKey {
    /// Those of a network, host bits zero.
    Network(IpNet),
    /// Those of an autonomous system.
    Asn(u32),
    /// Those of a country.
    Country(CountryCode),
}

impl fmt::Display for LatencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Asn(number) => write!(f, "AS{number}"),
            Self::Country(code) => write!(f, "country {code}"),
        }
    }
}

/// A round trip between a client of some kind and a region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measurement {
    /// Whose.
    pub key: LatencyKey,
    /// Index of the region.
    pub region: u16,
    /// How long it took, 1 to 60,000,000.
    pub microseconds: u32,
    /// When, in seconds since 1970.
    pub measured: u64,
    /// How sure that is, 0 to 1.
    pub confidence: f32,
}

/// Which measurements count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Older ones don't.
    pub max_age: Duration,
    /// Less certain ones don't.
    pub min_confidence: f32,
}

impl Rules {
    /// The last second in which a measurement of that time counts.
    pub fn last_second(&self, measured: u64) -> u64 {
        measured.saturating_add(self.max_age.as_secs())
    }

    /// Whether a measurement counts at `now`, in seconds since 1970.
    pub fn counts(&self, measurement: &Measurement, now: u64) -> bool {
        now <= self.last_second(measurement.measured) && self.is_certain(measurement)
    }

    /// Whether it is certain enough.
    pub fn is_certain(&self, measurement: &Measurement) -> bool {
        measurement.confidence >= self.min_confidence
    }
}

/// The indices of regions by their names.
#[derive(Debug)]
pub struct RegionNames<'a>(HashMap<&'a str, u16>);

impl<'a> RegionNames<'a> {
    /// Of these.
    pub fn new(regions: &'a [Region]) -> Self {
        Self(regions.iter().zip(0..).map(|(region, index)| (region.name.as_str(), index)).collect())
    }

    /// The index of one.
    pub fn find(&self, name: &str) -> Option<u16> {
        self.0.get(name).copied()
    }
}

/// A measurement as it is written, by the order of [`COLUMNS`]; empty where nothing is.
pub type Written = [String; COLUMNS.len()];

impl Measurement {
    /// Reads one at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// Says what is wrong: not exactly one of network, AS number and country; an unknown region; no time of a round trip
    /// above 0 and up to 60 s; no time of the measurement, or one more than 5 minutes ahead; a confidence that isn't from
    /// 0 to 1.
    pub fn read(written: &Written, regions: &RegionNames<'_>, now: u64) -> Result<Self, String> {
        let [network, asn, country, region, milliseconds, measured, confidence] =
            written.each_ref().map(String::as_str);
        let key = match (network, asn, country) {
            (network, "", "") if !network.is_empty() => LatencyKey::Network(read_network(network)?),
            ("", asn, "") if !asn.is_empty() => LatencyKey::Asn(read_asn(asn)?),
            ("", "", country) if !country.is_empty() => LatencyKey::Country(
                CountryCode::new(country)
                    .ok_or_else(|| format!("country {country:?} is not two letters such as DE"))?,
            ),
            _ => return Err("exactly one of network, asn and country is wanted".to_owned()),
        };
        let region = match region {
            "" => return Err("no region".to_owned()),
            name => regions.find(name).ok_or_else(|| format!("unknown region {name:?}"))?,
        };
        let measured = match measured {
            "" => return Err("no time at which it was measured".to_owned()),
            text => read_time(text)?,
        };
        if measured > now.saturating_add(MAX_AHEAD_SECONDS) {
            return Err(format!("measured {} s in the future: clocks may differ by 5 minutes", measured - now));
        }
        let confidence = match confidence {
            "" => 1.0,
            text => text
                .parse()
                .ok()
                .filter(|confidence| (0.0..=1.0).contains(confidence))
                .ok_or_else(|| format!("confidence {text:?} is not a number from 0 to 1"))?,
        };
        Ok(Self { key, region, microseconds: read_microseconds(milliseconds)?, measured, confidence })
    }
}

/// An address stands for the network of itself.
fn read_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network =
        network.map_err(|_| format!("network {text:?} is not one such as 203.0.113.0/24 or 2001:db8::/32"))?;
    if network.trunc() != network {
        return Err(format!("network {text:?} has bits after its prefix: write {}", network.trunc()));
    }
    match network {
        IpNet::V6(inside)
            if Fold::of(inside.network().to_bits()).is_some_and(|fold| inside.prefix_len() >= fold.network().1) =>
        {
            Err(format!("network {text:?} stands for IPv4 addresses: give those"))
        }
        network => Ok(network),
    }
}

fn read_asn(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("AS").unwrap_or(text).parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("asn {text:?} is not a number from 1 to 4294967295"))
}

fn read_microseconds(text: &str) -> Result<u32, String> {
    let milliseconds = text.parse().ok().filter(|number: &f64| *number > 0.0 && *number <= MAX_MILLISECONDS);
    match milliseconds {
        Some(milliseconds) => Ok(((milliseconds * 1000.0).round() as u32).max(1)),
        None => Err(format!("ms {text:?} is not a number of milliseconds above 0 and up to {MAX_MILLISECONDS}")),
    }
}

/// Seconds since 1970, of which parts are dropped, or a time as in RFC 3339.
fn read_time(text: &str) -> Result<u64, String> {
    let seconds = match text.parse::<f64>() {
        Ok(seconds) if (0.0..=MAX_UNIX_SECONDS).contains(&seconds) => Some(seconds as u64),
        Ok(_) => None,
        Err(_) => text.parse().ok().and_then(|time| unix_seconds(&time)),
    };
    seconds.ok_or_else(|| {
        format!("measured {text:?} is neither seconds since 1970 nor a time such as 2026-01-31T12:00:00Z (RFC 3339)")
    })
}

/// The reader of TOML knows RFC 3339, and that alone has seconds in any case.
fn unix_seconds(time: &Datetime) -> Option<u64> {
    time.time?.second?;
    u64::try_from(unix_time::of_datetime(time)?).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
pub(super) mod tests {
    use std::time::Duration;

    use super::super::super::rank::tests::region;
    use super::{Measurement, RegionNames, Rules, read_time};
    use crate::unix_time::days_since_1970;

    /// The time at which tests read.
    pub(crate) const NOW: u64 = 1_700_000_000;

    /// Of `us`, `eu` and `sg`, written as a line of a file.
    pub(crate) fn measurement(line: &str) -> Result<Measurement, String> {
        let regions = ["us", "eu", "sg"].map(|name| region(name, 0.0, 0.0));
        let mut fields = line.split(',').map(str::to_owned);
        let written = std::array::from_fn(|_| fields.next().unwrap_or_default());
        Measurement::read(&written, &RegionNames::new(&regions), NOW)
    }

    #[test]
    fn what_is_written_is_read() {
        for (line, expected) in [
            ("203.0.113.0/24,,,us,12.5,1700000000,0.9", "203.0.113.0/24 0 12500 1700000000 0.9"),
            ("203.0.113.7,,,eu,1,1699999999.7,1", "203.0.113.7/32 1 1000 1699999999 1"),
            ("2001:db8::/32,,,sg,60000,2023-11-14T22:13:20Z,", "2001:db8::/32 2 60000000 1700000000 1"),
            (",64500,,us,0.0001,2023-11-14T23:13:20.5+01:00,0", "AS64500 0 1 1700000000 0"),
            (",AS64500,,us,1,0", "AS64500 0 1000 0 1"),
            // The most that clocks may differ.
            (",,de,us,1e2,1700000300,", "country DE 0 100000 1700000300 1"),
        ] {
            let Measurement { key, region, microseconds, measured, confidence } = measurement(line).unwrap();
            assert_eq!(format!("{key} {region} {microseconds} {measured} {confidence}"), expected, "{line}");
        }
    }

    #[test]
    fn what_is_no_measurement_is_rejected() {
        for (line, expected) in [
            (",,,us,1,0", "exactly one of"),
            ("192.0.2.0/24,1,,us,1,0", "exactly one of"),
            (",1,DE,us,1,0", "exactly one of"),
            ("192.0.2.1/24,,,us,1,0", "write 192.0.2.0/24"),
            ("192.0.2.0/33,,,us,1,0", "is not one such as"),
            ("192.0.2.0-192.0.2.9,,,us,1,0", "is not one such as"),
            ("::ffff:192.0.2.0/120,,,us,1,0", "stands for IPv4"),
            ("2002:c000:200::/40,,,us,1,0", "stands for IPv4"),
            (",0,,us,1,0", "asn \"0\""),
            (",4294967296,,us,1,0", "asn \"4294967296\""),
            (",,DEU,us,1,0", "country \"DEU\""),
            (",1,,,1,0", "no region"),
            (",1,,US,1,0", "unknown region \"US\""),
            (",1,,us,,0", "ms \"\""),
            (",1,,us,NaN,0", "ms \"NaN\""),
            (",1,,us,-1,0", "ms \"-1\""),
            (",1,,us,0,0", "ms \"0\""),
            (",1,,us,inf,0", "ms \"inf\""),
            (",1,,us,60000.1,0", "up to 60000"),
            (",1,,us,1,", "no time"),
            (",1,,us,1,1700000301", "301 s in the future"),
            (",1,,us,1,NaN", "measured \"NaN\""),
            (",1,,us,1,-1", "measured \"-1\""),
            (",1,,us,1,1e300", "measured \"1e300\""),
            (",1,,us,1,yesterday", "RFC 3339"),
            (",1,,us,1,2023-11-14", "RFC 3339"),
            (",1,,us,1,2023-11-14T22:13:20", "RFC 3339"),
            (",1,,us,1,2023-02-29T00:00:00Z", "RFC 3339"),
            (",1,,us,1,1969-12-31T23:59:59Z", "RFC 3339"),
            (",1,,us,1,0,1.1", "from 0 to 1"),
            (",1,,us,1,0,-0.1", "from 0 to 1"),
            (",1,,us,1,0,NaN", "from 0 to 1"),
        ] {
            let problem = measurement(line).unwrap_err();
            assert!(problem.contains(expected), "{line}: {problem}");
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (date, expected) in [
            ((1970, 1, 1), 0),
            ((1970, 3, 1), 59),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2100, 2, 28), 47_540),
            ((2100, 3, 1), 47_541),
            ((9999, 12, 31), 2_932_896),
        ] {
            assert_eq!(days_since_1970(date.0, date.1, date.2), expected, "{date:?}");
        }
        assert_eq!(read_time("9999-12-31T23:59:59Z"), Ok(253_402_300_799));
    }

    #[test]
    fn ages_and_confidences_count_up_to_their_bounds() {
        let rules = Rules { max_age: Duration::from_secs(3600), min_confidence: 0.5 };
        let at_the_bound = measurement(",1,,us,1,1699996400,0.5").unwrap();
        assert!(rules.counts(&at_the_bound, NOW));
        assert!(!rules.counts(&at_the_bound, NOW + 1));
        assert!(!rules.counts(&Measurement { confidence: 0.499, ..at_the_bound }, NOW));
        // Ahead of this clock.
        assert!(rules.counts(&Measurement { measured: NOW + 300, ..at_the_bound }, NOW));
    }
}
