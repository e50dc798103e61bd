//! `inn init`: PID 1 of somebody else's container. Runs one program, forwards signals to it, reaps what is orphaned.

use core::ffi::CStr;

use rustix::event::{PollFd, PollFlags};
use rustix::fd::AsFd;
use rustix::process::Pid;

use super::foreground::{NOT_EXECUTABLE, NOT_FOUND, NOT_STARTED, SIGNALLED};
use super::output::complain;
use super::parse::Shown;
use crate::fault::ErrnoWords;
use crate::guest::search;
use crate::sys::clone::{Flags, Side, clone};
use crate::sys::exec::{Words, execute};
use crate::sys::process::{self, Arguments};
use crate::sys::signal::{self, Set};
use crate::sys::wait::{self, End, Which};
use crate::sys::{Errno, stdio};

type List = Words<'static, { process::WORDS }>;

/// Where a command without a slash is looked for, where the environment has no PATH.
const PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Signals of the processor's own: blocked, they would kill this process all the same.
const FAULTS: [i32; 7] =
    [libc::SIGILL, libc::SIGTRAP, libc::SIGABRT, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV, libc::SIGSYS];

/// Runs the command that begins at word `command`; returns its exit code.
#[inline(never)]
pub fn init(arguments: &Arguments, command: usize) -> u8 {
    match supervise(arguments, command) {
        Ok(code) => code,
        Err((call, errno)) => {
            complain(format_args!("init: {call}: {}", ErrnoWords(errno.raw_os_error() as u16)));
            NOT_STARTED
        }
    }
}

fn supervise(arguments: &Arguments, command: usize) -> Result<u8, (&'static str, Errno)> {
    let at = |call| move |errno| (call, errno);
    // Ignored by whoever started this process, it would let the command go without its exit status.
    signal::reset(libc::SIGCHLD as u8);
    let set = FAULTS.iter().fold(Set::ALL, |set, signal| set.without(*signal as u8));
    signal::block(set).map_err(at("rt_sigprocmask"))?;
    let signals = signal::descriptor(set).map_err(at("signalfd"))?;
    if rustix::process::getpid() != Pid::INIT {
        // Orphans come to this process all the same.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(at("prctl"))?;
    }
    let (pid, pidfd) = match clone(Flags::NONE, None).map_err(at("clone3"))? {
        Side::Parent(pid, pidfd) => (pid, pidfd),
        Side::Child => become_command(arguments, command),
    };
    let mut watched = [
        PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN),
    ];
    loop {
        if let Some(end) = reap(pid, pidfd.as_fd()) {
            return Ok(match end {
                End::Code(code) => code,
                End::Signal(signal) => SIGNALLED.saturating_add(signal),
            });
        }
        match rustix::event::poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(("poll", errno)),
        }
        while let Ok(Some(signal)) = signal::next(signals.as_fd()) {
            if i32::from(signal) != libc::SIGCHLD {
                // It may have ended by now.
                let _ = signal::send(pidfd.as_fd(), signal);
            }
        }
    }
}

/// Waits for every child that has ended. How the command ended, once it has.
fn reap(command: Pid, pidfd: rustix::fd::BorrowedFd<'_>) -> Option<End> {
    let mut end = None;
    while let Ok(Some((pid, ended))) = wait::reap(Which::Ordinary) {
        end = if pid == command { Some(ended) } else { end };
    }
    // A command that never came to exec raises no SIGCHLD.
    end.or_else(|| wait::reap(Which::PidFd(pidfd)).ok().flatten().map(|(_, end)| end))
}

fn become_command(arguments: &Arguments, command: usize) -> ! {
    // Its own process group, and the terminal's foreground: keys reach it, and not this process too. Fails where there
    // is no terminal, or where it is another session's.
    let _ = rustix::process::setpgid(None, None);
    let _ = rustix::termios::tcsetpgrp(stdio::input(), rustix::process::getpid());
    let _ = signal::block(Set::NONE);
    let program = arguments.get(command).unwrap_or_default();
    let errno = run(arguments, command, program);
    complain(format_args!("init: {}: {}", Shown(program), ErrnoWords(errno.raw_os_error() as u16)));
    process::exit(if errno == Errno::NOENT { NOT_FOUND } else { NOT_EXECUTABLE })
}

/// Becomes the program. Returns why it could not.
fn run(arguments: &Arguments, command: usize, program: &CStr) -> Errno {
    let mut words = List::new();
    let mut environment = List::new();
    let listed =
        (command..arguments.len()).filter_map(|index| arguments.get(index)).try_for_each(|word| words.push(word));
    let listed = listed.and_then(|()| arguments.environment().try_for_each(|word| environment.push(word)));
    if let Err(errno) = listed {
        return errno;
    }
    let path = arguments.variable(b"PATH").map_or(PATH, CStr::to_bytes);
    search(program, path, &mut |file| execute(file, &words, &environment))
}
