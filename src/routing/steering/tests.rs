//! Regions that are drawn by weight, over many clients; and what holds whatever the strategy.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::health::{Details, Failure, Observation};
use crate::reload::{Loader, Origin};
use crate::routing::flows::{Flow, Flows, ServiceFlows, Step};
use crate::routing::live::Standing;
use crate::routing::{Draw, Family, Live, Outcome, decide, decide_both};
use crate::snapshot::{Publisher, Snapshot, Steering};

const WEIGHTS: [u32; 5] = [5, 1, 3, 0, 1];

/// Five regions of these weights, with an endpoint of each family in each.
fn publisher(keys: &str) -> Publisher {
    let mut text =
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[zones.\"example.com\"]\nnameservers = [\"ns.example.net\"]\n\
                    [probes.tcp]\ntype = \"tcp\"\nport = 80\nfall = 1\nrise = 1\nhold_down = \"0s\"\n"
            .to_owned();
    let mut endpoints = String::new();
    for (region, weight) in WEIGHTS.iter().enumerate() {
        text += &format!("[regions.r{region}]\nlocation = [0, {region}]\n");
        for address in [format!("192.0.2.{region}"), format!("2001:db8::{region}")] {
            endpoints += &format!("{{ region = \"r{region}\", address = \"{address}\", weight = {weight} }},\n");
        }
    }
    text += &format!("[pools.web]\nprobe = \"tcp\"\nendpoints = [{endpoints}]\n");
    text += &format!("[services.\"www.example.com\"]\npool = \"web\"\nsteering = \"weighted\"\n{keys}");
    Publisher::new(Loader::new(Origin::Embedded(text)).load().unwrap().compiled)
}

fn set_health(publisher: &Publisher, region: usize, is_alive: bool) {
    let ends = [format!("192.0.2.{region}"), format!("2001:db8::{region}")];
    let keys: Vec<_> = publisher.health().keys().filter(|key| ends.contains(&key.target.to_string())).collect();
    let observations = keys.into_iter().map(|key| {
        let outcome = if is_alive { Ok(()) } else { Err(Failure::Refused) };
        (key, Observation { took: Duration::from_millis(1), address: None, outcome, details: Details::default() })
    });
    publisher.observe(observations.collect::<Vec<_>>(), Instant::now());
}

/// The region and the scope of each of so many IPv4 networks, /24 each.
fn answers(publisher: &Publisher, clients: u32, family: Family, seed: u64) -> Vec<(u16, u8)> {
    let snapshot = publisher.current();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut answer = |client: IpAddr| {
        let mut draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds: 0 };
        let decision = decide(&snapshot, &snapshot.compiled.services[0], client, family, &mut draw);
        let Outcome::Endpoints { choice, .. } = decision.outcome else { panic!("an endpoint serves") };
        (snapshot.compiled.groups[choice.group as usize].region, decision.scope)
    };
    (0..clients).map(|number| answer(Ipv4Addr::from_bits(number << 8).into())).collect()
}

/// Pearson's statistic of regions that weigh something.
fn chi_squared(answers: &[(u16, u8)], weights: [u32; 5]) -> f64 {
    let total: u32 = weights.iter().sum();
    let statistic = |(region, weight): (usize, &u32)| {
        let observed = answers.iter().filter(|(got, _)| usize::from(*got) == region).count() as f64;
        let expected = answers.len() as f64 * f64::from(*weight) / f64::from(total);
        if *weight == 0 {
            assert_eq!(observed, 0.0, "r{region} weighs nothing");
            return 0.0;
        }
        (observed - expected).powi(2) / expected
    };
    weights.iter().enumerate().map(statistic).sum()
}

/// For 3 degrees of freedom at p = 10⁻⁴.
const BOUND: f64 = 21.1;

#[test]
fn shares_over_clients_are_those_of_weights() {
    for keys in ["region_weights = { r0 = 5, r1 = 1, r2 = 3, r4 = 1 }", "", "sticky = false"] {
        let publisher = publisher(keys);
        let statistic = chi_squared(&answers(&publisher, 1_000_000, Family::V4, 1), WEIGHTS);
        assert!(statistic < BOUND, "{keys}: {statistic}");
        // One that is dead leaves the others theirs.
        set_health(&publisher, 2, false);
        let statistic = chi_squared(&answers(&publisher, 1_000_000, Family::V4, 1), [5, 1, 0, 0, 1]);
        assert!(statistic < BOUND, "{keys}, without r2: {statistic}");
    }
}

#[test]
fn only_clients_of_a_dead_region_move_and_exactly_those_come_back() {
    let publisher = publisher("");
    let before = answers(&publisher, 100_000, Family::V4, 1);
    for dead in [0, 1, 2, 4] {
        set_health(&publisher, dead, false);
        let during = answers(&publisher, 100_000, Family::V4, 2);
        for (before, during) in before.iter().zip(&during) {
            assert!(usize::from(during.0) != dead && (usize::from(before.0) == dead || before == during));
        }
        // A second death moves only its own, too.
        let second = if dead == 0 { 2 } else { 0 };
        set_health(&publisher, second, false);
        for (before, after) in during.iter().zip(answers(&publisher, 100_000, Family::V4, 3)) {
            assert!(usize::from(before.0) == second || before.0 == after.0);
        }
        set_health(&publisher, second, true);
        set_health(&publisher, dead, true);
        assert_eq!(answers(&publisher, 100_000, Family::V4, 4), before);
    }
}

