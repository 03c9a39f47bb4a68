//! What depends on the time, the transport or what was answered before: cookies, limits, keepalive, padding, sizes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "cases/file.rs"]
#[allow(dead_code, reason = "what a query may say, of which only a part is said here")]
mod file;
#[path = "cases/request.rs"]
#[allow(dead_code, reason = "likewise")]
mod request;
#[path = "cases/view.rs"]
#[allow(dead_code, reason = "likewise")]
mod view;

use std::net::IpAddr;
use std::sync::Arc;

use meridian::dns::{MAX_TCP_RESPONSE, Now, Transport, WorkerContext, respond};
use meridian::metrics::WorkerCounters;
use meridian::reload::{Loader, Origin};
use meridian::snapshot::{Publisher, Snapshot};

use crate::file::Case;
use crate::request::{COOKIE, EdnsOption};
use crate::view::View;

const KEEPALIVE: u16 = 11;
const PADDING: u16 = 12;
const CLIENT_COOKIE: &str = "2464c4abcf10c957";
/// A client's cookie that has none of ours yet, as an option to ask with.
const FIRST_COOKIE: &str = "10 2464c4abcf10c957";
const PEER: &str = "198.51.100.7";

/// A server, and the time.
struct Server {
    snapshot: Arc<Snapshot>,
    context: WorkerContext,
    now: Now,
}

impl Server {
    /// With these lines in `[server]` and its tables.
    fn new(settings: &str) -> Self {
        let text = format!(
            r#"
            [server]
            listen = ["127.0.0.1:0"]
            {settings}
            [regions.us]
            location = [39.04, -77.49]
            [pools.web]
            endpoints = [{{ region = "us", address = "192.0.2.1" }}]
            [zones."example.com"]
            nameservers = ["ns1.example.net", "ns2.example.net"]
            [services."www.example.com"]
            pool = "web"
            [services."*.wild.example.com"]
            pool = "web"
            "#
        );
        let prepared = Loader::new(Origin::Embedded(text)).load().unwrap_or_else(|problems| panic!("{problems}"));
        Self {
            snapshot: Publisher::new(prepared.compiled).current(),
            context: WorkerContext::new(0, 1, Arc::new(WorkerCounters::default())),
            now: Now { unix_seconds: 1_700_000_000, monotonic_us: 1_000_000 },
        }
    }

    fn octets(&mut self, request: &[u8], peer: &str, transport: Transport) -> Option<Vec<u8>> {
        let peer: IpAddr = peer.parse().unwrap();
        let mut response = vec![0; MAX_TCP_RESPONSE];
        self.context.set_now(self.now);
        let length = respond(&self.snapshot, &mut self.context, request, peer, transport, &mut response)?;
        response.truncate(length);
        Some(response)
    }

    fn ask_from(&mut self, peer: &str, transport: Transport, case: &Case) -> Option<View> {
        let octets = self.octets(&request::octets(case, 7), peer, transport)?;
        Some(view::decode(&octets, false).unwrap_or_else(|problem| panic!("{problem}: {octets:02x?}")))
    }

    fn ask(&mut self, transport: Transport, case: &Case) -> View {
        self.ask_from(PEER, transport, case).expect("an answer")
    }

    fn pass(&mut self, seconds: u32) {
        self.now.unix_seconds += seconds;
        self.now.monotonic_us += u64::from(seconds) * 1_000_000;
    }
}

fn question(ask: &str, options: &[&str]) -> Case {
    Case { ask: ask.to_owned(), options: options.iter().map(ToString::to_string).collect(), ..Case::default() }
}

fn option(view: &View, code: u16) -> Option<Vec<u8>> {
    let options: &[EdnsOption] = &view.edns.as_ref()?.options;
    options.iter().find(|option| option.0 == code).map(|(_, data)| data.clone())
}

/// The cookie of an answer, as an option to ask with.
fn cookie_of(view: &View) -> String {
    let data = option(view, COOKIE).expect("a cookie");
    assert_eq!(data.len(), 24);
    let digits: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(digits[..16], *CLIENT_COOKIE);
    format!("{COOKIE} {digits}")
}

const REQUIRED: &str = "cookies.require = true";

