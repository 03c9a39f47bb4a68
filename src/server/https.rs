//! DNS over HTTPS (RFC 8484), by HTTP/2 and HTTP/1.1.
//!
//! | status | when |
//! |---|---|
//! | 200 | the request was answered, whatever the answer says |
//! | 400 | no `dns` parameter, or not one of base64url; not a DNS request |
//! | 404 | another path |
//! | 405 | neither GET nor POST |
//! | 413 | a body of more than 65,535 octets |
//! | 414 | a URI of more than 8,192 octets |
//! | 415 | a body that is not `application/dns-message` |
//! | 503 | too much of unfinished bodies, or of responses not yet taken, on one connection |

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::Cursor;
use std::pin::pin;
use std::rc::Rc;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http_body_util::{BodyExt, Either, Empty, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::LULL;
use super::connections::{Excess, Ticket, Unfinished, Untaken};
use super::responder::Responder;
use super::thread::Stop;
use crate::zone::rtype;

/// The media type of requests and responses (RFC 8484 section 6).
const DNS_MESSAGE: &str = "application/dns-message";
/// The largest request.
const MAX_REQUEST_OCTETS: usize = 65_535;
/// The longest path with its query. A request that is larger in base64 has to come by POST.
const MAX_URI_OCTETS: usize = 8_192;
/// The head of a request, in octets.
const MAX_HEAD_OCTETS: usize = 16_384;
/// Header fields of a request.
const MAX_HEADERS: usize = 64;
/// Requests at once on one connection of HTTP/2.
const MAX_STREAMS: u32 = 100;
/// What one request, and all of a connection, may send before it is taken in.
const STREAM_WINDOW_OCTETS: u32 = 65_535;
const CONNECTION_WINDOW_OCTETS: u32 = 1 << 18;
/// What one response may hold in memory beyond what the client has taken.
const MAX_SEND_OCTETS: usize = 1 << 16;

/// Padding may be there, though RFC 8484 section 6 asks clients to leave it out.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The body of a response, counted until the last octet of it is sent.
type Content = Either<Full<Cursor<Untaken>>, Empty<Cursor<Untaken>>>;

/// What is served to all connections.
#[derive(Clone)]
pub(super) struct Https {
    path: Rc<str>,
    responder: Rc<RefCell<Responder>>,
    builder: auto::Builder<LocalExecutor>,
}

/// Runs the requests of HTTP/2 as tasks of the thread.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(async {
            future.await;
        });
    }
}

impl Https {
    /// Answers at this path.
    pub(super) fn new(path: String, responder: Rc<RefCell<Responder>>) -> Self {
        let mut builder = auto::Builder::new(LocalExecutor);
        // The time for a head is bounded by the connection's idle time-out.
        builder.http1().header_read_timeout(None).max_buf_size(MAX_HEAD_OCTETS).max_headers(MAX_HEADERS);
        builder
            .http2()
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW_OCTETS)
            .initial_connection_window_size(CONNECTION_WINDOW_OCTETS)
            .max_header_list_size(MAX_HEAD_OCTETS as u32)
            .max_send_buf_size(MAX_SEND_OCTETS);
        Self { path: path.into(), responder, builder }
    }

    /// Serves one connection until it has to end.
    pub(super) async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        ticket: Rc<Ticket>,
        mut stop: Stop,
    ) {
        let service = service_fn(|request| {
            let (https, ticket) = (self.clone(), ticket.clone());
            async move { Ok::<_, Infallible>(https.answer(request, ticket).await.unwrap_or_else(refusal)) }
        });
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        // What ends it with an error ends it for the client, too, which is then gone or told by HTTP itself.
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            () = ticket.idled() => ticket.counters().timed_out.increment(),
            _ = stop.changed() => {
                // What was sent before may still be on its way.
                if timeout(LULL, connection.as_mut()).await.is_ok() {
                    return;
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LULL, connection).await;
    }

    async fn answer(&self, request: Request<Incoming>, ticket: Rc<Ticket>) -> Result<Response<Content>, StatusCode> {
        if request.uri().path() != &*self.path {
            return Err(StatusCode::NOT_FOUND);
        }
        if request.method() == Method::GET {
            self.respond(&query_in_uri(&request)?, &ticket)
        } else if request.method() == Method::POST {
            self.respond(query_in_body(request, &ticket).await?.octets(), &ticket)
        } else {
            Err(StatusCode::METHOD_NOT_ALLOWED)
        }
    }

    fn respond(&self, query: &[u8], ticket: &Rc<Ticket>) -> Result<Response<Content>, StatusCode> {
        let mut responder = self.responder.borrow_mut();
        let mut batch = responder.batch();
        let message = batch.respond(query, ticket.client, ticket.transport).ok_or(StatusCode::BAD_REQUEST)?;
        // Not for shared caches: another client may be elsewhere.
        let freshness = HeaderValue::try_from(format!("private, max-age={}", freshness_secs(message)))
            .map_err(|_| StatusCode::BAD_REQUEST)?;
        let content = Untaken::new(ticket.clone(), message.to_vec()).ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        let mut response = Response::new(Either::Left(Full::new(Cursor::new(content))));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(DNS_MESSAGE));
        response.headers_mut().insert(CACHE_CONTROL, freshness);
        ticket.note_answer();
        Ok(response)
    }
}

fn refusal(status: StatusCode) -> Response<Content> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
    }
    response
}

