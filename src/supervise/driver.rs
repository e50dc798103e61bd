//! The table of guests, and what carries the actions of [`super::state`] out.
//!
//! A guest is watched by up to seven descriptors; each of its functions below may be called at any time, also when
//! nothing has happened there, and never blocks. That makes a lost or stale event harmless.

mod follow;

use core::ffi::CStr;
use core::fmt;

use follow::Reload;
pub use follow::{Failure, Verdict};

use rustix::event::Timespec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::awaited::{Awaited, Culprit};
use super::change::{Change, NotBegun, Outcome, Tools, Up};
use super::health::{Due, Health};
use super::journal::Journal;
use super::kernel_log::{KernelLog, Next};
use super::kmsg::{Kmsg, Share};
use super::news::News;
use super::notify;
use super::oom::{self, Full, Quiet, Victim};
use super::order::{self, Set};
use super::poll::{Interest, Part, Poll, Source};
use super::reload::From;
use super::ring::{APPEND_BYTES, Ring};
use super::snapshot::{self, is_up};
use super::state::{Action, Actions, Event, Exit, Illness, Machine, Notice, Policy, State};
use super::unheard::is_unheard;
use super::writer::{Progress, Writer};
use crate::config::key::Key;
use crate::control::wire::{Happening, Reason};
use crate::fault::{Fault, Step};
use crate::guest::cgroup::{self, Base, Member, Usage};
use crate::guest::check::{Patient, What, check};
use crate::guest::{self, Report, Stdio, hook};
use crate::limits;
use crate::plan::{self, Guest, GuestId, Kind, LogTo, Moment, Plan, Ready};
use crate::sys::wait::{self, End, Which};
use crate::sys::{clock, signal, socket};
use crate::text::Text;
use crate::units::Bytes;

const KILL: u8 = libc::SIGKILL as u8;
/// A helper that was killed may have made a process that it could not report; it is looked for after so long.
const SWEEP_MS: u64 = 1_000;
/// A guest that stands still is looked at again after so long.
const FROZEN_MS: u64 = 1_000;
/// A look that cannot begin yet is tried again after so long.
const SOON_MS: u64 = 10;
/// What a pipe or a terminal may hold when its last writer is gone: so many reads, at most.
const LAST_READS: usize = 32;

/// Every guest's running part.
#[derive(Debug)]
pub struct Table {
    slots: heapless::Vec<Slot, { limits::GUESTS }>,
    // Apart from the slots, so that looking through them touches few pages.
    keys: [Keys; limits::GUESTS],
    // Of use to those only that say how they are.
    health: [Health; limits::GUESTS],
    /// What could not be changed when the config was read again: of each guest, and the host twice.
    refused: heapless::Vec<Failure, { limits::GUESTS + 2 }>,
    // Of those whose log is the kernel's.
    kmsg: [Share; limits::GUESTS],
}

/// What guests are looked for by.
#[derive(Clone, Copy, Debug)]
struct Keys {
    /// When the guest's time-out, or a look at its health, is due; 0 for never.
    deadline_ms: u64,
    /// Its first process; 0 for none.
    pid: u32,
}

impl Table {
    /// A table without guests; all zero, so that a static one takes no room in the file.
    #[must_use]
    pub const fn new() -> Table {
        Table {
            slots: heapless::Vec::new(),
            keys: [Keys { deadline_ms: 0, pid: 0 }; limits::GUESTS],
            health: [const { Health::new() }; limits::GUESTS],
            refused: heapless::Vec::new(),
            kmsg: [Share::NONE; limits::GUESTS],
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

/// One guest.
#[derive(Debug, Default)]
struct Slot {
    machine: Machine,
    ring: Option<Ring>,
    helper: Option<OwnedFd>,
    reports: Option<OwnedFd>,
    process: Option<OwnedFd>,
    cgroup: Option<OwnedFd>,
    output: Option<OwnedFd>,
    ready: Option<OwnedFd>,
    /// Something of it could not be watched; made good before it is waited for.
    unwatched: bool,
    /// Whether `output` is a terminal: its reader waits for more than one end of it.
    is_terminal: bool,
    /// Whether it is to stand still.
    is_held: bool,
    /// When its first process was heard of.
    born_ms: u64,
    /// Fail counters of the runs before this one; `oom_kills` of this one too, as far as was heard.
    oom_kills: u32,
    processes_refused: u32,
    cpu_throttled: u32,
    /// Processes killed for want of memory in this run.
    killed: u32,
    /// How many of them nobody was told of yet; less than nothing where the log was faster than the count.
    untold: i32,
    memory: Option<OwnedFd>,
    /// The last of them, and when.
    victim: Option<(Victim, u64)>,
    /// When people are told of the next.
    quiet: Quiet,
}

/// A guest as it is now, but for what its cgroup says.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Where it is in its life.
    pub machine: Machine,
    /// Its first process; 0 for none.
    pub pid: u32,
    /// When that was made.
    pub born_ms: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u32,
    /// Fail counters of earlier runs.
    pub processes_refused: u32,
    /// See `processes_refused`.
    pub cpu_throttled: u32,
}

/// Carries actions out.
#[derive(Debug)]
pub struct Driver<'a> {
    plan: &'static mut Plan,
    base: Base,
    base_name: &'a CStr,
    table: &'static mut Table,
    poll: &'a Poll,
    /// Where people are told.
    pub journal: Journal<'a>,
    /// Where clients are.
    pub news: News,
    /// Whose state has changed since somebody asked.
    changed: Set,
    /// A guest waits whose dependencies must be looked at.
    look_at_waiting: bool,
    helpers: usize,
    /// Those of them that look after guests.
    looks: usize,
    sweep_at_ms: Option<u64>,
    log: KernelLog,
    kmsg: Kmsg,
    writer: Writer,
    /// Guests some of whose processes were killed for want of memory, which is still to be told.
    bereft: Set,
    /// When people are told of more of them.
    tell_at_ms: Option<u64>,
    change: Change,
    reload: Reload,
    /// Where the next plan goes.
    spare: Option<&'static mut Plan>,
    /// Where the config is.
    from: From<'a>,
}

impl<'a> Driver<'a> {
    /// A driver for the guests of `plan`, all down, whose cgroups are below `base`, which is called `base_name`.
    pub fn new(
        (plan, spare): (&'static mut Plan, Option<&'static mut Plan>),
        (base, base_name): (Base, &'a CStr),
        table: &'static mut Table,
        poll: &'a Poll,
        journal: Journal<'a>,
        from: From<'a>,
    ) -> Driver<'a> {
        while table.slots.len() < plan.guests.len() && table.slots.push(Slot::default()).is_ok() {}
        Driver {
            plan,
            base,
            base_name,
            table,
            poll,
            journal,
            news: News::new(),
            changed: Set::EMPTY,
            look_at_waiting: false,
            helpers: 0,
            looks: 0,
            sweep_at_ms: None,
            log: KernelLog::open(),
            kmsg: Kmsg::default(),
            writer: Writer::new(),
            bereft: Set::EMPTY,
            tell_at_ms: None,
            change: Change::default(),
            reload: Reload::default(),
            spare,
            from,
        }
    }

