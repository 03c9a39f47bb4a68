//! What hostile targets cost: time, memory, descriptors and processes, of many runs at once. The prober is alone in a process of its
//! own, so that these are its own.

use std::collections::HashMap;
use std::fs;
use std::time::Instant;

use http_body_util::BodyExt;
use hyper::Response;
use meridian::config::{DnsCheck, ExecCheck, GrpcCheck, TlsCheck};

use super::http2::Endless;
use super::support::{PATIENCE, run_in_child, tcp_and_udp};
use super::*;

/// Runs at once.
const RUNS: usize = 50;
/// The most memory of one of them: what is read of a head and of a body, and as much again while it grows.
const MOST_KIB_PER_RUN: u64 = 256;
/// Where the ports of the servers stand, for the process of the prober.
const PORTS: &str = "MERIDIAN_HOSTILE_PORTS";
/// How long programs would sleep, by which they are known.
const SLEEP: &str = "98765.4321";

const LATE: &str = "timed out after 300 ms while waiting for the response";
/// Said of any run whose end a busy machine comes to notice late.
const BUSY: &str = "not probed, for a problem on this machine: this machine was busy";
const NOT_FOUND: &str = "body lacks \"all good\" in its first 65536 bytes";
const INVALID: &str = "no valid HTTP response: ";

/// Each with what the probe says of it; where there is more than one text, any of them.
const CASES: &[(&str, &[&str])] = &[
    ("silent", &[LATE]),
    ("endless-header", &["no valid HTTP response: message head is too large"]),
    ("endless-body", &[NOT_FOUND]),
    ("endless-chunk", &[NOT_FOUND]),
    ("http2-endless-body", &[NOT_FOUND]),
    // Continued without end before the request is answered.
    ("http2-endless-header", &[INVALID, LATE, "connection closed by the other side"]),
    ("http2-pings", &[INVALID, LATE, "connection closed by the other side"]),
    ("grpc-drips", &[LATE]),
    ("tcp-endless", &["answer lacks \"all good\" in its first 65536 bytes"]),
    ("tls-silent", &["timed out after 300 ms while agreeing on TLS"]),
    ("tls-endless-handshake", &["TLS failed: "]),
    ("dns-flood", &[LATE]),
    ("dns-drips", &[LATE]),
    ("programs", &["timed out after 300 ms while running the program"]),
];

/// Starts what this case asks; its port.
async fn start(case: &str) -> u16 {
    let behaviour = match case {
        "silent" | "tls-silent" => Behaviour::Silent,
        "endless-header" => Behaviour::Flood("HTTP/1.1 200 OK\r\nX: "),
        "endless-body" => Behaviour::Flood("HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"),
        "endless-chunk" => Behaviour::Flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n"),
        "http2-endless-body" => return super::http2::serve(None, |_, _| Response::new(Endless.boxed())).await,
        // RFC 9113 section 6.10: a HEADERS frame that doesn't end them, and then such that continue it by `x: y`.
        "http2-endless-header" => Behaviour::FloodAtOnce(
            b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x00\x00\x00\x00\x01\x88",
            b"\x00\x00\x05\x09\x00\x00\x00\x00\x01\x00\x01x\x01y",
        ),
        "http2-pings" => Behaviour::FloodAtOnce(super::http2::SETTINGS, super::http2::PING),
        "grpc-drips" => Behaviour::DripAtOnce(super::http2::SETTINGS),
        "tcp-endless" => Behaviour::FloodAtOnce(b"", b"all bad "),
        // Records of eight octets of a message of 16 MiB (RFC 8446 section 4).
        "tls-endless-handshake" => {
            Behaviour::FloodAtOnce(b"\x16\x03\x03\x00\x04\x02\xff\xff\xff", b"\x16\x03\x03\x00\x0812345678")
        }
        "dns-flood" | "dns-drips" => return resolve(case == "dns-flood").await,
        "programs" => return 0,
        other => panic!("{other}"),
    };
    Server::start(behaviour).await.port
}

/// A name server that sends what is no answer without end; or, by TCP, the octets of an answer one by one.
async fn resolve(floods: bool) -> u16 {
    let (listener, socket) = tcp_and_udp().await;
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut query = [0; 512];
        let mut clients = Vec::new();
        loop {
            while let Ok((length, client)) = socket.try_recv_from(&mut query) {
                if floods {
                    clients.push(client);
                } else {
                    // Cut off, so it is asked for again.
                    let answer =
                        [&query[..2], b"\x82\x00\x00\x01\x00\x00\x00\x00\x00\x00", &query[12..length]].concat();
                    let _ = socket.send_to(&answer, client).await;
                }
            }
            for client in &clients {
                // Of another question.
                let _ = socket.try_send_to(b"\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00", *client);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move { drip(&mut stream, b"\xff\xff\x00").await });
        }
    });
    port
}

