//! Networks that the operator lists: which is the longest around a client.

use std::net::IpAddr;

use ipnet::IpNet;

use super::address_table::Fold;
use super::table::{RangeTable, RangeTableBuilder, cover};

/// Networks, numbered from 1 in the order in which they are given; 0 is none. No two are equal.
#[derive(Debug, Clone)]
pub(super) struct NetworkTable {
    /// The numbers by address.
    pub(super) ipv4: RangeTable<u32>,
    /// Likewise; an IPv4 client inside IPv6 is found by its own IPv6 address.
    pub(super) ipv6: RangeTable<u128>,
    /// The prefix length of each.
    lengths: Vec<u8>,
}

impl NetworkTable {
    pub(super) fn new(networks: impl Iterator<Item = IpNet>) -> Self {
        let (mut ipv4, mut ipv6, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for (network, number) in networks.zip(1..) {
            match network {
                IpNet::V4(cidr) => ipv4.push((cidr.network().to_bits(), cidr.broadcast().to_bits(), number)),
                IpNet::V6(cidr) => ipv6.push((cidr.network().to_bits(), cidr.broadcast().to_bits(), number)),
            }
            lengths.push(network.prefix_len());
        }
        Self { ipv4: cover(ipv4), ipv6: cover(ipv6), lengths }
    }

    /// This number if the network is as long as the fold's own prefix, as only then it says anything of the IPv4 clients in
    /// it; else 0.
    pub(super) fn inside(&self, fold: Fold, number: u32) -> u32 {
        let length = (number as usize).checked_sub(1).and_then(|index| self.lengths.get(index));
        if length.is_some_and(|&length| length >= fold.network().1) { number } else { 0 }
    }

    /// The number of the longest network that a client is in. Of an IPv4 client inside IPv6 it may hold either address.
    pub(super) fn find(&self, client: IpAddr) -> u32 {
        let address = match client {
            IpAddr::V4(address) => return self.ipv4.lookup(address.to_bits()).0,
            IpAddr::V6(address) => address.to_bits(),
        };
        let number = self.ipv6.lookup(address).0;
        let Some(fold) = Fold::of(address) else { return number };
        match self.inside(fold, number) {
            0 => self.ipv4.lookup(fold.client(address).0).0,
            number => number,
        }
    }
}

impl Default for NetworkTable {
    fn default() -> Self {
        Self { ipv4: RangeTableBuilder::new(0).finish(), ipv6: RangeTableBuilder::new(0).finish(), lengths: Vec::new() }
    }
}
