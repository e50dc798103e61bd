//! The user's terminal while a program elsewhere has it: raw, relayed to the program's own terminal, and put back after.

use rustix::event::PollFlags;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;
use rustix::termios::{InputModes, LocalModes, OptionalActions, OutputModes, QueueSelector, SpecialCodeIndex, Termios};

use crate::host::child::wait_readable;
use crate::host::files;
use crate::sys::clock::now_ms;
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::wait::{self, Which};
use crate::sys::{Errno, descriptor, process, signal, stdio};

/// Whether the user sits at a terminal, both ways.
#[must_use]
pub fn is_interactive() -> bool {
    rustix::termios::isatty(stdio::input()) && rustix::termios::isatty(stdio::output())
}

/// The user's terminal, where one of input, output and error is one.
#[must_use]
pub fn of_user() -> Option<BorrowedFd<'static>> {
    [stdio::output(), stdio::error(), stdio::input()].into_iter().find(|fd| rustix::termios::isatty(fd))
}

/// The terminal's settings, put back when this is dropped.
#[derive(Debug)]
struct Raw {
    before: Termios,
    raw: Termios,
    guard: Option<Guard>,
}

impl Raw {
    fn begin() -> Result<Raw, Errno> {
        let before = rustix::termios::tcgetattr(stdio::input())?;
        let mut raw = before.clone();
        raw.make_raw();
        // Before anything is changed that it is to put back.
        let guard = Guard::begin(&before, &raw).ok();
        set(&raw)?;
        Ok(Raw { before, raw, guard })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone by now.
        let _ = set(&self.before);
        if let Some(guard) = self.guard.take() {
            guard.end();
        }
    }
}

/// The user's keys, one by one and not shown, as long as this lives. Signals stay signals.
#[derive(Debug)]
pub struct Keys {
    before: Option<Termios>,
    is_open: core::cell::Cell<bool>,
}

impl Keys {
    /// Of a standard input that is a terminal; another has no keys.
    #[must_use]
    pub fn begin() -> Keys {
        let before = rustix::termios::tcgetattr(stdio::input()).ok();
        if let Some(before) = &before {
            let mut keys = before.clone();
            keys.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO);
            let _ = rustix::termios::tcsetattr(stdio::input(), OptionalActions::Now, &keys);
        }
        let is_open = core::cell::Cell::new(before.is_some());
        Keys { before, is_open }
    }

    /// Whether any may come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// One that has come; nothing where none has, or there will be no more.
    pub fn read(&self) -> Option<u8> {
        let mut buffer = [0];
        match rustix::io::read(stdio::input(), &mut buffer) {
            Ok(1) => Some(buffer[0]),
            Err(Errno::INTR | Errno::AGAIN) => None,
            Ok(_) | Err(_) => {
                self.is_open.set(false);
                None
            }
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // The terminal may be gone by now.
            let _ = rustix::termios::tcsetattr(stdio::input(), OptionalActions::Flush, before);
        }
    }
}

fn set(settings: &Termios) -> Result<(), Errno> {
    rustix::termios::tcsetattr(stdio::input(), OptionalActions::Now, settings)
}

/// A child that puts the terminal's settings back where this process is killed before it can.
#[derive(Debug)]
struct Guard {
    child: OwnedFd,
    /// Says that it has nothing to do; its end without a word says the opposite.
    word: OwnedFd,
}

impl Guard {
    fn begin(before: &Termios, raw: &Termios) -> Result<Guard, Errno> {
        let (heard, word) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        match clone(Flags::NONE, None)? {
            Side::Parent(_, child) => Ok(Guard { child, word }),
            Side::Child => {
                // It outlives what it guards against, and may change a terminal whose foreground is another's.
                let _ = signal::block(signal::Set::ALL);
                // Of the pipe above all: it must be the parent's alone.
                let _ = descriptor::close_all_but(&mut [heard.as_raw_fd()]);
                let end = rustix::io::retry_on_intr(|| rustix::io::read(&heard, &mut [0]));
                // Whoever has changed them since knows better.
                let is_ours = rustix::termios::tcgetattr(stdio::input()).is_ok_and(|now| modes(&now) == modes(raw));
                if end == Ok(0) && is_ours {
                    let _ = set(before);
                    let _ = rustix::termios::tcflush(stdio::input(), QueueSelector::IFlush);
                }
                process::exit(0)
            }
        }
    }

