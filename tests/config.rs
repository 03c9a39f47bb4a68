//! Every tests/config/*.toml has problems, and *.txt beside it shows them as the operator sees them.
//!
//! `UPDATE=1 cargo test --test config` rewrites the *.txt; read what changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

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
fn examples_load() {
    let examples = files("config", "toml");
    assert!(examples.len() >= 3, "only {} examples", examples.len());
    for example in examples {
        if let Err(problems) = Config::load(&example) {
            panic!("{problems}");
        }
    }
}
