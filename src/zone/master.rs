//! Master files (RFC 1035 section 5) → records, with every problem in them.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::base::iana::Rtype;
use domain::base::scan::Scanner;

use super::generate::{Range as NumberRange, Template};
use super::record::{Place, Record};
use super::scan::{EntryScanner, MAX_TTL, ScanError, name};
use super::token::{Entries, Token};
use super::{MAX_PROBLEMS, Name};
use crate::config::{Problem, Source};
use crate::regular_file;

/// The most bytes in a zone's files together, and in what is generated; a file that is included twice counts twice.
const MAX_ZONE_BYTES: u64 = 256 << 20;
/// The most records in one zone.
const MAX_RECORDS: usize = 2_000_000;
/// The most records that one zone generates: a line of text makes any number of them.
const MAX_GENERATED: usize = 262_144;
/// How deep `$INCLUDE` may nest.
const MAX_INCLUDE_DEPTH: usize = 8;
/// The most files that one zone is read from, counted as [`MAX_ZONE_BYTES`] counts.
const MAX_FILES: usize = 1_000;

/// What a master file holds.
#[derive(Debug)]
pub(super) struct Reading {
    /// The records in the order written. Those that can't be read, or whose owner isn't known for that, are missing.
    pub(super) records: Vec<Record>,
    /// The files, the zone's own first.
    pub(super) sources: Vec<Arc<Source>>,
    /// At most [`MAX_PROBLEMS`], and one that says that there may be more.
    pub(super) problems: Vec<Problem>,
}

/// Reads a master file whose origin is `apex` at first. Files that it includes are read from its folder and below.
pub(super) fn read(apex: &Name, source: &Arc<Source>) -> Reading {
    let bytes_left = MAX_ZONE_BYTES.saturating_sub(source.text.len() as u64);
    let mut reader = Reader {
        bytes_left,
        generated_left: MAX_GENERATED,
        including: fs::canonicalize(&source.path).into_iter().collect(),
        folder: folder(&source.path).to_path_buf(),
        ttls: Ttls::default(),
        reading: Reading { records: Vec::new(), sources: Vec::new(), problems: Vec::new() },
        stopped: false,
    };
    reader.read_file(source, apex);
    reader.reading
}

/// Reads a zone's file. A problem has no place unless it is one of the text.
pub(super) fn read_source(path: &Path) -> Result<Source, Problem> {
    read_at_most(path, MAX_ZONE_BYTES)
}

fn read_at_most(path: &Path, limit: u64) -> Result<Source, Problem> {
    let unreadable = |error: std::io::Error| Problem::new(format!("can't read {}: {error}", path.display()));
    let Some(bytes) = regular_file::read(path, limit).map_err(unreadable)? else {
        return Err(Problem::new(format!("with {} the zone has more than {MAX_ZONE_BYTES} bytes", path.display())));
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { path: path.to_path_buf(), text }),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let source = Arc::new(Source { path: path.to_path_buf(), text });
            Err(Problem::new("the file is not UTF-8 from here on")
                .at(&source, at..at + char::REPLACEMENT_CHARACTER.len_utf8())
                .hint("write an octet above 127 as a backslash and three decimal digits, such as \\228"))
        }
    }
}

/// The folder that holds the file.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[derive(Debug)]
struct Reader {
    reading: Reading,
    /// Where `$INCLUDE` may lead, as the path to the zone's file names it.
    folder: PathBuf,
    /// The files being read, outermost first, in canonical form.
    including: Vec<PathBuf>,
    bytes_left: u64,
    /// Records that may still be generated.
    generated_left: usize,
    ttls: Ttls,
    /// A bound is reached: nothing more is read.
    stopped: bool,
}

/// Where a record without a TTL takes it from. An included file shares it with the file that includes it.
#[derive(Debug, Default)]
struct Ttls {
    /// `$TTL` (RFC 2308 section 4).
    directive: Option<u32>,
    /// The last one that a record gave (RFC 1035 section 5.1).
    last: Option<u32>,
    /// The SOA's MINIMUM, for want of both, as BIND has it.
    soa_minimum: Option<u32>,
}

/// What an entry takes from the entries before it.
#[derive(Debug)]
struct Context {
    source: Arc<Source>,
    /// Index of the source.
    index: usize,
    origin: Name,
    /// False after an `$ORIGIN` that can't be read: what follows is checked, but belongs who knows where.
    origin_known: bool,
    owner: Owner,
}

/// The owner of an entry that begins with white space.
#[derive(Debug)]
enum Owner {
    /// None was written yet.
    None,
    /// That of the entry before.
    Last(Name),
    /// The entry before can't be read; so this one's record is dropped.
    Unknown,
}

