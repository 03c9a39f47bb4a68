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
use hashed::Race;
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
    /// What it weighs while nothing is known of any: what the operator says, or what is made of its capacity; above 0.
    pub weight: u32,
    /// What it can bear, if that is said; above 0.
    pub capacity: Option<f64>,
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

/// What a balance makes of endpoints that may be answered: how one is picked, and what each weighs in that. `winners` are those
/// among all endpoints that the list could have, where clients stick and it is long. What an adaptive balance chose is laid out in
/// its place.
pub fn lay_out(
    balance: Balance,
    sticky: Option<Sticky>,
    members: &[Member],
    winners: Option<&Arc<Table>>,
) -> (Method, Vec<Laid>) {
    let weights = weights(balance, members);
    let loads = if balance == Balance::PowerOfTwo { power_of_two::loads(members) } else { vec![0; members.len()] };
    let are_even = members.windows(2).all(|pair| pair[0].standing.share == pair[1].standing.share);
    let method = match (balance, sticky) {
        (Balance::IpHash, sticky) => Method::IpHash(sticky.unwrap_or(Sticky::DEFAULT)),
        (Balance::ConsistentHash, None) => hashed(Sticky::DEFAULT, members, &weights, winners),
        (_, Some(sticky)) => hashed(sticky, members, &weights, winners),
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

fn hashed(sticky: Sticky, members: &[Member], weights: &[u64], winners: Option<&Arc<Table>>) -> Method {
    let members = members.iter().zip(weights);
    let race = match winners {
        Some(table) => {
            Race::known(table, &members.map(|(member, now)| (member.place, *now)).collect::<Vec<(u32, u64)>>())
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
mod tests;
