//! `inn logs`: what guests wrote, read from their rings.

use core::fmt::Write;
use core::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;

use super::ask::{FAILED, PROMPT_MS, ask, guest};
use super::json::Json;
use super::lossy::{Lossy, Tame};
use super::output::{Output, complain};
use super::parse::Options;
use crate::control::wire::{Name, Reply, Request};
use crate::fault::ErrnoWords;
use crate::limits;
use crate::supervise::ring::Reader;
use crate::sys::{Errno, stdio};

/// How often a follower looks for more. A ring cannot be waited for: its writer must not know of its readers.
const FOLLOW: Duration = Duration::from_millis(200);

/// A guest's log, being printed.
pub struct Log {
    name: Name,
    reader: Reader<OwnedFd>,
    tame: Tame,
    /// Whether the last byte printed was not the end of a line.
    in_line: bool,
}

/// The logs of several guests.
pub type Logs = heapless::Vec<Log, { limits::GUESTS }>;

impl Log {
    /// Whether what was printed of it last was not a whole line.
    #[must_use]
    pub fn is_in_line(&self) -> bool {
        self.in_line
    }
}

/// Prints the logs of the guests named, or of all.
#[inline(never)]
pub fn logs(names: &[&'static core::ffi::CStr], options: &Options, out: &mut Output) -> u8 {
    let mut logs = Logs::new();
    let mut code = 0;
    for word in names {
        let opened = guest(word).and_then(|name| open(name, options, &mut logs));
        code = if code == 0 { opened.err().unwrap_or(0) } else { code };
    }
    if names.is_empty() {
        code = open(Name::ALL, options, &mut logs).err().unwrap_or(0);
    }
    let tame = rustix::termios::isatty(stdio::output());
    let printer = Printer { named: logs.len() > 1, json: options.json, tame, heading: "" };
    let mut last = None;
    loop {
        for index in 0..logs.len() {
            if let Err(errno) = printer.print(&mut logs, index, &mut last, out) {
                complain(format_args!("logs: {}", ErrnoWords(errno.raw_os_error() as u16)));
                return out.finish(FAILED);
            }
        }
        out.flush();
        if !options.follow || logs.is_empty() || !out.works() || reader_is_gone() {
            return out.finish(code);
        }
    }
}

/// Asks for the rings and goes to the lines that are wanted.
///
/// # Errors
/// The exit code; the user has been told.
pub fn open(guest: Name, options: &Options, logs: &mut Logs) -> Result<(), u8> {
    let timeout_ms = options.timeout_ms.or(Some(PROMPT_MS));
    let mut failed = None;
    ask(options.socket, &Request::Logs { guest }, timeout_ms, &mut |reply, descriptor| {
        if let (Reply::Logs { guest }, Some(ring)) = (reply, descriptor) {
            failed = add(guest, ring, options, logs).err().or(failed);
        }
    })?;
    match failed {
        None => Ok(()),
        Some(errno) => {
            complain(format_args!("{}: read its log: {}", guest.as_str(), ErrnoWords(errno.raw_os_error() as u16)));
            Err(FAILED)
        }
    }
}

fn add(guest: &str, ring: OwnedFd, options: &Options, logs: &mut Logs) -> Result<(), Errno> {
    let mut reader = Reader::open(ring)?;
    if !options.follow {
        reader.stop_here()?;
    }
    if let Some(lines) = options.lines {
        reader.skip_to_last_lines(lines)?;
    }
    let name = Name::new(guest.as_bytes()).unwrap_or(Name::ALL);
    logs.push(Log { name, reader, tame: Tame::default(), in_line: false }).map_err(|_| Errno::NOBUFS)
}

/// Waits for the time between two looks; whether nobody reads standard output any more.
fn reader_is_gone() -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: FOLLOW.subsec_nanos().into() };
    // Nothing is asked for, so only the end of the other side is told.
    let mut watched = [PollFd::from_borrowed_fd(stdio::output(), PollFlags::empty())];
    match rustix::event::poll(&mut watched, Some(&timeout)) {
        Ok(0) | Err(_) => false,
        Ok(_) => true,
    }
}

/// How logs are printed.
pub struct Printer {
    /// Whether each line begins with the guest's name.
    pub named: bool,
    /// Whether each line is a JSON object.
    pub json: bool,
    /// Whether a terminal is to be protected.
    pub tame: bool,
    /// What stands before the first line, if there is one.
    pub heading: &'static str,
}

impl Printer {
    /// Prints what is new in log number `index`; `last` is the one that was printed before it.
    ///
    /// # Errors
    /// As pread(2).
    pub fn print(
        &self,
        logs: &mut Logs,
        index: usize,
        last: &mut Option<usize>,
        out: &mut Output,
    ) -> Result<(), Errno> {
        let mut buffer = [0; 4096];
        while let Some(log) = logs.get_mut(index) {
            let chunk = log.reader.read(&mut buffer)?;
            let bytes = buffer.get(..chunk.bytes).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            if last.is_none() {
                out.bytes(self.heading.as_bytes());
            }
            let before = last.replace(index);
            if self.named && before != Some(index) && !self.json {
                // Another guest's line is not gone on with.
                let before = before.and_then(|before| logs.get_mut(before));
                if before.is_some_and(|before| core::mem::take(&mut before.in_line)) {
                    out.bytes(b"\n");
                }
            }
            let Some(log) = logs.get_mut(index) else { break };
            if chunk.lost > 0 && !self.json {
                complain(format_args!("{}: {} bytes of its log were lost", log.name.as_str(), chunk.lost));
            }
            for line in bytes.split_inclusive(|&byte| byte == b'\n') {
                self.line(log, line, out);
            }
        }
        Ok(())
    }

    fn line(&self, log: &mut Log, line: &[u8], out: &mut Output) {
        if self.json {
            let mut json = Json::new(out);
            json.begin_object();
            json.key("guest");
            json.string(log.name.as_str());
            json.key("text");
            json.display(Lossy(line));
            json.end_object();
            json.end_text();
            return;
        }
        if self.named && !log.in_line {
            let _ = write!(out, "{} | ", log.name.as_str());
        }
        log.in_line = line.last() != Some(&b'\n');
        if self.tame {
            log.tame.filter(line, |part| out.bytes(part));
        } else {
            out.bytes(line);
        }
    }
}
