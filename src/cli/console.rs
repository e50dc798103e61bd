//! `inn console`: the user's terminal at the console of a guest. What the guest writes comes from its log, which keeps what
//! was written before; what is typed goes to its terminal. The supervisor hands both over, and has no part in it.

use core::ffi::CStr;
use core::ops::ControlFlow;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};

use super::ask::{FAILED, PROMPT_MS, ask, guest};
use super::foreground::Signals;
use super::output::complain;
use super::parse::Options;
use super::terminal::{Relay, Watch};
use crate::control::wire::{Name, Reply, Request};
use crate::fault::ErrnoWords;
use crate::host::files;
use crate::supervise::ring::Reader;
use crate::sys::{Errno, stdio};

/// Ctrl-], as telnet and others have it: no program of a distribution needs it.
const DETACH: u8 = 0x1d;
/// How often is looked for more output: at first after something was typed or shown, and at most. A ring cannot be waited
/// for: its writer must not know of its readers.
const LOOK_MS: (u64, u64) = (10, 200);

/// Why the console is left.
enum Left {
    /// The user detached, or there is no more input.
    Detached,
    /// The guest has ended.
    Ended,
    /// Nobody reads what would be shown.
    Unread,
}

struct Console {
    /// Its first process: readable when that has ended.
    process: OwnedFd,
    log: Reader<OwnedFd>,
    relay: Relay,
    signals: Signals,
    /// How long until the next look at the log.
    look_ms: u64,
}

/// Attaches until the user detaches, or the guest ends.
#[inline(never)]
pub fn console(word: Option<&'static CStr>, options: &Options) -> u8 {
    let attached = guest(word.unwrap_or_default()).and_then(|name| Ok((name, attach(name, options)?)));
    let (name, mut console) = match attached {
        Ok(attached) => attached,
        Err(code) => return code,
    };
    let is_raw = console.relay.is_raw();
    if is_raw {
        // The terminal is raw: a line's end alone would not go back to its beginning.
        complain(format_args!("{}: attached; ctrl-] detaches\r", name.as_str()));
    }
    let left = console.follow();
    console.relay.discard_input();
    // Puts the terminal back.
    drop(console);
    match left {
        Left::Detached if is_raw => complain(format_args!("{}: detached", name.as_str())),
        Left::Detached | Left::Unread => {}
        Left::Ended => complain(format_args!("{}: ended", name.as_str())),
    }
    u8::from(matches!(left, Left::Unread))
}

/// # Errors
/// The exit code; the user has been told.
fn attach(name: Name, options: &Options) -> Result<Console, u8> {
    let failed = |errno: Errno| {
        complain(format_args!("{}: its console: {}", name.as_str(), ErrnoWords(errno.raw_os_error() as u16)));
        FAILED
    };
    let request = |request| descriptor(options, &request)?.ok_or(Errno::NODEV).map_err(failed);
    // The process first: a guest that ends and starts again while the others are asked for is seen by that.
    let process = request(Request::Join { guest: name })?;
    let master = request(Request::Console { guest: name })?;
    let ring = request(Request::Logs { guest: name })?;
    let mut log = Reader::open(ring).map_err(failed)?;
    if let Some(lines) = options.lines {
        log.skip_to(log.last_lines(lines).map_err(failed)?);
    }
    let signals = Signals::block()?;
    let relay = Relay::begin(master).map_err(failed)?;
    Ok(Console { process, log, relay, signals, look_ms: LOOK_MS.0 })
}

/// The descriptor that the supervisor answers with.
fn descriptor(options: &Options, request: &Request) -> Result<Option<OwnedFd>, u8> {
    let mut found = None;
    ask(options.socket, request, Some(PROMPT_MS), &mut |reply, descriptor| {
        if matches!(reply, Reply::Console { .. } | Reply::Join(_) | Reply::Logs { .. }) {
            found = descriptor;
        }
    })?;
    Ok(found)
}

impl Console {
    fn follow(&mut self) -> Left {
        loop {
            if !self.show() {
                return Left::Unread;
            }
            if let ControlFlow::Break(left) = self.turn() {
                // What was written last.
                return if self.show() { left } else { Left::Unread };
            }
        }
    }

    /// Shows what is new; whether it could be shown.
    fn show(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.log.read(&mut buffer) {
                Ok(chunk) if chunk.bytes == 0 => return true,
                Ok(chunk) => {
                    self.look_ms = LOOK_MS.0;
                    let bytes = buffer.get(..chunk.bytes).unwrap_or_default();
                    if files::write_all(stdio::output(), bytes).is_err() {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
    }

    /// Waits for something to happen, and deals with it.
    fn turn(&mut self) -> ControlFlow<Left> {
        let [input, room, process, signals] = self.wait();
        if signals {
            while let Some(signal) = self.signals.next() {
                if i32::from(signal) != libc::SIGWINCH {
                    return ControlFlow::Break(Left::Detached);
                }
                self.relay.follow_size();
            }
        }
        if room {
            self.relay.pass_input();
        }
        if input {
            self.look_ms = LOOK_MS.0;
            if self.relay.input_ready_until(DETACH) {
                return ControlFlow::Break(Left::Detached);
            }
        }
        if process {
            return ControlFlow::Break(Left::Ended);
        }
        if self.relay.is_input_over() { ControlFlow::Break(Left::Detached) } else { ControlFlow::Continue(()) }
    }

    /// What has something: the user's side, the guest's, the end of the guest, a signal.
    fn wait(&mut self) -> [bool; 4] {
        let process = Watch { descriptor: self.process.as_fd(), flags: PollFlags::IN };
        let all = [self.relay.watch_input(), self.relay.watch_room(), Some(process), Some(self.signals.watch())];
        // Where nothing is waited for another one holds the place, and what it says does not count.
        let mut watched = all.map(|watch| {
            let Watch { descriptor, flags } = watch.unwrap_or(process);
            PollFd::from_borrowed_fd(descriptor, flags)
        });
        let timeout = Timespec { tv_sec: 0, tv_nsec: self.look_ms as i64 * 1_000_000 };
        let happened = rustix::event::poll(&mut watched, Some(&timeout)).is_ok();
        let mut ready = all.map(|watch| happened && watch.is_some());
        for (ready, watched) in ready.iter_mut().zip(&watched) {
            *ready &= !watched.revents().is_empty();
        }
        self.look_ms = (2 * self.look_ms).min(LOOK_MS.1);
        ready
    }
}
