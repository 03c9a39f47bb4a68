//! Programs that a test runs: their output, their signals, and their end in any case.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Standard output and standard error.
const STREAMS: usize = 2;

/// A running program; killed when dropped, also by a test that panics.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    output: Arc<Output>,
}

/// What it wrote on standard output and standard error, in the order in which it came.
#[derive(Debug, Default)]
struct Output {
    written: Mutex<Written>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Written {
    lines: Vec<String>,
    /// How many of the two have ended.
    ended: usize,
}

impl Process {
    /// Starts it with a standard input that [`Self::type_line`] writes to.
    pub(crate) fn start(command: &mut Command) -> Self {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
        let output = Arc::new(Output::default());
        let streams: [Box<dyn Read + Send>; STREAMS] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let output = Arc::clone(&output);
            thread::spawn(move || output.take_in(stream));
        }
        Self { child, output }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it wrote.
    pub(crate) fn text(&self) -> String {
        self.output.written.lock().unwrap().lines.join("\n")
    }

    /// The number of lines written so far.
    pub(crate) fn written(&self) -> usize {
        self.output.written.lock().unwrap().lines.len()
    }

    /// The lines after the first `skipped` ones.
    pub(crate) fn lines_after(&self, skipped: usize) -> Vec<String> {
        self.output.written.lock().unwrap().lines[skipped..].to_vec()
    }

    /// Waits for a line in which `find` finds something, after the first `skipped` ones; fails if it ends before.
    pub(crate) fn wait_for<T>(&self, what: &str, skipped: usize, find: impl Fn(&str) -> Option<T>) -> T {
        let found = |written: &Written| written.lines[skipped..].iter().find_map(|line| find(line));
        let written = self.output.wait_while(|written| written.ended < STREAMS && found(written).is_none());
        found(&written).unwrap_or_else(|| panic!("waited in vain for {what}; it wrote:\n{}", written.lines.join("\n")))
    }

    /// Writes a line to its standard input.
    pub(crate) fn type_line(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Sends it a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        // The child was not waited for, so that its id is its own.
        let id = self.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &id]).status().unwrap();
        assert!(status.success(), "SIG{name} can't be sent to {id}; it wrote:\n{}", self.text());
    }

    /// Whether it runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it ends by itself and has been read to the end; fails after `within`.
    pub(crate) fn wait_for_end(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it did not end within {within:?}; it wrote:\n{}", self.text());
            thread::sleep(Duration::from_millis(1));
        };
        drop(self.output.wait_while(|written| written.ended < STREAMS));
        status
    }

    /// Its resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let resident = self.status("VmRSS:");
        resident.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// What /proc says of it after this key.
    pub(crate) fn status(&self, key: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key} in {status}")).trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    fn take_in(&self, stream: impl Read) {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            self.written.lock().unwrap().lines.push(String::from_utf8_lossy(&line).into_owned());
            self.changed.notify_all();
        }
        self.written.lock().unwrap().ended += 1;
        self.changed.notify_all();
    }

    /// Waits while `condition` holds, but only so long.
    fn wait_while(&self, condition: impl Fn(&Written) -> bool) -> MutexGuard<'_, Written> {
        let written = self.written.lock().unwrap();
        self.changed.wait_timeout_while(written, PATIENCE, |written| condition(written)).unwrap().0
    }
}
