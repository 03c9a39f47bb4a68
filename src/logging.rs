//! Structured logs on standard error: text for people, JSON for machines.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Log, LogFormat, LogLevel};

/// Begins logging for the whole process. A second call changes nothing.
pub(crate) fn start(log: Log) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(log.level))
        .with_writer(stderr)
        .with_target(false)
        .with_span_events(FmtSpan::NONE);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging had begun already");
    }
}

/// Only what is said here: libraries tell of what single clients do, and those could fill the log. What matters of it comes
/// back as errors and counts.
fn filter(level: LogLevel) -> EnvFilter {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    EnvFilter::new(format!("off,meridian={level}"))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_write_no_line() {
        for (log_level, shows_warnings, shows_details) in
            [(LogLevel::Error, false, false), (LogLevel::Info, true, false), (LogLevel::Debug, true, true)]
        {
            let subscriber = tracing_subscriber::fmt().with_env_filter(filter(log_level)).finish();
            tracing::subscriber::with_default(subscriber, || {
                assert!(tracing::enabled!(target: "meridian::reload", Level::ERROR));
                assert_eq!(tracing::enabled!(target: "meridian::server::accept", Level::WARN), shows_warnings);
                assert_eq!(tracing::enabled!(target: "meridian::health", Level::DEBUG), shows_details);
                assert!(!tracing::enabled!(target: "h2::proto::streams", Level::WARN));
                assert!(!tracing::enabled!(target: "quinn_proto::connection", Level::ERROR));
            });
        }
    }
}
