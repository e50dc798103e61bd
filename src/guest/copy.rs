//! Copies a directory tree for a guest, with the owners that its users have on the host.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Uid};

use crate::fault::{At, Fault, Step};
use crate::limits;
use crate::plan::Extents;
use crate::sys::Errno;

/// Who nobody is inside, where a file belongs to a user that the guest does not have (user_namespaces(7)).
const OVERFLOW: u32 = 65_534;

/// Copies what is in `from` to `to`: directories, files, symbolic links and pipes. Devices and sockets would be of no use.
/// Files with several names become several files; extended attributes are left behind.
///
/// # Errors
/// [`Step::CopyRoot`], [`Step::CopyTooDeep`].
pub fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>, users: &Extents) -> Result<(), Fault> {
    // A mount's own descriptor only names it; to read and to give away it must be opened.
    let from = open_directory(from, c".").at(Step::CopyRoot)?;
    let to = open_directory(to, c".").at(Step::CopyRoot)?;
    let stat = rustix::fs::fstat(&from).at(Step::CopyRoot)?;
    directory(from, to.as_fd(), users, limits::COPY_DEPTH)?;
    give(to.as_fd(), &stat, users).at(Step::CopyRoot)
}

fn directory(from: OwnedFd, to: BorrowedFd<'_>, users: &Extents, depth: usize) -> Result<(), Fault> {
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&from, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.at(Step::CopyRoot)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW).at(Step::CopyRoot)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let depth = depth.checked_sub(1).ok_or(Errno::LOOP).at(Step::CopyTooDeep)?;
                let source = open_directory(from.as_fd(), name).at(Step::CopyRoot)?;
                rustix::fs::mkdirat(to, name, Mode::RWXU).at(Step::CopyRoot)?;
                let target = open_directory(to, name).at(Step::CopyRoot)?;
                directory(source, target.as_fd(), users, depth)?;
                give(target.as_fd(), &stat, users).at(Step::CopyRoot)?;
            }
            FileType::RegularFile => file(from.as_fd(), to, name, &stat, users).at(Step::CopyRoot)?,
            FileType::Symlink => link(from.as_fd(), to, name, &stat, users).at(Step::CopyRoot)?,
            FileType::Fifo => pipe(to, name, &stat, users).at(Step::CopyRoot)?,
            _ => {}
        }
    }
    Ok(())
}

fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat, users: &Extents) -> Result<(), Errno> {
    // NONBLOCK: it may have become a pipe since it was looked at.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
    while rustix::fs::sendfile(&target, &source, None, 1 << 20)? > 0 {}
    give(target.as_fd(), stat, users)
}

fn link(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat, users: &Extents) -> Result<(), Errno> {
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    // One byte is kept for the NUL.
    let room = buffer.len() - 1;
    let len = rustix::fs::readlinkat_raw(from, name, &mut buffer[..room])?;
    let target = CStr::from_bytes_until_nul(&buffer).map_err(|_| Errno::NAMETOOLONG)?;
    if target.count_bytes() != len {
        return Err(Errno::INVAL);
    }
    rustix::fs::symlinkat(target, to, name)?;
    let (user, group) = owners(stat, users);
    rustix::fs::chownat(to, name, user, group, AtFlags::SYMLINK_NOFOLLOW)
}

fn pipe(to: BorrowedFd<'_>, name: &CStr, stat: &Stat, users: &Extents) -> Result<(), Errno> {
    rustix::fs::mknodat(to, name, FileType::Fifo, Mode::from_raw_mode(stat.st_mode), 0)?;
    let (user, group) = owners(stat, users);
    rustix::fs::chownat(to, name, user, group, AtFlags::SYMLINK_NOFOLLOW)
}

/// Gives `target` the owner and the mode of `stat`; the mode last, for a new owner loses the set-user-id bit.
fn give(target: BorrowedFd<'_>, stat: &Stat, users: &Extents) -> Result<(), Errno> {
    let (user, group) = owners(stat, users);
    rustix::fs::fchown(target, user, group)?;
    rustix::fs::fchmod(target, Mode::from_raw_mode(stat.st_mode))
}

/// Who a file with `stat` belongs to on the host, in a guest with `users`.
pub fn owners(stat: &Stat, users: &Extents) -> (Option<Uid>, Option<Gid>) {
    let nobody = || users.outside(OVERFLOW.min(users.count().saturating_sub(1))).unwrap_or(users.root());
    let owner = |id: u32| users.outside(id).unwrap_or_else(nobody);
    (Some(Uid::from_raw(owner(stat.st_uid))), Some(Gid::from_raw(owner(stat.st_gid))))
}
