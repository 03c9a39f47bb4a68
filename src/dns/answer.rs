//! The records of one answer, from the name asked for to the last alias.

use super::chaos::{self, Asker};
use super::edns::ExtendedError;
use super::encode::{Full, Section, Writer, compression_pointer};
use super::query::{HEADER_OCTETS, Rcode};
use crate::config::Target;
use crate::routing::{Decision, Draw, Family, Outcome, decide};
use crate::snapshot::{Service, Snapshot};
use crate::zone::{Additional, Found, LookupName, MAX_NAME_OCTETS, Node, NodeId, RecordSet, RecordWire, Tree, rtype};

/// The most aliases followed in one answer; what a longer chain leads to is for the client to ask.
pub const MAX_ALIASES: usize = 16;

/// An answer being made.
pub(super) struct Answer<'s, 'c, 'b> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) tree: &'s Tree,
    /// The name that is being resolved: the one asked for, then each that an alias leads to.
    pub(super) name: &'c mut LookupName,
    pub(super) writer: Writer<'b>,
    pub(super) qtype: u16,
    pub(super) asker: Asker,
    /// Addresses that help are left out.
    pub(super) minimal: bool,
    /// How many aliases were followed.
    pub(super) aliases: usize,
    /// The prefix length for which the answer holds.
    pub(super) scope: u8,
    /// What is said beyond the response code.
    pub(super) extended: Option<ExtendedError>,
    /// Which name of ours was found first: for one that does not exist, its zone's; for one covered by a wildcard, that.
    pub(super) subject: u32,
    pub(super) draw: Draw<'c>,
}

/// Where resolution stands after one name.
pub(super) enum Step {
    /// The answer is complete.
    Done(Rcode),
    /// An alias was written; the name that it leads to begins at this place of the message and is now being resolved.
    Follow(usize),
}

/// How a record's owner is written.
#[derive(Clone, Copy)]
enum Owner<'s> {
    /// By a pointer to where the name already stands.
    At(usize),
    /// In full, but for the zone's apex, which stands at this place: these are the octets before it.
    Full(&'s [u8], usize),
}

impl<'s> Answer<'s, '_, '_> {
    /// Answers the question, whose name is the current one.
    ///
    /// # Errors
    /// Where the answer does not fit; what was written then is whole sets.
    pub(super) fn write(&mut self, qclass: u16) -> Result<Rcode, Full> {
        match (qclass, self.qtype) {
            (_, rtype::OPT) => Ok(Rcode::FormErr),
            (_, rtype::NXNAME) => {
                self.extended = Some(ExtendedError::InvalidQueryType);
                Ok(Rcode::FormErr)
            }
            (_, rtype::AXFR | rtype::IXFR) => Ok(self.refuse(ExtendedError::NotSupported)),
            (_, rtype::TKEY..=rtype::MAILA) => {
                self.extended = Some(ExtendedError::NotSupported);
                Ok(Rcode::NotImp)
            }
            (rtype::CLASS_CH, _) => {
                let (rcode, extended) =
                    chaos::answer(self.snapshot, self.name, self.qtype, &self.asker, self.draw.rng, &mut self.writer)?;
                self.extended = extended;
                Ok(rcode)
            }
            (rtype::CLASS_IN, _) => self.resolve(),
            (rtype::CLASS_ANY, _) => Ok(Rcode::Refused),
            _ => {
                self.extended = Some(ExtendedError::NotAuthoritative);
                Ok(Rcode::Refused)
            }
        }
    }

    /// What is asked of a zone as a whole is refused for this reason if the zone is ours: transfers, and with NOTIFY and
    /// UPDATE changes (RFC 5936 section 2.2.1, RFC 1996 section 3.10, RFC 2136 section 3.1).
    pub(super) fn refuse(&mut self, why: ExtendedError) -> Rcode {
        match self.tree.find(self.name, rtype::SOA) {
            Found::Node(id) if self.tree.is_apex(id) => {
                self.extended = Some(why);
                Rcode::Refused
            }
            _ => {
                self.extended = Some(ExtendedError::NotAuthoritative);
                Rcode::NotAuth
            }
        }
    }

