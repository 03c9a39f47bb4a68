//! Every tests/explain/*.toml asks why a service answers as it does, and *.txt beside it is what `meridian explain` says.
//!
//! `UPDATE=1 cargo test --test explain` rewrites the *.txt; read what changed. Time and seed are fixed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian::admin::view::{Explanation, Question, Source};
use meridian::config::{Adaptive, Balance, Performance, Target};
use meridian::health::overrides::{Override, Subject, Word};
use meridian::health::report::Age;
use meridian::health::{Details, Failure, Load, Observation, Overrides, Pushed};
use meridian::reload::{Loader, Origin};
use meridian::snapshot::Publisher;
use serde::Deserialize;

/// The second since 1970 at which everything happens: 2026-11-21T12:00:00Z.
const NOW: u32 = 1_795_262_400;
const SEED: u64 = 1;
/// The interval of the probes.
const APART: Duration = Duration::from_secs(10);
/// Each has a file, and so has each balance.
const STRATEGIES: [&str; 7] = [
    "steering-proximity",
    "steering-geo",
    "steering-priority",
    "steering-weighted",
    "steering-latency",
    "steering-load",
    "sticky",
];
const DATABASE: &str = "geo.mmdb";

/// What the service of each file stands beside: clients of 10.N.0.0/16 are in the N-th region.
const BESIDE: &str = r#"
[server]
listen = ["127.0.0.1:0"]
[zones."example.com"]
nameservers = ["ns.example.net"]
[[geoip.networks]]
cidr = "10.1.0.0/16"
region = "us"
[[geoip.networks]]
cidr = "10.2.0.0/16"
country = "DE"
[[geoip.networks]]
cidr = "10.3.0.0/16"
location = [1.35, 103.82]
[regions.us]
location = [39.04, -77.49]
[regions.eu]
location = [50.11, 8.68]
[regions.ap]
location = [-33.87, 151.21]
[probes.connect]
type = "tcp"
port = 80
interval = "10s"
"#;

/// One input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    /// What is shown.
    why: String,
    /// Pools and the service www.example.com.
    config: String,
    /// The type asked for.
    #[serde(default = "a")]
    ask: String,
    /// The client's subnet.
    client: Option<String>,
    /// What fails: addresses, or targets as they are shown.
    #[serde(default)]
    down: Vec<String>,
    /// What fails in each of several runs that are [`APART`], in place of `down`.
    #[serde(default)]
    runs: Vec<Vec<String>>,
    /// What operators say.
    #[serde(default)]
    words: BTreeMap<Subject, Word>,
    /// Files beside the configuration, where it says `@FOLDER@`.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// What regions bear.
    #[serde(default)]
    capacities: BTreeMap<String, u32>,
    /// What endpoints of the pool `web` say of their load.
    #[serde(default)]
    loads: BTreeMap<IpAddr, Told>,
}

/// What an endpoint says of its load; see [`Load`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Told {
    connections: Option<f64>,
    utilization: Option<f64>,
    response_ms: Option<f64>,
    error_rate: Option<f64>,
    requests_per_second: Option<f64>,
}

fn a() -> String {
    "A".to_owned()
}

fn explained(input: &Input, folder: &Path) -> String {
    for (name, text) in &input.files {
        fs::write(folder.join(name), text).unwrap();
    }
    let database = folder.join(DATABASE);
    let mut beside = BESIDE.to_owned();
    for (region, capacity) in &input.capacities {
        let table = format!("[regions.{region}]\n");
        beside = beside.replace(&table, &format!("{table}capacity = {capacity}\n"));
    }
    let config = input.config.replace("@FOLDER@", folder.to_str().unwrap());
    let text = format!("geoip.database = {database:?}\n{beside}{config}");
    let prepared = Loader::new(Origin::Embedded(text)).load().unwrap_or_else(|problems| panic!("{problems}"));
    let mut now = Instant::now();
    let publisher = Publisher::starting_at(prepared.compiled, now, NOW);
    let runs = if input.runs.is_empty() { slice::from_ref(&input.down) } else { &input.runs };
    for (run, down) in (0..).zip(runs) {
        now += if run == 0 { Duration::ZERO } else { APART };
        let targets = publisher.current().compiled.targets.clone();
        let observations = targets.into_iter().map(|key| {
            let Target::Address(address) = key.target else { panic!("a probed hostname") };
            let fails = down.contains(&address.to_string()) || down.contains(&key.to_string());
            let outcome = if fails { Err(Failure::Refused) } else { Ok(()) };
            (
                Arc::new(key),
                Observation {
                    took: Duration::from_millis(20),
                    address: Some(address),
                    outcome,
                    details: Details::default(),
                },
            )
        });
        publisher.observe(observations, now);
    }
    let reports: Vec<_> = input.loads.iter().map(|(address, told)| Ok(pushed(*address, told))).collect();
    let (outcomes, _) = publisher.push(&reports, now);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    publisher.obey(&Arc::new(said(&input.words)), now);
    publisher.tick(now, NOW);
    publisher.follow_demand(now);
    let question = Question::parse("www.example.com", Some(&input.ask), input.client.as_deref()).unwrap();
    let (snapshot, health) = (publisher.current(), publisher.health());
    let explanation = Explanation::new(&snapshot, &health, Source::Server, &question, SEED, now, NOW);
    format!("{}\n\n{explanation}", input.why)
}

fn pushed(address: IpAddr, told: &Told) -> Pushed {
    let Told { connections, utilization, response_ms, error_rate, requests_per_second } = *told;
    Pushed {
        pool: "web".to_owned(),
        endpoint: address.to_string(),
        region: None,
        age: Age::Past(Duration::ZERO),
        load: Load { connections, utilization, response_ms, error_rate, requests_per_second },
        successes: 0,
        failures: 0,
    }
}

fn said(words: &BTreeMap<Subject, Word>) -> Overrides {
    let mut said = Overrides::default();
    for (subject, word) in words {
        said.set(Override {
            subject: subject.clone(),
            word: *word,
            reason: "a test".to_owned(),
            author: "a tester".to_owned(),
            since: NOW.into(),
            expires: None,
        })
        .unwrap();
    }
    said
}

#[test]
fn explanations_are_as_expected() {
    let update = std::env::var_os("UPDATE").is_some();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain");
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let is = |path: &Path, extension| path.extension().is_some_and(|it| it == extension);
    // One that says nothing of the clients loads at once.
    let database = meridian::geo::build::build("network,country\n3fff:ffff::/32,AQ\n".as_bytes(), 0).unwrap();
    let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("explain-{}", std::process::id()));
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join(DATABASE), database).unwrap();
    let mut wrong = Vec::new();
    for path in &paths {
        if is(path, "txt") {
            assert!(path.with_extension("toml").exists(), "{} has no input", path.display());
        }
        if !is(path, "toml") {
            continue;
        }
        let input: Input = toml::from_str(&fs::read_to_string(path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let shown = explained(&input, &beside);
        let expected = path.with_extension("txt");
        if update {
            fs::write(expected, shown).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != shown {
            wrong.push(format!("{} is not what is shown:\n{shown}", expected.display()));
        }
    }
    fs::remove_dir_all(beside).unwrap();
    let balances =
        Balance::all(Performance::DEFAULT, Adaptive::DEFAULT).map(|balance| format!("balance-{}", balance.name()));
    for strategy in STRATEGIES.map(str::to_owned).into_iter().chain(balances) {
        assert!(paths.contains(&folder.join(&strategy).with_extension("toml")), "no {strategy}.toml");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
