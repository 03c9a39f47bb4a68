//! Health: probes → observations → verdicts.
//!
//! ```text
//! Scheduler ──due──▶ Prober ──Observation──▶ Table ──▶ Machine ──Transition──▶ the caller publishes and logs
//! ```
//!
//! [`machine`] is the pure state machine of one target, [`table`] keeps the machines of all targets and what was
//! observed last, [`probe`] makes one observation, and [`scheduler`] decides when. What is probed is a [`TargetKey`]:
//! endpoints of different pools and services that share one are probed once.
//!
//! Beside its verdict each endpoint has a state of its own ([`endpoint`]): its [`load`], from [`report`]s that come with
//! probes' answers ([`orca`], or JSON in the body) or are pushed, how far it has warmed up, and its circuit [`breaker`].
//!
//! What operators say ([`overrides`]) outranks all of it.
//!
//! What is known is kept in [`chunks`], so that reading all of it out keeps no observation waiting.

pub mod breaker;
pub mod chunks;
pub mod composite;
pub mod endpoint;
pub mod guard;
pub mod load;
pub mod machine;
pub mod orca;
pub mod overrides;
pub mod probe;
pub mod report;
pub mod scheduler;
pub mod suspicion;
pub mod table;

use std::fmt;
use std::net::SocketAddr;

pub use chunks::Chunks;
pub use endpoint::{EndpointHealth, Endpoints};
pub use load::{Load, Measure};
pub use machine::{Grade, Hold, Machine, Transition, Verdict};
pub use overrides::{Overrides, Word};
pub use probe::{Failure, Observation, Prober};
pub use report::{Pushed, Rejection};
pub use scheduler::Scheduler;
pub use table::{Effect, Table, TargetHealth, TargetId};

use crate::config::{Check, HttpCheck, Target, Timing};

/// What is probed, how and when. Equal keys are one target: probed once, with one verdict, whatever the probes' names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetKey {
    /// What is done and what is expected.
    pub check: Check,
    /// When, and what makes a verdict of the results.
    pub timing: Timing,
    /// Where.
    pub target: Target,
}

/// As an operator would type it, such as `https://192.0.2.1:8443/healthz (www.example.com)` or `tcp://[2001:db8::1]:25`.
impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, port) = match &self.check {
            Check::Http(HttpCheck { tls: true, port, .. }) => ("https", *port),
            Check::Http(HttpCheck { port, .. }) => ("http", *port),
            Check::Tcp { port } => ("tcp", *port),
        };
        match &self.target {
            Target::Address(address) => write!(f, "{scheme}://{}", SocketAddr::new(*address, port))?,
            Target::Hostname(name) => write!(f, "{scheme}://{name}:{port}")?,
        }
        if let Check::Http(check) = &self.check {
            f.write_str(&check.path)?;
            if let Some(host) = &check.host {
                write!(f, " ({host})")?;
            }
        }
        Ok(())
    }
}
