//! Keys of probes as they are written in a configuration: each makes a difference to what is asked, or to what is found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use meridian::reload::{Loader, Origin, Prepared};
use rustls::version::TLS12;
use tokio::net::UdpSocket;

use super::authority::{file, in_days};
use super::http2::Body;
use super::*;

/// What makes a difference: kinds of probes and keys, each divided by spaces; lines of a probe beside those of its kind, where one without
/// a value takes another line away; the lines that are put to the test; and what runs find without them and with them.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, [&'static str; 2]);

const HTTP: &str = "http https";
const TLS: &str = "https tls grpc";
const ROWS: &[Row] = &[
    // The body of an answer is the request.
    (HTTP, "method", "expect_body = 'PUT / '", "", "method = 'PUT'", ["body lacks", "ok"]),
    (HTTP, "path", "expect_body = 'GET /up?deep=1 '", "", "path = '/up?deep=1'", ["body lacks", "ok"]),
    (HTTP, "host", "expect_body = 'host: www.example.com'", "", "host = 'www.example.com'", ["body lacks", "ok"]),
    (HTTP, "headers", "expect_body = 'x-probe: a'", "", "headers = { X-Probe = 'a' }", ["body lacks", "ok"]),
    (HTTP, "http_version", "expect_body = 'HTTP/2'", "", "http_version = '2'", ["body lacks", "ok"]),
    (HTTP, "expect_status", "path = '/404'", "", "expect_status = [404]", ["status 404 (expected 200-399)", "ok"]),
    (HTTP, "expect_status", "", "", "expect_status = ['300-599']", ["ok", "status 200 (expected 300-599)"]),
    (HTTP, "expect_body", "", "", "expect_body = 'zebra'", ["ok", "body lacks \"zebra\""]),
    (HTTP, "expect_body_regex", "", "", "expect_body_regex = 'z[eb]+ra'", ["ok", "body does not match \"z[eb]+ra\""]),
    (
        HTTP,
        "expect_field",
        "path = '/json'",
        "",
        "expect_field = { path = 'state', is = 'ok' }",
        ["ok", "field state is \"ill\""],
    ),
    (HTTP, "load", "path = '/json'", "", "load = { connections = 'active' }", ["ok", "ok, connections Some(12.0)"]),
    ("http", "port", "", "port = CLOSED", "port = PLAIN", ["connection refused", "ok"]),
    ("https tls", "port", "", "port = CLOSED", "port = SECURE", ["connection refused", "ok"]),
    (
        TLS,
        "server_name",
        "",
        "server_name = 'a.example'",
        "server_name = 'www.example.com'",
        ["certificate not accepted: it is not for", "ok"],
    ),
    (
        TLS,
        "verify",
        "ca_file =\nserver_name = 'a.example'",
        "ca_file = 'OURS'",
        "verify = false",
        ["certificate not accepted", "ok"],
    ),
    (
        TLS,
        "ca_file",
        "",
        "ca_file = 'FOREIGN'",
        "ca_file = 'OURS'",
        ["certificate not accepted: its issuer is unknown", "ok"],
    ),
    (
        TLS,
        "client_certificate client_key",
        "port = ASKING",
        "",
        "client_certificate = 'CLIENT'\nclient_key = 'SECRET'",
        ["TLS failed: the server refused", "ok"],
    ),
    (TLS, "min_days_left", "", "", "min_days_left = 30", ["ok", "ok, but certificate expires in 8 days"]),
    ("grpc", "port", "", "port = CLOSED", "port = SECURE", ["connection refused", "ok"]),
    ("grpc", "tls", "tls =\nca_file =\nserver_name =\nport = PLAIN", "", "tls = true", ["ok", "TLS failed"]),
    ("grpc", "service", "service =", "", "service = 'shop.Cart'", ["the health service says NOT_SERVING", "ok"]),
    (
        "grpc",
        "host",
        "service = 'by-host'",
        "",
        "host = 'cart.example.com'",
        ["the health service says NOT_SERVING", "ok"],
    ),
    ("tcp", "port", "", "port = CLOSED", "port = ECHO", ["connection refused", "ok"]),
    ("tcp", "send", "expect = 'echo PING'", "", "send = 'PING'", ["timed out", "ok"]),
    ("tcp", "expect", "send = 'PING'", "", "expect = '+PONG'", ["ok", "answer lacks \"+PONG\""]),
    ("dns", "port", "", "port = CLOSED", "port = NAMES", ["connection refused", "ok"]),
    ("dns", "name", "", "name = 'missing.example'", "name = 'www.example'", ["answered NXDOMAIN", "ok"]),
    ("dns", "record", "name = 'text.example'", "", "record = 'TXT'", ["answered REFUSED", "ok"]),
    ("dns", "recursion", "name = 'recursive.example'", "", "recursion = true", ["answered REFUSED", "ok"]),
    ("dns", "expect_rcode", "name = 'missing.example'", "", "expect_rcode = 'NXDOMAIN'", ["answered NXDOMAIN", "ok"]),
    (
        "dns",
        "expect_answer",
        "",
        "",
        "expect_answer = '192.0.2.9'",
        ["ok", "answered with A 192.0.2.1 (expected 192.0.2.9)"],
    ),
    // Nobody here has that address.
    (
        "http https tls grpc tcp dns",
        "source",
        "",
        "",
        "source = '192.0.2.77'",
        ["ok", "not probed, for a problem on this machine"],
    ),
    (
        "exec",
        "command",
        "",
        "command = '/bin/false'",
        "command = '/bin/true'",
        ["program failed with exit status: 1", "ok"],
    ),
    (
        "exec",
        "arguments",
        "command = '/bin/sh'",
        "",
        "arguments = ['-c', 'exit 3']",
        ["ok", "program failed with exit status: 3"],
    ),
    (
        "exec",
        "port",
        "command = '/bin/sh'\narguments = ['-c', 'test \"$0\" = 8080', '{port}']",
        "",
        "port = 8080",
        ["program failed with exit status: 1", "ok"],
    ),
    ("file", "path", "", "path = 'DOWN'", "path = 'UP'", ["the file says that it is down", "ok"]),
    ("file", "max_silence", "", "", "max_silence = '1s'", ["ok", "its file was not written for 1s"]),
];

