//! Class CHAOS: what the server says of itself.

use std::net::IpAddr;

use super::edns::ExtendedError;
use super::encode::{Full, Writer};
use super::query::Rcode;
use crate::snapshot::Snapshot;
use crate::zone::LookupName;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    /// The address that the request came from.
    pub(super) peer: IpAddr,
    /// Whom answers are for: the client subnet's address where there is one, else the peer.
    pub(super) client: IpAddr,
    /// The client subnet's source prefix length, where there is one that names an address.
    pub(super) source_length: Option<u8>,
}

/// Answers a question of class CHAOS.
///
/// # Errors
/// Where the answer does not fit.
pub(super) fn answer(
    _snapshot: &Snapshot,
    _name: &LookupName,
    _qtype: u16,
    _asker: &Asker,
    _rng: &mut fastrand::Rng,
    _writer: &mut Writer<'_>,
) -> Result<(Rcode, Option<ExtendedError>), Full> {
    Ok((Rcode::Refused, None))
}
