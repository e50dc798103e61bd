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
    each_open(|number| {
        if flags(number).is_some_and(|flags| !flags.contains(FdFlags::CLOEXEC)) {
            // SAFETY: takes no pointer; all that this program owns is closed on exec, so nothing owns this one.
            let _ = unsafe { call(libc::SYS_close, [number as usize]) };
        }
    });
}

/// Has every descriptor from 3 up that is open stay open across exec, or be closed by it.
pub fn set_all_kept(are_kept: bool) {
    let flags = if are_kept { 0 } else { libc::FD_CLOEXEC as usize };
    each_open(|number| {
        // SAFETY: takes no pointer, and closes nothing.
        let _ = unsafe { call(libc::SYS_fcntl, [number as usize, libc::F_SETFD as usize, flags]) };
    });
}

/// As many as are asked about by one call.
const AT_ONCE: usize = 256;

/// Calls `each` with the number of every open descriptor from 3 up: but for those that were opened with O_PATH, which poll(2)
/// takes for closed.
fn each_open(mut each: impl FnMut(RawFd)) {
    let no_time = [0_i64; 2];
    let mut next = 3;
    while next < limits::DESCRIPTORS as RawFd {
        let mut list = [libc::pollfd { fd: 0, events: 0, revents: 0 }; AT_ONCE];
        for one in &mut list {
            one.fd = next;
            next += 1;
        }
        let words = [list.as_mut_ptr() as usize, AT_ONCE, no_time.as_ptr() as usize, 0, 0];
        // SAFETY: the list has so many entries, and lives beyond the call, as the time does.
        let asked = unsafe { call(libc::SYS_ppoll, words) };
        // Where nobody says, each may be open.
        let is_open = |one: &&libc::pollfd| asked.is_err() || one.revents & libc::POLLNVAL == 0;
        list.iter().filter(is_open).for_each(|one| each(one.fd));
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
