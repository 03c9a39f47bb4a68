//! What operators say, and whom services answer with then.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian::admin::view::{Explanation, Found, Part, Question, Source};
use meridian::config::Target;
use meridian::dns::{MAX_TCP_RESPONSE, Transport, WorkerContext, respond};
use meridian::health::overrides::{Override, Overrides, Word};
use meridian::health::{Details, Failure, Hold, Observation, Verdict};
use meridian::reload::{Loader, Origin};
use meridian::routing::{Draw, Family, Outcome, decide};
use meridian::snapshot::{Compiled, Publisher};

const NOW: u32 = 1_795_316_400;
/// Of every endpoint.
const DRAIN_SECONDS: u32 = 600;

/// In pool web .1 and .2 are near, .3 is far, .4 is disabled and near; .9 is spare.
const CONFIGURATION: &str = r#"
[server]
listen = ["127.0.0.1:0"]
[zones."example.com"]
nameservers = ["ns.example.net"]
[regions.near]
location = [0, 0]
[regions.far]
location = [0, 90]
[probes.tcp]
type = "tcp"
port = 80
fall = 1
rise = 1
[pools.web]
probe = "tcp"
drain_time = "10m"
endpoints = [
  { region = "near", address = "192.0.2.1" },
  { region = "near", address = "192.0.2.2" },
  { region = "far", address = "192.0.2.3" },
  { region = "near", address = "192.0.2.4", state = "disabled" },
]
[pools.web.breaker]
failures = 1
open_for = "10m"
[pools.spare]
endpoints = [{ region = "far", address = "192.0.2.9" }]
[services."plain.example.com"]
pool = "web"
failover = ["spare"]
answers = 4
when_all_down = "nodata"
[services."sticky.example.com"]
pool = "web"
failover = ["spare"]
answers = 4
sticky = true
[services."open.example.com"]
pool = "web"
answers = 4
"#;

fn compiled(text: &str) -> Compiled {
    let loaded = Loader::new(Origin::Embedded(text.to_owned())).load();
    loaded.unwrap_or_else(|problems| panic!("{problems}")).compiled
}

/// A publisher of which the endpoints with these last octets are found to be down, and all others up.
fn publisher(down: &[u8]) -> (Publisher, Instant) {
    let start = Instant::now();
    let publisher = Publisher::starting_at(compiled(CONFIGURATION), start, NOW);
    observe(&publisher, down, start);
    (publisher, start)
}

fn observe(publisher: &Publisher, down: &[u8], now: Instant) {
    for key in publisher.health().keys() {
        let Target::Address(IpAddr::V4(address)) = key.target else { panic!("IPv4 addresses are probed") };
        let outcome = if down.contains(&address.octets()[3]) { Err(Failure::Refused) } else { Ok(()) };
        let took = Duration::from_millis(1);
        publisher.observe([(key, Observation { took, address: None, outcome, details: Details::default() })], now);
    }
}

/// `word subject, …`, said at [`NOW`].
fn overrides(texts: &str) -> Arc<Overrides> {
    let mut overrides = Overrides::default();
    for text in texts.split(", ").filter(|text| !text.is_empty()) {
        let (word, subject) = text.split_once(' ').unwrap();
        let word = Word::ALL.into_iter().find(|known| known.name() == word).unwrap();
        let (reason, author) = ("because".to_owned(), "me".to_owned());
        let subject = subject.parse().unwrap();
        overrides.set(Override { subject, word, reason, author, since: NOW.into(), expires: None }).unwrap();
    }
    Arc::new(overrides)
}

/// The last octets of what each service answers with, in order: `plain/sticky/open`.
fn answered(publisher: &Publisher) -> String {
    let snapshot = publisher.current();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds: NOW };
    let client: IpAddr = "198.51.100.1".parse().unwrap();
    let of_service = |service| {
        let decision = decide(&snapshot, service, client, Family::V4, &mut draw);
        let mut octets = Vec::new();
        let push = |address: &[u8]| {
            octets.push(address[3]);
            Ok::<(), ()>(())
        };
        decision.outcome.try_for_each_address(Family::V4, push).unwrap();
        assert_eq!(octets.is_empty(), matches!(decision.outcome, Outcome::NoData));
        octets.sort_unstable();
        octets.iter().map(ToString::to_string).collect::<String>()
    };
    let answers: Vec<String> = snapshot.compiled.services.iter().map(of_service).collect();
    answers.join("/")
}