/// What is asked of the server of this case.
fn check(case: &str, port: u16) -> Check {
    let http = HttpCheck { expect_body: Some("all good".into()), ..Server { port, requests: Arc::default() }.check() };
    match case {
        "http2-endless-body" | "http2-endless-header" | "http2-pings" => {
            Check::Http(HttpCheck { version: HttpVersion::Http2, ..http })
        }
        "grpc-drips" => Check::Grpc(GrpcCheck { port, source: None, tls: None, host: None, service: String::new() }),
        "tcp-endless" => Check::Tcp(TcpCheck { expect: Some("all good".into()), ..TcpCheck::accepted(port) }),
        "tls-silent" | "tls-endless-handshake" => {
            Check::Tls(TlsCheck { port, source: None, tls: trusting(ca_file()).unwrap() })
        }
        "dns-flood" | "dns-drips" => {
            let name = domain::base::Name::from_str("www.example.com").unwrap();
            let expect_answer = Some(meridian::config::DnsData::Address(Ipv4Addr::LOCALHOST.into()));
            Check::Dns(DnsCheck {
                port,
                source: None,
                name,
                rtype: 1,
                recursion: false,
                expect_rcode: 0,
                expect_answer,
            })
        }
        "programs" => {
            let script = format!("sleep {SLEEP} & sleep {SLEEP} & yes; wait");
            Check::Exec(ExecCheck { command: "/bin/sh".into(), arguments: vec!["-c".into(), script], port: None })
        }
        _ => Check::Http(http),
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Programs of these tests, and zombies of this process.
fn processes() -> usize {
    let own = std::process::id().to_string();
    let is_left = |path: PathBuf| {
        let command = fs::read(path.join("cmdline")).unwrap_or_default();
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, parent) = (fields.next(), fields.next());
        let sleeps = command.split(|octet| *octet == 0).any(|argument| argument == SLEEP.as_bytes());
        sleeps && state != Some("Z") || state == Some("Z") && parent == Some(&own)
    };
    fs::read_dir("/proc").unwrap().flatten().filter(|entry| is_left(entry.path())).count()
}

/// The most memory since that was last reset, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_targets_cost_little_and_leave_nothing_behind() {
    let mut ports = String::new();
    for (case, _) in CASES {
        ports += &format!("{case}={} ", start(case).await);
    }
    let preparation = format!("export {PORTS}='{ports}';");
    let child = move || run_in_child("bounds::prober_of_hostile_targets", &preparation);
    tokio::task::spawn_blocking(child).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by `hostile_targets_cost_little_and_leave_nothing_behind`"]
async fn prober_of_hostile_targets() {
    let ports = std::env::var(PORTS).unwrap();
    let ports: HashMap<&str, u16> = ports
        .split_whitespace()
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(case, port)| (case, port.parse().unwrap()))
        .collect();
    for (case, expected) in CASES {
        let check = Arc::new(check(case, ports[case]));
        // What ends by itself has the time that a busy machine needs.
        let time = if expected.iter().any(|said| said.starts_with("timed out")) { SHORT } else { AMPLE };
        let prober = Arc::new(Prober::new([&*check]).unwrap());
        let before = descriptors();
        // Begins the peak anew (proc(5)).
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let (peak_before, began) = (peak_kib(), Instant::now());
        let runs: Vec<_> = (0..RUNS)
            .map(|_| {
                let (prober, key) = (Arc::clone(&prober), key(Arc::clone(&check), loopback(), time));
                tokio::spawn(async move { prober.observe(&key).await.unwrap() })
            })
            .collect();
        for run in runs {
            let said = run.await.unwrap().outcome.unwrap_err().to_string();
            let is_expected = expected.iter().any(|expected| said.starts_with(expected));
            assert!(is_expected || said.starts_with(BUSY), "{case}: {said}");
        }
        let (took, peak) = (began.elapsed(), peak_kib().saturating_sub(peak_before));
        assert!(took < time + PATIENCE, "{case}: {took:?}");
        assert!(peak < MOST_KIB_PER_RUN * RUNS as u64, "{case}: {peak} KiB");
        let deadline = Instant::now() + AMPLE;
        while descriptors() > before || processes() > 0 {
            assert!(
                Instant::now() < deadline,
                "{case}: {} descriptors of {before}, {} processes",
                descriptors(),
                processes()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
