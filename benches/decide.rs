//! What a decision costs, from a located client to chosen endpoints: `cargo bench --bench decide`.
#![allow(missing_docs, clippy::expect_used, reason = "a bench")]

use std::net::{IpAddr, Ipv4Addr};

use divan::Bencher;
use meridian::reload::{Loader, Origin};
use meridian::routing::{Draw, Family, decide};
use meridian::snapshot::Publisher;

fn main() {
    divan::main();
}

const BALANCES: [&str; 11] = [
    "weighted",
    "round-robin",
    "random",
    "ip-hash",
    "consistent-hash",
    "least-connections",
    "least-response-time",
    "power-of-two",
    "resource-aware",
    "performance",
    "adaptive",
];

/// One region of so many endpoints of different weights, and a service for each way of steering.
fn publisher(endpoints: usize, settings: &str) -> Publisher {
    let list = (0..endpoints).map(|index| {
        let (third, fourth, weight) = (index / 250, index % 250 + 1, index % 7 + 1);
        format!("{{ region = \"east\", address = \"10.0.{third}.{fourth}\", weight = {weight} }}")
    });
    let text = format!(
        r#"
[server]
listen = ["127.0.0.1:0"]
[regions.east]
location = [39.04, -77.49]
[regions.west]
location = [50.11, 8.68]
[pools.web]
endpoints = [{}, {{ region = "west", address = "192.0.2.1" }}]
[zones."example.com"]
nameservers = ["ns1.example.net"]
[services."priority.example.com"]
pool = "web"
steering = "priority"
{settings}
[services."proximity.example.com"]
pool = "web"
{settings}
"#,
        list.collect::<Vec<String>>().join(",\n")
    );
    let mut loader = Loader::new(Origin::Embedded(text));
    Publisher::new(loader.load().expect("the bench's configuration is good").compiled)
}

fn bench(bencher: Bencher<'_, '_>, publisher: &Publisher, service: usize) {
    let snapshot = publisher.current();
    let service = &snapshot.compiled.services[service];
    let mut rng = fastrand::Rng::with_seed(7);
    // Clients all over the address space; of the region that has many endpoints where that counts.
    let clients: Vec<IpAddr> =
        (0..4096).map(|_| IpAddr::V4(Ipv4Addr::new(rng.u8(1..224), rng.u8(..), rng.u8(..), 0))).collect();
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 1) % clients.len();
        let mut draw = Draw { rng: &mut rng, advance: true, worker: 0, unix_seconds: 1_700_000_000 };
        decide(&snapshot, service, clients[next], Family::V4, &mut draw)
    });
}

#[divan::bench(args = BALANCES, consts = [3, 24, 1000], sample_count = 300, sample_size = 4096)]
fn priority<const ENDPOINTS: usize>(bencher: Bencher<'_, '_>, balance: &str) {
    bench(bencher, &publisher(ENDPOINTS, &format!("balance = \"{balance}\"")), 0);
}

#[divan::bench(args = BALANCES, consts = [3, 1000], sample_count = 300, sample_size = 4096)]
fn proximity<const ENDPOINTS: usize>(bencher: Bencher<'_, '_>, balance: &str) {
    bench(bencher, &publisher(ENDPOINTS, &format!("balance = \"{balance}\"")), 1);
}

#[divan::bench(args = [1, 2, 16], consts = [3, 1000], sample_count = 300, sample_size = 4096)]
fn consistent_hash_answers<const ENDPOINTS: usize>(bencher: Bencher<'_, '_>, answers: usize) {
    bench(bencher, &publisher(ENDPOINTS, &format!("balance = \"consistent-hash\"\nanswers = {answers}")), 0);
}