#[test]
fn words_decide_who_is_answered() {
    for (down, texts, expected) in [
        (&[][..], "", "12/12/12"),
        (&[], "down endpoint/web/near/192.0.2.1", "2/2/2"),
        (&[], "down region/near", "3/3/3"),
        (&[], "down pool/web", "9/9/12"),
        (&[], "down pool/web, up region/far", "9/9/12"),
        (&[], "down pool/web, up endpoint/web/far/192.0.2.3", "3/3/3"),
        (&[1, 2], "", "3/3/3"),
        // The breaker is open too.
        (&[1, 2], "up endpoint/web/near/192.0.2.2", "2/2/2"),
        (&[1, 2, 3], "up region/near", "12/12/12"),
        (&[], "drain region/near", "3/12/3"),
        (&[], "disable region/near", "3/3/3"),
        (&[], "disable pool/web", "9/9/"),
        (&[], "drain pool/web, disable endpoint/web/near/192.0.2.1", "9/2/"),
        (&[], "up endpoint/web/near/192.0.2.4", "12/12/12"),
        (&[], "up endpoint/web/near/192.0.2.1, disable region/near", "3/3/3"),
        (&[], "down service/plain.example.com", "/12/12"),
        (&[], "down service/sticky.example.com", "12/12/12"),
        (&[], "disable service/open.example.com", "12/12/"),
        (&[], "drain service/sticky.example.com, drain service/plain.example.com", "/12/12"),
        (&[1, 2, 3], "up service/open.example.com", "9/9/12"),
        (&[], "up endpoint/web/near/192.0.2.1, down service/plain.example.com", "1/12/12"),
        (&[], "down pool/web, up service/plain.example.com", "9/9/12"),
        (&[], "down region/nowhere, disable pool/nothing, down service/no.example.com", "12/12/12"),
    ] {
        let (publisher, start) = publisher(down);
        publisher.obey(&overrides(texts), start);
        assert_eq!(answered(&publisher), expected, "{down:?} down, {texts}");
        // A reload keeps it, and so do further observations.
        publisher.replace(compiled(&format!("{CONFIGURATION}\n# again\n")));
        assert_eq!(answered(&publisher), expected, "after a reload: {down:?} down, {texts}");
        observe(&publisher, down, start + Duration::from_secs(1));
        publisher.tick(start + Duration::from_secs(1), NOW + 1);
        assert_eq!(answered(&publisher), expected, "later: {down:?} down, {texts}");
        publisher.obey(&Arc::default(), start + Duration::from_secs(2));
        let before = if down.contains(&3) {
            "9/9/12"
        } else if down.is_empty() {
            "12/12/12"
        } else {
            "3/3/3"
        };
        assert_eq!(answered(&publisher), before, "when they are taken back: {texts}");
        assert!(!publisher.current().live.has_own());
    }
}

#[test]
fn a_drain_ends_for_those_who_stuck() {
    for texts in ["drain region/near", "drain service/sticky.example.com"] {
        let (publisher, start) = publisher(&[]);
        publisher.obey(&overrides(texts), start);
        let after = |seconds: u32| {
            publisher.tick(start + Duration::from_secs(seconds.into()), NOW + seconds);
            answered(&publisher).split('/').nth(1).unwrap().to_owned()
        };
        assert_eq!(after(DRAIN_SECONDS - 1), "12", "{texts}");
        let generation = publisher.current().generation;
        assert_eq!(after(DRAIN_SECONDS - 1), "12", "{texts}");
        assert_eq!(publisher.current().generation, generation, "{texts}: nothing changes meanwhile");
        assert_eq!(after(DRAIN_SECONDS), if texts.contains("region") { "3" } else { "" }, "{texts}");
    }
}

#[test]
fn what_changes_for_a_service_alone_follows_health() {
    let (publisher, start) = publisher(&[]);
    publisher.obey(&overrides("up service/plain.example.com"), start);
    observe(&publisher, &[1], start);
    assert_eq!(answered(&publisher), "12/2/2");
    publisher.obey(&overrides("drain service/plain.example.com"), start);
    assert_eq!(answered(&publisher), "/2/2");
    publisher.obey(&overrides("down endpoint/web/near/192.0.2.2, up service/plain.example.com"), start);
    assert_eq!(answered(&publisher), "1/3/3");
}

#[test]
fn what_was_held_down_is_resumed() {
    let held = CONFIGURATION
        .replace("rise = 1", "rise = 1\nmanual_resume = true")
        .replace("[pools.web.breaker]\nfailures = 1\nopen_for = \"10m\"\n", "");
    let start = Instant::now();
    let publisher = Publisher::starting_at(compiled(&held), start, NOW);
    observe(&publisher, &[1, 2], start);
    observe(&publisher, &[2], start);
    assert_eq!(answered(&publisher), "3/3/3");
    let resume = |subject: &str| publisher.resume(&subject.parse().unwrap(), start);
    assert_eq!(resume("region/far").0, 0);
    let (targets, events) = resume("region/near");
    assert_eq!((targets, events.len()), (2, 1));
    assert_eq!(answered(&publisher), "1/1/1");
    observe(&publisher, &[], start);
    assert_eq!(answered(&publisher), "12/12/12");
    assert_eq!(resume("pool/web").0, 0);
}

#[test]
fn verdicts_from_before_a_restart_hold_until_probes_say_otherwise() {
    let restored = |verdict| meridian::health::table::Restored { verdict, held: Duration::from_secs(60), score: 1.0 };
    let start = Instant::now();
    let publisher = Publisher::starting_at(compiled(CONFIGURATION), start, NOW);
    let is_first = |key: &meridian::health::TargetKey| key.target.to_string() == "192.0.2.1";
    let count = publisher.restore(|key| Some(restored(if is_first(key) { Verdict::Down } else { Verdict::Up })), start);
    assert_eq!(count, publisher.health().targets().len());
    assert_eq!(answered(&publisher), "2/2/2");
    assert!(publisher.health().endpoints().all().iter().all(|known| known.warmth(start) == 16));
    observe(&publisher, &[], start);
    assert_eq!(answered(&publisher), "12/12/12");
}

