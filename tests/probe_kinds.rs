//! Probes that are not HTTP, against servers, programs and files that are as they should be, or are not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use meridian::config::{Check, DnsCheck, DnsData, ExecCheck, FileCheck, Target, TcpCheck, Timing};
use meridian::health::probe::{MAX_PROGRAMS, Observation, Observe, Prober};
use meridian::health::{Input, TargetKey};
use meridian::reload::{Loader, Origin};
use socket2::{Domain, Protocol, Socket, Type};
use support::{run_in_child, skip, tcp_and_udp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::sleep;

/// Enough for loopback, even on a busy machine.
const AMPLE: Duration = Duration::from_secs(20);
/// For what never answers.
const SHORT: Duration = Duration::from_millis(300);
/// How much later than its timeout a run may be noticed to end.
const SLACK: Duration = Duration::from_millis(500);

const ECHO: Check = Check::Icmp { source: None };
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn key(check: impl Into<Arc<Check>>, address: IpAddr, timeout: Duration) -> TargetKey {
    let timing = Timing { interval: timeout * 2, timeout, ..Timing::DEFAULT };
    TargetKey { check: check.into(), timing, target: Target::Address(address) }
}

async fn probe(check: Check, timeout: Duration) -> Observation {
    let prober = Prober::new([&check]).unwrap();
    let began = Instant::now();
    let observation = prober.observe(&key(check, LOOPBACK, timeout)).await.unwrap();
    assert!(began.elapsed() <= timeout + SLACK, "{:?}", began.elapsed());
    observation
}

/// What is said of the outcome, without the time and the address.
fn said(observation: &Observation) -> String {
    observation.outcome.as_ref().map_or_else(ToString::to_string, |()| "ok".to_owned())
}

mod tcp {
    use super::*;

    /// Sends these parts with a pause in between, and then closes or is silent.
    async fn server(parts: Vec<Vec<u8>>, closes: bool) -> (u16, Arc<Mutex<Vec<u8>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&received);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            for part in parts {
                // The prober may have what it wants.
                if stream.write_all(&part).await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
            if !closes {
                let mut buffer = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    seen.lock().unwrap().extend(&buffer[..length]);
                }
            }
        });
        (port, received)
    }

    #[tokio::test]
    async fn what_comes_back_decides() {
        let x = |count| vec![b'x'; count];
        for (parts, closes, expected) in [
            (vec![b"220 ready\r\n".to_vec()], true, "ok"),
            (vec![b"220 ready\r\n".to_vec()], false, "ok"),
            (vec![b"2".to_vec(), b"20 re".to_vec(), b"ady".to_vec()], false, "ok"),
            (vec![b"22".to_vec(), b"220 ready".to_vec()], false, "ok"),
            (vec![b"\x00\xff220 ready\x00".to_vec()], false, "ok"),
            (vec![x(65_527), b"220 ready".to_vec()], false, "ok"),
            (vec![x(65_528), b"220 ready".to_vec()], false, "answer lacks \"220 ready\" in its first 65536 bytes"),
            (vec![x(10_000_000)], false, "answer lacks \"220 ready\" in its first 65536 bytes"),
            (vec![b"220 read".to_vec()], true, "answer lacks \"220 ready\" in its first 8 bytes"),
            (vec![], true, "answer lacks \"220 ready\" in its first 0 bytes"),
        ] {
            let (port, _) = server(parts.clone(), closes).await;
            let check = TcpCheck { port, source: None, send: None, expect: Some("220 ready".into()) };
            let parts: Vec<_> = parts.iter().map(|part| part.get(..20).unwrap_or(part)).collect();
            assert_eq!(said(&probe(Check::Tcp(check), AMPLE).await), expected, "{parts:?}");
        }
    }

    #[tokio::test]
    async fn what_is_sent_arrives() {
        let (port, received) = server(Vec::new(), false).await;
        let check = TcpCheck { port, source: None, send: Some("PING\r\n\0".into()), expect: None };
        assert_eq!(said(&probe(Check::Tcp(check), AMPLE).await), "ok");
        let began = Instant::now();
        // A connection that is reset may take what it brought with it.
        while began.elapsed() < SHORT && received.lock().unwrap().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        let (port, received) = server(vec![b"PONG".to_vec()], false).await;
        let check = TcpCheck { port, source: None, send: Some("PING\r\n\0".into()), expect: Some("NEVER".into()) };
        let late = said(&probe(Check::Tcp(check), SHORT).await);
        assert_eq!(late, "timed out after 300 ms while waiting for the response");
        assert_eq!(*received.lock().unwrap(), b"PING\r\n\0");
    }

    #[tokio::test]
    async fn silence_and_drips_end_with_the_time() {
        let (silent, _) = server(Vec::new(), false).await;
        let (drips, _) = server(vec![b"x".to_vec(); 10_000], false).await;
        for port in [silent, drips] {
            let check = TcpCheck { port, source: None, send: None, expect: Some("220".into()) };
            let expected = "timed out after 300 ms while waiting for the response";
            assert_eq!(said(&probe(Check::Tcp(check), SHORT).await), expected);
        }
    }

    #[tokio::test]
    async fn who_never_reads_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // More than the buffers of both sides hold is not sent in one probe, so this is all that can be said.
        let check = TcpCheck { port, source: None, send: Some("x".repeat(65_536)), expect: Some("y".into()) };
        let late = said(&probe(Check::Tcp(check), SHORT).await);
        assert!(late.starts_with("timed out after 300 ms while"), "{late}");
    }
}

