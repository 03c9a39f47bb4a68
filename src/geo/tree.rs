//! The search tree of a MaxMind DB (format 2.0), walked once from the first address to the last.
//!
//! The reader's own iterator is not enough here: it neither bounds how often it meets an alias of the IPv4 subtree, so a
//! crafted file keeps it busy for ever, nor tells where nothing is known.

/// Between the tree and the data, in bytes.
const SEPARATOR: u32 = 16;
/// The depth at which the IPv4 addresses begin in a tree of IPv6.
const IPV4_DEPTH: u8 = 96;
/// A tree of N nodes has each of them once. Writers may share equal branches, so a few visits more are let pass; a loop,
/// or sharing that multiplies with every level, is not.
const MAX_VISITS_PER_NODE: u64 = 4;

/// The tree, in the file's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct SearchTree<'a> {
    /// The nodes, and no more.
    pub(super) nodes: &'a [u8],
    /// How many they are.
    pub(super) node_count: u32,
    /// 24, 28 or 32; a node has two records.
    pub(super) record_bits: u16,
    /// Whether it holds IPv6 addresses, and the IPv4 addresses in ::/96.
    pub(super) ipv6: bool,
}

/// A prefix that the tree does not divide further. All of them together cover each family's space, in order; a leaf of
/// ::, which then covers ::/96 too, stands for all of IPv4 as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaf {
    /// Of IPv4 addresses: the first, and the offset of the record.
    Ipv4(u32, Option<u32>),
    /// Of IPv6 addresses: the first, and the offset of the record.
    Ipv6(u128, Option<u32>),
}

impl<'a> SearchTree<'a> {
    /// Its leaves in order, or what is wrong with the tree; after that nothing more.
    pub(super) fn leaves(self) -> Leaves<'a> {
        let depth = if self.ipv6 { 0 } else { IPV4_DEPTH };
        let visits_left = u64::from(self.node_count) * MAX_VISITS_PER_NODE;
        Leaves { tree: self, pending: vec![(0, depth, 0)], ipv4_root: None, visits_left }
    }

    /// What both records of a node point at.
    fn children(&self, node: u32) -> Option<(u32, u32)> {
        let length = usize::from(self.record_bits / 4);
        let at = usize::try_from(node).ok()?.checked_mul(length)?;
        match *self.nodes.get(at..at.checked_add(length)?)? {
            [a, b, c, d, e, f] => Some((u32::from_be_bytes([0, a, b, c]), u32::from_be_bytes([0, d, e, f]))),
            [a, b, c, shared, d, e, f] => {
                Some((u32::from_be_bytes([shared >> 4, a, b, c]), u32::from_be_bytes([shared & 0x0f, d, e, f])))
            }
            [a, b, c, d, e, f, g, h] => Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))),
            _ => None,
        }
    }
}

/// See [`SearchTree::leaves`].
#[derive(Debug)]
pub(super) struct Leaves<'a> {
    tree: SearchTree<'a>,
    /// What a record points at, its depth and its first address; the next on top. Never more than the depth.
    pending: Vec<(u32, u8, u128)>,
    /// The node at ::/96. Met elsewhere it is an alias, such as 2002::/16, which is not followed.
    ipv4_root: Option<u32>,
    visits_left: u64,
}

impl Leaves<'_> {
    fn step(&mut self, pointer: u32, depth: u8, address: u128) -> Result<Option<Leaf>, &'static str> {
        let node_count = self.tree.node_count;
        if pointer < node_count && self.ipv4_root != Some(pointer) {
            if depth >= 128 {
                return Err("the search tree is deeper than an address");
            }
            self.visits_left = self.visits_left.checked_sub(1).ok_or("the search tree has loops or shared branches")?;
            if self.tree.ipv6 && depth == IPV4_DEPTH && address == 0 {
                self.ipv4_root = Some(pointer);
            }
            let (left, right) = self.tree.children(pointer).ok_or("the search tree is cut off")?;
            self.pending.push((right, depth + 1, address | 1 << (127 - depth)));
            self.pending.push((left, depth + 1, address));
            return Ok(None);
        }
        let record = if pointer <= node_count {
            None
        } else {
            let offset = (pointer - node_count).checked_sub(SEPARATOR);
            Some(offset.ok_or("the search tree points between tree and data")?)
        };
        Ok(Some(match u32::try_from(address) {
            Ok(address) if depth >= IPV4_DEPTH => Leaf::Ipv4(address, record),
            _ => Leaf::Ipv6(address, record),
        }))
    }
}

