//! Demand over time on five regions, steered by load: what comes to each of them, second by second.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::live::Standing;
use super::{Controller, Draw, Family, Outcome, decide, decide_both};
use crate::health::{Details, Failure, Observation};
use crate::reload::{Loader, Origin};
use crate::snapshot::{LoadSteering, Publisher, Snapshot, Steering};

const CAPACITIES: [f64; 5] = [1000.0, 800.0, 600.0, 1200.0, 400.0];
const TARGETS: [f64; 5] = [800.0, 640.0, 480.0, 960.0, 320.0];

/// Region N is 30·N degrees east, and the clients of (N+1).0.0.0/8 and 2001:db8:N::/48 are there.
struct World {
    text: String,
    publisher: Publisher,
    now: Instant,
    /// What of a question is left to be asked, by home.
    left: [f64; 5],
}

type PerRegion = [f64; 5];

impl World {
    fn new(service: &str) -> Self {
        let mut text = "[server]\nlisten = [\"127.0.0.1:0\"]\n[zones.\"example.com\"]\n\
                        nameservers = [\"ns.example.net\"]\n[probes.tcp]\ntype = \"tcp\"\nport = 80\nfall = 1\nrise = 1\nhold_down = \"0s\"\n"
            .to_owned();
        let mut endpoints = String::new();
        for (region, capacity) in CAPACITIES.iter().enumerate() {
            text += &format!("[regions.r{region}]\nlocation = [0, {}]\ncapacity = {capacity}\n", region * 30);
            text += &format!("[[geoip.networks]]\ncidr = \"{}.0.0.0/8\"\nregion = \"r{region}\"\n", region + 1);
            text += &format!("[[geoip.networks]]\ncidr = \"2001:db8:{region}::/48\"\nregion = \"r{region}\"\n");
            endpoints += &format!("{{ region = \"r{region}\", address = \"192.0.2.{region}\" }},\n");
            endpoints += &format!("{{ region = \"r{region}\", address = \"2001:db8::{region}\" }},\n");
        }
        text += &format!("[pools.web]\nprobe = \"tcp\"\nendpoints = [{endpoints}]\n");
        text += &format!("[services.\"www.example.com\"]\npool = \"web\"\nsteering = \"load\"\n{service}");
        let publisher = Publisher::new(Loader::new(Origin::Embedded(text.clone())).load().unwrap().compiled);
        Self { text, publisher, now: Instant::now() + Duration::from_secs(1), left: [0.0; 5] }
    }

    /// What comes to each region of these rates by home, as flows are now.
    fn loads(&self, rates: PerRegion) -> PerRegion {
        let mut loads = [0.0; 5];
        for (home, rate) in rates.iter().enumerate() {
            for (region, share) in self.shares(home).into_iter().enumerate() {
                loads[region] += rate * share;
            }
        }
        loads
    }

    /// Where the clients of a home go.
    fn shares(&self, home: usize) -> PerRegion {
        let snapshot = self.publisher.current();
        let load = load(&snapshot);
        let mut shares = [0.0; 5];
        let mut before = 0.0;
        for step in snapshot.live.flows().way(load.index, class(&snapshot, home)).steps {
            let end = (f64::from(step.end) + 1.0) / (f64::from(u32::MAX) + 1.0);
            shares[usize::from(step.region)] += end - before;
            before = end;
        }
        shares
    }

    /// Lets a second of questions pass; returns what came to each region.
    fn second(&mut self, rates: PerRegion) -> PerRegion {
        let loads = self.loads(rates);
        let snapshot = self.publisher.current();
        for (home, rate) in rates.iter().enumerate() {
            self.left[home] += rate;
            while self.left[home] >= 1.0 {
                load(&snapshot).demand.add(0, class(&snapshot, home));
                self.left[home] -= 1.0;
            }
        }
        self.now += Duration::from_secs(1);
        self.publisher.tick(self.now, 0);
        self.publisher.follow_demand(self.now);
        loads
    }

