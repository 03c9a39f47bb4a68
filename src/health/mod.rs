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
//! What of it outlives a restart is its [`past`].
//!
//! What is known is kept in [`chunks`], so that reading all of it out keeps no observation waiting.

pub mod breaker;
pub mod chunks;
pub mod composite;
pub mod endpoint;
pub mod guard;
pub mod histogram;
pub mod load;
pub mod machine;
pub mod orca;
pub mod overrides;
pub mod past;
pub mod probe;
pub mod report;
mod room;
pub mod scheduler;
mod settle;
pub mod suspicion;
pub mod table;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use domain::base::Rtype;

pub use chunks::Chunks;
pub use endpoint::{EndpointHealth, Endpoints, Found, Input};
pub use histogram::{Histogram, SharedHistogram};
pub use load::{Load, Measure};
pub use machine::{Grade, Hold, Machine, Transition, Verdict};
pub use overrides::Overrides;
pub use past::Past;
pub use probe::{Details, Failure, Heartbeats, Memory, Observation, Phases, Prober, Word};
pub use report::{Pushed, Rejection};
pub use scheduler::{Observed, Punctuality, Scheduler};
pub use settle::{SaidBy, Settled};
pub use table::{Effect, Table, TargetHealth, TargetId};

use crate::config::{Check, GrpcCheck, HttpCheck, Target, Timing};

/// What is probed, how and when. Equal keys are one target: probed once, with one verdict, whatever the probes' names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetKey {
    /// What is done and what is expected.
    pub check: Arc<Check>,
    /// When, and what makes a verdict of the results.
    pub timing: Timing,
    /// Where.
    pub target: Target,
}

/// As an operator would type it, such as `https://192.0.2.1:8443/healthz (www.example.com)` or `tcp://[2001:db8::1]:25`.
impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match &*self.check {
            Check::Http(HttpCheck { tls: Some(_), .. }) => "https",
            Check::Http(_) => "http",
            Check::Tcp(_) => "tcp",
            Check::Tls(_) => "tls",
            Check::Grpc(GrpcCheck { tls: Some(_), .. }) => "grpcs",
            Check::Grpc(_) => "grpc",
            Check::Dns(_) => "dns",
            Check::Icmp { .. } => "icmp",
            Check::Exec(_) => "exec",
            Check::File(_) => "file",
            Check::Heartbeat(_) => "heartbeat",
        };
        match (&self.target, self.check.port()) {
            (Target::Address(IpAddr::V6(address)), Some(port)) => write!(f, "{scheme}://[{address}]:{port}")?,
            (target, Some(port)) => write!(f, "{scheme}://{target}:{port}")?,
            (target, None) => write!(f, "{scheme}://{target}")?,
        }
        match &*self.check {
            Check::Http(check) => {
                f.write_str(&check.path)?;
                check.host.iter().try_for_each(|host| write!(f, " ({host})"))
            }
            Check::Tls(check) => check.tls.server_name.iter().try_for_each(|name| write!(f, " ({name})")),
            Check::Grpc(check) => {
                write!(f, "/{}", check.service)?;
                check.host.iter().try_for_each(|host| write!(f, " ({host})"))
            }
            Check::Dns(check) => write!(f, "/{} {}", check.name, Rtype::from_int(check.rtype)),
            Check::Exec(check) => write!(f, " ({})", check.command.display()),
            Check::File(check) => write!(f, " ({})", check.path.display()),
            Check::Tcp(_) | Check::Icmp { .. } | Check::Heartbeat(_) => Ok(()),
        }
    }
}
