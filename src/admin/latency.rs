//! `/api/v1/latency`: measurements as they come, and what is known.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::{info, warn};

use super::Work;
use super::api::{Failure, Shared, make};
use super::write::whole;
use crate::geo::latency::{COLUMNS, LatencyTable, Written};
use crate::measurements::{Counts, Taken};
use crate::unix_time::unix_seconds;

/// The largest body of a request, in octets.
pub(super) const MAX_BODY_OCTETS: usize = 4 << 20;

const EXAMPLE: &str = "send {\"measurements\": [{\"network\": \"203.0.113.0/24\", \"region\": \"eu-central\", \"ms\": 12.5, \
                       \"measured\": 1700000000, \"confidence\": 0.9}]}, with network, asn or country";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    /// Each is looked at by itself, so that a bad one holds up no other.
    measurements: Vec<Value>,
}

/// What became of a request's measurements.
#[derive(Debug, Serialize)]
struct Receipt {
    accepted: u64,
    ignored: u64,
    rejected: u64,
    /// The first that were rejected.
    problems: Vec<RowProblem>,
}

#[derive(Debug, Serialize)]
struct RowProblem {
    /// Counted from 0.
    row: usize,
    problem: String,
}

/// What counts now.
#[derive(Debug, Serialize)]
struct Known {
    measurements: usize,
    networks: usize,
    asns: usize,
    countries: usize,
    /// Seconds since 1970.
    newest: Option<u64>,
    oldest: Option<u64>,
    regions: Vec<KnownRegion>,
    /// Of those that came here, since the process began.
    accepted: u64,
    ignored: u64,
    rejected: u64,
}

#[derive(Debug, Serialize)]
struct KnownRegion {
    region: String,
    measurements: usize,
    newest: Option<u64>,
}

/// Takes measurements in.
pub(super) async fn put(State(state): Shared, body: Result<Bytes, BytesRejection>) -> Result<Response, Failure> {
    let body = whole(body, MAX_BODY_OCTETS)?;
    make(state, Work::Hear, move |state| {
        let serving = state.reloader.publisher().current();
        let config = &serving.compiled.config;
        let Some(settings) = &config.latency else { return Err(not_configured()) };
        let Body { measurements } = serde_json::from_slice(&body)
            .map_err(|problem| Failure::new(StatusCode::BAD_REQUEST, problem.to_string(), EXAMPLE))?;
        let rows = measurements.iter().map(written);
        let Taken { counts: Counts { accepted, ignored, rejected }, problems } =
            state.reloader.measurements().take(rows, &config.regions, settings.rules, unix_seconds());
        match problems.first() {
            Some((row, problem)) => {
                warn!(accepted, ignored, rejected, row, problem, "round trips arrived, some of them bad");
            }
            None => info!(accepted, ignored, "round trips arrived"),
        }
        let problems = problems.into_iter().map(|(row, problem)| RowProblem { row, problem }).collect();
        Ok(Json(Receipt { accepted, ignored, rejected, problems }).into_response())
    })
    .await
}

/// Shows what is known.
pub(super) async fn show(State(state): Shared) -> Result<Response, Failure> {
    make(state, Work::Show, |state| {
        let serving = state.reloader.publisher().current();
        let Some(table) = &serving.compiled.latency else { return Err(not_configured()) };
        let names = serving.compiled.config.regions.iter().map(|region| region.name.clone());
        Ok(Json(known(table, names, state.reloader.measurements().counts())).into_response())
    })
    .await
}

fn not_configured() -> Failure {
    Failure::new(StatusCode::CONFLICT, "there is no `[latency]` table", "add one to the configuration, and reload")
}

fn known(table: &Arc<LatencyTable>, names: impl Iterator<Item = String>, counts: Counts) -> Known {
    let mut regions: Vec<KnownRegion> =
        names.map(|region| KnownRegion { region, measurements: 0, newest: None }).collect();
    for (region, measured) in table.measured() {
        if let Some(region) = regions.get_mut(usize::from(region)) {
            region.measurements += 1;
            region.newest = region.newest.max(Some(measured));
        }
    }
    let [networks, asns, countries] = table.counts();
    Known {
        measurements: table.measured().count(),
        networks,
        asns,
        countries,
        newest: table.measured().map(|(_, measured)| measured).max(),
        oldest: table.measured().map(|(_, measured)| measured).min(),
        regions,
        accepted: counts.accepted,
        ignored: counts.ignored,
        rejected: counts.rejected,
    }
}

/// A row's fields as text, which is read like that of a file.
fn written(row: &Value) -> Result<Written, String> {
    let Value::Object(fields) = row else { return Err("not an object".to_owned()) };
    let mut written = Written::default();
    for (key, value) in fields {
        let place = COLUMNS.iter().position(|column| column == key);
        let Some(field) = place.and_then(|place| written.get_mut(place)) else {
            return Err(format!("unknown key {key:?}: there can be {}", COLUMNS.join(", ")));
        };
        *field = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null => String::new(),
            _ => return Err(format!("{key} is neither a string nor a number")),
        };
    }
    Ok(written)
}
