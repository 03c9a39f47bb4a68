//! The standard health service of gRPC.

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::HeaderMap;
use meridian::config::GrpcCheck;

use super::authority::{in_days, listen};
use super::http2::{self, Body, whole};
use super::*;

/// An answer with its length before it, and a status after it.
fn answer(message: &[u8], status: Option<(&str, &str)>) -> Response<Body> {
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    let body = http_body_util::Full::new(Bytes::from(framed));
    let body = match status {
        None => body.boxed(),
        Some((status, message)) => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.parse().unwrap());
            trailers.insert("grpc-message", message.parse().unwrap());
            body.with_trailers(async move { Some(Ok(trailers)) }).boxed()
        }
    };
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn check(port: u16, service: &str) -> GrpcCheck {
    GrpcCheck { port, source: None, tls: None, host: None, service: service.into() }
}

async fn said(check: GrpcCheck) -> String {
    let observation = probe(&key(Check::Grpc(check), loopback(), AMPLE)).await;
    observation.outcome.map_or_else(|failure| failure.to_string(), |()| "ok".into())
}

#[tokio::test]
async fn what_the_health_service_says_decides() {
    let served = Some(("0", ""));
    let port = http2::serve(None, move |request, question| {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!((request.method().as_str(), &request.headers()["te"]), ("POST", &"trailers".parse().unwrap()));
        assert_eq!(request.headers()["content-type"], "application/grpc");
        // Behind the length of the message, the tag of the field and the length of the name.
        let service = question.get(7..).map(|name| String::from_utf8(name.to_vec()).unwrap()).unwrap_or_default();
        match service.as_str() {
            "" | "shop.Cart" => answer(&[8, 1], served),
            "unknown" => answer(&[], served),
            "stopped" => answer(&[8, 2], served),
            "strange" => answer(&[8, 77], served),
            "missing" => {
                let response = Response::builder().header("grpc-status", "5").header("grpc-message", "unknown service");
                response.body(whole("")).unwrap()
            }
            "none" => Response::builder().header("grpc-status", "12").body(whole("")).unwrap(),
            "late" => answer(&[8, 1], Some(("14", "shutting down"))),
            "statusless" => answer(&[8, 1], None),
            "garbage" => Response::builder()
                .body(
                    whole("\u{1}garbage")
                        .with_trailers(async {
                            Some(Ok([("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect()))
                        })
                        .boxed(),
                )
                .unwrap(),
            "proxy" => Response::builder().status(502).body(whole("Bad Gateway")).unwrap(),
            "long" => answer(&[0x12; 10_000], served),
            other => panic!("{other}"),
        }
    })
    .await;
    for (service, expected) in [
        ("", "ok"),
        ("shop.Cart", "ok"),
        ("unknown", "the health service says UNKNOWN"),
        ("stopped", "the health service says NOT_SERVING"),
        ("strange", "the health service says 77"),
        ("missing", "no answer of the health service: status 5 NOT_FOUND: unknown service"),
        ("none", "no answer of the health service: status 12 UNIMPLEMENTED"),
        ("late", "no answer of the health service: status 14 UNAVAILABLE: shutting down"),
        ("statusless", "no answer of the health service: an answer without a status"),
        ("garbage", "no answer of the health service: an answer that can't be read"),
        ("proxy", "no answer of the health service: HTTP status 502 in place of an answer"),
        ("long", "no answer of the health service: an answer of more than 4096 bytes"),
    ] {
        assert_eq!(said(check(port, service)).await, expected, "{service}");
    }
}

#[tokio::test]
async fn over_tls_the_certificate_is_verified() {
    let authority = Authority::new("Ours");
    let mut config = authority.config(&["www.example.com"], in_days(9), None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let port = http2::serve(Some(Arc::new(config).into()), |request, _| {
        assert_eq!(request.uri().host(), Some("www.example.com"));
        answer(&[8, 1], Some(("0", "")))
    })
    .await;
    let check = |tls| GrpcCheck { tls, host: Some("www.example.com".into()), ..check(port, "shop.Cart") };
    assert_eq!(said(check(trusting(authority.file()))).await, "ok");
    let unknown = said(check(trusting(ca_file()))).await;
    assert!(unknown.starts_with("certificate not accepted: its issuer is unknown"), "{unknown}");
    let mut config = authority.config(&["www.example.com"], in_days(9), None);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let server = listen(config).await;
    let check = GrpcCheck { port: server.port, ..check(trusting(authority.file())) };
    assert_eq!(said(check).await, "TLS failed: the server does not offer the version of HTTP asked for");
}

#[tokio::test]
async fn what_is_no_grpc_is_a_failure_in_time() {
    for behaviour in
        [Behaviour::Silent, Behaviour::CloseAtOnce, Behaviour::SendAtOnce(b"HTTP/1.1 400 Bad Request\r\n\r\n")]
    {
        let server = Server::start(behaviour).await;
        let observation = probe(&key(Check::Grpc(check(server.port, "")), loopback(), SHORT)).await;
        assert!(observation.outcome.is_err_and(|failure| !failure.is_local()));
        assert!(observation.took < SHORT + SLACK, "{:?}", observation.took);
    }
}
