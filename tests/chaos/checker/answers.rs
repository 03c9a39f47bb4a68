//! What clients are told.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::Duration;

use meridian::health::breaker::State;
use meridian::health::overrides::Word;
use meridian::health::{Grade, Verdict};

use super::{Checker, Rule};
use crate::log::{Sample, Seen};
use crate::script::Span;
use crate::site::Pool;

/// What is promised beside fall × interval + timeout.
const GRACE: Duration = Duration::from_secs(1);

impl Checker<'_> {
    pub(super) fn answers(&mut self) {
        let services = self.site.services();
        let endpoints: Vec<Vec<usize>> = services.iter().map(|pools| self.site.endpoints_of(pools)).collect();
        let all_down: Vec<Vec<Span>> = endpoints.iter().map(|endpoints| self.all_down(endpoints)).collect();
        // When an answer is too late, until it is well again.
        let dead: Vec<Vec<Span>> = (0..self.site.endpoints.len()).map(|endpoint| self.dead(endpoint)).collect();
        let log = self.log;
        let is_off = |sample: &&Sample| {
            self.pauses.iter().any(|pause| pause.from <= sample.answered && sample.asked <= pause.until)
        };
        for sample in log.samples.iter().filter(|sample| sample.says.is_ok() || !is_off(sample)) {
            let backends = match &sample.says {
                Ok(backends) if !backends.is_empty() => backends,
                Ok(_) => {
                    self.blame(Rule::NoAnswer, sample.asked, None, "an answer without an address");
                    continue;
                }
                Err(problem) => {
                    self.blame(Rule::NoAnswer, sample.asked, None, problem.clone());
                    continue;
                }
            };
            let around = self.around(sample.asked, sample.answered);
            // Where nothing serves, all is answered with, on purpose.
            let is_all_down =
                all_down[sample.service].iter().any(|span| around.from <= span.until && span.from <= around.until);
            for backend in backends.iter().copied() {
                if !endpoints[sample.service].contains(&backend) {
                    self.blame(Rule::NoAnswer, sample.asked, Some(backend), "it is none of the service's");
                    continue;
                }
                let timeline = &log.endpoints[backend];
                // What became of endpoints just before the end may not have been seen any more.
                if sample.answered + self.slack > log.end {
                    continue;
                }
                if timeline.within(around).all(Seen::is_out) {
                    self.blame(Rule::AnsweredOut, sample.asked, Some(backend), "an operator took it out");
                }
                let is_kept = |seen: Seen| seen.held.is_some() || seen.word == Some(Word::Up);
                if is_all_down || timeline.within(around).any(is_kept) {
                    continue;
                }
                let is_dead = |span: &&Span| span.from < sample.asked && sample.answered + self.slack < span.until;
                if let Some(span) = dead[backend].iter().find(is_dead) {
                    let details = format!("by {:.3} s it was to be gone", span.from.as_secs_f64());
                    self.blame(Rule::AnsweredDead, sample.asked, Some(backend), details);
                }
                if timeline.within(around).all(|seen| seen.verdict == Verdict::Down) {
                    self.blame(Rule::AnsweredDown, sample.asked, Some(backend), "others serve");
                }
                if timeline.within(around).all(|seen| seen.breaker == State::Open) {
                    self.blame(Rule::AnsweredBroken, sample.asked, Some(backend), "others serve");
                }
            }
        }
    }

    /// When an answer with it is too late, until it is well again: so many of its inputs are dead that too few can be left.
    fn dead(&self, endpoint: usize) -> Vec<Span> {
        let Pool { inputs, required, .. } = self.site.pools[self.site.endpoints[endpoint].pool];
        let eras = self.site.inputs(endpoint).flat_map(|input| self.eras(input));
        let spans = eras.flat_map(|(era, truth)| {
            let spans = truth.spans(|grade| grade == Grade::Failed).into_iter();
            let due = move |span: &Span| truth.noticed(span.from, truth.timing.fall) + GRACE - truth.slack;
            let late = move |span: Span| Span { from: due(&span).max(era.from), until: span.until.min(era.until) };
            spans.map(late).filter(|span| span.from < span.until)
        });
        let mut turns: Vec<(Duration, bool)> =
            spans.flat_map(|span| [(span.from, true), (span.until, false)]).collect();
        turns.sort_unstable();
        let (mut dead, mut spans) = (0, Vec::new());
        for (at, dies) in turns {
            dead = if dies { dead + 1 } else { dead - 1 };
            match (dies, (dead + required).cmp(&(inputs + usize::from(dies))), spans.last_mut()) {
                (true, Ordering::Equal, _) => spans.push(Span { from: at, until: self.log.end }),
                (false, Ordering::Equal, Some(last)) => last.until = at,
                _ => {}
            }
        }
        spans
    }

    /// When none of these was seen to serve.
    fn all_down(&self, endpoints: &[usize]) -> Vec<Span> {
        let mut serving: BTreeSet<usize> = endpoints.iter().copied().collect();
        let mut spans: Vec<Span> = Vec::new();
        for (at, changes) in self.log.changes() {
            let was_down = serving.is_empty();
            for (endpoint, to) in changes.into_iter().filter(|(endpoint, _)| endpoints.contains(endpoint)) {
                if to.serves() {
                    serving.insert(endpoint);
                } else {
                    serving.remove(&endpoint);
                }
            }
            match (was_down, serving.is_empty(), spans.last_mut()) {
                (false, true, _) => spans.push(Span { from: at, until: self.log.end }),
                (true, false, Some(last)) => last.until = at,
                _ => {}
            }
        }
        spans
    }
}
