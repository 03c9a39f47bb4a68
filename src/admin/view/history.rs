//! What became of endpoints of late.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::health::Table;
use crate::health::breaker::{Breaker, Transition};
use crate::health::overrides::Subject;

/// The latest changes of endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The oldest first.
    pub changes: Vec<PastChange>,
    /// How many older ones are remembered beside these.
    pub left_out: usize,
    /// For how many seconds the server has run, where that is known: what was before is forgotten.
    pub running_seconds: Option<u64>,
}

/// A change of what counts of an endpoint, or of its circuit breaker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastChange {
    /// When, in seconds since 1970, by the clock as it is now.
    pub time: u64,
    /// How many seconds ago that was.
    pub seconds_ago: u64,
    /// The endpoint.
    pub subject: Subject,
    /// Of what of it.
    pub what: What,
    /// The verdict before, or the breaker's state.
    pub from: String,
    /// The same from then on.
    pub to: String,
    /// Why it served from then on although its inputs said that it was down: a key of `[safety]`, or `unsure`.
    pub held: Option<String>,
    /// What the deciding observation said, or what else was the reason.
    pub reason: String,
}

/// What of an endpoint changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Its circuit breaker, which may decide what follows at the same time.
    Breaker,
    /// What counts of it.
    Verdict,
}

/// When something was, and where it is kept: an endpoint's index, of what it is, and which of its kind.
type Place = (Instant, Reverse<(u32, What, usize)>);

impl History {
    /// The `most` latest changes of these endpoints, seen at `now`, which is so many seconds since 1970.
    pub fn new(
        health: &Table,
        endpoints: impl IntoIterator<Item = u32>,
        most: usize,
        (now, unix_seconds): (Instant, u64),
    ) -> Self {
        // The latest are kept: the first to go is the oldest, and of equally old ones the one that came last.
        let mut latest = BinaryHeap::new();
        let mut left_out = 0;
        for index in endpoints {
            let Some(known) = health.endpoints().get(index) else { continue };
            let breaker = known.breaker().into_iter().flat_map(Breaker::history).map(|(at, _)| (What::Breaker, *at));
            let verdict = known.history().map(|change| (What::Verdict, change.at));
            for (place, (what, at)) in breaker.enumerate().chain(verdict.enumerate()) {
                latest.push(Reverse((at, Reverse((index, what, place)))));
                if latest.len() > most {
                    latest.pop();
                    left_out += 1;
                }
            }
        }
        let change = |Reverse((at, Reverse((index, what, place)))): Reverse<Place>| {
            let known = health.endpoints().get(index)?;
            let (from, to, held, reason) = match what {
                What::Verdict => {
                    let change = known.history().nth(place)?;
                    (change.from.name(), change.to.name(), change.held, change.why())
                }
                What::Breaker => {
                    let (_, Transition { from, to, cause }) = known.breaker()?.history().nth(place)?;
                    (from.name(), to.name(), None, cause.to_string())
                }
            };
            let seconds_ago = now.saturating_duration_since(at).as_secs();
            Some(PastChange {
                time: unix_seconds.saturating_sub(seconds_ago),
                seconds_ago,
                subject: Subject::Endpoint {
                    pool: known.placed.pool.to_string(),
                    region: known.placed.region.to_string(),
                    endpoint: known.placed.destination.to_string(),
                },
                what,
                from: from.to_owned(),
                to: to.to_owned(),
                held: held.map(|held| held.name().to_owned()),
                reason,
            })
        };
        let mut latest = latest.into_vec();
        latest.sort_by_key(|Reverse((at, Reverse(place)))| (*at, *place));
        Self { changes: latest.into_iter().filter_map(change).collect(), left_out, running_seconds: None }
    }
}
