//! What a panic leaves: message and location, on the console and in the kernel log.

use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};

/// Set while an epitaph is being written: a panic in here must not start another.
static DYING: AtomicBool = AtomicBool::new(false);

/// Writes the epitaph and ends the process with 70 (EX_SOFTWARE, sysexits.h).
pub fn die(info: &PanicInfo) -> ! {
    if !DYING.swap(true, Ordering::AcqRel) {
        let mut line = heapless::String::<512>::new();
        // A message that does not fit is cut: the location comes first.
        let _ = match info.location() {
            Some(at) => writeln!(line, "inn: panic at {}:{}: {}", at.file(), at.line(), info.message()),
            None => writeln!(line, "inn: panic: {}", info.message()),
        };
        let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        for path in [c"/dev/kmsg", c"/dev/console"] {
            if let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) {
                // Nobody is left to tell of a failure here.
                let _ = rustix::io::write(file.as_fd(), line.as_bytes());
            }
        }
        if rustix::process::getpid().as_raw_nonzero().get() != 1 {
            // SAFETY: nothing closes descriptor 2 in this program; a closed one gives EBADF.
            let stderr = unsafe { rustix::stdio::stderr() };
            let _ = rustix::io::write(stderr, line.as_bytes());
        }
    }
    super::process::exit(70)
}