    /// Follows the name to its end (RFC 1034 section 4.3.2).
    fn resolve(&mut self) -> Result<Rcode, Full> {
        let mut visited: [Option<NodeId>; MAX_ALIASES + 1] = [None; MAX_ALIASES + 1];
        let mut redirected: [Option<(NodeId, u64)>; MAX_ALIASES + 1] = [None; MAX_ALIASES + 1];
        let mut owner = HEADER_OCTETS;
        loop {
            let found = self.tree.find(self.name, self.qtype);
            if self.aliases == 0 {
                self.subject = found.number();
                match found {
                    Found::NotServed => {
                        self.extended = Some(ExtendedError::NotAuthoritative);
                        return Ok(Rcode::Refused);
                    }
                    Found::Referral(_) => {}
                    _ => self.writer.set_authoritative(),
                }
            }
            let step = match found {
                Found::NotServed => Step::Done(Rcode::NoError),
                Found::NxDomain(apex) => {
                    self.negative(self.tree.node(apex), owner)?;
                    Step::Done(Rcode::NxDomain)
                }
                Found::Referral(id) => self.referral(self.tree.node(id), owner)?,
                // What came up before goes on for ever, and what stands is the answer: an alias, or a name below a DNAME, which
                // redirects each of its names elsewhere.
                Found::Node(id) if visited.contains(&Some(id)) => Step::Done(Rcode::NoError),
                Found::Dname(id) if redirected.contains(&Some((id, self.name.hash(0)))) => Step::Done(Rcode::NoError),
                Found::Dname(id) => {
                    let is_shown = redirected.iter().flatten().any(|(shown, _)| *shown == id);
                    redirected[self.aliases] = Some((id, self.name.hash(0)));
                    self.dname(self.tree.node(id), owner, is_shown)?
                }
                Found::Node(id) => {
                    visited[self.aliases] = Some(id);
                    self.node(self.tree.node(id), owner)?
                }
            };
            match step {
                Step::Done(rcode) => return Ok(rcode),
                Step::Follow(target) => owner = target,
            }
        }
    }

    /// Where the apex of a node's zone stands, given that the current name, which lies in that zone, stands at `owner`.
    fn apex_at(&self, node: &Node, owner: usize) -> usize {
        owner + self.name.as_wire().len() - node.apex_octets()
    }

    /// The name exists, or a wildcard stands for it.
    fn node(&mut self, node: &'s Node, owner: usize) -> Result<Step, Full> {
        if let Some(service) = node.service() {
            let service = &self.snapshot.compiled.services[service];
            match self.qtype {
                rtype::A => return self.service(node, service, Family::V4, owner),
                rtype::AAAA => return self.service(node, service, Family::V6, owner),
                // A name that is an alias is one for every type.
                _ if service.is_alias => {
                    let decision = decide(self.snapshot, service, self.asker.client, Family::V4, &mut self.draw);
                    if let Some(target) = self.alias(&decision) {
                        return self.service_alias(service, &decision, target, owner);
                    }
                    self.scope = self.scope.max(decision.scope);
                }
                qtype => {
                    if let Some(binding) = service.binding(qtype) {
                        return self.binding(node, service, binding, owner);
                    }
                }
            }
        }
        if let Some(set) = self.tree.set_of(node, self.qtype) {
            return self.answer_set(node, set, owner);
        }
        // ANY is answered with one made-up record, but for an alias, beside which nothing may stand (RFC 8482 section 4.2).
        if self.qtype == rtype::ANY
            && let Some(set) = self.tree.set_of(node, rtype::CNAME)
        {
            return self.answer_set(node, set, owner);
        }
        if self.qtype == rtype::ANY && (node.service().is_some() || !self.tree.sets(node).is_empty()) {
            self.any(owner)?;
            return Ok(Step::Done(Rcode::NoError));
        }
        if let Some(set) = self.tree.set_of(node, rtype::CNAME) {
            return self.cname(node, set, owner);
        }
        self.negative(node, owner)?;
        Ok(Step::Done(Rcode::NoError))
    }

    fn answer_set(&mut self, node: &'s Node, set: &'s RecordSet, owner: usize) -> Result<Step, Full> {
        let apex_at = self.apex_at(node, owner);
        self.put_set(Section::Answer, Owner::At(owner), set, apex_at)?;
        let additional = if self.minimal { &[] } else { self.tree.additional(set) };
        for addresses in additional {
            // What helps but was not asked for is left out when there is no room.
            if self.put_addresses(addresses, apex_at).is_err() {
                break;
            }
        }
        Ok(Step::Done(Rcode::NoError))
    }

