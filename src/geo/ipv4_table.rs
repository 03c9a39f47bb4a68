//! A table over the IPv4 addresses, laid out for the processor's cache.
//!
//! A lookup reads one entry for the /16, and, where that holds more than one range, the few octets in which the /16's ranges
//! and their values stand together: two octets for a start, and one for a value where values are few. What queries read of
//! half a million networks so mostly stays in the second-level cache, and a query misses it once or twice at most.

use super::table::RangeTable;

/// /16 networks.
const BLOCKS: u32 = 1 << 16;

/// IPv4 addresses → values, as a [`RangeTable`] has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ipv4Table {
    blocks: Box<[Block]>,
    /// For each /16 of several ranges: the lower halves of the starts of all but the first, little-endian, ascending; then all
    /// values, each in `value_octets`, little-endian.
    ranges: Box<[u8]>,
    value_octets: usize,
}

/// A /16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    /// The value, where all of the /16 is one range; else where its ranges begin.
    at: u32,
    /// How many ranges begin inside, after its first address.
    inner: u16,
    /// The prefix lengths that keep out what is next to the /16's first and last ranges, which may reach over its ends. At
    /// most 16, as all addresses inside share the bits that count.
    edges: [u8; 2],
}

impl From<RangeTable<u32>> for Ipv4Table {
    fn from(table: RangeTable<u32>) -> Self {
        let value_octets = match table.runs().map(|(_, value)| value).max().unwrap_or(0) {
            0..=0xff => 1,
            0x100..=0xffff => 2,
            _ => 4,
        };
        let mut runs = table.runs().peekable();
        let mut blocks = Vec::with_capacity(BLOCKS as usize);
        let mut ranges = Vec::new();
        let mut values = Vec::new();
        let (mut start, mut value) = (0, 0);
        for block in 0..BLOCKS {
            let base = block << 16;
            while let Some(run) = runs.next_if(|(next, _)| *next <= base) {
                (start, value) = run;
            }
            let before = start.checked_sub(1).map_or(0, |outside| length_without(base, outside));
            let begin = ranges.len() as u32;
            let mut inner = 0;
            values.clear();
            values.extend_from_slice(&value.to_le_bytes()[..value_octets]);
            while let Some(run) = runs.next_if(|(next, _)| next >> 16 == block) {
                (start, value) = run;
                inner += 1;
                ranges.extend_from_slice(&(start as u16).to_le_bytes());
                values.extend_from_slice(&value.to_le_bytes()[..value_octets]);
            }
            if inner > 0 {
                ranges.extend_from_slice(&values);
            }
            let after = runs.peek().map_or(0, |(outside, _)| length_without(base, *outside));
            blocks.push(Block { at: if inner > 0 { begin } else { value }, inner, edges: [before, after] });
        }
        Self { blocks: blocks.into(), ranges: ranges.into(), value_octets }
    }
}

/// The length of the shortest prefix around an address that keeps out another.
fn length_without(address: u32, outside: u32) -> u8 {
    (address ^ outside).leading_zeros() as u8 + 1
}

impl Ipv4Table {
    /// The value at an address, and the length of the shortest prefix around it that lies wholly inside its range.
    pub(super) fn lookup(&self, address: u32) -> (u32, u8) {
        let block = self.blocks[(address >> 16) as usize];
        let [mut before, mut after] = block.edges;
        if block.inner == 0 {
            return (block.at, before.max(after));
        }
        let (starts, values) = self.inside(block);
        let low = address as u16;
        let at = starts.partition_point(|start| u16::from_le_bytes(*start) <= low);
        let without = |outside: u16| (low ^ outside).leading_zeros() as u8 + 17;
        if let Some(start) = at.checked_sub(1).map(|at| starts[at]) {
            before = without(u16::from_le_bytes(start) - 1);
        }
        if let Some(end) = starts.get(at) {
            after = without(u16::from_le_bytes(*end));
        }
        (self.value(values, at), before.max(after))
    }

    /// The inner starts and the values of a block that has inner starts.
    fn inside(&self, block: Block) -> (&[[u8; 2]], &[u8]) {
        let (inner, begin) = (usize::from(block.inner), block.at as usize);
        let (starts, values) =
            self.ranges[begin..begin + 2 * inner + (inner + 1) * self.value_octets].split_at(2 * inner);
        (starts.as_chunks().0, values)
    }

    fn value(&self, values: &[u8], at: usize) -> u32 {
        match self.value_octets {
            1 => values[at].into(),
            2 => values.as_chunks().0.get(at).map_or(0, |octets| u16::from_le_bytes(*octets).into()),
            _ => values.as_chunks().0.get(at).map_or(0, |octets| u32::from_le_bytes(*octets)),
        }
    }

    /// Every range's start and value, ascending.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut before = None;
        (0..BLOCKS).flat_map(move |number| self.block_runs(number)).filter(move |(_, value)| {
            // A block's first range may be the one before going on.
            before.replace(*value) != Some(*value)
        })
    }

    fn block_runs(&self, number: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let block = self.blocks[number as usize];
        let (starts, values): (&[[u8; 2]], &[u8]) = if block.inner > 0 { self.inside(block) } else { (&[], &[]) };
        (0..=usize::from(block.inner)).map(move |at| {
            let low = at.checked_sub(1).map_or(0, |at| u16::from_le_bytes(starts[at]));
            let value = if block.inner > 0 { self.value(values, at) } else { block.at };
            (number << 16 | u32::from(low), value)
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
