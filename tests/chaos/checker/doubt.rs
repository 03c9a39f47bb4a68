//! When a server has to doubt itself, and when it may not. It shows by what is held for that.

use std::collections::BTreeSet;
use std::time::Duration;

use meridian::health::guard::Held;
use meridian::health::{Grade, Verdict};

use super::{Checker, Rule, SECOND, TICK};
use crate::log::Seen;

/// What turned down of late.
#[derive(Debug, Clone, Default)]
struct Fallen {
    /// Endpoint and when.
    when: Vec<Option<Duration>>,
    /// When endpoints were taken away.
    taken: Vec<Option<Duration>>,
    /// All before doesn't count any more.
    cleared: Option<Duration>,
    /// But it may, as the server started again since, and goes by verdicts then.
    is_cleared_for_sure: bool,
}

/// A doubt that lasts.
#[derive(Debug)]
struct Doubt {
    since: Duration,
    /// The most that were down while it lasted: of those that count for sure, and of those that perhaps do.
    most: [usize; 2],
    /// Since when so few are left that it should be over.
    few_since: Option<Duration>,
}

impl Fallen {
    /// Those that turned down since then, are down and count for sure.
    fn since(&self, from: Duration) -> impl Iterator<Item = usize> {
        self.perhaps_since(from).filter(|endpoint| self.when[*endpoint] > self.cleared)
    }

    /// Those that turned down since then, are down and perhaps count.
    fn perhaps_since(&self, from: Duration) -> impl Iterator<Item = usize> {
        let cleared = self.cleared.filter(|_| self.is_cleared_for_sure);
        let counts = move |when: &Option<Duration>| *when > cleared && *when >= Some(from);
        self.when.iter().enumerate().filter_map(move |(endpoint, when)| counts(when).then_some(endpoint))
    }
}

