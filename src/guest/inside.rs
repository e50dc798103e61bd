//! What differs where this host is itself a guest (`nesting = yes`): it has some users only, and no power over what is the
//! kernel's.
//!
//! What cannot be done there is done by the guest around it as strongly: device files are its own, bound; what guards them,
//! keyrings closed to all within, holds for every guest inside too, for filters and programs add up.

use core::ops::Range;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MountFlags;

use super::root;
use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::users;

/// The users that this process may give to guests: those of its own user namespace that it is not itself.
#[must_use]
pub fn pool() -> Range<u32> {
    // A page holds every map (user_namespaces(7)).
    let mut buffer = [0; 4096];
    let mut read = |path| {
        let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let len = rustix::io::read(file, &mut buffer)?;
        Ok::<_, rustix::io::Errno>(users::pool(buffer.get(..len).unwrap_or_default()))
    };
    match (read(c"/proc/self/uid_map"), read(c"/proc/self/gid_map")) {
        (Ok(users), Ok(groups)) => users.start.max(groups.start)..users.end.min(groups.end),
        // A kernel without user namespaces.
        _ => limits::USER_BASE,
    }
}

/// Whether this host is a guest.
#[must_use]
pub fn is_so() -> bool {
    pool() != limits::USER_BASE
}

/// Gives this process, and the guest that it makes, a `/proc` and a `/sys` that nothing is mounted over: without them in
/// sight the kernel gives the guest none of its own, and to the guest's mount namespace all masks of ours are locked.
///
/// # Errors
/// [`Step::PrivateMounts`].
pub fn clear_view() -> Result<(), Fault> {
    root::apart()?;
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount(c"proc", c"/proc", c"proc", safe, c"").at(Step::PrivateMounts)?;
    // Not over /sys, for it is the same one. In a network that is not ours there is none to be had: then the guest gets none.
    let _ = rustix::mount::mount(c"sysfs", c"/dev/shm", c"sysfs", safe | MountFlags::RDONLY, c"");
    Ok(())
}
