//! What it costs to probe very many endpoints, and whether queries feel it: `cargo bench --bench probes`, which prints one line for
//! each number of endpoints. The server is the real binary. What it probes is another process, which notes when it is asked; so the
//! schedule is measured from outside.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, reason = "a bench")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt;
use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::binary::Meridian;
use support::folder::Folder;
use support::process::Process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// One of so many endpoints accepts and says nothing.
const HANGING: u32 = 50;
const POOLS: u32 = 20;
const REGIONS: u32 = 4;
const QUERIES_PER_SECOND: f64 = 10_000.0;
const ROUNDS: usize = 3;
/// Ticks of processor time in a second, as everywhere on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

struct Scene {
    endpoints: u32,
    interval: Duration,
    window: Duration,
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("backends") {
        backends();
        return;
    }
    let seconds = Duration::from_secs;
    run(&Scene { endpoints: 20_000, interval: seconds(5), window: seconds(40) });
    run(&Scene { endpoints: 100_000, interval: seconds(30), window: seconds(90) });
}

fn address(endpoint: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + endpoint)
}

fn endpoint(address: IpAddr) -> u32 {
    let IpAddr::V4(address) = address else { return 0 };
    address.to_bits().wrapping_sub(Ipv4Addr::new(127, 1, 0, 0).to_bits())
}

fn configuration(scene: &Scene, endpoints: u32, port: Option<u16>) -> String {
    let mut text = "[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [zones.\"example.com\"]\nnameservers = [\"ns1.example.net\"]\n"
        .to_owned();
    for region in 0..REGIONS {
        text += &format!("[regions.r{region}]\nlocation = [0, {}]\n", region * 30);
    }
    if let Some(port) = port {
        let interval = scene.interval.as_secs();
        text += &format!(
            "[probes.http]\ntype = \"http\"\npath = \"/healthz\"\nport = {port}\ninterval = \"{interval}s\"\ntimeout = \"2s\"\n"
        );
    }
    for pool in 0..POOLS.min(endpoints) {
        let list: Vec<String> = (pool..endpoints)
            .step_by(POOLS as usize)
            .map(|index| format!("{{ region = \"r{}\", address = \"{}\" }}", index / POOLS % REGIONS, address(index)))
            .collect();
        let probe = if port.is_some() { "probe = \"http\"\n" } else { "" };
        text += &format!("[pools.p{pool}]\n{probe}endpoints = [{}]\n", list.join(",\n"));
        text += &format!("[services.\"s{pool}.example.com\"]\npool = \"p{pool}\"\n");
    }
    text
}

/// The machine's part of one process's life so far.
fn processor_seconds(process: &Process) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let [user, system] = [11, 12].map(|field: usize| fields[field].parse::<f64>().unwrap());
    (user + system) / TICKS_PER_SECOND
}

