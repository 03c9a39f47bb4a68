//! What operators say: kept first, then published.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::info;

use crate::health::overrides::{Override, Overrides, Subject};
use crate::snapshot::{Event, Publisher};
use crate::state::journal::{AUDIT_RECORDS, Journal, Record, Refusal};
use crate::state::verdicts::{self, Keeper};

/// The operators' words and the last verdicts of one server, kept in its `state_dir`, where it has one.
#[derive(Debug)]
pub struct Operator {
    publisher: Arc<Publisher>,
    /// Whoever has it may wait for a disk.
    journal: Mutex<Journal>,
    /// Whoever has it may publish what operators say, and waits for no disk. To be asked for after `journal`.
    publishing: Mutex<()>,
    folder: Option<PathBuf>,
    refused: Arc<AtomicU64>,
    keeper: Option<Keeper>,
}

impl Operator {
    /// Takes up what was kept, and publishes what follows from it. Without a folder nothing outlives the process. Blocks while it
    /// reads.
    ///
    /// # Errors
    /// Where another process uses the folder, or could.
    pub fn start(
        folder: Option<&Path>,
        publisher: Arc<Publisher>,
        now: Instant,
        unix_seconds: u64,
    ) -> Result<Self, Refusal> {
        let journal = match folder {
            Some(folder) => Journal::open(folder, AUDIT_RECORDS)?,
            None => Journal::in_memory(AUDIT_RECORDS),
        };
        let operator = Self {
            publisher,
            refused: Arc::clone(journal.failures()),
            journal: Mutex::new(journal),
            publishing: Mutex::default(),
            folder: folder.map(Path::to_owned),
            keeper: folder.map(|folder| Keeper::new(folder.to_owned())),
        };
        operator.take_up(now, unix_seconds);
        Ok(operator)
    }

