//! What was seen of a server while a script was played.

use std::time::Duration;

use meridian::health::Verdict;
use meridian::health::breaker::State;
use meridian::health::guard::Held;
use meridian::health::overrides::Word;
use meridian::state::verdicts::WRITE_INTERVAL;

use crate::script::{Act, End, Span};
use crate::site::Site;

/// What is shown of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What counts.
    pub(crate) verdict: Verdict,
    /// What keeps it, where its probes say that it is down.
    pub(crate) held: Option<Held>,
    /// What operators say of it.
    pub(crate) word: Option<Word>,
    /// Its breaker, closed where it has none.
    pub(crate) breaker: State,
}

impl Seen {
    pub(crate) const UNKNOWN: Self = Self { verdict: Verdict::Unknown, held: None, word: None, breaker: State::Closed };

    /// What its probes say, where no operator says so in their place.
    pub(crate) fn found(self) -> Option<Verdict> {
        match self.word {
            Some(Word::Up | Word::Down) => None,
            _ => Some(if self.held.is_some() { Verdict::Down } else { self.verdict }),
        }
    }

    /// Whether no client is to be sent there, whatever happens.
    pub(crate) fn is_out(self) -> bool {
        matches!(self.word, Some(Word::Drain | Word::Disable))
    }

    /// Whether clients are to be sent there where others serve as well.
    pub(crate) fn serves(self) -> bool {
        self.verdict.serves() && !self.is_out() && self.breaker != State::Open
    }

    /// Whether it was up to the server to take it away, and it did.
    pub(crate) fn is_taken(self) -> bool {
        self.word.is_none() && self.verdict == Verdict::Down
    }
}

/// What was seen of one; the first at zero, the others later, each other than the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timeline<T>(Vec<(Duration, T)>);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) asked: Duration,
    pub(crate) answered: Duration,
    pub(crate) service: usize,
    /// Whose addresses are in it, or what else came of the query.
    pub(crate) says: Result<Vec<usize>, String>,
}

/// Something that a log may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Verdict(Verdict),
    Held(Held),
    Word(Word),
    Breaker(State),
    Restart(End),
    /// The server was unsure before and after.
    RestartInDoubt,
}

/// A time when the server was off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) from: Duration,
    pub(crate) until: Duration,
    /// It goes on with what was so at some moment from this to `from`.
    pub(crate) knows: Duration,
}

/// Verdicts that changed are stored after this time at the latest: the server looks once per second whether that is due.
const STORED_AFTER: Duration = WRITE_INTERVAL.saturating_add(Duration::from_secs(2));

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    /// By endpoint, what counts.
    pub(crate) endpoints: Vec<Timeline<Seen>>,
    /// By backend, what its probes say; nothing where that isn't shown. Of canaries nothing is known.
    pub(crate) targets: Vec<Timeline<Option<Verdict>>>,
    pub(crate) samples: Vec<Sample>,
    /// What was done, and from when until when that took.
    pub(crate) done: Vec<(Span, Act)>,
    /// Until when was looked.
    pub(crate) end: Duration,
}

impl<T: Copy + PartialEq> Timeline<T> {
    fn new(first: T) -> Self {
        Self(vec![(Duration::ZERO, first)])
    }

    /// Takes down what is seen.
    fn note(&mut self, at: Duration, seen: T) {
        if self.0.last().is_some_and(|(_, last)| *last != seen) {
            self.0.push((at, seen));
        }
    }

    /// What of it is of interest.
    pub(crate) fn map<U: Copy + PartialEq>(&self, what: impl Fn(T) -> U) -> Timeline<U> {
        let mut line = Timeline::new(what(self.0[0].1));
        self.0.iter().for_each(|(at, seen)| line.note(*at, what(*seen)));
        line
    }

    /// What was seen last at that moment.
    pub(crate) fn at(&self, at: Duration) -> T {
        self.0[self.index(at)].1
    }

    fn index(&self, at: Duration) -> usize {
        self.0.partition_point(|(from, _)| *from <= at).saturating_sub(1)
    }

    /// All that was seen in the span.
    pub(crate) fn within(&self, span: Span) -> impl Iterator<Item = T> {
        self.0[self.index(span.from)..=self.index(span.until)].iter().map(|(_, seen)| *seen)
    }

