//! Who may change anything.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::handler::Handler;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};

use super::api::{Failure, Shared};

/// What takes the POST requests of a page, with bodies of at most so many octets, from whoever [`may_write`].
pub(super) fn writes<H, T>(state: &Arc<super::State>, handler: H, most_octets: usize) -> MethodRouter<Arc<super::State>>
where
    H: Handler<T, Arc<super::State>>,
    T: 'static,
{
    guarded(state, post(handler), most_octets)
}

/// The same of any requests that change something.
pub(super) fn guarded(
    state: &Arc<super::State>,
    methods: MethodRouter<Arc<super::State>>,
    most_octets: usize,
) -> MethodRouter<Arc<super::State>> {
    let guard = from_fn_with_state(Arc::clone(state), may_write);
    methods.layer(DefaultBodyLimit::max(most_octets)).layer(guard)
}

/// Lets a request through to a page that changes something, or refuses it before its body is read. Without a token anyone
/// on this host, and every page in a browser there, could write: so writing needs `token_file`. The token itself was
/// looked at before.
async fn may_write(State(state): Shared, request: Request, next: Next) -> Response {
    if state.token.is_none() {
        let hint = "set token_file in [admin], and send the header `Authorization: Bearer TOKEN`";
        return Failure::new(StatusCode::FORBIDDEN, "without a token nothing can be changed", hint).into_response();
    }
    let content_type = request.headers().get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    if !is_json(content_type) {
        let hint = "send the header `Content-Type: application/json`";
        return Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "this takes JSON only", hint).into_response();
    }
    next.run(request).await
}

/// A body, if it came whole and has at most so many octets, as [`writes`] was told of its page.
pub(super) fn whole(body: Result<Bytes, BytesRejection>, most_octets: usize) -> Result<Bytes, Failure> {
    body.map_err(|problem| match problem.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let error = format!("the body is larger than {} MiB", most_octets >> 20);
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send less in one request, and the rest in others")
        }
        status => Failure::new(status, problem.body_text(), "send the whole body that Content-Length announces"),
    })
}

/// Whether a Content-Type header's value is JSON, with parameters or without.
fn is_json(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|&octet| octet == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"application/json")
}
