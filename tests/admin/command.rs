use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Instant;

use meridian::admin::view::{Explanation, History};

use crate::http::{Interface, TokenFile};
use crate::support::{CONFIGURATION, observe, prepared};

const MINIMAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/minimal.toml");

fn explain(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
    command.arg("explain").args(arguments).env_remove("MERIDIAN_TOKEN_FILE").output().unwrap()
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

#[test]
fn asks_a_server() {
    let file = TokenFile::new("command");
    let token_file = file.0.to_str().unwrap();
    let interface = Interface::start(Some(file.0.clone()));
    let admin = interface.address.to_string();
    let question = ["www.example.com", "AAAA", "--client", "10.1.0.0/16", "--admin", &admin];

    let shown = explain(&[&question[..], &["--token-file", token_file]].concat());
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    assert!(text(&shown.stdout).contains("Server    generation 1\n"), "{}", text(&shown.stdout));
    assert!(text(&shown.stdout).ends_with("  www.example.com. 5 IN AAAA 2001:db8::1\n"), "{}", text(&shown.stdout));

    let json = explain(&[&question[..], &["--token-file", token_file, "--json"]].concat());
    let explanation: Explanation = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(explanation.answer.answer[0].data, "2001:db8::1");

    for (question, named, status, expected) in [
        (&question[..], "", 1, "--token-file FILE`, or by `export MERIDIAN_TOKEN_FILE=FILE`"),
        (&question, token_file, 0, ""),
        (&question, "/nowhere/admin.token", 1, "/nowhere/admin.token"),
        (&["www.gslb.example.com", "-c", MINIMAL], "/nowhere/admin.token", 0, ""),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
        let output = command.arg("explain").args(question).env("MERIDIAN_TOKEN_FILE", named).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{named}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(expected), "{named}: {}", text(&output.stderr));
    }
    let other = TokenFile::of("command-other", "another-token-for-tests");
    let refused = explain(&[&question[..], &["--token-file", other.0.to_str().unwrap()]].concat());
    assert!(text(&refused.stderr).contains("has another token than the one given"), "{}", text(&refused.stderr));
}

