//! When probes run: a task per target, each on a schedule of its own.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::probe::{MAX_ADDRESSES, Observe};
use super::room::Room;
use super::{Observation, SharedHistogram, TargetKey};
use crate::config::Target;

/// The most addresses that are probed at once, whatever is configured; other runs wait, and the wait counts as no part of their time.
pub const MAX_PROBES_IN_FLIGHT: usize = 32_768;
/// The room that there is at least.
const LEAST_IN_FLIGHT: usize = 256;

/// The first run of a target comes within this time or its interval, whichever is less, so that verdicts come soon.
const FIRST_RUN_WITHIN: Duration = Duration::from_secs(2);
/// Where there are many targets it may be later, so that no more than so many a second have their first run.
const FIRST_RUNS_PER_SECOND: f64 = 2_500.0;

/// What one run of a target's probe found.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The target.
    pub key: Arc<TargetKey>,
    /// What was found.
    pub observation: Observation,
    /// When it was found.
    pub made: Instant,
}

/// Runs the probes of all targets until it is dropped, which ends them at once, those under way included.
///
/// A target's first run comes at a random time soon after it is added. Then it runs at a random phase of its interval:
/// at fixed times that do not drift, however long runs take. A run that comes late skips the times it missed.
#[derive(Debug)]
pub struct Scheduler<P> {
    shared: Arc<Shared<P>>,
    tasks: HashMap<Arc<TargetKey>, Task>,
    jitter: fastrand::Rng,
}

/// What the tasks share.
struct Shared<P> {
    /// Given with the targets, so never missing while there are tasks.
    prober: ArcSwapOption<P>,
    /// A place for each address that is probed.
    room: Room,
    observed: mpsc::Sender<Observed>,
    punctuality: Arc<Punctuality>,
}

impl<P> fmt::Debug for Shared<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("punctuality", &self.punctuality).finish_non_exhaustive()
    }
}

/// How well the schedule is kept.
#[derive(Debug, Default)]
pub struct Punctuality {
    /// How long after they were due runs began, for want of processor time or of room among those in flight.
    pub lateness: SharedHistogram,
    missed: AtomicU64,
    in_flight: AtomicU64,
}

impl Punctuality {
    /// Runs that were left out, as the one before was still under way, or waited, when they were due. A target's first run, which comes
    /// before its turn, stands for one of them.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Runs that are under way.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Counts a run for as long as it lives: those that are aborted too.
struct UnderWay<'p>(&'p Punctuality);

impl<'p> UnderWay<'p> {
    fn new(punctuality: &'p Punctuality) -> Self {
        punctuality.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(punctuality)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A target's task, which ends with this value.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Addresses of a target that are probed at once, at most.
fn addresses_at_once(key: &TargetKey) -> u32 {
    match key.target {
        Target::Address(_) => 1,
        Target::Hostname(_) => MAX_ADDRESSES as u32,
    }
}

/// How many addresses of these targets are probed at once: as many as are where no target ever answers, and a quarter more, so that
/// what hangs delays nothing else; at most [`MAX_PROBES_IN_FLIGHT`].
pub fn probes_in_flight<'t>(keys: impl IntoIterator<Item = &'t TargetKey>) -> usize {
    let hanging = |key: &TargetKey| {
        let part = key.timing.timeout.as_secs_f64() / key.timing.interval.as_secs_f64().max(1e-3);
        part.min(1.0) * f64::from(addresses_at_once(key))
    };
    let hanging: f64 = keys.into_iter().map(hanging).sum();
    ((hanging * 1.25).ceil() as usize).clamp(LEAST_IN_FLIGHT, MAX_PROBES_IN_FLIGHT)
}

impl<P: Observe> Scheduler<P> {
    /// A scheduler without targets. The seed decides all its random times. Observations go to `observed` as soon as they are made;
    /// where nobody takes them, runs wait. One may still come of a target that was just replaced:
    /// [`Table::observe`](super::Table::observe) drops what is no target of its own.
    pub fn new(seed: u64, observed: mpsc::Sender<Observed>) -> Self {
        let (prober, room) = (ArcSwapOption::empty(), Room::new());
        let shared = Shared { prober, room, observed, punctuality: Arc::default() };
        Self { shared: Arc::new(shared), tasks: HashMap::new(), jitter: fastrand::Rng::with_seed(seed) }
    }

