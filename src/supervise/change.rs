//! The change of a guest's limits that is being carried out: one at a time, of all guests.

use rustix::fd::{AsFd, BorrowedFd};

use super::journal::Journal;
use super::news::News;
use super::poll::{Interest, Poll, Source};
use crate::control::wire::Happening;
use crate::fault::{Fault, Step};
use crate::guest::cgroup::{Base, Member};
use crate::guest::change::{self, Changing, DONE, HALF, UNDONE, Work};
use crate::guest::{self, Report};
use crate::limits;
use crate::plan::change::{Refused, Staged};
use crate::plan::{GuestId, Plan};
use crate::sys::signal;
use crate::sys::wait::{self, End, Which};

/// How often a child is looked at that could not be watched.
const LOOK_MS: u64 = 100;

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it holds.
    Changed,
    /// This step failed, and nothing is changed.
    Unchanged(Fault),
    /// This step failed, and not all could be put back.
    Half(Fault),
    /// The guest ended meanwhile, and nothing is changed.
    Ended,
}

/// Why a change has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotBegun {
    /// Another is being carried out.
    Busy,
    /// The guest is neither up nor down.
    Between,
    /// The plan does not take it.
    Refused(Refused),
    /// A step of this process failed.
    Failed(Fault),
}

/// The change of now, and the outcome of the last one until somebody has asked for it.
#[derive(Debug, Default)]
pub struct Change {
    pending: Option<Pending>,
    over: Option<(u32, Outcome)>,
    serial: u32,
}

#[derive(Debug)]
struct Pending {
    id: GuestId,
    /// The guest's first process when it began.
    pid: u32,
    staged: Staged,
    changing: Changing,
    deadline_ms: u64,
    /// When to look at a child whose end is not told; nothing where it is.
    look_at_ms: Option<u64>,
    /// What it is put back for; nothing while it is being made.
    back_for: Option<Fault>,
}

/// What a change is made with.
#[derive(Debug)]
pub struct Tools<'t, 'a> {
    /// Whose limits.
    pub plan: &'t mut Plan,
    /// Where the cgroups are.
    pub base: &'t Base,
    /// What watches the child.
    pub poll: &'t Poll,
    /// Where people are told.
    pub journal: &'t Journal<'a>,
    /// Where clients are.
    pub news: &'t mut News,
}

/// A guest that is up.
#[derive(Clone, Copy, Debug)]
pub struct Up<'p> {
    /// The number of its first process.
    pub pid: u32,
    /// Its pidfd.
    pub process: BorrowedFd<'p>,
    /// Whether it is to stand still, change or not.
    pub is_held: bool,
}

