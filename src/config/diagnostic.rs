//! What is wrong with the operator's input, where, and what to write instead.
//!
//! A [`Problem`] is made with [`Problem::new`], pointed at its place with [`Problem::at`] and given a way out with
//! [`Problem::hint`]. On one line, for a log, it displays as `path:line:column: message; hint`; [`Problems`] display
//! as reports for people, each with its line of text and a caret under the place.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str};

/// Problems shown by [`Problems::render`]; the rest are counted.
pub const MAX_SHOWN: usize = 100;
/// Bytes of a message or a hint that are shown.
const MAX_MESSAGE_BYTES: usize = 600;
/// Bytes of a line beyond which only the surroundings of the place are rendered.
const MAX_LINE_BYTES: usize = 4_096;
/// Bytes of such a line that are rendered before and after the place's start.
const CONTEXT_BYTES: usize = 200;

/// A text that problems point into.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it was read from, as the operator would name it.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// The line and the column of a byte offset, both from 1; the column counts characters.
    pub fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..floor_character(&self.text, offset)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|&octet| octet == b'\n').count() + 1;
        (line, before.get(line_start..).unwrap_or_default().chars().count() + 1)
    }

    /// The first line that `span` touches.
    fn excerpt(&self, span: &Range<usize>) -> Excerpt<'_> {
        let text = self.text.as_str();
        let start = floor_character(text, span.start);
        let line_start = text.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
        let line_end = text.get(start..).and_then(|after| after.find('\n')).map_or(text.len(), |length| start + length);
        let end = floor_character(text, span.end).clamp(start, line_end);
        if line_end - line_start <= MAX_LINE_BYTES {
            let line = text.get(line_start..line_end).unwrap_or_default();
            return Excerpt::Line(line.strip_suffix('\r').unwrap_or(line), start - line_start..end - line_start);
        }
        let shown_start = line_start.max(floor_character(text, start.saturating_sub(CONTEXT_BYTES)));
        let shown_end = line_end.min(floor_character(text, start + CONTEXT_BYTES));
        let shown = text.get(shown_start..shown_end).unwrap_or_default();
        let offset = "...".len();
        let marked = start - shown_start + offset..end.min(shown_end) - shown_start + offset;
        Excerpt::Part(format!("...{shown}..."), marked)
    }
}

/// What is shown of a line, and the place in it.
enum Excerpt<'a> {
    /// All of it.
    Line(&'a str, Range<usize>),
    /// The surroundings of the place, so columns in it aren't those of the line.
    Part(String, Range<usize>),
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in one line.
    pub message: String,
    /// Where: the text and the byte range in it. Absent for what has no text, such as a missing file.
    pub place: Option<(Arc<Source>, Range<usize>)>,
    /// What to write instead.
    pub hint: Option<String>,
    /// Whether a reload leaves only the zone as it is in whose file it is, and takes in all else.
    pub is_of_zone_alone: bool,
}

impl Problem {
    /// A problem that has no place in a text.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, hint: None, is_of_zone_alone: false }
    }

    /// Points it at a place.
    #[must_use]
    pub fn at(mut self, source: &Arc<Source>, span: Range<usize>) -> Self {
        self.place = Some((Arc::clone(source), span));
        self
    }

    /// Makes it one that holds up only the zone that it is in.
    #[must_use]
    pub fn of_zone_alone(mut self) -> Self {
        self.is_of_zone_alone = true;
        self
    }

    /// Says what to write instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The report for people, without a newline at its end: message, place, the first line of the place with a caret
    /// under it, and the hint.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled().hyperlink(false) } else { Renderer::plain() };
        let hint = || self.hint.as_ref().map(|hint| Level::HELP.message(one_line(hint)));
        if self.place.is_none() {
            // Two titles: what hangs below one hangs on a bar, and here nothing stands beside that.
            let error = Level::ERROR.primary_title(one_line(&self.message));
            let help = self.hint.as_ref().map(|hint| Level::HELP.secondary_title(one_line(hint)));
            let titles = [Some(error), help].into_iter().flatten();
            let lines: Vec<String> = titles.map(|title| renderer.render(&[Group::with_title(title)])).collect();
            return lines.join("\n");
        }
        let mut group = Level::ERROR.primary_title(one_line(&self.message)).elements(None::<Origin<'_>>);
        if let Some((source, span)) = &self.place {
            let (line, column) = source.line_and_column(span.start);
            let path = source.path.to_string_lossy();
            group = match source.excerpt(span) {
                Excerpt::Line(text, marked) => group.element(
                    Snippet::source(text).path(path).line_start(line).annotation(AnnotationKind::Primary.span(marked)),
                ),
                Excerpt::Part(text, marked) => group
                    .element(Origin::path(path).line(line).char_column(column))
                    .element(Snippet::source(text).line_start(line).annotation(AnnotationKind::Primary.span(marked))),
            };
        }
        if let Some(hint) = hint() {
            group = group.element(hint);
        }
        renderer.render(&[group])
    }
}

