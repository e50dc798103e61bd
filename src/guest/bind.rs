//! Files and directories of the host that a guest sees, and its file systems in memory.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType};
use rustix::mount::{MountFlags, OpenTreeFlags};

use super::target::{self, Place};
use super::{Build, devices, root, view};
use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::{Bind, Guest, Kind, Plan, Tmpfs};
use crate::sys::Errno;
use crate::sys::mount::{self, Attributes};

/// What `bind` names, each a mount of its own that is attached nowhere, in the order of the config.
pub type Trees = heapless::Vec<OwnedFd, { limits::BINDS }>;

/// Opens what the guest is to see. One that it may write to must be out of the reach of the host's other users, as its root
/// must: what it makes there is the host root's on disk.
///
/// # Errors
/// The step that failed, with the index of the bind.
pub fn open(plan: &Plan, guest: &Guest) -> Result<Trees, Fault> {
    let mut trees = Trees::new();
    for (index, bind) in plan.binds.get(guest.binds).iter().enumerate() {
        let source = plan.strings.c_str(bind.source);
        let writable = bind.flags & Bind::READ_ONLY == 0;
        if writable && !root::is_closed(source).at_item(Step::OpenBind, index)? {
            return Err(Errno::PERM).at_item(Step::BindIsClosed, index);
        }
        let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::OPEN_TREE_CLONE;
        let tree = rustix::mount::open_tree(CWD, source, flags).at_item(Step::OpenBind, index)?;
        // The plan has no more.
        let _ = trees.push(tree);
    }
    Ok(trees)
}

/// Makes the owners of `trees` the guest's users, and takes away what the config says. Where the kernel cannot map the
/// owners, they stay the host's, none of whom the guest has.
///
/// # Errors
/// [`Step::MapBind`], with the index of the bind.
pub fn own(trees: &Trees, plan: &Plan, guest: &Guest, users: Option<BorrowedFd<'_>>) -> Result<(), Fault> {
    for (index, (tree, bind)) in trees.iter().zip(plan.binds.get(guest.binds)).enumerate() {
        let attributes = attributes(bind, guest);
        match mount::set(tree.as_fd(), attributes, users) {
            Err(Errno::INVAL) if users.is_some() => mount::set(tree.as_fd(), attributes, None),
            // Before 5.12 the attributes are set once it is attached, by a path.
            Err(Errno::NOSYS) => Ok(()),
            result => result,
        }
        .at_item(Step::MapBind, index)?;
    }
    Ok(())
}

fn attributes(bind: &Bind, guest: &Guest) -> Attributes {
    let said = |flag, attribute| if bind.flags & flag != 0 { attribute } else { Attributes::NONE };
    let no_suid = if guest.kind == Kind::App { Attributes::NO_SUID } else { said(Bind::NO_SUID, Attributes::NO_SUID) };
    // A device is given by `device`, not by a file that happens to be one.
    Attributes::NO_DEV
        .and(no_suid)
        .and(said(Bind::READ_ONLY, Attributes::READ_ONLY))
        .and(said(Bind::NO_EXEC, Attributes::NO_EXEC))
}

/// Mounts `trees` and the guest's own file systems in memory inside `root`, each after what it may lie in.
///
/// # Errors
/// The step that failed, with the index of the bind or file system.
pub fn mount(build: &Build<'_>, trees: &Trees, root: BorrowedFd<'_>) -> Result<(), Fault> {
    let (plan, guest) = (build.plan, build.guest);
    let binds = || plan.binds.get(guest.binds).iter().zip(trees).enumerate();
    let memories = || plan.tmpfs.get(guest.tmpfs).iter().enumerate();
    let depth = |path| plan.strings.bytes(path).iter().filter(|byte| **byte == b'/').count();
    let deepest = binds().map(|(_, (bind, _))| bind.target).chain(memories().map(|(_, tmpfs)| tmpfs.target)).map(depth);
    for level in 1..=deepest.max().unwrap_or(0) {
        for (index, (bind, tree)) in binds().filter(|(_, (bind, _))| depth(bind.target) == level) {
            let path = plan.strings.c_str(bind.target);
            place(tree.as_fd())
                .and_then(|place| target::mount(tree.as_fd(), root, path, place, true))
                .and_then(|()| hold(tree.as_fd(), attributes(bind, guest)))
                .at_item(Step::MountBind, index)?;
        }
        for (index, tmpfs) in memories().filter(|(_, tmpfs)| depth(tmpfs.target) == level) {
            let path = plan.strings.c_str(tmpfs.target);
            // Those that every guest has are there, of the size given.
            if !view::MEMORIES.contains(&path) {
                memory(tmpfs)
                    .and_then(|tree| target::mount(tree.as_fd(), root, path, Place::Directory, true))
                    .at_item(Step::MountTmpfs, index)?;
            }
        }
    }
    Ok(())
}

/// Sees that `attributes` hold for `tree`, which is attached by now.
fn hold(tree: BorrowedFd<'_>, attributes: Attributes) -> Result<(), Errno> {
    let flags = MountFlags::from_bits_retain(attributes.for_fsmount().bits());
    let now = rustix::fs::fstatvfs(tree)?.f_flag;
    // The numbers are the same (statvfs(3), mount(2)).
    if MountFlags::from_bits_retain(now.bits() as u32).contains(flags) {
        return Ok(());
    }
    // By a path, which for a file can only be this one: the host's /proc is in sight still.
    let mut path = heapless::String::<32>::new();
    let _ = write!(path, "/proc/self/fd/{}\0", tree.as_raw_fd());
    let path = CStr::from_bytes_with_nul(path.as_bytes()).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount_remount(path, MountFlags::BIND | flags, c"")
}

/// What `tree` must be mounted on.
fn place(tree: BorrowedFd<'_>) -> Result<Place, Errno> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode);
    Ok(if kind == FileType::Directory { Place::Directory } else { Place::File })
}

/// A file system in memory, for whoever the guest's programs run as.
fn memory(tmpfs: &Tmpfs) -> Result<OwnedFd, Errno> {
    let mut size = heapless::String::<24>::new();
    let _ = write!(size, "{}\0", tmpfs.bytes);
    let size = CStr::from_bytes_with_nul(size.as_bytes()).map_err(|_| Errno::INVAL)?;
    devices::memory(&[(c"mode", c"1777"), (c"size", size)], Attributes::NO_SUID.and(Attributes::NO_DEV))
}
