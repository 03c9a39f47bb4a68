//! The data of the types that `domain` has no reader for, as the fields that it is made of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::base::iana::Rtype;
use domain::base::scan::Scanner;
use domain::rdata::dnssec::{RtypeBitmap, Timestamp};
use domain::utils::{base16, base64};

use super::LookupName;
use super::location;
use super::scan::{EntryScanner, ScanError};

/// What a type's data is made of.
#[derive(Debug)]
pub(super) struct Layout {
    rtype: Rtype,
    fields: &'static [Field],
    /// Good data, for messages.
    pub(super) example: &'static str,
}

/// One part of a type's data: how it is written, and the octets that it becomes.
#[derive(Debug, Clone, Copy)]
enum Field {
    /// A number in so many octets, or one of the names that stand for one.
    Number { octets: usize, names: &'static [(&'static str, u64)] },
    /// A record type by its mnemonic, two octets.
    Type,
    /// A moment, as `YYYYMMDDHHmmSS` or in seconds since 1970 (RFC 4034 section 3.2).
    Moment,
    /// Any number of record types, as a bitmap (RFC 4034 section 4.1.2).
    Types,
    /// A name, never compressed (RFC 3597 section 4).
    Name,
    /// Any number of such names.
    Names,
    /// A character string.
    String,
    /// A character string, or nothing.
    OptionalString,
    /// At least one character string.
    Strings,
    /// The octets of one word or quoted string, without a length.
    Text,
    /// Hexadecimal digits up to the end, in any number of words.
    Hex,
    /// Base 64 up to the end, in any number of words.
    Base64,
    /// An IPv4 address.
    Ipv4,
    /// Hexadecimal digits in so many groups, each of at least and at most so many.
    Groups { count: usize, digits: (usize, usize), separator: char },
    /// An NSAP address: `0x` and hexadecimal digits with dots wherever they help (RFC 1706 section 5).
    Nsap,
    /// A place on the earth (RFC 1876).
    Location,
    /// Any number of address prefixes (RFC 3123).
    Prefixes,
    /// A host identity with its algorithm and key, whose lengths come first (RFC 8005 section 5).
    HostIdentity,
    /// The discovery bit, and a relay after its type (RFC 8777 section 4).
    Relay,
}

const U8: Field = Field::Number { octets: 1, names: &[] };
const U16: Field = Field::Number { octets: 2, names: &[] };
const U32: Field = Field::Number { octets: 4, names: &[] };
const U64: Field = Field::Number { octets: 8, names: &[] };
/// RFC 4398 section 2.1.
const CERTIFICATE_TYPE: Field = Field::Number {
    octets: 2,
    names: &[
        ("PKIX", 1),
        ("SPKI", 2),
        ("PGP", 3),
        ("IPKIX", 4),
        ("ISPKI", 5),
        ("IPGP", 6),
        ("ACPKIX", 7),
        ("IACPKIX", 8),
        ("URI", 253),
        ("OID", 254),
    ],
};
/// A DNSSEC algorithm (RFC 4034 appendix A.1 and IANA's registry).
const ALGORITHM: Field = Field::Number {
    octets: 1,
    names: &[
        ("DELETE", 0),
        ("RSAMD5", 1),
        ("DH", 2),
        ("DSA", 3),
        ("RSASHA1", 5),
        ("DSA-NSEC3-SHA1", 6),
        ("RSASHA1-NSEC3-SHA1", 7),
        ("RSASHA256", 8),
        ("RSASHA512", 10),
        ("ECC-GOST", 12),
        ("ECDSAP256SHA256", 13),
        ("ECDSAP384SHA384", 14),
        ("ED25519", 15),
        ("ED448", 16),
        ("INDIRECT", 252),
        ("PRIVATEDNS", 253),
        ("PRIVATEOID", 254),
    ],
};
/// RFC 9859 section 2.1.
const NOTIFY_SCHEME: Field = Field::Number { octets: 1, names: &[("NOTIFY", 1)] };
/// RFC 6742 sections 2.1.1 and 2.3.1.
const LOCATOR: Field = Field::Groups { count: 4, digits: (1, 4), separator: ':' };
/// RFC 7043 section 3.2.
const EUI48: Field = Field::Groups { count: 6, digits: (2, 2), separator: '-' };
/// RFC 7043 section 4.2.
const EUI64: Field = Field::Groups { count: 8, digits: (2, 2), separator: '-' };

