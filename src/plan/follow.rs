//! A plan in place of another that is being carried out: every guest keeps its place, and what cannot change while it runs
//! waits for its next start. Pure.
//!
//! Whatever a guest may be doing, it is taken for running: who carries the plan out knows better, and lets what is down be
//! what it is to be ([`Plan::renew`]).

use super::change::{Keys, OWN_TMPFS, Staged, number};
use super::guest::is_set;
use super::show::Shown;
use super::{At, Guest, GuestId, Hook, LogTo, Moment, Next, Plan};
use crate::config::key::{Key, section};
use crate::limits;
use crate::text::{Full, List, Text};

/// What the supervisor alone goes by: it holds at once, whatever the guest does.
const IMMEDIATE: [Key; 9] = [
    Key::Description,
    Key::After,
    Key::Wants,
    Key::Autostart,
    Key::Restart,
    Key::RestartDelay,
    Key::Stop,
    Key::GiveUp,
    Key::Critical,
];

/// The keys of a guest that can differ. `profile` and `before` are in what they lead to.
pub fn keys() -> impl Iterator<Item = Key> {
    const GUESTS: u8 = section::GUEST | section::SERVICE;
    let is_own = |key: &Key| key.sections() & GUESTS != 0 && !matches!(key, Key::Profile | Key::Before);
    Key::ALL.iter().copied().filter(move |key| is_own(key) && key.is_built())
}

/// Whether `key` holds at once, for it is the supervisor's own affair.
#[must_use]
pub fn is_immediate(key: Key) -> bool {
    IMMEDIATE.contains(&key)
}

impl Plan {
    /// Makes this plan, which was built from a config, the one that follows `old`: what it has in common with that keeps its
    /// place, what is otherwise waits in [`Plan::next`], and what it has no more is marked as removed.
    ///
    /// # Errors
    /// Both do not fit together. This plan is of no use then.
    pub fn follow(&mut self, old: &Plan) -> Result<(), Full> {
        self.profiles.clear();
        self.references.clear();
        self.place_like(old)?;
        for index in 0..old.guests.len() {
            let id = GuestId(index as u16);
            let Some(before) = old.guest(id) else { continue };
            let Some(now) = self.guest(id).copied() else {
                let mut removed = Guest { is_removed: true, ..*before };
                removed.name = self.strings.add(old.strings.bytes(before.name))?;
                keys().try_for_each(|key| self.adopt(old, before, key, &mut removed))?;
                self.put(id, removed);
                continue;
            };
            let mut next = Next { id, guest: now, keys: Keys::default(), live: Keys::default() };
            let mut running = now;
            for key in keys().filter(|key| !is_immediate(*key)) {
                let shown = |plan, guest| Shown { plan, guest: Some(guest), key };
                // Of another size than it would say is as good as another.
                if !shown(old, before).is_same(&shown(self, &next.guest)) {
                    next.keys.add(key);
                    next.live.set(key, self.is_live(&now, old, before, key));
                    self.adopt(old, before, key, &mut running)?;
                }
            }
            if !next.keys.is_empty() {
                self.put(id, running);
                self.next.push(next).map_err(|_| Full)?;
            }
        }
        self.config_strings = self.strings.mark();
        Ok(())
    }

    /// Moves guests to the places that they have in `old`, and new ones to free places.
    fn place_like(&mut self, old: &Plan) -> Result<(), Full> {
        let mut places = [None; limits::GUESTS];
        let mut is_taken = [false; limits::GUESTS];
        let count = self.guests.len();
        for (place, taken) in is_taken.iter_mut().enumerate() {
            *taken = old.guest(GuestId(place as u16)).is_some();
        }
        for (guest, place) in self.guests.iter().zip(&mut places) {
            *place = old.find(self.strings.bytes(guest.name)).map(|id| id.0);
        }
        let mut free = 0;
        for place in places.iter_mut().take(count).filter(|place| place.is_none()) {
            while is_taken.get(free).copied().unwrap_or_default() {
                free += 1;
            }
            *is_taken.get_mut(free).ok_or(Full)? = true;
            *place = Some(free as u16);
        }
        for id in self.dependencies.items_mut() {
            // Each is of a guest that has a place.
            id.0 = places.get(usize::from(id.0)).copied().flatten().unwrap_or(id.0);
        }
        let len = is_taken.iter().rposition(|taken| *taken).map_or(0, |last| last + 1);
        while self.guests.len() < len {
            self.guests.push(Guest::FREE).map_err(|_| Full)?;
        }
        for index in 0..len {
            // Each exchange brings one to its place.
            while let Some(place) =
                places.get(index).copied().flatten().map(usize::from).filter(|place| *place != index)
            {
                self.guests.swap(index, place);
                places.swap(index, place);
            }
        }
        Ok(())
    }

