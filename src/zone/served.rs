//! What the configuration serves besides the records of a zone.

use std::collections::HashSet;

use domain::base::ToName;

use super::{Name, NameSlice};

/// The names of zones and services, for checks of a zone's records beside them.
#[derive(Debug, Default)]
pub struct Served {
    zones: HashSet<Name>,
    services: HashSet<Name>,
    /// The names between a service and the apex of its zone, which exist for it (RFC 8020).
    above_services: HashSet<Name>,
}

impl Served {
    /// Of all zones and all services. A service lies in the closest zone that contains its name.
    pub fn new<'a>(zones: impl IntoIterator<Item = &'a Name>, services: impl IntoIterator<Item = &'a Name>) -> Self {
        let zones: HashSet<Name> = zones.into_iter().cloned().collect();
        let services: HashSet<Name> = services.into_iter().cloned().collect();
        let mut above_services: HashSet<Name> = HashSet::new();
        for service in services.iter().filter(|service| !zones.contains(service.for_slice())) {
            for above in service.iter_suffixes().skip(1) {
                if zones.contains(above.for_slice()) || !above_services.insert(above.to_vec()) {
                    break;
                }
            }
        }
        Self { zones, services, above_services }
    }

    /// The octets that a tree keeps of the services' names.
    pub fn octets(&self) -> usize {
        let names = (self.services.len() + self.above_services.len()) * super::tree::NAME_OCTETS;
        names + self.services.iter().map(Name::len).sum::<usize>()
    }

    /// The closest zone that contains a name, by its apex.
    pub(super) fn zone_of<'n>(&self, name: &'n NameSlice) -> Option<&'n NameSlice> {
        suffixes(name).find(|suffix| self.zones.contains(*suffix))
    }

    /// Whether a name is that of a service in this zone.
    pub(super) fn is_service(&self, apex: &Name, name: &NameSlice) -> bool {
        self.services.contains(name) && self.zone_of(name).is_none_or(|zone| zone == apex)
    }

    /// The name whose data stands for a name in this zone: itself where it exists, else the wildcard below the closest
    /// name above it that does (RFC 4592 section 3.3.1). `exists` tells the names that exist for the zone's records.
    pub(super) fn stand_in(&self, apex: &Name, name: &NameSlice, exists: impl Fn(&NameSlice) -> bool) -> Vec<u8> {
        let is_there = |name: &NameSlice| {
            name == apex || exists(name) || self.services.contains(name) || self.above_services.contains(name)
        };
        let mut existing = suffixes(name).skip_while(|suffix| !is_there(suffix));
        match existing.next() {
            Some(encloser) if encloser != name => [b"\x01*", encloser.as_slice()].concat(),
            _ => name.as_slice().to_vec(),
        }
    }

    /// Whether a service gives a name in this zone addresses where the zone has no records but at its apex.
    pub(crate) fn gives_addresses(&self, apex: &Name, name: &Name) -> bool {
        let stand_in = self.stand_in(apex, name.for_slice(), |_| false);
        NameSlice::from_slice(&stand_in).is_ok_and(|stand_in| self.is_service(apex, stand_in))
    }
}

/// A name and those above it, up to the root.
pub(super) fn suffixes(name: &NameSlice) -> impl Iterator<Item = &NameSlice> {
    std::iter::successors(Some(name), |name| {
        let (label, _) = name.as_slice().split_first().filter(|(label, _)| **label > 0)?;
        NameSlice::from_slice(&name.as_slice()[1 + usize::from(*label)..]).ok()
    })
}
