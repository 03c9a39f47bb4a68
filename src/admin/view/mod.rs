//! What is shown of decisions and of health: mirrors for JSON, made of a snapshot, and text made of the mirrors.
//!
//! [`Explanation::new`] makes the very decision that an answer would be made with. [`HealthReport::new`] lists endpoints, and
//! [`History::new`] what became of them of late.

mod decision;
mod endpoint;
mod explain;
mod history;
mod message;
mod question;
mod text;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::health::overrides::Word;
pub use endpoint::{Endpoint, HealthReport, Hold, Input, Load, Phases, PlacedEndpoint};
pub use explain::Source;
pub use history::{History, PastChange, What};
pub use question::{Client, InvalidQuestion, Question};
pub(crate) use text::Age;

/// One decision, with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The name asked for.
    pub name: String,
    /// The type asked for.
    #[serde(rename = "type")]
    pub qtype: String,
    /// Who asks, and from where.
    pub client: Asker,
    /// Where health and configuration are from.
    pub source: Source,
    /// Which publication this is of.
    pub generation: u64,
    /// For how many seconds the prober has suspected itself, so that it takes nothing away; nothing while it doesn't.
    pub unsure_seconds: Option<u64>,
    /// In how many seconds at most that ends.
    pub unsure_left_seconds: Option<u64>,
    /// What ends it, in words.
    pub unsure_ends: Option<String>,
    /// The name asked for, then each that an alias leads to.
    pub steps: Vec<Step>,
    /// What is answered.
    pub answer: Answer,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asker {
    /// The address that is decided for.
    pub address: IpAddr,
    /// How it is known.
    pub known_by: AskerKnownBy,
    /// The subnet that the resolver names.
    pub subnet: Option<String>,
    /// Where it is.
    pub location: Location,
}

/// How a client's address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AskerKnownBy {
    /// The resolver names the client's subnet (RFC 7871).
    ClientSubnet,
    /// It is the resolver's own address.
    ResolverAddress,
    /// It is not.
    Nothing,
}

/// Where a client is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// How that is known.
    pub known_by: LocationKnownBy,
    /// The network for which just this is known.
    pub network: String,
    /// The region in which the operator's networks put it.
    pub region: Option<String>,
    /// The continent's two letters.
    pub continent: Option<String>,
    /// The country's two letters.
    pub country: Option<String>,
    /// Such as `US-CA`; the larger one first.
    pub subdivisions: Vec<String>,
    /// The city.
    pub city: Option<String>,
    /// In degrees, north positive.
    pub latitude: Option<f64>,
    /// In degrees, east positive.
    pub longitude: Option<f64>,
    /// The autonomous system's number.
    pub asn: Option<u32>,
    /// Who runs the autonomous system.
    pub organisation: Option<String>,
}

/// How a location is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LocationKnownBy {
    /// By one of `[[geoip.networks]]`.
    Networks,
    /// By the database.
    Database,
    /// Not at all.
    Nothing,
}

/// One name on the way to the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The name.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub found: Found,
}

/// What a name is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "kebab-case")]
pub enum Found {
    /// In no zone that is served here.
    NotServed,
    /// At or below a delegation.
    Delegation {
        /// The zone that delegates.
        zone: String,
        /// The delegated name.
        at: String,
    },
    /// Below a DNAME, which makes it an alias.
    Dname {
        /// The zone.
        zone: String,
        /// The DNAME's owner.
        at: String,
    },
    /// Not there.
    NxDomain {
        /// The zone in which it is not.
        zone: String,
    },
    /// In a zone; the asked type is no service's to decide.
    Static {
        /// The zone.
        zone: String,
        /// The records' owner: the name itself, or the wildcard that covers it.
        at: String,
        /// The types of the records there.
        types: Vec<String>,
        /// The service that decides addresses there.
        service: Option<String>,
    },
    /// Decided by a service.
    Service(Box<ServiceDecision>),
    /// Where the answer stopped to follow aliases: they go in a circle, or there were too many.
    Stopped,
}

/// What a service decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceDecision {
    /// The service's name, which may be a wildcard.
    pub service: String,
    /// Its zone.
    pub zone: String,
    /// The addresses wanted: `IPv4` or `IPv6`. Where both are, the one that leads, of which the rest tells.
    pub family: String,
    /// How regions are ordered.
    pub steering: String,
    /// How endpoints are picked.
    pub balance: String,
    /// Addresses per answer.
    pub answers: u8,
    /// What is answered when nothing is healthy.
    pub when_all_down: String,
    /// What operators say of the service, beside what they say of its endpoints.
    pub overrides: Vec<Word>,
    /// The regions in the client's order, or those that are drawn from.
    pub regions: Vec<RankedRegion>,
    /// What each stage of the choice of a region did, in their order.
    pub filter: Vec<FilterStage>,
    /// The pools in order.
    pub tiers: Vec<Tier>,
    /// What is answered with.
    pub outcome: OutcomeKind,
    /// The pool and the region that were chosen.
    pub chosen: Option<Place>,
    /// Why.
    pub reason: String,
    /// The endpoints or addresses in the answer, in order.
    pub answered: Vec<String>,
    /// How they were picked.
    pub pick_reason: String,
    /// What goes with them of the other family, where both are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
    /// What an adaptive balance chose lately, the latest last; empty for other balances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<AdaptiveChange>,
    /// Seconds that the answer lives.
    pub ttl: u32,
    /// Why so long.
    pub ttl_reason: String,
    /// The prefix length, in bits of the client's own address family, for which all of this holds; 0 where it does not
    /// depend on the client or the client is not known.
    pub scope: u8,
    /// The network that this makes of the client's address, or who else.
    pub holds_for: String,
}

