use std::time::{Duration, Instant};

use meridian::admin::view::{Explanation, Found, OutcomeKind, Question, ServiceDecision, Source};
use meridian::snapshot::Publisher;

use crate::support::{CONFIGURATION, observe, prepared, published};

const ALL: [&str; 5] = ["192.0.2.1", "192.0.2.2", "198.51.100.1", "198.51.100.2", "2001:db8::1"];

fn explain(publisher: &Publisher, name: &str, qtype: &str, client: &str, seed: u64, now: Instant) -> Explanation {
    let client = Some(client).filter(|client| !client.is_empty());
    let question = Question::parse(name, Some(qtype), client).unwrap();
    let (snapshot, health) = (publisher.current(), publisher.health().clone());
    Explanation::new(&snapshot, &health, Source::Server, &question, seed, now, 0)
}

fn decision(explanation: &Explanation) -> &ServiceDecision {
    let found = &explanation.steps.last().unwrap().found;
    let Found::Service(decision) = found else { panic!("no service decided: {found:?}") };
    decision
}

#[test]
fn says_why() {
    struct Case {
        name: &'static str,
        qtype: &'static str,
        client: &'static str,
        down: &'static [&'static str],
        reason: &'static str,
        ttl: &'static str,
        scope: u8,
    }
    let case = |name, qtype, client, down, reason, ttl, scope| Case { name, qtype, client, down, reason, ttl, scope };
    let steady = "60 s: the service's maximum, as no verdict here is near a change";
    let failover = "5 s: the service's minimum, as a region was passed over";
    let all_down = "as nothing is healthy";
    let cases = [
        case(
            "www.example.com",
            "A",
            "10.3.0.0/24",
            &["198.51.100.1"],
            "us-east is the region that claims the client by [[geoip.networks]]",
            steady,
            16,
        ),
        case("www.example.com", "A", "10.1.0.0/24", &[], "eu-central is the nearest region (422 km)", steady, 16),
        case(
            "www.example.com",
            "A",
            "10.3.0.0/24",
            &[],
            "us-east is the region that claims the client by [[geoip.networks]]",
            steady,
            16,
        ),
        case(
            "www.example.com",
            "A",
            "10.4.0.0/24",
            &[],
            "us-east is the region that claims the client by country AT",
            steady,
            14,
        ),
        case(
            "www.example.com",
            "A",
            "",
            &[],
            "us-east is the first region in the file's order (the client's location is unknown)",
            steady,
            0,
        ),
        case(
            "www.example.com",
            "A",
            "10.1.0.0/24",
            &["198.51.100.1"],
            "us-east is the nearest region (6728 km) with enough healthy endpoints; passed over: web/eu-central (0 of 1 healthy)",
            failover,
            16,
        ),
        case(
            "www.example.com",
            "A",
            "10.1.0.0/24",
            &ALL,
            "ap-southeast is the nearest region (16096 km) of the failover pool spare with enough healthy endpoints; passed \
             over: web/eu-central (0 of 1 healthy), web/us-east (0 of 2 healthy)",
            failover,
            16,
        ),
        case("www.example.com", "AAAA", "10.1.0.0/24", &[], "eu-central is the nearest region (422 km)", steady, 16),
        case(
            "open.example.com",
            "A",
            "10.1.0.0/24",
            &ALL,
            "eu-central is the nearest region (422 km) with endpoints at all: nothing is healthy, so all are answered as \
             though they were (when_all_down is serve-all, failing open)",
            all_down,
            16,
        ),
        case(
            "last.example.com",
            "A",
            "10.1.0.0/24",
            &ALL,
            "nothing is healthy, so the addresses of last_resort are answered (when_all_down is last-resort); passed over: \
             web/eu-central (0 of 1 healthy), web/us-east (0 of 2 healthy)",
            all_down,
            0,
        ),
        case(
            "last.example.com",
            "AAAA",
            "",
            &ALL,
            "nothing is healthy, and last_resort has no IPv6 address; passed over: web/eu-central (0 of 1 healthy)",
            "the zone's SOA",
            0,
        ),
        case(
            "silent.example.com",
            "A",
            "",
            &ALL,
            "nothing is healthy, and the operator wants silence then (when_all_down is nodata); passed over: web/us-east \
             (0 of 2 healthy), web/eu-central (0 of 1 healthy)",
            "the zone's SOA",
            0,
        ),
        case(
            "off.example.com",
            "AAAA",
            "",
            &[],
            "the service has no IPv6 endpoint at all: no data, whatever happens",
            "the zone's SOA",
            0,
        ),
        case(
            "off.example.com",
            "A",
            "",
            &[],
            "no IPv4 endpoint may serve, as all are disabled, draining or of weight 0, or their regions are",
            "the zone's SOA",
            0,
        ),
        case(
            "pairs.example.com",
            "A",
            "10.1.0.0/24",
            &["198.51.100.1"],
            "us-east is the first region in the service's order with enough healthy endpoints; passed over: \
             pairs/eu-central (1 of 2 healthy, 2 wanted)",
            "as a region was passed over",
            0,
        ),
        case(
            "pairs.example.com",
            "A",
            "10.1.0.0/24",
            &["198.51.100.1", "192.0.2.1"],
            "eu-central is the first region in the service's order with any healthy endpoint, as none has as many as wanted",
            "as fewer endpoints are healthy than wanted",
            0,
        ),
        case(
            "drawn.example.com",
            "A",
            "10.1.0.0/24",
            &["192.0.2.1", "192.0.2.2"],
            "eu-central is drawn by weight among the regions with enough healthy endpoints; passed over: web/us-east (0 of 2 healthy)",
            "as a region was passed over",
            0,
        ),
    ];
    for Case { name, qtype, client, down, reason, ttl, scope } in cases {
        let now = Instant::now();
        let publisher = published(down, now);
        let explanation = explain(&publisher, name, qtype, client, 7, now);
        let decision = decision(&explanation);
        let which = format!("{name} {qtype} for {client:?} with {down:?} down");
        assert_eq!(decision.reason, reason, "{which}");
        let whole_ttl = format!("{} s: {}", decision.ttl, decision.ttl_reason);
        assert!(whole_ttl.contains(ttl), "{which}: {whole_ttl}");
        assert_eq!(decision.scope, scope, "{which}");
    }
}

