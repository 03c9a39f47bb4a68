//! The real binary, seen from outside: what an operator does to it, and what clients, resolvers and attackers see.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod demo;
mod disk;
mod encrypted;
mod failover;
mod flood;
mod geoip;
mod hostile;
mod hostnames;
mod inputs;
mod latency;
mod logs;
mod overrides;
mod pause;
mod probes;
mod reload;
mod reports;
mod resolver;
mod start;
#[path = "../support/mod.rs"]
mod support;

/// Three regions, in the order in which clients whose place isn't known try them; at the top of a configuration.
const REGIONS: &str = "
regions.us-east.location = [39.04, -77.49]
regions.eu-central.location = [50.11, 8.68]
regions.ap-southeast.location = [-33.87, 151.21]
";
/// A server with its admin interface, and a zone without a file.
const SERVER: &str = r#"
server.listen = ["127.0.0.1:0"]
admin.listen = "127.0.0.1:0"
zones."geo.example".nameservers = ["ns1.example.net"]
"#;

/// Networks of universities, in the built-in database.
const FRANKFURT: &str = "141.2.0.0/16";
const BOSTON: &str = "18.7.0.0/16";
const SYDNEY: &str = "129.78.0.0/16";
