//! A script in simulated time: the core that serves, probes that find what the script says, and clients.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use meridian::config::{Target, Timing};
use meridian::health::breaker::{self, Breaker};
use meridian::health::overrides::{Override, Subject};
use meridian::health::probe::Phase;
use meridian::health::{Details, Failure, Observation, TargetKey};
use meridian::operator::Operator;
use meridian::reload::{Loader, Origin};
use meridian::routing::{Draw, Family, Outcome, decide};
use meridian::snapshot::{Compiled, Publisher};
use meridian::state::verdicts::WRITE_INTERVAL;

use crate::log::{Log, Sample, Seen};
use crate::scenario::Scenario;
use crate::script::{Act, End, Script, Span, State};
use crate::site::{STATE_FOLDER, Site, TOKEN_FILE};
use crate::support::folder::Folder;

/// Of the first backends.
const PORT: u16 = 80;
/// When it begins by the calendar.
const UNIX_SECONDS: u32 = 1_795_316_400;
const SECOND: Duration = Duration::from_secs(1);
/// How late anything comes here at most, and what is done at one moment is spread over.
pub(crate) const SLACK: Duration = Duration::from_millis(20);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The result of a run of a backend's probe arrives.
    Found(usize),
    /// A run begins.
    Probe(usize),
    Tick,
    /// What is known is stored.
    Keep,
    Ask,
    /// What the script says.
    Act(Act),
}

struct Run<'a> {
    site: &'a Site,
    script: &'a Script,
    /// Makes what is to be served.
    compile: &'a mut dyn FnMut() -> Compiled,
    rng: Rng,
    /// The soonest first, and those of one moment in any order.
    queue: BinaryHeap<Reverse<(Duration, u32, Event)>>,
    server: Server,
    start: Instant,
    now: Duration,
    /// By service, its index in the snapshot.
    services: Vec<usize>,
    /// By backend, the phase of its schedule, and what its run under way is going to find.
    origins: Vec<Duration>,
    under_way: Vec<Option<Observation>>,
    /// Results arrive at multiples of it.
    batch: Duration,
    log: Log,
}

/// What is served, from one start to the next.
struct Server {
    publisher: Arc<Publisher>,
    operator: Operator,
    /// By backend.
    keys: HashMap<usize, Arc<TargetKey>>,
}

impl Server {
    fn start(compiled: Compiled, site: &Site, now: Instant, unix_seconds: u32) -> Self {
        let folder = compiled.config.server.state_dir.clone();
        let publisher = Arc::new(Publisher::starting_at(compiled, now, unix_seconds));
        let operator = Operator::start(folder.as_deref(), Arc::clone(&publisher), now, unix_seconds.into()).unwrap();
        let place = |key: &TargetKey| match key.target {
            Target::Address(address) => Some((address, key.check.port()?)),
            Target::Hostname(_) => None,
        };
        let health = publisher.health();
        let by_place: HashMap<_, _> = health.keys().filter_map(|key| Some((place(&key)?, key))).collect();
        let key = |backend| by_place.get(&(site.address(backend).into(), PORT + site.port_offset(backend)));
        let keys = (0..site.backends()).filter_map(|backend| Some((backend, Arc::clone(key(backend)?)))).collect();
        Self { publisher, operator, keys }
    }
}

/// Plays scenarios, one after the other.
pub(crate) struct Simulator {
    folder: Folder,
    /// One for all, so that what none of them changes is read once.
    loader: Loader,
}

impl Simulator {
    const FILE: &str = "meridian.toml";

    pub(crate) fn new() -> Self {
        let folder = Folder::in_memory("schedules");
        folder.put_secret(TOKEN_FILE, "nobody asks for it");
        let loader = Loader::new(Origin::File(folder.path(Self::FILE)));
        Self { folder, loader }
    }

    /// The seed makes the phases of probes, what they take, and what clients draw.
    pub(crate) fn play(&mut self, Scenario { site, script, .. }: &Scenario, seed: u64) -> Log {
        let toml = site.toml(PORT);
        self.folder.put(Self::FILE, &toml);
        // Of the one before.
        let _ = fs::remove_dir_all(self.folder.path(STATE_FOLDER));
        let mut compile = || self.loader.load().unwrap_or_else(|problems| panic!("{problems}\n{toml}")).compiled;
        let start = Instant::now();
        let run = Run {
            server: Server::start(compile(), site, start, UNIX_SECONDS),
            compile: &mut compile,
            origins: Vec::new(),
            under_way: Vec::new(),
            batch: Duration::ZERO,
            log: Log::new(site),
            services: Vec::new(),
            queue: BinaryHeap::new(),
            now: Duration::ZERO,
            rng: Rng::with_seed(seed),
            site,
            script,
            start,
        };
        run.play()
    }
}

