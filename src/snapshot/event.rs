//! What there is to say after something became known: changes of verdicts and of breakers, and reports that don't count.

use tracing::{info, warn};

use crate::health::breaker::{self, State};
use crate::health::report::Source;
use crate::health::suspicion::Doubt;
use crate::health::{Rejection, Transition, Verdict};

/// Something to be said.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A verdict changed.
    Verdict(Change),
    /// The prober begins or ceases to suspect itself.
    Doubt(Doubt),
    /// A circuit breaker changed.
    Breaker(BreakerChange),
    /// A report does not count.
    Rejected {
        /// Where it came from.
        source: Source,
        /// Why it does not.
        rejection: Rejection,
        /// Who or what that was.
        from: String,
    },
}

/// A change of verdict, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// From what to what.
    pub transition: Transition,
    /// What was probed.
    pub target: String,
    /// The endpoints that it concerns, as `pool/region`.
    pub endpoints: Vec<String>,
    /// What the deciding observation said.
    pub reason: String,
}

/// A change of a circuit breaker, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerChange {
    /// From what to what, and why.
    pub transition: breaker::Transition,
    /// The endpoint, as `pool/region/address`.
    pub endpoint: String,
}

impl Event {
    /// Writes it to the log.
    pub fn log(&self) {
        match self {
            Self::Verdict(Change { transition: Transition { from, to, .. }, target, endpoints, reason }) => {
                let endpoints = endpoints.join(" ");
                match to {
                    Verdict::Down => warn!(%from, %to, target, endpoints, reason, "probe finds it down"),
                    Verdict::Degraded => warn!(%from, %to, target, endpoints, reason, "probe finds it degraded"),
                    Verdict::Up | Verdict::Unknown => info!(%from, %to, target, endpoints, reason, "probe finds it up"),
                }
            }
            Self::Doubt(Doubt::Begins { fallen, of }) => warn!(
                fallen,
                of,
                "so much turned down at once that this server may be cut off itself: no endpoint is taken away until it is sure"
            ),
            Self::Doubt(Doubt::Ends(relief)) => {
                warn!(reason = relief.name(), "what the probes say counts again: {relief}");
            }
            Self::Breaker(BreakerChange { transition: breaker::Transition { from, to, cause }, endpoint }) => {
                let (from, to_name, reason) = (from.name(), to.name(), cause.to_string());
                if *to == State::Open {
                    warn!(from, to = to_name, endpoint, reason, "circuit breaker opened");
                } else {
                    info!(from, to = to_name, endpoint, reason, "circuit breaker changed");
                }
            }
            Self::Rejected { source, rejection, from } => {
                warn!(
                    source = source.name(),
                    reason = rejection.name(),
                    from,
                    "a report of load does not count: {rejection}"
                );
            }
        }
    }
}
