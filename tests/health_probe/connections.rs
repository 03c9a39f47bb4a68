//! Connections: where they come from, what they leave behind, and how long their parts take.

use meridian::config::{DnsCheck, DnsData, GrpcCheck, TlsCheck};

use super::authority::in_days;
use super::support::tcp_and_udp;
use super::*;

#[tokio::test]
async fn connections_come_from_the_source_address() {
    let (listener, socket) = tcp_and_udp().await;
    let port = listener.local_addr().unwrap().port();
    // What a query asks for is too long for a datagram: it is truncated in the response.
    tokio::spawn(async move {
        let mut query = [0; 512];
        let (length, peer) = socket.recv_from(&mut query).await.unwrap();
        query[2] |= 0x82;
        socket.send_to(&query[..length], peer).await.unwrap();
        std::future::pending::<()>().await;
    });
    let address = IpAddr::from([127, 0, 0, 9]);
    let source = Some(address);
    let dns = DnsCheck {
        port,
        source,
        name: "www.example.com".parse().unwrap(),
        rtype: 1,
        recursion: false,
        expect_rcode: 0,
        expect_answer: Some(DnsData::Address([192, 0, 2, 1].into())),
    };
    let server = Server { port, requests: Arc::default() };
    for check in [
        Check::Tcp(TcpCheck { source, ..TcpCheck::accepted(port) }),
        Check::Http(HttpCheck { source, ..server.check() }),
        Check::Http(HttpCheck { source, tls: trusting(ca_file()), ..server.check() }),
        Check::Tls(TlsCheck { port, source, tls: trusting(ca_file()).unwrap() }),
        Check::Grpc(GrpcCheck { port, source, tls: None, host: None, service: String::new() }),
        Check::Dns(dns),
    ] {
        let key = key(check, loopback(), AMPLE);
        let (_, peer) = tokio::join!(probe(&key), async { listener.accept().await.unwrap().1 });
        assert_eq!(peer.ip(), address, "{key}");
    }
}

#[tokio::test]
async fn a_source_address_that_can_not_be_used_is_no_failure_of_the_target() {
    let server = Server::start(Behaviour::send(OK)).await;
    for (source, expected) in [
        ("192.0.2.1", "not probed, for a problem on this machine: source address 192.0.2.1: "),
        (
            "::1",
            "not probed, for a problem on this machine: 127.0.0.1 can't be reached from ::1, which is of the other family",
        ),
    ] {
        let failure = probe_http(HttpCheck { source: Some(source.parse().unwrap()), ..server.check() })
            .await
            .outcome
            .unwrap_err();
        assert!(failure.is_local() && failure.to_string().starts_with(expected), "{failure}");
    }
}

/// Connections of this machine to or from a port that are closed, but hold it for a minute: state 6 in /proc/net/tcp.
fn waiting(port: u16) -> usize {
    let suffix = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let columns = |line: &str| line.split_whitespace().skip(1).take(3).map(str::to_owned).collect::<Vec<_>>();
    let lines = table.lines().skip(1).map(columns);
    lines.filter(|columns| columns[2] == "06" && columns[..2].iter().any(|address| address.ends_with(&suffix))).count()
}

#[tokio::test]
async fn nothing_is_left_of_a_connection() {
    // Servers that leave closing to the client.
    let quiet = Server::start(Behaviour::Silent).await;
    let open = Server::start(Behaviour::Flood("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")).await;
    for _ in 0..20 {
        assert_eq!(probe(&key(tcp(quiet.port), loopback(), AMPLE)).await.outcome, Ok(()));
        assert_eq!(probe_http(open.check()).await.outcome, Ok(()));
        let body = HttpCheck { expect_body: Some("x".into()), ..open.check() };
        assert_eq!(probe_http(body).await.outcome, Ok(()));
    }
    assert_eq!((waiting(quiet.port), waiting(open.port)), (0, 0));
}

#[tokio::test]
async fn the_parts_of_a_run_are_timed_apart() {
    let authority = Authority::new("Ours");
    let server = authority.server(&["localhost"], in_days(9)).await;
    let check = Check::Http(HttpCheck { tls: trusting(authority.file()), ..server.check() });
    let observation = probe(&key(check, hostname("localhost"), AMPLE)).await;
    assert_eq!(observation.outcome, Ok(()));
    let parts: Vec<Duration> =
        observation.details.phases.named().iter().map(|(name, part)| part.expect(name)).collect();
    assert!(parts.iter().all(|part| !part.is_zero()), "{parts:?}");
    assert!(parts.iter().sum::<Duration>() <= observation.took, "{parts:?} of {:?}", observation.took);
    // What a run did not come to has no time.
    let plain = Server::start(Behaviour::send(OK)).await;
    let phases = probe_http(plain.check()).await.details.phases;
    assert!(
        phases.resolve.is_none() && phases.connect.is_some() && phases.tls.is_none() && phases.first_byte.is_some()
    );
    let phases = probe_http(HttpCheck { tls: trusting(ca_file()), ..server.check() }).await.details.phases;
    assert!(phases.connect.is_some() && phases.tls.is_none() && phases.first_byte.is_none());
}

#[tokio::test]
async fn a_slow_answer_takes_its_time_in_the_part_where_it_is_slow() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server { port: listener.local_addr().unwrap().port(), requests: Arc::default() };
    const LATE: Duration = Duration::from_millis(200);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::time::sleep(LATE).await;
        let _ = stream.write_all(OK.as_bytes()).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    let phases = probe_http(server.check()).await.details.phases;
    assert!(phases.first_byte.unwrap() >= LATE && phases.connect.unwrap() < LATE, "{phases:?}");
}
