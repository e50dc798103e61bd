//! What a distribution's init finds in `/run/host` (systemd.io/CONTAINER_INTERFACE): what runs it, and on what system.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};

use crate::fault::{At, Fault, Step};
use crate::sys::Errno;

/// The word behind `container=` in the environment, for those who cannot read that of the first process.
const MANAGER: &[u8] = b"lxc\n";
/// Bytes of the host's os-release that are passed on; os-release(5) has a dozen short lines.
const RELEASE_BYTES: usize = 4096;

/// The host's os-release. A host need not say what it is.
pub fn release() -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::openat(CWD, c"/etc/os-release", flags, Mode::empty()).ok()
}

/// Writes it to the directory `run`, which becomes the guest's `/run`.
///
/// # Errors
/// [`Step::AboutHost`].
pub fn write(run: &CStr, release: Option<&OwnedFd>) -> Result<(), Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let run = rustix::fs::openat(CWD, run, flags, Mode::empty()).at(Step::AboutHost)?;
    rustix::fs::mkdirat(&run, c"host", Mode::from_raw_mode(0o755)).at(Step::AboutHost)?;
    file(run.as_fd(), c"host/container-manager", MANAGER).at(Step::AboutHost)?;
    let mut text = [0; RELEASE_BYTES];
    let len = release.and_then(|release| rustix::io::read(release, &mut text).ok());
    match len.and_then(|len| text.get(..len)) {
        Some(text) => file(run.as_fd(), c"host/os-release", text).at(Step::AboutHost),
        None => Ok(()),
    }
}

fn file(run: BorrowedFd<'_>, path: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(run, path, flags, Mode::from_raw_mode(0o444))?;
    rustix::io::write(file.as_fd(), bytes).map(drop)
}