#[test]
fn a_ttl_near_a_change_of_verdict_says_so() {
    let now = Instant::now();
    let publisher = published(&[], now);
    observe(&publisher, &["198.51.100.1"], 1, now);
    let explanation = explain(&publisher, "www.example.com", "A", "10.1.0.0/16", 0, now);
    let decision = decision(&explanation);
    assert_eq!((decision.ttl, decision.ttl_reason.as_str()), (10, "shorter, as a verdict may change in 10 s"));
}

/// What is shown as decided is what is answered, and asking changes nothing.
#[test]
fn the_decision_is_the_answers() {
    let names = ["www", "open", "last", "silent", "pairs", "drawn", "off", "x.apps"];
    let now = Instant::now();
    for down in [&[][..], &["198.51.100.1"], &["192.0.2.1", "198.51.100.1"], &ALL] {
        let publisher = published(down, now);
        let before = explain(&publisher, "pairs.example.com", "A", "", 0, now);
        for (name, qtype, client, seed) in names.iter().flat_map(|name| {
            ["A", "AAAA", "MX"].into_iter().flat_map(move |qtype| {
                ["10.1.2.0/24", "10.2.0.0/16", "10.3.0.1", "2001:db8::/32", ""]
                    .into_iter()
                    .flat_map(move |client| (0..8).map(move |seed| (name, qtype, client, seed)))
            })
        }) {
            let explanation = explain(&publisher, &format!("{name}.example.com"), qtype, client, seed, now);
            let which = format!("{name} {qtype} for {client:?} with {down:?} down, seed {seed}:\n{explanation}");
            let mut decided = Vec::new();
            let mut scope = 0;
            for step in &explanation.steps {
                let Found::Service(decision) = &step.found else { continue };
                decided.extend(decision.answered.iter().map(|answered| (answered.clone(), decision.ttl)));
                scope = scope.max(decision.scope);
                let groups = decision.tiers.iter().flat_map(|tier| &tier.groups);
                let marked = groups.flat_map(|group| &group.endpoints).filter(|endpoint| endpoint.answered).count();
                let has_endpoints = matches!(decision.outcome, OutcomeKind::Endpoints | OutcomeKind::FailOpen);
                assert_eq!(marked, if has_endpoints { decision.answered.len() } else { 0 }, "{which}");
            }
            let answered: Vec<_> = explanation
                .answer
                .answer
                .iter()
                .map(|record| (record.data.trim_end_matches('.').to_owned(), record.ttl))
                .collect();
            assert_eq!(decided, answered, "{which}");
            let echoed =
                explanation.answer.client_subnet.as_deref().map(|subnet| subnet.rsplit('/').next().unwrap().to_owned());
            assert_eq!(echoed, client.contains('/').then(|| scope.to_string()), "{which}");
            let json = serde_json::to_string(&explanation).unwrap();
            let read: Explanation = serde_json::from_str(&json).unwrap_or_else(|problem| panic!("{problem}: {json}"));
            assert_eq!(read.to_string(), explanation.to_string());
        }
        assert_eq!(explain(&publisher, "pairs.example.com", "A", "", 0, now), before, "a rotation moved on");
        let snapshot = publisher.current();
        let counted: u64 =
            snapshot.compiled.services.iter().flat_map(|service| &service.tallies).map(|tally| tally.sum()).sum();
        assert_eq!(counted, 0, "an explanation was counted");
    }
}

