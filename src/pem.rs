//! PEM files (RFC 7468), and what is wrong with them in words.

use std::path::Path;

use rustls::pki_types::pem::Error;

use crate::regular_file;

/// Reads a whole file of at most so many bytes.
///
/// # Errors
/// Why it can't be read, or that it is larger.
pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, String> {
    let pem = regular_file::read(path, max_bytes).map_err(|error| error.to_string())?;
    pem.ok_or_else(|| format!("larger than {max_bytes} bytes"))
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
