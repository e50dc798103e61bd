//! The driver's part in changing the limits of a guest that runs.

use rustix::fd::AsFd;

use super::{Driver, SWEEP_MS, index};
use crate::plan;
use crate::plan::GuestId;
use crate::supervise::change::{Change, NotBegun, Outcome, Tools, Up};
use crate::supervise::snapshot::is_up;

impl<'a> Driver<'a> {
    /// Whether no change can begin.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.change.is_busy() || self.is_reloading() || self.is_upgrading()
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
        self.note_plan();
        let (change, up, mut tools) = self.changing(id);
        if change.look(up, &mut tools, now_ms) {
            // It may have had a child of its own.
            self.sweep_at_ms = Some(now_ms.saturating_add(SWEEP_MS));
        }
        if self.change.guest().is_none() {
            // It may have stood still meanwhile.
            self.goes_on(id, now_ms);
        }
    }

    pub(super) fn changing(&mut self, id: GuestId) -> (&mut Change, Option<Up<'_>>, Tools<'_, 'a>) {
        let Driver { plan, base, table, poll, journal, news, change, .. } = self;
        let process = table.slots.get(index(id)).and_then(|slot| slot.process.as_ref());
        let is_held = table.slots.get(index(id)).is_some_and(|slot| slot.is_held);
        let keys = table.keys.get(index(id));
        let up = process.zip(keys).map(|(process, keys)| Up { pid: keys.pid, process: process.as_fd(), is_held });
        (change, up, Tools { plan, base, poll, journal, news })
    }
}
