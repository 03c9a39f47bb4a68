//! How much of what probes say may be acted on: limits on what is taken away.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::Safety;

/// Why an endpoint goes on serving although its probes say that it is down, or its breaker isn't closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Held {
    /// The prober suspects itself.
    Unsure,
    /// As much of its pool as may be is taken away already.
    PoolShare,
    /// Too few regions of its pool would be left.
    Regions,
    /// The changes that may be made are used up, and come back evenly over a minute.
    ChangesPerMinute,
}

impl Held {
    /// All.
    pub const ALL: [Self; 4] = [Self::Unsure, Self::PoolShare, Self::Regions, Self::ChangesPerMinute];

    /// In metrics and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unsure => "unsure",
            Self::PoolShare => "max_down_share",
            Self::Regions => "min_healthy_regions",
            Self::ChangesPerMinute => "max_changes_per_minute",
        }
    }
}

/// What the guard knows of an endpoint from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Index of its region.
    pub region: u16,
    /// Whether the operator lets automation take it away and give it back: it is neither disabled nor drained, and no word of
    /// theirs says whether it is up. One that isn't subject to the limits counts as no endpoint of its pool.
    pub is_subject: bool,
    /// Since when its probes say that it is down, or its breaker isn't closed; nothing where neither is so.
    pub down_since: Option<Instant>,
}

/// What became of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ruling {
    /// Nothing speaks against it.
    #[default]
    Serves,
    /// It was taken away then.
    Taken(Instant),
    /// It serves all the same.
    Held(Held),
}

/// Rules on what may be taken away. What is given back is always allowed, and at once.
///
/// Who went down first is taken first. What is held is looked at again whenever its pool is settled.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// The takings that counted when the last one was made that was limited, that one included. As many as may be made in a minute are
    /// forgotten evenly over one.
    spent: f64,
    last: Option<Instant>,
}

const MINUTE: Duration = Duration::from_secs(60);
/// What a share of a number of endpoints may be off by, as a share such as 0.29 is none that a computer knows.
const ROUNDING: f64 = 1e-9;

impl Guard {
    /// One of whose takings so many counted at `then`.
    pub(super) fn restored(spent: f64, then: Instant) -> Self {
        Self { spent: spent.max(0.0), last: Some(then) }
    }

    /// How many takings count now.
    pub(super) fn spent(&self, safety: &Safety, now: Instant) -> f64 {
        let (Some(most), Some(last)) = (safety.max_changes_per_minute.map(f64::from), self.last) else { return 0.0 };
        let passed = now.saturating_duration_since(last).as_secs_f64() / MINUTE.as_secs_f64();
        (self.spent.min(most) - most * passed).max(0.0)
    }

    /// Rules on all endpoints of one pool, whose `min_healthy` is given. While the prober is unsure, `unsure_from` is when that began
    /// which made it so: what was taken away since is given back, also of what is subject to no limit.
    pub fn settle(
        &mut self,
        safety: &Safety,
        unsure_from: Option<Instant>,
        endpoints: &mut [(Claim, Ruling)],
        min_healthy: u16,
        now: Instant,
    ) {
        let mut counts = Counts::default();
        for (claim, ruling) in &mut *endpoints {
            *ruling = match (*ruling, claim.down_since, unsure_from) {
                (_, None, _) => Ruling::Serves,
                (Ruling::Taken(then), Some(_), Some(from)) if then >= from => Ruling::Held(Held::Unsure),
                (Ruling::Taken(then), Some(_), _) => Ruling::Taken(then),
                // What no limit speaks of is away since it is down.
                (_, Some(since), Some(from)) if since >= from => Ruling::Held(Held::Unsure),
                // Looked at below, where the guard has a say; what was taken before stays so.
                (Ruling::Serves | Ruling::Held(_), Some(_), _) => Ruling::Serves,
            };
            counts.add(claim, *ruling);
        }
        let asking = endpoints.iter_mut().filter(|(_, ruling)| *ruling == Ruling::Serves);
        let mut asking: Vec<_> = asking.filter(|(claim, _)| claim.is_subject && claim.down_since.is_some()).collect();
        asking.sort_by_key(|(claim, _)| claim.down_since);
        for (claim, ruling) in asking {
            *ruling = match self.reason_to_hold(safety, unsure_from.is_some(), claim, &counts, min_healthy, now) {
                Some(held) => Ruling::Held(held),
                None => {
                    if safety.max_changes_per_minute.is_some() {
                        *self = Self { spent: self.spent(safety, now) + 1.0, last: Some(now) };
                    }
                    counts.take(claim.region);
                    Ruling::Taken(now)
                }
            };
        }
    }

