//! The tokens of one entry → names, TTLs and record data.
//!
//! `domain` knows the presentation format of each type and asks its `Scanner` for the tokens; this one knows where each
//! token stands, so that a problem points at the word that is wrong.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use domain::base::ParseRecordData;
use domain::base::charstr::CharStr;
use domain::base::iana::{Class, Rtype};
use domain::base::name::ParsedName;
use domain::base::rdata::{ComposeRecordData, UnknownRecordData};
use domain::base::scan::{ConvertSymbols, EntrySymbol, Scanner, ScannerError, Symbol};
use domain::base::{Serial, Ttl};
use domain::dep::octseq::Parser;
use domain::dep::octseq::str::Str;
use domain::rdata::{Soa, ZoneRecordData};

use super::Name;
use super::fields::Layout;
use super::svcb;
use super::token::Token;

/// The longest time to live in seconds (RFC 2181 section 8).
pub(super) const MAX_TTL: u32 = i32::MAX as u32;

/// Reads one entry from its first token to its last.
#[derive(Debug)]
pub(super) struct EntryScanner<'a> {
    text: &'a str,
    tokens: &'a [Token],
    origin: &'a Name,
    next: usize,
    /// The tokens that were read last, for [`EntryScanner::span`].
    read: Range<usize>,
}

impl<'a> EntryScanner<'a> {
    /// Reads `tokens`, at least one, which stand in `text`; relative names end in `origin`.
    pub(super) fn new(text: &'a str, tokens: &'a [Token], origin: &'a Name) -> Self {
        Self { text, tokens, origin, next: 0, read: 0..1 }
    }

    /// Where what was read last is, up to the end of its first line.
    pub(super) fn span(&self) -> Range<usize> {
        self.span_of(self.read.clone())
    }

    fn span_of(&self, tokens: Range<usize>) -> Range<usize> {
        let (Some(first), Some(last)) = (self.tokens[tokens.clone()].first(), self.tokens[tokens].last()) else {
            return 0..0;
        };
        let (start, end) = (first.span().start, last.span().end);
        let line = self.text[start..end].lines().next().unwrap_or_default().trim_end();
        start..start + line.len()
    }

