//! Zones: master files → records → the tree that answers are found in.

mod check;
mod fields;
mod generate;
mod location;
mod lookup;
mod made;
mod master;
mod record;
pub mod rtype;
mod scan;
mod served;
mod svcb;
mod token;
mod tree;

use std::collections::HashSet;
use std::sync::Arc;

pub use lookup::{LookupName, MAX_LABELS, MAX_NAME_OCTETS};
pub use record::{Place, Record};
pub use served::Served;
pub use tree::{Additional, Found, Node, NodeId, RecordSet, RecordWire, Tree};

use crate::config::{self, Problem, Problems, Source, ZoneOrigin};

/// A domain name in wire form, compared without regard to case.
pub type Name = domain::base::Name<Vec<u8>>;

/// A part of one.
pub type NameSlice = domain::base::Name<[u8]>;

/// Reading and checking each stop after this many problems.
const MAX_PROBLEMS: usize = 100;

/// A zone's static records, checked.
#[derive(Debug, Clone)]
pub struct ZoneRecords {
    /// The zone's name.
    pub apex: Name,
    /// The records of one owner stand together, and among them those of one type, with one TTL and none twice. Owners
    /// come in the order written.
    pub records: Vec<Record>,
    /// The texts that the records were written in: the master file and what it includes, or the configuration.
    pub sources: Vec<Arc<Source>>,
}

/// Reads a zone's records, from its master file or as the configuration says, and checks them.
///
/// `source` is the configuration that names the zone. A name server may be a service, or in another zone, of `served`.
///
/// # Errors
///
/// Every problem in the file and those it includes, but for those that come after a hundred others.
pub fn load(zone: &config::Zone, source: &Arc<Source>, served: &Served) -> Result<ZoneRecords, Problems> {
    match &zone.origin {
        ZoneOrigin::File { path, span } => {
            let text = master::read_source(path).map_err(|problem| match problem.place {
                None => problem.at(source, span.clone()),
                Some(_) => problem,
            })?;
            parse(&zone.name, &Arc::new(text), served)
        }
        ZoneOrigin::Made { nameservers, hostmaster, ttl, negative_ttl } => {
            let place = Place::new(0, zone.span.clone());
            let records = made::records(&zone.name, nameservers, hostmaster, *ttl, *negative_ttl, place);
            ZoneRecords::checked(&zone.name, records, vec![Arc::clone(source)], Vec::new(), served)
        }
    }
}

/// Reads the text of a master file whose origin is `apex` at first, and checks its records.
///
/// # Errors
///
/// As [`load`].
pub fn parse(apex: &Name, text: &Arc<Source>, served: &Served) -> Result<ZoneRecords, Problems> {
    let reading = master::read(apex, text);
    ZoneRecords::checked(apex, reading.records, reading.sources, reading.problems, served)
}

impl ZoneRecords {
    fn checked(
        apex: &Name,
        records: Vec<Record>,
        sources: Vec<Arc<Source>>,
        mut problems: Vec<Problem>,
        served: &Served,
    ) -> Result<Self, Problems> {
        let zone = Self { apex: apex.clone(), records: record::into_rrsets(records), sources };
        problems.extend(check::check(&zone, problems.is_empty(), served));
        zone.sort(&mut problems);
        if problems.is_empty() { Ok(zone) } else { Err(Problems(problems)) }
    }

    /// What is wrong with the records together, as [`load`] would say.
    pub fn check(&self, served: &Served) -> Vec<Problem> {
        let mut problems = check::check(self, true, served);
        self.sort(&mut problems);
        problems
    }

    /// Brings problems into the order of the text, file by file, those without a place last.
    fn sort(&self, problems: &mut [Problem]) {
        problems.sort_by_cached_key(|problem| {
            let Some((found, span)) = &problem.place else { return (usize::MAX, 0) };
            let file = self.sources.iter().position(|source| Arc::ptr_eq(source, found));
            (file.unwrap_or(self.sources.len()), span.start)
        });
    }

    /// The octets that a tree keeps of the zone: of all its names, those that are there for names below them alone too,
    /// and of its records. It is counted no further than a little over `limit`.
    pub fn octets(&self, limit: usize) -> usize {
        let mut name = LookupName::default();
        let apex_labels = self.apex.label_count() - 1;
        // By their hashes: two that agree count as one, which matters little here.
        let mut names: HashSet<u64> = HashSet::new();
        let mut octets = 0;
        for records in self.records.chunk_by(|a, b| a.owner == b.owner) {
            octets += records.iter().map(|record| record.rdata.len() + tree::RECORD_OCTETS).sum::<usize>();
            let Some(owner) = records.first().and_then(|record| name.read(record.owner.as_slice())) else { continue };
            octets += owner;
            for label in 0..=name.labels().saturating_sub(apex_labels) {
                if octets > limit || !names.insert(name.hash(label)) {
                    break;
                }
                octets += tree::NAME_OCTETS;
            }
        }
        octets
    }

    /// A problem with a record of this zone, at its place.
    pub fn problem(&self, record: &Record, message: impl Into<String>) -> Problem {
        let problem = Problem::new(message);
        let Place { source, start, end } = record.place;
        match self.sources.get(source as usize) {
            Some(source) => problem.at(source, start as usize..end as usize),
            None => problem,
        }
    }
}
