//! Endpoints and what is known of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config::{EndpointState, InputOf, Probe};
use crate::health::endpoint::STEPS;
use crate::health::guard::Held;
use crate::health::overrides::Word;
use crate::health::{self, EndpointHealth, SaidBy, Table, TargetHealth};
use crate::routing::live::WHOLE;
use crate::snapshot::Snapshot;
use crate::unix_time;

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its address or hostname.
    pub endpoint: String,
    /// Its weight.
    pub weight: u32,
    /// What configuration and operators want of it: enabled, draining or disabled.
    pub state: String,
    /// The operators' words that hold for it, whatever the service.
    pub overrides: Vec<Word>,
    /// What counts of it: up, degraded, down, or unknown until the first one ends; `unprobed` where there is none.
    pub verdict: String,
    /// For how many seconds that has been so.
    pub verdict_seconds: Option<u64>,
    /// What its inputs say together: up, degraded, down or unknown; nothing where there are none.
    pub found: Option<String>,
    /// Why it serves although its inputs or its breaker ask for it to be taken away: a key of `[safety]`, or `unsure` while the prober suspects itself.
    pub held: Option<String>,
    /// What keeps it down though its probes may soon say otherwise.
    #[serde(flatten)]
    pub hold: Hold,
    /// What its health depends on, where that isn't just one probe.
    pub inputs: Vec<Input>,
    /// What those inputs that act and serve must weigh together; nothing where none are told.
    pub required_weight: Option<u64>,
    /// What is probed; of several inputs the first that says what they say together. Nothing where that is a pool.
    pub probe: Option<String>,
    /// What the latest probe found.
    pub last_probe: Option<String>,
    /// How many seconds ago that was.
    pub last_probe_seconds: Option<u64>,
    /// How long the parts of the latest probe took.
    pub last_probe_phases: Phases,
    /// How many days are left until the certificate expires that it showed to the latest probe, the first of several; 0 where none is.
    pub certificate_days_left: Option<u64>,
    /// The part of its weight that counts now, in percent; 0 while its circuit breaker is open.
    pub weight_percent: f64,
    /// How well its probes went of late, 0 to 1.
    pub health_score: Option<f64>,
    /// Whether that is a part of its share.
    pub is_scored: bool,
    /// Whether it came up a short while ago and warms up.
    pub is_warming: bool,
    /// Its circuit breaker, where its pool has them: closed, open or half-open.
    pub breaker: Option<String>,
    /// For how many seconds more its breaker, being open, lets nobody be sent there, as though it were down.
    pub breaker_open_seconds: Option<u64>,
    /// How busy it is, as far as that is known and fresh.
    pub load: Load,
    /// How many seconds ago something was last said of its load.
    pub load_seconds: Option<u64>,
}

/// Something that an endpoint's health depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The name of the probe; nothing where it is a pool.
    pub probe: Option<String>,
    /// What is probed, or `pool NAME`.
    pub input: String,
    /// What it says: up, degraded, down or unknown.
    pub verdict: String,
    /// What keeps it down though its runs may soon say otherwise.
    #[serde(flatten)]
    pub hold: Hold,
    /// How much it counts.
    pub weight: u32,
    /// Whether no other can stand in for it.
    pub must_pass: bool,
    /// Whether it is only shown.
    pub monitoring_only: bool,
    /// What the latest probe found.
    pub last_probe: Option<String>,
    /// How many seconds ago that was.
    pub last_probe_seconds: Option<u64>,
}

impl Input {
    fn new(said: SaidBy<'_>, probes: &[Arc<Probe>], now: Instant) -> Self {
        let last = said.target.and_then(|target| target.last.as_ref());
        Self {
            probe: match said.of.of {
                InputOf::Probe(probe) => probes.get(probe).map(|probe| probe.name.clone()),
                InputOf::Pool(_) => None,
            },
            input: said.to_string(),
            verdict: said.verdict.to_string(),
            hold: said.hold(now).into(),
            weight: said.of.weight,
            must_pass: said.of.must_pass,
            monitoring_only: said.of.monitoring_only,
            last_probe: last.map(|(_, observation)| observation.to_string()),
            last_probe_seconds: last.map(|(then, _)| now.saturating_duration_since(*then).as_secs()),
        }
    }
}

/// The time that is left: it ends with the last second that is shown.
fn whole_seconds(left: Duration) -> u64 {
    left.as_millis().div_ceil(1000) as u64
}

