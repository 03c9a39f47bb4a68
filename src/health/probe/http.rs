//! The HTTP probe: one request, the status, what is expected of the body, and what is said of load.

use std::net::{IpAddr, SocketAddr};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::http::uri::Builder;
use hyper::{Method, Request, Response, Uri};
use regex::bytes::Regex;

use super::connect::{self, Deadline, Secured};
use super::exchange::{self, Body};
use super::failure::excerpt;
use super::trust::{Clients, Protocol};
use super::{Details, Failure, body};
use crate::config::{HttpCheck, HttpVersion};
use crate::health::report::Source;
use crate::health::{Load, Rejection, orca};

/// How much of a body is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 << 10;

pub(super) const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("meridian/", env!("CARGO_PKG_VERSION"), " (health probe)"));

/// Makes the request to `address`, whatever its host is called, and judges the response.
///
/// No redirect is followed, no proxy and no kept connection used. Memory is bounded by the limit on the head of a response
/// and by [`MAX_BODY_BYTES`] and one read; time by the deadline.
///
/// What the response says of load, whatever its status, goes to the details; that none of it can be read is no failure.
pub(super) async fn attempt(
    check: &HttpCheck,
    clients: Option<&Clients>,
    regex: Option<&Regex>,
    hostname: Option<&str>,
    address: IpAddr,
    deadline: Deadline,
    details: &mut Details,
) -> Result<(), Failure> {
    let protocol = match check.version {
        HttpVersion::Http1 => Protocol::Http1,
        HttpVersion::Http2 => Protocol::Http2,
    };
    let name = check.host.as_deref().or(hostname);
    let secured = check.tls.as_ref().map(|tls| Secured::new(tls, clients, protocol, name, address)).transpose()?;
    let address = SocketAddr::new(address, check.port);
    let request = request(check, &authority(name, address, check.tls.is_some(), check.host.is_some()))?;
    let stream = connect::open(address, check.source, secured, deadline, details).await?;
    let mut response = exchange::send(stream, check.version, request, deadline, &mut details.phases).await?;
    details.reports.extend(header_report(response.headers()).map(|report| (Source::Header, report)));
    judge_status(check, &response)?;
    judge_body(check, regex, response.body_mut(), details).await
}

