//! The configuration: TOML as written, checked, and resolved to indices.
//!
//! [`Config::load`] reads a file and [`Config::parse`] a text. Both report every problem at once as [`Problems`].
//! What comes out refers to regions, probes and pools by their index in the vectors of [`Config`], in file order;
//! names are kept for people only. Nothing here opens any other file than the TOML itself: zone files and
//! databases are named by absolute or TOML-relative paths that are already resolved.

mod balance;
mod cpu_set;
pub mod diagnostic;
pub mod health;
mod names;
mod network;
mod probe;
mod reader;
pub mod safety;
mod schema;
mod similar;
pub(crate) mod units;
mod validate;

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use balance::{Adaptive, AdaptiveChoice, AnswerOrder, Balance, Performance, Sticky};
pub use cpu_set::{CpuSet, MAX_CPU};
pub use diagnostic::{Problem, Problems, Source};
pub use health::{HealthInput, InputOf, PoolHealth};
pub(crate) use network::{NetworkError, parse_network};
pub use probe::{
    BodyRegex, Check, ClientCertificate, DnsCheck, DnsData, ExecCheck, ExpectedField, FieldValue, FileCheck, GrpcCheck,
    HttpCheck, HttpVersion, Probe, TcpCheck, Timing, Tls, TlsCheck, Trust,
};
pub use safety::{Safety, SelfSuspicion};

use reader::{Report, Value, is_repeated_key};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use units::show_duration;

use crate::geo::latency::Rules;
use crate::geo::{Continent, Coordinates, CountryCode, Matcher, Subdivision};
pub use crate::health::Measure;
use crate::regular_file;
use crate::zone::Name;

/// A whole configuration, checked and resolved.
#[derive(Debug, Clone)]
pub struct Config {
    /// The text it was read from, for messages about what is found wrong later.
    pub source: Arc<Source>,
    /// `[server]`
    pub server: Server,
    /// `[admin]`; without the table there is no admin interface.
    pub admin: Option<Admin>,
    /// `[log]`
    pub log: Log,
    /// `[geoip]`
    pub geoip: GeoIp,
    /// `[latency]`; without the table no service is steered by latency.
    pub latency: Option<Latency>,
    /// `[safety]`
    pub safety: Safety,
    /// `[regions.*]` in file order, at most [`MAX_REGIONS`].
    pub regions: Vec<Region>,
    /// `[maps.*]` in file order, then those that stand in services; at most [`MAX_MAPS`].
    pub maps: Vec<Map>,
    /// `[probes.*]` in file order.
    pub probes: Vec<Arc<Probe>>,
    /// `[pools.*]` in file order.
    pub pools: Vec<Pool>,
    /// `[zones.*]` in file order, at least one.
    pub zones: Vec<Zone>,
    /// `[services.*]` in file order.
    pub services: Vec<Service>,
}

/// Bytes of the TOML, which bound all that has no bound of its own.
pub const MAX_FILE_BYTES: usize = 16 << 20;
/// Endpoints of all pools together.
pub const MAX_ENDPOINTS: usize = 100_000;
/// The longest TTL in seconds (RFC 2181 section 8).
pub const MAX_TTL_SECS: u32 = i32::MAX as u32;
/// Regions in one configuration.
pub const MAX_REGIONS: usize = 1_000;
/// Maps in one configuration, those in services included.
pub const MAX_MAPS: usize = 64;
/// Rules in one map.
pub const MAX_RULES: usize = 10_000;
/// The largest weight of an endpoint or a region.
pub const MAX_WEIGHT: u32 = 1 << 20;
/// The most addresses in one answer.
pub const MAX_ANSWERS: usize = 16;

