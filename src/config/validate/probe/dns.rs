//! `[probes.*]` of type dns

use std::net::IpAddr;
use std::str::FromStr;

use domain::base::Rtype;

use super::source;
use crate::config::reader::{Table, Value};
use crate::config::{DnsCheck, DnsData};
use crate::zone::{Name, rtype};

/// Bytes of a text that is expected.
const MAX_TEXT_LENGTH: usize = 4_096;

pub(super) fn check(table: &Table<'_>) -> Option<DnsCheck> {
    let name = table.required("name", "name = \"health.example.com\"", |value| match value.as_str() {
        Some(".") => Some(Name::root_vec()),
        _ => value.domain_name(),
    });
    let rtype = table.or("record", Some(rtype::A), |value| Some(record(value)));
    let expect_rcode = table.or("expect_rcode", 0, |value| {
        value.choice(&[("NOERROR", 0), ("FORMERR", 1), ("SERVFAIL", 2), ("NXDOMAIN", 3), ("NOTIMP", 4), ("REFUSED", 5)])
    });
    let expect_answer = table.optional("expect_answer", |value| data(value, rtype?));
    Some(DnsCheck {
        port: table.or("port", 53, |value| value.integer(1..=u16::MAX)),
        source: source(table),
        name: name?,
        rtype: rtype?,
        recursion: table.or("recursion", false, Value::boolean),
        expect_rcode,
        expect_answer,
    })
}

/// A type that records have: none that is a question or a part of the protocol.
fn record(value: Value<'_>) -> Option<u16> {
    let text = value.text("a type of records", "\"AAAA\"")?;
    match Rtype::from_str(text).map(Rtype::to_int) {
        Ok(0 | rtype::OPT | rtype::NXNAME..=rtype::ANY) | Err(_) => {
            value.reject(format!("{text:?} isn't a type of records"), "write for example `\"AAAA\"` or `\"TYPE65\"`")
        }
        Ok(rtype) => Some(rtype),
    }
}

fn data(value: Value<'_>, rtype: u16) -> Option<DnsData> {
    match rtype {
        rtype::A | rtype::AAAA => {
            let example = if rtype == rtype::A { "\"192.0.2.1\"" } else { "\"2001:db8::1\"" };
            let text = value.text("an address", example)?;
            match text.parse::<IpAddr>() {
                Ok(address) if address.is_ipv4() == (rtype == rtype::A) => Some(DnsData::Address(address)),
                _ => {
                    let rtype = Rtype::from_int(rtype);
                    value.reject(
                        format!("{text:?} is no data of an {rtype} record"),
                        format!("write for example `{example}`"),
                    )
                }
            }
        }
        rtype::CNAME | rtype::DNAME | rtype::NS | rtype::PTR => value.domain_name().map(DnsData::Name),
        rtype::TXT => {
            let text = value.text("a text", "\"ok\"")?;
            if text.len() > MAX_TEXT_LENGTH {
                return value.reject("too long a text", format!("write at most {MAX_TEXT_LENGTH} bytes"));
            }
            Some(DnsData::Text(text.to_owned()))
        }
        _ => value.reject(
            "data of that type can't be expected here",
            "ask for A, AAAA, CNAME, DNAME, NS, PTR or TXT, or leave this out and expect the rcode alone",
        ),
    }
}
