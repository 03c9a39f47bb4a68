//! Knows the truth and tells what of a log can't be right.
//!
//! Its rules are those of docs/health.md, written down a second time from the other side: what must be seen where the truth lasts for
//! long enough, and what may be seen only where it allows that. Between the two it has no opinion.

mod answers;
mod breakers;
mod doubt;
mod inputs;
mod limits;
#[cfg(test)]
mod tests;
mod verdicts;
mod words;

use std::fmt;
use std::time::Duration;

use crate::log::{Log, Pause};
use crate::script::{Script, Span};
use crate::site::Site;
use crate::truth::Truth;

const SECOND: Duration = Duration::from_secs(1);
/// How often the server does what time alone does.
const TICK: Duration = SECOND;

/// What is not to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rule {
    /// Nothing is known although the first run must be over.
    NothingFound,
    /// Dead for fall × interval + timeout, and not found down.
    FoundDownLate,
    /// Well for rise × interval + timeout, nothing holds it down, and it is not up.
    FoundUpLate,
    /// Well for rise × interval + timeout, and still degraded.
    FoundWellLate,
    /// Slow for fall × interval + timeout, and up.
    FoundSlowLate,
    /// Found otherwise than runs in a row can have.
    FalseVerdict,
    /// Up before its hold-down ended, or an operator resumed it.
    UpTooSoon,
    /// Of several inputs, not what they say together.
    CombinedWrongly,
    /// Not as an operator says.
    WordIgnored,
    /// As an operator doesn't say, or no longer.
    WordWithoutSpeaker,
    /// Answered with what was dead for fall × interval + timeout + 1 s.
    AnsweredDead,
    /// Answered with what was known to be down.
    AnsweredDown,
    /// Answered with what its open breaker keeps away.
    AnsweredBroken,
    /// Answered with what an operator drained or disabled.
    AnsweredOut,
    /// No answer, or none with an address of the service.
    NoAnswer,
    /// A breaker that opened without enough failures in a row.
    OpenWithoutReason,
    /// A breaker that is closed after as many failures in a row as open it.
    OpenedLate,
    /// A breaker that is tried before it was open for long enough.
    TriedTooSoon,
    /// A breaker that keeps away what has been well for as long as it takes to be tried and closed.
    ClosedLate,
    /// More of a pool taken away than may be.
    ShareExceeded,
    /// Fewer regions left than must be.
    RegionsExceeded,
    /// More changes made than may be.
    ChangesExceeded,
    /// Held by a limit that isn't reached.
    HeldWithoutReason,
    /// In doubt without a reason.
    DoubtWithoutReason,
    /// Not in doubt with every reason.
    NoDoubt,
    /// Taken away while in doubt.
    TakenInDoubt,
    /// Given back while in doubt, but taken away before anything that is.
    GivenBackInDoubt,
    /// In doubt for longer than there is a reason.
    DoubtTooLong,
    /// No longer in doubt before there is a reason.
    DoubtTooShort,
}

/// What was seen and can't be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) at: Duration,
    pub(crate) rule: Rule,
    /// The backend, where it is about one.
    pub(crate) backend: Option<usize>,
    pub(crate) details: String,
}

/// All that is known.
pub(crate) struct Checker<'a> {
    site: &'a Site,
    script: &'a Script,
    log: &'a Log,
    /// When the server was off.
    pauses: &'a [Pause],
    slack: Duration,
    violations: Vec<Violation>,
}

/// All violations in the order of time; `slack` is how late anything may come.
pub(crate) fn check(site: &Site, script: &Script, slack: Duration, log: &Log) -> Vec<Violation> {
    let mut checker = Checker { site, script, log, pauses: &log.pauses(), slack, violations: Vec::new() };
    checker.verdicts();
    checker.inputs();
    checker.words();
    checker.breakers();
    checker.limits();
    checker.doubt();
    checker.answers();
    checker.violations.sort_by_key(|violation| (violation.at, violation.backend, violation.rule));
    checker.violations
}

impl<'a> Checker<'a> {
    /// The spans between pauses, each with the truth about a backend as it is to be known then.
    fn eras(&self, backend: usize) -> impl Iterator<Item = (Span, Truth<'a>)> + use<'a> {
        let (truth, end) = (self.truth(backend), self.log.end);
        (0..=truth.pauses.len()).map(move |count| {
            let (pauses, later) = truth.pauses.split_at(count);
            let from = pauses.last().map_or(Duration::ZERO, |pause| pause.until);
            let until = later.first().map_or(end, |pause| pause.from);
            (Span { from, until }, Truth { pauses, ..truth })
        })
    }

    fn truth(&self, backend: usize) -> Truth<'a> {
        let (story, timing) = (&self.script.stories[backend], self.site.timing(backend));
        Truth { story, timing, slack: self.slack, end: self.log.end, pauses: self.pauses }
    }

    /// A span with what may be late or early of it. What becomes of anything just before a pause is seen after it.
    fn around(&self, from: Duration, until: Duration) -> Span {
        let until = self.pauses.iter().fold(until, |until, pause| {
            match from < pause.until && pause.from < until + self.slack {
                true => until.max(pause.until),
                false => until,
            }
        });
        Span { from: from.saturating_sub(self.slack), until: until + self.slack }
    }

    /// When it was due that nothing but time was missing for then: at the next tick, and after a restart that comes before.
    fn looks_again(&self, since: Duration) -> Duration {
        let due = since + TICK + self.slack;
        self.pauses.iter().fold(due, |due, pause| {
            if since < pause.until && pause.from < due { pause.until + TICK + self.slack } else { due }
        })
    }

    fn restarts_until(&self, at: Duration) -> u32 {
        self.pauses.iter().filter(|pause| pause.until <= at).count() as u32
    }

    fn blame(&mut self, rule: Rule, at: Duration, backend: Option<usize>, details: impl Into<String>) {
        self.violations.push(Violation { at, rule, backend, details: details.into() });
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.3} s {:?}", self.at.as_secs_f64(), self.rule)?;
        self.backend.map_or(Ok(()), |backend| write!(f, " of backend {backend}"))?;
        write!(f, ": {}", self.details)
    }
}
