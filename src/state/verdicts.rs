//! The last verdicts, which a server that starts again takes up, so that a restart is no change of health.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use tracing::{info, warn};

use super::{FILE_MODE, sealed, unsealed};
use crate::health::endpoint::Placed;
use crate::health::past::{Past, PastTaking, PastTarget};
use crate::health::suspicion::Doubts;
use crate::health::{Table, TargetKey, Verdict};
use crate::whole_file;

/// How often they are written at most.
pub const WRITE_INTERVAL: Duration = Duration::from_secs(10);
/// The largest file that is read, in octets: of the most targets, each with the longest name.
const MAX_FILE_OCTETS: u64 = 256 << 20;
/// What is written as it is read here; anything else is another program's, or another version's.
const FORMAT: u32 = 3;
/// A file may be from so many seconds in the future, as clocks are set back by a little. It counts as new then.
const MAX_AHEAD_SECONDS: u64 = 60;

const NAME: &str = "verdicts";
const TEMPORARY_NAME: &str = "verdicts.new";

#[derive(Debug, Serialize, Deserialize)]
struct File {
    format: u32,
    /// When it was written, in seconds since 1970, as all times here.
    time: u64,
    /// The latest record of the journal of which it knows.
    record: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unsure: Option<Unsure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spent_above: Option<usize>,
    changes_spent: f64,
    targets: Vec<Target>,
    taken: Vec<Taken>,
}

/// As in [`Doubts`].
#[derive(Debug, Serialize, Deserialize)]
struct Unsure {
    since: u64,
    recovered: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Target {
    /// For people.
    target: String,
    /// Of what is asked of whom.
    hash: u64,
    /// Of when.
    timing: u64,
    verdict: String,
    /// When it began.
    since: u64,
    score: f64,
    is_resumed: bool,
}

/// An endpoint that was taken away.
#[derive(Debug, Serialize, Deserialize)]
struct Taken {
    pool: String,
    region: String,
    endpoint: String,
    /// When its inputs or its breaker began to ask for it to be taken away.
    down: u64,
    /// When it was taken away for that.
    away: u64,
}

/// What was stored.
#[derive(Debug)]
pub struct Stored {
    /// The latest record of the journal of which it knows.
    pub record: u64,
    pause: Duration,
    /// By what is asked of whom, and with a hash of each timing.
    targets: HashMap<(String, u64), Vec<(u64, PastTarget)>>,
    taken: Vec<(Taken, PastTaking)>,
    doubts: Doubts,
    changes_spent: f64,
}

impl Stored {
    /// What of it is about the targets and endpoints of a table. A target whose timing alone is another is the same.
    pub fn past(&self, table: &Table) -> Past {
        let targets = table.targets().iter().filter_map(|target| {
            let alike = self.targets.get(&identity(&target.key))?;
            let timing = hash(&target.key.timing);
            let (_, stored) = alike.iter().find(|(of, _)| *of == timing).or(alike.first())?;
            Some((table.id(&target.key)?, *stored))
        });
        let taken = self.taken.iter().flat_map(|(Taken { pool, region, endpoint, .. }, taking)| {
            table.endpoints().find(pool, endpoint, Some(region)).map(|index| (index, *taking))
        });
        Past {
            pause: self.pause,
            targets: targets.collect(),
            taken: taken.collect(),
            doubts: self.doubts,
            changes_spent: self.changes_spent,
        }
    }
}

/// Why what is stored is not taken up.
#[derive(Debug)]
enum Unusable {
    Unreadable(io::Error),
    TooLarge,
    Damaged,
    Foreign(u32),
    TooOld(u64),
    Future(u64),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::TooLarge => f.write_str("it is too large to be ours"),
            Self::Damaged => f.write_str("it is damaged, or no such file"),
            Self::Foreign(format) => write!(f, "it is of format {format}, and this version reads {FORMAT}"),
            Self::TooOld(seconds) => write!(f, "it is {seconds} s old, which is more than restore_max_age"),
            Self::Future(seconds) => write!(f, "it is from {seconds} s in the future"),
        }
    }
}

/// Reads what was stored up to `max_age` ago; nothing where there is none, it is of no use, or `max_age` is 0. The log tells.
///
/// Ages are by the calendar's clock. A file from the near future, as a clock was set back a little, counts as new; one from later
/// is of no use, as nobody can tell its age.
pub fn read(folder: &Path, max_age: Duration, unix_seconds: u64) -> Option<Stored> {
    if max_age.is_zero() {
        return None;
    }
    let path = folder.join(NAME);
    let file = path.display();
    match try_read(&path, max_age, unix_seconds) {
        Ok(None) => None,
        Ok(Some(stored)) => {
            let is_unsure = stored.doubts.unsure.is_some();
            let targets = stored.targets.values().map(Vec::len).sum::<usize>();
            info!(%file, targets, age_seconds = stored.pause.as_secs(), is_unsure, "verdicts read");
            Some(stored)
        }
        Err(problem) => {
            warn!(%file, %problem, "the stored verdicts are not taken up");
            None
        }
    }
}

