//! Connections, bounded in number and in time.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

/// The most connections at once.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may stay open, busy or not; a client that has more to ask connects anew.
const LIFETIME: Duration = Duration::from_secs(30);
/// How long a connection may take to send a whole request head, the first or a further one, or to take more of a
/// response.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Accepts connections, where there are too many in place of the one that is idle longest. While all of them have
/// requests at work, a new one waits.
#[derive(Debug)]
pub(super) struct BoundedListener {
    listener: TcpListener,
    connections: Arc<Connections>,
    next_id: u64,
}

impl BoundedListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, connections: Arc::default(), next_id: 0 }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        while !self.connections.make_room() {
            self.connections.changed.notified().await;
        }
        let id = self.next_id;
        self.next_id += 1;
        let now = Instant::now();
        self.connections.lock().insert(id, Open { idle_since: Some(now), task: Waker::noop().clone() });
        let entry = Entry { id, connections: Arc::clone(&self.connections) };
        let timer = Box::pin(sleep_until(now + IDLE_TIMEOUT));
        (Connection { stream, entry, end: now + LIFETIME, timer }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The open connections by their ids. One that had to make room is forgotten, and ends when its task sees that.
#[derive(Debug, Default)]
struct Connections {
    open: Mutex<HashMap<u64, Open>>,
    /// One ended or became idle.
    changed: Notify,
}

#[derive(Debug)]
struct Open {
    /// When it was opened, its last response was ready, or the client last took octets of one. Octets that it sends
    /// don't count until they are a whole head. None while a request is at work.
    idle_since: Option<Instant>,
    /// The task that polled it last.
    task: Waker,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for one more, if need be after ending the one that is idle longest.
    fn make_room(&self) -> bool {
        let mut open = self.lock();
        if open.len() < MAX_CONNECTIONS {
            return true;
        }
        let idle = open.iter().filter_map(|(&id, open)| Some((open.idle_since?, id)));
        let Some(idlest) = idle.min().and_then(|(_, id)| open.remove(&id)) else { return false };
        idlest.task.wake();
        true
    }
}

/// A connection's entry among the open ones, also known to its requests.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    id: u64,
    connections: Arc<Connections>,
}

