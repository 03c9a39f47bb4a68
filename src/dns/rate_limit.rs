//! Response rate limiting: how often a client network is answered alike over UDP, where addresses can be forged.
//!
//! Each network and kind of answer has a bucket in the form of the generic cell rate algorithm (ITU-T I.371): the one
//! number that is kept is the time at which the bucket will be full again. A response moves it on by the interval of
//! the rate; where that would put it more than a second ahead of now, the response is one too many. So a second's worth
//! of responses may come at once, and whoever goes on is answered at the rate.
//!
//! The table is fixed, shared by all workers, and used without a lock: an entry is one word that is exchanged whole. A
//! network that finds no entry of its own takes the one that is full, or will be full soonest, among eight.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::encode::Writer;
use super::query::Rcode;
use crate::config::{ClientNetwork, RateLimit};

/// Kinds of responses that are limited apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// With an answer.
    Answer,
    /// Without one, though the name is there: no data, or a referral.
    NoData,
    /// The name isn't there: counted together for a zone, as random names are asked.
    NxDomain,
    /// What tells a client its cookie, and nothing else: apart from errors, so that those keep no new client out.
    Cookie,
    /// Refused or malformed: counted together.
    Error,
}

impl Kind {
    /// The kind of a response that is all written but for its OPT record.
    pub(super) fn of(rcode: Rcode, writer: &Writer<'_>) -> Self {
        match rcode {
            Rcode::NoError if writer.has_answer() => Self::Answer,
            Rcode::NoError => Self::NoData,
            Rcode::NxDomain => Self::NxDomain,
            _ => Self::Error,
        }
    }
}

/// What becomes of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is sent.
    Send,
    /// It is one too many, and a short one is sent in its place.
    Slip,
    /// It is one too many, and is not sent.
    Drop,
}

/// Entries that a network may be found in: those of one cache line.
const SET: usize = 8;
/// Ticks in a microsecond. The time in an entry has 40 bits, so it comes round every three days.
const TICKS: u64 = 4;
const TIME_BITS: u32 = 40;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
const SECOND: u64 = 1_000_000 * TICKS;
/// How far apart in ticks the times of workers may be, which each reads once for a batch of requests.
const MAX_SKEW: u64 = SECOND;
/// Attempts to change an entry that other workers change at the same time.
const ATTEMPTS: usize = 8;

/// Who was answered how often.
#[derive(Debug)]
pub struct RateLimiter {
    sets: Box<[Set]>,
    /// Keeps others from knowing who shares a set.
    key: [u64; 2],
    /// Ticks from one response to the next, at most a second's.
    interval: u64,
    settings: RateLimit,
    network: ClientNetwork,
}

/// Entries: a tag in the upper 24 bits, 0 for none, and the time at which the bucket is full.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; SET]);

impl RateLimiter {
    /// An empty table.
    pub fn new(settings: RateLimit, network: ClientNetwork) -> Self {
        let sets = (settings.table_size as usize).div_ceil(SET).next_power_of_two();
        let random = RandomState::new();
        Self {
            sets: (0..sets).map(|_| Set::default()).collect(),
            key: [random.hash_one(0), random.hash_one(1)],
            interval: SECOND.div_ceil(u64::from(settings.responses_per_second.max(1))),
            settings,
            network,
        }
    }

    /// Whether it was made with these settings.
    pub fn is_of(&self, settings: &RateLimit, network: ClientNetwork) -> bool {
        self.settings == *settings && self.network == network
    }

    /// Whether verdicts are only counted.
    pub(super) fn is_dry_run(&self) -> bool {
        self.settings.dry_run
    }

    /// Takes account of a response of this kind about the subject of this number.
    pub(super) fn check(
        &self,
        client: IpAddr,
        kind: Kind,
        subject: u32,
        qtype: u16,
        now_us: u64,
        rng: &mut fastrand::Rng,
    ) -> Verdict {
        // What is wrong is wrong whatever was asked, and only what is there is counted by type: else a flood would have
        // 65,536 buckets of no data.
        let subject = if matches!(kind, Kind::Cookie | Kind::Error) { 0 } else { subject };
        let qtype = if kind == Kind::Answer { qtype } else { 0 };
        let what = u64::from(subject) << 32 | u64::from(qtype) << 16 | kind as u64;
        let hash = self.hash(self.network.of(client), what);
        if self.admit(hash, (now_us * TICKS) & TIME_MASK)
            || self.settings.exempt.iter().any(|network| network.contains(&client))
        {
            return Verdict::Send;
        }
        match self.settings.slip {
            0 => Verdict::Drop,
            // At random, so that nobody can see to it that others get the silence.
            slip if rng.u8(0..slip) == 0 => Verdict::Slip,
            _ => Verdict::Drop,
        }
    }

