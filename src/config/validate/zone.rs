//! `[zones.*]`

use std::collections::HashMap;

use domain::base::ToName;

use crate::config::names::parse_owner;
use crate::config::reader::{Entry, Report, Table, Value, listed};
use crate::config::schema::{self, Kind};
use crate::config::{Zone, ZoneOrigin};
use crate::zone::{Name, Served};

/// Nameservers of one zone.
const MAX_NAMESERVERS: usize = 32;
const DEFAULT_TTL_SECS: u32 = 3_600;
const DEFAULT_NEGATIVE_TTL_SECS: u32 = 60;

/// The zones' names: what services are looked up in.
#[derive(Debug)]
pub(super) struct ZoneNames {
    /// In file order; absent where it isn't a name.
    names: Vec<Option<Name>>,
    indices: HashMap<Name, usize>,
}

impl ZoneNames {
    pub(super) fn new(entries: &[Entry<'_>], report: &Report) -> Self {
        if entries.is_empty() {
            let hint = "add for example `[zones.\"gslb.example.com\"]` with `nameservers = [\"ns1.example.net\"]`";
            report.add_whole("there is no zone to serve", hint);
        }
        let names = distinct_names("zone", &schema::ZONE, entries, parse_owner, report);
        let indices = names.iter().enumerate().filter_map(|(index, name)| Some((name.clone()?, index))).collect();
        Self { names, indices }
    }

    /// The closest zone that contains a name.
    pub(super) fn closest(&self, name: &Name) -> Option<usize> {
        name.iter_suffixes().find_map(|suffix| self.indices.get(&suffix.to_vec()).copied())
    }

    /// The zone that the name of a service is in; it is a problem if there is none.
    pub(super) fn zone_of(&self, service: &Entry<'_>, name: &Name, report: &Report) -> Option<usize> {
        let zone = self.closest(name);
        // A zone whose name can't be read may have been meant.
        let names: Option<Vec<&Name>> = self.names.iter().map(Option::as_ref).collect();
        if let (None, Some(names @ [_, ..])) = (zone, names.as_deref()) {
            let hint = format!("the zones are {}; put the name into one, or add its zone", listed(names));
            report.add(service.span.clone(), format!("{name} is in none of the zones"), hint);
        }
        zone
    }

    /// Those that are names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Name> {
        self.names.iter().flatten()
    }

    /// The apex of a zone.
    pub(super) fn apex(&self, zone: usize) -> Option<&Name> {
        self.names.get(zone)?.as_ref()
    }
}

/// The names that the entries of one kind have; a problem where one isn't a name or is another's too.
pub(super) fn distinct_names<'a>(
    what: &str,
    kind: &Kind,
    entries: &[Entry<'a>],
    parse: fn(&str) -> Result<Name, String>,
    report: &Report,
) -> Vec<Option<Name>> {
    let mut seen: HashMap<Name, &'a str> = HashMap::new();
    let name_of = |entry: &Entry<'a>| {
        let unquoted = entry.unquoted_names(kind);
        if !unquoted.is_empty() {
            for (span, meant) in unquoted {
                report.add(span, "a name with dots needs quotes", format!("write `[{what}s.{meant:?}]`"));
            }
            return None;
        }
        match parse(entry.name) {
            Ok(name) => {
                if let Some(first) = seen.insert(name.clone(), entry.name) {
                    let message = format!("the {what} {name} is given twice, first as {first:?}");
                    report.add(entry.span.clone(), message, "keep one; case and a final dot make no difference");
                }
                Some(name)
            }
            Err(reason) => {
                let message = format!("{:?} can't name a {what}: {reason}", entry.name);
                report.add(entry.span.clone(), message, format!("write for example `[{what}s.\"www.example.com\"]`"));
                None
            }
        }
    };
    entries.iter().map(name_of).collect()
}

/// Reads one zone. `names` are all zones', `served` those of zones and services.
pub(super) fn zone(entry: &Entry<'_>, index: usize, names: &ZoneNames, served: &Served) -> Option<Zone> {
    if !entry.unquoted_names(&schema::ZONE).is_empty() {
        return None;
    }
    let table = entry.value.table(&schema::ZONE)?;
    let apex = names.apex(index)?;
    let made_keys = ["nameservers", "hostmaster", "ttl", "negative_ttl"];
    let origin = match (table.entry("file"), table.entry("nameservers")) {
        (Some(file), _) => {
            table.refuse(&made_keys, "beside `file`", "the file has the SOA and NS records: leave one of the two out");
            ZoneOrigin::File { path: file.value.path()?, span: file.value.span() }
        }
        (None, Some(_)) => made(&table, apex, |nameserver| {
            names.closest(nameserver) == Some(index) && !served.gives_addresses(apex, nameserver)
        })?,
        (None, None) => {
            // What the other keys say is checked all the same.
            let _ = made(&table, apex, |_| false);
            return table.value().reject(
                "missing `file` or `nameservers`",
                "add `file = \"zones/example.com.zone\"`, or `nameservers = [\"ns1.example.net\", \"ns2.example.net\"]`",
            );
        }
    };
    Some(Zone { name: apex.clone(), origin, span: entry.span.clone() })
}

/// SOA and NS from keys. `lacks_address` tells the nameservers that nothing in the zone could give an address.
fn made(table: &Table<'_>, apex: &Name, lacks_address: impl Fn(&Name) -> bool) -> Option<ZoneOrigin> {
    const EXAMPLE: &str = "[\"ns1.example.net\", \"ns2.example.net\"]";
    let nameservers = table.optional("nameservers", |value| {
        value.distinct_list("a list of nameservers", EXAMPLE, MAX_NAMESERVERS, |element| {
            let name = element.domain_name()?;
            if lacks_address(&name) {
                return element.reject(
                    format!("{name} is in this zone, where nothing gives it an address"),
                    "name a host outside of the zone, add a service of this name, or give the zone a `file` with A records",
                );
            }
            Some(name)
        })
    });
    let hostmaster = match table.entry("hostmaster") {
        Some(entry) => hostmaster(entry.value),
        None => match parse_owner(&format!("hostmaster.{apex}")) {
            Ok(name) => Some(name),
            Err(reason) => table.value().reject(
                format!("`hostmaster` can't be made from the zone's name: {reason}"),
                "add for example `hostmaster = \"hostmaster.example.com\"`",
            ),
        },
    };
    let ttl = table.or("ttl", DEFAULT_TTL_SECS, |value| value.ttl());
    let negative_ttl = table.or("negative_ttl", DEFAULT_NEGATIVE_TTL_SECS, |value| value.ttl());
    Some(ZoneOrigin::Made { nameservers: nameservers?, hostmaster: hostmaster?, ttl, negative_ttl })
}

/// A mailbox as a name: its first label is what stands before the `@` (RFC 1035 section 3.3.13).
fn hostmaster(value: Value<'_>) -> Option<Name> {
    if let Some((local, domain)) = value.as_str().and_then(|text| text.split_once('@'))
        && !local.contains('.')
    {
        return value.reject("a mailbox is written as a name here", format!("write \"{local}.{domain}\""));
    }
    value.domain_name()
}
