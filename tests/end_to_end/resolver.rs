//! A real resolver between clients and Meridian: unbound, which keeps an answer for each scope.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use hickory_proto::op::ResponseCode;

use crate::support::binary::Meridian;
use crate::support::dns::Client;
use crate::support::folder::Folder;
use crate::support::free_port;
use crate::support::process::Process;
use crate::{REGIONS, SERVER};

/// A copy of unbound's program in this folder: Debian's AppArmor profile, which goes by the path, keeps the original from
/// reading a configuration that isn't in /etc.
fn copy_unbound(folder: &Folder) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Not in the path of those who aren't root.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let program = folders.map(|folder| folder.join("unbound")).find(|program| program.is_file());
    let program = program.expect("this test runs `unbound`: apt-get install unbound (tests/run does)");
    let copy = folder.path("unbound");
    // By another process: a child that is just being started would hold on to a file that this one writes, and what is
    // held open for writing can't be run.
    assert!(Command::new("cp").arg(program).arg(&copy).status().unwrap().success());
    copy
}

/// Starts unbound with client subnets on, and with `zone` at `server`.
fn start_unbound(folder: &Folder, zone: &str, server: SocketAddr) -> (Process, SocketAddr) {
    let program = copy_unbound(folder);
    let version = Command::new(&program).arg("-V").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(version.contains("subnetcache"), "this unbound knows no client subnets:\n{version}");

    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let config = format!(
        r#"
server:
  interface: {ip}
  port: {port}
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  logfile: ""
  num-threads: 1
  module-config: "subnetcache iterator"
  send-client-subnet: {upstream}
  client-subnet-always-forward: yes
  max-client-subnet-ipv4: 24
  max-client-subnet-ipv6: 56
remote-control:
  control-enable: no
stub-zone:
  name: "{zone}"
  stub-addr: {upstream}@{upstream_port}
"#,
        ip = address.ip(),
        port = address.port(),
        directory = folder.path("").display(),
        upstream = server.ip(),
        upstream_port = server.port(),
    );
    let config = folder.put("unbound.conf", config);
    let unbound = Process::start(Command::new(program).args(["-d", "-p", "-c"]).arg(config));
    unbound.wait_for("unbound's start", 0, |line| line.contains("start of service").then_some(()));
    (unbound, address)
}

#[test]
fn one_cache_serves_each_subnet_its_own_region() {
    let folder = Folder::new("resolver");
    let config = format!(
        r#"
{REGIONS}{SERVER}

# Neither is in the built-in database, and each is the other's neighbour.
[[geoip.networks]]
cidr = "198.18.0.0/16"
region = "eu-central"
[[geoip.networks]]
cidr = "198.19.0.0/16"
region = "ap-southeast"

[pools.web]
endpoints = [
  {{ region = "us-east", address = "192.0.2.1" }},
  {{ region = "eu-central", address = "192.0.2.2" }},
  {{ region = "ap-southeast", address = "192.0.2.3" }},
]
[services."www.geo.example"]
pool = "web"
[services."same.geo.example"]
pool = "web"
steering = "priority"
"#
    );
    let meridian = Meridian::serve(&folder.put("meridian.toml", config));
    let (_unbound, resolver) = start_unbound(&folder, "geo.example", meridian.dns);
    let mut client = Client::new(resolver);

    let [us, eu, ap] = ["NoError 192.0.2.1", "NoError 192.0.2.2", "NoError 192.0.2.3"];
    // The question, the answer, the scope that the client sees, and whether Meridian is asked.
    let steps = [
        ("www.geo.example A 198.18.1.0/24", eu, Some(16), 1),
        ("www.geo.example A 198.19.1.0/24", ap, Some(16), 1),
        ("www.geo.example A 198.18.200.0/24", eu, Some(16), 0),
        ("www.geo.example A 198.19.200.0/24", ap, Some(16), 0),
        ("www.geo.example A 198.18.1.0/24", eu, Some(16), 0),
        // What doesn't depend on the client is kept once for all.
        ("same.geo.example A 198.18.1.0/24", us, Some(0), 1),
        ("same.geo.example A 198.19.1.0/24", us, Some(0), 0),
        ("same.geo.example A 203.0.113.0/24", us, Some(0), 0),
        // So is what doesn't exist: no such name, and no such type.
        ("none.geo.example A 198.18.1.0/24", "NXDomain", Some(0), 1),
        ("none.geo.example A 198.19.1.0/24", "NXDomain", Some(0), 0),
        ("none.geo.example A 203.0.113.0/24", "NXDomain", Some(0), 0),
        ("www.geo.example AAAA 198.18.1.0/24", "NoError", Some(0), 1),
        ("www.geo.example AAAA 198.19.1.0/24", "NoError", Some(0), 0),
        ("www.geo.example AAAA 203.0.113.0/24", "NoError", Some(0), 0),
    ];
    for (number, (question, expected, scope, asked)) in steps.into_iter().enumerate() {
        // By type, as a resolver that minimises names (RFC 9156) may ask for another one first.
        let rtype = question.split(' ').nth(1).unwrap();
        let queries = || meridian.metric("meridian_queries_total", &format!("type=\"{rtype}\""));
        let before = queries();
        let answer = client.ask(&question.parse().unwrap());
        let queries = queries() - before;
        let got = (answer.to_string(), answer.scope, queries);
        assert_eq!(got, (expected.to_owned(), scope, f64::from(asked)), "step {number}: {question}");
        assert!(!answer.data.is_empty() || answer.denies(answer.rcode), "step {number}: {answer:?}");
    }
    assert_eq!(meridian.metric("meridian_queries_total", "rcode=\"NXDOMAIN\""), 1.0);
    assert_ne!(client.ask(&"www.geo.example A".parse().unwrap()).rcode, ResponseCode::ServFail);
}
