//! DNS messages on a stream, each behind its length (RFC 1035 section 4.2.2): over TCP (RFC 7766) and over TLS (RFC 7858).
//!
//! Queries of a connection are answered in the order in which they come, as soon as they have come, and responses to
//! queries that came together are written together. A connection ends with the idle or write time-out, with a message
//! that can't be answered, when it must make room for a new one, or when the server stops.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use super::LULL;
use super::connections::Ticket;
use super::responder::Responder;
use super::thread::{DRAIN, Stop};

/// What one read takes at least, in bytes, and what an idle connection keeps allocated.
const READ_BYTES: usize = 4096;
/// Responses are written together up to about this size in bytes.
const WRITE_BYTES: usize = 16 * 1024;
/// The length ahead of each message, in bytes.
pub(super) const PREFIX_BYTES: usize = 2;

/// One connection.
pub(super) struct Framed<S> {
    /// Bounds how long writing takes.
    stream: S,
    ticket: Rc<Ticket>,
    responder: Rc<RefCell<Responder>>,
    /// What was read and not yet answered; begins with a length.
    received: Vec<u8>,
    /// Responses, each with its length, not yet written.
    outgoing: Vec<u8>,
}

/// How far [`Framed::answer_some`] came.
enum Progress {
    /// Enough responses for one write; there may be more to answer.
    Full,
    /// No whole query is left.
    Drained,
    /// What follows can't be answered.
    Broken,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    pub(super) fn new(stream: S, ticket: Rc<Ticket>, responder: Rc<RefCell<Responder>>) -> Self {
        Self { stream, ticket, responder, received: Vec::new(), outgoing: Vec::new() }
    }

    /// Answers until the connection has to end.
    pub(super) async fn run(mut self, mut stop: Stop) {
        loop {
            self.make_room();
            let read = tokio::select! {
                biased;
                _ = stop.changed() => return self.finish().await,
                read = timeout_at(self.ticket.idle_deadline(), self.stream.read_buf(&mut self.received)) => read,
            };
            match read {
                Ok(Ok(count)) if count > 0 => {}
                // The client is done, and has all its answers; or it is gone.
                Ok(_) => break,
                Err(_) => {
                    self.ticket.counters().timed_out.increment();
                    break;
                }
            }
            if !self.answer().await {
                return;
            }
            // A client that always has the next query ready would else be served while others wait.
            yield_now().await;
        }
        self.end().await;
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
        self.end().await;
    }

    /// Says that nothing more will come, which inside TLS is more than the end of the stream below.
    async fn end(&mut self) {
        // A client that is gone need not hear it.
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
            self.ticket.note_answer();
        }
        true
    }

    /// Answers queries from the offset `answered` on, which it advances, until there is enough for one write.
    fn answer_some(&mut self, answered: &mut usize) -> Progress {
        let mut responder = self.responder.borrow_mut();
        let mut batch = responder.batch();
        while self.outgoing.len() < WRITE_BYTES {
            let rest = &self.received[*answered..];
            let Some((&length, rest)) = rest.split_first_chunk::<PREFIX_BYTES>() else { return Progress::Drained };
            let Some(request) = rest.get(..usize::from(u16::from_be_bytes(length))) else { return Progress::Drained };
            let Some(response) = batch.respond(request, self.ticket.client, self.ticket.transport) else {
                return Progress::Broken;
            };
            *answered += PREFIX_BYTES + request.len();
            put_framed(response, &mut self.outgoing);
        }
        Progress::Full
    }

    /// Writes all responses made. False where the client is gone or takes too long.
    async fn write(&mut self) -> bool {
        let written = self.stream.write_all(&self.outgoing).await.is_ok() && self.stream.flush().await.is_ok();
        self.outgoing.clear();
        self.outgoing.shrink_to(WRITE_BYTES);
        written
    }
}

/// Appends a response, which is no longer than the length ahead of it can say.
pub(super) fn put_framed(response: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(&(response.len() as u16).to_be_bytes());
    to.extend_from_slice(response);
}
