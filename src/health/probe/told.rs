//! What is told of a target, where none is asked.

use std::time::Duration;

use super::failure::excerpt;
use super::{Details, Failure, Observation};
use crate::health::Grade;

/// That it is well, poorly or not well, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// How it is.
    pub grade: Grade,
    /// In the words of whoever tells; may be empty.
    pub words: String,
}

impl Word {
    /// What is observed where `teller`, such as `the file says`, tells it.
    pub(super) fn observation(&self, teller: &str) -> Observation {
        let says = |what| match self.words.trim() {
            "" => format!("{teller} that it is {what}"),
            words => format!("{teller} that it is {what}: {}", excerpt(words)),
        };
        let (outcome, poor) = match self.grade {
            Grade::Good => (Ok(()), None),
            Grade::Poor => (Ok(()), Some(says("degraded"))),
            Grade::Failed => (Err(Failure::Told(says("down"))), None),
        };
        Observation { took: Duration::ZERO, address: None, outcome, details: Details { poor, ..Details::default() } }
    }
}
