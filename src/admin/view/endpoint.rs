//! Endpoints and what their probes say.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::config::EndpointState;
use crate::health::Table;
use crate::snapshot::{self, Snapshot};

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its address or hostname.
    pub endpoint: String,
    /// Its weight.
    pub weight: u32,
    /// What the operator wants of it: enabled, draining or disabled.
    pub state: String,
    /// What the probe says: up, down, or unknown until the first one ends; `unprobed` where there is none.
    pub verdict: String,
    /// For how many seconds that has been so.
    pub verdict_seconds: Option<u64>,
    /// What is probed.
    pub probe: Option<String>,
    /// What the latest probe found.
    pub last_probe: Option<String>,
    /// How many seconds ago that was.
    pub last_probe_seconds: Option<u64>,
}

impl Endpoint {
    pub(super) fn new(endpoint: &snapshot::Endpoint, health: &Table, now: Instant) -> Self {
        let target = endpoint.target.and_then(|target| health.get(target));
        let seconds_since = |then: Instant| now.saturating_duration_since(then).as_secs();
        let last = target.and_then(|target| target.last.as_ref());
        Self {
            endpoint: endpoint.destination.to_string(),
            weight: endpoint.weight,
            state: state_name(endpoint.state).to_owned(),
            verdict: target.map_or_else(|| "unprobed".to_owned(), |target| target.machine.verdict().to_string()),
            verdict_seconds: target.and_then(|target| target.machine.since()).map(seconds_since),
            probe: target.map(|target| target.key.to_string()),
            last_probe: last.map(|(_, observation)| observation.to_string()),
            last_probe_seconds: last.map(|(then, _)| seconds_since(*then)),
        }
    }
}

fn state_name(state: EndpointState) -> &'static str {
    match state {
        EndpointState::Enabled => "enabled",
        EndpointState::Draining => "draining",
        EndpointState::Disabled => "disabled",
    }
}

/// The health of all endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// Which publication this is of.
    pub generation: u64,
    /// Why the latest reload failed; nothing where it did not.
    pub reload_problems: Option<String>,
    /// All endpoints, pool by pool and region by region.
    pub endpoints: Vec<PlacedEndpoint>,
}

/// An endpoint and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedEndpoint {
    /// The pool's name.
    pub pool: String,
    /// The region's name.
    pub region: String,
    /// The endpoint and its health.
    #[serde(flatten)]
    pub endpoint: Endpoint,
}

impl HealthReport {
    /// The report at `now`; `health` is of the same generation as the snapshot.
    pub fn new(snapshot: &Snapshot, health: &Table, reload_problems: Option<String>, now: Instant) -> Self {
        let compiled = &snapshot.compiled;
        let mut endpoints = Vec::with_capacity(compiled.endpoints.len());
        for group in &compiled.groups {
            let pool = &compiled.config.pools[group.pool].name;
            let region = &compiled.config.regions[usize::from(group.region)].name;
            for endpoint in &compiled.endpoints[group.endpoints.start as usize..group.endpoints.end as usize] {
                let endpoint = Endpoint::new(endpoint, health, now);
                endpoints.push(PlacedEndpoint { pool: pool.clone(), region: region.clone(), endpoint });
            }
        }
        Self { generation: snapshot.generation, reload_problems, endpoints }
    }
}
