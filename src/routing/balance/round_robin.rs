//! The candidates in turn, each answer beginning one further than the last.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Picks;
use crate::routing::live::Candidates;

/// Picks `count` candidates in file order from where the rotation stands, and moves it on by one.
pub(super) fn pick(from: &Candidates, count: usize, rotation: &AtomicU32, advance: bool) -> Picks {
    let turn = if advance { rotation.fetch_add(1, Ordering::Relaxed) } else { rotation.load(Ordering::Relaxed) };
    let mut picks = Picks::default();
    let length = from.list.len();
    for place in 0..count {
        picks.push((turn as usize % length + place) % length);
    }
    picks
}
