//! The one place where snapshots are made and published.
//!
//! Both writers, a reload and a change of health, go through one lock and each makes the next generation, so that an
//! older state can never replace a newer one. Readers never wait: they load an [`ArcSwap`].

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::{Compiled, Snapshot, TargetId};
use crate::config::EndpointState;
use crate::health::{Observation, Table, TargetKey, Transition, Verdict};
use crate::routing::Live;
use crate::routing::live::Standing;

/// Where workers read the current snapshot.
pub type Published = ArcSwap<Snapshot>;

/// Owns the health of all targets and publishes what follows from it.
#[derive(Debug)]
pub struct Publisher {
    published: Arc<Published>,
    table: Mutex<Table>,
}

/// A change of verdict, for people.
#[derive(Debug)]
pub struct Change {
    /// From what to what.
    pub transition: Transition,
    /// What was probed.
    pub target: String,
    /// The endpoints that it concerns, as `pool/region`.
    pub endpoints: Vec<String>,
    /// What the deciding observation said.
    pub reason: String,
}

impl Publisher {
    /// Publishes the first snapshot, with every verdict unknown.
    pub fn new(compiled: Compiled) -> Self {
        let table = Table::default().rebuilt(compiled.targets.iter().cloned());
        let live = Live::build(&compiled, |endpoint| standing(&compiled, &table, endpoint), None, Instant::now());
        let first = Snapshot { generation: 1, compiled: Arc::new(compiled), live };
        Self { published: Arc::new(ArcSwap::from_pointee(first)), table: Mutex::new(table) }
    }