fn try_read(path: &Path, max_age: Duration, unix_seconds: u64) -> Result<Option<Stored>, Unusable> {
    let bytes = match super::read(path, MAX_FILE_OCTETS) {
        Ok(bytes) => bytes.ok_or(Unusable::TooLarge)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Unusable::Unreadable(error)),
    };
    parse(&bytes, max_age, unix_seconds).map(Some)
}

fn parse(bytes: &[u8], max_age: Duration, unix_seconds: u64) -> Result<Stored, Unusable> {
    /// Of a file of whatever version.
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let text = bytes.strip_suffix(b"\n").and_then(unsealed).ok_or(Unusable::Damaged)?;
    let Format { format } = serde_json::from_str(text).map_err(|_| Unusable::Damaged)?;
    if format != FORMAT {
        return Err(Unusable::Foreign(format));
    }
    let File { time, record, unsure, spent_above, changes_spent, targets: written, taken, .. } =
        serde_json::from_str(text).map_err(|_| Unusable::Damaged)?;
    let ahead = time.saturating_sub(unix_seconds);
    if ahead > MAX_AHEAD_SECONDS {
        return Err(Unusable::Future(ahead));
    }
    let pause = unix_seconds.saturating_sub(time);
    if Duration::from_secs(pause) > max_age {
        return Err(Unusable::TooOld(pause));
    }
    // What it was when it was written, by whatever clock, and the time since.
    let age = |then: u64| Duration::from_secs(time.saturating_sub(then).saturating_add(pause));
    let mut targets: HashMap<_, Vec<_>> = HashMap::new();
    for Target { target, hash, timing, verdict, since, score, is_resumed } in written {
        let Some(verdict) = Verdict::ALL.into_iter().find(|known| known.name() == verdict) else { continue };
        let past = PastTarget { verdict, lasted: age(since), score, is_resumed };
        targets.entry((target, hash)).or_default().push((timing, past));
    }
    let taken = taken.into_iter().map(|taken| {
        let taking = PastTaking { down: age(taken.down), away: age(taken.away) };
        (taken, taking)
    });
    Ok(Stored {
        record,
        pause: Duration::from_secs(pause),
        targets,
        taken: taken.collect(),
        doubts: Doubts { unsure: unsure.map(|Unsure { since, recovered }| (age(since), recovered)), spent_above },
        changes_spent,
    })
}

/// What is known at `now`, which is `unix_seconds`, as a file has it. Targets that are unknown are left out.
fn written(table: &Table, record: u64, now: Instant, unix_seconds: u64) -> serde_json::Result<String> {
    let Past { targets, taken, doubts, changes_spent, .. } = table.past(now);
    let then = |age: Duration| unix_seconds.saturating_sub(age.as_secs());
    let targets = targets.into_iter().filter_map(|(id, PastTarget { verdict, lasted, score, is_resumed })| {
        let key = &table.get(id)?.key;
        let ((target, of), timing) = (identity(key), hash(&key.timing));
        let verdict = verdict.name().to_owned();
        Some(Target { target, hash: of, timing, verdict, since: then(lasted), score, is_resumed })
    });
    let taken = taken.into_iter().filter_map(|(index, PastTaking { down, away })| {
        let Placed { pool, region, destination, .. } = &table.endpoints().get(index)?.placed;
        let (pool, region, endpoint) = (pool.to_string(), region.to_string(), destination.to_string());
        Some(Taken { pool, region, endpoint, down: then(down), away: then(away) })
    });
    let file = File {
        format: FORMAT,
        time: unix_seconds,
        record,
        unsure: doubts.unsure.map(|(age, recovered)| Unsure { since: then(age), recovered }),
        spent_above: doubts.spent_above,
        changes_spent,
        targets: targets.collect(),
        taken: taken.collect(),
    };
    Ok(sealed(&serde_json::to_string(&file)?))
}

/// What is asked of whom, which stays the same over restarts of the same configuration. Two different targets may look alike, so that
/// is hashed too.
fn identity(key: &TargetKey) -> (String, u64) {
    (key.to_string(), hash(&(&key.check, &key.target)))
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    of.hash(&mut hasher);
    hasher.finish()
}

/// Writes verdicts now and then.
#[derive(Debug)]
pub struct Keeper {
    folder: PathBuf,
    last: Mutex<Last>,
    failures: AtomicU64,
}

