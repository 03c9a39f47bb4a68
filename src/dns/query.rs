//! The bytes of a request → what is asked, or how to refuse it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cookie::Cookie;
use super::tsig::Tsig;
use crate::zone::{LookupName, rtype};

/// Length of a message's header (RFC 1035 section 4.1.1).
pub(super) const HEADER_OCTETS: usize = 12;

/// Response codes (RFC 1035 section 4.1.1, RFC 6891 section 6.1.3). From 16 on they need EDNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Rcode {
    /// No error.
    NoError = 0,
    /// The request can't be understood.
    FormErr = 1,
    /// The name does not exist.
    NxDomain = 3,
    /// The operation is not supported.
    NotImp = 4,
    /// Not our zone, or not for this client.
    Refused = 5,
    /// A DNAME made the name too long (RFC 6672 section 2.2).
    YxDomain = 6,
    /// No zone of ours (RFC 2136 section 2.2).
    NotAuth = 9,
    /// The EDNS version is not known.
    BadVers = 16,
    /// The server's part of the cookie is missing or bad (RFC 7873 section 8).
    BadCookie = 23,
}

/// What is to be done with the question, as far as anything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// To be answered.
    Query,
    /// It has changed (RFC 1996).
    Notify,
    /// It is to be changed (RFC 2136).
    Update,
}

impl Opcode {
    /// That of a request's third octet; nothing where it isn't known, such as IQUERY (RFC 3425).
    fn of(flags: u8) -> Option<Self> {
        match flags >> 3 & 0x0f {
            0 => Some(Self::Query),
            4 => Some(Self::Notify),
            5 => Some(Self::Update),
            _ => None,
        }
    }
}

/// A request with one question, or a query that only asks for a cookie.
#[derive(Debug)]
pub struct Query<'a> {
    /// What is wanted.
    pub opcode: Opcode,
    /// The question as it came: name, type and class, case kept. Empty where only a cookie is asked for (RFC 7873
    /// section 5.4).
    pub question: &'a [u8],
    /// QTYPE.
    pub qtype: u16,
    /// QCLASS.
    pub qclass: u16,
    /// EDNS, where the request has it.
    pub edns: Option<Edns<'a>>,
    /// The signature, where the request has one.
    pub tsig: Option<Tsig<'a>>,
}

/// What the OPT record says (RFC 6891).
#[derive(Debug, Default, Clone, Copy)]
pub struct Edns<'a> {
    /// The largest datagram that the client takes.
    pub udp_octets: u16,
    /// EDNS version; we know 0.
    pub version: u8,
    /// The DO bit (RFC 3225).
    pub dnssec_ok: bool,
    /// The name server's identifier is asked for (RFC 5001).
    pub nsid: bool,
    /// The client's subnet (RFC 7871).
    pub subnet: Option<Subnet<'a>>,
    /// The client's cookie (RFC 7873).
    pub cookie: Option<Cookie<'a>>,
    /// How long an idle connection is kept is asked for (RFC 7828).
    pub keepalive: bool,
    /// The response is to be padded (RFC 7830).
    pub padding: bool,
}

/// An EDNS client subnet option, checked.
#[derive(Debug, Clone, Copy)]
pub struct Subnet<'a> {
    /// The option's data as it came, to be echoed.
    pub data: &'a [u8],
    /// The address with its host bits zero; absent for source length 0, which says nothing of the client.
    pub address: Option<IpAddr>,
}

/// What to do with a request that is no query to answer.
#[derive(Debug)]
pub enum Rejection<'a> {
    /// Silence: a response, or less than a header.
    Drop,
    /// An answer of only a header, with the OPT record if the request had a readable one.
    Answer {
        /// The response code.
        rcode: Rcode,
        /// The question, as far as it was read.
        question: &'a [u8],
        /// EDNS, as far as it was read.
        edns: Option<Edns<'a>>,
    },
}