impl Config {
    /// What is allowed, but may not be meant; a line each.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.probes.iter().flat_map(|probe| probe.warnings()).chain(self.slow_canaries()).chain(self.lack_of_doubt())
    }

    /// Services that answer with something else than their endpoints where all are down, be it that this server is cut off, which it
    /// can't suspect as it has too few targets for that.
    fn lack_of_doubt(&self) -> Option<String> {
        let mut targets = HashSet::new();
        for pool in &self.pools {
            for probe in pool.health.acting_probes().map(|probe| &self.probes[probe]) {
                targets.extend(pool.endpoints.iter().map(|endpoint| {
                    let destination = endpoint.probe.address.is_none().then_some(&endpoint.target);
                    (&probe.check, probe.timing, &endpoint.probe, destination)
                }));
            }
        }
        let is_probed = |tier: &usize| self.pools[*tier].health.acting_probes().next().is_some();
        let mut services = self
            .services
            .iter()
            .filter(|service| service.when_all_down != WhenAllDown::ServeAll && service.tiers.iter().all(is_probed));
        let SelfSuspicion { least, share, .. } = self.safety.self_suspicion;
        // With a share of 1 nothing is to be doubted.
        let first = services.next().filter(|_| targets.len() < least && share < 1.0)?;
        let others = match services.count() {
            0 => String::new(),
            others => format!(" (and {others} more)"),
        };
        let can_doubt = match targets.len() {
            0 | 1 => String::new(),
            all => format!("`least = {all}` and a canary in `[safety.self_suspicion]`, or "),
        };
        let what = if let WhenAllDown::NoData = first.when_all_down { "no data" } else { "`last_resort`" };
        Some(format!(
            "this server can't suspect that it is cut off itself, as fewer targets are probed ({}) than `least` ({least}); service {}\
             {others} would then answer {what} to all: write {can_doubt}`when_all_down = \"serve-all\"`",
            targets.len(),
            first.name
        ))
    }

    /// Canaries that a cut may reach later than what they vouch for.
    fn slow_canaries(&self) -> impl Iterator<Item = String> {
        let acting = self.pools.iter().flat_map(|pool| pool.health.acting_probes()).map(|probe| &self.probes[probe]);
        let times = acting.filter_map(|probe| Some((probe.time_to_fall()?, &probe.name)));
        let soonest = times.min();
        let canaries: BTreeSet<usize> = self.safety.self_suspicion.canaries.iter().map(|canary| canary.probe).collect();
        canaries.into_iter().filter_map(move |canary| {
            let (canary, (time, acting)) = (&self.probes[canary], soonest?);
            (canary.longest_silence() > time).then(|| {
                let (silence, time) = (show_duration(canary.longest_silence()), show_duration(time));
                format!(
                    "probe {} is slow for a canary: what it said before this server was cut off may count for {silence}, while {acting} \
                     finds endpoints down within {time}: shorten its `interval`",
                    canary.name
                )
            })
        })
    }

    /// Reads a file of at most [`MAX_FILE_BYTES`] bytes.
    ///
    /// # Errors
    /// The file can't be read, is too large or isn't UTF-8; and what [`Config::parse`] finds.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let shown = path.display();
        let octets = regular_file::read(path, MAX_FILE_BYTES as u64)
            .map_err(|error| Problem::new(format!("can't read the configuration {shown}: {error}")))?;
        let Some(octets) = octets else {
            let hint = format!("keep it within {} MiB", MAX_FILE_BYTES >> 20);
            return Err(Problem::new(format!("the configuration {shown} is too large")).hint(hint).into());
        };
        let text = String::from_utf8(octets).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes().iter().take(valid).filter(|&&octet| octet == b'\n').count() + 1;
            Problem::new(format!("the configuration {shown} isn't UTF-8 in line {line}")).hint("save it as UTF-8")
        })?;
        Self::parse(&text, path)
    }

    /// Reads a text. Paths in it are relative to the folder of `path`, which needn't exist.
    ///
    /// # Errors
    /// Every problem there is, in the order of the text; only where the text isn't TOML are these all, as what else
    /// is wrong can't be told then.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Problems> {
        let source = Arc::new(Source { path: path.to_owned(), text: text.to_owned() });
        let report = Report::new(&source);
        let (tree, errors) = DeTable::parse_recoverable(&source.text);
        let is_whole = errors.iter().all(is_repeated_key);
        report.add_syntax(errors);
        let config = if is_whole {
            let root = Spanned::new(tree.span(), DeValue::Table(tree.into_inner()));
            validate::config(Value::new(&root, &report), &report)
        } else {
            None
        };
        report.finish(config)
    }
}

/// A place in the TOML text, as byte offsets.
pub type Span = Range<usize>;

/// `[server]`: where and how queries are served.
#[derive(Debug, Clone)]
pub struct Server {
    /// UDP and TCP addresses; at least one, none twice.
    pub listen: Vec<SocketAddr>,
    /// UDP threads per address; 0 means one per CPU that there is for them. At most 256.
    pub workers: usize,
    /// The CPUs for all that doesn't answer queries, which then has the others; without the key all share all.
    pub background_cpus: Option<CpuSet>,
    /// RFC 5001 identifier, 1 to 64 octets.
    pub nsid: Option<Vec<u8>>,
    /// Where what operators say and the last verdicts outlive a restart; without it they are forgotten.
    pub state_dir: Option<PathBuf>,
    /// The user to become once the sockets are bound.
    pub user: Option<String>,
    /// The group to become once the sockets are bound; the user's own where only `user` is given.
    pub group: Option<String>,
    /// The largest UDP response in octets, OPT included, and what is said of it in EDNS: 512 to
    /// [`MAX_UDP_RESPONSE`](crate::dns::MAX_UDP_RESPONSE); default 1232.
    pub edns_udp_octets: u16,
    /// Addresses that were not asked for are left out of the additional section, but for glue; default false.
    pub minimal_responses: bool,
    /// What counts as one client where clients are limited.
    pub client_network: ClientNetwork,
    /// Limits on plain TCP, and again on all encrypted connections together.
    pub tcp: TcpLimits,
    /// DNS cookies.
    pub cookies: Cookies,
    /// Limits on how often a client is answered over UDP; without the table there are none.
    pub rate_limit: Option<RateLimit>,
    /// What is told of this server in class CHAOS.
    pub chaos: Chaos,
    /// Networks whose hosts may ask for an explanation in class CHAOS; default loopback.
    pub explain_allow: Vec<ipnet::IpNet>,
    /// Listeners for DNS over TLS, HTTPS and QUIC.
    pub encrypted: Option<Encrypted>,
}

