//! `inn reset`: the next boot empties what `reset` of the config names.

use core::ffi::CStr;
use core::fmt::Write;

use rustix::fd::AsFd;

use super::ask::{FAILED, PROMPT_MS, ask};
use super::check::BAD_CONFIG;
use super::output::{Errors, Output, Plain, complain};
use super::parse::Options;
use crate::config::Report;
use crate::control::wire::{Code, Power, Reply, Request};
use crate::fault::ErrnoWords;
use crate::host::reset;
use crate::limits;
use crate::load::Loader;
use crate::sys::stdio;

/// Marks it, and has the host start again, once somebody has said yes; returns the exit code.
#[inline(never)]
pub fn reset(options: &Options, out: &mut Output) -> u8 {
    let result = try_to(options, out);
    out.finish(result.err().unwrap_or(0))
}

fn try_to(options: &Options, out: &mut Output) -> Result<(), u8> {
    let (mut path, mut is_init) = (heapless::Vec::<u8, { limits::LINE_BYTES }>::new(), false);
    ask(options.socket, &Request::HostStatus, Some(PROMPT_MS), &mut |reply, _| {
        if let Reply::Host(info) = reply {
            is_init = info.pid == 1;
            // No path is longer, and the NUL has its place.
            let _ = (path.extend_from_slice(info.config.as_bytes()), path.push(0));
        }
    })?;
    if !is_init {
        complain(format_args!("this supervisor is not the host's init: a factory reset is done when the host boots"));
        return Err(Code::WrongState.exit());
    }
    let loader = Loader::take().ok_or(BAD_CONFIG)?;
    let path = CStr::from_bytes_with_nul(&path).unwrap_or_default();
    loader.read(path);
    if !loader.build() {
        let _ = write!(Errors::new(), "{}", Report(&loader.config, &loader.diagnostics));
        return Err(BAD_CONFIG);
    }
    let plan = &loader.plan;
    if plan.host.resets.is_empty() {
        complain(format_args!(
            "{}: no `reset` in [host] names what is to be emptied",
            Plain(path.to_str().unwrap_or("?"))
        ));
        return Err(BAD_CONFIG);
    }
    if !options.yes {
        confirm(plan.words.get(plan.host.resets).iter().map(|path| plan.strings.str(*path)))?;
    }
    if let Err(error) = reset::mark(plan) {
        let error = ErrnoWords(error.raw_os_error() as u16);
        complain(format_args!("{}: {error}; nothing is reset", Plain(plan.state())));
        return Err(FAILED);
    }
    if !options.quiet {
        let _ = writeln!(out, "the host starts again, and is reset then");
    }
    ask(options.socket, &Request::Power { how: Power::Reboot }, options.timeout_ms, &mut |_, _| {})
}

/// Asks the terminal.
fn confirm<'p>(paths: impl Iterator<Item = &'p str>) -> Result<(), u8> {
    let input = stdio::input();
    if !rustix::termios::isatty(input) {
        complain(format_args!("reset asks on a terminal; without one say --yes"));
        return Err(Code::WrongState.exit());
    }
    let mut words = Errors::new();
    for path in paths {
        let _ = writeln!(words, "all in {} will be removed", Plain(path));
    }
    let _ = write!(words, "the host boots again for that; go on? (yes or no) ");
    drop(words);
    let mut answer = [0; 16];
    let count = rustix::io::read(input.as_fd(), &mut answer).unwrap_or(0);
    if answer.get(..count).unwrap_or_default().trim_ascii() == b"yes" {
        return Ok(());
    }
    complain(format_args!("nothing is reset"));
    Err(FAILED)
}
