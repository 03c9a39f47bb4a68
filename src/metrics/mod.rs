//! What the workers count, and the Prometheus text made of it at a scrape.

/// One worker's counters: written by that worker only, read by the scrape.
#[derive(Debug, Default)]
pub struct WorkerCounters {}
