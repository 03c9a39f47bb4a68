//! Binding: every socket that is served from, before privileges are dropped, with every failure at once.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::{cpus, sys};
use crate::config;
use crate::dns::Transport;

/// UDP threads per address at most.
pub const MAX_WORKERS: usize = 256;
/// Room for what arrives while a worker answers; the kernel may grant less.
const RECEIVE_BUFFER_BYTES: i32 = 4 << 20;
/// How long a full send queue may hold a worker up; it then drops the rest of its batch.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted, per address.
const TCP_BACKLOG: i32 = 1024;
/// Tries to find a port that is free for both UDP and TCP, where the system chooses it.
const PORT_ATTEMPTS: usize = 32;

/// All sockets of the server, bound.
#[derive(Debug)]
pub struct Sockets {
    pub(super) udp: Vec<UdpSocket>,
    pub(super) tcp: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    pub(super) encrypted: Option<EncryptedSockets>,
}

/// Those of `[server.encrypted]`.
#[derive(Debug)]
pub(super) struct EncryptedSockets {
    pub(super) tls: Vec<TcpListener>,
    pub(super) https: Vec<TcpListener>,
    pub(super) quic: Vec<UdpSocket>,
    pub(super) addresses: Vec<(Transport, SocketAddr)>,
    /// The path of DNS over HTTPS.
    pub(super) https_path: String,
}

impl Sockets {
    /// Binds UDP and TCP at each address of `listen`: as many UDP sockets that share it as there are workers (1 to
    /// [`MAX_WORKERS`]), and one TCP listener; and one socket at each address of `[server.encrypted]`. Where a port is 0,
    /// the system chooses one, which UDP and TCP of `listen` then both have.
    ///
    /// # Errors
    /// All sockets that could not be bound; none stays bound then.
    pub fn bind(settings: &config::Server) -> Result<Sockets, BindError> {
        let mut sockets = Sockets { udp: Vec::new(), tcp: Vec::new(), addresses: Vec::new(), encrypted: None };
        let mut failures = Vec::new();
        let workers = cpus::workers_per_address(settings).clamp(1, MAX_WORKERS);
        for &address in &settings.listen {
            if let Err(failed) = sockets.bind_address(address, workers) {
                failures.extend(failed);
            }
        }
        if let Some(encrypted) = &settings.encrypted {
            match EncryptedSockets::bind(encrypted) {
                Ok(bound) => sockets.encrypted = Some(bound),
                Err(failed) => failures.extend(failed),
            }
        }
        if failures.is_empty() { Ok(sockets) } else { Err(BindError { failures, wanted: wanted(settings) }) }
    }

    /// The addresses in the order of `listen`, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Worker contexts that serving takes: one for each UDP socket, one for TCP, and one for all that is encrypted.
    pub fn worker_count(&self) -> usize {
        self.udp.len() + 1 + usize::from(self.encrypted.is_some())
    }

    fn bind_address(&mut self, address: SocketAddr, workers: usize) -> Result<(), Vec<BindFailure>> {
        let failure = |transport| move |error| BindFailure { address, transport, error };
        for attempt in 1.. {
            // For port 0 the kernel may choose one that another process shares for UDP; binding TCP then fails.
            let udp = bind_udp(address, workers).map_err(failure(Transport::Udp));
            let tcp_address = udp.as_ref().map_or(address, |(bound, _)| *bound);
            let tcp = bind_tcp(tcp_address).map_err(failure(Transport::Tcp));
            match (udp, tcp) {
                (Ok((bound, udp)), Ok(tcp)) => {
                    self.addresses.push(bound);
                    self.udp.extend(udp);
                    self.tcp.push(tcp);
                    break;
                }
                (Ok(_), Err(tcp))
                    if address.port() == 0
                        && tcp.error.kind() == io::ErrorKind::AddrInUse
                        && attempt < PORT_ATTEMPTS => {}
                (udp, tcp) => return Err(udp.err().into_iter().chain(tcp.err()).collect()),
            }
        }
        Ok(())
    }
}

impl EncryptedSockets {
    fn bind(settings: &config::Encrypted) -> Result<Self, Vec<BindFailure>> {
        let mut sockets = Self {
            tls: Vec::new(),
            https: Vec::new(),
            quic: Vec::new(),
            addresses: Vec::new(),
            https_path: settings.https_path.clone(),
        };
        let mut failures = Vec::new();
        for (transport, address) in encrypted(settings) {
            let bound = match transport {
                Transport::Quic => udp_socket(address, Sharing::Sole).and_then(|socket| {
                    let bound = socket.local_addr();
                    sockets.quic.push(socket);
                    bound
                }),
                _ => bind_tcp(address).and_then(|listener| {
                    let bound = listener.local_addr();
                    let listeners = if transport == Transport::Tls { &mut sockets.tls } else { &mut sockets.https };
                    listeners.push(listener);
                    bound
                }),
            };
            match bound {
                Ok(bound) => sockets.addresses.push((transport, bound)),
                Err(error) => failures.push(BindFailure { address, transport, error }),
            }
        }
        if failures.is_empty() { Ok(sockets) } else { Err(failures) }
    }
}

