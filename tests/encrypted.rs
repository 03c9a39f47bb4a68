//! DNS over TLS, HTTPS and QUIC on loopback: what is answered, what isn't, the limits, and how they stop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meridian::config::TcpLimits;
use meridian::dns::Transport;
use meridian::server::ConnectionCounters;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint};

use support::folder::Folder;
use support::tls::{Identity, NAME, TlsStream, tls_connect};
use support::{
    LIMITS, PATIENCE, Server, ask_tcp, ask_udp, connect, framed, is_refused, query, read_message, udp_client,
    wait_until,
};

/// What the server promises for a stop.
const STOP_BOUND: Duration = Duration::from_millis(1500);
/// DNS over QUIC's own error codes.
const PROTOCOL_ERROR: u32 = 2;
const EXCESSIVE_LOAD: u32 = 4;

/// `big.example. IN TXT`, which has an answer of nearly 58 kB.
fn big_query() -> Vec<u8> {
    b"\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03big\x07example\x00\x00\x10\x00\x01".to_vec()
}

/// A server with one listener of each kind.
struct Site {
    _folder: Folder,
    identity: Identity,
    server: Server,
}

impl Site {
    fn start(limits: TcpLimits) -> Self {
        let folder = Folder::new("encrypted");
        let identity = Identity::new();
        identity.put(&folder);
        let strings = format!("\"{}\" ", "x".repeat(250)).repeat(230);
        let zone = folder.put("big.zone", format!("@ 60 SOA a. b. 1 2 3 4 5\n@ 60 NS a.\n@ 60 TXT {strings}\n"));
        let settings = format!(
            "listen = [\"127.0.0.1:0\"]\nworkers = 1\n[server.encrypted]\ncertificate = \"{}\"\nkey = \"{}\"\n\
             tls = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nquic = [\"127.0.0.1:0\"]\n\
             [zones.\"big.example\"]\nfile = \"{}\"\n",
            folder.path("certificate.pem").display(),
            folder.path("key.pem").display(),
            zone.display()
        );
        let server = Server::start_with(&settings, limits);
        Self { _folder: folder, identity, server }
    }

    fn address(&self, transport: Transport) -> SocketAddr {
        self.server.encrypted_address(transport)
    }

    fn counters(&self, transport: Transport) -> &ConnectionCounters {
        self.server.counters.connections(transport)
    }

    fn tls(&self) -> TlsStream {
        tls_connect(self.address(Transport::Tls), self.identity.client(&["dot"])).unwrap()
    }

    fn https(&self) -> TlsStream {
        tls_connect(self.address(Transport::Https), self.identity.client(&["http/1.1"])).unwrap()
    }

    /// A client of DNS over QUIC; needs a runtime.
    fn quic_endpoint(&self) -> Endpoint {
        let config = self.identity.client_of_versions(&["doq"], &[&rustls::version::TLS13]);
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let crypto = QuicClientConfig::try_from(config).unwrap();
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
        endpoint
    }

    /// A connection on which the server may send so much of each response until it is read.
    async fn quic_with_window(&self, octets: u32) -> Connection {
        let mut endpoint = self.quic_endpoint();
        let config = self.identity.client_of_versions(&["doq"], &[&rustls::version::TLS13]);
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(octets.into());
        config.transport_config(Arc::new(transport));
        endpoint.set_default_client_config(config);
        endpoint.connect(self.address(Transport::Quic), NAME).unwrap().await.unwrap()
    }

    async fn quic(&self) -> Connection {
        self.quic_endpoint().connect(self.address(Transport::Quic), NAME).unwrap().await.unwrap()
    }
}

/// Asks once on a stream of its own; what the response is, without its length.
async fn ask_quic(connection: &Connection, message: &[u8]) -> Result<Vec<u8>, ConnectionError> {
    let (mut send, mut receive) = connection.open_bi().await?;
    let _ = send.write_all(&framed(message)).await;
    let _ = send.finish();
    match receive.read_to_end(1 << 17).await {
        Ok(response) => {
            assert_eq!(usize::from(u16::from_be_bytes([response[0], response[1]])), response.len() - 2);
            Ok(response[2..].to_vec())
        }
        Err(_) => Err(connection.closed().await),
    }
}

/// Returns when the server knows that the client has every response, which is when it was of use last. What the client
/// sends next says so, and it sends a query that it gives up, which is of no use itself.
async fn acknowledge(connection: &Connection) {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&[0]).await.unwrap();
    send.reset(0_u32.into()).unwrap();
    assert!(receive.read_to_end(1).await.unwrap().is_empty());
}

