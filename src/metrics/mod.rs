//! What the workers count, and the Prometheus text made of it at a scrape.

mod counters;
mod demand;
pub mod prometheus;
mod tally;

pub use counters::{QTYPES, RCODES, WorkerCounters};
pub use demand::Demand;
pub use tally::{Tallies, Tally, TallyLabels};
