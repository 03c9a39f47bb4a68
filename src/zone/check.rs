//! What the records of a zone must satisfy together.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use domain::base::iana::Rtype;

use super::record::Record;
use super::served::{Served, suffixes};
use super::{MAX_PROBLEMS, Name, NameSlice, ZoneRecords};
use crate::config::Problem;

/// The most bytes of one RRset, so that it fits a TCP response with room for the question and EDNS.
const MAX_RRSET_BYTES: usize = 64_000;
/// What a record costs besides its data: pointer to the owner, type, class, TTL and length.
const RECORD_OVERHEAD_BYTES: usize = 12;

/// Every problem among the records, which stand in RRsets, up to the owner that makes it [`MAX_PROBLEMS`]. `complete` is false when some couldn't be read: then nothing
/// is said to be missing. What `served` has needs no address in the zone.
pub(super) fn check(zone: &ZoneRecords, complete: bool, served: &Served) -> Vec<Problem> {
    let names: HashMap<&NameSlice, &[Record]> = zone
        .records
        .chunk_by(|a, b| a.owner == b.owner)
        .filter_map(|records| records.first().map(|record| (record.owner.for_slice(), records)))
        .collect();
    let has_dname = zone.records.iter().any(|record| record.rtype == Rtype::DNAME);
    let mut checker =
        Checker { zone, names, has_dname, complete, served, existing: OnceCell::new(), problems: Vec::new() };
    checker.check_apex();
    for records in zone.records.chunk_by(|a, b| a.owner == b.owner) {
        if checker.problems.len() >= MAX_PROBLEMS {
            break;
        }
        checker.check_name(records);
    }
    checker.problems
}

