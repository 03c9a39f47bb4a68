//! What may be answered now: verdicts, weights and loads laid out for drawing.
//!
//! A list is laid out anew only where something that it was made of has changed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::balance::adaptive::{Controller, Sight, weigh_by_capacity};
use super::balance::rendezvous::Table;
use super::balance::{self, Laid, Member, Method};
use super::{Family, Flows};
use crate::config::{Adaptive, Balance, EndpointState};
pub use crate::health::Load;
use crate::health::Verdict;
use crate::health::overrides::Said;
use crate::snapshot::{Compiled, Endpoint, GroupKind, Layout, Service, Tier};

/// A share of 1: shares are fractions of it.
pub const WHOLE: u32 = 1 << 16;

/// What is known of an endpoint when its lists are laid out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// What counts of it: what its inputs say, as far as the limits allow, or an operator.
    pub verdict: Verdict,
    /// Seconds until the verdict can change at the earliest, while a streak runs against it.
    pub flip_seconds: Option<u32>,
    /// The part of its weight that counts now, as a fraction of [`WHOLE`]: less where its health is poor, while it warms up
    /// after a recovery and while its circuit breaker is half-open. 0 while the breaker is open, as though it were down.
    pub share: u32,
    /// What it says of its load, as far as that is fresh.
    pub load: Load,
    /// Whether it drains.
    pub drain: Drain,
    /// Whether its share is about to change by itself: it warms up, or its half-open breaker will close or open.
    pub settles: bool,
    /// Whether the verdict is an operator's.
    pub is_said: bool,
}

/// Whether an endpoint drains.
///
/// ```text
///     none ──(drain_at is set)──▶ planned ──(its time comes)──▶ under way ──(drain_time passes)──▶ over
///      └────────────────(state is \"draining\")────────────────────▲
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drain {
    /// It doesn't, as far as is known.
    None,
    /// It will, from this second since 1970 on.
    Planned(u32),
    /// New clients go elsewhere, but those whom a sticky balance holds stay.
    UnderWay,
    /// Nobody is sent there; so too where an operator disables it.
    Over,
}

impl Standing {
    /// Of an endpoint without a probe, of which nothing is known.
    pub const UNPROBED: Self = Self {
        verdict: Verdict::Up,
        flip_seconds: None,
        share: WHOLE,
        load: Load {
            connections: None,
            utilization: None,
            response_ms: None,
            error_rate: None,
            requests_per_second: None,
        },
        drain: Drain::None,
        settles: false,
        is_said: false,
    };

    /// With what operators say of it in the second `unix_seconds` since 1970, where a drain takes so many. A verdict of theirs stays
    /// that is here already, as it was said of something more specific.
    #[must_use]
    pub fn under(self, said: &Said, drain_seconds: u32, unix_seconds: u32) -> Self {
        let mut standing = match said.verdict {
            Some(verdict) if !self.is_said => {
                Self { verdict, flip_seconds: None, share: WHOLE, settles: false, is_said: true, ..self }
            }
            _ => self,
        };
        let drain = match said.drain_ends(drain_seconds) {
            _ if said.is_disabled => Drain::Over,
            Some(ends) if ends <= unix_seconds.into() => Drain::Over,
            Some(_) => Drain::UnderWay,
            None => Drain::None,
        };
        standing.drain = standing.drain.max(drain);
        standing
    }

    /// Whether it is healthy enough to be answered.
    pub fn is_healthy(&self) -> bool {
        self.verdict.serves() && self.share > 0
    }
}

/// The candidates of every layout, by its index in [`Compiled::layouts`].
#[derive(Debug, Clone, Default)]
pub struct Live {
    lists: Vec<Arc<Endpoints>>,
    /// What adaptive balances chose, by layout.
    adaptive: BTreeMap<u32, Arc<Controller>>,
    flows: Arc<Flows>,
    /// By service, of those that an operator's word is on; empty where there is none.
    own: Vec<Option<Own>>,
}

