//! The decision for both address families at once, for records that lead to addresses of either.

use std::net::IpAddr;

use super::decide::serve;
use super::{Choice, Decision, Draw, Family, Health, Outcome, decide, steering};
use crate::snapshot::{Service, Snapshot, Steering};

/// What A and AAAA would be answered with, as far as both lead to one place.
#[derive(Debug)]
pub struct Both<'s> {
    /// By [`Family::index`]. A family whose addresses are elsewhere has no data here.
    pub families: [Decision<'s>; 2],
    /// The one that says where both lead: its outcome is no data only where the other's is too.
    pub leading: Family,
    /// What the other one would be answered with by itself, where that is elsewhere.
    pub elsewhere: Option<Decision<'s>>,
    /// Seconds for which both hold.
    pub ttl: u32,
    /// The prefix length, in bits of the client's own address family, for which both hold.
    pub scope: u8,
}

/// Decides for both families. Where they lead to different regions, that of the healthier one counts, and of IPv4 where
/// they are alike.
pub fn decide_both<'s>(snapshot: &'s Snapshot, service: &'s Service, client: IpAddr, draw: &mut Draw<'_>) -> Both<'s> {
    // Both are drawn from the same numbers, so that regions with equal weights for both are the same.
    let rng = draw.rng.fork();
    let mut families = [Family::V4, Family::V6].map(|family| {
        let mut rng = rng.clone();
        // It is one question, and counted once it is clear where it leads.
        decide(snapshot, service, client, family, &mut Draw { rng: &mut rng, worker: usize::MAX, ..*draw })
    });
    let [v4, v6] = &families;
    let (mut ttl, mut scope) = (v4.ttl.min(v6.ttl), v4.scope.max(v6.scope));
    let leading = if rank(&v6.outcome) > rank(&v4.outcome) { Family::V6 } else { Family::V4 };
    steering::count(snapshot, service, client, leading, draw);
    let (led, other) = (&families[leading.index()].outcome, leading.other());
    let mut elsewhere = None;
    if !is_one_place(led, &families[other.index()].outcome) {
        let beside = match (led, &service.steering) {
            // Where regions are drawn, the other may as well have been drawn here.
            (Outcome::Endpoints { choice, .. }, Steering::Weighted { .. }) => {
                serve_beside(snapshot, service, *choice, client, other, draw)
            }
            _ => None,
        };
        let beside = beside.unwrap_or(Decision { outcome: Outcome::NoData, ttl, scope });
        (ttl, scope) = (ttl.min(beside.ttl), scope.max(beside.scope));
        elsewhere = Some(std::mem::replace(&mut families[other.index()], beside));
    }
    Both { families, leading, elsewhere, ttl, scope }
}

/// How good what is answered is; more is better.
fn rank(outcome: &Outcome<'_>) -> (bool, Option<Health>) {
    match outcome {
        Outcome::Endpoints { choice, .. } => (true, Some(choice.candidates.health)),
        Outcome::LastResort(_) => (true, None),
        Outcome::NoData => (false, None),
    }
}

fn is_one_place(a: &Outcome<'_>, b: &Outcome<'_>) -> bool {
    match (a, b) {
        (Outcome::Endpoints { choice: a, .. }, Outcome::Endpoints { choice: b, .. }) => a.group == b.group,
        (Outcome::LastResort(_), Outcome::LastResort(_)) | (_, Outcome::NoData) => true,
        _ => false,
    }
}

/// What the place that was chosen answers with in another family, if it can serve that as well; of its own scope alone.
fn serve_beside<'s>(
    snapshot: &'s Snapshot,
    service: &'s Service,
    choice: Choice<'s>,
    client: IpAddr,
    family: Family,
    draw: &mut Draw<'_>,
) -> Option<Decision<'s>> {
    let candidates = snapshot.live.candidates_of(service, choice.tier, choice.layout, family);
    let can_serve = !candidates.list.is_empty() && candidates.health >= choice.candidates.health;
    can_serve.then(|| serve(snapshot, service, (Choice { candidates, ..choice }, false, 0), client, family, draw))
}
