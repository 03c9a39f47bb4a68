//! An endpoint whose health depends on several things, each of which dies and returns.

use std::net::{Ipv4Addr, TcpListener};

use serde_json::Value;

use crate::support::backend::Backend;
use crate::support::binary::Meridian;
use crate::support::dns::ask;
use crate::support::folder::Folder;
use crate::support::wait_until;
use crate::{REGIONS, SERVER};

/// What it depends on, and the last part of the address of each.
const INPUTS: [(&str, u8); 4] = [("web", 1), ("api", 1), ("beta", 1), ("database", 9)];

/// Whether what the interface says of an input is of this one.
fn is_of(input: &Value, name: &str, backend: &Backend) -> bool {
    let said = input["input"].as_str().unwrap();
    said == format!("pool {name}") || said.contains(&format!("{}/", backend.address))
}

#[test]
fn what_an_endpoint_depends_on_takes_it_away_as_configured() {
    let start = |(_, host)| Backend::start_on(TcpListener::bind((Ipv4Addr::new(127, 0, 24, host), 0)).unwrap());
    let mut backends = INPUTS.map(start);
    let mut config = format!("{REGIONS}{SERVER}");
    for ((name, _), backend) in INPUTS.iter().zip(&backends) {
        config += &format!(
            r#"
[probes.{name}]
type = "http"
path = "/"
port = {}
interval = "200ms"
timeout = "180ms"
fall = 2
rise = 1
hold_down = "0s"
"#,
            backend.address.port()
        );
    }
    config += r#"
[pools.shop]
health = [
  { probe = "web", must_pass = true },
  { probe = "api" },
  { pool = "database" },
  { probe = "beta", monitoring_only = true },
]
require = 2
endpoints = [{ region = "us-east", address = "127.0.24.1" }]
[pools.database]
probe = "database"
endpoints = [{ region = "us-east", address = "127.0.24.9" }]
[pools.spare]
endpoints = [{ region = "us-east", address = "127.0.24.99" }]
[services."www.geo.example"]
pool = "shop"
failover = ["spare"]
"#;
    let folder = Folder::new("inputs");
    let meridian = Meridian::serve(&folder.put("meridian.toml", config));
    let shop = || -> Value {
        let health: Value = serde_json::from_str(&meridian.get("/api/v1/health")).unwrap();
        health["endpoints"].as_array().unwrap().iter().find(|endpoint| endpoint["pool"] == "shop").unwrap().clone()
    };
    // What becomes of it where these are dead. One of `api` and `database` suffices.
    let cases: [(&[&str], &str); 6] = [
        (&[], "up"),
        (&["beta"], "up"),
        (&["api"], "up"),
        (&["database"], "up"),
        (&["web"], "down"),
        (&["api", "database"], "down"),
    ];
    let is_taken_away =
        |line: &str| line.contains("endpoint is taken away") && line.contains("shop/us-east/127.0.24.1");
    let mut takings = 0;
    for (dead, expected) in cases {
        let told = meridian.process.written();
        let is_dead = |name: &str| dead.contains(&name);
        let switched = |backends: &mut [Backend], switch: fn(&mut Backend)| {
            INPUTS.iter().zip(backends).filter(|((name, _), _)| is_dead(name)).for_each(|(_, backend)| switch(backend));
        };
        switched(&mut backends, Backend::stop);
        wait_until(&format!("{dead:?} and no others are found dead"), || {
            let shop = shop();
            let inputs = shop["inputs"].as_array().unwrap();
            INPUTS.iter().zip(&backends).all(|((name, _), backend)| {
                let input = inputs.iter().find(|input| is_of(input, name, backend)).unwrap();
                input["verdict"] == if is_dead(name) { "down" } else { "up" }
            })
        });
        let shop = shop();
        assert_eq!(shop["verdict"], expected, "{dead:?}: {shop}");
        let answered = if expected == "up" { "NoError 127.0.24.1" } else { "NoError 127.0.24.99" };
        assert_eq!(ask(meridian.dns, "www.geo.example A").to_string(), answered, "{dead:?}");
        if expected == "down" {
            takings += 1;
            meridian.process.wait_for("a line of it", told, |line| is_taken_away(line).then_some(()));
        }
        switched(&mut backends, Backend::start);
    }
    assert_eq!(meridian.process.text().lines().filter(|line| is_taken_away(line)).count(), takings);
}
