//! What an endpoint's state makes of its share, through publication and decision, at exact times.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian::admin::view::HealthReport;
use meridian::config::Target;
use meridian::health::breaker::State;
use meridian::health::past::PastTarget;
use meridian::health::report::{Age, Source};
use meridian::health::{Details, Failure, Found, Load, Observation, Past, Pushed, Rejection, TargetId, Verdict};
use meridian::reload::{Loader, Origin};
use meridian::routing::live::WHOLE;
use meridian::routing::{Draw, Family, Outcome, decide};
use meridian::snapshot::{Compiled, Event, Publisher};

/// Endpoints 192.0.2.1 to .3 of one region, weighing 1, 2 and 3.
const CONFIGURATION: &str = r#"
[server]
listen = ["127.0.0.1:0"]
[regions.here]
location = [50, 8]
[probes.tcp]
type = "tcp"
port = 80
interval = "5s"
fall = 3
rise = 2
hold_down = "0s"
degraded_after = "100ms"
[pools.web]
probe = "tcp"
POOL
endpoints = [
  { region = "here", address = "192.0.2.1", weight = 1 },
  { region = "here", address = "192.0.2.2", weight = 2 },
  { region = "here", address = "192.0.2.3", weight = 3 },
]
BREAKER
[zones."example.com"]
nameservers = ["ns.example.net"]
[services."www.example.com"]
pool = "web"
BALANCE
"#;

const BREAKER: &str = "[pools.web.breaker]\nfailures = 5\nopen_for = \"30s\"\nhalf_open_share = 0.05\nsuccesses = 3";

fn compiled(pool: &str, breaker: &str, balance: &str) -> Compiled {
    let text = CONFIGURATION.replace("POOL", pool).replace("BREAKER", breaker).replace("BALANCE", balance);
    Loader::new(Origin::Embedded(text)).load().unwrap_or_else(|problems| panic!("{problems}")).compiled
}

/// A publisher whose time is moved by hand, with every endpoint up at second 0.
struct Run {
    publisher: Publisher,
    start: Instant,
    seconds: f64,
}

impl Run {
    fn new(pool: &str, breaker: &str) -> Self {
        Self::balanced(pool, breaker, "")
    }

