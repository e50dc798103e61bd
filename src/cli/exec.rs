//! `inn exec`: a command inside a guest. This process joins it; the supervisor is only asked how.

use core::ffi::CStr;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::ask::{FAILED, PROMPT_MS, ask, guest};
use super::foreground::{self, Kill, NOT_STARTED, Signals};
use super::output::complain;
use super::parse::Invocation;
use super::terminal;
use crate::control::wire::{Code, JoinInfo, Name, Reply, Request};
use crate::fault::{Fault, Step};
use crate::guest::{Command, Facts, begin_anew, is_reachable, join};
use crate::limits;
use crate::plan::{Confinement, Extents, Kind, User};
use crate::sys::process::Arguments;
use crate::sys::wait::{self, Which};

/// What the supervisor said of the guest.
struct Target {
    kind: Kind,
    confinement: Confinement,
    users: Extents,
    user: User,
    cgroup: heapless::String<768>,
    pidfd: OwnedFd,
}

/// Runs the command, or where `is_login` a login shell; returns its exit code.
#[inline(never)]
pub fn exec(invocation: &Invocation, arguments: &Arguments, is_login: bool) -> u8 {
    let Some(name) = invocation.operands.first() else { return NOT_STARTED };
    let guest = match guest(name) {
        Ok(guest) => guest,
        Err(code) => return code,
    };
    let mut target = match ask_target(invocation, guest) {
        Ok(target) => target,
        Err(code) => return code,
    };
    if is_login && target.kind == Kind::Os {
        // Whoever its init runs as: a distribution is root's.
        target.user = User::default();
    }
    if is_reachable(target.kind, !target.users.is_empty(), target.user)
        && let Err(fault) = begin_anew(arguments)
    {
        foreground::tell(name, None, fault, None);
        return NOT_STARTED;
    }
    let mut words = heapless::Vec::<&CStr, { limits::COMMAND_WORDS }>::new();
    let first = if is_login { arguments.len() } else { invocation.command };
    for index in first..arguments.len() {
        if arguments.get(index).is_none_or(|word| words.push(word).is_err()) {
            complain(format_args!("a command of more than {} words", limits::COMMAND_WORDS));
            return NOT_STARTED;
        }
    }
    run(name, &target, &words, arguments)
}

fn run(name: &CStr, target: &Target, words: &[&CStr], arguments: &Arguments) -> u8 {
    let told = |fault: Fault| {
        if has_ended(target.pidfd.as_fd(), fault) {
            complain(format_args!("{}: it ended meanwhile", super::parse::Shown(name)));
            return Code::WrongState.exit();
        }
        foreground::tell(name, words.first().copied(), fault, None);
        foreground::failed_code(fault)
    };
    let signals = match Signals::block() {
        Ok(signals) => signals,
        Err(code) => return code,
    };
    let facts = Facts {
        cgroup: Some(&target.cgroup),
        kind: target.kind,
        confinement: target.confinement,
        users: target.users,
        user: target.user,
        pidfd: target.pidfd.as_fd(),
    };
    let tty = terminal::of_user().is_some();
    // Of our environment it gets what says how our terminal is to be spoken to.
    let mut environment = heapless::Vec::<&CStr, 1>::new();
    if let Some(word) = arguments.environment().find(|word| tty && word.to_bytes().starts_with(b"TERM=")) {
        let _ = environment.push(word);
    }
    let command = Command { words, env: &environment, program: None };
    let starting = match join(&facts, &command) {
        Ok(starting) => starting,
        Err(fault) => return told(fault),
    };
    let (code, fault) = foreground::follow(starting, &signals, &Patient);
    fault.map_or(code, told)
}

/// Whether the guest's first process is no more: then nothing can be done in it, whatever it was that failed.
fn has_ended(pidfd: BorrowedFd<'_>, fault: Fault) -> bool {
    // What killed a helper inside kills the guest too; or the guest is what could not be found any more, or what nothing more
    // could be made in (pid_namespaces(7)).
    let is_likely = fault.step == Step::Helper || [libc::ESRCH, libc::ENOMEM].contains(&i32::from(fault.errno));
    let moment = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    (0..if is_likely { 20 } else { 1 }).any(|_| {
        // It has ended only when all that ran in it has been waited for; some of that may be ours.
        while let Ok(Some(_)) = wait::reap(Which::Silent) {}
        while let Ok(Some(_)) = wait::reap(Which::Ordinary) {}
        let mut ended = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        rustix::event::poll(&mut ended, Some(&moment)).is_ok_and(|count| count > 0)
    })
}

/// A command takes as long as it takes: only the user kills it.
struct Patient;

impl Kill for Patient {
    fn kill(&self) {}

    fn patience_ms(&self) -> Option<u64> {
        None
    }

    fn is_init(&self) -> bool {
        false
    }
}

fn ask_target(invocation: &Invocation, guest: Name) -> Result<Target, u8> {
    let options = &invocation.options;
    let mut target = None;
    ask(options.socket, &Request::Join { guest }, Some(PROMPT_MS), &mut |reply, descriptor| {
        if let (Reply::Join(info), Some(pidfd)) = (reply, descriptor) {
            target = described(info, pidfd);
        }
    })?;
    target.ok_or_else(|| {
        complain(format_args!("{}: the supervisor did not say how to join it", guest.as_str()));
        FAILED
    })
}

fn described(info: &JoinInfo<'_>, pidfd: OwnedFd) -> Option<Target> {
    let cgroup = heapless::String::try_from(info.cgroup).ok()?;
    Some(Target { kind: info.kind, confinement: info.confinement, users: info.users, user: info.user, cgroup, pidfd })
}