/// EDNS option codes.
pub(super) mod option {
    pub(in crate::dns) const NSID: u16 = 3;
    pub(in crate::dns) const CLIENT_SUBNET: u16 = 8;
    pub(in crate::dns) const COOKIE: u16 = 10;
    pub(in crate::dns) const TCP_KEEPALIVE: u16 = 11;
    pub(in crate::dns) const PADDING: u16 = 12;
    pub(in crate::dns) const EXTENDED_ERROR: u16 = 15;
}

/// A place in the request, read forwards with bounds checked.
struct Reader<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.octets.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let [high, low] = *self.take(2)?.first_chunk()?;
        Some(u16::from_be_bytes([high, low]))
    }

    /// Skips a name, which may end in a compression pointer; returns whether it is the root, written plainly.
    fn skip_name(&mut self) -> Option<bool> {
        let start = self.at;
        loop {
            let length = *self.take(1)?.first()?;
            match length {
                0 => return Some(self.at == start + 1),
                1..=63 => {
                    self.take(usize::from(length))?;
                }
                192..=255 => {
                    self.take(1)?;
                    return Some(false);
                }
                _ => return None,
            }
            if self.at - start > 255 {
                return None;
            }
        }
    }
}

impl<'a> Query<'a> {
    /// Reads a request, putting the name asked for into `name`. Every count is met or the request is refused, so an
    /// absurd one costs no more than the octets that are there.
    pub fn read(request: &'a [u8], name: &mut LookupName) -> Result<Self, Rejection<'a>> {
        let Some(header) = request.first_chunk::<HEADER_OCTETS>() else { return Err(Rejection::Drop) };
        if header[2] & 0x80 != 0 {
            return Err(Rejection::Drop);
        }
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let mut reader = Reader { octets: request, at: HEADER_OCTETS };
        let mut query = Self { opcode: Opcode::Query, question: &[], qtype: 0, qclass: 0, edns: None, tsig: None };
        let is_whole = query.read_sections(&mut reader, [4, 6, 8, 10].map(count), name).is_some();
        let edns = query.edns;
        let reject = |rcode, question| Err(Rejection::Answer { rcode, question, edns });
        // What follows the header of an operation that isn't known can't be malformed, and isn't to be repeated.
        let Some(opcode) = Opcode::of(header[2]) else { return reject(Rcode::NotImp, &[]) };
        let asks_for_cookie =
            opcode == Opcode::Query && count(4) == 0 && edns.is_some_and(|edns| edns.cookie.is_some());
        // An update names its zone by SOA; what else stands there is no question to repeat (RFC 2136 section 3.1.1).
        if opcode == Opcode::Update && query.qtype != rtype::SOA {
            return reject(Rcode::FormErr, &[]);
        }
        if !is_whole || reader.at != request.len() {
            return reject(Rcode::FormErr, query.question);
        }
        if edns.is_some_and(|edns| edns.version != 0) {
            return reject(Rcode::BadVers, query.question);
        }
        if query.question.is_empty() && !asks_for_cookie {
            return reject(Rcode::FormErr, &[]);
        }
        Ok(Self { opcode, ..query })
    }

    /// Reads what follows the header, as far as it is well formed. `counts` are those of the header. Only a question that
    /// is the only one is read, and put into `name` (RFC 9619).
    fn read_sections(&mut self, reader: &mut Reader<'a>, counts: [u16; 4], name: &mut LookupName) -> Option<()> {
        let [questions, answer, authority, additional] = counts.map(u32::from);
        if questions == 1 {
            (self.question, self.qtype, self.qclass) = read_question(reader, name)?;
        } else {
            for _ in 0..questions {
                reader.skip_name()?;
                reader.take(4)?;
            }
        }
        let before_additional = answer + authority;
        // A signature is the last record (RFC 8945 section 5.1).
        let mut is_signed_amid = false;
        for record in 0..before_additional + additional {
            is_signed_amid |= self.tsig.is_some();
            self.read_record(reader, record >= before_additional)?;
        }
        (!is_signed_amid).then_some(())
    }

    /// Passes over one record; an OPT record in the additional section is read, at most one, and so is a signature.
    fn read_record(&mut self, reader: &mut Reader<'a>, in_additional: bool) -> Option<()> {
        let start = reader.at;
        let is_root = reader.skip_name()?;
        let owner = reader.octets.get(start..reader.at)?;
        let rtype = reader.u16()?;
        let class = reader.u16()?;
        let ttl @ &[_, version, flags, _] = reader.take(4)?.first_chunk()?;
        let length = reader.u16()?;
        let data = reader.take(usize::from(length))?;
        match rtype {
            rtype::OPT => {
                if !in_additional || !is_root || self.edns.is_some() {
                    return None;
                }
                let dnssec_ok = flags & 0x80 != 0;
                let edns = self.edns.insert(Edns { udp_octets: class, version, dnssec_ok, ..Edns::default() });
                // Options of a version that we don't know are not ours to judge.
                if version == 0 {
                    read_options(data, edns)?;
                }
            }
            rtype::TSIG if !in_additional || class != rtype::CLASS_ANY || *ttl != [0; 4] => return None,
            rtype::TSIG => self.tsig = Some(Tsig::read(owner, data)?),
            _ => {}
        }
        Some(())
    }
}

fn read_question<'a>(reader: &mut Reader<'a>, name: &mut LookupName) -> Option<(&'a [u8], u16, u16)> {
    let start = reader.at;
    let length = name.read(reader.octets.get(start..)?)?;
    reader.take(length)?;
    let (qtype, qclass) = (reader.u16()?, reader.u16()?);
    Some((reader.octets.get(start..reader.at)?, qtype, qclass))
}

