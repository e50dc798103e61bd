//! x86_64 entry (System V ABI, AMD64 supplement, 3.4.1).

/// Where the kernel jumps to.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    core::arch::naked_asm!(
        "xor ebp, ebp",   // the outermost frame, for unwinders
        "mov rdi, rsp",   // first argument: the initial stack
        "and rsp, -16",   // aligned before a call, as the ABI asks
        "call {begin}",
        "ud2",
        begin = sym super::begin,
    )
}
