//! Random and mutated messages: what may be answered is answered sanely, and nothing else happens.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use fastrand::Rng;
use hickory_proto::op::Message;

use crate::REGIONS;
use crate::support::binary::Meridian;
use crate::support::dns::{Answer, Question, ask};
use crate::support::folder::Folder;
use crate::support::{PATIENCE, framed, udp_client};

const SEED: u64 = 20_260_101;
const UDP_PACKETS: usize = 20_000;
/// Between two queries that are known to be good.
const BATCH: usize = 50;
const TCP_MESSAGES: usize = 500;
const MAX_MESSAGES_PER_CONNECTION: usize = 10;
/// What memory may grow by.
const MAX_GROWTH_KIB: u64 = 16 << 10;

const HEADER_OCTETS: usize = 12;
/// An OPT record without options.
const OPT_OCTETS: usize = 11;
/// What a datagram may have without EDNS, and at most.
const PLAIN_UDP_OCTETS: u16 = 512;
const MAX_UDP_OCTETS: u16 = 1232;

/// NOERROR, FORMERR, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN, NOTAUTH, BADVERS and BADCOOKIE.
const RCODES: [u16; 9] = [0, 1, 3, 4, 5, 6, 9, 16, 23];

const GOOD: &str = "www.geo.example A 141.2.0.0/16";
const GOOD_ANSWER: &str = "NoError 192.0.2.2";

fn start() -> (Folder, Meridian) {
    let folder = Folder::new("hostile");
    // One set is too long for any datagram, one for some.
    let strings = |name, count| (0..count).map(move |number| format!("{name} TXT \"{number:060}\"\n"));
    let strings: String = strings("big", 40).chain(strings("medium", 10)).collect();
    let zone = format!(
        "$TTL 1h\n@ SOA ns1.example.net. host 1 1h 15m 2w 5m\n@ NS ns1.example.net.\n{strings}\
         alias CNAME www\nmoved DNAME example.net.\nsub NS ns.sub\nns.sub A 192.0.2.53\n*.wild TXT \"any\"\n"
    );
    folder.put("geo.example.zone", zone);
    let config = format!(
        r#"
{REGIONS}
server.listen = ["127.0.0.1:0"]
server.nsid = "test"
admin.listen = "127.0.0.1:0"
zones."geo.example".file = "geo.example.zone"
[pools.web]
endpoints = [
  {{ region = "us-east", address = "192.0.2.1" }},
  {{ region = "eu-central", address = "192.0.2.2" }},
  {{ region = "eu-central", address = "2001:db8::2" }},
]
[services."www.geo.example"]
pool = "web"
"#
    );
    let meridian = Meridian::serve(&folder.put("meridian.toml", config));
    (folder, meridian)
}

/// Makes messages, the same ones for the same seed.
struct Mutator {
    rng: Rng,
    good: Vec<Vec<u8>>,
}

impl Mutator {
    fn new(seed: u64) -> Self {
        let questions = [
            GOOD,
            "www.geo.example AAAA 2001:200::/32",
            "WWW.GEO.example HTTPS",
            "big.geo.example TXT",
            "medium.geo.example TXT",
            "alias.geo.example A 198.51.100.0/24",
            "a.b.c.moved.geo.example MX",
            "deep.sub.geo.example A",
            "x.y.wild.geo.example TXT",
            "geo.example ANY",
            "geo.example AXFR",
            "absent.geo.example A 0.0.0.0/0",
            "elsewhere.invalid NS",
            "version.bind TXT CH",
            "explain.www.geo.example TXT CH 141.2.0.0/16",
            "aaaa.explain.deep.sub.geo.example TXT CH",
        ];
        let mut good: Vec<Vec<u8>> = questions.iter().map(|text| text.parse::<Question>().unwrap().query(0)).collect();
        // By clients that take less than it is long. The OPT record ends the query.
        let medium = "medium.geo.example TXT".parse::<Question>().unwrap().query(0);
        let (head, opt) = medium.split_at(medium.len() - OPT_OCTETS);
        for octets in [0, PLAIN_UDP_OCTETS, 700] {
            let mut opt = opt.to_vec();
            opt[3..5].copy_from_slice(&octets.to_be_bytes());
            good.push([head, &opt].concat());
        }
        let mut plain = head.to_vec();
        plain[11] = 0;
        good.push(plain);
        Self { rng: Rng::with_seed(seed), good }
    }

