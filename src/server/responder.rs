//! What answers for all connections of one thread.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arc_swap::Guard;

use super::clock::Clock;
use super::counters::ServerCounters;
use crate::dns::{self, MAX_TCP_RESPONSE, Transport, WorkerContext};
use crate::snapshot::{Published, Snapshot};

/// One thread's worker context, with room for the largest response.
pub(super) struct Responder {
    published: Arc<Published>,
    counters: Arc<ServerCounters>,
    clock: Clock,
    context: WorkerContext,
    response: Box<[u8]>,
}

impl Responder {
    pub(super) fn new(
        published: Arc<Published>,
        counters: Arc<ServerCounters>,
        clock: Clock,
        context: WorkerContext,
    ) -> Self {
        Self { published, counters, clock, context, response: vec![0; MAX_TCP_RESPONSE].into() }
    }

    /// Loads what is published and the time, once for the queries that have come together.
    pub(super) fn batch(&mut self) -> Batch<'_> {
        self.context.set_now(self.clock.now());
        Batch { snapshot: self.published.load(), responder: self }
    }
}

/// Answers from one snapshot. Short-lived: it keeps the snapshot from being freed.
pub(super) struct Batch<'a> {
    snapshot: Guard<Arc<Snapshot>>,
    responder: &'a mut Responder,
}

impl Batch<'_> {
    /// The response, at most [`MAX_TCP_RESPONSE`] octets; nothing where the request is none that is answered.
    pub(super) fn respond(&mut self, request: &[u8], client: IpAddr, transport: Transport) -> Option<&[u8]> {
        let Self { snapshot, responder } = self;
        let Responder { context, response, counters, .. } = &mut **responder;
        let answering = AssertUnwindSafe(|| dns::respond(snapshot, context, request, client, transport, response));
        // The other connections of the thread are not to suffer. What a panic leaves behind is sound at any point.
        let length = catch_unwind(answering).unwrap_or_else(|_| {
            counters.panics.increment();
            None
        })?;
        response.get(..length)
    }
}
