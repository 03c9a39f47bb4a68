//! Everything that a query may read, compiled, immutable, by index.
//!
//! [`compile()`] makes a [`Compiled`] of a configuration and does all that can fail. Health is laid over it as
//! [`Live`]; both together are a [`Snapshot`], and the [`Publisher`] is the one place from which workers get it.

mod binding;
mod compile;
mod drains;
mod event;
mod geo_maps;
mod latency;
mod load;
mod publish;
mod rotations;
mod steering;
mod winners;
mod zones;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

pub use binding::Binding;
pub use compile::{Carried, Geography, assemble, compile, load_cookie_secrets, load_database};
pub use event::{BreakerChange, Change, EndpointChange, Event};
pub use geo_maps::load_geo_maps;
pub use latency::load_measurements;
pub use load::LoadSteering;
pub use publish::{Published, Publisher};
pub use zones::{Outdated, OutdatedZone};

use crate::config::{AnswerOrder, Balance, Capacity, Config, EndpointState, Ttl};
use crate::dns::{CookieSecrets, RateLimiter};
use crate::geo::{Database, GeoMap, LatencyTable, Measure, RegionMap};
use crate::health::TargetKey;
use crate::health::overrides::{Said, Subject};
pub use crate::health::{Input, TargetId};
use crate::metrics::Tally;
use crate::routing::balance::rendezvous::Table;
use crate::routing::{Choice, Decision, Family, Health, Live, Outcome, Sticky};
use crate::zone::{Tree, rtype};

/// What the workers answer from; published whole.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts publications; a later one is always greater.
    pub generation: u64,
    /// What the configuration says.
    pub compiled: Arc<Compiled>,
    /// What health says.
    pub live: Live,
}

/// A configuration with its zones and its database, resolved to indices.
#[derive(Debug)]
pub struct Compiled {
    /// The configuration itself: names for people.
    pub config: Config,
    /// All zones and the services in them.
    pub tree: Arc<Tree>,
    /// Locations; shared by all maps and, over a reload that leaves it as it is, by snapshots.
    pub database: Arc<Database>,
    /// Rules, in the order of [`Config::maps`].
    pub geo_maps: Arc<[GeoMap]>,
    /// Round trips that count, where the configuration has `[latency]`.
    pub latency: Option<Arc<LatencyTable>>,
    /// Steering maps, each shared by the services that are steered by the same.
    pub maps: Vec<Arc<RegionMap>>,
    /// In the order of [`Config::services`].
    pub services: Vec<Service>,
    /// In the order of [`Config::pools`].
    pub pools: Vec<Pool>,
    /// The endpoints of one pool in one region, pool by pool.
    pub groups: Vec<Group>,
    /// Group by group.
    pub endpoints: Vec<Endpoint>,
    /// What is laid out for drawing: each group, for each way in which services pick from it.
    pub layouts: Vec<Layout>,
    /// What is probed, by [`TargetId`].
    pub targets: Vec<TargetKey>,
    /// Those of them by which the prober knows that it is not cut off.
    pub canaries: Vec<TargetId>,
    /// Zones that are broken on disk.
    pub outdated: Outdated,
    /// What cookies are made with.
    pub cookies: CookieSecrets,
    /// Who was answered how often, where that is limited.
    pub rate_limiter: Option<Arc<RateLimiter>>,
}

