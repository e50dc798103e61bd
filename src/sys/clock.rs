//! The clock that time-outs are counted by.

use super::call;

/// Milliseconds of CLOCK_MONOTONIC (clock_gettime(2)): it never goes back, and stands still while the machine sleeps.
///
/// A plain system call, for rustix would look for the vDSO through `/proc`, which PID 1 starts without.
#[must_use]
pub fn now_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let list = [libc::CLOCK_MONOTONIC as usize, &raw mut time as usize];
    // SAFETY: writes a timespec, which lives beyond the call. This clock always exists, so it cannot fail.
    let _ = unsafe { call(libc::SYS_clock_gettime, list) };
    (time.tv_sec as u64).saturating_mul(1000).saturating_add(time.tv_nsec as u64 / 1_000_000)
}
