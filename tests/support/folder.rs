//! A temporary folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Removed with all that is in it when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new one among the build's own temporary files.
    pub(crate) fn new(name: &str) -> Self {
        Self::within(Path::new(env!("CARGO_TARGET_TMPDIR")), name)
    }

    /// A new one that every user can reach, whoever owns the build.
    pub(crate) fn public(name: &str) -> Self {
        Self::within(&std::env::temp_dir(), name)
    }

    /// A new one that no disk slows down, where the system has a place for that.
    pub(crate) fn in_memory(name: &str) -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::within(memory, name) } else { Self::new(name) }
    }

    fn within(parent: &Path, name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = Self(parent.join(format!("meridian-{name}-{}-{count}", std::process::id())));
        fs::create_dir(&folder.0).unwrap_or_else(|error| panic!("{}: {error}", folder.0.display()));
        fs::set_permissions(&folder.0, Permissions::from_mode(0o755)).unwrap();
        folder
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Puts a file in place at once, as an updater does: written beside it and renamed over what was there.
    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.put_with_mode(name, content, 0o644)
    }

    /// As [`Self::put`], but closed to others.
    pub(crate) fn put_secret(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.put_with_mode(name, content, 0o640)
    }

    fn put_with_mode(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let (path, temporary) = (self.path(name), self.path(&format!("{name}.new")));
        fs::write(&temporary, content).unwrap_or_else(|error| panic!("{}: {error}", temporary.display()));
        fs::set_permissions(&temporary, Permissions::from_mode(mode)).unwrap();
        fs::rename(&temporary, &path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over lies in a folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
