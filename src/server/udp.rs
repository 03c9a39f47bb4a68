//! UDP: one blocking thread per socket, a batch of datagrams at a time.

use std::io;
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::LULL;
use super::clock::Clock;
use super::counters::ServerCounters;
use super::failures::Failures;
use super::sys::{Batch, ReplySource, Wait};
use crate::dns::{self, Transport, WorkerContext};
use crate::snapshot::Published;

/// How long datagrams are still answered at most after the word to stop.
const DRAIN: Duration = Duration::from_millis(500);

/// What one thread serves, and what it owns.
pub(super) struct Worker {
    /// Its own socket, one of those that share the address.
    pub(super) socket: Arc<UdpSocket>,
    /// Set before the socket is shut down for reading, which wakes the thread.
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) published: Arc<Published>,
    pub(super) counters: Arc<ServerCounters>,
    pub(super) clock: Clock,
    pub(super) context: WorkerContext,
}

impl Worker {
    /// Answers until told to stop, then until there is a lull. No error ends it.
    pub(super) fn run(mut self) {
        let wildcard = self.socket.local_addr().is_ok_and(|address| address.ip().is_unspecified());
        let mut batch = Batch::new(if wildcard { ReplySource::Asked } else { ReplySource::Bound });
        let mut failures = Failures::default();
        while !self.stopping.load(Ordering::Relaxed) {
            match batch.receive(&self.socket, Wait::ForOne) {
                Ok(()) => {
                    failures.clear();
                    self.answer(&mut batch);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.counters.udp_receive_errors.increment();
                    thread::sleep(failures.record("receiving UDP", &error, Instant::now()));
                }
            }
        }
        let told = Instant::now();
        let mut last_come = told;
        while last_come.elapsed() < LULL && told.elapsed() < DRAIN {
            if batch.receive(&self.socket, Wait::No).is_ok() {
                self.answer(&mut batch);
                last_come = Instant::now();
            } else {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn answer(&mut self, batch: &mut Batch) {
        let Worker { published, counters, clock, context, .. } = self;
        let mut truncated = 0;
        let answering = AssertUnwindSafe(|| {
            // Once per batch and after the wait: every answer is at least as new as its question, and a worker
            // without work keeps no old snapshot alive.
            let snapshot = published.load();
            context.set_now(clock.now());
            batch.answer(|datagram| {
                truncated += usize::from(datagram.truncated);
                let peer = datagram.peer.ip();
                dns::respond(&snapshot, context, datagram.request, peer, Transport::Udp, datagram.response)
            });
        });
        // A thread that ended would leave its share of the address's clients without answers. What it leaves behind
        // is sound at any point: counters, a generator, and a batch of which the answers so far are sent.
        if catch_unwind(answering).is_err() {
            counters.panics.increment();
        }
        counters.udp_truncated.add(truncated);
        let sent = batch.send(&self.socket);
        counters.udp_send_errors.add(sent.refused);
        counters.udp_dropped.add(sent.dropped);
    }
}
