//! The driver's part in becoming another program: that is asked, and what it has said is kept until it is done.

use core::ffi::CStr;

use super::Driver;
use crate::control::server::ClientId;
use crate::fault::{Fault, Step};
use crate::guest::{Report, receive};
use crate::limits;
use crate::supervise::change::NotBegun;
use crate::supervise::kept;
use crate::supervise::reload::Child;
use crate::supervise::upgrade::{self, Answer, Asking, Refused};

/// The program that is to come, while it is asked.
#[derive(Debug, Default)]
pub(super) struct Upgrade {
    client: Option<ClientId>,
    asking: Option<Asking>,
    /// What it has said, until that is carried out.
    answer: Option<Answer>,
    refused: Option<Refused>,
    /// A child that was given up, and has not ended.
    hung: Option<Child>,
}

impl Driver<'_> {
    /// Begins to ask the program at `path` whether it could go on in the place of this one.
    ///
    /// # Errors
    /// Why it has not begun.
    pub fn begin_upgrade(&mut self, client: ClientId, path: &CStr, now_ms: u64) -> Result<(), NotBegun> {
        let Some(keeper) = &self.keeper else {
            return Err(NotBegun::Failed(Fault { step: Step::ReloadMemory, errno: libc::ENOMEM as u16, detail: 0 }));
        };
        if self.is_changing() || self.is_removing() || self.upgrade.hung.is_some() {
            return Err(NotBegun::Busy);
        }
        let deadline_ms = now_ms.saturating_add(limits::RELOAD_TIMEOUT_MS);
        let asking = upgrade::ask(path, keeper.file(), self.from, deadline_ms, self.poll).map_err(NotBegun::Failed)?;
        self.upgrade = Upgrade { client: Some(client), asking: Some(asking), ..Upgrade::default() };
        Ok(())
    }

    /// Whether a program is asked, or is about to take this one's place.
    #[must_use]
    pub fn is_upgrading(&self) -> bool {
        self.upgrade.asking.is_some() || self.upgrade.answer.is_some()
    }

    pub(super) fn has_upgrade_child(&self) -> bool {
        self.upgrade.asking.is_some() || self.upgrade.hung.is_some()
    }

    pub(super) fn upgrade_deadline_ms(&self, now_ms: u64) -> Option<u64> {
        let asking = self.upgrade.asking.as_ref()?;
        Some(asking.child.look_at_ms(now_ms).unwrap_or(u64::MAX).min(asking.deadline_ms))
    }

    /// Looks whether it has answered, or takes too long.
    pub(super) fn look_at_upgrade(&mut self, now_ms: u64) {
        if let Some(hung) = self.upgrade.hung.take_if(|hung| hung.code().is_some()) {
            hung.close(self.poll);
        }
        let Some(asking) = self.upgrade.asking.take() else { return };
        let Some(code) = asking.child.code() else {
            if now_ms >= asking.deadline_ms {
                asking.child.kill();
                self.upgrade.hung = Some(asking.child);
                self.upgrade.refused = Some(Refused::Late);
            } else {
                self.upgrade.asking = Some(asking);
            }
            return;
        };
        match answer(asking, code, self.poll) {
            Ok(answer) => self.upgrade.answer = Some(answer),
            Err(refused) => self.upgrade.refused = Some(refused),
        }
    }

    /// Why the program that `client` named does not come; nothing as long as nobody knows.
    #[must_use]
    pub fn refused_upgrade(&self, client: ClientId) -> Option<Refused> {
        self.upgrade.refused.filter(|_| self.upgrade.client == Some(client))
    }

    /// The program that is to come now, and who has asked for it.
    pub fn take_answer(&mut self) -> Option<(Answer, Option<ClientId>)> {
        Some((self.upgrade.answer.take()?, self.upgrade.client))
    }

    /// It has not come.
    pub fn refuse_upgrade(&mut self, refused: Refused) {
        self.upgrade.refused = Some(refused);
    }
}

/// What the child has said, and with which code it has ended.
fn answer(asking: Asking, code: u8, poll: &crate::supervise::poll::Poll) -> Result<Answer, Refused> {
    let Asking { child, image, .. } = asking;
    let mut program = None;
    let mut failed = None;
    loop {
        match receive(child.reports()) {
            // A descriptor, whatever it is called there.
            Report::Console(file) => program = Some(file),
            Report::Failed(fault) => failed = Some(Refused::Failed(fault)),
            _ => break,
        }
    }
    child.close(poll);
    if let Some(refused) = failed.or_else(|| upgrade::refusal(code)) {
        return Err(refused);
    }
    let program = program.ok_or(Refused::Stranger)?;
    let stat = rustix::fs::fstat(&program).map_err(|_| Refused::Stranger)?;
    let identity = kept::identity(&stat);
    let own = kept::program().is_ok_and(|(_, own)| own == identity);
    let has_plan = rustix::fs::fstat(image.file()).is_ok_and(|stat| stat.st_size > 0);
    match (own, has_plan) {
        (true, _) => Ok(Answer { program, identity, image: None }),
        (false, true) => Ok(Answer { program, identity, image: Some(image) }),
        (false, false) => Err(Refused::Stranger),
    }
}
