//! Wire format only: the bytes of a request → the bytes of its response.
//!
//! [`respond()`] answers for every transport, for `explain` and for the tests. It allocates nothing, takes no lock and
//! makes no system call; what it reads is in the [`Snapshot`](crate::snapshot::Snapshot), what it writes to is the caller's.

mod answer;
mod binding;
mod chaos;
mod cookie;
mod edns;
mod encode;
mod explain;
mod query;
mod rate_limit;
mod respond;
#[cfg(test)]
mod tests;
mod text;
mod tsig;

use std::sync::Arc;

pub use answer::MAX_ALIASES;
pub use cookie::{Cookie, CookieSecrets, MAX_SECRETS, Secret, SecretsError};
pub use query::{Edns, Opcode, Query, Rcode, Rejection, Subnet};
pub use rate_limit::RateLimiter;
pub(crate) use rate_limit::Verdict;
pub use respond::respond;
pub use tsig::Tsig;

use crate::metrics::WorkerCounters;
use crate::zone::LookupName;

/// The largest UDP response that can be configured, in octets.
pub const MAX_UDP_RESPONSE: usize = 1400;
/// The largest TCP response, in octets.
pub const MAX_TCP_RESPONSE: usize = 65_535;

/// What a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Transport {
    /// Datagrams: the response is bounded by what the client takes.
    Udp = 0,
    /// A stream (RFC 7766).
    Tcp = 1,
    /// A stream inside TLS (RFC 7858).
    Tls = 2,
    /// HTTP (RFC 8484).
    Https = 3,
    /// QUIC (RFC 9250).
    Quic = 4,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Https, Self::Quic];

    /// Whether nobody on the path can read what is asked and answered.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https | Self::Quic)
    }

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
            Self::Quic => "quic",
        }
    }
}

/// When a request is answered, read by the server once for each batch of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Seconds since 1970, modulo 2^32, which cookies count in (RFC 9018 section 4.3).
    pub unix_seconds: u32,
    /// Microseconds on a clock that never goes back, the same one for all workers.
    pub monotonic_us: u64,
}

/// What one worker owns: its generator, its counters and room to work in. Nothing in it is shared for writing.
#[derive(Debug)]
pub struct WorkerContext {
    /// Which column of the tallies is this worker's.
    worker: usize,
    /// Whether answers move rotations on.
    advance: bool,
    now: Now,
    rng: fastrand::Rng,
    counters: Arc<WorkerCounters>,
    name: LookupName,
}

impl WorkerContext {
    /// A context for the worker of this number, which counts in `counters` and draws from a generator of this seed.
    pub fn new(worker: usize, seed: u64, counters: Arc<WorkerCounters>) -> Self {
        Self {
            worker,
            advance: true,
            now: Now::default(),
            rng: fastrand::Rng::with_seed(seed),
            counters,
            name: LookupName::default(),
        }
    }

    /// Sets the time at which requests are answered from now on.
    pub fn set_now(&mut self, now: Now) {
        self.now = now;
    }

    /// A context that shows what would be answered: nothing is counted and no rotation moves.
    pub fn showing(seed: u64) -> Self {
        Self { advance: false, ..Self::new(usize::MAX, seed, Arc::default()) }
    }
}
