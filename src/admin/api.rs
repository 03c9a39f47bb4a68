//! The pages.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::latency;
use super::view::{Explanation, HealthReport, History, Question, Source};
use super::write::{guarded, whole, writes};
use super::{Work, connection, heartbeats, overrides, reports};
use crate::health::Table;
use crate::health::overrides::Subject;
use crate::logging;
use crate::metrics::prometheus::{self, Operators, Reloads, Scrape};
use crate::snapshot::Snapshot;
use crate::unix_time::{unix_seconds, unix_seconds_modulo};

const INDEX: &str = "\
Meridian's admin interface

/metrics                                      counters and gauges as Prometheus text
/livez                                        200 while the process answers
/readyz                                       200 while it serves, 503 while it stops
/api/v1/health                                every endpoint and what is known of it
/api/v1/history?subject=SUBJECT&limit=100     what became of endpoints of late; of all without a subject
POST /api/v1/reports                          takes what others measured of endpoints
POST /api/v1/heartbeats                       takes what endpoints say of themselves
/api/v1/overrides                             what operators say; POST says more, DELETE takes it back
/api/v1/overrides/audit                       what they said of late
POST /api/v1/resume                           lets what is held down come up
/api/v1/explain?name=NAME&type=A&client=ADDR/LEN
                                              one decision, with its reasons
/api/v1/latency                               the round trips that are known; POST takes more in

The same in words: meridian explain NAME [TYPE] --client ADDR/LEN
";

pub(super) fn router(state: Arc<super::State>) -> Router {
    let guard = middleware::from_fn_with_state(Arc::clone(&state), require_token);
    let change_overrides = guarded(&state, post(set_override).delete(clear_override), reports::MAX_BODY_OCTETS);
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/metrics", get(metrics))
        .route("/api/v1/explain", get(explain))
        .route("/api/v1/health", get(health))
        .route("/api/v1/history", get(history))
        .route("/api/v1/reports", writes(&state, push_reports, reports::MAX_BODY_OCTETS).fallback(only_written))
        .route("/api/v1/heartbeats", writes(&state, push_heartbeats, reports::MAX_BODY_OCTETS).fallback(only_written))
        .route("/api/v1/overrides", get(list_overrides).merge(change_overrides))
        .route("/api/v1/overrides/audit", get(audit_overrides))
        .route("/api/v1/resume", writes(&state, resume, reports::MAX_BODY_OCTETS).fallback(only_written))
        .route("/api/v1/latency", get(latency::show).merge(writes(&state, latency::put, latency::MAX_BODY_OCTETS)))
        .fallback(|| async {
            Failure::new(StatusCode::NOT_FOUND, "there is no such page", "GET / lists what there is")
        })
        .layer(guard)
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .method_not_allowed_fallback(|| async {
            Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this page has no such method",
                "use GET, or what GET / says of it",
            )
        })
        .layer(middleware::from_fn(connection::mark_at_work))
        .with_state(state)
}

async fn only_written() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this page only takes what is sent", "use POST")
}

pub(super) type Shared = State<Arc<super::State>>;

/// What went wrong, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    #[serde(skip)]
    status: StatusCode,
    error: String,
    hint: &'static str,
}

impl Failure {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, hint: &'static str) -> Self {
        Self { status, error: error.into(), hint }
    }

    fn defect(problem: impl Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, problem.to_string(), "report this as a defect")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

async fn require_token(State(state): Shared, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).map_or(&[][..], HeaderValue::as_bytes);
    if state.token.as_ref().is_none_or(|token| token.is_in(given)) {
        return next.run(request).await;
    }
    let failure = Failure::new(
        StatusCode::UNAUTHORIZED,
        "this needs the token in the server's token_file",
        "send the header `Authorization: Bearer TOKEN`; `meridian explain`, `history`, `override` and `resume` take `--token-file FILE`",
    );
    ([(WWW_AUTHENTICATE, "Bearer realm=\"meridian\"")], failure).into_response()
}

impl super::State {
    /// Snapshot and health of one generation.
    fn read(&self) -> (Arc<Snapshot>, Table) {
        self.reloader.publisher().current_with_health()
    }
}

/// Makes a page on a thread of its own: the runtime's few threads also take health observations, which must not wait.
pub(super) async fn make(
    state: Arc<super::State>,
    work: Work,
    page: impl FnOnce(&super::State) -> Result<Response, Failure> + Send + 'static,
) -> Result<Response, Failure> {
    // Kept until the page is made, even if the client is gone by then. The semaphore is never closed.
    let permit = Arc::clone(state.permits.of(work)).acquire_owned().await;
    let made = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        page(&state)
    });
    made.await.map_err(Failure::defect)?
}

async fn metrics(State(state): Shared) -> Result<Response, Failure> {
    make(state, Work::Show, |state| {
        let (snapshot, health) = state.read();
        let overrides = state.operator.overrides();
        let status = state.reloader.status();
        let (succeeded, partial, failed) = status.counts();
        let scrape = Scrape {
            snapshot: &snapshot,
            health: &health,
            verdict_delays: state.reloader.publisher().verdict_delays(),
            punctuality: state.reloader.punctuality(),
            workers: &state.workers,
            server: &state.server,
            reloads: Reloads { succeeded, partial, failed, last_failed: status.last_problems().is_some() },
            measurements: state.reloader.measurements().counts(),
            operators: Operators { overrides: &overrides, not_kept: state.operator.failures() },
            dropped_log_lines: logging::dropped_lines(),
            started: state.started,
        };
        let text = scrape.text().map_err(Failure::defect)?;
        Ok(([(CONTENT_TYPE, prometheus::CONTENT_TYPE)], text).into_response())
    })
    .await
}

