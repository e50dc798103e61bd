//! Network links by ioctl (netdevice(7)): the one thing that every namespace needs, its loopback.

use super::{Errno, call};
use rustix::fd::AsRawFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Brings `lo` of this network namespace up.
///
/// # Errors
/// As socket(2) and SIOCSIFFLAGS: EPERM, ENODEV, EMFILE, EAFNOSUPPORT.
pub fn loopback_up() -> Result<(), Errno> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { core::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let list = [socket.as_raw_fd() as usize, libc::SIOCSIFFLAGS as usize, &raw const request as usize];
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives beyond the call.
    unsafe { call(libc::SYS_ioctl, list) }.map(drop)
}
