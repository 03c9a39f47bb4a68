//! `[probes.*]` of type exec

use std::path::PathBuf;

use crate::config::ExecCheck;
use crate::config::reader::{Table, Value};

const MAX_ARGUMENTS: usize = 100;
const MAX_ARGUMENT_LENGTH: usize = 4_096;

pub(super) fn check(table: &Table<'_>) -> Option<ExecCheck> {
    let command = table.required("command", "command = \"/usr/local/bin/check-web\"", command);
    let port: Option<u16> = table.optional("port", |value| value.integer(1..=u16::MAX));
    let arguments = table.or("arguments", Vec::new(), |value| {
        value.list("a list of arguments", "[\"--host\", \"{address}\"]", MAX_ARGUMENTS, argument)
    });
    Some(ExecCheck { command: command?, arguments, port })
}

fn command(value: Value<'_>) -> Option<PathBuf> {
    const EXPECTED: &str = "the absolute path of a program";
    let path = value.text(EXPECTED, "\"/usr/local/bin/check-web\"")?;
    if !path.starts_with('/') || path.contains('\0') {
        let message = format!("expected {EXPECTED}, found {path:?}");
        return value.reject(message, "no PATH is searched and no shell is used; write arguments in `arguments`");
    }
    Some(PathBuf::from(path))
}

/// May be empty.
fn argument(value: Value<'_>) -> Option<String> {
    match value.as_str() {
        Some(text) if text.len() <= MAX_ARGUMENT_LENGTH && !text.contains('\0') => Some(text.to_owned()),
        Some(_) => value.reject(
            "too long an argument, or one with NUL",
            format!("write at most {MAX_ARGUMENT_LENGTH} bytes, none of them NUL"),
        ),
        None => value.text("an argument", "\"--verbose\"").map(str::to_owned),
    }
}
