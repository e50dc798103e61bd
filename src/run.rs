//! The composition root: argv → a verb, PID 1, or a helper of the kernel.

use crate::sys::process::Arguments;

/// Runs `inn` and returns its exit code.
pub fn run(_arguments: &Arguments) -> u8 {
    0
}
