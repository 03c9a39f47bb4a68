//! Probes of every kind side by side: each takes its own endpoint out of the answers, and brings it back.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::support::backend::Backend;
use crate::support::binary::{Meridian, request};
use crate::support::dns::ask;
use crate::support::folder::Folder;
use crate::support::tls::{EXPIRES, Identity, NAME};
use crate::support::{skip, wait_until};
use crate::{REGIONS, SERVER};

const TOKEN: &str = "a-token-for-tests-only";
const FALL: u32 = 2;
const RISE: u32 = 2;
/// What is answered in place of an endpoint that is down.
const SPARE: &str = "NoError 127.0.31.99";
/// How long runs are counted for.
const WATCH: Duration = Duration::from_secs(3);

/// A type of probe, which is also the name of a probe of that type, of its pool and of its service; the time between its
/// runs in milliseconds, and what they find where their target is ill.
const KINDS: [(&str, u64, &str); 9] = [
    ("http", 400, "status 503 (expected 404)"),
    ("https", 1_000, "body lacks \"all good\" in its first 8 bytes"),
    ("tcp", 500, "answer lacks \"+PONG\" in its first 10 bytes"),
    ("tls", 700, "TLS failed: the answer is not TLS"),
    ("grpc", 900, "the health service says NOT_SERVING"),
    ("dns", 600, "answered SERVFAIL (expected NOERROR)"),
    ("exec", 800, "program failed with exit status: 3: no such service"),
    ("file", 450, "the file says that it is down: a disk is being replaced"),
    ("heartbeat", 550, "no heartbeat for 1s"),
];

fn address(kind: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 31, kind as u8 + 1)
}

/// Whether a target is ill.
type Switch = Arc<AtomicBool>;

/// A server, and what it probes.
struct Site {
    meridian: Meridian,
    switches: [Switch; KINDS.len()],
    folder: Folder,
    _backends: Runtime,
}

impl Site {
    /// Started, with everything well.
    fn start() -> Self {
        let folder = Folder::new("probes");
        let backends = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let switches: [Switch; KINDS.len()] = Default::default();
        let identity = Identity::new();
        identity.put(&folder);
        folder.put_secret("token", TOKEN);
        let tls = acceptor(&identity);
        let mut config = format!("{REGIONS}{SERVER}admin.token_file = \"token\"\n");
        for (kind, (name, interval, _)) in KINDS.into_iter().enumerate() {
            let (address, is_ill) = (address(kind), Arc::clone(&switches[kind]));
            let start = async { start(name, address, is_ill, tls.clone()).await };
            let keys = backends.block_on(start).replace("FOLDER", folder.path("").to_str().unwrap());
            config += &format!(
                r#"
[probes.{name}]
type = "{name}"
interval = "{interval}ms"
fall = {FALL}
rise = {RISE}
{keys}
[pools.{name}]
probe = "{name}"
endpoints = [{{ region = "us-east", address = "{address}" }}]
[services."{name}.geo.example"]
pool = "{name}"
failover = ["spare"]
"#
            );
        }
        config += "[pools.spare]\nendpoints = [{ region = \"us-east\", address = \"127.0.31.99\" }]\n";
        put_files(&folder, &switches);
        let meridian = Meridian::serve(&folder.put("meridian.toml", config));
        let beating = KINDS.iter().position(|(name, ..)| *name == "heartbeat").unwrap();
        backends.spawn(beat(meridian.admin.unwrap(), address(beating), Arc::clone(&switches[beating])));
        Self { meridian, switches, folder, _backends: backends }
    }

    /// Makes those ill for which that is so, and all others well.
    fn set(&self, is_ill: impl Fn(usize) -> bool) {
        for (kind, switch) in self.switches.iter().enumerate() {
            switch.store(is_ill(kind), Ordering::SeqCst);
        }
        put_files(&self.folder, &self.switches);
    }

    /// Whether its endpoint is answered; in its place is nothing but the spare one.
    fn is_answered(&self, kind: usize) -> bool {
        let name = KINDS[kind].0;
        let answer = ask(self.meridian.dns, &format!("{name}.geo.example A")).to_string();
        let is_own = answer == format!("NoError {}", address(kind));
        assert!(is_own || answer == SPARE, "{name}: {answer}");
        is_own
    }

