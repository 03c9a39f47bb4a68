//! `[probes.*]` of type tls, and the keys of all that speak TLS

use rustls::pki_types::ServerName;

use super::{host, source};
use crate::config::reader::{Table, Value};
use crate::config::{ClientCertificate, Tls, TlsCheck, Trust};

const MAX_DAYS_LEFT: u16 = 3_650;

pub(super) fn check(table: &Table<'_>) -> Option<TlsCheck> {
    let port = table.or("port", 443, |value| value.integer(1..=u16::MAX));
    let source = source(table);
    Some(TlsCheck { port, source, tls: settings(table)? })
}

pub(super) fn settings(table: &Table<'_>) -> Option<Tls> {
    let server_name = table.optional("server_name", |value| {
        let name = host(value)?;
        if ServerName::try_from(name.trim_end_matches('.')).is_err() {
            let hint = "use letters, digits, hyphens and underscores";
            return value.reject(format!("{name:?} can't be a server name of TLS"), hint);
        }
        Some(name)
    });
    let min_days_left = table.or("min_days_left", 0, |value| value.integer(1..=MAX_DAYS_LEFT));
    let verify = table.or("verify", true, Value::boolean);
    let ca_file = table.optional("ca_file", |value| {
        if !verify {
            return value.reject("nothing is verified, so no authority is asked for", "leave out `verify` or this");
        }
        value.path()
    });
    let certificate = table.optional("client_certificate", |value| value.path());
    let key = table.optional("client_key", |value| value.path());
    let client = match (table.entry("client_certificate"), table.entry("client_key")) {
        (Some(alone), None) => {
            let hint = "name the PEM file of its key: `client_key = \"/etc/meridian/probe.key\"`";
            return alone.value.reject("a certificate without its key", hint);
        }
        (None, Some(alone)) => {
            let hint = "name the PEM file of its certificate: `client_certificate = \"/etc/meridian/probe.pem\"`";
            return alone.value.reject("a key without its certificate", hint);
        }
        (None, None) => None,
        (Some(_), Some(_)) => Some(ClientCertificate { certificate: certificate?, key: key? }),
    };
    Some(Tls { server_name, trust: Trust { verify, ca_file, client }, min_days_left })
}
