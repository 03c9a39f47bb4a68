//! What the workers count, and the Prometheus text made of it at a scrape.

mod counters;
pub mod prometheus;
mod tally;

pub use counters::{QTYPES, RCODES, WorkerCounters};
pub use tally::{Tallies, Tally, TallyLabels};
