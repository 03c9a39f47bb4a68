//! What happens around answering: the counters of the sockets, not of the queries.

use std::sync::atomic::{AtomicU64, Ordering};

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

    pub(super) fn increment(&self) {
        self.add(1);
    }

    pub(super) fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts of the server's sockets, shared by all its threads. All but `tcp_open` only ever grow.
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
    /// TCP: connections accepted, those refused afterwards included.
    pub tcp_accepted: Counter,
    /// TCP: accept calls that failed.
    pub tcp_accept_errors: Counter,
    /// TCP: connections closed at once because a limit was reached.
    pub tcp_refused: Counter,
    /// TCP: idle connections closed to make room for a new one.
    pub tcp_evicted: Counter,
    /// TCP: connections closed by the idle or the write time-out.
    pub tcp_timed_out: Counter,
    /// TCP: connections open now.
    pub tcp_open: Counter,
    /// Panics that were caught. Each lost the requests of one batch or one connection, and is a defect to report.
    pub panics: Counter,
}
