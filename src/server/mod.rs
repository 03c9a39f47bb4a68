//! Serving: UDP, TCP, and DNS over TLS, HTTPS and QUIC around [`dns::respond`](crate::dns::respond).
//!
//! In this order: [`Sockets::bind`], [`privileges`] dropped, [`serve`], and in the end [`Serving::shutdown`].
//!
//! No thread of this module ends by an error, none waits for a lock to answer, and none reads anything but the
//! published snapshot and its own context.

mod accept;
mod bounded_writes;
pub mod certificate;
mod clock;
mod connections;
pub mod counters;
pub mod cpus;
mod encrypted;
mod failures;
mod framed;
mod https;
pub mod privileges;
mod quic;
mod responder;
mod sockets;
mod sys;
mod tcp;
mod thread;
mod udp;

use std::io;
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;
use tokio::sync::watch;

pub use certificate::Certificate;
use clock::Clock;
pub use counters::{ConnectionCounters, ServerCounters};
use responder::Responder;
pub use sockets::{BindError, BindFailure, MAX_WORKERS, Sockets};
pub use sys::MAX_REQUEST_BYTES;
pub(crate) use sys::kill_group;

use crate::dns::{Transport, WorkerContext};
use crate::snapshot::Published;

/// A stop answers what comes until nothing has come for this long: what was sent before it may still be on its way
/// through the kernel.
const LULL: Duration = Duration::from_millis(50);

/// A server at work. Dropping it stops it as [`shutdown`](Self::shutdown) does.
#[derive(Debug)]
pub struct Serving {
    addresses: Vec<SocketAddr>,
    encrypted_addresses: Vec<(Transport, SocketAddr)>,
    udp_stopping: Arc<AtomicBool>,
    udp_sockets: Vec<Arc<UdpSocket>>,
    connections_stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// Answers on `sockets` from whatever `published` holds, in threads named `udp-0`, `udp-1`, …, `tcp` and `encrypted`. The
/// last is there where there are sockets and a certificate for it.
/// `context` makes each thread's own context; it is called [`Sockets::worker_count`] times, in this order.
///
/// # Errors
/// Where the system grants no more threads or descriptors; what had been started is stopped then.
pub fn serve(
    sockets: Sockets,
    published: &Arc<Published>,
    certificate: Option<Arc<Certificate>>,
    counters: &Arc<ServerCounters>,
    mut context: impl FnMut() -> WorkerContext,
) -> io::Result<Serving> {
    let (connections_stop, stop) = watch::channel(false);
    let clock = Clock::start();
    let mut serving = Serving {
        addresses: sockets.addresses().to_vec(),
        encrypted_addresses: sockets.encrypted.as_ref().map_or_else(Vec::new, |encrypted| encrypted.addresses.clone()),
        udp_stopping: Arc::default(),
        udp_sockets: Vec::new(),
        connections_stop,
        threads: Vec::new(),
    };
    for (number, socket) in sockets.udp.into_iter().enumerate() {
        let socket = Arc::new(socket);
        let worker = udp::Worker {
            socket: socket.clone(),
            stopping: serving.udp_stopping.clone(),
            published: published.clone(),
            counters: counters.clone(),
            clock,
            context: context(),
        };
        serving.threads.push(std::thread::Builder::new().name(format!("udp-{number}")).spawn(|| worker.run())?);
        serving.udp_sockets.push(socket);
    }
    let mut connections = || tcp::Settings {
        published: published.clone(),
        counters: counters.clone(),
        responder: Responder::new(published.clone(), counters.clone(), clock, context()),
        stop: stop.clone(),
    };
    serving.threads.push(tcp::spawn(sockets.tcp, connections())?);
    if let Some((sockets, certificate)) = sockets.encrypted.zip(certificate) {
        serving.threads.push(encrypted::spawn(sockets, certificate, connections())?);
    }
    Ok(serving)
}

/// Lets the process have as many descriptors as the system grants it, and returns how many these are.
///
/// # Errors
/// Where the system refuses.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    sys::raise_descriptor_limit()
}

/// Gives memory that was freed back to the system. Takes milliseconds: for after a reload.
pub fn release_free_memory() {
    sys::release_free_memory();
}

impl Serving {
    /// The addresses in the order of `[server] listen`, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses of encrypted listeners in the order TLS, HTTPS, QUIC, with the ports that the system chose.
    pub fn encrypted_addresses(&self) -> &[(Transport, SocketAddr)] {
        &self.encrypted_addresses
    }

    /// Takes no new connections, answers what was asked before, and returns when all threads have ended: after a lull
    /// of 50 ms, and within 1.5 s in any case. Blocks: not for asynchronous code.
    pub fn shutdown(self) {}
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.udp_stopping.store(true, Ordering::Relaxed);
        self.connections_stop.send_replace(true);
        for socket in &self.udp_sockets {
            // It says that the socket isn't connected, and wakes the thread that waits at it all the same.
            let _ = SockRef::from(socket.as_ref()).shutdown(Shutdown::Read);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
