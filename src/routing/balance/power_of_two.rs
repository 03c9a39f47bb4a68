//! Of two that are drawn by weight, the less busy one.

use std::cmp::Ordering;

use super::{Draw, Member, Picks, load, weighted};
use crate::routing::live::Candidates;

/// Picks `count` distinct candidates, each the less busy of two distinct ones that are left; of equally busy ones the one that
/// was drawn first.
pub(super) fn pick(from: &Candidates, count: usize, draw: &mut Draw<'_>) -> Picks {
    let mut picks = Picks::default();
    while picks.count < count {
        let mut drawn = picks;
        let pair_end = (picks.count + 2).min(from.list.len());
        weighted::fill(from, &mut drawn, pair_end, |bound| draw.below(bound));
        let pair = drawn.as_slice()[picks.count..].iter().copied();
        if let Some(less_busy) = pair.min_by_key(|index| from.list[*index as usize].load) {
            picks.push(less_busy as usize);
        }
    }
    picks
}

/// How busy each member is, as its place among the others; the same for equally busy ones. By connections for its weight,
/// else by utilization, else by response time: the first of these that any of them is known by.
pub(super) fn loads(members: &[Member]) -> Vec<u32> {
    let connections = || {
        let each = |member: &Member| {
            member.standing.load.connections.map(|connections| connections / f64::from(member.weight.max(1)))
        };
        load::known_or_mean(members, each)
    };
    let utilization = || load::known_or_mean(members, |member| member.standing.load.utilization);
    let response = || load::known_or_mean(members, |member| member.standing.load.response_ms);
    let Some(values) = connections().or_else(utilization).or_else(response) else { return vec![0; members.len()] };
    let mut sorted = values.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let place = |value: &f64| sorted.partition_point(|other| other.total_cmp(value) == Ordering::Less) as u32;
    values.iter().map(place).collect()
}

/// The chance of each candidate to be picked first.
///
/// With w the part of the weight that is one's own: a pair is (a, b) with the chance w(a) · w(b) / (1 − w(a)), and one is
/// picked that is first in a pair with one at least as busy, or second in a pair with a busier one.
pub(super) fn chances(from: &Candidates) -> Vec<f64> {
    let total = from.total_weight() as f64;
    let part = |index: usize| from.weight(index) as f64 / total;
    let mut by_load: Vec<usize> = (0..from.list.len()).collect();
    by_load.sort_by_key(|index| from.list[*index].load);
    let mut chances = vec![1.0; by_load.len()];
    if by_load.len() == 1 {
        return chances;
    }
    // Of all that are busier than those at hand: their parts together, and the odds of their parts.
    let (mut busier, mut busier_odds) = (0.0, 0.0);
    for equals in by_load.chunk_by(|a, b| from.list[*a].load == from.list[*b].load).rev() {
        let together: f64 = equals.iter().map(|index| part(*index)).sum();
        for index in equals {
            let own = part(*index);
            chances[*index] = own / (1.0 - own) * (together - own + busier) + own * busier_odds;
        }
        busier += together;
        busier_odds += equals.iter().map(|index| part(*index) / (1.0 - part(*index))).sum::<f64>();
    }
    chances
}
