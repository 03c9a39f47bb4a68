//! Backends that die and return, and what a steady stream of clients sees of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;

use crate::support::backend::Backend;
use crate::support::binary::Meridian;
use crate::support::dns::{Answer, Client};
use crate::support::folder::Folder;
use crate::support::wait_until;
use crate::{BOSTON, FRANKFURT, REGIONS, SERVER, SYDNEY};

const INTERVAL: Duration = Duration::from_millis(200);
const FALL: u32 = 3;
const RISE: u32 = 2;
/// What is promised beyond the probes that it takes to notice.
const SLACK: Duration = Duration::from_secs(1);
/// What a probe may be late.
const LATENESS: Duration = Duration::from_millis(100);
/// Between two queries of a stream.
const PAUSE: Duration = Duration::from_millis(3);
/// How long a state is watched.
const WATCH: Duration = Duration::from_millis(600);
/// Seconds.
const MIN_TTL: u32 = 5;
const MAX_TTL: u32 = 30;

const US: &str = "NoError 127.0.11.1";
const EU: &str = "NoError 127.0.11.2";
const AP: &str = "NoError 127.0.11.3";
const SPARE: &str = "NoError 127.0.11.4";
const LAST_RESORT: &str = "NoError 203.0.113.80";
const NODATA: &str = "NoError";

/// Three backends, one in each region, and a server that probes them.
struct Site {
    us: Backend,
    eu: Backend,
    ap: Backend,
    meridian: Meridian,
    _folder: Folder,
}

impl Site {
    /// Started, with every backend known to be up.
    fn start() -> Self {
        let [us, eu, ap] = Backend::start_all([1, 2, 3].map(|host| Ipv4Addr::new(127, 0, 11, host)));
        let config = format!(
            r#"
{REGIONS}{SERVER}

[probes.web]
type = "http"
path = "/healthz"
port = {port}
interval = "{interval}ms"
timeout = "{interval}ms"
fall = {FALL}
rise = {RISE}

[pools.web]
probe = "web"
endpoints = [
  {{ region = "us-east", address = "127.0.11.1" }},
  {{ region = "eu-central", address = "127.0.11.2" }},
  {{ region = "ap-southeast", address = "127.0.11.3" }},
]
[pools.spare]
endpoints = [{{ region = "ap-southeast", address = "127.0.11.4" }}]

[services."www.geo.example"]
pool = "web"
failover = ["spare"]
ttl = {{ min = "{MIN_TTL}s", max = "{MAX_TTL}s" }}

[services."serve-all.geo.example"]
pool = "web"
ttl = {{ min = "{MIN_TTL}s", max = "{MAX_TTL}s" }}

[services."last-resort.geo.example"]
pool = "web"
when_all_down = "last-resort"
last_resort = ["203.0.113.80"]
ttl = {{ min = "{MIN_TTL}s", max = "{MAX_TTL}s" }}

[services."nodata.geo.example"]
pool = "web"
when_all_down = "nodata"
ttl = {{ min = "{MIN_TTL}s", max = "{MAX_TTL}s" }}
"#,
            port = us.address.port(),
            interval = INTERVAL.as_millis(),
        );
        let folder = Folder::new("failover");
        let meridian = Meridian::serve(&folder.put("meridian.toml", config));
        meridian.wait_for_verdicts(&[]);
        Self { us, eu, ap, meridian, _folder: folder }
    }
}

/// A client that asks all the time.
struct Stream {
    samples: Arc<Mutex<Vec<Sample>>>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// One query and its answer.
#[derive(Debug, Clone)]
struct Sample {
    asked: Instant,
    answered: Instant,
    answer: Answer,
}

/// Answers in a row that say the same.
#[derive(Debug)]
struct Run {
    says: String,
    samples: Vec<Sample>,
}

impl Stream {
    fn start(server: SocketAddr, service: &str, subnet: &str) -> Self {
        let question = format!("{service}.geo.example A {subnet}").parse().unwrap();
        let samples = Arc::new(Mutex::new(Vec::new()));
        let stopping = Arc::new(AtomicBool::new(false));
        let (told, into) = (Arc::clone(&stopping), Arc::clone(&samples));
        let mut client = Client::new(server);
        let thread = thread::spawn(move || {
            while !told.load(Ordering::SeqCst) {
                let asked = Instant::now();
                let answer = client.ask(&question);
                into.lock().unwrap().push(Sample { asked, answered: Instant::now(), answer });
                thread::sleep(PAUSE);
            }
        });
        let stream = Self { samples, stopping, thread };
        wait_until("the first answer", || !stream.samples.lock().unwrap().is_empty());
        stream
    }