/// What a service has in place of the lists that it shares with others.
#[derive(Debug, Clone)]
struct Own {
    /// The word on it.
    said: Said,
    /// Tier by tier, one for each group of the tier's pool.
    lists: Box<[Box<[Arc<Endpoints>]>]>,
}

/// A word on a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceWord {
    /// Index of the service.
    pub service: usize,
    /// What it says of each of its endpoints.
    pub said: Said,
}

/// The candidates of one pool in one region.
#[derive(Debug)]
pub enum Endpoints {
    /// IPv4 and IPv6 addresses, by [`Family::index`].
    Addresses([Candidates; 2]),
    /// Hostnames, which serve both families.
    Hostnames(Candidates),
}

/// How many of a group's endpoints are healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// None.
    None,
    /// Some, but fewer than the pool's `min_healthy`.
    Few,
    /// At least `min_healthy`.
    Enough,
}

/// Endpoints to draw from: the healthy ones, or, where none is, all that the operator lets serve.
#[derive(Debug)]
pub struct Candidates {
    /// Endpoints that weigh something, in file order.
    pub list: Box<[Candidate]>,
    /// How one is picked.
    pub method: Method,
    /// What the operator says that they weigh together, as far as it counts now, whatever the balance makes of that.
    pub weight_together: u64,
    /// Whether the list is of healthy endpoints, and whether they are enough.
    pub health: Health,
    /// Whether the group's endpoints of the other family, if it has any, are healthy enough too: then A and AAAA lead to the
    /// same region.
    pub other_family_serves: bool,
    /// Whether the group has any endpoint of the other family that may be answered.
    pub has_other_family: bool,
    /// Seconds until the verdict of an endpoint here can change at the earliest; `u32::MAX` while none is near that.
    pub flip_seconds: u32,
    /// When an endpoint here begins to drain, in seconds since 1970; `u32::MAX` where none is to.
    pub drains_at: u32,
    /// Whether weights here are about to change by themselves: an endpoint warms up, or its breaker is half-open.
    pub settles: bool,
    /// How many the operator lets serve, healthy or not.
    pub allowed: u32,
}

/// One endpoint to draw.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// The weights of the list up to and including this one, as they count now.
    pub cumulative_weight: u64,
    /// Index into [`Compiled::endpoints`].
    pub endpoint: u32,
    /// How busy it is beside the others, for methods that compare; less is better.
    pub load: u32,
    /// The address's octets; 4 of them for IPv4, none for a hostname.
    pub address: [u8; 16],
}

impl Candidates {
    /// What [`Self::fitness`] can't exceed.
    pub const FITTEST: (Health, bool) = (Health::Enough, true);

    /// How well they can serve; more is better.
    pub fn fitness(&self) -> (Health, bool) {
        (self.health, self.health == Health::Enough && self.other_family_serves)
    }

    /// Whether the group serves both families, each with enough healthy endpoints. To none but such a one a group yields of which
    /// the other family alone is down: elsewhere A and AAAA would part too.
    pub fn serves_both(&self) -> bool {
        self.has_other_family && self.fitness() == Self::FITTEST
    }

    /// The sum of all weights.
    pub fn total_weight(&self) -> u64 {
        self.list.last().map_or(0, |last| last.cumulative_weight)
    }

    /// The weight of one.
    pub fn weight(&self, index: usize) -> u64 {
        let before = if index == 0 { 0 } else { self.list[index - 1].cumulative_weight };
        self.list[index].cumulative_weight - before
    }
}

