//! Wiring, top to bottom: what starts, in what order, and how it ends.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::admin::{self, Admin};
use crate::config::CpuSet;
use crate::dns::WorkerContext;
use crate::health::{Observed, Prober};
use crate::logging::{self, Logging};
use crate::measurements::Due;
use crate::metrics::WorkerCounters;
use crate::operator::Operator;
use crate::reload::{
    Loader, Origin, Prepared, Reason, Reloader, warn_of_few_descriptors, warn_of_what_may_not_be_meant,
};
use crate::server::cpus::Placement;
use crate::server::privileges::Identity;
use crate::server::{
    ServerCounters, Serving, Sockets, certificate, raise_descriptor_limit, release_free_memory, serve,
};
use crate::snapshot::{Event, Publisher};
use crate::state::verdicts::WRITE_INTERVAL;
use crate::unix_time::{unix_seconds, unix_seconds_modulo};
use crate::watch::{FileWatch, LOOK_INTERVAL};

/// Why the server did not start.
pub type StartError = Box<dyn Error + Send + Sync>;

/// The most observations that are taken in at once, and that wait for it; probes whose observations find no place wait too.
const OBSERVATIONS_PER_PUBLICATION: usize = 4096;
/// How often what time alone does is done.
const TICK: Duration = Duration::from_secs(1);
/// So many probes under way take memory that is worth giving back.
const MANY_PROBES: u64 = 1_000;
/// How long the last verdicts may take to be kept at the end.
const STATE_GRACE: Duration = Duration::from_secs(1);
/// How long the admin interface's last responses may take at the end.
const ADMIN_GRACE: Duration = Duration::from_millis(200);

/// A server at work.
#[derive(Debug)]
pub struct Daemon {
    runtime: Runtime,
    reloader: Arc<Reloader>,
    serving: Serving,
    admin: Option<Admin>,
    operator: Arc<Operator>,
    termination: Termination,
    /// Last, as the others may have something to say at their end.
    _log: Logging,
}

