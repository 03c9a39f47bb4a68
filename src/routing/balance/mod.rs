//! The choice of endpoints inside a region: one file per strategy.

mod random;
mod round_robin;
mod weighted;

use std::sync::atomic::AtomicU32;

use super::Sticky;
use super::live::{Candidates, Standing};
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

/// How one of several candidates is picked: all that is left of a balance when a query comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By weight, at random.
    Weighted,
    /// In turn.
    RoundRobin,
    /// Evenly at random.
    Random,
}

/// An endpoint as a balance sees it.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// What the operator says that it weighs; above 0.
    pub weight: u32,
    /// What is known of it.
    pub standing: Standing,
}

/// What a balance makes of an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Laid {
    /// Its part of the line that is drawn on; above 0.
    pub weight: u64,
    /// How busy it is beside the others.
    pub load: u32,
}

/// What a balance makes of endpoints that may be answered: how one is picked, and what each weighs in that.
pub fn lay_out(balance: Balance, _sticky: Option<Sticky>, members: &[Member]) -> (Method, Vec<Laid>) {
    let method = match balance {
        Balance::Weighted => Method::Weighted,
        Balance::RoundRobin => Method::RoundRobin,
        Balance::Random => Method::Random,
        _ => Method::Weighted,
    };
    let laid = members.iter().map(|member| {
        let weight = u64::from(member.weight) * u64::from(member.standing.share);
        Laid { weight: weight.max(1), load: 0 }
    });
    (method, laid.collect())
}

/// What a decision draws from.
#[derive(Debug)]
pub struct Draw<'a> {
    /// The worker's generator.
    pub rng: &'a mut fastrand::Rng,
    /// False for a decision that only shows what would be: rotations stay where they are, and nothing is counted.
    pub advance: bool,
    /// The worker that counts; see [`Tally::add`](crate::metrics::Tally::add).
    pub worker: usize,
    /// Seconds since 1970, modulo 2^32.
    pub unix_seconds: u32,
}

