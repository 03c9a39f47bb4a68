//! A flat sorted table: every address of one space → a number.
//!
//! The space is cut into ranges, each with its value; neighbours with the same value are one range. So the shortest
//! prefix around an address in which nothing else is found follows from the two addresses just outside of its range.

use std::cmp::{Ordering, Reverse};

/// An unsigned integer that addresses are numbers of.
pub(super) trait Address: Copy + Ord {
    /// The first address.
    const FIRST: Self;

    /// The address before this, if any.
    fn previous(self) -> Option<Self>;
    /// The address after this, if any.
    fn next(self) -> Option<Self>;
    /// How many leading bits both share.
    fn common_prefix_length(self, other: Self) -> u8;
    /// The leading `bits` bits as a number; 1 to 16.
    fn leading(self, bits: u32) -> usize;
    /// The first address with these leading bits.
    fn from_leading(leading: usize, bits: u32) -> Self;
}

macro_rules! address {
    ($integer:ty) => {
        impl Address for $integer {
            const FIRST: Self = 0;

            fn previous(self) -> Option<Self> {
                self.checked_sub(1)
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn common_prefix_length(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }

            fn leading(self, bits: u32) -> usize {
                (self >> (Self::BITS - bits)) as usize
            }

            fn from_leading(leading: usize, bits: u32) -> Self {
                (leading as Self) << (Self::BITS - bits)
            }
        }
    };
}

address!(u32);
address!(u64);
address!(u128);

/// The most leading bits that the index covers: 65,537 entries, 256 KiB.
const MAX_INDEX_BITS: u32 = 16;

/// A table over a whole space of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RangeTable<A> {
    /// Where each range begins, ascending; the first begins at the first address.
    starts: Vec<A>,
    /// Each range's value; neighbours differ.
    values: Vec<u32>,
    /// For each value of the leading `index_bits` bits, the range that holds the first such address; then the last range.
    index: Vec<u32>,
    index_bits: u32,
}

impl<A: Address> RangeTable<A> {
    /// The value at an address, and the length of the shortest prefix around it that lies wholly inside its range.
    pub(super) fn lookup(&self, address: A) -> (u32, u8) {
        let at = self.position(address);
        let before = self.starts[at].previous().map_or(0, |outside| address.common_prefix_length(outside) + 1);
        let after = self.starts.get(at + 1).map_or(0, |&outside| address.common_prefix_length(outside) + 1);
        (self.values[at], before.max(after))
    }

    /// The range that an address is in. The index bounds the search: its ranges begin at or before the bucket's first
    /// address and at or before the next bucket's.
    fn position(&self, address: A) -> usize {
        let bucket = address.leading(self.index_bits);
        let (low, high) = (self.index[bucket] as usize, self.index[bucket + 1] as usize);
        low + self.starts[low + 1..=high].partition_point(|&start| start <= address)
    }

    /// Every range's start and value, ascending.
    pub(super) fn runs(&self) -> impl Iterator<Item = (A, u32)> + '_ {
        self.starts.iter().copied().zip(self.values.iter().copied())
    }

    /// The ranges that begin after `first` and, if there is an end, before it.
    fn runs_between(&self, first: A, end: Option<A>) -> impl Iterator<Item = (A, u32)> + '_ {
        let from = self.starts.partition_point(|&start| start <= first);
        let to = end.map_or(self.starts.len(), |end| self.starts.partition_point(|&start| start < end));
        let range = from..to.max(from);
        self.starts[range.clone()].iter().copied().zip(self.values[range].iter().copied())
    }
}

/// Builds a [`RangeTable`] from its ranges in order.
#[derive(Debug)]
pub(super) struct RangeTableBuilder<A> {
    starts: Vec<A>,
    values: Vec<u32>,
}

impl<A: Address> RangeTableBuilder<A> {
    /// The whole space holds this value until more is pushed.
    pub(super) fn new(value: u32) -> Self {
        Self { starts: vec![A::FIRST], values: vec![value] }
    }

