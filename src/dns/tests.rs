//! What A and AAAA are answered with and what HTTPS and SVCB hint at are one decision, whatever a service goes by.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::query::HEADER_OCTETS;
use super::{MAX_TCP_RESPONSE, Transport, WorkerContext, respond};
use crate::config::{Adaptive, Balance, Performance, Target};
use crate::health::report::Source;
use crate::health::{Details, Failure, Load, Observation};
use crate::reload::{Loader, Origin};
use crate::snapshot::{Publisher, Snapshot};
use crate::zone::rtype;

const STEERINGS: [&str; 6] = ["proximity", "geo", "priority", "latency", "weighted", "load"];
const REGIONS: u8 = 3;
/// Of one family in one region; one of them is down.
const ENDPOINTS: u8 = 5;
const ANSWERS: usize = 2;
/// So often is a service asked that all it could answer with comes.
const MANY_TIMES: usize = 100;

/// A service for each steering and balance, called after them.
fn services() -> impl Iterator<Item = (&'static str, &'static str, String)> {
    STEERINGS.iter().flat_map(|steering| {
        let balances = Balance::all(Performance::DEFAULT, Adaptive::DEFAULT).map(Balance::name);
        balances.map(|balance| (*steering, balance, format!("{balance}.{steering}.example.com")))
    })
}

fn config(is_sticky: bool) -> String {
    let mut text = "[server]\nlisten = [\"127.0.0.1:0\"]\n[latency]\n[zones.\"example.com\"]\n\
                    nameservers = [\"ns.example.net\"]\n[probes.tcp]\ntype = \"tcp\"\nport = 80\n\
                    [maps.m]\ndefault = [\"r2\", \"r0\"]\nrules = [{ networks = [\"10.0.16.0/20\"], regions = [\"r1\"] }]\n"
        .to_owned();
    let mut endpoints = String::new();
    for region in 0..REGIONS {
        writeln!(text, "[regions.r{region}]\nlocation = [0, {region}]\ncapacity = 100").unwrap();
        for index in 0..ENDPOINTS {
            let (number, weight) = (16 * (region + 1) + index, index % 3 + 1);
            for address in [format!("192.0.2.{number}"), format!("2001:db8::{number:x}")] {
                writeln!(endpoints, "{{ region = \"r{region}\", address = \"{address}\", weight = {weight} }},")
                    .unwrap();
            }
        }
    }
    write!(text, "[pools.web]\nprobe = \"tcp\"\nendpoints = [\n{endpoints}]\n").unwrap();
    for (steering, balance, name) in services() {
        let sticky = match (is_sticky, balance) {
            (true, _) => "sticky = true",
            // These are so without it, and can't be otherwise.
            (false, "ip-hash" | "consistent-hash") => "",
            (false, _) => "sticky = false",
        };
        writeln!(
            text,
            "[services.\"{name}\"]\npool = \"web\"\nmap = \"m\"\nanswers = {ANSWERS}\n{sticky}\nsteering = \"{steering}\"\n\
             balance = \"{balance}\"\nhttps.alpn = [\"h2\"]\nsvcb.alpn = [\"dot\"]"
        )
        .unwrap();
    }
    text
}

/// The region and the number there of an endpoint with this last octet.
fn place(last_octet: u8) -> (u8, u8) {
    (last_octet / 16 - 1, last_octet % 16)
}

/// In the first region no IPv6 is up, and in each an endpoint of either family is down. All are busy, in different ways. Where flows
/// don't follow, it is how things are until they do.
fn snapshot(config: String, do_flows_follow: bool) -> Arc<Snapshot> {
    let publisher = Publisher::new(Loader::new(Origin::Embedded(config)).load().unwrap().compiled);
    let targets: Vec<_> = publisher.health().keys().collect();
    let observations = targets.into_iter().map(|key| {
        let Target::Address(address) = key.target else { panic!("{key:?}") };
        let ((region, index), is_down) = match address {
            IpAddr::V4(address) => (place(address.octets()[3]), place(address.octets()[3]).1 == 1),
            IpAddr::V6(address) => {
                let (region, index) = place(address.octets()[15]);
                ((region, index), region == 0 || index == 2)
            }
        };
        let busy = f64::from(1 + (index + region) % 3);
        let load = Load {
            connections: Some(10.0 * busy),
            utilization: Some(0.2 * busy),
            response_ms: Some(4.0 - busy),
            ..Load::default()
        };
        let outcome = if is_down { Err(Failure::Refused) } else { Ok(()) };
        let details = Details { reports: vec![(Source::Header, Ok(load))], ..Details::default() };
        (key, Observation { took: Duration::from_millis(1), address: None, outcome, details })
    });
    publisher.observe(observations, Instant::now());
    if do_flows_follow {
        publisher.follow_demand(Instant::now());
    }
    publisher.current()
}

struct Asker {
    snapshot: Arc<Snapshot>,
    context: WorkerContext,
}

impl Asker {
    fn new(is_sticky: bool, do_flows_follow: bool) -> Self {
        let snapshot = snapshot(config(is_sticky), do_flows_follow);
        Self { snapshot, context: WorkerContext::new(0, 1, Arc::default()) }
    }

