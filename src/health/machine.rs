//! The state machine that makes a verdict of what the runs of a target's probe found.

use std::fmt;
use std::time::{Duration, Instant};

use crate::config::Timing;

/// What the observations of a target say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Verdict {
    /// Nothing was observed yet; serves as though up.
    #[default]
    Unknown,
    /// It serves.
    Up,
    /// It serves, but slowly or only in part; how much it gets is for its health score to say.
    Degraded,
    /// It does not.
    Down,
}

impl Verdict {
    /// All, in the order of their names' first mention.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Up, Self::Degraded, Self::Down];

    /// Whether it is good enough to be answered.
    pub fn serves(self) -> bool {
        self != Self::Down
    }

    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What one run says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grade {
    /// All that was expected, in time.
    Good,
    /// All that was expected, but later than `degraded_after`, or not from every address.
    Poor,
    /// Not what was expected.
    Failed,
}

/// A change of verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The verdict that ends.
    pub from: Verdict,
    /// The verdict that begins.
    pub to: Verdict,
    /// Observations in a row that decided it; 0 where an operator did.
    pub streak: u8,
    /// How long the old verdict lasted; nothing where it was unknown.
    pub lasted: Option<Duration>,
}

/// One target's state:
///
/// ```text
///      ┌─────────┐  first run: good ▶ up, poor ▶ degraded, failed ▶ down
///      │ unknown │
///      └─────────┘
///                     fall runs in a row
///      ┌──────┐       that aren't good        ┌──────────┐
///      │  up  │ ────────────────────────────▶ │ degraded │
///      │      │ ◀──────────────────────────── │          │
///      └──────┘       rise good runs          └──────────┘
///        │   ▲        in a row                  │     ▲
///        │   │                                  │     │
///        │   │ rise runs in a row               │     │ the same, but not
///        │   │ that don't fail, all             │     │ all of them good
///        │   │ good, and no hold                │     │
///        │   └────────────┐          ┌──────────┼─────┘
///        │                │          │          │
///        │ fall failures  │          │          │ fall failures
///        │ in a row     ┌──────────────┐        │ in a row
///        └────────────▶ │     down     │ ◀──────┘
///                       └──────────────┘
///                         held down: from the second going-down on for `hold_down`, doubled with each further
///                         one up to 16 times as long; one of them is forgotten for each 32 × `hold_down` that
///                         passes since the last. With `manual_resume`: until an operator resumes it.
/// ```
///
/// Beside it stand the endpoint's circuit [`breaker`](super::breaker), which the same runs and pushed reports move, and what the
/// operator says of it: an endpoint is answered where all three let it.
///
/// While the prober doubts that it went down, nothing holds it; what comes up before the doubt ends did not go down for any hold.
///
/// Streaks count the latest runs in a row. Pure: time comes in as an argument.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    verdict: Verdict,
    since: Option<Instant>,
    streaks: Streaks,
    /// Goings-down that were not forgotten when it last went down, that one included.
    falls: u8,
    /// When it last went down.
    fell: Option<Instant>,
    /// Whether an operator said since it went down that it may come up.
    is_resumed: bool,
    /// Whether the prober doubts that it went down.
    is_doubted: bool,
}

/// The latest runs in a row that were of a kind, at most 255.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Streaks {
    failed: u8,
    not_good: u8,
    good: u8,
    not_failed: u8,
}

impl Streaks {
    fn count(&mut self, grade: Grade) {
        let longer = |streak: u8, goes_on: bool| if goes_on { streak.saturating_add(1) } else { 0 };
        self.failed = longer(self.failed, grade == Grade::Failed);
        self.not_good = longer(self.not_good, grade != Grade::Good);
        self.good = longer(self.good, grade == Grade::Good);
        self.not_failed = longer(self.not_failed, grade != Grade::Failed);
    }
}

/// Goings-down that are remembered at most.
const MAX_FALLS: u8 = 6;
/// A going-down is forgotten after so many times `hold_down`.
const FORGOTTEN_AFTER: u32 = 32;

impl Machine {
    /// As it was when it was last stored, with a verdict that began at `since`; how it flapped before is forgotten.
    pub fn restored(verdict: Verdict, since: Instant, is_resumed: bool) -> Self {
        let fell = (verdict == Verdict::Down).then_some(since);
        Self { verdict, since: Some(since), falls: u8::from(fell.is_some()), fell, is_resumed, ..Self::default() }
    }

