//! `$GENERATE start-stop[/step] owner [TTL] [class] type data`: the range, and the two templates, as BIND has them.

use super::scan::ScanError;

/// The largest number of a range, as in BIND.
const MAX_NUMBER: u32 = i32::MAX as u32;
/// The widest that a number is made; no name holds a wider one.
const MAX_WIDTH: usize = 255;

/// The numbers that records are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    start: u32,
    stop: u32,
    step: u32,
}

impl Range {
    /// Reads `start-stop` or `start-stop/step`.
    pub(super) fn parse(text: &str) -> Result<Self, ScanError> {
        let (bounds, step) = text.split_once('/').unwrap_or((text, "1"));
        let (start, stop) = bounds.split_once('-').unwrap_or((bounds, ""));
        match (number(start), number(stop), number(step)) {
            (Some(start), Some(stop), Some(step)) if start <= stop && step > 0 => Ok(Self { start, stop, step }),
            _ => Err(ScanError::new(format!("`{text}` is not a range"))
                .hint(format!("write start-stop or start-stop/step, with start at most stop, stop at most {MAX_NUMBER} and step above 0"))),
        }
    }

    /// How many numbers there are.
    pub(super) fn count(self) -> usize {
        ((self.stop - self.start) / self.step) as usize + 1
    }

    /// The numbers in order.
    pub(super) fn numbers(self) -> impl Iterator<Item = u32> {
        (self.start..=self.stop).step_by(self.step as usize)
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number <= MAX_NUMBER)
}

/// A word in which numbers are put in place of what begins with `$`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// Text as it is, escapes as written.
    Text(String),
    /// The number plus the offset, in at least so many digits of this base.
    Number { offset: i32, width: usize, base: Base },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Decimal,
    Octal,
    LowerHex,
    UpperHex,
    /// Hexadecimal digits in reverse, a label each; the dots count in the width.
    LowerNibbles,
    UpperNibbles,
}

impl Template {
    /// Reads a template. `$$` and `\$` stand for a dollar sign.
    pub(super) fn parse(text: &str) -> Result<Self, ScanError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['$', '\\']) {
            literal.push_str(&rest[..at]);
            let marked = &rest[at..];
            if marked.starts_with('\\') {
                // What is escaped stays so, for the reader of what comes out.
                let length = marked.chars().take(2).map(char::len_utf8).sum();
                literal.push_str(&marked[..length]);
                rest = &marked[length..];
            } else if let Some(after) = marked.strip_prefix("$$") {
                literal.push('$');
                rest = after;
            } else {
                let (part, after) = match marked.strip_prefix("${") {
                    Some(after) => {
                        let close = after.find('}').ok_or_else(|| {
                            ScanError::new("`${` is never closed")
                                .hint("write ${offset}, ${offset,width} or ${offset,width,base}")
                        })?;
                        (modified(&after[..close])?, &after[close + 1..])
                    }
                    None => (Part::Number { offset: 0, width: 0, base: Base::Decimal }, &marked[1..]),
                };
                parts.extend([Part::Text(std::mem::take(&mut literal)), part]);
                rest = after;
            }
        }
        literal.push_str(rest);
        parts.push(Part::Text(literal));
        Ok(Self(parts))
    }

    /// The text for a number.
    pub(super) fn fill(&self, number: u32) -> Result<String, ScanError> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Number { offset, width, base } => {
                    let sum = i64::from(number) + i64::from(*offset);
                    let value = u32::try_from(sum).map_err(|_| {
                        ScanError::new(format!("the number {number} with its offset is {sum}, below 0"))
                    })?;
                    filled.push_str(&base.write(value, *width));
                }
            }
        }
        Ok(filled)
    }
}

/// `offset[,width[,base]]`
fn modified(text: &str) -> Result<Part, ScanError> {
    let mut words = text.split(',');
    let offset = words.next().and_then(|word| word.parse().ok());
    let width = words.next().map_or(Some(0), |word| word.parse().ok().filter(|width| *width <= MAX_WIDTH));
    let base = words.next().map_or(Some(Base::Decimal), Base::parse);
    match (offset, width, base, words.next()) {
        (Some(offset), Some(width), Some(base), None) => Ok(Part::Number { offset, width, base }),
        _ => Err(ScanError::new(format!("`${{{text}}}` is not ${{offset,width,base}}")).hint(format!(
            "write for example ${{0,3,d}}: the width is at most {MAX_WIDTH}, the base one of d, o, x, X, n and N"
        ))),
    }
}

