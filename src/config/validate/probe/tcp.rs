//! `[probes.*]` of type tcp

use super::source;
use crate::config::TcpCheck;
use crate::config::reader::{Table, Value};

/// Bytes that are sent, or searched for in what is read.
const MAX_TEXT_LENGTH: usize = 65_536;

pub(super) fn check(table: &Table<'_>) -> Option<TcpCheck> {
    let port = table.required("port", "port = 443", |value| value.integer(1..=u16::MAX));
    let send = table.optional("send", |value| text(value, "\"PING\\r\\n\""));
    let expect = table.optional("expect", |value| text(value, "\"+PONG\""));
    Some(TcpCheck { port: port?, source: source(table), send, expect })
}

fn text(value: Value<'_>, example: &str) -> Option<String> {
    let text = value.text("a text", example)?;
    if text.len() > MAX_TEXT_LENGTH {
        return value.reject("too long a text", format!("write at most {MAX_TEXT_LENGTH} bytes"));
    }
    Some(text.to_owned())
}
