//! `[probes.*]` of type http or https

use std::collections::HashSet;
use std::ops::RangeInclusive;

use super::{host, source, tls};
use crate::config::reader::{Entry, Table, Value};
use crate::config::{BodyRegex, ExpectedField, FieldValue, HttpCheck, HttpVersion, Measure, schema};

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
/// Bytes of a text that a field must be.
const MAX_FIELD_VALUE_LENGTH: usize = 1_024;

pub(super) fn check(table: &Table<'_>, is_https: bool) -> Option<HttpCheck> {
    let method = table.or("method", "GET", |value| {
        value.choice(&["GET", "HEAD", "POST", "PUT", "OPTIONS"].map(|method| (method, method)))
    });
    // What is expected of a body, or read from it.
    let needs_body = |value: Value<'_>| match method {
        "HEAD" => value.reject("a response to HEAD has no body", "write `method = \"GET\"`, or leave this out"),
        _ => Some(()),
    };
    let tls = if is_https { tls::settings(table).map(Some) } else { Some(None) };
    let expect_body = table.optional("expect_body", |value| {
        let text = value.text("a text", "\"ok\"")?;
        if text.len() > MAX_BODY_LENGTH {
            return value.reject(
                "longer than what is read of a body",
                format!("write a part of it, at most {MAX_BODY_LENGTH} bytes"),
            );
        }
        needs_body(value)?;
        Some(text.to_owned())
    });
    let expect_body_regex = table.optional("expect_body_regex", |value| {
        needs_body(value)?;
        regex(value)
    });
    let expect_field = table.optional("expect_field", |value| {
        needs_body(value)?;
        expected_field(value)
    });
    let load = table.or("load", Vec::new(), |value| {
        needs_body(value)?;
        load(value)
    });
    Some(HttpCheck {
        tls: tls?,
        version: table.or("http_version", HttpVersion::Http1, |value| {
            value.choice(&[("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2)])
        }),
        source: source(table),
        method: method.to_owned(),
        path: table.or("path", "/".to_owned(), path),
        port: table.or("port", if is_https { 443 } else { 80 }, |value| value.integer(1..=u16::MAX)),
        host: table.optional("host", host),
        headers: table.or("headers", Vec::new(), headers),
        expect_status: table.or("expect_status", vec![200..=399], |value| {
            value.list("a list of statuses", "[200, \"300-399\"]", MAX_STATUS_RANGES, statuses)
        }),
        expect_body,
        expect_body_regex,
        expect_field,
        load,
    })
}

fn regex(value: Value<'_>) -> Option<BodyRegex> {
    const HINT: &str = "write for example `'\"status\": *\"(ok|warm)\"'`, with single quotes so that backslashes stay";
    let text = value.text("a regular expression", "'state=(ok|warm)'")?;
    if text.len() > BodyRegex::MAX_LENGTH {
        return value
            .reject(format!("longer than {} bytes", BodyRegex::MAX_LENGTH), "write a shorter regular expression");
    }
    match BodyRegex::new(text) {
        Ok(regex) => Some(regex),
        Err(regex::Error::CompiledTooBig(_)) => {
            value.reject("this expression needs too much memory", "write a simpler one, or one with smaller counts")
        }
        // Its words are several lines that show the expression again; the last says what is wrong.
        Err(error) => {
            let words = error.to_string();
            let reason = words.lines().last().unwrap_or_default().trim_start_matches("error: ");
            value.reject(format!("not a regular expression: {reason}"), HINT)
        }
    }
}

fn expected_field(value: Value<'_>) -> Option<ExpectedField> {
    let table = value.table(&schema::EXPECTED_FIELD)?;
    let path = table.required("path", "path = \"status.db\"", field_path);
    let is = table.required("is", "is = \"ok\"", field_value);
    Some(ExpectedField { path: path?, is: is? })
}

fn field_value(value: Value<'_>) -> Option<FieldValue> {
    if value.is_integer() {
        // What a double holds exactly (RFC 8259 section 6).
        const MOST: i64 = (1 << 53) - 1;
        return value.integer(-MOST..=MOST).map(|number| FieldValue::Number(number.into()));
    }
    if value.is_boolean() {
        return value.boolean().map(FieldValue::Boolean);
    }
    match value.as_str() {
        Some(text) if text.len() <= MAX_FIELD_VALUE_LENGTH => Some(FieldValue::Text(text.to_owned())),
        Some(_) => value.reject("too long a text", format!("write at most {MAX_FIELD_VALUE_LENGTH} bytes")),
        None => {
            let expected = "a text, a number, true or false";
            let number = value.number(expected, f64::MIN..=f64::MAX, "\"ok\"")?;
            serde_json::Number::from_f64(number).map(FieldValue::Number)
        }
    }
}

/// Names of fields and places in lists, joined by dots.
fn field_path(value: Value<'_>) -> Option<String> {
    const EXPECTED: &str = "the path of a field";
    let path = value.text(EXPECTED, "\"server.active\"")?;
    let steps = path.split('.').count();
    if path.len() > MAX_FIELD_PATH_LENGTH || steps > MAX_FIELD_PATH_STEPS || path.split('.').any(str::is_empty) {
        return value.reject(
            format!("expected {EXPECTED}, 1 to {MAX_FIELD_PATH_STEPS} names joined by dots, found {path:?}"),
            "write for example `\"server.active\"`, or `\"servers.0.active\"` for the first of a list",
        );
    }
    Some(path.to_owned())
}

fn load(value: Value<'_>) -> Option<Vec<(Measure, String)>> {
    let table = value.table(&schema::LOAD)?;
    let paths = Measure::ALL.into_iter().filter_map(|measure| {
        let path = table.optional(measure.name(), field_path);
        path.map(|path| (measure, path))
    });
    Some(paths.collect())
}

/// The path and query of a request.
pub(in crate::config::validate) fn path(value: Value<'_>) -> Option<String> {
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