    fn put(&mut self, id: GuestId, guest: Guest) {
        if let Some(place) = self.guests.get_mut(usize::from(id.0)) {
            *place = guest;
        }
    }

    /// Whether `key` of a guest that runs as `before` says in `old` can become what `now` says.
    fn is_live(&self, now: &Guest, old: &Plan, before: &Guest, key: Key) -> bool {
        match key {
            Key::Cpuset | Key::IoMax | Key::Rlimit => true,
            // A size can change; none can be mounted, or taken away.
            Key::Tmpfs => {
                let (was, is) = (old.tmpfs.get(before.tmpfs), self.tmpfs.get(now.tmpfs));
                let (was, is) = (
                    was.iter().map(|one| old.strings.bytes(one.target)),
                    is.iter().map(|one| self.strings.bytes(one.target)),
                );
                let is_own = |target: &[u8]| OWN_TMPFS.iter().any(|(own, _)| own.to_bytes() == target);
                was.clone().all(|one| is_own(one) || is.clone().any(|other| one == other))
                    && is.clone().all(|one| is_own(one) || was.clone().any(|other| one == other))
            }
            key => number(key).is_some(),
        }
    }

    /// Gives `to`, which is a guest of this plan, what `from` of `old` has for `key`.
    fn adopt(&mut self, old: &Plan, from: &Guest, key: Key, to: &mut Guest) -> Result<(), Full> {
        let mut moved = *from;
        let text = |plan: &mut Plan, text: &mut Text| -> Result<(), Full> {
            *text = plan.strings.add(old.strings.bytes(*text))?;
            Ok(())
        };
        match key {
            Key::Description => text(self, &mut moved.description)?,
            Key::Root => text(self, &mut moved.root)?,
            Key::Image => text(self, &mut moved.image)?,
            Key::Directory => text(self, &mut moved.directory)?,
            Key::Hostname => text(self, &mut moved.hostname)?,
            Key::Tty => text(self, &mut moved.tty)?,
            Key::Log => {
                if let LogTo::Files { path, .. } = &mut moved.log_to {
                    text(self, path)?;
                }
            }
            Key::Cpuset => text(self, &mut moved.limits.cpuset)?,
            Key::Command => moved.command = self.adopt_words(old, from.command)?,
            Key::Env => moved.env = self.adopt_words(old, from.env)?,
            Key::Ready => moved.ready_words = self.adopt_words(old, from.ready_words)?,
            Key::HookCreate | Key::HookStart | Key::HookStop | Key::HookDestroy => {
                let Some(moment) = Moment::of(key) else { return Ok(()) };
                // Where the config says it is not what is meant.
                let mut list = heapless::Vec::<Hook, { limits::HOOKS }>::new();
                for hook in old.hooks(from, moment) {
                    let command = self.adopt_words(old, hook.command)?;
                    list.push(Hook { command, at: At::LIVE }).map_err(|_| Full)?;
                }
                moved.hooks[moment as usize] = self.hooks.add(&list)?;
            }
            Key::Health => {
                if let Some(mut check) = old.health(from).copied() {
                    check.command = self.adopt_words(old, check.command)?;
                    moved.health = self.health.add(&[check])?;
                }
            }
            Key::Groups => moved.groups = self.groups.add(old.groups.get(from.groups))?,
            Key::Rlimit => moved.rlimits = self.rlimits.add(old.rlimits.get(from.rlimits))?,
            Key::Stop => moved.stop = self.stop_steps.add(old.stop_steps.get(from.stop))?,
            Key::Userns => moved.more_users = self.more_users.add(old.more_users.get(from.more_users))?,
            // Numbers of guests are the same in both.
            Key::After => moved.after = self.dependencies.add(old.dependencies.get(from.after))?,
            Key::Wants => moved.wants = self.dependencies.add(old.dependencies.get(from.wants))?,
            Key::Device => {
                let mark = self.devices.mark();
                for mut device in old.devices.get(from.devices).iter().copied() {
                    text(self, &mut device.path)?;
                    self.devices.push(device)?;
                }
                moved.devices = self.devices.since(mark);
            }
            Key::Bind => {
                let mark = self.binds.mark();
                for mut bind in old.binds.get(from.binds).iter().copied() {
                    text(self, &mut bind.source)?;
                    text(self, &mut bind.target)?;
                    self.binds.push(bind)?;
                }
                moved.binds = self.binds.since(mark);
            }
            Key::Tmpfs => {
                let mark = self.tmpfs.mark();
                for mut tmpfs in old.tmpfs.get(from.tmpfs).iter().copied() {
                    text(self, &mut tmpfs.target)?;
                    self.tmpfs.push(tmpfs)?;
                }
                moved.tmpfs = self.tmpfs.since(mark);
            }
            Key::IoMax => {
                let mark = self.io_max.mark();
                for mut disk in old.io_max.get(from.limits.io_max).iter().copied() {
                    text(self, &mut disk.device)?;
                    self.io_max.push(disk)?;
                }
                moved.limits.io_max = self.io_max.since(mark);
            }
            Key::Sysctl => {
                let mark = self.sysctls.mark();
                for mut sysctl in old.sysctls.get(from.sysctls).iter().copied() {
                    text(self, &mut sysctl.path)?;
                    text(self, &mut sysctl.value)?;
                    self.sysctls.push(sysctl)?;
                }
                moved.sysctls = self.sysctls.since(mark);
            }
            _ => {}
        }
        assign(key, &moved, to);
        // Where the config says it is not what is meant.
        set_place(to, key, if is_set(&from.asked, key) { At::LIVE } else { At::NOWHERE });
        Ok(())
    }

