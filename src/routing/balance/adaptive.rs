//! The balance that what is seen asks for.
//!
//! In this order: where the endpoints are busy, connections count; where their weights are uneven, weights do; where some are
//! slow beside the others, response times do; else they take turns. A choice is left only when its measure has fallen below
//! four fifths of what made it, and is kept for a while in any case, so that it doesn't swing.

use std::fmt::{self, Display, Formatter};
use std::time::Instant;

use super::Member;
use crate::config::{Adaptive, AdaptiveChoice};

/// The changes that are remembered.
pub const MAX_EVENTS: usize = 32;
/// The part of its threshold down to which a measure holds its choice.
const HELD_DOWN_TO: f64 = 0.8;

/// What is seen of the endpoints of a list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sight {
    /// The mean utilization of those that tell it.
    pub mean_utilization: Option<f64>,
    /// The largest weight ÷ the smallest; 1 where there is none.
    pub unevenness: f64,
    /// The slowest response ÷ the median, the lower one of two, where more than one tells it.
    pub slow_tail: Option<f64>,
}

impl Sight {
    /// Of endpoints that may be answered. Of the healthy ones their load counts, of all their weight.
    pub fn of<'m>(members: impl Iterator<Item = &'m Member> + Clone) -> Self {
        let weights = || members.clone().map(|member| f64::from(member.weight));
        let largest = weights().fold(0.0, f64::max);
        let smallest = weights().fold(f64::INFINITY, f64::min);
        let healthy = || members.clone().filter(|member| member.standing.is_healthy());
        let utilization: Vec<f64> = healthy().filter_map(|member| member.standing.load.utilization).collect();
        let mut response_ms: Vec<f64> = healthy().filter_map(|member| member.standing.load.response_ms).collect();
        response_ms.sort_unstable_by(f64::total_cmp);
        Self {
            mean_utilization: (!utilization.is_empty())
                .then(|| utilization.iter().sum::<f64>() / utilization.len() as f64),
            unevenness: if largest > 0.0 { largest / smallest } else { 1.0 },
            slow_tail: match &response_ms[..] {
                [] | [_] => None,
                [.., slowest] => Some(slowest / response_ms[(response_ms.len() - 1) / 2]),
            },
        }
    }
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
    /// The largest weight is so many times the smallest.
    Uneven {
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
        return (AdaptiveChoice::Weighted, Why::Uneven { ratio: sight.unevenness, threshold: uneven });
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
            Self::Uneven { ratio, threshold } => {
                write!(f, "the largest weight is {ratio:.1} times the smallest (uneven from {threshold:.1} on)")
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
                write!(f, ", largest weight {:.1} times the smallest, ", sight.unevenness)?;
                match sight.slow_tail {
                    Some(ratio) => write!(f, "slowest response {ratio:.1} times the median)"),
                    None => f.write_str("response times unknown)"),
                }
            }
        }
    }
}
