use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use meridian::admin::view::HealthReport;
use serde_json::{Value, json};

use crate::http::{Interface, TokenFile};
use crate::support::{Response, read, rejections, request, send, send_json};

/// Posts a body with the token and this content type.
fn post(server: SocketAddr, body: &str, content_type: &str) -> Response {
    send(server, "POST /api/v1/reports", &format!("Content-Type: {content_type}\r\n"), body)
}

fn post_json(server: SocketAddr, body: &Value) -> (u16, Value) {
    send_json(server, "POST /api/v1/reports", body)
}

#[test]
fn reports_are_taken_counted_and_shown() {
    let file = TokenFile::new("reports");
    let interface = Interface::start(Some(file.0.clone()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let report = |endpoint: &str| json!({"pool": "web", "endpoint": endpoint, "connections": 12});
    let with = |key: &str, value: Value| {
        let mut report = report("192.0.2.1");
        report[key] = value;
        report
    };
    let reports = [
        (report("192.0.2.1"), None),
        (with("region", json!("us-east")), None),
        (with("time", json!(now - 2.0)), Some("outdated")),
        (with("time", json!(now + 60.0)), Some("future")),
        (with("time", json!(now - 3600.0)), Some("too-old")),
        (with("time", json!(-1)), Some("negative")),
        (with("utilization", json!(-0.5)), Some("negative")),
        (with("utilization", json!(5000)), Some("absurd")),
        (with("utilization", json!("0.5")), Some("malformed")),
        (with("failures", json!(-1)), Some("malformed")),
        (with("conections", json!(1)), Some("malformed")),
        (json!({"pool": "web", "endpoint": "192.0.2.2"}), Some("empty")),
        (json!(7), Some("malformed")),
        (with("pool", json!("nowhere")), Some("unknown-pool")),
        (with("region", json!("eu-central")), Some("unknown-endpoint")),
        (report("192.0.2.77"), Some("unknown-endpoint")),
        (report("2001:0DB8::1"), None),
        (json!({"pool": "cdn", "endpoint": "WWW.example.com.", "utilization": 0.25, "successes": 3}), None),
    ];
    let body = json!({"reports": reports.iter().map(|(report, _)| report.clone()).collect::<Vec<_>>()});
    let (status, answer) = post_json(interface.address, &body);
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(4), &json!(14)), "{answer}");
    let expected: Vec<(usize, &str)> =
        reports.iter().enumerate().filter_map(|(index, (_, reason))| Some((index, (*reason)?))).collect();
    assert_eq!(rejections(&answer), expected);
    let message = |index: usize| answer["rejections"][index]["message"].as_str().unwrap().to_owned();
    assert!(message(8).contains("unknown field `conections`"), "{}", message(8));
    assert!(message(2).contains("older than the pool's load_max_age"), "{}", message(2));

    let metrics = read(interface.address, "/metrics").body;
    for series in [
        r#"meridian_load_reports_total{source="api",outcome="accepted"} 4"#,
        r#"meridian_load_reports_total{source="api",outcome="malformed"} 4"#,
        r#"meridian_load_reports_total{source="api",outcome="unknown-endpoint"} 2"#,
        r#"meridian_load_reports_total{source="header",outcome="accepted"} 0"#,
        r#"meridian_endpoint_load{pool="web",region="us-east",endpoint="192.0.2.1",measure="connections"} 12"#,
        r#"meridian_endpoint_share{pool="web",region="us-east",endpoint="192.0.2.1"} 1"#,
    ] {
        assert!(metrics.contains(&format!("\n{series}\n")), "{series}\n{metrics}");
    }
    let report: HealthReport = serde_json::from_str(&read(interface.address, "/api/v1/health").body).unwrap();
    let shown = |endpoint: &str| report.endpoints.iter().find(|it| it.endpoint.endpoint == endpoint).unwrap();
    assert_eq!(shown("192.0.2.1").endpoint.load.connections, Some(12.0));
    assert!(shown("192.0.2.1").endpoint.load_seconds.is_some_and(|seconds| seconds < 10));
    assert_eq!(shown("www.example.com").endpoint.load.utilization, Some(0.25));
    assert_eq!(shown("192.0.2.2").endpoint.load_seconds, None);
}

#[test]
fn only_so_many_rejections_are_told() {
    let file = TokenFile::new("many-reports");
    let interface = Interface::start(Some(file.0.clone()));
    let (status, answer) = post_json(interface.address, &json!({"reports": vec![0; 10_000]}));
    assert_eq!((status, &answer["rejected"]), (422, &json!(10_000)));
    assert_eq!(answer["rejections"].as_array().unwrap().len(), 20);
    let (status, answer) = post_json(interface.address, &json!({"reports": vec![0; 10_001]}));
    assert_eq!(status, 413);
    assert!(answer["error"].as_str().unwrap().contains("more than 10000"), "{answer}");
    let (status, answer) = post_json(interface.address, &json!({"reports": []}));
    assert_eq!((status, &answer["accepted"]), (200, &json!(0)));
}

#[test]
fn what_may_not_write_is_told_why() {
    let open = Interface::start(None);
    let refused = post(open.address, "{}", "application/json");
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("token_file"), "{}", refused.body);

    let file = TokenFile::new("writers");
    let interface = Interface::start(Some(file.0.clone()));
    let address = interface.address;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let refused = post(address, "{\"reports\": []}", content_type);
        assert_eq!(refused.status, 415, "{content_type}");
    }
    assert_eq!(post(address, "{\"reports\": []}", "Application/JSON; charset=utf-8").status, 200);
    let unsigned = "POST /api/v1/reports HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                    Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(request(address, unsigned).status, 401);
    for body in ["", "{}", "[]", "{\"reports\": 1}", "{\"reports\": [NaN]}", "{\"reports\": [], \"more\": 1}", "\u{1}"]
    {
        let refused = post(address, body, "application/json");
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.body.contains("hint"), "{}", refused.body);
    }
    assert_eq!(post(address, &"[".repeat(1 << 20), "application/json").status, 400);
    let large = post(address, &" ".repeat((1 << 20) + 1), "application/json");
    assert_eq!(large.status, 413);
    assert!(large.body.contains("larger than 1 MiB"), "{}", large.body);
    let got = read(address, "/api/v1/reports");
    assert_eq!(got.status, 405);
    assert!(got.body.contains("use POST"), "{}", got.body);
    let metrics = read(address, "/metrics").body;
    let series = r#"meridian_load_reports_total{source="api",outcome="malformed"} 8"#;
    assert!(metrics.contains(series), "{metrics}");
}
