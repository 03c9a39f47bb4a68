//! Tables of winners for the long lists from which clients stick to endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Compiled, GroupKind, Layout};
use crate::config::{Balance, EndpointState};
use crate::routing::Family;
use crate::routing::balance::rendezvous::Table;
use crate::routing::balance::{Winners, base_weight};

/// Lists up to this long do without: all their endpoints are asked at each query.
const LONGEST_ASKED: usize = 12;
/// The most tables, which together take 64 MiB. The longest lists get one; even with as many endpoints as there can be, no
/// other is longer than 390 then, which takes a query about a microsecond.
const MAX_TABLES: usize = 256;

/// What a table is built of: a group, the family as [`Family::index`], and whether all weigh the same.
type Key = (u32, usize, bool);

/// Gives layouts their tables. Those that differ only in how they weigh what is known of endpoints share one.
pub(super) fn add(compiled: &mut Compiled) {
    let layouts = compiled.layouts.iter().filter(|layout| is_run(layout));
    let keys: BTreeSet<Key> =
        layouts.flat_map(|layout| [0, 1].map(|family| (layout.group, family, is_even(layout.balance)))).collect();
    let lists = keys.into_iter().map(|key| (key, members(compiled, key)));
    let mut long: Vec<(Key, Vec<(u64, u32)>)> = lists.filter(|(_, members)| members.len() > LONGEST_ASKED).collect();
    long.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    long.truncate(MAX_TABLES);
    let winners: BTreeMap<Key, Winners> = long
        .into_iter()
        .map(|(key, members)| (key, Winners { table: Arc::new(Table::build(&members)), count: members.len() }))
        .collect();
    for layout in compiled.layouts.iter_mut().filter(|layout| is_run(layout)) {
        let key = |family| (layout.group, family, is_even(layout.balance));
        layout.winners = [0, 1].map(|family| winners.get(&key(family)).cloned());
    }
}

/// Whether clients of it find their endpoints by a race.
fn is_run(layout: &Layout) -> bool {
    layout.sticky.is_some() && layout.balance != Balance::IpHash
}

fn is_even(balance: Balance) -> bool {
    base_weight(balance, 2) == 1
}

/// The identity and the weight of all endpoints that a list may have; those of hostnames are of the first family.
fn members(compiled: &Compiled, (group, family, is_even): Key) -> Vec<(u64, u32)> {
    let group = &compiled.groups[group as usize];
    let endpoints = compiled.endpoints[group.endpoints.start as usize..group.endpoints.end as usize].iter();
    let of_family = endpoints.filter(|endpoint| match group.kind {
        GroupKind::Hostnames => family == 0,
        GroupKind::Addresses => endpoint.address().is_some_and(|address| Family::of(address).index() == family),
    });
    let may_serve = of_family.filter(|endpoint| endpoint.weight > 0 && endpoint.state != EndpointState::Disabled);
    may_serve.map(|endpoint| (endpoint.identity, if is_even { 1 } else { endpoint.weight })).collect()
}
