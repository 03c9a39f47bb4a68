//! Every candidate with a chance in proportion to its weight; without replacement when several are asked for.

use super::{Draw, Picks};
use crate::routing::live::Candidates;

/// Lists up to this long are walked; in longer ones a draw finds its place by bisection.
const WALKED: usize = 32;
/// Draws that may meet what was already drawn before the list is walked after all; reached only where a few candidates
/// hold nearly all the weight.
const MOST_REPEATS: usize = 64;

/// Picks `count` distinct candidates, in the order drawn.
pub(super) fn pick(from: &Candidates, count: usize, draw: &mut Draw<'_>) -> Picks {
    let mut picks = Picks::default();
    let mut left = from.total_weight();
    let mut repeats = if from.list.len() > WALKED { MOST_REPEATS } else { 0 };
    while picks.count < count {
        let index = if repeats > 0 {
            let place = draw.below(from.total_weight());
            let index = from.list.partition_point(|candidate| candidate.cumulative_weight <= place);
            if picks.contains(index) {
                repeats -= 1;
                continue;
            }
            index
        } else {
            walk(from, &picks, draw.below(left))
        };
        left -= from.weight(index);
        picks.push(index);
    }
    picks
}

/// The candidate at `place` on the line of the weights of those not yet picked.
fn walk(from: &Candidates, picks: &Picks, mut place: u64) -> usize {
    let mut last = 0;
    for index in (0..from.list.len()).filter(|index| !picks.contains(*index)) {
        let weight = from.weight(index);
        if place < weight {
            return index;
        }
        place -= weight;
        last = index;
    }
    last
}