impl Server {
    /// The files of the certificate and its key, as far as they are given.
    pub fn certificate_paths(&self) -> impl Iterator<Item = &Path> {
        self.encrypted
            .iter()
            .flat_map(|encrypted| [&encrypted.certificate, &encrypted.key])
            .map(|(path, _)| path.as_path())
    }
}

/// `[server.tcp]`: bounds on connections (RFC 7766 section 6.2), whatever their transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpLimits {
    /// Open connections in all, 1..=20000; default 1000. At the limit one makes room for a new one.
    pub connections: usize,
    /// Open connections of one [`ClientNetwork`], at most `connections`; default 50, or `connections` if less. At
    /// the limit one of them makes room for a new one.
    pub connections_per_client: usize,
    /// How long a connection may stay open without a whole query, 100 ms to 1 h; default 10 s.
    pub idle_timeout: Duration,
    /// How long the client may take to accept a response, 100 ms to 1 h; default 5 s.
    pub write_timeout: Duration,
}

impl TcpLimits {
    /// Without `[server.tcp]`.
    pub const DEFAULT: Self = Self {
        connections: 1_000,
        connections_per_client: 50,
        idle_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(5),
    };
}

/// `[server] client_network`: the prefix lengths within which clients count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientNetwork {
    /// Of IPv4 addresses, 8 to 32; default 24.
    pub v4: u8,
    /// Of IPv6 addresses, 16 to 128; default 56.
    pub v6: u8,
}

impl ClientNetwork {
    /// Without the key.
    pub const DEFAULT: Self = Self { v4: 24, v6: 56 };

    /// The network of a client; an IPv4 address inside IPv6 is in its IPv4 network.
    pub fn of(self, client: IpAddr) -> IpAddr {
        match client.to_canonical() {
            IpAddr::V4(address) => {
                let bits = u32::MAX.checked_shl(32 - u32::from(self.v4)).unwrap_or(0);
                IpAddr::V4((address.to_bits() & bits).into())
            }
            IpAddr::V6(address) => {
                let bits = u128::MAX.checked_shl(128 - u32::from(self.v6)).unwrap_or(0);
                IpAddr::V6((address.to_bits() & bits).into())
            }
        }
    }
}

/// `[server.cookies]`: DNS cookies (RFC 7873, RFC 9018).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cookies {
    /// The file with the secrets, shared by all servers of an address or a name; without one this process makes its own.
    pub secret_file: Option<(PathBuf, Span)>,
    /// Whether a client that sends a cookie over UDP has to send a good one; default false.
    pub require: bool,
}

/// `[server.rate_limit]`: how often a client network is answered over UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Responses of one kind to one client network, 1..=1000000; required.
    pub responses_per_second: u32,
    /// Of so many responses beyond the limit one is sent, truncated, and the others are not: 0 (none is sent) to 10;
    /// default 2.
    pub slip: u8,
    /// Networks and kinds of answer that are remembered, 1024 to 2^24, a power of two; default 2^17.
    pub table_size: u32,
    /// Networks that are not limited, at most 100; default none.
    pub exempt: Vec<ipnet::IpNet>,
    /// Whether what would be held back is only counted; default false.
    pub dry_run: bool,
}

/// `[server.chaos]`: texts of at most 255 octets for `dig CH TXT`; what is absent is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chaos {
    /// Networks whose hosts are told; default all.
    pub allow: Option<Vec<ipnet::IpNet>>,
    /// `version.bind` and `version.server`.
    pub version: Option<String>,
    /// `hostname.bind`.
    pub hostname: Option<String>,
    /// `id.server` (RFC 4892).
    pub id: Option<String>,
}

/// `[server.encrypted]`: listeners for DNS over TLS (RFC 7858), HTTPS (RFC 8484) and QUIC (RFC 9250).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// PEM file with the certificate and its chain.
    pub certificate: (PathBuf, Span),
    /// PEM file with the certificate's key.
    pub key: (PathBuf, Span),
    /// TCP addresses for DNS over TLS.
    pub tls: Vec<SocketAddr>,
    /// TCP addresses for DNS over HTTPS.
    pub https: Vec<SocketAddr>,
    /// UDP addresses for DNS over QUIC.
    pub quic: Vec<SocketAddr>,
    /// The path of DNS over HTTPS; default `/dns-query`.
    pub https_path: String,
}

