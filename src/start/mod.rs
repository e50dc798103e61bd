//! From the kernel's hand-over to [`innkeep::run::run`]: entry, memory functions, panic epitaph.

#![allow(unsafe_code, reason = "entry code and the memory functions cannot be written without it")]

mod memory;
mod panic;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use innkeep::sys::process::Arguments;

/// The first Rust code: `stack` is where the kernel put argc, argv, envp (System V ABI, "Initial Stack").
///
/// # Safety
/// Called once, by the architecture's `_start`, with the stack pointer as it was at entry.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: `stack` is the untouched initial stack, upheld by `_start`.
    let arguments = unsafe { Arguments::from_stack(stack) };
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
