//! Load → compile → publish, or keep what serves.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::sign::CertifiedKey;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::config::diagnostic::MAX_SHOWN;
use crate::config::{Config, Problem, Problems};
use crate::dns::{CookieSecrets, RateLimiter, Secret};
use crate::geo::latency::Measurement;
use crate::geo::{Database, LatencyTable};
use crate::health::probe::MAX_PROGRAMS;
use crate::health::scheduler::probes_in_flight;
use crate::health::{Memory, Observed, Prober, Punctuality, Scheduler};
use crate::measurements::Measurements;
use crate::server::{Certificate, certificate, cpus, raise_descriptor_limit, release_free_memory};
use crate::snapshot::{
    Carried, Compiled, Geography, Outdated, OutdatedZone, Publisher, assemble, compile, load_cookie_secrets,
    load_database, load_geo_maps, load_measurements,
};
use crate::unix_time::unix_seconds;
use crate::watch::Fingerprint;
use crate::zone::Tree;

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A file, read again at each reload.
    File(PathBuf),
    /// A text that is part of the program, as though it stood in the working folder.
    Embedded(String),
}

impl Origin {
    fn read(&self) -> Result<Config, Problems> {
        match self {
            Self::File(path) => Config::load(path),
            Self::Embedded(text) => Config::parse(text, Path::new("demo.toml")),
        }
    }
}

/// All that serving needs and that can be wrong.
#[derive(Debug)]
pub struct Prepared {
    /// What answers are made of.
    pub compiled: Compiled,
    /// What probes are run with.
    pub prober: Prober,
    /// What encrypted listeners show, where there are any.
    pub certificate: Option<Arc<CertifiedKey>>,
}

/// Prepares a configuration again and again, keeping what need not be made anew.
#[derive(Debug)]
pub struct Loader {
    origin: Origin,
    database: Option<(Fingerprint, Arc<Database>)>,
    /// The file of measurements, with the names of the regions that its indices are of.
    measured: Option<(Fingerprint, Vec<String>, Vec<Measurement>)>,
    /// What came through the admin interface.
    measurements: Arc<Measurements>,
    /// How much of it there was when maps were last to be made from it, well or not.
    seen_measurements: u64,
    /// The files of geography when they were last to be read, well or not.
    seen_geography: Fingerprint,
    /// The files of the certificate likewise.
    seen_certificate: Fingerprint,
    carried: Option<Carried>,
    /// What cookies are made with where no file says so.
    own_cookies: Option<CookieSecrets>,
    rate_limiter: Option<Arc<RateLimiter>>,
    /// What probers know of targets.
    memory: Arc<Memory>,
}

