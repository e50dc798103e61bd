//! A guest's root: a directory or an image whose owners are mapped to the guest's users, read-only, or below a layer in memory.
//!
//! Where the kernel cannot map a file system (before 5.12 none; tmpfs before 6.3; ramfs never), a root that the guest may
//! not change, or whose changes are forgotten, is copied to memory for it instead: as strong, and charged to the guest.

use core::ffi::CStr;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::cgroup::{Base, Member};
use super::{copy, devices, image};
use crate::fault::{At, Fault, Step};
use crate::plan::{Extents, Guest, Kind, Layer, Plan};
use crate::sys::mount::{self, Attributes};
use crate::sys::{Errno, clone};
use crate::text::Made;

/// Opens the root of `guest` as a mount of its own, attached nowhere; the host's own where it has none. One
/// that the guest may write to must be out of the reach of the host's other users: what the guest's root makes there is
/// the host root's on disk, set-user-id programs too.
///
/// # Errors
/// The step that failed.
pub fn open(plan: &Plan, guest: &Guest) -> Result<OwnedFd, Fault> {
    if !guest.image.is_empty() {
        return image::open(plan.strings.c_str(guest.image), guest.layer, attributes(guest));
    }
    let path = if guest.root.is_empty() { c"/" } else { plan.strings.c_str(guest.root) };
    if guest.layer == Layer::Shared && !is_closed(path).at(Step::OpenRoot)? {
        return Err(Errno::PERM).at(Step::RootIsClosed);
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::OPEN_TREE_CLONE;
    let tree = rustix::mount::open_tree(CWD, path, flags).at(Step::OpenRoot)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&tree).at(Step::RootIsDirectory)?.st_mode);
    if kind == FileType::Directory { Ok(tree) } else { Err(Errno::NOTDIR).at(Step::RootIsDirectory) }
}

/// Whether a directory above `path` lets nobody but the host's root through. Not that itself: what a guest may write to
/// is also its to open. No group either, root's own neither: an access control list shows as that (acl(5)).
pub fn is_closed(path: &CStr) -> Result<bool, Errno> {
    let directory = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let link = Made::new(format_args!("/proc/self/fd/{}", directory.as_raw_fd()));
    // As it is once every symbolic link has been followed.
    let mut buffer = [0; libc::PATH_MAX as usize];
    let len = rustix::fs::readlinkat_raw(CWD, link.as_c_str(), &mut buffer)?;
    for end in 1..len {
        if buffer.get(end) != Some(&b'/') {
            continue;
        }
        let Some(slot) = buffer.get_mut(end) else { return Err(Errno::NAMETOOLONG) };
        *slot = 0;
        let part = CStr::from_bytes_until_nul(&buffer).map_err(|_| Errno::INVAL)?;
        let stat = rustix::fs::statat(CWD, part, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_uid == 0 && !Mode::from_raw_mode(stat.st_mode).intersects(Mode::XOTH | Mode::XGRP) {
            return Ok(true);
        }
        if let Some(slot) = buffer.get_mut(end) {
            *slot = b'/';
        }
    }
    Ok(false)
}

/// Who a root is finished for.
#[derive(Debug)]
pub struct Owner<'a> {
    /// The guest.
    pub guest: &'a Guest,
    /// The same as its cgroup goes by.
    pub member: Member<'a>,
    /// Its users, and a user namespace that has them.
    pub users: Option<(&'a Extents, BorrowedFd<'a>)>,
    /// Where its cgroup is: a copy is charged to it.
    pub base: &'a Base,
    /// Whether the caller has a mount namespace of its own, in which nothing is mounted on the root.
    pub apart: bool,
}

/// Makes `tree` what the plan says. The root is `tree` itself, or the mount returned.
///
/// # Errors
/// The step that failed.
pub fn finish(tree: BorrowedFd<'_>, owner: &Owner<'_>) -> Result<Option<OwnedFd>, Fault> {
    let guest = owner.guest;
    let namespace = owner.users.map(|(_, namespace)| namespace);
    // A mount's read-only flag can be taken off by whoever may mount; a file system that cannot be written cannot.
    let is_image = !guest.image.is_empty();
    let sealed = guest.kind == Kind::Os && guest.layer == Layer::ReadOnly && !is_image;
    let layered = guest.layer == Layer::Memory || sealed;
    let attributes = if layered { Attributes::NONE } else { attributes(guest) };
    // An image was mounted with its attributes.
    let set = if is_image && namespace.is_none() { Ok(()) } else { mount::set(tree, attributes, namespace) };
    match (set, owner.users) {
        (Ok(()), _) if layered => overlay(tree, owner).map(Some),
        (Ok(()), _) => Ok(None),
        // EPERM: in a guest, which does not own the file system that its root is in.
        (Err(Errno::INVAL | Errno::NOSYS | Errno::PERM), Some((users, _))) if guest.layer != Layer::Shared => {
            duplicate(tree, users, owner).map(Some)
        }
        (Err(error), _) => Err(error).at(Step::MapRoot),
    }
}

/// What the mount of a guest's root forbids.
fn attributes(guest: &Guest) -> Attributes {
    let mut all = Attributes::NO_DEV;
    if guest.kind == Kind::App {
        all = all.and(Attributes::NO_SUID);
    }
    if guest.layer == Layer::ReadOnly {
        all = all.and(Attributes::READ_ONLY);
    }
    all
}