    fn hash(&self, network: IpAddr, what: u64) -> u64 {
        let (high, low) = match network {
            IpAddr::V4(address) => (u64::MAX, u64::from(address.to_bits())),
            IpAddr::V6(address) => ((address.to_bits() >> 64) as u64, address.to_bits() as u64),
        };
        let hash = fold(high ^ self.key[0], low ^ self.key[1]);
        fold(hash ^ self.key[1], what ^ self.key[0])
    }

    /// Moves a bucket on; false where it would be too full.
    fn admit(&self, hash: u64, now: u64) -> bool {
        let Set(entries) = &self.sets[hash as usize & (self.sets.len() - 1)];
        // No entry has tag 0 but those that were never used.
        let tag = (hash >> TIME_BITS).max(1) << TIME_BITS;
        for _ in 0..ATTEMPTS {
            let mut place = 0;
            let mut seen = 0;
            let mut least = u64::MAX;
            for (index, entry) in entries.iter().enumerate() {
                let word = entry.load(Ordering::Relaxed);
                if word & !TIME_MASK == tag {
                    (place, seen) = (index, word);
                    break;
                }
                let ahead = Self::ahead(word, now);
                if ahead < least {
                    (place, seen, least) = (index, word, ahead);
                }
            }
            let ahead = if seen & !TIME_MASK == tag { Self::ahead(seen, now) } else { 0 } + self.interval;
            if ahead > SECOND {
                return false;
            }
            let next = tag | ((now + ahead) & TIME_MASK);
            if entries[place].compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
        // So many others are answered at this moment that one more makes no difference.
        true
    }

    /// How far an entry's time is ahead of now; 0 where it has passed. Other workers' now may be a little later than this
    /// one's. What is further ahead than that was left from a time before the clock came round.
    fn ahead(word: u64, now: u64) -> u64 {
        let ahead = word.wrapping_sub(now) & TIME_MASK;
        if ahead <= SECOND + MAX_SKEW { ahead } else { 0 }
    }
}

/// A product of 128 bits folded into 64, as wyhash has it.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::thread;

    use super::*;

    fn limiter(responses_per_second: u32, slip: u8) -> RateLimiter {
        let settings = RateLimit {
            responses_per_second,
            slip,
            table_size: 1024,
            exempt: vec!["192.0.2.0/24".parse().unwrap()],
            dry_run: false,
        };
        // The same in every run, as networks whose tags are alike by chance share a bucket.
        RateLimiter {
            key: [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344],
            ..RateLimiter::new(settings, ClientNetwork::DEFAULT)
        }
    }

    /// Asks so often at one time, and counts what is sent, slips and is dropped.
    fn flood(limiter: &RateLimiter, client: &str, kind: Kind, subject: u32, times: usize, now_us: u64) -> [usize; 3] {
        let mut rng = fastrand::Rng::with_seed(now_us);
        let client = client.parse().unwrap();
        let mut counts = [0; 3];
        for _ in 0..times {
            counts[limiter.check(client, kind, subject, 1, now_us, &mut rng) as usize] += 1;
        }
        counts
    }

    #[test]
    fn a_second_of_responses_may_come_at_once_and_then_the_rate() {
        let limiter = limiter(100, 0);
        let sent = |client, now_us| flood(&limiter, client, Kind::Answer, 1, 1000, now_us)[0];
        assert_eq!(sent("198.51.100.1", 5_000_000), 100);
        assert_eq!(sent("198.51.100.1", 5_009_999), 0);
        assert_eq!(sent("198.51.100.1", 5_010_000), 1);
        assert_eq!(sent("198.51.100.1", 5_110_000), 10);
        assert_eq!(sent("198.51.100.1", 9_000_000), 100);
        // The whole network is one client, the next one another.
        assert_eq!(sent("198.51.100.255", 9_000_000), 0);
        assert_eq!(sent("::ffff:198.51.100.7", 9_000_000), 0);
        assert_eq!(sent("198.51.101.1", 9_000_000), 100);
        assert_eq!(sent("2001:db8:0:100::1", 9_000_000), 100);
        assert_eq!(sent("2001:db8:0:1ff::1", 9_000_000), 0);
        assert_eq!(sent("2001:db8:0:200::1", 9_000_000), 100);
    }