mod dns {
    use super::*;

    const A: u16 = 1;
    const CNAME: u16 = 5;
    const TXT: u16 = 16;

    /// What a server sends for a query: datagrams, each from its own address and port, or from another port and another address.
    type Script = fn(&[u8]) -> Vec<(Vec<u8>, bool)>;
    /// What it sends over TCP.
    type OverTcp = fn(&[u8]) -> Vec<u8>;

    /// Answers one query over each.
    async fn server(script: Script, over_tcp: Option<OverTcp>) -> u16 {
        let (listener, socket) = tcp_and_udp().await;
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let other_port = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // Somebody may have it already; then the other port is all that is tried.
            let other_address = UdpSocket::bind(("127.0.0.2", port)).await.ok();
            let mut query = [0; 512];
            let (length, peer) = socket.recv_from(&mut query).await.unwrap();
            for (answer, from_here) in script(&query[..length]) {
                let elsewhere = [Some(&other_port), other_address.as_ref()];
                let from = if from_here { [Some(&socket), None] } else { elsewhere };
                for from in from.into_iter().flatten() {
                    from.send_to(&answer, peer).await.unwrap();
                }
            }
            // Its port must stay.
            std::future::pending::<()>().await;
        });
        if let Some(over_tcp) = over_tcp {
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut query).await.unwrap();
                stream.write_all(&over_tcp(&query)).await.unwrap();
            });
        }
        port
    }

    /// An answer with these flags and rcode, and these records of the queried name.
    fn answer(query: &[u8], flags: u8, rcode: u8, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut answer = vec![query[0], query[1], 0x80 | flags, rcode, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
        answer.extend(&query[12..]);
        for (rtype, data) in records {
            answer.extend([0xc0, 12, 0, *rtype as u8, 0, 1, 0, 0, 0, 9, 0, data.len() as u8]);
            answer.extend(*data);
        }
        answer
    }

    fn framed(answer: &[u8]) -> Vec<u8> {
        [&(answer.len() as u16).to_be_bytes(), answer].concat()
    }

    fn check(port: u16, rtype: u16, expect_answer: Option<DnsData>) -> DnsCheck {
        let name = "www.example.com".parse().map(|name: domain::base::Name<Vec<u8>>| name).unwrap();
        DnsCheck { port, source: None, name, rtype, recursion: false, expect_rcode: 0, expect_answer }
    }

    fn one() -> Option<DnsData> {
        Some(DnsData::Address([192, 0, 2, 1].into()))
    }

    const ONE: (u16, &[u8]) = (A, &[192, 0, 2, 1]);
    const TWO: (u16, &[u8]) = (A, &[192, 0, 2, 2]);

    #[tokio::test]
    async fn answers_are_judged() {
        let cases: &[(Script, &str)] = &[
            (|query| vec![(answer(query, 0, 0, &[ONE]), true)], "ok"),
            (|query| vec![(answer(query, 0, 0, &[TWO, ONE]), true)], "ok"),
            (|query| vec![(answer(query, 0, 0, &[(CNAME, &[1, b'a', 0]), ONE]), true)], "ok"),
            (|query| vec![(answer(query, 0, 0, &[TWO]), true)], "answered with A 192.0.2.2 (expected 192.0.2.1)"),
            (|query| vec![(answer(query, 0, 0, &[]), true)], "answered with no A (expected 192.0.2.1)"),
            (
                |query| vec![(answer(query, 0, 0, &[TWO; 4]), true)],
                "answered with A 192.0.2.2, 192.0.2.2, 192.0.2.2 (expected 192.0.2.1)",
            ),
            (|query| vec![(answer(query, 0, 2, &[]), true)], "answered SERVFAIL (expected NOERROR)"),
            (|query| vec![(answer(query, 0, 3, &[ONE]), true)], "answered NXDOMAIN (expected NOERROR)"),
            // The question left out, as of who can't read it.
            (
                |query| vec![(vec![query[0], query[1], 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0], true)],
                "answered FORMERR (expected NOERROR)",
            ),
            // A record that is cut, one that is too short, and a pointer to itself.
            (|query| vec![(answer(query, 0, 0, &[ONE])[..40].to_vec(), true)], "the answer is malformed"),
            (|query| vec![(answer(query, 0, 0, &[(A, &[192, 0, 2])]), true)], "the answer is malformed"),
            (
                |query| {
                    vec![([answer(query, 0, 0, &[]), vec![0xc0, query.len() as u8]].concat(), true)]
                        .into_iter()
                        .map(|(mut octets, here)| {
                            octets[7] = 1;
                            (octets, here)
                        })
                        .collect()
                },
                "the answer is malformed",
            ),
            // What is no answer is passed over.
            (
                |query| {
                    let questionless = vec![query[0], query[1], 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                    let mut other_id = answer(query, 0, 2, &[]);
                    other_id[1] ^= 1;
                    let mut other_name = answer(query, 0, 2, &[]);
                    other_name[13] ^= 1;
                    let mut other_type = answer(query, 0, 2, &[]);
                    let end = other_type.len();
                    other_type[end - 3] = 28;
                    let mut other_class = answer(query, 0, 2, &[]);
                    other_class[end - 1] = 3;
                    let mut a_query = answer(query, 0, 2, &[]);
                    a_query[2] = 0;
                    let wrong = [
                        questionless,
                        other_id,
                        other_name,
                        other_type,
                        other_class,
                        a_query,
                        vec![],
                        vec![0; 11],
                        vec![0xff; 512],
                    ];
                    let mut all: Vec<_> = wrong.into_iter().map(|datagram| (datagram, true)).collect();
                    all.push((answer(query, 0, 2, &[]), false));
                    all.push((answer(query, 0, 0, &[ONE]), true));
                    all
                },
                "ok",
            ),
        ];
        for (number, (script, expected)) in cases.iter().enumerate() {
            let check = check(server(*script, None).await, A, one());
            assert_eq!(said(&probe(Check::Dns(check), AMPLE).await), *expected, "case {number}");
        }
    }

    #[tokio::test]
    async fn the_query_is_as_configured() {
        let only_with_recursion: Script = |query| {
            assert_eq!(query.len(), 12 + 17 + 4);
            let is_asked =
                query[2..] == *b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x10\x00\x01";
            vec![(answer(query, 0x81, if is_asked { 5 } else { 1 }, &[]), true)]
        };
        let check =
            DnsCheck { recursion: true, expect_rcode: 5, ..check(server(only_with_recursion, None).await, TXT, None) };
        assert_eq!(said(&probe(Check::Dns(check), AMPLE).await), "ok");
    }

    #[tokio::test]
    async fn a_query_comes_from_the_source_address_and_its_id_can_not_be_guessed() {
        let source = IpAddr::from([127, 0, 0, 9]);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let check = DnsCheck { source: Some(source), ..check(socket.local_addr().unwrap().port(), A, None) };
        let mut ids = Vec::new();
        for _ in 0..8 {
            let mut query = [0; 512];
            let (observation, ()) = tokio::join!(probe(Check::Dns(check.clone()), AMPLE), async {
                let (length, peer) = socket.recv_from(&mut query).await.unwrap();
                assert_eq!(peer.ip(), source);
                socket.send_to(&answer(&query[..length], 0, 0, &[]), peer).await.unwrap();
            });
            assert_eq!(said(&observation), "ok");
            ids.push([query[0], query[1]]);
        }
        ids.dedup();
        assert!(ids.len() > 4, "{ids:?}");
    }

    #[tokio::test]
    async fn data_of_other_types_is_compared() {
        let text: Script = |query| vec![(answer(query, 0, 0, &[(TXT, b"\x03all\x05 good")]), true)];
        let name: Script = |query| vec![(answer(query, 0, 0, &[(CNAME, b"\x01A\xc0\x10")]), true)];
        let name_of = |text: &str| Some(DnsData::Name(text.parse().unwrap()));
        for (script, rtype, data, expected) in [
            (text, TXT, Some(DnsData::Text("all good".into())), "ok"),
            (text, TXT, Some(DnsData::Text("bad".into())), "answered with TXT \"all good\" (expected \"bad\")"),
            (name, CNAME, name_of("a.example.com"), "ok"),
            (name, CNAME, name_of("b.example.com"), "answered with CNAME A.example.com (expected b.example.com)"),
        ] {
            let check = check(server(script, None).await, rtype, data);
            assert_eq!(said(&probe(Check::Dns(check), AMPLE).await), expected);
        }
    }

    #[tokio::test]
    async fn what_was_cut_off_is_asked_for_over_tcp() {
        let truncated: Script = |query| vec![(answer(query, 2, 0, &[]), true)];
        let cut: Script = |query| vec![(answer(query, 2, 0, &[ONE])[..40].to_vec(), true)];
        let cases: &[(Script, OverTcp, &str)] = &[
            (truncated, |query| framed(&answer(query, 0, 0, &[ONE])), "ok"),
            (cut, |query| framed(&answer(query, 0, 0, &[ONE])), "ok"),
            (truncated, |query| framed(&answer(query, 0, 0, &[TWO])), "answered with A 192.0.2.2 (expected 192.0.2.1)"),
            (truncated, |query| framed(&answer(query, 2, 0, &[])), "the answer is truncated over TCP, too"),
            (truncated, |_| framed(&[0; 12]), "what came over TCP is no answer to the query"),
            (
                truncated,
                |query| framed(&answer(query, 0, 0, &[ONE]))[..20].to_vec(),
                "connection closed by the other side",
            ),
            (truncated, |_| Vec::new(), "connection closed by the other side"),
        ];
        for (number, (script, over_tcp, expected)) in cases.iter().enumerate() {
            let check = check(server(*script, Some(*over_tcp)).await, A, one());
            assert_eq!(said(&probe(Check::Dns(check), AMPLE).await), *expected, "case {number}");
        }
    }

    #[tokio::test]
    async fn nobody_answers() {
        let silent = check(server(|_| Vec::new(), None).await, A, one());
        let late = said(&probe(Check::Dns(silent), SHORT).await);
        assert_eq!(late, "timed out after 300 ms while waiting for the response");
        let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        assert_eq!(said(&probe(Check::Dns(check(closed, A, None)), AMPLE).await), "connection refused");
    }
}

#[tokio::test]
async fn an_echo_request_is_answered_or_not() {
    if let Some(problem) = Prober::forbidden([&ECHO]) {
        skip(&format!("{problem}"));
        return;
    }
    let prober = Prober::new([]).unwrap();
    let near = prober.observe(&key(ECHO, LOOPBACK, AMPLE)).await.unwrap();
    assert_eq!((said(&near).as_str(), near.address), ("ok", Some(LOOPBACK)));
    // Many at once see each other's answers where their sockets are raw.
    let all: Vec<_> = (1..=50_u8)
        .map(|last| {
            tokio::spawn({
                let prober = Prober::new([]).unwrap();
                async move { said(&prober.observe(&key(ECHO, [127, 0, 0, last].into(), AMPLE)).await.unwrap()) }
            })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), "ok");
    }
    if std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        let near = prober.observe(&key(ECHO, Ipv6Addr::LOCALHOST.into(), AMPLE)).await.unwrap();
        assert_eq!(said(&near), "ok");
    } else {
        skip("no IPv6 on this machine");
    }
    let from = |source: [u8; 4]| Check::Icmp { source: Some(source.into()) };
    let own = prober.observe(&key(from([127, 0, 0, 9]), LOOPBACK, AMPLE)).await.unwrap();
    assert_eq!(said(&own), "ok");
    let not_own = prober.observe(&key(from([192, 0, 2, 77]), LOOPBACK, AMPLE)).await.unwrap();
    assert!(not_own.outcome.as_ref().unwrap_err().is_local(), "{not_own}");
    // An address of which nobody may send or answer anything (RFC 1112 section 4).
    let nowhere = prober.observe(&key(ECHO, [240, 0, 0, 1].into(), SHORT)).await.unwrap();
    assert_ne!(said(&nowhere), "ok");
}