/// What the headers say of load, in the first form that is there; the one that can't be read comes last.
fn header_report(headers: &HeaderMap) -> Option<Result<Load, Rejection>> {
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

/// Whom a request is for: as configured, else the target with its port, where that is not the usual one.
pub(super) fn authority(name: Option<&str>, address: SocketAddr, is_tls: bool, is_whole: bool) -> String {
    let is_usual = address.port() == if is_tls { 443 } else { 80 };
    match name {
        Some(name) if is_whole || is_usual => name.to_owned(),
        Some(name) => format!("{name}:{}", address.port()),
        None if is_usual && address.is_ipv6() => format!("[{}]", address.ip()),
        None if is_usual => address.ip().to_string(),
        None => address.to_string(),
    }
}

fn request(check: &HttpCheck, authority: &str) -> Result<Request<Full<Bytes>>, Failure> {
    let invalid = |what: &str| Failure::Local(format!("{} is not valid in a request", excerpt(what)));
    let mut request = Request::new(Full::default());
    *request.method_mut() = Method::from_bytes(check.method.as_bytes()).map_err(|_| invalid(&check.method))?;
    *request.uri_mut() = match check.version {
        HttpVersion::Http1 => check.path.parse().map_err(|_| invalid(&check.path))?,
        HttpVersion::Http2 => uri(check.tls.is_some(), authority, &check.path)
            .ok_or_else(|| invalid(&format!("{authority}{}", check.path)))?,
    };
    let headers = request.headers_mut();
    if check.version == HttpVersion::Http1 {
        headers.insert(HOST, HeaderValue::from_str(authority).map_err(|_| invalid(authority))?);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    for (name, value) in &check.headers {
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid(name))?;
        headers.append(header, HeaderValue::from_str(value).map_err(|_| invalid(name))?);
    }
    headers.entry(USER_AGENT).or_insert(AGENT);
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    Ok(request)
}

/// What HTTP/2 names in its pseudo-headers (RFC 9113 section 8.3.1).
pub(super) fn uri(is_tls: bool, authority: &str, path: &str) -> Option<Uri> {
    let scheme = if is_tls { "https" } else { "http" };
    Builder::new().scheme(scheme).authority(authority).path_and_query(path).build().ok()
}

fn judge_status<B>(check: &HttpCheck, response: &Response<B>) -> Result<(), Failure> {
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

/// Reads as much of the body as is needed: nothing where nothing is expected of it, up to the expected text where that is
/// all, and else the whole.
async fn judge_body(
    check: &HttpCheck,
    regex: Option<&Regex>,
    incoming: &mut Body,
    details: &mut Details,
) -> Result<(), Failure> {
    let text = check.expect_body.as_deref().unwrap_or_default();
    let needs_whole = check.expect_body_regex.is_some() || check.expect_field.is_some();
    let is_read_to_end = needs_whole || !check.load.is_empty();
    if text.is_empty() && !is_read_to_end {
        return Ok(());
    }
    let mut body = Vec::new();
    let mut has_text = text.is_empty();
    let read = read_body(incoming, &mut body, |body, new| {
        // Only what the new octets may complete is searched.
        let searched = new.saturating_sub(text.len().saturating_sub(1));
        has_text = has_text || body[searched..].windows(text.len()).any(|window| window == text.as_bytes());
        has_text && !is_read_to_end
    });
    let read = read.await;
    if !check.load.is_empty() {
        let report = read.as_ref().map_err(|_| Rejection::Malformed).and_then(|()| body::load(&check.load, &body));
        details.reports.push((Source::Body, report));
    }
    if !has_text || needs_whole {
        read?;
    }
    let searched_bytes = body.len();
    if !has_text {
        return Err(Failure::BodyLacks { text: excerpt(text), searched_bytes });
    }
    if let Some(regex) = check.expect_body_regex.as_ref().filter(|_| !regex.is_some_and(|regex| regex.is_match(&body)))
    {
        return Err(Failure::BodyUnlike { regex: excerpt(regex.as_str()), searched_bytes });
    }
    check.expect_field.as_ref().map_or(Ok(()), |expected| body::judge(expected, &body))
}

/// Reads into `body` until it ends, there is enough of it, or `is_enough` says so of it, given where the new octets begin.
async fn read_body(
    incoming: &mut Body,
    body: &mut Vec<u8>,
    mut is_enough: impl FnMut(&[u8], usize) -> bool,
) -> Result<(), Failure> {
    while body.len() < MAX_BODY_BYTES {
        let Some(frame) = incoming.frame().await? else { break };
        let Ok(data) = frame.into_data() else { continue };
        let new = body.len();
        body.extend(data.iter().take(MAX_BODY_BYTES - new));
        if is_enough(body, new) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_host_as_configured_else_its_target() {
        let (ipv4, ipv6) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]));
        for (name, address, port, is_tls, is_whole, expected) in [
            (None, ipv4, 80, false, false, "192.0.2.1"),
            (None, ipv4, 443, true, false, "192.0.2.1"),
            (None, ipv4, 443, false, false, "192.0.2.1:443"),
            (None, ipv4, 80, true, false, "192.0.2.1:80"),
            (None, ipv6, 80, false, false, "[2001:db8::1]"),
            (None, ipv6, 8080, false, false, "[2001:db8::1]:8080"),
            (Some("www.example.com"), ipv4, 80, false, false, "www.example.com"),
            (Some("www.example.com"), ipv4, 8443, true, false, "www.example.com:8443"),
            (Some("www.example.com"), ipv4, 8443, true, true, "www.example.com"),
        ] {
            assert_eq!(authority(name, SocketAddr::new(address, port), is_tls, is_whole), expected);
        }
    }
}