    fn octets(&mut self, most: usize) -> Vec<u8> {
        let count = self.rng.usize(..=most);
        (0..count).map(|_| self.rng.u8(..)).collect()
    }

    /// A message with this id, if it is long enough to have one.
    fn message(&mut self, id: u16) -> Vec<u8> {
        let mut message = match self.rng.u8(..10) {
            0 => self.octets(600),
            1 => {
                let mut message = b"\0\0\x01\0\0\x01\0\0\0\0\0\x01".to_vec();
                message.extend(self.octets(100));
                message
            }
            _ => {
                let mut message = self.good[self.rng.usize(..self.good.len())].clone();
                for _ in 0..self.rng.u8(..5) {
                    self.mutate(&mut message);
                }
                message
            }
        };
        if let Some(start) = message.get_mut(..2) {
            start.copy_from_slice(&id.to_be_bytes());
        }
        message
    }

    fn mutate(&mut self, message: &mut Vec<u8>) {
        let Some(last) = message.len().checked_sub(1) else { return };
        let at = self.rng.usize(..=last);
        let to = self.rng.usize(at..=last.min(at + 40));
        match self.rng.u8(..10) {
            0 => message[at] ^= 1 << self.rng.u8(..8),
            1 => message[at] = self.rng.u8(..),
            2 => message[at] = [0, 1, 63, 64, 127, 128, 192, 255][self.rng.usize(..8)],
            3 => message.truncate(at),
            4 => message.extend(self.octets(300)),
            // A count.
            5 if last >= HEADER_OCTETS => {
                let count = 4 + 2 * self.rng.usize(..4);
                message[count..count + 2].copy_from_slice(&self.rng.u16(..).to_be_bytes());
            }
            // A compression pointer: backwards, forwards or to itself.
            6 => message[at..=to].chunks_exact_mut(2).take(1).for_each(|pointer| {
                pointer.copy_from_slice(&(0xC000 | self.rng.u16(..100)).to_be_bytes());
            }),
            7 => {
                let part = message[at..=to].to_vec();
                message.splice(at..at, part);
            }
            8 => {
                message.drain(at..=to);
            }
            // A flag or the opcode.
            _ => message[2.min(last)] ^= 1 << self.rng.u8(..8),
        }
    }
}

fn id_of(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[0], message[1]])
}

/// Whether it must be answered, whatever it says; anything else must not be.
fn deserves_an_answer(message: &[u8]) -> bool {
    message.len() >= HEADER_OCTETS && message[2] & 0x80 == 0
}

/// That a response is one to this request, and well-formed.
fn assert_sane(request: &[u8], response: &[u8]) {
    let context = format!("request {request:02x?}\nresponse {response:02x?}");
    assert!(response.len() >= HEADER_OCTETS, "{context}");
    assert_eq!(id_of(response), id_of(request), "{context}");
    assert_eq!(response[2] & 0x80, 0x80, "QR: {context}");
    assert_eq!(response[2] & 0x78, request[2] & 0x78, "opcode: {context}");
    let message = Message::from_vec(response).unwrap_or_else(|error| panic!("{error}: {context}"));
    let rcode = message.metadata.response_code;
    assert!(RCODES.contains(&rcode.into()), "{rcode:?}: {context}");
    assert!(message.queries.len() <= 1, "{context}");
}

/// What a client that sends this takes in one datagram.
fn udp_limit(request: &[u8]) -> usize {
    let edns = Message::from_vec(request).ok().and_then(|message| message.edns);
    usize::from(edns.map_or(PLAIN_UDP_OCTETS, |edns| edns.max_payload().clamp(PLAIN_UDP_OCTETS, MAX_UDP_OCTETS)))
}

