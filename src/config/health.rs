//! A pool's `health`: what says that its endpoints are well.

/// `probe` or `health`, and `require`: what decides for the endpoints of a pool.
///
/// The inputs' verdicts are combined by [`combine`](crate::health::composite::combine).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolHealth {
    /// What there is to say something, at most [`MAX_INPUTS`]; without any its endpoints count as up.
    pub inputs: Vec<HealthInput>,
    /// What the inputs that count and serve must weigh together: at least 1, at most what all weigh.
    pub required: u64,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthInput {
    /// What it is.
    pub of: InputOf,
    /// How much it counts, 1..=1000; default 1.
    pub weight: u32,
    /// Whether no other can stand in for it; default false.
    pub must_pass: bool,
    /// Whether it is only made and shown; default false.
    pub monitoring_only: bool,
}

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputOf {
    /// A probe of the endpoint: an index into [`Config::probes`](super::Config::probes).
    Probe(usize),
    /// Whether another pool can serve: an index into [`Config::pools`](super::Config::pools). In the endpoint's own region if that pool
    /// has endpoints there, else anywhere. No pools are each other's inputs, directly or through others.
    Pool(usize),
}

/// The most inputs of a pool.
pub const MAX_INPUTS: usize = 16;

impl PoolHealth {
    /// Of one probe alone.
    pub fn of_probe(probe: usize) -> Self {
        let input = HealthInput { of: InputOf::Probe(probe), weight: 1, must_pass: false, monitoring_only: false };
        Self { inputs: vec![input], required: 1 }
    }

    /// The probes among its inputs, as indices into [`Config::probes`](super::Config::probes), in order.
    pub fn probes(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().filter_map(|input| match input.of {
            InputOf::Probe(probe) => Some(probe),
            InputOf::Pool(_) => None,
        })
    }

    /// Those of them that aren't `monitoring_only`.
    pub fn acting_probes(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().filter(|input| !input.monitoring_only).filter_map(|input| match input.of {
            InputOf::Probe(probe) => Some(probe),
            InputOf::Pool(_) => None,
        })
    }

    /// The probe that decides alone: nothing where several inputs count together, or a pool does.
    pub fn only_probe(&self) -> Option<usize> {
        let mut acting = self.inputs.iter().filter(|input| !input.monitoring_only);
        match (acting.next()?.of, acting.next()) {
            (InputOf::Probe(probe), None) => Some(probe),
            _ => None,
        }
    }

    /// The pools among its inputs.
    pub fn pools(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().filter_map(|input| match input.of {
            InputOf::Pool(pool) => Some(pool),
            InputOf::Probe(_) => None,
        })
    }
}
