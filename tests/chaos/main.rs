//! Backends that die, hang, slow down, flap and return, and a checker that knows it.
//!
//! A [`script`] of a seed says what befalls each backend of a [`site`]. It is played in real time ([`real`]): hundreds of listeners on
//! loopback, the real binary that probes them, and a client that asks it all the time. It is played in simulated time
//! ([`simulated`]) as well, thousands of them: the same core, with its time and what probes find given to it. Both make a [`log`] of
//! the verdicts and answers that were seen, and the [`checker`] compares that with the truth.
//!
//! | variable | is |
//! |---|---|
//! | `MERIDIAN_CHAOS_SEED` | the seed; a failure tells the one that shows it again |
//! | `MERIDIAN_CHAOS_SECONDS` | how long the real scripts last, 24 by default |
//! | `MERIDIAN_CHAOS_BACKENDS` | how many backends the largest of them has, 300 by default |
//! | `MERIDIAN_CHAOS_SCHEDULES` | how many schedules are simulated |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod backends;
mod checker;
mod log;
mod real;
mod script;
mod simulated;
mod site;
#[path = "../support/mod.rs"]
mod support;
mod truth;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use meridian::config::{Safety, SelfSuspicion, Timing};
use meridian::health::guard::Held;
use meridian::reload::{Loader, Origin};

use crate::checker::{Violation, check};
use crate::log::Log;
use crate::script::{Script, Span, State, Story};
use crate::site::{Pool, Site, limits_off};
use crate::support::folder::Folder;

const SEED: u64 = 20_261_121;
const SECONDS: u64 = 24;
const BACKENDS: u64 = 300;
const SCHEDULES: u64 = 3_000;
/// Of a failure so many violations are shown.
const MOST_SHOWN: usize = 20;
/// A script is played again where the machine stood still.
const ATTEMPTS: u32 = 3;

fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(format!("MERIDIAN_CHAOS_{name}"));
    value.map_or(default, |value| value.parse().unwrap_or_else(|error| panic!("MERIDIAN_CHAOS_{name}: {error}")))
}

/// What is wrong, and how to see it again.
fn report(name: &str, seed: u64, script: &Script, violations: &[Violation]) -> String {
    let mut text = format!("{name}: {} violations with MERIDIAN_CHAOS_SEED={seed}:", violations.len());
    for violation in violations.iter().take(MOST_SHOWN) {
        let _ = write!(text, "\n  {violation}");
        let _ = violation.backend.map_or(Ok(()), |backend| write!(text, "\n    {}", script.stories[backend]));
    }
    text
}

/// A script for the real server.
struct Scenario {
    name: &'static str,
    site: Site,
    script: Script,
    /// Of this something has to be seen, for the scenario to show anything.
    held: &'static [Held],
}

const fn timing(interval_ms: u64, timeout_ms: u64, fall: u8, rise: u8, degraded_after_ms: Option<u64>) -> Timing {
    Timing {
        interval: Duration::from_millis(interval_ms),
        timeout: Duration::from_millis(timeout_ms),
        fall,
        rise,
        degraded_after: match degraded_after_ms {
            Some(ms) => Some(Duration::from_millis(ms)),
            None => None,
        },
        hold_down: Duration::from_millis(interval_ms),
        manual_resume: false,
    }
}

const FAST: Timing = timing(500, 400, 3, 2, None);
const USUAL: Timing = timing(1_000, 600, 2, 2, Some(250));
const STUBBORN: Timing = Timing { hold_down: Duration::from_secs(2), ..timing(1_000, 500, 3, 1, None) };

/// A part of a script, as parts of its length.
fn part(length: Duration, from: f64, until: f64) -> Span {
    Span { from: length.mul_f64(from), until: length.mul_f64(until) }
}

fn without_limits(seed: u64, length: Duration, backends: usize) -> Scenario {
    let mut rng = Rng::with_seed(seed);
    let site = Site::new(4, &[(FAST, backends / 3), (USUAL, backends / 3), (STUBBORN, backends - backends / 3 * 2)]);
    let mut script = Script::random(&mut rng, &site, length);
    let of = |pool, region: Option<usize>| {
        let mut of = site.endpoints_of(&[pool]);
        of.retain(|endpoint| region == Some(site.endpoints[*endpoint].region) || region.is_none());
        of
    };
    // A region of a pool dies at once, and later a whole pool.
    let blink = Duration::from_millis(50);
    script.strike(&mut rng, of(1, Some(1)), part(length, 0.3, 0.55), blink, State::Refusing);
    script.strike(&mut rng, of(2, None), part(length, 0.5, 0.75), blink, State::Hanging);
    Scenario { name: "without limits", site, script, held: &[] }
}