    /// What the latest answer says.
    fn says(&self) -> String {
        self.samples.lock().unwrap().last().unwrap().answer.to_string()
    }

    fn wait_until_it_says(&self, expected: &str) {
        wait_until(expected, || self.says() == expected);
    }

    /// Ends it. Every query was answered, or its thread panicked.
    fn finish(self) -> Vec<Run> {
        self.stopping.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        let mut runs: Vec<Run> = Vec::new();
        for sample in Arc::into_inner(self.samples).unwrap().into_inner().unwrap() {
            let says = sample.answer.to_string();
            match runs.last_mut() {
                Some(run) if run.says == says => run.samples.push(sample),
                _ => runs.push(Run { says, samples: vec![sample] }),
            }
        }
        runs
    }
}

impl Run {
    fn began(&self) -> Instant {
        self.samples[0].answered
    }

    /// All TTLs of the answers to queries asked at `from` or later.
    fn ttls_from(&self, from: Instant) -> Vec<u32> {
        let mut ttls: Vec<u32> =
            self.samples.iter().filter(|sample| sample.asked >= from).filter_map(|sample| sample.answer.ttl).collect();
        ttls.sort();
        ttls.dedup();
        ttls
    }

    fn ttls(&self) -> Vec<u32> {
        self.ttls_from(self.samples[0].asked)
    }
}

fn says(runs: &[Run]) -> Vec<&str> {
    runs.iter().map(|run| run.says.as_str()).collect()
}

/// A change follows so many probes at least, and comes no later than they and the slack take.
fn assert_in_time(what: &str, event: Instant, probes: u32, run: &Run) {
    let took = run.began() - event;
    let (soonest, latest) = (INTERVAL * (probes - 1) - LATENESS, INTERVAL * probes + SLACK);
    assert!(took >= soonest && took <= latest, "{what}: took {took:?}, not {soonest:?} to {latest:?}");
}

#[test]
fn clients_leave_a_dead_region_for_the_next_and_return() {
    let mut site = Site::start();
    let [frankfurt, boston, sydney] =
        [FRANKFURT, BOSTON, SYDNEY].map(|subnet| Stream::start(site.meridian.dns, "www", subnet));
    thread::sleep(WATCH);

    let eu_stopped = Instant::now();
    site.eu.stop();
    frankfurt.wait_until_it_says(US);
    thread::sleep(WATCH);
    let us_stopped = Instant::now();
    site.us.stop();
    frankfurt.wait_until_it_says(AP);
    boston.wait_until_it_says(AP);
    thread::sleep(WATCH);
    let eu_started = Instant::now();
    site.eu.start();
    frankfurt.wait_until_it_says(EU);
    boston.wait_until_it_says(EU);
    thread::sleep(WATCH);
    let us_started = Instant::now();
    site.us.start();
    boston.wait_until_it_says(US);
    thread::sleep(WATCH);

    // Nothing but these, in this order: no answer is wrong before, between or after.
    let [frankfurt, boston, sydney] = [frankfurt, boston, sydney].map(Stream::finish);
    assert_eq!(says(&frankfurt), [EU, US, AP, EU]);
    assert_eq!(says(&boston), [US, AP, EU, US]);
    assert_eq!(says(&sydney), [AP], "the others see no change at all");

    assert_in_time("Frankfurt leaves eu", eu_stopped, FALL, &frankfurt[1]);
    assert_in_time("Frankfurt leaves us", us_stopped, FALL, &frankfurt[2]);
    assert_in_time("Frankfurt returns", eu_started, RISE, &frankfurt[3]);
    assert_in_time("Boston leaves us", us_stopped, FALL, &boston[1]);
    assert_in_time("Boston comes nearer", eu_started, RISE, &boston[2]);
    assert_in_time("Boston returns", us_started, RISE, &boston[3]);

    // Steady at first, short-lived in a failover, steady again.
    for (place, runs) in [("Frankfurt", &frankfurt), ("Boston", &boston)] {
        let ttls: Vec<Vec<u32>> = runs.iter().map(Run::ttls).collect();
        let changing = vec![MIN_TTL, MAX_TTL];
        assert_eq!(ttls, [changing, vec![MIN_TTL], vec![MIN_TTL], vec![MAX_TTL]], "{place}");
        let before: Vec<Option<u32>> = runs[0]
            .samples
            .iter()
            .filter(|sample| sample.answered < eu_stopped)
            .map(|sample| sample.answer.ttl)
            .collect();
        assert!(!before.is_empty() && before.iter().all(|ttl| *ttl == Some(MAX_TTL)), "{place}");
    }
    assert_eq!(sydney[0].ttls(), [MAX_TTL]);
    for runs in [&frankfurt, &boston, &sydney] {
        let scopes: Vec<Option<u8>> =
            runs.iter().flat_map(|run| &run.samples).map(|sample| sample.answer.scope).collect();
        assert!(scopes.iter().all(|scope| scope.is_some() && *scope == scopes[0]), "health changes no scope");
    }
}

#[test]
fn when_everything_is_dead_there_is_still_an_answer() {
    let mut site = Site::start();
    let services = [("www", SPARE), ("serve-all", EU), ("last-resort", LAST_RESORT), ("nodata", NODATA)];
    let streams = services.map(|(service, _)| Stream::start(site.meridian.dns, service, FRANKFURT));
    thread::sleep(WATCH);

    let stopped = Instant::now();
    for backend in [&mut site.us, &mut site.eu, &mut site.ap] {
        backend.stop();
    }
    let all_stopped = Instant::now();
    wait_until("all are known to be down", || {
        site.meridian.verdicts().iter().filter(|(_, verdict)| verdict == "down").count() == 3
    });
    let down = Instant::now();
    assert!(down - all_stopped <= INTERVAL * FALL + SLACK, "{:?}", down - all_stopped);
    thread::sleep(WATCH);
    let started = Instant::now();
    for backend in [&mut site.ap, &mut site.eu, &mut site.us] {
        backend.start();
    }
    let all_started = Instant::now();
    streams.iter().for_each(|stream| stream.wait_until_it_says(EU));
    thread::sleep(WATCH);

    for ((service, when_dead), stream) in services.into_iter().zip(streams) {
        let runs = stream.finish();
        // The three need not be found dead, or alive, at once; while some are, the nearest of them serves.
        let mut allowed = [EU, US, AP, when_dead, AP, US, EU].into_iter();
        let said = says(&runs);
        assert!(said.iter().all(|says| allowed.any(|allowed| allowed == *says)), "{service}: {said:?}");
        assert!(said.len() == 1 || said.contains(&when_dead), "{service}: {said:?}");

        let samples: Vec<&Sample> = runs.iter().flat_map(|run| &run.samples).collect();
        assert!(samples.iter().all(|sample| sample.answer.rcode == ResponseCode::NoError), "{service}");
        let dead: Vec<&&Sample> =
            samples.iter().filter(|sample| sample.asked >= down && sample.answered <= started).collect();
        assert!(dead.len() > 10, "{service}: {} samples", dead.len());
        for sample in dead {
            assert_eq!(sample.answer.to_string(), when_dead, "{service}");
            assert!(sample.answer.ttl.is_none_or(|ttl| ttl == MIN_TTL), "{service}: {sample:?}");
            if when_dead == NODATA {
                assert!(sample.answer.denies(ResponseCode::NoError), "{service}: {sample:?}");
                assert_eq!(sample.answer.scope, Some(0), "{service}: no client's alone");
            }
        }
        let last = runs.last().unwrap();
        assert_eq!((said[0], last.says.as_str()), (EU, EU), "{service}");
        if runs.len() > 1 {
            let (left, returned) = (runs[1].began() - stopped, last.began() - all_started);
            assert!(left >= INTERVAL * (FALL - 1) - LATENESS, "{service}: left after {left:?}");
            assert!(returned <= INTERVAL * RISE + SLACK, "{service}: returned after {returned:?}");
        }
        assert_eq!(last.ttls_from(last.samples.last().unwrap().asked), [MAX_TTL], "{service}");
    }
}
