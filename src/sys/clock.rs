//! The clock that time-outs are counted by.

use super::call;

/// Milliseconds of CLOCK_MONOTONIC (clock_gettime(2)): it never goes back, and stands still while the machine sleeps.
///
/// A plain system call, for rustix would look for the vDSO through `/proc`, which PID 1 starts without.
#[must_use]
pub fn now_ms() -> u64 {
    let time = now(libc::CLOCK_MONOTONIC);
    (time.tv_sec as u64).saturating_mul(1000).saturating_add(time.tv_nsec as u64 / 1_000_000)
}

/// Milliseconds since 1970, as the host has it (CLOCK_REALTIME).
#[must_use]
pub fn unix_ms() -> u64 {
    let time = now(libc::CLOCK_REALTIME);
    (time.tv_sec as u64).saturating_mul(1000).saturating_add(time.tv_nsec as u64 / 1_000_000)
}

/// The clock `id` (clock_gettime(2)), which must be one that always exists.
#[must_use]
pub fn now(id: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes a timespec, which lives beyond the call.
    let _ = unsafe { call(libc::SYS_clock_gettime, [id as usize, &raw mut time as usize]) };
    time
}