    fn reason_to_hold(
        &self,
        safety: &Safety,
        is_unsure: bool,
        claim: &Claim,
        counts: &Counts,
        min_healthy: u16,
        now: Instant,
    ) -> Option<Held> {
        let least = u32::from(min_healthy.max(1));
        let ends_region = counts.serving.get(&claim.region) == Some(&least);
        let regions = || counts.serving.values().filter(|serving| **serving >= least).count();
        let is_spent = |most| f64::from(most) - self.spent(safety, now) < 1.0;
        if is_unsure {
            Some(Held::Unsure)
        } else if f64::from(counts.taken + 1) > f64::from(counts.all) * safety.max_down_share + ROUNDING {
            Some(Held::PoolShare)
        } else if ends_region && regions() <= usize::from(safety.min_healthy_regions) {
            Some(Held::Regions)
        } else if safety.max_changes_per_minute.is_some_and(is_spent) {
            Some(Held::ChangesPerMinute)
        } else {
            None
        }
    }
}

/// A pool's endpoints that are subject to the guard.
#[derive(Debug, Default)]
struct Counts {
    all: u32,
    taken: u32,
    /// Those that serve, by region.
    serving: BTreeMap<u16, u32>,
}

impl Counts {
    fn add(&mut self, claim: &Claim, ruling: Ruling) {
        if !claim.is_subject {
            return;
        }
        self.all += 1;
        match ruling {
            Ruling::Taken(_) => self.taken += 1,
            Ruling::Serves | Ruling::Held(_) => *self.serving.entry(claim.region).or_default() += 1,
        }
    }

