//! What is heard of the processes of guests: their births, their ends, and what those who make them report.

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;

use super::notices::ended;
use super::{Driver, KILL, SWEEP_MS, fault_at, index};
use crate::fault::{Fault, Step};
use crate::guest::Report;
use crate::plan::{Guest, GuestId, Kind};
use crate::supervise::health::Health;
use crate::supervise::poll::{Interest, Part, Source};
use crate::supervise::state::{Action, Event, Exit, State};
use crate::sys::wait::{self, End, Which};
use crate::{guest, limits};

impl<'a> Driver<'a> {
    /// Something happened to a part of a guest.
    pub fn happened(&mut self, part: Part, id: GuestId, now_ms: u64) {
        if part != Part::Output {
            self.note_stale(id);
        }
        match part {
            Part::Helper => self.helper(id, now_ms),
            Part::Reports => self.reports(id, now_ms),
            Part::Process => self.process_ended(id, now_ms),
            Part::Cgroup => self.emptied(id, now_ms),
            Part::Output => self.output(id),
            Part::Ready => self.ready(id, now_ms),
            Part::Memory => self.memory(id),
        }
    }

    /// Reaps up to `limits::REAP_BATCH` ended children that raised SIGCHLD: orphans, and guests. Whether there may be more. Process
    /// `shell` is another's to wait for, who has to do so before the next call.
    pub fn reap(&mut self, shell: u32, now_ms: u64) -> bool {
        for _ in 0..limits::REAP_BATCH {
            let pid = match wait::peek(Which::Ordinary) {
                Ok(Some((pid, _))) if pid.as_raw_nonzero().get() as u32 == shell => return true,
                Ok(Some((pid, _))) => pid,
                Ok(None) | Err(Errno::CHILD) => return false,
                Err(errno) => {
                    self.journal.trouble("waitid", errno, now_ms);
                    return true;
                }
            };
            match self.guest_of(pid, now_ms) {
                Some(id) => self.process_ended(id, now_ms),
                None => match wait::reap(Which::Pid(pid)) {
                    Ok(_) | Err(Errno::CHILD) => {}
                    Err(errno) => {
                        self.journal.trouble("waitid", errno, now_ms);
                        return true;
                    }
                },
            }
        }
        true
    }

    /// Looks at every part by which a guest's start or end is noticed.
    pub(super) fn look(&mut self, id: GuestId, now_ms: u64) {
        self.reports(id, now_ms);
        self.helper(id, now_ms);
        self.process_ended(id, now_ms);
        self.emptied(id, now_ms);
    }

    pub(super) fn reports(&mut self, id: GuestId, now_ms: u64) {
        while let Some(reports) = self.slot(id).and_then(|slot| slot.reports.as_ref()) {
            match guest::receive(reports.as_fd()) {
                Report::Nothing => return,
                Report::Born { pid, pidfd } => self.born(id, pid, pidfd, now_ms),
                Report::Console(master) => self.console(id, master, now_ms),
                Report::Notify(socket) => {
                    if let Some(slot) = self.slot_mut(id) {
                        slot.ready = Some(socket);
                    }
                }
                Report::Output(text) => self.keep_output(id, &text),
                Report::Line(text) => {
                    if let Some(health) = self.table.health.get_mut(index(id)) {
                        health.keep_line(&text);
                    }
                }
                Report::Failed(fault) => {
                    let is_hooks = matches!(self.state(id), State::StopHook | State::DestroyHook);
                    match self.table.health.get_mut(index(id)).filter(|health| is_hooks || health.is_looking()) {
                        Some(health) => health.note_fault(fault),
                        None => self.start_failed(id, fault, now_ms),
                    }
                }
                Report::Closed => {
                    if let Some(reports) = self.slot_mut(id).and_then(|slot| slot.reports.take()) {
                        self.poll.close(reports);
                    }
                    if self.pid(id) != 0 {
                        self.executed(id, now_ms);
                    }
                }
            }
        }
    }

    /// Its program runs, or has run.
    fn executed(&mut self, id: GuestId, now_ms: u64) {
        if self.state(id) == State::Starting {
            self.feed(id, Event::Executed, now_ms);
            self.watch_ready(id, now_ms);
        }
    }

    pub(super) fn start_failed(&mut self, id: GuestId, fault: Fault, now_ms: u64) {
        if matches!(self.state(id), State::Starting | State::Killing) {
            self.feed(id, Event::StartFailed(fault), now_ms);
        }
    }

