use std::net::SocketAddr;

use meridian::health::Verdict;
use serde_json::{Value, json};

use crate::http::{Interface, TokenFile};
use crate::support::{rejections, send_json};

const CONFIGURATION: &str = r#"
[server]
listen = ["127.0.0.1:0"]
[zones."example.com"]
nameservers = ["ns1.example.net"]
[regions.us-east]
location = [39.04, -77.49]
[regions.eu-central]
location = [50.11, 8.68]
[probes.beat]
type = "heartbeat"
max_silence = "1d"
[probes.slow-to-believe]
type = "heartbeat"
max_silence = "1d"
fall = 2
rise = 3
[probes.ping]
type = "icmp"
[pools.web]
probe = "beat"
endpoints = [
  { region = "us-east", address = "192.0.2.1" },
  { region = "eu-central", address = "192.0.2.1" },
  { region = "eu-central", address = "2001:db8::1" },
  { region = "eu-central", address = "192.0.2.9" },
]
[pools.names]
probe = "slow-to-believe"
endpoints = [{ region = "us-east", hostname = "www.example.net" }]
[pools.ping]
probe = "ping"
endpoints = [{ region = "us-east", address = "192.0.2.1" }]
[pools.none]
endpoints = [{ region = "us-east", address = "192.0.2.1" }]
"#;

fn post(server: SocketAddr, body: &Value) -> (u16, Value) {
    send_json(server, "POST /api/v1/heartbeats", body)
}

/// The verdict of a target, and what was observed last.
fn found(interface: &Interface, target: &str) -> (Verdict, Option<String>) {
    let health = interface.reloader.publisher().health();
    let target = health.targets().iter().find(|it| it.key.to_string() == target).unwrap();
    (target.machine.verdict(), target.last.as_ref().map(|(_, observation)| observation.to_string()))
}

fn beat(pool: &str, endpoint: &str, status: &str, text: &str) -> Value {
    json!({"heartbeats": [{"pool": pool, "endpoint": endpoint, "status": status, "text": text}]})
}

#[test]
fn heartbeats_decide_at_once() {
    let file = TokenFile::new("heartbeats");
    let interface = Interface::start_with(CONFIGURATION, Some(file.0.clone()));
    let one = "heartbeat://192.0.2.1";
    assert_eq!(found(&interface, one), (Verdict::Unknown, None));
    for (status, text, verdict, last) in [
        ("ok", "", Verdict::Up, "ok in 0.0ns"),
        (
            "degraded",
            "disk slow",
            Verdict::Degraded,
            "ok in 0.0ns, but the endpoint reports that it is degraded: disk slow",
        ),
        ("failed", "disk\ngone", Verdict::Down, "the endpoint reports that it is down: disk gone"),
        ("ok", "fine", Verdict::Up, "ok in 0.0ns"),
    ] {
        let (code, answer) = post(interface.address, &beat("web", "192.0.2.1", status, text));
        assert_eq!((code, answer), (200, json!({"accepted": 1, "rejected": 0, "rejections": []})));
        assert_eq!(found(&interface, one), (verdict, Some(last.to_owned())), "{status}");
    }
    assert_eq!(found(&interface, "heartbeat://192.0.2.9").0, Verdict::Unknown, "never heard");
    // Both of its endpoints are this target.
    let counts = {
        let health = interface.reloader.publisher().health();
        health.targets().iter().next().unwrap().counts
    };
    assert_eq!((counts.successes, counts.failures, counts.poor), (3, 1, 1));
    // Each counts once where several in a row are wanted.
    let verdicts = ["ok", "failed", "failed", "ok", "ok", "ok"].map(|status| {
        assert_eq!(post(interface.address, &beat("names", "WWW.example.net.", status, "")).0, 200);
        found(&interface, "heartbeat://www.example.net").0
    });
    use Verdict::{Down, Up};
    assert_eq!(verdicts, [Up, Up, Down, Down, Down, Up]);
}

#[test]
fn heartbeats_that_do_not_count_are_told() {
    let file = TokenFile::new("bad-heartbeats");
    let interface = Interface::start_with(CONFIGURATION, Some(file.0.clone()));
    let with = |key: &str, value: Value| {
        let mut heartbeat = json!({"pool": "web", "endpoint": "192.0.2.1", "status": "ok"});
        heartbeat[key] = value;
        heartbeat
    };
    let heartbeats = [
        (with("region", json!("us-east")), None),
        (with("endpoint", json!("2001:DB8:0::1")), None),
        (with("region", json!("nowhere")), Some("unknown-endpoint")),
        (with("endpoint", json!("192.0.2.7")), Some("unknown-endpoint")),
        (with("pool", json!("nowhere")), Some("unknown-pool")),
        (with("pool", json!("ping")), Some("not-awaited")),
        (with("pool", json!("none")), Some("not-awaited")),
        (with("status", json!("up")), Some("malformed")),
        (with("connections", json!(1)), Some("malformed")),
        (json!({"pool": "web", "endpoint": "192.0.2.1"}), Some("malformed")),
        (json!(1), Some("malformed")),
    ];
    let body: Vec<Value> = heartbeats.iter().map(|(heartbeat, _)| heartbeat.clone()).collect();
    let (status, answer) = post(interface.address, &json!({"heartbeats": body}));
    assert_eq!((status, &answer["accepted"]), (200, &json!(2)), "{answer}");
    let expected: Vec<(usize, &str)> =
        heartbeats.iter().enumerate().filter_map(|(index, (_, reason))| Some((index, (*reason)?))).collect();
    assert_eq!(rejections(&answer), expected);

    let (status, answer) = post(interface.address, &json!({"heartbeats": vec![0; 10_000]}));
    assert_eq!((status, &answer["rejected"]), (422, &json!(10_000)), "{}", answer["rejected"]);
    assert_eq!(post(interface.address, &json!({"heartbeats": vec![0; 10_001]})).0, 413);
    assert_eq!(post(interface.address, &json!({"reports": []})).0, 400);
    assert_eq!(post(interface.address, &json!([])).0, 400);
    assert_eq!(post(interface.address, &json!({"heartbeats": []})).0, 200);
    let bare = Interface::start_with(CONFIGURATION, None);
    assert_eq!(post(bare.address, &json!({"heartbeats": []})).0, 403, "not without a token");
}
