//! A script in simulated time: the core that serves, probes that find what the script says, and clients.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use meridian::config::{Target, Timing};
use meridian::health::probe::Phase;
use meridian::health::{Details, Failure, Observation, TargetKey};
use meridian::reload::{Loader, Origin};
use meridian::routing::{Draw, Family, Outcome, decide};
use meridian::snapshot::{Compiled, Publisher};

use crate::log::{Log, Sample, Seen};
use crate::scenario::Scenario;
use crate::script::{Script, State};
use crate::site::Site;
use crate::support::folder::Folder;

/// When it begins by the calendar, which no rule here asks for.
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
    Ask,
    Reload,
}

struct Run<'a> {
    site: &'a Site,
    script: &'a Script,
    rng: Rng,
    /// The soonest first, and those of one moment in any order.
    queue: BinaryHeap<Reverse<(Duration, u32, Event)>>,
    publisher: Publisher,
    start: Instant,
    now: Duration,
    keys: HashMap<usize, Arc<TargetKey>>,
    /// By service, its index in the snapshot.
    services: Vec<usize>,
    /// By backend, the phase of its schedule, and what its run under way is going to find.
    origins: Vec<Duration>,
    under_way: Vec<Option<Observation>>,
    /// Results arrive at multiples of it.
    batch: Duration,
    log: Log,
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
        let folder = Folder::new("schedules");
        let loader = Loader::new(Origin::File(folder.path(Self::FILE)));
        Self { folder, loader }
    }

    /// The seed makes the phases of probes, what they take, and what clients draw.
    pub(crate) fn play(&mut self, Scenario { site, script, .. }: &Scenario, seed: u64) -> Log {
        let toml = site.toml(80);
        self.folder.put(Self::FILE, &toml);
        run(site, script, seed, || self.loader.load().unwrap_or_else(|problems| panic!("{problems}\n{toml}")).compiled)
    }
}

/// Plays a script; `compile` makes what is to be served.
fn run(site: &Site, script: &Script, seed: u64, mut compile: impl FnMut() -> Compiled) -> Log {
    let start = Instant::now();
    let mut rng = Rng::with_seed(seed);
    let publisher = Publisher::starting_at(compile(), start, UNIX_SECONDS);
    let address = |key: &TargetKey| match key.target {
        Target::Address(address) => site.backend(address),
        Target::Hostname(_) => None,
    };
    let keys = publisher.health().keys().filter_map(|key| Some((address(&key)?, key))).collect();
    let origins = (0..site.backends()).map(|backend| site.timing(backend).interval.mul_f64(rng.f64()));
    let mut run = Run {
        origins: origins.collect(),
        under_way: vec![None; site.backends()],
        batch: Duration::from_micros(rng.u64(1..=5_000)),
        log: Log::new(site.endpoints.len()),
        services: Vec::new(),
        queue: BinaryHeap::new(),
        now: Duration::ZERO,
        site,
        script,
        rng,
        publisher,
        start,
        keys,
    };
    run.find_services();
    for backend in 0..site.backends() {
        let first = site.timing(backend).interval.min(SECOND * 2).mul_f64(run.rng.f64());
        run.plan(first, Event::Probe(backend));
    }
    let tick = SECOND.mul_f64(run.rng.f64());
    run.plan(tick, Event::Tick);
    run.plan(Duration::ZERO, Event::Ask);
    while run.rng.u8(..4) == 0 {
        let at = script.length.mul_f64(run.rng.f64());
        run.plan(at, Event::Reload);
    }
    while let Some(Reverse((at, _, event))) = run.queue.pop() {
        if at >= script.length {
            break;
        }
        run.now = at;
        match event {
            Event::Probe(backend) => run.probe(backend),
            Event::Found(backend) => run.found(backend),
            Event::Tick => {
                let seconds = UNIX_SECONDS + at.as_secs() as u32;
                run.publisher.tick(run.instant(), seconds);
                run.look();
                run.plan(at + SECOND, Event::Tick);
            }
            Event::Ask => {
                run.ask();
                let pause = run.site.timing(0).interval.mul_f64(run.rng.f64());
                run.plan(at + pause, Event::Ask);
            }
            Event::Reload => {
                run.publisher.replace(compile());
                run.find_services();
                run.look();
            }
        }
    }
    run.log.end = script.length;
    run.log
}

impl Run<'_> {
    fn instant(&self) -> Instant {
        self.start + self.now
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
        let items = found.into_iter().map(|(backend, observation)| (Arc::clone(&self.keys[&backend]), observation));
        self.publisher.observe(items, self.instant());
    }

    /// Takes down what is known of all endpoints.
    fn look(&mut self) {
        let (snapshot, health) = self.publisher.current_with_health();
        for (endpoint, known) in snapshot.compiled.endpoints.iter().zip(health.endpoints().all().iter()) {
            let backend = endpoint.address().and_then(|address| self.site.backend(address));
            let seen = Seen { verdict: known.verdict(), held: known.held() };
            if let Some(backend) = backend {
                self.log.note(backend, self.now, seen);
            }
        }
    }

    /// Where each service is in the snapshot.
    fn find_services(&mut self) {
        let config = &self.publisher.current().compiled.config;
        let names: Vec<String> =
            config.services.iter().map(|service| service.name.to_string().trim_end_matches('.').to_owned()).collect();
        let place = |index: usize| names.iter().position(|name| *name == self.site.service(index)).unwrap_or_default();
        self.services = (0..self.site.services().len()).map(place).collect();
    }

    /// Asks for each service once.
    fn ask(&mut self) {
        let snapshot = self.publisher.current();
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