    /// The next token as it is written, without going past it.
    pub(super) fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.next).map(|token| token.text(self.text))
    }

    /// Makes [`EntryScanner::span`] that of the whole entry.
    pub(super) fn blame_entry(&mut self) {
        self.read = 0..self.tokens.len();
    }

    /// An error where another token follows.
    pub(super) fn end(&mut self) -> Result<(), ScanError> {
        if self.next < self.tokens.len() {
            self.read = self.next..self.tokens.len();
            return Err(ScannerError::trailing_tokens());
        }
        Ok(())
    }

    /// An error where no token follows.
    pub(super) fn expect_more(&self) -> Result<(), ScanError> {
        if self.next < self.tokens.len() { Ok(()) } else { Err(ScannerError::end_of_entry()) }
    }

    /// Time in seconds, as a number or with units: `1h30m`.
    pub(super) fn scan_seconds(&mut self) -> Result<u32, ScanError> {
        let text = self.token()?.text(self.text);
        seconds(text).ok_or_else(|| {
            ScanError::new(format!("`{text}` is not a time"))
                .hint("write seconds, at most 2147483647, or units from w, d, h, m and s as in 1h30m")
        })
    }

    /// `[TTL] [class] type` or `[class] [TTL] type`.
    pub(super) fn scan_ttl_and_type(&mut self) -> Result<(Option<u32>, Rtype), ScanError> {
        let mut ttl = None;
        let mut class = None;
        loop {
            let Some(word) = self.peek() else {
                self.blame_entry();
                return Err(ScanError::new("the record has no type").hint("write `owner TTL type data`"));
            };
            if ttl.is_none() && word.starts_with(|first: char| first.is_ascii_digit()) {
                ttl = Some(self.scan_seconds().map_err(|error| ScanError {
                    message: format!("`{word}` is neither a TTL nor a record type").into(),
                    ..error
                })?);
                continue;
            }
            self.token()?;
            if let Some(rtype) = Rtype::from_bytes(word.as_bytes()) {
                return match rtype.to_int() {
                    // Reserved, OPT, and the types of questions and of what is made on the fly (RFC 6895 section 3.1).
                    0 | 41 | 128..=255 => Err(ScanError::new(format!("{rtype} is no type of records in a zone"))),
                    _ => Ok((ttl, rtype)),
                };
            }
            match Class::from_bytes(word.as_bytes()) {
                Some(Class::IN) if class.is_none() => class = Some(Class::IN),
                Some(other) if other != Class::IN => {
                    return Err(ScanError::new(format!("the class is {other}"))
                        .hint("only the Internet's class, IN, is served; leave the class out"));
                }
                _ => {
                    return Err(ScanError::new(format!("`{word}` is not a record type")).hint(
                        "a type without a name of its own is written as TYPE and its number, such as TYPE65280",
                    ));
                }
            }
        }
    }

    /// The next token for [`super::generate`], escapes as written, but for that of a quote in quotes.
    pub(super) fn scan_template(&mut self) -> Result<Cow<'a, str>, ScanError> {
        let token = self.token()?;
        let text = token.text(self.text);
        Ok(if token.quoted { text.replace("\\\"", "\"").into() } else { text.into() })
    }

    /// The rest of the entry as data of this type, in uncompressed wire form.
    pub(super) fn scan_rdata(&mut self, rtype: Rtype) -> Result<Vec<u8>, ScanError> {
        let mut rdata = Vec::new();
        if self.peek() == Some("\\#") {
            self.scan_generic(rtype, &mut rdata).map_err(|error| ScanError {
                hint: error.hint.or_else(|| {
                    Some(r"write \# LENGTH HEX, with two hexadecimal digits for each of LENGTH octets".into())
                }),
                ..error
            })?;
        } else {
            let Some(example) = example(rtype) else {
                return Err(ScanError::new(format!("{rtype} data can't be read in its own form"))
                    .hint(format!(r"write it as in RFC 3597: TYPE{} \# LENGTH HEX", rtype.to_int())));
            };
            match self.scan_own_form(rtype).and_then(|data| self.end().map(|()| data)) {
                Ok(data) => rdata = data,
                Err(error) => {
                    let message = format!("not {rtype} data: {}", error.message);
                    let hint = error.hint.unwrap_or_else(|| format!("write it like this: {rtype} {example}").into());
                    return Err(ScanError::new(message).hint(hint));
                }
            }
        }
        if rdata.len() > usize::from(u16::MAX) {
            self.blame_entry();
            return Err(ScanError::new("the data is longer than 65535 bytes"));
        }
        Ok(rdata)
    }

    /// Data given as RFC 3597 says.
    fn scan_generic(&mut self, rtype: Rtype, rdata: &mut Vec<u8>) -> Result<(), ScanError> {
        match ZoneRecordData::scan(rtype, self)? {
            ZoneRecordData::Unknown(generic) => append_generic(&generic, rdata)?,
            data => append(&data, rdata),
        }
        Ok(())
    }

    /// Data in the form of its type.
    fn scan_own_form(&mut self, rtype: Rtype) -> Result<Vec<u8>, ScanError> {
        if matches!(rtype, Rtype::NS | Rtype::MX | Rtype::SRV) {
            self.refuse_address()?;
        }
        if let Some(layout) = Layout::of(rtype) {
            return layout.scan(self);
        }
        let data = match rtype {
            Rtype::SVCB | Rtype::HTTPS => return svcb::scan(self),
            Rtype::SOA => self.scan_soa()?,
            _ => ZoneRecordData::scan(rtype, self)?,
        };
        let mut rdata = Vec::new();
        append(&data, &mut rdata);
        Ok(rdata)
    }

    /// An error where the last token is an address, though a name is meant to stand there.
    fn refuse_address(&mut self) -> Result<(), ScanError> {
        let word = self.tokens.last().map_or("", |token| token.text(self.text));
        if word.strip_suffix('.').unwrap_or(word).parse::<IpAddr>().is_err() {
            return Ok(());
        }
        self.read = self.tokens.len() - 1..self.tokens.len();
        Err(ScanError::new(format!("`{word}` is an address, where a name belongs"))
            .hint("write the host's name, and give that name the address"))
    }

    /// SOA data, whose times may have units.
    fn scan_soa(&mut self) -> Result<ZoneRecordData<Vec<u8>, Name>, ScanError> {
        Ok(ZoneRecordData::Soa(Soa::new(
            self.scan_name()?,
            self.scan_name()?,
            Serial::scan(self)?,
            Ttl::from_secs(self.scan_seconds()?),
            Ttl::from_secs(self.scan_seconds()?),
            Ttl::from_secs(self.scan_seconds()?),
            Ttl::from_secs(self.scan_seconds()?),
        )))
    }

    /// Goes past the next token.
    fn token(&mut self) -> Result<Token, ScanError> {
        let Some(token) = self.tokens.get(self.next) else {
            self.read = self.tokens.len().saturating_sub(1)..self.tokens.len();
            return Err(ScannerError::end_of_entry());
        };
        self.read = self.next..self.next + 1;
        self.next += 1;
        Ok(*token)
    }

    /// Goes past the next token, handing over its characters.
    fn symbols(&mut self, mut take: impl FnMut(Symbol) -> Result<(), ScanError>) -> Result<(), ScanError> {
        let bytes = self.token()?.text(self.text).as_bytes();
        let mut position = 0;
        while let Some((symbol, end)) = next_symbol(bytes, position)? {
            take(symbol)?;
            position = end;
        }
        Ok(())
    }

    /// Goes past the next token, appending the octets that it stands for. Outside of names, UTF-8 stands for itself.
    fn append_octets(&mut self, octets: &mut Vec<u8>) -> Result<(), ScanError> {
        self.symbols(|symbol| {
            match symbol {
                Symbol::Char(character) if character.is_control() && character != '\t' => {
                    return Err(ScanError::new("a control character")
                        .hint("write each of its octets as a backslash and three decimal digits, such as \\007"));
                }
                Symbol::Char(character) => {
                    octets.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Symbol::SimpleEscape(octet) | Symbol::DecimalEscape(octet) => octets.push(octet),
            }
            Ok(())
        })
    }
}

