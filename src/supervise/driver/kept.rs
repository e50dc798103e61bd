//! What of the guests is left to the program that the supervisor becomes, and how that goes on with them.
//!
//! A guest's record is written when its state has changed and before anything is done about that, so a program that comes
//! after knows at least what was to be done; once more when it is done. A child is waited for only when its end is on record.

use rustix::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use rustix::process::Pid;

use super::{Driver, SWEEP_MS, index};
use crate::host::children;
use crate::plan::{GuestId, Moment, Plan};
use crate::supervise::health::Health;
use crate::supervise::kept::{self, Before, Get, Host, Kept, Texts};
use crate::supervise::news::News;
use crate::supervise::order::Set;
use crate::supervise::poll::{Interest, Part, Source};
use crate::supervise::ring::Ring;
use crate::supervise::state::{Action, Event, Exit, Machine, State};
use crate::supervise::upgrade::Answer;
use crate::sys::memory::Image;
use crate::sys::wait;
use crate::sys::{Errno, clock, fatal, signal};

/// Where all of it is left.
#[derive(Debug)]
pub struct Keeper<'a> {
    file: Kept,
    texts: Texts<'a>,
    /// The plan, and room for the next.
    plans: [Image<Plan>; 2],
    /// Which of them is the plan.
    current: usize,
    /// The claim to the cgroup of all guests, where the program before has made it.
    claim: Option<OwnedFd>,
    /// Guests of which something has changed since they were written.
    stale: Set,
    /// The plan has changed since it was written.
    is_plan_stale: bool,
    /// What was written last about the supervisor.
    host: Host,
    /// Whether it was.
    is_written: bool,
    /// This program's file: the number of its descriptor, and that as it is kept.
    program: (RawFd, u64),
    /// The program that a fault leads back to, until this one has taken over.
    before: Option<Before>,
}

impl<'a> Keeper<'a> {
    /// For a supervisor whose plan is `plan`.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new(
        file: Kept,
        (host, texts): (Host, Texts<'a>),
        plan: Option<Image<Plan>>,
        (program, before): (&OwnedFd, Option<Before>),
    ) -> Result<Keeper<'a>, Errno> {
        let is_plan_stale = plan.is_none();
        let plan = plan.map_or_else(Image::new, Ok)?;
        Ok(Keeper {
            file,
            texts,
            plans: [plan, Image::new()?],
            current: 0,
            claim: None,
            stale: Set::EMPTY,
            is_plan_stale,
            host,
            is_written: false,
            program: (program.as_raw_fd(), kept::number_of(Some(program))),
            before,
        })
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Kept {
        &self.file
    }

    /// What was written last about the supervisor.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }
}

