//! What lies below file systems, taken down: swap, loop devices, the device mapper; and a file system that is frozen.

use core::ffi::CStr;
use core::mem::size_of;

use rustix::fd::{AsRawFd, BorrowedFd};

use super::{Errno, call};

/// linux/loop.h
const LOOP_CLR_FD: usize = 0x4c01;
/// linux/fs.h: `_IOWR('X', 119, int)`
const FIFREEZE: usize = 0xc004_5877;
/// linux/dm-ioctl.h: `_IOWR(0xfd, 1, struct dm_ioctl)`
const DM_REMOVE_ALL: usize = 0xc138_fd01;

/// `struct dm_ioctl`, of which only these are used.
#[repr(C)]
struct Mapper {
    version: [u32; 3],
    data_size: u32,
    rest: [u32; 74],
}

/// Ends swapping to `path` (swapoff(2)), which reads back what is there.
///
/// # Errors
/// EINVAL where nothing is swapped there, ENOMEM where there is no room for what is.
pub fn swap_off(path: &CStr) -> Result<(), Errno> {
    // SAFETY: reads a C string that lives beyond the call.
    unsafe { call(libc::SYS_swapoff, [path.as_ptr() as usize]) }.map(drop)
}

/// Takes the file away from a loop device: now, or when nobody has it open or mounted any more.
///
/// # Errors
/// ENXIO where it has none, EBUSY.
pub fn detach(device: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    unsafe { call(libc::SYS_ioctl, [device.as_raw_fd() as usize, LOOP_CLR_FD, 0]) }.map(drop)
}

/// Removes every device of the device mapper that nobody has open, by `/dev/mapper/control`.
///
/// # Errors
/// As open(2) of a misc device; EINVAL for another version.
pub fn remove_all_mapped(control: BorrowedFd<'_>) -> Result<(), Errno> {
    const { assert!(size_of::<Mapper>() == 312) };
    let mut mapper = Mapper { version: [4, 0, 0], data_size: size_of::<Mapper>() as u32, rest: [0; 74] };
    // SAFETY: reads and writes a dm_ioctl of the size that it says, which lives beyond the call.
    unsafe { call(libc::SYS_ioctl, [control.as_raw_fd() as usize, DM_REMOVE_ALL, &raw mut mapper as usize]) }.map(drop)
}

/// Writes the file system of `directory` back and stops all writing to it, whoever has files open (ioctl_fifreeze(2)).
///
/// # Errors
/// EOPNOTSUPP where it cannot be, EBUSY where it is frozen.
pub fn freeze(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the kernel takes nothing from the third argument.
    unsafe { call(libc::SYS_ioctl, [directory.as_raw_fd() as usize, FIFREEZE, 0]) }.map(drop)
}
