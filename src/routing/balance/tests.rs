//! Shares and disruption of every method, by many draws; weights of every balance, against plain models.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::config::{Performance, Target};
use crate::routing::live::{Candidate, Health, Load};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const TIMES: u32 = 1_000_000;
/// Clients beyond which shares can't be told better, as those of a slot go together.
const SLOTS: f64 = rendezvous::SLOTS as f64;

/// Endpoints of these weights, healthy, at neighbouring addresses.
fn members(weights: &[u32]) -> Vec<Member> {
    let member = |(place, weight): (u32, &u32)| Member {
        identity: rendezvous::identity(&Target::Address(Ipv4Addr::from_bits(0x0a00_0000 + place).into())),
        place,
        weight: *weight,
        capacity: None,
        standing: Standing::UNPROBED,
    };
    (0..).zip(weights).map(member).collect()
}

fn with_shares(mut members: Vec<Member>, shares: &[f64]) -> Vec<Member> {
    for (member, share) in members.iter_mut().zip(shares) {
        member.standing.share = (share * f64::from(WHOLE)).round() as u32;
    }
    members
}

fn winners(members: &[Member]) -> Arc<Table> {
    let of: Vec<(u64, u32)> = members.iter().map(|member| (member.identity, member.weight)).collect();
    Arc::new(Table::build(&of))
}

/// The candidates that are made of endpoints; each is named by its place.
fn candidates(
    balance: Balance,
    sticky: Option<Sticky>,
    members: &[Member],
    winners: Option<&Arc<Table>>,
) -> Candidates {
    let (method, laid) = lay_out(balance, sticky, members, winners);
    let mut cumulative_weight = 0;
    let list = members.iter().zip(laid).map(|(member, Laid { weight, load })| {
        cumulative_weight += weight;
        Candidate { cumulative_weight, endpoint: member.place, load, address: [0; 16] }
    });
    Candidates {
        list: list.collect(),
        method,
        weight_together: 0,
        health: Health::Enough,
        other_family_serves: true,
        has_other_family: false,
        flip_seconds: u32::MAX,
        drains_at: u32::MAX,
        settles: false,
        allowed: members.len() as u32,
    }
}

/// Picks for one client after the other; each is in a prefix of its own.
fn pick_for_clients(from: &Candidates, answers: usize, times: u32, mut picked: impl FnMut(u32, &Picks)) {
    let mut rng = fastrand::Rng::with_seed(11);
    let mut draw = Draw { rng: &mut rng, advance: true, worker: usize::MAX, unix_seconds: 0 };
    let rotation = AtomicU32::new(0);
    for client in 0..times {
        let address = IpAddr::V4(Ipv4Addr::from_bits(client << 8));
        picked(client, &draw.pick(from, answers, &rotation, address));
    }
}

/// How often each candidate is picked first, and how often at all.
fn counts(from: &Candidates, answers: usize, times: u32) -> (Vec<f64>, Vec<f64>) {
    let (mut first, mut any) = (vec![0.0; from.list.len()], vec![0.0; from.list.len()]);
    pick_for_clients(from, answers, times, |_, picks| {
        let mut sorted = picks.as_slice().to_vec();
        first[sorted[0] as usize] += 1.0;
        sorted.iter().for_each(|index| any[*index as usize] += 1.0);
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), answers.min(from.list.len()), "distinct, and as many as asked for");
    });
    (first, any)
}

/// Pearson's statistic against these chances, of which one that is expected less than five times says nothing. At p = 10⁻⁴
/// it is at most [`bound`].
fn chi_squared(observed: &[f64], chances: &[f64], times: f64) -> f64 {
    let pairs = observed.iter().zip(chances).map(|(observed, chance)| (observed, chance * times));
    pairs
        .filter(|(_, expected)| *expected >= 5.0)
        .map(|(observed, expected)| (observed - expected).powi(2) / expected)
        .sum()
}

/// What chi-squared stays below with a chance of 0.9999 at so many degrees of freedom (Wilson and Hilferty).
fn bound(freedom: usize) -> f64 {
    let freedom = freedom as f64;
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + 3.719 * spread.sqrt()).powi(3)
}