impl Draw<'_> {
    /// An unbiased number below `bound`, which is above 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng.u64(..bound)
    }

    /// Picks `answers` of the candidates, or all if there are fewer.
    pub fn pick(&mut self, from: &Candidates, answers: usize, rotation: &AtomicU32) -> Picks {
        let count = answers.min(from.list.len()).min(MAX_PICKS);
        match from.method {
            Method::Weighted => weighted::pick(from, count, self),
            Method::RoundRobin => round_robin::pick(from, count, rotation, self.advance),
            Method::Random => random::pick(from, count, self),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::routing::live::{Candidate, Health};

    fn candidates(method: Method, weights: &[u32]) -> Candidates {
        let mut cumulative_weight = 0;
        let list = weights.iter().enumerate().map(|(index, weight)| {
            cumulative_weight += u64::from(*weight);
            Candidate { cumulative_weight, endpoint: index as u32, load: 0, address: [0; 16] }
        });
        Candidates {
            list: list.collect(),
            method,
            health: Health::Enough,
            other_family_serves: true,
            flip_seconds: u32::MAX,
            drains_at: u32::MAX,
        }
    }

    /// How often each candidate is picked first, and how often at all, in `times` answers.
    fn counts(method: Method, weights: &[u32], answers: usize, times: u32) -> (Vec<f64>, Vec<f64>) {
        let from = candidates(method, weights);
        let mut rng = fastrand::Rng::with_seed(11);
        let mut draw = Draw { rng: &mut rng, advance: true, worker: usize::MAX, unix_seconds: 0 };
        let rotation = AtomicU32::new(0);
        let (mut first, mut any) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
        for _ in 0..times {
            let picks = draw.pick(&from, answers, &rotation);
            let mut sorted = picks.as_slice().to_vec();
            first[sorted[0] as usize] += 1.0;
            sorted.iter().for_each(|index| any[*index as usize] += 1.0);
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), answers.min(weights.len()), "distinct, and as many as asked for");
        }
        (first, any)
    }

    /// Pearson's statistic.
    fn chi_squared(observed: &[f64], expected: &[f64]) -> f64 {
        observed.iter().zip(expected).map(|(observed, expected)| (observed - expected).powi(2) / expected).sum()
    }

    /// The chance that each candidate is among two drawn by weight without replacement.
    fn inclusion_in_two(weights: &[u32]) -> Vec<f64> {
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let share = |weight: u32| f64::from(weight) / total;
        let second = |index: usize| -> f64 {
            let others = weights.iter().enumerate().filter(|(other, _)| *other != index);
            others.map(|(_, first)| share(*first) * f64::from(weights[index]) / (total - f64::from(*first))).sum()
        };
        weights.iter().enumerate().map(|(index, weight)| share(*weight) + second(index)).collect()
    }

    #[test]
    fn weighted_shares_are_exact_in_short_and_long_lists() {
        const TIMES: u32 = 1_000_000;
        let short = vec![1, 2, 3, 0xf_ffff, 500_000];
        let long: Vec<u32> = (0..100).map(|index| 1 + index * index).collect();
        // Bounds at p = 10⁻⁴ for 4 and 99 degrees of freedom.
        for (weights, bound) in [(short, 23.5), (long, 161.0)] {
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            let (first, any) = counts(Method::Weighted, &weights, 2, TIMES);
            let expected: Vec<f64> =
                weights.iter().map(|weight| f64::from(*weight) / total * f64::from(TIMES)).collect();
            // What is expected less than five times says nothing here.
            let told: Vec<usize> = (0..weights.len()).filter(|index| expected[*index] >= 5.0).collect();
            let of = |values: &[f64]| told.iter().map(|index| values[*index]).collect::<Vec<f64>>();
            let statistic = chi_squared(&of(&first), &of(&expected));
            assert!(statistic < bound, "first picks: {statistic}");
            let expected: Vec<f64> =
                inclusion_in_two(&weights).iter().map(|chance| chance * f64::from(TIMES)).collect();
            let statistic = chi_squared(&of(&any), &of(&expected));
            assert!(statistic < bound, "all picks: {statistic}");
        }
    }

    #[test]
    fn random_shares_are_even_in_short_and_long_lists() {
        for (length, answers, bound) in [(5, 1, 23.5), (5, 3, 23.5), (32, 16, 73.0), (100, 16, 161.0)] {
            let weights: Vec<u32> = (0..length).map(|index| 1 + index * 1000).collect();
            let (first, any) = counts(Method::Random, &weights, answers, 200_000);
            let even = 200_000.0 / f64::from(length);
            let statistic = chi_squared(&first, &vec![even; weights.len()]);
            assert!(statistic < bound, "first of {answers} from {length}: {statistic}");
            let statistic = chi_squared(&any, &vec![even * answers as f64; weights.len()]);
            assert!(statistic < bound, "any of {answers} from {length}: {statistic}");
        }
    }

    #[test]
    fn a_few_heavy_candidates_do_not_keep_the_others_out() {
        let mut weights = vec![1; 40];
        weights[..3].fill(1_000_000);
        let (first, any) = counts(Method::Weighted, &weights, 16, 1000);
        assert!(first[3..].iter().sum::<f64>() <= 2.0, "light candidates are first about 12 times in a million");
        assert_eq!(any[..3].iter().sum::<f64>(), 3000.0, "heavy ones are always among 16");
        let even = 13_000.0 / 37.0;
        assert!(chi_squared(&any[3..], &[even; 37]) < 80.0);
    }

    #[test]
    fn round_robin_takes_turns_and_a_dry_run_stays() {
        let from = candidates(Method::RoundRobin, &[1, 5, 9]);
        let rotation = AtomicU32::new(0);
        let mut rng = fastrand::Rng::with_seed(1);
        let mut turn = |advance| {
            let mut draw = Draw { rng: &mut rng, advance, worker: usize::MAX, unix_seconds: 0 };
            draw.pick(&from, 2, &rotation).as_slice().to_vec()
        };
        assert_eq!(
            (turn(true), turn(false), turn(true), turn(true), turn(true)),
            (vec![0, 1], vec![1, 2], vec![1, 2], vec![2, 0], vec![0, 1])
        );
    }
}
