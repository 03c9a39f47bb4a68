//! Whether it may be this server that is cut off, and not all that it probes.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use super::TargetId;
use crate::config::SelfSuspicion;

/// Watches what turns down, and doubts itself where that is too much at once:
///
/// ```text
///            more than `share` of the targets turned down within `window`, in
///            more than one region if there are more, and no canary answers
///   ┌──────┐ ────────────────────────────────────────────────────────────────▶ ┌────────┐
///   │ sure │                                                                   │ unsure │
///   └──────┘ ◀──────────────────────────────────────────────────────────────── └────────┘
///            a canary answers, or most of those that turned down answer again,
///            or `at_most` has passed: then what the probes say is believed
/// ```
///
/// After `at_most` it doubts no more until it was well once: until fewer than half of `share` are down.
#[derive(Debug, Clone, Default)]
pub struct Suspicion {
    /// What turned down within the window, oldest first, at most once each.
    fallen: VecDeque<(Instant, TargetId)>,
    /// Since when it is unsure.
    since: Option<Instant>,
    /// Whether a doubt lasted for as long as it may, and nothing was well since.
    is_spent: bool,
}

/// A change of mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// So many of so many targets turned down within the window.
    Begins {
        /// Those that turned down.
        fallen: usize,
        /// All.
        of: usize,
    },
    /// It is over.
    Ends(Relief),
}

/// Why a doubt is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relief {
    /// A canary answers: it wasn't this server's network, or is no more.
    Canary,
    /// Most of those that turned down answer again.
    Recovered,
    /// It lasted for as long as it may.
    TooLong,
}

impl Relief {
    /// In logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Recovered => "recovered",
            Self::TooLong => "at_most",
        }
    }
}

impl fmt::Display for Relief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Canary => "a canary answers, so this server is not cut off",
            Self::Recovered => "most of what turned down answers again",
            Self::TooLong => "it has lasted for as long as it may",
        })
    }
}

/// What there is to judge by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sight {
    /// Targets that have a verdict.
    pub targets: usize,
    /// Those whose probes say that they are down.
    pub down: usize,
    /// Regions of all of them.
    pub regions: usize,
    /// Regions of those that turned down within the window.
    pub fallen_regions: usize,
    /// Whether a canary answered within the window.
    pub canary_answers: bool,
}

impl Suspicion {
    /// Whether it is unsure now, and since when.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Takes note that a target turned down.
    pub fn fell(&mut self, target: TargetId, now: Instant) {
        self.fallen.retain(|(_, fallen)| *fallen != target);
        self.fallen.push_back((now, target));
    }

    /// Takes note that it came up.
    pub fn rose(&mut self, target: TargetId) {
        self.fallen.retain(|(_, fallen)| *fallen != target);
    }

    /// What turned down within the window; while it is unsure, what did so since the window before that began.
    pub fn fallen(&self) -> impl Iterator<Item = TargetId> {
        self.fallen.iter().map(|(_, target)| *target)
    }

    /// For another generation: `id` tells which target is which now.
    #[must_use]
    pub fn renumbered(&self, id: impl Fn(TargetId) -> Option<TargetId>) -> Self {
        let fallen = self.fallen.iter().filter_map(|(fell, target)| Some((*fell, id(*target)?))).collect();
        Self { fallen, ..*self }
    }

