//! What operators say by the command line, and what is left of it, and of verdicts, after the server ends.

use std::net::Ipv4Addr;
use std::process::{Command, ExitStatus};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use meridian::health::overrides::{Override, Subject, Word};
use meridian::state::verdicts::WRITE_INTERVAL;

use crate::support::PATIENCE;
use crate::support::backend::Backend;
use crate::support::binary::{Meridian, request};
use crate::support::dns::ask;
use crate::support::folder::Folder;
use crate::support::health::started;
use crate::support::{wait_until, wait_until_within};
use crate::{REGIONS, SERVER};

pub(crate) const TOKEN: &str = "a-token-for-tests-only";

/// What a command prints, and how it ends.
pub(crate) fn run(meridian: &Meridian, folder: &Folder, arguments: &[&str]) -> (ExitStatus, String) {
    let admin = meridian.admin.unwrap().to_string();
    let mut command: Command = Meridian::command(arguments);
    command.args(["--admin", &admin, "--token-file"]).arg(folder.path("token"));
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8(text).unwrap())
}

pub(crate) fn say(meridian: &Meridian, folder: &Folder, arguments: &[&str]) -> String {
    let (status, text) = run(meridian, folder, arguments);
    assert!(status.success(), "{arguments:?}: {text}");
    text
}

/// A page, which needs the token.
pub(crate) fn read(meridian: &Meridian, page: &str) -> String {
    let headers = format!("Authorization: Bearer {TOKEN}\r\n");
    request(meridian.admin.unwrap(), &format!("GET {page}"), &headers, "")
}

#[test]
fn what_was_said_and_found_outlives_the_server() {
    let backends = Backend::start_all([1, 2].map(|host| Ipv4Addr::new(127, 0, 21, host)));
    let folder = Folder::new("overrides");
    folder.put_secret("token", TOKEN);
    let config = format!(
        r#"
{REGIONS}{SERVER}
server.state_dir = "state"
admin.token_file = "token"
[probes.web]
type = "http"
path = "/"
port = {}
interval = "200ms"
timeout = "200ms"
[pools.web]
probe = "web"
endpoints = [
  {{ region = "us-east", address = "127.0.21.1" }},
  {{ region = "eu-central", address = "127.0.21.2" }},
  {{ region = "ap-southeast", address = "127.0.21.3" }},
]
[services."www.geo.example"]
pool = "web"
"#,
        backends[0].address.port()
    );
    let path = folder.put("meridian.toml", config);
    let answer = |meridian: &Meridian| ask(meridian.dns, "www.geo.example A").to_string();
    let is_judged = |meridian: &Meridian| !read(meridian, "/api/v1/health").contains("\"verdict\":\"unknown\"");

    let mut meridian = Meridian::serve(&path);
    wait_until("every endpoint has a verdict", || is_judged(&meridian));
    assert_eq!(answer(&meridian), "NoError 127.0.21.1");
    let said = say(
        &meridian,
        &folder,
        &["override", "disable", "region/us-east", "--reason", "the roof leaks", "--for", "2h", "--author", "alice"],
    );
    assert!(said.starts_with("disable region/us-east (1 endpoint) since "), "{said}");
    assert!(said.ends_with(", by alice: the roof leaks\n"), "{said}");
    assert_eq!(answer(&meridian), "NoError 127.0.21.2");
    let (status, refused) = run(&meridian, &folder, &["override", "down", "pool/wbe", "--reason", "x"]);
    assert!(!status.success() && refused.contains("no endpoint in the configuration belongs to pool/wbe"), "{refused}");

    // As a failing power supply does it.
    meridian.process.signal("KILL");
    meridian.process.wait_for_end(PATIENCE);
    let mut meridian = Meridian::serve(&path);
    assert_eq!(answer(&meridian), "NoError 127.0.21.2");
    let listed = say(&meridian, &folder, &["override", "list"]);
    assert!(listed.starts_with("disable region/us-east") && listed.lines().count() == 1, "{listed}");
    assert!(read(&meridian, "/metrics").contains("meridian_overrides{word=\"disable\"} 1\n"));
    wait_until("every endpoint has a verdict", || is_judged(&meridian));

    meridian.process.signal("TERM");
    assert!(meridian.process.wait_for_end(PATIENCE).success());
    let asked = backends[1].requests();
    let meridian = Meridian::serve(&path);
    assert!(is_judged(&meridian));
    wait_until("they are probed again", || backends[1].requests() > asked + 2);
    let text = meridian.process.text();
    assert!(text.contains("verdicts read") && !text.contains("endpoint is "), "{text}");
    say(&meridian, &folder, &["override", "clear", "region/us-east", "--author", "bob"]);
    assert_eq!(answer(&meridian), "NoError 127.0.21.1");
    assert_eq!(say(&meridian, &folder, &["override", "list"]), "no overrides\n");
    assert_eq!(
        say(&meridian, &folder, &["resume", "pool/web", "--reason", "all is well", "--author", "carol"]),
        "pool/web: nothing was held down\n"
    );
    let told = ["set region/us-east by alice", "clear region/us-east by bob", "resume pool/web by carol"];
    assert_eq!(audit(&meridian), told);
}

