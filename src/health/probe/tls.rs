//! The TLS probe: the server agrees on TLS, with a certificate that is good and will be for a while.

use std::net::{IpAddr, SocketAddr};

use super::connect::{self, Deadline, Secured};
use super::trust::{Clients, Protocol};
use super::{Details, Failure};
use crate::config::TlsCheck;

/// Agrees on TLS, and closes without a byte of data sent.
pub(super) async fn attempt(
    check: &TlsCheck,
    clients: Option<&Clients>,
    hostname: Option<&str>,
    address: IpAddr,
    deadline: Deadline,
    details: &mut Details,
) -> Result<(), Failure> {
    let secured = Secured::new(&check.tls, clients, Protocol::Any, hostname, address)?;
    let address = SocketAddr::new(address, check.port);
    connect::open(address, check.source, Some(secured), deadline, details).await.map(drop)
}
