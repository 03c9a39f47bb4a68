//! Structured logs on standard error: text for people, JSON for machines.

use std::io::{self, IsTerminal, Stderr, Write, stderr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Log, LogFormat, LogLevel};

/// The most lines that wait to be written; those for which there is no room are dropped, and counted.
const MAX_WAITING_LINES: usize = 8192;

/// How long writing what waits may take at the end.
const GRACE: Duration = Duration::from_secs(1);

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();
/// Lines that could not be written.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Begins logging for the whole process; a second call changes nothing. Lines are written on a thread of their own, so that nothing
/// else waits where whoever reads them hangs. What waits is written when the result is dropped, as far as a second is enough for that.
pub(crate) fn start(log: Log) -> Logging {
    let writer = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_WAITING_LINES).thread_name("log");
    let (writer, guard) = writer.finish(Counted(stderr()));
    let dropped = writer.error_counter();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(log.level))
        .with_writer(writer)
        .with_target(false)
        .with_span_events(FmtSpan::NONE);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    match started {
        Ok(()) => drop(DROPPED.set(dropped)),
        Err(error) => tracing::debug!(%error, "logging had begun already"),
    }
    Logging(Some(guard))
}

/// Writes what waits when it is dropped.
#[derive(Debug)]
pub(crate) struct Logging(Option<WorkerGuard>);

impl Drop for Logging {
    fn drop(&mut self) {
        let Some(guard) = self.0.take() else { return };
        // Where all lines that may wait do, the guard itself waits for whoever reads.
        let (written, is_written) = mpsc::channel();
        let flush = move || {
            drop(guard);
            let _ = written.send(());
        };
        if thread::Builder::new().name("log-end".to_owned()).spawn(flush).is_ok() {
            let _ = is_written.recv_timeout(GRACE);
        }
    }
}

/// How many lines were lost: there was no room for them, or they could not be written.
pub(crate) fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64) + REFUSED.load(Ordering::Relaxed)
}

/// Counts the lines that could not be written, be it in part.
struct Counted(Stderr);

impl Write for Counted {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(octets)
    }

    /// A whole line.
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.write_all(line).inspect_err(|_| {
            REFUSED.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
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
