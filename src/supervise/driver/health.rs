//! Whether guests are ready, and well: what they say of it, and the looks after them.

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

use super::{Driver, FROZEN_MS, KILL, SOON_MS, index};
use crate::guest::cgroup;
use crate::guest::check::{Patient, What, check};
use crate::limits;
use crate::plan::{Guest, GuestId, Plan, Ready};
use crate::supervise::health::{Due, Health};
use crate::supervise::notify;
use crate::supervise::poll::{Interest, Part, Source};
use crate::supervise::state::{Event, Illness, Notice, State};
use crate::sys::socket::Received;
use crate::sys::wait::End;
use crate::sys::{signal, socket};

impl<'a> Driver<'a> {
    /// How a guest is besides its state.
    #[must_use]
    pub fn health(&self, id: GuestId) -> Option<&Health> {
        self.table.health.get(index(id))
    }

    /// What is expected of a guest that has come to `state`.
    pub(super) fn expect(&mut self, id: GuestId, state: State, now_ms: u64) {
        let Some(guest) = self.plan.guests.get(index(id)).filter(|guest| guest.is_watched()) else { return };
        let Some(health) = self.table.health.get_mut(index(id)) else { return };
        match (state, guest.ready, self.plan.health(guest)) {
            (State::Running, Ready::Port(_) | Ready::File | Ready::Command, _) => health.expect_looks(0, now_ms),
            (State::Ready, _, Some(check)) if check.command.is_empty() => {
                health.expect_beats(check.every_ms.into(), now_ms);
            }
            (State::Ready, _, Some(check)) => health.expect_looks(check.every_ms.into(), now_ms),
            _ => {}
        }
    }

    /// From exec on: what the program says may come before that is known, and waits.
    pub(super) fn watch_ready(&mut self, id: GuestId, now_ms: u64) {
        let Some(ready) = self.slot(id).and_then(|slot| slot.ready.as_ref()) else { return };
        if let Err(errno) = self.poll.watch(ready.as_fd(), Source::Guest(Part::Ready, id), Interest::Readable) {
            // It is not ready in time then.
            self.journal.trouble("epoll_ctl", errno, now_ms);
        }
    }

    pub(super) fn ready(&mut self, id: GuestId, now_ms: u64) {
        let Some(ready) = self.slot(id).and_then(|slot| slot.ready.as_ref()) else { return };
        if self.guest(id).is_some_and(|guest| guest.ready == Ready::Notify) {
            return self.notified(id, now_ms);
        }
        let Some(is_ready) = says_ready(ready) else { return };
        // It is on record before what was said is gone.
        if is_ready && matches!(self.state(id), State::Running | State::Stopping { .. }) {
            self.feed(id, Event::ReadyReported, now_ms);
        }
        if let Some(ready) = self.slot_mut(id).and_then(|slot| slot.ready.take()) {
            self.poll.close(ready);
        }
    }