/// A service, compiled.
#[derive(Debug)]
pub struct Service {
    /// Its place in [`Compiled::services`].
    pub index: usize,
    /// The service's own pool, then its failover pools.
    pub tiers: Box<[Tier]>,
    /// How regions are ordered.
    pub steering: Steering,
    /// Whose rules say where clients may be sent: an index into [`Compiled::geo_maps`].
    pub rules: Option<usize>,
    /// How endpoints are picked.
    pub balance: Balance,
    /// Within which prefix clients are one, where picks stick to them.
    pub sticky: Option<Sticky>,
    /// Within which prefix clients are one, where drawn regions stick to them.
    pub region_sticky: Option<Sticky>,
    /// Addresses per answer.
    pub answers: u8,
    /// The order in which they come.
    pub answer_order: AnswerOrder,
    /// Bounds of the TTL in seconds.
    pub ttl: Ttl,
    /// What is answered when nothing is healthy.
    pub when_all_down: AllDown,
    /// Its HTTPS record.
    pub https: Option<Binding>,
    /// Its SVCB record.
    pub svcb: Option<Binding>,
    /// Whether any endpoint could answer IPv4 and IPv6, by [`Family::index`]. A type that the service has nowhere is
    /// no data whatever happens.
    pub has_family: [bool; 2],
    /// Whether its endpoints are hostnames, so that its name is an alias.
    pub is_alias: bool,
    /// Where round robin stands, for each group of each tier and each family.
    pub rotations: Box<[AtomicU32]>,
    /// Answers given from each group of each tier.
    pub tallies: Box<[Arc<Tally>]>,
    /// Answers given although nothing was healthy: fail-open ones and those of last resort.
    pub all_down_tally: Arc<Tally>,
    /// Where each tier's groups begin in `rotations` (halved) and `tallies`.
    tier_starts: Box<[usize]>,
}

/// A pool of a service.
#[derive(Debug, Clone, Copy)]
pub struct Tier {
    /// Index of the pool.
    pub pool: usize,
    /// Index into [`Compiled::layouts`] for the pool's first group; those for the others follow in their order.
    pub first_layout: u32,
}

/// A group as it is picked from in one way.
#[derive(Debug)]
pub struct Layout {
    /// Index into [`Compiled::groups`].
    pub group: u32,
    /// How endpoints are picked.
    pub balance: Balance,
    /// Within which prefix clients are one, where picks stick to them.
    pub sticky: Option<Sticky>,
    /// Who wins which clients, where they stick and the list is long, by [`Family::index`]; for hostnames the first.
    pub winners: [Option<Arc<Table>>; 2],
}

/// How a service chooses among regions.
#[derive(Debug)]
pub enum Steering {
    /// They are tried in an order.
    Ordered {
        /// By what.
        by: OrderedBy,
        /// Index into [`Compiled::maps`].
        map: usize,
    },
    /// At random.
    Weighted {
        /// Index into [`Compiled::maps`]: of the regions that the client may be sent to, those that are claimed are drawn
        /// from first.
        map: usize,
        /// What each region of the service weighs, in the order of their indices.
        regions: Box<[RegionWeight]>,
    },
    /// By where the client is, as far as there is room.
    Load(Box<LoadSteering>),
}

/// What orders regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderedBy {
    /// Claims, then the distance from the client.
    Proximity,
    /// Claims, then the round trip.
    Latency,
    /// The client's rule in the service's map.
    Geo,
    /// The operator, once for all.
    Priority,
}

/// A region to draw.
#[derive(Debug, Clone, Copy)]
pub struct RegionWeight {
    /// Index of the region.
    pub region: u16,
    /// Its weight; without one it weighs what its candidates weigh.
    pub weight: Option<u32>,
}

/// What is answered when nothing is healthy.
#[derive(Debug)]
pub enum AllDown {
    /// All endpoints that the operator lets serve.
    ServeAll,
    /// These, by [`Family::index`].
    LastResort([Box<[IpAddr]>; 2]),
    /// No data.
    NoData,
}

/// A pool, compiled.
#[derive(Debug)]
pub struct Pool {
    /// Healthy endpoints that a region needs to serve.
    pub min_healthy: u16,
    /// Its groups, as indices into [`Compiled::groups`].
    pub groups: Range<u32>,
    /// The group of each region; [`NO_GROUP`] where the pool has no endpoint there.
    group_of_region: Box<[u32]>,
}

