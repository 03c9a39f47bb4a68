//! What the disk under `state_dir` may do to a server: be full, be damaged, and keep what was said before a kill.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::overrides::{TOKEN, read, run, say};
use crate::support::binary::{Meridian, response};
use crate::support::dns::ask;
use crate::support::folder::Folder;
use crate::support::{PATIENCE, skip};
use crate::{REGIONS, SERVER};

/// An endpoint in each region, in the order of the regions.
const ENDPOINTS: &str = r#"
[pools.web]
endpoints = [
  { region = "us-east", address = "10.0.0.1" },
  { region = "eu-central", address = "10.0.0.2" },
  { region = "ap-southeast", address = "10.0.0.3" },
]
[services."www.geo.example"]
pool = "web"
"#;

/// A server's folder and the path of its configuration.
fn site(name: &str, more: &str) -> (Folder, PathBuf) {
    let folder = Folder::new(name);
    folder.put_secret("token", TOKEN);
    let server = "server.state_dir = \"state\"\nadmin.token_file = \"token\"";
    let path = folder.put("meridian.toml", format!("{REGIONS}{SERVER}{server}\n{more}"));
    (folder, path)
}

fn answer(meridian: &Meridian) -> String {
    ask(meridian.dns, "www.geo.example A").to_string()
}

/// Says a word by the interface. Returns all that comes back; an error where the server ends meanwhile.
fn post(admin: SocketAddr, subject: &str, reason: &str) -> std::io::Result<String> {
    let body =
        format!("{{\"subject\": \"{subject}\", \"word\": \"disable\", \"reason\": \"{reason}\", \"author\": \"me\"}}");
    let headers = format!(
        "Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    response(admin, "POST /api/v1/overrides", &headers, &body)
}

#[test]
fn a_full_disk_refuses_words_and_nothing_else() {
    let (folder, path) = site("full-disk", ENDPOINTS);
    let mount = "mkdir -p \"$0\" && mount -t tmpfs -o size=64k,mode=700 none \"$0\"";
    let state = folder.path("state");
    let Some(mut command) = Meridian::within_mounts(mount, &state, &path) else {
        skip("this user may not mount a small disk in a namespace of its own");
        return;
    };
    let mut meridian = Meridian::serve_by(&mut command);
    // As the server sees it.
    let state = PathBuf::from(format!("/proc/{}/root{}", meridian.process.id(), state.display()));
    let fill = || fs::write(state.join("filler"), [0; 1 << 20]).unwrap_err();
    let disable = ["override", "disable", "region/us-east", "--reason", "the roof leaks"];

    fill();
    let (status, text) = run(&meridian, &folder, &disable);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("it can't be kept in state_dir ") && text.contains("No space left on device"), "{text}");
    assert!(text.contains("nothing has changed; make room or mend state_dir, and say it again"), "{text}");
    let refused = post(meridian.admin.unwrap(), "pool/web", "because").unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("make room"), "{refused}");
    assert_eq!(answer(&meridian), "NoError 10.0.0.1");
    assert_eq!(say(&meridian, &folder, &["override", "list"]), "no overrides\n");
    let failures = "meridian_state_write_failures_total{file=\"overrides\"} 2\n";
    assert!(read(&meridian, "/metrics").contains(failures));

    fs::remove_file(state.join("filler")).unwrap();
    say(&meridian, &folder, &disable);
    assert_eq!(answer(&meridian), "NoError 10.0.0.2");
    // At the end there is no room for verdicts either.
    fill();
    meridian.process.signal("TERM");
    assert!(meridian.process.wait_for_end(PATIENCE).success());
    let text = meridian.process.text();
    assert!(text.contains("verdicts can't be stored") && text.contains("No space left on device"), "{text}");
}

/// Changes a bit behind this text in a file, which makes other words of what it says, and returns what is there then.
fn damage(path: &Path, behind: &str) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    let place = std::str::from_utf8(&bytes).unwrap().find(behind).unwrap() + behind.len();
    bytes[place] ^= 1;
    fs::write(path, &bytes).unwrap();
    bytes
}

