//! Bounds of the kernel on the whole host, raised above what all guests together may have.
//!
//! A number that all share is what one guest can use up for every other. Each of these things takes memory that the kernel
//! charges to the guest that has it, so its `memory` is the bound that counts; or it is bounded for each guest besides.

use core::ffi::CStr;

use rustix::fs::CWD;

use super::files;
use crate::sys::Errno;

/// Below /proc/sys, and the value.
const SETTINGS: [(&CStr, &[u8]); 5] = [
    // Each guest has limits::TERMINALS; a thousand guests and the host fit. The kernel keeps a reserve for the host.
    (c"/proc/sys/kernel/pty/max", b"1048576"),
    // The numbers; how many processes there may be, follows from the memory (kernel.threads-max).
    (c"/proc/sys/kernel/pid_max", b"4194304"),
    // Only who has no privilege on the host is held to it: guests, all together.
    (c"/proc/sys/fs/file-max", b"9223372036854775807"),
    (c"/proc/sys/fs/aio-max-nr", b"1073741824"),
    // A list of all processes at every kill would let a guest keep the console busy.
    (c"/proc/sys/vm/oom_dump_tasks", b"0"),
];

/// Sets them. What fails is given to `failed`; a kernel without one of them has nothing to share out.
pub fn raise(mut failed: impl FnMut(&'static str, Errno)) {
    for (path, value) in SETTINGS {
        match files::write_setting(CWD, path, value) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => failed(path.to_str().unwrap_or_default(), errno),
        }
    }
}