/// The `dns` parameter of a GET.
fn query_in_uri(request: &Request<Incoming>) -> Result<Vec<u8>, StatusCode> {
    if request.uri().path_and_query().is_some_and(|uri| uri.as_str().len() > MAX_URI_OCTETS) {
        return Err(StatusCode::URI_TOO_LONG);
    }
    let mut parameters = request.uri().query().unwrap_or_default().split('&');
    let encoded = parameters.find_map(|parameter| parameter.strip_prefix("dns="));
    BASE64URL.decode(encoded.ok_or(StatusCode::BAD_REQUEST)?).map_err(|_| StatusCode::BAD_REQUEST)
}

/// The body of a POST.
async fn query_in_body(request: Request<Incoming>, ticket: &Rc<Ticket>) -> Result<Unfinished, StatusCode> {
    let media_type = request.headers().get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    let media_type = media_type.split(|octet| *octet == b';').next().unwrap_or_default();
    if !media_type.trim_ascii().eq_ignore_ascii_case(DNS_MESSAGE.as_bytes()) {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let mut query = Unfinished::new(ticket.clone(), MAX_REQUEST_OCTETS);
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(StatusCode::BAD_REQUEST) };
        let Ok(part) = frame.into_data() else { continue };
        query.extend(&part).map_err(|excess| match excess {
            Excess::Query => StatusCode::PAYLOAD_TOO_LARGE,
            Excess::Connection => StatusCode::SERVICE_UNAVAILABLE,
        })?;
    }
    Ok(query)
}

/// How long a response is good for, in seconds: the smallest TTL of the answer section; where that is empty, how long its
/// absence is good for; else not at all (RFC 8484 section 5.1).
fn freshness_secs(message: &[u8]) -> u32 {
    smallest_ttl(message).unwrap_or(0)
}

fn smallest_ttl(message: &[u8]) -> Option<u32> {
    let count = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let (questions, answers, authorities) = (count(4)?, count(6)?, count(8)?);
    let mut rest = message.get(12..)?;
    for _ in 0..questions {
        rest = after_name(rest)?.get(4..)?;
    }
    let mut smallest = None;
    // Absence is told by the SOA record alone.
    let records = if answers > 0 { answers } else { authorities };
    for _ in 0..records {
        let (fixed, after) = after_name(rest)?.split_at_checked(10)?;
        let &[type_high, type_low, _, _, a, b, c, d, length_high, length_low] = fixed else { return None };
        let (data, after) = after.split_at_checked(usize::from(u16::from_be_bytes([length_high, length_low])))?;
        rest = after;
        let mut ttl = u32::from_be_bytes([a, b, c, d]);
        if answers == 0 {
            if u16::from_be_bytes([type_high, type_low]) != rtype::SOA {
                continue;
            }
            ttl = ttl.min(u32::from_be_bytes(*data.last_chunk()?));
        }
        smallest = Some(smallest.map_or(ttl, |smallest: u32| smallest.min(ttl)));
    }
    smallest
}

/// What follows a name, which may end in a compression pointer.
fn after_name(mut octets: &[u8]) -> Option<&[u8]> {
    loop {
        match *octets.first()? {
            0 => return octets.get(1..),
            length @ 1..=63 => octets = octets.get(1 + usize::from(length)..)?,
            _ => return octets.get(2..),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    /// A header with these counts, the question `a. A`, and these records of the owner `a.`.
    fn message(answers: u8, authorities: u8, records: &[(u16, u32, &[u8])]) -> Vec<u8> {
        let mut message = vec![0, 0, 0x84, 0, 0, 1, 0, answers, 0, authorities, 0, 0];
        message.extend(b"\x01a\x00\x00\x01\x00\x01");
        for (rtype, ttl, data) in records {
            message.extend(b"\xC0\x0C");
            message.extend(rtype.to_be_bytes());
            message.extend([0, 1]);
            message.extend(ttl.to_be_bytes());
            message.extend((data.len() as u16).to_be_bytes());
            message.extend(*data);
        }
        message
    }

    const ADDRESS: [u8; 4] = [192, 0, 2, 1];
    /// Names of the root, and 60 s of absence.
    const SOA_DATA: [u8; 22] = [0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 60];

    #[test]
    fn a_response_is_good_for_its_smallest_ttl() {
        for (answers, authorities, records, expected) in [
            (1, 0, &[(rtype::A, 30, &ADDRESS[..])][..], 30),
            (2, 0, &[(rtype::A, 300, &ADDRESS), (rtype::A, 7, &ADDRESS)], 7),
            // What stands beside the answer doesn't count.
            (1, 1, &[(rtype::A, 30, &ADDRESS), (rtype::NS, 5, &[0])], 30),
            (0, 1, &[(rtype::SOA, 3600, &SOA_DATA)], 60),
            (0, 1, &[(rtype::SOA, 20, &SOA_DATA)], 20),
            // A referral, and an error.
            (0, 1, &[(rtype::NS, 3600, b"\x02ns\xC0\x0C")], 0),
            (0, 0, &[], 0),
        ] {
            assert_eq!(freshness_secs(&message(answers, authorities, records)), expected, "{records:?}");
        }
    }

    #[test]
    fn a_message_cut_short_is_good_for_nothing() {
        let whole = message(1, 0, &[(rtype::A, 30, &ADDRESS)]);
        for length in 0..whole.len() {
            assert_eq!(freshness_secs(&whole[..length]), 0, "{length}");
        }
    }
}
