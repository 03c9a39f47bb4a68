//! The file probe: what a file says of addresses, which somebody else writes.
//!
//! A file that can't be read says nothing, and nor does a broken line of those whom it names: their verdicts stay as they are.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;
use tracing::warn;

use super::connect::Deadline;
use super::failure::excerpt;
use super::told::Word;
use super::{Failure, Observation, Phase};
use crate::config::{FileCheck, Target};
use crate::health::Grade;
use crate::regular_file;
use crate::watch::Fingerprint;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// How often a file is looked at, however many targets stand in it.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Broken lines that are told of one by one.
const MAX_TOLD: usize = 10;

/// The files that probes look at, each with what it says.
#[derive(Debug, Default)]
pub(super) struct Files(Mutex<HashMap<PathBuf, Arc<File>>>);

/// One file.
#[derive(Debug)]
struct File {
    /// When a change of it was last read; of one that never was, when it was first asked for.
    written: Mutex<Instant>,
    /// A disk that hangs keeps this lock, and one thread.
    watched: Arc<AsyncMutex<Watched>>,
}

impl Files {
    /// What the file says of a target; nothing where it says nothing.
    pub(super) async fn observe(&self, check: &FileCheck, target: &Target, time: Duration) -> Option<Observation> {
        let path = check.path.as_path();
        let file = {
            let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match files.get(path) {
                Some(file) => Arc::clone(file),
                None => Arc::clone(files.entry(path.to_owned()).or_insert_with(|| Arc::new(File::new()))),
            }
        };
        let said = file.says(path, target, Deadline::after(time)).await;
        // Silence is one however it comes about.
        if let Some(most) = check.max_silence.filter(|most| lock(&file.written).elapsed() > *most) {
            return Some(Observation::failed(Failure::Unwritten(most)));
        }
        match said {
            Ok(word) => word.map(|word| word.observation("the file says")),
            Err(problem) => Some(Observation::failed(Failure::Local(format!("{}: {problem}", path.display())))),
        }
    }

    /// Forgets the files that are looked at no more.
    pub(super) fn retain(&self, is_watched: impl Fn(&Path) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|path, _| is_watched(path));
    }
}

fn lock(written: &Mutex<Instant>) -> MutexGuard<'_, Instant> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
}

impl File {
    fn new() -> Self {
        Self { written: Mutex::new(Instant::now()), watched: Arc::default() }
    }

    /// What it says of a target, or why that can't be told.
    async fn says(self: &Arc<Self>, path: &Path, target: &Target, deadline: Deadline) -> Result<Option<Word>, String> {
        let too_late = |_| "it can't be read in time".to_owned();
        let watched = Arc::clone(&self.watched).lock_owned();
        let mut watched = deadline.within(Phase::Response, watched).await.map_err(too_late)?;
        if watched.looked.is_none_or(|looked| looked.elapsed() >= LOOK_INTERVAL) {
            let (own, path) = (Arc::clone(self), path.to_owned());
            let look = tokio::task::spawn_blocking(move || {
                watched.look(&path, &own.written);
                watched
            });
            let looked = deadline.within(Phase::Response, look).await.map_err(too_late)?;
            watched = looked.map_err(|panicked| panicked.to_string())?;
        }
        match watched.states.as_ref().map(|states| states.of(target)) {
            Ok(Some(Ok(word))) => Ok(Some(word.clone())),
            Ok(Some(Err(line))) => Err(format!("line {line} is broken")),
            Ok(None) => Ok(None),
            Err(problem) => Err(problem.clone()),
        }
    }
}

/// What was found in a file.
#[derive(Debug)]
struct Watched {
    looked: Option<Instant>,
    seen: Fingerprint,
    /// Whether it changed at the latest look: it may have changed again at once, which its times need not show.
    is_fresh: bool,
    /// Whether it changed since it was last read.
    is_unread: bool,
    /// Or why it can't be read.
    states: Result<States, String>,
    /// Its first broken lines, which were told of.
    broken: Vec<(usize, String)>,
}

impl Default for Watched {
    fn default() -> Self {
        Self {
            looked: None,
            seen: Fingerprint::default(),
            is_fresh: false,
            is_unread: true,
            states: Ok(States::default()),
            broken: Vec::new(),
        }
    }
}

impl Watched {
    /// Reads the file where it is another one or could not be read, and notes when one was `written` that can be. Blocks while it does.
    fn look(&mut self, path: &Path, written: &Mutex<Instant>) {
        let found = Fingerprint::of([path].into_iter());
        let is_other = self.looked.is_none() || found != self.seen;
        let now = Instant::now();
        self.is_unread |= is_other;
        if self.is_unread || self.is_fresh {
            match read(path) {
                Ok((states, broken)) => {
                    self.tell(path, broken);
                    self.states = Ok(states);
                    if std::mem::take(&mut self.is_unread) {
                        *lock(written) = now;
                    }
                }
                Err(problem) => {
                    if self.states.as_ref().err() != Some(&problem) {
                        warn!(file = %path.display(), %problem, "a probe's file can't be read; verdicts stay as they are");
                    }
                    self.states = Err(problem);
                }
            }
        }
        self.is_fresh = is_other;
        self.seen = found;
        self.looked = Some(now);
    }