/// What an HTTPS or SVCB record has of the family that does not lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Its addresses in the record, in order.
    pub answered: Vec<String>,
    /// How they were picked, or why there is none.
    pub reason: String,
}

/// A choice of an adaptive balance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdaptiveChange {
    /// How long ago it was made.
    pub seconds_ago: u64,
    /// What was chosen.
    pub balance: String,
    /// Why, with the figures.
    pub reason: String,
}

/// A pool in a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The pool's name.
    pub pool: String,
    /// The region's name.
    pub region: String,
}

/// A region in a client's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankedRegion {
    /// Its name.
    pub region: String,
    /// How far away it is, in kilometres; nothing where that does not count or is not known.
    pub distance_km: Option<f64>,
    /// The distance that counts, where the region has a bias.
    pub biased_km: Option<f64>,
    /// The round trip, where that counts and is known.
    pub latency: Option<Latency>,
    /// What claims the client for it.
    pub claim: Option<String>,
    /// What the operator says that it weighs.
    pub weight: Option<u32>,
}

/// A round trip between a client and a region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// In milliseconds.
    pub ms: f64,
    /// The network, AS number or country that it was measured for; nothing where it is estimated from the distance.
    pub measured_for: Option<String>,
    /// How long ago that was, in seconds.
    pub age_seconds: Option<u64>,
}

/// A stage of the choice of a region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilterStage {
    /// Its name: fence, claims, measure, capacity or health.
    pub stage: String,
    /// By what it goes; `none` where it does nothing here.
    pub rule: String,
    /// The regions that it leaves, or has something to say of.
    pub regions: Vec<NotedRegion>,
    /// The regions that it takes out.
    pub left_out: Vec<String>,
    /// All of that in one line.
    pub line: String,
}

/// A region, and what a stage says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedRegion {
    /// The region's name.
    pub region: String,
    /// What it says; empty where the place in the order says it.
    pub note: String,
}

/// One pool of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tier {
    /// The pool's name.
    pub pool: String,
    /// Healthy endpoints that a region needs to serve.
    pub min_healthy: u16,
    /// The regions in which it has endpoints, in the client's order.
    pub groups: Vec<Group>,
}

/// The endpoints of a pool in a region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The region's name.
    pub region: String,
    /// What became of it.
    pub fate: Fate,
    /// The same in words, with the reason where it is no matter of its own health.
    pub fate_reason: String,
    /// Endpoints that may serve this question and are healthy.
    pub healthy: usize,
    /// Endpoints that may serve this question.
    pub allowed: usize,
    /// The chance that it is drawn, in percent; nothing where regions are not drawn, or not this one.
    pub share_percent: Option<f64>,
    /// All of its endpoints.
    pub endpoints: Vec<GroupEndpoint>,
}

/// What became of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It serves.
    Chosen,
    /// Too little of it is healthy.
    PassedOver,
    /// It was not needed, or not drawn.
    Standby,
    /// It has nothing to serve this question with.
    Empty,
}

/// One endpoint of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupEndpoint {
    /// The endpoint and its health.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// Its part in the decision.
    pub part: Part,
    /// The chance that it is picked first, in percent, or the part of the clients that stick to it; given in the chosen group.
    pub share_percent: Option<f64>,
    /// Whether it is in the answer.
    pub answered: bool,
}

/// An endpoint's part in a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// It may be answered.
    Candidate,
    /// It is down.
    Down,
    /// Its circuit breaker is open.
    BreakerOpen,
    /// It has an address of the other family.
    OtherFamily,
    /// The operator lets it take no new clients.
    Draining,
    /// The operator does not let it serve.
    Disabled,
    /// Its weight is 0.
    WeightZero,
}

/// What a service answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeKind {
    /// Healthy endpoints.
    Endpoints,
    /// Endpoints although none is healthy.
    FailOpen,
    /// The addresses of last resort.
    LastResort,
    /// No data.
    NoData,
}

/// A response, as dig would show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The response code's name.
    pub rcode: String,
    /// Flags that are set.
    pub flags: Vec<String>,
    /// Records of the answer section.
    pub answer: Vec<Record>,
    /// Records of the authority section.
    pub authority: Vec<Record>,
    /// Records of the additional section, without OPT.
    pub additional: Vec<Record>,
    /// The client's subnet as it is echoed: address/source length/scope.
    pub client_subnet: Option<String>,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its owner.
    pub name: String,
    /// Seconds that it lives.
    pub ttl: u32,
    /// Its type.
    #[serde(rename = "type")]
    pub rtype: String,
    /// Its data as in a zone file.
    pub data: String,
}