impl Entry {
    fn set_idle_since(&self, idle_since: Option<Instant>) {
        if let Some(open) = self.connections.lock().get_mut(&self.id) {
            open.idle_since = idle_since;
        }
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Entry {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        stream.io().entry.clone()
    }
}

/// Until this is dropped, a request is at work.
#[derive(Debug)]
struct AtWork(Entry);

impl AtWork {
    fn new(entry: Entry) -> Self {
        entry.set_idle_since(None);
        Self(entry)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.set_idle_since(Some(Instant::now()));
        self.0.connections.changed.notify_one();
    }
}

/// Middleware around all pages: a connection whose request is at work isn't idle.
pub(super) async fn mark_at_work(ConnectInfo(entry): ConnectInfo<Entry>, request: Request, next: Next) -> Response {
    let _at_work = AtWork::new(entry);
    next.run(request).await
}

/// A stream that ends when its time is over, or when it must make room: as though the client had closed it when read,
/// with an error when written.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    entry: Entry,
    /// The end of its lifetime.
    end: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let deadline = {
            let mut open = self.entry.connections.lock();
            let Some(open) = open.get_mut(&self.entry.id) else { return true };
            open.task.clone_from(context.waker());
            open.idle_since.map_or(self.end, |since| self.end.min(since + IDLE_TIMEOUT))
        };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(context).is_ready()
    }

    /// Notes that the client took octets, unless a request is at work, which counts more.
    fn note_progress(&self, written: &Poll<io::Result<usize>>) {
        if !matches!(written, Poll::Ready(Ok(_))) {
            return;
        }
        if let Some(Open { idle_since: Some(since), .. }) = self.entry.connections.lock().get_mut(&self.entry.id) {
            *since = Instant::now();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.entry.connections.lock().remove(&self.entry.id);
        self.entry.connections.changed.notify_one();
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, octets);
        self.note_progress(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_progress(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use std::pin::pin;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::{advance, pause};

    use super::*;

    /// More than a timer's grain.
    const MOMENT: Duration = Duration::from_millis(10);

    async fn listener() -> BoundedListener {
        BoundedListener::new(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    async fn connect(listener: &mut BoundedListener) -> (TcpStream, Connection) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.0)
    }

    fn is_over(connection: &mut Connection) -> bool {
        connection.is_over(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn one_connection_too_many_ends_the_one_idle_longest() {
        let mut listener = listener().await;
        let mut open = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            open.push(connect(&mut listener).await);
        }
        let mut entries = open.iter().map(|(_, connection)| connection.entry.clone());
        let first = AtWork::new(entries.next().unwrap());
        drop(AtWork::new(entries.next().unwrap()));
        drop(entries);
        // The first is at work, and the second was until now.
        open.push(connect(&mut listener).await);
        let over: Vec<_> = open.iter_mut().map(|(_, connection)| is_over(connection)).collect();
        assert_eq!(over.iter().enumerate().filter(|(_, over)| **over).map(|(at, _)| at).collect::<Vec<_>>(), [2]);
        assert_eq!(open[2].1.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(open[2].1.write(b"x").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(first);
    }

    #[tokio::test]
    async fn making_room_wakes_the_one_that_must_go() {
        let mut listener = listener().await;
        let (mut client, mut connection) = connect(&mut listener).await;
        let waiting = tokio::spawn(async move { connection.read(&mut [0; 1]).await.unwrap() });
        tokio::task::yield_now().await;
        let mut others = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            others.push(connect(&mut listener).await);
        }
        pause();
        let asked = Instant::now();
        assert_eq!(waiting.await.unwrap(), 0);
        assert_eq!(asked.elapsed(), Duration::ZERO, "it was woken by its timer");
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn where_all_are_at_work_a_new_one_waits() {
        let mut listener = listener().await;
        let mut open = Vec::new();
        let mut requests = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let (client, connection) = connect(&mut listener).await;
            requests.push(AtWork::new(connection.entry.clone()));
            open.push((client, connection));
        }
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut waiting = pin!(listener.accept());
        for _ in 0..100 {
            assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            tokio::task::yield_now().await;
        }
        requests.pop();
        waiting.await;
        assert!(is_over(&mut open.pop().unwrap().1));
        assert!(!open.iter_mut().any(|(_, connection)| is_over(connection)));
    }

    /// Reads an octet that has been sent, while time stands still: waiting for it would make the time jump.
    async fn read_octet(connection: &mut Connection) {
        let mut octet = [0];
        let mut into = ReadBuf::new(&mut octet);
        let mut context = Context::from_waker(Waker::noop());
        while Pin::new(&mut *connection).poll_read(&mut context, &mut into).is_pending() {
            tokio::task::yield_now().await;
        }
        assert_eq!(into.filled().len(), 1);
    }

    #[tokio::test]
    async fn octets_that_are_no_whole_head_win_no_time() {
        let mut listener = listener().await;
        let (mut client, mut connection) = connect(&mut listener).await;
        client.write_all(b"GET").await.unwrap();
        pause();
        for _ in 0..3 {
            advance(IDLE_TIMEOUT * 3 / 10).await;
            read_octet(&mut connection).await;
        }
        advance(IDLE_TIMEOUT / 10 + MOMENT).await;
        assert!(is_over(&mut connection));
    }

    #[tokio::test]
    async fn each_response_begins_a_new_wait() {
        let mut listener = listener().await;
        let (_client, mut connection) = connect(&mut listener).await;
        pause();
        let request = AtWork::new(connection.entry.clone());
        advance(IDLE_TIMEOUT * 2).await;
        assert!(!is_over(&mut connection));
        drop(request);
        advance(IDLE_TIMEOUT - MOMENT).await;
        assert!(!is_over(&mut connection));
        // What the client takes of the response does so too.
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut connection).poll_write(&mut context, b"x").is_ready());
        advance(IDLE_TIMEOUT - MOMENT).await;
        assert!(!is_over(&mut connection));
        advance(MOMENT * 2).await;
        assert!(is_over(&mut connection));
    }

    #[tokio::test]
    async fn a_lifetime_ends_whatever_is_at_work() {
        let mut listener = listener().await;
        let (_client, mut connection) = connect(&mut listener).await;
        pause();
        let _request = AtWork::new(connection.entry.clone());
        advance(LIFETIME - MOMENT * 10).await;
        assert!(!is_over(&mut connection));
        advance(MOMENT * 11).await;
        assert!(is_over(&mut connection));
    }
}