/// What keeps something down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// It flaps, and is down for so many seconds more at least.
    pub held_down_seconds: Option<u64>,
    /// It is down until an operator resumes it, as it has `manual_resume`.
    pub awaits_resume: bool,
}

impl From<health::Hold> for Hold {
    fn from(hold: health::Hold) -> Self {
        match hold {
            health::Hold::None => Self::default(),
            health::Hold::For(left) => Self { held_down_seconds: Some(whole_seconds(left)), awaits_resume: false },
            health::Hold::UntilResumed => Self { held_down_seconds: None, awaits_resume: true },
        }
    }
}

/// How long the parts of a probe took, in milliseconds; those that it did not have, or did not come to the end of, are absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Phases {
    /// Looking the hostname up.
    pub resolve_ms: Option<f64>,
    /// Connecting by TCP.
    pub connect_ms: Option<f64>,
    /// Agreeing on TLS.
    pub tls_ms: Option<f64>,
    /// From the request to the head of its answer.
    pub first_byte_ms: Option<f64>,
}

impl From<health::Phases> for Phases {
    fn from(phases: health::Phases) -> Self {
        // In microseconds, of which parts are of no interest.
        let ms = |phase: Option<Duration>| phase.map(|time| time.as_micros() as f64 / 1e3);
        let health::Phases { resolve, connect, tls, first_byte } = phases;
        Self { resolve_ms: ms(resolve), connect_ms: ms(connect), tls_ms: ms(tls), first_byte_ms: ms(first_byte) }
    }
}

/// How busy an endpoint is; what is not known is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Open connections or requests under way.
    pub connections: Option<f64>,
    /// 0 is idle, 1 is full.
    pub utilization: Option<f64>,
    /// What a request takes, in milliseconds; what probes take where nobody says.
    pub response_ms: Option<f64>,
    /// The part of requests that fail.
    pub error_rate: Option<f64>,
    /// Requests per second.
    pub requests_per_second: Option<f64>,
}

impl From<health::Load> for Load {
    fn from(load: health::Load) -> Self {
        let health::Load { connections, utilization, response_ms, error_rate, requests_per_second } = load;
        Self { connections, utilization, response_ms, error_rate, requests_per_second }
    }
}

impl Endpoint {
    /// Of an endpoint by its index at `now`, which is so many seconds since 1970; `health` is of the same generation as the snapshot.
    pub(super) fn new(index: u32, snapshot: &Snapshot, health: &Table, (now, unix_seconds): (Instant, u32)) -> Self {
        let endpoint = &snapshot.compiled.endpoints[index as usize];
        let known = health.endpoints().get(index);
        let found = known.map(|known| health.found(known, now));
        let decisive = known.zip(found).and_then(|(known, found)| health.decisive_input_of(known, found.verdict));
        let target = decisive.and_then(|said| said.target);
        let tells_inputs = |known: &&EndpointHealth| {
            let inputs = &known.placed.inputs;
            inputs.len() > 1 || inputs.iter().any(|input| matches!(input, health::Input::Groups(_)))
        };
        let with_inputs = known.filter(tells_inputs);
        let said = known.map(|known| *known.operators()).unwrap_or_default();
        let is_probed = known.is_some_and(|known| !known.placed.inputs.is_empty());
        let seconds_since = |then: Instant| now.saturating_duration_since(then).as_secs();
        let last = target.and_then(|target| target.last.as_ref());
        let share = known.zip(found).map_or(WHOLE, |(known, found)| known.share(&found, now, WHOLE));
        Self {
            endpoint: endpoint.destination.to_string(),
            weight: endpoint.weight,
            state: state_name(endpoint.state_under(&said, unix_seconds)).to_owned(),
            overrides: said.words().collect(),
            verdict: match known.filter(|known| is_probed || known.word().is_some()) {
                Some(known) => known.verdict().to_string(),
                None => "unprobed".to_owned(),
            },
            verdict_seconds: known.and_then(|known| known.since()).map(seconds_since),
            found: found.filter(|_| is_probed).map(|found| found.verdict.to_string()),
            held: known.and_then(|known| known.held()).map(|held| held.name().to_owned()),
            hold: known.map(|known| health.hold(known, now).into()).unwrap_or_default(),
            inputs: with_inputs.map_or_else(Vec::new, |known| {
                let probes = &snapshot.compiled.config.probes;
                health.inputs_of(known).map(|input| Input::new(input, probes, now)).collect()
            }),
            required_weight: with_inputs.map(|known| known.placed.rules.health.required),
            probe: target.map(|target| target.key.to_string()),
            last_probe: last.map(|(_, observation)| observation.to_string()),
            last_probe_seconds: last.map(|(then, _)| seconds_since(*then)),
            last_probe_phases: last.map(|(_, observation)| observation.details.phases.into()).unwrap_or_default(),
            certificate_days_left: known
                .and_then(|known| health.targets_of(known).filter_map(certificate_expires).min())
                .map(|expires| expires.saturating_sub(unix_time::unix_seconds()) / 86_400),
            weight_percent: f64::from(share) / f64::from(WHOLE) * 100.0,
            health_score: found.filter(|_| is_probed).map(|found| found.score.value()),
            is_scored: known.is_some_and(EndpointHealth::is_scored),
            is_warming: known.is_some_and(|known| known.warmth(now) < STEPS),
            breaker: known.and_then(|known| known.breaker()).map(|breaker| breaker.state().name().to_owned()),
            breaker_open_seconds: known.and_then(|known| known.tried_in(now)).map(whole_seconds),
            load: known.zip(found).map(|(known, found)| known.load(&found, now).rounded().into()).unwrap_or_default(),
            load_seconds: known.and_then(|known| known.load_age(now)).map(|age| age.as_secs()),
        }
    }
}