#[test]
fn shares_are_of_those_that_may_be_drawn() {
    let now = Instant::now();
    let shares = |down: &[&str], name: &str, client: &str| {
        let explanation = explain(&published(down, now), name, "A", client, 1, now);
        let decision = decision(&explanation);
        let mut shares = Vec::new();
        for group in decision.tiers.iter().flat_map(|tier| &tier.groups) {
            shares.extend(group.share_percent.map(|percent| format!("{} {percent:.1}", group.region)));
            for endpoint in &group.endpoints {
                shares.extend(
                    endpoint.share_percent.map(|percent| format!("{} {percent:.1}", endpoint.endpoint.endpoint)),
                );
            }
        }
        shares.join(", ")
    };
    assert_eq!(shares(&[], "www.example.com", "10.3.0.0/16"), "192.0.2.1 75.0, 192.0.2.2 25.0");
    assert_eq!(shares(&["192.0.2.2"], "www.example.com", "10.3.0.0/16"), "192.0.2.1 100.0");
    assert_eq!(shares(&[], "open.example.com", "10.3.0.0/16"), "192.0.2.1 50.0, 192.0.2.2 50.0");
    assert!(shares(&[], "drawn.example.com", "").starts_with("us-east 25.0, "));
    assert!(shares(&[], "drawn.example.com", "").contains("eu-central 75.0"));
}

