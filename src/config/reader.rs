//! The tree of a TOML text, read value by value, so that one pass finds every problem.
//!
//! Reading never stops at a problem: it is noted in the [`Report`], and what was asked for is absent, or its default.
//! A configuration is made only where the report stays empty, so such a stand-in never gets any further.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Problem, Problems, Source};
use super::names::parse_name;
use super::network::{self, NetworkError, parse_network};
use super::schema::{self, Kind};
use super::similar::closest;
use super::units::{parse_duration, show_duration};
use super::{MAX_TTL_SECS, Span};
use crate::unix_time;
use crate::zone::Name;

/// Names that a hint lists.
const MAX_LISTED: usize = 16;
/// Of so many other tables it is said that they have a key.
const MAX_OTHERS: usize = 3;

/// The problems found so far.
#[derive(Debug)]
pub(super) struct Report {
    source: Arc<Source>,
    problems: RefCell<Vec<Problem>>,
}

impl Report {
    pub(super) fn new(source: &Arc<Source>) -> Self {
        Self { source: Arc::clone(source), problems: RefCell::default() }
    }

    /// Notes a problem with a place.
    pub(super) fn add(&self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Problem::new(message).at(&self.source, span).hint(hint));
    }

    /// Notes a problem of the file as a whole.
    pub(super) fn add_whole(&self, message: &str, hint: impl Into<String>) {
        self.push(Problem::new(format!("{}: {message}", self.source.path.display())).hint(hint));
    }

    /// Notes what the parser of TOML found: the first error of each line, as more there follow from it.
    pub(super) fn add_syntax(&self, mut errors: Vec<toml::de::Error>) {
        let text = self.source.text.as_str();
        let span = |error: &toml::de::Error| error.span().unwrap_or(text.len()..text.len());
        errors.sort_by_key(|error| span(error).start);
        let is_unclosed = errors.iter().any(|error| {
            ["unclosed array,", "unclosed inline table,"].iter().any(|open| error.message().starts_with(open))
        });
        let mut line_end = None;
        for error in &errors {
            let span = span(error);
            if line_end.is_some_and(|line_end| span.start <= line_end) {
                continue;
            }
            let rest = text.get(span.start..).unwrap_or_default();
            line_end = Some(rest.find('\n').map_or(text.len(), |length| span.start + length));
            if is_repeated_key(error) {
                let key = text.get(span.clone()).unwrap_or_default();
                self.add(span, format!("`{key}` is given twice"), "keep one of them");
            } else if is_unclosed {
                // All that follows was read as a part of the list or table.
                self.add(span, error.message(), "a list or table that begins before this is never closed");
                break;
            } else {
                self.push(Problem::new(error.message()).at(&self.source, span));
            }
        }
    }

    fn push(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// The configuration's file.
    pub(super) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// `value` if no problem was noted, else the problems in the order of the text.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.place.as_ref().map(|(_, span)| span.start));
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => Err(Problems(problems)),
        }
    }
}

/// Whether the error leaves a tree that is whole: the first of the two keys stands.
pub(super) fn is_repeated_key(error: &toml::de::Error) -> bool {
    error.message() == "duplicate key"
}

/// A value and its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    node: &'a Spanned<DeValue<'a>>,
    report: &'a Report,
}

/// A key, its place and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    /// Where the key is.
    pub(super) span: Span,
    pub(super) value: Value<'a>,
}

impl<'a> Value<'a> {
    pub(super) fn new(node: &'a Spanned<DeValue<'a>>, report: &'a Report) -> Self {
        Self { node, report }
    }

