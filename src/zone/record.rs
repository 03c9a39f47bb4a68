//! Records as the zone holds them: wire form, ready to be copied into an answer.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use domain::base::iana::Rtype;

use super::Name;

/// One record of class IN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its owner, as written.
    pub owner: Name,
    /// Its type.
    pub rtype: Rtype,
    /// Seconds to live, at most 2^31−1 (RFC 2181 section 8).
    pub ttl: u32,
    /// Its data in uncompressed wire form, at most 65,535 octets, names as written.
    pub rdata: Vec<u8>,
    /// Where it was written.
    pub place: Place,
}

/// Where a record was written; [`super::ZoneRecords::problem`] makes a message of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index into [`super::ZoneRecords::sources`].
    pub(super) source: u32,
    /// Byte offsets; no text is 4 GiB long.
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Place {
    /// `span` in the source of this index.
    pub(super) fn new(source: usize, span: Range<usize>) -> Self {
        let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { source: narrow(source), start: narrow(span.start), end: narrow(span.end) }
    }
}

impl Record {
    /// Where in the data the names begin that may be compressed: those of the types in RFC 1035, and no others
    /// (RFC 3597 section 4).
    pub fn compressible_names(&self) -> [Option<usize>; 2] {
        match self.rtype {
            Rtype::NS | Rtype::CNAME | Rtype::PTR | Rtype::MB | Rtype::MD | Rtype::MF | Rtype::MG | Rtype::MR => {
                [Some(0), None]
            }
            Rtype::MX => [Some(2), None],
            Rtype::SOA | Rtype::MINFO => [Some(0), Some(name_length(&self.rdata))],
            _ => [None, None],
        }
    }

    /// The name that is the whole of the data, for NS, CNAME, DNAME and PTR.
    pub(super) fn target(&self) -> Option<&domain::base::Name<[u8]>> {
        domain::base::Name::from_slice(&self.rdata).ok()
    }

    /// The data for comparison: the names in it don't differ by case (RFC 4034 section 6.2, for the types of RFC 1035).
    fn comparable_rdata(&self) -> Cow<'_, [u8]> {
        let mut rdata = Cow::Borrowed(self.rdata.as_slice());
        for start in self.compressible_names().into_iter().flatten() {
            let end = start + name_length(self.rdata.get(start..).unwrap_or_default());
            if let Some(name) = rdata.to_mut().get_mut(start..end) {
                // Lengths are below the letters.
                name.make_ascii_lowercase();
            }
        }
        rdata
    }
}

/// The length in octets of the uncompressed name that `wire` begins with.
fn name_length(wire: &[u8]) -> usize {
    let mut position = 0;
    while let Some(&length @ 1..) = wire.get(position) {
        position += 1 + usize::from(length);
    }
    position + 1
}

/// Brings the records of each owner and of each type together, owners in the order in which they first appear; drops
/// duplicates, and gives all records of one RRset the lowest TTL among them (RFC 2181 sections 5 and 5.2).
pub(super) fn into_rrsets(records: Vec<Record>) -> Vec<Record> {
    let mut seen = HashMap::with_capacity(records.len());
    let ranks: Vec<usize> = records
        .iter()
        .map(|record| {
            let next = seen.len();
            *seen.entry(&record.owner).or_insert(next)
        })
        .collect();
    let mut ranked: Vec<(usize, Record)> = ranks.into_iter().zip(records).collect();
    ranked.sort_by_key(|(rank, record)| (*rank, record.rtype));
    let mut records: Vec<Record> = ranked.into_iter().map(|(_, record)| record).collect();

    let mut first_of_its_kind = Vec::with_capacity(records.len());
    for rrset in records.chunk_by_mut(|a, b| a.rtype == b.rtype && a.owner == b.owner) {
        let lowest_ttl = rrset.iter().map(|record| record.ttl).min().unwrap_or_default();
        // Signatures at one name are no RRset: each has the TTL of what it signs (RFC 4034 section 3).
        if rrset.iter().all(|record| record.rtype != Rtype::RRSIG) {
            rrset.iter_mut().for_each(|record| record.ttl = lowest_ttl);
        }
        let mut seen = HashSet::new();
        first_of_its_kind.extend(rrset.iter().map(|record| seen.insert(record.comparable_rdata())));
    }
    let mut keep = first_of_its_kind.into_iter();
    records.retain(|_| keep.next().unwrap_or(true));
    records
}
