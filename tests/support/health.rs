//! Health without sockets: configurations that are compiled, results that are made up, and restarts.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian::health::{Details, Failure, Observation};
use meridian::operator::Operator;
use meridian::reload::{Loader, Origin};
use meridian::snapshot::{Compiled, Publisher};

/// A configuration, which is good.
pub(crate) fn compiled(text: &str) -> Compiled {
    let loaded = Loader::new(Origin::Embedded(text.to_owned())).load();
    loaded.unwrap_or_else(|problems| panic!("{problems}")).compiled
}

/// A result that took so long, and tells of nothing else.
pub(crate) fn result(took: Duration, outcome: Result<(), Failure>) -> Observation {
    Observation { took, address: None, outcome, details: Details::default() }
}

/// A server that starts at this time on both clocks, and what operators say to it, with what is kept in a folder.
pub(crate) fn started(folder: &Path, text: &str, now: Instant, unix_seconds: u64) -> (Arc<Publisher>, Operator) {
    let publisher = Arc::new(Publisher::starting_at(compiled(text), now, unix_seconds as u32));
    let operator = Operator::start(Some(folder), Arc::clone(&publisher), now, unix_seconds).unwrap();
    (publisher, operator)
}
