//! Requests that change what is known here: who may make them, and their bodies.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use tokio::time::timeout;

use super::State;
use super::api::Failure;

/// The longest body, in octets.
pub(super) const MAX_BODY_OCTETS: usize = 1 << 20;
/// How long a body may take to come.
const BODY_TIME: Duration = Duration::from_secs(5);

/// Whether a request that carries the token, where there is one, may change anything: only on servers that have one, and
/// only with a content type that no page of another site can send unasked.
pub(super) fn may_write(state: &State, headers: &HeaderMap) -> Result<(), Failure> {
    if state.token.is_none() {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "a server without a token takes nothing",
            "set `token_file` in [admin], and send the header `Authorization: Bearer TOKEN`",
        ));
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body is to be JSON",
            "send the header `Content-Type: application/json`",
        ));
    }
    Ok(())
}

/// The whole body.
pub(super) async fn read(body: Body) -> Result<Vec<u8>, Failure> {
    match timeout(BODY_TIME, to_bytes(body, MAX_BODY_OCTETS)).await {
        Ok(Ok(octets)) => Ok(octets.into()),
        Ok(Err(_)) => Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body breaks off, or is longer than {MAX_BODY_OCTETS} octets"),
            "send it in parts",
        )),
        Err(_) => Err(Failure::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body took longer than {} s", BODY_TIME.as_secs()),
            "send it in parts",
        )),
    }
}