impl Live {
    /// Lays out every list at `now`. `standing` tells of an endpoint, by its index in [`Compiled::endpoints`]. Adaptive balances go
    /// on from what was chosen `before` for the same pool, region and settings.
    pub fn build(
        compiled: &Compiled,
        standing: impl Fn(u32) -> Standing,
        before: Option<(&Compiled, &Self)>,
        now: Instant,
    ) -> Self {
        let mut earlier: BTreeMap<(&str, &str), Vec<(&Layout, &Controller)>> = BTreeMap::new();
        if let Some((compiled, live)) = before {
            for (index, controller) in &live.adaptive {
                let layout = &compiled.layouts[*index as usize];
                earlier.entry(place(compiled, layout)).or_default().push((layout, controller));
            }
        }
        let mut live = Self::default();
        for (index, layout) in (0..).zip(&compiled.layouts) {
            let mut of_place = earlier.get(&place(compiled, layout)).into_iter().flatten();
            let same = of_place.find(|(old, _)| (old.balance, old.sticky) == (layout.balance, layout.sticky));
            let endpoints = live.lay_out(compiled, index, same.map(|(_, controller)| *controller), &standing, now);
            live.lists.push(Arc::new(endpoints));
        }
        live
    }

    /// Lays out anew at `now` those lists in whose groups an endpoint has changed, and those whose adaptive balance is due to
    /// choose again; the others stay as they are. `changed` is ascending.
    #[must_use]
    pub fn updated(
        &self,
        compiled: &Compiled,
        standing: impl Fn(u32) -> Standing,
        changed: &[u32],
        now: Instant,
    ) -> Self {
        let mut next = self.clone();
        for (index, layout) in (0..).zip(&compiled.layouts) {
            let controller = self.adaptive.get(&index).map(Arc::as_ref);
            let endpoints = &compiled.groups[layout.group as usize].endpoints;
            let first = changed.partition_point(|endpoint| *endpoint < endpoints.start);
            if changed.get(first).is_some_and(|endpoint| *endpoint < endpoints.end)
                || controller.is_some_and(|controller| controller.is_due(now))
            {
                next.lists[index as usize] = Arc::new(next.lay_out(compiled, index, controller, &standing, now));
            }
        }
        next
    }

    /// These lists, which were made of `before`, but those of `latest` where others laid them out anew meanwhile; and its flows.
    #[must_use]
    pub(crate) fn beside(mut self, before: &Self, latest: &Self) -> Self {
        let others = (0..).zip(&mut self.lists).zip(before.lists.iter().zip(&latest.lists));
        for ((index, list), (before, latest_list)) in others {
            if !Arc::ptr_eq(before, latest_list) {
                *list = Arc::clone(latest_list);
                self.adaptive.extend(latest.adaptive.get(&index).map(|chosen| (index, Arc::clone(chosen))));
            }
        }
        Self { flows: Arc::clone(&latest.flows), own: latest.own.clone(), ..self }
    }

    /// Whether an adaptive balance is to choose again though nothing has changed: then [`Self::updated`] lets it.
    pub fn is_due(&self, now: Instant) -> bool {
        self.adaptive.values().any(|controller| controller.is_due(now))
    }

    /// What an adaptive balance chose for a layout, and why; nothing for other balances.
    pub fn adaptive(&self, layout: u32) -> Option<&Controller> {
        self.adaptive.get(&layout).map(Arc::as_ref)
    }

    /// Where the clients of services that are steered by load go.
    pub fn flows(&self) -> &Flows {
        &self.flows
    }

    /// Has these flows from now on.
    pub(crate) fn set_flows(&mut self, flows: Flows) {
        self.flows = Arc::new(flows);
    }

    /// The candidates of a layout for a family.
    pub fn candidates(&self, layout: u32, family: Family) -> &Candidates {
        self.lists[layout as usize].of(family)
    }

    /// The candidates of a layout for a family, as a service sees them that has it in this tier.
    pub fn candidates_of(&self, service: &Service, tier: usize, layout: u32, family: Family) -> &Candidates {
        match self.own.get(service.index) {
            Some(Some(own)) => own.lists[tier][(layout - service.tiers[tier].first_layout) as usize].of(family),
            _ => self.candidates(layout, family),
        }
    }

    /// What operators say of a service, by its index, beside what they say of its endpoints.
    pub fn said_of(&self, service: usize) -> Said {
        self.own.get(service).and_then(Option::as_ref).map_or_else(Said::default, |own| own.said)
    }

