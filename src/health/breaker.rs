//! The circuit breaker of one endpoint.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::endpoint::MAX_HISTORY;
use crate::config;

/// Into how many parts the window of counts is cut: what is older than the window is forgotten part by part.
const PARTS: u32 = 10;
/// How often `open_for` is doubled at most.
const MAX_DOUBLINGS: u32 = 3;

/// Whether an endpoint is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As though there were no breaker.
    Closed,
    /// Not at all, as though it were down.
    Open,
    /// With a small part of its weight, to see whether it is well again.
    HalfOpen,
}

impl State {
    /// Each, by its index.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// As metrics and explanations call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state that ends.
    pub from: State,
    /// The state that begins.
    pub to: State,
    /// What decided it.
    pub cause: Cause,
}

/// Why a breaker changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// So many failures in a row.
    Row(u32),
    /// So many failures among so many results within the window.
    Rate(u64, u64),
    /// It was open for so long.
    Waited(Duration),
    /// A failure while it was half-open.
    Relapse,
    /// So many successes while it was half-open.
    Recovery(u32),
    /// The prober doubts what opened it.
    Doubt,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(failures) => write!(f, "{failures} failures in a row"),
            Self::Rate(failures, results) => write!(f, "{failures} of {results} results were failures"),
            Self::Waited(time) => write!(f, "it was open for {time:?}"),
            Self::Relapse => f.write_str("a failure while it was tried"),
            Self::Recovery(successes) => write!(f, "{successes} successes while it was tried"),
            Self::Doubt => f.write_str("this server doubts itself, and what opened it"),
        }
    }
}

/// One endpoint's breaker:
///
/// ```text
///                 `failures` in a row, or `error_rate` of at least
///                 `min_reports` results within `window`
///      ┌────────┐ ───────────────────────────────────────▶ ┌──────┐
///      │ closed │                                          │ open │ ◀──┐
///      └────────┘                                          └──────┘    │
///           ▲                                                  │       │
///           │                                     `open_for`   │       │ a failure
///           │                                     has passed   ▼       │ (open_for doubles,
///           │          `successes`                        ┌───────────┐│  8 times at most)
///           └──────────────────────────────────────────── │ half-open │┘
///                                                         └───────────┘
/// ```
///
/// Results are those of probes and those that are reported. While it is open they don't count. Where the prober doubts what was
/// counted, that is forgotten, and it is closed. One that opens again before it was closed for as long as it was open before stays
/// open for twice as long, too.
///
/// Pure: time comes in as an argument. Its size is bounded.
#[derive(Debug, Clone)]
pub struct Breaker {
    inner: Inner,
    /// Failures in a row.
    row: u32,
    window: Window,
    doublings: u32,
    /// When it last closed; nothing where it never was open.
    closed_at: Option<Instant>,
    /// Changes to each state, by [`State`]'s index.
    transitions: [u64; 3],
    history: VecDeque<(Instant, Transition)>,
}

#[derive(Debug, Clone, Copy)]
enum Inner {
    Closed,
    Open { since: Instant },
    HalfOpen { successes: u32 },
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            inner: Inner::Closed,
            row: 0,
            window: Window::default(),
            doublings: 0,
            closed_at: None,
            transitions: [0; 3],
            history: VecDeque::new(),
        }
    }
}