    fn seconds(&mut self, count: u32, rates: PerRegion) -> PerRegion {
        (0..count).map(|_| self.second(rates)).last().unwrap()
    }

    /// Kills a region, or lets it live again.
    fn set_health(&self, region: usize, is_alive: bool) {
        let ends = [format!("192.0.2.{region}"), format!("2001:db8::{region}")];
        let keys: Vec<_> = self.publisher.health().keys().collect();
        let observations = keys.into_iter().filter(|key| ends.contains(&key.target.to_string())).map(|key| {
            let outcome = if is_alive { Ok(()) } else { Err(Failure::Refused) };
            (key, Observation { took: Duration::from_millis(1), address: None, outcome, details: Details::default() })
        });
        self.publisher.observe(observations.collect::<Vec<_>>(), self.now);
        self.publisher.follow_demand(self.now);
    }
}

fn load(snapshot: &Snapshot) -> &LoadSteering {
    let Steering::Load(load) = &snapshot.compiled.services[0].steering else { panic!("steered by load") };
    load
}

/// The class of the IPv4 clients of a home.
fn class(snapshot: &Snapshot, home: usize) -> usize {
    let load = load(snapshot);
    let (order, _) = snapshot.compiled.maps[load.map].lookup(Ipv4Addr::new(home as u8 + 1, 0, 0, 1).into());
    load.class(order, Family::V4)
}

/// What comes to each region with demand that isn't known: by how much it has risen within the second, and half of what
/// counting spreads by.
fn unknown(world: &World, before: PerRegion, rates: PerRegion) -> PerRegion {
    let mut slack = [0.0; 5];
    for home in 0..5 {
        let rise = (rates[home] - before[home]).max(0.0) + rates[home].sqrt() / 2.0;
        world.shares(home).into_iter().zip(&mut slack).for_each(|(share, slack)| *slack += share * rise);
    }
    slack
}

/// No region is above its target by more than `slack` while another has room.
fn assert_balanced(loads: PerRegion, alive: &[usize], slack: PerRegion) {
    for region in alive {
        let has_room = alive.iter().any(|other| loads[*other] < TARGETS[*other] - 1.0);
        let is_balanced = loads[*region] <= TARGETS[*region] + slack[*region] + 1.0;
        assert!(is_balanced || !has_room, "r{region} has too much of {loads:?}, {slack:?} may be");
    }
    for region in (0..5).filter(|region| !alive.contains(region)) {
        assert!(loads[region] == 0.0, "r{region} is dead and gets some of {loads:?}");
    }
}

fn assert_within_capacity(loads: PerRegion, what: &str) {
    for (region, load) in loads.iter().enumerate() {
        assert!(*load <= CAPACITIES[region] + 0.5, "{what}: r{region} gets {load} of {loads:?}");
    }
}

const ALL: [usize; 5] = [0, 1, 2, 3, 4];
const QUIET: PerRegion = [400.0, 300.0, 200.0, 300.0, 100.0];

#[test]
fn a_step_is_followed_once_and_without_overshoot() {
    let mut world = World::new("");
    assert_eq!(world.seconds(30, QUIET), QUIET, "each its own");
    let step = [1600.0, 300.0, 200.0, 300.0, 100.0];
    let mut home_share = world.shares(0)[0];
    for second in 0..40 {
        let slack = unknown(&world, if second == 0 { QUIET } else { step }, step);
        assert_balanced(world.second(step), &ALL, slack);
        let next = world.shares(0)[0];
        assert!(next <= home_share + 1e-9, "it never turns: {home_share} to {next}");
        home_share = next;
        assert!(home_share >= 0.5 - 1e-3, "800 of 1600 fit: {home_share}");
        for other in 1..5 {
            assert_eq!(world.shares(other)[other], 1.0, "only the overflow moves");
        }
    }
    let loads = world.loads(step);
    assert_balanced(loads, &ALL, [0.0; 5]);
    // 800 flow over: 340 to the nearest, 280 to the next, and the rest beyond.
    for (got, expected) in loads.into_iter().zip([800.0, 640.0, 480.0, 480.0, 100.0]) {
        assert!((got - expected).abs() < 1.0, "{loads:?}");
    }
    // And back.
    for _ in 0..60 {
        world.second(QUIET);
        let next = world.shares(0)[0];
        assert!(next >= home_share - 1e-9, "it never turns");
        home_share = next;
    }
    assert_eq!(world.loads(QUIET), QUIET);
}

