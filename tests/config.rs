//! Every tests/config/*.toml has problems, and *.txt beside it shows them as the operator sees them.
//!
//! `UPDATE=1 cargo test --test config` rewrites the *.txt; read what changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian::config::Config;

/// Files in a folder with this extension, in order.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    files.sort();
    files
}

#[test]
fn problems_are_shown_as_expected() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    let inputs = files("tests/config", "toml");
    assert!(inputs.len() >= 40, "only {} inputs", inputs.len());
    for input in &inputs {
        let name = Path::new(input.file_name().unwrap());
        let expected_path = input.with_extension("txt");
        let shown = match Config::parse(&fs::read_to_string(input).unwrap(), name) {
            Ok(_) => "no problem\n".to_owned(),
            Err(problems) => problems.to_string(),
        };
        if update {
            fs::write(expected_path, shown).unwrap();
        } else if fs::read_to_string(&expected_path).unwrap_or_default() != shown {
            wrong.push(format!("{} is not what is shown:\n{shown}", expected_path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for expected in files("tests/config", "txt") {
        assert!(expected.with_extension("toml").exists(), "{} has no input", expected.display());
    }
}

/// A file with this probe.
fn with_probe(keys: &str) -> String {
    format!(
        "server.listen = [\"127.0.0.1:0\"]\nzones.\"a.example\".nameservers = [\"ns.example\"]\n[probes.a]\n{keys}\n"
    )
}

/// The most there may be of something, the keys of a probe with so much of it, and what is said of more.
type Bounded<'a> = (usize, &'a dyn Fn(usize) -> String, &'a str);

#[test]
fn what_a_probe_sends_or_expects_is_bounded() {
    let headers = |count: usize| (0..count).map(|index| format!("x{index} = \"y\"")).collect::<Vec<_>>().join(", ");
    let texts: [Bounded<'_>; 11] = [
        (
            65_536,
            &|length| format!("type = \"http\"\nexpect_body = \"{}\"", "x".repeat(length)),
            "longer than what is read",
        ),
        (
            1_024,
            &|length| format!("type = \"http\"\nexpect_body_regex = \"{}\"", "x".repeat(length)),
            "longer than 1024 bytes",
        ),
        (2_048, &|length| format!("type = \"http\"\npath = \"/{}\"", "x".repeat(length - 1)), "a path is up to 2048"),
        (32, &|count| format!("type = \"http\"\nheaders = {{ {} }}", headers(count)), "33 headers are too many"),
        (
            4_096,
            &|length| format!("type = \"http\"\nheaders.x = \"{}\"", "y".repeat(length)),
            "the value of a header is up to 4096",
        ),
        (65_536, &|length| format!("type = \"tcp\"\nport = 1\nsend = \"{}\"", "x".repeat(length)), "too long a text"),
        (65_536, &|length| format!("type = \"tcp\"\nport = 1\nexpect = \"{}\"", "x".repeat(length)), "too long a text"),
        (255, &|length| format!("type = \"grpc\"\nport = 1\nservice = \"{}\"", "x".repeat(length)), "too long a name"),
        (
            4_096,
            &|length| format!("type = \"exec\"\ncommand = \"/a\"\narguments = [\"{}\"]", "x".repeat(length)),
            "too long an argument",
        ),
        (
            100,
            &|count| format!("type = \"exec\"\ncommand = \"/a\"\narguments = [{}]", "\"x\", ".repeat(count)),
            "at most 100",
        ),
        (
            4_096,
            &|length| {
                let text = "x".repeat(length);
                format!("type = \"dns\"\nname = \"a.example\"\nrecord = \"TXT\"\nexpect_answer = \"{text}\"")
            },
            "too long a text",
        ),
    ];
    for (most, keys, expected) in texts {
        let parsed = |size| Config::parse(&with_probe(&keys(size)), Path::new("test.toml"));
        assert!(parsed(most).is_ok(), "{expected}: {}", parsed(most).unwrap_err());
        let problem = parsed(most + 1).unwrap_err().to_string();
        assert!(problem.contains(expected), "{expected}: {problem}");
    }
    for command in ["bin/true", "/bin/\\u0000true"] {
        let keys = format!("type = \"exec\"\ncommand = \"{command}\"");
        let problem = Config::parse(&with_probe(&keys), Path::new("test.toml")).unwrap_err().to_string();
        assert!(problem.contains("expected the absolute path of a program"), "{problem}");
    }
}

#[test]
fn what_a_probe_does_not_say_follows_from_what_it_says() {
    let probe = |keys: &str| {
        let config = Config::parse(&with_probe(keys), Path::new("test.toml"));
        config.unwrap_or_else(|problems| panic!("{problems}")).probes[0].as_ref().clone()
    };
    let seconds = Duration::from_secs;
    for (interval, timeout, hold_down) in [(2, 1, 2), (5, 2, 5), (30, 2, 10)] {
        let timing = probe(&format!("type = \"tcp\"\nport = 1\ninterval = \"{interval}s\"")).timing;
        assert_eq!((timing.timeout, timing.hold_down), (seconds(timeout), seconds(hold_down)), "{interval} s");
    }
    let look = probe("type = \"file\"\npath = \"/states\"").timing;
    assert_eq!((look.interval, look.fall, look.rise), (seconds(1), 1, 1));
    let from = probe("type = \"tcp\"\nport = 1\nsource = \"::ffff:192.0.2.53\"");
    assert_eq!(from.check.source(), Some("192.0.2.53".parse().unwrap()));
}

#[test]
fn what_may_not_be_meant_is_warned_of() {
    let probes = [
        ("a", "type = \"tcp\"\nport = 1\ninterval = \"5s\"\ntimeout = \"4500ms\""),
        ("b", "type = \"tcp\"\nport = 1\ninterval = \"5s\"\ntimeout = \"5s\""),
        ("c", "type = \"https\"\nverify = false"),
        ("d", "type = \"heartbeat\"\nmax_silence = \"1s\""),
    ];
    let probes = probes.map(|(name, keys)| format!("[probes.{name}]\n{keys}\n")).concat();
    let text =
        format!("server.listen = [\"127.0.0.1:0\"]\nzones.\"a.example\".nameservers = [\"ns.example\"]\n{probes}");
    let config = Config::parse(&text, Path::new("test.toml")).unwrap_or_else(|problems| panic!("{problems}"));
    let expected = [
        "probe b asks what hangs every other time only, and so finds it down late, as the next run is due when the `timeout` of 5s \
         is over: write at most \"4s500ms\"",
        "probe c takes any certificate for its endpoints' own, as it has `verify = false`",
    ];
    assert_eq!(config.warnings().collect::<Vec<_>>(), expected);
}

#[test]
fn a_canary_that_is_asked_later_than_endpoints_fall_is_warned_of() {
    // Endpoints fall within 4 s, or 61 s by heartbeats; files are read whatever the network does.
    let base = r#"
server.listen = ["127.0.0.1:0"]
zones."a.example".nameservers = ["ns.example"]
regions.r.location = [0, 0]
probes.web = { type = "tcp", port = 1, interval = "1s", timeout = "500ms", fall = 3 }
probes.beat = { type = "heartbeat", max_silence = "1m", interval = "1s", fall = 1 }
probes.states = { type = "file", path = "/states" }
probes.seldom = { type = "icmp", interval = "3s", timeout = "501ms" }
probes.often = { type = "icmp", interval = "3s", timeout = "500ms" }
pools.p.endpoints = [{ region = "r", address = "192.0.2.1" }]
"#;
    let warnings = |canaries: &[&str], health: &str| {
        let canaries = canaries.iter().map(|probe| format!("{{ probe = \"{probe}\", address = \"192.0.2.254\" }}"));
        let canaries = canaries.collect::<Vec<_>>().join(", ");
        let text = format!("{base}safety.self_suspicion.canaries = [{canaries}]\npools.p.health = [{health}]\n");
        let config = Config::parse(&text, Path::new("test.toml")).unwrap_or_else(|problems| panic!("{problems}"));
        config.warnings().collect::<Vec<_>>()
    };
    let expected = "probe seldom is slow for a canary: what it said before this server was cut off may count for 3s501ms, while web \
                    finds endpoints down within 3s500ms: shorten its `interval`";
    let web = "{ probe = \"web\" }, { probe = \"beat\" }, { probe = \"states\" }";
    assert_eq!(warnings(&["often", "seldom"], web), [expected]);
    assert!(warnings(&["often"], web).is_empty());
    assert!(warnings(&["seldom"], "{ probe = \"beat\" }, { probe = \"states\" }").is_empty());
    assert!(warnings(&["seldom"], "{ probe = \"web\", monitoring_only = true }, { probe = \"states\" }").is_empty());
}

#[test]
fn a_server_that_can_not_suspect_itself_is_warned_of_where_that_matters() {
    let base = r#"
server.listen = ["127.0.0.1:0"]
zones."a.example".nameservers = ["ns.example"]
regions.r.location = [0, 0]
probes.web = { type = "tcp", port = 1 }
probes.same = { type = "tcp", port = 1 }
pools.bare.endpoints = [{ region = "r", address = "192.0.2.1" }]
pools.p.probe = "web"
pools.p.endpoints = [{ region = "r", address = "192.0.2.1" }, { region = "r", address = "192.0.2.2" }]
pools.q.probe = "same"
pools.q.endpoints = [{ region = "r", address = "192.0.2.1" }]
"#;
    let warnings = |text: &str| {
        let config = Config::parse(&format!("{base}{text}"), Path::new("test.toml"));
        let warnings: Vec<_> = config.unwrap_or_else(|problems| panic!("{problems}")).warnings().collect();
        warnings.join("\n")
    };
    let silent = "services.\"s.a.example\" = { pool = \"p\", when_all_down = \"nodata\" }\n";
    assert_eq!(
        warnings(silent),
        "this server can't suspect that it is cut off itself, as fewer targets are probed (2) than `least` (10); service \
         s.a.example would then answer no data to all: write `least = 2` and a canary in `[safety.self_suspicion]`, or \
         `when_all_down = \"serve-all\"`"
    );
    let last =
        "services.\"t.a.example\" = { pool = \"q\", when_all_down = \"last-resort\", last_resort = [\"192.0.2.9\"] }\n";
    assert!(
        warnings(&format!("{last}{silent}"))
            .contains("t.a.example (and 1 more) would then answer `last_resort` to all")
    );
    for unconcerned in [
        "services.\"s.a.example\" = { pool = \"p\" }\n",
        "services.\"s.a.example\" = { pool = \"p\", failover = [\"bare\"], when_all_down = \"nodata\" }\n",
        &format!("safety.self_suspicion.least = 2\n{silent}"),
        &format!("safety.self_suspicion.share = 1.0\n{silent}"),
    ] {
        assert_eq!(warnings(unconcerned), "", "{unconcerned}");
    }
}

#[test]
fn examples_load() {
    let examples = files("config", "toml");
    assert!(examples.len() >= 3, "only {} examples", examples.len());
    for example in examples {
        if let Err(problems) = Config::load(&example) {
            panic!("{problems}");
        }
    }
}
