//! The TCP probe: the connection is accepted.

use std::net::SocketAddr;

use super::connect::{self, Deadline};
use super::{Details, Failure};

/// Connects, and closes without a byte sent.
pub(super) async fn attempt(address: SocketAddr, deadline: Deadline, details: &mut Details) -> Result<(), Failure> {
    connect::tcp(address, None, deadline, &mut details.phases).await.map(drop)
}
