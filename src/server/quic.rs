//! DNS over QUIC (RFC 9250): each query on a stream of its own.
//!
//! A query is answered when its stream has ended. A client that breaks the protocol loses its connection
//! (section 4.3.3), but any message id is taken, as the response only repeats it.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::LULL;
use super::connections::{Connections, Excess, Ticket, Unfinished, Untaken};
use super::counters::ServerCounters;
use super::encrypted::handshake_timeout;
use super::failures::Failures;
use super::framed::{PREFIX_BYTES, put_framed};
use super::responder::Responder;
use super::thread::{DRAIN, Stop};
use crate::dns::{Query, Transport};
use crate::zone::LookupName;

/// The longest query with its length ahead.
const MAX_QUERY_OCTETS: usize = PREFIX_BYTES + 65_535;
/// Queries at once on one connection.
const MAX_STREAMS: u32 = 100;
/// What one stream, and all of a connection, may send before it is taken in.
const STREAM_WINDOW_OCTETS: u32 = 1 << 17;
const CONNECTION_WINDOW_OCTETS: u32 = 1 << 18;
/// What one connection may hold in memory of responses that the client has not acknowledged.
const SEND_WINDOW_OCTETS: u64 = 1 << 18;
/// Handshakes under way from which on a client has to prove its address before its own begins; where one client network
/// may have few connections, half of these, so that nobody uses up another's with forged addresses.
const MAX_UNPROVED_HANDSHAKES: usize = 16;
/// From how many times the connections that may be open on none is accepted: those that have ended stay in memory until
/// what is still on its way to them must have come, which their clients can put off (RFC 9000 section 10.2).
const MAX_DRAINING_FACTOR: usize = 2;
/// What may wait for the thread before a handshake begins: clients, and octets that they sent after the first datagram.
const MAX_WAITING_CLIENTS: usize = 1_024;
const MAX_WAITING_OCTETS: u64 = 1 << 14;
const MAX_WAITING_OCTETS_IN_ALL: u64 = 1 << 22;

/// Error codes (RFC 9250 section 8.4).
const NO_ERROR: VarInt = VarInt::from_u32(0);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);

/// A socket with what connections to it are told.
pub(super) struct Listener {
    socket: UdpSocket,
    config: ServerConfig,
    endpoint: Endpoint,
}

impl Listener {
    /// Begins to listen; needs the thread's runtime.
    pub(super) fn new(socket: UdpSocket, crypto: Arc<rustls::ServerConfig>) -> io::Result<Self> {
        let crypto = QuicServerConfig::try_from(crypto).map_err(io::Error::other)?;
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(MAX_STREAMS.into())
            // The client may open no others (RFC 9250 section 4.3.3).
            .max_concurrent_uni_streams(0_u32.into())
            .datagram_receive_buffer_size(None)
            .stream_receive_window(STREAM_WINDOW_OCTETS.into())
            .receive_window(CONNECTION_WINDOW_OCTETS.into())
            .send_window(SEND_WINDOW_OCTETS)
            // A connection's own time-outs end it, which may change while it is open.
            .max_idle_timeout(None);
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config
            .transport_config(Arc::new(transport))
            // A new address would be believed before it is proved, and with it whom access lists let in.
            .migration(false)
            .max_incoming(MAX_WAITING_CLIENTS)
            .incoming_buffer_size(MAX_WAITING_OCTETS)
            .incoming_buffer_size_total(MAX_WAITING_OCTETS_IN_ALL);
        let endpoint = listen(&socket, &config)?;
        Ok(Self { socket, config, endpoint })
    }
}

fn listen(socket: &UdpSocket, config: &ServerConfig) -> io::Result<Endpoint> {
    let config = Some(config.clone());
    Endpoint::new(EndpointConfig::default(), config, socket.try_clone()?, Arc::new(TokioRuntime))
}

