//! Files with secrets: only their owner and group may read them, and only their owner may write.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::regular_file;

/// What others than the owner and the group may do, and the group may write.
const TOO_OPEN: u32 = 0o027;

/// Why a file can't be used.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// It can't be opened, or is no regular file.
    Unreadable(io::Error),
    /// Its mode lets others in.
    TooOpen(u32),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::TooOpen(mode) => {
                write!(f, "its mode {mode:03o} lets others in; `chmod 640` keeps it to its owner and group")
            }
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Opens a file that is closed to others.
pub(crate) fn open(path: &Path) -> Result<File, OpenError> {
    let file = regular_file::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & TOO_OPEN != 0 { Err(OpenError::TooOpen(mode)) } else { Ok(file) }
}
