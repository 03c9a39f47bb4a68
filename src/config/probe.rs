//! `[probes.*]`: what is probed, how and when.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};

use super::units::show_duration;
use super::{Measure, ProbedAs};
use crate::zone::Name;

/// `[probes.NAME]`. Two probes that differ in their name only are identical.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its name.
    pub name: String,
    /// What is done and what is expected.
    pub check: Arc<Check>,
    /// What makes verdicts of the results.
    pub timing: Timing,
}

impl Probe {
    /// What is allowed, but may not be meant; a line each.
    pub fn warnings(&self) -> Vec<String> {
        let Self { name, check, timing } = self;
        let mut warnings = Vec::new();
        if check.tls().is_some_and(|tls| !tls.trust.verify) {
            warnings
                .push(format!("probe {name} takes any certificate for its endpoints' own, as it has `verify = false`"));
        }
        // A tenth of the interval is room enough to end in time for the next run.
        let most = timing.interval * 9 / 10;
        if timing.timeout > most {
            let (timeout, most) = (show_duration(timing.timeout), show_duration(most));
            warnings.push(format!(
                "probe {name} asks what hangs every other time only, and so finds it down late, as the next run is due when the \
                 `timeout` of {timeout} is over: write at most \"{most}\""
            ));
        }
        warnings
    }

    /// The longest time from one result to the next of a target that is well.
    pub fn longest_silence(&self) -> Duration {
        match *self.check {
            Check::Heartbeat(max_silence) => max_silence,
            _ => self.timing.interval + self.timing.timeout,
        }
    }

    /// The longest time until what doesn't answer any more is found down; nothing where the network has no part in that.
    pub fn time_to_fall(&self) -> Option<Duration> {
        let Timing { interval, timeout, fall, .. } = self.timing;
        let runs = interval * u32::from(fall);
        match *self.check {
            Check::File(_) => None,
            Check::Heartbeat(max_silence) => Some(max_silence + runs),
            _ => Some(runs + timeout),
        }
    }
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
    /// `type = "tcp"`
    Tcp(TcpCheck),
    /// `type = "tls"`
    Tls(TlsCheck),
    /// `type = "grpc"`
    Grpc(GrpcCheck),
    /// `type = "dns"`
    Dns(DnsCheck),
    /// `type = "icmp"`: an echo request is answered.
    Icmp {
        /// As [`HttpCheck::source`].
        source: Option<IpAddr>,
    },
    /// `type = "exec"`
    Exec(ExecCheck),
    /// `type = "file"`
    File(FileCheck),
    /// `type = "heartbeat"`: the endpoint reports that it is well, at least once in this time, 1 s to 1 day.
    Heartbeat(Duration),
}

