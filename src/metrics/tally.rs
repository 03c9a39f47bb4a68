//! Answers by service, pool and region: one column per worker, alive as long as any snapshot counts in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Demand;

/// One number, counted by each worker in a cache line of its own.
#[derive(Debug)]
pub struct Tally {
    columns: Box<[Column]>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Column(AtomicU64);

impl Tally {
    fn new(workers: usize) -> Self {
        Self { columns: (0..workers).map(|_| Column::default()).collect() }
    }

    /// Adds one in a worker's own column. A worker without a column, as those that only show a decision, counts nothing.
    pub fn add(&self, worker: usize) {
        if let Some(Column(count)) = self.columns.get(worker) {
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// The sum over all workers.
    pub fn sum(&self) -> u64 {
        self.columns.iter().map(|Column(count)| count.load(Ordering::Relaxed)).sum()
    }
}

/// What a tally counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TallyLabels {
    /// The service's name.
    pub service: String,
    /// The pool's name.
    pub pool: String,
    /// The region's name.
    pub region: String,
}

/// All tallies by what they count, so that a reload goes on counting where it was.
#[derive(Debug)]
pub struct Tallies {
    workers: usize,
    answers: BTreeMap<TallyLabels, Arc<Tally>>,
    all_down: BTreeMap<String, Arc<Tally>>,
    demand: BTreeMap<(String, u64), Arc<Demand>>,
}

impl Tallies {
    /// Tallies with a column for each of this many workers.
    pub fn new(workers: usize) -> Self {
        Self { workers, answers: BTreeMap::new(), all_down: BTreeMap::new(), demand: BTreeMap::new() }
    }

    /// The tally of answers from one group.
    pub fn get(&mut self, labels: TallyLabels) -> Arc<Tally> {
        let workers = self.workers;
        Arc::clone(self.answers.entry(labels).or_insert_with(|| Arc::new(Tally::new(workers))))
    }

    /// The tally of a service's answers while nothing was healthy.
    pub fn all_down(&mut self, service: &str) -> Arc<Tally> {
        let workers = self.workers;
        Arc::clone(self.all_down.entry(service.to_owned()).or_insert_with(|| Arc::new(Tally::new(workers))))
    }

    /// What the classes of a service ask for; `identity` tells classes apart that are others.
    pub fn demand(&mut self, service: &str, identity: u64, classes: usize) -> Arc<Demand> {
        let workers = self.workers;
        let demand = self.demand.entry((service.to_owned(), identity));
        Arc::clone(demand.or_insert_with(|| Arc::new(Demand::new(workers, classes))))
    }

    /// Forgets what no snapshot counts in any more, so that names that come and go take no more room.
    pub fn forget_unused(&mut self) {
        self.answers.retain(|_, tally| Arc::strong_count(tally) > 1);
        self.all_down.retain(|_, tally| Arc::strong_count(tally) > 1);
        self.demand.retain(|_, demand| Arc::strong_count(demand) > 1);
    }
}
