//! Everything that a query may read, compiled, immutable, by index.

/// What the workers answer from; published whole.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts publications; a later one is always greater.
    pub generation: u64,
}

/// The one place where a snapshot is published to the workers.
pub type Published = arc_swap::ArcSwap<Snapshot>;
