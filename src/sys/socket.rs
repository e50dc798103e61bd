//! What rustix's sockets lack.

use core::ffi::c_int;

use rustix::fd::{AsRawFd, BorrowedFd};

use super::{Errno, call};

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
