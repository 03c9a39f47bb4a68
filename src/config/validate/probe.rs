//! `[probes.*]`

mod dns;
mod exec;
mod tcp;

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::config::names::parse_name;
use crate::config::reader::{Entry, Table, Value};
use crate::config::units::show_duration;
use crate::config::{Check, HttpCheck, Measure, Probe, Timing, schema};

const MIN_INTERVAL: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_secs(86_400);
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
const MIN_DEGRADED_AFTER: Duration = Duration::from_millis(1);
const MAX_HOLD_DOWN: Duration = Duration::from_secs(3_600);
const MIN_SILENCE: Duration = Duration::from_secs(1);
/// Characters of a request's path and query.
const MAX_PATH_LENGTH: usize = 2_048;
/// Further headers of a request, and characters of one's value.
const MAX_HEADERS: usize = 32;
const MAX_HEADER_LENGTH: usize = 4_096;
/// Ranges of expected statuses.
const MAX_STATUS_RANGES: usize = 100;
/// Characters of the path of a field in a body, and names in it.
const MAX_FIELD_PATH_LENGTH: usize = 1_024;
const MAX_FIELD_PATH_STEPS: usize = 16;
/// Bytes of the text that the body must contain: what is read of the body.
const MAX_BODY_LENGTH: usize = 65_536;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Http,
    Https,
    Tcp,
    Dns,
    Icmp,
    Exec,
    File,
    Heartbeat,
}

pub(super) fn probe(entry: &Entry<'_>) -> Option<Probe> {
    // Which keys there may be depends on the type, so that is read ahead; it is noted below if it isn't one.
    let written_type = entry.value.entries("a table", "{ type = \"http\" }")?;
    let written_type = written_type.iter().find(|key| key.name == "type").and_then(|key| key.value.as_str());
    let table = entry.value.table(match written_type {
        Some("tcp") => &schema::TCP_PROBE,
        Some("http") => &schema::HTTP_PROBE,
        Some("dns") => &schema::DNS_PROBE,
        Some("icmp") => &schema::ICMP_PROBE,
        Some("exec") => &schema::EXEC_PROBE,
        Some("file") => &schema::FILE_PROBE,
        Some("heartbeat") => &schema::HEARTBEAT_PROBE,
        _ => &schema::HTTPS_PROBE,
    })?;
    let kind = table.required("type", "type = \"http\"", |value| {
        value.choice(&[
            ("http", Kind::Http),
            ("https", Kind::Https),
            ("tcp", Kind::Tcp),
            ("dns", Kind::Dns),
            ("icmp", Kind::Icmp),
            ("exec", Kind::Exec),
            ("file", Kind::File),
            ("heartbeat", Kind::Heartbeat),
        ])
    });
    let timing = match kind {
        Some(Kind::File | Kind::Heartbeat) => look_timing(&table),
        _ => timing(&table),
    };
    let check = match kind {
        Some(Kind::Tcp) => tcp::check(&table).map(Check::Tcp),
        Some(Kind::Dns) => dns::check(&table).map(Check::Dns),
        Some(Kind::Icmp) => Some(Check::Icmp),
        Some(Kind::Exec) => exec::check(&table).map(Check::Exec),
        Some(Kind::File) => {
            table.required("path", "path = \"/run/meridian/states\"", |value| value.path()).map(Check::File)
        }
        Some(Kind::Heartbeat) => {
            let read = |value: Value<'_>| value.duration(MIN_SILENCE..=MAX_INTERVAL);
            table.required("max_silence", "max_silence = \"30s\"", read).map(Check::Heartbeat)
        }
        // All problems of the other keys are noted, whatever the type was meant to be.
        kind => http_check(&table, kind).map(Check::Http),
    };
    kind?;
    Some(Probe { name: entry.name.to_owned(), check: Arc::new(check?), timing })
}

