//! The epitaph: PID 1 must never panic; if it does, the reason reaches the console and the kernel log.

use core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    innkeep::sys::epitaph::die(info)
}

/// Named by precompiled libraries; never called where panics abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Panics, and once more while that is put into words: what the test of the epitaph is after.
#[cfg(feature = "panic-test")]
pub fn test() -> ! {
    struct Again;
    impl core::fmt::Display for Again {
        fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            panic!("in the words of a panic")
        }
    }
    panic!("{Again}")
}
