//! Per-process limits by number (prlimit(2)); `u64::MAX` is unlimited, as in the kernel.

use rustix::process::Pid;

use super::{Errno, call};
use crate::limits::OPEN_FILES;

/// How many there are (asm-generic/resource.h: RLIM_NLIMITS).
pub const COUNT: u8 = 16;

/// Soft and hard limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// What is enforced.
    pub soft: u64,
    /// How far the process may raise that.
    pub hard: u64,
}

/// What `resource` of process `pid` is limited to; of this one where there is none.
///
/// # Errors
/// ESRCH, EPERM, EINVAL.
pub fn get(pid: Option<Pid>, resource: u8) -> Result<Limit, Errno> {
    let mut limit = Limit { soft: 0, hard: 0 };
    let pid = Pid::as_raw(pid) as usize;
    // SAFETY: writes a rlimit64, two 64-bit words, which lives beyond the call.
    unsafe { call(libc::SYS_prlimit64, [pid, usize::from(resource), 0, &raw mut limit as usize]) }?;
    Ok(limit)
}

/// Limits `resource` of process `pid`; of this one where there is none.
///
/// # Errors
/// ESRCH; EPERM where the hard limit would rise without CAP_SYS_RESOURCE; EINVAL for a soft limit above the hard one.
pub fn set(pid: Option<Pid>, resource: u8, limit: Limit) -> Result<(), Errno> {
    let pid = Pid::as_raw(pid) as usize;
    // SAFETY: reads a rlimit64, two 64-bit words, which lives beyond the call.
    unsafe { call(libc::SYS_prlimit64, [pid, usize::from(resource), &raw const limit as usize, 0]) }.map(drop)
}

/// Limits the open files of process `pid`, or of this one, as is usual: a supervisor's own limit is for all its guests
/// together.
///
/// # Errors
/// As [`set`].
pub fn set_open_files(pid: Option<Pid>) -> Result<(), Errno> {
    let nofile = libc::RLIMIT_NOFILE as u8;
    let (soft, hard) = OPEN_FILES;
    match set(pid, nofile, Limit { soft, hard }) {
        // One that may not raise its own hard limit cannot give more than that.
        Err(Errno::PERM) => {
            let hard = get(pid, nofile)?.hard;
            set(pid, nofile, Limit { soft: hard.min(soft), hard })
        }
        result => result,
    }
}
