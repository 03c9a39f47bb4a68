//! The HTTP probe: one request, the status, a text in the body where one is expected, and what is said of load.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::header::{CONNECTION, HOST, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Method, Request, Response, Url};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use super::failure::{excerpt, innermost};
use super::{Failure, Phase, Reports, body};
use crate::config::HttpCheck;
use crate::health::report::Source;
use crate::health::{Load, Rejection, orca};

/// How much of a body is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 << 10;

const USER_AGENT: &str = concat!("meridian/", env!("CARGO_PKG_VERSION"), " (health probe)");

/// Makes the request to `address`, whatever its host is called, and judges the response.
///
/// The name in the URL, which is the TLS server name and the default of the Host header, is the check's `host`, else the
/// target's own `hostname`, else the address. Where `host` is an address itself the certificate must be for the address
/// connected to: TLS has no server names that are addresses (RFC 6066 section 3).
///
/// No redirect is followed, no proxy and no kept connection used. Memory is bounded by the client's limit on headers
/// (about 400 KiB) and by [`MAX_BODY_BYTES`] and one read; time by `time`.
///
/// What the response says of load, whatever its status, goes to `reports`; that none of it can be read is no failure.
pub(super) async fn attempt(
    check: &HttpCheck,
    tls: &ClientConfig,
    hostname: Option<&str>,
    address: IpAddr,
    time: Duration,
    reports: &mut Reports,
) -> Result<(), Failure> {
    let deadline = Instant::now() + time;
    let url = url(check, hostname, address).ok_or_else(|| Failure::Local("host and path make no URL".into()))?;
    let client = client(check, tls, &url, address, time).map_err(|error| Failure::Local(innermost(&error)))?;
    let request = request(check, url)?;
    let timeout = |phase| Failure::Timeout { phase, after: time };
    let response = match timeout_at(deadline, client.execute(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) if error.is_timeout() && check.tls => return Err(timeout(Phase::Tls)),
        Ok(Err(error)) if error.is_timeout() => return Err(timeout(Phase::Connect)),
        Ok(Err(error)) => {
            return Err(Failure::from_causes(&error).unwrap_or_else(|| Failure::NotHttp(innermost(&error))));
        }
        Err(_) => return Err(timeout(Phase::Response)),
    };
    reports.extend(header_report(&response).map(|report| (Source::Header, report)));
    judge_status(check, &response)?;
    let text = check.expect_body.as_deref().unwrap_or_default();
    if text.is_empty() && check.load.is_empty() {
        return Ok(());
    }
    let mut body = Vec::new();
    let mut has_text = text.is_empty();
    let reading = read_body(response, &mut body, |body, new| {
        // Only what the new octets may complete is searched.
        let searched = new.saturating_sub(text.len().saturating_sub(1));
        has_text = has_text || body[searched..].windows(text.len()).any(|window| window == text.as_bytes());
        has_text && check.load.is_empty()
    });
    let read = timeout_at(deadline, reading).await.unwrap_or_else(|_| Err(timeout(Phase::Body)));
    if !check.load.is_empty() {
        let report = read.as_ref().map_err(|_| Rejection::Malformed).and_then(|()| body::load(&check.load, &body));
        reports.push((Source::Body, report));
    }
    if has_text {
        return Ok(());
    }
    read?;
    Err(Failure::BodyLacks { text: excerpt(text), searched_bytes: body.len() })
}

/// What the headers say of load, in the first form that is there; the one that can't be read comes last.
fn header_report(response: &Response) -> Option<Result<Load, Rejection>> {
    let headers = response.headers();
    let forms = [orca::HEADER, orca::JSON_HEADER, orca::BINARY_HEADER];
    let form = forms.into_iter().find(|form| headers.contains_key(*form))?;
    if form == orca::BINARY_HEADER {
        return Some(Err(Rejection::Unsupported));
    }
    // Several lines are one list (RFC 9110 section 5.3).
    let lines = headers.get_all(form).into_iter().map(|line| line.to_str().map_err(|_| Rejection::Malformed));
    let lines: Result<Vec<&str>, Rejection> = lines.collect();
    Some(lines.and_then(|lines| orca::parse(&lines.join(", "))))
}

/// The address is in the URL only where no name is.
fn url(check: &HttpCheck, hostname: Option<&str>, address: IpAddr) -> Option<Url> {
    let scheme = if check.tls { "https" } else { "http" };
    let own = SocketAddr::new(address, check.port).to_string();
    let host = check.host.as_deref().or(hostname).unwrap_or(&own);
    let mut url = Url::parse(&format!("{scheme}://{host}{}", check.path)).ok()?;
    if url.domain().is_none() {
        url.set_ip_host(address).ok()?;
    }
    url.set_port(Some(check.port)).ok()?;
    Some(url)
}

/// A client for one run: with the TLS configuration made beforehand it costs about a microsecond, and nothing is kept
/// per target.
fn client(
    check: &HttpCheck,
    tls: &ClientConfig,
    url: &Url,
    address: IpAddr,
    time: Duration,
) -> reqwest::Result<Client> {
    let mut client = Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .user_agent(USER_AGENT)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        // A little before the deadline, so that the error tells which of the two phases took too long.
        .connect_timeout(time - (time / 10).min(Duration::from_millis(5)));
    if let Some(name) = url.domain() {
        client = client.resolve(name, SocketAddr::new(address, check.port));
    }
    client.build()
}

fn request(check: &HttpCheck, url: Url) -> Result<Request, Failure> {
    let invalid = |what: &str| Failure::Local(format!("{} is not valid in a request", excerpt(what)));
    let method = Method::from_bytes(check.method.as_bytes()).map_err(|_| invalid(&check.method))?;
    let mut request = Request::new(method, url);
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some(host) = &check.host {
        headers.insert(HOST, HeaderValue::from_str(host).map_err(|_| invalid(host))?);
    }
    for (name, value) in &check.headers {
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid(name))?;
        headers.append(header, HeaderValue::from_str(value).map_err(|_| invalid(name))?);
    }
    Ok(request)
}

fn judge_status(check: &HttpCheck, response: &Response) -> Result<(), Failure> {
    let status = response.status().as_u16();
    if check.expect_status.iter().any(|range| range.contains(&status)) {
        return Ok(());
    }
    let expected = check.expect_status.clone();
    match response.headers().get(LOCATION) {
        Some(location) if response.status().is_redirection() => {
            let location = excerpt(&String::from_utf8_lossy(location.as_bytes()));
            Err(Failure::Redirect { status, location, expected })
        }
        _ => Err(Failure::Status { status, expected }),
    }
}

/// Reads into `body` until it ends, there is enough of it, or `is_enough` says so of it, given where the new octets begin.
async fn read_body(
    mut response: Response,
    body: &mut Vec<u8>,
    mut is_enough: impl FnMut(&[u8], usize) -> bool,
) -> Result<(), Failure> {
    while body.len() < MAX_BODY_BYTES {
        let Some(chunk) = response.chunk().await.map_err(|error| Failure::BodyBroken(innermost(&error)))? else {
            break;
        };
        let new = body.len();
        body.extend(chunk.iter().take(MAX_BODY_BYTES - new));
        if is_enough(body, new) {
            break;
        }
    }
    Ok(())
}