#[test]
fn a_word_on_a_service_is_published_once() {
    let (publisher, start) = publisher(&[]);
    let generation = || publisher.current().generation;
    let texts = "down service/plain.example.com, drain service/sticky.example.com";
    publisher.obey(&overrides(texts), start);
    let before = generation();
    for second in 1..10 {
        publisher.tick(start + Duration::from_secs(second.into()), NOW + second);
    }
    assert_eq!(generation(), before);
    // A word on an endpoint is published with what it does to these services.
    publisher.obey(&overrides(&format!("{texts}, down endpoint/web/near/192.0.2.1")), start);
    assert_eq!((generation(), answered(&publisher).as_str()), (before + 1, "/2/2"));
    // Where the clock is set back, a drain that was over isn't.
    publisher.tick(start, NOW + DRAIN_SECONDS);
    assert_eq!((generation(), answered(&publisher).as_str()), (before + 2, "//2"));
    publisher.tick(start, NOW);
    assert_eq!((generation(), answered(&publisher).as_str()), (before + 3, "/2/2"));
}

#[test]
fn explanations_tell_of_words_on_services() {
    let (publisher, start) = publisher(&[2]);
    let explained = |texts: &str| {
        publisher.obey(&overrides(texts), start);
        let question = Question::parse("plain.example.com", None, Some("198.51.100.1")).unwrap();
        let (snapshot, health) = publisher.current_with_health();
        let explanation = Explanation::new(&snapshot, &health, Source::Server, &question, 1, start, NOW);
        let Found::Service(decision) = &explanation.steps[0].found else { panic!("it is a service") };
        let near = decision.tiers[0].groups.iter().find(|group| group.region == "near").unwrap();
        let parts: Vec<Part> = near.endpoints.iter().map(|endpoint| endpoint.part).collect();
        let request = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x07explain\x05plain\x07example\x03com\0\0\x10\0\x03";
        let mut response = vec![0; MAX_TCP_RESPONSE];
        let mut context = WorkerContext::new(0, 1, Arc::default());
        let peer = [127, 0, 0, 1].into();
        let length = respond(&snapshot, &mut context, request, peer, Transport::Tcp, &mut response).unwrap();
        let by_dig = String::from_utf8_lossy(&response[..length]).into_owned();
        (decision.overrides.clone(), parts, explanation.to_string(), by_dig)
    };
    let off = Part::Disabled;
    for (texts, words, expected) in [
        ("", &[][..], [Part::Candidate, Part::Down, off]),
        ("disable service/plain.example.com", &[Word::Disable], [off; 3]),
        ("drain service/plain.example.com", &[Word::Drain], [Part::Draining, Part::Draining, off]),
        ("down service/plain.example.com", &[Word::Down], [Part::Down, Part::Down, off]),
        ("up service/plain.example.com", &[Word::Up], [Part::Candidate, Part::Candidate, off]),
        (
            "up service/plain.example.com, down endpoint/web/near/192.0.2.1",
            &[Word::Up],
            [Part::Down, Part::Candidate, off],
        ),
        ("down service/open.example.com", &[], [Part::Candidate, Part::Down, off]),
    ] {
        let (said, parts, text, by_dig) = explained(texts);
        assert_eq!((&said[..], &parts[..]), (words, &expected[..]), "{texts}: {text}");
        let sentence = "an operator says of this service: ";
        assert_eq!(
            (text.contains(sentence), by_dig.contains(sentence)),
            (!words.is_empty(), !words.is_empty()),
            "{texts}"
        );
        for word in words {
            assert!(text.contains(&format!("{sentence}{word};")), "{texts}: {text}");
            assert!(by_dig.contains(&format!("{sentence}{word}")), "{texts}: {by_dig}");
        }
    }
}

#[test]
fn what_was_down_before_a_restart_and_waits_for_an_operator_still_does() {
    let waits = CONFIGURATION.replace("rise = 1", "rise = 1\nmanual_resume = true");
    let start = Instant::now();
    let publisher = Publisher::starting_at(compiled(&waits), start, NOW);
    let restored = |verdict| meridian::health::table::Restored { verdict, held: Duration::from_secs(60), score: 0.0 };
    publisher.restore(|key| (key.target.to_string() == "192.0.2.1").then(|| restored(Verdict::Down)), start);
    let later = start + Duration::from_secs(3600);
    observe(&publisher, &[], later);
    assert_eq!(answered(&publisher), "2/2/2");
    let health = publisher.health();
    let first = health.endpoints().get(0).unwrap();
    assert_eq!(health.hold(first, later), Hold::UntilResumed);
    assert_eq!(first.since(), Some(start));
    let (targets, events) = publisher.resume(&"pool/web".parse().unwrap(), later);
    assert_eq!((targets, events.len()), (1, 1));
    assert_eq!(answered(&publisher), "12/12/12");
}
