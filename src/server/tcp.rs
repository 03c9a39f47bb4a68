//! TCP (RFC 7766): one thread for all connections, so that its worker context needs no lock.
//!
//! Queries of a connection are answered in the order in which they come. A connection ends with the idle or write
//! time-out, with a message that can't be answered, when it must make room for a new one, or when the server stops.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio::time::{Instant, timeout, timeout_at};

use super::LULL;
use super::clock::Clock;
use super::counters::ServerCounters;
use super::failures::Failures;
use crate::config::TcpLimits;
use crate::dns::{self, MAX_TCP_RESPONSE, Transport, WorkerContext};
use crate::snapshot::Published;

/// How long connections may take to end after the word to stop.
const DRAIN: Duration = Duration::from_secs(1);
/// What one read takes at least, in bytes, and what an idle connection keeps allocated.
const READ_BYTES: usize = 4096;
/// Responses are written together up to about this size in bytes.
const WRITE_BYTES: usize = 16 * 1024;
/// The length ahead of each message (RFC 1035 section 4.2.2), in bytes.
const PREFIX_BYTES: usize = 2;

/// What the thread needs.
pub(super) struct Settings {
    pub(super) published: Arc<Published>,
    pub(super) limits: TcpLimits,
    pub(super) counters: Arc<ServerCounters>,
    pub(super) clock: Clock,
    pub(super) context: WorkerContext,
    /// Becomes true, or loses its sender, to stop.
    pub(super) stop: watch::Receiver<bool>,
}

/// Starts the thread, which accepts from all listeners until told to stop.
///
/// # Errors
/// Where the system grants no thread or no descriptor for it.
pub(super) fn spawn(listeners: Vec<std::net::TcpListener>, settings: Settings) -> io::Result<JoinHandle<()>> {
    // The runtime is made, and dropped, on the thread: the caller may be in another one.
    let (ready, started) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("tcp".to_owned()).spawn(move || {
        let outcome = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
            let _entered = runtime.enter();
            let listeners: io::Result<Vec<_>> = listeners.into_iter().map(TcpListener::from_std).collect();
            Ok((listeners?, runtime))
        });
        match outcome {
            Ok((listeners, runtime)) => {
                let _ = ready.send(Ok(()));
                runtime.block_on(serve(listeners, settings));
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    })?;
    started.recv().unwrap_or_else(|_| Err(io::Error::other("the TCP thread ended at its start")))?;
    Ok(thread)
}

async fn serve(listeners: Vec<TcpListener>, settings: Settings) {
    let Settings { published, limits, counters, clock, context, mut stop } = settings;
    let responder = Responder { clock, context, response: vec![0; PREFIX_BYTES + MAX_TCP_RESPONSE].into() };
    let server = Rc::new(Server {
        published,
        limits,
        counters,
        responder: RefCell::new(responder),
        connections: RefCell::default(),
    });
    let mut tasks = LocalSet::new();
    for listener in listeners {
        tasks.spawn_local(accept(server.clone(), listener, stop.clone()));
    }
    tokio::select! {
        _ = stop.changed() => {}
        () = &mut tasks => {}
    }
    let _ = timeout(DRAIN, tasks).await;
}

async fn accept(server: Rc<Server>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let mut failures = Failures::default();
    loop {
        let pause = tokio::select! {
            biased;
            _ = stop.changed() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    failures.clear();
                    server.admit(stream, peer, &stop);
                    continue;
                }
                Err(error) => {
                    server.counters.tcp_accept_errors.increment();
                    failures.record("accepting TCP", &error, std::time::Instant::now())
                }
            }
        };
        let _ = timeout(pause, stop.changed()).await;
        if *stop.borrow() {
            return;
        }
    }
}

/// What the tasks of the thread share. No borrow of its cells is held over an `await`.
struct Server {
    published: Arc<Published>,
    limits: TcpLimits,
    counters: Arc<ServerCounters>,
    responder: RefCell<Responder>,
    connections: RefCell<Connections>,
}

struct Responder {
    clock: Clock,
    context: WorkerContext,
    /// The largest response with its length ahead.
    response: Box<[u8]>,
}

/// The open connections.
#[derive(Default)]
struct Connections {
    by_id: HashMap<u64, Open>,
    /// How many each client has: by address, so an IPv6 client with a whole network may have as many for each.
    per_client: HashMap<IpAddr, usize>,
    next_id: u64,
}

struct Open {
    client: IpAddr,
    activity: Rc<Activity>,
    task: AbortHandle,
}

/// What a connection is doing.
struct Activity {
    /// When its last query was answered, or it was opened. Bytes that make no whole query don't count.
    idle_since: Cell<Instant>,
    /// It is answering or writing.
    busy: Cell<bool>,
}

impl Server {
    /// Serves a new connection, if need be in place of the one that is idle longest, or closes it.
    fn admit(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, stop: &watch::Receiver<bool>) {
        self.counters.tcp_accepted.increment();
        let client = peer.ip();
        let mut connections = self.connections.borrow_mut();
        let of_client = connections.per_client.get(&client).copied().unwrap_or(0);
        if of_client >= self.limits.connections_per_client {
            self.counters.tcp_refused.increment();
            return;
        }
        if connections.by_id.len() >= self.limits.connections {
            let Some(idlest) = connections.remove_idlest() else {
                self.counters.tcp_refused.increment();
                return;
            };
            self.counters.tcp_evicted.increment();
            self.counters.tcp_open.decrement();
            idlest.abort();
        }
        let id = connections.next_id;
        connections.next_id += 1;
        let activity = Rc::new(Activity { idle_since: Cell::new(Instant::now()), busy: Cell::new(false) });
        let connection = Connection {
            id,
            client,
            server: self.clone(),
            stream,
            activity: activity.clone(),
            received: Vec::new(),
            outgoing: Vec::new(),
        };
        let task = spawn_local(connection.run(stop.clone())).abort_handle();
        connections.insert(id, Open { client, activity, task });
        self.counters.tcp_open.increment();
    }
}

