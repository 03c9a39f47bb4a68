//! The choice of endpoints inside a region: one file per strategy.
//!
//! A balance is two things: when a list is laid out, a function from what is known of its endpoints to what each weighs
//! ([`lay_out`]); and when a query comes, a way of drawing one by that ([`Method`]). Many balances differ in the first alone.

pub mod adaptive;
mod hashed;
mod ip_hash;
mod load;
mod performance;
mod power_of_two;
mod random;
pub mod rendezvous;
mod round_robin;
mod weighted;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

pub use hashed::Hashed;
use hashed::{Entry, Race};
use rendezvous::{Runner, Table};

use super::Sticky;
use super::live::{Candidates, Standing, WHOLE};
use crate::config::{Balance, MAX_ANSWERS};

/// The most endpoints in one answer.
pub const MAX_PICKS: usize = MAX_ANSWERS;

/// Distinct endpoints, in the order in which they are answered, as indices into a list of candidates.
#[derive(Debug, Clone, Copy, Default)]
pub struct Picks {
    /// With room for one more that is drawn to be compared.
    indices: [u32; MAX_PICKS + 1],
    count: usize,
}

impl Picks {
    /// The indices.
    pub fn as_slice(&self) -> &[u32] {
        &self.indices[..self.count]
    }

    /// Puts them in the order of the list.
    pub(super) fn sort(&mut self) {
        self.indices[..self.count].sort_unstable();
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
#[derive(Debug)]
pub enum Method {
    /// By weight, at random.
    Weighted,
    /// In turn.
    RoundRobin,
    /// Evenly at random.
    Random,
    /// The less busy of two drawn by weight.
    PowerOfTwo,
    /// By weight, at the place of the client's prefix on the line.
    IpHash(Sticky),
    /// By weight, a client's own for as long as that one stays.
    Hashed(Hashed),
}

impl Method {
    /// Within which prefix clients get the same; nothing where picks don't depend on the client.
    pub fn sticky(&self) -> Option<Sticky> {
        match self {
            Self::Weighted | Self::RoundRobin | Self::Random | Self::PowerOfTwo => None,
            Self::IpHash(sticky) => Some(*sticky),
            Self::Hashed(hashed) => Some(hashed.sticky),
        }
    }
}

/// An endpoint as a balance sees it.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Its number wherever it stands; see [`rendezvous::identity`].
    pub identity: u64,
    /// Its place among the endpoints that a table of winners is built of, if there is one.
    pub place: u32,
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

/// The winners among all endpoints that a list could have.
#[derive(Debug, Clone)]
pub struct Winners {
    /// Of every slot.
    pub table: Arc<Table>,
    /// Of how many endpoints.
    pub count: usize,
}

/// What a balance makes of endpoints that may be answered: how one is picked, and what each weighs in that. `winners` are those
/// of clients that stick, where the list is long. What an adaptive balance chose is laid out in its place.
pub fn lay_out(
    balance: Balance,
    sticky: Option<Sticky>,
    members: &[Member],
    winners: Option<&Winners>,
) -> (Method, Vec<Laid>) {
    let weights = weights(balance, members);
    let loads = if balance == Balance::PowerOfTwo { power_of_two::loads(members) } else { vec![0; members.len()] };
    let are_even = members.windows(2).all(|pair| pair[0].standing.share == pair[1].standing.share);
    let method = match (balance, sticky) {
        (Balance::IpHash, sticky) => Method::IpHash(sticky.unwrap_or(Sticky::DEFAULT)),
        (Balance::ConsistentHash, None) => hashed(Sticky::DEFAULT, balance, members, &weights, winners),
        (_, Some(sticky)) => hashed(sticky, balance, members, &weights, winners),
        (Balance::RoundRobin, None) => Method::RoundRobin,
        (Balance::PowerOfTwo, None) => Method::PowerOfTwo,
        (Balance::Random, None) if are_even => Method::Random,
        _ => Method::Weighted,
    };
    (method, weights.into_iter().zip(loads).map(|(weight, load)| Laid { weight, load }).collect())
}

/// What an endpoint weighs for a balance while nothing is known of any.
pub fn base_weight(balance: Balance, weight: u32) -> u32 {
    match balance {
        Balance::RoundRobin | Balance::Random => 1,
        _ => weight,
    }
}

fn weights(balance: Balance, members: &[Member]) -> Vec<u64> {
    let by_load = match balance {
        Balance::LeastConnections => load::least_connections(members),
        Balance::LeastResponseTime => load::least_response_time(members),
        Balance::ResourceAware => load::resource_aware(members),
        Balance::Performance(settings) => performance::scores(&settings, members),
        Balance::Weighted
        | Balance::RoundRobin
        | Balance::Random
        | Balance::IpHash
        | Balance::ConsistentHash
        | Balance::PowerOfTwo
        | Balance::Adaptive(_) => None,
    };
    match by_load {
        Some(values) => {
            let parts = members.iter().map(|member| f64::from(member.standing.share) / f64::from(WHOLE));
            quantised(&values.iter().zip(parts).map(|(value, part)| value * part).collect::<Vec<f64>>())
        }
        None => {
            let weight =
                |member: &Member| u64::from(base_weight(balance, member.weight)) * u64::from(member.standing.share);
            members.iter().map(|member| weight(member).max(1)).collect()
        }
    }
}

/// Numbers as integers in proportion, the largest [`STEPS`], none 0.
fn quantised(values: &[f64]) -> Vec<u64> {
    let largest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    values.iter().map(|value| ((value / largest * STEPS).round() as u64).max(1)).collect()
}

/// With as many endpoints as there can be their sum is far from 2^64.
const STEPS: f64 = (1u64 << 32) as f64;

fn hashed(sticky: Sticky, balance: Balance, members: &[Member], weights: &[u64], winners: Option<&Winners>) -> Method {
    let members = members.iter().zip(weights);
    let race = match winners {
        Some(Winners { table, count }) => {
            let entries = members.map(|(member, now)| Entry {
                place: member.place,
                weight: base_weight(balance, member.weight),
                now: *now,
            });
            Race::known(table, *count, &entries.collect::<Vec<Entry>>())
        }
        None => Race::Run(members.map(|(member, now)| Runner::new(member.identity, *now)).collect()),
    };
    Method::Hashed(Hashed { sticky, race })
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

    /// Picks `answers` of the candidates for a client, or all if there are fewer.
    pub fn pick(&mut self, from: &Candidates, answers: usize, rotation: &AtomicU32, client: IpAddr) -> Picks {
        let count = answers.min(from.list.len()).min(MAX_PICKS);
        match &from.method {
            Method::Weighted => {
                let mut picks = Picks::default();
                weighted::fill(from, &mut picks, count, |bound| self.below(bound));
                picks
            }
            Method::RoundRobin => round_robin::pick(from, count, rotation, self.advance),
            Method::Random => random::pick(from, count, self),
            Method::PowerOfTwo => power_of_two::pick(from, count, self),
            Method::IpHash(sticky) => ip_hash::pick(from, count, sticky.key(client)),
            Method::Hashed(hashed) => hashed.pick(from, count, hashed.sticky.key(client)),
        }
    }
}

/// The chance of each candidate to be the first in an answer; where clients stick, the part of them that it has.
pub fn chances(from: &Candidates) -> Vec<f64> {
    match from.method {
        Method::Random => vec![1.0 / from.list.len() as f64; from.list.len()],
        Method::PowerOfTwo => power_of_two::chances(from),
        Method::Weighted | Method::RoundRobin | Method::IpHash(_) | Method::Hashed(_) => {
            (0..from.list.len()).map(|index| from.weight(index) as f64 / from.total_weight() as f64).collect()
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
