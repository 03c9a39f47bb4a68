//! Finds equal items again while a list of distinct ones is built.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

/// Knows items by their hash only, as the list itself holds them.
#[derive(Debug, Default)]
pub(super) struct Interner {
    hasher: RandomState,
    indices: HashMap<u64, u32>,
}

impl Interner {
    /// The index of an item that was added before, or of one that `add` adds now. `is_at` says whether the list holds
    /// an equal item at an index.
    pub(super) fn intern<T: Hash + ?Sized>(
        &mut self,
        item: &T,
        is_at: impl Fn(u32) -> bool,
        add: impl FnOnce() -> u32,
    ) -> u32 {
        let mut hash = self.hasher.hash_one(item);
        loop {
            match self.indices.get(&hash) {
                Some(&index) if is_at(index) => return index,
                // Another item with this hash: the next free one is its neighbour's.
                Some(_) => hash = hash.wrapping_add(1),
                None => {
                    let index = add();
                    self.indices.insert(hash, index);
                    return index;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{Hash, Hasher};

    use super::Interner;

    /// Every one has the same hash.
    #[derive(PartialEq)]
    struct Item(u8);

    impl Hash for Item {
        fn hash<H: Hasher>(&self, _: &mut H) {}
    }

    #[test]
    fn items_of_one_hash_stay_apart() {
        let mut interner = Interner::default();
        let mut items: Vec<Item> = Vec::new();
        let indices: Vec<u32> = [7, 8, 7, 9, 8, 9]
            .into_iter()
            .map(|value| {
                let count = items.len() as u32;
                let index = interner.intern(&Item(value), |index| items[index as usize].0 == value, || count);
                if index == count {
                    items.push(Item(value));
                }
                index
            })
            .collect();
        assert_eq!(indices, [0, 1, 0, 2, 1, 2]);
    }
}
