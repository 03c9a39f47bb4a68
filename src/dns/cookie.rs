//! DNS cookies (RFC 7873) as all servers of a name make them alike (RFC 9018).

use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// The client's part of a cookie.
const CLIENT_COOKIE_OCTETS: usize = 8;
/// Our part: version, reserved octets, time and hash.
pub(super) const SERVER_COOKIE_OCTETS: usize = 16;
/// The longest part that a server may make (RFC 7873 section 4.2).
const MAX_SERVER_COOKIE_OCTETS: usize = 32;
/// The version and the three reserved octets that follow it (RFC 9018 section 4).
const VERSION: [u8; 4] = [1, 0, 0, 0];
/// A cookie is good for an hour, and from a clock that is five minutes ahead (RFC 9018 section 4.3).
const MAX_AGE_SECONDS: i32 = 3600;
const MAX_LEAD_SECONDS: i32 = 300;
/// One older than this is made anew.
const RENEWAL_AGE_SECONDS: i32 = 1800;

/// The most secrets: the present one, those before and those to come.
pub const MAX_SECRETS: usize = 8;

/// A cookie option as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie<'a> {
    /// The client's part.
    pub client: &'a [u8; CLIENT_COOKIE_OCTETS],
    /// What we are said to have given it; empty where it has none.
    pub server: &'a [u8],
}

impl<'a> Cookie<'a> {
    /// Reads the option's data; nothing where its length is wrong (RFC 7873 section 5.2.2).
    pub fn read(data: &'a [u8]) -> Option<Self> {
        let (client, server) = data.split_first_chunk()?;
        (server.is_empty() || (8..=MAX_SERVER_COOKIE_OCTETS).contains(&server.len())).then_some(Self { client, server })
    }
}

/// What a cookie says of who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The client has none of ours yet.
    Missing,
    /// We did not make it, or not for this address, or too long ago.
    Bad,
    /// The client is where it says it is.
    Good,
}

/// A key of SipHash-2-4.
pub type Secret = [u8; 16];

/// The secrets that cookies are made with, at least one: new ones with the first, and those made with any are good.
///
/// So a secret is replaced without a client noticing: put the new one last on every server, then first on every server,
/// and take the old one away an hour later.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieSecrets(Vec<Secret>);

/// Says nothing of what is secret.
impl fmt::Debug for CookieSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CookieSecrets({})", self.0.len())
    }
}

/// Why a text holds no secrets, and which of its lines says so, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretsError {
    /// A line isn't 32 hexadecimal digits.
    Line(usize),
    /// There is no line.
    Empty,
    /// There are more than [`MAX_SECRETS`].
    TooMany(usize),
}

impl fmt::Display for SecretsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {} is not a secret of 32 hexadecimal digits", line + 1),
            Self::Empty => f.write_str("there is no secret"),
            Self::TooMany(_) => write!(f, "there are more than {MAX_SECRETS} secrets"),
        }
    }
}

impl CookieSecrets {
    /// One secret.
    pub fn one(secret: Secret) -> Self {
        Self(vec![secret])
    }

