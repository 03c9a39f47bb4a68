use meridian::admin::view::HealthReport;
use serde_json::{Value, json};

use crate::http::{Interface, TokenFile};
use crate::support::{read, send_json};

#[test]
fn words_are_taken_shown_and_taken_back() {
    let file = TokenFile::new("overrides");
    let interface = Interface::start(Some(file.0.clone()));
    let server = interface.address;
    let word = |subject: &str, word: &str| json!({"subject": subject, "word": word, "reason": " r ", "author": "me"});
    let (status, answer) =
        send_json(server, "POST /api/v1/overrides", &word("endpoint/web/eu-central/2001:DB8::1", "down"));
    assert_eq!((status, &answer["kept_in"]), (200, &Value::Null), "{answer}");
    let none_out = json!({"disabled": 0, "draining": 0, "weight_zero": 0, "services": []});
    assert_eq!((&answer["still_out"], &answer["outranked"]), (&none_out, &json!(0)), "{answer}");
    let said = &answer["override"];
    assert_eq!((&said["subject"], &said["endpoints"]), (&json!("endpoint/web/eu-central/2001:db8::1"), &json!(1)));
    assert_eq!((&said["reason"], &said["expires"]), (&json!("r"), &Value::Null));
    let mut timed = word("service/www.example.com", "disable");
    timed["expires_seconds"] = json!(60);
    let (status, answer) = send_json(server, "POST /api/v1/overrides", &timed);
    let said = &answer["override"];
    assert_eq!(status, 200, "{answer}");
    assert_eq!(said["expires"].as_u64().unwrap(), said["since"].as_u64().unwrap() + 60);
    assert_eq!(send_json(server, "POST /api/v1/overrides", &word("region/us-east", "drain")).0, 200);

    let listed: Value = serde_json::from_str(&read(server, "/api/v1/overrides").body).unwrap();
    let words: Vec<&str> =
        listed["overrides"].as_array().unwrap().iter().map(|said| said["word"].as_str().unwrap()).collect();
    assert_eq!(words, ["down", "drain", "disable"]);
    let report: HealthReport = serde_json::from_str(&read(server, "/api/v1/health").body).unwrap();
    let endpoint = |address: &str| {
        let placed = report.endpoints.iter().find(|placed| placed.endpoint.endpoint == address).unwrap();
        let words: Vec<&str> = placed.endpoint.overrides.iter().map(|word| word.name()).collect();
        format!("{} {} {}", placed.endpoint.state, placed.endpoint.verdict, words.join(","))
    };
    assert_eq!(endpoint("2001:db8::1"), "enabled down down");
    assert_eq!(endpoint("192.0.2.1"), "draining unknown drain");
    assert_eq!(endpoint("198.51.100.1"), "enabled unknown ");
    let metrics = read(server, "/metrics").body;
    for (word, count) in [("up", 0), ("down", 1), ("drain", 1), ("disable", 1)] {
        assert!(metrics.contains(&format!("meridian_overrides{{word=\"{word}\"}} {count}\n")), "{metrics}");
    }
    let explained = read(server, "/api/v1/explain?name=www.example.com&type=AAAA&client=10.1.0.0/16").body;
    assert!(!explained.contains("\"answer\":[{"), "{explained}");

    let clear = json!({"subject": "service/WWW.example.com.", "author": "you", "reason": "over"});
    assert_eq!(send_json(server, "DELETE /api/v1/overrides", &clear).0, 200);
    assert_eq!(send_json(server, "DELETE /api/v1/overrides", &clear).0, 404);
    let resume = json!({"subject": "pool/web", "reason": "repaired", "author": "me"});
    assert_eq!(send_json(server, "POST /api/v1/resume", &resume), (200, json!({"targets": 0})));
    let audit: Value = serde_json::from_str(&read(server, "/api/v1/overrides/audit").body).unwrap();
    let events: Vec<&str> =
        audit["records"].as_array().unwrap().iter().map(|record| record["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["set", "set", "set", "clear", "resume"]);
    let last = &audit["records"][4];
    assert_eq!(
        (&last["subject"], &last["reason"], &last["author"]),
        (&json!("pool/web"), &json!("repaired"), &json!("me"))
    );
}

#[test]
fn a_word_that_others_outrank_says_so() {
    let file = TokenFile::new("overrides-outranked");
    let interface = Interface::start(Some(file.0.clone()));
    let say = |word: &str, subject: &str| {
        let body = json!({"subject": subject, "word": word, "reason": "r", "author": "me"});
        let (status, answer) = send_json(interface.address, "POST /api/v1/overrides", &body);
        assert_eq!(status, 200, "{answer}");
        (answer["outranked"].as_u64().unwrap(), answer["still_out"]["services"].clone())
    };
    let (none, www) = (json!([]), json!(["www.example.com"]));
    assert_eq!(say("down", "endpoint/web/us-east/192.0.2.1"), (0, none.clone()));
    assert_eq!(say("down", "region/us-east"), (0, none.clone()), "it says the same");
    assert_eq!(say("up", "pool/web"), (1, none.clone()));
    assert_eq!(say("down", "region/us-east"), (1, none.clone()), "192.0.2.2 goes by its pool");
    assert_eq!(say("up", "service/www.example.com"), (1, none.clone()));
    assert_eq!(say("disable", "service/www.example.com"), (0, none.clone()), "no verdict");
    assert_eq!(say("up", "endpoint/web/us-east/192.0.2.1"), (0, www));
    assert_eq!(say("down", "endpoint/web/us-east/192.0.2.1"), (0, none), "that nobody is sent there is meant");
}

#[test]
fn what_makes_no_sense_is_refused_with_what_to_do() {
    let file = TokenFile::new("overrides-bad");
    let interface = Interface::start(Some(file.0.clone()));
    let with = |key: &str, value: Value| {
        let mut body = json!({"subject": "pool/web", "word": "down", "reason": "r", "author": "me"});
        body[key] = value;
        body
    };
    let long = "a".repeat(501);
    for (body, status, error) in [
        (with("subject", json!("pool/wbe")), 422, "no endpoint in the configuration belongs to pool/wbe"),
        (with("subject", json!("endpoint/web/us-east/198.51.100.1")), 422, "no endpoint"),
        (with("subject", json!("service/example.com")), 422, "no endpoint"),
        (with("subject", json!("web")), 400, "`endpoint/POOL/REGION/ADDRESS`"),
        (with("word", json!("off")), 400, "unknown variant `off`"),
        (with("reason", json!("  ")), 400, "`reason` is empty"),
        (with("reason", json!(long)), 400, "one line of at most 500 octets"),
        (with("reason", json!("two\nlines")), 400, "one line"),
        (with("author", json!("")), 400, "`author` is empty"),
        (with("expires", json!(1)), 400, "over already"),
        (with("expires_seconds", json!(0)), 400, "over already"),
        (with("expires_seconds", json!(-1)), 400, "can't be read"),
        (with("until", json!(1)), 400, "unknown field `until`"),
        (json!([]), 400, "can't be read"),
    ] {
        let (given, answer) = send_json(interface.address, "POST /api/v1/overrides", &body);
        assert_eq!(given, status, "{body}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(error), "{body}: {answer}");
    }
    assert_eq!(send_json(interface.address, "PUT /api/v1/overrides", &json!({})).0, 405);
    assert!(read(interface.address, "/api/v1/overrides").body.contains("\"overrides\":[]"));

    let open = Interface::start(None);
    let (status, answer) = send_json(open.address, "POST /api/v1/overrides", &with("word", json!("up")));
    assert_eq!(status, 403, "{answer}");
    assert_eq!(
        send_json(open.address, "DELETE /api/v1/overrides", &json!({"subject": "pool/web", "author": "me"})).0,
        403
    );
}
