//! A case file's server as the real binary on loopback, with backends for its probes.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use meridian::config::{Config, Target};
use meridian::dns::Transport;

use crate::file::CaseFile;
use crate::folder;
use crate::support::PATIENCE;
use crate::support::backend::{Backend, listen_on_one_port};
use crate::support::binary::Meridian;
use crate::support::folder::Folder;

/// A case file's server, and all that belongs to it.
#[derive(Debug)]
pub(crate) struct Binary {
    meridian: Meridian,
    /// The latest connection and whose it is: one for each query would use up the system's ports.
    connection: Option<(Ipv4Addr, TcpStream)>,
    _backends: Vec<Backend>,
    /// Accept connections and never answer.
    _silent: Vec<TcpListener>,
    _folder: Folder,
}

impl Binary {
    /// Starts it and waits until it serves and every probed endpoint that is not to stay unknown has its verdict.
    pub(crate) fn start(file: &CaseFile) -> Result<Self, String> {
        let (up, unknown) = probed_addresses(file)?;
        let (port, mut listeners) = listen_on_one_port(&[&up[..], &unknown].concat());
        let silent = listeners.split_off(up.len());
        let backends = listeners.into_iter().map(Backend::start_on).collect();
        let (folder, config) = folder::write(file, port)?;
        let meridian = Meridian::serve(&config);
        meridian.wait_for_verdicts(&unknown);
        Ok(Self { meridian, connection: None, _backends: backends, _silent: silent, _folder: folder })
    }

    /// All that it logged.
    pub(crate) fn log(&self) -> String {
        self.meridian.process.text()
    }

    /// The answer to a request. Where none may come, it is known that none did by something that came after it.
    pub(crate) fn ask(
        &mut self,
        request: &[u8],
        peer: Ipv4Addr,
        transport: Transport,
        silence: bool,
    ) -> Option<Vec<u8>> {
        let answer = match transport {
            Transport::Udp => self.ask_udp(request, peer, silence),
            _ => self.ask_tcp(request, peer),
        };
        answer.unwrap_or_else(|error| {
            eprintln!("{} {request:02x?}: {error}", transport.name());
            None
        })
    }

    fn ask_udp(&self, request: &[u8], peer: Ipv4Addr, silence: bool) -> io::Result<Option<Vec<u8>>> {
        let socket = UdpSocket::bind((peer, 0))?;
        socket.connect(self.meridian.dns)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(request)?;
        if silence {
            socket.send(SENTINEL)?;
        }
        let mut response = [0; 4096];
        let length = socket.recv(&mut response)?;
        // One worker answers all that comes from one socket, in order.
        let is_sentinel = silence && response[..2] == SENTINEL[..2];
        Ok((!is_sentinel).then(|| response[..length].to_vec()))
    }

    fn ask_tcp(&mut self, request: &[u8], peer: Ipv4Addr) -> io::Result<Option<Vec<u8>>> {
        let mut stream = match self.connection.take() {
            Some((whose, stream)) if whose == peer => stream,
            _ => self.connect(peer)?,
        };
        stream.write_all(&[&(request.len() as u16).to_be_bytes(), request].concat())?;
        let mut length = [0; 2];
        match stream.read_exact(&mut length) {
            // The server closes a connection on which it will not answer.
            Err(error) if [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset].contains(&error.kind()) => {
                return Ok(None);
            }
            result => result?,
        }
        let mut response = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut response)?;
        self.connection = Some((peer, stream));
        Ok(Some(response))
    }

    fn connect(&self, peer: Ipv4Addr) -> io::Result<TcpStream> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((peer, 0)).into())?;
        socket.connect(&self.meridian.dns.into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

/// `. IN NS`, with an id that no case has.
const SENTINEL: &[u8] = b"\xfe\xfe\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01";

/// The addresses of the probed endpoints that are up, and of those that stay unknown.
fn probed_addresses(file: &CaseFile) -> Result<(Vec<IpAddr>, Vec<IpAddr>), String> {
    let (_folder, config) = folder::write(file, 1)?;
    let config = Config::load(&config).map_err(|problems| problems.to_string())?;
    let mut addresses: Vec<IpAddr> = config
        .pools
        .iter()
        .filter(|pool| !pool.health.inputs.is_empty())
        .flat_map(|pool| &pool.endpoints)
        .filter_map(|endpoint| match endpoint.target {
            Target::Address(address) => Some(address),
            Target::Hostname(_) => None,
        })
        .collect();
    addresses.sort();
    addresses.dedup();
    // Nobody is there (RFC 3849): a probe of it fails whatever the network is like.
    let is_nowhere = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.segments()[..2] == [0x2001, 0xdb8]);
    addresses.retain(|address| !(is_nowhere(address) && file.down.contains(address)));
    if let Some(foreign) = addresses.iter().find(|address| !address.is_loopback()) {
        return Err(format!("{foreign} is probed, but is not on loopback"));
    }
    let unknown = addresses.iter().copied().filter(|address| file.unknown.contains(address)).collect();
    addresses.retain(|address| file.is_up(*address));
    Ok((addresses, unknown))
}
