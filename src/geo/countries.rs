//! Every country's continent and coordinates.

use std::sync::LazyLock;

use super::{Continent, Coordinates, CountryCode};

/// A country.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Country {
    /// Its code.
    pub code: CountryCode,
    /// Its continent, as MaxMind's databases assign it.
    pub continent: Continent,
    /// The city of its most populous time zone.
    pub coordinates: Coordinates,
}

/// Made by geoip/build.sh: code, continent, latitude, longitude; ascending by code, after a header.
const TABLE: &str = include_str!("../../geoip/countries.csv");

static COUNTRIES: LazyLock<Vec<Country>> = LazyLock::new(|| TABLE.lines().skip(1).filter_map(parse).collect());

fn parse(line: &str) -> Option<Country> {
    let mut fields = line.split(',');
    let country = Country {
        code: CountryCode::new(fields.next()?)?,
        continent: Continent::new(fields.next()?)?,
        coordinates: Coordinates::new(fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)?,
    };
    fields.next().is_none().then_some(country)
}

/// The country with this code, if it is assigned.
pub fn find(code: CountryCode) -> Option<&'static Country> {
    let at = COUNTRIES.binary_search_by_key(&code, |country| country.code).ok()?;
    COUNTRIES.get(at)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::{COUNTRIES, Continent, CountryCode, TABLE, find, parse};

    #[test]
    fn the_table_is_whole_and_sorted() {
        assert!(TABLE.lines().skip(1).all(|line| parse(line).is_some()));
        // ISO 3166-1 has 249, and XK is in use for Kosovo.
        assert_eq!(COUNTRIES.len(), 250);
        assert!(COUNTRIES.windows(2).all(|pair| pair[0].code < pair[1].code));
    }

    #[test]
    fn countries_are_where_most_of_their_people_live() {
        for (code, continent, latitude, longitude) in [
            ("AU", Continent::Oceania, -33.9, 151.2),
            ("BR", Continent::SouthAmerica, -23.5, -46.6),
            ("CA", Continent::NorthAmerica, 43.7, -79.4),
            ("CY", Continent::Europe, 35.2, 33.4),
            ("EG", Continent::Africa, 30.1, 31.3),
            ("RU", Continent::Europe, 55.8, 37.6),
            ("TR", Continent::Asia, 41.0, 29.0),
            ("UA", Continent::Europe, 50.4, 30.5),
            ("US", Continent::NorthAmerica, 40.7, -74.0),
            ("UZ", Continent::Asia, 41.3, 69.3),
            ("XK", Continent::Europe, 42.7, 21.2),
        ] {
            let country = find(CountryCode::new(code).unwrap()).unwrap();
            assert_eq!(country.continent, continent, "{code}");
            let (north, east) = (country.coordinates.latitude - latitude, country.coordinates.longitude - longitude);
            assert!(north.abs() < 0.1 && east.abs() < 0.1, "{code}: {:?}", country.coordinates);
        }
        assert_eq!(find(CountryCode::new("QQ").unwrap()), None);
    }
}
