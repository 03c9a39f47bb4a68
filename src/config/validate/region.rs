//! `[regions.*]`

use super::capacity::capacity;
use super::matcher::{Given, matchers};
use crate::config::reader::{Entry, Names, Value};
use crate::config::{Region, schema};
use crate::geo::{Coordinates, Matcher};

/// Reads the region with this index; `claimed` is what regions before it claim.
pub(super) fn region(entry: &Entry<'_>, index: usize, names: &Names<'_>, claimed: &mut Given) -> Option<Region> {
    let table = entry.value.table(&schema::REGION)?;
    let location = table.required("location", "location = [50.11, 8.68]", coordinates);
    let bias = table.or("bias", 0, |value| value.integer(-99..=99));
    let claims: Vec<_> =
        ["countries", "continents", "subdivisions", "asns"].iter().flat_map(|key| matchers(&table, key)).collect();
    for (claim, span) in &claims {
        match claimed.give(claim, index, span) {
            None => {}
            Some((by, _)) if by == index => {
                table.report().add(span.clone(), "given twice in this list", "remove one of them");
            }
            Some((by, _)) => table.report().add(
                span.clone(),
                format!("{claim} is already claimed by region `{}`", names.name(by)),
                "leave it to one of them; a rule in `[maps.NAME]` lists several regions, in order",
            ),
        }
    }
    let capacity = capacity(&table);
    let mut region = Region {
        name: entry.name.to_owned(),
        location: location?,
        countries: Vec::new(),
        continents: Vec::new(),
        subdivisions: Vec::new(),
        asns: Vec::new(),
        bias,
        capacity,
    };
    for (claim, _) in claims {
        match claim {
            Matcher::Country(code) => region.countries.push(code),
            Matcher::Continent(code) => region.continents.push(code),
            Matcher::Subdivision(code) => region.subdivisions.push(code),
            Matcher::Asn(number) => region.asns.push(number),
            Matcher::Network(_) | Matcher::City(_) | Matcher::Default => {}
        }
    }
    Some(region)
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
