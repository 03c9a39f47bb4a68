//! PEM files (RFC 7468), and what is wrong with them in words.

use std::path::Path;

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::regular_file;

/// Reads a whole file of at most so many bytes.
///
/// # Errors
/// Why it can't be read, or that it is larger.
pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, String> {
    let pem = regular_file::read(path, max_bytes).map_err(|error| error.to_string())?;
    pem.ok_or_else(|| format!("larger than {max_bytes} bytes"))
}

/// The largest file of a certificate with its issuers', or of a key, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a certificate and those of its issuers: at least one, in a file of at most 1 MiB.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path, MAX_BYTES)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err("no certificate in it".to_owned()),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("not a PEM file of certificates: {}", reason(&error))),
    }
}

/// Reads a private key (PKCS #8, SEC 1 or PKCS #1) without a passphrase, in a file of at most 1 MiB.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read(path, MAX_BYTES)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        Error::NoItemsFound => "no private key in it".to_owned(),
        error => format!("not a PEM file of a private key: {}", reason(&error)),
    })
}

/// Why a text is no PEM. It shows nothing of the text but a section's label, as there may be a key in it.
pub(crate) fn reason(error: &Error) -> String {
    match error {
        Error::MissingSectionEnd { end_marker } => {
            format!("the line `-----END {}-----` is missing", String::from_utf8_lossy(end_marker).escape_debug())
        }
        Error::IllegalSectionStart { .. } => {
            "a line begins with `-----BEGIN ` and does not end with `-----`".to_owned()
        }
        error => error.to_string(),
    }
}