impl Loader {
    /// Nothing is read yet.
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            database: None,
            measured: None,
            measurements: Arc::default(),
            seen_measurements: 0,
            seen_geography: Fingerprint::default(),
            seen_certificate: Fingerprint::default(),
            carried: None,
            own_cookies: None,
            rate_limiter: None,
            memory: Arc::default(),
        }
    }

    /// Reads and compiles the configuration with all that it names. Every problem in the TOML is reported at once; when
    /// there is none, every problem in the databases, the zones and the certificates.
    pub fn load(&mut self) -> Result<Prepared, Problems> {
        self.load_over(None)
    }

    /// As [`Self::load`], but zones whose files are broken keep the records that they have in the tree that serves, if
    /// they are there; see [`compile`].
    fn load_over(&mut self, serving: Option<&Tree>) -> Result<Prepared, Problems> {
        let config = self.origin.read()?;
        let mut problems = Problems::default();
        let geography = self.load_geography(&config).map_err(|found| problems.0.extend(found.0)).ok();
        let cookies = self.load_cookies(&config).map_err(|problem| problems.0.push(problem)).ok();
        let prober = Prober::new(config.probes.iter().map(|probe| &*probe.check));
        let prober = prober.map(|prober| prober.with_memory(Arc::clone(&self.memory)));
        let prober = prober.map_err(|found| problems.0.extend(found.0)).ok();
        let certificate = self.load_certificate(&config).map_err(|found| problems.0.extend(found.0)).ok();
        let limiter = self.rate_limiter(&config);
        let carried = self.carried.get_or_insert_with(|| Carried::new(cpus::threads(&config.server)));
        let compiled = compile(config, geography, cookies, limiter, carried, serving);
        let compiled = compiled.map_err(|found| problems.0.extend(found.0)).ok();
        match (compiled, prober, certificate) {
            (Some(compiled), Some(prober), Some(certificate)) => Ok(Prepared { compiled, prober, certificate }),
            _ => Err(problems),
        }
    }

    /// As [`Self::load`], but takes in only files of geography that were replaced: what the operator may be writing
    /// meanwhile stays on disk.
    fn load_geography_over(&mut self, serving: &Compiled) -> Result<Compiled, Problems> {
        let geography = self.load_geography(&serving.config)?;
        self.assemble_over(serving, geography)
    }

    /// As [`Self::load`], but takes in only measurements, and leaves all files as they were read.
    fn load_latency_over(&mut self, serving: &Compiled) -> Result<Compiled, Problems> {
        let (database, geo_maps) = (Arc::clone(&serving.database), Arc::clone(&serving.geo_maps));
        let latency = self.load_latency(&serving.config, false)?;
        self.assemble_over(serving, Geography { database, geo_maps, latency })
    }

    /// What serves, with another geography.
    fn assemble_over(&mut self, serving: &Compiled, geography: Geography) -> Result<Compiled, Problems> {
        let config = serving.config.clone();
        let cookies = serving.cookies.clone();
        let limiter = serving.rate_limiter.clone();
        let carried = self.carried.get_or_insert_with(|| Carried::new(cpus::threads(&config.server)));
        Ok(assemble(config, Arc::clone(&serving.tree), serving.outdated.clone(), geography, cookies, limiter, carried)?)
    }

    /// The limiter that the configuration asks for: the one there is, if its settings are the same.
    fn rate_limiter(&mut self, config: &Config) -> Option<Arc<RateLimiter>> {
        let settings = config.server.rate_limit.as_ref();
        let network = config.server.client_network;
        let is_same = |limiter: &Arc<RateLimiter>| settings.is_some_and(|settings| limiter.is_of(settings, network));
        if !self.rate_limiter.as_ref().is_some_and(is_same) {
            self.rate_limiter = settings.map(|settings| Arc::new(RateLimiter::new(settings.clone(), network)));
        }
        self.rate_limiter.clone()
    }

    fn load_cookies(&mut self, config: &Config) -> Result<CookieSecrets, Problem> {
        if let Some(cookies) = load_cookie_secrets(config)? {
            return Ok(cookies);
        }
        // One for the life of the process, so that a reload leaves the clients' cookies good.
        if let Some(own) = &self.own_cookies {
            return Ok(own.clone());
        }
        let mut secret = Secret::default();
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut secret).map_err(|_| Problem::new("the system has no random numbers for cookies"))?;
        Ok(self.own_cookies.insert(CookieSecrets::one(secret)).clone())
    }

    /// Reads databases, if they are others, and networks; every problem in either.
    fn load_geography(&mut self, config: &Config) -> Result<Geography, Problems> {
        self.seen_geography = Fingerprint::of(config.geography_paths());
        let mut problems = Problems::default();
        let database = self.load_database(config).map_err(|problem| problems.0.push(problem)).ok();
        let geo_maps = load_geo_maps(config).map_err(|found| problems.0.extend(found.0)).ok();
        let latency = self.load_latency(config, true).map_err(|found| problems.0.extend(found.0)).ok();
        match (database, geo_maps, latency) {
            (Some(database), Some(geo_maps), Some(latency)) => Ok(Geography { database, geo_maps, latency }),
            _ => Err(problems),
        }
    }

    /// The round trips that count now, of the file and of what arrived. The file is read if `looks` and it is another.
    fn load_latency(&mut self, config: &Config, looks: bool) -> Result<Option<Arc<LatencyTable>>, Problems> {
        let Some(settings) = &config.latency else { return Ok(None) };
        let now = unix_seconds();
        let fingerprint = Fingerprint::of(settings.file.iter().map(|(path, _)| path.as_path()));
        let names = config.regions.iter().map(|region| &region.name);
        // Both file and regions, of which measurements have indices, may be of a configuration that never came to serve.
        let is_good = |(read, of, _): &(Fingerprint, Vec<String>, _)| {
            let is_read = if looks { *read == fingerprint } else { read.has_paths_of(&fingerprint) };
            is_read && of.iter().eq(names.clone())
        };
        if !self.measured.as_ref().is_some_and(is_good) {
            self.measured = Some((fingerprint, names.cloned().collect(), load_measurements(config, now)?));
        }
        let (revision, arrived) = self.measurements.read(&config.regions);
        self.seen_measurements = revision;
        let measured = self.measured.iter().flat_map(|(_, _, measured)| measured).copied();
        Ok(Some(Arc::new(LatencyTable::new(measured.chain(arrived), settings.rules, now))))
    }

    fn load_database(&mut self, config: &Config) -> Result<Arc<Database>, Problem> {
        let fingerprint = Fingerprint::of(config.geoip.database_paths());
        match &self.database {
            Some((known, database)) if *known == fingerprint => Ok(Arc::clone(database)),
            _ => {
                let database = Arc::new(load_database(config)?);
                self.database = Some((fingerprint, Arc::clone(&database)));
                Ok(database)
            }
        }
    }

    /// Reads what encrypted listeners show; nothing where there are none.
    fn load_certificate(&mut self, config: &Config) -> Result<Option<Arc<CertifiedKey>>, Problems> {
        self.seen_certificate = Fingerprint::of(config.server.certificate_paths());
        let settings = config.server.encrypted.as_ref();
        settings.map(|settings| certificate::read(settings, &config.source)).transpose()
    }
}

