//! What must hold whatever comes in. The fuzzer calls these with what it finds, `tests/properties.rs` with seeds and
//! mutations of them; each panics where something does not hold.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a finding is a panic")]

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use domain::base::ToName;
use domain::base::iana::Rcode;
use domain::base::message::Message;
use domain::base::name::ParsedName;
use domain::base::opt::Opt;
use domain::rdata::AllRecordData;
use meridian::config::{Config, Source};
use meridian::dns::{MAX_TCP_RESPONSE, Now, Query, Rejection, Transport, WorkerContext};
use meridian::metrics::WorkerCounters;
use meridian::reload::{Loader, Origin};
use meridian::snapshot::{Publisher, Snapshot};
use meridian::zone::{self, Found, LookupName, Name, Served, Tree};

const HEADER_OCTETS: usize = 12;
/// What a datagram may have without EDNS.
const PLAIN_UDP_OCTETS: u16 = 512;

/// The reader of requests.
pub fn packet(request: &[u8]) {
    let mut name = LookupName::default();
    match Query::read(request, &mut name) {
        Ok(query) => {
            assert!(request.len() >= HEADER_OCTETS && request[2] & 0x80 == 0);
            if query.question.is_empty() {
                assert!(query.edns.is_some_and(|edns| edns.cookie.is_some()));
            } else {
                let message = Message::from_octets(request).unwrap();
                let question = message.sole_question().expect("a question that domain reads, too");
                assert!(question.qname().to_vec().as_slice().eq_ignore_ascii_case(name.as_wire()));
                assert_eq!((question.qtype().to_int(), question.qclass().to_int()), (query.qtype, query.qclass));
            }
            if let Some(subnet) = query.edns.and_then(|edns| edns.subnet) {
                assert!(subnet.data.len() <= 4 + 16);
            }
        }
        Err(Rejection::Drop) => assert!(request.len() < HEADER_OCTETS || request[2] & 0x80 != 0),
        Err(Rejection::Answer { question, .. }) => assert!(question.len() <= 255 + 4),
    }
}

/// Servers, and the largest datagram of each.
static SERVERS: LazyLock<[(Arc<Snapshot>, u16); 2]> = LazyLock::new(|| {
    [
        (load(&CONFIGURATION.replace("#SETTINGS", "nsid = \"fuzz\"\nchaos = { version = \"1\" }")), 1232),
        (
            load(&CONFIGURATION.replace(
                "#SETTINGS",
                "edns_udp_size = 1400\nminimal_responses = true\ncookies.require = true\n\
                 rate_limit = { responses_per_second = 1, slip = 2 }",
            )),
            1400,
        ),
    ]
});

/// Does what [`respond`] does once, which takes longer than an answer may.
pub fn prepare() {
    LazyLock::force(&SERVERS);
}

/// Answers with all kinds of data behind them. The first octets say over what, to whom, when and by which server.
pub fn respond(data: &[u8]) {
    thread_local! {
        static WORKER: RefCell<(WorkerContext, Vec<u8>)> =
            RefCell::new((WorkerContext::new(0, 1, Arc::new(WorkerCounters::default())), vec![0; MAX_TCP_RESPONSE]));
    }
    let Some((&[how, who, when], request)) = data.split_first_chunk() else { return };
    let transport = Transport::ALL[usize::from(how) % Transport::ALL.len()];
    let (snapshot, most) = &SERVERS[usize::from(how >> 7)];
    let peer = match who {
        0..128 => IpAddr::V4(Ipv4Addr::new(127, 0, 0, who)),
        _ => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, who.into())),
    };
    let now = Now { unix_seconds: 1_700_000_000 + u32::from(when), monotonic_us: u64::from(when) * 100_000 };
    WORKER.with_borrow_mut(|(context, buffer)| {
        context.set_now(now);
        let length = meridian::dns::respond(snapshot, context, request, peer, transport, buffer);
        match length.map(|length| buffer[..length].to_vec()) {
            Some(response) => {
                check(request, &response, transport, *most);
                let again = meridian::dns::respond(snapshot, context, &response, peer, transport, buffer);
                assert_eq!(again, None, "a response is never answered");
            }
            None => {
                let may_be_limited = transport == Transport::Udp && how >> 7 == 1;
                assert!(request.len() < HEADER_OCTETS || request[2] & 0x80 != 0 || may_be_limited);
            }
        }
    });
}