impl Connections {
    fn insert(&mut self, id: u64, open: Open) {
        *self.per_client.entry(open.client).or_default() += 1;
        self.by_id.insert(id, open);
    }

    fn remove(&mut self, id: u64) -> Option<Open> {
        let open = self.by_id.remove(&id)?;
        if let Some(count) = self.per_client.get_mut(&open.client) {
            *count -= 1;
            if *count == 0 {
                self.per_client.remove(&open.client);
            }
        }
        Some(open)
    }

    /// Forgets the connection that waits longest for a query, and returns its task; none if all are busy.
    fn remove_idlest(&mut self) -> Option<AbortHandle> {
        let idle = self.by_id.iter().filter(|(_, open)| !open.activity.busy.get());
        let (&id, _) = idle.min_by_key(|(id, open)| (open.activity.idle_since.get(), **id))?;
        self.remove(id).map(|open| open.task)
    }
}

struct Connection {
    id: u64,
    client: IpAddr,
    server: Rc<Server>,
    stream: TcpStream,
    activity: Rc<Activity>,
    /// What was read and not yet answered; begins with a length.
    received: Vec<u8>,
    /// Responses, each with its length, not yet written.
    outgoing: Vec<u8>,
}

/// How far [`Connection::answer_some`] came.
enum Progress {
    /// Enough responses for one write; there may be more to answer.
    Full,
    /// No whole query is left.
    Drained,
    /// What follows can't be answered.
    Broken,
}

impl Connection {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            self.make_room();
            let deadline = self.activity.idle_since.get() + self.server.limits.idle_timeout;
            let read = tokio::select! {
                biased;
                _ = stop.changed() => return self.finish().await,
                read = timeout_at(deadline, self.stream.read_buf(&mut self.received)) => read,
            };
            match read {
                Ok(Ok(count)) if count > 0 => {}
                // The client is done, and has all its answers; or it is gone.
                Ok(_) => return,
                Err(_) => return self.server.counters.tcp_timed_out.increment(),
            }
            if !self.answer().await {
                return;
            }
        }
    }

    /// Answers what still comes until there is a lull, and ends the stream in order.
    async fn finish(mut self) {
        let last_read = Instant::now() + DRAIN / 2;
        loop {
            self.make_room();
            // Not `try_read`, which knows only what the runtime has been told, and misses what has just come.
            let lull = last_read.min(Instant::now() + LULL);
            match timeout_at(lull, self.stream.read_buf(&mut self.received)).await {
                Ok(Ok(count)) if count > 0 => {}
                _ => break,
            }
            if !self.answer().await {
                return;
            }
        }
        let _ = self.stream.shutdown().await;
    }

    /// Makes room for one read. Between queries, what a long one needed is given back.
    fn make_room(&mut self) {
        if self.received.is_empty() {
            self.received.shrink_to(READ_BYTES);
        }
        self.received.reserve(READ_BYTES);
    }

    /// Answers every whole query received. False where the connection must be closed.
    async fn answer(&mut self) -> bool {
        self.activity.busy.set(true);
        let mut answered = 0;
        loop {
            let progress = self.answer_some(&mut answered);
            if !self.outgoing.is_empty() && !self.write().await {
                return false;
            }
            match progress {
                Progress::Full => {}
                Progress::Drained => break,
                Progress::Broken => return false,
            }
        }
        if answered > 0 {
            self.received.drain(..answered);
            self.activity.idle_since.set(Instant::now());
        }
        self.activity.busy.set(false);
        true
    }

    /// Answers queries from the offset `answered` on, which it advances, until there is enough for one write.
    fn answer_some(&mut self, answered: &mut usize) -> Progress {
        let mut responder = self.server.responder.borrow_mut();
        let Responder { clock, context, response } = &mut *responder;
        context.set_now(clock.now());
        let (prefix, message) = response.split_at_mut(PREFIX_BYTES);
        let snapshot = self.server.published.load();
        while self.outgoing.len() < WRITE_BYTES {
            let rest = &self.received[*answered..];
            let Some((&length, rest)) = rest.split_first_chunk() else { return Progress::Drained };
            let length = usize::from(u16::from_be_bytes(length));
            let Some(request) = rest.get(..length) else { return Progress::Drained };
            let Some(length) = dns::respond(&snapshot, context, request, self.client, Transport::Tcp, message) else {
                return Progress::Broken;
            };
            *answered += PREFIX_BYTES + request.len();
            // The response's length fits, as its buffer is no longer than the prefix can say.
            prefix.copy_from_slice(&(length as u16).to_be_bytes());
            self.outgoing.extend_from_slice(prefix);
            self.outgoing.extend_from_slice(&message[..length]);
        }
        Progress::Full
    }

    /// Writes all responses made. False where the client is gone or takes too long.
    async fn write(&mut self) -> bool {
        match timeout(self.server.limits.write_timeout, self.stream.write_all(&self.outgoing)).await {
            Ok(Ok(())) => {
                self.outgoing.clear();
                self.outgoing.shrink_to(WRITE_BYTES);
                true
            }
            Ok(Err(_)) => false,
            Err(_) => {
                self.server.counters.tcp_timed_out.increment();
                false
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if thread::panicking() {
            self.server.counters.panics.increment();
        }
        // One that had to make room is forgotten already.
        if self.server.connections.borrow_mut().remove(self.id).is_some() {
            self.server.counters.tcp_open.decrement();
        }
    }
}