impl Check {
    /// The port that it goes to, where it goes to one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Http(check) => Some(check.port),
            Self::Tcp(check) => Some(check.port),
            Self::Tls(check) => Some(check.port),
            Self::Grpc(check) => Some(check.port),
            Self::Dns(check) => Some(check.port),
            Self::Exec(check) => check.port,
            Self::Icmp { .. } | Self::File(_) | Self::Heartbeat(_) => None,
        }
    }

    /// Whether it may have a port.
    pub fn takes_port(&self) -> bool {
        self.port().is_some() || matches!(self, Self::Exec(_))
    }

    /// The host that it names to every target.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Http(check) => check.host.as_deref(),
            Self::Tls(check) => check.tls.server_name.as_deref(),
            Self::Grpc(check) => check.host.as_deref(),
            _ => None,
        }
    }

    /// The address of this machine to connect from, where it is given.
    pub fn source(&self) -> Option<IpAddr> {
        match self {
            Self::Http(check) => check.source,
            Self::Tcp(check) => check.source,
            Self::Tls(check) => check.source,
            Self::Grpc(check) => check.source,
            Self::Dns(check) => check.source,
            Self::Icmp { source } => *source,
            Self::Exec(_) | Self::File(_) | Self::Heartbeat(_) => None,
        }
    }

    /// What it searches a body for.
    pub fn body_regex(&self) -> Option<&BodyRegex> {
        match self {
            Self::Http(check) => check.expect_body_regex.as_ref(),
            _ => None,
        }
    }

    /// How it speaks TLS; nothing where it does not.
    pub fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Http(check) => check.tls.as_ref(),
            Self::Tls(check) => Some(&check.tls),
            Self::Grpc(check) => check.tls.as_ref(),
            _ => None,
        }
    }

    /// The file that it looks at.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(check) => Some(&check.path),
            _ => None,
        }
    }

    /// Whether it names a host to the target.
    pub fn takes_host(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Tls(_) | Self::Grpc(_))
    }

    /// Whether the time of a run is one that the target takes to answer.
    pub fn measures_time(&self) -> bool {
        !matches!(self, Self::Exec(_) | Self::File(_) | Self::Heartbeat(_))
    }

    /// Whether it asks for something by a path.
    pub fn takes_path(&self) -> bool {
        matches!(self, Self::Http(_))
    }

    /// The same with what an endpoint has in place of it; what it does not take is passed over, and the address is no part of it.
    #[must_use]
    pub fn with(&self, own: &ProbedAs) -> Self {
        let mut check = self.clone();
        match &mut check {
            Self::Http(HttpCheck { port, host, .. })
            | Self::Grpc(GrpcCheck { port, host, .. })
            | Self::Tls(TlsCheck { port, tls: Tls { server_name: host, .. }, .. }) => {
                *port = own.port.unwrap_or(*port);
                *host = own.host.clone().or_else(|| host.take());
            }
            Self::Tcp(TcpCheck { port, .. }) | Self::Dns(DnsCheck { port, .. }) => *port = own.port.unwrap_or(*port),
            Self::Exec(ExecCheck { port, .. }) => *port = own.port.or(*port),
            Self::Icmp { .. } | Self::File(_) | Self::Heartbeat(_) => {}
        }
        if let (Self::Http(HttpCheck { path, .. }), Some(own)) = (&mut check, &own.path) {
            path.clone_from(own);
        }
        check
    }
}

/// A TCP connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TcpCheck {
    /// 1..=65535.
    pub port: u16,
    /// As [`HttpCheck::source`].
    pub source: Option<IpAddr>,
    /// What is sent once it is accepted, up to 64 KiB; default nothing.
    pub send: Option<String>,
    /// What the first 64 KiB that come back must contain; not empty, default nothing: to be accepted is enough.
    pub expect: Option<String>,
}

impl TcpCheck {
    /// The connection is accepted on this port.
    pub fn accepted(port: u16) -> Self {
        Self { port, source: None, send: None, expect: None }
    }
}

/// A DNS query of class IN over UDP, and over TCP where what is expected may have been cut off.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DnsCheck {
    /// Default 53.
    pub port: u16,
    /// As [`HttpCheck::source`].
    pub source: Option<IpAddr>,
    /// The name asked for.
    pub name: Name,
    /// The type asked for; default A.
    pub rtype: u16,
    /// Whether recursion is desired; default false.
    pub recursion: bool,
    /// The response code that is a success; default NOERROR.
    pub expect_rcode: u8,
    /// Data of that type which one of the answers must have; default none.
    pub expect_answer: Option<DnsData>,
}

/// The data of a record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DnsData {
    /// Of A and AAAA.
    Address(IpAddr),
    /// Of CNAME, DNAME, NS and PTR.
    Name(Name),
    /// Of TXT: its strings one after the other.
    Text(String),
}

/// The file's line for the address says so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileCheck {
    /// Where it is.
    pub path: PathBuf,
    /// How long it may lie unwritten, 1 s to 1 day; default for ever.
    pub max_silence: Option<Duration>,
}

/// A program, run without a shell.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExecCheck {
    /// Its absolute path.
    pub command: PathBuf,
    /// Up to 100; `{address}` and `{port}` in them stand for the target's.
    pub arguments: Vec<String>,
    /// What the program is told; default none.
    pub port: Option<u16>,
}

