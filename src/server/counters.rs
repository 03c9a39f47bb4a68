//! What happens around answering: the counters of the sockets, not of the queries.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::dns::Transport;

/// One event's count, or how many there are of something now. Relaxed: each is read on its own.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, count: usize) {
        if count > 0 {
            self.0.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(super) fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts of the server's sockets, shared by all its threads.
///
/// UDP workers write here only when something goes wrong, so the cores share no line of cache while all is well.
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// UDP: receive calls that failed.
    pub udp_receive_errors: Counter,
    /// UDP: requests longer than [`MAX_REQUEST_BYTES`](super::MAX_REQUEST_BYTES), of which only the beginning was read.
    pub udp_truncated: Counter,
    /// UDP: responses that the kernel refused to send (no route, a firewall's rule, an address that is gone).
    pub udp_send_errors: Counter,
    /// UDP: responses dropped because the send queue was full.
    pub udp_dropped: Counter,
    /// QUIC: clients told to try again with a token, which proves their address (RFC 9000 section 8.1.2).
    pub quic_retries: Counter,
    /// Panics that were caught, in the background too. Each lost the requests of one batch or one connection, or some work, and is a
    /// defect to report.
    pub panics: Counter,
    connections: [ConnectionCounters; Transport::ALL.len()],
}

impl ServerCounters {
    /// The connections of a transport; UDP has none.
    pub fn connections(&self, transport: Transport) -> &ConnectionCounters {
        &self.connections[transport as usize]
    }
}

/// Counts of one transport's connections. All but `open` only ever grow.
#[derive(Debug, Default)]
pub struct ConnectionCounters {
    /// Connections accepted.
    pub accepted: Counter,
    /// Accept calls that failed.
    pub accept_errors: Counter,
    /// QUIC connections refused because too many that have ended are still in memory.
    pub refused: Counter,
    /// Connections closed to make room for a new one.
    pub evicted: Counter,
    /// Connections closed because the handshake, a query or the acceptance of a response took too long.
    pub timed_out: Counter,
    /// TLS and QUIC handshakes that failed, but for those that took too long.
    pub handshake_failures: Counter,
    /// Connections open now, those in handshake included.
    pub open: Counter,
}
