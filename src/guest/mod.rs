//! [`Plan`] → a running guest, and its end.
//!
//! PID 1 starts a short-lived [`helper`]; the helper does all that can hang or needs the host's privileges, makes the guest
//! a child of PID 1 (CLONE_PARENT), and ends. The guest's own side is [`child`]. Both [`report`] over one socket.

mod about;
mod bind;
pub mod cgroup;
pub mod change;
pub mod check;
mod child;
pub mod command;
mod confine;
mod copy;
mod device_filter;
mod devices;
mod helper;
pub mod hook;
mod image;
mod inherit;
pub mod inside;
mod join;
pub mod limit;
mod lock;
mod login;
mod masks;
mod notify;
mod own;
pub mod report;
mod root;
pub mod seccomp;
mod stdio;
mod target;
mod terminals;
mod view;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use rustix::process::Pid;

pub use command::search;
pub use join::{Command, Facts, join};
pub use notify::remove_on_host;
pub use own::{begin_anew, is_reachable, resume};
pub use report::{Report, receive};

use crate::fault::{At, Fault, Step};
use crate::plan::{Guest, GuestId, LogTo, Plan, Ready};
use crate::sys::Errno;
use crate::sys::clone::{Flags, Side, clone};

/// A guest that is being started.
#[derive(Debug)]
pub struct Starting {
    /// Pidfd of the helper; readable when it has ended, then it must be waited for (waitid P_PIDFD, `__WALL`).
    pub helper: OwnedFd,
    /// Its number.
    pub pid: Pid,
    /// Where helper and guest report: see [`receive`].
    pub reports: OwnedFd,
    /// Read end of the guest's output; does not block. None where `log = off`, or a terminal comes instead.
    pub output: Option<OwnedFd>,
    /// Read end of the descriptor of `ready = fd N`; does not block.
    pub ready: Option<OwnedFd>,
}

/// Where a guest's standard input, output and error go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// To [`Starting::output`] (app and service: a pipe) or [`Report::Console`] (os: a terminal); input from nowhere.
    Log,
    /// To the caller's own; in the place of each that is a terminal, to one inside the guest, whose other side comes as
    /// [`Report::Console`].
    Caller,
}

/// Everything that helper and guest work from.
struct Build<'a> {
    plan: &'a Plan,
    guest: &'a Guest,
    member: cgroup::Member<'a>,
    base: &'a cgroup::Base,
    stdio: Stdio,
    reports: OwnedFd,
    output: Option<OwnedFd>,
    ready: Option<OwnedFd>,
}

/// What the helper opened for the guest before it existed.
struct Prepared {
    /// This program, for a guest that could change it.
    program: Option<OwnedFd>,
    /// Its root, not yet finished.
    root: OwnedFd,
    /// What it sees of the host's files.
    binds: bind::Trees,
    /// Its `/dev`.
    devices: OwnedFd,
    /// Its terminals, where PID 1 keeps so many for it.
    terminals: Option<OwnedFd>,
    /// What the host says that it is, for a distribution.
    release: Option<OwnedFd>,
    /// The host's `/sys`, for a guest in the host's network.
    sysfs: Option<OwnedFd>,
    /// Where the helper makes what is to be locked: `/proc` and `/sys`, and what `bind` names.
    stage: Option<OwnedFd>,
}

/// Starts guest `id`. Never blocks: what can hang runs in the helper.
///
/// # Errors
/// The step of this process that failed; nothing is left of the start then.
pub fn start(plan: &Plan, id: GuestId, base: &cgroup::Base, stdio: Stdio) -> Result<Starting, Fault> {
    let guest = plan.guests.get(usize::from(id.0)).ok_or(Errno::NOENT).at(Step::Fork)?;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .at(Step::ReportSocket)?;
    let is_kept = guest.log_bytes > 0 || guest.log_to != LogTo::Nowhere;
    let piped = stdio == Stdio::Log && !guest.has_console && guest.tty.is_empty() && is_kept;
    let output = piped.then(pipe).transpose().at(Step::OutputPipe)?;
    let ready = matches!(guest.ready, Ready::Fd(_)).then(pipe).transpose().at(Step::ReadyPipe)?;
    let (output, output_write) = output.unzip();
    let (ready, ready_write) = ready.unzip();
    // Above every number that the guest's own descriptor may have: it must not be put in this one's place.
    let theirs = match guest.ready {
        Ready::Fd(_) => rustix::io::fcntl_dupfd_cloexec(theirs, 1 + i32::from(u8::MAX)).at(Step::ReportSocket)?,
        Ready::Exec | Ready::Exit | Ready::Notify | Ready::Port(_) | Ready::File | Ready::Command => theirs,
    };
    match clone(Flags::NONE, None).at(Step::Fork)? {
        Side::Parent(pid, helper) => Ok(Starting { helper, pid, reports: ours, output, ready }),
        Side::Child => {
            // Held here, they would never be heard to close.
            drop((ours, output, ready));
            let member = cgroup::Member { kind: guest.kind, name: plan.strings.c_str(guest.name) };
            let (output, ready) = (output_write, ready_write);
            helper::run(&Build { plan, guest, member, base, stdio, reports: theirs, output, ready })
        }
    }
}

/// A pipe whose read end does not block.
fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(read.as_fd(), OFlags::NONBLOCK)?;
    Ok((read, write))
}
