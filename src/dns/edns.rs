//! The OPT record of a response (RFC 6891), with the options that were asked for.

use super::Transport;
use super::cookie::{Cookie, SERVER_COOKIE_OCTETS};
use super::encode::{Full, Writer};
use super::query::{Edns, Rcode, SUBNET_SCOPE, option};
use crate::config::Server;
use crate::zone::rtype;

/// An OPT record without options: the root's name, type, class, TTL and RDLENGTH.
const FIXED_OCTETS: usize = 11;
/// Where in it RDLENGTH stands.
const LENGTH_AT: usize = 9;
/// An option's code and length.
const OPTION_OCTETS: usize = 4;
/// An option with the client's cookie and ours.
const COOKIE_OCTETS: usize = OPTION_OCTETS + 8 + SERVER_COOKIE_OCTETS;
/// Padded responses are multiples of this (RFC 8467 section 4.1).
const PADDING_BLOCK_OCTETS: usize = 468;
/// The unit of the TCP keepalive option in milliseconds (RFC 7828 section 3.1).
const KEEPALIVE_UNIT_MS: u128 = 100;

/// What an extended error says (RFC 8914 section 4), as far as it is said here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExtendedError {
    /// There is no data only because no endpoint is healthy, or may serve.
    NoEndpoint,
    /// Not for this client.
    Prohibited,
    /// The name is in no zone of ours.
    NotAuthoritative,
    /// The operation is not known.
    NotSupported,
    /// The type is never asked for.
    InvalidQueryType,
}

impl ExtendedError {
    fn code(self) -> u16 {
        match self {
            Self::NoEndpoint => 0,
            Self::Prohibited => 18,
            Self::NotAuthoritative => 20,
            Self::NotSupported => 21,
            Self::InvalidQueryType => 30,
        }
    }

    /// What the code alone does not say.
    fn text(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no endpoint can serve",
            Self::Prohibited | Self::NotAuthoritative | Self::NotSupported | Self::InvalidQueryType => "",
        }
    }
}

/// What the OPT record of a response holds, but for what only the answer tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opt<'a> {
    /// Our own datagram size.
    udp_octets: u16,
    /// The DO bit as asked (RFC 3225 section 3).
    dnssec_ok: bool,
    /// The client's subnet, to be sent back as it came but for the scope (RFC 7871 section 7.2.1).
    subnet: Option<&'a [u8]>,
    /// The server's identifier, empty where it isn't asked for.
    nsid: &'a [u8],
    /// The client's cookie and ours (RFC 7873 section 5.2).
    cookie: Option<Cookie<'a>>,
    server_cookie: [u8; SERVER_COOKIE_OCTETS],
    /// How long an idle connection is kept, in units of 100 ms (RFC 7828).
    keepalive: Option<u16>,
    /// The response is padded (RFC 7830).
    padded: bool,
}

impl<'a> Opt<'a> {
    /// What answers `edns` over this transport; `server_cookie` is what the client's cookie is answered with.
    pub(super) fn new(
        edns: &Edns<'a>,
        server: &'a Server,
        transport: Transport,
        server_cookie: Option<[u8; SERVER_COOKIE_OCTETS]>,
    ) -> Self {
        let is_stream = matches!(transport, Transport::Tcp | Transport::Tls);
        let keepalive = u16::try_from(server.tcp.idle_timeout.as_millis() / KEEPALIVE_UNIT_MS).unwrap_or(u16::MAX);
        Self {
            udp_octets: server.edns_udp_octets,
            dnssec_ok: edns.dnssec_ok,
            subnet: edns.subnet.map(|subnet| subnet.data),
            nsid: server.nsid.as_deref().filter(|_| edns.nsid).unwrap_or_default(),
            cookie: edns.cookie.filter(|_| server_cookie.is_some()),
            server_cookie: server_cookie.unwrap_or_default(),
            keepalive: (edns.keepalive && is_stream).then_some(keepalive),
            padded: edns.padding && transport.is_encrypted(),
        }
    }

    /// The same without padding.
    pub(super) fn unpadded(self) -> Self {
        Self { padded: false, ..self }
    }

    /// The record's length, without padding and extended error.
    pub(super) fn octets(&self) -> usize {
        let subnet = self.subnet.map_or(0, |data| OPTION_OCTETS + data.len());
        let nsid = if self.nsid.is_empty() { 0 } else { OPTION_OCTETS + self.nsid.len() };
        let cookie = if self.cookie.is_some() { COOKIE_OCTETS } else { 0 };
        let keepalive = if self.keepalive.is_some() { OPTION_OCTETS + 2 } else { 0 };
        FIXED_OCTETS + subnet + nsid + cookie + keepalive
    }

    /// Appends the record. An extended error is left out, and padding is less, where there is no room.
    ///
    /// # Errors
    /// Where its room was not kept.
    pub(super) fn put(
        &self,
        writer: &mut Writer<'_>,
        rcode: Rcode,
        scope: u8,
        extended: Option<ExtendedError>,
    ) -> Result<(), Full> {
        let start = writer.position();
        let mut fixed = [0; FIXED_OCTETS];
        fixed[1..3].copy_from_slice(&rtype::OPT.to_be_bytes());
        fixed[3..5].copy_from_slice(&self.udp_octets.to_be_bytes());
        fixed[5] = (rcode as u16 >> 4) as u8;
        fixed[7] = u8::from(self.dnssec_ok) << 7;
        fixed[LENGTH_AT..].copy_from_slice(&((self.octets() - FIXED_OCTETS) as u16).to_be_bytes());
        writer.put(&fixed)?;
        if let Some(data) = self.subnet {
            put_head(writer, option::CLIENT_SUBNET, data.len())?;
            writer.put(&data[..SUBNET_SCOPE])?;
            writer.put(&[scope])?;
            writer.put(&data[SUBNET_SCOPE + 1..])?;
        }
        if !self.nsid.is_empty() {
            put_head(writer, option::NSID, self.nsid.len())?;
            writer.put(self.nsid)?;
        }
        if let Some(cookie) = &self.cookie {
            put_head(writer, option::COOKIE, COOKIE_OCTETS - OPTION_OCTETS)?;
            writer.put(cookie.client)?;
            writer.put(&self.server_cookie)?;
        }
        if let Some(keepalive) = self.keepalive {
            put_head(writer, option::TCP_KEEPALIVE, 2)?;
            writer.put(&keepalive.to_be_bytes())?;
        }
        if extended.is_none() && !self.padded {
            return Ok(());
        }
        if let Some(extended) = extended
            && writer.room() >= OPTION_OCTETS + 2 + extended.text().len()
        {
            put_head(writer, option::EXTENDED_ERROR, 2 + extended.text().len())?;
            writer.put(&extended.code().to_be_bytes())?;
            writer.put(extended.text().as_bytes())?;
        }
        if self.padded && writer.room() >= OPTION_OCTETS {
            let unpadded = writer.position() + OPTION_OCTETS;
            let wanted = unpadded.next_multiple_of(PADDING_BLOCK_OCTETS) - unpadded;
            let padding = wanted.min(writer.room() - OPTION_OCTETS);
            put_head(writer, option::PADDING, padding)?;
            writer.put(&[0; PADDING_BLOCK_OCTETS][..padding])?;
        }
        writer.patch_length(start + LENGTH_AT);
        Ok(())
    }
}

fn put_head(writer: &mut Writer<'_>, code: u16, octets: usize) -> Result<(), Full> {
    writer.put(&code.to_be_bytes())?;
    writer.put(&(octets as u16).to_be_bytes())
}
