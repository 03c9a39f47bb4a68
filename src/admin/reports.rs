//! `POST /api/v1/reports`: what others measured of endpoints.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::State;
use super::api::Failure;
use super::outcome::{Refusal, answer, endpoint_name};
use crate::health::report::Age;
use crate::health::{Load, Pushed, Rejection};
use crate::snapshot::Event;

/// The largest body of a request, in octets.
pub(super) const MAX_BODY_OCTETS: usize = 1 << 20;
/// Reports in one request.
pub(super) const MAX_REPORTS: usize = 10_000;

const HINT: &str = "send {\"reports\": [{\"pool\": \"web\", \"endpoint\": \"192.0.2.1\", \"connections\": 12}]}";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reports {
    reports: Vec<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    pool: String,
    endpoint: String,
    region: Option<String>,
    /// Seconds since 1970; without it, now.
    time: Option<f64>,
    connections: Option<f64>,
    utilization: Option<f64>,
    response_ms: Option<f64>,
    error_rate: Option<f64>,
    requests_per_second: Option<f64>,
    #[serde(default)]
    successes: u32,
    #[serde(default)]
    failures: u32,
}

/// Takes a request's body in.
pub(super) fn push(state: &State, body: &[u8]) -> Result<Response, Failure> {
    let publisher = state.reloader.publisher();
    let now = Instant::now();
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let refuse = |status, message: String| {
        let (_, events) = publisher.push(&[Err(Rejection::Malformed)], now);
        events.iter().for_each(Event::log);
        Failure::new(status, message, HINT)
    };
    let Reports { reports } = serde_json::from_slice(body)
        .map_err(|problem| refuse(StatusCode::BAD_REQUEST, format!("the body can't be read: {problem}")))?;
    if reports.len() > MAX_REPORTS {
        let message = format!("{} reports are more than {MAX_REPORTS}", reports.len());
        return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    let mut unread = Vec::new();
    let pushed: Vec<Result<Pushed, Rejection>> = reports
        .into_iter()
        .map(|report| match serde_json::from_value(report) {
            Ok(report) => pushed(report, unix),
            Err(problem) => {
                unread.push(problem.to_string());
                Err(Rejection::Malformed)
            }
        })
        .collect();
    let (outcomes, events) = publisher.push(&pushed, now);
    events.iter().for_each(Event::log);

    let mut unread = unread.into_iter();
    let told = outcomes.into_iter().map(|outcome| {
        outcome.map_err(|rejection| {
            let problem = if rejection == Rejection::Malformed { unread.next() } else { None };
            Refusal { reason: rejection.name(), message: problem.unwrap_or_else(|| rejection.to_string()) }
        })
    });
    Ok(answer(told))
}

/// A report, seen at `unix` seconds since 1970.
fn pushed(report: Report, unix: f64) -> Result<Pushed, Rejection> {
    let Report { pool, endpoint, region, time, successes, failures, .. } = report;
    Ok(Pushed {
        pool,
        endpoint: endpoint_name(&endpoint),
        region,
        age: time.map_or(Ok(Age::default()), |time| Age::between(time, unix))?,
        load: Load {
            connections: report.connections,
            utilization: report.utilization,
            response_ms: report.response_ms,
            error_rate: report.error_rate,
            requests_per_second: report.requests_per_second,
        },
        successes,
        failures,
    })
}
