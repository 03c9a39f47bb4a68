//! What is known of a client's place.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::countries;
use super::{Continent, Coordinates, CountryCode, Subdivision};

/// What is known of a client's place and network. With nothing known it is [`Location::default`], which is a state of
/// its own and never a point on the globe. A clone shares its texts, so that it costs no allocation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Location {
    /// The continent.
    pub continent: Option<Continent>,
    /// The country.
    pub country: Option<CountryCode>,
    /// The subdivisions, the larger one first.
    pub subdivisions: [Option<Subdivision>; 2],
    /// The city's name, in English.
    pub city: Option<Arc<str>>,
    /// Where it is.
    pub coordinates: Option<Coordinates>,
    /// The autonomous system's number.
    pub asn: Option<u32>,
    /// Who runs the autonomous system.
    pub organisation: Option<Arc<str>>,
}

impl Location {
    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// A country, with its continent and coordinates.
    pub fn of_country(country: CountryCode) -> Self {
        Self { country: Some(country), ..Self::default() }.completed()
    }

    /// A point.
    pub fn at(coordinates: Coordinates) -> Self {
        Self { coordinates: Some(coordinates), ..Self::default() }
    }

    /// Continent and coordinates filled in from the country where they are missing. A point at 0° N 0° E is what some
    /// databases write for unknown: it counts as missing.
    #[must_use]
    pub fn completed(mut self) -> Self {
        self.coordinates = self.coordinates.filter(|point| point.latitude != 0.0 || point.longitude != 0.0);
        if let Some(country) = self.country.and_then(countries::find) {
            self.continent = self.continent.or(Some(country.continent));
            self.coordinates = self.coordinates.or(Some(country.coordinates));
        }
        self
    }
}

impl Hash for Location {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let coordinates = self.coordinates.map(|point| (point.latitude.to_bits(), point.longitude.to_bits()));
        (self.continent, self.country, self.subdivisions, &self.city, coordinates, self.asn, &self.organisation)
            .hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::{Continent, Coordinates, CountryCode, Location};

    #[test]
    fn nothing_known_is_no_point() {
        let null_island = Location::at(Coordinates { latitude: 0.0, longitude: 0.0 }).completed();
        assert!(null_island.is_unknown());
        let equator = Location::at(Coordinates { latitude: 0.0, longitude: 32.5 }).completed();
        assert!(equator.coordinates.is_some());
    }

    #[test]
    fn a_country_completes_what_is_missing_only() {
        let germany = CountryCode::new("DE");
        let completed = Location { country: germany, ..Location::default() }.completed();
        assert_eq!(completed.continent, Some(Continent::Europe));
        assert!(completed.coordinates.is_some_and(|berlin| (berlin.latitude - 52.5).abs() < 0.1));

        let munich = Coordinates { latitude: 48.1, longitude: 11.6 };
        let given = Location { country: germany, coordinates: Some(munich), ..Location::default() };
        assert_eq!(given.completed().coordinates, Some(munich));

        let unassigned = Location { country: CountryCode::new("QQ"), ..Location::default() };
        assert_eq!(unassigned.clone().completed(), unassigned);
    }
}
