//! Accepting from a listener for as long as the server runs.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::counters::ServerCounters;
use super::failures::Failures;
use super::thread::Stop;
use crate::dns::Transport;

/// Hands each connection to `admit` until told to stop. No error ends it.
pub(super) async fn accept(
    listener: TcpListener,
    transport: Transport,
    counters: &ServerCounters,
    mut stop: Stop,
    admit: impl Fn(TcpStream, SocketAddr),
) {
    let mut failures = Failures::default();
    loop {
        let pause = tokio::select! {
            biased;
            _ = stop.changed() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    failures.clear();
                    // Responses are written together already. Where the system refuses, they come a little later.
                    let _ = stream.set_nodelay(true);
                    admit(stream, peer);
                    continue;
                }
                Err(error) => {
                    counters.connections(transport).accept_errors.increment();
                    let what = format!("accepting {}", transport.name().to_uppercase());
                    failures.record(&what, &error, std::time::Instant::now())
                }
            }
        };
        let _ = timeout(pause, stop.changed()).await;
        if *stop.borrow() {
            return;
        }
    }
}
