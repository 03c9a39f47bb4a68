//! All names of all zones in one table, and the search of RFC 1034 section 4.3.2 in it.
//!
//! A name that exists is found with one probe of a hash table, as every name, empty non-terminals included, stands
//! there whole. Only a name that does not exist costs a walk towards the root, and that is bounded by the deepest name
//! in the table.

use std::ops::Range;

use domain::base::iana::Rtype;

use super::lookup::LookupName;
use super::record::{Place, Record};
use super::{Name, ZoneRecords, rtype};
use crate::config::Problem;

/// Octets of a record before its RDATA: type, class, TTL, RDLENGTH.
const FIXED_OCTETS: usize = 10;
/// Octets of the room for a pointer.
const POINTER_OCTETS: usize = 2;

/// The octets that a tree keeps of a name besides the name itself: its node, and its share of the hash table where that
/// is least full.
pub(super) const NAME_OCTETS: usize = size_of::<Node>() + 4 * size_of::<Slot>();
/// The octets that a tree keeps of a record at most, besides its data.
pub(super) const RECORD_OCTETS: usize = FIXED_OCTETS + size_of::<RecordWire>() + size_of::<RecordSet>();

/// An index into [`Tree`]'s nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeId(u32);

/// An absent node, service or record set.
const NONE: u32 = u32::MAX;

/// All zones, compiled.
#[derive(Debug, Default)]
pub struct Tree {
    zones: Vec<Zone>,
    nodes: Vec<Node>,
    sets: Vec<RecordSet>,
    records: Vec<RecordWire>,
    additional: Vec<Additional>,
    /// Names in lower case and records' octets, one after another.
    octets: Vec<u8>,
    slots: Vec<Slot>,
    /// Labels of the deepest name in the table.
    depth: usize,
}

/// One place of the hash table.
#[derive(Debug, Clone, Copy)]
struct Slot {
    tag: u32,
    node: u32,
}

/// A zone's apex and the SOA that goes with negative answers.
#[derive(Debug)]
struct Zone {
    apex: NodeId,
    /// The SOA with the TTL of RFC 2308 section 3, min(TTL, MINIMUM).
    negative_soa: u32,
    /// Its nodes, but for those that are there for services alone.
    nodes: Range<u32>,
}

/// One name.
#[derive(Debug)]
pub struct Node {
    name_at: u32,
    name_octets: u8,
    apex_octets: u8,
    is_cut: bool,
    zone: u32,
    first_set: u32,
    sets: u32,
    wildcard: u32,
    service: u32,
    /// At the apex of a zone whose parent zone is served here too: the parent's side of the cut.
    parent_side: u32,
}

/// Records of one type at one name.
#[derive(Debug)]
pub struct RecordSet {
    rtype: u16,
    first_record: u32,
    records: u32,
    first_additional: u32,
    additional: u32,
}

/// Addresses that go with a set of NS, MX or SRV records.
#[derive(Debug)]
pub struct Additional {
    /// The node that has them: the target itself, or the wildcard that stands for it.
    node: NodeId,
    /// The target's name, which such a wildcard's addresses are given.
    name_at: u32,
    name_octets: u8,
}

/// One record from its type on, ready to be sent: type, class, TTL, RDLENGTH, RDATA. Names in the RDATA that end in the
/// zone's apex end in a pointer to be filled in, as the apex is in every message at a place that only the query tells.
#[derive(Debug, Clone, Copy)]
pub struct RecordWire {
    at: u32,
    octets: u32,
    /// Where in the record the pointers go; 0 for none.
    pointers: [u16; 2],
}

/// What stands at or above a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The name is in no zone of ours.
    NotServed,
    /// The name itself, or the wildcard that covers it; for DS at a delegation the parent's side of it (RFC 4035 section
    /// 3.1.4.1).
    Node(NodeId),
    /// It is below or at this delegation, or covered by a wildcard that is one.
    Referral(NodeId),
    /// It is below this DNAME (RFC 6672).
    Dname(NodeId),
    /// It does not exist in this zone, whose apex is the node.
    NxDomain(NodeId),
}