/// One line, for a log.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((source, span)) = &self.place {
            let (line, column) = source.line_and_column(span.start);
            write!(f, "{}:{line}:{column}: ", source.path.display())?;
        }
        f.write_str(&one_line(&self.message))?;
        match &self.hint {
            Some(hint) => write!(f, "; {}", one_line(hint)),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong: in the order of the text where it was found in one, else in the order found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// The reports of the first [`MAX_SHOWN`] problems, with an empty line between them and a newline at the end.
    pub fn render(&self, colour: bool) -> String {
        let mut rendered = String::new();
        for (index, problem) in self.0.iter().take(MAX_SHOWN).enumerate() {
            if index > 0 {
                rendered.push('\n');
            }
            rendered.push_str(&problem.render(colour));
            rendered.push('\n');
        }
        if let Some(more @ 1..) = self.0.len().checked_sub(MAX_SHOWN) {
            rendered.push_str(&format!("\nand {more} more\n"));
        }
        rendered
    }
}

/// [`Problems::render`] without colour.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// The text bounded, on one line and without control characters: names in it come from the input.
fn one_line(text: &str) -> String {
    let shown = text.get(..floor_character(text, MAX_MESSAGE_BYTES)).unwrap_or_default();
    let mut line = normalize_untrusted_str(&shown.replace(['\n', '\r'], " "));
    if shown.len() < text.len() {
        line.push_str("...");
    }
    line
}

/// The last offset at or before this one where a character of the text starts or the text ends.
fn floor_character(text: &str, offset: usize) -> usize {
    let offset = offset.min(text.len());
    (0..=offset).rev().find(|&candidate| text.is_char_boundary(candidate)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source { path: PathBuf::from("m.toml"), text: text.to_owned() })
    }

    #[test]
    fn with_a_place() {
        let source = source("a = 1\r\n\tüb = \"ü\" # x\r\n");
        let problem = Problem::new("no ü").at(&source, 14..18).hint("write \"u\"");
        let expected = r#"
error: no ü
 --> m.toml:2:7
  |
2 |     üb = "ü" # x
  |          ^^^
  |
  = help: write "u""#;
        assert_eq!(format!("\n{}", problem.render(false)), expected);
        assert_eq!(problem.to_string(), "m.toml:2:7: no ü; write \"u\"");
        assert!(problem.render(true).contains("\u{1b}["));
    }

    #[test]
    fn without_a_place() {
        let problem = Problem::new("can't read x\ny\u{1b}[31m").hint("try");
        let expected = "
error: can't read x y␛[31m
help: try";
        assert_eq!(format!("\n{}", problem.render(false)), expected);
        assert_eq!(Problem::new("no hint").render(false), "error: no hint");
    }

    #[test]
    fn at_the_end_of_the_text() {
        let source = source("a = 1\nb");
        let expected = "
error: cut
 --> m.toml:2:2
  |
2 | b
  |  ^";
        assert_eq!(format!("\n{}", Problem::new("cut").at(&source, 7..7).render(false)), expected);
        assert_eq!(format!("\n{}", Problem::new("cut").at(&source, 90..99).render(false)), expected);
    }

    #[test]
    fn a_place_of_several_lines_shows_the_first() {
        let source = source("a = [\n  1,\n]\n");
        let expected = "
error: many
 --> m.toml:1:5
  |
1 | a = [
  |     ^";
        assert_eq!(format!("\n{}", Problem::new("many").at(&source, 4..12).render(false)), expected);
    }

    #[test]
    fn a_long_line_is_cut() {
        let text = format!("a = \"{}\", b = 1, c = \"{}\"", "x".repeat(5_000), "y".repeat(5_000));
        let start = text.find("b = 1").unwrap();
        let rendered = Problem::new("long").at(&source(&text), start..start + 1).render(false);
        assert!(rendered.contains(&format!("m.toml:1:{}", start + 1)), "{rendered}");
        assert!(rendered.contains("b = 1") && rendered.len() < 2_000, "{rendered}");
        let line = rendered.lines().find(|line| line.contains("b = 1")).unwrap();
        let caret = rendered.lines().find(|line| line.contains('^')).unwrap();
        assert_eq!(line.find("b = 1"), caret.find('^'));
        let message = Problem::new("é".repeat(5_000)).to_string();
        assert!(message.len() < 1_000 && message.ends_with("..."));
    }

    #[test]
    fn only_so_many_are_shown() {
        let problems = |count| Problems(vec![Problem::new("again"); count]).to_string();
        assert_eq!(problems(0), "");
        assert_eq!(problems(2), "error: again\n\nerror: again\n");
        assert!(problems(MAX_SHOWN).ends_with("error: again\n"));
        assert!(problems(MAX_SHOWN + 2).ends_with("error: again\n\nand 2 more\n"));
    }

    proptest! {
        #[test]
        fn renders_any_text_and_place(text in "(\\PC|[\r\n\t\0]|a{1,300}){0,60}", start in 0_usize..900, length in 0_usize..900) {
            let problem = Problem::new(text.clone()).at(&source(&text), start..start + length).hint(text);
            prop_assert!(problem.render(false).len() < 20_000);
            prop_assert!(problem.render(true).len() < 40_000);
            prop_assert!(!problem.to_string().contains('\n'));
        }
    }
}
