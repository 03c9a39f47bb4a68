//! One request of HTTP and its response, over a connection of its own.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::connect::{Deadline, Stream};
use super::failure::innermost;
use super::{Failure, Phase, Phases};
use crate::config::HttpVersion;

/// The largest head of a response, in bytes; of HTTP/1.1 also what is read ahead of a body.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// What a server may send ahead of a body in HTTP/2, in bytes.
const WINDOW_BYTES: u32 = 64 << 10;

/// A future that is a part of a connection.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection, which does nothing unless something is awaited of it, and ends with this value: no task is left behind
/// where a server never lets go.
struct Connection {
    /// Those of its parts that have not ended.
    tasks: Vec<Task>,
    spawned: Spawned,
}

/// Takes the parts that a connection of HTTP/2 is cut into.
#[derive(Clone, Default)]
struct Spawned(Arc<Mutex<Vec<Task>>>);

impl Spawned {
    fn tasks(&self) -> MutexGuard<'_, Vec<Task>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawned {
    fn execute(&self, future: F) {
        self.tasks().push(Box::pin(future));
    }
}

impl Connection {
    fn new<E>(connection: impl Future<Output = Result<(), E>> + Send + 'static, spawned: Spawned) -> Self {
        // Its errors come to whoever awaits the response or the body.
        let whole: Task = Box::pin(async {
            let _ = connection.await;
        });
        Self { tasks: vec![whole], spawned }
    }

    /// Awaits something that the connection brings about.
    async fn drive<T>(&mut self, awaited: impl Future<Output = T>) -> T {
        let mut awaited = pin!(awaited);
        poll_fn(|context| {
            loop {
                if let Poll::Ready(value) = awaited.as_mut().poll(context) {
                    return Poll::Ready(value);
                }
                self.tasks.append(&mut self.spawned.tasks());
                let before = self.tasks.len();
                self.tasks.retain_mut(|task| task.as_mut().poll(context).is_pending());
                // Whoever waits for a part that has ended was told so without a wake-up of this task.
                if self.tasks.len() == before && self.spawned.tasks().is_empty() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}

/// The body of a response, and the connection that it comes over.
pub(super) struct Body {
    incoming: Incoming,
    connection: Connection,
    /// Some servers give a request up whose client has gone.
    _sender: Sender,
    deadline: Deadline,
}

/// Where requests are put in.
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// Sends the request and waits for the head of its response, which is at most 64 KiB.
///
/// Everything happens while this, or the body, is awaited. Nothing is kept open, and no answer leads to another request.
///
/// # Errors
/// What is wrong with the connection or with what came over it, and a time-out.
pub(super) async fn send(
    stream: Stream,
    version: HttpVersion,
    request: Request<Full<Bytes>>,
    deadline: Deadline,
    phases: &mut Phases,
) -> Result<Response<Body>, Failure> {
    let started = Instant::now();
    let exchange = async {
        let spawned = Spawned::default();
        let stream = TokioIo::new(stream);
        let (mut sender, mut connection) = match version {
            HttpVersion::Http1 => {
                let made = http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(stream).await;
                let (sender, connection) = made.map_err(|error| failure(&error))?;
                (Sender::Http1(sender), Connection::new(connection, spawned))
            }
            HttpVersion::Http2 => {
                let made = http2::Builder::new(spawned.clone())
                    .max_header_list_size(MAX_HEAD_BYTES as u32)
                    .initial_stream_window_size(WINDOW_BYTES)
                    .initial_connection_window_size(WINDOW_BYTES)
                    .handshake(stream)
                    .await;
                let (sender, connection) = made.map_err(|error| failure(&error))?;
                (Sender::Http2(sender), Connection::new(connection, spawned))
            }
        };
        let response = match &mut sender {
            Sender::Http1(sender) => connection.drive(sender.send_request(request)).await,
            Sender::Http2(sender) => connection.drive(sender.send_request(request)).await,
        };
        let response = response.map_err(|error| failure(&error))?;
        Ok(response.map(|incoming| Body { incoming, connection, _sender: sender, deadline }))
    };
    let response = deadline.within(Phase::Response, exchange).await??;
    phases.first_byte = Some(started.elapsed());
    Ok(response)
}

fn failure(error: &hyper::Error) -> Failure {
    Failure::from_causes(error).unwrap_or_else(|| Failure::NotHttp(innermost(error)))
}

impl Body {
    /// The next part of the body, or the trailers after it; nothing at the end.
    ///
    /// # Errors
    /// [`Failure::BodyBroken`], and a time-out.
    pub(super) async fn frame(&mut self) -> Result<Option<Frame<Bytes>>, Failure> {
        let frame = self.deadline.within(Phase::Body, self.connection.drive(self.incoming.frame())).await?;
        frame.transpose().map_err(|error| Failure::BodyBroken(innermost(&error)))
    }
}
