//! One run of a probe: connect to a target, ask, and say what came of it.

mod body;
mod clock;
mod connect;
mod dns;
mod exchange;
mod exec;
mod failure;
mod file;
mod grpc;
mod heartbeat;
mod http;
mod icmp;
mod resolve;
mod tcp;
mod tls;
mod told;
mod trust;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use regex::bytes::Regex;
use tokio::time::Instant;

use connect::Deadline;
pub use exec::MAX_PROGRAMS;
pub use failure::{Failure, Phase};
pub use heartbeat::Heartbeats;
pub use http::MAX_BODY_BYTES;
pub use resolve::MAX_LOOKUPS;
use resolve::Resolver;
pub use told::Word;
use trust::Clients;
pub(crate) use trust::nobody;

use super::report::Source;
use super::{Load, Rejection, Table, TargetKey};
use crate::config::{BodyRegex, Check, Problem, Problems, Target, Trust};
use crate::zone::Name;

/// The most addresses of a hostname that are probed.
pub const MAX_ADDRESSES: usize = 8;

/// What one run of a probe found.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// How long it took, name resolution included.
    pub took: Duration,
    /// The address that the outcome is about: the first that succeeded, else the first that failed. Nothing where the
    /// name did not resolve, and where none is asked.
    pub address: Option<IpAddr>,
    /// Whether everything expected was found, and what was not.
    pub outcome: Result<(), Failure>,
    /// What was found beside.
    pub details: Details,
}

/// What a run finds out beside its outcome; of the address that the outcome is about, where there are several.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Details {
    /// Why a success is a poor one, whatever time it took.
    pub poor: Option<String>,
    /// How long its parts took.
    pub phases: Phases,
    /// What the answer says of load, by where it says so.
    pub reports: Reports,
    /// When the server's certificate expires, in seconds since 1970; nothing where it shows none.
    pub certificate_expires: Option<u64>,
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

impl Observation {
    /// One that a defect of ours broke off.
    pub(super) fn of_defect(took: Duration) -> Self {
        Self { took, ..Self::failed(Failure::Local("a defect of this server broke it off; see its log".into())) }
    }

    /// One that took no time and is about no address.
    fn failed(failure: Failure) -> Self {
        Self { took: Duration::ZERO, address: None, outcome: Err(failure), details: Details::default() }
    }
}

/// `ok in 12.3ms`, or the failure with the address that it is about.
impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.outcome, self.address) {
            (Ok(()), _) => {
                write!(f, "ok in {:.1?}", self.took)?;
                self.details.poor.as_ref().map_or(Ok(()), |reason| write!(f, ", but {reason}"))
            }
            (Err(failure), Some(address)) => write!(f, "{address}: {failure}"),
            (Err(failure), None) => write!(f, "{failure}"),
        }
    }
}

/// Makes observations. The scheduler's tests put a scripted one in the place of [`Prober`].
pub trait Observe: Send + Sync + 'static {
    /// Runs the check once, or has nothing to say. Ends within the key's timeout; later by twice the time for which this
    /// machine was busy or paused; within twice the timeout, where programs of other
    /// targets are waited for.
    fn observe(&self, key: &TargetKey) -> impl Future<Output = Option<Observation>> + Send;
}

/// What is known of targets beside their health, from one configuration to the next.
#[derive(Debug, Default)]
pub struct Memory {
    /// What was heard of those that report by themselves.
    pub heartbeats: Heartbeats,
    files: file::Files,
    programs: exec::Programs,
    addresses: resolve::LastAddresses,
}

impl Memory {
    /// Forgets what is of no target any more.
    pub fn retain(&self, table: &Table) {
        self.heartbeats.retain(|key| table.id(key).is_some());
        let keys = || table.targets().iter().map(|target| &target.key);
        let files: HashSet<&Path> = keys().filter_map(|key| key.check.file()).collect();
        self.files.retain(|path| files.contains(path));
        let names: HashSet<&Name> = keys().filter_map(|key| key.target.hostname()).collect();
        self.addresses.retain(|name| names.contains(name));
    }
}

