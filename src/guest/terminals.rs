//! A guest's terminals: an instance of devpts of its own (Documentation/filesystems/devpts.rst).
//!
//! The kernel keeps `kernel.pty.reserve` of all terminals for instances that were mounted from the machine's first mount
//! namespace. So PID 1 has its helper make the guest's there, with a `max` that only the host can change: each guest's are
//! kept for it (`host/bounds.rs`), and what a guest's root mounts besides takes from what nobody relies on.

use core::ffi::CStr;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Gid, Uid};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountFlags};

use crate::limits;
use crate::plan::Extents;
use crate::sys::Errno;
use crate::sys::mount::Attributes;
use crate::text::Made;

const KIND: &CStr = c"devpts";
/// Everybody may make one; only its owner reads it, and its group writes to it.
const MODES: [(&CStr, &CStr); 2] = [(c"ptmxmode", c"0666"), (c"mode", c"0620")];
/// The group of terminals, in every distribution.
const TTY: u32 = 5;

/// Makes it for the guest that has `users`, detached. For a helper that is still in its parent's mount namespace.
///
/// # Errors
/// As fsopen(2), fsconfig(2), fsmount(2), chown(2).
pub fn make(users: &Extents) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(KIND, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let most = Made::new(format_args!("{}", limits::TERMINALS));
    for (key, value) in MODES.into_iter().chain([(c"max", most.as_c_str())]) {
        rustix::mount::fsconfig_set_string(context.as_fd(), key, value)?;
    }
    let group = if users.is_empty() { Some(TTY) } else { users.outside(TTY) };
    // A guest with so few groups has none for terminals: each is its opener's.
    if let Some(group) = group {
        let group = Made::new(format_args!("{group}"));
        rustix::mount::fsconfig_set_string(context.as_fd(), c"gid", group.as_c_str())?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = Attributes::NO_SUID.and(Attributes::NO_EXEC);
    let all = rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes.for_fsmount())?;
    if !users.is_empty() {
        let (user, group) = (Some(Uid::from_raw(users.root())), Some(Gid::from_raw(users.root())));
        for name in [c"", c"ptmx"] {
            rustix::fs::chownat(&all, name, user, group, AtFlags::EMPTY_PATH)?;
        }
    }
    Ok(all)
}

/// Mounts it at `target`, for a guest whose helper has made none.
///
/// # Errors
/// As mount(2).
pub fn mount(target: &CStr) -> Result<(), Errno> {
    let options = Made::new(format_args!("ptmxmode=0666,mode=0620,gid={TTY},max={}", limits::TERMINALS));
    rustix::mount::mount(KIND, target, KIND, MountFlags::NOSUID | MountFlags::NOEXEC, options.as_c_str())
}
