//! What operators said, in the order in which they said it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::{Exposure, FILE_MODE, Lock, LockError, lock, sealed, unsealed};
use crate::health::overrides::{
    MAX_AUTHOR_OCTETS, MAX_OVERRIDES, MAX_REASON_OCTETS, Override, Overrides, Subject, Word,
};
use crate::whole_file;

/// Records that are kept though they no longer hold, for those who ask who did what.
pub const AUDIT_RECORDS: usize = 1_000;
/// The largest file that is read, in octets. The most that is written is a third of it.
const MAX_FILE_OCTETS: u64 = 64 << 20;
/// Damaged files that are kept.
const MAX_DAMAGED: usize = 4;

const NAME: &str = "overrides";
const TEMPORARY_NAME: &str = "overrides.new";
const DAMAGED_PREFIX: &str = "overrides.damaged-";

/// One thing that was said or came to pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Greater than that of all earlier ones.
    pub sequence: u64,
    /// When, in seconds since 1970.
    pub time: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What a [`Record`] is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// An operator says a word.
    Set {
        /// Of what.
        subject: Subject,
        /// What.
        word: Word,
        /// Why.
        reason: String,
        /// Who.
        author: String,
        /// Since when it holds, in seconds since 1970, where that is before this was said.
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<u64>,
        /// Until when, likewise.
        #[serde(skip_serializing_if = "Option::is_none")]
        expires: Option<u64>,
    },
    /// An operator takes it back.
    Clear {
        /// Of what.
        subject: Subject,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Who.
        author: String,
    },
    /// Its time is over.
    Expire {
        /// Of what.
        subject: Subject,
    },
    /// An operator lets what is held down come up.
    Resume {
        /// Of what.
        subject: Subject,
        /// Why.
        reason: String,
        /// Who.
        author: String,
    },
}

impl Event {
    /// What it is about.
    pub fn subject(&self) -> &Subject {
        match self {
            Self::Set { subject, .. }
            | Self::Clear { subject, .. }
            | Self::Expire { subject }
            | Self::Resume { subject, .. } => subject,
        }
    }

    /// Whether its texts are as long as any that is taken in.
    fn is_bounded(&self) -> bool {
        match self {
            Self::Set { reason, author, .. } | Self::Resume { reason, author, .. } => {
                reason.len() <= MAX_REASON_OCTETS && author.len() <= MAX_AUTHOR_OCTETS
            }
            Self::Clear { reason, author, .. } => {
                reason.as_ref().is_none_or(|reason| reason.len() <= MAX_REASON_OCTETS)
                    && author.len() <= MAX_AUTHOR_OCTETS
            }
            Self::Expire { .. } => true,
        }
    }
}

/// Why something that an operator says is not taken in. Nothing has changed then.
#[derive(Debug)]
pub enum Refusal {
    /// There are as many overrides as may be.
    Full,
    /// There is none to take back.
    None(Subject),
    /// Another process uses the folder.
    InUse(PathBuf),
    /// Others can write to the folder.
    Exposed(PathBuf, Exposure),
    /// What the folder holds was not read at the start.
    Unread(PathBuf),
    /// It can't be kept.
    NotKept(PathBuf, io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("there are as many overrides as may be"),
            Self::None(subject) => write!(f, "there is no override of {subject}"),
            Self::InUse(folder) => write!(f, "state_dir {} is in use by another process", folder.display()),
            Self::Exposed(folder, exposure) => write!(f, "state_dir {} is not safe: {exposure}", folder.display()),
            Self::Unread(folder) => {
                write!(f, "state_dir {} holds overrides that were not read at the start", folder.display())
            }
            Self::NotKept(folder, error) => {
                write!(f, "it can't be kept in state_dir {}: {error}", folder.display())
            }
        }
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotKept(_, error) => Some(error),
            _ => None,
        }
    }
}

/// All overrides and what led to them, in memory and, where there is a folder, in its file `overrides`: a record per line, each
/// sealed, in the order of their sequence numbers.
///
/// A record is on the disk before it holds. What can't be written is taken back, and refused; then, and where the file was damaged,
/// the next record is preceded by a whole new file, made of what is in memory. So is what grew long: what no longer
/// holds is dropped but for the latest records.
#[derive(Debug)]
pub struct Journal {
    records: Vec<Record>,
    overrides: Arc<Overrides>,
    /// Records that are kept though they no longer hold.
    trail: usize,
    /// With more records than this, those that needn't be kept are dropped.
    most_records: usize,
    disk: Option<Disk>,
    /// Changes that could not be kept.
    failures: Arc<AtomicU64>,
    /// Whether the latest try to take note of those that are over failed.
    owes_expiries: bool,
}