impl Breaker {
    /// The state since the latest call that was given the time.
    pub fn state(&self) -> State {
        match self.inner {
            Inner::Closed => State::Closed,
            Inner::Open { .. } => State::Open,
            Inner::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// How often it changed to each state, by [`State`]'s index.
    pub fn transitions(&self) -> [u64; 3] {
        self.transitions
    }

    /// When it opened and when it closed of late, oldest first, at most [`MAX_HISTORY`] of these. That it was tried in vain is none.
    pub fn history(&self) -> impl Iterator<Item = &(Instant, Transition)> {
        self.history.iter()
    }

    /// How long it is until an open one is tried.
    pub fn tried_in(&self, rules: &config::Breaker, now: Instant) -> Option<Duration> {
        let Inner::Open { since } = self.inner else { return None };
        Some(self.open_for(rules).saturating_sub(now.saturating_duration_since(since)))
    }

    /// Keeps the state, but not what was counted: that was by another window and towards other thresholds.
    #[must_use]
    pub fn with_other_rules(&self) -> Self {
        Self { row: 0, window: Window::default(), ..self.clone() }
    }

    /// Forgets what was counted, as that is doubted: it is closed, as though it had not opened for that. Returns the change,
    /// if that is one.
    pub fn forget(&mut self, now: Instant) -> Option<Transition> {
        self.row = 0;
        self.window = Window::default();
        (self.state() != State::Closed).then(|| {
            self.doublings = 0;
            self.turn(Inner::Closed, Cause::Doubt, now)
        })
    }

    /// Becomes half-open where it was open for long enough.
    pub fn advance(&mut self, rules: &config::Breaker, now: Instant) -> Option<Transition> {
        let Inner::Open { since } = self.inner else { return None };
        let open_for = self.open_for(rules);
        if now.saturating_duration_since(since) < open_for {
            return None;
        }
        Some(self.turn(Inner::HalfOpen { successes: 0 }, Cause::Waited(open_for), now))
    }

    /// Takes results made by `now`; at that time [`Self::advance`] has been called. The order of those that come together is
    /// not known: any success among them ends the row of failures, and any failure a trial.
    pub fn record(
        &mut self,
        rules: &config::Breaker,
        successes: u32,
        failures: u32,
        now: Instant,
    ) -> Option<Transition> {
        match self.inner {
            Inner::Open { .. } => None,
            Inner::HalfOpen { .. } if failures > 0 => {
                self.doublings = (self.doublings + 1).min(MAX_DOUBLINGS);
                Some(self.turn(Inner::Open { since: now }, Cause::Relapse, now))
            }
            Inner::HalfOpen { successes: before } => {
                let successes = before.saturating_add(successes);
                self.inner = Inner::HalfOpen { successes };
                if successes < rules.successes {
                    return None;
                }
                self.closed_at = Some(now);
                Some(self.turn(Inner::Closed, Cause::Recovery(successes), now))
            }
            Inner::Closed => {
                self.row = if successes > 0 { 0 } else { self.row.saturating_add(failures) };
                self.window.add(rules.window / PARTS, successes, failures, now);
                let (all, failed) = self.window.sums();
                let cause = if self.row >= rules.failures {
                    Cause::Row(self.row)
                } else if all >= rules.min_reports.into() && failed as f64 >= rules.error_rate * all as f64 {
                    Cause::Rate(failed, all)
                } else {
                    return None;
                };
                self.doublings = match self.closed_at {
                    Some(closed) if now.saturating_duration_since(closed) < self.open_for(rules) => {
                        (self.doublings + 1).min(MAX_DOUBLINGS)
                    }
                    _ => 0,
                };
                Some(self.turn(Inner::Open { since: now }, cause, now))
            }
        }
    }

    /// How long it stays open this time, or did last.
    fn open_for(&self, rules: &config::Breaker) -> Duration {
        rules.open_for.saturating_mul(1 << self.doublings)
    }

    /// Begins a state; nothing is kept of what was counted in the one before.
    fn turn(&mut self, to: Inner, cause: Cause, now: Instant) -> Transition {
        let from = self.state();
        self.inner = to;
        self.row = 0;
        self.window = Window::default();
        let to = self.state();
        self.transitions[to as usize] += 1;
        let transition = Transition { from, to, cause };
        if from == State::Closed || to == State::Closed {
            if self.history.len() == MAX_HISTORY {
                self.history.pop_front();
            }
            self.history.push_back((now, transition));
        }
        transition
    }
}

/// Counts of results within a time that moves on part by part: the part in which `now` is, and the nine before it.
#[derive(Debug, Clone, Default)]
struct Window {
    /// When the part of number 0 began: at the first result.
    origin: Option<Instant>,
    /// The number of the newest part.
    newest: u128,
    /// Results and failures in each part, by the part's number modulo their count.
    parts: [(u64, u64); PARTS as usize],
}

impl Window {
    fn add(&mut self, part: Duration, successes: u32, failures: u32, now: Instant) {
        let origin = *self.origin.get_or_insert(now);
        // Of a clock that is a little behind the one of another thread, the newest part is taken.
        let number = (now.saturating_duration_since(origin).as_nanos() / part.as_nanos().max(1)).max(self.newest);
        for passed in (self.newest + 1..=number).rev().take(PARTS as usize) {
            self.parts[(passed % u128::from(PARTS)) as usize] = (0, 0);
        }
        self.newest = number;
        let (all, failed) = &mut self.parts[(number % u128::from(PARTS)) as usize];
        *all += u64::from(successes) + u64::from(failures);
        *failed += u64::from(failures);
    }

    /// All results, and the failures among them.
    fn sums(&self) -> (u64, u64) {
        self.parts.iter().fold((0, 0), |(all, failed), part| (all + part.0, failed + part.1))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    const RULES: config::Breaker = config::Breaker {
        failures: 3,
        error_rate: 0.5,
        min_reports: 10,
        window: Duration::from_secs(10),
        open_for: Duration::from_secs(30),
        half_open_share: 0.05,
        successes: 2,
    };

    /// A breaker and its clock.
    struct Run {
        breaker: Breaker,
        start: Instant,
    }

    impl Run {
        fn new() -> Self {
            Self { breaker: Breaker::default(), start: Instant::now() }
        }

        /// Results at a time; what changed, in order.
        fn at(&mut self, milliseconds: u64, successes: u32, failures: u32) -> Vec<(State, Cause)> {
            let now = self.start + Duration::from_millis(milliseconds);
            let changes = [self.breaker.advance(&RULES, now), self.breaker.record(&RULES, successes, failures, now)];
            changes.into_iter().flatten().map(|change| (change.to, change.cause)).collect()
        }
    }

    use Cause::{Rate, Recovery, Relapse, Row, Waited};
    use State::{Closed, HalfOpen, Open};

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let mut run = Run::new();
        // Further apart than the window is long, so that no rate counts.
        for (seconds, successes, failures) in [(0, 0, 2), (20, 1, 0), (40, 0, 2), (60, 1, 5), (80, 0, 2)] {
            assert_eq!(run.at(seconds * 1000, successes, failures), []);
        }
        assert_eq!(run.at(100_000, 0, 1), [(Open, Row(3))]);
    }

    #[test]
    fn a_rate_needs_enough_results_within_the_window() {
        let mut run = Run::new();
        assert_eq!(run.at(0, 4, 5), []);
        assert_eq!(run.at(999, 1, 0), [(Open, Rate(5, 10))]);
        let mut run = Run::new();
        assert_eq!(run.at(0, 4, 5), []);
        // The first second is part of the window until 10 s.
        assert_eq!(run.at(10_000, 1, 0), []);
        let mut run = Run::new();
        assert_eq!(run.at(0, 4, 5), []);
        assert_eq!(run.at(9_999, 1, 0), [(Open, Rate(5, 10))]);
    }

    #[test]
    fn a_clock_that_is_a_little_behind_forgets_nothing() {
        let mut run = Run::new();
        assert_eq!(run.at(0, 1, 0), []);
        assert_eq!(run.at(5_000, 3, 4), []);
        assert_eq!(run.at(4_000, 0, 0), []);
        assert_eq!(run.at(5_500, 1, 1), [(Open, Rate(5, 10))]);
    }

    #[test]
    fn the_whole_way_round_at_exact_times() {
        let mut run = Run::new();
        assert_eq!(run.at(0, 0, 3), [(Open, Row(3))]);
        // Open: results don't count.
        assert_eq!(run.at(29_999, 100, 0), []);
        assert_eq!(run.breaker.state(), Open);
        assert_eq!(run.at(30_000, 1, 0), [(HalfOpen, Waited(seconds(30)))]);
        assert_eq!(run.at(31_000, 0, 1), [(Open, Relapse)]);
        // Twice as long.
        assert_eq!(run.breaker.tried_in(&RULES, run.start + seconds(51)), Some(seconds(40)));
        assert_eq!(run.at(90_999, 0, 0), []);
        assert_eq!(run.at(91_000, 0, 0), [(HalfOpen, Waited(seconds(60)))]);
        assert_eq!(run.at(92_000, 0, 1), [(Open, Relapse)]);
        assert_eq!(run.at(92_000 + 120_000, 0, 1), [(HalfOpen, Waited(seconds(120))), (Open, Relapse)]);
        // Eight times, and no more.
        assert_eq!(run.at(212_000 + 240_000, 0, 1), [(HalfOpen, Waited(seconds(240))), (Open, Relapse)]);
        assert_eq!(run.at(452_000 + 239_999, 0, 0), []);
        assert_eq!(run.at(452_000 + 240_000, 2, 0), [(HalfOpen, Waited(seconds(240))), (Closed, Recovery(2))]);
        assert_eq!(run.breaker.transitions(), [1, 5, 5]);
    }

    #[test]
    fn other_rules_keep_the_state_and_forget_the_counts() {
        let mut run = Run::new();
        run.at(0, 4, 4);
        run.at(50, 0, 1);
        run.breaker = run.breaker.with_other_rules();
        assert_eq!(run.at(100, 0, 2), []);
        assert_eq!(run.at(200, 0, 1), [(Open, Row(3))]);
        run.breaker = run.breaker.with_other_rules();
        assert_eq!((run.breaker.state(), run.breaker.transitions()), (Open, [0, 1, 0]));
    }

    #[test]
    fn what_is_doubted_is_forgotten() {
        let mut run = Run::new();
        run.at(0, 4, 5);
        run.breaker.forget(run.start);
        assert_eq!(run.at(100, 0, 2), []);
        run.breaker.forget(run.start);
        assert_eq!(run.at(200, 0, 2), []);
        assert_eq!(run.breaker.transitions(), [0, 0, 0], "it was closed all the time");
        assert_eq!(run.at(300, 0, 1), [(Open, Row(3))]);
        run.breaker.forget(run.start + seconds(1));
        assert_eq!((run.breaker.state(), run.breaker.transitions()), (Closed, [1, 1, 0]));
        let last = run.breaker.history().last().map(|(at, change)| (*at, change.to, change.cause));
        assert_eq!(last, Some((run.start + seconds(1), Closed, Cause::Doubt)));
        assert_eq!(run.at(2_000, 0, 2), []);
        // Nor is it open for longer the next time.
        let mut run = Run::new();
        run.at(0, 0, 3);
        run.at(30_000, 2, 0);
        run.at(50_000, 0, 3);
        run.breaker.forget(run.start + seconds(55));
        assert_eq!(run.at(75_000, 0, 3), [(Open, Row(3))]);
        assert_eq!(run.breaker.tried_in(&RULES, run.start + seconds(75)), Some(seconds(30)));
    }

    #[test]
    fn what_was_closed_for_long_begins_anew() {
        for (closed_ms, open_seconds) in [(29_999, 60), (30_000, 30)] {
            let mut run = Run::new();
            run.at(0, 0, 3);
            assert_eq!(run.at(30_000, 2, 0), [(HalfOpen, Waited(seconds(30))), (Closed, Recovery(2))]);
            assert_eq!(run.at(30_000 + closed_ms, 0, 3), [(Open, Row(3))]);
            let opened_ms = 30_000 + closed_ms;
            assert_eq!(run.at(opened_ms + open_seconds * 1000 - 1, 0, 0), []);
            assert_eq!(run.at(opened_ms + open_seconds * 1000, 0, 0), [(HalfOpen, Waited(seconds(open_seconds)))]);
        }
    }

    /// The rules read literally, over all that was ever seen; times in milliseconds.
    #[derive(Default)]
    struct Naive {
        state: Option<State>,
        since: u64,
        /// How long it was open last.
        open_ms: u64,
        /// Seen since the state began.
        seen: Vec<(u64, u32, u32)>,
        closed_once: bool,
    }

    impl Naive {
        fn state(&self) -> State {
            self.state.unwrap_or(Closed)
        }

        fn turn(&mut self, to: State, now: u64) {
            (self.state, self.since) = (Some(to), now);
            self.seen.clear();
        }

        fn at(&mut self, now: u64, successes: u32, failures: u32) {
            let first_ms = RULES.open_for.as_millis() as u64;
            if self.state() == Open && now - self.since >= self.open_ms {
                self.turn(HalfOpen, now);
            }
            if self.state() != Open {
                self.seen.push((now, successes, failures));
            }
            match self.state() {
                Open => {}
                HalfOpen => {
                    if failures > 0 {
                        self.open_ms = (self.open_ms * 2).min(first_ms * 8);
                        self.turn(Open, now);
                    } else if self.seen.iter().map(|seen| seen.1).sum::<u32>() >= RULES.successes {
                        self.closed_once = true;
                        self.turn(Closed, now);
                    }
                }
                Closed => {
                    let row: u32 = self.seen.iter().rev().take_while(|seen| seen.1 == 0).map(|seen| seen.2).sum();
                    let part_ms = (RULES.window / PARTS).as_millis() as u64;
                    let origin = self.seen[0].0;
                    let part = |time: u64| (time - origin) / part_ms;
                    let within = self.seen.iter().filter(|seen| part(seen.0) + u64::from(PARTS) > part(now));
                    let (all, failed) =
                        within.fold((0, 0), |(all, failed), seen| (all + seen.1 + seen.2, failed + seen.2));
                    let rate = all >= RULES.min_reports && f64::from(failed) / f64::from(all) >= RULES.error_rate;
                    if row >= RULES.failures || rate {
                        let soon = self.closed_once && now - self.since < self.open_ms;
                        self.open_ms = if soon { (self.open_ms * 2).min(first_ms * 8) } else { first_ms };
                        self.turn(Open, now);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_rules_over_all_that_was_seen(
            steps in proptest::collection::vec((prop_oneof![0u64..3_000, 0u64..70_000], 0u32..3, 0u32..3), 0..200),
        ) {
            let mut run = Run::new();
            let mut naive = Naive::default();
            let mut now = 0;
            for (passed, successes, failures) in steps {
                now += passed;
                run.at(now, successes, failures);
                naive.at(now, successes, failures);
                prop_assert_eq!(run.breaker.state(), naive.state(), "at {} ms", now);
            }
        }
    }
}
