//! Endpoints that are hostnames, whose addresses move while they are probed. The server's name server is the test's own, by an
//! /etc/resolv.conf that only the server sees.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::support::backend::Backend;
use crate::support::binary::Meridian;
use crate::support::dns::ask;
use crate::support::folder::Folder;
use crate::support::{skip, wait_until};
use crate::{REGIONS, SERVER};

const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 32, 53);

/// What a name server says of every name, for a second.
#[derive(Debug, Clone)]
enum Says {
    /// That it has these addresses.
    Addresses(Vec<Ipv4Addr>),
    /// That there is no such name.
    NoName,
    Nothing,
}

/// A name server at the one port that a resolv.conf knows.
struct NameServer(Arc<Mutex<Says>>);

impl NameServer {
    /// Nothing where this user may not listen there.
    fn start(says: Says) -> Option<Self> {
        let socket = UdpSocket::bind((NAME_SERVER, 53)).ok()?;
        let says = Arc::new(Mutex::new(says));
        let told = Arc::clone(&says);
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut query) {
                let answer = answer(&query[..length], &told.lock().unwrap());
                answer.map(|answer| socket.send_to(&answer, peer));
            }
        });
        Some(Self(says))
    }

    fn say(&self, says: Says) {
        *self.0.lock().unwrap() = says;
    }
}

fn answer(query: &[u8], says: &Says) -> Option<Vec<u8>> {
    // Behind the name follow the type and the class, and behind those what is said of EDNS.
    let end = 12 + query[12..].iter().position(|octet| *octet == 0)? + 5;
    let is_a = query[end - 3] == 1;
    let (rcode, addresses) = match says {
        Says::Addresses(addresses) => (0, addresses.as_slice()),
        Says::NoName => (3, &[][..]),
        Says::Nothing => return None,
    };
    let addresses = if is_a { addresses } else { &[] };
    let record = |address: &Ipv4Addr| [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4], &address.octets()[..]].concat();
    let records: Vec<u8> = addresses.iter().flat_map(record).collect();
    let header = [query[0], query[1], 0x85, 0x80 | rcode, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0];
    Some([&header, &query[12..end], &records].concat())
}

#[test]
fn a_hostname_is_probed_where_it_leads_now() {
    let [first, second, mut third] = Backend::start_all([1, 2, 3].map(|host| Ipv4Addr::new(127, 0, 32, host)));
    let of = |backend: &Backend| match backend.address.ip() {
        std::net::IpAddr::V4(address) => address,
        std::net::IpAddr::V6(address) => panic!("{address}"),
    };
    let (one, two, three) = (of(&first), of(&second), of(&third));
    third.stop();
    let Some(name_server) = NameServer::start(Says::Addresses(vec![one])) else {
        skip(&format!("nobody but root may be a name server at {NAME_SERVER}"));
        return;
    };
    let folder = Folder::new("hostnames");
    let config = format!(
        r#"
{REGIONS}{SERVER}
[probes.web]
type = "http"
port = {}
interval = "300ms"
timeout = "250ms"
fall = 2
rise = 2
hold_down = "0s"
[pools.web]
probe = "web"
endpoints = [{{ region = "us-east", hostname = "web.backends.example" }}]
[pools.spare]
endpoints = [{{ region = "us-east", hostname = "spare.backends.example" }}]
[services."www.geo.example"]
pool = "web"
failover = ["spare"]
"#,
        first.address.port()
    );
    let resolv_conf = folder.put("resolv.conf", format!("nameserver {NAME_SERVER}\n"));
    let mount = "mount --bind \"$0\" /etc/resolv.conf";
    let Some(mut command) = Meridian::within_mounts(mount, &resolv_conf, &folder.put("meridian.toml", config)) else {
        skip("this user may not mount a file in a namespace of its own");
        return;
    };
    let meridian = Meridian::serve_by(&mut command);
    let known = || -> Value {
        let health: Value = serde_json::from_str(&meridian.get("/api/v1/health")).unwrap();
        health["endpoints"].as_array().unwrap().iter().find(|endpoint| endpoint["pool"] == "web").unwrap().clone()
    };
    let wait_for = |verdict: &str, last: &str| {
        wait_until(&format!("it is {verdict}, {last}"), || {
            let known = known();
            known["verdict"] == verdict && known["last_probe"].as_str().unwrap_or_default().contains(last)
        });
        let target = if verdict == "down" { "spare" } else { "web" };
        let answer = ask(meridian.dns, "www.geo.example A").to_string();
        assert_eq!(answer, format!("NoError {target}.backends.example."), "{verdict}, {last}");
    };
    wait_for("up", "ok in ");
    assert_eq!(second.requests(), 0);

    name_server.say(Says::Addresses(vec![two]));
    wait_until("the probe follows", || second.requests() > 1);
    let before = first.requests();
    wait_until("the probe goes on", || second.requests() > 3);
    assert_eq!(first.requests(), before, "nobody asks where it led before");

    name_server.say(Says::Addresses(vec![three]));
    wait_for("down", "127.0.32.3: connection refused");
    name_server.say(Says::Addresses(vec![one, three]));
    wait_for("degraded", "but 1 of 2 addresses fails: 127.0.32.3: connection refused");
    third.start();
    wait_for("up", "ok in ");

    // A name server that is silent leaves it where it was; one that knows no such name doesn't.
    name_server.say(Says::Nothing);
    let before = first.requests();
    wait_until("the probe goes on", || first.requests() > before + 8);
    wait_for("up", "ok in ");
    name_server.say(Says::NoName);
    wait_for("down", "name does not resolve: it has no address");
}
