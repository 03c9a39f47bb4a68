//! CPUs: those that this process was given, and which of them its threads keep to.

use std::fmt;
use std::fs;
use std::io;
use std::sync::LazyLock;

use super::sys::{THIS_THREAD, cpus_of_this_thread, keep_thread_to};
use crate::config::{self, CpuSet};

/// What this process was given when it was first asked for, before any thread was kept to a part of it.
struct Given {
    cpus: Option<CpuSet>,
    /// How many threads can run at once; less than there are CPUs where a quota says so.
    parallelism: usize,
}

static GIVEN: LazyLock<Given> = LazyLock::new(|| Given {
    cpus: cpus_of_this_thread().ok().map(CpuSet).filter(|set| !set.0.is_empty()),
    parallelism: std::thread::available_parallelism().map_or(1, usize::from),
});

/// UDP threads per address, with 0 resolved: as many as can run at once on the CPUs that answers have.
pub fn workers_per_address(settings: &config::Server) -> usize {
    if settings.workers > 0 {
        return settings.workers;
    }
    let placement = settings.background_cpus.as_ref().and_then(|background| Placement::new(background).ok());
    placement.map_or(GIVEN.parallelism, |placement| placement.answers.0.len().min(GIVEN.parallelism))
}

/// All threads that answer: the UDP workers, one for TCP, and one for all that is encrypted.
pub fn threads(settings: &config::Server) -> usize {
    settings.listen.len() * workers_per_address(settings) + 1 + usize::from(settings.encrypted.is_some())
}

/// Which threads keep to which CPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Those that answer queries.
    pub answers: CpuSet,
    /// All others.
    pub background: CpuSet,
}

/// Why threads can't be kept apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlacementError {
    /// The system doesn't say which CPUs there are.
    Unknown,
    /// This process was given none of those for the background, but these.
    NotGiven(CpuSet),
    /// It was given no others.
    NoneLeft,
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(f, "the system doesn't say which CPUs there are"),
            Self::NotGiven(given) => write!(f, "this process was given none of them, but {given}"),
            Self::NoneLeft => write!(f, "no CPU would be left for answers"),
        }
    }
}

impl Placement {
    /// Keeps the background to these CPUs, as far as this process was given them, and answers to the others.
    ///
    /// # Errors
    /// Where one of the two would have none.
    pub fn new(background: &CpuSet) -> Result<Self, PlacementError> {
        Self::divide(GIVEN.cpus.as_ref().ok_or(PlacementError::Unknown)?, background)
    }

    fn divide(given: &CpuSet, background: &CpuSet) -> Result<Self, PlacementError> {
        let [answers, background] = [&given.0 - &background.0, &given.0 & &background.0];
        if background.is_empty() {
            Err(PlacementError::NotGiven(given.clone()))
        } else if answers.is_empty() {
            Err(PlacementError::NoneLeft)
        } else {
            Ok(Self { answers: CpuSet(answers), background: CpuSet(background) })
        }
    }

    /// Makes all threads that there are, and those that they start, threads of the background.
    ///
    /// # Errors
    /// Where the system refuses; some threads may be placed then.
    pub fn place_all_threads(&self) -> io::Result<()> {
        for thread in fs::read_dir("/proc/self/task")? {
            let id = thread?.file_name().to_str().and_then(|name| name.parse().ok());
            match id.map_or(Ok(()), |id| keep_thread_to(id, &self.background.0)) {
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                placed => placed?,
            }
        }
        Ok(())
    }

    /// Makes the threads that `start` starts threads that answer.
    ///
    /// # Errors
    /// Where the system refuses; `start` is called all the same.
    pub fn place_answers<T>(&self, start: impl FnOnce() -> T) -> (T, io::Result<()>) {
        let placed = keep_thread_to(THIS_THREAD, &self.answers.0);
        let started = start();
        (started, placed.and(keep_thread_to(THIS_THREAD, &self.background.0)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn cpus(text: &str) -> CpuSet {
        text.parse().unwrap()
    }

    #[test]
    fn answers_get_what_the_background_leaves() {
        let divide = |given, background| Placement::divide(&cpus(given), &cpus(background));
        let placed = |answers, background| Ok(Placement { answers: cpus(answers), background: cpus(background) });
        assert_eq!(divide("0-3", "3"), placed("0-2", "3"));
        assert_eq!(divide("0-3", "2-9"), placed("0-1", "2-3"));
        assert_eq!(divide("0-3", "0-3"), Err(PlacementError::NoneLeft));
        assert_eq!(divide("0-3", "4"), Err(PlacementError::NotGiven(cpus("0-3"))));
    }
}
