//! `meridian history`

use std::process::ExitCode;

use reqwest::Method;

use super::server::{Error, Server};
use crate::admin::view::{Age, History, PastChange, What};
use crate::health::overrides::Subject;
use crate::unix_time;

const EXAMPLES: &str = "\
Examples:
  meridian history
  meridian history endpoint/web/us-east/192.0.2.1
  meridian history pool/web --limit 1000 --json";

/// Show what became of endpoints of late, and why.
///
/// One line for each change of what counts of an endpoint, and for each time its circuit breaker opens and closes, the latest last:
/// when (in UTC), the endpoint, what it was, what it became, and the reason. The server remembers the latest 16 of either kind of each
/// endpoint until it ends.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Of what, as for `meridian override`; without it of all endpoints
    #[arg(value_name = "SUBJECT")]
    subject: Option<Subject>,

    /// How many changes at most: the latest, up to 10000
    #[arg(long, value_name = "NUMBER", default_value = "100")]
    limit: usize,

    #[command(flatten)]
    server: Server,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match history(arguments) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(problem) => super::fail(problem),
    }
}

fn history(arguments: &Arguments) -> Result<String, Error> {
    let (limit, subject) = (arguments.limit.to_string(), arguments.subject.as_ref().map(ToString::to_string));
    let mut query = vec![("limit", limit.as_str())];
    query.extend(subject.as_deref().map(|subject| ("subject", subject)));
    let history: History = arguments.server.ask(Method::GET, "history", &query, None, "")?;
    if arguments.json {
        return Ok(serde_json::to_string_pretty(&history)? + "\n");
    }
    let History { changes, left_out, running_seconds } = history;
    let mut text = match left_out {
        0 if changes.is_empty() => match running_seconds.map(Age) {
            Some(running) => format!("nothing changed since the server started {running} ago\n"),
            None => "nothing changed since the server started\n".to_owned(),
        },
        0 => String::new(),
        older => format!("({older} older changes: --limit shows more)\n"),
    };
    text.extend(changes.iter().map(line));
    Ok(text)
}

/// As `2026-11-21T12:00:00Z  endpoint/web/us-east/192.0.2.1  up -> down: connection refused`.
fn line(change: &PastChange) -> String {
    let PastChange { time, subject, what, from, to, reason, .. } = change;
    let what = match what {
        What::Verdict => "",
        What::Breaker => "breaker ",
    };
    format!("{}  {subject}  {what}{from} -> {to}: {reason}\n", unix_time::shown(*time))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn a_change_of_a_breaker_is_told_from_one_of_a_verdict() {
        for (what, expected) in [(What::Breaker, "breaker closed -> open: why"), (What::Verdict, "closed -> open: why")]
        {
            let change = PastChange {
                time: 1_795_262_400,
                seconds_ago: 1,
                subject: "endpoint/web/near/192.0.2.1".parse().unwrap(),
                what,
                from: "closed".to_owned(),
                to: "open".to_owned(),
                held: None,
                reason: "why".to_owned(),
            };
            let line = line(&change);
            assert_eq!(line, format!("2026-11-21T12:00:00Z  endpoint/web/near/192.0.2.1  {expected}\n"));
        }
    }
}