    fn balanced(pool: &str, breaker: &str, balance: &str) -> Self {
        let run =
            Self { publisher: Publisher::new(compiled(pool, breaker, balance)), start: Instant::now(), seconds: 0.0 };
        (1..=3).for_each(|endpoint| drop(run.observe(endpoint, true)));
        run
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.seconds)
    }

    /// Moves the time on and ticks.
    fn at(&mut self, seconds: f64) -> Vec<Event> {
        self.seconds = seconds;
        self.publisher.tick(self.now(), 0)
    }

    fn observe(&self, endpoint: u8, success: bool) -> Vec<Event> {
        self.observe_with(endpoint, success, Vec::new())
    }

    fn observe_with(&self, endpoint: u8, success: bool, reports: Vec<(Source, Result<Load, Rejection>)>) -> Vec<Event> {
        self.observe_after(endpoint, Duration::from_millis(4), success, reports)
    }

    fn observe_after(
        &self,
        endpoint: u8,
        took: Duration,
        success: bool,
        reports: Vec<(Source, Result<Load, Rejection>)>,
    ) -> Vec<Event> {
        let target = Target::Address([192, 0, 2, endpoint].into());
        let key = self.publisher.health().keys().find(|key| key.target == target).unwrap();
        let outcome = if success { Ok(()) } else { Err(Failure::Refused) };
        let observation =
            Observation { took, address: None, outcome, details: Details { reports, ..Details::default() } };
        self.publisher.observe([(key, observation)], self.now())
    }

    fn push(&self, report: Pushed) -> Result<(), Rejection> {
        self.publisher.push(&[Ok(report)], self.now()).0[0]
    }

    fn share(&self, endpoint: u8) -> u32 {
        let health = self.publisher.health();
        let known = health.endpoints().get(u32::from(endpoint) - 1).unwrap();
        known.share(&health.found(known, self.now()), self.now(), WHOLE)
    }

    fn load(&self, endpoint: u8) -> Load {
        let health = self.publisher.health();
        let known = health.endpoints().get(u32::from(endpoint) - 1).unwrap();
        known.load(&health.found(known, self.now()), self.now())
    }

    fn generation(&self) -> u64 {
        self.publisher.current().generation
    }

    /// For how long an answer lives.
    fn ttl_seconds(&self) -> u32 {
        let snapshot = self.publisher.current();
        let mut rng = fastrand::Rng::with_seed(5);
        let mut draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds: 0 };
        let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));
        decide(&snapshot, &snapshot.compiled.services[0], client, Family::V4, &mut draw).ttl
    }

    /// How often each endpoint is answered.
    fn draws(&self, times: u32) -> [f64; 3] {
        let snapshot = self.publisher.current();
        let mut rng = fastrand::Rng::with_seed(5);
        let mut draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds: 0 };
        let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));
        let mut counts = [0.0; 3];
        for _ in 0..times {
            let decision = decide(&snapshot, &snapshot.compiled.services[0], client, Family::V4, &mut draw);
            let Outcome::Endpoints { choice, picks } = decision.outcome else { panic!("an endpoint serves") };
            counts[choice.candidates.list[picks.as_slice()[0] as usize].endpoint as usize] += 1.0;
        }
        counts
    }

    /// Draws a million times and compares with what these weights make, by Pearson's statistic.
    fn assert_shares(&self, weights: [f64; 3]) {
        let total: f64 = weights.iter().sum();
        let statistic: f64 = (self.draws(1_000_000).iter().zip(weights))
            .map(|(observed, weight)| {
                let expected = weight / total * 1e6;
                if expected == 0.0 {
                    assert_eq!(*observed, 0.0);
                    return 0.0;
                }
                (observed - expected).powi(2) / expected
            })
            .sum();
        // p = 10⁻⁴ for 2 degrees of freedom.
        assert!(statistic < 18.4, "{weights:?}: {statistic}");
    }
}

fn pushed(report: Pushed) -> Pushed {
    Pushed { pool: "web".into(), endpoint: "192.0.2.1".into(), ..report }
}

fn connections(connections: f64) -> Load {
    Load { connections: Some(connections), ..Load::default() }
}

#[test]
fn slow_start_ramps_from_a_tenth_in_sixteenths_at_exact_times() {
    let mut run = Run::new("slow_start = \"160s\"", "");
    run.assert_shares([1.0, 2.0, 3.0]);
    assert_eq!(run.share(3), WHOLE, "the first verdict is no recovery");
    run.at(10.0);
    (0..3).for_each(|_| drop(run.observe(3, false)));
    run.assert_shares([1.0, 2.0, 0.0]);
    run.at(100.0);
    (0..2).for_each(|_| drop(run.observe(3, true)));
    run.assert_shares([1.0, 2.0, 3.0 / 16.0]);
    // A tenth and nine tenths of the time that has passed: k sixteenths from 160 × (k/16 − 0.1) / 0.9 on.
    for step in 2..=16 {
        let from = 100.0 + 160.0 * (f64::from(step) / 16.0 - 0.1) / 0.9;
        run.at(from - 0.001);
        assert_eq!(run.share(3), WHOLE / 16 * (step - 1), "just before step {step}");
        run.at(from + 0.001);
        assert_eq!(run.share(3), WHOLE / 16 * step, "from step {step} on");
        if step % 5 == 0 {
            run.assert_shares([1.0, 2.0, 3.0 * f64::from(step) / 16.0]);
        }
    }
    let generation = run.generation();
    run.at(400.0);
    assert_eq!(run.generation(), generation, "nothing changes any more");
    run.assert_shares([1.0, 2.0, 3.0]);
}

