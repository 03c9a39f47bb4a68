//! What one answer costs in the pure core: `cargo bench --bench respond`.
#![allow(missing_docs, clippy::expect_used, reason = "a bench")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use divan::Bencher;
use meridian::dns::{self, MAX_UDP_RESPONSE, Now, Transport, WorkerContext};
use meridian::metrics::WorkerCounters;
use meridian::reload::{Loader, Origin};
use meridian::snapshot::Publisher;

fn main() {
    divan::main();
}

/// Two regions, one service per balance, with this many endpoints per region.
fn configuration(endpoints: usize, settings: &str) -> String {
    let list: Vec<String> = (0..endpoints)
        .flat_map(|index| {
            ["east", "west"].into_iter().enumerate().map(move |(region, name)| {
                format!("{{ region = \"{name}\", address = \"10.{region}.{}.{}\" }}", index / 250, index % 250 + 1)
            })
        })
        .collect();
    let mut text = format!(
        r#"
[server]
listen = ["127.0.0.1:0"]
{settings}
[regions.east]
location = [39.04, -77.49]
[regions.west]
location = [50.11, 8.68]
[pools.web]
endpoints = [{}]
[zones."example.com"]
nameservers = ["ns1.example.net"]
"#,
        list.join(",\n")
    );
    for balance in ["weighted", "round-robin", "random"] {
        text += &format!("[services.\"{balance}.example.com\"]\npool = \"web\"\nbalance = \"{balance}\"\n");
    }
    text
}

fn publisher(endpoints: usize) -> Publisher {
    publisher_with(endpoints, "")
}

fn publisher_with(endpoints: usize, settings: &str) -> Publisher {
    let mut loader = Loader::new(Origin::Embedded(configuration(endpoints, settings)));
    Publisher::new(loader.load().expect("the bench's configuration is good").compiled)
}

/// A query for A with a client subnet of 24 bits.
fn query(name: &str, subnet: Option<[u8; 3]>) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(subnet.is_some())];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    if let Some([a, b, c]) = subnet {
        query.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, a, b, c]);
    }
    query
}

fn bench(bencher: Bencher<'_, '_>, publisher: &Publisher, queries: &[Vec<u8>]) {
    let snapshot = publisher.current();
    let mut context = WorkerContext::new(0, 1, Arc::new(WorkerCounters::default()));
    let mut response = [0; MAX_UDP_RESPONSE];
    let mut next = 0;
    let mut now = Now { unix_seconds: 1_700_000_000, monotonic_us: 0 };
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    bencher.bench_local(|| {
        next = (next + 1) % queries.len();
        now.monotonic_us += 2;
        context.set_now(now);
        dns::respond(&snapshot, &mut context, &queries[next], peer, Transport::Udp, &mut response)
    });
}

/// Clients all over the address space, as many as fit no cache line twice.
fn everywhere(name: &str) -> Vec<Vec<u8>> {
    let mut rng = fastrand::Rng::with_seed(7);
    (0..4096).map(|_| query(name, Some([rng.u8(1..224), rng.u8(..), rng.u8(..)]))).collect()
}

#[divan::bench(args = [3, 1000], sample_count = 200, sample_size = 4096)]
fn ecs_weighted(bencher: Bencher<'_, '_>, endpoints: usize) {
    bench(bencher, &publisher(endpoints), &everywhere("weighted.example.com"));
}

#[divan::bench(args = [3, 1000], sample_count = 200, sample_size = 4096)]
fn ecs_round_robin(bencher: Bencher<'_, '_>, endpoints: usize) {
    bench(bencher, &publisher(endpoints), &everywhere("round-robin.example.com"));
}

#[divan::bench(args = [3, 1000], sample_count = 200, sample_size = 4096)]
fn ecs_random(bencher: Bencher<'_, '_>, endpoints: usize) {
    bench(bencher, &publisher(endpoints), &everywhere("random.example.com"));
}

/// As `ecs_weighted` with 3 endpoints, and with what holds back floods: a table in which the client has its entry, and a
/// cookie that has to be made anew.
#[divan::bench(args = ["neither", "rate limit", "cookie", "both"], sample_count = 200, sample_size = 4096)]
fn ecs_limited(bencher: Bencher<'_, '_>, with: &str) {
    let is = |what| with == what || with == "both";
    let settings = if is("rate limit") { "rate_limit.responses_per_second = 1000000" } else { "" };
    let mut queries = everywhere("weighted.example.com");
    if is("cookie") {
        for query in &mut queries {
            // The subnet is the last option, and the length of all options stands before it.
            let length_at = query.len() - 13;
            query[length_at..length_at + 2].copy_from_slice(&[0, 11 + 12]);
            query.extend([0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
        }
    }
    bench(bencher, &publisher_with(3, settings), &queries);
}

#[divan::bench(sample_count = 200, sample_size = 4096)]
fn no_edns(bencher: Bencher<'_, '_>) {
    bench(bencher, &publisher(3), &[query("weighted.example.com", None)]);
}

#[divan::bench(sample_count = 200, sample_size = 4096)]
fn nxdomain(bencher: Bencher<'_, '_>) {
    bench(bencher, &publisher(3), &[query("nosuch.name.example.com", None)]);
}