/// Why something is loaded anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// SIGHUP: everything.
    Signal,
    /// A database, a list of networks or the file of measurements was replaced: these.
    GeographyChanged,
    /// Measurements arrived, or are too old: the steering maps.
    MeasurementsChanged,
    /// The certificate or its key was replaced: these.
    CertificateChanged,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal => "SIGHUP",
            Self::GeographyChanged => "a database or list changed",
            Self::MeasurementsChanged => "round trips arrived or are too old",
            Self::CertificateChanged => "the certificate changed",
        })
    }
}

/// Reloads on demand, one at a time.
#[derive(Debug)]
pub struct Reloader {
    loader: Mutex<Loader>,
    /// What the parts that can't be replaced were started with.
    started_with: Config,
    publisher: Arc<Publisher>,
    scheduler: Mutex<Scheduler<Prober>>,
    punctuality: Arc<Punctuality>,
    certificate: Option<Arc<Certificate>>,
    measurements: Arc<Measurements>,
    memory: Arc<Memory>,
    status: ReloadStatus,
}

/// How reloads went.
#[derive(Debug, Default)]
pub struct ReloadStatus {
    succeeded: AtomicU64,
    partial: AtomicU64,
    failed: AtomicU64,
    /// Of the latest attempt for each reason, where nothing has read the same well since.
    problems: Mutex<BTreeMap<Reason, String>>,
}

impl ReloadStatus {
    /// Reloads that were published whole, those that were published but for broken zones, and those that were not.
    pub fn counts(&self) -> (u64, u64, u64) {
        let [succeeded, partial, failed] =
            [&self.succeeded, &self.partial, &self.failed].map(|count| count.load(Ordering::Relaxed));
        (succeeded, partial, failed)
    }

    /// Why reloads failed, or what is wrong with the zones that they did not take in; nothing where all is well.
    pub fn last_problems(&self) -> Option<String> {
        let problems = lock(&self.problems);
        if problems.is_empty() { None } else { Some(problems.values().map(String::as_str).collect()) }
    }

    /// All was taken in that the reason asked for, but for these zones.
    fn note_success(&self, reason: Reason, left_out: Option<&Outdated>) {
        let count = if left_out.is_some() { &self.partial } else { &self.succeeded };
        count.fetch_add(1, Ordering::Relaxed);
        let mut problems = lock(&self.problems);
        problems.retain(|other, _| reason != Reason::Signal && *other != reason);
        problems.extend(left_out.map(|outdated| (reason, outdated.to_string())));
    }

