//! Ranges of host users: no two guests share one.
//!
//! `userns = auto` takes what the record says that the guest had. Where it says nothing, it takes a slot that follows from
//! the guest's name, so that adding, removing or reordering others moves nobody, but for the rare guests whose slots meet.
//! Then the one whose name comes first has it, and the other takes the next that is free, whatever the order in the config
//! (ordered hash table, Amble and Knuth 1974). One that may have guests of its own takes a block of slots.

use core::ops::Range;

use super::build::Builder;
use super::guest::{AUTO, USER_MAX};
use super::record::Line;
use super::value::{self, Wrong};
use super::{Guest, GuestId, Plan, Users};
use crate::config::diagnostic::{Code, Detail};
use crate::config::key::Key;
use crate::limits;
use crate::text::{self, List};

/// Slots to choose from, at most.
const SLOTS: u32 = (limits::USER_BASE.end - limits::USER_BASE.start) / limits::USER_RANGE;

/// Slots of a guest that may have guests of its own.
const BLOCK: u32 = limits::USER_RANGES_NESTING;

/// What ranges are handed out from, and who has some already.
#[derive(Clone, Debug)]
pub struct Stock<'a> {
    /// The numbers to hand out.
    pub pool: Range<u32>,
    /// The record: see [`super::record`].
    pub record: &'a [u8],
    /// Whose guests these are, in the record.
    pub holder: &'a [u8],
    /// The one guest that is going to start; empty: all of them are.
    pub only: &'a [u8],
    /// The plan that is being carried out, where this one is to follow it: guests keep what they have.
    pub old: Option<Old<'a>>,
    /// Mixed into what follows from a name; 0 where the same name is to get the same range everywhere.
    pub salt: u32,
}

/// A plan that is being carried out.
#[derive(Clone, Copy, Debug)]
pub struct Old<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Which of its guests are not down.
    pub is_up: &'a [bool; limits::GUESTS],
}

impl<'a> Old<'a> {
    /// The ranges of each guest, by what it may be running as, but of that called `name`; of all of them, or of those that
    /// are not down.
    fn ranges(self, name: &'a [u8], all: bool) -> impl Iterator<Item = Users> {
        let Old { plan, is_up } = self;
        let of_other = move |guest: &&Guest| !guest.is_free() && plan.strings.bytes(guest.name) != name;
        let guests = plan.guests.iter().zip(is_up).filter(move |(_, is_up)| all || **is_up).map(|(guest, _)| guest);
        guests.filter(of_other).flat_map(move |guest| plan.ranges(guest))
    }
}

impl Stock<'_> {
    /// What a host has at first: the range for guests, and nobody who has any of it.
    pub const ALL: Stock<'static> =
        Stock { pool: limits::USER_BASE, record: b"", holder: b"", only: b"", old: None, salt: 0 };
}

/// The numbers to hand out where `map` is this process's own map (user_namespaces(7)): on a host the range for guests; in a
/// guest what it has besides the range for itself.
#[must_use]
pub fn pool(map: &[u8]) -> Range<u32> {
    let mut end = 0u64;
    let lines = || map.split(|byte| *byte == b'\n');
    // Each line begins where another ends, until one is missing.
    while let Some(count) = lines().find_map(|line| begins_at(line, end)) {
        end += count;
    }
    if end >= limits::USER_BASE.end.into() {
        return limits::USER_BASE;
    }
    let end = end as u32 / limits::USER_RANGE * limits::USER_RANGE;
    limits::USER_RANGE..end.max(limits::USER_RANGE)
}