#[test]
fn under_constant_load_nothing_moves_and_nothing_is_published() {
    let mut world = World::new("");
    let rates = [1200.0, 700.0, 200.0, 300.0, 300.0];
    world.seconds(60, rates);
    let generation = world.publisher.current().generation;
    world.seconds(300, rates);
    assert_eq!(world.publisher.current().generation, generation);
}

#[test]
fn a_ramp_is_followed_within_the_second() {
    let mut world = World::new("");
    world.seconds(10, QUIET);
    let rates = |second: u32| [400.0 + 10.0 * f64::from(second), 300.0, 200.0, 300.0, 100.0];
    for second in 1..190 {
        let slack = unknown(&world, rates(second - 1), rates(second));
        let loads = world.second(rates(second));
        assert_within_capacity(loads, "ramp");
        assert_balanced(loads, &ALL, slack);
    }
}

#[test]
fn a_wave_is_followed_and_swings_no_more_than_it_does() {
    let mut world = World::new("");
    let rates = |second: u32| {
        let phase = f64::from(second) / 60.0 * std::f64::consts::TAU;
        [1200.0 + 500.0 * phase.sin(), 300.0, 200.0 + 150.0 * phase.cos(), 300.0, 100.0]
    };
    let ideal = |second: u32| (TARGETS[0] / rates(second)[0]).min(1.0);
    for second in 0..60 {
        world.second(rates(second));
    }
    let (mut swing, mut ideal_swing, mut least) = (0.0, 0.0, 1.0_f64);
    for second in 60..360 {
        let before = world.shares(0)[0];
        let slack = unknown(&world, rates(second - 1), rates(second));
        let loads = world.second(rates(second));
        assert_within_capacity(loads, "wave");
        assert_balanced(loads, &ALL, slack);
        let share = world.shares(0)[0];
        swing += (share - before).abs();
        ideal_swing += (ideal(second) - ideal(second - 1)).abs();
        least = least.min(share);
    }
    assert!(swing <= ideal_swing, "the share swings by {swing}, where {ideal_swing} would follow all of it");
    assert!(swing >= ideal_swing * 0.5, "and it does follow: {swing} of {ideal_swing}");
    assert!(least >= 800.0 / 1700.0 - 1e-3, "never lower than the highest wave asks for: {least}");
}

#[test]
fn waves_of_any_length_everywhere_are_followed_and_amplified_nowhere() {
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..30 {
        let mut world = World::new("");
        let waves = CAPACITIES.map(|capacity| {
            let (mean, depth) = (capacity * (0.5 + 0.2 * rng.f64()), rng.f64() * 0.8);
            (mean, depth, 5.0 + 200.0 * rng.f64(), rng.f64(), rng.bool())
        });
        // Together the highest of all waves are under all targets.
        let highest: f64 = waves.iter().map(|(mean, depth, ..)| mean * (1.0 + depth)).sum();
        let scale = TARGETS.iter().sum::<f64>() / highest * 0.98;
        let rates = |second: u32| {
            waves.map(|(mean, depth, length, phase, is_square)| {
                let height = ((f64::from(second) / length + phase) * std::f64::consts::TAU).sin();
                scale * mean * (1.0 + depth * if is_square { height.signum() } else { height })
            })
        };
        let (mut swings, mut demand_swings, mut least) = ([[0.0; 5]; 5], 0.0, [f64::INFINITY; 5]);
        world.seconds(3, rates(0));
        for second in 1..400 {
            let before: [PerRegion; 5] = std::array::from_fn(|home| world.shares(home));
            let slack = unknown(&world, rates(second - 1), rates(second));
            let loads = world.second(rates(second));
            assert_balanced(loads, &ALL, slack);
            for home in 0..5 {
                let after = world.shares(home);
                (0..5).for_each(|region| swings[home][region] += (after[region] - before[home][region]).abs());
                demand_swings += (rates(second)[home] - rates(second - 1)[home]).abs();
                least[home] = least[home].min(rates(second)[home]);
            }
        }
        for (swings, least) in swings.iter().zip(least) {
            // What is known swings as demand does, and by one question more or less.
            let most = (demand_swings + 400.0) / least;
            assert!(swings.iter().all(|swing| *swing <= most), "{swings:?}, demand by {most} of {least}");
        }
    }
}