impl Found {
    /// The number of the node that was found, below 2^32−1; that for none.
    pub fn number(self) -> u32 {
        match self {
            Self::NotServed => NONE,
            Self::Node(id) | Self::Referral(id) | Self::Dname(id) | Self::NxDomain(id) => id.0,
        }
    }
}

impl Tree {
    /// Compiles zones whose records were checked, and services as (owner, service index). A service lies in a zone and
    /// neither at nor below a delegation.
    ///
    /// # Errors
    /// When anything in it is more than 32 bits count.
    pub fn build(zones: &[ZoneRecords], services: &[(Name, usize)]) -> Result<Self, Problem> {
        builder::build(zones, services)
    }

    /// Finds a name (RFC 1034 section 4.3.2, RFC 4592) of which this type is asked.
    pub fn find(&self, name: &LookupName, qtype: u16) -> Found {
        let labels = name.labels();
        if labels <= self.depth
            && let Some(id) = self.probe(name, 0)
        {
            let node = self.node(id);
            return match qtype {
                rtype::DS if node.parent_side != NONE => Found::Node(NodeId(node.parent_side)),
                rtype::DS => Found::Node(id),
                _ if node.is_cut => Found::Referral(id),
                _ => Found::Node(id),
            };
        }
        let first = labels.saturating_sub(self.depth).max(1);
        for label in first..=labels {
            let Some(id) = self.probe(name, label) else { continue };
            let node = self.node(id);
            if node.is_cut {
                return Found::Referral(id);
            }
            if self.set_of(node, rtype::DNAME).is_some() {
                return Found::Dname(id);
            }
            if node.wildcard == NONE {
                return Found::NxDomain(self.zones[node.zone as usize].apex);
            }
            let wildcard = NodeId(node.wildcard);
            return if self.node(wildcard).is_cut { Found::Referral(wildcard) } else { Found::Node(wildcard) };
        }
        Found::NotServed
    }

    /// The records that a zone was built from, but for what no answer tells: owners, and the apex at the end of names in
    /// the data, are in lower case, and where the records were written isn't known.
    pub fn zone_records(&self, apex: &Name) -> Option<ZoneRecords> {
        let mut name = LookupName::default();
        name.read(apex.as_slice())?;
        let id = self.probe(&name, 0)?;
        let zone = self.zones.get(self.node(id).zone()).filter(|zone| zone.apex == id)?;
        let mut records = Vec::new();
        for node in &self.nodes[zone.nodes.start as usize..zone.nodes.end as usize] {
            let owner = Name::from_octets(self.name(node).to_vec()).ok()?;
            let wires = self.sets(node).iter().flat_map(|set| self.records(set));
            records.extend(wires.map(|record| self.record(record, &owner, apex)));
        }
        Some(ZoneRecords { apex: apex.clone(), records, sources: Vec::new() })
    }

    /// Whether there is a service of this name.
    pub fn has_service(&self, name: &Name) -> bool {
        let mut lookup = LookupName::default();
        lookup.read(name.as_slice());
        self.probe(&lookup, 0).is_some_and(|id| self.node(id).service().is_some())
    }

    fn record(&self, record: &RecordWire, owner: &Name, apex: &Name) -> Record {
        let wire = self.wire(record);
        let field = |at: usize| u16::from_be_bytes([wire[at], wire[at + 1]]);
        Record {
            owner: owner.clone(),
            rtype: Rtype::from_int(field(0)),
            ttl: u32::from(field(4)) << 16 | u32::from(field(6)),
            rdata: self.rdata(record, &apex.as_slice().to_ascii_lowercase()),
            place: Place::new(0, 0..0),
        }
    }

    /// The RDATA with the apex in place of the pointers to it.
    fn rdata(&self, record: &RecordWire, apex: &[u8]) -> Vec<u8> {
        let wire = self.wire(record);
        let mut rdata = Vec::new();
        let mut from = FIXED_OCTETS;
        for pointer in record.pointers() {
            rdata.extend_from_slice(&wire[from..pointer]);
            rdata.extend_from_slice(apex);
            from = pointer + POINTER_OCTETS;
        }
        rdata.extend_from_slice(&wire[from..]);
        rdata
    }

