//! `meridian serve`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::daemon::Daemon;
use crate::reload::Origin;

/// Serve DNS until told to stop.
///
/// SIGHUP reloads the configuration, its zones and its databases; a mistake leaves the old state serving, one in a zone
/// file that of the zone alone.
/// A database or a certificate that is replaced on disk is reloaded by itself. SIGTERM and SIGINT answer what is queued
/// and end.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "/etc/meridian/meridian.toml")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match Daemon::start(Origin::File(arguments.config.clone())) {
        Ok(daemon) => daemon.run_until_signalled(),
        Err(problems) => super::fail(problems),
    }
}
