//! Whether it may be this server that is cut off, and not all that it probes.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use super::TargetId;
use crate::config::SelfSuspicion;

/// Watches what turns down, and doubts itself where that is too much at once:
///
/// ```text
///            more than `share` of what was up turned down within `window`, in
///            more than one region if more were up, and no canary answers
///   ┌──────┐ ────────────────────────────────────────────────────────────────▶ ┌────────┐
///   │ sure │                                                                   │ unsure │
///   └──────┘ ◀──────────────────────────────────────────────────────────────── └────────┘
///            a canary, or most of those that turned down, has answered
///            for a whole window, or `at_most` has passed
/// ```
///
/// What is down at its first result turned down with it. Until all canaries were asked once, none is missed.
///
/// Neither a canary that answers again ends it at once, nor that most do: the others need their time to be found up. After `at_most`
/// what the probes say is believed, and not doubted again until most of those that had turned down answer.
#[derive(Debug, Clone, Default)]
pub struct Suspicion {
    /// When those turned down that did so within the window, or since then while it is unsure, and are down.
    fallen: HashMap<TargetId, Instant>,
    /// The same in order, with some that came up or turned down again since: when one turns down they are half of it at most.
    order: VecDeque<(Instant, TargetId)>,
    /// Since when it is unsure.
    since: Option<Instant>,
    /// The most that were in `fallen` while it was unsure.
    most: usize,
    /// Since when a canary answers.
    canary_since: Option<Instant>,
    /// Since when most of those that turned down answer again, while it is unsure.
    recovered_since: Option<Instant>,
    /// Where a doubt lasted for as long as it may: so few have to be down before there is another.
    spent_above: Option<usize>,
}

/// A change of mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// So many of the targets that were up turned down within the window.
    Begins {
        /// Those that turned down.
        fallen: usize,
        /// Those that were up before.
        of: usize,
    },
    /// It is over.
    Ends(Relief),
}

/// Why a doubt is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relief {
    /// A canary has answered for a whole window: it isn't this server's network, or is no more.
    Canary,
    /// Most of those that turned down have answered again for a whole window.
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
    /// Targets that have a verdict, or may soon have their first one.
    pub targets: usize,
    /// Those whose probes say that they are down.
    pub down: usize,
    /// Whether those that turned down within the window are in more than one region, or in the only one in which any was up.
    pub is_everywhere: bool,
    /// Whether the latest answer of a canary is good, and no older than the window; nothing while one is still to be asked.
    pub canary_answers: Option<bool>,
}

/// What outlives a restart of doubts. Times are ages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Doubts {
    /// For how long it has been unsure, where it is, and how many of those that had turned down answered again.
    pub unsure: Option<(Duration, usize)>,
    /// Where a doubt lasted for as long as it may: so few have to be down before there is another.
    pub spent_above: Option<usize>,
}

impl Suspicion {
    /// One that goes on with doubts from before a restart, of which the targets are given that had turned down for them, in order.
    pub(super) fn restored(doubts: &Doubts, fallen: Vec<(Instant, TargetId)>, now: Instant) -> Self {
        Self {
            // What is gone has not recovered.
            most: doubts.unsure.map_or(0, |(_, recovered)| fallen.len() + recovered),
            fallen: fallen.iter().map(|(fell, target)| (*target, *fell)).collect(),
            order: fallen.into(),
            since: doubts.unsure.map(|(age, _)| now.checked_sub(age).unwrap_or(now)),
            canary_since: None,
            recovered_since: None,
            spent_above: doubts.spent_above,
        }
    }

    /// What is to outlive a restart.
    pub(super) fn doubts(&self, now: Instant) -> Doubts {
        let recovered = self.most.saturating_sub(self.fallen.len());
        let unsure = self.since.map(|since| (now.saturating_duration_since(since), recovered));
        Doubts { unsure, spent_above: self.spent_above }
    }