    fn take_up(&self, now: Instant, unix_seconds: u64) {
        let journal = self.journal();
        journal.overrides().expired(unix_seconds).for_each(tell_that_it_is_over);
        // Ahead of verdicts, which else would turn what a word holds up, and have it warm up anew.
        self.publish(&journal, now, unix_seconds);
        let max_age = self.publisher.current().compiled.config.safety.restore_max_age;
        let stored = self.folder.as_ref().and_then(|folder| verdicts::read(folder, max_age, unix_seconds));
        if let Some(stored) = stored {
            let targets = self.publisher.restore(|table| stored.past(table), now);
            info!(targets, "verdicts taken up");
            // What was acknowledged after verdicts were last stored.
            for subject in journal.resumed_after(stored.record) {
                self.publisher.resume(subject, now);
            }
        }
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes what the journal has, but for what is over.
    fn publish(&self, journal: &Journal, now: Instant, unix_seconds: u64) {
        let _alone = self.publishing();
        let holding = journal.overrides().at(unix_seconds);
        if *self.publisher.overrides() != *holding {
            self.publisher.obey(&holding, now);
        }
    }

    fn publishing(&self) -> MutexGuard<'_, ()> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where what operators say is kept; nothing where it is forgotten at the end of the process.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// What operators say now.
    pub fn overrides(&self) -> Arc<Overrides> {
        self.publisher.overrides()
    }

    /// What operators said of late, the oldest first.
    pub fn trail(&self) -> Vec<Record> {
        self.journal().trail().to_vec()
    }

    /// How much that operators said could not be kept, and so was refused; and how often verdicts could not be.
    pub fn failures(&self) -> (u64, u64) {
        (self.refused.load(Ordering::Relaxed), self.keeper.as_ref().map_or(0, Keeper::failures))
    }

    /// Takes a word in. When this returns, it is kept and published. Blocks while it is written; words that are over by then stay so,
    /// so the seconds since 1970 are asked for. Returns since when it holds.
    ///
    /// # Errors
    /// As [`Refusal`] says.
    pub fn say(&self, said: Override, now: Instant, unix_seconds: impl Fn() -> u64) -> Result<u64, Refusal> {
        let mut journal = self.journal();
        let since = journal.set(said.clone())?;
        self.publish(&journal, now, unix_seconds());
        let Override { subject, word, reason, author, expires, .. } = said;
        info!(%subject, %word, author, reason, expires, "an operator overrides");
        Ok(since)
    }

    /// Takes a word back, likewise, and returns it.
    ///
    /// # Errors
    /// As [`Refusal`] says.
    pub fn take_back(
        &self,
        subject: &Subject,
        reason: Option<&str>,
        author: &str,
        now: Instant,
        unix_seconds: impl Fn() -> u64,
    ) -> Result<Override, Refusal> {
        let mut journal = self.journal();
        let was = journal.clear(subject, reason, author, unix_seconds())?;
        self.publish(&journal, now, unix_seconds());
        info!(%subject, word = %was.word, author, reason, "an operator takes an override back");
        Ok(was)
    }

    /// Lets those count no longer whose time is over at `unix_seconds` since 1970. Waits for no disk.
    pub fn expire(&self, now: Instant, unix_seconds: u64) {
        let _alone = self.publishing();
        let overrides = self.publisher.overrides();
        let holding = overrides.at(unix_seconds);
        if !Arc::ptr_eq(&holding, &overrides) {
            self.publisher.obey(&holding, now);
            overrides.expired(unix_seconds).for_each(tell_that_it_is_over);
        }
    }

    /// Takes note of those whose time is over, for those who ask who did what. Blocks while that is written.
    pub fn keep_expiries(&self, unix_seconds: u64) {
        self.journal().expire(unix_seconds);
    }

    /// Lets what is held down come up as soon as its probes say so. When this returns, that is kept. Returns how many targets it is
    /// about. Blocks while it is written.
    ///
    /// # Errors
    /// As [`Refusal`] says.
    pub fn resume(
        &self,
        subject: &Subject,
        reason: &str,
        author: &str,
        (now, unix_seconds): (Instant, u64),
    ) -> Result<usize, Refusal> {
        let mut journal = self.journal();
        journal.resume(subject, reason, author, unix_seconds)?;
        let (targets, events) = self.publisher.resume(subject, now);
        info!(%subject, targets, author, reason, "an operator resumes what is held down");
        events.iter().for_each(Event::log);
        Ok(targets)
    }

    /// Keeps the verdicts, where they changed, what was kept is half as old as it may become, or this is the last time. Blocks while
    /// they are written.
    pub fn keep_verdicts(&self, is_last: bool, now: Instant, unix_seconds: u64) {
        let Some(keeper) = &self.keeper else { return };
        let (record, (snapshot, health)) = {
            // What a record did is seen with it.
            let journal = self.journal();
            (journal.latest(), self.publisher.current_with_health())
        };
        let max_age = snapshot.compiled.config.safety.restore_max_age;
        if !max_age.is_zero() {
            keeper.keep(&health, record, if is_last { Duration::ZERO } else { max_age / 2 }, now, unix_seconds);
        }
    }
}

fn tell_that_it_is_over(said: &Override) {
    let Override { subject, word, author, reason, .. } = said;
    info!(%subject, %word, author, reason, "an override is over");
}

#[cfg(test)]
impl Operator {
    /// Makes everything wait that waits for the disk, until what is returned is dropped.
    pub(crate) fn with_slow_disk(&self) -> MutexGuard<'_, impl Sized> {
        self.journal()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::health::overrides::Word;
    use crate::reload::{Loader, Origin};

    #[test]
    fn a_word_ends_while_the_disk_is_slow() {
        let text = "server.listen = [\"127.0.0.1:0\"]\nzones.\"example.com\".nameservers = [\"ns.example.net\"]\n";
        let compiled = Loader::new(Origin::Embedded(text.to_owned())).load().unwrap().compiled;
        let now = Instant::now();
        let operator = Operator::start(None, Arc::new(Publisher::new(compiled)), now, 0).unwrap();
        let (reason, author) = ("because".to_owned(), "me".to_owned());
        for (name, expires) in [("first", 10), ("second", 20)] {
            let (subject, expires) = (Subject::Pool(name.to_owned()), Some(expires));
            let (reason, author) = (reason.clone(), author.clone());
            let said = Override { subject, word: Word::Down, reason, author, since: 0, expires };
            operator.say(said, now, || 0).unwrap();
        }
        let (ended, left) = mpsc::channel();
        thread::scope(|scope| {
            let slow = operator.with_slow_disk();
            scope.spawn(|| {
                operator.expire(now, 10);
                ended.send(operator.overrides().len()).unwrap();
            });
            assert_eq!(left.recv_timeout(Duration::from_secs(10)), Ok(1));
            drop(slow);
        });
        // What is said next doesn't bring it back, though nobody took note yet, and though it was said before that was over.
        let subject = Subject::Pool("third".to_owned());
        let said = Override { subject: subject.clone(), word: Word::Up, reason, author, since: 9, expires: None };
        operator.say(said, now, || 11).unwrap();
        assert_eq!((operator.overrides().len(), operator.trail().len()), (2, 3));
        operator.keep_expiries(11);
        assert_eq!((operator.overrides().len(), operator.trail().len()), (2, 4));
    }
}
