//! Notices when a database is replaced.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tracing::warn;

/// How long a file must lie still before it counts as changed: updaters write in more than one step.
const QUIET: Duration = Duration::from_millis(500);

/// Watches the folders of files, as a file that is replaced by renaming another over it can't be watched itself.
#[derive(Debug, Default)]
pub(crate) struct DatabaseWatch {
    files: BTreeSet<PathBuf>,
    watching: Option<(RecommendedWatcher, UnboundedReceiver<()>)>,
}

impl DatabaseWatch {
    /// Watches these files from now on, and no others. Returns whether they are others than before: what happened to
    /// those until now has gone unnoticed.
    pub(crate) fn follow<'a>(&mut self, files: impl Iterator<Item = &'a Path>) -> bool {
        let files: BTreeSet<PathBuf> = files.map(Path::to_owned).collect();
        if files == self.files {
            return false;
        }
        self.watching = match watch(&files) {
            Ok(watching) => Some(watching),
            Err(problem) => {
                warn!(%problem, "databases can't be watched; send SIGHUP after replacing one");
                None
            }
        };
        self.files = files;
        true
    }

    /// Waits until one of the files changed and then lay still. Never returns while nothing can be watched.
    pub(crate) async fn changed(&mut self) {
        let Some((_, events)) = &mut self.watching else { return std::future::pending().await };
        if events.recv().await.is_none() {
            return std::future::pending().await;
        }
        while let Ok(Some(())) = tokio::time::timeout(QUIET, events.recv()).await {}
    }
}

fn watch(files: &BTreeSet<PathBuf>) -> notify::Result<(RecommendedWatcher, UnboundedReceiver<()>)> {
    let (sender, events) = mpsc::unbounded_channel();
    let names: BTreeSet<_> = files.iter().filter_map(|file| file.file_name().map(ToOwned::to_owned)).collect();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let concerns_us = event.is_ok_and(|event| {
            !event.kind.is_access()
                && event.paths.iter().any(|path| path.file_name().is_some_and(|name| names.contains(name)))
        });
        if concerns_us {
            // Fails only when nobody listens any more.
            let _ = sender.send(());
        }
    })?;
    let folders: BTreeSet<&Path> = files
        .iter()
        .map(|file| file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
        .collect();
    for folder in folders {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok((watcher, events))
}
