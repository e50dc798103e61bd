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

/// linux/swap.h
const PREFER: usize = 0x8000;
const DISCARD: usize = 0x1_0000;

/// Swaps to the device or file at `path`; of several the one with the higher priority, to 32767, is used first.
///
/// # Errors
/// EINVAL: it was not prepared by mkswap(8). EBUSY: it is in use. ENOMEM, EPERM; as open(2).
pub fn swap_on(path: &CStr, priority: Option<u16>, discard: bool) -> Result<(), Errno> {
    let preferred = priority.map_or(0, |priority| PREFER | usize::from(priority));
    let flags = preferred | if discard { DISCARD } else { 0 };
    // SAFETY: the path is a C string, which lives beyond the call.
    unsafe { call(libc::SYS_swapon, [path.as_ptr() as usize, flags]) }.map(drop)
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
