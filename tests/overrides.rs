//! What operators say, and whom services answer with then.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian::admin::view::{Explanation, Found, Part, Question, Source};
use meridian::config::Target;
use meridian::dns::{MAX_TCP_RESPONSE, Transport, WorkerContext, respond};
use meridian::health::overrides::{Override, Said, Word};
use meridian::health::{Failure, Hold, Verdict};
use meridian::operator::Operator;
use meridian::routing::{Draw, Family, Outcome, decide};
use meridian::snapshot::Publisher;
use meridian::state::journal::{Event, Record};

use support::folder::Folder;
use support::health::{compiled, result, started};
use support::words::overrides;

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
        publisher.observe([(key, result(Duration::from_millis(1), outcome))], now);
    }
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
        publisher.obey(&overrides(texts, NOW), start);
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
        let current = publisher.current();
        let nothing = |service| current.live.said_of(service) == Said::default();
        assert!((0..current.compiled.services.len()).all(nothing), "{texts}");
    }
}

#[test]
fn a_drain_ends_for_those_who_stuck() {
    for texts in ["drain region/near", "drain service/sticky.example.com"] {
        let (publisher, start) = publisher(&[]);
        publisher.obey(&overrides(texts, NOW), start);
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
    publisher.obey(&overrides("up service/plain.example.com", NOW), start);
    observe(&publisher, &[1], start);
    assert_eq!(answered(&publisher), "12/2/2");
    publisher.obey(&overrides("drain service/plain.example.com", NOW), start);
    assert_eq!(answered(&publisher), "/2/2");
    publisher.obey(&overrides("down endpoint/web/near/192.0.2.2, up service/plain.example.com", NOW), start);
    assert_eq!(answered(&publisher), "1/3/3");
}

/// Of which what is down is held until it is resumed.
fn held() -> String {
    CONFIGURATION
        .replace("rise = 1", "rise = 1\nmanual_resume = true")
        .replace("[pools.web.breaker]\nfailures = 1\nopen_for = \"10m\"\n", "")
}

#[test]
fn what_was_held_down_is_resumed() {
    let start = Instant::now();
    let publisher = Publisher::starting_at(compiled(&held()), start, NOW);
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

/// Starts and stops servers with what one folder keeps.
struct Restarts {
    folder: Folder,
    text: String,
    start: Instant,
}

impl Restarts {
    fn new(text: String) -> Self {
        Self { folder: Folder::new("restarts"), text, start: Instant::now() }
    }

    /// So many seconds later, by the calendar's clock it is this.
    fn start(&self, seconds: u64, unix_seconds: u64) -> (Arc<Publisher>, Operator) {
        started(&self.folder.path("state"), &self.text, self.at(seconds), unix_seconds)
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }
}

const UNIX: u64 = NOW as u64;

#[test]
fn verdicts_from_before_a_restart_hold_until_probes_say_otherwise() {
    let restarts = Restarts::new(CONFIGURATION.to_owned());
    let (publisher, operator) = restarts.start(0, UNIX);
    observe(&publisher, &[1], restarts.at(0));
    operator.keep_verdicts(true, restarts.at(60), UNIX + 60);
    drop(operator);
    let (publisher, _operator) = restarts.start(80, UNIX + 80);
    assert_eq!(answered(&publisher), "2/2/2");
    assert!(publisher.health().targets().iter().all(|target| target.machine.since() == Some(restarts.at(0))));
    assert!(publisher.health().endpoints().all().iter().all(|known| known.warmth(restarts.at(80)) == 16));
    observe(&publisher, &[], restarts.at(80));
    assert_eq!(answered(&publisher), "12/12/12");
}

#[test]
fn a_restart_takes_nothing_away_that_words_leave_no_room_for() {
    // Two of three may be taken away, but one of two.
    let restarts = Restarts::new(format!("{}[safety]\nmax_down_share = 0.67\n", held()));
    let (publisher, operator) = restarts.start(0, UNIX);
    let subject = "endpoint/web/far/192.0.2.3".parse().unwrap();
    let (reason, author) = ("it is sold".into(), "me".into());
    let said = Override { subject, word: Word::Disable, reason, author, since: UNIX, expires: None };
    operator.say(said, restarts.at(0), || UNIX).unwrap();
    observe(&publisher, &[1, 2], restarts.at(0));
    assert_eq!(answered(&publisher), "2/2/2");
    operator.keep_verdicts(true, restarts.at(1), UNIX + 1);
    drop(operator);
    let (publisher, _operator) = restarts.start(2, UNIX + 2);
    assert_eq!(answered(&publisher), "2/2/2");
}

#[test]
fn what_a_word_holds_up_is_as_warm_after_a_restart() {
    let restarts = Restarts::new(CONFIGURATION.replace("drain_time", "slow_start = \"5m\"\ndrain_time"));
    let (publisher, operator) = restarts.start(0, UNIX);
    observe(&publisher, &[1], restarts.at(0));
    let (subject, reason, author) = ("pool/web".parse().unwrap(), "its probe is wrong".into(), "me".into());
    let said = Override { subject, word: Word::Up, reason, author, since: UNIX, expires: None };
    operator.say(said, restarts.at(1), || UNIX).unwrap();
    operator.keep_verdicts(true, restarts.at(600), UNIX + 600);
    drop(operator);
    let (publisher, _operator) = restarts.start(610, UNIX + 610);
    assert_eq!(answered(&publisher), "12/12/12");
    let health = publisher.health();
    assert_eq!(
        health.get(health.id(&health.keys().next().unwrap()).unwrap()).unwrap().machine.verdict(),
        Verdict::Down
    );
    assert!(health.endpoints().all().iter().all(|known| known.warmth(restarts.at(610)) == 16));
}

#[test]
fn a_resumption_that_was_acknowledged_is_not_lost() {
    let restarts = Restarts::new(held());
    let (mut publisher, mut operator) = restarts.start(0, UNIX);
    observe(&publisher, &[1, 2], restarts.at(0));
    operator.keep_verdicts(true, restarts.at(1), UNIX + 1);
    let subject = "endpoint/web/near/192.0.2.1".parse().unwrap();
    // The clock is set back by years before, which matters to none of this.
    assert_eq!(operator.resume(&subject, "mended", "me", (restarts.at(2), 5)).unwrap(), 1);
    let told = |operator: &Operator| operator.trail().last().unwrap().clone();
    let event = Event::Resume { subject: subject.clone(), reason: "mended".into(), author: "me".into() };
    assert_eq!((told(&operator).event, told(&operator).time), (event.clone(), 5));
    // It is killed before verdicts are stored again, and another time after that.
    for round in 0..3 {
        drop((publisher, operator));
        (publisher, operator) = restarts.start(10 + round, UNIX + 10 + round);
        assert_eq!(answered(&publisher), "3/3/3");
        assert_eq!(told(&operator).event, event);
        if round > 0 {
            operator.keep_verdicts(true, restarts.at(10 + round), UNIX + 10 + round);
        }
    }
    observe(&publisher, &[], restarts.at(20));
    assert_eq!(answered(&publisher), "1/1/1", "nobody resumed the other");
    // It is stored though no verdict changed.
    observe(&publisher, &[1], restarts.at(20));
    let resumed = || {
        operator.keep_verdicts(false, restarts.at(20), UNIX + 20);
        std::fs::read_to_string(restarts.folder.path("state/verdicts")).unwrap().matches("\"is_resumed\":true").count()
    };
    assert_eq!(resumed(), 0);
    operator.resume(&subject, "mended", "me", (restarts.at(20), UNIX + 20)).unwrap();
    assert_eq!(resumed(), 1);
    observe(&publisher, &[], restarts.at(20));
    assert_eq!(answered(&publisher), "1/1/1");
    // It was about that one time.
    observe(&publisher, &[1], restarts.at(21));
    operator.keep_verdicts(true, restarts.at(22), UNIX + 22);
    drop(operator);
    let (publisher, _operator) = restarts.start(23, UNIX + 23);
    observe(&publisher, &[], restarts.at(24));
    assert_eq!(answered(&publisher), "3/3/3");
}

#[test]
fn a_resumption_that_was_acknowledged_during_a_doubt_is_not_lost() {
    let safety = "[safety.self_suspicion]\nleast = 3\nshare = 0.5\nat_most = \"10m\"\n";
    let restarts = Restarts::new(held() + safety);
    let (publisher, operator) = restarts.start(0, UNIX);
    observe(&publisher, &[1, 2, 3], restarts.at(0));
    operator.keep_verdicts(true, restarts.at(1), UNIX + 1);
    let subject = "endpoint/web/near/192.0.2.1".parse().unwrap();
    assert_eq!(operator.resume(&subject, "mended", "me", (restarts.at(2), UNIX + 2)).unwrap(), 1);
    drop((publisher, operator));
    let (publisher, _operator) = restarts.start(10, UNIX + 10);
    observe(&publisher, &[1, 2], restarts.at(10));
    assert!(publisher.health().unsure_since().is_some());
    publisher.tick(restarts.at(600), NOW + 600);
    assert!(publisher.health().unsure_since().is_none());
    assert_eq!(answered(&publisher), "3/3/3");
    observe(&publisher, &[], restarts.at(601));
    assert_eq!(answered(&publisher), "1/1/1", "nobody resumed the other");
}

#[test]
fn words_end_by_the_calendar_whatever_the_clock_did() {
    const YEAR: u64 = 365 * 86_400;
    let restarts = Restarts::new(CONFIGURATION.to_owned());
    let (publisher, operator) = restarts.start(0, UNIX);
    observe(&publisher, &[], restarts.at(0));
    let down = |octet: u8, since: u64, expires: Option<u64>| {
        let subject = format!("endpoint/web/near/192.0.2.{octet}").parse().unwrap();
        let (reason, author) = ("because".to_owned(), "me".to_owned());
        let said = Override { subject, word: Word::Down, reason, author, since, expires };
        operator.say(said, restarts.at(0), || since).unwrap();
    };
    let expire = |unix_seconds| {
        operator.expire(restarts.at(1), unix_seconds);
        answered(&publisher)
    };
    down(1, UNIX, Some(UNIX + 60));
    down(2, UNIX, None);
    assert_eq!(expire(UNIX + 59), "3/3/3");
    // Back by years: it goes on. Forth again by more: it is over, and stays so wherever the clock goes then.
    assert_eq!(expire(UNIX - 10 * YEAR), "3/3/3");
    assert_eq!(expire(UNIX + 10 * YEAR), "1/1/1");
    operator.keep_expiries(UNIX + 10 * YEAR);
    assert_eq!(expire(UNIX), "1/1/1");
    // One that is said while the clock is wrong ends when it is set right.
    down(1, 60, Some(120));
    assert_eq!(expire(60), "3/3/3");
    assert_eq!(expire(UNIX), "1/1/1");
    operator.keep_expiries(UNIX);
    // What is over at the start never counts, though nobody could take note.
    down(1, UNIX, Some(UNIX + 60));
    drop(operator);
    let (publisher, operator) = restarts.start(61, UNIX + 61);
    observe(&publisher, &[], restarts.at(61));
    assert_eq!(answered(&publisher), "1/1/1");
    let events = |operator: &Operator| -> String {
        let letter = |record: &Record| match record.event {
            Event::Set { .. } => 's',
            Event::Expire { .. } => 'e',
            Event::Clear { .. } | Event::Resume { .. } => '?',
        };
        operator.trail().iter().map(letter).collect()
    };
    assert_eq!(events(&operator), "sseses");
    operator.keep_expiries(UNIX + 61);
    assert_eq!(events(&operator), "ssesese");
    assert_eq!(operator.overrides().len(), 1);
}

#[test]
fn verdicts_are_taken_up_by_their_age_whatever_the_clock_did() {
    const YEAR: u64 = 365 * 86_400;
    for (off, expected) in [
        (0, "2/2/2"),
        (300, "2/2/2"),
        (301, "12/12/12"),
        (10 * YEAR as i64, "12/12/12"),
        (-60, "2/2/2"),
        (-61, "12/12/12"),
        (-10 * YEAR as i64, "12/12/12"),
    ] {
        let restarts = Restarts::new(CONFIGURATION.to_owned());
        let (publisher, operator) = restarts.start(0, UNIX);
        observe(&publisher, &[1], restarts.at(0));
        // While it runs the clock jumps too: what counts is how long ago it was.
        operator.keep_verdicts(true, restarts.at(40), UNIX + 10 * YEAR);
        drop(operator);
        let unix_seconds = (UNIX + 10 * YEAR).checked_add_signed(off).unwrap();
        let (publisher, operator) = restarts.start(50, unix_seconds);
        assert_eq!(answered(&publisher), expected, "{off}");
        if expected == "2/2/2" {
            let pause = Duration::from_secs(off.max(0) as u64);
            let since = restarts.at(50).checked_sub(Duration::from_secs(40) + pause);
            assert_eq!(publisher.health().endpoints().get(0).unwrap().since(), since, "{off}");
        }
        // What is of no use is replaced.
        observe(&publisher, &[1], restarts.at(50));
        operator.keep_verdicts(true, restarts.at(60), UNIX);
        drop(operator);
        assert_eq!(answered(&restarts.start(70, UNIX + 10).0), "2/2/2", "{off}");
    }
}

#[test]
fn a_word_on_a_service_is_published_once() {
    let (publisher, start) = publisher(&[]);
    let generation = || publisher.current().generation;
    let texts = "down service/plain.example.com, drain service/sticky.example.com";
    publisher.obey(&overrides(texts, NOW), start);
    let before = generation();
    for second in 1..10 {
        publisher.tick(start + Duration::from_secs(second.into()), NOW + second);
    }
    assert_eq!(generation(), before);
    // A word on an endpoint is published with what it does to these services.
    publisher.obey(&overrides(&format!("{texts}, down endpoint/web/near/192.0.2.1"), NOW), start);
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
        publisher.obey(&overrides(texts, NOW), start);
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
    let restarts = Restarts::new(held());
    let (publisher, operator) = restarts.start(0, UNIX);
    observe(&publisher, &[1], restarts.at(0));
    operator.keep_verdicts(true, restarts.at(60), UNIX + 60);
    drop(operator);
    let (publisher, _operator) = restarts.start(60, UNIX + 60);
    let later = restarts.at(3600);
    observe(&publisher, &[], later);
    assert_eq!(answered(&publisher), "2/2/2");
    let health = publisher.health();
    let first = health.endpoints().get(0).unwrap();
    assert_eq!(health.hold(first, later), Hold::UntilResumed);
    assert_eq!(first.since(), Some(restarts.at(0)));
    let (targets, events) = publisher.resume(&"pool/web".parse().unwrap(), later);
    assert_eq!((targets, events.len()), (1, 1));
    assert_eq!(answered(&publisher), "12/12/12");
}