    /// Kills and removes what an earlier supervisor left in the cgroups of these guests. Takes at most
    /// [`limits::KILL_TIMEOUT_MS`], before anything else runs; a guest that is still not cleared then is refused when it
    /// starts.
    pub fn clear_leftovers(&mut self) {
        let until_ms = clock::now_ms().saturating_add(limits::KILL_TIMEOUT_MS);
        loop {
            let mut is_left = false;
            for member in self.ids().filter_map(|id| self.member(id)) {
                if self.base.remove(member).is_err() {
                    is_left = true;
                    let _ = self.base.kill(member);
                }
            }
            if !is_left || clock::now_ms() >= until_ms {
                return;
            }
            let pause = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
            let _ = rustix::event::poll(&mut [], Some(&pause));
        }
    }

    /// Every guest.
    pub fn ids(&self) -> impl Iterator<Item = GuestId> + use<> {
        order::ids(self.table.slots.len())
    }

    /// The plan that is being carried out.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        self.plan
    }

    /// The cgroup below which the guests' are.
    #[must_use]
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Where the config has the key that `fault` is about.
    #[must_use]
    pub fn place(&self, guest: &Guest, fault: Fault) -> Option<(&str, u32)> {
        self.plan.place_of_fault(guest, fault)
    }

    /// The value of the key that `fault` is about, where it is one word for people: a path. Otherwise the key's name.
    #[must_use]
    pub fn value(&self, guest: &Guest, fault: Fault) -> &str {
        let Some(key) = fault.step.key() else { return "" };
        if let Some(hook) = self.plan.hook_of(guest, fault) {
            return self.plan.words.get(hook.command).first().map_or("", |word| self.plan.strings.str(*word));
        }
        let text = match key {
            Key::Command => self.plan.words.get(guest.command).first().copied().unwrap_or_default(),
            Key::Root => guest.root,
            Key::Image => guest.image,
            Key::Tty => guest.tty,
            Key::Log => guest.log_to.path(),
            Key::Directory => guest.directory,
            Key::IoMax => {
                let disk = self.plan.io_max.get(guest.limits.io_max).get(fault.detail as usize);
                disk.map_or(Text::EMPTY, |disk| disk.device)
            }
            Key::Device | Key::Features => self
                .plan
                .devices
                .get(guest.devices)
                .get(fault.detail as usize)
                .map_or(Text::EMPTY, |device| device.path),
            _ => Text::EMPTY,
        };
        if text.is_empty() { key.name() } else { self.plan.strings.str(text) }
    }

    /// What the plan says about a guest.
    #[must_use]
    pub fn guest(&self, id: GuestId) -> Option<&Guest> {
        self.plan.guest(id)
    }

    /// How a guest is now.
    #[must_use]
    pub fn now(&self, id: GuestId) -> Option<Now> {
        let slot = self.slot(id)?;
        Some(Now {
            machine: slot.machine,
            pid: self.pid(id),
            born_ms: slot.born_ms,
            oom_kills: slot.oom_kills,
            processes_refused: slot.processes_refused,
            cpu_throttled: slot.cpu_throttled,
        })
    }

    /// What a guest uses now.
    #[must_use]
    pub fn usage(&self, id: GuestId) -> Option<Usage> {
        Some(self.base.usage(self.member(id)?))
    }

    /// The state of a guest; Down for one that does not exist.
    #[must_use]
    pub fn state(&self, id: GuestId) -> State {
        self.slot(id).map_or(State::Down, |slot| slot.machine.state())
    }

    /// Whether nothing of a guest exists.
    #[must_use]
    pub fn is_down(&self, id: GuestId) -> bool {
        self.slot(id).is_none_or(|slot| slot.machine.is_down())
    }

    /// The guest that a waiting one waits for; nothing for one that does not wait.
    #[must_use]
    pub fn waits_for(&self, id: GuestId) -> Option<GuestId> {
        let after = after(self.plan, id);
        (self.state(id) == State::Waiting)
            .then(|| order::waits_for(after, |other| self.state(other) == State::Ready))
            .flatten()
    }

    /// Has a guest that is up stand still, or go on; the kernel takes a moment for the first: see [`Driver::is_frozen`].
    ///
    /// # Errors
    /// The step that failed; nothing has changed then.
    pub fn hold(&mut self, id: GuestId, still: bool) -> Result<(), Fault> {
        if still {
            // Who waits for it is woken by that.
            self.watch_cgroup(id)?;
        }
        // One that is being changed stands still for that, and is told at its end.
        if let Some(member) = self.member(id).filter(|_| self.change.guest() != Some(id)) {
            self.base.hold(member, still)?;
        }
        let Some(slot) = self.slot_mut(id) else { return Ok(()) };
        if core::mem::replace(&mut slot.is_held, still) != still {
            self.changed.add(id);
            self.announce(id, if still { Notice::Frozen } else { Notice::Thawed });
        }
        Ok(())
    }

    /// Whether a guest is to stand still.
    #[must_use]
    pub fn is_held(&self, id: GuestId) -> bool {
        self.slot(id).is_some_and(|slot| slot.is_held)
    }

    /// Whether a guest that is to stand still does.
    #[must_use]
    pub fn is_frozen(&self, id: GuestId) -> bool {
        self.is_held(id) && self.member(id).is_some_and(|member| self.base.is_frozen(member))
    }

