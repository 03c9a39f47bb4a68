//! `[safety]`: what automation may do.

use std::time::Duration;

use super::Target;

/// `[safety]`: limits on what verdicts of probes may take away, and when they are doubted.
#[derive(Debug, Clone, PartialEq)]
pub struct Safety {
    /// The part of a pool's enabled endpoints that may be taken away, 0..=1; default 1.
    pub max_down_share: f64,
    /// Regions of a pool that are left able to serve, if so many are; default 0.
    pub min_healthy_regions: u16,
    /// Endpoints that may be taken away per minute, in all pools, 1..=100000; default without a limit.
    pub max_changes_per_minute: Option<u32>,
    /// `[safety.self_suspicion]`
    pub self_suspicion: SelfSuspicion,
    /// The age up to which stored verdicts are taken up after a restart, 0 (never) to 1 day; default 5 min.
    pub restore_max_age: Duration,
}

/// `[safety.self_suspicion]`: when the prober holds that it is cut off itself.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfSuspicion {
    /// The part of the targets that were up that must turn down within the window, above 0, up to 1; default 0.7. At 1 it never does.
    pub share: f64,
    /// The window, 1 s to 1 h; default 30 s.
    pub window: Duration,
    /// With fewer targets it never does, 2..=100000; default 10.
    pub least: usize,
    /// The longest that it may last, 1 s to 1 day; default 10 min. Then what the probes say is believed.
    pub at_most: Duration,
    /// What is probed to know that: while one of them answers, it is not cut off. At most [`MAX_CANARIES`], default none.
    pub canaries: Vec<Canary>,
}

/// Something that answers whatever happens to the endpoints, such as the next router.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    /// Index into [`Config::probes`](super::Config::probes).
    pub probe: usize,
    /// What is probed.
    pub target: Target,
}

/// The most canaries.
pub const MAX_CANARIES: usize = 16;

impl Safety {
    /// Without the table.
    pub const DEFAULT: Self = Self {
        max_down_share: 1.0,
        min_healthy_regions: 0,
        max_changes_per_minute: None,
        self_suspicion: SelfSuspicion::DEFAULT,
        restore_max_age: Duration::from_secs(300),
    };
}

impl SelfSuspicion {
    /// Without the table.
    pub const DEFAULT: Self = Self {
        share: 0.7,
        window: Duration::from_secs(30),
        least: 10,
        at_most: Duration::from_secs(600),
        canaries: Vec::new(),
    };
}
