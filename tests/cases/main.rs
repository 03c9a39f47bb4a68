//! The case files of this folder: configuration, zones, queries and what must come back.
//!
//! Every file runs twice, with every query over UDP and over TCP: through the pure core, and through the real binary on
//! loopback. Every answer is decoded by two independent libraries, which have to agree with each other and with the case.
//! `file` says how a case is written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod binary;
mod expect;
mod file;
mod folder;
mod pure;
mod request;
#[path = "../support/mod.rs"]
mod support;
mod view;

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::thread;

use meridian::dns::Transport;

use crate::binary::Binary;
use crate::expect::Bound;
use crate::file::{Case, CaseFile};
use crate::pure::Core;

/// How often an outcome may differ from its share, in standard deviations: with the core's fixed seed, tightly; with the
/// binary's random one so widely that chance fails no run in a million.
const CORE_SIGMAS: f64 = 4.0;
const BINARY_SIGMAS: f64 = 6.0;
/// Processes at once.
const PROCESSES: usize = 2;
/// Fewer files and queries than these are not all of them.
const LEAST_FILES: usize = 120;
const LEAST_QUERIES: usize = 800;

#[test]
fn the_core_answers_every_case() {
    let files = CaseFile::load_all();
    let cases: usize = files.iter().map(|file| file.cases.len()).sum();
    assert!(files.len() >= LEAST_FILES, "only {} files were found", files.len());
    assert!(cases >= LEAST_QUERIES, "only {cases} queries were found");
    let failures: Vec<String> = files
        .iter()
        .flat_map(|file| match Core::load(file) {
            Ok(mut core) => run(file, CORE_SIGMAS, |_, request, peer, transport| {
                let length = core.respond(request, peer, transport)?;
                Some(core.response[..length].to_vec())
            }),
            Err(problem) => vec![format!("{}: {problem}", file.name)],
        })
        .collect();
    report(&failures, cases);
}

#[test]
fn the_binary_answers_every_case() {
    let files = CaseFile::load_all();
    let cases = files.iter().map(|file| file.cases.len()).sum();
    let failures = Mutex::new(Vec::new());
    let left = Mutex::new(files.iter());
    thread::scope(|scope| {
        for _ in 0..PROCESSES {
            scope.spawn(|| {
                while let Some(file) = { left.lock().unwrap().next() } {
                    let found = match Binary::start(file) {
                        Ok(mut binary) => {
                            let mut found = run(file, BINARY_SIGMAS, |case, request, peer, transport| {
                                binary.ask(request, peer, transport, case.silence)
                            });
                            if !found.is_empty() {
                                found.push(format!("{}: the log:\n{}", file.name, binary.log()));
                            }
                            found
                        }
                        Err(problem) => vec![format!("{}: {problem}", file.name)],
                    };
                    failures.lock().unwrap().extend(found);
                }
            });
        }
    });
    report(&failures.into_inner().unwrap(), cases);
}

/// Runs all cases of a file and returns what is wrong.
fn run(
    file: &CaseFile,
    sigmas: f64,
    mut ask: impl FnMut(&Case, &[u8], Ipv4Addr, Transport) -> Option<Vec<u8>>,
) -> Vec<String> {
    let mut failures = Vec::new();
    for (number, case) in file.cases.iter().enumerate() {
        let bound = Bound { sigmas, id: number as u16 + 1 };
        for transport in [Transport::Udp, Transport::Tcp] {
            let problems = expect::check(case, transport, bound, |request| ask(case, request, case.peer, transport));
            if !problems.is_empty() {
                let title = format!("{}: {} ({})", file.name, case.title(), transport.name());
                failures.push(format!("{title}\n    {}\n{}", case.why, problems.join("\n")));
            }
        }
    }
    failures
}

fn report(failures: &[String], cases: usize) {
    assert!(failures.is_empty(), "{} failures in {cases} cases:\n\n{}\n", failures.len(), failures.join("\n\n"));
}