    /// The pidfd of a guest's first process, while its program runs.
    #[must_use]
    pub fn process(&self, id: GuestId) -> Option<BorrowedFd<'_>> {
        Some(self.slot(id)?.process.as_ref()?.as_fd())
    }

    /// The other side of a guest's terminal, while its program runs.
    #[must_use]
    pub fn console_of(&self, id: GuestId) -> Option<BorrowedFd<'_>> {
        let slot = self.slot(id).filter(|slot| slot.is_terminal && slot.process.is_some())?;
        Some(slot.output.as_ref()?.as_fd())
    }

    /// A guest's output; nothing where there is none yet.
    #[must_use]
    pub fn ring(&self, id: GuestId) -> Option<&Ring> {
        self.slot(id)?.ring.as_ref()
    }

    /// The same, made where there is none yet and it is kept at all: whoever wants to see what is written first has to
    /// have it before.
    pub fn need_ring(&mut self, id: GuestId) -> Option<&Ring> {
        let _ = self.make_ring(id);
        self.ring(id)
    }

    /// The same for a console, of which something has to be kept, or nobody could see it.
    pub fn need_console(&mut self, id: GuestId) -> Option<&Ring> {
        let _ = self.make_ring_of(id, limits::LOG_BYTES_DEFAULT);
        self.ring(id)
    }

    fn make_ring(&mut self, id: GuestId) -> Result<(), Errno> {
        self.make_ring_of(id, 0)
    }

    fn make_ring_of(&mut self, id: GuestId, least_bytes: u64) -> Result<(), Errno> {
        let Some((guest, slot)) = self.plan.guest(id).zip(self.table.slots.get_mut(index(id))) else { return Ok(()) };
        let bytes = guest.log_bytes.max(least_bytes);
        if bytes > 0 && slot.ring.is_none() {
            slot.ring = Some(Ring::new(self.plan.strings.c_str(guest.name), bytes)?);
            if !guest.log_to.path().is_empty() {
                self.writer.renew();
            }
        }
        Ok(())
    }

    /// Those whose state has changed since the last call.
    pub fn take_news(&mut self) -> Set {
        core::mem::replace(&mut self.changed, Set::EMPTY)
    }

    /// Starts `id` and all that it wants.
    pub fn start(&mut self, id: GuestId, now_ms: u64) {
        let plan = &*self.plan;
        let mut wanted = order::wanted_with(id, |id| wants(plan, id));
        while let Some(id) = wanted.take_first() {
            self.feed(id, Event::Start, now_ms);
        }
    }

    /// Those that may be stopped now when all are to go down.
    #[must_use]
    pub fn may_stop(&self) -> Set {
        let plan = &*self.plan;
        order::may_stop(self.table.slots.len(), |id| after(plan, id), |id| self.is_down(id))
    }

    /// When something is due by time alone; nothing for never.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let keys = self.table.keys.iter().take(self.table.slots.len());
        keys.map(|keys| keys.deadline_ms)
            .filter(|&deadline| deadline != 0)
            .chain(self.sweep_at_ms)
            .chain(self.tell_at_ms)
            .chain(self.change.deadline_ms())
            .chain(self.reload_deadline_ms(clock::now_ms()))
            .chain(self.writer.deadline_ms())
            .min()
    }

    /// Takes one event of a guest, and carries out what follows from it.
    pub fn feed(&mut self, id: GuestId, event: Event, now_ms: u64) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            for action in self.step(id, event, now_ms) {
                // At most one action of an event has an answer at once.
                if let Some(answer) = self.act(id, action, now_ms) {
                    next = Some(answer);
                }
            }
        }
        self.renew(id);
    }

    /// Starts waiting guests whose dependencies are ready: so many in a turn, and so many at a time. Whether it should be
    /// called again soon.
    pub fn start_waiting(&mut self, now_ms: u64) -> bool {
        if !core::mem::take(&mut self.look_at_waiting) {
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

    /// Lets every time-out that is due happen.
    pub fn time_out(&mut self, now_ms: u64) {
        for id in self.ids() {
            let deadline = self.table.keys.get(index(id)).map_or(0, |keys| keys.deadline_ms);
            if deadline != 0 && deadline <= now_ms {
                // What an event was lost of is found now at the latest.
                self.look(id, now_ms);
                if self.slot(id).and_then(|slot| slot.machine.deadline_ms()).is_some_and(|due| due <= now_ms) {
                    self.guest_time_out(id, now_ms);
                }
                self.look_at_health(id, now_ms);
            }
        }
        if self.sweep_at_ms.is_some_and(|due| due <= now_ms) {
            self.sweep(now_ms);
        }
        if self.tell_at_ms.take_if(|due| *due <= now_ms).is_some() {
            self.ids().for_each(|id| self.announce_killed(id, 0, None, now_ms));
        }
        if self.writer.deadline_ms().is_some_and(|due| due <= now_ms) {
            self.look_at_logs(now_ms);
        }
        if self.change.deadline_ms().is_some_and(|due| due <= now_ms) {
            self.look_at_change(now_ms);
            self.change.time_out(now_ms);
        }
        if self.has_reload_child() {
            self.look_at_reload(now_ms);
        }
    }

    fn guest_time_out(&mut self, id: GuestId, now_ms: u64) {
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
    fn culprit(&self, id: GuestId) -> Option<GuestId> {
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

    fn as_culprit(&self, id: GuestId) -> Option<Culprit<'_>> {
        Some(Culprit { plan: self.plan, guest: self.guest(id)?, state: self.state(id) })
    }

    /// How a guest is besides its state.
    #[must_use]
    pub fn health(&self, id: GuestId) -> Option<&Health> {
        self.table.health.get(index(id))
    }

    /// Something happened to a part of a guest.
    pub fn happened(&mut self, part: Part, id: GuestId, now_ms: u64) {
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

    /// Reaps up to `limits::REAP_BATCH` ended children that raised SIGCHLD: orphans, and guests. Whether there may be more.
    pub fn reap(&mut self, now_ms: u64) -> bool {
        for _ in 0..limits::REAP_BATCH {
            let pid = match wait::peek(Which::Ordinary) {
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

    // Changes of limits.

    /// Whether no change can begin.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.change.is_busy() || self.is_reloading()
    }

    /// Begins to change guest `id`, all that `changes` say or nothing. Returns what [`Driver::outcome`] is to be asked with.
    ///
    /// # Errors
    /// Why it has not begun; nothing is changed then.
    pub fn change<'c>(
        &mut self,
        id: GuestId,
        changes: impl Iterator<Item = plan::change::Change<'c>>,
        now_ms: u64,
    ) -> Result<u32, NotBegun> {
        let is_down = self.is_down(id);
        if self.is_changing() {
            return Err(NotBegun::Busy);
        }
        if !is_down && !is_up(self.state(id)) {
            return Err(NotBegun::Between);
        }
        let staged = self.plan.stage(id, changes).map_err(NotBegun::Refused)?;
        let (change, up, mut tools) = self.changing(id);
        match staged {
            Some(staged) if is_down => change.begin(id, &staged, None, &mut tools, now_ms),
            Some(staged) if up.is_some() => change.begin(id, &staged, up, &mut tools, now_ms),
            Some(staged) => {
                tools.plan.abandon(&staged);
                return Err(NotBegun::Between);
            }
            None => return Err(NotBegun::Between),
        }
        .map_err(NotBegun::Failed)
    }

    /// What became of change `serial`; nothing as long as nobody knows.
    #[must_use]
    pub fn outcome(&self, serial: u32) -> Option<Outcome> {
        self.change.outcome(serial)
    }

    /// Everybody who wanted to know what became of the last change has asked.
    pub fn forget_outcome(&mut self) {
        self.change.forget();
    }

    /// Looks whether the change that is being carried out is over.
    pub fn look_at_change(&mut self, now_ms: u64) {
        let Some(id) = self.change.guest() else { return };
        let (change, up, mut tools) = self.changing(id);
        if change.look(up, &mut tools, now_ms) {
            // It may have had a child of its own.
            self.sweep_at_ms = Some(now_ms.saturating_add(SWEEP_MS));
        }
    }

    fn changing(&mut self, id: GuestId) -> (&mut Change, Option<Up<'_>>, Tools<'_, 'a>) {
        let Driver { plan, base, table, poll, journal, news, change, .. } = self;
        let process = table.slots.get(index(id)).and_then(|slot| slot.process.as_ref());
        let is_held = table.slots.get(index(id)).is_some_and(|slot| slot.is_held);
        let keys = table.keys.get(index(id));
        let up = process.zip(keys).map(|(process, keys)| Up { pid: keys.pid, process: process.as_fd(), is_held });
        (change, up, Tools { plan, base, poll, journal, news })
    }

    // Log files.

    /// Makes the rings of those whose logs are files, so that the process that writes them need not be started for each.
    pub fn prepare_logs(&mut self) {
        for id in self.ids() {
            if self.guest(id).is_some_and(|guest| !guest.log_to.path().is_empty()) {
                // It is made at its start otherwise, or that fails.
                let _ = self.make_ring(id);
            }
        }
    }

    /// Sees to it that log files are written.
    pub fn keep_logs(&mut self, now_ms: u64) {
        let (slots, plan) = (&self.table.slots, &*self.plan);
        let mut rings =
            order::ids(slots.len()).zip(slots.iter()).filter_map(|(id, slot)| Some((id, slot.ring.as_ref()?)));
        if let Err(errno) = self.writer.keep(plan, &mut rings, self.poll, now_ms) {
            self.journal.trouble("start what writes log files", errno, now_ms);
        }
    }

    /// Looks at the process that writes them.
    pub fn look_at_logs(&mut self, now_ms: u64) {
        // What it said comes before its end.
        while let Some(report) = self.writer.take_report() {
            self.announce(report.id, report.fault.map_or(Notice::LogWritten, Notice::LogTrouble));
        }
        if self.writer.look(self.poll, now_ms) {
            self.journal.error(format_args!("the process that writes log files has ended; it is started again"));
        }
        let slots = &self.table.slots;
        let passed = |id| slots.get(index(id)).and_then(|slot| slot.ring.as_ref()?.passed().ok());
        match self.writer.check(passed, now_ms) {
            None => {}
            Some(Progress::GoesOn(id)) => self.announce(id, Notice::LogWritten),
            Some(Progress::Late(id)) => {
                let fault = Fault { step: Step::LogFileLate, errno: libc::ETIMEDOUT as u16, detail: 0 };
                self.announce(id, Notice::LogTrouble(fault));
            }
        }
    }

    /// Has all logs written to their files. Whether that is over.
    pub fn finish_logs(&mut self, now_ms: u64) -> bool {
        self.look_at_logs(now_ms);
        self.writer.finish(self.poll, now_ms)
    }

    // The machine and its actions.

    fn step(&mut self, id: GuestId, event: Event, now_ms: u64) -> Actions {
        let Some(policy) = policy(self.plan, id) else { return Actions::new() };
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return Actions::new() };
        let before = slot.machine.state();
        let actions = slot.machine.on(event, now_ms, &policy);
        let after = slot.machine.state();
        if !matches!(after, State::Running | State::Ready)
            && let Some(health) = self.table.health.get_mut(index(id)).filter(|health| health.due_ms().is_some())
        {
            health.rest();
        }
        if before != after {
            self.expect(id, after, now_ms);
        }
        self.note_deadline(id);
        if before != after {
            self.changed.add(id);
            self.look_at_waiting |= matches!(after, State::Waiting | State::Ready);
        }
        actions
    }

    /// What is expected of a guest that has come to `state`.
    fn expect(&mut self, id: GuestId, state: State, now_ms: u64) {
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

    fn note_deadline(&mut self, id: GuestId) {
        let machine = self.slot(id).and_then(|slot| slot.machine.deadline_ms());
        let health = self.health(id).and_then(Health::due_ms);
        if let Some(keys) = self.table.keys.get_mut(index(id)) {
            keys.deadline_ms = machine.into_iter().chain(health).min().map_or(0, |deadline| deadline.max(1));
        }
    }

    /// Does it, and says what has come of it where that is known at once.
    fn act(&mut self, id: GuestId, action: Action, now_ms: u64) -> Option<Event> {
        match action {
            Action::Spawn => {
                self.tell(id, |_, _| Some(Happening::Starting));
                self.spawn(id).err().map(Event::StartFailed)
            }
            Action::Signal(number) if self.is_deaf_to(id, number) => Some(Event::TimeOut),
            Action::Signal(number) => {
                self.signal(id, number, now_ms);
                if self.is_held(id) {
                    // It could not do what it is asked for. Where this fails, the step's time-out goes on.
                    let _ = self.hold(id, false);
                }
                None
            }
            Action::KillAll => match self.kill_all(id) {
                Ok(is_empty) => is_empty.then_some(Event::Emptied),
                Err(fault) => Some(Event::KillFailed(fault)),
            },
            Action::Clear => Some(match self.clear(id) {
                Ok(()) => Event::Cleared,
                Err(fault) => Event::ClearFailed(fault),
            }),
            Action::RunHooks(moment) => match self.run_hooks(id, moment) {
                Ok(()) => None,
                Err(fault) => Some(Event::HooksOver(Some(fault))),
            },
            Action::Announce(notice) => {
                self.announce(id, notice);
                None
            }
        }
    }

    fn spawn(&mut self, id: GuestId) -> Result<(), Fault> {
        self.make_ring(id).map_err(fault_at(Step::OutputPipe))?;
        if self.guest(id).is_some_and(|guest| guest.log_to == LogTo::Kernel) {
            self.kmsg.open().map_err(fault_at(Step::OpenKernelLog))?;
        }
        let Some(guest) = self.plan.guest(id) else { return Ok(()) };
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return Ok(()) };
        let starting = guest::start(self.plan, id, &self.base, Stdio::Log)?;
        self.helpers += 1;
        slot.is_terminal = false;
        slot.is_held = false;
        slot.unwatched = false;
        if guest.is_watched()
            && let Some(health) = self.table.health.get_mut(index(id))
        {
            *health = Health::new();
        }
        slot.born_ms = 0;
        (slot.killed, slot.untold) = (0, 0);
        let watch = |part, fd: &OwnedFd| self.poll.watch(fd.as_fd(), Source::Guest(part, id), Interest::Readable);
        let helper = slot.helper.insert(starting.helper);
        let reports = slot.reports.insert(starting.reports);
        slot.output = starting.output;
        slot.ready = starting.ready;
        let watched = watch(Part::Helper, helper)
            .and_then(|()| watch(Part::Reports, reports))
            .and_then(|()| slot.output.as_ref().map_or(Ok(()), |output| watch(Part::Output, output)));
        slot.unwatched = watched.is_err();
        watched.map_err(fault_at(Step::WatchGuest))
    }

    /// Starts the child that runs the host's programs: it takes the place of the start's helper.
    fn run_hooks(&mut self, id: GuestId, moment: Moment) -> Result<(), Fault> {
        let Driver { plan, base, table, poll, .. } = self;
        let Some((guest, slot)) = plan.guest(id).zip(table.slots.get_mut(index(id))) else { return Ok(()) };
        if let Some(reports) = slot.reports.take() {
            poll.close(reports);
        }
        let exit = slot.machine.exit().map(hook_exit);
        let running = hook::start(&hook::About { plan, guest, base, pid: None, exit }, moment)?;
        let (child, reports) = (slot.helper.insert(running.child), slot.reports.insert(running.reports));
        self.helpers += 1;
        let watch = |part, fd: &OwnedFd| poll.watch(fd.as_fd(), Source::Guest(part, id), Interest::Readable);
        // Where it is not told of its end, that is seen when its time is over.
        let _ = watch(Part::Helper, child).and_then(|()| watch(Part::Reports, reports));
        Ok(())
    }

    /// The child that ran the host's programs has ended.
    fn hooks_over(&mut self, id: GuestId, end: End, now_ms: u64) {
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

    /// Whether this signal would not reach its first process, for the kernel spares it as an init.
    fn is_deaf_to(&self, id: GuestId, signal: u8) -> bool {
        self.guest(id).is_some_and(|guest| guest.kind != Kind::Service) && is_unheard(self.pid(id), signal)
    }

    /// A second attempt covers a call that failed for a moment; after that the step's time-out goes on.
    fn signal(&mut self, id: GuestId, number: u8, now_ms: u64) {
        let result = self.send_signal(id, number).or_else(|_| self.send_signal(id, number));
        if let Err(errno) = result
            && errno != Errno::SRCH
        {
            self.journal.trouble("pidfd_send_signal", errno, now_ms);
        }
    }

    fn send_signal(&self, id: GuestId, number: u8) -> Result<(), Errno> {
        let process = self.slot(id).and_then(|slot| slot.process.as_ref());
        match (process, Pid::from_raw(self.pid(id) as i32)) {
            (Some(process), _) => signal::send(process.as_fd(), number),
            (None, Some(pid)) => signal::send_to(pid, number),
            (None, None) => Ok(()),
        }
    }

    /// Kills helper, first process and cgroup; whether nothing is left already.
    fn kill_all(&mut self, id: GuestId) -> Result<bool, Fault> {
        if let Some(helper) = self.slot(id).and_then(|slot| slot.helper.as_ref()) {
            // It has ended, and waits to be waited for, where this fails.
            let _ = signal::send(helper.as_fd(), KILL);
        }
        let _ = self.send_signal(id, KILL);
        self.watch_ends(id).map_err(fault_at(Step::WatchGuest))?;
        let is_populated = self.member(id).map_or(Ok(false), |member| self.base.is_populated(member))?;
        if is_populated {
            self.watch_cgroup(id)?;
            self.member(id).map_or(Ok(()), |member| self.base.kill(member))?;
        }
        self.is_empty(id)
    }

    /// Makes sure that the ends of helper and first process will be heard of.
    fn watch_ends(&mut self, id: GuestId) -> Result<(), Errno> {
        let pid = Pid::from_raw(self.pid(id) as i32);
        let Some(slot) = self.table.slots.get_mut(index(id)).filter(|slot| slot.unwatched) else { return Ok(()) };
        if let (None, Some(pid)) = (&slot.process, pid) {
            // A child that was not waited for, so the number is its.
            slot.process = Some(rustix::process::pidfd_open(pid, PidfdFlags::empty())?);
        }
        for (part, fd) in [(Part::Helper, &slot.helper), (Part::Process, &slot.process)] {
            let Some(fd) = fd else { continue };
            match self.poll.watch(fd.as_fd(), Source::Guest(part, id), Interest::Readable) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        slot.unwatched = false;
        Ok(())
    }

    fn watch_cgroup(&mut self, id: GuestId) -> Result<(), Fault> {
        let slot = self.table.slots.get_mut(index(id));
        let Some((slot, member)) = slot.zip(member(self.plan, id)) else { return Ok(()) };
        if slot.cgroup.is_none() {
            let events = self.base.events(member)?;
            let source = Source::Guest(Part::Cgroup, id);
            self.poll.watch(events.as_fd(), source, Interest::Changed).map_err(fault_at(Step::CgroupEvents))?;
            slot.cgroup = Some(events);
        }
        Ok(())
    }

    /// Whether no process of it is left, neither running nor to be waited for.
    fn is_empty(&self, id: GuestId) -> Result<bool, Fault> {
        let Some((slot, member)) = self.slot(id).zip(self.member(id)) else { return Ok(true) };
        Ok(slot.helper.is_none() && self.pid(id) == 0 && !self.base.is_populated(member)?)
    }

    fn clear(&mut self, id: GuestId) -> Result<(), Fault> {
        for _ in 0..LAST_READS {
            if self.read_output(id) != Some(APPEND_BYTES) {
                break;
            }
        }
        self.memory(id);
        let slot = self.table.slots.get_mut(index(id));
        let Some((slot, member)) = slot.zip(member(self.plan, id)) else { return Ok(()) };
        let parts = [&mut slot.reports, &mut slot.output, &mut slot.ready, &mut slot.cgroup, &mut slot.memory];
        parts.into_iter().filter_map(Option::take).for_each(|fd| self.poll.close(fd));
        if member.kind == Kind::Service && self.plan.guest(id).is_some_and(|guest| guest.ready == Ready::Notify) {
            guest::remove_on_host(member.name);
        }
        if let Some((guest, share)) = self.plan.guest(id).zip(self.table.kmsg.get_mut(index(id))) {
            self.kmsg.finish(self.plan.strings.str(guest.name), share);
        }
        let usage = self.base.usage(member);
        self.base.remove(member)?;
        slot.cpu_throttled = slot.cpu_throttled.saturating_add(usage.cpu_throttled);
        slot.processes_refused = slot.processes_refused.saturating_add(usage.processes_refused);
        Ok(())
    }

    // What happens to the parts of a guest.

    /// Looks at every part by which a guest's start or end is noticed.
    fn look(&mut self, id: GuestId, now_ms: u64) {
        self.reports(id, now_ms);
        self.helper(id, now_ms);
        self.process_ended(id, now_ms);
        self.emptied(id, now_ms);
    }

    fn reports(&mut self, id: GuestId, now_ms: u64) {
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
                    if self.state(id) == State::Starting && self.pid(id) != 0 {
                        self.feed(id, Event::Executed, now_ms);
                        self.watch_ready(id, now_ms);
                    }
                }
            }
        }
    }

    fn start_failed(&mut self, id: GuestId, fault: Fault, now_ms: u64) {
        if matches!(self.state(id), State::Starting | State::Killing) {
            self.feed(id, Event::StartFailed(fault), now_ms);
        }
    }

    fn born(&mut self, id: GuestId, pid: u32, pidfd: Result<OwnedFd, Fault>, now_ms: u64) {
        if let Some(keys) = self.table.keys.get_mut(index(id)) {
            keys.pid = pid;
        }
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        slot.born_ms = now_ms;
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

    fn console(&mut self, id: GuestId, master: OwnedFd, now_ms: u64) {
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        if let Some(pipe) = slot.output.take() {
            self.poll.close(pipe);
        }
        slot.is_terminal = true;
        let master = slot.output.insert(master);
        // It blocks where the guest made it so.
        let set = rustix::fs::fcntl_setfl(&*master, rustix::fs::OFlags::NONBLOCK);
        let source = Source::Guest(Part::Output, id);
        let watched = set.and_then(|()| self.poll.watch(master.as_fd(), source, Interest::NewlyReadable));
        if let Err(errno) = watched {
            self.start_failed(id, fault_at(Step::ReportTerminal)(errno), now_ms);
        }
    }

    /// From exec on: what the program says may come before that is known, and waits.
    fn watch_ready(&mut self, id: GuestId, now_ms: u64) {
        let Some(ready) = self.slot(id).and_then(|slot| slot.ready.as_ref()) else { return };
        if let Err(errno) = self.poll.watch(ready.as_fd(), Source::Guest(Part::Ready, id), Interest::Readable) {
            // It is not ready in time then.
            self.journal.trouble("epoll_ctl", errno, now_ms);
        }
    }

    fn helper(&mut self, id: GuestId, now_ms: u64) {
        let Some(helper) = self.slot(id).and_then(|slot| slot.helper.as_ref()) else { return };
        let end = match wait::reap(Which::PidFd(helper.as_fd())) {
            Ok(None) => return,
            Ok(Some((_, end))) => end,
            Err(Errno::CHILD) => End::Code(0),
            Err(errno) => return self.journal.trouble("waitid", errno, now_ms),
        };
        // What it said comes before its end.
        self.reports(id, now_ms);
        if let Some(helper) = self.slot_mut(id).and_then(|slot| slot.helper.take()) {
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

    fn process_ended(&mut self, id: GuestId, now_ms: u64) {
        let pid = Pid::from_raw(self.pid(id) as i32);
        let process = self.slot(id).and_then(|slot| slot.process.as_ref());
        let which = match (process, pid) {
            (Some(process), _) => Which::PidFd(process.as_fd()),
            (None, Some(pid)) => Which::Pid(pid),
            (None, None) => return,
        };
        let end = match wait::reap(which) {
            Ok(None) => return,
            Ok(Some((_, end))) => Some(end),
            Err(Errno::CHILD) => None,
            Err(errno) => return self.journal.trouble("waitid", errno, now_ms),
        };
        self.memory(id);
        let exit = end.map_or(Exit::Unknown, |end| self.exit(id, end));
        // The step that failed, or the end of the reports, comes before the end of the process.
        self.reports(id, now_ms);
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
        self.emptied(id, now_ms);
    }

    fn exit(&self, id: GuestId, end: End) -> Exit {
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

    fn emptied(&mut self, id: GuestId, now_ms: u64) {
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

    fn output(&mut self, id: GuestId) {
        let read = self.read_output(id);
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        let Some(output) = &slot.output else { return };
        match read {
            // It is said only once that there is something; there may be more.
            Some(1..) if slot.is_terminal => {
                let _ = self.poll.change(output.as_fd(), Source::Guest(Part::Output, id), Interest::NewlyReadable);
            }
            // Nobody has the guest's side open: of a terminal somebody may open it again.
            Some(0) if !slot.is_terminal => {
                if let Some(output) = slot.output.take() {
                    self.poll.close(output);
                }
            }
            Some(_) | None => {}
        }
    }

    /// Moves what there is to read, one buffer of it at most, into the log; how much that was, 0 for the end. Nothing
    /// where there is nothing to read now.
    fn read_output(&mut self, id: GuestId) -> Option<usize> {
        let slot = self.table.slots.get_mut(index(id))?;
        let mut buffer = [0; APPEND_BYTES];
        let count = match rustix::io::read(slot.output.as_ref()?, &mut buffer) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return None,
            // EIO: of a terminal, the guest's side is closed. Others mean that nothing can be read at all.
            Err(_) => 0,
        };
        self.keep_output(id, buffer.get(..count).unwrap_or_default());
        Some(count)
    }

    /// Keeps what was printed by a guest, or by its hooks, where the config says.
    fn keep_output(&mut self, id: GuestId, bytes: &[u8]) {
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        if let Some(ring) = &mut slot.ring {
            // No memory: what the guest said is lost, and it does not wait for us.
            let _ = ring.append(bytes, clock::boot_us());
            if self.plan.guest(id).is_some_and(|guest| !guest.log_to.path().is_empty()) {
                self.writer.expect(id, ring.written(), clock::now_ms());
            }
        }
        let to_kernel = self.plan.guest(id).filter(|guest| guest.log_to == LogTo::Kernel);
        if let Some((guest, share)) = to_kernel.zip(self.table.kmsg.get_mut(index(id))) {
            let name = self.plan.strings.str(guest.name);
            self.kmsg.write(name, share, bytes, clock::now_ms());
        }
    }

    fn ready(&mut self, id: GuestId, now_ms: u64) {
        let Some(ready) = self.slot(id).and_then(|slot| slot.ready.as_ref()) else { return };
        if self.guest(id).is_some_and(|guest| guest.ready == Ready::Notify) {
            return self.notified(id, now_ms);
        }
        let mut buffer = [0; 64];
        let is_ready = match rustix::io::read(ready, &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => return,
            Ok(count) if count > 0 => {
                if !buffer.iter().take(count).any(|&byte| byte == b'\n') {
                    return;
                }
                true
            }
            Ok(_) | Err(_) => false,
        };
        if let Some(ready) = self.slot_mut(id).and_then(|slot| slot.ready.take()) {
            self.poll.close(ready);
        }
        if is_ready && matches!(self.state(id), State::Running | State::Stopping { .. }) {
            self.feed(id, Event::ReadyReported, now_ms);
        }
    }

    /// Takes one notification: more in the next turn, after others had theirs.
    fn notified(&mut self, id: GuestId, now_ms: u64) {
        let Some(socket) = self.slot(id).and_then(|slot| slot.ready.as_ref()) else { return };
        let mut buffer = [0; limits::NOTIFY_BYTES];
        let received = match socket::receive_from(socket.as_fd(), &mut buffer) {
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
        let said = notify::parse(buffer.get(..received.len).unwrap_or_default(), received.is_cut);
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
    fn is_own_process(&self, id: GuestId, (pid, user): (u32, u32)) -> bool {
        let Some((guest, member)) = self.guest(id).zip(self.member(id)) else { return false };
        let users = self.plan.users(guest);
        if users.is_empty() { cgroup::is_in(pid, self.base_name, member) } else { users.inside(user).is_some() }
    }

    /// Looks at a guest's health, where that is due.
    fn look_at_health(&mut self, id: GuestId, now_ms: u64) {
        if self.health(id).and_then(Health::due_ms).is_none_or(|due| due > now_ms) {
            return;
        }
        let is_frozen = self.is_held(id) || self.change.guest() == Some(id);
        match self.health(id).and_then(|health| health.due(now_ms)) {
            Some(Due::Begin) => self.begin_look(id, is_frozen, now_ms),
            Some(Due::GiveUp) => self.give_look_up(id, now_ms),
            None => {}
        }
        let illness = self.table.health.get_mut(index(id)).and_then(|health| health.miss(is_frozen, now_ms));
        self.note_deadline(id);
        if let Some(illness) = illness.filter(|_| matches!(self.state(id), State::Running | State::Ready)) {
            self.feed(id, Event::Unhealthy(illness), now_ms);
        }
    }

    fn begin_look(&mut self, id: GuestId, is_frozen: bool, now_ms: u64) {
        let Driver { plan, base, table, poll, .. } = self;
        let (Some(guest), Some(slot)) = (plan.guests.get(index(id)), table.slots.get_mut(index(id))) else { return };
        let Some(health) = table.health.get_mut(index(id)) else { return };
        let (what, timeout_ms) = match plan.health(guest) {
            Some(check) if slot.machine.state() == State::Ready => (What::Health, check.timeout_ms.into()),
            _ => (What::Ready, limits::READY_LOOK_TIMEOUT_MS),
        };
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

    /// It hangs: it is killed, and waited for as any other.
    fn give_look_up(&mut self, id: GuestId, now_ms: u64) {
        if let Some(child) = self.slot(id).and_then(|slot| slot.helper.as_ref()) {
            let _ = signal::send(child.as_fd(), KILL);
        }
        if let Some(member) = self.member(id) {
            self.base.kill_check(member);
        }
        if let Some(health) = self.table.health.get_mut(index(id)) {
            health.given_up(limits::KILL_TIMEOUT_MS, now_ms);
        }
    }

    /// The child that looked after a guest has ended.
    fn look_is_over(&mut self, id: GuestId, end: End, now_ms: u64) {
        self.looks = self.looks.saturating_sub(1);
        if let Some(member) = self.member(id) {
            // What a command has left behind.
            self.base.kill_check(member);
        }
        self.judge(id, end == End::Code(0), now_ms);
        self.note_deadline(id);
    }

    /// What follows from a look.
    fn judge(&mut self, id: GuestId, is_well: bool, now_ms: u64) {
        let state = self.state(id);
        let Some(guest) = self.plan.guests.get(index(id)) else { return };
        let Some(health) = self.table.health.get_mut(index(id)) else { return };
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

    /// From its birth on, for its cgroup is there by then.
    fn watch_memory(&mut self, id: GuestId, now_ms: u64) {
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
    fn memory(&mut self, id: GuestId) {
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        let Some(events) = &slot.memory else { return };
        let killed = cgroup::oom_kills(events.as_fd());
        let more = killed.saturating_sub(slot.killed);
        if more > 0 {
            slot.killed = killed;
            slot.oom_kills = slot.oom_kills.saturating_add(more);
            slot.untold = slot.untold.saturating_add_unsigned(more);
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
                        let untold = self.slot_mut(id).map_or(0, |slot| core::mem::take(&mut slot.untold));
                        if let count @ 1.. = untold {
                            self.announce_killed(id, count.unsigned_abs(), None, now_ms);
                        }
                    }
                    return false;
                }
            }
        }
        true
    }

    /// A record of the kernel's log.
    fn killed(&mut self, record: &[u8], now_ms: u64) {
        let Some((kind, name, victim)) = oom::parse(record, self.base_name.to_bytes()) else { return };
        let Some(id) = self.plan.find(name) else { return };
        let is_service = self.guest(id).is_some_and(|guest| guest.kind == Kind::Service);
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        if is_service == (kind == Kind::Service) {
            slot.untold -= 1;
            slot.victim = Some((victim, now_ms));
            self.announce_killed(id, 1, Some(victim), now_ms);
        }
    }

    /// Tells of processes that were killed, `victim` the last of them, or holds that back until later.
    fn announce_killed(&mut self, id: GuestId, more: u32, victim: Option<Victim>, now_ms: u64) {
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

    /// The guest whose first process `pid` is. One that was just made may not have been heard of yet.
    fn guest_of(&mut self, pid: Pid, now_ms: u64) -> Option<GuestId> {
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

    fn find_pid(&self, pid: u32) -> Option<GuestId> {
        let mut keys = self.table.keys.iter().take(self.table.slots.len());
        keys.position(|keys| keys.pid == pid).map(|index| GuestId(index as u16))
    }

    /// Reaps what killed helpers made and could not report: children that raise no signal and belong to no guest.
    fn sweep(&mut self, now_ms: u64) {
        self.sweep_at_ms = None;
        if self.helpers > 0 || self.change.guest().is_some() || self.has_reload_child() {
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

    /// Tells people and clients.
    fn announce(&mut self, id: GuestId, notice: Notice) {
        self.say(id, notice);
        let pid = self.pid(id);
        self.tell(id, |plan, guest| happening(plan, guest, pid, &notice));
    }

    fn tell<'n>(&mut self, id: GuestId, what: impl FnOnce(&Plan, &Guest) -> Option<Happening<'n>>) {
        let Some(guest) = self.plan.guest(id) else { return };
        if let Some(what) = what(self.plan, guest) {
            self.news.tell(self.plan.strings.bytes(guest.name), guest.kind, what);
        }
    }

    fn say(&self, id: GuestId, notice: Notice) {
        let Some(guest) = self.guest(id) else { return };
        let who = Who { kind: guest.kind, name: self.plan.strings.str(guest.name) };
        let say = |words: fmt::Arguments<'_>| self.journal.line(format_args!("{who}: {words}"));
        match notice {
            Notice::Started => say(format_args!("started, process {}", self.pid(id))),
            Notice::Ready => say(format_args!("ready")),
            Notice::Stopping => say(format_args!("stopping")),
            Notice::Ended(Exit::Failed(fault)) if fault.step == Step::ReadyInTime => {
                let awaited = Awaited { plan: self.plan, guest };
                say(format_args!("not ready in time: it still waits for {awaited}; stopping"));
            }
            Notice::Ended(Exit::Failed(fault)) if let Some(culprit) = self.culprit_of(fault) => {
                say(format_args!("not started: {culprit}"));
            }
            Notice::Ended(Exit::Failed(fault)) if fault.step.is_hook() => {
                say(format_args!("not started: {}", HookWords { driver: self, id, guest, fault }));
            }
            Notice::HookFailed(fault) => {
                say(format_args!("{}; going on", HookWords { driver: self, id, guest, fault }))
            }
            Notice::Ended(exit @ Exit::Failed(fault)) => match self.place(guest, fault) {
                Some((file, line)) => say(format_args!("{exit} ({}, {file}:{line})", self.value(guest, fault))),
                None => say(format_args!("{exit}")),
            },
            Notice::Ended(exit) => say(format_args!("{exit}")),
            Notice::Down => say(format_args!("down")),
            Notice::Failed => say(format_args!("failed, stays down")),
            Notice::Delayed(ms) => say(format_args!("starts again in {}.{:03} s", ms / 1000, ms % 1000)),
            Notice::Stuck => say(format_args!("its processes do not go away; still waiting for them")),
            Notice::Trouble(fault) => say(format_args!("{fault}; trying again")),
            Notice::Killed(count, Some(victim)) => {
                let cause = Cause { plan: self.plan, guest, full: victim.full };
                match count.saturating_sub(1) {
                    0 => say(format_args!("out of memory: killed {victim}: {cause}")),
                    more => say(format_args!("out of memory: killed {victim}: {cause}, and {more} more")),
                }
            }
            Notice::Killed(count, None) => say(format_args!("out of memory: killed {count} of its processes")),
            Notice::LogTrouble(fault) => {
                let (file, line) = self.place(guest, fault).unwrap_or(("live", 0));
                let (value, advice) = (self.value(guest, fault), fault.advice().unwrap_or("kept in memory meanwhile"));
                say(format_args!("could not {fault} ({value}, {file}:{line}); {advice}"));
            }
            Notice::LogWritten => say(format_args!("its log file is written again")),
            Notice::Frozen => say(format_args!("frozen")),
            Notice::Thawed => say(format_args!("thawed")),
            Notice::NotWell(count, most, fault) => {
                say(format_args!("health check failed, {count} of {most} in a row: could not {fault}"));
            }
            Notice::Well => say(format_args!("well again")),
            Notice::MainProcess => {
                say(format_args!("names another main process by MAINPID, which stays the one that inn started"));
            }
            Notice::Stranger => say(format_args!(
                "a notification came from a process that is not its own, or had ended by then: it is not heeded"
            )),
            Notice::Impossible => say(format_args!("an event came that cannot come: a bug of inn; going on")),
        }
    }

    // The table.

    fn slot(&self, id: GuestId) -> Option<&Slot> {
        self.table.slots.get(index(id))
    }

    fn slot_mut(&mut self, id: GuestId) -> Option<&mut Slot> {
        self.table.slots.get_mut(index(id))
    }

    fn pid(&self, id: GuestId) -> u32 {
        self.table.keys.get(index(id)).map_or(0, |keys| keys.pid)
    }

    fn member(&self, id: GuestId) -> Option<Member<'_>> {
        member(self.plan, id)
    }
}

/// A notice as clients hear of it.
fn happening<'n>(plan: &Plan, guest: &Guest, pid: u32, notice: &'n Notice) -> Option<Happening<'n>> {
    Some(match *notice {
        Notice::Started => Happening::Started { pid },
        Notice::Ready => Happening::Ready,
        Notice::Stopping => Happening::Stopping,
        Notice::Ended(exit @ Exit::Failed(_)) => ended(exit),
        Notice::Ended(Exit::Unhealthy(illness)) => Happening::Unhealthy { illness: snapshot::illness(illness) },
        // Told when it was seen.
        Notice::Ended(_) => return None,
        Notice::Down => Happening::Down,
        Notice::Failed => Happening::Failed,
        Notice::Delayed(ms) => Happening::Delayed { ms },
        Notice::Stuck => Happening::Stuck,
        Notice::Trouble(fault) => Happening::Trouble { fault },
        Notice::Killed(count, ref victim) => Happening::Killed {
            count,
            victim: victim.as_ref().map(|victim| snapshot::victim(victim, 0)),
            limit_bytes: victim
                .as_ref()
                .and_then(|victim| limit(plan, guest, victim.full))
                .and_then(|(_, bytes)| bytes),
        },
        Notice::LogTrouble(fault) => Happening::LogTrouble { fault },
        Notice::LogWritten => Happening::LogWritten,
        Notice::Frozen => Happening::Frozen,
        Notice::Thawed => Happening::Thawed,
        Notice::NotWell(count, most, fault) => Happening::CheckFailed { count, most, fault },
        Notice::Well => Happening::Well,
        Notice::HookFailed(fault) => Happening::HookFailed { fault },
        // Errors, told to people: of this program, and of the guest's.
        Notice::Impossible | Notice::MainProcess | Notice::Stranger => return None,
    })
}

fn ended(exit: Exit) -> Happening<'static> {
    let (reason, number, fault) = match exit {
        Exit::Code(code) => (Reason::Code, code, None),
        Exit::Signal(signal) => (Reason::Signal, signal, None),
        Exit::OutOfMemory => (Reason::OutOfMemory, 0, None),
        Exit::Failed(fault) => (Reason::StartFailed, 0, Some(fault)),
        Exit::PowerOff => (Reason::PowerOff, 0, None),
        Exit::Reboot => (Reason::Reboot, 0, None),
        Exit::Unknown => (Reason::Unknown, 0, None),
        Exit::Unhealthy(_) => (Reason::Unhealthy, 0, None),
    };
    Happening::Ended { reason, number, fault }
}

/// The key that says how much of what was full there may be, and how much that is; nothing where no config says it.
fn limit(plan: &Plan, guest: &Guest, full: Full) -> Option<(Key, Option<u64>)> {
    match full {
        Full::Guest => Some((Key::Memory, guest.limits.memory_bytes)),
        Full::AllGuests => Some((Key::Reserve, plan.host.reserve_bytes)),
        Full::Inside | Full::Host => None,
    }
}

/// Which hook failed, how, and what it printed last: "run hook-start: it exited with code 3 (/bin/up, /etc/inn.conf:7): no link".
struct HookWords<'d, 'a> {
    driver: &'d Driver<'a>,
    id: GuestId,
    guest: &'d Guest,
    fault: Fault,
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
fn hook_exit(exit: Exit) -> (&'static str, u8) {
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

/// What was full, and where the config says how much that is: "memory = 32M (/etc/inn.conf:7)".
struct Cause<'p> {
    plan: &'p Plan,
    guest: &'p Guest,
    full: Full,
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

/// "guest web", "service sshd".
struct Who<'a> {
    kind: Kind,
    name: &'a str,
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == Kind::Service { "service" } else { "guest" };
        write!(f, "{kind} {}", self.name)
    }
}

/// "exited with code 1".
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exited with code {code}"),
            Exit::Signal(signal) => write!(f, "killed by signal {signal}"),
            Exit::OutOfMemory => f.write_str("out of memory, killed"),
            Exit::Failed(fault) => write!(f, "not started: {fault}"),
            Exit::PowerOff => f.write_str("powered off from inside"),
            Exit::Reboot => f.write_str("rebooted from inside"),
            Exit::Unknown => f.write_str("ended, nobody knows how"),
            Exit::Unhealthy(illness) => write!(f, "not well, stopping: {illness}"),
        }
    }
}

/// "it has not said in time that it is well"
impl fmt::Display for Illness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Illness::Watchdog => "it has not said WATCHDOG=1 in time",
            Illness::Trigger => "it has said WATCHDOG=trigger",
            Illness::Check => "its health check failed too often in a row",
        })
    }
}

