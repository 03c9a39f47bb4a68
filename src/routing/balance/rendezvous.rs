//! Weighted rendezvous hashing: every client asks every endpoint for a time, and goes to the one with the shortest.
//!
//! Clients fall into [`SLOTS`] slots by their key. The time of an endpoint in a slot is exponential with the endpoint's weight
//! as its rate, so that each wins in proportion to its weight, and it depends on nothing but the slot, the endpoint's
//! identity and its own weight. What changes at one endpoint therefore moves clients to it or from it, and no others.
//!
//! The time comes of a ticket of 32 bits, the smaller the shorter. Its upper half is the slot after a permutation that is
//! the endpoint's own: the tickets of an endpoint are spread evenly over the slots, which makes shares more exact than
//! independent draws would, and they can be walked from the smallest on. That is how [`Table::build`] finds all winners
//! without asking every endpoint in every slot.
//!
//! All of it is integers and the four operations of IEEE 754, the same on every machine and in every version.

use crate::config::Target;
use crate::routing::sticky::mix;

/// Clients are told apart as far as this.
pub(super) const SLOTS: usize = 1 << 16;

/// One who is asked for a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runner {
    /// Of the endpoint; see [`identity`].
    pub(super) identity: u64,
    /// One over its weight.
    pub(super) inverse_weight: f64,
}

/// The number of an endpoint: the same on every server and in every version, wherever the file names it.
pub fn identity(target: &Target) -> u64 {
    let over = |start: u64, octets: &[u8]| {
        let words = octets.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_be_bytes(word)
        });
        words.fold(mix(start ^ octets.len() as u64), |number, word| mix(number ^ word))
    };
    match target {
        Target::Address(std::net::IpAddr::V4(address)) => over(0, &address.octets()),
        Target::Address(std::net::IpAddr::V6(address)) => over(0, &address.octets()),
        // Names are kept in lower case.
        Target::Hostname(name) => over(1 << 32, name.as_slice()),
    }
}

/// The slot of a scrambled key.
pub(super) fn slot(key: u64) -> u16 {
    (key >> 48) as u16
}

/// What a key draws beside its slot: 32 bits.
pub(super) fn coin(key: u64) -> u32 {
    key as u32
}

impl Runner {
    pub(super) fn new(identity: u64, weight: u64) -> Self {
        Self { identity, inverse_weight: 1.0 / weight as f64 }
    }

    /// Its time in a slot.
    pub(super) fn time(&self, slot: u16) -> f64 {
        let rank = permute(slot, self.identity);
        exponential(ticket(rank, slot, self.identity)) * self.inverse_weight
    }

    /// Whether it wins with this time against another and its time. No two endpoints of a list have the same identity.
    fn wins(&self, time: f64, other: &Self, other_time: f64) -> bool {
        time < other_time || time == other_time && self.identity < other.identity
    }
}

/// The winner of a slot, as an index; 0 if nobody runs.
pub(super) fn winner(runners: &[Runner], slot: u16) -> usize {
    let Some(first) = runners.first() else { return 0 };
    let (mut best, mut best_time) = (0, first.time(slot));
    for (index, runner) in runners.iter().enumerate().skip(1) {
        let time = runner.time(slot);
        if runner.wins(time, &runners[best], best_time) {
            (best, best_time) = (index, time);
        }
    }
    best
}

/// The first in a slot, as many as `order` has room for, the winner first; as many as there are. What it returns is how many.
pub(super) fn first(runners: &[Runner], slot: u16, order: &mut [u32]) -> usize {
    let mut times = [f64::INFINITY; super::MAX_PICKS];
    let room = order.len().min(times.len());
    let mut count = 0;
    for (index, runner) in runners.iter().enumerate() {
        let time = runner.time(slot);
        let mut place = count;
        while place > 0 && runner.wins(time, &runners[order[place - 1] as usize], times[place - 1]) {
            place -= 1;
        }
        if place < room {
            count = room.min(count + 1);
            order[place..count].rotate_right(1);
            times[place..count].rotate_right(1);
            (order[place], times[place]) = (index as u32, time);
        }
    }
    count
}

/// The winner of every slot.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    winners: Box<[u32]>,
}

/// Up to how much time tickets are walked, as a multiple of the mean time of a winner: a slot is left without a winner
/// with a chance of e^-12.
const WALKED: f64 = 12.0;

impl Table {
    /// What a table takes, in octets.
    pub const OCTETS: usize = SLOTS * size_of::<u32>();

