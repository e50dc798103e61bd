//! aarch64 (syscall(2), "Architecture calling conventions").

/// What `seccomp_data.arch` says for this architecture (linux/audit.h: EM_AARCH64, 64 bit, little endian).
pub const AUDIT_ARCH: u32 = 0xc000_00b7;

/// A system call.
///
/// # Safety
/// As the call asks of its arguments (its manual page), upheld by the caller.
pub(in crate::sys) unsafe fn syscall(number: libc::c_long, a: [usize; 6]) -> usize {
    let returned;
    // SAFETY: the instruction changes x0 only, besides what the call itself does.
    unsafe {
        core::arch::asm!("svc 0", in("x8") number as usize, inlateout("x0") a[0] => returned,
            in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    returned
}

/// What a signal's handler returns to (rt_sigreturn(2)).
#[unsafe(naked)]
pub(in crate::sys) unsafe extern "C" fn end_of_handler() {
    core::arch::naked_asm!("mov x8, #139", "svc #0", "brk #1")
}
