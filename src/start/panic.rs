//! The epitaph: PID 1 must never panic; if it does, the reason reaches the console and the kernel log.

use core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    innkeep::sys::epitaph::die(info)
}

/// Named by precompiled libraries; never called where panics abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