    fn take(&mut self, region: u16) {
        self.taken += 1;
        if let Some(serving) = self.serving.get_mut(&region) {
            *serving = serving.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Endpoints by region, each with the second at which it went down.
    fn claims(start: Instant, endpoints: &[(u16, Option<u64>)]) -> Vec<Claim> {
        let claim = |&(region, down): &(u16, Option<u64>)| Claim {
            region,
            is_subject: true,
            down_since: down.map(|second| start + Duration::from_secs(second)),
        };
        endpoints.iter().map(claim).collect()
    }

    /// The guard of a pool, and what became of its endpoints.
    #[derive(Clone, Default)]
    struct Pool {
        guard: Guard,
        rulings: Vec<Ruling>,
    }

    impl Pool {
        /// What becomes of each: `+` serves, `-` taken away, or a letter of why it is held.
        fn settle(&mut self, safety: &Safety, unsure: Option<Instant>, claims: &[Claim], now: Instant) -> String {
            self.rulings.resize(claims.len(), Ruling::Serves);
            let mut endpoints: Vec<_> = claims.iter().copied().zip(self.rulings.drain(..)).collect();
            self.guard.settle(safety, unsure, &mut endpoints, 1, now);
            self.rulings.extend(endpoints.iter().map(|(_, ruling)| *ruling));
            let letter = |ruling: &Ruling| match ruling {
                Ruling::Serves => '+',
                Ruling::Taken(_) => '-',
                Ruling::Held(Held::Unsure) => 'u',
                Ruling::Held(Held::PoolShare) => 's',
                Ruling::Held(Held::Regions) => 'r',
                Ruling::Held(Held::ChangesPerMinute) => 'c',
            };
            self.rulings.iter().map(letter).collect()
        }
    }

    #[test]
    fn without_limits_all_is_taken() {
        let now = Instant::now();
        let claims = claims(now, &[(0, Some(1)), (0, None), (1, Some(2))]);
        assert_eq!(Pool::default().settle(&Safety::DEFAULT, None, &claims, now), "-+-");
    }

    #[test]
    fn of_a_pool_no_more_than_its_share_is_taken_and_the_first_first() {
        let now = Instant::now();
        let half = Safety { max_down_share: 0.5, ..Safety::DEFAULT };
        let mut pool = Pool::default();
        let first = claims(now, &[(0, Some(9)), (0, Some(3)), (1, None), (1, Some(4))]);
        assert_eq!(pool.settle(&half, None, &first, now), "s-+-");
        // One comes back, and the one that waited is taken.
        let next = claims(now, &[(0, Some(9)), (0, None), (1, None), (1, Some(4))]);
        assert_eq!(pool.settle(&half, None, &next, now), "-++-");
        // Nobody who is taken is given back for one who went down later.
        let last = claims(now, &[(0, Some(9)), (0, Some(2)), (1, None), (1, Some(4))]);
        assert_eq!(pool.settle(&half, None, &last, now), "-s+-");
    }

    #[test]
    fn what_the_operator_decides_is_no_part_of_it() {
        let now = Instant::now();
        let half = Safety { max_down_share: 0.5, ..Safety::DEFAULT };
        let mut claims = claims(now, &[(0, Some(1)), (0, Some(2)), (0, Some(3))]);
        claims[0].is_subject = false;
        // Of the other two one.
        assert_eq!(Pool::default().settle(&half, None, &claims, now), "+-s");
    }

    #[test]
    fn a_share_is_what_is_written() {
        let now = Instant::now();
        for (share, of, expected) in [
            (0.29, 100, 29),
            (0.57, 100, 57),
            (0.58, 100, 58),
            (0.58, 50, 29),
            (0.7, 90, 63),
            (0.289, 100, 28),
            (0.33, 3, 0),
            (1.0, 100, 100),
        ] {
            let safety = Safety { max_down_share: share, ..Safety::DEFAULT };
            let verdicts = Pool::default().settle(&safety, None, &claims(now, &vec![(0, Some(1)); of]), now);
            assert_eq!(verdicts.matches('-').count(), expected, "{share} of {of}");
        }
    }

    #[test]
    fn the_last_regions_are_left() {
        let now = Instant::now();
        let two = Safety { min_healthy_regions: 2, ..Safety::DEFAULT };
        let regions = [(0, Some(1)), (0, Some(2)), (1, Some(3)), (2, None), (2, Some(9)), (3, None)];
        assert_eq!(Pool::default().settle(&two, None, &claims(now, &regions), now), "---+-+");
        let all = regions.map(|(region, _)| (region, Some(u64::from(region))));
        // The first three regions go down in turn; of the pool's four, two are left.
        assert_eq!(Pool::default().settle(&two, None, &claims(now, &all), now), "----rr");
    }

    #[test]
    fn changes_are_rationed_by_the_minute() {
        let now = Instant::now();
        let safety = Safety { max_changes_per_minute: Some(2), ..Safety::DEFAULT };
        let mut pool = Pool::default();
        let all = claims(now, &[(0, Some(1)), (0, Some(2)), (0, Some(3)), (0, Some(4)), (0, None)]);
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(pool.settle(&safety, None, &all, now), "--cc+");
        assert_eq!(pool.settle(&safety, None, &all, at(29)), "--cc+");
        assert_eq!(pool.settle(&safety, None, &all, at(31)), "---c+");
        assert_eq!(pool.settle(&safety, None, &all, at(60)), "----+");
    }

    #[test]
    fn who_is_unsure_takes_nothing_and_gives_back_what_made_it_so() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut pool = Pool::default();
        let early = claims(now, &[(0, Some(0)), (0, None), (1, None), (1, None)]);
        assert_eq!(pool.settle(&Safety::DEFAULT, None, &early, now), "-+++");
        let more = claims(now, &[(0, Some(0)), (0, Some(50)), (1, None), (1, None)]);
        assert_eq!(pool.settle(&Safety::DEFAULT, None, &more, at(50)), "--++");
        let all = claims(now, &[(0, Some(0)), (0, Some(50)), (1, Some(51)), (1, None)]);
        assert_eq!(pool.settle(&Safety::DEFAULT, Some(at(45)), &all, at(51)), "-uu+");
        // What the operator drains is not taken away either, but for what went down long before.
        let drains = all.iter().map(|claim| Claim { is_subject: false, ..*claim }).collect::<Vec<_>>();
        assert_eq!(pool.clone().settle(&Safety::DEFAULT, Some(at(45)), &drains, at(52)), "-uu+");
        assert_eq!(Pool::default().settle(&Safety::DEFAULT, Some(at(45)), &drains, at(52)), "+uu+");
        // It is over, and what the probes say holds.
        assert_eq!(pool.settle(&Safety::DEFAULT, None, &all, at(60)), "---+");
    }
}
