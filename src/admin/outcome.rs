//! What is answered where a request says many things of endpoints, each of which counts or does not.

use std::net::IpAddr;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Rejections that are told one by one.
const MAX_TOLD: usize = 20;

/// Why something does not count.
#[derive(Debug)]
pub(super) struct Refusal {
    /// One of a few words.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

#[derive(Debug, Serialize)]
struct Outcome {
    accepted: usize,
    rejected: usize,
    /// The first of them.
    rejections: Vec<Told>,
}

#[derive(Debug, Serialize)]
struct Told {
    /// Its place in the request, from 0.
    index: usize,
    reason: &'static str,
    message: String,
}

/// Says what became of each; 422 where there are any and none counts.
pub(super) fn answer(outcomes: impl IntoIterator<Item = Result<(), Refusal>>) -> Response {
    let mut outcome = Outcome { accepted: 0, rejected: 0, rejections: Vec::new() };
    for (index, counts) in outcomes.into_iter().enumerate() {
        match counts {
            Ok(()) => outcome.accepted += 1,
            Err(Refusal { reason, message }) => {
                outcome.rejected += 1;
                if outcome.rejected <= MAX_TOLD {
                    outcome.rejections.push(Told { index, reason, message });
                }
            }
        }
    }
    let is_refused = outcome.accepted == 0 && outcome.rejected > 0;
    let status = if is_refused { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    (status, Json(outcome)).into_response()
}

/// An endpoint's name as it is shown, of how somebody wrote it.
pub(super) fn endpoint_name(written: &str) -> String {
    match written.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => written.trim_end_matches('.').to_ascii_lowercase(),
    }
}
