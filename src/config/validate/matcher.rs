//! Lists of networks and places, each of which may be given once.

use std::collections::HashMap;

use crate::config::reader::{Table, Value};
use crate::config::{MAX_RULES, Span};
use crate::geo::Matcher;

/// Reads what a key that lists networks or places has; nothing without the key.
pub(super) fn matchers(table: &Table<'_>, key: &str) -> Vec<(Matcher, Span)> {
    let (expected, example) = match key {
        "networks" => ("a list of networks", "[\"10.20.0.0/16\"]"),
        "asns" => ("a list of AS numbers", "[64496, 64511]"),
        "cities" => ("a list of cities", "[\"DE/Berlin\", \"US-CA/San Francisco\"]"),
        "subdivisions" => ("a list of subdivisions", "[\"US-CA\", \"US-OR\"]"),
        "countries" => ("a list of countries", "[\"DE\", \"AT\"]"),
        _ => ("a list of continents", "[\"EU\", \"AF\"]"),
    };
    // Also those beside one that can't be read, as they may have been given before.
    let mut read = Vec::new();
    table.optional(key, |value| {
        value.list(expected, example, MAX_RULES, |element| {
            read.push((matcher(key, element)?, element.span()));
            Some(())
        })
    });
    read
}

fn matcher(key: &str, value: Value<'_>) -> Option<Matcher> {
    match key {
        "networks" => value.network().map(Matcher::Network),
        "asns" => value.integer(1..=u32::MAX).map(Matcher::Asn),
        "cities" => value.parsed("\"DE/Berlin\"").map(Matcher::City),
        "subdivisions" => value.parsed("\"US-CA\"").map(Matcher::Subdivision),
        "countries" => value.parsed("\"DE\"").map(Matcher::Country),
        _ => value.parsed("\"EU\"").map(Matcher::Continent),
    }
}

/// Who was given what so far.
#[derive(Debug, Default)]
pub(super) struct Given(HashMap<Matcher, (usize, Span)>);

impl Given {
    /// Gives it to one of them, by number, there. If it is given already, it says to whom and where.
    pub(super) fn give(&mut self, matcher: &Matcher, to: usize, span: &Span) -> Option<(usize, Span)> {
        if let Some(before) = self.0.get(matcher) {
            return Some(before.clone());
        }
        self.0.insert(matcher.clone(), (to, span.clone()));
        None
    }
}
