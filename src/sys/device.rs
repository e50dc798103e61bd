//! The devices that every program expects in `/dev` (Documentation/admin-guide/devices.txt), and how they are opened where there
//! is no `/dev`: an image may lack the directory, on a root that nobody can make it on.

use core::ffi::CStr;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::Errno;

/// Name, mode, major and minor number.
pub const NODES: [(&CStr, u32, u32, u32); 9] = [
    (c"/dev/null", 0o666, 1, 3),
    (c"/dev/zero", 0o666, 1, 5),
    (c"/dev/full", 0o666, 1, 7),
    (c"/dev/random", 0o666, 1, 8),
    (c"/dev/urandom", 0o666, 1, 9),
    (c"/dev/kmsg", 0o600, 1, 11),
    (c"/dev/tty", 0o666, 5, 0),
    (c"/dev/console", 0o600, 5, 1),
    (c"/dev/ptmx", 0o666, 5, 2),
];

/// Opens `path`. One of [`NODES`] that is not there is made for this, in memory that is mounted nowhere.
///
/// # Errors
/// As open(2); ENXIO or ENODEV where the kernel has no such device.
pub fn open(path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => open_made(path, flags),
        outcome => outcome,
    }
}

fn open_made(path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let node = NODES.iter().find(|(name, ..)| *name == path);
    let (_, mode, major, minor) = node.ok_or(Errno::NOENT)?;
    let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    let mount = rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let device = rustix::fs::makedev(*major, *minor);
    rustix::fs::mknodat(&mount, c"it", FileType::CharacterDevice, Mode::from_raw_mode(*mode), device)?;
    rustix::fs::openat(&mount, c"it", flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_opened_where_dev_has_it_not() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let zero = open_made(c"/dev/zero", OFlags::RDONLY).unwrap();
        let mut read = [1; 8];
        assert_eq!((rustix::io::read(&zero, &mut read), read), (Ok(8), [0; 8]));
        assert_eq!(open_made(c"/dev/other", OFlags::RDONLY).unwrap_err(), Errno::NOENT);
        assert!(open(c"/dev/null", OFlags::RDWR).is_ok());
    }
}
