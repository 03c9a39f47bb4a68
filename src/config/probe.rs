//! `[probes.*]`: what is probed, how and when.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Measure;

/// `[probes.NAME]`. Two probes that differ in their name only are identical.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its name.
    pub name: String,
    /// What is done and what is expected.
    pub check: Check,
    /// What makes verdicts of the results.
    pub timing: Timing,
}

/// When a probe runs and what its results mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timing {
    /// From one start to the next; 100 ms to 1 day, default 10 s.
    pub interval: Duration,
    /// Longer is a failure; 10 ms to the interval, default 2 s or the interval's half if less.
    pub timeout: Duration,
    /// Failures in a row until down, 1..=100, default 3.
    pub fall: u8,
    /// Successes in a row until up, 1..=100, default 2.
    pub rise: u8,
    /// A success that takes longer counts as poor; 1 ms to the timeout, default never.
    pub degraded_after: Option<Duration>,
    /// How long a target that goes down for the second time is held down, and more each time: see
    /// [`Machine`](crate::health::Machine). Up to 1 h, 0 is not at all; default the interval, at most 10 s.
    pub hold_down: Duration,
    /// Whether a target that went down stays so until an operator resumes it; default false.
    pub manual_resume: bool,
}

impl Timing {
    /// Without any of the keys.
    pub const DEFAULT: Self = Self {
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(2),
        fall: 3,
        rise: 2,
        degraded_after: None,
        hold_down: Self::MAX_DEFAULT_HOLD_DOWN,
        manual_resume: false,
    };
    /// The most that the default of `hold_down` is.
    pub const MAX_DEFAULT_HOLD_DOWN: Duration = Duration::from_secs(10);
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Check {
    /// `type = "http"` or `"https"`
    Http(HttpCheck),
    /// `type = "tcp"`: the connection is accepted on this port.
    Tcp {
        /// The port, 1..=65535.
        port: u16,
    },
}

/// An HTTP request and the response expected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpCheck {
    /// HTTPS with the certificate verified.
    pub tls: bool,
    /// GET, HEAD, POST, PUT or OPTIONS; default GET.
    pub method: String,
    /// Path and query, beginning with `/`; default `/`.
    pub path: String,
    /// Default 80, or 443 with TLS.
    pub port: u16,
    /// The Host header and TLS server name; default the endpoint's own address or hostname.
    pub host: Option<String>,
    /// Further headers, in file order.
    pub headers: Vec<(String, String)>,
    /// Statuses that are a success; default 200..=399 (a redirect is not followed: list 3xx out to refuse it).
    pub expect_status: Vec<RangeInclusive<u16>>,
    /// Text that the first 64 KiB of the body must contain; not empty.
    pub expect_body: Option<String>,
    /// `[probes.NAME.load]`: where in the first 64 KiB of the body, which is JSON, numbers stand that tell of load: names of
    /// fields and places in lists, joined by dots. None twice; by default none.
    pub load: Vec<(Measure, String)>,
    /// PEM file of the authorities to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
}
