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
    /// Whether its breaker takes it away, as nothing holds it any longer.
    pub is_broken: bool,
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
    let turned: BTreeMap<TargetId, Verdict> =
        targets.iter().map(|(target, transition)| (*target, transition.to)).collect();
    let mut alike: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (index, change) in turns {
        let Some(known) = table.endpoints().get(index) else { continue };
        let endpoint::Change { from, to, held, is_broken, .. } = change;
        let is_own = held.is_none() && !is_broken;
        if is_own && only_target_of(known).is_some_and(|target| turned.get(&target) == Some(&to)) {
            continue;
        }
        let is_said = known.word().is_some();
        let kind = (known.placed.group, from as u8, to as u8, held, is_broken, is_said);
        alike.entry(kind).or_default().push((index, change));
    }
    let told = alike.into_iter().flat_map(|((.., is_said), mut changes)| {
        let others = if changes.len() > TOLD_OF { changes.len() - 1 } else { 0 };
        changes.truncate(changes.len() - others);
        changes.into_iter().map(move |(index, change)| (index, change, is_said, others))
    });
    let mut told: Vec<_> = told.collect();
    told.sort_by_key(|(index, ..)| *index);
    let event = |(index, change, is_said, others): (u32, endpoint::Change, bool, usize)| {
        let endpoint = table.endpoints().get(index)?.placed.to_string();
        let (reason, endpoint::Change { from, to, held, is_broken, .. }) = (change.why(), change);
        Some(Event::Endpoint(EndpointChange { endpoint, from, to, held, is_broken, is_said, reason, others }))
    };
    told.into_iter().filter_map(event).collect()
}