    /// From `start` on, which is not before the last one, the value is this. A second push at one start replaces the first.
    pub(super) fn push(&mut self, start: A, value: u32) {
        debug_assert!(self.starts.last().is_none_or(|&last| last <= start), "ranges are pushed in order");
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.values.pop();
        }
        if self.values.last() != Some(&value) {
            self.starts.push(start);
            self.values.push(value);
        }
    }

    /// The table.
    pub(super) fn finish(mut self) -> RangeTable<A> {
        self.starts.shrink_to_fit();
        self.values.shrink_to_fit();
        let ranges = self.starts.len();
        let index_bits = (ranges.ilog2() + 1).clamp(1, MAX_INDEX_BITS);
        let mut at = 0;
        let mut index: Vec<u32> = (0..1_usize << index_bits)
            .map(|bucket| {
                let first = A::from_leading(bucket, index_bits);
                while self.starts.get(at + 1).is_some_and(|&start| start <= first) {
                    at += 1;
                }
                at as u32
            })
            .collect();
        index.push(ranges as u32 - 1);
        RangeTable { starts: self.starts, values: self.values, index, index_bits }
    }
}

/// A table over the IPv6 addresses. Hardly any network is longer than /64, so the table proper holds the upper halves of
/// addresses, and what begins inside a /64 is kept in a second one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ipv6Table {
    /// By the upper 64 bits; [`SPLIT`] where `inside` tells.
    halves: RangeTable<u64>,
    /// By whole addresses; means something inside the split /64s only.
    inside: RangeTable<u128>,
}

/// Says that a /64 holds several values, all in the second table.
const SPLIT: u32 = u32::MAX;

impl Ipv6Table {
    /// The value at an address, and the length of the shortest prefix around it that lies wholly inside its range.
    ///
    /// A split /64 holds at least two values. So no prefix around an address outside of it may cover it whole, and any
    /// prefix around an address in it is longer than /64: neither table needs to know the other's neighbours.
    pub(super) fn lookup(&self, address: u128) -> (u32, u8) {
        match self.halves.lookup((address >> 64) as u64) {
            (SPLIT, _) => self.inside.lookup(address),
            found => found,
        }
    }

    /// Starts and values, ascending. A value may follow itself.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u128, u32)> + '_ {
        let ends = self.halves.starts[1..].iter().map(|&end| Some(u128::from(end) << 64)).chain([None]);
        self.halves.runs().zip(ends).flat_map(|((half, value), end)| {
            let start = u128::from(half) << 64;
            let (value, end) = if value == SPLIT { (self.inside.lookup(start).0, end) } else { (value, Some(start)) };
            std::iter::once((start, value)).chain(self.inside.runs_between(start, end))
        })
    }
}

/// Builds an [`Ipv6Table`] from its ranges in order.
#[derive(Debug)]
pub(super) struct Ipv6TableBuilder {
    halves: RangeTableBuilder<u64>,
    inside: RangeTableBuilder<u128>,
    /// The value from the last push on.
    value: u32,
    /// The /64 that the last push was inside of.
    split: Option<u64>,
}

impl Ipv6TableBuilder {
    /// The whole space holds this value until more is pushed.
    pub(super) fn new(value: u32) -> Self {
        Self { halves: RangeTableBuilder::new(value), inside: RangeTableBuilder::new(value), value, split: None }
    }

    /// From `start` on, which is after the last one or zero, the value is this. Any but `u32::MAX`.
    pub(super) fn push(&mut self, start: u128, value: u32) {
        if value == self.value {
            return;
        }
        let half = (start >> 64) as u64;
        if self.split != Some(half) {
            self.leave_split();
        }
        if start as u64 == 0 {
            self.halves.push(half, value);
        } else {
            if self.split != Some(half) {
                self.split = Some(half);
                self.halves.push(half, SPLIT);
                self.inside.push(u128::from(half) << 64, self.value);
            }
            self.inside.push(start, value);
        }
        self.value = value;
    }