    /// Judges by what there is to see.
    pub fn judge(&mut self, rules: &SelfSuspicion, sight: Sight, now: Instant) -> Option<Doubt> {
        let is_over = |part: usize, whole: usize, share: f64| part as f64 > whole as f64 * share;
        self.is_spent = self.is_spent && is_over(sight.down, sight.targets, rules.share / 2.0);
        let Some(since) = self.since else {
            let begins = now.checked_sub(rules.window);
            while self.fallen.front().is_some_and(|(fell, _)| begins.is_some_and(|begins| *fell < begins)) {
                self.fallen.pop_front();
            }
            let fallen = self.fallen.len();
            let is_doubtful = sight.targets >= rules.least
                && is_over(fallen, sight.targets, rules.share)
                && (sight.fallen_regions > 1 || sight.regions <= 1)
                && !sight.canary_answers
                && !self.is_spent;
            return is_doubtful.then(|| {
                self.since = Some(now);
                Doubt::Begins { fallen, of: sight.targets }
            });
        };
        let relief = if sight.canary_answers {
            Relief::Canary
        } else if !is_over(sight.down, sight.targets, rules.share / 2.0) {
            Relief::Recovered
        } else if now.saturating_duration_since(since) >= rules.at_most {
            self.is_spent = true;
            Relief::TooLong
        } else {
            return None;
        };
        self.since = None;
        self.fallen.clear();
        Some(Doubt::Ends(relief))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RULES: SelfSuspicion = SelfSuspicion {
        share: 0.5,
        window: Duration::from_secs(30),
        least: 4,
        at_most: Duration::from_secs(600),
        canaries: Vec::new(),
    };

    /// Ten targets in two regions, of which the first so many fell at these seconds; what is made of that at the last of them.
    fn fallen(seconds: &[u64]) -> (Suspicion, Sight, Instant) {
        let start = Instant::now();
        let mut suspicion = Suspicion::default();
        for (target, second) in (0..).zip(seconds) {
            suspicion.fell(TargetId(target), start + Duration::from_secs(*second));
        }
        let sight = Sight { targets: 10, down: seconds.len(), regions: 2, fallen_regions: 2, canary_answers: false };
        (suspicion, sight, start)
    }

    #[test]
    fn it_doubts_where_too_much_falls_within_the_window() {
        let at = |start: Instant, second| start + Duration::from_secs(second);
        let (mut suspicion, sight, start) = fallen(&[0, 1, 2, 3, 4, 30]);
        let begins = Doubt::Begins { fallen: 6, of: 10 };
        assert_eq!(suspicion.clone().judge(&RULES, sight, at(start, 30)), Some(begins));
        // The first is past the window a second later, and half is not more than half.
        assert_eq!(suspicion.clone().judge(&RULES, sight, at(start, 31)), None);
        for calm in [
            Sight { fallen_regions: 1, ..sight },
            Sight { canary_answers: true, ..sight },
            Sight { targets: 12, ..sight },
        ] {
            assert_eq!(suspicion.clone().judge(&RULES, calm, at(start, 30)), None, "{calm:?}");
        }
        let of_one = Sight { regions: 1, fallen_regions: 1, ..sight };
        assert_eq!(suspicion.clone().judge(&RULES, of_one, at(start, 30)), Some(begins));
        assert_eq!(suspicion.clone().judge(&SelfSuspicion { least: 11, ..RULES }, sight, at(start, 30)), None);
        // One that came up counts no more, and one that fell again counts once.
        suspicion.fell(TargetId(1), at(start, 30));
        suspicion.rose(TargetId(0));
        assert_eq!(suspicion.judge(&RULES, sight, at(start, 30)), None);
    }

    #[test]
    fn a_doubt_ends_when_something_answers_or_after_its_time() {
        let (suspicion, sight, start) = fallen(&[0; 9]);
        let begun = |at| {
            let mut suspicion = suspicion.clone();
            assert!(suspicion.judge(&RULES, sight, at).is_some());
            assert_eq!(suspicion.since(), Some(at));
            assert_eq!(suspicion.judge(&RULES, sight, at), None);
            suspicion
        };
        let later = start + Duration::from_secs(599);
        assert_eq!(begun(start).judge(&RULES, Sight { down: 3, ..sight }, later), None);
        let cases = [
            (Sight { down: 2, ..sight }, later, Relief::Recovered),
            (Sight { canary_answers: true, ..sight }, later, Relief::Canary),
            (sight, later + Duration::from_secs(1), Relief::TooLong),
        ];
        for (sight, now, relief) in cases {
            let mut suspicion = begun(start);
            assert_eq!(suspicion.judge(&RULES, sight, now), Some(Doubt::Ends(relief)));
            assert_eq!((suspicion.since(), suspicion.fallen().count()), (None, 0));
        }
    }

    #[test]
    fn what_it_believed_after_all_it_does_not_doubt_again_until_it_was_well() {
        let (mut suspicion, sight, start) = fallen(&[0; 9]);
        let at = |second| start + Duration::from_secs(second);
        suspicion.judge(&RULES, sight, start);
        suspicion.judge(&RULES, sight, at(600));
        let fall = |suspicion: &mut Suspicion, second| (0..9).for_each(|id| suspicion.fell(TargetId(id), at(second)));
        fall(&mut suspicion, 610);
        assert_eq!(suspicion.judge(&RULES, sight, at(610)), None);
        assert_eq!(suspicion.judge(&RULES, Sight { down: 2, ..sight }, at(660)), None);
        fall(&mut suspicion, 670);
        assert_eq!(suspicion.judge(&RULES, sight, at(670)), Some(Doubt::Begins { fallen: 9, of: 10 }));
    }
}