    pub(super) fn born(&mut self, id: GuestId, pid: u32, pidfd: Result<OwnedFd, Fault>, now_ms: u64) {
        if let Some(keys) = self.table.keys.get_mut(index(id)) {
            keys.pid = pid;
        }
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        slot.born_ms = now_ms;
        self.keep(id, false);
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        let watched = pidfd.and_then(|pidfd| {
            let process = slot.process.insert(pidfd);
            let source = Source::Guest(Part::Process, id);
            self.poll.watch(process.as_fd(), source, Interest::Readable).map_err(fault_at(Step::WatchGuest))
        });
        if matches!(slot.machine.state(), State::Starting | State::Killing) {
            self.feed(id, Event::Born, now_ms);
        }
        self.watch_memory(id, now_ms);
        if let Err(fault) = watched {
            if let Some(slot) = self.slot_mut(id) {
                slot.unwatched = true;
            }
            self.start_failed(id, fault, now_ms);
        }
    }

    pub(super) fn helper(&mut self, id: GuestId, now_ms: u64) {
        let Some(helper) = self.slot(id).and_then(|slot| slot.helper.as_ref()) else { return };
        let end = match wait::peek(Which::PidFd(helper.as_fd())) {
            Ok(None) => return,
            Ok(Some((_, end))) => end,
            Err(Errno::CHILD) => End::Code(0),
            Err(errno) => return self.journal.trouble("waitid", errno, now_ms),
        };
        // What it said comes before its end.
        self.reports(id, now_ms);
        if let Some(helper) = self.slot_mut(id).and_then(|slot| slot.helper.take()) {
            if let Some(keys) = self.table.keys.get_mut(index(id)) {
                keys.helper = 0;
            }
            self.keep(id, false);
            let _ = wait::reap(Which::PidFd(helper.as_fd()));
            self.poll.close(helper);
            self.helpers = self.helpers.saturating_sub(1);
        }
        self.look_at_waiting = true;
        if self.health(id).is_some_and(Health::is_looking) {
            self.look_is_over(id, end, now_ms);
        }
        let signal = if let End::Signal(signal) = end { signal } else { 0 };
        let born = self.pid(id) != 0;
        if signal != 0 && !born {
            self.sweep_at_ms = Some(now_ms.saturating_add(SWEEP_MS));
        }
        match self.state(id) {
            State::Starting if signal != 0 || !born => {
                let fault = Fault { step: Step::Helper, errno: libc::ECHILD as u16, detail: signal.into() };
                self.feed(id, Event::StartFailed(fault), now_ms);
            }
            State::StopHook | State::DestroyHook => self.hooks_over(id, end, now_ms),
            // What it made at the last moment goes too.
            State::Killing => {
                if let Some(answer) = self.act(id, Action::KillAll, now_ms) {
                    self.feed(id, answer, now_ms);
                }
            }
            State::Starting
            | State::Down
            | State::Waiting
            | State::Running
            | State::Ready
            | State::Stopping { .. }
            | State::Clearing
            | State::Delayed
            | State::Failed => {}
        }
    }

    pub(super) fn process_ended(&mut self, id: GuestId, now_ms: u64) {
        let pid = Pid::from_raw(self.pid(id) as i32);
        let process = self.slot(id).and_then(|slot| slot.process.as_ref());
        let which = match (process, pid) {
            (Some(process), _) => Which::PidFd(process.as_fd()),
            (None, Some(pid)) => Which::Pid(pid),
            (None, None) => return,
        };
        let mut unreaped = pid;
        let has_executed = pid.is_some_and(|pid| matches!(wait::peek(Which::Executed(pid)), Ok(Some(_))));
        let end = match wait::peek(which) {
            // Of a guest that powered itself off or rebooted Linux 5.10 tells only who takes it, and others that it was killed.
            Ok(Some((_, End::Signal(KILL)))) if self.guest(id).is_some_and(|guest| guest.kind == Kind::Os) => {
                unreaped = None;
                wait::reap(which).map(|end| end.map(|(_, end)| end))
            }
            Ok(Some((_, end))) => Ok(Some(end)),
            Ok(None) => return,
            Err(errno) => Err(errno),
        };
        let end = match end {
            Ok(end) => end,
            Err(Errno::CHILD) => None,
            Err(errno) => return self.journal.trouble("waitid", errno, now_ms),
        };
        self.memory(id);
        let exit = end.map_or(Exit::Unknown, |end| self.exit(id, end));
        // The step that failed, or the end of the reports, comes before the end of the process.
        self.reports(id, now_ms);
        // They have no end as long as its helper is there, which a short program outruns.
        if has_executed {
            self.executed(id, now_ms);
        }
        if let Some(process) = self.slot_mut(id).and_then(|slot| slot.process.take()) {
            self.poll.close(process);
        }
        if let Some(keys) = self.table.keys.get_mut(index(id)) {
            keys.pid = 0;
        }
        // Clients are told of every end, people of those that nobody asked for. One that did not come as far as its program
        // is told as the step that failed.
        if self.slot(id).is_some_and(|slot| slot.machine.up_since_ms().is_some()) {
            self.tell(id, |_, _| Some(ended(exit)));
        }
        self.feed(id, Event::Exited(exit), now_ms);
        // On record by now.
        if let Some(pid) = unreaped {
            let _ = wait::reap(Which::Pid(pid));
        }
        self.emptied(id, now_ms);
    }

