//! What became of endpoints of late.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::health::Table;
use crate::health::endpoint::Change;
use crate::health::overrides::Subject;

/// The latest changes of endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The oldest first.
    pub changes: Vec<PastChange>,
    /// How many older ones are remembered beside these.
    pub left_out: usize,
}

/// A change of what counts of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastChange {
    /// When, in seconds since 1970, by the clock as it is now.
    pub time: u64,
    /// How many seconds ago that was.
    pub seconds_ago: u64,
    /// The endpoint.
    pub subject: Subject,
    /// The verdict before.
    pub from: String,
    /// The verdict from then on.
    pub to: String,
    /// Why it served from then on although its inputs said that it was down: a key of `[safety]`, or `unsure`.
    pub held: Option<String>,
    /// What the deciding observation said, or what else was the reason.
    pub reason: String,
}

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
            for (place, change) in known.history().enumerate() {
                latest.push(Reverse((change.at, Reverse((index, place)))));
                if latest.len() > most {
                    latest.pop();
                    left_out += 1;
                }
            }
        }
        let change = |Reverse((_, Reverse((index, place)))): Reverse<(Instant, Reverse<(u32, usize)>)>| {
            let known = health.endpoints().get(index)?;
            let Change { at, from, to, held, reason, .. } = known.history().nth(place)?;
            let seconds_ago = now.saturating_duration_since(*at).as_secs();
            Some(PastChange {
                time: unix_seconds.saturating_sub(seconds_ago),
                seconds_ago,
                subject: Subject::Endpoint {
                    pool: known.placed.pool.to_string(),
                    region: known.placed.region.to_string(),
                    endpoint: known.placed.destination.to_string(),
                },
                from: from.to_string(),
                to: to.to_string(),
                held: held.map(|held| held.name().to_owned()),
                reason: reason.clone(),
            })
        };
        let mut latest = latest.into_vec();
        latest.sort_by_key(|Reverse((at, Reverse(place)))| (*at, *place));
        Self { changes: latest.into_iter().filter_map(change).collect(), left_out }
    }
}
