//! `[regions.*]`

use super::capacity::capacity;
use crate::config::reader::{Entry, Value};
use crate::config::{Region, schema};
use crate::geo::Coordinates;

/// Claims of one kind in one region.
const MAX_CLAIMS: usize = 10_000;

pub(super) fn region(entry: &Entry<'_>) -> Option<Region> {
    let table = entry.value.table(&schema::REGION)?;
    let location = table.required("location", "location = [50.11, 8.68]", coordinates);
    let countries = table.or("countries", Vec::new(), |value| {
        value.distinct_list("a list of countries", "[\"DE\", \"AT\"]", MAX_CLAIMS, |code| code.parsed("\"DE\""))
    });
    let continents = table.or("continents", Vec::new(), |value| {
        value.distinct_list("a list of continents", "[\"EU\", \"AF\"]", MAX_CLAIMS, |code| code.parsed("\"EU\""))
    });
    let subdivisions = table.or("subdivisions", Vec::new(), |value| {
        value.distinct_list("a list of subdivisions", "[\"US-CA\", \"US-OR\"]", MAX_CLAIMS, |code| {
            code.parsed("\"US-CA\"")
        })
    });
    let asns = table.or("asns", Vec::new(), |value| {
        value.distinct_list("a list of AS numbers", "[64496, 64511]", MAX_CLAIMS, |number| number.integer(1..=u32::MAX))
    });
    let bias = table.or("bias", 0, |value| value.integer(-99..=99));
    let capacity = capacity(&table);
    Some(Region {
        name: entry.name.to_owned(),
        location: location?,
        countries,
        continents,
        subdivisions,
        asns,
        bias,
        capacity,
    })
}

/// `[latitude, longitude]`
pub(super) fn coordinates(value: Value<'_>) -> Option<Coordinates> {
    const EXPECTED: &str = "a latitude and a longitude in degrees";
    const EXAMPLE: &str = "[50.11, 8.68]";
    let mut elements = value.elements(EXPECTED, EXAMPLE)?;
    let (Some(latitude), Some(longitude), None) = (elements.next(), elements.next(), elements.next()) else {
        return value.reject(format!("expected {EXPECTED}"), format!("write for example `{EXAMPLE}`"));
    };
    let latitude = latitude.number("a latitude from -90 to 90", -90.0..=90.0, EXAMPLE);
    let longitude = longitude.number("a longitude from -180 to 180", -180.0..=180.0, EXAMPLE);
    Some(Coordinates { latitude: latitude?, longitude: longitude? })
}
