//! The OPT record of a response (RFC 6891), with the options that were asked for.

use super::MAX_UDP_RESPONSE;
use super::encode::{Full, Writer};
use super::query::{Edns, Rcode, SUBNET_SCOPE, option};
use crate::zone::rtype;

/// An OPT record without options: the root's name, type, class, TTL and RDLENGTH.
const FIXED_OCTETS: usize = 11;
/// An option's code and length.
const OPTION_OCTETS: usize = 4;

/// What an extended error says (RFC 8914 section 4), as far as it is said here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum ExtendedError {
    /// Something that has no code of its own; the text says what.
    Other = 0,
    /// Not for this client.
    Prohibited = 18,
    /// The name is in no zone of ours.
    NotAuthoritative = 20,
    /// The operation is not known.
    NotSupported = 21,
}

/// The length of the OPT record that answers `edns`.
pub(super) fn response_octets(edns: &Edns<'_>, nsid: &[u8]) -> usize {
    FIXED_OCTETS + options_octets(edns, nsid)
}

fn options_octets(edns: &Edns<'_>, nsid: &[u8]) -> usize {
    let subnet = edns.subnet.map_or(0, |subnet| OPTION_OCTETS + subnet.data.len());
    let nsid = if edns.nsid && !nsid.is_empty() { OPTION_OCTETS + nsid.len() } else { 0 };
    subnet + nsid
}

/// Appends the OPT record: our own datagram size, the DO bit as asked (RFC 3225 section 3), and the client's subnet
/// exactly as it was sent but for the scope (RFC 7871 section 7.2.1).
pub(super) fn put_response(
    writer: &mut Writer<'_>,
    edns: &Edns<'_>,
    rcode: Rcode,
    scope: u8,
    nsid: &[u8],
) -> Result<(), Full> {
    let mut fixed = [0; FIXED_OCTETS];
    fixed[1..3].copy_from_slice(&rtype::OPT.to_be_bytes());
    fixed[3..5].copy_from_slice(&(MAX_UDP_RESPONSE as u16).to_be_bytes());
    fixed[5] = (rcode as u16 >> 4) as u8;
    fixed[7] = u8::from(edns.dnssec_ok) << 7;
    fixed[9..11].copy_from_slice(&(options_octets(edns, nsid) as u16).to_be_bytes());
    writer.put(&fixed)?;
    if let Some(subnet) = edns.subnet {
        put_option_head(writer, option::CLIENT_SUBNET, subnet.data.len())?;
        writer.put(&subnet.data[..SUBNET_SCOPE])?;
        writer.put(&[scope])?;
        writer.put(&subnet.data[SUBNET_SCOPE + 1..])?;
    }
    if edns.nsid && !nsid.is_empty() {
        put_option_head(writer, option::NSID, nsid.len())?;
        writer.put(nsid)?;
    }
    Ok(())
}

fn put_option_head(writer: &mut Writer<'_>, code: u16, octets: usize) -> Result<(), Full> {
    writer.put(&code.to_be_bytes())?;
    writer.put(&(octets as u16).to_be_bytes())
}