/// The addresses of `[server.encrypted]`.
fn encrypted(settings: &config::Encrypted) -> impl Iterator<Item = (Transport, SocketAddr)> {
    fn of(transport: Transport, addresses: &[SocketAddr]) -> impl Iterator<Item = (Transport, SocketAddr)> {
        addresses.iter().map(move |address| (transport, *address))
    }
    let tls = of(Transport::Tls, &settings.tls);
    tls.chain(of(Transport::Https, &settings.https)).chain(of(Transport::Quic, &settings.quic))
}

/// All that is to be bound, `listen` as its UDP and its TCP sockets.
fn wanted(settings: &config::Server) -> Vec<(Transport, SocketAddr)> {
    let listen = settings.listen.iter().flat_map(|address| [(Transport::Udp, *address), (Transport::Tcp, *address)]);
    listen.chain(settings.encrypted.iter().flat_map(encrypted)).collect()
}

/// Whether a UDP socket shares its address with others of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// By SO_REUSEPORT.
    Shared,
    /// A second socket is refused.
    Sole,
}

fn bind_udp(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<UdpSocket>)> {
    let first = udp_socket(address, Sharing::Shared)?;
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(udp_socket(bound, Sharing::Shared)?);
    }
    Ok((bound, sockets))
}

fn udp_socket(address: SocketAddr, sharing: Sharing) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(sharing == Sharing::Shared)?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    let option = |level, name, value| sys::set_option(socket.as_fd(), level, name, value);
    // The first goes beyond net.core.rmem_max, and takes CAP_NET_ADMIN.
    if option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES).is_err() {
        let _ = option(libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER_BYTES);
    }
    // Responses are never fragmented, as fragments can be replaced by an attacker's (RFC 9715), and what ICMP says about
    // path MTUs is not believed, as anyone can forge it: responses are small enough for every path there is.
    let wildcard = address.ip().is_unspecified();
    if address.is_ipv4() {
        option(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
        if wildcard {
            option(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        }
    } else {
        socket.set_only_v6(true)?;
        option(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
        if wildcard {
            option(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        }
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Without SO_REUSEPORT, so that a second server on the same address is noticed, which UDP would share with it.
fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(TCP_BACKLOG)?;
    Ok(socket.into())
}

/// Every socket that could not be bound, and what to do about it.
#[derive(Debug)]
pub struct BindError {
    failures: Vec<BindFailure>,
    wanted: Vec<(Transport, SocketAddr)>,
}

impl BindError {
    /// The sockets, in the order of `[server] listen` and then of `[server.encrypted]`; at least one.
    pub fn failures(&self) -> &[BindFailure] {
        &self.failures
    }

    fn hint(&self, failure: &BindFailure) -> Option<String> {
        let BindFailure { address, transport, error } = failure;
        let (port, key) = (address.port(), key(*transport));
        match error.kind() {
            io::ErrorKind::PermissionDenied => Some(format!(
                "port {port} needs the capability CAP_NET_BIND_SERVICE: start as root with [server] user, or set \
                 AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, or listen on a port from 1024 on"
            )),
            io::ErrorKind::AddrInUse => {
                let covers = |(of, other): &&(Transport, SocketAddr)| {
                    let same_ip =
                        other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified();
                    let same_kind = uses_udp(*of) == uses_udp(*transport) && other.is_ipv4() == address.is_ipv4();
                    other.port() == port && same_kind && same_ip
                };
                if self.wanted.iter().filter(covers).count() > 1 {
                    let overlapping = self.wanted.iter().filter(covers);
                    let overlapping: Vec<_> =
                        overlapping.map(|(of, other)| format!("{other} in {}", self::key(*of))).collect();
                    return Some(format!("{} overlap: keep one", overlapping.join(" and ")));
                }
                let table = if uses_udp(*transport) { 'u' } else { 't' };
                Some(format!(
                    "another program has it: `ss -ln{table}p 'sport = :{port}'` as root shows which; stop it, or give \
                     another address or port in {key}"
                ))
            }
            io::ErrorKind::AddrNotAvailable => Some(format!(
                "no interface has the address {}: `ip address` shows those there are; 0.0.0.0 and [::] mean all of them",
                address.ip()
            )),
            _ => None,
        }
    }
}

/// Where the configuration says what a transport listens on.
fn key(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp | Transport::Tcp => "[server] listen",
        Transport::Tls => "[server.encrypted] tls",
        Transport::Https => "[server.encrypted] https",
        Transport::Quic => "[server.encrypted] quic",
    }
}

fn uses_udp(transport: Transport) -> bool {
    matches!(transport, Transport::Udp | Transport::Quic)
}

impl fmt::Display for BindError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot listen for queries")?;
        for failure in &self.failures {
            write!(formatter, "\n  {failure}")?;
            if let Some(hint) = self.hint(failure) {
                write!(formatter, "\n    {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for BindError {}

/// One socket that could not be bound.
#[derive(Debug)]
pub struct BindFailure {
    /// As in the configuration.
    pub address: SocketAddr,
    /// What it was to serve.
    pub transport: Transport,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for BindFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "DNS over TLS",
            Transport::Https => "DNS over HTTPS",
            Transport::Quic => "DNS over QUIC",
        };
        write!(formatter, "{} ({transport}): {}", self.address, self.error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn bind(listen: &[SocketAddr], workers: usize, encrypted: &str) -> Result<Sockets, BindError> {
        let listen: Vec<String> = listen.iter().map(|address| format!("\"{address}\"")).collect();
        let text = format!(
            "server.listen = [{}]\nserver.workers = {workers}\nregions.here.location = [0, 0]\n\
             zones.\"example.com\".nameservers = [\"ns.example.net\"]\n{encrypted}",
            listen.join(", ")
        );
        Sockets::bind(&Config::parse(&text, Path::new("test.toml")).unwrap().server)
    }

    #[test]
    fn a_chosen_port_is_the_same_for_udp_and_tcp_and_all_workers() {
        let sockets = bind(&["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()], 3, "").unwrap();
        assert_eq!((sockets.udp.len(), sockets.tcp.len(), sockets.worker_count()), (6, 2, 7));
        for (index, address) in sockets.addresses().iter().enumerate() {
            assert_ne!(address.port(), 0);
            assert_eq!(sockets.tcp[index].local_addr().unwrap(), *address);
            for udp in &sockets.udp[index * 3..][..3] {
                assert_eq!(udp.local_addr().unwrap(), *address);
            }
        }
    }

    #[test]
    fn every_failure_is_named_with_a_hint() {
        let first = bind(&["127.0.0.1:0".parse().unwrap()], 1, "").unwrap();
        let taken = first.addresses()[0];
        let absent: SocketAddr = "192.0.2.1:0".parse().unwrap();
        let encrypted = format!(
            "[server.encrypted]\ncertificate = \"c\"\nkey = \"k\"\nquic = [\"{taken}\", \"127.0.0.1:0\"]\n\
             https = [\"{taken}\"]\ntls = [\"{absent}\"]\n"
        );
        let error = bind(&["127.0.0.1:0".parse().unwrap(), absent], 1, &encrypted).unwrap_err();
        let failures: Vec<_> = error.failures().iter().map(|failure| (failure.address, failure.transport)).collect();
        let of_absent = [Transport::Udp, Transport::Tcp, Transport::Tls].map(|transport| (absent, transport));
        let of_taken = [Transport::Https, Transport::Quic].map(|transport| (taken, transport));
        assert_eq!(failures, [of_absent.as_slice(), &of_taken].concat());
        let text = error.to_string();
        assert!(text.contains(&format!("{taken} (DNS over HTTPS): Address already in use")), "{text}");
        assert!(text.contains(&format!("ss -lntp 'sport = :{}'", taken.port())), "{text}");
        assert!(text.contains(&format!("ss -lnup 'sport = :{}'", taken.port())), "{text}");
        assert!(text.contains("or port in [server.encrypted] quic"), "{text}");
        assert!(text.contains("no interface has the address 192.0.2.1"), "{text}");
        // UDP alone would share the port of a server that is there already.
        let error = bind(&[taken], 1, "").unwrap_err();
        let failures: Vec<_> = error.failures().iter().map(|failure| (failure.address, failure.transport)).collect();
        assert_eq!(failures, [(taken, Transport::Tcp)]);
        assert!(error.to_string().contains("or port in [server] listen"), "{error}");
    }

    #[test]
    fn addresses_that_overlap_each_other_are_told_from_another_program() {
        let free = bind(&["127.0.0.1:0".parse().unwrap()], 1, "").unwrap().addresses()[0];
        let any: SocketAddr = ([0, 0, 0, 0], free.port()).into();
        let text = bind(&[any, free], 1, "").unwrap_err().to_string();
        let expected = format!("{any} in [server] listen and {free} in [server] listen overlap");
        assert!(text.contains(&expected), "{text}");
        let encrypted = format!("[server.encrypted]\ncertificate = \"c\"\nkey = \"k\"\ntls = [\"{free}\"]\n");
        let text = bind(&[any], 1, &encrypted).unwrap_err().to_string();
        let expected = format!("{any} in [server] listen and {free} in [server.encrypted] tls overlap");
        assert!(text.contains(&expected), "{text}");
    }
}
