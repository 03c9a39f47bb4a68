//! What may be answered now: verdicts and weights laid out for drawing, made anew whenever a verdict changes.

use super::Family;
use crate::config::EndpointState;
use crate::health::Verdict;
use crate::snapshot::{Compiled, Group, GroupKind, TargetId};

/// What is known of a target's health when the tables are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The verdict.
    pub verdict: Verdict,
    /// Seconds until the verdict can change at the earliest, while a streak runs against it.
    pub flip_seconds: Option<u32>,
}

/// The candidates of every group, by the group's index.
#[derive(Debug, Default)]
pub struct Live {
    groups: Vec<Endpoints>,
}

/// The candidates of one pool in one region.
#[derive(Debug)]
pub enum Endpoints {
    /// IPv4 and IPv6 addresses, by [`Family::index`].
    Addresses([Candidates; 2]),
    /// Hostnames, which serve both families.
    Hostnames(Candidates),
}

/// How many of a group's endpoints are healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// None.
    None,
    /// Some, but fewer than the pool's `min_healthy`.
    Few,
    /// At least `min_healthy`.
    Enough,
}

/// Endpoints to draw from: the healthy ones, or, where none is, all that the operator lets serve.
#[derive(Debug)]
pub struct Candidates {
    /// Enabled endpoints with a weight above 0, in file order.
    pub list: Box<[Candidate]>,
    /// Whether the list is of healthy endpoints, and whether they are enough.
    pub health: Health,
    /// Seconds until the verdict of an endpoint here can change at the earliest; `u32::MAX` while none is near that.
    pub flip_seconds: u32,
}

/// One endpoint to draw.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// The weights of the list up to and including this one.
    pub cumulative_weight: u64,
    /// Index into [`Compiled::endpoints`].
    pub endpoint: u32,
    /// The address's octets; 4 of them for IPv4, none for a hostname.
    pub address: [u8; 16],
}

impl Candidates {
    /// The sum of all weights.
    pub fn total_weight(&self) -> u64 {
        self.list.last().map_or(0, |last| last.cumulative_weight)
    }

    /// The weight of one.
    pub fn weight(&self, index: usize) -> u64 {
        let before = if index == 0 { 0 } else { self.list[index - 1].cumulative_weight };
        self.list[index].cumulative_weight - before
    }
}

impl Live {
    /// Lays out the candidates of every group. `standing` tells a target's health; endpoints without a probe are up.
    pub fn build(compiled: &Compiled, standing: impl Fn(TargetId) -> Standing) -> Self {
        let groups = compiled.groups.iter().map(|group| endpoints(compiled, group, &standing)).collect();
        Self { groups }
    }

    /// The candidates of a group for a family.
    pub fn candidates(&self, group: u32, family: Family) -> &Candidates {
        match &self.groups[group as usize] {
            Endpoints::Addresses(families) => &families[family.index()],
            Endpoints::Hostnames(hostnames) => hostnames,
        }
    }
}

fn endpoints(compiled: &Compiled, group: &Group, standing: &impl Fn(TargetId) -> Standing) -> Endpoints {
    match group.kind {
        GroupKind::Hostnames => Endpoints::Hostnames(candidates(compiled, group, None, standing)),
        GroupKind::Addresses => Endpoints::Addresses(
            [Family::V4, Family::V6].map(|family| candidates(compiled, group, Some(family), standing)),
        ),
    }
}

fn candidates(
    compiled: &Compiled,
    group: &Group,
    family: Option<Family>,
    standing: &impl Fn(TargetId) -> Standing,
) -> Candidates {
    let mut allowed: Vec<(u32, u32, [u8; 16])> = Vec::new();
    let mut healthy = Vec::new();
    let mut flip_seconds = u32::MAX;
    for index in group.endpoints.clone() {
        let endpoint = &compiled.endpoints[index as usize];
        let address = endpoint.address();
        if endpoint.state != EndpointState::Enabled || endpoint.weight == 0 || address.map(Family::of) != family {
            continue;
        }
        let standing = endpoint.target.map_or(Standing { verdict: Verdict::Up, flip_seconds: None }, standing);
        flip_seconds = flip_seconds.min(standing.flip_seconds.unwrap_or(u32::MAX));
        let entry = (index, endpoint.weight, address.map(padded).unwrap_or_default());
        allowed.push(entry);
        if standing.verdict != Verdict::Down {
            healthy.push(entry);
        }
    }
    let health = match healthy.len() {
        0 => Health::None,
        count if count < usize::from(compiled.pools[group.pool].min_healthy) => Health::Few,
        _ => Health::Enough,
    };
    let list = if health == Health::None { allowed } else { healthy };
    let mut cumulative_weight = 0;
    let list = list
        .into_iter()
        .map(|(endpoint, weight, address)| {
            cumulative_weight += u64::from(weight);
            Candidate { cumulative_weight, endpoint, address }
        })
        .collect();
    Candidates { list, health, flip_seconds }
}

fn padded(address: std::net::IpAddr) -> [u8; 16] {
    match address {
        std::net::IpAddr::V6(address) => address.octets(),
        std::net::IpAddr::V4(address) => {
            let mut padded = [0; 16];
            padded[..4].copy_from_slice(&address.octets());
            padded
        }
    }
}
