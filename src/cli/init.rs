//! `inn init`: PID 1 of somebody else's container. Runs one program, forwards signals to it, reaps what is orphaned.
//!
//! | file | noun |
//! | --- | --- |
//! | [`orders`] | how it was asked to do that |
//! | [`command`] | the program, until it executes |

pub mod command;
pub mod orders;

use core::fmt;

use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::process::Pid;

use self::command::{Command, controlling_terminal};
pub use self::orders::{Orders, name_of_init};
use self::orders::{STOPPING, Talk};
use super::foreground::{NOT_STARTED, SIGNALLED};
use super::output::{Errors, complain};
use crate::fault::ErrnoWords;
use crate::host::files;
use crate::sys::memory::discard_old_stack;
use crate::sys::process::{self, Arguments};
use crate::sys::signal::{self, Set};
use crate::sys::wait::{self, End, Which};
use crate::sys::{Errno, descriptor, stdio, terminal};

const HUP: u8 = libc::SIGHUP as u8;
const CONT: u8 = libc::SIGCONT as u8;
const TERM: u8 = libc::SIGTERM as u8;

/// The call that failed, and how.
type Failed = (&'static str, Errno);

/// Does what `orders` say with the command that begins at word `first`. `blocked` are the signals that were blocked when this
/// program began. Returns the exit code.
#[inline(never)]
pub fn init(arguments: &Arguments, orders: &Orders, first: usize, blocked: Set) -> u8 {
    let mut orders = *orders;
    orders.read_environment(arguments);
    if orders.license {
        let license = env!("CARGO_PKG_LICENSE").as_bytes();
        return u8::from([license, b"\n"].iter().any(|part| files::write_all(stdio::output(), part).is_err()));
    }
    let begun = Init::begin(arguments, &orders, first, blocked);
    // The loop is not to keep what that took of the stack.
    discard_old_stack();
    match begun.and_then(Init::run) {
        Ok(code) => code,
        Err((call, errno)) => {
            complain(format_args!("init: {call}: {}", ErrnoWords(errno.raw_os_error() as u16)));
            NOT_STARTED
        }
    }
}

/// `inn init` at work.
struct Init<'a> {
    orders: &'a Orders,
    signals: OwnedFd,
    /// Number and pidfd of the command, until it has been waited for.
    command: Option<(Pid, OwnedFd)>,
    /// Its exit code.
    code: Option<u8>,
    /// The terminal, where this process's group had its foreground.
    terminal: Option<OwnedFd>,
    /// The command was sent a signal to stop.
    was_told_to_stop: bool,
    /// It has been stopped at its terminal, and this process has stopped with it.
    is_suspended: bool,
}