    /// Takes one notification: more in the next turn, after others had theirs.
    pub(super) fn notified(&mut self, id: GuestId, now_ms: u64) {
        let Some(socket) = self.slot(id).and_then(|slot| slot.ready.as_ref()) else { return };
        let mut buffer = [0; limits::NOTIFY_BYTES];
        let received = match socket::peek_from(socket.as_fd(), &mut buffer) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(errno) => {
                // It would be said again and again.
                if let Some(socket) = self.slot_mut(id).and_then(|slot| slot.ready.take()) {
                    self.poll.close(socket);
                }
                return self.journal.trouble("recvmsg", errno, now_ms);
            }
        };
        self.heed(id, buffer.get(..received.len).unwrap_or_default(), &received, now_ms);
        // What follows from it is on record.
        if let Some(socket) = self.slot(id).and_then(|slot| slot.ready.as_ref()) {
            let _ = socket::receive_from(socket.as_fd(), &mut [0]);
        }
    }

    /// Does what follows from a notification.
    fn heed(&mut self, id: GuestId, text: &[u8], received: &Received, now_ms: u64) {
        let is_own = received.sender.is_some_and(|sender| self.is_own_process(id, sender));
        let Some(health) = self.table.health.get_mut(index(id)) else { return };
        if !is_own {
            if health.note_stranger() {
                self.announce(id, Notice::Stranger);
            }
            return;
        }
        if !matches!(self.slot(id).map(|slot| slot.machine.state()), Some(State::Running | State::Ready)) {
            return;
        }
        let said = notify::parse(text, received.is_cut);
        let Some(health) = self.table.health.get_mut(index(id)) else { return };
        let news = health.take(&said, now_ms);
        self.note_deadline(id);
        if news.names_main_process {
            self.announce(id, Notice::MainProcess);
        }
        if news.is_ready {
            self.feed(id, Event::ReadyReported, now_ms);
        }
        if news.is_ill {
            self.feed(id, Event::Unhealthy(Illness::Trigger), now_ms);
        }
    }

    /// Whether a process, by its number and user, is a guest's own. Nobody else has a guest's users. Where it has those of the
    /// host, its cgroup tells; one that has ended since is not known.
    pub(super) fn is_own_process(&self, id: GuestId, (pid, user): (u32, u32)) -> bool {
        let Some((guest, member)) = self.guest(id).zip(self.member(id)) else { return false };
        let users = self.plan.users(guest);
        if users.is_empty() { cgroup::is_in(pid, self.base_name, member) } else { users.inside(user).is_some() }
    }

    /// Looks at a guest's health, where that is due.
    pub(super) fn look_at_health(&mut self, id: GuestId, now_ms: u64) {
        if self.health(id).and_then(Health::due_ms).is_none_or(|due| due > now_ms) {
            return;
        }
        let is_frozen = self.is_held(id) || self.change.guest() == Some(id);
        match self.health(id).and_then(|health| health.due(now_ms)) {
            Some(Due::Begin) => self.begin_look(id, is_frozen, now_ms),
            Some(Due::GiveUp) => self.give_look_up(id, is_frozen, now_ms),
            None => {}
        }
        let illness = self.table.health.get_mut(index(id)).and_then(|health| health.miss(is_frozen, now_ms));
        self.note_deadline(id);
        if let Some(illness) = illness.filter(|_| matches!(self.state(id), State::Running | State::Ready)) {
            self.feed(id, Event::Unhealthy(illness), now_ms);
        }
    }

    pub(super) fn begin_look(&mut self, id: GuestId, is_frozen: bool, now_ms: u64) {
        let Driver { plan, base, table, poll, .. } = self;
        let (Some(guest), Some(slot)) = (plan.guests.get(index(id)), table.slots.get_mut(index(id))) else { return };
        let Some(health) = table.health.get_mut(index(id)) else { return };
        let (what, timeout_ms) = next_look(plan, guest, slot.machine.state());
        if is_frozen {
            return health.postpone(FROZEN_MS, now_ms);
        }
        if slot.helper.is_some() || self.looks >= limits::CHECKS_AT_ONCE {
            // That of its start, which is about to be waited for; or others first.
            return health.postpone(SOON_MS, now_ms);
        }
        let Some(process) = &slot.process else { return health.postpone(FROZEN_MS, now_ms) };
        health.begun(timeout_ms, now_ms);
        let patient = Patient { plan, guest, base, process: process.as_fd() };
        let begun = check(&patient, what).map(|checking| {
            if let Some(keys) = table.keys.get_mut(index(id)) {
                keys.helper = checking.pid.as_raw_nonzero().get() as u32;
            }
            let child = slot.helper.insert(checking.child);
            slot.reports = Some(checking.reports);
            self.looks += 1;
            self.helpers += 1;
            // Where it is not told of its end, that is seen when its time is over.
            let _ = poll.watch(child.as_fd(), Source::Guest(Part::Helper, id), Interest::Readable);
        });
        if let Err(fault) = begun {
            health.note_fault(fault);
            self.judge(id, false, now_ms);
        }
    }

    /// A guest that stood still goes on: nothing that it could not do meanwhile is held against it.
    pub(super) fn goes_on(&mut self, id: GuestId, now_ms: u64) {
        let state = self.state(id);
        let Some(guest) = self.plan.guests.get(index(id)) else { return };
        let (_, look_ms) = next_look(self.plan, guest, state);
        if let Some(health) = self.table.health.get_mut(index(id)) {
            health.thawed(look_ms, now_ms);
            self.note_deadline(id);
        }
    }

    /// It hangs: it is killed, and waited for as any other.
    pub(super) fn give_look_up(&mut self, id: GuestId, is_frozen: bool, now_ms: u64) {
        if let Some(child) = self.slot(id).and_then(|slot| slot.helper.as_ref()) {
            let _ = signal::send(child.as_fd(), KILL);
        }
        if let Some(member) = self.member(id) {
            self.base.kill_check(member);
        }
        if let Some(health) = self.table.health.get_mut(index(id)) {
            health.given_up(is_frozen, limits::KILL_TIMEOUT_MS, now_ms);
        }
    }

    /// The child that looked after a guest has ended.
    pub(super) fn look_is_over(&mut self, id: GuestId, end: End, now_ms: u64) {
        self.looks = self.looks.saturating_sub(1);
        if let Some(member) = self.member(id) {
            // What a command has left behind.
            self.base.kill_check(member);
        }
        self.judge(id, end == End::Code(0), now_ms);
        self.note_deadline(id);
    }

    /// What follows from a look.
    pub(super) fn judge(&mut self, id: GuestId, is_well: bool, now_ms: u64) {
        let state = self.state(id);
        let Some(guest) = self.plan.guests.get(index(id)) else { return };
        let Some(health) = self.table.health.get_mut(index(id)) else { return };
        if health.take_void() {
            if matches!(state, State::Running | State::Ready) {
                health.postpone(FROZEN_MS, now_ms);
            }
            return;
        }
        let was_failing = health.findings(now_ms).is_some_and(|(failures, ..)| failures > 0);
        let result = health.over(is_well, now_ms);
        match (state, result, self.plan.health(guest)) {
            (State::Running, Ok(()), _) => self.feed(id, Event::ReadyReported, now_ms),
            (State::Running, Err(_), _) => health.look_soon(now_ms),
            (State::Ready, Ok(()), Some(check)) => {
                health.look_again(check.every_ms.into(), now_ms);
                if was_failing {
                    self.announce(id, Notice::Well);
                }
            }
            (State::Ready, Err((count, fault)), Some(check)) => {
                let most = check.failures;
                health.look_again(check.every_ms.into(), now_ms);
                self.announce(id, Notice::NotWell(count, most, fault));
                if count >= most {
                    self.feed(id, Event::Unhealthy(Illness::Check), now_ms);
                }
            }
            // It ends.
            _ => {}
        }
    }
}

