//! Reloads, good and bad, alone and under load.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::backend::Backend;
use crate::support::binary::Meridian;
use crate::support::dns::{Client, Question, ask};
use crate::support::folder::Folder;
use crate::support::load::Load;
use crate::support::process::Process;
use crate::support::{PATIENCE, free_port, udp_client, wait_until};
use crate::{BOSTON, FRANKFURT, REGIONS, SERVER};

const FAILED: &str = "the old configuration goes on serving";

/// One service, a zone file and a database; `eu` is the address in Europe.
fn config(eu: &str) -> String {
    format!(
        r#"
{REGIONS}
server.listen = ["127.0.0.1:0"]
admin.listen = "127.0.0.1:0"
geoip.database = "geo.mmdb"
zones."geo.example".file = "geo.example.zone"

[pools.web]
endpoints = [
  {{ region = "us-east", address = "192.0.2.1" }},
  {{ region = "eu-central", address = "{eu}" }},
]
[services."www.geo.example"]
pool = "web"
"#
    )
}

fn zone(address: &str) -> String {
    format!("$TTL 1h\n@ SOA ns1.example.net. host 1 1h 15m 2w 5m\n@ NS ns1.example.net.\nstatic A {address}\n")
}

/// A database in which the benchmark network is at these coordinates.
fn database(place: &str) -> Vec<u8> {
    let csv = format!("network,latitude,longitude\n198.18.0.0/16,{place}\n");
    meridian::geo::build::build(csv.as_bytes(), 0).unwrap()
}

const IN_GERMANY: &str = "50,8";
const IN_VIRGINIA: &str = "38,-78";

/// A server with all of that.
struct Site {
    folder: Folder,
    meridian: Meridian,
}

impl Site {
    fn start() -> Self {
        let folder = Folder::new("reload");
        folder.put("geo.mmdb", database(IN_GERMANY));
        folder.put("geo.example.zone", zone("192.0.2.100"));
        let meridian = Meridian::serve(&folder.put("meridian.toml", config("192.0.2.2")));
        Self { folder, meridian }
    }

    /// What a client in the benchmark network is told of the service, and of the static name.
    fn says(&self) -> [String; 2] {
        ["www.geo.example A 198.18.1.0/24", "static.geo.example A"]
            .map(|question| ask(self.meridian.dns, question).to_string())
    }

    fn reloads(&self, result: &str) -> f64 {
        self.meridian.metric("meridian_reloads_total", &format!("result=\"{result}\""))
    }
}

const AT_FIRST: [&str; 2] = ["NoError 192.0.2.2", "NoError 192.0.2.100"];

#[test]
fn a_signal_takes_in_what_has_changed() {
    let site = Site::start();
    assert_eq!(site.says(), AT_FIRST);
    site.folder.put("meridian.toml", config("192.0.2.22"));
    site.folder.put("geo.example.zone", zone("192.0.2.200"));
    let log = site.meridian.reload();
    assert!(!log.contains(FAILED), "{log}");
    assert_eq!(site.says(), ["NoError 192.0.2.22", "NoError 192.0.2.200"]);
    assert_eq!((site.reloads("success"), site.reloads("failure")), (1.0, 0.0));
}

#[test]
fn bad_input_leaves_the_old_state_serving_and_is_named() {
    let site = Site::start();
    let toml = config("192.0.2.22").replace("pool = \"web\"", "pool = \"nowhere\"\nttl = \"30 parsecs\"");
    let short = &database(IN_VIRGINIA)[..200];
    let cases: [(&str, &[u8], &[&str]); 2] = [
        ("meridian.toml", toml.as_bytes(), &["nowhere", "parsecs", "meridian.toml:"]),
        // It is reloaded as soon as it is there, without a signal.
        ("geo.mmdb", short, &["geo.mmdb"]),
    ];
    for (failures, (file, content, problems)) in (1..).zip(cases) {
        let good = std::fs::read(site.folder.path(file)).unwrap();
        let put = |content: &[u8]| {
            let before = site.meridian.process.written();
            site.folder.put(file, content);
            if file == "geo.mmdb" { site.meridian.wait_for_reload(before) } else { site.meridian.reload() }
        };
        let log = put(content);
        assert!(log.contains(FAILED), "{file}: {log}");
        for problem in problems {
            assert!(log.contains(problem), "{file}: {problem} is not named: {log}");
        }
        assert_eq!(site.says(), AT_FIRST, "{file}");
        assert_eq!(site.reloads("failure"), f64::from(failures), "{file}");
        assert_eq!(site.meridian.metric("meridian_last_reload_successful", ""), 0.0, "{file}");

        let log = put(&good);
        assert!(!log.contains(FAILED), "{file}: {log}");
        assert_eq!(site.says(), AT_FIRST, "{file}");
        assert_eq!(site.reloads("success"), f64::from(failures), "{file}");
        assert_eq!(site.meridian.metric("meridian_last_reload_successful", ""), 1.0, "{file}");
    }
}

