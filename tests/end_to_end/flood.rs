//! A flood of one query from one network beside honest clients, and secrets of cookies that are exchanged.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};

use crate::REGIONS;
use crate::support::binary::Meridian;
use crate::support::dns::{Answer, Question};
use crate::support::folder::Folder;
use crate::support::load::Load;
use crate::support::{PATIENCE, framed, udp_client_from};

const RESPONSES_PER_SECOND: u32 = 100;
const FLOOD_PER_SECOND: u32 = 20_000;
const PORTS: usize = 32;
const HONEST_PER_SECOND: u32 = 80;
const DURATION: Duration = Duration::from_secs(3);
const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 66, 6, 6);
const HONEST: [Ipv4Addr; 3] = [Ipv4Addr::new(127, 66, 5, 1), Ipv4Addr::new(127, 66, 7, 1), Ipv4Addr::new(127, 1, 0, 1)];

fn configuration(settings: &str) -> String {
    format!(
        r#"
{REGIONS}
server.listen = ["127.0.0.1:0"]
server.workers = 2
{settings}
admin.listen = "127.0.0.1:0"
zones."geo.example".nameservers = ["ns1.example.net"]
[pools.web]
endpoints = [{{ region = "us-east", address = "192.0.2.1" }}]
[services."www.geo.example"]
pool = "web"
"#
    )
}

/// What a flood got.
#[derive(Debug, Default)]
struct Flood {
    sent: u32,
    whole: u32,
    truncated: u32,
}

/// Sends the same query at a steady pace from many ports, so that all workers get it, whatever comes back.
fn flood(server: SocketAddr, query: &[u8]) -> Flood {
    let sockets: Vec<UdpSocket> = (0..PORTS).map(|_| udp_client_from(FLOODER.into(), server)).collect();
    for socket in &sockets {
        socket.set_nonblocking(true).unwrap();
    }
    let mut flood = Flood::default();
    let mut response = [0; 4096];
    let began = Instant::now();
    while began.elapsed() < DURATION + Duration::from_millis(500) {
        let due = began.elapsed().min(DURATION).as_secs_f64() * f64::from(FLOOD_PER_SECOND);
        while f64::from(flood.sent) < due && sockets[flood.sent as usize % PORTS].send(query).is_ok() {
            flood.sent += 1;
        }
        while let Some(length) = sockets.iter().find_map(|socket| socket.recv(&mut response).ok()) {
            let message = Message::from_vec(&response[..length]).unwrap();
            assert_eq!(message.metadata.response_code, ResponseCode::NoError);
            if message.metadata.truncation {
                assert!(message.answers.is_empty() && length <= query.len(), "a slip is no larger than the query");
                flood.truncated += 1;
            } else {
                flood.whole += 1;
            }
        }
        thread::sleep(Duration::from_micros(200));
    }
    flood
}