/// A guest was waited for in vain.
fn waited_for(id: GuestId) -> Fault {
    Fault { step: Step::AwaitOthers, errno: libc::ETIMEDOUT as u16, detail: id.0.into() }
}

fn index(id: GuestId) -> usize {
    usize::from(id.0)
}

fn fault_at(step: Step) -> impl Fn(Errno) -> Fault {
    move |errno| Fault { step, errno: errno.raw_os_error() as u16, detail: 0 }
}

fn member(plan: &Plan, id: GuestId) -> Option<Member<'_>> {
    let guest = plan.guest(id)?;
    Some(Member { kind: guest.kind, name: plan.strings.c_str(guest.name) })
}

fn policy(plan: &Plan, id: GuestId) -> Option<Policy<'_>> {
    let guest = plan.guest(id)?;
    Some(Policy {
        restart: guest.restart,
        delay_ms: guest.restart_delay_ms,
        ready: guest.ready,
        ready_within_ms: guest.ready_within_ms.into(),
        hooks: guest.hooks.map(|hooks| hooks.len() as u8),
        stop: plan.stop(guest),
    })
}

fn after(plan: &Plan, id: GuestId) -> &[GuestId] {
    plan.guests.get(index(id)).map_or(&[], |guest| plan.dependencies.get(guest.after))
}

fn wants(plan: &Plan, id: GuestId) -> &[GuestId] {
    plan.guests.get(index(id)).map_or(&[], |guest| plan.dependencies.get(guest.wants))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_costs_little() {
        assert!(size_of::<Slot>() <= 256, "{}", size_of::<Slot>());
    }
}
