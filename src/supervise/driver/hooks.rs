//! The programs of the host that a guest's config names.

use core::fmt;

use rustix::fd::{AsFd, OwnedFd};

use super::{Driver, KILL, index};
use crate::fault::{Fault, Step};
use crate::guest::hook;
use crate::plan::{Guest, GuestId, Moment};
use crate::supervise::health::Health;
use crate::supervise::poll::{Interest, Part, Source};
use crate::supervise::state::{Event, Exit, State};
use crate::sys::wait::End;

impl<'a> Driver<'a> {
    /// Starts the child that runs the host's programs: it takes the place of the start's helper.
    pub(super) fn run_hooks(&mut self, id: GuestId, moment: Moment) -> Result<(), Fault> {
        let Driver { plan, base, table, poll, .. } = self;
        let Some((guest, slot)) = plan.guest(id).zip(table.slots.get_mut(index(id))) else { return Ok(()) };
        if let Some(reports) = slot.reports.take() {
            poll.close(reports);
        }
        let exit = slot.machine.exit().map(hook_exit);
        let running = hook::start(&hook::About { plan, guest, base, pid: None, exit }, moment)?;
        if let Some(keys) = table.keys.get_mut(index(id)) {
            keys.helper = running.pid.as_raw_nonzero().get() as u32;
        }
        let (child, reports) = (slot.helper.insert(running.child), slot.reports.insert(running.reports));
        self.helpers += 1;
        let watch = |part, fd: &OwnedFd| poll.watch(fd.as_fd(), Source::Guest(part, id), Interest::Readable);
        // Where it is not told of its end, that is seen when its time is over.
        let _ = watch(Part::Helper, child).and_then(|()| watch(Part::Reports, reports));
        Ok(())
    }

    /// The child that ran the host's programs has ended.
    pub(super) fn hooks_over(&mut self, id: GuestId, end: End, now_ms: u64) {
        let is_stop = self.state(id) == State::StopHook;
        let told = self.table.health.get_mut(index(id)).and_then(Health::take_fault);
        let fault = if end == End::Code(0) {
            None
        } else {
            let step = if is_stop { Step::HookStop } else { Step::HookDestroy };
            Some(told.unwrap_or(Fault { step, errno: 0, detail: end.as_detail() }))
        };
        self.feed(id, Event::HooksOver(fault), now_ms);
    }
}

/// Which hook failed, how, and what it printed last: "run hook-start: it exited with code 3 (/bin/up, /etc/inn.conf:7): no link".
pub(super) struct HookWords<'d, 'a> {
    pub(super) driver: &'d Driver<'a>,
    pub(super) id: GuestId,
    pub(super) guest: &'d Guest,
    pub(super) fault: Fault,
}

impl fmt::Display for HookWords<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HookWords { driver, id, guest, fault } = *self;
        write!(f, "{fault}")?;
        if let Some((file, line)) = driver.place(guest, fault) {
            write!(f, " ({}, {file}:{line})", driver.value(guest, fault))?;
        }
        let last = driver.health(id).map_or("", Health::said);
        if last.is_empty() { Ok(()) } else { write!(f, ": {last}") }
    }
}

/// How a guest ended, as its hooks are told.
pub(super) fn hook_exit(exit: Exit) -> (&'static str, u8) {
    match exit {
        Exit::Code(code) => ("code", code),
        Exit::Signal(signal) => ("signal", signal),
        Exit::OutOfMemory => ("out-of-memory", KILL),
        Exit::Failed(_) => ("start-failed", 0),
        Exit::PowerOff => ("power-off", 0),
        Exit::Reboot => ("reboot", 0),
        Exit::Unknown => ("unknown", 0),
        Exit::Unhealthy(_) => ("unhealthy", 0),
    }
}
