//! x86_64 (syscall(2), "Architecture calling conventions").

/// What `seccomp_data.arch` says for this architecture (linux/audit.h: EM_X86_64, 64 bit, little endian).
pub const AUDIT_ARCH: u32 = 0xc000_003e;

/// A system call.
///
/// # Safety
/// As the call asks of its arguments (its manual page), upheld by the caller.
pub(in crate::sys) unsafe fn syscall(number: libc::c_long, a: [usize; 6]) -> usize {
    let returned;
    // SAFETY: the instruction changes rcx and r11 only, besides what the call itself does.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") number as usize => returned,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    returned
}

/// What a signal's handler returns to (rt_sigreturn(2)).
#[unsafe(naked)]
pub(in crate::sys) unsafe extern "C" fn end_of_handler() {
    core::arch::naked_asm!("mov eax, 15", "syscall", "ud2")
}
