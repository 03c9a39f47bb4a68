//! What tests of running servers share.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(dead_code, reason = "not every test uses all of it")]

pub(crate) mod backend;
pub(crate) mod binary;
pub(crate) mod dns;
pub(crate) mod folder;
pub(crate) mod health;
pub(crate) mod load;
pub(crate) mod process;
pub(crate) mod tls;
pub(crate) mod words;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian::config::TcpLimits;
use meridian::dns::{Transport, WorkerContext};
use meridian::reload::{Loader, Origin};
use meridian::server::{self, Certificate, ConnectionCounters, ServerCounters, Serving, Sockets};
use meridian::snapshot::Publisher;

/// Longer than anything here takes on the slowest machine: to wait so long is to fail.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Limits that no test reaches unless it changes them.
pub(crate) const LIMITS: TcpLimits = TcpLimits {
    connections: 100,
    connections_per_client: 100,
    idle_timeout: Duration::from_secs(60),
    write_timeout: Duration::from_secs(60),
};

/// Serves no name that is asked for.
const ELSEWHERE: &str = r#"
zones."elsewhere.example".nameservers = ["ns.example.net"]
regions.here.location = [0, 0]
"#;

/// A server on loopback, its counters, and what publishes what it answers; it refuses every query unless it has further zones.
pub(crate) struct Server {
    pub(crate) serving: Serving,
    pub(crate) counters: Arc<ServerCounters>,
    pub(crate) publisher: Publisher,
}

impl Server {
    /// Serves at `listen` with `workers` UDP threads.
    pub(crate) fn start(listen: &str, workers: usize, limits: TcpLimits) -> Server {
        Self::start_with(&format!("listen = [\"{listen}\"]\nworkers = {workers}\n"), limits)
    }

    /// Serves with these lines in `[server]`.
    pub(crate) fn start_with(settings: &str, limits: TcpLimits) -> Server {
        let mut prepared = Loader::new(Origin::Embedded(format!("{ELSEWHERE}[server]\n{settings}"))).load().unwrap();
        let settings = &mut prepared.compiled.config.server;
        settings.tcp = limits;
        let sockets = Sockets::bind(settings).unwrap();
        assert_eq!(sockets.worker_count(), meridian::server::cpus::threads(settings));
        let publisher = Publisher::new(prepared.compiled);
        let counters = Arc::new(ServerCounters::default());
        let certificate = prepared.certificate.map(Certificate::new).map(Arc::new);
        let mut workers = 0..;
        let context = || {
            let worker = workers.next().unwrap();
            WorkerContext::new(worker, worker as u64, Arc::default())
        };
        let published = publisher.published();
        let serving = server::serve(sockets, published, certificate, &counters, context).unwrap();
        Server { serving, counters, publisher }
    }

    /// Where it serves; the only address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.serving.addresses()[0]
    }

    /// Where it serves an encrypted transport; the only address.
    pub(crate) fn encrypted_address(&self, transport: Transport) -> SocketAddr {
        let of = |(of, address): &(Transport, SocketAddr)| (*of == transport).then_some(*address);
        self.serving.encrypted_addresses().iter().find_map(of).expect("a listener")
    }

    /// A new connection to it.
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address())
    }

    /// The counts of its plain TCP connections.
    pub(crate) fn tcp(&self) -> &ConnectionCounters {
        self.counters.connections(Transport::Tcp)
    }
}

/// A new connection that does not wait for ever.
pub(crate) fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// `www.example.com. IN A`
pub(crate) fn query(id: u16) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    query.extend(b"\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01");
    query
}

/// Whether `response` has this id, QR and REFUSED, which is what a server of no zone answers.
pub(crate) fn is_refused(response: &[u8], id: u16) -> bool {
    response.len() >= 12 && response[..2] == id.to_be_bytes() && response[2] & 0x80 != 0 && response[3] & 15 == 5
}

/// `message` as TCP carries it.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(message);
    framed
}

/// The next message of the stream; nothing at its end.
pub(crate) fn read_message(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    match stream.read(&mut length[..1]) {
        Ok(1) => {}
        Ok(_) => return None,
        // Also without a goodbye inside TLS.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => return None,
        Err(error) => panic!("no answer: {error}"),
    }
    stream.read_exact(&mut length[1..]).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    Some(message)
}

/// Asks once, and checks the answer.
pub(crate) fn ask_tcp(stream: &mut (impl Read + Write), id: u16) {
    stream.write_all(&framed(&query(id))).unwrap();
    assert!(is_refused(&read_message(stream).expect("an answer"), id));
}

/// A client's socket that hears `server` only.
pub(crate) fn udp_client(server: SocketAddr) -> UdpSocket {
    udp_client_from(if server.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }, server)
}

/// A client's socket at this address that hears `server` only.
pub(crate) fn udp_client_from(source: IpAddr, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((source, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Asks once, and checks the answer.
pub(crate) fn ask_udp(socket: &UdpSocket, id: u16) {
    socket.send(&query(id)).unwrap();
    let mut response = [0; 4096];
    let length = socket.recv(&mut response).expect("an answer");
    assert!(is_refused(&response[..length], id));
}

/// A port of 127.0.0.1 that is free for UDP and TCP.
pub(crate) fn free_port() -> u16 {
    let is_free = |port: &u16| UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let listeners = std::iter::repeat_with(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.take(100).map(|listener| listener.local_addr().unwrap().port()).find(is_free).expect("a free port")
}

/// Listens at one port of 127.0.0.1 for both.
pub(crate) async fn tcp_and_udp() -> (tokio::net::TcpListener, tokio::net::UdpSocket) {
    loop {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(socket) = tokio::net::UdpSocket::bind(listener.local_addr().unwrap()).await {
            return (listener, socket);
        }
    }
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_until_within(PATIENCE, what, condition);
}

/// As [`wait_until`], for what takes long on purpose.
pub(crate) fn wait_until_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Says that this machine, or this user, has not what a test is about, or a part of it. The test then counts as passed, so `tests/run`
/// counts these lines.
pub(crate) fn skip(why: &str) {
    let thread = std::thread::current();
    // Past the harness, which shows nothing of what passes.
    let _ = writeln!(std::io::stderr(), "skipped: {}: {why}", thread.name().unwrap_or("a test"));
}

/// Runs the ignored test `name` of this program in a process of its own, started by the shell after `preparation`.
pub(crate) fn run_in_child(name: &str, preparation: &str) {
    let child = Command::new("sh")
        .args(["-c", &format!("{preparation} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .unwrap();
    let output = format!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}
