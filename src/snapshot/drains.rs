//! When endpoints began to drain, or will.

use std::collections::HashMap;

use super::{Compiled, Group};
use crate::config::{EndpointState, Target};
use crate::routing::live::Drain;

/// For each endpoint, by its index, since when or from when on it drains.
#[derive(Debug, Default)]
pub(super) struct Drains {
    plans: Vec<Option<Plan>>,
}

/// Times in seconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Plan {
    begins: u32,
    ends: u32,
    /// Whether it waits for its time. What the operator set to drain does so even where the clock is set back.
    is_planned: bool,
}

impl Drains {
    /// Those of a configuration that is loaded now. What drained already, in this region of this pool, began when it did, be it
    /// by its state or as planned.
    pub(super) fn new(compiled: &Compiled, before: Option<(&Compiled, &Self)>, unix_seconds: u32) -> Self {
        let mut began: HashMap<(&str, &str, &Target), u32> = HashMap::new();
        if let Some((compiled, drains)) = before {
            began.extend(endpoints(compiled).filter_map(|(identity, index)| {
                let plan = drains.plans.get(index).copied().flatten()?;
                (is_draining(compiled, index) || plan.begins <= unix_seconds).then_some((identity, plan.begins))
            }));
        }
        let plans = endpoints(compiled).map(|(identity, index)| {
            let begins = if is_draining(compiled, index) {
                began.get(&identity).copied().unwrap_or(unix_seconds)
            } else {
                compiled.endpoints[index].drain_at?
            };
            Some((index, begins))
        });
        let plans = plans.map(|plan| {
            let (index, begins) = plan?;
            let ends = begins.saturating_add(compiled.endpoints[index].drain_seconds);
            Some(Plan { begins, ends, is_planned: !is_draining(compiled, index) })
        });
        Self { plans: plans.collect() }
    }

    /// How it stands with an endpoint at a time, by the configuration.
    pub(super) fn of(&self, endpoint: u32, unix_seconds: u32) -> Drain {
        match self.plans.get(endpoint as usize).copied().flatten() {
            None => Drain::None,
            Some(Plan { begins, is_planned: true, .. }) if unix_seconds < begins => Drain::Planned(begins),
            Some(Plan { ends, .. }) if unix_seconds < ends => Drain::UnderWay,
            Some(_) => Drain::Over,
        }
    }

    /// Whether time, or a clock that is set, may change how it stands with an endpoint.
    pub(super) fn moves(&self, endpoint: u32, unix_seconds: u32) -> bool {
        let plan = self.plans.get(endpoint as usize).copied().flatten();
        plan.is_some_and(|plan| plan.is_planned || unix_seconds < plan.ends)
    }
}

fn is_draining(compiled: &Compiled, endpoint: usize) -> bool {
    compiled.endpoints[endpoint].state == EndpointState::Draining
}

/// The endpoints by index, each with the names of its pool and its region, and where it leads.
fn endpoints(compiled: &Compiled) -> impl Iterator<Item = ((&str, &str, &Target), usize)> {
    let config = &compiled.config;
    let of_group = move |group: &Group| {
        let (pool, region) = (&config.pools[group.pool].name, &config.regions[usize::from(group.region)].name);
        let range = group.endpoints.start as usize..group.endpoints.end as usize;
        range.map(move |index| ((pool.as_str(), region.as_str(), &compiled.endpoints[index].destination), index))
    };
    compiled.groups.iter().flat_map(of_group)
}