    /// How well the schedule is kept, whatever the targets.
    pub fn punctuality(&self) -> &Arc<Punctuality> {
        &self.shared.punctuality
    }

    /// Probes these targets from now on, equal ones once, and no others. One that was probed before stays on its
    /// schedule, with no run lost or added, and uses the new prober from its next run on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn replace(&mut self, prober: P, keys: impl IntoIterator<Item = Arc<TargetKey>>) {
        let mut previous = std::mem::take(&mut self.tasks);
        let mut added = Vec::new();
        let mut kept = HashMap::new();
        for key in keys {
            if let Some(task) = previous.remove(&key) {
                kept.insert(key, task);
            } else if !kept.contains_key(&key) {
                added.push(key);
            }
        }
        self.tasks = kept;
        self.shared.prober.store(Some(Arc::new(prober)));
        self.shared.room.resize(probes_in_flight(self.tasks.keys().chain(&added).map(|key| &**key)));
        let start = Instant::now();
        let within = FIRST_RUN_WITHIN.max(Duration::from_secs_f64(added.len() as f64 / FIRST_RUNS_PER_SECOND));
        for key in added {
            if !self.tasks.contains_key(&key) {
                let schedule = Schedule::new(start, key.timing.interval, within, &mut self.jitter);
                let task = Task(tokio::spawn(run(Arc::clone(&self.shared), Arc::clone(&key), schedule)));
                self.tasks.insert(key, task);
            }
        }
    }
}

/// Probes one target for ever.
async fn run<P: Observe>(shared: Arc<Shared<P>>, key: Arc<TargetKey>, schedule: Schedule) {
    let mut due = schedule.first;
    loop {
        sleep_until(due).await;
        let places = shared.room.enter(addresses_at_once(&key)).await;
        let Some(prober) = shared.prober.load_full() else { return };
        shared.punctuality.lateness.record(due.elapsed());
        let under_way = UnderWay::new(&shared.punctuality);
        let began = Instant::now();
        // Its state is large, and most of the time a target has no run under way.
        let observation = unless_it_panics(Box::pin(prober.observe(&key))).await.unwrap_or_else(|| {
            tracing::error!(check = %key, "a defect: a probe broke off, and the next one comes when it is due; report this");
            Some(Observation::of_defect(began.elapsed()))
        });
        drop((under_way, places, prober));
        if let Some(observation) = observation {
            tracing::debug!(check = %key, result = %observation, "probed");
            let observed = Observed { key: Arc::clone(&key), observation, made: Instant::now() };
            // Fails only when all ends.
            let Ok(()) = shared.observed.send(observed).await else { return };
        }
        let next = schedule.next(Instant::now());
        let turns = schedule.turns_between(due, next);
        shared.punctuality.missed.fetch_add(turns.saturating_sub(1), Ordering::Relaxed);
        due = next;
    }
}

/// What comes of a future, or nothing where it panics: a defect that one answer meets is to freeze no verdict.
async fn unless_it_panics<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

/// The times at which a target is due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    /// The first run.
    first: Instant,
    /// All others come at whole intervals from here, this one included.
    origin: Instant,
    interval: Duration,
}

impl Schedule {
    /// The first run comes within this time of the start.
    fn new(start: Instant, interval: Duration, within: Duration, jitter: &mut fastrand::Rng) -> Self {
        // An interval of zero would be a loop without a pause.
        let interval = interval.max(Duration::from_millis(1));
        Self {
            first: start + interval.min(within).mul_f64(jitter.f64()),
            origin: start + interval.mul_f64(jitter.f64()),
            interval,
        }
    }

    /// How many whole intervals fit between two due times.
    fn turns_between(&self, earlier: Instant, later: Instant) -> u64 {
        let turns = later.saturating_duration_since(earlier).as_nanos() / self.interval.as_nanos();
        u64::try_from(turns).unwrap_or(u64::MAX)
    }

