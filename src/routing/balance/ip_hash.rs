//! By weight, at the place that a client's key has on the line of all weights.
//!
//! Cheap and even, but a change of any weight shifts the line, and with it clients of other endpoints.

use super::{Picks, weighted};
use crate::routing::live::Candidates;
use crate::routing::sticky::{mix, place};

/// Picks `count` distinct candidates for a client's key.
pub(super) fn pick(from: &Candidates, count: usize, key: u64) -> Picks {
    let mut picks = Picks::default();
    fill(from, &mut picks, count, key);
    picks
}

/// Picks until there are `count`.
pub(super) fn fill(from: &Candidates, picks: &mut Picks, count: usize, mut key: u64) {
    weighted::fill(from, picks, count, |bound| {
        let place = place(key, bound);
        key = mix(key);
        place
    });
}
