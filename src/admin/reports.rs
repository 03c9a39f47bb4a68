//! `POST /api/v1/reports`: what others measured of endpoints.

use std::net::IpAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::State;
use super::api::Failure;
use crate::health::report::Age;
use crate::health::{Load, Pushed, Rejection};
use crate::snapshot::Event;

/// The largest body of a request, in octets.
pub(super) const MAX_BODY_OCTETS: usize = 1 << 20;
/// Reports in one request.
const MAX_REPORTS: usize = 10_000;
/// Rejections that are told one by one.
const MAX_TOLD: usize = 20;

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

/// What became of a request.
#[derive(Debug, Serialize)]
struct Outcome {
    accepted: usize,
    rejected: usize,
    /// The first of them.
    rejections: Vec<Told>,
}

/// A report that does not count.
#[derive(Debug, Serialize)]
struct Told {
    /// Its place among the reports, from 0.
    index: usize,
    reason: &'static str,
    message: String,
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
    let rejections = outcomes.iter().enumerate().filter_map(|(index, outcome)| Some((index, outcome.err()?)));
    let told = rejections.clone().map(|(index, rejection)| {
        let problem = if rejection == Rejection::Malformed { unread.next() } else { None };
        Told { index, reason: rejection.name(), message: problem.unwrap_or_else(|| rejection.to_string()) }
    });
    let rejected = rejections.clone().count();
    let accepted = outcomes.len() - rejected;
    let status = if accepted == 0 && rejected > 0 { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let outcome = Outcome { accepted, rejected, rejections: told.take(MAX_TOLD).collect() };
    Ok((status, Json(outcome)).into_response())
}

/// A report, seen at `unix` seconds since 1970.
fn pushed(report: Report, unix: f64) -> Result<Pushed, Rejection> {
    let Report { pool, endpoint, region, time, successes, failures, .. } = report;
    let endpoint = match endpoint.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => endpoint.trim_end_matches('.').to_ascii_lowercase(),
    };
    Ok(Pushed {
        pool,
        endpoint,
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