/// A zone inside the other, whose static name has this address.
fn child(address: &str) -> String {
    format!("$TTL 1h\n@ SOA ns1.example.net. host 1 1h 15m 2w 5m\n@ NS ns1.example.net.\nwww A {address}\n")
}

#[test]
fn a_broken_zone_keeps_its_records_while_all_else_is_taken_in() {
    const WITH_CHILD: &str = "zones.\"child.geo.example\".file = \"child.zone\"\n";
    const IN_CHILD: &str = "[services.\"s.child.geo.example\"]\npool = \"web\"\n";
    let with_child = |eu: &str| config(eu).replacen("\n[pools", &format!("{WITH_CHILD}\n[pools"), 1) + IN_CHILD;
    let site = Site::start();
    let says = |question: &str| ask(site.meridian.dns, question).to_string();
    let in_child = || ["www.child.geo.example A", "s.child.geo.example A 198.18.1.0/24"].map(says);
    let metric = |name: &str, label: &str| site.meridian.metric(name, label);
    let outdated = |zone: &str| metric("meridian_zone_outdated", &format!("zone=\"{zone}\""));

    // One that was never served is left out, and its service is one of the zone above; the change of the service beside
    // it is taken in.
    site.folder.put("meridian.toml", with_child("192.0.2.22"));
    site.folder.put("child.zone", child("192.0.2.300"));
    let log = site.meridian.reload();
    assert!(!log.contains(FAILED), "{log}");
    assert!(log.contains("child.zone:4:7: not A data") && log.contains("was not served before"), "{log}");
    assert_eq!(site.says(), ["NoError 192.0.2.22", "NoError 192.0.2.100"]);
    assert_eq!(in_child(), ["NXDomain", "NoError 192.0.2.22"]);
    assert_eq!((outdated("child.geo.example"), metric("meridian_zones_outdated", "")), (1.0, 1.0));
    assert_eq!((metric("meridian_last_reload_successful", ""), site.reloads("partial")), (0.0, 1.0));
    assert!(site.meridian.get("/api/v1/health").contains("child.zone:4:7: not A data"));

    site.folder.put("child.zone", child("192.0.2.3"));
    let log = site.meridian.reload();
    assert!(!log.contains("broken"), "{log}");
    assert_eq!(in_child(), ["NoError 192.0.2.3", "NoError 192.0.2.22"]);
    assert_eq!((outdated("child.geo.example"), metric("meridian_zones_outdated", "")), (0.0, 0.0));
    assert_eq!((metric("meridian_last_reload_successful", ""), site.reloads("success")), (1.0, 1.0));

    // The outer one breaks: its records stay, its service and the inner zone follow what is new.
    site.folder.put("geo.example.zone", zone("192.0.2.300") + "mail MX ten mail\n");
    site.folder.put("child.zone", child("192.0.2.33"));
    site.folder.put("meridian.toml", with_child("192.0.2.222"));
    let log = site.meridian.reload();
    for problem in
        ["geo.example.zone:4:10: not A data", "geo.example.zone:5:9: not MX data", "old records go on serving"]
    {
        assert!(log.contains(problem), "{problem} is not named: {log}");
    }
    assert_eq!(site.says(), ["NoError 192.0.2.222", "NoError 192.0.2.100"]);
    assert_eq!(in_child(), ["NoError 192.0.2.33", "NoError 192.0.2.222"]);
    assert_eq!((outdated("geo.example"), metric("meridian_zones_outdated", "")), (1.0, 1.0));

    // A new database changes nothing of that.
    let before = site.meridian.process.written();
    site.folder.put("geo.mmdb", database(IN_VIRGINIA));
    site.meridian.wait_for_reload(before);
    assert_eq!(site.says(), ["NoError 192.0.2.1", "NoError 192.0.2.100"]);
    assert_eq!((outdated("geo.example"), metric("meridian_last_reload_successful", "")), (1.0, 0.0));

    // Without its file the inner one keeps its records; the outer one is whole again.
    site.folder.put("geo.example.zone", zone("192.0.2.101"));
    std::fs::remove_file(site.folder.path("child.zone")).unwrap();
    let log = site.meridian.reload();
    assert!(log.contains("child.zone: No such file or directory"), "{log}");
    assert_eq!(site.says()[1], "NoError 192.0.2.101");
    assert_eq!(in_child()[0], "NoError 192.0.2.33");
    assert_eq!([outdated("geo.example"), outdated("child.geo.example")], [0.0, 1.0]);

    // Taken out of the TOML it is gone, and nothing is outdated any more.
    site.folder.put("meridian.toml", config("192.0.2.22"));
    let log = site.meridian.reload();
    assert!(!log.contains("broken"), "{log}");
    assert_eq!(in_child(), ["NXDomain", "NXDomain"]);
    assert_eq!((metric("meridian_zones_outdated", ""), metric("meridian_last_reload_successful", "")), (0.0, 1.0));
}