    /// What was seen, and of which span.
    pub(crate) fn segments(&self, end: Duration) -> impl Iterator<Item = (Span, T)> {
        let ends = self.0.iter().skip(1).map(|(from, _)| *from).chain([end]);
        self.0.iter().zip(ends).map(|((from, seen), until)| (Span { from: *from, until }, *seen))
    }

    /// Whether a server that starts again at `at`, or so long before, can go on with this from before it was killed.
    pub(crate) fn recalls(&self, pauses: &[Pause], at: Duration, slack: Duration, is: impl Fn(T) -> bool) -> bool {
        let is_start = |pause: &&Pause| pause.is_forgetful() && pause.until <= at && at <= pause.until + slack;
        pauses.iter().filter(is_start).any(|pause| {
            let Pause { from, knows, .. } = *pause;
            self.within(Span { from: knows.saturating_sub(slack), until: from }).any(&is)
        })
    }

    /// The moments at which something else was seen, with what before and what then.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (Duration, T, T)> {
        self.0.windows(2).map(|pair| (pair[1].0, pair[0].1, pair[1].1))
    }
}

impl Pause {
    /// Whether what became known before it may be lost.
    pub(crate) fn is_forgetful(&self) -> bool {
        self.knows < self.from
    }
}

impl Log {
    /// Of a site of which nothing is known.
    pub(crate) fn new(site: &Site) -> Self {
        Self {
            endpoints: vec![Timeline::new(Seen::UNKNOWN); site.endpoints.len()],
            targets: vec![Timeline::new(Some(Verdict::Unknown)); site.backends()],
            samples: Vec::new(),
            done: Vec::new(),
            end: Duration::ZERO,
        }
    }

    /// Takes down what is seen of an endpoint, and what its inputs say, as far as that is shown.
    pub(crate) fn note(
        &mut self,
        endpoint: usize,
        at: Duration,
        seen: Seen,
        inputs: impl IntoIterator<Item = (usize, Option<Verdict>)>,
    ) {
        self.endpoints[endpoint].note(at, seen);
        inputs.into_iter().for_each(|(backend, says)| self.targets[backend].note(at, says));
    }

    /// When the server was off.
    pub(crate) fn pauses(&self) -> Vec<Pause> {
        let mut pauses: Vec<Pause> = Vec::new();
        for (Span { from, until }, act) in &self.done {
            let Act::Restart { end, .. } = act else { continue };
            let (started, knew) = pauses.last().map_or_else(Default::default, |last| (last.until, last.knows));
            let knows = match end {
                End::Ordered => *from,
                End::Killed if *from < started + STORED_AFTER => knew,
                End::Killed => *from - STORED_AFTER,
            };
            pauses.push(Pause { from: *from, until: *until, knows });
        }
        pauses
    }

    /// What it has, again for each time that it has it.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let changes = self.endpoints.iter().flat_map(Timeline::changes);
        let shown = changes.flat_map(|(.., to)| {
            let breaker = Shown::Breaker(to.breaker);
            [Some(Shown::Verdict(to.verdict)), to.held.map(Shown::Held), to.word.map(Shown::Word), Some(breaker)]
        });
        let restarts = self.done.iter().filter_map(|(span, act)| match act {
            Act::Restart { end, .. } => Some((span, *end)),
            _ => None,
        });
        let is_unsure = |at| self.endpoints.iter().any(|line| line.at(at).held == Some(Held::Unsure));
        let restarts = restarts.flat_map(|(span, end)| {
            let in_doubt = is_unsure(span.from) && is_unsure(span.until);
            [Some(Shown::Restart(end)), in_doubt.then_some(Shown::RestartInDoubt)]
        });
        shown.chain(restarts).flatten().collect()
    }

    /// All changes of what counts in the order of time: those of one moment together.
    pub(crate) fn changes(&self) -> Vec<(Duration, Vec<(usize, Seen)>)> {
        let changes = self.endpoints.iter().enumerate();
        let changes = changes.flat_map(|(endpoint, line)| line.changes().map(move |(at, _, to)| (at, endpoint, to)));
        let mut changes: Vec<_> = changes.collect();
        changes.sort_by_key(|(at, endpoint, _)| (*at, *endpoint));
        let mut grouped: Vec<(Duration, Vec<(usize, Seen)>)> = Vec::new();
        for (at, endpoint, to) in changes {
            match grouped.last_mut() {
                Some((last, group)) if *last == at => group.push((endpoint, to)),
                _ => grouped.push((at, vec![(endpoint, to)])),
            }
        }
        grouped
    }
}