/// Sends a batch and then a good query, and checks all that comes until that is answered.
fn check_batch(server: SocketAddr, batch: &[Vec<u8>]) {
    const GOOD_ID: u16 = u16::MAX;
    // One worker answers all that comes from one socket, in order.
    let socket = udp_client(server);
    for message in batch {
        socket.send(message).unwrap();
    }
    socket.send(&GOOD.parse::<Question>().unwrap().query(GOOD_ID)).unwrap();
    let mut open: BTreeSet<usize> =
        batch.iter().enumerate().filter(|(_, message)| deserves_an_answer(message)).map(|(index, _)| index).collect();
    loop {
        let mut response = [0; 65_535];
        let length = socket.recv(&mut response).expect("an answer to a good query");
        let response = &response[..length];
        let id = id_of(response);
        if id == GOOD_ID {
            assert_eq!(Answer::decode(response).to_string(), GOOD_ANSWER);
            break;
        }
        let request = batch.get(usize::from(id)).unwrap_or_else(|| panic!("nobody asked for {response:02x?}"));
        assert!(open.remove(&usize::from(id)), "{request:02x?} deserves no answer, or not two: {response:02x?}");
        assert_sane(request, response);
        let limit = udp_limit(request);
        assert!(response.len() <= limit, "{} octets to {limit}: {request:02x?}", response.len());
    }
    let unanswered: Vec<&Vec<u8>> = open.iter().map(|&index| &batch[index]).collect();
    assert!(unanswered.is_empty(), "not answered: {unanswered:02x?}");
}

/// Sends messages in pieces over one connection, which may end anywhere, and checks what comes back.
fn check_connection(server: SocketAddr, messages: &[Vec<u8>], rng: &mut Rng) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut octets: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
    if rng.bool() {
        octets.truncate(rng.usize(..=octets.len()));
    }
    // The whole ones, up to the one after which the server closes.
    let (mut expected, mut end, mut closed_by_server) = (Vec::new(), 0, false);
    for message in messages {
        end += 2 + message.len();
        if closed_by_server || end > octets.len() {
            break;
        }
        closed_by_server = !deserves_an_answer(message);
        if !closed_by_server {
            expected.push(message);
        }
    }
    let mut rest = &octets[..];
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rng.usize(1..=rest.len().min(200)));
        match stream.write_all(piece) {
            Ok(()) => rest = more,
            Err(error) => {
                assert!(closed_by_server, "{error}");
                break;
            }
        }
    }
    if rng.u8(..4) == 0 {
        // Gone without reading a word.
        return;
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Ok(_) => {}
        // Sent where there was more to read when the server closed; it takes with it what was on its way.
        Err(error) if error.kind() == ErrorKind::ConnectionReset && closed_by_server => {}
        Err(error) => panic!("{error}: {messages:02x?}"),
    }
    let (mut answered, mut rest) = (0, &received[..]);
    while let Some((length, after)) = rest.split_first_chunk() {
        let Some((response, after)) = after.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { break };
        let request = expected.get(answered).unwrap_or_else(|| panic!("nobody asked for {response:02x?}"));
        assert_sane(request, response);
        answered += 1;
        rest = after;
    }
    assert!(closed_by_server || (answered == expected.len() && rest.is_empty()), "{answered} of {expected:02x?}");
}

#[test]
fn nothing_that_is_sent_does_any_harm() {
    let (_folder, mut meridian) = start();
    let mut mutator = Mutator::new(SEED);
    let mut batch = || -> Vec<Vec<u8>> { (0..BATCH as u16).map(|id| mutator.message(id)).collect() };
    check_batch(meridian.dns, &batch());
    let before = meridian.process.resident_kib();
    for _ in 0..UDP_PACKETS / BATCH {
        check_batch(meridian.dns, &batch());
    }
    let mut rng = Rng::with_seed(SEED);
    let mut left = TCP_MESSAGES;
    while left > 0 {
        let count = rng.usize(1..=MAX_MESSAGES_PER_CONNECTION.min(left));
        let messages: Vec<Vec<u8>> = (0..count as u16).map(|id| mutator.message(id)).collect();
        check_connection(meridian.dns, &messages, &mut rng);
        left -= count;
    }
    assert!(meridian.process.is_alive(), "{}", meridian.process.text());
    assert!(!meridian.process.text().contains("panicked"), "{}", meridian.process.text());
    let growth = meridian.process.resident_kib().saturating_sub(before);
    assert!(growth <= MAX_GROWTH_KIB, "memory has grown by {growth} KiB from {before} KiB");
    assert_eq!(ask(meridian.dns, GOOD).to_string(), GOOD_ANSWER);
    assert!(meridian.metric("meridian_queries_total", "transport=\"tcp\"") > 0.0);
}