    fn note_failure(&self, reason: Reason, problems: &Problems) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        lock(&self.problems).insert(reason, problems.to_string());
        // A line for each: a journal takes the lines of one message for messages of their own.
        for problem in problems.0.iter().take(MAX_SHOWN) {
            error!(%reason, %problem, "reload: bad input");
        }
        let count = problems.0.len();
        error!(%reason, problems = count, "reload failed; the old configuration goes on serving");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reloader {
    /// Begins to probe what was loaded first and is published already, sending what is found to `observed`. Needs a tokio
    /// runtime.
    pub fn new(
        loader: Loader,
        publisher: Arc<Publisher>,
        prober: Prober,
        certificate: Option<Arc<CertifiedKey>>,
        observed: mpsc::Sender<Observed>,
    ) -> Self {
        let started_with = publisher.current().compiled.config.clone();
        let mut scheduler = Scheduler::new(fastrand::u64(..), observed);
        scheduler.replace(prober, publisher.health().keys());
        Self {
            measurements: Arc::clone(&loader.measurements),
            memory: Arc::clone(&loader.memory),
            loader: Mutex::new(loader),
            started_with,
            publisher,
            punctuality: Arc::clone(scheduler.punctuality()),
            scheduler: Mutex::new(scheduler),
            certificate: certificate.map(Certificate::new).map(Arc::new),
            status: ReloadStatus::default(),
        }
    }

    /// Where snapshots are published.
    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    /// How well probes keep their schedule.
    pub fn punctuality(&self) -> &Punctuality {
        &self.punctuality
    }

    /// How reloads went.
    pub fn status(&self) -> &ReloadStatus {
        &self.status
    }

    /// What encrypted listeners show, where there are any.
    pub fn certificate(&self) -> Option<&Arc<Certificate>> {
        self.certificate.as_ref()
    }

    /// What probers know of targets beside their health.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Round trips that come through the admin interface.
    pub fn measurements(&self) -> &Arc<Measurements> {
        &self.measurements
    }

    /// How much had arrived when maps were last to be made from it, well or not.
    pub(crate) fn seen_measurements(&self) -> u64 {
        lock(&self.loader).seen_measurements
    }

    /// The files of geography when they were last to be read, well or not.
    pub(crate) fn seen_geography(&self) -> Fingerprint {
        lock(&self.loader).seen_geography.clone()
    }

    /// The files of the certificate when they were last to be read, well or not.
    pub(crate) fn seen_certificate(&self) -> Fingerprint {
        lock(&self.loader).seen_certificate.clone()
    }

    /// Loads what the reason asks for anew and publishes it, or says what is wrong and leaves all as it is. Blocks while it
    /// reads and compiles; needs to be called inside a tokio runtime.
    pub fn reload(&self, reason: Reason) {
        let mut loader = lock(&self.loader);
        let reloaded = match reason {
            Reason::Signal | Reason::GeographyChanged | Reason::MeasurementsChanged => {
                self.reload_answers(&mut loader, reason)
            }
            Reason::CertificateChanged => self.reload_certificate(&mut loader),
        };
        if let Err(problems) = reloaded {
            self.status.note_failure(reason, &problems);
        }
    }

    fn reload_certificate(&self, loader: &mut Loader) -> Result<(), Problems> {
        let config = &self.publisher.current().compiled.config;
        self.show(loader.load_certificate(config)?);
        self.status.note_success(Reason::CertificateChanged, None);
        info!(reason = %Reason::CertificateChanged, "reloaded");
        Ok(())
    }

    /// Shows another certificate from now on, where listeners were started with one.
    fn show(&self, read: Option<Arc<CertifiedKey>>) {
        if let (Some(shown), Some(read)) = (&self.certificate, read) {
            shown.replace(read);
        }
    }

    fn reload_answers(&self, loader: &mut Loader, reason: Reason) -> Result<(), Problems> {
        let began = Instant::now();
        let old = Arc::clone(&self.publisher.current().compiled);
        let (compiled, prober) = match reason {
            Reason::Signal => {
                let Prepared { compiled, prober, certificate } = loader.load_over(Some(&old.tree))?;
                self.show(certificate);
                (compiled, Some(prober))
            }
            Reason::MeasurementsChanged => (loader.load_latency_over(&old)?, None),
            Reason::GeographyChanged | Reason::CertificateChanged => (loader.load_geography_over(&old)?, None),
        };
        if reason == Reason::Signal {
            warn_of_what_needs_a_restart(&self.started_with, &compiled.config);
            warn_of_what_may_not_be_meant(&compiled.config);
            // Where it can't be raised, that was said at the start.
            if let Ok(limit) = raise_descriptor_limit() {
                warn_of_few_descriptors(limit, &compiled);
            }
        }
        let snapshot = self.publisher.replace(compiled);
        if let Some(prober) = prober {
            lock(&self.scheduler).replace(prober, self.publisher.health().keys());
            self.memory.retain(&self.publisher.health());
        }
        wait_until_unused(&old);
        drop(old);
        if let Some(carried) = &mut loader.carried {
            carried.forget_unused();
        }
        release_free_memory();
        let outdated = &snapshot.compiled.outdated;
        // A change of geography leaves the zones as they are.
        let left_out = Some(outdated).filter(|outdated| reason == Reason::Signal && !outdated.zones.is_empty());
        self.status.note_success(reason, left_out);
        if let Some(outdated) = left_out {
            report_outdated(reason, outdated);
        }
        let config = &snapshot.compiled.config;
        info!(
            %reason,
            generation = snapshot.generation,
            zones = config.zones.len(),
            services = config.services.len(),
            pools = config.pools.len(),
            regions = config.regions.len(),
            networks = snapshot.compiled.database.networks(),
            took_ms = began.elapsed().as_millis() as u64,
            "reloaded"
        );
        Ok(())
    }
}

fn report_outdated(reason: Reason, outdated: &Outdated) {
    for problem in &outdated.problems {
        error!(%reason, problem, "reload: bad input");
    }
    for OutdatedZone { name, is_served } in outdated.zones.iter().take(MAX_SHOWN) {
        if *is_served {
            error!(zone = %name, "zone is broken; its old records go on serving");
        } else {
            error!(zone = %name, "zone is broken and was not served before; it is left out");
        }
    }
}

/// Waits until no worker reads it any more, so that none of them has to free it between two answers.
fn wait_until_unused(old: &Arc<Compiled>) {
    const PATIENCE: Duration = Duration::from_secs(2);
    const STEP: Duration = Duration::from_millis(2);
    let began = Instant::now();
    while Arc::strong_count(old) > 1 && began.elapsed() < PATIENCE {
        std::thread::sleep(STEP);
    }
}

/// What encrypted listeners are started with; their certificate may change.
fn listeners(config: &Config) -> Option<([&[SocketAddr]; 3], &str)> {
    let encrypted = config.server.encrypted.as_ref()?;
    Some(([&encrypted.tls, &encrypted.https, &encrypted.quic], &encrypted.https_path))
}

/// The most descriptors that are open at once: connections of the threads that have some, probes, and sockets.
fn descriptors_needed(config: &Config, probes: usize) -> usize {
    /// The admin interface's connections, event queues, files that are read, and what programs have beside their output.
    const OTHERS: usize = 128 + 2 * MAX_PROGRAMS;
    let server = &config.server;
    let encrypted = server.encrypted.as_ref();
    let threads_with_connections = 1 + usize::from(encrypted.is_some());
    let encrypted_sockets =
        encrypted.map_or(0, |encrypted| encrypted.tls.len() + encrypted.https.len() + encrypted.quic.len());
    // Each address has a socket for each UDP worker and one for TCP.
    let sockets = cpus::threads(server) + server.listen.len() + encrypted_sockets;
    server.tcp.connections * threads_with_connections + probes + sockets + OTHERS
}

/// Warns where the limit of open descriptors is lower than what the configuration permits.
pub(crate) fn warn_of_few_descriptors(limit: u64, compiled: &Compiled) {
    let probes = if compiled.targets.is_empty() { 0 } else { probes_in_flight(&compiled.targets) };
    let needed = descriptors_needed(&compiled.config, probes);
    if limit < needed as u64 {
        warn!(
            limit,
            needed,
            "connections and probes may come to more open descriptors than the limit; set LimitNOFILE={needed} in the \
             unit, or lower server.tcp.connections"
        );
    }
}

/// Warns of what the configuration may say by mistake.
pub(crate) fn warn_of_what_may_not_be_meant(config: &Config) {
    for warning in config.warnings() {
        warn!("{warning}");
    }
}

fn warn_of_what_needs_a_restart(old: &Config, new: &Config) {
    let changes = [
        ("server.listen", old.server.listen != new.server.listen),
        ("server.background_cpus", old.server.background_cpus != new.server.background_cpus),
        ("server.workers", old.server.workers != new.server.workers),
        ("server.state_dir", old.server.state_dir != new.server.state_dir),
        ("server.user", old.server.user != new.server.user),
        ("server.group", old.server.group != new.server.group),
        ("server.encrypted", listeners(old) != listeners(new)),
        ("admin", old.admin != new.admin),
        ("log", old.log != new.log),
    ];
    for (setting, _) in changes.iter().filter(|(_, changed)| *changed) {
        warn!(setting, "differs from what runs; it takes effect after a restart");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::fs;

    use super::*;
    use crate::routing::Family;
    use crate::snapshot::Snapshot;

    #[test]
    fn a_file_of_a_configuration_that_never_served_is_not_measured_by() {
        let folder = std::env::temp_dir().join(format!("meridian-measured-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let now = unix_seconds();
        fs::write(folder.join("a.csv"), format!("network,region,ms,measured\n10.0.0.0/8,us,1,{now}\n")).unwrap();
        fs::write(folder.join("b.csv"), "network,region,ms,measured\n").unwrap();
        let write = |file: &str, zone: &str| {
            let text = format!(
                "[server]\nlisten = [\"127.0.0.1:0\"]\n[zones.\"a.example\"]\n{zone}\n[regions.us]\nlocation = [0, 0]\n\
                 [latency]\nfile = \"{file}\"\n"
            );
            fs::write(folder.join("m.toml"), text).unwrap();
        };
        write("a.csv", "nameservers = [\"ns.example\"]");
        let mut loader = Loader::new(Origin::File(folder.join("m.toml")));
        let serving = loader.load().unwrap().compiled;
        write("b.csv", "file = \"none.zone\"");
        loader.load().unwrap_err();
        let compiled = loader.load_latency_over(&serving).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(compiled.latency.unwrap().counts(), [1, 0, 0]);
    }

    #[test]
    fn measurements_make_only_the_maps_by_latency_anew() {
        let text = "[server]\nlisten = [\"127.0.0.1:0\"]\n[zones.\"a.example\"]\nnameservers = [\"ns.example\"]\n[latency]\n\
                    [regions.us]\nlocation = [0, 0]\n[regions.eu]\nlocation = [0, 90]\n[pools.p]\nendpoints = [{ region = \
                    \"us\", address = \"192.0.2.1\" }, { region = \"eu\", address = \"192.0.2.2\" }]\n\
                    [services.\"near.a.example\"]\npool = \"p\"\n\
                    [services.\"fast.a.example\"]\npool = \"p\"\nsteering = \"latency\"\n";
        let mut loader = Loader::new(Origin::Embedded(text.to_owned()));
        let publisher = Publisher::new(loader.load().unwrap().compiled);
        let before = publisher.current();
        let after = publisher.replace(loader.load_latency_over(&before.compiled).unwrap());
        let same = |steering: &str| {
            let named = |service: &&crate::snapshot::Service| service.steering.name() == steering;
            let map = |of: &Compiled| Arc::clone(&of.maps[of.services.iter().find(named).unwrap().steering.map()]);
            Arc::ptr_eq(&map(&before.compiled), &map(&after.compiled))
        };
        assert!(same("proximity") && !same("latency"));
        let list = |snapshot: &Snapshot| std::ptr::from_ref(snapshot.live.candidates(0, Family::V4));
        assert_eq!(list(&before), list(&after), "nothing else was laid out anew");
        // Another text, be it of the same words, is another configuration.
        let after = publisher.replace(loader.load().unwrap().compiled);
        assert_ne!(list(&before), list(&after));
    }

    #[test]
    fn descriptors_for_all_that_may_be_open_are_asked_for() {
        let needed = |server: &str, probes: usize| {
            let text =
                format!("[server]\nworkers = 3\n{server}\n[zones.\"a.example\"]\nnameservers = [\"ns.example\"]\n");
            descriptors_needed(&Config::parse(&text, Path::new("m.toml")).unwrap(), probes)
        };
        let one = "listen = [\"127.0.0.1:53\"]\ntcp.connections = 5000";
        // Three UDP sockets, a TCP socket and its thread.
        assert_eq!(needed(one, 300), 5000 + 5 + 256 + 300);
        let encrypted =
            "encrypted = { certificate = \"c\", key = \"k\", tls = [\"127.0.0.1:853\"], quic = [\"127.0.0.1:853\"] }";
        assert_eq!(needed(&format!("{one}\n{encrypted}"), 0), 10000 + 6 + 2 + 256);
    }
}
