//! Detection in time, and no verdict that isn't so.

use std::time::Duration;

use meridian::config::Timing;
use meridian::health::guard::Held;
use meridian::health::{Grade, Verdict};

use super::{Checker, Rule, SECOND};
use crate::log::{Pause, Timeline};
use crate::script::{Act, Span};
use crate::truth::Truth;

/// Goings-down that count at most, and after how many times `hold_down` one is forgotten.
const MOST_FALLS: u32 = 6;
const FORGOTTEN_AFTER: u32 = 32;

/// For as long as nobody does something about it.
const EVER: Duration = Duration::from_secs(1 << 40);

/// How long one that goes down is held down, as far as that can be told: times are known only roughly.
#[derive(Debug, Clone, Copy, Default)]
struct Hold {
    least_falls: u32,
    most_falls: u32,
    fell: Duration,
    /// Whether nobody saw when it fell.
    is_unseen: bool,
    /// How roughly that is known since.
    vague: Duration,
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
        let vague = self.vague + slack * 2;
        self.least_falls = falls(self.least_falls, passed + vague);
        self.most_falls = falls(self.most_falls, passed.saturating_sub(vague));
        (self.fell, self.is_unseen, self.vague) = (at, false, Duration::ZERO);
    }

    /// It may have gone down again and again, unseen until then.
    fn is_hidden(&mut self, at: Duration) {
        *self = Self { least_falls: 0, most_falls: MOST_FALLS, fell: at, is_unseen: true, vague: Duration::ZERO };
    }

    /// The server starts again, and remembers one going-down at most, which is kept by the second, as the time off is. One that was
    /// killed may remember another, or none.
    fn forget(&mut self, pause: &Pause, is_stored: bool) {
        (self.least_falls, self.most_falls) = (0, self.most_falls.min(1));
        self.vague = SECOND * 2;
        self.is_unseen |= pause.is_forgetful();
        if !is_stored {
            self.fell = pause.until;
        }
    }

    /// When it may be up at the soonest, and when nothing holds it any more at the latest; `resumed` is when operators let it.
    fn ends(&self, timing: &Timing, resumed: &[Span], slack: Duration) -> (Duration, Duration) {
        let may = |span: &&Span| self.is_unseen || span.until + slack >= self.fell;
        let does = |span: &&Span| span.from >= self.fell;
        let soonest = resumed.iter().find(may).map_or(EVER, |span| span.from);
        let latest = resumed.iter().find(does).map_or(EVER, |span| span.until);
        let after = |falls: u32| match falls.checked_sub(2) {
            _ if timing.manual_resume => EVER,
            None => self.fell,
            Some(doubled) => self.fell + timing.hold_down * (1 << doubled),
        };
        (soonest.min(after(self.least_falls)), latest.min(after(self.most_falls)))
    }
}