    fn probe(&self, name: &LookupName, label: usize) -> Option<NodeId> {
        let hash = name.hash(label);
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = (hash >> 32) as usize & mask;
        // The table is at most half full, so an empty slot ends every search.
        loop {
            let slot = self.slots[at];
            if slot.node == NONE {
                return None;
            }
            if slot.tag == hash as u32 && self.name(self.node(NodeId(slot.node))) == name.suffix(label) {
                return Some(NodeId(slot.node));
            }
            at = (at + 1) & mask;
        }
    }

    /// The node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// Its name in lower case, in wire form.
    pub fn name(&self, node: &Node) -> &[u8] {
        &self.octets[node.name_at as usize..][..usize::from(node.name_octets)]
    }

    /// The records of one type at a node.
    pub fn set_of(&self, node: &Node, rtype: u16) -> Option<&RecordSet> {
        self.sets(node).iter().find(|set| set.rtype == rtype)
    }

    /// All record sets at a node.
    pub fn sets(&self, node: &Node) -> &[RecordSet] {
        &self.sets[node.first_set as usize..][..node.sets as usize]
    }

    /// The records of a set.
    pub fn records(&self, set: &RecordSet) -> &[RecordWire] {
        &self.records[set.first_record as usize..][..set.records as usize]
    }

    /// The octets of a record from its type on.
    pub fn wire(&self, record: &RecordWire) -> &[u8] {
        &self.octets[record.at as usize..][..record.octets as usize]
    }

    /// Whose addresses go with a set of NS, MX or SRV records.
    pub fn additional(&self, set: &RecordSet) -> &[Additional] {
        &self.additional[set.first_additional as usize..][..set.additional as usize]
    }

    /// The name that addresses are given in the additional section: in lower case, in wire form, in the zone of their
    /// node.
    pub fn additional_name(&self, additional: &Additional) -> &[u8] {
        &self.octets[additional.name_at as usize..][..usize::from(additional.name_octets)]
    }

    /// The apex of a node's zone.
    pub fn apex(&self, node: &Node) -> &Node {
        self.node(self.zones[node.zone as usize].apex)
    }

    /// Whether a node is its zone's apex.
    pub fn is_apex(&self, id: NodeId) -> bool {
        self.zones[self.node(id).zone as usize].apex == id
    }

    /// The SOA for a negative answer in a node's zone.
    pub fn negative_soa(&self, node: &Node) -> &RecordWire {
        &self.records[self.zones[node.zone as usize].negative_soa as usize]
    }
}

impl Node {
    /// The service that decides addresses here.
    pub fn service(&self) -> Option<usize> {
        (self.service != NONE).then_some(self.service as usize)
    }

    /// Which zone it is in, as an index into the zones built from.
    pub fn zone(&self) -> usize {
        self.zone as usize
    }

    /// Length of the zone's apex in wire form.
    pub fn apex_octets(&self) -> usize {
        usize::from(self.apex_octets)
    }
}

impl Additional {
    /// The node that has the addresses.
    pub fn node(&self) -> NodeId {
        self.node
    }
}

impl RecordSet {
    /// The type.
    pub fn rtype(&self) -> u16 {
        self.rtype
    }
}

impl RecordWire {
    /// Where in the record's octets a pointer to the apex goes.
    pub fn pointers(&self) -> impl Iterator<Item = usize> {
        self.pointers.into_iter().filter(|at| *at != 0).map(usize::from)
    }
}

mod builder {
    use std::collections::{BTreeMap, HashMap, HashSet};

    use super::{
        Additional, FIXED_OCTETS, LookupName, NONE, Name, Node, NodeId, POINTER_OCTETS, Problem, Record, RecordSet,
        RecordWire, Slot, Tree, Zone, ZoneRecords,
    };
    use crate::zone::rtype;

    /// Places of the hash table at first; a power of two.
    const FIRST_SLOTS: usize = 16;

    /// A name's records while the tree is built; ordered, so that a tree is the same for the same input.
    type ZoneNames<'a> = BTreeMap<&'a Name, Vec<&'a Record>>;

    /// The names of a zone at or below another's apex or below a cut: glue, and with no node the empty non-terminals there.
    type Glue = HashMap<Vec<u8>, Option<NodeId>>;