/// What every response must be.
fn check(request: &[u8], response: &[u8], transport: Transport, most: u16) {
    assert!(request.len() >= HEADER_OCTETS && request[2] & 0x80 == 0, "there is something to answer");
    assert_eq!(response[..2], request[..2], "id");
    assert_eq!(response[2] & 0xf8, 0x80 | request[2] & 0x78, "a response of the same operation");
    let message = Message::from_octets(response).expect("a header");
    let counts = message.header_counts();
    assert!(counts.qdcount() <= 1);
    if counts.qdcount() == 1 {
        let question = message.sole_question().expect("a question");
        let octets = question.qname().to_vec().len() + 4;
        let asked = &request[HEADER_OCTETS..][..octets];
        assert_eq!(response[HEADER_OCTETS..][..octets], *asked, "the question as it came");
    }
    let mut end = 0;
    let sections = [message.answer(), message.authority(), message.additional()];
    for (section, count) in sections.into_iter().zip([counts.ancount(), counts.nscount(), counts.arcount()]) {
        let mut section = section.expect("a section");
        let mut records = 0;
        for record in section.by_ref() {
            let record = record.expect("a record");
            record.to_record::<AllRecordData<_, ParsedName<_>>>().expect("data of its type");
            records += 1;
        }
        assert_eq!(records, count);
        end = section.pos();
    }
    assert_eq!(end, response.len(), "nothing after the last record");
    let asked = Message::from_octets(request).ok().and_then(|request| request.opt());
    let opts = message.additional().unwrap().limit_to::<Opt<_>>().count();
    assert!(opts <= 1);
    // What follows the header of an operation that is not known may be anything.
    let is_malformed = matches!(message.header().rcode(), Rcode::FORMERR | Rcode::NOTIMP);
    assert!(is_malformed || asked.is_none() || opts == 1, "an OPT record to a request with one");
    if request[10..12] == [0, 0] {
        assert_eq!(opts, 0, "no OPT record to a request without one");
    }
    let is_truncated = message.header().tc();
    if transport == Transport::Udp {
        let limit = asked.map_or(PLAIN_UDP_OCTETS, |opt| opt.udp_payload_size().clamp(PLAIN_UDP_OCTETS, most));
        assert!(response.len() <= usize::from(limit), "{} of {limit} octets", response.len());
    } else {
        assert!(!is_truncated, "over a stream asking again would not help");
    }
}

/// Zones: what is read is found, and what isn't is explained.
pub fn zone(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let source = Arc::new(Source { path: "/nonexistent/fuzz/example.com.zone".into(), text });
    let apex: Name = "example.com".parse().unwrap();
    match zone::parse(&apex, &source, &Served::default()) {
        Ok(records) => {
            let owners: Vec<Name> = records.records.iter().map(|record| record.owner.clone()).collect();
            let tree = Tree::build(&[records], &[]).unwrap();
            let mut name = LookupName::default();
            for owner in owners {
                assert_eq!(name.read(owner.as_slice()), Some(owner.len()));
                let found = tree.find(&name, 1);
                assert!(!matches!(found, Found::NotServed | Found::NxDomain(_)), "{owner}: {found:?}");
            }
        }
        Err(problems) => {
            assert!(!problems.0.is_empty());
            assert!(!problems.to_string().is_empty());
        }
    }
}

/// Configurations: problems have places in the text, and can be shown.
pub fn configuration(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(problems) = Config::parse(&text, Path::new("/nonexistent/fuzz/meridian.toml")) {
        assert!(!problems.0.is_empty());
        for problem in &problems.0 {
            if let Some((source, span)) = &problem.place {
                assert!(source.text.get(span.clone()).is_some(), "{span:?}");
            }
        }
        assert!(!problems.to_string().is_empty());
    }
}

fn load(text: &str) -> Arc<Snapshot> {
    let folder = std::env::temp_dir().join(format!("meridian-properties-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("example.com.zone");
    std::fs::write(&file, ZONE).unwrap();
    let text = text.replace("#ZONE", &file.display().to_string());
    let prepared = Loader::new(Origin::Embedded(text)).load().unwrap_or_else(|problems| panic!("{problems}"));
    let _ = std::fs::remove_dir_all(&folder);
    Publisher::new(prepared.compiled).current()
}

const CONFIGURATION: &str = include_str!("server.toml");
const ZONE: &str = include_str!("example.com.zone");
