//! Signals by number: blocking, sending, resetting (signal(7)).

use core::mem::size_of;

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::process::Pid;

use super::{Errno, call};

/// A set of signals, as the kernel has it: bit N is signal N + 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    /// No signal.
    pub const NONE: Set = Set(0);
    /// Every signal.
    pub const ALL: Set = Set(u64::MAX);

    /// This set with `signal` (1 to 64).
    #[must_use]
    pub const fn with(self, signal: u8) -> Set {
        Set(self.0 | 1 << (signal as u32 - 1))
    }

    /// This set without `signal` (1 to 64).
    #[must_use]
    pub const fn without(self, signal: u8) -> Set {
        Set(self.0 & !(1 << (signal as u32 - 1)))
    }
}

/// Blocks exactly the signals of `set`.
///
/// # Errors
/// None that rt_sigprocmask(2) names for these arguments.
pub fn block(set: Set) -> Result<(), Errno> {
    exchange_mask(set).map(drop)
}

/// Blocks exactly the signals of `set`. Returns those that were blocked before.
///
/// # Errors
/// As [`block`].
pub fn exchange_mask(set: Set) -> Result<Set, Errno> {
    let mut before = Set::NONE;
    let list = [libc::SIG_SETMASK as usize, &raw const set.0 as usize, &raw mut before.0 as usize, size_of::<u64>()];
    // SAFETY: reads and writes eight bytes each, of sets that live beyond the call.
    unsafe { call(libc::SYS_rt_sigprocmask, list) }?;
    Ok(before)
}

/// A descriptor from which the signals of `set`, which must be blocked, are read (signalfd(2)). Does not block.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM, ENODEV.
pub fn descriptor(set: Set) -> Result<OwnedFd, Errno> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    let list = [usize::MAX, &raw const set.0 as usize, size_of::<u64>(), flags as usize];
    // SAFETY: reads eight bytes of a set that lives beyond the call.
    let fd = unsafe { call(libc::SYS_signalfd4, list) }?;
    // SAFETY: a new descriptor, which nobody else has seen.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The next signal's number from a [`descriptor`]; nothing where none waits.
///
/// # Errors
/// As read(2).
pub fn next(descriptor: BorrowedFd<'_>) -> Result<Option<u8>, Errno> {
    Ok(next_from(descriptor)?.map(|(signal, _)| signal))
}

/// The same, and the number of the process that sent it; 0 where that is the kernel, or out of sight.
///
/// # Errors
/// As read(2).
pub fn next_from(descriptor: BorrowedFd<'_>) -> Result<Option<(u8, i32)>, Errno> {
    let mut record = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(descriptor, &mut record) {
        // ssi_signo stands first, and is at most 64; ssi_errno, ssi_code and ssi_pid follow.
        Ok(_) => Ok(Some((record[0], i32::from_ne_bytes([record[12], record[13], record[14], record[15]])))),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends `signal` to the process that `pidfd` names.
///
/// # Errors
/// ESRCH where it has been waited for, EPERM.
pub fn send(pidfd: BorrowedFd<'_>, signal: u8) -> Result<(), Errno> {
    // SAFETY: a null siginfo is filled in by the kernel.
    unsafe { call(libc::SYS_pidfd_send_signal, [pidfd.as_raw_fd() as usize, usize::from(signal), 0, 0]) }.map(drop)
}

/// Stops this process until somebody lets it go on (SIGSTOP, which cannot be blocked).
pub fn stop_self() {
    let _ = send_to(rustix::process::getpid(), libc::SIGSTOP as u8);
}

/// Sends `signal` to process `pid`, which must be a child of this process not yet waited for.
///
/// # Errors
/// ESRCH, EPERM.
pub fn send_to(pid: Pid, signal: u8) -> Result<(), Errno> {
    let pid = pid.as_raw_nonzero().get();
    // SAFETY: takes no pointer.
    unsafe { call(libc::SYS_kill, [pid as usize, usize::from(signal)]) }.map(drop)
}

/// Sends `signal` to every process of the process group `group`, which must be that of a child not yet waited for.
///
/// # Errors
/// ESRCH where there is no such group, EPERM.
pub fn send_to_group(group: Pid, signal: u8) -> Result<(), Errno> {
    let group = -group.as_raw_nonzero().get();
    // SAFETY: takes no pointer.
    unsafe { call(libc::SYS_kill, [group as usize, usize::from(signal)]) }.map(drop)
}

/// Sends `signal` to every process of this pid namespace but its first one and this one (kill(2), pid -1). Only for PID 1.
///
/// # Errors
/// ESRCH where there is none.
pub fn send_to_all(signal: u8) -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    unsafe { call(libc::SYS_kill, [usize::MAX, usize::from(signal)]) }.map(drop)
}

/// Gives every signal its default action, those that whoever started this process had ignored too.
pub fn reset_all() {
    (1..=64).for_each(reset);
}

/// Gives `signal` its default action. For SIGKILL and SIGSTOP, which have no other, it does nothing.
pub fn reset(signal: u8) {
    exchange_action(signal, libc::SIG_DFL);
}

/// Gives `signal` its default action. Whether it was ignored before.
pub fn stop_ignoring(signal: u8) -> bool {
    exchange_action(signal, libc::SIG_DFL) == libc::SIG_IGN
}

/// Ignores `signal`.
pub fn ignore(signal: u8) {
    exchange_action(signal, libc::SIG_IGN);
}

/// Gives `signal` the action SIG_DFL or SIG_IGN. Returns the one that it had.
fn exchange_action(signal: u8, action: usize) -> usize {
    // struct kernel_sigaction: the handler; no flags, no restorer, empty mask
    let (now, mut before) = ([action, 0, 0, 0], [0; 4]);
    let list = [usize::from(signal), now.as_ptr() as usize, before.as_mut_ptr() as usize, size_of::<u64>()];
    // SAFETY: reads and writes sigactions, at most four words long, that live beyond the call. SIGKILL and SIGSTOP
    // give EINVAL, which is right.
    let _ = unsafe { call(libc::SYS_rt_sigaction, list) };
    before[0]
}
