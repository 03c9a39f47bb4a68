//! TXT records of class CHAOS, written as text is formatted.

use std::fmt::{self, Write};

use super::encode::{Full, Section, Writer};
use super::query::HEADER_OCTETS;
use crate::zone::rtype;

/// The most octets of one character-string (RFC 1035 section 3.3).
const MAX_STRING_OCTETS: usize = 255;
/// The most RDATA of one record; what a text has beyond that is left out.
const MAX_RDATA_OCTETS: usize = 2048;

/// The RDATA of a TXT record: character-strings, each begun where the one before is full.
struct Rdata {
    octets: [u8; MAX_RDATA_OCTETS],
    length: usize,
    /// Where the last string's length stands.
    string_at: usize,
    /// Something did not fit; no more is taken.
    is_cut: bool,
}

impl Rdata {
    fn new() -> Self {
        Self { octets: [0; MAX_RDATA_OCTETS], length: 1, string_at: 0, is_cut: false }
    }

    fn push(&mut self, character: char) {
        let mut utf8 = [0; 4];
        let utf8 = character.encode_utf8(&mut utf8).as_bytes();
        let is_full = usize::from(self.octets[self.string_at]) + utf8.len() > MAX_STRING_OCTETS;
        let start = self.length + usize::from(is_full);
        let Some(room) = self.octets.get_mut(start..start + utf8.len()).filter(|_| !self.is_cut) else {
            self.is_cut = true;
            return;
        };
        room.copy_from_slice(utf8);
        if is_full {
            self.string_at = self.length;
        }
        self.length = start + utf8.len();
        self.octets[self.string_at] += utf8.len() as u8;
    }
}

impl Write for Rdata {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().for_each(|character| self.push(character));
        Ok(())
    }
}

/// Appends a TXT record of class CHAOS and TTL 0 whose owner is the name in the question. A text of more than 255 octets
/// is cut into strings between characters; one of more than 2 KiB ends there.
///
/// # Errors
/// Where the record does not fit; nothing of it is left then.
pub(super) fn put(writer: &mut Writer<'_>, text: fmt::Arguments<'_>) -> Result<(), Full> {
    let mut rdata = Rdata::new();
    // It takes whatever is written.
    let _ = rdata.write_fmt(text);
    let mut fixed = [0; 10];
    fixed[..2].copy_from_slice(&rtype::TXT.to_be_bytes());
    fixed[2..4].copy_from_slice(&rtype::CLASS_CH.to_be_bytes());
    fixed[8..].copy_from_slice(&(rdata.length as u16).to_be_bytes());
    let mark = writer.mark(Section::Answer);
    let written = writer.put_pointer(HEADER_OCTETS).and_then(|()| writer.put(&fixed));
    if written.and_then(|()| writer.put(&rdata.octets[..rdata.length])).is_err() {
        writer.rewind(Section::Answer, mark);
        return Err(Full);
    }
    writer.count_record(Section::Answer);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    /// The strings of a record with this text.
    fn strings(text: &str) -> Vec<String> {
        let mut buffer = [0; 4096];
        let mut writer = Writer::new(&mut buffer, &[0; HEADER_OCTETS], b"\x00\x00\x10\x00\x03", 4096);
        put(&mut writer, format_args!("{text}")).unwrap();
        assert_eq!(writer.count(Section::Answer), 1);
        let end = writer.position();
        // Header, question, then the record's owner, type, class, TTL.
        let (fixed, mut rdata) = buffer[HEADER_OCTETS + 5..end].split_at(12);
        assert_eq!(fixed[..10], *b"\xc0\x0c\x00\x10\x00\x03\x00\x00\x00\x00");
        assert_eq!(usize::from(u16::from_be_bytes([fixed[10], fixed[11]])), rdata.len());
        let mut strings = Vec::new();
        while let Some((length, rest)) = rdata.split_first() {
            let (string, rest) = rest.split_at(usize::from(*length));
            strings.push(str::from_utf8(string).unwrap().to_owned());
            rdata = rest;
        }
        strings
    }

    #[test]
    fn a_text_is_cut_into_strings_between_characters() {
        let a = "a".repeat(255);
        for (text, expected) in [
            (String::new(), vec![String::new()]),
            ("meridian".to_owned(), vec!["meridian".to_owned()]),
            (a.clone(), vec![a.clone()]),
            (format!("{a}b"), vec![a.clone(), "b".to_owned()]),
            (format!("{a}{a}b"), vec![a.clone(), a.clone(), "b".to_owned()]),
            (format!("{}ü", &a[1..]), vec![a[1..].to_owned(), "ü".to_owned()]),
            (format!("{}ü", &a[2..]), vec![format!("{}ü", &a[2..])]),
            (format!("{}€b", &a[2..]), vec![a[2..].to_owned(), "€b".to_owned()]),
            (format!("{}𝄞", &a[4..]), vec![format!("{}𝄞", &a[4..])]),
            (format!("{}𝄞", &a[3..]), vec![a[3..].to_owned(), "𝄞".to_owned()]),
        ] {
            assert_eq!(strings(&text), expected);
        }
    }

    #[test]
    fn a_text_too_long_for_a_record_ends_early_and_between_characters() {
        for character in ["a", "ü", "€", "𝄞"] {
            let text = character.repeat(4096);
            let whole = strings(&text).concat();
            assert!(text.starts_with(&whole));
            let octets = whole.len() + strings(&text).len();
            assert!(octets <= MAX_RDATA_OCTETS && octets + character.len() >= MAX_RDATA_OCTETS, "{octets}");
        }
        // Nothing that comes later fills the gap.
        assert!(!strings(&format!("{}𝄞b", "a".repeat(2037))).concat().contains('b'));
    }

    #[test]
    fn a_record_is_there_whole_or_not_at_all() {
        let question = b"\x00\x00\x10\x00\x03";
        let text = "a".repeat(300);
        let whole = HEADER_OCTETS + question.len() + 12 + 302;
        for (limit, fits) in [(whole, true), (whole - 1, false), (HEADER_OCTETS + question.len() + 3, false)] {
            let mut buffer = [0; 512];
            let mut writer = Writer::new(&mut buffer, &[0; HEADER_OCTETS], question, limit);
            assert_eq!(put(&mut writer, format_args!("{text}")).is_ok(), fits);
            let expected = if fits { (whole, 1) } else { (HEADER_OCTETS + question.len(), 0) };
            assert_eq!((writer.position(), writer.count(Section::Answer)), expected);
        }
    }
}
