//! Whether this kernel has a system call.

use super::{Errno, call};

/// A system call that can be asked for without effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe(libc::c_long);

impl Probe {
    /// clone3(2)
    pub const CLONE3: Probe = Probe(libc::SYS_clone3);
    /// close_range(2)
    pub const CLOSE_RANGE: Probe = Probe(libc::SYS_close_range);
    /// mount_setattr(2)
    pub const MOUNT_SETATTR: Probe = Probe(libc::SYS_mount_setattr);
    /// pidfd_open(2)
    pub const PIDFD: Probe = Probe(libc::SYS_pidfd_open);
}

/// Whether the kernel has the call, or something keeps this process from finding out (a filter that answers EPERM).
#[must_use]
pub fn has(probe: Probe) -> bool {
    // SAFETY: no flag, operation or size of the calls in `Probe` is all ones, and no memory is mapped at the top of the
    // address space, so each refuses these arguments before it does anything.
    !matches!(unsafe { call(probe.0, [usize::MAX; 6]) }, Err(Errno::NOSYS))
}