    fn end(self) {
        let _ = rustix::io::write(&self.word, b".");
        let _ = wait_readable(self.child.as_fd(), now_ms().saturating_add(GUARD_MS));
        let _ = wait::reap(Which::PidFd(self.child.as_fd()));
    }
}

fn modes(settings: &Termios) -> (InputModes, OutputModes, LocalModes) {
    (settings.input_modes, settings.output_modes, settings.local_modes)
}

/// How long the child may take to end; it has nothing to do.
const GUARD_MS: u64 = 1_000;

/// How long a second detach key may take for both to be typed as one, milliseconds.
const TWICE_MS: u64 = 400;

/// What undoes what a program may have left a terminal in: its other screen, reports of mouse, focus and pastes, keys of an
/// application, a hidden cursor, colours, another character set (xterm's ctlseqs; ECMA-48). Only for a terminal that was shown
/// such sequences anyway.
const RESET: &[u8] =
    b"\x1b[?1047l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1006l\x1b[?2004l\x1b[?1l\x1b>\x1b[?25h\x1b[0m\x1b(B";
/// A terminal that has answered nothing for so long has no answer under way, milliseconds; and how often that is waited for.
const ANSWER_MS: (u64, u32) = (30, 10);

/// Milliseconds after which a terminal that nobody has open is looked at again: a system may close its console and open it later.
const REOPENED_MS: u64 = 100;

/// Both directions between the user's terminal and the program's.
#[derive(Debug)]
pub struct Relay {
    raw: Option<Raw>,
    master: OwnedFd,
    /// What was typed and not yet taken.
    typed: heapless::Vec<u8, 1024>,
    input_open: bool,
    /// Where the program's output goes, as long as that takes it.
    output: Option<BorrowedFd<'static>>,
    /// Nobody has the program's terminal open: until this time it is not looked at.
    silent_until_ms: Option<u64>,
    /// The key that detaches, on a terminal.
    key: Option<u8>,
    /// It was typed: until this time it may be typed once more, and mean itself.
    detach_at_ms: Option<u64>,
    /// It was typed, and nothing or something else behind it.
    is_detached: bool,
    /// There is no program that takes what is typed.
    holds_input: bool,
    /// The terminal was shown more than text.
    was_commanded: bool,
}

/// What a relay's descriptors are to be watched for.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// Which.
    pub descriptor: BorrowedFd<'a>,
    /// For what.
    pub flags: PollFlags,
}

impl Relay {
    /// Begins to relay between the user's terminal and `master`; there `key` detaches.
    ///
    /// # Errors
    /// As fcntl(2).
    pub fn begin(master: OwnedFd, key: Option<u8>) -> Result<Relay, Errno> {
        // Without a terminal on our side everything is passed on as it is.
        let relay = Relay { key, ..Relay::new(master, Raw::begin().ok())? };
        relay.follow_size();
        Ok(relay)
    }

    fn new(master: OwnedFd, raw: Option<Raw>) -> Result<Relay, Errno> {
        unblock(&master)?;
        Ok(Relay {
            raw,
            master,
            typed: heapless::Vec::new(),
            input_open: true,
            output: Some(stdio::output()),
            silent_until_ms: None,
            key: None,
            detach_at_ms: None,
            is_detached: false,
            holds_input: false,
            was_commanded: false,
        })
    }

