//! What a decision costs, from a located client to chosen endpoints: `cargo bench --bench decide`.
#![allow(missing_docs, clippy::expect_used, reason = "a bench")]

use std::net::{IpAddr, Ipv4Addr};

use divan::Bencher;
use meridian::config::{Adaptive, Balance, Performance};
use meridian::reload::{Loader, Origin};
use meridian::routing::{Draw, Family, decide};
use meridian::snapshot::Publisher;

fn main() {
    divan::main();
}

fn balances() -> [&'static str; 11] {
    Balance::all(Performance::DEFAULT, Adaptive::DEFAULT).map(Balance::name)
}

/// So many that where they are found among networks is not learnt by heart.
const MANY_CLIENTS: usize = 4096;

const STEERINGS: [&str; 6] = ["priority", "proximity", "latency", "geo", "weighted", "load"];

/// A service of one region of so many endpoints of different weights, and another of one endpoint.
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
capacity = 1000
[regions.west]
location = [50.11, 8.68]
capacity = 1000
[latency]
[maps.countries]
default = ["east", "west"]
rules = [{{ countries = ["DE", "FR"], regions = ["west"] }}]
[pools.web]
endpoints = [{}, {{ region = "west", address = "192.0.2.1" }}]
[zones."example.com"]
nameservers = ["ns1.example.net"]
[services."www.example.com"]
pool = "web"
{settings}
"#,
        list.collect::<Vec<String>>().join(",\n")
    );
    let mut loader = Loader::new(Origin::Embedded(text));
    Publisher::new(loader.load().expect("the bench's configuration is good").compiled)
}

fn bench(bencher: Bencher<'_, '_>, endpoints: usize, clients: usize, settings: &str) {
    let snapshot = publisher(endpoints, settings).current();
    let service = &snapshot.compiled.services[0];
    let mut rng = fastrand::Rng::with_seed(7);
    // Clients all over the address space; of the region that has many endpoints where that counts.
    let clients: Vec<IpAddr> =
        (0..clients).map(|_| IpAddr::V4(Ipv4Addr::new(rng.u8(1..224), rng.u8(..), rng.u8(..), 0))).collect();
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 1) % clients.len();
        let mut draw = Draw { rng: &mut rng, advance: true, worker: 0, unix_seconds: 1_700_000_000 };
        decide(&snapshot, service, clients[next], Family::V4, &mut draw)
    });
}

#[divan::bench(args = balances(), consts = [3, 24, 1000], sample_count = 300, sample_size = 4096)]
fn each_balance<const ENDPOINTS: usize>(bencher: Bencher<'_, '_>, balance: &str) {
    bench(bencher, ENDPOINTS, MANY_CLIENTS, &format!("steering = \"priority\"\nbalance = \"{balance}\""));
}

#[divan::bench(args = balances(), consts = [3, 24, 1000], sample_count = 300, sample_size = 4096)]
fn balances_that_stick<const ENDPOINTS: usize>(bencher: Bencher<'_, '_>, balance: &str) {
    bench(
        bencher,
        ENDPOINTS,
        MANY_CLIENTS,
        &format!("steering = \"priority\"\nbalance = \"{balance}\"\nsticky = true"),
    );
}

fn steered(steering: &str) -> String {
    let map = if steering == "geo" { "map = \"countries\"" } else { "" };
    format!("steering = \"{steering}\"\n{map}")
}

/// With the search for the client among all networks.
#[divan::bench(args = STEERINGS, consts = [3, 1000], sample_count = 300, sample_size = 4096)]
fn steerings<const ENDPOINTS: usize>(bencher: Bencher<'_, '_>, steering: &str) {
    bench(bencher, ENDPOINTS, MANY_CLIENTS, &steered(steering));
}

/// The same for one client, whose place among the networks is at hand.
#[divan::bench(args = STEERINGS, consts = [3, 1000], sample_count = 300, sample_size = 4096)]
fn steerings_of_one_client<const ENDPOINTS: usize>(bencher: Bencher<'_, '_>, steering: &str) {
    bench(bencher, ENDPOINTS, 1, &steered(steering));
}

#[divan::bench(args = [1, 2, 16], consts = [3, 1000], sample_count = 300, sample_size = 4096)]
fn consistent_hash_answers<const ENDPOINTS: usize>(bencher: Bencher<'_, '_>, answers: usize) {
    let settings = format!("steering = \"priority\"\nbalance = \"consistent-hash\"\nanswers = {answers}");
    bench(bencher, ENDPOINTS, MANY_CLIENTS, &settings);
}