    pub(super) fn exit(&self, id: GuestId, end: End) -> Exit {
        let is_os = self.guest(id).is_some_and(|guest| guest.kind == Kind::Os);
        match end {
            End::Code(code) => Exit::Code(code),
            // reboot(2) in a pid namespace ends its init with one of these two.
            End::Signal(signal) if is_os && i32::from(signal) == libc::SIGINT => Exit::PowerOff,
            End::Signal(signal) if is_os && i32::from(signal) == libc::SIGHUP => Exit::Reboot,
            // Not where it was to end anyway.
            End::Signal(KILL)
                if !matches!(self.state(id), State::Stopping { .. } | State::Killing)
                    && self.slot(id).is_some_and(|slot| slot.killed > 0) =>
            {
                Exit::OutOfMemory
            }
            End::Signal(signal) => Exit::Signal(signal),
        }
    }

    pub(super) fn emptied(&mut self, id: GuestId, now_ms: u64) {
        if self.state(id) != State::Killing {
            return;
        }
        match self.is_empty(id) {
            Ok(true) => self.feed(id, Event::Emptied, now_ms),
            // Its own cgroup, which was watched, may be empty, and that of its hooks not yet.
            Ok(false) if self.guest(id).is_some_and(Guest::has_hooks) => {
                if let Some(events) = self.slot_mut(id).and_then(|slot| slot.cgroup.take()) {
                    self.poll.close(events);
                }
                // Where it fails, the next look is that of the time-out.
                if self.watch_cgroup(id).is_ok() && self.is_empty(id) == Ok(true) {
                    self.feed(id, Event::Emptied, now_ms);
                }
            }
            Ok(false) => {}
            Err(fault) => self.feed(id, Event::KillFailed(fault), now_ms),
        }
    }

    /// The guest whose first process `pid` is. One that was just made may not have been heard of yet.
    pub(super) fn guest_of(&mut self, pid: Pid, now_ms: u64) -> Option<GuestId> {
        let pid = pid.as_raw_nonzero().get() as u32;
        if self.helpers > 0 && self.find_pid(pid).is_none() {
            for id in self.ids() {
                if self.state(id) == State::Starting && self.pid(id) == 0 {
                    self.reports(id, now_ms);
                }
            }
        }
        self.find_pid(pid)
    }

    pub(super) fn find_pid(&self, pid: u32) -> Option<GuestId> {
        let mut keys = self.table.keys.iter().take(self.table.slots.len());
        keys.position(|keys| keys.pid == pid).map(|index| GuestId(index as u16))
    }

    /// Reaps what killed helpers made and could not report: children that raise no signal and belong to no guest.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        self.sweep_at_ms = None;
        let is_at_work = self.has_reload_child() || self.has_upgrade_child();
        if self.helpers > 0 || self.spares_children || self.change.guest().is_some() || is_at_work {
            // Helpers look the same from here.
            self.sweep_at_ms = Some(now_ms.saturating_add(SWEEP_MS));
            return;
        }
        while let Ok(Some((pid, _))) = wait::peek(Which::Silent) {
            if self.guest_of(pid, now_ms).is_some() || wait::reap(Which::Pid(pid)).is_err() {
                return;
            }
        }
    }
}