#[test]
fn clients_stay_where_demand_goes_up_and_down_soon_and_there_is_room() {
    let mut world = World::new("");
    let rates = |second: u32| [if second % 10 < 5 { 1600.0 } else { 800.0 }, 300.0, 200.0, 300.0, 100.0];
    for second in 0..300 {
        world.second(rates(second));
        let share = world.shares(0)[0];
        assert!(second < 20 || (0.499..0.65).contains(&share), "half fits at the most, and all at the least: {share}");
    }
}

#[test]
fn what_comes_no_more_takes_no_room_of_what_comes() {
    let mut world = World::new("");
    // 3150 of 3200 at any time, now here and now there.
    let rates = |second: u32| {
        if (second / 15).is_multiple_of(2) {
            [1600.0, 600.0, 450.0, 400.0, 100.0]
        } else {
            [400.0, 600.0, 450.0, 1600.0, 100.0]
        }
    };
    world.seconds(3, rates(0));
    for second in 1..120 {
        let slack = unknown(&world, rates(second - 1), rates(second));
        assert_balanced(world.second(rates(second)), &ALL, slack);
    }
}

#[test]
fn chance_moves_few_clients_and_keeps_regions_under_their_targets() {
    let mut world = World::new("");
    let mut rng = fastrand::Rng::with_seed(1);
    // The sum of many small chances is as of random arrivals.
    let mut arrivals = |rate: f64| (0..rate as u32 * 10).filter(|_| rng.u8(..10) == 0).count() as f64;
    let mut swing = 0.0;
    let mut mean = 0.0;
    for second in 0..1060 {
        let rates = [1600.0, 300.0, 200.0, 300.0, 100.0].map(&mut arrivals);
        let before = world.shares(0)[0];
        let loads = world.second(rates);
        if second >= 60 {
            swing += (world.shares(0)[0] - before).abs() / 1000.0;
            mean += loads[0] / 1000.0;
        }
    }
    assert!((770.0..=800.0).contains(&mean), "a bit under the target of 800, as a rise might be one: {mean}");
    assert!(swing < 0.005, "{swing} of the clients move in a second");
}

#[test]
fn a_death_or_a_recovery_at_any_moment_overloads_nobody_while_the_total_fits() {
    let mut world = World::new("");
    let rates = |second: u32| {
        let phase = f64::from(second) / 60.0 * std::f64::consts::TAU;
        [900.0 + 200.0 * phase.sin(), 500.0, 300.0 + 100.0 * phase.cos(), 500.0 + 5.0 * f64::from(second % 40), 100.0]
    };
    for second in 0..60 {
        world.second(rates(second));
    }
    let mut fitted = 0;
    for second in 60..180 {
        for dead in ALL {
            let total: f64 = rates(second).iter().sum();
            let alive: Vec<usize> = ALL.into_iter().filter(|region| *region != dead).collect();
            let capacity: f64 = alive.iter().map(|region| CAPACITIES[*region]).sum();
            world.set_health(dead, false);
            let loads = world.loads(rates(second));
            assert_eq!(loads[dead], 0.0, "nobody is sent to the dead");
            if total < capacity * 0.98 {
                fitted += 1;
                assert_within_capacity(loads, "death");
            }
            world.set_health(dead, true);
            assert_within_capacity(world.loads(rates(second)), "recovery");
        }
        assert_within_capacity(world.second(rates(second)), "between");
    }
    assert!(fitted > 500, "{fitted} deaths fitted");
}