fn run(scene: &Scene) {
    let folder = Folder::new("probes-bench");
    let serve = |name: &str, text: &str| Meridian::serve(&folder.put(name, text));
    let mut backends = Process::start(Command::new(std::env::current_exe().unwrap()).arg("backends"));
    let port = backends.wait_for("a port", 0, |line| line.strip_prefix("port ")?.parse().ok());

    let small = serve("small.toml", &configuration(scene, 1, Some(port)));
    std::thread::sleep(Duration::from_secs(3));
    let small_kib = small.process.resident_kib();
    drop(small);

    let server = serve("all.toml", &configuration(scene, scene.endpoints, Some(port)));
    // Until all have had their first run and are on their schedule.
    std::thread::sleep(scene.interval * 2);
    let late = Lateness::read(&server);
    let missed = server.metric("meridian_probes_missed_total", "");
    backends.type_line("begin");
    let (began, processor) = (Instant::now(), processor_seconds(&server.process));
    let mut sockets = 0;
    while began.elapsed() < scene.window {
        std::thread::sleep(Duration::from_millis(500));
        let open = std::fs::read_dir(format!("/proc/{}/fd", server.process.id())).unwrap().count();
        sockets = sockets.max(open);
    }
    let share = (processor_seconds(&server.process) - processor) / began.elapsed().as_secs_f64();
    let written = backends.written();
    backends.type_line(&format!("end {}", scene.interval.as_micros()));
    let arrivals = backends.wait_for("the times", written, |line| line.strip_prefix("arrivals ").map(str::to_owned));
    let late = Lateness::read(&server).since(&late);
    let missed = server.metric("meridian_probes_missed_total", "") - missed;
    let kib = server.process.resident_kib();
    let delay = Lateness::of(&server, "meridian_verdict_delay_seconds");
    drop(server);

    print!(
        "{} endpoints every {:?}, one in {HANGING} times out: {:.0} % of a core; {arrivals}; late {late}; missed {missed}; \
         verdicts to answers {delay}; {:.1} KiB per endpoint; {sockets} descriptors at most",
        scene.endpoints,
        scene.interval,
        share * 100.0,
        (kib - small_kib) as f64 / f64::from(scene.endpoints - 1),
    );
    std::io::stdout().flush().unwrap();

    // One after the other, so that each pair has the same neighbours on this machine.
    let mut p99 = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        for (probes, measured) in [None, Some(port)].into_iter().zip(&mut p99) {
            let server = serve("queries.toml", &configuration(scene, scene.endpoints, probes));
            std::thread::sleep(Duration::from_secs(if probes.is_some() { 8 } else { 2 }));
            measured.push(query(server.dns, Duration::from_secs(8)));
        }
    }
    let [(without, lost_without), (with, lost_with)] = p99.map(|mut measured| {
        measured.sort_unstable();
        measured[measured.len() / 2]
    });
    println!(
        "; p99 of answers at {QUERIES_PER_SECOND}/s {without:?} without probes ({lost_without} lost), {with:?} with \
         ({lost_with} lost): {:+.1} %",
        (with.as_secs_f64() / without.as_secs_f64() - 1.0) * 100.0,
    );
}

/// A histogram of the server's: upper bounds in seconds, and how many were no longer.
struct Lateness(Vec<(f64, f64)>);

impl Lateness {
    fn read(server: &Meridian) -> Self {
        Self::of(server, "meridian_probe_lateness_seconds")
    }

    fn of(server: &Meridian, name: &str) -> Self {
        let text = server.get("/metrics");
        let buckets = text.lines().filter_map(|line| {
            let (bound, count) = line.strip_prefix(name)?.strip_prefix("_bucket{le=\"")?.split_once("\"} ")?;
            Some((bound.parse().unwrap(), count.parse().unwrap()))
        });
        Self(buckets.collect())
    }

    fn since(mut self, before: &Self) -> Self {
        self.0.iter_mut().zip(&before.0).for_each(|((_, count), (_, earlier))| *count -= earlier);
        self
    }
}

/// The bounds that so many were within.
impl fmt::Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.last().map_or(0.0, |(_, count)| *count);
        for (index, part) in [0.5, 0.99, 0.999].into_iter().enumerate() {
            let bound =
                self.0.iter().find(|(_, count)| *count >= all * part).map_or(f64::INFINITY, |(bound, _)| *bound);
            write!(f, "{}{} % ≤ {} ms", if index > 0 { ", " } else { "" }, part * 100.0, bound * 1e3)?;
        }
        Ok(())
    }
}

/// Asks at an even pace, whatever the answers, and returns what 99 of 100 answers took at most, and how many never came. It sleeps
/// between queries and waits for answers on another thread, so that the server doesn't share a processor with it for long.
fn query(server: SocketAddr, duration: Duration) -> (Duration, usize) {
    const PATIENCE: Duration = Duration::from_millis(200);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let began = Instant::now();
    // By id, in nanoseconds since then; 0 where none waits.
    let sent_at: Vec<AtomicU64> = (0..1 << 16).map(|_| AtomicU64::new(0)).collect();
    let nanoseconds = || began.elapsed().as_nanos() as u64;
    let (mut took, overtaken) = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (mut took, mut response) = (Vec::new(), [0; 4096]);
            while socket.recv(&mut response).is_ok() {
                let id = usize::from(u16::from_be_bytes([response[0], response[1]]));
                match sent_at[id].swap(0, Ordering::Relaxed) {
                    0 => {}
                    sent => took.push(Duration::from_nanos(nanoseconds() - sent)),
                }
            }
            took
        });
        let mut query = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x02s0\x07example\x03com\0\0\x01\0\x01".to_vec();
        let pause = Duration::from_secs(1).div_f64(QUERIES_PER_SECOND);
        let (mut due, mut id, mut overtaken) = (Instant::now(), 0_u16, 0);
        while due < began + duration {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // What this process was kept from sending is no burst that the server has to bear.
            due = due.max(Instant::now() - 10 * pause) + pause;
            query[..2].copy_from_slice(&id.to_be_bytes());
            overtaken += usize::from(sent_at[usize::from(id)].swap(nanoseconds(), Ordering::Relaxed) > 0);
            socket.send(&query).unwrap();
            id = id.wrapping_add(1);
        }
        (receiver.join().unwrap(), overtaken)
    });
    let lost = overtaken + sent_at.iter().filter(|sent| sent.load(Ordering::Relaxed) > 0).count();
    took.sort_unstable();
    (took[took.len() * 99 / 100], lost)
}

