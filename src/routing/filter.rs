//! What each stage made of the regions, in the order in which a decision goes through them.
//!
//! ```text
//!     fence ──▶ claims ──▶ measure ──▶ capacity ──▶ health
//! ```

use std::fmt::{self, Display, Formatter};

use super::grounds::{Considered, Fate, Grounds};
use crate::geo::latency::RoundTrip;
use crate::geo::{Claim, Measure};

/// The most regions that a line tells of.
const MAX_SHOWN: usize = 20;

/// A stage of the choice of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Which regions a rule of the service's map keeps the client in.
    Fence,
    /// Which regions claim the client.
    Claims,
    /// What orders regions with the same claim, or what they are drawn by.
    Measure,
    /// How much more each region takes.
    Capacity,
    /// Which regions have endpoints that can serve.
    Health,
}

impl Stage {
    /// All, in their order.
    pub const ALL: [Self; 5] = [Self::Fence, Self::Claims, Self::Measure, Self::Capacity, Self::Health];

    /// As explanations call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Claims => "claims",
            Self::Measure => "measure",
            Self::Capacity => "capacity",
            Self::Health => "health",
        }
    }
}

/// A stage and what it did in one decision. Displays as one line, without the stage's name.
#[derive(Debug, Clone, Copy)]
pub struct Filtered<'g> {
    /// The stage.
    pub stage: Stage,
    grounds: &'g Grounds<'g>,
}

/// What a stage says of a region.
#[derive(Debug, Clone)]
pub struct Noted<'g> {
    /// The region's name.
    pub region: &'g str,
    /// What it says; displays as nothing where the place in the order says it.
    pub note: Note<'g>,
}

/// What is to be said of a region.
#[derive(Debug, Clone)]
pub enum Note<'g> {
    /// Nothing more.
    Kept,
    /// What claims the client for it.
    Claim(Claim<'g>),
    /// How far away it is, and, where it has a bias, how far that counts.
    Distance(Option<f64>, Option<f64>),
    /// How long a packet takes there and back.
    RoundTrip(RoundTrip),
    /// What the operator says that it weighs.
    Weight(u32),
    /// What part of clients like this one goes there, in percent.
    Percent(f64),
    /// How many of how many endpoints are healthy, of which pool where it isn't the service's own, and what became of it.
    Group {
        /// That can be answered.
        healthy: usize,
        /// That could be if all were healthy.
        allowed: u32,
        /// The failover pool's name.
        pool: Option<&'g str>,
        /// What became of it.
        fate: FateNote<'g>,
    },
}

/// What became of a group, and why.
#[derive(Debug, Clone)]
pub struct FateNote<'g> {
    fate: Fate,
    /// It would do, but for its endpoints of this family.
    lacking: Option<&'g str>,
    has_candidates: bool,
}

impl<'g> Grounds<'g> {
    /// What each stage did.
    pub fn filter(&'g self) -> impl Iterator<Item = Filtered<'g>> {
        Stage::ALL.into_iter().map(|stage| Filtered { stage, grounds: self })
    }

    /// What became of a group, and why.
    pub fn fate_note(&self, considered: &Considered<'_>) -> FateNote<'g> {
        let is_held_back = considered.fate == Fate::PassedOver
            && self.choice().is_some_and(|choice| choice.candidates.health == considered.candidates.health);
        FateNote {
            fate: considered.fate,
            lacking: is_held_back.then(|| self.other_family_name()),
            has_candidates: !considered.candidates.list.is_empty(),
        }
    }
}

impl<'g> Filtered<'g> {
    /// By what the stage goes; `none` where it does nothing here.
    pub fn rule(&self) -> Rule<'g> {
        Rule(*self)
    }

    /// The regions that it leaves, or has something to say of.
    pub fn regions(&self) -> impl Iterator<Item = Noted<'g>> {
        let Self { stage, grounds } = *self;
        let in_order = grounds.ranked().filter_map(move |ranked| {
            let note = match stage {
                Stage::Fence if grounds.is_fenced() => Note::Kept,
                Stage::Claims => Note::Claim(ranked.claim?),
                Stage::Measure => match (grounds.measure(), grounds.configured_weight(ranked.region)) {
                    (_, Some(weight)) => Note::Weight(weight),
                    (Measure::Proximity | Measure::Listed, None) => {
                        Note::Distance(ranked.distance_km, ranked.biased_km)
                    }
                    (Measure::Latency, None) => match ranked.round_trip {
                        Some(round_trip) => Note::RoundTrip(round_trip),
                        None => Note::Distance(ranked.distance_km, ranked.biased_km),
                    },
                    (Measure::Fixed | Measure::Drawn, None) => Note::Kept,
                },
                Stage::Fence | Stage::Capacity | Stage::Health => return None,
            };
            Some(Noted { region: grounds.region_name(ranked.region), note })
        });
        let steps = grounds.way().filter(|_| stage == Stage::Capacity).map_or(&[][..], |way| way.steps);
        let shares = steps.iter().filter_map(move |step| {
            let percent = grounds.load_percent(usize::from(step.tier), step.region)?;
            Some(Noted { region: grounds.region_name(usize::from(step.region)), note: Note::Percent(percent) })
        });
        // Those that were not needed it has nothing to say of.
        let is_judged = move |group: &Considered<'_>| stage == Stage::Health && group.fate != Fate::Standby;
        let groups = grounds.all_groups().filter(is_judged).map(move |considered| {
            let note = Note::Group {
                healthy: considered.healthy(),
                allowed: considered.candidates.allowed,
                pool: grounds.failover_pool_name(considered.group),
                fate: grounds.fate_note(&considered),
            };
            Noted { region: grounds.region_name(usize::from(considered.region)), note }
        });
        in_order.chain(shares).chain(groups)
    }

