//! The file probe: what a file says of addresses, which somebody else writes.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;
use tracing::warn;

use super::connect::Deadline;
use super::failure::excerpt;
use super::told::Word;
use super::{Failure, Observation, Phase};
use crate::config::Target;
use crate::health::Grade;
use crate::regular_file;
use crate::watch::Fingerprint;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// How often a file is looked at, however many targets stand in it.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Broken lines that are told of one by one.
const MAX_TOLD: usize = 10;

/// The files that probes look at, each with what it said last.
#[derive(Debug, Default)]
pub(super) struct Files(Mutex<HashMap<PathBuf, Arc<AsyncMutex<Watched>>>>);

impl Files {
    /// What the file says of a target; nothing where it says nothing.
    pub(super) async fn observe(&self, path: &Path, target: &Target, time: Duration) -> Option<Observation> {
        let watched = {
            let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match files.get(path) {
                Some(watched) => Arc::clone(watched),
                None => Arc::clone(files.entry(path.to_owned()).or_default()),
            }
        };
        let local =
            |problem: String| Some(Observation::failed(Failure::Local(format!("{}: {problem}", path.display()))));
        let deadline = Deadline::after(time);
        // A disk that hangs keeps this lock, and one thread.
        let Ok(mut held) = deadline.within(Phase::Response, watched.lock_owned()).await else {
            return local("it can't be read in time".into());
        };
        if held.looked.is_none_or(|looked| looked.elapsed() >= LOOK_INTERVAL) {
            let own = path.to_owned();
            let look = tokio::task::spawn_blocking(move || {
                held.look(&own);
                held
            });
            held = match deadline.within(Phase::Response, look).await {
                Ok(Ok(held)) => held,
                Ok(Err(panicked)) => return local(panicked.to_string()),
                Err(_) => return local("it can't be read in time".into()),
            };
        }
        match (held.states.of(target), &held.problem) {
            (Some(word), _) => Some(word.observation("the file says")),
            (None, Some(problem)) => local(problem.clone()),
            (None, None) => None,
        }
    }

    /// Forgets the files that are looked at no more.
    pub(super) fn retain(&self, is_watched: impl Fn(&Path) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|path, _| is_watched(path));
    }
}

/// One file.
#[derive(Debug, Default)]
struct Watched {
    looked: Option<Instant>,
    read: Fingerprint,
    /// Whether it changed at the latest look: it may have changed again at once, which its times need not show.
    is_fresh: bool,
    states: States,
    /// Why it can't be read.
    problem: Option<String>,
}

impl Watched {
    /// Reads the file where it is another one. Blocks while it does.
    fn look(&mut self, path: &Path) {
        let found = Fingerprint::of([path].into_iter());
        let is_other = self.looked.is_none() || found != self.read;
        if is_other || self.is_fresh {
            let mut octets = Vec::new();
            let read = regular_file::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut octets));
            let problem = match read {
                Ok(length) if length as u64 > MAX_FILE_BYTES => {
                    Some(format!("larger than {} MiB", MAX_FILE_BYTES >> 20))
                }
                Ok(_) => None,
                Err(error) => Some(error.to_string()),
            };
            match &problem {
                Some(problem) if self.problem.as_ref() != Some(problem) => {
                    warn!(file = %path.display(), %problem, "a probe's file can't be read; what it said last stands");
                }
                Some(_) => {}
                None => self.take(path, &String::from_utf8_lossy(&octets)),
            }
            self.problem = problem;
        }
        self.is_fresh = is_other;
        self.read = found;
        self.looked = Some(Instant::now());
    }

    fn take(&mut self, path: &Path, text: &str) {
        let (states, broken) = States::read(text, &self.states);
        for (line, problem) in broken.iter().take(MAX_TOLD) {
            warn!(file = %path.display(), line, %problem, "a probe's file has a broken line, which is passed over");
        }
        self.states = states;
    }
}

/// What a file says.
#[derive(Debug, Default, Clone, PartialEq)]
struct States {
    /// By address or hostname, as [`Target`] is shown.
    of: HashMap<String, Word>,
    /// Of all that have no line of their own.
    others: Option<Word>,
}