    /// The value that ends a split /64 goes on after it.
    fn leave_split(&mut self) {
        if let Some(next) = self.split.take().and_then(|half| half.checked_add(1)) {
            self.halves.push(next, self.value);
        }
    }

    /// The table.
    pub(super) fn finish(mut self) -> Ipv6Table {
        self.leave_split();
        Ipv6Table { halves: self.halves.finish(), inside: self.inside.finish() }
    }
}

/// Two covers of one space as one: wherever either changes, both values. Both begin at the first address.
pub(super) fn zip<A: Address, V: Copy, W: Copy>(
    left: impl Iterator<Item = (A, V)>,
    right: impl Iterator<Item = (A, W)>,
) -> impl Iterator<Item = (A, (V, W))> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    let mut current: Option<(V, W)> = None;
    std::iter::from_fn(move || {
        let order = match (left.peek(), right.peek()) {
            (Some((left, _)), Some((right, _))) => left.cmp(right),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let new_left = if order.is_le() { left.next() } else { None };
        let new_right = if order.is_ge() { right.next() } else { None };
        let start = new_left.map(|(start, _)| start).or(new_right.map(|(start, _)| start))?;
        let value = new_left.map(|(_, value)| value).or(current.map(|(value, _)| value))?;
        let other = new_right.map(|(_, value)| value).or(current.map(|(_, value)| value))?;
        current = Some((value, other));
        Some((start, (value, other)))
    })
}

