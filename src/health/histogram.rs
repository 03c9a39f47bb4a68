//! How long things take, counted in fixed buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const BUCKETS: usize = Histogram::BOUNDS.len() + 1;

/// Durations that were counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Durations at most as long as the [`Histogram::BOUNDS`] of the same index and longer than the one before; the last
    /// count is of those above all bounds.
    pub counts: [u64; BUCKETS],
    /// All durations together.
    pub sum: Duration,
}

impl Histogram {
    /// The buckets' upper bounds.
    pub const BOUNDS: [Duration; 12] = [
        Duration::from_millis(1),
        Duration::from_micros(2_500),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2_500),
        Duration::from_secs(10),
    ];

    /// Counts one.
    pub fn record(&mut self, duration: Duration) {
        if let Some(count) = self.counts.get_mut(bucket(duration)) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(duration);
    }
}

/// A [`Histogram`] that many record in at once, without a lock.
#[derive(Debug, Default)]
pub struct SharedHistogram {
    counts: [AtomicU64; BUCKETS],
    sum_nanoseconds: AtomicU64,
}

impl SharedHistogram {
    /// Counts one.
    pub fn record(&self, duration: Duration) {
        if let Some(count) = self.counts.get(bucket(duration)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // Enough for 584 years.
        self.sum_nanoseconds.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn read(&self) -> Histogram {
        let counts = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        Histogram { counts, sum: Duration::from_nanos(self.sum_nanoseconds.load(Ordering::Relaxed)) }
    }
}

fn bucket(duration: Duration) -> usize {
    Histogram::BOUNDS.partition_point(|&bound| bound < duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_both_kinds_count_alike() {
        let (mut own, shared) = (Histogram::default(), SharedHistogram::default());
        for nanoseconds in [0, 1_000_000, 1_000_001, 10_000_000_000, 10_000_000_001] {
            own.record(Duration::from_nanos(nanoseconds));
            shared.record(Duration::from_nanos(nanoseconds));
        }
        assert_eq!(own.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(own.sum, Duration::from_nanos(20_002_000_002));
        assert_eq!(shared.read(), own);
    }
}
