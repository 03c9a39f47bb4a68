//! The answer to one request, from beginning to end.

use std::net::IpAddr;

use super::answer::Answer;
use super::chaos::Asker;
use super::cookie::Standing;
use super::edns::{ExtendedError, Opt};
use super::encode::{Full, Writer};
use super::query::{Edns, Opcode, Query, Rcode, Rejection};
use super::rate_limit::{Kind, RateLimiter, Verdict};
use super::{MAX_TCP_RESPONSE, Transport, WorkerContext};
use crate::metrics::WorkerCounters;
use crate::routing::Draw;
use crate::snapshot::Snapshot;
use crate::zone::rtype;

/// The largest UDP response to a client without EDNS (RFC 1035 section 4.2.1).
const PLAIN_UDP_OCTETS: usize = 512;

/// The number of no node of the tree.
const NO_NODE: u32 = u32::MAX;

/// Answers one request. `response` is at least [`MAX_UDP_RESPONSE`](super::MAX_UDP_RESPONSE) long for UDP and
/// [`MAX_TCP_RESPONSE`] for all else. Returns the length of the response, or nothing where there must be none: to a
/// response, to less than a header, and to clients that are held back.
pub fn respond(
    snapshot: &Snapshot,
    context: &mut WorkerContext,
    request: &[u8],
    peer: IpAddr,
    transport: Transport,
    response: &mut [u8],
) -> Option<usize> {
    let WorkerContext { worker, advance, now, rng, counters, name } = context;
    let compiled = &*snapshot.compiled;
    let server = &compiled.config.server;
    let peer = peer.to_canonical();
    let read = Query::read(request, name);
    let edns = match &read {
        Ok(query) => query.edns,
        Err(Rejection::Drop) => {
            counters.count_dropped();
            return None;
        }
        // What is malformed may be the subnet; it would say nothing of the answer.
        Err(Rejection::Answer { edns, .. }) => edns.map(|edns| Edns { subnet: None, ..edns }),
    };
    let judged =
        edns.and_then(|edns| edns.cookie).map(|cookie| compiled.cookies.judge(&cookie, peer, now.unix_seconds));
    let standing = judged.map(|(standing, _)| standing);
    let opt = edns.map(|edns| Opt::new(&edns, server, transport, judged.map(|(_, cookie)| cookie)));
    let is_limited = transport == Transport::Udp && standing != Some(Standing::Good);
    let limits = Limits {
        limiter: compiled.rate_limiter.as_deref().filter(|_| is_limited),
        peer,
        now_us: now.monotonic_us,
        counters,
    };
    let query = match read {
        Ok(query) => query,
        Err(rejection) => {
            let Rejection::Answer { rcode, question, .. } = rejection else { return None };
            let mut writer = Writer::new(response, request, question, PLAIN_UDP_OCTETS);
            let extended = (rcode == Rcode::NotImp).then_some(ExtendedError::NotSupported);
            if limits.charge(Kind::Error, NO_NODE, 0, rng) == Verdict::Drop {
                return None;
            }
            counters.count_query(transport, 0, rcode);
            return Some(writer.finish(opt.as_ref(), rcode, 0, extended));
        }
    };
    let limit = match (transport, &edns) {
        (Transport::Udp, None) => PLAIN_UDP_OCTETS,
        (Transport::Udp, Some(edns)) => {
            usize::from(edns.udp_octets).clamp(PLAIN_UDP_OCTETS, usize::from(server.edns_udp_octets))
        }
        _ => MAX_TCP_RESPONSE,
    };

    let is_bad = matches!(standing, Some(Standing::Missing | Standing::Bad));
    let short = match &query {
        // No key is known here (RFC 8945 section 5.2.1).
        Query { tsig: Some(_), .. } => Some((Rcode::NotAuth, Kind::Error)),
        // Asks for a cookie only, or whether the one that it has is good (RFC 7873 section 5.4).
        Query { question: [], .. } if standing == Some(Standing::Bad) => Some((Rcode::BadCookie, Kind::Cookie)),
        Query { question: [], .. } => Some((Rcode::NoError, Kind::Cookie)),
        // RFC 7873 section 5.2.3: a client that can be heard but is not known to be who it says.
        _ if server.cookies.require && is_bad && transport == Transport::Udp => Some((Rcode::BadCookie, Kind::Cookie)),
        _ => None,
    };
    if let Some((rcode, kind)) = short {
        if limits.charge(kind, NO_NODE, 0, rng) == Verdict::Drop {
            return None;
        }
        counters.count_query(transport, query.qtype, rcode);
        let mut writer = Writer::new(response, request, query.question, limit);
        let Some(tsig) = &query.tsig else { return Some(writer.finish(opt.as_ref(), rcode, 0, None)) };
        // It stands behind the OPT record, whose padding could not take it into account.
        let length = writer.finish(opt.map(Opt::unpadded).as_ref(), rcode, 0, None);
        return Some(if tsig.put_bad_key(&mut writer).is_ok() { writer.position() } else { length });
    }

    let mut writer = Writer::new(response, request, query.question, limit);
    if let Some(opt) = &opt {
        writer.reserve(opt);
    }
    let subnet = edns.and_then(|edns| edns.subnet);
    let address = subnet.and_then(|subnet| subnet.address);
    let mut answer = Answer {
        snapshot,
        tree: &compiled.tree,
        name,
        writer,
        qtype: query.qtype,
        asker: Asker {
            peer,
            client: address.unwrap_or(peer),
            source_length: subnet.filter(|_| address.is_some()).map(|subnet| subnet.source_length()),
            unix_seconds: now.unix_seconds,
        },
        minimal: server.minimal_responses,
        aliases: 0,
        scope: 0,
        extended: None,
        subject: NO_NODE,
        draw: Draw { rng, advance: *advance, worker: *worker, unix_seconds: now.unix_seconds },
    };
    let written = match query.opcode {
        Opcode::Query => answer.write(query.qclass),
        Opcode::Notify | Opcode::Update => Ok(answer.refuse(ExtendedError::Prohibited)),
    };
    let rcode = written.unwrap_or_else(|Full| {
        // Over a stream asking again would not help: what fits, aliases, is the answer, and leads on.
        if transport == Transport::Udp {
            counters.count_truncated();
            answer.writer.set_truncated();
        }
        Rcode::NoError
    });
    // A client that says nothing of itself gets an answer that holds for whoever asks the same way (RFC 7871 section 7.1.2).
    let scope = if address.is_some() { answer.scope } else { 0 };
    let Answer { mut writer, extended, subject, aliases, draw, .. } = answer;
    let kind = Kind::of(rcode, &writer);
    // An alias is one answer whatever type is asked for.
    let counted_type = if aliases > 0 { rtype::CNAME } else { query.qtype };
    let (rcode, length) = match (limits.charge(kind, subject, counted_type, draw.rng), standing) {
        (Verdict::Drop, _) => return None,
        (Verdict::Send, _) => (rcode, writer.finish(opt.as_ref(), rcode, scope, extended)),
        // Short already, and nothing else would be true.
        (Verdict::Slip, _) if kind == Kind::Error => (rcode, writer.finish(opt.as_ref(), rcode, scope, extended)),
        // A client that knows cookies comes back with a good one.
        (Verdict::Slip, Some(_)) => {
            let mut writer = Writer::new(response, request, query.question, limit);
            (Rcode::BadCookie, writer.finish(opt.as_ref(), Rcode::BadCookie, 0, None))
        }
        // Another comes back over TCP.
        (Verdict::Slip, None) => {
            let mut writer = Writer::new(response, request, query.question, limit);
            writer.set_truncated();
            (Rcode::NoError, writer.finish(opt.as_ref(), Rcode::NoError, 0, None))
        }
    };
    counters.count_query(transport, query.qtype, rcode);
    Some(length)
}

/// What holds one response back, if anything does.
struct Limits<'a> {
    limiter: Option<&'a RateLimiter>,
    peer: IpAddr,
    now_us: u64,
    counters: &'a WorkerCounters,
}

impl Limits<'_> {
    /// Charges the client's network with a response of this kind, about the node of this number.
    fn charge(&self, kind: Kind, subject: u32, qtype: u16, rng: &mut fastrand::Rng) -> Verdict {
        let Some(limiter) = self.limiter else { return Verdict::Send };
        let verdict = limiter.check(self.peer, kind, subject, qtype, self.now_us, rng);
        if verdict == Verdict::Send {
            return verdict;
        }
        self.counters.count_limited(verdict);
        if limiter.is_dry_run() { Verdict::Send } else { verdict }
    }
}
