//! `/api/v1/overrides` and `/api/v1/resume`: what operators say.

use std::time::Instant;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::State;
use super::api::Failure;
use crate::config::EndpointState;
use crate::health::Table;
use crate::health::overrides::{MAX_AUTHOR_OCTETS, MAX_REASON_OCTETS, Override, Said, Subject, Word};
use crate::snapshot::{Compiled, Service};
use crate::state::journal::{Record, Refusal};
use crate::unix_time::{unix_seconds, unix_seconds_modulo};

const SET_HINT: &str = "send {\"subject\": \"pool/web\", \"word\": \"drain\", \"reason\": \"maintenance\", \"author\": \"you\"}, \
                        with \"expires_seconds\" or \"expires\" if wanted";
const CLEAR_HINT: &str = "send {\"subject\": \"pool/web\", \"author\": \"you\"}";
const RESUME_HINT: &str = "send {\"subject\": \"pool/web\", \"reason\": \"repaired\", \"author\": \"you\"}";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    subject: Subject,
    word: Word,
    reason: String,
    author: String,
    /// From now on.
    expires_seconds: Option<u64>,
    /// Seconds since 1970.
    expires: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clear {
    subject: Subject,
    reason: Option<String>,
    author: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    subject: Subject,
    reason: String,
    author: String,
}

/// A word of an operator's, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Of what.
    pub subject: Subject,
    /// What is said.
    pub word: Word,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub author: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// Until when, likewise, unless it holds until it is cleared.
    pub expires: Option<u64>,
    /// How many endpoints of the configuration it is about.
    pub endpoints: usize,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// The folder in which they outlive a restart; nothing where they don't.
    pub kept_in: Option<String>,
    /// In the order of their subjects.
    pub overrides: Vec<Shown>,
}

/// One that was set or cleared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// As in [`List`].
    pub kept_in: Option<String>,
    /// What was set or cleared.
    #[serde(rename = "override")]
    pub said: Shown,
    /// Where that is `up`, which of its endpoints nobody is sent to all the same.
    pub still_out: StillOut,
    /// Where that is `up` or `down`, how many of its endpoints keep another verdict, as a more specific word says so.
    pub outranked: usize,
}

/// Endpoints that nobody new is sent to whatever their verdict is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StillOut {
    /// By configuration or a word.
    pub disabled: usize,
    /// Likewise, and not disabled.
    pub draining: usize,
    /// Of weight 0, and neither disabled nor draining.
    pub weight_zero: usize,
    /// The services of theirs on which a word `drain` or `disable` is.
    pub services: Vec<String>,
}

/// What was done of late.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// As in [`List`].
    pub kept_in: Option<String>,
    /// The oldest first.
    pub records: Vec<Record>,
}

/// What a resumption did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resumed {
    /// Targets that are held down no longer.
    pub targets: usize,
}

pub(super) fn list(state: &State) -> Response {
    let overrides = state.operator.overrides();
    let overrides = overrides.iter().map(|said| shown(state, said.clone())).collect();
    Json(List { kept_in: kept_in(state), overrides }).into_response()
}

pub(super) fn audit(state: &State) -> Response {
    Json(Audit { kept_in: kept_in(state), records: state.operator.trail() }).into_response()
}

/// Takes a word in.
pub(super) fn set(state: &State, body: &[u8]) -> Result<Response, Failure> {
    let Set { subject, word, reason, author, expires_seconds, expires } = read(body, SET_HINT)?;
    let now = unix_seconds();
    let expires = match (expires, expires_seconds) {
        (Some(_), Some(_)) => {
            return Err(bad("`expires` and `expires_seconds` are two ways to say the same", SET_HINT));
        }
        (expires, seconds) => expires.or(seconds.map(|seconds| now.saturating_add(seconds))),
    };
    if expires.is_some_and(|expires| expires <= now) {
        return Err(bad("it would be over already", SET_HINT));
    }
    let reason = text("reason", &reason, MAX_REASON_OCTETS, SET_HINT)?;
    let author = text("author", &author, MAX_AUTHOR_OCTETS, SET_HINT)?;
    endpoints_under(&state.reloader.publisher().current().compiled, &subject)?;
    let said = Override { subject, word, reason, author, since: now, expires };
    let since = state.operator.say(said.clone(), Instant::now(), unix_seconds).map_err(|refusal| refused(&refusal))?;
    let said = Override { since, ..said };
    let (snapshot, health) = state.reloader.publisher().current_with_health();
    let endpoints = snapshot.compiled.endpoints_under(&said.subject);
    let still_out = match word {
        Word::Up => still_out(state, &snapshot.compiled, &health, &endpoints),
        Word::Down | Word::Drain | Word::Disable => StillOut::default(),
    };
    let outranked = outranked(&health, &endpoints, &said);
    Ok(Json(Changed { kept_in: kept_in(state), said: shown(state, said), still_out, outranked }).into_response())
}

/// Takes a word back.
pub(super) fn clear(state: &State, body: &[u8]) -> Result<Response, Failure> {
    let Clear { subject, reason, author } = read(body, CLEAR_HINT)?;
    let reason = reason.map(|reason| text("reason", &reason, MAX_REASON_OCTETS, CLEAR_HINT)).transpose()?;
    let author = text("author", &author, MAX_AUTHOR_OCTETS, CLEAR_HINT)?;
    let cleared = state.operator.take_back(&subject, reason.as_deref(), &author, Instant::now(), unix_seconds);
    let said = shown(state, cleared.map_err(|refusal| refused(&refusal))?);
    let still_out = StillOut::default();
    Ok(Json(Changed { kept_in: kept_in(state), said, still_out, outranked: 0 }).into_response())
}

