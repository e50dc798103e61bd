//! `inn switch-root`: from an initramfs to a root that somebody has mounted.

use core::ffi::CStr;

use super::ask::ask;
use super::output::{Output, complain};
use super::parse::Options;
use crate::control::wire::{Power, Request};
use crate::fault::ErrnoWords;
use crate::host::console::Console;
use crate::host::root;
use crate::sys::process::Arguments;

/// Makes the first of `operands` the root: as PID 1 at once, otherwise by asking the `inn` that is PID 1.
#[inline(never)]
pub fn switch_root(operands: &[&'static CStr], arguments: &Arguments, options: &Options, out: &mut Output) -> u8 {
    let (new, init) = (operands.first().copied().unwrap_or_default(), operands.get(1).copied().unwrap_or_default());
    let failed = if rustix::process::getpid().is_init() {
        root::switch(&Console::open(), new, init, (arguments, None))
    } else {
        match root::ask_for(new, init) {
            Ok(()) => {
                let request = Request::Power { how: Power::SwitchRoot };
                let result = ask(options.socket, &request, options.timeout_ms, &mut |_, _| {});
                return out.finish(result.err().unwrap_or(0));
            }
            Err(failed) => failed,
        }
    };
    let (call, errno) = failed;
    complain(format_args!("{}: {call}: {}", new.to_str().unwrap_or("?"), ErrnoWords(errno.raw_os_error() as u16)));
    1
}