/// DS and its like (RFC 4034 section 5.3).
const DIGEST: &[Field] = &[U16, ALGORITHM, U8, Field::Hex];
/// DNSKEY and its like (RFC 4034 section 2.2).
const KEY: &[Field] = &[U16, U8, ALGORITHM, Field::Base64];
/// RFC 4034 section 3.2.
const SIGNATURE: &[Field] =
    &[Field::Type, ALGORITHM, U8, U32, Field::Moment, Field::Moment, U16, Field::Name, Field::Base64];
/// TLSA and its like (RFC 6698 section 2.2).
const CERTIFICATE_ASSOCIATION: &[Field] = &[U8, U8, U8, Field::Hex];

const LAYOUTS: &[Layout] = &[
    layout(Rtype::AFSDB, &[U16, Field::Name], "1 afs.example.net."),
    layout(Rtype::X25, &[Field::String], "311061700956"),
    layout(Rtype::ISDN, &[Field::String, Field::OptionalString], "150862028003217 004"),
    layout(Rtype::RT, &[U16, Field::Name], "10 relay.example.net."),
    layout(Rtype::NSAP, &[Field::Nsap], "0x47.0005.80.005a00.0000.0001.e133.ffffff000161.00"),
    layout(Rtype::KEY, KEY, "256 3 13 AwEAAcMn"),
    layout(Rtype::PX, &[U16, Field::Name, Field::Name], "10 map822.example.net. mapx400.example.net."),
    layout(Rtype::GPOS, &[Field::String, Field::String, Field::String], "-32.6882 116.8652 10.0"),
    layout(Rtype::LOC, &[Field::Location], "52 22 23.000 N 4 53 32.000 E -2.00m 1m 10000m 10m"),
    layout(Rtype::EID, &[Field::Hex], "E32C6F78163A9348"),
    layout(Rtype::NIMLOC, &[Field::Hex], "32251A030067"),
    layout(Rtype::KX, &[U16, Field::Name], "10 kx.example.net."),
    layout(Rtype::CERT, &[CERTIFICATE_TYPE, U16, ALGORITHM, Field::Base64], "PKIX 12345 8 AwEAAcMn"),
    layout(Rtype::APL, &[Field::Prefixes], "1:192.0.2.0/24 !2:2001:db8::/32"),
    layout(Rtype::DS, DIGEST, "60485 13 2 9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"),
    layout(Rtype::SSHFP, &[U8, U8, Field::Hex], "4 2 9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"),
    layout(Rtype::RRSIG, SIGNATURE, "A 13 2 3600 20270101000000 20260101000000 60485 example.net. AwEAAcMn"),
    layout(Rtype::DNSKEY, KEY, "257 3 13 AwEAAcMnWBKLuvG/LwnPVykcmpvnntwxfshHlHRhlY0F3oz8"),
    layout(Rtype::DHCID, &[Field::Base64], "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA="),
    layout(
        Rtype::TLSA,
        CERTIFICATE_ASSOCIATION,
        "3 1 1 9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08",
    ),
    layout(
        Rtype::SMIMEA,
        CERTIFICATE_ASSOCIATION,
        "3 1 1 9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08",
    ),
    layout(
        Rtype::HIP,
        &[Field::HostIdentity, Field::Names],
        "2 200100107B1A74DF365639CC39F1D578 AwEAAcMn rvs.example.net.",
    ),
    layout(Rtype::NINFO, &[Field::Strings], "state"),
    layout(Rtype::RKEY, KEY, "0 1 13 AwEAAcMn"),
    layout(Rtype::TALINK, &[Field::Name, Field::Name], "h0.example.net. h2.example.net."),
    layout(Rtype::CDS, DIGEST, "60485 13 2 9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"),
    layout(Rtype::CDNSKEY, KEY, "257 3 13 AwEAAcMnWBKLuvG/LwnPVykcmpvnntwxfshHlHRhlY0F3oz8"),
    layout(Rtype::OPENPGPKEY, &[Field::Base64], "AwEAAcMn"),
    layout(Rtype::CSYNC, &[U32, U16, Field::Types], "2026010100 3 A NS AAAA"),
    layout(
        Rtype::ZONEMD,
        &[U32, U8, U8, Field::Hex],
        "2026010100 1 1 38B060A751AC96384CD9327EB1B1E36A21FDB71114BE07434C0CC7BF63F6E1DA274EDEBFE76F65FBD51AD2F14898B95B",
    ),
    layout(Rtype::DSYNC, &[Field::Type, NOTIFY_SCHEME, U16, Field::Name], "CDS NOTIFY 5359 notify.example.net."),
    layout(Rtype::HHIT, &[Field::Base64], "AwEAAcMn"),
    layout(Rtype::BRID, &[Field::Base64], "AwEAAcMn"),
    layout(Rtype::SPF, &[Field::Strings], r#""v=spf1 -all""#),
    layout(Rtype::NID, &[U16, LOCATOR], "10 0014:4fff:ff20:ee64"),
    layout(Rtype::L32, &[U16, Field::Ipv4], "10 192.0.2.1"),
    layout(Rtype::L64, &[U16, LOCATOR], "10 2001:0db8:1140:1000"),
    layout(Rtype::LP, &[U16, Field::Name], "10 l64.example.net."),
    layout(Rtype::EUI48, &[EUI48], "00-00-5e-00-53-2a"),
    layout(Rtype::EUI64, &[EUI64], "00-00-5e-ef-10-00-00-2a"),
    layout(Rtype::URI, &[U16, U16, Field::Text], r#"10 1 "https://www.example.net/""#),
    layout(Rtype::AVC, &[Field::Strings], r#""app-name:WOLFGANG|app-class:OAM""#),
    layout(Rtype::AMTRELAY, &[U8, Field::Relay], "10 0 1 192.0.2.1"),
    layout(Rtype::RESINFO, &[Field::Strings], "qnamemin exterr=15-17"),
    layout(Rtype::WALLET, &[Field::Strings], "BTC bc1qexample"),
    layout(Rtype::CLA, &[Field::Strings], "TCP-v4-v6"),
    layout(Rtype::IPN, &[U64], "3735928559"),
    layout(Rtype::TA, DIGEST, "60485 13 2 9F86D081884C7D65"),
    layout(Rtype::DLV, DIGEST, "60485 13 2 9F86D081884C7D65"),
];

const fn layout(rtype: Rtype, fields: &'static [Field], example: &'static str) -> Layout {
    Layout { rtype, fields, example }
}

impl Layout {
    /// That of a type.
    pub(super) fn of(rtype: Rtype) -> Option<&'static Self> {
        LAYOUTS.iter().find(|layout| layout.rtype == rtype)
    }

    /// Reads data in wire form.
    pub(super) fn scan(&self, scanner: &mut EntryScanner<'_>) -> Result<Vec<u8>, ScanError> {
        let mut rdata = Vec::new();
        for field in self.fields {
            field.scan(scanner, &mut rdata)?;
        }
        Ok(rdata)
    }

    /// Whether these octets are such data.
    pub(super) fn fits(&self, rdata: &[u8]) -> bool {
        let rest = self.fields.iter().try_fold(rdata, |rest, field| rest.get(field.length(rest)?..));
        rest.is_some_and(<[u8]>::is_empty)
    }
}

impl Field {
    fn scan(&self, scanner: &mut EntryScanner<'_>, rdata: &mut Vec<u8>) -> Result<(), ScanError> {
        match *self {
            Self::Number { octets, names } => {
                let number = scanner.scan_ascii_str(|word| number(word, octets, names))?;
                rdata.extend_from_slice(&number.to_be_bytes()[8 - octets..]);
            }
            Self::Moment => rdata.extend(Timestamp::scan(scanner)?.into_int().to_be_bytes()),
            Self::Type => rdata.extend_from_slice(&Rtype::scan(scanner)?.to_int().to_be_bytes()),
            Self::Types => rdata.extend_from_slice(RtypeBitmap::scan(scanner)?.as_slice()),
            Self::Name => rdata.extend_from_slice(scanner.scan_name()?.as_slice()),
            Self::Names => {
                while scanner.continues() {
                    rdata.extend_from_slice(scanner.scan_name()?.as_slice());
                }
            }
            Self::OptionalString if !scanner.continues() => {}
            Self::String | Self::OptionalString => {
                let string = scanner.scan_charstr()?;
                rdata.push(string.len() as u8);
                rdata.extend_from_slice(string.as_slice());
            }
            Self::Strings => {
                scanner.expect_more()?;
                rdata.extend(scanner.scan_charstr_entry()?);
            }
            Self::Text => {
                let text = scanner.scan_octets()?;
                if text.is_empty() {
                    return Err(ScanError::new("the text is empty"));
                }
                rdata.extend(text);
            }
            Self::Hex => {
                scanner.expect_more()?;
                rdata.extend(scanner.convert_entry(base16::SymbolConverter::new())?);
            }
            Self::Base64 => {
                scanner.expect_more()?;
                rdata.extend(scanner.convert_entry(base64::SymbolConverter::new())?);
            }
            Self::Ipv4 => rdata.extend(scanner.scan_ascii_str(address::<Ipv4Addr>)?.octets()),
            Self::Groups { count, digits, separator } => {
                rdata.extend(scanner.scan_ascii_str(|word| groups(word, count, digits, separator))?);
            }
            Self::Nsap => rdata.extend(scanner.scan_ascii_str(nsap)?),
            Self::Location => rdata.extend(location::scan(scanner)?),
            Self::Prefixes => {
                while scanner.continues() {
                    rdata.extend(scanner.scan_ascii_str(prefix)?);
                }
            }
            Self::HostIdentity => {
                let algorithm = scanner.scan_ascii_str(|word| number(word, 1, &[]))?;
                let identity = scanner.convert_token(base16::SymbolConverter::new())?;
                let too_long = |_| ScanError::new("the identity is longer than 255 octets");
                let identity_octets = u8::try_from(identity.len()).map_err(too_long)?;
                let key = scanner.convert_token(base64::SymbolConverter::new())?;
                let key_octets = u16::try_from(key.len()).map_err(|_| ScanError::new("the key is too long"))?;
                rdata.extend([identity_octets, algorithm as u8]);
                rdata.extend(key_octets.to_be_bytes());
                rdata.extend(identity);
                rdata.extend(key);
            }
            Self::Relay => {
                let discovery = scanner.scan_ascii_str(|word| match word {
                    "0" => Ok(0),
                    "1" => Ok(0x80),
                    _ => Err(ScanError::new(format!("`{word}` is no discovery bit")).hint("write 0 or 1")),
                })?;
                let relay = scanner.scan_ascii_str(|word| number(word, 1, &[]))? as u8;
                rdata.push(discovery | relay & 0x7f);
                match relay {
                    0 => scanner.scan_ascii_str(|word| match word {
                        "." => Ok(()),
                        _ => Err(ScanError::new("a relay of type 0 is none").hint("write `.`")),
                    })?,
                    1 => rdata.extend(scanner.scan_ascii_str(address::<Ipv4Addr>)?.octets()),
                    2 => rdata.extend(scanner.scan_ascii_str(address::<Ipv6Addr>)?.octets()),
                    3 => rdata.extend_from_slice(scanner.scan_name()?.as_slice()),
                    other => {
                        return Err(ScanError::new(format!("there is no relay of type {other}"))
                            .hint("write 0 for none, 1 for an IPv4 address, 2 for an IPv6 address or 3 for a name"));
                    }
                }
            }
        }
        Ok(())
    }

    /// How many of these octets, which begin with the field, are its; nothing where they don't begin with it.
    fn length(&self, octets: &[u8]) -> Option<usize> {
        let string = |octets: &[u8]| Some(1 + usize::from(*octets.first()?));
        Some(match *self {
            Self::Number { octets, .. } => octets,
            Self::Type => 2,
            Self::Moment => 4,
            Self::Types => RtypeBitmap::from_octets(octets).ok()?.as_slice().len(),
            Self::Name => LookupName::default().read(octets)?,
            Self::Names => repeated(octets, |rest| LookupName::default().read(rest))?,
            Self::OptionalString if octets.is_empty() => 0,
            Self::String | Self::OptionalString => string(octets)?,
            Self::Strings => string(octets).and_then(|_| repeated(octets, string))?,
            Self::Text | Self::Hex | Self::Base64 | Self::Nsap => Some(octets.len()).filter(|length| *length > 0)?,
            Self::Ipv4 => 4,
            Self::Groups { count, digits, .. } => count * digits.1 / 2,
            Self::Location => location::OCTETS,
            Self::Prefixes => repeated(octets, |rest| {
                let [_, family, bits, length, ..] = *rest else { return None };
                let most = if family == 1 { 32 } else { 128 };
                (bits <= most && length & 0x7f <= most / 8).then_some(4 + usize::from(length & 0x7f))
            })?,
            Self::HostIdentity => {
                let [identity, _, key @ ..] = octets else { return None };
                4 + usize::from(*identity) + usize::from(u16::from_be_bytes(*key.first_chunk()?))
            }
            Self::Relay => {
                let (kind, relay) = octets.split_first()?;
                1 + match kind & 0x7f {
                    0 => 0,
                    1 => 4,
                    2 => 16,
                    3 => Self::Name.length(relay)?,
                    _ => return None,
                }
            }
        })
    }
}

/// All of the octets, if they are parts of the lengths that `length` finds, one after another.
fn repeated(octets: &[u8], length: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let mut rest = octets;
    while !rest.is_empty() {
        rest = rest.get(length(rest)?..)?;
    }
    Some(octets.len())
}

fn number(word: &str, octets: usize, names: &[(&str, u64)]) -> Result<u64, ScanError> {
    if let Some((_, number)) = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
        return Ok(*number);
    }
    let most = u64::MAX >> (64 - 8 * octets);
    let digits = word.bytes().all(|octet| octet.is_ascii_digit());
    word.parse().ok().filter(|number| digits && *number <= most).ok_or_else(|| {
        let or = if names.is_empty() { "" } else { ", and none of " };
        let names = names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        ScanError::new(format!("`{word}` is not a number from 0 to {most}{or}{names}"))
    })
}

fn address<A: std::str::FromStr>(word: &str) -> Result<A, ScanError> {
    word.parse().map_err(|_| ScanError::new(format!("`{word}` is not an address of this family")))
}

fn hex(digits: &str) -> Option<u8> {
    let are_digits = digits.bytes().all(|octet| octet.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| are_digits)
}

fn groups(word: &str, count: usize, (least, most): (usize, usize), separator: char) -> Result<Vec<u8>, ScanError> {
    let mut octets = Vec::with_capacity(count * most / 2);
    let mut found = 0;
    for group in word.split(separator) {
        found += 1;
        let whole = format!("{group:0>most$}");
        let pairs = (0..most).step_by(2).map(|at| hex(whole.get(at..at + 2)?));
        match pairs.collect::<Option<Vec<u8>>>().filter(|_| (least..=most).contains(&group.len())) {
            Some(pairs) => octets.extend(pairs),
            None => return Err(ScanError::new(format!("`{group}` is not a group of {most} hexadecimal digits"))),
        }
    }
    if found != count {
        return Err(ScanError::new(format!(
            "there are {found} groups in place of {count}, with `{separator}` between"
        )));
    }
    Ok(octets)
}

fn nsap(word: &str) -> Result<Vec<u8>, ScanError> {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).map(|digits| digits.replace('.', ""));
    let digits = digits.filter(|digits| !digits.is_empty() && digits.len().is_multiple_of(2));
    let pairs = digits.and_then(|digits| (0..digits.len()).step_by(2).map(|at| hex(digits.get(at..at + 2)?)).collect());
    pairs.ok_or_else(|| ScanError::new(format!("`{word}` is not 0x and pairs of hexadecimal digits")))
}

