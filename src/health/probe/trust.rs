//! Whose certificates probes trust, which one they show, and when a server's expires.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, InconsistentKeys, RootCertStore, SignatureScheme,
};

use super::clock;
use crate::config::{ClientCertificate, Problem, Trust};
use crate::pem;

/// The largest `ca_file`, in bytes.
const MAX_CA_FILE_BYTES: u64 = 4 << 20;

/// What a client asks for by ALPN (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Nothing.
    Any,
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

/// The configurations for each [`Protocol`] that a probe may speak; they share all that is large.
#[derive(Debug)]
pub(super) struct Clients([Arc<ClientConfig>; 3]);

impl Clients {
    /// Reads the files named there, or the system's authorities.
    pub(super) fn new(trust: &Trust) -> Result<Self, Problem> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = if trust.verify {
            let roots = match &trust.ca_file {
                Some(path) => authorities(path)?,
                None => system()?,
            };
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
            let verifier = verifier.map_err(|error| Problem::new(format!("certificate authorities: {error}")))?;
            Arc::new(Verified { verifier, steady: clock::steady })
        } else {
            Arc::new(Unverified(Arc::clone(&provider)))
        };
        let builder = builder(provider).dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match &trust.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let (chain, key) = files(client)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| mismatch(client, &error))?
            }
        };
        // A resumed session shows no certificate, so one that expired meanwhile would pass.
        config.resumption = Resumption::disabled();
        Ok(Self([&[][..], &[&b"http/1.1"[..]], &[&b"h2"[..]]].map(|protocols| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        })))
    }

    /// The configuration to speak this.
    pub(super) fn speaking(&self, protocol: Protocol) -> &Arc<ClientConfig> {
        &self.0[protocol as usize]
    }
}

/// Trusts nobody: for plain HTTP, whose client asks for a TLS configuration all the same.
pub(crate) fn nobody() -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    builder(provider).with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

fn builder(provider: Arc<CryptoProvider>) -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    #[allow(
        clippy::expect_used,
        reason = "fails only if the provider lacks suites for these versions, and ring has them"
    )]
    ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions).expect("ring")
}

/// The system's authorities.
fn system() -> Result<RootCertStore, Problem> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let reason = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(Problem::new(format!("no certificate authorities found on this system{reason}"))
            .hint("install the package ca-certificates, or give the probes over TLS a ca_file"));
    }
    Ok(roots)
}

/// The authorities of this PEM file only.
fn authorities(path: &Path) -> Result<RootCertStore, Problem> {
    let problem = |reason: String| {
        Problem::new(format!("ca_file {}: {reason}", path.display()))
            .hint("name a PEM file with the certificates of the authorities to trust")
    };
    let pem = pem::read(path, MAX_CA_FILE_BYTES).map_err(problem)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| problem(pem::reason(&error)))?;
        roots.add(certificate).map_err(|error| problem(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(problem("no certificate in it".into()));
    }
    Ok(roots)
}

fn files(
    client: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, rustls::pki_types::PrivateKeyDer<'static>), Problem> {
    let chain = pem::certificates(&client.certificate).map_err(|reason| {
        Problem::new(format!("client_certificate {}: {reason}", client.certificate.display()))
            .hint("name a PEM file with the certificate and then its issuers'")
    })?;
    let key = pem::private_key(&client.key).map_err(|reason| {
        Problem::new(format!("client_key {}: {reason}", client.key.display()))
            .hint("name a PEM file with the certificate's key, without a passphrase")
    })?;
    Ok((chain, key))
}

fn mismatch(client: &ClientCertificate, error: &Error) -> Problem {
    let (certificate, key) = (client.certificate.display(), client.key.display());
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            Problem::new(format!("client_key {key}: it is not the key of the certificate in {certificate}"))
                .hint("name the key that the first certificate in that file was made for")
        }
        Error::InvalidCertificate(_) => Problem::new(format!("client_certificate {certificate}: {error}"))
            .hint("its first certificate has to be the client's own"),
        _ => Problem::new(format!("client_key {key}: {error}")).hint("use an ECDSA (P-256, P-384), Ed25519 or RSA key"),
    }
}

