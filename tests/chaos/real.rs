//! A script in real time: the real binary, real backends that it probes, and clients that ask it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use meridian::health::Verdict;
use meridian::health::breaker::State;
use meridian::health::guard::Held;
use meridian::health::overrides::Word;
use serde::Deserialize;
use serde_json::json;

use crate::backends::Backends;
use crate::log::{Log, Sample, Seen};
use crate::script::{Act, End, Script, Span};
use crate::site::{Site, TOKEN_FILE};
use crate::support::PATIENCE;
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
const TOKEN: &str = "a-token-of-the-chaos-tests";

/// What was seen, and how long the machine stood still at worst.
pub(crate) struct Seeing {
    pub(crate) log: Log,
    pub(crate) stall: Option<Duration>,
}

/// What is looked at of `/api/v1/health`.
#[derive(Deserialize)]
struct Report {
    reload_problems: Option<String>,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    endpoint: IpAddr,
    verdict: String,
    held: Option<String>,
    overrides: Vec<Word>,
    breaker: Option<String>,
    /// Where there are several.
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Input {
    verdict: String,
}

/// Plays a script.
pub(crate) fn run(site: &Site, script: &Script) -> Seeing {
    let backends = Backends::start(site, script);
    let folder = Folder::in_memory("chaos");
    folder.put_secret(TOKEN_FILE, TOKEN);
    let config = folder.put("meridian.toml", site.toml(backends.port));
    let meridian = Meridian::serve(&config);
    let dns = meridian.dns;
    let start = Instant::now();
    backends.begin(start);
    let (log, samples, late) = thread::scope(|scope| {
        let clock = scope.spawn(|| watch_clock(start, script.length));
        let samples = scope.spawn(|| ask(site, dns, start, script.length));
        let log = scope.spawn(|| look_and_act(site, script, &config, meridian, start));
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

/// Looks at all verdicts again and again, and does what the script says; also by how much too long a look took at worst, with what
/// was done before: what is seen is of some moment since the look before began.
fn look_and_act(
    site: &Site,
    script: &Script,
    config: &Path,
    mut meridian: Meridian,
    start: Instant,
) -> (Log, Duration) {
    let mut log = Log::new(site);
    let mut slowest = Duration::ZERO;
    let mut acts = script.acts.iter().peekable();
    let mut looked = Duration::ZERO;
    while start.elapsed() < script.length {
        // What each leads to is seen.
        if let Some((_, act)) = acts.next_if(|(at, _)| *at <= start.elapsed()) {
            let from = start.elapsed();
            meridian = perform(*act, site, config, meridian);
            let done = Span { from, until: start.elapsed() };
            if let Act::Restart { .. } = act {
                looked = done.until;
            }
            log.done.push((done, *act));
        }
        let began = start.elapsed();
        let report: Report = serde_json::from_str(&health(&meridian)).unwrap();
        let at = start.elapsed();
        slowest = slowest.max(at.saturating_sub(looked + LOOK));
        looked = began;
        assert_eq!((report.reload_problems, report.endpoints.len()), (None, site.endpoints.len()));
        for Endpoint { endpoint, verdict, held, overrides, breaker, inputs } in report.endpoints {
            let held = held.map(|held| Held::ALL.into_iter().find(|known| known.name() == held).unwrap());
            let breaker = breaker.map(|state| State::ALL.into_iter().find(|known| known.name() == state).unwrap());
            let breaker = breaker.unwrap_or(State::Closed);
            let seen = Seen { verdict: named(&verdict), held, word: overrides.first().copied(), breaker };
            let endpoint = site.backend(endpoint).unwrap();
            let says: Vec<Option<Verdict>> = match &inputs[..] {
                [] => vec![seen.found()],
                inputs => inputs.iter().map(|input| Some(named(&input.verdict))).collect(),
            };
            log.note(endpoint, at, seen, site.inputs(endpoint).zip(says));
        }
        log.end = at;
        thread::sleep(LOOK);
    }
    (log, slowest)
}

fn health(meridian: &Meridian) -> String {
    let authorization = format!("Authorization: Bearer {TOKEN}\r\n");
    binary::request(meridian.admin.unwrap(), "GET /api/v1/health", &authorization, "")
}

fn named(verdict: &str) -> Verdict {
    Verdict::ALL.into_iter().find(|known| known.name() == verdict).unwrap()
}

/// Does what a script says; returns the server, which may be another one then.
fn perform(act: Act, site: &Site, config: &Path, mut meridian: Meridian) -> Meridian {
    let say = |path: &str, mut body: serde_json::Value| {
        body["reason"] = "chaos".into();
        body["author"] = "chaos".into();
        meridian.post(path, TOKEN, &body.to_string());
    };
    match act {
        Act::Say { endpoint, word, seconds } => {
            let subject = site.subject(endpoint);
            say("/api/v1/overrides", json!({ "subject": subject, "word": word, "expires_seconds": seconds }));
        }
        Act::Resume { pool } => say("/api/v1/resume", json!({ "subject": format!("pool/p{pool}") })),
        Act::Reload => meridian.process.signal("HUP"),
        Act::Restart { end, pause } => {
            meridian.process.signal(if end == End::Ordered { "TERM" } else { "KILL" });
            let status = meridian.process.wait_for_end(PATIENCE);
            assert!(status.success() || end == End::Killed, "{}", meridian.process.text());
            thread::sleep(pause);
            return Meridian::serve(config);
        }
    }
    meridian
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
        let sent = socket.send(&questions[service].query(id)).map_err(|error| format!("nobody to ask: {error}"));
        let says = sent.and_then(|_| receive(site, &socket, id));
        samples.push(Sample { asked, answered: start.elapsed(), service, says });
        thread::sleep(ASK);
    }
    samples
}

/// Whose addresses are in the answer with this id.
fn receive(site: &Site, socket: &UdpSocket, id: u16) -> Result<Vec<usize>, String> {
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
