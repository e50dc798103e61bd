//! Masks that the guest's root can neither remove nor change.
//!
//! The kernel locks what is mounted below a mount that comes from another user namespace's mount namespace
//! (mount_namespaces(7)). So the helper makes the guest's `/proc` and `/sys`, with all that is over parts of them, in a mount
//! namespace of its own, and moves each to a place that the guest's receives mounts from. Whose processes and network they
//! tell of is set by who opens them (fsopen(2)): that is the guest, which hands them over.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::CWD;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountPropagationFlags, MoveMountFlags};

use super::{masks, report, root};
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

/// Before the guest exists: gives the helper a mount namespace of its own, whose `/proc` and `/sys` that of the guest
/// receives mounts from. `devices` serves both to make mounts in; another mount of it is returned.
///
/// # Errors
/// The step that failed.
pub fn prepare(devices: &OwnedFd) -> Result<OwnedFd, Fault> {
    root::apart()?;
    for path in [PROC, SYS] {
        rustix::mount::mount_change(path, MountPropagationFlags::SHARED).at(Step::PrivateMounts)?;
    }
    masks::stage(devices.as_fd())
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

/// In the helper: makes what the guest asked for, and gives it to it. `host` is the host's `/sys`, where that is to be seen.
/// From now on [`PROC`] is not the host's.
///
/// # Errors
/// The step that failed.
pub fn answer(guest: &Guest, go: BorrowedFd<'_>, host: Option<BorrowedFd<'_>>) -> Result<(), Fault> {
    let (proc, sys) = report::take_over(go)?;
    let safe = Attributes::NO_SUID.and(Attributes::NO_DEV).and(Attributes::NO_EXEC);
    let proc = mount(proc.as_fd(), safe).at(Step::MakeProc)?;
    attach(proc.as_fd(), masks::PROC).at(Step::MakeProc)?;
    match (&sys, host) {
        (Some(sys), _) => {
            let sys = mount(sys.as_fd(), safe.and(Attributes::READ_ONLY)).at(Step::MakeSys)?;
            attach(sys.as_fd(), masks::SYS).at(Step::MakeSys)?;
        }
        (None, Some(host)) => attach(host, masks::SYS).at(Step::MakeSys)?,
        (None, None) => return Err(Errno::BADF).at(Step::MakeSys),
    }
    masks::cover(guest)?;
    let whole = MoveMountFlags::empty();
    rustix::mount::move_mount(CWD, masks::PROC, CWD, PROC, whole).at(Step::LockMasks)?;
    rustix::mount::move_mount(CWD, masks::SYS, CWD, SYS, whole).at(Step::LockMasks)
}

fn mount(context: BorrowedFd<'_>, attributes: Attributes) -> Result<OwnedFd, Errno> {
    rustix::mount::fsconfig_create(context)?;
    rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes.for_fsmount())
}

fn attach(tree: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    rustix::mount::move_mount(tree, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}