    /// Tells of broken lines, if they are others than before.
    fn tell(&mut self, path: &Path, mut broken: Vec<(usize, String)>) {
        broken.truncate(MAX_TOLD);
        if broken != self.broken {
            for (line, problem) in &broken {
                warn!(file = %path.display(), line, %problem, "a probe's file has a broken line, which is passed over");
            }
            self.broken = broken;
        }
    }
}

/// Reads the file, and says which of its lines are broken.
fn read(path: &Path) -> Result<(States, Vec<(usize, String)>), String> {
    let failed = |error: io::Error| error.to_string();
    let too_large = || format!("larger than {} MiB", MAX_FILE_BYTES >> 20);
    let file = regular_file::open(path).map_err(failed)?;
    // It is tried again and again.
    if file.metadata().map_err(failed)?.len() > MAX_FILE_BYTES {
        return Err(too_large());
    }
    let mut octets = Vec::new();
    let length = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut octets).map_err(failed)?;
    if length as u64 > MAX_FILE_BYTES {
        return Err(too_large());
    }
    Ok(States::read(&String::from_utf8_lossy(&octets)))
}

/// A state and why, or the number of the line that is broken.
type Line = Result<Word, usize>;

/// What a file says.
#[derive(Debug, Default, Clone, PartialEq)]
struct States {
    /// By address or hostname, as [`Target`] is shown.
    of: HashMap<String, Line>,
    /// Of all that have no line of their own.
    others: Option<Line>,
}

