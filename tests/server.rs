//! The server's sockets on loopback: what is answered, what isn't, the limits, and how it stops.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian::config::TcpLimits;
use meridian::dns::Transport;
use meridian::health::{Details, Failure, Observation};
use meridian::server::privileges::Identity;
use socket2::{Domain, Socket, Type};

use support::load::Load;
use support::{
    LIMITS, PATIENCE, Server, ask_tcp, ask_udp, framed, is_refused, query, read_message, run_in_child, skip,
    udp_client, wait_until,
};

/// What the server promises for a stop.
const STOP_BOUND: Duration = Duration::from_millis(1500);

fn has_ipv6() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}

#[test]
fn udp_answers_come_from_the_address_that_was_asked() {
    let mut cases = vec![("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.2")];
    if has_ipv6() {
        cases.extend([("[::1]:0", "::1"), ("[::]:0", "::1")]);
    } else {
        skip("no IPv6 on this machine");
    }
    for (listen, asked) in cases {
        let server = Server::start(listen, 2, LIMITS);
        let asked = SocketAddr::new(asked.parse().unwrap(), server.address().port());
        // A connected socket hears that address only.
        let client = udp_client(asked);
        for id in 0..200 {
            ask_udp(&client, id);
        }
        let mut stream = TcpStream::connect(asked).unwrap();
        ask_tcp(&mut stream, 1);
    }
}

/// From the observation that decides to the answer on the wire, for as many verdicts as it takes to tell luck from rule.
#[test]
fn the_first_answer_after_an_observation_obeys() {
    const VERDICTS: u32 = 500;
    /// What is promised of one; no machine is late with each of so many.
    const PROMISED: Duration = Duration::from_millis(10);
    let server = Server::start_with(
        r#"
listen = ["127.0.0.1:0"]
workers = 2
[zones."example.com"]
nameservers = ["ns1.example.net"]
[probes.tcp]
type = "tcp"
port = 80
fall = 1
rise = 1
hold_down = "0s"
[pools.web]
probe = "tcp"
endpoints = [{ region = "here", address = "192.0.2.1" }]
[services."www.example.com"]
pool = "web"
when_all_down = "last-resort"
last_resort = ["203.0.113.80"]
"#,
        LIMITS,
    );
    let key = server.publisher.health().keys().next().unwrap();
    let client = udp_client(server.address());
    let mut response = [0; 512];
    let mut took: Vec<Duration> = (0..VERDICTS)
        .map(|index| {
            let is_down = index % 2 == 1;
            let outcome = if is_down { Err(Failure::Refused) } else { Ok(()) };
            let observation =
                Observation { took: Duration::from_millis(1), address: None, outcome, details: Details::default() };
            let made = Instant::now();
            assert_eq!(server.publisher.observe([(Arc::clone(&key), observation)], made).len(), 1);
            client.send(&query(index as u16)).unwrap();
            let length = client.recv(&mut response).unwrap();
            let expected: &[u8] = if is_down { &[203, 0, 113, 80] } else { &[192, 0, 2, 1] };
            assert!(response[..length].ends_with(expected), "{index}: {:02x?}", &response[..length]);
            made.elapsed()
        })
        .collect();
    took.sort_unstable();
    assert!(took[took.len() / 2] < PROMISED, "{took:?}");
    let counted = server.publisher.verdict_delays();
    assert_eq!(counted.counts.iter().sum::<u64>(), u64::from(VERDICTS));
    assert!(counted.sum <= took.iter().sum::<Duration>(), "a part of what it takes to the wire");
}

#[test]
fn udp_leaves_what_is_no_query_unanswered() {
    let server = Server::start("127.0.0.1:0", 1, LIMITS);
    let client = udp_client(server.address());
    let mut response = query(1);
    response[2] |= 0x80;
    for datagram in [&response[..], &query(2)[..11], &[]] {
        client.send(datagram).unwrap();
    }
    // One worker answers in order, so the first thing to come is the answer to this.
    ask_udp(&client, 3);
}

#[test]
fn udp_counts_requests_that_are_too_long() {
    let server = Server::start("127.0.0.1:0", 1, LIMITS);
    let client = udp_client(server.address());
    let mut long = query(1);
    long.resize(5000, 0);
    client.send(&long).unwrap();
    wait_until("it is counted", || server.counters.udp_truncated.get() == 1);
}

