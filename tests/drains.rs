//! Drains and the TTL: who is led to an endpoint that drains, and for how long what is answered lives, second by second.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian::health::breaker::State;
use meridian::health::report::Age;
use meridian::health::{Details, Failure, Load, Observation, Pushed};
use meridian::reload::{Loader, Origin};
use meridian::routing::{Draw, Family, Outcome, decide};
use meridian::snapshot::{Compiled, Publisher};

/// A second since 1970: 2026-11-22T03:00:00Z, when the planned drain begins.
const DRAIN_AT: u32 = 1_795_316_400;
/// Until the drain is over.
const DRAIN_SECONDS: u32 = 600;

const BESIDE: &str = r#"
[server]
listen = ["127.0.0.1:0"]
[zones."example.com"]
nameservers = ["ns.example.net"]
[regions.r]
location = [0, 0]
[services."plain.example.com"]
pool = "web"
ttl = { min = "5s", max = "40s" }
answers = 2
[services."sticky.example.com"]
pool = "web"
ttl = { min = "5s", max = "40s" }
answers = 2
sticky = true
"#;

fn compiled(pool: &str) -> Compiled {
    let text = format!("{BESIDE}{pool}");
    Loader::new(Origin::Embedded(text)).load().unwrap_or_else(|problems| panic!("{problems}")).compiled
}

/// The last octets of the addresses that a service answers with at this second, in order, and the TTL.
fn answered(publisher: &Publisher, service: usize, unix_seconds: u32) -> (Vec<u8>, u32) {
    let snapshot = publisher.current();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds };
    let client: IpAddr = "198.51.100.1".parse().unwrap();
    let decision = decide(&snapshot, &snapshot.compiled.services[service], client, Family::V4, &mut draw);
    let Outcome::Endpoints { choice, picks } = &decision.outcome else { panic!("endpoints are answered") };
    let picked = picks.as_slice().iter().map(|pick| choice.candidates.list[*pick as usize].address[3]);
    let mut picked: Vec<u8> = picked.collect();
    picked.sort_unstable();
    (picked, decision.ttl)
}

/// Lets time pass on both clocks, from a start.
struct Clock {
    started: Instant,
    unix_seconds: u32,
}

impl Clock {
    fn tick(&self, publisher: &Publisher, unix_seconds: u32) {
        let passed = Duration::from_secs(u64::from(unix_seconds - self.unix_seconds));
        publisher.tick(self.started + passed, unix_seconds);
    }
}

fn start(pool: &str, unix_seconds: u32) -> (Publisher, Clock) {
    let started = Instant::now();
    (Publisher::starting_at(compiled(pool), started, unix_seconds), Clock { started, unix_seconds })
}

const PLANNED: &str = r#"
[pools.web]
endpoints = [
  { region = "r", address = "192.0.2.1", drain_at = 2026-11-22T03:00:00Z },
  { region = "r", address = "192.0.2.2" },
]
"#;

#[test]
fn before_a_planned_drain_no_answer_lives_longer_than_until_then() {
    let (publisher, clock) = start(PLANNED, DRAIN_AT - 100);
    for (before, ttl) in [(100, 40), (41, 40), (40, 40), (39, 39), (6, 6), (5, 5), (4, 5), (1, 5)] {
        clock.tick(&publisher, DRAIN_AT - before);
        for service in [0, 1] {
            assert_eq!(answered(&publisher, service, DRAIN_AT - before), (vec![1, 2], ttl), "{before} s before");
        }
    }
}

#[test]
fn a_planned_drain_begins_and_ends_to_the_second() {
    let (publisher, clock) = start(PLANNED, DRAIN_AT - 100);
    for (after, plain, sticky) in [
        (0, vec![2], vec![1, 2]),
        (1, vec![2], vec![1, 2]),
        (DRAIN_SECONDS - 1, vec![2], vec![1, 2]),
        (DRAIN_SECONDS, vec![2], vec![2]),
        (DRAIN_SECONDS * 10, vec![2], vec![2]),
    ] {
        clock.tick(&publisher, DRAIN_AT + after);
        assert_eq!(answered(&publisher, 0, DRAIN_AT + after), (plain, 40), "{after} s after");
        assert_eq!(answered(&publisher, 1, DRAIN_AT + after), (sticky, 40), "{after} s after");
    }
}