fn within_limits(seed: u64, length: Duration) -> Scenario {
    let mut rng = Rng::with_seed(seed);
    let mut site = Site::new(4, &[(FAST, 40), (USUAL, 40)]);
    site.safety =
        Safety { max_down_share: 0.6, min_healthy_regions: 2, max_changes_per_minute: Some(28), ..limits_off() };
    let mut script = Script::random(&mut rng, &site, length);
    let three_regions = |endpoint: &usize| site.endpoints[*endpoint].region < 3;
    let span = part(length, 0.15, 0.75);
    let spread = Duration::from_millis(300);
    let of = |pool| site.endpoints_of(&[pool]).into_iter().filter(three_regions);
    script.strike(&mut rng, of(0), span, spread, State::Refusing);
    script.strike(&mut rng, of(1).take(24), part(length, 0.35, 0.8), spread, State::Failing);
    Scenario { name: "within limits", site, script, held: &[Held::PoolShare, Held::ChangesPerMinute] }
}

/// Nearly all dies three times: with the canary, while that answers, and with one that comes back sooner than the rest.
fn cut_off(seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed);
    let timing = Timing { fall: 2, ..FAST };
    let mut site = Site::new(3, &[(timing, 30), (timing, 30)]);
    site.canary = Timing { fall: 1, rise: 1, ..FAST };
    site.canaries = 1;
    site.safety.self_suspicion = SelfSuspicion {
        share: 0.6,
        window: Duration::from_secs(3),
        at_most: Duration::from_secs(60),
        ..SelfSuspicion::DEFAULT
    };
    let stories = vec![Story::steady(State::Serving); site.backends()];
    let mut script = Script { stories, length: Duration::from_secs(26) };
    let canary = site.endpoints.len();
    for (from, until, canary_until) in [(3, 7, Some(7)), (11, 14, None), (18, 40, Some(20))] {
        let mut most: Vec<usize> = (0..canary).collect();
        rng.shuffle(&mut most);
        most.truncate(canary * 4 / 5);
        let [from, until] = [from, until].map(Duration::from_secs);
        let state = if rng.bool() { State::Hanging } else { State::Refusing };
        script.strike(&mut rng, most, Span { from, until }, Duration::from_millis(200), state);
        if let Some(until) = canary_until.map(Duration::from_secs) {
            // So soon that it is known as the others fall.
            let from = from - Duration::from_secs(1);
            script.stories[canary].strike(Span { from, until }, state);
        }
    }
    Scenario { name: "cut off", site, script, held: &[Held::Unsure] }
}

/// Plays it until the machine keeps pace; what is wrong, if anything is.
fn play(scenario: &Scenario, seed: u64) -> Result<(), String> {
    let Scenario { name, site, script, held } = scenario;
    let mut attempt = 1;
    loop {
        let seeing = real::run(site, script);
        let violations = check(site, script, real::SLACK, &seeing.log);
        let was_held = |held: &Held| {
            seeing.log.timelines.iter().any(|line| line.changes().any(|(_, _, to)| to.held == Some(*held)))
        };
        if violations.is_empty() && (held.is_empty() || held.iter().any(was_held)) {
            return Ok(());
        }
        let mut report = report(name, seed, script, &violations);
        if violations.is_empty() {
            let _ = write!(report, " but nothing was held by {held:?}");
        }
        match seeing.stall {
            Some(stall) if attempt < ATTEMPTS => {
                eprintln!("once more, as the machine stood still for {stall:?}: {report}");
            }
            Some(stall) => return Err(format!("nothing is shown, as the machine stood still for {stall:?}: {report}")),
            None => return Err(report),
        }
        attempt += 1;
    }
}