impl Scanner for EntryScanner<'_> {
    type Octets = Vec<u8>;
    type OctetsBuilder = Vec<u8>;
    type Name = Name;
    type Error = ScanError;

    fn has_space(&self) -> bool {
        self.tokens.get(self.next).is_some_and(|token| token.spaced)
    }

    fn continues(&mut self) -> bool {
        self.next < self.tokens.len()
    }

    fn scan_symbols<F>(&mut self, take: F) -> Result<(), ScanError>
    where
        F: FnMut(Symbol) -> Result<(), ScanError>,
    {
        self.symbols(take)
    }

    fn scan_entry_symbols<F>(&mut self, mut take: F) -> Result<(), ScanError>
    where
        F: FnMut(EntrySymbol) -> Result<(), ScanError>,
    {
        while self.continues() {
            self.symbols(|symbol| take(symbol.into()))?;
            take(EntrySymbol::EndOfToken)?;
        }
        Ok(())
    }

    fn convert_token<C: ConvertSymbols<Symbol, ScanError>>(&mut self, mut convert: C) -> Result<Vec<u8>, ScanError> {
        let mut octets = Vec::new();
        self.symbols(|symbol| {
            octets.extend_from_slice(convert.process_symbol(symbol)?.unwrap_or_default());
            Ok(())
        })?;
        octets.extend_from_slice(convert.process_tail()?.unwrap_or_default());
        Ok(octets)
    }

    fn convert_entry<C: ConvertSymbols<EntrySymbol, ScanError>>(
        &mut self,
        mut convert: C,
    ) -> Result<Vec<u8>, ScanError> {
        let first = self.next;
        let mut octets = Vec::new();
        while self.continues() {
            self.symbols(|symbol| {
                octets.extend_from_slice(convert.process_symbol(symbol.into())?.unwrap_or_default());
                Ok(())
            })?;
        }
        self.read = first.min(self.next.saturating_sub(1))..self.next;
        octets.extend_from_slice(convert.process_tail()?.unwrap_or_default());
        Ok(octets)
    }

    fn scan_octets(&mut self) -> Result<Vec<u8>, ScanError> {
        let mut octets = Vec::new();
        self.append_octets(&mut octets)?;
        Ok(octets)
    }

    /// A parameter and the quoted value that follows its `=` are one (RFC 9460 section 2.1).
    fn scan_svcb_octets(&mut self) -> Result<Vec<u8>, ScanError> {
        let first = self.next;
        let mut octets = self.scan_octets()?;
        if self.tokens.get(self.next).is_some_and(|token| token.quoted && !token.spaced) {
            self.append_octets(&mut octets)?;
            self.read.start = first;
        }
        Ok(octets)
    }

    fn scan_ascii_str<F, T>(&mut self, take: F) -> Result<T, ScanError>
    where
        F: FnOnce(&str) -> Result<T, ScanError>,
    {
        let octets = self.scan_octets()?;
        match std::str::from_utf8(&octets) {
            Ok(text) if text.is_ascii() => take(text),
            _ => Err(ScanError::new("only ASCII is expected")),
        }
    }

    fn scan_name(&mut self) -> Result<Name, ScanError> {
        let token = self.token()?;
        if token.quoted {
            return Err(ScanError::new("a name stands without quotes"));
        }
        name(token.text(self.text), self.origin)
    }

    fn scan_charstr(&mut self) -> Result<CharStr<Vec<u8>>, ScanError> {
        let octets = self.scan_octets()?;
        CharStr::from_octets(octets).map_err(|_| long_string())
    }

    fn scan_string(&mut self) -> Result<Str<Vec<u8>>, ScanError> {
        let octets = self.scan_octets()?;
        Str::from_utf8(octets).map_err(|_| ScanError::new("only UTF-8 is expected"))
    }

    fn scan_charstr_entry(&mut self) -> Result<Vec<u8>, ScanError> {
        let mut strings = Vec::new();
        while self.continues() {
            let length = strings.len();
            strings.push(0);
            self.append_octets(&mut strings)?;
            strings[length] = u8::try_from(strings.len() - length - 1).map_err(|_| long_string())?;
        }
        Ok(strings)
    }

    fn scan_opt_unknown_marker(&mut self) -> Result<bool, ScanError> {
        let found = self.tokens.get(self.next).is_some_and(|token| !token.quoted) && self.peek() == Some("\\#");
        if found {
            self.token()?;
        }
        Ok(found)
    }

    fn octets_builder(&mut self) -> Result<Vec<u8>, ScanError> {
        Ok(Vec::new())
    }
}

