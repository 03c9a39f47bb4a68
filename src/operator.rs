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
    /// Whoever has it may publish what operators say.
    journal: Mutex<Journal>,
    folder: Option<PathBuf>,
    refused: Arc<AtomicU64>,
    keeper: Option<Keeper>,
}

impl Operator {
    /// Takes up what was kept, and publishes what follows from it. Without a folder nothing outlives the process. Blocks while it
    /// reads.
    ///
    /// # Errors
    /// Where another process uses the folder.
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
        if let Some(folder) = folder {
            let max_age = publisher.current().compiled.config.safety.restore_max_age;
            let stored = verdicts::read(folder, max_age, unix_seconds);
            publisher.restore(|key| stored.get(key), now);
        }
        let operator = Self {
            publisher,
            refused: Arc::clone(journal.failures()),
            journal: Mutex::new(journal),
            folder: folder.map(Path::to_owned),
            keeper: folder.map(|folder| Keeper::new(folder.to_owned())),
        };
        operator.expire(now, unix_seconds);
        operator.publish(&operator.journal(), now);
        Ok(operator)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, journal: &Journal, now: Instant) {
        if *self.publisher.overrides() != **journal.overrides() {
            self.publisher.obey(journal.overrides(), now);
        }
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

    /// Takes a word in. When this returns, it is kept and published. Blocks while it is written.
    ///
    /// # Errors
    /// As [`Refusal`] says.
    pub fn say(&self, said: Override, now: Instant) -> Result<(), Refusal> {
        let mut journal = self.journal();
        journal.set(said.clone())?;
        self.publish(&journal, now);
        let Override { subject, word, reason, author, expires, .. } = said;
        info!(%subject, %word, author, reason, expires, "an operator overrides");
        Ok(())
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
        (now, unix_seconds): (Instant, u64),
    ) -> Result<Override, Refusal> {
        let mut journal = self.journal();
        let was = journal.clear(subject, reason, author, unix_seconds)?;
        self.publish(&journal, now);
        info!(%subject, word = %was.word, author, reason, "an operator takes an override back");
        Ok(was)
    }

    /// Takes those back whose time is over at `unix_seconds` since 1970. Blocks while that is written.
    pub fn expire(&self, now: Instant, unix_seconds: u64) {
        if self.journal().overrides().expired(unix_seconds).next().is_none() {
            return;
        }
        let mut journal = self.journal();
        let expired = journal.expire(unix_seconds);
        self.publish(&journal, now);
        for Override { subject, word, author, reason, .. } in expired {
            info!(%subject, %word, author, reason, "an override is over");
        }
    }

    /// Lets what is held down come up as soon as its probes say so. Returns how many targets that is.
    pub fn resume(&self, subject: &Subject, reason: &str, author: &str, now: Instant) -> usize {
        let (targets, events) = self.publisher.resume(subject, now);
        info!(%subject, targets, author, reason, "an operator resumes what is held down");
        events.iter().for_each(Event::log);
        targets
    }

    /// Keeps the verdicts, where they changed, what was kept is half as old as it may become, or this is the last time. Blocks while
    /// they are written.
    pub fn keep_verdicts(&self, is_last: bool, now: Instant, unix_seconds: u64) {
        let Some(keeper) = &self.keeper else { return };
        let (snapshot, health) = self.publisher.current_with_health();
        let max_age = snapshot.compiled.config.safety.restore_max_age;
        if !max_age.is_zero() {
            keeper.keep(&health, if is_last { Duration::ZERO } else { max_age / 2 }, now, unix_seconds);
        }
    }
}
