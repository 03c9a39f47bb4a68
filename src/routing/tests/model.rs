//! What docs/configuration.md says of a decision, written down once more by searching lists, as plainly as it goes.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

use super::world::{AllDown, By, COUNTRIES, Kind, LAST_ROW, Matcher, NETWORKS, Plan, REGIONS, World, address, network};
use crate::geo::Location;
use crate::routing::Family;

/// What a client may be answered with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The endpoints of one of these groups.
    Groups(Vec<Group>),
    LastResort,
    NoData,
}

/// A pool in a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) tier: usize,
    pub(super) region: usize,
    /// Those of the asked family that may be answered.
    pub(super) endpoints: BTreeSet<IpAddr>,
    standing: Standing,
    /// Of the other family, if it has any.
    other: Option<Standing>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Dead,
    Few,
    Enough,
}

impl Group {
    /// Its other family, which it has, can't serve.
    fn is_half_down(&self) -> bool {
        self.standing == Standing::Enough && self.other.is_some_and(|other| other < Standing::Enough)
    }

    fn serves_both(&self) -> bool {
        self.standing == Standing::Enough && self.other == Some(Standing::Enough)
    }
}

/// The regions that a client may be sent to, and how many of the first ones its rule lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) regions: Vec<usize>,
    pub(super) listed: usize,
}

impl World {
    /// The region in which the operator's networks put a client.
    fn within(&self, client: IpAddr) -> Option<usize> {
        let holding = self.placed.iter().filter(|(index, _)| holds(**index, client));
        holding.max_by_key(|(index, _)| network(**index).prefix_len()).map(|(_, region)| *region)
    }

    /// The country of a client, as the database says, unless the operator puts it elsewhere.
    fn country(&self, client: IpAddr) -> Option<usize> {
        if self.within(client).is_some() {
            return None;
        }
        if client == LAST_ROW.0.split_once('/').unwrap().0.parse::<IpAddr>().unwrap() {
            return Some(LAST_ROW.1);
        }
        let rows = (0..NETWORKS.len()).filter_map(|index| Some((index, self.countries[index]?)));
        let holding = rows.filter(|(index, _)| holds(*index, client));
        holding.max_by_key(|(index, _)| network(*index).prefix_len()).map(|(_, country)| country)
    }

    /// The regions of a client's rule, and whether it may be sent to no others.
    pub(super) fn rule(&self, plan: Plan, client: IpAddr) -> Option<(&[usize], bool)> {
        let networks =
            self.rules.keys().filter(|matcher| matches!(matcher, Matcher::Network(index) if holds(*index, client)));
        let longest = networks.max_by_key(|matcher| match matcher {
            Matcher::Network(index) => network(*index).prefix_len(),
            _ => 0,
        });
        let by_country = self.country(client).map(Matcher::Country);
        let rule = longest
            .and_then(|matcher| self.rules.get(matcher))
            .or_else(|| self.rules.get(&by_country?))
            .or_else(|| self.rules.get(&Matcher::Default));
        rule.filter(|_| plan.has_map).map(|(regions, fence)| (&regions[..], *fence || regions.is_empty()))
    }

    /// The order of a client's regions.
    pub(super) fn order(&self, plan: Plan, client: IpAddr) -> Order {
        let (within, country) = (self.within(client), self.country(client));
        let (listed, is_closed) = self.rule(plan, client).unwrap_or_default();
        let mut regions = self.members();
        if plan.by == By::Priority {
            regions.sort_by_key(|region| self.priority.iter().position(|first| first == region).unwrap_or(REGIONS));
        }
        regions.retain(|region| !is_closed || listed.contains(region));
        let point = match (within, country) {
            (Some(region), _) => Some(self.regions[region].place),
            (None, Some(country)) => {
                let location = Location::of_country(COUNTRIES[country].parse().unwrap());
                location.coordinates.map(|point| [point.latitude, point.longitude])
            }
            (None, None) => None,
        };
        let times = country.map_or(&[][..], |country| &self.times[country]);
        let is_measured = self.members().iter().filter(|region| **region < times.len()).count() > 1;
        let claim = |region: usize| match plan.by {
            _ if listed.contains(&region) => 3,
            By::Priority | By::Weighted(_) => 0,
            _ if within == Some(region) => 2,
            _ if country.is_some() && self.regions[region].claims == country => 1,
            _ => 0,
        };
        let place = |region: usize| listed.iter().position(|other| *other == region).filter(|_| plan.by == By::Geo);
        let time = |region: usize| times.get(region).filter(|_| plan.by == By::Latency && is_measured);
        let distance = |region: usize| match plan.by {
            By::Priority | By::Weighted(_) => 0.0,
            _ => point.map_or(0.0, |point| {
                let bias = f64::from(self.regions[region].bias);
                let factor = if bias >= 0.0 { 1.0 - bias / 100.0 } else { 1.0 / (1.0 + bias / 100.0) };
                factor * great_circle_km(point, self.regions[region].place)
            }),
        };
        regions.sort_by(|a, b| {
            let key = |region: usize| (Reverse(claim(region)), place(region), time(region));
            key(*a).cmp(&key(*b)).then_with(|| {
                // What is as far away but for rounding is in the order of the file.
                let (a, b) = (distance(*a), distance(*b));
                if (a - b).abs() < 1e-6 { std::cmp::Ordering::Equal } else { a.total_cmp(&b) }
            })
        });
        let listed = regions.iter().filter(|region| listed.contains(region)).count();
        Order { regions, listed: if matches!(plan.by, By::Weighted(_)) { listed } else { 0 } }
    }