/// `[admin]`: the HTTP interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its address.
    pub listen: SocketAddr,
    /// The file with the bearer token; always given when `listen` is not loopback.
    pub token_file: Option<PathBuf>,
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Lines for people or for machines; default text.
    pub format: LogFormat,
    /// The least severe level that is written; default info.
    pub level: LogLevel,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of words.
    Text,
    /// One JSON object per line.
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what stops service.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And what changed.
    Info,
    /// And every observation.
    Debug,
}

/// `[geoip]`: how a client's location is known.
#[derive(Debug, Clone)]
pub struct GeoIp {
    /// The database's file, with where the TOML names it; without one the built-in database of countries serves.
    pub database: Option<(PathBuf, Span)>,
    /// A database of autonomous systems.
    pub asn_database: Option<(PathBuf, Span)>,
    /// `[[geoip.networks]]`, ahead of the database; no network twice.
    pub networks: Vec<Network>,
}

impl Config {
    /// The files that say where clients are and where they may be sent.
    pub fn geography_paths(&self) -> impl Iterator<Item = &Path> {
        let rules = self.maps.iter().flat_map(|map| &map.rules);
        let networks = rules.filter_map(|rule| rule.networks_file.as_ref()).map(|(path, _)| path.as_path());
        let measurements = self.latency.iter().filter_map(|latency| latency.file.as_ref());
        self.geoip.database_paths().chain(networks).chain(measurements.map(|(path, _)| path.as_path()))
    }
}

impl GeoIp {
    /// The files of the databases, as far as they are given.
    pub fn database_paths(&self) -> impl Iterator<Item = &Path> {
        [&self.database, &self.asn_database].into_iter().flatten().map(|(path, _)| path.as_path())
    }
}

/// One of `[[geoip.networks]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// The network, host bits zero.
    pub cidr: ipnet::IpNet,
    /// Where its clients are.
    pub place: Place,
}

/// Where the clients of a network are said to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// In this region (index into [`Config::regions`]): it comes first, the others by distance from it.
    Region(usize),
    /// At these coordinates.
    Location(Coordinates),
    /// In this country.
    Country(CountryCode),
}

/// `[latency]`: round trips between clients and regions, as they were measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    /// A CSV of measurements, with where the TOML names it; without one all come through the admin interface.
    pub file: Option<(PathBuf, Span)>,
    /// Which of them count: `max_age` is 1 s to 100 years, default 1 day; `min_confidence` is 0 to 1, default 0.5.
    pub rules: Rules,
}

/// `[regions.NAME]`
#[derive(Debug, Clone)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub location: Coordinates,
    /// Countries whose clients it claims whatever the distance.
    pub countries: Vec<CountryCode>,
    /// Continents likewise.
    pub continents: Vec<Continent>,
    /// Subdivisions (ISO 3166-2) likewise.
    pub subdivisions: Vec<Subdivision>,
    /// Autonomous systems likewise.
    pub asns: Vec<u32>,
    /// −99..=99: above 0 multiplies the distance by 1 − bias/100, below 0 divides it by 1 + bias/100.
    pub bias: i8,
    /// What it can bear, of all services that are steered by load.
    pub capacity: Option<Capacity>,
}

/// `capacity` and `target`: how much load a region or an endpoint can bear, in the service's [`CapacityUnit`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    /// Beyond this nothing more is sent there while anything else has room; above 0, at most [`MAX_CAPACITY`].
    pub most: f64,
    /// Beyond this load goes elsewhere while there is room under a target; above 0, at most `most`, default 80 % of it.
    pub target: f64,
}

/// The largest capacity, per second.
pub const MAX_CAPACITY: f64 = 1e9;

/// `[maps.NAME]`, or the `map` of one service.
#[derive(Debug, Clone)]
pub struct Map {
    /// Its name; that of the service where it stands in one.
    pub name: Arc<str>,
    /// The map whose rules also hold where this one has none for the same: an index into [`Config::maps`]. No chain of
    /// these loops.
    pub inherits: Option<usize>,
    /// In file order, at most [`MAX_RULES`]; then the default. No two for the same, as far as the files of networks aren't
    /// concerned.
    pub rules: Vec<MapRule>,
}

/// One of a map's rules.
#[derive(Debug, Clone)]
pub struct MapRule {
    /// Whom it is for, each with where the TOML says so.
    pub matchers: Vec<(Matcher, Span)>,
    /// A file of networks that it is for, with where the TOML names it.
    pub networks_file: Option<(PathBuf, Span)>,
    /// Indices into [`Config::regions`], none twice, the first to try first; empty where these clients get no data on
    /// purpose.
    pub regions: Vec<usize>,
    /// Whether they never leave these regions.
    pub fence: bool,
}