/// What the kept records leave no room for: a service at a name that has a static address in them.
#[test]
fn a_service_that_a_kept_zone_has_no_room_for_is_left_out() {
    let site = Site::start();
    site.folder.put("geo.example.zone", zone("192.0.2.300"));
    site.folder.put("meridian.toml", config("192.0.2.22") + "[services.\"static.geo.example\"]\npool = \"web\"\n");
    let log = site.meridian.reload();
    assert!(!log.contains(FAILED) && log.contains("the service static.geo.example is left out: static.geo"), "{log}");
    assert_eq!(site.says(), ["NoError 192.0.2.22", AT_FIRST[1]]);
    assert_eq!((site.reloads("partial"), site.meridian.metric("meridian_zones_outdated", "")), (1.0, 1.0));
}

/// The only zone with another name, and broken.
#[test]
fn a_reload_that_would_leave_no_zone_is_refused() {
    let site = Site::start();
    site.folder.put("other.zone", zone("192.0.2.300"));
    let renamed = config("192.0.2.22").replace("geo.example", "other").replace("www.other", "www.other.example");
    site.folder.put("meridian.toml", renamed.replace("zones.\"other\"", "zones.\"other.example\""));
    let log = site.meridian.reload();
    assert!(log.contains(FAILED) && log.contains("no zone would be left to serve"), "{log}");
    assert_eq!(site.says(), AT_FIRST);
}

/// What a reload by systemd asks: 3 where only zone files are wrong, 1 where anything else is.
#[test]
fn check_tells_broken_zones_from_all_else() {
    let folder = Folder::new("check");
    folder.put("geo.mmdb", database(IN_GERMANY));
    let good = config("192.0.2.2");
    for (toml, address, code, says) in [
        (good.clone(), "192.0.2.100", 0, ": good: 1 zones"),
        (good.clone(), "192.0.2.300", 3, "geo.example.zone:4:10"),
        (good.replace("geo.mmdb", "none.mmdb"), "192.0.2.300", 1, "none.mmdb"),
        (good.replace("pool = \"web\"", "pool = \"nowhere\""), "192.0.2.100", 1, "nowhere"),
    ] {
        folder.put("geo.example.zone", zone(address));
        let output = Meridian::command(&["check", "-c"]).arg(folder.put("meridian.toml", toml)).output().unwrap();
        let text = [output.stdout, output.stderr].map(|octets| String::from_utf8(octets).unwrap()).concat();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(says), "{text}");
    }
}

