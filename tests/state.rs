//! What is acknowledged outlives any end of the process, and a full disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use meridian::config::Target;
use meridian::health::overrides::{Override, Overrides, Subject, Word};
use meridian::health::{Failure, Verdict};
use meridian::operator::Operator;
use meridian::snapshot::Publisher;
use meridian::state::{Journal, Refusal};

use support::folder::Folder;
use support::health::{compiled, result, started};

/// Says in which folder a child works.
const FOLDER: &str = "MERIDIAN_TEST_STATE_DIR";
/// Few, so that whole files are written often.
const TRAIL: usize = 5;
const KILLS: u32 = 1_000;

/// What is said as the record of a number: one of six subjects gets a word, or it is taken back where there is one.
fn said(number: u64, overrides: &Overrides) -> Result<Override, Subject> {
    let subject: Subject = format!("pool/{}", number % 6).parse().unwrap();
    if number % 5 < 2 && overrides.get(&subject).is_some() {
        return Err(subject);
    }
    let word = Word::ALL[number as usize % 4];
    Ok(Override {
        subject,
        word,
        reason: format!("number {number}"),
        author: "me".into(),
        since: number,
        expires: None,
    })
}

/// What holds after so many records.
fn after(records: u64) -> BTreeMap<String, u64> {
    let mut overrides = Overrides::default();
    for number in 1..=records {
        match said(number, &overrides) {
            Ok(said) => drop(overrides.set(said).unwrap()),
            Err(subject) => drop(overrides.clear(&subject)),
        }
    }
    held(&overrides)
}

fn held(overrides: &Overrides) -> BTreeMap<String, u64> {
    overrides.iter().map(|said| (said.subject.to_string(), said.since)).collect()
}

fn say_next(journal: &mut Journal, number: u64) -> Result<(), Refusal> {
    match said(number, journal.overrides()) {
        Ok(said) => journal.set(said).map(drop),
        Err(subject) => journal.clear(&subject, None, "me", number).map(drop),
    }
}

fn last(journal: &Journal) -> u64 {
    journal.trail().last().map_or(0, |record| record.sequence)
}

#[test]
#[ignore = "run in a child process by another test"]
fn says_one_thing_after_another() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let mut journal = Journal::open(&folder, TRAIL).unwrap();
    let mut output = std::io::stdout();
    for number in last(&journal) + 1.. {
        say_next(&mut journal, number).unwrap();
        // In one call, so that no line is cut.
        output.write_all(format!("kept {number}\n").as_bytes()).unwrap();
        output.flush().unwrap();
    }
}

fn start(test: &str, folder: &Path) -> Child {
    start_by(&mut Command::new(std::env::current_exe().unwrap()), test, folder)
}

/// As [`start`], by a command that runs this program.
fn start_by(command: &mut Command, test: &str, folder: &Path) -> Child {
    command
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The number of an acknowledgement; the program writes other lines too.
fn kept(line: &str) -> Option<u64> {
    line.trim_end().rsplit_once("kept ")?.1.parse().ok()
}

/// Kills an ignored test again and again at random moments, which counts on from the last number that it kept and acknowledges each
/// as `kept NUMBER`. `last` is to tell the last number that is there.
fn kill_again_and_again(test: &str, folder: &Path, kills: u32, last: impl Fn() -> u64) {
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut acknowledged, mut beyond) = (0, 0);
    for kill in 0..kills {
        let mut child = start(test, folder);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        // A few are killed while they start, most at work.
        let wanted = rng.u32(0..8);
        let mut seen = 0;
        while seen < wanted && output.read_line(&mut line).unwrap() > 0 {
            if let Some(number) = kept(&line) {
                assert_eq!(number, acknowledged + 1, "kill {kill}");
                acknowledged = number;
                seen += 1;
            }
            line.clear();
        }
        let then = Instant::now() + Duration::from_micros(rng.u64(0..if wanted == 0 { 8_000 } else { 1_500 }));
        while Instant::now() < then {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        while output.read_line(&mut line).unwrap() > 0 {
            acknowledged = kept(&line).unwrap_or(acknowledged);
            line.clear();
        }
        child.wait().unwrap();
        let last = last();
        // The last one may have been kept before its acknowledgement was written.
        assert!(last == acknowledged || last == acknowledged + 1, "kill {kill}: {acknowledged} told, {last} there");
        beyond += u32::from(last > acknowledged);
        acknowledged = last;
    }
    assert!(acknowledged > u64::from(kills), "{acknowledged}");
    // Else it was never killed between the two.
    assert!(beyond > 0);
}

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let folder = Folder::new("power-cut");
    let path = folder.path("state");
    kill_again_and_again("says_one_thing_after_another", &path, KILLS, || {
        let journal = Journal::open(&path, TRAIL).unwrap();
        let last = last(&journal);
        assert_eq!(held(journal.overrides()), after(last));
        last
    });
    let names = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|name| name.contains("damaged")));
}