/// Stands for an absent group.
const NO_GROUP: u32 = u32::MAX;

/// The endpoints of one pool in one region.
#[derive(Debug)]
pub struct Group {
    /// Index of the pool.
    pub pool: usize,
    /// Index of the region.
    pub region: u16,
    /// Addresses or hostnames, never both.
    pub kind: GroupKind,
    /// Indices into [`Compiled::endpoints`].
    pub endpoints: Range<u32>,
    /// What those weigh together that aren't disabled, of whatever family.
    pub weight: u64,
}

/// What a group's endpoints are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupKind {
    /// Answered as A and AAAA.
    Addresses,
    /// Answered as CNAME.
    Hostnames,
}

/// One endpoint, compiled.
#[derive(Debug)]
pub struct Endpoint {
    /// Where clients are sent.
    pub destination: crate::config::Target,
    /// Its number wherever it stands; see [`rendezvous::identity`](crate::routing::balance::rendezvous::identity).
    pub identity: u64,
    /// Its share.
    pub weight: u32,
    /// What the operator wants of it.
    pub state: EndpointState,
    /// When it begins to drain, in seconds since 1970, if that is planned.
    pub drain_at: Option<u32>,
    /// Seconds for which a sticky balance keeps its clients on it while it drains.
    pub drain_seconds: u32,
    /// What it can bear.
    pub capacity: Option<Capacity>,
    /// What says that it is well, in the order of the pool's [`PoolHealth`](crate::config::PoolHealth); empty where nothing does.
    pub inputs: Box<[Input]>,
}

impl Endpoint {
    /// What configuration and operators, who say this, want of it at a second since 1970.
    pub fn state_under(&self, said: &Said, unix_seconds: u32) -> EndpointState {
        match said.state(self.state) {
            EndpointState::Enabled if self.drain_at.is_some_and(|drain_at| drain_at <= unix_seconds) => {
                EndpointState::Draining
            }
            state => state,
        }
    }
}

impl OrderedBy {
    /// What regions with the same claim are ordered by.
    pub fn measure(self) -> Measure {
        match self {
            Self::Proximity => Measure::Proximity,
            Self::Latency => Measure::Latency,
            Self::Geo => Measure::Listed,
            Self::Priority => Measure::Fixed,
        }
    }
}

impl Compiled {
    /// The endpoints of a pool, by index.
    pub fn endpoints_of(&self, pool: usize) -> Range<u32> {
        let groups = self.pools[pool].groups.clone();
        let of = |group: u32| self.groups.get(group as usize).map(|group| group.endpoints.clone());
        match (of(groups.start), groups.end.checked_sub(1).and_then(of)) {
            (Some(first), Some(last)) if !groups.is_empty() => first.start..last.end,
            _ => 0..0,
        }
    }

    /// The endpoints that a subject is about, ascending.
    pub fn endpoints_under(&self, subject: &Subject) -> Vec<u32> {
        let config = &self.config;
        let pool = |name: &str| config.pools.iter().position(|pool| pool.name == name);
        let groups = |is: &dyn Fn(&Group) -> bool| -> Vec<u32> {
            self.groups.iter().filter(|group| is(group)).flat_map(|group| group.endpoints.clone()).collect()
        };
        match subject {
            Subject::Endpoint { pool, region, endpoint } => {
                let is_there = |group: &Group| {
                    config.pools[group.pool].name == *pool && config.regions[usize::from(group.region)].name == *region
                };
                let mut endpoints = groups(&is_there);
                endpoints.retain(|index| self.endpoints[*index as usize].destination.to_string() == *endpoint);
                endpoints
            }
            Subject::Region(name) => groups(&|group| config.regions[usize::from(group.region)].name == *name),
            Subject::Pool(name) => pool(name).map(|pool| self.endpoints_of(pool).collect()).unwrap_or_default(),
            Subject::Service(name) => {
                let service = config.services.iter().position(|service| service.name.to_string() == *name);
                let tiers = service.into_iter().flat_map(|service| &self.services[service].tiers);
                let endpoints: BTreeSet<u32> = tiers.flat_map(|tier| self.endpoints_of(tier.pool)).collect();
                endpoints.into_iter().collect()
            }
        }
    }
}