#[test]
fn a_flood_gets_slips_and_silence_and_the_honest_lose_nothing() {
    let folder = Folder::new("flood");
    let settings = format!("server.rate_limit.responses_per_second = {RESPONSES_PER_SECOND}");
    let meridian = Meridian::serve(&folder.put("meridian.toml", configuration(&settings)));
    let query = "www.geo.example A".parse::<Question>().unwrap().query(7);
    let is_right = |response: &[u8]| {
        let answer = Answer::decode(response);
        (answer.rcode, answer.data.as_slice()) == (ResponseCode::NoError, &["192.0.2.1".to_owned()][..])
    };
    let flood = thread::scope(|scope| {
        let flood = scope.spawn(|| flood(meridian.dns, &query));
        let honest: Vec<_> = HONEST
            .into_iter()
            .map(|source| {
                let load = Load {
                    server: meridian.dns,
                    source: source.into(),
                    queries_per_second: HONEST_PER_SECOND,
                    duration: DURATION,
                };
                let query = &query;
                scope.spawn(move || (source, load.run(query, is_right)))
            })
            .collect();
        for client in honest {
            let (source, report) = client.join().unwrap();
            assert!(report.sent >= 200, "{source}: {report:?}");
            assert_eq!((report.lost, report.wrong, report.answered), (0, 0, report.sent), "{source}");
        }
        flood.join().unwrap()
    });
    // A second's worth at once, then the rate.
    let allowed = RESPONSES_PER_SECOND * (DURATION.as_secs() as u32 + 1);
    assert!(flood.sent >= 10 * allowed, "{flood:?}");
    assert!(flood.whole >= RESPONSES_PER_SECOND && flood.whole <= allowed + 5, "{flood:?}");
    let beyond = f64::from(flood.sent - flood.whole);
    let share = f64::from(flood.truncated) / beyond;
    assert!((0.45..0.55).contains(&share), "every second one slips: {flood:?}");
    let metric = |outcome| meridian.metric("meridian_rate_limited_responses_total", outcome);
    assert_eq!(metric("slipped"), f64::from(flood.truncated));
    assert_eq!(metric("slipped") + metric("dropped"), beyond);
    // Who was held back gets through over TCP.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((FLOODER, 0)).into()).unwrap();
    socket.connect(&meridian.dns.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(&framed(&query)).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    assert!(is_right(&answer));
}

/// RFC 9018 section 5: added on every server, then put first on every server, then the old one is taken away.
#[test]
fn secrets_are_exchanged_without_a_client_noticing() {
    const OLD: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf\n";
    const NEW: &str = "445536bcd2513298075a5d379663c962\n";
    let folder = Folder::new("secrets");
    let settings = "server.cookies = { secret_file = \"secrets\", require = true }";
    let config = folder.put("meridian.toml", configuration(settings));
    folder.put_secret("secrets", OLD);
    let (one, other) = (Meridian::serve(&config), Meridian::serve(&config));
    let client = [1, 2, 3, 4, 5, 6, 7, 8];
    // Each of a client's queries goes to another server.
    let mut cookie = client.to_vec();
    assert_eq!(ask_with(&one, &mut cookie), BAD_COOKIE);
    let first = cookie.clone();
    assert_eq!(ask_with(&other, &mut cookie), 0);
    for (step, secrets) in [[OLD, NEW].concat(), [NEW, OLD].concat(), NEW.to_owned()].into_iter().enumerate() {
        folder.put_secret("secrets", secrets);
        for meridian in [&one, &other] {
            assert!(meridian.reload().contains("reloaded"));
            assert_eq!(ask_with(&one, &mut cookie), 0, "step {step}");
            assert_eq!(ask_with(&other, &mut cookie), 0, "step {step}");
        }
    }
    assert_eq!(ask_with(&one, &mut first.clone()), BAD_COOKIE, "the old secret is gone");

    // What others can read is no secret any more.
    folder.put("secrets", NEW);
    let log = one.reload();
    assert!(log.contains("its mode 644 lets others in"), "{log}");
    assert_eq!(ask_with(&one, &mut cookie), 0);
    // What is no secret changes nothing, and is not logged.
    folder.put_secret("secrets", "445536bcd2513298075a5d379663c9\n");
    let log = one.reload();
    assert!(log.contains("line 1 is not a secret of 32 hexadecimal digits"), "{log}");
    assert!(!log.contains("445536"), "{log}");
    assert_eq!(ask_with(&one, &mut cookie), 0);
}

const BAD_COOKIE: u16 = 23;
const COOKIE: u16 = 10;

/// Asks with a cookie, and takes the one that comes back. Returns the response code.
fn ask_with(meridian: &Meridian, cookie: &mut Vec<u8>) -> u16 {
    let mut query = "www.geo.example A".parse::<Question>().unwrap().query(7);
    let end = query.len() - 2;
    query.truncate(end);
    query.extend((4 + cookie.len() as u16).to_be_bytes());
    query.extend(COOKIE.to_be_bytes());
    query.extend((cookie.len() as u16).to_be_bytes());
    query.extend(&*cookie);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&query, meridian.dns).unwrap();
    let mut response = [0; 4096];
    let length = socket.recv(&mut response).unwrap();
    let message = Message::from_vec(&response[..length]).unwrap();
    let options = message.edns.as_ref().unwrap().options();
    let (_, option) = options.as_ref().iter().find(|(code, _)| u16::from(*code) == COOKIE).unwrap();
    *cookie = option.try_into().unwrap();
    message.metadata.response_code.into()
}