/// Where records are kept.
#[derive(Debug)]
struct Disk {
    folder: PathBuf,
    /// Held while it is open.
    lock: Option<Lock>,
    /// Whether what is on the disk is known to be what is in memory, or less.
    is_read: bool,
    /// Whether the file is to be set aside before it is replaced.
    is_damaged: bool,
    /// To be appended to; nothing where a whole new file has to be written first.
    file: Option<File>,
    /// The length of what is whole.
    octets: u64,
}

impl Journal {
    /// One that lasts as long as the process.
    pub fn in_memory(trail: usize) -> Self {
        let mut journal = Self {
            records: Vec::new(),
            overrides: Arc::default(),
            trail,
            most_records: 0,
            disk: None,
            failures: Arc::default(),
            owes_expiries: false,
        };
        journal.set_most_records();
        journal
    }

    /// The one of a folder, with `trail` records that are kept though they no longer hold. Nothing is written before something is
    /// said. What can't be read is told in the log.
    ///
    /// # Errors
    /// [`Refusal::InUse`] and [`Refusal::Exposed`].
    pub fn open(folder: &Path, trail: usize) -> Result<Self, Refusal> {
        let lock = match lock(folder) {
            Ok(lock) => Some(lock),
            Err(LockError::InUse) => return Err(Refusal::InUse(folder.to_owned())),
            Err(LockError::Exposed(exposure)) => return Err(Refusal::Exposed(folder.to_owned(), exposure)),
            Err(LockError::Unusable(problem)) => {
                error!(state_dir = %folder.display(), %problem, "overrides can't be kept: state_dir can't be written to");
                None
            }
        };
        let path = folder.join(NAME);
        let mut disk =
            Disk { folder: folder.to_owned(), lock, is_read: false, is_damaged: false, file: None, octets: 0 };
        let mut journal = Self::in_memory(trail);
        match read(&path) {
            Ok(found) => {
                disk.is_read = true;
                disk.is_damaged = found.damage == Damage::Lines;
                disk.octets = found.whole_octets as u64;
                found.tell(&path);
                // Who has not locked the folder writes nothing to it.
                if disk.lock.is_some() && found.damage == Damage::None && found.whole_octets > 0 {
                    disk.file = super::open(&path, OpenOptions::new().append(true)).ok();
                }
                (journal.records, journal.overrides) = (found.records, Arc::new(found.overrides));
            }
            Err(problem) => error!(file = %path.display(), %problem, "overrides can't be read; none of them holds"),
        }
        // What nobody locked may change before it is.
        disk.is_read &= disk.lock.is_some();
        journal.disk = Some(disk);
        journal.set_most_records();
        Ok(journal)
    }

    /// What holds.
    pub fn overrides(&self) -> &Arc<Overrides> {
        &self.overrides
    }

    /// The latest records, the oldest first.
    pub fn trail(&self) -> &[Record] {
        &self.records[self.records.len().saturating_sub(self.trail)..]
    }

    /// The sequence number of the latest record; 0 where there is none.
    pub fn latest(&self) -> u64 {
        self.records.last().map_or(0, |last| last.sequence)
    }

    /// What was resumed after a record, the oldest first.
    pub fn resumed_after(&self, sequence: u64) -> impl Iterator<Item = &Subject> {
        let later = self.records.iter().filter(move |record| record.sequence > sequence);
        later.filter_map(|record| match &record.event {
            Event::Resume { subject, .. } => Some(subject),
            _ => None,
        })
    }

    /// Where it is kept.
    pub fn folder(&self) -> Option<&Path> {
        self.disk.as_ref().map(|disk| disk.folder.as_path())
    }

    /// How much that operators did could not be kept.
    pub fn failures(&self) -> &Arc<AtomicU64> {
        &self.failures
    }

