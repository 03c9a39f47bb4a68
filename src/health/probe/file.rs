//! The file probe: what a file says of addresses, which somebody else writes.
//!
//! A file that can't be read says nothing, and nor does a broken line of those whom it names: their verdicts stay as they are.

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
pub(super) struct Files(Mutex<HashMap<PathBuf, Arc<AsyncMutex<Watched>>>>);

impl Files {
    /// What the file says of a target; nothing where it says nothing.
    pub(super) async fn observe(&self, check: &FileCheck, target: &Target, time: Duration) -> Option<Observation> {
        let path = check.path.as_path();
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
        if let Some(most) = check.max_silence.filter(|most| held.written.is_some_and(|then| then.elapsed() > *most)) {
            return Some(Observation::failed(Failure::Unwritten(most)));
        }
        match held.states.as_ref().map(|states| states.of(target)) {
            Ok(Some(Ok(word))) => Some(word.observation("the file says")),
            Ok(Some(Err(line))) => local(format!("line {line} is broken")),
            Ok(None) => None,
            Err(problem) => local(problem.clone()),
        }
    }

    /// Forgets the files that are looked at no more.
    pub(super) fn retain(&self, is_watched: impl Fn(&Path) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|path, _| is_watched(path));
    }
}

/// One file.
#[derive(Debug)]
struct Watched {
    looked: Option<Instant>,
    read: Fingerprint,
    /// Whether it changed at the latest look: it may have changed again at once, which its times need not show.
    is_fresh: bool,
    /// When a change of it was last read; of one that never was, when it was first looked at.
    written: Option<Instant>,
    /// Or why it can't be read.
    states: Result<States, String>,
}

impl Default for Watched {
    fn default() -> Self {
        let states = Ok(States::default());
        Self { looked: None, read: Fingerprint::default(), is_fresh: false, written: None, states }
    }
}

impl Watched {
    /// Reads the file where it is another one. Blocks while it does.
    fn look(&mut self, path: &Path) {
        let found = Fingerprint::of([path].into_iter());
        let is_other = self.looked.is_none() || found != self.read;
        let now = Instant::now();
        if is_other || self.is_fresh {
            let states = read(path);
            if let Err(problem) = &states
                && self.states.as_ref().err() != Some(problem)
            {
                warn!(file = %path.display(), %problem, "a probe's file can't be read; verdicts stay as they are");
            }
            if is_other && states.is_ok() {
                self.written = Some(now);
            }
            self.states = states;
        }
        self.is_fresh = is_other;
        self.read = found;
        self.looked = Some(now);
        self.written.get_or_insert(now);
    }
}

/// Reads the file, and tells of its broken lines.
fn read(path: &Path) -> Result<States, String> {
    let mut octets = Vec::new();
    let read = regular_file::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut octets));
    let length = read.map_err(|error| error.to_string())?;
    if length as u64 > MAX_FILE_BYTES {
        return Err(format!("larger than {} MiB", MAX_FILE_BYTES >> 20));
    }
    let (states, broken) = States::read(&String::from_utf8_lossy(&octets));
    for (line, problem) in broken.iter().take(MAX_TOLD) {
        warn!(file = %path.display(), line, %problem, "a probe's file has a broken line, which is passed over");
    }
    Ok(states)
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
