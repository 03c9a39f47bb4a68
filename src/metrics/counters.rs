//! Queries by type, rcode and transport, counted by each worker for itself.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::dns::{Rcode, Transport, Verdict};
use crate::zone::rtype;

/// The query types that are counted apart, with their names; all others count as the last.
pub const QTYPES: [(u16, &str); 17] = [
    (rtype::A, "A"),
    (rtype::AAAA, "AAAA"),
    (rtype::NS, "NS"),
    (rtype::SOA, "SOA"),
    (rtype::CNAME, "CNAME"),
    (rtype::PTR, "PTR"),
    (rtype::MX, "MX"),
    (rtype::TXT, "TXT"),
    (rtype::SRV, "SRV"),
    (rtype::CAA, "CAA"),
    (rtype::HTTPS, "HTTPS"),
    (rtype::SVCB, "SVCB"),
    (rtype::DS, "DS"),
    (rtype::DNSKEY, "DNSKEY"),
    (rtype::ANY, "ANY"),
    (rtype::AXFR, "AXFR"),
    (0, "other"),
];

/// The response codes that are ever sent, with their names.
pub const RCODES: [(Rcode, &str); 9] = [
    (Rcode::NoError, "NOERROR"),
    (Rcode::FormErr, "FORMERR"),
    (Rcode::NxDomain, "NXDOMAIN"),
    (Rcode::NotImp, "NOTIMP"),
    (Rcode::Refused, "REFUSED"),
    (Rcode::YxDomain, "YXDOMAIN"),
    (Rcode::NotAuth, "NOTAUTH"),
    (Rcode::BadVers, "BADVERS"),
    (Rcode::BadCookie, "BADCOOKIE"),
];

/// What becomes of responses to clients that are held back, with their names.
pub(crate) const LIMITED: [(Verdict, &str); 2] = [(Verdict::Slip, "slipped"), (Verdict::Drop, "dropped")];

/// One worker's counters: written by that worker only, read by the scrape.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    queries: [[[Counter; QTYPES.len()]; RCODES.len()]; Transport::ALL.len()],
    dropped: Counter,
    truncated: Counter,
    limited: [Counter; LIMITED.len()],
}

/// A number with one writer, so that adding needs no locked instruction.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl WorkerCounters {
    /// Counts a query answered.
    pub fn count_query(&self, transport: Transport, qtype: u16, rcode: Rcode) {
        let qtype = QTYPES.iter().position(|(number, _)| *number == qtype).unwrap_or(QTYPES.len() - 1);
        let rcode = RCODES.iter().position(|(code, _)| *code == rcode).unwrap_or(0);
        self.queries[transport as usize][rcode][qtype].add();
    }

    /// Counts a message that gets no answer.
    pub fn count_dropped(&self) {
        self.dropped.add();
    }

    /// Counts an answer cut short.
    pub fn count_truncated(&self) {
        self.truncated.add();
    }

    /// Counts a response that is one too many for its client.
    pub(crate) fn count_limited(&self, verdict: Verdict) {
        if let Some(place) = LIMITED.iter().position(|(limited, _)| *limited == verdict) {
            self.limited[place].add();
        }
    }

    /// Responses that were one too many for their clients: those sent short, and those not sent.
    pub fn limited(&self) -> [u64; LIMITED.len()] {
        self.limited.each_ref().map(Counter::get)
    }

    /// Queries answered, by the place of their transport, rcode and type in [`Transport::ALL`], [`RCODES`], [`QTYPES`].
    pub fn queries(&self, transport: Transport, rcode: usize, qtype: usize) -> u64 {
        self.queries[transport as usize][rcode][qtype].get()
    }

    /// Messages that got no answer.
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    /// Answers cut short.
    pub fn truncated(&self) -> u64 {
        self.truncated.get()
    }
}
