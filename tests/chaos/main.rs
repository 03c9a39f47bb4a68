//! Backends that die, hang, slow down, flap and return, and a checker that knows it.
//!
//! A [`scenario`] has a [`site`], and a [`script`] of a seed that says what befalls each of its backends, what operators do, and when
//! the server is restarted. It is played in real time ([`real`]): hundreds of listeners on loopback, the real binary that probes
//! them, and a client that asks it all the time. The same is played in simulated time ([`simulated`]), and thousands like it: the same
//! core, with its time and what probes find given to it. Both make a [`log`] of the verdicts and answers that were seen, and the
//! [`checker`] compares that with the truth.
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
mod scenario;
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

use meridian::health::Verdict;
use meridian::health::breaker::State;
use meridian::health::guard::Held;
use meridian::health::overrides::Word;

use crate::checker::check;
use crate::log::{Log, Shown};
use crate::scenario::{Kind, Scenario};
use crate::script::End;
use crate::simulated::Simulator;

const SEED: u64 = 20_261_121;
const SECONDS: u64 = 24;
const BACKENDS: u64 = 300;
const SCHEDULES: u64 = 2_000;
/// Of a failure so many violations are shown.
const MOST_SHOWN: usize = 20;
/// A script is played again where the machine stood still.
const ATTEMPTS: u32 = 3;

fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(format!("MERIDIAN_CHAOS_{name}"));
    value.map_or(default, |value| value.parse().unwrap_or_else(|error| panic!("MERIDIAN_CHAOS_{name}: {error}")))
}

/// The scenarios of a seed that are played in real time, each at once with the others.
fn real_scenarios(seed: u64) -> [Scenario; Kind::ALL.len()] {
    let length = Duration::from_secs(setting("SECONDS", SECONDS));
    let backends = setting("BACKENDS", BACKENDS) as usize;
    Kind::ALL.map(|kind| Scenario::real(kind, seed, length, backends))
}

/// What is wrong with what was seen, and how to see it again; of a large site also that nothing was shown.
fn judge(scenario: &Scenario, seed: u64, slack: Duration, is_large: bool, log: &Log) -> Result<(), String> {
    let Scenario { kind, site, script } = scenario;
    let violations = check(site, script, slack, log);
    let (shows, shown) = (if is_large { kind.shows() } else { &[] }, log.shown());
    let missing: Vec<_> = shows.iter().filter(|what| !shown.contains(what)).collect();
    if violations.is_empty() && missing.is_empty() {
        return Ok(());
    }
    let mut text = format!("{kind:?}: {} violations with MERIDIAN_CHAOS_SEED={seed}:", violations.len());
    for violation in violations.iter().take(MOST_SHOWN) {
        let _ = write!(text, "\n  {violation}");
        let _ = violation.backend.map_or(Ok(()), |backend| write!(text, "\n    {}", script.stories[backend]));
    }
    let _ = write!(text, "\n  acts: {:?}", log.done);
    if !missing.is_empty() {
        let _ = write!(text, "\n  and never was seen {missing:?}");
    }
    Err(text)
}

/// Plays it in real time until the machine keeps pace; what is wrong, if anything is.
fn play(scenario: &Scenario, seed: u64) -> Result<(), String> {
    let mut attempt = 1;
    loop {
        let seeing = real::run(&scenario.site, &scenario.script);
        let Err(report) = judge(scenario, seed, real::SLACK, true, &seeing.log) else { return Ok(()) };
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
    let scenarios = real_scenarios(seed);
    thread::scope(|scope| {
        let playing: Vec<_> = scenarios.iter().map(|scenario| scope.spawn(move || play(scenario, seed))).collect();
        let failed: Vec<String> = playing.into_iter().filter_map(|playing| playing.join().unwrap().err()).collect();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    });
}

#[test]
fn a_seed_replays() {
    let mut simulator = Simulator::new();
    for seed in SEED..SEED + 20 {
        let [first, second] = [(); 2].map(|()| simulator.play(&Scenario::any(seed), seed));
        assert!(first == second, "{seed}");
    }
}

/// The scenarios of real time, and thousands like them: of sites of any timing, with fewer backends.
#[test]
fn thousands_of_schedules_in_simulated_time() {
    let first = setting("SEED", SEED);
    let schedules = setting("SCHEDULES", SCHEDULES);
    let mut simulator = Simulator::new();
    // How often what was seen.
    let mut census: BTreeMap<String, usize> = BTreeMap::new();
    let began = Instant::now();
    let mut play = |scenario: &Scenario, seed, is_large| {
        let log = simulator.play(scenario, seed);
        let judged = judge(scenario, seed, simulated::SLACK, is_large, &log);
        judged.unwrap_or_else(|report| panic!("in simulated time, {report}\n{:?}", scenario.site));
        log.shown().iter().for_each(|shown| *census.entry(format!("{shown:?}")).or_default() += 1);
    };
    real_scenarios(first).iter().for_each(|scenario| play(scenario, first, true));
    println!("those of real time in {:?}", began.elapsed());
    (first..first + schedules).for_each(|seed| play(&Scenario::any(seed), seed, false));
    println!("{schedules} schedules in {:?}: {census:?}", began.elapsed());
    if schedules >= SCHEDULES {
        let verdicts = Verdict::ALL.map(Shown::Verdict).into_iter();
        let all = verdicts.chain(Held::ALL.map(Shown::Held)).chain(Word::ALL.map(Shown::Word));
        let all = all.chain(State::ALL.map(Shown::Breaker));
        for shown in all.chain(End::ALL.map(Shown::Restart)).chain([Shown::RestartInDoubt]) {
            let count = census.get(&format!("{shown:?}")).copied().unwrap_or_default();
            assert!(count >= 100, "{shown:?} is rare: {census:?}");
        }
    }
}