#[test]
fn no_udp_query_is_lost_under_load() {
    let server = Server::start("127.0.0.1:0", 2, LIMITS);
    let server_address = server.address();
    let load = Load {
        server: server_address,
        source: server_address.ip(),
        queries_per_second: 20_000,
        duration: Duration::from_secs(1),
    };
    let report = load.run(&query(0), |response| is_refused(response, u16::from_be_bytes([response[0], response[1]])));
    assert_eq!((report.lost, report.wrong), (0, 0), "{report:?}");
    assert_eq!(report.answered, report.sent, "{report:?}");
    assert!(report.sent > 1_000, "{report:?}");
}

#[test]
fn tcp_answers_many_queries_in_order() {
    let server = Server::start("127.0.0.1:0", 1, LIMITS);
    let mut stream = server.connect();
    let queries: Vec<u8> = (0..1000).flat_map(|id| framed(&query(id))).collect();
    stream.write_all(&queries).unwrap();
    for id in 0..1000 {
        assert!(is_refused(&read_message(&mut stream).unwrap(), id), "{id}");
    }
    // In pieces that end anywhere.
    for piece in queries[..3 * 35].chunks(8) {
        stream.write_all(piece).unwrap();
    }
    for id in 0..3 {
        assert!(is_refused(&read_message(&mut stream).unwrap(), id), "{id}");
    }
}

#[test]
fn tcp_reads_the_longest_query_whole() {
    let server = Server::start("127.0.0.1:0", 1, LIMITS);
    let mut stream = server.connect();
    let mut long = query(1);
    long.resize(65_535, 0);
    stream.write_all(&framed(&long)).unwrap();
    assert_eq!(read_message(&mut stream).unwrap()[..2], [0, 1]);
    ask_tcp(&mut stream, 2);
}

#[test]
fn tcp_closes_after_what_cannot_be_answered() {
    let mut response = query(3);
    response[2] |= 0x80;
    for bad in [&[][..], &query(3)[..11], &response] {
        let server = Server::start("127.0.0.1:0", 1, LIMITS);
        let mut stream = server.connect();
        stream.write_all(&[framed(&query(1)), framed(&query(2)), framed(bad)].concat()).unwrap();
        for id in [1, 2] {
            assert!(is_refused(&read_message(&mut stream).unwrap(), id));
        }
        assert_eq!(read_message(&mut stream), None, "{bad:?}");
        wait_until("it is forgotten", || server.tcp().open.get() == 0);
    }
}

