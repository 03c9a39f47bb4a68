//! The demo, as someone tries it who has just cloned the repository.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use meridian::config::{Check, Config, Target};

use crate::support::binary::{Meridian, get};
use crate::support::dns::ask;
use crate::support::process::Process;
use crate::support::wait_until;

/// What is promised for a stop.
const STOP_BOUND: Duration = Duration::from_secs(2);

/// Fails with what to do where an address that the demo needs is taken.
fn assert_free_addresses() {
    let config = Config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo.toml")).unwrap();
    let udp_problems =
        config.server.listen.iter().filter_map(|address| Some((address, UdpSocket::bind(address).err()?)));
    let udp_problems = udp_problems.map(|(address, error)| format!("{address} (UDP): {error}"));
    let mut addresses: Vec<SocketAddr> = config.server.listen.clone();
    addresses.extend(config.admin.as_ref().map(|admin| admin.listen));
    for pool in &config.pools {
        let port = match &*config.probes[pool.health.probes().next().unwrap()].check {
            Check::Http(check) => check.port,
            check => check.port().unwrap(),
        };
        addresses.extend(pool.endpoints.iter().filter_map(|endpoint| match endpoint.target {
            Target::Address(address) => Some(SocketAddr::new(address, port)),
            Target::Hostname(_) => None,
        }));
    }
    addresses.sort();
    addresses.dedup();
    let tcp_problems = addresses.iter().filter_map(|address| Some((address, TcpListener::bind(address).err()?)));
    let tcp_problems = tcp_problems.map(|(address, error)| format!("{address} (TCP): {error}"));
    let problems: Vec<String> = udp_problems.chain(tcp_problems).collect();
    assert!(
        problems.is_empty(),
        "the demo needs these addresses for itself; end what uses them (`ss -lntup` tells) and test again:\n{}",
        problems.join("\n")
    );
}

/// What the demo says.
struct Guide {
    /// The addresses of each region.
    regions: BTreeMap<String, Vec<IpAddr>>,
    /// Server, question and place of each line to try with dig.
    digs: Vec<(SocketAddr, String, String)>,
}

impl Guide {
    fn read(text: &str) -> Self {
        let mut guide = Self { regions: BTreeMap::new(), digs: Vec::new() };
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["dig", server, "-p", port, "+short", name, subnet, "#", place @ ..] = &words[..] {
                let server = format!("{}:{port}", server.strip_prefix('@').unwrap()).parse().unwrap();
                let question = format!("{name} A {}", subnet.strip_prefix("+subnet=").unwrap());
                guide.digs.push((server, question, place.join(" ")));
            } else if let [region, addresses @ ..] = &words[..]
                && !addresses.is_empty()
                && let Ok(addresses) = addresses.iter().map(|address| address.parse()).collect()
            {
                guide.regions.insert((*region).to_owned(), addresses);
            }
        }
        guide
    }

    /// The region to which a client of this place is sent now.
    fn region_for(&self, place: &str) -> &str {
        let (server, question, _) = self.digs.iter().find(|(.., of)| of == place).unwrap();
        let answer = ask(*server, question);
        let address = answer.address().unwrap_or_else(|| panic!("{question}: {answer:?}"));
        let region = self.regions.iter().find(|(_, addresses)| addresses.contains(&address));
        region.unwrap_or_else(|| panic!("{question}: {answer:?}")).0
    }
}

#[test]
fn the_demo_does_what_it_says() {
    assert_free_addresses();
    let mut demo = Process::start(&mut Meridian::command(&["demo"]));
    demo.wait_for("the end of the guide", 0, |line| line.contains("Ctrl-C").then_some(()));
    let guide = Guide::read(&demo.text());
    assert_eq!(guide.regions.len(), 3, "{}", demo.text());
    let places: Vec<&str> = guide.digs.iter().map(|(.., place)| place.as_str()).collect();
    assert_eq!(places, ["Frankfurt", "Sydney", "Boston", "Tokyo"], "{}", demo.text());

    let regions =
        [("Frankfurt", "eu-central"), ("Sydney", "ap-southeast"), ("Boston", "us-east"), ("Tokyo", "ap-southeast")];
    let assert_as_at_first = || {
        for (place, region) in regions {
            assert_eq!(guide.region_for(place), region, "{place}");
        }
    };
    // Right from the first answer on, and once the probes have found all backends up.
    assert_as_at_first();
    demo.wait_for("a verdict", 0, |line| line.contains("probe finds it up").then_some(()));
    assert_as_at_first();

    // The other three lines to try.
    let text = demo.text();
    let asked = text.lines().find_map(|line| line.split_once(" CH TXT ")).unwrap().1;
    let (name, subnet) = asked.split_once(" +subnet=").unwrap();
    let explained = ask(guide.digs[0].0, &format!("{name} TXT CH {subnet}")).data.join("\n");
    assert!(explained.contains("eu-central is the nearest region"), "{asked:?}: {explained}");
    let explain = text.lines().find_map(|line| line.trim().strip_prefix("meridian explain ")).unwrap();
    let explain: Vec<&str> = explain.split_whitespace().take_while(|word| *word != "#").collect();
    let explained = Meridian::command(&["explain"]).args(&explain).output().unwrap();
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.contains("eu-central") && explained.contains("NOERROR"), "{explain:?}: {explained}");
    let metrics = text.lines().find_map(|line| line.trim().strip_prefix("curl http://")).unwrap();
    let (admin, path) = metrics.split_once('/').unwrap();
    let metrics = get(admin.parse().unwrap(), &format!("/{path}"));
    assert!(metrics.contains("meridian_answers_total{service=\"www.gslb.example.com\""), "{metrics}");

    demo.type_line("stop eu-central");
    wait_until("Frankfurt is sent elsewhere", || guide.region_for("Frankfurt") != "eu-central");
    assert_eq!(guide.region_for("Frankfurt"), "us-east");
    for (place, region) in &regions[1..] {
        assert_eq!(guide.region_for(place), *region, "{place} sees nothing of it");
    }
    demo.type_line("start eu-central");
    wait_until("Frankfurt is back", || guide.region_for("Frankfurt") == "eu-central");
    assert_as_at_first();

    let before = demo.written();
    demo.type_line("stop atlantis");
    demo.wait_for("what can be stopped", before, |line| {
        (line.contains("atlantis") && line.contains("eu-central")).then_some(())
    });
    assert_eq!(guide.region_for("Frankfurt"), "eu-central");

    demo.signal("INT");
    let status = demo.wait_for_end(STOP_BOUND);
    assert_eq!(status.code(), Some(0), "{}", demo.text());
    assert_free_addresses();
}