    /// Waits until those are up for which that is to be so, and all others down; then the same are answered, and none else.
    fn wait_until_up(&self, is_up: impl Fn(usize) -> bool) {
        for (kind, (name, _, reason)) in KINDS.into_iter().enumerate() {
            let (verdict, finding) = if is_up(kind) { ("up", "ok in ") } else { ("down", reason) };
            wait_until(&format!("{name} is {verdict}"), || self.known(kind)["verdict"] == verdict);
            let last = self.known(kind)["last_probe"].as_str().unwrap().to_owned();
            assert!(last.contains(finding), "{name} is {verdict}: {last}");
            assert_eq!(self.is_answered(kind), is_up(kind), "{name} is {verdict}");
        }
    }

    fn read(&self, page: &str) -> String {
        let headers = format!("Authorization: Bearer {TOKEN}\r\n");
        request(self.meridian.admin.unwrap(), &format!("GET {page}"), &headers, "")
    }

    /// What the interface says of an endpoint.
    fn known(&self, kind: usize) -> Value {
        let health: Value = serde_json::from_str(&self.read("/api/v1/health")).unwrap();
        let endpoints = health["endpoints"].as_array().unwrap();
        endpoints.iter().find(|endpoint| endpoint["pool"] == KINDS[kind].0).unwrap().clone()
    }

    /// The sum of a metric over the series of a target.
    fn count(&self, metric: &str, kind: usize) -> u64 {
        let metrics = self.read("/metrics");
        let target = format!("target=\"{}://{}", KINDS[kind].0, address(kind));
        let is_of = |line: &&str| {
            let rest = line
                .split_once(&target)
                .map_or("", |(before, rest)| if before.starts_with(metric) { rest } else { "" });
            rest.starts_with([':', '"', ' '])
        };
        metrics.lines().filter(is_of).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

/// What tells a program and a file probe.
fn put_files(folder: &Folder, switches: &[Switch; KINDS.len()]) {
    for (kind, (name, ..)) in KINDS.into_iter().enumerate() {
        let is_ill = switches[kind].load(Ordering::SeqCst);
        match name {
            "exec" if is_ill => std::fs::remove_file(folder.path("service")).unwrap(),
            "exec" => drop(folder.put("service", "")),
            "file" => {
                let state = if is_ill { "down a disk is being replaced" } else { "up" };
                folder.put("states", format!("{} {state}\n", address(kind)));
            }
            _ => {}
        }
    }
}

/// Starts what a probe of this kind asks. Returns the keys of the probe.
async fn start(kind: &'static str, address: Ipv4Addr, is_ill: Switch, tls: TlsAcceptor) -> String {
    let trust = format!("ca_file = \"certificate.pem\"\nserver_name = \"{NAME}\"\n");
    let keys = match kind {
        "http" => "path = \"/healthz\"\nhost = \"shop.example.com\"\nexpect_status = [404]\n".to_owned(),
        "https" => format!("{trust}expect_body = \"all good\"\n"),
        "tcp" => "send = \"PING\\r\\n\"\nexpect = \"+PONG\"\n".to_owned(),
        "tls" => trust,
        "grpc" => "service = \"shop.Cart\"\n".to_owned(),
        "dns" => {
            let socket = UdpSocket::bind((address, 0)).await.unwrap();
            let port = socket.local_addr().unwrap().port();
            tokio::spawn(resolve(socket, is_ill));
            return format!("port = {port}\nname = \"www.example.com\"\nexpect_answer = \"192.0.2.1\"\n");
        }
        "exec" => {
            let script = format!("test $1 = {address} || exit 1; test -e $0 || {{ echo no such service; exit 3; }}");
            return format!("command = \"/bin/sh\"\narguments = ['-c', '{script}', 'FOLDER/service', '{{address}}']\n");
        }
        "file" => return "path = \"states\"\n".to_owned(),
        "heartbeat" => return "max_silence = \"1s\"\n".to_owned(),
        other => panic!("{other}"),
    };
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(kind, stream, is_ill.load(Ordering::SeqCst), tls.clone()));
        }
    });
    format!("port = {port}\n{keys}")
}

