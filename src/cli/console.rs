//! `inn console`: the user's terminal at the console of a guest. What the guest writes comes from its log, which keeps what
//! was written before; what is typed goes to its terminal. The supervisor hands both over, and has no part in it. A guest
//! that starts again has another terminal and the same log: that is gone on with.

use core::ffi::CStr;
use core::fmt;
use core::ops::ControlFlow;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};

use super::ask::{FAILED, PROMPT_MS, ask, guest};
use super::events::Events;
use super::follow::Follower;
use super::foreground::Signals;
use super::output::complain;
use super::parse::Options;
use super::terminal::{Relay, Watch};
use crate::control::wire::{Code, Happening, Name, Reply, Request};
use crate::fault::ErrnoWords;
use crate::host::child::wait_readable;
use crate::host::files;
use crate::supervise::ring::Reader;
use crate::sys::{Errno, clock, stdio};

/// Ctrl-], as telnet and others have it: no program of a distribution needs it.
const DETACH: u8 = 0x1d;

/// Why the console is left.
enum Left {
    /// The user detached, or there is no more input.
    Detached,
    /// The guest is down.
    Down,
    /// The supervisor has ended.
    Alone,
    /// Nobody reads what would be shown.
    Unread(Errno),
}

struct Console<'o> {
    name: Name,
    options: &'o Options,
    /// Its first process: readable when that has ended; nothing until it starts again.
    process: Option<OwnedFd>,
    log: Reader<OwnedFd>,
    relay: Relay,
    signals: Signals,
    /// Where is heard that it starts again, or is down.
    events: Events,
    follower: Follower,
}

/// Attaches until the user detaches, or the guest is down.
#[inline(never)]
pub fn console(word: Option<&'static CStr>, options: &Options) -> u8 {
    let mut console = match guest(word.unwrap_or_default()).and_then(|name| attach(name, options)) {
        Ok(console) => console,
        Err(code) => return code,
    };
    let name = console.name;
    let is_raw = console.relay.is_raw();
    if is_raw {
        match options.escape.unwrap_or(Some(DETACH)) {
            Some(key) => console.tell(format_args!("attached; {} detaches", Key(key))),
            None => console.tell(format_args!("attached until it is down")),
        }
    }
    let left = console.follow();
    let (words, code) = match left {
        Left::Detached => ("detached", 0),
        Left::Down => ("down", 0),
        Left::Alone => ("the supervisor has ended", FAILED),
        Left::Unread(_) => ("", FAILED),
    };
    // Puts the terminal back.
    console.relay.finish();
    if let Left::Unread(errno) = left {
        complain(format_args!("write to standard output: {}", ErrnoWords(errno.raw_os_error() as u16)));
    } else if is_raw || !matches!(left, Left::Detached) {
        complain(format_args!("{}: {words}", name.as_str()));
    }
    code
}

/// "ctrl-]"
struct Key(u8);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ctrl-{}", char::from((self.0 + b'@').to_ascii_lowercase()))
    }
}

/// # Errors
/// The exit code; the user has been told.
fn attach(name: Name, options: &Options) -> Result<Console<'_>, u8> {
    let failed = |errno: Errno| failed(name, errno);
    let mut follower = Follower::begin(options.socket);
    let mut events = Events::open(options)?;
    // What comes from now on: also what happens while the others are asked for.
    events.skip_all().map_err(failed)?;
    let process = descriptor(name, options, &Request::Join { guest: name })?;
    let master = descriptor(name, options, &Request::Console { guest: name })?;
    let mut log = Reader::open(descriptor(name, options, &Request::Logs { guest: name })?).map_err(failed)?;
    if let Some(lines) = options.lines {
        log.skip_to(log.last_lines(lines).map_err(failed)?);
    }
    follower.add(events.memory());
    follower.add(log.memory());
    let signals = Signals::block()?;
    let relay = Relay::begin(master, options.escape.unwrap_or(Some(DETACH))).map_err(failed)?;
    Ok(Console { name, options, process: Some(process), log, relay, signals, events, follower })
}

fn failed(name: Name, errno: Errno) -> u8 {
    complain(format_args!("{}: its console: {}", name.as_str(), ErrnoWords(errno.raw_os_error() as u16)));
    FAILED
}

/// The descriptor that the supervisor answers with.
fn descriptor(name: Name, options: &Options, request: &Request) -> Result<OwnedFd, u8> {
    let mut found = None;
    ask(options.socket, request, Some(PROMPT_MS), &mut |reply, descriptor| {
        if matches!(reply, Reply::Console { .. } | Reply::Join(_) | Reply::Logs { .. }) {
            found = descriptor;
        }
    })?;
    found.ok_or_else(|| {
        complain(format_args!("{}: it ended meanwhile", name.as_str()));
        Code::WrongState.exit()
    })
}

