//! The state machine that makes a verdict of a target's successes and failures.

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
    /// It does not.
    Down,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// A change of verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The verdict that ends.
    pub from: Verdict,
    /// The verdict that begins.
    pub to: Verdict,
    /// Observations in a row that decided it.
    pub streak: u8,
    /// How long the old verdict held; nothing where it was unknown.
    pub held: Option<Duration>,
}

/// One target's state:
///
/// ```text
///                    first success
///      ┌─────────┐ ─────────────────▶ ┌──────┐
///      │ unknown │                    │  up  │ ◀─┐ a success ends
///      └─────────┘                    └──────┘ ──┘ the streak
///           │                          │    ▲
///           │ first     fall failures  │    │  rise successes
///           │ failure   in a row       ▼    │  in a row
///           │                         ┌──────┐
///           └───────────────────────▶ │ down │ ◀─┐ a failure ends
///                                     └──────┘ ──┘ the streak
/// ```
///
/// The streak counts the latest observations in a row that speak against the verdict; it is always shorter than the
/// threshold that it runs towards. Pure: time comes in as an argument and is only kept to tell how long a verdict held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    verdict: Verdict,
    streak: u8,
    since: Option<Instant>,
}

impl Machine {
    /// The present verdict.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// When the present verdict began; nothing while it is unknown.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Takes one result and returns the change of verdict that it decides, if any.
    pub fn observe(&mut self, timing: &Timing, success: bool, now: Instant) -> Option<Transition> {
        let to = if success { Verdict::Up } else { Verdict::Down };
        if to == self.verdict {
            self.streak = 0;
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        if self.streak < self.threshold(timing) {
            return None;
        }
        let held = self.since.map(|since| now.saturating_duration_since(since));
        let transition = Transition { from: self.verdict, to, streak: self.streak, held };
        *self = Self { verdict: to, streak: 0, since: Some(now) };
        Some(transition)
    }

    /// How many more observations against the verdict would change it, at least 1. Nothing while the verdict is steady,
    /// that is when the latest observation agreed with it.
    pub fn checks_left(&self, timing: &Timing) -> Option<u8> {
        let steady = self.streak == 0 && self.verdict != Verdict::Unknown;
        (!steady).then(|| self.threshold(timing).saturating_sub(self.streak).max(1))
    }

    /// Keeps the verdict and when it began, but not the streak: it was running towards another threshold.
    #[must_use]
    pub fn with_other_timing(&self) -> Self {
        Self { streak: 0, ..self.clone() }
    }

    /// Observations in a row that end the present verdict.
    fn threshold(&self, timing: &Timing) -> u8 {
        match self.verdict {
            Verdict::Unknown => 1,
            Verdict::Up => timing.fall,
            Verdict::Down => timing.rise,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn timing(fall: u8, rise: u8) -> Timing {
        Timing { interval: Duration::from_secs(5), timeout: Duration::from_secs(1), fall, rise }
    }

    /// Feeds `+` (success) and `-` (failure) and writes what the machine says after each: `?`, `U` or `D`, followed by
    /// the checks left where there are any.
    fn run(fall: u8, rise: u8, observations: &str) -> String {
        let timing = timing(fall, rise);
        let mut machine = Machine::default();
        let mut said = Vec::new();
        for observation in observations.chars() {
            machine.observe(&timing, observation == '+', Instant::now());
            let verdict = match machine.verdict() {
                Verdict::Unknown => '?',
                Verdict::Up => 'U',
                Verdict::Down => 'D',
            };
            let left = machine.checks_left(&timing).map(|left| left.to_string()).unwrap_or_default();
            said.push(format!("{verdict}{left}"));
        }
        said.join(" ")
    }

    #[test]
    fn verdicts_follow_the_diagram() {
        let cases = [
            // fall, rise, observations, verdict and checks left after each
            (3, 2, "+", "U"),
            (3, 2, "-", "D"),
            (3, 2, "+---", "U U2 U1 D"),
            (3, 2, "+--+--", "U U2 U1 U U2 U1"),
            (3, 2, "-++", "D D1 U"),
            (3, 2, "-+-+-", "D D1 D D1 D"),
            (3, 2, "-++---++", "D D1 U U2 U1 D D1 U"),
            (1, 1, "+-+-", "U D U D"),
            (1, 3, "+-+++", "U D D2 D1 U"),
            (2, 1, "-+--", "D U U1 D"),
        ];
        for (fall, rise, observations, expected) in cases {
            assert_eq!(run(fall, rise, observations), expected, "fall {fall}, rise {rise}, {observations}");
        }
    }

    #[test]
    fn unknown_is_one_check_from_a_verdict() {
        assert_eq!(Machine::default().verdict(), Verdict::Unknown);
        assert_eq!(Machine::default().checks_left(&timing(3, 2)), Some(1));
    }

    #[test]
    fn a_transition_says_what_decided_it_and_how_long_the_old_verdict_held() {
        let timing = timing(2, 2);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut machine = Machine::default();
        let first = Transition { from: Verdict::Unknown, to: Verdict::Up, streak: 1, held: None };
        assert_eq!(machine.observe(&timing, true, at(1)), Some(first));
        assert_eq!(machine.observe(&timing, true, at(2)), None);
        assert_eq!(machine.observe(&timing, false, at(3)), None);
        assert_eq!(machine.since(), Some(at(1)));
        let held = Some(Duration::from_secs(3));
        let second = Transition { from: Verdict::Up, to: Verdict::Down, streak: 2, held };
        assert_eq!(machine.observe(&timing, false, at(4)), Some(second));
        assert_eq!(machine.since(), Some(at(4)));
    }

    #[test]
    fn other_timing_keeps_the_verdict_and_ends_the_streak() {
        let start = Instant::now();
        let mut machine = Machine::default();
        machine.observe(&timing(3, 2), true, start);
        machine.observe(&timing(3, 2), false, start);
        let carried = machine.with_other_timing();
        assert_eq!((carried.verdict(), carried.since()), (Verdict::Up, Some(start)));
        assert_eq!(carried.checks_left(&timing(1, 2)), None);
    }

    /// The rules read literally, over the whole history.
    fn naive(fall: usize, rise: usize, history: &[bool]) -> Verdict {
        let mut verdict = Verdict::Unknown;
        for end in 1..=history.len() {
            let ends_with =
                |value, count| end >= count && history[end - count..end].iter().all(|&success| success == value);
            verdict = match verdict {
                Verdict::Unknown if history[0] => Verdict::Up,
                Verdict::Unknown => Verdict::Down,
                Verdict::Up if ends_with(false, fall) => Verdict::Down,
                Verdict::Down if ends_with(true, rise) => Verdict::Up,
                same => same,
            };
        }
        verdict
    }

    proptest! {
        #[test]
        fn agrees_with_the_rules_over_the_whole_history(
            fall in 1u8..6,
            rise in 1u8..6,
            history in proptest::collection::vec(any::<bool>(), 0..80),
        ) {
            let timing = timing(fall, rise);
            let mut machine = Machine::default();
            for (seen, &success) in history.iter().enumerate() {
                let before = machine.verdict();
                let transition = machine.observe(&timing, success, Instant::now());
                prop_assert_eq!(machine.verdict(), naive(fall.into(), rise.into(), &history[..=seen]));
                prop_assert_eq!(transition.is_some(), before != machine.verdict());
            }
        }

        #[test]
        fn flips_after_exactly_the_checks_left(
            fall in 1u8..6,
            rise in 1u8..6,
            history in proptest::collection::vec(any::<bool>(), 1..40),
        ) {
            let timing = timing(fall, rise);
            let mut machine = Machine::default();
            for success in history {
                machine.observe(&timing, success, Instant::now());
            }
            if let Some(left) = machine.checks_left(&timing) {
                let against = machine.verdict() != Verdict::Up;
                for more in 1..=left {
                    let transition = machine.observe(&timing, against, Instant::now());
                    prop_assert_eq!(transition.is_some(), more == left);
                }
            }
        }
    }
}
