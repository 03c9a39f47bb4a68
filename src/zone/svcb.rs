//! SVCB and HTTPS data (RFC 9460).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use domain::base::scan::{ConvertSymbols, EntrySymbol, Scanner, Symbol};
use domain::utils::base64;

use super::scan::{EntryScanner, ScanError};

/// A parameter's value: how it is written, and what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// Names or numbers of parameters.
    Keys,
    /// Strings of 1 to 255 octets (RFC 9460 section 7.1).
    Strings,
    /// None at all.
    Nothing,
    /// A port.
    Port,
    /// IPv4 addresses.
    Ipv4,
    /// Octets in base 64.
    Base64,
    /// IPv6 addresses.
    Ipv6,
    /// UTF-8.
    Text,
    /// Numbers up to 65535, none twice.
    Numbers,
    /// Octets as they are.
    Octets,
}

/// The parameters with a name, by their numbers.
const PARAMETERS: [(&str, Value); 11] = [
    ("mandatory", Value::Keys),
    ("alpn", Value::Strings),
    ("no-default-alpn", Value::Nothing),
    ("port", Value::Port),
    ("ipv4hint", Value::Ipv4),
    ("ech", Value::Base64),
    ("ipv6hint", Value::Ipv6),
    ("dohpath", Value::Text),
    ("ohttp", Value::Nothing),
    ("tls-supported-groups", Value::Numbers),
    ("docpath", Value::Octets),
];
const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
/// Never a parameter (RFC 9460 section 14.3.2).
const INVALID_KEY: u16 = u16::MAX;

type Parameters = BTreeMap<u16, Vec<u8>>;

/// Reads priority, target and parameters into wire form, where parameters stand in the order of their numbers.
pub(super) fn scan(scanner: &mut EntryScanner<'_>) -> Result<Vec<u8>, ScanError> {
    let priority = scanner.scan_ascii_str(|word| {
        u16::from_str(word).map_err(|_| ScanError::new(format!("`{word}` is not a priority from 0 to 65535")))
    })?;
    let target = scanner.scan_name()?;
    let mut parameters = Parameters::new();
    while scanner.continues() {
        let octets = scanner.scan_svcb_octets()?;
        let (name, value) = match octets.iter().position(|octet| *octet == b'=') {
            Some(equals) => (&octets[..equals], &octets[equals + 1..]),
            None => (&octets[..], &[][..]),
        };
        let (key, form) = key(name)?;
        let value = read(form, value).ok_or_else(|| bad_value(key))?;
        if !is_value(key, &value) {
            return Err(bad_value(key));
        }
        if parameters.insert(key, value).is_some() {
            return Err(ScanError::new(format!("the parameter {} stands here twice", name_of(key))));
        }
    }
    check_together(&parameters)?;
    let mut rdata = priority.to_be_bytes().to_vec();
    rdata.extend_from_slice(target.as_slice());
    for (key, value) in parameters {
        // No word is longer than 65535 bytes, and base 64 and lists come out shorter than they are written.
        rdata.extend_from_slice(&key.to_be_bytes());
        rdata.extend_from_slice(&(value.len() as u16).to_be_bytes());
        rdata.extend(value);
    }
    Ok(rdata)
}

fn check_together(parameters: &Parameters) -> Result<(), ScanError> {
    if parameters.contains_key(&NO_DEFAULT_ALPN) && !parameters.contains_key(&ALPN) {
        return Err(
            ScanError::new("no-default-alpn stands here without alpn").hint("add alpn (RFC 9460 section 7.1.1)")
        );
    }
    let mandatory = parameters.get(&MANDATORY).map(Vec::as_slice).unwrap_or_default();
    let missing =
        mandatory.as_chunks().0.iter().map(|key| u16::from_be_bytes(*key)).find(|key| !parameters.contains_key(key));
    match missing {
        Some(key) => Err(ScanError::new(format!("{} is mandatory, but isn't there", name_of(key)))),
        None => Ok(()),
    }
}

/// A parameter's number, and the form of its value: one that is written as `key` and its number has plain octets.
fn key(name: &[u8]) -> Result<(u16, Value), ScanError> {
    let unknown = || {
        ScanError::new(format!("there is no parameter {}", String::from_utf8_lossy(name)))
            .hint("a parameter without a name of its own is written as key and its number, such as key65280=value")
    };
    let text = std::str::from_utf8(name).map_err(|_| unknown())?;
    if let Some(key) = PARAMETERS.iter().position(|(name, _)| *name == text) {
        return Ok((key as u16, PARAMETERS[key].1));
    }
    let digits = text.strip_prefix("key").ok_or_else(unknown)?;
    let key: u16 = digits.parse().map_err(|_| unknown())?;
    // Without leading zeros (RFC 9460 section 2.1).
    if key == INVALID_KEY || key.to_string() != digits { Err(unknown()) } else { Ok((key, Value::Octets)) }
}

fn name_of(key: u16) -> String {
    PARAMETERS.get(usize::from(key)).map_or_else(|| format!("key{key}"), |(name, _)| (*name).to_owned())
}