#[test]
fn damaged_files_are_told_of_and_keep_nothing_from_being_served() {
    let (folder, path) = site("damage", ENDPOINTS);
    let mut meridian = Meridian::serve(&path);
    for region in ["us-east", "eu-central", "ap-southeast"] {
        say(&meridian, &folder, &["override", "disable", &format!("region/{region}"), "--reason", "the roof leaks"]);
    }
    assert_eq!(answer(&meridian), "NoError");
    meridian.process.signal("TERM");
    assert!(meridian.process.wait_for_end(PATIENCE).success());
    let damaged = damage(&folder.path("state/overrides"), "region/eu-");
    damage(&folder.path("state/verdicts"), "\"record\":");

    let meridian = Meridian::serve(&path);
    assert_eq!(answer(&meridian), "NoError 10.0.0.2", "the first word holds, and those from the damage on do not");
    let text = meridian.process.text();
    let is_told = |level: &str, what: &str, file: &str| {
        let is_so =
            |line: &str| line.contains(level) && line.contains(what) && line.contains(&format!("state/{file} "));
        assert!(text.lines().any(is_so), "{what}: {text}");
    };
    is_told("ERROR", "overrides are damaged; those before that hold, those after it do not", "overrides");
    is_told("WARN", "the stored verdicts are not taken up", "verdicts");
    say(&meridian, &folder, &["override", "disable", "region/eu-central", "--reason", "the roof leaks"]);
    assert_eq!(answer(&meridian), "NoError 10.0.0.3");
    let names = fs::read_dir(folder.path("state")).unwrap().map(|entry| entry.unwrap().path());
    let aside: Vec<PathBuf> = names.filter(|path| path.to_str().unwrap().contains("overrides.damaged-")).collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read(&aside[0]).unwrap(), damaged, "it is kept for whoever can mend it");
}

/// Words by their subjects.
type Words = BTreeMap<String, String>;

/// What holds, as the interface lists it.
fn listed(meridian: &Meridian) -> Words {
    let list: Value = serde_json::from_str(&read(meridian, "/api/v1/overrides")).unwrap();
    let word = |key: &str, said: &Value| said[key].as_str().unwrap().to_owned();
    list["overrides"].as_array().unwrap().iter().map(|said| (word("subject", said), word("reason", said))).collect()
}

#[test]
fn words_that_were_acknowledged_are_there_after_a_kill() {
    const KILLS: usize = 40;
    const SUBJECTS: u64 = 50;
    let endpoint = |host| format!("{{ region = \"us-east\", address = \"10.0.1.{host}\" }},\n");
    let endpoints: String = (0..SUBJECTS).map(endpoint).collect();
    let (_folder, path) = site("kills", &format!("pools.web.endpoints = [\n{endpoints}]\n"));
    let mut rng = fastrand::Rng::with_seed(9);
    let (mut acknowledged, mut said) = (Words::new(), 0);
    let mut meridian = Meridian::serve(&path);
    for kill in 0..KILLS {
        let admin = meridian.admin.unwrap();
        let mut unanswered = acknowledged.clone();
        let dies_after = Duration::from_micros(rng.u64(0..20_000));
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(dies_after);
                meridian.process.signal("KILL");
            });
            loop {
                said += 1;
                let (subject, reason) =
                    (format!("endpoint/web/us-east/10.0.1.{}", said % SUBJECTS), format!("number {said}"));
                unanswered.insert(subject.clone(), reason.clone());
                match post(admin, &subject, &reason) {
                    Ok(response) if response.starts_with("HTTP/1.1 200 ") => acknowledged = unanswered.clone(),
                    // Nothing came back, or a part of it.
                    Ok(response) => break assert!(response.is_empty(), "{response}"),
                    Err(_) => break,
                }
            }
        });
        meridian.process.wait_for_end(PATIENCE);
        // The last one may hold, as it was kept before it could be acknowledged.
        meridian = Meridian::serve(&path);
        let there = listed(&meridian);
        assert!(there == acknowledged || there == unanswered, "kill {kill}: {there:?} is not {acknowledged:?}");
        acknowledged = there;
    }
    assert!(said > KILLS as u64, "some were acknowledged");
}
