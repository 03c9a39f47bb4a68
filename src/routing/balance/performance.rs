//! Weights by a score of response time, errors, load and weight.

use super::{Member, load};
use crate::config::Performance;

/// What the worst still scores, so that it is seen when it gets better.
const LEAST_SCORE: f64 = 0.01;

/// In proportion to a score from 0 to 1, of parts that are each from 0 to 1: best response time ÷ own, the part of requests
/// that don't fail, the part of the resources that is free, own weight ÷ the largest. A part that is known of none is 1.
/// Nothing where nothing but weights is known.
pub(super) fn scores(settings: &Performance, members: &[Member]) -> Option<Vec<f64>> {
    let response_ms = load::known_or_mean(members, |member| member.standing.load.response_ms);
    let error_rate = load::known_or_mean(members, |member| member.standing.load.error_rate);
    let utilization = load::known_or_mean(members, |member| member.standing.load.utilization);
    if response_ms.is_none() && error_rate.is_none() && utilization.is_none() {
        return None;
    }
    let best_ms = response_ms.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let largest = members.iter().map(|member| member.weight).max().unwrap_or(1).max(1);
    let known = |values: &Option<Vec<f64>>, index: usize| values.as_ref().map(|values| values[index]);
    let score = |(index, member): (usize, &Member)| {
        let response_time =
            known(&response_ms, index).map_or(1.0, |own| if own > best_ms { best_ms / own } else { 1.0 });
        let errors = known(&error_rate, index).map_or(1.0, |own| (1.0 - own).clamp(0.0, 1.0));
        let load = known(&utilization, index).map_or(1.0, |own| (1.0 - own).clamp(0.0, 1.0));
        let weight = f64::from(member.weight) / f64::from(largest);
        let score = settings.response_time * response_time
            + settings.errors * errors
            + settings.load * load
            + settings.weight * weight;
        score.max(LEAST_SCORE)
    };
    Some(members.iter().enumerate().map(score).collect())
}
