//! Why a probe failed, in words for the person who is woken by it.

use std::error::Error;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest text that is kept of what a target sent, in characters.
const MAX_EXCERPT_CHARS: usize = 120;

/// Why one run of a probe failed. Texts that a target may have written are cut and free of control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It took longer than it may.
    Timeout {
        /// What it was doing.
        phase: Phase,
        /// The time it had.
        after: Duration,
    },
    /// Nobody could say what the hostname's addresses are; with the resolver's words.
    Unresolved(String),
    /// The hostname has no address.
    NoAddress,
    /// Nothing listens on the port.
    Refused,
    /// The connection was broken off by the other side.
    Reset,
    /// No route, or a router says so; with the system's words.
    Unreachable(String),
    /// Another failure of the connection; with the system's words.
    Connection(String),
    /// The certificate is not to be trusted; with the reason.
    Certificate(String),
    /// TLS failed otherwise.
    Tls(String),
    /// What came is not a whole HTTP response.
    NotHttp(String),
    /// A redirect, which is not followed, where its status is not expected.
    Redirect {
        /// Its status.
        status: u16,
        /// Where it leads.
        location: String,
        /// The statuses expected.
        expected: Vec<RangeInclusive<u16>>,
    },
    /// A status that is not expected.
    Status {
        /// The one that came.
        status: u16,
        /// The statuses expected.
        expected: Vec<RangeInclusive<u16>>,
    },
    /// The body lacks the expected text.
    BodyLacks {
        /// The text.
        text: String,
        /// How much of the body was searched, in bytes.
        searched_bytes: usize,
    },
    /// The body does not match the expected expression.
    BodyUnlike {
        /// The expression.
        regex: String,
        /// How much of the body was searched, in bytes.
        searched_bytes: usize,
    },
    /// What came over the connection lacks the expected text.
    AnswerLacks {
        /// The text.
        text: String,
        /// How much came and was searched, in bytes.
        searched_bytes: usize,
    },
    /// An answer came that is not the expected one; with what it is.
    Unexpected(String),
    /// A program ended otherwise than with success.
    Program {
        /// How it ended.
        status: String,
        /// The first line that it wrote; may be empty.
        line: String,
    },
    /// Whoever tells of the target says that it is down; with who, and why.
    Told(String),
    /// The target has not reported for longer than this.
    Silent(Duration),
    /// The file that tells of the target has not been written for longer than this.
    Unwritten(Duration),
    /// The body broke off before what is expected came.
    BodyBroken(String),
    /// The body is no JSON, so there is no field in it; with how much of it was read, in bytes.
    NotJson(usize),
    /// A field of the body is not what is expected.
    Field {
        /// Where it is.
        path: String,
        /// What stands there; nothing where there is no such field.
        found: Option<String>,
        /// What is expected.
        expected: String,
    },
    /// The health service answered that the service is not served; with the status that it gave.
    NotServing(String),
    /// The answer is not one of the health service of gRPC.
    Grpc(String),
    /// This machine could not make the run, so it says nothing about the target.
    Local(String),
}

/// What a run was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Looking the hostname up.
    Resolve,
    /// Connecting.
    Connect,
    /// Agreeing on TLS.
    Tls,
    /// Sending what the connection was made for.
    Send,
    /// Waiting for an answer, or the status and the headers of one.
    Response,
    /// Reading the body.
    Body,
    /// Waiting for a program to end.
    Program,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the name",
            Self::Connect => "connecting",
            Self::Tls => "agreeing on TLS",
            Self::Send => "sending",
            Self::Response => "waiting for the response",
            Self::Body => "reading the body",
            Self::Program => "running the program",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { phase, after } => {
                // An equal share of the timeout has odd nanoseconds, which are of no interest.
                let milliseconds = after.as_secs_f64() * 1e3;
                write!(f, "timed out after {milliseconds:.0} ms while {phase}")
            }
            Self::Unresolved(reason) => write!(f, "name does not resolve: {reason}"),
            Self::NoAddress => f.write_str("name does not resolve: it has no address"),
            Self::Refused => f.write_str("connection refused"),
            Self::Reset => f.write_str("connection closed by the other side"),
            Self::Unreachable(reason) => write!(f, "unreachable: {reason}"),
            Self::Connection(reason) => write!(f, "connection failed: {reason}"),
            Self::Certificate(reason) => write!(f, "certificate not accepted: {reason}"),
            Self::Tls(reason) => write!(f, "TLS failed: {reason}"),
            Self::NotHttp(reason) => write!(f, "no valid HTTP response: {reason}"),
            Self::Redirect { status, location, expected } => {
                let expected = Ranges(expected);
                write!(f, "status {status} redirects to {location}, which is not followed (expected {expected})")
            }
            Self::Status { status, expected } => write!(f, "status {status} (expected {})", Ranges(expected)),
            Self::BodyLacks { text, searched_bytes } => {
                write!(f, "body lacks \"{text}\" in its first {searched_bytes} bytes")
            }
            Self::BodyUnlike { regex, searched_bytes } => {
                write!(f, "body does not match \"{regex}\" in its first {searched_bytes} bytes")
            }
            Self::BodyBroken(reason) => write!(f, "body broke off before what is expected: {reason}"),
            Self::NotJson(bytes) => write!(f, "body is no JSON ({bytes} bytes were read)"),
            Self::Field { path, found: None, expected } => write!(f, "body has no field {path} (expected {expected})"),
            Self::Field { path, found: Some(found), expected } => {
                write!(f, "field {path} is {found} (expected {expected})")
            }
            Self::NotServing(status) => write!(f, "the health service says {status}"),
            Self::Grpc(reason) => write!(f, "no answer of the health service: {reason}"),
            Self::AnswerLacks { text, searched_bytes } => {
                write!(f, "answer lacks \"{text}\" in its first {searched_bytes} bytes")
            }
            Self::Unexpected(what) | Self::Told(what) => f.write_str(what),
            Self::Program { status, line } if line.is_empty() => write!(f, "program failed with {status}"),
            Self::Program { status, line } => write!(f, "program failed with {status}: {line}"),
            Self::Silent(time) => write!(f, "no heartbeat for {time:?}"),
            Self::Unwritten(time) => write!(f, "its file was not written for {time:?}"),
            Self::Local(reason) => write!(f, "not probed, for a problem on this machine: {reason}"),
        }
    }
}