#[test]
#[ignore = "run in a child process by another test"]
fn says_more_than_fits() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    // So many that none is dropped.
    let mut journal = Journal::open(&folder, 100_000).unwrap();
    let number = (1..).find(|number| say_next(&mut journal, *number).is_err()).unwrap();
    let whole = number - 1;
    for _ in 0..3 {
        let refusal = say_next(&mut journal, number).unwrap_err();
        assert!(matches!(refusal, Refusal::NotKept(..)), "{refusal}");
        assert_eq!((last(&journal), held(journal.overrides())), (whole, after(whole)));
    }
    std::fs::write(folder.join("told"), whole.to_string()).unwrap();
}

#[test]
fn a_full_disk_refuses_what_it_can_not_keep_and_loses_nothing() {
    let folder = Folder::new("full-disk");
    let path = folder.path("state");
    // No file may grow beyond 8 blocks; the signal that tells is ignored.
    let preparation = format!("trap '' XFSZ; ulimit -f 8; {FOLDER}='{}'; export {FOLDER};", path.display());
    support::run_in_child("says_more_than_fits", &preparation);
    let told: u64 = std::fs::read_to_string(path.join("told")).unwrap().parse().unwrap();
    assert!(told > 10, "{told}");
    let mut journal = Journal::open(&path, 100_000).unwrap();
    assert_eq!((last(&journal), held(journal.overrides())), (told, after(told)));
    // There is room again.
    say_next(&mut journal, told + 1).unwrap();
    drop(journal);
    assert_eq!(last(&Journal::open(&path, 100_000).unwrap()), told + 1);
}

/// What a program does to the files of a folder, as far as that matters to a failure of the power.
struct Disk<'a> {
    folder: &'a Path,
    /// Files with content that may be lost, and folders with names that may be.
    unsynced: BTreeSet<PathBuf>,
    acknowledged: u32,
    renamed: u32,
}

impl Disk<'_> {
    /// Takes in a call as strace shows it, such as `fdatasync(3</state/overrides>) = 0`.
    fn take(&mut self, call: &str) {
        let Some((name, arguments)) = call.split_once('(') else { return };
        let descriptor = || Some(PathBuf::from(arguments.split_once('<')?.1.split_once('>')?.0));
        let texts: Vec<&Path> = arguments.split('"').skip(1).step_by(2).map(Path::new).collect();
        match (name, descriptor()) {
            ("write", _) if arguments.contains("kept ") => {
                assert!(self.unsynced.is_empty(), "not yet on the disk: {:?}", self.unsynced);
                self.acknowledged += 1;
            }
            ("write" | "ftruncate", Some(file)) if file.starts_with(self.folder) => drop(self.unsynced.insert(file)),
            ("fsync" | "fdatasync", Some(file)) => {
                assert!(call.ends_with(" = 0"), "{call}");
                self.unsynced.remove(&file);
            }
            ("rename", _) => {
                assert!(!self.unsynced.contains(texts[0]), "renamed before its content is on the disk: {call}");
                self.unsynced.insert(texts[1].parent().unwrap().to_owned());
                self.renamed += 1;
            }
            ("mkdir", _) if call.ends_with(" = 0") => drop(self.unsynced.insert(texts[0].parent().unwrap().to_owned())),
            _ => {}
        }
    }
}

#[test]
fn nothing_is_acknowledged_before_it_is_on_the_disk() {
    const ACKNOWLEDGED: u32 = 30;
    let permitted = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    if !permitted.expect("strace of the package strace").status.success() {
        support::skip("this user may not trace programs");
        return;
    }
    for test in ["says_one_thing_after_another", "finds_one_thing_after_another"] {
        let folder = Folder::new("sync");
        let (state, log) = (folder.path("state"), folder.path("calls"));
        let calls = "trace=write,ftruncate,fsync,fdatasync,rename,mkdir";
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-qq", "-s", "4096", "-e", calls, "-e", "signal=none", "-o"]).arg(&log);
        strace.arg(std::env::current_exe().unwrap());
        let mut child = start_by(&mut strace, test, &state);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while kept(&line).is_none_or(|number| number < u64::from(ACKNOWLEDGED)) {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "{test} ended");
        }
        // It ends as it can't write any more.
        drop(output);
        child.wait().unwrap();
        let mut disk = Disk { folder: &state, unsynced: BTreeSet::new(), acknowledged: 0, renamed: 0 };
        for line in std::fs::read_to_string(&log).unwrap().lines() {
            assert!(!line.contains("<unfinished ...>"), "one thread at a time: {line}");
            disk.take(line.split_once(' ').unwrap().1.trim_start());
        }
        assert!(disk.acknowledged >= ACKNOWLEDGED && disk.renamed > 0, "{test}");
    }
}