    /// Lays out the lists of the services that these words are on, as of a second since 1970: those on which the word is another, and
    /// those in whose groups an endpoint has changed, or all where nobody says which have. `changed` is ascending.
    pub(crate) fn obey(
        &mut self,
        compiled: &Compiled,
        words: &[ServiceWord],
        standing: impl Fn(u32) -> Standing,
        changed: Option<&[u32]>,
        (now, unix_seconds): (Instant, u32),
    ) {
        let mut before = std::mem::take(&mut self.own);
        for ServiceWord { service: index, said } in words {
            let service = &compiled.services[*index];
            let has_changed = |tier: &Tier| {
                changed.is_none_or(|changed| {
                    let endpoints = compiled.endpoints_of(tier.pool);
                    let first = changed.partition_point(|endpoint| *endpoint < endpoints.start);
                    changed.get(first).is_some_and(|endpoint| *endpoint < endpoints.end)
                })
            };
            let under = |endpoint: u32| {
                standing(endpoint).under(said, compiled.endpoints[endpoint as usize].drain_seconds, unix_seconds)
            };
            let lay_out = |tier: &Tier| {
                let groups = compiled.pools[tier.pool].groups.len() as u32;
                let layouts = tier.first_layout..tier.first_layout + groups;
                let lists = layouts.map(|layout| {
                    Arc::new(Self::default().lay_out(compiled, layout, self.adaptive(layout), &under, now))
                });
                lists.collect()
            };
            let own = match before.get_mut(*index).and_then(Option::take) {
                Some(own) if own.said == *said && !service.tiers.iter().any(has_changed) => own,
                _ => Own { said: *said, lists: service.tiers.iter().map(lay_out).collect() },
            };
            self.own.resize(compiled.services.len(), None);
            self.own[*index] = Some(own);
        }
    }

    /// Lays out one list, and keeps what its adaptive balance chose in place of `before`.
    fn lay_out(
        &mut self,
        compiled: &Compiled,
        index: u32,
        before: Option<&Controller>,
        standing: &impl Fn(u32) -> Standing,
        now: Instant,
    ) -> Endpoints {
        let layout = &compiled.layouts[index as usize];
        let mut lists: [Allowed; 2] = match compiled.groups[layout.group as usize].kind {
            GroupKind::Hostnames => [Allowed::find(compiled, layout, None, standing), Allowed::default()],
            GroupKind::Addresses => {
                [Family::V4, Family::V6].map(|family| Allowed::find(compiled, layout, Some(family), standing))
            }
        };
        let balance = match layout.balance {
            Balance::Adaptive(settings) => self.adapt(settings, index, before, &mut lists, now),
            balance => balance,
        };
        let [first_winners, second_winners] = layout.winners.each_ref().map(Option::as_ref);
        let lay_out = |list: Allowed, winners| list.lay_out(compiled, layout, balance, winners);
        let [v4, v6] = lists;
        match compiled.groups[layout.group as usize].kind {
            GroupKind::Hostnames => Endpoints::Hostnames(lay_out(v4, first_winners)),
            GroupKind::Addresses => {
                let (mut v4, mut v6) = (lay_out(v4, first_winners), lay_out(v6, second_winners));
                let serves =
                    |candidates: &Candidates| candidates.list.is_empty() || candidates.health == Health::Enough;
                (v4.other_family_serves, v6.other_family_serves) = (serves(&v6), serves(&v4));
                (v4.has_other_family, v6.has_other_family) = (!v6.list.is_empty(), !v4.list.is_empty());
                Endpoints::Addresses([v4, v6])
            }
        }
    }

    /// Lets an adaptive balance choose for all endpoints of a layout, and say what they weigh.
    fn adapt(
        &mut self,
        settings: Adaptive,
        index: u32,
        before: Option<&Controller>,
        lists: &mut [Allowed; 2],
        now: Instant,
    ) -> Balance {
        let mut members: Vec<&mut Member> =
            lists.iter_mut().flat_map(|list| &mut list.members).map(|(_, member)| member).collect();
        let sight = Sight::of(weigh_by_capacity(&mut members), &members);
        let controller = match before {
            Some(before) => before.seen(&sight, now),
            None => Controller::new(settings, &sight, now),
        };
        let balance = controller.choice().balance();
        self.adaptive.insert(index, Arc::new(controller));
        balance
    }
}

