//! Questions by class of clients, counted by each worker for itself.

use std::sync::atomic::{AtomicU32, Ordering};

/// How often clients of each class of one service asked.
#[derive(Debug)]
pub struct Demand {
    classes: usize,
    /// By worker, then by class.
    columns: Box<[Box<[AtomicU32]>]>,
}

impl Demand {
    pub(super) fn new(workers: usize, classes: usize) -> Self {
        let column = || (0..classes).map(|_| AtomicU32::new(0)).collect();
        Self { classes, columns: (0..workers).map(|_| column()).collect() }
    }

    /// Adds one in a worker's own column, modulo 2^32. A worker without a column counts nothing.
    pub fn add(&self, worker: usize, class: usize) {
        if let Some(count) = self.columns.get(worker).and_then(|column| column.get(class)) {
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// The sums over all workers, by class, modulo 2^32.
    pub fn sums(&self) -> Vec<u32> {
        let mut sums = vec![0_u32; self.classes];
        for column in &self.columns {
            for (sum, count) in sums.iter_mut().zip(column) {
                *sum = sum.wrapping_add(count.load(Ordering::Relaxed));
            }
        }
        sums
    }
}
