//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file beside `path`, with this name and mode, and puts it in the place of `path` in one step. No reader meets half of it,
/// and neither does one after the power failed: where this returns, it is on the disk.
///
/// # Errors
/// As those of files. Then `path` is as before, or whole and new but not yet certain to outlive a failure of the power.
pub(crate) fn replace(path: &Path, temporary_name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_file_name(temporary_name);
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        // Nothing better can be done about a leftover than to name the first error.
        let _ = fs::remove_file(&temporary);
    })?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