/// What was said and what became of it, the oldest first.
fn audit(meridian: &Meridian) -> Vec<String> {
    let audit: serde_json::Value = serde_json::from_str(&read(meridian, "/api/v1/overrides/audit")).unwrap();
    let told = |record: &serde_json::Value| {
        format!("{} {} by {}", record["event"], record["subject"], record["author"]).replace('"', "")
    };
    audit["records"].as_array().unwrap().iter().map(told).collect()
}

#[test]
fn time_alone_ends_words_and_keeps_verdicts() {
    let [mut first, second] = Backend::start_all([1, 2].map(|host| Ipv4Addr::new(127, 0, 23, host)));
    let folder = Folder::new("time");
    folder.put_secret("token", TOKEN);
    let config = format!(
        r#"
{REGIONS}{SERVER}
server.state_dir = "state"
admin.token_file = "token"
probes.web = {{ type = "http", path = "/", port = {}, interval = "200ms", timeout = "180ms", fall = 2, rise = 50 }}
[pools.web]
probe = "web"
endpoints = [
  {{ region = "us-east", address = "127.0.23.1" }},
  {{ region = "eu-central", address = "127.0.23.2" }},
]
[services."www.geo.example"]
pool = "web"
"#,
        first.address.port()
    );
    let path = folder.put("meridian.toml", config);
    let answer = |meridian: &Meridian| ask(meridian.dns, "www.geo.example A").to_string();
    let mut meridian = Meridian::serve(&path);
    wait_until("the first serves", || second.requests() > 0 && answer(&meridian) == "NoError 127.0.23.1");

    let subject = "endpoint/web/us-east/127.0.23.1";
    say(&meridian, &folder, &["override", "down", subject, "--reason", "a test", "--for", "1s", "--author", "alice"]);
    assert_eq!(answer(&meridian), "NoError 127.0.23.2");
    wait_until("the word is over", || answer(&meridian) == "NoError 127.0.23.1");
    let told = [format!("set {subject} by alice"), format!("expire {subject} by null")];
    wait_until("its end is noted", || audit(&meridian) == told);
    assert_eq!(say(&meridian, &folder, &["override", "list"]), "no overrides\n");

    first.stop();
    wait_until("the first is down", || answer(&meridian) == "NoError 127.0.23.2");
    let stored = || std::fs::read_to_string(folder.path("state/verdicts")).unwrap_or_default();
    wait_until_within(WRITE_INTERVAL + PATIENCE, "that is kept", || stored().contains("\"verdict\":\"down\""));
    meridian.process.signal("KILL");
    meridian.process.wait_for_end(PATIENCE);
    // Nobody but one who knows that it was down passes it over now.
    first.start();
    let asked = first.requests();
    let meridian = Meridian::serve(&path);
    assert_eq!(answer(&meridian), "NoError 127.0.23.2");
    wait_until("it is probed again", || first.requests() > asked + 2);
    assert_eq!(answer(&meridian), "NoError 127.0.23.2");
}