    /// The data of all records of an answer.
    fn ask(&mut self, name: &str, qtype: u16, client: Ipv4Addr) -> Vec<Vec<u8>> {
        let mut request = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            request.push(label.len() as u8);
            request.extend(label.bytes());
        }
        request.extend([&[0], &qtype.to_be_bytes()[..], &rtype::CLASS_IN.to_be_bytes()].concat());
        let mut response = vec![0; MAX_TCP_RESPONSE];
        respond(&self.snapshot, &mut self.context, &request, client.into(), Transport::Tcp, &mut response).unwrap();
        assert_eq!(response[3] & 15, 0, "{name} {qtype}");
        let mut at = request.len();
        assert!(at > HEADER_OCTETS);
        let records = (0..u16::from_be_bytes([response[6], response[7]])).map(|_| {
            // The owner is a pointer; then come type, class and TTL.
            let start = at + 12;
            let length = usize::from(u16::from_be_bytes([response[start - 2], response[start - 1]]));
            at = start + length;
            response[start..at].to_vec()
        });
        records.collect()
    }

    /// The addresses of one answer, each once.
    fn addresses(&mut self, name: &str, qtype: u16, client: Ipv4Addr) -> BTreeSet<Vec<u8>> {
        let addresses: BTreeSet<_> = self.ask(name, qtype, client).into_iter().collect();
        assert_eq!(addresses.len(), ANSWERS, "{name} {qtype} {client}");
        addresses
    }

    /// The hints of IPv4 and IPv6 of one answer, which are of one region.
    fn hints(&mut self, name: &str, qtype: u16, client: Ipv4Addr) -> [BTreeSet<Vec<u8>>; 2] {
        let records = self.ask(name, qtype, client);
        let [data] = &records[..] else { panic!("{name} {qtype} {client}: {records:?}") };
        let both = [hints(data, 4, 4), hints(data, 6, 16)];
        assert_eq!(both.each_ref().map(BTreeSet::len), [ANSWERS; 2], "{name} {qtype} {client}");
        let regions: BTreeSet<_> = both.iter().flatten().map(|address| place(*address.last().unwrap()).0).collect();
        assert_eq!(regions.len(), 1, "{name} {qtype} {client}: {both:?}");
        both
    }
}

/// The hints of one family in a record's data: after the priority, the root as target, and parameters before them.
fn hints(data: &[u8], wanted: u16, octets: usize) -> BTreeSet<Vec<u8>> {
    let mut rest = &data[3..];
    while let [key_high, key_low, length_high, length_low, after @ ..] = rest {
        let (value, next) = after.split_at(usize::from(u16::from_be_bytes([*length_high, *length_low])));
        if u16::from_be_bytes([*key_high, *key_low]) == wanted {
            return value.chunks(octets).map(<[u8]>::to_vec).collect();
        }
        rest = next;
    }
    BTreeSet::new()
}

#[test]
fn hints_are_what_a_client_that_sticks_gets_by_a_and_aaaa() {
    for do_flows_follow in [false, true] {
        let mut asker = Asker::new(true, do_flows_follow);
        for (_, _, name) in services() {
            let mut seen = BTreeSet::new();
            for client in (0..64).map(|number| Ipv4Addr::new(10, 0, number, 1)) {
                let addresses = [rtype::A, rtype::AAAA].map(|qtype| asker.addresses(&name, qtype, client));
                for qtype in [rtype::HTTPS, rtype::SVCB] {
                    assert_eq!(asker.hints(&name, qtype, client), addresses, "{name} {qtype} {client}");
                }
                seen.insert(addresses);
            }
            assert!(seen.len() > 4, "{name}: clients are told apart");
        }
    }
}

#[test]
fn hints_that_are_drawn_are_of_all_that_a_and_aaaa_can_be() {
    for do_flows_follow in [false, true] {
        let mut asker = Asker::new(false, do_flows_follow);
        for (_, _, name) in services() {
            for client in [Ipv4Addr::new(10, 0, 1, 1), Ipv4Addr::new(10, 0, 17, 1)] {
                let addresses = [rtype::A, rtype::AAAA].map(|qtype| {
                    (0..MANY_TIMES).flat_map(|_| asker.addresses(&name, qtype, client)).collect::<BTreeSet<_>>()
                });
                for qtype in [rtype::HTTPS, rtype::SVCB] {
                    let mut hinted = [BTreeSet::new(), BTreeSet::new()];
                    for hints in (0..MANY_TIMES).map(|_| asker.hints(&name, qtype, client)) {
                        hinted.iter_mut().zip(hints).for_each(|(all, some)| all.extend(some));
                    }
                    assert_eq!(hinted, addresses, "{name} {qtype} {client}");
                }
            }
        }
    }
}

#[test]
fn an_answer_with_hints_counts_where_it_leads() {
    let mut asker = Asker::new(true, true);
    let name = "weighted.priority.example.com";
    let index = services().position(|(.., service)| service == name).unwrap();
    let counted = |asker: &Asker| -> u64 {
        asker.snapshot.compiled.services[index].tallies.iter().map(|tally| tally.sum()).sum()
    };
    for (asked, qtype) in [rtype::A, rtype::HTTPS, rtype::SVCB].into_iter().enumerate() {
        assert_eq!(counted(&asker), asked as u64);
        asker.ask(name, qtype, Ipv4Addr::new(10, 0, 0, 1));
    }
    assert_eq!(counted(&asker), 3);
}