/// What was last written.
#[derive(Debug, Default)]
struct Last {
    /// When, and what was so.
    written: Option<(Instant, u64)>,
    /// Whether the latest attempt failed.
    has_failed: bool,
}

impl Keeper {
    /// Of a folder. Nothing is written yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, last: Mutex::default(), failures: AtomicU64::new(0) }
    }

    /// How often writing failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Writes what is known at `now`, after a `record` of the journal, unless what was last written is of later, or nothing of it
    /// changed and it is of less than `stays_good` before. Blocks while it does. That it fails is told once, and again after it succeeded.
    pub fn keep(&self, table: &Table, record: u64, stays_good: Duration, now: Instant, unix_seconds: u64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let verdicts = hash_of(table);
        let is_kept = |(then, written): (Instant, u64)| {
            then > now || written == verdicts && now.saturating_duration_since(then) < stays_good
        };
        if last.written.is_some_and(is_kept) {
            return;
        }
        let path = self.folder.join(NAME);
        let text = written(table, record, now, unix_seconds).map_err(io::Error::from);
        let kept = text.and_then(|text| whole_file::replace(&path, TEMPORARY_NAME, FILE_MODE, text.as_bytes()));
        match kept {
            Ok(()) => {
                if last.has_failed {
                    info!(file = %path.display(), "verdicts can be stored again");
                }
                *last = Last { written: Some((now, verdicts)), has_failed: false };
            }
            Err(problem) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if !last.has_failed {
                    warn!(file = %path.display(), %problem, "verdicts can't be stored; a restart would begin without them");
                }
                last.has_failed = true;
            }
        }
    }
}

