//! The addresses of hostnames.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name as ResolverName, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::sync::Semaphore;

use super::connect::Deadline;
use super::failure::innermost;
use super::{Failure, MAX_ADDRESSES, Phase};
use crate::zone::Name;

/// The most hostnames looked up at once.
pub const MAX_LOOKUPS: usize = 32;
/// Answers that are remembered, each of one name and family.
const MAX_REMEMBERED: u64 = 32_768;
/// How long one query to a name server may take before it is sent again.
const MAX_QUERY_TIME: Duration = Duration::from_secs(1);
/// How long a name that has no addresses is left so.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(10);

/// Hostnames' addresses when they were last known: where no name server answers, they go on being probed, so that its
/// failure is not theirs.
#[derive(Debug, Default)]
pub(super) struct LastAddresses(Mutex<HashMap<Name, Vec<IpAddr>>>);

impl LastAddresses {
    fn get(&self, name: &Name) -> Option<Vec<IpAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn set(&self, name: &Name, addresses: &[IpAddr]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(name) {
            Some(known) if known == addresses => {}
            _ => drop(all.insert(name.clone(), addresses.to_vec())),
        }
    }

    /// Forgets the names that are probed no more.
    pub(super) fn retain(&self, is_probed: impl Fn(&Name) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_probed(name));
    }
}

/// Looks names up as this system's settings say: in /etc/hosts, and by the name servers of /etc/resolv.conf, whose answers
/// hold for as long as they say.
#[derive(Debug)]
pub(super) struct Resolver {
    hosts: Hosts,
    /// Or why there is none.
    servers: Result<TokioResolver, String>,
    /// A permit for each name that may be looked up.
    permits: Semaphore,
}

impl Resolver {
    /// Reads the system's settings; blocks while it does.
    pub(super) fn new() -> Self {
        Self {
            hosts: Hosts::from_system().unwrap_or_default(),
            servers: servers(),
            permits: Semaphore::new(MAX_LOOKUPS),
        }
    }

    /// At most [`MAX_ADDRESSES`], in order, none twice.
    ///
    /// # Errors
    /// Where the name has no address; and where nobody can be asked, or nobody answers, and none was known before.
    pub(super) async fn resolve(
        &self,
        name: &Name,
        deadline: Deadline,
        last: &LastAddresses,
    ) -> Result<Vec<IpAddr>, Failure> {
        match self.look_up(name, deadline).await {
            Ok(addresses) => {
                last.set(name, &addresses);
                Ok(addresses)
            }
            Err(failure @ Failure::NoAddress) => Err(failure),
            Err(failure) => last.get(name).ok_or(failure),
        }
    }

    async fn look_up(&self, name: &Name, deadline: Deadline) -> Result<Vec<IpAddr>, Failure> {
        // With a final dot no search list is gone through.
        let absolute =
            ResolverName::from_ascii(format!("{name}.")).map_err(|error| Failure::Local(error.to_string()))?;
        let from_hosts = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|family| self.hosts.lookup_static_host(&Query::query(absolute.clone(), family)));
        let mut addresses: Vec<IpAddr> = from_hosts
            .flat_map(|found| found.answers().iter().filter_map(|it| it.data.ip_addr()).collect::<Vec<_>>())
            .collect();
        if addresses.is_empty() {
            let servers = self.servers.as_ref().map_err(|problem| Failure::Local(problem.clone()))?;
            let Ok(Ok(_permit)) = deadline.within(Phase::Resolve, self.permits.acquire()).await else {
                return Err(Failure::Local(format!("{MAX_LOOKUPS} names are being looked up already")));
            };
            let found = deadline.within(Phase::Resolve, servers.lookup_ip(absolute)).await?;
            addresses = match found {
                Ok(found) => found.iter().collect(),
                Err(error) if error.is_no_records_found() || error.is_nx_domain() => Vec::new(),
                Err(error) => return Err(Failure::Unresolved(innermost(&error))),
            };
        }
        // The order of those that are many is another each time.
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MAX_ADDRESSES);
        if addresses.is_empty() { Err(Failure::NoAddress) } else { Ok(addresses) }
    }
}

fn servers() -> Result<TokioResolver, String> {
    let problem = |error| format!("hostnames can't be looked up: {}", innermost(&error));
    let mut builder = TokioResolver::builder_tokio().map_err(problem)?;
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = MAX_REMEMBERED;
    options.timeout = options.timeout.min(MAX_QUERY_TIME);
    options.negative_max_ttl = Some(MAX_NEGATIVE_TTL);
    builder.build().map_err(problem)
}
