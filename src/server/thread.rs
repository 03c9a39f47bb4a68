//! A thread with connections: a runtime of its own, whose tasks share a worker context without a lock.

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::timeout;

/// How long connections may take to end after the word to stop.
pub(super) const DRAIN: Duration = Duration::from_secs(1);

/// Becomes true, or loses its sender, to stop.
pub(super) type Stop = watch::Receiver<bool>;

/// Starts a thread on which `start` begins tasks. They run until all have ended, or [`DRAIN`] after the word to stop.
///
/// # Errors
/// Where the system grants no thread or no descriptor for it, and what `start` says.
pub(super) fn spawn(
    name: &str,
    mut stop: Stop,
    start: impl FnOnce(&LocalSet) -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    // The runtime is made, and dropped, on the thread: the caller may be in another one.
    let (ready, started) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let outcome = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
            let tasks = LocalSet::new();
            let entered = runtime.enter();
            start(&tasks)?;
            drop(entered);
            Ok((tasks, runtime))
        });
        match outcome {
            Ok((mut tasks, runtime)) => {
                let _ = ready.send(Ok(()));
                runtime.block_on(async {
                    tokio::select! {
                        _ = stop.changed() => {}
                        () = &mut tasks => {}
                    }
                    let _ = timeout(DRAIN, tasks).await;
                });
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    })?;
    started.recv().unwrap_or_else(|_| Err(io::Error::other(format!("the thread {name} ended at its start"))))?;
    Ok(thread)
}
