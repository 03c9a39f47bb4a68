//! TCP (RFC 7766): one thread for all connections.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;

use super::accept::accept;
use super::bounded_writes::BoundedWrites;
use super::connections::Connections;
use super::counters::ServerCounters;
use super::framed::Framed;
use super::responder::Responder;
use super::thread::{self, Stop};
use crate::dns::Transport;
use crate::snapshot::Published;

/// What a thread with connections needs.
pub(super) struct Settings {
    pub(super) published: Arc<Published>,
    pub(super) counters: Arc<ServerCounters>,
    pub(super) responder: Responder,
    pub(super) stop: Stop,
}

/// Starts the thread `tcp`, which accepts from all listeners until told to stop.
///
/// # Errors
/// Where the system grants no thread or no descriptor for it.
pub(super) fn spawn(listeners: Vec<std::net::TcpListener>, settings: Settings) -> io::Result<JoinHandle<()>> {
    let Settings { published, counters, responder, stop } = settings;
    thread::spawn("tcp", stop.clone(), move |tasks| {
        let responder = Rc::new(RefCell::new(responder));
        let connections = Connections::new(published, counters.clone());
        for listener in listeners {
            let listener = TcpListener::from_std(listener)?;
            let (responder, connections) = (responder.clone(), connections.clone());
            let (counters, stop) = (counters.clone(), stop.clone());
            tasks.spawn_local(async move {
                accept(listener, Transport::Tcp, &counters, stop.clone(), |stream, peer| {
                    connections.admit(peer.ip(), Transport::Tcp, |ticket| {
                        let stream = BoundedWrites::new(stream, ticket.clone());
                        Framed::new(stream, ticket, responder.clone()).run(stop.clone())
                    });
                })
                .await;
            });
        }
        Ok(())
    })
}
