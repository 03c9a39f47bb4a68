//! Round trips from a file and through the admin interface change answers without a signal.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::REGIONS;
use crate::support::binary::Meridian;
use crate::support::dns::ask;
use crate::support::folder::Folder;
use crate::support::wait_until;

const TOKEN: &str = "a-token-for-tests-only";

/// Both regions' times for the benchmark network.
fn measured(us: u32, eu: u32) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 60;
    format!("network,region,ms,measured\n198.18.0.0/16,us-east,{us},{now}\n198.18.0.0/16,eu-central,{eu},{now}\n")
}

#[test]
fn measurements_are_taken_in_without_a_signal() {
    let folder = Folder::new("latency");
    folder.put("latency.csv", measured(10, 20));
    let token = folder.put_secret("admin.token", TOKEN);
    let config = format!(
        r#"
{REGIONS}
server.listen = ["127.0.0.1:0"]
admin = {{ listen = "127.0.0.1:0", token_file = "{}" }}
latency.file = "latency.csv"
zones."geo.example".nameservers = ["ns1.example.net"]

[pools.web]
endpoints = [
  {{ region = "us-east", address = "192.0.2.1" }},
  {{ region = "eu-central", address = "192.0.2.2" }},
]
[services."www.geo.example"]
pool = "web"
steering = "latency"
"#,
        token.display()
    );
    let meridian = Meridian::serve(&folder.put("meridian.toml", &config));
    let says = || ask(meridian.dns, "www.geo.example A 198.18.1.0/24").to_string();
    assert_eq!(says(), "NoError 192.0.2.1");

    // What waits for a restart is told of when it is read, and not whenever measurements come.
    folder.put("meridian.toml", format!("server.workers = 2\n{config}"));
    assert!(meridian.reload().contains("it takes effect after a restart"));
    let before = meridian.process.written();
    folder.put("latency.csv", measured(20, 10));
    let log = meridian.wait_for_reload(before);
    assert!(!log.contains("it takes effect after a restart"), "{log}");
    assert_eq!(says(), "NoError 192.0.2.2");

    // One with a bad line leaves all as it is.
    let before = meridian.process.written();
    folder.put("latency.csv", measured(10, 20) + "198.18.0.0/16,mars,1,1700000000\n");
    let log = meridian.wait_for_reload(before);
    assert!(log.contains("latency.csv:4: unknown region"), "{log}");
    assert_eq!(says(), "NoError 192.0.2.2");

    // What arrives is taken in although the file is still bad.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let body = format!(
        "{{\"measurements\": [{{\"network\": \"198.18.0.0/16\", \"region\": \"us-east\", \"ms\": 5, \"measured\": {now}}}]}}"
    );
    let response = meridian.post("/api/v1/latency", TOKEN, &body);
    assert!(response.contains("\"accepted\":1"), "{response}");
    wait_until("the measurement to be taken in", || says() == "NoError 192.0.2.1");
}
