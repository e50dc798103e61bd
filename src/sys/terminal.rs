//! The controlling terminal (ioctl_tty(2)).

use rustix::fd::{AsRawFd, BorrowedFd};

use super::{Errno, call};

/// Makes `terminal` the controlling terminal of this process's session, which it must lead. A session that has it loses it.
///
/// # Errors
/// EPERM where this is no session leader or may not take it away from another, ENOTTY where it is no terminal.
pub fn control(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    let list = [terminal.as_raw_fd() as usize, libc::TIOCSCTTY as usize, 1];
    // SAFETY: the argument is a number, not a pointer.
    unsafe { call(libc::SYS_ioctl, list) }.map(drop)
}
