//! What runs of a probe can find and must find, given what is so.

use std::time::Duration;

use meridian::config::Timing;
use meridian::health::Grade;

use crate::log::Pause;
use crate::script::{Span, State, Story};

/// The first run comes within this time or the interval, whichever is less.
const FIRST_RUN_WITHIN: Duration = Duration::from_secs(2);

/// The truth about one backend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Truth<'s> {
    pub(crate) story: &'s Story,
    pub(crate) timing: &'s Timing,
    /// How late anything may come: a turn of the script, the start of a run, and what is seen of it.
    pub(crate) slack: Duration,
    /// Until when was looked.
    pub(crate) end: Duration,
    /// When the server was off. What it knew before is known after, but a row of runs begins anew.
    pub(crate) pauses: &'s [Pause],
}

impl Truth<'_> {
    /// What a run finds that begins and ends in a state.
    fn grade(&self, state: State) -> Grade {
        match state {
            State::Serving => Grade::Good,
            State::Slow if self.timing.degraded_after.is_some() => Grade::Poor,
            State::Slow => Grade::Good,
            State::Failing | State::Refusing | State::Hanging => Grade::Failed,
        }
    }

    /// The longest spans in all of which runs find such a grade.
    pub(crate) fn spans(&self, is: impl Fn(Grade) -> bool) -> Vec<Span> {
        self.story.spans(self.end, |state| is(self.grade(state)))
    }

    /// When, at the latest, so many runs in a row have ended that all began after `from`.
    pub(crate) fn noticed(&self, from: Duration, runs: u8) -> Duration {
        self.interrupted(from, self.in_turn(from, runs), runs)
    }

    /// When what was due then is due, if what it takes may have been broken off since `from`, or forgotten, and takes so many runs
    /// when it is.
    pub(crate) fn interrupted(&self, from: Duration, due: Duration, runs: u8) -> Duration {
        self.pauses.iter().fold(due, |due, pause| match from < pause.until && pause.knows < due {
            true => due.max(self.in_turn(pause.until, runs)),
            false => due,
        })
    }

    /// The same where the server is never off. The first run after a start comes out of turn, and may take that of the next.
    fn in_turn(&self, from: Duration, runs: u8) -> Duration {
        let Timing { interval, timeout, .. } = *self.timing;
        let mut starts = self.pauses.iter().map(|pause| pause.until).chain([Duration::ZERO]);
        let is_first =
            starts.any(|start| start <= from + self.slack && from + self.slack <= start + self.first_noticed());
        from + interval * u32::from(runs) + timeout * if is_first { 2 } else { 1 } + self.slack
    }

    /// When, at the latest, something is known.
    pub(crate) fn known(&self) -> Duration {
        let first = self.first_noticed();
        self.pauses.iter().fold(first, |due, pause| if pause.knows < due { pause.until + first } else { due })
    }

    /// How long it takes at most until the first run after a start has ended.
    pub(crate) fn first_noticed(&self) -> Duration {
        self.timing.interval.min(FIRST_RUN_WITHIN) + self.timing.timeout + self.slack
    }

    /// Whether so many runs in a row can all have found such a grade, the last of them over within `over`: whether there is a time at
    /// which that began, such that each met such a state while it was under way. Each comes an interval after the one before, but for
    /// the second after a start.
    pub(crate) fn can_have_found(&self, runs: u8, over: Span, is: impl Fn(Grade) -> bool) -> bool {
        let Timing { interval, timeout, .. } = *self.timing;
        let spans = self.spans(is);
        let start = self.pauses.iter().map(|pause| pause.until).rfind(|start| *start <= over.until).unwrap_or_default();
        let is_soon = over.from <= start + interval * (u32::from(runs) + 1) + timeout * 2 + self.slack;
        self.can_have_found_in_turn(runs, over, start, &spans)
            || runs > 1 && !start.is_zero() && is_soon && self.can_have_found_in_turn(runs - 1, over, start, &spans)
    }

    /// The same of runs that began after `start`, and of which none comes out of turn.
    fn can_have_found_in_turn(&self, runs: u8, over: Span, start: Duration, spans: &[Span]) -> bool {
        let longest = self.timing.timeout + self.slack;
        let soonest = (start + self.timing.interval * u32::from(runs - 1)).saturating_sub(self.slack);
        let mut began = vec![Span { from: over.from.saturating_sub(longest).max(soonest), until: over.until }];
        began.retain(|span| span.from <= span.until);
        for run in 0..u32::from(runs) {
            let before = self.timing.interval * run;
            let fits = |began: &Span, met: &Span| {
                let from = began.from.max((met.from + before).saturating_sub(longest));
                let until = began.until.min(met.until + before + self.slack);
                (from <= until).then_some(Span { from, until })
            };
            began = began.iter().flat_map(|began| spans.iter().filter_map(|met| fits(began, met))).collect();
        }
        !began.is_empty()
    }

    /// Whether at `at` the result of the latest run is certain: every run found such a grade that began or ended within an interval
    /// and twice its time-out before, and one did since the latest start.
    pub(crate) fn must_have_found(&self, at: Duration, is: impl Fn(Grade) -> bool) -> bool {
        let long = self.timing.interval + self.timing.timeout * 2 + self.slack;
        let start = self.pauses.iter().map(|pause| pause.until).rfind(|start| *start <= at).unwrap_or_default();
        at >= start + long && self.spans(is).iter().any(|span| span.from + long <= at && at <= span.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_100: Span = Span { from: seconds(100), until: seconds(100) };

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn runs_in_a_row_can_have_found_what_lasted_for_long_enough() {
        let timing = Timing { interval: seconds(10), timeout: seconds(2), ..Timing::DEFAULT };
        // Dead from `from` to `until`; whether three runs in a row, the last of them over at 100, can have failed.
        for (from, until, expected) in [
            (0, 200, true),
            (79, 99, true),
            (79, 98, true),
            // The first began no sooner than 78, and the last no later than 100.
            (82, 97, false),
            (81, 99, true),
            (81, 98, false),
            (95, 105, false),
            (0, 90, false),
            (101, 200, false),
        ] {
            let mut story = Story::steady(State::Serving);
            story.strike(Span { from: seconds(from), until: seconds(until) }, State::Refusing);
            let truth = Truth { story: &story, timing: &timing, slack: Duration::ZERO, end: seconds(200), pauses: &[] };
            let failed = |grade| grade == Grade::Failed;
            assert_eq!(truth.can_have_found(3, AT_100, failed), expected, "{from} to {until}");
        }
    }

    #[test]
    fn short_troubles_that_the_runs_meet_by_chance_can_be_found_in_a_row() {
        let timing = Timing { interval: seconds(10), timeout: seconds(2), ..Timing::DEFAULT };
        for (moments, expected) in
            [([80, 90, 100], true), ([81, 90, 99], true), ([77, 90, 100], false), ([80, 85, 100], false)]
        {
            let mut story = Story::steady(State::Serving);
            for moment in moments {
                story.strike(
                    Span { from: seconds(moment), until: seconds(moment) + Duration::from_millis(100) },
                    State::Failing,
                );
            }
            let truth = Truth { story: &story, timing: &timing, slack: Duration::ZERO, end: seconds(200), pauses: &[] };
            assert_eq!(truth.can_have_found(3, AT_100, |grade| grade == Grade::Failed), expected, "{moments:?}");
        }
    }
}
