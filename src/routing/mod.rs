//! The decision: for one client and one service, which pool, which region, which endpoints.
//!
//! [`decide()`] follows the section Decision of docs/architecture.md: tiers in order, in each the regions in the client's
//! order, the first with enough healthy endpoints of the asked family. It reads a [`Snapshot`](crate::snapshot::Snapshot),
//! draws from a generator that it is given, and does nothing else: no clock, no allocation, no lock.

pub mod balance;
mod both;
mod controller;
mod decide;
mod filter;
mod flows;
mod grounds;
pub mod live;
#[cfg(test)]
mod simulation;
mod steering;
pub mod sticky;
#[cfg(test)]
mod tests;

pub use crate::config::Sticky;
pub use balance::{Draw, MAX_PICKS, Method, Picks};
pub use both::{Both, decide_both};
pub(crate) use controller::Controller;
pub use decide::{Choice, Decision, Outcome, decide};
pub use filter::{FateNote, Filtered, Note, Noted, Stage};
pub use flows::{Flows, HomeLoad, RoomLoad, Step, Way};
pub use grounds::{Considered, Fate, Grounds};
pub use live::{Candidate, Candidates, Endpoints, Health, Live};
pub use steering::region_weight;

/// The kind of address that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// A
    V4,
    /// AAAA
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The one that this isn't.
    pub fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// 0 for IPv4, 1 for IPv6: a place in arrays of two.
    pub fn index(self) -> usize {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
        }
    }
}
