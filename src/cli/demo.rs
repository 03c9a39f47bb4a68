//! `meridian demo`: the main job on one machine.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::config::{Check, Target};
use crate::daemon::{Daemon, StartError};
use crate::reload::Origin;
use crate::snapshot::{Compiled, Input};

/// The configuration that is served.
const CONFIGURATION: &str = include_str!("../../config/demo.toml");

/// Clients to try, in networks that have been where they are for decades.
const CLIENTS: [(&str, &str); 4] =
    [("Frankfurt", "141.2.0.0/16"), ("Sydney", "129.78.0.0/16"), ("Boston", "18.7.0.0/16"), ("Tokyo", "2001:200::/32")];

/// Serve an example on loopback, with backends of its own, to try Meridian with dig.
///
/// Starts a small HTTP backend for each endpoint of the example configuration, serves DNS and the admin interface on
/// loopback, and prints what to try. Type `stop REGION` and `start REGION` (or the address of one backend) to watch
/// answers fail over and return. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print the example configuration and end
    #[arg(long)]
    print_config: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if arguments.print_config {
        print!("{CONFIGURATION}");
        return ExitCode::SUCCESS;
    }
    match start() {
        Ok(daemon) => daemon.run_until_signalled(),
        Err(problem) => super::fail(problem),
    }
}

fn start() -> Result<Daemon, StartError> {
    let daemon = Daemon::start(Origin::Embedded(CONFIGURATION.to_owned()))?;
    let snapshot = daemon.reloader().publisher().current();
    let mut backends = Backends::new(&snapshot.compiled, daemon.runtime().handle().clone());
    for address in backends.addresses() {
        backends.start(address)?;
    }
    print_guide(&daemon, &snapshot.compiled, &backends);
    // Ends with the process: a thread that waits for standard input can't be woken.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            println!("{}", backends.command(&line));
        }
    });
    Ok(daemon)
}

fn print_guide(daemon: &Daemon, compiled: &Compiled, backends: &Backends) {
    let Some(server) = daemon.addresses().first() else { return };
    println!("\nServing DNS at {server}, with these regions and backends:\n");
    for (region, addresses) in &backends.regions {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        println!("  {region:14} {}", addresses.join("  "));
    }
    let names: Vec<String> = compiled.config.services.iter().map(|service| service.name.to_string()).collect();
    let Some(name) = names.first() else { return };
    println!("\nServices: {}", names.join("  "));
    println!("\nAsk as a client of another place (in another terminal; dig is in Debian's bind9-dnsutils):\n");
    let dig = format!("dig @{} -p {} +short", server.ip(), server.port());
    for (place, subnet) in CLIENTS {
        println!("  {dig} {name} +subnet={subnet:18} # {place}");
    }
    println!("\nWhy that answer?\n");
    println!("  {dig} CH TXT explain.{name} +subnet={}", CLIENTS[0].1);
    println!("  meridian explain {name} --client {}   # or: cargo run --release -- explain …", CLIENTS[0].1);
    if let Some(admin) = &compiled.config.admin {
        println!("  curl http://{}/metrics", admin.listen);
    }
    let last_region = backends.regions.keys().nth(1).map_or("REGION", String::as_str);
    println!(
        "\nType `stop {last_region}` here and ask again to watch the failover, `start {last_region}` to end it. Ctrl-C ends the demo.\n"
    );
}

/// The demo's own HTTP servers, by address.
struct Backends {
    runtime: Handle,
    regions: BTreeMap<String, Vec<IpAddr>>,
    ports: BTreeMap<IpAddr, u16>,
    running: BTreeMap<IpAddr, JoinHandle<()>>,
}

impl Backends {
    /// One backend for each loopback address that an HTTP probe asks.
    fn new(compiled: &Compiled, runtime: Handle) -> Self {
        let mut backends = Self { runtime, regions: BTreeMap::new(), ports: BTreeMap::new(), running: BTreeMap::new() };
        for group in &compiled.groups {
            let region = &compiled.config.regions[usize::from(group.region)].name;
            for endpoint in &compiled.endpoints[group.endpoints.start as usize..group.endpoints.end as usize] {
                for input in &endpoint.inputs {
                    let Input::Target(target) = input else { continue };
                    let Some(key) = compiled.targets.get(target.index()) else { continue };
                    if let (Check::Http(check), Target::Address(address)) = (&*key.check, &key.target)
                        && address.is_loopback()
                        && backends.ports.insert(*address, check.port).is_none()
                    {
                        backends.regions.entry(region.clone()).or_default().push(*address);
                    }
                }
            }
        }
        backends
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.ports.keys().copied().collect()
    }

    fn start(&mut self, address: IpAddr) -> Result<(), StartError> {
        if self.running.contains_key(&address) {
            return Ok(());
        }
        let Some(port) = self.ports.get(&address) else { return Ok(()) };
        let at = SocketAddr::new(address, *port);
        let listener = self
            .runtime
            .block_on(TcpListener::bind(at))
            .map_err(|problem| format!("the demo's backend at {at}: {problem}"))?;
        let greeting = Arc::<str>::from(format!("Hello from {address}\n"));
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/", get(move || async move { greeting.to_string() }));
        let task = self.runtime.spawn(async move {
            // Serving never ends by itself; the task is aborted to stop the backend.
            let _ = axum::serve(listener, router).await;
        });
        self.running.insert(address, task);
        Ok(())
    }

    /// Obeys one line of the operator's.
    fn command(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [verb @ ("stop" | "start"), what] = words[..] else {
            return format!("type `stop` or `start` and one of: {}", self.names().join(" "));
        };
        let addresses = match (self.regions.get(what), what.parse::<IpAddr>()) {
            (Some(addresses), _) => addresses.clone(),
            (None, Ok(address)) if self.ports.contains_key(&address) => vec![address],
            _ => return format!("`{what}` is none of: {}", self.names().join(" ")),
        };
        for address in addresses {
            if verb == "stop" {
                if let Some(task) = self.running.remove(&address) {
                    task.abort();
                }
            } else if let Err(problem) = self.start(address) {
                return problem.to_string();
            }
        }
        format!("{what}: {verb} done; the log above tells when its health is noticed")
    }

    fn names(&self) -> Vec<String> {
        let regions = self.regions.keys().cloned();
        regions.chain(self.ports.keys().map(ToString::to_string)).collect()
    }
}
