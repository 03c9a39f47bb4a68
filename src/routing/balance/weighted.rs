//! Every candidate with a chance in proportion to its weight; without replacement when several are asked for.

use super::Picks;
use crate::routing::live::Candidates;

/// Lists up to this long are walked; in longer ones a draw finds its place by bisection.
const WALKED: usize = 32;
/// Draws that may meet what was already drawn before the list is walked after all; reached only where a few candidates
/// hold nearly all the weight.
const MOST_REPEATS: usize = 64;

/// Picks distinct candidates, in the order drawn, until there are `count`. `below` draws a number below its argument, which
/// is above 0.
pub(super) fn fill(from: &Candidates, picks: &mut Picks, count: usize, mut below: impl FnMut(u64) -> u64) {
    let total = from.total_weight();
    let mut left = picks.as_slice().iter().fold(total, |left, index| left - from.weight(*index as usize));
    let mut repeats = if from.list.len() > WALKED { MOST_REPEATS } else { 0 };
    while picks.count < count {
        let index = if repeats > 0 {
            let place = below(total);
            let index = from.list.partition_point(|candidate| candidate.cumulative_weight <= place);
            if picks.contains(index) {
                repeats -= 1;
                continue;
            }
            index
        } else {
            walk(from, picks, below(left))
        };
        left -= from.weight(index);
        picks.push(index);
    }
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