impl Endpoints {
    fn of(&self, family: Family) -> &Candidates {
        match self {
            Self::Addresses(families) => &families[family.index()],
            Self::Hostnames(hostnames) => hostnames,
        }
    }
}

/// The names of a layout's pool and region.
fn place<'c>(compiled: &'c Compiled, layout: &Layout) -> (&'c str, &'c str) {
    let group = &compiled.groups[layout.group as usize];
    let config = &compiled.config;
    (&config.pools[group.pool].name, &config.regions[usize::from(group.region)].name)
}

/// The endpoints of one list that the operator lets serve, healthy or not.
#[derive(Debug)]
struct Allowed {
    /// Each with its index in [`Compiled::endpoints`].
    members: Vec<(u32, Member)>,
    flip_seconds: u32,
    drains_at: u32,
    settles: bool,
}

impl Default for Allowed {
    fn default() -> Self {
        Self { members: Vec::new(), flip_seconds: u32::MAX, drains_at: u32::MAX, settles: false }
    }
}

impl Allowed {
    fn find(compiled: &Compiled, layout: &Layout, family: Option<Family>, standing: &impl Fn(u32) -> Standing) -> Self {
        let endpoints = compiled.groups[layout.group as usize].endpoints.clone();
        // Nearly all are of one family.
        let mut allowed = Self { members: Vec::with_capacity(endpoints.len()), ..Self::default() };
        let mut next_place = 0;
        for index in endpoints {
            let endpoint = &compiled.endpoints[index as usize];
            if endpoint.weight == 0
                || endpoint.state == EndpointState::Disabled
                || endpoint.address().map(Family::of) != family
            {
                continue;
            }
            let place = next_place;
            next_place += 1;
            let standing = standing(index);
            match standing.drain {
                Drain::UnderWay if layout.sticky.is_none() => continue,
                Drain::Over => continue,
                Drain::Planned(begins) => allowed.drains_at = allowed.drains_at.min(begins),
                Drain::None | Drain::UnderWay => {}
            }
            allowed.settles |= standing.settles && standing.is_healthy();
            allowed.flip_seconds = allowed.flip_seconds.min(standing.flip_seconds.unwrap_or(u32::MAX));
            let Endpoint { identity, weight, capacity, .. } = *endpoint;
            let capacity = capacity.map(|capacity| capacity.most);
            allowed.members.push((index, Member { identity, place, weight, capacity, standing }));
        }
        allowed
    }

    fn lay_out(
        mut self,
        compiled: &Compiled,
        layout: &Layout,
        balance: Balance,
        winners: Option<&Arc<Table>>,
    ) -> Candidates {
        let pool = compiled.groups[layout.group as usize].pool;
        let healthy = self.members.iter().filter(|(_, member)| member.standing.is_healthy()).count();
        let health = match healthy {
            0 => Health::None,
            count if count < usize::from(compiled.pools[pool].min_healthy) => Health::Few,
            _ => Health::Enough,
        };
        let allowed = self.members.len() as u32;
        if health == Health::None {
            // What is answered although it is down is answered as though it were up, but nobody is sent to what drains.
            self.members.retain(|(_, member)| member.standing.drain != Drain::UnderWay);
            self.members.iter_mut().for_each(|(_, member)| member.standing.share = WHOLE);
        } else {
            self.members.retain(|(_, member)| member.standing.is_healthy());
        }
        let (indices, members): (Vec<u32>, Vec<Member>) = self.members.into_iter().unzip();
        let (method, weights) = balance::lay_out(balance, layout.sticky, &members, winners);
        let together = indices.iter().zip(&members).map(|(endpoint, member)| {
            u64::from(compiled.endpoints[*endpoint as usize].weight) * u64::from(member.standing.share)
        });
        let weight_together: u64 = together.sum();
        let mut cumulative_weight = 0;
        let list = indices.into_iter().zip(weights).map(|(endpoint, Laid { weight, load })| {
            cumulative_weight += weight;
            let address = compiled.endpoints[endpoint as usize].address().map(padded).unwrap_or_default();
            Candidate { cumulative_weight, endpoint, load, address }
        });
        Candidates {
            list: list.collect(),
            method,
            weight_together,
            health,
            other_family_serves: true,
            has_other_family: false,
            flip_seconds: self.flip_seconds,
            drains_at: self.drains_at,
            settles: self.settles,
            allowed,
        }
    }
}

