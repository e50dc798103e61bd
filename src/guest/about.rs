//! What a distribution's init finds in `/run/host` (systemd.io/CONTAINER_INTERFACE): what runs it, and on what system.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::fault::{At, Fault, Step};
use crate::sys::Errno;

/// The word behind `container=` in the environment, for those who cannot read that of the first process.
const MANAGER: &[u8] = b"lxc\n";
/// Bytes of the host's os-release that are passed on; os-release(5) has a dozen short lines.
const RELEASE_BYTES: usize = 4096;

/// Writes it. `host` is the host's root; the guest's own `/run` is mounted.
///
/// # Errors
/// [`Step::AboutHost`].
pub fn write(host: BorrowedFd<'_>) -> Result<(), Fault> {
    rustix::fs::mkdirat(CWD, c"/run/host", Mode::from_raw_mode(0o755)).at(Step::AboutHost)?;
    file(c"/run/host/container-manager", MANAGER).at(Step::AboutHost)?;
    let mut release = [0; RELEASE_BYTES];
    // A host need not say what it is.
    match read(host, &mut release).ok().and_then(|len| release.get(..len)) {
        Some(release) => file(c"/run/host/os-release", release).at(Step::AboutHost),
        None => Ok(()),
    }
}

fn read(host: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    // On most hosts it is a symbolic link, which must not lead into the guest.
    let release = rustix::fs::openat2(host, c"etc/os-release", flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    rustix::io::read(release, buffer)
}

fn file(path: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o444))?;
    rustix::io::write(file.as_fd(), bytes).map(drop)
}
