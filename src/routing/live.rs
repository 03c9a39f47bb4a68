//! What may be answered now: verdicts, weights and loads laid out for drawing.
//!
//! A list is laid out anew only where something that it was made of has changed.

use std::net::IpAddr;
use std::sync::Arc;

use super::Family;
use super::balance::{self, Member, Method};
use crate::config::EndpointState;
pub use crate::health::Load;
use crate::health::Verdict;
use crate::snapshot::{Compiled, GroupKind, Layout};

/// A share of 1: shares are fractions of it.
pub const WHOLE: u32 = 1 << 16;

/// What is known of an endpoint when its lists are laid out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// What its probe says.
    pub verdict: Verdict,
    /// Seconds until the verdict can change at the earliest, while a streak runs against it.
    pub flip_seconds: Option<u32>,
    /// The part of its weight that counts now, as a fraction of [`WHOLE`]: less where its health is poor, while it warms up
    /// after a recovery and while its circuit breaker is half-open. 0 while the breaker is open, as though it were down.
    pub share: u32,
    /// What it says of its load, as far as that is fresh.
    pub load: Load,
    /// Whether it drains: new clients go elsewhere, but those whom a sticky balance holds stay.
    pub drains: bool,
    /// When it will begin to drain, in seconds since 1970, if that is planned.
    pub drains_at: Option<u32>,
}

impl Standing {
    /// Of an endpoint without a probe, of which nothing is known.
    pub const UNPROBED: Self = Self {
        verdict: Verdict::Up,
        flip_seconds: None,
        share: WHOLE,
        load: Load {
            connections: None,
            utilization: None,
            response_ms: None,
            error_rate: None,
            requests_per_second: None,
        },
        drains: false,
        drains_at: None,
    };

    /// Whether it is healthy enough to be answered.
    pub fn is_healthy(&self) -> bool {
        self.verdict != Verdict::Down && self.share > 0
    }
}

/// The candidates of every layout, by its index in [`Compiled::layouts`].
#[derive(Debug, Clone, Default)]
pub struct Live {
    lists: Vec<Arc<Endpoints>>,
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
    /// Endpoints that weigh something, in file order.
    pub list: Box<[Candidate]>,
    /// How one is picked.
    pub method: Method,
    /// Whether the list is of healthy endpoints, and whether they are enough.
    pub health: Health,
    /// Whether the group's endpoints of the other family, if it has any, are healthy enough too: then A and AAAA lead to the
    /// same region.
    pub other_family_serves: bool,
    /// Seconds until the verdict of an endpoint here can change at the earliest; `u32::MAX` while none is near that.
    pub flip_seconds: u32,
    /// When an endpoint here begins to drain, in seconds since 1970; `u32::MAX` where none is to.
    pub drains_at: u32,
}

/// One endpoint to draw.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// The weights of the list up to and including this one, as they count now.
    pub cumulative_weight: u64,
    /// Index into [`Compiled::endpoints`].
    pub endpoint: u32,
    /// How busy it is beside the others, for methods that compare; less is better.
    pub load: u32,
    /// The address's octets; 4 of them for IPv4, none for a hostname.
    pub address: [u8; 16],
}

impl Candidates {
    /// What [`Self::fitness`] can't exceed.
    pub const FITTEST: (Health, bool) = (Health::Enough, true);

    /// How well they can serve; more is better.
    pub fn fitness(&self) -> (Health, bool) {
        (self.health, self.health == Health::Enough && self.other_family_serves)
    }

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
    /// Lays out every list. `standing` tells of an endpoint, by its index in [`Compiled::endpoints`].
    pub fn build(compiled: &Compiled, standing: impl Fn(u32) -> Standing) -> Self {
        let lists = compiled.layouts.iter().map(|layout| Arc::new(lay_out(compiled, layout, &standing))).collect();
        Self { lists }
    }

