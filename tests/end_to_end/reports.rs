//! What backends say of their load in answers to probes changes how often they are answered.

use std::net::Ipv4Addr;

use crate::support::backend::Backend;
use crate::support::binary::Meridian;
use crate::support::dns::ask;
use crate::support::folder::Folder;
use crate::support::wait_until;
use crate::{REGIONS, SERVER};

const ASKED: usize = 200;

#[test]
fn a_load_header_changes_a_backends_share_of_the_answers() {
    let [first, second] = Backend::start_all([1, 2].map(|host| Ipv4Addr::new(127, 0, 12, host)));
    let config = format!(
        r#"
{REGIONS}{SERVER}
[probes.web]
type = "http"
path = "/"
port = {}
interval = "200ms"
timeout = "200ms"
[pools.web]
probe = "web"
endpoints = [
  {{ region = "us-east", address = "127.0.12.1" }},
  {{ region = "us-east", address = "127.0.12.2" }},
]
[services."www.geo.example"]
pool = "web"
balance = "resource-aware"
"#,
        first.address.port()
    );
    let folder = Folder::new("reports");
    let meridian = Meridian::serve(&folder.put("meridian.toml", config));
    meridian.wait_for_verdicts(&[]);
    let share_of_first = || {
        let answers = (0..ASKED).map(|_| ask(meridian.dns, "www.geo.example A").to_string());
        answers.filter(|answer| answer == "NoError 127.0.12.1").count() as f64 / ASKED as f64
    };
    // Nine to one, either way; five standard deviations are 0.11.
    first.say("endpoint-load-metrics: TEXT cpu_utilization=0.9");
    second.say("endpoint-load-metrics-json: {\"cpuUtilization\": 0.1}");
    wait_until("the idle one to be answered more", || share_of_first() < 0.25);
    first.say("endpoint-load-metrics: JSON {\"cpu_utilization\": 0.1}");
    second.say("endpoint-load-metrics: TEXT cpu_utilization=0.9");
    wait_until("the loads to have changed places", || share_of_first() > 0.75);
    let metrics = meridian.get("/metrics");
    let load = r#"{pool="web",region="us-east",endpoint="127.0.12.2",measure="utilization"} 0.9"#;
    assert!(metrics.contains(load), "{metrics}");
}
