//! `[maps.*]` and the maps that stand in services

use std::collections::BTreeSet;
use std::sync::Arc;

use super::matcher::{Given, matchers};
use crate::config::reader::{Entry, Names, Report, Table, Value};
use crate::config::{MAX_MAPS, MAX_RULES, Map, MapRule, schema};
use crate::geo::Matcher;

const RULES_EXAMPLE: &str = "[{ countries = [\"DE\"], regions = [\"eu-central\"] }]";
/// The keys that say whom a rule is for.
const MATCHERS: &[&str] = &["networks", "asns", "cities", "subdivisions", "countries", "continents"];

/// What maps refer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) regions: &'a Names<'a>,
    pub(super) maps: &'a Names<'a>,
}

/// Reads the named maps.
pub(super) fn maps(entries: &[Entry<'_>], context: Context<'_>, report: &Report) -> Vec<Option<Map>> {
    if let Some(entry) = entries.get(MAX_MAPS) {
        report.add(
            entry.span.clone(),
            format!("{} maps are too many", entries.len()),
            format!("keep at most {MAX_MAPS}"),
        );
    }
    let maps: Vec<Option<Map>> = entries.iter().map(|entry| map(entry.value, entry.name, context)).collect();
    let inherited = |index: usize| maps.get(index)?.as_ref()?.inherits;
    for (index, entry) in entries.iter().enumerate() {
        // Until it comes to one that it came to before.
        let mut chain = vec![index];
        while let Some(next) = chain.last().copied().and_then(inherited).filter(|next| !chain.contains(next)) {
            chain.push(next);
        }
        let is_circle = chain.last().copied().and_then(inherited) == Some(index);
        // Each circle once, at the first of its maps.
        if is_circle && chain.iter().min() == Some(&index) {
            let names: Vec<&str> = chain.iter().chain([&index]).map(|index| context.maps.name(*index)).collect();
            report.add(
                entry.span.clone(),
                format!("maps inherit from each other in a circle: {}", names.join(" -> ")),
                "leave out one `inherits`",
            );
        }
    }
    maps
}

/// Reads a map.
pub(super) fn map(value: Value<'_>, name: &str, context: Context<'_>) -> Option<Map> {
    let table = value.table(&schema::MAP)?;
    let name: Arc<str> = name.into();
    let inherits = table.optional("inherits", |value| context.maps.resolve(value));
    let fence = table.or("fence", false, |value| value.boolean());
    let mut given = Given::default();
    let mut rules = table.or("rules", Vec::new(), |value| {
        let elements = value.elements("a list of rules", RULES_EXAMPLE)?;
        match elements.len() {
            0 => {
                return value
                    .reject("expected a list of rules, found none", format!("write for example `{RULES_EXAMPLE}`"));
            }
            count if count > MAX_RULES => {
                return value.reject(format!("{count} rules are too many"), format!("keep at most {MAX_RULES}"));
            }
            _ => {}
        }
        Some(elements.filter_map(|element| rule(element, fence, &mut given, context)).collect())
    });
    if let Some(entry) = table.entry("default") {
        let regions = regions(entry.value, context)?;
        rules.push(MapRule {
            matchers: vec![(Matcher::Default, entry.span.clone())],
            networks_file: None,
            regions,
            fence,
        });
    }
    if ["rules", "default", "inherits"].iter().all(|key| table.entry(key).is_none()) {
        table.report().add(value.span(), "a map without rules", format!("add for example `rules = {RULES_EXAMPLE}`"));
    }
    Some(Map { name, inherits, rules })
}

fn rule(value: Value<'_>, fence: bool, given: &mut Given, context: Context<'_>) -> Option<MapRule> {
    let table = value.table(&schema::RULE)?;
    let matchers: Vec<_> = MATCHERS.iter().flat_map(|key| matchers(&table, key)).collect();
    for (matcher, span) in &matchers {
        if let Some((_, before)) = given.give(matcher, 0, span) {
            let (line, _) = table.report().source().line_and_column(before.start);
            let hint = format!("it is also in line {line}: keep one of them");
            table.report().add(span.clone(), format!("{matcher} is given twice in this map"), hint);
        }
    }
    let networks_file = table.optional("networks_file", |value| Some((value.path()?, value.span())));
    let is_for_nobody = MATCHERS.iter().chain(&["networks_file"]).all(|key| table.entry(key).is_none());
    if is_for_nobody {
        table.report().add(
            value.span(),
            "a rule for nobody",
            "say whom it is for, for example `countries = [\"DE\"]`; the map's `default` is for all other clients",
        );
    }
    let regions = table.required("regions", "regions = [\"eu-central\"]", |value| regions(value, context))?;
    let fence = table.or("fence", fence, |value| value.boolean());
    Some(MapRule { matchers, networks_file, regions, fence })
}

/// A list of regions, which may be empty.
fn regions(value: Value<'_>, context: Context<'_>) -> Option<Vec<usize>> {
    let mut seen = BTreeSet::new();
    let regions = value.elements("a list of regions", "[\"eu-central\", \"us-east\"]")?.map(|element| {
        let region = context.regions.resolve(element)?;
        if !seen.insert(region) {
            return element.reject("given twice in this list", "remove one of them");
        }
        Some(region)
    });
    // Every element is read before one that can't be makes the list absent.
    let regions: Vec<Option<usize>> = regions.collect();
    regions.into_iter().collect()
}

/// The map of a service: the name of one, or a table, which becomes one more of `maps`.
pub(super) fn of_service(
    table: &Table<'_>,
    name: &str,
    context: Context<'_>,
    maps: &mut Vec<Option<Map>>,
) -> Option<usize> {
    table.optional("map", |value| {
        if !value.is_table() {
            return context.maps.resolve(value);
        }
        if maps.len() >= MAX_MAPS {
            return value.reject(
                format!("with the map of this service there are more than {MAX_MAPS}"),
                "let services share maps: name them in `[maps.NAME]`",
            );
        }
        maps.push(map(value, name, context));
        Some(maps.len() - 1)
    })
}