    /// Finds the winner of every slot among endpoints, each with its identity and its weight, which is above 0. The cost
    /// is that of about 12 times [`SLOTS`] tickets, however many there are.
    pub fn build(members: &[(u64, u32)]) -> Self {
        let runners: Vec<Runner> =
            members.iter().map(|(identity, weight)| Runner::new(*identity, u64::from(*weight))).collect();
        let total: f64 = members.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let limit = WALKED / total;
        let mut best = vec![(0, f64::INFINITY); SLOTS];
        for (index, runner) in runners.iter().enumerate() {
            for rank in 0..=u16::MAX {
                if exponential(u32::from(rank) << 16) * runner.inverse_weight > limit {
                    break;
                }
                let slot = permute_back(rank, runner.identity);
                let time = exponential(ticket(rank, slot, runner.identity)) * runner.inverse_weight;
                let (other, other_time) = &mut best[usize::from(slot)];
                if runner.wins(time, &runners[*other as usize], *other_time) {
                    (*other, *other_time) = (index as u32, time);
                }
            }
        }
        let winners = (0..=u16::MAX).zip(best).map(|(slot, (index, time))| {
            // Beyond the limit there may be somebody faster who wasn't walked to.
            if time <= limit { index } else { winner(&runners, slot) as u32 }
        });
        Self { winners: winners.collect() }
    }

    /// The winner of a slot, as an index into the members.
    pub(super) fn winner(&self, slot: u16) -> u32 {
        self.winners[usize::from(slot)]
    }
}

/// Odd, with no pattern in their bits.
const FACTORS: [u16; 4] = [0x9e6d, 0xca6b, 0x8f35, 0xb4d3];
const INVERSES: [u16; 4] = [inverse(FACTORS[0]), inverse(FACTORS[1]), inverse(FACTORS[2]), inverse(FACTORS[3])];

/// Of an odd number modulo 2^16, by Newton's iteration: each step doubles the bits that are right.
const fn inverse(number: u16) -> u16 {
    let mut inverse = number;
    let mut steps = 0;
    while steps < 4 {
        inverse = inverse.wrapping_mul(2u16.wrapping_sub(number.wrapping_mul(inverse)));
        steps += 1;
    }
    inverse
}

/// A permutation of all slots for each key.
fn permute(slot: u16, key: u64) -> u16 {
    let mut number = slot;
    for (round, factor) in FACTORS.into_iter().enumerate() {
        number = (number ^ (key >> (16 * round)) as u16).wrapping_mul(factor);
        number ^= number >> 8;
    }
    number
}

/// The slot that [`permute`] leads to this number.
fn permute_back(number: u16, key: u64) -> u16 {
    let mut slot = number;
    for (round, inverse) in INVERSES.into_iter().enumerate().rev() {
        slot ^= slot >> 8;
        slot = slot.wrapping_mul(inverse) ^ (key >> (16 * round)) as u16;
    }
    slot
}

/// An endpoint's ticket: its rank in the slot, and below that what tells endpoints of one rank apart.
fn ticket(rank: u16, slot: u16, identity: u64) -> u32 {
    let mixed = identity.wrapping_add(u64::from(slot).wrapping_mul(0xd6e8_feb8_6659_fd93));
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xa076_1d64_78bd_642f);
    u32::from(rank) << 16 | (mixed >> 48) as u32
}

/// Of a ticket a time that is exponential at rate 1: −ln(1 − u), where u is the ticket's place from 0 to 1.
fn exponential(ticket: u32) -> f64 {
    const TWO_THIRDS: u64 = 0x3fe5_5555_5555_5555;
    // Exact, and below 1: so no time is 0.
    let rest = ((1u64 << 33) - 2 * u64::from(ticket) - 1) as f64 / (1u64 << 33) as f64;
    // rest = fraction × 2^exponent with the fraction from 2/3 to 4/3, so that what is near 1 keeps its exponent 0.
    let exponent = (rest.to_bits().wrapping_sub(TWO_THIRDS) as i64) >> 52;
    let fraction = f64::from_bits(rest.to_bits().wrapping_sub((exponent << 52) as u64));
    // ln x = 2 artanh((x − 1) / (x + 1)), whose argument is at most 1/5 here: the series is right to 10^-9.
    let argument = (fraction - 1.0) / (fraction + 1.0);
    let square = argument * argument;
    let series = 1.0 + square * (1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0 + square * (1.0 / 9.0))));
    -(exponent as f64 * std::f64::consts::LN_2 + 2.0 * argument * series)
}