#[test]
fn an_offset_says_whose_clock_is_meant() {
    let berlin = PLANNED.replace("2026-11-22T03:00:00Z", "2026-11-22T04:00:00+01:00");
    let (publisher, _) = start(&berlin, DRAIN_AT - 1);
    assert_eq!(answered(&publisher, 0, DRAIN_AT - 1).0, [1, 2]);
    let (publisher, _) = start(&berlin, DRAIN_AT);
    assert_eq!(answered(&publisher, 0, DRAIN_AT).0, [2]);
    let leap_day = PLANNED.replace("2026-11-22T03:00:00Z", "2028-02-29T12:30:15-03:30");
    let (publisher, _) = start(&leap_day, 1_835_452_814);
    assert_eq!(answered(&publisher, 0, 1_835_452_814).0, [1, 2]);
    let (publisher, _) = start(&leap_day, 1_835_452_815);
    assert_eq!(answered(&publisher, 0, 1_835_452_815).0, [2]);
}

fn draining(state: &str, drain_time: &str) -> String {
    format!(
        "[pools.web]\ndrain_time = \"{drain_time}\"\nendpoints = [\n  {{ region = \"r\", address = \"192.0.2.1\", state = \
         \"{state}\" }},\n  {{ region = \"r\", address = \"192.0.2.2\" }},\n]\n"
    )
}

#[test]
fn a_drain_begins_when_it_is_first_loaded_and_goes_on_over_reloads() {
    let (publisher, clock) = start(&draining("enabled", "1m"), 1000);
    clock.tick(&publisher, 1100);
    publisher.replace(compiled(&draining("draining", "1m")));
    assert_eq!(answered(&publisher, 0, 1100).0, [2], "new clients go elsewhere at once");
    assert_eq!(answered(&publisher, 1, 1100).0, [1, 2]);
    clock.tick(&publisher, 1159);
    publisher.replace(compiled(&draining("draining", "1m")));
    assert_eq!(answered(&publisher, 1, 1159).0, [1, 2], "a reload does not begin it anew");
    clock.tick(&publisher, 1160);
    assert_eq!(answered(&publisher, 1, 1160).0, [2]);
    publisher.replace(compiled(&draining("draining", "2m")));
    assert_eq!(answered(&publisher, 1, 1160).0, [1, 2], "more time counts from when it began");
    publisher.replace(compiled(&draining("enabled", "1m")));
    assert_eq!(answered(&publisher, 0, 1160).0, [1, 2], "it is back");
    publisher.replace(compiled(&draining("draining", "1m")));
    clock.tick(&publisher, 1219);
    assert_eq!(answered(&publisher, 1, 1219).0, [1, 2], "and may drain again");
    clock.tick(&publisher, 1220);
    assert_eq!(answered(&publisher, 1, 1220).0, [2]);
}

#[test]
fn a_planned_drain_that_is_over_is_not_begun_anew_by_the_state() {
    let (publisher, clock) = start(PLANNED, DRAIN_AT - 100);
    clock.tick(&publisher, DRAIN_AT + DRAIN_SECONDS);
    assert_eq!(answered(&publisher, 1, DRAIN_AT + DRAIN_SECONDS).0, [2]);
    publisher.replace(compiled(&PLANNED.replace("drain_at = 2026-11-22T03:00:00Z", "state = \"draining\"")));
    assert_eq!(answered(&publisher, 1, DRAIN_AT + DRAIN_SECONDS).0, [2]);
}

#[test]
fn what_drains_gets_no_new_clients_where_the_clock_is_set_back() {
    let (publisher, clock) = start(&draining("enabled", "1m"), 1000);
    clock.tick(&publisher, 2000);
    publisher.replace(compiled(&draining("draining", "1m")));
    for unix_seconds in [2000, 1500, 1999] {
        clock.tick(&publisher, unix_seconds);
        assert_eq!(answered(&publisher, 0, unix_seconds).0, [2], "at {unix_seconds}");
        assert_eq!(answered(&publisher, 1, unix_seconds).0, [1, 2], "at {unix_seconds}");
    }
}

#[test]
fn a_drain_time_of_0_keeps_nobody() {
    let (publisher, _) = start(&draining("draining", "0s"), 1000);
    assert_eq!(answered(&publisher, 1, 1000).0, [2]);
}

