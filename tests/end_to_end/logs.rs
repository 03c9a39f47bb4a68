//! A log whose reader hangs, and one that can not be written.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};

use crate::REGIONS;
use crate::support::backend::Backend;
use crate::support::binary::{Meridian, get};
use crate::support::dns::ask;
use crate::support::folder::Folder;
use crate::support::{free_port, wait_until};

/// A server whose log tells nobody where it serves. Killed when dropped.
struct Server {
    child: Child,
    dns: SocketAddr,
    admin: SocketAddr,
    _folder: Folder,
}

impl Server {
    /// Started with this in its configuration, and serving.
    fn start(log: Stdio, config: &str) -> Self {
        let [dns, admin] = [(); 2].map(|()| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        let folder = Folder::new("logs");
        let config = folder.put(
            "meridian.toml",
            format!(
                "{REGIONS}server.listen = [\"{dns}\"]\nadmin.listen = \"{admin}\"\n\
                 zones.\"geo.example\".nameservers = [\"ns1.example.net\"]\n{config}"
            ),
        );
        let mut command = Meridian::command(&["serve", "-c"]);
        let child = command.arg(config).stderr(log).stdout(Stdio::null()).spawn().unwrap();
        let server = Self { child, dns, admin, _folder: folder };
        wait_until("it serves", || std::net::TcpStream::connect(admin).is_ok());
        server
    }

    fn wait_for_dropped_lines(&self) {
        let metric = "meridian_log_lines_dropped_total ";
        let dropped = || get(self.admin, "/metrics").lines().find_map(|line| line.strip_prefix(metric)?.parse().ok());
        wait_until("lines are dropped", || dropped().is_some_and(|lines: f64| lines > 0.0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whoever wants to know has to ask.
#[test]
fn lines_that_can_not_be_written_are_counted() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let server = Server::start(full.into(), "");
    server.wait_for_dropped_lines();
    assert_eq!(ask(server.dns, "geo.example NS").to_string(), "NoError ns1.example.net.");
}

/// Nobody reads its standard error, which holds 64 KiB: far less than is logged here.
#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    let [mut backend] = Backend::start_all([Ipv4Addr::new(127, 0, 17, 1)]);
    // Each run is a line; all but one are refused.
    let refused: Vec<String> =
        (2..250).map(|host| format!("{{ region = \"us-east\", address = \"127.0.17.{host}\" }}")).collect();
    let config = format!(
        r#"
log.level = "debug"
# Nearly all is down from the beginning.
safety.self_suspicion.share = 1.0
[probes.web]
type = "http"
port = {port}
interval = "100ms"
timeout = "90ms"
[pools.web]
probe = "web"
endpoints = [{{ region = "us-east", address = "127.0.17.1" }}]
[pools.refused]
probe = "web"
endpoints = [{refused}]
[services."www.geo.example"]
pool = "web"
when_all_down = "last-resort"
last_resort = ["203.0.113.80"]
[services."refused.geo.example"]
pool = "refused"
"#,
        port = backend.address.port(),
        refused = refused.join(","),
    );
    let server = Server::start(Stdio::piped(), &config);
    server.wait_for_dropped_lines();
    let answer = || ask(server.dns, "www.geo.example A").address().map(|address| address.to_string());
    assert_eq!(answer().as_deref(), Some("127.0.17.1"));
    backend.stop();
    wait_until("what died is not answered", || answer().as_deref() == Some("203.0.113.80"));
}