/// An overlay of `tree` and a layer in memory; with nothing to write to where the root is read-only (overlayfs.rst).
fn overlay(tree: BorrowedFd<'_>, owner: &Owner<'_>) -> Result<OwnedFd, Fault> {
    let memory = private_memory(owner.apart)?;
    let writable = owner.guest.layer == Layer::Memory;
    for name in [c"lower", c"upper", c"work"] {
        rustix::fs::mkdirat(&memory, name, Mode::from_raw_mode(0o755)).at(Step::LayerDirectories)?;
    }
    if let Some((users, _)) = owner.users {
        let (user, group) = (Some(Uid::from_raw(users.root())), Some(Gid::from_raw(users.root())));
        rustix::fs::chownat(&memory, c"upper", user, group, AtFlags::empty()).at(Step::LayerDirectories)?;
    }
    let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", &memory, c"lower", whole).at(Step::LayerMount)?;
    // The layers' names are read relative to here.
    rustix::process::fchdir(&memory).at(Step::LayerMount)?;
    let options: &[(&CStr, &CStr)] = if writable {
        &[(c"lowerdir", c"lower"), (c"upperdir", c"upper"), (c"workdir", c"work"), (c"redirect_dir", c"on")]
    } else {
        // Without an upper layer there must be two lower ones.
        &[(c"lowerdir", c"lower:upper")]
    };
    mount_overlay(options, attributes(owner.guest)).at(Step::LayerOverlay)
}

fn mount_overlay(options: &[(&CStr, &CStr)], attributes: Attributes) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes.for_fsmount())
}

/// Gives this process a mount namespace that ends with it, and neither sends mounts nor receives any.
///
/// # Errors
/// [`Step::PrivateMounts`].
pub fn apart() -> Result<(), Fault> {
    clone::unshare_mounts().at(Step::PrivateMounts)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", private).at(Step::PrivateMounts)
}

/// A tmpfs that is attached, as layers must be, where nobody else sees it.
fn private_memory(is_apart: bool) -> Result<OwnedFd, Fault> {
    if !is_apart {
        apart()?;
    }
    let memory = devices::memory(&[(c"mode", c"755")], Attributes::NONE).at(Step::LayerMemory)?;
    let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    // Over the root: this process goes on seeing what is below, and reaches the memory by its descriptor.
    rustix::mount::move_mount(&memory, c"", CWD, c"/", whole).at(Step::LayerMemory)?;
    Ok(memory)
}

/// A copy of `tree` in memory, owned by `users`, charged to the guest.
fn duplicate(tree: BorrowedFd<'_>, users: &Extents, owner: &Owner<'_>) -> Result<OwnedFd, Fault> {
    owner.base.join(owner.member).at(Step::CopyJoin)?;
    let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).at(Step::LayerMemory)?;
    for (key, value) in [(c"mode", c"755"), (c"size", c"256m"), (c"nr_inodes", c"64k")] {
        rustix::mount::fsconfig_set_string(context.as_fd(), key, value).at(Step::LayerMemory)?;
    }
    rustix::mount::fsconfig_create(context.as_fd()).at(Step::LayerMemory)?;
    let open = FsMountFlags::FSMOUNT_CLOEXEC;
    let writable =
        rustix::mount::fsmount(context.as_fd(), open, Attributes::NONE.for_fsmount()).at(Step::LayerMemory)?;
    copy::tree(tree, writable.as_fd(), users)?;
    if owner.guest.layer == Layer::ReadOnly {
        // The file system itself, not only this mount of it.
        rustix::mount::fsconfig_set_flag(context.as_fd(), c"ro").at(Step::LayerMemory)?;
        rustix::mount::fsconfig_reconfigure(context.as_fd()).at(Step::LayerMemory)?;
    }
    mount_again(writable, owner)
}

/// The same file system with the attributes that the guest is to have. `mount_setattr` may be missing, and remounting takes
/// a path: so it is attached for a moment, in a mount namespace of this process's own.
fn mount_again(memory: OwnedFd, owner: &Owner<'_>) -> Result<OwnedFd, Fault> {
    match mount::set(memory.as_fd(), attributes(owner.guest), None) {
        Ok(()) => return Ok(memory),
        Err(Errno::NOSYS) => {}
        Err(error) => return Err(error).at(Step::LayerMemory),
    }
    let holder = private_memory(owner.apart)?;
    rustix::fs::mkdirat(&holder, c"root", Mode::from_raw_mode(0o755)).at(Step::LayerDirectories)?;
    let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&memory, c"", &holder, c"root", whole).at(Step::LayerMount)?;
    rustix::process::fchdir(&memory).at(Step::LayerMount)?;
    let flags = rustix::mount::MountFlags::from_bits_retain(attributes(owner.guest).for_fsmount().bits());
    let bind = rustix::mount::MountFlags::BIND;
    rustix::mount::mount_remount(c".", flags | bind, c"").at(Step::LayerMount)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::OPEN_TREE_CLONE;
    let tree = rustix::mount::open_tree(CWD, c".", flags).at(Step::LayerMount)?;
    rustix::process::fchdir(&holder).at(Step::LayerMount)?;
    rustix::mount::unmount(c"root", UnmountFlags::DETACH).at(Step::LayerMount)?;
    Ok(tree)
}
