//! The TCP probe: the connection is accepted.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Failure, Phase};

/// Connects, and closes without a byte sent.
pub(super) async fn attempt(address: SocketAddr, time: Duration) -> Result<(), Failure> {
    match timeout(time, TcpStream::connect(address)).await {
        Ok(Ok(_stream)) => Ok(()),
        Ok(Err(error)) => Err(Failure::from_io(&error)),
        Err(_) => Err(Failure::Timeout { phase: Phase::Connect, after: time }),
    }
}
