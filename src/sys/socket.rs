//! What rustix's sockets lack.

use core::ffi::c_int;

use rustix::fd::{AsRawFd, BorrowedFd};

use super::{Errno, call};

/// A message that came with the credentials of who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many bytes of the buffer are it.
    pub len: usize,
    /// Whether there was more than fits.
    pub is_cut: bool,
    /// Number and user of the process that sent it, as they are called here; 0 for one in a pid namespace that cannot be seen
    /// from here. Nothing where the kernel says none.
    pub sender: Option<(u32, u32)>,
}

/// Takes the next message from a datagram socket that has SO_PASSCRED (unix(7)). Never blocks. Descriptors that came with
/// it are closed.
///
/// # Errors
/// EAGAIN where there is none; as recvmsg(2).
pub fn receive_from(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received, Errno> {
    receive(socket, buffer, 0)
}

/// The same message that [`receive_from`] takes next, which stays there.
///
/// # Errors
/// As [`receive_from`].
pub fn peek_from(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received, Errno> {
    receive(socket, buffer, libc::MSG_PEEK)
}

fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: i32) -> Result<Received, Errno> {
    let mut control = Control { header: [0; 2], credentials: [0; 4] };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zero is a valid msghdr: no name, no parts.
    let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    // Room for the credentials only: for descriptors there is none, so that the kernel closes them.
    message.msg_controllen = size_of::<Control>();
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    let arguments = [socket.as_raw_fd() as usize, &raw mut message as usize, flags as usize];
    // SAFETY: the buffers that the message names outlive the call, and their lengths are theirs.
    let len = unsafe { call(libc::SYS_recvmsg, arguments) }?;
    let kind = u64::from(libc::SOL_SOCKET as u32) | u64::from(libc::SCM_CREDENTIALS as u32) << 32;
    let [pid, uid, ..] = control.credentials;
    Ok(Received {
        len: len.min(buffer.len()),
        is_cut: message.msg_flags & libc::MSG_TRUNC != 0,
        sender: (control.header[1] == kind).then_some((pid, uid)),
    })
}

/// One control message: its length, its level and type, and a `struct ucred`, padded (cmsg(3)).
#[repr(C)]
struct Control {
    header: [u64; 2],
    credentials: [u32; 4],
}

/// Who is at the other end of a UNIX socket: as it was at connect(2), of a server at listen(2) (unix(7), SO_PEERCRED).
///
/// rustix's call keeps the process's number in a type that cannot be 0, which is what the kernel says of a process in a
/// pid namespace that cannot be seen from here.
///
/// # Errors
/// As getsockopt(2).
pub fn peer(socket: BorrowedFd<'_>) -> Result<libc::ucred, Errno> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let arguments = [
        socket.as_raw_fd() as usize,
        libc::SOL_SOCKET as c_int as usize,
        libc::SO_PEERCRED as c_int as usize,
        &raw mut peer as usize,
        &raw mut length as usize,
    ];
    // SAFETY: `peer` and `length` outlive the call, and `length` is the size of `peer`.
    unsafe { call(libc::SYS_getsockopt, arguments) }?;
    Ok(peer)
}
