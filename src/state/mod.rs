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
//! refused then, as it could not be kept.

pub mod journal;
pub mod verdicts;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use siphasher::sip::SipHasher24;

pub use journal::{Journal, Refusal};

/// Files are the server's own.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Why this process may not write in the folder.
#[derive(Debug)]
enum LockError {
    /// Another process does.
    InUse,
    /// It can't be used at all.
    Unusable(io::Error),
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
    let open = || {
        match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !folder.is_dir() => return Err(error),
            _ => {}
        }
        OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(folder.join("lock"))
    };
    let file = open().map_err(LockError::Unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(LockError::InUse),
        Err(TryLockError::Error(error)) => Err(LockError::Unusable(error)),
    }
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