/// An HTTP request and the response expected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpCheck {
    /// HTTPS.
    pub tls: Option<Tls>,
    /// `http_version`; default HTTP/1.1.
    pub version: HttpVersion,
    /// `source`: the address of this machine to connect from; default what the system chooses.
    pub source: Option<IpAddr>,
    /// GET, HEAD, POST, PUT or OPTIONS; default GET.
    pub method: String,
    /// Path and query, beginning with `/`; default `/`.
    pub path: String,
    /// Default 80, or 443 with TLS.
    pub port: u16,
    /// The Host header, and the TLS server name where that is not given; default the endpoint's own address or hostname.
    pub host: Option<String>,
    /// Further headers, in file order.
    pub headers: Vec<(String, String)>,
    /// Statuses that are a success; default 200..=399 (a redirect is not followed: list 3xx out to refuse it).
    pub expect_status: Vec<RangeInclusive<u16>>,
    /// Text that the first 64 KiB of the body must contain; not empty.
    pub expect_body: Option<String>,
    /// What the first 64 KiB of the body must match.
    pub expect_body_regex: Option<BodyRegex>,
    /// What a field of the body, which is JSON of at most 64 KiB, must be.
    pub expect_field: Option<ExpectedField>,
    /// `[probes.NAME.load]`: where in the first 64 KiB of the body, which is JSON, numbers stand that tell of load: names of
    /// fields and places in lists, joined by dots. None twice; by default none.
    pub load: Vec<(Measure, String)>,
}

/// A version of HTTP; with TLS it is agreed on by ALPN (RFC 7301), and else known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// RFC 9112
    Http1,
    /// RFC 9113
    Http2,
}

/// `type = "tls"`: the server agrees on TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsCheck {
    /// 1..=65535, default 443.
    pub port: u16,
    /// As [`HttpCheck::source`].
    pub source: Option<IpAddr>,
    /// How.
    pub tls: Tls,
}

/// `type = "grpc"`: the standard health service says that a service is served, over HTTP/2.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrpcCheck {
    /// 1..=65535
    pub port: u16,
    /// As [`HttpCheck::source`].
    pub source: Option<IpAddr>,
    /// Where `tls = true`.
    pub tls: Option<Tls>,
    /// As [`HttpCheck::host`].
    pub host: Option<String>,
    /// The service's name, as the server knows it, at most 255 octets; default the empty one, which is the server as a whole.
    pub service: String,
}

/// How a probe agrees on TLS and what it asks of the server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The name that the server is asked for (SNI) and its certificate must be for; default the check's host, else the
    /// target's hostname, else none, and the certificate must be for the address.
    pub server_name: Option<String>,
    /// Whom it trusts and who it is.
    pub trust: Trust,
    /// With fewer days until the certificate expires a success is poor; default 0, which is never: one that has expired
    /// is a failure. Up to 3,650.
    pub min_days_left: u16,
}

/// Whom a client of TLS trusts, and who it is itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Trust {
    /// Whether the certificate must be valid, for the name, and of a trusted authority; default true.
    pub verify: bool,
    /// PEM file of the authorities to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show where the server asks for one.
    pub client: Option<ClientCertificate>,
}

/// The PEM files of a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientCertificate {
    /// `client_certificate`: the certificate, then its issuers'.
    pub certificate: PathBuf,
    /// `client_key`
    pub key: PathBuf,
}

/// `expect_field`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExpectedField {
    /// Names of fields and places in lists, joined by dots.
    pub path: String,
    /// What must stand there.
    pub is: FieldValue,
}

/// A value of JSON without parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FieldValue {
    /// `"ok"`
    Text(String),
    /// `1` or `1.5`
    Number(serde_json::Number),
    /// `true`
    Boolean(bool),
}

/// As in JSON.
impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
        }
    }
}

/// A regular expression over octets, of bounded size when compiled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BodyRegex(String);

impl BodyRegex {
    /// The most bytes of its text.
    pub const MAX_LENGTH: usize = 1_024;
    /// The most memory that it takes compiled, and again for each thread that searches, in bytes.
    const MAX_BYTES: usize = 512 << 10;

    /// What this text says.
    ///
    /// # Errors
    /// Where it is no regular expression, in words of several lines, or is too large.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        let regex = Self(text.to_owned());
        regex.compile().map(|_| regex)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What searches for it, in a time that is linear in the length of what is searched.
    ///
    /// # Errors
    /// None where [`Self::new`] had none.
    pub fn compile(&self) -> Result<Regex, regex::Error> {
        RegexBuilder::new(&self.0).size_limit(Self::MAX_BYTES).dfa_size_limit(Self::MAX_BYTES).build()
    }
}
