//! The text of a master file as entries, each split into tokens (RFC 1035 section 5.1).

use std::ops::Range;
use std::sync::Arc;

use crate::config::{Problem, Source};

/// The longest entry in bytes, comments included: enough for the largest record data written out as escapes.
const MAX_ENTRY_BYTES: usize = 1 << 20;
/// The longest token in bytes. No value of a parameter or character string that fits a record is longer.
const MAX_TOKEN_BYTES: usize = u16::MAX as usize;

/// One word or quoted string, by its place in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    start: usize,
    end: usize,
    /// It stands in double quotes, which its place leaves out.
    pub(super) quoted: bool,
    /// White space precedes it.
    pub(super) spaced: bool,
}

impl Token {
    /// What it says, escapes as written.
    pub(super) fn text<'a>(&self, text: &'a str) -> &'a str {
        &text[self.start..self.end]
    }

    /// Where it is, quotes included.
    pub(super) fn span(&self) -> Range<usize> {
        if self.quoted { self.start - 1..self.end + 1 } else { self.start..self.end }
    }
}

/// Splits a text into entries: lines, or several where parentheses join them.
///
/// After a problem it goes on at the next line that looks like the beginning of an entry, so that one reading names
/// every problem.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    source: &'a Arc<Source>,
    position: usize,
}

impl<'a> Entries<'a> {
    /// Begins at the beginning, past the byte order mark that some editors put there.
    pub(super) fn new(source: &'a Arc<Source>) -> Self {
        const BYTE_ORDER_MARK: char = '\u{feff}';
        let position = if source.text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        Self { source, position }
    }

    /// Puts the tokens of the next entry, at least one, in place of those in `tokens`. `None` at the end.
    pub(super) fn next(&mut self, tokens: &mut Vec<Token>) -> Option<Result<(), Problem>> {
        let bytes = self.source.text.as_bytes();
        tokens.clear();
        let mut begin = self.position;
        let mut parentheses: Vec<usize> = Vec::new();
        let mut spaced = false;
        while let Some(&byte) = bytes.get(self.position) {
            let here = self.position;
            if here - begin > MAX_ENTRY_BYTES {
                return Some(Err(match parentheses.first() {
                    Some(&open) => self.unclosed(open),
                    None => {
                        self.skip_line();
                        let message = format!("a line is longer than {MAX_ENTRY_BYTES} bytes");
                        Problem::new(message).at(self.source, self.to_line_end(begin))
                    }
                }));
            }
            match byte {
                b'\n' => {
                    self.position += 1;
                    if !parentheses.is_empty() {
                        spaced = true;
                    } else if tokens.is_empty() {
                        begin = self.position;
                        spaced = false;
                    } else {
                        return Some(Ok(()));
                    }
                }
                b' ' | b'\t' | b'\r' => {
                    self.position += 1;
                    spaced = true;
                }
                b';' => self.position = self.line_end(here),
                b'(' => {
                    self.position += 1;
                    parentheses.push(here);
                }
                b')' => {
                    self.position += 1;
                    if parentheses.pop().is_none() {
                        self.skip_line();
                        return Some(Err(Problem::new("`)` closes nothing")
                            .at(self.source, here..here + 1)
                            .hint("remove it, or open the group with `(`")));
                    }
                }
                quote_or_word => {
                    let quoted = quote_or_word == b'"';
                    let start = if quoted { here + 1 } else { here };
                    let end = token_end(bytes, start, quoted);
                    if quoted && bytes.get(end) != Some(&b'"') {
                        if parentheses.is_empty() {
                            self.skip_line();
                        } else {
                            self.skip_to_owner(here);
                        }
                        return Some(Err(Problem::new("the string doesn't end on its line")
                            .at(self.source, self.to_line_end(here))
                            .hint("close it with `\"`; a quote or line end inside is written as `\\\"` or `\\010`")));
                    }
                    if end - start > MAX_TOKEN_BYTES {
                        self.skip_line();
                        return Some(Err(Problem::new(format!("a word is longer than {MAX_TOKEN_BYTES} bytes"))
                            .at(self.source, self.to_line_end(here))
                            .hint("split it with white space where its type allows that")));
                    }
                    tokens.push(Token { start, end, quoted, spaced });
                    spaced = false;
                    self.position = if quoted { end + 1 } else { end };
                }
            }
        }
        match parentheses.first() {
            Some(&open) => Some(Err(self.unclosed(open))),
            None if tokens.is_empty() => None,
            None => Some(Ok(())),
        }
    }

    fn unclosed(&mut self, open: usize) -> Problem {
        self.skip_to_owner(open);
        Problem::new("`(` is never closed")
            .at(self.source, open..open + 1)
            .hint("write `)` after the last word that belongs to the entry")
    }

    /// Where the line that contains `position` ends, its line feed left out.
    fn line_end(&self, position: usize) -> usize {
        let rest = self.source.text.as_bytes().get(position..).unwrap_or_default();
        position + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
    }

    fn to_line_end(&self, position: usize) -> Range<usize> {
        position..position + self.source.text[position..self.line_end(position)].trim_end().len()
    }

    fn skip_line(&mut self) {
        self.position = self.line_end(self.position);
    }

    /// Goes to the first line after `position` that begins with an owner, as the lines inside of parentheses seldom do.
    fn skip_to_owner(&mut self, position: usize) {
        let bytes = self.source.text.as_bytes();
        self.position = self.line_end(position);
        while let Some(byte) = bytes.get(self.position + 1)
            && matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b';' | b')')
        {
            self.position = self.line_end(self.position + 1);
        }
    }
}

/// Where the token that begins at `start` ends. One in quotes ends before the closing quote, or before the line feed or
/// the end of the text that comes first.
fn token_end(bytes: &[u8], start: usize, quoted: bool) -> usize {
    let mut position = start;
    while let Some(&byte) = bytes.get(position) {
        match byte {
            b'\n' => break,
            b'\\' if bytes.get(position + 1).is_some_and(|&escaped| escaped != b'\n') => position += 2,
            b'"' => break,
            b' ' | b'\t' | b'\r' | b'(' | b')' | b';' if !quoted => break,
            _ => position += 1,
        }
    }
    position
}
