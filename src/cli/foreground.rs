//! A program that was started for the user: its start watched, signals and terminal passed on, its exit code returned.

use core::ffi::CStr;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};

use super::output::complain;
use super::terminal::{Relay, Watch};
use crate::control::wire::Place;
use crate::fault::{ErrnoWords, Fault, Step};
use crate::guest::{Report, Starting, hook, receive};
use crate::host::files::write_all;
use crate::limits;
use crate::supervise::unheard::is_unheard;
use crate::sys::Errno;
use crate::sys::clock::now_ms;
use crate::sys::signal::{self, Set};
use crate::sys::stdio;
use crate::sys::wait::{self, End, Which};

/// Exit codes of a program that could not be run, as shells and other runners have them.
pub const NOT_STARTED: u8 = 125;
/// See [`NOT_STARTED`].
pub const NOT_EXECUTABLE: u8 = 126;
/// See [`NOT_STARTED`].
pub const NOT_FOUND: u8 = 127;
/// Exit code of a program that a signal killed: this, and the signal's number.
pub const SIGNALLED: u8 = 128;

/// Obeyed, or nothing to us: who has its terminal taken away stops, and a closed pipe is an error of write(2).
const NOT_HEARD: [i32; 5] = [libc::SIGTTIN, libc::SIGTTOU, libc::SIGCHLD, libc::SIGURG, libc::SIGPIPE];
/// Those that mean that the program is to end.
const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// Signals that are waited for rather than obeyed. They must be blocked before anything is started, so that none is lost.
#[derive(Debug)]
pub struct Signals {
    descriptor: OwnedFd,
}

impl Signals {
    /// Blocks them. The programs that are started unblock them again.
    ///
    /// # Errors
    /// The exit code; the user has been told.
    pub fn block() -> Result<Signals, u8> {
        Signals::try_block().map_err(|errno| {
            complain(format_args!("signalfd: {}", ErrnoWords(errno.raw_os_error() as u16)));
            NOT_STARTED
        })
    }

    /// The next one that came; nothing where none did.
    #[must_use]
    pub fn next(&self) -> Option<u8> {
        signal::next(self.descriptor.as_fd()).ok().flatten()
    }

    /// Whether `signal` was about the terminal, and is done with.
    pub fn is_about_terminal(&self, signal: u8, relay: Option<&mut Relay>) -> bool {
        match (i32::from(signal), relay) {
            (libc::SIGWINCH, Some(relay)) => relay.follow_size(),
            (libc::SIGTSTP, Some(relay)) => relay.suspend(),
            (libc::SIGTSTP, None) => signal::stop_self(),
            (libc::SIGCONT, Some(relay)) => relay.resume(),
            (libc::SIGWINCH | libc::SIGCONT, None) => {}
            _ => return false,
        }
        true
    }

    /// Readable when one has come.
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        readable(&self.descriptor)
    }

    fn try_block() -> Result<Signals, Errno> {
        // All others: one that ended this process would leave the terminal as the program has it.
        let set = NOT_HEARD.iter().fold(Set::ALL, |set, signal| set.without(*signal as u8));
        // What our caller ignores, a program in a guest must not inherit.
        signal::reset_all();
        // A closed pipe is an error of write(2), for us.
        signal::block(set.with(libc::SIGPIPE as u8))?;
        Ok(Signals { descriptor: signal::descriptor(set)? })
    }
}

/// How a program can be made to end when asking it does not help.
pub trait Kill {
    /// Kills all of it.
    fn kill(&self);
    /// How long it may take to end after it was asked, milliseconds; nothing: as long as it likes.
    fn patience_ms(&self) -> Option<u64>;
    /// How long its start may take, milliseconds.
    fn start_ms(&self) -> u64 {
        limits::START_TIMEOUT_MS
    }
    /// Whether the program would ignore a signal that it does not handle, as the init of a pid namespace does.
    fn is_init(&self) -> bool;
}