    #[test]
    fn kinds_and_subjects_are_limited_apart() {
        let limiter = limiter(10, 0);
        for (kind, subject) in
            [(Kind::Answer, 1), (Kind::Answer, 2), (Kind::NoData, 1), (Kind::NxDomain, 1), (Kind::Error, 0)]
        {
            assert_eq!(flood(&limiter, "198.51.100.1", kind, subject, 50, 0)[0], 10, "{kind:?} {subject}");
        }
        let mut rng = fastrand::Rng::with_seed(1);
        let client = "198.51.100.1".parse().unwrap();
        // By type only where there is an answer.
        assert_eq!(limiter.check(client, Kind::Answer, 1, 28, 0, &mut rng), Verdict::Send);
        assert_eq!(limiter.check(client, Kind::NoData, 1, 28, 0, &mut rng), Verdict::Drop);
    }

    #[test]
    fn one_in_so_many_slips() {
        for (slip, share) in [(0, 0.0), (1, 1.0), (2, 0.5), (10, 0.1)] {
            let [sent, slipped, dropped] = flood(&limiter(1, slip), "198.51.100.1", Kind::Answer, 1, 10_001, 0);
            assert_eq!((sent, slipped + dropped), (1, 10_000));
            let expected = 10_000.0 * share;
            let tolerance = 4.0 * (10_000.0_f64 * share * (1.0 - share)).sqrt();
            assert!((slipped as f64 - expected).abs() <= tolerance, "{slip}: {slipped}");
        }
    }

    #[test]
    fn networks_that_are_exempt_are_always_answered() {
        assert_eq!(flood(&limiter(1, 0), "192.0.2.9", Kind::Answer, 1, 1000, 0), [1000, 0, 0]);
    }

    #[test]
    fn low_and_high_rates() {
        let low = limiter(1, 0);
        assert_eq!(flood(&low, "198.51.100.1", Kind::Answer, 1, 9, 0)[0], 1);
        assert_eq!(flood(&low, "198.51.100.1", Kind::Answer, 1, 9, 999_999)[0], 0);
        assert_eq!(flood(&low, "198.51.100.1", Kind::Answer, 1, 9, 1_000_000)[0], 1);
        assert_eq!(flood(&limiter(1_000_000, 0), "198.51.100.1", Kind::Answer, 1, 1_500_000, 0)[0], 1_000_000);
    }

    /// Networks that are more than the table holds take each other's entries, and are answered.
    #[test]
    fn a_full_table_holds_nobody_back() {
        let limiter = limiter(2, 0);
        let mut rng = fastrand::Rng::with_seed(3);
        for round in 0..2 {
            for number in 0..100_000_u32 {
                let client = IpAddr::V4((number << 8).into());
                let verdict = limiter.check(client, Kind::Answer, 1, 1, round * 10, &mut rng);
                assert_eq!(verdict, Verdict::Send, "{client}");
            }
        }
    }

    /// The clock of entries comes round after three days; one that was left from before holds nobody back.
    #[test]
    fn old_entries_are_void() {
        let limiter = limiter(10, 0);
        let round_us = (1 << TIME_BITS) / TICKS;
        for now_us in [0, round_us / 4, round_us / 2 + 1, round_us - 2_000_000, round_us - 10, round_us + 1_500_000] {
            assert_eq!(flood(&limiter, "198.51.100.1", Kind::Answer, 1, 50, now_us)[0], 10, "{now_us}");
        }
        // Across the turn itself the rate is kept.
        assert_eq!(flood(&limiter, "198.51.102.1", Kind::Answer, 1, 50, 2 * round_us - 10)[0], 10);
        assert_eq!(flood(&limiter, "198.51.102.1", Kind::Answer, 1, 50, 2 * round_us + 10)[0], 0);
        assert_eq!(flood(&limiter, "198.51.102.1", Kind::Answer, 1, 50, 2 * round_us + 99_990)[0], 1);
    }

    #[test]
    fn workers_share_the_limit() {
        let limiter = limiter(1000, 0);
        let sent: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| flood(&limiter, "198.51.100.1", Kind::Answer, 1, 20_000, 0)[0]))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // An exchange that fails so often in a row lets a response through.
        assert!((1000..1010).contains(&sent), "{sent}");
    }

    /// Each reads the clock once for a batch, so that one's now is behind what another has written.
    #[test]
    fn workers_whose_clocks_differ_share_the_limit() {
        let limiter = limiter(200, 0);
        let sent = |now_us| flood(&limiter, "198.51.100.1", Kind::Answer, 1, 1000, now_us)[0];
        assert_eq!(sent(5_000_000), 200);
        for behind_us in [1, 1000, 50_000, 999_999] {
            assert_eq!(sent(5_000_000 - behind_us), 0, "{behind_us}");
        }
        assert_eq!(sent(5_005_000), 1);
        assert_eq!(sent(5_004_000), 0);
    }
}