#[test]
fn real_backends_die_hang_slow_down_flap_and_return() {
    let seed = setting("SEED", SEED);
    let length = Duration::from_secs(setting("SECONDS", SECONDS));
    let backends = setting("BACKENDS", BACKENDS) as usize;
    let scenarios = [without_limits(seed, length, backends), within_limits(seed, length), cut_off(seed)];
    thread::scope(|scope| {
        let playing: Vec<_> = scenarios.iter().map(|scenario| scope.spawn(move || play(scenario, seed))).collect();
        let failed: Vec<String> = playing.into_iter().filter_map(|playing| playing.join().unwrap().err()).collect();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    });
}

/// A random script of a random site, in which much dies at once now and then.
fn schedule(seed: u64) -> (Site, Script) {
    let mut rng = Rng::with_seed(seed);
    let site = Site::random(&mut rng);
    let slowest =
        site.pools.iter().map(|Pool { timing, .. }| timing.interval * u32::from(timing.fall) + timing.timeout);
    let length = slowest.max().unwrap_or_default() * 10;
    let mut script = Script::random(&mut rng, &site, length);
    let interval = site.timing(0).interval;
    while rng.u8(..3) > 0 {
        let from = length.mul_f64(rng.f64());
        let span = Span { from, until: from + length.mul_f64(0.3 * rng.f64()) };
        let state = rng.choice([State::Refusing, State::Hanging, State::Failing, State::Slow]).unwrap_or(State::Slow);
        let (pool, region, part) = (rng.usize(..site.pools.len()), rng.usize(..site.regions), rng.f64());
        let kind = rng.u8(..3);
        let mut struck: Vec<usize> = (0..site.backends()).collect();
        struck.retain(|backend| match (kind, site.endpoints.get(*backend)) {
            (0, endpoint) => endpoint.is_some_and(|endpoint| endpoint.pool == pool && endpoint.region == region),
            (1, endpoint) => endpoint.is_some_and(|endpoint| endpoint.pool == pool),
            (_, Some(_)) => rng.f64() < 0.6 + 0.4 * part,
            (_, None) => rng.bool(),
        });
        let spread = interval.mul_f64(rng.f64());
        script.strike(&mut rng, struck, span, spread, state);
    }
    (site, script)
}

/// Plays schedules in simulated time.
struct Simulator {
    folder: Folder,
    /// One for all, so that what no schedule changes is read once.
    loader: Loader,
}

impl Simulator {
    const FILE: &str = "meridian.toml";

    fn new() -> Self {
        let folder = Folder::new("schedules");
        let loader = Loader::new(Origin::File(folder.path(Self::FILE)));
        Self { folder, loader }
    }

    fn play(&mut self, site: &Site, script: &Script, seed: u64) -> Log {
        self.folder.put(Self::FILE, site.toml(80));
        let compile = || self.loader.load().unwrap_or_else(|problems| panic!("{problems}\n{}", site.toml(80))).compiled;
        simulated::run(site, script, seed, compile)
    }
}

#[test]
fn a_seed_replays() {
    let mut simulator = Simulator::new();
    for seed in SEED..SEED + 20 {
        let [first, second] = [(); 2].map(|()| {
            let (site, script) = schedule(seed);
            simulator.play(&site, &script, seed)
        });
        assert!(first == second, "{seed}");
    }
}

#[test]
fn thousands_of_schedules_in_simulated_time() {
    let first = setting("SEED", SEED);
    let schedules = setting("SCHEDULES", SCHEDULES);
    let mut simulator = Simulator::new();
    let mut census: BTreeMap<&'static str, usize> = BTreeMap::new();
    let began = Instant::now();
    for seed in first..first + schedules {
        let (site, script) = schedule(seed);
        let log = simulator.play(&site, &script, seed);
        let violations = check(&site, &script, simulated::SLACK, &log);
        assert!(violations.is_empty(), "{}\n{site:#?}", report("simulated", seed, &script, &violations));
        for (_, _, to) in log.timelines.iter().flat_map(log::Timeline::changes) {
            *census.entry(to.held.map_or(to.verdict.name(), Held::name)).or_default() += 1;
        }
    }
    println!("{schedules} schedules in {:?}: {census:?}", began.elapsed());
    if schedules >= SCHEDULES {
        for kind in ["up", "degraded", "down"].into_iter().chain(Held::ALL.map(Held::name)) {
            assert!(census.get(kind).is_some_and(|count| *count >= 100), "{kind} is rare: {census:?}");
        }
    }
}
