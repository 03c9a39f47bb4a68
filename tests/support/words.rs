//! What operators say, as tests write it.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Arc;

use meridian::health::overrides::{Override, Overrides, Word};

/// `word subject, …`, said at this second since 1970.
pub(crate) fn overrides(texts: &str, since: u32) -> Arc<Overrides> {
    let mut overrides = Overrides::default();
    for text in texts.split(", ").filter(|text| !text.is_empty()) {
        let (word, subject) = text.split_once(' ').unwrap();
        let word = Word::ALL.into_iter().find(|known| known.name() == word).unwrap();
        let (reason, author, subject) = ("because".to_owned(), "me".to_owned(), subject.parse().unwrap());
        overrides.set(Override { subject, word, reason, author, since: since.into(), expires: None }).unwrap();
    }
    overrides.into()
}
