//! A table over the IPv4 addresses, laid out for the processor's cache.
//!
//! Each /16 has its own ranges, of which the lower halves of the starts are kept: two octets for each, and one more for the
//! value where values are few. What a query reads of half a million networks so fits the second-level cache.

use super::table::RangeTable;

/// /16 networks.
const BLOCKS: usize = 1 << 16;

/// IPv4 addresses → values, as a [`RangeTable`] has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ipv4Table {
    /// The first entry of each /16, then the number of entries.
    first: Box<[u32]>,
    /// For each /16, the prefix lengths that keep out the neighbours of the ranges that reach over its two ends, each at
    /// most 16: all its addresses share the bits that count.
    edges: Box<[[u8; 2]]>,
    /// Where each entry begins in its /16; a /16's first entry at 0, whether a range begins there or goes on.
    starts: Box<[u16]>,
    values: Values,
}

/// A value for each entry, in as few octets as hold the largest.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Values {
    One(Box<[u8]>),
    Two(Box<[u16]>),
    Four(Box<[u32]>),
}

impl Values {
    fn new(values: Vec<u32>) -> Self {
        match values.iter().max().copied().unwrap_or(0) {
            0..=0xff => Self::One(values.into_iter().map(|value| value as u8).collect()),
            0x100..=0xffff => Self::Two(values.into_iter().map(|value| value as u16).collect()),
            _ => Self::Four(values.into()),
        }
    }

    fn get(&self, at: usize) -> u32 {
        match self {
            Self::One(values) => values[at].into(),
            Self::Two(values) => values[at].into(),
            Self::Four(values) => values[at],
        }
    }
}

impl From<RangeTable<u32>> for Ipv4Table {
    fn from(table: RangeTable<u32>) -> Self {
        let mut runs = table.runs().peekable();
        let mut first = Vec::with_capacity(BLOCKS + 1);
        let mut edges = Vec::with_capacity(BLOCKS);
        let (mut starts, mut values) = (Vec::new(), Vec::new());
        let (mut start, mut value) = (0, 0);
        for block in 0..BLOCKS as u32 {
            let base = block << 16;
            while let Some(run) = runs.next_if(|(next, _)| *next <= base) {
                (start, value) = run;
            }
            first.push(starts.len() as u32);
            starts.push(0);
            values.push(value);
            let before = start.checked_sub(1).map_or(0, |outside| length_without(base, outside));
            while let Some(run) = runs.next_if(|(next, _)| next >> 16 == block) {
                (start, value) = run;
                starts.push(start as u16);
                values.push(value);
            }
            let after = runs.peek().map_or(0, |(outside, _)| length_without(base, *outside));
            edges.push([before, after]);
        }
        first.push(starts.len() as u32);
        Self { first: first.into(), edges: edges.into(), starts: starts.into(), values: Values::new(values) }
    }
}

/// The length of the shortest prefix around an address that keeps out another.
fn length_without(address: u32, outside: u32) -> u8 {
    (address ^ outside).leading_zeros() as u8 + 1
}

impl Ipv4Table {
    /// The value at an address, and the length of the shortest prefix around it that lies wholly inside its range.
    pub(super) fn lookup(&self, address: u32) -> (u32, u8) {
        let block = (address >> 16) as usize;
        let (from, to) = (self.first[block] as usize, self.first[block + 1] as usize);
        let starts = &self.starts[from..to];
        let low = address as u16;
        let at = starts[1..].partition_point(|start| *start <= low);
        let [edge_before, edge_after] = self.edges[block];
        let without = |outside: u16| (low ^ outside).leading_zeros() as u8 + 17;
        let before = if at == 0 { edge_before } else { without(starts[at].wrapping_sub(1)) };
        let after = starts.get(at + 1).map_or(edge_after, |outside| without(*outside));
        (self.values.get(from + at), before.max(after))
    }

    /// Every range's start and value, ascending.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        (0..BLOCKS).flat_map(move |block| {
            let (from, to) = (self.first[block] as usize, self.first[block + 1] as usize);
            // A first entry that goes on from the block before is no range of its own.
            let goes_on = from > 0 && self.values.get(from) == self.values.get(from - 1);
            (from + usize::from(goes_on)..to)
                .map(move |at| ((block as u32) << 16 | u32::from(self.starts[at]), self.values.get(at)))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::table::RangeTableBuilder;
    use super::*;

    /// Starts that meet the ends of blocks, often.
    fn start() -> impl Strategy<Value = u32> {
        (0..6_u32, prop_oneof![Just(0_u32), Just(1), Just(0xffff), 0..0x1_0000_u32])
            .prop_map(|(block, low)| block << 16 | low)
    }

    proptest! {
        #[test]
        fn says_what_the_range_table_says(
            mut runs in prop::collection::vec((start(), prop_oneof![0..4_u32, Just(300), Just(70_000)]), 0..40),
            addresses in prop::collection::vec(start(), 40),
        ) {
            runs.sort_unstable();
            let mut builder = RangeTableBuilder::new(0);
            for (start, value) in &runs {
                builder.push(*start, *value);
            }
            let table = builder.finish();
            let compact = Ipv4Table::from(table.clone());
            prop_assert!(compact.runs().eq(table.runs()));
            let edges = runs.iter().flat_map(|(start, _)| [start.wrapping_sub(1), *start, start + 1]);
            for address in edges.chain(addresses).chain([0, u32::MAX]) {
                prop_assert_eq!(compact.lookup(address), table.lookup(address), "{:#x}", address);
            }
        }
    }
}