/// Kinds and keys that need more than a server that answers, with the tests that have them in a configuration.
const ELSEWHERE: &[(&str, &str)] = &[
    // `a_host_is_asked_for_an_echo_where_that_is_permitted` (tests/end_to_end/probes.rs); what it does with a source,
    // `an_echo_request_is_answered_or_not` (tests/probe_kinds.rs).
    ("icmp", "source"),
    // `each_kind_takes_its_own_endpoint_out_and_brings_it_back` (tests/end_to_end/probes.rs)
    ("heartbeat", "max_silence"),
];

/// The lines of a kind that has everything it needs.
fn usual(kind: &str) -> &'static str {
    match kind {
        "http" => "port = PLAIN",
        "https" | "tls" => "port = SECURE\nca_file = 'OURS'\nserver_name = 'www.example.com'",
        "grpc" => "port = SECURE\ntls = true\nca_file = 'OURS'\nserver_name = 'www.example.com'\nservice = 'shop.Cart'",
        "tcp" => "port = ECHO",
        "dns" => "port = NAMES\nname = 'www.example'",
        "exec" => "command = '/bin/true'",
        "file" => "path = 'UP'",
        "heartbeat" => "max_silence = '9s'",
        "icmp" => "",
        other => panic!("{other}"),
    }
}