    /// RFC 8482 section 4.2.
    fn any(&mut self, owner: usize) -> Result<(), Full> {
        const TTL_SECONDS: u32 = 3600;
        let mut record = [0; 19];
        record[..2].copy_from_slice(&rtype::HINFO.to_be_bytes());
        record[2..4].copy_from_slice(&rtype::CLASS_IN.to_be_bytes());
        record[4..8].copy_from_slice(&TTL_SECONDS.to_be_bytes());
        record[8..10].copy_from_slice(&9_u16.to_be_bytes());
        record[10..].copy_from_slice(b"\x07RFC8482\x00");
        self.put_record(Section::Answer, Owner::At(owner), &record)
    }

    fn cname(&mut self, node: &'s Node, set: &'s RecordSet, owner: usize) -> Result<Step, Full> {
        /// Type, class, TTL and RDLENGTH.
        const FIXED_OCTETS: usize = 10;
        let apex_at = self.apex_at(node, owner);
        let record = self.tree.records(set).first().filter(|_| self.aliases < MAX_ALIASES);
        let Some(record) = record else { return Ok(Step::Done(Rcode::NoError)) };
        self.put_wire(Section::Answer, Owner::At(owner), record, apex_at)?;
        let target = &self.tree.wire(record)[FIXED_OCTETS..];
        let target_at = self.writer.position() - target.len();
        // Without its pointer the target is relative to the apex.
        let mut whole = [0; MAX_NAME_OCTETS];
        let length = match record.pointers().next() {
            Some(_) => join(&mut whole, &target[..target.len() - 2], self.tree.name(self.tree.apex(node))),
            None => join(&mut whole, target, &[]),
        };
        self.follow(&whole[..length.unwrap_or(0)], target_at)
    }

    /// Makes `target`, to which an alias that was just written leads, and which stands at `at` in the message, the name to
    /// resolve.
    fn follow(&mut self, target: &[u8], at: usize) -> Result<Step, Full> {
        self.aliases += 1;
        match self.name.read(target) {
            Some(_) => Ok(Step::Follow(at)),
            None => Ok(Step::Done(Rcode::NoError)),
        }
    }

    /// RFC 6672 section 3.1: the DNAME, unless it is shown already, and a CNAME made from it for the name itself.
    fn dname(&mut self, node: &'s Node, owner: usize, is_shown: bool) -> Result<Step, Full> {
        const FIXED_OCTETS: usize = 10;
        let dname_octets = self.tree.name(node).len();
        let apex_at = self.apex_at(node, owner);
        let dname_at = owner + self.name.as_wire().len() - dname_octets;
        let set = self.tree.set_of(node, rtype::DNAME).filter(|_| self.aliases < MAX_ALIASES);
        let record = set.and_then(|set| self.tree.records(set).first());
        let Some(record) = record else { return Ok(Step::Done(Rcode::NoError)) };
        if !is_shown {
            self.put_wire(Section::Answer, Owner::At(dname_at), record, apex_at)?;
        }
        let wire = self.tree.wire(record);
        let own_labels = self.name.as_wire().len() - dname_octets;
        let mut target = [0; MAX_NAME_OCTETS];
        let Some(length) = join(&mut target, &self.name.as_wire()[..own_labels], &wire[FIXED_OCTETS..]) else {
            return Ok(Step::Done(Rcode::YxDomain));
        };
        let target = &target[..length];
        let mut cname = [0; FIXED_OCTETS + MAX_NAME_OCTETS];
        cname[..2].copy_from_slice(&rtype::CNAME.to_be_bytes());
        cname[2..8].copy_from_slice(&wire[2..8]);
        cname[8..10].copy_from_slice(&(length as u16).to_be_bytes());
        cname[FIXED_OCTETS..FIXED_OCTETS + length].copy_from_slice(target);
        self.put_record(Section::Answer, Owner::At(owner), &cname[..FIXED_OCTETS + length])?;
        // Names that it redirects below itself only grow.
        let grows = is_at_or_below(&wire[FIXED_OCTETS..], self.tree.name(node));
        if self.qtype == rtype::CNAME || grows {
            return Ok(Step::Done(Rcode::NoError));
        }
        self.follow(target, self.writer.position() - length)
    }