#[test]
fn reads_a_file() {
    let shown = explain(&["www.gslb.example.com", "-c", MINIMAL]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    assert!(text(&shown.stdout).contains("read from a file"), "{}", text(&shown.stdout));
    let missing = explain(&["www.gslb.example.com", "-c", "/nowhere/meridian.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/nowhere/meridian.toml"), "{}", text(&missing.stderr));
}

#[test]
fn says_what_to_do() {
    // Bound and not listening any more once dropped, so nothing answers there.
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (arguments, code, expected) in [
        (&["www.example.com", "--admin", &admin][..], 1, "meridian serve"),
        (&["www.example.com", "--admin", &admin], 1, "-c FILE"),
        (&["www..example.com"], 1, "no domain name"),
        (&["www.example.com", "--client", "here"], 1, "\"here\" is no client"),
        (&["www.example.com", "-c", "x", "--token-file", "y"], 2, "cannot be used with"),
        (&[], 2, "<NAME>"),
    ] {
        let output = explain(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
    }
    let help = explain(&["--help"]);
    assert!(text(&help.stdout).contains("meridian explain www.gslb.example.com --client"), "{}", text(&help.stdout));
}

/// Beside [`CONFIGURATION`].
const QUIET: &str = r#"
[pools.quiet]
endpoints = [
  { region = "us-east", address = "203.0.113.71", weight = 0 },
  { region = "us-east", address = "203.0.113.72", state = "disabled" },
  { region = "us-east", address = "203.0.113.73", state = "disabled" },
  { region = "us-east", address = "203.0.113.74", state = "draining" },
  { region = "us-east", address = "203.0.113.75" },
]
"#;

#[test]
fn tells_of_what_operators_say() {
    let file = TokenFile::new("command-words");
    let interface = Interface::start_with(&format!("{CONFIGURATION}{QUIET}"), Some(file.0.clone()));
    let admin = interface.address.to_string();
    let run = |arguments: &str, reason: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
        command.args(arguments.split(' ')).args(reason).args(["--admin", &admin]).env("MERIDIAN_TOKEN_FILE", &file.0);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    // Times are told as they are, but are no part of this.
    let timeless = |shown: &str| {
        let words =
            shown.split(' ').map(|word| if word.parse::<toml::value::Datetime>().is_ok() { "TIME" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    let because = ["--author", "alice", "--reason", "it is well"];
    assert_eq!(run("override list", &[]), "no overrides\n");
    assert_eq!(run("override audit", &[]), "nothing was said\n");
    let out = "nobody is sent there all the same";
    assert_eq!(
        timeless(&run("override up pool/quiet", &because)),
        format!(
            "up pool/quiet (5 endpoints) since TIME until cleared, by alice: it is well\n  but 2 of 5 are disabled: {out}\n  but \
             1 of 5 is draining: {out}\n  but 1 of 5 is of weight 0: {out}\n  until the server restarts, as it has no state_dir\n"
        )
    );
    let one = "endpoint/quiet/us-east/203.0.113.75";
    let said = timeless(&run(&format!("override drain {one} --for 3d"), &because));
    assert!(said.starts_with(&format!("drain {one} (1 endpoint) since TIME until TIME (")), "{said}");
    assert!(said.contains(" left), by alice: it is well\n"), "{said}");
    let said = timeless(&run("override drain pool/web", &because));
    assert!(!said.contains("but"), "only who is to be up is told that nobody is sent there: {said}");
    run("override clear pool/web", &["--author", "bob"]);
    assert_eq!(run("resume pool/web", &because), "pool/web: nothing was held down\n");
    interface.reloader.publisher().replace(prepared(CONFIGURATION).1.compiled);
    let listed = timeless(&run("override list", &[]));
    assert!(
        listed.contains("up pool/quiet (no endpoint any more: check the name) since TIME until cleared"),
        "{listed}"
    );
    let audit = run("override audit", &[]);
    let audit: Vec<&str> = audit.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(audit[0], "up pool/quiet until cleared, by alice: it is well");
    assert!(audit[1].starts_with(&format!("drain {one} until 2")), "{}", audit[1]);
    assert_eq!(audit[3..], ["clear pool/web, by bob", "resume pool/web, by alice: it is well"]);
    run("override down endpoint/web/us-east/192.0.2.2", &because);
    run("override disable service/open.example.com", &because);
    let said = run("override up region/us-east", &because);
    let (_, said) = said.split_once(out).unwrap();
    let expected = "  but a word drains or disables open.example.com: it sends nobody new there all the same\n  but 1 of 7 keeps \
                    another verdict: a more specific word says so\n";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn tells_of_what_changed() {
    let interface = Interface::start(None);
    let admin = interface.address.to_string();
    let history = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
        command.arg("history").args(arguments).args(["--admin", &admin]).output().unwrap()
    };
    let told = history(&[]);
    assert!(text(&told.stdout).starts_with("nothing changed since the server started "), "{}", text(&told.stdout));
    let publisher = interface.reloader.publisher();
    observe(publisher, &[], 1, Instant::now());
    observe(publisher, &["192.0.2.1"], 3, Instant::now());
    let told = history(&["endpoint/web/us-east/192.0.2.1", "--limit", "1"]);
    let (older, line) = text(&told.stdout).split_once('\n').unwrap();
    assert_eq!(older, "(1 older changes: --limit shows more)");
    let (time, rest) = line.split_once("  ").unwrap();
    assert!(time.parse::<toml::value::Datetime>().is_ok(), "{time}");
    assert_eq!(rest, "endpoint/web/us-east/192.0.2.1  up -> down: 192.0.2.1: connection refused\n");
    let json = history(&["pool/web", "--json"]);
    let told: History = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((told.changes.len(), told.left_out), (6, 0));
    assert_eq!(told.changes[5].to, "down");
    let refused = history(&["pool/wbe"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("belongs to pool/wbe"), "{}", text(&refused.stderr));
}
