//! `[probes.*]`

mod dns;
mod exec;
mod grpc;
mod http;
mod tcp;
mod tls;

pub(super) use http::path as request_path;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::names::parse_name;
use crate::config::reader::{Entry, Table, Value};
use crate::config::units::show_duration;
use crate::config::{Check, FileCheck, Probe, Timing, schema};

const MIN_INTERVAL: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_secs(86_400);
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
const MIN_DEGRADED_AFTER: Duration = Duration::from_millis(1);
const MAX_HOLD_DOWN: Duration = Duration::from_secs(3_600);
const MIN_SILENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Http,
    Https,
    Tcp,
    Tls,
    Grpc,
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
        Some("tls") => &schema::TLS_PROBE,
        Some("grpc") => &schema::GRPC_PROBE,
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
            ("tls", Kind::Tls),
            ("grpc", Kind::Grpc),
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
        Some(Kind::Icmp) => Some(Check::Icmp { source: source(&table) }),
        Some(Kind::Exec) => exec::check(&table).map(Check::Exec),
        Some(Kind::File) => {
            let path = table.required("path", "path = \"/run/meridian/states\"", |value| value.path());
            let max_silence = table.optional("max_silence", max_silence);
            path.map(|path| Check::File(FileCheck { path, max_silence }))
        }
        Some(Kind::Heartbeat) => {
            table.required("max_silence", "max_silence = \"30s\"", max_silence).map(Check::Heartbeat)
        }
        Some(Kind::Tls) => tls::check(&table).map(Check::Tls),
        Some(Kind::Grpc) => grpc::check(&table).map(Check::Grpc),
        Some(Kind::Http) => http::check(&table, false).map(Check::Http),
        // All problems of the other keys are noted, whatever the type was meant to be.
        Some(Kind::Https) | None => http::check(&table, true).map(Check::Http),
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

fn max_silence(value: Value<'_>) -> Option<Duration> {
    value.duration(MIN_SILENCE..=MAX_INTERVAL)
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

/// An address of this machine to connect from; whether it is one shows when it is used.
fn source(table: &Table<'_>) -> Option<IpAddr> {
    table.optional("source", |value| {
        const EXPECTED: &str = "an address of this machine";
        let text = value.text(EXPECTED, "\"192.0.2.53\"")?;
        match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if !address.is_unspecified() && !address.is_multicast() => Some(address),
            Ok(_) => value.reject("no connection comes from there", "write one address, or leave this out"),
            Err(_) => {
                value.reject(format!("expected {EXPECTED}, found {text:?}"), "write for example `\"192.0.2.53\"`")
            }
        }
    })
}
