//! Files of the operator's, of which nothing but a regular file is accepted: to open or to read a pipe could block for ever.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a file for reading, without blocking.
///
/// # Errors
/// As open(2); and where it is a folder, a pipe, a device or a socket.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    open_with(path, OpenOptions::new().read(true), 0)
}

/// The same with these options, and these flags of open(2) beside.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_with(path: &Path, options: &mut OpenOptions, flags: i32) -> io::Result<File> {
    let file = options.custom_flags(libc::O_NONBLOCK | flags).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        Ok(file)
    } else if kind.is_dir() {
        Err(io::Error::from_raw_os_error(libc::EISDIR))
    } else {
        Err(io::Error::other("it is a pipe, a device or a socket, and has to be a file"))
    }
}

/// Reads a whole file of at most so many bytes, without blocking; nothing where it has more.
///
/// # Errors
/// As [`open`] and read(2).
pub(crate) fn read(path: &Path, most_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    read_opened(open(path)?, most_bytes)
}

/// The same of a file that is open.
///
/// # Errors
/// As read(2).
pub(crate) fn read_opened(file: File, most_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let expected = file.metadata()?.len();
    if expected > most_bytes {
        return Ok(None);
    }
    // With room for the byte that would be too many: it may grow while it is read.
    let mut bytes = Vec::with_capacity(expected as usize + 1);
    file.take(most_bytes + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most_bytes).then_some(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::fs;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_a_pipe_does_not_block() {
        let pipe = std::env::temp_dir().join(format!("meridian-pipe-{}", std::process::id()));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let error = open(&pipe).unwrap_err().to_string();
        fs::remove_file(&pipe).unwrap();
        assert!(error.starts_with("it is a pipe"), "{error}");
        assert!(open(Path::new("/dev/zero")).is_err());
        assert_eq!(open(Path::new("/")).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert!(open(Path::new(file!())).is_ok());
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let path = std::env::temp_dir().join(format!("meridian-bound-{}", std::process::id()));
        fs::write(&path, "four").unwrap();
        let [short, exact] = [3, 4].map(|most_bytes| read(&path, most_bytes).unwrap());
        fs::remove_file(&path).unwrap();
        assert_eq!((short, exact), (None, Some(b"four".to_vec())));
        // Its size is said to be 0.
        assert_eq!(read(Path::new("/proc/self/stat"), 3).unwrap(), None);
    }
}
