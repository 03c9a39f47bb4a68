//! Weights by what endpoints say of their load.
//!
//! Shares are in proportion, and nothing is sent to the least busy one alone: reports are seconds old and answers live in
//! caches, so all would run there at once. One of which nothing is known counts as the mean of the others.

use super::Member;

/// The room that a full endpoint still counts as having.
const LEAST_ROOM: f64 = 0.02;
/// The shortest response time that is told from shorter ones, in milliseconds.
pub(super) const LEAST_RESPONSE_MS: f64 = 0.01;

/// In proportion to weight ÷ (1 + connections).
pub(super) fn least_connections(members: &[Member]) -> Option<Vec<f64>> {
    let connections = known_or_mean(members, |member| member.standing.load.connections)?;
    Some(members.iter().zip(connections).map(|(member, own)| f64::from(member.weight) / (1.0 + own)).collect())
}

/// In proportion to weight ÷ response time.
pub(super) fn least_response_time(members: &[Member]) -> Option<Vec<f64>> {
    let response_ms = known_or_mean(members, |member| member.standing.load.response_ms)?;
    let shares = members.iter().zip(response_ms);
    Some(shares.map(|(member, own)| f64::from(member.weight) / own.max(LEAST_RESPONSE_MS)).collect())
}

/// In proportion to weight × the part of the resources that is free.
pub(super) fn resource_aware(members: &[Member]) -> Option<Vec<f64>> {
    let utilization = known_or_mean(members, |member| member.standing.load.utilization)?;
    let shares = members.iter().zip(utilization);
    Some(shares.map(|(member, own)| f64::from(member.weight) * (1.0 - own).max(LEAST_ROOM)).collect())
}

/// A measure of each member, and the mean where it is not known; nothing where it is known of none.
pub(super) fn known_or_mean(members: &[Member], measure: impl Fn(&Member) -> Option<f64>) -> Option<Vec<f64>> {
    let known: Vec<f64> = members.iter().filter_map(&measure).collect();
    if known.is_empty() {
        return None;
    }
    let mean = known.iter().sum::<f64>() / known.len() as f64;
    Some(members.iter().map(|member| measure(member).unwrap_or(mean)).collect())
}
