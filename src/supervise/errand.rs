//! What PID 1 has done by a child of its own: a command of the host, or a file on storage. The child is there until the
//! command has ended, so that PID 1 hears of its exit code by the child's, whoever reaps orphans.

use core::fmt;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};

use super::journal::Journal;
use super::poll::Poll;
use crate::guest::command::{self, List};
use crate::host::child::wait_readable;
use crate::host::{ending, files};
use crate::plan::{Kind, Plan};
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::wait::{self, End, Which};
use crate::sys::{Errno, descriptor, device, process, rlimit, signal};
use crate::text::{List as Words, Text};

/// A child at work.
#[derive(Debug)]
pub struct Errand {
    child: OwnedFd,
    /// It is to be over by then.
    pub by_ms: u64,
}

impl Errand {
    /// Starts a child that does `work`, and exits with what that returns. It has to see to it itself that it is over in time.
    ///
    /// # Errors
    /// Of clone3(2).
    pub fn start(by_ms: u64, work: impl FnOnce() -> u8) -> Result<Errand, Errno> {
        match clone(Flags::NONE, None)? {
            Side::Child => process::exit(work()),
            Side::Parent(_, child) => Ok(Errand { child, by_ms }),
        }
    }

    /// Readable when it has ended.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.child
    }

    /// How it has ended; nothing while it goes on.
    pub fn end(&self) -> Option<End> {
        match wait::reap(Which::PidFd(self.child.as_fd())) {
            Ok(None) => None,
            Ok(Some((_, end))) => Some(end),
            Err(_) => Some(End::Code(u8::MAX)),
        }
    }

    /// No longer watched.
    pub fn close(self, poll: &Poll) {
        poll.close(self.child);
    }

    /// Ends it.
    pub fn kill(&self) {
        let _ = signal::send(self.child.as_fd(), libc::SIGKILL as u8);
    }
}

/// Says in the file on storage how this boot ends, and runs `command`, if there is one. For the child.
pub fn record(plan: &Plan, journal: &Journal<'_>, words: &str, command: Words<Text>, by_ms: u64) -> u8 {
    let state = plan.state_path();
    if plan.keeps_endings()
        && let Err(error) = ending::write(state, words)
    {
        let state = state.to_str().unwrap_or("?");
        let error = crate::fault::ErrnoWords(error.raw_os_error() as u16);
        journal.error(format_args!("how this boot ends is not kept: {state}: {error}"));
    }
    if command.is_empty() { 0 } else { run(plan, journal, "mark-bad", command, by_ms) }
}

/// Runs `command`, called `what`, until `by_ms` at most, with what it prints on the console. Returns its exit code, or 255.
/// For the child.
pub fn run(plan: &Plan, journal: &Journal<'_>, what: &str, command: Words<Text>, by_ms: u64) -> u8 {
    let failed = |why: fmt::Arguments<'_>| {
        journal.error(format_args!("{what}: {why}"));
        u8::MAX
    };
    let (pid, pidfd) = match clone(Flags::NONE, None) {
        Ok(Side::Parent(pid, pidfd)) => (pid, pidfd),
        Ok(Side::Child) => become_command(plan, journal, what, command),
        Err(error) => return failed(format_args!("clone3: {}", crate::fault::ErrnoWords(error.raw_os_error() as u16))),
    };
    let in_time = wait_readable(pidfd.as_fd(), by_ms);
    if !in_time {
        // It and what it has started, as far as that stayed in its session's first group.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        return failed(format_args!("it takes too long; killed"));
    }
    match wait::reap(Which::PidFd(pidfd.as_fd())) {
        Ok(Some((_, End::Code(0)))) => 0,
        Ok(Some((_, End::Code(code)))) => {
            failed(format_args!("it exited with code {code}"));
            code
        }
        Ok(Some((_, End::Signal(signal)))) => failed(format_args!("signal {signal} killed it")),
        Ok(None) | Err(_) => u8::MAX,
    }
}

fn become_command(plan: &Plan, journal: &Journal<'_>, what: &str, words: Words<Text>) -> ! {
    let mut arguments = List::new();
    for word in plan.words.get(words) {
        // A command has no more words than there is room for.
        let _ = arguments.push(plan.strings.c_str(*word));
    }
    let program = plan.words.get(words).first().map_or(c"", |word| plan.strings.c_str(*word));
    if alone().is_ok() {
        let fault = command::run(program, &arguments, core::iter::empty(), Kind::Service);
        journal.error(format_args!("{what}: could not {fault}"));
    }
    process::exit(127)
}

/// Has nothing of PID 1 but its console: no signal that is blocked, no limit that was raised.
fn alone() -> Result<(), Errno> {
    rustix::process::setsid()?;
    let null = device::open(c"/dev/null", OFlags::RDONLY)?;
    descriptor::place(null.as_fd(), 0)?;
    let _ = files::write_setting(CWD, c"/proc/self/oom_score_adj", b"0");
    rlimit::set_open_files(None)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::chdir(c"/")?;
    signal::reset_all();
    signal::block(signal::Set::NONE)
}