/// Where nobody but a test answers echo requests: in a network of its own, whose kernel doesn't.
#[test]
fn an_echo_reply_of_another_host_is_none() {
    let network = "ip link set lo up && echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all";
    let is_possible = Command::new("unshare").args(["--net", "sh", "-c", network]).output();
    if !is_possible.is_ok_and(|output| output.status.success()) {
        skip("this user may make no network of its own");
        return;
    }
    let preparation = format!("exec unshare --net sh -c '{network} && exec \"$0\" \"$@\"' \"$0\" \"$@\";");
    run_in_child("echo_replies_by_others", &preparation);
}

#[tokio::test]
#[ignore = "run by `an_echo_reply_of_another_host_is_none`"]
async fn echo_replies_by_others() {
    let prober = Prober::new([]).unwrap();
    let asked = IpAddr::from([127, 0, 0, 2]);
    for (answering, expected) in
        [([127, 0, 0, 9], "timed out after 300 ms while waiting for the response"), ([127, 0, 0, 2], "ok")]
    {
        let socket = |address: IpAddr| {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
            socket.bind(&SocketAddr::new(address, 0).into()).unwrap();
            socket
        };
        let (mut requests, replies) = (socket(asked), socket(answering.into()));
        std::thread::spawn(move || {
            let mut packet = [0; 256];
            // The header of IPv4 has five words; a request is of type 8, a reply of type 0, and the checksums differ by as much.
            let length = requests.read(&mut packet).unwrap();
            let message = &mut packet[20..length];
            assert_eq!(message[0], 8);
            let checksum = u16::from_be_bytes([message[2], message[3]]);
            let (sum, carry) = checksum.overflowing_add(0x0800);
            message[2..4].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
            message[0] = 0;
            replies.send_to(message, &SocketAddr::new(LOOPBACK, 0).into()).unwrap();
        });
        let observation = prober.observe(&key(ECHO, asked, SHORT)).await.unwrap();
        assert_eq!(said(&observation), expected, "{answering:?}");
    }
}