#[test]
fn a_relapse_ends_the_ramp_and_a_reload_does_not() {
    let mut run = Run::new("slow_start = \"160s\"", "");
    (0..3).for_each(|_| drop(run.observe(3, false)));
    (0..2).for_each(|_| drop(run.observe(3, true)));
    run.at(80.0);
    assert_eq!(run.share(3), WHOLE / 16 * 8);
    run.publisher.replace(compiled("min_healthy = 1\nslow_start = \"160s\"", BREAKER, ""));
    assert_eq!(run.share(3), WHOLE / 16 * 8);
    run.assert_shares([1.0, 2.0, 1.5]);
    (0..3).for_each(|_| drop(run.observe(3, false)));
    assert_eq!(run.share(3), WHOLE, "what is down warms up no more");
    (0..2).for_each(|_| drop(run.observe(3, true)));
    assert_eq!(run.share(3), WHOLE / 16);
}

#[test]
fn an_open_breaker_is_as_down_and_a_half_open_one_gets_its_small_share() {
    let mut run = Run::new("health_weighted = false", BREAKER);
    let failures = |failures| pushed(Pushed { failures, ..Pushed::default() });
    let successes = |successes| pushed(Pushed { successes, ..Pushed::default() });
    let generation = run.generation();
    assert_eq!(run.push(failures(4)), Ok(()));
    assert_eq!(run.generation(), generation, "nothing changes yet");
    let (outcomes, events) = run.publisher.push(&[Ok(failures(1))], run.now());
    assert_eq!(outcomes, [Ok(())]);
    let [Event::Breaker(change)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((change.transition.to, change.endpoint.as_str()), (State::Open, "web/here/192.0.2.1"));
    assert_eq!(change.transition.cause.to_string(), "5 failures in a row");
    assert_eq!(run.generation(), generation + 1, "published at once");
    run.assert_shares([0.0, 2.0, 3.0]);

    assert_eq!(run.at(29.9), []);
    run.assert_shares([0.0, 2.0, 3.0]);
    let events = run.at(30.0);
    let [Event::Breaker(change)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(change.transition.to, State::HalfOpen);
    run.assert_shares([0.05, 2.0, 3.0]);
    assert_eq!(run.share(1), WHOLE.div_ceil(20), "the nearest to 0.05");

    run.push(successes(2)).unwrap();
    run.assert_shares([0.05, 2.0, 3.0]);
    run.push(successes(1)).unwrap();
    run.assert_shares([1.0, 2.0, 3.0]);

    // Probes count as well; its probe says down meanwhile, and up again after two successes.
    (0..5).for_each(|_| drop(run.observe(1, false)));
    (0..2).for_each(|_| drop(run.observe(1, true)));
    assert_eq!(run.share(1), 0);
    let health = run.publisher.health();
    assert_eq!(health.endpoints().get(0).unwrap().breaker().unwrap().transitions(), [1, 2, 1]);
}

#[test]
fn an_endpoint_warms_up_once_its_breaker_closes() {
    let mut run = Run::new("slow_start = \"160s\"", BREAKER);
    run.push(pushed(Pushed { failures: 5, ..Pushed::default() })).unwrap();
    run.at(30.0);
    run.push(pushed(Pushed { successes: 3, ..Pushed::default() })).unwrap();
    run.assert_shares([1.0 / 16.0, 2.0, 3.0]);
    run.at(110.0);
    run.assert_shares([0.5, 2.0, 3.0]);
}

#[test]
fn a_reload_keeps_what_a_breaker_counted_unless_its_rules_change() {
    for (breaker, expected) in [(BREAKER, State::Open), (&BREAKER.replace("0.05", "0.1"), State::Closed)] {
        let run = Run::new("", BREAKER);
        run.push(pushed(Pushed { failures: 4, ..Pushed::default() })).unwrap();
        run.publisher.replace(compiled("", breaker, ""));
        run.push(pushed(Pushed { failures: 1, ..Pushed::default() })).unwrap();
        let health = run.publisher.health();
        assert_eq!(health.endpoints().get(0).unwrap().breaker().unwrap().state(), expected, "{breaker}");
    }
}

#[test]
fn a_result_that_comes_before_the_tick_counts_where_a_breaker_is_to_be_tried() {
    for is_probed in [true, false] {
        let mut run = Run::new("", BREAKER);
        run.push(pushed(Pushed { failures: 5, ..Pushed::default() })).unwrap();
        run.seconds = 30.0;
        for _ in 0..3 {
            if is_probed {
                run.observe(1, true);
            } else {
                run.push(pushed(Pushed { successes: 1, ..Pushed::default() })).unwrap();
            }
        }
        let health = run.publisher.health();
        assert_eq!(health.endpoints().get(0).unwrap().breaker().unwrap().transitions(), [1, 1, 1], "{is_probed}");
    }
}

#[test]
fn while_a_breaker_is_half_open_answers_live_for_the_minimum() {
    let mut run = Run::balanced("", BREAKER, "ttl = { min = \"5s\", max = \"60s\" }");
    assert_eq!(run.ttl_seconds(), 60);
    run.push(pushed(Pushed { failures: 5, ..Pushed::default() })).unwrap();
    assert_eq!(run.ttl_seconds(), 60, "the others serve");
    run.at(30.0);
    assert_eq!(run.ttl_seconds(), 5);
    run.push(pushed(Pushed { successes: 3, ..Pushed::default() })).unwrap();
    assert_eq!(run.ttl_seconds(), 60);
}

#[test]
fn where_all_breakers_are_open_all_endpoints_answer() {
    let mut run = Run::new("", BREAKER);
    for endpoint in 1..=3 {
        let endpoint = format!("192.0.2.{endpoint}");
        run.push(Pushed { endpoint, ..pushed(Pushed { failures: 5, ..Pushed::default() }) }).unwrap();
    }
    assert_eq!([1, 2, 3].map(|endpoint| run.share(endpoint)), [0, 0, 0]);
    run.assert_shares([1.0, 2.0, 3.0]);
    run.at(30.0);
    run.assert_shares([1.0, 2.0, 3.0]);
}

#[test]
fn a_share_falls_with_failures_below_the_threshold_and_comes_back() {
    let mut run = Run::new("", "");
    run.observe(3, false);
    // 7/8
    assert_eq!(run.share(3), WHOLE / 16 * 14);
    run.observe(3, false);
    // (7/8)² = 0.766
    assert_eq!(run.share(3), WHOLE / 16 * 12);
    run.assert_shares([1.0, 2.0, 3.0 * 12.0 / 16.0]);
    (0..20).for_each(|_| drop(run.observe(3, true)));
    assert_eq!(run.share(3), WHOLE);
    run.at(1.0);
    run.assert_shares([1.0, 2.0, 3.0]);
    // What comes up again has its whole share, without slow_start.
    (0..30).for_each(|_| drop(run.observe(3, false)));
    (0..2).for_each(|_| drop(run.observe(3, true)));
    assert_eq!(run.share(3), WHOLE);
    let run = Run::new("health_weighted = false", "");
    run.observe(3, false);
    assert_eq!(run.share(3), WHOLE);
}

#[test]
fn loads_alone_are_published_by_the_tick_and_only_where_they_differ() {
    let mut run = Run::balanced("", "", "balance = \"least-connections\"");
    run.at(0.5);
    let generation = run.generation();
    let say = |run: &Run, value| run.push(pushed(Pushed { load: connections(value), ..Pushed::default() })).unwrap();
    say(&run, 1234.0);
    say(&run, 1235.0);
    assert_eq!(run.generation(), generation);
    run.at(1.0);
    assert_eq!(run.generation(), generation + 1);
    run.at(2.0);
    say(&run, 1236.0);
    run.at(3.0);
    assert_eq!(run.generation(), generation + 1, "the same in three digits");
    say(&run, 1300.0);
    run.at(4.0);
    assert_eq!(run.generation(), generation + 2);
    assert_eq!(run.load(1), Load { response_ms: Some(4.0), ..connections(1300.0) });
    // It is of second 3, and counts for 30 s; so does what the probe took at 0.
    run.at(33.0);
    assert_eq!((run.generation(), run.load(1)), (generation + 3, connections(1300.0)), "the probe's time is too old");
    run.at(33.001);
    assert_eq!((run.generation(), run.load(1)), (generation + 4, Load::default()));

    let mut run = Run::new("", "");
    let generation = run.generation();
    say(&run, 5.0);
    run.at(1.0);
    assert_eq!(run.generation(), generation, "no list is laid out by loads");
}

#[test]
fn reports_of_probes_count_and_what_is_wrong_is_told_once_a_second() {
    let mut run = Run::new("load_max_age = \"10s\"", "");
    let load = Load { utilization: Some(0.5), ..Load::default() };
    assert_eq!(run.observe_with(2, true, vec![(Source::Header, Ok(load))]), []);
    assert_eq!(run.load(2), Load { response_ms: Some(4.0), ..load });
    let absurd = Load { utilization: Some(1e6), ..Load::default() };
    let reports = || vec![(Source::Body, Ok(absurd)), (Source::Header, Err(Rejection::Unsupported))];
    let told = |run: &Run| run.observe_with(2, true, reports()).len();
    assert_eq!((told(&run), told(&run)), (2, 0));
    run.at(0.999);
    assert_eq!(told(&run), 0);
    run.at(1.0);
    assert_eq!(told(&run), 2);
    let health = run.publisher.health();
    let counts = health.reports();
    assert_eq!(counts.get(Source::Header, Ok(())), 1);
    assert_eq!(counts.get(Source::Body, Err(Rejection::Absurd)), 4);
    assert_eq!(counts.get(Source::Header, Err(Rejection::Unsupported)), 4);
    drop(health);
    run.at(11.001);
    assert_eq!(run.load(2), Load::default());
}

#[test]
fn what_is_pushed_is_checked() {
    let mut run = Run::new("", "");
    run.at(1000.0);
    let past = |seconds| Age::Past(Duration::from_secs_f64(seconds));
    let of = |load, age| pushed(Pushed { load, age, ..Pushed::default() });
    let utilization = |value| Load { utilization: Some(value), ..Load::default() };
    for (report, expected) in [
        (of(connections(1.0), past(10.0)), Ok(())),
        (of(connections(2.0), past(10.0)), Ok(())),
        (of(connections(3.0), past(10.1)), Err(Rejection::Outdated)),
        // Another value is news, though this one is not.
        (of(Load { connections: Some(3.0), ..utilization(0.5) }, past(10.1)), Ok(())),
        (of(connections(4.0), past(30.1)), Err(Rejection::TooOld)),
        (of(connections(4.0), past(1e15)), Err(Rejection::TooOld)),
        (of(connections(4.0), Age::Future), Err(Rejection::Future)),
        (of(connections(-4.0), past(0.0)), Err(Rejection::Negative)),
        (of(connections(f64::NAN), past(0.0)), Err(Rejection::NotFinite)),
        (of(utilization(f64::INFINITY), past(0.0)), Err(Rejection::NotFinite)),
        (of(Load { connections: Some(4.0), ..utilization(1e6) }, past(0.0)), Err(Rejection::Absurd)),
        (of(Load::default(), past(0.0)), Err(Rejection::Empty)),
        (Pushed { pool: "wed".into(), ..of(connections(4.0), past(0.0)) }, Err(Rejection::UnknownPool)),
        (Pushed { endpoint: "192.0.2.4".into(), ..of(connections(4.0), past(0.0)) }, Err(Rejection::UnknownEndpoint)),
        (Pushed { region: Some("there".into()), ..of(connections(4.0), past(0.0)) }, Err(Rejection::UnknownEndpoint)),
        (Pushed { region: Some("here".into()), ..of(utilization(0.25), past(0.0)) }, Ok(())),
    ] {
        assert_eq!(run.push(report.clone()), expected, "{report:?}");
    }
    assert_eq!(run.load(1), Load { connections: Some(2.0), ..utilization(0.25) });
    let health = run.publisher.health();
    assert_eq!(health.endpoints().get(0).unwrap().load_age(run.now()), Some(Duration::ZERO), "of the newest");
    assert_eq!(health.reports().get(Source::Pushed, Ok(())), 4);
    assert_eq!(health.reports().get(Source::Pushed, Err(Rejection::TooOld)), 2);
}

#[test]
fn results_count_though_the_load_beside_them_is_outdated() {
    let mut run = Run::new("", BREAKER);
    run.at(10.0);
    let of = |load, seconds, failures| {
        pushed(Pushed { load, age: Age::Past(Duration::from_secs(seconds)), failures, ..Pushed::default() })
    };
    run.push(of(connections(1.0), 0, 0)).unwrap();
    assert_eq!(run.push(of(connections(2.0), 5, 0)), Err(Rejection::Outdated));
    assert_eq!(run.push(of(connections(2.0), 5, 5)), Ok(()));
    assert_eq!(run.load(1), Load { response_ms: run.load(1).response_ms, ..connections(1.0) });
    run.assert_shares([0.0, 2.0, 3.0]);
}

#[test]
fn an_explanation_says_what_becomes_of_the_weight_and_why() {
    let mut run = Run::new("slow_start = \"160s\"", BREAKER);
    let line = |run: &Run, endpoint: usize| {
        let (snapshot, health) = (run.publisher.current(), run.publisher.health());
        HealthReport::new(&snapshot, &health, None, run.now()).endpoints[endpoint - 1].endpoint.to_string()
    };
    assert_eq!(line(&run, 1), "weight 1, up for 0 s (ok in 4.0ms, 0 s ago)");
    run.observe(2, false);
    run.push(pushed(Pushed { failures: 5, load: connections(12.0), ..Pushed::default() })).unwrap();
    (0..3).for_each(|_| drop(run.observe(3, false)));
    (0..2).for_each(|_| drop(run.observe(3, true)));
    run.at(10.0);
    assert_eq!(
        line(&run, 1),
        "weight 1, up for 10 s by its probes, but counts as down: its breaker is open, tried again in 20 s (ok in 4.0ms, 10 s ago); \
         load 12 connections, 4 ms (10 s ago)"
    );
    assert_eq!(
        line(&run, 2),
        "weight 2, up for 10 s (connection refused, 10 s ago); 87.5 % of its weight counts (health 0.88)"
    );
    assert_eq!(
        line(&run, 3),
        "weight 3, up for 10 s (ok in 4.0ms, 10 s ago); 12.5 % of its weight counts (warming up)"
    );
    run.at(31.0);
    assert_eq!(
        line(&run, 1),
        "weight 1, up for 31 s (ok in 4.0ms, 31 s ago); 5.0 % of its weight counts (breaker half-open); \
         load too old to count (31 s ago)"
    );
    let held = Run::new("", &format!("{BREAKER}\n[safety]\nmax_down_share = 0"));
    held.push(pushed(Pushed { failures: 5, ..Pushed::default() })).unwrap();
    assert_eq!(
        line(&held, 1),
        "weight 1, up for 0 s: its breaker is open, but `[safety] max_down_share` keeps it, so it may be answered \
         (ok in 4.0ms, 0 s ago)"
    );
}

#[test]
fn a_reload_keeps_states_by_identity() {
    let run = Run::new("", BREAKER);
    let failures = pushed(Pushed { failures: 5, load: connections(9.0), ..Pushed::default() });
    run.push(failures).unwrap();
    let text = CONFIGURATION
        .replace("POOL", "")
        .replace("BREAKER", BREAKER)
        .replace("BALANCE", "")
        .replace("{ region = \"here\", address = \"192.0.2.1\", weight = 1 },", "")
        .replace("endpoints = [", "endpoints = [{ region = \"here\", address = \"192.0.2.7\" },")
        .replace("weight = 3 },", "weight = 3 }, { region = \"here\", address = \"192.0.2.1\" },");
    let moved = Loader::new(Origin::Embedded(text)).load().unwrap().compiled;
    run.publisher.replace(moved);
    let health = run.publisher.health();
    let known: Vec<_> = health
        .endpoints()
        .all()
        .iter()
        .map(|known| {
            let connections = known.load(&Found::UNPROBED, run.now()).connections;
            (known.placed.destination.to_string(), known.breaker().unwrap().state(), connections)
        })
        .collect();
    let expected = [
        ("192.0.2.7", State::Closed, None),
        ("192.0.2.2", State::Closed, None),
        ("192.0.2.3", State::Closed, None),
        ("192.0.2.1", State::Open, Some(9.0)),
    ];
    assert_eq!(known, expected.map(|(name, state, connections)| (name.to_owned(), state, connections)));
    assert!(health.targets().iter().filter(|target| target.machine.verdict() == Verdict::Up).count() == 3);
}

/// Of 100,000 endpoints, half of them in a pool with all there is.
#[test]
#[ignore = "a measurement: run it alone, with --nocapture"]
fn what_a_tick_and_a_flood_of_reports_cost() {
    let endpoints = |octet: u32| -> String {
        (0..50_000_u32)
            .map(|i| {
                format!(
                    "{{ region = \"r{}\", address = \"10.{}.{}.{}\" }},\n",
                    i % 100,
                    octet + (i >> 16),
                    (i >> 8) & 255,
                    i & 255
                )
            })
            .collect()
    };
    let regions: String = (0..100).map(|i| format!("[regions.r{i}]\nlocation = [0, {i}]\n")).collect();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n{regions}[probes.tcp]\ntype = \"tcp\"\nport = 80\n\
         [pools.plain]\nprobe = \"tcp\"\nendpoints = [{}]\n\
         [pools.rich]\nprobe = \"tcp\"\nslow_start = \"60s\"\nendpoints = [{}]\n[pools.rich.breaker]\nfailures = 5\n\
         [zones.\"example.com\"]\nnameservers = [\"ns.example.net\"]\n\
         [services.\"a.example.com\"]\npool = \"plain\"\n\
         [services.\"b.example.com\"]\npool = \"rich\"\nbalance = \"least-connections\"\n",
        endpoints(0),
        endpoints(100)
    );
    let compiled = Loader::new(Origin::Embedded(text)).load().unwrap_or_else(|problems| panic!("{problems}")).compiled;
    let publisher = Publisher::new(compiled);
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let keys: Vec<_> = publisher.health().keys().collect();
    for chunk in keys.chunks(2000) {
        let success = |key: &std::sync::Arc<_>| {
            (
                std::sync::Arc::clone(key),
                Observation {
                    took: Duration::from_millis(4),
                    address: None,
                    outcome: Ok(()),
                    details: Details::default(),
                },
            )
        };
        publisher.observe(chunk.iter().map(success), at(0));
    }
    let time = |what: &str, work: &mut dyn FnMut()| {
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            work();
            best = best.min(begun.elapsed());
        }
        println!("{what}: {best:?}");
    };
    let mut seconds = 0;
    time("a tick in which nothing changes", &mut || {
        seconds += 1;
        publisher.tick(at(seconds), 0);
    });
    let reports: Vec<_> = (0..10_000_u32)
        .map(|i| {
            let endpoint = format!("10.100.{}.{}", (i >> 8) & 255, i & 255);
            let load = Load { connections: Some(5.0), ..Load::default() };
            Ok(Pushed { pool: "rich".into(), endpoint, load, successes: 1, ..Pushed::default() })
        })
        .collect();
    time("10,000 reports that publish nothing", &mut || drop(publisher.push(&reports, at(seconds))));
    time("a copy of all that is known", &mut || drop(publisher.health().clone()));
    time("one observation that publishes", &mut || {
        let outcome = Err(Failure::Refused);
        let observation =
            Observation { took: Duration::from_millis(4), address: None, outcome, details: Details::default() };
        publisher.observe([(std::sync::Arc::clone(&keys[0]), observation)], at(seconds));
    });
}