/// What the operator is just writing waits for a signal, and does not hold the database up.
#[test]
fn a_database_that_is_replaced_is_taken_in_without_a_signal() {
    let site = Site::start();
    assert_eq!(site.says(), AT_FIRST);
    site.folder.put("meridian.toml", "[server");
    site.folder.put("geo.example.zone", zone("192.0.2.101"));
    for (place, expected) in [(IN_VIRGINIA, "NoError 192.0.2.1"), (IN_GERMANY, "NoError 192.0.2.2")] {
        let before = site.meridian.process.written();
        site.folder.put("geo.mmdb", database(place));
        let log = site.meridian.wait_for_reload(before);
        assert!(!log.contains(FAILED), "{log}");
        assert_eq!(site.says(), [expected, AT_FIRST[1]]);
    }
    assert_eq!(site.reloads("success"), 2.0);
}

#[test]
fn a_file_of_networks_that_is_replaced_is_taken_in_without_a_signal() {
    let folder = Folder::new("networks");
    folder.put("geo.mmdb", database(IN_GERMANY));
    folder.put("geo.example.zone", zone("192.0.2.100"));
    let list = |network: &str| folder.put("partners.txt", format!("# partners\n{network}\n"));
    list("198.18.1.0/24");
    let rules = "map = { rules = [{ networks_file = \"partners.txt\", regions = [\"us-east\"] }] }\n";
    let meridian = Meridian::serve(&folder.put("meridian.toml", config("192.0.2.2") + rules));
    let says = || ask(meridian.dns, "www.geo.example A 198.18.1.0/24").to_string();
    assert_eq!(says(), "NoError 192.0.2.1");
    for (network, expected, problem) in [
        ("198.18.2.0/24", "NoError 192.0.2.2", None),
        ("198.18.1.1/24", "NoError 192.0.2.2", Some("partners.txt:2:1: the address has bits beyond the prefix of 24")),
        ("198.18.0.0/15", "NoError 192.0.2.1", None),
    ] {
        let before = meridian.process.written();
        list(network);
        let log = meridian.wait_for_reload(before);
        assert_eq!(log.contains(FAILED), problem.is_some(), "{log}");
        assert!(problem.is_none_or(|problem| log.contains(problem)), "{log}");
        assert_eq!(says(), expected, "{network}");
    }
}

/// The database is replaced when it has been read, but perhaps isn't watched yet.
#[test]
fn a_database_that_is_replaced_during_the_start_is_taken_in() {
    let folder = Folder::new("replaced");
    folder.put("geo.mmdb", database(IN_GERMANY));
    folder.put("geo.example.zone", zone("192.0.2.100"));
    let dns = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let config = folder.put("meridian.toml", config("192.0.2.2").replacen("127.0.0.1:0", &dns.to_string(), 1));
    let other = database(IN_VIRGINIA);
    let process = Process::start(Meridian::command(&["serve", "-c"]).arg(config));
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(dns).is_err() {
        assert!(Instant::now() < deadline, "it does not listen:\n{}", process.text());
    }
    folder.put("geo.mmdb", other);
    let mut client = Client::new(dns);
    let question = "www.geo.example A 198.18.1.0/24".parse().unwrap();
    wait_until("the new database is used", || client.ask(&question).to_string() == "NoError 192.0.2.1");
}

