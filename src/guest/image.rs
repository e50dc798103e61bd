//! A guest's root from an image: a file that holds a squashfs, an erofs or an ext4.
//!
//! A loop device makes it a disk; where the kernel can, an erofs is mounted from the file itself. Nothing of that is left
//! when the mount goes, whoever is killed: the device clears itself, and holds the lock on the file until then.

use core::ffi::CStr;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags};

use crate::fault::{At, Fault, Step};
use crate::host::{files, superblock};
use crate::limits;
use crate::plan::Layer;
use crate::sys::mount::Attributes;
use crate::sys::{Errno, loop_device};
use crate::text::Made;

/// What an image can hold. The numbers are the details of [`Step::MountImage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Documentation/filesystems/squashfs.rst
    Squashfs,
    /// Documentation/filesystems/erofs.rst
    Erofs,
    /// Documentation/filesystems/ext4; ext2 and ext3 are mounted as such.
    Ext4,
}

impl Kind {
    fn name(self) -> &'static CStr {
        match self {
            Kind::Squashfs => c"squashfs",
            Kind::Erofs => c"erofs",
            Kind::Ext4 => c"ext4",
        }
    }

    /// By the superblock in the first bytes of the file; never by its name.
    fn of(start: &[u8]) -> Option<Kind> {
        let name = superblock::kind(start)?;
        [Kind::Squashfs, Kind::Erofs, Kind::Ext4].into_iter().find(|kind| kind.name() == name)
    }
}

/// As far as the last magic number reaches.
const START_BYTES: usize = 1082;
/// Others may take a free loop device before this process does: so often it looks for another.
const LOOP_TRIES: u32 = 64;

/// Mounts the image at `path` as a mount of its own, attached nowhere. Only a [`Layer::Shared`] one can be written to, and
/// then only one mount of it can be; it must be out of the reach of the host's other users, for what the guest keeps secret
/// is in it, and what they wrote the kernel would take for a file system.
///
/// # Errors
/// The step that failed.
pub fn open(path: &CStr, layer: Layer, attributes: Attributes) -> Result<OwnedFd, Fault> {
    let writable = layer == Layer::Shared;
    let access = if writable { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty()).at(Step::OpenImage)?;
    let stat = rustix::fs::fstat(&file).at(Step::OpenImage)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL).at(Step::ImageKind);
    }
    let mut start = [0; START_BYTES];
    let len = rustix::io::pread(&file, &mut start, 0).at(Step::OpenImage)?;
    let kind = Kind::of(start.get(..len).unwrap_or_default()).ok_or(Errno::INVAL).at(Step::ImageKind)?;
    if writable && kind != Kind::Ext4 {
        return Err(Errno::ROFS).at(Step::ImageWritable);
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    if writable && (stat.st_uid != 0 || mode.intersects(Mode::RWXO | Mode::RWXG)) {
        return Err(Errno::PERM).at(Step::ImageIsClosed);
    }
    match kind {
        // What cannot be written needs no lock.
        Kind::Ext4 => lock(file.as_fd(), writable).at(Step::ImageInUse)?,
        // A kernel that cannot do this one way or another: by a loop device.
        Kind::Erofs => {
            if let Ok(mount) = mount(kind, file.as_fd(), writable, attributes) {
                return Ok(mount);
            }
        }
        Kind::Squashfs => {}
    }
    let device = attach(file.as_fd(), writable).at(Step::LoopDevice)?;
    mount(kind, device.as_fd(), writable, attributes).at_item(Step::MountImage, kind as usize)
}

/// Locks the file, for as long as a loop device has it. That of a guest that has just ended is let go in a moment.
fn lock(file: BorrowedFd<'_>, writable: bool) -> Result<(), Errno> {
    let kind = if writable { FlockOperation::NonBlockingLockExclusive } else { FlockOperation::NonBlockingLockShared };
    files::lock_within(file, kind, limits::IMAGE_WAIT_MS)
}

/// A loop device with `file`.
fn attach(file: BorrowedFd<'_>, writable: bool) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let control = rustix::fs::openat(CWD, c"/dev/loop-control", flags, Mode::empty())?;
    for _ in 0..LOOP_TRIES {
        let path = Made::new(format_args!("/dev/loop{}", loop_device::free(control.as_fd())?));
        let device = rustix::fs::openat(CWD, path.as_c_str(), flags, Mode::empty())?;
        match loop_device::attach(device.as_fd(), file, !writable) {
            Err(Errno::BUSY) => {}
            result => return result.map(|()| device),
        }
    }
    Err(Errno::BUSY)
}

/// Mounts what `source` holds.
fn mount(kind: Kind, source: BorrowedFd<'_>, writable: bool, attributes: Attributes) -> Result<OwnedFd, Errno> {
    let path = Made::new(format_args!("/proc/self/fd/{}", source.as_raw_fd()));
    let context = rustix::mount::fsopen(kind.name(), FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    rustix::mount::fsconfig_set_string(context, c"source", path.as_c_str())?;
    if kind == Kind::Ext4 {
        // The image may ask for a panic of the host instead.
        rustix::mount::fsconfig_set_string(context, c"errors", c"remount-ro")?;
    }
    if !writable {
        rustix::mount::fsconfig_set_flag(context, c"ro")?;
        if kind == Kind::Ext4 {
            // One that was not unmounted is read as it is: its journal could only be replayed by writing.
            rustix::mount::fsconfig_set_flag(context, c"noload")?;
        }
    }
    rustix::mount::fsconfig_create(context)?;
    rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes.for_fsmount())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_known_by_its_superblock() {
        let mut start = [0; START_BYTES];
        assert_eq!(Kind::of(&start), None);
        start[1080..].copy_from_slice(b"\x53\xef");
        assert_eq!(Kind::of(&start), Some(Kind::Ext4));
        assert_eq!(Kind::of(&start[..1081]), None, "it ends too early");
        start[1024..1028].copy_from_slice(&0xe0f5_e1e2_u32.to_le_bytes());
        assert_eq!(Kind::of(&start), Some(Kind::Erofs));
        assert_eq!(Kind::of(b"hsqs"), Some(Kind::Squashfs));
        assert_eq!(Kind::of(b""), None);
    }
}
