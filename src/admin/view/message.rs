//! The request that a question is, and the response to it as text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::base::message::RecordSection;
use domain::base::opt::ClientSubnet;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt};
use domain::base::{Message, Rtype, ToName};
use domain::rdata::{AllRecordData, Cname};

use super::{Answer, Client, Question, Record};
use crate::dns::{MAX_TCP_RESPONSE, Now, Transport, WorkerContext, respond};
use crate::snapshot::Snapshot;
use crate::zone::{Name, rtype};

/// The option code of a client's subnet.
const CLIENT_SUBNET: u16 = 8;

/// The request as a resolver would send it.
pub(super) fn request(question: &Question) -> Vec<u8> {
    let mut request = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    request.extend_from_slice(question.name.as_slice());
    request.extend_from_slice(&question.qtype.to_int().to_be_bytes());
    request.extend_from_slice(&rtype::CLASS_IN.to_be_bytes());
    // OPT: the root's name, type, datagram size, extended RCODE, version and flags.
    request.push(0);
    request.extend_from_slice(&rtype::OPT.to_be_bytes());
    request.extend_from_slice(&1232_u16.to_be_bytes());
    request.extend_from_slice(&[0; 4]);
    let option = match question.client {
        Client::Subnet(network) => {
            let (family, octets) = match network.addr() {
                IpAddr::V4(address) => (1, address.octets().to_vec()),
                IpAddr::V6(address) => (2, address.octets().to_vec()),
            };
            let source = network.prefix_len();
            let octets = &octets[..usize::from(source).div_ceil(8)];
            [&[0, CLIENT_SUBNET as u8, 0, octets.len() as u8 + 4, 0, family, source, 0], octets].concat()
        }
        Client::Unknown | Client::Resolver(_) => Vec::new(),
    };
    request.extend_from_slice(&(option.len() as u16).to_be_bytes());
    request.extend_from_slice(&option);
    request
}

/// Where the request comes from.
pub(super) fn peer(client: Client) -> IpAddr {
    match client {
        Client::Resolver(address) => address.to_canonical(),
        Client::Unknown => Ipv4Addr::UNSPECIFIED.into(),
        Client::Subnet(network) => match network.addr() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        },
    }
}

/// The address that is decided for. A subnet of length 0 says nothing of the client.
pub(super) fn client(client: Client) -> IpAddr {
    match client {
        Client::Subnet(network) if network.prefix_len() > 0 => network.addr(),
        _ => peer(client),
    }
}

/// The response, drawn with a generator of this seed.
pub(super) fn response(snapshot: &Snapshot, question: &Question, seed: u64, unix_seconds: u32) -> Vec<u8> {
    let mut response = vec![0; MAX_TCP_RESPONSE];
    let mut context = WorkerContext::showing(seed);
    context.set_now(Now { unix_seconds, ..Now::default() });
    let (request, peer) = (request(question), peer(question.client));
    let length = respond(snapshot, &mut context, &request, peer, Transport::Tcp, &mut response);
    response.truncate(length.unwrap_or(0));
    response
}

/// The names that a response leads through: the one asked for, then the target of each alias.
pub(super) fn names(question: &Question, response: &[u8]) -> Vec<Name> {
    let mut names = vec![question.name.clone()];
    let Some(section) = Message::from_slice(response).ok().and_then(|message| message.answer().ok()) else {
        return names;
    };
    // Asked for itself, an alias is not followed.
    if question.qtype != Rtype::CNAME {
        let aliases = section.limit_to_in::<Cname<_>>().map_while(Result::ok);
        names.extend(aliases.map(|alias| alias.data().cname().to_name()));
    }
    names
}

/// The response as text.
pub(super) fn answer(response: &[u8]) -> Answer {
    // Every well-formed request is answered, and ours is.
    let Ok(message) = Message::from_slice(response) else { return Answer::default() };
    let header = message.header();
    let flags = [("qr", header.qr()), ("aa", header.aa()), ("tc", header.tc())];
    let answer = message.answer().ok();
    let authority = message.authority().ok();
    let additional = message.additional().ok();
    let subnet = message.opt().and_then(|opt| opt.opt().iter::<ClientSubnet>().next()?.ok());
    Answer {
        rcode: message.opt_rcode().to_string(),
        flags: flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| name.to_owned()).collect(),
        answer: answer.map(records).unwrap_or_default(),
        authority: authority.map(records).unwrap_or_default(),
        additional: additional.map(records).unwrap_or_default(),
        client_subnet: subnet
            .map(|subnet| format!("{}/{}/{}", subnet.addr(), subnet.source_prefix_len(), subnet.scope_prefix_len())),
    }
}

fn records(section: RecordSection<'_, [u8]>) -> Vec<Record> {
    section
        .map_while(Result::ok)
        .filter(|record| record.rtype() != Rtype::OPT)
        .filter_map(|record| record.into_any_record::<AllRecordData<_, _>>().ok())
        .map(|record| Record {
            name: record.owner().fmt_with_dot().to_string(),
            ttl: record.ttl().as_secs(),
            rtype: record.rtype().to_string(),
            data: record.data().display_zonefile(DisplayKind::Simple).to_string(),
        })
        .collect()
}
