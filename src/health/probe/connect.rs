//! Connections of probes: TCP, from an address of one's own where that is asked for, and TLS over it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::clock;
use super::failure::coarse;
use super::trust::{self, Clients, Protocol};
use super::{Details, Failure, Phase, Phases};
use crate::config::Tls;
use crate::unix_time::unix_seconds;

/// How long after its end a time-out is believed at once.
const MAX_LATENESS: Duration = Duration::from_millis(250);
const SECONDS_PER_DAY: u64 = 86_400;

/// Until when an attempt may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    /// The time that there was in all, for messages.
    time: Duration,
}

impl Deadline {
    /// So long from now.
    pub(super) fn after(time: Duration) -> Self {
        Self { at: Instant::now() + time, time }
    }

    /// Awaits the future. Where this machine was busy or paused and comes late to find that the time is over, it waits for as long again as
    /// it is late, and no longer than the time that there was in all: the answer may have been waiting to be looked at. A phase that only
    /// begins then is given none, so that no byte now and then prolongs a run again.
    ///
    /// # Errors
    /// [`Failure::Timeout`] in this phase.
    pub(super) async fn within<T>(self, phase: Phase, future: impl Future<Output = T>) -> Result<T, Failure> {
        let is_in_time = Instant::now() < self.at;
        let mut future = pin!(future);
        if let Ok(done) = timeout_at(self.at, future.as_mut()).await {
            return Ok(done);
        }
        // What hung or was lost before is found out all the same.
        let late = self.at.elapsed();
        let is_over = Failure::Timeout { phase, after: self.time };
        if !is_in_time || late <= MAX_LATENESS {
            return Err(is_over);
        }
        timeout(late.min(self.time), future).await.map_err(|_| is_over)
    }
}

/// Connects to `address`, from `source` where there is one.
///
/// Closing is a reset: it leaves nothing behind on this machine, while a connection that is closed in order by the one
/// who opened it holds its port for a minute, of which there are 28,232. So whoever closes must have what it wanted.
///
/// # Errors
/// What the socket says, a time-out, and [`Failure::Local`] where `source` is not of the address's family or not this
/// machine's.
pub(super) async fn tcp(
    address: SocketAddr,
    source: Option<IpAddr>,
    deadline: Deadline,
    phases: &mut Phases,
) -> Result<TcpStream, Failure> {
    let started = Instant::now();
    let socket = socket(address, source)?;
    let stream = deadline.within(Phase::Connect, socket.connect(address)).await?;
    phases.connect = Some(started.elapsed());
    stream.map_err(|error| Failure::from_io(&error))
}

fn socket(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpSocket, Failure> {
    if let Some(source) = source.filter(|source| source.is_ipv4() != address.is_ipv4()) {
        let address = address.ip();
        return Err(Failure::Local(format!("{address} can't be reached from {source}, which is of the other family")));
    }
    let made = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = made.map_err(|error| Failure::from_io(&error))?;
    let set = socket.set_nodelay(true).and_then(|()| socket.set_zero_linger());
    set.map_err(|error| Failure::from_io(&error))?;
    if let Some(source) = source {
        let bound = socket.bind((source, 0).into());
        bound.map_err(|error| Failure::Local(format!("source address {source}: {error}")))?;
    }
    Ok(socket)
}

/// What TLS over a connection takes.
#[derive(Debug)]
pub(super) struct Secured {
    config: Arc<ClientConfig>,
    /// What the server is asked for, and its certificate must be for.
    name: ServerName<'static>,
    must_speak_http2: bool,
    min_days_left: u16,
}

impl Secured {
    /// As these settings say, whose files `clients` was made of. Where no server name is given it is `name`, which may have a
    /// port; where that is an address or missing, the certificate must be for the address connected to, as TLS has no server
    /// names that are addresses (RFC 6066 section 3).
    ///
    /// # Errors
    /// [`Failure::Local`] where no name can be made of it.
    pub(super) fn new(
        settings: &Tls,
        clients: Option<&Clients>,
        protocol: Protocol,
        name: Option<&str>,
        address: IpAddr,
    ) -> Result<Self, Failure> {
        let clients = clients.ok_or_else(|| Failure::Local("its certificates were not loaded".into()))?;
        // A name is absolute with its final dot or without it; RFC 6066 section 3 has none.
        let parsed = |name: &str| ServerName::try_from(name.trim_end_matches('.').to_owned());
        let name = match (&settings.server_name, name) {
            (Some(name), _) => parsed(name),
            (None, Some(host)) if !is_address(host) => parsed(without_port(host)),
            (None, _) => Ok(ServerName::from(address)),
        };
        let name = name.map_err(|_| Failure::Local("its host is no server name of TLS".into()))?;
        let must_speak_http2 = protocol == Protocol::Http2;
        let config = Arc::clone(clients.speaking(protocol));
        Ok(Self { config, name, must_speak_http2, min_days_left: settings.min_days_left })
    }
}

fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<IpAddr>().is_ok() || without_port(host).parse::<IpAddr>().is_ok()
}