impl Base {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "d" => Self::Decimal,
            "o" => Self::Octal,
            "x" => Self::LowerHex,
            "X" => Self::UpperHex,
            "n" => Self::LowerNibbles,
            "N" => Self::UpperNibbles,
            _ => return None,
        })
    }

    fn write(self, value: u32, width: usize) -> String {
        match self {
            Self::Decimal => format!("{value:0width$}"),
            Self::Octal => format!("{value:0width$o}"),
            Self::LowerHex => format!("{value:0width$x}"),
            Self::UpperHex => format!("{value:0width$X}"),
            Self::LowerNibbles => nibbles(value, width),
            Self::UpperNibbles => nibbles(value, width).to_ascii_uppercase(),
        }
    }
}

/// The digits from the last to the first that is not zero, and more zeros while the width has room for a digit or a dot.
fn nibbles(mut value: u32, width: usize) -> String {
    let mut written = String::new();
    loop {
        written.push(char::from_digit(value & 0xf, 16).unwrap_or_default());
        value >>= 4;
        if value == 0 && written.len() >= width {
            return written;
        }
        written.push('.');
        if value == 0 && written.len() >= width {
            return written;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn ranges() {
        let numbers = |text| Range::parse(text).ok().map(|range| range.numbers().collect::<Vec<_>>());
        let cases = [
            ("0-3", Some(vec![0, 1, 2, 3])),
            ("7-7", Some(vec![7])),
            ("1-10/4", Some(vec![1, 5, 9])),
            ("2147483646-2147483647", Some(vec![2_147_483_646, 2_147_483_647])),
            ("0-2147483648", None),
            ("3-2", None),
            ("1-3/0", None),
            ("1", None),
            ("1-", None),
            ("-1-3", None),
            ("+1-3", None),
            ("1-3/", None),
            ("1-3/1/1", None),
        ];
        for (text, expected) in cases {
            let found = numbers(text);
            assert_eq!(found, expected, "{text}");
            let count = Range::parse(text).ok().map(Range::count);
            assert_eq!(count, expected.map(|numbers| numbers.len()), "{text}");
        }
        assert_eq!(Range::parse("0-2147483647").unwrap().count(), 1 << 31);
    }

    /// As BIND 9.18 writes them.
    #[test]
    fn templates() {
        let cases = [
            ("host", 5, Some("host")),
            ("$", 5, Some("5")),
            ("host$.x$", 5, Some("host5.x5")),
            ("$$", 5, Some("$")),
            ("a$$b$", 5, Some("a$b5")),
            (r"\$-$", 5, Some(r"\$-5")),
            (r"\\$", 5, Some(r"\\5")),
            (r"\036$", 5, Some(r"\0365")),
            ("${1}", 5, Some("6")),
            ("${-5}", 5, Some("0")),
            ("${+1}", 5, Some("6")),
            ("${0,3}", 5, Some("005")),
            ("${0,3,d}", 12_345, Some("12345")),
            ("${0,4,o}", 8, Some("0010")),
            ("${0,2,x}", 171, Some("ab")),
            ("${0,4,X}", 171, Some("00AB")),
            ("${0,0,n}", 0x1b3, Some("3.b.1")),
            ("${0,7,n}", 0x1b, Some("b.1.0.0")),
            ("${0,8,N}", 0x1b, Some("B.1.0.0.")),
            ("${0,1,n}", 0, Some("0")),
            ("${-6}", 5, None),
            ("${", 5, None),
            ("${}", 5, None),
            ("${a}", 5, None),
            ("${0,-1}", 5, None),
            ("${0,256}", 5, None),
            ("${0,1,q}", 5, None),
            ("${0,1,d,1}", 5, None),
            ("é$", 5, Some("é5")),
            ("\\", 5, Some("\\")),
        ];
        for (text, number, expected) in cases {
            let found = Template::parse(text).and_then(|template| template.fill(number));
            assert_eq!(found.ok().as_deref(), expected, "{text}");
        }
    }
}