    #[derive(Default)]
    struct Builder {
        tree: Tree,
        /// Names in the hash table.
        names: usize,
        /// The name that is looked up or added.
        name: LookupName,
    }

    pub(super) fn build(zones: &[ZoneRecords], services: &[(Name, usize)]) -> Result<Tree, Problem> {
        let mut builder = Builder::default();
        builder.tree.slots = vec![Slot { tag: 0, node: NONE }; FIRST_SLOTS];
        let mut order: Vec<usize> = (0..zones.len()).collect();
        // Parents first, so that a child's apex finds its parent's side of the cut.
        order.sort_by_key(|zone| zones[*zone].apex.label_count());
        builder.tree.zones =
            zones.iter().map(|_| Zone { apex: NodeId(NONE), negative_soa: NONE, nodes: 0..0 }).collect();
        let apexes: HashMap<Vec<u8>, usize> =
            zones.iter().enumerate().map(|(index, zone)| (lower(zone.apex.as_slice()), index)).collect();
        let glue: Vec<(usize, Glue)> =
            order.into_iter().map(|zone| (zone, builder.add_zone(zone, &zones[zone], &apexes))).collect();
        for (name, service) in services {
            let wire = lower(name.as_slice());
            let closest = apexes.get(&wire).or_else(|| above(&wire, 1).find_map(|suffix| apexes.get(suffix)));
            if let Some(zone) = closest {
                builder.add_service(name, *service, *zone, &zones[*zone]);
            }
        }
        // Last, as a wildcard stands for no name that exists, services and what is above them included.
        for (zone, glue) in &glue {
            builder.link_additional(*zone, glue);
        }
        builder.link_wildcards();
        let tree = builder.tree;
        // Places are counted in 32 bits while it grows: none has wrapped where the last one fits.
        let lengths = [tree.octets.len(), tree.nodes.len(), tree.sets.len(), tree.records.len(), tree.additional.len()];
        if lengths.into_iter().all(|length| u32::try_from(length).is_ok_and(|length| length < NONE)) {
            Ok(tree)
        } else {
            Err(Problem::new("the zones together are too large").hint("serve some of them from another server"))
        }
    }

