//! Notices when files are replaced.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tracing::warn;

/// How long a file must lie still before it counts as changed: updaters write in more than one step.
const QUIET: Duration = Duration::from_millis(500);

/// Watches the folders of files, as a file that is replaced by renaming another over it can't be watched itself.
#[derive(Debug, Default)]
pub(crate) struct FileWatch {
    files: BTreeSet<PathBuf>,
    watching: Option<(RecommendedWatcher, UnboundedReceiver<()>)>,
    /// A change is known of already.
    changed: bool,
}

impl FileWatch {
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
                let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                let files = files.join(" ");
                warn!(%problem, files, "files can't be watched; send SIGHUP after replacing one");
                None
            }
        };
        self.files = files;
        true
    }

    /// Counts the files as changed, if they can be watched at all.
    pub(crate) fn note_change(&mut self) {
        self.changed = true;
    }

    /// Waits until one of the files changed and then lay still. Never returns while nothing can be watched. A wait that is
    /// given up forgets no change.
    pub(crate) async fn changed(&mut self) {
        let Some((_, events)) = &mut self.watching else { return std::future::pending().await };
        if !self.changed && events.recv().await.is_none() {
            return std::future::pending().await;
        }
        self.changed = true;
        while let Ok(Some(())) = tokio::time::timeout(QUIET, events.recv()).await {}
        self.changed = false;
    }
}

fn watch(files: &BTreeSet<PathBuf>) -> notify::Result<(RecommendedWatcher, UnboundedReceiver<()>)> {
    let (sender, events) = mpsc::unbounded_channel();
    let names: BTreeSet<OsString> = files.iter().flat_map(|file| names_of(file)).collect();
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

/// What, when it is replaced in the file's folder, makes another file of it: its name; and where it is a link into a folder
/// beside it, as mounted secrets are, that folder's name.
fn names_of(file: &Path) -> impl Iterator<Item = OsString> {
    let beside = fs::read_link(file).ok().and_then(|target| match target.components().next()? {
        Component::Normal(name) => Some(name.to_owned()),
        _ => None,
    });
    file.file_name().map(ToOwned::to_owned).into_iter().chain(beside)
}