/// One connection. Errors mean that the prober went away, which is its right.
async fn converse(kind: &str, mut stream: TcpStream, is_ill: bool, tls: TlsAcceptor) {
    match kind {
        // Well where that page of that host isn't there.
        "http" => {
            let status =
                |head: &str| match head.starts_with("GET /healthz ") && head.contains("host: shop.example.com\r\n") {
                    true if is_ill => "503 Busy",
                    true => "404 Not Found",
                    false => "200 OK",
                };
            respond(stream, status, "").await;
        }
        "https" => {
            if let Ok(stream) = tls.accept(stream).await {
                respond(stream, |_| "200 OK", if is_ill { "all lost" } else { "all good" }).await;
            }
        }
        "tcp" => {
            if stream.read_exact(&mut [0; b"PING\r\n".len()]).await.is_ok() {
                let _ = stream.write_all(if is_ill { b"-LOADING\r\n" } else { b"+PONG\r\n" }).await;
            }
        }
        "tls" if is_ill => {
            let _ = stream.write_all(b"220 ready\r\n").await;
            let _ = copy(&mut stream, &mut sink()).await;
        }
        "tls" => {
            if let Ok(mut stream) = tls.accept(stream).await {
                let _ = copy(&mut stream, &mut sink()).await;
            }
        }
        "grpc" => {
            let service = service_fn(move |_: Request<Incoming>| async move { Ok::<_, Infallible>(serving(is_ill)) });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        }
        other => panic!("{other}"),
    }
}

/// Reads a request of HTTP/1.1, and answers with a status that may depend on its head.
async fn respond(mut stream: impl AsyncRead + AsyncWrite + Unpin, status: impl Fn(&str) -> &'static str, body: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(octet) => head.push(octet),
            Err(_) => return,
        }
    }
    let status = status(std::str::from_utf8(&head).unwrap());
    let response = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let _ = stream.write_all(response.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// The answer of a health service of gRPC: SERVING is 1, NOT_SERVING 2.
fn serving(is_ill: bool) -> Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>> {
    let status = if is_ill { 2 } else { 1 };
    let body = Full::new(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]));
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let body = body.with_trailers(async { Some(Ok(trailers)) });
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// Answers each query for an A record.
async fn resolve(socket: UdpSocket, is_ill: Switch) {
    let mut query = [0; 512];
    while let Ok((length, peer)) = socket.recv_from(&mut query).await {
        let is_ill = is_ill.load(Ordering::SeqCst);
        let header = [query[0], query[1], 0x80, if is_ill { 2 } else { 0 }, 0, 1, 0, u8::from(!is_ill), 0, 0, 0, 0];
        let record: &[u8] = if is_ill { &[] } else { &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1] };
        let _ = socket.send_to(&[&header, &query[12..length], record].concat(), peer).await;
    }
}

