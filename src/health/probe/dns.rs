//! The DNS probe: a query is answered as expected (RFC 1035).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use domain::base::iana::Rcode;
use domain::base::{Message, ParsedName, Rtype, ToName};
use domain::rdata::{A, Aaaa, Cname, Dname, Ns, Ptr, Txt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use super::connect::{self, Deadline};
use super::failure::excerpt;
use super::{Details, Failure, Phase};
use crate::config::{DnsCheck, DnsData};
use crate::zone::rtype::CLASS_IN;

/// Octets of an answer over UDP: no more comes to who says nothing of EDNS.
const MAX_UDP_ANSWER: usize = 512;
/// Octets of a header.
const HEADER: usize = 12;
/// Data that is told where it is not what was expected.
const MAX_TOLD: usize = 3;

/// Asks, and waits for an answer to this question; whatever else comes is passed over.
pub(super) async fn attempt(
    check: &DnsCheck,
    address: IpAddr,
    deadline: Deadline,
    details: &mut Details,
) -> Result<(), Failure> {
    let address = SocketAddr::new(address, check.port);
    let id = fastrand::u16(..);
    let query = query(check, id);
    let io = |error: io::Error| Failure::from_io(&error);
    let answer = deadline.within(Phase::Response, over_udp(check, address, id, &query)).await?.map_err(io)?;
    match judge(check, &answer) {
        Judgement::Final(outcome) => outcome,
        Judgement::Truncated => {
            let mut stream = connect::tcp(address, check.source, deadline, &mut details.phases).await?;
            let exchange = async {
                let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
                stream.write_all(&[&length.to_be_bytes()[..], &query].concat()).await?;
                let mut answer = vec![0; usize::from(stream.read_u16().await?)];
                stream.read_exact(&mut answer).await?;
                Ok(answer)
            };
            let answer = deadline.within(Phase::Response, exchange).await?.map_err(io)?;
            if !is_answer(check, id, &answer) {
                return Err(Failure::Unexpected("what came over TCP is no answer to the query".into()));
            }
            match judge(check, &answer) {
                Judgement::Final(outcome) => outcome,
                Judgement::Truncated => Err(Failure::Unexpected("the answer is truncated over TCP, too".into())),
            }
        }
    }
}

async fn over_udp(check: &DnsCheck, address: SocketAddr, id: u16, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((check.source.unwrap_or(any), 0)).await?;
    // What comes from another address or port is dropped by the kernel then.
    socket.connect(address).await?;
    socket.send(query).await?;
    let mut answer = [0; MAX_UDP_ANSWER];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_answer(check, id, &answer[..length]) {
            return Ok(answer[..length].to_vec());
        }
    }
}

fn query(check: &DnsCheck, id: u16) -> Vec<u8> {
    let mut query = Vec::with_capacity(HEADER + check.name.len() + 4);
    query.extend(id.to_be_bytes());
    query.extend([u8::from(check.recursion), 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    query.extend(check.name.as_slice());
    query.extend(check.rtype.to_be_bytes());
    query.extend(CLASS_IN.to_be_bytes());
    query
}

/// Whether it is a response to the query, whole or not. Servers that can't read a query may leave the question out.
fn is_answer(check: &DnsCheck, id: u16, octets: &[u8]) -> bool {
    let Ok(message) = Message::from_octets(octets) else { return false };
    if message.header().id() != id || !message.header().qr() {
        return false;
    }
    match message.sole_question() {
        Ok(question) => {
            question.qname().name_eq(&check.name)
                && question.qtype().to_int() == check.rtype
                && question.qclass().to_int() == CLASS_IN
        }
        Err(_) => message.header_counts().qdcount() == 0 && message.header().rcode() != Rcode::NOERROR,
    }
}

enum Judgement {
    Final(Result<(), Failure>),
    Truncated,
}

/// Whether an answer is as expected.
fn judge(check: &DnsCheck, octets: &[u8]) -> Judgement {
    let unexpected = |what: String| Judgement::Final(Err(Failure::Unexpected(what)));
    let Ok(message) = Message::from_octets(octets) else { return unexpected("the answer has no header".into()) };
    let (rcode, expected) = (message.header().rcode(), Rcode::masked_from_int(check.expect_rcode));
    if rcode != expected {
        return unexpected(format!("answered {rcode} (expected {expected})"));
    }
    let Some(data) = &check.expect_answer else { return Judgement::Final(Ok(())) };
    let found = found(message, check.rtype);
    if found.as_ref().is_ok_and(|found| found.contains(data)) {
        return Judgement::Final(Ok(()));
    }
    // It may be in what is missing.
    if message.header().tc() {
        return Judgement::Truncated;
    }
    let Ok(found) = found else { return unexpected("the answer is malformed".into()) };
    let rtype = Rtype::from_int(check.rtype);
    let told: Vec<String> = found.iter().take(MAX_TOLD).map(shown).collect();
    let told = match told.as_slice() {
        [] => format!("no {rtype}"),
        told => format!("{rtype} {}", told.join(", ")),
    };
    unexpected(format!("answered with {told} (expected {})", shown(data)))
}

/// The data of all records of a type in the answer section, aliases' targets included.
fn found(message: Message<&[u8]>, rtype: u16) -> Result<Vec<DnsData>, domain::base::wire::ParseError> {
    let answer = message.answer()?;
    let name = |name: &ParsedName<&[u8]>| DnsData::Name(name.to_vec());
    // Each reads the records of its type alone.
    macro_rules! all {
        ($data:ty, $read:expr) => {
            answer.limit_to_in::<$data>().map(|record| Ok($read(record?.data()))).collect()
        };
    }
    match Rtype::from_int(rtype) {
        Rtype::A => all!(A, |data: &A| DnsData::Address(data.addr().into())),
        Rtype::AAAA => all!(Aaaa, |data: &Aaaa| DnsData::Address(data.addr().into())),
        Rtype::CNAME => all!(Cname<_>, |data: &Cname<_>| name(data.cname())),
        Rtype::DNAME => all!(Dname<_>, |data: &Dname<_>| name(data.dname())),
        Rtype::NS => all!(Ns<_>, |data: &Ns<_>| name(data.nsdname())),
        Rtype::PTR => all!(Ptr<_>, |data: &Ptr<_>| name(data.ptrdname())),
        Rtype::TXT => all!(Txt<&[u8]>, |data: &Txt<&[u8]>| {
            let text: Vec<u8> = data.iter().flatten().copied().collect();
            DnsData::Text(String::from_utf8_lossy(&text).into_owned())
        }),
        _ => Ok(Vec::new()),
    }
}

fn shown(data: &DnsData) -> String {
    match data {
        DnsData::Address(address) => address.to_string(),
        DnsData::Name(name) => excerpt(&name.to_string()),
        DnsData::Text(text) => format!("\"{}\"", excerpt(text)),
    }
}
