//! The open connections of one thread: limits in all and for each client network, and who must go for a new one.
//!
//! Plain TCP has a thread, and DNS over TLS, HTTPS and QUIC together have another: the limits of `[server.tcp]` hold for
//! each of the two by itself, so that neither a lock nor a flood of one is the other's.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep_until};

use super::counters::{ConnectionCounters, ServerCounters};
use crate::config::TcpLimits;
use crate::dns::Transport;
use crate::snapshot::Published;

/// Octets of queries that one connection may have begun and not ended, where it can begin many at once: four of the
/// longest ones.
const MAX_UNFINISHED_OCTETS: usize = 4 << 16;

/// The open connections of one thread. No borrow of its cells is held over an `await`.
pub(super) struct Connections {
    /// The limits are those of the configuration that serves: also what clients are told of them (RFC 7828).
    published: Arc<Published>,
    counters: Arc<ServerCounters>,
    table: RefCell<Table>,
}

#[derive(Default)]
struct Table {
    by_id: HashMap<u64, Open>,
    /// How many each client network has.
    per_network: HashMap<IpAddr, usize>,
    next_id: u64,
}

struct Open {
    network: IpAddr,
    transport: Transport,
    activity: Rc<Activity>,
    task: AbortHandle,
}

/// What a connection is doing.
struct Activity {
    /// When its last query was answered, or it was opened. Octets that make no whole query don't count.
    idle_since: Cell<Instant>,
    /// Writes that wait for the client.
    blocked_writes: Cell<usize>,
}

impl Connections {
    pub(super) fn new(published: Arc<Published>, counters: Arc<ServerCounters>) -> Rc<Self> {
        Rc::new(Self { published, counters, table: RefCell::default() })
    }

    /// Those of now.
    pub(super) fn limits(&self) -> TcpLimits {
        self.published.load().compiled.config.server.tcp
    }

    /// Serves a new connection as a task of this thread, if need be in place of the one that is idle longest. At a limit
    /// `serve` is dropped with what it holds of the connection.
    pub(super) fn admit<Serve: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        client: IpAddr,
        transport: Transport,
        serve: impl FnOnce(Rc<Ticket>) -> Serve,
    ) {
        let counters = self.counters.connections(transport);
        counters.accepted.increment();
        let limits = self.limits();
        let network = self.published.load().compiled.config.server.client_network.of(client);
        let mut table = self.table.borrow_mut();
        if table.per_network.get(&network).is_some_and(|open| *open >= limits.connections_per_client) {
            return counters.refused.increment();
        }
        if table.by_id.len() >= limits.connections {
            let Some(idlest) = table.remove_idlest() else { return counters.refused.increment() };
            let counters = self.counters.connections(idlest.transport);
            counters.evicted.increment();
            counters.open.decrement();
            idlest.task.abort();
        }
        let id = table.next_id;
        table.next_id += 1;
        let activity = Rc::new(Activity { idle_since: Cell::new(Instant::now()), blocked_writes: Cell::new(0) });
        let ticket = Rc::new(Ticket {
            id,
            client,
            transport,
            activity: activity.clone(),
            unfinished_octets: Cell::new(0),
            connections: self.clone(),
        });
        let task = spawn_local(serve(ticket)).abort_handle();
        table.insert(id, Open { network, transport, activity, task });
        counters.open.increment();
    }

    /// Whether a further connection needs the place of another.
    pub(super) fn is_full(&self) -> bool {
        self.table.borrow().by_id.len() >= self.limits().connections
    }
}

impl Table {
    fn insert(&mut self, id: u64, open: Open) {
        *self.per_network.entry(open.network).or_default() += 1;
        self.by_id.insert(id, open);
    }

    fn remove(&mut self, id: u64) -> Option<Open> {
        let open = self.by_id.remove(&id)?;
        if let Some(count) = self.per_network.get_mut(&open.network) {
            *count -= 1;
            if *count == 0 {
                self.per_network.remove(&open.network);
            }
        }
        Some(open)
    }

    /// Forgets and returns the connection that waits longest for a query; none if all are being written to.
    fn remove_idlest(&mut self) -> Option<Open> {
        let idle = self.by_id.iter().filter(|(_, open)| open.activity.blocked_writes.get() == 0);
        let (&id, _) = idle.min_by_key(|(id, open)| (open.activity.idle_since.get(), **id))?;
        self.remove(id)
    }
}

/// A connection's place among the open ones, held until it ends.
pub(super) struct Ticket {
    id: u64,
    /// Who opened it.
    pub(super) client: IpAddr,
    pub(super) transport: Transport,
    activity: Rc<Activity>,
    unfinished_octets: Cell<usize>,
    connections: Rc<Connections>,
}

impl Ticket {
    pub(super) fn limits(&self) -> TcpLimits {
        self.connections.limits()
    }

    pub(super) fn counters(&self) -> &ConnectionCounters {
        self.connections.counters.connections(self.transport)
    }

    /// A whole query was answered: the wait for the next one begins.
    pub(super) fn note_answer(&self) {
        self.activity.idle_since.set(Instant::now());
    }

    /// A write waits for the client. Until it ends, the connection isn't idle, and need not make room.
    pub(super) fn begin_blocked_write(&self) {
        self.activity.blocked_writes.update(|count| count + 1);
    }

    /// What waited was taken.
    pub(super) fn end_blocked_write(&self) {
        self.activity.blocked_writes.update(|count| count.saturating_sub(1));
        self.note_answer();
    }

    /// When the connection will have been idle for too long, unless a query comes or a write waits.
    pub(super) fn idle_deadline(&self) -> Instant {
        self.activity.idle_since.get() + self.limits().idle_timeout
    }

    /// Returns once the connection has been idle for too long.
    pub(super) async fn idled(&self) {
        loop {
            let now = Instant::now();
            let deadline = match self.activity.blocked_writes.get() {
                0 => self.idle_deadline(),
                _ => now + self.limits().idle_timeout,
            };
            if deadline <= now {
                return;
            }
            sleep_until(deadline).await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // One that had to make room is forgotten already.
        if self.connections.table.borrow_mut().remove(self.id).is_some() {
            self.counters().open.decrement();
        }
    }
}

/// A query that comes in parts, one of several at once on its connection.
pub(super) struct Unfinished {
    ticket: Rc<Ticket>,
    octets: Vec<u8>,
    max_octets: usize,
}

/// What a query has too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// Octets, for one query.
    Query,
    /// Octets of all unfinished queries of its connection together.
    Connection,
}

impl Unfinished {
    pub(super) fn new(ticket: Rc<Ticket>, max_octets: usize) -> Self {
        Self { ticket, octets: Vec::new(), max_octets }
    }

    /// Takes in the next part.
    pub(super) fn extend(&mut self, part: &[u8]) -> Result<(), Excess> {
        if self.octets.len() + part.len() > self.max_octets {
            return Err(Excess::Query);
        }
        let unfinished = self.ticket.unfinished_octets.get() + part.len();
        if unfinished > MAX_UNFINISHED_OCTETS {
            return Err(Excess::Connection);
        }
        self.ticket.unfinished_octets.set(unfinished);
        self.octets.extend_from_slice(part);
        Ok(())
    }

    /// What has come so far.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.ticket.unfinished_octets.update(|octets| octets.saturating_sub(self.octets.len()));
    }
}
