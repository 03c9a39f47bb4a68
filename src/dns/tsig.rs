//! Signatures of requests (RFC 8945), of which no key is known here.

use super::encode::{Full, Section, Writer};
use crate::zone::rtype;

/// No such key (RFC 8945 section 3).
const BADKEY: u16 = 17;
/// Time signed and fudge.
const TIME_OCTETS: usize = 6 + 2;

/// A request's signature.
#[derive(Debug, Clone, Copy)]
pub struct Tsig<'a> {
    /// The key's name in wire form, as it came.
    key: &'a [u8],
    /// The algorithm's name likewise.
    algorithm: &'a [u8],
    /// When it was signed, and how far off clocks may be.
    time: &'a [u8],
    /// The request's id before it was forwarded.
    original_id: &'a [u8],
}

impl<'a> Tsig<'a> {
    /// Reads a signature's data; nothing where it is malformed (RFC 8945 section 4.2).
    pub(super) fn read(key: &'a [u8], data: &'a [u8]) -> Option<Self> {
        let (algorithm, rest) = split_name(data)?;
        let (time, rest) = rest.split_at_checked(TIME_OCTETS)?;
        let (mac_octets, rest) = rest.split_first_chunk()?;
        let rest = rest.get(usize::from(u16::from_be_bytes(*mac_octets))..)?;
        let (original_id, rest) = rest.split_at_checked(2)?;
        // The error is for responses to set.
        let (other_octets, other) = rest.get(2..)?.split_first_chunk()?;
        let is_whole = other.len() == usize::from(u16::from_be_bytes(*other_octets));
        // A name in a signature is never compressed (RFC 8945 section 4.2).
        let is_plain = split_name(key).is_some();
        (is_whole && is_plain).then_some(Self { key, algorithm, time, original_id })
    }

    /// Appends the record that tells that the key isn't known, unsigned as it must be (RFC 8945 section 5.3.2).
    ///
    /// # Errors
    /// Where it does not fit.
    pub(super) fn put_bad_key(&self, writer: &mut Writer<'_>) -> Result<(), Full> {
        let data_octets = self.algorithm.len() + TIME_OCTETS + 2 + self.original_id.len() + 2 + 2;
        let mark = writer.mark(Section::Additional);
        let [type_high, type_low] = rtype::TSIG.to_be_bytes();
        let [class_high, class_low] = rtype::CLASS_ANY.to_be_bytes();
        let [length_high, length_low] = (data_octets as u16).to_be_bytes();
        let fixed = [type_high, type_low, class_high, class_low, 0, 0, 0, 0, length_high, length_low];
        let no_mac = [0, 0];
        let [error_high, error_low] = BADKEY.to_be_bytes();
        let end = [error_high, error_low, 0, 0];
        for part in [self.key, &fixed, self.algorithm, self.time, &no_mac, self.original_id, &end] {
            if writer.put(part).is_err() {
                writer.rewind(Section::Additional, mark);
                return Err(Full);
            }
        }
        writer.count_record(Section::Additional);
        Ok(())
    }
}

/// The uncompressed name that octets begin with, and the rest.
fn split_name(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        match *octets.get(at)? {
            0 => break,
            length @ 1..=63 => at += usize::from(length) + 1,
            _ => return None,
        }
    }
    if at >= 255 { None } else { octets.split_at_checked(at + 1) }
}