    /// The proper suffixes of a name in wire form, longest first, of at least so many octets.
    fn above(wire: &[u8], least_octets: usize) -> impl Iterator<Item = &[u8]> {
        fn parent<'a>(wire: &&'a [u8]) -> Option<&'a [u8]> {
            wire.first().and_then(|length| wire.get(1 + usize::from(*length)..))
        }
        std::iter::successors(parent(&wire), parent).take_while(move |suffix| suffix.len() >= least_octets)
    }

    fn lower(wire: &[u8]) -> Vec<u8> {
        wire.to_ascii_lowercase()
    }

    impl Builder {
        fn add_zone(&mut self, index: usize, zone: &ZoneRecords, apexes: &HashMap<Vec<u8>, usize>) -> Glue {
            let mut names: ZoneNames = BTreeMap::new();
            for record in &zone.records {
                names.entry(&record.owner).or_default().push(record);
            }
            let is_cut = |name: &Name, records: &[&Record]| {
                *name != zone.apex && records.iter().any(|record| record.rtype.to_int() == rtype::NS)
            };
            let cuts: HashSet<Vec<u8>> = names
                .iter()
                .filter(|(name, records)| is_cut(name, records))
                .map(|(name, _)| lower(name.as_slice()))
                .collect();
            // Names at or below another zone's apex belong to that zone; names below a cut are glue at most.
            let apex_octets = zone.apex.len();
            let occluded = |wire: &[u8]| {
                above(wire, apex_octets + 1).any(|above| cuts.contains(above) || apexes.contains_key(above))
            };

            let first_node = self.tree.nodes.len() as u32;
            let mut glue = Glue::new();
            let mut own: Vec<NodeId> = Vec::new();
            for (name, records) in &names {
                let wire = lower(name.as_slice());
                let name_at = self.add_name(&wire);
                let id = self.add_node(index, zone, name_at, wire.len());
                self.tree.nodes[id.0 as usize].is_cut = is_cut(name, records);
                self.add_sets(id, zone, records);
                if occluded(&wire) {
                    glue.insert(wire, Some(id));
                } else {
                    own.push(id);
                    if let Some(parent) = self.insert(&wire, id).filter(|_| **name == zone.apex) {
                        self.tree.nodes[id.0 as usize].parent_side = parent.0;
                    }
                }
                if **name == zone.apex {
                    self.tree.zones[index].apex = id;
                }
            }
            for id in own {
                self.add_empty_non_terminals(index, zone, id);
            }
            let is_other = |name: &[u8]| cuts.contains(name) || apexes.contains_key(name);
            for wire in names.keys().map(|name| lower(name.as_slice())).filter(|wire| occluded(wire)) {
                for above in above(&wire, apex_octets).take_while(|above| !is_other(above)) {
                    glue.entry(above.to_vec()).or_insert(None);
                }
            }
            self.add_negative_soa(index, zone);
            self.tree.zones[index].nodes = first_node..self.tree.nodes.len() as u32;
            glue
        }

        /// The node of a name in lower case that is in the hash table.
        fn id(&mut self, wire: &[u8]) -> Option<NodeId> {
            self.name.read(wire)?;
            self.tree.probe(&self.name, 0)
        }

        /// Puts a name that a node has into the hash table, and returns the node that had it there before.
        fn insert(&mut self, wire: &[u8], id: NodeId) -> Option<NodeId> {
            let before = self.id(wire);
            match before {
                Some(before) => {
                    // Both have the same name, so a search for the one ends at the other.
                    let slots = self.tree.slots.len();
                    let mut at = (self.name.hash(0) >> 32) as usize & (slots - 1);
                    while self.tree.slots[at].node != before.0 {
                        at = (at + 1) & (slots - 1);
                    }
                    self.tree.slots[at].node = id.0;
                }
                None => {
                    self.names += 1;
                    if self.names * 2 > self.tree.slots.len() {
                        self.double_slots();
                        self.name.read(wire);
                    }
                    self.tree.depth = self.tree.depth.max(self.name.labels());
                    self.fill_slot(id);
                }
            }
            before
        }

        fn double_slots(&mut self) {
            let size = self.tree.slots.len() * 2;
            let old = std::mem::replace(&mut self.tree.slots, vec![Slot { tag: 0, node: NONE }; size]);
            for slot in old.into_iter().filter(|slot| slot.node != NONE) {
                let node = &self.tree.nodes[slot.node as usize];
                self.name.read(self.tree.name(node));
                self.fill_slot(NodeId(slot.node));
            }
        }

        /// Puts the name read last into the first free place for it.
        fn fill_slot(&mut self, id: NodeId) {
            let hash = self.name.hash(0);
            let slots = &mut self.tree.slots;
            let mask = slots.len() - 1;
            let mut at = (hash >> 32) as usize & mask;
            while slots[at].node != NONE {
                at = (at + 1) & mask;
            }
            slots[at] = Slot { tag: hash as u32, node: id.0 };
        }

        /// Adds the octets of a name in lower case, and returns where they are.
        fn add_name(&mut self, wire: &[u8]) -> u32 {
            let at = self.tree.octets.len() as u32;
            self.tree.octets.extend_from_slice(wire);
            at
        }

        fn add_node(&mut self, zone_index: usize, zone: &ZoneRecords, name_at: u32, name_octets: usize) -> NodeId {
            let id = NodeId(self.tree.nodes.len() as u32);
            self.tree.nodes.push(Node {
                name_at,
                name_octets: name_octets as u8,
                apex_octets: zone.apex.len() as u8,
                is_cut: false,
                zone: zone_index as u32,
                first_set: self.tree.sets.len() as u32,
                sets: 0,
                wildcard: NONE,
                service: NONE,
                parent_side: NONE,
            });
            id
        }

        /// Adds the names above one that is there; each is the end of that one's octets.
        fn add_empty_non_terminals(&mut self, index: usize, zone: &ZoneRecords, id: NodeId) {
            let Node { name_at, name_octets, .. } = self.tree.nodes[id.0 as usize];
            let wire = self.tree.name(&self.tree.nodes[id.0 as usize]).to_vec();
            for above in above(&wire, zone.apex.len()) {
                // Where one is, all above it are, or come with the names of records that they are.
                if self.id(above).is_some() {
                    break;
                }
                let at = name_at + u32::from(name_octets) - above.len() as u32;
                let id = self.add_node(index, zone, at, above.len());
                self.insert(above, id);
            }
        }

        fn add_service(&mut self, name: &Name, service: usize, index: usize, zone: &ZoneRecords) {
            let wire = lower(name.as_slice());
            let id = self.id(&wire).unwrap_or_else(|| {
                let name_at = self.add_name(&wire);
                let id = self.add_node(index, zone, name_at, wire.len());
                self.insert(&wire, id);
                self.add_empty_non_terminals(index, zone, id);
                id
            });
            self.tree.nodes[id.0 as usize].service = service as u32;
        }

        fn add_sets(&mut self, id: NodeId, zone: &ZoneRecords, records: &[&Record]) {
            let mut by_type: BTreeMap<u16, Vec<&Record>> = BTreeMap::new();
            for record in records {
                by_type.entry(record.rtype.to_int()).or_default().push(record);
            }
            for (rtype, records) in by_type {
                let first_record = self.tree.records.len() as u32;
                for record in &records {
                    self.add_record(zone, record, record.ttl);
                }
                self.tree.sets.push(RecordSet {
                    rtype,
                    first_record,
                    records: records.len() as u32,
                    first_additional: 0,
                    additional: 0,
                });
                self.tree.nodes[id.0 as usize].sets += 1;
            }
        }

        fn add_record(&mut self, zone: &ZoneRecords, record: &Record, ttl: u32) {
            let at = self.tree.octets.len();
            let (rdata, mut pointers) = compressible(record, zone.apex.as_slice());
            for pointer in pointers.iter_mut().filter(|pointer| **pointer != NO_POINTER) {
                *pointer += FIXED_OCTETS as u16;
            }
            let octets = &mut self.tree.octets;
            octets.extend_from_slice(&record.rtype.to_int().to_be_bytes());
            octets.extend_from_slice(&rtype::CLASS_IN.to_be_bytes());
            octets.extend_from_slice(&ttl.to_be_bytes());
            octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            octets.extend_from_slice(&rdata);
            let length = octets.len() - at;
            let pointers = pointers.map(|pointer| if pointer == NO_POINTER { 0 } else { pointer });
            self.tree.records.push(RecordWire { at: at as u32, octets: length as u32, pointers });
        }

        fn add_negative_soa(&mut self, index: usize, zone: &ZoneRecords) {
            let Some(soa) = zone.records.iter().find(|record| record.rtype.to_int() == rtype::SOA) else { return };
            let minimum = soa.rdata.last_chunk::<4>().map_or(soa.ttl, |octets| u32::from_be_bytes(*octets));
            self.tree.zones[index].negative_soa = self.tree.records.len() as u32;
            self.add_record(zone, soa, soa.ttl.min(minimum));
        }

        /// Finds, for each set of NS, MX or SRV records of a zone, the addresses there of their targets.
        fn link_additional(&mut self, index: usize, glue: &Glue) {
            let zone = &self.tree.zones[index];
            let apex = self.tree.name(self.tree.node(zone.apex)).to_vec();
            let nodes = &self.tree.nodes[zone.nodes.start as usize..zone.nodes.end as usize];
            let sets: Vec<u32> = nodes.iter().flat_map(|node| node.first_set..node.first_set + node.sets).collect();
            for set_index in sets {
                let set = &self.tree.sets[set_index as usize];
                let Some(target_at) = rtype::additional_target(set.rtype) else { continue };
                let target = |record| lower(self.tree.rdata(record, &apex).get(target_at..).unwrap_or_default());
                let mut targets: Vec<Vec<u8>> = self.tree.records(set).iter().map(target).collect();
                let mut seen = HashSet::new();
                targets.retain(|target| seen.insert(target.clone()));
                let first = self.tree.additional.len() as u32;
                for target in &targets {
                    if let Some(found) = self.addresses_of(target, index, &apex, glue) {
                        self.add_additional(found, target);
                    }
                }
                let set = &mut self.tree.sets[set_index as usize];
                set.first_additional = first;
                set.additional = self.tree.additional.len() as u32 - first;
            }
        }

        fn add_additional(&mut self, id: NodeId, target: &[u8]) {
            let node = self.tree.node(id);
            let mut name_at = node.name_at;
            if self.tree.name(node) != target {
                name_at = self.tree.octets.len() as u32;
                self.tree.octets.extend_from_slice(target);
            }
            self.tree.additional.push(Additional { node: id, name_at, name_octets: target.len() as u8 });
        }

        /// The node of a zone that has a name's addresses: the name's own, or that of the wildcard at its closest encloser
        /// (RFC 4592 section 3.3.1). `name` and `apex` are in lower case.
        fn addresses_of(&mut self, name: &[u8], zone: usize, apex: &[u8], glue: &Glue) -> Option<NodeId> {
            // Nothing for a name that isn't there, and no node for one that is, but has no records in this zone.
            let mut exists = |name: &[u8]| -> Option<Option<NodeId>> {
                let known = glue.get(name).copied();
                known.or_else(|| self.id(name).map(|id| self.side_in(id, zone)))
            };
            let found = exists(name).or_else(|| {
                let encloser = above(name, apex.len()).find(|above| exists(above).is_some())?;
                exists(&[b"\x01*", encloser].concat())
            });
            found.flatten().filter(|found| self.has_addresses(*found))
        }

        fn has_addresses(&self, id: NodeId) -> bool {
            let node = self.tree.node(id);
            [rtype::A, rtype::AAAA].iter().any(|rtype| self.tree.set_of(node, *rtype).is_some())
        }

        /// A wildcard stands for names of its own zone: an apex that begins with `*` is none, but its parent's side is.
        fn link_wildcards(&mut self) {
            for at in 0..self.tree.slots.len() {
                let Some(node) = self.tree.nodes.get(self.tree.slots[at].node as usize) else { continue };
                let Some(parent) = self.tree.name(node).strip_prefix(b"\x01*") else { continue };
                self.name.read(parent);
                let Some(parent) = self.tree.probe(&self.name, 0) else { continue };
                let own = self.side_in(NodeId(self.tree.slots[at].node), self.tree.node(parent).zone());
                self.tree.nodes[parent.0 as usize].wildcard = own.map_or(NONE, |own| own.0);
            }
        }

        /// The node itself or its parent's side, whichever is of this zone.
        fn side_in(&self, id: NodeId, zone: usize) -> Option<NodeId> {
            let sides = [id.0, self.tree.node(id).parent_side];
            let own = |side: &u32| self.tree.nodes.get(*side as usize).is_some_and(|node| node.zone() == zone);
            sides.into_iter().find(own).map(NodeId)
        }
    }

    /// No pointer; 0 is a place in RDATA.
    const NO_POINTER: u16 = u16::MAX;

    /// The RDATA with the apex at the end of its names replaced by room for a pointer, and where that room is.
    fn compressible(record: &Record, apex: &[u8]) -> (Vec<u8>, [u16; 2]) {
        let mut rdata = Vec::with_capacity(record.rdata.len());
        let mut pointers = [NO_POINTER; 2];
        let mut from = 0;
        let mut name = LookupName::default();
        for (pointer, start) in pointers.iter_mut().zip(record.compressible_names().into_iter().flatten()) {
            let Some(length) = record.rdata.get(start..).and_then(|octets| name.read(octets)) else { break };
            let end = start + length;
            // An alias to the apex itself stays whole: for DS it leads to the parent zone, whose apex is then to be pointed
            // at inside it.
            let is_alias_of_apex = record.rtype.to_int() == rtype::CNAME && length == apex.len();
            let ends_in_apex = apex.len() > 2
                && !is_alias_of_apex
                && (0..=name.labels()).any(|label| name.suffix(label).eq_ignore_ascii_case(apex));
            if ends_in_apex {
                rdata.extend_from_slice(&record.rdata[from..end - apex.len()]);
                *pointer = rdata.len() as u16;
                rdata.extend_from_slice(&[0; POINTER_OCTETS]);
            } else {
                rdata.extend_from_slice(&record.rdata[from..end]);
            }
            from = end;
        }
        rdata.extend_from_slice(&record.rdata[from..]);
        (rdata, pointers)
    }
}