#[test]
fn a_cookie_is_required_over_udp_of_clients_that_know_them() {
    let mut server = Server::new(REQUIRED);
    let refused = server.ask(Transport::Udp, &question("www.example.com A", &[FIRST_COOKIE]));
    assert_eq!((refused.rcode, refused.answer.len(), refused.flags.as_str()), (23, 0, ""));
    let cookie = cookie_of(&refused);
    let answered = server.ask(Transport::Udp, &question("www.example.com A", &[&cookie]));
    assert_eq!((answered.rcode, answered.answer.len()), (0, 1));
    assert_eq!(cookie_of(&answered), cookie);
    // Forged, it is refused, and so it is from another address.
    let (rest, last) = cookie.split_at(cookie.len() - 1);
    let forged = format!("{rest}{}", if last == "0" { "1" } else { "0" });
    assert_eq!(server.ask(Transport::Udp, &question("www.example.com A", &[&forged])).rcode, 23);
    let other = server.ask_from("198.51.100.8", Transport::Udp, &question("www.example.com A", &[&cookie]));
    assert_eq!(other.unwrap().rcode, 23);
    // Who doesn't know cookies is answered, and so is everyone whose address is sure.
    assert_eq!(server.ask(Transport::Udp, &question("www.example.com A", &[])).rcode, 0);
    for transport in [Transport::Tcp, Transport::Tls, Transport::Https, Transport::Quic] {
        let view = server.ask(transport, &question("www.example.com A", &[FIRST_COOKIE]));
        assert_eq!((view.rcode, view.answer.len()), (0, 1));
        cookie_of(&view);
    }
    // It is renewed in time, and void after an hour.
    server.pass(1801);
    let renewed = cookie_of(&server.ask(Transport::Udp, &question("www.example.com A", &[&cookie])));
    assert_ne!(renewed, cookie);
    server.pass(1800);
    assert_eq!(server.ask(Transport::Udp, &question("www.example.com A", &[&cookie])).rcode, 23);
    assert_eq!(server.ask(Transport::Udp, &question("www.example.com A", &[&renewed])).rcode, 0);
}

/// RFC 7873 section 5.4.
#[test]
fn a_query_without_a_question_tells_whether_a_cookie_is_good() {
    let mut server = Server::new("");
    let ask = |server: &mut Server, cookie: &str| {
        let mut request = request::octets(&question(". NS", &[cookie]), 7);
        // No question: its count is 0, and its name, type and class are not there.
        request[5] = 0;
        request.drain(12..17);
        let octets = server.octets(&request, PEER, Transport::Udp).unwrap();
        assert_eq!(octets[4..12], [0, 0, 0, 0, 0, 0, 0, 1]);
        let view = view::decode(&octets, false).unwrap();
        (view.rcode, cookie_of(&view))
    };
    let (rcode, cookie) = ask(&mut server, FIRST_COOKIE);
    assert_eq!(rcode, 0);
    assert_eq!(ask(&mut server, &cookie), (0, cookie.clone()));
    server.pass(4000);
    let (rcode, renewed) = ask(&mut server, &cookie);
    assert_eq!(rcode, 23);
    assert_eq!(ask(&mut server, &renewed).0, 0);
}

const LIMITED: &str = "rate_limit = { responses_per_second = 5, slip = 2, exempt = [\"203.0.113.0/24\"] }";

/// Asks so often, and counts full answers, truncated ones, BADCOOKIEs and silence.
fn flood(server: &mut Server, peer: &str, case: &Case, times: usize) -> [usize; 4] {
    let mut counts = [0; 4];
    for _ in 0..times {
        let place = match server.ask_from(peer, Transport::Udp, case) {
            None => 3,
            Some(view) if view.rcode == 23 => 2,
            Some(view) if view.flags.contains("tc") => {
                assert_eq!((view.rcode, view.flags.as_str(), view.answer.len()), (0, "tc", 0));
                assert!(view.authority.is_empty() && view.additional.is_empty());
                1
            }
            Some(_) => 0,
        };
        counts[place] += 1;
    }
    counts
}

#[test]
fn a_network_is_answered_at_the_rate_and_beyond_it_short_or_not() {
    let mut server = Server::new(LIMITED);
    let www = question("www.example.com A", &[]);
    let [full, truncated, bad_cookie, silent] = flood(&mut server, PEER, &www, 1005);
    assert_eq!((full, bad_cookie, truncated + silent), (5, 0, 1000));
    assert!((400..600).contains(&truncated), "{truncated}");
    // Others, and other questions, are not held back by it.
    assert_eq!(flood(&mut server, "198.51.101.7", &www, 5)[0], 5);
    assert_eq!(flood(&mut server, PEER, &question("www.example.com AAAA", &[]), 5)[0], 5);
    assert_eq!(flood(&mut server, PEER, &question("example.com SOA", &[]), 5)[0], 5);
    assert_eq!(flood(&mut server, "203.0.113.9", &www, 100)[0], 100);
    // A second later there is room again.
    server.pass(1);
    assert_eq!(flood(&mut server, PEER, &www, 6)[0], 5);
    // Over a stream nobody is limited.
    for _ in 0..100 {
        assert_eq!(server.ask(Transport::Tcp, &www).answer.len(), 1);
    }
}

