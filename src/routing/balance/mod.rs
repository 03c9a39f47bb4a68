//! The choice of endpoints inside a region: one file per strategy.

mod random;
mod round_robin;
mod weighted;

use std::sync::atomic::AtomicU32;

use super::live::Candidates;
use crate::config::{Balance, MAX_ANSWERS};

/// The most endpoints in one answer.
pub const MAX_PICKS: usize = MAX_ANSWERS;

/// Distinct endpoints, in the order in which they are answered, as indices into a list of candidates.
#[derive(Debug, Clone, Copy, Default)]
pub struct Picks {
    indices: [u32; MAX_PICKS],
    count: usize,
}

impl Picks {
    /// The indices.
    pub fn as_slice(&self) -> &[u32] {
        &self.indices[..self.count]
    }

    fn push(&mut self, index: usize) {
        self.indices[self.count] = index as u32;
        self.count += 1;
    }

    fn contains(&self, index: usize) -> bool {
        self.as_slice().contains(&(index as u32))
    }
}

/// What a decision draws from.
#[derive(Debug)]
pub struct Draw<'a> {
    /// The worker's generator.
    pub rng: &'a mut fastrand::Rng,
    /// False for a decision that only shows what would be: rotations stay where they are.
    pub advance: bool,
}

impl Draw<'_> {
    /// An unbiased number below `bound`, which is above 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng.u64(..bound)
    }

    /// Picks `answers` of the candidates, or all if there are fewer.
    pub fn pick(&mut self, balance: Balance, from: &Candidates, answers: usize, rotation: &AtomicU32) -> Picks {
        let count = answers.min(from.list.len()).min(MAX_PICKS);
        match balance {
            Balance::Weighted => weighted::pick(from, count, self),
            Balance::RoundRobin => round_robin::pick(from, count, rotation, self.advance),
            Balance::Random => random::pick(from, count, self),
        }
    }
}
