//! The codes that name countries, continents and subdivisions.

use std::fmt;
use std::str::FromStr;

/// ISO 3166-1 alpha-2, upper case. Any two letters: which of them are assigned is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode([u8; 2]);

impl CountryCode {
    /// Reads two ASCII letters of either case.
    pub fn new(text: &str) -> Option<Self> {
        match *text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Some(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => None,
        }
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }
}

/// ISO 3166-2 such as `US-CA`: a country and one to three letters or digits, upper case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subdivision {
    /// The country.
    pub country: CountryCode,
    /// What follows the hyphen, padded with NUL.
    code: [u8; 3],
}

impl Subdivision {
    /// Reads a country, a hyphen and one to three ASCII letters or digits, of either case.
    pub fn new(text: &str) -> Option<Self> {
        let (country, code) = text.split_once('-')?;
        Self::within(CountryCode::new(country)?, code)
    }

    /// The subdivision that a country knows by this code, as databases give the two apart.
    pub fn within(country: CountryCode, code: &str) -> Option<Self> {
        if code.len() > 3 || code.is_empty() || !code.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
            return None;
        }
        let mut padded = [0; 3];
        for (to, from) in padded.iter_mut().zip(code.bytes()) {
            *to = from.to_ascii_uppercase();
        }
        Some(Self { country, code: padded })
    }

    /// What follows the hyphen.
    pub fn code(&self) -> &str {
        let length = self.code.iter().position(|&octet| octet == 0).unwrap_or(self.code.len());
        ascii(self.code.get(..length).unwrap_or_default())
    }
}

/// A continent by the two letters that MaxMind's databases use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Continent {
    /// AF
    Africa,
    /// AN
    Antarctica,
    /// AS
    Asia,
    /// EU
    Europe,
    /// NA
    NorthAmerica,
    /// OC
    Oceania,
    /// SA
    SouthAmerica,
}

impl Continent {
    /// Every continent, in the order of their codes.
    pub const ALL: [Self; 7] = [
        Self::Africa,
        Self::Antarctica,
        Self::Asia,
        Self::Europe,
        Self::NorthAmerica,
        Self::Oceania,
        Self::SouthAmerica,
    ];

    /// Reads a code of two letters, of either case.
    pub fn new(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|continent| continent.as_str().eq_ignore_ascii_case(text))
    }

    /// The two letters.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Africa => "AF",
            Self::Antarctica => "AN",
            Self::Asia => "AS",
            Self::Europe => "EU",
            Self::NorthAmerica => "NA",
            Self::Oceania => "OC",
            Self::SouthAmerica => "SA",
        }
    }
}

/// The octets as text; they are ASCII by construction.
fn ascii(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap_or_default()
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Subdivision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.country, self.code())
    }
}

impl fmt::Display for Continent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for CountryCode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text).ok_or("a country is two letters (ISO 3166-1), such as \"DE\"")
    }
}

impl FromStr for Subdivision {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
            .ok_or("a subdivision is a country, a hyphen and 1 to 3 letters or digits (ISO 3166-2), such as \"US-CA\"")
    }
}

impl FromStr for Continent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text).ok_or("a continent is one of \"AF\", \"AN\", \"AS\", \"EU\", \"NA\", \"OC\" and \"SA\"")
    }
}

#[cfg(test)]
mod tests {
    use super::{Continent, CountryCode, Subdivision};

    #[test]
    fn countries() {
        for (text, expected) in
            [("DE", Some("DE")), ("de", Some("DE")), ("D", None), ("DEU", None), ("D1", None), ("é", None)]
        {
            assert_eq!(CountryCode::new(text).map(|code| code.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn subdivisions() {
        for (text, expected) in [
            ("US-CA", Some("US-CA")),
            ("gb-eng", Some("GB-ENG")),
            ("FR-2a", Some("FR-2A")),
            ("AT-9", Some("AT-9")),
            ("US-", None),
            ("US", None),
            ("US-CALI", None),
            ("US-C_", None),
            ("USA-CA", None),
            ("US-C\0", None),
        ] {
            assert_eq!(Subdivision::new(text).map(|code| code.to_string()).as_deref(), expected, "{text}");
        }
        assert!(Subdivision::new("US-A") < Subdivision::new("US-AA"));
    }

    #[test]
    fn continents() {
        for continent in Continent::ALL {
            assert_eq!(continent.to_string().parse(), Ok(continent));
        }
        assert_eq!(Continent::new("eu"), Some(Continent::Europe));
        assert_eq!(Continent::new("XX"), None);
    }
}