/// What is written in capitals in the lines above, and stands for a port or a file.
type Places = Vec<(&'static str, String)>;

/// A probe of this name and kind with these lines, of which a later one takes the place of an earlier one with the same key.
fn probe_of(name: &str, kind: &str, lines: &[&str], places: &Places) -> String {
    let mut keys = BTreeMap::new();
    for line in lines.iter().flat_map(|lines| lines.lines()) {
        let (key, value) = line.split_once('=').unwrap();
        match value.trim() {
            "" => keys.remove(key.trim()),
            value => keys.insert(key.trim(), value),
        };
    }
    let keys: String = keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    let probe = format!("[probes.{name}]\ntype = \"{kind}\"\n{keys}");
    places.iter().fold(probe, |probe, (place, is)| probe.replace(place, is))
}

fn load(probes: &str) -> Prepared {
    let text = format!(
        r#"
server.listen = ["127.0.0.1:0"]
zones."example.com".nameservers = ["ns.example.net"]
regions.here.location = [0, 0]
{probes}"#
    );
    Loader::new(Origin::Embedded(text)).load().unwrap_or_else(|problems| panic!("{problems}"))
}

/// What runs find, in the end: what it comes to may take a second.
async fn found(Prepared { compiled, prober, .. }: &Prepared, name: &str, expected: &str) -> String {
    let probe = compiled.config.probes.iter().find(|probe| probe.name == name).unwrap();
    let key = TargetKey { check: Arc::clone(&probe.check), timing: probe.timing, target: loopback() };
    let deadline = Instant::now() + support::PATIENCE;
    loop {
        let found = prober.observe(&key).await.map_or_else(|| "nothing".to_owned(), |found| said(&found));
        if found.starts_with(expected) || Instant::now() > deadline {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn said(observation: &Observation) -> String {
    let mut said = observation.outcome.as_ref().map_or_else(ToString::to_string, |()| "ok".to_owned());
    if let Some(poor) = &observation.details.poor {
        said += &format!(", but {poor}");
    }
    for (_, load) in observation.details.reports.iter() {
        said += &format!(", connections {:?}", load.as_ref().unwrap().connections);
    }
    said
}

/// Answers with the request, or as its path says.
async fn mirror(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let whole = |text: String| Full::new(Bytes::from(text)).boxed();
    match head.uri.path() {
        "/404" => Response::builder().status(404).body(whole(String::new())).unwrap(),
        "/json" => Response::new(whole(r#"{"state": "ill", "active": 12}"#.to_owned())),
        "/grpc.health.v1.Health/Check" => {
            let is_serving = match body.get(7..) {
                Some(b"shop.Cart") => true,
                Some(b"by-host") => head.uri.host() == Some("cart.example.com"),
                _ => false,
            };
            let body = Full::new(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, if is_serving { 1 } else { 2 }]));
            let status: HeaderMap = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
            let body = body.with_trailers(async { Some(Ok(status)) }).boxed();
            Response::builder().header("content-type", "application/grpc").body(body).unwrap()
        }
        _ => {
            let path = head.uri.path_and_query().unwrap();
            let mut text = format!("{} {path} {:?}\n", head.method, head.version);
            if let Some(host) = head.uri.authority() {
                text += &format!("host: {host}\n");
            }
            head.headers.iter().for_each(|(name, value)| text += &format!("{name}: {}\n", value.to_str().unwrap()));
            Response::new(whole(text))
        }
    }
}

/// Serves that over both versions of HTTP, which a client chooses. Returns its port.
async fn serve(tls: Option<rustls::ServerConfig>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = tls.map(|mut config| {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        tokio_rustls::TlsAcceptor::from(Arc::new(config))
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| async { Ok::<_, std::convert::Infallible>(mirror(request).await) });
                let server = auto::Builder::new(TokioExecutor::new());
                // Errors mean that the prober went away, or has no certificate, which is its right.
                let _ = match tls {
                    None => server.serve_connection(TokioIo::new(stream), service).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
                        Err(_) => Ok(()),
                    },
                };
            });
        }
    });
    port
}

/// Says what it is told.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut told = [0; 64];
                let length = stream.read(&mut told).await.unwrap_or(0);
                let _ = stream.write_all(&[b"echo ", &told[..length]].concat()).await;
            });
        }
    });
    port
}

/// A name server whose answer depends on each part of a query.
async fn names() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut query).await {
            let (first_label, is_txt) = (&query[13..][..usize::from(query[12])], query[length - 3] == 16);
            let is_recursive = query[2] & 1 == 1;
            let rcode = match first_label {
                b"missing" => 3,
                b"text" if !is_txt => 5,
                b"recursive" if !is_recursive => 5,
                _ => 0,
            };
            let record: &[u8] =
                if rcode > 0 || is_txt { &[] } else { &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1] };
            let header =
                [query[0], query[1], 0x80 | query[2], rcode, 0, 1, 0, u8::from(!record.is_empty()), 0, 0, 0, 0];
            let _ = socket.send_to(&[&header, &query[12..length], record].concat(), peer).await;
        }
    });
    port
}