/// Lets what is held down come up.
pub(super) fn resume(state: &State, body: &[u8]) -> Result<Response, Failure> {
    let Resume { subject, reason, author } = read(body, RESUME_HINT)?;
    let reason = text("reason", &reason, MAX_REASON_OCTETS, RESUME_HINT)?;
    let author = text("author", &author, MAX_AUTHOR_OCTETS, RESUME_HINT)?;
    endpoints_under(&state.reloader.publisher().current().compiled, &subject)?;
    let resumed = state.operator.resume(&subject, &reason, &author, (Instant::now(), unix_seconds()));
    let targets = resumed.map_err(|refusal| refused(&refusal))?;
    Ok(Json(Resumed { targets }).into_response())
}

fn read<'b, T: Deserialize<'b>>(body: &'b [u8], hint: &'static str) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|problem| bad(&format!("the body can't be read: {problem}"), hint))
}

fn bad(problem: &str, hint: &'static str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, problem, hint)
}

/// A text for people, which fits into one line of a log.
fn text(key: &str, text: &str, most_octets: usize, hint: &'static str) -> Result<String, Failure> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(bad(&format!("`{key}` is empty"), hint));
    }
    if trimmed.len() > most_octets || trimmed.contains(char::is_control) {
        return Err(bad(&format!("`{key}` is to be one line of at most {most_octets} octets"), hint));
    }
    Ok(trimmed.to_owned())
}

/// The endpoints that a subject is about.
///
/// # Errors
/// Where there is none: a word on it would be one that a mistyped name hides.
pub(super) fn endpoints_under(compiled: &Compiled, subject: &Subject) -> Result<Vec<u32>, Failure> {
    let endpoints = compiled.endpoints_under(subject);
    if endpoints.is_empty() {
        let problem = format!("no endpoint in the configuration belongs to {subject}");
        return Err(Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            problem,
            "GET /api/v1/health lists pools, regions and endpoints",
        ));
    }
    Ok(endpoints)
}

fn refused(refusal: &Refusal) -> Failure {
    let (status, hint) = match refusal {
        Refusal::Full => (StatusCode::CONFLICT, "clear some that are no longer needed"),
        Refusal::None(_) => (StatusCode::NOT_FOUND, "GET /api/v1/overrides lists what there is"),
        Refusal::InUse(_) | Refusal::Unread(_) => (StatusCode::SERVICE_UNAVAILABLE, "restart this server"),
        Refusal::Exposed(..) | Refusal::NotKept(..) => {
            (StatusCode::SERVICE_UNAVAILABLE, "nothing has changed; make room or mend state_dir, and say it again")
        }
    };
    Failure::new(status, refusal.to_string(), hint)
}

fn kept_in(state: &State) -> Option<String> {
    state.operator.folder().map(|folder| folder.display().to_string())
}

/// `endpoints` are ascending.
fn still_out(state: &State, compiled: &Compiled, health: &Table, endpoints: &[u32]) -> StillOut {
    let overrides = state.operator.overrides();
    let words = overrides.words();
    let is_out =
        |name: &str| words.of_service(name).is_some_and(|said| matches!(said.word, Word::Drain | Word::Disable));
    let is_theirs = |service: &Service| {
        service.tiers.iter().any(|tier| {
            let of_pool = compiled.endpoints_of(tier.pool);
            let first = endpoints.partition_point(|endpoint| *endpoint < of_pool.start);
            endpoints.get(first).is_some_and(|endpoint| *endpoint < of_pool.end)
        })
    };
    let named = compiled.config.services.iter().map(|service| service.name.to_string()).zip(&compiled.services);
    let services = named.filter(|(name, service)| is_out(name) && is_theirs(service)).map(|(name, _)| name);
    let mut out = StillOut { services: services.collect(), ..StillOut::default() };
    for &index in endpoints {
        let endpoint = &compiled.endpoints[index as usize];
        let said = health.endpoints().get(index).map(|known| *known.operators()).unwrap_or_default();
        match endpoint.state_under(&said, unix_seconds_modulo()) {
            EndpointState::Disabled => out.disabled += 1,
            EndpointState::Draining => out.draining += 1,
            EndpointState::Enabled => out.weight_zero += usize::from(endpoint.weight == 0),
        }
    }
    out
}

/// How many of these endpoints keep another verdict than this word says.
fn outranked(health: &Table, endpoints: &[u32], said: &Override) -> usize {
    let Some(verdict) = Said::from(said).verdict else { return 0 };
    let known = endpoints.iter().filter_map(|index| health.endpoints().get(*index));
    known.filter(|known| known.operators().verdict.is_some_and(|holds| holds != verdict)).count()
}

fn shown(state: &State, said: Override) -> Shown {
    let endpoints = state.reloader.publisher().current().compiled.endpoints_under(&said.subject).len();
    let Override { subject, word, reason, author, since, expires } = said;
    Shown { subject, word, reason, author, since, expires, endpoints }
}
