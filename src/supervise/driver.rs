//! The table of guests, and what carries the actions of [`super::state`] out.
//!
//! A guest is watched by up to seven descriptors; each of its functions below may be called at any time, also when
//! nothing has happened there, and never blocks. That makes a lost or stale event harmless.

mod change;
mod children;
mod follow;
mod health;
mod hooks;
pub mod kept;
mod memory;
mod notices;
mod output;
mod upgrade;
mod waiting;

use core::ffi::CStr;

use follow::Reload;
pub use follow::{Failure, Verdict};
use kept::Keeper;

use rustix::event::Timespec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::change::Change;
use super::health::Health;
use super::journal::Journal;
use super::kernel_log::KernelLog;
use super::kmsg::{Kmsg, Share};
use super::news::News;
use super::oom::{Quiet, Untold, Victim};
use super::order::{self, Set};
use super::poll::{Interest, Part, Poll, Source};
use super::reload::From;
use super::ring::Ring;
use super::state::{Action, Actions, Event, Machine, Notice, Policy, State};
use super::unheard::is_unheard;
use super::writer::Writer;
use crate::control::wire::Happening;
use crate::fault::{Fault, Step};
use crate::guest::cgroup::{Base, Member, Usage};
use crate::guest::{self, Stdio};
use crate::limits;
use crate::plan::{Guest, GuestId, Kind, LogTo, Plan, Ready};
use crate::sys::{clock, signal};

const KILL: u8 = libc::SIGKILL as u8;
/// A helper that was killed may have made a process that it could not report; it is looked for after so long.
const SWEEP_MS: u64 = 1_000;
/// A guest that stands still is looked at again after so long.
const FROZEN_MS: u64 = 1_000;
/// A look that cannot begin yet is tried again after so long.
const SOON_MS: u64 = 10;
/// What a pipe may hold when its last writer is gone (1 MiB, where that has made it so large), and a terminal, which gives it in
/// pieces, some of them small: so many reads, at most.
const LAST_READS: usize = 320;

/// Every guest's running part.
#[derive(Debug)]
#[repr(C)]
pub struct Table {
    // Apart from the slots, so that looking through them touches few pages; and first, in a page that is touched anyway.
    keys: [Keys; limits::GUESTS],
    slots: heapless::Vec<Slot, { limits::GUESTS }>,
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
    /// The child that is at work for it; 0 for none.
    helper: u32,
}

impl Table {
    /// A table without guests; all zero, so that a static one takes no room in the file.
    #[must_use]
    pub const fn new() -> Table {
        Table {
            slots: heapless::Vec::new(),
            keys: [Keys { deadline_ms: 0, pid: 0, helper: 0 }; limits::GUESTS],
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
    untold: Untold,
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
    /// Guests that are no longer started again, which is still to be looked at.
    given_up: Set,
    /// Children are at work that are no guest's, and that others wait for.
    pub spares_children: bool,
    /// When people are told of more of them.
    tell_at_ms: Option<u64>,
    change: Change,
    reload: Reload,
    /// Where the next plan goes; nothing before there was one.
    spare: Option<&'static mut Plan>,
    /// Where the config is.
    from: From<'a>,
    /// What is left to the program that this one becomes.
    pub keeper: Option<Keeper<'a>>,
    /// It starts nothing.
    pub is_safe: bool,
    upgrade: upgrade::Upgrade,
}

impl<'a> Driver<'a> {
    /// A driver for the guests of `plan`, all down, whose cgroups are below `base`, which is called `base_name`.
    pub fn new(
        plan: &'static mut Plan,
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
            given_up: Set::EMPTY,
            spares_children: false,
            tell_at_ms: None,
            change: Change::default(),
            reload: Reload::default(),
            spare: None,
            from,
            keeper: None,
            is_safe: false,
            upgrade: upgrade::Upgrade::default(),
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

    /// The plan, and where people are told.
    pub fn plan_and_journal(&mut self) -> (&Plan, &mut Journal<'a>) {
        (self.plan, &mut self.journal)
    }

    /// The cgroup below which the guests' are.
    #[must_use]
    pub fn base(&self) -> &Base {
        &self.base
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

    /// Has a guest that is up stand still, or go on; the kernel takes a moment for the first: see [`Driver::is_frozen`].
    ///
    /// # Errors
    /// The step that failed; nothing has changed then.
    pub fn hold(&mut self, id: GuestId, still: bool, now_ms: u64) -> Result<(), Fault> {
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
            self.note_stale(id);
            self.announce(id, if still { Notice::Frozen } else { Notice::Thawed });
            if !still {
                self.goes_on(id, now_ms);
            }
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
            .chain(self.upgrade_deadline_ms(clock::now_ms()))
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
        self.note_stale(id);
        self.renew(id);
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
        if self.has_reload_child() || self.has_upgrade_child() {
            self.look_at_reload(now_ms);
        }
    }

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
            // Before it is acted upon.
            self.keep(id, true);
            self.changed.add(id);
            self.look_at_waiting |= matches!(after, State::Waiting | State::Ready | State::Down);
        }
        actions
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
                    let _ = self.hold(id, false, now_ms);
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
        (slot.killed, slot.untold) = (0, Untold::default());
        let watch = |part, fd: &OwnedFd| self.poll.watch(fd.as_fd(), Source::Guest(part, id), Interest::Readable);
        if let Some(keys) = self.table.keys.get_mut(index(id)) {
            keys.helper = starting.pid.as_raw_nonzero().get() as u32;
        }
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
        // A terminal gives what it holds in pieces of any length: it is over when there is no more, not with a short one.
        for _ in 0..LAST_READS {
            if !matches!(self.read_output(id), Some(1..)) {
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
        give_up: guest.give_up,
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
