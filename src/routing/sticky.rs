//! Clients as numbers, for choices that stay the same for a client.

use std::net::IpAddr;

use crate::config::Sticky;

impl Sticky {
    /// The prefix length for which a choice made by [`Self::key`] holds.
    pub fn prefix(self, client: IpAddr) -> u8 {
        if client.is_ipv4() { self.v4 } else { self.v6 }
    }

    /// The number of a client's prefix: the same for all clients in it, on every server and in every version, and for
    /// different ones as though drawn at random.
    pub fn key(self, client: IpAddr) -> u64 {
        match client {
            IpAddr::V4(address) => {
                let kept = u32::MAX.checked_shl(32 - u32::from(self.v4)).unwrap_or(0);
                mix(u64::from(address.to_bits() & kept) | 1 << 32)
            }
            IpAddr::V6(address) => {
                let kept = address.to_bits() & u128::MAX.checked_shl(128 - u32::from(self.v6)).unwrap_or(0);
                mix(mix((kept >> 64) as u64 ^ 1 << 33) ^ kept as u64)
            }
        }
    }
}

/// Scrambles a number so that each bit of the result depends on every bit of it (SplitMix64's finalizer). The same in
/// every version, as choices that stick are made by it.
pub fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Where on a line of this length a scrambled number falls: below `length`, evenly.
pub fn place(mixed: u64, length: u64) -> u64 {
    ((u128::from(mixed) * u128::from(length)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn key(sticky: Sticky, client: &str) -> u64 {
        sticky.key(client.parse().unwrap())
    }

    #[test]
    fn clients_of_one_prefix_are_one_and_stay_so_in_every_version() {
        let sticky = Sticky::DEFAULT;
        assert_eq!(key(sticky, "192.0.2.1"), key(sticky, "192.0.2.255"));
        assert_ne!(key(sticky, "192.0.2.1"), key(sticky, "192.0.3.1"));
        assert_eq!(key(sticky, "2001:db8::1"), key(sticky, "2001:db8:0:ff::"));
        assert_ne!(key(sticky, "2001:db8::1"), key(sticky, "2001:db8:0:100::"));
        let whole = Sticky { v4: 32, v6: 128 };
        assert_ne!(key(whole, "192.0.2.1"), key(whole, "192.0.2.2"));
        assert_ne!(key(whole, "2001:db8::1"), key(whole, "2001:db8::2"));
        assert_ne!(key(whole, "0.0.0.0"), key(whole, "::"));
        assert_eq!(key(sticky, "192.0.2.1"), KNOWN[0]);
        assert_eq!(key(sticky, "2001:db8::1"), KNOWN[1]);
    }

    /// Choices made by other servers and versions rest on these.
    const KNOWN: [u64; 2] = [0xc255_6c16_8e19_5cb7, 0xe239_9728_d909_b824];
}