fn padded(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut padded = [0; 16];
            padded[..4].copy_from_slice(&address.octets());
            padded
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::reload::{Loader, Origin};

    /// Two services whose balances adapt, one of which waits longer, and one whose clients stick to many endpoints.
    fn compiled(text: &str) -> Compiled {
        let many: Vec<String> = (1..=30)
            .map(|host| format!("{{ region = \"r\", address = \"192.0.2.{host}\", weight = {} }}", host % 2 + 1))
            .collect();
        let text = format!(
            r#"
[server]
listen = ["127.0.0.1:0"]
[regions.r]
location = [0, 0]
[pools.web]
endpoints = [{{ region = "r", address = "192.0.2.1" }}, {{ region = "r", address = "2001:db8::1" }}]
[pools.many]
endpoints = [{}]
[zones."example.com"]
nameservers = ["ns.example.net"]
[services."a.example.com"]
pool = "web"
balance = "adaptive"
[services."b.example.com"]
pool = "web"
balance = "adaptive"
adaptive = {{ hold = "60s" }}
[services."c.example.com"]
pool = "many"
balance = "random"
sticky = true
[services."d.example.com"]
pool = "many"
balance = "round-robin"
sticky = {{ v4 = 16 }}
[services."e.example.com"]
pool = "many"
sticky = true
[services."f.example.com"]
pool = "many"
{text}
"#,
            many.join(", ")
        );
        Loader::new(Origin::Embedded(text)).load().unwrap().compiled
    }

    #[test]
    fn an_adaptive_balance_chooses_when_lists_are_laid_out_and_goes_on_over_a_reload() {
        let utilization = Cell::new(0.1);
        let standing = |_| {
            let mut standing = Standing::UNPROBED;
            standing.load.utilization = Some(utilization.get());
            standing
        };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let compiled_first = compiled("");
        let chosen = |compiled: &Compiled, live: &Live| {
            [0, 1].map(|service: usize| {
                let layout = compiled.services[service].tiers[0].first_layout;
                let name = live.adaptive(layout).unwrap().choice().balance().name();
                let is_in_turn = |family| matches!(live.candidates(layout, family).method, Method::RoundRobin);
                assert_eq!([is_in_turn(Family::V4), is_in_turn(Family::V6)], [name == "round-robin"; 2]);
                name
            })
        };
        let live = Live::build(&compiled_first, standing, None, start);
        assert_eq!(chosen(&compiled_first, &live), ["round-robin"; 2]);

        let all: Vec<u32> = (0..compiled_first.endpoints.len() as u32).collect();
        // Both are held back, and due one after the other though nothing changes any more.
        utilization.set(0.9);
        let live = live.updated(&compiled_first, standing, &all, at(10));
        assert_eq!(chosen(&compiled_first, &live), ["round-robin"; 2]);
        assert!(!live.is_due(at(29)) && live.is_due(at(30)));
        let live = live.updated(&compiled_first, standing, &[], at(30));
        assert_eq!(chosen(&compiled_first, &live), ["least-connections", "round-robin"]);
        assert!(!live.is_due(at(59)) && live.is_due(at(60)));

        // A reload in which layouts move goes on with what was chosen, and with what is held back.
        let compiled_second = compiled("[services.\"0.example.com\"]\npool = \"many\"");
        let live = Live::build(&compiled_second, standing, Some((&compiled_first, &live)), at(40));
        assert_eq!(chosen(&compiled_second, &live), ["least-connections", "round-robin"]);
        let live = live.updated(&compiled_second, standing, &[], at(60));
        assert_eq!(chosen(&compiled_second, &live), ["least-connections"; 2]);
        let first = compiled_second.services[0].tiers[0].first_layout;
        assert_eq!(live.adaptive(first).unwrap().timeline().len(), 2);
    }

    /// By name; each has one region.
    fn candidates<'l>(compiled: &Compiled, live: &'l Live, service: &str) -> &'l Candidates {
        let mut services = compiled.config.services.iter();
        let index = services.position(|config| config.name.to_string().starts_with(service)).unwrap();
        live.candidates(compiled.services[index].tiers[0].first_layout, Family::V4)
    }

    #[test]
    fn an_adaptive_balance_weighs_by_uneven_capacities() {
        let compiled = compiled(
            r#"
[pools.sized]
endpoints = [
  { region = "r", address = "192.0.2.1", capacity = 1000 },
  { region = "r", address = "192.0.2.2", capacity = 250 },
  { region = "r", address = "192.0.2.3", capacity = 250 },
]
[services."sized.example.com"]
pool = "sized"
balance = "adaptive"
[services."told.example.com"]
pool = "sized"
balance = "adaptive"
adaptive = { choice = "round-robin" }
"#,
        );
        let live = Live::build(&compiled, |_| Standing::UNPROBED, None, Instant::now());
        let list = candidates(&compiled, &live, "sized");
        assert!(matches!(list.method, Method::Weighted));
        assert_eq!(balance::chances(list), [4.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0]);
        let together = 3 * u64::from(WHOLE);
        assert_eq!(
            list.weight_together, together,
            "among regions it is what the operator weighs them with that counts"
        );
        assert!(matches!(candidates(&compiled, &live, "told").method, Method::RoundRobin));
    }

    #[test]
    fn when_all_are_down_all_are_answered_as_though_they_were_up() {
        let compiled = compiled("[services.\"g.example.com\"]\npool = \"many\"\nbalance = \"ip-hash\"");
        let build = |standing: Standing| Live::build(&compiled, |_| standing, None, Instant::now());
        let up = build(Standing::UNPROBED);
        let down = build(Standing { verdict: Verdict::Down, share: 0, ..Standing::UNPROBED });
        for service in ["c", "d", "e", "f", "g"] {
            let [up, down] = [&up, &down].map(|live| candidates(&compiled, live, service));
            assert_eq!([up.health, down.health], [Health::Enough, Health::None]);
            assert_eq!(balance::chances(down), balance::chances(up));
            let pick = |from: &Candidates, client: u32| {
                let mut rng = fastrand::Rng::with_seed(u64::from(client));
                let mut draw = balance::Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds: 0 };
                let client = std::net::Ipv4Addr::from_bits(client << 8).into();
                draw.pick(from, 2, &std::sync::atomic::AtomicU32::new(0), client).as_slice().to_vec()
            };
            assert!((0..1000).all(|client| pick(up, client) == pick(down, client)), "{service}");
        }
    }

    #[test]
    fn long_lists_have_tables_which_those_share_that_weigh_alike() {
        let compiled = compiled("");
        let tables: Vec<_> = compiled.services[2..]
            .iter()
            .map(|service| {
                let [first, second] = &compiled.layouts[service.tiers[0].first_layout as usize].winners;
                assert!(second.is_none(), "no endpoint has an IPv6 address");
                first.as_ref().map(|table| (table.members().len(), Arc::as_ptr(table)))
            })
            .collect();
        let [Some(random), Some(round_robin), Some(weighted), None] = tables[..] else { panic!("{tables:?}") };
        assert_eq!((random.0, weighted.0), (30, 30));
        assert_eq!(random, round_robin);
        assert_ne!(random, weighted);
    }
}
