//! Attributes of a mount: flags, and an id mapping (mount_setattr(2)).

use core::mem::size_of;

use rustix::fd::{AsRawFd, BorrowedFd};

use super::{Errno, call};

/// What a mount forbids. The values are mount_setattr's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(u64);

impl Attributes {
    /// Nothing.
    pub const NONE: Attributes = Attributes(0);
    /// No writes.
    pub const READ_ONLY: Attributes = Attributes(libc::MOUNT_ATTR_RDONLY);
    /// Set-user-id bits and file capabilities mean nothing.
    pub const NO_SUID: Attributes = Attributes(libc::MOUNT_ATTR_NOSUID);
    /// Device files cannot be opened.
    pub const NO_DEV: Attributes = Attributes(libc::MOUNT_ATTR_NODEV);
    /// Programs cannot be executed.
    pub const NO_EXEC: Attributes = Attributes(libc::MOUNT_ATTR_NOEXEC);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Attributes) -> Attributes {
        Attributes(self.0 | other.0)
    }

    /// As fsmount(2) takes them: the same numbers.
    #[must_use]
    pub fn for_fsmount(self) -> rustix::mount::MountAttrFlags {
        rustix::mount::MountAttrFlags::from_bits_retain(self.0 as u32)
    }
}

/// Sets `attributes` on the mount that `mount` is the root of, and maps its owners as `users` (a user namespace) does. It
/// propagates nothing from now on: a copy of a mount that the host shares would, what is mounted in it too.
///
/// # Errors
/// EINVAL where the file system cannot be id-mapped, ENOSYS before Linux 5.12, EPERM.
pub fn set(mount: BorrowedFd<'_>, attributes: Attributes, users: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let idmap = if users.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 };
    let wanted = libc::mount_attr {
        attr_set: attributes.0 | idmap,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: users.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let list = [
        mount.as_raw_fd() as usize,
        c"".as_ptr() as usize,
        libc::AT_EMPTY_PATH as usize,
        &raw const wanted as usize,
        size_of::<libc::mount_attr>(),
    ];
    // SAFETY: the path is a C string and the structure has the size given; both live beyond the call.
    unsafe { call(libc::SYS_mount_setattr, list) }.map(drop)
}
