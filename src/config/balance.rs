//! How endpoints are picked inside a region, as configured.

use std::time::Duration;

/// How endpoints are picked inside the region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Balance {
    /// By weight, at random.
    Weighted,
    /// In turn; weights only tell drained from not.
    RoundRobin,
    /// Evenly at random; weights only tell drained from not.
    Random,
    /// By weight, at the place that the client's prefix has on the line of all weights.
    IpHash,
    /// By weight, so that a client keeps its endpoint as long as that one and what it weighs stay.
    ConsistentHash,
    /// By weight, less where more connections are open.
    LeastConnections,
    /// By weight, less where requests take longer.
    LeastResponseTime,
    /// The less busy of two that are drawn by weight.
    PowerOfTwo,
    /// By weight and by the room that is left.
    ResourceAware,
    /// By a score of response time, errors, load and weight.
    Performance(Performance),
    /// By another of these, as what is seen of the endpoints asks for.
    Adaptive(Adaptive),
}

impl Balance {
    /// Each, with these settings where there are some.
    pub fn all(performance: Performance, adaptive: Adaptive) -> [Self; 11] {
        [
            Self::Weighted,
            Self::RoundRobin,
            Self::Random,
            Self::IpHash,
            Self::ConsistentHash,
            Self::LeastConnections,
            Self::LeastResponseTime,
            Self::PowerOfTwo,
            Self::ResourceAware,
            Self::Performance(performance),
            Self::Adaptive(adaptive),
        ]
    }

    /// As the configuration has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weighted => "weighted",
            Self::RoundRobin => "round-robin",
            Self::Random => "random",
            Self::IpHash => "ip-hash",
            Self::ConsistentHash => "consistent-hash",
            Self::LeastConnections => "least-connections",
            Self::LeastResponseTime => "least-response-time",
            Self::PowerOfTwo => "power-of-two",
            Self::ResourceAware => "resource-aware",
            Self::Performance(_) => "performance",
            Self::Adaptive(_) => "adaptive",
        }
    }

    /// Whether it looks at how busy endpoints are.
    pub fn reads_load(self) -> bool {
        match self {
            Self::Weighted | Self::RoundRobin | Self::Random | Self::IpHash | Self::ConsistentHash => false,
            Self::LeastConnections
            | Self::LeastResponseTime
            | Self::PowerOfTwo
            | Self::ResourceAware
            | Self::Performance(_)
            | Self::Adaptive(_) => true,
        }
    }

    /// Whether a client gets the same endpoints again whatever `sticky` says.
    pub fn is_hash(self) -> bool {
        matches!(self, Self::IpHash | Self::ConsistentHash)
    }
}

/// `[services.NAME.performance]`: what counts how much in the score; each 0 or more, together 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Performance {
    /// How near the response time is to the best; default 0.4.
    pub response_time: f64,
    /// The part of requests that don't fail; default 0.3.
    pub errors: f64,
    /// The part of the resources that is free; default 0.2.
    pub load: f64,
    /// How near the weight is to the largest; default 0.1.
    pub weight: f64,
}

impl Performance {
    /// What counts where nothing is said.
    pub const DEFAULT: Self = Self { response_time: 0.4, errors: 0.3, load: 0.2, weight: 0.1 };
}

/// `[services.NAME.adaptive]`: when which balance is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adaptive {
    /// What is chosen whatever is seen.
    pub choice: Option<AdaptiveChoice>,
    /// From which mean utilization on connections count, above 0 up to 1; default 0.75.
    pub high_load: f64,
    /// From which ratio of the largest weight to the smallest on weights count, above 1 up to 1,000; default 2.
    pub uneven: f64,
    /// From which ratio of the slowest response to the median on response times count, above 1 up to 1,000; default 3.
    pub slow_tail: f64,
    /// How long a choice is kept at least, 0 s to 1 h; default 30 s.
    pub hold: Duration,
}

impl Adaptive {
    /// What holds where nothing is said.
    pub const DEFAULT: Self =
        Self { choice: None, high_load: 0.75, uneven: 2.0, slow_tail: 3.0, hold: Duration::from_secs(30) };
}

/// What `adaptive` chooses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdaptiveChoice {
    /// [`Balance::LeastConnections`]
    LeastConnections,
    /// [`Balance::Weighted`]
    Weighted,
    /// [`Balance::LeastResponseTime`]
    LeastResponseTime,
    /// [`Balance::RoundRobin`]
    RoundRobin,
}

impl AdaptiveChoice {
    /// All of them, in the order in which they are looked at.
    pub const ALL: [Self; 4] = [Self::LeastConnections, Self::Weighted, Self::LeastResponseTime, Self::RoundRobin];

    /// The balance that it is.
    pub fn balance(self) -> Balance {
        match self {
            Self::LeastConnections => Balance::LeastConnections,
            Self::Weighted => Balance::Weighted,
            Self::LeastResponseTime => Balance::LeastResponseTime,
            Self::RoundRobin => Balance::RoundRobin,
        }
    }
}

/// In which order several endpoints of one answer come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerOrder {
    /// As they were picked.
    Shuffled,
    /// As in the file.
    Fixed,
}

/// Within which prefix clients are one, where a choice sticks to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sticky {
    /// Bits of an IPv4 address, 1..=32.
    pub v4: u8,
    /// Bits of an IPv6 address, 1..=128.
    pub v6: u8,
}

impl Sticky {
    /// What `sticky = true` means: the longest subnets that resolvers tell of (RFC 7871 section 11.1).
    pub const DEFAULT: Self = Self { v4: 24, v6: 56 };
}