fn bad_value(key: u16) -> ScanError {
    let (message, hint) = match PARAMETERS.get(usize::from(key)).map_or(Value::Octets, |(_, value)| *value) {
        Value::Keys => ("a list of other parameters, none twice", "alpn,port"),
        Value::Strings => ("a list of strings of 1 to 255 octets", "h2,h3"),
        Value::Nothing => return ScanError::new(format!("{} has no value", name_of(key))),
        Value::Port => ("a port from 0 to 65535", "8443"),
        Value::Ipv4 => ("a list of IPv4 addresses", "192.0.2.1,192.0.2.2"),
        Value::Base64 => ("base 64", "AEX+DQBB"),
        Value::Ipv6 => ("a list of IPv6 addresses", "2001:db8::1,2001:db8::2"),
        Value::Text => ("UTF-8", "/dns-query{?dns}"),
        Value::Numbers => ("a list of numbers from 0 to 65535, none twice", "29,23"),
        Value::Octets => ("that short", "value"),
    };
    let name = name_of(key);
    ScanError::new(format!("the value of {name} is not {message}")).hint(format!("write for example {name}={hint}"))
}

/// A value in wire form.
fn read(form: Value, text: &[u8]) -> Option<Vec<u8>> {
    match form {
        Value::Octets | Value::Text | Value::Nothing => Some(text.to_vec()),
        Value::Port => number(text).map(|port| port.to_be_bytes().to_vec()),
        Value::Base64 => from_base64(text),
        Value::Keys => {
            let keys = list(text)?.iter().map(|name| Some(key(name).ok()?.0)).collect::<Option<Vec<u16>>>();
            let mut keys = keys?;
            keys.sort_unstable();
            Some(keys.into_iter().flat_map(u16::to_be_bytes).collect())
        }
        Value::Strings => {
            let mut strings = Vec::with_capacity(text.len() + 1);
            for string in list(text)? {
                strings.push(u8::try_from(string.len()).ok()?);
                strings.extend(string);
            }
            Some(strings)
        }
        Value::Ipv4 => each(text, |item| parse::<Ipv4Addr>(item).map(|address| address.octets())),
        Value::Ipv6 => each(text, |item| parse::<Ipv6Addr>(item).map(|address| address.octets())),
        Value::Numbers => each(text, |item| number(item).map(u16::to_be_bytes)),
    }
}

/// Whether these octets can be the value of a parameter.
fn is_value(key: u16, octets: &[u8]) -> bool {
    let numbers = || octets.as_chunks().0.iter().map(|number| u16::from_be_bytes(*number));
    let are = |size: usize| !octets.is_empty() && octets.len().is_multiple_of(size);
    match PARAMETERS.get(usize::from(key)).map_or(Value::Octets, |(_, value)| *value) {
        Value::Keys => are(2) && numbers().is_sorted_by(|a, b| a < b) && numbers().all(|key| key != MANDATORY),
        Value::Strings => {
            let mut rest = octets;
            while let Some((length @ 1.., after)) = rest.split_first()
                && let Some(next) = after.get(usize::from(*length)..)
            {
                rest = next;
            }
            rest.is_empty() && !octets.is_empty()
        }
        Value::Nothing => octets.is_empty(),
        Value::Port => octets.len() == 2,
        Value::Ipv4 => are(4),
        Value::Ipv6 => are(16),
        Value::Base64 => !octets.is_empty(),
        Value::Text => std::str::from_utf8(octets).is_ok(),
        Value::Numbers => {
            let mut sorted: Vec<u16> = numbers().collect();
            sorted.sort_unstable();
            are(2) && sorted.is_sorted_by(|a, b| a < b)
        }
        Value::Octets => octets.len() <= usize::from(u16::MAX),
    }
}

/// The items between commas; a backslash takes a comma or a backslash into its item (RFC 9460 appendix A.1).
fn list(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut items = vec![Vec::new()];
    let mut octets = text.iter();
    while let Some(octet) = octets.next() {
        match octet {
            b',' => items.push(Vec::new()),
            b'\\' => items.last_mut()?.push(*octets.next().filter(|next| matches!(next, b',' | b'\\'))?),
            _ => items.last_mut()?.push(*octet),
        }
    }
    Some(items)
}

fn each<const N: usize>(text: &[u8], read: impl Fn(&[u8]) -> Option<[u8; N]>) -> Option<Vec<u8>> {
    Some(text.split(|octet| *octet == b',').map(read).collect::<Option<Vec<_>>>()?.concat())
}

fn parse<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn number(text: &[u8]) -> Option<u16> {
    parse(text).filter(|_| text.iter().all(u8::is_ascii_digit))
}

fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut converter = base64::SymbolConverter::new();
    let mut octets = Vec::new();
    for octet in text {
        let symbol = EntrySymbol::from(Symbol::from_octet(*octet));
        let part: Result<_, ScanError> = converter.process_symbol(symbol);
        octets.extend_from_slice(part.ok()?.unwrap_or_default());
    }
    let tail = ConvertSymbols::<EntrySymbol, ScanError>::process_tail(&mut converter);
    octets.extend_from_slice(tail.ok()?.unwrap_or_default());
    Some(octets)
}

/// Whether these octets, which have the form of SVCB data, have good values that go together.
pub(super) fn fits(rdata: &[u8]) -> bool {
    let mut parameters = Parameters::new();
    let target = rdata.get(2..).and_then(|target| super::LookupName::default().read(target));
    let Some(mut rest) = target.and_then(|target| rdata.get(2 + target..)) else { return false };
    while let [a, b, c, d, after @ ..] = rest {
        let (key, length) = (u16::from_be_bytes([*a, *b]), usize::from(u16::from_be_bytes([*c, *d])));
        let Some((value, next)) = after.split_at_checked(length).filter(|(value, _)| is_value(key, value)) else {
            return false;
        };
        // In strictly increasing order (RFC 9460 section 2.2).
        if parameters.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return false;
        }
        parameters.insert(key, value.to_vec());
        rest = next;
    }
    rest.is_empty() && check_together(&parameters).is_ok()
}