impl Error for Failure {}

/// Statuses as they are configured, such as `200-299, 404`.
struct Ranges<'a>(&'a [RangeInclusive<u16>]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            match (range.start(), range.end()) {
                (start, end) if start == end => write!(f, "{start}")?,
                (start, end) => write!(f, "{start}-{end}")?,
            }
        }
        Ok(())
    }
}

impl Failure {
    /// Whether the run says nothing about the target.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// What the error of a socket means.
    pub(super) fn from_io(error: &io::Error) -> Self {
        let text = excerpt(&error.to_string());
        // No descriptors, memory, ports or permission for another connection, or no way there from the source address.
        if let Some(
            libc::EMFILE
            | libc::ENFILE
            | libc::ENOBUFS
            | libc::ENOMEM
            | libc::EADDRNOTAVAIL
            | libc::ENETDOWN
            | libc::EINVAL
            | libc::EACCES
            | libc::EPERM,
        ) = error.raw_os_error()
        {
            return Self::Local(text);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::Reset,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable(text),
            _ => Self::Connection(text),
        }
    }

    /// What an error of TLS means.
    pub(super) fn from_tls(error: &rustls::Error) -> Self {
        use rustls::CertificateError as Certificate;
        let reason = match error {
            rustls::Error::InvalidCertificate(reason) => reason,
            rustls::Error::InvalidMessage(_) => return Self::Tls("the answer is not TLS".into()),
            rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol) => {
                return Self::Tls("the server does not offer the version of HTTP asked for".into());
            }
            rustls::Error::AlertReceived(alert) => return Self::Tls(format!("the server refused with {alert:?}")),
            other => return Self::Tls(excerpt(&other.to_string())),
        };
        Self::Certificate(match reason {
            Certificate::Expired => "expired".into(),
            Certificate::ExpiredContext { time, not_after } => {
                format!("expired {} ago", coarse(time.as_secs().saturating_sub(not_after.as_secs())))
            }
            Certificate::NotValidYet => "not valid yet".into(),
            Certificate::NotValidYetContext { time, not_before } => {
                format!("not valid for another {}", coarse(not_before.as_secs().saturating_sub(time.as_secs())))
            }
            Certificate::UnknownIssuer => "its issuer is unknown (for a private authority set ca_file)".into(),
            Certificate::BadSignature => "it is not signed by the issuer that it names".into(),
            Certificate::NotValidForName => "it is for another name".into(),
            Certificate::NotValidForNameContext { expected, presented } => {
                excerpt(&format!("it is not for {} but for {}", expected.to_str(), presented.join(", ")))
            }
            other => excerpt(&other.to_string()),
        })
    }

    /// The first socket or TLS error among the causes of `error`, or nothing.
    pub(super) fn from_causes(error: &(dyn Error + 'static)) -> Option<Self> {
        causes(error).find_map(|cause| {
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Some(Self::from_tls(tls));
            }
            // One that wraps another error only carries it.
            cause.downcast_ref::<io::Error>().filter(|io| io.get_ref().is_none_or(is_plain_text)).map(Self::from_io)
        })
    }
}

/// Whether an error inside an [`io::Error`] is a mere message, as libraries make them.
fn is_plain_text(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    !error.is::<io::Error>() && !error.is::<rustls::Error>() && error.source().is_none()
}

/// The words of the innermost cause.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map_or_else(|| excerpt(&error.to_string()), |cause| excerpt(&cause.to_string()))
}

