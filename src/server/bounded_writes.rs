//! Streams whose client has to take what is written within the write time-out.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::connections::Ticket;

/// A stream that fails once what is written hasn't all been taken for the write time-out, counted from where the client
/// first made it wait until the next flush is done. Meanwhile the connection isn't idle.
pub(super) struct BoundedWrites<S> {
    stream: S,
    ticket: Rc<Ticket>,
    /// Runs while something waits.
    blocked: Option<Pin<Box<Sleep>>>,
    /// The time is over, and was counted.
    is_over: bool,
}

impl<S> BoundedWrites<S> {
    pub(super) fn new(stream: S, ticket: Rc<Ticket>) -> Self {
        Self { stream, ticket, blocked: None, is_over: false }
    }

    /// The outcome of a write, unless the time is over. Starts the time where the stream is not ready.
    fn bounded<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_pending() && self.blocked.is_none() {
            self.ticket.begin_blocked_write();
            self.blocked = Some(Box::pin(sleep(self.ticket.limits().write_timeout)));
        }
        if !self.blocked.as_mut().is_some_and(|timer| timer.as_mut().poll(context).is_ready()) {
            return outcome;
        }
        if !std::mem::replace(&mut self.is_over, true) {
            self.ticket.counters().timed_out.increment();
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BoundedWrites<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BoundedWrites<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, octets);
        self.bounded(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.bounded(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        if outcome.is_ready() && self.blocked.take().is_some() {
            self.ticket.end_blocked_write();
        }
        self.bounded(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(context, outcome)
    }
}
