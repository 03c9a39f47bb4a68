//! `meridian check`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::health::Prober;
use crate::reload::{Loader, Origin};

/// The exit code where only zone files are wrong.
const ONLY_ZONES_WRONG: u8 = 3;

/// Check a configuration, with its zones and databases, and serve nothing.
///
/// Does all that `meridian serve` does before it opens a socket, and reports every problem at once.
///
/// Exit codes: 0 all is good; 1 something is wrong; 2 wrong usage; 3 only zone files are wrong, so that a reload takes in
/// all but these zones, where a start fails.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "/etc/meridian/meridian.toml")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match Loader::new(Origin::File(arguments.config.clone())).load() {
        Ok(prepared) => {
            let compiled = &prepared.compiled;
            let config = &compiled.config;
            println!(
                "{}: good: {} zones, {} services, {} pools with {} endpoints in {} regions; database {} of {} networks",
                arguments.config.display(),
                config.zones.len(),
                config.services.len(),
                config.pools.len(),
                compiled.endpoints.len(),
                config.regions.len(),
                compiled.database.database_type(),
                compiled.database.networks(),
            );
            // The server may run as another user, so that is not wrong yet.
            if let Some(problem) = Prober::forbidden(config.probes.iter().map(|probe| &*probe.check)) {
                eprintln!("warning: icmp probes find nothing where the server runs as this user: {problem}");
            }
            for warning in config.warnings() {
                eprintln!("warning: {warning}");
            }
            ExitCode::SUCCESS
        }
        Err(problems) => {
            let is_of_zones_alone = problems.0.iter().all(|problem| problem.is_of_zone_alone);
            let failure = super::fail(problems.into());
            if is_of_zones_alone { ExitCode::from(ONLY_ZONES_WRONG) } else { failure }
        }
    }
}
