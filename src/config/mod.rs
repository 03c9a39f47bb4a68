//! The configuration: TOML as written, checked, and resolved to indices.
//!
//! [`Config::load`] reads a file and [`Config::parse`] a text. Both report every problem at once as [`Problems`].
//! What comes out refers to regions, probes and pools by their index in the vectors of [`Config`], in file order;
//! names are kept for people only. Nothing here opens any other file than the TOML itself: zone files and
//! databases are named by absolute or TOML-relative paths that are already resolved.

pub mod diagnostic;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use diagnostic::{Problem, Problems, Source};

use crate::geo::{Continent, Coordinates, CountryCode, Subdivision};
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
    /// `[regions.*]` in file order, at most [`MAX_REGIONS`].
    pub regions: Vec<Region>,
    /// `[probes.*]` in file order.
    pub probes: Vec<Arc<Probe>>,
    /// `[pools.*]` in file order.
    pub pools: Vec<Pool>,
    /// `[zones.*]` in file order.
    pub zones: Vec<Zone>,
    /// `[services.*]` in file order.
    pub services: Vec<Service>,
}

/// Regions in one configuration.
pub const MAX_REGIONS: usize = 1_000;
/// The largest weight of an endpoint or a region.
pub const MAX_WEIGHT: u32 = 1 << 20;
/// The most addresses in one answer.
pub const MAX_ANSWERS: usize = 16;

/// A place in the TOML text, as byte offsets.
pub type Span = Range<usize>;

/// `[server]`: where and how queries are served.
#[derive(Debug, Clone)]
pub struct Server {
    /// UDP and TCP addresses; at least one.
    pub listen: Vec<SocketAddr>,
    /// UDP threads per address; 0 means one per core. At most 256.
    pub workers: usize,
    /// RFC 5001 identifier, 1 to 64 octets.
    pub nsid: Option<Vec<u8>>,
    /// Where operator overrides and last known health are kept.
    pub state_dir: Option<PathBuf>,
    /// The user to become once the sockets are bound.
    pub user: Option<String>,
    /// The group to become once the sockets are bound; the user's own where only `user` is given.
    pub group: Option<String>,
    /// Limits on TCP.
    pub tcp: TcpLimits,
}

/// `[server.tcp]`: bounds on TCP connections (RFC 7766 section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpLimits {
    /// Open connections in all; default 1000.
    pub connections: usize,
    /// Open connections of one client address; default 50.
    pub connections_per_client: usize,
    /// How long a connection may stay open without a whole query; default 10 s.
    pub idle_timeout: Duration,
    /// How long the client may take to accept a response; default 5 s.
    pub write_timeout: Duration,
}

/// `[admin]`: the HTTP interface.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Its address.
    pub listen: SocketAddr,
    /// The file with the bearer token; always given when `listen` is not loopback.
    pub token_file: Option<PathBuf>,
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: LogLevel,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of words.
    Text,
    /// One JSON object per line.
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
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
}

/// `[probes.NAME]`. Two probes that differ in their name only are identical.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its name.
    pub name: String,
    /// What is done and what is expected.
    pub check: Check,
    /// What makes verdicts of the results.
    pub timing: Timing,
}

/// When a probe runs and what its results mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timing {
    /// From one start to the next; 100 ms to 1 day, default 10 s.
    pub interval: Duration,
    /// Longer is a failure; below the interval, default 2 s or the interval's half if less.
    pub timeout: Duration,
    /// Failures in a row until down, 1..=100, default 3.
    pub fall: u8,
    /// Successes in a row until up, 1..=100, default 2.
    pub rise: u8,
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Check {
    /// `type = "http"` or `"https"`
    Http(HttpCheck),
    /// `type = "tcp"`: the connection is accepted on this port.
    Tcp {
        /// The port, 1..=65535.
        port: u16,
    },
}

/// An HTTP request and the response expected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpCheck {
    /// HTTPS with the certificate verified.
    pub tls: bool,
    /// GET, HEAD, POST, PUT or OPTIONS; default GET.
    pub method: String,
    /// Path and query, beginning with `/`; default `/`.
    pub path: String,
    /// Default 80, or 443 with TLS.
    pub port: u16,
    /// The Host header and TLS server name; default the endpoint's own address or hostname.
    pub host: Option<String>,
    /// Further headers, in file order.
    pub headers: Vec<(String, String)>,
    /// Statuses that are a success; default 200..=399 (a redirect is not followed: list 3xx out to refuse it).
    pub expect_status: Vec<RangeInclusive<u16>>,
    /// Text that the first 64 KiB of the body must contain; not empty.
    pub expect_body: Option<String>,
    /// PEM file of the authorities to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// `[pools.NAME]`
#[derive(Debug, Clone)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Index into [`Config::probes`]; without one its endpoints count as up.
    pub probe: Option<usize>,
    /// Healthy endpoints of the asked family that a region needs to serve, 1..=65535; default 1.
    pub min_healthy: u16,
    /// At least one. All endpoints of one region are addresses, or all are hostnames; none twice in a region.
    pub endpoints: Vec<Endpoint>,
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
}

/// What an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Answered as A or AAAA.
    Address(IpAddr),
    /// Answered as CNAME.
    Hostname(Name),
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// Indices into [`Config::pools`]: `pool`, then `failover` in order; none twice.
    pub tiers: Vec<usize>,
    /// How the regions are ordered.
    pub steering: Steering,
    /// How endpoints are picked in the region.
    pub balance: Balance,
    /// Addresses per answer, 1..=[`MAX_ANSWERS`]; default 1.
    pub answers: u8,
    /// Seconds that an answer lives.
    pub ttl: Ttl,
    /// What is answered when nothing is healthy.
    pub when_all_down: WhenAllDown,
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

/// How a service orders its regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steering {
    /// By claims, then distance.
    Proximity,
    /// In this order: `region_order`, else file order. Every region that the service's pools use, once.
    Priority(Vec<usize>),
    /// At random by weight: `region_weights`, as (region, weight) for each region that the service's pools use, 0 where
    /// not listed; without the key a region weighs what its healthy endpoints weigh together.
    Weighted(Option<Vec<(usize, u32)>>),
}

/// How endpoints are picked inside the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// By weight, at random.
    Weighted,
    /// In turn; weights only tell drained from not.
    RoundRobin,
    /// Evenly at random; weights only tell drained from not.
    Random,
}

/// What is answered when no region of any tier can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhenAllDown {
    /// As though all endpoints were up, but for disabled and draining ones.
    ServeAll,
    /// These addresses.
    LastResort(Vec<IpAddr>),
    /// No data.
    NoData,
}
