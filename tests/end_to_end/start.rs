//! How the server starts, refuses to start, and stops.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::REGIONS;
use crate::support::binary::Meridian;
use crate::support::dns::{Answer, Question, ask};
use crate::support::folder::Folder;
use crate::support::process::Process;
use crate::support::{PATIENCE, framed, read_message, skip, udp_client, wait_until};

/// What is promised for a stop.
const STOP_BOUND: Duration = Duration::from_secs(2);

/// A configuration of two services, with `more` in it.
fn config(more: &str) -> String {
    format!(
        r#"
{REGIONS}
server.listen = ["127.0.0.1:0"]
zones."geo.example".nameservers = ["ns1.example.net"]

[pools.web]
endpoints = [{{ region = "eu-central", address = "192.0.2.2" }}]
[services."www.geo.example"]
pool = "web"
{more}
"#
    )
}

/// Runs the binary until it ends by itself. Returns its exit code and all that it wrote.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let mut process = Process::start(&mut Meridian::command(arguments));
    let status = process.wait_for_end(PATIENCE);
    (status.code(), process.text())
}

/// Neither starts nor is good, and each says all of this.
fn assert_refused(what: &str, config: &std::path::Path, all_of: &[&str]) {
    assert_refused_with(1, what, config, all_of);
}

/// The same where `check` ends with this code, as only zone files are wrong.
fn assert_refused_with(check_code: i32, what: &str, config: &std::path::Path, all_of: &[&str]) {
    for (subcommand, expected) in [("serve", 1), ("check", check_code)] {
        let (code, text) = run(&[subcommand, "-c", config.to_str().unwrap()]);
        assert_eq!(code, Some(expected), "{subcommand} with {what}:\n{text}");
        for part in all_of {
            assert!(text.contains(part), "{subcommand} with {what} does not say {part:?}:\n{text}");
        }
        assert!(!text.contains("panicked"), "{subcommand} with {what}:\n{text}");
    }
}

#[test]
fn answers_have_the_cpus_that_the_background_leaves() {
    /// The threads of a process by name, each with its CPUs as the kernel writes them.
    fn threads(server: &Meridian) -> Vec<(String, String)> {
        let entries = fs::read_dir(format!("/proc/{}/task", server.process.id())).unwrap();
        let statuses = entries.filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("status")).ok());
        let field = |status: &str, name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim_start_matches(':').trim().to_owned()
        };
        statuses.map(|status| (field(&status, "Name"), field(&status, "Cpus_allowed_list"))).collect()
    }
    let folder = Folder::new("cpus");
    let serve = |cpus: Option<&str>| {
        let key = cpus.map_or_else(String::new, |cpus| format!("server.background_cpus = \"{cpus}\"\n"));
        Meridian::serve(&folder.put("meridian.toml", key + &config("")))
    };
    let given = threads(&serve(None))[0].1.clone();
    let last = given.rsplit([',', '-']).next().unwrap();
    if given == last {
        // Where there is one CPU, it is shared, and that is said.
        let server = serve(Some(last));
        assert!(server.process.text().contains("no CPU would be left for answers"), "{}", server.process.text());
        return;
    }
    let server = serve(Some(&format!("{last},8191")));
    let threads = threads(&server);
    let is_for_answers = |name: &str| name.starts_with("udp-") || name == "tcp";
    let (answering, others): (Vec<_>, Vec<_>) = threads.iter().partition(|(name, _)| is_for_answers(name));
    let workers = std::thread::available_parallelism().unwrap().get() - 1;
    assert_eq!(answering.len(), workers + 1, "{threads:?}");
    assert!(others.len() >= 3, "{threads:?}");
    assert!(others.iter().all(|(_, cpus)| cpus == last), "{threads:?}");
    assert!(answering.iter().all(|(_, cpus)| cpus == &answering[0].1 && !cpus.contains(last)), "{threads:?}");
    let text = serve(Some("8191")).process.text();
    assert!(text.contains(&format!("this process was given none of them, but {given}")), "{text}");
}