/// What is wrong with an entry; the scanner's span says where.
#[derive(Debug)]
pub(super) struct ScanError {
    pub(super) message: Cow<'static, str>,
    pub(super) hint: Option<Cow<'static, str>>,
}

impl ScanError {
    pub(super) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ScanError {}

impl ScannerError for ScanError {
    fn custom(message: &'static str) -> Self {
        Self::new(message)
    }

    fn end_of_entry() -> Self {
        Self::new("the entry ends too early")
    }

    fn short_buf() -> Self {
        Self::new("it is too long")
    }

    fn trailing_tokens() -> Self {
        Self::new("nothing more belongs here")
    }
}

/// The name that `text` stands for; a relative one ends in `origin`, and `@` is `origin` (RFC 1035 section 5.1).
pub(super) fn name(text: &str, origin: &Name) -> Result<Name, ScanError> {
    match text {
        "@" => return Ok(origin.clone()),
        "." => return Ok(Name::root_vec()),
        "" => return Err(ScanError::new("the name is empty").hint("write `@` for the origin")),
        _ => {}
    }
    let text = text.as_bytes();
    let mut wire = Vec::with_capacity(text.len() + 1 + origin.len());
    let mut label = 0; // Where the length of the label being written stands.
    wire.push(0);
    let mut position = 0;
    while let Some((symbol, end)) = next_symbol(text, position)? {
        position = end;
        match symbol {
            Symbol::Char('.') if wire[label] == 0 => {
                return Err(ScanError::new("the name has an empty label").hint(
                    r"a `.` stands between labels and may end the name; one inside of a label is written as `\.`",
                ));
            }
            Symbol::Char('.') => {
                label = wire.len();
                wire.push(0);
                continue;
            }
            Symbol::SimpleEscape(octet) | Symbol::DecimalEscape(octet) => wire.push(octet),
            Symbol::Char(character) if character.is_ascii_graphic() => wire.push(character as u8),
            Symbol::Char(_) => {
                return Err(ScanError::new("the name has a character other than ASCII letters, digits and signs")
                    .hint(
                        "write an international name in its xn-- form, any other octet as a backslash and three digits",
                    ));
            }
        }
        if wire[label] == 63 {
            return Err(ScanError::new("the name has a label of more than 63 octets"));
        }
        wire[label] += 1;
    }
    if wire[label] > 0 {
        wire.extend_from_slice(origin.as_slice());
    }
    Name::from_octets(wire).map_err(|_| {
        ScanError::new("the name has more than 255 octets").hint("a name that doesn't end in `.` is below the origin")
    })
}

/// Seconds, plain or as numbers with units; at most [`MAX_TTL`].
fn seconds(text: &str) -> Option<u32> {
    let mut sum: u32 = 0;
    let mut rest = text;
    loop {
        let digits = rest.find(|next: char| !next.is_ascii_digit()).unwrap_or(rest.len());
        let number: u32 = rest[..digits].parse().ok()?;
        let mut after = rest[digits..].chars();
        let unit = match after.next().map(|unit| unit.to_ascii_lowercase()) {
            None if rest.len() == text.len() => 1,
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            _ => return None,
        };
        sum = sum.checked_add(number.checked_mul(unit)?).filter(|&sum| sum <= MAX_TTL)?;
        rest = after.as_str();
        if rest.is_empty() {
            return Some(sum);
        }
    }
}

fn next_symbol(bytes: &[u8], position: usize) -> Result<Option<(Symbol, usize)>, ScanError> {
    Symbol::from_slice_index(bytes, position).map_err(|_| {
        ScanError::new("a backslash is followed by what can't be escaped").hint(
            r"after a backslash comes one printable character or three decimal digits up to 255; write \\ for itself",
        )
    })
}

fn long_string() -> ScanError {
    ScanError::new("a string is longer than 255 octets").hint(r#"split it: "first part" "second part""#)
}

fn append(data: &impl ComposeRecordData, rdata: &mut Vec<u8>) {
    let Ok(()) = data.compose_rdata(rdata);
}

/// Appends data given as RFC 3597 says, if it is what its type may hold.
fn append_generic(generic: &UnknownRecordData<Vec<u8>>, rdata: &mut Vec<u8>) -> Result<(), ScanError> {
    let mut parser = Parser::from_ref(generic.data().as_slice());
    match ZoneRecordData::<&[u8], ParsedName<&[u8]>>::parse_rdata(generic.rtype(), &mut parser) {
        Ok(Some(data)) if parser.remaining() == 0 => append(&data, rdata),
        _ => {}
    }
    let fits = match generic.rtype() {
        Rtype::SVCB | Rtype::HTTPS => svcb::fits(generic.data()),
        rtype => Layout::of(rtype).is_none_or(|layout| layout.fits(generic.data())),
    };
    // Compressed names come out longer; RFC 3597 section 4 has none here.
    if !fits || rdata != generic.data() {
        return Err(ScanError::new(format!("these octets are no {} data", generic.rtype())));
    }
    Ok(())
}

/// Data of each type whose own form can be read, as an example.
pub(super) fn example(rtype: Rtype) -> Option<&'static str> {
    Some(match rtype {
        Rtype::A => "192.0.2.1",
        Rtype::AAAA => "2001:db8::1",
        Rtype::NS => "ns1.example.net.",
        Rtype::CNAME | Rtype::DNAME | Rtype::PTR | Rtype::MB | Rtype::MD | Rtype::MF | Rtype::MG | Rtype::MR => {
            "www.example.net."
        }
        Rtype::SOA => "ns1.example.net. hostmaster.example.net. 2026010100 1h 15m 2w 5m",
        Rtype::MX => "10 mail.example.net.",
        Rtype::TXT => r#""v=spf1 -all""#,
        Rtype::SRV => "0 5 5060 sip.example.net.",
        Rtype::CAA => r#"0 issue "ca.example.net""#,
        Rtype::SVCB | Rtype::HTTPS => "1 . alpn=h2,h3 ipv4hint=192.0.2.1",
        Rtype::NAPTR => r#"100 10 "S" "SIP+D2U" "" _sip._udp.example.net."#,
        Rtype::NSEC => "host.example.net. A MX RRSIG NSEC",
        Rtype::NSEC3 => "1 0 0 - 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR A RRSIG",
        Rtype::NSEC3PARAM => "1 0 0 -",
        Rtype::HINFO => r#""RFC8482" """#,
        Rtype::MINFO | Rtype::RP => "admin.example.net. errors.example.net.",
        Rtype::IPSECKEY => "10 1 2 192.0.2.38 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
        _ => return Layout::of(rtype).map(|layout| layout.example),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Source;
    use crate::zone::token::Entries;

    #[test]
    fn every_example_is_data_of_its_type() {
        let examples = (0..u16::MAX).map(Rtype::from_int).filter_map(|rtype| Some((rtype, example(rtype)?)));
        let mut count = 0;
        for (rtype, example) in examples {
            let source = Arc::new(Source { path: "example".into(), text: example.into() });
            let mut tokens = Vec::new();
            Entries::new(&source).next(&mut tokens).unwrap().unwrap();
            let root = Name::root_vec();
            let mut scanner = EntryScanner::new(&source.text, &tokens, &root);
            let rdata = scanner.scan_rdata(rtype).unwrap_or_else(|error| panic!("{rtype} {example}: {error}"));

            let generic = UnknownRecordData::from_octets(rtype, rdata.clone()).unwrap();
            let mut read_back = Vec::new();
            append_generic(&generic, &mut read_back).unwrap_or_else(|error| panic!("{rtype} {example}: {error}"));
            assert_eq!(read_back, rdata, "{rtype}");
            count += 1;
        }
        assert_eq!(count, 75);
    }

    #[test]
    fn times_have_units() {
        let cases = [
            ("0", Some(0)),
            ("60", Some(60)),
            ("2147483647", Some(MAX_TTL)),
            ("1s", Some(1)),
            ("1M", Some(60)),
            ("1h30m", Some(5_400)),
            ("1w2d3h4m5s", Some(788_645)),
            ("5s1w", Some(604_805)),
            ("2147483647s", Some(MAX_TTL)),
            ("2147483648", None),
            ("3550w5d3h14m8s", None),
            ("99999w", None),
            ("1h30", None),
            ("h", None),
            ("1hh", None),
            ("1y", None),
            ("-1", None),
            ("+1", None),
            ("", None),
            ("1.5h", None),
        ];
        for (text, expected) in cases {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