    fn standing(&self, tier: usize, list: &[Kind]) -> Option<Standing> {
        let allowed = list.iter().filter(|kind| matches!(kind, Kind::Up | Kind::Down)).count();
        let healthy = list.iter().filter(|kind| **kind == Kind::Up).count();
        match healthy {
            _ if allowed == 0 => None,
            0 => Some(Standing::Dead),
            _ if healthy < self.min_healthy[tier] => Some(Standing::Few),
            _ => Some(Standing::Enough),
        }
    }

    /// Nothing where there is no endpoint of this family that may be answered.
    fn group(&self, tier: usize, region: usize, family: Family) -> Option<Group> {
        let lists = &self.endpoints[tier][region];
        let list = &lists[family.index()];
        let standing = self.standing(tier, list)?;
        let answered = if standing == Standing::Dead { Kind::Down } else { Kind::Up };
        let endpoints = list.iter().enumerate().filter(|(_, kind)| **kind == answered);
        Some(Group {
            tier,
            region,
            endpoints: endpoints.map(|(index, _)| address(tier, region, family, index)).collect(),
            standing,
            other: self.standing(tier, &lists[family.other().index()]),
        })
    }

    /// The groups that a client could be sent to: those between which nothing but a draw decides together.
    fn lines(&self, plan: Plan, client: IpAddr, family: Family) -> Vec<Vec<Group>> {
        let Order { regions, listed } = self.order(plan, client);
        let parts: Vec<&[usize]> = match plan.by {
            By::Weighted(_) => vec![&regions[..listed], &regions[listed..]],
            _ => regions.chunks(1).collect(),
        };
        let groups =
            |tier: usize, part: &[usize]| part.iter().filter_map(|region| self.group(tier, *region, family)).collect();
        (0..self.endpoints.len()).flat_map(|tier| parts.iter().map(move |part| groups(tier, part))).collect()
    }

    /// Whether the service has the family anywhere.
    fn has_family(&self, family: Family) -> bool {
        self.endpoints.iter().flatten().any(|lists| !lists[family.index()].is_empty())
    }

    /// What a client may be answered with.
    pub(super) fn expected(&self, plan: Plan, client: IpAddr, family: Family) -> Expected {
        let lines = self.lines(plan, client, family);
        let first = |does: &dyn Fn(&Group) -> bool| {
            let groups = |line: &Vec<Group>| line.iter().filter(|group| does(group)).cloned().collect::<Vec<_>>();
            lines.iter().map(groups).find(|line| !line.is_empty())
        };
        if let Some(enough) = first(&|group| group.standing == Standing::Enough) {
            let both = first(&|group| group.serves_both()).filter(|_| enough.iter().any(Group::is_half_down));
            let Some(both) = both else { return Expected::Groups(enough) };
            // Each half of which is down sends its clients there.
            let mut groups: Vec<Group> = enough.into_iter().filter(|group| !group.is_half_down()).collect();
            both.into_iter().for_each(|group| {
                if !groups.contains(&group) {
                    groups.push(group);
                }
            });
            return Expected::Groups(groups);
        }
        if let Some(few) = first(&|group| group.standing == Standing::Few) {
            return Expected::Groups(few);
        }
        match self.when_all_down {
            AllDown::ServeAll => first(&|_| true).map_or(Expected::NoData, Expected::Groups),
            AllDown::LastResort if family == Family::V4 && self.has_family(family) => Expected::LastResort,
            AllDown::LastResort | AllDown::NoData => Expected::NoData,
        }
    }

    /// Whether an answer of this group lives shorter, as it or one before it can't do all that it would in full health. Of regions that
    /// are in an order.
    pub(super) fn is_impaired(&self, plan: Plan, client: IpAddr, family: Family) -> bool {
        let Expected::Groups(groups) = self.expected(plan, client, family) else { return true };
        let lines = self.lines(plan, client, family);
        let first = lines.iter().flatten().next();
        first != groups.first() || groups[0].standing != Standing::Enough || groups[0].is_half_down()
    }

