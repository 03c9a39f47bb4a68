//! The ICMP probe: an echo request is answered (RFC 792, RFC 4443 section 4).

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::connect::Deadline;
use super::{Failure, Phase};

/// Octets of the header of an echo message.
const HEADER: usize = 8;
/// Octets that come back as they were sent.
const NONCE: usize = 16;
/// More than any answer has that counts, options of an IPv4 header included.
const MAX_ANSWER: usize = 256;

/// A socket for echo messages.
struct EchoSocket {
    socket: UdpSocket,
    /// Whether it is raw, in which case IPv4 answers begin with their IP header.
    is_raw: bool,
}

impl EchoSocket {
    /// One that needs no privilege where the system's settings allow it, else a raw one.
    fn open(is_ipv4: bool, source: Option<IpAddr>) -> io::Result<Self> {
        let (domain, protocol) =
            if is_ipv4 { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
        let (socket, is_raw) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                (Socket::new(domain, Type::RAW, Some(protocol))?, true)
            }
            socket => (socket?, false),
        };
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, is_raw })
    }
}

/// Whether echo requests can be sent from here; a hint where they can't.
pub(super) fn permission() -> Result<(), String> {
    let is_refused = |domain, protocol| {
        [Type::DGRAM, Type::RAW].into_iter().all(|kind| {
            let opened = Socket::new(domain, kind, Some(protocol));
            opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        })
    };
    if is_refused(Domain::IPV4, Protocol::ICMPV4) { Err(HINT.to_owned()) } else { Ok(()) }
}

const HINT: &str = "echo requests may not be sent: let net.ipv4.ping_group_range include the server's group, or give it \
                    CAP_NET_RAW (AmbientCapabilities= in the unit)";

/// Sends an echo request, and waits until it is answered.
pub(super) async fn attempt(address: IpAddr, source: Option<IpAddr>, deadline: Deadline) -> Result<(), Failure> {
    let EchoSocket { socket, is_raw } =
        EchoSocket::open(address.is_ipv4(), source).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Failure::Local(HINT.to_owned()),
            _ => Failure::from_io(&error),
        })?;
    let io = |error: io::Error| Failure::from_io(&error);
    // Answers from elsewhere are dropped by the kernel.
    socket.connect(SocketAddr::new(address, 0)).await.map_err(io)?;
    let nonce: [u8; NONCE] = std::array::from_fn(|_| fastrand::u8(..));
    let request = request(address.is_ipv4(), fastrand::u16(..), &nonce);
    let exchange = async {
        let mut answer = [0; MAX_ANSWER];
        socket.send(&request).await?;
        loop {
            let length = socket.recv(&mut answer).await?;
            if is_answer(&answer[..length], address.is_ipv4(), is_raw, &nonce) {
                return Ok(());
            }
        }
    };
    deadline.within(Phase::Response, exchange).await?.map_err(io)
}

/// An echo request. The kernel writes the checksum itself but where the socket is raw and of IPv4; the identifier too, where it
/// is not raw.
fn request(is_ipv4: bool, identifier: u16, nonce: &[u8; NONCE]) -> [u8; HEADER + NONCE] {
    let mut request = [0; HEADER + NONCE];
    request[0] = if is_ipv4 { 8 } else { 128 };
    request[4..6].copy_from_slice(&identifier.to_be_bytes());
    request[7] = 1;
    request[HEADER..].copy_from_slice(nonce);
    let checksum = checksum(&request);
    request[2..4].copy_from_slice(&checksum.to_be_bytes());
    request
}

/// RFC 1071, of an even number of octets.
fn checksum(octets: &[u8]) -> u16 {
    let sum: u32 = octets.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded + (folded >> 16)) as u16)
}

/// Whether a datagram is the answer: others, such as what a raw socket sees of other programs, are passed over.
fn is_answer(datagram: &[u8], is_ipv4: bool, is_raw: bool, nonce: &[u8; NONCE]) -> bool {
    let message = match datagram.first() {
        // Its header has at least five words, and says how many (RFC 791 section 3.1).
        Some(first) if is_raw && is_ipv4 => datagram.get(usize::from(first & 0x0f).max(5) * 4..),
        first => first.map(|_| datagram),
    };
    let reply = if is_ipv4 { 0 } else { 129 };
    message.is_some_and(|message| message.first() == Some(&reply) && message.get(HEADER..) == Some(&nonce[..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SENT: [u8; NONCE] = *b"0123456789abcdef";

    fn reply(kind: u8, nonce: &[u8]) -> Vec<u8> {
        [&[kind, 0, 0, 0, 0, 1, 0, 1][..], nonce].concat()
    }

    #[test]
    fn the_checksum_is_as_in_rfc_1071() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        // A message with its checksum sums up to nothing.
        assert_eq!(checksum(&request(true, 0xfffe, &[0xff; NONCE])), 0);
    }

    #[test]
    fn only_the_answer_is_one() {
        let ip_header = |words: u8| [&[0x40 | words][..], &vec![0; usize::from(words) * 4 - 1]].concat();
        assert!(is_answer(&reply(0, &SENT), true, false, &SENT));
        assert!(is_answer(&reply(129, &SENT), false, false, &SENT));
        assert!(is_answer(&reply(129, &SENT), false, true, &SENT), "no IP header in IPv6");
        assert!(is_answer(&[ip_header(5), reply(0, &SENT)].concat(), true, true, &SENT));
        assert!(is_answer(&[ip_header(7), reply(0, &SENT)].concat(), true, true, &SENT));
        for (wrong, is_ipv4, is_raw) in [
            (reply(8, &SENT), true, false),
            (reply(0, &SENT), false, false),
            (reply(0, b"another nonce 16"), true, false),
            (reply(0, &SENT[..15]), true, false),
            (reply(0, &SENT), true, true),
            (Vec::new(), true, true),
            (vec![0x4f], true, true),
        ] {
            assert!(!is_answer(&wrong, is_ipv4, is_raw, &SENT), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_datagram_is_taken(datagram: Vec<u8>, is_ipv4: bool, is_raw: bool) {
            prop_assert!(!is_answer(&datagram, is_ipv4, is_raw, &SENT));
        }
    }
}
