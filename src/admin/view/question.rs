//! What is to be explained.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use domain::base::Rtype;
use ipnet::IpNet;

use crate::zone::{Name, rtype};

/// A question, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The name asked for.
    pub name: Name,
    /// The type asked for.
    pub qtype: Rtype,
    /// Who asks.
    pub client: Client,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Someone of whom nothing is known.
    Unknown,
    /// A resolver at this address, which says nothing of its own clients.
    Resolver(IpAddr),
    /// A client in this network, which the resolver names (RFC 7871). Host bits are zero.
    Subnet(IpNet),
}

/// Why something is no question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidQuestion {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: &'static str,
}

impl fmt::Display for InvalidQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.hint)
    }
}

impl std::error::Error for InvalidQuestion {}

impl Question {
    /// Reads a name, a type (A where none is given) and a client.
    pub fn parse(name: &str, qtype: Option<&str>, client: Option<&str>) -> Result<Self, InvalidQuestion> {
        let invalid = |message: String, hint| InvalidQuestion { message, hint };
        let parsed = Name::from_str(name).map_err(|error| {
            invalid(format!("\"{name}\" is no domain name ({error})"), "write one like www.gslb.example.com")
        })?;
        let text = qtype.unwrap_or("A");
        let qtype = Rtype::from_str(&text.to_ascii_uppercase())
            .map_err(|_| invalid(format!("\"{text}\" is no record type"), "write one like A, AAAA, MX or TYPE65"))?;
        if matches!(qtype.to_int(), 0 | rtype::OPT | rtype::TKEY..=rtype::MAILA) {
            return Err(invalid(
                format!("{text} asks for no data, so there is nothing to decide"),
                "write a type like A, AAAA or MX",
            ));
        }
        Ok(Self { name: parsed, qtype, client: client.map_or(Ok(Client::Unknown), Client::from_str)? })
    }
}

impl FromStr for Client {
    type Err = InvalidQuestion;

    /// Reads `ADDR`, a resolver, or `ADDR/LEN`, a subnet.
    fn from_str(text: &str) -> Result<Self, InvalidQuestion> {
        let invalid = |_| InvalidQuestion {
            message: format!("\"{text}\" is no client"),
            hint: "write a subnet like 192.0.2.0/24 or 2001:db8::/56, or a resolver's address like 192.0.2.53",
        };
        if text.contains('/') {
            text.parse().map(|network: IpNet| Self::Subnet(network.trunc())).map_err(|_| invalid(()))
        } else {
            text.parse().map(Self::Resolver).map_err(|_| invalid(()))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn questions_are_read_leniently_in_case_and_strictly_in_all_else() {
        let question = Question::parse("www.Example.com.", Some("aaaa"), Some("192.0.2.77/24")).unwrap();
        assert_eq!(question.name.to_string(), "www.Example.com");
        assert_eq!(question.qtype, Rtype::AAAA);
        assert_eq!(question.client, Client::Subnet("192.0.2.0/24".parse().unwrap()));
        let question = Question::parse("example.com", None, Some("2001:db8::1")).unwrap();
        assert_eq!((question.qtype, question.client), (Rtype::A, Client::Resolver("2001:db8::1".parse().unwrap())));
        assert_eq!(Question::parse("example.com", Some("TYPE65"), None).unwrap().qtype, Rtype::HTTPS);
        for (name, qtype, client, expected) in [
            ("a..b", None, None, "no domain name"),
            ("", None, None, "no domain name"),
            ("example.com", Some("AAAAA"), None, "\"AAAAA\" is no record type"),
            ("example.com", Some("AXFR"), None, "asks for no data"),
            ("example.com", None, Some("192.0.2"), "\"192.0.2\" is no client"),
            ("example.com", None, Some("192.0.2.0/33"), "is no client"),
        ] {
            let message = Question::parse(name, qtype, client).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
