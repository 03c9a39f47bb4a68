//! The `meridian` binary: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    meridian::cli::run()
}
