//! DNS over TLS (RFC 7858), HTTPS (RFC 8484) and QUIC (RFC 9250): one thread for all their connections, so that
//! handshakes hold up neither UDP nor plain TCP.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::version::{TLS12, TLS13};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::accept::accept;
use super::bounded_writes::BoundedWrites;
use super::certificate::Certificate;
use super::connections::{Connections, Ticket};
use super::framed::Framed;
use super::https::Https;
use super::quic;
use super::sockets::EncryptedSockets;
use super::tcp::Settings;
use super::thread::{self, Stop};
use crate::dns::Transport;

/// How long a handshake may take, where the idle time-out isn't shorter.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts the thread `encrypted`, which accepts from all sockets until told to stop.
///
/// # Errors
/// Where the system grants no thread or no descriptor for it.
pub(super) fn spawn(
    sockets: EncryptedSockets,
    certificate: Arc<Certificate>,
    settings: Settings,
) -> io::Result<JoinHandle<()>> {
    let Settings { published, counters, responder, stop } = settings;
    thread::spawn("encrypted", stop.clone(), move |tasks| {
        let responder = Rc::new(RefCell::new(responder));
        let connections = Connections::new(published, counters.clone());
        let https = Https::new(sockets.https_path, responder.clone());
        for (transport, listeners) in [(Transport::Tls, sockets.tls), (Transport::Https, sockets.https)] {
            let acceptor = TlsAcceptor::from(Arc::new(tls(&certificate, transport)?));
            for listener in listeners {
                let listener = TcpListener::from_std(listener)?;
                let (acceptor, responder, connections) = (acceptor.clone(), responder.clone(), connections.clone());
                let (https, counters, stop) = (https.clone(), counters.clone(), stop.clone());
                tasks.spawn_local(async move {
                    accept(listener, transport, &counters, stop.clone(), |stream, peer| {
                        connections.admit(peer.ip(), transport, |ticket| {
                            let (acceptor, responder) = (acceptor.clone(), responder.clone());
                            let (https, mut stop) = (https.clone(), stop.clone());
                            async move {
                                let Some(stream) = handshake(&acceptor, stream, &ticket, &mut stop).await else {
                                    return;
                                };
                                match transport {
                                    Transport::Https => https.serve(stream, ticket, stop).await,
                                    _ => Framed::new(stream, ticket, responder).run(stop).await,
                                }
                            }
                        });
                    })
                    .await;
                });
            }
        }
        let crypto = Arc::new(tls(&certificate, Transport::Quic)?);
        for socket in sockets.quic {
            let listener = quic::Listener::new(socket, crypto.clone())?;
            let (connections, counters) = (connections.clone(), counters.clone());
            tasks.spawn_local(quic::accept(listener, connections, counters, responder.clone(), stop.clone()));
        }
        Ok(())
    })
}

/// How long a handshake may take under these limits.
pub(super) fn handshake_timeout(ticket: &Ticket) -> Duration {
    HANDSHAKE_TIMEOUT.min(ticket.limits().idle_timeout)
}

/// The stream inside TLS; nothing where the client fails the handshake or takes too long.
async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    ticket: &Rc<Ticket>,
    stop: &mut Stop,
) -> Option<TlsStream<BoundedWrites<TcpStream>>> {
    let stream = BoundedWrites::new(stream, ticket.clone());
    let shaken = tokio::select! {
        biased;
        _ = stop.changed() => return None,
        shaken = timeout(handshake_timeout(ticket), acceptor.accept(stream)) => shaken,
    };
    match shaken {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(_)) => {
            ticket.counters().handshake_failures.increment();
            None
        }
        Err(_) => {
            ticket.counters().timed_out.increment();
            None
        }
    }
}

/// TLS without early data, which could be replayed (RFC 9250 section 4.5). Sessions are resumed by tickets that the
/// clients keep, so they take no memory here.
fn tls(certificate: &Arc<Certificate>, transport: Transport) -> io::Result<ServerConfig> {
    let (versions, protocols): (&[_], &[&str]) = match transport {
        Transport::Https => (&[&TLS13, &TLS12], &["h2", "http/1.1"]),
        // It has no TLS 1.2 (RFC 9001 section 4.2).
        Transport::Quic => (&[&TLS13], &["doq"]),
        _ => (&[&TLS13, &TLS12], &["dot"]),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(certificate.clone());
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config.ticketer = Ticketer::new().map_err(io::Error::other)?;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}
