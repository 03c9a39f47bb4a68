//! What operators say outranks all else, for as long as they say it.

use std::time::Duration;

use meridian::health::Verdict;
use meridian::health::overrides::Word;

use super::{Checker, Rule, SECOND, TICK};
use crate::log::Seen;
use crate::script::{Act, Span};

/// A word and when it may be seen.
struct Said {
    endpoint: usize,
    word: Word,
    span: Span,
}

impl Checker<'_> {
    pub(super) fn words(&mut self) {
        let log = self.log;
        let mut all = Vec::new();
        for (done, act) in &log.done {
            let Act::Say { endpoint, word, seconds } = *act else { continue };
            // Ends go by whole seconds of the calendar.
            let seconds = Duration::from_secs(seconds);
            let surely = Span {
                from: done.until + self.slack,
                until: (done.from + seconds).saturating_sub(SECOND + self.slack),
            };
            let mut seen = log.endpoints[endpoint].within(surely);
            if surely.from < surely.until
                && let Some(seen) = seen.find(|seen| !obeys(*seen, word))
            {
                self.blame(Rule::WordIgnored, surely.from, Some(endpoint), format!("{word}, and it is {seen:?}"));
            }
            let span = self.around(done.from, done.until + seconds + TICK);
            all.push(Said { endpoint, word, span });
        }
        for (endpoint, line) in log.endpoints.iter().enumerate() {
            for (seen, word) in line.segments(log.end).filter_map(|(span, seen)| Some((span, seen.word?))) {
                let is_this = |said: &Said| said.endpoint == endpoint && said.word == word;
                let holds = |said: &Said| said.span.from <= seen.from && seen.until <= said.span.until;
                if !all.iter().any(|said| is_this(said) && holds(said)) {
                    let details = format!("{word} until {:.3} s", seen.until.as_secs_f64());
                    self.blame(Rule::WordWithoutSpeaker, seen.from, Some(endpoint), details);
                }
            }
        }
    }
}

/// Whether it is as the word says, whatever probes and limits do.
fn obeys(seen: Seen, word: Word) -> bool {
    let verdict = match word {
        Word::Up => Verdict::Up,
        Word::Down => Verdict::Down,
        Word::Drain | Word::Disable => seen.verdict,
    };
    (seen.word, seen.verdict) == (Some(word), verdict) && (seen.held.is_none() || seen.is_out())
}