/// Makes observations over the network. Holds what the checks of one configuration share, and nothing per target.
#[derive(Debug)]
pub struct Prober {
    clients: HashMap<Trust, Clients>,
    regexes: HashMap<BodyRegex, Regex>,
    /// Made for the first hostname.
    resolver: OnceLock<Resolver>,
    memory: Arc<Memory>,
}

impl Prober {
    /// Reads the certificates that these checks need; blocks while it does. The system's authorities are read only if a
    /// check relies on them.
    ///
    /// # Errors
    /// Every file that can't be read or does not hold what it should, and a system without authorities.
    pub fn new<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Result<Self, Problems> {
        let (mut clients, mut regexes) = (HashMap::new(), HashMap::new());
        let mut problems = Vec::new();
        let mut trusts: HashSet<&Trust> = HashSet::new();
        for check in checks {
            trusts.extend(check.tls().map(|tls| &tls.trust));
            match check.body_regex().map(|regex| (regex, regex.compile())) {
                Some((regex, Ok(compiled))) => drop(regexes.insert(regex.clone(), compiled)),
                Some((_, Err(error))) => problems.push(Problem::new(error.to_string())),
                None => {}
            }
        }
        for trust in trusts {
            match Clients::new(trust) {
                Ok(made) => drop(clients.insert(trust.clone(), made)),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        Ok(Self { clients, regexes, resolver: OnceLock::new(), memory: Arc::default() })
    }

    /// The same with what the probers before it knew.
    #[must_use]
    pub fn with_memory(self, memory: Arc<Memory>) -> Self {
        Self { memory, ..self }
    }

    /// What this process may not do that one of these checks needs: it will find nothing, and no target fails by that.
    pub fn forbidden<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Option<String> {
        if checks.into_iter().any(|check| matches!(check, Check::Icmp { .. })) {
            icmp::permission().err()
        } else {
            None
        }
    }

    /// One attempt at one address.
    async fn attempt(
        &self,
        key: &TargetKey,
        address: IpAddr,
        time: Duration,
        details: &mut Details,
    ) -> Result<(), Failure> {
        let deadline = Deadline::after(time);
        let clients = key.check.tls().and_then(|tls| self.clients.get(&tls.trust));
        let hostname = key.target.hostname().map(ToString::to_string);
        let name = hostname.as_deref();
        match &*key.check {
            Check::Http(check) => {
                let regex = check.expect_body_regex.as_ref().and_then(|regex| self.regexes.get(regex));
                http::attempt(check, clients, regex, name, address, deadline, details).await
            }
            Check::Tcp(check) => tcp::attempt(check, address, deadline, details).await,
            Check::Tls(check) => tls::attempt(check, clients, name, address, deadline, details).await,
            Check::Grpc(check) => grpc::attempt(check, clients, name, address, deadline, details).await,
            Check::Dns(check) => dns::attempt(check, address, deadline, details).await,
            Check::Icmp { source } => icmp::attempt(address, *source, deadline).await,
            Check::Exec(check) => exec::attempt(check, address, deadline).await,
            // None is asked.
            Check::File(_) | Check::Heartbeat(_) => Ok(()),
        }
    }

    /// Asks the target.
    async fn ask(&self, key: &TargetKey) -> Observation {
        let started = Instant::now();
        let time = key.timing.timeout;
        let resolved = match &key.target {
            Target::Address(address) => Ok(vec![*address]),
            Target::Hostname(name) => {
                let resolver = self.resolver.get_or_init(Resolver::new);
                // Where addresses are known, a name server that says nothing leaves time to ask them.
                let time = if self.memory.addresses.has(name) { time / 2 } else { time };
                resolver.resolve(name, Deadline::after(time), &self.memory.addresses).await
            }
        };
        match resolved {
            Ok(addresses) => self.ask_at(key, addresses, started).await,
            Err(failure) => Observation { took: started.elapsed(), ..Observation::failed(failure) },
        }
    }

    /// Asks the target at all of these addresses at once, which were found out since it was `started`.
    async fn ask_at(&self, key: &TargetKey, addresses: Vec<IpAddr>, started: Instant) -> Observation {
        let time = key.timing.timeout;
        let resolve = key.target.hostname().map(|_| started.elapsed());
        let waits = Instant::now();
        let _permits = match &*key.check {
            Check::Exec(_) => match self.memory.programs.admit(addresses.len(), time).await {
                Ok(permits) => Some(permits),
                Err(failure) => return Observation::failed(failure),
            },
            _ => None,
        };
        // That those of others run is no time of this target's.
        let started = started + waits.elapsed();
        let left = time.saturating_sub(started.elapsed());
        let attempts = addresses.into_iter().map(async |address| {
            let mut details = Details { phases: Phases { resolve, ..Phases::default() }, ..Details::default() };
            let outcome = self.attempt(key, address, left, &mut details).await;
            Attempt { address, outcome, details }
        });
        judge(all(attempts).await, started.elapsed())
    }
}

impl Observe for Prober {
    async fn observe(&self, key: &TargetKey) -> Option<Observation> {
        match &*key.check {
            Check::File(check) => self.memory.files.observe(check, &key.target, key.timing.timeout).await,
            Check::Heartbeat(max_silence) => self.memory.heartbeats.look(key, *max_silence, Instant::now().into_std()),
            _ => Some(self.ask(key).await),
        }
    }
}

/// What came of asking one address.
struct Attempt {
    address: IpAddr,
    outcome: Result<(), Failure>,
    details: Details,
}

/// What attempts at all addresses of a target say of it: it fails where all do, and is poor where some do. One that this machine
/// could not make says nothing beside others; nor does one at an address that has no route from here.
fn judge(attempts: Vec<Attempt>, took: Duration) -> Observation {
    let is_told = |attempt: &Attempt| match &attempt.outcome {
        Err(Failure::Unreachable(_)) => has_route(attempt.address),
        Err(failure) => !failure.is_local(),
        Ok(()) => true,
    };
    let (told, rest): (Vec<Attempt>, Vec<Attempt>) =
        if attempts.len() > 1 { attempts.into_iter().partition(is_told) } else { (attempts, Vec::new()) };
    let count = told.len();
    let failures = told.iter().filter_map(|attempt| Some((attempt.address, attempt.outcome.as_ref().err()?)));
    let failed = failures.clone().count();
    let poor = failures.clone().next().filter(|_| failed < count).map(|(address, failure)| {
        let fail = if failed == 1 { "fails" } else { "fail" };
        format!("{failed} of {count} addresses {fail}: {address}: {failure}")
    });
    let best = told.iter().position(|attempt| attempt.outcome.is_ok()).unwrap_or(0);
    match told.into_iter().nth(best).or_else(|| rest.into_iter().next()) {
        Some(Attempt { address, outcome, details }) => {
            let poor = poor.or(details.poor);
            Observation { took, address: Some(address), outcome, details: Details { poor, ..details } }
        }
        None => Observation { took, ..Observation::failed(Failure::NoAddress) },
    }
}

/// Whether packets to an address have somewhere to go from here. Sends none.
fn has_route(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((address, 9))).is_ok()
}

/// Awaits all futures at once; what they give, in their order.
async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        for (future, output) in pending.iter_mut().filter(|(_, output)| output.is_none()) {
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                *output = Some(value);
            }
        }
        if pending.iter().any(|(_, output)| output.is_none()) {
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut pending).into_iter().filter_map(|(_, output)| output).collect())
    })
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::config::{ExecCheck, FileCheck, TcpCheck, Timing};

    fn attempt(last: u8, outcome: Result<(), Failure>) -> Attempt {
        Attempt { address: IpAddr::from([127, 0, 0, last]), outcome, details: Details::default() }
    }

    #[test]
    fn attempts_at_several_addresses_are_one_observation() {
        let refused = || Err(Failure::Refused);
        let local = || Err(Failure::Local("no descriptors".into()));
        let unreachable = || Err(Failure::Unreachable("by a router".into()));
        for (outcomes, expected) in [
            (vec![Ok(())], "ok in 1.0s"),
            (vec![refused()], "127.0.0.1: connection refused"),
            (vec![local()], "127.0.0.1: not probed, for a problem on this machine: no descriptors"),
            (vec![Ok(()), Ok(())], "ok in 1.0s"),
            (vec![refused(), Err(Failure::Reset)], "127.0.0.1: connection refused"),
            (vec![Ok(()), Ok(()), refused()], "ok in 1.0s, but 1 of 3 addresses fails: 127.0.0.3: connection refused"),
            (
                vec![refused(), refused(), Ok(())],
                "ok in 1.0s, but 2 of 3 addresses fail: 127.0.0.1: connection refused",
            ),
            (
                vec![unreachable(), Ok(())],
                "ok in 1.0s, but 1 of 2 addresses fails: 127.0.0.1: unreachable: by a router",
            ),
            (vec![local(), Ok(())], "ok in 1.0s"),
            (vec![local(), refused()], "127.0.0.2: connection refused"),
            (vec![local(), local()], "127.0.0.1: not probed, for a problem on this machine: no descriptors"),
        ] {
            let attempts = (1..).zip(outcomes).map(|(last, outcome)| attempt(last, outcome)).collect();
            assert_eq!(judge(attempts, Duration::from_secs(1)).to_string(), expected);
        }
        // No address of that kind has a route, on any machine.
        let lost = Attempt { address: IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 0]), ..attempt(0, unreachable()) };
        assert!(!has_route(lost.address));
        let told = judge(vec![lost, attempt(2, Ok(()))], Duration::from_secs(1));
        assert_eq!(told.to_string(), "ok in 1.0s");
    }

    #[tokio::test]
    async fn what_is_of_no_target_is_forgotten() {
        let key = |check: Check, target| TargetKey { check: check.into(), timing: Timing::DEFAULT, target };
        let file = FileCheck { path: "/nonexistent/states".into(), max_silence: None };
        let keys = [
            key(Check::File(file), Target::Address([192, 0, 2, 1].into())),
            key(Check::Heartbeat(Duration::from_secs(1)), Target::Address([192, 0, 2, 77].into())),
            key(Check::Tcp(TcpCheck::accepted(9)), Target::Hostname("localhost".parse().unwrap())),
        ];
        let memory = Arc::new(Memory::default());
        let prober = Prober::new([]).unwrap().with_memory(Arc::clone(&memory));
        for key in &keys {
            prober.observe(key).await;
        }
        let known = || ["/nonexistent/states", "192.0.2.77", "localhost"].map(|it| format!("{memory:?}").contains(it));
        memory.retain(&Table::default().rebuilt(keys.clone(), []));
        assert_eq!(known(), [true; 3]);
        for (index, key) in keys.iter().enumerate() {
            memory.retain(&Table::default().rebuilt([key.clone()], []));
            assert_eq!(known(), [0, 1, 2].map(|other| other == index), "{key}");
            for key in &keys {
                prober.observe(key).await;
            }
        }
    }

    #[tokio::test]
    async fn programs_of_a_hostname_are_counted_one_by_one_and_not_before_its_addresses_are_known() {
        let check = ExecCheck { command: "/bin/true".into(), arguments: Vec::new(), port: None };
        let key = TargetKey {
            check: Check::Exec(check).into(),
            timing: Timing { timeout: Duration::from_secs(1), ..Timing::DEFAULT },
            target: Target::Hostname("none.invalid".parse().unwrap()),
        };
        let prober = Prober::new([]).unwrap();
        let ask_at = async |lasts: &[u8]| {
            let addresses = lasts.iter().map(|last| IpAddr::from([127, 0, 0, *last])).collect();
            prober.ask_at(&key, addresses, Instant::now()).await
        };
        let refused = "not probed, for a problem on this machine: 64 programs run already";
        let mut others = prober.memory.programs.admit(MAX_PROGRAMS - 1, Duration::ZERO).await.unwrap();
        assert_eq!(ask_at(&[1]).await.outcome, Ok(()));
        assert_eq!(ask_at(&[1, 2]).await.to_string(), refused);
        drop(others.split(1));
        assert_eq!(ask_at(&[1, 2]).await.outcome, Ok(()));
        others.merge(prober.memory.programs.admit(2, Duration::ZERO).await.unwrap());
        assert_ne!(prober.ask(&key).await.to_string(), refused, "its name is looked up first");
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_run_at_once() {
        let began = Instant::now();
        let sleeps = [3, 1, 2].map(async |seconds| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            seconds
        });
        assert_eq!(all(sleeps.into_iter()).await, [3, 1, 2]);
        assert_eq!(began.elapsed(), Duration::from_secs(3));
    }
}
