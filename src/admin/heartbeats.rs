//! `POST /api/v1/heartbeats`: endpoints that say of themselves how they are.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::State;
use super::api::Failure;
use super::outcome::{Refusal, answer, endpoint_name};
use super::reports::MAX_REPORTS;
use crate::config::Check;
use crate::health::{Grade, Rejection, Table, TargetKey, Word};
use crate::snapshot::Event;

const HINT: &str = "send {\"heartbeats\": [{\"pool\": \"web\", \"endpoint\": \"192.0.2.1\", \"status\": \"ok\"}]}";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    heartbeats: Vec<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heartbeat {
    pool: String,
    endpoint: String,
    region: Option<String>,
    status: Status,
    #[serde(default)]
    text: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Degraded,
    Failed,
}

impl Status {
    fn grade(self) -> Grade {
        match self {
            Self::Ok => Grade::Good,
            Self::Degraded => Grade::Poor,
            Self::Failed => Grade::Failed,
        }
    }
}

/// Takes a request's body in.
pub(super) fn push(state: &State, body: &[u8]) -> Result<Response, Failure> {
    let refuse = |status, message: String| Failure::new(status, message, HINT);
    let Body { heartbeats } = serde_json::from_slice(body)
        .map_err(|problem| refuse(StatusCode::BAD_REQUEST, format!("the body can't be read: {problem}")))?;
    if heartbeats.len() > MAX_REPORTS {
        let message = format!("{} heartbeats are more than {MAX_REPORTS}", heartbeats.len());
        return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    let publisher = state.reloader.publisher();
    let now = Instant::now();
    let mut observations = Vec::new();
    let outcomes: Vec<Result<(), Refusal>> = {
        let table = publisher.health();
        let outcomes = heartbeats.into_iter().map(|written| {
            let heartbeat: Heartbeat = serde_json::from_value(written)
                .map_err(|problem| Refusal { reason: Rejection::Malformed.name(), message: problem.to_string() })?;
            let word = Word { grade: heartbeat.status.grade(), words: heartbeat.text.clone() };
            for key in targets(&table, &heartbeat)? {
                let observation = state.reloader.memory().heartbeats.hear(&key, &word, now);
                observations.push((key, observation));
            }
            Ok(())
        });
        outcomes.collect()
    };
    publisher.observe(observations, now).iter().for_each(Event::log);
    Ok(answer(outcomes))
}

/// Those that wait to be heard of.
fn targets(table: &Table, heartbeat: &Heartbeat) -> Result<Vec<Arc<TargetKey>>, Refusal> {
    let rejected = |it: Rejection| Refusal { reason: it.name(), message: it.to_string() };
    let endpoints = table.endpoints();
    if !endpoints.has_pool(&heartbeat.pool) {
        return Err(rejected(Rejection::UnknownPool));
    }
    let endpoint = endpoint_name(&heartbeat.endpoint);
    let mut found = endpoints.find(&heartbeat.pool, &endpoint, heartbeat.region.as_deref()).peekable();
    if found.peek().is_none() {
        return Err(rejected(Rejection::UnknownEndpoint));
    }
    let targets = found.filter_map(|index| endpoints.get(index)).flat_map(|known| table.targets_of(known));
    let keys = targets.map(|target| &target.key);
    let mut keys: Vec<Arc<TargetKey>> =
        keys.filter(|key| matches!(*key.check, Check::Heartbeat(_))).map(Arc::clone).collect();
    // One endpoint in several regions is one target.
    let mut seen = HashSet::new();
    keys.retain(|key| seen.insert(Arc::clone(key)));
    if keys.is_empty() {
        return Err(Refusal { reason: "not-awaited", message: "the pool's probe is not of type heartbeat".into() });
    }
    Ok(keys)
}
