//! Whose certificates HTTPS probes trust.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::config::Problem;
use crate::pem;

/// The largest `ca_file`, in bytes.
const MAX_CA_FILE_BYTES: u64 = 4 << 20;

/// Trusts nobody: for plain HTTP, whose client asks for a TLS configuration all the same.
pub(crate) fn nobody() -> ClientConfig {
    client(RootCertStore::empty())
}

/// Trusts the system's authorities.
pub(super) fn system() -> Result<ClientConfig, Problem> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let reason = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(Problem::new(format!("no certificate authorities found on this system{reason}"))
            .hint("install the package ca-certificates, or give the HTTPS probes a ca_file"));
    }
    Ok(client(roots))
}

/// Trusts the authorities of this PEM file only.
pub(super) fn authorities(path: &Path) -> Result<ClientConfig, Problem> {
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
    Ok(client(roots))
}

fn client(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    #[allow(
        clippy::expect_used,
        reason = "fails only if the provider lacks suites for these versions, and ring has them"
    )]
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions).expect("ring");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    // A resumed session shows no certificate, so one that expired meanwhile would pass.
    config.resumption = Resumption::disabled();
    config
}
