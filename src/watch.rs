//! Notices when files are replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::warn;

/// How often files are looked at that no event told of: the system has none for network and layered file systems, nor for
/// what a link leads to.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// How long a file must lie still before it counts as changed: updaters write in more than one step.
const QUIET: Duration = Duration::from_millis(500);
/// A file that never lies still counts as changed after this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Files, each with its device, inode, length in bytes, and time of its last change: equal ones need not be read again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint(BTreeMap<PathBuf, Option<[u64; 5]>>);

impl Fingerprint {
    /// Of these files as they are now. To be taken before they are read: one that is replaced meanwhile differs then.
    pub(crate) fn of<'a>(files: impl Iterator<Item = &'a Path>) -> Self {
        // The time of the status, as that is also the one of a new mode, which makes a file readable.
        let facts =
            |file: Metadata| [file.dev(), file.ino(), file.len(), file.ctime() as u64, file.ctime_nsec() as u64];
        Self(files.map(|path| (path.to_owned(), fs::metadata(path).ok().map(facts))).collect())
    }

    /// Whether both are of the same paths, whatever has become of the files.
    pub(crate) fn has_paths_of(&self, other: &Self) -> bool {
        self.0.keys().eq(other.0.keys())
    }
}

/// Notices when files are others than those that were read: by events of their folders, as a file that is replaced by
/// renaming another over it can't be watched itself, and by a look at them now and then.
#[derive(Debug)]
pub(crate) struct FileWatch {
    look_interval: Duration,
    files: BTreeSet<PathBuf>,
    read: Fingerprint,
    /// Signalled by each event that may concern the files.
    events: Arc<Notify>,
    places: Places,
    /// Nothing while the places can't be watched.
    watcher: Option<RecommendedWatcher>,
}

impl FileWatch {
    /// Follows no file yet; looks at those that it will follow once in the interval.
    pub(crate) fn new(look_interval: Duration) -> Self {
        Self {
            look_interval,
            files: BTreeSet::new(),
            read: Fingerprint::default(),
            events: Arc::default(),
            places: Places::default(),
            watcher: None,
        }
    }

    /// Follows these files from now on, and no others; they were like this when they were last read, well or not.
    pub(crate) fn follow<'a>(&mut self, files: impl Iterator<Item = &'a Path>, read: Fingerprint) {
        self.files = files.map(Path::to_owned).collect();
        self.read = read;
    }

    /// Waits until the files are others than those that were read, and then lay still. A wait that is given up forgets no
    /// change.
    pub(crate) async fn changed(&mut self) {
        while !self.is_changed() {
            // Looks after an event and after the interval alike.
            let _ = timeout(self.look_interval, self.events.notified()).await;
        }
        settle(&self.events).await;
    }

    /// Whether the files are others than those that were read, with all that happens to them from now on being watched.
    fn is_changed(&mut self) -> bool {
        let places = Places::of(&self.files);
        let is_elsewhere = places != self.places;
        if is_elsewhere || (self.watcher.is_none() && !self.files.is_empty()) {
            self.watcher = match places.watch(Arc::clone(&self.events)) {
                Ok(watcher) => Some(watcher),
                Err(problem) => {
                    if is_elsewhere {
                        let files: Vec<_> = self.files.iter().map(|file| file.display().to_string()).collect();
                        let (files, seconds) = (files.join(" "), self.look_interval.as_secs());
                        warn!(%problem, files, "files can't be watched; they are looked at every {seconds} s");
                    }
                    None
                }
            };
            self.places = places;
        }
        // After that, so that nothing happens in between.
        Fingerprint::of(self.files.iter().map(PathBuf::as_path)) != self.read
    }
}

/// Waits until nothing happens any more, or patience ends.
async fn settle(events: &Notify) {
    let stillness = async { while timeout(QUIET, events.notified()).await.is_ok() {} };
    // It is a change all the same.
    let _ = timeout(PATIENCE, stillness).await;
}

/// Where files are replaced.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    /// Each with its device and inode: another folder in its place is to be watched anew.
    folders: BTreeMap<PathBuf, Option<(u64, u64)>>,
    /// What makes other files of them when it is replaced.
    names: BTreeSet<OsString>,
}