    /// The present verdict.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// When the present verdict began; nothing while it is unknown.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether an operator said since it went down that it may come up.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Takes the result of one run and returns the change of verdict that it decides, if any.
    pub fn observe(&mut self, timing: &Timing, grade: Grade, now: Instant) -> Option<Transition> {
        self.streaks.count(grade);
        self.step(timing, now)
    }

    /// Lets it come up as soon as `rise` runs in a row say so, whatever holds it down; at once where they did already.
    pub fn resume(&mut self, timing: &Timing, now: Instant) -> Option<Transition> {
        self.is_resumed = self.verdict == Verdict::Down;
        if self.is_resumed { self.step(timing, now) } else { None }
    }

    /// Whether the prober doubts what it finds from now on. A going-down that is doubted holds nobody, and counts for none where it
    /// comes up before the doubt ends.
    pub fn doubt(&mut self, is_doubted: bool) {
        self.is_doubted = is_doubted && self.verdict == Verdict::Down;
    }

    /// Follows the diagram.
    fn step(&mut self, timing: &Timing, now: Instant) -> Option<Transition> {
        let Streaks { failed, not_good, good, not_failed } = self.streaks;
        let (to, streak) = match self.verdict {
            Verdict::Unknown if failed > 0 => (Verdict::Down, failed),
            Verdict::Unknown if good > 0 => (Verdict::Up, good),
            Verdict::Unknown => (Verdict::Degraded, not_good),
            Verdict::Up | Verdict::Degraded if failed >= timing.fall => (Verdict::Down, failed),
            Verdict::Up if not_good >= timing.fall => (Verdict::Degraded, not_good),
            Verdict::Degraded if good >= timing.rise => (Verdict::Up, good),
            Verdict::Down if not_failed >= timing.rise && self.hold(timing, now) == Hold::None => {
                (if good >= timing.rise { Verdict::Up } else { Verdict::Degraded }, not_failed)
            }
            Verdict::Up | Verdict::Degraded | Verdict::Down => return None,
        };
        let transition = Transition {
            from: self.verdict,
            to,
            streak,
            lasted: self.since.map(|since| now.saturating_duration_since(since)),
        };
        if to == Verdict::Down {
            self.falls = self.remembered(timing, now).saturating_add(1).min(MAX_FALLS);
            self.fell = Some(now);
            self.is_resumed = false;
        } else if self.is_doubted {
            self.falls = self.falls.saturating_sub(1);
        }
        self.is_doubted = false;
        self.verdict = to;
        self.since = Some(now);
        Some(transition)
    }

    /// The goings-down that aren't forgotten yet.
    fn remembered(&self, timing: &Timing, now: Instant) -> u8 {
        let Some(fell) = self.fell else { return 0 };
        let forgets = timing.hold_down.saturating_mul(FORGOTTEN_AFTER).as_nanos().max(1);
        let forgotten = now.saturating_duration_since(fell).as_nanos() / forgets;
        self.falls.saturating_sub(u8::try_from(forgotten).unwrap_or(u8::MAX))
    }

    /// What keeps it down though its runs may say otherwise.
    pub fn hold(&self, timing: &Timing, now: Instant) -> Hold {
        if self.is_doubted { Hold::None } else { self.hold_undoubted(timing, now) }
    }

    /// The same, or what will keep it down once the prober no longer doubts that it went down.
    pub fn hold_undoubted(&self, timing: &Timing, now: Instant) -> Hold {
        if self.verdict != Verdict::Down || self.is_resumed {
            return Hold::None;
        }
        if timing.manual_resume {
            return Hold::UntilResumed;
        }
        let times = self.falls.checked_sub(2).map_or(0, |doubled| 1_u32 << doubled.min(MAX_FALLS - 2));
        let ends = self.fell.and_then(|fell| fell.checked_add(timing.hold_down.saturating_mul(times)));
        match ends.map(|ends| ends.saturating_duration_since(now)) {
            Some(left) if !left.is_zero() => Hold::For(left),
            _ => Hold::None,
        }
    }

