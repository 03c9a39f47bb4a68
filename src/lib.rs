//! Meridian: an authoritative DNS server that decides, for every query, where that client should go.
//!
//! The folders are the pipeline, in the order in which data flows:
//!
//! | module | does |
//! |---|---|
//! | [`config`] | TOML as written → checked settings by index; every problem at once |
//! | [`zone`] | master files → records → the tree that answers are found in |
//! | [`geo`] | .mmdb and networks → one table of prefixes per steering map |
//! | [`snapshot`] | everything that a query may read, compiled; publication to the workers |
//! | [`routing`] | the decision: which pool, region and endpoints, and why |
//! | [`health`] | probes → observations → verdicts |
//! | [`dns`] | bytes of a request → bytes of the response |
//! | [`server`] | UDP, TCP, TLS, HTTPS and QUIC around [`dns::respond`] |
//! | [`state`] | what outlives a restart: operators' words, the last verdicts |
//! | [`metrics`] | what the workers count, and the Prometheus text made of it |
//! | [`admin`] | the HTTP interface: metrics, liveness, explain |
//! | [`measurements`] | round trips that arrive, and when maps are made anew for them |
//! | [`operator`] | what operators say: kept, then published |
//! | [`reload`], `watch` | load → compile → publish, or keep what serves; when to |
//! | [`daemon`] | wiring, start and shutdown |
//! | [`cli`] | one file per subcommand |
//!
//! Imports run downwards; docs/architecture.md draws them.

pub mod admin;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dns;
pub mod geo;
pub mod health;
mod logging;
pub mod measurements;
pub mod metrics;
pub mod operator;
mod pem;
mod regular_file;
pub mod reload;
pub mod routing;
mod secret_file;
pub mod server;
pub mod snapshot;
pub mod state;
mod unix_time;
mod watch;
mod whole_file;
pub mod zone;