/// Starts what is probed.
async fn places() -> Places {
    let shown = |path: &Path| path.to_str().unwrap().to_owned();
    let (ours, clients) = (Authority::new("Ours"), Authority::new("The clients'"));
    let (certificate, key) = clients.client_files();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    // Its handshake ends after it has looked at the client's certificate.
    let asking = ours.config_of(&[&TLS12], &["www.example.com"], in_days(9), Some(&clients));
    vec![
        ("PLAIN", serve(None).await.to_string()),
        ("SECURE", serve(Some(ours.config(&["www.example.com"], in_days(9), None))).await.to_string()),
        ("ASKING", serve(Some(asking)).await.to_string()),
        ("ECHO", echo().await.to_string()),
        ("NAMES", names().await.to_string()),
        ("CLOSED", closed.to_string()),
        ("OURS", shown(&ours.file())),
        ("FOREIGN", shown(&ca_file())),
        ("CLIENT", shown(&certificate)),
        ("SECRET", shown(&key)),
        ("UP", shown(&file("* up\n"))),
        ("DOWN", shown(&file("* down\n"))),
    ]
}

#[tokio::test]
async fn each_key_makes_a_difference() {
    let places = places().await;
    let mut probes = String::new();
    let mut cases = Vec::new();
    for (kinds, keys, lines, without, with, expected) in ROWS {
        for kind in kinds.split(' ') {
            for (own, expected) in [without, with].into_iter().zip(expected) {
                let (name, time) =
                    (format!("probe-{}", cases.len()), if kind == "file" { "" } else { "timeout = '500ms'" });
                let probe = probe_of(&name, kind, &[time, usual(kind), lines, own], &places);
                probes += &probe;
                cases.push((name, keys, probe, expected));
            }
        }
    }
    let prepared = load(&probes);
    for (name, keys, probe, expected) in cases {
        let found = found(&prepared, &name, expected).await;
        assert!(found.starts_with(expected), "{keys}: found {found:?}, not {expected:?}, by {probe}");
    }
}

#[test]
fn each_kind_has_its_own_timing() {
    let seconds = Duration::from_secs;
    let common = "interval = '11s'\nfall = 7\nrise = 6\nhold_down = '44s'\nmanual_resume = true";
    let asks = |kind: &str| !["file", "heartbeat"].contains(&kind);
    let nowhere = ["PLAIN", "SECURE", "ECHO", "NAMES"].map(|place| (place, "9".to_owned())).to_vec();
    let places = [nowhere, vec![("OURS", ca_file().to_str().unwrap().to_owned())]].concat();
    let probe = |kind: &str| {
        let own = if asks(kind) { "timeout = '3s'\ndegraded_after = '2s'" } else { "" };
        probe_of(kind, kind, &[usual(kind), common, own], &places)
    };
    let Prepared { compiled, .. } = load(&KINDS.map(probe).concat());
    for probe in &compiled.config.probes {
        let asks = asks(&probe.name);
        let expected = Timing {
            interval: seconds(11),
            timeout: if asks { seconds(3) } else { Timing::DEFAULT.timeout },
            fall: 7,
            rise: 6,
            degraded_after: asks.then(|| seconds(2)),
            hold_down: seconds(44),
            manual_resume: true,
        };
        assert_eq!(probe.timing, expected, "{}", probe.name);
    }
    assert_eq!(compiled.config.probes.len(), KINDS.len());
}

/// All types of probes.
const KINDS: [&str; 10] = ["http", "https", "tcp", "tls", "grpc", "dns", "icmp", "exec", "file", "heartbeat"];

#[test]
fn no_key_is_left_out() {
    // All keys of all tables stand there, which another test demands.
    let full = include_str!("../../config/full.toml").parse::<toml::Table>().unwrap();
    let probes = full["probes"].as_table().unwrap().values();
    let keys: BTreeSet<&str> = probes.flat_map(|probe| probe.as_table().unwrap().keys().map(String::as_str)).collect();
    let timing = ["type", "interval", "timeout", "fall", "rise", "degraded_after", "hold_down", "manual_resume"];
    let is_tested = |kind: &str, key: &str| {
        let has_row =
            |(kinds, keys, ..): &Row| kinds.split(' ').any(|of| of == kind) && keys.split(' ').any(|of| of == key);
        timing.contains(&key) || ROWS.iter().any(has_row) || ELSEWHERE.contains(&(kind, key))
    };
    let mut known = 0;
    for kind in KINDS {
        for key in &keys {
            let text = format!("[probes.probe]\ntype = \"{kind}\"\n\"{key}\" = []\n");
            let problems = Loader::new(Origin::Embedded(text)).load().unwrap_err().to_string();
            if !problems.contains(&format!("unknown key `{key}`")) {
                known += 1;
                assert!(is_tested(kind, key), "{key} of {kind} has no row");
            }
        }
    }
    assert!(known > 100, "{known}");
}
