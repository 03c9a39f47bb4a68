//! The balance that what is seen asks for.
//!
//! In this order: where the endpoints are busy, connections count; where what they can bear is uneven, weights do; where some are
//! slow beside the others, response times do; else they take turns. A choice is left only when its measure has fallen below
//! four fifths of what made it, and is kept for a while in any case, so that it doesn't swing.

use std::fmt::{self, Display, Formatter};
use std::time::Instant;

use super::Member;
use super::load::LEAST_RESPONSE_MS;
use crate::config::{Adaptive, AdaptiveChoice, MAX_WEIGHT};

/// The changes that are remembered.
pub const MAX_EVENTS: usize = 32;
/// The part of its threshold down to which a measure holds its choice.
const HELD_DOWN_TO: f64 = 0.8;

/// What is seen of the endpoints of a list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sight {
    /// The mean utilization of those that tell it.
    pub mean_utilization: Option<f64>,
    /// What endpoints are told apart by as to what they can bear.
    pub gauge: Gauge,
    /// The largest by that ÷ the smallest; 1 where there is none.
    pub unevenness: f64,
    /// The slowest response ÷ the median, the lower one of two, where more than one tells it.
    pub slow_tail: Option<f64>,
}

/// What says how much endpoints can bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gauge {
    /// Their weights.
    Weight,
    /// Their capacities: all have one, and the operator weighs all alike.
    Capacity,
}

impl Display for Gauge {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Weight => "weight",
            Self::Capacity => "capacity",
        })
    }
}

/// Lets those that weigh the same and have capacities weigh as much as they can bear; others stay as they are.
pub(in crate::routing) fn weigh_by_capacity(members: &mut [&mut Member]) -> Gauge {
    let capacities: Option<Vec<f64>> = members.iter().map(|member| member.capacity).collect();
    let is_even = members.windows(2).all(|pair| pair[0].weight == pair[1].weight);
    let Some(capacities) = capacities.filter(|capacities| is_even && !capacities.is_empty()) else {
        return Gauge::Weight;
    };
    let largest = capacities.iter().copied().fold(0.0, f64::max);
    for (member, capacity) in members.iter_mut().zip(capacities) {
        member.weight = ((capacity / largest * f64::from(MAX_WEIGHT)).round() as u32).max(1);
    }
    Gauge::Capacity
}

impl Sight {
    /// Of endpoints that may be answered, whose weights come from this gauge. Of the healthy ones their load counts, of all
    /// their weight.
    pub fn of(gauge: Gauge, members: &[&mut Member]) -> Self {
        let weights = || members.iter().map(|member| f64::from(member.weight));
        let largest = weights().fold(0.0, f64::max);
        let smallest = weights().fold(f64::INFINITY, f64::min);
        let healthy = || members.iter().filter(|member| member.standing.is_healthy());
        let utilization: Vec<f64> = healthy().filter_map(|member| member.standing.load.utilization).collect();
        let mut response_ms: Vec<f64> = healthy().filter_map(|member| member.standing.load.response_ms).collect();
        response_ms.sort_unstable_by(f64::total_cmp);
        Self {
            mean_utilization: (!utilization.is_empty())
                .then(|| utilization.iter().sum::<f64>() / utilization.len() as f64),
            gauge,
            unevenness: if largest > 0.0 { largest / smallest } else { 1.0 },
            slow_tail: match &response_ms[..] {
                [] | [_] => None,
                [.., slowest] => Some(slowest.max(LEAST_RESPONSE_MS) / median(&response_ms).max(LEAST_RESPONSE_MS)),
            },
        }
    }
}

/// Of sorted numbers, of which there are some; the lower one of two.
fn median(sorted: &[f64]) -> f64 {
    sorted[(sorted.len() - 1) / 2]
}

/// Why a choice was made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// The operator says so.
    Told,
    /// The mean utilization is at or above what is high.
    HighLoad {
        /// What it is.
        mean_utilization: f64,
        /// What is high.
        threshold: f64,
    },
    /// The largest weight or capacity is so many times the smallest.
    Uneven {
        /// Which of the two.
        gauge: Gauge,
        /// How many times.
        ratio: f64,
        /// From where on that counts.
        threshold: f64,
    },
    /// The slowest response takes so many times the median.
    SlowTail {
        /// How many times.
        ratio: f64,
        /// From where on that counts.
        threshold: f64,
    },
    /// None of these.
    Calm(Sight),
}

/// A change of choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// What was chosen.
    pub choice: AdaptiveChoice,
    /// Why.
    pub why: Why,
}