/// How many users the line of a map has, if `first` is the first of them.
fn begins_at(line: &[u8], first: u64) -> Option<u64> {
    let mut numbers = line.split(u8::is_ascii_whitespace).filter_map(text::number::<u32>);
    let (inside, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
    (u64::from(inside) == first && count > 0).then_some(count.into())
}

/// Slots taken, a bit each.
struct Taken([u8; SLOTS.div_ceil(8) as usize]);

impl Taken {
    fn is_free(&self, slots: Range<u32>) -> bool {
        slots.into_iter().all(|slot| self.0.get(slot as usize / 8).is_some_and(|byte| byte & 1 << (slot % 8) == 0))
    }

    fn take(&mut self, slots: Range<u32>) {
        for slot in slots {
            if let Some(byte) = self.0.get_mut(slot as usize / 8) {
                *byte |= 1 << (slot % 8);
            }
        }
    }
}

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
                    if first.iter().chain(earlier).any(|other| other.overlaps(users)) {
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

    /// Checks the ranges that were given, and chooses the others from `stock`.
    pub fn users(&mut self, stock: &Stock<'_>) {
        for index in 0..self.plan.guests.len() {
            if self.plan.guests[index].users != Some(AUTO) {
                self.check_overlap(index);
                self.check_held(index, stock);
            }
        }
        let mut taken = self.taken(&Stock { old: None, ..stock.clone() }, false);
        self.keep_old(stock, &mut taken);
        self.keep_recorded(stock, &mut taken);
        // What the record remembers is taken for nobody else, as long as there is something else.
        let mut taken = self.taken(stock, true);
        // Blocks first: between single ranges there may be no room for one.
        for nesting in [true, false] {
            for index in 0..self.plan.guests.len() {
                let guest = &self.plan.guests[index];
                if guest.users == Some(AUTO) && guest.confinement.nesting == nesting {
                    self.choose(index, stock, &mut taken);
                }
            }
        }
    }

    fn check_overlap(&mut self, index: usize) {
        let plan = &self.plan;
        let meets = |other: &usize| {
            plan.guests[*other].users != Some(AUTO)
                && ranges(plan, index).any(|users| ranges(plan, *other).any(|other| other.overlaps(users)))
        };
        let Some(other) = (0..index).find(meets) else { return };
        let name = |index: usize| self.section(GuestId(index as u16)).copied();
        if let (Some(section), Some(other)) = (name(index), name(other)) {
            let at = self.asked_at(&section, Key::Userns);
            self.diagnostics.detail(Code::UsersOverlap, at, Detail::Text(other.name));
        }
    }

    /// Sees that no range that was given is another's who is running now. What somebody had who has ended, or has only
    /// because nothing was said, gives way.
    fn check_held(&mut self, index: usize, stock: &Stock<'_>) {
        if !stock.only.is_empty() && self.name(index) != stock.only {
            return;
        }
        let held = |line: Line<'_>| line.pid != 0 && ranges(self.plan, index).any(|users| line.users.overlaps(users));
        let meets = |users: Users| ranges(self.plan, index).any(|other| other.overlaps(users));
        let mut old = stock.old.into_iter().flat_map(|old| old.ranges(self.name(index), false));
        let is_held = Line::all(stock.record).any(held) || old.any(meets);
        drop(old);
        if is_held && let Some(section) = self.section(GuestId(index as u16)).copied() {
            let at = self.asked_at(&section, Key::Userns);
            self.diagnostics.error(Code::UsersHeld, at);
        }
    }

    /// What nobody can have: given, chosen, or another's who is running. What is remembered for somebody, too, if `all`.
    fn taken(&self, stock: &Stock<'_>, all: bool) -> Taken {
        let mut taken = Taken([0; _]);
        for users in (0..self.plan.guests.len()).flat_map(|index| ranges(self.plan, index)) {
            taken.take(slots(users, &stock.pool));
        }
        for line in Line::all(stock.record).filter(|line| all || line.pid != 0) {
            taken.take(slots(line.users, &stock.pool));
        }
        // Of those that are down too: they may start by it while this plan is made.
        for users in stock.old.into_iter().flat_map(|old| old.ranges(b"", true)) {
            taken.take(slots(users, &stock.pool));
        }
        taken
    }

    /// Gives each guest what it has by the old plan, unless somebody else has that now.
    fn keep_old(&mut self, stock: &Stock<'_>, taken: &mut Taken) {
        let Some(Old { plan: old, .. }) = stock.old else { return };
        for index in 0..self.plan.guests.len() {
            let id = old.find(self.name(index));
            let Some((id, was)) = id.and_then(|id| Some((id, old.guest(id)?))) else { continue };
            // What it has, or else what it was to have.
            for was in [was].into_iter().chain(old.next(id).map(|next| &next.guest)) {
                if let Some(users) = was.users.filter(|_| was.more_users.is_empty()) {
                    self.keep_users(index, users, stock, taken);
                }
            }
        }
    }

    /// Gives guest `index` these users, if it is to get some, and so many, and nobody has any of them.
    fn keep_users(&mut self, index: usize, users: Users, stock: &Stock<'_>, taken: &mut Taken) {
        let Some(guest) = self.plan.guests.get_mut(index) else { return };
        let slots = slots(users, &stock.pool);
        let whole = at_slot(slots.start, slots.end.saturating_sub(slots.start), &stock.pool) == users;
        if guest.users == Some(AUTO)
            && slots.end - slots.start == slots_of(guest)
            && whole
            && taken.is_free(slots.clone())
        {
            taken.take(slots);
            guest.users = Some(users);
            // It gives way to no name.
            guest.users_given = true;
        }
    }

    /// Gives each guest what the record says that it had, unless somebody else has that now.
    fn keep_recorded(&mut self, stock: &Stock<'_>, taken: &mut Taken) {
        for line in Line::all(stock.record).filter(|line| line.pid == 0 && line.holder == stock.holder) {
            let Some(id) = self.plan.find(line.name) else { continue };
            self.keep_users(usize::from(id.0), line.users, stock, taken);
        }
    }

    /// Puts guest `index` into the first place from its own on that is free, or whose guest must give way to it; then
    /// goes on with that one.
    fn choose(&mut self, index: usize, stock: &Stock<'_>, taken: &mut Taken) {
        let mut index = index;
        let width = self.plan.guests.get(index).map_or(1, slots_of);
        let places = (stock.pool.end.saturating_sub(stock.pool.start) / limits::USER_RANGE).min(SLOTS) / width;
        let mut remembers = true;
        let mut place = self.own_place(index, places, stock.salt);
        let mut tries = 0;
        while tries < places {
            let slots = place * width..(place + 1) * width;
            let users = at_slot(slots.start, width, &stock.pool);
            if taken.is_free(slots.clone()) {
                taken.take(slots);
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
            place = (place + 1) % places;
            tries += 1;
            if tries == places && core::mem::take(&mut remembers) {
                *taken = self.taken(stock, false);
                tries = 0;
            }
        }
        if let Some(section) = self.section(GuestId(index as u16)).copied() {
            self.diagnostics.error(Code::NoUsersLeft, section.name);
        }
    }

    fn name(&self, index: usize) -> &[u8] {
        self.plan.guests.get(index).map_or(b"", |guest| self.plan.strings.bytes(guest.name))
    }

    /// The place that follows from a guest's name alone (FNV-1a), of so many.
    fn own_place(&self, index: usize, places: u32, salt: u32) -> u32 {
        let hash = self
            .name(index)
            .iter()
            .fold(0x811c_9dc5u32 ^ salt, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
        hash.checked_rem(places).unwrap_or(0)
    }
}

/// All ranges of guest `index` that are known.
fn ranges(plan: &Plan, index: usize) -> impl Iterator<Item = Users> {
    plan.guests.get(index).into_iter().flat_map(|guest| plan.ranges(guest)).filter(|users| *users != AUTO)
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

/// How many slots a guest takes whose range is chosen.
fn slots_of(guest: &Guest) -> u32 {
    if guest.confinement.nesting { BLOCK } else { 1 }
}

/// The users of `width` slots from number `slot` on.
fn at_slot(slot: u32, width: u32, pool: &Range<u32>) -> Users {
    Users { base: pool.start + slot * limits::USER_RANGE, count: width * limits::USER_RANGE }
}

/// The slots that `users` touch.
fn slots(users: Users, pool: &Range<u32>) -> Range<u32> {
    let start = users.base.max(pool.start);
    let end = users.base.saturating_add(users.count).min(pool.end);
    if start >= end {
        return 0..0;
    }
    (start - pool.start) / limits::USER_RANGE..(end - 1 - pool.start) / limits::USER_RANGE + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_hands_out_the_range_for_guests_and_a_guest_what_it_has_besides_its_own() {
        for (map, expected) in [
            ("         0          0 4294967295\n", limits::USER_BASE),
            ("0 524288 1048576\n", 65_536..1_048_576),
            ("65536 900000 131072\n0 524288 65536\n", 65_536..196_608),
            ("0 524288 70000\n", 65_536..65_536),
            ("0 1000 1\n", 65_536..65_536),
            ("1 1000 10\n", 65_536..65_536),
            ("", 65_536..65_536),
        ] {
            assert_eq!(pool(map.as_bytes()), expected, "{map}");
        }
    }
}
