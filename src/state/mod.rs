//! What outlives a restart: the folder that `[server] state_dir` names.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | nothing; who has it locked is the only process that writes here |
//! | `overrides` | the [`journal`] of operators' words |
//! | `overrides.damaged-TIME` | what such a file was before something in its middle was found damaged; the newest few |
//! | `verdicts` | the last [`verdicts`] of all targets |
//!
//! A folder that can't be used, as it is full, read-only or gone, keeps nothing from being served. What an operator says is
//! refused then, as it could not be kept. One that others can write to is refused, though: whoever writes there says what operators may.
//! For the same reason a file that is a link, or that everyone can write to, is neither read nor written.

pub mod journal;
pub mod verdicts;

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use siphasher::sip::SipHasher24;

pub use journal::{Journal, Refusal};

use crate::regular_file;
use crate::server::privileges;
use crate::whole_file::sync_name;

/// Files are the server's own.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// What everyone may do.
const EVERYONE_WRITES: u32 = 0o002;

/// Why this process may not write in the folder.
#[derive(Debug)]
enum LockError {
    /// Another process does.
    InUse,
    /// Others could too.
    Exposed(Exposure),
    /// It can't be used at all.
    Unusable(io::Error),
}

/// Who could write in the folder beside us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// Everyone, by its mode.
    Everyone(u32),
    /// Its owner, who is neither root nor the user as whom we run.
    Owner {
        /// Who it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone(mode) => write!(
                f,
                "its mode {mode:03o} lets everyone write there, and so say what operators may; `chmod o-w` ends that, or name a \
                 folder in it, which is made for this server alone"
            ),
            Self::Owner { owner, user } => write!(
                f,
                "it belongs to user {owner}, who could say there what operators may, and this server runs as user {user}; \
                 `chown {user}` makes it its own"
            ),
        }
    }
}

impl Exposure {
    /// Of a folder, if there is any.
    fn of(folder: &Path) -> io::Result<Option<Self>> {
        let (folder, user) = (folder.metadata()?, privileges::effective_user()?);
        Ok(if folder.mode() & EVERYONE_WRITES != 0 {
            Some(Self::Everyone(folder.mode() & 0o7777))
        } else if ![0, user].contains(&folder.uid()) {
            Some(Self::Owner { owner: folder.uid(), user })
        } else {
            None
        })
    }
}

/// Keeps others from writing in a folder until it is dropped. It is given back then by hand: a program that was just started, of which
/// the start is under way, has a copy of the file for a moment.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // What can't be given back goes with the file.
        let _ = self.0.unlock();
    }
}

/// Makes the folder if need be, and keeps others from writing in it.
fn lock(folder: &Path) -> Result<Lock, LockError> {
    let make = || {
        match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
            Ok(()) => sync_name(folder)?,
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !folder.is_dir() => return Err(error),
            Err(_) => {}
        }
        Exposure::of(folder)
    };
    if let Some(exposure) = make().map_err(LockError::Unusable)? {
        return Err(LockError::Exposed(exposure));
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(FILE_MODE);
    let file = open(&folder.join("lock"), &mut options).map_err(LockError::Unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(LockError::InUse),
        Err(TryLockError::Error(error)) => Err(LockError::Unusable(error)),
    }
}

/// Opens a file of the folder, if it is one and none but the server's own.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file =
        regular_file::open_with(path, options, libc::O_NOFOLLOW).map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) => io::Error::other("it is a symbolic link, and has to be a file"),
            _ => error,
        })?;
    match file.metadata()?.mode() {
        mode if mode & EVERYONE_WRITES == 0 => Ok(file),
        mode => {
            Err(io::Error::other(format!("its mode {:03o} lets everyone write; `chmod 600` ends that", mode & 0o777)))
        }
    }
}

/// Reads a whole file of the folder, of at most so many octets; nothing where it has more.
fn read(path: &Path, most_octets: u64) -> io::Result<Option<Vec<u8>>> {
    regular_file::read_opened(open(path, OpenOptions::new().read(true))?, most_octets)
}

/// Digits of a seal.
const SEAL_DIGITS: usize = 16;

/// A line that tells whether it is whole: the seal in hexadecimal digits, a space, and the text, which has no line feed.
fn sealed(text: &str) -> String {
    format!("{:016x} {text}\n", seal(text.as_bytes()))
}

/// The text of a line without its line feed; nothing where it is not as it was sealed.
fn unsealed(line: &[u8]) -> Option<&str> {
    let (digits, text) = line.split_at_checked(SEAL_DIGITS)?;
    let text = text.strip_prefix(b" ")?;
    let is_whole = digits == format!("{:016x}", seal(text)).as_bytes();
    if is_whole { std::str::from_utf8(text).ok() } else { None }
}

/// SipHash-2-4 with a key that everyone knows: it finds accidents, not forgeries.
fn seal(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    hasher.write(bytes);
    hasher.finish()
}