fn shares(weights: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

/// The chance that each candidate is among two drawn by weight without replacement.
fn inclusion_in_two(shares: &[f64]) -> Vec<f64> {
    let second = |index: usize| -> f64 {
        let others = shares.iter().enumerate().filter(|(other, _)| *other != index);
        others.map(|(_, first)| first * shares[index] / (1.0 - first)).sum()
    };
    shares.iter().enumerate().map(|(index, share)| share + second(index)).collect()
}

#[test]
fn shares_of_draws_are_exact_in_short_and_long_lists() {
    let short = vec![1, 2, 3, 0xf_ffff, 500_000];
    let long: Vec<u32> = (0..100).map(|index| 1 + index * index).collect();
    for weights in [short, long] {
        let from = candidates(Balance::Weighted, None, &members(&weights), None);
        let expected = shares(&weights.iter().map(|weight| f64::from(*weight)).collect::<Vec<f64>>());
        let (first, any) = counts(&from, 2, TIMES);
        let times = f64::from(TIMES);
        let statistic = chi_squared(&first, &expected, times);
        assert!(statistic < bound(weights.len() - 1), "first picks: {statistic}");
        let statistic = chi_squared(&any, &inclusion_in_two(&expected), times);
        assert!(statistic < bound(weights.len() - 1), "all picks: {statistic}");
    }
}

#[test]
fn random_shares_are_even_in_short_and_long_lists() {
    for (length, answers) in [(5, 1), (5, 3), (32, 16), (100, 16)] {
        let weights: Vec<u32> = (0..length).map(|index| 1 + index * 1000).collect();
        let from = candidates(Balance::Random, None, &members(&weights), None);
        let (first, any) = counts(&from, answers, TIMES);
        let even = vec![1.0 / f64::from(length); weights.len()];
        let times = f64::from(TIMES);
        let statistic = chi_squared(&first, &even, times);
        assert!(statistic < bound(weights.len() - 1), "first of {answers} from {length}: {statistic}");
        let statistic = chi_squared(&any, &even, times * answers as f64);
        assert!(statistic < bound(weights.len() - 1), "any of {answers} from {length}: {statistic}");
    }
}

#[test]
fn a_few_heavy_candidates_do_not_keep_the_others_out() {
    let mut weights = vec![1; 40];
    weights[..3].fill(1_000_000);
    let from = candidates(Balance::Weighted, None, &members(&weights), None);
    let (first, any) = counts(&from, 16, 1000);
    assert!(first[3..].iter().sum::<f64>() <= 2.0, "light candidates are first about 12 times in a million");
    assert_eq!(any[..3].iter().sum::<f64>(), 3000.0, "heavy ones are always among 16");
    assert!(chi_squared(&any[3..], &[1.0 / 37.0; 37], 13_000.0) < bound(36));
}

/// One warms up at a quarter, one is tried with a twentieth.
const PARTS: [f64; 5] = [1.0, 0.25, 1.0, 0.05, 1.0];

#[test]
fn of_one_that_counts_in_part_the_share_falls_by_that_part() {
    let weights = [3, 2, 1, 4, 1];
    let parts = PARTS.map(|part| (part * f64::from(WHOLE)).round() / f64::from(WHOLE));
    let by_weight: Vec<f64> = weights.iter().zip(parts).map(|(weight, part)| f64::from(*weight) * part).collect();
    for (balance, expected) in [(Balance::Weighted, shares(&by_weight)), (Balance::Random, shares(&parts))] {
        let from = candidates(balance, None, &with_shares(members(&weights), &PARTS), None);
        let (first, _) = counts(&from, 1, TIMES);
        let statistic = chi_squared(&first, &expected, f64::from(TIMES));
        assert!(statistic < bound(4), "{}: {statistic}", balance.name());
        for (chance, expected) in chances(&from).iter().zip(&expected) {
            assert!((chance - expected).abs() < 1e-12);
        }
    }
}

#[test]
fn round_robin_takes_turns_and_a_dry_run_stays() {
    let from = candidates(Balance::RoundRobin, None, &members(&[1, 5, 9]), None);
    let rotation = AtomicU32::new(0);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut turn = |advance| {
        let mut draw = Draw { rng: &mut rng, advance, worker: usize::MAX, unix_seconds: 0 };
        draw.pick(&from, 2, &rotation, CLIENT).as_slice().to_vec()
    };
    assert_eq!(
        (turn(true), turn(false), turn(true), turn(true), turn(true)),
        (vec![0, 1], vec![1, 2], vec![1, 2], vec![2, 0], vec![0, 1])
    );
}

/// In any hundred thousand turns, and whole ones come in turn all the while.
#[test]
fn round_robin_gives_parts_of_turns_evenly() {
    for parts in [&PARTS[..], &[0.5, 1.0, 0.5], &[0.25, 0.25, 0.25, 0.25], &[0.05, 1.0], &[0.3, 1.0, 0.7, 1.0]] {
        let from = candidates(Balance::RoundRobin, None, &with_shares(members(&vec![1; parts.len()]), parts), None);
        let (first, _) = counts(&from, 1, 100_000);
        for (count, share) in first.iter().zip(shares(parts)) {
            assert!((count / 100_000.0 - share).abs() < 0.001, "{parts:?}: {first:?}");
        }
        let mut last_seen = vec![0; parts.len()];
        pick_for_clients(&from, 1, 1000, |turn, picks| {
            let index = picks.as_slice()[0] as usize;
            let waited = turn - last_seen[index];
            last_seen[index] = turn;
            let rounds = if parts[index] < 1.0 { 4.0 / parts[index] } else { 2.0 };
            assert!(f64::from(waited) <= rounds * parts.len() as f64, "{parts:?}: {index} waited {waited}");
        });
    }
}

/// Whoever else is in the answer: one that is tried with a twentieth is not in every second one.
#[test]
fn round_robin_gives_parts_of_the_other_places_too() {
    let parts = [1.0, 1.0, 0.05, 1.0];
    let from = candidates(Balance::RoundRobin, None, &with_shares(members(&[1; 4]), &parts), None);
    let (first, any) = counts(&from, 2, 100_000);
    for (index, share) in shares(&parts).into_iter().enumerate() {
        assert!((first[index] / 100_000.0 - share).abs() < 0.001, "{first:?}");
        assert!((any[index] / 200_000.0 - share).abs() < 0.01, "{any:?}");
    }
    // All of them are answered where as many are asked for.
    assert_eq!(counts(&from, 4, 1000).1, [1000.0; 4]);
}

/// What `sticky` may err by: a slot's clients go together, so N clients tell no more than their S slots do, and the variance
/// of a count is at most Np(1 − p)(1 + N/S).
fn sticky_statistic(first: &[f64], expected: &[f64]) -> f64 {
    let times = f64::from(TIMES);
    chi_squared(first, expected, times) / (1.0 + times / SLOTS)
}

#[test]
fn clients_that_stick_are_shared_by_weight() {
    let short = vec![1, 2, 3, 40, 50];
    let long: Vec<u32> = (1..=100).collect();
    for weights in [short, long] {
        let expected = shares(&weights.iter().map(|weight| f64::from(*weight)).collect::<Vec<f64>>());
        let members = members(&weights);
        let table = winners(&members);
        for winners in [None, Some(&table)] {
            for sticky in [Sticky::DEFAULT, Sticky { v4: 32, v6: 128 }] {
                let from = candidates(Balance::ConsistentHash, Some(sticky), &members, winners);
                let (first, any) = counts(&from, 2, TIMES);
                let statistic = sticky_statistic(&first, &expected);
                assert!(statistic < bound(weights.len() - 1), "first picks: {statistic}");
                let statistic = sticky_statistic(&any, &inclusion_in_two(&expected));
                assert!(statistic < bound(weights.len() - 1), "all picks: {statistic}");
            }
        }
        let from = candidates(Balance::IpHash, Some(Sticky::DEFAULT), &members, None);
        let (first, any) = counts(&from, 2, TIMES);
        let statistic = chi_squared(&first, &expected, f64::from(TIMES));
        assert!(statistic < bound(weights.len() - 1), "ip-hash, first picks: {statistic}");
        let statistic = chi_squared(&any, &inclusion_in_two(&expected), f64::from(TIMES));
        assert!(statistic < bound(weights.len() - 1), "ip-hash, all picks: {statistic}");
    }
}

#[test]
fn clients_that_stick_are_shared_by_what_counts_now() {
    let weights = vec![3; 50];
    let all = members(&weights);
    let table = winners(&all);
    let parts: Vec<f64> = (0..50).map(|index| PARTS[index % 5]).collect();
    let mut now = with_shares(all, &parts);
    // Ten are down.
    now.retain(|member| member.place % 5 != 4);
    let expected = shares(&now.iter().map(|member| f64::from(member.standing.share)).collect::<Vec<f64>>());
    for winners in [None, Some(&table)] {
        let from = candidates(Balance::Random, Some(Sticky::DEFAULT), &now, winners);
        let (first, any) = counts(&from, 2, TIMES);
        let statistic = sticky_statistic(&first, &expected);
        assert!(statistic < bound(now.len() - 1), "first picks: {statistic}");
        let statistic = sticky_statistic(&any, &inclusion_in_two(&expected));
        assert!(statistic < bound(now.len() - 1), "all picks: {statistic}");
    }
}

/// As where an adaptive balance lets them take turns.
#[test]
fn clients_that_stick_are_even_though_the_table_is_of_weights() {
    let members = members(&(0..40).map(|index| 2 + index % 2).collect::<Vec<u32>>());
    let from = candidates(Balance::RoundRobin, Some(Sticky::DEFAULT), &members, Some(&winners(&members)));
    let (first, _) = counts(&from, 1, TIMES);
    let statistic = sticky_statistic(&first, &[1.0 / 40.0; 40]);
    assert!(statistic < bound(39), "{statistic}");
}

/// Nearly all that the table names is down, so that most clients are placed by their key alone.
#[test]
fn clients_that_find_nobody_in_the_table_are_shared_all_the_same() {
    let all = members(&vec![1; 1000]);
    let table = winners(&all);
    let left = &all[500..505];
    let from = candidates(Balance::ConsistentHash, Some(Sticky::DEFAULT), left, Some(&table));
    let (first, any) = counts(&from, 5, 100_000);
    assert!(chi_squared(&first, &[0.2; 5], 100_000.0) / (1.0 + 100_000.0 / SLOTS) < bound(4), "{first:?}");
    assert_eq!(any, [100_000.0; 5]);
}

/// The first endpoint of each client, by its place.
fn homes(members: &[Member], winners: Option<&Arc<Table>>, clients: u32) -> Vec<u32> {
    let from = candidates(Balance::ConsistentHash, Some(Sticky::DEFAULT), members, winners);
    let mut homes = Vec::new();
    pick_for_clients(&from, 1, clients, |_, picks| homes.push(from.list[picks.as_slice()[0] as usize].endpoint));
    homes
}

/// Asserts that clients left or came to one endpoint alone, and returns which part of all did.
fn moved(before: &[u32], after: &[u32], endpoint: u32) -> f64 {
    let moved = before.iter().zip(after).filter(|(before, after)| before != after);
    let mut count = 0;
    for (before, after) in moved {
        assert!(*before == endpoint || *after == endpoint, "a client went from {before} to {after}");
        count += 1;
    }
    f64::from(count) / before.len() as f64
}

#[test]
fn only_clients_of_what_changes_move_and_no_more_than_must() {
    const CLIENTS: u32 = 200_000;
    const CHANGED: u32 = 2;
    // Four deviations of a share of 1/n over so many slots.
    let near =
        |part: f64, share: f64| (part - share).abs() < 4.0 * (share / SLOTS.min(f64::from(CLIENTS))).sqrt() * 1.2;
    for count in [3, 8, 20, 100] {
        let all = members(&vec![2; count]);
        let share = 1.0 / count as f64;
        let without: Vec<Member> = all.iter().copied().filter(|member| member.place != CHANGED).collect();
        let mut heavier = all.clone();
        heavier[CHANGED as usize].weight = 4;
        let is_long = count > 12;
        let table_of = |members: &[Member]| {
            // Places count what the table is built of.
            is_long.then(|| winners(members))
        };
        let configured = table_of(&all);
        let before = homes(&all, configured.as_ref(), CLIENTS);

        // Down, by health, and up again.
        let down = homes(&without, configured.as_ref(), CLIENTS);
        let part = moved(&before, &down, CHANGED);
        assert!(near(part, share), "{count}: {part} moved as one went down");
        assert_eq!(homes(&all, configured.as_ref(), CLIENTS), before, "up again");

        // Counting half, by health.
        let mut halved = all.clone();
        halved[CHANGED as usize].standing.share = WHOLE / 2;
        let part = moved(&before, &homes(&halved, configured.as_ref(), CLIENTS), CHANGED);
        let expected = share - 0.5 / (count as f64 - 0.5);
        assert!(near(part, expected), "{count}: {part} moved as one counted half, expected {expected}");

        // Taken out of the file, or put into it: the others' places in it change.
        let mut renumbered = without.clone();
        (0..).zip(&mut renumbered).for_each(|(place, member)| member.place = place);
        let table = table_of(&renumbered);
        let removed = homes(&renumbered, table.as_ref(), CLIENTS);
        let removed: Vec<u32> = removed.iter().map(|place| without[*place as usize].place).collect();
        let part = moved(&before, &removed, CHANGED);
        assert!(near(part, share), "{count}: {part} moved as one was removed or added");

        // Another weight in the file.
        let table = table_of(&heavier);
        let part = moved(&before, &homes(&heavier, table.as_ref(), CLIENTS), CHANGED);
        let expected = 2.0 / (count as f64 + 1.0) - share;
        assert!(near(part, expected), "{count}: {part} moved as one was given twice its weight, expected {expected}");

        // Another order in the file.
        let mut turned = all.clone();
        turned.rotate_left(1);
        (0..).zip(&mut turned).for_each(|(place, member)| member.place = place);
        let table = table_of(&turned);
        let after = homes(&turned, table.as_ref(), CLIENTS);
        assert!(after.iter().zip(&before).all(|(after, before)| (after + 1) % count as u32 == *before));
    }
}

/// Of several answers too; one that is lost is replaced, and the others stay.
#[test]
fn only_clients_that_one_is_answered_to_lose_it() {
    const CLIENTS: u32 = 100_000;
    const CHANGED: u32 = 7;
    for (count, has_table) in [(12, false), (100, true), (1000, true)] {
        let all = members(&vec![1; count]);
        let table = has_table.then(|| winners(&all));
        let without: Vec<Member> = all.iter().copied().filter(|member| member.place != CHANGED).collect();
        for answers in [1, 3] {
            let sets = |members: &[Member]| {
                let from = candidates(Balance::ConsistentHash, Some(Sticky::DEFAULT), members, table.as_ref());
                let mut sets = Vec::new();
                pick_for_clients(&from, answers, CLIENTS, |_, picks| {
                    sets.push(
                        picks.as_slice().iter().map(|index| from.list[*index as usize].endpoint).collect::<Vec<u32>>(),
                    );
                });
                sets
            };
            let mut moved = 0;
            for (before, after) in sets(&all).iter().zip(&sets(&without)) {
                let stayed: Vec<u32> = before.iter().copied().filter(|endpoint| *endpoint != CHANGED).collect();
                assert_eq!(after[..stayed.len()], stayed, "{count} endpoints, {answers} answers");
                moved += u32::from(stayed.len() < answers);
            }
            let (part, expected) = (f64::from(moved) / f64::from(CLIENTS), answers as f64 / count as f64);
            let deviation = (expected / SLOTS).sqrt();
            assert!((part - expected).abs() < 5.0 * deviation, "{count} endpoints, {answers} answers: {part} moved");
        }
    }
}

#[test]
fn a_list_that_grows_long_moves_only_clients_to_what_was_added() {
    let all = members(&[1; 25]);
    let before = homes(&all[..24], None, 100_000);
    let after = homes(&all, Some(&winners(&all)), 100_000);
    let part = moved(&before, &after, 24);
    assert!((0.03..0.05).contains(&part), "{part}");
}

#[test]
fn clients_of_one_prefix_get_the_same() {
    let members = members(&[1, 2, 3]);
    for balance in [Balance::IpHash, Balance::ConsistentHash, Balance::Weighted] {
        let from = candidates(balance, Some(Sticky { v4: 20, v6: 48 }), &members, None);
        let rotation = AtomicU32::new(0);
        let mut rng = fastrand::Rng::with_seed(1);
        let mut draw = Draw { rng: &mut rng, advance: true, worker: usize::MAX, unix_seconds: 0 };
        let mut pick = |client: IpAddr| draw.pick(&from, 2, &rotation, client).as_slice().to_vec();
        for network in 0..1000_u32 {
            let client = |host: u32| IpAddr::V4(Ipv4Addr::from_bits(network << 12 | host));
            assert_eq!(pick(client(1)), pick(client(0xfff)));
        }
    }
}

/// By the definition: all pairs.
fn chances_of_the_less_busy(from: &Candidates) -> Vec<f64> {
    let count = from.list.len();
    let part = |index| from.weight(index) as f64 / from.total_weight() as f64;
    let mut chances = vec![0.0; count];
    for first in 0..count {
        for second in (0..count).filter(|second| *second != first) {
            let winner = if from.list[second].load < from.list[first].load { second } else { first };
            chances[winner] += part(first) * part(second) / (1.0 - part(first));
        }
    }
    chances
}

fn busy(members: &mut [Member], connections: &[f64]) {
    for (member, connections) in members.iter_mut().zip(connections) {
        member.standing.load.connections = Some(*connections);
    }
}

#[test]
fn the_less_busy_of_two_is_picked_with_the_exact_chance() {
    let short = (vec![1, 2, 3, 4, 4], vec![5.0, 20.0, 3.0, 8.0, 8.0]);
    let long = ((1..=60).collect(), (0..60).map(|index| f64::from(index * 7 % 10)).collect());
    for (weights, connections) in [short, long] {
        let mut members: Vec<Member> = members(&weights);
        busy(&mut members, &connections);
        let from = candidates(Balance::PowerOfTwo, None, &members, None);
        let expected = chances_of_the_less_busy(&from);
        for (chance, expected) in chances(&from).iter().zip(&expected) {
            assert!((chance - expected).abs() < 1e-12, "{chance}, expected {expected}");
        }
        let (first, _) = counts(&from, 1, TIMES);
        let statistic = chi_squared(&first, &expected, f64::from(TIMES));
        assert!(statistic < bound(weights.len() - 1), "{statistic}");
        counts(&from, 16, 1000);
    }
}

#[test]
fn of_two_that_are_equally_busy_the_first_drawn_is_picked() {
    let members = members(&[1, 2, 3]);
    let from = candidates(Balance::PowerOfTwo, None, &members, None);
    assert_eq!(chances(&from), chances(&candidates(Balance::Weighted, None, &members, None)));
    let (first, _) = counts(&from, 1, TIMES);
    assert!(chi_squared(&first, &shares(&[1.0, 2.0, 3.0]), f64::from(TIMES)) < bound(2));
}

#[test]
fn the_busiest_measure_that_is_known_is_compared() {
    let loads = |loads: [Load; 3]| {
        let mut members = members(&[1, 2, 2]);
        members.iter_mut().zip(loads).for_each(|(member, load)| member.standing.load = load);
        power_of_two::loads(&members)
    };
    let none = Load::default();
    let load = |connections, utilization, response_ms| Load { connections, utilization, response_ms, ..none };
    assert_eq!(loads([none; 3]), [0, 0, 0]);
    // Per weight: 4, 5, and their mean.
    let by_connections = [load(Some(4.0), Some(0.9), None), load(Some(10.0), Some(0.1), None), none];
    assert_eq!(loads(by_connections), [0, 2, 1]);
    assert_eq!(loads([load(None, Some(0.9), Some(1.0)), load(None, Some(0.1), Some(2.0)), none]), [2, 0, 1]);
    assert_eq!(
        loads([load(None, None, Some(1.0)), load(None, None, Some(1.0)), load(None, None, Some(0.5))]),
        [1, 1, 0]
    );
}

fn any_members() -> impl Strategy<Value = Vec<Member>> {
    let measure = |most: f64| proptest::option::weighted(0.7, 0.0..most);
    let load = (measure(1000.0), measure(1.2), proptest::option::weighted(0.7, 0.5..2000.0), measure(1.0));
    let one = (1..=1_048_576u32, 1..=WHOLE, load);
    proptest::collection::vec(one, 1..20).prop_map(|all| {
        let mut members = members(&all.iter().map(|(weight, ..)| *weight).collect::<Vec<u32>>());
        for (member, (_, share, (connections, utilization, response_ms, error_rate))) in members.iter_mut().zip(all) {
            member.standing.share = share;
            member.standing.load =
                Load { connections, utilization, response_ms, error_rate, requests_per_second: None };
        }
        members
    })
}

/// A measure as the documents say it counts: own, else the mean of those that have it.
fn counts_as(members: &[Member], index: usize, measure: impl Fn(&Load) -> Option<f64>) -> Option<f64> {
    let known: Vec<f64> = members.iter().filter_map(|member| measure(&member.standing.load)).collect();
    if known.is_empty() {
        return None;
    }
    measure(&members[index].standing.load).or(Some(known.iter().sum::<f64>() / known.len() as f64))
}

/// What a balance weighs an endpoint with, plainly.
fn model(balance: Balance, members: &[Member], index: usize) -> f64 {
    let own = &members[index];
    let weight = f64::from(own.weight);
    let known = |measure: fn(&Load) -> Option<f64>| counts_as(members, index, measure);
    let by_load = match balance {
        Balance::RoundRobin | Balance::Random => 1.0,
        Balance::LeastConnections => known(|load| load.connections).map_or(weight, |own| weight / (1.0 + own)),
        Balance::LeastResponseTime => known(|load| load.response_ms).map_or(weight, |own| weight / own),
        Balance::ResourceAware => known(|load| load.utilization).map_or(weight, |own| weight * (1.0 - own).max(0.02)),
        Balance::Performance(settings) => {
            let largest = members.iter().map(|member| f64::from(member.weight)).fold(0.0, f64::max);
            let all_ms = (0..members.len()).filter_map(|index| counts_as(members, index, |load| load.response_ms));
            let best_ms = all_ms.fold(f64::INFINITY, f64::min);
            let parts = [
                known(|load| load.response_ms).map(|own| best_ms / own),
                known(|load| load.error_rate).map(|own| 1.0 - own),
                known(|load| load.utilization).map(|own| (1.0 - own).max(0.0)),
            ];
            if parts == [None; 3] {
                weight
            } else {
                let [response_time, errors, load] = parts.map(|part| part.unwrap_or(1.0));
                let score = settings.response_time * response_time
                    + settings.errors * errors
                    + settings.load * load
                    + settings.weight * weight / largest;
                score.max(0.01)
            }
        }
        _ => weight,
    };
    by_load * f64::from(own.standing.share)
}

proptest! {
    #[test]
    fn weights_are_those_of_a_plain_model(members in any_members()) {
        for balance in [
            Balance::Weighted,
            Balance::RoundRobin,
            Balance::Random,
            Balance::IpHash,
            Balance::ConsistentHash,
            Balance::LeastConnections,
            Balance::LeastResponseTime,
            Balance::PowerOfTwo,
            Balance::ResourceAware,
            Balance::Performance(Performance::DEFAULT),
            Balance::Performance(Performance { response_time: 0.0, errors: 1.0, load: 0.0, weight: 0.0 }),
        ] {
            let from = candidates(balance, None, &members, None);
            let values: Vec<f64> = (0..members.len()).map(|index| model(balance, &members, index)).collect();
            for ((index, share), value) in shares(&values).iter().enumerate().zip(&values) {
                let weight = from.weight(index);
                prop_assert!(weight > 0);
                // Half a step of the integer, beside the largest, and half a step of each in their sum.
                let half = 0.5 / f64::from(u32::MAX);
                let step = half * (values.iter().copied().fold(*value, f64::max) / value + values.len() as f64);
                let got = weight as f64 / from.total_weight() as f64;
                prop_assert!((got - share).abs() <= share * step.max(1e-9), "{}: {got}, expected {share}", balance.name());
            }
        }
    }

    #[test]
    fn whatever_is_known_picks_are_distinct_and_as_many_as_asked_for(
        members in any_members(), answers in 1..=MAX_PICKS, sticky in any::<bool>(), has_table in any::<bool>(),
    ) {
        let table = (sticky && has_table).then(|| winners(&members));
        for balance in [
            Balance::Weighted,
            Balance::RoundRobin,
            Balance::Random,
            Balance::IpHash,
            Balance::LeastConnections,
            Balance::PowerOfTwo,
        ] {
            let from = candidates(balance, sticky.then_some(Sticky::DEFAULT), &members, table.as_ref());
            counts(&from, answers, 20);
        }
    }
}
