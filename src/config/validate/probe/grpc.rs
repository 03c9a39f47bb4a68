//! `[probes.*]` of type grpc

use super::{host, source, tls};
use crate::config::reader::{Table, Value};
use crate::config::{GrpcCheck, schema};

/// Bytes of a service's name.
const MAX_SERVICE_LENGTH: usize = 255;

pub(super) fn check(table: &Table<'_>) -> Option<GrpcCheck> {
    let port = table.required("port", "port = 50051", |value| value.integer(1..=u16::MAX));
    let service = table.or("service", String::new(), service);
    let (source, host) = (source(table), table.optional("host", host));
    let is_tls = table.or("tls", false, Value::boolean);
    if !is_tls {
        for entry in schema::TLS_SETTINGS.iter().filter_map(|key| table.entry(key)) {
            let message = format!("`{}` is for TLS alone", entry.name);
            entry.value.report().add(entry.span.clone(), message, "write `tls = true` as well, or leave this out");
        }
    }
    let tls = if is_tls { Some(tls::settings(table)?) } else { None };
    Some(GrpcCheck { port: port?, source, tls, host, service })
}

fn service(value: Value<'_>) -> Option<String> {
    let name = value.text("the name of a service", "\"shop.Cart\"")?;
    if name.len() > MAX_SERVICE_LENGTH {
        return value.reject("too long a name", format!("write at most {MAX_SERVICE_LENGTH} bytes"));
    }
    Some(name.to_owned())
}
