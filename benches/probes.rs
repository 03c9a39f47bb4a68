//! What it costs to probe very many endpoints, and whether queries feel it: `cargo bench --bench probes`, which prints one line for
//! each number of endpoints, or for the one that is given after `--`. The server is the real binary. What it probes is another process, which notes when it is asked; so the
//! schedule is measured from outside. Two CPUs are used: one for the server's background, the other for all else; where queries are
//! measured, what is probed shares the former, as it would be elsewhere.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, reason = "a bench")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt;
use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
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
/// In each round; the median of all counts, as a machine that is shared with others is disturbed now and then.
const SAMPLES: usize = 5;
/// For so long after most answer again the server goes on doubting itself: the window, and a tick.
const DOUBT: Duration = Duration::from_secs(31);
/// For the server's answers and whoever asks, and for its background.
const CPUS: [&str; 2] = ["0", "1"];
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
    keep(std::process::id(), CPUS[0]);
    let seconds = Duration::from_secs;
    let scenes = [(20_000, 5, 40), (100_000, 30, 90)].map(|(endpoints, interval, window)| Scene {
        endpoints,
        interval: seconds(interval),
        window: seconds(window),
    });
    let given: Option<u32> = std::env::args().find_map(|argument| argument.parse().ok());
    scenes.iter().filter(|scene| given.is_none_or(|given| given == scene.endpoints)).for_each(run);
}

fn address(endpoint: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + endpoint)
}

fn endpoint(address: IpAddr) -> u32 {
    let IpAddr::V4(address) = address else { return 0 };
    address.to_bits().wrapping_sub(Ipv4Addr::new(127, 1, 0, 0).to_bits())
}

/// Whether the server's background has a CPU of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cpus {
    Divided,
    Shared,
}

fn configuration(scene: &Scene, endpoints: u32, port: Option<u16>, cpus: Cpus) -> String {
    let mut text = "[server]\nlisten = [\"127.0.0.1:0\"]\n".to_owned();
    if cpus == Cpus::Divided {
        text += &format!("background_cpus = \"{}\"\n", CPUS[1]);
    }
    text += "[admin]\nlisten = \"127.0.0.1:0\"\n\
         [zones.\"example.com\"]\nnameservers = [\"ns1.example.net\"]\n";
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

/// Has all threads of a process keep to a CPU.
fn keep(process: u32, cpu: &str) {
    let id = process.to_string();
    let kept = Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", cpu, &id]).output().unwrap();
    assert!(kept.status.success(), "{}", String::from_utf8_lossy(&kept.stderr));
}

/// What the server does for its probes, and how late it is, from when this is made on.
struct Meter<'s> {
    server: &'s Meridian,
    began: Instant,
    processor: f64,
    before: Kept,
    sockets: usize,
}

/// How its schedule is kept, and how soon verdicts count, by its metrics. One page of them is megabytes, which is work too.
struct Kept {
    late: Buckets,
    delay: Buckets,
    missed: f64,
}

impl Kept {
    fn read(server: &Meridian) -> Self {
        let text = server.get("/metrics");
        let missed = text.lines().find_map(|line| line.strip_prefix(MISSED)?.trim().parse().ok()).unwrap();
        Self { late: Buckets::of(&text, LATENESS), delay: Buckets::of(&text, DELAY), missed }
    }

    fn since(self, before: &Self) -> Self {
        let (late, delay) = (self.late.since(&before.late), self.delay.since(&before.delay));
        Self { late, delay, missed: self.missed - before.missed }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "late {}, {} missed", self.late, self.missed)
    }
}

impl<'s> Meter<'s> {
    fn start(server: &'s Meridian) -> Self {
        Self {
            server,
            before: Kept::read(server),
            sockets: 0,
            processor: processor_seconds(&server.process),
            began: Instant::now(),
        }
    }

    fn run(&mut self, window: Duration) {
        while self.began.elapsed() < window {
            std::thread::sleep(Duration::from_millis(500));
            let open = std::fs::read_dir(format!("/proc/{}/fd", self.server.process.id())).unwrap().count();
            self.sockets = self.sockets.max(open);
        }
    }

    /// In percent of a core.
    fn processor(&self) -> f64 {
        (processor_seconds(&self.server.process) - self.processor) / self.began.elapsed().as_secs_f64() * 100.0
    }

    fn kept(&self) -> Kept {
        Kept::read(self.server).since(&self.before)
    }
}

