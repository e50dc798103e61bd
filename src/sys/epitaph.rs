//! What a panic leaves: message and location, on the console and in the kernel log.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};

/// Set while an epitaph is being written: a panic in here must not start another.
static DYING: AtomicBool = AtomicBool::new(false);

/// How a process ends that has no other way (EX_SOFTWARE, sysexits.h).
pub const CODE: u8 = 70;

/// Writes the epitaph and begins anew, or, where there is nothing to go on with, ends the process with [`CODE`].
pub fn die(info: &PanicInfo) -> ! {
    if !DYING.swap(true, Ordering::AcqRel) {
        // Where first, and told at once: putting what into words may panic again.
        if let Some(at) = info.location() {
            tell(format_args!("inn: panic at {}:{}", at.file(), at.line()));
        }
        tell(format_args!("inn: panic: {}", info.message()));
    }
    super::fatal::after_panic();
    super::process::exit(CODE)
}

/// The epitaph of a signal, with the address where the processor saw the fault, nothing where somebody sent it; and whether
/// the stack was full.
pub fn tell_signal(number: i32, address: Option<usize>, is_full: bool) {
    let why = if is_full { ": the stack is full" } else { "" };
    match address {
        Some(address) => tell(format_args!("inn: fault: signal {number} at address {address:#x}{why}")),
        None => tell(format_args!("inn: killed by signal {number}")),
    }
}

/// Says one line, cut where it is too long, wherever somebody may hear it. Nobody is left to tell of a failure here.
fn tell(words: fmt::Arguments<'_>) {
    let mut line = heapless::String::<LINE_BYTES>::new();
    let _ = Cut(&mut line).write_fmt(words);
    // The kernel's log shows a line once it has its end.
    let _ = line.push('\n');
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    for path in [c"/dev/kmsg", c"/dev/console"] {
        if let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) {
            let _ = rustix::io::write(file.as_fd(), line.as_bytes());
        }
    }
    if rustix::process::getpid() != rustix::process::Pid::INIT {
        let _ = rustix::io::write(super::stdio::error(), line.as_bytes());
    }
}

const LINE_BYTES: usize = 512;

/// Keeps what fits, and a byte for the line's end.
struct Cut<'a>(&'a mut heapless::String<LINE_BYTES>);

impl fmt::Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars()
            .try_for_each(|c| {
                if self.0.len() + c.len_utf8() < LINE_BYTES { self.0.push(c) } else { Err(Default::default()) }
            })
            .map_err(|_| fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_cut_and_has_its_end() {
        let mut line = heapless::String::new();
        assert!(write!(Cut(&mut line), "{}", "\u{e9}".repeat(LINE_BYTES)).is_err());
        assert!(line.len() >= LINE_BYTES - 2 && line.push('\n').is_ok());
    }
}