/// Follows a program from its start to its end. Returns its exit code, or what stands for it, and the fault of a failed start.
pub fn follow(starting: Starting, signals: &Signals, kill: &dyn Kill) -> (u8, Option<Fault>) {
    let Starting { helper, reports, .. } = starting;
    let mut run = Run {
        signals,
        kill,
        helper: Some(helper),
        reports: Some(reports),
        program: None,
        console: None,
        fault: None,
        asked: None,
        kill_at_ms: None,
        start_by_ms: now_ms().saturating_add(kill.start_ms()),
        end: None,
    };
    while !run.is_over() {
        run.turn();
    }
    if let Some(mut console) = run.console.take() {
        console.finish_output();
        console.finish();
    }
    (run.code(), run.fault)
}

/// Follows a child that runs hooks to its end. Returns the first that failed.
#[must_use]
pub fn follow_hooks(running: &hook::Running) -> Option<Fault> {
    let mut fault = None;
    loop {
        let mut reports = [PollFd::new(&running.reports, PollFlags::IN)];
        // Interrupted: there is one more look.
        let _ = rustix::event::poll(&mut reports, None);
        match receive(running.reports.as_fd()) {
            Report::Output(text) => print(&text),
            Report::Failed(first) => fault = fault.or(Some(first)),
            Report::Closed => break,
            Report::Nothing | Report::Born { .. } | Report::Console(_) | Report::Notify(_) | Report::Line(_) => {}
        }
    }
    let _ = rustix::event::poll(&mut [PollFd::new(&running.child, PollFlags::IN)], None);
    let _ = wait::reap(Which::PidFd(running.child.as_fd()));
    fault
}

/// Tells the user why `program` was not started.
pub fn tell(who: &CStr, program: Option<&CStr>, fault: Fault, place: Option<Place<'_>>) {
    let is_at_fault =
        fault.step.is_hook() || matches!(fault.step, Step::NoCommand | Step::Execute | Step::NoInterpreter);
    let why = program.filter(|_| is_at_fault).and_then(|program| program.to_str().ok()).unwrap_or_default();
    let who = who.to_str().unwrap_or_default();
    super::ask::explain(&crate::control::wire::Failure {
        code: crate::control::wire::Code::Failed,
        guest: who,
        why,
        fault: Some(fault),
        place,
    });
}

/// The exit code for a start that failed.
#[must_use]
pub fn failed_code(fault: Fault) -> u8 {
    match fault.step {
        Step::NoCommand => NOT_FOUND,
        Step::Execute | Step::NoInterpreter => NOT_EXECUTABLE,
        _ => NOT_STARTED,
    }
}

struct Run<'a> {
    signals: &'a Signals,
    kill: &'a dyn Kill,
    helper: Option<OwnedFd>,
    reports: Option<OwnedFd>,
    /// Number and pidfd of the program.
    program: Option<(u32, OwnedFd)>,
    console: Option<Relay>,
    fault: Option<Fault>,
    /// The signal that asked it to end.
    asked: Option<u8>,
    kill_at_ms: Option<u64>,
    start_by_ms: u64,
    end: Option<End>,
}

/// What is watched.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Helper,
    Reports,
    Program,
    Input,
    Master,
}

const SOURCES: usize = 6;
/// Above what the socket of the reports holds: 200 KiB, of which each takes most of one.
const REPORTS: usize = 1024;

