//! A case file's server as the real binary on loopback, with backends for its probes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use meridian::config::{Config, Target};
use meridian::dns::Transport;

use crate::file::CaseFile;
use crate::folder::Folder;

/// Longer than anything here takes on the slowest machine: to wait so long is to fail.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a condition is looked at that can't be waited for.
const GLANCE: Duration = Duration::from_millis(10);
/// How often another port is tried where one isn't free on every address.
const PORTS_TRIED: usize = 100;

/// A running `meridian serve`; killed when dropped.
#[derive(Debug)]
pub(crate) struct Binary {
    process: Child,
    dns: SocketAddr,
    /// The latest connection and whose it is: one for each query would use up the system's ports.
    connection: Option<(Ipv4Addr, TcpStream)>,
    log: Arc<Log>,
    /// Accept connections and never answer.
    _silent: Vec<TcpListener>,
    _folder: Folder,
}

/// What the process wrote on standard error.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grew: Condvar,
}

impl Binary {
    /// Starts it and waits until it serves and every probed endpoint that is not to stay unknown has its verdict.
    pub(crate) fn start(file: &CaseFile) -> Result<Self, String> {
        let (up, unknown) = probed_addresses(file)?;
        let (port, up, silent) = listen(&up, &unknown).map_err(|error| format!("no port for the backends: {error}"))?;
        up.into_iter().for_each(serve_backend);

        let folder = Folder::write(file, port)?;
        let mut process = Command::new(env!("CARGO_BIN_EXE_meridian"))
            .args(["serve", "-c"])
            .arg(folder.config())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the binary can't be started: {error}"))?;
        let log = Arc::new(Log::default());
        if let Some(stderr) = process.stderr.take() {
            let log = Arc::clone(&log);
            thread::spawn(move || log.read(stderr));
        }
        // From here on dropping it kills the process.
        let dns = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut binary = Self { process, dns, connection: None, log, _silent: silent, _folder: folder };
        binary.dns = binary.address_of("serving DNS")?;
        let admin = binary.address_of("serving the admin interface")?;
        binary.wait_for_verdicts(admin, &unknown)?;
        Ok(binary)
    }

    /// All that it logged.
    pub(crate) fn log(&self) -> String {
        self.log.lines.lock().unwrap().join("\n")
    }

    /// The address that it logs with this message.
    fn address_of(&mut self, message: &str) -> Result<SocketAddr, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(address) = self.log.wait_for(message, GLANCE) {
                return Ok(address);
            }
            let ended = self.process.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || Instant::now() > deadline {
                return Err(format!("it does not say {message:?} ({ended:?}):\n{}", self.log()));
            }
        }
    }

    /// Waits until no endpoint is unknown but those that are to stay so.
    fn wait_for_verdicts(&self, admin: SocketAddr, unknown: &[IpAddr]) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let health = get(admin, "/api/v1/health").map_err(|error| format!("the admin interface: {error}"))?;
            let endpoints = health["endpoints"].as_array().ok_or_else(|| format!("no endpoints in {health}"))?;
            let mut still_unknown = endpoints.iter().filter(|endpoint| endpoint["verdict"] == "unknown");
            if still_unknown.all(|endpoint| unknown.iter().any(|address| endpoint["endpoint"] == address.to_string())) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("verdicts are missing: {health}\n{}", self.log()));
            }
            thread::sleep(GLANCE);
        }
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
            Transport::Tcp => self.ask_tcp(request, peer),
        };
        answer.unwrap_or_else(|error| {
            eprintln!("{} {request:02x?}: {error}", transport.name());
            None
        })
    }

    fn ask_udp(&self, request: &[u8], peer: Ipv4Addr, silence: bool) -> io::Result<Option<Vec<u8>>> {
        let socket = UdpSocket::bind((peer, 0))?;
        socket.connect(self.dns)?;
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
        socket.connect(&self.dns.into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `. IN NS`, with an id that no case has.
const SENTINEL: &[u8] = b"\xfe\xfe\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01";

impl Log {
    fn read(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            self.lines.lock().unwrap().push(line);
            self.grew.notify_all();
        }
    }

    /// The address in the first line with this message, if it comes in time.
    fn wait_for(&self, message: &str, time: Duration) -> Option<SocketAddr> {
        let find = |lines: &Vec<String>| {
            let line = lines.iter().find(|line| line.contains(message))?;
            let (_, address) = line.split_once("address=")?;
            address.split_whitespace().next()?.parse().ok()
        };
        let lines = self.lines.lock().unwrap();
        let (lines, _) = self.grew.wait_timeout_while(lines, time, |lines| find(lines).is_none()).unwrap();
        find(&lines)
    }
}

/// The addresses of the probed endpoints that are up, and of those that stay unknown.
fn probed_addresses(file: &CaseFile) -> Result<(Vec<IpAddr>, Vec<IpAddr>), String> {
    let folder = Folder::write(file, 1)?;
    let config = Config::load(&folder.config()).map_err(|problems| problems.to_string())?;
    let mut addresses: Vec<IpAddr> = config
        .pools
        .iter()
        .filter(|pool| pool.probe.is_some())
        .flat_map(|pool| &pool.endpoints)
        .filter_map(|endpoint| match endpoint.target {
            Target::Address(address) => Some(address),
            Target::Hostname(_) => None,
        })
        .collect();
    addresses.sort();
    addresses.dedup();
    if let Some(foreign) = addresses.iter().find(|address| !address.is_loopback()) {
        return Err(format!("{foreign} is probed, but is not on loopback"));
    }
    let unknown = addresses.iter().copied().filter(|address| file.unknown.contains(address)).collect();
    addresses.retain(|address| file.is_up(*address));
    Ok((addresses, unknown))
}

type Listeners = Vec<TcpListener>;

/// Listens on one port of all these addresses.
fn listen(up: &[IpAddr], unknown: &[IpAddr]) -> io::Result<(u16, Listeners, Listeners)> {
    let all_at = |port, addresses: &[IpAddr]| {
        addresses.iter().map(|address| TcpListener::bind((*address, port))).collect::<io::Result<Listeners>>()
    };
    let mut tried = 0;
    loop {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        match all_at(port, up).and_then(|up| Ok((up, all_at(port, unknown)?))) {
            Ok((up, unknown)) => return Ok((port, up, unknown)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tried < PORTS_TRIED => tried += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Answers every HTTP request with 200, as long as this program runs. A probe by TCP only connects.
fn serve_backend(listener: TcpListener) {
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            if stream.read(&mut request).is_ok_and(|length| length > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        }
    });
}

/// The JSON that a GET answers.
fn get(server: SocketAddr, path: &str) -> io::Result<serde_json::Value> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    match response.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(serde_json::from_str(body)?),
        _ => Err(io::Error::other(format!("GET {path}: {response}"))),
    }
}