fn without_port(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// Connects to `address`, by TLS if that is asked for. What the server's certificate says of its end goes to the details.
///
/// # Errors
/// As [`tcp`]; what is wrong with the certificate or with the server's TLS.
pub(super) async fn open(
    address: SocketAddr,
    source: Option<IpAddr>,
    tls: Option<Secured>,
    deadline: Deadline,
    details: &mut Details,
) -> Result<Stream, Failure> {
    let stream = tcp(address, source, deadline, &mut details.phases).await?;
    let Some(Secured { config, name, must_speak_http2, min_days_left }) = tls else {
        return Ok(Stream::Plain(stream));
    };
    let started = Instant::now();
    let handshake = TlsConnector::from(config).connect(name, stream);
    let stream = deadline.within(Phase::Tls, handshake).await?;
    let stream = stream.map_err(|error| Failure::from_causes(&error).unwrap_or_else(|| Failure::from_io(&error)))?;
    details.phases.tls = Some(started.elapsed());
    let session = stream.get_ref().1;
    if must_speak_http2 && session.alpn_protocol() != Some(b"h2") {
        return Err(Failure::Tls("the server does not offer HTTP/2".into()));
    }
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    details.certificate_expires = certificate.and_then(trust::expires);
    if let Some(expires) = details.certificate_expires {
        let now = unix_seconds();
        let seconds_left = expires.saturating_sub(now.min(clock::steady(now)));
        if seconds_left < u64::from(min_days_left) * SECONDS_PER_DAY {
            details.poor = Some(format!("certificate expires in {}", coarse(seconds_left)));
        }
    }
    Ok(Stream::Tls(Box::new(stream)))
}

/// A connection of either kind.
#[derive(Debug)]
pub(super) enum Stream {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, from),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_comes_late_to_a_time_out_waits_for_as_long_again() {
        const TIME: Duration = Duration::from_secs(2);
        // The answer comes so long after the time is over, which is noticed so late.
        let wait = async |late: Duration, answers_after: Duration| {
            let deadline = Deadline::after(TIME);
            let answer = tokio::time::sleep(TIME + answers_after);
            let waiting = tokio::spawn(deadline.within(Phase::Connect, answer));
            tokio::task::yield_now().await;
            advance(TIME + late).await;
            (waiting.await.unwrap().is_ok(), deadline.at.elapsed())
        };
        let (second, step) = (Duration::from_secs(1), Duration::from_millis(10));
        assert_eq!(wait(MAX_LATENESS, MAX_LATENESS + step).await, (false, MAX_LATENESS));
        assert!(wait(second, 2 * second - step).await.0);
        assert!(!wait(second, 2 * second + step).await.0);
        let (is_answered, waited) = wait(1_000 * second, 1_010 * second).await;
        assert!(!is_answered && waited <= 1_000 * second + TIME + step, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_drip_prolongs_a_run_that_is_late() {
        let deadline = Deadline::after(Duration::from_secs(2));
        advance(Duration::from_secs(60)).await;
        let drip = tokio::time::sleep(Duration::from_millis(1));
        assert!(deadline.within(Phase::Body, drip).await.is_err());
        assert!(deadline.at.elapsed() < Duration::from_secs(59), "{:?}", deadline.at.elapsed());
    }
}
