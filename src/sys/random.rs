//! The kernel's random numbers (random(4), getrandom(2)).

use core::mem::size_of;

use rustix::fd::{AsRawFd, BorrowedFd};

use super::{Errno, call};

/// linux/random.h: `_IOW('R', 0x03, int [2])`
const RNDADDENTROPY: usize = 0x4008_5203;
/// linux/random.h
const NONBLOCK: usize = 1;
const INSECURE: usize = 4;

/// Bytes of a seed: as many as the kernel's own state has.
pub const SEED_BYTES: usize = 32;
/// A seed.
pub type Seed = [u8; SEED_BYTES];

/// `struct rand_pool_info`, with its bytes.
#[repr(C)]
struct Pool {
    bits: i32,
    size: i32,
    bytes: Seed,
}

/// Random numbers, and whether they are good: they are not where the kernel has not gathered enough yet.
#[must_use]
pub fn random() -> (Seed, bool) {
    let mut seed = [0; SEED_BYTES];
    let mut get = |flags| {
        let list = [seed.as_mut_ptr() as usize, SEED_BYTES, flags];
        // SAFETY: the buffer is that long, and lives beyond the call.
        unsafe { call(libc::SYS_getrandom, list) }
    };
    let is_good = get(NONBLOCK).is_ok_and(|count| count == SEED_BYTES);
    if !is_good {
        // Before Linux 5.6 there is no such flag; then it stays as it is.
        let _ = get(INSECURE);
    }
    (seed, is_good)
}

/// Adds a seed to what the kernel, whose `/dev/urandom` is `device`, makes random numbers of; with `credit` it counts as good.
///
/// # Errors
/// EPERM.
pub fn add(device: BorrowedFd<'_>, seed: &Seed, credit: bool) -> Result<(), Errno> {
    let bits = if credit { 8 * SEED_BYTES as i32 } else { 0 };
    let pool = Pool { bits, size: SEED_BYTES as i32, bytes: *seed };
    const { assert!(size_of::<Pool>() == 8 + SEED_BYTES) };
    let list = [device.as_raw_fd() as usize, RNDADDENTROPY, &raw const pool as usize];
    // SAFETY: reads the structure, whose size it has itself, and which lives beyond the call.
    unsafe { call(libc::SYS_ioctl, list) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        let ((one, is_good), (other, _)) = (random(), random());
        assert!(is_good && one != other, "this machine has been up for long");
    }
}
