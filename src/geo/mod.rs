//! Where a client is, and which regions are near.

mod code;

pub use code::{Continent, CountryCode, Subdivision};

/// A point on the globe, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coordinates {
    /// −90..=90, north positive.
    pub latitude: f64,
    /// −180..=180, east positive.
    pub longitude: f64,
}
