//! Programs of the kernel that decide for a cgroup (bpf(2), Documentation/bpf/standardization/instruction-set.rst).

use core::mem::size_of;

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Errno, call};

/// One instruction: `struct bpf_insn` (linux/bpf.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Where it puts to (low half) and takes from (high half).
    pub registers: u8,
    /// Of a jump: instructions to skip. Of a load: bytes to go.
    pub offset: i16,
    /// Operand.
    pub immediate: i32,
}

// linux/bpf.h
const PROG_LOAD: usize = 5;
const PROG_ATTACH: usize = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
/// Programs of cgroups above and below decide too: all must agree.
const ALLOW_MULTI: u32 = 2;

/// Takes `program` into the kernel, to decide about device files. It is gone when it is neither open nor attached.
///
/// # Errors
/// EINVAL in a kernel without such programs, or for a bad one; ENOSYS; EPERM; ENOMEM, before Linux 5.11 EPERM, over the
/// limit of locked memory.
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    /// `union bpf_attr` as far as this command needs it.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log: [u32; 2],
        log_buffer: u64,
        version: u32,
        flags: u32,
    }
    let load = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log: [0; 2],
        log_buffer: 0,
        version: 0,
        flags: 0,
    };
    // SAFETY: the structure has the size given, and points to `count` instructions and a C string; all live beyond the call.
    let number = unsafe { call(libc::SYS_bpf, [PROG_LOAD, &raw const load as usize, size_of::<Load>()]) }?;
    // SAFETY: the kernel opened this descriptor, which nobody else has seen.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

/// Whether the kernel takes such programs from us.
#[must_use]
pub fn has_device_programs() -> bool {
    // Refuse: move 0 to register 0, exit.
    let refuse =
        [(0xb7, 0), (0x95, 0)].map(|(code, immediate)| Instruction { code, immediate, ..Instruction::default() });
    load_device_program(&refuse).is_ok()
}

/// Lets `program` decide for `cgroup` and all below it, as long as that exists.
///
/// # Errors
/// EPERM, EINVAL, E2BIG, ENOMEM.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let attach = [cgroup.as_raw_fd() as u32, program.as_raw_fd() as u32, CGROUP_DEVICE, ALLOW_MULTI];
    // SAFETY: the attributes of this command are four words, which live beyond the call.
    unsafe { call(libc::SYS_bpf, [PROG_ATTACH, attach.as_ptr() as usize, size_of_val(&attach)]) }.map(drop)
}