    /// Takes a word in, which replaces the one of the same subject. When this returns, it is kept. Returns since when it holds, in
    /// seconds since 1970.
    ///
    /// # Errors
    /// As [`Refusal`] says.
    pub fn set(&mut self, said: Override) -> Result<u64, Refusal> {
        let mut next = Overrides::clone(&self.overrides);
        next.set(said.clone()).map_err(|_| Refusal::Full)?;
        let Override { subject, word, reason, author, since: time, expires } = said;
        let since = next.get(&subject).map_or(time, |said| said.since);
        let before = (since != time).then_some(since);
        self.keep(time, Event::Set { subject, word, reason, author, since: before, expires })?;
        self.overrides = Arc::new(next);
        Ok(since)
    }

    /// Takes a word back. When this returns, that is kept.
    ///
    /// # Errors
    /// As [`Refusal`] says.
    pub fn clear(
        &mut self,
        subject: &Subject,
        reason: Option<&str>,
        author: &str,
        time: u64,
    ) -> Result<Override, Refusal> {
        let Some(cleared) = self.overrides.get(subject).cloned() else { return Err(Refusal::None(subject.clone())) };
        let (reason, author) = (reason.map(str::to_owned), author.to_owned());
        self.keep(time, Event::Clear { subject: subject.clone(), reason, author })?;
        Arc::make_mut(&mut self.overrides).clear(subject);
        Ok(cleared)
    }

    /// Takes note that an operator lets what is held down come up. When this returns, that is kept.
    ///
    /// # Errors
    /// As [`Refusal`] says.
    pub fn resume(&mut self, subject: &Subject, reason: &str, author: &str, time: u64) -> Result<(), Refusal> {
        let (reason, author) = (reason.to_owned(), author.to_owned());
        self.keep(time, Event::Resume { subject: subject.clone(), reason, author })
    }

    /// Takes those back whose time is over at `now`, in seconds since 1970, and returns how many. However many those are, they are kept
    /// in one go. Where that fails, it is told once and to be tried again: they are over all the same, as their records say.
    pub fn expire(&mut self, now: u64) -> usize {
        let events: Vec<Event> =
            self.overrides.expired(now).map(|said| Event::Expire { subject: said.subject.clone() }).collect();
        if events.is_empty() {
            return 0;
        }
        let overrides = events.len();
        match self.append(now, events) {
            Ok(()) => {
                Arc::make_mut(&mut self.overrides).expire(now);
                self.owes_expiries = false;
                overrides
            }
            Err(problem) => {
                if !std::mem::replace(&mut self.owes_expiries, true) {
                    warn!(%problem, overrides, "that overrides are over can't be kept yet");
                }
                0
            }
        }
    }

