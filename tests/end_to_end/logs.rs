//! A log whose reader hangs.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use crate::REGIONS;
use crate::support::backend::Backend;
use crate::support::binary::{Meridian, get};
use crate::support::dns::ask;
use crate::support::folder::Folder;
use crate::support::{free_port, wait_until};

/// Killed when dropped.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Nobody reads its standard error, which holds 64 KiB: far less than is logged here.
#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    let [mut backend] = Backend::start_all([Ipv4Addr::new(127, 0, 17, 1)]);
    let (dns, admin) = (free_port(), free_port());
    // Each run is a line; all but one are refused.
    let refused: Vec<String> =
        (2..250).map(|host| format!("{{ region = \"us-east\", address = \"127.0.17.{host}\" }}")).collect();
    let config = format!(
        r#"
{REGIONS}
server.listen = ["127.0.0.1:{dns}"]
admin.listen = "127.0.0.1:{admin}"
log.level = "debug"
# Nearly all is down from the beginning.
safety.self_suspicion.share = 1.0
zones."geo.example".nameservers = ["ns1.example.net"]
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
    let folder = Folder::new("logs");
    let config = folder.put("meridian.toml", config);
    let mut command = Meridian::command(&["serve", "-c"]);
    let child = command.arg(config).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let _server = Killed(child);
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin));
    wait_until("it serves", || std::net::TcpStream::connect(admin).is_ok());
    let metric = |name: &str| {
        let text = get(admin, "/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.map_or(0.0, |value| value.parse::<f64>().unwrap())
    };
    wait_until("lines are dropped", || metric("meridian_log_lines_dropped_total") > 0.0);
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, dns));
    let answer = || ask(server, "www.geo.example A").address().map(|address| address.to_string());
    assert_eq!(answer().as_deref(), Some("127.0.17.1"));
    backend.stop();
    wait_until("what died is not answered", || answer().as_deref() == Some("203.0.113.80"));
}