/// When the certificate expires that a target showed to the latest probe, in seconds since 1970.
fn certificate_expires(target: &TargetHealth) -> Option<u64> {
    target.last.as_ref().and_then(|(_, observation)| observation.details.certificate_expires)
}

/// For how many seconds the prober has suspected itself.
pub(super) fn unsure_seconds(health: &Table, now: Instant) -> Option<u64> {
    health.unsure_since().map(|since| now.saturating_duration_since(since).as_secs())
}

/// For how many seconds more it may suspect itself at most.
pub(super) fn unsure_left_seconds(snapshot: &Snapshot, health: &Table, now: Instant) -> Option<u64> {
    let at_most = snapshot.compiled.config.safety.self_suspicion.at_most;
    let left = at_most.saturating_sub(now.saturating_duration_since(health.unsure_since()?));
    Some(whole_seconds(left))
}

/// How many endpoints are held, by what holds them.
fn held(health: &Table) -> BTreeMap<String, usize> {
    let mut held = BTreeMap::new();
    for by in health.endpoints().all().iter().filter_map(EndpointHealth::held).map(Held::name) {
        *held.entry(by.to_owned()).or_default() += 1;
    }
    held
}

fn state_name(state: EndpointState) -> &'static str {
    match state {
        EndpointState::Enabled => "enabled",
        EndpointState::Draining => "draining",
        EndpointState::Disabled => "disabled",
    }
}

/// The health of all endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthReport {
    /// Which publication this is of.
    pub generation: u64,
    /// Why the latest reload failed; nothing where it did not.
    pub reload_problems: Option<String>,
    /// For how many seconds the prober has suspected itself, so that it takes nothing away; nothing while it doesn't.
    pub unsure_seconds: Option<u64>,
    /// In how many seconds at most that ends.
    pub unsure_left_seconds: Option<u64>,
    /// How many endpoints serve although their inputs or breakers ask for them to be taken away, by what holds them, where anything does.
    pub held: BTreeMap<String, usize>,
    /// All endpoints, pool by pool and region by region.
    pub endpoints: Vec<PlacedEndpoint>,
}

/// An endpoint and where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
            for endpoint in group.endpoints.clone() {
                let endpoint = Endpoint::new(endpoint, snapshot, health, (now, unix_time::unix_seconds_modulo()));
                endpoints.push(PlacedEndpoint { pool: pool.clone(), region: region.clone(), endpoint });
            }
        }
        Self {
            generation: snapshot.generation,
            reload_problems,
            unsure_seconds: unsure_seconds(health, now),
            unsure_left_seconds: unsure_left_seconds(snapshot, health, now),
            held: held(health),
            endpoints,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_left_ends_with_the_last_second_that_is_shown() {
        for (left_ms, shown) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(left_ms)), shown, "{left_ms} ms");
        }
    }
}
