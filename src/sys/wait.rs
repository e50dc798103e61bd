//! Waiting for children, with their numbers (waitid(2)).

use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::process::Pid;

use super::{Errno, call};

/// Which children.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// The one that this pidfd names, whatever signal its end raises.
    PidFd(BorrowedFd<'a>),
    /// The one with this number, whatever signal its end raises.
    Pid(Pid),
    /// The same, if it has come as far as an exec: that is what has its end raise SIGCHLD.
    Executed(Pid),
    /// Any whose end raises SIGCHLD: orphans, and guests after exec, which sets that signal for every process.
    Ordinary,
    /// Any whose end raises no signal: what [`super::clone`] made, until it execs.
    Silent,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Code(u8),
    /// This signal killed it.
    Signal(u8),
}

impl End {
    /// As one number, for a record: the code, or the signal's number and 256.
    #[must_use]
    pub fn as_detail(self) -> u32 {
        match self {
            End::Code(code) => code.into(),
            End::Signal(signal) => 256 + u32::from(signal),
        }
    }
}

/// A pidfd of the child with this number, which may have ended; nothing where it is no child, or was waited for.
#[must_use]
pub fn child(pid: Pid) -> Option<OwnedFd> {
    peek(Which::Pid(pid)).ok()?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// The number of a child that has ended, and how; it stays a zombie. Never blocks; nothing where none has ended.
///
/// # Errors
/// ECHILD where there is no such child.
pub fn peek(which: Which<'_>) -> Result<Option<(Pid, End)>, Errno> {
    wait(which, libc::WNOWAIT)
}

/// The same, and the child is gone for good.
///
/// # Errors
/// ECHILD where there is no such child.
pub fn reap(which: Which<'_>) -> Result<Option<(Pid, End)>, Errno> {
    wait(which, 0)
}

/// Waits for the end of the child that this pidfd names; it is gone for good then.
///
/// # Errors
/// ECHILD where it is no child.
pub fn until_end(pidfd: BorrowedFd<'_>) -> Result<End, Errno> {
    let info =
        rustix::io::retry_on_intr(|| call_waitid(libc::P_PIDFD, pidfd.as_raw_fd(), libc::__WALL | libc::WEXITED))?;
    Ok(end(&info))
}

/// The signal that has stopped the child `pidfd`, told once; nothing where it has not stopped, or goes on again.
#[must_use]
pub fn stopped(pidfd: BorrowedFd<'_>) -> Option<u8> {
    let flags = libc::__WALL | libc::WSTOPPED | libc::WNOHANG;
    let info = call_waitid(libc::P_PIDFD, pidfd.as_raw_fd(), flags).ok()?;
    // SAFETY: waitid has filled in the fields of SIGCHLD, or left them zero.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let signal = unsafe { info.si_status() };
    (pid != 0).then_some(signal as u8)
}

fn wait(which: Which<'_>, flags: i32) -> Result<Option<(Pid, End)>, Errno> {
    let (kind, id, whom) = match which {
        Which::PidFd(pidfd) => (libc::P_PIDFD, pidfd.as_raw_fd(), libc::__WALL),
        Which::Pid(pid) => (libc::P_PID, pid.as_raw_nonzero().get(), libc::__WALL),
        Which::Executed(pid) => (libc::P_PID, pid.as_raw_nonzero().get(), 0),
        Which::Ordinary => (libc::P_ALL, 0, 0),
        Which::Silent => (libc::P_ALL, 0, libc::__WCLONE),
    };
    let info = call_waitid(kind, id, flags | whom | libc::WEXITED | libc::WNOHANG)?;
    // SAFETY: waitid has filled in the fields of SIGCHLD, or left them zero.
    let Some(pid) = Pid::from_raw(unsafe { info.si_pid() }) else { return Ok(None) };
    Ok(Some((pid, end(&info))))
}

fn end(info: &libc::siginfo_t) -> End {
    // SAFETY: waitid has filled in the fields of SIGCHLD.
    let status = unsafe { info.si_status() } as u8;
    if info.si_code == libc::CLD_EXITED { End::Code(status) } else { End::Signal(status & 0x7f) }
}

fn call_waitid(kind: libc::idtype_t, id: i32, flags: i32) -> Result<libc::siginfo_t, Errno> {
    // SAFETY: all zero is a valid siginfo_t; its si_pid stays 0 where no child has anything to tell.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    // SAFETY: writes a siginfo_t that lives beyond the call; no rusage is asked for.
    unsafe { call(libc::SYS_waitid, [kind as usize, id as usize, &raw mut info as usize, flags as usize, 0]) }?;
    Ok(info)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_is_peeked_at_then_reaped_and_then_no_more() {
        for (script, end) in [("exit 7", End::Code(7)), ("kill -9 $$", End::Signal(9))] {
            let mut child = Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
            let pid = Pid::from_raw(child.id() as i32).unwrap();
            let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
            let mut ready = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut ready, None).unwrap();
            assert_eq!(peek(Which::Pid(pid)), Ok(Some((pid, end))));
            use rustix::fd::AsFd;
            assert_eq!(reap(Which::PidFd(pidfd.as_fd())), Ok(Some((pid, end))));
            assert_eq!(reap(Which::PidFd(pidfd.as_fd())), Err(Errno::CHILD));
            // Reaped behind its back: std finds nothing to wait for.
            assert!(child.wait().map_or(true, |status| status.into_raw() >= 0));
        }
    }

    #[test]
    fn what_ends_before_an_exec_is_told_from_what_ends_behind_one() {
        use super::super::clone::{Flags, Side, clone};
        let Side::Parent(silent, _pidfd) = clone(Flags::NONE, None).unwrap() else { super::super::process::exit(0) };
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let ordinary = Pid::from_raw(child.id() as i32).unwrap();
        for (pid, executed) in [(silent, Err(Errno::CHILD)), (ordinary, Ok(Some((ordinary, End::Code(0)))))] {
            while peek(Which::Pid(pid)) == Ok(None) {
                std::thread::yield_now();
            }
            assert_eq!(peek(Which::Executed(pid)), executed);
        }
        reap(Which::Pid(silent)).unwrap();
        child.wait().unwrap();
    }
}
