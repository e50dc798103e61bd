//! A watchdog device (Documentation/watchdog/watchdog-api.rst): it resets the machine where nobody pets it in time.

use rustix::fd::{AsRawFd, BorrowedFd};

use super::{Errno, call};

/// linux/watchdog.h: `_IOWR('W', 6, int)`, `_IOR('W', 7, int)`, `_IOR('W', 5, int)`
const SET_TIMEOUT: usize = 0xc004_5706;
const GET_TIMEOUT: usize = 0x8004_5707;
const KEEP_ALIVE: usize = 0x8004_5705;

/// Sets the time-out, in seconds.
///
/// # Errors
/// EINVAL where the device has no such one, ENOTTY or EOPNOTSUPP where its is fixed.
pub fn set_timeout(device: BorrowedFd<'_>, seconds: u32) -> Result<(), Errno> {
    let mut number = seconds as i32;
    // SAFETY: reads and writes an int, which lives beyond the call.
    unsafe { call(libc::SYS_ioctl, [device.as_raw_fd() as usize, SET_TIMEOUT, &raw mut number as usize]) }.map(drop)
}

/// The time-out that the device has, in seconds.
///
/// # Errors
/// ENOTTY, EOPNOTSUPP where it does not tell.
pub fn timeout(device: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut number = 0i32;
    // SAFETY: writes an int, which lives beyond the call.
    unsafe { call(libc::SYS_ioctl, [device.as_raw_fd() as usize, GET_TIMEOUT, &raw mut number as usize]) }?;
    Ok(u32::try_from(number).unwrap_or_default())
}

/// Begins its time-out anew.
///
/// # Errors
/// As the driver has them.
pub fn pet(device: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the kernel takes nothing from the third argument.
    unsafe { call(libc::SYS_ioctl, [device.as_raw_fd() as usize, KEEP_ALIVE, 0]) }.map(drop)
}