#[test]
fn verdicts_outlive_a_reload() {
    let [us, mut eu] = Backend::start_all([1, 2].map(|host| Ipv4Addr::new(127, 0, 13, host)));
    eu.stop();
    let config = |ttl: u32| {
        format!(
            r#"
{REGIONS}{SERVER}
[probes.web]
type = "http"
port = {port}
interval = "60s"
[pools.web]
probe = "web"
endpoints = [{{ region = "us-east", address = "127.0.13.1" }}, {{ region = "eu-central", address = "127.0.13.2" }}]
[services."www.geo.example"]
pool = "web"
ttl = "{ttl}s"
"#,
            port = us.address.port()
        )
    };
    let folder = Folder::new("verdicts");
    let meridian = Meridian::serve(&folder.put("meridian.toml", config(100)));
    meridian.wait_for_verdicts(&[]);
    let verdicts = [("127.0.13.1", "up"), ("127.0.13.2", "down")].map(|(at, is)| (at.to_owned(), is.to_owned()));
    assert_eq!(meridian.verdicts(), verdicts);
    let (requests, probes) = (us.requests(), meridian.metric("meridian_probes_total", ""));
    for ttl in 101..106 {
        folder.put("meridian.toml", config(ttl));
        meridian.reload();
        assert_eq!(meridian.verdicts(), verdicts);
        assert_eq!(ask(meridian.dns, &format!("www.geo.example A {FRANKFURT}")).to_string(), "NoError 127.0.13.1");
        let boston = ask(meridian.dns, &format!("www.geo.example A {BOSTON}"));
        assert_eq!((boston.to_string().as_str(), boston.ttl), ("NoError 127.0.13.1", Some(ttl)));
    }
    // Each target may have come to its turn meanwhile, but once.
    assert!(us.requests() - requests <= 1, "{} requests", us.requests() - requests);
    let probed = meridian.metric("meridian_probes_total", "") - probes;
    assert!(probed <= 2.0, "{probed} probes");
}

/// What the environment says, or a default.
fn setting(name: &str, default: u32) -> u32 {
    match std::env::var(name) {
        Ok(value) => u32::from_str(&value).unwrap_or_else(|error| panic!("{name}={value}: {error}")),
        Err(_) => default,
    }
}

/// Reloads once a second while clients ask: every query is answered, and each by one of the two configurations.
///
/// A debug build is asked little; at full speed:
///
/// ```sh
/// MERIDIAN_LOAD_QPS=50000 MERIDIAN_LOAD_SECONDS=10 \
///     cargo test --release --test end_to_end reload_under_load -- --nocapture
/// ```
#[test]
fn reload_under_load() {
    const SECOND: Duration = Duration::from_secs(1);
    let (queries_per_second, seconds) = (setting("MERIDIAN_LOAD_QPS", 5_000), setting("MERIDIAN_LOAD_SECONDS", 5));
    let site = Site::start();
    let query = Question::from_str("www.geo.example A 198.18.1.0/24").unwrap().query(0);
    let answer = || {
        let socket = udp_client(site.meridian.dns);
        socket.send(&query).unwrap();
        let mut response = [0; 512];
        let length = socket.recv(&mut response).unwrap();
        response[..length].to_vec()
    };
    let addresses = ["192.0.2.2", "192.0.2.22"];
    let answers = addresses.map(|address| {
        site.folder.put("meridian.toml", config(address));
        site.meridian.reload();
        answer()
    });
    assert_ne!(answers[0], answers[1]);

    let seen = [AtomicU64::new(0), AtomicU64::new(0)];
    // All but the id.
    let is_right = |response: &[u8]| {
        let which = answers.iter().position(|answer| answer[2..] == response[2..]);
        which.map(|which| seen[which].fetch_add(1, Ordering::Relaxed)).is_some()
    };
    let server = site.meridian.dns;
    let load = Load { server, source: Ipv4Addr::LOCALHOST.into(), queries_per_second, duration: SECOND * seconds };
    let report = thread::scope(|scope| {
        let started = Instant::now();
        let report = scope.spawn(|| load.run(&query, is_right));
        for (second, address) in (0..seconds).zip(addresses.iter().cycle()) {
            // In the middle of each second.
            thread::sleep((started + SECOND * second + SECOND / 2).saturating_duration_since(Instant::now()));
            site.folder.put("meridian.toml", config(address));
            let log = site.meridian.reload();
            assert!(!log.contains(FAILED), "{log}");
        }
        report.join().unwrap()
    });
    let seen = seen.map(AtomicU64::into_inner);
    println!("{report:?}, {:.0} queries/s, by each configuration {seen:?}", report.sent as f64 / f64::from(seconds));
    assert_eq!((report.lost, report.wrong), (0, 0), "{report:?}");
    assert_eq!(report.answered, report.sent, "{report:?}");
    let wanted = u64::from(queries_per_second) * u64::from(seconds);
    assert!(report.sent >= wanted * 9 / 10, "the pace was not kept: {wanted} were to be sent: {report:?}");
    assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
    assert_eq!(site.reloads("success"), f64::from(seconds + 2));
}