impl Places {
    fn of(files: &BTreeSet<PathBuf>) -> Self {
        let mut places = Self::default();
        for file in files {
            let folder =
                file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
            places.names.extend(names_of(file));
            // An event that tells that the folder itself was moved or removed has its name.
            places.names.extend(folder.file_name().map(ToOwned::to_owned));
            let identity = fs::metadata(&folder).ok().map(|facts| (facts.dev(), facts.ino()));
            places.folders.insert(folder, identity);
        }
        places
    }

    /// Signals events that may concern the files, for as long as the watcher lives.
    fn watch(&self, events: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
        let names = self.names.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if may_concern(&event, &names) {
                events.notify_one();
            }
        })?;
        for folder in self.folders.keys() {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    }
}

/// Whether the event is of one of these names; or says that events were lost, which may have been.
fn may_concern(event: &notify::Result<Event>, names: &BTreeSet<OsString>) -> bool {
    let Ok(event) = event else { return true };
    let has_name = |path: &PathBuf| path.file_name().is_some_and(|name| names.contains(name));
    event.need_rescan() || (!event.kind.is_access() && event.paths.iter().any(has_name))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::os::unix::fs::symlink;

    use notify::EventKind;
    use notify::event::{AccessKind, Flag, ModifyKind};
    use tokio::time::{Instant, sleep};

    use super::*;

    #[test]
    fn lost_events_may_have_concerned_the_files() {
        let names = BTreeSet::from([OsString::from("key.pem")]);
        let modified = |path: &str| Ok(Event::new(EventKind::Modify(ModifyKind::Any)).add_path(path.into()));
        let accessed = Event::new(EventKind::Access(AccessKind::Any)).add_path("/etc/key.pem".into());
        for (event, expected) in [
            (modified("/etc/key.pem"), true),
            (modified("/etc/other.pem"), false),
            (Ok(accessed), false),
            (Ok(Event::new(EventKind::Other)), false),
            (Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)), true),
            (Err(notify::Error::generic("read failed")), true),
        ] {
            assert_eq!(may_concern(&event, &names), expected, "{event:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_never_lies_still_counts_as_changed_in_the_end() {
        for (touches, waited) in [(0, QUIET), (3, QUIET + Duration::from_millis(1200)), (1000, PATIENCE)] {
            let (events, began) = (Notify::new(), Instant::now());
            let touching = async {
                for _ in 0..touches {
                    sleep(Duration::from_millis(400)).await;
                    events.notify_one();
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = settle(&events) => {}
                () = touching => {}
            }
            assert_eq!(began.elapsed(), waited, "{touches} touches");
        }
    }

    /// The folder that a link leads to has no events here.
    #[tokio::test(start_paused = true)]
    async fn what_no_event_tells_of_is_seen_within_the_interval() {
        let folder = std::env::temp_dir().join(format!("meridian-watch-{}", std::process::id()));
        for name in ["here", "elsewhere"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let (file, link) = (folder.join("elsewhere/file"), folder.join("here/link"));
        fs::write(&file, "old").unwrap();
        symlink(&file, &link).unwrap();
        let files = || [link.as_path()].into_iter();
        let mut watch = FileWatch::new(LOOK_INTERVAL);
        watch.follow(files(), Fingerprint::of(files()));
        assert!(timeout(3 * LOOK_INTERVAL, watch.changed()).await.is_err(), "nothing has happened yet");
        let began = Instant::now();
        {
            let mut changed = std::pin::pin!(watch.changed());
            assert!(timeout(Duration::from_secs(1), &mut changed).await.is_err());
            fs::write(&file, "of another length").unwrap();
            changed.await;
        }
        assert_eq!(began.elapsed(), LOOK_INTERVAL + QUIET);
        // As long as it isn't read.
        watch.changed().await;
        watch.follow(files(), Fingerprint::of(files()));
        assert!(timeout(3 * LOOK_INTERVAL, watch.changed()).await.is_err(), "it has been read");
        fs::remove_dir_all(&folder).unwrap();
    }
}
