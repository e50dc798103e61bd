//! Bounds of the kernel that guests share, or that each has of its own.
//!
//! A number that all share is what one guest can use up for every other: it is raised above what all of them may have.
//! Each of these things takes memory that the kernel charges to the guest that has it, so its `memory` is the bound that
//! counts; or it is bounded for each guest besides.

use core::ffi::CStr;

use rustix::fs::CWD;

use super::files;
use crate::limits;
use crate::sys::{Errno, machine};
use crate::text::Made;

/// Below /proc/sys, and the value.
const SETTINGS: [(&CStr, u64); 7] = [
    // The numbers; how many processes there may be, follows from the memory (kernel.threads-max).
    (c"/proc/sys/kernel/pid_max", 4_194_304),
    // Only who has no privilege on the host is held to it: guests, all together.
    (c"/proc/sys/fs/file-max", i64::MAX as u64),
    (c"/proc/sys/fs/aio-max-nr", 1 << 30),
    // Counted for each guest. Older kernels charge little of the memory that these take to anybody, and what they allow goes
    // by the host's memory: enough for a distribution, and for guests in a guest. What has the host's users, guests too, is
    // counted together: one each for all that there can be.
    (c"/proc/sys/user/max_net_namespaces", GUESTS + 256),
    (c"/proc/sys/user/max_mnt_namespaces", GUESTS + 1024),
    // Of each mount namespace; a mount above many others is slow to find, for everybody.
    (c"/proc/sys/fs/mount-max", 10_000),
    // A list of all processes at every kill would let a guest keep the console busy.
    (c"/proc/sys/vm/oom_dump_tasks", 0),
];

const GUESTS: u64 = limits::GUESTS as u64;

/// What the kernel has for the host by itself, and what each guest has for itself (`guest/terminals.rs`).
const TERMINALS_KEPT: u64 = 1024 + GUESTS * limits::TERMINALS as u64;
/// A terminal takes memory that is charged to nobody, some 80 KiB, and a distribution's root may have as many instances of
/// devpts as it likes: so all that it has of them beyond its own take a sixteenth of the memory at most.
const TERMINAL_SHARE_BYTES: u64 = 16 * (80 << 10);

/// Sets them. What fails is given to `failed`; a kernel without one of them has nothing to bound.
pub fn set(mut failed: impl FnMut(&'static str, Errno)) {
    let terminals = TERMINALS_KEPT + machine::memory_bytes() / TERMINAL_SHARE_BYTES;
    // The most first: not more is kept than there are.
    let terminals = [(c"/proc/sys/kernel/pty/max", terminals), (c"/proc/sys/kernel/pty/reserve", TERMINALS_KEPT)];
    for (path, value) in SETTINGS.into_iter().chain(terminals) {
        let number = Made::new(format_args!("{value}"));
        match files::write_setting(CWD, path, number.as_bytes()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => failed(path.to_str().unwrap_or_default(), errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guest_with_the_hosts_users_has_its_namespaces() {
        let of_users = SETTINGS.iter().filter(|(path, _)| path.to_bytes().starts_with(b"/proc/sys/user/"));
        assert_eq!(of_users.inspect(|(path, most)| assert!(*most > GUESTS, "{path:?}")).count(), 2);
    }
}