#[test]
fn names_that_no_service_decides() {
    let now = Instant::now();
    let publisher = published(&[], now);
    for (name, qtype, expected) in [
        ("example.net", "A", "is in no zone that is served here"),
        ("example.com", "A", "is the apex of the zone example.com, with static records: NS SOA"),
        ("nowhere.example.com", "A", "nowhere.example.com does not exist in the zone example.com"),
        ("apps.example.com", "A", "is in the zone example.com, without records of its own (names below it exist)"),
        (
            "www.example.com",
            "MX",
            "is in the zone example.com; the service www.example.com decides its A and AAAA only",
        ),
    ] {
        let text = explain(&publisher, name, qtype, "", 0, now).to_string();
        assert!(text.contains(expected), "{text}");
    }
    // A hostname is an alias for every type; the one here leads to another service, or away.
    let inside = explain(&publisher, "a.apps.example.com", "A", "10.3.0.0/16", 0, now);
    assert_eq!(
        inside.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(),
        ["a.apps.example.com", "www.example.com"]
    );
    assert!(inside.to_string().contains("a.apps.example.com is covered by the service *.apps.example.com"), "{inside}");
    let away = explain(&publisher, "a.apps.example.com", "A", "10.1.0.0/16", 0, now);
    assert_eq!(away.steps.last().unwrap().found, Found::NotServed, "{away}");
}

#[test]
fn from_a_file_all_health_is_unknown() {
    let publisher = Publisher::new(prepared(CONFIGURATION).1.compiled);
    let question = Question::parse("www.example.com", None, None).unwrap();
    let (snapshot, health) = (publisher.current(), publisher.health().clone());
    let text = Explanation::new(&snapshot, &health, Source::File, &question, 0, Instant::now(), 0).to_string();
    assert!(text.contains("Health    unknown: this is read from a file, so every endpoint counts as up"), "{text}");
    assert!(text.contains("192.0.2.1  weight 3, unknown, so counts as up; picked first in 75.0 %"), "{text}");
}

/// The whole text once, as an operator sees it.
#[test]
fn the_text() {
    let then = Instant::now();
    let publisher = published(&["198.51.100.1"], then);
    let now = then + Duration::from_secs(150);
    let text = explain(&publisher, "www.example.com", "A", "10.1.2.0/24", 7, now).to_string();
    let expected = "\
Question  www.example.com A
Client    10.1.2.0/24, as the resolver names it (EDNS client subnet)
Location  52.50 13.40 (by [[geoip.networks]], 10.1.0.0/16)
Server    generation 7

www.example.com is the service www.example.com in the zone example.com
  steering proximity, balance weighted, answers 1, when all is down serve-all; IPv4 wanted

  Regions, in this client's order
     1. eu-central      422 km
     2. us-east        6728 km
     3. ap-southeast  16096 km, counts as 8048 km by its bias

  Pool web, which needs 1 healthy in a region
      eu-central: 0 of 1 healthy, passed over
        198.51.100.1  weight 1, down for 2 min (198.51.100.1: connection refused, 2 min ago)
        198.51.100.2  weight 1, draining, up for 2 min (ok in 4.0ms, 2 min ago)
        2001:db8::1   is of the other address family
   => us-east: 2 of 2 healthy, chosen
        192.0.2.1  weight 3, up for 2 min (ok in 4.0ms, 2 min ago); picked first in 75.0 %
        192.0.2.2  weight 1, up for 2 min (ok in 4.0ms, 2 min ago); picked first in 25.0 %  <- answered

  Failover pool spare, which needs 1 healthy in a region
      ap-southeast: 1 of 1 healthy, not needed
        203.0.113.1  weight 1, not probed, so up

  Filter
    fence     none
    claims    none
    measure   proximity: eu-central 422 km, us-east 6728 km, ap-southeast 16096 km as 8048 km
    capacity  none
    health    the first that can serve: eu-central 0 of 1 passed over; us-east 2 of 2 chosen

  Decision  us-east is the nearest region (6728 km) with enough healthy endpoints; passed over: web/eu-central (0 of 1 healthy)
  Answered  192.0.2.2: drawn at random by weight; this is one draw, and the next may differ
  TTL       5 s: the service's minimum, as a region was passed over
  Scope     16: holds for 10.1.0.0/16

Answer
  ;; NOERROR, flags: qr aa
  ;; CLIENT-SUBNET: 10.1.2.0/24/16
  ;; ANSWER
  www.example.com. 5 IN A 192.0.2.2
";
    assert_eq!(text, expected);
}