impl Checker<'_> {
    /// Where that may come about, no operator has a say, and the server is never killed.
    pub(super) fn doubt(&mut self) {
        let rules = &self.site.safety.self_suspicion;
        let mut now = vec![Seen::UNKNOWN; self.site.endpoints.len()];
        let mut fallen = Fallen { when: vec![None; now.len()], taken: vec![None; now.len()], ..Fallen::default() };
        let mut doubt: Option<Doubt> = None;
        // Whether one lasted for as long as it may, and most of what was down then still is.
        let mut is_spent = false;
        let mut starts = self.pauses.iter().map(|pause| pause.until).peekable();
        let end = (self.log.end, Vec::new());
        for (at, changes) in self.log.changes().into_iter().chain([end]) {
            if let Some(doubt) = &doubt {
                self.too_long(at, doubt);
            }
            while starts.next_if(|start| *start <= at).is_some() {
                fallen.is_cleared_for_sure = false;
            }
            let before = now.clone();
            let doubtful = self.looked_for(doubt.as_ref().map_or(at, |doubt| doubt.since), rules.window, at);
            for (endpoint, to) in changes {
                let taken = fallen.taken[endpoint].filter(|taken| to.held == Some(Held::Unsure) && *taken < doubtful);
                if let Some(taken) = taken {
                    let details = format!("taken away at {:.3} s, before all that is in doubt", taken.as_secs_f64());
                    self.blame(Rule::GivenBackInDoubt, at, Some(endpoint), details);
                }
                let (was, is) = (now[endpoint].found(), to.found());
                if is != Some(Verdict::Down) {
                    fallen.when[endpoint] = None;
                } else if was != Some(Verdict::Down) {
                    fallen.when[endpoint] = Some(at);
                }
                if to.verdict != now[endpoint].verdict {
                    fallen.taken[endpoint] = (to.verdict == Verdict::Down).then_some(at);
                }
                now[endpoint] = to;
            }
            is_spent &= now.iter().any(|seen| seen.found() == Some(Verdict::Down));
            let is_unsure = now.iter().any(|seen| seen.held == Some(Held::Unsure));
            doubt = match doubt {
                None if is_unsure => {
                    self.begins(at, &now, &fallen);
                    Some(Doubt { since: at, most: self.down_since(at, at, &fallen), few_since: None })
                }
                None => {
                    if !is_spent && at < self.log.end {
                        self.must_begin(at, &now, &fallen);
                    }
                    None
                }
                Some(mut doubt) => {
                    let [sure, perhaps] = self.down_since(doubt.since, at, &fallen);
                    doubt.most = [doubt.most[0].max(sure), doubt.most[1].max(perhaps)];
                    if is_unsure {
                        let is_few = perhaps * 2 <= doubt.most[0];
                        doubt.few_since = is_few.then(|| doubt.few_since.unwrap_or(at));
                        let taken = (0..now.len()).filter(|endpoint| {
                            now[*endpoint].verdict == Verdict::Down && before[*endpoint].verdict != Verdict::Down
                        });
                        for endpoint in taken.collect::<Vec<_>>() {
                            self.blame(Rule::TakenInDoubt, at, Some(endpoint), "it turned down while all is in doubt");
                        }
                        Some(doubt)
                    } else {
                        let is_over = doubt.since + rules.at_most <= at + self.vague(at);
                        let is_early = !is_over && sure * 2 > doubt.most[1] && !self.canary_can_have_answered(at);
                        if is_early {
                            let details = format!("{sure} of {} are down, and no canary answers", doubt.most[1]);
                            self.blame(Rule::DoubtTooShort, at, None, details);
                        }
                        is_spent = is_over;
                        (fallen.cleared, fallen.is_cleared_for_sure) = (Some(at), true);
                        None
                    }
                }
            };
        }
    }

    /// How roughly it is known at `at` when something was: times are stored by the second over a restart, as the time off is.
    fn vague(&self, at: Duration) -> Duration {
        self.slack + SECOND * 2 * self.restarts_until(at)
    }

    /// When the server can have begun, at the soonest, to look for so long until `moment`, as it is known at `at`: the time off is none.
    fn looked_for(&self, moment: Duration, time: Duration, at: Duration) -> Duration {
        let from = moment.saturating_sub(time + self.vague(at));
        self.pauses.iter().rev().filter(|pause| pause.until <= at).fold(from, |from, pause| {
            if from < pause.until { from.saturating_sub(pause.until - pause.from) } else { from }
        })
    }

    /// How many are down at `at` that turned down since a window before that: for sure, and perhaps.
    fn down_since(&self, began: Duration, at: Duration, fallen: &Fallen) -> [usize; 2] {
        let window = self.site.safety.self_suspicion.window;
        let sure = fallen.since((began + self.vague(at)).saturating_sub(window)).count();
        [sure, fallen.perhaps_since(self.looked_for(began, window, at)).count()]
    }

    /// It may only begin with a reason; then what was taken away within the window is given back.
    fn begins(&mut self, at: Duration, now: &[Seen], fallen: &Fallen) {
        let rules = &self.site.safety.self_suspicion;
        let from = at.saturating_sub(rules.window);
        let fell: Vec<usize> = fallen.perhaps_since(self.looked_for(at, rules.window, at)).collect();
        // Those that may soon have their first result may count too.
        let judged = now.iter().filter(|seen| seen.found() != Some(Verdict::Unknown)).count();
        if fell.len() as f64 <= judged as f64 * rules.share
            || now.len() < rules.least
            || self.regions_of(&fell) < self.site.regions.min(2)
            || self.canary(|checker, canary| checker.truth(canary).must_have_found(at, |grade| grade != Grade::Failed))
        {
            let details = format!("{} of {judged} turned down within the window", fell.len());
            self.blame(Rule::DoubtWithoutReason, at, None, details);
        }
        for (endpoint, seen) in now.iter().enumerate() {
            let taken = fallen.taken[endpoint].filter(|taken| *taken > from + self.slack);
            if let Some(taken) = taken.filter(|_| seen.verdict == Verdict::Down) {
                let details = format!("taken away at {:.3} s and not given back", taken.as_secs_f64());
                self.blame(Rule::TakenInDoubt, at, Some(endpoint), details);
            }
        }
    }

    /// It has to begin at once with every reason.
    fn must_begin(&mut self, at: Duration, now: &[Seen], fallen: &Fallen) {
        let rules = &self.site.safety.self_suspicion;
        let fell: Vec<usize> = fallen.since((at + self.slack).saturating_sub(rules.window)).collect();
        let judged = now.iter().filter(|seen| seen.found() != Some(Verdict::Unknown)).count();
        let may_answer =
            self.canary(|checker, canary| !checker.truth(canary).must_have_found(at, |grade| grade == Grade::Failed));
        if fell.len() as f64 > now.len() as f64 * rules.share
            && judged >= rules.least
            && (self.regions_of(&fell) > 1 || self.site.regions == 1)
            && !may_answer
        {
            let details = format!("{} of {judged} turned down within the window", fell.len());
            self.blame(Rule::NoDoubt, at, None, details);
        }
    }

    /// Up to `at` it lasts.
    fn too_long(&mut self, at: Duration, doubt: &Doubt) {
        let rules = &self.site.safety.self_suspicion;
        let since = doubt.since.as_secs_f64();
        let most = doubt.since + rules.at_most + self.vague(at) - self.slack;
        if self.looks_again(most) < at {
            self.blame(Rule::DoubtTooLong, at, None, format!("it lasts since {since:.3} s"));
        } else if doubt.few_since.is_some_and(|few| self.looks_again(few) < at) {
            self.blame(Rule::DoubtTooLong, at, None, format!("most of what turned down from {since:.3} s on is up"));
        } else if self.canary(|checker, canary| {
            let truth = checker.truth(canary);
            let long = truth.timing.interval + truth.timing.timeout + rules.window + TICK + self.slack;
            let mut serves = truth.spans(|grade| grade != Grade::Failed).into_iter();
            // What a restart breaks off begins anew.
            let due = |from: Duration| {
                let pauses = self.pauses.iter().filter(|pause| from < pause.until);
                pauses.fold(from + long, |due, pause| if pause.from < due { pause.until + long } else { due })
            };
            serves.any(|span| due(span.from.max(doubt.since)) < at && at <= span.until)
        }) {
            self.blame(Rule::DoubtTooLong, at, None, "a canary answers for a whole window");
        }
    }

    /// Whether a canary can have answered for a whole window, all of it since the latest start.
    fn canary_can_have_answered(&self, at: Duration) -> bool {
        let window = self.site.safety.self_suspicion.window;
        if let Some(pause) = self.pauses.iter().rfind(|pause| pause.until <= at)
            && at + self.slack < pause.until + window
        {
            // What came of it just before it went off is seen when it is on again.
            return at <= pause.until + self.slack && self.canary_can_have_answered(pause.from);
        }
        self.canary(|checker, canary| {
            let truth = checker.truth(canary);
            let long = truth.timing.interval + truth.timing.timeout * 2 + self.slack;
            let mut dead = truth.spans(|grade| grade == Grade::Failed).into_iter();
            let from = at.saturating_sub(window);
            !dead.any(|span| span.from.max(from) + long < span.until.min(at))
        })
    }

    fn canary(&self, is: impl Fn(&Self, usize) -> bool) -> bool {
        self.site.canaries().any(|canary| is(self, canary))
    }

    fn regions_of(&self, endpoints: &[usize]) -> usize {
        endpoints.iter().map(|endpoint| self.site.endpoints[*endpoint].region).collect::<BTreeSet<_>>().len()
    }
}
