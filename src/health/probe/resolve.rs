//! The addresses of hostnames.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name as ResolverName, RecordType};
use hickory_resolver::{Hosts, ResolverBuilder, TokioResolver};
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
    /// Whether any are known of a name.
    pub(super) fn has(&self, name: &Name) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

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
    let builder = TokioResolver::builder_tokio();
    builder.and_then(build).map_err(|error| format!("hostnames can't be looked up: {}", innermost(&error)))
}

fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<TokioResolver, NetError> {
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = MAX_REMEMBERED;
    options.timeout = options.timeout.min(MAX_QUERY_TIME);
    options.negative_max_ttl = Some(MAX_NEGATIVE_TTL);
    builder.build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    use hickory_resolver::config::{NameServerConfig, ResolverConfig};
    use tokio::net::UdpSocket;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// What a name server says of every name.
    #[derive(Clone)]
    enum Says {
        /// These addresses, for so many seconds.
        Addresses(Vec<Ipv4Addr>, u8),
        /// Nothing but this code.
        Rcode(u8),
        Nothing,
    }

    struct NameServer {
        says: Arc<Mutex<Says>>,
        queries: Arc<Mutex<u32>>,
        resolver: Resolver,
        last: LastAddresses,
    }

    impl NameServer {
        async fn start(says: Says, hosts: &str) -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr().unwrap();
            let (says, queries) = (Arc::new(Mutex::new(says)), Arc::new(Mutex::new(0)));
            let (told, count) = (Arc::clone(&says), Arc::clone(&queries));
            tokio::spawn(async move {
                let mut query = [0; 512];
                loop {
                    let (length, peer) = socket.recv_from(&mut query).await.unwrap();
                    *count.lock().unwrap() += 1;
                    let answer = answer(&query[..length], &told.lock().unwrap());
                    if let Some(answer) = answer {
                        socket.send_to(&answer, peer).await.unwrap();
                    }
                }
            });
            let mut read = Hosts::default();
            read.read_hosts_conf(hosts.as_bytes()).unwrap();
            let resolver = Resolver { hosts: read, servers: Ok(asks(address)), permits: Semaphore::new(MAX_LOOKUPS) };
            Self { says, queries, resolver, last: LastAddresses::default() }
        }

        fn say(&self, says: Says) {
            *self.says.lock().unwrap() = says;
        }

        fn queries(&self) -> u32 {
            *self.queries.lock().unwrap()
        }

        async fn resolve(&self, name: &str, milliseconds: u64) -> Result<Vec<IpAddr>, Failure> {
            let deadline = Deadline::after(Duration::from_millis(milliseconds));
            self.resolver.resolve(&Name::vec_from_str(name).unwrap(), deadline, &self.last).await
        }
    }

    /// One that asks this name server alone.
    fn asks(server: SocketAddr) -> TokioResolver {
        let mut settings = NameServerConfig::udp(server.ip());
        settings.connections[0].port = server.port();
        let config = ResolverConfig::from_name_servers(vec![settings]);
        build(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())).unwrap()
    }

    fn answer(query: &[u8], says: &Says) -> Option<Vec<u8>> {
        let end = 12 + query[12..].iter().position(|&octet| octet == 0)? + 5;
        let is_a = query[end - 3] == 1;
        let (rcode, records): (u8, Vec<Vec<u8>>) = match says {
            Says::Addresses(addresses, ttl) if is_a => {
                let record =
                    |address: &Ipv4Addr| [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, *ttl, 0, 4], &address.octets()[..]].concat();
                (0, addresses.iter().map(record).collect())
            }
            Says::Addresses(..) => (0, Vec::new()),
            Says::Rcode(rcode) => (*rcode, Vec::new()),
            Says::Nothing => return None,
        };
        let header = [query[0], query[1], 0x85, 0x80 | rcode, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
        Some([&header, &query[12..end], &records.concat()].concat())
    }

    fn addresses(lasts: &[u8]) -> Vec<Ipv4Addr> {
        lasts.iter().map(|last| Ipv4Addr::new(192, 0, 2, *last)).collect()
    }

    fn found(lasts: &[u8]) -> Result<Vec<IpAddr>, Failure> {
        Ok(addresses(lasts).into_iter().map(IpAddr::V4).collect())
    }

    #[tokio::test]
    async fn addresses_hold_for_as_long_as_their_ttl_says() {
        let server = NameServer::start(Says::Addresses(addresses(&[2, 1, 2]), 1), "").await;
        assert_eq!(server.resolve("www.example.net", 5_000).await, found(&[1, 2]), "in order, and none twice");
        let (asked, began) = (server.queries(), Instant::now());
        server.say(Says::Addresses(addresses(&[3]), 60));
        let mut again = server.resolve("www.example.net", 5_000).await;
        while again == found(&[1, 2]) {
            assert!(began.elapsed() < Duration::from_secs(10));
            sleep(Duration::from_millis(20)).await;
            again = server.resolve("www.example.net", 5_000).await;
        }
        assert_eq!(again, found(&[3]));
        assert!(began.elapsed() > Duration::from_millis(800), "{:?}", began.elapsed());
        // The family that has none may have been asked for more often.
        let asked_again = server.queries();
        assert!(asked_again > asked);
        server.say(Says::Nothing);
        assert_eq!(server.resolve("www.example.net", 200).await, found(&[3]), "remembered");
    }

    #[tokio::test]
    async fn of_many_addresses_a_few_are_probed() {
        let server = NameServer::start(Says::Addresses(addresses(&[9, 8, 7, 6, 5, 4, 3, 2, 1]), 60), "").await;
        assert_eq!(server.resolve("www.example.net", 5_000).await, found(&[1, 2, 3, 4, 5, 6, 7, 8]));
    }

    #[tokio::test]
    async fn a_name_without_addresses_fails_and_a_name_server_that_fails_does_not_count() {
        let server = NameServer::start(Says::Rcode(2), "").await;
        let failure = server.resolve("www.example.net", 5_000).await.unwrap_err();
        assert!(matches!(failure, Failure::Unresolved(_)), "nothing is known yet: {failure}");
        server.say(Says::Addresses(addresses(&[1]), 0));
        assert_eq!(server.resolve("www.example.net", 5_000).await, found(&[1]));
        server.say(Says::Rcode(2));
        assert_eq!(server.resolve("www.example.net", 5_000).await, found(&[1]));
        server.say(Says::Nothing);
        assert_eq!(server.resolve("www.example.net", 100).await, found(&[1]));
        for (name, says) in [("www.example.net", Says::Rcode(3)), ("a.example.net", Says::Addresses(Vec::new(), 0))] {
            server.say(says);
            assert_eq!(server.resolve(name, 5_000).await, Err(Failure::NoAddress), "{name}");
        }
        server.last.retain(|_| false);
        server.say(Says::Rcode(2));
        assert!(server.resolve("www.example.net", 5_000).await.is_err(), "forgotten");
    }

    #[tokio::test]
    async fn lookups_at_once_are_bounded() {
        let server = NameServer::start(Says::Nothing, "").await;
        let lookups = (0..MAX_LOOKUPS + 6).map(async |number| {
            let milliseconds = if number < MAX_LOOKUPS { 1_000 } else { 300 };
            let found = server.resolve(&format!("{number}.example.net"), milliseconds).await;
            found.unwrap_err().to_string().ends_with("32 names are being looked up already")
        });
        let refused = super::super::all(lookups).await;
        assert_eq!(refused.iter().position(|is_refused| *is_refused), Some(MAX_LOOKUPS));
        assert!(refused[MAX_LOOKUPS..].iter().all(|is_refused| *is_refused));
    }

    #[tokio::test]
    async fn a_name_in_the_hosts_file_is_asked_of_nobody() {
        let server = NameServer::start(Says::Nothing, "192.0.2.7 www.example.net # here\n").await;
        assert_eq!(server.resolve("www.example.net", 100).await, found(&[7]));
        assert_eq!(server.queries(), 0);
    }
}