    /// RFC 1034 section 4.3.2 step 3b.
    fn referral(&mut self, cut: &'s Node, owner: usize) -> Result<Step, Full> {
        let apex_at = self.apex_at(cut, owner);
        let Some(set) = self.tree.set_of(cut, rtype::NS) else { return Ok(Step::Done(Rcode::NoError)) };
        let cut_octets = self.tree.name(cut).len();
        let is_wildcard = !is_at_or_below(self.name.as_wire(), self.tree.name(cut));
        let cut_at = if is_wildcard { owner } else { owner + self.name.as_wire().len() - cut_octets };
        self.put_set(Section::Authority, Owner::At(cut_at), set, apex_at)?;
        for addresses in self.tree.additional(set) {
            // Without the addresses of servers inside the delegated zone the referral leads nowhere (RFC 9471 section 2).
            let needed = is_at_or_below(self.tree.additional_name(addresses), self.tree.name(cut));
            if !needed && self.minimal {
                continue;
            }
            if self.put_addresses(addresses, apex_at).is_err() && needed {
                return Err(Full);
            }
        }
        Ok(Step::Done(Rcode::NoError))
    }

    /// No data or no name: the zone's SOA goes with it (RFC 2308 section 3).
    fn negative(&mut self, node: &'s Node, owner: usize) -> Result<(), Full> {
        self.negative_for(node, owner, u32::MAX)
    }

    /// As [`Self::negative`], to be remembered for at most so many seconds.
    pub(super) fn negative_for(&mut self, node: &'s Node, owner: usize, most_seconds: u32) -> Result<(), Full> {
        let apex_at = self.apex_at(node, owner);
        let soa = self.tree.negative_soa(node);
        self.put_wire(Section::Authority, Owner::At(apex_at), soa, apex_at)?;
        self.writer.lower_ttl(self.tree.wire(soa).len(), most_seconds);
        Ok(())
    }

    /// The addresses of a service.
    fn service(&mut self, node: &'s Node, service: &'s Service, family: Family, owner: usize) -> Result<Step, Full> {
        let decision = decide(self.snapshot, service, self.asker.client, family, &mut self.draw);
        if let Some(target) = self.alias(&decision) {
            return self.service_alias(service, &decision, target, owner);
        }
        if let Outcome::NoData = decision.outcome {
            self.negative_for(node, owner, decision.ttl)?;
            self.scope = self.scope.max(decision.scope);
            if service.has_family[family.index()] {
                self.extended = Some(ExtendedError::NoEndpoint);
            }
            return Ok(Step::Done(Rcode::NoError));
        }
        let mark = self.writer.mark(Section::Answer);
        let put = |address: &[u8]| self.put_address(Section::Answer, family, owner, decision.ttl, address);
        if decision.outcome.try_for_each_address(family, put).is_err() {
            self.writer.rewind(Section::Answer, mark);
            return Err(Full);
        }
        self.scope = self.scope.max(decision.scope);
        service.count(self.snapshot, &decision, self.draw.worker);
        Ok(Step::Done(Rcode::NoError))
    }

