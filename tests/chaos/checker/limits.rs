//! What automation may take away, and that no limit holds what it need not.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian::health::guard::Held;

use super::{Checker, Rule, TICK};
use crate::log::Seen;

const SECOND: Duration = Duration::from_secs(1);
/// What computing with parts makes wrong at most.
const ROUNDING: f64 = 1e-6;

/// Takings that may be made, refilled evenly over a minute.
#[derive(Debug)]
struct Budget {
    per_second: f64,
    most: f64,
    left: f64,
    at: Duration,
}

impl Budget {
    fn refill(&mut self, at: Duration) {
        self.left = (self.left + self.per_second * (at - self.at).as_secs_f64()).min(self.most);
        self.at = at;
    }

    /// When one may be made again.
    fn next(&self) -> Duration {
        self.at + Duration::from_secs_f64((1.0 - self.left).max(0.0) / self.per_second)
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
            Budget { per_second: most / 60.0, most, left: most, at: Duration::ZERO }
        });
        let mut now = vec![Seen::UNKNOWN; self.site.endpoints.len()];
        // Since when each is held for no reason.
        let mut idle: Vec<Option<Duration>> = vec![None; now.len()];
        let end = (self.log.end, Vec::new());
        for (at, changes) in self.log.changes().into_iter().chain([end]) {
            // Over a restart it is kept by the second.
            let vague = SECOND * self.pauses.iter().filter(|pause| pause.until <= at).count() as u32;
            for (endpoint, since) in idle.iter().enumerate() {
                if let (Some(since), Some(held)) = (*since, now[endpoint].held)
                    && self.looks_again(since + vague) < at
                {
                    let details = format!("by {}, which isn't reached since {:.3} s", held.name(), since.as_secs_f64());
                    self.blame(Rule::HeldWithoutReason, at, Some(endpoint), details);
                }
            }
            let before: Vec<Counts> = (0..self.site.pools.len()).map(|pool| self.counts(pool, &now)).collect();
            let mut is_said = vec![false; before.len()];
            for (endpoint, to) in changes {
                let is_taken = to.is_taken() && !now[endpoint].is_taken();
                is_said[self.site.endpoints[endpoint].pool] |= to.word != now[endpoint].word;
                now[endpoint] = to;
                if let Some(budget) = budget.as_mut().filter(|_| is_taken) {
                    budget.refill(at);
                    budget.left -= 1.0;
                    // Looked at a bit later than it was done, it may be less.
                    let least = -budget.per_second * (vague + self.slack).as_secs_f64() - ROUNDING;
                    if budget.left < least {
                        let details = format!("{:.2} more than may be", -budget.left);
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
                    Some(Held::ChangesPerMinute) => match &budget {
                        Some(budget) if budget.left < 1.0 => Some(budget.next()),
                        _ => Some(before.unwrap_or(at)),
                    },
                    Some(_) => Some(before.unwrap_or(at)),
                };
            }
        }
    }

    /// By when what is held for no reason is looked at again.
    fn looks_again(&self, since: Duration) -> Duration {
        let due = since + TICK + self.slack;
        self.pauses.iter().fold(due, |due, pause| {
            if since < pause.until && pause.from < due { pause.until + TICK + self.slack } else { due }
        })
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