#[test]
fn the_dead_are_spread_by_room() {
    let mut world = World::new("");
    world.seconds(30, QUIET);
    world.set_health(3, false);
    let loads = world.seconds(30, QUIET);
    // 400, 340, 280 and 220 are free, and 300 come.
    let part = 300.0 / 1240.0;
    for (region, load) in loads.into_iter().enumerate().filter(|(region, _)| *region != 3) {
        let expected = QUIET[region] + (TARGETS[region] - QUIET[region]) * part;
        assert!((load - expected).abs() < 2.0, "r{region}: {load}, expected {expected}");
    }
    assert_balanced(loads, &[0, 1, 2, 4], [0.0; 5]);
    world.set_health(3, true);
    assert_eq!(world.loads(QUIET), QUIET, "all come back");
}

#[test]
fn past_every_capacity_all_are_answered_by_capacity_and_it_shows() {
    let mut world = World::new("");
    let rates = [8000.0, 0.0, 0.0, 0.0, 0.0];
    let loads = world.seconds(60, rates);
    for (load, capacity) in loads.into_iter().zip(CAPACITIES) {
        assert!((load - 2.0 * capacity).abs() < 10.0, "{loads:?}");
    }
    let snapshot = world.publisher.current();
    assert!((snapshot.live.flows().excess - 4000.0).abs() < 10.0);
    assert!(snapshot.live.flows().region(0).unwrap().load > 1900.0);
}

/// What is answered to a client of this service, and for which prefix.
fn answer(snapshot: &Snapshot, client: IpAddr, family: Family) -> (u16, u8) {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds: 0 };
    let decision = decide(snapshot, &snapshot.compiled.services[0], client, family, &mut draw);
    let Outcome::Endpoints { choice, .. } = decision.outcome else { panic!("an endpoint serves") };
    (snapshot.compiled.groups[choice.group as usize].region, decision.scope)
}

#[test]
fn clients_keep_their_region_but_for_the_overflow_that_grows() {
    let mut world = World::new("");
    world.seconds(30, [1000.0, 300.0, 200.0, 300.0, 100.0]);
    let clients: Vec<IpAddr> =
        (0..20_000_u32).map(|number| Ipv4Addr::from_bits(1 << 24 | number << 8 | 7).into()).collect();
    let regions = |world: &World| -> Vec<u16> {
        let snapshot = world.publisher.current();
        clients.iter().map(|client| answer(&snapshot, *client, Family::V4).0).collect()
    };
    let before = regions(&world);
    let at_home = before.iter().filter(|region| **region == 0).count() as f64 / 20_000.0;
    assert!((at_home - 0.8).abs() < 0.015, "800 of 1000 fit: {at_home}");
    world.seconds(60, [1100.0, 300.0, 200.0, 300.0, 100.0]);
    let after = regions(&world);
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count() as f64 / 20_000.0;
    assert!((moved - (0.8 - 8.0 / 11.0)).abs() < 0.01, "{moved} of the clients moved");
    assert!(before.iter().zip(&after).all(|(before, after)| *before == 0 || before == after), "none came back");

    let snapshot = world.publisher.current();
    for client in &clients[..100] {
        let (region, scope) = answer(&snapshot, *client, Family::V4);
        assert_eq!(scope, 24, "where some of a class go elsewhere, the client's prefix counts");
        let IpAddr::V4(address) = client else { panic!("IPv4") };
        let neighbour = Ipv4Addr::from_bits(address.to_bits() ^ 0x80).into();
        assert_eq!(answer(&snapshot, neighbour, Family::V4).0, region, "all of the prefix go one way");
    }
    assert_eq!(
        answer(&snapshot, Ipv4Addr::new(2, 1, 1, 1).into(), Family::V4),
        (1, 8),
        "else only where the client is"
    );
}

