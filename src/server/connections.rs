//! The open connections of one thread: limits in all and for each client network, and who must go for a new one.
//!
//! Plain TCP has a thread, and DNS over TLS, HTTPS and QUIC together have another: the limits of `[server.tcp]` hold for
//! each of the two by itself, so that neither a lock nor a flood of one is the other's.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
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
/// Octets of responses that the client of one connection may have yet to take, where they can be many at once: four of
/// the longest ones.
const MAX_UNTAKEN_OCTETS: usize = 4 << 16;

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
    /// When it last made progress: it was opened, a query was answered, or a write began or ceased to wait. Octets that
    /// make no whole query don't count.
    since: Cell<Instant>,
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

    /// Serves a new connection as a task of this thread, at a limit in place of another: of its own client network where
    /// that has as many as it may, else of the network that has most.
    pub(super) fn admit<Serve: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        client: IpAddr,
        transport: Transport,
        serve: impl FnOnce(Rc<Ticket>) -> Serve,
    ) {
        let counters = self.counters.connections(transport);
        counters.accepted.increment();
        let limits = self.limits();
        let network = self.network(client);
        let mut table = self.table.borrow_mut();
        while let Some(evicted) = table.make_room(network, &limits) {
            let counters = self.counters.connections(evicted.transport);
            counters.evicted.increment();
            counters.open.decrement();
            evicted.task.abort();
        }
        let id = table.next_id;
        table.next_id += 1;
        let activity = Rc::new(Activity { since: Cell::new(Instant::now()), blocked_writes: Cell::new(0) });
        let ticket = Rc::new(Ticket {
            id,
            client,
            transport,
            activity: activity.clone(),
            unfinished_octets: Cell::new(0),
            untaken_octets: Cell::new(0),
            connections: self.clone(),
        });
        let task = spawn_local(serve(ticket)).abort_handle();
        table.insert(id, Open { network, transport, activity, task });
        counters.open.increment();
    }

    /// Whether a further connection of this client needs the place of another.
    pub(super) fn is_full(&self, client: IpAddr) -> bool {
        let network = self.network(client);
        self.table.borrow().full(network, &self.limits()).is_some()
    }

    fn network(&self, client: IpAddr) -> IpAddr {
        self.published.load().compiled.config.server.client_network.of(client)
    }
}

/// What has as many connections as it may.
enum Full {
    /// The new client's network.
    Network,
    /// The whole table.
    Table,
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

    /// What keeps a further connection of `network` from a place of its own.
    fn full(&self, network: IpAddr, limits: &TcpLimits) -> Option<Full> {
        if self.open_of(network) >= limits.connections_per_client {
            return Some(Full::Network);
        }
        (self.by_id.len() >= limits.connections).then_some(Full::Table)
    }

    /// Forgets and returns a connection that has to go for a new one of `network`; none where there is room. Of those
    /// that may be taken it is the one that made no progress for longest, whether it waits for a query or for its client
    /// to read: else those who read nothing would keep everyone else out.
    fn make_room(&mut self, network: IpAddr, limits: &TcpLimits) -> Option<Open> {
        let full = self.full(network, limits)?;
        let candidates = self.by_id.iter().filter_map(|(&id, open)| match full {
            Full::Network if open.network != network => None,
            _ => Some((Reverse(self.open_of(open.network)), open.activity.since.get(), id)),
        });
        let (.., id) = candidates.min()?;
        self.remove(id)
    }

    fn open_of(&self, network: IpAddr) -> usize {
        self.per_network.get(&network).copied().unwrap_or_default()
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
    untaken_octets: Cell<usize>,
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
        self.activity.since.set(Instant::now());
    }

    /// A write waits for the client. Until it ends, the connection isn't idle.
    pub(super) fn begin_blocked_write(&self) {
        if self.activity.blocked_writes.replace(self.activity.blocked_writes.get() + 1) == 0 {
            self.activity.since.set(Instant::now());
        }
    }

    /// What waited was taken.
    pub(super) fn end_blocked_write(&self) {
        self.activity.blocked_writes.update(|count| count.saturating_sub(1));
        self.note_answer();
    }

    /// When the connection will have been idle for too long, unless a query comes or a write waits.
    pub(super) fn idle_deadline(&self) -> Instant {
        self.activity.since.get() + self.limits().idle_timeout
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

/// A response that the client has yet to take, one of several at once on its connection.
pub(super) struct Untaken {
    ticket: Rc<Ticket>,
    octets: Vec<u8>,
}

impl Untaken {
    /// Counts the response until it is dropped. None where its connection has too much of them.
    pub(super) fn new(ticket: Rc<Ticket>, octets: Vec<u8>) -> Option<Self> {
        let untaken = ticket.untaken_octets.get() + octets.len();
        if untaken > MAX_UNTAKEN_OCTETS {
            return None;
        }
        ticket.untaken_octets.set(untaken);
        Some(Self { ticket, octets })
    }
}

impl AsRef<[u8]> for Untaken {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        self.ticket.untaken_octets.update(|octets| octets.saturating_sub(self.octets.len()));
    }
}
