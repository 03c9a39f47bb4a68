//! The real binary.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use super::PATIENCE;
use super::process::Process;

/// A running `meridian serve`.
#[derive(Debug)]
pub(crate) struct Meridian {
    pub(crate) process: Process,
    /// Where it serves DNS; the first address.
    pub(crate) dns: SocketAddr,
    /// Where it serves the admin interface, where it does.
    pub(crate) admin: Option<SocketAddr>,
}

impl Meridian {
    /// A command that runs the binary.
    pub(crate) fn command(arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
        command.args(arguments);
        command
    }

    /// Starts it with this configuration, and returns as soon as it says that it has started.
    pub(crate) fn serve(config: &Path) -> Self {
        Self::serve_by(Self::command(&["serve", "-c"]).arg(config))
    }

    /// A command that serves within a mount namespace of its own, after this preparation by the shell, to which `$0` is a path;
    /// nothing where this user may have none.
    pub(crate) fn within_mounts(preparation: &str, path: &Path, config: &Path) -> Option<Command> {
        let script = format!("{preparation} && exec \"$@\"");
        let command = |program: &str, arguments: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", &script]).arg(path).arg(program).args(arguments);
            command
        };
        let is_possible = command("true", &[]).output().is_ok_and(|output| output.status.success());
        is_possible.then(|| command(env!("CARGO_BIN_EXE_meridian"), &["serve", "-c", config.to_str().unwrap()]))
    }

    /// As [`Self::serve`], by a command that becomes the binary.
    pub(crate) fn serve_by(command: &mut Command) -> Self {
        let process = Process::start(command);
        process.wait_for("`started`", 0, |line| line.contains(" started ").then_some(()));
        let address = |message: &str| {
            let text = process.text();
            let line = text.lines().find(|line| line.contains(message))?;
            line.split_once("address=")?.1.split_whitespace().next()?.parse().ok()
        };
        let dns = address("serving DNS").unwrap_or_else(|| panic!("it names no address:\n{}", process.text()));
        let admin = address("serving the admin interface");
        Self { process, dns, admin }
    }

    /// Sends SIGHUP, and waits until that is done, well or not. Returns what was logged meanwhile.
    pub(crate) fn reload(&self) -> String {
        let before = self.process.written();
        self.process.signal("HUP");
        self.wait_for_reload(before)
    }

    /// Waits for a reload that is logged after the first `skipped` lines. Returns what was logged meanwhile.
    pub(crate) fn wait_for_reload(&self, skipped: usize) -> String {
        self.process.wait_for("a reload", skipped, |line| {
            (line.contains("reloaded") || line.contains("the old configuration goes on serving")).then_some(())
        });
        self.process.lines_after(skipped).join("\n")
    }

    /// The body that the admin interface answers to a GET.
    pub(crate) fn get(&self, path: &str) -> String {
        get(self.admin.expect("an admin interface"), path)
    }

    /// The body that it answers to a POST of JSON by whoever bears this token.
    pub(crate) fn post(&self, path: &str, token: &str, json: &str) -> String {
        let headers = format!(
            "Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            json.len()
        );
        request(self.admin.expect("an admin interface"), &format!("POST {path}"), &headers, json)
    }

    /// The sum of a metric's series that have this label.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.get("/metrics");
        let series = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
        });
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// The verdicts of all endpoints, as `(address, verdict)`.
    pub(crate) fn verdicts(&self) -> Vec<(String, String)> {
        let health: serde_json::Value = serde_json::from_str(&self.get("/api/v1/health")).unwrap();
        let word = |endpoint: &serde_json::Value, key: &str| endpoint[key].as_str().unwrap().to_owned();
        let endpoints = health["endpoints"].as_array().unwrap();
        endpoints.iter().map(|endpoint| (word(endpoint, "endpoint"), word(endpoint, "verdict"))).collect()
    }

    /// Waits until no endpoint is unknown, but for these.
    pub(crate) fn wait_for_verdicts(&self, but_for: &[IpAddr]) {
        let is_excepted = |endpoint: &str| but_for.iter().any(|address| address.to_string() == endpoint);
        super::wait_until("every endpoint has a verdict", || {
            self.verdicts().iter().all(|(endpoint, verdict)| verdict != "unknown" || is_excepted(endpoint))
        });
    }
}

/// The body that an HTTP server answers to a GET, with status 200.
pub(crate) fn get(server: SocketAddr, path: &str) -> String {
    request(server, &format!("GET {path}"), "", "")
}

/// The same of a request with this method and path, these further header lines, and this body.
pub(crate) fn request(server: SocketAddr, what: &str, headers: &str, body: &str) -> String {
    let response = response(server, what, headers, body).unwrap();
    match response.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => body.to_owned(),
        _ => panic!("{what}: {response}"),
    }
}

/// All that comes back, whatever its status; an error where the server ends meanwhile.
pub(crate) fn response(server: SocketAddr, what: &str, headers: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "{what} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n{headers}\r\n{body}")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}
