//! The HTTP probe: one request, the status, and a text in the body where one is expected.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::header::{CONNECTION, HOST, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Method, Request, Response, Url};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use super::failure::{excerpt, innermost};
use super::{Failure, Phase};
use crate::config::HttpCheck;

/// How much of a body is searched, in bytes.
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
pub(super) async fn attempt(
    check: &HttpCheck,
    tls: &ClientConfig,
    hostname: Option<&str>,
    address: IpAddr,
    time: Duration,
) -> Result<(), Failure> {
    let deadline = Instant::now() + time;
    let url = url(check, hostname, address).ok_or_else(|| Failure::Local("host and path make no URL".into()))?;
    let client = client(check, tls, &url, address, time).map_err(|error| Failure::Local(innermost(&error)))?;
    let request = request(check, url)?;
    let timeout = |phase| Failure::Timeout { phase, after: time };
    let response = match timeout_at(deadline, client.execute(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) if error.is_timeout() && check.tls => return Err(timeout(Phase::ConnectOrTls)),
        Ok(Err(error)) if error.is_timeout() => return Err(timeout(Phase::Connect)),
        Ok(Err(error)) => {
            return Err(Failure::from_causes(&error).unwrap_or_else(|| Failure::NotHttp(innermost(&error))));
        }
        Err(_) => return Err(timeout(Phase::Response)),
    };
    judge_status(check, &response)?;
    match &check.expect_body {
        Some(text) if !text.is_empty() => {
            timeout_at(deadline, search_body(response, text)).await.unwrap_or_else(|_| Err(timeout(Phase::Body)))
        }
        _ => Ok(()),
    }
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

/// Reads until the text is found, the body ends or enough of it was searched.
async fn search_body(mut response: Response, text: &str) -> Result<(), Failure> {
    let wanted = text.as_bytes();
    let mut body: Vec<u8> = Vec::new();
    while body.len() < MAX_BODY_BYTES {
        let Some(chunk) = response.chunk().await.map_err(|error| Failure::BodyBroken(innermost(&error)))? else {
            break;
        };
        let room = MAX_BODY_BYTES - body.len();
        // Only what the new bytes may complete is searched.
        let searched = body.len().saturating_sub(wanted.len().saturating_sub(1));
        body.extend(chunk.iter().take(room));
        if body[searched..].windows(wanted.len()).any(|window| window == wanted) {
            return Ok(());
        }
    }
    Err(Failure::BodyLacks { text: excerpt(text), searched_bytes: body.len() })
}
