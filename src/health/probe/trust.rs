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
            verifier.map_err(|error| Problem::new(format!("certificate authorities: {error}")))?
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
