//! The certificate that encrypted listeners show: read from PEM files, checked, and replaced while they serve.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use crate::config::{Encrypted, Problem, Problems, Source, Span};
use crate::pem;

/// The certificate in use. Handshakes take what is there when they begin; connections that are open go on.
#[derive(Debug)]
pub struct Certificate(ArcSwap<CertifiedKey>);

impl Certificate {
    /// Shows this one at first.
    pub fn new(first: Arc<CertifiedKey>) -> Self {
        Self(ArcSwap::new(first))
    }

    /// Shows this one from now on.
    pub fn replace(&self, next: Arc<CertifiedKey>) {
        self.0.store(next);
    }
}

impl ResolvesServerCert for Certificate {
    /// The same for every name: clients of an authoritative server know it by what delegates to it.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Reads the certificate with its chain, and its key (PKCS #8, SEC 1 or PKCS #1), each a PEM file of at most 1 MiB.
///
/// # Errors
/// Everything that is wrong with the two files, at the places where the configuration names them.
pub fn read(settings: &Encrypted, source: &Arc<Source>) -> Result<Arc<CertifiedKey>, Problems> {
    let problem = |(path, span): &(PathBuf, Span), reason: String, hint| {
        Problem::new(format!("{}: {reason}", path.display())).at(source, span.clone()).hint(hint)
    };
    let (certificate, key) = (&settings.certificate, &settings.key);
    let chain = pem::certificates(&certificate.0)
        .map_err(|reason| problem(certificate, reason, "name a PEM file with the certificate and then its issuers'"));
    let private_key = pem::private_key(&key.0)
        .map_err(|reason| problem(key, reason, "name a PEM file with the certificate's key, without a passphrase"));
    let (chain, private_key) = match (chain, private_key) {
        (Ok(chain), Ok(private_key)) => (chain, private_key),
        (chain, private_key) => return Err(Problems(chain.err().into_iter().chain(private_key.err()).collect())),
    };
    let pair = CertifiedKey::from_der(chain, private_key, &ring::default_provider());
    pair.map(Arc::new).map_err(|error| {
        let problem = match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => problem(
                key,
                format!("it is not the key of the certificate in {}", certificate.0.display()),
                "name the key that the first certificate in that file was made for",
            ),
            Error::InvalidCertificate(_) => {
                problem(certificate, error.to_string(), "its first certificate has to be the server's own")
            }
            _ => problem(key, error.to_string(), "use an ECDSA (P-256, P-384), Ed25519 or RSA key"),
        };
        problem.into()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::path::Path;

    use super::*;

    /// Reads files of the folder of test certificates.
    fn read_files(certificate: &str, key: &str) -> Result<Arc<CertifiedKey>, Problems> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
        let source = Arc::new(Source { path: "m.toml".into(), text: "certificate\nkey\n".to_owned() });
        let settings = Encrypted {
            certificate: (folder.join(certificate), 0..11),
            key: (folder.join(key), 12..15),
            tls: Vec::new(),
            https: Vec::new(),
            quic: Vec::new(),
            https_path: String::new(),
        };
        read(&settings, &source)
    }

    #[test]
    fn keys_of_every_kind_are_read() {
        for kind in ["ec-sec1", "rsa-pkcs1", "ed25519-pkcs8"] {
            read_files(&format!("{kind}.pem"), &format!("{kind}.key.pem")).unwrap();
        }
    }

    #[test]
    fn what_is_half_written_is_told_in_words_and_without_the_key() {
        let folder = std::env::temp_dir().join(format!("meridian-half-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.join(name));
        std::fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
        for (text, expected) in [
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n", "private key: the line `-----END PRIVATE KEY-----` is missing"),
            ("-----BEGIN PRIVATE KEY----- c2VjcmV0\n", "private key: a line begins with `-----BEGIN ` and does not"),
        ] {
            std::fs::write(&key, text).unwrap();
            // Absolute paths stand for themselves.
            let problems = read_files(certificate.to_str().unwrap(), key.to_str().unwrap()).unwrap_err().to_string();
            assert!(problems.contains("certificates: the line `-----END CERTIFICATE-----` is missing"), "{problems}");
            assert!(problems.contains(expected) && !problems.contains("c2VjcmV0"), "{problems}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_wrong_is_told_with_its_file_and_place() {
        for (certificate, key, expected) in [
            ("ec-sec1.pem", "rsa-pkcs1.key.pem", &["m.toml:2:1: ", "rsa-pkcs1.key.pem: it is not the key of"][..]),
            ("ec-sec1.key.pem", "ec-sec1.key.pem", &["m.toml:1:1: ", "ec-sec1.key.pem: no certificate in it"]),
            ("ec-sec1.pem", "ec-sec1.pem", &["m.toml:2:1: ", "ec-sec1.pem: no private key in it"]),
            ("absent", "absent too", &["m.toml:1:1: ", "absent: No such", "m.toml:2:1: ", "absent too: No such"]),
            (".", "ec-sec1.key.pem", &["m.toml:1:1: ", "Is a directory"]),
        ] {
            let problems = read_files(certificate, key).unwrap_err().0;
            let text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
            for part in expected {
                assert!(text.contains(part), "{part:?} is not in:\n{text}");
            }
        }
    }
}
