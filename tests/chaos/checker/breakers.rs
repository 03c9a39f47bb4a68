//! Breakers: when they must be open, and when they may be.

use std::time::Duration;

use meridian::config::Breaker;
use meridian::health::Grade;
use meridian::health::breaker::State;

use super::{Checker, Rule, TICK};
use crate::log::{Seen, Timeline};
use crate::script::Span;

/// One that fails again and again stays open for so many times as long at most.
const LONGEST: u32 = 8;

impl Checker<'_> {
    /// They go by the runs of one probe, and a restart closes them.
    pub(super) fn breakers(&mut self) {
        let log = self.log;
        for (endpoint, line) in log.endpoints.iter().enumerate() {
            if let Some(breaker) = &self.site.pools[self.site.endpoints[endpoint].pool].breaker {
                self.breaker_too_late(endpoint, breaker, line);
                self.false_breaker(endpoint, breaker, &line.map(|seen| seen.breaker));
            }
        }
    }

    /// What fails must be kept away, and what is well again must not be for longer than it takes to be tried.
    fn breaker_too_late(&mut self, endpoint: usize, breaker: &Breaker, line: &Timeline<Seen>) {
        let [failures, successes] = [breaker.failures, breaker.successes].map(|runs| u8::try_from(runs).unwrap());
        let mut found = Vec::new();
        for (whole, is_closed) in line.map(|seen| seen.breaker == State::Closed).segments(self.log.end) {
            for (era, truth) in self.eras(endpoint) {
                let seen = Span { from: whole.from.max(era.from), until: whole.until.min(era.until) };
                for span in truth.spans(|grade| (grade == Grade::Failed) == is_closed) {
                    let from = span.from.max(seen.from);
                    let (rule, due) = match is_closed {
                        true => (Rule::OpenedLate, truth.noticed(from, failures)),
                        // A run that was under way may be the last to fail.
                        false => {
                            let tried = from + truth.timing.timeout + breaker.open_for * LONGEST + TICK + self.slack;
                            (Rule::ClosedLate, truth.noticed(tried, successes))
                        }
                    };
                    if due < span.until.min(seen.until) {
                        found.push((rule, due, format!("so since {:.3} s", span.from.as_secs_f64())));
                    }
                }
            }
        }
        found.into_iter().for_each(|(rule, at, details)| self.blame(rule, at, Some(endpoint), details));
    }

    /// What is seen of one must follow from runs, and from time.
    fn false_breaker(&mut self, endpoint: usize, breaker: &Breaker, line: &Timeline<State>) {
        let truth = self.truth(endpoint);
        let failures = u8::try_from(breaker.failures).unwrap();
        let mut began: Option<Duration> = None;
        for (at, from, to) in line.changes() {
            let is_start = self.pauses.iter().any(|pause| pause.until <= at && at <= pause.until + self.slack);
            let runs = if from == State::Closed { failures } else { 1 };
            // The first run of all comes out of turn, and counts in the row.
            let has_first = at <= truth.first_noticed() + truth.timing.interval * u32::from(runs);
            let runs = (runs - u8::from(has_first)).max(1);
            let over = Span { from: at, until: at };
            if to == State::Open && !truth.can_have_found(runs, over, |grade| grade == Grade::Failed) {
                self.blame(Rule::OpenWithoutReason, at, Some(endpoint), format!("it was {}", truth.story));
            }
            if from == State::Open
                && !is_start
                && let Some(began) = began
                && at + self.slack * 2 < began + breaker.open_for
            {
                self.blame(Rule::TriedTooSoon, at, Some(endpoint), format!("open since {:.3} s", began.as_secs_f64()));
            }
            began = (to == State::Open).then_some(at);
        }
    }
}
