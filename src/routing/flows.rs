//! Where the clients of services that are steered by load go now.

use super::Family;

/// Where each class of clients goes, and what that makes of regions.
#[derive(Debug, Clone, Default)]
pub struct Flows {
    /// By [`LoadSteering::index`](crate::snapshot::LoadSteering::index).
    pub(super) services: Vec<ServiceFlows>,
    /// All that bears only so much.
    pub rooms: Vec<RoomLoad>,
    /// What comes to the regions of each service.
    pub homes: Vec<HomeLoad>,
    /// Answers per second that are past every capacity, and spread all the same.
    pub excess: f64,
}

/// Where the clients of one service go, by class and family.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ServiceFlows {
    pub(super) flows: Vec<Flow>,
    pub(super) steps: Vec<Step>,
}

/// Where one class goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Flow {
    /// Its steps in [`ServiceFlows::steps`].
    pub(super) first: u32,
    pub(super) count: u32,
    /// Whether its home is dead, so that it goes elsewhere.
    pub(super) is_displaced: bool,
}

/// A part of a class: clients are numbers on a line, and each step takes those up to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The last number on the line from 0 to `u32::MAX`.
    pub end: u32,
    /// Index into the service's tiers.
    pub tier: u16,
    /// Index of the region.
    pub region: u16,
}

/// What a region, or a pool's endpoints of one family in it, can bear and does, in answers per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoomLoad {
    /// Index of the region.
    pub region: u16,
    /// The group whose endpoints it is the sum of, as an index into the compiled groups, and their family.
    pub endpoints: Option<(u32, Family)>,
    /// What is to come there with these flows.
    pub load: f64,
    /// Beyond this load goes elsewhere while it can.
    pub target: f64,
    /// Beyond this nothing more goes there while it can go elsewhere.
    pub capacity: f64,
}

/// What comes from the clients of one service for whom a region is the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HomeLoad {
    /// Index of the service.
    pub service: usize,
    /// Index of the region.
    pub region: u16,
    /// Answers per second.
    pub demand: f64,
    /// The part of them that goes elsewhere, 0..=1.
    pub overflow: f64,
}

/// Where clients go, and whether that is because their home is dead.
#[derive(Debug, Clone, Copy)]
pub struct Way<'f> {
    /// The parts of the class, the nearest region first; none where nothing is healthy enough.
    pub steps: &'f [Step],
    /// Whether the class's home is dead.
    pub is_displaced: bool,
}

/// Shares that differ by less than this on the line are published as the same: 1 client of 1,000.
const SAME_SHARE: u32 = u32::MAX / 1_000;
/// Loads that differ by less than this part of the capacity, and demands by less than this part and one per second, are shown as
/// the same.
const SAME_LOAD: f64 = 0.05;