    pub(super) fn report(self) -> &'a Report {
        self.report
    }

    pub(super) fn span(self) -> Span {
        self.node.span()
    }

    /// Notes a problem with this value; always `None`.
    pub(super) fn reject<T>(self, message: impl Into<String>, hint: impl Into<String>) -> Option<T> {
        self.report.add(self.span(), message, hint);
        None
    }

    /// Notes that the value isn't what it should be. `example` is TOML.
    fn mismatch<T>(self, expected: &str, example: &str) -> Option<T> {
        self.reject(format!("expected {expected}, found {}", self.found()), format!("write for example `{example}`"))
    }

    /// What the value is, for a message.
    fn found(self) -> String {
        match self.node.get_ref() {
            DeValue::String(text) => format!("the string {text:?}"),
            DeValue::Integer(number) => format!("the integer {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) => "a date or time".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }

    /// The string, if it is one.
    pub(super) fn as_str(self) -> Option<&'a str> {
        self.node.get_ref().as_str()
    }

    /// Whether it is a table.
    pub(super) fn is_table(self) -> bool {
        self.node.get_ref().is_table()
    }

    /// Whether it is true or false.
    pub(super) fn is_boolean(self) -> bool {
        self.node.get_ref().is_bool()
    }

    /// Whether it is an integer.
    pub(super) fn is_integer(self) -> bool {
        self.node.get_ref().is_integer()
    }

    /// A string that isn't empty.
    pub(super) fn text(self, expected: &str, example: &str) -> Option<&'a str> {
        match self.node.get_ref() {
            DeValue::String(text) if !text.is_empty() => Some(text),
            _ => self.mismatch(expected, example),
        }
    }

    /// True or false.
    pub(super) fn boolean(self) -> Option<bool> {
        match self.node.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => self.mismatch("true or false", "true"),
        }
    }

    /// An integer within bounds.
    pub(super) fn integer<T>(self, bounds: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        let (least, most) = (bounds.start(), bounds.end());
        let written = match self.node.get_ref() {
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(text) => text.parse().ok(),
            _ => None,
        };
        let number = written.and_then(|number| T::try_from(i64::try_from(number).ok()?).ok());
        let is_above = match &number {
            Some(number) => number > most,
            None => written.is_some_and(|number| number > 0),
        };
        let example = match number.filter(|number| bounds.contains(number)) {
            Some(number) if self.is_integer() => return Some(number),
            Some(number) => number.to_string(),
            None if is_above => most.to_string(),
            None => least.to_string(),
        };
        self.mismatch(&format!("an integer from {least} to {most}"), &example)
    }

    /// A number within bounds, which may be written as an integer.
    pub(super) fn number(self, expected: &str, bounds: RangeInclusive<f64>, example: &str) -> Option<f64> {
        let text = match self.node.get_ref() {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            _ => return self.mismatch(expected, example),
        };
        match text.parse() {
            Ok(number) if bounds.contains(&number) => Some(number),
            _ => self.mismatch(expected, example),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.as_str();
        if let Some((_, value)) = choices.iter().find(|(word, _)| Some(*word) == text) {
            return Some(*value);
        }
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
        let expected = format!("one of {}", words.join(", "));
        match text.and_then(|text| closest(text, choices.iter().map(|(word, _)| *word))) {
            Some(meant) => self.reject(
                format!("expected {expected}, found the string {:?}", text.unwrap_or_default()),
                format!("did you mean {meant:?}?"),
            ),
            None => self.mismatch(&expected, words.first().map_or("", String::as_str)),
        }
    }

    /// A duration within bounds.
    pub(super) fn duration(self, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        const EXPECTED: &str = "a duration with a unit (ms, s, m, h or d)";
        let digits = match self.node.get_ref() {
            DeValue::String(text) => match parse_duration(text) {
                Some(duration) if bounds.contains(&duration) => return Some(duration),
                Some(duration) => {
                    let (least, most) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
                    return self.reject(
                        format!("expected a duration from {least} to {most}, found {}", show_duration(duration)),
                        format!("write for example `{:?}`", if duration < *bounds.start() { least } else { most }),
                    );
                }
                None => text.trim(),
            },
            DeValue::Integer(number) => number.as_str(),
            _ => return self.mismatch(EXPECTED, "\"5s\""),
        };
        if !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit()) {
            return self.mismatch(EXPECTED, &format!("\"{digits}s\""));
        }
        self.mismatch(EXPECTED, "\"1m30s\"")
    }

    /// A TTL in seconds (RFC 2181 section 8).
    pub(super) fn ttl(self) -> Option<u32> {
        let duration = self.duration(Duration::ZERO..=Duration::from_secs(u64::from(MAX_TTL_SECS)))?;
        if duration.subsec_nanos() != 0 {
            return self.reject("a TTL is a whole number of seconds", "write for example `\"1s\"`");
        }
        u32::try_from(duration.as_secs()).ok()
    }

    /// A point in time, in whole seconds since 1970.
    pub(super) fn instant(self) -> Option<u32> {
        const EXAMPLE: &str = "2026-11-22T03:00:00Z";
        let DeValue::Datetime(written) = self.node.get_ref() else {
            return self.mismatch("a date and time, without quotes", EXAMPLE);
        };
        let Some(seconds) = unix_time::of_datetime(written) else {
            let hint =
                format!("write for example `{EXAMPLE}`; the Z, or an offset like +02:00, says whose clock is meant");
            return self.reject("expected a date and time with an offset", hint);
        };
        match u32::try_from(seconds) {
            Ok(seconds) => Some(seconds),
            Err(_) => self.reject("expected a time from 1970 to 2106", format!("write for example `{EXAMPLE}`")),
        }
    }

    /// The path of a file, made relative to the folder of the configuration.
    pub(super) fn path(self) -> Option<PathBuf> {
        let path = self.text("a path", "\"/etc/meridian/file\"")?;
        if path.contains('\0') {
            return self.reject("a path can't contain NUL", "remove it");
        }
        let folder = self.report.source.path.parent().unwrap_or(Path::new(""));
        Some(folder.join(path))
    }

    /// An address with a port; this one is the usual port.
    pub(super) fn socket_address(self, port: u16) -> Option<SocketAddr> {
        let example = format!("\"0.0.0.0:{port}\"");
        let text = self.text("an address with a port", &example)?;
        match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
            (Ok(address), _) => Some(address),
            (_, Ok(IpAddr::V4(address))) => self.reject("the port is missing", format!("write \"{address}:{port}\"")),
            (_, Ok(IpAddr::V6(address))) => self.reject("the port is missing", format!("write \"[{address}]:{port}\"")),
            _ => self.mismatch("an address with a port", &example),
        }
    }

    /// A network, host bits zero.
    pub(super) fn network(self) -> Option<IpNet> {
        let text = self.text(network::EXPECTED, "\"10.20.0.0/16\"")?;
        match parse_network(text) {
            Ok(network) => Some(network),
            Err(NetworkError { message, hint }) => self.reject(message, hint),
        }
    }

    /// An address that clients can be sent to.
    pub(super) fn address(self) -> Option<IpAddr> {
        let text = self.text("an IPv4 or IPv6 address", "\"192.0.2.1\"")?;
        let Ok(address) = text.parse::<IpAddr>() else {
            return self.mismatch("an IPv4 or IPv6 address", "\"192.0.2.1\"");
        };
        if address.to_canonical() != address {
            let hint = format!("write \"{}\"", address.to_canonical());
            return self.reject("an IPv4 address mapped into IPv6 can't be answered", hint);
        }
        if address.is_unspecified() || address.is_multicast() {
            return self.reject(format!("no client can connect to {address}"), "write the address of one host");
        }
        Some(address)
    }

    /// A domain name, lower case.
    pub(super) fn domain_name(self) -> Option<Name> {
        let text = self.text("a domain name", "\"host.example.net\"")?;
        match parse_name(text) {
            Ok(name) => Some(name),
            Err(reason) => {
                self.reject(format!("not a domain name: {reason}"), "write for example `\"host.example.net\"`")
            }
        }
    }

    /// A value that reads from a string; the error of [`std::str::FromStr`] says what one is.
    pub(super) fn parsed<T: std::str::FromStr<Err = &'static str>>(self, example: &str) -> Option<T> {
        let text = self.text("a string", example)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(reason) => self.reject(format!("{text:?}: {reason}"), format!("write for example `{example}`")),
        }
    }

    /// The elements of a list.
    pub(super) fn elements(self, expected: &str, example: &str) -> Option<impl ExactSizeIterator<Item = Value<'a>>> {
        let report = self.report;
        match self.node.get_ref() {
            DeValue::Array(array) => Some(array.iter().map(move |node| Value { node, report })),
            _ => self.mismatch(expected, example),
        }
    }

    /// What each element of a list reads as; absent where the list is empty, longer than `most`, or has an element
    /// that can't be read.
    pub(super) fn list<T>(
        self,
        expected: &str,
        example: &str,
        most: usize,
        read: impl FnMut(Value<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let elements = self.elements(expected, example)?;
        match elements.len() {
            0 => self.reject(format!("expected {expected}, found none"), format!("write for example `{example}`")),
            count if count > most => {
                self.reject(format!("{count} elements are too many"), format!("keep at most {most}"))
            }
            _ => {
                // Every element is read before one that can't be makes the list absent.
                let read: Vec<Option<T>> = elements.map(read).collect();
                read.into_iter().collect()
            }
        }
    }

    /// [`Value::list`] without two elements that are equal.
    pub(super) fn distinct_list<T: Clone + Eq + Hash>(
        self,
        expected: &str,
        example: &str,
        most: usize,
        mut read: impl FnMut(Value<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut seen = HashSet::new();
        self.list(expected, example, most, |element| {
            let value = read(element)?;
            if !seen.insert(value.clone()) {
                return element.reject("given twice in this list", "remove one of them");
            }
            Some(value)
        })
    }

    /// The entries of a table whose keys are names, in the order of the text.
    pub(super) fn entries(self, expected: &str, example: &str) -> Option<Vec<Entry<'a>>> {
        match self.node.get_ref() {
            DeValue::Table(table) => Some(entries(table, self.report)),
            _ => self.mismatch(expected, example),
        }
    }

    /// A table with known keys; unknown ones are noted.
    pub(super) fn table(self, kind: &'static Kind) -> Option<Table<'a>> {
        let DeValue::Table(table) = self.node.get_ref() else {
            let hint = can_have(kind);
            return self.reject(format!("expected a table, found {}", self.found()), hint);
        };
        let entries = entries(table, self.report);
        for entry in entries.iter().filter(|entry| !kind.has(entry.name)) {
            let others: Vec<&str> = schema::having(entry.name).iter().map(|other| other.title).collect();
            let hint = match (closest(entry.name, kind.keys()), others.as_slice()) {
                (Some(meant), _) => format!("did you mean `{meant}`?"),
                // What many have tells nothing.
                (None, others @ [_, ..]) if others.len() <= MAX_OTHERS => {
                    format!("it is a key of {}; {}", others.join(", of "), can_have(kind))
                }
                (None, _) => can_have(kind),
            };
            self.report.add(entry.span.clone(), format!("unknown key `{}`", entry.name), hint);
        }
        Some(Table { value: self, entries, kind })
    }
}

impl Entry<'_> {
    /// The names that were meant where they have dots but no quotes, which makes TOML read tables in tables; each with
    /// the place of its last label.
    pub(super) fn unquoted_names(&self, kind: &Kind) -> Vec<(Span, String)> {
        let DeValue::Table(table) = self.value.node.get_ref() else { return Vec::new() };
        let mut names = Vec::new();
        for label in entries(table, self.value.report) {
            if label.value.is_table() && !kind.has(label.name) {
                let mut rest = label.unquoted_names(kind);
                if rest.is_empty() {
                    rest.push((label.span, label.name.to_owned()));
                }
                names.extend(rest.into_iter().map(|(span, rest)| (span, format!("{}.{rest}", self.name))));
            }
        }
        names
    }
}

