use std::time::{SystemTime, UNIX_EPOCH};

use meridian::admin::view::{Explanation, Found, ServiceDecision};
use meridian::reload::Reason;
use serde_json::{Value, json};

use crate::http::{Interface, TokenFile};
use crate::support::{self, CONFIGURATION, Response, request, send, send_json};

/// The common configuration with a service that is steered by latency.
fn configuration() -> String {
    format!(
        "{CONFIGURATION}\n[services.\"fast.example.com\"]\npool = \"web\"\nsteering = \"latency\"\n[latency]\nmax_age = \"1h\"\n"
    )
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn post(interface: &Interface, body: &Value) -> Value {
    let (status, answer) = send_json(interface.address, "POST /api/v1/latency", body);
    assert_eq!(status, 200, "{answer}");
    answer
}

fn read(interface: &Interface, path: &str) -> Response {
    support::read(interface.address, path)
}

/// What the service decides for a client in Berlin.
fn decision(interface: &Interface) -> ServiceDecision {
    let page = read(interface, "/api/v1/explain?name=fast.example.com&client=10.1.0.0/24");
    let explanation: Explanation = serde_json::from_str(&page.body).unwrap();
    let found = &explanation.steps[0].found;
    let Found::Service(decision) = found else { panic!("no service decided: {found:?}") };
    (**decision).clone()
}

#[test]
fn writing_needs_a_token_json_and_a_table_to_write_to() {
    const JSON: &str = "Content-Type: application/json\r\n";
    let file = TokenFile::new("latency-refused");
    let guarded = || Interface::start_with(&configuration(), Some(file.0.clone()));
    let large = format!("{{\"measurements\": [{}]}}", " ".repeat(4 << 20));
    for (interface, headers, body, status, error) in [
        (Interface::start_with(&configuration(), None), JSON, "{}", 403, "set token_file in [admin]"),
        (guarded(), "Content-Type: text/plain\r\n", "{}", 415, "Content-Type: application/json"),
        (guarded(), "", "{}", 415, "JSON only"),
        (guarded(), JSON, "{", 400, "measurements"),
        (guarded(), JSON, "{\"measurement\": []}", 400, "unknown field"),
        (guarded(), JSON, &large, 413, "4 MiB"),
        (Interface::start(Some(file.0.clone())), JSON, "{\"measurements\": []}", 409, "[latency]"),
    ] {
        let response = send(interface.address, "POST /api/v1/latency", headers, body);
        assert_eq!(response.status, status, "{headers}: {}", response.body);
        assert!(response.body.contains(error), "{error}: {}", response.body);
    }
    let interface = guarded();
    let stranger = request(
        interface.address,
        &format!("POST /api/v1/latency HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{JSON}Content-Length: 0\r\n\r\n"),
    );
    assert_eq!(stranger.status, 401);
}

#[test]
fn good_rows_are_taken_and_bad_ones_named() {
    let file = TokenFile::new("latency-taken");
    let interface = Interface::start_with(&configuration(), Some(file.0.clone()));
    let nearest = decision(&interface);
    assert!(nearest.reason.starts_with("eu-central is the nearest region"), "{}", nearest.reason);
    assert_eq!(nearest.scope, 16);
    let now = now();
    let receipt = post(
        &interface,
        &json!({"measurements": [
            {"network": "10.1.0.0/16", "region": "us-east", "ms": 12.5, "measured": now, "confidence": 0.9},
            {"network": "10.1.0.0/16", "region": "eu-central", "ms": 20, "measured": now - 10},
            {"network": "10.1.0.0/16", "region": "eu-central", "ms": 5, "measured": now - 20},
            {"asn": 64500, "region": "us-east", "ms": 5, "measured": now - 3700},
            {"asn": 64500, "region": "us-east", "ms": 5, "measured": now + 3600},
            {"asn": 64500, "country": "DE", "region": "us-east", "ms": 5, "measured": now},
            {"country": "DE", "region": "us-west", "ms": 5, "measured": now},
            {"country": "DE", "region": "us-east", "ms": -5, "measured": now},
            {"country": "DE", "region": "us-east", "ms": [5], "measured": now},
            {"country": "DE", "region": "us-east", "rtt": 5, "measured": now},
            7,
        ]}),
    );
    assert_eq!((&receipt["accepted"], &receipt["ignored"], &receipt["rejected"]), (&json!(2), &json!(2), &json!(7)));
    let problems = receipt["problems"].as_array().unwrap();
    for (problem, (row, expected)) in problems.iter().zip([
        (4, "in the future"),
        (5, "exactly one of"),
        (6, "unknown region \"us-west\""),
        (7, "ms \"-5\""),
        (8, "neither a string nor a number"),
        (9, "unknown key \"rtt\""),
        (10, "not an object"),
    ]) {
        assert_eq!(problem["row"], row, "{problem}");
        assert!(problem["problem"].as_str().unwrap().contains(expected), "{problem}");
    }
    let metrics = read(&interface, "/metrics").body;
    for sample in ["{outcome=\"accepted\"} 2\n", "{outcome=\"ignored\"} 2\n", "{outcome=\"rejected\"} 7\n"] {
        assert!(metrics.contains(&format!("\nmeridian_latency_measurements_total{sample}")), "{sample}");
    }

    // The maps are made by the daemon's task, or by any reload; what arrived is there after each.
    for reason in [Reason::MeasurementsChanged, Reason::Signal, Reason::GeographyChanged] {
        interface.reloader.reload(reason);
        let known: Value = serde_json::from_str(&read(&interface, "/api/v1/latency").body).unwrap();
        assert_eq!((&known["measurements"], &known["networks"], &known["asns"]), (&json!(2), &json!(1), &json!(0)));
        assert_eq!((&known["newest"], &known["oldest"]), (&json!(now), &json!(now - 10)));
        assert_eq!(known["regions"][0], json!({"region": "us-east", "measurements": 1, "newest": now}));
        assert_eq!(known["regions"][2], json!({"region": "ap-southeast", "measurements": 0, "newest": null}));
        let service = decision(&interface);
        let expected = "us-east is the region with the shortest round trip (12.5 ms measured for 10.1.0.0/16)";
        assert_eq!(service.reason, expected, "{reason}");
        // All around have this order.
        assert_eq!(service.scope, 7);
        let latency = service.regions[0].latency.clone().unwrap();
        assert_eq!((latency.ms, latency.measured_for.as_deref()), (12.5, Some("10.1.0.0/16")));
        assert!(latency.age_seconds.unwrap() < 600);
    }
    assert_eq!(interface.reloader.status().counts(), (3, 0, 0));
}
