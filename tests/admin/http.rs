use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use meridian::admin::view::{Explanation, HealthReport, History};
use meridian::admin::{self, Admin};
use meridian::config;
use meridian::operator::Operator;
use meridian::reload::{Prepared, Reloader};
use meridian::snapshot::Publisher;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::{CONFIGURATION, get, observe, prepared, request};

pub(crate) const TOKEN: &str = "a-token-for-tests-only";

/// An interface at work, with its own runtime.
pub(crate) struct Interface {
    pub(crate) address: SocketAddr,
    pub(crate) admin: Admin,
    pub(crate) reloader: Arc<Reloader>,
    _runtime: Runtime,
}

impl Interface {
    pub(crate) fn start(token_file: Option<PathBuf>) -> Self {
        Self::start_with(CONFIGURATION, token_file)
    }

    pub(crate) fn start_with(configuration: &str, token_file: Option<PathBuf>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let inside = runtime.enter();
        let (loader, Prepared { compiled, prober, certificate }) = prepared(configuration);
        let publisher = Arc::new(Publisher::new(compiled));
        let operator = Arc::new(Operator::start(None, Arc::clone(&publisher), Instant::now(), 1_700_000_000).unwrap());
        let reloader = Arc::new(Reloader::new(loader, publisher, prober, certificate, tokio::sync::mpsc::channel(1).0));
        let bound = admin::bind(&config::Admin { listen: "127.0.0.1:0".parse().unwrap(), token_file }).unwrap();
        let admin = Admin::start(bound, Arc::clone(&reloader), operator, vec![Arc::default()], Arc::default()).unwrap();
        drop(inside);
        Self { address: admin.address(), admin, reloader, _runtime: runtime }
    }
}

/// A token file that lives as long as this does.
pub(crate) struct TokenFile(pub(crate) PathBuf);

impl TokenFile {
    pub(crate) fn new(name: &str) -> Self {
        Self::of(name, TOKEN)
    }

