//! Where something is mounted below a guest's root. What is there is not to be trusted: it may be a link, a device, a loop,
//! and may be exchanged while this looks. So each place is looked up once, inside the root, and what was found is what is
//! mounted on.
//!
//! For a process whose own root lies below the guest's, or elsewhere: nothing may be mounted on the root itself, or `..`
//! would lead there.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags};
use rustix::mount::MoveMountFlags;

use crate::limits;
use crate::sys::Errno;

/// What a mount point must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A directory.
    Directory,
    /// Anything else, best a regular file.
    File,
}

/// linux/magic.h
const SYSFS: u64 = 0x6265_6572;
/// See [`SYSFS`].
const CGROUP2: u64 = 0x6367_7270;

/// Moves the mount at `from` in `directory` (that of `directory` itself where `from` is empty) to the directory `name`
/// right in `root`. One name is one look, and a link is not followed.
///
/// # Errors
/// ENOENT, ENOTDIR, or ELOOP for a symbolic link: what is there instead. As `move_mount(2)`.
pub fn attach(directory: BorrowedFd<'_>, from: &CStr, root: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match rustix::mount::move_mount(directory, from, root, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH) {
        Err(Errno::INVAL) => Err(obstacle(root, name)),
        result => result,
    }
}

/// Why nothing can be mounted there. By now it may be something else: this is for people.
fn obstacle(root: BorrowedFd<'_>, name: &CStr) -> Errno {
    match rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => Errno::LOOP,
            FileType::Directory => Errno::INVAL,
            _ => Errno::NOTDIR,
        },
        Err(error) => error,
    }
}

/// Mounts `tree`, which is attached nowhere, at `path` inside `root`; with `make`, a mount point that is missing is made.
/// Links on the way are followed as a process in `root` would: they never lead out.
///
/// # Errors
/// ENOENT, EROFS where a mount point is missing and cannot be made; ENOTDIR, EISDIR where it is not what `place` says;
/// ELOOP for links without an end, or to nothing; EBUSY where `path` is the root; EXDEV in `/proc` and `/sys`, whose masks
/// would be covered; ENAMETOOLONG. As openat2(2), `move_mount(2)`.
pub fn mount(tree: BorrowedFd<'_>, root: BorrowedFd<'_>, path: &CStr, place: Place, make: bool) -> Result<(), Errno> {
    let target = match find(root, path) {
        Err(Errno::NOENT) if make => create(root, path, place)?,
        found => found?,
    };
    let (there, top) = (rustix::fs::fstat(&target)?, rustix::fs::fstat(root)?);
    match (FileType::from_raw_mode(there.st_mode), place) {
        (FileType::Directory, Place::File) => return Err(Errno::ISDIR),
        (FileType::Directory, Place::Directory) | (_, Place::File) => {}
        (_, Place::Directory) => return Err(Errno::NOTDIR),
    }
    if (there.st_dev, there.st_ino) == (top.st_dev, top.st_ino) {
        return Err(Errno::BUSY);
    }
    if [PROC_SUPER_MAGIC as u64, SYSFS, CGROUP2].contains(&(rustix::fs::fstatfs(&target)?.f_type as u64)) {
        return Err(Errno::XDEV);
    }
    let both = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", &target, c"", both)
}

/// What `path` leads to in `root`, whatever it is: it is not opened, so nothing of it happens or hangs.
///
/// # Errors
/// As openat2(2).
pub fn find(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let mut result = Err(Errno::AGAIN);
    for _ in 0..limits::LOOK_TRIES {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        result = rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
        // Something was renamed or mounted anywhere while `..` was looked up (openat2(2)).
        if !matches!(result, Err(Errno::AGAIN)) {
            break;
        }
    }
    result
}

/// Makes what is missing of `path`, and returns its end.
fn create(root: BorrowedFd<'_>, path: &CStr, place: Place) -> Result<OwnedFd, Errno> {
    let mut so_far = heapless::Vec::<u8, { libc::PATH_MAX as usize }>::new();
    let mut here = None;
    let mut parts = path.to_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        // The NUL of the round before.
        let _ = so_far.pop();
        let name_at = so_far.len() + 1;
        for piece in [b"/", part, b"\0"] {
            so_far.extend_from_slice(piece).map_err(|_| Errno::NAMETOOLONG)?;
        }
        let name = c_str(so_far.get(name_at..))?;
        let place = if parts.peek().is_some() { Place::Directory } else { place };
        // Always from the root: from a directory on the way an absolute link would lead elsewhere.
        here = Some(match find(root, c_str(Some(&so_far))?) {
            Err(Errno::NOENT) => {
                make_one(here.as_ref().map_or(root, AsFd::as_fd), name, place)?;
                find(root, c_str(Some(&so_far))?)?
            }
            found => found?,
        });
    }
    here.ok_or(Errno::NOENT)
}

fn c_str(bytes: Option<&[u8]>) -> Result<&CStr, Errno> {
    bytes.and_then(|bytes| CStr::from_bytes_with_nul(bytes).ok()).ok_or(Errno::INVAL)
}

fn make_one(parent: BorrowedFd<'_>, name: &CStr, place: Place) -> Result<(), Errno> {
    let made = match place {
        Place::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        Place::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        // A link to nothing, or one that was made at this moment.
        Err(Errno::EXIST) => Err(Errno::LOOP),
        result => result,
    }
}

#[cfg(test)]
mod tests;
