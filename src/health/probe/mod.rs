//! One run of a probe: connect to a target, ask, and say what came of it.

mod body;
mod connect;
mod failure;
mod http;
mod tcp;
mod trust;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use connect::Deadline;
pub use failure::{Failure, Phase};
pub use http::MAX_BODY_BYTES;
pub(crate) use trust::nobody;

use super::report::Source;
use super::{Load, Rejection, TargetKey};
use crate::config::{Check, HttpCheck, Problem, Problems, Target};

/// The most addresses of a hostname that one run tries.
pub const MAX_ADDRESSES: usize = 8;
/// The most hostnames looked up at once. Each holds a thread until the system's resolver answers, however late.
pub const MAX_LOOKUPS: usize = 32;

static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// What one run of a probe found.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// How long it took, name resolution included.
    pub took: Duration,
    /// The address that the outcome is about: the one that succeeded, else the last one tried. Nothing where the name
    /// did not resolve.
    pub address: Option<IpAddr>,
    /// Whether everything expected was found, and what was not.
    pub outcome: Result<(), Failure>,
    /// What was found beside.
    pub details: Details,
}

/// What a run finds out beside its outcome; of its last attempt, where there are several.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Details {
    /// How long its parts took.
    pub phases: Phases,
    /// What the answer says of load, by where it says so.
    pub reports: Reports,
}

/// How long the parts of a run took that it came to the end of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Looking the hostname up.
    pub resolve: Option<Duration>,
    /// Connecting by TCP.
    pub connect: Option<Duration>,
    /// Agreeing on TLS.
    pub tls: Option<Duration>,
    /// From the request to the head of its response.
    pub first_byte: Option<Duration>,
}

impl Phases {
    /// Each with its name in metrics and the API.
    pub fn named(&self) -> [(&'static str, Option<Duration>); 4] {
        [("resolve", self.resolve), ("connect", self.connect), ("tls", self.tls), ("first_byte", self.first_byte)]
    }
}

/// What an answer says of load, by where it says so, or why that can't be read.
pub type Reports = Vec<(Source, Result<Load, Rejection>)>;

/// `ok in 12.3ms`, or the failure with the address that it is about.
impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.outcome, self.address) {
            (Ok(()), _) => write!(f, "ok in {:.1?}", self.took),
            (Err(failure), Some(address)) => write!(f, "{address}: {failure}"),
            (Err(failure), None) => write!(f, "{failure}"),
        }
    }
}

/// Makes observations. The scheduler's tests put a scripted one in the place of [`Prober`].
pub trait Observe: Send + Sync + 'static {
    /// Runs the check once. Ends within the key's timeout.
    fn observe(&self, key: &TargetKey) -> impl Future<Output = Observation> + Send;
}

/// Makes observations over the network. Holds what the checks of one configuration share, and nothing per target.
#[derive(Debug)]
pub struct Prober {
    /// For plain HTTP.
    plain: ClientConfig,
    /// For HTTPS by `ca_file`; without one, the system's authorities.
    trusted: HashMap<Option<PathBuf>, ClientConfig>,
}

impl Prober {
    /// Reads the certificate authorities that these checks need; blocks while it does. The system's are read only if an
    /// HTTPS check relies on them.
    ///
    /// # Errors
    /// Every `ca_file` that can't be read or holds no certificate, and a system without authorities.
    pub fn new<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Result<Self, Problems> {
        let mut trusted: HashMap<Option<PathBuf>, Result<ClientConfig, Problem>> = HashMap::new();
        let mut problems = Vec::new();
        for check in checks {
            let Check::Http(HttpCheck { tls: true, ca_file, .. }) = check else { continue };
            trusted.entry(ca_file.clone()).or_insert_with(|| match ca_file {
                Some(path) => trust::authorities(path),
                None => trust::system(),
            });
        }
        let trusted = trusted
            .into_iter()
            .filter_map(|(ca_file, config)| match config {
                Ok(config) => Some((ca_file, config)),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            })
            .collect();
        if problems.is_empty() { Ok(Self { plain: trust::nobody(), trusted }) } else { Err(Problems(problems)) }
    }

