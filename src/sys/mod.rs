//! The only unsafe code of the library: raw system calls and per-architecture code, with safe typed functions out.
//!
//! What rustix offers is used where it is needed, directly; here is what it lacks.

#![allow(unsafe_code, reason = "this is the room for it")]

pub mod arch;
pub mod block;
pub mod bpf;
pub mod clock;
pub mod clone;
pub mod descriptor;
pub mod device;
pub mod epitaph;
pub mod exec;
pub mod fatal;
pub mod link;
pub mod loop_device;
pub mod machine;
pub mod memory;
pub mod mount;
pub mod netlink;
pub mod privilege;
pub mod probe;
pub mod process;
pub mod random;
pub mod rlimit;
pub mod schedule;
pub mod signal;
pub mod socket;
pub mod stdio;
pub mod storage;
pub mod terminal;
pub mod wait;
pub mod watchdog;

pub use rustix::io::Errno;

/// A system call with up to six arguments, as a result (syscall(2): -4095 to -1 are errors).
///
/// # Safety
/// As the call asks of its arguments (its manual page), upheld by the caller.
unsafe fn call<const N: usize>(number: libc::c_long, arguments: [usize; N]) -> Result<usize, Errno> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    // SAFETY: upheld by the caller.
    let returned = unsafe { arch::syscall(number, all) };
    match returned as isize {
        error @ -4095..=-1 => Err(Errno::from_raw_os_error(-error as i32)),
        _ => Ok(returned),
    }
}