impl Run<'_> {
    fn play(mut self) -> Log {
        self.batch = Duration::from_micros(self.rng.u64(1..=5_000));
        for (at, act) in &self.script.acts {
            self.plan(*at, Event::Act(*act));
        }
        self.begin();
        while let Some(Reverse((at, _, event))) = self.queue.pop() {
            // What was to be done while the server was off is done late.
            self.now = self.now.max(at);
            if self.now >= self.script.length {
                break;
            }
            match event {
                Event::Probe(backend) => self.probe(backend),
                Event::Found(backend) => self.found(backend),
                Event::Tick => {
                    let (now, unix_seconds) = (self.instant(), self.unix_seconds());
                    self.server.publisher.tick(now, unix_seconds);
                    self.server.operator.expire(now, unix_seconds.into());
                    self.look();
                    self.plan(at + SECOND, Event::Tick);
                }
                Event::Keep => {
                    self.server.operator.keep_verdicts(false, self.instant(), self.unix_seconds().into());
                    self.plan(at + WRITE_INTERVAL, Event::Keep);
                }
                Event::Ask => {
                    self.ask();
                    let pause = self.site.timing(0).interval.mul_f64(self.rng.f64());
                    self.plan(at + pause, Event::Ask);
                }
                Event::Act(act) => {
                    let from = self.now;
                    self = self.act(act);
                    self.log.done.push((Span { from, until: self.now }, act));
                    self.look();
                }
            }
        }
        self.log.end = self.script.length;
        self.log
    }

    /// Begins to probe and to ask.
    fn begin(&mut self) {
        let (now, site) = (self.now, self.site);
        self.find_services();
        self.under_way = vec![None; site.backends()];
        self.origins =
            (0..site.backends()).map(|backend| now + site.timing(backend).interval.mul_f64(self.rng.f64())).collect();
        for backend in 0..site.backends() {
            let first = site.timing(backend).interval.min(SECOND * 2).mul_f64(self.rng.f64());
            self.plan(now + first, Event::Probe(backend));
        }
        let tick = SECOND.mul_f64(self.rng.f64());
        self.plan(now + tick, Event::Tick);
        self.plan(now + WRITE_INTERVAL + tick, Event::Keep);
        self.plan(now, Event::Ask);
    }

    fn act(mut self, act: Act) -> Self {
        let (now, unix_seconds) = (self.instant(), self.unix_seconds());
        let Server { publisher, operator, .. } = &self.server;
        let (reason, author) = ("chaos".to_owned(), "chaos".to_owned());
        match act {
            Act::Say { endpoint, word, seconds } => {
                let subject = self.site.subject(endpoint).parse().unwrap();
                let since = unix_seconds.into();
                let said = Override { subject, word, reason, author, since, expires: Some(since + seconds) };
                operator.say(said, now, || since).unwrap();
            }
            Act::Resume { pool } => {
                let subject = Subject::Pool(format!("p{pool}"));
                operator.resume(&subject, &reason, &author, (now, unix_seconds.into())).unwrap();
            }
            Act::Reload => {
                publisher.replace((self.compile)());
                self.find_services();
            }
            Act::Restart { end, pause } => {
                if end == End::Ordered {
                    operator.keep_verdicts(true, now, unix_seconds.into());
                }
                // Who comes next needs the folder.
                drop(self.server);
                self.now += pause;
                let now = self.start + self.now;
                let unix_seconds = UNIX_SECONDS + self.now.as_secs() as u32;
                let server = Server::start((self.compile)(), self.site, now, unix_seconds);
                self.queue.retain(|Reverse((.., event))| matches!(event, Event::Act(_)));
                self = Self { server, ..self };
                self.begin();
            }
        }
        self
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }

    fn unix_seconds(&self) -> u32 {
        UNIX_SECONDS + self.now.as_secs() as u32
    }

    fn plan(&mut self, at: Duration, event: Event) {
        let order = self.rng.u32(..);
        self.queue.push(Reverse((at, order, event)));
    }

    /// Begins a run, which the state decides in which the backend is then; one that dies breaks it off.
    fn probe(&mut self, backend: usize) {
        let timing: &Timing = self.site.timing(backend);
        let (state, next) = self.script.stories[backend].now_and_next(self.now);
        let quick = timing.degraded_after.unwrap_or(timing.timeout).mul_f64(0.9 * self.rng.f64());
        let timed_out = Failure::Timeout { phase: Phase::Response, after: timing.timeout };
        let (took, outcome) = match state {
            State::Serving => (quick, Ok(())),
            State::Slow => (self.site.slow_after(backend), Ok(())),
            State::Failing => (quick, Err(Failure::Status { status: 503, expected: vec![200..=399] })),
            State::Refusing => (Duration::from_micros(100), Err(Failure::Refused)),
            State::Hanging => (timing.timeout, Err(timed_out)),
        };
        let dies = next.filter(|next| self.script.stories[backend].now_and_next(*next).0 == State::Refusing);
        let (took, outcome) = match dies {
            Some(dies) if dies < self.now + took => (dies - self.now, Err(Failure::Reset)),
            _ => (took, outcome),
        };
        let details = Details::default();
        self.under_way[backend] =
            Some(Observation { took, address: Some(self.site.address(backend).into()), outcome, details });
        let arrives = (self.now + took).as_nanos().div_ceil(self.batch.as_nanos()) * self.batch.as_nanos();
        self.plan(Duration::from_nanos(arrives as u64), Event::Found(backend));
    }

    /// Takes in what a run found, with all others whose results arrive at that moment, and begins none before it is over.
    fn found(&mut self, first: usize) {
        let mut backends = vec![first];
        while let Some(Reverse((at, _, Event::Found(backend)))) = self.queue.peek()
            && *at == self.now
        {
            backends.push(*backend);
            self.queue.pop();
        }
        for backend in &backends {
            let (interval, origin) = (self.site.timing(*backend).interval, self.origins[*backend]);
            let runs = self.now.checked_sub(origin).map_or(0, |passed| passed.as_nanos() / interval.as_nanos() + 1);
            let due = origin + interval * u32::try_from(runs).unwrap_or(u32::MAX);
            let late = Duration::from_micros(self.rng.u64(..2_000));
            self.plan(due + late, Event::Probe(*backend));
        }
        let found = backends.into_iter().filter_map(|backend| Some((backend, self.under_way[backend].take()?)));
        let found: Vec<_> = found.collect();
        self.observe(found);
        self.look();
        if self.rng.u8(..4) == 0 {
            self.ask();
        }
    }

    fn observe(&self, found: Vec<(usize, Observation)>) {
        let key = |backend| Arc::clone(&self.server.keys[&backend]);
        let items = found.into_iter().map(|(backend, observation)| (key(backend), observation));
        self.server.publisher.observe(items, self.instant());
    }

    /// Takes down what is known of all endpoints.
    fn look(&mut self) {
        let (snapshot, health) = self.server.publisher.current_with_health();
        for (endpoint, known) in snapshot.compiled.endpoints.iter().zip(health.endpoints().all().iter()) {
            let backend = endpoint.address().and_then(|address| self.site.backend(address));
            let word = known.operators().words().next();
            let breaker = known.breaker().map_or(breaker::State::Closed, Breaker::state);
            let seen = Seen { verdict: known.verdict(), held: known.held(), word, breaker };
            if let Some(backend) = backend {
                let says = health.inputs_of(known).map(|input| Some(input.verdict));
                self.log.note(backend, self.now, seen, self.site.inputs(backend).zip(says));
            }
        }
    }

    /// Where each service is in the snapshot.
    fn find_services(&mut self) {
        let config = &self.server.publisher.current().compiled.config;
        let names: Vec<String> =
            config.services.iter().map(|service| service.name.to_string().trim_end_matches('.').to_owned()).collect();
        let place = |index: usize| names.iter().position(|name| *name == self.site.service(index)).unwrap_or_default();
        self.services = (0..self.site.services().len()).map(place).collect();
    }

    /// Asks for each service once.
    fn ask(&mut self) {
        let snapshot = self.server.publisher.current();
        for (service, index) in self.services.iter().enumerate() {
            let mut draw = Draw { rng: &mut self.rng, advance: true, worker: usize::MAX, unix_seconds: UNIX_SECONDS };
            let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));
            let decision = decide(&snapshot, &snapshot.compiled.services[*index], client, Family::V4, &mut draw);
            let says = match decision.outcome {
                Outcome::Endpoints { choice, picks } => {
                    let address = |pick: &u32| {
                        let candidate = &choice.candidates.list[*pick as usize];
                        snapshot.compiled.endpoints[candidate.endpoint as usize].address()
                    };
                    let backends = picks.as_slice().iter().map(|pick| self.site.backend(address(pick)?));
                    backends.collect::<Option<Vec<usize>>>().ok_or_else(|| "an address of nobody".to_owned())
                }
                Outcome::LastResort(_) => Err("the last resort".to_owned()),
                Outcome::NoData => Err("no data".to_owned()),
            };
            self.log.samples.push(Sample { asked: self.now, answered: self.now, service, says });
        }
    }
}