    /// Keeps what an operator does.
    fn keep(&mut self, time: u64, event: Event) -> Result<(), Refusal> {
        self.append(time, [event]).inspect_err(|_| {
            self.failures.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn append(&mut self, time: u64, events: impl IntoIterator<Item = Event>) -> Result<(), Refusal> {
        let latest = self.latest();
        let numbered = (1..).zip(events);
        let more: Vec<Record> =
            numbered.map(|(next, event)| Record { sequence: latest.saturating_add(next), time, event }).collect();
        if let Some(disk) = &mut self.disk {
            disk.append(&self.records, &more)?;
        }
        self.records.extend(more);
        if self.records.len() > self.most_records {
            self.compact();
        }
        Ok(())
    }

    /// Drops what needn't be kept.
    fn compact(&mut self) {
        self.records = compacted(std::mem::take(&mut self.records), self.trail);
        self.set_most_records();
        if let Some(disk) = &mut self.disk
            && let Err(problem) = disk.rewrite(&self.records)
        {
            warn!(%problem, "old overrides can't be dropped yet");
        }
    }

    fn set_most_records(&mut self) {
        self.most_records = 2 * (self.overrides.len() + self.trail).max(self.records.len() / 2);
    }
}

impl Disk {
    /// Keeps more records after these.
    fn append(&mut self, records: &[Record], more: &[Record]) -> Result<(), Refusal> {
        let lines = lines(more).map_err(|error| self.not_kept(error.into()))?;
        if self.file.is_none() {
            self.rewrite(records)?;
        }
        let Some(file) = &mut self.file else { return Err(self.not_kept(io::ErrorKind::NotFound.into())) };
        let kept = file.write_all(lines.as_bytes()).and_then(|()| file.sync_data());
        match kept {
            Ok(()) => self.octets += lines.len() as u64,
            Err(error) => {
                // Part of it may be there, or all of it, which nobody was told. Where that can't be taken back, a new file is written.
                if file.set_len(self.octets).and_then(|()| file.sync_data()).is_err() {
                    self.file = None;
                }
                return Err(self.not_kept(error));
            }
        }
        Ok(())
    }

    /// Writes a whole new file of these records.
    fn rewrite(&mut self, records: &[Record]) -> Result<(), Refusal> {
        self.file = None;
        self.make_sure_of_the_file(records)?;
        let path = self.folder.join(NAME);
        let text = lines(records).map_err(|error| self.not_kept(error.into()))?;
        if self.is_damaged {
            set_aside(&path).map_err(|error| self.not_kept(error))?;
            self.is_damaged = false;
        }
        let replaced = whole_file::replace(&path, TEMPORARY_NAME, FILE_MODE, text.as_bytes());
        let opened = replaced.and_then(|()| super::open(&path, OpenOptions::new().append(true)));
        self.file = Some(opened.map_err(|error| self.not_kept(error))?);
        self.octets = text.len() as u64;
        Ok(())
    }

    /// Locks the folder, and makes sure that the file has nothing that memory has not, where that isn't so yet.
    fn make_sure_of_the_file(&mut self, records: &[Record]) -> Result<(), Refusal> {
        if self.lock.is_none() {
            self.lock = Some(lock(&self.folder).map_err(|error| match error {
                LockError::InUse => Refusal::InUse(self.folder.clone()),
                LockError::Exposed(exposure) => Refusal::Exposed(self.folder.clone(), exposure),
                LockError::Unusable(error) => self.not_kept(error),
            })?);
        }
        if !self.is_read {
            let found = read(&self.folder.join(NAME)).map_err(|error| self.not_kept(error))?;
            if !found.records.is_empty() && found.records != records || found.damage == Damage::Lines {
                return Err(Refusal::Unread(self.folder.clone()));
            }
            self.is_read = true;
        }
        Ok(())
    }

    fn not_kept(&self, error: io::Error) -> Refusal {
        Refusal::NotKept(self.folder.clone(), error)
    }
}

fn lines(records: &[Record]) -> serde_json::Result<String> {
    records.iter().map(|record| Ok(sealed(&serde_json::to_string(record)?))).collect()
}

/// Those that hold, and the latest others.
fn compacted(records: Vec<Record>, trail: usize) -> Vec<Record> {
    let latest = records.len().saturating_sub(trail);
    let mut seen = BTreeSet::new();
    let mut kept: Vec<Record> = Vec::new();
    for (index, record) in records.into_iter().enumerate().rev() {
        // What resumes something leaves the word on it as it is.
        let is_word = !matches!(record.event, Event::Resume { .. });
        let is_last = is_word && seen.insert(record.event.subject().clone());
        if index >= latest || is_last && matches!(record.event, Event::Set { .. }) {
            kept.push(record);
        }
    }
    kept.reverse();
    kept
}

/// Gives a damaged file a second name, under which it stays when it is replaced, and removes the oldest of such files.
fn set_aside(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut aside: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(DAMAGED_PREFIX)))
        .collect();
    // Their times have equally many digits.
    aside.sort();
    for oldest in aside.iter().take((aside.len() + 1).saturating_sub(MAX_DAMAGED)) {
        fs::remove_file(oldest)?;
    }
    let name = format!("{DAMAGED_PREFIX}{}", crate::unix_time::unix_seconds());
    let aside = path.with_file_name(name);
    match fs::hard_link(path, &aside) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => fs::copy(path, &aside).map(drop)?,
        _ => {}
    }
    warn!(file = %aside.display(), "the damaged overrides are set aside");
    Ok(())
}

/// How far a file is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    None,
    /// The last line has no end, as when the power fails while it is written. Nobody was told that it holds.
    CutOff,
    /// Lines can't be read, or are not in order.
    Lines,
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// Those before any damage.
    records: Vec<Record>,
    /// What holds after them.
    overrides: Overrides,
    damage: Damage,
    /// The octets before any damage.
    whole_octets: usize,
}

impl Found {
    fn tell(&self, path: &Path) {
        let (file, records, overrides) = (path.display(), self.records.len(), self.overrides.len());
        match self.damage {
            Damage::None if records == 0 => {}
            Damage::None => info!(%file, records, overrides, "overrides read"),
            Damage::CutOff => {
                warn!(%file, records, overrides, "the last override is cut off and does not hold; all before it do");
            }
            Damage::Lines => {
                error!(%file, records, overrides, "overrides are damaged; those before that hold, those after it do not");
            }
        }
    }
}

