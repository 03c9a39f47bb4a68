//! When a server has to doubt itself, and when it may not. It shows by what is held for that.

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
    /// When it began, at the soonest and at the latest: where nobody saw whether one ended before the next began, it may be either.
    since: [Duration; 2],
    /// The most that were down while it lasted: of those that count for sure, and of those that perhaps do.
    most: [usize; 2],
    /// Since when so few are left that it should be over a window later: for sure, and perhaps.
    few_since: [Option<Duration>; 2],
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
            // Where all that it was about is up again, nobody sees it; then it may go on for a while.
            let is_seen = now.iter().any(|seen| seen.held == Some(Held::Unsure));
            doubt = doubt.filter(|doubt| is_seen || at <= self.recovered_by(doubt).min(self.spent_by(doubt, at)));
            if let Some(doubt) = doubt.as_ref().filter(|_| is_seen) {
                self.too_long(at, doubt);
            }
            while starts.next_if(|start| *start <= at).is_some() {
                fallen.is_cleared_for_sure = false;
            }
            let before = now.clone();
            let doubtful = self.looked_for(doubt.as_ref().map_or(at, |doubt| doubt.since[0]), rules.window, at);
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
            // What is down, and not held for that, although it was, or has just turned down.
            let is_believed = now.iter().zip(&before).any(|(now, before)| {
                let is_new = before.held == Some(Held::Unsure) || before.found() != Some(Verdict::Down);
                now.found() == Some(Verdict::Down) && now.held != Some(Held::Unsure) && is_new
            });
            doubt = match doubt {
                None if is_unsure => {
                    self.begins(at, &now, &fallen);
                    Some(Doubt { since: [at; 2], most: self.down_since([at; 2], at, &fallen), few_since: [None; 2] })
                }
                None => {
                    if !is_spent && at < self.log.end {
                        self.must_begin(at, &now, &fallen);
                    }
                    None
                }
                Some(mut doubt) => {
                    let have_recovered =
                        doubt.few_since[1].is_some_and(|few| few + rules.window <= at + self.vague(at));
                    let is_over = doubt.since[0] + rules.at_most <= at + self.vague(at);
                    let can_be_over = is_over || have_recovered || self.canary_can_have_answered(at);
                    if is_unsure && !is_seen && can_be_over {
                        doubt.since[1] = at;
                        doubt.most[0] = 0;
                        doubt.few_since[0] = None;
                    }
                    let [sure, perhaps] = self.down_since(doubt.since, at, &fallen);
                    doubt.most = [doubt.most[0].max(sure), doubt.most[1].max(perhaps)];
                    let is_few = [perhaps * 2 <= doubt.most[0], sure * 2 <= doubt.most[1]];
                    for (since, is_few) in doubt.few_since.iter_mut().zip(is_few) {
                        *since = is_few.then(|| since.unwrap_or(at));
                    }
                    if is_unsure || !is_believed {
                        let taken = (0..now.len()).filter(|endpoint| {
                            now[*endpoint].verdict == Verdict::Down && before[*endpoint].verdict != Verdict::Down
                        });
                        for endpoint in taken.collect::<Vec<_>>() {
                            self.blame(Rule::TakenInDoubt, at, Some(endpoint), "it turned down while all is in doubt");
                        }
                        Some(doubt)
                    } else {
                        if !can_be_over {
                            let details = format!("{sure} of {} are down, and no canary answers", doubt.most[1]);
                            self.blame(Rule::DoubtTooShort, at, None, details);
                        }
                        is_spent = is_over;
                        // What fell after it was seen last may have come after it.
                        (fallen.cleared, fallen.is_cleared_for_sure) = (Some(at), is_seen);
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
    fn down_since(&self, [soonest, latest]: [Duration; 2], at: Duration, fallen: &Fallen) -> [usize; 2] {
        let window = self.site.safety.self_suspicion.window;
        let sure = fallen.since((latest + self.vague(at)).saturating_sub(window)).count();
        [sure, fallen.perhaps_since(self.looked_for(soonest, window, at)).count()]
    }

    /// It may only begin with a reason; then what was taken away within the window is given back.
    fn begins(&mut self, at: Duration, now: &[Seen], fallen: &Fallen) {
        let rules = &self.site.safety.self_suspicion;
        let from = at.saturating_sub(rules.window);
        let fell: Vec<usize> = fallen.perhaps_since(self.looked_for(at, rules.window, at)).collect();
        // Those that may soon have their first result may count too.
        let judged = now.iter().filter(|seen| seen.found() != Some(Verdict::Unknown)).count();
        if fell.len() as f64 <= were_up(judged, now, &fell) as f64 * rules.share
            || were_up(now.len(), now, &fell) < rules.least
            || !self.is_everywhere(&fell, now)
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
        if fell.len() as f64 > were_up(now.len(), now, &fell) as f64 * rules.share
            && were_up(judged, now, &fell) >= rules.least
            && self.is_everywhere(&fell, now)
            && !may_answer
        {
            let details = format!("{} of {judged} turned down within the window", fell.len());
            self.blame(Rule::NoDoubt, at, None, details);
        }
    }

    /// By when it has to be over, as most of what turned down has answered again for a window.
    fn recovered_by(&self, doubt: &Doubt) -> Duration {
        let window = self.site.safety.self_suspicion.window;
        // What a restart breaks off begins anew.
        let due = |few: Duration| {
            let pauses = self.pauses.iter().filter(|pause| few < pause.until);
            pauses.fold(few + window, |due, pause| if pause.from < due { pause.until + window } else { due })
        };
        doubt.few_since[0].map_or(Duration::MAX, |few| self.looks_again(due(few)))
    }

    /// By when it has to be over, as it is known at `at`, however it is.
    fn spent_by(&self, doubt: &Doubt, at: Duration) -> Duration {
        self.looks_again(doubt.since[1] + self.site.safety.self_suspicion.at_most + self.vague(at) - self.slack)
    }

    /// Up to `at` it lasts.
    fn too_long(&mut self, at: Duration, doubt: &Doubt) {
        let rules = &self.site.safety.self_suspicion;
        let since = doubt.since[1].as_secs_f64();
        if self.spent_by(doubt, at) < at {
            self.blame(Rule::DoubtTooLong, at, None, format!("it lasts since {since:.3} s"));
        } else if self.recovered_by(doubt) < at {
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
            serves.any(|span| due(span.from.max(doubt.since[1])) < at && at <= span.until)
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

    /// Whether these that fell are in more than one region, or in the only one in which any was up.
    fn is_everywhere(&self, fell: &[usize], now: &[Seen]) -> bool {
        let region = |endpoint: usize| self.site.endpoints[endpoint].region;
        let Some((first, others)) = fell.split_first() else { return false };
        let is_elsewhere = |endpoint: usize| region(endpoint) != region(*first);
        others.iter().any(|other| is_elsewhere(*other))
            || now
                .iter()
                .enumerate()
                .all(|(endpoint, seen)| !is_elsewhere(endpoint) || seen.found() == Some(Verdict::Down))
    }
}

/// How many of so many were up before these fell.
fn were_up(of: usize, now: &[Seen], fell: &[usize]) -> usize {
    let down = now.iter().filter(|seen| seen.found() == Some(Verdict::Down)).count();
    of - down.saturating_sub(fell.len()).min(of)
}
