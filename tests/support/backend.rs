//! HTTP backends for the probes of a test.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::PATIENCE;

/// How often another port is tried where one isn't free on every address.
const PORTS_TRIED: usize = 100;

/// Answers every request with 200 while it is started.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicU32>,
    /// Header lines of its answers, each with its end.
    headers: Arc<Mutex<String>>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Backend {
    /// One on each of these loopback addresses, all on one port.
    pub(crate) fn start_all<const N: usize>(addresses: [Ipv4Addr; N]) -> [Self; N] {
        let (_, listeners) = listen_on_one_port(&addresses.map(IpAddr::V4));
        let backends: Vec<Self> = listeners.into_iter().map(Self::start_on).collect();
        backends.try_into().unwrap()
    }

    /// Answers on this listener.
    pub(crate) fn start_on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let mut backend = Self { address, requests: Arc::default(), headers: Arc::default(), running: None };
        backend.run(listener);
        backend
    }

    /// Listens again, and answers.
    pub(crate) fn start(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap_or_else(|error| panic!("{}: {error}", self.address));
        self.run(listener);
    }

    /// Closes the listener: connections are refused from now on.
    pub(crate) fn stop(&mut self) {
        let Some(Running { stopping, thread }) = self.running.take() else { return };
        stopping.store(true, Ordering::SeqCst);
        // Wakes the thread, which then ends; it is gone already if this is refused.
        let _ = TcpStream::connect(self.address);
        thread.join().unwrap();
    }

    /// Requests answered so far.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Answers with this header from now on, and no other of its own.
    pub(crate) fn say(&self, header: &str) {
        *self.headers.lock().unwrap() = format!("{header}\r\n");
    }

    fn run(&mut self, listener: TcpListener) {
        let stopping = Arc::new(AtomicBool::new(false));
        let (told, requests) = (Arc::clone(&stopping), Arc::clone(&self.requests));
        let headers = Arc::clone(&self.headers);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if told.load(Ordering::SeqCst) {
                    return;
                }
                if stream.and_then(|stream| answer(stream, &headers)).is_ok_and(|answered| answered) {
                    requests.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        self.running = Some(Running { stopping, thread });
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether there was a request to answer.
fn answer(mut stream: TcpStream, headers: &Mutex<String>) -> io::Result<bool> {
    stream.set_read_timeout(Some(PATIENCE))?;
    if stream.read(&mut [0; 4096])? == 0 {
        return Ok(false);
    }
    let headers = headers.lock().unwrap().clone();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n")?;
    Ok(true)
}

/// A port that was free on all of these addresses, and its listeners, in their order.
pub(crate) fn listen_on_one_port(addresses: &[IpAddr]) -> (u16, Vec<TcpListener>) {
    for _ in 0..PORTS_TRIED {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let listeners: io::Result<Vec<_>> =
            addresses.iter().map(|address| TcpListener::bind((*address, port))).collect();
        match listeners {
            Ok(listeners) => return (port, listeners),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => panic!("{addresses:?}: {error}"),
        }
    }
    panic!("no port is free on all of {addresses:?}");
}
