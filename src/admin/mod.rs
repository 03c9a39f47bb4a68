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
//! given 5 s for each whole request head; of each kind of page, those that show, hear or keep, two are made at a time; a head is of
//! hyper's limit at most, about 400 KiB. With a token all but `/livez` and `/readyz` needs it; without one nothing is taken. What is
//! taken has a body of at most 1 MiB (reports, heartbeats, overrides) or 4 MiB (round trips); no other body is read.

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

/// What a page does. Each waits for its own kind alone, so that a slow disk, or many who read, keep no endpoint from being heard.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// Shows what is known.
    Show,
    /// Hears what is reported.
    Hear,
    /// Keeps what operators say, or reads what was kept, which waits for a disk.
    Keep,
}

/// How many pages of a kind are made at once, so that they leave processors to the queries.
const PAGES_AT_ONCE: usize = 2;

/// A permit for each page that may be made.
#[derive(Debug)]
struct Permits([Arc<Semaphore>; 3]);

impl Permits {
    fn new() -> Self {
        Self([(); 3].map(|()| Arc::new(Semaphore::new(PAGES_AT_ONCE))))
    }

    fn of(&self, work: Work) -> &Arc<Semaphore> {
        &self.0[work as usize]
    }
}

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
    permits: Permits,
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
        let (started, permits) = (SystemTime::now(), Permits::new());
        let state = Arc::new(State { reloader, operator, workers, server, token, started, stopping, permits });
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::fs::{self, Permissions};
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::os::unix::fs::PermissionsExt;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::reload::{Loader, Origin, Prepared};
    use crate::snapshot::Publisher;

    const CONFIGURATION: &str = r#"
server.listen = ["127.0.0.1:0"]
zones."example.com".nameservers = ["ns.example.net"]
regions.here.location = [0, 0]
probes.beat = { type = "heartbeat", max_silence = "1d" }
pools.web = { probe = "beat", endpoints = [{ region = "here", address = "192.0.2.1" }] }
"#;
    const TOKEN: &str = "a-token-for-tests-only";

    /// The status of a request, and the body that came with it.
    fn ask(server: SocketAddr, what: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = body.len();
        write!(
            stream,
            "{what} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    #[test]
    fn a_slow_disk_keeps_no_endpoint_from_being_heard_and_nobody_from_reading() {
        let token_file = std::env::temp_dir().join(format!("meridian-slow-disk-{}.token", std::process::id()));
        fs::write(&token_file, TOKEN).unwrap();
        fs::set_permissions(&token_file, Permissions::from_mode(0o600)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let inside = runtime.enter();
        let mut loader = Loader::new(Origin::Embedded(CONFIGURATION.to_owned()));
        let Prepared { compiled, prober, certificate } = loader.load().unwrap();
        let publisher = Arc::new(Publisher::new(compiled));
        let operator = Arc::new(Operator::start(None, Arc::clone(&publisher), Instant::now(), 0).unwrap());
        let reloader = Arc::new(Reloader::new(loader, publisher, prober, certificate, tokio::sync::mpsc::channel(1).0));
        let settings = config::Admin { listen: "127.0.0.1:0".parse().unwrap(), token_file: Some(token_file.clone()) };
        let bound = bind(&settings).unwrap();
        fs::remove_file(token_file).unwrap();
        let admin = Admin::start(bound, reloader, Arc::clone(&operator), vec![], Arc::default()).unwrap();
        drop(inside);
        let server = admin.address();
        let word = "{\"subject\": \"pool/web\", \"word\": \"down\", \"reason\": \"r\", \"author\": \"me\"}";
        thread::scope(|scope| {
            let slow = operator.with_slow_disk();
            let waiting: Vec<_> = (0..3 * PAGES_AT_ONCE)
                .map(|_| scope.spawn(|| ask(server, "POST /api/v1/overrides", word)))
                .chain([scope.spawn(|| ask(server, "GET /api/v1/overrides/audit", ""))])
                .collect();
            // As many as may be are under way.
            let deadline = Instant::now() + Duration::from_secs(10);
            while admin.state.permits.of(Work::Keep).available_permits() > 0 {
                assert!(Instant::now() < deadline);
                thread::sleep(Duration::from_millis(1));
            }
            let beat = "{\"heartbeats\": [{\"pool\": \"web\", \"endpoint\": \"192.0.2.1\", \"status\": \"ok\"}]}";
            let heard = ask(server, "POST /api/v1/heartbeats", beat);
            assert!(heard.starts_with("HTTP/1.1 200 ") && heard.contains("\"accepted\":1"), "{heard}");
            for page in ["/metrics", "/api/v1/health", "/api/v1/overrides"] {
                let shown = ask(server, &format!("GET {page}"), "");
                assert!(shown.starts_with("HTTP/1.1 200 "), "{shown}");
            }
            drop(slow);
            for kept in waiting {
                let kept = kept.join().unwrap();
                assert!(kept.starts_with("HTTP/1.1 200 "), "{kept}");
            }
        });
    }
}