mod exec {
    use super::*;

    /// A folder with programs.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("meridian-programs-{}-{number}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        /// A check by a script for the shell.
        fn script(&self, text: &str) -> ExecCheck {
            let command = self.0.join("script");
            fs::write(self.0.join("text"), text).unwrap();
            let _ = fs::remove_file(&command);
            // One that is being written can't be run, and other tests fork meanwhile: so the shell reads it.
            std::os::unix::fs::symlink("/bin/sh", &command).unwrap();
            let arguments = vec![self.0.join("text").to_str().unwrap().to_owned(), "{address}:{port}".to_owned()];
            ExecCheck { command, arguments, port: None }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    async fn run(check: ExecCheck, timeout: Duration) -> String {
        said(&probe(Check::Exec(check), timeout).await)
    }

    #[tokio::test]
    async fn how_a_program_ends_decides() {
        let folder = Folder::new();
        for (text, expected) in [
            ("exit 0", "ok"),
            ("echo fine; echo warning >&2; exit 0", "ok"),
            ("exit 3", "program failed with exit status: 3"),
            ("echo; echo '  no route  ' >&2; echo more; exit 2", "program failed with exit status: 2: no route"),
            ("printf 'a\\033[31mb\\tc'; exit 1", "program failed with exit status: 1: a [31mb c"),
            ("printf '\\377\\376'; exit 1", "program failed with exit status: 1: \u{fffd}\u{fffd}"),
            ("kill -TERM $$", "program failed with signal: 15 (SIGTERM)"),
            ("read line && exit 1; exit 0", "ok"),
            ("[ $(pwd) = / ] || exit 1", "ok"),
        ] {
            assert_eq!(run(folder.script(text), AMPLE).await, expected, "{text}");
        }
    }

    #[tokio::test]
    async fn a_program_is_told_of_its_target_and_of_nothing_else() {
        let folder = Folder::new();
        let seen = folder.0.join("seen");
        let script = format!("echo \"$1\" > {0}; env | grep -v '^_=\\|^PWD=\\|^SHLVL=' | sort >> {0}", seen.display());
        assert_eq!(run(folder.script(&script), AMPLE).await, "ok");
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
        let expected = format!("127.0.0.1:\nMERIDIAN_ADDRESS=127.0.0.1\n{path}");
        assert_eq!(fs::read_to_string(&seen).unwrap(), expected);
        let check = ExecCheck { port: Some(8080), ..folder.script(&script) };
        assert_eq!(run(check, AMPLE).await, "ok");
        let expected = format!("127.0.0.1:8080\nMERIDIAN_ADDRESS=127.0.0.1\nMERIDIAN_PORT=8080\n{path}");
        assert_eq!(fs::read_to_string(&seen).unwrap(), expected);
    }

    #[tokio::test]
    async fn nothing_is_read_by_a_shell() {
        let folder = Folder::new();
        let mark = folder.0.join("mark");
        let check = ExecCheck {
            command: "/bin/echo".into(),
            arguments: vec![format!("; touch {0} $(touch {0}) `touch {0}`", mark.display())],
            port: None,
        };
        assert_eq!(run(check, AMPLE).await, "ok");
        assert!(!mark.exists());
    }

    /// Whether a process is there and no zombie.
    fn is_alive(pid: &str) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        status.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).is_some_and(|state| !"ZX".contains(state))
    }

    fn zombies_of_this_process() -> usize {
        let own = std::process::id().to_string();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
        stats
            .filter(|stat| {
                let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
                fields.next() == Some("Z") && fields.next() == Some(&own)
            })
            .count()
    }

    async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < AMPLE, "{what}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn programs_that_hang_or_fork_leave_nothing_behind() {
        let folder = Folder::new();
        let pids = folder.0.join("pids");
        let forks =
            format!("sleep 1000 & echo $! >> {0}; sleep 1000 & echo $! >> {0}; echo $$ >> {0};", pids.display());
        for (then, time, expected) in [
            ("wait", SHORT, "timed out after 300 ms while running the program"),
            ("trap '' TERM INT HUP; wait; wait", SHORT, "timed out after 300 ms while running the program"),
            // Those that stay hold its output.
            ("exit 0", AMPLE, "ok"),
            ("echo gone; exit 1", AMPLE, "program failed with exit status: 1: gone"),
        ] {
            let _ = fs::remove_file(&pids);
            assert_eq!(run(folder.script(&format!("{forks} {then}")), time).await, expected, "{then}");
            let pids = fs::read_to_string(&pids).unwrap();
            assert_eq!(pids.lines().count(), 3);
            until("all are killed", || !pids.lines().any(is_alive)).await;
        }
        until("all are waited for", || zombies_of_this_process() == 0).await;
    }

    #[tokio::test]
    async fn a_run_that_is_given_up_kills_its_programs() {
        let folder = Folder::new();
        let pids = folder.0.join("pids");
        let check =
            Check::Exec(folder.script(&format!("sleep 1000 & echo $! >> {0}; echo $$ >> {0}; wait", pids.display())));
        let prober = Prober::new([&check]).unwrap();
        let run = tokio::spawn(async move { prober.observe(&key(check, LOOPBACK, AMPLE)).await });
        let written = || fs::read_to_string(&pids).unwrap_or_default();
        until("it runs", || written().lines().count() == 2).await;
        run.abort();
        until("all are killed", || !written().lines().any(is_alive)).await;
        until("all are waited for", || zombies_of_this_process() == 0).await;
    }

    #[tokio::test]
    async fn endless_output_is_not_read() {
        let folder = Folder::new();
        // Ends by SIGPIPE, once nobody reads any more.
        let failed = run(folder.script("exec yes 'all is well'"), AMPLE).await;
        assert_eq!(failed, "program failed with signal: 13 (SIGPIPE): all is well");
        let long = run(folder.script("head -c 100000 /dev/zero | tr '\\0' x; exit 0"), AMPLE).await;
        assert_eq!(long, "ok");
    }

    #[tokio::test]
    async fn what_can_not_be_run_says_nothing_of_the_target() {
        let folder = Folder::new();
        let plain = folder.0.join("plain");
        fs::write(&plain, "text").unwrap();
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
        for command in [folder.0.join("none"), plain, folder.0.clone()] {
            let check = ExecCheck { command, arguments: Vec::new(), port: None };
            let observation = probe(Check::Exec(check), AMPLE).await;
            assert!(observation.outcome.as_ref().unwrap_err().is_local(), "{observation}");
        }
    }

    #[tokio::test]
    async fn programs_at_once_are_bounded() {
        let folder = Folder::new();
        let begun = folder.0.join("begun");
        fs::create_dir(&begun).unwrap();
        let count = || fs::read_dir(&begun).unwrap().count();
        let check = Arc::new(Check::Exec(folder.script(&format!("touch {}/$$; exec sleep 1000", begun.display()))));
        let prober = Arc::new(Prober::new([&*check]).unwrap());
        let time = Duration::from_secs(3);
        let runs: Vec<_> = (0..MAX_PROGRAMS + 6)
            .map(|_| {
                let (prober, check) = (Arc::clone(&prober), Arc::clone(&check));
                tokio::spawn(async move { said(&prober.observe(&key(check, LOOPBACK, time)).await.unwrap()) })
            })
            .collect();
        until("as many run as may", || count() >= MAX_PROGRAMS).await;
        sleep(Duration::from_millis(200)).await;
        assert_eq!(count(), MAX_PROGRAMS);
        for run in runs {
            let said = run.await.unwrap();
            // Those that waited have all of their time, if they begin at all.
            let expected = ["timed out after 3000 ms while running the program", "64 programs run already"];
            assert!(expected.iter().any(|expected| said.ends_with(expected)), "{said}");
        }
    }
}

