//! Loop devices: a file as a disk (loop(4)).

use core::mem::size_of;

use rustix::fd::{AsRawFd, BorrowedFd};

use super::{Errno, call};

/// linux/loop.h
const GET_FREE: usize = 0x4c82;
const CONFIGURE: usize = 0x4c0a;
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;

/// `struct loop_config`, of which only these are used.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    /// device, inode, rdevice, offset, size limit: all of the file
    whole: [u64; 5],
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    names: [u8; 64 + 64 + 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// The number of a loop device that has no file, by `/dev/loop-control`. Somebody else may be faster.
///
/// # Errors
/// EPERM, ENOMEM, ENOSPC.
pub fn free(control: BorrowedFd<'_>) -> Result<u32, Errno> {
    // SAFETY: takes no pointer.
    unsafe { call(libc::SYS_ioctl, [control.as_raw_fd() as usize, GET_FREE, 0]) }.map(|number| number as u32)
}

/// Gives `file` to the loop device `device`, until nobody has it open or mounted any more. The device holds the open file,
/// and the lock on it, as long.
///
/// # Errors
/// EBUSY where it has a file by now, EBADF, EINVAL, ENXIO.
pub fn attach(device: BorrowedFd<'_>, file: BorrowedFd<'_>, read_only: bool) -> Result<(), Errno> {
    let config = Config {
        fd: file.as_raw_fd() as u32,
        block_size: 0,
        whole: [0; 5],
        number: 0,
        encryption: [0; 2],
        flags: AUTOCLEAR | if read_only { READ_ONLY } else { 0 },
        names: [0; _],
        init: [0; 2],
        reserved: [0; 8],
    };
    const { assert!(size_of::<Config>() == 304) };
    // SAFETY: reads a loop_config, which lives beyond the call.
    unsafe { call(libc::SYS_ioctl, [device.as_raw_fd() as usize, CONFIGURE, &raw const config as usize]) }.map(drop)
}
