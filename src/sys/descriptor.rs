//! Descriptors by number: what a program about to be executed is to find open.

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;

use super::{Errno, call};
use crate::limits;

/// Makes `number` refer to what `fd` does, to stay open across exec.
///
/// # Errors
/// EBADF over the limit of descriptors, EINTR, EBUSY.
pub fn place(fd: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    if fd.as_raw_fd() == number {
        return rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty());
    }
    // SAFETY: takes no pointer; `number` is chosen by the caller among descriptors that no OwnedFd of it names.
    unsafe { call(libc::SYS_dup3, [fd.as_raw_fd() as usize, number as usize, 0]) }.map(drop)
}

/// Closes every descriptor of this process from 3 up but those in `keep`, and stops sharing the table with others.
/// Only for a process about to execute: values that own a closed descriptor must never be dropped after this.
///
/// # Errors
/// ENOMEM, EMFILE (close_range(2)).
pub fn close_all_but(keep: &mut [RawFd]) -> Result<(), Errno> {
    keep.sort_unstable();
    let mut first = 3u32;
    let mut flags = libc::CLOSE_RANGE_UNSHARE as usize;
    for kept in keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).chain([u32::MAX]) {
        if kept > first {
            // SAFETY: takes no pointer; the caller gave up the descriptors in the range.
            unsafe { call(libc::SYS_close_range, [first as usize, kept as usize - 1, flags]) }?;
            flags = 0;
        }
        first = first.max(kept.saturating_add(1));
    }
    Ok(())
}

/// Opens what is closed of standard input, output and error, to nothing. Only before anything else is opened.
pub fn fill_standard() {
    for number in 0..3 {
        // SAFETY: takes no pointer, and only asks.
        let asked = unsafe { call(libc::SYS_fcntl, [number, libc::F_GETFD as usize]) };
        if asked == Err(Errno::BADF) {
            let null = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty());
            // Where there is no such file, something that can be neither read nor written.
            let opened = null.or_else(|_| rustix::fs::open(c"/", OFlags::PATH, Mode::empty()));
            // It got the lowest number that was free: this one. It stays open.
            let _ = opened.map(core::mem::forget);
        }
    }
}

/// The flags of descriptor `number`; nothing where it is not open.
#[must_use]
pub fn flags(number: RawFd) -> Option<FdFlags> {
    // SAFETY: takes no pointer, and only asks.
    let flags = unsafe { call(libc::SYS_fcntl, [number as usize, libc::F_GETFD as usize]) }.ok()?;
    Some(FdFlags::from_bits_retain(flags as u32))
}

/// Closes every descriptor from 3 up that stays open across exec: what the program before has left, and nobody has taken.
pub fn close_unclaimed() {
    for number in 3..limits::DESCRIPTORS as RawFd {
        if flags(number).is_some_and(|flags| !flags.contains(FdFlags::CLOEXEC)) {
            // SAFETY: takes no pointer; all that this program owns is closed on exec, so nothing owns this one.
            let _ = unsafe { call(libc::SYS_close, [number as usize]) };
        }
    }
}

/// The descriptor that another process sharing this one's table has opened as `number`.
///
/// The caller says that the number came from that process.
#[must_use]
pub fn adopt(number: RawFd) -> Option<OwnedFd> {
    if number < 0 {
        return None;
    }
    // SAFETY: the number is open in the shared table, and the other process ends without closing it, upheld by the
    // caller; a wrong number gives EBADF at its first use.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
