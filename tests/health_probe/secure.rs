//! TLS: whose certificates are trusted, which names they are for, when they expire, and who the prober is.

use std::sync::atomic::{AtomicBool, Ordering};

use meridian::config::{ClientCertificate, TlsCheck};
use meridian::health::Table;

use super::authority::{file, in_days, listen};
use super::*;

/// Names in the certificate, the days until it expires, the check's host and `ca_file`, and what the probe says.
type CertificateCase<'a> = (&'a [&'a str], i64, Option<&'a str>, &'a PathBuf, &'a str);

#[tokio::test]
async fn certificates_are_verified() {
    let authority = Authority::new("Ours");
    let (trusted, foreign, namesake) = (authority.file(), ca_file(), Authority::new("Ours").file());
    let unknown = "certificate not accepted: its issuer is unknown (for a private authority set ca_file)";
    let bad_signature = "certificate not accepted: it is not signed by the issuer that it names";
    let wrong_name = "certificate not accepted: it is not for www.example.com but for ";
    let cases: [CertificateCase<'_>; 10] = [
        (&["www.example.com"], 9, Some("www.example.com"), &trusted, "ok"),
        (&["*.example.com"], 9, Some("www.example.com"), &trusted, "ok"),
        (&["www.example.com"], 9, Some("www.example.com:8443"), &trusted, "ok"),
        (&["127.0.0.1"], 9, None, &trusted, "ok"),
        (&["127.0.0.1"], 9, Some("192.0.2.1"), &trusted, "ok"),
        (&["www.example.com"], 9, Some("www.example.com"), &foreign, unknown),
        (&["www.example.com"], 9, Some("www.example.com"), &namesake, bad_signature),
        (&["www.example.net"], 9, Some("www.example.com"), &trusted, wrong_name),
        (&["www.example.com"], 9, None, &trusted, "certificate not accepted: it is not for 127.0.0.1 but for "),
        (&["www.example.com"], -9, Some("www.example.com"), &trusted, "certificate not accepted: expired 9 days ago"),
    ];
    for (names, days, host, ca_file, expected) in cases {
        let server = authority.server(names, in_days(days)).await;
        let check = HttpCheck { tls: trusting(ca_file.clone()), host: host.map(Into::into), ..server.check() };
        let said = match probe_http(check).await.outcome {
            Ok(()) => "ok".into(),
            Err(failure) => failure.to_string(),
        };
        assert!(said.starts_with(expected), "{names:?} {days} {host:?}: expected {expected:?}, said {said:?}");
    }
}

#[tokio::test]
async fn a_hostname_target_is_the_tls_name() {
    let authority = Authority::new("Ours");
    let server = authority.server(&["localhost"], in_days(9)).await;
    let check = HttpCheck { tls: trusting(authority.file()), ..server.check() };
    assert_eq!(probe(&key(Check::Http(check), hostname("localhost"), AMPLE)).await.outcome, Ok(()));
}