mod file {
    use super::*;

    #[tokio::test]
    async fn a_change_of_the_file_is_noticed_within_a_second() {
        let path = std::env::temp_dir().join(format!("meridian-states-{}", std::process::id()));
        let check = Arc::new(Check::File(FileCheck { path: path.clone(), max_silence: None }));
        let prober = Prober::new([&*check]).unwrap();
        let look = async |last: u8| {
            let observation = prober.observe(&key(Arc::clone(&check), [192, 0, 2, last].into(), AMPLE)).await;
            observation.map(|observation| said(&observation))
        };
        let becomes = async |last: u8, expected: Option<&str>| {
            let began = Instant::now();
            let mut found = look(last).await;
            while found.as_deref() != expected {
                assert!(began.elapsed() < Duration::from_secs(1), "{found:?} is not {expected:?}");
                sleep(Duration::from_millis(10)).await;
                found = look(last).await;
            }
        };
        let missing = look(1).await.unwrap();
        assert!(missing.starts_with("not probed, for a problem on this machine:"), "{missing}");
        fs::write(&path, "192.0.2.1 up\n192.0.2.2 down being repaired\n").unwrap();
        becomes(1, Some("ok")).await;
        becomes(2, Some("the file says that it is down: being repaired")).await;
        becomes(3, None).await;
        // In place and by renaming, of the same length and of another.
        fs::write(&path, "192.0.2.2 up\n192.0.2.1 down being repaired\n").unwrap();
        becomes(1, Some("the file says that it is down: being repaired")).await;
        let other = path.with_extension("new");
        fs::write(&other, "* up\n").unwrap();
        fs::rename(&other, &path).unwrap();
        becomes(1, Some("ok")).await;
        becomes(3, Some("ok")).await;
        // What is broken, gone or too large is no evidence, neither for nor against.
        let unread =
            |problem: &str| format!("not probed, for a problem on this machine: {}: {problem}", path.display());
        fs::write(&path, "192.0.2.1 dow\n192.0.2.2 up\n*").unwrap();
        becomes(1, Some(&unread("line 1 is broken"))).await;
        becomes(2, Some("ok")).await;
        becomes(3, Some(&unread("line 3 is broken"))).await;
        fs::remove_file(&path).unwrap();
        becomes(2, Some(&unread("No such file or directory (os error 2)"))).await;
        fs::File::create(&path).unwrap().set_len(5 << 20).unwrap();
        becomes(2, Some(&unread("larger than 4 MiB"))).await;
        fs::write(&path, "").unwrap();
        becomes(2, None).await;
        fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_nobody_writes_any_more_is_a_failure_where_that_is_asked_for() {
        let path = std::env::temp_dir().join(format!("meridian-states-old-{}", std::process::id()));
        let check = FileCheck { path: path.clone(), max_silence: Some(2 * SHORT) };
        let check = Arc::new(Check::File(check));
        let prober = Prober::new([&*check]).unwrap();
        let look = async || said(&prober.observe(&key(Arc::clone(&check), LOOPBACK, AMPLE)).await.unwrap());
        let becomes = async |expected: &str| {
            let began = Instant::now();
            while !look().await.contains(expected) {
                assert!(began.elapsed() < AMPLE, "{} is not {expected}", look().await);
                sleep(Duration::from_millis(10)).await;
            }
            began.elapsed()
        };
        let old = "its file was not written for 600ms";
        becomes("No such file").await;
        assert!(becomes(old).await > SHORT, "not before its time");
        fs::write(&path, "* up\n").unwrap();
        becomes("ok").await;
        assert!(becomes(old).await > SHORT, "not before its time");
        // The same again is written all the same.
        fs::write(&path, "* up\n").unwrap();
        becomes("ok").await;
        fs::remove_file(&path).unwrap();
        becomes("No such file").await;
        becomes(old).await;
        // What can't be read is not written.
        fs::File::create(&path).unwrap().set_len(5 << 20).unwrap();
        sleep(SHORT).await;
        assert_eq!(look().await, old);
        fs::write(&path, "* down\n").unwrap();
        becomes("the file says that it is down").await;
        fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn a_pipe_in_its_place_is_not_waited_for() {
        let path = std::env::temp_dir().join(format!("meridian-states-pipe-{}", std::process::id()));
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let check = Check::File(FileCheck { path: path.clone(), max_silence: None });
        let found = said(&probe(check, AMPLE).await);
        fs::remove_file(&path).unwrap();
        assert!(found.contains("it is a pipe"), "{found}");
    }
}

#[test]
fn endpoints_are_probed_where_they_say_and_the_same_once() {
    let text = r#"
        [server]
        listen = ["127.0.0.1:0"]
        [zones."a.example"]
        nameservers = ["ns.example"]
        [regions.a]
        location = [0, 0]
        [probes.web]
        type = "https"
        path = "/up"
        [probes.named]
        type = "https"
        host = "www.example.net"
        [probes.ping]
        type = "icmp"
        [pools.web]
        probe = "web"
        endpoints = [
            { region = "a", address = "192.0.2.1" },
            { region = "a", address = "192.0.2.2", probe_address = "192.0.2.1" },
            { region = "a", address = "192.0.2.3", probe_address = "192.0.2.1", probe_port = 8443 },
            { region = "a", address = "192.0.2.4", probe_address = "192.0.2.1", probe_port = 8443 },
            { region = "a", address = "2001:db8::5", probe_port = 8443 },
            { region = "a", address = "192.0.2.6", probe_host = "six.example.net" },
            { region = "a", address = "192.0.2.7", probe_path = "/up/seven?deep=1" },
            { region = "a", address = "192.0.2.8", probe_address = "192.0.2.7", probe_path = "/up/seven?deep=1" },
        ]
        [pools.names]
        probe = "web"
        endpoints = [
            { region = "a", hostname = "a.example.net" },
            { region = "a", hostname = "b.example.net", probe_address = "192.0.2.9" },
            { region = "a", hostname = "c.example.net", probe_address = "192.0.2.9", probe_host = "d.example.net" },
        ]
        [pools.named]
        probe = "named"
        endpoints = [{ region = "a", hostname = "e.example.net", probe_address = "192.0.2.9" }]
        [pools.ping]
        probe = "ping"
        endpoints = [{ region = "a", address = "192.0.2.1", probe_address = "10.0.0.1" }]
    "#;
    let compiled = Loader::new(Origin::Embedded(text.into())).load().unwrap().compiled;
    let targets: Vec<String> = compiled.targets.iter().map(ToString::to_string).collect();
    let expected = [
        "https://192.0.2.1:443/up",
        "https://192.0.2.1:8443/up",
        "https://[2001:db8::5]:8443/up",
        "https://192.0.2.6:443/up (six.example.net)",
        "https://192.0.2.7:443/up/seven?deep=1",
        "https://a.example.net:443/up",
        "https://192.0.2.9:443/up (b.example.net)",
        "https://192.0.2.9:443/up (d.example.net)",
        "https://192.0.2.9:443/ (www.example.net)",
        "icmp://10.0.0.1",
    ];
    assert_eq!(targets, expected);
    let by_endpoint: Vec<u32> = compiled
        .endpoints
        .iter()
        .map(|endpoint| match &*endpoint.inputs {
            [Input::Target(target)] => target.0,
            others => panic!("one target each: {others:?}"),
        })
        .collect();
    assert_eq!(by_endpoint, [0, 0, 1, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9]);
    assert!(Arc::ptr_eq(&compiled.targets[0].check, &compiled.targets[5].check), "one check for all");
}

/// A hostname of which one address has a server and the other has none.
#[tokio::test]
async fn all_addresses_of_a_hostname_are_probed() {
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let has_both = ["127.0.0.1", "::1"].iter().all(|address| {
        hosts.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(address) && words.any(|name| name == "localhost")
        })
    });
    if !has_both || std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        skip("localhost has not two addresses here");
        return;
    }
    let listener = TcpListener::bind(SocketAddr::new(LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let check = Check::Tcp(TcpCheck::accepted(port));
    let prober = Prober::new([&check]).unwrap();
    let target = Target::Hostname("localhost".parse().unwrap());
    let key = TargetKey { target, ..key(check, LOOPBACK, AMPLE) };
    let observation = prober.observe(&key).await.unwrap();
    assert_eq!((said(&observation).as_str(), observation.address), ("ok", Some(LOOPBACK)));
    assert_eq!(observation.details.poor.unwrap(), "1 of 2 addresses fails: ::1: connection refused");
}