/// `[!]family:address/bits`
fn prefix(word: &str) -> Result<Vec<u8>, ScanError> {
    let (negation, rest) = match word.strip_prefix('!') {
        Some(rest) => (0x80, rest),
        None => (0, word),
    };
    let parts = rest.split_once(':').and_then(|(family, rest)| Some((family, rest.split_once('/')?)));
    let bad = |what: &str| ScanError::new(format!("`{word}` {what}"));
    let (family, (text, bits)) = parts.ok_or_else(|| bad("is not family:address/bits"))?;
    let (family, address) = match family {
        "1" => (1, address::<Ipv4Addr>(text).map(IpAddr::V4)?),
        "2" => (2, address::<Ipv6Addr>(text).map(IpAddr::V6)?),
        _ => return Err(bad("is of a family other than 1 (IPv4) and 2 (IPv6)")),
    };
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let bits = number(bits, 1, &[])?;
    if bits > 8 * octets.len() as u64 {
        return Err(bad("has more bits than its family"));
    }
    // What is zero at the end is not sent (RFC 3123 section 4.1).
    let length = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
    Ok([&[0, family, bits as u8, negation | length as u8], &octets[..length]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_stand_in_the_order_of_types_and_each_type_has_one() {
        assert!(LAYOUTS.is_sorted_by(|a, b| a.rtype.to_int() < b.rtype.to_int()));
    }

    #[test]
    fn octets_that_are_no_data_of_their_type_do_not_fit() {
        let cases: [(Rtype, &[u8], bool); 30] = [
            (Rtype::AFSDB, b"\x00\x01\x01a\x00", true),
            (Rtype::AFSDB, b"\x00\x01\x01a\x00\x00", false),
            (Rtype::AFSDB, b"\x00\x01\x01a\xc0\x00", false),
            (Rtype::ISDN, b"\x011", true),
            (Rtype::ISDN, b"\x011\x012", true),
            (Rtype::ISDN, b"\x011\x022", false),
            (Rtype::SPF, b"", false),
            (Rtype::SPF, b"\x00\x01a", true),
            (Rtype::EUI48, &[0; 6], true),
            (Rtype::EUI48, &[0; 5], false),
            (Rtype::LOC, &[0; 16], true),
            (Rtype::LOC, &[0; 17], false),
            (Rtype::DHCID, b"", false),
            (Rtype::APL, b"", true),
            (Rtype::APL, b"\x00\x01\x20\x84\xc0\x00\x02\x01", true),
            (Rtype::APL, b"\x00\x01\x21\x84\xc0\x00\x02\x01", false),
            (Rtype::HIP, b"\x01\x02\x00\x01ik\x01a\x00\x00", true),
            (Rtype::HIP, b"\x01\x02\x00\x02ik", false),
            (Rtype::AMTRELAY, b"\x0a\x83\x00", true),
            (Rtype::AMTRELAY, b"\x0a\x04\x00", false),
            (Rtype::TLSA, b"\x03\x01\x01\xab", true),
            (Rtype::TLSA, b"\x03\x01\x01", false),
            (Rtype::SSHFP, b"\x04\x02\xab", true),
            (Rtype::SSHFP, b"\x04\x02", false),
            (Rtype::OPENPGPKEY, b"", false),
            (Rtype::ZONEMD, b"\x00\x00\x00\x01\x01\x01", false),
            (Rtype::RRSIG, b"\x00\x01\x0d\x02\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x01\x00s", true),
            (Rtype::RRSIG, b"\x00\x01\x0d\x02\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x01\x00", false),
            (Rtype::CSYNC, b"\x00\x00\x00\x01\x00\x03\x00\x01\x40", true),
            (Rtype::CSYNC, b"\x00\x00\x00\x01\x00\x03\x00\x02\x40", false),
        ];
        for (rtype, octets, expected) in cases {
            assert_eq!(Layout::of(rtype).map(|layout| layout.fits(octets)), Some(expected), "{rtype} {octets:?}");
        }
    }
}
