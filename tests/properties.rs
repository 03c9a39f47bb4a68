//! The fuzzer's properties, over what is known to be interesting and mutations of it: seconds in place of hours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "cases/file.rs"]
#[allow(dead_code, reason = "what is expected of the answers is another test's matter")]
mod file;
#[path = "cases/request.rs"]
#[allow(dead_code, reason = "likewise")]
mod request;
#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a library, there")]
mod targets;

use std::fs;
use std::path::Path;

use fastrand::Rng;

use crate::file::{Case, CaseFile};

const SEED: u64 = 20_260_101;

/// What the server that is asked knows, and some of what it doesn't.
const NAMES: &str = "@ ns1 mail alias loop1 out x.wild *.wild a.b.c b.c _sip._tcp x.moved moved www.back child x.child x.cut \
                     made x.made weighted.made ruled.made loaded.made fast.made big medium www x.apps none hosts nosuch explain.www aaaa.explain.x.apps";
const TYPES: [&str; 13] =
    ["A", "AAAA", "HTTPS", "SVCB", "TXT", "NS", "MX", "DS", "CNAME", "ANY", "SRV", "SOA", "TXT CH"];

/// Every request of the case files, and every name above with every type.
fn requests() -> Vec<Vec<u8>> {
    let files = CaseFile::load_all();
    let mut requests: Vec<_> =
        files.iter().flat_map(|file| &file.cases).map(|case| request::octets(case, 0x1234)).collect();
    for name in NAMES.split_whitespace() {
        let name = if name == "@" { "example.com".to_owned() } else { format!("{name}.example.com") };
        for rtype in TYPES {
            let plain = Case { ask: format!("{name} {rtype}"), edns: false, ..Case::default() };
            let subnet = Case { edns: true, client: Some("10.1.2.0/24".to_owned()), ..plain.clone() };
            let options = vec!["10 0102030405060708".to_owned(), "3".to_owned(), "12".to_owned()];
            let options = Case { edns: true, size: 4096, options, ..plain.clone() };
            requests.extend([plain, subnet, options].iter().map(|case| request::octets(case, 0x1234)));
        }
    }
    assert!(requests.len() > 1000);
    requests
}

/// Every file in these folders that ends like this.
fn files(folders: &[&str], extension: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    paths.sort();
    assert!(paths.len() > 10);
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// One to four changes: octets replaced, removed, inserted, repeated, or taken from another seed.
fn mutated(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = rng.choice(seeds).unwrap().clone();
    for _ in 0..rng.usize(1..=4) {
        let at = rng.usize(..=octets.len());
        let length = rng.usize(..=(octets.len() - at).min(16));
        match rng.u8(..6) {
            0 => octets[at..at + length].iter_mut().for_each(|octet| *octet = rng.u8(..)),
            1 => drop(octets.drain(at..at + length)),
            2 => drop(octets.splice(at..at, (0..length).map(|_| rng.u8(..)))),
            3 => {
                let repeated = octets[at..at + length].to_vec();
                octets.splice(at..at, repeated);
            }
            4 => {
                let other = rng.choice(seeds).unwrap();
                let from = rng.usize(..=other.len());
                let end = (from + 64).min(other.len());
                octets.splice(at..at + length, other[from..end].iter().copied());
            }
            _ => {
                // Numbers at the edges of what they may be.
                let edge = rng.choice([0, 1, 63, 64, 127, 128, 192, 254, 255]).unwrap();
                octets[at..at + length.min(2)].fill(edge);
            }
        }
    }
    octets
}

fn run(seeds: &[Vec<u8>], times: usize, mut property: impl FnMut(&mut Rng, &[u8])) {
    let mut rng = Rng::with_seed(SEED);
    for seed in seeds {
        property(&mut rng, seed);
    }
    for _ in 0..times {
        let octets = mutated(&mut rng, seeds);
        property(&mut rng, &octets);
    }
}

#[test]
fn requests_are_read_or_rejected() {
    run(&requests(), 2_000_000, |_, octets| targets::packet(octets));
}

#[test]
fn every_answer_is_sane() {
    targets::prepare();
    run(&requests(), 1_000_000, |rng, octets| {
        let head: [u8; 3] = std::array::from_fn(|_| rng.u8(..));
        targets::respond(&[&head, octets].concat());
    });
}

#[test]
fn zones_are_read_or_explained() {
    run(&files(&["tests/zones/good", "tests/zones/bad"], "zone"), 20_000, |_, octets| targets::zone(octets));
}

#[test]
fn configurations_are_read_or_explained() {
    run(&files(&["tests/config", "config"], "toml"), 20_000, |_, octets| targets::configuration(octets));
}
