//! The records of a zone that has no master file: SOA and NS made from the configuration.

use domain::base::iana::Rtype;
use domain::base::rdata::ComposeRecordData;
use domain::base::{Serial, Ttl};
use domain::rdata::{Ns, Soa};

use super::Name;
use super::record::{Place, Record};

/// There is nothing to transfer, so it never changes.
const SERIAL: u32 = 1;
const REFRESH_SECONDS: u32 = 4 * 3_600;
const RETRY_SECONDS: u32 = 3_600;
const EXPIRE_SECONDS: u32 = 14 * 86_400;

/// The SOA, whose MNAME is the first name server, and the NS records of `apex`.
pub(super) fn records(
    apex: &Name,
    nameservers: &[Name],
    hostmaster: &Name,
    ttl: u32,
    negative_ttl: u32,
    place: Place,
) -> Vec<Record> {
    let record = |rtype, rdata| Record { owner: apex.clone(), rtype, ttl, rdata, place };
    let soa = nameservers.first().map(|primary| {
        Soa::new(
            primary,
            hostmaster,
            Serial(SERIAL),
            Ttl::from_secs(REFRESH_SECONDS),
            Ttl::from_secs(RETRY_SECONDS),
            Ttl::from_secs(EXPIRE_SECONDS),
            Ttl::from_secs(negative_ttl),
        )
    });
    let soa = soa.map(|soa| record(Rtype::SOA, composed(&soa)));
    soa.into_iter().chain(nameservers.iter().map(|name| record(Rtype::NS, composed(&Ns::new(name))))).collect()
}

fn composed(data: &impl ComposeRecordData) -> Vec<u8> {
    let mut rdata = Vec::new();
    let Ok(()) = data.compose_rdata(&mut rdata);
    rdata
}