const NOW: u64 = 1_795_316_400;
/// Enough for the numbers of one test.
const BITS: u32 = 14;

/// A server that probes so many targets, each of which has the verdict that its last result says.
fn probing(targets: u32) -> String {
    let endpoint = |target| format!("{{ region = \"here\", address = \"10.0.{}.{}\" }},", target / 256, target % 256);
    let endpoints: String = (0..targets).map(endpoint).collect();
    format!(
        r#"
server.listen = ["127.0.0.1:0"]
zones."example.com".nameservers = ["ns.example.net"]
regions.here.location = [0, 0]
safety.self_suspicion.share = 1.0
probes.tcp = {{ type = "tcp", port = 80, fall = 1, rise = 1, hold_down = "0s" }}
pools.web = {{ probe = "tcp", endpoints = [{endpoints}] }}
"#
    )
}

/// Finds the targets down whose bits are set in a number, and all others up, and keeps that.
fn keep_number(publisher: &Publisher, operator: &Operator, number: u64) {
    let keys: Vec<_> = publisher.health().keys().collect();
    let found = keys.into_iter().enumerate().map(|(bit, key)| {
        let is_down = u32::try_from(bit).is_ok_and(|bit| bit < BITS && number >> bit & 1 == 1);
        (key, result(Duration::from_millis(1), if is_down { Err(Failure::Refused) } else { Ok(()) }))
    });
    publisher.observe(found, Instant::now());
    operator.keep_verdicts(true, Instant::now(), NOW);
}

/// The number that verdicts make, of which all are known or none is.
fn number(publisher: &Publisher) -> u64 {
    let health = publisher.health();
    let known = health.targets().iter().filter(|target| target.machine.since().is_some()).count();
    assert!(known == 0 || known == health.targets().len(), "{known}");
    let bit = |(bit, target): (u32, &meridian::health::TargetHealth)| {
        assert!(matches!(target.key.target, Target::Address(_)));
        u64::from(target.machine.verdict() == Verdict::Down) << bit
    };
    (0..BITS).zip(health.targets().iter()).map(bit).sum()
}

#[test]
#[ignore = "run in a child process by another test"]
fn finds_one_thing_after_another() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let (publisher, operator) = started(&folder, &probing(BITS), Instant::now(), NOW);
    let mut output = std::io::stdout();
    for number in number(&publisher) + 1.. {
        keep_number(&publisher, &operator, number);
        output.write_all(format!("kept {number}\n").as_bytes()).unwrap();
        output.flush().unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_verdicts_or_the_new_ones() {
    let folder = Folder::new("power-cut-verdicts");
    let path = folder.path("state");
    kill_again_and_again("finds_one_thing_after_another", &path, KILLS / 4, || {
        number(&started(&path, &probing(BITS), Instant::now(), NOW).0)
    });
}

#[test]
#[ignore = "run in a child process by another test"]
fn finds_more_than_fits() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let (publisher, operator) = started(&folder, &probing(BITS), Instant::now(), NOW);
    keep_number(&publisher, &operator, 5);
    let before = std::fs::read(folder.join("verdicts")).unwrap();
    // There is no room for so many.
    publisher.replace(compiled(&probing(200)));
    for attempt in 1..=3 {
        keep_number(&publisher, &operator, 6);
        assert_eq!(operator.failures(), (0, attempt));
        assert_eq!(std::fs::read(folder.join("verdicts")).unwrap(), before);
        assert!(!folder.join("verdicts.new").exists());
        assert_eq!(number(&publisher), 6, "it goes on");
    }
}

#[test]
fn a_full_disk_leaves_the_verdicts_that_are_there() {
    let folder = Folder::new("full-disk-verdicts");
    let path = folder.path("state");
    let preparation = format!("trap '' XFSZ; ulimit -f 8; {FOLDER}='{}'; export {FOLDER};", path.display());
    support::run_in_child("finds_more_than_fits", &preparation);
    let (publisher, operator) = started(&path, &probing(BITS), Instant::now(), NOW);
    assert_eq!(number(&publisher), 5);
    // There is room again.
    publisher.replace(compiled(&probing(200)));
    keep_number(&publisher, &operator, 7);
    drop(operator);
    assert_eq!(number(&started(&path, &probing(200), Instant::now(), NOW).0), 7);
}
