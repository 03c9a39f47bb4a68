//! HTTP/2: by prior knowledge and by TLS, answered well, badly, too much and not at all.

use std::convert::Infallible;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::TlsAcceptor;

use super::authority::in_days;
use super::*;

/// A frame with no settings, as each side sends it first (RFC 9113 section 3.4).
pub(super) const SETTINGS: &[u8] = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// A frame that wants an answer (RFC 9113 section 6.7).
pub(super) const PING: &[u8] = b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678";

/// The body of a response that a test makes.
pub(super) type Body = BoxBody<Bytes, Infallible>;

/// A server of HTTP/2 that answers each request by itself; its port.
pub(super) async fn serve(
    tls: Option<TlsAcceptor>,
    respond: impl Fn(&Request<Incoming>, Bytes) -> Response<Body> + Clone + Send + Sync + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (tls, respond) = (tls.clone(), respond.clone());
            tokio::spawn(async move {
                let service = service_fn(move |mut request: Request<Incoming>| {
                    let respond = respond.clone();
                    async move {
                        let body = request.body_mut().collect().await.map(|body| body.to_bytes());
                        Ok::<_, Infallible>(respond(&request, body.unwrap_or_default()))
                    }
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                // Errors mean that the prober went away, which is its right.
                let _ = match tls {
                    None => server.serve_connection(TokioIo::new(stream), service).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
                        Err(_) => Ok(()),
                    },
                };
            });
        }
    });
    port
}

pub(super) fn whole(text: &str) -> Body {
    Full::new(Bytes::from(text.to_owned())).boxed()
}

/// A body that comes to no end: a frame each time that there is room for one.
pub(super) struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16_384])))))
    }
}

fn check(port: u16) -> HttpCheck {
    let server = Server { port, requests: Arc::default() };
    HttpCheck { version: HttpVersion::Http2, ..server.check() }
}

async fn said(check: HttpCheck, time: Duration) -> String {
    let observation = probe(&key(Check::Http(check), loopback(), time)).await;
    assert!(observation.took < time + SLACK, "{:?}", observation.took);
    observation.outcome.map_or_else(|failure| failure.to_string(), |()| "ok".into())
}

#[tokio::test]
async fn a_request_of_http2_is_as_configured() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&seen);
    let port = serve(None, move |request, _| {
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let fields = ["host", "x-token", "user-agent", "connection"].map(header);
        requests.lock().unwrap().push((request.method().to_string(), request.uri().to_string(), fields));
        Response::new(whole("state=ok"))
    })
    .await;
    let ours = HttpCheck {
        method: "POST".into(),
        path: "/healthz?deep=1".into(),
        host: Some("www.example.com".into()),
        headers: vec![("X-Token".into(), "a".into())],
        expect_body: Some("=ok".into()),
        ..check(port)
    };
    assert_eq!(said(ours, AMPLE).await, "ok");
    assert_eq!(said(check(port), AMPLE).await, "ok");
    let agent = Some(format!("meridian/{} (health probe)", env!("CARGO_PKG_VERSION")));
    let fields = |token: Option<&str>| [None, token.map(str::to_owned), agent.clone(), None];
    let expected = [
        ("POST".to_owned(), "http://www.example.com/healthz?deep=1".to_owned(), fields(Some("a"))),
        ("GET".to_owned(), format!("http://127.0.0.1:{port}/"), fields(None)),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn answers_of_http2_decide_as_those_of_http1() {
    let port = serve(None, |request, _| match request.uri().path() {
        "/away" => Response::builder().status(302).header("location", "/there").body(whole("")).unwrap(),
        "/busy" => Response::builder().status(503).body(whole("")).unwrap(),
        "/endless" => Response::new(Endless.boxed()),
        "/headers" => Response::builder().header("x", "y".repeat(200_000)).body(whole("")).unwrap(),
        _ => Response::new(whole("all good")),
    })
    .await;
    for (path, text, expected) in [
        ("/", Some("all good"), "ok"),
        ("/", Some("bad"), "body lacks \"bad\" in its first 8 bytes"),
        ("/away", None, "status 302 redirects to /there, which is not followed (expected 200-299)"),
        ("/busy", None, "status 503 (expected 200-299)"),
        ("/endless", Some("all good"), "body lacks \"all good\" in its first 65536 bytes"),
        ("/endless", None, "ok"),
        ("/headers", None, "no valid HTTP response: "),
    ] {
        let check = HttpCheck { path: path.into(), expect_body: text.map(Into::into), ..check(port) };
        let said = said(check, AMPLE).await;
        assert!(said.starts_with(expected), "{path}: {said}");
    }
}

#[tokio::test]
async fn with_tls_the_server_must_offer_http2() {
    let authority = Authority::new("Ours");
    for (offered, version, expected) in [
        (&["h2", "http/1.1"][..], HttpVersion::Http2, "ok"),
        (&["http/1.1"], HttpVersion::Http2, "TLS failed: the server does not offer the version of HTTP asked for"),
        (&[], HttpVersion::Http2, "TLS failed: the server does not offer HTTP/2"),
        (&["h2"], HttpVersion::Http1, "TLS failed: the server does not offer the version of HTTP asked for"),
    ] {
        let mut config = authority.config(&["www.example.com"], in_days(9), None);
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let port = serve(Some(Arc::new(config).into()), |_, _| Response::new(whole("all good"))).await;
        let check =
            HttpCheck { tls: trusting(authority.file()), host: Some("www.example.com".into()), version, ..check(port) };
        assert_eq!(said(check, AMPLE).await, expected, "{offered:?}");
    }
}

#[tokio::test]
async fn what_is_no_http2_is_told_in_time() {
    let late = "timed out after 300 ms while waiting for the response";
    let invalid = "no valid HTTP response: ";
    for (behaviour, expected) in [
        (Behaviour::Silent, late),
        (Behaviour::DripAtOnce(SETTINGS), late),
        (Behaviour::SendAtOnce(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), invalid),
        (Behaviour::SendAtOnce(b"220 mail.example.com ESMTP\r\n"), invalid),
        // A frame that is longer than may be.
        (Behaviour::SendAtOnce(b"\xff\xff\xff\x04\x00\x00\x00\x00\x00"), invalid),
    ] {
        let server = Server::start(behaviour).await;
        let said = said(check(server.port), SHORT).await;
        assert!(said.starts_with(expected), "{said}");
    }
    let server = Server::start(Behaviour::CloseAtOnce).await;
    assert_ne!(said(check(server.port), SHORT).await, "ok");
    // Pings without end, faster than they can be answered.
    let server = Server::start(Behaviour::FloodAtOnce(SETTINGS, PING)).await;
    let said = said(check(server.port), SHORT).await;
    assert!(said.starts_with(late) || said.starts_with(invalid), "{said}");
}

#[tokio::test]
async fn nothing_of_a_run_outlives_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (observed, ended) = tokio::join!(said(check(port), SHORT), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(SETTINGS).await;
        // Each wants an answer, and nobody reads those: so each side comes to wait for the other.
        while stream.write_all(&PING.repeat(1_000)).await.is_ok() {}
        std::time::Instant::now()
    });
    assert_ne!(observed, "ok");
    assert!(ended.elapsed() < SLACK);
}