#[tokio::test]
async fn without_a_ca_file_the_systems_authorities_are_trusted_and_no_others() {
    let server = Authority::new("Ours").server(&["127.0.0.1"], in_days(9)).await;
    let check = Check::Http(HttpCheck { tls: verified(None), ..server.check() });
    match Prober::new([&check]) {
        Ok(prober) => {
            let failure = prober.observe(&key(check, loopback(), AMPLE)).await.unwrap().outcome.unwrap_err();
            assert!(matches!(failure, Failure::Certificate(_)), "{failure}");
        }
        Err(problems) => assert!(problems.to_string().contains("no certificate authorities"), "{problems}"),
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n").await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    let server = Server { port, requests: Arc::default() };
    let check = HttpCheck { tls: trusting(ca_file()), ..server.check() };
    assert_eq!(probe_http(check).await.outcome, Err(Failure::Tls("the answer is not TLS".into())));
}

#[test]
fn bad_ca_files_are_all_named() {
    let junk = ca_file();
    std::fs::write(&junk, "not a certificate").unwrap();
    let server = Server { port: 443, requests: Arc::default() };
    let check = |path: &PathBuf| Check::Http(HttpCheck { tls: trusting(path.clone()), ..server.check() });
    let missing = PathBuf::from("/nonexistent/ca.pem");
    let problems = Prober::new([&check(&junk), &check(&missing), &check(&ca_file())]).unwrap_err();
    assert_eq!(problems.0.len(), 2);
    let text = problems.to_string();
    assert!(text.contains("/nonexistent/ca.pem: No such file"), "{text}");
    assert!(text.contains(&format!("{}: no certificate in it", junk.display())), "{text}");
}

/// What a probe of type tls says: `ok`, or why it failed.
async fn probe_tls(server: &Server, tls: Tls) -> (String, Observation) {
    let check = Check::Tls(TlsCheck { port: server.port, source: None, tls });
    let observation = probe(&key(check, loopback(), AMPLE)).await;
    let said = observation.outcome.as_ref().map_or_else(ToString::to_string, |()| "ok".into());
    (said, observation)
}

#[tokio::test]
async fn a_tls_probe_sends_nothing_and_verifies_what_an_https_probe_does() {
    let authority = Authority::new("Ours");
    let server = authority.server(&["www.example.com"], in_days(9)).await;
    let named = |name: &str| Tls { server_name: Some(name.into()), ..trusting(authority.file()).unwrap() };
    assert_eq!(probe_tls(&server, named("www.example.com")).await.0, "ok");
    assert_eq!(probe_tls(&server, named("www.example.com.")).await.0, "ok");
    let (said, _) = probe_tls(&server, named("www.example.net")).await;
    assert!(said.starts_with("certificate not accepted: it is not for www.example.net but for "), "{said}");
    let (said, _) = probe_tls(&server, trusting(authority.file()).unwrap()).await;
    assert!(said.starts_with("certificate not accepted: it is not for 127.0.0.1 but for "), "{said}");
    assert!(server.requests.lock().unwrap().iter().all(String::is_empty));
}

#[tokio::test]
async fn the_server_name_is_apart_from_the_host() {
    let authority = Authority::new("Ours");
    let server = authority.server(&["tls.example.com"], in_days(9)).await;
    let tls = Tls { server_name: Some("tls.example.com".into()), ..trusting(authority.file()).unwrap() };
    let check = HttpCheck { tls: Some(tls), host: Some("www.example.com".into()), ..server.check() };
    assert_eq!(probe_http(check).await.outcome, Ok(()));
    assert!(server.request().contains("host: www.example.com\r\n"));
}

#[tokio::test]
async fn what_is_not_verified_may_be_anyones_and_expired() {
    let until = in_days(-400);
    let server = Authority::new("Anyone's").server(&["www.example.net"], until).await;
    let trust = Trust { verify: false, ca_file: None, client: None };
    let tls = Tls { trust, ..verified(None).unwrap() };
    let (said, observation) = probe_tls(&server, tls.clone()).await;
    assert_eq!((said.as_str(), observation.details.certificate_expires), ("ok", Some(until)));
    let check = HttpCheck { tls: Some(tls), host: Some("www.example.com".into()), ..server.check() };
    assert_eq!(probe_http(check).await.outcome, Ok(()));
}

#[tokio::test]
async fn what_is_not_verified_must_be_the_servers_own() {
    let server = listen(Authority::new("Anyone's").impostor(&["www.example.com"])).await;
    let trust = Trust { verify: false, ca_file: None, client: None };
    let (said, _) = probe_tls(&server, Tls { trust, ..verified(None).unwrap() }).await;
    assert_eq!(said, "certificate not accepted: it is not signed by the issuer that it names");
}

#[tokio::test]
async fn a_certificate_is_looked_at_by_each_run() {
    let authority = Authority::new("Ours");
    let is_expired = Arc::new(AtomicBool::new(false));
    let server = listen(authority.expiring(&["127.0.0.1"], Arc::clone(&is_expired))).await;
    let check =
        Check::Http(HttpCheck { tls: trusting(authority.file()), expect_body: Some("OK".into()), ..server.check() });
    // One prober, which could resume a session without being shown a certificate.
    let prober = Prober::new([&check]).unwrap();
    let key = key(check, loopback(), AMPLE);
    for _ in 0..3 {
        assert_eq!(prober.observe(&key).await.unwrap().outcome, Ok(()));
    }
    is_expired.store(true, Ordering::SeqCst);
    let failure = prober.observe(&key).await.unwrap().outcome.unwrap_err();
    assert_eq!(failure, Failure::Certificate("expired 9 days ago".into()));
}

#[tokio::test]
async fn a_certificate_that_expires_soon_is_a_poor_success() {
    let authority = Authority::new("Ours");
    // Days until it expires, days that there must be, and what the observation says of it.
    for (days, min_days_left, expected) in [
        (30, 0, None),
        (30, 30, None),
        (30, 31, Some("certificate expires in 30 days")),
        (1, 14, Some("certificate expires in 24 hours")),
    ] {
        // The test may take a minute.
        let until = in_days(days) + 60;
        let server = authority.server(&["127.0.0.1"], until).await;
        let tls = Tls { min_days_left, ..trusting(authority.file()).unwrap() };
        let (said, observation) = probe_tls(&server, tls.clone()).await;
        assert_eq!(observation.details.certificate_expires, Some(until));
        assert_eq!((said.as_str(), observation.details.poor.as_deref()), ("ok", expected), "{days} {min_days_left}");
        let shown = observation.to_string();
        assert!(shown.ends_with(&expected.map(|reason| format!(", but {reason}")).unwrap_or_default()), "{shown}");
        // An https probe looks at it, too.
        let http = probe_http(HttpCheck { tls: Some(tls.clone()), ..server.check() }).await;
        assert_eq!(http.details.poor, observation.details.poor);
        // And the table counts it as poor.
        let key = key(Check::Tls(TlsCheck { port: server.port, source: None, tls }), loopback(), AMPLE);
        let mut table = Table::default().rebuilt([key.clone()], []);
        table.observe(&key, observation, std::time::Instant::now()).unwrap();
        let counts = table.targets().iter().next().unwrap().counts;
        assert_eq!(counts.poor, u64::from(expected.is_some()));
    }
    let server = authority.server(&["127.0.0.1"], in_days(-9)).await;
    let (said, _) = probe_tls(&server, Tls { min_days_left: 14, ..trusting(authority.file()).unwrap() }).await;
    assert_eq!(said, "certificate not accepted: expired 9 days ago");
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_it_has_one() {
    let (ours, clients) = (Authority::new("Ours"), Authority::new("The clients'"));
    let client = |authority: &Authority| {
        let (certificate, key) = authority.client_files();
        Some(ClientCertificate { certificate, key })
    };
    for (shown, is_served) in [(client(&clients), true), (client(&ours), false), (None, false)] {
        let server = listen(ours.config(&["127.0.0.1"], in_days(9), Some(&clients))).await;
        let trust = Trust { verify: true, ca_file: Some(ours.file()), client: shown };
        let tls = Tls { trust, ..verified(None).unwrap() };
        let observation = probe_http(HttpCheck { tls: Some(tls), ..server.check() }).await;
        match observation.outcome {
            Ok(()) => assert!(is_served),
            // It may be told why, or find the connection gone when it sends its request.
            Err(Failure::Tls(reason)) => {
                assert!(!is_served && reason.starts_with("the server refused with "), "{reason}");
            }
            Err(failure) => assert!(!is_served && matches!(failure, Failure::Reset), "{failure}"),
        }
    }
}

#[test]
fn bad_files_of_clients_are_named() {
    let authority = Authority::new("Ours");
    let ((certificate, key), (_, other_key)) = (authority.client_files(), authority.client_files());
    let (junk, missing) = (file("no PEM"), PathBuf::from("/nonexistent/probe.pem"));
    for (certificate, key, expected) in [
        (
            &certificate,
            &other_key,
            format!("client_key {}: it is not the key of the certificate in ", other_key.display()),
        ),
        (&junk, &key, format!("client_certificate {}: no certificate in it", junk.display())),
        (&certificate, &junk, format!("client_key {}: no private key in it", junk.display())),
        (&missing, &key, "client_certificate /nonexistent/probe.pem: No such file".to_owned()),
    ] {
        let client = Some(ClientCertificate { certificate: certificate.clone(), key: key.clone() });
        let trust = Trust { verify: true, ca_file: Some(authority.file()), client };
        let tls = Tls { trust, ..verified(None).unwrap() };
        let problems = Prober::new([&Check::Tls(TlsCheck { port: 443, source: None, tls })]).unwrap_err().to_string();
        assert!(problems.contains(&expected), "{problems}");
    }
}

#[tokio::test]
async fn broken_tls_is_a_failure_in_time() {
    let authority = Authority::new("Ours");
    let tls = || trusting(authority.file()).unwrap();
    let check = |server: &Server, tls| Check::Tls(TlsCheck { port: server.port, source: None, tls });
    // A handshake that never gets further, one octet of a record at a time.
    let drip = Server::start(Behaviour::DripAtOnce(b"\x16\x03\x03\x40\x00")).await;
    for server in [Server::start(Behaviour::Silent).await, drip] {
        let observation = probe(&key(check(&server, tls()), loopback(), SHORT)).await;
        assert_eq!(observation.outcome.unwrap_err().to_string(), "timed out after 300 ms while agreeing on TLS");
        assert!(observation.took < SHORT + SLACK, "{:?}", observation.took);
        assert!(observation.details.phases.connect.is_some() && observation.details.phases.tls.is_none());
    }
    // An alert, a record that is none, and the end of the connection.
    for (sent, expected) in [
        (&b"\x15\x03\x03\x00\x02\x02\x28"[..], "TLS failed: the server refused with HandshakeFailure"),
        (b"\x16\x03\x03\x00\x04\x63\x00\x00\x00", "TLS failed: "),
        (b"\x00\x00\x00\x00\x00\x00\x00\x00\x00", "TLS failed: the answer is not TLS"),
        (b"", "connection closed by the other side"),
    ] {
        let server = Server::start(Behaviour::SendAtOnce(sent)).await;
        let (said, _) = probe_tls(&server, tls()).await;
        assert!(said.starts_with(expected), "{sent:?}: {said}");
    }
}