/// A table made of prefixes, of which the longest wins, as (first address, last address, value); 0 where there is none.
pub(super) fn cover<A: Address>(mut prefixes: Vec<(A, A, u32)>) -> RangeTable<A> {
    prefixes.sort_by_key(|&(first, last, _)| (first, Reverse(last)));
    let mut builder = RangeTableBuilder::new(0);
    // Those that hold the current address, the longest last.
    let mut open: Vec<(A, u32)> = Vec::new();
    let close = |open: &mut Vec<(A, u32)>, builder: &mut RangeTableBuilder<A>| {
        if let Some(next) = open.pop().and_then(|(last, _)| last.next()) {
            builder.push(next, open.last().map_or(0, |&(_, value)| value));
        }
    };
    for (first, last, value) in prefixes {
        while open.last().is_some_and(|&(last, _)| last < first) {
            close(&mut open, &mut builder);
        }
        builder.push(first, value);
        open.push((last, value));
    }
    while !open.is_empty() {
        close(&mut open, &mut builder);
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Address, Ipv6TableBuilder, RangeTableBuilder, cover, zip};

    /// The value at an address, and the shortest prefix around it that holds no other value, by trying every length.
    fn naive(runs: &BTreeMap<u128, u32>, address: u128, bits: u32) -> (u32, u8) {
        let value_at = |address: u128| runs.range(..=address).next_back().map_or(0, |(_, &value)| value);
        let value = value_at(address);
        let length = (0..=bits)
            .find(|length| {
                let host_bits = u128::MAX.checked_shr(128 - (bits - length)).unwrap_or(0);
                let (first, last) = (address & !host_bits, address | host_bits);
                value_at(first) == value && runs.range(first..=last).all(|(_, &inner)| inner == value)
            })
            .unwrap_or(bits);
        (value, length as u8)
    }

    /// The addresses at which something may change, and those beside them.
    fn around(runs: &BTreeMap<u128, u32>, last: u128) -> Vec<u128> {
        let starts = runs.keys().flat_map(|&start| [start.saturating_sub(1), start, (start + 1).min(last)]);
        starts.chain([0, last / 3, last]).collect()
    }

    /// Starts that share long prefixes, so that ranges are both wide and narrow.
    fn starts(bits: u32) -> impl Strategy<Value = BTreeMap<u128, u32>> {
        let start = (any::<u128>(), 0..=bits, 0..3_u128).prop_map(move |(random, kept, variant)| {
            let mask = u128::MAX.checked_shl(128 - kept).unwrap_or(0);
            let top = (random & mask & (0x2001_u128 << 112 | u128::MAX >> 20)) | variant << 124;
            top >> (128 - bits)
        });
        prop::collection::btree_map(start, 0..4_u32, 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ipv4_is_as_by_trying_every_length(runs in starts(32), random in prop::collection::vec(any::<u32>(), 20)) {
            let mut builder = RangeTableBuilder::new(0);
            for (&start, &value) in &runs {
                builder.push(start as u32, value);
            }
            let table = builder.finish();
            for address in around(&runs, u128::from(u32::MAX)).into_iter().chain(random.into_iter().map(u128::from)) {
                prop_assert_eq!(table.lookup(address as u32), naive(&runs, address, 32), "{:x}", address);
            }
        }

        #[test]
        fn ipv6_is_as_by_trying_every_length(runs in starts(128), random in prop::collection::vec(any::<u128>(), 20)) {
            let mut builder = Ipv6TableBuilder::new(0);
            for (&start, &value) in &runs {
                builder.push(start, value);
            }
            let table = builder.finish();
            for address in around(&runs, u128::MAX).into_iter().chain(random) {
                prop_assert_eq!(table.lookup(address), naive(&runs, address, 128), "{:x}", address);
            }
            // Its runs make the same table again.
            let mut again = Ipv6TableBuilder::new(0);
            table.runs().for_each(|(start, value)| again.push(start, value));
            prop_assert_eq!(again.finish(), table);
        }

        #[test]
        fn the_longest_prefix_covers(
            prefixes in prop::collection::btree_map((any::<u16>().prop_map(|high| u32::from(high) << 16), 0..=32_u32), 1..9_u32, 0..30),
            random in prop::collection::vec(any::<u32>(), 20),
        ) {
            let ranges: Vec<(u32, u32, u32)> = prefixes
                .iter()
                .map(|(&(address, length), &value)| {
                    let host_bits = u32::MAX.checked_shr(length).unwrap_or(0);
                    (address & !host_bits, address | host_bits, value)
                })
                .collect();
            // Of two equal prefixes the later one wins.
            let table = cover(ranges.clone());
            let bounds = ranges.iter().flat_map(|&(first, last, _)| [first, last, first.saturating_sub(1), last.saturating_add(1)]);
            for address in bounds.chain(random) {
                let holding = ranges.iter().filter(|(first, last, _)| (first..=last).contains(&&address));
                let expected = holding.rev().min_by_key(|(first, last, _)| last - first).map_or(0, |&(_, _, value)| value);
                prop_assert_eq!(table.lookup(address).0, expected, "{:x}", address);
            }
        }
    }

    #[test]
    fn zipped_covers_change_where_either_does() {
        let left = [(0_u32, 'a'), (10, 'b'), (20, 'c')];
        let right = [(0_u32, 1), (5, 2), (20, 3), (30, 4)];
        let both: Vec<_> = zip(left.into_iter(), right.into_iter()).collect();
        assert_eq!(both, [(0, ('a', 1)), (5, ('a', 2)), (10, ('b', 2)), (20, ('c', 3)), (30, ('c', 4))]);
    }

    #[test]
    fn a_whole_space_of_one_value_is_the_empty_prefix() {
        assert_eq!(RangeTableBuilder::<u32>::new(7).finish().lookup(9), (7, 0));
        assert_eq!(Ipv6TableBuilder::new(7).finish().lookup(9), (7, 0));
    }

    #[test]
    fn first_and_last_addresses_have_no_neighbours() {
        assert_eq!(0_u32.previous(), None);
        assert_eq!(u128::MAX.next(), None);
        let mut builder = RangeTableBuilder::new(0);
        builder.push(u32::MAX, 1);
        let table = builder.finish();
        assert_eq!((table.lookup(u32::MAX), table.lookup(u32::MAX - 1), table.lookup(0)), ((1, 32), (0, 32), (0, 1)));
    }
}
