//! Files and directories of the host that a guest sees, and its file systems in memory.

use core::ffi::CStr;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, OpenTreeFlags};

use super::target::{self, Place};
use super::{Build, devices, root, view};
use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::{Bind, Guest, Kind, Plan, Tmpfs};
use crate::sys::Errno;
use crate::sys::mount::{self, Attributes};
use crate::text::Made;

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

/// Whether the guest's root could take off what the config says of a bind: it may mount. Then the binds come from the helper's
/// mount namespace, for the kernel locks what comes from there (see [`super::lock`]).
#[must_use]
pub fn is_locked(guest: &Guest) -> bool {
    guest.kind == Kind::Os && guest.users.is_some() && !guest.binds.is_empty()
}

/// Where in the helper's mount namespace, and in the guest's copy of it, locked binds are handed over: a directory of the
/// guest's `/dev`, which lies over the host's. In it each has the number of its place in the config.
const HAND_OVER: &CStr = c"/dev/pts";

/// Makes the places where locked binds are handed over.
///
/// # Errors
/// [`Step::StageBind`].
pub fn prepare(trees: &Trees) -> Result<(), Fault> {
    let stage = devices::memory(&[(c"mode", c"755")], Attributes::NONE).at(Step::StageBind)?;
    for (index, tree) in trees.iter().enumerate() {
        let mode = Mode::from_raw_mode(0o700);
        match place(tree.as_fd()).at_item(Step::StageBind, index)? {
            Place::Directory => rustix::fs::mkdirat(&stage, number(index).as_c_str(), mode),
            Place::File => rustix::fs::mknodat(&stage, number(index).as_c_str(), FileType::RegularFile, mode, 0),
        }
        .at_item(Step::StageBind, index)?;
    }
    target::attach(stage.as_fd(), c"", CWD, HAND_OVER).at(Step::StageBind)?;
    rustix::mount::mount_change(HAND_OVER, MountPropagationFlags::SHARED).at(Step::StageBind)
}

/// Makes the owners of `trees` the guest's users, takes away what the config says, and hands over what is to be locked. Where
/// the kernel cannot map the owners, they stay the host's, none of whom the guest has.
///
/// # Errors
/// [`Step::MapBind`], [`Step::StageBind`], with the index of the bind.
pub fn own(trees: &Trees, plan: &Plan, guest: &Guest, users: Option<BorrowedFd<'_>>) -> Result<(), Fault> {
    for (index, (tree, bind)) in trees.iter().zip(plan.binds.get(guest.binds)).enumerate() {
        let attributes = attributes(bind, guest);
        match mount::set(tree.as_fd(), attributes, users) {
            // EPERM: in a guest, which does not own the file system.
            Err(Errno::INVAL | Errno::PERM) if users.is_some() => mount::set(tree.as_fd(), attributes, None),
            // Before 5.12 the attributes are set once it is attached, by a path.
            Err(Errno::NOSYS) => Ok(()),
            result => result,
        }
        .at_item(Step::MapBind, index)?;
        if is_locked(guest) {
            hand_over(tree.as_fd(), index, attributes).at_item(Step::StageBind, index)?;
        }
    }
    Ok(())
}

/// Moves `tree` to where the guest receives a copy of it. Its attributes must hold before.
fn hand_over(tree: BorrowedFd<'_>, index: usize, attributes: Attributes) -> Result<(), Errno> {
    let aside = if place(tree)? == Place::Directory { c"/dev/mqueue" } else { c"/dev/console" };
    target::attach(tree, c"", CWD, aside)?;
    hold(tree, attributes)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let stage = rustix::fs::openat(CWD, HAND_OVER, flags, Mode::empty())?;
    target::attach(tree, c"", stage.as_fd(), number(index).as_c_str())
}

/// What the guest received as bind number `index`.
fn received(index: usize) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let stage = rustix::fs::openat(CWD, HAND_OVER, flags, Mode::empty())?;
    rustix::fs::openat(stage, number(index).as_c_str(), flags, Mode::empty())
}

/// The name of a bind's place.
fn number(index: usize) -> Made {
    Made::new(format_args!("{index}"))
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
            let received = is_locked(guest).then(|| received(index)).transpose().at_item(Step::MountBind, index)?;
            let tree = received.as_ref().unwrap_or(tree).as_fd();
            place(tree)
                .and_then(|place| target::mount(tree, root, path, place, true))
                .and_then(|()| hold(tree, attributes(bind, guest)))
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
    let path = Made::new(format_args!("/proc/self/fd/{}", tree.as_raw_fd()));
    rustix::mount::mount_remount(path.as_c_str(), MountFlags::BIND | flags, c"")
}

/// What `tree` must be mounted on.
fn place(tree: BorrowedFd<'_>) -> Result<Place, Errno> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode);
    Ok(if kind == FileType::Directory { Place::Directory } else { Place::File })
}

/// A file system in memory, for whoever the guest's programs run as.
fn memory(tmpfs: &Tmpfs) -> Result<OwnedFd, Errno> {
    let size = Made::new(format_args!("{}", tmpfs.bytes));
    devices::memory(&[(c"mode", c"1777"), (c"size", size.as_c_str())], Attributes::NO_SUID.and(Attributes::NO_DEV))
}
