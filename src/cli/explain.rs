//! Stub.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}
pub(super) fn run(_: &Arguments) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
