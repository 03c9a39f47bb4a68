//! The command line: one file per subcommand.

mod check;
mod demo;
mod explain;
mod geoip;
mod history;
mod overrides;
mod serve;
mod server;

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Problems;
use crate::daemon::StartError;

/// Geo-aware authoritative DNS load balancer.
///
/// Meridian answers DNS queries for the zones delegated to it and decides, for each query, which region and which endpoints
/// that client should go to: the nearest region whose endpoints are healthy, unless the configuration says otherwise.
///
/// Try it with `meridian demo`; check a configuration with `meridian check`; ask why with `meridian explain`.
#[derive(Debug, Parser)]
#[command(name = "meridian", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Override(overrides::Arguments),
    Resume(overrides::ResumeArguments),
    History(history::Arguments),
    Demo(demo::Arguments),
    Geoip(geoip::Arguments),
}

/// Parses the arguments and runs the subcommand. Exit codes: 0 success, 1 failure, 2 wrong usage; `check` has another.
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Override(arguments) => overrides::run(&arguments),
        Command::Resume(arguments) => overrides::resume(&arguments),
        Command::History(arguments) => history::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Geoip(arguments) => geoip::run(&arguments),
    }
}

/// Says on standard error what went wrong: problems with the place that they are at, all else in a line.
fn fail(error: StartError) -> ExitCode {
    match error.downcast::<Problems>() {
        Ok(problems) => eprintln!("{}", problems.render(stderr().is_terminal()).trim_end()),
        Err(error) => eprintln!("error: {error}"),
    }
    ExitCode::FAILURE
}