/// Of all verdicts, what was taken away, and whether the prober is unsure.
fn hash_of(table: &Table) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    for target in table.targets().iter() {
        let machine = &target.machine;
        (machine.verdict(), machine.since(), machine.is_resumed()).hash(&mut hasher);
    }
    for endpoint in table.endpoints().all().iter() {
        endpoint.taken().hash(&mut hasher);
    }
    table.unsure_since().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{self, Check, TcpCheck, Timing};
    use crate::health::{Details, Failure, Observation};

    const MAX_AGE: Duration = Duration::from_secs(300);
    const THEN: u64 = 1_000_000;

    fn key(port: u16, fall: u8) -> TargetKey {
        let target = config::Target::Address([192, 0, 2, 1].into());
        TargetKey {
            check: Check::Tcp(TcpCheck::accepted(port)).into(),
            timing: Timing { fall, ..Timing::DEFAULT },
            target,
        }
    }

    /// Of targets at ports 1 to 3, of which the first is up, the second down and the third unknown, since 40 s before `now`.
    fn table(now: Instant) -> Table {
        let mut table = Table::default().rebuilt([1, 2, 3].map(|port| key(port, 3)), []);
        let then = now.checked_sub(Duration::from_secs(40)).unwrap();
        for (port, outcome) in [(1, Ok(())), (2, Err(Failure::Refused))] {
            let took = Duration::from_millis(3);
            table.observe(
                &key(port, 3),
                Observation { took, address: None, outcome, details: Details::default() },
                then,
            );
        }
        table
    }

    fn text(now: Instant) -> Vec<u8> {
        written(&table(now), 7, now, THEN).unwrap().into_bytes()
    }

    fn outcome(bytes: &[u8], now: u64) -> String {
        match parse(bytes, MAX_AGE, now) {
            Ok(stored) => format!("{} of age {}", stored.targets.len(), stored.pause.as_secs()),
            Err(problem) => problem.to_string(),
        }
    }

    #[test]
    fn a_restart_goes_on_where_the_server_was() {
        let now = Instant::now();
        let stored = parse(&text(now), MAX_AGE, THEN + 5).unwrap();
        assert_eq!((stored.pause, stored.record), (Duration::from_secs(5), 7));
        // The second is the same though it takes more failures to turn it down now, and the fourth is another.
        let mut table = Table::default().rebuilt([key(1, 3), key(2, 4), key(3, 3), key(4, 3)], []);
        assert_eq!(table.restore(&stored.past(&table), now), 2);
        let verdicts: Vec<Verdict> = table.targets().iter().map(|target| target.machine.verdict()).collect();
        assert_eq!(verdicts, [Verdict::Up, Verdict::Down, Verdict::Unknown, Verdict::Unknown]);
        let first = table.targets().get(0).unwrap();
        assert_eq!(first.machine.since(), now.checked_sub(Duration::from_secs(45)));
        assert_eq!(first.counts.transitions, 0);
        let mut same = Table::default().rebuilt([key(1, 3), key(2, 3)], []);
        assert_eq!(same.restore(&stored.past(&same), now), 2);
        assert_eq!(same.targets().get(1).unwrap().machine.verdict(), Verdict::Down);
        assert_eq!(same.targets().get(1).unwrap().score.value(), 0.0);
        // What was observed meanwhile counts more.
        assert_eq!(same.restore(&stored.past(&same), now), 0);
    }

    #[test]
    fn targets_that_look_alike_are_told_apart() {
        let now = Instant::now();
        let check = Check::Tcp(TcpCheck { expect: Some("ok".to_owned()), ..TcpCheck::accepted(1) });
        let other = TargetKey { check: check.into(), ..key(1, 3) };
        let keys = [key(1, 3), key(1, 4), other];
        let mut table = Table::default().rebuilt(keys.clone(), []);
        for (key, outcome) in keys.iter().zip([Ok(()), Err(Failure::Refused), Err(Failure::Refused)]) {
            let took = Duration::from_millis(3);
            table.observe(key, Observation { took, address: None, outcome, details: Details::default() }, now);
        }
        let stored = parse(written(&table, 7, now, THEN).unwrap().as_bytes(), MAX_AGE, THEN).unwrap();
        let mut again = Table::default().rebuilt(keys, []);
        assert_eq!(again.restore(&stored.past(&again), now), 3);
        let verdicts: Vec<Verdict> = again.targets().iter().map(|target| target.machine.verdict()).collect();
        assert_eq!(verdicts, [Verdict::Up, Verdict::Down, Verdict::Down]);
    }

    #[test]
    fn what_is_too_old_or_from_the_future_or_foreign_is_of_no_use() {
        let bytes = text(Instant::now());
        for (now, expected) in [
            (THEN, "2 of age 0"),
            (THEN + 300, "2 of age 300"),
            (THEN + 301, "it is 301 s old, which is more than restore_max_age"),
            (THEN - 60, "2 of age 0"),
            (THEN - 61, "it is from 61 s in the future"),
            (0, "it is from 1000000 s in the future"),
        ] {
            assert_eq!(outcome(&bytes, now), expected, "{now}");
        }
        let newer = sealed("{\"format\":4,\"what\":\"else\"}");
        assert_eq!(outcome(newer.as_bytes(), THEN), "it is of format 4, and this version reads 3");
        for bytes in ["", "\n", "[]\n", sealed("{}").as_str(), sealed("{\"format\":3}").as_str()] {
            assert_eq!(outcome(bytes.as_bytes(), THEN), "it is damaged, or no such file", "{bytes}");
        }
    }

    #[test]
    fn it_is_written_where_a_verdict_changed_and_before_it_is_too_old() {
        let folder = std::env::temp_dir().join(format!("meridian-verdicts-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let path = folder.join(NAME);
        let keeper = Keeper::new(folder.clone());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut table = table(start);
        // Whether it wrote.
        let keep = |table: &Table, seconds| {
            let _ = fs::remove_file(&path);
            keeper.keep(table, 0, MAX_AGE / 2, at(seconds), THEN + seconds);
            path.exists()
        };
        assert!(!keep(&table, 0));
        assert!(!keep(&table, 1));
        assert_eq!(keeper.failures(), 2);
        fs::create_dir(&folder).unwrap();
        assert!(keep(&table, 10));
        assert!(!keep(&table, 20));
        let took = Duration::from_millis(3);
        let observation = Observation { took, address: None, outcome: Ok(()), details: Details::default() };
        table.observe(&key(1, 3), observation.clone(), at(25));
        assert!(!keep(&table, 30));
        table.observe(&key(3, 3), observation, at(35));
        assert!(keep(&table, 40));
        assert!(!keep(&table, 189));
        assert!(keep(&table, 190));
        let written = fs::read(&path).unwrap();
        assert!(!keep(&self::table(start), 100), "what is of before that replaces nothing");
        fs::write(&path, written).unwrap();
        assert_eq!(outcome(&fs::read(&path).unwrap(), THEN + 190), "3 of age 0");
        fs::remove_file(&path).unwrap();
        keeper.keep(&table, 0, Duration::ZERO, at(191), THEN + 191);
        assert_eq!(read(&folder, MAX_AGE, THEN + 200).unwrap().targets.len(), 3);
        assert!(read(&folder, Duration::ZERO, THEN + 200).is_none());
        fs::remove_dir_all(&folder).unwrap();
    }

    proptest! {
        #[test]
        fn any_damage_is_found(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>()) {
            let mut bytes = text(Instant::now());
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
            prop_assert_eq!(outcome(&bytes, THEN), "it is damaged, or no such file");
        }
    }
}