impl States {
    /// Reads the lines, `ADDRESS up|degraded|down [words]` each, `*` for all others; and says which are broken, by number.
    /// Of an address whose line is broken it says what was said before.
    fn read(text: &str, before: &Self) -> (Self, Vec<(usize, String)>) {
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
            let is_new = seen.insert(name.clone());
            let word = match grade {
                Ok(grade) if is_new => Some(Word { grade, words: excerpt(words.trim()) }),
                Ok(_) => {
                    broken.push((number, format!("{} has a line already", excerpt(&name))));
                    continue;
                }
                Err(problem) => {
                    broken.push((number, problem));
                    if name == "*" { before.others.clone() } else { before.of.get(&name).cloned() }
                }
            };
            match word {
                Some(word) if name == "*" => states.others = Some(word),
                Some(word) => drop(states.of.insert(name, word)),
                None => {}
            }
        }
        (states, broken)
    }

    fn of(&self, target: &Target) -> Option<&Word> {
        self.of.get(&target.to_string()).or(self.others.as_ref())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn said(states: &States, address: &str) -> Option<(Grade, String)> {
        let target = match address.parse() {
            Ok(address) => Target::Address(address),
            Err(_) => Target::Hostname(crate::zone::Name::vec_from_str(address).unwrap()),
        };
        states.of(&target).map(|word| (word.grade, word.words.clone()))
    }

    #[test]
    fn lines_are_read() {
        let text = "# written by the scheduler\n192.0.2.1 up\n\n 192.0.2.2\tdown  disk is full # or so\n\
                    2001:DB8:0::1 degraded\r\nWWW.Example.net. down\n";
        let (states, broken) = States::read(text, &States::default());
        assert_eq!(broken, []);
        assert_eq!(said(&states, "192.0.2.1"), Some((Grade::Good, String::new())));
        assert_eq!(said(&states, "192.0.2.2"), Some((Grade::Failed, "disk is full".into())));
        assert_eq!(said(&states, "2001:db8::1"), Some((Grade::Poor, String::new())));
        assert_eq!(said(&states, "www.example.net"), Some((Grade::Failed, String::new())));
        assert_eq!(said(&states, "192.0.2.3"), None);
        let (states, _) = States::read("* down for repairs\n192.0.2.1 up\n", &states);
        assert_eq!(said(&states, "192.0.2.1"), Some((Grade::Good, String::new())));
        assert_eq!(said(&states, "192.0.2.3"), Some((Grade::Failed, "for repairs".into())));
    }

    #[test]
    fn broken_lines_are_told_and_keep_what_was_said_before() {
        let (before, _) = States::read("192.0.2.1 down\n192.0.2.2 up\n* down", &States::default());
        let (states, broken) = States::read("192.0.2.1 dow\n192.0.2.2\n192.0.2.3 up\n192.0.2.3 down\n*\n", &before);
        let broken: Vec<String> = broken.iter().map(|(line, problem)| format!("{line}: {problem}")).collect();
        let expected = [
            "1: expected `192.0.2.1 up`, `degraded` or `down`, found \"192.0.2.1 dow\"",
            "2: expected `192.0.2.2 up`, `degraded` or `down`, found \"192.0.2.2\"",
            "4: 192.0.2.3 has a line already",
            "5: expected `* up`, `degraded` or `down`, found \"*\"",
        ];
        assert_eq!(broken, expected);
        assert_eq!(said(&states, "192.0.2.1").unwrap().0, Grade::Failed);
        assert_eq!(said(&states, "192.0.2.2").unwrap().0, Grade::Good);
        assert_eq!(said(&states, "192.0.2.3").unwrap().0, Grade::Good);
        assert_eq!(said(&states, "192.0.2.4").unwrap().0, Grade::Failed);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[ -~\n\té*#]{0,300}") {
            let (states, broken) = States::read(&text, &States::default());
            prop_assert!(states.of.len() + broken.len() <= text.lines().count());
        }
    }
}