/// Admits connections until told to stop, then waits until they have ended. No error ends it.
pub(super) async fn accept(
    listener: Listener,
    connections: Rc<Connections>,
    counters: Arc<ServerCounters>,
    responder: Rc<RefCell<Responder>>,
    mut stop: Stop,
) {
    let Listener { socket, config, mut endpoint } = listener;
    let (handshakes, mut failures) = (Rc::new(Cell::new(0)), Failures::default());
    loop {
        let incoming = tokio::select! {
            biased;
            _ = stop.changed() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else {
            // The system refused to receive, and the connections there were are lost.
            counters.connections(Transport::Quic).accept_errors.increment();
            let error = io::Error::other("the socket failed");
            let pause = failures.record("receiving QUIC", &error, std::time::Instant::now()).max(LULL);
            if timeout(pause, stop.changed()).await.is_ok() {
                break;
            }
            if let Ok(anew) = listen(&socket, &config) {
                endpoint = anew;
            }
            continue;
        };
        failures.clear();
        if endpoint.open_connections() > MAX_DRAINING_FACTOR * connections.limits().connections {
            counters.connections(Transport::Quic).refused.increment();
            incoming.refuse();
            continue;
        }
        let client = incoming.remote_address().ip();
        // Anyone can write any address into a datagram: while many do, or a connection would have to go for it, the
        // client has to prove its own.
        let most_unproved = MAX_UNPROVED_HANDSHAKES.min(connections.limits().connections_per_client / 2);
        let is_busy = handshakes.get() >= most_unproved || connections.is_full(client);
        if is_busy && !incoming.remote_address_validated() {
            counters.quic_retries.increment();
            // Fails only for those that can't be told to.
            let _ = incoming.retry();
            continue;
        }
        connections.admit(client, Transport::Quic, |ticket| {
            let (responder, handshake) = (responder.clone(), Handshake::begin(&handshakes));
            serve(incoming, ticket, responder, handshake, stop.clone())
        });
    }
    endpoint.set_server_config(None);
    endpoint.wait_idle().await;
}

/// Counts among those under way until it is dropped.
struct Handshake(Rc<Cell<usize>>);

impl Handshake {
    fn begin(under_way: &Rc<Cell<usize>>) -> Self {
        under_way.update(|count| count + 1);
        Self(under_way.clone())
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.update(|count| count.saturating_sub(1));
    }
}

/// Serves one connection until it has to end.
async fn serve(
    incoming: Incoming,
    ticket: Rc<Ticket>,
    responder: Rc<RefCell<Responder>>,
    handshake: Handshake,
    mut stop: Stop,
) {
    let shaken = tokio::select! {
        biased;
        _ = stop.changed() => return,
        shaken = timeout(handshake_timeout(&ticket), incoming) => shaken,
    };
    drop(handshake);
    let connection = match shaken {
        Ok(Ok(connection)) => connection,
        Ok(Err(ConnectionError::TimedOut)) | Err(_) => return ticket.counters().timed_out.increment(),
        Ok(Err(_)) => return ticket.counters().handshake_failures.increment(),
    };
    let end = answer(&connection, &ticket, &responder, &mut stop).await;
    if end == End::TimedOut {
        ticket.counters().timed_out.increment();
    }
    match end {
        End::Done | End::TimedOut => connection.close(NO_ERROR, b""),
        End::Violation(reason) => connection.close(PROTOCOL_ERROR, reason.as_bytes()),
        End::TooMuch => connection.close(EXCESSIVE_LOAD, b"too much of unfinished queries or unread responses"),
    }
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client is gone, or the server stops.
    Done,
    /// No query came, or a response wasn't taken in time.
    TimedOut,
    /// The client broke the protocol, so.
    Violation(&'static str),
    /// Its unfinished queries, or the responses it has yet to take, are too large together.
    TooMuch,
}

async fn answer(
    connection: &Connection,
    ticket: &Rc<Ticket>,
    responder: &Rc<RefCell<Responder>>,
    stop: &mut Stop,
) -> End {
    let mut streams = JoinSet::new();
    let answer = |(send, receive)| Stream { send, receive, ticket: ticket.clone() }.answer(responder.clone());
    loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok(stream) => streams.spawn_local(answer(stream)),
                Err(ConnectionError::TimedOut) => return End::TimedOut,
                Err(_) => return End::Done,
            },
            Some(ended) = streams.join_next() => match ended {
                Ok(Err(end)) => return end,
                _ => continue,
            },
            () = ticket.idled() => return End::TimedOut,
            _ = stop.changed() => break,
        };
    }
    // What was sent before may still be on its way.
    let last = Instant::now() + DRAIN / 2;
    while let Ok(Ok(stream)) = timeout_at(last.min(Instant::now() + LULL), connection.accept_bi()).await {
        streams.spawn_local(answer(stream));
    }
    let _ = timeout_at(last, async { while streams.join_next().await.is_some() {} }).await;
    End::Done
}

/// Whether a query has the option that belongs to TCP alone (RFC 9250 section 4.3.3).
fn asks_for_keepalive(request: &[u8]) -> bool {
    let mut name = LookupName::default();
    let edns = Query::read(request, &mut name).ok().and_then(|query| query.edns);
    edns.is_some_and(|edns| edns.keepalive)
}

/// A query on its stream.
struct Stream {
    send: SendStream,
    receive: RecvStream,
    ticket: Rc<Ticket>,
}

impl Stream {
    /// Answers the query; an error where the whole connection has to end.
    async fn answer(mut self, responder: Rc<RefCell<Responder>>) -> Result<(), End> {
        let Some(query) = self.read().await? else { return Ok(()) };
        let Some((length, request)) = query.octets().split_first_chunk::<PREFIX_BYTES>() else {
            return Err(End::Violation("a stream without a query"));
        };
        if usize::from(u16::from_be_bytes(*length)) != request.len() {
            return Err(End::Violation("a stream that is not one query"));
        }
        if asks_for_keepalive(request) {
            return Err(End::Violation("edns-tcp-keepalive"));
        }
        let mut framed = Vec::new();
        {
            let mut responder = responder.borrow_mut();
            let mut batch = responder.batch();
            let response = batch.respond(request, self.ticket.client, Transport::Quic);
            put_framed(response.ok_or(End::Violation("not a query"))?, &mut framed);
        }
        drop(query);
        let framed = Untaken::new(self.ticket.clone(), framed).ok_or(End::TooMuch)?;
        self.ticket.begin_blocked_write();
        let written = timeout(self.ticket.limits().write_timeout, self.write(framed.as_ref())).await;
        self.ticket.end_blocked_write();
        written.map_err(|_| End::TimedOut)
    }

    /// The whole stream; nothing where the client gave the query up.
    async fn read(&mut self) -> Result<Option<Unfinished>, End> {
        let mut query = Unfinished::new(self.ticket.clone(), MAX_QUERY_OCTETS);
        loop {
            match self.receive.read_chunk(usize::MAX, true).await {
                Ok(Some(chunk)) => query.extend(&chunk.bytes).map_err(|excess| match excess {
                    Excess::Query => End::Violation("more than one query on a stream"),
                    Excess::Connection => End::TooMuch,
                })?,
                Ok(None) => return Ok(Some(query)),
                // Where the connection is lost, that is noticed by itself.
                Err(_) => return Ok(None),
            }
        }
    }

    /// Returns when the client has the whole response, doesn't want it, or is gone.
    async fn write(&mut self, framed: &[u8]) {
        if self.send.write_all(framed).await.is_ok() && self.send.finish().is_ok() {
            let _ = self.send.stopped().await;
        }
    }
}
