//! The candidates in turn, each answer beginning one further than the last.
//!
//! One of which only a part counts, as it warms up for example, takes only that part of its turns.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Picks;
use crate::routing::live::{Candidates, WHOLE};

/// Picks `count` candidates in file order from where the rotation stands, and moves it on by one.
pub(super) fn pick(from: &Candidates, count: usize, rotation: &AtomicU32, advance: bool) -> Picks {
    let turn = if advance { rotation.fetch_add(1, Ordering::Relaxed) } else { rotation.load(Ordering::Relaxed) };
    let mut picks = Picks::default();
    let length = from.list.len();
    let total = from.total_weight();
    if total == length as u64 * u64::from(WHOLE) {
        (0..count).for_each(|step| picks.push((turn as usize + step) % length));
        return picks;
    }
    // The others of an answer are whom the next steps of this round would meet, so that they count in part, too.
    let first = place(turn, total);
    let met = (0..(total / u64::from(WHOLE)).max(1)).map(|step| {
        let place = (first + step * u64::from(WHOLE)) % total;
        from.list.partition_point(|candidate| candidate.cumulative_weight <= place)
    });
    for index in met.chain(0..length) {
        if picks.count == count {
            break;
        }
        if !picks.contains(index) {
            picks.push(index);
        }
    }
    picks
}

/// Where on the line of all parts a turn falls. Steps are as long as a whole candidate, so that each round meets every whole
/// one once; each round begins elsewhere, by the golden ratio, so that it meets of the others as many as they take part.
fn place(turn: u32, total: u64) -> u64 {
    const GOLDEN: u64 = 40_503;
    let walked = u64::from(turn) * u64::from(WHOLE);
    let round = walked / total;
    (walked + round * GOLDEN % u64::from(WHOLE)) % total
}