impl Daemon {
    /// Starts serving; returns as soon as queries are answered, before any probe has.
    pub fn start(origin: Origin) -> Result<Self, StartError> {
        let began = Instant::now();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("background")
            .enable_all()
            .build()?;
        let _inside = runtime.enter();
        // Ahead of all else: a signal that nobody caught would end the process.
        let termination = Termination::new()?;
        let hangup = match &origin {
            Origin::File(_) => Some(signal(SignalKind::hangup())?),
            Origin::Embedded(_) => None,
        };
        let mut loader = Loader::new(origin);
        let Prepared { compiled, prober, certificate } = loader.load()?;
        let config = compiled.config.clone();
        let log = logging::start(config.log);
        let placement = config.server.background_cpus.as_ref().and_then(place);

        match raise_descriptor_limit() {
            Ok(limit) => warn_of_few_descriptors(limit, &compiled),
            Err(problem) => {
                warn!(%problem, "the limit of open descriptors can't be raised; connections may be refused before theirs");
            }
        }
        let sockets = Sockets::bind(&config.server)?;
        let admin_listener = config.admin.as_ref().map(admin::bind).transpose()?;
        if let Some(identity) = Identity::resolve(config.server.user.as_deref(), config.server.group.as_deref())? {
            identity.assume()?;
            // A key that only root may read serves until it is replaced: better to hear of that now.
            let again = config.server.encrypted.as_ref().map(|settings| certificate::read(settings, &config.source));
            for problem in again.and_then(Result::err).into_iter().flat_map(|problems| problems.0) {
                warn!(%problem, %identity, "the certificate can't be read again; a new one won't be taken over");
            }
        }

        if let Some(problem) = Prober::forbidden(config.probes.iter().map(|probe| &*probe.check)) {
            warn!(%problem, "icmp probes find nothing");
        }
        warn_of_what_may_not_be_meant(&config);

        let (observations, observed) = mpsc::channel(OBSERVATIONS_PER_PUBLICATION);
        let publisher = Arc::new(Publisher::new(compiled));
        let state_dir = config.server.state_dir.as_deref();
        // Ahead of the first observation, which is to find the verdicts of before.
        let operator = Operator::start(state_dir, Arc::clone(&publisher), Instant::now(), unix_seconds())?;
        let operator = Arc::new(operator);
        let server_counters = Arc::new(ServerCounters::default());
        let of_background = || Background(Arc::clone(&server_counters));
        runtime.spawn(end_words(Arc::clone(&operator), of_background()));
        runtime.spawn(keep_state(Arc::clone(&operator), of_background()));
        runtime.spawn(take_observations(Arc::clone(&publisher), observed, of_background()));
        runtime.spawn(keep_time(Arc::clone(&publisher), of_background()));
        runtime.spawn(follow_demand(Arc::clone(&publisher), of_background()));
        let reloader = Arc::new(Reloader::new(loader, publisher, prober, certificate, observations));
        runtime.spawn(give_memory_back(Arc::clone(&reloader)));

        let workers: Vec<Arc<WorkerCounters>> =
            (0..sockets.worker_count()).map(|_| Arc::new(WorkerCounters::default())).collect();
        let mut contexts = workers.iter().enumerate();
        let context = || {
            let (worker, counters) = contexts.next().unwrap_or((usize::MAX, &workers[0]));
            WorkerContext::new(worker, fastrand::u64(..), Arc::clone(counters))
        };
        let certificate = reloader.certificate().cloned();
        let published = reloader.publisher().published();
        let serving = || serve(sockets, published, certificate, &server_counters, context);
        let serving = match &placement {
            Some(placement) => {
                let (serving, placed) = placement.place_answers(serving);
                if let Err(problem) = placed {
                    warn!(%problem, cpus = %placement.answers, "the threads that answer can't be kept to their CPUs");
                }
                serving?
            }
            None => serving()?,
        };
        let admin = match admin_listener {
            Some(listener) => Some(Admin::start(
                listener,
                Arc::clone(&reloader),
                Arc::clone(&operator),
                workers.clone(),
                Arc::clone(&server_counters),
            )?),
            None => None,
        };
        if let Some(hangup) = hangup {
            runtime.spawn(reload_on_demand(Arc::clone(&reloader), hangup));
        }
        for address in serving.addresses() {
            info!(%address, "serving DNS over UDP and TCP");
        }
        for (transport, address) in serving.encrypted_addresses() {
            info!(transport = transport.name(), %address, "serving encrypted DNS");
        }
        if let Some(admin) = &admin {
            info!(address = %admin.address(), "serving the admin interface");
        }
        info!(
            version = env!("CARGO_PKG_VERSION"),
            zones = config.zones.len(),
            services = config.services.len(),
            endpoints = reloader.publisher().current().compiled.endpoints.len(),
            took_ms = began.elapsed().as_millis() as u64,
            "started"
        );
        drop(_inside);
        notify_manager(&[NotifyState::Ready]);
        Ok(Self { runtime, reloader, serving, admin, operator, termination, _log: log })
    }

    /// The addresses where DNS is served, with the ports that the system chose.
    pub fn addresses(&self) -> &[std::net::SocketAddr] {
        self.serving.addresses()
    }

    /// What is published and how it is reloaded.
    pub fn reloader(&self) -> &Arc<Reloader> {
        &self.reloader
    }

    /// The runtime of all that is not the query path.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Serves until SIGTERM or SIGINT, then answers what has come in, and ends within two seconds.
    pub fn run_until_signalled(mut self) -> ExitCode {
        let signal = self.runtime.block_on(self.termination.received());
        info!(signal, "stopping");
        self.stop();
        ExitCode::SUCCESS
    }

    /// Answers what has come in and ends.
    pub fn stop(self) {
        notify_manager(&[NotifyState::Stopping]);
        if let Some(admin) = &self.admin {
            admin.announce_stop();
        }
        self.serving.shutdown();
        // A disk that hangs is not waited for.
        let (kept, is_kept) = std::sync::mpsc::channel();
        let operator = Arc::clone(&self.operator);
        self.runtime.spawn_blocking(move || {
            operator.keep_verdicts(true, Instant::now(), unix_seconds());
            let _ = kept.send(());
        });
        match is_kept.recv_timeout(STATE_GRACE) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => warn!("the disk of state_dir hangs; the last verdicts are not kept"),
            Err(RecvTimeoutError::Disconnected) => error!("a defect: the last verdicts are not kept; report this"),
        }
        drop(self.admin);
        drop(self.reloader);
        self.runtime.shutdown_timeout(ADMIN_GRACE);
        info!("stopped");
    }
}

