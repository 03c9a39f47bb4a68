//! Whole decisions, over small random worlds: against a plain model, and the prefixes for which they hold.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod model;
mod world;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use proptest::prelude::*;

use self::model::Expected;
use self::world::{By, PLANS, POOLS, Plan, TTL_SECONDS, World, world};
use super::{Decision, Draw, Family, Outcome, decide};
use crate::snapshot::Snapshot;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What a client got, but for the order of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    Group { tier: usize, region: usize, endpoints: BTreeSet<IpAddr> },
    LastResort,
    NoData,
}

fn decided(snapshot: &Snapshot, service: usize, client: IpAddr, family: Family) -> (Got, u32, u8) {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds: 0 };
    let Decision { outcome, ttl, scope } =
        decide(snapshot, &snapshot.compiled.services[service], client, family, &mut draw);
    let got = match &outcome {
        Outcome::Endpoints { choice, picks } => {
            let address = |pick: &u32| {
                let endpoint = choice.candidates.list[*pick as usize].endpoint;
                snapshot.compiled.endpoints[endpoint as usize].address().unwrap()
            };
            let region = snapshot.compiled.groups[choice.group as usize].region.into();
            Got::Group { tier: choice.tier, region, endpoints: picks.as_slice().iter().map(address).collect() }
        }
        Outcome::LastResort(_) => Got::LastResort,
        Outcome::NoData => Got::NoData,
    };
    (got, ttl, scope)
}

/// Those of IPv4 next to which anything changes, and one of IPv6, of whom nothing is known.
fn clients(world: &World) -> Vec<IpAddr> {
    let stranger = Ipv6Addr::from_bits(0x2a00 << 112).into();
    world.edges().into_iter().map(|edge| IpAddr::V4(edge.into())).chain([stranger]).collect()
}

fn check(world: &World, plan: Plan, client: IpAddr, family: Family, got: &Got, ttl: u32) -> Result<(), TestCaseError> {
    let expected = world.expected(plan, client, family);
    match (got, &expected) {
        (Got::Group { tier, region, endpoints }, Expected::Groups(groups)) => {
            let group = groups.iter().find(|group| (group.tier, group.region) == (*tier, *region));
            prop_assert!(group.is_some(), "{plan:?} {client} {family:?}: {got:?}, not of {groups:?}");
            let group = group.unwrap();
            let count = world.answers.min(group.endpoints.len());
            prop_assert!(endpoints.is_subset(&group.endpoints), "{plan:?} {client} {family:?}: {got:?} of {group:?}");
            prop_assert_eq!(endpoints.len(), count, "{:?} {} {:?}", plan, client, family);
            if !matches!(plan.by, By::Weighted(_)) {
                let expected_ttl = TTL_SECONDS[usize::from(!world.is_impaired(plan, client, family))];
                prop_assert_eq!(ttl, expected_ttl, "{:?} {} {:?}: {:?}", plan, client, family, got);
            }
        }
        (Got::LastResort, Expected::LastResort) | (Got::NoData, Expected::NoData) => {}
        _ => prop_assert!(false, "{plan:?} {client} {family:?}: {got:?}, not {expected:?}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decisions_are_as_by_the_documentation(world in world()) {
        let Some(snapshot) = world.snapshot() else { return Ok(()) };
        for (service, plan) in PLANS.into_iter().enumerate() {
            for client in clients(&world) {
                let [v4, v6] = FAMILIES.map(|family| decided(&snapshot, service, client, family));
                check(&world, plan, client, Family::V4, &v4.0, v4.1)?;
                check(&world, plan, client, Family::V6, &v6.0, v6.1)?;
                if plan.by != By::Weighted(None) && world.is_served_together(plan, client) {
                    let place = |got: &Got| match got {
                        Got::Group { tier, region, .. } => Some((*tier, *region)),
                        Got::LastResort | Got::NoData => None,
                    };
                    prop_assert!(place(&v4.0).is_some());
                    prop_assert_eq!(place(&v4.0), place(&v6.0), "{:?} {}", plan, client);
                }
            }
        }
    }

    /// Where regions are drawn: health moves none but the clients whose region it took.
    #[test]
    fn drawn_regions_keep_their_clients(world in world()) {
        let world = World { min_healthy: vec![1; POOLS], ..world };
        let healthy = world.all_up();
        let (Some(snapshot), Some(before)) = (world.snapshot(), healthy.snapshot()) else { return Ok(()) };
        let plans = PLANS.into_iter().enumerate().filter(|(_, plan)| matches!(plan.by, By::Weighted(Some(_))));
        for (service, plan) in plans {
            for (client, family) in clients(&world).into_iter().flat_map(|client| FAMILIES.map(|family| (client, family))) {
                let (Got::Group { tier, region, .. }, _, _) = decided(&before, service, client, family) else { continue };
                if world.is_whole(tier, region, family) {
                    let (now, _, _) = decided(&snapshot, service, client, family);
                    let is_kept = matches!(now, Got::Group { tier: now, region: there, .. } if (now, there) == (tier, region));
                    prop_assert!(is_kept, "{plan:?} {client} {family:?}: from {tier} {region} to {now:?}");
                }
            }
        }
    }

    /// No client inside of a scope gets another decision, and one bit less would hold one of another order of regions, another
    /// fence or another prefix to draw by.
    #[test]
    fn scopes_are_right_and_as_wide_as_can_be(world in world()) {
        let Some(snapshot) = world.snapshot() else { return Ok(()) };
        let edges = world.edges();
        for (service, plan) in PLANS.into_iter().enumerate() {
            for family in FAMILIES {
                let decided = |edge: u32| decided(&snapshot, service, IpAddr::V4(edge.into()), family);
                let all: Vec<_> = edges.iter().map(|edge| (*edge, decided(*edge))).collect();
                for (client, (got, ttl, scope)) in &all {
                    let host_bits = u32::MAX.checked_shr(u32::from(*scope)).unwrap_or(0);
                    for (other, (gets, lives, _)) in all.iter().filter(|(other, _)| (other ^ client) & !host_bits == 0) {
                        prop_assert_eq!((got, ttl), (gets, lives), "{:?} {:x}/{} and {:x}", plan, client, scope, other);
                    }
                    let expected = world.scope(plan, *client, family);
                    prop_assert_eq!(*scope, expected, "{:?} {:x} {:?}: {:?}", plan, client, family, got);
                }
            }
        }
    }

    #[test]
    fn nobody_is_led_over_a_fence(world in world()) {
        let Some(snapshot) = world.snapshot() else { return Ok(()) };
        for (service, plan) in PLANS.into_iter().enumerate() {
            for (client, family) in clients(&world).into_iter().flat_map(|client| FAMILIES.map(|family| (client, family))) {
                if let (Some((regions, true)), (Got::Group { region, .. }, _, _)) =
                    (world.rule(plan, client), decided(&snapshot, service, client, family))
                {
                    prop_assert!(regions.contains(&region), "{plan:?} {client}: {region} of {regions:?}");
                }
            }
        }
    }
}
