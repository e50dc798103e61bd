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

/// Sets the host's clock to `unix_s`, if it is before that. Whether it was.
///
/// # Errors
/// EPERM.
pub fn not_before(unix_s: i64) -> Result<bool, super::Errno> {
    if now(libc::CLOCK_REALTIME).tv_sec >= unix_s {
        return Ok(false);
    }
    let time = libc::timespec { tv_sec: unix_s, tv_nsec: 0 };
    // SAFETY: reads a timespec, which lives beyond the call.
    unsafe { call(libc::SYS_clock_settime, [libc::CLOCK_REALTIME as usize, &raw const time as usize]) }.map(|_| true)
}

/// The clock `id` (clock_gettime(2)), which must be one that always exists.
#[must_use]
pub fn now(id: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes a timespec, which lives beyond the call.
    let _ = unsafe { call(libc::SYS_clock_gettime, [id as usize, &raw mut time as usize]) };
    time
}

/// Microseconds of CLOCK_BOOTTIME: it never goes back, goes on while the machine sleeps, and nobody sets it.
#[must_use]
pub fn boot_us() -> u64 {
    micros(now(libc::CLOCK_BOOTTIME))
}

/// Microseconds since 1970, as the machine's clock is set now.
#[must_use]
pub fn real_us() -> u64 {
    micros(now(libc::CLOCK_REALTIME))
}

/// What is to be added to [`boot_us`], around the end of numbers, for the time on the wall, as that is set now. Whole milliseconds, so that the same
/// moment is written alike whenever this is asked.
#[must_use]
pub fn wall_us() -> u64 {
    // The two clocks cannot be read at once: of some attempts the shortest is the best.
    let attempt = |_| {
        let before = now(libc::CLOCK_BOOTTIME);
        let real = now(libc::CLOCK_REALTIME);
        let after = now(libc::CLOCK_BOOTTIME);
        let (before, real, after) = (nanos(before), nanos(real), nanos(after));
        (after.wrapping_sub(before), real.wrapping_sub(before.midpoint(after)))
    };
    let (_, difference) = (0..16).map(attempt).min().unwrap_or_default();
    milliseconds(difference as i64).wrapping_mul(1000) as u64
}

/// The whole milliseconds that are nearest to so many nanoseconds; less than none where the clock says that the machine
/// was started after now.
fn milliseconds(ns: i64) -> i64 {
    ns.saturating_add(500_000).div_euclid(1_000_000)
}

fn nanos(time: libc::timespec) -> u64 {
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

fn micros(time: libc::timespec) -> u64 {
    (time.tv_sec as u64).saturating_mul(1_000_000).saturating_add(time.tv_nsec as u64 / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_on_the_wall_is_found_from_the_time_since_the_start() {
        let before = real_us();
        let now = boot_us().wrapping_add(wall_us());
        assert!(now.abs_diff(before) < 60_000_000, "{now} and {before}");
        assert_eq!([-1, 499_999, 500_000, -500_001, -1_500_000].map(milliseconds), [0, 0, 1, -1, -1]);
    }
}