fn run(scene: &Scene) {
    let folder = Folder::new("probes-bench");
    let serve = |name: &str, text: &str| {
        let both = ["--cpu-list", &CPUS.join(","), env!("CARGO_BIN_EXE_meridian"), "serve", "-c"];
        Meridian::serve_by(Command::new("taskset").args(both).arg(folder.put(name, text)))
    };
    // Where all hang, it has as many connections as the server.
    let own = std::env::current_exe().unwrap();
    let raised = "ulimit -n $(ulimit -Hn); exec \"$0\" backends";
    let mut backends = Process::start(Command::new("sh").arg("-c").arg(raised).arg(own));
    let port = backends.wait_for("a port", 0, |line| line.strip_prefix("port ")?.parse().ok());
    keep(backends.id(), CPUS[0]);

    let small = serve("small.toml", &configuration(scene, 1, Some(port), Cpus::Divided));
    std::thread::sleep(Duration::from_secs(3));
    let small_kib = small.process.resident_kib();
    drop(small);

    let server = serve("all.toml", &configuration(scene, scene.endpoints, Some(port), Cpus::Divided));
    // Until all have had their first run and are on their schedule.
    std::thread::sleep(scene.interval * 2);
    let first = Kept::read(&server).delay;
    backends.type_line("begin");
    let mut meter = Meter::start(&server);
    meter.run(scene.window);
    let processor = meter.processor();
    let written = backends.written();
    backends.type_line(&format!("end {}", scene.interval.as_micros()));
    let arrivals = backends.wait_for("the times", written, |line| line.strip_prefix("arrivals ").map(str::to_owned));
    let kept = meter.kept();
    let kib = server.process.resident_kib();
    print!(
        "{} endpoints every {:?}, one in {HANGING} times out: {processor:.0} % of a core; {arrivals}; {kept}; first verdicts to \
         answers {first}; {:.1} KiB per endpoint; {} descriptors at most",
        scene.endpoints,
        scene.interval,
        (kib - small_kib) as f64 / f64::from(scene.endpoints - 1),
        meter.sockets,
    );
    for (what, more) in [("third fails", Duration::ZERO), ("all hang", Duration::ZERO), ("as usual", DOUBT)] {
        backends.type_line(what);
        let mut meter = Meter::start(&server);
        // As long as it takes for the last verdict to turn.
        meter.run(scene.interval * 4 + more);
        let (processor, kept) = (meter.processor(), meter.kept());
        print!(
            "; {what}: {processor:.0} % of a core, {kept}, {} verdicts to answers {}, {} descriptors at most",
            kept.delay.count(),
            kept.delay,
            meter.sockets,
        );
        std::io::stdout().flush().unwrap();
    }
    let kib = server.process.resident_kib();
    print!("; then {:.1} KiB per endpoint", (kib - small_kib) as f64 / f64::from(scene.endpoints - 1));
    drop(server);

    keep(backends.id(), CPUS[1]);
    // Until all have had their first run, of which there are 2,500 a second, and their time-out, and are on their schedule.
    let settled = Duration::from_secs(2 + u64::from(scene.endpoints) / 2_500) + scene.interval;
    for (cpus, name, rounds) in [(Cpus::Divided, "with background_cpus", ROUNDS), (Cpus::Shared, "on shared CPUs", 1)] {
        // One after the other, so that each pair has the same neighbours on this machine.
        let mut p99 = [const { Vec::new() }; 2];
        for _ in 0..rounds {
            for (probes, measured) in [None, Some(port)].into_iter().zip(&mut p99) {
                let server = serve("queries.toml", &configuration(scene, scene.endpoints, probes, cpus));
                std::thread::sleep(if probes.is_some() { settled } else { Duration::from_secs(2) });
                measured.extend((0..SAMPLES).map(|_| query(server.dns, Duration::from_secs(3))));
            }
        }
        let [(without, lost_without), (with, lost_with)] = p99.map(|mut measured| {
            measured.sort_unstable();
            measured[measured.len() / 2]
        });
        print!(
            "; {name}, p99 of answers at {QUERIES_PER_SECOND}/s {without:?} without probes ({lost_without} lost), {with:?} with \
             ({lost_with} lost): {:+.1} %",
            (with.as_secs_f64() / without.as_secs_f64() - 1.0) * 100.0,
        );
        std::io::stdout().flush().unwrap();
    }
    println!();
}

const LATENESS: &str = "meridian_probe_lateness_seconds";
const DELAY: &str = "meridian_verdict_delay_seconds";
const MISSED: &str = "meridian_probes_missed_total";

/// A histogram of the server's: upper bounds in seconds, and how many were no longer.
struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    fn of(text: &str, name: &str) -> Self {
        let buckets = text.lines().filter_map(|line| {
            let (bound, count) = line.strip_prefix(name)?.strip_prefix("_bucket{le=\"")?.split_once("\"} ")?;
            Some((bound.parse().unwrap(), count.parse().unwrap()))
        });
        Self(buckets.collect())
    }

    fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    fn since(mut self, before: &Self) -> Self {
        self.0.iter_mut().zip(&before.0).for_each(|((_, count), (_, earlier))| *count -= earlier);
        self
    }
}

/// The bounds that so many were within.
impl fmt::Display for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.count();
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

/// How endpoints fare.
static MODE: AtomicU8 = AtomicU8::new(AS_USUAL);
const AS_USUAL: u8 = 0;
const A_THIRD_FAILS: u8 = 1;
const ALL_HANG: u8 = 2;

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
        match line.as_str() {
            "begin" => arrivals.lock().unwrap().clear(),
            "as usual" => MODE.store(AS_USUAL, Ordering::Relaxed),
            "third fails" => MODE.store(A_THIRD_FAILS, Ordering::Relaxed),
            "all hang" => MODE.store(ALL_HANG, Ordering::Relaxed),
            line => {
                let interval = line.strip_prefix("end ").unwrap().parse().unwrap();
                let arrivals = std::mem::take(&mut *arrivals.lock().unwrap());
                println!("arrivals {}", judge(&arrivals, interval));
                std::io::stdout().flush().unwrap();
            }
        }
    }
}

async fn answer(mut stream: TcpStream, endpoint: u32) {
    let mut request = [0; 1024];
    while let Ok(1..) = stream.read(&mut request).await {
        let status = match MODE.load(Ordering::Relaxed) {
            ALL_HANG => continue,
            _ if endpoint % HANGING == 7 => continue,
            A_THIRD_FAILS if endpoint.is_multiple_of(3) => "503 Service Unavailable",
            _ => "200 OK",
        };
        let response = format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n");
        let _ = stream.write_all(response.as_bytes()).await;
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
