//! What is shown: explanations, metrics, and the HTTP interface and the command that show them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod balances;
mod command;
mod explain;
mod heartbeats;
mod http;
mod latency;
mod metrics;
mod overrides;
mod reports;
mod support;
#[path = "../support/words.rs"]
mod words;
