//! Certificates for the tests.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::SupportedProtocolVersion;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::TlsAcceptor;

use super::{Behaviour, OK, Server};

/// An authority, and servers and clients with certificates signed by it.
pub(super) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: rcgen::Issuer::new(params, key), certificate }
    }

    /// A certificate for these names until so many seconds after 1970, and its key.
    fn pair(&self, names: &[&str], until: u64) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(until);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A server's configuration for these names. With an authority for clients, those must show a certificate of it.
    pub(super) fn config(&self, names: &[&str], until: u64, clients: Option<&Self>) -> ServerConfig {
        self.config_of(rustls::DEFAULT_VERSIONS, names, until, clients)
    }

    /// The same with these versions of TLS.
    pub(super) fn config_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        names: &[&str],
        until: u64,
        clients: Option<&Self>,
    ) -> ServerConfig {
        let (certificate, key) = self.pair(names, until);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(versions).unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(authority.certificate.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        builder.with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap()).unwrap()
    }

    /// The configuration of a server that shows a certificate for these names, but has another key.
    pub(super) fn impostor(&self, names: &[&str]) -> ServerConfig {
        let ((certificate, _), (_, key)) = (self.pair(names, in_days(9)), self.pair(names, in_days(9)));
        showing(SingleCertAndKey::from(certified(&certificate, &key)))
    }

    /// The configuration of a server whose certificate for these names is another one, that has expired, once that is told.
    pub(super) fn expiring(&self, names: &[&str], is_expired: Arc<AtomicBool>) -> ServerConfig {
        let [fresh, expired] = [9, -9].map(|days| self.pair(names, in_days(days)));
        let [fresh, expired] = [fresh, expired].map(|(certificate, key)| Arc::new(certified(&certificate, &key)));
        showing(Expiring { fresh, expired, is_expired })
    }

    /// A server that answers [`OK`] and has a certificate for these names.
    pub(super) async fn server(&self, names: &[&str], until: u64) -> Server {
        listen(self.config(names, until, None)).await
    }

    /// A file with its certificate.
    pub(super) fn file(&self) -> PathBuf {
        file(&self.certificate.pem())
    }

    /// Files with a client's certificate and its key.
    pub(super) fn client_files(&self) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.pair(&["prober.example.com"], in_days(1));
        (file(&certificate.pem()), file(&key.serialize_pem()))
    }
}

fn certified(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> CertifiedKey {
    let key = any_supported_type(&key.serialize_der().try_into().unwrap()).unwrap();
    CertifiedKey::new(vec![certificate.der().clone()], key)
}

fn showing(certificate: impl ResolvesServerCert + 'static) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    builder.with_no_client_auth().with_cert_resolver(Arc::new(certificate))
}

/// Shows a certificate, and then one that has expired.
#[derive(Debug)]
struct Expiring {
    fresh: Arc<CertifiedKey>,
    expired: Arc<CertifiedKey>,
    is_expired: Arc<AtomicBool>,
}

impl ResolvesServerCert for Expiring {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(if self.is_expired.load(Ordering::SeqCst) { &self.expired } else { &self.fresh }))
    }
}

/// A server that answers [`OK`].
pub(super) async fn listen(config: ServerConfig) -> Server {
    let tls = TlsAcceptor::from(Arc::new(config));
    Server::listen(Ipv4Addr::LOCALHOST.into(), Behaviour::send(OK), Some(tls)).await.unwrap()
}

/// So many days from now, in seconds after 1970.
pub(super) fn in_days(days: i64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    now.checked_add_signed(days * 86_400).unwrap()
}

/// A file in cargo's folder for those of tests.
pub(super) fn file(text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{:016x}.pem", fastrand::u64(..)));
    std::fs::write(&path, text).unwrap();
    path
}

/// A file with the certificate of an authority that has signed nothing.
pub(super) fn ca_file() -> PathBuf {
    Authority::new("Another").file()
}