#[test]
fn questions_are_counted_once_each_and_not_where_they_are_only_shown() {
    let world = World::new("");
    let snapshot = world.publisher.current();
    let count = || load(&snapshot).demand.sums().iter().sum::<u32>();
    for (advance, worker, expected) in [(true, 0, 1), (false, 0, 1), (true, usize::MAX, 1), (true, 0, 2)] {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut draw = Draw { rng: &mut rng, advance, worker, unix_seconds: 0 };
        decide(&snapshot, &snapshot.compiled.services[0], Ipv4Addr::new(1, 0, 0, 1).into(), Family::V4, &mut draw);
        assert_eq!(count(), expected);
    }
}

#[test]
fn a_question_for_both_families_counts_once_where_it_leads() {
    let world = World::new("");
    for (dead, expected) in [(vec![], [1, 0]), (ALL.to_vec(), [1, 1])] {
        // Of all regions the IPv4 endpoints alone die.
        let keys: Vec<_> = world.publisher.health().keys().collect();
        let is_dead = |target: &str| dead.iter().any(|region| target == format!("192.0.2.{region}"));
        let observations = keys.into_iter().filter(|key| is_dead(&key.target.to_string())).map(|key| {
            let outcome = Err(Failure::Refused);
            (key, Observation { took: Duration::from_millis(1), address: None, outcome, details: Details::default() })
        });
        world.publisher.observe(observations.collect::<Vec<_>>(), world.now);
        world.publisher.follow_demand(world.now);
        let snapshot = world.publisher.current();
        let mut rng = fastrand::Rng::with_seed(1);
        let mut draw = Draw { rng: &mut rng, advance: true, worker: 0, unix_seconds: 0 };
        decide_both(&snapshot, &snapshot.compiled.services[0], Ipv4Addr::new(1, 0, 0, 1).into(), &mut draw);
        let sums = load(&snapshot).demand.sums();
        let class = class(&snapshot, 0);
        assert_eq!(
            [sums[class], sums[class + 1], sums.iter().sum()],
            [expected[0], expected[1], expected[0] + expected[1]]
        );
    }
}

#[test]
fn what_others_answer_takes_room() {
    let other = "[services.\"other.example.com\"]\npool = \"web\"\nsteering = \"priority\"\n";
    let mut world = World::new(other);
    let tally = std::sync::Arc::clone(&world.publisher.current().compiled.services[1].tallies[0]);
    let mut loads = [0.0; 5];
    for _ in 0..60 {
        (0..500).for_each(|_| tally.add(0));
        loads = world.second([600.0, 0.0, 0.0, 0.0, 0.0]);
    }
    // Of a target of 800, 500 are taken.
    assert!((loads[0] - 300.0).abs() < 2.0 && (loads[1] - 300.0).abs() < 2.0, "{loads:?}");
}

#[test]
fn reported_load_bounds_as_soon_as_it_is_known() {
    let world = World::new("capacity_unit = \"reported\"\n");
    let snapshot = world.publisher.current();
    let (compiled, mut controller) = (&snapshot.compiled, Controller::default());
    let mut standings = vec![Standing::UNPROBED; compiled.endpoints.len()];
    let home_share = |controller: &mut Controller, standings: &[Standing], seconds: std::ops::Range<u64>| {
        for second in seconds {
            (0..100).for_each(|_| load(&snapshot).demand.add(0, class(&snapshot, 0)));
            (0..100).for_each(|_| compiled.services[0].tallies[0].add(0));
            controller.measure(
                compiled,
                &|endpoint| standings[endpoint as usize],
                world.now + Duration::from_secs(second),
            );
        }
        let flows = controller.flows(compiled, &snapshot.live, &|endpoint| standings[endpoint as usize]);
        let steps = flows.way(load(&snapshot).index, class(&snapshot, 0)).steps;
        assert_eq!(steps[0].region, 0);
        f64::from(steps[0].end) / f64::from(u32::MAX)
    };
    assert_eq!(home_share(&mut controller, &standings, 0..10), 1.0, "nothing is reported");
    // An answer per second brings 16 requests per second: 50 of the 100 are 800.
    for (endpoint, standing) in compiled.endpoints.iter().zip(&mut standings) {
        if ["192.0.2.0", "2001:db8::"].contains(&endpoint.destination.to_string().as_str()) {
            standing.load.requests_per_second = Some(800.0);
        }
    }
    let share = home_share(&mut controller, &standings, 10..20);
    assert!((share - 0.5).abs() < 0.01, "{share}");
    // Twice as much is believed slowly.
    standings.iter_mut().for_each(|standing| {
        standing.load.requests_per_second = standing.load.requests_per_second.map(|requests| requests * 2.0);
    });
    let share = home_share(&mut controller, &standings, 20..30);
    assert!((0.4..0.47).contains(&share), "{share}");
    let share = home_share(&mut controller, &standings, 30..400);
    assert!((share - 0.25).abs() < 0.01, "{share}");
}

