//! The one place where snapshots are made and published.
//!
//! Both writers, a reload and a change of health, go through one lock and each makes the next generation, so that an
//! older state can never replace a newer one. Readers never wait: they load an [`ArcSwap`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::{Compiled, Snapshot, TargetId};
use crate::health::{Observation, Table, TargetKey, Transition, Verdict};
use crate::routing::Live;
use crate::routing::live::Standing;

/// Where workers read the current snapshot.
pub type Published = ArcSwap<Snapshot>;

/// Owns the health of all targets and publishes what follows from it.
#[derive(Debug)]
pub struct Publisher {
    published: Arc<Published>,
    table: Mutex<Table>,
}

/// A change of verdict, for people.
#[derive(Debug)]
pub struct Change {
    /// From what to what.
    pub transition: Transition,
    /// What was probed.
    pub target: String,
    /// The endpoints that it concerns, as `pool/region`.
    pub endpoints: Vec<String>,
    /// What the deciding observation said.
    pub reason: String,
}

impl Publisher {
    /// Publishes the first snapshot, with every verdict unknown.
    pub fn new(compiled: Compiled) -> Self {
        let table = Table::default().rebuilt(compiled.targets.iter().cloned());
        let first = snapshot(1, Arc::new(compiled), &table);
        Self { published: Arc::new(ArcSwap::from_pointee(first)), table: Mutex::new(table) }
    }

    /// Where workers read.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// The current snapshot.
    pub fn current(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// The health of all targets. Hold it only to read it out: observations wait meanwhile, queries don't.
    pub fn health(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the configuration, carrying over the health of every target that stays.
    pub fn replace(&self, compiled: Compiled) -> Arc<Snapshot> {
        let mut table = self.health();
        *table = table.rebuilt(compiled.targets.iter().cloned());
        self.store(Arc::new(compiled), &table)
    }

    /// Takes in observations made by `now`, publishes once what follows from all of them, and returns the changes of
    /// verdict. An observation of a target that is gone is dropped.
    pub fn observe(
        &self,
        observations: impl IntoIterator<Item = (Arc<TargetKey>, Observation)>,
        now: Instant,
    ) -> Vec<Change> {
        let mut table = self.health();
        let compiled = Arc::clone(&self.published.load().compiled);
        let mut changes = Vec::new();
        let mut matters = false;
        for (key, observation) in observations {
            let reason = observation.to_string();
            let Some(effect) = table.observe(&key, observation, now) else { continue };
            matters |= effect.matters;
            if let Some(transition) = effect.transition {
                let endpoints = endpoints_of(&compiled, effect.id);
                changes.push(Change { transition, target: key.to_string(), endpoints, reason });
            }
        }
        if matters {
            self.store(compiled, &table);
        }
        changes
    }

    fn store(&self, compiled: Arc<Compiled>, table: &Table) -> Arc<Snapshot> {
        let next = Arc::new(snapshot(self.published.load().generation + 1, compiled, table));
        self.published.store(Arc::clone(&next));
        next
    }
}

fn snapshot(generation: u64, compiled: Arc<Compiled>, table: &Table) -> Snapshot {
    let live = Live::build(&compiled, |id| match table.get(id) {
        Some(target) => Standing {
            verdict: target.machine.verdict(),
            flip_seconds: target.soonest_change().map(|left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX)),
        },
        None => Standing { verdict: Verdict::Unknown, flip_seconds: None },
    });
    Snapshot { generation, compiled, live }
}

fn endpoints_of(compiled: &Compiled, target: TargetId) -> Vec<String> {
    let config = &compiled.config;
    let concerned = compiled.groups.iter().filter(|group| {
        group.endpoints.clone().any(|endpoint| compiled.endpoints[endpoint as usize].target == Some(target))
    });
    concerned
        .map(|group| format!("{}/{}", config.pools[group.pool].name, config.regions[usize::from(group.region)].name))
        .collect()
}
