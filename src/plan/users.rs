//! Ranges of host users: no two guests share one.
//!
//! `userns = auto` takes a slot that follows from the guest's name, so that adding, removing or reordering others moves
//! nobody, but for the rare guests whose slots meet. Then the one whose name comes first has it, and the other takes the
//! next that is free, whatever the order in the config (ordered hash table, Amble and Knuth 1974).

use super::build::Builder;
use super::guest::{AUTO, USER_MAX};
use super::value::{self, Wrong};
use super::{Guest, GuestId, Plan, Users};
use crate::config::diagnostic::{Code, Detail};
use crate::config::key::Key;
use crate::limits;
use crate::text::List;

/// Slots to choose from.
const SLOTS: u32 = (limits::USER_BASE.end - limits::USER_BASE.start) / limits::USER_RANGE;

/// Slots taken, a bit each.
type Taken = [u8; SLOTS.div_ceil(8) as usize];

impl Builder<'_> {
    /// The value as ranges: the first, and those behind it.
    pub fn userns(&mut self) -> (Option<Users>, List<Users>) {
        match self.value.word(0) {
            b"auto" | b"none" => {
                let first = (self.value.word(0) == b"auto").then_some(AUTO);
                self.is_one_word();
                (first, List::EMPTY)
            }
            _ => {
                let mark = self.plan.more_users.mark();
                let mut first = None;
                for index in 0..self.value.len() {
                    let range = range(self.value.word(index));
                    let Some(users) = self.checked(index, range) else { continue };
                    let earlier = self.plan.more_users.get(self.plan.more_users.since(mark));
                    if first.iter().chain(earlier).any(|other| overlap(*other, users)) {
                        self.wrong(Code::WordTwice.into(), self.value.at(index));
                    } else if earlier.len() + 1 == limits::USER_RANGES {
                        self.too_many(index, limits::USER_RANGES, "ranges (limits::USER_RANGES)");
                    } else if first.is_none() {
                        first = Some(users);
                    } else if self.plan.more_users.push(users).is_err() {
                        self.too_many(index, limits::GUESTS, "further ranges in all (limits::GUESTS)");
                    }
                }
                (first, self.plan.more_users.since(mark))
            }
        }
    }

    /// Checks the ranges that were given, and chooses the others.
    pub fn users(&mut self) {
        let mut taken: Taken = [0; _];
        for index in 0..self.plan.guests.len() {
            if self.plan.guests[index].users == Some(AUTO) {
                continue;
            }
            self.check_overlap(index);
            ranges(self.plan, index).for_each(|users| take_slots(&mut taken, users));
        }
        for index in 0..self.plan.guests.len() {
            if self.plan.guests[index].users == Some(AUTO) {
                self.choose(index, &mut taken);
            }
        }
    }

    fn check_overlap(&mut self, index: usize) {
        let plan = &self.plan;
        let meets = |other: &usize| {
            plan.guests[*other].users != Some(AUTO)
                && ranges(plan, index).any(|users| ranges(plan, *other).any(|other| overlap(users, other)))
        };
        let Some(other) = (0..index).find(meets) else { return };
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

/// All ranges of guest `index`.
fn ranges(plan: &Plan, index: usize) -> impl Iterator<Item = Users> {
    let guest = plan.guests.get(index);
    let more = guest.map_or(List::EMPTY, |guest| guest.more_users);
    guest.and_then(|guest| guest.users).into_iter().chain(plan.more_users.get(more).iter().copied())
}

/// BASE:COUNT
fn range(word: &[u8]) -> Result<Users, Wrong> {
    /// The host's own users are below.
    const BASE_MIN: u64 = limits::USER_RANGE as u64;
    match value::pair(word) {
        Some((base, Some(_))) if base < BASE_MIN => Err(Code::HostUsers.into()),
        Some((base, Some(count))) => {
            let end = base.saturating_add(count);
            let range = Detail::Words("the users end before 4294967295, and there is at least one");
            let users = Users { base: base as u32, count: count as u32 };
            (count > 0 && end <= USER_MAX + 1).then_some(users).ok_or(Wrong::detail(Code::OutOfRange, range))
        }
        _ => Err(Code::NotUsers.into()),
    }
}

fn overlap(one: Users, other: Users) -> bool {
    let end = |users: Users| u64::from(users.base) + u64::from(users.count);
    u64::from(one.base) < end(other) && u64::from(other.base) < end(one)
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