impl Steering {
    /// What regions with the same claim are ordered by.
    pub fn measure(&self) -> Measure {
        match self {
            Self::Ordered { by, .. } => by.measure(),
            Self::Weighted { .. } => Measure::Drawn,
            Self::Load(_) => Measure::Proximity,
        }
    }

    /// The map that says where a client may be sent: an index into [`Compiled::maps`].
    pub fn map(&self) -> usize {
        match self {
            Self::Ordered { map, .. } | Self::Weighted { map, .. } => *map,
            Self::Load(load) => load.map,
        }
    }

    /// As the configuration has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ordered { by: OrderedBy::Proximity, .. } => "proximity",
            Self::Ordered { by: OrderedBy::Latency, .. } => "latency",
            Self::Ordered { by: OrderedBy::Geo, .. } => "geo",
            Self::Ordered { by: OrderedBy::Priority, .. } => "priority",
            Self::Weighted { .. } => "weighted",
            Self::Load(_) => "load",
        }
    }
}

impl AllDown {
    /// As the configuration has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ServeAll => "serve-all",
            Self::LastResort(_) => "last-resort",
            Self::NoData => "nodata",
        }
    }
}

impl Pool {
    /// Its group in a region.
    pub fn group(&self, region: u16) -> Option<u32> {
        self.group_of_region.get(usize::from(region)).copied().filter(|group| *group != NO_GROUP)
    }
}

impl Endpoint {
    /// Its address; none for a hostname.
    pub fn address(&self) -> Option<IpAddr> {
        match &self.destination {
            crate::config::Target::Address(address) => Some(*address),
            crate::config::Target::Hostname(_) => None,
        }
    }
}

impl Service {
    /// What a tier has in a region; nothing where the pool has no endpoint there.
    pub fn choice<'s>(&self, snapshot: &'s Snapshot, tier: usize, region: u16, family: Family) -> Option<Choice<'s>> {
        let Tier { pool, first_layout } = self.tiers[tier];
        let pool = &snapshot.compiled.pools[pool];
        let group = pool.group(region)?;
        let layout = first_layout + (group - pool.groups.start);
        let candidates = snapshot.live.candidates_of(self, tier, layout, family);
        Some(Choice { tier, group, layout, candidates })
    }

    /// The record of this type that it makes.
    pub fn binding(&self, qtype: u16) -> Option<&Binding> {
        match qtype {
            rtype::HTTPS => self.https.as_ref(),
            rtype::SVCB => self.svcb.as_ref(),
            _ => None,
        }
    }

    /// The place of a group among those of all tiers.
    fn place(&self, snapshot: &Snapshot, choice: Choice<'_>) -> usize {
        let groups = &snapshot.compiled.pools[self.tiers[choice.tier].pool].groups;
        self.tier_starts[choice.tier] + (choice.group - groups.start) as usize
    }

    /// Index into [`Self::rotations`].
    pub fn rotation(&self, snapshot: &Snapshot, choice: Choice<'_>, family: Family) -> usize {
        self.place(snapshot, choice) * 2 + family.index()
    }

    /// Counts an answer in a worker's column.
    pub fn count(&self, snapshot: &Snapshot, decision: &Decision<'_>, worker: usize) {
        match &decision.outcome {
            Outcome::Endpoints { choice, .. } => {
                self.tallies[self.place(snapshot, *choice)].add(worker);
                if choice.candidates.health == Health::None {
                    self.all_down_tally.add(worker);
                }
            }
            Outcome::LastResort(_) => self.all_down_tally.add(worker),
            Outcome::NoData => {}
        }
    }
}