#[test]
fn random_names_are_one_flood() {
    let mut server = Server::new(LIMITED);
    for (case, suffix) in [("a zone", "example.com"), ("a wildcard", "wild.example.com")] {
        let full: usize = (0..100)
            .map(|number| flood(&mut server, PEER, &question(&format!("n{number}.{suffix} A"), &[]), 1)[0])
            .sum();
        assert_eq!(full, 5, "{case}");
    }
    // Errors that slip are sent as they are, so none may slip here.
    let mut server = Server::new(&LIMITED.replace("slip = 2", "slip = 0"));
    let refused: usize =
        (0..100).map(|number| flood(&mut server, PEER, &question(&format!("n{number}.test A"), &[]), 1)[0]).sum();
    assert_eq!(refused, 5);
}

/// An alias is an answer to every type: they are one bucket.
#[test]
fn types_that_take_turns_are_one_flood() {
    let mut server = Server::new(&format!(
        "{LIMITED}\n[pools.cdn]\nendpoints = [{{ region = \"us\", hostname = \"cdn.example.net\" }}]\n\
         [services.\"cdn.example.com\"]\npool = \"cdn\"\n[services.\"*.cdns.example.com\"]\npool = \"cdn\""
    ));
    for name in ["cdn.example.com", "n@.cdns.example.com", "example.com"] {
        let full: usize = (1000..1100)
            .map(|number| {
                let ask = format!("{} TYPE{number}", name.replace('@', &number.to_string()));
                flood(&mut server, PEER, &question(&ask, &[]), 1)[0]
            })
            .sum();
        assert_eq!(full, 5, "{name}");
    }
}

/// Whatever is true of what is wrong stays true when it is asked too often.
#[test]
fn errors_that_slip_are_sent_as_they_are() {
    let mut server = Server::new("rate_limit = { responses_per_second = 1, slip = 1 }");
    for (ask, opcode, rcode) in [
        ("example.com SOA", 4, 5),
        ("example.com SOA", 5, 5),
        ("example.com AXFR", 0, 5),
        ("example.org A", 0, 5),
        ("example.com SOA", 2, 4),
    ] {
        for _ in 0..3 {
            let view = server.ask(Transport::Udp, &Case { opcode, ..question(ask, &[]) });
            assert_eq!((view.rcode, view.flags.contains("tc")), (rcode, false), "{ask}");
        }
    }
}

/// What floods a network's bucket of errors does not keep its clients from getting, or using, cookies.
#[test]
fn errors_and_cookies_are_apart() {
    let mut server = Server::new("rate_limit = { responses_per_second = 5, slip = 0 }\ncookies.require = true");
    for _ in 0..100 {
        server.octets(&[0; 12], PEER, Transport::Udp);
    }
    let status = Case { opcode: 2, ..question("example.com SOA", &[]) };
    assert!(server.ask_from(PEER, Transport::Udp, &status).is_none());
    let cookie = cookie_of(&server.ask(Transport::Udp, &question("www.example.com A", &[FIRST_COOKIE])));
    for _ in 0..100 {
        let view = server.ask(Transport::Udp, &Case { opcode: 2, ..question("example.com SOA", &[&cookie]) });
        assert_eq!((view.rcode, cookie_of(&view)), (4, cookie.clone()));
    }
}

#[test]
fn clients_with_a_good_cookie_are_not_limited() {
    let mut server = Server::new(LIMITED);
    let cookie = cookie_of(&server.ask(Transport::Udp, &question("example.com NS", &[FIRST_COOKIE])));
    let www = question("www.example.com A", &[]);
    flood(&mut server, PEER, &www, 100);
    assert_eq!(flood(&mut server, PEER, &question("www.example.com A", &[&cookie]), 1000), [1000, 0, 0, 0]);
    // One that has none of ours yet is told to come back with it.
    let [full, truncated, bad_cookie, silent] =
        flood(&mut server, PEER, &question("www.example.com A", &[FIRST_COOKIE]), 1000);
    assert_eq!((full, truncated, bad_cookie + silent), (0, 0, 1000));
    assert!((400..600).contains(&bad_cookie), "{bad_cookie}");
}

#[test]
fn a_dry_run_only_counts() {
    let counters = Arc::new(WorkerCounters::default());
    let mut server = Server::new("rate_limit = { responses_per_second = 5, slip = 0, dry_run = true }");
    server.context = WorkerContext::new(0, 1, Arc::clone(&counters));
    assert_eq!(flood(&mut server, PEER, &question("www.example.com A", &[]), 100), [100, 0, 0, 0]);
    assert_eq!(counters.limited(), [0, 95]);
}

/// RFC 7828.
#[test]
fn how_long_a_connection_is_kept_is_told_on_streams() {
    let mut server = Server::new("tcp.idle_timeout = \"12s\"");
    let case = question("www.example.com A", &["11"]);
    for transport in Transport::ALL {
        let expected = matches!(transport, Transport::Tcp | Transport::Tls).then(|| vec![0, 120]);
        assert_eq!(option(&server.ask(transport, &case), KEEPALIVE), expected, "{}", transport.name());
        assert_eq!(option(&server.ask(transport, &question("www.example.com A", &[])), KEEPALIVE), None);
    }
}

