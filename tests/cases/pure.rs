//! A case file's server as the pure core: no socket, no clock, a fixed seed.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian::config::Target;
use meridian::dns::{MAX_TCP_RESPONSE, Transport, WorkerContext, respond};
use meridian::health::overrides::{Override, Overrides, Subject, Word};
use meridian::health::{Details, Failure, Observation, TargetKey};
use meridian::reload::{Loader, Origin};
use meridian::snapshot::{Publisher, Snapshot};

use crate::file::CaseFile;
use crate::folder;

/// Stands in for `@PORT@`: nothing is probed.
const PORT: u16 = 1;
const SEED: u64 = 1;

/// What answers.
#[derive(Debug)]
pub(crate) struct Core {
    publisher: Publisher,
    snapshot: Arc<Snapshot>,
    context: WorkerContext,
    pub(crate) response: Vec<u8>,
}

impl Core {
    /// Loads and compiles as `meridian serve` does, then tells it of every target's health.
    pub(crate) fn load(file: &CaseFile) -> Result<Self, String> {
        let (_folder, config) = folder::write(file, PORT)?;
        let prepared = Loader::new(Origin::File(config)).load().map_err(|problems| problems.to_string())?;
        let publisher = Publisher::new(prepared.compiled);
        let targets = publisher.current().compiled.targets.clone();
        let observations = targets.into_iter().filter_map(|key| Some((observation(file, &key)?, key)));
        publisher.observe(observations.map(|(observation, key)| (Arc::new(key), observation)), Instant::now());
        publisher.follow_demand(Instant::now());
        Ok(Self {
            snapshot: publisher.current(),
            publisher,
            context: WorkerContext::new(0, SEED, Arc::default()),
            response: vec![0; MAX_TCP_RESPONSE],
        })
    }

    /// Lets this word be on every service.
    #[allow(dead_code, reason = "the cases themselves know no words")]
    pub(crate) fn obey(&mut self, word: Word) {
        let mut overrides = Overrides::default();
        for service in &self.snapshot.compiled.config.services {
            let subject = Subject::Service(service.name.to_string());
            let (reason, author) = (String::new(), String::new());
            overrides.set(Override { subject, word, reason, author, since: 0, expires: None }).unwrap();
        }
        self.publisher.obey(&overrides.into(), Instant::now());
        self.snapshot = self.publisher.current();
    }

    /// Answers a request; what comes is at the beginning of [`Self::response`], and this long.
    pub(crate) fn respond(&mut self, request: &[u8], peer: Ipv4Addr, transport: Transport) -> Option<usize> {
        respond(&self.snapshot, &mut self.context, request, peer.into(), transport, &mut self.response)
    }
}

/// What a probe of this target finds; the first result decides the verdict.
fn observation(file: &CaseFile, key: &TargetKey) -> Option<Observation> {
    let address = match key.target {
        Target::Address(address) => address,
        Target::Hostname(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
    };
    let outcome = match address {
        _ if file.unknown.contains(&address) => return None,
        _ if file.is_up(address) => Ok(()),
        _ => Err(Failure::Refused),
    };
    Some(Observation { took: Duration::from_millis(1), address: Some(address), outcome, details: Details::default() })
}