/// What was chosen for a list, and when and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Controller {
    settings: Adaptive,
    /// The oldest first, 1 to [`MAX_EVENTS`].
    timeline: Vec<Event>,
    /// From when on another choice may be made that is asked for now.
    due_at: Option<Instant>,
}

impl Controller {
    /// Makes the first choice.
    pub fn new(settings: Adaptive, sight: &Sight, now: Instant) -> Self {
        let (choice, why) = wanted(&settings, sight, None);
        Self { settings, timeline: vec![Event { at: now, choice, why }], due_at: None }
    }

    /// Looks again.
    #[must_use]
    pub fn seen(&self, sight: &Sight, now: Instant) -> Self {
        let current = self.choice();
        let (choice, why) = wanted(&self.settings, sight, Some(current));
        let mut next = self.clone();
        next.due_at = None;
        if choice != current {
            let held_until = self.latest().at + self.settings.hold;
            if now < held_until {
                next.due_at = Some(held_until);
            } else {
                if next.timeline.len() == MAX_EVENTS {
                    next.timeline.remove(0);
                }
                next.timeline.push(Event { at: now, choice, why });
            }
        }
        next
    }

    /// What is chosen.
    pub fn choice(&self) -> AdaptiveChoice {
        self.latest().choice
    }

    /// Whether it has to look again though nothing has changed, as another choice was only held back.
    pub fn is_due(&self, now: Instant) -> bool {
        self.due_at.is_some_and(|due_at| due_at <= now)
    }

    /// What it goes by.
    pub fn settings(&self) -> &Adaptive {
        &self.settings
    }

    /// The latest choices, the oldest first; at least one.
    pub fn timeline(&self) -> &[Event] {
        &self.timeline
    }

    /// The latest choice.
    pub fn latest(&self) -> &Event {
        &self.timeline[self.timeline.len() - 1]
    }
}

/// What is asked for while `current` holds.
fn wanted(settings: &Adaptive, sight: &Sight, current: Option<AdaptiveChoice>) -> (AdaptiveChoice, Why) {
    if let Some(choice) = settings.choice {
        return (choice, Why::Told);
    }
    let reaches = |choice, measure: f64, threshold: f64| {
        measure >= if current == Some(choice) { HELD_DOWN_TO * threshold } else { threshold }
    };
    let Adaptive { high_load, uneven, slow_tail, .. } = *settings;
    if let Some(mean_utilization) = sight.mean_utilization
        && reaches(AdaptiveChoice::LeastConnections, mean_utilization, high_load)
    {
        return (AdaptiveChoice::LeastConnections, Why::HighLoad { mean_utilization, threshold: high_load });
    }
    if reaches(AdaptiveChoice::Weighted, sight.unevenness, uneven) {
        return (
            AdaptiveChoice::Weighted,
            Why::Uneven { gauge: sight.gauge, ratio: sight.unevenness, threshold: uneven },
        );
    }
    if let Some(ratio) = sight.slow_tail
        && reaches(AdaptiveChoice::LeastResponseTime, ratio, slow_tail)
    {
        return (AdaptiveChoice::LeastResponseTime, Why::SlowTail { ratio, threshold: slow_tail });
    }
    (AdaptiveChoice::RoundRobin, Why::Calm(*sight))
}

