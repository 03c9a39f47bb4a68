//! The bearer token (RFC 6750).

use std::fmt;
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::secret_file::{self, OpenError};

/// The shortest and the longest token, in octets.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=1024;

/// What a request has to carry. It is never shown.
pub struct Token(Vec<u8>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Why a token can't be used.
#[derive(Debug)]
pub struct TokenError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    File(OpenError),
    Length(usize),
    Characters,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "token_file {path}: ")?;
        match &self.problem {
            Problem::File(error @ OpenError::Unreadable(_)) => {
                write!(f, "{error}; make one with `(umask 077; openssl rand -hex 32 > {path})`")
            }
            Problem::File(error @ OpenError::TooOpen(_)) => error.fmt(f),
            Problem::Length(0) => write!(f, "it is empty; `openssl rand -hex 32 > {path}` fills it"),
            Problem::Length(length) => {
                write!(f, "the token has {length} characters; {} to {} are wanted", LENGTHS.start(), LENGTHS.end())
            }
            Problem::Characters => f.write_str("the token is to be one line of ASCII letters, digits or -._~+/="),
        }
    }
}

impl std::error::Error for TokenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::File(OpenError::Unreadable(error)) => Some(error),
            _ => None,
        }
    }
}

impl Token {
    /// Reads a token that a server will ask for: 16 to 1024 characters in a file that is closed to others.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |problem| TokenError { path: path.to_owned(), problem };
        let file = secret_file::open(path).map_err(|error| failed(Problem::File(error)))?;
        let mut text = Vec::new();
        // One octet over the limit, and a line's end, are enough to tell that it is too long.
        let most = *LENGTHS.end() as u64 + 3;
        file.take(most).read_to_end(&mut text).map_err(|error| failed(Problem::File(error.into())))?;
        let token = text.trim_ascii();
        if !LENGTHS.contains(&token.len()) {
            return Err(failed(Problem::Length(token.len())));
        }
        let is_allowed = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~+/=".contains(octet);
        if !token.iter().all(is_allowed) {
            return Err(failed(Problem::Characters));
        }
        Ok(Self(token.to_vec()))
    }

    /// The token as text.
    pub fn as_str(&self) -> &str {
        // ASCII by construction.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Whether an Authorization header's value carries it. How long this takes tells nothing but the token's length.
    pub fn is_in(&self, authorization: &[u8]) -> bool {
        let Some((scheme, given)) = authorization.split_at_checked(b"Bearer ".len()) else { return false };
        if !scheme.eq_ignore_ascii_case(b"Bearer ") || given.len() != self.0.len() {
            return false;
        }
        let differing = given.iter().zip(&self.0).fold(0, |bits, (a, b)| black_box(bits | (a ^ b)));
        differing == 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const GOOD: &str = "0123456789abcdef";

    fn read(name: &str, text: &str, mode: u32) -> Result<Token, String> {
        let path = std::env::temp_dir().join(format!("meridian-token-{name}-{}", std::process::id()));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let read = Token::read(&path).map_err(|error| error.to_string());
        fs::remove_file(&path).unwrap();
        read
    }

    #[test]
    fn only_a_long_token_in_a_closed_file_will_do() {
        for (name, text, mode, expected) in [
            ("good", GOOD.to_owned(), 0o600, Ok(())),
            ("line", format!("{GOOD}\r\n"), 0o640, Ok(())),
            ("longest", "a".repeat(1024) + "\n", 0o400, Ok(())),
            ("empty", "\n".to_owned(), 0o600, Err("it is empty")),
            ("short", "0123456789abcde".to_owned(), 0o600, Err("15 characters")),
            ("long", "a".repeat(1025), 0o600, Err("1025 characters")),
            ("lines", format!("{GOOD}\n{GOOD}"), 0o600, Err("one line")),
            ("read-by-others", GOOD.to_owned(), 0o644, Err("chmod 640")),
            ("written-by-group", GOOD.to_owned(), 0o660, Err("mode 660")),
        ] {
            match (read(name, &text, mode), expected) {
                (Ok(token), Ok(())) => assert_eq!(token.as_str(), text.trim()),
                (Err(message), Err(part)) => assert!(message.contains(part), "{name}: {message}"),
                (read, expected) => panic!("{name}: {read:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn a_missing_file_says_how_to_make_one() {
        let message = Token::read(Path::new("/nowhere/admin.token")).unwrap_err().to_string();
        assert!(message.starts_with("token_file /nowhere/admin.token: "), "{message}");
        assert!(message.contains("openssl rand"), "{message}");
    }

    #[test]
    fn a_header_matches_whole_or_not_at_all() {
        let token = Token(GOOD.into());
        for (header, expected) in [
            ("Bearer 0123456789abcdef", true),
            ("bearer 0123456789abcdef", true),
            ("Bearer 0123456789abcdeF", false),
            ("Bearer 1123456789abcdef", false),
            ("Bearer 0123456789abcde", false),
            ("Bearer 0123456789abcdef ", false),
            ("Basic 0123456789abcdef", false),
            ("0123456789abcdef", false),
            ("Bearer ", false),
            ("", false),
        ] {
            assert_eq!(token.is_in(header.as_bytes()), expected, "{header:?}");
        }
        assert_eq!(format!("{token:?}"), "Token");
    }
}