    /// Where workers read.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// The current snapshot.
    pub fn current(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// The health of all targets. Hold it only to read it out: observations wait meanwhile, queries don't.
    pub fn health(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the configuration, carrying over the health of every target that stays.
    pub fn replace(&self, compiled: Compiled) -> Arc<Snapshot> {
        let mut table = self.health();
        *table = table.rebuilt(compiled.targets.iter().cloned());
        let current = self.current();
        let before = Some((current.compiled.as_ref(), &current.live));
        let live = Live::build(&compiled, |endpoint| standing(&compiled, &table, endpoint), before, Instant::now());
        self.store(Arc::new(compiled), live)
    }

    /// Takes in observations made by `now`, publishes once what follows from all of them, and returns the changes of
    /// verdict. An observation of a target that is gone is dropped.
    pub fn observe(
        &self,
        observations: impl IntoIterator<Item = (Arc<TargetKey>, Observation)>,
        now: Instant,
    ) -> Vec<Change> {
        let mut table = self.health();
        let current = self.current();
        let compiled = &current.compiled;
        let mut changes = Vec::new();
        let mut changed: HashSet<TargetId> = HashSet::new();
        for (key, observation) in observations {
            let reason = observation.to_string();
            let Some(effect) = table.observe(&key, observation, now) else { continue };
            if effect.matters {
                changed.insert(effect.id);
            }
            if let Some(transition) = effect.transition {
                let endpoints = endpoints_of(compiled, effect.id);
                changes.push(Change { transition, target: key.to_string(), endpoints, reason });
            }
        }
        if !changed.is_empty() {
            let has_changed = |endpoint: u32| {
                compiled.endpoints[endpoint as usize].target.is_some_and(|target| changed.contains(&target))
            };
            let live =
                current.live.updated(compiled, |endpoint| standing(compiled, &table, endpoint), has_changed, now);
            self.store(Arc::clone(compiled), live);
        }
        changes
    }

    /// Publishes the next generation. The table is locked meanwhile, so that there is one writer.
    fn store(&self, compiled: Arc<Compiled>, live: Live) -> Arc<Snapshot> {
        let next = Arc::new(Snapshot { generation: self.published.load().generation + 1, compiled, live });
        self.published.store(Arc::clone(&next));
        next
    }
}

/// What is known of an endpoint.
fn standing(compiled: &Compiled, table: &Table, endpoint: u32) -> Standing {
    let endpoint = &compiled.endpoints[endpoint as usize];
    let unprobed = Standing { drains: endpoint.state == EndpointState::Draining, ..Standing::UNPROBED };
    let Some(target) = endpoint.target else { return unprobed };
    match table.get(target) {
        Some(target) => Standing {
            verdict: target.machine.verdict(),
            flip_seconds: target.soonest_change().map(|left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX)),
            ..unprobed
        },
        None => Standing { verdict: Verdict::Unknown, ..unprobed },
    }
}

fn endpoints_of(compiled: &Compiled, target: TargetId) -> Vec<String> {
    let config = &compiled.config;
    let concerned = compiled.groups.iter().filter(|group| {
        group.endpoints.clone().any(|endpoint| compiled.endpoints[endpoint as usize].target == Some(target))
    });
    concerned
        .map(|group| format!("{}/{}", config.pools[group.pool].name, config.regions[usize::from(group.region)].name))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::*;
    use crate::health::Failure;
    use crate::reload::{Loader, Origin};
    use crate::routing::{Draw, Family, Outcome, decide};

    const CONFIGURATION: &str = r#"
[server]
listen = ["127.0.0.1:0"]
[regions.near]
location = [50, 8]
[regions.far]
location = [40, -77]
[probes.tcp]
type = "tcp"
port = 80
interval = "4s"
timeout = "1s"
fall = 3
rise = 2
[pools.web]
probe = "tcp"
endpoints = [{ region = "near", address = "192.0.2.1" }, { region = "far", address = "192.0.2.2" }]
[zones."example.com"]
nameservers = ["ns.example.net"]
[services."www.example.com"]
pool = "web"
ttl = { min = "5s", max = "60s" }
"#;

    fn compiled(configuration: &str) -> Compiled {
        Loader::new(Origin::Embedded(configuration.to_owned())).load().unwrap().compiled
    }

    /// Reports a result of the target at `address` and returns the changes of verdict.
    fn observe(publisher: &Publisher, address: [u8; 4], success: bool) -> Vec<Change> {
        let wanted = crate::config::Target::Address(IpAddr::from(address));
        let key = publisher.health().keys().find(|key| key.target == wanted).unwrap();
        let outcome = if success { Ok(()) } else { Err(Failure::Refused) };
        let observation = Observation { took: Duration::from_millis(1), address: None, outcome };
        publisher.observe([(key, observation)], Instant::now())
    }

    /// The address and the TTL that a client of unknown location gets.
    fn answer(publisher: &Publisher) -> (IpAddr, u32) {
        let snapshot = publisher.current();
        let mut rng = fastrand::Rng::with_seed(1);
        let mut draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds: 0 };
        let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));
        let decision = decide(&snapshot, &snapshot.compiled.services[0], client, Family::V4, &mut draw);
        let Outcome::Endpoints { choice, picks } = decision.outcome else { panic!("an endpoint serves") };
        let endpoint = choice.candidates.list[picks.as_slice()[0] as usize].endpoint as usize;
        (snapshot.compiled.endpoints[endpoint].address().unwrap(), decision.ttl)
    }

    #[test]
    fn the_ttl_follows_how_near_the_verdict_is_to_a_change() {
        let publisher = Publisher::new(compiled(CONFIGURATION));
        let (near, far) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        // Unknown: the next result decides, at most an interval away, which is below the minimum.
        assert_eq!(answer(&publisher), (near.into(), 5));
        assert_eq!(observe(&publisher, near, true).len(), 1);
        assert_eq!(observe(&publisher, far, true).len(), 1);
        for (success, changes, address, ttl) in [
            (true, 0, near, 60),
            // Two more failures and it is down, in 8 s at the earliest.
            (false, 0, near, 8),
            (false, 0, near, 5),
            (true, 0, near, 60),
            (false, 0, near, 8),
            (false, 0, near, 5),
            (false, 1, far, 5),
            (true, 0, far, 5),
            (true, 1, near, 60),
        ] {
            assert_eq!(observe(&publisher, near, success).len(), changes);
            assert_eq!(answer(&publisher), (address.into(), ttl));
        }
    }

    #[test]
    fn only_what_matters_is_published_and_generations_grow() {
        let publisher = Publisher::new(compiled(CONFIGURATION));
        let near = [192, 0, 2, 1];
        let mut generations = vec![publisher.current().generation];
        for success in [true, true, true, false, true] {
            observe(&publisher, near, success);
            generations.push(publisher.current().generation);
        }
        assert_eq!(generations, [1, 2, 2, 2, 3, 4]);
        assert_eq!(publisher.replace(compiled(CONFIGURATION)).generation, 5);
    }

    #[test]
    fn a_reload_keeps_verdicts_though_targets_move() {
        let publisher = Publisher::new(compiled(CONFIGURATION));
        let (near, far) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        observe(&publisher, far, true);
        let change = observe(&publisher, near, false).remove(0);
        assert_eq!((change.transition.to, change.endpoints), (Verdict::Down, vec!["web/near".to_owned()]));
        assert_eq!(answer(&publisher).0, IpAddr::from(far));
        // A new pool ahead of the old one takes the first indices of targets.
        let first =
            "[pools.first]\nprobe = \"tcp\"\nendpoints = [{ region = \"far\", address = \"192.0.2.7\" }]\n[pools.web]";
        publisher.replace(compiled(&CONFIGURATION.replace("[pools.web]", first)));
        assert_eq!(answer(&publisher).0, IpAddr::from(far), "near is still down");
        observe(&publisher, near, true);
        observe(&publisher, near, true);
        assert_eq!(answer(&publisher).0, IpAddr::from(near));
        publisher.replace(compiled(&CONFIGURATION.replace("192.0.2.1", "192.0.2.9")));
        assert!(publisher.observe([], Instant::now()).is_empty());
        assert_eq!(answer(&publisher).0, IpAddr::from([192, 0, 2, 9]), "a new target is unknown, and serves");
    }
}