    /// Reads secrets, one of 32 hexadecimal digits per line; empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The first line that is neither.
    pub fn parse(text: &str) -> Result<Self, SecretsError> {
        let mut secrets = Vec::new();
        let lines = text.lines().map(str::trim).enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            if secrets.len() == MAX_SECRETS {
                return Err(SecretsError::TooMany(number));
            }
            secrets.push(secret(line).ok_or(SecretsError::Line(number))?);
        }
        if secrets.is_empty() { Err(SecretsError::Empty) } else { Ok(Self(secrets)) }
    }

    /// What a client's cookie says of it, and our part of the cookie that it is to use from now on.
    pub(super) fn judge(
        &self,
        cookie: &Cookie<'_>,
        peer: IpAddr,
        unix_seconds: u32,
    ) -> (Standing, [u8; SERVER_COOKIE_OCTETS]) {
        let fresh = || match self.0.first() {
            Some(secret) => made(secret, cookie.client, head(unix_seconds), peer),
            None => [0; SERVER_COOKIE_OCTETS],
        };
        if cookie.server.is_empty() {
            return (Standing::Missing, fresh());
        }
        let Ok(server) = <[u8; SERVER_COOKIE_OCTETS]>::try_from(cookie.server) else { return (Standing::Bad, fresh()) };
        let [a, b, c, d, e, f, g, h, ..] = server;
        let made_at = u32::from_be_bytes([e, f, g, h]);
        // Times are serial numbers (RFC 9018 section 4.3).
        let age = unix_seconds.wrapping_sub(made_at) as i32;
        if !(-MAX_LEAD_SECONDS..=MAX_AGE_SECONDS).contains(&age) {
            return (Standing::Bad, fresh());
        }
        // Octets that are reserved say nothing but are hashed as they came (RFC 9018 section 4.2).
        let is_made_with =
            |secret| a == VERSION[0] && made(secret, cookie.client, [a, b, c, d, e, f, g, h], peer) == server;
        match self.0.iter().position(is_made_with) {
            None => (Standing::Bad, fresh()),
            Some(0) if age <= RENEWAL_AGE_SECONDS => (Standing::Good, server),
            Some(_) => (Standing::Good, fresh()),
        }
    }
}

/// What our part begins with: version, reserved octets and time.
fn head(unix_seconds: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (VERSION, unix_seconds.to_be_bytes());
    [a, b, c, d, e, f, g, h]
}