    /// Begins to relay between the user's terminal and `master`, the terminal of a program that has, of the user's input,
    /// output and error, those that are no terminal.
    ///
    /// # Errors
    /// As fcntl(2).
    pub fn of_program(master: OwnedFd) -> Result<Relay, Errno> {
        if is_interactive() {
            return Relay::begin(master, None);
        }
        // The user's terminal stays as it is, for another program of a pipe may have it too.
        let input_open = rustix::termios::isatty(stdio::input());
        let relay = Relay { input_open, output: of_user(), ..Relay::new(master, None)? };
        relay.follow_size();
        Ok(relay)
    }

    /// Gives the program's terminal the size of the user's.
    pub fn follow_size(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(of_user().unwrap_or(stdio::input())) {
            // A size that cannot be set is one that the program does without.
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    /// The user's side: nothing while what was typed has not been taken.
    #[must_use]
    pub fn watch_input(&self) -> Option<Watch<'static>> {
        let wanted = self.input_open && self.typed.is_empty();
        wanted.then(|| Watch { descriptor: stdio::input(), flags: PollFlags::IN })
    }

    /// The program's side.
    #[must_use]
    pub fn watch_master(&self) -> Option<Watch<'_>> {
        let waits = if self.typed.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let wanted = self.silent_until_ms.is_none();
        wanted.then(|| Watch { descriptor: self.master.as_fd(), flags: PollFlags::IN | waits })
    }

