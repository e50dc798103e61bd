//! `inn upgrade`: another program in the place of the supervisor, with all of its guests.

use core::ffi::CStr;
use core::fmt::{self, Write};

use rustix::fd::OwnedFd;
use rustix::fs::{Access, CWD, Stat};

use super::ask::{FAILED, PROMPT_MS, ask};
use super::output::{Errors, Output, Plain, complain};
use super::parse::{Options, Shown};
use crate::control::client::Client;
use crate::control::server;
use crate::control::wire::{Reply, Request, TEXT_BYTES};
use crate::fault::ErrnoWords;
use crate::host::files;
use crate::sys::Errno;
use crate::text::Made;

/// Bytes of a program's beginning that are looked at (elf(5)): its header, and those of its segments.
const HEAD: usize = 4096;
/// Of the header: where the machine stands, where those of the segments are, how large one is, and how many.
const MACHINE: usize = 18;
const SEGMENTS: usize = 32;
const SIZE: usize = 54;
const COUNT: usize = 56;
/// The kind of a segment that names a loader (PT_INTERP).
const INTERPRETER: u32 = 3;

/// Why a file cannot take the supervisor's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Call(Errno),
    NoProgram,
    OtherMachine,
    NotStatic,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Call(errno) => write!(f, "{}", ErrnoWords(errno.raw_os_error() as u16)),
            Wrong::NoProgram => f.write_str("it is no program"),
            Wrong::OtherMachine => f.write_str("it is a program of another machine"),
            Wrong::NotStatic => f.write_str("it is not static: it needs a loader, and libraries, which may be gone"),
        }
    }
}

/// Puts `file`, or what is now where the supervisor's program was, in its place; returns the exit code.
#[inline(never)]
pub fn upgrade(file: Option<&'static CStr>, options: &Options, out: &mut Output) -> u8 {
    let result = try_to(file, options, out);
    out.finish(result.err().unwrap_or(0))
}

fn try_to(file: Option<&'static CStr>, options: &Options, out: &mut Output) -> Result<(), u8> {
    let mut buffer = [core::mem::MaybeUninit::uninit(); TEXT_BYTES];
    let (path, stat) = find(file, options, &mut buffer)?;
    let is_same = running(options).is_some_and(|now| (now.st_dev, now.st_ino) == (stat.st_dev, stat.st_ino));
    if !is_same {
        // The new program makes the plan anew, so it must be the one that is carried out.
        agrees(options)?;
    }
    ask(options.socket, &Request::Upgrade { path }, options.timeout_ms, &mut |_, _| ())?;
    if !options.quiet {
        let mut tell = |reply: &Reply<'_>, _: Option<OwnedFd>| {
            if let Reply::Version(version) = reply {
                let _ = writeln!(out, "the supervisor is innkeep {} now, from {}", Plain(version), Plain(path));
            }
        };
        ask(options.socket, &Request::Version, Some(PROMPT_MS), &mut tell)?;
    }
    Ok(())
}

/// The file that the supervisor runs.
fn running(options: &Options) -> Option<Stat> {
    let client = Client::connect(options.socket.unwrap_or(server::PATH)).ok()?;
    rustix::fs::stat(Made::new(format_args!("/proc/{}/exe", client.server())).as_c_str()).ok()
}