impl Run<'_> {
    fn is_over(&self) -> bool {
        let ended = self.program.is_none() || self.end.is_some();
        self.helper.is_none() && self.reports.is_none() && ended
    }

    fn code(&self) -> u8 {
        match (self.fault, self.asked, self.end) {
            (Some(fault), ..) => failed_code(fault),
            (None, Some(signal), None) => SIGNALLED.saturating_add(signal),
            (None, _, Some(End::Code(code))) => code,
            // What was killed because it did not heed a signal ended of that signal, as far as the user is concerned.
            (None, Some(asked), Some(End::Signal(signal))) if i32::from(signal) == libc::SIGKILL => SIGNALLED + asked,
            (None, _, Some(End::Signal(signal))) => SIGNALLED.saturating_add(signal),
            (None, None, None) => NOT_STARTED,
        }
    }

    /// Waits for something to happen, and deals with it.
    fn turn(&mut self) {
        let mut sources = heapless::Vec::<Source, SOURCES>::new();
        let mut ready = heapless::Vec::<Source, SOURCES>::new();
        {
            let mut watched = heapless::Vec::<PollFd<'_>, SOURCES>::new();
            let program = self.program.as_ref().filter(|_| self.end.is_none());
            let candidates = [
                (Source::Signals, Some(self.signals.watch())),
                (Source::Helper, self.helper.as_ref().map(readable)),
                (Source::Reports, self.reports.as_ref().map(readable)),
                (Source::Program, program.map(|(_, pidfd)| readable(pidfd))),
                (Source::Input, self.console.as_ref().and_then(Relay::watch_input)),
                (Source::Master, self.console.as_ref().and_then(Relay::watch_master)),
            ];
            for (source, watch) in candidates {
                if let Some(Watch { descriptor, flags }) = watch {
                    // There is room for every source once.
                    let _ = sources.push(source);
                    let _ = watched.push(PollFd::from_borrowed_fd(descriptor, flags));
                }
            }
            let timeout = self.deadline_ms().map(|deadline_ms| timespec(deadline_ms.saturating_sub(now_ms())));
            if rustix::event::poll(&mut watched, timeout.as_ref()).is_err() {
                // Interrupted: the next turn sees what there is.
                return;
            }
            for (source, descriptor) in sources.iter().zip(&watched) {
                if !descriptor.revents().is_empty() {
                    let _ = ready.push(*source);
                }
            }
        }
        for source in ready {
            self.handle(source);
        }
        self.deadlines();
    }

    fn handle(&mut self, source: Source) {
        match source {
            Source::Signals => self.signal(),
            Source::Helper => self.helper_ended(),
            Source::Reports => drop(self.report()),
            Source::Program => self.program_ended(),
            Source::Input => self.typed(),
            Source::Master => self.console.iter_mut().for_each(|relay| relay.master_ready(now_ms())),
        }
    }

    fn deadline_ms(&self) -> Option<u64> {
        let start = self.reports.as_ref().map(|_| self.start_by_ms);
        let relay = self.console.as_ref().and_then(Relay::deadline_ms);
        [start, self.kill_at_ms, relay].into_iter().flatten().min()
    }

    fn deadlines(&mut self) {
        let now_ms = now_ms();
        if let Some(relay) = &mut self.console {
            relay.look_again(now_ms);
        }
        if self.kill_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            self.kill_at_ms = None;
            self.kill_all();
        }
        if self.reports.is_some() && self.start_by_ms <= now_ms {
            self.start_by_ms = u64::MAX;
            self.fail(Fault { step: Step::StartTimeOut, errno: libc::ETIMEDOUT as u16, detail: 0 });
        }
    }

    fn signal(&mut self) {
        // It may be there, and not have been heard of yet. Who prints without end keeps no signal from it.
        let _ = (0..REPORTS).take_while(|_| self.report()).count();
        while let Some(signal) = self.signals.next() {
            if self.signals.is_about_terminal(signal, self.console.as_mut()) {
                continue;
            }
            let is_ending = ENDING.contains(&i32::from(signal));
            let Some((pid, pidfd)) = &self.program else {
                if is_ending {
                    self.asked = Some(signal);
                    self.kill_all();
                }
                continue;
            };
            // Before it is sent: one that hears it may have undone its handler on its way out.
            let is_deaf = is_ending && self.kill.is_init() && is_unheard(*pid, signal);
            // It may have ended by now.
            let _ = signal::send(pidfd.as_fd(), signal);
            if !is_ending {
                continue;
            }
            let again = self.asked.replace(signal).is_some();
            if let Some(patience_ms) = self.kill.patience_ms() {
                if again || is_deaf {
                    self.kill_all();
                } else {
                    self.kill_at_ms.get_or_insert(now_ms().saturating_add(patience_ms));
                }
            }
        }
    }

    /// Passes on what was typed. The interrupt key does nothing to an init without a handler: then it is killed here.
    fn typed(&mut self) {
        let signal = libc::SIGINT as u8;
        // Before it is passed on, as above.
        let is_deaf = self.kill.is_init() && self.program.as_ref().is_some_and(|(pid, _)| is_unheard(*pid, signal));
        let interrupted = self.console.as_mut().is_some_and(Relay::input_ready);
        let (Some(relay), Some((pid, _))) = (&self.console, &self.program) else { return };
        if interrupted && is_deaf && relay.is_foreground(*pid) {
            self.asked = Some(signal);
            self.kill_all();
        }
    }

    /// Takes one report. Whether there may be more.
    fn report(&mut self) -> bool {
        let Some(reports) = &self.reports else { return false };
        match receive(reports.as_fd()) {
            Report::Nothing => return false,
            Report::Born { pid, pidfd: Ok(pidfd) } => self.program = Some((pid, pidfd)),
            Report::Born { pid, pidfd: Err(fault) } => {
                self.fault.get_or_insert(fault);
                end_by_number(pid);
            }
            Report::Console(master) => match Relay::of_program(master) {
                Ok(relay) => self.console = Some(relay),
                Err(errno) => complain(format_args!(
                    "its terminal: fcntl: {}",
                    crate::fault::ErrnoWords(errno.raw_os_error() as u16)
                )),
            },
            // Nobody waits for it to be ready.
            Report::Notify(_) => {}
            Report::Output(text) => print(&text),
            // The user has it on the terminal.
            Report::Line(_) => {}
            Report::Failed(fault) => {
                self.fail(fault);
                return false;
            }
            Report::Closed => {
                self.reports = None;
                return false;
            }
        }
        true
    }

    fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
        self.kill_all();
    }

    fn helper_ended(&mut self) {
        let Some(helper) = &self.helper else { return };
        let ended = wait::reap(Which::PidFd(helper.as_fd()));
        if matches!(ended, Ok(None)) {
            return;
        }
        self.helper = None;
        // What it reported is there by now, behind all that its hooks have printed.
        while self.report() {}
        if self.program.is_none() && self.fault.is_none() && self.asked.is_none() {
            let errno = libc::ECHILD as u16;
            self.fault = Some(Fault { step: Step::Helper, errno, detail: 0 });
        }
    }

    fn program_ended(&mut self) {
        let Some((_, pidfd)) = &self.program else { return };
        match wait::reap(Which::PidFd(pidfd.as_fd())) {
            Ok(None) => {}
            Ok(Some((_, end))) => self.end = Some(end),
            // Not ours to wait for: it cannot be known how it ended.
            Err(_) => self.end = Some(End::Code(NOT_STARTED)),
        }
    }

    fn kill_all(&self) {
        if let Some(helper) = &self.helper {
            let _ = signal::send(helper.as_fd(), libc::SIGKILL as u8);
        }
        if let Some((_, pidfd)) = &self.program {
            let _ = signal::send(pidfd.as_fd(), libc::SIGKILL as u8);
        }
        self.kill.kill();
    }
}

/// Prints what a hook has printed.
fn print(text: &[u8]) {
    // Nobody is left to be told.
    let _ = write_all(stdio::error(), text);
}

fn readable(descriptor: &OwnedFd) -> Watch<'_> {
    Watch { descriptor: descriptor.as_fd(), flags: PollFlags::IN }
}

fn timespec(ms: u64) -> Timespec {
    // Longer than a day is as good as a day.
    let ms = ms.min(86_400_000);
    Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000) as i64 * 1_000_000 }
}

/// Kills and waits for a child for which there was no pidfd left.
fn end_by_number(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return };
    let _ = signal::send_to(pid, libc::SIGKILL as u8);
    // It dies at once: only this process's exit would come before.
    let _ = wait::reap(Which::Pid(pid));
}
