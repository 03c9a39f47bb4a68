//! A script in real time: the real binary, real backends that it probes, and clients that ask it.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use meridian::health::Verdict;
use meridian::health::guard::Held;
use serde::Deserialize;

use crate::backends::Backends;
use crate::log::{Log, Sample, Seen};
use crate::script::Script;
use crate::site::Site;
use crate::support::binary::{self, Meridian};
use crate::support::dns::{Answer, Question};
use crate::support::folder::Folder;
use crate::support::udp_client;

/// How late anything may come here.
pub(crate) const SLACK: Duration = Duration::from_millis(300);
/// What runs here comes as late where the machine stands still; then nothing is shown.
const STALL: Duration = Duration::from_millis(200);
/// Between two looks at verdicts, two questions, and two looks at the clock.
const LOOK: Duration = Duration::from_millis(100);
const ASK: Duration = Duration::from_millis(4);
const CLOCK: Duration = Duration::from_millis(10);
/// An answer that takes longer is lost.
const LOST_AFTER: Duration = Duration::from_secs(1);

/// What was seen, and how long the machine stood still at worst.
pub(crate) struct Seeing {
    pub(crate) log: Log,
    pub(crate) stall: Option<Duration>,
}

/// What is looked at of `/api/v1/health`.
#[derive(Deserialize)]
struct Report {
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    endpoint: IpAddr,
    verdict: String,
    held: Option<String>,
}

/// Plays a script.
pub(crate) fn run(site: &Site, script: &Script) -> Seeing {
    let backends = Backends::start(site, script);
    let folder = Folder::new("chaos");
    let meridian = Meridian::serve(&folder.put("meridian.toml", site.toml(backends.port)));
    let (dns, admin) = (meridian.dns, meridian.admin.unwrap());
    let start = Instant::now();
    backends.begin(start);
    let (log, samples, late) = thread::scope(|scope| {
        let clock = scope.spawn(|| watch_clock(start, script.length));
        let samples = scope.spawn(|| ask(site, dns, start, script.length));
        let log = scope.spawn(|| look(site, admin, start, script.length));
        (log.join().unwrap(), samples.join().unwrap(), clock.join().unwrap())
    });
    let (mut log, slowest_look) = log;
    log.samples = samples;
    let stall = late.max(slowest_look).max(backends.lateness());
    Seeing { log, stall: (stall > STALL).then_some(stall) }
}

/// The latest that this thread ran.
fn watch_clock(start: Instant, length: Duration) -> Duration {
    let mut latest = Duration::ZERO;
    while start.elapsed() < length {
        let before = Instant::now();
        thread::sleep(CLOCK);
        latest = latest.max(before.elapsed().saturating_sub(CLOCK));
    }
    latest
}

/// Looks at all verdicts again and again; also the longest that a look took.
fn look(site: &Site, admin: SocketAddr, start: Instant, length: Duration) -> (Log, Duration) {
    let mut log = Log::new(site.endpoints.len());
    let mut slowest = Duration::ZERO;
    while start.elapsed() < length {
        let began = Instant::now();
        let report: Report = serde_json::from_str(&binary::get(admin, "/api/v1/health")).unwrap();
        slowest = slowest.max(began.elapsed());
        let at = start.elapsed();
        assert_eq!(report.endpoints.len(), site.endpoints.len());
        for Endpoint { endpoint, verdict, held } in report.endpoints {
            let verdict = Verdict::ALL.into_iter().find(|known| known.name() == verdict).unwrap();
            let held = held.map(|held| Held::ALL.into_iter().find(|known| known.name() == held).unwrap());
            log.note(site.backend(endpoint).unwrap(), at, Seen { verdict, held });
        }
        log.end = at;
        thread::sleep(LOOK);
    }
    (log, slowest)
}

/// Asks for one service after the other.
fn ask(site: &Site, dns: SocketAddr, start: Instant, length: Duration) -> Vec<Sample> {
    let socket = udp_client(dns);
    socket.set_read_timeout(Some(LOST_AFTER)).unwrap();
    let services = site.services().len();
    let questions: Vec<Question> =
        (0..services).map(|service| format!("{} A", site.service(service)).parse().unwrap()).collect();
    let mut samples = Vec::new();
    for (id, service) in (0..=u16::MAX).cycle().zip((0..services).cycle()) {
        let asked = start.elapsed();
        if asked >= length {
            break;
        }
        socket.send(&questions[service].query(id)).unwrap();
        let says = receive(site, &socket, id);
        samples.push(Sample { asked, answered: start.elapsed(), service, says });
        thread::sleep(ASK);
    }
    samples
}

/// Whose addresses are in the answer with this id.
fn receive(site: &Site, socket: &std::net::UdpSocket, id: u16) -> Result<Vec<usize>, String> {
    let mut octets = [0; 4096];
    loop {
        let length = socket.recv(&mut octets).map_err(|error| format!("no answer: {error}"))?;
        let answer = Answer::decode(&octets[..length]);
        if answer.id != id {
            // To a question that was given up.
            continue;
        }
        if answer.rcode != ResponseCode::NoError {
            return Err(answer.to_string());
        }
        let backend = |data: &String| data.parse().ok().and_then(|address| site.backend(address));
        let backends: Option<Vec<usize>> = answer.data.iter().map(backend).collect();
        return backends.ok_or_else(|| answer.to_string());
    }
}