    /// The regions that it takes out.
    pub fn left_out(&self) -> impl Iterator<Item = &'g str> {
        let Self { stage, grounds } = *self;
        let outside = grounds.regions_outside().filter(move |_| stage == Stage::Fence);
        let unfit = grounds.all_groups().filter_map(move |considered| {
            let is_out = stage == Stage::Health && matches!(considered.fate, Fate::PassedOver | Fate::Empty);
            is_out.then(|| grounds.region_name(usize::from(considered.region)))
        });
        outside.chain(unfit)
    }
}

/// Shows by what a stage goes.
#[derive(Debug)]
pub struct Rule<'g>(Filtered<'g>);

impl Display for Rule<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(Filtered { stage, grounds }) = self;
        match stage {
            Stage::Fence => match grounds.ruling() {
                Some(ruling) if grounds.is_fenced() => ruling.fmt(f),
                _ => f.write_str("none"),
            },
            Stage::Claims => match grounds.ranked().find_map(|ranked| ranked.claim) {
                Some(_) => f.write_str("the more specific first"),
                None => f.write_str("none"),
            },
            Stage::Measure => {
                let is_measured = grounds.ranked().any(|ranked| ranked.round_trip.is_some());
                f.write_str(grounds.steering_name())?;
                match grounds.measure() {
                    Measure::Latency if !is_measured => f.write_str(", but too little is measured, so by distance"),
                    _ => Ok(()),
                }
            }
            Stage::Capacity => match grounds.way() {
                None => f.write_str("none"),
                Some(way) if way.is_displaced => f.write_str("spread by room"),
                Some(_) => f.write_str("as far as there is room"),
            },
            Stage::Health => match grounds.choice() {
                Some(_) if grounds.is_ordered() => f.write_str("the first that can serve"),
                Some(_) => f.write_str("one of those that can serve"),
                None => f.write_str("nothing can serve"),
            },
        }
    }
}

impl Display for Filtered<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.rule().fmt(f)?;
        let mut separator = ": ";
        for Noted { region, note } in self.regions().take(MAX_SHOWN) {
            write!(f, "{separator}{region}{note}")?;
            // Why one claims, or is passed over, has commas of its own.
            separator = if matches!(self.stage, Stage::Claims | Stage::Health) { "; " } else { ", " };
        }
        match self.regions().skip(MAX_SHOWN).count() {
            0 => {}
            more => write!(f, " and {more} more")?,
        }
        // Health says with each region what became of it.
        let mut separator = "; leaves out ";
        for region in self.left_out().filter(|_| self.stage != Stage::Health) {
            write!(f, "{separator}{region}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// As it follows a region's name.
impl Display for Note<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => Ok(()),
            Self::Claim(claim) => write!(f, " by {claim}"),
            Self::Distance(None, _) => f.write_str(" ? km"),
            Self::Distance(Some(distance_km), biased_km) => {
                write!(f, " {distance_km:.0} km")?;
                match biased_km {
                    Some(biased_km) if biased_km.round() != distance_km.round() => {
                        write!(f, " as {biased_km:.0} km")
                    }
                    _ => Ok(()),
                }
            }
            Self::RoundTrip(round_trip) => write!(f, " {round_trip}"),
            Self::Weight(weight) => write!(f, " weight {weight}"),
            Self::Percent(percent) => write!(f, " {percent:.1} % of these clients"),
            Self::Group { healthy, allowed, pool, fate } => {
                if let Some(pool) = pool {
                    write!(f, " (pool {pool})")?;
                }
                match fate.fate {
                    Fate::Empty => write!(f, " {fate}"),
                    _ => write!(f, " {healthy} of {allowed} {fate}"),
                }
            }
        }
    }
}

impl Display for FateNote<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.fate, self.lacking) {
            (Fate::Chosen, _) => f.write_str("chosen"),
            (Fate::PassedOver, Some(family)) => {
                write!(f, "passed over, as its {family} endpoints are not healthy enough")
            }
            (Fate::PassedOver, None) => f.write_str("passed over"),
            (Fate::Standby, _) => f.write_str("not needed"),
            (Fate::Empty, _) if self.has_candidates => f.write_str("weight 0, so never drawn"),
            (Fate::Empty, _) => f.write_str("nothing to serve with"),
        }
    }
}
