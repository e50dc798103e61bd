//! Masks that the guest's root can neither remove nor change.
//!
//! The kernel locks what is mounted below a mount that comes from another user namespace's mount namespace
//! (mount_namespaces(7)). So the helper makes the guest's `/proc` and `/sys`, with all that is over parts of them, in a mount
//! namespace of its own, and moves each to a place that the guest's receives mounts from. Whose processes and network they
//! tell of is set by who opens them (fsopen(2)): that is the guest, which hands them over.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::CWD;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountPropagationFlags, OpenTreeFlags};

use super::{masks, report, root, target};
use crate::fault::{At, Fault, Step};
use crate::plan::{Guest, Kind, Network};
use crate::sys::Errno;
use crate::sys::mount::Attributes;

/// Where both sides have the host's `/proc` and `/sys`, and what the helper made comes to lie over them.
pub const PROC: &CStr = c"/proc";
/// See [`PROC`].
pub const SYS: &CStr = c"/sys";

/// Whether a guest's masks are to be locked: only one that may mount can remove them, and one that has guests of its own
/// needs a `/proc` that all can be seen of, for else the kernel gives those none.
#[must_use]
pub fn is_for(guest: &Guest) -> bool {
    guest.kind == Kind::Os && guest.users.is_some() && !guest.confinement.nesting
}

/// Before `guest` exists: gives the helper a mount namespace of its own, from whose `/proc` and `/sys` the guest's receives
/// mounts where its masks are to be locked. `devices` becomes the place to make them in; another mount of it is returned,
/// for the guest.
///
/// # Errors
/// The step that failed.
pub fn prepare(guest: &Guest, devices: BorrowedFd<'_>) -> Result<OwnedFd, Fault> {
    root::apart()?;
    for path in [PROC, SYS].into_iter().filter(|_| is_for(guest)) {
        rustix::mount::mount_change(path, MountPropagationFlags::SHARED).at(Step::PrivateMounts)?;
    }
    target::attach(devices, c"", CWD, c"/dev").at(Step::MakeDev)?;
    let clone = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::OPEN_TREE_CLONE;
    // With what is bound in it, in a guest (devices.rs).
    let flags = clone | OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(devices, c"", flags).at(Step::MakeDev)
}

/// In the guest: opens its `/proc` and `/sys`, and hands them over.
///
/// # Errors
/// The step that failed.
pub fn ask(guest: &Guest, go: BorrowedFd<'_>) -> Result<(), Fault> {
    let open = FsOpenFlags::FSOPEN_CLOEXEC;
    let proc = rustix::mount::fsopen(c"proc", open).at(Step::MakeProc)?;
    if guest.network == Network::Host {
        return report::hand_over(go, &[proc.as_fd()]);
    }
    let sys = rustix::mount::fsopen(c"sysfs", open).at(Step::MakeSys)?;
    report::hand_over(go, &[proc.as_fd(), sys.as_fd()])
}

/// In the helper: makes what the guest asked for, below `stage`, and gives it to it. `host` is the host's `/sys`, where that
/// is to be seen. From now on [`PROC`] is not the host's.
///
/// # Errors
/// The step that failed.
pub fn answer(guest: &Guest, go: BorrowedFd<'_>, stage: BorrowedFd<'_>, host: Option<&OwnedFd>) -> Result<(), Fault> {
    let (proc, sys) = report::take_over(go)?;
    let safe = Attributes::NO_SUID.and(Attributes::NO_DEV).and(Attributes::NO_EXEC);
    mount(proc.as_fd(), safe)
        .and_then(|proc| target::attach(proc.as_fd(), c"", stage, masks::PROC))
        .at(Step::MakeProc)?;
    match (&sys, host) {
        (_, Some(host)) => target::attach(host.as_fd(), c"", stage, masks::SYS),
        (Some(sys), None) => mount(sys.as_fd(), safe.and(Attributes::READ_ONLY))
            .and_then(|sys| target::attach(sys.as_fd(), c"", stage, masks::SYS)),
        (None, None) => Err(Errno::BADF),
    }
    .at(Step::MakeSys)?;
    rustix::process::fchdir(stage).at(Step::Mask)?;
    rustix::process::chdir(masks::PROC).at(Step::Mask)?;
    masks::cover(guest)?;
    target::attach(stage, masks::PROC, CWD, PROC).at(Step::LockMasks)?;
    target::attach(stage, masks::SYS, CWD, SYS).at(Step::LockMasks)
}

fn mount(context: BorrowedFd<'_>, attributes: Attributes) -> Result<OwnedFd, Errno> {
    rustix::mount::fsconfig_create(context)?;
    rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes.for_fsmount())
}
