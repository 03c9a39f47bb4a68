//! Tables of winners for the long lists from which clients stick to endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use super::{Compiled, GroupKind, Layout};
use crate::config::{Balance, EndpointState};
use crate::routing::Family;
use crate::routing::balance::base_weight;
use crate::routing::balance::rendezvous::Table;

/// Lists up to this long do without: all their endpoints are asked at each query.
const LONGEST_ASKED: usize = 12;
/// The most tables, which together take 64 MiB. The longest lists get one; even with as many endpoints as there can be, no
/// other is longer than 390 then, which takes a query about a microsecond.
const MAX_TABLES: usize = 256;

/// What a table is built of: a group, the family as [`Family::index`], and whether all weigh the same.
type Key = (u32, usize, bool);

/// The tables that were built, so that none is built anew while one of the same endpoints serves.
#[derive(Debug, Default)]
pub(super) struct Tables(Vec<Weak<Table>>);

impl Tables {
    fn get(&mut self, members: &[(u64, u32)]) -> Arc<Table> {
        let mut alive = self.0.iter().filter_map(Weak::upgrade);
        let same = alive.find(|table| table.members() == members);
        same.unwrap_or_else(|| {
            let table = Arc::new(Table::build(members));
            self.0.push(Arc::downgrade(&table));
            table
        })
    }
}

/// Gives layouts their tables. Those that differ only in how they weigh what is known of endpoints share one.
pub(super) fn add(compiled: &mut Compiled, tables: &mut Tables) {
    let layouts = compiled.layouts.iter().filter(|layout| is_run(layout));
    let keys: BTreeSet<Key> =
        layouts.flat_map(|layout| [0, 1].map(|family| (layout.group, family, is_even(layout.balance)))).collect();
    let lists = keys.into_iter().map(|key| (key, members(compiled, key)));
    let mut long: Vec<(Key, Vec<(u64, u32)>)> = lists.filter(|(_, members)| members.len() > LONGEST_ASKED).collect();
    long.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    long.truncate(MAX_TABLES);
    tables.0.retain(|table| table.strong_count() > 0);
    let winners: BTreeMap<Key, Arc<Table>> =
        long.into_iter().map(|(key, members)| (key, tables.get(&members))).collect();
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::reload::{Loader, Origin};

    #[test]
    fn a_reload_builds_no_table_anew() {
        let endpoints: Vec<String> =
            (1..=20).map(|host| format!("{{ region = \"r\", address = \"192.0.2.{host}\" }}")).collect();
        let mut loader = Loader::new(Origin::Embedded(format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[regions.r]\nlocation = [0, 0]\n[pools.p]\nendpoints = [{}]\n\
             [zones.\"example.com\"]\nnameservers = [\"ns.example.net\"]\n\
             [services.\"a.example.com\"]\npool = \"p\"\nsticky = true\n",
            endpoints.join(", ")
        )));
        let first = loader.load().unwrap().compiled;
        let second = loader.load().unwrap().compiled;
        let [first, second] = [first, second].map(|compiled| compiled.layouts[0].winners[0].clone().unwrap());
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn a_table_is_of_the_same_endpoints_and_weights() {
        let mut tables = Tables::default();
        let first = tables.get(&[(1, 1), (2, 1)]);
        assert!(Arc::ptr_eq(&first, &tables.get(&[(1, 1), (2, 1)])));
        for others in [&[(1, 1), (2, 2)][..], &[(2, 1), (1, 1)], &[(1, 1)], &[(1, 1), (3, 1)]] {
            let other = tables.get(others);
            assert!(!Arc::ptr_eq(&first, &other));
            assert_eq!(other.members(), others);
        }
        drop(first);
        assert!(tables.0.iter().all(|table| table.strong_count() == 0), "what serves no more takes no memory");
    }
}
