//! What is expected of the body of a response.

use meridian::config::{BodyRegex, ExpectedField, FieldValue};

use super::*;

fn field(path: &str, is: impl Into<serde_json::Value>) -> Option<ExpectedField> {
    let is = match is.into() {
        serde_json::Value::String(text) => FieldValue::Text(text),
        serde_json::Value::Number(number) => FieldValue::Number(number),
        serde_json::Value::Bool(value) => FieldValue::Boolean(value),
        other => panic!("{other}"),
    };
    Some(ExpectedField { path: path.into(), is })
}

fn regex(text: &str) -> Option<BodyRegex> {
    Some(BodyRegex::new(text).unwrap())
}

fn with_body(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn said(check: HttpCheck) -> String {
    let observation = probe(&key(Check::Http(check), loopback(), Duration::from_millis(1_500))).await;
    assert!(observation.took < Duration::from_millis(1_500) + SLACK);
    observation.outcome.map_or_else(|failure| failure.to_string(), |()| "ok".into())
}

#[tokio::test]
async fn a_body_matches_an_expression() {
    let padded = |padding: usize| with_body(&format!("{}state=ok", "x".repeat(padding)));
    for (sent, expression, expected) in [
        (with_body("state=ok"), "^state=(ok|warm)$", "ok"),
        (with_body("STATE=Warm\n"), "(?i)state=(ok|warm)\\b", "ok"),
        (with_body("state=bad"), "state=(ok|warm)", "body does not match \"state=(ok|warm)\" in its first 9 bytes"),
        (with_body("state=ok "), "^state=ok$", "body does not match \"^state=ok$\" in its first 9 bytes"),
        (padded(65_536 - 8), "state=ok", "ok"),
        (padded(65_536 - 7), "state=ok", "body does not match \"state=ok\" in its first 65536 bytes"),
        // What is no UTF-8 is matched all the same.
        ("HTTP/1.1 200 OK\r\n\r\n\u{e9}=ok".replace('\u{e9}', "\u{1b}["), "=ok$", "ok"),
        (with_body(""), "^$", "ok"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nstate=ok".into(),
            "state=ok",
            "body broke off before what is expected",
        ),
        // However it is made, its time is linear in the body.
        (with_body(&"a".repeat(65_536)), "(a*)*(a*)*b", "body does not match"),
    ] {
        let server = Server::start(Behaviour::send(&sent)).await;
        let said = said(HttpCheck { expect_body_regex: regex(expression), ..server.check() }).await;
        assert!(said.starts_with(expected), "{expression}: {said}");
    }
}

#[tokio::test]
async fn a_field_of_a_body_is_what_is_expected() {
    let body =
        r#"{"status": {"db": "ok", "queue": 3, "load": 1.5, "ready": true, "none": null}, "nodes": [{"up": false}]}"#;
    for (expectation, expected) in [
        (field("status.db", "ok"), "ok"),
        (field("status.queue", 3), "ok"),
        (field("status.queue", 3.0), "ok"),
        (field("status.load", 1.5), "ok"),
        (field("status.ready", true), "ok"),
        (field("nodes.0.up", false), "ok"),
        (field("status.db", "down"), "field status.db is \"ok\" (expected \"down\")"),
        (field("status.queue", "3"), "field status.queue is 3 (expected \"3\")"),
        (field("status.queue", 4), "field status.queue is 3 (expected 4)"),
        (field("status.ready", "true"), "field status.ready is true (expected \"true\")"),
        (field("status.none", false), "field status.none is null (expected false)"),
        (field("status.cache", "ok"), "body has no field status.cache (expected \"ok\")"),
        (field("nodes.1.up", false), "body has no field nodes.1.up (expected false)"),
    ] {
        let server = Server::start(Behaviour::send(&with_body(body))).await;
        assert_eq!(said(HttpCheck { expect_field: expectation, ..server.check() }).await, expected);
    }
    for (sent, expected) in [
        (with_body("state=ok"), "body is no JSON (8 bytes were read)".to_owned()),
        (with_body(&format!("{}{body}", " ".repeat(65_536))), "body is no JSON (65536 bytes were read)".to_owned()),
        (with_body(&"[".repeat(60_000)), "body is no JSON (60000 bytes were read)".to_owned()),
        (with_body(r#"{"status": {"db": "ok"}"#), "body is no JSON (23 bytes were read)".to_owned()),
    ] {
        let server = Server::start(Behaviour::send(&sent)).await;
        assert_eq!(said(HttpCheck { expect_field: field("status.db", "ok"), ..server.check() }).await, expected);
    }
}

#[tokio::test]
async fn all_that_is_expected_must_be_there() {
    let server = Server::start(Behaviour::send(&with_body(r#"{"state": "ok", "node": "a1"}"#))).await;
    let check = |text: &str, expression: &str, state: &str| HttpCheck {
        expect_body: Some(text.into()),
        expect_body_regex: regex(expression),
        expect_field: field("state", state),
        ..server.check()
    };
    assert_eq!(said(check("node", "a[0-9]", "ok")).await, "ok");
    assert!(said(check("mode", "a[0-9]", "ok")).await.starts_with("body lacks"));
    assert!(said(check("node", "b[0-9]", "ok")).await.starts_with("body does not match"));
    assert!(said(check("node", "a[0-9]", "bad")).await.starts_with("field state is"));
}

#[tokio::test]
async fn a_body_without_end_is_bounded_in_size_and_time() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n";
    let flood = Server::start(Behaviour::Flood(head)).await;
    let drip = Server::start(Behaviour::Drip(b"HTTP/1.1 200 OK\r\n\r\n")).await;
    let by_regex = |server: &Server| HttpCheck { expect_body_regex: regex("all good"), ..server.check() };
    let by_field = |server: &Server| HttpCheck { expect_field: field("state", "ok"), ..server.check() };
    assert_eq!(said(by_regex(&flood)).await, "body does not match \"all good\" in its first 65536 bytes");
    assert_eq!(said(by_field(&flood)).await, "body is no JSON (65536 bytes were read)");
    for check in [by_regex(&drip), by_field(&drip)] {
        assert_eq!(said(check).await, "timed out after 1500 ms while reading the body");
    }
}