/// RFC 7830, RFC 8467 section 4.1.
#[test]
fn responses_are_padded_where_they_are_encrypted() {
    let mut server = Server::new("nsid = \"fra1\"");
    for transport in Transport::ALL {
        for ask in ["www.example.com A", "example.com NS", "nosuch.example.com A", "example.org A"] {
            for padding in ["12", "12 00000000"] {
                let case = question(ask, &[padding, "3", FIRST_COOKIE]);
                let octets = server.octets(&request::octets(&case, 7), PEER, transport).unwrap();
                let padding = option(&view::decode(&octets, false).unwrap(), PADDING);
                assert_eq!(padding.is_some(), transport.is_encrypted(), "{}", transport.name());
                assert!(padding.is_none() || octets.len() == 468, "{ask}: {}", octets.len());
                assert!(padding.unwrap_or_default().iter().all(|octet| *octet == 0));
            }
            let unpadded = server.octets(&request::octets(&question(ask, &[]), 7), PEER, transport).unwrap();
            assert!(unpadded.len() < 200);
        }
    }
}

#[test]
fn the_size_of_datagrams_is_as_configured_and_never_above_the_clients() {
    let nameservers: Vec<String> = (0..40).map(|number| format!("\"a-name-server-{number}.example.net\"")).collect();
    let zone = format!("nameservers = [{}]", nameservers[..32].join(", "));
    for (settings, own) in [("", 1232), ("edns_udp_size = 512", 512), ("edns_udp_size = 1400", 1400)] {
        let mut server = Server::new(&format!("{settings}\n[zones.\"large.example.com\"]\n{zone}"));
        for size in [0, 512, 900, 1231, 1232, 1300, 1399, 1400, 1401, 4096, 65_535] {
            let case = Case { size, ..question("large.example.com NS", &[]) };
            let octets = server.octets(&request::octets(&case, 7), PEER, Transport::Udp).unwrap();
            let view = view::decode(&octets, false).unwrap();
            assert_eq!(view.edns.as_ref().unwrap().udp_octets, own);
            assert!(octets.len() <= usize::from(size.clamp(512, own)), "{size} {own}: {}", octets.len());
            let whole = server.octets(&request::octets(&case, 7), PEER, Transport::Tcp).unwrap();
            assert_eq!(view.flags.contains("tc"), whole.len() > usize::from(size.clamp(512, own)), "{size} {own}");
        }
    }
}

/// RFC 8945 section 5.2.1: a signature by a key that isn't known.
#[test]
fn a_signed_request_is_told_that_its_key_is_not_known() {
    /// The key `k.`, HMAC-SHA256, with a MAC of 32 octets.
    const SIGNATURE: &str = "016b0000fa00ff00000000003d0b686d61632d73686132353600000065f00000012c0020aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa123400000000";
    /// The same with no MAC, and the error BADKEY.
    const REFUSAL: &str = "016b0000fa00ff00000000001d0b686d61632d73686132353600000065f00000012c0000123400110000";
    let unhex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let mut server = Server::new("");
    for edns in [false, true] {
        let mut request = request::octets(&Case { edns, ..question("www.example.com A", &[]) }, 0x1234);
        request[11] += 1;
        request.extend(unhex(SIGNATURE));
        for transport in [Transport::Udp, Transport::Tcp] {
            let response = server.octets(&request, PEER, transport).unwrap();
            // NOTAUTH, the question, the OPT record if there was one, and the signature last.
            assert_eq!((response[3] & 15, response[6..12].to_vec()), (9, vec![0, 0, 0, 0, 0, 1 + u8::from(edns)]));
            assert!(response.ends_with(&unhex(REFUSAL)), "{response:02x?}");
        }
    }
    // Where it does not fit, the response code says enough.
    let mut request = request::octets(&Case { edns: false, ..question("www.example.com A", &[]) }, 0x1234);
    request[11] += 1;
    let label = [&[63][..], &[b'k'; 63]].concat();
    let long = [label.repeat(3), vec![0]].concat();
    let data = [&long, &unhex("000065f00000012c0000123400000000")[..]].concat();
    request.extend([&long, &unhex("00fa00ff00000000")[..], &(data.len() as u16).to_be_bytes(), &data].concat());
    assert_eq!(server.octets(&request, PEER, Transport::Tcp).unwrap()[11], 1);
    let request = [&request[..12], &label.repeat(3)[..], &request[12..]].concat();
    let response = server.octets(&request, PEER, Transport::Udp).unwrap();
    assert_eq!((response[3] & 15, response[11]), (9, 0));
}