impl Reader {
    fn read_file(&mut self, source: &Arc<Source>, origin: &Name) {
        let index = self.reading.sources.len();
        self.reading.sources.push(Arc::clone(source));
        let mut context = Context {
            source: Arc::clone(source),
            index,
            origin: origin.clone(),
            origin_known: true,
            owner: Owner::None,
        };
        let mut entries = Entries::new(source);
        let mut tokens = Vec::new();
        while !self.stopped
            && let Some(entry) = entries.next(&mut tokens)
        {
            let read = match (entry, tokens.first()) {
                (Err(problem), _) => {
                    context.owner = Owner::Unknown;
                    Err(problem)
                }
                (Ok(()), Some(first)) if !first.quoted && first.text(&source.text).starts_with('$') => {
                    self.read_directive(&mut context, &tokens)
                }
                (Ok(()), _) => self.read_record(&mut context, &tokens),
            };
            if let Err(problem) = read {
                self.report(problem);
            }
        }
    }

    fn report(&mut self, problem: Problem) {
        self.reading.problems.push(problem);
        if self.reading.problems.len() == MAX_PROBLEMS {
            self.stopped = true;
            self.reading.problems.push(Problem::new(format!("reading stopped after {MAX_PROBLEMS} problems")));
        }
    }

    fn read_directive(&mut self, context: &mut Context, tokens: &[Token]) -> Result<(), Problem> {
        let source = Arc::clone(&context.source);
        let origin = context.origin.clone();
        let mut scanner = EntryScanner::new(&source.text, tokens, &origin);
        match self.scan_directive(context, &mut scanner) {
            Ok(None) => Ok(()),
            Ok(Some(include)) => self.include(context, &include),
            Err(error) => Err(problem(&source, scanner.span(), error)),
        }
    }

    fn scan_directive(
        &mut self,
        context: &mut Context,
        scanner: &mut EntryScanner<'_>,
    ) -> Result<Option<Include>, ScanError> {
        let directive = scanner.scan_ascii_str(|name| Ok(name.to_ascii_uppercase()))?;
        match directive.as_str() {
            "$ORIGIN" => {
                context.origin_known = false;
                let origin = scanner.scan_name()?;
                scanner.end()?;
                context.origin = origin;
                context.origin_known = true;
                Ok(None)
            }
            "$TTL" => {
                let ttl = scanner.scan_seconds()?;
                scanner.end()?;
                self.ttls.directive = Some(ttl);
                Ok(None)
            }
            "$INCLUDE" => {
                let path = PathBuf::from(scanner.scan_string()?.as_str());
                let span = scanner.span();
                let origin = if scanner.continues() { scanner.scan_name()? } else { context.origin.clone() };
                scanner.end()?;
                Ok(Some(Include { path, span, origin }))
            }
            "$GENERATE" => self.generate(context, scanner).map(|()| None),
            _ => Err(ScanError::new(format!("there is no directive {directive}"))
                .hint(r"use $ORIGIN, $TTL, $INCLUDE or $GENERATE; a name that begins with $ is written with \$")),
        }
    }

    fn include(&mut self, context: &Context, include: &Include) -> Result<(), Problem> {
        let refuse = |message: String| Problem::new(message).at(&context.source, include.span.clone());
        let path = context.source.path.with_file_name(&include.path);
        let unreadable = |error| refuse(format!("can't include {}: {error}", path.display()));
        let canonical = fs::canonicalize(&path).map_err(unreadable)?;
        if !canonical.starts_with(fs::canonicalize(&self.folder).map_err(unreadable)?) {
            return Err(refuse(format!("{} is outside of the zone's folder", path.display()))
                .hint(format!("keep what is included in {} or below it", self.folder.display())));
        }
        if self.including.contains(&canonical) {
            return Err(refuse(format!("{} includes itself", path.display())));
        }
        if self.including.len() > MAX_INCLUDE_DEPTH {
            return Err(refuse(format!("$INCLUDE is nested more than {MAX_INCLUDE_DEPTH} deep")));
        }
        if self.reading.sources.len() >= MAX_FILES {
            self.stopped = true;
            return Err(refuse(format!("the zone is read from more than {MAX_FILES} files")));
        }
        let source = read_at_most(&path, self.bytes_left).map_err(|problem| match problem.place {
            None => problem.at(&context.source, include.span.clone()),
            Some(_) => problem,
        })?;
        self.bytes_left -= source.text.len() as u64;
        self.including.push(canonical);
        self.read_file(&Arc::new(source), &include.origin);
        self.including.pop();
        Ok(())
    }