/// The new program's whole path, in `buffer`, and its file.
fn find<'b>(
    file: Option<&'static CStr>,
    options: &Options,
    buffer: &'b mut [core::mem::MaybeUninit<u8>; TEXT_BYTES],
) -> Result<(&'b str, Stat), u8> {
    let wrong = |words: &dyn fmt::Display, wrong: Wrong| {
        complain(format_args!("{words}: {wrong}; nothing is changed"));
        FAILED
    };
    let link = match file {
        Some(name) => {
            let opened = files::open(name).map_err(|errno| wrong(&Shown(name), Wrong::Call(errno)))?;
            let may = rustix::fs::access(name, Access::EXEC_OK);
            may.map_err(|errno| wrong(&Shown(name), Wrong::Call(errno)))?;
            look(&opened).map_err(|reason| wrong(&Shown(name), reason))?;
            // Open until this program ends, which is soon.
            let number = rustix::fd::AsRawFd::as_raw_fd(&opened);
            core::mem::forget(opened);
            Made::new(format_args!("/proc/self/fd/{number}"))
        }
        None => match Client::connect(options.socket.unwrap_or(server::PATH)) {
            Ok(client) => Made::new(format_args!("/proc/{}/exe", client.server())),
            Err(lost) => {
                complain(format_args!("no supervisor answers: {lost}"));
                return Err(FAILED);
            }
        },
    };
    let at = |errno| wrong(&"the new program", Wrong::Call(errno));
    let (path, rest) = rustix::fs::readlinkat_raw(CWD, link.as_c_str(), buffer).map_err(at)?;
    if rest.is_empty() {
        return Err(at(Errno::NAMETOOLONG));
    }
    // What the kernel adds where another file is there now, which is the one that is meant.
    let path: &[u8] = path;
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let path = core::str::from_utf8(path).map_err(|_| at(Errno::ILSEQ))?;
    let stat = rustix::fs::stat(path).map_err(|errno| wrong(&Plain(path), Wrong::Call(errno)))?;
    Ok((path, stat))
}

/// Looks whether it is a static program of this machine.
fn look(file: &OwnedFd) -> Result<(), Wrong> {
    let (mut own, mut head) = ([0; HEAD], [0; HEAD]);
    let program = files::open(c"/proc/self/exe").map_err(Wrong::Call)?;
    let own = begin(&program, &mut own)?;
    is_good(begin(file, &mut head)?, own)
}

fn begin<'b>(file: &OwnedFd, head: &'b mut [u8; HEAD]) -> Result<&'b [u8], Wrong> {
    let length = rustix::io::pread(file, &mut head[..], 0).map_err(Wrong::Call)?;
    Ok(head.get(..length).unwrap_or_default())
}

fn is_good(head: &[u8], own: &[u8]) -> Result<(), Wrong> {
    let half = |at: usize| head.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_le_bytes(*bytes));
    if !head.starts_with(b"\x7fELF") {
        return Err(Wrong::NoProgram);
    }
    // Class and order of bytes, and the machine.
    if head.get(4..6) != own.get(4..6) || head.get(MACHINE..MACHINE + 2) != own.get(MACHINE..MACHINE + 2) {
        return Err(Wrong::OtherMachine);
    }
    let start =
        head.get(SEGMENTS..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes)) as usize;
    for index in 0..usize::from(half(COUNT)) {
        let at = start.saturating_add(index * usize::from(half(SIZE)));
        let kind = head.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_le_bytes(*bytes));
        match kind {
            Some(INTERPRETER) => return Err(Wrong::NotStatic),
            Some(_) => {}
            None => return Err(Wrong::NoProgram),
        }
    }
    Ok(())
}

/// Sees that the config says what is carried out.
fn agrees(options: &Options) -> Result<(), u8> {
    let mut is_other = false;
    ask(options.socket, &Request::Reload { dry: true }, options.timeout_ms, &mut |reply, _| match reply {
        Reply::Difference(_) => is_other = true,
        Reply::Report(text) => drop(Errors::new().write_str(text)),
        _ => {}
    })?;
    if is_other {
        complain(format_args!(
            "the config says otherwise than what runs: see `inn reload --dry-run`; nothing is changed"
        ));
        return Err(FAILED);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_static_program_of_this_machine_is_good() {
        let mut own = std::vec![0; 64 + 2 * 56];
        own[..6].copy_from_slice(b"\x7fELF\x02\x01");
        own[MACHINE] = 62;
        own[SEGMENTS] = 64;
        own[SIZE] = 56;
        own[COUNT] = 2;
        own[64] = 1;
        assert_eq!(is_good(&own, &own), Ok(()));
        let mut other = own.clone();
        other[64 + 56] = INTERPRETER as u8;
        assert_eq!(is_good(&other, &own), Err(Wrong::NotStatic));
        other[MACHINE] = 183;
        assert_eq!(is_good(&other, &own), Err(Wrong::OtherMachine));
        assert_eq!(is_good(b"#!/bin/sh\n", &own), Err(Wrong::NoProgram));
        assert_eq!(is_good(&own[..80], &own), Err(Wrong::NoProgram));
        assert_eq!(is_good(b"", &own), Err(Wrong::NoProgram));
    }
}
