//! Terminals, and which of them controls a session (ioctl_tty(2)).

use core::ffi::CStr;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::termios::{InputModes, LocalModes, OptionalActions, OutputModes};

use super::{Errno, call, device};

/// Opens the terminal at `path` for a program that has it next: reading and writing wait, and its modes are those that a person
/// expects, whatever who had it before has left. Its speed, and what belongs to the line, stay.
///
/// # Errors
/// As open(2).
pub fn open(path: &CStr) -> Result<OwnedFd, Errno> {
    // Opening a serial line waits for its carrier where it is asked to; so it is made to wait only then.
    let terminal = device::open(path, OFlags::RDWR | OFlags::NONBLOCK)?;
    rustix::fs::fcntl_setfl(&terminal, OFlags::empty())?;
    // What is no terminal has none, and whoever is to control it finds that out.
    let _ = set_usual_modes(terminal.as_fd());
    Ok(terminal)
}

fn set_usual_modes(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut modes = rustix::termios::tcgetattr(terminal)?;
    modes.input_modes = modes.input_modes & InputModes::IUTF8 | InputModes::ICRNL | InputModes::IXON;
    modes.output_modes = OutputModes::OPOST | OutputModes::ONLCR;
    modes.local_modes = LocalModes::ISIG
        | LocalModes::ICANON
        | LocalModes::IEXTEN
        | LocalModes::ECHO
        | LocalModes::ECHOE
        | LocalModes::ECHOK
        | LocalModes::ECHOCTL
        | LocalModes::ECHOKE;
    rustix::termios::tcsetattr(terminal, OptionalActions::Now, &modes)
}

/// Makes `terminal` the controlling terminal of this process's session, which it must lead. A session that has it loses it.
///
/// # Errors
/// EPERM where this is no session leader or may not take it away from another, ENOTTY where it is no terminal.
pub fn control(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    let list = [terminal.as_raw_fd() as usize, libc::TIOCSCTTY as usize, 1];
    // SAFETY: the argument is a number, not a pointer.
    unsafe { call(libc::SYS_ioctl, list) }.map(drop)
}

/// Makes `terminal` the controlling terminal of this process's session, which it must lead, where no session has it.
///
/// # Errors
/// EPERM where this is no session leader or another session has it, ENOTTY where it is no terminal.
pub fn control_if_free(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the argument is a number, not a pointer.
    unsafe { call(libc::SYS_ioctl, [terminal.as_raw_fd() as usize, libc::TIOCSCTTY as usize, 0]) }.map(drop)
}

/// Takes `terminal` away from all who have it open, and tells the session that it controls (vhangup(2)).
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN, ENOTTY where it is no terminal.
pub fn hang_up(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes no argument.
    unsafe { call(libc::SYS_ioctl, [terminal.as_raw_fd() as usize, libc::TIOCVHANGUP as usize]) }.map(drop)
}

/// How many bytes of what was written to `terminal` are still to go out.
///
/// # Errors
/// ENOTTY where it is no terminal.
pub fn unsent(terminal: BorrowedFd<'_>) -> Result<i32, Errno> {
    let mut bytes = 0i32;
    let list = [terminal.as_raw_fd() as usize, libc::TIOCOUTQ as usize, &raw mut bytes as usize];
    // SAFETY: writes a number that lives beyond the call.
    unsafe { call(libc::SYS_ioctl, list) }?;
    Ok(bytes)
}

/// Gives the controlling terminal up. Where this process leads its session, all of that loses it, and the foreground is sent
/// SIGHUP and SIGCONT.
///
/// # Errors
/// ENOTTY where `terminal` is not the controlling one.
pub fn give_up(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes no argument.
    unsafe { call(libc::SYS_ioctl, [terminal.as_raw_fd() as usize, libc::TIOCNOTTY as usize]) }.map(drop)
}

/// The process group in the foreground of the controlling terminal; 0 for one of another pid namespace.
///
/// # Errors
/// ENOTTY where `terminal` is not the controlling one.
pub fn foreground(terminal: BorrowedFd<'_>) -> Result<i32, Errno> {
    let mut group = 0i32;
    let list = [terminal.as_raw_fd() as usize, libc::TIOCGPGRP as usize, &raw mut group as usize];
    // SAFETY: writes a number that lives beyond the call.
    unsafe { call(libc::SYS_ioctl, list) }?;
    Ok(group)
}

/// Puts process group `group` in the foreground of the controlling terminal.
///
/// # Errors
/// ENOTTY where `terminal` is not the controlling one, EPERM and ESRCH for a group that is not of this session.
pub fn set_foreground(terminal: BorrowedFd<'_>, group: i32) -> Result<(), Errno> {
    let list = [terminal.as_raw_fd() as usize, libc::TIOCSPGRP as usize, &raw const group as usize];
    // SAFETY: reads a number that lives beyond the call.
    unsafe { call(libc::SYS_ioctl, list) }.map(drop)
}
