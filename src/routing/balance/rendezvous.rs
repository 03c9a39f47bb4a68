//! Weighted rendezvous hashing: every client asks every endpoint for a time, and goes to the one with the shortest.
//!
//! Clients fall into 65,536 slots by their key. The time of an endpoint in a slot is exponential with the endpoint's weight
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

    /// Its ticket in a slot.
    fn ticket(&self, slot: u16) -> u32 {
        ticket(permute(slot, self.identity), slot, self.identity)
    }

    /// Its time in a slot.
    fn time(&self, slot: u16) -> f64 {
        exponential(self.ticket(slot)) * self.inverse_weight
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
        let ticket = runner.ticket(slot);
        // −ln(1 − u) is more than u, which most tell by that they lose.
        if place(ticket) * runner.inverse_weight > best_time {
            continue;
        }
        let time = exponential(ticket) * runner.inverse_weight;
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

/// The winner of every slot among some endpoints.
#[derive(Debug)]
pub struct Table {
    members: Box<[(u64, u32)]>,
    winners: Box<[u32]>,
}

/// Up to how much time tickets are walked, as a multiple of the mean time of a winner: a slot is left without a winner
/// with a chance of e^-12.
const WALKED: f64 = 12.0;

impl Table {
    /// Finds the winner of every slot among endpoints, each with its identity and its weight, which is above 0. The cost
    /// is that of about 12 tickets for each slot, however many there are.
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
        Self { members: members.into(), winners: winners.collect() }
    }

    /// What it is built of: the identity and the weight of each endpoint.
    pub fn members(&self) -> &[(u64, u32)] {
        &self.members
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

/// A ticket's place from 0 to 1, or a little below it.
fn place(ticket: u32) -> f64 {
    f64::from(ticket) / (1u64 << 32) as f64
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::zone::Name;

    /// Endpoints of neighbouring addresses, as real ones are.
    fn identities(count: u32) -> Vec<u64> {
        (1..=count)
            .map(|host| identity(&Target::Address(IpAddr::V4(Ipv4Addr::from_bits(0xc000_0200 + host)))))
            .collect()
    }

    fn runners(members: &[(u64, u32)]) -> Vec<Runner> {
        members.iter().map(|(identity, weight)| Runner::new(*identity, u64::from(*weight))).collect()
    }

    /// Clients are where these say, on other servers and in other versions too.
    #[test]
    fn known_answers() {
        let target = |address: &str| Target::Address(address.parse().unwrap());
        let hostname = Target::Hostname(Name::vec_from_str("eu.cdn.example.net").unwrap());
        let known = [(target("192.0.2.1"), KNOWN[0]), (target("2001:db8::1"), KNOWN[1]), (hostname, KNOWN[2])];
        for (target, (number, tickets)) in known {
            assert_eq!(identity(&target), number, "{target}");
            let ticket = |slot: u16| ticket(permute(slot, number), slot, number);
            assert_eq!([0, 1, 0x8000, 0xffff].map(ticket), tickets, "{target}");
        }
        let times = [0, 1, 0x7fff_ffff, 0xffff_ffff].map(|ticket| exponential(ticket).to_bits());
        assert_eq!(times, KNOWN_TIMES);
        let runners = runners(&identities(5).into_iter().zip([1, 2, 3, 4, 5]).collect::<Vec<_>>());
        let winners: Vec<usize> = (0..16).map(|slot| winner(&runners, slot * 4096)).collect();
        assert_eq!(winners, KNOWN_WINNERS);
    }

    const KNOWN: [(u64, [u32; 4]); 3] = [
        (0x4770_ba9c_3329_fc51, [0x42ff_a650, 0x7cf3_6a58, 0x03ba_3cde, 0x0c68_ad23]),
        (0x2b1c_9808_8ecf_7585, [0xbdee_f4eb, 0x58ac_9f8d, 0x4288_f83e, 0x2ebf_33e6]),
        (0x45c7_55c9_eeb7_234e, [0x2dee_6586, 0x8c87_a455, 0x9d94_c6ee, 0x5ff3_caa5]),
    ];
    const KNOWN_TIMES: [u64; 4] =
        [0x3de0_0000_0004_0000, 0x3df8_0000_0012_0000, 0x3fe6_2e42_feda_39ef, 0x4036_dfb5_16f2_0bbe];
    const KNOWN_WINNERS: [usize; 16] = [1, 2, 2, 4, 2, 1, 3, 3, 0, 2, 3, 2, 3, 3, 2, 4];

    #[test]
    fn an_address_of_the_other_family_is_another_endpoint() {
        let of = |address: &str| identity(&Target::Address(address.parse().unwrap()));
        assert_ne!(of("0.0.0.0"), of("::"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.1".parse::<Ipv4Addr>().unwrap().to_ipv6_mapped().to_string().as_str()));
    }

    #[test]
    fn times_are_minus_the_logarithm() {
        let mut rng = fastrand::Rng::with_seed(1);
        let edges = [0, 1, 2, 0x5555_5554, 0x5555_5555, 0x5555_5556, u32::MAX - 1, u32::MAX];
        for ticket in edges.into_iter().chain((0..100_000).map(|_| rng.u32(..) >> rng.u32(0..32))) {
            let place = (f64::from(ticket) + 0.5) / (1u64 << 32) as f64;
            let expected = -(-place).ln_1p();
            let got = exponential(ticket);
            assert!(got > 0.0 && ((got - expected) / expected).abs() < 1e-7, "{ticket}: {got}, expected {expected}");
        }
        // The walk along the ranks ends where times grow beyond the limit.
        assert!(
            (0..u16::MAX).all(|rank| { exponential(u32::from(rank) << 16) < exponential(u32::from(rank + 1) << 16) })
        );
    }

    #[test]
    fn each_endpoint_has_a_permutation_of_the_slots() {
        for identity in identities(20) {
            let mut seen = vec![false; SLOTS];
            for slot in 0..=u16::MAX {
                let rank = permute(slot, identity);
                assert_eq!(permute_back(rank, identity), slot);
                assert!(!std::mem::replace(&mut seen[usize::from(rank)], true));
            }
        }
    }

    /// The ranks of two endpoints say nothing of each other: all pairs of sixteenths are equally common, and of
    /// neighbouring slots too.
    #[test]
    fn permutations_are_independent() {
        let identities = identities(60);
        let mut statistics = Vec::new();
        for (index, first) in identities.iter().enumerate() {
            for second in &identities[..index] {
                let mut cells = [0u32; 256];
                for slot in 0..=u16::MAX {
                    let sixteenth = |identity| usize::from(permute(slot, identity) >> 12);
                    cells[sixteenth(*first) * 16 + sixteenth(*second)] += 1;
                }
                statistics.push(cells.iter().map(|count| (f64::from(*count) - 256.0).powi(2) / 256.0).sum::<f64>());
            }
        }
        // Chi-squared with 225 degrees of freedom, as margins are exact: mean 225, deviation 21.2.
        let mean = statistics.iter().sum::<f64>() / statistics.len() as f64;
        let most = statistics.iter().copied().fold(0.0, f64::max);
        assert!((mean - 225.0).abs() < 21.2 / (statistics.len() as f64).sqrt() * 4.0, "mean {mean}");
        assert!(most < 330.0, "most {most}");
    }

    #[test]
    fn a_table_has_the_winners_of_a_race_run_by_all() {
        let mut rng = fastrand::Rng::with_seed(5);
        for count in [1, 2, 3, 33, 300] {
            let members: Vec<(u64, u32)> =
                identities(count).into_iter().map(|identity| (identity, 1 << rng.u32(0..=20))).collect();
            let table = Table::build(&members);
            let runners = runners(&members);
            for slot in 0..=u16::MAX {
                assert_eq!(table.winner(slot) as usize, winner(&runners, slot), "{count} endpoints, slot {slot}");
            }
        }
    }

    #[test]
    fn the_first_are_those_with_the_shortest_times() {
        let members: Vec<(u64, u32)> = identities(40).into_iter().zip(1..).collect();
        let runners = runners(&members);
        for slot in (0..=u16::MAX).step_by(97) {
            let mut expected: Vec<u32> = (0..40).collect();
            expected.sort_by(|a, b| runners[*a as usize].time(slot).total_cmp(&runners[*b as usize].time(slot)));
            for count in [1, 2, 16] {
                let mut order = [0; 16];
                assert_eq!(first(&runners, slot, &mut order[..count]), count);
                assert_eq!(order[..count], expected[..count]);
            }
            let mut order = [0; 16];
            assert_eq!(first(&runners[..3], slot, &mut order), 3);
        }
    }
}