impl States {
    /// Reads the lines, `ADDRESS up|degraded|down [words]` each, `*` for all others; and says which are broken, by number.
    fn read(text: &str) -> (Self, Vec<(usize, String)>) {
        let mut states = Self::default();
        let (mut broken, mut seen) = (Vec::new(), HashSet::new());
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let name = match name.parse::<IpAddr>() {
                Ok(address) => address.to_string(),
                Err(_) => name.trim_end_matches('.').to_ascii_lowercase(),
            };
            let (state, words) = rest.trim_start().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
            let grade = match state {
                "up" => Ok(Grade::Good),
                "degraded" => Ok(Grade::Poor),
                "down" => Ok(Grade::Failed),
                _ => Err(format!("expected `{} up`, `degraded` or `down`, found {:?}", excerpt(&name), excerpt(line))),
            };
            if !seen.insert(name.clone()) {
                broken.push((number, format!("{} has a line already", excerpt(&name))));
                continue;
            }
            let line = match grade {
                Ok(grade) => Ok(Word { grade, words: excerpt(words.trim()) }),
                Err(problem) => {
                    broken.push((number, problem));
                    Err(number)
                }
            };
            if name == "*" {
                states.others = Some(line);
            } else {
                states.of.insert(name, line);
            }
        }
        (states, broken)
    }

    fn of(&self, target: &Target) -> Option<&Line> {
        self.of.get(&target.to_string()).or(self.others.as_ref())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn said(states: &States, address: &str) -> Option<Result<(Grade, String), usize>> {
        let target = match address.parse() {
            Ok(address) => Target::Address(address),
            Err(_) => Target::Hostname(crate::zone::Name::vec_from_str(address).unwrap()),
        };
        states.of(&target).map(|line| line.as_ref().map(|word| (word.grade, word.words.clone())).map_err(|line| *line))
    }

    #[test]
    fn what_could_not_be_read_is_read_again_though_it_stays_the_same() {
        let path = std::env::temp_dir().join(format!("meridian-unread-{}", std::process::id()));
        std::fs::write(&path, "* up\n").unwrap();
        // As where the process is out of descriptors at two looks.
        let mut watched = Watched {
            looked: Some(Instant::now()),
            seen: Fingerprint::of([path.as_path()].into_iter()),
            states: Err("Too many open files".into()),
            ..Watched::default()
        };
        let long_ago = Instant::now() - Duration::from_secs(3_600);
        let written = Mutex::new(long_ago);
        watched.look(&path, &written);
        assert_eq!(said(watched.states.as_ref().unwrap(), "192.0.2.1"), Some(Ok((Grade::Good, String::new()))));
        let first = *lock(&written);
        assert!(first > long_ago, "a change that is read is one that was written");
        watched.look(&path, &written);
        assert_eq!(*lock(&written), first);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_was_just_written_is_read_again_though_it_looks_the_same() {
        let path = std::env::temp_dir().join(format!("meridian-fresh-{}", std::process::id()));
        std::fs::write(&path, "* up\n").unwrap();
        let long_ago = Instant::now() - Duration::from_secs(3_600);
        for is_fresh in [true, false] {
            let seen = Fingerprint::of([path.as_path()].into_iter());
            let looked = Some(long_ago);
            let mut watched = Watched { looked, seen, is_fresh, is_unread: false, ..Watched::default() };
            let written = Mutex::new(long_ago);
            for _ in 0..2 {
                watched.look(&path, &written);
                let is_read = said(watched.states.as_ref().unwrap(), "192.0.2.1").is_some();
                assert_eq!((is_read, *lock(&written)), (is_fresh, long_ago), "that it was written is known already");
            }
        }
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_looked_at_only_now_and_then() {
        let path = std::env::temp_dir().join(format!("meridian-looked-{}", std::process::id()));
        let check = FileCheck { path: path.clone(), max_silence: None };
        let target = Target::Address([192, 0, 2, 1].into());
        let files = Files::default();
        let is_up = async || {
            let observation = files.observe(&check, &target, Duration::from_secs(2)).await.unwrap();
            observation.outcome.is_ok()
        };
        std::fs::write(&path, "* up\n").unwrap();
        assert!(is_up().await);
        std::fs::write(&path, "* down\n").unwrap();
        tokio::time::advance(LOOK_INTERVAL - Duration::from_millis(1)).await;
        assert!(is_up().await);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!is_up().await);
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_silent() {
        let (files, file) = (Files::default(), Arc::new(File::new()));
        files.0.lock().unwrap().insert("states".into(), Arc::clone(&file));
        let _hanging = Arc::clone(&file.watched).lock_owned().await;
        let check = FileCheck { path: "states".into(), max_silence: Some(Duration::from_secs(60)) };
        let target = Target::Address([192, 0, 2, 1].into());
        let mut found = Vec::new();
        for _ in 0..3 {
            let observation = files.observe(&check, &target, Duration::from_secs(2)).await.unwrap();
            found.push(observation.outcome.unwrap_err());
            tokio::time::advance(Duration::from_secs(28)).await;
        }
        let in_time = || Failure::Local("states: it can't be read in time".into());
        assert_eq!(found, [in_time(), in_time(), Failure::Unwritten(Duration::from_secs(60))]);
    }

    #[test]
    fn lines_are_read() {
        let text = "# written by the scheduler\n192.0.2.1 up\n\n 192.0.2.2\tdown  disk is full # or so\n\
                    2001:DB8:0::1 degraded\r\nWWW.Example.net. down\n";
        let (states, broken) = States::read(text);
        assert_eq!(broken, []);
        assert_eq!(said(&states, "192.0.2.1"), Some(Ok((Grade::Good, String::new()))));
        assert_eq!(said(&states, "192.0.2.2"), Some(Ok((Grade::Failed, "disk is full".into()))));
        assert_eq!(said(&states, "2001:db8::1"), Some(Ok((Grade::Poor, String::new()))));
        assert_eq!(said(&states, "www.example.net"), Some(Ok((Grade::Failed, String::new()))));
        assert_eq!(said(&states, "192.0.2.3"), None);
        let (states, _) = States::read("* down for repairs\n192.0.2.1 up\n");
        assert_eq!(said(&states, "192.0.2.1"), Some(Ok((Grade::Good, String::new()))));
        assert_eq!(said(&states, "192.0.2.3"), Some(Ok((Grade::Failed, "for repairs".into()))));
    }

    #[test]
    fn broken_lines_are_told_and_say_nothing_of_those_whom_they_name() {
        let (states, broken) = States::read("192.0.2.1 dow\n192.0.2.2\n192.0.2.3 up\n192.0.2.3 down\n*\n192.0.2.1 up");
        let broken: Vec<String> = broken.iter().map(|(line, problem)| format!("{line}: {problem}")).collect();
        let expected = [
            "1: expected `192.0.2.1 up`, `degraded` or `down`, found \"192.0.2.1 dow\"",
            "2: expected `192.0.2.2 up`, `degraded` or `down`, found \"192.0.2.2\"",
            "4: 192.0.2.3 has a line already",
            "5: expected `* up`, `degraded` or `down`, found \"*\"",
            "6: 192.0.2.1 has a line already",
        ];
        assert_eq!(broken, expected);
        assert_eq!(said(&states, "192.0.2.1"), Some(Err(1)));
        assert_eq!(said(&states, "192.0.2.2"), Some(Err(2)));
        assert_eq!(said(&states, "192.0.2.3"), Some(Ok((Grade::Good, String::new()))));
        assert_eq!(said(&states, "192.0.2.4"), Some(Err(5)));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[ -~\n\té*#]{0,300}") {
            let (states, broken) = States::read(&text);
            prop_assert!(states.of.len().max(broken.len()) <= text.lines().count());
        }
    }
}
