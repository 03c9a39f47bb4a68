//! Wire format only: the bytes of a request → the bytes of its response.

use std::net::IpAddr;
use std::sync::Arc;

use crate::metrics::WorkerCounters;
use crate::snapshot::Snapshot;

/// The largest UDP response that is ever sent, in bytes.
pub const MAX_UDP_RESPONSE: usize = 1232;
/// The largest TCP response, in bytes.
pub const MAX_TCP_RESPONSE: usize = 65_535;

/// What a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams: the response is bounded by what the client takes.
    Udp,
    /// A stream (RFC 7766).
    Tcp,
}

/// What one worker owns: its generator and its counters. Nothing in it is shared for writing.
#[derive(Debug)]
pub struct WorkerContext {
    /// Which of the answer counters' columns is this worker's.
    pub worker: usize,
    /// Draws for weights and shuffles.
    pub rng: fastrand::Rng,
    /// Written by this worker only.
    pub counters: Arc<WorkerCounters>,
}

/// Answers one request. `response` is at least [`MAX_UDP_RESPONSE`] long for UDP and [`MAX_TCP_RESPONSE`] for TCP.
/// Returns the length of the response, or nothing where there must be none (a response, or less than a header).
pub fn respond(
    snapshot: &Snapshot,
    context: &mut WorkerContext,
    request: &[u8],
    peer: IpAddr,
    transport: Transport,
    response: &mut [u8],
) -> Option<usize> {
    let _ = (snapshot, context, peer, transport);
    if request.len() < 12 || request[2] & 0x80 != 0 {
        return None;
    }
    response[..12].copy_from_slice(&request[..12]);
    response[2] = (request[2] & 0x79) | 0x80;
    response[3] = 5;
    response[4..12].fill(0);
    Some(12)
}