    /// Whether every group that may be answered has both families, and one of those that the client could be sent to serves both.
    pub(super) fn is_served_together(&self, plan: Plan, client: IpAddr) -> bool {
        let has_both_or_none =
            |lists: &[Vec<Kind>; 2]| self.standing(0, &lists[0]).is_some() == self.standing(0, &lists[1]).is_some();
        self.endpoints.iter().flatten().all(has_both_or_none)
            && self.lines(plan, client, Family::V4).iter().flatten().any(Group::serves_both)
    }

    /// The clients next to which anything changes, and one of whom nothing is known but what the rest of the world gets.
    pub(super) fn edges(&self) -> Vec<u32> {
        let networks = (0..NETWORKS.len()).map(network).chain([LAST_ROW.0.parse().unwrap()]);
        let bounds = networks.map(|network| (network.network().to_bits(), network.broadcast().to_bits()));
        let edges: BTreeSet<u32> =
            bounds.flat_map(|(first, last)| [first.wrapping_sub(1), first, last, last.wrapping_add(1)]).collect();
        edges.into_iter().collect()
    }

    /// The prefix length that an answer has to have: not so short that another client in it is told apart, and no longer.
    pub(super) fn scope(&self, plan: Plan, client: u32, family: Family) -> u8 {
        let of = |client: u32| self.order(plan, IpAddr::V4(client.into()));
        let orders: Vec<(u32, Order)> = self.edges().into_iter().map(|edge| (edge, of(edge))).collect();
        let own = of(client);
        let is_uniform = |length: &u8| {
            let host_bits = u32::MAX.checked_shr(u32::from(*length)).unwrap_or(0);
            orders.iter().filter(|(edge, _)| (edge ^ client) & !host_bits == 0).all(|(_, order)| *order == own)
        };
        let of_order = (0..=32).find(is_uniform).unwrap();
        match self.expected(plan, IpAddr::V4(client.into()), family) {
            // Of these clients alone, where a fence keeps them from what serves others.
            Expected::LastResort | Expected::NoData => {
                let is_fenced = orders.iter().any(|(_, order)| order.regions.len() < self.members().len());
                if is_fenced && self.has_family(family) && self.serves_anyone(family) { of_order } else { 0 }
            }
            Expected::Groups(groups) => {
                let of_region = match plan.by {
                    By::Weighted(Some(prefix)) if groups.len() > 1 => prefix,
                    _ => 0,
                };
                // Of one endpoint there is nothing to choose.
                let has_choice = groups.iter().any(|group| group.endpoints.len() > 1);
                let of_endpoints = self.sticky(plan).filter(|_| has_choice).unwrap_or(0);
                of_order.max(of_region).max(of_endpoints)
            }
        }
    }

    /// A world like this in which all is up.
    pub(super) fn all_up(&self) -> Self {
        let mut world = self.clone();
        let kinds = world.endpoints.iter_mut().flatten().flatten().flatten();
        kinds.filter(|kind| **kind == Kind::Down).for_each(|kind| *kind = Kind::Up);
        world
    }

    /// Whether nothing of a group is down as a whole.
    pub(super) fn is_whole(&self, tier: usize, region: usize, family: Family) -> bool {
        let group = self.group(tier, region, family);
        group.is_some_and(|group| group.standing == Standing::Enough && !group.is_half_down())
    }

    /// Whether any region has an answer for anyone.
    fn serves_anyone(&self, family: Family) -> bool {
        let groups = (0..self.endpoints.len())
            .flat_map(|tier| (0..REGIONS).filter_map(move |region| self.group(tier, region, family)));
        groups.into_iter().any(|group| group.standing > Standing::Dead || self.when_all_down == AllDown::ServeAll)
    }
}

fn holds(index: usize, client: IpAddr) -> bool {
    match client {
        IpAddr::V4(client) => network(index).contains(&client),
        IpAddr::V6(_) => false,
    }
}

/// By the haversine formula, on a sphere of the mean radius.
fn great_circle_km(a: [f64; 2], b: [f64; 2]) -> f64 {
    let [[a_latitude, a_longitude], [b_latitude, b_longitude]] = [a, b].map(|point| point.map(f64::to_radians));
    let square = |angle: f64| (angle / 2.0).sin().powi(2);
    let haversine =
        square(b_latitude - a_latitude) + a_latitude.cos() * b_latitude.cos() * square(b_longitude - a_longitude);
    2.0 * 6371.0 * haversine.sqrt().min(1.0).asin()
}