#[test]
fn what_is_held_down_waits_for_time_or_an_operator() {
    let [mut first, second] = Backend::start_all([1, 2].map(|host| Ipv4Addr::new(127, 0, 25, host)));
    let folder = Folder::new("held-down");
    folder.put_secret("token", TOKEN);
    let mut config = format!("{REGIONS}{SERVER}admin.token_file = \"token\"\n");
    for (name, hold) in [("manual", "manual_resume = true\nhold_down = \"0s\""), ("flapping", "hold_down = \"1h\"")] {
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
{hold}
[pools.{name}]
probe = "{name}"
endpoints = [
  {{ region = "us-east", address = "127.0.25.1" }},
  {{ region = "eu-central", address = "127.0.25.2" }},
]
[services."{name}.geo.example"]
pool = "{name}"
"#,
            first.address.port()
        );
    }
    let meridian = Meridian::serve(&folder.put("meridian.toml", config));
    const FIRST: &str = "NoError 127.0.25.1";
    const SECOND: &str = "NoError 127.0.25.2";
    let answer = |service: &str| ask(meridian.dns, &format!("{service}.geo.example A")).to_string();
    let say = |arguments: &[&str]| say(&meridian, &folder, &[arguments, &["--author", "alice"]].concat());
    let explained = |service: &str| {
        let text = run(&meridian, &folder, &["explain", &format!("{service}.geo.example")]).1;
        text.lines().find(|line| line.contains("127.0.25.1")).unwrap().to_owned()
    };
    let wait_for =
        |service: &str, expected: &str| wait_until(&format!("{service}: {expected}"), || answer(service) == expected);
    wait_until("each was probed", || first.requests() > 2 && second.requests() > 2);

    first.stop();
    wait_for("manual", SECOND);
    wait_for("flapping", SECOND);
    first.start();
    wait_for("flapping", FIRST);
    first.stop();
    wait_for("flapping", SECOND);
    first.start();
    let well = |service: &str| explained(service).contains("(ok in ");
    wait_until("its probes succeed", || well("manual") && well("flapping"));
    let asked = first.requests();
    wait_until("they go on", || first.requests() > asked + 4);
    for (service, why) in [("manual", ", waits for `meridian resume`"), ("flapping", ", held down for ")] {
        assert_eq!(answer(service), SECOND, "{service}");
        let line = explained(service);
        assert!(line.contains("down for ") && line.contains(why), "{service}: {line}");
    }

    let flapping = "endpoint/flapping/us-east/127.0.25.1";
    say(&["override", "up", flapping, "--reason", "it is well"]);
    assert_eq!(answer("flapping"), FIRST);
    say(&["override", "clear", flapping]);
    assert_eq!(answer("flapping"), SECOND);
    for pool in ["manual", "flapping"] {
        let resumed = say(&["resume", &format!("pool/{pool}"), "--reason", "repaired"]);
        let told = format!("pool/{pool}: 1 target is held down no longer: it comes up once ");
        assert!(resumed.starts_with(&told), "{resumed}");
        wait_for(pool, FIRST);
    }
    for word in ["down", "drain"] {
        say(&["override", word, "region/us-east", "--reason", "the roof leaks"]);
        assert_eq!([answer("manual"), answer("flapping")], [SECOND; 2], "{word}");
        say(&["override", "clear", "region/us-east"]);
        assert_eq!([answer("manual"), answer("flapping")], [FIRST; 2], "{word}");
    }
}

/// Two regions whose endpoints are at two addresses and one port. They are probed, and nothing is answered with what is down.
fn doubtful(port: u16) -> String {
    format!(
        r#"
{REGIONS}{SERVER}
server.state_dir = "state"
admin.token_file = "token"
safety.self_suspicion = {{ least = 2, share = 0.6, window = "3s", at_most = "1h" }}
probes.web = {{ type = "http", path = "/", port = {port}, interval = "200ms", timeout = "200ms", fall = 2 }}
[pools.web]
probe = "web"
endpoints = [
  {{ region = "us-east", address = "127.0.22.1" }},
  {{ region = "eu-central", address = "127.0.22.2" }},
]
[services."www.geo.example"]
pool = "web"
when_all_down = "nodata"
"#
    )
}

