//! Short-lived children of PID 1: they do what may hang, so that PID 1 does not.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};

use super::wait::Waiter;
use super::watchdog::Watchdog;
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::wait::{self, End, Which};
use crate::sys::{Errno, clock, process, signal};

/// How a child came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It exited with this code, or 255 where a signal ended it.
    Ended(u8),
    /// It is still at it. It has been sent SIGKILL, and is a child without exit signal (`__WALL`) when it ends.
    Late,
    /// There was no child.
    NotStarted(Errno),
}

/// Runs `work` in a child, and waits for it until `deadline_ms` of [`clock::now_ms`]; the watchdog is petted meanwhile.
pub fn run(watchdog: &mut Watchdog, deadline_ms: u64, work: impl FnOnce() -> u8) -> Outcome {
    let pidfd = match clone(Flags::NONE, None) {
        Err(error) => return Outcome::NotStarted(error),
        Ok(Side::Child) => process::exit(work()),
        Ok(Side::Parent(_, pidfd)) => pidfd,
    };
    if !(Waiter { watchdog }).wait(&[(pidfd.as_fd(), PollFlags::IN)], deadline_ms) {
        // Where it hangs in the kernel, this waits there with it.
        let _ = signal::send(pidfd.as_fd(), libc::SIGKILL as u8);
        return Outcome::Late;
    }
    match wait::reap(Which::PidFd(pidfd.as_fd())) {
        Ok(Some((_, End::Code(code)))) => Outcome::Ended(code),
        _ => Outcome::Ended(255),
    }
}

/// Waits until `fd` can be read, or `deadline_ms` has come. Returns whether it can be read.
#[must_use]
pub fn wait_readable(fd: BorrowedFd<'_>, deadline_ms: u64) -> bool {
    loop {
        let left = deadline_ms.saturating_sub(clock::now_ms());
        let timeout = Timespec { tv_sec: (left / 1000) as i64, tv_nsec: (left % 1000 * 1_000_000) as _ };
        match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => {}
            Ok(ready) => return ready > 0,
            // ENOMEM is all that is left; it is as if the time were over.
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_ends_gives_its_code() {
        assert_eq!(run(&mut Watchdog::none(), clock::now_ms() + 60_000, || 7), Outcome::Ended(7));
    }

    #[test]
    fn a_child_that_hangs_is_late_and_killed() {
        assert_eq!(
            run(&mut Watchdog::none(), clock::now_ms() + 50, || loop {
                core::hint::spin_loop()
            }),
            Outcome::Late
        );
    }
}
