//! `[regions.*]`

use crate::config::reader::{Entry, Table, Value};
use crate::config::{Capacity, MAX_CAPACITY, Region, schema};
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

/// The part of a capacity that is the target where none is given.
const DEFAULT_TARGET: f64 = 0.8;

/// `capacity` and `target` of a region or an endpoint.
pub(super) fn capacity(table: &Table<'_>) -> Option<Capacity> {
    let read = |value: Value<'_>| {
        let expected = "a number per second above 0 and up to 1000000000";
        value.number(expected, f64::MIN_POSITIVE..=MAX_CAPACITY, "1000")
    };
    let target = table.optional("target", read);
    if table.entry("capacity").is_none() {
        table.refuse(&["target"], "without `capacity`", "add `capacity`, of which this is the part to stay under");
        return None;
    }
    let most = table.optional("capacity", read)?;
    if target.is_some_and(|target| target > most)
        && let Some(entry) = table.entry("target")
    {
        return entry
            .value
            .reject("`target` is greater than `capacity`", "exchange the two, or leave `target` out: it is 80 % then");
    }
    Some(Capacity { most, target: target.unwrap_or(most * DEFAULT_TARGET) })
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
