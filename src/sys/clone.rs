//! New processes, with or without new namespaces (clone3(2)).

use core::mem::size_of;

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, call};

/// linux/sched.h; the libc crate's constants of these two are too narrow.
const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// See [`CLEAR_SIGHAND`].
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// What the new process is to have of its own. The values are clone3's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u64);

impl Flags {
    /// A child like its parent.
    pub const NONE: Flags = Flags(0);
    /// The child is a child of this process's parent.
    pub const PARENT: Flags = Flags(libc::CLONE_PARENT as u64);
    /// The caller stands still until the child has ended or executed a program.
    pub const AWAITED: Flags = Flags(libc::CLONE_VFORK as u64);
    /// One descriptor table for both.
    pub const FILES: Flags = Flags(libc::CLONE_FILES as u64);
    /// User namespace.
    pub const NEW_USER: Flags = Flags(libc::CLONE_NEWUSER as u64);
    /// Process number namespace.
    pub const NEW_PID: Flags = Flags(libc::CLONE_NEWPID as u64);
    /// Mount namespace.
    pub const NEW_MOUNT: Flags = Flags(libc::CLONE_NEWNS as u64);
    /// Network namespace.
    pub const NEW_NETWORK: Flags = Flags(libc::CLONE_NEWNET as u64);
    /// System V IPC and POSIX message queue namespace.
    pub const NEW_IPC: Flags = Flags(libc::CLONE_NEWIPC as u64);
    /// Host name namespace.
    pub const NEW_UTS: Flags = Flags(libc::CLONE_NEWUTS as u64);
    /// Cgroup namespace; its root is the cgroup that the child starts in.
    pub const NEW_CGROUP: Flags = Flags(libc::CLONE_NEWCGROUP as u64);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// Which of the two is running after [`clone`].
#[derive(Debug)]
pub enum Side {
    /// The caller: the child's number, and a pidfd of it.
    Parent(rustix::process::Pid, OwnedFd),
    /// The child.
    Child,
}

/// Makes a process, as fork(2) does, in `cgroup` if one is given. Its end raises no signal: wait by pidfd, with `__WALL`.
/// Signal handlers are reset in the child.
///
/// # Errors
/// EAGAIN or ENOSPC over a limit of processes or namespaces, EBUSY or EOPNOTSUPP where the cgroup takes no process,
/// ENOSYS, ENOMEM, EPERM as clone3(2) says.
pub fn clone(flags: Flags, cgroup: Option<BorrowedFd<'_>>) -> Result<Side, Errno> {
    let mut pidfd: i32 = -1;
    let into = if cgroup.is_some() { INTO_CGROUP } else { 0 };
    // SAFETY: all zero is a valid clone_args: no flags, no pointers.
    let mut arguments: libc::clone_args = unsafe { core::mem::zeroed() };
    arguments.flags = flags.0 | into | libc::CLONE_PIDFD as u64 | CLEAR_SIGHAND;
    arguments.pidfd = &raw mut pidfd as u64;
    arguments.cgroup = cgroup.map_or(0, |fd| fd.as_raw_fd() as u64);
    // SAFETY: without CLONE_VM the child has a copy of this memory, stack included, so both sides go on here; the
    // structure and the pidfd's place live beyond the call. This program has one thread, so no lock is held elsewhere.
    let pid = unsafe { call(libc::SYS_clone3, [&raw const arguments as usize, size_of::<libc::clone_args>()]) }?;
    match rustix::process::Pid::from_raw(pid as i32) {
        None => Ok(Side::Child),
        // SAFETY: the kernel put a new descriptor there, which nobody else has seen.
        Some(pid) => Ok(Side::Parent(pid, unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

/// Gives the children made from now on a time namespace of their own (unshare(2), time_namespaces(7)).
///
/// # Errors
/// EINVAL where the kernel has none, EPERM, ENOMEM, ENOSPC.
pub fn unshare_time() -> Result<(), Errno> {
    // SAFETY: takes no pointer, and changes nothing about this process's memory or descriptors.
    unsafe { call(libc::SYS_unshare, [libc::CLONE_NEWTIME as usize]) }.map(drop)
}

/// Gives this process a mount namespace of its own (unshare(2)).
///
/// # Errors
/// EPERM, ENOMEM, ENOSPC.
pub fn unshare_mounts() -> Result<(), Errno> {
    // SAFETY: takes no pointer, and changes nothing about this process's memory or descriptors.
    unsafe { call(libc::SYS_unshare, [libc::CLONE_NEWNS as usize]) }.map(drop)
}