impl Console<'_> {
    fn follow(&mut self) -> Left {
        loop {
            // Events first: what was written before one of them is shown before the console is left for it.
            let left = self.hear();
            if let Err(errno) = self.show() {
                return Left::Unread(errno);
            }
            if let ControlFlow::Break(left) = left {
                return left;
            }
            if let ControlFlow::Break(left) = self.turn() {
                // What was written last.
                return self.show().map_or_else(Left::Unread, |()| left);
            }
        }
    }

    /// Goes on with a guest that has started again.
    fn hear(&mut self) -> ControlFlow<Left> {
        while let Ok(Some(record)) = self.events.read() {
            let Some(event) = record.event().filter(|event| event.guest == self.name) else { continue };
            self.look_whether_it_ended();
            match event.what {
                Happening::Down | Happening::Failed => return ControlFlow::Break(Left::Down),
                Happening::Started { .. } => {
                    let request = |request| descriptor(self.name, self.options, &request);
                    let again = request(Request::Join { guest: self.name })
                        .and_then(|process| Ok((process, request(Request::Console { guest: self.name })?)));
                    // One that has ended already is heard of again.
                    if let Ok((process, master)) = again
                        && self.relay.go_on_with(master).is_ok()
                    {
                        self.process = Some(process);
                        self.tell(format_args!("started again"));
                    }
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    /// Tells of the guest's end, once: that it starts again, or is down, may be heard of at the same time.
    fn look_whether_it_ended(&mut self) {
        if self.process.as_ref().is_some_and(|process| wait_readable(process.as_fd(), 0)) {
            self.process = None;
            self.relay.hold_input();
            self.tell(format_args!("ended"));
        }
    }

    /// A line between what is shown. The terminal may be raw: a line's end alone would not go back to its beginning.
    fn tell(&self, words: fmt::Arguments<'_>) {
        complain(format_args!("{}: {words}{}", self.name.as_str(), if self.relay.is_raw() { "\r" } else { "" }));
    }

    /// Shows what is new; whether it could be shown.
    fn show(&mut self) -> Result<(), Errno> {
        let mut buffer = [0; 4096];
        loop {
            match self.log.read(&mut buffer) {
                Ok(chunk) if chunk.bytes == 0 => return Ok(()),
                Ok(chunk) => {
                    let bytes = buffer.get(..chunk.bytes).unwrap_or_default();
                    self.relay.note_shown(bytes);
                    files::write_all(stdio::output(), bytes)?;
                }
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Waits for something to happen, and deals with it.
    fn turn(&mut self) -> ControlFlow<Left> {
        let [input, room, _, signals, told, alone] = self.wait();
        if signals {
            while let Some(signal) = self.signals.next() {
                if self.signals.is_about_terminal(signal, Some(&mut self.relay)) {
                    continue;
                }
                return ControlFlow::Break(Left::Detached);
            }
        }
        if told {
            self.follower.heard();
        }
        if room {
            self.relay.pass_input();
        }
        let now_ms = clock::now_ms();
        if input {
            self.relay.type_in(now_ms);
        }
        if self.relay.is_detached(now_ms) || self.relay.is_input_over() {
            return ControlFlow::Break(Left::Detached);
        }
        self.look_whether_it_ended();
        if alone && !told { ControlFlow::Break(Left::Alone) } else { ControlFlow::Continue(()) }
    }

    /// What has something: the user's side, the guest's, the end of the guest, a signal, the rings, the end of the supervisor.
    fn wait(&mut self) -> [bool; 6] {
        let process = self.process.as_ref();
        let process = process.map(|process| Watch { descriptor: process.as_fd(), flags: PollFlags::IN });
        let signals = self.signals.watch();
        let all = [
            self.relay.watch_input(),
            self.relay.watch_room(),
            process,
            Some(signals),
            self.follower.watch(),
            self.follower.watch_supervisor(),
        ];
        // Where nothing is waited for another one holds the place, and what it says does not count.
        let mut watched = all.map(|watch| {
            let Watch { descriptor, flags } = watch.unwrap_or(signals);
            PollFd::from_borrowed_fd(descriptor, flags)
        });
        let detach_ms = self.relay.detach_at_ms().map(|at_ms| at_ms.saturating_sub(clock::now_ms()));
        let timeout = self
            .follower
            .look_ms()
            .into_iter()
            .chain(detach_ms)
            .min()
            .map(|ms| Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000 * 1_000_000) as i64 });
        let happened = rustix::event::poll(&mut watched, timeout.as_ref()).is_ok();
        let mut ready = all.map(|watch| happened && watch.is_some());
        for (ready, watched) in ready.iter_mut().zip(&watched) {
            *ready &= !watched.revents().is_empty();
        }
        ready
    }
}