/// A table with known keys.
#[derive(Debug)]
pub(super) struct Table<'a> {
    value: Value<'a>,
    entries: Vec<Entry<'a>>,
    kind: &'static Kind,
}

impl<'a> Table<'a> {
    /// The table as a value, for its place.
    pub(super) fn value(&self) -> Value<'a> {
        self.value
    }

    /// The entry with this key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry<'a>> {
        debug_assert!(self.kind.has(key), "{key} is not in the schema");
        self.entries.iter().find(|entry| entry.name == key)
    }

    /// What the key's value reads as; absent without the key too.
    pub(super) fn optional<T>(&self, key: &str, read: impl FnOnce(Value<'a>) -> Option<T>) -> Option<T> {
        read(self.entry(key)?.value)
    }

    /// What the key's value reads as, or the default.
    pub(super) fn or<T>(&self, key: &str, default: T, read: impl FnOnce(Value<'a>) -> Option<T>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// What the key's value reads as; it is a problem when there is none. `example` is TOML.
    pub(super) fn required<T>(&self, key: &str, example: &str, read: impl FnOnce(Value<'a>) -> Option<T>) -> Option<T> {
        match self.entry(key) {
            Some(entry) => read(entry.value),
            None => self.value.reject(format!("missing `{key}`"), format!("add for example `{example}`")),
        }
    }

    /// Notes each of these keys that is there.
    pub(super) fn refuse(&self, keys: &[&str], message: &str, hint: &str) {
        for entry in keys.iter().filter_map(|key| self.entry(key)) {
            self.value.report.add(entry.span.clone(), format!("`{}` {message}", entry.name), hint);
        }
    }

    /// The report, for problems of more than one key.
    pub(super) fn report(&self) -> &'a Report {
        self.value.report
    }
}

/// The names that entries of one kind are referred to by.
#[derive(Debug)]
pub(super) struct Names<'a> {
    /// What they name.
    what: &'static str,
    in_order: Vec<&'a str>,
    indices: HashMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    /// Notes names that can't be.
    pub(super) fn new(what: &'static str, entries: &[Entry<'a>], report: &Report) -> Self {
        const MAX_LENGTH: usize = 63;
        let in_order: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
        let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
        for entry in entries {
            if entry.name.is_empty() || entry.name.len() > MAX_LENGTH || !entry.name.chars().all(allowed) {
                let message = format!("{:?} can't name a {what}", entry.name);
                let hint = format!("use 1 to {MAX_LENGTH} letters, digits, `-`, `_` and `.`");
                report.add(entry.span.clone(), message, hint);
            }
        }
        let indices = in_order.iter().enumerate().map(|(index, name)| (*name, index)).collect();
        Self { what, in_order, indices }
    }

    /// The name at an index.
    pub(super) fn name(&self, index: usize) -> &'a str {
        self.in_order.get(index).copied().unwrap_or_default()
    }

    /// The index that a string value refers to.
    pub(super) fn resolve(&self, value: Value<'_>) -> Option<usize> {
        let expected = format!("the name of a {}", self.what);
        let example = format!("\"{}\"", self.in_order.first().unwrap_or(&"name"));
        let name = value.text(&expected, &example)?;
        self.find(name, value.span(), value.report)
    }

    /// The index of a name; it is a problem at this place if nothing has it.
    pub(super) fn find(&self, name: &str, span: Span, report: &Report) -> Option<usize> {
        let found = self.indices.get(name).copied();
        if found.is_none() {
            let hint = match closest(name, self.in_order.iter().copied()) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None if self.in_order.is_empty() => format!("add a table `[{}s.{name}]`", self.what),
                None => format!("the {}s are {}", self.what, listed(&self.in_order)),
            };
            report.add(span, format!("unknown {} {name:?}", self.what), hint);
        }
        found
    }
}

/// The entries of a table in the order of the text.
fn entries<'a>(table: &'a DeTable<'a>, report: &'a Report) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = table
        .iter()
        .map(|(key, node)| Entry { name: key.get_ref(), span: key.span(), value: Value { node, report } })
        .collect();
    entries.sort_by_key(|entry| entry.span.start);
    entries
}

/// Every key of a table, for a hint.
fn can_have(kind: &Kind) -> String {
    let keys: Vec<String> = kind.keys().map(|key| format!("`{key}`")).collect();
    format!("{} can have {}", kind.title, keys.join(", "))
}

/// The first few of some names, for a hint.
pub(super) fn listed(names: &[impl fmt::Display]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_LISTED).map(|name| format!("`{name}`")).collect();
    let mut shown = shown.join(", ");
    if names.len() > MAX_LISTED {
        shown.push_str(&format!(" and {} more", names.len() - MAX_LISTED));
    }
    shown
}
