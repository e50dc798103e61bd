//! From the kernel's hand-over to [`innkeep::run::run`]: entry, memory functions, panic epitaph.

#![allow(unsafe_code, reason = "entry code and the memory functions cannot be written without it")]

mod memory;
mod panic;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use innkeep::sys::process::Arguments;
use rustix::mm::{Advice, madvise};

unsafe extern "C" {
    /// Where the linker has static memory begin that is all zero, and where it ends.
    static __bss_start: u8;
    static _end: u8;
}

/// Static memory has room for all that there may be, and little of it is ever touched: where the kernel gives huge pages to whoever does
/// not ask for them (`transparent_hugepage=always`, as Debian has it), each touch of it would cost 2 MiB, and the time to clear them.
fn keep_to_small_pages() {
    const PAGE: usize = 4096;
    let (start, end) = (&raw const __bss_start, &raw const _end);
    let first = start.map_addr(|start| start & !(PAGE - 1));
    // EINVAL of a kernel without huge pages is fine.
    // SAFETY: nothing but how memory of this program is backed is changed.
    let _ = unsafe { madvise(first.cast_mut().cast(), end.addr() - first.addr(), Advice::LinuxNoHugepage) };
}

/// The first Rust code: `stack` is where the kernel put argc, argv, envp (System V ABI, "Initial Stack").
///
/// # Safety
/// Called once, by the architecture's `_start`, with the stack pointer as it was at entry.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: `stack` is the untouched initial stack, upheld by `_start`.
    let arguments = unsafe { Arguments::from_stack(stack) };
    keep_to_small_pages();
    #[cfg(feature = "panic-test")]
    if arguments.get(1) == Some(c"panic") {
        panic!("as the test asked");
    }
    #[cfg(feature = "panic-test")]
    if arguments.get(1) == Some(c"panic-twice") {
        panic::test();
    }
    innkeep::sys::process::exit(innkeep::run::run(&arguments))
}
