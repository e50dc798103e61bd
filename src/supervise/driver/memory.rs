//! Processes that were killed for want of memory.

use core::fmt;

use rustix::fd::AsFd;

use super::{Driver, index};
use crate::config::key::Key;
use crate::guest::cgroup;
use crate::limits;
use crate::plan::{Guest, GuestId, Kind, Plan};
use crate::supervise::kernel_log::{KernelLog, Next};
use crate::supervise::oom::{self, Full, Victim};
use crate::supervise::poll::{Interest, Part, Source};
use crate::supervise::state::Notice;
use crate::units::Bytes;

impl<'a> Driver<'a> {
    /// From its birth on, for its cgroup is there by then.
    pub(super) fn watch_memory(&mut self, id: GuestId, now_ms: u64) {
        let events = self.member(id).and_then(|member| self.base.memory_events(member));
        let Some((events, slot)) = events.zip(self.table.slots.get_mut(index(id))) else { return };
        // What was read is what a change is told from.
        cgroup::oom_kills(events.as_fd());
        let watched = self.poll.watch(events.as_fd(), Source::Guest(Part::Memory, id), Interest::Changed);
        slot.memory = Some(events);
        if let Err(errno) = watched {
            // It is read at the guest's end at the latest.
            self.journal.trouble("epoll_ctl", errno, now_ms);
        }
    }

    /// Looks how many of its processes were killed for want of memory.
    pub(super) fn memory(&mut self, id: GuestId) {
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        let Some(events) = &slot.memory else { return };
        let killed = cgroup::oom_kills(events.as_fd());
        let more = killed.saturating_sub(slot.killed);
        if more > 0 {
            slot.killed = killed;
            slot.oom_kills = slot.oom_kills.saturating_add(more);
            slot.untold.counted(more);
            self.bereft.add(id);
        }
    }

    /// Tells whom the kernel killed for want of memory, as far as its log says: so many records in a turn. Whether there
    /// may be more.
    pub fn tell_killed(&mut self, now_ms: u64) -> bool {
        if self.bereft.is_empty() {
            return false;
        }
        for _ in 0..limits::KERNEL_LOG_BATCH {
            let mut buffer = [0; KernelLog::RECORD_BYTES];
            match self.log.read(&mut buffer) {
                Next::Record(record) => self.killed(record, now_ms),
                Next::Cut => {}
                Next::End => {
                    while let Some(id) = self.bereft.take_first() {
                        if let Some(count) = self.slot_mut(id).and_then(|slot| slot.untold.take_nameless()) {
                            self.announce_killed(id, count, None, now_ms);
                        }
                    }
                    return false;
                }
            }
        }
        true
    }

    /// A record of the kernel's log.
    pub(super) fn killed(&mut self, record: &[u8], now_ms: u64) {
        let Some((kind, name, victim)) = oom::parse(record, self.base_name.to_bytes()) else { return };
        let Some(id) = self.plan.find(name) else { return };
        let is_service = self.guest(id).is_some_and(|guest| guest.kind == Kind::Service);
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        if is_service == (kind == Kind::Service) {
            slot.untold.named();
            slot.victim = Some((victim, now_ms));
            self.announce_killed(id, 1, Some(victim), now_ms);
        }
    }

    /// Tells of processes that were killed, `victim` the last of them, or holds that back until later.
    pub(super) fn announce_killed(&mut self, id: GuestId, more: u32, victim: Option<Victim>, now_ms: u64) {
        let Some(slot) = self.slot_mut(id) else { return };
        let (told, due_ms) = (slot.quiet.note(more, now_ms), slot.quiet.due_ms());
        self.tell_at_ms = self.tell_at_ms.into_iter().chain(due_ms).min();
        if let Some(count) = told {
            self.announce(id, Notice::Killed(count, victim));
        }
    }

    /// The process of a guest that was killed last for want of memory, and when.
    #[must_use]
    pub fn victim(&self, id: GuestId) -> Option<&(Victim, u64)> {
        self.slot(id)?.victim.as_ref()
    }
}

/// The key that says how much of what was full there may be, and how much that is; nothing where no config says it.
pub(super) fn limit(plan: &Plan, guest: &Guest, full: Full) -> Option<(Key, Option<u64>)> {
    match full {
        Full::Guest => Some((Key::Memory, guest.limits.memory_bytes)),
        Full::AllGuests => Some((Key::Reserve, plan.host.reserve_bytes)),
        Full::Inside | Full::Host => None,
    }
}

/// What was full, and where the config says how much that is: "memory = 32M (/etc/inn.conf:7)".
pub(super) struct Cause<'p> {
    pub(super) plan: &'p Plan,
    pub(super) guest: &'p Guest,
    pub(super) full: Full,
}

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.full {
            Full::Guest => "",
            Full::AllGuests => "all guests together: ",
            Full::Inside => "a limit that it set itself",
            Full::Host => "the memory of the host",
        })?;
        let Some((key, bytes)) = limit(self.plan, self.guest, self.full) else { return Ok(()) };
        match bytes {
            Some(bytes) => write!(f, "{} = {}", key.name(), Bytes(bytes))?,
            None => f.write_str(key.name())?,
        }
        let place = self.plan.place_of(self.guest, key);
        place.map_or(Ok(()), |(file, line)| write!(f, " ({file}:{line})"))
    }
}