impl Display for Why {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told => f.write_str("the configuration says so"),
            Self::HighLoad { mean_utilization, threshold } => {
                write!(f, "the mean utilization is {mean_utilization:.2} (high from {threshold:.2} on)")
            }
            Self::Uneven { gauge, ratio, threshold } => {
                write!(f, "the largest {gauge} is {ratio:.1} times the smallest (uneven from {threshold:.1} on)")
            }
            Self::SlowTail { ratio, threshold } => {
                write!(f, "the slowest response takes {ratio:.1} times the median (slow from {threshold:.1} on)")
            }
            Self::Calm(sight) => {
                f.write_str("neither busy, uneven nor slow (")?;
                match sight.mean_utilization {
                    Some(mean_utilization) => write!(f, "mean utilization {mean_utilization:.2}")?,
                    None => f.write_str("utilization unknown")?,
                }
                write!(f, ", largest {} {:.1} times the smallest, ", sight.gauge, sight.unevenness)?;
                match sight.slow_tail {
                    Some(ratio) => write!(f, "slowest response {ratio:.1} times the median)"),
                    None => f.write_str("response times unknown)"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::time::Duration;

    use super::*;
    use crate::health::Verdict;
    use crate::routing::live::Standing;
    use AdaptiveChoice::{LeastConnections, LeastResponseTime, RoundRobin, Weighted};

    const CALM: Sight =
        Sight { mean_utilization: Some(0.2), gauge: Gauge::Weight, unevenness: 1.0, slow_tail: Some(1.2) };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_situation_has_its_balance() {
        let busy = Sight { mean_utilization: Some(0.75), ..CALM };
        let uneven = Sight { unevenness: 2.0, ..CALM };
        let slow = Sight { slow_tail: Some(3.0), ..CALM };
        let unknown = Sight { mean_utilization: None, gauge: Gauge::Weight, unevenness: 1.0, slow_tail: None };
        let all = Sight { mean_utilization: Some(0.9), unevenness: 9.0, slow_tail: Some(9.0), ..CALM };
        let now = Instant::now();
        for (sight, choice) in [
            (CALM, RoundRobin),
            (unknown, RoundRobin),
            (busy, LeastConnections),
            (Sight { mean_utilization: Some(0.7499), ..CALM }, RoundRobin),
            (uneven, Weighted),
            (Sight { unevenness: 1.99, ..CALM }, RoundRobin),
            (slow, LeastResponseTime),
            (Sight { slow_tail: Some(2.99), ..CALM }, RoundRobin),
            (all, LeastConnections),
            (Sight { mean_utilization: None, ..all }, Weighted),
            (Sight { mean_utilization: None, unevenness: 1.0, ..all }, LeastResponseTime),
        ] {
            let controller = Controller::new(Adaptive::DEFAULT, &sight, now);
            assert_eq!(controller.choice(), choice, "{sight:?}");
            for told in AdaptiveChoice::ALL {
                let settings = Adaptive { choice: Some(told), ..Adaptive::DEFAULT };
                let controller = Controller::new(settings, &sight, now);
                assert_eq!((controller.choice(), controller.latest().why), (told, Why::Told));
                assert_eq!(controller.seen(&all, now + seconds(1000)).choice(), told);
            }
        }
    }

    #[test]
    fn a_choice_is_held_down_to_four_fifths_of_what_made_it() {
        let with = |utilization| Sight { mean_utilization: Some(utilization), ..CALM };
        let uneven = |unevenness| Sight { unevenness, ..CALM };
        let slow = |ratio| Sight { slow_tail: Some(ratio), ..CALM };
        let start = Instant::now();
        for (made, held, left, choice) in [
            (with(0.75), with(0.601), with(0.599), LeastConnections),
            (uneven(2.0), uneven(1.61), uneven(1.59), Weighted),
            (slow(3.0), slow(2.41), slow(2.39), LeastResponseTime),
        ] {
            let controller = Controller::new(Adaptive::DEFAULT, &made, start).seen(&held, start + seconds(60));
            assert_eq!(controller.choice(), choice);
            assert_eq!(controller.timeline().len(), 1, "what stays is no event");
            let controller = controller.seen(&left, start + seconds(61));
            assert_eq!(controller.choice(), RoundRobin);
            assert_eq!(
                controller.seen(&held, start + seconds(1000)).choice(),
                RoundRobin,
                "it takes the whole to return"
            );
            assert_eq!(controller.seen(&made, start + seconds(1000)).choice(), choice);
        }
        // What comes first in the order takes over although the other would be held.
        let controller = Controller::new(Adaptive::DEFAULT, &slow(3.0), start);
        let both = Sight { unevenness: 2.0, ..slow(3.0) };
        assert_eq!(controller.seen(&both, start + seconds(30)).choice(), Weighted);
        // What is no longer known holds nothing.
        let controller = Controller::new(Adaptive::DEFAULT, &with(0.8), start);
        let unknown = Sight { mean_utilization: None, ..CALM };
        assert_eq!(controller.seen(&unknown, start + seconds(30)).choice(), RoundRobin);
    }

    #[test]
    fn a_choice_is_kept_for_a_while() {
        let busy = Sight { mean_utilization: Some(0.9), ..CALM };
        let start = Instant::now();
        let controller = Controller::new(Adaptive::DEFAULT, &CALM, start);
        let controller = controller.seen(&busy, start + seconds(29));
        assert_eq!(controller.choice(), RoundRobin);
        assert!(!controller.is_due(start + seconds(29)) && controller.is_due(start + seconds(30)));
        let calm_again = controller.seen(&CALM, start + seconds(29));
        assert!(!calm_again.is_due(start + seconds(1000)), "nothing else is asked for any more");
        let controller = controller.seen(&busy, start + seconds(30));
        assert_eq!(controller.choice(), LeastConnections);
        assert!(!controller.is_due(start + seconds(1000)));
        let controller = controller.seen(&CALM, start + seconds(59));
        assert_eq!((controller.choice(), controller.is_due(start + seconds(60))), (LeastConnections, true));
    }

    #[test]
    fn the_timeline_has_the_last_choices_with_their_figures() {
        let settings = Adaptive { hold: Duration::ZERO, ..Adaptive::DEFAULT };
        let busy = Sight { mean_utilization: Some(0.9), ..CALM };
        let start = Instant::now();
        let mut controller = Controller::new(settings, &CALM, start);
        for step in 1..100 {
            controller = controller.seen(if step % 2 == 0 { &CALM } else { &busy }, start + seconds(step));
        }
        let timeline = controller.timeline();
        assert_eq!(
            (timeline.len(), timeline[0].at, timeline[31].at),
            (MAX_EVENTS, start + seconds(68), start + seconds(99))
        );
        assert_eq!(timeline[31].why.to_string(), "the mean utilization is 0.90 (high from 0.75 on)");
        assert_eq!(
            timeline[30].why.to_string(),
            "neither busy, uneven nor slow (mean utilization 0.20, largest weight 1.0 times the smallest, slowest \
             response 1.2 times the median)"
        );
    }

    #[test]
    fn what_is_seen_is_of_the_healthy_but_for_weights() {
        let member = |weight, verdict, utilization, response_ms| {
            let mut standing = Standing { verdict, ..Standing::UNPROBED };
            (standing.load.utilization, standing.load.response_ms) = (utilization, response_ms);
            Member { identity: 0, place: 0, weight, capacity: None, standing }
        };
        let mut members = [
            member(2, Verdict::Up, Some(0.5), Some(10.0)),
            member(3, Verdict::Unknown, None, Some(30.0)),
            member(8, Verdict::Down, Some(9.0), Some(900.0)),
            member(4, Verdict::Up, Some(0.9), Some(70.0)),
        ];
        let mut all = members.each_mut();
        let Sight { mean_utilization, gauge, unevenness, slow_tail } = Sight::of(weigh_by_capacity(&mut all), &all);
        assert_eq!(gauge, Gauge::Weight);
        assert!((mean_utilization.unwrap() - 0.7).abs() < 1e-9);
        assert_eq!((unevenness, slow_tail), (4.0, Some(70.0 / 30.0)));
        assert_eq!(Sight::of(gauge, &all[..2]).slow_tail, Some(3.0), "of two the faster one is the median");
        assert_eq!(Sight::of(gauge, &all[..1]).slow_tail, None);
        let none = Sight { mean_utilization: None, gauge: Gauge::Weight, unevenness: 1.0, slow_tail: None };
        assert_eq!(Sight::of(weigh_by_capacity(&mut []), &[]), none);
        // Faster than is told apart is no division by zero.
        let mut fast = [member(1, Verdict::Up, None, Some(0.0)), member(1, Verdict::Up, None, Some(0.0))];
        assert_eq!(Sight::of(gauge, &fast.each_mut()).slow_tail, Some(1.0));
    }

    #[test]
    fn capacities_stand_in_for_weights_where_all_have_one_and_weigh_the_same() {
        let sight = |endpoints: &[(u32, Option<f64>)]| {
            let member = |(weight, capacity): &(u32, Option<f64>)| Member {
                identity: 0,
                place: 0,
                weight: *weight,
                capacity: *capacity,
                standing: Standing::UNPROBED,
            };
            let mut members: Vec<Member> = endpoints.iter().map(member).collect();
            let mut all: Vec<&mut Member> = members.iter_mut().collect();
            let sight = Sight::of(weigh_by_capacity(&mut all), &all);
            (sight, members.iter().map(|member| member.weight).collect::<Vec<u32>>())
        };
        let (uneven, weights) = sight(&[(1, Some(1000.0)), (1, Some(250.0)), (1, Some(1e-6))]);
        assert_eq!((uneven.gauge, &weights[..]), (Gauge::Capacity, &[1 << 20, 1 << 18, 1][..]));
        let latest =
            *Controller::new(Adaptive::DEFAULT, &sight(&[(7, Some(50.0)), (7, Some(20.0))]).0, Instant::now()).latest();
        assert_eq!(latest.choice, Weighted);
        assert_eq!(latest.why.to_string(), "the largest capacity is 2.5 times the smallest (uneven from 2.0 on)");
        for (endpoints, ratio) in [
            (&[(1, Some(9.0)), (1, None)][..], 1.0),
            (&[(3, Some(9.0)), (2, Some(1.0))], 1.5),
            (&[(2, None), (2, None)], 1.0),
        ] {
            let (sight, weights) = sight(endpoints);
            assert_eq!((sight.gauge, sight.unevenness), (Gauge::Weight, ratio));
            assert!(weights.iter().zip(endpoints).all(|(weight, (configured, _))| weight == configured));
        }
    }
}
