//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file beside `path`, with this name and mode, and puts it in the place of `path` in one step. No reader meets half of it,
/// and neither does one after the power failed: where this returns, it is on the disk. What an earlier attempt left under that name is
/// removed; nothing that stands there is ever written to, be it a link to something else.
///
/// # Errors
/// As those of files. Then `path` is as before, or whole and new but not yet certain to outlive a failure of the power.
pub(crate) fn replace(path: &Path, temporary_name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_file_name(temporary_name);
    let write = || {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        // Nothing better can be done about a leftover than to name the first error.
        let _ = fs::remove_file(&temporary);
    })?;
    sync_name(path)
}

/// Waits until the name of what is at `path` is on the disk: that is a matter of its folder.
///
/// # Errors
/// As those of files.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_stands_in_the_way_is_removed_and_not_written_to() {
        let folder = std::env::temp_dir().join(format!("meridian-whole-file-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let [path, other, temporary] = ["file", "other", "file.new"].map(|name| folder.join(name));
        fs::write(&other, "another's").unwrap();
        for target in [&other, &folder.join("nothing")] {
            symlink(target, &temporary).unwrap();
            replace(&path, "file.new", 0o600, b"ours").unwrap();
            assert_eq!((fs::read(&path).unwrap(), fs::read(&other).unwrap()), (b"ours".into(), b"another's".into()));
            assert!(fs::symlink_metadata(&path).unwrap().is_file() && !folder.join("nothing").exists());
        }
        // One that can't be removed is named, and stays.
        fs::create_dir(&temporary).unwrap();
        assert!(replace(&path, "file.new", 0o600, b"more").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"ours");
        fs::remove_dir_all(&folder).unwrap();
    }
}
