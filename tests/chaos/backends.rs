//! Backends on loopback that do what a script says.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use crate::script::{Script, State, Story};
use crate::site::Site;

/// Below those that the system gives away by itself, so that nobody takes it while a backend is dead.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const PORTS_TRIED: usize = 100;
/// How often a backend tries to listen again.
const BIND_PAUSE: Duration = Duration::from_millis(5);

/// All of them, on a thread of their own. They are as they are at zero until they are told when that was.
pub(crate) struct Backends {
    /// The first of all.
    pub(crate) port: u16,
    begin: watch::Sender<Option<Instant>>,
    thread: Option<JoinHandle<()>>,
    lateness: Arc<Mutex<Duration>>,
}

impl Backends {
    pub(crate) fn start(site: &Site, script: &Script) -> Self {
        meridian::server::raise_descriptor_limit().unwrap();
        let (begin, begun) = watch::channel(None);
        let places: Vec<(Ipv4Addr, u16)> =
            (0..site.backends()).map(|backend| (site.address(backend), site.port_offset(backend))).collect();
        let (port, listeners) = listen_from_one_port(&places);
        let lateness: Arc<Mutex<Duration>> = Arc::default();
        let players = script.stories.iter().zip(listeners).enumerate().map(|(backend, (story, listener))| {
            let lateness = Arc::clone(&lateness);
            let listener = (story.turns()[0].1 != State::Refusing).then_some(listener);
            let address = SocketAddr::from((places[backend].0, port + places[backend].1));
            let slow_after = site.slow_after(backend);
            (Player { address, story: story.clone(), slow_after, lateness }, listener)
        });
        let players: Vec<_> = players.collect();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut all = JoinSet::new();
                for (player, listener) in players {
                    all.spawn(player.play(listener, begun.clone()));
                }
                // Until nobody can tell them any more to begin, which is the end.
                let mut ended = begun;
                while ended.changed().await.is_ok() {}
            });
        });
        Self { port, begin, thread: Some(thread), lateness }
    }

    /// That was zero.
    pub(crate) fn begin(&self, at: Instant) {
        self.begin.send_replace(Some(at));
    }

    /// The latest that one of them did what it was to do.
    pub(crate) fn lateness(&self) -> Duration {
        *self.lateness.lock().unwrap()
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        self.begin = watch::channel(None).0;
        if let Some(thread) = self.thread.take() {
            // It fails where one of them did.
            let _ = thread.join();
        }
    }
}

struct Player {
    address: SocketAddr,
    story: Story,
    slow_after: Duration,
    lateness: Arc<Mutex<Duration>>,
}

impl Player {
    async fn play(self, listener: Option<std::net::TcpListener>, mut begun: watch::Receiver<Option<Instant>>) {
        let mut listener = listener.map(|listener| TcpListener::from_std(listener).unwrap());
        // Who is connected.
        let mut clients = JoinSet::new();
        let turns = self.story.turns();
        for (index, (_, state)) in turns.iter().enumerate() {
            let next = turns.get(index + 1).copied();
            tokio::pin! {
                let due = wait_until(next.map(|(at, _)| at), &mut begun);
            }
            let late = loop {
                tokio::select! {
                    late = &mut due => break late,
                    accepted = accept(listener.as_ref()) => {
                        if let Ok((stream, _)) = accepted {
                            clients.spawn(converse(stream, *state, self.slow_after));
                        }
                    }
                    Some(_) = clients.join_next() => {}
                }
            };
            let turned = Instant::now();
            // One that dies breaks off what is under way; else that ends as it began.
            if let Some((_, State::Refusing)) = next {
                listener = None;
                clients.abort_all();
            } else if listener.is_none() {
                listener = Some(listen_again(self.address).await);
            }
            let mut latest = self.lateness.lock().unwrap();
            *latest = latest.max(late + turned.elapsed());
        }
    }
}

/// Waits for a moment of the script, and says how late it is then.
async fn wait_until(at: Option<Duration>, begun: &mut watch::Receiver<Option<Instant>>) -> Duration {
    let start = begun.wait_for(Option::is_some).await.ok().and_then(|start| *start);
    let (Some(at), Some(start)) = (at, start) else { return std::future::pending().await };
    sleep_until((start + at).into()).await;
    (start + at).elapsed()
}

/// The next connection, if anyone listens.
async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// Does what is to be done in that state.
async fn converse(mut stream: TcpStream, state: State, slow_after: Duration) {
    let mut request = [0; 1024];
    if !matches!(stream.read(&mut request).await, Ok(1..)) {
        return;
    }
    let status = match state {
        State::Hanging | State::Refusing => {
            // Until the other side gives up.
            while matches!(stream.read(&mut request).await, Ok(1..)) {}
            return;
        }
        State::Failing => "503 Service Unavailable",
        State::Slow => {
            sleep(slow_after).await;
            "200 OK"
        }
        State::Serving => "200 OK",
    };
    let response = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // The other side may be gone.
    let _ = stream.write_all(response.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn listen_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => sleep(BIND_PAUSE).await,
        }
    }
}

/// A port from which on those are free at so many beyond it on these addresses, and the listeners.
fn listen_from_one_port(places: &[(Ipv4Addr, u16)]) -> (u16, Vec<std::net::TcpListener>) {
    for _ in 0..PORTS_TRIED {
        let port = fastrand::u16(PORTS);
        let listen = |(address, offset): &(Ipv4Addr, u16)| {
            let listener = std::net::TcpListener::bind((*address, port + offset))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listeners: io::Result<Vec<_>> = places.iter().map(listen).collect();
        match listeners {
            Ok(listeners) => return (port, listeners),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => panic!("{} backends: {error}", places.len()),
        }
    }
    panic!("no port is free for all of {} backends", places.len());
}