#[test]
fn tcp_answers_a_client_that_has_closed_its_half() {
    let server = Server::start("127.0.0.1:0", 1, LIMITS);
    let mut stream = server.connect();
    stream.write_all(&(0..3).flat_map(|id| framed(&query(id))).collect::<Vec<u8>>()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    for id in 0..3 {
        assert!(is_refused(&read_message(&mut stream).unwrap(), id));
    }
    assert_eq!(read_message(&mut stream), None);
}

#[test]
fn tcp_closes_an_idle_connection() {
    let idle_timeout = Duration::from_millis(300);
    let server = Server::start("127.0.0.1:0", 1, TcpLimits { idle_timeout, ..LIMITS });
    let mut stream = server.connect();
    let asked = Instant::now();
    ask_tcp(&mut stream, 1);
    assert_eq!(read_message(&mut stream), None);
    assert!(asked.elapsed() >= idle_timeout);
    assert_eq!(server.tcp().timed_out.get(), 1);
}

#[test]
fn tcp_dripping_bytes_do_not_keep_a_connection_open() {
    let idle_timeout = Duration::from_millis(300);
    let server = Server::start("127.0.0.1:0", 1, TcpLimits { idle_timeout, ..LIMITS });
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut drips = 0;
    let long = framed(&[7; 60_000]);
    let closed = long[..100].chunks(1).any(|drip| {
        drips += 1;
        let wrote = stream.write_all(drip).is_ok();
        !wrote || !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
    assert!(closed && drips > 1, "{closed} after {drips} drips");
    assert_eq!(server.tcp().timed_out.get(), 1);
}

/// A connection from this address whose client asks without end and reads nothing, at the point where the server can't
/// write any more.
fn blocked(client: &str, server: &Server) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(&client.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&server.address().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let queries: Vec<u8> = (0..1000).flat_map(|id| framed(&query(id))).collect();
    let deadline = Instant::now() + PATIENCE;
    while stream.write_all(&queries).is_ok() {
        assert!(Instant::now() < deadline, "the server never stopped reading");
    }
    stream
}

#[test]
fn tcp_gives_up_on_a_client_that_does_not_read() {
    let limits = TcpLimits { write_timeout: Duration::from_secs(1), ..LIMITS };
    let server = Server::start("127.0.0.1:0", 1, limits);
    let _blocked = blocked("127.0.0.1:0", &server);
    wait_until("its time is out", || server.tcp().timed_out.get() == 1);
    wait_until("it is forgotten", || server.tcp().open.get() == 0);
}

#[test]
fn clients_that_do_not_read_keep_nobody_out() {
    let server = Server::start("127.0.0.1:0", 1, TcpLimits { connections: 3, ..LIMITS });
    let _blocked = ["127.0.0.1:0", "127.0.0.2:0", "127.0.1.1:0"].map(|client| blocked(client, &server));
    let mut honest = connect_from("127.0.2.1:0", server.address());
    ask_tcp(&mut honest, 1);
    // It keeps its place when another network wants more of them.
    let mut greedy = [(); 3].map(|()| connect_from("127.0.0.1:0", server.address()));
    ask_tcp(&mut greedy[2], 2);
    ask_tcp(&mut honest, 3);
    let counters = server.tcp();
    assert_eq!((counters.evicted.get(), counters.refused.get(), counters.timed_out.get()), (4, 0, 0));
}

/// A connection from this address.
fn connect_from(client: &str, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&client.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

#[test]
fn tcp_bounds_the_connections_of_one_client_network() {
    let server = Server::start("127.0.0.1:0", 1, TcpLimits { connections_per_client: 2, ..LIMITS });
    let mut first = server.connect();
    ask_tcp(&mut first, 1);
    // From another address of the same network.
    let mut second = connect_from("127.0.0.2:0", server.address());
    ask_tcp(&mut second, 2);
    // Another network has its own bound.
    let mut other = connect_from("127.0.1.1:0", server.address());
    ask_tcp(&mut other, 3);
    ask_tcp(&mut first, 4);
    let mut third = server.connect();
    ask_tcp(&mut third, 5);
    assert_eq!(read_message(&mut second), None, "it was idle longest in its network");
    for stream in [&mut first, &mut third, &mut other] {
        ask_tcp(stream, 6);
    }
    let counters = server.tcp();
    assert_eq!((counters.evicted.get(), counters.refused.get(), counters.open.get()), (1, 0, 3));
}

#[test]
fn tcp_makes_room_by_closing_the_connection_idle_longest() {
    let server = Server::start("127.0.0.1:0", 1, TcpLimits { connections: 3, ..LIMITS });
    let [mut first, mut second, mut third] = [server.connect(), server.connect(), server.connect()];
    for (id, stream) in [&mut first, &mut second, &mut third].into_iter().enumerate() {
        ask_tcp(stream, id as u16);
    }
    ask_tcp(&mut first, 4);
    // Half a query doesn't count.
    second.write_all(&[0]).unwrap();
    let mut fourth = server.connect();
    ask_tcp(&mut fourth, 5);
    assert_eq!(read_message(&mut second), None);
    for stream in [&mut first, &mut third, &mut fourth] {
        ask_tcp(stream, 6);
    }
    let counters = server.tcp();
    assert_eq!((counters.evicted.get(), counters.refused.get(), counters.open.get()), (1, 0, 3));
}

#[test]
fn a_stop_answers_what_has_arrived_and_is_soon_over() {
    let server = Server::start("127.0.0.1:0", 2, LIMITS);
    let mut idle = server.connect();
    ask_tcp(&mut idle, 1);
    let mut asking: Vec<_> = (0..50).map(|_| server.connect()).collect();
    asking.iter_mut().for_each(|stream| ask_tcp(stream, 1));
    let clients: Vec<_> = (0..40).map(|_| udp_client(server.address())).collect();
    for id in 0..100 {
        for client in &clients {
            client.send(&query(id)).unwrap();
        }
    }
    let queries = [framed(&query(2)), framed(&query(3)), vec![0]].concat();
    asking.iter_mut().for_each(|stream| stream.write_all(&queries).unwrap());
    let told = Instant::now();
    let address = server.address();
    server.serving.shutdown();
    assert!(told.elapsed() < STOP_BOUND, "{:?}", told.elapsed());
    for client in &clients {
        for id in 0..100 {
            let mut response = [0; 512];
            let length = client.recv(&mut response).expect("an answer before the stop was over");
            assert!(is_refused(&response[..length], id));
        }
    }
    for stream in &mut asking {
        for id in [2, 3] {
            assert!(is_refused(&read_message(stream).unwrap(), id));
        }
    }
    for stream in asking.iter_mut().chain([&mut idle]) {
        assert_eq!(read_message(stream), None);
    }
    assert!(TcpStream::connect(address).is_err());
    UdpSocket::bind(address).expect("the port is free again");
}

#[test]
fn a_stop_does_not_wait_for_clients_that_do_not_read() {
    let server = Server::start("127.0.0.1:0", 1, LIMITS);
    let _blocked = blocked("127.0.0.1:0", &server);
    let (told, counters) = (Instant::now(), server.counters);
    server.serving.shutdown();
    assert!(told.elapsed() < STOP_BOUND, "{:?}", told.elapsed());
    assert_eq!(counters.connections(Transport::Tcp).open.get(), 0);
}

#[test]
fn without_free_descriptors_the_server_waits_for_some() {
    run_in_child("out_of_descriptors", "ulimit -n 64 &&");
}

#[test]
#[ignore = "uses up its process's descriptors; run by the test above"]
fn out_of_descriptors() {
    let server = Server::start("127.0.0.1:0", 1, LIMITS);
    let udp = udp_client(server.address());
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(files.pop().is_some());
    // Takes the last descriptor, so the other end of the connection can't be accepted.
    let mut stream = server.connect();
    wait_until("accepting has failed", || server.tcp().accept_errors.get() > 0);
    let since = Instant::now();
    wait_until("it has failed some more", || server.tcp().accept_errors.get() > 10);
    assert!(since.elapsed() >= Duration::from_millis(200), "{:?}: it should have paused", since.elapsed());
    ask_udp(&udp, 1);
    files.clear();
    ask_tcp(&mut stream, 2);
}

#[test]
fn privileges_are_dropped_in_every_thread_for_good() {
    run_in_child("dropping_privileges", "");
}

#[test]
#[ignore = "changes its process's user; run by the test above"]
fn dropping_privileges() {
    let ids = |status: &str, key: &str| -> Vec<String> {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    let server = Server::start("127.0.0.1:0", 2, LIMITS);
    let nobody = Identity::resolve(Some("nobody"), None).unwrap().unwrap();
    let old = fs::read_to_string("/proc/self/status").unwrap();
    if ids(&old, "Uid:")[1] != "0" {
        let error = nobody.assume().unwrap_err().to_string();
        assert!(error.contains("start as root"), "{error}");
        return;
    }
    nobody.assume().unwrap();
    let mut threads = 0;
    for thread in fs::read_dir("/proc/self/task").unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        for key in ["Uid:", "Gid:"] {
            let ids = ids(&status, key);
            assert!(ids.len() == 4 && ids.iter().all(|id| *id == ids[0] && id != "0"), "{key} {ids:?}");
        }
        assert_eq!(ids(&status, "Groups:"), ids(&status, "Gid:")[..1]);
        assert_eq!(ids(&status, "CapEff:"), ["0000000000000000"]);
        threads += 1;
    }
    assert!(threads >= 4, "{threads}");
    // What it is already takes no privilege; what it was can't be had back.
    nobody.assume().unwrap();
    Identity::resolve(Some("root"), None).unwrap().unwrap().assume().unwrap_err();
    ask_udp(&udp_client(server.address()), 1);
    ask_tcp(&mut server.connect(), 2);
}