/// What an endpoint's health depends on, where that is one target and nothing else.
fn only_target_of(endpoint: &EndpointHealth) -> Option<TargetId> {
    let mut acting = endpoint.placed.acting_inputs();
    match (acting.next(), acting.next()) {
        (Some((Input::Target(own), _)), None) => Some(*own),
        _ => None,
    }
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
        let Self { endpoint, from, to, held, is_broken, is_said, reason, others } = self;
        let others = (*others > 0).then_some(others);
        let held = held.map(Held::name);
        match to {
            _ if *is_said => info!(%from, %to, endpoint, others, reason, "endpoint is as an operator says"),
            _ if held.is_some() => {
                warn!(%from, %to, endpoint, others, held, reason, "endpoint is held, though it was to be taken away");
            }
            _ if *is_broken => warn!(%from, %to, endpoint, others, reason, "endpoint is taken away"),
            Verdict::Down => warn!(%from, %to, endpoint, others, reason, "endpoint is taken away"),
            Verdict::Degraded => warn!(%from, %to, endpoint, others, reason, "endpoint is degraded"),
            Verdict::Up | Verdict::Unknown => info!(%from, %to, endpoint, others, reason, "endpoint serves"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

    use std::io::{self, Read};
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::health::breaker::Cause;
    use crate::health::suspicion::Relief;

    const OPERATING: &str = include_str!("../../docs/operating.md");

    fn verdict(from: Verdict, to: Verdict, reason: &str) -> Event {
        let transition = Transition { from, to, streak: 3, lasted: None };
        let endpoints = vec!["web/near".to_owned(), "api/far".to_owned()];
        Event::Verdict(Change { transition, target: "tcp://192.0.2.1:80".into(), endpoints, reason: reason.into() })
    }

    fn endpoint(from: Verdict, to: Verdict, held: Option<Held>, is_said: bool, others: usize) -> Event {
        let (endpoint, reason) = ("web/near/192.0.2.1".into(), "why".into());
        Event::Endpoint(EndpointChange { endpoint, from, to, held, is_broken: false, is_said, reason, others })
    }

    /// Of one that its breaker takes away.
    fn broken() -> Event {
        let Event::Endpoint(change) = endpoint(Verdict::Up, Verdict::Up, None, false, 0) else { unreachable!() };
        Event::Endpoint(EndpointChange { is_broken: true, ..change })
    }

    fn breaker(from: State, to: State, cause: Cause) -> Event {
        let transition = breaker::Transition { from, to, cause };
        Event::Breaker(BreakerChange { transition, endpoint: "web/near/192.0.2.1".into() })
    }

    /// What is written to the log.
    fn line(event: &Event) -> String {
        let (mut reader, writer) = io::pipe().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(Mutex::new(writer))
            .finish();
        tracing::subscriber::with_default(subscriber, || event.log());
        let mut written = String::new();
        reader.read_to_string(&mut written).unwrap();
        written
    }

    #[test]
    fn each_event_is_one_line_that_operators_are_told_of() {
        use Verdict::{Degraded, Down, Unknown, Up};
        let rejected = Event::Rejected { source: Source::Pushed, rejection: Rejection::Negative, from: "me".into() };
        let doubted = "so much turned down at once that this server may be cut off itself: no endpoint is taken away until it is sure";
        let of_target = "target=\"tcp://192.0.2.1:80\" endpoints=\"web/near api/far\"";
        let of_endpoint = "endpoint=\"web/near/192.0.2.1\"";
        let again = "what the probes say counts again";
        for (event, level, message, rest) in [
            (
                verdict(Up, Down, "connection refused"),
                "WARN",
                "probe finds it down",
                format!("from=up to=down {of_target} reason=\"connection refused\""),
            ),
            (
                verdict(Down, Degraded, "slow"),
                "WARN",
                "probe finds it degraded",
                format!("from=down to=degraded {of_target} reason=\"slow\""),
            ),
            (
                verdict(Unknown, Up, "ok in 1.0ms"),
                "INFO",
                "probe finds it up",
                format!("from=unknown to=up {of_target} reason=\"ok in 1.0ms\""),
            ),
            (
                endpoint(Up, Down, None, false, 0),
                "WARN",
                "endpoint is taken away",
                format!("from=up to=down {of_endpoint} reason=\"why\""),
            ),
            (broken(), "WARN", "endpoint is taken away", format!("from=up to=up {of_endpoint} reason=\"why\"")),
            (
                endpoint(Up, Degraded, None, false, 12),
                "WARN",
                "endpoint is degraded",
                format!("from=up to=degraded {of_endpoint} others=12 reason=\"why\""),
            ),
            (
                endpoint(Up, Degraded, Some(Held::Unsure), false, 0),
                "WARN",
                "endpoint is held, though it was to be taken away",
                format!("from=up to=degraded {of_endpoint} held=\"unsure\" reason=\"why\""),
            ),
            (
                endpoint(Down, Up, None, false, 0),
                "INFO",
                "endpoint serves",
                format!("from=down to=up {of_endpoint} reason=\"why\""),
            ),
            (
                endpoint(Up, Down, None, true, 0),
                "INFO",
                "endpoint is as an operator says",
                format!("from=up to=down {of_endpoint} reason=\"why\""),
            ),
            (Event::Doubt(Doubt::Begins { fallen: 7, of: 9 }), "WARN", doubted, "fallen=7 of=9".into()),
            (
                Event::Doubt(Doubt::Ends(Relief::Canary)),
                "WARN",
                &format!("{again}: a canary answers, so this server is not cut off"),
                "reason=\"canary\"".into(),
            ),
            (
                Event::Doubt(Doubt::Ends(Relief::Recovered)),
                "WARN",
                &format!("{again}: most of what turned down answers again"),
                "reason=\"recovered\"".into(),
            ),
            (
                Event::Doubt(Doubt::Ends(Relief::TooLong)),
                "WARN",
                &format!("{again}: it has lasted for as long as it may"),
                "reason=\"at_most\"".into(),
            ),
            (
                breaker(State::Closed, State::Open, Cause::Rate(3, 4)),
                "WARN",
                "circuit breaker opened",
                format!("from=\"closed\" to=\"open\" {of_endpoint} reason=\"3 of 4 results were failures\""),
            ),
            (
                breaker(State::HalfOpen, State::Open, Cause::Relapse),
                "WARN",
                "circuit breaker opened",
                format!("from=\"half-open\" to=\"open\" {of_endpoint} reason=\"a failure while it was tried\""),
            ),
            (
                breaker(State::Open, State::HalfOpen, Cause::Waited(Duration::from_secs(30))),
                "INFO",
                "circuit breaker changed",
                format!("from=\"open\" to=\"half-open\" {of_endpoint} reason=\"it was open for 30s\""),
            ),
            (
                breaker(State::HalfOpen, State::Closed, Cause::Recovery(2)),
                "INFO",
                "circuit breaker changed",
                format!("from=\"half-open\" to=\"closed\" {of_endpoint} reason=\"2 successes while it was tried\""),
            ),
            (
                rejected,
                "WARN",
                "a report of load does not count: a value is below 0",
                "source=\"api\" reason=\"negative\" from=\"me\"".into(),
            ),
        ] {
            assert_eq!(line(&event), format!(" {level} {message} {rest}\n"));
            let documented = message.split_once(':').map_or(message.to_owned(), |(first, _)| format!("{first}: ..."));
            let row = OPERATING.lines().find(|line| line.starts_with("| `") && line.contains(&documented));
            let row = row.unwrap_or_else(|| panic!("{documented} is not in docs/operating.md"));
            assert!(row.contains(&format!("| {} |", level.to_lowercase())), "{level} is not {row}");
        }
    }
}