/// Reads a file; one that isn't there is empty, and one that is too large to be ours is damaged throughout.
fn read(path: &Path) -> io::Result<Found> {
    match super::read(path, MAX_FILE_OCTETS) {
        Ok(Some(bytes)) => Ok(parse(&bytes)),
        Ok(None) => Ok(Found { damage: Damage::Lines, ..parse(b"") }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(parse(b"")),
        Err(error) => Err(error),
    }
}

fn parse(bytes: &[u8]) -> Found {
    let mut found =
        Found { records: Vec::new(), overrides: Overrides::default(), damage: Damage::None, whole_octets: 0 };
    for line in bytes.split_inclusive(|octet| *octet == b'\n') {
        let least = found.records.last().map_or(0, |last| last.sequence);
        let record = record(line).filter(|record| record.sequence > least);
        let Some(record) = record.filter(|record| apply(&mut found.overrides, record)) else { break };
        found.whole_octets += line.len();
        found.records.push(record);
    }
    let rest = &bytes[found.whole_octets..];
    found.damage = match rest.contains(&b'\n') {
        true => Damage::Lines,
        false if rest.is_empty() => Damage::None,
        false => Damage::CutOff,
    };
    found
}

/// A line's record, if it is whole.
fn record(line: &[u8]) -> Option<Record> {
    let text = unsealed(line.strip_suffix(b"\n")?)?;
    serde_json::from_str(text).ok().filter(|record: &Record| record.event.is_bounded())
}

/// Lets a record have its effect; false where it can't.
fn apply(overrides: &mut Overrides, record: &Record) -> bool {
    match record.event.clone() {
        Event::Set { subject, word, reason, author, since, expires } => {
            // That some are over may not have been kept.
            if overrides.len() >= MAX_OVERRIDES {
                overrides.expire(record.time);
            }
            let since = since.unwrap_or(record.time);
            overrides.set(Override { subject, word, reason, author, since, expires }).is_ok()
        }
        Event::Clear { subject, .. } | Event::Expire { subject } => {
            overrides.clear(&subject);
            true
        }
        Event::Resume { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    /// A folder that is removed when this is dropped.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("meridian-journal-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        fn open(&self) -> Journal {
            Journal::open(&self.0, 3).unwrap()
        }

        fn file(&self) -> PathBuf {
            self.0.join(NAME)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn said(subject: &str, since: u64, expires: Option<u64>) -> Override {
        let (reason, author) = (format!("because of \"{since}\"\\"), "me".to_owned());
        Override { subject: subject.parse().unwrap(), word: Word::Drain, reason, author, since, expires }
    }

    fn clear(journal: &mut Journal, subject: &str) -> Result<Override, Refusal> {
        journal.clear(&subject.parse().unwrap(), None, "you", 50)
    }

    fn subjects(journal: &Journal) -> Vec<String> {
        journal.overrides().iter().map(|said| said.subject.to_string()).collect()
    }

    #[test]
    fn what_was_said_is_there_after_a_restart() {
        let folder = Temporary::new("restart");
        let mut journal = folder.open();
        journal.set(said("pool/web", 1, None)).unwrap();
        journal.set(said("region/eu", 2, Some(10))).unwrap();
        journal.set(said("service/*.example.com", 3, Some(20))).unwrap();
        clear(&mut journal, "pool/web").unwrap();
        assert!(matches!(clear(&mut journal, "pool/web"), Err(Refusal::None(_))));
        journal.set(said("endpoint/web/eu/2001:db8::1", 4, None)).unwrap();
        assert_eq!(journal.expire(10), 1);
        assert_eq!(subjects(&journal), ["endpoint/web/eu/2001:db8::1", "service/*.example.com"]);
        let (overrides, trail) = (Arc::clone(journal.overrides()), journal.trail().to_vec());
        assert_eq!(trail.len(), 3);
        drop(journal);
        let journal = folder.open();
        assert_eq!((journal.overrides(), journal.trail()), (&overrides, trail.as_slice()));
        assert_eq!(folder.names(), ["lock", "overrides"]);
    }

    #[test]
    fn what_is_resumed_is_kept_and_changes_no_word() {
        let folder = Temporary::new("resume");
        let mut journal = folder.open();
        journal.set(said("pool/web", 1, None)).unwrap();
        let resume = |journal: &mut Journal| journal.resume(&"pool/web".parse().unwrap(), "repaired", "me", 2).unwrap();
        resume(&mut journal);
        // So many that what needn't be kept is dropped.
        for since in 3..30 {
            journal.set(said("pool/api", since, None)).unwrap();
        }
        resume(&mut journal);
        drop(journal);
        let journal = folder.open();
        assert_eq!(subjects(&journal), ["pool/api", "pool/web"]);
        let resumed = |after: u64| journal.resumed_after(after).map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((journal.latest(), resumed(29), resumed(30)), (30, vec!["pool/web".to_owned()], vec![]));
        let (reason, author) = ("repaired".to_owned(), "me".to_owned());
        let event = Event::Resume { subject: "pool/web".parse().unwrap(), reason, author };
        assert_eq!(journal.trail().last(), Some(&Record { sequence: 30, time: 2, event }));
    }

    #[test]
    fn what_ends_together_is_kept_in_one_go() {
        let folder = Temporary::new("together");
        let mut journal = folder.open();
        for pool in 0..5 {
            journal.set(said(&format!("pool/{pool}"), 1, Some(10))).unwrap();
        }
        journal.set(said("pool/stays", 1, Some(11))).unwrap();
        // No whole file can be written, which is what the next attempt would be.
        fs::create_dir(folder.0.join(TEMPORARY_NAME)).unwrap();
        journal.disk.as_mut().unwrap().file = None;
        assert_eq!((journal.expire(10), journal.latest()), (0, 6));
        assert_eq!(journal.failures().load(Ordering::Relaxed), 0, "nothing that anyone did was refused");
        fs::remove_dir(folder.0.join(TEMPORARY_NAME)).unwrap();
        assert_eq!((journal.expire(10), journal.latest()), (5, 11), "tried again");
        assert_eq!(subjects(&journal), ["pool/stays"]);
        journal.set(said("pool/0", 11, Some(12))).unwrap();
        journal.set(said("pool/1", 11, Some(12))).unwrap();
        assert_eq!(journal.expire(12), 3);
        drop(journal);
        let journal = folder.open();
        assert_eq!((subjects(&journal).len(), journal.latest()), (0, 16));
    }

    #[test]
    fn two_processes_do_not_share_a_folder() {
        let folder = Temporary::new("shared");
        let first = folder.open();
        let refusal = Journal::open(&folder.0, 3).unwrap_err();
        assert!(matches!(refusal, Refusal::InUse(_)), "{refusal}");
        drop(first);
        folder.open();
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let folder = Temporary::new("exposed");
        drop(folder.open());
        let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o777, 0o1777, 0o703] {
            set_mode(&folder.0, mode);
            let refusal = Journal::open(&folder.0, 3).unwrap_err();
            assert!(matches!(refusal, Refusal::Exposed(_, Exposure::Everyone(_))), "{refusal}");
            assert!(
                refusal.to_string().contains(&format!("its mode {mode:03o} lets everyone write there")),
                "{refusal}"
            );
        }
        // A group's members are the operator's choice, as where volumes are shared.
        for mode in [0o2770, 0o755, 0o700] {
            set_mode(&folder.0, mode);
            folder.open();
        }
        // Who can give it away, root, sees that it is another's.
        if std::os::unix::fs::chown(&folder.0, Some(12_345), None).is_ok() {
            let refusal = Journal::open(&folder.0, 3).unwrap_err();
            assert!(refusal.to_string().contains("it belongs to user 12345"), "{refusal}");
        }
    }

    #[test]
    fn a_file_that_is_not_our_own_is_not_read() {
        let folder = Temporary::new("not-ours");
        let mut journal = folder.open();
        journal.set(said("pool/web", 1, None)).unwrap();
        drop(journal);
        let file = folder.file();
        let other = folder.0.join("other");
        let assert_refused = |says: &str| {
            let mut journal = folder.open();
            assert!(journal.overrides().is_empty());
            let refusal = journal.set(said("pool/api", 2, None)).unwrap_err();
            assert!(refusal.to_string().contains(says), "{refusal}");
        };
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert_refused("its mode 666 lets everyone write");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(subjects(&folder.open()), ["pool/web"]);
        fs::rename(&file, &other).unwrap();
        std::os::unix::fs::symlink(&other, &file).unwrap();
        assert_refused("it is a symbolic link");
        fs::rename(&other, &file).unwrap();
        assert_eq!(subjects(&folder.open()), ["pool/web"]);
        // Nor is such a lock taken.
        fs::rename(folder.0.join("lock"), &other).unwrap();
        std::os::unix::fs::symlink(&other, folder.0.join("lock")).unwrap();
        let refusal = folder.open().set(said("pool/api", 2, None)).unwrap_err();
        assert!(refusal.to_string().contains("it is a symbolic link"), "{refusal}");
    }

    #[test]
    fn what_no_longer_holds_is_dropped_but_for_the_latest() {
        let folder = Temporary::new("compaction");
        let mut journal = folder.open();
        journal.set(said("pool/kept", 1, None)).unwrap();
        let mut most = 0;
        for since in 2..200 {
            journal.set(said("pool/web", since, None)).unwrap();
            most = most.max(fs::read(folder.file()).unwrap().iter().filter(|octet| **octet == b'\n').count());
            if since % 7 == 0 {
                clear(&mut journal, "pool/web").unwrap();
            }
        }
        assert!((6..=12).contains(&most), "{most}");
        let (overrides, trail) = (Arc::clone(journal.overrides()), journal.trail().to_vec());
        drop(journal);
        let journal = folder.open();
        assert_eq!(subjects(&journal), ["pool/kept", "pool/web"]);
        assert_eq!((journal.overrides(), journal.trail()), (&overrides, trail.as_slice()));
        assert_eq!(journal.overrides().get(&"pool/kept".parse().unwrap()), Some(&said("pool/kept", 1, None)));
    }

    #[test]
    fn what_can_not_be_kept_is_refused_and_changes_nothing() {
        let folder = Temporary::new("unusable");
        // A file stands where the folder should be, which stops everyone, root included.
        fs::write(&folder.0, "in the way").unwrap();
        let mut journal = folder.open();
        let refusal = journal.set(said("pool/web", 1, None)).unwrap_err();
        assert!(matches!(refusal, Refusal::NotKept(..)), "{refusal}");
        assert!(refusal.to_string().contains("it can't be kept in state_dir "), "{refusal}");
        assert_eq!((subjects(&journal), journal.trail()), (vec![], [].as_slice()));
        assert_eq!(journal.failures().load(Ordering::Relaxed), 1);
        fs::remove_file(&folder.0).unwrap();
        journal.set(said("pool/web", 2, None)).unwrap();
        drop(journal);
        assert_eq!(subjects(&folder.open()), ["pool/web"]);
    }

    #[test]
    fn what_was_not_read_is_not_written_over() {
        let folder = Temporary::new("unread");
        fs::write(&folder.0, "as though nothing were mounted yet").unwrap();
        let mut late = folder.open();
        fs::remove_file(&folder.0).unwrap();
        let mut journal = folder.open();
        journal.set(said("pool/web", 1, None)).unwrap();
        let refusal = late.set(said("pool/api", 2, None)).unwrap_err();
        assert!(matches!(refusal, Refusal::InUse(_)), "{refusal}");
        drop(journal);
        let refusal = late.set(said("pool/api", 2, None)).unwrap_err();
        assert!(matches!(refusal, Refusal::Unread(_)), "{refusal}");
        drop(late);
        assert_eq!(subjects(&folder.open()), ["pool/web"]);
    }

    #[test]
    fn a_file_that_goes_bad_while_it_is_written_is_made_anew() {
        let folder = Temporary::new("anew");
        let mut journal = folder.open();
        journal.set(said("pool/web", 1, None)).unwrap();
        // As when an attempt failed, and could not be taken back.
        fs::write(folder.file(), "half a line").unwrap();
        journal.disk.as_mut().unwrap().file = None;
        journal.set(said("pool/api", 2, None)).unwrap();
        drop(journal);
        assert_eq!(subjects(&folder.open()), ["pool/api", "pool/web"]);
    }

    #[test]
    fn damage_is_set_aside_and_what_was_before_it_holds() {
        let folder = Temporary::new("damage");
        for round in 0..6 {
            let mut journal = folder.open();
            for pool in ["a", "b", "c"] {
                journal.set(said(&format!("pool/{pool}"), round, None)).unwrap();
            }
            drop(journal);
            let mut bytes = fs::read(folder.file()).unwrap();
            let lines = bytes.iter().filter(|octet| **octet == b'\n').count();
            // The one before the last.
            let start = bytes.iter().enumerate().filter(|(_, octet)| **octet == b'\n').nth(lines - 3).unwrap().0;
            bytes[start + 30] ^= 1;
            fs::write(folder.file(), &bytes).unwrap();
            let mut journal = folder.open();
            assert_eq!(journal.trail().last().unwrap().event.subject().to_string(), "pool/a");
            assert_eq!(fs::read(folder.file()).unwrap(), bytes);
            journal.set(said("pool/d", round, None)).unwrap();
            let aside = folder.names().into_iter().filter(|name| name.starts_with(DAMAGED_PREFIX)).max().unwrap();
            assert_eq!(fs::read(folder.0.join(&aside)).unwrap(), bytes);
            // As though it were of an earlier second.
            fs::rename(folder.0.join(&aside), folder.0.join(format!("{DAMAGED_PREFIX}100000000{round}"))).unwrap();
            drop(journal);
            assert_eq!(folder.open().trail().last().unwrap().event.subject().to_string(), "pool/d");
        }
        let aside: Vec<String> = folder.names().into_iter().filter(|name| name.starts_with(DAMAGED_PREFIX)).collect();
        assert_eq!(aside, [2, 3, 4, 5].map(|round| format!("{DAMAGED_PREFIX}100000000{round}")));
    }

    #[test]
    fn what_is_not_ours_is_set_aside_too() {
        let folder = Temporary::new("foreign");
        fs::create_dir(&folder.0).unwrap();
        fs::write(folder.file(), "[overrides]\nweb = \"down\"\n").unwrap();
        let mut journal = folder.open();
        assert!(journal.overrides().is_empty());
        journal.set(said("pool/web", 1, None)).unwrap();
        assert!(folder.names().iter().any(|name| name.starts_with(DAMAGED_PREFIX)));
    }

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let event = (0u8..4, 0u8..4, "[ -~é]{0,20}").prop_map(|(pool, kind, text)| {
            let subject = format!("pool/{pool}").parse().unwrap();
            match kind {
                0 => Event::Set {
                    subject,
                    word: Word::Drain,
                    reason: text,
                    author: "me".to_owned(),
                    since: Some(2),
                    expires: Some(7),
                },
                1 => Event::Clear { subject, reason: Some(text), author: "me".to_owned() },
                2 => Event::Resume { subject, reason: text, author: "me".to_owned() },
                _ => Event::Expire { subject },
            }
        });
        let events = proptest::collection::vec((event, 1u64..3), 0..12);
        events.prop_map(|events| {
            let mut sequence = 0;
            let record = |(event, step)| {
                sequence += step;
                Record { sequence, time: 3, event }
            };
            events.into_iter().map(record).collect()
        })
    }

    fn text(records: &[Record]) -> Vec<u8> {
        lines(records).unwrap().into_bytes()
    }

    fn replayed(records: &[Record]) -> Overrides {
        let mut overrides = Overrides::default();
        records.iter().for_each(|record| assert!(apply(&mut overrides, record)));
        overrides
    }

    proptest! {
        #[test]
        fn what_is_whole_is_read_as_it_was_written(records in records()) {
            let found = parse(&text(&records));
            prop_assert_eq!(&found.overrides, &replayed(&records));
            prop_assert_eq!((found.damage, found.whole_octets), (Damage::None, text(&records).len()));
            prop_assert_eq!(found.records, records);
        }

        #[test]
        fn what_was_before_any_damage_holds_and_nothing_else(
            records in records(), at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>()
        ) {
            let mut bytes = text(&records);
            prop_assume!(!bytes.is_empty());
            let at = at.index(bytes.len());
            let whole = bytes[..at].iter().filter(|octet| **octet == b'\n').count();
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
            let found = parse(&bytes);
            prop_assert_eq!(&found.records, &records[..whole]);
            prop_assert_eq!(found.overrides, replayed(&records[..whole]));
            prop_assert_eq!(found.whole_octets, text(&records[..whole]).len());
            prop_assert_eq!(found.damage == Damage::None, found.whole_octets == bytes.len());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(parse(&bytes).records.is_empty());
        }

        #[test]
        fn what_is_dropped_changes_nothing(records in records(), trail in 0usize..6) {
            let kept = compacted(records.clone(), trail);
            prop_assert_eq!(replayed(&kept), replayed(&records));
            prop_assert!(kept.len() <= replayed(&records).len() + trail);
            let latest = records.len().saturating_sub(trail);
            prop_assert!(kept.ends_with(&records[latest..]));
            prop_assert_eq!(parse(&text(&kept)).records, kept);
        }
    }
}
