//! What outlives a restart, and how a server that starts goes on with it.

use std::time::{Duration, Instant};

use super::endpoint::Score;
use super::guard::{Guard, Ruling};
use super::suspicion::{Doubts, Suspicion};
use super::{Machine, Table, TargetId, Verdict};

/// What is known of the targets and endpoints of one [`Table`], by their indices in it. Times are ages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Past {
    /// How much of these ages is time in which nothing was probed, as the server was off.
    pub pause: Duration,
    /// Targets that have a verdict.
    pub targets: Vec<(TargetId, PastTarget)>,
    /// Endpoints that were taken away.
    pub taken: Vec<(u32, PastTaking)>,
    /// What the prober made of itself.
    pub doubts: Doubts,
    /// The changes that counted against `max_changes_per_minute`.
    pub changes_spent: f64,
}

/// What is known of a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PastTarget {
    /// Its verdict.
    pub verdict: Verdict,
    /// For how long it has lasted.
    pub lasted: Duration,
    /// How well its runs went of late, 0..=1.
    pub score: f64,
    /// Whether an operator said since it went down that it may come up.
    pub is_resumed: bool,
}

/// That an endpoint was taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastTaking {
    /// For how long its inputs or its breaker have asked for that.
    pub down: Duration,
    /// For how long it has been away.
    pub away: Duration,
}

impl Table {
    /// What is to outlive a restart.
    pub fn past(&self, now: Instant) -> Past {
        let age = |then: Instant| now.saturating_duration_since(then);
        let targets = (0..).map(TargetId).zip(self.targets().iter()).filter_map(|(id, target)| {
            let machine = &target.machine;
            let lasted = age(machine.since()?);
            let (verdict, is_resumed) = (machine.verdict(), machine.is_resumed());
            Some((id, PastTarget { verdict, lasted, score: target.score.value(), is_resumed }))
        });
        let taken = (0..).zip(self.endpoints().all().iter()).filter_map(|(index, known)| {
            let (down_since, taken) = known.taken()?;
            Some((index, PastTaking { down: age(down_since), away: age(taken) }))
        });
        Past {
            pause: Duration::ZERO,
            targets: targets.collect(),
            taken: taken.collect(),
            doubts: self.settling.suspicion.doubts(now),
            changes_spent: self.settling.guard.spent(&self.settling.safety, now),
        }
    }

    /// Goes on with what was so before the start: verdicts, what was taken away, and the prober's doubts. To be called before the
    /// first observation, and all endpoints are to be settled then. Returns how many targets that is about. That they are up is no
    /// news, so none of them warms up.
    pub fn restore(&mut self, past: &Past, now: Instant) -> usize {
        let then = |age| now.checked_sub(age).unwrap_or(now);
        // What turned down together is what did so while there was someone to see it: the pause lies between nothing and the next.
        let seen = |age: Duration| age.saturating_sub(past.pause);
        let mut restored = 0;
        let mut fallen = Vec::new();
        // While it is unsure, those are remembered that turned down in the window before that.
        let unsure = past.doubts.unsure.map(|(age, _)| age);
        let window = self.settling.safety.self_suspicion.window;
        let remembered = seen(unsure.unwrap_or_default()).saturating_add(window);
        for (id, PastTarget { verdict, lasted, score, is_resumed }) in &past.targets {
            let is_new = self.get(*id).is_some_and(|target| target.machine.since().is_none());
            let Some(target) = self.targets.get_mut(id.index()).filter(|_| is_new && *verdict != Verdict::Unknown)
            else {
                continue;
            };
            target.machine = Machine::restored(*verdict, then(*lasted), *is_resumed);
            target.score = Score::new(*score);
            restored += 1;
            if self.endpoints.of_target(*id).is_empty() {
                continue;
            }
            self.settling.restored(*verdict);
            if *verdict == Verdict::Down && seen(*lasted) <= remembered {
                fallen.push((then(seen(*lasted)), *id));
            }
        }
        fallen.sort();
        self.settling.suspicion = Suspicion::restored(&past.doubts, fallen, now);
        self.doubt_what_fell();
        self.settling.guard = Guard::restored(past.changes_spent, then(past.pause));
        for (index, PastTaking { down, away }) in &past.taken {
            if let Some(known) = self.endpoints.get_mut(*index) {
                known.find(Some(then(*down)));
                // A doubt that lasts has its own beginning; one that is yet to begin goes by what was seen.
                known.rule(Ruling::Taken(then(if unsure.is_some() { *away } else { seen(*away) })));
            }
        }
        restored
    }
}
