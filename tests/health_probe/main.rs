//! Probes against servers on loopback that answer well, badly, too much, too slowly or not at all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod authority;
mod bodies;
mod bounds;
mod connections;
mod grpc;
mod http2;
mod keys;
mod secure;
#[path = "../support/mod.rs"]
mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meridian::config::{Check, HttpCheck, HttpVersion, Target, TcpCheck, Timing, Tls, Trust};
use meridian::health::probe::{Failure, Observation, Observe, Prober};
use meridian::health::{Load, TargetKey, Verdict};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use authority::{Authority, ca_file};

/// Enough for loopback, even on a busy machine.
const AMPLE: Duration = Duration::from_secs(20);
/// For targets that never answer.
const SHORT: Duration = Duration::from_millis(300);
/// How much later than its timeout a run may be noticed to end.
const SLACK: Duration = Duration::from_millis(500);

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";

/// What a server does with a connection.
#[derive(Clone)]
enum Behaviour {
    /// Reads the request's head and sends these bytes, then closes.
    Send(Vec<u8>),
    /// Closes without reading.
    CloseAtOnce,
    /// Sends these bytes and nothing else, whatever it is sent, and waits for the other side to close.
    SendAtOnce(&'static [u8]),
    /// Sends the first bytes once and the others over and over, and reads nothing.
    FloodAtOnce(&'static [u8], &'static [u8]),
    /// Sends these bytes one by one, 50 ms apart, over and over, and reads nothing.
    DripAtOnce(&'static [u8]),
    /// Reads for ever and sends nothing.
    Silent,
    /// Reads the head, then sends these bytes one by one, 50 ms apart, over and over.
    Drip(&'static [u8]),
    /// Reads the head, sends this, then 10 GB of `x`.
    Flood(&'static str),
}

impl Behaviour {
    fn send(response: &str) -> Self {
        Self::Send(response.into())
    }

    /// Errors mean that the prober went away, which is its right.
    async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin, requests: &Mutex<Vec<String>>) {
        match self {
            Self::CloseAtOnce => {}
            Self::SendAtOnce(bytes) => {
                let _ = stream.write_all(bytes).await;
                let _ = stream.shutdown().await;
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
            Self::FloodAtOnce(once, again) => {
                let _ = stream.write_all(once).await;
                while stream.write_all(&again.repeat(1_000)).await.is_ok() {}
            }
            Self::DripAtOnce(bytes) => drip(&mut stream, bytes).await,
            Self::Silent => {
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
            Self::Send(response) => {
                read_head(&mut stream, requests).await;
                let _ = stream.write_all(&response).await;
                let _ = stream.shutdown().await;
            }
            Self::Drip(bytes) => {
                read_head(&mut stream, requests).await;
                drip(&mut stream, bytes).await;
            }
            Self::Flood(head) => {
                read_head(&mut stream, requests).await;
                let _ = stream.write_all(head.as_bytes()).await;
                for _ in 0..10_000_000_000_u64 / 65_536 {
                    if stream.write_all(&[b'x'; 65_536]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

async fn drip(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    for byte in bytes.iter().cycle() {
        if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin), requests: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    requests.lock().unwrap().push(String::from_utf8(head).unwrap());
}

/// A server on a port of its own; it ends with the test's runtime.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(behaviour: Behaviour) -> Self {
        Self::listen(Ipv4Addr::LOCALHOST.into(), behaviour, None).await.unwrap()
    }

    async fn listen(
        address: IpAddr,
        behaviour: Behaviour,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let port = listener.local_addr()?.port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (behaviour, tls, seen) = (behaviour.clone(), tls.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    match tls {
                        None => behaviour.serve(stream, &seen).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                behaviour.serve(stream, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        Ok(Self { port, requests })
    }

    fn check(&self) -> HttpCheck {
        HttpCheck {
            tls: None,
            version: HttpVersion::Http1,
            source: None,
            method: "GET".into(),
            path: "/".into(),
            port: self.port,
            host: None,
            headers: Vec::new(),
            expect_status: vec![200..=299],
            expect_body: None,
            expect_body_regex: None,
            expect_field: None,
            load: Vec::new(),
        }
    }

    fn request(&self) -> String {
        let requests = self.requests.lock().unwrap();
        assert_eq!(requests.len(), 1, "one request");
        requests[0].clone()
    }
}

fn key(check: impl Into<Arc<Check>>, target: Target, timeout: Duration) -> TargetKey {
    TargetKey { check: check.into(), timing: Timing { interval: timeout * 2, timeout, ..Timing::DEFAULT }, target }
}

fn tcp(port: u16) -> Check {
    Check::Tcp(TcpCheck::accepted(port))
}

fn loopback() -> Target {
    Target::Address(Ipv4Addr::LOCALHOST.into())
}

fn hostname(name: &str) -> Target {
    Target::Hostname(domain::base::Name::from_str(name).unwrap())
}

/// TLS with the certificate verified, by these authorities or the system's.
fn verified(ca_file: Option<PathBuf>) -> Option<Tls> {
    Some(Tls { server_name: None, trust: Trust { verify: true, ca_file, client: None }, min_days_left: 0 })
}

fn trusting(ca_file: PathBuf) -> Option<Tls> {
    verified(Some(ca_file))
}

async fn probe(key: &TargetKey) -> Observation {
    Prober::new([&*key.check]).unwrap().observe(key).await.unwrap()
}

async fn probe_http(check: HttpCheck) -> Observation {
    probe(&key(Check::Http(check), loopback(), AMPLE)).await
}

#[tokio::test]
async fn what_a_server_sends_decides() {
    let far_ok = |distance| format!("HTTP/1.1 200 OK\r\n\r\n{}all good", "x".repeat(distance));
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(500));
    let huge_header = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(4 << 20));
    let redirect = "HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\nContent-Length: 0\r\n\r\n";
    let chunked = |chunks: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    // (what the server sends, expected statuses, expected body, what the probe says)
    let cases: &[(&str, Option<&str>, &str)] = &[
        (OK, None, "ok"),
        (OK, Some("OK"), "ok"),
        ("HTTP/1.0 204 No Content\r\n\r\n", None, "ok"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", None, "ok"),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", None, "status 503 (expected 200-299)"),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", None, "status 304 (expected 200-299)"),
        (redirect, None, "status 302 redirects to https://login.example/, which is not followed (expected 200-299)"),
        (OK, Some("fine"), "body lacks \"fine\" in its first 2 bytes"),
        (OK, Some("much longer than the body"), "body lacks \"much longer than the body\" in its first 2 bytes"),
        (&far_ok(65_536 - 8), Some("all good"), "ok"),
        (&far_ok(65_536 - 7), Some("all good"), "body lacks \"all good\" in its first 65536 bytes"),
        (&far_ok(200_000), Some("all good"), "body lacks \"all good\" in its first 65536 bytes"),
        (&chunked("3\r\nall\r\n5\r\n good\r\n0\r\n\r\n"), Some("all good"), "ok"),
        (&chunked("zz\r\nall good"), Some("all good"), "body broke off"),
        (&chunked("zz\r\nall good"), None, "ok"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nall", Some("all good"), "body broke off"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nall good", Some("all good"), "ok"),
        ("", None, "no valid HTTP response: connection closed before message completed"),
        ("HTTP/1.1 200 OK\r\nContent", None, "no valid HTTP response: connection closed before message completed"),
        ("SSH-2.0-OpenSSH_9.2\r\n", None, "no valid HTTP response: invalid HTTP version parsed"),
        ("HTTP/1.1 9 Nine\r\n\r\n", None, "no valid HTTP response: invalid HTTP status-code parsed"),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", None, "no valid HTTP response: invalid HTTP header parsed"),
        (&many_headers, None, "no valid HTTP response: message head is too large"),
        (&huge_header, None, "no valid HTTP response: message head is too large"),
    ];
    for (sent, expect_body, expected) in cases {
        let server = Server::start(Behaviour::send(sent)).await;
        let observation = probe_http(HttpCheck { expect_body: expect_body.map(Into::into), ..server.check() }).await;
        let said = match &observation.outcome {
            Ok(()) => "ok".into(),
            Err(failure) => failure.to_string(),
        };
        let sent = sent.get(..100).unwrap_or(sent);
        assert!(said.starts_with(expected), "for {sent:?} expected {expected:?} but it said {said:?}");
        assert_eq!(observation.address, Some(Ipv4Addr::LOCALHOST.into()));
        assert!(server.requests.lock().unwrap().len() == 1, "one request, nothing followed, nothing repeated");
    }
}

#[tokio::test]
async fn expected_statuses_are_the_checks() {
    let moved = "HTTP/1.1 301 Moved\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n";
    let cases = [(OK, 200..=200, true), (OK, 201..=599, false), (moved, 300..=399, true), (moved, 301..=301, true)];
    for (sent, range, expected) in cases {
        let server = Server::start(Behaviour::send(sent)).await;
        let check = HttpCheck { expect_status: vec![range, 404..=404], ..server.check() };
        assert_eq!(probe_http(check).await.outcome.is_ok(), expected);
    }
}

#[tokio::test]
async fn the_request_is_as_configured() {
    let server = Server::start(Behaviour::send(OK)).await;
    let check = HttpCheck {
        method: "POST".into(),
        path: "/healthz?deep=1&q=%20".into(),
        host: Some("www.example.com".into()),
        headers: vec![("X-Token".into(), "a".into()), ("X-Token".into(), "b".into())],
        ..server.check()
    };
    assert_eq!(probe_http(check).await.outcome, Ok(()));
    let request = server.request().to_ascii_lowercase();
    let lines: Vec<&str> = request.lines().collect();
    assert_eq!(lines[0], "post /healthz?deep=1&q=%20 http/1.1");
    let version = env!("CARGO_PKG_VERSION");
    let agent = format!("user-agent: meridian/{version} (health probe)");
    for line in ["host: www.example.com", "x-token: a", "x-token: b", "connection: close", &agent] {
        assert_eq!(lines.iter().filter(|&&sent| sent == line).count(), 1, "{line} once in {request}");
    }
    assert!(!request.contains("accept-encoding"), "compressed bodies are not searched: {request}");
}

#[tokio::test]
async fn headers_that_are_configured_stand_in_for_those_that_are_usual() {
    let server = Server::start(Behaviour::send(OK)).await;
    let headers = [("User-Agent", "ours"), ("accept", "text/plain")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    assert_eq!(probe_http(HttpCheck { headers, ..server.check() }).await.outcome, Ok(()));
    let request = server.request().to_ascii_lowercase();
    let sent = |name: &str| request.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>().join(" ");
    assert_eq!([sent("user-agent:"), sent("accept:")], ["user-agent: ours", "accept: text/plain"]);
}

#[tokio::test]
async fn the_address_is_the_targets_whatever_the_host() {
    let server = Server::start(Behaviour::send(OK)).await;
    for host in ["198.51.100.7", "no-such-name.invalid", "www.example.com:8080", "[2001:db8::7]"] {
        let observation = probe_http(HttpCheck { host: Some(host.into()), ..server.check() }).await;
        assert_eq!(observation.outcome, Ok(()), "{host}");
        let request = server.requests.lock().unwrap().pop().unwrap();
        assert!(request.contains(&format!("host: {host}\r\n")), "{request}");
    }
}

#[tokio::test]
async fn without_a_host_the_request_names_the_target() {
    let server = Server::start(Behaviour::send(OK)).await;
    assert_eq!(probe_http(server.check()).await.outcome, Ok(()));
    assert!(server.request().contains(&format!("host: 127.0.0.1:{}\r\n", server.port)));
}

#[tokio::test]
async fn addresses_of_both_families_work() {
    let Ok(server) = Server::listen(Ipv6Addr::LOCALHOST.into(), Behaviour::send(OK), None).await else {
        support::skip("no IPv6 on this machine");
        return;
    };
    let target = Target::Address(Ipv6Addr::LOCALHOST.into());
    let observation = probe(&key(Check::Http(server.check()), target.clone(), AMPLE)).await;
    assert_eq!(observation.outcome, Ok(()));
    assert!(server.request().contains(&format!("host: [::1]:{}\r\n", server.port)));
    let tcp = probe(&key(tcp(server.port), target, AMPLE)).await;
    assert_eq!(tcp.outcome, Ok(()));
}

#[tokio::test]
async fn a_hostname_is_resolved_and_any_of_its_addresses_suffices() {
    // Where localhost has ::1 too, only one of its addresses has a server.
    let server = Server::start(Behaviour::send(OK)).await;
    let http = key(Check::Http(server.check()), hostname("localhost"), AMPLE);
    let observation = probe(&http).await;
    assert_eq!((observation.outcome, observation.address), (Ok(()), Some(Ipv4Addr::LOCALHOST.into())));
    assert!(server.request().contains(&format!("host: localhost:{}\r\n", server.port)));
    let tcp = key(tcp(server.port), hostname("localhost"), AMPLE);
    assert_eq!(probe(&tcp).await.outcome, Ok(()));
}

#[tokio::test]
async fn a_hostname_without_addresses_is_a_failure() {
    // Nobody may be asked for it (RFC 6761 section 6.4), so that it has none is known on any machine.
    let observation = probe(&key(tcp(9), hostname("no-such-name.invalid"), AMPLE)).await;
    assert_eq!((observation.address, observation.outcome), (None, Err(Failure::NoAddress)));
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let server = Server { port, requests: Arc::default() };
    for check in [tcp(port), Check::Http(server.check())] {
        let observation = probe(&key(check, loopback(), AMPLE)).await;
        assert_eq!(observation.outcome, Err(Failure::Refused));
        assert_eq!(observation.to_string(), "127.0.0.1: connection refused");
    }
    let by_name = probe(&key(tcp(port), hostname("localhost"), AMPLE)).await;
    assert_eq!(by_name.outcome, Err(Failure::Refused));
    assert!(by_name.address.is_some_and(|address| address.is_loopback()), "the last address is named");
}

#[tokio::test]
async fn closing_early_is_a_failure_of_http_but_not_of_tcp() {
    let server = Server::start(Behaviour::CloseAtOnce).await;
    let failure = probe_http(server.check()).await.outcome.unwrap_err();
    assert!(matches!(failure, Failure::Reset | Failure::NotHttp(_)), "{failure}");
    assert_eq!(probe(&key(tcp(server.port), loopback(), AMPLE)).await.outcome, Ok(()));
}

#[tokio::test]
async fn a_target_without_end_costs_no_more_than_the_timeout() {
    let not_accepting = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let never_accepted = Server { port: not_accepting.local_addr().unwrap().port(), requests: Arc::default() };
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n";
    let body = |server: &Server| HttpCheck { expect_body: Some("all good".into()), ..server.check() };
    let silent = Server::start(Behaviour::Silent).await;
    let drip_head = Server::start(Behaviour::Drip(b"HTTP/1.1 200 OK\r\nX: y\r\nX")).await;
    let drip_body = Server::start(Behaviour::Drip(b"HTTP/1.1 200 OK\r\n\r\n")).await;
    let continues = Server::start(Behaviour::Drip(b"HTTP/1.1 100 Continue\r\n\r\n")).await;
    let endless_header = Server::start(Behaviour::Flood("HTTP/1.1 200 OK\r\nX: ")).await;
    let flood = Server::start(Behaviour::Flood(head)).await;
    let response_late = "timed out after 300 ms while waiting for the response";
    let tls = HttpCheck { tls: trusting(ca_file()), ..silent.check() };
    let cases = [
        ("never accepted", never_accepted.check(), response_late),
        ("silent", silent.check(), response_late),
        ("silent, TLS wanted", tls, "timed out after 300 ms while agreeing on TLS"),
        ("dripping head", drip_head.check(), response_late),
        ("endless status 100", continues.check(), response_late),
        ("endless header", endless_header.check(), "no valid HTTP response: message head is too large"),
        ("flooding body", body(&flood), "body lacks \"all good\" in its first 65536 bytes"),
    ];
    for (name, check, expected) in cases {
        let observation = probe(&key(Check::Http(check), loopback(), SHORT)).await;
        assert_eq!(observation.outcome.unwrap_err().to_string(), expected, "{name}");
        assert!(observation.took < SHORT + SLACK, "{name}: took {:?}", observation.took);
    }
    // Enough time for the head but not for the body.
    let observation = probe(&key(Check::Http(body(&drip_body)), loopback(), Duration::from_millis(1_500))).await;
    assert_eq!(observation.outcome.unwrap_err().to_string(), "timed out after 1500 ms while reading the body");
    // Without a text to find, a flood is not even read.
    assert_eq!(probe_http(flood.check()).await.outcome, Ok(()));
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_told_from_a_late_response() {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    // They fill the queue of connections to be accepted; the kernel ignores further ones.
    let waiting = [(); 8].map(|()| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&address);
        socket
    });
    let server = Server { port: address.as_socket().unwrap().port(), requests: Arc::default() };
    for check in [tcp(server.port), Check::Http(server.check())] {
        let observation = probe(&key(check, loopback(), SHORT)).await;
        assert_eq!(observation.to_string(), "127.0.0.1: timed out after 300 ms while connecting");
        assert!(observation.took < SHORT + SLACK, "{:?}", observation.took);
    }
    drop(waiting);
}

#[tokio::test]
async fn what_an_answer_says_of_load_is_read() {
    use meridian::config::Measure;
    use meridian::health::report::{Rejection, Source};
    let load = |connections, utilization| Load { connections, utilization, ..Load::default() };
    let with_header = |header: &str| format!("HTTP/1.1 200 OK\r\n{header}Content-Length: 2\r\n\r\nOK");
    let text = "endpoint-load-metrics: TEXT cpu_utilization=0.25\r\n";
    let body = "{\"server\": {\"active\": 12, \"cpus\": [{\"used\": 0.5}]}}";
    let with_body = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let long = format!("{body}{}", " ".repeat(65_536 - body.len()));
    let too_long = format!("{}{body}", " ".repeat(65_536 - body.len() + 1));
    let said = load(Some(12.0), Some(0.5));
    use Source::{Body, Header};
    // (what the server sends, whether the body is read for load, whether it is up, what is said)
    for (sent, reads_body, is_up, expected) in [
        (OK.to_owned(), false, true, vec![]),
        (with_header(text), false, true, vec![(Header, Ok(load(None, Some(0.25))))]),
        (
            with_header("Endpoint-Load-Metrics: JSON {\"cpu_utilization\": 0.5}\r\n"),
            false,
            true,
            vec![(Header, Ok(load(None, Some(0.5))))],
        ),
        (
            with_header(&format!("{text}endpoint-load-metrics: named_metrics.active_connections=3\r\n")),
            false,
            true,
            vec![(Header, Ok(load(Some(3.0), Some(0.25))))],
        ),
        (with_header("endpoint-load-metrics: BIN CAES\r\n"), false, true, vec![(Header, Err(Rejection::Unsupported))]),
        (
            with_header(&format!("endpoint-load-metrics-bin: CAES\r\n{text}")),
            false,
            true,
            vec![(Header, Ok(load(None, Some(0.25))))],
        ),
        (with_header("endpoint-load-metrics-bin: CAES\r\n"), false, true, vec![(Header, Err(Rejection::Unsupported))]),
        (with_header("endpoint-load-metrics: \u{e9}\r\n"), false, true, vec![(Header, Err(Rejection::Malformed))]),
        (format!("HTTP/1.1 503 Busy\r\n{text}\r\n"), true, false, vec![(Header, Ok(load(None, Some(0.25))))]),
        (with_body(body), true, true, vec![(Body, Ok(said))]),
        (with_body(body), false, true, vec![]),
        (with_body(&long), true, true, vec![(Body, Ok(said))]),
        // No failure of the probe, any of these.
        (with_body(&too_long), true, true, vec![(Body, Err(Rejection::Malformed))]),
        (with_body("OK"), true, true, vec![(Body, Err(Rejection::Malformed))]),
        (with_body("{}"), true, true, vec![(Body, Err(Rejection::Empty))]),
        ("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{}".into(), true, true, vec![(Body, Err(Rejection::Malformed))]),
    ] {
        let server = Server::start(Behaviour::send(&sent)).await;
        let paths = [(Measure::Connections, "server.active"), (Measure::Utilization, "server.cpus.0.used")];
        let load = paths.map(|(measure, path)| (measure, path.to_owned())).to_vec();
        let load = if reads_body { load } else { Vec::new() };
        let observation = probe_http(HttpCheck { load, ..server.check() }).await;
        let sent = sent.get(..120).unwrap_or(&sent);
        assert_eq!(observation.outcome.is_ok(), is_up, "{sent}: {observation}");
        assert_eq!(observation.details.reports, expected, "{sent}");
    }
    // With an expected text as well, the whole body is read.
    let server = Server::start(Behaviour::send(&with_body(body))).await;
    let check = |text: &str| HttpCheck {
        load: vec![(Measure::Utilization, "server.cpus.0.used".into())],
        expect_body: Some(text.into()),
        ..server.check()
    };
    let observation = probe_http(check("server")).await;
    assert_eq!((observation.outcome, observation.details.reports), (Ok(()), vec![(Body, Ok(load(None, Some(0.5))))]));
    let observation = probe_http(check("nowhere")).await;
    assert!(observation.outcome.is_err());
    assert_eq!(observation.details.reports, [(Body, Ok(load(None, Some(0.5))))]);
}

#[tokio::test]
async fn scheduler_prober_and_table_make_verdicts() {
    use meridian::health::{Observed, Scheduler, Table};
    use tokio::sync::mpsc;

    let server = Server::start(Behaviour::send(OK)).await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let timing = Timing { interval: Duration::from_millis(100), timeout: Duration::from_millis(90), ..Timing::DEFAULT };
    let keys = [server.port, dead].map(|port| TargetKey { check: tcp(port).into(), timing, target: loopback() });
    let mut table = Table::default().rebuilt(keys.clone(), []);
    let (sender, mut reports) = mpsc::channel(100);
    let prober = Prober::new(keys.iter().map(|key| &*key.check)).unwrap();
    let mut scheduler = Scheduler::new(5, sender);
    scheduler.replace(prober, table.targets().iter().map(|target| Arc::clone(&target.key)));
    let mut verdicts = Vec::new();
    while verdicts.len() < 2 {
        let Observed { key, observation, made } = tokio::time::timeout(AMPLE, reports.recv()).await.unwrap().unwrap();
        let effect = table.observe(&key, observation, made.into()).unwrap();
        if let Some((_, transition)) = effect.transition {
            verdicts.push((key.to_string(), transition.to));
        }
    }
    verdicts.sort_by_key(|(_, verdict)| *verdict == Verdict::Down);
    let named = |port| format!("tcp://{}", SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    assert_eq!(verdicts, [(named(server.port), Verdict::Up), (named(dead), Verdict::Down)]);
}
