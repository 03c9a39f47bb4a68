//! The exec probe: a program says whether the target is well.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::connect::Deadline;
use super::failure::excerpt;
use super::{Failure, Phase};
use crate::config::ExecCheck;
use crate::server::kill_group;

/// The most programs that run at once. A target has one, a hostname one for each of its addresses.
pub const MAX_PROGRAMS: usize = 64;
/// How much of a program's output is read, in bytes.
const MAX_OUTPUT_BYTES: u64 = 4096;
/// Where programs look for others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Programs that run.
#[derive(Debug)]
pub(super) struct Programs(Semaphore);

impl Default for Programs {
    fn default() -> Self {
        Self(Semaphore::new(MAX_PROGRAMS))
    }
}

impl Programs {
    /// Waits until so many more programs may run, for this time at most, which is none of the programs' own.
    pub(super) async fn admit(&self, programs: usize, time: Duration) -> Result<SemaphorePermit<'_>, Failure> {
        let admitted = timeout(time, self.0.acquire_many(programs as u32)).await;
        admitted.ok().and_then(Result::ok).ok_or_else(|| Failure::Local(format!("{MAX_PROGRAMS} programs run already")))
    }
}

/// All processes of a program's group, which end with this value.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        // The leader's number is not given again while it waits for its end to be noticed, nor so soon after.
        kill_group(self.0);
    }
}

/// Runs the program, in a process group of its own, until it ends or the time does.
pub(super) async fn attempt(check: &ExecCheck, address: IpAddr, deadline: Deadline) -> Result<(), Failure> {
    let local = |error: io::Error| Failure::Local(format!("{}: {error}", check.command.display()));
    let (reader, writer) = io::pipe().map_err(local)?;
    let mut child = command(check, address, writer).map_err(local)?.spawn().map_err(local)?;
    let _group = child.id().map(Group);
    let output = Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(local)?;
    let mut said = Vec::new();
    let mut output = Some(output.take(MAX_OUTPUT_BYTES));
    let ended = deadline.within(Phase::Program, async {
        loop {
            let Some(reading) = &mut output else { return child.wait().await };
            tokio::select! {
                biased;
                // Ends at the limit too; then the pipe is closed, and whoever goes on writing is told by a signal.
                read = reading.read_buf(&mut said) => if !matches!(read, Ok(1..)) { output = None },
                status = child.wait() => return status,
            }
        }
    });
    let status = ended.await?.map_err(local)?;
    if status.success() {
        return Ok(());
    }
    let line = String::from_utf8_lossy(&said);
    let line = line.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    Err(Failure::Program { status: status.to_string(), line: excerpt(line) })
}

fn command(check: &ExecCheck, address: IpAddr, output: io::PipeWriter) -> io::Result<Command> {
    let port = check.port.map(|port| port.to_string()).unwrap_or_default();
    let mut command = Command::new(&check.command);
    command
        .args(check.arguments.iter().map(|argument| filled(argument, &address.to_string(), &port)))
        .env_clear()
        .env("PATH", PATH)
        .env("MERIDIAN_ADDRESS", address.to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .kill_on_drop(true);
    if check.port.is_some() {
        command.env("MERIDIAN_PORT", port);
    }
    Ok(command)
}

/// The argument with the target in it.
fn filled(argument: &str, address: &str, port: &str) -> String {
    argument.replace("{address}", address).replace("{port}", port)
}