    /// Whether it is unsure now, and since when.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Takes note that a target turned down.
    pub fn fell(&mut self, target: TargetId, now: Instant) {
        self.fallen.insert(target, now);
        // While it is unsure, none is forgotten.
        if self.since.is_none() {
            self.order.push_back((now, target));
        }
        // Of those that come and go only the latest time counts.
        if self.order.len() > 2 * self.fallen.len() {
            let mut order: Vec<_> = self.fallen.iter().map(|(target, fell)| (*fell, *target)).collect();
            order.sort_unstable();
            self.order = order.into();
        }
    }

    /// Takes note that it came up.
    pub fn rose(&mut self, target: TargetId) {
        self.fallen.remove(&target);
    }

    /// What turned down within the window and is down; while it is unsure, what did so since the window before that began.
    pub fn fallen(&self) -> impl ExactSizeIterator<Item = TargetId> {
        self.fallen.keys().copied()
    }

    /// For another generation: `id` tells which target is which now.
    #[must_use]
    pub fn renumbered(&self, id: impl Fn(TargetId) -> Option<TargetId>) -> Self {
        let fallen: HashMap<TargetId, Instant> =
            self.fallen.iter().filter_map(|(target, fell)| Some((id(*target)?, *fell))).collect();
        // What is gone has not recovered.
        let most = self.most.saturating_sub(self.fallen.len() - fallen.len());
        let order = self.order.iter().filter_map(|(fell, target)| Some((*fell, id(*target)?))).collect();
        Self { fallen, order, most, ..*self }
    }

    /// Judges by what there is to see. The end of a doubt is to be followed by [`Self::forget_all`].
    pub fn judge(&mut self, rules: &SelfSuspicion, sight: Sight, now: Instant) -> Option<Doubt> {
        self.canary_since = (sight.canary_answers == Some(true)).then(|| self.canary_since.unwrap_or(now));
        let Some(since) = self.since else {
            self.forget(rules, now);
            // Where there are many new ones, those that were down all along are few.
            let is_little = (sight.down as f64) < sight.targets as f64 * rules.share / 2.0;
            if is_little || self.spent_above.is_some_and(|few| sight.down <= few) {
                self.spent_above = None;
            }
            let (fallen, were_up) = (self.fallen.len(), self.were_up(sight.targets, sight.down));
            let is_doubtful = self.is_too_much(rules, sight.targets, sight.down)
                && sight.is_everywhere
                && sight.canary_answers == Some(false)
                && self.spent_above.is_none();
            return is_doubtful.then(|| {
                self.since = Some(now);
                self.most = fallen;
                Doubt::Begins { fallen, of: were_up }
            });
        };
        self.most = self.most.max(self.fallen.len());
        let passed = |since: Instant| now.saturating_duration_since(since);
        let has_lasted = |since: Option<Instant>| since.is_some_and(|since| passed(since) >= rules.window);
        let are_few = self.fallen.len() * 2 <= self.most;
        self.recovered_since = are_few.then(|| self.recovered_since.unwrap_or(now));
        let relief = if has_lasted(self.canary_since) {
            Relief::Canary
        } else if has_lasted(self.recovered_since) {
            Relief::Recovered
        } else if passed(since) >= rules.at_most {
            self.spent_above = Some(sight.down.saturating_sub(self.fallen.len().div_ceil(2)));
            Relief::TooLong
        } else {
            return None;
        };
        (self.since, self.recovered_since) = (None, None);
        Some(Doubt::Ends(relief))
    }

    /// How many of so many targets were up before the window, given how many are down.
    fn were_up(&self, targets: usize, down: usize) -> usize {
        targets.saturating_sub(down.saturating_sub(self.fallen.len()))
    }

    /// Whether too much of what was up turned down within the window, of so many targets, so many of which are down.
    pub(super) fn is_too_much(&self, rules: &SelfSuspicion, targets: usize, down: usize) -> bool {
        let were_up = self.were_up(targets, down);
        were_up >= rules.least && self.fallen.len() as f64 > were_up as f64 * rules.share
    }