/// `[pools.NAME]`
#[derive(Debug, Clone)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// `probe`, or `health` and `require`: what says that its endpoints are well.
    pub health: PoolHealth,
    /// Healthy endpoints of the asked family that a region needs to serve; default 1, and at most as many as there are
    /// in the region that has most.
    pub min_healthy: u16,
    /// Whether an endpoint whose probes fail now and then gets less of the answers; default true.
    pub health_weighted: bool,
    /// How long an endpoint that comes up takes to its whole weight, 1 s to 1 day; default at once.
    pub slow_start: Option<Duration>,
    /// The age after which what is said of an endpoint's load no longer counts, 1 s to 1 day; default three intervals of
    /// the probe, or [`Pool::LOAD_MAX_AGE`] if that is more.
    pub load_max_age: Option<Duration>,
    /// How long a sticky balance keeps its clients on an endpoint that drains, up to 7 days; default 10 min. 0 is not at
    /// all.
    pub drain_time: Duration,
    /// `[pools.NAME.breaker]`: when endpoints are left out for a while; default never.
    pub breaker: Option<Breaker>,
    /// At least one, and [`MAX_ENDPOINTS`] in all pools. All are addresses, or all are hostnames; none twice in a region.
    pub endpoints: Vec<Endpoint>,
}

/// `[pools.NAME.breaker]`: when an endpoint's circuit breaker opens, and when it closes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// Failures in a row that open it, 1..=1000; default 5.
    pub failures: u32,
    /// The part of results within the window that opens it when they fail, 0.01..=1; default 0.5.
    pub error_rate: f64,
    /// Results that there must be in the window for a rate, 1..=1000000; default 20.
    pub min_reports: u32,
    /// How far back results count, 1 s to 1 h; default 10 s.
    pub window: Duration,
    /// How long it stays open at first, 1 s to 1 h; default 30 s. Doubled when it opens again, up to 8 times as long.
    pub open_for: Duration,
    /// The part of its weight with which an endpoint is tried again, 0.001..=1; default 0.05.
    pub half_open_share: f64,
    /// Successes meanwhile that close it, 1..=1000; default 3.
    pub successes: u32,
}

impl Breaker {
    /// Of a table without keys.
    pub const DEFAULT: Self = Self {
        failures: 5,
        error_rate: 0.5,
        min_reports: 20,
        window: Duration::from_secs(10),
        open_for: Duration::from_secs(30),
        half_open_share: 0.05,
        successes: 3,
    };
}

impl Pool {
    /// How long what is said of load counts at least, where the operator does not say.
    pub const LOAD_MAX_AGE: Duration = Duration::from_secs(30);

    /// Whether its endpoints are hostnames, so that a service that uses it is an alias. All are of the first's kind.
    pub fn has_hostnames(&self) -> bool {
        matches!(self.endpoints.first(), Some(Endpoint { target: Target::Hostname(_), .. }))
    }
}

/// One of a pool's endpoints.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Index into [`Config::regions`].
    pub region: usize,
    /// Where clients are sent.
    pub target: Target,
    /// Share among its region's endpoints, 0..=[`MAX_WEIGHT`]; 0 is drained. Default 1.
    pub weight: u32,
    /// What the operator wants of it; default enabled.
    pub state: EndpointState,
    /// When an enabled one begins to drain, in seconds since 1970; default never.
    pub drain_at: Option<u32>,
    /// What it can bear.
    pub capacity: Option<Capacity>,
    /// What is probed in its place.
    pub probe: ProbedAs,
}

/// How one endpoint is probed where that differs from its pool's probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ProbedAs {
    /// `probe_address`: where the probe goes in place of the endpoint's own address or hostname.
    pub address: Option<IpAddr>,
    /// `probe_port`: in place of the probe's, 1..=65535.
    pub port: Option<u16>,
    /// `probe_host`: in place of the probe's.
    pub host: Option<String>,
    /// `probe_path`: in place of the probe's, as [`HttpCheck::path`].
    pub path: Option<String>,
}

/// What an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Answered as A or AAAA.
    Address(IpAddr),
    /// Answered as CNAME.
    Hostname(Name),
}

impl Target {
    /// The address, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Hostname(_) => None,
        }
    }

    /// The hostname, if it is one.
    pub fn hostname(&self) -> Option<&Name> {
        match self {
            Self::Address(_) => None,
            Self::Hostname(name) => Some(name),
        }
    }
}

/// As an operator writes it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Hostname(name) => name.fmt(f),
        }
    }
}

/// What the operator wants of an endpoint.
///
/// An enabled one begins to drain at its `drain_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointState {
    /// Serves while healthy.
    Enabled,
    /// Takes no new clients.
    Draining,
    /// Never serves.
    Disabled,
}

/// `[zones.NAME]`
#[derive(Debug, Clone)]
pub struct Zone {
    /// The apex, lower case.
    pub name: Name,
    /// Where its records come from.
    pub origin: ZoneOrigin,
    /// Where the TOML names it.
    pub span: Span,
}

/// Where a zone's static records come from.
#[derive(Debug, Clone)]
pub enum ZoneOrigin {
    /// A master file.
    File {
        /// Its path.
        path: PathBuf,
        /// Where the TOML names it.
        span: Span,
    },
    /// SOA and NS made from these keys.
    Made {
        /// NS targets, at least one.
        nameservers: Vec<Name>,
        /// SOA RNAME; default `hostmaster` under the apex.
        hostmaster: Name,
        /// TTL of SOA and NS in seconds; default 1 h.
        ttl: u32,
        /// SOA MINIMUM in seconds; default 60 s.
        negative_ttl: u32,
    },
}