impl Checker<'_> {
    pub(super) fn verdicts(&mut self) {
        for target in self.site.targets() {
            let resumed = self.resumed(target);
            self.too_late(target, &resumed);
            self.false_verdicts(target, &resumed);
        }
    }

    /// When operators let it come up.
    fn resumed(&self, target: usize) -> Vec<Span> {
        let pool = self.site.owner(target).map(|owner| self.site.endpoints[owner].pool);
        let done = self.log.done.iter();
        done.filter_map(|(span, act)| matches!(act, Act::Resume { pool: of } if Some(*of) == pool).then_some(*span))
            .collect()
    }

    /// What restarts between a target's last going-down and this moment make of that.
    fn forget(&self, hold: &mut Hold, line: &Timeline<Option<Verdict>>, until: Duration) {
        for pause in self.pauses.iter().filter(|pause| pause.until <= until) {
            if hold.fell < pause.until {
                let mut known = line.within(Span { from: pause.knows, until: pause.from });
                hold.forget(pause, known.all(|verdict| verdict != Some(Verdict::Unknown)));
            }
        }
    }

    /// What lasts must be seen.
    fn too_late(&mut self, target: usize, resumed: &[Span]) {
        let truth = self.truth(target);
        let Timing { fall, rise, .. } = *truth.timing;
        let down = truth.spans(|grade| grade == Grade::Failed);
        let serving = truth.spans(|grade| grade != Grade::Failed);
        let good = truth.spans(|grade| grade == Grade::Good);
        let poor = truth.spans(|grade| grade == Grade::Poor);
        let mut found = Vec::new();
        let mut hold = Hold::default();
        let all = Span { from: Duration::ZERO, until: self.log.end };
        let line = &self.log.targets[target];
        for (seen, verdict) in line.segments(self.log.end) {
            let Some(verdict) = verdict else {
                hold.is_hidden(seen.until);
                continue;
            };
            self.forget(&mut hold, line, seen.from);
            if verdict == Verdict::Down {
                let is_just_seen = hold.is_unseen && hold.fell == seen.from;
                if line.recalls(self.pauses, seen.from, self.slack, |was| was.is_none_or(|was| was == verdict)) {
                    hold.fell = seen.from;
                } else if !is_just_seen {
                    hold.fall(truth.timing, self.slack, seen.from);
                }
            }
            for (era, truth) in self.eras(target) {
                let seen = Span { from: seen.from.max(era.from), until: seen.until.min(era.until) };
                let mut blame = |rule, truth: &Span, due: Duration| {
                    let at = due.max(seen.from);
                    if at < truth.until.min(seen.until) {
                        let since = truth.from.as_secs_f64();
                        found.push((rule, at, format!("so since {since:.3} s, and still {verdict}")));
                    }
                };
                if verdict == Verdict::Down {
                    let held_until = truth.noticed(hold.ends(truth.timing, resumed, self.slack).1, 1);
                    for span in &serving {
                        let due = truth.noticed(span.from, rise).max(held_until);
                        blame(Rule::FoundUpLate, span, truth.interrupted(span.from, due, rise));
                    }
                } else {
                    down.iter().for_each(|span| blame(Rule::FoundDownLate, span, truth.noticed(span.from, fall)));
                }
                if matches!(verdict, Verdict::Degraded | Verdict::Unknown) {
                    good.iter().for_each(|span| blame(Rule::FoundWellLate, span, truth.noticed(span.from, rise)));
                }
                if verdict == Verdict::Unknown {
                    blame(Rule::NothingFound, &all, truth.known());
                }
                if verdict == Verdict::Up {
                    poor.iter().for_each(|span| blame(Rule::FoundSlowLate, span, truth.noticed(span.from, fall)));
                }
            }
        }
        found.into_iter().for_each(|(rule, at, details)| self.blame(rule, at, Some(target), details));
    }

    /// What is seen must have been so.
    fn false_verdicts(&mut self, target: usize, resumed: &[Span]) {
        let truth = self.truth(target);
        let timing = truth.timing;
        let mut found = Vec::new();
        let mut hold = Hold::default();
        let line = &self.log.targets[target];
        for (at, from, to) in line.changes() {
            let (Some(from), Some(to)) = (from, to) else {
                hold.is_hidden(at);
                continue;
            };
            self.forget(&mut hold, line, at);
            // What an operator's word hid may have been anything.
            if line.recalls(self.pauses, at, self.slack, |was| was.is_none_or(|was| was == to)) {
                continue;
            }
            let is_lost = line.recalls(self.pauses, at, self.slack, |was| was == Some(Verdict::Unknown));
            if to == Verdict::Down {
                hold.fall(timing, self.slack, at);
            }
            let runs = match (from, to) {
                (Verdict::Unknown, _) => 1,
                _ if is_lost => 1,
                (Verdict::Down, _) | (_, Verdict::Up) => timing.rise,
                _ => timing.fall,
            };
            // What is seen after a pause may be from before it, and what is resumed comes up by runs that are over.
            let is_at_start = |pause: &&Pause| pause.until <= at && at <= pause.until + self.slack;
            let paused = self.pauses.iter().find(is_at_start).map(|pause| pause.from);
            let is_resumed = resumed.iter().any(|span| span.from <= at && at <= span.until + self.slack);
            let ago = if is_resumed { timing.interval + timing.timeout + self.slack } else { Duration::ZERO };
            let mut over = [at].into_iter().chain(paused).map(|at| Span { from: at.saturating_sub(ago), until: at });
            if !over.any(|over| is_possible(&truth, runs, over, from, to)) {
                found.push((Rule::FalseVerdict, at, format!("from {from} to {to}, but it was {}", truth.story)));
            }
            let held_until = hold.ends(timing, resumed, self.slack).0;
            if from == Verdict::Down && self.is_doubted(target, Span { from: hold.fell, until: at }) {
                hold.least_falls = hold.least_falls.saturating_sub(1);
            } else if from == Verdict::Down && at + self.slack < held_until {
                found.push((Rule::UpTooSoon, at, format!("held down until {:.3} s", held_until.as_secs_f64())));
            }
        }
        found.into_iter().for_each(|(rule, at, details)| self.blame(rule, at, Some(target), details));
    }

    /// Whether the prober doubted that it was down then: so nothing holds it, and it need not count.
    fn is_doubted(&self, target: usize, span: Span) -> bool {
        let owner = self.site.owner(target).map(|owner| &self.log.endpoints[owner]);
        owner.is_some_and(|owner| owner.within(span).any(|seen| seen.held == Some(Held::Unsure)))
    }
}

/// Whether that many runs in a row can have led from one verdict to another.
fn is_possible(truth: &Truth<'_>, runs: u8, over: Span, from: Verdict, to: Verdict) -> bool {
    match to {
        Verdict::Unknown => false,
        Verdict::Up => truth.can_have_found(runs, over, |grade| grade == Grade::Good),
        Verdict::Down => truth.can_have_found(runs, over, |grade| grade == Grade::Failed),
        Verdict::Degraded if from == Verdict::Down => truth.can_have_found(runs, over, |grade| grade != Grade::Failed),
        Verdict::Degraded if from == Verdict::Unknown => truth.can_have_found(runs, over, |grade| grade == Grade::Poor),
        Verdict::Degraded => truth.can_have_found(runs, over, |grade| grade != Grade::Good),
    }
}