#[test]
fn check_approves_what_serve_would_start() {
    let folder = Folder::new("check");
    let path = folder.put("meridian.toml", config(""));
    let (code, text) = run(&["check", "-c", path.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("good: 1 zones, 1 services, 1 pools"), "{text}");
    assert_eq!(run(&["check", "--no-such-option"]).0, Some(2));
    assert_eq!(run(&["no-such-command"]).0, Some(2));
}

#[test]
fn bad_input_is_refused_with_every_problem_named() {
    let folder = Folder::new("bad-start");
    let absent = folder.path("absent.toml");
    assert_refused("no configuration", &absent, &["absent.toml", "No such file"]);

    let broken = config("ttl = \"30 parsecs\"\n[pools.spare]\nprobe = \"nowhere\"\nendpoint = []\n")
        .replace("[50.11, 8.68]", "[95.0, 8.68]");
    let path = folder.put("broken.toml", broken);
    assert_refused("a broken TOML", &path, &["parsecs", "nowhere", "endpoint", "95", "broken.toml:"]);
    let path = folder.put("syntax.toml", config("[pools.web\n"));
    assert_refused("no TOML", &path, &["syntax.toml:"]);

    let zone = "$TTL 1h\n@ SOA ns1 host 1 1h 15m 2w 5m\n@ NS ns1\nns1 A 192.0.2.300\nmail MX ten mail\nx NOTYPE y\n";
    folder.put("broken.zone", zone);
    let path = folder.put("zone.toml", config("[zones.\"broken.example\"]\nfile = \"broken.zone\"\n"));
    assert_refused_with(
        3,
        "a broken zone",
        &path,
        &["192.0.2.300", "ten", "NOTYPE", "broken.zone:4:", "broken.zone:6:"],
    );

    let whole = meridian::geo::build::build(&b"network,country\n192.0.2.0/24,DE\n"[..], 0).unwrap();
    folder.put("short.mmdb", &whole[..whole.len() / 2]);
    folder.put("noise.mmdb", fastrand::Rng::with_seed(1).choose_multiple(0..=255, 200));
    for (database, says) in [("absent.mmdb", "No such file"), ("short.mmdb", ""), ("noise.mmdb", "")] {
        let path = folder.put("database.toml", config(&format!("[geoip]\ndatabase = \"{database}\"\n")));
        assert_refused(database, &path, &[database, says]);
    }

    let path = folder.put("admin.toml", config("[admin]\nlisten = \"0.0.0.0:0\"\n"));
    assert_refused("an admin interface for everyone", &path, &["token_file", "0.0.0.0"]);

    // A mistake in each of two files is told at once.
    let both = config("[geoip]\ndatabase = \"absent.mmdb\"\n[zones.\"broken.example\"]\nfile = \"broken.zone\"\n");
    let path = folder.put("both.toml", both);
    assert_refused("two broken files", &path, &["absent.mmdb", "192.0.2.300", "NOTYPE"]);
}

#[test]
fn a_port_in_use_is_named() {
    let folder = Folder::new("in-use");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = tcp.local_addr().unwrap();
    let _udp = UdpSocket::bind(taken).unwrap();
    let dns = config("").replace("127.0.0.1:0", &taken.to_string());
    let admin = config(&format!("[admin]\nlisten = \"{taken}\"\n"));
    for (what, config) in [("DNS", dns), ("admin", admin)] {
        let path = folder.put("meridian.toml", config);
        let (code, text) = run(&["serve", "-c", path.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{what}: {text}");
        assert!(text.contains(&taken.to_string()) && text.contains("in use"), "{what}: {text}");
    }
}

/// A probe's target that takes connections and never says a word.
struct Silent(TcpListener);

impl Silent {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 12, 1), 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    /// A configuration whose only endpoint is this.
    fn config(&self) -> String {
        let address = self.0.local_addr().unwrap();
        let probe = format!("[probes.silent]\ntype = \"http\"\nport = {}\ntimeout = \"10s\"\n", address.port());
        config(&format!("{probe}[admin]\nlisten = \"127.0.0.1:0\"\n"))
            .replace("endpoints =", "probe = \"silent\"\nendpoints =")
            .replace("192.0.2.2", &address.ip().to_string())
    }

    /// Waits for the probe, which then hangs as long as this connection is kept.
    fn wait_for_probe(&self) -> TcpStream {
        let mut accepted = None;
        wait_until("the probe connects", || {
            accepted = self.0.accept().ok();
            accepted.is_some()
        });
        accepted.unwrap().0
    }
}

#[test]
fn answers_come_before_the_first_probe_returns() {
    let silent = Silent::new();
    let folder = Folder::new("silent");
    let meridian = Meridian::serve(&folder.put("meridian.toml", silent.config()));
    let ask = || ask(meridian.dns, "www.geo.example A").to_string();
    assert_eq!(ask(), "NoError 127.0.12.1");
    let _hanging = silent.wait_for_probe();
    assert_eq!(ask(), "NoError 127.0.12.1");
    assert_eq!(meridian.verdicts(), [("127.0.12.1".to_owned(), "unknown".to_owned())]);
    meridian.get("/readyz");
}

#[test]
fn a_signal_ends_it_soon_and_what_was_asked_is_answered() {
    for signal in ["TERM", "INT"] {
        let silent = Silent::new();
        let folder = Folder::new("stop");
        let mut meridian = Meridian::serve(&folder.put("meridian.toml", silent.config()));
        let question: Question = "www.geo.example A".parse().unwrap();
        let is_answered =
            |octets: &[u8], id| Answer { id, ..Answer::decode(octets) }.to_string() == "NoError 127.0.12.1";

        let connect = || {
            let stream = TcpStream::connect(meridian.dns).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        let mut idle: Vec<TcpStream> = (0..20).map(|_| connect()).collect();
        // One of them has been used, one is in the middle of a query.
        idle[0].write_all(&framed(&question.query(1))).unwrap();
        assert!(is_answered(&read_message(&mut idle[0]).unwrap(), 1));
        idle[1].write_all(&framed(&question.query(1))[..7]).unwrap();
        let _hanging = silent.wait_for_probe();

        let mut asking = connect();
        let udp = udp_client(meridian.dns);
        // What it has been asked while it stands still is in flight when it is told to end.
        meridian.process.signal("STOP");
        for id in 0..50 {
            udp.send(&question.query(id)).unwrap();
            asking.write_all(&framed(&question.query(id))).unwrap();
        }
        meridian.process.signal(signal);
        meridian.process.signal("CONT");
        let status = meridian.process.wait_for_end(STOP_BOUND);
        assert_eq!(status.code(), Some(0), "{signal}: {status}\n{}", meridian.process.text());
        for id in 0..50 {
            let mut response = [0; 512];
            let length = udp.recv(&mut response).unwrap_or_else(|error| panic!("{signal}: query {id}: {error}"));
            assert!(is_answered(&response[..length], id), "{signal}: query {id}");
            assert!(is_answered(&read_message(&mut asking).unwrap(), id), "{signal}: query {id} over TCP");
        }
        for stream in &mut idle {
            assert_eq!(read_message(stream), None, "{signal}: the connection is closed");
        }
        assert!(meridian.process.text().contains(&format!("SIG{signal}")), "{}", meridian.process.text());
    }
}

#[test]
fn a_signal_at_the_very_start_ends_it_in_order() {
    let folder = Folder::new("early-stop");
    let path = folder.put("meridian.toml", config(""));
    for _ in 0..5 {
        let mut meridian = Meridian::serve(&path);
        meridian.process.signal("TERM");
        assert_eq!(meridian.process.wait_for_end(STOP_BOUND).code(), Some(0), "{}", meridian.process.text());
    }
}

#[test]
fn it_runs_as_the_user_named_and_still_reloads() {
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let effective = own.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap().split_whitespace().nth(1);
    if effective != Some("0") {
        skip("only root can become another user");
        return;
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let nobody: Vec<&str> = accounts.lines().find(|line| line.starts_with("nobody:")).unwrap().split(':').collect();
    let (uid, gid) = (nobody[2], nobody[3]);

    let folder = Folder::public("nobody");
    let config = config("[server]\nlisten = [\"127.0.0.1:0\"]\nuser = \"nobody\"\n")
        .replace("server.listen = [\"127.0.0.1:0\"]\n", "");
    let path = folder.put("meridian.toml", &config);
    let meridian = Meridian::serve(&path);
    for (key, id) in [("Uid:", uid), ("Gid:", gid)] {
        let ids = meridian.process.status(key);
        assert_eq!(ids.split_whitespace().collect::<Vec<&str>>(), [id; 4], "{key}");
    }
    assert_eq!(meridian.process.status("CapEff:"), "0000000000000000");
    let ask = || ask(meridian.dns, "www.geo.example A").to_string();
    assert_eq!(ask(), "NoError 192.0.2.2");
    folder.put("meridian.toml", config.replace("192.0.2.2", "192.0.2.9"));
    let log = meridian.reload();
    assert_eq!(ask(), "NoError 192.0.2.9", "{log}");
}