impl Iterator for Leaves<'_> {
    type Item = Result<Leaf, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((pointer, depth, address)) = self.pending.pop() {
            match self.step(pointer, depth, address) {
                Ok(None) => {}
                Ok(Some(leaf)) => return Some(Ok(leaf)),
                Err(reason) => {
                    self.pending.clear();
                    return Some(Err(reason));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Leaf, SearchTree};

    fn tree(records: &[(u32, u32)], record_bits: u16, ipv6: bool) -> Vec<Result<Leaf, &'static str>> {
        let mut nodes = Vec::new();
        for &(left, right) in records {
            let (l, r) = (left.to_be_bytes(), right.to_be_bytes());
            match record_bits {
                24 => nodes.extend([l[1], l[2], l[3], r[1], r[2], r[3]]),
                28 => nodes.extend([l[1], l[2], l[3], l[0] << 4 | r[0], r[1], r[2], r[3]]),
                _ => nodes.extend(l.into_iter().chain(r)),
            }
        }
        let tree = SearchTree { nodes: &nodes, node_count: records.len() as u32, record_bits, ipv6 };
        // No tree here has so many leaves: a walk without an end shows.
        tree.leaves().take(1000).collect()
    }

    #[test]
    fn leaves_cover_the_space_in_order() {
        for record_bits in [24, 28, 32] {
            // 0.0.0.0/1: nothing; 128.0.0.0/2: the record at 5; 192.0.0.0/2: the record at 900,000.
            let leaves = tree(&[(2, 1), (2 + 16 + 5, 2 + 16 + 900_000)], record_bits, false);
            let expected = [(0, None), (1 << 31, Some(5)), (3 << 30, Some(900_000))];
            assert_eq!(leaves, expected.map(|(start, record)| Ok(Leaf::Ipv4(start, record))), "{record_bits}");
        }
        // A leaf above ::/96.
        assert_eq!(tree(&[(1 + 16, 1)], 28, true), [Ok(Leaf::Ipv6(0, Some(0))), Ok(Leaf::Ipv6(1 << 127, None))]);
    }

    #[test]
    fn aliases_of_ipv4_are_leaves_without_a_record() {
        // ::/96 is node 96; 8000::/1 points at it too.
        let mut records: Vec<(u32, u32)> = (0..96).map(|node| (node + 1, 97)).collect();
        records[0].1 = 96;
        records.push((97 + 16, 97));
        let leaves = tree(&records, 24, true);
        assert_eq!(leaves[..2], [Ok(Leaf::Ipv4(0, Some(0))), Ok(Leaf::Ipv4(1 << 31, None))]);
        assert_eq!(leaves.len(), 2 + 96);
        assert_eq!(leaves.last(), Some(&Ok(Leaf::Ipv6(1 << 127, None))));
    }

    #[test]
    fn broken_trees_end() {
        // Every address down to ::/96 leads to the same node: 2^96 aliases for a reader that follows them.
        let mut fan: Vec<(u32, u32)> = (0..96).map(|node| (node + 1, node + 1)).collect();
        fan.push((97, 97));
        let chain: Vec<(u32, u32)> = (0..40).map(|node| ((node + 1).min(39), 40)).collect();
        for (records, ipv6, expected) in [
            (chain, false, "deeper"),
            (vec![(0, 0)], false, "loops"),
            (vec![(1, 0)], true, "loops"),
            (fan, true, "loops"),
            (vec![(1 + 15, 1)], false, "between"),
        ] {
            let leaves = tree(&records, 24, ipv6);
            assert!(matches!(leaves.last(), Some(Err(reason)) if reason.contains(expected)), "{expected}: {leaves:?}");
            assert!(leaves.len() < 1000);
        }
        let short = SearchTree { nodes: &[0; 5], node_count: 1, record_bits: 24, ipv6: false };
        assert_eq!(short.leaves().last(), Some(Err("the search tree is cut off")));
    }
}
