//! Every candidate with the same chance.

use super::{Draw, MAX_PICKS, Picks};
use crate::routing::live::Candidates;

/// Lists up to this long are shuffled; in longer ones a draw seldom meets what was already drawn.
const SHUFFLED: usize = 2 * MAX_PICKS;

/// Picks `count` distinct candidates, in random order.
pub(super) fn pick(from: &Candidates, count: usize, draw: &mut Draw<'_>) -> Picks {
    let mut picks = Picks::default();
    let length = from.list.len();
    if length > SHUFFLED {
        while picks.count < count {
            let index = draw.below(length as u64) as usize;
            if !picks.contains(index) {
                picks.push(index);
            }
        }
        return picks;
    }
    let mut left: [usize; SHUFFLED] = std::array::from_fn(|index| index);
    for place in 0..count {
        let drawn = place + draw.below((length - place) as u64) as usize;
        left.swap(place, drawn);
        picks.push(left[place]);
    }
    picks
}