/// Waits until the server closes.
fn is_closed(stream: &mut impl Read) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof),
    }
}

fn application_error(error: &ConnectionError) -> Option<u32> {
    match error {
        ConnectionError::ApplicationClosed(close) => Some(u32::try_from(close.error_code.into_inner()).unwrap()),
        _ => None,
    }
}

/// Sends a request of HTTP/1.1; its status, head and body.
fn exchange(stream: &mut (impl Read + Write), head: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    stream.write_all(format!("{head}\r\nhost: {NAME}\r\n\r\n").as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&head)));
        head.push(octet[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (status, head, body)
}

fn get(message: &[u8]) -> String {
    format!("GET /dns-query?dns={} HTTP/1.1", URL_SAFE_NO_PAD.encode(message))
}

fn post(length: usize) -> String {
    format!("POST /dns-query HTTP/1.1\r\ncontent-type: application/dns-message\r\ncontent-length: {length}")
}

fn ask_https(stream: &mut TlsStream, id: u16) {
    let (status, _, body) = exchange(stream, &get(&query(id)), b"");
    assert_eq!(status, 200);
    assert!(is_refused(&body, id));
}

#[test]
fn tls_answers_many_queries_in_order_however_they_are_cut() {
    let site = Site::start(LIMITS);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        // Without naming the protocol, too.
        for protocols in [&["dot"][..], &[]] {
            let config = site.identity.client_of_versions(protocols, &[version]);
            let mut stream = tls_connect(site.address(Transport::Tls), config).unwrap();
            let queries: Vec<u8> = (0..500).flat_map(|id| framed(&query(id))).collect();
            stream.write_all(&queries).unwrap();
            for id in 0..500 {
                assert!(is_refused(&read_message(&mut stream).unwrap(), id), "{id}");
            }
            for piece in queries[..9 * 35].chunks(8) {
                stream.write_all(piece).unwrap();
            }
            for id in 0..9 {
                assert!(is_refused(&read_message(&mut stream).unwrap(), id), "{id}");
            }
        }
    }
}