/// When which endpoint was asked, in microseconds.
type Arrivals = Arc<Mutex<Vec<(u32, u64)>>>;

/// Answers on every address of 127.0.0.0/8, and says of the schedule what standard input asks for.
fn backends() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let arrivals = Arrivals::default();
    let began = Instant::now();
    let _inside = runtime.enter();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("0.0.0.0:0".parse().unwrap()).unwrap();
    let listener = socket.listen(4096).unwrap();
    println!("port {}", listener.local_addr().unwrap().port());
    let noted = Arc::clone(&arrivals);
    runtime.spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let endpoint = endpoint(stream.local_addr().unwrap().ip());
            noted.lock().unwrap().push((endpoint, began.elapsed().as_micros() as u64));
            tokio::spawn(answer(stream, endpoint));
        }
    });
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ') {
            None => arrivals.lock().unwrap().clear(),
            Some((_, interval)) => {
                let arrivals = std::mem::take(&mut *arrivals.lock().unwrap());
                println!("arrivals {}", judge(&arrivals, interval.parse().unwrap()));
                std::io::stdout().flush().unwrap();
            }
        }
    }
}

async fn answer(mut stream: TcpStream, endpoint: u32) {
    let mut request = [0; 1024];
    let hangs = endpoint % HANGING == 7;
    while let Ok(1..) = stream.read(&mut request).await {
        if !hangs {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n").await;
        }
    }
}

/// The rate, the greatest drift of any endpoint's schedule from its interval, and how even all of them are spread over it.
fn judge(arrivals: &[(u32, u64)], interval_us: u64) -> String {
    const PARTS: usize = 50;
    let mut parts = [0_u32; PARTS];
    let mut by_endpoint = std::collections::HashMap::<u32, (u64, u64, u64)>::new();
    for (endpoint, at) in arrivals {
        parts[(at % interval_us) as usize * PARTS / interval_us as usize] += 1;
        let (_, last, count) = by_endpoint.entry(*endpoint).or_insert((*at, *at, 0));
        (*last, *count) = (*at, *count + 1);
    }
    let drift = |(first, last, count): &(u64, u64, u64)| {
        (*count > 1).then(|| ((last - first) as f64 / (count - 1) as f64 / interval_us as f64 - 1.0).abs())
    };
    let drifts: Vec<f64> = by_endpoint.values().filter_map(drift).collect();
    let worst = drifts.iter().fold(0.0_f64, |worst, drift| worst.max(*drift));
    let mean = f64::from(parts.iter().sum::<u32>()) / PARTS as f64;
    let [least, most] = [parts.iter().min(), parts.iter().max()].map(|count| f64::from(*count.unwrap()) / mean);
    let span = arrivals.last().unwrap().1 - arrivals[0].1;
    let rate = arrivals.len() as f64 / (span as f64 / 1e6);
    format!(
        "{rate:.0} probes/s of {} endpoints, drift {:.3} % on average and {:.3} % at worst, fiftieths of the interval {least:.2} to \
         {most:.2} of their mean",
        by_endpoint.len(),
        drifts.iter().sum::<f64>() / drifts.len() as f64 * 100.0,
        worst * 100.0
    )
}