    /// The hostname that a decision answers with, if it does.
    fn alias(&self, decision: &Decision<'s>) -> Option<&'s [u8]> {
        let Outcome::Endpoints { choice, picks } = &decision.outcome else { return None };
        let candidate = &choice.candidates.list[*picks.as_slice().first()? as usize];
        match &self.snapshot.compiled.endpoints[candidate.endpoint as usize].destination {
            Target::Hostname(target) => Some(target.as_slice()),
            Target::Address(_) => None,
        }
    }

    fn service_alias(
        &mut self,
        service: &'s Service,
        decision: &Decision<'s>,
        target: &'s [u8],
        owner: usize,
    ) -> Result<Step, Full> {
        if self.aliases == MAX_ALIASES {
            return Ok(Step::Done(Rcode::NoError));
        }
        let mut fixed = [0; 10];
        fixed[..2].copy_from_slice(&rtype::CNAME.to_be_bytes());
        fixed[2..4].copy_from_slice(&rtype::CLASS_IN.to_be_bytes());
        fixed[4..8].copy_from_slice(&decision.ttl.to_be_bytes());
        fixed[8..].copy_from_slice(&(target.len() as u16).to_be_bytes());
        let mark = self.writer.mark(Section::Answer);
        if self.put_record(Section::Answer, Owner::At(owner), &fixed).and_then(|()| self.writer.put(target)).is_err() {
            self.writer.rewind(Section::Answer, mark);
            return Err(Full);
        }
        self.scope = self.scope.max(decision.scope);
        service.count(self.snapshot, decision, self.draw.worker);
        if matches!(self.qtype, rtype::CNAME | rtype::ANY) {
            return Ok(Step::Done(Rcode::NoError));
        }
        self.follow(target, self.writer.position() - target.len())
    }

    /// One A or AAAA record; `address` has at least as many octets as the family needs.
    pub(super) fn put_address(
        &mut self,
        section: Section,
        family: Family,
        owner: usize,
        ttl: u32,
        address: &[u8],
    ) -> Result<(), Full> {
        let (rtype, octets) = match family {
            Family::V4 => (rtype::A, 4),
            Family::V6 => (rtype::AAAA, 16),
        };
        // Put together first, as this is what nearly every answer is made of.
        let mut record = [0; 28];
        record[..2].copy_from_slice(&compression_pointer(owner));
        record[2..4].copy_from_slice(&rtype.to_be_bytes());
        record[4..6].copy_from_slice(&rtype::CLASS_IN.to_be_bytes());
        record[6..10].copy_from_slice(&ttl.to_be_bytes());
        record[11] = octets as u8;
        record[12..12 + octets].copy_from_slice(&address[..octets]);
        self.writer.put(&record[..12 + octets])?;
        self.writer.count_record(section);
        Ok(())
    }

    /// A name's A and AAAA records, whole or not at all.
    fn put_addresses(&mut self, addresses: &'s Additional, apex_at: usize) -> Result<(), Full> {
        let node = self.tree.node(addresses.node());
        let name = self.tree.additional_name(addresses);
        let owner = Owner::Full(&name[..name.len() - node.apex_octets()], apex_at);
        let mark = self.writer.mark(Section::Additional);
        for rtype in [rtype::A, rtype::AAAA] {
            if let Some(set) = self.tree.set_of(node, rtype)
                && self.put_set(Section::Additional, owner, set, apex_at).is_err()
            {
                self.writer.rewind(Section::Additional, mark);
                return Err(Full);
            }
        }
        Ok(())
    }

    /// A whole record set or nothing of it.
    fn put_set(&mut self, section: Section, owner: Owner<'s>, set: &'s RecordSet, apex_at: usize) -> Result<(), Full> {
        let mark = self.writer.mark(section);
        for record in self.tree.records(set) {
            if self.put_wire(section, owner, record, apex_at).is_err() {
                self.writer.rewind(section, mark);
                return Err(Full);
            }
        }
        Ok(())
    }

    fn put_wire(
        &mut self,
        section: Section,
        owner: Owner<'s>,
        record: &RecordWire,
        apex_at: usize,
    ) -> Result<(), Full> {
        let wire = self.tree.wire(record);
        self.put_record(section, owner, wire)?;
        let start = self.writer.position() - wire.len();
        for at in record.pointers() {
            self.writer.patch_pointer(start + at, apex_at);
        }
        Ok(())
    }

    /// One record: its owner, then `wire` from the type on.
    fn put_record(&mut self, section: Section, owner: Owner<'s>, wire: &[u8]) -> Result<(), Full> {
        let mark = self.writer.mark(section);
        let written = match owner {
            Owner::At(at) => self.writer.put_pointer(at),
            Owner::Full(labels, apex_at) => self.writer.put(labels).and_then(|()| self.writer.put_pointer(apex_at)),
        };
        if written.and_then(|()| self.writer.put(wire)).is_err() {
            self.writer.rewind(section, mark);
            return Err(Full);
        }
        self.writer.count_record(section);
        Ok(())
    }
}

/// Whether a name in wire form is another or lies below it, label by label and whatever the case.
fn is_at_or_below(name: &[u8], other: &[u8]) -> bool {
    let mut rest = name;
    while rest.len() > other.len() {
        let Some(below) = rest.first().and_then(|length| rest.get(usize::from(*length) + 1..)) else { return false };
        rest = below;
    }
    // Lengths are below the letters.
    rest.eq_ignore_ascii_case(other)
}

/// Puts two parts of a name together; nothing where it would be too long.
fn join(into: &mut [u8; MAX_NAME_OCTETS], first: &[u8], second: &[u8]) -> Option<usize> {
    let length = first.len() + second.len();
    into.get_mut(..first.len())?.copy_from_slice(first);
    into.get_mut(first.len()..length)?.copy_from_slice(second);
    Some(length)
}
