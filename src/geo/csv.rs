//! Comma-separated values whose first line names the columns.

use std::fmt;
use std::io::{self, BufRead, Read};

/// The longest line, in bytes.
const MAX_LINE_BYTES: u64 = 4096;
/// How many bad lines are named.
const MAX_SHOWN: usize = 20;

/// What a file may hold.
#[derive(Debug)]
pub(super) struct Format {
    /// The columns that there can be.
    pub(super) columns: &'static [&'static str],
    /// Those that there must be.
    pub(super) required: &'static [&'static str],
    /// The most lines.
    pub(super) max_lines: usize,
}

/// What is wrong with a file: the first few lines, and how many in all.
#[derive(Debug, Default)]
pub struct BadLines {
    shown: Vec<(usize, String)>,
    count: usize,
}

impl BadLines {
    /// Notes what is wrong with a line, counted from 1.
    pub(super) fn add(&mut self, line: usize, problem: String) {
        if self.shown.len() < MAX_SHOWN {
            self.shown.push((line, problem));
        }
        self.count += 1;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first few.
    pub fn shown(&self) -> &[(usize, String)] {
        &self.shown
    }
}

impl fmt::Display for BadLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, problem) in &self.shown {
            write!(f, "\n  line {line}: {problem}")?;
        }
        match self.count - self.shown.len() {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl Format {
    /// Hands each row to `take`, with its line, counted from 1, and its fields in the order of the format's columns, empty
    /// where there is none. What can't be read, and what `take` says of a row, is added to the bad lines.
    pub(super) fn read(
        &self,
        mut csv: impl BufRead,
        bad_lines: &mut BadLines,
        mut take: impl FnMut(usize, &[String]) -> Result<(), String>,
    ) -> io::Result<()> {
        // For each column of the file its place in the format.
        let mut places: Option<Vec<usize>> = None;
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            if csv.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut text)? == 0 {
                break;
            }
            if line > self.max_lines || text.len() as u64 > MAX_LINE_BYTES {
                let problem = format!("at most {} lines of {MAX_LINE_BYTES} bytes are read", self.max_lines);
                bad_lines.add(line, problem);
                break;
            }
            let Ok(text) = std::str::from_utf8(&text) else {
                bad_lines.add(line, "not UTF-8".to_owned());
                continue;
            };
            let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
            if text.is_empty() {
                continue;
            }
            let result = split(text).and_then(|fields| match &places {
                None => {
                    places = Some(self.header(&fields)?);
                    Ok(())
                }
                Some(places) => take(line, &self.in_order(places, fields)?),
            });
            if let Err(problem) = result {
                bad_lines.add(line, problem);
                // Without the columns nothing can be said of the rest.
                if places.is_none() {
                    break;
                }
            }
        }
        if places.is_none() && bad_lines.count == 0 {
            let columns = self.columns.join(",");
            bad_lines.add(1, format!("empty: the first line names the columns, such as {columns}"));
        }
        Ok(())
    }

    fn header(&self, fields: &[String]) -> Result<Vec<usize>, String> {
        let mut places = Vec::new();
        for field in fields {
            let place = self.columns.iter().position(|name| name.eq_ignore_ascii_case(field)).ok_or_else(|| {
                let names = self.columns.join(", ");
                format!("unknown column {field:?}: the first line names the columns, any of {names}")
            })?;
            if places.contains(&place) {
                return Err(format!("column {field:?} twice"));
            }
            places.push(place);
        }
        let is_named = |name: &&&str| places.iter().any(|place| self.columns[*place] == **name);
        match self.required.iter().find(|name| !is_named(name)) {
            Some(missing) => Err(format!("no column {missing:?}")),
            None => Ok(places),
        }
    }

    fn in_order(&self, places: &[usize], fields: Vec<String>) -> Result<Vec<String>, String> {
        if fields.len() != places.len() {
            return Err(format!("{} fields for {} columns", fields.len(), places.len()));
        }
        let mut ordered = vec![String::new(); self.columns.len()];
        for (place, field) in places.iter().zip(fields) {
            ordered[*place] = field;
        }
        Ok(ordered)
    }
}

/// The fields of one line (RFC 4180, but for line breaks inside quotes).
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let mut field = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            loop {
                let (text, after) = rest.split_once('"').ok_or("a quote is not closed")?;
                field.push_str(text);
                rest = after;
                match rest.strip_prefix('"') {
                    Some(after) => {
                        field.push('"');
                        rest = after;
                    }
                    None => break,
                }
            }
            rest = rest.trim_start_matches([' ', '\t']);
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err("text after a closing quote: put two quotes inside of a field".to_owned());
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (text, after) = rest.split_at(end);
            field.push_str(text.trim());
            rest = after;
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::split;

    #[test]
    fn fields() {
        for (line, expected) in [
            ("a,b", vec!["a", "b"]),
            (" a b , ", vec!["a b", ""]),
            ("\"a,\"\"b\" ,c", vec!["a,\"b", "c"]),
            ("\"\"", vec![""]),
        ] {
            assert_eq!(split(line).unwrap(), expected, "{line}");
        }
    }
}
