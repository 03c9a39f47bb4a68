//! A list that is copied at little cost, so that those who read all of it keep nobody from writing.

use std::sync::Arc;

/// The most items that a write copies, where a clone of the list still has them. A clone counts as many references fewer.
const CHUNK: usize = 16;

/// A list of a fixed length. Clones share all items; what is written in one of them is copied first, with the few beside it.
#[derive(Debug, Clone)]
pub struct Chunks<T> {
    /// All of [`CHUNK`] items but the last.
    chunks: Vec<Arc<[T]>>,
    length: usize,
}

impl<T> Chunks<T> {
    /// How many items there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// One item.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    /// All items in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

impl<T: Clone> Chunks<T> {
    /// One item, to be written.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        Arc::make_mut(self.chunks.get_mut(index / CHUNK)?).get_mut(index % CHUNK)
    }

    /// Replaces one item, if it is there.
    pub fn set(&mut self, index: usize, item: T) {
        if let Some(old) = self.get_mut(index) {
            *old = item;
        }
    }
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), length: 0 }
    }
}

impl<T> FromIterator<T> for Chunks<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut items = items.into_iter();
        let chunk = || Some(items.by_ref().take(CHUNK).collect::<Arc<[T]>>()).filter(|chunk| !chunk.is_empty());
        let chunks: Vec<Arc<[T]>> = std::iter::from_fn(chunk).collect();
        let length = chunks.iter().map(|chunk| chunk.len()).sum();
        Self { chunks, length }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    /// Counts how often any of its like is cloned.
    #[derive(Debug)]
    struct Counted {
        value: usize,
        clones: Rc<Cell<usize>>,
    }

    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.clones.set(self.clones.get() + 1);
            Self { value: self.value, clones: Rc::clone(&self.clones) }
        }
    }

    #[test]
    fn a_clone_copies_nothing_and_a_write_what_is_beside_it() {
        let clones = Rc::new(Cell::new(0));
        let items = (0..100_000).map(|value| Counted { value, clones: Rc::clone(&clones) });
        let mut written: Chunks<Counted> = items.collect();
        let write = |list: &mut Chunks<Counted>, index: usize| list.get_mut(index).unwrap().value += 1;
        write(&mut written, 99_999);
        assert_eq!(clones.get(), 0, "nobody else has it");
        let read = written.clone();
        assert_eq!(clones.get(), 0);
        for index in [50_000, 50_001, 50_000] {
            write(&mut written, index);
        }
        assert_eq!(clones.get(), CHUNK);
        let [before, after] = [&read, &written].map(|list| list.iter().map(|item| item.value).sum::<usize>());
        assert_eq!(after - before, 3, "the clone is as it was");
    }

    #[test]
    fn items_are_in_order_whatever_the_length() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 3] {
            let list: Chunks<usize> = (0..length).collect();
            assert_eq!((list.len(), list.is_empty()), (length, length == 0));
            assert!(list.iter().copied().eq(0..length));
            assert!(list.iter().rev().copied().eq((0..length).rev()));
            assert!((0..length).all(|index| list.get(index) == Some(&index)));
            assert_eq!(list.get(length), None);
        }
    }
}
