//! Detection in time, and no verdict that isn't so.

use std::time::Duration;

use meridian::config::Timing;
use meridian::health::guard::Held;
use meridian::health::{Grade, Verdict};

use super::{Checker, Rule};
use crate::log::Seen;
use crate::script::Span;
use crate::truth::Truth;

/// Goings-down that count at most, and after how many times `hold_down` one is forgotten.
const MOST_FALLS: u32 = 6;
const FORGOTTEN_AFTER: u32 = 32;

/// How long one that goes down is held down, as far as that can be told: times are known only roughly.
#[derive(Debug, Clone, Copy, Default)]
struct Hold {
    least_falls: u32,
    most_falls: u32,
    fell: Duration,
}

impl Hold {
    /// It goes down.
    fn fall(&mut self, timing: &Timing, slack: Duration, at: Duration) {
        let forgotten = |passed: Duration| {
            let forgets = (timing.hold_down * FORGOTTEN_AFTER).as_nanos().max(1);
            u32::try_from(passed.as_nanos() / forgets).unwrap_or(u32::MAX)
        };
        let passed = at.saturating_sub(self.fell);
        let falls = |before: u32, passed: Duration| (before.saturating_sub(forgotten(passed)) + 1).min(MOST_FALLS);
        self.least_falls = falls(self.least_falls, passed + slack * 2);
        self.most_falls = falls(self.most_falls, passed.saturating_sub(slack * 2));
        self.fell = at;
    }

    /// When it may be up at the soonest, and when nothing holds it any more at the latest.
    fn ends(&self, timing: &Timing) -> (Duration, Duration) {
        let after =
            |falls: u32| falls.checked_sub(2).map_or(Duration::ZERO, |doubled| timing.hold_down * (1 << doubled));
        (self.fell + after(self.least_falls), self.fell + after(self.most_falls))
    }
}

impl Checker<'_> {
    pub(super) fn verdicts(&mut self) {
        for endpoint in 0..self.site.endpoints.len() {
            self.too_late(endpoint);
            self.false_verdicts(endpoint);
        }
    }

    /// What lasts must be seen.
    fn too_late(&mut self, endpoint: usize) {
        let truth = self.truth(endpoint);
        let Timing { fall, rise, interval, timeout, .. } = *truth.timing;
        let down = truth.spans(|grade| grade == Grade::Failed);
        let serving = truth.spans(|grade| grade != Grade::Failed);
        let good = truth.spans(|grade| grade == Grade::Good);
        let poor = truth.spans(|grade| grade == Grade::Poor);
        let mut found = Vec::new();
        let mut hold = Hold::default();
        let first_due = truth.first_noticed();
        let mut blame = |rule, seen: Span, verdict: Verdict, truth: &Span, due: Duration| {
            let at = due.max(seen.from);
            if at < truth.until.min(seen.until) {
                let since = truth.from.as_secs_f64();
                found.push((rule, at, format!("so since {since:.3} s, and still {verdict}")));
            }
        };
        for (seen, verdict) in found_segments(self.log.timelines[endpoint].segments(self.log.end)) {
            if verdict == Verdict::Down {
                hold.fall(truth.timing, self.slack, seen.from);
                let held_until = hold.ends(truth.timing).1 + interval + timeout + self.slack;
                for span in &serving {
                    blame(Rule::FoundUpLate, seen, verdict, span, truth.noticed(span.from, rise).max(held_until));
                }
            } else {
                for span in &down {
                    blame(Rule::FoundDownLate, seen, verdict, span, truth.noticed(span.from, fall));
                }
            }
            if matches!(verdict, Verdict::Degraded | Verdict::Unknown) {
                for span in &good {
                    blame(Rule::FoundWellLate, seen, verdict, span, truth.noticed(span.from, rise));
                }
            }
            if verdict == Verdict::Unknown {
                blame(
                    Rule::NothingFound,
                    seen,
                    verdict,
                    &Span { from: Duration::ZERO, until: self.log.end },
                    first_due,
                );
            }
            if verdict == Verdict::Up {
                for span in &poor {
                    blame(Rule::FoundSlowLate, seen, verdict, span, truth.noticed(span.from, fall));
                }
            }
        }
        found.into_iter().for_each(|(rule, at, details)| self.blame(rule, at, Some(endpoint), details));
    }

    /// What is seen must have been so.
    fn false_verdicts(&mut self, endpoint: usize) {
        let truth = self.truth(endpoint);
        let timing = truth.timing;
        let mut found = Vec::new();
        let mut hold = Hold::default();
        // Whether the prober doubted that it went down: then nothing holds it, and it need not count.
        let mut is_doubted = false;
        let timeline = &self.log.timelines[endpoint];
        for (at, before, now) in timeline.changes() {
            let (from, to) = (before.found(), now.found());
            if to == Verdict::Down {
                is_doubted = now.held == Some(Held::Unsure) || is_doubted && from == to;
            }
            if from == to {
                continue;
            }
            if to == Verdict::Down {
                hold.fall(timing, self.slack, at);
            }
            let runs = match (from, to) {
                (Verdict::Unknown, _) => 1,
                (Verdict::Down, _) | (_, Verdict::Up) => timing.rise,
                _ => timing.fall,
            };
            if !is_possible(&truth, runs, at, from, to) {
                found.push((Rule::FalseVerdict, at, format!("from {from} to {to}, but it was {}", truth.story)));
            }
            let held_until = hold.ends(timing).0;
            if from == Verdict::Down && is_doubted {
                hold.least_falls = hold.least_falls.saturating_sub(1);
            } else if from == Verdict::Down && at + self.slack < held_until {
                found.push((Rule::UpTooSoon, at, format!("held down until {:.3} s", held_until.as_secs_f64())));
            }
        }
        found.into_iter().for_each(|(rule, at, details)| self.blame(rule, at, Some(endpoint), details));
    }
}

/// Whether that many runs in a row can have led from one verdict to another.
fn is_possible(truth: &Truth<'_>, runs: u8, at: Duration, from: Verdict, to: Verdict) -> bool {
    match to {
        Verdict::Unknown => false,
        Verdict::Up => truth.can_have_found(runs, at, |grade| grade == Grade::Good),
        Verdict::Down => truth.can_have_found(runs, at, |grade| grade == Grade::Failed),
        Verdict::Degraded if from == Verdict::Down => truth.can_have_found(runs, at, |grade| grade != Grade::Failed),
        Verdict::Degraded if from == Verdict::Unknown => truth.can_have_found(runs, at, |grade| grade == Grade::Poor),
        Verdict::Degraded => truth.can_have_found(runs, at, |grade| grade != Grade::Good),
    }
}

/// What the probes say, and of which span.
fn found_segments(segments: impl Iterator<Item = (Span, Seen)>) -> Vec<(Span, Verdict)> {
    let mut found: Vec<(Span, Verdict)> = Vec::new();
    for (span, seen) in segments {
        match found.last_mut() {
            Some((last, verdict)) if *verdict == seen.found() => last.until = span.until,
            _ => found.push((span, seen.found())),
        }
    }
    found
}
