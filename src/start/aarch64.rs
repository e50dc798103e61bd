//! aarch64 entry (Procedure Call Standard for the Arm 64-bit Architecture).

/// Where the kernel jumps to.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    core::arch::naked_asm!(
        "mov x29, xzr",   // the outermost frame, for unwinders
        "mov x30, xzr",
        "mov x0, sp",     // first argument: the initial stack, already 16-byte aligned
        "bl {begin}",
        "brk #1",
        begin = sym super::begin,
    )
}
