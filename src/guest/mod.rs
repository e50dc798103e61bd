//! [`crate::plan::Plan`] → a running guest, and its end.
//!
//! PID 1 starts a short-lived helper; the helper does all that can hang or needs the host's privileges, makes the guest
//! a child of PID 1 (CLONE_PARENT), and ends. Both report to PID 1 over one socket.

pub mod cgroup;

use rustix::fd::{BorrowedFd, OwnedFd};

use crate::fault::Fault;
use crate::plan::{GuestId, Plan};

/// A guest that is being started.
#[derive(Debug)]
pub struct Starting {
    /// Pidfd of the helper; readable when it has ended, then it must be waited for (waitid P_PIDFD, `__WALL`).
    pub helper: OwnedFd,
    /// Where helper and guest report: see [`receive`]. Does not block.
    pub reports: OwnedFd,
    /// Read end of the guest's output; does not block. None where `log = off`.
    pub output: Option<OwnedFd>,
    /// Read end of the descriptor of `ready = fd N`; does not block.
    pub ready: Option<OwnedFd>,
}

/// Where a guest's standard input, output and error go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// To [`Starting::output`] (app and service: a pipe) or [`Report::Console`] (os: a terminal); input from nowhere.
    Log,
    /// To the caller's own.
    Inherit,
    /// To a terminal inside the guest, whose other side comes as [`Report::Console`].
    Terminal,
}

/// What was heard from a start.
#[derive(Debug)]
pub enum Report {
    /// Nothing yet.
    Nothing,
    /// The guest's first process exists: a child of this process, with exit signal 0 (wait by pidfd with `__WALL`).
    Born {
        /// Its number on the host.
        pid: u32,
        /// Its pidfd. Where there is none (no descriptor left), the start has failed, and the guest must be killed and
        /// waited for by number (waitid P_PID, `__WALL`), which is safe: a child's number is not used again before that.
        pidfd: Result<OwnedFd, Fault>,
    },
    /// The master side of the guest's console (kind `os`): its output comes from here.
    Console(OwnedFd),
    /// A step failed; what was born is ending.
    Failed(Fault),
    /// Every end of the reports is closed. Exec has worked if the guest was born and no step failed.
    Closed,
}

/// Starts guest `id`. Never blocks: what can hang runs in the helper.
///
/// # Errors
/// The step of this process that failed; nothing is left of the start then.
pub fn start(_plan: &'static Plan, _id: GuestId, _base: &cgroup::Base, _stdio: Stdio) -> Result<Starting, Fault> {
    Err(Fault { step: crate::fault::Step::Fork, errno: libc::ENOSYS as u16, detail: 0 })
}

/// The next report.
pub fn receive(_reports: BorrowedFd<'_>) -> Report {
    Report::Closed
}
