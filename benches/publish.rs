//! How long what is known of 100,000 endpoints keeps a verdict from the answers: `cargo bench --bench publish`.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, reason = "a bench")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use meridian::health::{Details, Failure, Observation, TargetKey};
use meridian::reload::{Loader, Origin};
use meridian::snapshot::Publisher;

const POOLS: usize = 1_000;
const ENDPOINTS_PER_POOL: usize = 100;
const REGIONS: usize = 10;

fn main() {
    for balance in ["weighted", "least-connections"] {
        println!("{} endpoints, balance {balance}", POOLS * ENDPOINTS_PER_POOL);
        measure(balance);
    }
}

fn publisher(balance: &str) -> Publisher {
    let mut text =
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[zones.\"example.com\"]\nnameservers = [\"ns1.example.net\"]\n\
                    [probes.tcp]\ntype = \"tcp\"\nport = 80\nfall = 1\nrise = 1\n"
            .to_owned();
    for region in 0..REGIONS {
        text += &format!("[regions.r{region}]\nlocation = [0, {}]\n", region * 30);
    }
    for pool in 0..POOLS {
        let endpoint = |index: usize| {
            let (number, region) = (pool * ENDPOINTS_PER_POOL + index, index % REGIONS);
            let (second, third, fourth) = (number >> 16, number >> 8 & 0xff, number & 0xff);
            format!("{{ region = \"r{region}\", address = \"10.{second}.{third}.{fourth}\" }},\n")
        };
        let endpoints: String = (0..ENDPOINTS_PER_POOL).map(endpoint).collect();
        text += &format!("[pools.p{pool}]\nprobe = \"tcp\"\nendpoints = [{endpoints}]\n");
        text += &format!("[services.\"s{pool}.example.com\"]\npool = \"p{pool}\"\nbalance = \"{balance}\"\n");
    }
    let mut loader = Loader::new(Origin::Embedded(text));
    Publisher::new(loader.load().expect("the bench's configuration is good").compiled)
}

fn observation(key: &Arc<TargetKey>, is_up: bool) -> (Arc<TargetKey>, Observation) {
    let outcome = if is_up { Ok(()) } else { Err(Failure::Refused) };
    let took = Duration::from_micros(fastrand::u64(100..100_000));
    (Arc::clone(key), Observation { took, address: None, outcome, details: Details::default() })
}

/// The least, the middle and the greatest of what so many runs take.
fn show(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    println!("  {what:<58} {:>9.1?} {:>9.1?} {:>9.1?}", took[0], took[took.len() / 2], took[took.len() - 1]);
}

fn measure(balance: &str) {
    let publisher = publisher(balance);
    let keys: Vec<_> = publisher.health().keys().collect();
    let began = Instant::now();
    let all = |time: Instant| {
        for some in keys.chunks(4096) {
            publisher.observe(some.iter().map(|key| observation(key, true)), time);
        }
    };
    all(began);
    let took = |work: &mut dyn FnMut()| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    let mut seconds = 0;
    let mut tick = || {
        seconds += 1;
        publisher.tick(began + Duration::from_secs(seconds), 0);
    };
    let ticks = (0..10).map(|_| {
        all(Instant::now());
        took(&mut tick)
    });
    show("a tick after all were observed", ticks.collect());
    show("a tick after that", (0..10).map(|_| took(&mut tick)).collect());

    let one = |key: &Arc<TargetKey>, is_up: bool| {
        took(&mut || drop(publisher.observe([observation(key, is_up)], Instant::now())))
    };
    show("one verdict", (0..200).map(|run| one(&keys[run * 499], run % 2 == 1)).collect());
    let batches = keys.chunks(4096).map(|some| {
        took(&mut || drop(publisher.observe(some.iter().map(|key| observation(key, false)), Instant::now())))
    });
    show("4,096 verdicts at once", batches.collect());
    all(Instant::now());
    show("reading out all that is known", (0..10).map(|_| took(&mut || drop(publisher.health()))).collect());

    // What a verdict waits for while all is read out again and again and time passes.
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                let known = publisher.health();
                std::hint::black_box(known.targets().iter().count());
                tick();
            }
        });
        let verdicts = (0..200).map(|run| {
            std::thread::sleep(Duration::from_millis(5));
            one(&keys[run * 499], run % 2 == 1)
        });
        show("one verdict while all is read out and time passes", verdicts.collect());
        ends.store(true, Ordering::Relaxed);
    });
}