fn read_options<'a>(data: &'a [u8], edns: &mut Edns<'a>) -> Option<()> {
    let mut reader = Reader { octets: data, at: 0 };
    while reader.at < data.len() {
        let code = reader.u16()?;
        let length = reader.u16()?;
        let data = reader.take(usize::from(length))?;
        match code {
            option::NSID => edns.nsid = true,
            option::CLIENT_SUBNET if edns.subnet.is_some() => return None,
            option::CLIENT_SUBNET => edns.subnet = Some(Subnet::read(data)?),
            // Of several the first counts (RFC 7873 section 4).
            option::COOKIE if edns.cookie.is_none() => edns.cookie = Some(Cookie::read(data)?),
            option::TCP_KEEPALIVE => edns.keepalive = true,
            option::PADDING => edns.padding = true,
            _ => {}
        }
    }
    Some(())
}

impl<'a> Subnet<'a> {
    /// The source prefix length.
    pub(super) fn source_length(&self) -> u8 {
        self.data.get(SUBNET_SCOPE - 1).copied().unwrap_or(0)
    }

    /// Reads the option's data as strictly as RFC 7871 sections 6 and 7.1.2 ask: a known family, a source length that fits it,
    /// scope 0, exactly as many octets as the source length needs and no bit beyond it.
    pub fn read(data: &'a [u8]) -> Option<Self> {
        let (&[family_high, family_low, source, scope], address) = data.split_first_chunk::<4>()?;
        let longest = match u16::from_be_bytes([family_high, family_low]) {
            // Source length 0 without a family is how a client asks for privacy.
            0 => 0,
            1 => 32,
            2 => 128,
            _ => return None,
        };
        if scope != 0 || source > longest || address.len() != usize::from(source).div_ceil(8) {
            return None;
        }
        let spare_bits = source.wrapping_neg() % 8;
        if address.last().is_some_and(|last| last.trailing_zeros() < u32::from(spare_bits)) {
            return None;
        }
        let address = match (source, longest) {
            (0, _) => None,
            (_, 32) => Some(IpAddr::V4(Ipv4Addr::from(padded::<4>(address)))),
            _ => Some(IpAddr::V6(Ipv6Addr::from(padded::<16>(address)))),
        };
        Some(Self { data, address })
    }
}

fn padded<const N: usize>(octets: &[u8]) -> [u8; N] {
    let mut whole = [0; N];
    for (to, from) in whole.iter_mut().zip(octets) {
        *to = *from;
    }
    whole
}

/// Where in the option's data the scope stands.
pub(super) const SUBNET_SCOPE: usize = 3;