/// Reports for an endpoint all the time, while it isn't ill.
async fn beat(admin: SocketAddr, address: Ipv4Addr, is_ill: Switch) {
    let body =
        format!("{{\"heartbeats\": [{{\"pool\": \"heartbeat\", \"endpoint\": \"{address}\", \"status\": \"ok\"}}]}}");
    let headers = format!(
        "Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    loop {
        if !is_ill.load(Ordering::SeqCst) {
            request(admin, "POST /api/v1/heartbeats", &headers, &body);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn acceptor(identity: &Identity) -> TlsAcceptor {
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![identity.certificate.clone()], key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

#[test]
fn each_kind_takes_its_own_endpoint_out_and_brings_it_back() {
    let site = Site::start();
    site.wait_until_up(|_| true);
    // By halves, so that no more than its own turns.
    for half in [0, 1] {
        site.set(|kind| kind % 2 == half);
        site.wait_until_up(|kind| kind % 2 != half);
        site.set(|_| false);
        site.wait_until_up(|_| true);
    }
    for (kind, (name, ..)) in KINDS.into_iter().enumerate() {
        let turns = site.count("meridian_verdict_transitions_total", kind);
        assert_eq!(turns, 3, "{name}: up, down, and up again");
    }
}

#[test]
fn each_kind_runs_at_its_own_interval() {
    let site = Site::start();
    site.wait_until_up(|_| true);
    let runs = || -> Vec<u64> { (0..KINDS.len()).map(|kind| site.count("meridian_probes_total", kind)).collect() };
    let (began, before) = (Instant::now(), runs());
    std::thread::sleep(WATCH);
    let (after, watched) = (runs(), began.elapsed());
    for (kind, (name, interval, _)) in KINDS.into_iter().enumerate().filter(|(_, (name, ..))| *name != "heartbeat") {
        let (runs, most) = ((after[kind] - before[kind]) as f64, watched.as_secs_f64() * 1e3 / interval as f64);
        // The first and the last may be just outside, and a busy machine loses a few.
        assert!(runs <= most + 1.0 && runs >= most * 0.6 - 1.0, "{name}: {runs} runs in {watched:?}");
    }
}

#[test]
fn the_phases_of_a_run_and_the_end_of_a_certificate_are_exported() {
    let site = Site::start();
    site.wait_until_up(|_| true);
    let metrics = site.read("/metrics");
    let values = |metric: &str, labels: &str| -> Vec<f64> {
        let is_of = |line: &&str| line.starts_with(metric) && line.contains(labels);
        metrics.lines().filter(is_of).map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    };
    for (kind, phases) in [("https", &["connect", "tls", "first_byte"][..]), ("tls", &["connect", "tls"])] {
        let endpoint = address(KINDS.iter().position(|(name, ..)| *name == kind).unwrap());
        for phase in ["resolve", "connect", "tls", "first_byte"] {
            let labels = format!("{{pool=\"{kind}\",region=\"us-east\",endpoint=\"{endpoint}\",phase=\"{phase}\"}}");
            let found = values("meridian_probe_phase_seconds", &labels);
            let is_timed = matches!(found[..], [seconds] if seconds > 0.0 && seconds < 1.0);
            assert_eq!(is_timed, phases.contains(&phase), "{kind}, {phase}: {found:?}");
        }
        let labels = format!("{{pool=\"{kind}\",region=\"us-east\",endpoint=\"{endpoint}\"}}");
        assert_eq!(values("meridian_certificate_expiry_timestamp_seconds", &labels), [EXPIRES as f64], "{kind}");
    }
}

#[test]
fn a_check_that_pools_share_is_made_once() {
    let [backend] = Backend::start_all([Ipv4Addr::new(127, 0, 31, 70)]);
    let port = backend.address.port();
    let mut config = format!("{REGIONS}{SERVER}");
    for name in ["one", "two"] {
        config += &format!(
            r#"
[probes.{name}]
type = "http"
port = {port}
path = "/"
interval = "100ms"
timeout = "90ms"
[pools.{name}]
probe = "{name}"
endpoints = [{{ region = "us-east", address = "127.0.31.70" }}]
[services."{name}.geo.example"]
pool = "{name}"
"#
        );
    }
    let folder = Folder::new("shared");
    let meridian = Meridian::serve(&folder.put("meridian.toml", config));
    meridian.wait_for_verdicts(&[]);
    let (began, before) = (Instant::now(), backend.requests());
    wait_until("there are twenty runs", || backend.requests() >= before + 20);
    // Twice as fast, if each pool had a run of its own.
    assert!(began.elapsed() > Duration::from_millis(1_500), "{:?}", began.elapsed());
    assert_eq!(meridian.verdicts().len(), 2);
}

#[test]
fn until_the_first_result_answers_live_no_longer_than_it_takes() {
    // Connections to it are made, and wait until it serves.
    let late = std::net::TcpListener::bind((Ipv4Addr::new(127, 0, 31, 50), 0)).unwrap();
    let port = late.local_addr().unwrap().port();
    let config = format!(
        r#"
{REGIONS}{SERVER}
[probes.web]
type = "http"
port = {port}
interval = "20s"
timeout = "10s"
[pools.web]
probe = "web"
endpoints = [{{ region = "us-east", address = "127.0.31.50" }}]
[pools.dead]
probe = "web"
endpoints = [{{ region = "us-east", address = "127.0.31.51" }}]
[pools.spare]
endpoints = [{{ region = "us-east", address = "127.0.31.99" }}]
[services."late.geo.example"]
pool = "web"
ttl = {{ min = "5s", max = "60s" }}
[services."dead.geo.example"]
pool = "dead"
failover = ["spare"]
ttl = {{ min = "5s", max = "60s" }}
"#
    );
    let folder = Folder::new("first-result");
    let meridian = Meridian::serve(&folder.put("meridian.toml", config));
    let answered = |service: &str| {
        let answer = ask(meridian.dns, &format!("{service}.geo.example A"));
        (answer.to_string(), answer.ttl)
    };
    let late_answer = |ttl| ("NoError 127.0.31.50".to_owned(), Some(ttl));
    assert_eq!(answered("late"), late_answer(20), "the interval of its probe");
    wait_until("one has its first result", || meridian.verdicts().iter().any(|(_, verdict)| verdict == "down"));
    assert_eq!(answered("dead"), (SPARE.to_owned(), Some(5)), "a failover lasts for no longer than it must");
    assert_eq!(answered("late"), late_answer(20), "the other waits");
    let _backend = Backend::start_on(late);
    wait_until("both have theirs", || meridian.verdicts().iter().any(|(_, verdict)| verdict == "up"));
    assert_eq!(answered("late"), late_answer(60));
    assert_delays_are_told(&meridian, 2);
}

/// Of so many verdicts it is told how long it took until answers obeyed.
fn assert_delays_are_told(meridian: &Meridian, verdicts: u32) {
    let metric = |part: &str, label: &str| meridian.metric(&format!("meridian_verdict_delay_seconds_{part}"), label);
    let verdicts = f64::from(verdicts);
    wait_until("all are counted", || metric("count", "") == verdicts);
    let sum = metric("sum", "");
    let (mut before, mut least, mut most, mut above) = (0.0, 0.0, 0.0, 0.0);
    for bound in ["0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "10", "+Inf"] {
        let (seconds, within): (f64, f64) = (bound.parse().unwrap(), metric("bucket", &format!("le=\"{bound}\"")));
        assert!(within >= before, "{bound} holds what less does: {within}, {before}");
        if within > before {
            least += (within - before) * above;
            most += (within - before) * seconds;
        }
        (before, above) = (within, seconds);
    }
    assert!(sum > least && sum <= most, "{least} to {most} in buckets, {sum} in all");
    assert_eq!(before, verdicts);
}

#[test]
fn a_host_is_asked_for_an_echo_where_that_is_permitted() {
    let config = format!(
        r#"
{REGIONS}{SERVER}
[probes.ping]
type = "icmp"
interval = "300ms"
timeout = "200ms"
fall = 2
[pools.host]
probe = "ping"
endpoints = [{{ region = "us-east", address = "127.0.31.60", probe_address = "127.0.0.1" }}]
# For documentation, so of nobody.
[pools.nobody]
probe = "ping"
endpoints = [{{ region = "us-east", address = "127.0.31.61", probe_address = "203.0.113.1" }}]
[pools.spare]
endpoints = [{{ region = "us-east", address = "127.0.31.99" }}]
[services."host.geo.example"]
pool = "host"
failover = ["spare"]
[services."nobody.geo.example"]
pool = "nobody"
failover = ["spare"]
"#
    );
    let folder = Folder::new("icmp");
    let path = folder.put("meridian.toml", &config);
    let meridian = Meridian::serve(&path);
    let answer = |service: &str| ask(meridian.dns, &format!("{service}.geo.example A")).to_string();
    let verdicts = || meridian.verdicts().into_iter().map(|(_, verdict)| verdict).collect::<Vec<_>>();
    if meridian.process.text().contains("icmp probes find nothing") {
        wait_until("both were tried", || meridian.metric("meridian_probes_total", "outcome=\"local\"") > 4.0);
        assert_eq!(verdicts(), ["unknown", "unknown", "unprobed"]);
        assert_eq!([answer("host"), answer("nobody")], ["NoError 127.0.31.60", "NoError 127.0.31.61"]);
        skip("this user may send no echo requests");
        return;
    }
    wait_until("both have a verdict", || verdicts() == ["up", "down", "unprobed"]);
    assert_eq!([answer("host"), answer("nobody")], ["NoError 127.0.31.60", SPARE]);
    folder.put("meridian.toml", config.replace("\"203.0.113.1\"", "\"127.0.0.2\""));
    meridian.reload();
    wait_until("the other has one, too", || verdicts() == ["up", "up", "unprobed"]);
    assert_eq!(answer("nobody"), "NoError 127.0.31.61");
}
