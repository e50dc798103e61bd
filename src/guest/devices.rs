//! A guest's `/dev`: a small file system made by the host, for only the host may make device files.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, makedev};
use rustix::mount::{FsMountFlags, FsOpenFlags};

use crate::fault::{At, Fault, Step};
use crate::plan::Extents;
use crate::sys::Errno;
use crate::sys::mount::{self, Attributes};

/// Name and device number (Documentation/admin-guide/devices.txt).
const NODES: [(&CStr, u32, u32); 6] =
    [(c"null", 1, 3), (c"zero", 1, 5), (c"full", 1, 7), (c"random", 1, 8), (c"urandom", 1, 9), (c"tty", 5, 0)];
const LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
    (c"pts/ptmx", c"ptmx"),
];
/// Where the guest mounts its own.
const DIRECTORIES: [&CStr; 3] = [c"pts", c"shm", c"mqueue"];

/// Makes it, detached. Everything in it belongs to the host's root until [`own`].
///
/// # Errors
/// The step that failed.
pub fn make() -> Result<OwnedFd, Fault> {
    let attributes = Attributes::NO_SUID.and(Attributes::NO_EXEC);
    let dev =
        memory(&[(c"mode", c"755"), (c"size", c"64k"), (c"nr_inodes", c"1k")], attributes).at(Step::MakeDevices)?;
    let everybody = Mode::from_raw_mode(0o666);
    // The mode is what is written here, whatever the caller's mask.
    rustix::process::umask(Mode::empty());
    for (index, (name, major, minor)) in NODES.into_iter().enumerate() {
        rustix::fs::mknodat(&dev, name, FileType::CharacterDevice, everybody, makedev(major, minor))
            .at_item(Step::DeviceNode, index)?;
    }
    for (target, name) in LINKS {
        rustix::fs::symlinkat(target, &dev, name).at(Step::DeviceNode)?;
    }
    for name in DIRECTORIES {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755)).at(Step::DeviceNode)?;
    }
    // What a terminal is mounted over.
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(&dev, c"console", flags, Mode::from_raw_mode(0o600)).at(Step::DeviceNode)?;
    Ok(dev)
}

/// Makes everything in `dev` the guest root's: by an id mapping, or, where the kernel cannot map a tmpfs, one by one.
///
/// # Errors
/// The step that failed.
pub fn own(dev: BorrowedFd<'_>, users: &Extents, namespace: BorrowedFd<'_>) -> Result<(), Fault> {
    match mount::set(dev, Attributes::NONE, Some(namespace)) {
        Ok(()) => return Ok(()),
        Err(Errno::INVAL | Errno::NOSYS) => {}
        Err(error) => return Err(error).at(Step::MakeDevices),
    }
    let (user, group) = (Some(Uid::from_raw(users.root())), Some(Gid::from_raw(users.root())));
    rustix::fs::chownat(dev, c"", user, group, AtFlags::EMPTY_PATH).at(Step::MakeDevices)?;
    let names = NODES.iter().map(|(name, ..)| *name).chain(DIRECTORIES).chain([c"console"]);
    for (index, name) in names.enumerate() {
        rustix::fs::chownat(dev, name, user, group, AtFlags::SYMLINK_NOFOLLOW).at_item(Step::DeviceNode, index)?;
    }
    Ok(())
}

/// A new tmpfs (tmpfs(5)), detached.
///
/// # Errors
/// As fsopen(2), fsconfig(2), fsmount(2).
pub fn memory(options: &[(&CStr, &CStr)], attributes: Attributes) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes.for_fsmount())
}

/// The host's `/sys`, read-only, for a guest that is in the host's network and so may not mount its own.
///
/// # Errors
/// [`Step::HostSysfs`].
pub fn host_sysfs() -> Result<OwnedFd, Fault> {
    use rustix::mount::OpenTreeFlags as Flags;
    let flags = Flags::OPEN_TREE_CLOEXEC | Flags::OPEN_TREE_CLONE;
    let tree = rustix::mount::open_tree(CWD, c"/sys", flags).at(Step::HostSysfs)?;
    let attributes = Attributes::READ_ONLY.and(Attributes::NO_SUID).and(Attributes::NO_DEV).and(Attributes::NO_EXEC);
    mount::set(tree.as_fd(), attributes, None).at(Step::HostSysfs)?;
    Ok(tree)
}
