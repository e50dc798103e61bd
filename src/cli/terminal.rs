//! The user's terminal while a program elsewhere has it: raw, relayed to the program's own terminal, and put back after.

use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::termios::{LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios};

use crate::host::files;
use crate::sys::{Errno, stdio};

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
}

impl Raw {
    fn begin() -> Result<Raw, Errno> {
        let before = rustix::termios::tcgetattr(stdio::input())?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(stdio::input(), OptionalActions::Now, &raw)?;
        Ok(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone by now.
        let _ = rustix::termios::tcsetattr(stdio::input(), OptionalActions::Now, &self.before);
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
    /// Begins to relay between the user's terminal and `master`.
    ///
    /// # Errors
    /// As fcntl(2).
    pub fn begin(master: OwnedFd) -> Result<Relay, Errno> {
        // Without a terminal on our side everything is passed on as it is.
        let relay = Relay::new(master, Raw::begin().ok())?;
        relay.follow_size();
        Ok(relay)
    }

    fn new(master: OwnedFd, raw: Option<Raw>) -> Result<Relay, Errno> {
        let flags = rustix::fs::fcntl_getfl(&master)?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
        Ok(Relay {
            raw,
            master,
            typed: heapless::Vec::new(),
            input_open: true,
            output: Some(stdio::output()),
            silent_until_ms: None,
        })
    }

    /// Begins to relay between the user's terminal and `master`, the terminal of a program that has, of the user's input,
    /// output and error, those that are no terminal.
    ///
    /// # Errors
    /// As fcntl(2).
    pub fn of_program(master: OwnedFd) -> Result<Relay, Errno> {
        if is_interactive() {
            return Relay::begin(master);
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

    /// Reads what was typed, up to `key` where the user sits at a terminal. Whether that key was.
    pub fn input_ready_until(&mut self, key: u8) -> bool {
        self.read_input();
        let end = self.typed.iter().position(|typed| *typed == key).filter(|_| self.raw.is_some());
        if let Some(end) = end {
            self.typed.truncate(end);
        }
        self.pass_input();
        end.is_some()
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

    /// Forgets what was typed and not read: what a terminal answered to what it was shown is not for whoever reads next.
    pub fn discard_input(&self) {
        if self.is_raw() {
            let _ = rustix::termios::tcflush(stdio::input(), QueueSelector::IFlush);
        }
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
    pub fn finish(mut self) {
        while self.pass_output() == Passed::Some {}
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
                // Where the user's terminal is gone the program is not held up.
                self.output = self.output.filter(|output| files::write_all(*output, bytes).is_ok());
                Passed::Some
            }
        }
    }
}

/// What a look at the program's side brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    Some,
    Nothing,
    Nobody,
}