/// Takes certificates that are valid now, or would be if the clock had not jumped: on a server whose clock is wrong, every target
/// would be down.
#[derive(Debug)]
struct Verified {
    verifier: Arc<WebPkiServerVerifier>,
    /// As [`clock::steady`].
    steady: fn(u64) -> u64,
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
        let verify = |now| self.verifier.verify_server_cert(certificate, intermediates, name, ocsp, now);
        let steady = (self.steady)(now.as_secs());
        match verify(now) {
            Err(Error::InvalidCertificate(
                error @ (Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }),
            )) if steady != now.as_secs() => verify(UnixTime::since_unix_epoch(Duration::from_secs(steady)))
                .map_err(|_| Error::InvalidCertificate(error)),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Takes any certificate; only that the server has its key is proved.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// When a certificate expires, in seconds since 1970; nothing where it can't be read, or after 2^64 seconds.
///
/// The library that verifies certificates tells it of those that have expired, which at the end of time is each.
pub(super) fn expires(certificate: &CertificateDer<'_>) -> Option<u64> {
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    let roots = RootCertStore::empty();
    match verify_server_cert_signed_by_trust_anchor(&certificate, &roots, &[], end_of_time, &[]) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => Some(not_after.as_secs()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    /// Half of its certificates' life, in seconds.
    const HALF: u64 = 1_000_000;

    #[test]
    fn a_clock_that_jumps_ends_no_certificate() {
        let now = UnixTime::now().as_secs();
        let at = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        let mut params = rcgen::CertificateParams::new(vec!["www.example.com".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (at(now - HALF), at(now + HALF));
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let name = |name: &'static str| ServerName::try_from(name).unwrap();
        let verify = |steady: fn(u64) -> u64, seconds: u64, name: ServerName<'_>| {
            let verified = Verified { verifier: Arc::clone(&verifier), steady };
            let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            verified.verify_server_cert(certificate.der(), &[], &name, &[], now).map_err(|error| error.to_string())
        };
        let host = || name("www.example.com");
        assert!(verify(|now| now, now, host()).is_ok());
        // By a clock that went on steadily it has expired, and was not valid yet.
        let expired = verify(|now| now, now + 3 * HALF, host()).unwrap_err();
        let early = verify(|now| now, now - 3 * HALF, host()).unwrap_err();
        assert!(expired.contains("expired"), "{expired}");
        assert!(early.contains("not valid yet"), "{early}");
        // By one that jumped there it is good, if it is by the time of before.
        assert!(verify(|now| now - 3 * HALF, now + 3 * HALF, host()).is_ok());
        assert!(verify(|now| now + 3 * HALF, now - 3 * HALF, host()).is_ok());
        // One that jumped to where it should be is as good.
        assert!(verify(|now| now - 3 * HALF, now, host()).is_ok());
        // What is wrong by both is told by the clock, and what else is wrong stays so.
        assert_eq!(verify(|now| now - HALF, now + 3 * HALF, host()).unwrap_err(), expired);
        assert!(verify(|now| now - 3 * HALF, now + 3 * HALF, name("other.example.com")).is_err());
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        for (year, seconds) in
            [(2019, 1_577_750_400), (2049, 2_524_521_600), (2050, 2_556_057_600), (9999, 253_402_214_400)]
        {
            let mut params = rcgen::CertificateParams::new(vec!["www.example.com".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 12, 31);
            let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            assert_eq!(expires(certificate.der()), Some(seconds), "{year}");
            let cut = CertificateDer::from(certificate.der()[..certificate.der().len() / 2].to_vec());
            assert_eq!(expires(&cut), None);
        }
    }
}