#[test]
fn a_and_aaaa_of_a_client_agree_and_the_prefix_is_the_scope() {
    let publisher = publisher("");
    let v4 = answers(&publisher, 10_000, Family::V4, 1);
    assert_eq!(v4, answers(&publisher, 10_000, Family::V6, 2));
    assert!(v4.iter().all(|(_, scope)| *scope == 24));
    let snapshot = publisher.current();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut of = |client: Ipv6Addr| {
        let mut draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds: 0 };
        let decision = decide(&snapshot, &snapshot.compiled.services[0], client.into(), Family::V6, &mut draw);
        let Outcome::Endpoints { choice, .. } = decision.outcome else { panic!("an endpoint serves") };
        (choice.group, decision.scope)
    };
    let (near, far): (Ipv6Addr, Ipv6Addr) = ("2001:db8::1".parse().unwrap(), "2001:db8:0:ff::1".parse().unwrap());
    assert_eq!((of(near), of(near).1), (of(far), 56));
}

#[test]
fn without_a_choice_or_stickiness_an_answer_holds_for_everyone() {
    let scope = |publisher: &Publisher| answers(publisher, 1, Family::V4, 1)[0].1;
    assert_eq!(scope(&publisher("sticky = false")), 0);
    assert_eq!(scope(&publisher("region_weights = { r1 = 2 }")), 0, "one region alone weighs something");
    assert_eq!(scope(&publisher("sticky = { v4 = 16, v6 = 48 }")), 16);
}

/// The addresses of the other family that stand beside the drawn ones were not drawn themselves, but count as though they were.
#[test]
fn what_stands_beside_shortens_the_ttl_of_both() {
    let text = "[server]\nlisten = [\"127.0.0.1:0\"]\n[zones.\"example.com\"]\nnameservers = [\"ns.example.net\"]\n\
                [regions.r0]\nlocation = [0, 0]\n[regions.r1]\nlocation = [0, 1]\n[pools.web]\nendpoints = [\n\
                { region = \"r0\", address = \"2001:db8::\" },\n{ region = \"r1\", address = \"192.0.2.1\" },\n\
                { region = \"r1\", address = \"2001:db8::1\", drain_at = 2030-01-01T00:00:00Z },\n]\n\
                [services.\"www.example.com\"]\npool = \"web\"\nsteering = \"weighted\"\nsticky = false\n";
    let unix_seconds = 1_893_456_000 - 20;
    let compiled = Loader::new(Origin::Embedded(text.to_owned())).load().unwrap().compiled;
    let snapshot = Publisher::starting_at(compiled, Instant::now(), unix_seconds).current();
    for seed in 0..50 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds };
        let client = Ipv4Addr::LOCALHOST.into();
        assert_eq!(decide_both(&snapshot, &snapshot.compiled.services[0], client, &mut draw).ttl, 20, "{seed}");
    }
}

/// Flows are made for classes of clients, of which some may be fenced in where others are not.
#[test]
fn flows_lead_nobody_over_a_fence() {
    let text = "[server]\nlisten = [\"127.0.0.1:0\"]\n[zones.\"example.com\"]\nnameservers = [\"ns.example.net\"]\n\
                [regions.r0]\nlocation = [0, 0]\ncapacity = 1\n[regions.r1]\nlocation = [0, 1]\n\
                [pools.web]\nendpoints = [{ region = \"r0\", address = \"192.0.2.0\" }, { region = \"r1\", address = \"192.0.2.1\" }]\n\
                [services.\"www.example.com\"]\npool = \"web\"\nsteering = \"load\"\n\
                map = { fence = true, rules = [{ networks = [\"10.0.0.0/8\"], regions = [\"r0\"] }] }\n";
    let compiled = Loader::new(Origin::Embedded(text.to_owned())).load().unwrap().compiled;
    let mut live = Live::build(&compiled, |_| Standing::UNPROBED, None, Instant::now());
    let Steering::Load(load) = &compiled.services[0].steering else { panic!("it is steered by load") };
    // All clients go to the second region.
    let flow = Flow { first: 0, count: 1, is_displaced: false };
    let flows = vec![flow; load.orders.len() * 2];
    let steps = vec![Step { end: u32::MAX, tier: 0, region: 1 }];
    live.set_flows(Flows { services: vec![ServiceFlows { flows, steps }], ..Flows::default() });
    let snapshot = Snapshot { generation: 1, compiled: Arc::new(compiled), live };
    for (client, region) in [([11, 0, 0, 1], 1), ([10, 0, 0, 1], 0)] {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds: 0 };
        let client = Ipv4Addr::from(client).into();
        let decision = decide(&snapshot, &snapshot.compiled.services[0], client, Family::V4, &mut draw);
        let Outcome::Endpoints { choice, .. } = decision.outcome else { panic!("an endpoint serves") };
        assert_eq!(snapshot.compiled.groups[choice.group as usize].region, region, "{client}");
    }
}