    /// How soon it can begin to serve or cease to, if the latest run speaks for that: the interval times the runs that are
    /// missing, at least 1, and not before a hold ends. Nothing while it is steady.
    pub fn soonest_change(&self, timing: &Timing, now: Instant) -> Option<Duration> {
        let Streaks { failed, not_failed, .. } = self.streaks;
        let (streak, needed) = match self.verdict {
            Verdict::Unknown => return Some(timing.interval),
            Verdict::Up | Verdict::Degraded => (failed, timing.fall),
            Verdict::Down => (not_failed, timing.rise),
        };
        let missing = needed.saturating_sub(streak).max(1);
        let soonest = timing.interval.saturating_mul(missing.into());
        match self.hold(timing, now) {
            _ if streak == 0 => None,
            Hold::None => Some(soonest),
            Hold::For(left) => Some(soonest.max(left)),
            Hold::UntilResumed => None,
        }
    }

    /// Keeps the verdict, when it began and how it flapped, but no streak: those ran towards other thresholds.
    #[must_use]
    pub fn with_other_timing(&self) -> Self {
        Self { streaks: Streaks::default(), ..self.clone() }
    }
}

/// What keeps a target, or an endpoint, down though its runs may say otherwise; what lasts longer is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// Nothing but its runs.
    None,
    /// It flaps, and is held for so long.
    For(Duration),
    /// `manual_resume`.
    UntilResumed,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn timing(fall: u8, rise: u8) -> Timing {
        Timing { interval: INTERVAL, hold_down: Duration::ZERO, fall, rise, ..Timing::DEFAULT }
    }

    fn grade(letter: char) -> Grade {
        match letter {
            '+' => Grade::Good,
            '~' => Grade::Poor,
            _ => Grade::Failed,
        }
    }

    /// Feeds `+` (good), `~` (poor) and `-` (failed) and writes what the machine says after each: `?`, `U`, `P` (degraded) or `D`,
    /// followed by the runs left until it may begin or cease to serve, where there are any.
    fn run(fall: u8, rise: u8, observations: &str) -> String {
        let timing = timing(fall, rise);
        let mut machine = Machine::default();
        let now = Instant::now();
        let mut said = Vec::new();
        for observation in observations.chars() {
            machine.observe(&timing, grade(observation), now);
            let verdict = match machine.verdict() {
                Verdict::Unknown => '?',
                Verdict::Up => 'U',
                Verdict::Degraded => 'P',
                Verdict::Down => 'D',
            };
            let left =
                machine.soonest_change(&timing, now).map(|left| (left.as_secs() / INTERVAL.as_secs()).to_string());
            said.push(format!("{verdict}{}", left.unwrap_or_default()));
        }
        said.join(" ")
    }

    #[test]
    fn verdicts_follow_the_diagram() {
        let cases = [
            // fall, rise, observations, verdict and runs left after each
            (3, 2, "+", "U"),
            (3, 2, "-", "D"),
            (3, 2, "~", "P"),
            (3, 2, "+---", "U U2 U1 D"),
            (3, 2, "+--+--", "U U2 U1 U U2 U1"),
            (3, 2, "-++", "D D1 U"),
            (3, 2, "-+-+-", "D D1 D D1 D"),
            (3, 2, "-++---++", "D D1 U U2 U1 D D1 U"),
            (1, 1, "+-+-", "U D U D"),
            (1, 3, "+-+++", "U D D2 D1 U"),
            (2, 1, "+--+", "U U1 D U"),
            (3, 2, "+~~~", "U U U P"),
            (3, 2, "+-~-", "U U2 U P2"),
            (3, 2, "+~--", "U U U2 P1"),
            (3, 2, "~++", "P P U"),
            (3, 2, "~+~++", "P P P P U"),
            (3, 2, "~---", "P P2 P1 D"),
            (3, 2, "-~~", "D D1 P"),
            (3, 2, "-+~++", "D D1 P P U"),
            (3, 2, "-~+", "D D1 P"),
        ];
        for (fall, rise, observations, expected) in cases {
            assert_eq!(run(fall, rise, observations), expected, "fall {fall}, rise {rise}, {observations}");
        }
    }

    #[test]
    fn unknown_is_one_run_from_a_verdict() {
        let machine = Machine::default();
        assert_eq!(machine.verdict(), Verdict::Unknown);
        assert_eq!(machine.soonest_change(&timing(3, 2), Instant::now()), Some(INTERVAL));
    }

    #[test]
    fn a_transition_says_what_decided_it_and_how_long_the_old_verdict_lasted() {
        let timing = timing(2, 2);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut machine = Machine::default();
        let first = Transition { from: Verdict::Unknown, to: Verdict::Up, streak: 1, lasted: None };
        assert_eq!(machine.observe(&timing, Grade::Good, at(1)), Some(first));
        assert_eq!(machine.observe(&timing, Grade::Good, at(2)), None);
        assert_eq!(machine.observe(&timing, Grade::Failed, at(3)), None);
        assert_eq!(machine.since(), Some(at(1)));
        let lasted = Some(Duration::from_secs(3));
        let second = Transition { from: Verdict::Up, to: Verdict::Down, streak: 2, lasted };
        assert_eq!(machine.observe(&timing, Grade::Failed, at(4)), Some(second));
        assert_eq!(machine.since(), Some(at(4)));
    }

    #[test]
    fn other_timing_keeps_the_verdict_and_ends_the_streak() {
        let start = Instant::now();
        let mut machine = Machine::default();
        machine.observe(&timing(3, 2), Grade::Good, start);
        machine.observe(&timing(3, 2), Grade::Failed, start);
        let carried = machine.with_other_timing();
        assert_eq!((carried.verdict(), carried.since()), (Verdict::Up, Some(start)));
        assert_eq!(carried.soonest_change(&timing(1, 2), start), None);
    }

    /// Goes down and comes up once per `period` from the start on, with runs each second, and tells for how many seconds it was down
    /// each time.
    fn flap(timing: &Timing, machine: &mut Machine, start: Instant, periods: &[u64]) -> Vec<u64> {
        let (mut second, mut downs) = (0, vec![]);
        for period in periods {
            let ends = second + period;
            // It fails for so long as it takes to go down, and then never does.
            let mut was_down = 0;
            let mut failing = true;
            while second < ends {
                second += 1;
                let now = start + Duration::from_secs(second);
                machine.observe(timing, if failing { Grade::Failed } else { Grade::Good }, now);
                failing = failing && machine.verdict() != Verdict::Down;
                was_down += u64::from(machine.verdict() == Verdict::Down);
            }
            downs.push(was_down);
        }
        downs
    }

    #[test]
    fn one_that_flaps_is_held_down_for_longer_each_time_and_that_is_forgotten() {
        let second = Duration::from_secs(1);
        let timing = Timing { interval: second, hold_down: 10 * second, fall: 2, rise: 2, ..Timing::DEFAULT };
        let start = Instant::now();
        let mut machine = Machine::default();
        machine.observe(&timing, Grade::Good, start);
        let downs = flap(&timing, &mut machine, start, &[200; 8]);
        // A going-down is forgotten each 320 s since the last, so not among these.
        assert_eq!(downs, [2, 10, 20, 40, 80, 160, 160, 160]);
        // 640 s after the last two are forgotten, and this is one more.
        let later = start + Duration::from_secs(8 * 200 + 440);
        assert_eq!(flap(&timing, &mut machine, later, &[200]), [80]);
        let much_later = later + Duration::from_secs(10_000);
        assert_eq!(flap(&timing, &mut machine, much_later, &[200, 200]), [2, 10]);
        let never = Timing { hold_down: Duration::ZERO, ..timing };
        assert_eq!(flap(&never, &mut Machine::default(), start, &[20; 5]), [2; 5]);
    }

    #[test]
    fn while_it_is_held_the_change_is_not_nearer_than_the_end() {
        let second = Duration::from_secs(1);
        let timing = Timing { interval: second, hold_down: 10 * second, fall: 1, rise: 2, ..Timing::DEFAULT };
        let start = Instant::now();
        let at = |seconds| start + seconds * second;
        let mut machine = Machine::default();
        for (seconds, grade) in [(0, Grade::Failed), (1, Grade::Good), (2, Grade::Good), (3, Grade::Failed)] {
            machine.observe(&timing, grade, at(seconds));
        }
        assert_eq!(machine.hold(&timing, at(3)), Hold::For(10 * second));
        assert_eq!(machine.soonest_change(&timing, at(3)), None);
        machine.observe(&timing, Grade::Good, at(4));
        assert_eq!(machine.soonest_change(&timing, at(4)), Some(9 * second));
        assert_eq!(machine.observe(&timing, Grade::Good, at(12)), None);
        assert_eq!(machine.observe(&timing, Grade::Good, at(13)).unwrap().to, Verdict::Up);
    }

    #[test]
    fn one_that_is_resumed_by_hand_waits_for_the_hand() {
        let timing = Timing { manual_resume: true, ..timing(1, 2) };
        let start = Instant::now();
        let mut machine = Machine::default();
        machine.observe(&timing, Grade::Failed, start);
        for _ in 0..300 {
            assert_eq!(machine.observe(&timing, Grade::Good, start), None);
        }
        assert_eq!((machine.hold(&timing, start), machine.soonest_change(&timing, start)), (Hold::UntilResumed, None));
        let up = machine.resume(&timing, start).unwrap();
        assert_eq!((up.to, up.streak), (Verdict::Up, 255));
        assert_eq!(machine.resume(&timing, start), None);
        // The word holds for one time.
        machine.observe(&timing, Grade::Failed, start);
        assert_eq!(machine.hold(&timing, start), Hold::UntilResumed);
        // Before it is well again, it takes its runs.
        assert_eq!(machine.resume(&timing, start), None);
        assert_eq!(machine.observe(&timing, Grade::Good, start), None);
        assert_eq!(machine.observe(&timing, Grade::Good, start).unwrap().to, Verdict::Up);
    }

    #[test]
    fn what_was_stored_goes_on_and_takes_whole_streaks_to_change() {
        let timing = timing(2, 2);
        let start = Instant::now();
        let mut machine = Machine::restored(Verdict::Up, start, false);
        assert_eq!((machine.verdict(), machine.soonest_change(&timing, start)), (Verdict::Up, None));
        assert_eq!(machine.observe(&timing, Grade::Failed, start), None);
        assert_eq!(machine.observe(&timing, Grade::Failed, start).unwrap().to, Verdict::Down);
        let mut machine = Machine::restored(Verdict::Down, start, false);
        assert_eq!(machine.observe(&timing, Grade::Good, start), None);
        assert_eq!(machine.observe(&timing, Grade::Good, start).unwrap().to, Verdict::Up);
    }

    /// The rules read literally, over the whole history.
    fn naive(fall: usize, rise: usize, history: &[Grade]) -> Verdict {
        let mut verdict = Verdict::Unknown;
        for end in 1..=history.len() {
            let last = |count: usize, is: &dyn Fn(Grade) -> bool| {
                end >= count && history[end - count..end].iter().all(|grade| is(*grade))
            };
            let failed = |grade| grade == Grade::Failed;
            let good = |grade| grade == Grade::Good;
            verdict = match verdict {
                Verdict::Unknown => match history[0] {
                    Grade::Good => Verdict::Up,
                    Grade::Poor => Verdict::Degraded,
                    Grade::Failed => Verdict::Down,
                },
                Verdict::Up | Verdict::Degraded if last(fall, &failed) => Verdict::Down,
                Verdict::Up if last(fall, &|grade| !good(grade)) => Verdict::Degraded,
                Verdict::Degraded | Verdict::Down if last(rise, &good) => Verdict::Up,
                Verdict::Down if last(rise, &|grade| !failed(grade)) => Verdict::Degraded,
                same => same,
            };
        }
        verdict
    }

    fn grades(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Grade>> {
        proptest::collection::vec(prop_oneof![Just(Grade::Good), Just(Grade::Poor), Just(Grade::Failed)], count)
    }

    proptest! {
        #[test]
        fn agrees_with_the_rules_over_the_whole_history(fall in 1u8..6, rise in 1u8..6, history in grades(0..80)) {
            let timing = timing(fall, rise);
            let mut machine = Machine::default();
            for (seen, &grade) in history.iter().enumerate() {
                let before = machine.verdict();
                let transition = machine.observe(&timing, grade, Instant::now());
                prop_assert_eq!(machine.verdict(), naive(fall.into(), rise.into(), &history[..=seen]));
                prop_assert_eq!(transition.is_some(), before != machine.verdict());
            }
        }

        #[test]
        fn begins_or_ceases_to_serve_after_exactly_the_runs_left(fall in 1u8..6, rise in 1u8..6, history in grades(1..40)) {
            let timing = timing(fall, rise);
            let now = Instant::now();
            let mut machine = Machine::default();
            for grade in history {
                machine.observe(&timing, grade, now);
            }
            if let Some(soonest) = machine.soonest_change(&timing, now) {
                let left = soonest.as_secs() / INTERVAL.as_secs();
                let served = machine.verdict().serves();
                for more in 1..=left {
                    machine.observe(&timing, if served { Grade::Failed } else { Grade::Good }, now);
                    prop_assert_eq!(machine.verdict().serves() != served, more == left);
                }
            }
        }
    }
}