    fn adopt_words(&mut self, old: &Plan, from: List<Text>) -> Result<List<Text>, Full> {
        let mark = self.words.mark();
        for text in old.words.get(from) {
            let text = self.strings.add(old.strings.bytes(*text))?;
            self.words.push(text)?;
        }
        Ok(self.words.since(mark))
    }

    /// Lets guest `id`, of which nothing exists, be what it is to be from its next start on. Whether it changed: a removed
    /// one is gone then, its place free.
    pub fn renew(&mut self, id: GuestId) -> bool {
        if self.guest(id).is_some_and(|guest| guest.is_removed) {
            self.put(id, Guest::FREE);
            return true;
        }
        let Some(place) = self.next.iter().position(|next| next.id == id) else { return false };
        let next = self.next.swap_remove(place);
        self.put(id, next.guest);
        true
    }

    /// Whether a guest that runs by users that it is to lose has some that another is to have.
    #[must_use]
    pub fn users_meet(&self, is_up: &dyn Fn(GuestId) -> bool) -> bool {
        let each = || self.guests.iter().enumerate().filter(|(_, guest)| !guest.is_free());
        let loses = |id: GuestId, guest: &Guest| guest.is_removed || self.pending(id).has(Key::Userns);
        each().map(|(place, guest)| (GuestId(place as u16), guest)).any(|(id, guest)| {
            let meets =
                |other: &Guest| self.ranges(other).any(|users| self.ranges(guest).any(|mine| mine.overlaps(users)));
            loses(id, guest)
                && is_up(id)
                && (each().any(|(place, other)| place != usize::from(id.0) && meets(other))
                    || self.next.iter().any(|next| next.id != id && meets(&next.guest)))
        })
    }

    /// What of guest `id` waits and can be changed while it runs, as a change that is staged; nothing where there is none.
    #[must_use]
    pub fn stage_next(&self, id: GuestId) -> Option<Staged> {
        let next = self.next(id).filter(|next| !next.live.is_empty())?;
        let mut to = *self.guest(id)?;
        keys().filter(|key| next.live.has(*key)).for_each(|key| assign(key, &next.guest, &mut to));
        Some(self.staged(&to, next.live))
    }

