//! What automation may take away, and that no limit holds what it need not.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian::health::guard::Held;

use super::{Checker, Rule, SECOND};
use crate::log::Seen;

/// What computing with parts makes wrong at most.
const ROUNDING: f64 = 1e-6;

/// Takings that may be made, refilled evenly over a minute.
#[derive(Debug)]
struct Budget {
    per_second: f64,
    most: f64,
    /// At least and at most: a server that was killed may have forgotten some that were made.
    left: [f64; 2],
    at: Duration,
    made: Vec<Duration>,
}

impl Budget {
    fn refill(&mut self, at: Duration) {
        let refilled = self.per_second * (at - self.at).as_secs_f64();
        self.left = self.left.map(|left| (left + refilled).min(self.most));
        self.at = at;
    }

    fn take(&mut self, at: Duration, is_sure: bool) {
        self.left[0] -= 1.0;
        self.left[1] -= f64::from(u8::from(is_sure));
        self.made.push(at);
    }

    /// Those that were made since may not be known any more, or be made again before anyone looks.
    fn forget(&mut self, since: Duration) {
        let forgotten = self.made.iter().filter(|made| **made >= since).count() as f64;
        self.left = [(self.left[0] - forgotten).max(0.0), (self.left[1] + forgotten).min(self.most)];
    }

    /// When one may be made again for sure, if that is later, where what was refilled is known so roughly.
    fn next(&self, vague: Duration) -> Option<Duration> {
        let seconds = (1.0 - self.left[0]) / self.per_second + vague.as_secs_f64();
        (seconds > 0.0).then(|| self.at + Duration::from_secs_f64(seconds))
    }
}

/// A pool at one moment.
#[derive(Debug, Default)]
struct Counts {
    all: f64,
    taken: f64,
    /// Those that serve, by region.
    serving: BTreeMap<usize, usize>,
}