/// What a guest that is in this state is looked at for, and how long that may take.
fn next_look(plan: &Plan, guest: &Guest, state: State) -> (What, u64) {
    match plan.health(guest) {
        Some(check) if state == State::Ready => (What::Health, check.timeout_ms.into()),
        _ => (What::Ready, limits::READY_LOOK_TIMEOUT_MS),
    }
}

/// Whether a guest has written a line to its pipe, which is still there then; nothing where there is nothing to be read now. What
/// is no line is gone.
fn says_ready(ready: &OwnedFd) -> Option<bool> {
    let mut buffer = [0; 64];
    let copied = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).and_then(|(from, to)| {
        let count = rustix::pipe::tee(ready, to, buffer.len(), SpliceFlags::NONBLOCK)?;
        if count == 0 { Ok(0) } else { rustix::io::read(from, &mut buffer) }
    });
    let count = match copied {
        Ok(count) => count,
        Err(Errno::AGAIN | Errno::INTR) => return None,
        // Without room for a copy it is taken.
        Err(_) => rustix::io::read(ready, &mut buffer).unwrap_or(0),
    };
    if buffer.iter().take(count).any(|byte| *byte == b'\n') {
        return Some(true);
    }
    if count == 0 {
        return Some(false);
    }
    // No more than was looked at.
    let _ = rustix::io::read(ready, buffer.get_mut(..count).unwrap_or_default());
    None
}