#[test]
fn a_reload_goes_on_with_the_demand_that_is_known() {
    let mut world = World::new("");
    let rates = [1600.0, 300.0, 200.0, 300.0, 100.0];
    world.seconds(60, rates);
    let before = world.loads(rates);
    let mut loader = Loader::new(Origin::Embedded(world.text.clone()));
    // Counters are kept by whoever loads.
    let world_of = Publisher::new(loader.load().unwrap().compiled);
    let again = loader.load().unwrap().compiled;
    world.publisher = world_of;
    world.seconds(60, rates);
    world.publisher.replace(again);
    assert_eq!(world.loads(rates).map(f64::round), before.map(f64::round));
}

#[test]
fn a_reload_with_other_classes_goes_on_with_what_came_to_each_region() {
    let mut world = World::new("");
    let rates = [1600.0, 300.0, 200.0, 300.0, 100.0];
    // Ahead of the others, so that all orders are numbered anew.
    let network = "[[geoip.networks]]\ncidr = \"0.0.0.0/8\"\nlocation = [0, 44]\n[[geoip.networks]]\n";
    let text = world.text.replacen("[[geoip.networks]]\n", network, 1);
    world.seconds(60, rates);
    let (before, class_before) = (world.loads(rates), class(&world.publisher.current(), 0));
    world.publisher.replace(Loader::new(Origin::Embedded(text)).load().unwrap().compiled);
    assert_ne!(class(&world.publisher.current(), 0), class_before, "the classes are others");
    for second in 0..30 {
        let loads = world.second(rates);
        for (region, load) in loads.into_iter().enumerate() {
            assert!((load - before[region]).abs() < 5.0, "second {second}: {loads:?} were {before:?}");
        }
    }
}

#[test]
fn what_drains_bears_nothing() {
    let capacities = |more: &str| {
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[zones.\"example.com\"]\nnameservers = [\"ns.example.net\"]\n\
             [regions.r0]\nlocation = [0, 0]\n[pools.web]\ndrain_time = \"1m\"\nendpoints = [\n\
             {{ region = \"r0\", address = \"192.0.2.1\", capacity = 100 }},\n\
             {{ region = \"r0\", address = \"192.0.2.2\", capacity = 50{more} }},\n]\n\
             [services.\"www.example.com\"]\npool = \"web\"\nsteering = \"load\"\n"
        );
        let now = Instant::now();
        let compiled = Loader::new(Origin::Embedded(text)).load().unwrap().compiled;
        let publisher = Publisher::starting_at(compiled, now, DRAIN_AT - 1);
        [DRAIN_AT - 1, DRAIN_AT, DRAIN_AT + 60].map(|unix_seconds| {
            publisher.tick(now, unix_seconds);
            publisher.current().live.flows().rooms[0].capacity
        })
    };
    /// 2030-01-01T00:00:00Z
    const DRAIN_AT: u32 = 1_893_456_000;
    assert_eq!(capacities(""), [150.0; 3]);
    assert_eq!(capacities(", state = \"draining\""), [100.0; 3]);
    assert_eq!(capacities(", drain_at = 2030-01-01T00:00:00Z"), [150.0, 100.0, 100.0]);
}