    /// What could be changed of guest `id` while it runs was refused: it waits like all else.
    pub fn give_up_live(&mut self, id: GuestId) {
        if let Some(next) = self.next.iter_mut().find(|next| next.id == id) {
            next.live = Keys::default();
        }
    }

    /// Guest `id` was changed while it runs: so it is at its next start too. `is_next` where the change is what waited.
    pub(super) fn settle(&mut self, id: GuestId, changed: Keys, is_next: bool) {
        let Plan { next, guests, .. } = self;
        let Some(place) = next.iter().position(|next| next.id == id) else { return };
        let Some((next, guest)) = next.get_mut(place).zip(guests.get_mut(usize::from(id.0))) else { return };
        for key in keys().filter(|key| changed.has(*key)) {
            if is_next {
                set_place(guest, key, next.guest.asked.get(key as usize).copied().unwrap_or_default());
            } else {
                assign(key, guest, &mut next.guest);
                set_place(&mut next.guest, key, guest.asked.get(key as usize).copied().unwrap_or_default());
            }
            next.keys.set(key, false);
            next.live.set(key, false);
        }
        if next.keys.is_empty() {
            self.next.swap_remove(place);
        }
    }
}

fn set_place(guest: &mut Guest, key: Key, at: At) {
    if let Some(asked) = guest.asked.get_mut(key as usize) {
        *asked = at;
    }
}

/// Gives `to` what `from`, of the same plan, has for `key`.
fn assign(key: Key, from: &Guest, to: &mut Guest) {
    match key {
        // What a guest may do follows from several keys.
        Key::Kind | Key::Caps | Key::Seccomp | Key::Nesting | Key::Features | Key::Userns => {
            match key {
                Key::Kind => to.kind = from.kind,
                Key::Features => to.features = from.features,
                Key::Userns => (to.users, to.more_users) = (from.users, from.more_users),
                _ => {}
            }
            to.confinement = from.confinement;
        }
        Key::Ephemeral | Key::Readonly => to.layer = from.layer,
        Key::Description => to.description = from.description,
        Key::Root => to.root = from.root,
        Key::Image => to.image = from.image,
        Key::Directory => to.directory = from.directory,
        Key::Hostname => to.hostname = from.hostname,
        Key::Tty => to.tty = from.tty,
        Key::Command => to.command = from.command,
        Key::Env => to.env = from.env,
        Key::User => to.user = from.user,
        Key::Groups => to.groups = from.groups,
        Key::Device => to.devices = from.devices,
        Key::Bind => to.binds = from.binds,
        Key::Tmpfs => to.tmpfs = from.tmpfs,
        Key::Sysctl => to.sysctls = from.sysctls,
        Key::Rlimit => to.rlimits = from.rlimits,
        Key::Cpuset => to.limits.cpuset = from.limits.cpuset,
        Key::IoMax => to.limits.io_max = from.limits.io_max,
        Key::Network => to.network = from.network,
        Key::After => to.after = from.after,
        Key::Wants => to.wants = from.wants,
        Key::Autostart => to.autostart = from.autostart,
        Key::Restart => to.restart = from.restart,
        Key::RestartDelay => to.restart_delay_ms = from.restart_delay_ms,
        Key::GiveUp => to.give_up = from.give_up,
        Key::Critical => to.critical_within_ms = from.critical_within_ms,
        Key::Ready => {
            (to.ready, to.ready_words, to.ready_within_ms) = (from.ready, from.ready_words, from.ready_within_ms);
        }
        Key::Health => to.health = from.health,
        Key::HookCreate | Key::HookStart | Key::HookStop | Key::HookDestroy => {
            if let Some(moment) = Moment::of(key) {
                to.hooks[moment as usize] = from.hooks[moment as usize];
            }
        }
        Key::Stop => to.stop = from.stop,
        Key::Log => (to.log_bytes, to.log_to) = (from.log_bytes, from.log_to),
        Key::Console => to.has_console = from.has_console,
        key => to.limits.set_number(key, from.limits.number(key)),
    }
}