    /// One attempt at one address.
    async fn attempt(
        &self,
        key: &TargetKey,
        address: IpAddr,
        time: Duration,
        details: &mut Details,
    ) -> Result<(), Failure> {
        match &key.check {
            Check::Tcp { port } => tcp::attempt(SocketAddr::new(address, *port), Deadline::after(time), details).await,
            Check::Http(check) => {
                let tls = if check.tls { self.trusted.get(&check.ca_file) } else { Some(&self.plain) };
                let tls = tls.ok_or_else(|| Failure::Local("its certificate authorities were not loaded".into()))?;
                let hostname = match &key.target {
                    Target::Address(_) => None,
                    Target::Hostname(name) => Some(name.to_string()),
                };
                http::attempt(check, tls, hostname.as_deref(), address, time, &mut details.reports).await
            }
        }
    }

    /// Tries the target's addresses in order until one succeeds, and gives each an equal share of the time left.
    async fn try_each(
        &self,
        key: &TargetKey,
        deadline: Instant,
        details: &mut Details,
    ) -> (Option<IpAddr>, Result<(), Failure>) {
        let started = Instant::now();
        let addresses = match &key.target {
            Target::Address(address) => vec![*address],
            Target::Hostname(name) => match resolve(name.to_string(), key.timing.timeout, deadline).await {
                Ok(addresses) => addresses,
                Err(failure) => return (None, Err(failure)),
            },
        };
        let resolve = matches!(key.target, Target::Hostname(_)).then(|| started.elapsed());
        let mut last = (None, Err(Failure::Unresolved("no addresses".into())));
        for (index, &address) in (0_u32..).zip(&addresses) {
            let shares = u32::try_from(addresses.len()).unwrap_or(u32::MAX).saturating_sub(index).max(1);
            let share = deadline.saturating_duration_since(Instant::now()) / shares;
            *details = Details { phases: Phases { resolve, ..Phases::default() }, ..Details::default() };
            match self.attempt(key, address, share, details).await {
                // What failed at an address before says more about the target.
                Err(failure) if failure.is_local() && last.0.is_some() => {}
                outcome => last = (Some(address), outcome),
            }
            if last.1.is_ok() {
                break;
            }
        }
        last
    }
}

impl Observe for Prober {
    async fn observe(&self, key: &TargetKey) -> Observation {
        let started = Instant::now();
        let mut details = Details::default();
        let (address, outcome) = self.try_each(key, started + key.timing.timeout, &mut details).await;
        Observation { took: started.elapsed(), address, outcome, details }
    }
}

/// The hostname's addresses by the system's resolver, which also reads /etc/hosts; at most [`MAX_ADDRESSES`].
async fn resolve(name: String, time: Duration, deadline: Instant) -> Result<Vec<IpAddr>, Failure> {
    let Ok(Ok(permit)) = timeout_at(deadline, LOOKUPS.acquire()).await else {
        return Err(Failure::Local(format!("{MAX_LOOKUPS} names already wait for the system's resolver")));
    };
    let lookup = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        (name.as_str(), 0).to_socket_addrs()
    });
    match timeout_at(deadline, lookup).await {
        Ok(Ok(Ok(addresses))) => Ok(addresses.map(|address| address.ip()).take(MAX_ADDRESSES).collect()),
        Ok(Ok(Err(error))) => Err(match Failure::from_io(&error) {
            local @ Failure::Local(_) => local,
            _ => {
                let text = error.to_string();
                let reason = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
                Failure::Unresolved(failure::excerpt(reason))
            }
        }),
        Ok(Err(error)) => Err(Failure::Local(error.to_string())),
        Err(_) => Err(Failure::Timeout { phase: Phase::Resolve, after: time }),
    }
}