#[test]
fn a_doubt_outlives_the_server() {
    let mut backends = Backend::start_all([1, 2].map(|host| Ipv4Addr::new(127, 0, 22, host)));
    let folder = Folder::new("doubt");
    folder.put_secret("token", TOKEN);
    let path = folder.put("meridian.toml", doubtful(backends[0].address.port()));
    let answer = |meridian: &Meridian| ask(meridian.dns, "www.geo.example A").to_string();
    let is_unsure = |meridian: &Meridian| read(meridian, "/metrics").contains("meridian_prober_unsure 1\n");

    let mut meridian = Meridian::serve(&path);
    wait_until("every endpoint has a verdict", || {
        !read(&meridian, "/api/v1/health").contains("\"verdict\":\"unknown\"")
    });
    backends.iter_mut().for_each(Backend::stop);
    wait_until("it doubts itself", || is_unsure(&meridian));
    assert_eq!(answer(&meridian), "NoError 127.0.22.1");
    for signal in ["TERM", "KILL"] {
        meridian.process.signal(signal);
        meridian.process.wait_for_end(PATIENCE);
        meridian = Meridian::serve(&path);
        assert!(is_unsure(&meridian));
        assert_eq!(answer(&meridian), "NoError 127.0.22.1");
        assert!(meridian.process.text().contains("is_unsure=true"), "{}", meridian.process.text());
    }
    // One that knows of nothing before finds out by itself.
    drop(meridian);
    std::fs::remove_dir_all(folder.path("state")).unwrap();
    let meridian = Meridian::serve(&path);
    wait_until("it doubts itself", || is_unsure(&meridian));
    assert_eq!(answer(&meridian), "NoError 127.0.22.1");
    let is_told = |what: &str| {
        let line = meridian.process.wait_for(what, 0, |line| line.contains(what).then(|| line.to_owned()));
        assert!(line.contains(" WARN "), "{line}");
    };
    is_told("so much turned down at once that this server may be cut off itself");
    backends.iter_mut().for_each(Backend::start);
    is_told("what the probes say counts again");
    assert!(!is_unsure(&meridian));
    wait_until("both are up", || answer(&meridian) == "NoError 127.0.22.1");
}

#[test]
fn a_clock_that_was_wrong_before_the_start_leaves_what_has_an_end_to_the_calendar() {
    const YEARS: u64 = 10 * 365 * 86_400;
    let folder = Folder::new("clock");
    folder.put_secret("token", TOKEN);
    let config = doubtful(9);
    let path = folder.put("meridian.toml", &config);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (publisher, operator) = started(&folder.path("state"), &config, Instant::now(), seconds + YEARS);
    for (region, since, expires) in [("us-east", 5, 65), ("eu-central", seconds + YEARS, seconds + YEARS + 60)] {
        let (subject, expires) = (Subject::Region(region.to_owned()), Some(expires));
        let (reason, author) = ("because".to_owned(), "me".to_owned());
        let said = Override { subject, word: Word::Disable, reason, author, since, expires };
        operator.say(said, Instant::now(), || seconds + YEARS).unwrap();
    }
    operator.keep_verdicts(true, Instant::now(), seconds + YEARS);
    drop((operator, publisher));
    let meridian = Meridian::serve(&path);
    let text = meridian.process.text();
    assert!(text.contains("s in the future") && text.contains("an override is over"), "{text}");
    let listed = say(&meridian, &folder, &["override", "list"]);
    assert!(listed.starts_with("disable region/eu-central") && listed.lines().count() == 1, "{listed}");
    // Nothing listens there, so that it is answered as soon as the server doubts itself.
    wait_until("it is enabled", || ask(meridian.dns, "www.geo.example A").to_string() == "NoError 127.0.22.1");
}
