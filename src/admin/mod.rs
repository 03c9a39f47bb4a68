//! Stub.
use crate::metrics::WorkerCounters;
use crate::reload::Reloader;
use crate::server::ServerCounters;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
}
pub fn bind(admin: &crate::config::Admin) -> std::io::Result<TcpListener> {
    TcpListener::bind(admin.listen)
}
impl Admin {
    pub fn start(
        l: TcpListener,
        _r: Arc<Reloader>,
        _w: Vec<Arc<WorkerCounters>>,
        _s: Arc<ServerCounters>,
    ) -> std::io::Result<Self> {
        Ok(Self { address: l.local_addr()? })
    }
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