    /// Makes records of a range of numbers. What comes out wrong is reported once, for the first number.
    fn generate(&mut self, context: &Context, scanner: &mut EntryScanner<'_>) -> Result<(), ScanError> {
        let range = NumberRange::parse(&scanner.scan_template()?)?;
        let owner = Template::parse(&scanner.scan_template()?)?;
        let (ttl, rtype) = scanner.scan_ttl_and_type()?;
        let data = Template::parse(&scanner.scan_template()?)?;
        scanner.end().map_err(|error| error.hint("put data of several words into quotes, such as \"10 mail$\""))?;
        scanner.blame_entry();
        let ttl = self.ttl(ttl)?;
        if range.count() > self.generated_left {
            let message = format!("with this the zone generates more than {MAX_GENERATED} records");
            return Err(ScanError::new(message).hint("take a smaller range, or write a wildcard"));
        }
        self.generated_left -= range.count();
        for number in range.numbers() {
            let (owner, data) = (owner.fill(number)?, data.fill(number)?);
            let generated_bytes = (owner.len() + data.len()) as u64;
            let Some(bytes_left) = self.bytes_left.checked_sub(generated_bytes) else {
                self.stopped = true;
                return Err(ScanError::new(format!(
                    "with what is generated the zone has more than {MAX_ZONE_BYTES} bytes"
                )));
            };
            self.bytes_left = bytes_left;
            let (name, rdata) = generated(&owner, rtype, &data, &context.origin).map_err(|error| ScanError {
                message: format!("{}, in the generated `{owner} {rtype} {data}`", error.message).into(),
                ..error
            })?;
            let place = Place::new(context.index, scanner.span());
            self.add(context, Record { owner: name, rtype, ttl, rdata, place })?;
        }
        Ok(())
    }

    fn read_record(&mut self, context: &mut Context, tokens: &[Token]) -> Result<(), Problem> {
        let source = Arc::clone(&context.source);
        let origin = context.origin.clone();
        let mut scanner = EntryScanner::new(&source.text, tokens, &origin);
        self.scan_record(context, &mut scanner).map_err(|error| problem(&source, scanner.span(), error))
    }

    fn scan_record(&mut self, context: &mut Context, scanner: &mut EntryScanner<'_>) -> Result<(), ScanError> {
        if !scanner.has_space() {
            context.owner = Owner::Unknown;
            context.owner = Owner::Last(scanner.scan_name()?);
        } else if matches!(context.owner, Owner::None) {
            context.owner = Owner::Unknown;
            return Err(ScanError::new("the first record has no owner")
                .hint("a line that begins with white space takes the owner of the record before; begin it with `@`"));
        }
        let (ttl, rtype) = scanner.scan_ttl_and_type()?;
        let rdata = scanner.scan_rdata(rtype)?;
        if rtype == Rtype::SOA {
            self.ttls.soa_minimum = rdata.last_chunk().map(|bytes| u32::from_be_bytes(*bytes).min(MAX_TTL));
        }
        scanner.blame_entry();
        let ttl = self.ttl(ttl)?;
        let Owner::Last(owner) = &context.owner else { return Ok(()) };
        let record =
            Record { owner: owner.clone(), rtype, ttl, rdata, place: Place::new(context.index, scanner.span()) };
        self.add(context, record)
    }

    /// The TTL of a record, given what it says itself.
    fn ttl(&mut self, given: Option<u32>) -> Result<u32, ScanError> {
        self.ttls.last = given.or(self.ttls.last);
        given.or(self.ttls.directive).or(self.ttls.last).or(self.ttls.soa_minimum).ok_or_else(|| {
            ScanError::new("the record has no TTL").hint("write a line such as `$TTL 1h` before the first record")
        })
    }

    /// Adds a record, but for one whose owner can't be known.
    fn add(&mut self, context: &Context, record: Record) -> Result<(), ScanError> {
        if context.origin_known {
            if self.reading.records.len() == MAX_RECORDS {
                return Err(self.too_many_records());
            }
            self.reading.records.push(record);
        }
        Ok(())
    }

    fn too_many_records(&mut self) -> ScanError {
        self.stopped = true;
        ScanError::new(format!("the zone has more than {MAX_RECORDS} records"))
    }
}

/// The owner and the data of a generated record.
fn generated(owner: &str, rtype: Rtype, data: &str, origin: &Name) -> Result<(Name, Vec<u8>), ScanError> {
    let owner = name(owner, origin)?;
    let source = Arc::new(Source { path: PathBuf::new(), text: data.to_owned() });
    let mut tokens = Vec::new();
    match Entries::new(&source).next(&mut tokens) {
        Some(Err(problem)) => return Err(ScanError::new(problem.message)),
        None => return Err(ScanError::new("there is no data")),
        Some(Ok(())) => {}
    }
    let rdata = EntryScanner::new(&source.text, &tokens, origin).scan_rdata(rtype)?;
    Ok((owner, rdata))
}

/// An `$INCLUDE` as written.
#[derive(Debug)]
struct Include {
    path: PathBuf,
    span: Range<usize>,
    origin: Name,
}

fn problem(source: &Arc<Source>, span: Range<usize>, error: ScanError) -> Problem {
    let problem = Problem::new(error.message).at(source, span);
    match error.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
