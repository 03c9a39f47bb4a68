//! The heartbeat probe: endpoints say themselves that they are well, and silence is a failure.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::told::Word;
use super::{Failure, Observation};
use crate::health::TargetKey;

/// What was heard of targets by heartbeat. Its size is the number of those that are configured.
#[derive(Debug, Default)]
pub struct Heartbeats(Mutex<HashMap<TargetKey, Heard>>);

#[derive(Debug)]
struct Heard {
    /// When it was heard last, or first looked for.
    since: Instant,
    /// What it said then.
    word: Option<Word>,
    /// Whether the latest look found that it was silent for too long.
    was_silent: bool,
}

impl Heartbeats {
    /// Takes note of what a target said at `now`, and returns what is observed by that.
    pub fn hear(&self, key: &TargetKey, word: &Word, now: Instant) -> Observation {
        let mut all = self.lock();
        let heard = all.entry(key.clone()).or_insert(Heard { since: now, word: None, was_silent: false });
        heard.since = heard.since.max(now);
        heard.word = Some(word.clone());
        word.observation("the endpoint reports")
    }

    /// One look: a target that was silent for longer than it may fails, at each look again. One that was heard since the
    /// look before is what it said, as an observation of its silence may have come after its word. Else there is nothing to
    /// say, and so it is of one that was never heard and not awaited for long.
    pub(super) fn look(&self, key: &TargetKey, max_silence: Duration, now: Instant) -> Option<Observation> {
        let mut all = self.lock();
        let Some(heard) = all.get_mut(key) else {
            all.insert(key.clone(), Heard { since: now, word: None, was_silent: false });
            return None;
        };
        let silence = now.saturating_duration_since(heard.since);
        let was_silent = std::mem::replace(&mut heard.was_silent, silence > max_silence);
        if heard.was_silent {
            return Some(Observation::failed(Failure::Silent(max_silence)));
        }
        heard.word.as_ref().filter(|_| was_silent).map(|word| word.observation("the endpoint reports"))
    }

    /// Forgets the targets that are none any more.
    pub(crate) fn retain(&self, mut is_target: impl FnMut(&TargetKey) -> bool) {
        self.lock().retain(|key, _| is_target(key));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TargetKey, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use super::*;
    use crate::config::{Check, Target, Timing};
    use crate::health::Grade;

    const SECOND: Duration = Duration::from_secs(1);

    fn key() -> TargetKey {
        TargetKey {
            check: Check::Heartbeat(30 * SECOND).into(),
            timing: Timing::DEFAULT,
            target: Target::Address([192, 0, 2, 1].into()),
        }
    }

    fn word(grade: Grade) -> Word {
        Word { grade, words: "busy".into() }
    }

    #[test]
    fn silence_counts_from_the_first_look_and_from_each_word() {
        let (heartbeats, start) = (Heartbeats::default(), Instant::now());
        let look = |seconds| heartbeats.look(&key(), 30 * SECOND, start + seconds * SECOND).map(|it| it.to_string());
        let silent = Some("no heartbeat for 30s".to_owned());
        assert_eq!((look(0), look(30)), (None, None), "it is new");
        assert_eq!((look(31), look(32)), (silent.clone(), silent.clone()));
        let heard = heartbeats.hear(&key(), &word(Grade::Good), start + 40 * SECOND);
        assert_eq!((heard.outcome, heard.details.poor), (Ok(()), None));
        // Once more, in case that the word of the silence came last.
        assert_eq!(look(41), Some("ok in 0.0ns".to_owned()));
        assert_eq!((look(42), look(70)), (None, None));
        assert_eq!(look(71), silent);
        heartbeats.hear(&key(), &word(Grade::Good), start + 80 * SECOND);
        heartbeats.hear(&key(), &word(Grade::Good), start + 75 * SECOND);
        look(81);
        assert_eq!((look(110), look(111)), (None, silent), "no older by a word that comes late");
    }

    #[test]
    fn what_is_said_is_what_is_observed() {
        let (heartbeats, start) = (Heartbeats::default(), Instant::now());
        let said = |grade| heartbeats.hear(&key(), &word(grade), start).to_string();
        assert_eq!(said(Grade::Good), "ok in 0.0ns");
        assert_eq!(said(Grade::Poor), "ok in 0.0ns, but the endpoint reports that it is degraded: busy");
        assert_eq!(said(Grade::Failed), "the endpoint reports that it is down: busy");
    }

    #[test]
    fn targets_that_are_gone_are_forgotten() {
        let (heartbeats, start) = (Heartbeats::default(), Instant::now());
        heartbeats.hear(&key(), &word(Grade::Good), start);
        heartbeats.retain(|_| false);
        assert_eq!(heartbeats.look(&key(), SECOND, start + 10 * SECOND), None, "new again");
    }
}
