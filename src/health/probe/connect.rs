//! Connections of probes: TCP, from an address of one's own where that is asked for, and TLS over it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Failure, Phase, Phases};

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

    /// Awaits the future.
    ///
    /// # Errors
    /// [`Failure::Timeout`] in this phase.
    pub(super) async fn within<T>(self, phase: Phase, future: impl Future<Output = T>) -> Result<T, Failure> {
        timeout_at(self.at, future).await.map_err(|_| Failure::Timeout { phase, after: self.time })
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

/// Agrees on TLS with the server over its connection.
///
/// # Errors
/// What is wrong with the certificate or with the server's TLS, and a time-out.
pub(super) async fn tls(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    deadline: Deadline,
    phases: &mut Phases,
) -> Result<Box<TlsStream<TcpStream>>, Failure> {
    let started = Instant::now();
    // Its state is large, and most of the time there is none.
    let handshake = Box::pin(TlsConnector::from(config).connect(name, stream));
    let stream = deadline.within(Phase::Tls, handshake).await?;
    phases.tls = Some(started.elapsed());
    match stream {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(Failure::from_causes(&error).unwrap_or_else(|| Failure::from_io(&error))),
    }
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