    /// Lays out anew those lists in whose groups `has_changed` says that an endpoint has; the others stay as they are.
    #[must_use]
    pub fn updated(
        &self,
        compiled: &Compiled,
        standing: impl Fn(u32) -> Standing,
        has_changed: impl Fn(u32) -> bool,
    ) -> Self {
        let lists = self.lists.iter().zip(&compiled.layouts).map(|(list, layout)| {
            if compiled.groups[layout.group as usize].endpoints.clone().any(&has_changed) {
                Arc::new(lay_out(compiled, layout, &standing))
            } else {
                Arc::clone(list)
            }
        });
        Self { lists: lists.collect() }
    }

    /// The candidates of a layout for a family.
    pub fn candidates(&self, layout: u32, family: Family) -> &Candidates {
        match &*self.lists[layout as usize] {
            Endpoints::Addresses(families) => &families[family.index()],
            Endpoints::Hostnames(hostnames) => hostnames,
        }
    }
}

fn lay_out(compiled: &Compiled, layout: &Layout, standing: &impl Fn(u32) -> Standing) -> Endpoints {
    match compiled.groups[layout.group as usize].kind {
        GroupKind::Hostnames => Endpoints::Hostnames(candidates(compiled, layout, None, standing)),
        GroupKind::Addresses => {
            let [mut v4, mut v6] =
                [Family::V4, Family::V6].map(|family| candidates(compiled, layout, Some(family), standing));
            let serves = |candidates: &Candidates| candidates.list.is_empty() || candidates.health == Health::Enough;
            (v4.other_family_serves, v6.other_family_serves) = (serves(&v6), serves(&v4));
            Endpoints::Addresses([v4, v6])
        }
    }
}

fn candidates(
    compiled: &Compiled,
    layout: &Layout,
    family: Option<Family>,
    standing: &impl Fn(u32) -> Standing,
) -> Candidates {
    let group = &compiled.groups[layout.group as usize];
    let mut allowed: Vec<(u32, Member)> = Vec::new();
    let mut flip_seconds = u32::MAX;
    let mut drains_at = u32::MAX;
    for index in group.endpoints.clone() {
        let endpoint = &compiled.endpoints[index as usize];
        if endpoint.weight == 0
            || endpoint.state == EndpointState::Disabled
            || endpoint.address().map(Family::of) != family
        {
            continue;
        }
        let standing = standing(index);
        if standing.drains && layout.sticky.is_none() {
            continue;
        }
        flip_seconds = flip_seconds.min(standing.flip_seconds.unwrap_or(u32::MAX));
        drains_at = drains_at.min(standing.drains_at.unwrap_or(u32::MAX));
        allowed.push((index, Member { weight: endpoint.weight, standing }));
    }
    let healthy = allowed.iter().filter(|(_, member)| member.standing.is_healthy()).count();
    let health = match healthy {
        0 => Health::None,
        count if count < usize::from(compiled.pools[group.pool].min_healthy) => Health::Few,
        _ => Health::Enough,
    };
    if health == Health::None {
        // What is answered although it is down is answered as though it were up.
        allowed.iter_mut().for_each(|(_, member)| member.standing.share = WHOLE);
    } else {
        allowed.retain(|(_, member)| member.standing.is_healthy());
    }
    let members: Vec<Member> = allowed.iter().map(|(_, member)| *member).collect();
    let (method, weights) = balance::lay_out(layout.balance, layout.sticky, &members);
    let mut cumulative_weight = 0;
    let list = allowed
        .iter()
        .zip(weights)
        .map(|((index, _), weight)| {
            cumulative_weight += weight.weight;
            let address = compiled.endpoints[*index as usize].address().map(padded).unwrap_or_default();
            Candidate { cumulative_weight, endpoint: *index, load: weight.load, address }
        })
        .collect();
    Candidates { list, method, health, other_family_serves: true, flip_seconds, drains_at }
}

fn padded(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut padded = [0; 16];
            padded[..4].copy_from_slice(&address.octets());
            padded
        }
    }
}
