//! The HTTP interface: metrics, liveness, health and explanations; and loads, heartbeats and round trips, which it takes in.
//!
//! | path | shows |
//! |---|---|
//! | `/` | what there is |
//! | `/metrics` | Prometheus text |
//! | `/livez` | 200 while the process answers |
//! | `/readyz` | 200 from the first answer on, 503 while it stops |
//! | `/api/v1/explain?name=&type=&client=` | one decision, with its reasons |
//! | `/api/v1/health` | every endpoint and what is known of it |
//! | `/api/v1/history?subject=&limit=` | what became of endpoints of late |
//! | `POST /api/v1/reports` | takes what others measured of endpoints |
//! | `POST /api/v1/heartbeats` | takes what endpoints say of themselves |
//! | `/api/v1/overrides` | what operators say; takes more in, and takes it back |
//! | `/api/v1/overrides/audit` | what they said of late |
//! | `POST /api/v1/resume` | lets what is held down come up |
//! | `/api/v1/latency` | which round trips are known; takes more in |
//!
//! Bounds: 64 connections, a further one ends the one that is idle longest; a connection lives 30 s at most, and is
//! given 5 s for each whole request head; two pages are made at a time; a head is of hyper's limit at most, about
//! 400 KiB. With a token all but `/livez` and `/readyz` needs it; without one nothing is taken. What is taken has a body of at
//! most 1 MiB (reports, heartbeats, overrides) or 4 MiB (round trips); no other body is read.

mod api;
mod connection;
mod heartbeats;
mod latency;
mod outcome;
pub mod overrides;
mod reports;
mod token;
pub mod view;
mod write;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use tokio::sync::{Semaphore, oneshot};
use tracing::error;

pub use token::{Token, TokenError};

use crate::config;
use crate::metrics::WorkerCounters;
use crate::operator::Operator;
use crate::reload::Reloader;
use crate::server::ServerCounters;
use connection::{BoundedListener, Entry};

/// The socket, and the token that requests must carry: all that may need the privileges that a server starts with.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    token: Option<Token>,
}

/// Why the interface can't be offered.
#[derive(Debug)]
pub enum BindError {
    /// Its address can't be listened on.
    Address(SocketAddr, io::Error),
    /// Its token can't be used.
    Token(TokenError),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address, error) => {
                write!(f, "the admin interface can't listen on {address}: {error}")?;
                match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        f.write_str("; another process serves there: stop it, or set another `listen` in [admin]")
                    }
                    io::ErrorKind::AddrNotAvailable => {
                        f.write_str("; this machine has no such address: set another `listen` in [admin]")
                    }
                    io::ErrorKind::PermissionDenied => f.write_str(
                        "; ports below 1024 need CAP_NET_BIND_SERVICE: set a higher one in [admin] `listen`",
                    ),
                    _ => Ok(()),
                }
            }
            Self::Token(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address(_, error) => Some(error),
            Self::Token(error) => Some(error),
        }
    }
}

/// Listens on the interface's address and reads its token. Nothing is accepted yet.
pub fn bind(settings: &config::Admin) -> Result<Bound, BindError> {
    let token = settings.token_file.as_deref().map(Token::read).transpose().map_err(BindError::Token)?;
    let address = settings.listen;
    let listener = TcpListener::bind(address).map_err(|error| BindError::Address(address, error))?;
    listener.set_nonblocking(true).map_err(|error| BindError::Address(address, error))?;
    Ok(Bound { listener, token })
}

/// How many pages are made at once, so that they leave processors to the queries.
const PAGES_AT_ONCE: usize = 2;

/// What the pages are made of.
#[derive(Debug)]
struct State {
    reloader: Arc<Reloader>,
    operator: Arc<Operator>,
    workers: Vec<Arc<WorkerCounters>>,
    server: Arc<ServerCounters>,
    token: Option<Token>,
    started: SystemTime,
    stopping: AtomicBool,
    /// A permit for each page that may be made.
    pages: Arc<Semaphore>,
}

/// The interface at work. Dropping it lets responses under way end, and accepts no more.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    state: Arc<State>,
    /// Dropped with the rest, which tells the task to end.
    _stop: oneshot::Sender<()>,
}

impl Admin {
    /// Serves on a task of the tokio runtime in which this is called.
    pub fn start(
        bound: Bound,
        reloader: Arc<Reloader>,
        operator: Arc<Operator>,
        workers: Vec<Arc<WorkerCounters>>,
        server: Arc<ServerCounters>,
    ) -> io::Result<Self> {
        let Bound { listener, token } = bound;
        let address = listener.local_addr()?;
        let listener = BoundedListener::new(tokio::net::TcpListener::from_std(listener)?);
        let stopping = AtomicBool::new(false);
        let pages = Arc::new(Semaphore::new(PAGES_AT_ONCE));
        let state =
            Arc::new(State { reloader, operator, workers, server, token, started: SystemTime::now(), stopping, pages });
        let (stop, stopped) = oneshot::channel::<()>();
        let service = api::router(Arc::clone(&state)).into_make_service_with_connect_info::<Entry>();
        let serving = axum::serve(listener, service).with_graceful_shutdown(async {
            // An error says that the sender is gone, which is the signal.
            let _ = stopped.await;
        });
        tokio::spawn(async move {
            if let Err(problem) = serving.await {
                error!(%problem, "the admin interface ended");
            }
        });
        Ok(Self { address, state, _stop: stop })
    }

    /// Where it is served, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes `/readyz` say from now on that the server stops.
    pub fn announce_stop(&self) {
        self.state.stopping.store(true, Ordering::Relaxed);
    }
}
