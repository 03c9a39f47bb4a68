//! What was seen of a server while a script was played.

use std::time::Duration;

use meridian::health::Verdict;
use meridian::health::guard::Held;

use crate::script::Span;

/// What is shown of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What counts.
    pub(crate) verdict: Verdict,
    /// What keeps it, where its probes say that it is down.
    pub(crate) held: Option<Held>,
}

impl Seen {
    pub(crate) const UNKNOWN: Self = Self { verdict: Verdict::Unknown, held: None };

    /// What its probes say.
    pub(crate) fn found(self) -> Verdict {
        if self.held.is_some() { Verdict::Down } else { self.verdict }
    }
}

/// What was seen of one endpoint; the first at zero, the others later, each other than the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timeline(Vec<(Duration, Seen)>);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) asked: Duration,
    pub(crate) answered: Duration,
    pub(crate) service: usize,
    /// Whose addresses are in it, or what else came of the query.
    pub(crate) says: Result<Vec<usize>, String>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    /// By endpoint.
    pub(crate) timelines: Vec<Timeline>,
    pub(crate) samples: Vec<Sample>,
    /// Until when was looked.
    pub(crate) end: Duration,
}

impl Timeline {
    /// What was seen last at that moment.
    pub(crate) fn at(&self, at: Duration) -> Seen {
        self.0[self.index(at)].1
    }

    fn index(&self, at: Duration) -> usize {
        self.0.partition_point(|(from, _)| *from <= at).saturating_sub(1)
    }

    /// All that was seen in the span.
    pub(crate) fn within(&self, span: Span) -> impl Iterator<Item = Seen> {
        self.0[self.index(span.from)..=self.index(span.until)].iter().map(|(_, seen)| *seen)
    }

    /// What was seen, and of which span.
    pub(crate) fn segments(&self, end: Duration) -> impl Iterator<Item = (Span, Seen)> {
        let ends = self.0.iter().skip(1).map(|(from, _)| *from).chain([end]);
        self.0.iter().zip(ends).map(|((from, seen), until)| (Span { from: *from, until }, *seen))
    }

    /// The moments at which something else was seen, with what before and what then.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (Duration, Seen, Seen)> {
        self.0.windows(2).map(|pair| (pair[1].0, pair[0].1, pair[1].1))
    }
}

impl Log {
    /// Of endpoints of which nothing is known.
    pub(crate) fn new(endpoints: usize) -> Self {
        let timelines = vec![Timeline(vec![(Duration::ZERO, Seen::UNKNOWN)]); endpoints];
        Self { timelines, samples: Vec::new(), end: Duration::ZERO }
    }

    /// Takes down what is seen of an endpoint.
    pub(crate) fn note(&mut self, endpoint: usize, at: Duration, seen: Seen) {
        let timeline = &mut self.timelines[endpoint].0;
        if let Some((_, last)) = timeline.last()
            && *last != seen
        {
            timeline.push((at, seen));
        }
    }

    /// All changes in the order of time: those of one moment together.
    pub(crate) fn changes(&self) -> Vec<(Duration, Vec<(usize, Seen)>)> {
        let changes = self.timelines.iter().enumerate();
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