impl Change {
    /// Whether none can begin.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.pending.is_some() || self.over.is_some()
    }

    /// Begins what is staged for guest `id`, which is `up` or, with nothing, down. Returns what [`Change::outcome`] is to be
    /// asked with.
    ///
    /// # Errors
    /// The step that failed; nothing is staged then.
    pub fn begin(
        &mut self,
        id: GuestId,
        staged: &Staged,
        up: Option<Up<'_>>,
        tools: &mut Tools<'_, '_>,
        now_ms: u64,
    ) -> Result<u32, Fault> {
        self.serial = self.serial.wrapping_add(1);
        match up {
            // It starts with them.
            None => self.keep(id, staged, tools),
            Some(up) => match start(id, staged, up, false, tools) {
                Ok((changing, is_watched)) => {
                    let deadline_ms = now_ms.saturating_add(limits::CHANGE_TIMEOUT_MS);
                    let (pid, staged) = (up.pid, *staged);
                    let look_at_ms = look_at_ms(is_watched, now_ms);
                    self.pending = Some(Pending { id, pid, staged, changing, deadline_ms, look_at_ms, back_for: None });
                }
                Err(fault) => {
                    tools.plan.abandon(staged);
                    return Err(fault);
                }
            },
        }
        Ok(self.serial)
    }

    /// What became of change `serial`; nothing as long as nobody knows.
    #[must_use]
    pub fn outcome(&self, serial: u32) -> Option<Outcome> {
        self.over.filter(|(other, _)| *other == serial).map(|(_, outcome)| outcome)
    }

    /// Everybody who wanted to know has asked: another can begin.
    pub fn forget(&mut self) {
        self.over = None;
    }

    /// The guest that is being changed.
    #[must_use]
    pub fn guest(&self) -> Option<GuestId> {
        Some(self.pending.as_ref()?.id)
    }

    /// When it is to be looked at, at the latest; nothing where there is none.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        let pending = self.pending.as_ref()?;
        Some(pending.look_at_ms.unwrap_or(u64::MAX).min(pending.deadline_ms))
    }

    /// Ends a child that has taken too long.
    pub fn time_out(&mut self, now_ms: u64) {
        let Some(pending) = &mut self.pending else { return };
        pending.look_at_ms = pending.look_at_ms.and(look_at_ms(false, now_ms));
        if pending.deadline_ms <= now_ms {
            // It is waited for then; where it hangs in the kernel, that takes its time.
            let _ = signal::send(pending.changing.helper.as_fd(), libc::SIGKILL as u8);
            pending.deadline_ms = now_ms.saturating_add(limits::CHANGE_TIMEOUT_MS);
        }
    }

    /// Looks whether the child has ended, and goes on from there. `up` is the guest as it is now. Whether it left children.
    pub fn look(&mut self, up: Option<Up<'_>>, tools: &mut Tools<'_, '_>, now_ms: u64) -> bool {
        let Some(mut pending) = self.pending.take() else { return false };
        let end = match wait::reap(Which::PidFd(pending.changing.helper.as_fd())) {
            Ok(None) => {
                self.pending = Some(pending);
                return false;
            }
            Ok(Some((_, End::Code(code)))) => Some(code),
            Ok(Some((_, End::Signal(_)))) | Err(_) => None,
        };
        let fault = match guest::receive(pending.changing.reports.as_fd()) {
            Report::Failed(fault) => fault,
            _ => Fault { step: Step::ChangeHelper, errno: libc::ECHILD as u16, detail: 0 },
        };
        let is_same = up.is_some_and(|up| up.pid == pending.pid);
        if let Some((guest, up)) = tools.plan.guest(pending.id).zip(up).filter(|_| is_same) {
            // It may be gone.
            let _ =
                tools.base.hold(Member { kind: guest.kind, name: tools.plan.strings.c_str(guest.name) }, up.is_held);
        }
        let outcome = match (end, pending.back_for) {
            _ if !is_same => Outcome::Ended,
            (Some(DONE), None) => Outcome::Changed,
            (Some(DONE), Some(_)) | (Some(UNDONE), None) => Outcome::Unchanged(pending.back_for.unwrap_or(fault)),
            (Some(HALF), None) | (_, Some(_)) => Outcome::Half(pending.back_for.unwrap_or(fault)),
            // It died half-way.
            (_, None) => match up.map(|up| start(pending.id, &pending.staged, up, true, tools)) {
                Some(Ok((changing, is_watched))) => {
                    tools.poll.close(core::mem::replace(&mut pending.changing, changing).helper);
                    pending.back_for = Some(fault);
                    pending.deadline_ms = now_ms.saturating_add(limits::CHANGE_TIMEOUT_MS);
                    pending.look_at_ms = look_at_ms(is_watched, now_ms);
                    self.pending = Some(pending);
                    return true;
                }
                Some(Err(_)) | None => Outcome::Half(fault),
            },
        };
        tools.poll.close(pending.changing.helper);
        if outcome == Outcome::Changed {
            self.keep(pending.id, &pending.staged, tools);
        } else {
            tools.plan.abandon(&pending.staged);
            self.over = Some((self.serial, outcome));
        }
        if let (Outcome::Half(fault), Some(guest)) = (outcome, tools.plan.guest(pending.id)) {
            let name = tools.plan.strings.str(guest.name);
            tools.journal.error(format_args!("{name}: a change of its limits could not be undone: {fault}"));
        }
        end.is_none()
    }

    fn keep(&mut self, id: GuestId, staged: &Staged, tools: &mut Tools<'_, '_>) {
        tools.plan.keep(id, staged);
        self.over = Some((self.serial, Outcome::Changed));
        if let Some(guest) = tools.plan.guest(id) {
            let name = tools.plan.strings.str(guest.name);
            tools.journal.line(format_args!("{name}: changed: {}", staged.keys));
            tools.news.tell(name.as_bytes(), guest.kind, Happening::Changed { keys: staged.keys });
        }
    }
}

/// Starts the child that changes, or puts `back`. Whether its end will be told.
fn start(
    id: GuestId,
    staged: &Staged,
    up: Up<'_>,
    back: bool,
    tools: &Tools<'_, '_>,
) -> Result<(Changing, bool), Fault> {
    let fault = Fault { step: Step::ForkChange, errno: libc::ENOENT as u16, detail: 0 };
    let guest = tools.plan.guest(id).ok_or(fault)?;
    let (process, is_held) = (up.process, up.is_held);
    let changing = change::change(&Work { plan: tools.plan, guest, staged, base: tools.base, process, back, is_held })?;
    let is_watched = tools.poll.watch(changing.helper.as_fd(), Source::Change, Interest::Readable).is_ok();
    Ok((changing, is_watched))
}

/// When to look at a child next whose end is not told.
fn look_at_ms(is_watched: bool, now_ms: u64) -> Option<u64> {
    (!is_watched).then(|| now_ms.saturating_add(LOOK_MS))
}