    /// The first due time after `now`.
    fn next(&self, now: Instant) -> Instant {
        let Some(elapsed) = now.checked_duration_since(self.origin) else { return self.origin };
        let into_interval = elapsed.as_nanos() % self.interval.as_nanos();
        now + self.interval - Duration::from_nanos(u64::try_from(into_interval).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use tokio::time::{advance, sleep};

    use super::*;
    use crate::config::{Check, TcpCheck, Timing};
    use crate::health::{Details, Failure};

    const SECOND: Duration = Duration::from_secs(1);

    /// Takes the same time for every run, and counts those under way.
    #[derive(Clone, Default)]
    struct Scripted {
        takes: Duration,
        under_way: Arc<AtomicUsize>,
        most_under_way: Arc<AtomicUsize>,
    }

    /// Counts down when a run ends in whatever way.
    struct Running(Arc<AtomicUsize>);

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    impl Observe for Scripted {
        async fn observe(&self, _key: &TargetKey) -> Option<Observation> {
            let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
            let _guard = Running(Arc::clone(&self.under_way));
            self.most_under_way.fetch_max(under_way, Ordering::Relaxed);
            let started = Instant::now();
            sleep(self.takes).await;
            Some(Observation { took: started.elapsed(), address: None, outcome: Ok(()), details: Details::default() })
        }
    }

    fn key(port: u16, interval: Duration) -> Arc<TargetKey> {
        Arc::new(TargetKey {
            check: Check::Tcp(TcpCheck::accepted(port)).into(),
            timing: Timing { interval, timeout: interval / 2, ..Timing::DEFAULT },
            target: Target::Address([192, 0, 2, 1].into()),
        })
    }

    /// What was reported: the port as the target's name, since when after the start, and how long the run took.
    type Log = Arc<Mutex<Vec<(u16, Duration, Duration)>>>;

    fn scheduler(seed: u64) -> (Scheduler<Scripted>, Log) {
        let log = Log::default();
        let start = Instant::now();
        let (sender, mut observed) = mpsc::channel::<Observed>(16);
        let takes = {
            let log = Arc::clone(&log);
            async move {
                while let Some(Observed { key, observation, made }) = observed.recv().await {
                    let port = key.check.port().unwrap();
                    log.lock().unwrap().push((port, made - start, observation.took));
                }
            }
        };
        tokio::spawn(takes);
        (Scheduler::new(seed, sender), log)
    }

    fn times(log: &Log, port: u16) -> Vec<Duration> {
        log.lock().unwrap().iter().filter(|entry| entry.0 == port).map(|entry| entry.1).collect()
    }

    /// Timers fire at whole milliseconds.
    fn assert_close(actual: Duration, expected: Duration) {
        assert!(actual.abs_diff(expected) <= Duration::from_millis(1), "{actual:?} is not {expected:?}");
    }

    #[test]
    fn the_next_due_time_is_a_whole_number_of_intervals_from_the_origin() {
        let origin = Instant::now() + SECOND;
        let schedule = Schedule { first: origin, origin, interval: 5 * SECOND };
        let cases = [(0.0, 0.0), (0.1, 5.0), (4.9, 5.0), (5.0, 10.0), (17.0, 20.0), (500_000_003.0, 500_000_005.0)];
        assert_eq!(schedule.next(origin - SECOND), origin);
        for (now, expected) in cases.into_iter().skip(1) {
            let next = schedule.next(origin + Duration::from_secs_f64(now));
            assert_eq!(next, origin + Duration::from_secs_f64(expected), "{now}");
        }
        assert_eq!(schedule.next(origin), origin + 5 * SECOND, "strictly after");
    }

    #[tokio::test(start_paused = true)]
    async fn runs_come_soon_and_then_at_a_fixed_phase_without_drift() {
        let (takes, interval) = (Duration::from_millis(700), 10 * SECOND);
        let start = Instant::now();
        // The draws that the scheduler will make, with a seed by which the first run does not delay the second.
        let schedule_of = |seed| Schedule::new(start, interval, FIRST_RUN_WITHIN, &mut fastrand::Rng::with_seed(seed));
        let on_time = |seed: &u64| schedule_of(*seed).origin > schedule_of(*seed).first + takes;
        let seed = (0..100).find(on_time).unwrap();
        let (first, origin) = (schedule_of(seed).first - start, schedule_of(seed).origin - start);
        assert!(first < FIRST_RUN_WITHIN);
        let prober = Scripted { takes, ..Scripted::default() };
        let (mut scheduler, log) = scheduler(seed);
        scheduler.replace(prober, [key(1, interval)]);
        sleep(1_000 * SECOND).await;
        let times = times(&log, 1);
        assert!((100..=101).contains(&times.len()), "{}", times.len());
        assert_close(times[0], first + takes);
        for (k, &time) in times[1..].iter().enumerate() {
            assert_close(time, origin + interval * u32::try_from(k).unwrap() + takes);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn first_runs_and_phases_are_spread_evenly() {
        let prober = Scripted::default();
        let (mut scheduler, log) = scheduler(1);
        scheduler.replace(prober, (0..1_000).map(|port| key(port, 10 * SECOND)));
        sleep(60 * SECOND).await;
        let mut first = [0; 4];
        let mut phase = [0; 10];
        for port in 0..1_000 {
            let times = times(&log, port);
            // A timer may fire in the millisecond after the last.
            first[(times[0].as_millis() as usize / 500).min(3)] += 1;
            phase[(times[3].as_millis() % 10_000) as usize / 1_000] += 1;
        }
        assert!(first.iter().all(|&count| (180..320).contains(&count)), "{first:?}");
        assert!(phase.iter().all(|&count| (60..140).contains(&count)), "{phase:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_run_skips_what_it_missed() {
        let prober = Scripted { takes: Duration::from_secs(25), ..Scripted::default() };
        let (mut scheduler, log) = scheduler(3);
        scheduler.replace(prober, [key(1, 10 * SECOND)]);
        sleep(205 * SECOND).await;
        let times = times(&log, 1);
        assert!((6..=7).contains(&times.len()), "one run per three intervals: {times:?}");
        for pair in times[1..].windows(2) {
            assert_close(pair[1] - pair[0], 30 * SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn equal_targets_are_probed_once() {
        let prober = Scripted::default();
        let (mut scheduler, log) = scheduler(1);
        scheduler.replace(prober, [key(1, SECOND), key(2, SECOND), key(1, SECOND)]);
        sleep(100 * SECOND).await;
        for port in [1, 2] {
            assert!((100..=101).contains(&times(&log, port).len()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_keeps_the_schedule_of_what_stays_and_ends_the_rest() {
        let prober = Scripted::default();
        let run = async |reloads: u32| {
            let (mut scheduler, log) = scheduler(9);
            scheduler.replace(prober.clone(), [key(1, 4 * SECOND), key(2, 4 * SECOND)]);
            sleep(10 * SECOND).await;
            for _ in 0..reloads {
                scheduler.replace(prober.clone(), [1, 3, 1].map(|port| key(port, 4 * SECOND)));
                sleep(3 * SECOND).await;
            }
            sleep(40 * SECOND - 3 * SECOND * reloads).await;
            log
        };
        let (undisturbed, reloaded) = (run(0).await, run(10).await);
        assert_eq!(times(&undisturbed, 1).len(), times(&reloaded, 1).len());
        for (&expected, actual) in times(&undisturbed, 1).iter().zip(times(&reloaded, 1)) {
            assert_close(actual, expected);
        }
        assert!(times(&reloaded, 2).iter().all(|&time| time <= 10 * SECOND), "replaced");
        assert!(times(&undisturbed, 2).iter().any(|&time| time > 40 * SECOND));
        let added = times(&reloaded, 3);
        assert!(added[0] > 10 * SECOND && added[0] <= 12 * SECOND + Duration::from_millis(1), "{added:?}");
        assert!((10..=11).contains(&added.len()), "{added:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_puts_the_new_prober_to_use() {
        let slow = Scripted { takes: Duration::from_millis(400), ..Scripted::default() };
        let (mut scheduler, log) = scheduler(9);
        scheduler.replace(slow, [key(1, SECOND)]);
        sleep(10 * SECOND).await;
        let before = log.lock().unwrap().len();
        scheduler.replace(Scripted::default(), [key(1, SECOND)]);
        sleep(10 * SECOND).await;
        let took: Vec<Duration> = log.lock().unwrap().iter().map(|entry| entry.2).collect();
        assert!(took[..before].iter().all(|&took| took > Duration::from_millis(399)));
        // One run may have been under way.
        assert!(took[before + 1..].iter().all(|&took| took < Duration::from_millis(2)));
    }

    /// A target that may take so long.
    fn patient(port: u16, interval: Duration, timeout: Duration) -> Arc<TargetKey> {
        let key = key(port, interval);
        Arc::new(TargetKey { timing: Timing { timeout, ..key.timing }, ..(*key).clone() })
    }

    /// The same of a hostname.
    fn named(port: u16, interval: Duration, timeout: Duration) -> Arc<TargetKey> {
        let key = patient(port, interval, timeout);
        Arc::new(TargetKey { target: Target::Hostname("www.example.net".parse().unwrap()), ..(*key).clone() })
    }

    #[test]
    fn there_is_room_for_all_that_hang_and_a_quarter_more() {
        let room = |count: usize, interval: u32, timeout: u32| {
            let key = patient(1, interval * SECOND, timeout * SECOND);
            probes_in_flight(std::iter::repeat_n(&*key, count))
        };
        assert_eq!([room(20_000, 5, 2), room(100_000, 30, 5), room(3, 1, 9)], [10_000, 20_834, LEAST_IN_FLIGHT]);
        assert_eq!([room(10_000, 2, 4), room(1_000_000, 5, 4)], [12_500, MAX_PROBES_IN_FLIGHT]);
        // A hostname may have several addresses, which are all probed at once.
        let named = named(1, 5 * SECOND, 2 * SECOND);
        assert_eq!(probes_in_flight(std::iter::repeat_n(&*named, 1_000)), 4_000);
    }

    #[tokio::test(start_paused = true)]
    async fn hostnames_take_room_for_all_of_their_addresses() {
        let prober = Scripted { takes: SECOND, ..Scripted::default() };
        let (mut scheduler, log) = scheduler(1);
        // A run takes a hundred times as long as it may, so that there is too little room.
        scheduler.replace(prober.clone(), (0..1_000).map(|port| named(port, 60 * SECOND, SECOND / 100)));
        sleep(34 * SECOND).await;
        assert_eq!(prober.most_under_way.load(Ordering::Relaxed), LEAST_IN_FLIGHT / 8);
        assert!(log.lock().unwrap().len() >= 1_000, "all had their turn");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_counts_what_is_under_way() {
        let prober = Scripted { takes: SECOND, ..Scripted::default() };
        let (mut scheduler, _log) = scheduler(1);
        // Runs take longer than they may, so that there is too little room, with and without the others.
        let few = || (0..10_000).map(|port| patient(port, 60 * SECOND, SECOND / 100));
        let many = || few().chain((10_000..20_000).map(|port| patient(port, 60 * SECOND, 3 * SECOND)));
        let most = |prober: &Scripted| prober.most_under_way.swap(0, Ordering::Relaxed);
        scheduler.replace(prober.clone(), few());
        sleep(5 * SECOND).await;
        assert_eq!(most(&prober), LEAST_IN_FLIGHT);
        let room = probes_in_flight(many().collect::<Vec<_>>().iter().map(|key| &**key));
        assert!((600..700).contains(&room), "{room}");
        scheduler.replace(prober.clone(), many());
        sleep(5 * SECOND).await;
        assert_eq!(most(&prober), room, "more room, with what is under way in it");
        scheduler.replace(prober.clone(), few());
        sleep(SECOND / 10).await;
        scheduler.replace(prober.clone(), many());
        sleep(2 * SECOND).await;
        assert_eq!(most(&prober), room);
        scheduler.replace(prober.clone(), few());
        // What was under way then is over.
        sleep(SECOND + SECOND / 10).await;
        most(&prober);
        sleep(5 * SECOND).await;
        assert_eq!(most(&prober), LEAST_IN_FLIGHT);
    }

    #[tokio::test(start_paused = true)]
    async fn probes_in_flight_are_bounded_and_waiting_is_no_probe_time() {
        let prober = Scripted { takes: SECOND, ..Scripted::default() };
        let (mut scheduler, log) = scheduler(1);
        // A run takes a hundred times as long as it may, so that there is too little room.
        let key = |port| patient(port, 60 * SECOND, SECOND / 100);
        scheduler.replace(prober.clone(), (0..10_000).map(key));
        sleep(42 * SECOND).await;
        assert_eq!(prober.most_under_way.load(Ordering::Relaxed), LEAST_IN_FLIGHT);
        let log = log.lock().unwrap();
        assert!(log.len() >= 10_000, "all had their turn: {}", log.len());
        assert!(log.iter().all(|entry| entry.2.abs_diff(SECOND) <= Duration::from_millis(2)));
        let lateness = scheduler.punctuality().lateness.read();
        let late: u64 = lateness.counts[10..].iter().sum();
        assert!(late > 9_000, "the wait is counted: {lateness:?}");
        assert_eq!(scheduler.punctuality().in_flight(), LEAST_IN_FLIGHT as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_delays_nothing_else() {
        let prober = Scripted { takes: Duration::from_millis(8_999), ..Scripted::default() };
        let (mut scheduler, log) = scheduler(1);
        scheduler.replace(prober, (0..1_000).map(|port| patient(port, 10 * SECOND, 9 * SECOND)));
        sleep(100 * SECOND).await;
        let lateness = scheduler.punctuality().lateness.read();
        let on_time: u64 = lateness.counts[..2].iter().sum();
        assert_eq!(on_time, lateness.counts.iter().sum::<u64>(), "{lateness:?}");
        // The first run of most was under way when they were due again, and stands for that one, too.
        assert_eq!(scheduler.punctuality().missed(), 0);
        assert!(log.lock().unwrap().len() >= 9_000);
    }

    #[tokio::test(start_paused = true)]
    async fn many_first_runs_take_their_time() {
        let (mut scheduler, log) = scheduler(1);
        scheduler.replace(Scripted::default(), (0..20_000).map(|port| key(port, 60 * SECOND)));
        sleep(SECOND).await;
        let first = log.lock().unwrap().len();
        assert!((2_300..2_700).contains(&first), "{first}");
        sleep(7 * SECOND + Duration::from_millis(2)).await;
        let mut seen: Vec<u16> = log.lock().unwrap().iter().map(|entry| entry.0).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 20_000);
    }

    /// Panics in every other run.
    struct Defective(AtomicUsize);

    impl Observe for Defective {
        async fn observe(&self, _key: &TargetKey) -> Option<Observation> {
            sleep(SECOND / 10).await;
            assert!(self.0.fetch_add(1, Ordering::Relaxed) % 2 == 1, "a defect");
            None
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_panics_is_no_evidence_and_the_last_of_none() {
        let (sender, mut observed) = mpsc::channel(100);
        let mut scheduler = Scheduler::new(1, sender);
        scheduler.replace(Defective(AtomicUsize::new(0)), [key(1, SECOND)]);
        sleep(20 * SECOND).await;
        let found: Vec<Observed> = std::iter::from_fn(|| observed.try_recv().ok()).collect();
        assert!((9..=11).contains(&found.len()), "{}", found.len());
        assert!(found.iter().all(|found| found.observation.outcome.as_ref().is_err_and(Failure::is_local)));
        assert_eq!(scheduler.punctuality().in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn runs_wait_while_nobody_takes_what_they_find() {
        let (sender, mut observed) = mpsc::channel(1);
        let mut scheduler = Scheduler::new(1, sender);
        scheduler.replace(Scripted::default(), (0..3).map(|port| key(port, SECOND)));
        sleep(100 * SECOND).await;
        let early = std::iter::from_fn(|| observed.try_recv().ok()).count();
        assert_eq!(early, 1);
        sleep(SECOND / 1_000).await;
        // All three had one, and what they left out meanwhile is no debt.
        let missed = scheduler.punctuality().missed();
        assert!(missed >= 98, "{missed}");
        sleep(2 * SECOND).await;
        let later = std::iter::from_fn(|| observed.try_recv().ok()).count();
        assert_eq!(later, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_scheduler_ends_runs_under_way() {
        let prober = Scripted { takes: 100 * SECOND, ..Scripted::default() };
        let (mut scheduler, log) = scheduler(1);
        scheduler.replace(prober.clone(), (0..10).map(|port| key(port, 10 * SECOND)));
        advance(3 * SECOND).await;
        sleep(SECOND).await;
        assert_eq!(prober.under_way.load(Ordering::Relaxed), 10);
        drop(scheduler);
        sleep(SECOND).await;
        assert_eq!(prober.under_way.load(Ordering::Relaxed), 0);
        sleep(200 * SECOND).await;
        assert!(log.lock().unwrap().is_empty());
    }
}
