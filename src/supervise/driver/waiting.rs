//! Guests that wait for others.

use core::fmt;

use super::{Driver, after};
use crate::fault::{Fault, Step};
use crate::limits;
use crate::plan::{GuestId, Ready};
use crate::supervise::awaited::{Awaited, Culprit};
use crate::supervise::order;
use crate::supervise::order::Set;
use crate::supervise::state::{Event, Exit, State};

impl<'a> Driver<'a> {
    /// The guest that a waiting one waits for; nothing for one that does not wait.
    #[must_use]
    pub fn waits_for(&self, id: GuestId) -> Option<GuestId> {
        let after = after(self.plan, id);
        (self.state(id) == State::Waiting)
            .then(|| order::waits_for(after, |other| self.state(other) == State::Ready || self.is_done(other)))
            .flatten()
    }

    /// Whether a guest whose end is what others wait for has ended as it should.
    #[must_use]
    pub fn is_done(&self, id: GuestId) -> bool {
        let is_step = self.guest(id).is_some_and(|guest| guest.ready == Ready::Exit);
        is_step && self.slot(id).is_some_and(|slot| slot.machine.is_done())
    }

    /// Starts waiting guests whose dependencies are ready: so many in a turn, and so many at a time. Whether it should be
    /// called again soon.
    pub fn start_waiting(&mut self, now_ms: u64) -> bool {
        if self.is_safe || !core::mem::take(&mut self.look_at_waiting) {
            return false;
        }
        let mut started = 0;
        for id in self.ids() {
            if self.state(id) != State::Waiting || self.waits_for(id).is_some() {
                continue;
            }
            if started >= limits::STARTS_PER_TURN || self.helpers >= limits::STARTS_AT_ONCE {
                self.look_at_waiting = true;
                return self.helpers < limits::STARTS_AT_ONCE;
            }
            self.feed(id, Event::DependenciesReady, now_ms);
            started += 1;
        }
        false
    }

    pub(super) fn guest_time_out(&mut self, id: GuestId, now_ms: u64) {
        match self.state(id) {
            State::Waiting => {
                let event = match self.culprit(id) {
                    // It has time-outs of its own.
                    Some(other) if matches!(self.state(other), State::Starting | State::Running) => Event::TimeOut,
                    Some(other) => Event::DependencyFailed(waited_for(other)),
                    None => Event::TimeOut,
                };
                self.feed(id, event, now_ms);
            }
            State::Running => {
                self.feed(id, Event::TimeOut, now_ms);
                // Whoever waits for it has waited as long.
                let mut waiting = Set::EMPTY;
                for other in self.ids().filter(|other| self.culprit(*other) == Some(id)) {
                    waiting.add(other);
                }
                while let Some(other) = waiting.take_first() {
                    self.feed(other, Event::DependencyFailed(waited_for(id)), now_ms);
                }
            }
            State::Down
            | State::Starting
            | State::Ready
            | State::Stopping { .. }
            | State::Killing
            | State::StopHook
            | State::Clearing
            | State::DestroyHook
            | State::Delayed
            | State::Failed => self.feed(id, Event::TimeOut, now_ms),
        }
    }

    /// Whom a guest that waits really waits for: the first behind those that wait themselves. Nothing for one that does not
    /// wait.
    pub(super) fn culprit(&self, id: GuestId) -> Option<GuestId> {
        let next = |id: &GuestId| self.waits_for(*id);
        // There is no cycle.
        core::iter::successors(self.waits_for(id), next).take(limits::GUESTS).last()
    }

    /// Says what keeps a guest from being ready: nothing where it is, or nobody wants it to be.
    ///
    /// # Errors
    /// There is no room for it in `out`.
    pub fn tell_awaited(&self, id: GuestId, out: &mut dyn fmt::Write) -> fmt::Result {
        let (Some(guest), Some(slot)) = (self.guest(id), self.slot(id)) else { return Ok(()) };
        let culprit = match (slot.machine.state(), slot.machine.exit()) {
            (State::Running, _) => return write!(out, "it waits for {}", Awaited { plan: self.plan, guest }),
            (State::StopHook, _) => return out.write_str("its hook-stop runs"),
            (State::DestroyHook, _) => return out.write_str("its hook-destroy runs"),
            (State::Waiting, _) => self.culprit(id).and_then(|other| self.as_culprit(other)),
            (State::Failed | State::Delayed, Some(Exit::Failed(fault))) => self.culprit_of(fault),
            _ => None,
        };
        culprit.map_or(Ok(()), |culprit| write!(out, "{culprit}"))
    }

    /// Whom a guest has waited for in vain, where that is what `fault` says.
    #[must_use]
    pub fn culprit_of(&self, fault: Fault) -> Option<Culprit<'_>> {
        if fault.step == Step::AwaitOthers { self.as_culprit(GuestId(fault.detail as u16)) } else { None }
    }

    pub(super) fn as_culprit(&self, id: GuestId) -> Option<Culprit<'_>> {
        Some(Culprit { plan: self.plan, guest: self.guest(id)?, state: self.state(id) })
    }
}

/// A guest was waited for in vain.
pub(super) fn waited_for(id: GuestId) -> Fault {
    Fault { step: Step::AwaitOthers, errno: libc::ETIMEDOUT as u16, detail: id.0.into() }
}
