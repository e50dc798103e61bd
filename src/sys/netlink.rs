//! Netlink sockets (netlink(7)).

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::Errno;

/// What a socket is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Devices.
    Devices,
    /// Links, addresses and routes of this network namespace.
    Network,
}

/// A socket that hears the multicast `groups` (a bit each), and never blocks where they are any.
///
/// # Errors
/// As socket(2) and bind(2): EPROTONOSUPPORT, EMFILE, EPERM.
pub fn open(about: About, groups: u32) -> Result<OwnedFd, Errno> {
    // That of the network has number 0.
    let protocol = match about {
        About::Devices => Some(KOBJECT_UEVENT),
        About::Network => None,
    };
    let blocking = if groups == 0 { SocketFlags::empty() } else { SocketFlags::NONBLOCK };
    let flags = SocketFlags::CLOEXEC | blocking;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// Sends `message` to the kernel.
///
/// # Errors
/// As send(2).
pub fn send(socket: BorrowedFd<'_>, message: &[u8]) -> Result<(), Errno> {
    let kernel = SocketAddrNetlink::new(0, 0);
    let sent = rustix::net::sendto(socket, message, rustix::net::SendFlags::empty(), &kernel)?;
    if sent == message.len() { Ok(()) } else { Err(Errno::MSGSIZE) }
}

/// Takes the next message of the kernel; one that another process sent is as if it were empty.
///
/// # Errors
/// ENOBUFS: some were lost. EAGAIN where there is none. EMSGSIZE where it does not fit. As recv(2).
pub fn receive<'b>(socket: BorrowedFd<'_>, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let (len, whole, from) = rustix::net::recvfrom(socket.as_fd(), &mut *buffer, RecvFlags::TRUNC)?;
    let sender = from.and_then(|from| SocketAddrNetlink::try_from(from).ok()).map_or(u32::MAX, |from| from.pid());
    if whole > len {
        return Err(Errno::MSGSIZE);
    }
    Ok(buffer.get(..if sender == 0 { len } else { 0 }).unwrap_or_default())
}