impl Driver<'_> {
    /// Something of a guest has changed that is to be on record.
    pub(super) fn note_stale(&mut self, id: GuestId) {
        if let Some(keeper) = &mut self.keeper {
            keeper.stale.add(id);
        }
    }

    /// The plan has changed.
    pub(super) fn note_plan(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            keeper.is_plan_stale = true;
        }
    }

    /// Writes a guest's record; before what is to be done about its state, where that `is_acting`.
    pub(super) fn keep(&mut self, id: GuestId, is_acting: bool) {
        let Some(keeper) = &mut self.keeper else { return };
        keeper.stale.remove(id);
        let Some(slot) = self.table.slots.get(index(id)) else { return };
        let Some(keys) = self.table.keys.get(index(id)) else { return };
        let Some(guest) = self.plan.guests.get(index(id)) else { return };
        let (health, name) = (self.table.health.get(index(id)), hash(self.plan.strings.bytes(guest.name)));
        let written = keeper.file.put_guest(index(id), |put| {
            put.number(name);
            slot.machine.keep(put);
            put.flags([is_acting, slot.is_terminal, slot.is_held]);
            [keys.pid, keys.helper, slot.oom_kills, slot.processes_refused, slot.cpu_throttled, slot.killed]
                .into_iter()
                .for_each(|number| put.number(number.into()));
            put.number(slot.born_ms);
            let ring = slot.ring.as_ref().map(Ring::descriptor);
            [slot.reports.as_ref(), slot.output.as_ref(), slot.ready.as_ref(), ring]
                .into_iter()
                .for_each(|fd| put.descriptor(fd));
            if let Some(health) = health {
                health.keep(put);
            }
        });
        if let Err(errno) = written {
            // The next program finds what was written before.
            self.journal.trouble("write what is kept", errno, clock::now_ms());
        }
    }

    /// Writes all that has changed; `fill` what the supervisor itself knows. Whether the next program would find all.
    pub fn keep_all(&mut self, fill: impl FnOnce(&mut Host)) -> bool {
        if self.keeper.is_none() {
            return false;
        }
        self.keep_plan();
        while let Some(id) = self.keeper.as_mut().and_then(|keeper| keeper.stale.take_first()) {
            self.keep(id, false);
        }
        let changing = self.change.guest().map_or(0, |id| u64::from(id.0) + 1);
        let (is_asked, is_following) = self.reload_kept();
        let (writer, writer_socket) = self.writer.kept();
        let Some(keeper) = &self.keeper else { return false };
        let mut host = Host {
            news: kept::number_of(self.news.ring().map(Ring::descriptor)),
            sequence: self.news.sequence(),
            guests: self.table.slots.len() as u64,
            writer: writer.into(),
            writer_socket: kept::number_of(writer_socket),
            changing,
            is_asked,
            is_following,
            ..keeper.host
        };
        fill(&mut host);
        self.keep_host(host)
    }

    fn keep_host(&mut self, mut host: Host) -> bool {
        let Some(keeper) = &mut self.keeper else { return false };
        host.claim = kept::number_of(Some(keeper.claim.as_ref().unwrap_or_else(|| self.base.claimed())));
        host.plan = kept::number_of(keeper.plans.get(keeper.current).map(Image::file));
        if keeper.is_written && host == keeper.host {
            return true;
        }
        (keeper.host, keeper.is_written) = (host, true);
        let written = keeper.file.put_host(&host, &keeper.texts);
        if let Err(errno) = written {
            self.journal.trouble("write what is kept", errno, clock::now_ms());
        }
        written.is_ok()
    }

    /// Becomes the program that has answered, for `client`, by its kept number. Returns what went wrong.
    pub fn become_other(&mut self, answer: &Answer, client: u64) -> Errno {
        let Some(keeper) = &mut self.keeper else { return Errno::INVAL };
        let (old, own) = (keeper.host, keeper.program.1);
        let (plan, before) = match &answer.image {
            Some(image) => {
                let [device, inode, written] = old.program;
                (kept::number_of(Some(image.file())), [old.plan, own, device, inode, written])
            }
            None => (old.plan, old.before),
        };
        let host = Host { is_upgrade: true, program: answer.identity, plan, before, client, ..old };
        // What is written next is all of it again.
        keeper.is_written = false;
        if let Err(errno) = keeper.file.put_host(&host, &keeper.texts) {
            return errno;
        }
        fatal::become_anew(Some(answer.program.as_raw_fd()))
    }

    /// This program has come so far that it can go on: a fault leads to itself.
    pub fn take_over(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        let Some(before) = keeper.before.take() else { return };
        fatal::lead_to(keeper.program.0);
        let host = Host { before: [0; 5], ..keeper.host };
        self.keep_host(host);
        // The last that is lost is what would be come back to.
        drop(before);
    }

    /// There is another plan: what is kept is of that from here on.
    pub(super) fn keep_new_plan(&mut self) {
        self.note_plan();
        self.keep_plan();
        if let Some(host) = self.keeper.as_ref().map(|keeper| keeper.host) {
            self.keep_host(host);
        }
        self.keep_everything();
    }

    /// Writes the plan, where it has changed, beside the one that was written before.
    fn keep_plan(&mut self) {
        let Some(keeper) = self.keeper.as_mut().filter(|keeper| keeper.is_plan_stale) else { return };
        let next = 1 - keeper.current;
        let put = keeper.plans.get(next).map_or(Err(Errno::INVAL), |image| image.put(self.plan));
        match put {
            Ok(()) => (keeper.current, keeper.is_plan_stale) = (next, false),
            Err(errno) => self.journal.trouble("write the plan that is kept", errno, clock::now_ms()),
        }
    }

    /// Every guest is written in the next turn.
    pub(super) fn keep_everything(&mut self) {
        let ids = self.ids();
        if let Some(keeper) = &mut self.keeper {
            ids.for_each(|id| {
                keeper.stale.add(id);
            });
        }
    }

    /// Finds all that the program before has left: what it knew of each guest is known again, and watched.
    pub fn recall(&mut self, host: &Host, now_ms: u64) -> Recalled {
        if let Some(ring) = kept::descriptor_of(host.news).and_then(|fd| Ring::adopt(fd).ok()) {
            self.news = News::adopt(ring, host.sequence);
        }
        let mut acting = Set::EMPTY;
        if let Some(keeper) = self.keeper.take() {
            for id in self.ids() {
                let name = self.plan.guests.get(index(id)).map_or(0, |guest| hash(self.plan.strings.bytes(guest.name)));
                let is_its = |place: &usize| keeper.file.guest(*place, |get| get.number() == name);
                // Another program's plan may have it in another place.
                let place = Some(index(id)).filter(is_its).or_else(|| (0..host.guests as usize).find(is_its));
                let is_acting = place.and_then(|place| {
                    keeper.file.guest(place, |get| {
                        get.number();
                        self.recall_guest(id, get, now_ms)
                    })
                });
                if is_acting.unwrap_or_else(|| self.forget_guest(id, now_ms)) {
                    acting.add(id);
                }
            }
            self.keeper = Some(Keeper { claim: kept::descriptor_of(host.claim), ..keeper });
        }
        self.writer.adopt(host.writer as u32, kept::descriptor_of(host.writer_socket), self.poll);
        self.recall_reload(host.is_following);
        self.keep_everything();
        Recalled { acting, changing: (host.changing as u16).checked_sub(1).map(GuestId) }
    }

    /// A guest's record; whether something was to be done about its state, which may have been done. Nothing where it is no
    /// record.
    fn recall_guest(&mut self, id: GuestId, get: &mut Get<'_>, now_ms: u64) -> Option<bool> {
        let machine = Machine::recall(get)?;
        let [is_acting, is_terminal, is_held] = get.flags();
        let mut next = || get.number() as u32;
        let (pid, helper) = (next(), next());
        let (oom_kills, processes_refused, cpu_throttled, killed) = (next(), next(), next(), next());
        let born_ms = get.number();
        let [reports, output, ready, ring] = core::array::from_fn(|_| get.descriptor());
        let health = Health::recall(get);
        let slot = self.table.slots.get_mut(index(id))?;
        slot.machine = machine;
        (slot.is_terminal, slot.is_held, slot.born_ms, slot.killed) = (is_terminal, is_held, born_ms, killed);
        (slot.oom_kills, slot.processes_refused, slot.cpu_throttled) = (oom_kills, processes_refused, cpu_throttled);
        (slot.reports, slot.output, slot.ready) = (reports, output, ready);
        slot.ring = ring.and_then(|ring| Ring::adopt(ring).ok());
        let child = |pid: u32| Pid::from_raw(pid as i32).and_then(wait::child);
        slot.process = child(pid);
        slot.helper = child(helper);
        self.helpers += usize::from(slot.helper.is_some());
        let has_helper = slot.helper.is_some();
        if let Some(keys) = self.table.keys.get_mut(index(id)) {
            (keys.pid, keys.helper) = (pid, if has_helper { helper } else { 0 });
        }
        let known = self.plan.guests.get(index(id)).is_some_and(|guest| guest.is_watched() || guest.has_hooks());
        if let Some(kept) = self.table.health.get_mut(index(id)).filter(|_| known) {
            *kept = health;
            kept.beat_again(now_ms);
            match (kept.is_looking(), has_helper) {
                (true, true) => self.looks += 1,
                (true, false) => kept.look_once_more(now_ms),
                (false, _) => {}
            }
        }
        self.watch_recalled(id, now_ms);
        self.note_deadline(id);
        Some(is_acting)
    }

    /// Nothing is known of it: what there may be of it goes, and where it is to start with the host it does.
    fn forget_guest(&mut self, id: GuestId, now_ms: u64) -> bool {
        let is_wanted = self.guest(id).is_some_and(|guest| guest.autostart && !guest.is_removed);
        if let Some(slot) = self.slot_mut(id).filter(|_| is_wanted) {
            slot.machine.begin_again(now_ms);
        }
        self.note_deadline(id);
        is_wanted
    }

    fn watch_recalled(&mut self, id: GuestId, now_ms: u64) {
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        let watch = |part, fd: &Option<OwnedFd>, interest| {
            fd.as_ref().map_or(Ok(()), |fd| self.poll.watch(fd.as_fd(), Source::Guest(part, id), interest))
        };
        let output = if slot.is_terminal { Interest::NewlyReadable } else { Interest::Readable };
        let is_up = !matches!(slot.machine.state(), State::Starting);
        let watched = watch(Part::Process, &slot.process, Interest::Readable)
            .and(watch(Part::Helper, &slot.helper, Interest::Readable))
            .and(watch(Part::Reports, &slot.reports, Interest::Readable))
            .and(watch(Part::Output, &slot.output, output))
            .and(if is_up { watch(Part::Ready, &slot.ready, Interest::Readable) } else { Ok(()) });
        slot.unwatched = watched.is_err();
        let has_process = slot.process.is_some();
        if let Err(errno) = watched {
            self.journal.trouble("epoll_ctl", errno, now_ms);
        }
        if has_process {
            self.watch_memory(id, now_ms);
            self.memory(id);
        }
    }

    /// Goes on where the program before was: what it was about to do is done, for nobody knows whether it has.
    pub fn go_on_with(&mut self, recalled: &Recalled, shell: u32, now_ms: u64) {
        self.kill_strangers(shell);
        // What they made and could not report.
        self.sweep_at_ms = Some(now_ms.saturating_add(SWEEP_MS));
        if let Some(id) = recalled.changing {
            self.undo_change(id);
        }
        for id in self.ids() {
            self.go_on_with_guest(id, recalled.acting.has(id), now_ms);
            self.look(id, now_ms);
            self.renew(id);
        }
        self.look_at_waiting = true;
    }

    fn go_on_with_guest(&mut self, id: GuestId, is_acting: bool, now_ms: u64) {
        let Some(slot) = self.slot(id) else { return };
        let (has_helper, pid) = (slot.helper.is_some(), self.pid(id));
        let action = match slot.machine.state() {
            State::Starting if pid == 0 || is_acting && slot.reports.is_none() => {
                if let Some(slot) = self.slot_mut(id) {
                    slot.machine.begin_again(now_ms);
                }
                self.note_deadline(id);
                Action::KillAll
            }
            // Its exec was heard of, and what follows was not done.
            State::Starting if slot.reports.is_none() => {
                self.feed(id, Event::Executed, now_ms);
                return self.watch_ready(id, now_ms);
            }
            State::Running | State::Ready | State::Stopping { .. } if pid == 0 => {
                return self.feed(id, Event::Exited(Exit::Unknown), now_ms);
            }
            State::Stopping { step } if is_acting => {
                let stop = self.plan.guest(id).map_or(&[][..], |guest| self.plan.stop(guest));
                let Some(step) = stop.get(usize::from(step)) else { return };
                Action::Signal(step.signal)
            }
            State::Killing => Action::KillAll,
            State::Clearing => Action::Clear,
            State::StopHook if !has_helper => Action::RunHooks(Moment::Stop),
            State::DestroyHook if !has_helper => Action::RunHooks(Moment::Destroy),
            State::Starting
            | State::Running
            | State::Ready
            | State::Stopping { .. }
            | State::StopHook
            | State::DestroyHook
            | State::Down
            | State::Waiting
            | State::Delayed
            | State::Failed => return,
        };
        if let Some(answer) = self.act(id, action, now_ms) {
            self.feed(id, answer, now_ms);
        }
    }

    /// Kills the children of the program before that nothing is known of: each was at work for something that is not, or will
    /// be done again.
    fn kill_strangers(&self, shell: u32) {
        let (writer, _) = self.writer.kept();
        children::each(&mut |pid, is_silent| {
            let number = pid.as_raw_nonzero().get() as u32;
            let mut keys = self.table.keys.iter().take(self.table.slots.len());
            let is_known =
                number == writer || number == shell || keys.any(|keys| [keys.pid, keys.helper].contains(&number));
            if is_silent && !is_known {
                let _ = signal::send_to(pid, super::KILL);
            }
        });
    }

    /// The child that changed its limits is gone.
    fn undo_change(&mut self, id: GuestId) {
        if let Some(member) = self.member(id) {
            // It stood still meanwhile.
            let _ = self.base.hold(member, self.is_held(id));
        }
        if let Some(guest) = self.guest(id) {
            let name = self.plan.strings.str(guest.name);
            self.journal.error(format_args!("{name}: a change of its limits was cut off; set them again"));
        }
    }
}

/// What is still to be done when all is recalled.
#[derive(Debug)]
pub struct Recalled {
    acting: Set,
    changing: Option<GuestId>,
}

/// A guest's name, as a number: a place in another plan may be another's (FNV-1a).
fn hash(name: &[u8]) -> u64 {
    name.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
