//! `[services.*.https]` and `[services.*.svcb]`

use crate::config::reader::{Table, Value};
use crate::config::{Binding, schema};

/// Protocols that one binding offers.
const MAX_ALPN: usize = 16;
/// Octets of a protocol's name (RFC 7301 section 3.1).
const MAX_ALPN_OCTETS: usize = 255;

/// The binding with this key. A service of hostnames is an alias for every type, so it has no room for one.
pub(super) fn binding(service: &Table<'_>, key: &str, is_alias: bool) -> Option<Binding> {
    let entry = service.entry(key)?;
    if is_alias {
        entry.value.report().add(
            entry.span.clone(),
            format!("`{key}` has no meaning here, as this service's pools have hostnames"),
            "leave it out: the name is answered as CNAME for every type, and the target's own records are followed",
        );
    }
    let table = entry.value.table(&schema::BINDING)?;
    let priority = table.or("priority", 1, |value| value.integer(1..=u16::MAX));
    let alpn = table.or("alpn", Vec::new(), |value| {
        value.distinct_list("a list of protocols", "[\"h2\", \"h3\"]", MAX_ALPN, |element| {
            let name = element.text("the name of a protocol", "\"h2\"")?;
            if name.len() > MAX_ALPN_OCTETS {
                return element.reject(
                    format!("the name of a protocol has at most {MAX_ALPN_OCTETS} octets"),
                    "write its ALPN identifier, such as \"h2\" (RFC 7301)",
                );
            }
            Some(name.as_bytes().to_vec())
        })
    });
    let no_default_alpn = table.or("no_default_alpn", false, |value| {
        if value.boolean()? && table.entry("alpn").is_none() {
            return value.reject(
                "without `alpn` no protocol would be left",
                "add for example `alpn = [\"h2\"]` (RFC 9460 section 7.1.1)",
            );
        }
        value.boolean()
    });
    let port = table.optional("port", |value| value.integer(1..=u16::MAX));
    let target = table.optional("target", target).flatten();
    let hints = table.or("hints", target.is_none(), |value| {
        let hints = value.boolean()?;
        if hints && target.is_some() {
            return value.reject(
                "the addresses of another `target` are not decided by this service, so it can't hint at them",
                "leave out `hints`, or `target`",
            );
        }
        Some(hints)
    });
    Some(Binding { priority, target, alpn, no_default_alpn, port, hints })
}

/// A name, or `.` for the service's own.
fn target(value: Value<'_>) -> Option<Option<crate::zone::Name>> {
    if value.as_str() == Some(".") {
        return Some(None);
    }
    value.domain_name().map(Some)
}