/// Keeps all threads that there are to the CPUs of the background, and says where that can't be.
fn place(background: &CpuSet) -> Option<Placement> {
    let placement = match Placement::new(background) {
        Ok(placement) => placement,
        Err(problem) => {
            warn!(%problem, cpus = %background, "server.background_cpus has no effect; all threads share all CPUs");
            return None;
        }
    };
    if let Err(problem) = placement.place_all_threads() {
        warn!(%problem, cpus = %placement.background, "the threads of the background can't be kept to their CPUs");
    }
    info!(background = %placement.background, answers = %placement.answers, "CPUs are divided");
    Some(placement)
}

/// SIGTERM and SIGINT, one of which ends the server in order as soon as this exists.
#[derive(Debug)]
struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the first to come, or to have come.
    async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Tells systemd, where it started us, how we are.
fn notify_manager(states: &[NotifyState<'_>]) {
    if let Err(problem) = sd_notify::notify(states) {
        warn!(%problem, "the service manager can't be told of a change of state");
    }
}

/// What goes on beside the queries. A defect there ends one piece of work: neither all that would follow, as health would be frozen
/// then, nor the server, as the same defect would end every server with the same configuration.
#[derive(Debug, Clone)]
struct Background(Arc<ServerCounters>);

impl Background {
    /// Does a piece of work. If it breaks off, that is counted and logged.
    fn does(&self, work: &'static str, piece: impl FnOnce()) {
        // What it leaves behind is put right by the next tick, or is sound at any point.
        if catch_unwind(AssertUnwindSafe(piece)).is_err() {
            self.0.panics.increment();
            error!(
                work,
                "a defect: a piece of work in the background broke off, and the next one goes on; report this"
            );
        }
    }
}

/// Takes observations in as they come, many at once when many come, and publishes what follows from them. What follows for very many
/// endpoints is done in parts, and what comes goes between them.
async fn take_observations(publisher: Arc<Publisher>, mut observed: Receiver<Observed>, background: Background) {
    let mut batch = Vec::new();
    let mut is_behind = false;
    loop {
        if is_behind {
            is_behind = false;
            background.does("observations", || {
                let (is_left, events) = publisher.catch_up();
                is_behind = is_left;
                events.iter().for_each(Event::log);
            });
            if is_behind && observed.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
        }
        if observed.recv_many(&mut batch, OBSERVATIONS_PER_PUBLICATION).await == 0 {
            return;
        }
        // Time is counted from the first of them on.
        let made = batch.iter().map(|observed: &Observed| observed.made).min().map_or_else(Instant::now, Into::into);
        let observations = batch.drain(..).map(|Observed { key, observation, .. }| (key, observation));
        background.does("observations", || publisher.observe(observations, made).iter().for_each(Event::log));
        is_behind = true;
    }
}

/// Lets the publisher know that time passes.
async fn keep_time(publisher: Arc<Publisher>, background: Background) {
    let mut seconds = tokio::time::interval(TICK);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let tick = || publisher.tick(Instant::now(), unix_seconds_modulo()).iter().for_each(Event::log);
        background.does("time", tick);
    }
}

/// Ends overrides whose time is over, on a thread of its own, as finding out what follows may take long.
async fn end_words(operator: Arc<Operator>, background: Background) {
    let mut seconds = tokio::time::interval(TICK);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let (operator, background) = (Arc::clone(&operator), background.clone());
        let work = move || background.does("words", || operator.expire(Instant::now(), unix_seconds()));
        // Fails only when all ends.
        let _ = tokio::task::spawn_blocking(work).await;
    }
}

/// Takes note of overrides that are over, and keeps verdicts now and then, on a thread of its own, as disks may take long.
async fn keep_state(operator: Arc<Operator>, background: Background) {
    let mut seconds = tokio::time::interval(TICK);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_kept = Instant::now();
    loop {
        seconds.tick().await;
        let (operator, background) = (Arc::clone(&operator), background.clone());
        let now = Instant::now();
        let keeps = now.saturating_duration_since(last_kept) >= WRITE_INTERVAL;
        if keeps {
            last_kept = now;
        }
        let work = move || {
            operator.keep_expiries(unix_seconds());
            if keeps {
                operator.keep_verdicts(false, now, unix_seconds());
            }
        };
        // Fails only when all ends.
        let _ = tokio::task::spawn_blocking(move || background.does("state", work)).await;
    }
}