#[derive(Debug, Serialize)]
struct Readiness {
    /// Endpoints whose verdict is unknown count as up, so answers are good from the first one on.
    ready: bool,
    generation: u64,
    targets: usize,
    unknown_targets: usize,
}

async fn ready(State(state): Shared) -> (StatusCode, Json<Readiness>) {
    let ready = !state.stopping.load(Ordering::Relaxed);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let publisher = state.reloader.publisher();
    let generation = publisher.current().generation;
    // Anyone may ask this, as often as they like: nothing is copied or counted for it.
    let (targets, unknown_targets) = publisher.targets();
    (status, Json(Readiness { ready, generation, targets, unknown_targets }))
}

async fn health(State(state): Shared) -> Result<Response, Failure> {
    make(state, Work::Show, |state| {
        let (snapshot, health) = state.read();
        let problems = state.reloader.status().last_problems();
        Ok(Json(HealthReport::new(&snapshot, &health, problems, Instant::now())).into_response())
    })
    .await
}

/// What is to be told of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryParameters {
    subject: Option<Subject>,
    limit: Option<usize>,
}

/// So many changes are told of, if nobody asks for more or less.
const HISTORY: usize = 100;
/// At most so many are.
const MAX_HISTORY: usize = 10_000;

async fn history(
    State(state): Shared,
    parameters: Result<Query<HistoryParameters>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(HistoryParameters { subject, limit }) = parameters.map_err(|problem| {
        let hint = "ask for /api/v1/history, with subject=pool/NAME (or region/NAME, ...) and limit=100 if wanted";
        Failure::new(StatusCode::BAD_REQUEST, problem.body_text(), hint)
    })?;
    make(state, Work::Show, move |state| {
        let (snapshot, health) = state.read();
        let endpoints = match subject {
            Some(subject) => overrides::endpoints_under(&snapshot.compiled, &subject)?,
            None => (0..snapshot.compiled.endpoints.len() as u32).collect(),
        };
        let most = limit.unwrap_or(HISTORY).min(MAX_HISTORY);
        let running_seconds = state.started.elapsed().ok().map(|running| running.as_secs());
        let history = History::new(&health, endpoints, most, (Instant::now(), unix_seconds()));
        Ok(Json(History { running_seconds, ..history }).into_response())
    })
    .await
}

async fn push_reports(State(state): Shared, body: Result<Bytes, BytesRejection>) -> Result<Response, Failure> {
    let body = whole(body, reports::MAX_BODY_OCTETS)?;
    make(state, Work::Hear, move |state| reports::push(state, &body)).await
}

async fn push_heartbeats(State(state): Shared, body: Result<Bytes, BytesRejection>) -> Result<Response, Failure> {
    let body = whole(body, reports::MAX_BODY_OCTETS)?;
    make(state, Work::Hear, move |state| heartbeats::push(state, &body)).await
}

async fn list_overrides(State(state): Shared) -> Result<Response, Failure> {
    make(state, Work::Show, |state| Ok(overrides::list(state))).await
}

async fn audit_overrides(State(state): Shared) -> Result<Response, Failure> {
    make(state, Work::Keep, |state| Ok(overrides::audit(state))).await
}

async fn set_override(State(state): Shared, body: Result<Bytes, BytesRejection>) -> Result<Response, Failure> {
    let body = whole(body, reports::MAX_BODY_OCTETS)?;
    make(state, Work::Keep, move |state| overrides::set(state, &body)).await
}

async fn clear_override(State(state): Shared, body: Result<Bytes, BytesRejection>) -> Result<Response, Failure> {
    let body = whole(body, reports::MAX_BODY_OCTETS)?;
    make(state, Work::Keep, move |state| overrides::clear(state, &body)).await
}

async fn resume(State(state): Shared, body: Result<Bytes, BytesRejection>) -> Result<Response, Failure> {
    let body = whole(body, reports::MAX_BODY_OCTETS)?;
    make(state, Work::Keep, move |state| overrides::resume(state, &body)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    name: String,
    #[serde(rename = "type")]
    qtype: Option<String>,
    client: Option<String>,
}

async fn explain(
    State(state): Shared,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(Parameters { name, qtype, client }) = parameters.map_err(|problem| {
        let hint = "ask for /api/v1/explain?name=NAME, with type=TYPE and client=ADDR/LEN if wanted";
        Failure::new(StatusCode::BAD_REQUEST, problem.body_text(), hint)
    })?;
    let question = Question::parse(&name, qtype.as_deref(), client.as_deref())
        .map_err(|problem| Failure::new(StatusCode::BAD_REQUEST, problem.message, problem.hint))?;
    make(state, Work::Show, move |state| {
        let (snapshot, health) = state.read();
        let seed = fastrand::u64(..);
        let (now, unix_seconds) = (Instant::now(), unix_seconds_modulo());
        let explanation = Explanation::new(&snapshot, &health, Source::Server, &question, seed, now, unix_seconds);
        Ok(Json(explanation).into_response())
    })
    .await
}