    /// When the program's side is to be looked at again.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        self.silent_until_ms
    }

    /// Reads what was typed. Whether the interrupt key was, on a terminal whose program left it that meaning.
    pub fn input_ready(&mut self) -> bool {
        self.read_input();
        let interrupted = self.interrupts();
        self.pass_input();
        interrupted
    }

    fn read_input(&mut self) {
        let mut buffer = [0; 1024];
        match rustix::io::read(stdio::input(), &mut buffer) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The terminal is gone, or at its end.
            Ok(0) | Err(_) => self.input_open = false,
            // It fits: nothing was pending.
            Ok(length) => drop(self.typed.extend_from_slice(buffer.get(..length).unwrap_or_default())),
        }
    }

    /// Reads what was typed, and looks for the key that detaches: typed twice it is one that is typed.
    pub fn type_in(&mut self, now_ms: u64) {
        self.read_input();
        if let (Some(key), true) = (self.key, self.is_raw()) {
            let mut kept = heapless::Vec::new();
            for &byte in &self.typed {
                self.is_detached |= self.detach_at_ms.is_some() && byte != key;
                if self.is_detached {
                    // What is typed behind it is for nobody.
                    break;
                }
                if byte == key && self.detach_at_ms.is_none() {
                    self.detach_at_ms = Some(now_ms.saturating_add(TWICE_MS));
                } else {
                    self.detach_at_ms = None;
                    // There is room: it is no more than what was typed.
                    let _ = kept.push(byte);
                }
            }
            self.typed = kept;
        }
        if self.holds_input {
            self.typed.clear();
        }
        self.pass_input();
    }

    /// Whether the user wants to detach.
    #[must_use]
    pub fn is_detached(&self, now_ms: u64) -> bool {
        self.is_detached || self.detach_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// When [`Relay::is_detached`] is to be asked again; nothing for never.
    #[must_use]
    pub fn detach_at_ms(&self) -> Option<u64> {
        self.detach_at_ms
    }

    /// The program has ended: what is typed is for nobody, until [`Relay::go_on_with`].
    pub fn hold_input(&mut self) {
        self.holds_input = true;
        self.typed.clear();
    }

    /// Goes on with another program's terminal.
    ///
    /// # Errors
    /// As fcntl(2).
    pub fn go_on_with(&mut self, master: OwnedFd) -> Result<(), Errno> {
        unblock(&master)?;
        self.master = master;
        self.holds_input = false;
        self.follow_size();
        Ok(())
    }

    /// Whether no more input will come, and all that came was taken.
    #[must_use]
    pub fn is_input_over(&self) -> bool {
        !self.input_open && self.typed.is_empty()
    }

    /// The program's side, for one that only gives it input: nothing while all was taken.
    #[must_use]
    pub fn watch_room(&self) -> Option<Watch<'_>> {
        (!self.typed.is_empty()).then(|| Watch { descriptor: self.master.as_fd(), flags: PollFlags::OUT })
    }

    /// Whether the user sits at a terminal.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        self.raw.is_some()
    }

    /// Remembers whether a terminal that was shown `bytes` has to be put back, and may answer.
    pub fn note_shown(&mut self, bytes: &[u8]) {
        self.was_commanded |= bytes.contains(&0x1b);
    }

    /// Stops this process as the signal for it says, with the terminal as it was meanwhile.
    pub fn suspend(&mut self) {
        if let Some(raw) = &self.raw {
            let _ = set(&raw.before);
        }
        signal::stop_self();
    }

    /// The process goes on after it was stopped: somebody else had the terminal.
    pub fn resume(&mut self) {
        if let Some(raw) = &self.raw {
            let _ = set(&raw.raw);
        }
        self.follow_size();
    }

    /// Whether process `pid` is what keys are meant for.
    #[must_use]
    pub fn is_foreground(&self, pid: u32) -> bool {
        let group = rustix::termios::tcgetpgrp(&self.master).map(|group| group.as_raw_nonzero().get());
        group.is_ok_and(|group| u32::try_from(group) == Ok(pid))
    }

    fn interrupts(&self) -> bool {
        // Asked of the master, the settings are those of the program's side.
        rustix::termios::tcgetattr(&self.master).is_ok_and(|settings| {
            let key = settings.special_codes[SpecialCodeIndex::VINTR];
            settings.local_modes.contains(LocalModes::ISIG) && self.typed.contains(&key)
        })
    }

    /// Takes and gives what the program's side has and wants.
    pub fn master_ready(&mut self, now_ms: u64) {
        self.pass_input();
        if self.pass_output() == Passed::Nobody {
            self.silent_until_ms = Some(now_ms.saturating_add(REOPENED_MS));
        }
    }

    /// To be called at [`Relay::deadline_ms`].
    pub fn look_again(&mut self, now_ms: u64) {
        if self.silent_until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
            self.silent_until_ms = None;
        }
    }

    /// The program has ended: passes on what it wrote last.
    pub fn finish_output(&mut self) {
        while self.pass_output() == Passed::Some {}
    }

    /// Gives the terminal back: as it was, and without what it has answered to what it was shown and nobody has read. That is
    /// not for whoever reads next.
    pub fn finish(self) {
        if self.raw.is_none() {
            return;
        }
        if self.was_commanded {
            let _ = files::write_all(stdio::output(), RESET);
            let answers = |_: &u32| wait_readable(stdio::input(), now_ms().saturating_add(ANSWER_MS.0));
            for _ in (0..ANSWER_MS.1).take_while(answers) {
                let _ = rustix::termios::tcflush(stdio::input(), QueueSelector::IFlush);
            }
        }
        let _ = rustix::termios::tcflush(stdio::input(), QueueSelector::IFlush);
    }

    /// Passes on what was typed, as far as there is room.
    pub fn pass_input(&mut self) {
        match rustix::io::write(&self.master, &self.typed) {
            Ok(length) => {
                let left = self.typed.len().saturating_sub(length);
                self.typed.copy_within(length.., 0);
                self.typed.truncate(left);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Nobody will ever take it.
            Err(_) => self.typed.clear(),
        }
    }

    fn pass_output(&mut self) -> Passed {
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.master, &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => Passed::Nothing,
            // EIO: every descriptor of the other side is closed (pty(7)).
            Ok(0) | Err(_) => Passed::Nobody,
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                self.note_shown(bytes);
                // Where the user's terminal is gone the program is not held up.
                self.output = self.output.filter(|output| files::write_all(*output, bytes).is_ok());
                Passed::Some
            }
        }
    }
}

fn unblock(master: &OwnedFd) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(master)?;
    rustix::fs::fcntl_setfl(master, flags | OFlags::NONBLOCK)
}

/// What a look at the program's side brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    Some,
    Nothing,
    Nobody,
}