/// `[services.NAME]`
#[derive(Debug, Clone)]
pub struct Service {
    /// Its owner name, lower case; may begin with the label `*`.
    pub name: Name,
    /// Index into [`Config::zones`]: the closest zone that contains the name.
    pub zone: usize,
    /// Indices into [`Config::pools`]: `pool`, then up to 64 of `failover` in order; none twice. All have addresses, or
    /// all have hostnames: an alias is one for every type and in every cache (RFC 1034 section 3.6.2), so a name can't
    /// be one now and have addresses then.
    pub tiers: Vec<usize>,
    /// How the regions are ordered; default proximity.
    pub steering: Steering,
    /// Whose rules say where clients may be sent, ahead of the steering: an index into [`Config::maps`]. Always there
    /// where the steering is geo.
    pub map: Option<usize>,
    /// How endpoints are picked in the region; default weighted.
    pub balance: Balance,
    /// Within which prefix clients are one, where they are to get the same endpoints again; default none, but
    /// [`Sticky::DEFAULT`] for balances that are hashes.
    pub sticky: Option<Sticky>,
    /// Within which prefix clients are one, where regions that share clients are to keep theirs; default
    /// [`Sticky::DEFAULT`].
    pub region_sticky: Option<Sticky>,
    /// Addresses per answer, 1..=[`MAX_ANSWERS`]; default 1.
    pub answers: u8,
    /// The order in which they come; default shuffled.
    pub answer_order: AnswerOrder,
    /// Seconds that an answer lives; default `"30s"`.
    pub ttl: Ttl,
    /// What is answered when nothing is healthy; default serve-all.
    pub when_all_down: WhenAllDown,
    /// Its HTTPS record (RFC 9460); none where its endpoints are hostnames.
    pub https: Option<Binding>,
    /// Its SVCB record (RFC 9460); none where its endpoints are hostnames.
    pub svcb: Option<Binding>,
    /// Where the TOML names it.
    pub span: Span,
}

/// `ttl = "30s"` or `{ min = "5s", max = "30s" }`; in seconds, 0..=2^31−1, min ≤ max.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl {
    /// While a verdict is near a change or a failover is active; default half of `max`, at least 1 s where `max` is.
    pub min: u32,
    /// Else.
    pub max: u32,
}

/// `[services.NAME.https]` or `[services.NAME.svcb]`: how to connect to a service (RFC 9460).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// SvcPriority, above 0; the least is tried first. Default 1.
    pub priority: u16,
    /// TargetName; without one it is the service itself (`"."`, the default).
    pub target: Option<Name>,
    /// Names of protocols, each of 1 to 255 octets, in order of preference; up to 16, none twice. Without any, the
    /// scheme's default alone.
    pub alpn: Vec<Vec<u8>>,
    /// Whether the scheme's default protocol is not spoken; only where `alpn` has any. Default false.
    pub no_default_alpn: bool,
    /// Above 0; without it the scheme's default.
    pub port: Option<u16>,
    /// Whether the addresses that would be answered are in it, so that a client need not ask for them; never with a
    /// `target`. Default true without one.
    pub hints: bool,
}

/// How a service orders its regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steering {
    /// By claims, then distance.
    Proximity,
    /// By claims, then round trips as far as they are known.
    Latency,
    /// As the client's rule in the service's map says; then by proximity.
    Geo,
    /// In this order: `region_order`, else file order. Every region that the service's pools use, once.
    Priority(Vec<usize>),
    /// At random by weight: `region_weights`, as (region, weight) for each region that the service's pools use, 0 where
    /// not listed; without the key a region weighs what its endpoints weigh together.
    Weighted(Option<Vec<(usize, u32)>>),
    /// By claims, then distance, as far as capacities reach; a region or endpoint of the service has one.
    Load(CapacityUnit),
}

/// `capacity_unit`: what capacities are numbers of. All services by load that share a region count in the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapacityUnit {
    /// Answers per second, as counted here.
    Queries,
    /// Requests per second, as endpoints report them.
    Reported,
}

impl CapacityUnit {
    /// As the configuration has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queries => "queries",
            Self::Reported => "reported",
        }
    }
}

