//! The gRPC probe: `grpc.health.v1.Health/Check` says that the service is served.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>

use std::net::{IpAddr, SocketAddr};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT};
use hyper::{Method, Request};

use super::connect::{self, Deadline, Secured};
use super::failure::excerpt;
use super::trust::{Clients, Protocol};
use super::{Details, Failure, exchange, http};
use crate::config::{GrpcCheck, HttpVersion};

/// The largest answer with its prefix, in bytes; the one field that it may have takes two.
const MAX_ANSWER_BYTES: usize = 4 << 10;

/// Asks, and judges the answer.
pub(super) async fn attempt(
    check: &GrpcCheck,
    clients: Option<&Clients>,
    hostname: Option<&str>,
    address: IpAddr,
    deadline: Deadline,
    details: &mut Details,
) -> Result<(), Failure> {
    let name = check.host.as_deref().or(hostname);
    let secured =
        check.tls.as_ref().map(|tls| Secured::new(tls, clients, Protocol::Http2, name, address)).transpose()?;
    let address = SocketAddr::new(address, check.port);
    let authority = http::authority(name, address, check.tls.is_some(), check.host.is_some());
    let request = request(check, &authority)?;
    let stream = connect::open(address, check.source, secured, deadline, details).await?;
    let response = exchange::send(stream, HttpVersion::Http2, request, deadline, &mut details.phases).await?;
    let (head, mut body) = response.into_parts();
    if head.status != 200 {
        return Err(Failure::Grpc(format!("HTTP status {} in place of an answer", head.status.as_u16())));
    }
    // Where there is no answer, the status is in the head.
    if let Some(status) = status(&head.headers) {
        status?;
    }
    let mut answer = Vec::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await? {
        match frame.into_data() {
            Ok(data) if answer.len() + data.len() > MAX_ANSWER_BYTES => {
                return Err(Failure::Grpc(format!("an answer of more than {MAX_ANSWER_BYTES} bytes")));
            }
            Ok(data) => answer.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    trailers.as_ref().and_then(status).unwrap_or_else(|| Err(Failure::Grpc("an answer without a status".into())))?;
    match serving_status(&answer) {
        Some(1) => Ok(()),
        Some(0) => Err(Failure::NotServing("UNKNOWN".into())),
        Some(2) => Err(Failure::NotServing("NOT_SERVING".into())),
        Some(3) => Err(Failure::NotServing("SERVICE_UNKNOWN".into())),
        Some(other) => Err(Failure::NotServing(other.to_string())),
        None => Err(Failure::Grpc("an answer that can't be read".into())),
    }
}

fn request(check: &GrpcCheck, authority: &str) -> Result<Request<Full<Bytes>>, Failure> {
    let uri = http::uri(check.tls.is_some(), authority, "/grpc.health.v1.Health/Check");
    let uri = uri.ok_or_else(|| Failure::Local(format!("{} is not valid in a request", excerpt(authority))))?;
    let mut request = Request::new(Full::new(question(&check.service).into()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(USER_AGENT, http::AGENT);
    Ok(request)
}

/// `HealthCheckRequest { string service = 1 }`, uncompressed, behind its length.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        // At most 255, so a varint of at most two octets.
        match u8::try_from(service.len()).unwrap_or(u8::MAX) {
            length @ 0..0x80 => message.push(length),
            length => message.extend([length, 1]),
        }
        message.extend(service.bytes().take(u8::MAX.into()));
    }
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed
}

/// The `status` of a `HealthCheckResponse { ServingStatus status = 1 }`, 0 where it is absent; other fields are passed over.
fn serving_status(framed: &[u8]) -> Option<u64> {
    let ([compressed, length @ ..], mut message) = framed.split_first_chunk::<5>()?;
    if *compressed != 0 || u32::from_be_bytes(*length) as usize != message.len() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let length = match tag & 7 {
            0 => {
                let value = varint(&mut message)?;
                if tag >> 3 == 1 {
                    status = value;
                }
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        message = message.get(length..)?;
    }
    Some(status)
}

/// Takes an integer of seven bits to an octet, the lowest first.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&octet, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// What the status says that is a header or a trailer; nothing where there is none.
fn status(headers: &HeaderMap) -> Option<Result<(), Failure>> {
    let code = String::from_utf8_lossy(headers.get("grpc-status")?.as_bytes()).into_owned();
    if code == "0" {
        return Some(Ok(()));
    }
    let meaning = match code.as_str() {
        "1" => " CANCELLED",
        "2" => " UNKNOWN",
        "3" => " INVALID_ARGUMENT",
        "4" => " DEADLINE_EXCEEDED",
        // The health service does not know the service.
        "5" => " NOT_FOUND",
        "7" => " PERMISSION_DENIED",
        "8" => " RESOURCE_EXHAUSTED",
        // The server has no health service.
        "12" => " UNIMPLEMENTED",
        "13" => " INTERNAL",
        "14" => " UNAVAILABLE",
        "16" => " UNAUTHENTICATED",
        _ => "",
    };
    let message = headers.get("grpc-message").map(|message| String::from_utf8_lossy(message.as_bytes()));
    let message = message.map(|message| format!(": {message}")).unwrap_or_default();
    Some(Err(Failure::Grpc(excerpt(&format!("status {code}{meaning}{message}")))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_framed() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(200));
        assert_eq!((&long[..8], long.len()), (&[0, 0, 0, 0, 203, 0x0a, 200, 1][..], 5 + 203));
    }

    #[test]
    fn answers_are_read_or_rejected() {
        let framed = |message: &[u8]| {
            let mut framed = vec![0, 0, 0, 0, message.len() as u8];
            framed.extend(message);
            serving_status(&framed)
        };
        assert_eq!(framed(&[]), Some(0));
        assert_eq!(framed(&[8, 1]), Some(1));
        assert_eq!(framed(&[8, 0x82, 0]), Some(2));
        assert_eq!(
            framed(&[0x12, 2, 8, 2, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1]),
            Some(1),
            "other fields"
        );
        assert_eq!(framed(&[8, 1, 0x10, 2]), Some(1), "another number");
        for broken in [
            &[8][..],
            &[8, 0x80],
            &[0x12, 3, 1],
            &[0x0b],
            &[8; 12],
            &[0xff; 11],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert!(matches!(framed(broken), None | Some(8)), "{broken:?}");
        }
        assert_eq!(serving_status(&[0, 0, 0, 0, 3, 8, 1]), None, "cut short");
        assert_eq!(serving_status(&[0, 0, 0, 0, 1, 8, 1]), None, "more than was announced");
        assert_eq!(serving_status(&[1, 0, 0, 0, 2, 8, 1]), None, "compressed");
        assert_eq!(serving_status(&[0, 0, 0]), None);
    }
}
