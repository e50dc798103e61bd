//! The driver's part in reading the config again: when the child has a plan, it takes the place of the old one; then guests
//! are added, stopped and changed, and each that cannot change while it runs changes when it is down.

use super::{Driver, Slot, index};
use crate::config::key::Key;
use crate::control::wire::Happening;
use crate::fault::{Fault, Step};
use crate::limits;
use crate::plan::show::Shown;
use crate::plan::{GuestId, Kind, Plan};
use crate::supervise::change::{NotBegun, Outcome};
use crate::supervise::health::Health;
use crate::supervise::order::{self, Set};
use crate::supervise::reload::{self, Child, Ended, Reading, Told, Wanted};
use crate::supervise::ring::Ring;
use crate::supervise::snapshot::is_up;
use crate::supervise::state::{Event, State};
use crate::sys::memory::{Static, discard_spare, wipe};
use crate::sys::{Errno, clock};

/// Where the plan goes that is read first; from then on the one that it takes the place of is where the next goes.
static SPARE: Static<Plan> = Static::new(Plan::new());

/// The config as it is read again.
#[derive(Debug, Default)]
pub(super) struct Reload {
    serial: u32,
    stage: Stage,
    /// What the child said; nothing while it reads.
    told: Option<Told>,
    verdict: Option<Verdict>,
    /// Somebody is told what comes of it.
    is_asked: bool,
    /// A guest became what it was to be while the child read.
    is_stale: bool,
    /// The host goes down.
    is_refused: bool,
    /// Another plan is being carried out than when somebody asked last.
    is_otherwise: bool,
    /// A child that was given up, and has not ended.
    hung: Option<Child>,
    /// Guests that the config has no more, and that are not down.
    removed: usize,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    Reading(Reading),
    /// The host's own settings are made, until then at most.
    Host(Child, u64),
    /// Guests are changed: this one now.
    Changing(Option<(GuestId, u32)>),
    Over,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The config is wrong; nothing is changed.
    Wrong,
    /// Reading took too long; nothing is changed.
    Late,
    /// The host goes down; nothing is changed.
    GoingDown,
    /// This step failed; nothing is changed.
    Failed(Fault),
    /// It was only to be said.
    Dry,
    /// All is done that could be.
    Done,
}

/// What could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Of which guest; nothing: of the host.
    pub id: Option<GuestId>,
    /// The step that failed; nothing where the console says what.
    pub fault: Option<Fault>,
    /// Some of it is changed, and could not be put back.
    pub is_half: bool,
}

