//! How much room there is for runs that are under way.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Places, of which those that are taken never come to more than there are. Where places are taken away that are in use, they are
/// gone once they are left.
#[derive(Debug)]
pub(super) struct Room {
    free: Semaphore,
    size: AtomicUsize,
    /// Those in use that are more than there are to be.
    surplus: AtomicUsize,
}

/// Places in a room, which are left with this value.
#[derive(Debug)]
pub(super) struct Places<'r> {
    room: &'r Room,
    taken: Option<SemaphorePermit<'r>>,
}

impl Room {
    /// Without a place.
    pub(super) fn new() -> Self {
        Self { free: Semaphore::new(0), size: AtomicUsize::new(0), surplus: AtomicUsize::new(0) }
    }

    /// Makes it one of so many places. Not to be called by two at once.
    pub(super) fn resize(&self, size: usize) {
        let before = self.size.swap(size, Ordering::Relaxed);
        let (added, removed) = (size.saturating_sub(before), before.saturating_sub(size));
        self.free.add_permits(added - self.pay(added));
        // Those that are left meanwhile are free a while longer, until others are left.
        let forgotten = self.free.forget_permits(removed);
        self.surplus.fetch_add(removed - forgotten, Ordering::Relaxed);
    }

    /// Waits for so many places, which others don't get before who came earlier. More than there are ever come only when it grows.
    pub(super) async fn enter(&self, places: u32) -> Places<'_> {
        // It is never closed.
        Places { room: self, taken: self.free.acquire_many(places).await.ok() }
    }

    /// Takes up to so many from the surplus, and returns how many these were.
    fn pay(&self, most: usize) -> usize {
        let less = |surplus: usize| Some(surplus.saturating_sub(most));
        let before = self.surplus.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        before.unwrap_or_else(|before| before).min(most)
    }
}

impl Drop for Places<'_> {
    fn drop(&mut self) {
        let Some(taken) = &mut self.taken else { return };
        if let Some(gone) = taken.split(self.room.pay(taken.num_permits())) {
            gone.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Places that are there at once.
    fn enter(room: &Room, places: u32) -> Option<Places<'_>> {
        match pin!(room.enter(places)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(places) => Some(places),
            Poll::Pending => None,
        }
    }

    #[test]
    fn no_more_places_are_taken_than_there_are() {
        let room = Room::new();
        assert!(enter(&room, 1).is_none());
        room.resize(10);
        let (first, second) = (enter(&room, 8), enter(&room, 2));
        assert!(first.is_some() && second.is_some() && enter(&room, 1).is_none());
        drop(second);
        assert!(enter(&room, 3).is_none() && enter(&room, 2).is_some());
    }

    #[test]
    fn places_in_use_are_gone_once_they_are_left() {
        let room = Room::new();
        room.resize(10);
        let (first, second) = (enter(&room, 4), enter(&room, 4));
        room.resize(3);
        assert!(enter(&room, 1).is_none());
        drop(first);
        assert!(enter(&room, 1).is_none(), "four are taken of three");
        drop(second);
        assert!(enter(&room, 4).is_none());
        assert!(enter(&room, 3).is_some());
    }

    #[test]
    fn growing_again_gives_no_more_than_the_new_size() {
        let room = Room::new();
        room.resize(10);
        let first = enter(&room, 8);
        room.resize(3);
        room.resize(9);
        assert!(enter(&room, 2).is_none());
        let second = enter(&room, 1);
        assert!(second.is_some());
        drop((first, second));
        assert!(enter(&room, 10).is_none() && enter(&room, 9).is_some());
        room.resize(12);
        assert!(enter(&room, 13).is_none() && enter(&room, 12).is_some());
    }
}