/// What is answered when no region of any tier can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhenAllDown {
    /// As though all endpoints were up, but for disabled and draining ones.
    ServeAll,
    /// These addresses, 1..=[`MAX_ANSWERS`], none twice.
    LastResort(Vec<IpAddr>),
    /// No data.
    NoData,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use super::*;

    fn parse(text: &str) -> Config {
        Config::parse(text, Path::new("/etc/meridian/meridian.toml")).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn name(text: &str) -> Name {
        Name::vec_from_str(text).unwrap()
    }

    const BASE: &str = r#"
        [server]
        listen = ["127.0.0.1:53"]
        [regions.b]
        location = [1, 2.5]
        [regions.a]
        location = [-90, 180]
        [regions.c]
        location = [0, 0]
        [probes.z]
        type = "http"
        [probes.y]
        type = "https"
        interval = "1s"
        [pools.p]
        probe = "y"
        endpoints = [{ region = "a", address = "192.0.2.1" }, { region = "b", address = "2001:db8::1", weight = 0 }]
        [pools.o]
        endpoints = [{ region = "c", address = "192.0.2.2" }]
        [pools.n]
        endpoints = [{ region = "c", hostname = "X.example.net." }]
        [zones."Example.com."]
        nameservers = ["ns.example.net"]
        [zones."a.example.com"]
        file = "../a.zone"
    "#;

    #[test]
    fn defaults() {
        let config = parse(&format!("{BASE}[services.\"www.example.com\"]\npool = \"p\""));
        let Server { workers, nsid, state_dir, user, group, tcp, .. } = config.server;
        assert_eq!((workers, nsid, state_dir, user, group), (0, None, None, None, None));
        assert_eq!(tcp, TcpLimits::DEFAULT);
        assert!(config.admin.is_none());
        assert_eq!(config.log, Log { format: LogFormat::Text, level: LogLevel::Info });
        assert!(config.geoip.database.is_none() && config.geoip.networks.is_empty());
        assert_eq!(config.regions[0].bias, 0);
        let timing = |interval_ms, timeout_ms| Timing {
            interval: Duration::from_millis(interval_ms),
            timeout: Duration::from_millis(timeout_ms),
            hold_down: Duration::from_millis(interval_ms),
            ..Timing::DEFAULT
        };
        assert_eq!(config.probes[0].timing, timing(10_000, 2_000));
        assert_eq!(config.probes[1].timing, timing(1_000, 500));
        let Check::Http(http) = &*config.probes[0].check else { panic!("not HTTP") };
        assert_eq!((&http.tls, http.port, &*http.method, &*http.path), (&None, 80, "GET", "/"));
        assert_eq!(http.expect_status, [200..=399]);
        let Check::Http(https) = &*config.probes[1].check else { panic!("not HTTPS") };
        let trust = Trust { verify: true, ca_file: None, client: None };
        assert_eq!(https.tls, Some(Tls { server_name: None, trust, min_days_left: 0 }));
        assert_eq!((https.port, https.version), (443, HttpVersion::Http1));
        assert_eq!(config.pools[0].min_healthy, 1);
        assert_eq!(config.pools[0].endpoints[0].weight, 1);
        assert_eq!(config.pools[0].endpoints[0].state, EndpointState::Enabled);
        let ZoneOrigin::Made { hostmaster, ttl, negative_ttl, .. } = &config.zones[0].origin else { panic!("a file") };
        assert_eq!((hostmaster, *ttl, *negative_ttl), (&name("hostmaster.example.com"), 3_600, 60));
        let service = &config.services[0];
        assert_eq!(service.steering, Steering::Proximity);
        assert_eq!((service.balance, service.answers), (Balance::Weighted, 1));
        assert_eq!(service.ttl, Ttl { min: 15, max: 30 });
        assert_eq!(service.when_all_down, WhenAllDown::ServeAll);
    }

    #[test]
    fn names_become_indices_in_file_order() {
        let config = parse(&format!(
            r#"{BASE}
            [services."*.A.example.com"]
            pool = "o"
            failover = ["p"]
            steering = "priority"
            region_order = ["c", "a"]
            [services."example.com"]
            pool = "p"
            steering = "weighted"
            region_weights = {{ a = 5 }}
            [services."x.example.com"]
            pool = "p"
            steering = "weighted"
            [services."y.example.com"]
            pool = "p"
            steering = "priority"
            [[geoip.networks]]
            cidr = "10.0.0.0/8"
            region = "c"
            "#
        ));
        let names: Vec<_> = config.regions.iter().map(|region| region.name.as_str()).collect();
        assert_eq!(names, ["b", "a", "c"]);
        assert_eq!(config.regions[0].location, Coordinates { latitude: 1.0, longitude: 2.5 });
        assert_eq!(config.geoip.networks[0].place, Place::Region(2));
        assert_eq!(config.pools[0].health, PoolHealth::of_probe(1));
        assert_eq!(config.pools[0].endpoints[0].region, 1);
        assert_eq!(config.pools[0].endpoints[1].weight, 0);
        assert_eq!(config.pools[2].endpoints[0].target, Target::Hostname(name("x.example.net")));
        let services: Vec<_> = config.services.iter().map(|it| (it.name.to_string(), it.zone, &*it.tiers)).collect();
        assert_eq!(
            services,
            [
                ("*.a.example.com".to_owned(), 1, &[1, 0][..]),
                ("example.com".to_owned(), 0, &[0]),
                ("x.example.com".to_owned(), 0, &[0]),
                ("y.example.com".to_owned(), 0, &[0]),
            ]
        );
        assert_eq!(config.services[0].steering, Steering::Priority(vec![2, 1, 0]));
        assert_eq!(config.services[1].steering, Steering::Weighted(Some(vec![(0, 0), (1, 5)])));
        assert_eq!(config.services[2].steering, Steering::Weighted(None));
        assert_eq!(config.services[3].steering, Steering::Priority(vec![0, 1]));
        assert_eq!(&config.source.text[config.zones[1].span.clone()], "\"a.example.com\"");
        let ZoneOrigin::File { path, span } = &config.zones[1].origin else { panic!("made") };
        assert_eq!(path, Path::new("/etc/meridian/../a.zone"));
        assert_eq!(&config.source.text[span.clone()], "\"../a.zone\"");
    }

    #[test]
    fn ttls() {
        for (ttl, min, max) in [
            ("\"0s\"", 0, 0),
            ("\"1s\"", 1, 1),
            ("\"3s\"", 1, 3),
            ("\"2m\"", 60, 120),
            ("{ max = \"10s\" }", 5, 10),
            ("{ min = \"10s\", max = \"10s\" }", 10, 10),
            ("{ min = \"0s\", max = \"2147483647s\" }", 0, MAX_TTL_SECS),
        ] {
            let config = parse(&format!("{BASE}[services.\"www.example.com\"]\npool = \"p\"\nttl = {ttl}"));
            assert_eq!(config.services[0].ttl, Ttl { min, max }, "{ttl}");
        }
    }

    #[test]
    fn bounds_of_what_may_be_many() {
        let with = |regions: usize, endpoints: usize| {
            let mut text = BASE.to_owned();
            for region in 3..regions {
                text.push_str(&format!("[regions.r{region}]\nlocation = [0, 0]\n"));
            }
            // The base has four endpoints.
            for (pool, count) in [(1, (endpoints - 4) / 2), (2, (endpoints - 4).div_ceil(2))] {
                text.push_str(&format!("[pools.many{pool}]\nendpoints = [\n"));
                for endpoint in 0..count {
                    let address = std::net::Ipv4Addr::from(0x0a00_0000 + u32::try_from(endpoint).unwrap());
                    text.push_str(&format!("{{ region = \"a\", address = \"{address}\" }},\n"));
                }
                text.push_str("]\n");
            }
            Config::parse(&text, Path::new("m.toml")).map_err(|problems| {
                let messages: Vec<_> = problems.0.into_iter().map(|problem| problem.message).collect();
                messages.join("; ")
            })
        };
        assert_eq!(with(MAX_REGIONS, MAX_ENDPOINTS).unwrap().regions.len(), MAX_REGIONS);
        assert_eq!(with(MAX_REGIONS + 1, 10).unwrap_err(), "1001 regions are too many");
        let expected = "with the 49999 endpoints of this pool there are more than 100000";
        assert_eq!(with(5, MAX_ENDPOINTS + 1).unwrap_err(), expected);
    }

    #[test]
    fn files_that_cannot_be_read() {
        let folder = std::env::temp_dir().join(format!("meridian-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let problem = |file: &str| {
            let problems = Config::load(&folder.join(file)).unwrap_err().to_string();
            problems.replace(&folder.display().to_string(), "FOLDER")
        };
        std::fs::write(folder.join("latin1.toml"), b"[server]\nnsid = \"\xe9\"\n").unwrap();
        std::fs::File::create(folder.join("large.toml")).unwrap().set_len(MAX_FILE_BYTES as u64 + 1).unwrap();
        let expected = "error: can't read the configuration FOLDER/none.toml: No such file or directory (os error 2)\n";
        assert_eq!(problem("none.toml"), expected);
        assert!(problem("").starts_with("error: can't read the configuration FOLDER/: "));
        let expected = "error: the configuration FOLDER/latin1.toml isn't UTF-8 in line 2\n";
        assert!(problem("latin1.toml").starts_with(expected));
        assert!(problem("large.toml").starts_with("error: the configuration FOLDER/large.toml is too large\n"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_file_is_read_or_refused(
            damages in proptest::collection::vec((0.0..1.0_f64, 0..80_usize, "[\\[\\]{}\"=.,#a-z0-9é \n-]{0,6}"), 1..4)
        ) {
            let mut text: Vec<char> = include_str!("../../config/full.toml").chars().collect();
            for (place, length, replacement) in damages {
                let start = (place * text.len() as f64) as usize;
                let end = text.len().min(start + length);
                text.splice(start..end, replacement.chars());
            }
            let text: String = text.into_iter().collect();
            if let Err(problems) = Config::parse(&text, Path::new("m.toml")) {
                proptest::prop_assert!(!problems.0.is_empty());
                let starts: Vec<_> = problems.0.iter().map(|it| it.place.as_ref().map(|(_, span)| span.start)).collect();
                proptest::prop_assert!(starts.is_sorted(), "{problems}");
            }
        }
    }
}