/// An error and its causes, outermost first. Goes into an [`io::Error`]'s inner error, which `source()` skips.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// A foreign text as one line of bounded length.
pub(super) fn excerpt(text: &str) -> String {
    let mut line: String = text.chars().take(MAX_EXCERPT_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MAX_EXCERPT_CHARS).is_some() {
        line.push('…');
    }
    line
}

/// Seconds in the largest unit that gives at least two of it.
pub(super) fn coarse(seconds: u64) -> String {
    match seconds {
        172_800.. => format!("{} days", seconds / 86_400),
        7_200.. => format!("{} hours", seconds / 3_600),
        120.. => format!("{} minutes", seconds / 60),
        _ => format!("{seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_are_told_apart() {
        let cases = [
            (libc::ECONNREFUSED, "connection refused"),
            (libc::ECONNRESET, "connection closed by the other side"),
            (libc::EHOSTUNREACH, "unreachable: No route to host (os error 113)"),
            (libc::ENETUNREACH, "unreachable: Network is unreachable (os error 101)"),
            (libc::ECONNABORTED, "connection closed by the other side"),
            (libc::EPIPE, "connection closed by the other side"),
            (libc::EMFILE, "not probed, for a problem on this machine: Too many open files (os error 24)"),
            (libc::ENOBUFS, "not probed, for a problem on this machine: No buffer space available (os error 105)"),
            (libc::ENFILE, "not probed, for a problem on this machine: Too many open files in system (os error 23)"),
            (libc::ENOMEM, "not probed, for a problem on this machine: Cannot allocate memory (os error 12)"),
            (
                libc::EADDRNOTAVAIL,
                "not probed, for a problem on this machine: Cannot assign requested address (os error 99)",
            ),
            (libc::ENETDOWN, "not probed, for a problem on this machine: Network is down (os error 100)"),
            (libc::EACCES, "not probed, for a problem on this machine: Permission denied (os error 13)"),
            (libc::EPERM, "not probed, for a problem on this machine: Operation not permitted (os error 1)"),
            (libc::EINVAL, "not probed, for a problem on this machine: Invalid argument (os error 22)"),
            (libc::ETIMEDOUT, "connection failed: Connection timed out (os error 110)"),
        ];
        for (code, expected) in cases {
            assert_eq!(Failure::from_io(&io::Error::from_raw_os_error(code)).to_string(), expected);
        }
    }

    #[test]
    fn causes_are_found_inside_of_io_errors() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert_eq!(Failure::from_causes(&wrapped), Some(Failure::Certificate("expired".into())));
        let wrapped = io::Error::other(io::Error::from_raw_os_error(libc::ECONNREFUSED));
        assert_eq!(Failure::from_causes(&wrapped), Some(Failure::Refused));
        let eof = io::Error::other(io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof"));
        assert_eq!(Failure::from_causes(&eof), Some(Failure::Reset));
        assert_eq!(Failure::from_causes(&std::fmt::Error), None);
    }

    #[test]
    fn what_tls_says_is_told_in_words() {
        use rustls::pki_types::UnixTime;
        use rustls::{AlertDescription, CertificateError, Error};
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired =
            |seconds: u64| CertificateError::ExpiredContext { time: at(1_000_000 + seconds), not_after: at(1_000_000) };
        let early = |seconds: u64| CertificateError::NotValidYetContext {
            time: at(1_000_000),
            not_before: at(1_000_000 + seconds),
        };
        for (error, expected) in [
            (Error::InvalidCertificate(expired(119)), "certificate not accepted: expired 119 seconds ago"),
            (Error::InvalidCertificate(expired(120)), "certificate not accepted: expired 2 minutes ago"),
            (Error::InvalidCertificate(expired(7_199)), "certificate not accepted: expired 119 minutes ago"),
            (Error::InvalidCertificate(expired(7_200)), "certificate not accepted: expired 2 hours ago"),
            (Error::InvalidCertificate(expired(172_799)), "certificate not accepted: expired 47 hours ago"),
            (Error::InvalidCertificate(expired(172_800)), "certificate not accepted: expired 2 days ago"),
            (Error::InvalidCertificate(early(7_200)), "certificate not accepted: not valid for another 2 hours"),
            (
                Error::AlertReceived(AlertDescription::HandshakeFailure),
                "TLS failed: the server refused with HandshakeFailure",
            ),
        ] {
            assert_eq!(Failure::from_tls(&error).to_string(), expected);
        }
    }

    #[test]
    fn foreign_text_is_cut_and_harmless() {
        assert_eq!(excerpt("a\r\nlevel=error\x1b[31m"), "a  level=error [31m");
        assert_eq!(excerpt(&"é".repeat(200)), "é".repeat(MAX_EXCERPT_CHARS) + "…");
        assert_eq!(excerpt(&"x".repeat(MAX_EXCERPT_CHARS)), "x".repeat(MAX_EXCERPT_CHARS));
    }

    #[test]
    fn expected_statuses_read_as_configured() {
        let failure = Failure::Status { status: 503, expected: vec![200..=299, 404..=404] };
        assert_eq!(failure.to_string(), "status 503 (expected 200-299, 404)");
    }
}