impl Checker<'_> {
    pub(super) fn limits(&mut self) {
        let safety = &self.site.safety;
        let mut budget = safety.max_changes_per_minute.map(|most| {
            let most = f64::from(most);
            Budget { per_second: most / 60.0, most, left: [most; 2], at: Duration::ZERO, made: Vec::new() }
        });
        let kills = self.pauses.iter().filter(|pause| pause.is_forgetful());
        let mut forgotten = kills.clone().peekable();
        let mut now = vec![Seen::UNKNOWN; self.site.endpoints.len()];
        // Since when each is held for no reason.
        let mut idle: Vec<Option<Duration>> = vec![None; now.len()];
        let mut events = self.log.changes();
        let moments = self.pauses.iter().map(|pause| pause.until).chain([self.log.end]);
        events.extend(moments.map(|at| (at, Vec::new())));
        events.sort_by_key(|(at, _)| *at);
        for (at, changes) in events {
            // Over a restart it is kept by the second.
            let vague = SECOND * self.restarts_until(at);
            // What was so before is no doing of who goes on with it.
            let recalls = kills.clone().any(|killed| killed.until <= at && at <= killed.until + self.slack);
            while let (Some(killed), Some(budget)) = (forgotten.next_if(|killed| killed.until <= at), &mut budget) {
                budget.refill(at);
                budget.forget(killed.knows.saturating_sub(self.slack));
            }
            for (endpoint, since) in idle.iter().enumerate() {
                if let (Some(since), Some(held)) = (*since, now[endpoint].held)
                    && self.looks_again(since) < at
                {
                    let details = format!("by {}, which isn't reached since {:.3} s", held.name(), since.as_secs_f64());
                    self.blame(Rule::HeldWithoutReason, at, Some(endpoint), details);
                }
            }
            let before: Vec<Counts> = (0..self.site.pools.len()).map(|pool| self.counts(pool, &now)).collect();
            let mut is_said = vec![recalls; before.len()];
            for (endpoint, to) in changes {
                let is_taken = to.is_taken() && !now[endpoint].is_taken();
                is_said[self.site.endpoints[endpoint].pool] |= to.word != now[endpoint].word;
                now[endpoint] = to;
                if let Some(budget) = budget.as_mut().filter(|_| is_taken) {
                    budget.refill(at);
                    budget.take(at, !recalls);
                    // Looked at a bit later than it was done, it may be less.
                    let least = -budget.per_second * (vague + self.slack).as_secs_f64() - ROUNDING;
                    if budget.left[1] < least {
                        let details = format!("{:.2} more than may be", -budget.left[1]);
                        self.blame(Rule::ChangesExceeded, at, Some(endpoint), details);
                    }
                }
            }
            let counts: Vec<Counts> = (0..self.site.pools.len()).map(|pool| self.counts(pool, &now)).collect();
            for pool in (0..counts.len()).filter(|pool| !is_said[*pool]) {
                self.bounds(at, pool, &before[pool], &counts[pool]);
            }
            if let Some(budget) = &mut budget {
                budget.refill(at);
            }
            for (endpoint, since) in idle.iter_mut().enumerate() {
                let before = since.filter(|since| *since <= at);
                *since = match now[endpoint].held {
                    None | Some(Held::Unsure) => None,
                    Some(held) if self.is_reached(held, endpoint, &counts) => None,
                    Some(Held::ChangesPerMinute) => {
                        let next = budget.as_ref().and_then(|budget| budget.next(vague));
                        next.or(Some(before.unwrap_or(at)))
                    }
                    Some(_) => Some(before.unwrap_or(at)),
                };
            }
        }
    }

    /// Of those that the server may take away.
    fn counts(&self, pool: usize, now: &[Seen]) -> Counts {
        let mut counts = Counts::default();
        let of_pool = self.site.endpoints.iter().zip(now).filter(|(endpoint, _)| endpoint.pool == pool);
        for (endpoint, seen) in of_pool.filter(|(_, seen)| seen.word.is_none()) {
            counts.all += 1.0;
            if seen.is_taken() {
                counts.taken += 1.0;
            } else {
                *counts.serving.entry(endpoint.region).or_default() += 1;
            }
        }
        counts
    }

    /// Regions of a pool that can serve.
    fn regions(&self, pool: usize, counts: &Counts) -> usize {
        let least = usize::from(self.site.pools[pool].min_healthy);
        counts.serving.values().filter(|serving| **serving >= least).count()
    }

    /// What is taken away stays so, also where an operator's word ends and leaves more of it than may be.
    fn bounds(&mut self, at: Duration, pool: usize, before: &Counts, counts: &Counts) {
        let safety = &self.site.safety;
        let most = counts.all * safety.max_down_share;
        if counts.taken > most.max(before.taken) + ROUNDING {
            let details = format!("{} of {} in pool {pool}, not {most:.2}", counts.taken, counts.all);
            self.blame(Rule::ShareExceeded, at, None, details);
        }
        let least = usize::from(safety.min_healthy_regions).min(self.regions(pool, before));
        let left = self.regions(pool, counts);
        if left < least {
            self.blame(Rule::RegionsExceeded, at, None, format!("{left} are left of pool {pool}, not {least}"));
        }
    }

    /// Whether a limit leaves no room for an endpoint that it holds; of changes only time tells.
    fn is_reached(&self, held: Held, endpoint: usize, counts: &[Counts]) -> bool {
        let endpoint = self.site.endpoints[endpoint];
        let counts = &counts[endpoint.pool];
        let safety = &self.site.safety;
        match held {
            Held::PoolShare => counts.taken + 1.0 > counts.all * safety.max_down_share + ROUNDING,
            Held::Regions => {
                let least = usize::from(self.site.pools[endpoint.pool].min_healthy);
                counts.serving.get(&endpoint.region) == Some(&least)
                    && self.regions(endpoint.pool, counts) <= usize::from(safety.min_healthy_regions)
            }
            Held::ChangesPerMinute | Held::Unsure => false,
        }
    }
}