#[test]
fn slow_answers_move_clients_to_faster_endpoints_and_take_none_away() {
    let run = Run::new("", "");
    let slow = |run: &Run, took_ms| {
        run.observe_after(3, Duration::from_millis(took_ms), true, Vec::new());
        let health = run.publisher.health();
        (run.share(3) / (WHOLE / 16), health.endpoints().get(2).unwrap().verdict())
    };
    assert_eq!(slow(&run, 100), (16, Verdict::Up), "it may take as long as that");
    // Each goes an eighth of the way to a half, and the third in a row makes it degraded.
    assert_eq!(slow(&run, 101), (15, Verdict::Up));
    run.assert_shares([1.0, 2.0, 3.0 * 15.0 / 16.0]);
    assert_eq!(slow(&run, 500), (14, Verdict::Up));
    assert_eq!(slow(&run, 500), (13, Verdict::Degraded));
    run.assert_shares([1.0, 2.0, 3.0 * 13.0 / 16.0]);
    let last = (0..50).map(|_| slow(&run, 500)).last();
    assert_eq!(last, Some((8, Verdict::Degraded)), "half of its weight is the least");
    run.assert_shares([1.0, 2.0, 1.5]);
    slow(&run, 4);
    assert_eq!(slow(&run, 4), (10, Verdict::Up), "it comes back as it went");
    run.assert_shares([1.0, 2.0, 3.0 * 10.0 / 16.0]);
    assert!((0..50).map(|_| slow(&run, 4)).last() == Some((16, Verdict::Up)));
    run.assert_shares([1.0, 2.0, 3.0]);
}

