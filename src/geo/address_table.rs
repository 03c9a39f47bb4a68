//! A value for every IPv4 and IPv6 address, with IPv4 clients inside IPv6 folded onto their IPv4 address.

use std::net::IpAddr;

use super::ipv4_table::Ipv4Table;
use super::table::{self, Ipv6Table, Ipv6TableBuilder, RangeTableBuilder};

/// Values are below this; those from here on are the table's own.
pub(super) const MAX_VALUE: u32 = 1 << 31;

/// A range of IPv6 in which addresses stand for IPv4 clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    /// ::ffff:0:0/96, IPv4-mapped addresses (RFC 4291 section 2.5.5.2).
    Mapped,
    /// 64:ff9b::/96, the well-known prefix of translators (RFC 6052).
    Translated,
    /// 2001::/32, Teredo (RFC 4380 section 4): the client's address is the inverse of the last 32 bits.
    Teredo,
    /// 2002::/16, 6to4 (RFC 3056 section 2): the address follows the prefix.
    SixToFour,
}

impl Fold {
    /// All of them, by their first address.
    pub(super) const ALL: [Self; 4] = [Self::Mapped, Self::Translated, Self::Teredo, Self::SixToFour];

    /// The first address and the prefix length.
    pub(super) fn network(self) -> (u128, u8) {
        match self {
            Self::Mapped => (0xffff << 32, 96),
            Self::Translated => (0x0064_ff9b << 96, 96),
            Self::Teredo => (0x2001 << 112, 32),
            Self::SixToFour => (0x2002 << 112, 16),
        }
    }

    /// The one that an address is in.
    pub(super) fn of(address: u128) -> Option<Self> {
        Self::ALL.into_iter().find(|fold| {
            let (first, length) = fold.network();
            (address ^ first) >> (128 - length) == 0
        })
    }

    /// The client's IPv4 address, and how many bits of the IPv6 address come before it.
    pub(super) fn client(self, address: u128) -> (u32, u8) {
        match self {
            Self::Mapped | Self::Translated => (address as u32, 96),
            Self::Teredo => (!(address as u32), 96),
            Self::SixToFour => ((address >> 80) as u32, 16),
        }
    }

    /// What stands for it among the values of an IPv6 table. Each its own, so that no prefix covers two of them.
    fn value(self) -> u32 {
        MAX_VALUE + self as u32
    }

    /// The one that such a value stands for.
    pub(super) fn from_value(value: u32) -> Option<Self> {
        Self::ALL.get(value.checked_sub(MAX_VALUE)? as usize).copied()
    }
}

/// A value for every address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AddressTable {
    ipv4: Ipv4Table,
    ipv6: Ipv6Table,
}

impl AddressTable {
    /// The value at an address, and the length of the shortest prefix around it in which every address has this value.
    /// Inside a fold that prefix never leaves the client's part of the address.
    pub(super) fn lookup(&self, address: IpAddr) -> (u32, u8) {
        match address {
            IpAddr::V4(address) => self.ipv4.lookup(address.to_bits()),
            IpAddr::V6(address) => {
                let address = address.to_bits();
                let (value, length) = self.ipv6.lookup(address);
                let Some(fold) = Fold::from_value(value) else { return (value, length) };
                let (client, bits_before) = fold.client(address);
                let (value, client_length) = self.ipv4.lookup(client);
                (value, length.max(bits_before + client_length))
            }
        }
    }

    /// The IPv4 ranges: start and value, ascending.
    pub(super) fn ipv4_runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.ipv4.runs()
    }

    /// The IPv6 ranges: start and value, ascending; [`Fold::from_value`] tells which are folds.
    pub(super) fn ipv6_runs(&self) -> impl Iterator<Item = (u128, u32)> + '_ {
        self.ipv6.runs()
    }
}

/// Builds an [`AddressTable`] from its ranges in order. What isn't pushed has the value 0.
#[derive(Debug)]
pub(super) struct AddressTableBuilder {
    /// The IPv4 addresses.
    pub(super) ipv4: RangeTableBuilder<u32>,
    /// The IPv6 addresses.
    pub(super) ipv6: Ipv6TableBuilder,
}

impl Default for AddressTableBuilder {
    fn default() -> Self {
        Self { ipv4: RangeTableBuilder::new(0), ipv6: Ipv6TableBuilder::new(0) }
    }
}

impl AddressTableBuilder {
    /// The table as pushed; folds are what came from [`AddressTable::ipv6_runs`].
    pub(super) fn finish(self) -> AddressTable {
        AddressTable { ipv4: self.ipv4.finish().into(), ipv6: self.ipv6.finish() }
    }

    /// The table with the folds laid over what was pushed.
    pub(super) fn finish_with_folds(self) -> AddressTable {
        let folds = Fold::ALL.map(|fold| {
            let (first, length) = fold.network();
            (first, first | u128::MAX >> length, fold.value())
        });
        let mut ipv6 = Ipv6TableBuilder::new(0);
        for (start, (value, fold)) in table::zip(self.ipv6.finish().runs(), table::cover(folds.to_vec()).runs()) {
            ipv6.push(start, if fold == 0 { value } else { fold });
        }
        AddressTable { ipv4: self.ipv4.finish().into(), ipv6: ipv6.finish() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::{AddressTable, AddressTableBuilder, Fold};

    /// 192.0.2.0/24 has the value 1, 2001:db8::/32 has 2, and so has the space before and after 2002::/16.
    fn table() -> AddressTable {
        let mut builder = AddressTableBuilder::default();
        builder.ipv4.push(0xc000_0200, 1);
        builder.ipv4.push(0xc000_0300, 0);
        builder.ipv6.push(0x2001_0db8 << 96, 2);
        builder.finish_with_folds()
    }

    #[test]
    fn clients_inside_ipv6_are_found_by_their_ipv4_address() {
        let table = table();
        for (address, expected) in [
            ("192.0.2.1", (1, 24)),
            ("192.0.3.1", (0, 24)),
            ("128.0.0.1", (0, 2)),
            ("::ffff:192.0.2.1", (1, 96 + 24)),
            ("::ffff:128.0.0.1", (0, 96 + 2)),
            ("64:ff9b::192.0.2.1", (1, 96 + 24)),
            ("2002:c000:0201::1", (1, 16 + 24)),
            ("2002:c000:0301::1", (0, 16 + 24)),
            // 192.0.2.1 is 3f ff fd fe inverted.
            ("2001:0:4136:e378:8000:63bf:3fff:fdfe", (1, 96 + 24)),
            // IPv4-compatible addresses are no IPv4 clients, and unknown here.
            ("::192.0.2.1", (0, 81)),
            ("2001:db8::1", (2, 29)),
            // The next range goes on after the fold, but no prefix reaches over it.
            ("2003::1", (2, 16)),
            ("2001:ffff::1", (2, 17)),
            ("ff00::1", (2, 1)),
        ] {
            assert_eq!(table.lookup(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn folds_are_found_by_their_addresses() {
        for (address, expected) in [
            ("::ffff:0:0", Some(Fold::Mapped)),
            ("::fffe:ffff:ffff", None),
            ("::1:0:0:0", None),
            ("64:ff9b::ffff:ffff", Some(Fold::Translated)),
            ("64:ff9b:1::", None),
            ("2001:0:ffff::", Some(Fold::Teredo)),
            ("2001:1::", None),
            ("2002:ffff::", Some(Fold::SixToFour)),
            ("2003::", None),
        ] {
            let address: std::net::Ipv6Addr = address.parse().unwrap();
            assert_eq!(Fold::of(address.to_bits()), expected, "{address}");
        }
    }
}