impl Driver<'_> {
    /// Begins to read the config again, only to say what is otherwise where this is `dry`. Returns what the others are to be
    /// asked with.
    ///
    /// # Errors
    /// Why it has not begun.
    pub fn begin_reload(&mut self, dry: bool, is_asked: bool, now_ms: u64) -> Result<u32, NotBegun> {
        if self.is_changing() {
            return Err(NotBegun::Busy);
        }
        if self.reload.hung.is_some() {
            return Err(NotBegun::Failed(fault(Step::ReloadHelper, Errno::BUSY)));
        }
        let deadline_ms = now_ms.saturating_add(limits::RELOAD_TIMEOUT_MS);
        let wanted = Wanted { dry, deadline_ms, tries: limits::RELOAD_TRIES };
        let reading = self.read(wanted).map_err(NotBegun::Failed)?;
        let (serial, removed) = (self.reload.serial.wrapping_add(1), self.reload.removed);
        let is_refused = self.reload.is_refused;
        self.table.refused.clear();
        self.reload =
            Reload { serial, stage: Stage::Reading(reading), is_asked, removed, is_refused, ..Reload::default() };
        Ok(serial)
    }

    fn read(&self, wanted: Wanted) -> Result<Reading, Fault> {
        reload::read(self.plan, &|id| !self.is_down(id), self.from, wanted, self.poll)
    }

    /// Whether the config is being read again, or what is otherwise in it is being carried out.
    #[must_use]
    pub fn is_reloading(&self) -> bool {
        !matches!(self.reload.stage, Stage::Idle)
    }

    /// Whether the host's own settings are about to be others: nobody else is to make those of now.
    #[must_use]
    pub fn is_changing_host(&self) -> bool {
        matches!(self.reload.stage, Stage::Reading(_) | Stage::Host(..))
    }

    /// Whether another plan is being carried out than at the last call.
    pub fn take_otherwise(&mut self) -> bool {
        core::mem::take(&mut self.reload.is_otherwise)
    }

    /// Whether children of this part of the driver are at work.
    pub(super) fn has_reload_child(&self) -> bool {
        self.reload.hung.is_some() || self.is_changing_host()
    }

    /// What the child of reload `serial` has said; nothing as long as it reads.
    #[must_use]
    pub fn told(&self, serial: u32) -> Option<&Told> {
        self.reload.told.as_ref().filter(|_| self.reload.serial == serial)
    }

    /// What became of reload `serial`; nothing as long as nobody knows.
    #[must_use]
    pub fn verdict(&self, serial: u32) -> Option<Verdict> {
        self.reload.verdict.filter(|_| self.reload.serial == serial)
    }

    /// What could not be changed.
    #[must_use]
    pub fn refused(&self) -> &[Failure] {
        &self.table.refused
    }

    /// Whether guests that the config has no more are still there.
    #[must_use]
    pub fn is_removing(&self) -> bool {
        self.reload.removed > 0
    }

    /// The host goes down: nothing is read any more.
    pub fn refuse_reload(&mut self) {
        self.reload.is_refused = true;
    }

    /// Whether somebody still is to be told of the last reload. Another can begin where nobody is.
    pub fn keep_verdict(&mut self, is_wanted: bool) {
        if !is_wanted && matches!(self.reload.stage, Stage::Over) {
            self.reload.stage = Stage::Idle;
            self.reload.told = None;
        }
    }

    /// When a child is to be looked at, at the latest.
    pub(super) fn reload_deadline_ms(&self, now_ms: u64) -> Option<u64> {
        let (child, deadline_ms) = match &self.reload.stage {
            Stage::Reading(reading) => (&reading.child, reading.wanted.deadline_ms),
            Stage::Host(child, deadline_ms) => (child, *deadline_ms),
            Stage::Idle | Stage::Changing(_) | Stage::Over => return None,
        };
        Some(child.look_at_ms(now_ms).unwrap_or(u64::MAX).min(deadline_ms))
    }

    /// Looks whether a child has ended or has taken too long, and goes on from there.
    pub fn look_at_reload(&mut self, now_ms: u64) {
        self.look_at_upgrade(now_ms);
        if let Some(hung) = self.reload.hung.take_if(|hung| hung.end().is_some()) {
            hung.close(self.poll);
        }
        match core::mem::take(&mut self.reload.stage) {
            Stage::Reading(reading) => match reading.child.end() {
                Some(ended) => self.read_ended(reading, ended, now_ms),
                None if now_ms >= reading.wanted.deadline_ms => {
                    reading.child.kill();
                    self.reload.hung = Some(reading.child);
                    self.end_reload(Verdict::Late);
                }
                None => self.reload.stage = Stage::Reading(reading),
            },
            Stage::Host(child, deadline_ms) => match child.end() {
                Some(ended) => {
                    match ended {
                        Ended::Done => self.base.bounded(),
                        Ended::Wrong => self.refuse(None, None, false),
                        Ended::Failed(fault) => self.refuse(None, Some(fault), false),
                    }
                    child.close(self.poll);
                    self.reload.stage = Stage::Changing(None);
                }
                None if now_ms >= deadline_ms => {
                    child.kill();
                    self.reload.hung = Some(child);
                    self.refuse(None, Some(fault(Step::ReloadHelper, Errno::TIMEDOUT)), false);
                    self.reload.stage = Stage::Changing(None);
                }
                None => self.reload.stage = Stage::Host(child, deadline_ms),
            },
            stage @ (Stage::Idle | Stage::Changing(_) | Stage::Over) => self.reload.stage = stage,
        }
    }

    fn end_reload(&mut self, verdict: Verdict) {
        let Driver { reload, journal, .. } = self;
        if let Some(told) = &reload.told
            && (verdict == Verdict::Done || !reload.is_asked)
        {
            told.journal(journal);
        }
        if !reload.is_asked {
            match verdict {
                Verdict::Failed(fault) => journal.error(format_args!("the config was not read again: {fault}")),
                Verdict::Late => {
                    journal.error(format_args!("the config was not read again: it took too long, its storage hangs"));
                }
                Verdict::Wrong | Verdict::GoingDown | Verdict::Dry | Verdict::Done => {}
            }
        }
        reload.verdict = Some(verdict);
        reload.stage = Stage::Over;
        if verdict == Verdict::Done {
            let refused = self.table.refused.len() as u16;
            self.news.tell(b"", Kind::Service, Happening::Reloaded { refused });
        }
    }

    fn refuse(&mut self, id: Option<GuestId>, fault: Option<Fault>, is_half: bool) {
        // There is room for each guest once.
        let _ = self.table.refused.push(Failure { id, fault, is_half });
        let name = id.and_then(|id| self.guest(id)).map_or("[host]", |guest| self.plan.strings.str(guest.name));
        if let Some(fault) = fault {
            self.journal.error(format_args!("{name}: it stays as it was: {fault}"));
        }
    }

    fn read_ended(&mut self, reading: Reading, ended: Ended, now_ms: u64) {
        let Reading { child, wanted, image, told } = reading;
        child.close(self.poll);
        let verdict = match ended {
            Ended::Failed(fault) => return self.end_reload(Verdict::Failed(fault)),
            Ended::Wrong => Verdict::Wrong,
            Ended::Done if wanted.dry => Verdict::Dry,
            Ended::Done if self.reload.is_refused => return self.end_reload(Verdict::GoingDown),
            Ended::Done => Verdict::Done,
        };
        if verdict != Verdict::Done {
            self.reload.told = Some(told);
            return self.end_reload(verdict);
        }
        let nothing = || fault(Step::ReloadMemory, Errno::BUSY);
        let Some(spare) = self.spare.take().or_else(|| SPARE.take()) else {
            return self.end_reload(Verdict::Failed(nothing()));
        };
        let new = match image.take(spare) {
            Ok(new) => new,
            Err((errno, spare)) => {
                self.spare = Some(spare);
                return self.end_reload(Verdict::Failed(fault(Step::ReloadMemory, errno)));
            }
        };
        // A guest has started, meanwhile, as the child did not know it.
        if core::mem::take(&mut self.reload.is_stale) || new.users_meet(&|id| !self.is_down(id)) {
            self.spare = Some(wipe(new));
            let tries = wanted.tries.saturating_sub(1);
            let again = if tries == 0 { Err(nothing()) } else { self.read(Wanted { tries, ..wanted }) };
            match again {
                Ok(reading) => self.reload.stage = Stage::Reading(reading),
                Err(fault) => self.end_reload(Verdict::Failed(fault)),
            }
            return;
        }
        self.reload.told = Some(told);
        self.follow(new, now_ms);
    }

    /// For the program that comes after: whether the config is to be read again, and whether guests are being changed.
    pub(super) fn reload_kept(&self) -> (bool, bool) {
        match &self.reload.stage {
            Stage::Reading(reading) => (!reading.wanted.dry, false),
            Stage::Host(..) | Stage::Changing(_) => (false, true),
            Stage::Idle | Stage::Over => (false, false),
        }
    }

    /// Goes on with that: the child that read is gone, and it is read once more.
    pub(super) fn recall_reload(&mut self, is_following: bool) {
        let is_removed = |guest: &&crate::plan::Guest| guest.is_removed;
        self.reload.removed = self.plan.guests.iter().filter(|guest| !guest.is_free()).filter(is_removed).count();
        if is_following {
            self.reload.stage = Stage::Changing(None);
        }
    }

    /// Goes on from the old plan to this one.
    fn follow(&mut self, new: &'static mut Plan, now_ms: u64) {
        let mut fresh = Set::EMPTY;
        for id in order::ids(new.guests.len()) {
            let was_there = self.guest(id).is_some_and(|guest| !guest.is_removed);
            if !was_there && new.guest(id).is_some_and(|guest| !guest.is_removed) {
                fresh.add(id);
            }
        }
        let is_changed = |key: Key| {
            let shown = |plan| Shown { plan, guest: None, key };
            !shown(&*self.plan).is_same(&shown(&*new))
        };
        let settings = [Key::Hostname, Key::Sysctl, Key::Hardening];
        let is_of_init = !new.has_links_of(self.plan) || settings.into_iter().any(is_changed);
        let is_host = is_changed(Key::Reserve) || self.from.is_init && is_of_init;
        let has_services = new.needs_services();
        let old = core::mem::replace(&mut self.plan, new);
        self.spare = Some(wipe(old));
        while self.table.slots.len() < self.plan.guests.len() && self.table.slots.push(Slot::default()).is_ok() {}
        self.keep_new_plan();
        if has_services && let Err(fault) = self.base.serve(self.base_name) {
            self.refuse(None, Some(fault), false);
        }
        let is_removed = |guest: &&crate::plan::Guest| guest.is_removed;
        self.prepare_logs();
        self.reload.removed = self.plan.guests.iter().filter(|guest| !guest.is_free()).filter(is_removed).count();
        for id in self.ids() {
            // What kept it from running may be repaired.
            if self.state(id) == State::Failed && self.plan.next(id).is_some() {
                fresh.add(id);
            }
            self.renew(id);
        }
        discard_spare(&mut self.plan.next);
        while let Some(id) = fresh.take_first() {
            if self.guest(id).is_some_and(|guest| guest.autostart) {
                self.start(id, now_ms);
            }
        }
        // Those whose turn has come by what they wait for now.
        self.look_at_waiting = true;
        self.reload.stage = Stage::Changing(None);
        self.reload.is_otherwise = true;
        if is_host {
            let deadline_ms = now_ms.saturating_add(limits::PREPARE_TIMEOUT_MS);
            match reload::settle_host(self.plan, &self.base, self.from.is_init, &self.journal, self.poll) {
                Ok(child) => self.reload.stage = Stage::Host(child, deadline_ms),
                Err(fault) => self.refuse(None, Some(fault), false),
            }
        }
    }

    /// Lets a guest that is down be what it is to be.
    pub(super) fn renew(&mut self, id: GuestId) {
        if !self.is_down(id) {
            return;
        }
        let Some(guest) = self.plan.guest(id) else { return };
        let (is_removed, log_bytes) = (guest.is_removed, guest.log_bytes);
        let had_files = !guest.log_to.path().is_empty();
        if is_removed {
            if !matches!(self.state(id), State::Down | State::Failed) {
                // It is to start: it is told that it is not, and comes here again.
                return;
            }
            let name = self.plan.strings.str(guest.name);
            self.journal.line(format_args!("{name}: removed"));
            self.news.tell(name.as_bytes(), guest.kind, Happening::Removed);
            self.reload.removed = self.reload.removed.saturating_sub(1);
        }
        if !self.plan.renew(id) {
            return;
        }
        self.reload.is_stale |= !is_removed;
        self.note_plan();
        if had_files || self.plan.guest(id).is_some_and(|guest| !guest.log_to.path().is_empty()) {
            let ring = self.table.slots.get(index(id)).and_then(|slot| slot.ring.as_ref());
            // What comes from now on is not for the file that the process that writes it knows, as long as that one is there.
            if let Some(Err(errno)) = ring.map(Ring::stop) {
                self.journal.trouble("have a log go elsewhere", errno, clock::now_ms());
            }
            self.writer.renew();
        }
        let is_of_another_size = self.plan.guest(id).is_none_or(|guest| guest.log_bytes != log_bytes);
        let Some(slot) = self.table.slots.get_mut(index(id)) else { return };
        if is_removed {
            *slot = Slot::default();
        } else if is_of_another_size {
            // What writes it to a file goes on from its own copy, and ends.
            slot.ring = None;
        }
        if !is_removed {
            return;
        }
        if let Some(keys) = self.table.keys.get_mut(index(id)) {
            keys.deadline_ms = 0;
        }
        if let Some(health) = self.table.health.get_mut(index(id)) {
            *health = Health::new();
        }
    }

    /// Does what follows from the state of things: stops what is removed, in order, and changes guests one by one.
    pub fn go_on(&mut self, now_ms: u64) {
        if self.reload.removed > 0 {
            self.stop_removed(now_ms);
        }
        while let Stage::Changing(current) = self.reload.stage {
            let Some((id, serial)) = current else {
                if !self.change_next(now_ms) {
                    return;
                }
                continue;
            };
            let Some(outcome) = self.change.outcome(serial) else { return };
            self.change.forget();
            self.reload.stage = Stage::Changing(None);
            if self.plan.next.is_empty() {
                discard_spare(&mut self.plan.next);
            }
            match outcome {
                // One that has ended is what it is to be.
                Outcome::Changed | Outcome::Ended => {}
                Outcome::Unchanged(fault) => self.give_up(id, fault, false),
                Outcome::Half(fault) => self.give_up(id, fault, true),
            }
        }
    }

    fn give_up(&mut self, id: GuestId, fault: Fault, is_half: bool) {
        self.plan.give_up_live(id);
        self.refuse(Some(id), Some(fault), is_half);
    }

    /// Begins to change one more guest; whether there is something to go on with.
    fn change_next(&mut self, now_ms: u64) -> bool {
        let mut waits = false;
        for place in 0..self.plan.next.len() {
            let Some(id) = self.plan.next.get(place).map(|next| next.id) else { break };
            let Some(staged) = self.plan.stage_next(id) else { continue };
            // Before it runs it cannot be changed, and it starts as it was when that began.
            let state = self.state(id);
            waits |= state == State::Starting;
            let (change, up, mut tools) = self.changing(id);
            if up.is_none() || !is_up(state) {
                continue;
            }
            let begun = change.begin(id, &staged, up, &mut tools, now_ms);
            match begun {
                Ok(serial) => self.reload.stage = Stage::Changing(Some((id, serial))),
                Err(fault) => self.give_up(id, fault, false),
            }
            return true;
        }
        if !waits {
            self.end_reload(Verdict::Done);
        }
        !waits
    }

    /// Those that the config has no more, each when nothing that is up comes after it.
    fn stop_removed(&mut self, now_ms: u64) {
        let may_stop = self.may_stop();
        for id in self.ids() {
            if !self.guest(id).is_some_and(|guest| guest.is_removed) {
                continue;
            }
            match self.state(id) {
                State::Running | State::Ready if !may_stop.has(id) => {}
                State::Running | State::Ready | State::Waiting | State::Delayed | State::Starting => {
                    self.feed(id, Event::Stop, now_ms);
                }
                State::Down | State::Failed => self.renew(id),
                State::Stopping { .. } | State::Killing | State::StopHook | State::Clearing | State::DestroyHook => {}
            }
        }
    }
}

fn fault(step: Step, errno: Errno) -> Fault {
    Fault { step, errno: errno.raw_os_error() as u16, detail: 0 }
}
