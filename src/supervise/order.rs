//! Who starts when, and who stops when: dependencies of a plan. Pure.
//!
//! A guest starts when all that it comes after are ready; a host goes down the other way round. A plan has no cycle, so
//! there is always one that may go next.

use crate::limits;
use crate::plan::GuestId;

/// A set of guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    words: [u64; limits::GUESTS.div_ceil(64)],
}

impl Set {
    /// No guest.
    pub const EMPTY: Set = Set { words: [0; limits::GUESTS.div_ceil(64)] };

    /// Adds `id`; whether it was not there yet.
    pub fn add(&mut self, id: GuestId) -> bool {
        let bit = 1 << (id.0 % 64);
        match self.words.get_mut(usize::from(id.0 / 64)) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Takes `id` out, where it is in.
    pub fn remove(&mut self, id: GuestId) {
        if let Some(word) = self.words.get_mut(usize::from(id.0 / 64)) {
            *word &= !(1 << (id.0 % 64));
        }
    }

    /// Whether `id` is in it.
    #[must_use]
    pub fn has(&self, id: GuestId) -> bool {
        self.words.get(usize::from(id.0 / 64)).is_some_and(|word| word & 1 << (id.0 % 64) != 0)
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Takes the first one out.
    pub fn take_first(&mut self) -> Option<GuestId> {
        let index = self.words.iter().position(|&word| word != 0)?;
        let word = self.words.get_mut(index)?;
        let bit = word.trailing_zeros();
        *word &= *word - 1;
        Some(GuestId((index as u32 * 64 + bit) as u16))
    }
}

/// The first of those that a guest comes `after` that it still has to wait for; nothing where it may start.
#[must_use]
pub fn waits_for(after: &[GuestId], is_ready: impl Fn(GuestId) -> bool) -> Option<GuestId> {
    after.iter().copied().find(|&dependency| !is_ready(dependency))
}

/// `id`, and everything that starting it starts too: what it `wants`, and what those want.
#[must_use]
pub fn wanted_with<'p>(id: GuestId, wants: impl Fn(GuestId) -> &'p [GuestId]) -> Set {
    let mut wanted = Set::EMPTY;
    let mut to_visit = Set::EMPTY;
    to_visit.add(id);
    while let Some(id) = to_visit.take_first() {
        wanted.add(id);
        for &other in wants(id).iter().filter(|&&other| !wanted.has(other)) {
            to_visit.add(other);
        }
    }
    wanted
}

/// Those of `count` guests that may be stopped now when the host goes down: all that come after them are down.
#[must_use]
pub fn may_stop<'p>(count: usize, after: impl Fn(GuestId) -> &'p [GuestId], is_down: impl Fn(GuestId) -> bool) -> Set {
    let mut needed = Set::EMPTY;
    for &dependency in ids(count).filter(|&id| !is_down(id)).flat_map(after) {
        needed.add(dependency);
    }
    let mut free = Set::EMPTY;
    for id in ids(count).filter(|&id| !is_down(id) && !needed.has(id)) {
        free.add(id);
    }
    free
}

/// The first `count` guests of a plan.
pub fn ids(count: usize) -> impl Iterator<Item = GuestId> + Clone {
    (0..count.min(limits::GUESTS)).map(|index| GuestId(index as u16))
}

#[cfg(test)]
mod tests;
