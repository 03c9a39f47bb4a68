//! What there is to say after something became known: changes of verdicts and of breakers, and reports that don't count.

use std::collections::BTreeMap;

use tracing::{info, warn};

use crate::health::breaker::{self, State};
use crate::health::endpoint;
use crate::health::guard::Held;
use crate::health::report::Source;
use crate::health::suspicion::Doubt;
use crate::health::{EndpointHealth, Input, Rejection, Table, TargetId, Transition, Verdict};

/// Something to be said.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A target's verdict changed.
    Verdict(Change),
    /// What counts of an endpoint changed, and that is more than what is said of its target.
    Endpoint(EndpointChange),
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

/// A change of what counts of an endpoint, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointChange {
    /// The endpoint, as `pool/region/address`.
    pub endpoint: String,
    /// The verdict before.
    pub from: Verdict,
    /// The verdict from now on.
    pub to: Verdict,
    /// Why it serves although it was to be taken away.
    pub held: Option<Held>,
    /// Whether an operator's word decides.
    pub is_said: bool,
    /// Why.
    pub reason: String,
    /// How many others of its pool and region did the same at once and are not told of one by one.
    pub others: usize,
}

/// So many endpoints of a pool and region that do the same at once are told of one by one; of more, the first stands for all.
const TOLD_OF: usize = 10;

/// What there is to say of endpoints that turned, after these targets did. One that does what its only target did is left out: what
/// is said of the target says that.
pub(super) fn of_endpoints(
    table: &Table,
    turns: Vec<(u32, endpoint::Change)>,
    targets: &[(TargetId, Transition)],
) -> Vec<Event> {
    let mut alike: BTreeMap<_, Vec<(u32, EndpointChange)>> = BTreeMap::new();
    for (index, endpoint::Change { from, to, held, reason, .. }) in turns {
        let Some(known) = table.endpoints().get(index) else { continue };
        let is_said = known.word().is_some();
        let follows = |(target, transition): &(TargetId, Transition)| {
            transition.to == to && held.is_none() && depends_on_nothing_but(known, *target)
        };
        if targets.iter().any(follows) {
            continue;
        }
        let endpoint = known.placed.to_string();
        let change = EndpointChange { endpoint, from, to, held, is_said, reason, others: 0 };
        alike.entry((known.placed.group, from as u8, to as u8, held, is_said)).or_default().push((index, change));
    }
    let told = alike.into_values().flat_map(|mut changes| {
        if changes.len() > TOLD_OF {
            let others = changes.len() - 1;
            changes.truncate(1);
            changes.iter_mut().for_each(|(_, first)| first.others = others);
        }
        changes
    });
    let mut told: Vec<_> = told.collect();
    told.sort_by_key(|(index, _)| *index);
    told.into_iter().map(|(_, change)| Event::Endpoint(change)).collect()
}

fn depends_on_nothing_but(endpoint: &EndpointHealth, target: TargetId) -> bool {
    let inputs = endpoint.placed.inputs.iter().zip(&endpoint.placed.rules.health.inputs);
    let mut acting = inputs.filter(|(_, of)| !of.monitoring_only);
    matches!((acting.next(), acting.next()), (Some((Input::Target(own), _)), None) if *own == target)
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
            Self::Endpoint(change) => change.log(),
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

impl EndpointChange {
    fn log(&self) {
        let Self { endpoint, from, to, held, is_said, reason, others } = self;
        let others = (*others > 0).then_some(others);
        let held = held.map(Held::name);
        match to {
            _ if *is_said => info!(%from, %to, endpoint, others, reason, "endpoint is as an operator says"),
            _ if held.is_some() => {
                warn!(%from, %to, endpoint, others, held, reason, "endpoint is held, though it was to be taken away");
            }
            Verdict::Down => warn!(%from, %to, endpoint, others, reason, "endpoint is taken away"),
            Verdict::Degraded => warn!(%from, %to, endpoint, others, reason, "endpoint is degraded"),
            Verdict::Up | Verdict::Unknown => info!(%from, %to, endpoint, others, reason, "endpoint serves"),
        }
    }
}