/// Gives memory back when very many probes were under way and no longer are, each of which takes some 30 KiB: the allocator would
/// keep it. On a thread of its own, as that takes milliseconds.
async fn give_memory_back(reloader: Arc<Reloader>) {
    let mut seconds = tokio::time::interval(TICK);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut peak = Peak::default();
    loop {
        seconds.tick().await;
        if peak.is_over(reloader.punctuality().in_flight()) {
            // Fails only when all ends.
            let _ = tokio::task::spawn_blocking(release_free_memory).await;
        }
    }
}

/// The most probes that were under way since the last peak was over.
#[derive(Debug, Default)]
struct Peak(u64);

impl Peak {
    /// Takes note of how many are under way. Returns whether these are few after there were very many.
    fn is_over(&mut self, under_way: u64) -> bool {
        self.0 = self.0.max(under_way);
        let is_over = self.0 >= MANY_PROBES && under_way < self.0 / 4;
        if is_over {
            self.0 = under_way;
        }
        is_over
    }
}

/// Lets clients go where there is room, on a thread of its own, as finding that out may take long.
async fn follow_demand(publisher: Arc<Publisher>, background: Background) {
    loop {
        publisher.flows_due().await;
        let (publisher, background) = (Arc::clone(&publisher), background.clone());
        let work = move || background.does("demand", || publisher.follow_demand(Instant::now()));
        // Fails only when all ends.
        let _ = tokio::task::spawn_blocking(work).await;
    }
}

/// Reloads at SIGHUP, whenever a file of geography or the certificate is replaced, and where measurements arrived or are too
/// old.
async fn reload_on_demand(reloader: Arc<Reloader>, mut hangup: Signal) {
    let (mut geography, mut certificate) = (FileWatch::new(LOOK_INTERVAL), FileWatch::new(LOOK_INTERVAL));
    let mut measurements = Due::new(Arc::clone(reloader.measurements()), unix_seconds);
    loop {
        let serving = reloader.publisher().current();
        let config = &serving.compiled.config;
        geography.follow(config.geography_paths(), reloader.seen_geography());
        certificate.follow(config.server.certificate_paths(), reloader.seen_certificate());
        let expires = serving.compiled.latency.as_ref().and_then(|latency| latency.expires());
        measurements.follow(reloader.seen_measurements(), expires);
        // It is not to be kept from being freed.
        drop(serving);
        let reason = tokio::select! {
            received = hangup.recv() => match received {
                Some(()) => Reason::Signal,
                None => return,
            },
            () = geography.changed() => Reason::GeographyChanged,
            () = certificate.changed() => Reason::CertificateChanged,
            () = measurements.wait() => Reason::MeasurementsChanged,
        };
        // What comes every few seconds is no reload to the operator.
        let is_told = reason != Reason::MeasurementsChanged;
        if is_told {
            // With the time, and in one message, as `Type=notify-reload` asks for.
            let time = NotifyState::monotonic_usec_now();
            let reloading: Vec<_> = [NotifyState::Reloading].into_iter().chain(time).collect();
            notify_manager(&reloading);
        }
        let reloading = Arc::clone(&reloader);
        if let Err(problem) = tokio::task::spawn_blocking(move || reloading.reload(reason)).await {
            error!(%problem, "the reload broke off; the old configuration goes on serving");
        }
        if is_told {
            notify_manager(&[NotifyState::Ready]);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "a defect is what is tested")]

    use super::*;

    #[test]
    fn a_defect_in_the_background_ends_one_piece_of_work() {
        let counters = Arc::new(ServerCounters::default());
        let background = Background(Arc::clone(&counters));
        let mut done = 0;
        for piece in 0..3 {
            background.does("a test", || {
                assert_ne!(piece, 1, "a defect");
                done += 1;
            });
        }
        assert_eq!((done, counters.panics.get()), (2, 1));
    }

    #[test]
    fn memory_is_worth_giving_back_once_after_each_peak() {
        let mut peak = Peak::default();
        for (under_way, is_over) in [
            (999, false),
            (0, false),
            (1_000, false),
            (250, false),
            (249, true),
            (0, false),
            (4_000, false),
            (999, true),
        ] {
            assert_eq!(peak.is_over(under_way), is_over, "{under_way}");
        }
    }
}
