//! Whether it may be this server that is cut off, and not all that it probes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

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
