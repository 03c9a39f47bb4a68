//! A configuration with a bit of everything, its health as wanted, and a client for HTTP.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian::config::Target;
use meridian::health::{Details, Failure, Observation};
use meridian::reload::{Loader, Origin, Prepared};
use meridian::snapshot::Publisher;
use serde_json::Value;

use crate::http::TOKEN;

/// Longer than anything here takes on the slowest machine: to wait so long is to fail.
const PATIENCE: Duration = Duration::from_secs(10);

/// Clients: 10.1/16 is in Berlin, 10.2/16 in Australia, 10.3/16 is put into us-east, 10.4/16 is in Vienna.
pub(crate) const CONFIGURATION: &str = r#"
[server]
listen = ["127.0.0.1:5353"]
workers = 1

[[geoip.networks]]
cidr = "10.1.0.0/16"
location = [52.5, 13.4]
[[geoip.networks]]
cidr = "10.2.0.0/16"
country = "AU"
[[geoip.networks]]
cidr = "10.3.0.0/16"
region = "us-east"
[[geoip.networks]]
cidr = "10.4.0.0/16"
country = "AT"

[regions.us-east]
location = [39.04, -77.49]
countries = ["AT"]
[regions.eu-central]
location = [50.11, 8.68]
[regions.ap-southeast]
location = [-33.87, 151.21]
bias = 50

[probes.web]
type = "tcp"
port = 80
interval = "5s"
fall = 3
rise = 2

[pools.web]
probe = "web"
endpoints = [
  { region = "us-east", address = "192.0.2.1", weight = 3 },
  { region = "us-east", address = "192.0.2.2" },
  { region = "eu-central", address = "198.51.100.1" },
  { region = "eu-central", address = "198.51.100.2", state = "draining" },
  { region = "eu-central", address = "2001:db8::1" },
]

[pools.pairs]
probe = "web"
min_healthy = 2
endpoints = [
  { region = "eu-central", address = "198.51.100.1" },
  { region = "eu-central", address = "198.51.100.3" },
  { region = "us-east", address = "192.0.2.1" },
  { region = "us-east", address = "192.0.2.2" },
]

[pools.spare]
endpoints = [{ region = "ap-southeast", address = "203.0.113.1" }]

[pools.off]
endpoints = [{ region = "us-east", address = "192.0.2.9", weight = 0 }, { region = "us-east", address = "192.0.2.8", state = "disabled" }]

[pools.cdn]
endpoints = [
  { region = "us-east", hostname = "www.example.com" },
  { region = "eu-central", hostname = "eu.cdn.example.net" },
]

[zones."example.com"]
nameservers = ["ns1.example.net"]

[services."www.example.com"]
pool = "web"
failover = ["spare"]
ttl = { min = "5s", max = "60s" }

[services."open.example.com"]
pool = "web"
balance = "random"

[services."last.example.com"]
pool = "web"
when_all_down = "last-resort"
last_resort = ["203.0.113.80"]

[services."silent.example.com"]
pool = "web"
when_all_down = "nodata"

[services."pairs.example.com"]
pool = "pairs"
steering = "priority"
region_order = ["eu-central", "us-east"]
balance = "round-robin"
answers = 2

[services."drawn.example.com"]
pool = "web"
steering = "weighted"
region_weights = { us-east = 1, eu-central = 3 }

[services."off.example.com"]
pool = "off"

[services."*.apps.example.com"]
pool = "cdn"
"#;

/// A configuration, loaded.
pub(crate) fn prepared(configuration: &str) -> (Loader, Prepared) {
    let mut loader = Loader::new(Origin::Embedded(configuration.to_owned()));
    let prepared = loader.load().unwrap_or_else(|problems| panic!("{problems}"));
    (loader, prepared)
}

/// The configuration, published, with verdicts made at `now`: these addresses are down and all others up.
pub(crate) fn published(down: &[&str], now: Instant) -> Publisher {
    published_of(CONFIGURATION, down, now)
}

/// As [`published`], of another configuration.
pub(crate) fn published_of(configuration: &str, down: &[&str], now: Instant) -> Publisher {
    let publisher = Publisher::new(prepared(configuration).1.compiled);
    observe(&publisher, down, 3, now);
    publisher
}

/// Makes this many observations of every target: of a refusal at these addresses, and of success at all others.
pub(crate) fn observe(publisher: &Publisher, down: &[&str], times: usize, now: Instant) {
    let keys: Vec<_> = publisher.health().targets().iter().map(|target| Arc::clone(&target.key)).collect();
    for key in keys {
        let Target::Address(address) = key.target else { panic!("only addresses are probed here") };
        let is_down = down.contains(&address.to_string().as_str());
        let outcome = if is_down { Err(Failure::Refused) } else { Ok(()) };
        let took = Duration::from_millis(4);
        for _ in 0..times {
            let observation =
                Observation { took, address: Some(address), outcome: outcome.clone(), details: Details::default() };
            publisher.observe([(Arc::clone(&key), observation)], now);
        }
    }
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// By their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// Asks for a page, with these header lines.
pub(crate) fn get(server: SocketAddr, path: &str, headers: &str) -> Response {
    request(server, &format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n{headers}\r\n"))
}

/// Sends a request as it is.
pub(crate) fn request(server: SocketAddr, request: &str) -> Response {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole response: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok()).unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Response { status, headers, body: body.to_owned() }
}

/// Asks for a page with the token.
pub(crate) fn read(server: SocketAddr, page: &str) -> Response {
    get(server, page, &format!("Authorization: Bearer {TOKEN}\r\n"))
}

/// Sends a body with the token and these header lines, by a method to a page.
pub(crate) fn send(server: SocketAddr, what: &str, headers: &str, body: &str) -> Response {
    let length = body.len();
    let head = format!("{what} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Length: {length}\r\n");
    request(server, &format!("{head}Authorization: Bearer {TOKEN}\r\n{headers}\r\n{body}"))
}

/// The same of JSON, which is answered by JSON.
pub(crate) fn send_json(server: SocketAddr, what: &str, body: &Value) -> (u16, Value) {
    let response = send(server, what, "Content-Type: application/json; charset=utf-8\r\n", &body.to_string());
    (response.status, serde_json::from_str(&response.body).unwrap())
}

/// Which of what was sent is not taken, and why.
pub(crate) fn rejections(answer: &Value) -> Vec<(usize, &str)> {
    let told = answer["rejections"].as_array().unwrap().iter();
    told.map(|told| (told["index"].as_u64().unwrap() as usize, told["reason"].as_str().unwrap())).collect()
}