fn timing(table: &Table<'_>) -> Timing {
    let default = Timing::DEFAULT;
    let interval =
        table.or("interval", Some(default.interval), |value| Some(value.duration(MIN_INTERVAL..=MAX_INTERVAL)));
    let timeout = table.optional("timeout", |value| {
        let timeout = value.duration(MIN_TIMEOUT..=MAX_INTERVAL)?;
        if let Some(interval) = interval.filter(|&interval| timeout > interval) {
            let interval = show_duration(interval);
            let message = format!("the timeout is longer than the interval of {interval}, so runs would overlap");
            return value.reject(message, format!("write at most \"{interval}\""));
        }
        Some(timeout)
    });
    let interval = interval.unwrap_or(default.interval);
    let timeout = timeout.unwrap_or(default.timeout.min(interval / 2));
    let degraded_after = table.optional("degraded_after", |value| {
        let degraded_after = value.duration(MIN_DEGRADED_AFTER..=MAX_INTERVAL)?;
        if degraded_after >= timeout {
            let timeout = show_duration(timeout);
            let message = format!("what takes longer than the timeout of {timeout} is a failure already");
            return value.reject(message, "write less than the timeout");
        }
        Some(degraded_after)
    });
    verdict_timing(table, Timing { interval, timeout, degraded_after, ..default })
}

/// Of a probe that asks nobody, so that what is said there stands at once.
fn look_timing(table: &Table<'_>) -> Timing {
    let default = Timing { interval: Duration::from_secs(1), fall: 1, rise: 1, ..Timing::DEFAULT };
    let interval = table.or("interval", default.interval, |value| value.duration(MIN_INTERVAL..=MAX_INTERVAL));
    let timeout = default.timeout.min(interval / 2);
    verdict_timing(table, Timing { interval, timeout, ..default })
}

/// The keys that make verdicts of results.
fn verdict_timing(table: &Table<'_>, default: Timing) -> Timing {
    let hold_down = default.interval.min(Timing::MAX_DEFAULT_HOLD_DOWN);
    Timing {
        fall: table.or("fall", default.fall, |value| value.integer(1..=100)),
        rise: table.or("rise", default.rise, |value| value.integer(1..=100)),
        hold_down: table.or("hold_down", hold_down, |value| value.duration(Duration::ZERO..=MAX_HOLD_DOWN)),
        manual_resume: table.or("manual_resume", default.manual_resume, Value::boolean),
        ..default
    }
}

fn http_check(table: &Table<'_>, kind: Option<Kind>) -> Option<HttpCheck> {
    let tls = kind == Some(Kind::Https);
    let method = table.or("method", "GET", |value| {
        value.choice(&["GET", "HEAD", "POST", "PUT", "OPTIONS"].map(|method| (method, method)))
    });
    let expect_body = table.optional("expect_body", |value| {
        let text = value.text("a text", "\"ok\"")?;
        if text.len() > MAX_BODY_LENGTH {
            return value.reject(
                "longer than what is read of a body",
                format!("write a part of it, at most {MAX_BODY_LENGTH} bytes"),
            );
        }
        if method == "HEAD" {
            return value.reject("a response to HEAD has no body", "write `method = \"GET\"`, or leave this out");
        }
        Some(text.to_owned())
    });
    let load = table.or("load", Vec::new(), |value| {
        if method == "HEAD" {
            return value.reject("a response to HEAD has no body", "write `method = \"GET\"`, or leave this out");
        }
        load(value)
    });
    let ca_file = match kind {
        // An unknown key there, which is noted already.
        Some(Kind::Http) => None,
        _ => table.optional("ca_file", |value| value.path()),
    };
    Some(HttpCheck {
        tls,
        method: method.to_owned(),
        path: table.or("path", "/".to_owned(), path),
        port: table.or("port", if tls { 443 } else { 80 }, |value| value.integer(1..=u16::MAX)),
        host: table.optional("host", host),
        headers: table.or("headers", Vec::new(), headers),
        expect_status: table.or("expect_status", vec![200..=399], |value| {
            value.list("a list of statuses", "[200, \"300-399\"]", MAX_STATUS_RANGES, statuses)
        }),
        expect_body,
        load,
        ca_file,
    })
}

fn load(value: Value<'_>) -> Option<Vec<(Measure, String)>> {
    let table = value.table(&schema::LOAD)?;
    let paths = Measure::ALL.into_iter().filter_map(|measure| {
        let path = table.optional(measure.name(), |value| {
            const EXPECTED: &str = "the path of a field";
            let path = value.text(EXPECTED, "\"server.active\"")?;
            let steps = path.split('.').count();
            if path.len() > MAX_FIELD_PATH_LENGTH || steps > MAX_FIELD_PATH_STEPS || path.split('.').any(str::is_empty)
            {
                return value.reject(
                    format!("expected {EXPECTED}, 1 to {MAX_FIELD_PATH_STEPS} names joined by dots, found {path:?}"),
                    "write for example `\"server.active\"`, or `\"servers.0.active\"` for the first of a list",
                );
            }
            Some(path.to_owned())
        });
        path.map(|path| (measure, path))
    });
    Some(paths.collect())
}

