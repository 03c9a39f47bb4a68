//! Class CHAOS: what the server says of itself (RFC 4892), and why it answers as it does.
//!
//! Nothing here is data of a zone, so no name of any zone is in the way of these; resolvers neither forward nor keep it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::edns::ExtendedError;
use super::encode::{Full, Section, Writer};
use super::explain::Subject;
use super::query::Rcode;
use super::text;
use crate::snapshot::Snapshot;
use crate::zone::{LookupName, rtype};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    /// The address that the request came from.
    pub(super) peer: IpAddr,
    /// Whom answers are for: the client subnet's address where there is one, else the peer.
    pub(super) client: IpAddr,
    /// The client subnet's source prefix length, where there is one that names an address.
    pub(super) source_length: Option<u8>,
    /// When, in seconds since 1970, modulo 2^32.
    pub(super) unix_seconds: u32,
}

/// Answers a question of class CHAOS, with AA where the name is known.
///
/// # Errors
/// Where the answer does not fit; nothing of it is left then. Over TCP it always does.
pub(super) fn answer(
    snapshot: &Snapshot,
    name: &LookupName,
    qtype: u16,
    asker: &Asker,
    rng: &mut fastrand::Rng,
    writer: &mut Writer<'_>,
) -> Result<(Rcode, Option<ExtendedError>), Full> {
    let server = &snapshot.compiled.config.server;
    let told = match name.as_wire() {
        b"\x07version\x04bind\x00" | b"\x07version\x06server\x00" => &server.chaos.version,
        b"\x08hostname\x04bind\x00" => &server.chaos.hostname,
        b"\x02id\x06server\x00" => &server.chaos.id,
        _ => &None,
    };
    // The client subnet is whatever its sender likes to say: it permits nothing.
    let peer = asker.peer.to_canonical();
    let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&peer));
    if let Some(told) = told {
        if !server.chaos.allow.as_deref().is_none_or(is_in) {
            return Ok((Rcode::Refused, Some(ExtendedError::Prohibited)));
        }
        return put_texts(qtype, writer, |writer| text::put(writer, format_args!("{told}")));
    }
    let Some(subject) = Subject::of(name) else {
        return Ok((Rcode::Refused, Some(ExtendedError::NotAuthoritative)));
    };
    if !is_in(&server.explain_allow) {
        return Ok((Rcode::Refused, Some(ExtendedError::Prohibited)));
    }
    put_texts(qtype, writer, |writer| subject.explain(snapshot, asker, rng, writer))
}

/// Answers with what `put` writes, all or nothing of it. There are no records but TXT.
fn put_texts(
    qtype: u16,
    writer: &mut Writer<'_>,
    put: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>,
) -> Result<(Rcode, Option<ExtendedError>), Full> {
    writer.set_authoritative();
    if matches!(qtype, rtype::TXT | rtype::ANY) {
        let mark = writer.mark(Section::Answer);
        if put(writer).is_err() {
            writer.rewind(Section::Answer, mark);
            return Err(Full);
        }
    }
    Ok((Rcode::NoError, None))
}
