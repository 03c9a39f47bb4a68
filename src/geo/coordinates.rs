//! Points on the globe and the distance between them.

/// The Earth's mean radius (IUGG), in kilometres.
const EARTH_RADIUS_KM: f64 = 6_371.008_8;

/// A point on the globe, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coordinates {
    /// −90..=90, north positive.
    pub latitude: f64,
    /// −180..=180, east positive.
    pub longitude: f64,
}

impl Coordinates {
    /// A point, if both are numbers inside their bounds.
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        ((-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude))
            .then_some(Self { latitude, longitude })
    }

    /// The great-circle distance to another point, in kilometres, on a sphere: at most 0.6 % off the real one.
    pub fn distance_km(self, other: Self) -> f64 {
        UnitVector::from(self).distance_km(UnitVector::from(other))
    }
}

/// A point as the direction from the Earth's centre, so that a distance costs no sine or cosine.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnitVector([f64; 3]);

impl From<Coordinates> for UnitVector {
    fn from(point: Coordinates) -> Self {
        let (sin_latitude, cos_latitude) = point.latitude.to_radians().sin_cos();
        let (sin_longitude, cos_longitude) = point.longitude.to_radians().sin_cos();
        Self([cos_latitude * cos_longitude, cos_latitude * sin_longitude, sin_latitude])
    }
}

impl UnitVector {
    /// The haversine formula: half the chord is the sine of half the angle.
    pub(super) fn distance_km(self, other: Self) -> f64 {
        let chord_squared: f64 = self.0.iter().zip(other.0).map(|(a, b)| (a - b) * (a - b)).sum();
        2.0 * EARTH_RADIUS_KM * (chord_squared.sqrt() / 2.0).min(1.0).asin()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::Coordinates;

    #[test]
    fn distances_between_cities() {
        const FRANKFURT: (f64, f64) = (50.11, 8.68);
        const SYDNEY: (f64, f64) = (-33.87, 151.21);
        for (from, to, expected_km) in [
            (FRANKFURT, FRANKFURT, 0.0),
            (FRANKFURT, SYDNEY, 16_479.0),
            (SYDNEY, FRANKFURT, 16_479.0),
            (FRANKFURT, (48.86, 2.35), 479.0),
            ((51.51, -0.13), (40.71, -74.01), 5_570.0),
            // Across the date line and over the pole.
            ((0.0, 179.0), (0.0, -179.0), 222.4),
            ((89.0, 0.0), (89.0, 180.0), 222.4),
            // Opposite points: half of the circumference.
            ((0.0, 0.0), (0.0, 180.0), 20_015.1),
            ((90.0, 0.0), (-90.0, 77.0), 20_015.1),
        ] {
            let (from, to) = (Coordinates::new(from.0, from.1).unwrap(), Coordinates::new(to.0, to.1).unwrap());
            let distance_km = from.distance_km(to);
            assert!((distance_km - expected_km).abs() < 5.0, "{from:?} {to:?}: {distance_km}");
        }
    }

    #[test]
    fn bounds() {
        for (latitude, longitude, good) in [
            (90.0, -180.0, true),
            (-90.0, 180.0, true),
            (90.1, 0.0, false),
            (0.0, 180.1, false),
            (f64::NAN, 0.0, false),
            (0.0, f64::INFINITY, false),
        ] {
            assert_eq!(Coordinates::new(latitude, longitude).is_some(), good, "{latitude} {longitude}");
        }
    }
}