    /// Forgets all that turned down, which has to follow the end of a doubt: what turns down from then on is another matter. Returns
    /// what that was.
    pub fn forget_all(&mut self) -> Vec<TargetId> {
        self.order.clear();
        self.fallen.drain().map(|(target, _)| target).collect()
    }

    /// Forgets what turned down before the window. While it is unsure, none is forgotten.
    pub(super) fn forget(&mut self, rules: &SelfSuspicion, now: Instant) {
        if self.since.is_some() {
            return;
        }
        let begins = now.checked_sub(rules.window);
        while let Some((fell, target)) = self.order.front().copied()
            && begins.is_some_and(|begins| fell < begins)
        {
            self.order.pop_front();
            // It may have come up and turned down again since.
            if self.fallen.get(&target) == Some(&fell) {
                self.fallen.remove(&target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
        let sight = Sight { targets: 10, down: seconds.len(), is_everywhere: true, canary_answers: Some(false) };
        (suspicion, sight, start)
    }

    #[test]
    fn it_doubts_where_too_much_falls_within_the_window() {
        let at = |start: Instant, second| start + Duration::from_secs(second);
        let (mut suspicion, sight, start) = fallen(&[0, 1, 2, 3, 4, 30]);
        let begins = Doubt::Begins { fallen: 6, of: 10 };
        assert_eq!(suspicion.clone().judge(&RULES, sight, at(start, 30)), Some(begins));
        // The first is past the window a second later, when it was down before, and another the next; half is not more than half.
        let one_less = Some(Doubt::Begins { fallen: 5, of: 9 });
        assert_eq!(suspicion.clone().judge(&RULES, sight, at(start, 31)), one_less);
        assert_eq!(suspicion.clone().judge(&RULES, sight, at(start, 32)), None);
        for calm in [
            Sight { is_everywhere: false, ..sight },
            Sight { canary_answers: Some(true), ..sight },
            Sight { canary_answers: None, ..sight },
            Sight { targets: 12, ..sight },
        ] {
            assert_eq!(suspicion.clone().judge(&RULES, calm, at(start, 30)), None, "{calm:?}");
        }
        assert_eq!(suspicion.clone().judge(&SelfSuspicion { least: 11, ..RULES }, sight, at(start, 30)), None);
        // Of twelve that had a verdict, two were down long before; where four were, too few are left to judge by.
        let long_down = Sight { targets: 12, down: sight.down + 2, ..sight };
        assert_eq!(
            suspicion.clone().judge(&RULES, long_down, at(start, 30)),
            Some(Doubt::Begins { fallen: 6, of: 10 })
        );
        let rules = SelfSuspicion { least: 9, ..RULES };
        assert_eq!(suspicion.clone().judge(&rules, Sight { down: sight.down + 4, ..long_down }, at(start, 30)), None);
        // One that came up counts no more, and one that fell again counts once.
        suspicion.fell(TargetId(1), at(start, 30));
        suspicion.rose(TargetId(0));
        let sight = Sight { down: sight.down - 1, ..sight };
        assert_eq!(suspicion.judge(&RULES, sight, at(start, 30)), None);
    }

    #[test]
    fn those_that_come_and_go_are_remembered_once() {
        let (mut suspicion, sight, start) = fallen(&[0, 0, 0]);
        for milliseconds in 1..=10_000 {
            let now = start + Duration::from_millis(milliseconds);
            suspicion.rose(TargetId(0));
            suspicion.fell(TargetId(0), now);
            assert!(suspicion.order.len() <= 6, "{}", suspicion.order.len());
        }
        // Each is forgotten a window after its latest fall.
        for (milliseconds, expected) in [(30_000, 3), (30_001, 1), (40_000, 1), (40_001, 0)] {
            let judged = suspicion.judge(&RULES, sight, start + Duration::from_millis(milliseconds));
            assert_eq!((judged, suspicion.fallen().count()), (None, expected), "{milliseconds}");
        }
    }

    fn begun() -> (Suspicion, Sight, Instant) {
        let (mut suspicion, sight, start) = fallen(&[0; 9]);
        assert_eq!(suspicion.judge(&RULES, sight, start), Some(Doubt::Begins { fallen: 9, of: 10 }));
        assert_eq!((suspicion.since(), suspicion.judge(&RULES, sight, start)), (Some(start), None));
        (suspicion, sight, start)
    }

    #[test]
    fn a_doubt_ends_when_most_have_answered_again_for_a_window() {
        let (mut suspicion, sight, start) = begun();
        let at = |second| start + Duration::from_secs(second);
        suspicion.fell(TargetId(9), at(100));
        assert_eq!(suspicion.judge(&RULES, sight, at(100)), None);
        (0..4).for_each(|target| suspicion.rose(TargetId(target)));
        assert_eq!(suspicion.judge(&RULES, sight, at(140)), None, "six of ten are down");
        suspicion.rose(TargetId(4));
        assert_eq!(suspicion.judge(&RULES, sight, at(150)), None, "the others need their time");
        suspicion.fell(TargetId(4), at(160));
        assert_eq!(suspicion.judge(&RULES, sight, at(160)), None);
        suspicion.rose(TargetId(4));
        assert_eq!(suspicion.judge(&RULES, sight, at(170)), None);
        assert_eq!(suspicion.judge(&RULES, sight, at(199)), None);
        assert_eq!(suspicion.judge(&RULES, sight, at(200)), Some(Doubt::Ends(Relief::Recovered)));
        assert_eq!((suspicion.since(), suspicion.forget_all().len(), suspicion.fallen().count()), (None, 5, 0));
    }

    #[test]
    fn a_doubt_ends_when_a_canary_has_answered_for_a_window() {
        let (mut suspicion, sight, start) = begun();
        let at = |second| start + Duration::from_secs(second);
        let answers = Sight { canary_answers: Some(true), ..sight };
        for (second, sight) in [(10, answers), (39, answers), (40, sight), (50, answers), (79, answers)] {
            assert_eq!(suspicion.judge(&RULES, sight, at(second)), None, "{second}");
        }
        assert_eq!(suspicion.judge(&RULES, answers, at(80)), Some(Doubt::Ends(Relief::Canary)));
    }

    #[test]
    fn what_it_believed_after_all_it_does_not_doubt_again_until_most_answered() {
        let (mut suspicion, sight, start) = begun();
        let at = |second| start + Duration::from_secs(second);
        assert_eq!(suspicion.judge(&RULES, sight, at(599)), None);
        assert_eq!(suspicion.judge(&RULES, sight, at(600)), Some(Doubt::Ends(Relief::TooLong)));
        suspicion.forget_all();
        let fall = |suspicion: &mut Suspicion, second| (0..9).for_each(|id| suspicion.fell(TargetId(id), at(second)));
        fall(&mut suspicion, 610);
        // Where there are many new ones, less than half of the share is little.
        for (targets, doubt) in [(20, None), (21, Some(Doubt::Begins { fallen: 9, of: 10 }))] {
            let mut suspicion = suspicion.clone();
            assert_eq!(suspicion.judge(&RULES, Sight { targets, down: 5, ..sight }, at(610)), None);
            assert_eq!(suspicion.judge(&RULES, sight, at(610)), doubt, "{targets}");
        }
        assert_eq!(suspicion.judge(&RULES, Sight { down: 5, ..sight }, at(610)), None);
        // Of nine no more than four are down.
        assert_eq!(suspicion.judge(&RULES, Sight { down: 4, ..sight }, at(660)), None);
        fall(&mut suspicion, 670);
        assert_eq!(suspicion.judge(&RULES, sight, at(670)), Some(Doubt::Begins { fallen: 9, of: 10 }));
    }
}