struct Checker<'a> {
    zone: &'a ZoneRecords,
    /// The records of each owner.
    names: HashMap<&'a NameSlice, &'a [Record]>,
    has_dname: bool,
    complete: bool,
    served: &'a Served,
    /// The owners and all names above them.
    existing: OnceCell<HashSet<&'a NameSlice>>,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    fn check_apex(&mut self) {
        if !self.complete {
            return;
        }
        let apex = &self.zone.apex;
        let missing = [
            (Rtype::SOA, "@ SOA ns1.example.net. hostmaster.example.net. 1 1h 15m 2w 5m"),
            (Rtype::NS, "@ NS ns1.example.net."),
        ];
        for (rtype, example) in missing {
            if !self.has(apex.for_slice(), &[rtype]) {
                let problem = Problem::new(format!("the zone {apex} has no {rtype} record"));
                let problem = match self.zone.sources.first() {
                    Some(source) => problem.at(source, 0..0),
                    None => problem,
                };
                self.problems.push(problem.hint(format!("write one at the apex, such as `{example}`")));
            }
        }
    }

    /// Checks the records of one owner.
    fn check_name(&mut self, records: &[Record]) {
        let Some(first) = records.first() else { return };
        let (zone, owner) = (self.zone, &first.owner);
        let at_apex = *owner == zone.apex;
        if !owner.ends_with(&zone.apex) {
            let problem = zone.problem(first, format!("{owner} is not in the zone {}", zone.apex));
            self.problems
                .push(problem.hint("remove it, or correct the name; a name that ends in `.` is taken as it is"));
            return;
        }
        for rrset in records.chunk_by(|a, b| a.rtype == b.rtype) {
            self.check_rrset(rrset, at_apex);
        }
        if let Some(cname) = records.iter().find(|record| record.rtype == Rtype::CNAME) {
            let mut others: Vec<String> = records
                .iter()
                .filter(|other| !may_stand_by_cname(other.rtype))
                .map(|other| other.rtype.to_string())
                .collect();
            others.dedup();
            if !others.is_empty() {
                let problem = zone.problem(cname, format!("{owner} has a CNAME beside {}", others.join(", ")));
                self.problems.push(problem.hint(if at_apex {
                    "the apex can't be an alias: give its addresses, or make it a service"
                } else {
                    "an alias has no other data: remove the CNAME or the others"
                }));
            }
        }
        if let Some(dname) = records.iter().find(|record| record.rtype == Rtype::DNAME)
            && records.iter().any(|other| other.rtype == Rtype::NS)
            && !at_apex
        {
            let problem = zone.problem(dname, format!("{owner} has a DNAME beside NS"));
            self.problems.push(problem.hint("a name is either redirected or delegated"));
        }
        if self.has_dname
            && let Some(redirected) = self.ancestors(owner.for_slice()).find(|name| self.has(name, &[Rtype::DNAME]))
        {
            let message = format!("{owner} is below {redirected}, which a DNAME redirects");
            self.problems.push(zone.problem(first, message).hint("remove it: it could never be answered"));
        }
    }

    fn check_rrset(&mut self, rrset: &[Record], at_apex: bool) {
        let [first, rest @ ..] = rrset else { return };
        let (zone, owner, rtype) = (self.zone, &first.owner, first.rtype);
        if let (Some(second), Rtype::SOA | Rtype::CNAME | Rtype::DNAME) = (rest.first(), rtype) {
            self.problems
                .push(zone.problem(second, format!("{owner} has a second {rtype} record")).hint("keep one of them"));
        }
        if rtype == Rtype::SOA && !at_apex {
            let problem = zone.problem(first, format!("there is an SOA record at {owner}, which isn't the apex"));
            self.problems
                .push(problem.hint("a zone of its own needs its own file; to delegate the name, give it NS records"));
        }
        if rtype == Rtype::NS {
            for record in rrset {
                self.check_name_server(record);
            }
        }
        let bytes: usize = rrset.iter().map(|record| record.rdata.len() + RECORD_OVERHEAD_BYTES).sum();
        if bytes > MAX_RRSET_BYTES {
            let message = format!("the {rtype} records of {owner} take {bytes} bytes together: no response holds them");
            self.problems.push(zone.problem(first, message).hint(format!("keep them within {MAX_RRSET_BYTES} bytes")));
        }
    }

    /// A name server in the zone has addresses there: its own, or those of a service, or glue. One in a zone inside of
    /// this one is for that zone to know.
    fn check_name_server(&mut self, record: &Record) {
        let (zone, owner) = (self.zone, &record.owner);
        let Some(target) = record.target().filter(|target| target.ends_with(&zone.apex)) else { return };
        if self.served.zone_of(target).is_some_and(|closest| *closest != zone.apex) {
            return;
        }
        if self.has(target, &[Rtype::CNAME]) {
            let problem = zone.problem(record, format!("the name server {target} is an alias (CNAME)"));
            self.problems.push(problem.hint("a name server must have addresses of its own (RFC 2181 section 10.3)"));
            return;
        }
        // Below another delegation it is for that one to say where the name server is.
        let delegated_elsewhere = std::iter::once(target)
            .chain(self.ancestors(target))
            .any(|name| *name != zone.apex && *name != *owner && self.has(name, &[Rtype::NS]));
        if !self.complete || delegated_elsewhere || self.has_address(target) {
            return;
        }
        let problem = zone.problem(record, format!("the name server {target} has no address"));
        self.problems.push(problem.hint(match self.without_origin(target) {
            Some(meant) => format!("if {meant} is meant, write it with a dot at the end: `{meant}.`"),
            None => format!("give it one, such as `{target}. A 192.0.2.53`"),
        }));
    }

    /// The name as it was likely meant, where one that ends in the apex was made to end in it once more.
    fn without_origin(&self, name: &NameSlice) -> Option<Name> {
        let apex = &self.zone.apex;
        let own = name.as_slice().get(..name.len().checked_sub(apex.len())?)?;
        let meant = Name::from_octets([own, &[0]].concat()).ok()?;
        (meant.ends_with(apex) && apex.len() > 1).then_some(meant)
    }

    /// Whether the name, which is in the zone, has static addresses or is a service, itself or through a wildcard.
    fn has_address(&self, name: &NameSlice) -> bool {
        let apex = &self.zone.apex;
        let stand_in = self.served.stand_in(apex, name, |name| self.exists(name));
        NameSlice::from_slice(&stand_in).is_ok_and(|stand_in| {
            self.has(stand_in, &[Rtype::A, Rtype::AAAA]) || self.served.is_service(apex, stand_in)
        })
    }

    /// Whether the name, which is in the zone, exists for a record there or below.
    fn exists(&self, name: &NameSlice) -> bool {
        let existing = || {
            let mut existing = HashSet::new();
            for owner in self.names.keys().filter(|owner| owner.ends_with(&self.zone.apex)) {
                for above in suffixes(owner) {
                    if !existing.insert(above) {
                        break;
                    }
                }
            }
            existing
        };
        self.names.contains_key(name) || self.existing.get_or_init(existing).contains(name)
    }

    fn has(&self, name: &NameSlice, rtypes: &[Rtype]) -> bool {
        self.names.get(name).is_some_and(|records| records.iter().any(|record| rtypes.contains(&record.rtype)))
    }

    /// The names above one that is in the zone, up to the apex.
    fn ancestors<'n>(&self, name: &'n NameSlice) -> impl Iterator<Item = &'n NameSlice> + use<'n> {
        let apex_length = self.zone.apex.len();
        let parent = move |name: &&'n NameSlice| {
            let below_apex = name.len() > apex_length;
            let (label, _) = name.as_slice().split_first().filter(|_| below_apex)?;
            NameSlice::from_slice(&name.as_slice()[1 + usize::from(*label)..]).ok()
        };
        std::iter::successors(Some(name), parent).skip(1)
    }
}

/// Types that may stand by a CNAME: itself and what DNSSEC puts everywhere (RFC 4034 section 3, RFC 2181 section 10.1).
fn may_stand_by_cname(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::CNAME | Rtype::RRSIG | Rtype::NSEC | Rtype::SIG | Rtype::KEY | Rtype::NXT)
}