#[test]
fn tls_answers_a_client_that_has_closed_its_half() {
    let site = Site::start(LIMITS);
    for says_goodbye in [true, false] {
        let mut stream = site.tls();
        stream.write_all(&(0..200).flat_map(|id| framed(&query(id))).collect::<Vec<u8>>()).unwrap();
        if says_goodbye {
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
        stream.sock.shutdown(Shutdown::Write).unwrap();
        for id in 0..200 {
            assert!(is_refused(&read_message(&mut stream).unwrap(), id), "{id}");
        }
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the server says goodbye, too");
    }
}

#[test]
fn tls_closes_after_what_cannot_be_answered() {
    let site = Site::start(LIMITS);
    let mut stream = site.tls();
    stream.write_all(&[framed(&query(1)), framed(&query(2)[..11])].concat()).unwrap();
    assert!(is_refused(&read_message(&mut stream).unwrap(), 1));
    assert_eq!(read_message(&mut stream), None);
}

#[test]
fn https_says_by_the_status_what_is_wrong() {
    let site = Site::start(LIMITS);
    let long = "A".repeat(9_000);
    let mut whole = query(1);
    whole.resize(65_535, 0);
    let mut response = query(1);
    response[2] |= 0x80;
    let encoded = URL_SAFE_NO_PAD.encode(query(1));
    let padded = URL_SAFE.encode(&query(1)[..31]);
    assert!(padded.ends_with("=="));
    for (head, body, expected) in [
        (get(&query(1)), &b""[..], 200),
        (post(query(1).len()), &query(1), 200),
        (post(query(1).len()).replace("dns-message", "DNS-message; x=y"), &query(1), 200),
        (post(whole.len()), &whole, 200),
        (format!("GET /dns-query?x=y&dns={encoded}&dns=%%% HTTP/1.1"), b"", 200),
        (format!("GET /dns-query?dns={padded} HTTP/1.1"), b"", 200),
        ("GET /dns-query HTTP/1.1".to_owned(), b"", 400),
        ("GET /dns-query?dns= HTTP/1.1".to_owned(), b"", 400),
        ("GET /dns-query?dns=a+b/ HTTP/1.1".to_owned(), b"", 400),
        (get(&query(1)[..11]), b"", 400),
        (get(&response), b"", 400),
        (post(3), b"abc", 400),
        (get(&query(1)).replace("dns-query", "elsewhere"), b"", 404),
        (get(&query(1)).replace("GET", "DELETE"), b"", 405),
        (post(65_536), &[whole.as_slice(), b"x"].concat(), 413),
        (format!("GET /dns-query?dns={long} HTTP/1.1"), b"", 414),
        (post(query(1).len()).replace("dns-message", "json"), &query(1), 415),
        ("POST /dns-query HTTP/1.1\r\ncontent-length: 0".to_owned(), b"", 415),
    ] {
        let (status, head_of_response, answer) = exchange(&mut site.https(), &head, body);
        assert_eq!(status, expected, "{head:.200}");
        if status == 200 {
            assert_eq!(answer[..2], [0, 1], "{head:.200}");
            assert!(head_of_response.contains("content-type: application/dns-message\r\n"), "{head_of_response}");
            assert!(head_of_response.contains("cache-control: private, max-age=0\r\n"), "{head_of_response}");
        } else {
            assert_eq!(head_of_response.contains("allow: get, post"), status == 405, "{head_of_response}");
        }
    }
    let mut stream = site.https();
    for id in 0..100 {
        ask_https(&mut stream, id);
    }
}

type H2 = http2::SendRequest<Full<Bytes>>;

async fn h2(site: &Site) -> H2 {
    h2_with_window(site, 65_535).await
}

/// A client that lets the server send so much of each response until it is read.
async fn h2_with_window(site: &Site, octets: u32) -> H2 {
    let connector = tokio_rustls::TlsConnector::from(Arc::new(site.identity.client(&["h2"])));
    let stream = tokio::net::TcpStream::connect(site.address(Transport::Https)).await.unwrap();
    let stream = connector.connect(NAME.try_into().unwrap(), stream).await.unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(octets)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// Posts, and reads the head of the response alone.
async fn h2_post_only(sender: &mut H2, body: Vec<u8>) -> hyper::Result<Response<Incoming>> {
    let request = Request::post(format!("https://{NAME}/dns-query"))
        .header("content-type", "application/dns-message")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    sender.ready().await?;
    sender.send_request(request).await
}

async fn h2_post(sender: &mut H2, body: Vec<u8>) -> hyper::Result<Response<Bytes>> {
    let (head, body) = h2_post_only(sender, body).await?.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn https_answers_many_requests_at_once_by_http_2() {
    let site = Site::start(LIMITS);
    let sender = h2(&site).await;
    let mut requests = tokio::task::JoinSet::new();
    for id in 0..300_u16 {
        let mut sender = sender.clone();
        requests.spawn(async move {
            let response = if id % 2 == 0 {
                h2_post(&mut sender, query(id)).await.unwrap()
            } else {
                let encoded = URL_SAFE_NO_PAD.encode(query(id));
                let request = Request::get(format!("https://{NAME}/dns-query?dns={encoded}"));
                sender.ready().await.unwrap();
                let response = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
                let (head, body) = response.into_parts();
                Response::from_parts(head, body.collect().await.unwrap().to_bytes())
            };
            assert_eq!(response.status(), StatusCode::OK);
            assert!(is_refused(response.body(), id));
        });
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    let mut sender = sender;
    assert_eq!(h2_post(&mut sender, vec![0; 65_536]).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    let mut whole = query(7);
    whole.resize(65_535, 0);
    assert_eq!(h2_post(&mut sender, whole).await.unwrap().status(), StatusCode::OK);
    assert_eq!(site.counters(Transport::Https).accepted.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn quic_answers_each_stream_by_itself() {
    let site = Site::start(LIMITS);
    let connection = site.quic().await;
    // One that does not end holds up no other.
    let (mut unfinished, mut late) = connection.open_bi().await.unwrap();
    unfinished.write_all(&framed(&query(9))[..7]).await.unwrap();
    let mut asking = tokio::task::JoinSet::new();
    for id in 0..300 {
        let connection = connection.clone();
        asking.spawn(async move { assert!(is_refused(&ask_quic(&connection, &query(id)).await.unwrap(), id)) });
    }
    while let Some(done) = asking.join_next().await {
        done.unwrap();
    }
    let mut long = query(1);
    long.resize(65_535, 0);
    assert_eq!(ask_quic(&connection, &long).await.unwrap()[..2], [0, 1]);
    unfinished.write_all(&framed(&query(9))[7..]).await.unwrap();
    unfinished.finish().unwrap();
    let response = late.read_to_end(1000).await.unwrap();
    assert!(is_refused(&response[2..], 9));
    assert_eq!(site.counters(Transport::Quic).open.get(), 1);
    connection.close(0_u32.into(), b"");
    let site = tokio::task::spawn_blocking(move || {
        wait_until("it is forgotten", || site.counters(Transport::Quic).open.get() == 0);
        site
    });
    assert_eq!(site.await.unwrap().counters(Transport::Quic).timed_out.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn quic_ends_a_connection_that_breaks_the_protocol() {
    let site = Site::start(LIMITS);
    let mut response = query(1);
    response[2] |= 0x80;
    let mut keepalive = query(1);
    keepalive[11] = 1;
    keepalive.extend(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x04\x00\x0b\x00\x00");
    for (what, octets) in [
        ("nothing", vec![]),
        ("half a length", vec![0]),
        ("half a query", framed(&query(1))[..20].to_vec()),
        ("two queries", [framed(&query(1)), framed(&query(2))].concat()),
        ("more than any query", vec![0; 65_538]),
        ("a response", framed(&response)),
        ("no header", framed(&[0; 11])),
        ("an option of TCP", framed(&keepalive)),
    ] {
        let connection = site.quic().await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        let _ = send.write_all(&octets).await;
        let _ = send.finish();
        let error = connection.closed().await;
        assert_eq!(application_error(&error), Some(PROTOCOL_ERROR), "{what}: {error}");
    }
    // Streams in one direction are none of its.
    let connection = site.quic().await;
    tokio::time::timeout(Duration::from_millis(100), connection.open_uni()).await.unwrap_err();
    // A query that is given up is none that is broken.
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(&framed(&query(1))[..20]).await.unwrap();
    send.reset(3_u32.into()).unwrap();
    assert!(is_refused(&ask_quic(&connection, &query(2)).await.unwrap(), 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn quic_answers_nothing_from_another_address_than_the_proved_one() {
    let site = Site::start(LIMITS);
    let endpoint = site.quic_endpoint();
    let connection = endpoint.connect(site.address(Transport::Quic), NAME).unwrap().await.unwrap();
    ask_quic(&connection, &query(1)).await.unwrap();
    endpoint.rebind(UdpSocket::bind("127.0.0.2:0").unwrap()).unwrap();
    tokio::time::timeout(Duration::from_millis(300), ask_quic(&connection, &query(2))).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn unfinished_queries_of_one_connection_are_bounded_together() {
    let site = Site::start(LIMITS);
    let connection = site.quic().await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        let (mut send, receive) = connection.open_bi().await.unwrap();
        let _ = send.write_all(&vec![255; 60_000]).await;
        streams.push((send, receive));
    }
    let error = connection.closed().await;
    assert_eq!(application_error(&error), Some(EXCESSIVE_LOAD), "{error}");
    let fresh = site.quic().await;
    assert!(is_refused(&ask_quic(&fresh, &query(1)).await.unwrap(), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn responses_that_a_client_does_not_take_are_bounded_together() {
    let site = Site::start(LIMITS);
    // With the smallest window, HTTP has the rest of a response in its own hands.
    for window in [0, 1] {
        let mut sender = h2_with_window(&site, window).await;
        let mut untaken = Vec::new();
        for _ in 0..6 {
            untaken.push(h2_post_only(&mut sender, big_query()).await.unwrap());
        }
        let statuses: Vec<u16> = untaken.iter().map(|response| response.status().as_u16()).collect();
        assert_eq!(statuses, [200, 200, 200, 200, 503, 503], "{window}");
        // What the client doesn't want any more doesn't count.
        drop(untaken);
        let deadline = Instant::now() + PATIENCE;
        while h2_post_only(&mut sender, big_query()).await.unwrap().status() != StatusCode::OK {
            assert!(Instant::now() < deadline, "{window}");
        }
    }
    let connection = site.quic_with_window(5).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&framed(&big_query())).await.unwrap();
        send.finish().unwrap();
        receive.read_exact(&mut [0; 2]).await.unwrap();
        streams.push(receive);
    }
    assert!(connection.close_reason().is_none());
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(&framed(&big_query())).await.unwrap();
    send.finish().unwrap();
    assert_eq!(application_error(&connection.closed().await), Some(EXCESSIVE_LOAD));
}

#[test]
fn a_silent_or_dripping_client_is_closed_by_the_idle_time_out() {
    let idle_timeout = Duration::from_millis(400);
    let site = Site::start(TcpLimits { idle_timeout, ..LIMITS });
    let (mut tls, mut https) = (site.tls(), site.https());
    ask_tcp(&mut tls, 1);
    ask_https(&mut https, 1);
    let asked = Instant::now();
    for stream in [&mut tls, &mut https] {
        stream.sock.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        // What makes no whole query wins no time.
        let drips = framed(&[7; 60_000]);
        let closed = drips[..200].chunks(1).any(|drip| {
            let wrote = stream.write_all(drip).is_ok();
            !wrote || !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
        });
        assert!(closed);
    }
    assert!(asked.elapsed() >= idle_timeout / 2, "{:?}", asked.elapsed());
    for transport in [Transport::Tls, Transport::Https] {
        wait_until("it is counted", || site.counters(transport).timed_out.get() == 1);
        wait_until("it is forgotten", || site.counters(transport).open.get() == 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_silent_quic_client_is_closed_by_the_idle_time_out() {
    let site = Site::start(TcpLimits { idle_timeout: Duration::from_millis(400), ..LIMITS });
    let connection = site.quic().await;
    assert!(is_refused(&ask_quic(&connection, &query(1)).await.unwrap(), 1));
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    let asked = Instant::now();
    let mut drips = 0;
    while connection.close_reason().is_none() {
        assert!(asked.elapsed() < PATIENCE, "after {drips} drips");
        let _ = send.write_all(&[0]).await;
        drips += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(drips > 1);
    assert_eq!(application_error(&connection.close_reason().unwrap()), Some(0));
    assert_eq!(site.counters(Transport::Quic).timed_out.get(), 1);
}

/// The first datagrams of clients that will never send a second one.
async fn initials(site: &Site, count: usize) -> Vec<Vec<u8>> {
    let mut initials = Vec::new();
    for _ in 0..count {
        // A decoy of its own, as a client that hears nothing repeats itself.
        let decoy = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let endpoint = site.quic_endpoint();
        let _connecting = endpoint.connect(decoy.local_addr().unwrap(), NAME).unwrap();
        let mut datagram = vec![0; 2048];
        let length = decoy.recv(&mut datagram).await.unwrap();
        datagram.truncate(length);
        initials.push(datagram);
    }
    initials
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn silent_handshakes_hold_nobody_up() {
    let idle_timeout = Duration::from_secs(2);
    let site = Site::start(TcpLimits { idle_timeout, ..LIMITS });
    let silent: Vec<TcpStream> = [Transport::Tls, Transport::Https]
        .iter()
        .flat_map(|of| [(); 20].map(|()| connect(site.address(*of))))
        .collect();
    let sockets: Vec<UdpSocket> = initials(&site, 40)
        .await
        .iter()
        .map(|initial| {
            let socket = udp_client(site.address(Transport::Quic));
            socket.send(initial).unwrap();
            socket
        })
        .collect();
    let began = Instant::now();
    ask_tcp(&mut site.tls(), 1);
    ask_https(&mut site.https(), 2);
    let connection = site.quic().await;
    assert!(is_refused(&ask_quic(&connection, &query(3)).await.unwrap(), 3));
    ask_udp(&udp_client(site.server.address()), 4);
    ask_tcp(&mut site.server.connect(), 5);
    assert!(began.elapsed() < idle_timeout, "{:?}: they waited for the silent ones", began.elapsed());
    // Of the QUIC clients only so many were believed; the others have to prove their addresses.
    assert!(site.server.counters.quic_retries.get() >= 24, "{}", site.server.counters.quic_retries.get());
    wait_until("the silent ones are given up", || {
        let given_up = |of| site.counters(of).timed_out.get() >= 20;
        given_up(Transport::Tls) && given_up(Transport::Https) && site.counters(Transport::Quic).timed_out.get() >= 16
    });
    drop((silent, sockets));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn all_three_share_the_limits_apart_from_plain_tcp() {
    let site = Site::start(TcpLimits { connections_per_client: 3, ..LIMITS });
    let (mut tls, mut https, quic) = (site.tls(), site.https(), site.quic().await);
    ask_tcp(&mut tls, 1);
    ask_https(&mut https, 2);
    ask_quic(&quic, &query(3)).await.unwrap();
    acknowledge(&quic).await;
    // A fourth of the same network takes the place of the one idle longest, whatever they are.
    let mut second_https = site.https();
    ask_https(&mut second_https, 1);
    assert!(is_closed(&mut tls));
    let second_quic = site.quic().await;
    ask_quic(&second_quic, &query(2)).await.unwrap();
    assert!(is_closed(&mut https));
    assert!(site.server.counters.quic_retries.get() >= 1, "it had to prove its address");
    let mut second_tls = site.tls();
    ask_tcp(&mut second_tls, 3);
    let closed = quic.closed().await;
    assert_eq!(application_error(&closed), Some(0), "{closed}");
    for transport in [Transport::Tls, Transport::Https, Transport::Quic] {
        assert_eq!(site.counters(transport).evicted.get(), 1, "{transport:?}");
    }
    // Plain TCP has limits of its own.
    let mut plain: Vec<TcpStream> = (0..3).map(|_| site.server.connect()).collect();
    plain.iter_mut().for_each(|stream| ask_tcp(stream, 4));
    ask_tcp(&mut second_tls, 5);
}

#[test]
fn room_is_made_by_closing_the_connection_idle_longest() {
    let site = Site::start(TcpLimits { connections: 3, ..LIMITS });
    // In handshake, and idle from then on.
    let mut silent = connect(site.address(Transport::Https));
    wait_until("it is accepted", || site.counters(Transport::Https).open.get() == 1);
    let (mut tls, mut https) = (site.tls(), site.https());
    ask_https(&mut https, 1);
    ask_tcp(&mut tls, 1);
    let mut second = site.tls();
    assert!(is_closed(&mut silent), "the silent one made room");
    ask_tcp(&mut second, 2);
    let mut third = site.https();
    ask_https(&mut third, 3);
    assert!(is_closed(&mut https), "it was idle longest");
    for stream in [&mut tls, &mut second] {
        ask_tcp(stream, 3);
    }
    ask_https(&mut third, 3);
    let evicted = [Transport::Tls, Transport::Https].map(|of| site.counters(of).evicted.get());
    assert_eq!(evicted, [0, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_a_quic_client_with_a_proved_address_takes_the_place_of_another() {
    let site = Site::start(TcpLimits { connections: 1, ..LIMITS });
    let first = site.quic().await;
    ask_quic(&first, &query(1)).await.unwrap();
    assert_eq!(site.server.counters.quic_retries.get(), 0);
    let second = site.quic().await;
    assert_eq!(application_error(&first.closed().await), Some(0));
    ask_quic(&second, &query(2)).await.unwrap();
    assert!(site.server.counters.quic_retries.get() >= 1);
    assert_eq!(site.counters(Transport::Quic).evicted.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn quic_connections_that_have_ended_are_bounded_as_long_as_they_are_in_memory() {
    let site = Site::start(TcpLimits { connections: 1, ..LIMITS });
    let quic = site.counters(Transport::Quic);
    for initial in initials(&site, 3).await {
        let silent = udp_client(site.address(Transport::Quic));
        silent.send(&initial).unwrap();
        wait_until("it is accepted", || quic.open.get() == 1);
        // It has no idea yet how far its client is, so it waits for seconds once it has ended.
        ask_tcp(&mut site.tls(), 1);
        wait_until("the place is free", || site.counters(Transport::Tls).open.get() == 0);
    }
    assert_eq!((quic.evicted.get(), quic.refused.get()), (3, 0));
    let address = site.address(Transport::Quic);
    site.quic_endpoint().connect(address, NAME).unwrap().await.unwrap_err();
    assert_eq!(quic.refused.get(), 1);
    let deadline = Instant::now() + PATIENCE;
    while site.quic_endpoint().connect(address, NAME).unwrap().await.is_err() {
        assert!(Instant::now() < deadline, "they never left");
    }
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let site = Site::start(TcpLimits { write_timeout: Duration::from_millis(500), ..LIMITS });
    for transport in [Transport::Tls, Transport::Https] {
        let (mut stream, asked) = match transport {
            Transport::Tls => (site.tls(), (0..500).flat_map(|id| framed(&query(id))).collect::<Vec<u8>>()),
            _ => (site.https(), format!("{}\r\nhost: x\r\n\r\n", get(&query(1))).repeat(200).into_bytes()),
        };
        let deadline = Instant::now() + PATIENCE;
        while stream.write_all(&asked).is_ok() {
            assert!(Instant::now() < deadline, "the server never closed");
        }
        wait_until("its time is out", || site.counters(transport).timed_out.get() == 1);
        wait_until("it is forgotten", || site.counters(transport).open.get() == 0);
    }
    ask_tcp(&mut site.tls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_quic_client_that_takes_no_response_is_given_up() {
    let site = Site::start(TcpLimits { write_timeout: Duration::from_millis(500), ..LIMITS });
    // Less than a response has.
    let connection = site.quic_with_window(5).await;
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(&framed(&query(1))).await.unwrap();
    send.finish().unwrap();
    assert_eq!(application_error(&connection.closed().await), Some(0));
    assert_eq!(site.counters(Transport::Quic).timed_out.get(), 1);
}

#[test]
fn a_handshake_that_cannot_succeed_is_counted() {
    let site = Site::start(LIMITS);
    for (transport, wrong) in [(Transport::Tls, "h2"), (Transport::Https, "dot")] {
        tls_connect(site.address(transport), site.identity.client(&[wrong])).unwrap_err();
        let mut plain = connect(site.address(transport));
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let _ = plain.read_to_end(&mut Vec::new());
        wait_until("both are counted", || site.counters(transport).handshake_failures.get() == 2);
    }
    let config = site.identity.client_of_versions(&["h3"], &[&rustls::version::TLS13]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut endpoint = site.quic_endpoint();
        let crypto = QuicClientConfig::try_from(config).unwrap();
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
        endpoint.connect(site.address(Transport::Quic), NAME).unwrap().await.unwrap_err();
    });
    wait_until("it is counted", || site.counters(Transport::Quic).handshake_failures.get() == 1);
}

/// How a client of HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[test]
fn heads_of_http_1_are_bounded() {
    let site = Site::start(LIMITS);
    let ask = |fields: String| exchange(&mut site.https(), &format!("{}{fields}", get(&query(1))), b"").0;
    // And the host.
    assert_eq!(ask("\r\na: b".repeat(63)), 200);
    assert_eq!(ask("\r\na: b".repeat(64)), 431);
    assert_eq!(ask(format!("\r\na: {}", "b".repeat(15_000))), 200);
    let mut stream = site.https();
    stream.write_all(format!("{}\r\na: {}\r\n\r\n", get(&query(1)), "b".repeat(20_000)).as_bytes()).unwrap();
    let mut answer = Vec::new();
    // What was not read of it may cut the answer off.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_client_of_http_2_is_told_the_bounds_and_the_end() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    const MAX_HEADER_LIST_SIZE: u16 = 6;
    const GOAWAY: u8 = 7;
    let site = Site::start(TcpLimits { idle_timeout: Duration::from_millis(400), ..LIMITS });
    let mut stream = tls_connect(site.address(Transport::Https), site.identity.client(&["h2"])).unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).unwrap();
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received);
    let (mut rest, mut frames) = (&received[..], Vec::new());
    while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
        let (payload, next) = after.split_at(u32::from_be_bytes([0, *a, *b, *c]) as usize);
        frames.push((*kind, payload));
        rest = next;
    }
    let (SETTINGS, settings) = frames[0] else { panic!("{frames:?}") };
    let setting = |wanted: u16| {
        let mut all = settings.chunks_exact(6).map(|setting| setting.split_at(2));
        all.find_map(|(id, value)| (id == wanted.to_be_bytes()).then(|| u32::from_be_bytes(value.try_into().unwrap())))
    };
    assert_eq!([MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE].map(setting), [Some(100), Some(16_384)]);
    assert!(frames.iter().any(|(kind, _)| *kind == GOAWAY), "{frames:?}");
}

#[test]
fn floods_of_http_2_are_cut_off() {
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const PING: u8 = 6;
    const CONTINUATION: u8 = 9;
    // GET https:/ of nobody, by the static table.
    let head = b"\x82\x87\x84\x41\x01x";
    let resets = (0..5000).flat_map(|number| {
        let stream = number * 2 + 1;
        [frame(HEADERS, 5, stream, head), frame(RESET, 0, stream, &[0, 0, 0, 8])].concat()
    });
    // A head that never ends.
    let endless = (0..200).flat_map(|number| match number {
        0 => frame(HEADERS, 1, 1, head),
        _ => frame(CONTINUATION, 0, 1, &[b"\x40\x01a\x7f\xe1\x1f".as_slice(), &[b'x'; 4096]].concat()),
    });
    let pings = (0..20_000).flat_map(|_| frame(PING, 0, 0, &[0; 8]));
    let idle_timeout = Duration::from_secs(1);
    let site = Site::start(TcpLimits { idle_timeout, write_timeout: idle_timeout, ..LIMITS });
    for flood in [resets.collect::<Vec<u8>>(), endless.collect(), pings.collect()] {
        let config = site.identity.client(&["h2"]);
        let mut stream = tls_connect(site.address(Transport::Https), config).unwrap();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).unwrap();
        // It may be cut off on the way.
        let _ = stream.write_all(&flood);
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received);
        assert!(received.len() < 1 << 20, "{} octets", received.len());
        wait_until("it is cut off", || site.counters(Transport::Https).open.get() == 0);
        ask_https(&mut site.https(), 1);
        wait_until("the good one has gone", || site.counters(Transport::Https).open.get() == 0);
    }
    assert_eq!(site.server.counters.panics.get(), 0);
}

#[test]
fn garbage_does_no_harm() {
    let site = Site::start(LIMITS);
    let mut rng = fastrand::Rng::with_seed(20_260_101);
    let quic = udp_client(site.address(Transport::Quic));
    for round in 0..300 {
        let octets: Vec<u8> = (0..rng.usize(1..2000)).map(|_| rng.u8(..)).collect();
        for transport in [Transport::Tls, Transport::Https] {
            // Half of them inside TLS.
            if round % 2 == 0 {
                let mut stream = connect(site.address(transport));
                let _ = stream.write_all(&octets);
            } else if round % 10 == 1 {
                let mut stream = if transport == Transport::Tls { site.tls() } else { site.https() };
                let _ = stream.write_all(&octets);
            }
        }
        // Some of them look like the beginning of a connection.
        let mut datagram = octets;
        datagram.resize(1200, 0);
        if round % 2 == 0 {
            datagram[..7].copy_from_slice(&[0xC3, 0, 0, 0, 1, 8, 1]);
        }
        quic.send(&datagram).unwrap();
    }
    ask_tcp(&mut site.tls(), 1);
    ask_https(&mut site.https(), 2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = site.quic().await;
        assert!(is_refused(&ask_quic(&connection, &query(3)).await.unwrap(), 3));
    });
    assert_eq!(site.server.counters.panics.get(), 0);
    for transport in [Transport::Tls, Transport::Https] {
        wait_until("all are forgotten", || site.counters(transport).open.get() == 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stop_answers_what_has_arrived_and_is_soon_over() {
    let site = Site::start(LIMITS);
    let (mut tls, mut idle, mut https) = (site.tls(), site.tls(), site.https());
    ask_tcp(&mut tls, 1);
    ask_tcp(&mut idle, 1);
    ask_https(&mut https, 1);
    let quic = site.quic().await;
    ask_quic(&quic, &query(1)).await.unwrap();
    let _in_handshake = connect(site.address(Transport::Tls));
    tls.write_all(&[framed(&query(2)), framed(&query(3)), vec![0]].concat()).unwrap();
    https.write_all(format!("{}\r\nhost: x\r\n\r\n", get(&query(2))).as_bytes()).unwrap();
    let (mut send, mut receive) = quic.open_bi().await.unwrap();
    send.write_all(&framed(&query(2))).await.unwrap();
    send.finish().unwrap();
    // One that will never end.
    let (mut unfinished, _never) = quic.open_bi().await.unwrap();
    unfinished.write_all(&[0]).await.unwrap();
    let (counters, told) = (site.server.counters.clone(), Instant::now());
    tokio::task::spawn_blocking(|| site.server.serving.shutdown()).await.unwrap();
    assert!(told.elapsed() < STOP_BOUND, "{:?}", told.elapsed());
    for id in [2, 3] {
        assert!(is_refused(&read_message(&mut tls).unwrap(), id));
    }
    for stream in [&mut tls, &mut idle] {
        assert_eq!(read_message(stream), None);
    }
    let mut answered = Vec::new();
    let _ = https.read_to_end(&mut answered);
    assert!(answered.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answered));
    assert!(is_refused(&receive.read_to_end(1000).await.unwrap()[2..], 2));
    let closed = quic.closed().await;
    assert_eq!(application_error(&closed), Some(0), "{closed}");
    for transport in [Transport::Tls, Transport::Https, Transport::Quic] {
        assert_eq!(counters.connections(transport).open.get(), 0);
    }
}