impl Flows {
    /// Where a class of a service goes.
    pub fn way(&self, service: u32, class: usize) -> Way<'_> {
        let found = self.services.get(service as usize).and_then(|flows| {
            let Flow { first, count, is_displaced } = *flows.flows.get(class)?;
            let steps = flows.steps.get(first as usize..(first + count) as usize)?;
            Some(Way { steps, is_displaced })
        });
        found.unwrap_or(Way { steps: &[], is_displaced: false })
    }

    /// What a region can bear and does, all services together, where it has a capacity.
    pub fn region(&self, region: u16) -> Option<&RoomLoad> {
        self.rooms.iter().find(|room| room.region == region && room.endpoints.is_none())
    }

    /// Whether these are so near to others that clients and people may go by those.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let same_steps = |a: &ServiceFlows, b: &ServiceFlows| {
            a.flows == b.flows
                && a.steps
                    .iter()
                    .zip(&b.steps)
                    .all(|(a, b)| (a.tier, a.region) == (b.tier, b.region) && a.end.abs_diff(b.end) < SAME_SHARE)
        };
        let same_room = |a: &RoomLoad, b: &RoomLoad| {
            let near = |a: f64, b: f64, whole: f64| (a - b).abs() <= SAME_LOAD * whole;
            (a.region, a.endpoints) == (b.region, b.endpoints)
                && near(a.load, b.load, b.capacity)
                && near(a.target, b.target, b.target)
                && near(a.capacity, b.capacity, b.capacity)
        };
        let same_home = |a: &HomeLoad, b: &HomeLoad| {
            let near = (a.demand - b.demand).abs() <= SAME_LOAD * a.demand.max(b.demand) + 1.0;
            near && (a.service, a.region) == (b.service, b.region) && (a.overflow - b.overflow).abs() < SAME_LOAD
        };
        self.services.len() == other.services.len()
            && self.homes.len() == other.homes.len()
            && self.homes.iter().zip(&other.homes).all(|(a, b)| same_home(a, b))
            && self.rooms.len() == other.rooms.len()
            && self.services.iter().zip(&other.services).all(|(a, b)| same_steps(a, b))
            && self.rooms.iter().zip(&other.rooms).all(|(a, b)| same_room(a, b))
            && (self.excess > 0.0) == (other.excess > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows() -> Flows {
        let flow = Flow { first: 0, count: 2, is_displaced: false };
        let steps = vec![Step { end: u32::MAX / 2, tier: 0, region: 0 }, Step { end: u32::MAX, tier: 0, region: 1 }];
        let room = RoomLoad { region: 0, endpoints: None, load: 50.0, target: 80.0, capacity: 100.0 };
        let home = HomeLoad { service: 0, region: 0, demand: 100.0, overflow: 0.5 };
        Flows {
            services: vec![ServiceFlows { flows: vec![flow], steps }],
            rooms: vec![room, RoomLoad { endpoints: Some((0, Family::V4)), ..room }],
            homes: vec![home, HomeLoad { region: 1, ..home }],
            excess: 1.0,
        }
    }

    #[test]
    fn only_what_nobody_would_notice_is_alike() {
        let is_like = |change: fn(&mut Flows)| {
            let mut changed = flows();
            change(&mut changed);
            assert_eq!(flows().is_like(&changed), changed.is_like(&flows()));
            flows().is_like(&changed)
        };
        let alike: [fn(&mut Flows); 8] = [
            |_| {},
            |flows| flows.services[0].steps[0].end += SAME_SHARE - 1,
            |flows| flows.rooms[0].load += 5.0,
            |flows| flows.rooms[0].target += 4.0,
            |flows| flows.rooms[0].capacity += 5.0,
            |flows| flows.homes[0].demand += 6.0,
            |flows| flows.homes[0].overflow += 0.04,
            |flows| flows.excess = 1000.0,
        ];
        for (index, change) in alike.into_iter().enumerate() {
            assert!(is_like(change), "{index} of those that are alike");
        }
        let other: [fn(&mut Flows); 20] = [
            |flows| flows.services[0].steps[0].end += SAME_SHARE,
            |flows| flows.services[0].steps[0].region = 2,
            |flows| flows.services[0].steps[0].tier = 1,
            |flows| flows.services[0].flows[0].is_displaced = true,
            |flows| flows.services[0].flows[0].first = 1,
            |flows| flows.services[0].flows[0].count = 1,
            |flows| flows.services.clear(),
            |flows| flows.rooms[0].load += 6.0,
            |flows| flows.rooms[0].target += 5.0,
            |flows| flows.rooms[0].capacity += 6.0,
            |flows| flows.rooms[0].region = 1,
            |flows| flows.rooms[1].endpoints = Some((0, Family::V6)),
            |flows| flows.rooms.truncate(1),
            |flows| flows.homes[0].demand += 7.0,
            |flows| flows.homes[0].overflow += 0.06,
            |flows| flows.homes[0].service = 1,
            |flows| flows.homes[0].region = 2,
            |flows| flows.homes.truncate(1),
            |flows| flows.excess = 0.0,
            |flows| flows.services[0].flows.clear(),
        ];
        for (index, change) in other.into_iter().enumerate() {
            assert!(!is_like(change), "{index} of those that are not");
        }
    }
}