#[test]
fn while_an_endpoint_warms_up_answers_live_for_the_minimum() {
    let pool = r#"
[probes.connect]
type = "tcp"
port = 80
fall = 1
rise = 1
[pools.web]
probe = "connect"
health_weighted = false
slow_start = "60s"
endpoints = [{ region = "r", address = "192.0.2.1" }, { region = "r", address = "192.0.2.2" }]
"#;
    let (publisher, clock) = start(pool, 1000);
    let observe = |outcome: [Result<(), Failure>; 2], unix_seconds: u32| {
        let targets = publisher.current().compiled.targets.clone();
        let observations = targets.into_iter().zip(outcome).map(|(key, outcome)| {
            (
                Arc::new(key),
                Observation { took: Duration::from_millis(1), address: None, outcome, details: Details::default() },
            )
        });
        let now = clock.started + Duration::from_secs(u64::from(unix_seconds - clock.unix_seconds));
        publisher.observe(observations, now);
    };
    observe([Ok(()), Ok(())], 1000);
    assert_eq!(answered(&publisher, 0, 1000), (vec![1, 2], 40));
    observe([Err(Failure::Refused), Ok(())], 1010);
    assert_eq!(answered(&publisher, 0, 1010), (vec![2], 40), "one of two down is steady");
    observe([Ok(()), Ok(())], 1020);
    for (unix_seconds, ttl) in [(1020, 5), (1021, 5), (1050, 5), (1079, 5), (1080, 40), (2000, 40)] {
        clock.tick(&publisher, unix_seconds);
        assert_eq!(answered(&publisher, 0, unix_seconds), (vec![1, 2], ttl), "at {unix_seconds}");
    }
}

const BREAKER: &str = r#"
[pools.web]
endpoints = [{ region = "r", address = "192.0.2.1" }, { region = "r", address = "192.0.2.2" }]
[pools.web.breaker]
failures = 3
open_for = "30s"
successes = 2
half_open_share = 0.01
"#;

/// Reports results of 192.0.2.1.
fn report(publisher: &Publisher, clock: &Clock, successes: u32, failures: u32, unix_seconds: u32) {
    let report = Pushed {
        pool: "web".to_owned(),
        endpoint: "192.0.2.1".to_owned(),
        region: None,
        age: Age::Past(Duration::ZERO),
        load: Load::default(),
        successes,
        failures,
    };
    let now = clock.started + Duration::from_secs(u64::from(unix_seconds - clock.unix_seconds));
    assert_eq!(publisher.push(&[Ok(report)], now).0, [Ok(())]);
}

#[test]
fn while_a_breaker_is_half_open_answers_live_for_the_minimum() {
    let (publisher, clock) = start(BREAKER, 1000);
    let push = |successes, failures, unix_seconds| report(&publisher, &clock, successes, failures, unix_seconds);
    assert_eq!(answered(&publisher, 0, 1000), (vec![1, 2], 40));
    push(0, 3, 1000);
    assert_eq!(answered(&publisher, 0, 1000), (vec![2], 40), "open: as though it were down");
    clock.tick(&publisher, 1029);
    assert_eq!(answered(&publisher, 0, 1029), (vec![2], 40));
    clock.tick(&publisher, 1030);
    assert_eq!(answered(&publisher, 0, 1030), (vec![1, 2], 5), "half-open: it is tried");
    push(1, 0, 1031);
    assert_eq!(answered(&publisher, 0, 1031).1, 5);
    push(1, 0, 1032);
    assert_eq!(answered(&publisher, 0, 1032), (vec![1, 2], 40), "closed");
}

/// It is as though there were no breaker, so nothing is about to change by itself.
#[test]
fn while_a_half_open_breaker_is_held_answers_live_as_without_one() {
    let (publisher, clock) = start(&format!("{BREAKER}[safety]\nmax_down_share = 0.0\n"), 1000);
    let weights = || {
        let snapshot = publisher.current();
        let list = &snapshot.live.candidates(0, Family::V4).list;
        list.iter().map(|candidate| candidate.cumulative_weight).collect::<Vec<_>>()
    };
    let whole = weights();
    assert_eq!(whole[0] * 2, whole[1]);
    report(&publisher, &clock, 0, 3, 1000);
    for unix_seconds in [1000, 1029, 1030, 1100] {
        clock.tick(&publisher, unix_seconds);
        assert_eq!((answered(&publisher, 0, unix_seconds), weights()), ((vec![1, 2], 40), whole.clone()));
    }
    let health = publisher.health();
    let known = health.endpoints().get(0).unwrap();
    assert_eq!((known.breaker().unwrap().state(), known.is_broken()), (State::HalfOpen, false));
    report(&publisher, &clock, 2, 0, 1100);
    assert_eq!((answered(&publisher, 0, 1100), weights()), ((vec![1, 2], 40), whole));
}