#[test]
fn a_failure_takes_more_of_a_share_than_a_poor_result_whatever_else_was_poor() {
    let run = Run::new("", "");
    let key = run.publisher.health().keys().find(|key| key.target == Target::Address([192, 0, 2, 3].into())).unwrap();
    // `+` is good, `~` slow, `p` poor for another reason, `-` a failure, `!` one that is slow and poor beside.
    for (result, sixteenths, verdict) in [
        ('~', 15, Verdict::Up),
        ('-', 13, Verdict::Up),
        ('p', 12, Verdict::Degraded),
        ('-', 11, Verdict::Degraded),
        ('-', 10, Verdict::Degraded),
        // It ends the row of failures.
        ('p', 9, Verdict::Degraded),
        ('!', 8, Verdict::Degraded),
        ('~', 8, Verdict::Degraded),
        // Poor results alone go no lower than a half.
        ('-', 7, Verdict::Degraded),
        ('~', 7, Verdict::Degraded),
        ('!', 6, Verdict::Degraded),
        ('!', 6, Verdict::Degraded),
        // Where what is down is answered, nothing of its weight is lost.
        ('!', 16, Verdict::Down),
    ] {
        let details = Details { poor: "p!".contains(result).then(|| "poor".to_owned()), ..Details::default() };
        let took = Duration::from_millis(if "~!".contains(result) { 500 } else { 1 });
        let outcome = if "-!".contains(result) { Err(Failure::Refused) } else { Ok(()) };
        run.publisher.observe([(Arc::clone(&key), Observation { took, address: None, outcome, details })], run.now());
        let health = run.publisher.health();
        assert_eq!(
            (run.share(3) / (WHOLE / 16), health.endpoints().get(2).unwrap().verdict()),
            (sixteenths, verdict),
            "{result}, then {sixteenths}"
        );
    }
}

#[test]
fn a_score_from_before_a_restart_still_counts() {
    let start = Instant::now();
    let mut run = Run { publisher: Publisher::new(compiled("slow_start = \"160s\"", "", "")), start, seconds: 0.0 };
    let past = |verdict, score| PastTarget { verdict, lasted: Duration::from_secs(60), score, is_resumed: false };
    let past = [past(Verdict::Up, 1.0), past(Verdict::Up, 1.0), past(Verdict::Degraded, 0.5)];
    let targets = (0..).map(TargetId).zip(past).collect();
    assert_eq!(run.publisher.restore(|_| Past { targets, ..Past::default() }, start), 3);
    assert_eq!(run.at(0.0), [], "that all is as before is no news");
    assert_eq!(run.share(3), WHOLE / 2);
    run.assert_shares([1.0, 2.0, 1.5]);
    (0..2).for_each(|_| drop(run.observe(3, true)));
    assert_eq!(run.share(3), WHOLE / 16 * 10, "from there on by an eighth of the way, and at once");
    run.assert_shares([1.0, 2.0, 3.0 * 10.0 / 16.0]);
}
