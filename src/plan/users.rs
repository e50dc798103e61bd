//! Ranges of host users: no two guests share one.
//!
//! `userns = auto` takes a slot that follows from the guest's name, so that adding, removing or reordering others moves
//! nobody, but for the rare guests whose slots meet. Then the one whose name comes first has it, and the other takes the
//! next that is free, whatever the order in the config (ordered hash table, Amble and Knuth 1974).

use super::build::Builder;
use super::guest::AUTO;
use super::{Guest, GuestId, Users};
use crate::config::diagnostic::{Code, Detail};
use crate::config::key::Key;
use crate::limits;

/// Slots to choose from.
const SLOTS: u32 = (limits::USER_BASE.end - limits::USER_BASE.start) / limits::USER_RANGE;

/// Slots taken, a bit each.
type Taken = [u8; SLOTS.div_ceil(8) as usize];

impl Builder<'_> {
    /// Checks the ranges that were given, and chooses the others.
    pub fn users(&mut self) {
        let mut taken: Taken = [0; _];
        for index in 0..self.plan.guests.len() {
            if let Some(users) = self.plan.guests[index].users.filter(|users| *users != AUTO) {
                self.check_overlap(index, users);
                take_slots(&mut taken, users);
            }
        }
        for index in 0..self.plan.guests.len() {
            if self.plan.guests[index].users == Some(AUTO) {
                self.choose(index, &mut taken);
            }
        }
    }

    fn check_overlap(&mut self, index: usize, users: Users) {
        let overlaps = |other: Users| {
            let end = |users: Users| u64::from(users.base) + u64::from(users.count);
            other != AUTO && u64::from(users.base) < end(other) && u64::from(other.base) < end(users)
        };
        let earlier = self.plan.guests.iter().take(index);
        let Some(other) = earlier.clone().position(|guest| guest.users.is_some_and(overlaps)) else { return };
        let name = |index: usize| self.section(GuestId(index as u16)).copied();
        if let (Some(section), Some(other)) = (name(index), name(other)) {
            let at = self.asked_at(&section, Key::Userns);
            self.diagnostics.detail(Code::UsersOverlap, at, Detail::Text(other.name));
        }
    }

    /// Puts guest `index` into the first slot from its own on that is free, or whose guest must give way to it; then
    /// goes on with that one.
    fn choose(&mut self, index: usize, taken: &mut Taken) {
        let mut index = index;
        let mut slot = self.own_slot(index);
        for _ in 0..SLOTS {
            let users = Users { base: limits::USER_BASE.start + slot * limits::USER_RANGE, count: limits::USER_RANGE };
            let (byte, bit) = (slot as usize / 8, 1 << (slot % 8));
            if taken[byte] & bit == 0 {
                taken[byte] |= bit;
                self.plan.guests[index].users = Some(users);
                return;
            }
            let holds = |guest: &Guest| guest.users == Some(users) && !guest.users_given;
            let holder = self.plan.guests.iter().position(holds);
            if let Some(holder) = holder.filter(|holder| self.name(index) < self.name(*holder)) {
                self.plan.guests[index].users = Some(users);
                self.plan.guests[holder].users = Some(AUTO);
                index = holder;
            }
            slot = (slot + 1) % SLOTS;
        }
        if let Some(section) = self.section(GuestId(index as u16)).copied() {
            self.diagnostics.error(Code::NoUsersLeft, section.name);
        }
    }

    fn name(&self, index: usize) -> &[u8] {
        self.plan.guests.get(index).map_or(b"", |guest| self.plan.strings.bytes(guest.name))
    }

    /// The slot that follows from a guest's name alone (FNV-1a).
    fn own_slot(&self, index: usize) -> u32 {
        let hash = self
            .name(index)
            .iter()
            .fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
        hash % SLOTS
    }
}

fn take_slots(taken: &mut Taken, users: Users) {
    let pool = &limits::USER_BASE;
    let start = users.base.max(pool.start);
    let end = users.base.saturating_add(users.count).min(pool.end);
    if start >= end {
        return;
    }
    for slot in (start - pool.start) / limits::USER_RANGE..=(end - 1 - pool.start) / limits::USER_RANGE {
        taken[slot as usize / 8] |= 1 << (slot % 8);
    }
}
