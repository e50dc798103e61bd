//! The only unsafe code of the library: raw system calls and per-architecture code, with safe typed functions out.
//!
//! What rustix offers is used where it is needed, directly; here is what it lacks.

#![allow(unsafe_code, reason = "this is the room for it")]

pub mod arch;
pub mod epitaph;
pub mod memory;
pub mod process;
pub mod socket;

pub use rustix::io::Errno;

/// What a raw system call returned, as a result (syscall(2): -4095 to -1 are errors).
fn result(returned: usize) -> Result<usize, Errno> {
    match returned as isize {
        error @ -4095..=-1 => Err(Errno::from_raw_os_error(-error as i32)),
        _ => Ok(returned),
    }
}