impl<'a> Init<'a> {
    #[inline(never)]
    fn begin(arguments: &Arguments, orders: &'a Orders, first: usize, blocked: Set) -> Result<Init<'a>, Failed> {
        let at = |call| move |errno| (call, errno);
        // Before anything else, so that nothing is lost: every signal is passed on, those of faults too.
        signal::block(Set::ALL).map_err(at("rt_sigprocmask"))?;
        let signals = signal::descriptor(Set::ALL).map_err(at("signalfd"))?;
        // Ignored by whoever started this process, it would let the command go without its exit status.
        let ignores_children = signal::stop_ignoring(libc::SIGCHLD as u8);
        end_with_parent(orders.parent_death).map_err(at("prctl"))?;
        adopt(orders).map_err(at("prctl"))?;
        let mut init = Init {
            orders,
            signals,
            command: None,
            code: None,
            terminal: None,
            was_told_to_stop: false,
            is_suspended: false,
        };
        init.take_terminal();
        if orders.pause {
            init.code = Some(0);
        } else {
            let terminal = init.terminal.as_ref().map(AsFd::as_fd);
            let command = Command { arguments, first, blocked, ignores_children, terminal };
            init.command = Some(command.start(orders).map_err(at("clone3"))?);
        }
        init.let_go();
        if let Some((pid, _)) = &init.command {
            init.tell(Talk::Command, format_args!("started process {}", number(*pid)));
        }
        Ok(init)
    }

    /// Finds out whether the command is to have the foreground of a terminal; gives the terminal up for one that is to have
    /// a session of its own.
    fn take_terminal(&mut self) {
        if !self.orders.setsid {
            let terminal = controlling_terminal();
            let is_ours = |terminal: &OwnedFd| terminal::foreground(terminal.as_fd()) == Ok(process::own_group());
            self.terminal = terminal.filter(is_ours);
        } else if terminal::give_up(stdio::input()).is_ok() && process::leads_session() {
            // The kernel has sent these, if any, before that returned; what comes from now on is somebody's.
            if let Ok(own) = signal::descriptor(Set::NONE.with(HUP).with(CONT)) {
                while let Ok(Some(_)) = signal::next(own.as_fd()) {}
            }
        }
    }

    /// Keeps nothing of what the command was given: a pipe ends when the command closes it, and what it leaves can be
    /// unmounted.
    fn let_go(&self) {
        let numbers = [Some(&self.signals), self.command.as_ref().map(|(_, pidfd)| pidfd), self.terminal.as_ref()];
        let _ = descriptor::close_all_but(&mut numbers.map(|fd| fd.map_or(-1, AsRawFd::as_raw_fd)));
        let _ = rustix::process::chdir(c"/");
    }

    fn run(mut self) -> Result<u8, Failed> {
        loop {
            let has_children = self.reap();
            if let Some(code) = self.exit_code(has_children) {
                self.give_terminal_back();
                return Ok(code);
            }
            // Without a command there is nothing else.
            let child = self.command.as_ref().map_or(&self.signals, |(_, pidfd)| pidfd);
            let mut watched = [&self.signals, child].map(|fd| PollFd::new(fd, PollFlags::IN));
            match rustix::event::poll(&mut watched, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(("poll", errno)),
            }
            while let Ok(Some((signal, sender))) = signal::next_from(self.signals.as_fd()) {
                self.hear(signal, sender);
            }
        }
    }

    /// The exit code, where this is over.
    fn exit_code(&self, has_children: bool) -> Option<u8> {
        let stays = self.orders.pause || self.orders.wait_all && has_children;
        self.code.filter(|_| !stays)
    }

    // Children.

    /// Waits for every child that has ended. Whether there are more.
    fn reap(&mut self) -> bool {
        // A command that never came to exec is no ordinary child.
        let ended =
            self.command.as_ref().is_some_and(|(_, fd)| matches!(wait::peek(Which::PidFd(fd.as_fd())), Ok(Some(_))));
        if ended {
            self.command_ended();
        }
        loop {
            match wait::peek(Which::Ordinary) {
                Ok(Some((pid, _))) if self.is_command(pid) => self.command_ended(),
                Ok(Some((pid, end))) => {
                    let _ = wait::reap(Which::Pid(pid));
                    if self.orders.warn || self.orders.tells(Talk::All) {
                        say(format_args!("reaped process {}, which {}", number(pid), Ended(end)));
                    }
                }
                Ok(None) => return true,
                Err(_) => return self.command.is_some(),
            }
        }
    }

    fn is_command(&self, pid: Pid) -> bool {
        self.command.as_ref().is_some_and(|(command, _)| *command == pid)
    }

    fn command_ended(&mut self) {
        let Some((pid, pidfd)) = self.command.take() else { return };
        if self.orders.setsid {
            // While it has not been waited for, its number is nobody else's.
            let _ = self.orders.passed_on(TERM).map(|signal| signal::send_to_group(pid, signal));
        }
        let Ok(Some((_, end))) = wait::reap(Which::PidFd(pidfd.as_fd())) else { return };
        self.tell(Talk::Command, format_args!("process {} {}", number(pid), Ended(end)));
        let code = match end {
            End::Code(code) => code,
            End::Signal(signal) => SIGNALLED.saturating_add(signal),
        };
        self.code = Some(self.orders.exit_code(code));
    }

    // Signals.

    fn hear(&mut self, signal: u8, sender: i32) {
        match i32::from(signal) {
            libc::SIGCHLD => return self.look_whether_it_stopped(),
            // Of a message that nobody reads.
            libc::SIGPIPE if sender == number(rustix::process::getpid()) => return,
            _ => {}
        }
        if self.orders.pause {
            if matches!(i32::from(signal), libc::SIGINT | libc::SIGTERM) {
                process::exit(0);
            }
            return;
        }
        let is_stop = STOPPING.contains(&signal);
        if signal == CONT {
            self.resume();
        }
        match self.orders.passed_on(signal) {
            Some(passed) => {
                self.tell(Talk::All, format_args!("signal {signal}: passing on {passed}"));
                self.was_told_to_stop |= is_stop;
                self.pass_on(passed);
            }
            None => self.tell(Talk::All, format_args!("signal {signal}: dropped")),
        }
        if signal == CONT {
            (self.was_told_to_stop, self.is_suspended) = (false, false);
        }
        if is_stop {
            signal::stop_self();
        }
    }

    fn pass_on(&self, signal: u8) {
        let Some((pid, pidfd)) = &self.command else { return pass_to_adopted(signal) };
        // What a terminal has stopped is its whole group.
        let is_for_group = self.orders.group || self.orders.setsid || self.is_suspended && signal == CONT;
        if !is_for_group || signal::send_to_group(*pid, signal).is_err() {
            // It may have ended by now; or it has not come to its group, and is all of that.
            let _ = signal::send(pidfd.as_fd(), signal);
        }
    }

    // The terminal.

    /// Where the command was stopped at the terminal, whoever started this process is to see it as stopped too.
    fn look_whether_it_stopped(&mut self) {
        let Some((pid, pidfd)) = &self.command else { return };
        let stopped = wait::stopped(pidfd.as_fd()).filter(|signal| STOPPING.contains(signal));
        let Some(signal) = stopped.filter(|_| self.terminal.is_some() && !self.was_told_to_stop) else { return };
        let nobody_resumes = rustix::process::getpid() == Pid::INIT || process::leads_session();
        if !nobody_resumes {
            self.is_suspended = true;
            signal::stop_self();
        } else if i32::from(signal) == libc::SIGTSTP {
            // Started directly it would have nobody to let it go on either, and the kernel would keep that from it.
            let _ = signal::send_to_group(*pid, CONT);
        }
    }

    /// The command gets the terminal that this process's group was given.
    fn resume(&mut self) {
        let Some(terminal) = self.terminal.as_ref().filter(|_| self.is_suspended) else { return };
        let Some((pid, _)) = &self.command else { return };
        if terminal::foreground(terminal.as_fd()) == Ok(process::own_group()) {
            let _ = terminal::set_foreground(terminal.as_fd(), number(*pid));
        }
    }

    /// Others of this process's group, the rest of a script, go on at the terminal.
    fn give_terminal_back(&self) {
        if let Some(terminal) = &self.terminal {
            let _ = terminal::set_foreground(terminal.as_fd(), process::own_group());
        }
    }

    fn tell(&self, talk: Talk, words: fmt::Arguments<'_>) {
        if self.orders.tells(talk) {
            say(words);
        }
    }
}

/// Has `signal`, if any, sent to this process when its parent ends.
fn end_with_parent(signal: u8) -> Result<(), Errno> {
    if signal == 0 {
        return Ok(());
    }
    let parent = process::parent();
    process::end_with_parent(signal)?;
    if process::parent() != parent {
        // It ended just before.
        signal::send_to(rustix::process::getpid(), signal)?;
    }
    Ok(())
}

/// Has orphans come to this process, where they do not anyway and it is asked for; or tells that they do not.
fn adopt(orders: &Orders) -> Result<(), Errno> {
    let own = rustix::process::getpid();
    if own == Pid::INIT {
        return Ok(());
    }
    if orders.subreaper || orders.wait_all || orders.pause {
        return rustix::process::set_child_subreaper(Some(own));
    }
    if orders.tells(Talk::Warnings) && rustix::process::child_subreaper().ok().flatten().is_none() {
        say(format_args!(
            "this is not PID 1, so nothing that is orphaned comes here to be reaped; -s (--subreaper) changes that"
        ));
    }
    Ok(())
}

/// Passes `signal` on to what was adopted and is left: all that PID 1 has; of another process, its children.
fn pass_to_adopted(signal: u8) {
    if rustix::process::getpid() == Pid::INIT {
        let _ = signal::send_to_all(signal);
        return;
    }
    // As many as fit in one read. They are not waited for meanwhile, so their numbers are theirs.
    let mut text = [0; 4096];
    let file = files::open(c"/proc/thread-self/children");
    let Ok(used) = file.and_then(|file| rustix::io::read(file, &mut text)) else { return };
    let words = text.get(..used).unwrap_or_default().split(|byte| *byte == b' ');
    for pid in words.filter_map(crate::text::number::<i32>).filter_map(Pid::from_raw) {
        let _ = signal::send_to(pid, signal);
    }
}

fn number(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

fn say(words: fmt::Arguments<'_>) {
    let _ = fmt::Write::write_fmt(&mut Errors::new(), format_args!("inn: init: {words}\n"));
}

/// How a process ended, in words.
struct Ended(End);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            End::Code(code) => write!(f, "exited with {code}"),
            End::Signal(signal) => write!(f, "died of signal {signal}"),
        }
    }
}