/// Our part of a cookie that begins like this (RFC 9018 section 4).
fn made(
    secret: &Secret,
    client: &[u8; CLIENT_COOKIE_OCTETS],
    head: [u8; 8],
    peer: IpAddr,
) -> [u8; SERVER_COOKIE_OCTETS] {
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(client);
    hasher.write(&head);
    match peer {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    let mut server = [0; SERVER_COOKIE_OCTETS];
    server[..8].copy_from_slice(&head);
    server[8..].copy_from_slice(&hasher.finish().to_le_bytes());
    server
}

fn secret(text: &str) -> Option<Secret> {
    let digits = text.as_bytes();
    let mut secret = Secret::default();
    if digits.len() != 2 * secret.len() {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    for (octet, digits) in secret.iter_mut().zip(digits.as_chunks::<2>().0) {
        *octet = (value(digits[0])? << 4 | value(digits[1])?) as u8;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    const CLIENT: [u8; 8] = [0x24, 0x64, 0xc4, 0xab, 0xcf, 0x10, 0xc9, 0x57];
    const FIRST: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const OLD: &str = "dd3bdf9344b678b185a6f5cb60fca715";
    const NEW: &str = "445536bcd2513298075a5d379663c962";

    fn hexadecimal(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn judge(secrets: &[&str], client: &[u8; 8], server: &str, peer: &str, now: u32) -> (Standing, Vec<u8>) {
        let secrets = CookieSecrets::parse(&secrets.join("\n")).unwrap();
        let server = hexadecimal(server);
        let (standing, reply) = secrets.judge(&Cookie { client, server: &server }, peer.parse().unwrap(), now);
        (standing, reply.to_vec())
    }

    /// RFC 9018 appendix A.
    #[test]
    fn cookies_are_those_of_the_rfc() {
        let made = "010000005cf79f111f8130c3eee29480";
        let peer = "198.51.100.100";
        assert_eq!(judge(&[FIRST], &CLIENT, "", peer, 1_559_731_985), (Standing::Missing, hexadecimal(made)));
        // One that is new enough comes back as it is; later it is made anew.
        assert_eq!(judge(&[FIRST], &CLIENT, made, peer, 1_559_733_785), (Standing::Good, hexadecimal(made)));
        let renewed = hexadecimal("010000005cf7a871d4a564a1442aca77");
        assert_eq!(judge(&[FIRST], &CLIENT, made, peer, 1_559_734_385), (Standing::Good, renewed));

        // Reserved octets are hashed as they came, and sent as zeros.
        let client = [0xfc, 0x93, 0xfc, 0x62, 0x80, 0x7d, 0xdb, 0x86];
        let (peer, given) = ("203.0.113.203", "01abcdef5cf78f71a314227b6679ebf5");
        assert_eq!(judge(&[FIRST], &client, given, peer, 1_559_727_985), (Standing::Good, hexadecimal(given)));
        let renewed = hexadecimal("010000005cf7a9acf73a7810aca2381e");
        assert_eq!(judge(&[FIRST], &client, given, peer, 1_559_734_700), (Standing::Bad, renewed));

        // After a change of secrets the old cookie is good, and the new secret makes the next one.
        let client = [0x22, 0x68, 0x1a, 0xb9, 0x7d, 0x52, 0xc2, 0x98];
        let (peer, given) = ("2001:db8:220:1:59de:d0f4:8769:82b8", "010000005cf7c57926556bd0934c72f8");
        let renewed = hexadecimal("010000005cf7c609a6bb79d16625507a");
        assert_eq!(judge(&[NEW, OLD], &client, given, peer, 1_559_741_961), (Standing::Good, renewed));
    }

    #[test]
    fn a_cookie_is_good_for_one_address_and_one_hour() {
        let now = 1_559_731_985;
        let given = "010000005cf79f111f8130c3eee29480";
        let standing =
            |peer: &str, client: &[u8; 8], server: &str, now: u32| judge(&[NEW, FIRST], client, server, peer, now).0;
        let peer = "198.51.100.100";
        assert_eq!(standing(peer, &CLIENT, given, now), Standing::Good);
        assert_eq!(standing(peer, &CLIENT, given, now + 3600), Standing::Good);
        assert_eq!(standing(peer, &CLIENT, given, now + 3601), Standing::Bad);
        assert_eq!(standing(peer, &CLIENT, given, now - 300), Standing::Good);
        assert_eq!(standing(peer, &CLIENT, given, now - 301), Standing::Bad);
        assert_eq!(standing("198.51.100.101", &CLIENT, given, now), Standing::Bad);
        assert_eq!(standing(peer, &[0; 8], given, now), Standing::Bad);
        assert_eq!(standing(peer, &CLIENT, "010000005cf79f111f8130c3eee29481", now), Standing::Bad);
        assert_eq!(standing(peer, &CLIENT, "020000005cf79f111f8130c3eee29480", now), Standing::Bad);
        assert_eq!(standing(peer, &CLIENT, "010000005cf79f11", now), Standing::Bad);
        assert_eq!(judge(&[NEW], &CLIENT, given, peer, now).0, Standing::Bad);
    }

    #[test]
    fn times_wrap_around() {
        let client = [7; 8];
        let peer = "192.0.2.1".parse().unwrap();
        let secrets = CookieSecrets::one([1; 16]);
        let (_, made) = secrets.judge(&Cookie { client: &client, server: &[] }, peer, u32::MAX - 10);
        let cookie = Cookie { client: &client, server: &made };
        assert_eq!(secrets.judge(&cookie, peer, 1000).0, Standing::Good);
        assert_eq!(secrets.judge(&cookie, peer, 4000).0, Standing::Bad);
    }

    #[test]
    fn lengths() {
        for octets in 0..=64 {
            let data = vec![0; octets];
            let is_right = octets == 8 || (16..=40).contains(&octets);
            assert_eq!(Cookie::read(&data).is_some(), is_right, "{octets}");
        }
    }

    #[test]
    fn files_of_secrets() {
        let text = format!("# present\n{OLD}\n\n  {}\n", NEW.to_uppercase());
        assert_eq!(CookieSecrets::parse(&text).unwrap().0.len(), 2);
        assert_eq!(CookieSecrets::parse("\n# none\n"), Err(SecretsError::Empty));
        assert_eq!(CookieSecrets::parse(&format!("{OLD}\n{}", &NEW[1..])), Err(SecretsError::Line(1)));
        assert_eq!(CookieSecrets::parse(&format!("{}é", &NEW[2..])), Err(SecretsError::Line(0)));
        assert_eq!(CookieSecrets::parse(&format!("{OLD}\n").repeat(9)), Err(SecretsError::TooMany(8)));
        assert!(!format!("{:?}", CookieSecrets::parse(OLD)).contains("dd3b"));
    }
}