fn path(value: Value<'_>) -> Option<String> {
    let path = value.text("a path", "\"/healthz\"")?;
    if !path.starts_with('/') {
        return value.reject("a path begins with `/`", format!("write \"/{path}\""));
    }
    if path.len() > MAX_PATH_LENGTH || !path.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'#') {
        return value.reject(
            format!("a path is up to {MAX_PATH_LENGTH} printable ASCII characters without spaces and `#`"),
            "write other characters as `%20` and the like",
        );
    }
    Some(path.to_owned())
}

/// A name or an address without a port.
pub(super) fn host(value: Value<'_>) -> Option<String> {
    let host = value.text("a host name", "\"www.example.com\"")?;
    if host.parse::<IpAddr>().is_ok() || parse_name(host).is_ok() {
        return Some(host.to_owned());
    }
    value.reject(
        format!("{host:?} isn't a host name or an address"),
        "write for example `\"www.example.com\"`; the port has a key of its own",
    )
}

fn headers(value: Value<'_>) -> Option<Vec<(String, String)>> {
    const EXAMPLE: &str = "{ Accept = \"text/plain\" }";
    let entries = value.entries("a table of headers", EXAMPLE)?;
    if entries.len() > MAX_HEADERS {
        return value.reject(format!("{} headers are too many", entries.len()), format!("keep at most {MAX_HEADERS}"));
    }
    let mut seen = HashSet::new();
    let headers = entries.iter().map(|entry| {
        header_name(entry, &mut seen);
        let text = entry.value.text("the value of a header", "\"text/plain\"")?;
        if text.len() > MAX_HEADER_LENGTH || !text.bytes().all(|octet| (b' '..=b'~').contains(&octet)) {
            return entry.value.reject(
                format!("the value of a header is up to {MAX_HEADER_LENGTH} printable ASCII characters"),
                "write for example `\"text/plain\"`",
            );
        }
        Some((entry.name.to_owned(), text.to_owned()))
    });
    Some(headers.collect::<Vec<_>>().into_iter().flatten().collect())
}

/// Notes a header that can't be: RFC 9110 section 5.6.2, or one that is made from other keys or by the client.
fn header_name(entry: &Entry<'_>, seen: &mut HashSet<String>) {
    let lower_case = entry.name.to_ascii_lowercase();
    let token = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
    let (message, hint) = match lower_case.as_str() {
        "host" => ("the Host header has a key of its own".to_owned(), "write `host = \"www.example.com\"`"),
        "content-length" | "transfer-encoding" | "connection" => {
            (format!("`{}` is set by the prober", entry.name), "leave it out")
        }
        name if name.is_empty() || !name.bytes().all(token) => {
            (format!("{:?} can't be the name of a header", entry.name), "use letters, digits and hyphens")
        }
        _ if seen.insert(lower_case.clone()) => return,
        _ => (format!("the header `{}` is given twice", entry.name), "keep one of them; case makes no difference"),
    };
    entry.value.report().add(entry.span.clone(), message, hint);
}

/// `200` or `"200-299"`
fn statuses(value: Value<'_>) -> Option<RangeInclusive<u16>> {
    const STATUSES: RangeInclusive<u16> = 100..=599;
    if value.is_integer() {
        let status = value.integer(STATUSES)?;
        return Some(status..=status);
    }
    const EXPECTED: &str = "a status, or a range of statuses from 100 to 599";
    let text = value.text(EXPECTED, "\"200-299\"")?;
    let range = text.split_once('-').unwrap_or((text, text));
    match (range.0.parse(), range.1.parse()) {
        (Ok(first), Ok(last)) if STATUSES.contains(&first) && STATUSES.contains(&last) && first <= last => {
            Some(first..=last)
        }
        _ => value.reject(format!("expected {EXPECTED}, found {text:?}"), "write for example `\"200-299\"`"),
    }
}
