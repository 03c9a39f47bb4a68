//! The same endpoint for a client as long as that one and what it weighs stay.
//!
//! Short lists run the race of [`rendezvous`] at each query, with the weights as they count now. In long ones the winners at
//! the configured weights are in a [`Table`], which is kept whatever health does. A winner that is no candidate now is
//! passed over, and one that weighs less now beside the others than configured is taken only by a part of its clients: the
//! others try again elsewhere. So shares are those of the weights that count now, and only who must move moves.
//!
//! Both ways give the same first endpoint while all weigh what is configured, so a list may grow from one into the other.

use std::sync::Arc;

use super::rendezvous::{self, Runner, Table};
use super::{Picks, ip_hash};
use crate::config::Sticky;
use crate::routing::live::Candidates;
use crate::routing::sticky::mix;

/// How often a client tries before it is placed by its key alone.
const MOST_ATTEMPTS: u64 = 32;

/// How clients find their endpoints.
#[derive(Debug)]
pub struct Hashed {
    /// Within which prefix clients are one.
    pub(super) sticky: Sticky,
    pub(super) race: Race,
}

#[derive(Debug)]
pub(super) enum Race {
    /// Run at each query, by the candidates.
    Run(Box<[Runner]>),
    /// Run before, by all that the table was built of.
    Known { table: Arc<Table>, entrants: Box<[Entrant]> },
}

/// One whom the table may name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entrant {
    /// Its place in the list of candidates.
    candidate: u32,
    /// The part of its clients that it takes now, as a fraction of [`ALL`]; 0 where it is no candidate.
    part: u32,
}

const ALL: u32 = u32::MAX;

impl Race {
    /// By a table, with these candidates: each its place among what the table was built of, and what it weighs now.
    pub(super) fn known(table: &Arc<Table>, candidates: &[(u32, u64)]) -> Self {
        let built_of = table.members();
        // How its weight now stands to the one in the table, which may be of another balance than the one that adapts chose.
        let ratio = |(place, now): &(u32, u64)| {
            built_of.get(*place as usize).map_or(0.0, |(_, weight)| *now as f64 / f64::from(*weight))
        };
        let largest = candidates.iter().map(ratio).fold(0.0, f64::max);
        let mut entrants = vec![Entrant { candidate: 0, part: 0 }; built_of.len()];
        for (index, candidate) in (0..).zip(candidates) {
            let part = ((ratio(candidate) / largest) * f64::from(ALL)) as u32;
            if let Some(entrant) = entrants.get_mut(candidate.0 as usize) {
                *entrant = Entrant { candidate: index, part };
            }
        }
        Self::Known { table: Arc::clone(table), entrants: entrants.into() }
    }
}

impl Hashed {
    /// Picks `count` distinct candidates for a client's key, the client's own first.
    pub(super) fn pick(&self, from: &Candidates, count: usize, key: u64) -> Picks {
        let mut picks = Picks::default();
        match &self.race {
            Race::Run(runners) if count == 1 => picks.push(rendezvous::winner(runners, rendezvous::slot(key))),
            Race::Run(runners) => {
                picks.count = rendezvous::first(runners, rendezvous::slot(key), &mut picks.indices[..count]);
            }
            Race::Known { table, entrants } => {
                let mut tried = key;
                for attempt in 1..=MOST_ATTEMPTS {
                    let Entrant { candidate, part } = entrants[table.winner(rendezvous::slot(tried)) as usize];
                    let takes = part == ALL || rendezvous::coin(tried) < part;
                    if takes && !picks.contains(candidate as usize) {
                        picks.push(candidate as usize);
                        if picks.count == count {
                            return picks;
                        }
                    }
                    tried = mix(key ^ attempt);
                }
                ip_hash::fill(from, &mut picks, count, tried);
            }
        }
        picks
    }
}
