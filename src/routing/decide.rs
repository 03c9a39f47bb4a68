//! Tiers × regions in the client's order → the candidates that serve, and from them the endpoints of one answer.

use std::net::IpAddr;

use super::balance::{Draw, Picks};
use super::live::{Candidates, Health};
use super::{Family, steering};
use crate::config::AnswerOrder;
use crate::snapshot::{AllDown, Service, Snapshot};

/// What was decided for one client.
#[derive(Debug)]
pub struct Decision<'s> {
    /// What is answered.
    pub outcome: Outcome<'s>,
    /// Seconds that the answer lives; for one without data, at most these.
    pub ttl: u32,
    /// The prefix length, in bits of the client's own address family, for which all of this holds.
    pub scope: u8,
}

/// What a decision answers with.
#[derive(Debug)]
pub enum Outcome<'s> {
    /// Endpoints of one pool in one region.
    Endpoints {
        /// Where they are.
        choice: Choice<'s>,
        /// Which of them, as indices into the candidates' list.
        picks: Picks,
    },
    /// The service's addresses of last resort for this family; at least one.
    LastResort(&'s [IpAddr]),
    /// Nothing: the service has no such type, or its operator wants silence when all is down.
    NoData,
}

impl Outcome<'_> {
    /// Hands the octets of each address that is answered to `each`, in order, until one fails. Hostnames have none.
    ///
    /// # Errors
    /// That of `each`.
    pub fn try_for_each_address<E>(
        &self,
        family: Family,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let octets = match family {
            Family::V4 => 4,
            Family::V6 => 16,
        };
        match self {
            Self::Endpoints { choice, picks } => picks
                .as_slice()
                .iter()
                .try_for_each(|pick| each(&choice.candidates.list[*pick as usize].address[..octets])),
            Self::LastResort(addresses) => addresses.iter().try_for_each(|address| match address {
                IpAddr::V4(address) => each(&address.octets()),
                IpAddr::V6(address) => each(&address.octets()),
            }),
            Self::NoData => Ok(()),
        }
    }
}

/// The group that serves.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'s> {
    /// 0 is the service's own pool, the others are its failover pools.
    pub tier: usize,
    /// Index into the compiled groups.
    pub group: u32,
    /// Index into the compiled layouts.
    pub layout: u32,
    /// Its candidates of the asked family.
    pub candidates: &'s Candidates,
}

/// Decides for one client.
pub fn decide<'s>(
    snapshot: &'s Snapshot,
    service: &'s Service,
    client: IpAddr,
    family: Family,
    draw: &mut Draw<'_>,
) -> Decision<'s> {
    let steered = steering::steer(snapshot, service, client, family, draw);
    // Without a fence nothing healthy anywhere is so for everyone, and a negative answer is never scoped: it would make
    // resolvers keep one for every subnet (RFC 7871 section 7.4). Behind a fence it is of these clients alone, however their
    // regions are drawn, as long as anyone is served.
    let unserved_scope = || {
        let map = &snapshot.compiled.maps[service.steering.map()];
        let is_fenced = map.is_fenced() && serves_anyone(snapshot, service, family);
        if is_fenced { map.lookup(client).1 } else { 0 }
    };
    let found = match steered.found {
        Some(choice) if choice.candidates.health > Health::None => Some(choice),
        found => match &service.when_all_down {
            AllDown::ServeAll => found,
            AllDown::NoData => None,
            AllDown::LastResort(families) => {
                let addresses = &families[family.index()];
                if !addresses.is_empty() && service.has_family[family.index()] {
                    let outcome = Outcome::LastResort(addresses);
                    return Decision { outcome, ttl: service.ttl.min, scope: unserved_scope() };
                }
                None
            }
        },
    };
    let Some(choice) = found else {
        // One that health makes must not outlive it.
        let ttl = if service.has_family[family.index()] { service.ttl.min } else { u32::MAX };
        return Decision { outcome: Outcome::NoData, ttl, scope: unserved_scope() };
    };
    serve(snapshot, service, (choice, steered.failover_active, steered.scope), client, family, draw)
}

/// The answer of the group that serves: its endpoints, their TTL, which is short where another was to serve, and their scope, which
/// is that of the choice of the group at least.
pub(super) fn serve<'s>(
    snapshot: &'s Snapshot,
    service: &'s Service,
    (choice, failover_active, scope): (Choice<'s>, bool, u8),
    client: IpAddr,
    family: Family,
    draw: &mut Draw<'_>,
) -> Decision<'s> {
    let candidates = choice.candidates;
    let ttl = if failover_active || candidates.health != Health::Enough || candidates.settles {
        service.ttl.min
    } else {
        // By then what caches keep leads elsewhere.
        let until_drain = candidates.drains_at.saturating_sub(draw.unix_seconds);
        candidates.flip_seconds.min(until_drain).clamp(service.ttl.min, service.ttl.max)
    };
    let rotation = &service.rotations[service.rotation(snapshot, choice, family)];
    let mut picks = draw.pick(candidates, usize::from(service.answers), rotation, client);
    if service.answer_order == AnswerOrder::Fixed {
        picks.sort();
    }
    let scope = match candidates.method.sticky() {
        Some(sticky) if is_matter_of_choice(candidates, usize::from(service.answers), service.answer_order) => {
            scope.max(sticky.prefix(client))
        }
        _ => scope,
    };
    Decision { outcome: Outcome::Endpoints { choice, picks }, ttl, scope }
}

/// Whether a service has endpoints anywhere that it would answer with.
fn serves_anyone(snapshot: &Snapshot, service: &Service, family: Family) -> bool {
    let least = if matches!(service.when_all_down, AllDown::ServeAll) { Health::None } else { Health::Few };
    let regions = snapshot.compiled.maps[service.steering.map()].members();
    (0..service.tiers.len()).any(|tier| {
        let mut choices = regions.iter().filter_map(|region| service.choice(snapshot, tier, *region, family));
        choices.any(|choice| !choice.candidates.list.is_empty() && choice.candidates.health >= least)
    })
}

/// Whether picks can differ: which, or in which order.
fn is_matter_of_choice(candidates: &Candidates, answers: usize, order: AnswerOrder) -> bool {
    let count = candidates.list.len();
    count > answers || count > 1 && order == AnswerOrder::Shuffled
}