    pub(crate) fn of(name: &str, token: &str) -> Self {
        let path = std::env::temp_dir().join(format!("meridian-{name}-{}.token", std::process::id()));
        fs::write(&path, token).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Self(path)
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn pages() {
    let interface = Interface::start(None);
    let get = |path: &str| get(interface.address, path, "");
    assert!(get("/").body.contains("/api/v1/explain?name="));
    assert_eq!((get("/livez").status, get("/livez").body.as_str()), (200, "ok\n"));

    let metrics = get("/metrics");
    assert_eq!(
        (metrics.status, metrics.headers["content-type"].as_str()),
        (200, "text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(metrics.body.contains("\nmeridian_snapshot_generation 1\n"), "{}", metrics.body);

    let report: HealthReport = serde_json::from_str(&get("/api/v1/health").body).unwrap();
    assert_eq!((report.generation, report.endpoints.len(), &report.reload_problems), (1, 14, &None));
    let first = &report.endpoints[0];
    let shown =
        (first.pool.as_str(), first.region.as_str(), first.endpoint.endpoint.as_str(), first.endpoint.verdict.as_str());
    assert_eq!(shown, ("web", "us-east", "192.0.2.1", "unknown"));

    assert_eq!((report.unsure_seconds, report.held.len()), (None, 0));

    observe(interface.reloader.publisher(), &["192.0.2.1"], 1, Instant::now());
    let history = |query: &str| -> History {
        let response = get(&format!("/api/v1/history{query}"));
        assert_eq!(response.status, 200, "{}", response.body);
        serde_json::from_str(&response.body).unwrap()
    };
    let all = history("");
    assert_eq!((all.changes.len(), all.left_out), (9, 0));
    let of_one = history("?subject=endpoint/web/us-east/192.0.2.1");
    let [change] = &of_one.changes[..] else { panic!("{of_one:?}") };
    assert_eq!((change.from.as_str(), change.to.as_str()), ("unknown", "down"));
    assert_eq!(change.reason, "192.0.2.1: connection refused");
    assert!(unix_seconds().abs_diff(change.time) < 60, "{change:?}");
    let latest = history("?subject=service/pairs.example.com&limit=3");
    assert_eq!((latest.changes.len(), latest.left_out), (3, 1));

    let response = get("/api/v1/explain?name=www.example.com&type=aaaa&client=10.1.0.0/16");
    assert_eq!((response.status, response.headers["content-type"].as_str()), (200, "application/json"));
    let explanation: Explanation = serde_json::from_str(&response.body).unwrap();
    assert_eq!(explanation.answer.answer[0].data, "2001:db8::1");
}

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let interface = Interface::start(None);
    for (path, status, error) in [
        ("/nowhere", 404, "no such page"),
        ("/api/v1/explain", 400, "missing field `name`"),
        ("/api/v1/explain?name=a..b", 400, "no domain name"),
        ("/api/v1/explain?name=a.b&type=AXFR", 400, "asks for no data"),
        ("/api/v1/explain?name=a.b&client=x", 400, "\"x\" is no client"),
        ("/api/v1/explain?name=a.b&subnet=192.0.2.0/24", 400, "unknown field `subnet`"),
        ("/api/v1/history?subject=web", 400, "`endpoint/POOL/REGION/ADDRESS`"),
        ("/api/v1/history?subject=pool/wbe", 422, "no endpoint in the configuration belongs to pool/wbe"),
        ("/api/v1/history?limit=-1", 400, "invalid digit"),
        ("/api/v1/history?pool=web", 400, "unknown field `pool`"),
    ] {
        let response = get(interface.address, path, "");
        let body: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(response.status, status, "{path}");
        assert!(body["error"].as_str().unwrap().contains(error), "{path}: {body}");
        assert!(!body["hint"].as_str().unwrap().is_empty(), "{path}: {body}");
    }
    let posted = request(
        interface.address,
        "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(posted.status, 405);
    assert!(posted.body.contains("use GET"), "{}", posted.body);
    let too_long = request(interface.address, &format!("GET /?{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(70_000)));
    assert_eq!(too_long.status, 414);
}

#[test]
fn with_a_token_only_liveness_and_readiness_are_open() {
    let file = TokenFile::new("guarded");
    let interface = Interface::start(Some(file.0.clone()));
    let get = |path: &str, headers: &str| get(interface.address, path, headers);
    for path in
        ["/", "/metrics", "/api/v1/health", "/api/v1/history", "/api/v1/explain?name=www.example.com", "/nowhere"]
    {
        for headers in ["", "Authorization: Bearer a-token-for-tests-onlY\r\n", "Authorization: Basic eDp5\r\n"] {
            let refused = get(path, headers);
            assert_eq!(refused.status, 401, "{path} with {headers:?}");
            assert_eq!(refused.headers["www-authenticate"], "Bearer realm=\"meridian\"");
            assert!(refused.body.contains("token_file") && !refused.body.contains(TOKEN), "{}", refused.body);
        }
        let granted = get(path, &format!("Authorization: Bearer {TOKEN}\r\n"));
        assert_eq!(granted.status, if path == "/nowhere" { 404 } else { 200 }, "{path}");
    }
    assert_eq!((get("/livez", "").status, get("/readyz", "").status), (200, 200));
}

/// Asks for `/livez` on a connection that stays open.
fn stay_and_ask(stream: &mut TcpStream) {
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\nok\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap();
        response.extend(octet);
    }
}

#[test]
fn silent_connections_keep_nobody_out() {
    let interface = Interface::start(None);
    let mut silent: Vec<_> = (0..64).map(|_| TcpStream::connect(interface.address).unwrap()).collect();
    for stream in &silent {
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    }
    // They are accepted in order, so once the last has its answer, all are. The first is then idle for the least time.
    stay_and_ask(&mut silent[63]);
    stay_and_ask(&mut silent[0]);
    let asked = Instant::now();
    assert_eq!(get(interface.address, "/livez", "").status, 200);
    // In less than the time after which silent connections end by themselves.
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(silent[1].read(&mut [0; 1]).unwrap(), 0, "the one idle longest made room");
    stay_and_ask(&mut silent[0]);
}

#[test]
fn ready_until_it_stops() {
    let interface = Interface::start(None);
    let ready = get(interface.address, "/readyz", "");
    let body: Value = serde_json::from_str(&ready.body).unwrap();
    assert_eq!((ready.status, &body["ready"], &body["generation"]), (200, &Value::Bool(true), &Value::from(1)));
    assert_eq!((&body["targets"], &body["unknown_targets"]), (&Value::from(6), &Value::from(6)));
    interface.admin.announce_stop();
    let stopping = get(interface.address, "/readyz", "");
    assert_eq!(stopping.status, 503);
    assert!(stopping.body.contains("\"ready\":false"), "{}", stopping.body);
    assert_eq!(get(interface.address, "/livez", "").status, 200);
}

#[test]
fn a_dropped_interface_frees_its_address() {
    let interface = Interface::start(None);
    let address = interface.address;
    assert!(TcpListener::bind(address).is_err());
    drop(interface.admin);
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpListener::bind(address).is_err() {
        assert!(Instant::now() < deadline, "{address} is still taken");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_wrong_at_the_start_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let message = admin::bind(&config::Admin { listen, token_file: None }).unwrap_err().to_string();
    assert!(message.contains(&format!("can't listen on {listen}")) && message.contains("[admin]"), "{message}");
    let token_file = Some(PathBuf::from("/nowhere/admin.token"));
    let message = admin::bind(&config::Admin { listen, token_file }).unwrap_err().to_string();
    assert!(message.contains("token_file /nowhere/admin.token"), "{message}");
}
